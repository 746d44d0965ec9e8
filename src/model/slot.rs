//! Slots: the times at which a calendar job is due, and what became of each.

use std::fmt;

use serde::{Deserialize, Serialize};

use super::{Moment, Schedule, Signal};

/// Which run of a job it is. Milliseconds since 1970 UTC.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub enum SlotKey {
    /// Due by the calendar then.
    Due(i64),
    /// One that somebody asked for then.
    Extra(i64),
}

impl SlotKey {
    /// When it was due, or asked for: milliseconds since 1970 UTC.
    pub fn at_ms(self) -> i64 {
        match self {
            Self::Due(ms) | Self::Extra(ms) => ms,
        }
    }

    /// Reads what `Display` writes.
    pub fn parse(text: &str) -> Option<Self> {
        let (extra, time) = match text.strip_prefix("extra-") {
            Some(time) => (true, time),
            None => (false, text),
        };
        let form = if extra { "%Y%m%dT%H%M%S%.3f" } else { "%Y%m%dT%H%M%S" };
        let ms = jiff::civil::DateTime::strptime(form, time.strip_suffix('Z')?).ok()?;
        let ms = ms.to_zoned(jiff::tz::TimeZone::UTC).ok()?.timestamp().as_millisecond();
        let key = if extra { Self::Extra(ms) } else { Self::Due(ms) };
        (key.to_string() == text).then_some(key)
    }
}

/// `20261122T075500Z`, `extra-20261122T075503.250Z`: the name of its file, and its name in the ledger.
impl fmt::Display for SlotKey {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let time = jiff::Timestamp::from_millisecond(self.at_ms()).unwrap_or_default();
        let text = match self {
            Self::Due(_) => time.strftime("%Y%m%dT%H%M%SZ").to_string(),
            Self::Extra(_) => time.strftime("extra-%Y%m%dT%H%M%S%.3fZ").to_string(),
        };
        f.pad(&text)
    }
}

impl Serialize for SlotKey {
    fn serialize<S: serde::Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for SlotKey {
    fn deserialize<D: serde::Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let text = String::deserialize(deserializer)?;
        Self::parse(&text).ok_or_else(|| serde::de::Error::custom(format!("{text:?} names no slot")))
    }
}

/// What a slot ended as. Every slot ends as exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum SlotState {
    /// In time, and well.
    Ran,
    /// A step failed, or the run was cut off (killed, power loss).
    Failed,
    /// Well, but begun later than `start_within` though the machine was there.
    Late,
    /// Ended by us at `max_runtime`.
    TooLong,
    /// Well, but sooner than `min_runtime`.
    TooShort,
    /// The run before still went on.
    SkippedOverlap,
    /// The machine slept, and the slot was not made up for by a run of its own.
    MissedAsleep,
    /// The machine was off, or nobody was there to start it; not made up for by a run of its own.
    MissedOff,
    /// Missed, and run afterwards, well.
    CaughtUp,
    /// Ended or held back by a person's word, or with the supervisor.
    Cancelled,
}

impl SlotState {
    /// All of them.
    pub const ALL: [Self; 10] = [
        Self::Ran,
        Self::Failed,
        Self::Late,
        Self::TooLong,
        Self::TooShort,
        Self::SkippedOverlap,
        Self::MissedAsleep,
        Self::MissedOff,
        Self::CaughtUp,
        Self::Cancelled,
    ];

    /// The word in the ledger, in JSON and on the terminal.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Ran => "ran",
            Self::Failed => "failed",
            Self::Late => "late",
            Self::TooLong => "too-long",
            Self::TooShort => "too-short",
            Self::SkippedOverlap => "skipped-overlap",
            Self::MissedAsleep => "missed-asleep",
            Self::MissedOff => "missed-off",
            Self::CaughtUp => "caught-up",
            Self::Cancelled => "cancelled",
        }
    }

    /// Reads a word.
    pub fn parse(text: &str) -> Option<Self> {
        Self::ALL.into_iter().find(|state| state.as_str() == text)
    }
}

/// Who asked for a run.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Trigger {
    /// The calendar of launchd or systemd.
    Manager,
    /// The daemon.
    Daemon,
    /// A person: `supervisor tasks run`.
    Operator,
}

/// How a run stands to the time at which it was due.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Timing {
    /// Within `start_within`, or asked for by a person.
    InTime,
    /// Later, though the machine was there.
    Late,
    /// It was missed and is made up for.
    CaughtUp,
}

/// A slot that somebody has taken: the first line of its file, which exists from then on.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Claim {
    /// Which one.
    pub slot: SlotKey,
    /// Who asked.
    pub trigger: Trigger,
    /// How it stands to its time.
    pub timing: Timing,
    /// Whose run it is.
    pub pid: i32,
    /// When that process started, as the system counts it; with `boot_id` it tells a reused pid.
    pub start_token: u64,
    /// The boot in which it was taken.
    pub boot_id: String,
    /// When.
    pub at: Moment,
    /// The run that it goes on with, from its failed step.
    pub resumes: Option<SlotKey>,
}

/// What became of one step.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct StepRecord {
    /// Its place, from 1.
    pub step: usize,
    /// Its name, or its program's.
    pub what: String,
    /// What it ended as.
    pub outcome: StepOutcome,
    /// How often it was tried.
    pub tries: u32,
    /// Its last exit code.
    pub code: Option<i32>,
    /// The signal that ended it.
    pub signal: Option<Signal>,
    /// How long all tries took, in awake time, milliseconds.
    pub awake_ms: u64,
    /// In words, when it did not end well.
    pub why: Option<String>,
    /// Tells what it did from what another step does: a run that is gone on with may be declared otherwise by now.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub mark: Option<u32>,
}

/// What a step ended as.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum StepOutcome {
    /// Well.
    Ok,
    /// An exit code that is none of the good ones, or a signal that was not ours.
    Failed,
    /// Ended by us at its time limit.
    TimedOut,
    /// Its program could not be started.
    NotStarted,
    /// Left out, by its `if` or because the job had failed, or because a run before had done it.
    Skipped,
    /// Ended with the job, by a person's word or with the supervisor.
    Cancelled,
    /// Cut off: nobody saw its end.
    Interrupted,
}

/// The end of a run: the last line of its slot's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SlotEnd {
    /// What it ended as.
    pub state: SlotState,
    /// Why, in words; empty when all is well.
    pub why: String,
    /// When, milliseconds since 1970 UTC.
    pub ended_ms: i64,
    /// How long it ran in awake time, milliseconds.
    pub awake_ms: u64,
    /// How long the machine slept meanwhile, milliseconds.
    pub frozen_ms: u64,
}

/// A line of a slot's file.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SlotLine {
    /// The first.
    Claim(Claim),
    /// Its first step is started (a run that makes up for a missed one waits before): milliseconds since 1970 UTC.
    Began(i64),
    /// A step's process was started: should its run be killed, it is found by this.
    Spawned {
        /// It leads a process group of its own.
        pid: i32,
        /// When it started, as the system counts it.
        token: u64,
    },
    /// A step has ended.
    Step(StepRecord),
    /// The last.
    End(SlotEnd),
}

/// A slot's file, as it is now.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct SlotFile {
    /// Who has taken it.
    pub claim: Claim,
    /// When its first step was started, milliseconds since 1970 UTC.
    pub began_ms: Option<i64>,
    /// Steps that have ended.
    pub steps: Vec<StepRecord>,
    /// What it ended as.
    pub end: Option<SlotEnd>,
    /// Whether its run lives.
    pub running: bool,
    /// Why its claim cannot be read, in words: a power loss or the disk has spoiled the file, or it is somebody else's. The slot is
    /// taken all the same, and nobody will ever run it; `claim` is a guess then.
    pub unreadable: Option<String>,
}

impl SlotFile {
    /// Why it is a failed run when it neither lives nor has its end: nobody knows more. `otherwise` is for a file that can be read.
    pub fn why_cut_off(&self, otherwise: impl FnOnce() -> String) -> String {
        match &self.unreadable {
            Some(why) => format!("its file cannot be read ({why}), so nobody knows what became of it"),
            None => otherwise(),
        }
    }
}

/// Up to where every slot of a job is accounted for, and by which calendar: kept in a file of the job, written by the daemon only.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Accounted {
    /// Version of this form: 1.
    pub v: u32,
    /// Every slot due at or before this has its end on record or was taken: milliseconds since 1970 UTC.
    pub through_ms: i64,
    /// The oldest slot before that, extra ones too, whose run had not ended when this was written: milliseconds since 1970 UTC.
    #[serde(default)]
    pub open_ms: Option<i64>,
    /// The calendar that holds from there on.
    pub calendar: Vec<Schedule>,
    /// Its zone, as services.toml has it.
    pub timezone: Option<String>,
}

impl Accounted {
    /// From where on the files of slots matter to whoever decides: milliseconds since 1970 UTC. A little before that, as the clock may
    /// have been set back a little.
    pub fn from_ms(&self) -> i64 {
        const LITTLE_MS: i64 = 5 * 60_000;
        self.open_ms.map_or(self.through_ms, |open| open.min(self.through_ms)).saturating_sub(LITTLE_MS)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_slot_is_named_by_its_time_and_read_back() {
        for (key, text) in [
            (SlotKey::Due(1_795_334_100_000), "20261122T075500Z"),
            (SlotKey::Extra(1_795_334_100_250), "extra-20261122T075500.250Z"),
            (SlotKey::Due(0), "19700101T000000Z"),
        ] {
            assert_eq!(key.to_string(), text);
            assert_eq!(SlotKey::parse(text), Some(key));
        }
        for bad in ["", "lock", "accounted", "20261122T0755Z", "extra-20261122T075500Z", "20261322T075500Z"] {
            assert_eq!(SlotKey::parse(bad), None, "{bad}");
        }
        for state in SlotState::ALL {
            assert_eq!(serde_json::to_value(state).unwrap(), state.as_str());
            assert_eq!(SlotState::parse(state.as_str()), Some(state));
        }
    }
}
