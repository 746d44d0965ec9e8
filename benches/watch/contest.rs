//! Contest: files are made, written and closed in a tree of twenty folders, ten of which are made on the way, each with a file in it
//! at once: first one after the other with 20 to 60 ms between them, then a burst. How many were never handled, how many more
//! than once, and how long it took from the call of close(2) to the first act of the first handler that was given the file.
//!
//! All contestants have the same handler, linked statically; who comes first in a round is a matter of luck.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::contestants::{Contestant, THEIRS};
use crate::host::{self, now};
use crate::rng::Rng;
use crate::support::try_wait;
use crate::table::{Mark, Row, quantile};
use crate::watcher::{Made, Records};
use crate::{Plan, new_tree};

/// What the median of ours may be above theirs by noise: medians of two runs of the same contestant differ by as much.
const NOISE: f64 = 1.1;

/// Nothing for so long: what is not handled now is missed.
const QUIET: Duration = Duration::from_secs(5);

#[derive(Default)]
struct Seen {
    /// Milliseconds, one by one and in the burst.
    apart: Vec<f64>,
    burst: Vec<f64>,
    /// From the first close of a burst to the last of the first handlers.
    whole_burst: Vec<f64>,
    missed_apart: usize,
    missed_burst: usize,
    twice: usize,
    /// The handler had begun before the file was closed: what it reads may be half of it.
    too_soon: usize,
}

pub fn measure(plan: &Plan) -> Vec<Row> {
    let (apart, burst, rounds) = if plan.quick { (60, 300, 1) } else { (300, 2000, 3) };
    let (mut there, missing): (Vec<_>, Vec<_>) = THEIRS.into_iter().partition(|who| who.is_there());
    missing.iter().for_each(|who| println!("LEFT OUT, since it is not installed: {}\n", who.name()));
    there.push(Contestant::Ours);
    let mut seen: BTreeMap<&str, Seen> = there.iter().map(|who| (who.name(), Seen::default())).collect();
    let mut rng = Rng::new(plan.seed, 0);
    for round in 0..rounds {
        for left in (1..there.len()).rev() {
            there.swap(left, usize::try_from(rng.below(left as u64 + 1)).unwrap());
        }
        for who in &there {
            eprintln!("  round {round}: {}", who.name());
            one(plan, *who, apart, burst, seen.get_mut(who.name()).unwrap());
        }
    }
    let ours = seen.remove(Contestant::Ours.name()).unwrap();
    there.retain(|who| *who != Contestant::Ours);
    there.sort_by_key(|who| who.name());
    let mut rows = Vec::new();
    for who in there {
        let (theirs, name) = (&seen[who.name()], who.name());
        let last = |of: &[f64]| quantile(of, 0.99).into_iter().collect::<Vec<_>>();
        let with = |what: &str| format!("{what}: {name}");
        let row = |what: &str, theirs: Vec<f64>, ours: Vec<f64>, mark| Row::new(with(what), "ms", theirs, ours, mark);
        let count = |what: &str, theirs: usize, ours: usize, mark| {
            Row::new(with(what), "", vec![theirs as f64], vec![ours as f64], mark)
        };
        let no_worse = Mark::AtMostTimes(NOISE);
        // Whoever misses most of them has those it does not miss done soon.
        let in_burst = if theirs.missed_burst == 0 { no_worse } else { Mark::None };
        rows.extend([
            row("from close to handler", theirs.apart.clone(), ours.apart.clone(), no_worse),
            row("its p99", last(&theirs.apart), last(&ours.apart), Mark::None),
            row("a whole burst", theirs.whole_burst.clone(), ours.whole_burst.clone(), in_burst),
            row("the same in a burst", theirs.burst.clone(), ours.burst.clone(), in_burst),
            row("its p99", last(&theirs.burst), last(&ours.burst), Mark::None),
            count(&format!("missed of {}", apart * rounds), theirs.missed_apart, ours.missed_apart, Mark::Never),
            count(
                &format!("missed of {} in bursts", burst * rounds),
                theirs.missed_burst,
                ours.missed_burst,
                Mark::Never,
            ),
            count("handled twice", theirs.twice, ours.twice, Mark::Never),
            count("begun before it was closed", theirs.too_soon, ours.too_soon, Mark::Never),
        ]);
    }
    rows
}

fn one(plan: &Plan, who: Contestant, apart: usize, burst: usize, seen: &mut Seen) {
    // The same files at the same times for each of them, but for the sleeps' own imprecision.
    let mut rng = Rng::new(plan.seed, 1);
    let (folder, mut tree) = new_tree();
    (0..10).for_each(|_| tree.grow(rng.next()).unwrap());
    let beside = tempfile::tempdir().unwrap();
    let mut records = Records::create(&beside.path().join("records")).unwrap();
    let running = who.start(plan, folder.path(), &beside.path().join("records"));
    // In the first folder and the last: whoever goes through them one by one has to have come there.
    let mut probes = 0;
    let mut probe = || {
        probes += 1;
        for place in [0, 9] {
            tree.put(place, &format!("probe{probes}-{place}")).unwrap();
        }
        host::sleep(Duration::from_millis(200));
        records.poll().unwrap();
        (records.all.len() >= 4).then_some(())
    };
    assert!(try_wait(Duration::from_secs(30), &mut probe).is_some(), "{} handles nothing", who.name());
    host::sleep(Duration::from_secs(1));
    records.poll().unwrap();
    let from = records.all.len();

    let mut made = Vec::new();
    for number in 0..apart {
        let is_new = number % (apart / 10) == apart / 20;
        if is_new {
            tree.grow(rng.next()).unwrap();
        }
        let place =
            if is_new { tree.folders() - 1 } else { usize::try_from(rng.below(tree.folders() as u64)).unwrap() };
        made.push(tree.put(place, &format!("one{number}")).unwrap());
        host::sleep(Duration::from_millis(rng.range(20, 61)));
    }
    wait_for_all(&mut records, from + apart);
    let in_burst = (0..burst).map(|number| {
        let place = usize::try_from(rng.below(tree.folders() as u64)).unwrap();
        tree.put(place, &format!("burst{number}")).unwrap()
    });
    made.extend(in_burst.collect::<Vec<_>>());
    wait_for_all(&mut records, from + apart + burst);
    // Handlers that come too late are of interest too, and so are those that come again.
    host::sleep(Duration::from_secs(1));
    records.poll().unwrap();
    drop(running);

    let mut begun: BTreeMap<u64, Vec<u64>> = BTreeMap::new();
    for record in &records.all {
        begun.entry(record.path).or_default().push(record.began);
    }
    let burst = &made[apart..];
    let last = burst.iter().filter_map(|file| begun.get(&file.path)?.iter().min()).max();
    seen.whole_burst.extend(last.map(|last| host::ms(burst[0].closed, *last)));
    let mut take = |made: &[Made], into: &mut Vec<f64>| {
        let before = into.len();
        for file in made {
            let Some(begun) = begun.get(&file.path) else { continue };
            let first = begun.iter().min().map(|first| host::ms(file.closed, *first));
            into.extend(first);
            seen.twice += usize::from(begun.len() > 1);
            seen.too_soon += usize::from(first.is_some_and(|first| first < 0.0));
        }
        made.len() - (into.len() - before)
    };
    seen.missed_apart += take(&made[..apart], &mut seen.apart);
    seen.missed_burst += take(burst, &mut seen.burst);
}

/// Waits for so many records; not for ever.
fn wait_for_all(records: &mut Records, count: usize) {
    let mut last = now();
    while records.all.len() < count && Duration::from_nanos(now() - last) < QUIET {
        if records.poll().unwrap() > 0 {
            last = now();
        }
        host::sleep(Duration::from_millis(20));
    }
}
