//! Who has fallen silent is found and restarted, and who answers, however badly, is not.
//!
//! A few trials of each kind run with the other tests, on a machine that may be busy with those, so that only *that* it is found is
//! held against it. With `SUPERVISOR_HANGS=50` there are as many of each kind, and the time counts too; nothing else may run then.

use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use supervisor::process::clock;

use super::frail::Frail;
use super::support::{Env, pass, signal, wait_for};
use super::tools::*;
use super::witness::Chance;

/// k x P + T of [`Frail::table`], and a second.
const BOUND_MS: i64 = 4 * 200 + 100 + 1000;

/// How many trials of each kind, and whether the time counts.
fn trials() -> (u32, bool) {
    match std::env::var("SUPERVISOR_HANGS").ok().and_then(|count| count.parse().ok()) {
        Some(count) => (count, true),
        None => (2, false),
    }
}

/// What keeps a server from answering.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Fault {
    Stopped,
    Busy,
    Deadlock,
    Silent,
}

impl Fault {
    const ALL: [Self; 4] = [Self::Stopped, Self::Busy, Self::Deadlock, Self::Silent];

    fn befall(self, server: &Frail, pid: i32) {
        match self {
            Self::Stopped => assert!(signal(pid, Signal::SIGSTOP)),
            Self::Busy => server.be("busy"),
            Self::Deadlock => server.be("deadlock"),
            Self::Silent => server.be("silent"),
        }
    }
}

/// What the ledger says of one service, by a connection that stays open: many threads ask it again and again.
struct Book<'a> {
    name: &'a str,
    db: rusqlite::Connection,
}

impl<'a> Book<'a> {
    fn new(env: &Env, name: &'a str) -> Self {
        // The daemon answers before it has written anything.
        wait_for("the ledger", || (!all_rows(env).is_empty()).then_some(()));
        Self { name, db: env.db() }
    }

    /// When its rows of this kind and run were written, and their metadata.
    fn rows(&self, event: &str, run: u64) -> Vec<(i64, Value)> {
        let sql = "SELECT timestamp_ms, metadata FROM supervisor_events WHERE service_name = ?1 AND event_type = ?2 \
                   AND json_extract(metadata, '$.run_id') = ?3 ORDER BY timestamp_ms";
        let mut statement = self.db.prepare(sql).unwrap();
        let row = |row: &rusqlite::Row<'_>| {
            let data: String = row.get(1)?;
            Ok((row.get(0)?, serde_json::from_str(&data).unwrap()))
        };
        let rows = statement.query_map(rusqlite::params![self.name, event, run.cast_signed()], row).unwrap();
        rows.collect::<Result<_, _>>().unwrap()
    }

    fn wait(&self, event: &str, run: u64) -> (i64, Value) {
        wait_for(&format!("{event} of run {run} of {}", self.name), || {
            // Ten of us would keep the machine from what is to be seen.
            pass(Duration::from_millis(10), || ());
            self.rows(event, run).into_iter().next()
        })
    }

    /// Waits until the run has come up; its pid.
    fn wait_ready(&self, run: u64) -> i32 {
        let (_, data) = self.wait("service_ready", run);
        i32::try_from(data["pid"].as_i64().unwrap()).unwrap()
    }

    /// All ends of a run.
    fn ends(&self, run: u64) -> Vec<(String, Value)> {
        let rows = |event: &str| self.rows(event, run).into_iter().map(|(_, data)| data["class"].clone()).collect();
        let all = ["service_crash", "service_exit", "service_lost"].map(|event| (event.to_owned(), rows(event)));
        let each =
            |(event, classes): (String, Vec<Value>)| classes.into_iter().map(move |class| (event.clone(), class));
        all.into_iter().flat_map(each).collect()
    }

    /// Waits until the run was found to hang, and ended for that; when it was found.
    fn wait_hung(&self, run: u64) -> i64 {
        let (found, _) = self.wait("service_hung", run);
        self.wait("service_crash", run);
        self.ended_once(run, "hung");
        found
    }

    fn ended_once(&self, run: u64, class: &str) {
        assert_eq!(self.ends(run), [("service_crash".to_owned(), class.into())], "run {run} of {}", self.name);
    }
}

/// Trials one after the other at one server, as long as there are any left; how long each was not found, milliseconds.
fn try_out(env: &Env, server: &Frail, fault: Fault, left: &AtomicU32) -> Vec<i64> {
    let (book, chance) = (Book::new(env, &server.name), Chance::new(&server.name));
    let mut took = Vec::new();
    let mut run = 1;
    while left.fetch_update(Ordering::SeqCst, Ordering::SeqCst, |left| left.checked_sub(1)).is_ok() {
        let pid = book.wait_ready(run);
        // At any moment between two probes.
        pass(chance.millis(200), || ());
        let at = clock::now().wall_ms;
        fault.befall(server, pid);
        let found = book.wait_hung(run);
        assert_eq!(book.rows("service_hung", run).len(), 1, "run {run} of {}", server.name);
        took.push(found - at);
        run += 1;
    }
    book.wait_ready(run);
    assert_eq!(book.rows("service_hung", run), []);
    took
}

#[test]
fn a_stopped_a_spinning_a_deadlocked_and_a_silent_server_are_found_and_restarted() {
    let (count, strict) = trials();
    // Two that spin would take the processors from all others.
    let servers = |fault: Fault| if fault == Fault::Busy { 1 } else { count.min(3) };
    let servers = |fault| (0..servers(fault)).map(move |i| Frail::new(&format!("{fault:?}-{i}").to_lowercase()));
    let kinds = Fault::ALL.map(|fault| (fault, servers(fault).collect::<Vec<Frail>>(), AtomicU32::new(count)));
    let tables = kinds.iter().flat_map(|(_, servers, _)| servers).map(|server| server.table("", ""));
    let env = &Env::new(&tables.collect::<String>());
    env.start_daemon();
    let took: Vec<(Fault, Vec<i64>)> = std::thread::scope(|scope| {
        let threads = kinds.iter().flat_map(|(fault, servers, left)| servers.iter().map(move |s| (*fault, s, left)));
        let threads: Vec<_> = threads
            .map(|(fault, server, left)| (fault, scope.spawn(move || try_out(env, server, fault, left))))
            .collect();
        threads.into_iter().map(|(fault, thread)| (fault, thread.join().unwrap())).collect()
    });
    for fault in Fault::ALL {
        let mut took: Vec<i64> =
            took.iter().filter(|(of, _)| *of == fault).flat_map(|(_, took)| took).copied().collect();
        took.sort_unstable();
        println!("{fault:?}: found after {took:?} ms");
        assert_eq!(took.len(), usize::try_from(count).unwrap());
        assert!(took[0] >= 650, "{fault:?}: called hung within the pause that is tolerated");
        assert!(!strict || took.last().is_some_and(|most| *most <= BOUND_MS), "{fault:?}: more than {BOUND_MS} ms");
    }
}

/// Long enough for each of these to be called hung and restarted, if it were taken for that.
const TRIAL: Duration = Duration::from_millis(3500);

#[test]
fn who_answers_badly_late_or_with_pauses_is_left_alone_and_named() {
    let moods =
        ["503", "500", "401", "404", "page", "slow-70", "slow-150"].map(|how| (how, Frail::new(&format!("is-{how}"))));
    let [paused, duty, frozen] = ["paused", "duty", "frozen"].map(Frail::new);
    let all: Vec<&Frail> = moods.iter().map(|(_, server)| server).chain([&paused, &duty]).collect();
    let tables = all.iter().map(|server| server.table("", "")).chain([frozen.table("", "")]);
    let env = Env::new(&tables.collect::<String>());
    env.start_daemon();
    let books: Vec<Book<'_>> = all.iter().map(|server| Book::new(&env, &server.name)).collect();
    let pids: Vec<i32> = books.iter().map(|book| book.wait_ready(1)).collect();
    let control = Book::new(&env, &frozen.name);
    let control_pid = control.wait_ready(1);
    for (how, server) in &moods {
        server.be(how);
    }
    signal(control_pid, Signal::SIGSTOP);
    let begun = clock::now().mono;
    std::thread::scope(|scope| {
        let sometimes = |pid: i32, stopped: u64, runs: u64| {
            while clock::now().mono.since(begun) < TRIAL {
                signal(pid, Signal::SIGSTOP);
                pass(Duration::from_millis(stopped), || ());
                signal(pid, Signal::SIGCONT);
                pass(Duration::from_millis(runs), || ());
            }
        };
        // Half of what is tolerated; and a tenth of the time is all that it gets.
        for (pid, [stopped, runs]) in pids.iter().rev().zip([[180, 20], [350, 350]]) {
            scope.spawn(move || sometimes(*pid, stopped, runs));
        }
    });
    for (how, wanted) in [
        ("503", "degraded"),
        ("500", "degraded"),
        ("401", "misconfigured"),
        ("404", "misconfigured"),
        ("page", "misconfigured"),
    ] {
        let health = env.service(&format!("is-{how}"))["health"].clone();
        assert_eq!(health["verdict"], wanted, "{how}: {health:#}");
        let told = count(&env, &format!("is-{how}"), "probe_misconfigured");
        assert_eq!(told, usize::from(wanted == "misconfigured"), "{how}");
    }
    // The same daemon, in the same time, has found the one that was silent.
    control.wait_hung(1);
    for (book, pid) in books.iter().zip(&pids) {
        let ends = book.ends(1);
        assert!(
            ends.is_empty() && book.rows("service_hung", 1).is_empty(),
            "{} was taken for hung: {ends:?}",
            book.name
        );
        assert!(alive(*pid), "{}", book.name);
    }
    // And would have found each of these.
    for (_, server) in &moods {
        server.be("well");
        wait_for("it to be well again", || (env.service(&server.name)["health"]["verdict"] == "healthy").then_some(()));
    }
    for pid in &pids {
        signal(*pid, Signal::SIGSTOP);
    }
    for book in &books {
        book.wait_hung(1);
    }
}

#[test]
fn a_start_that_works_is_waited_for_and_one_that_does_nothing_is_not() {
    let [works, idle] = ["works", "idle"].map(Frail::new);
    let tables = works.table("work 6000", "start_timeout = \"1s\"") + &idle.table("nothing", "start_timeout = \"1s\"");
    let env = Env::new(&tables);
    env.start_daemon();
    let [works_book, idle_book] = [&works, &idle].map(|server| Book::new(&env, &server.name));
    idle_book.wait("service_crash", 1);
    idle_book.ended_once(1, "start_timeout");
    let pid = works_book.wait_ready(1);
    assert!(works_book.ends(1).is_empty() && idle_book.rows("service_ready", 1).is_empty());
    // Once it has come up, work is no excuse.
    works.be("busy");
    works_book.wait_hung(1);
    wait_dead(pid);
}

/// Gives a sign of life thrice as often as it has to, as long as it runs.
const BEATS: &str = r#"
use Socket;
socket(my $s, AF_UNIX, SOCK_DGRAM, 0) or die; connect($s, sockaddr_un($ENV{NOTIFY_SOCKET})) or die;
send($s, "READY=1", 0);
while (1) { send($s, "WATCHDOG=1", 0); select(undef, undef, undef, $ENV{WATCHDOG_USEC} / 3e6) }
"#;

#[test]
fn who_gives_signs_of_life_unasked_is_left_alone_until_there_are_none() {
    let often = "interval = \"200ms\", timeout = \"100ms\", failures = 4";
    let beats = format!("notify = true\nthrottle = \"0s\"\nhealth = {{ notify = true, {often} }}\n");
    let touches = format!("throttle = \"0s\"\nhealth = {{ heartbeat_file = \"{{dir}}/beat\", {often} }}\n");
    let table = format!("[service.beats]\ncommand = [\"perl\", \"{{dir}}/beats\"]\n{beats}");
    let env = Env::new(&(table + &service("touches", "while :; do touch $HOME/beat; sleep 0.1; done", &touches)));
    std::fs::write(home(&env, "beats"), BEATS).unwrap();
    env.start_daemon();
    let books = ["beats", "touches"].map(|name| Book::new(&env, name));
    let pids = books.each_ref().map(|book| book.wait_ready(1));
    pass(TRIAL, || ());
    for (book, pid) in books.iter().zip(pids) {
        assert_eq!((book.ends(1), book.rows("service_hung", 1)), (vec![], vec![]), "{}", book.name);
        signal(pid, Signal::SIGSTOP);
        book.wait_hung(1);
        book.wait_ready(2);
    }
}

#[test]
fn a_daemon_killed_between_the_verdict_and_the_restart_doubles_nothing() {
    let servers: Vec<Frail> = (0..3).map(|i| Frail::new(&format!("f{i}"))).collect();
    let env = Env::new(&servers.iter().map(|server| server.table("", "")).collect::<String>());
    let chance = Chance::new("hangs");
    env.start_daemon();
    let books: Vec<Book<'_>> = servers.iter().map(|server| Book::new(&env, &server.name)).collect();
    for run in 1..=3 {
        for book in &books {
            signal(book.wait_ready(run), Signal::SIGSTOP);
        }
        books[0].wait("service_hung", run);
        // At once, and then a little later: while evidence is taken, the order is on its way, the run is being ended.
        pass(chance.millis(150) * (u32::try_from(run).unwrap() - 1), || ());
        env.kill_daemon();
        env.start_daemon();
        for book in &books {
            book.wait("service_crash", run);
            book.wait_ready(run + 1);
        }
        sync(&env);
        for book in &books {
            book.ended_once(run, "hung");
            // Found again by the second daemon, when the first had no time for more.
            let found = book.rows("service_hung", run).len();
            assert!((1..=2).contains(&found), "run {run} of {} was found to hang {found} times", book.name);
            assert_eq!(book.rows("service_start", run + 1).len(), 1);
        }
    }
    for book in &books {
        assert_eq!((book.ends(4), book.rows("service_start", 5)), (vec![], vec![]));
    }
}
