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
mod chosen;
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

use chosen::Chosen;
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
    let chosen = match Chosen::read(&MEASURES.map(|(name, _)| name)) {
        Ok(chosen) => chosen,
        Err(code) => return code,
    };
    peer::stop_on_signals();
    let plan = Plan { quick: chosen.quick, programs: Programs::build() };
    let before = host::load();
    let mut rows = Vec::new();
    for (name, measure) in MEASURES {
        if chosen.has(name, true) {
            eprintln!("measuring: {name}");
            rows.extend(measure(&plan));
        }
    }
    chosen.report("whole", "floor", &format!("load {before} before"), &rows)
}
