//! The whole program measured beside the floor (`examples/floor.rs`), on the same services (`examples/svc.rs`), in the same run.
//!
//! ```text
//! cargo bench --bench whole [-- [restart] [status] [footprint] [storm] [log] [checks] [memory] [--quick] [--strict]]
//! ```
//! Without names everything is measured. Each measure says what it does at the top of its file. What is printed is a table in
//! Markdown with the marks that must hold. `--strict` exits with 1 when one is missed; `--quick` is a trial of the harness: it
//! does little of everything, and judges only what does not depend on time (lines, rows).
//!
//! Linux, and macOS with less: there `ps` gives resident memory in place of the proportional share, wake-ups and private
//! memory are not had, and a writer that is killed may leave half a line (pipes take 512 bytes at once, not 4096).

mod checks;
mod footprint;
mod host;
mod log;
mod memory;
mod peer;
mod programs;
mod restart;
mod status;
mod storm;
mod table;

use std::process::ExitCode;

use programs::Programs;
use table::Row;

/// What is measured, and how much of it.
struct Plan {
    quick: bool,
    programs: Programs,
}

type Measure = fn(&Plan) -> Vec<Row>;

const MEASURES: [(&str, Measure); 7] = [
    ("restart", restart::measure),
    ("status", status::measure),
    ("footprint", footprint::measure),
    ("storm", storm::measure),
    ("log", log::measure),
    ("checks", checks::measure),
    ("memory", memory::measure),
];

fn main() -> ExitCode {
    let (mut quick, mut strict, mut names) = (false, false, Vec::new());
    for arg in std::env::args().skip(1) {
        match arg.as_str() {
            "--quick" => quick = true,
            "--strict" => strict = true,
            // What cargo adds.
            "--bench" => {}
            name if MEASURES.iter().any(|(known, _)| *known == name) => names.push(arg),
            other => {
                let known = MEASURES.map(|(name, _)| name).join(", ");
                eprintln!("{other:?} is neither a measure ({known}) nor --quick nor --strict");
                return ExitCode::from(2);
            }
        }
    }
    peer::stop_on_signals();
    let plan = Plan { quick, programs: Programs::build() };
    let before = host::load();
    let mut rows = Vec::new();
    for (name, measure) in MEASURES {
        if names.is_empty() || names.iter().any(|wanted| wanted == name) {
            eprintln!("measuring: {name}");
            rows.extend(measure(&plan));
        }
    }
    println!("{}, load {before} before\n", host::machine());
    let chosen: Vec<&str> = names.iter().map(String::as_str).chain(quick.then_some("--quick")).collect();
    println!("    cargo bench --bench whole -- {}\n", chosen.join(" "));
    print!("{}", table::markdown(&rows, "floor", !quick));
    let missed = rows.iter().filter(|row| row.holds(!quick) == Some(false)).count();
    if missed > 0 {
        println!("\nMarks that are MISSED: {missed}.");
    }
    ExitCode::from(u8::from(strict && missed > 0))
}
