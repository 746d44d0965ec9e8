//! Restart: from the moment just before kill(2) with SIGKILL to the first act of the successor, by the same clock.
//!
//! Six services under each supervisor, both there at the same time, killed in turn, one at a time, twice a second. `young`: a
//! service that was started 0.1 s ago is killed again.

use std::time::Duration;

use nix::sys::signal::Signal;

use crate::Plan;
use crate::host;
use crate::peer::{Peer, Which, services, signal, wait_for};
use crate::table::{Mark, Row};

pub fn measure(plan: &Plan) -> Vec<Row> {
    let (rounds, young_rounds, pause) = if plan.quick { (3, 1, 50) } else { (48, 12, 500) };
    let mut peers = [Which::Floor, Which::Ours].map(|which| {
        let mut peer = Peer::new(&plan.programs, which, &services(6, "sleep"));
        peer.start(6);
        peer
    });
    peers.iter().for_each(|peer| peer.settle(Duration::from_millis(pause * 4)));
    let (mut old, mut young) = ([const { Vec::new() }; 2], [const { Vec::new() }; 2]);
    for round in 0..rounds {
        for (peer, samples) in peers.iter_mut().zip(&mut old) {
            samples.push(kill_one(peer, round));
        }
        host::sleep(Duration::from_millis(pause));
    }
    for round in 0..young_rounds {
        for (peer, samples) in peers.iter_mut().zip(&mut young) {
            kill_one(peer, round);
            host::sleep(Duration::from_millis(100));
            samples.push(kill_one(peer, round));
        }
    }
    peers.iter_mut().for_each(|peer| _ = peer.stop());
    let ([floor, ours], [young_floor, young_ours]) = (old, young);
    vec![
        Row::new("restart after kill -9", "ms", floor, ours, Mark::AtMostTimes(1.5)),
        Row::new("the same, 0.1 s after its start", "ms", young_floor, young_ours, Mark::AtMostTimes(1.5)),
    ]
}

/// Kills a service and waits for its successor; milliseconds in between.
fn kill_one(peer: &mut Peer, round: usize) -> f64 {
    let name = format!("s{}", round % 6);
    peer.poll();
    let victim = peer.last[&name].pid;
    let before = host::now();
    signal(victim, Signal::SIGKILL);
    wait_for("the restart of a killed service", Duration::from_secs(15), 1, || {
        peer.poll();
        let last = peer.last[&name];
        (last.pid != victim).then(|| host::ms(before, last.ns))
    })
}
