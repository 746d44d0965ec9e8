//! An event server under load, and what is on record of it.
#![allow(dead_code, reason = "every theme takes what it needs")]

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use nix::sys::signal::Signal;

use super::emit_client::{Answer, Client};
use super::support::{Env, signal, wait_for};

/// An installation with an emit-server, which is up; `more`: lines of its table.
pub fn served(more: &str) -> (Env, u16) {
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    let env = Env::new(&format!(
        "[service.emit]\nbuiltin = \"emit-server\"\nlisten = \"127.0.0.1:{port}\"\nthrottle = \"0s\"\n{more}\n"
    ));
    env.start_daemon();
    env.wait_status("emit", "up");
    (env, port)
}

pub fn client(port: u16) -> Client {
    wait_for("a connection", || Client::open(port).ok())
}

pub fn counts(answer: &Answer) -> [i64; 3] {
    assert_eq!(answer.status, 200, "{}", answer.body);
    ["stored", "duplicates", "spooled"].map(|name| answer.body[name].as_i64().unwrap())
}

/// Event types on record, each with how often it is there, in both tables.
pub fn on_record(env: &Env) -> BTreeMap<String, i64> {
    // One statement: both as they are at one moment.
    let rows = env.rows(
        "SELECT 'ours', event_type, count(*) FROM supervisor_emitted GROUP BY 2 UNION ALL \
         SELECT 'shared', event_type, count(*) FROM events WHERE category <> 'system' GROUP BY 2",
    );
    let of = |table: &str| -> BTreeMap<String, i64> {
        let rows = rows.iter().filter(|row| row[0] == table);
        rows.map(|row| (row[1].as_str().unwrap().to_owned(), row[2].as_i64().unwrap())).collect()
    };
    assert_eq!(of("ours"), of("shared"));
    of("ours")
}

/// How many events are on record.
pub fn stored(env: &Env) -> i64 {
    env.rows("SELECT count(*) FROM supervisor_emitted")[0][0].as_i64().unwrap()
}

/// The pid of the server, once it is up.
pub fn main_pid(env: &Env) -> i32 {
    i32::try_from(env.wait_status("emit", "up")["pid"].as_i64().unwrap()).unwrap()
}

/// Four senders, while the server is killed so many times, each time once it has taken some requests more; each event that it answered for
/// is there once, and nothing twice.
pub fn killed_under_load(kills: usize) {
    let (env, port) = served("");
    let (over, next) = (AtomicBool::new(false), AtomicU64::new(0));
    let sent: Vec<(String, bool)> = std::thread::scope(|scope| {
        let send = || {
            let mut sent = Vec::new();
            let mut client = None;
            while !over.load(Ordering::Relaxed) {
                let Some(open) = client.take().or_else(|| Client::open(port).ok()) else {
                    std::thread::yield_now();
                    continue;
                };
                let mut open: Client = open;
                let number = next.fetch_add(1, Ordering::Relaxed);
                let single = number % 3 == 0;
                let names: Vec<String> = (0..if single { 1 } else { 20 }).map(|n| format!("e{number}-{n}")).collect();
                let body: String = names.iter().map(|name| format!("{{\"event_type\":\"{name}\"}}\n")).collect();
                let answered = match open.post(&body) {
                    Ok(answer) if answer.status == 200 => {
                        client = Some(open);
                        true
                    }
                    _ => false,
                };
                sent.extend(names.into_iter().map(|name| (name, answered)));
            }
            sent
        };
        let threads: Vec<_> = (0..4).map(|_| scope.spawn(send)).collect();
        // Any numbers that are not the same each time.
        let mut luck = u64::from(std::process::id());
        for _ in 0..kills {
            luck = luck.wrapping_mul(6_364_136_223_846_793_005).wrapping_add(1);
            let more = 10 + (luck >> 33) % 100;
            let pid = main_pid(&env);
            let before = next.load(Ordering::Relaxed);
            wait_for("some load", || (next.load(Ordering::Relaxed) > before + more).then_some(()));
            signal(pid, Signal::SIGKILL);
            wait_for("the next one", || {
                (env.try_status().is_some() && env.service("emit")["pid"] != pid).then_some(())
            });
        }
        env.wait_status("emit", "up");
        over.store(true, Ordering::Relaxed);
        threads.into_iter().flat_map(|thread| thread.join().unwrap()).collect()
    });
    let rows = on_record(&env);
    let answered = sent.iter().filter(|(_, answered)| *answered).count();
    println!("{kills} kills; of {} events sent {answered} were answered for", sent.len());
    assert!(answered > 200 * kills, "{answered}");
    for (name, answered) in &sent {
        let count = rows.get(name).copied().unwrap_or_default();
        assert!(if *answered { count == 1 } else { count <= 1 }, "{name}: {count} times, answered: {answered}");
    }
    assert_eq!(env.stop_daemon(), Some(0));
}
