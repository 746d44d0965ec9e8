//! What a round of looks at the memory of all services costs, as a share of a core at the default interval (60 s): 6 services of five
//! processes each, and 100 of one. Each look is what the daemon takes.

use std::process::{Child, Command, Stdio};

use supervisor::process::{identity, memory::Tree};

use crate::Plan;
use crate::host::{self, now};
use crate::peer::wait_for;
use crate::table::{Mark, Row};

/// Seconds between two rounds.
const INTERVAL: f64 = 60.0;

pub fn measure(plan: &Plan) -> Vec<Row> {
    let rounds = if plan.quick { 5 } else { 200 };
    vec![round(rounds, 6, 4, Mark::AtMost(0.1)), round(rounds, 100, 0, Mark::AtMost(1.0))]
}

/// A service that ends with its stdin, and so many children of it.
#[expect(clippy::disallowed_methods, reason = "a benchmark starts programs")]
fn service(children: usize) -> Child {
    let script = format!("for i in $(seq {children}); do cat <&3 & done; exec cat");
    let mut command = Command::new("/bin/sh");
    command.args(["-c", &format!("exec 3<&0; {script}")]).stdin(Stdio::piped()).stdout(Stdio::null());
    command.spawn().expect("a shell")
}

fn round(rounds: usize, services: usize, children: usize, mark: Mark) -> Row {
    let mut running: Vec<Child> = (0..services).map(|_| service(children)).collect();
    let mut trees: Vec<(Tree, i32, u64)> = running
        .iter()
        .map(|child| {
            let pid = i32::try_from(child.id()).expect("a pid");
            (Tree::default(), pid, identity::start_token(pid).expect("a process"))
        })
        .collect();
    let mut look = || -> usize {
        let seen = trees.iter_mut().filter_map(|(tree, pid, start)| tree.look(*pid, *start));
        seen.map(|sample| sample.count as usize).sum()
    };
    let all = services * (children + 1);
    wait_for("all processes", std::time::Duration::from_secs(20), 5, || (look() == all).then_some(()));
    let mut shares = Vec::new();
    for _ in 0..rounds {
        let from = now();
        assert_eq!(look(), all);
        shares.push(host::ms(from, now()) / 1000.0 / INTERVAL * 100.0);
    }
    running.iter_mut().for_each(|child| drop(child.stdin.take()));
    running.iter_mut().for_each(|child| drop(child.wait()));
    Row::new(
        format!("memory of {services} services, {all} processes, each 60 s"),
        "% of a core",
        Vec::new(),
        shares,
        mark,
    )
}
