//! The simulator: the real machines under a fake kernel, disk, clock and service manager, with a plan of faults from a seed.
//!
//! ```text
//! cargo test --test sim                                everyday: five service-years, and a fresh seed that is printed
//! cargo test --profile simulation --test sim -- --years 100       as many service-years, on all cores
//! cargo test --test sim -- --seed 7 [--kind real]      one story again
//!                          --seed 7 --trace            ... with a line for each event
//!                          --seed 7 --shrink           ... and the smallest plan that still fails the same way
//! ```
//!
//! Who is who: `plan` (seed -> services and timed faults), `story` (plays a plan; the service manager is in it) with `faults` and `judge`, `world`
//! (everything outside of our programs) with `kernel`, `disk` and `clock`, `runner` and `hands` (what src/runner does around
//! the machines, in the same order), `daemon` (intake and probes), `told` (alerts), `oracle` (what has to hold).
//!
//! To add a part (verdicts on hangs, memory, the calendar):
//! - what can go wrong: a variant of `plan::Fault`, its share in `Plan::fault`, what it does in `faults.rs`;
//! - what the outside does by itself: a variant of `world::Event`, handled in `Story::on_event`;
//! - the new decision code: called where the product calls it, in `hands`, `runner` or `daemon`; each effect that others can
//!   see behind a `World::op`, so that a kill can come between two of them;
//! - what has to hold: a check in `Oracle` (judged by processes and rows) or in `Story::nothing_is_forgotten`, and at the end
//!   in `Story::judge`; then a mutation in `.ci/mutations` that shows that it can fail.
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod clock;
mod daemon;
mod disk;
mod faults;
mod hands;
mod judge;
mod kernel;
mod oracle;
mod plan;
mod rng;
mod runner;
mod shrink;
mod story;
mod told;
mod world;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};

use plan::{Kind, Plan};
use story::{Told, play};

/// Service-years of `cargo test`.
const EVERYDAY: f64 = 5.0;

/// Short dense stories on real files in `cargo test`.
const EVERYDAY_REAL: u64 = 12;

#[derive(Debug)]
struct Arguments {
    years: f64,
    seed: Option<u64>,
    kind: Kind,
    trace: bool,
    shrink: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments { years: EVERYDAY, seed: None, kind: Kind::Long, trace: false, shrink: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--years" => found.years = value()?.parse().map_err(|e| format!("--years: {e}"))?,
            "--seed" => found.seed = Some(value()?.parse().map_err(|e| format!("--seed: {e}"))?),
            "--kind" => {
                found.kind = match value()?.as_str() {
                    "long" => Kind::Long,
                    "real" => Kind::Real,
                    other => return Err(format!("--kind is long or real, not {other}")),
                }
            }
            "--trace" => found.trace = true,
            "--shrink" => found.shrink = true,
            // What `cargo test` passes on to all test programs.
            _ => {}
        }
    }
    Ok(found)
}

fn main() -> ExitCode {
    let arguments = match arguments() {
        Ok(arguments) => arguments,
        Err(wrong) => {
            eprintln!("{wrong}");
            return ExitCode::from(2);
        }
    };
    // `cargo test NAME` runs the tests of that name; this is one test.
    let well = match arguments.seed {
        Some(seed) => one(seed, &arguments),
        None => many(arguments.years),
    };
    if well { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

fn one(seed: u64, arguments: &Arguments) -> bool {
    let plan = Plan::of_seed(seed, arguments.kind);
    if !arguments.shrink {
        return tell(&plan, arguments.kind, arguments.trace);
    }
    match shrink::smallest(plan) {
        None => {
            println!("seed {seed}: nothing is broken");
            true
        }
        Some((plan, broken)) => {
            println!("{} services, {} faults: {}", plan.services.len(), plan.faults.len(), broken.invariant);
            for timed in &plan.faults {
                println!("  at {:.3} s: {:?}", timed.at as f64 / 1e9, timed.fault);
            }
            play(&plan, true);
            println!("BROKEN: {}: {}", broken.invariant, broken.what);
            false
        }
    }
}

fn tell(plan: &Plan, kind: Kind, trace: bool) -> bool {
    let (told, broken) = play(plan, trace);
    match broken {
        None => println!("seed {}: nothing is broken; {}", plan.seed, summary(&told)),
        Some(ref broken) => report(plan.seed, kind, broken),
    }
    broken.is_none()
}

fn report(seed: u64, kind: Kind, broken: &oracle::Broken) {
    println!("BROKEN: {}: {}", broken.invariant, broken.what);
    println!("  seed {seed}; again with: cargo test --test sim -- --seed {seed} --kind {} --trace", kind.name());
    println!("  the smallest plan:   cargo test --test sim -- --seed {seed} --kind {} --shrink", kind.name());
}

fn summary(told: &Told) -> String {
    let a_year = |n: u64| (n as f64 / told.years).round();
    format!(
        "{:.1} service-years; in each {:.0} effects, {:.0} runs, {:.0} faults",
        told.years,
        a_year(told.steps),
        a_year(told.runs),
        a_year(told.faults)
    )
}

/// Seeds 1, 2, ... until they have told `years`, a fresh one, and some on real files; on all cores.
fn many(years: f64) -> bool {
    let nanos = std::time::SystemTime::UNIX_EPOCH.elapsed().map_or(0, |d| d.as_nanos() as u64);
    let fresh = nanos % 1_000_000_000 + 1_000_000;
    println!("the fresh seed is {fresh}");
    let real = EVERYDAY_REAL.max((years * 2.0) as u64);
    let first = (0..=real).map(|n| (if n == 0 { fresh } else { n }, Kind::Real)).chain([(fresh, Kind::Long)]);
    let work = Mutex::new(first.chain((1..).map(|seed| (seed, Kind::Long))));
    let (all, failed) = (Mutex::new(Told::default()), AtomicBool::new(false));
    let stories = AtomicU64::new(0);
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    let teller = || {
        while !failed.load(Ordering::Relaxed) && all.lock().is_ok_and(|all| all.years < years) {
            let Some((seed, kind)) = work.lock().ok().and_then(|mut work| work.next()) else { return };
            let (told, broken) = play(&Plan::of_seed(seed, kind), false);
            stories.fetch_add(1, Ordering::Relaxed);
            if let Some(broken) = broken {
                failed.store(true, Ordering::Relaxed);
                report(seed, kind, &broken);
            }
            if let Ok(mut all) = all.lock() {
                all.years += told.years;
                all.steps += told.steps;
                all.runs += told.runs;
                all.faults += told.faults;
            }
        }
    };
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(teller))));
    let failed = failed.into_inner();
    if let Ok(all) = all.into_inner() {
        println!("{} stories, {}", stories.into_inner(), summary(&all));
    }
    println!("test result: {}", if failed { "FAILED" } else { "ok, nothing is broken" });
    !failed
}
