//! Log: one service writes 500 MB in lines of 100 bytes as fast as it can; files are rotated at 50 MB, 20 old ones kept. MB/s from
//! its first line until all is in the files, three times in turn with the floor. Then every line is looked at. And once more
//! with a service that would write for ever and is killed with SIGKILL after 400 MB: what it had written must be there.

use std::fs::{self, File};
use std::io::Read;
use std::path::PathBuf;
use std::time::Duration;

use nix::sys::signal::Signal;

use crate::Plan;
use crate::host;
use crate::peer::{Peer, Service, Which, services, signal, wait_for};
use crate::table::{Mark, Row};

const LINE: usize = 100;

/// The writer is killed when it has written so many lines: 400 MB of the 1050 that are kept.
const KILLED_AFTER: u64 = 4_000_000;

pub fn measure(plan: &Plan) -> Vec<Row> {
    let (megabytes, rounds) = if plan.quick { (60, 1) } else { (500, 3) };
    let mut seen = [Which::Floor, Which::Ours].map(|which| (which, Vec::new(), Vec::new(), Vec::new()));
    for _ in 0..rounds {
        for (which, speed, bad, bad_killed) in &mut seen {
            let (rate, lost) = whole(plan, *which, megabytes * 1_000_000);
            speed.push(rate);
            bad.push(lost as f64);
            bad_killed.push(killed(plan, *which) as f64);
        }
    }
    let [(_, floor, floor_bad, floor_killed), (_, ours, bad, bad_killed)] = seen;
    vec![
        Row::new(format!("log, {megabytes} MB"), "MB/s", floor, ours, Mark::AtLeastTimes(0.8)),
        Row::new("lines lost or cut", "", floor_bad, bad, Mark::Never),
        Row::new("the same when the writer is killed", "", floor_killed, bad_killed, Mark::Never),
    ]
}

/// What svc keeps count of.
struct Counters(PathBuf);

impl Counters {
    fn get(&self, index: usize) -> Option<u64> {
        let bytes = fs::read(&self.0).ok()?;
        let value = u64::from_ne_bytes(bytes.get(index * 8..index * 8 + 8)?.try_into().ok()?);
        (value > 0).then_some(value)
    }

    fn lines(&self) -> u64 {
        self.get(0).unwrap_or(0)
    }

    fn began(&self) -> Option<u64> {
        self.get(1)
    }

    fn pid(&self) -> Option<i32> {
        self.get(3).and_then(|pid| i32::try_from(pid).ok())
    }
}

/// Started and writing.
fn flood(plan: &Plan, which: Which, bytes: u64) -> (Peer<'_>, Counters, u64) {
    let mut list = services(1, "sleep");
    let mut peer = Peer::new(&plan.programs, which, &list);
    let counters = Counters(peer.dir().join("counters"));
    let args = vec![bytes.to_string(), counters.0.display().to_string()];
    list.push(Service { name: "flood".into(), mode: "flood", args, more: String::new() });
    peer.configure(&list);
    peer.start(2);
    let began = wait_for("the first line", Duration::from_secs(20), 1, || counters.began());
    (peer, counters, began)
}

/// MB/s, and lines that are not as they were written.
fn whole(plan: &Plan, which: Which, bytes: u64) -> (f64, u64) {
    let (mut peer, counters, began) = flood(plan, which, bytes);
    wait_for("all of the output in the log", Duration::from_secs(120), 2, || (size(&peer) >= bytes).then_some(()));
    let seconds = host::ms(began, host::now()) / 1000.0;
    peer.stop();
    assert_eq!(counters.lines() * LINE as u64, bytes, "what was written");
    (bytes as f64 / 1e6 / seconds, wrong(&peer, counters.lines()))
}

fn killed(plan: &Plan, which: Which) -> u64 {
    let (mut peer, counters, _) = flood(plan, which, 1 << 50);
    // By lines, not by time: all of it has to fit into the files that are kept.
    wait_for("the middle of the output", Duration::from_secs(60), 1, || {
        (counters.lines() >= KILLED_AFTER).then_some(())
    });
    signal(counters.pid().expect("the writer"), Signal::SIGKILL);
    // Its successor writes nothing: the log grows until what it left behind is in it.
    let mut before = u64::MAX;
    wait_for("the end of the output", Duration::from_secs(60), 500, || {
        let now = size(&peer);
        (std::mem::replace(&mut before, now) == now).then_some(())
    });
    peer.stop();
    wrong(&peer, counters.lines())
}

fn size(peer: &Peer) -> u64 {
    // A rotation may rename one meanwhile; the next look sees it.
    peer.logs("flood").iter().filter_map(|path| path.metadata().ok()).map(|data| data.len()).sum()
}

/// Lines that are missing, cut or out of place among the first `lines` (there may be a block more: the writer counts after it
/// has written). Each of our files begins with a whole line; the floor cuts where a block ends, and only its sum is looked at.
fn wrong(peer: &Peer, lines: u64) -> u64 {
    let (mut next, mut wrong) = (0, 0);
    let mut rest = Vec::new();
    for path in peer.logs("flood") {
        if peer.which == Which::Ours && !rest.is_empty() {
            wrong += 1;
            rest.clear();
        }
        let mut file = File::open(path).expect("a log file");
        // In pieces, as a file has up to 50 MB.
        loop {
            let start = rest.len();
            rest.resize(start + (1 << 20), 0);
            let n = file.read(&mut rest[start..]).expect("a log file");
            rest.truncate(start + n);
            if n == 0 {
                break;
            }
            let whole = rest.len() - rest.len() % LINE;
            for line in rest[..whole].chunks_exact(LINE) {
                let number = std::str::from_utf8(&line[..12]).ok().and_then(|digits| digits.parse::<u64>().ok());
                let sound = line[12] == b' ' && line[13..99].iter().all(|b| *b == b'x') && line[99] == b'\n';
                wrong += u64::from(number != Some(next) || !sound);
                next += 1;
            }
            rest.drain(..whole);
        }
    }
    wrong + u64::from(!rest.is_empty()) + lines.saturating_sub(next)
}
