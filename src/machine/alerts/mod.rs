//! When somebody is told: the rules over what goes on record, and the life of an alert from its firing to its end.
//!
//! [`AlertMachine`] is fed every new record of the ledger, in the order of taking in, and its changes are put on record in the
//! same transaction. It is a fold: fed the same, it says the same, alert ids and notice keys included.
//!
//! It does not know of sinks, of the database, or of time but through its arguments.

use std::collections::BTreeMap;
use std::time::Duration;

use crate::model::{AlertChange, AlertSpec, HeardAt, Record, Remembered, Rule, Silence, UnitName};

/// What the rules have to know of what is declared.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Declared {
    /// `[alerts]`.
    pub spec: AlertSpec,
    /// Services and tasks.
    pub units: BTreeMap<UnitName, DeclaredUnit>,
}

/// What the rules have to know of a service or task.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct DeclaredUnit {
    /// Whose trouble explains this one's.
    pub after: Vec<UnitName>,
    /// How long a start may take before a planned restart has failed.
    pub start_timeout: Duration,
    /// A run that ends well sooner than this counts for the loop windows.
    pub min_uptime: Duration,
}

/// What the machine is told.
#[derive(Debug)]
pub enum Heard<'a> {
    /// A record that is new in the ledger, of this runner's journal.
    Record(&'a str, &'a Record),
    /// One that was taken in during an earlier life: it fills the windows, and fires nothing.
    Past(&'a str, &'a Record),
    /// services.toml was read.
    Declared(Box<Declared>),
    /// Whether the ledger can be written: since when not (milliseconds since 1970 UTC) and why, or that it can.
    Database(Option<(i64, &'a str)>),
    /// Somebody knows of this alert.
    Acknowledge(&'a str),
    /// Tell nobody of what it covers.
    Silence(Silence),
    /// Tell again.
    Unsilence(u64),
    /// Try all sinks, or those that the caller picks: gives one notice of rule `test` with this key.
    Test(&'a str),
    /// The report of the week is due, with these lines; the key makes it go out once.
    Weekly {
        /// Of the week it is about.
        key: &'a str,
        /// What is in it.
        lines: Vec<String>,
    },
    /// The moment of [`AlertMachine::due`] has come.
    Tick,
}

/// All rules, and all open alerts.
#[derive(Debug, Clone)]
pub struct AlertMachine {
    declared: Declared,
}

impl AlertMachine {
    /// As the last life left it.
    pub fn new(declared: Declared, remembered: Remembered) -> Self {
        let _ = remembered;
        Self { declared }
    }

    /// Takes in what was heard. What comes of it is to be put on record as a whole, or the machine is to be put back to what
    /// it was before.
    pub fn step(&mut self, at: HeardAt<'_>, heard: Heard<'_>) -> Vec<AlertChange> {
        let _ = (at, heard, &self.declared);
        Vec::new()
    }

    /// When the next `Tick` is wanted, milliseconds since 1970 UTC, seen from `at`.
    pub fn due(&self, at: HeardAt<'_>) -> Option<i64> {
        let _ = at;
        None
    }

    /// The rules that hold a service to be in trouble now, for `status` and the dead man's switch.
    pub fn open(&self) -> Vec<(Rule, Option<UnitName>)> {
        Vec::new()
    }
}
