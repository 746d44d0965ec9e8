//! Killed at random, again and again: daemon, runner, services. Held against a witness outside.

use nix::sys::signal::Signal;

use super::support::{Env, Guard, in_own_process, pid_of, signal};
use super::witness::{Chance, Witness};

const SERVICES: [(&str, &str); 8] = [
    ("steady-1", "steady"),
    ("steady-2", "steady"),
    ("victim-1", "steady"),
    ("victim-2", "steady"),
    ("crasher-1", "crasher"),
    ("crasher-2", "crasher"),
    ("crasher-3", "crasher"),
    ("spiller", "spiller"),
];

/// SIGKILL to the run of a victim that lives now.
fn kill_one(witness: &Witness<'_>, chance: &Chance) {
    if let Some(run) = witness.alive(chance.pick(&["victim-1", "victim-2"])) {
        signal(run.pid, Signal::SIGKILL);
    }
}

#[test]
fn a_daemon_killed_a_hundred_times_disturbs_nothing() {
    let chance = Chance::new("daemon");
    let env = Env::new(&Witness::tables(&SERVICES));
    let witness = Witness::new(&env);
    env.start_daemon();
    for (name, _) in &SERVICES[..4] {
        env.wait_status(name, "up");
    }
    let runner = env.runner_pid().unwrap();
    let steady = [witness.alive("steady-1").unwrap(), witness.alive("steady-2").unwrap()];
    for _ in 0..100 {
        witness.pass(chance.millis(180));
        if chance.once_in(3) {
            kill_one(&witness, &chance);
        }
        env.kill_daemon();
        env.spawn_daemon();
    }
    env.start_daemon();
    witness.calm(&SERVICES);
    assert_eq!(steady.clone().map(|run| witness.alive(&run.service).unwrap()), steady);
    assert_eq!(env.runner_pid(), Some(runner));
    assert_eq!(env.stop_daemon(), Some(0));
    assert_eq!(env.processes().len(), 0, "{:?}", env.processes());
    assert_eq!(witness.audit(), 0, "the parent sees every end");
    println!("{} runs", witness.starts().len());
}

/// Some that say what they do, and so show what is lost.
pub const TALKERS: [(&str, &str); 9] = [
    ("steady-1", "steady"),
    ("printer-1", "printer"),
    ("printer-2", "printer"),
    ("victim-1", "steady"),
    ("victim-2", "steady"),
    ("crasher-1", "crasher"),
    ("crasher-2", "crasher"),
    ("spiller-1", "spiller"),
    ("spiller-2", "spiller"),
];

#[test]
fn a_runner_killed_a_hundred_times_is_succeeded_without_loss() {
    // Whose parent has died becomes a child of this process, which is to reap it at once: then its end can be learnt, and not
    // every system's first process is quick at that.
    if !in_own_process("chaos::a_runner_killed_a_hundred_times_is_succeeded_without_loss") {
        return;
    }
    supervisor::process::tune::become_subreaper();
    let chance = Chance::new("runner");
    let env = Env::new("");
    // A daemon that starts no runner of its own: ours are to follow each other without a pause.
    let head = format!("[supervisor]\nstate_dir = \"{}\"\nmanager = \"systemd\"\n", env.state_dir().display());
    env.write_config(&(head + &Witness::tables(&TALKERS).replace("{dir}", &env.dir().display().to_string())));
    let witness = Witness::new(&env);
    let mut exec = vec!["exec"];
    exec.extend(TALKERS.map(|(name, _)| name));
    let start = || Guard(env.command(&exec).spawn().unwrap());
    let mut runner = start();
    env.start_daemon();
    for (name, _) in &TALKERS[..5] {
        env.wait_status(name, "up");
    }
    let stays = ["steady-1", "printer-1", "printer-2"].map(|name| witness.alive(name).unwrap());
    let mut unheld = Vec::new();
    for _ in 0..100 {
        witness.pass(chance.millis(200));
        assert_eq!(runner.0.try_wait().unwrap(), None, "a runner ended by itself\n{}", env.terminal());
        let with_daemon = chance.once_in(10);
        if with_daemon {
            env.kill_daemon();
        }
        if chance.once_in(3) {
            kill_one(&witness, &chance);
        }
        runner.0.kill().unwrap();
        runner.0.wait().unwrap();
        if chance.once_in(4) {
            kill_one(&witness, &chance);
            witness.pass(chance.millis(20));
        }
        if with_daemon {
            // What waits in a pipe that neither of them nor the run has open any more, the kernel forgets: of the newest
            // runs, as a runner that did not live long may not have read it. Looked at before there are newer ones.
            for (name, _) in &TALKERS {
                let newest = witness.starts().into_iter().rfind(|run| run.service == *name);
                let run = newest.map_or(0, |run| run.run);
                unheld.extend((run.saturating_sub(6)..=run + 1).map(|run| (name.to_string(), run)));
            }
        }
        runner = start();
        if with_daemon {
            env.start_daemon();
        }
    }
    witness.calm(&TALKERS);
    assert_eq!(stays.clone().map(|run| witness.alive(&run.service).unwrap()), stays);
    signal(pid_of(&runner.0), Signal::SIGTERM);
    assert_eq!(runner.0.wait().unwrap().code(), Some(0));
    env.start_daemon();
    assert_eq!(env.stop_daemon(), Some(0));
    assert_eq!(env.processes().len(), 0, "{:?}", env.processes());
    let lost = witness.audit();
    for (name, _) in &TALKERS {
        let folder = std::fs::read_dir(env.state_dir().join("supervisor/services").join(name)).unwrap();
        let scratch = folder.filter(|entry| entry.as_ref().unwrap().path().extension().is_some_and(|e| e == "tmp"));
        assert_eq!(scratch.count(), 0, "half-written records of {name} pile up");
    }
    witness.nothing_printed_is_missing(&["printer-1", "printer-2", "spiller-1", "spiller-2"], &unheld);
    println!("{} runs, {lost} ends unseen", witness.starts().len());
}
