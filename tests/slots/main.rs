//! Calendar jobs through years: the decisions of policy and machine::agenda under a fake disk, ledger, clock, launchd and daemon, with
//! faults from a seed. Whatever happens, each slot that was due is accounted for, once.
//!
//! ```text
//! cargo test --test slots                                              everyday: some schedules, and a fresh seed that is printed
//! cargo test --profile simulation --test slots -- --years 20 --schedules 1000     the whole of it, on all cores
//! cargo test --test slots -- --seed 7 --years 3                        one schedule again
//!                            --seed 7 --years 3 --trace                ... with a line for each event
//! ```
//! What is due more often than each hour is played for a twentieth of the years: it has as many slots in them.
//!
//! Who is who: `plan` (schedules, zones and faults from a seed), `machine` (clocks, disk, and what a kill leaves of it), `story` (the
//! daemon, `exec TASK` and launchd around the decisions, in the order in which the product has them), `oracle` (which slots are due,
//! from what the wall clock has passed, and what has to hold).
#![expect(clippy::expect_used, reason = "a test fails by panicking")]

mod machine;
mod oracle;
mod plan;
#[path = "../sim/rng.rs"]
mod rng;
mod story;

use std::process::ExitCode;
use std::sync::Mutex;
use std::sync::atomic::{AtomicU64, Ordering};

use oracle::Counts;
use story::Story;

/// What `cargo test` plays: schedules, and years of each.
const EVERYDAY: (u64, f64) = (120, 2.0);

#[derive(Debug)]
struct Arguments {
    years: f64,
    schedules: u64,
    seed: Option<u64>,
    trace: bool,
}

fn arguments() -> Result<Arguments, String> {
    let mut found = Arguments { years: EVERYDAY.1, schedules: EVERYDAY.0, seed: None, trace: false };
    let mut words = std::env::args().skip(1);
    while let Some(word) = words.next() {
        let mut value = || words.next().ok_or(format!("{word} wants a value"));
        match word.as_str() {
            "--years" => found.years = value()?.parse().map_err(|e| format!("--years: {e}"))?,
            "--schedules" => found.schedules = value()?.parse().map_err(|e| format!("--schedules: {e}"))?,
            "--seed" => found.seed = Some(value()?.parse().map_err(|e| format!("--seed: {e}"))?),
            "--trace" => found.trace = true,
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
    if let Some(seed) = arguments.seed {
        return told(seed, &arguments).map_or(ExitCode::FAILURE, |counts| {
            println!("{counts}");
            ExitCode::SUCCESS
        });
    }
    let fresh = fresh();
    // The last one is always another.
    let seed = |n: u64| if n + 1 == arguments.schedules { fresh } else { n };
    let (next, sum) = (AtomicU64::new(0), Mutex::new((Counts::default(), 0_u64)));
    let player = || {
        loop {
            let n = next.fetch_add(1, Ordering::Relaxed);
            if n >= arguments.schedules {
                return;
            }
            let told = told(seed(n), &arguments);
            let mut sum = sum.lock().expect("nobody panics here");
            match told {
                Some(counts) => sum.0.add(counts),
                None => sum.1 += 1,
            }
        }
    };
    let threads = std::thread::available_parallelism().map_or(1, usize::from);
    std::thread::scope(|scope| (0..threads).for_each(|_| drop(scope.spawn(player))));
    let (counts, broken) = sum.into_inner().expect("nobody panicked");
    println!("{} schedules, {} years each, the last of seed {fresh}\n{counts}", arguments.schedules, arguments.years);
    println!("test result: {}", if broken == 0 { "ok" } else { "FAILED" });
    if broken == 0 { ExitCode::SUCCESS } else { ExitCode::FAILURE }
}

/// Plays one schedule; `None`, and what was broken is told, when something was.
fn told(seed: u64, arguments: &Arguments) -> Option<Counts> {
    match Story::new(seed, arguments.trace).play(arguments.years) {
        Ok(counts) => Some(counts),
        Err(broken) => {
            println!("BROKEN: {broken}\n  again with: --seed {seed} --years {}", arguments.years);
            None
        }
    }
}

#[expect(clippy::disallowed_methods, reason = "a seed that nobody has tried")]
fn fresh() -> u64 {
    std::time::SystemTime::now()
        .duration_since(std::time::UNIX_EPOCH)
        .map_or(0, |since| since.as_nanos() as u64 % 1_000_000_000)
}
