//! Storm: 100 services that exit with 1 as soon as they have started, without any pause, for 20 s; `status` once a second.
//! The floor goes before and after ours, for half as long each.
//!
//! At the end the services are calmed (svc.rs: they sleep from their next start on), so that what is stopped then has all put
//! its stamp down: there are exactly as many ends as there were starts, and the ledger must have a row for each.

use std::fs::File;
use std::time::Duration;

use crate::Plan;
use crate::host;
use crate::peer::{Peer, Which, services, wait_for};
use crate::table::{Mark, Row, median};

#[derive(Default)]
struct Seen {
    rates: Vec<f64>,
    status: Vec<f64>,
    /// Ends that were, and those on record.
    ends: Option<(u64, u64)>,
}

pub fn measure(plan: &Plan) -> Vec<Row> {
    let (n, seconds) = if plan.quick { (20, 2) } else { (100, 20) };
    let (mut floor, mut ours) = (Seen::default(), Seen::default());
    one(plan, Which::Floor, n, seconds / 2, &mut floor);
    one(plan, Which::Ours, n, seconds, &mut ours);
    one(plan, Which::Floor, n, seconds / 2, &mut floor);
    let slowest = |of: &[f64]| of.iter().copied().reduce(f64::max).into_iter().collect::<Vec<_>>();
    let (floor_slowest, ours_slowest) = (slowest(&floor.status), slowest(&ours.status));
    let (were, recorded) = ours.ends.expect("the ends of a storm");
    let unlike = vec![were.abs_diff(recorded) as f64];
    let floor_rate = median(&floor.rates).into_iter().collect();
    vec![
        Row::new(format!("storm of {n} services"), "restarts/s", floor_rate, ours.rates, Mark::AtLeast(1000.0)),
        Row::new("status in a storm", "ms", floor.status, ours.status, Mark::AtMostTimes(2.0)),
        Row::new("the slowest of them", "ms", floor_slowest, ours_slowest, Mark::AtMost(250.0)),
        Row::new(format!("rows too few or too many for {were} ends"), "", Vec::new(), unlike, Mark::Never),
    ]
}

/// No start for so long, milliseconds, means that all of them sleep: both start again at once.
const CALM_MS: f64 = 1000.0;

fn one(plan: &Plan, which: Which, n: usize, seconds: u64, seen: &mut Seen) {
    let mut peer = Peer::new(&plan.programs, which, &services(n, "crash"));
    peer.start(n);
    let (before, began) = (peer.starts, host::now());
    while host::ms(began, host::now()) < seconds as f64 * 1000.0 {
        seen.status.push(peer.status().0);
        host::sleep(Duration::from_secs(1));
    }
    peer.poll();
    seen.rates.push((peer.starts - before) as f64 * 1000.0 / host::ms(began, host::now()));

    File::create(peer.dir().join("events.calm")).expect("the file that calms");
    // Whoever starts from now on sees the file and sleeps, so that soon nobody starts any more. (A stamp alone does not tell: one
    // from just before may be of a run that has seen the file after it.)
    let mut last = (peer.starts, host::now());
    wait_for("calm", Duration::from_secs(30), 5, || {
        peer.poll();
        if peer.starts != last.0 {
            last = (peer.starts, host::now());
        }
        (host::ms(last.1, host::now()) > CALM_MS).then_some(())
    });
    peer.stop();
    if which == Which::Ours {
        seen.ends = Some((peer.starts, recorded(&peer)));
    }
}

/// Rows of ends in the ledger.
fn recorded(peer: &Peer) -> u64 {
    let ledger = rusqlite::Connection::open(peer.dir().join("state/observability.sqlite")).expect("the ledger");
    let ends = "SELECT count(*) FROM events WHERE event_type IN ('service_crash', 'service_exit', 'service_lost')";
    let rows: i64 = ledger.query_row(ends, [], |row| row.get(0)).expect("the ledger's rows");
    u64::try_from(rows).expect("a number of rows")
}
