//! From one runner to the next, and what has to hold at any moment.

use super::world::{Ending, Rest, class_of, ends, parse_class, wait_for};
use super::*;

impl World {
    /// A first runner, with what somebody before it left.
    pub(super) fn begin(&mut self, begin: Begin) {
        let Begin { left, became, same_boot } = begin;
        let ago = |seconds: u64| Moment { mono: Mono(self.now.0 - seconds * 1_000_000_000), ..self.at() };
        let run = |id: u64, seconds: u64| Run {
            id,
            process: ProcessRef { pid: 4000 + i32::try_from(id).unwrap(), start: id },
            started: ago(seconds),
            attempt: 2,
            adopted: false,
        };
        let mut backoff = Backoff::default();
        for automatic in [false, true, true] {
            backoff.started(ago(3).mono, automatic);
        }
        let until = ago(3).mono.plus(MOST.max(self.wishes.kind.spec().throttle));
        let phase = match left {
            Left::Nothing | Left::Idle => SavedPhase::Idle,
            Left::Waiting => SavedPhase::Waiting { until },
            Left::Starting => SavedPhase::Starting(run(7, 3)),
            Left::Up => SavedPhase::Up(run(7, 3)),
            Left::Stopping(cause, then) => SavedPhase::Stopping { run: run(7, 3), cause, then },
            Left::Held => SavedPhase::Held {
                hold: Hold { reason: "old".into(), remedy: String::new(), last_words: String::new() },
                until,
            },
            Left::Down => SavedPhase::Down,
            Left::Done => SavedPhase::Done,
            Left::Failed => SavedPhase::Failed,
        };
        let v = Saved::VERSION;
        let saved = Saved { v, boot_id: "boot".into(), run_id: 7, phase, backoff, last_exit: None, safe_starts: 0 };
        let cause = if let Left::Stopping(cause, _) = left { Some(cause) } else { None };
        let found = match became {
            Became::Lives => saved.run().map(|run| Found { run: *run, start_recorded: true }),
            Became::Later => Some(Found { run: run(8, 1), start_recorded: false }),
            Became::Gone | Became::Recorded(_) => None,
        };
        if let Became::Recorded(exit) = became {
            let class = parse_class(class_of(exit, cause).0);
            self.recorded = Some((7, RecordedEnd { class, exit, uptime: Duration::from_secs(3), at_ms: 0 }));
        }
        self.throttle = self.wishes.kind.spec().throttle;
        self.take_over((left != Left::Nothing).then_some(saved), found.filter(|_| same_boot), same_boot);
    }

    /// This runner dies, and the next one has what it left on disk and in the process table.
    pub(super) fn reborn(&mut self, became: Became, torn: bool) {
        let disk = self.disk[usize::from(!torn)].clone();
        let survives = matches!(became, Became::Lives | Became::Later);
        let known = |run: &Run| disk.run().is_some_and(|saved| saved.id == run.id);
        let found = match self.run.take() {
            Some((run, _)) if survives => Some(Found { run, start_recorded: known(&run) }),
            Some((run, ending)) => {
                if let Became::Recorded(exit) = became
                    && known(&run)
                {
                    let class = parse_class(class_of(exit, ending.map(|e| e.cause)).0);
                    let uptime = self.now.since(run.started.mono);
                    self.recorded = Some((run.id, RecordedEnd { class, exit, uptime, at_ms: 0 }));
                }
                None
            }
            // The spawn had come about, and nobody wrote it down.
            None if self.asked.is_some() && became == Became::Later => {
                let process = ProcessRef { pid: 9000, start: self.now.0 };
                let run =
                    Run { id: self.run_id + 1, process, started: self.at(), attempt: self.attempts, adopted: false };
                Some(Found { run, start_recorded: false })
            }
            None => None,
        };
        if torn {
            self.throttle = Duration::ZERO;
        }
        let intent = self.machine.intent().clone();
        self.machine = ServiceMachine::new(self.wishes.kind.spec(), intent);
        self.take_over(Some(disk), found, true);
    }

    fn take_over(&mut self, saved: Option<Saved>, found: Option<Found>, same_boot: bool) {
        let up = self.wishes.up;
        (self.asked, self.rest, self.prompt) = (None, Rest::No, false);
        self.run_id = saved.as_ref().map_or(0, |saved| saved.run_id);
        let backoff = saved.as_ref().filter(|_| same_boot).map(|saved| saved.backoff.clone()).unwrap_or_default();
        (self.last_start, self.attempts) = (backoff.last_start, backoff.attempts);
        let phase = saved.as_ref().map_or(SavedPhase::Idle, |saved| saved.phase.clone());
        let old = saved.as_ref().and_then(Saved::run).copied();
        let stopping = if let SavedPhase::Stopping { cause, then, .. } = phase { Some((cause, then)) } else { None };
        let gone = old.filter(|old| found.is_none_or(|found| found.run.id != old.id));
        let lost = class_of(Exit::Unknown, stopping.map(|(cause, _)| cause));
        let (mut fate, mut class, mut lost_now) = (Fate::Fine, lost.0, Vec::new());
        if let Some(old) = gone {
            match self.recorded.filter(|(id, _)| *id >= old.id) {
                Some((_, end)) => {
                    fate = Fate::Recorded(end);
                    class = end.class.as_str();
                    if end.uptime >= STABLE_UPTIME && same_boot {
                        self.attempts = 0;
                    }
                }
                None => {
                    fate = Fate::Gone { start_recorded: true };
                    lost_now.push((old.id, lost.0.to_owned(), lost.1));
                }
            }
        }
        // About to be started, and nothing is there: it may have lived for a moment.
        let missed = if let (SavedPhase::Spawning { automatic }, None) = (&phase, &found) {
            self.run_id += 1;
            self.last_start = Some(self.now);
            self.attempts += u32::from(*automatic);
            fate = Fate::Gone { start_recorded: false };
            lost_now.push((self.run_id, lost.0.to_owned(), lost.1));
            true
        } else {
            false
        };
        if let Some(found) = found {
            self.run_id = found.run.id;
            self.last_start = self.last_start.max(Some(found.run.started.mono));
            let ending = match stopping.filter(|_| gone.is_none()) {
                Some((cause, Then::Down | Then::Leave)) if up => Some((cause, Then::Start)),
                Some((cause, _)) if !up => Some((cause, Then::Down)),
                None if !up => Some((StopCause::Operator, Then::Down)),
                ending => ending,
            };
            let ending = ending.map(|(cause, then)| {
                let kill_by = self.now.plus(wait_for(cause, matches!(then, Then::Start | Then::Again)));
                Ending { cause, kill_by, killed: false, then }
            });
            self.run = Some((found.run, ending));
        } else if up {
            match &phase {
                SavedPhase::Waiting { .. } if same_boot => {}
                SavedPhase::Held { until, .. } if same_boot => self.rest = Rest::Held(*until),
                SavedPhase::Done if same_boot => self.rest = Rest::Done,
                SavedPhase::Failed if same_boot => self.rest = Rest::Failed,
                SavedPhase::Starting(_) | SavedPhase::Up(_) | SavedPhase::Stopping { then: Then::Again, .. }
                    if same_boot =>
                {
                    self.ended(class, None);
                }
                SavedPhase::Spawning { .. } if same_boot && missed => {
                    self.ended(class, None);
                }
                _ => self.prompt = true,
            }
        }
        let effects = self.give(Input::Begin { saved: saved.map(Box::new), fate, alive: found, same_boot });
        assert_eq!(ends(&effects), lost_now, "an end that nobody recorded is recorded once, and no other");
        if let Some((run, _)) = &mut self.run {
            run.adopted = true;
            self.attempts = self.machine.view(Moment::default(), 0).restart_attempt;
        }
    }

    /// What holds at any moment.
    pub(super) fn check(&self) {
        let (machine, phase) = (&self.machine, self.machine.phase());
        assert_eq!(machine.intent().up, self.wishes.up, "what is wanted");
        let run = self.run.map(|(run, _)| run);
        assert_eq!(machine.run().copied(), run, "the process that lives");
        assert!(
            !matches!(self.run, Some((_, Some(ending))) if machine.due() != Some(ending.kill_by)),
            "SIGKILL is due"
        );
        let ending = self.run.and_then(|(_, ending)| ending);
        let fits = match self.wishes.whose {
            Whose::Nobodys => *phase == Phase::Idle,
            Whose::Others => matches!(phase, Phase::LockedOut { .. }),
            _ if self.asked.is_some() => matches!(phase, Phase::Spawning { .. }),
            _ if ending.is_some() => matches!(phase, Phase::Stopping { .. }),
            _ if run.is_some() => {
                matches!(phase, Phase::Up(_)) || self.wishes.kind.probed && matches!(phase, Phase::Starting(_))
            }
            Whose::Left => *phase == Phase::Idle,
            _ if !self.wishes.up => *phase == Phase::Down,
            _ => match self.rest {
                Rest::Held(until) => matches!(phase, Phase::Held { .. }) && machine.due() == Some(until),
                Rest::Done => *phase == Phase::Done,
                Rest::Failed => *phase == Phase::Failed,
                Rest::No if matches!(phase, Phase::Blocked { .. }) => machine.due().is_some() && !machine.deps().0,
                Rest::No => matches!(phase, Phase::Delayed { .. }) && !self.prompt && self.is_soon(),
            },
        };
        assert!(fits, "{phase:?} with {:?}, {:?}, asked {:?}, rest {:?}", self.wishes, self.run, self.asked, self.rest);
        assert!(machine.epoch() > 0 || *phase == Phase::Idle);
        self.succeeds();
    }

    /// Whether the next start is due by when back-off may make it wait at most.
    fn is_soon(&self) -> bool {
        let from = self.last_start.unwrap_or(self.now);
        // A successor may keep a wait that an earlier services.toml asked for.
        let most = MOST.max(Duration::from_secs(30));
        self.machine.due().is_some_and(|due| due <= self.now.max(from.plus(most)))
    }

    /// A successor that is given the record goes on from there.
    fn succeeds(&self) {
        let was = &self.machine;
        if matches!(was.phase(), Phase::Idle | Phase::LockedOut { .. } | Phase::Spawning { .. }) {
            return;
        }
        let whole: ServiceMachine = serde_json::from_str(&serde_json::to_string(was).unwrap()).unwrap();
        assert_eq!(whole, *was, "an upgrade in place goes on as the same machine");
        let text = serde_json::to_string(&was.save("boot")).unwrap();
        let saved: Saved = serde_json::from_str(&text).unwrap();
        assert_eq!(saved, was.save("boot"), "the record reads back");
        let mut next = ServiceMachine::new(was.spec().clone(), was.intent().clone());
        let (ready, patience) = was.deps();
        next.step(self.at(), self.rng(), Input::Deps { ready, patience });
        let alive = was.run().map(|run| Found { run: *run, start_recorded: true });
        let saved = Some(Box::new(saved));
        let effects =
            next.step(self.at(), self.rng(), Input::Begin { saved, fate: Fate::Fine, alive, same_boot: true });
        assert_eq!(ends(&effects), []);
        if matches!(was.phase(), Phase::Blocked { .. }) && matches!(next.phase(), Phase::Delayed { .. }) {
            next.step(self.at(), self.rng(), Input::Tick);
        }
        let run = was.run().map(|run| Run { adopted: true, ..*run });
        let same = match (was.phase(), next.phase()) {
            (Phase::Starting(_), Phase::Starting(new)) | (Phase::Up(_), Phase::Up(new)) => Some(*new) == run,
            (Phase::Stopping { cause, .. }, Phase::Stopping { cause: now, run: new, then, .. }) => {
                // It was to be left by a runner that is no more.
                cause == now && Some(*new) == run && *then != Then::Leave
            }
            (Phase::Blocked { automatic, .. }, Phase::Blocked { automatic: now, .. }) => automatic == now,
            (old, new) => old == new,
        };
        assert!(same, "{:?} goes on as {:?}", was.phase(), next.phase());
        let known = |machine: &ServiceMachine| {
            let saved = machine.save("boot");
            (saved.run_id, saved.backoff, saved.last_exit, machine.intent().clone())
        };
        assert_eq!(known(was), known(&next));
    }

    /// Whoever waits for an order gets an answer, if the rest of the world goes on.
    pub(super) fn resolves(&self, ticket: Ticket) {
        let (mut machine, mut at) = (self.machine.clone(), self.at());
        for _ in 0..12 {
            let input = match (machine.ticket_state(ticket), machine.phase()) {
                (TicketState::Failed(why), _) => return assert!(!why.is_empty()),
                (TicketState::Done(_), phase) => {
                    let holds = match ticket.verb {
                        Verb::Stop => machine.run().is_none(),
                        Verb::Start => matches!(phase, Phase::Up(_) | Phase::Done),
                        Verb::Restart => {
                            matches!(phase, Phase::Up(run) if run.id > ticket.run_id) || *phase == Phase::Done
                        }
                    };
                    return assert!(holds, "{ticket:?} is done in {phase:?}");
                }
                (_, Phase::Spawning { .. }) => Input::Spawned { process: ProcessRef { pid: 3000, start: 1 } },
                (_, Phase::Starting(run)) => Input::Ready { run_id: run.id },
                (_, Phase::Stopping { run, .. }) => Input::Exited { run_id: run.id, exit: Exit::Code(0) },
                (_, phase) => {
                    at.mono = machine.due().unwrap_or_else(|| panic!("{ticket:?} waits for ever in {phase:?}"));
                    Input::Tick
                }
            };
            machine.step(at, self.rng(), input);
        }
        panic!("{ticket:?} is not resolved in {:?}", machine.phase());
    }

    /// However it stands: told to leave, it does, within the time it may take, and nobody's mind is changed.
    pub(super) fn leave_for_good(mut self) {
        if self.wishes.whose == Whose::Nobodys {
            return;
        }
        let intent = self.machine.intent().clone();
        let wishes = Wishes { whose: Whose::Left, ..self.wishes.clone() };
        self.next(&wishes, Do::Leave(StopCause::Shutdown));
        if self.run.is_some() {
            assert!(self.machine.due().unwrap() <= self.now.plus(STOP.max(KILL_AGAIN)));
            self.next(&wishes, Do::Due(Duration::ZERO));
            self.next(&wishes, Do::Due(Duration::ZERO));
            assert!(matches!(self.run, Some((_, Some(Ending { killed: true, .. })))));
            self.next(&wishes, Do::Exit(Exit::Signal { signal: Signal::KILL, core: false }));
        }
        assert_eq!((self.machine.phase(), self.machine.due()), (&Phase::Idle, None));
        assert_eq!(*self.machine.intent(), intent);
    }
}
