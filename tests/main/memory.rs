//! What services use is looked at, kept and acted upon: limits, restarts of the daemon, heap snapshots.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;
use serde_json::Value;
use supervisor::control::client::Daemon;
use supervisor::error::ErrorKind;
use supervisor::model::UnitName;
use supervisor::model::paths::Paths;
use supervisor::model::wire::{HeapSnapshotBody, HeapSnapshotReply};

use super::support::{Env, pass, wait_for};
use super::tools::*;

/// Where a [`hog`] is told how many MiB it is to have.
const WANTED: &str = "HOG_WANTED";

/// Has as many MiB as it was told last: this test binary, started once more as a service. As a test among others it is over at once.
#[test]
fn hog() {
    let Some(file) = std::env::var_os(WANTED).map(PathBuf::from) else { return };
    let mut held: Vec<u8> = Vec::new();
    std::fs::write(file.with_extension("pid"), std::process::id().to_string()).unwrap();
    loop {
        // Renamed into place, so that it is whole; taken away, so that the next run begins small.
        if let Some(mib) = std::fs::read_to_string(&file).ok().and_then(|text| text.parse::<usize>().ok()) {
            drop(std::mem::take(&mut held));
            // In one piece: what is given back goes to the system and not to the allocator.
            held = vec![1; mib << 20];
            std::fs::remove_file(&file).unwrap();
        }
        std::hint::black_box(&held);
        pass(Duration::from_millis(10), || ());
    }
}

/// A hog as the child of a shell, or in its place.
fn table(name: &str, is_child: bool, memory: &str) -> String {
    let program = std::env::current_exe().unwrap();
    let run = format!("\"{}\" memory::hog --exact --nocapture --test-threads=1", program.display());
    // A shell that has nothing else to do would become what it runs.
    let script = if is_child { format!("{run}; exit") } else { format!("exec {run}") };
    let more = format!(
        "env = {{ {WANTED} = \"{{dir}}/{name}\" }}\nstop_timeout = \"5s\"\nthrottle = \"0s\"\n[service.{name}.memory]\n{memory}"
    );
    service(name, &script, &more)
}

/// Has it use so many MiB, and waits until it does.
fn use_mib(env: &Env, name: &str, mib: usize) {
    wait_file(&home(env, &format!("{name}.pid")));
    put(&home(env, name), &mib.to_string(), 0o600);
    wait_for(&format!("{mib} MiB in {name}"), || (!home(env, name).exists()).then_some(()));
}

fn memory(env: &Env, name: &str) -> Value {
    env.service(name)["memory"].clone()
}

/// Waits until a sample of the service has this many MiB, more or less.
fn wait_mib(env: &Env, name: &str, from: u64, to: u64) -> Value {
    wait_for(&format!("{from} to {to} MiB of {name}"), || {
        let memory = memory(env, name);
        (from << 20..to << 20).contains(&memory["bytes"].as_u64()?).then_some(memory)
    })
}

/// How often it was looked at, and in how many lives, by the database.
fn kept(env: &Env, name: &str) -> (u64, u64) {
    let sql = format!(
        "SELECT count(*), count(DISTINCT s.at_ms), count(DISTINCT l.pid) FROM supervisor_memory s \
         JOIN supervisor_memory_lives l ON l.id = s.life WHERE l.service = '{name}' AND s.span_ms = 0"
    );
    let row = env.rows(&sql).swap_remove(0);
    let [all, moments, lives] = [0, 1, 2].map(|column| row[column].as_u64().unwrap());
    assert_eq!(all, moments, "no sample is kept twice");
    (all, lives)
}

#[test]
fn what_a_service_and_its_children_use_is_shown_and_kept_over_the_end_of_a_daemon() {
    let closed = "interval = \"100ms\"\nheap = { http = \"http://127.0.0.1:1/s?key=k\", pointer = \"/h\" }\n";
    let env = Env::new(&(table("a", true, closed) + &table("b", false, "interval = \"1s\"\n")));
    env.start_daemon();
    use_mib(&env, "a", 60);
    use_mib(&env, "b", 30);
    let a = wait_mib(&env, "a", 60, 200);
    let b = wait_mib(&env, "b", 30, 60);
    let metric = if cfg!(target_os = "macos") { "footprint" } else { "anon+swap" };
    assert_eq!((&a["metric"], &b["metric"]), (&metric.into(), &metric.into()), "{a:#}");
    assert_eq!((&a["processes"], &b["processes"]), (&2.into(), &1.into()), "a shell and its child, and one alone");
    let trouble = wait_for("why its heap is not known", || {
        Some(memory(&env, "a")["troubles"][0].clone()).filter(|it| it.is_object())
    });
    assert!(
        trouble["of"] == "heap" && trouble["why"].as_str().unwrap().starts_with("http://127.0.0.1:1/s?...: "),
        "{trouble}"
    );
    for (args, said) in
        [(["status", "a"], "its heap is not known since"), (["why", "a"], "Its heap is not known since")]
    {
        let text = String::from_utf8(env.cli(&args).stdout).unwrap();
        assert!(text.contains(said), "{text}");
    }
    // One commit is for many samples: it takes a few seconds.
    let (before, lives) = wait_for("samples in the database", || Some(kept(&env, "a")).filter(|(all, _)| *all > 5));
    assert_eq!(lives, 1);
    let pids = env.rows("SELECT DISTINCT json_array_length(processes) FROM supervisor_memory WHERE span_ms = 0");
    assert!(pids.contains(&vec![2.into()]), "each process is kept: {pids:?}");
    let run = run_id(&env, "a");
    env.kill_daemon();
    env.start_daemon();
    wait_mib(&env, "a", 60, 200);
    let more = wait_for("more samples", || Some(kept(&env, "a")).filter(|(all, _)| *all > before + 5));
    assert_eq!((more.1, run_id(&env, "a")), (1, run), "it is the same life");
    // What is on its way when a daemon goes in order is kept as well.
    let last = memory(&env, "a")["sampled_ms"].as_i64().unwrap();
    env.stop_daemon();
    let newest = env.rows("SELECT max(at_ms) FROM supervisor_memory WHERE span_ms = 0")[0][0].as_i64().unwrap();
    assert!(newest >= last, "{newest} is older than {last}");
    let states = "SELECT json_extract(state, '$.life.pid') IN (SELECT pid FROM supervisor_memory_lives), at_ms \
                  FROM supervisor_memory_trends";
    let states = env.rows(states);
    assert!(states.len() == 2 && states.iter().all(|row| row[0] == 1 && row[1].as_i64() >= Some(last)), "{states:?}");
    assert!(!env.terminal().contains("cannot be read"), "{}", env.terminal());
}

#[test]
fn above_its_limit_it_is_restarted_drained_once_and_not_for_a_single_sample() {
    let env = Env::new(
        &(table("over", false, "interval = \"100ms\"\nlimit = \"60MiB\"\n")
            + &table("spike", false, "interval = \"1500ms\"\nlimit = \"60MiB\"\n")),
    );
    env.start_daemon();
    use_mib(&env, "spike", 100);
    wait_mib(&env, "spike", 100, 200);
    use_mib(&env, "spike", 1);
    let seen = memory(&env, "spike")["sampled_ms"].clone();
    use_mib(&env, "over", 100);
    let end = wait_row(&env, "over", |row| row.is("service_crash") || row.is("service_exit"));
    assert_eq!((end.run(), &end.data["class"], &end.data["cause"]), (1, &"over_memory".into(), &"over_memory".into()));
    assert_eq!(end.data["signal"], "SIGTERM", "it was asked to go: {:#}", end.data);
    up_after(&env, "over", 1);
    wait_mib(&env, "over", 0, 60);
    sync(&env);
    let ends = rows_of(&env, "over").into_iter().filter(|row| row.data["class"] == "over_memory").count();
    assert_eq!(ends, 1, "{:#?}", rows_of(&env, "over"));
    assert_eq!(run_id(&env, "over"), 2);
    // It has been looked at twice since.
    let sampled = |env: &Env| memory(env, "spike")["sampled_ms"].clone();
    let next = wait_for("a sample after the spike", || Some(sampled(&env)).filter(|at| *at != seen));
    wait_for("one more", || Some(sampled(&env)).filter(|at| *at != next));
    wait_mib(&env, "spike", 0, 60);
    assert_eq!((run_id(&env, "spike"), count(&env, "spike", "service_crash")), (1, 0));
}

#[test]
fn a_restart_that_did_not_help_is_remembered_however_soon_the_daemon_is_killed() {
    let names = ["x", "y", "z"];
    let of = |name: &&str| {
        // Who is not to be held back is restarted each time.
        table(name, false, "interval = \"100ms\"\nlimit = \"60MiB\"\n").replace("\"0s\"", "\"100ms\"")
    };
    let env = Env::new(&names.iter().map(of).collect::<String>());
    env.start_daemon();
    for name in names {
        use_mib(&env, name, 100);
        wait_row(&env, name, |row| row.is("memory_limit") && row.data["stage"] == "restart");
        wait_for("its end", || {
            sync(&env);
            rows_of(&env, name).iter().any(|row| row.data["class"] == "over_memory").then_some(())
        });
        env.kill_daemon();
        env.start_daemon();
        up_after(&env, name, 1);
    }
    for name in names {
        use_mib(&env, name, 100);
        let waits =
            wait_for("what is said of the next restart", || memory(&env, name)["waiting"].as_str().map(str::to_owned));
        assert!(waits.contains("1 restart for that did not help"), "{waits}");
        assert_eq!(run_id(&env, name), 2, "{:#?}", rows_of(&env, name));
    }
}

fn snapshot(env: &Env, name: &str) -> Result<HeapSnapshotReply, supervisor::error::Error> {
    let name = UnitName::new(name).unwrap();
    Daemon::connect(&Paths::new(&env.state_dir())).unwrap().heap_snapshot(&HeapSnapshotBody { name })
}

/// Writes a file upon SIGPROF, as node does, and does nothing else meanwhile.
const WRITER: &str = r#"
trap 'touch busy; for part in 1 2 3 4 5 6 7 8; do echo $part >> Heap.x.$$.0.heapsnapshot; sleep 0.3; done; rm busy' PROF
while :; do sleep 0.05; done"#;

#[test]
fn a_heap_snapshot_is_written_on_request_and_its_writer_is_not_called_hung() {
    let health = "[service.w.health]\nexec = [\"/bin/sh\", \"-c\", \"test ! -e {dir}/busy\"]\n\
                  interval = \"200ms\"\ntimeout = \"100ms\"\nfailures = 4\n";
    let wanted =
        "cwd = \"{dir}\"\nthrottle = \"0s\"\n[service.w.memory]\ninterval = \"100ms\"\nsnapshot_signal = \"PROF\"\n";
    let env = Env::new(
        &(service("w", WRITER, wanted)
            + health
            + &service("none", "exec sleep 1000", "[service.none.memory]\ninterval = \"100ms\"\n")),
    );
    env.start_daemon();
    let pid = main_pid(&env, "w");
    wait_mib(&env, "w", 0, 100);
    wait_for("its trap", || handles_prof(pid).then_some(()));
    // Two who want one at a time have the same.
    let both: Vec<_> = std::thread::scope(|scope| {
        let first = scope.spawn(|| snapshot(&env, "w").unwrap().file);
        wait_file(&home(&env, "busy"));
        let second = scope.spawn(|| {
            let said = env.cli(&["memory", "w", "--snapshot", "--json"]).stdout;
            serde_json::from_slice::<HeapSnapshotReply>(&said).unwrap().file
        });
        [first, second].into_iter().map(|thread| thread.join().unwrap()).collect()
    });
    let file = home(&env, &format!("Heap.x.{pid}.0.heapsnapshot"));
    assert_eq!(both, [file.display().to_string(), file.display().to_string()]);
    assert_eq!(std::fs::read_to_string(&file).unwrap(), "1\n2\n3\n4\n5\n6\n7\n8\n", "it is whole");
    assert_eq!(file.metadata().unwrap().permissions().mode() & 0o777, 0o600, "it holds what the process knew");
    sync(&env);
    let row = wait_row(&env, "w", |row| row.is("memory_snapshot"));
    assert_eq!(row.data["file"], file.display().to_string());
    assert_eq!((run_id(&env, "w"), count(&env, "w", "service_hung")), (1, 0));
    // Its silence was excused, and is no more.
    std::fs::write(home(&env, "busy"), "").unwrap();
    wait_row(&env, "w", |row| row.is("service_hung"));
    std::fs::remove_file(home(&env, "busy")).unwrap();

    let refused = snapshot(&env, "none").unwrap_err();
    assert!(refused.kind == ErrorKind::Refused && refused.message.contains("declares no signal"), "{refused}");
    assert_eq!(snapshot(&env, "nobody").unwrap_err().kind, ErrorKind::Usage);
    assert_eq!(env.cli(&["memory", "none", "--snapshot"]).status.code(), Some(6));
}

/// Whether a process would do something upon SIGPROF other than end. Elsewhere than on Linux that is believed after a while.
fn handles_prof(pid: i32) -> bool {
    let Ok(status) = std::fs::read_to_string(format!("/proc/{pid}/status")) else {
        pass(Duration::from_secs(1), || ());
        return true;
    };
    let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:")).unwrap();
    u64::from_str_radix(caught.trim(), 16).unwrap() >> (Signal::SIGPROF as u32 - 1) & 1 == 1
}
