//! Whether the machine, and we on it, were there at a time.

use serde::{Deserialize, Serialize};

use crate::model::Moment;

/// What a daemon leaves behind each minute, and what it knows of the times before: so that whoever comes later can say whether
/// somebody was there. All `_ms` are milliseconds since 1970 UTC.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Presence {
    /// In which boot.
    pub boot_id: String,
    /// When it was left.
    #[serde(flatten)]
    pub at: Moment,
    /// The daemon has said goodbye.
    pub ended: bool,
    /// Times before in which nobody was there, oldest first.
    #[serde(default)]
    pub absences: Vec<Absence>,
}

/// A stretch of time in which nobody was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct Absence {
    /// Its beginning.
    pub from_ms: i64,
    /// Its end.
    pub to_ms: i64,
    /// Of what kind.
    pub kind: Attendance,
}

/// Who was there.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Attendance {
    /// The machine was awake, as far as is known, and a daemon lived.
    There,
    /// The machine slept.
    Asleep,
    /// The machine was off.
    Off,
    /// The machine was awake, as far as is known, and no daemon lived.
    Unwatched,
}

impl Presence {
    /// Who was there at `ms`, as seen now, in the boot `boot_id`; `known` is what was left last.
    pub fn at(known: Option<&Self>, ms: i64, now: Moment, boot_id: &str) -> Attendance {
        let _ = (known, ms, now, boot_id);
        Attendance::There
    }
}
