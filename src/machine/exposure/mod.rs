//! Something that is made to hold: a tailnet's serve, a port forward. It is looked at (`check`), made to hold where it does not
//! (`ensure`), looked at again, and so on for ever; when it is stopped it is undone (`undo`).
//!
//! One command is under way at a time. A round begins with a look, so that nothing is done twice: not by a daemon that has just come,
//! not by a further try, not by an order on top of what is under way.
//!
//! ```text
//!           due                    fails                 ends well             holds
//!   waits ───────► check (if any) ───────► ensure ─────────────► check (if any) ─────► holds: again after `interval`
//!     ▲              │ holds                 │ fails               │ fails
//!     │              ▼                       ▼                     ▼
//!     └────────── holds                   tried again, with exponential back-off and jitter, without end
//! ```

mod round;
#[cfg(test)]
mod tests;
mod words;

use std::time::Duration;

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value, json};

pub use self::words::unattended;
use crate::model::wire::Verb;
use crate::model::{EventType, ExposureSpec, Fraction, Intent, Moment, Mono};

/// Tries after which somebody is told that it does not hold: it may fail at first.
pub const TOLD_AFTER_TRIES: u32 = 5;

/// Awake time after which somebody is told, however few tries that were.
pub const TOLD_AFTER: Duration = Duration::from_secs(10 * 60);

/// So often `undo` is tried.
pub const UNDO_TRIES: u32 = 3;

/// What is run.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Work {
    /// Does it hold?
    Check,
    /// Make it hold.
    Ensure,
    /// Undo it.
    Undo,
}

impl Work {
    /// Its key in services.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Check => "check",
            Self::Ensure => "ensure",
            Self::Undo => "undo",
        }
    }
}

/// Why a command did not end well. Both texts may be shown to anybody.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Failure {
    /// How it ended, or why it could not be started.
    pub why: String,
    /// The last lines of its stderr.
    pub stderr_tail: String,
}

/// What happens to it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExposureInput {
    /// The moment of [`ExposureMachine::due`] has come.
    Tick,
    /// What was run has ended.
    Ended(Result<(), Failure>),
    /// The machine slept, or nobody let us run.
    Gap,
    /// The operator's word.
    Order(Verb),
    /// services.toml has it like this now.
    Declare(Box<ExposureSpec>),
    /// services.toml has it no more.
    Remove,
    /// The daemon goes; whether what it made to hold goes with it.
    Leave {
        /// Whether it is undone.
        undo: bool,
    },
}

/// What is to be done.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ExposureAct {
    /// Run this; its end is told. There is one at a time.
    Run(Work, Box<ExposureSpec>),
    /// End what is run, with all that it started; its end is told all the same.
    Cancel,
    /// Put on record.
    Record(EventType, Map<String, Value>),
    /// Store [`ExposureMachine::saved`], before anything after this.
    Save,
    /// Store [`ExposureMachine::intent`], before anything after this.
    SaveIntent,
    /// What became of the orders of this kind that wait.
    Settled(Verb, Result<String, String>),
}

/// What is kept for the next daemon.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct ExposureSaved {
    /// The boot in which it was written.
    pub boot_id: String,
    /// By what it was made to hold, or may have been: that is what is undone.
    pub made: Option<ExposureSpec>,
    /// Since when it holds, milliseconds since 1970 UTC.
    pub up_since_ms: Option<i64>,
}

/// What is run now.
#[derive(Debug, Clone, Copy)]
struct Flight {
    work: Work,
    /// Whether its end means nothing any more.
    void: bool,
}

/// It does not hold, although it is wanted.
#[derive(Debug, Clone)]
struct Failing {
    since: Moment,
    /// Tries that came to nothing since then.
    tries: u32,
    /// Whether somebody was told.
    told: bool,
    last: Failure,
    work: Work,
    /// When that was, milliseconds since 1970 UTC.
    last_ms: i64,
}

/// One of them.
#[derive(Debug)]
pub struct ExposureMachine {
    spec: ExposureSpec,
    boot_id: String,
    intent: Intent,
    made: Option<ExposureSpec>,
    /// What is to be stored with the next step.
    unsaved: bool,
    /// What was made is to be undone before it is made to hold anew.
    anew: bool,
    removed: bool,
    /// The daemon goes; whether it undoes.
    leaving: Option<bool>,
    flight: Option<Flight>,
    /// When the next round is due, or the next try to undo.
    next: Mono,
    /// Whether `ensure` was run in this round.
    ensured: bool,
    round_from: Mono,
    /// Since when it holds, milliseconds since 1970 UTC.
    up_since_ms: Option<i64>,
    /// Whether this daemon has seen it hold.
    seen: bool,
    checked_ms: Option<i64>,
    failing: Option<Failing>,
    /// Tries that count for the back-off.
    backoff: u32,
    undo_tries: u32,
    not_undone: Option<Failure>,
    /// The order that somebody waits for.
    asked: Option<Verb>,
    /// Since when it is not wanted, milliseconds since 1970 UTC.
    down_since_ms: i64,
}

impl ExposureMachine {
    /// As services.toml has it, as the operator wants it, and as the last daemon left it.
    pub fn new(spec: ExposureSpec, intent: Intent, saved: ExposureSaved, boot_id: &str, at: Moment) -> Self {
        // What was started in another boot is gone, or is not ours to speak of before we have looked.
        let up_since_ms = saved.up_since_ms.filter(|_| saved.boot_id == boot_id);
        let down_since_ms = if intent.up { at.wall_ms } else { intent.since_ms };
        let mut machine = Self {
            anew: saved.made.as_ref().is_some_and(|made| !made.is_made_as(&spec)),
            unsaved: saved.made.as_ref().is_some_and(|made| *made != spec),
            made: saved.made,
            spec,
            boot_id: boot_id.to_owned(),
            intent,
            removed: false,
            leaving: None,
            flight: None,
            next: at.mono,
            ensured: false,
            round_from: at.mono,
            up_since_ms,
            seen: false,
            checked_ms: None,
            failing: None,
            backoff: 0,
            undo_tries: 0,
            not_undone: None,
            asked: None,
            down_since_ms,
        };
        machine.adopt_declaration();
        machine
    }

    /// As it is declared.
    pub fn spec(&self) -> &ExposureSpec {
        &self.spec
    }

    /// What the operator wants.
    pub fn intent(&self) -> &Intent {
        &self.intent
    }

    /// What the next daemon has to know.
    pub fn saved(&self) -> ExposureSaved {
        ExposureSaved { boot_id: self.boot_id.clone(), made: self.made.clone(), up_since_ms: self.up_since_ms }
    }

    /// When a `Tick` is wanted.
    pub fn due(&self) -> Option<Mono> {
        // While it is made anew nobody is told, and what comes of that begins to count then.
        let told = self.failing.as_ref().filter(|failing| self.is_wanted() && !self.anew && !failing.told);
        let told = told.map(|failing| failing.since.mono.plus(TOLD_AFTER));
        let next = (self.flight.is_none() && !self.is_settled()).then_some(self.next);
        [told, next].into_iter().flatten().min()
    }

    /// Whether nothing is under way and nothing is to come: it is not wanted, and undone as far as it can be.
    pub fn is_settled(&self) -> bool {
        self.flight.is_none() && !self.is_wanted() && !self.is_to_be_undone()
    }

    /// Whether services.toml has it no more.
    pub fn is_removed(&self) -> bool {
        self.removed
    }

    /// Takes in what happens.
    pub fn step(&mut self, at: Moment, rng: Fraction, input: ExposureInput) -> Vec<ExposureAct> {
        let mut acts = Vec::new();
        let was_wanted = self.is_wanted();
        if std::mem::take(&mut self.unsaved) {
            acts.push(ExposureAct::Save);
        }
        match input {
            ExposureInput::Tick => {}
            ExposureInput::Ended(result) => self.ended(at, rng, result, &mut acts),
            ExposureInput::Gap => {
                if self.flight.is_none() {
                    self.next = at.mono;
                }
            }
            ExposureInput::Order(verb) => self.order(at, verb, &mut acts),
            ExposureInput::Declare(spec) => self.declare(at, *spec, &mut acts),
            ExposureInput::Remove => self.removed = true,
            ExposureInput::Leave { undo } => {
                self.leaving = Some(undo);
                self.settle(Err("the daemon goes down".into()), &mut acts);
            }
        }
        if was_wanted && !self.is_wanted() {
            self.down_since_ms = at.wall_ms;
            (self.undo_tries, self.next) = (0, at.mono);
            self.cancel(&mut acts);
        }
        self.tell_if_long(at, &mut acts);
        self.go_on(at, &mut acts);
        acts
    }

    fn is_wanted(&self) -> bool {
        self.spec.enabled && self.intent.up && !self.removed && self.leaving.is_none()
    }

    /// Whether something was made that is to be undone, and can be.
    fn is_to_be_undone(&self) -> bool {
        let wanted_gone = !self.is_wanted() || self.anew;
        wanted_gone && self.made.is_some() && self.leaving != Some(false) && self.undo_tries < UNDO_TRIES
    }

    fn order(&mut self, at: Moment, verb: Verb, acts: &mut Vec<ExposureAct>) {
        if self.asked.is_some_and(|asked| asked != verb) {
            self.settle(Err(format!("the order to {} it came meanwhile", verb.as_str())), acts);
        }
        let up = verb != Verb::Stop;
        if self.intent.up != up {
            self.intent = Intent { up, by: "operator".into(), since_ms: at.wall_ms };
            self.next = at.mono;
            acts.push(ExposureAct::SaveIntent);
        }
        let repeated = self.asked == Some(verb);
        self.asked = Some(verb);
        match verb {
            Verb::Start if self.is_up() => self.settle(Ok("it holds already".into()), acts),
            Verb::Start => {
                self.backoff = 0;
                if self.flight.is_none() {
                    self.next = at.mono;
                }
            }
            // Another try to undo what could not be.
            Verb::Stop => (self.undo_tries, self.next) = (0, at.mono),
            Verb::Restart if repeated => {}
            Verb::Restart => self.begin_anew(at, acts),
        }
    }

    fn declare(&mut self, at: Moment, spec: ExposureSpec, acts: &mut Vec<ExposureAct>) {
        self.spec = spec;
        self.removed = false;
        if self.made.as_ref().is_some_and(|made| !made.is_made_as(&self.spec)) {
            return self.begin_anew(at, acts);
        }
        self.adopt_declaration();
        if self.flight.is_none() {
            self.next = at.mono;
        }
        acts.push(ExposureAct::Save);
    }

    /// How it is undone is as it is declared now, as long as it is the same that holds.
    fn adopt_declaration(&mut self) {
        if !self.anew && self.made.is_some() {
            self.made = Some(self.spec.clone());
        }
    }

    fn begin_anew(&mut self, at: Moment, acts: &mut Vec<ExposureAct>) {
        self.anew = true;
        (self.undo_tries, self.next, self.backoff) = (0, at.mono, 0);
        self.cancel(acts);
    }

    /// Ends what is under way, unless that is what undoes.
    fn cancel(&mut self, acts: &mut Vec<ExposureAct>) {
        if let Some(flight) = self.flight.as_mut().filter(|flight| flight.work != Work::Undo && !flight.void) {
            flight.void = true;
            acts.push(ExposureAct::Cancel);
        }
    }

    fn settle(&mut self, result: Result<String, String>, acts: &mut Vec<ExposureAct>) {
        acts.extend(self.asked.take().map(|verb| ExposureAct::Settled(verb, result)));
    }

    fn is_up(&self) -> bool {
        self.seen && self.up_since_ms.is_some() && !self.anew && self.is_wanted()
    }

    fn record(&self, event: EventType, data: Value, acts: &mut Vec<ExposureAct>) {
        let mut all = json!({ "run_id": null });
        if let (Value::Object(all), Value::Object(data)) = (&mut all, data) {
            all.extend(data);
        }
        if let Value::Object(all) = all {
            acts.push(ExposureAct::Record(event, all));
        }
    }
}
