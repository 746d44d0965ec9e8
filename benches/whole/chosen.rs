//! What the command line of a benchmark asks for, and what is printed of it in the end.

use std::process::ExitCode;

use crate::host;
use crate::table::{self, Row};

/// What is measured, and how.
pub struct Chosen {
    /// A trial of the harness: little of everything.
    pub quick: bool,
    strict: bool,
    names: Vec<String>,
}

impl Chosen {
    /// Reads the command line, which may name some of the `known` measures.
    ///
    /// # Errors
    /// What to end with when there is something else on it, which has been said.
    pub fn read(known: &[&str]) -> Result<Self, ExitCode> {
        let mut chosen = Self { quick: false, strict: false, names: Vec::new() };
        for arg in std::env::args().skip(1) {
            match arg.as_str() {
                "--quick" => chosen.quick = true,
                "--strict" => chosen.strict = true,
                // What cargo adds.
                "--bench" => {}
                name if known.contains(&name) => chosen.names.push(arg),
                other => {
                    let known = known.join(", ");
                    eprintln!("{other:?} is neither a measure ({known}) nor --quick nor --strict");
                    return Err(ExitCode::from(2));
                }
            }
        }
        Ok(chosen)
    }

    /// Whether a measure was named; `when_none`: also when none was.
    pub fn has(&self, name: &str, when_none: bool) -> bool {
        if self.names.is_empty() { when_none } else { self.names.iter().any(|wanted| wanted == name) }
    }

    /// Prints the table, `beside` whom everything was measured, and what was so `before`. Gives what to end with.
    pub fn report(&self, bench: &str, beside: &str, before: &str, rows: &[Row]) -> ExitCode {
        println!("{}, {before}\n", host::machine());
        let names = self.names.iter().map(String::as_str);
        let words: Vec<&str> = names.chain(self.quick.then_some("--quick")).collect();
        println!("    cargo bench --bench {bench} -- {}\n", words.join(" "));
        print!("{}", table::markdown(rows, beside, !self.quick));
        let missed = rows.iter().filter(|row| row.holds(!self.quick) == Some(false)).count();
        if missed > 0 {
            println!("\nMarks that are MISSED: {missed}.");
        }
        ExitCode::from(u8::from(self.strict && missed > 0))
    }
}
