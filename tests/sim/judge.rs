//! What is looked at from inside: that no turn of a runner leaves anything open, and that in the end all is well.

use supervisor::machine::{Phase, Then};
use supervisor::model::{EventType, ExitClass, Record, RestartMode, UnitName};
use supervisor::store::{Filter, Reader};

use crate::story::Story;
use crate::world::World;

impl Story {
    /// What a runner's turn must not leave open. This asks the machines for their phases: whether those are true is what the
    /// account of processes and rows is for.
    pub fn nothing_is_forgotten(&mut self, slot: usize) {
        let Some(runner) = &self.runners[slot] else { return };
        let now = self.w.clock.moment().mono;
        let mut wrong = None;
        for service in &runner.services {
            let (machine, id) = (&service.machine, service.id);
            let open = match machine.phase() {
                Phase::Spawning { .. } => Some("a start was asked for and not answered".to_owned()),
                Phase::Idle if !runner.going_down => Some("it is idle".into()),
                Phase::LockedOut { .. } => Some("nobody else has it".into()),
                Phase::Blocked { .. } if machine.deps().0 => Some("it waits for what is ready".into()),
                Phase::Delayed { until } => {
                    let most = machine.spec().backoff_max.max(machine.spec().throttle).as_secs() + 1;
                    (until.since(now).as_secs() > most).then(|| format!("it is delayed by {:?}", until.since(now)))
                }
                Phase::Stopping { then: Then::Leave, .. } => None,
                Phase::Starting(run) | Phase::Up(run) => {
                    let there = self.w.kernel.get(run.process.pid).is_some_and(|p| p.start == run.process.start);
                    let known = service.watch.is_some() || self.w.kernel.wake.contains(&runner.pid);
                    (!there && !known).then(|| format!("run {} is gone, and nobody noticed", run.id))
                }
                _ => None,
            };
            let open = open.or_else(|| {
                let due = machine.due().filter(|due| *due <= now)?;
                let armed = runner.due().is_some_and(|next| next <= due);
                (!armed).then(|| format!("it was due at {due:?}"))
            });
            let up = machine.intent().up;
            let open =
                open.or_else(|| (matches!(machine.phase(), Phase::Down) && up).then(|| "it is wanted up".into()));
            if let Some(open) = open {
                wrong = wrong.or(Some(format!("s{id}: {open}; {:?}", machine.phase())));
            }
        }
        if let Some(wrong) = wrong {
            self.w.oracle.fail("nothing is forgotten", wrong);
        }
    }

    /// Everything has had its time: the services that are wanted run, the ledger is complete, nothing else is left.
    pub fn judge(&mut self) {
        if self.w.disk.real.is_some() {
            self.read_ledger();
        }
        if self.runners.iter().any(Option::is_none) || self.daemon.is_none() {
            self.w.oracle.fail("all is well again", "a runner or the daemon is not there".into());
        }
        for runner in self.runners.iter().flatten() {
            for service in &runner.services {
                let phase = service.machine.phase();
                let runs = self.w.main(service.id).is_some();
                let ready = matches!(phase, Phase::Up(_)) && runs;
                let over = service.machine.spec().restart != RestartMode::Always
                    && matches!(phase, Phase::Done | Phase::Failed)
                    && !runs;
                let down = matches!(phase, Phase::Down) && !runs;
                let right = match self.w.oracle.wanted(service.id) {
                    Some(true) => ready || over,
                    Some(false) => down,
                    None => ready || over || down,
                };
                if !right {
                    let wanted = self.w.oracle.wanted(service.id);
                    let text = format!("s{} is wanted up: {wanted:?}; it runs: {runs}; {phase:?}", service.id);
                    self.w.oracle.fail("all is well again", text);
                    return;
                }
            }
        }
        let World { oracle, kernel, .. } = &mut self.w;
        oracle.at_rest(kernel, true);
    }

    /// The rows of the real database, in their order, and the counters beside them.
    pub fn read_ledger(&mut self) {
        let Some(real) = &self.w.disk.real else { return };
        let reader = Reader::open(&real.database()).expect("the ledger");
        let counts = reader.counters().expect("its counters");
        let mut rows = reader.events(&Filter::default()).expect("its rows");
        rows.sort_by_key(|row| row.id);
        let (mut ends, mut starts) = (0, 0);
        for row in rows {
            let service = row.service_name.as_deref().and_then(|name| UnitName::new(name).ok());
            let event = EventType::parse(&row.event_type).expect("an event type");
            let serde_json::Value::Object(data) = row.metadata else { continue };
            ends += u64::from(event.is_run_end());
            starts += u64::from(event == EventType::RunnerStarted);
            let (boot_id, wall_ms) = (String::new(), row.timestamp_ms);
            self.w.row(&Record { v: 1, boot_id, seq: 0, wall_ms, boot_ns: 0, mono: None, event, service, data });
        }
        let counted: u64 =
            counts.into_values().map(|mut c| ExitClass::ALL.into_iter().map(|k| *c.of(k)).sum::<u64>()).sum();
        // A line behind half a line would be lost with it, and the first is always this one.
        if starts < self.w.safe_starts {
            let text = format!("{starts} starts of runners are recorded, {} were synced", self.w.safe_starts);
            self.w.oracle.fail("the ledger is complete", text);
        }
        if counted != ends {
            self.w.oracle.fail("the ledger is complete", format!("{ends} ends are recorded, {counted} counted"));
        }
    }
}
