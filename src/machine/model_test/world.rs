//! What somebody outside sees of one service, and what that allows its machine.

use super::*;

/// What the process that lives is being ended for.
#[derive(Debug, Clone, Copy)]
pub(super) struct Ending {
    pub(super) cause: StopCause,
    pub(super) kill_by: Mono,
    pub(super) killed: bool,
    pub(super) then: Then,
}

/// Why nothing is started although it is wanted.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Rest {
    /// Nothing speaks against it but time and other services.
    No,
    Held(Mono),
    Done,
    Failed,
}

/// The world around one machine.
pub(super) struct World {
    pub(super) machine: ServiceMachine,
    pub(super) now: Mono,
    pub(super) steps: u32,
    pub(super) wishes: Wishes,
    pub(super) run: Option<(Run, Option<Ending>)>,
    /// A spawn was asked for and is not answered; whether it is an automatic one.
    pub(super) asked: Option<bool>,
    /// The next start is an operator's, or the first after a boot: it owes nobody a pause.
    pub(super) prompt: bool,
    pub(super) rest: Rest,
    pub(super) last_start: Option<Mono>,
    /// The least throttle since then.
    pub(super) throttle: Duration,
    pub(super) attempts: u32,
    pub(super) run_id: u64,
    /// The end on record that no adoption record speaks of yet.
    pub(super) recorded: Option<(u64, RecordedEnd)>,
    pub(super) disk: [Saved; 2],
}

pub(super) fn wait_for(cause: StopCause, again: bool) -> Duration {
    match cause {
        StopCause::Operator if again => DRAIN,
        StopCause::Operator | StopCause::Shutdown | StopCause::Hung | StopCause::StartTimeout => STOP,
        StopCause::Reload | StopCause::Upgrade | StopCause::OverMemory => DRAIN,
    }
}

/// DESIGN section 3, once more.
pub(super) fn class_of(exit: Exit, cause: Option<StopCause>) -> (&'static str, EventType) {
    use EventType::{ServiceCrash, ServiceExit, ServiceLost};
    match (cause, exit) {
        (Some(StopCause::Hung), _) => ("hung", ServiceCrash),
        (Some(StopCause::StartTimeout), _) => ("start_timeout", ServiceCrash),
        (Some(StopCause::OverMemory), _) => ("over_memory", ServiceCrash),
        (Some(_), _) => ("requested", ServiceExit),
        (None, Exit::Unknown) => ("lost", ServiceLost),
        (None, Exit::Code(78)) => ("refused", ServiceExit),
        (None, Exit::Code(0)) => ("recycled", ServiceExit),
        (None, _) => ("crash", ServiceCrash),
    }
}

pub(super) fn parse_class(name: &str) -> ExitClass {
    ExitClass::ALL.into_iter().find(|class| class.as_str() == name).unwrap()
}

/// The ends of runs in `effects`: (run, class, type).
pub(super) fn ends(effects: &[Effect]) -> Vec<(u64, String, EventType)> {
    let end = |effect: &Effect| match effect {
        Effect::Record { event, data, .. } if event.is_run_end() => {
            Some((data["run_id"].as_u64()?, data["class"].as_str()?.to_owned(), *event))
        }
        _ => None,
    };
    effects.iter().filter_map(end).collect()
}

fn kills(effects: &[Effect]) -> usize {
    effects.iter().filter(|e| matches!(e, Effect::Signal { signal: Signal::KILL, .. })).count()
}

impl World {
    pub(super) fn new(wishes: &Wishes) -> Self {
        let intent = Intent { up: wishes.up, by: "operator".into(), since_ms: 1 };
        let machine = ServiceMachine::new(wishes.kind.spec(), intent);
        let saved = machine.save("boot");
        Self {
            machine,
            now: Mono(10_000_000_000_000),
            steps: 0,
            wishes: wishes.clone(),
            run: None,
            asked: None,
            prompt: false,
            rest: Rest::No,
            last_start: None,
            throttle: Duration::ZERO,
            attempts: 0,
            run_id: 0,
            recorded: None,
            disk: [saved.clone(), saved],
        }
    }

    pub(super) fn at(&self) -> Moment {
        Moment { mono: self.now, boot_ns: self.now.0, wall_ms: i64::try_from(self.now.0 / 1_000_000).unwrap() }
    }

    pub(super) fn rng(&self) -> Fraction {
        Fraction::new([0.0, 0.99, 0.5][self.steps as usize % 3])
    }

    /// One input; what comes of it is looked at in the light of what was before.
    pub(super) fn give(&mut self, input: Input) -> Vec<Effect> {
        self.steps += 1;
        let effects = self.machine.step(self.at(), self.rng(), input);
        let mut asks = false;
        for effect in &effects {
            match effect {
                Effect::Signal { process, .. } => {
                    assert_eq!(Some(*process), self.run.map(|(run, _)| run.process), "signalled somebody else");
                }
                Effect::Spawn { run_id, attempt } => {
                    assert!(!asks, "two spawns in one step");
                    asks = true;
                    self.judge_spawn(*run_id, *attempt);
                }
                _ => {}
            }
        }
        // As the runner does: a spawn is written down when it has come about.
        if !asks {
            self.disk.swap(0, 1);
            self.disk[1] = self.machine.save("boot");
        }
        effects
    }

    fn judge_spawn(&mut self, run_id: u64, attempt: u32) {
        assert!(self.run.is_none(), "a second copy");
        assert!(self.asked.is_none(), "asked for twice");
        assert!(self.wishes.up && self.wishes.whose == Whose::Ours, "nobody wants it up");
        assert_eq!(self.rest, Rest::No, "started although it rests");
        assert_eq!(run_id, self.run_id + 1, "the run's number");
        if self.prompt {
            assert_eq!(attempt, self.attempts, "attempts of a start that is asked for");
        } else {
            let earliest = self.last_start.map_or(Mono(0), |last| last.plus(self.throttle));
            assert!(self.now >= earliest, "started before throttle was over");
            assert_eq!(attempt, self.attempts + 1, "attempts of an automatic start");
        }
        self.asked = Some(!self.prompt);
        self.prompt = false;
    }

    /// A start came about, or failed for want of something; both count. One that was refused before is none.
    fn tried(&mut self) {
        self.attempts += u32::from(self.asked.take().unwrap());
        self.last_start = Some(self.now);
        self.throttle = self.wishes.kind.spec().throttle;
    }

    fn end_run(&mut self, cause: StopCause, then: Then) {
        let again = matches!(then, Then::Start | Then::Again);
        let kill_by = self.now.plus(wait_for(cause, again));
        if let Some((_, ending)) = &mut self.run {
            *ending = Some(Ending { cause, kill_by, killed: false, then });
        }
    }

    pub(super) fn next(&mut self, wishes: &Wishes, what: Do) {
        let before = std::mem::replace(&mut self.wishes, wishes.clone());
        match what {
            Do::LockedOut => drop(self.give(Input::LockedOut { owner: Some(5) })),
            Do::Begin(begin) => self.begin(begin),
            Do::Order(verb, cause) => self.order(verb, cause, &before),
            Do::Spawned => self.spawned(),
            Do::Refused if self.asked.is_some() => {
                self.asked = None;
                let hold = Hold { reason: "no such program".into(), remedy: String::new(), last_words: String::new() };
                self.give(Input::NotSpawned(Refusal::Hold(hold)));
                self.rest = Rest::Held(self.now.plus(HOLD_RETRY));
            }
            Do::Short if self.asked.is_some() => {
                self.tried();
                self.give(Input::NotSpawned(Refusal::Short("no memory".into())));
                let due = self.machine.due().expect("it is tried again");
                assert!(due >= self.now.plus(Duration::from_secs(1)), "a short system is asked in a busy loop");
            }
            Do::Exit(exit) => self.exit(exit),
            Do::Ready if self.run.is_some() => drop(self.give(Input::Ready { run_id: self.run_id })),
            Do::OldExit(exit) => self.unmoved(Input::Exited { run_id: self.run_id.wrapping_sub(1), exit }),
            Do::OldReady => self.unmoved(Input::Ready { run_id: self.run_id.wrapping_sub(1) }),
            Do::Deps(ready) if self.wishes.kind.after => {
                self.give(Input::Deps { ready, patience: Duration::from_secs(30) });
            }
            Do::Changed => {
                if matches!(self.rest, Rest::Held(_)) {
                    self.rest = Rest::No;
                }
                self.give(Input::Changed);
            }
            Do::Wait(time) => self.now = self.now.plus(time),
            Do::Due(late) => {
                let Some(due) = self.machine.due() else { return };
                self.now = self.now.max(due).plus(late);
                self.tick();
            }
            Do::Early => self.tick(),
            Do::Respec(kind, restart) => self.respec(before.kind.mode, kind, restart),
            Do::Leave(cause) => self.leave(cause),
            Do::Reborn(became, torn) => self.reborn(became, torn),
            Do::Refused | Do::Short | Do::Ready | Do::Deps(_) => {}
        }
        self.check();
    }

    /// Nothing comes of it.
    fn unmoved(&mut self, input: Input) {
        let before = format!("{:?}", self.machine);
        assert_eq!(self.machine.step(self.at(), self.rng(), input), []);
        assert_eq!(format!("{:?}", self.machine), before);
    }

    fn tick(&mut self) {
        if self.machine.due().is_none_or(|due| due > self.now) {
            return self.unmoved(Input::Tick);
        }
        if let Rest::Held(until) = self.rest {
            assert!(self.now >= until, "a held service is tried again too early");
            self.rest = Rest::No;
        }
        let kill = self.run.and_then(|(_, ending)| ending).is_some_and(|ending| ending.kill_by <= self.now);
        let effects = self.give(Input::Tick);
        assert_eq!(kills(&effects), usize::from(kill), "SIGKILL at its time and at no other");
        if let Some((_, Some(ending))) = self.run.as_mut().filter(|_| kill) {
            (ending.killed, ending.kill_by) = (true, self.now.plus(KILL_AGAIN));
        }
        assert!(self.machine.due().is_none_or(|due| due > self.now), "due again at once");
    }

    fn order(&mut self, verb: Verb, cause: Option<StopCause>, before: &Wishes) {
        let ticket = self.machine.ticket(verb, None);
        let stored = self.wishes.up != before.up;
        if self.wishes.whose == Whose::Ours {
            match (cause, self.run.and_then(|(_, ending)| ending)) {
                (Some(cause), None) => self.end_run(cause, Then::Again),
                (Some(_), Some(_)) => {}
                (None, ending) => self.wish(verb, ending),
            }
        }
        let effects = self.give(Input::Order { verb, by: "operator".into(), cause, run_id: None });
        assert_eq!(effects.contains(&Effect::SaveIntent), stored, "what is wanted is stored when it changes");
        assert_eq!(ends(&effects), []);
        self.resolves(ticket);
    }

    fn wish(&mut self, verb: Verb, ending: Option<Ending>) {
        match (verb, ending) {
            (Verb::Start | Verb::Restart, None) if self.run.is_none() => {
                if self.asked.is_none() {
                    (self.prompt, self.attempts, self.rest) = (true, 0, Rest::No);
                }
            }
            (Verb::Start, None) => {}
            (Verb::Restart, None) => self.end_run(StopCause::Operator, Then::Start),
            (Verb::Stop, None) => {
                self.end_run(StopCause::Operator, Then::Down);
                // The runner looks before it starts: what is not wanted any more is not started.
                (self.asked, self.rest, self.prompt) = (None, Rest::No, false);
            }
            (_, Some(ending)) => {
                let then = match verb {
                    Verb::Stop => Then::Down,
                    Verb::Start if ending.then != Then::Down => ending.then,
                    Verb::Start | Verb::Restart => Then::Start,
                };
                let latest = if verb == Verb::Stop { self.now.plus(STOP) } else { ending.kill_by };
                let ending = Ending { then, kill_by: ending.kill_by.min(latest), ..ending };
                self.run.as_mut().unwrap().1 = Some(ending);
            }
        }
    }

    fn spawned(&mut self) {
        if self.asked.is_none() {
            return;
        }
        self.tried();
        self.run_id += 1;
        let process = ProcessRef { pid: 5000 + i32::try_from(self.run_id).unwrap(), start: self.now.0 };
        let run = Run { id: self.run_id, process, started: self.at(), attempt: self.attempts, adopted: false };
        self.run = Some((run, None));
        let effects = self.give(Input::Spawned { process });
        let starts = effects.iter().filter(|e| matches!(e, Effect::Record { event: EventType::ServiceStart, .. }));
        assert_eq!(starts.count(), 1, "a start is on record once");
        assert_eq!(self.machine.run(), Some(&run));
    }

    fn exit(&mut self, exit: Exit) {
        let Some((run, ending)) = self.run.take() else { return };
        let (class, event) = class_of(exit, ending.map(|e| e.cause));
        let uptime = self.now.since(run.started.mono);
        self.recorded = Some((run.id, RecordedEnd { class: parse_class(class), exit, uptime, at_ms: 0 }));
        if uptime >= STABLE_UPTIME {
            self.attempts = 0;
        }
        self.ended(class, ending.map(|e| e.then));
        let effects = self.give(Input::Exited { run_id: run.id, exit });
        assert_eq!(ends(&effects), [(run.id, class.to_owned(), event)], "its end is on record once, as what it was");
        let waits = matches!(self.machine.phase(), Phase::Delayed { .. });
        assert!(!waits || self.wishes.kind.throttle_s > 0, "without throttle there is no back-off");
        assert!(effects.contains(&Effect::Sweep { run_id: run.id, process: run.process }));
    }

    /// What follows an end that counts as `class`.
    pub(super) fn ended(&mut self, class: &str, then: Option<Then>) {
        let mode = self.wishes.kind.mode;
        match (then, class) {
            (Some(Then::Down | Then::Leave), _) => {}
            (Some(Then::Start), _) => (self.prompt, self.attempts) = (true, 0),
            (_, "requested") => {}
            (_, "refused") if mode != RestartMode::Never => self.rest = Rest::Held(self.now.plus(HOLD_RETRY)),
            (_, "recycled") if mode != RestartMode::Always => self.rest = Rest::Done,
            (_, _) if mode == RestartMode::Never => self.rest = Rest::Failed,
            _ => {}
        }
    }

    fn respec(&mut self, mode: RestartMode, kind: Kind, restart: bool) {
        let spec = kind.spec();
        self.throttle = self.throttle.min(spec.throttle);
        let over = matches!(self.rest, Rest::Done | Rest::Failed) && !restart && mode == kind.mode;
        if self.run.is_none() && self.wishes.whose == Whose::Ours && !over {
            self.rest = Rest::No;
        }
        if restart && self.run.is_some_and(|(_, ending)| ending.is_none()) {
            self.end_run(StopCause::Reload, Then::Start);
        }
        self.give(Input::Spec { spec: Box::new(spec), restart });
    }

    fn leave(&mut self, cause: StopCause) {
        (self.asked, self.rest, self.prompt) = (None, Rest::No, false);
        match &mut self.run {
            Some((_, Some(ending))) => {
                let latest = self.now.plus(wait_for(cause, false));
                (ending.then, ending.kill_by) = (Then::Leave, ending.kill_by.min(latest));
            }
            _ => self.end_run(cause, Then::Leave),
        }
        let effects = self.give(Input::Leave { cause });
        assert!(!effects.contains(&Effect::SaveIntent), "leaving changes nobody's mind");
    }
}
