//! A made-up thing in a made-up world: it holds or not, its commands end well or not, and nothing of that is known to the machine.

use std::time::Duration;

use jiff::tz::TimeZone;

use crate::machine::exposure::*;
use crate::machine::words::{Reader, Recorded};
use crate::model::Status;

pub(super) const SECOND: u64 = 1_000_000_000;

pub(super) fn argv(word: &str) -> Vec<String> {
    vec![word.to_owned()]
}

pub(super) fn spec(ensure: &str) -> ExposureSpec {
    let (check, undo) = (Some(argv("check")), Some(argv("undo")));
    ExposureSpec { check, undo, ..ExposureSpec::for_tests("expose", ensure) }
}

/// A machine and what it is told of the world.
pub(super) struct World {
    pub(super) machine: ExposureMachine,
    pub(super) now: u64,
    pub(super) running: Option<(Work, ExposureSpec)>,
    /// Commands that were run, in order.
    pub(super) ran: Vec<String>,
    pub(super) rows: Vec<(EventType, Map<String, Value>)>,
    pub(super) settled: Vec<Result<String, String>>,
    pub(super) saved: ExposureSaved,
    pub(super) intent: Intent,
    pub(super) rng: f64,
}

impl World {
    pub(super) fn new(spec: ExposureSpec) -> Self {
        Self::after(spec, Intent::default(), ExposureSaved::default())
    }

    pub(super) fn after(spec: ExposureSpec, intent: Intent, saved: ExposureSaved) -> Self {
        let now = 1000 * SECOND;
        let machine = ExposureMachine::new(spec, intent.clone(), saved.clone(), "boot", moment(now));
        let (ran, rows, settled) = (Vec::new(), Vec::new(), Vec::new());
        Self { machine, now, running: None, ran, rows, settled, saved, intent, rng: 0.5 }
    }

    pub(super) fn tell(&mut self, input: ExposureInput) {
        let is_tick = input == ExposureInput::Tick;
        for act in self.machine.step(moment(self.now), Fraction::new(self.rng), input) {
            match act {
                ExposureAct::Run(work, spec) => {
                    assert!(self.running.is_none(), "two at once: {work:?} beside {:?}", self.running);
                    let argv = match work {
                        Work::Check => spec.check.clone().unwrap(),
                        Work::Ensure => spec.ensure.clone(),
                        Work::Undo => spec.undo.clone().unwrap(),
                    };
                    if work == Work::Ensure {
                        assert_eq!(self.saved.made.as_ref(), Some(&*spec), "made before it was written down");
                    }
                    self.ran.extend(argv);
                    self.running = Some((work, *spec));
                }
                ExposureAct::Cancel => assert!(self.running.is_some(), "nothing is there to be ended"),
                ExposureAct::Record(event, data) => self.rows.push((event, data)),
                ExposureAct::Save => self.saved = self.machine.saved(),
                ExposureAct::SaveIntent => self.intent = self.machine.intent().clone(),
                ExposureAct::Settled(_, result) => self.settled.push(result),
            }
        }
        assert!(self.running.is_some() || self.machine.due().is_some() || self.machine.is_settled(), "stuck");
        assert!(
            !is_tick || self.machine.due().is_none_or(|due| due.0 > self.now),
            "it would be told the time again and again"
        );
    }

    pub(super) fn ends(&mut self, well: bool) {
        assert!(self.running.take().is_some(), "nothing is run");
        let failure = Failure { why: "ended with exit code 1".into(), stderr_tail: "one\nno route".into() };
        self.tell(ExposureInput::Ended(if well { Ok(()) } else { Err(failure) }));
    }

    /// Waits for what is due; how long that was.
    pub(super) fn wait(&mut self) -> Duration {
        let due = self.machine.due().expect("nothing is due");
        let waited = due.since(Mono(self.now));
        self.now = self.now.max(due.0);
        self.tell(ExposureInput::Tick);
        waited
    }

    pub(super) fn ran(&mut self) -> String {
        std::mem::take(&mut self.ran).join(" ")
    }

    pub(super) fn events(&mut self) -> Vec<&'static str> {
        std::mem::take(&mut self.rows).into_iter().map(|(event, _)| event.as_str()).collect()
    }

    pub(super) fn status(&self) -> Status {
        self.machine.status()
    }

    pub(super) fn words(&self) -> (String, String) {
        let zone = TimeZone::UTC;
        let at = Reader { now_ms: moment(self.now).wall_ms, zone: &zone };
        let info = self.machine.info(&Recorded::default(), moment(self.now), at);
        (info.why, self.machine.why(moment(self.now), at))
    }

    /// From nothing to holding.
    pub(super) fn up(mut self) -> Self {
        self.tell(ExposureInput::Tick);
        self.ends(false);
        self.ends(true);
        self.ends(true);
        assert_eq!((self.ran().as_str(), self.status()), ("check ensure check", Status::Up));
        assert_eq!(self.events(), ["exposure_up"]);
        self
    }
}

pub(super) fn moment(mono: u64) -> Moment {
    Moment { mono: Mono(mono), boot_ns: mono, wall_ms: i64::try_from(mono / 1_000_000).unwrap() }
}
