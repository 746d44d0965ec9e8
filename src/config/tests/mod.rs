//! The grammar as a whole: whole files in, fleets and faults out.

mod agreement;
mod diffs;
mod faults;
mod files;
mod health;
mod memory;
mod mutation;
mod watch;

use super::{Parsed, Source, Surroundings, parse};

const EVERY_KEY: &str = include_str!("every_key.toml");
const OURS: &str = include_str!("../../../services.toml");

fn around() -> Surroundings {
    let vars = [("VAR", "value"), ("HOME", "/home/u")].map(|(k, v)| (k.to_owned(), v.to_owned()));
    Surroundings { home: "/home/u".into(), vars: vars.into(), state_dir: None }
}

fn source(text: &str) -> Source {
    Source { path: "services.toml".into(), text: text.to_owned() }
}

fn read(text: &str) -> Parsed {
    parse(&source(text), &around())
}

/// The fleet of a text without faults.
fn fleet(text: &str) -> crate::model::Fleet {
    let parsed = read(text);
    assert!(parsed.faults.is_empty(), "{}", super::render(&parsed.faults, &source(text), false));
    parsed.fleet.expect("a file without faults has a fleet")
}
