//! Idle: a tree of a thousand folders with a file in each, in which nothing happens. How often the watcher's threads have waited for
//! something (voluntary context switches) in a minute between two canaries, which are five minutes apart.

use std::time::Duration;

use crate::host;
use crate::table::{Mark, Row};
use crate::{Ours, Plan, watcher};

pub fn measure(plan: &Plan) -> Vec<Row> {
    let (folders, seconds) = if plan.quick { (100, 3) } else { (1000, 60) };
    let ours = Ours::new(plan, folders);
    for (number, folder) in ours.tree.all().enumerate() {
        std::fs::write(folder.join(format!("f{number}")), b"one line\n").unwrap();
    }
    let process = watcher::start(&ours.env);
    watcher::wait_until_it_watches(&ours.env, Duration::from_secs(60));
    let proved = || watcher::status(&ours.env).expect("an answer").canary.and_then(|canary| canary.proved_ms);
    crate::support::wait_for("the first canary", proved);
    // What follows a start, and the answer to what was just asked: the thread that gave it ends ten seconds later.
    host::sleep(Duration::from_secs(12));
    let pid = watcher::pid(&process);
    let (before, cpu) = (host::wakeups(pid), host::cpu(pid));
    host::sleep(Duration::from_secs(seconds));
    let during = host::wakeups(pid).zip(before).map(|(after, before)| after as f64 - before as f64);
    let cpu = host::cpu(pid).zip(cpu).map(|(after, before)| (after - before) / 1000.0);
    let memory = host::memory(pid);
    vec![
        Row::new(
            format!("wake-ups in {seconds} idle s, {folders} folders"),
            "",
            Vec::new(),
            during.into_iter().collect(),
            Mark::AtMost(0.0),
        ),
        Row::new("processor time meanwhile", "ms", Vec::new(), cpu.into_iter().collect(), Mark::None),
        Row::new("memory then", "MB", Vec::new(), vec![memory.share * 1024.0 / 1e6], Mark::None),
    ]
}
