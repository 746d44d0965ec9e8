//! Million: as many empty files in a thousand folders, which are there before the watcher is. How long its first look at them takes,
//! and the look after a restart; what it has in memory then, and on disk.
//!
//! The files are made in the folder that SUPERVISOR_WATCH_IN names; one in memory (/dev/shm) is the fastest.

use std::time::Duration;

use nix::sys::signal::Signal;
use nix::time::{ClockId, clock_gettime};

use crate::host::{self, now};
use crate::support::{signal, wait_within};
use crate::table::{Mark, Row};
use crate::{Ours, Plan, watcher};

pub fn measure(plan: &Plan) -> Vec<Row> {
    let (folders, in_each) = if plan.quick { (100, 100) } else { (1000, 1000) };
    let ours = Ours::new(plan, folders);
    let from = now();
    for folder in ours.tree.all().skip(1) {
        for number in 0..in_each {
            std::fs::File::create_new(folder.join(format!("file-{number}"))).unwrap();
        }
    }
    let files = folders * in_each;
    // What was made in the last 20 ms before its start would be new to it.
    host::sleep(Duration::from_millis(100));
    eprintln!("  {files} files made in {:.1} s", host::ms(from, now()) / 1000.0);
    let mut rows = Vec::new();
    for what in ["first look", "look after a restart"] {
        let (from, began_ms) = (now(), wall_ms());
        let mut process = watcher::start(&ours.env);
        let status = wait_within(what, Duration::from_secs(600), || {
            let status = watcher::status(&ours.env)?;
            status.sets.iter().all(|set| set.scanned_ms.is_some_and(|at| at >= began_ms)).then_some(status)
        });
        let took = host::ms(from, now()) / 1000.0;
        let unknown = (status.sets[0].known as f64 - files as f64).abs();
        // What is written after it.
        host::sleep(Duration::from_secs(3));
        let pid = watcher::pid(&process);
        let with = |figure: &str| format!("{figure}, {files} files, {what}");
        let megabytes = |name: &str| memory(pid, name).map(|kib| kib * 1024.0 / 1e6).into_iter().collect();
        rows.extend([
            Row::new(with("time"), "s", Vec::new(), vec![took], Mark::None),
            Row::new(with("RssAnon"), "MB", Vec::new(), megabytes("RssAnon:"), Mark::None),
            Row::new(with("VmRSS"), "MB", Vec::new(), megabytes("VmRSS:"), Mark::None),
            Row::new(with("VmHWM"), "MB", Vec::new(), megabytes("VmHWM:"), Mark::None),
            Row::new(with("on disk"), "MB", Vec::new(), vec![on_disk(&ours)], Mark::None),
            Row::new(with("files unknown to it"), "", Vec::new(), vec![unknown], Mark::Never),
        ]);
        signal(pid, Signal::SIGTERM);
        wait_within("its end", Duration::from_secs(60), || process.0.try_wait().unwrap());
    }
    rows
}

/// Milliseconds since 1970 UTC.
fn wall_ms() -> i64 {
    let time = clock_gettime(ClockId::CLOCK_REALTIME).expect("the clock");
    time.tv_sec() * 1000 + time.tv_nsec() / 1_000_000
}

/// A line of /proc/PID/status in KiB; `None` where there is none.
fn memory(pid: i32, name: &str) -> Option<f64> {
    let status = std::fs::read_to_string(format!("/proc/{pid}/status")).ok()?;
    status.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB")?.trim().parse().ok())
}

/// What is in its state directory, in MB.
fn on_disk(ours: &Ours) -> f64 {
    let mut folders = vec![ours.env.state_dir()];
    let mut bytes = 0;
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap().flatten() {
            match entry.metadata() {
                Ok(data) if data.is_dir() => folders.push(entry.path()),
                Ok(data) => bytes += data.len(),
                // It is gone by now.
                Err(_) => {}
            }
        }
    }
    bytes as f64 / 1e6
}
