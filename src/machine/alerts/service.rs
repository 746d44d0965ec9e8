//! What is kept of one service or task between two records.

use std::collections::BTreeMap;
use std::time::Duration;

use serde_json::{Map, Value};

use super::identity::Origin;
use super::windows::Loop;
use crate::model::{Cause, CrashKind, CrashWindow, ExitClass, UnitName};
use crate::policy::{Recent, Stamp};

/// Kinds of crashes known of a service; with more the one not seen for longest is forgotten.
pub(super) const KINDS: usize = 100;

/// A change of program longer ago than this did not bring a new kind of crash.
const CHANGE_COUNTS_MS: i64 = 24 * 60 * 60 * 1000;

#[derive(Debug, Clone, Default)]
pub(super) struct Service {
    pub(super) standing: Standing,
    pub(super) loops: BTreeMap<Cause, Loop>,
    /// A restart was ordered, and has not come to its start yet.
    pub(super) ordered: bool,
    pub(super) planned: Option<Planned>,
    /// Path and identity of the program of the last start.
    program: Option<(String, String)>,
    /// Which program had changed at a start, and when.
    changed: Option<(String, i64)>,
    pub(super) kinds: BTreeMap<String, Kind>,
    /// The run that was last told to hang: its end is the same hang.
    pub(super) hung_run: Option<u64>,
    /// Whether restarts for that hang have not helped so far.
    pub(super) unhelped: bool,
    /// The run that refused last: the hold that follows is the same refusal.
    pub(super) refused_run: Option<u64>,
    pub(super) drift: Option<Pending>,
    /// What ended until then counts no more, also when it is taken in later.
    pub(super) stopped_at: Option<Stamp>,
}

/// How a service stands, as far as records tell.
#[derive(Debug, Clone, Default, PartialEq)]
pub(super) enum Standing {
    #[default]
    Unknown,
    Runs {
        run_id: Option<u64>,
        since: Stamp,
    },
    Ended {
        class: ExitClass,
        at: Stamp,
    },
    Held,
}

/// A restart that was asked for.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Planned {
    /// The run before has ended.
    Ended,
    /// The next has begun and has to show that it is well.
    Begun { since: Stamp, origin: Origin },
}

/// What is told only if it stays so.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Pending {
    pub(super) since: Stamp,
    pub(super) origin: Origin,
    pub(super) data: Map<String, Value>,
}

/// A kind of crash, and when it was seen lately.
#[derive(Debug, Clone)]
pub(super) struct Kind {
    pub(super) known: CrashKind,
    pub(super) recent: Recent<Stamp>,
    /// When it was put on record last.
    pub(super) kept_ms: i64,
}

impl Service {
    /// Whether the operator has stopped it since this.
    pub(super) fn was_stopped_since(&self, then: &Stamp) -> bool {
        self.stopped_at.as_ref().is_some_and(|stopped| match stopped.boot == then.boot {
            true => then.mono <= stopped.mono,
            false => then.wall_ms <= stopped.wall_ms,
        })
    }

    /// Since when the run lives that lives in this boot.
    pub(super) fn runs_since(&self, now: &Stamp) -> Option<&Stamp> {
        match &self.standing {
            Standing::Runs { since, .. } if since.boot == now.boot => Some(since),
            _ => None,
        }
    }

    pub(super) fn run_id(&self) -> Option<u64> {
        match self.standing {
            Standing::Runs { run_id, .. } => run_id,
            _ => None,
        }
    }

    /// From when on and for how long a loop's service has to be well for it to be over; `None` while it is not.
    pub(super) fn loop_over(&self, one: &Loop, resolve_after: Duration, now: &Stamp) -> Option<(Stamp, Duration)> {
        let wait = one.crossed?.within.max(resolve_after);
        let from = match &self.standing {
            // It ended well, and whether it is started again is for services.toml to say.
            Standing::Ended { class: ExitClass::Recycled, at } => Some(at.clone()),
            _ => one.well_from.clone().filter(|_| self.runs_since(now).is_some()),
        };
        from.map(|from| (from, wait))
    }

    /// Takes in a start, and which program it was.
    pub(super) fn started(&mut self, run_id: Option<u64>, at: &Stamp, program: Option<(String, String)>) {
        for one in self.loops.values_mut() {
            one.started(at);
        }
        self.standing = Standing::Runs { run_id, since: at.clone() };
        self.ordered = false;
        if let Some((path, id)) = program {
            if self.program.as_ref().is_some_and(|(_, before)| *before != id) {
                self.changed = Some((path.clone(), at.wall_ms));
            }
            self.program = Some((path, id));
        }
    }

    /// The operator wants it down: what was wrong with it is over.
    pub(super) fn stopped(&mut self) {
        self.loops.values_mut().for_each(Loop::reset);
        self.planned = None;
        self.ordered = false;
    }

    /// Takes in a crash of that kind, and tells whether it fills `window` by itself.
    pub(super) fn saw_kind(
        &mut self,
        name: &UnitName,
        told: &super::kinds::Told,
        now: &Stamp,
        window: CrashWindow,
        is_past: bool,
    ) -> (&mut Kind, bool) {
        let fresh = !self.kinds.contains_key(&told.fingerprint);
        if fresh && self.kinds.len() >= KINDS {
            let oldest = self.kinds.iter().min_by_key(|(_, kind)| kind.known.last_ms).map(|(key, _)| key.clone());
            oldest.map(|key| self.kinds.remove(&key));
        }
        let changed = self.changed.as_ref().filter(|(_, at_ms)| now.wall_ms - at_ms <= CHANGE_COUNTS_MS);
        let kind = self.kinds.entry(told.fingerprint.clone()).or_insert_with(|| Kind {
            known: CrashKind {
                service: name.clone(),
                fingerprint: told.fingerprint.clone(),
                sample: told.sample.clone(),
                first_ms: now.wall_ms,
                last_ms: now.wall_ms,
                count: 0,
                after_change_of: changed.map(|(path, _)| path.clone()),
            },
            recent: Recent::default(),
            kept_ms: i64::MIN,
        });
        // What is on record of the past has been counted, but for what came after it was put there last.
        if fresh || !is_past || now.wall_ms > kind.known.last_ms {
            kind.known.count += 1;
            kind.known.last_ms = kind.known.last_ms.max(now.wall_ms);
        }
        kind.recent.push_of(now.clone(), window.count as usize);
        let fills = kind.recent.fills(window, now.clone());
        (kind, fills)
    }
}
