//! `status --json`, as a whole process from before its start to its end, with 6, 100 and 1000 services that sleep; the floor's
//! `status` in turn, with as many. (Our report is a few hundred bytes a service, the floor's thirty.)

use std::time::Duration;

use crate::Plan;
use crate::peer::{Peer, Which, services};
use crate::table::{Mark, Row};

pub fn measure(plan: &Plan) -> Vec<Row> {
    let all = [(6, Mark::AtMostTimes(2.0)), (100, Mark::AtMost(8.0)), (1000, Mark::AtMost(25.0))];
    let (sizes, rounds, settle) = if plan.quick { (&all[..1], 3, 100) } else { (&all[..], 31, 4000) };
    sizes.iter().map(|&(n, mark)| with(plan, n, mark, rounds, Duration::from_millis(settle))).collect()
}

fn with(plan: &Plan, n: usize, mark: Mark, rounds: usize, settle: Duration) -> Row {
    let mut peers = [Which::Floor, Which::Ours].map(|which| {
        let mut peer = Peer::new(&plan.programs, which, &services(n, "sleep"));
        peer.start(n);
        peer
    });
    peers[1].settle(settle);
    let mut took = [const { Vec::new() }; 2];
    for _ in 0..rounds {
        for (peer, samples) in peers.iter().zip(&mut took) {
            samples.push(peer.status().0);
        }
    }
    peers.iter_mut().for_each(|peer| _ = peer.stop());
    let [floor, ours] = took;
    Row::new(format!("status, {n} services"), "ms", floor, ours, mark)
}
