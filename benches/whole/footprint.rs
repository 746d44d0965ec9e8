//! Footprint: memory of all of the supervisor's own processes (proportional share, PSS), wake-ups while nothing happens
//! (voluntary context switches), time to start and to stop so many services, with 6, 100 and 1000 that sleep.
//!
//! A runner alone is `supervisor exec NAME`, as launchd and systemd start one for each service. Two of them are there, so that
//! what they share (the program) does not count as private: the figure is what one more costs.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::Plan;
use crate::host::{self, memory, wakeups};
use crate::peer::{Peer, Which, services, signal, wait_for};
use crate::table::{Mark, Row};

pub fn measure(plan: &Plan) -> Vec<Row> {
    let sizes = if plan.quick { &[(6, 10.0)][..] } else { &[(6, 10.0), (100, 15.0), (1000, 40.0)][..] };
    let mut rows: Vec<Row> = sizes.iter().flat_map(|&(n, megabytes)| fleet(plan, n, megabytes)).collect();
    rows.push(alone(plan));
    rows
}

/// What is seen of one peer.
#[derive(Default)]
struct Seen {
    start: Vec<f64>,
    stop: Vec<f64>,
    memory: Vec<f64>,
    /// Of the process that is the parent of the services.
    wakeups: Vec<f64>,
    /// Of the daemon.
    daemon_wakeups: Vec<f64>,
}

fn fleet(plan: &Plan, n: usize, megabytes: f64) -> Vec<Row> {
    let (rounds, settle, idle) = if plan.quick { (1, 500, 1) } else { (3, 4000, 15) };
    let mut seen = [Which::Floor, Which::Ours].map(|which| (which, Seen::default()));
    for round in 1..=rounds {
        for (which, seen) in &mut seen {
            let mut peer = Peer::new(&plan.programs, *which, &services(n, "sleep"));
            seen.start.push(peer.start(n));
            if round == rounds {
                peer.settle(Duration::from_millis(settle));
                idle_for(&peer, Duration::from_secs(idle), seen);
            }
            seen.stop.push(peer.stop());
        }
    }
    let [(_, floor), (_, ours)] = seen;
    let with = |what: &str| format!("{what}, {n} services");
    let (start_mark, stop_mark) =
        if n == 1000 { (Mark::AtMost(2000.0), Mark::AtMost(1000.0)) } else { (Mark::None, Mark::None) };
    let of_runner = with(&format!("wake-ups of the runner in {idle} idle s"));
    vec![
        Row::new(with("memory, daemon and runner"), "MB", floor.memory, ours.memory, Mark::AtMost(megabytes)),
        Row::new(of_runner, "", floor.wakeups, ours.wakeups, Mark::AtMost(0.0)),
        Row::new(with("the same of the daemon"), "", Vec::new(), ours.daemon_wakeups, Mark::None),
        Row::new(with("start to the first act of the last"), "ms", floor.start, ours.start, start_mark),
        Row::new(with("stop"), "ms", floor.stop, ours.stop, stop_mark),
    ]
}

fn idle_for(peer: &Peer, time: Duration, seen: &mut Seen) {
    let own = peer.processes().0;
    let before: Vec<_> = own.iter().map(|p| wakeups(p.pid)).collect();
    host::sleep(time);
    for (process, before) in own.iter().zip(before) {
        let during = wakeups(process.pid).zip(before).map(|(after, before)| (after - before) as f64);
        let parent = peer.which == Which::Floor || process.is_runner();
        if parent { &mut seen.wakeups } else { &mut seen.daemon_wakeups }.extend(during);
    }
    let kib: f64 = own.iter().map(|p| memory(p.pid).share).sum();
    seen.memory.push(kib * 1024.0 / 1e6);
}

fn alone(plan: &Plan) -> Row {
    let list = services(2, "sleep");
    let mut runners = Peer::new(&plan.programs, Which::Ours, &list);
    for service in &list {
        let runner = runners.command(&["exec", &service.name]);
        runners.spawn(runner);
        wait_for("the start of a service", Duration::from_secs(20), 5, || {
            runners.poll();
            runners.last.contains_key(&service.name).then_some(())
        });
    }
    host::sleep(Duration::from_millis(if plan.quick { 200 } else { 2000 }));
    let own = runners.processes().0;
    assert_eq!(own.len(), 2, "two runners");
    let private = own.iter().filter_map(|p| memory(p.pid).private).map(|kib| kib / 1024.0).collect();
    own.iter().for_each(|p| signal(p.pid, Signal::SIGTERM));
    wait_for("the end of the runners", Duration::from_secs(20), 5, || {
        let (own, services) = runners.processes();
        (own.is_empty() && services.is_empty()).then_some(())
    });
    Row::new("private memory of a runner alone, 1 service", "MiB", Vec::new(), private, Mark::AtMost(1.5))
}
