//! What really happened, told by the services themselves: the first act of every run is to write itself down in a file that the
//! program under test knows nothing of. In the end the ledger is held against it.

use std::cell::Cell;
use std::collections::{BTreeMap, BTreeSet};
use std::hash::{BuildHasher, Hasher};
use std::time::Duration;

use nix::sys::wait::WaitPidFlag;
use nix::unistd::Pid;
use serde_json::Value;

use super::support::{Env, pass};

/// A run that began.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Start {
    pub service: String,
    pub run: u64,
    pub pid: i32,
}

/// Reads what the services of one `Env` write.
pub struct Witness<'a> {
    env: &'a Env,
}

/// The first act of a service's script.
const BEGIN: &str = "echo \"start $SUPERVISOR_SERVICE $SUPERVISOR_RUN_ID $$\" >> {dir}/witness";

/// The last one, with the exit code to come in `c`.
const END: &str = "echo \"end $SUPERVISOR_SERVICE $SUPERVISOR_RUN_ID $c\" >> {dir}/witness";

/// From here on nothing crashes any more: what is to be counted has to come to rest first.
const CALM: &str = "[ -e {dir}/calm ] && exec sleep 1000";

/// A number from the run, the same for none of its neighbours: /bin/sh has no other source of chance.
const CHANCE: &str = "n=$((($$ * 7919 + SUPERVISOR_RUN_ID * 104729) % 997))";

impl<'a> Witness<'a> {
    pub fn new(env: &'a Env) -> Self {
        std::fs::write(env.dir().join("witness"), "").unwrap();
        let write = |name: &str, lines: &[&str]| {
            env.script(name, &lines.join("\n").replace("{dir}", &env.dir().display().to_string()));
        };
        write("steady", &[BEGIN, "exec sleep 1000"]);
        // Ends by itself, after up to 0.4 s, with code 0, 1 or 3, and says so before.
        let code = "case $((n % 3)) in 0) c=0;; 1) c=1;; *) c=3;; esac";
        write("crasher", &[BEGIN, CALM, CHANCE, "sleep 0.$(printf %03d $((n % 400)))", code, END, "exit $c"]);
        // Prints numbered lines for ever, and tells at SIGTERM how far it came.
        let trap = "i=1; trap 'echo \"lines $SUPERVISOR_SERVICE $SUPERVISOR_RUN_ID $((i - 1))\" >> {dir}/witness; exit 0' TERM";
        let burst = "[ $((i % 40)) = 0 ] && sleep 0.01";
        let print = "echo \"run $SUPERVISOR_RUN_ID line $i and so many bytes that files fill up\"";
        write("printer", &[BEGIN, trap, "while :; do", print, "i=$((i + 1))", burst, "done"]);
        // Prints numbered lines and ends, and tells before how far it came.
        let told = "echo \"lines $SUPERVISOR_SERVICE $SUPERVISOR_RUN_ID $((i - 1))\" >> {dir}/witness";
        let some = "i=1; while [ $i -le $((n % 90 + 10)) ]; do";
        let slow = "[ $((i % 10)) = 0 ] && sleep 0.01";
        write("spiller", &[BEGIN, CALM, CHANCE, some, print, "i=$((i + 1))", slow, "done", code, told, END, "exit $c"]);
        Self { env }
    }

    /// A script that writes itself down and ends at once.
    pub fn script_ending_with(&self, name: &str, code: i32) {
        let body = format!("{BEGIN}\n{}\nexit {code}", END.replace("$c", &code.to_string()));
        self.env.script(name, &body.replace("{dir}", &self.env.dir().display().to_string()));
    }

    /// `[service.NAME]` tables for these scripts, without any pause between runs.
    pub fn tables(services: &[(&str, &str)]) -> String {
        let table = |(name, script): &(&str, &str)| {
            format!(
                "[service.{name}]\ncommand = [\"{{dir}}/{script}\"]\nthrottle = \"0s\"\nmin_uptime = \"0s\"\n\
                 log = {{ max_size = \"64KiB\", keep = 1000 }}\n"
            )
        };
        services.iter().map(table).collect()
    }

    fn lines(&self, kind: &str) -> Vec<(String, u64, i64)> {
        let text = std::fs::read_to_string(self.env.dir().join("witness")).unwrap();
        let parse = |line: &str| {
            let mut words = line.split(' ');
            if words.next() != Some(kind) {
                return None;
            }
            let (service, run, number) = (words.next()?, words.next()?, words.next()?);
            Some((service.to_owned(), run.parse().unwrap(), number.parse().unwrap()))
        };
        // What is being written now has no line end yet.
        let whole = text.rfind('\n').map_or("", |end| &text[..end]);
        whole.lines().filter_map(parse).collect()
    }

    /// All runs that began, in order.
    pub fn starts(&self) -> Vec<Start> {
        let start = |(service, run, pid)| Start { service, run, pid: i32::try_from(pid).unwrap() };
        self.lines("start").into_iter().map(start).collect()
    }

    /// How runs said that they end.
    pub fn ends(&self) -> BTreeMap<(String, u64), i64> {
        self.lines("end").into_iter().map(|(service, run, code)| ((service, run), code)).collect()
    }

    /// How many lines runs said that they have printed.
    pub fn printed(&self) -> BTreeMap<(String, u64), i64> {
        self.lines("lines").into_iter().map(|(service, run, n)| ((service, run), n)).collect()
    }

    /// The run of `service` that lives now.
    pub fn alive(&self, service: &str) -> Option<Start> {
        self.starts().into_iter().rfind(|start| start.service == service).filter(|start| self.lives(start))
    }

    /// Whether the very process of this run lives; its zombie does not.
    #[cfg(target_os = "linux")]
    fn lives(&self, start: &Start) -> bool {
        let Ok(environ) = std::fs::read(format!("/proc/{}/environ", start.pid)) else { return false };
        let run = format!("SUPERVISOR_RUN_ID={}", start.run);
        let state = format!("SUPERVISOR_STATE_DIR={}", self.env.state_dir().display());
        let has = |mark: &str| environ.split(|b| *b == 0).any(|entry| entry == mark.as_bytes());
        has(&run) && has(&state)
    }

    #[cfg(not(target_os = "linux"))]
    fn lives(&self, start: &Start) -> bool {
        #[expect(clippy::disallowed_methods, reason = "the system's own process table")]
        let output =
            std::process::Command::new("ps").args(["-o", "stat=", "-p", &start.pid.to_string()]).output().unwrap();
        output.status.success() && !output.stdout.trim_ascii().starts_with(b"Z")
    }

    /// No service has two living runs. What began is read first: an earlier run that lives afterwards lives beside it.
    pub fn nothing_runs_twice(&self) {
        let mut living: BTreeMap<String, Vec<Start>> = BTreeMap::new();
        let mut seen: BTreeMap<String, usize> = BTreeMap::new();
        for start in self.starts().into_iter().rev() {
            // Two starts back would be long gone; the table need not be asked about all of history.
            let count = seen.entry(start.service.clone()).or_default();
            *count += 1;
            if *count <= 4 && self.lives(&start) {
                living.entry(start.service.clone()).or_default().push(start);
            }
        }
        for (service, runs) in living {
            assert!(runs.len() <= 1, "{service} runs more than once: {runs:?}\n{}", self.env.terminal());
        }
    }

    /// Lets time pass, and looks all the while whether anything runs twice.
    pub fn pass(&self, time: Duration) {
        pass(time, || {
            self.nothing_runs_twice();
            self.reap();
        });
    }

    /// Reaps runs that have become children of this process, where it is their subreaper.
    fn reap(&self) {
        for start in self.starts() {
            nix::sys::wait::waitpid(Pid::from_raw(start.pid), Some(WaitPidFlag::WNOHANG)).ok();
        }
    }

    /// Nothing ends by itself any more from here on; waits until every one of `services` is in a run that stays.
    pub fn calm(&self, services: &[(&str, &str)]) {
        std::fs::write(self.env.dir().join("calm"), "").unwrap();
        super::support::wait_for("all services at rest", || {
            self.reap();
            let ends = self.ends();
            let rests = |(name, script): &(&str, &str)| {
                let Some(run) = self.alive(name) else { return false };
                // What began before the calm runs to its end.
                let exits = matches!(*script, "crasher" | "spiller");
                let is_sleep = || {
                    let command = self.env.processes().into_iter().find(|p| p.pid == run.pid);
                    command.is_some_and(|p| p.args.first().is_some_and(|arg| arg == "sleep"))
                };
                !ends.contains_key(&(run.service.clone(), run.run)) && (!exits || is_sleep())
            };
            services.iter().all(rests).then_some(())
        });
    }

    /// Every run that began, and no other, has one start and one end in the ledger, with the process and the exit code that
    /// the witness knows. How many ends are `lost`.
    pub fn audit(&self) -> usize {
        let starts = self.starts();
        let began: BTreeSet<Start> = starts.iter().cloned().collect();
        let runs: BTreeSet<(String, u64)> = began.iter().map(|s| (s.service.clone(), s.run)).collect();
        assert_eq!(runs.len(), starts.len(), "a run id was given twice: {:?}", twice(&starts));
        // Whether these began at all nobody can know but we.
        let unseen = self.env.rows(
            "SELECT service_name, run_id FROM supervisor_events
             WHERE event_type = 'service_start' AND json_extract(metadata, '$.seen') = 0",
        );
        let unseen = unseen.iter().map(|row| (row[0].as_str().unwrap().to_owned(), row[1].as_u64().unwrap()));
        let known: BTreeSet<(String, u64)> = runs.iter().cloned().chain(unseen).collect();
        let mut highest: BTreeMap<&str, u64> = BTreeMap::new();
        for (service, run) in &known {
            let before = highest.insert(service, *run).unwrap_or(0);
            assert_eq!(*run, before + 1, "run ids of {service} have a gap");
        }
        let ends = "event_type IN ('service_crash', 'service_exit', 'service_lost')";
        self.compare("starts", &began, "event_type = 'service_start'");
        self.compare("ends", &began, ends);
        let codes = self.ends();
        let rows = self.env.rows(&format!(
            "SELECT service_name, run_id, class, json_extract(metadata, '$.exit_code') FROM supervisor_events WHERE {ends}"
        ));
        let mut lost = 0;
        for row in rows {
            let class = row[2].as_str().unwrap();
            let key = (row[0].as_str().unwrap().to_owned(), row[1].as_u64().unwrap());
            match codes.get(&key) {
                _ if class == "lost" => lost += 1,
                // A signal on its way out may come before its own exit.
                Some(code) => assert!(row[3] == *code || class == "requested", "{key:?} ended with {code}: {row:?}"),
                None => assert!(row[3].is_null() || class == "requested", "{key:?} said nothing of an exit: {row:?}"),
            }
        }
        lost
    }

    /// The logs of each service, read in the order of their rotation, hold every numbered line of every run, whole, once and
    /// in order, as far as the run said that it came; of those in `unheld` the end may be missing.
    pub fn nothing_printed_is_missing(&self, services: &[&str], unheld: &[(String, u64)]) {
        let printed = self.printed();
        for service in services {
            let mut last: BTreeMap<u64, i64> = BTreeMap::new();
            let mut run_before = 0;
            for line in self.log(service).lines() {
                let numbers = line.strip_prefix("run ").and_then(|rest| {
                    let (run, rest) = rest.split_once(" line ")?;
                    let (number, rest) = rest.split_once(' ')?;
                    (rest == "and so many bytes that files fill up").then_some(())?;
                    Some((run.parse::<u64>().ok()?, number.parse::<i64>().ok()?))
                });
                let (run, number) = numbers.unwrap_or_else(|| panic!("a line of {service} is cut: {line:?}"));
                assert!(run >= run_before, "{service}: a line of run {run} after one of run {run_before}");
                run_before = run;
                let before = last.insert(run, number).unwrap_or(0);
                assert_eq!(number, before + 1, "{service}: a line of run {run} is missing or doubled");
            }
            for ((name, run), said) in &printed {
                if name == service && !unheld.contains(&(name.clone(), *run)) {
                    let logged = last.get(run).copied().unwrap_or(0);
                    // SIGTERM may come between a line and its being counted.
                    assert!(logged == *said || logged == said + 1, "{service}, run {run}: {logged} lines of {said}");
                }
            }
            assert!(!last.is_empty(), "{service} has logged nothing");
        }
    }

    fn log(&self, service: &str) -> String {
        let path = |n: usize| {
            let number = if n == 0 { String::new() } else { format!(".{n}") };
            self.env.state_dir().join(format!("logs/{service}-stdout.log{number}"))
        };
        let count = (1..).find(|n| !path(*n).exists()).unwrap();
        (0..count).rev().map(|n| std::fs::read_to_string(path(n)).unwrap()).collect()
    }

    /// All that the ledger has of the runs of these starts.
    fn told_of(&self, starts: &[&Start]) -> String {
        let rows = |start: &&Start| {
            let Start { service, run, .. } = start;
            self.env.rows(&format!(
                "SELECT * FROM supervisor_events WHERE service_name = '{service}' AND run_id BETWEEN {run} - 1 AND {run} + 1"
            ))
        };
        starts.iter().flat_map(rows).map(|row| format!("\n{row:?}")).collect()
    }

    fn compare(&self, what: &str, began: &BTreeSet<Start>, condition: &str) {
        for (table, run) in [("supervisor_events", "run_id"), ("events", "json_extract(metadata, '$.run_id')")] {
            let rows = self.env.rows(&format!(
                "SELECT service_name, {run}, json_extract(metadata, '$.pid') FROM {table} WHERE {condition}"
            ));
            let start = |row: Vec<Value>| {
                let (service, run) = (row[0].as_str().unwrap().to_owned(), row[1].as_u64().unwrap());
                let witnessed = || began.iter().find(|s| s.service == service && s.run == run).map(|s| s.pid);
                let pid = row[2].as_i64().map_or_else(witnessed, |pid| i32::try_from(pid).ok())?;
                Some(Start { service, run, pid })
            };
            let all: Vec<Start> = rows.into_iter().filter_map(start).collect();
            let found: BTreeSet<Start> = all.iter().cloned().collect();
            let missing: Vec<_> = began.difference(&found).collect();
            let invented: Vec<_> = found.difference(began).collect();
            assert!(missing.is_empty(), "{what} missing in {table}: {missing:?}\n{}", self.env.terminal());
            assert!(invented.is_empty(), "{what} in {table} of what never ran: {invented:?}");
            assert_eq!(all.len(), found.len(), "{what} doubled in {table}: {}", self.told_of(&twice(&all)));
        }
    }
}

fn twice(all: &[Start]) -> Vec<&Start> {
    all.iter().filter(|one| all.iter().filter(|s| s.service == one.service && s.run == one.run).count() > 1).collect()
}

/// Chance that can be had again: CHAOS_SEED in the environment, else another one each time; it is printed either way.
pub struct Chance(Cell<u64>);

impl Chance {
    pub fn new(test: &str) -> Self {
        let given = std::env::var("CHAOS_SEED").ok().and_then(|seed| seed.parse().ok());
        let seed = given.unwrap_or_else(|| std::hash::RandomState::new().build_hasher().finish() >> 16);
        println!("{test}: CHAOS_SEED={seed}");
        Self(Cell::new(seed))
    }

    /// From 0 up to `below`. (splitmix64)
    pub fn below(&self, below: u64) -> u64 {
        let state = self.0.get().wrapping_add(0x9e37_79b9_7f4a_7c15);
        self.0.set(state);
        let mut z = state;
        z = (z ^ (z >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
        (z ^ (z >> 31)) % below
    }

    /// Once in `n`.
    pub fn once_in(&self, n: u64) -> bool {
        self.below(n) == 0
    }

    pub fn millis(&self, below: u64) -> Duration {
        Duration::from_micros(self.below(below * 1000))
    }

    pub fn pick<T: Copy>(&self, from: &[T]) -> T {
        from[usize::try_from(self.below(from.len() as u64)).unwrap()]
    }
}
