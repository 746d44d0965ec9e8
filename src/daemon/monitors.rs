//! All monitors, and what they want done: probes asked, facts looked at, runs restarted.

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use tokio::sync::mpsc;

use super::soonest::Soonest;
use super::{Daemon, Event, link};
use crate::machine::{Act, ExposureInput, MemorySeen, MonitorMachine, MonitorSpec, Seen};
use crate::model::paths::{Paths, Stream};
use crate::model::wire::{RunnerReply, RunnerRequest, Verb};
use crate::model::{
    Answer, EventType, Facts, Fleet, HealthInfo, Learned, Moment, Mono, ProbeSpec, Probed, Signal, StopCause, UnitName,
};
use crate::policy::gap::{Gap, gap};
use crate::probe;
use crate::process::{clock, host, vitals};
use crate::store::Reader;

/// Facts that take longer are done without.
const FACTS_WITHIN: Duration = Duration::from_millis(500);

pub(super) struct Monitors {
    by_name: BTreeMap<UnitName, Monitor>,
    paths: Arc<Paths>,
    soonest: Soonest,
}

struct Monitor {
    machine: MonitorMachine,
    asks: Asks,
}

/// The questions of one service, as tasks of their own need them.
struct Asks {
    health: Option<Arc<ProbeSpec>>,
    startup: Option<Arc<ProbeSpec>>,
    parts: Option<Arc<ProbeSpec>>,
}

impl Monitor {
    fn new(machine: MonitorMachine) -> Self {
        let health = machine.spec().health.as_ref();
        let asks = Asks {
            health: health.map(|health| Arc::new(health.probe.clone())),
            startup: health.and_then(|health| health.startup.clone()).map(Arc::new),
            parts: health.and_then(|health| health.parts.clone()).map(Arc::new),
        };
        Self { machine, asks }
    }
}

impl Monitors {
    pub(super) fn new(fleet: &Fleet, paths: &Paths) -> Self {
        let mut monitors =
            Self { by_name: BTreeMap::new(), paths: Arc::new(paths.clone()), soonest: Soonest::default() };
        monitors.follow(fleet);
        monitors
    }

    /// Takes a changed fleet over; a service whose probes did not change keeps what is known of it.
    pub(super) fn follow(&mut self, fleet: &Fleet) {
        let mut old = std::mem::take(&mut self.by_name);
        for (name, spec) in fleet.services.iter().filter_map(|spec| Some((&spec.name, MonitorSpec::of(spec)?))) {
            let monitor = match old.remove(name) {
                Some(known) if *known.machine.spec() == spec => known,
                Some(known) => Monitor::new(known.machine.redeclared(spec)),
                None => Monitor::new(MonitorMachine::new(spec)),
            };
            self.by_name.insert(name.clone(), monitor);
        }
    }

    /// Something may be due then, and nothing before.
    pub(super) fn due(&self) -> Option<Mono> {
        self.soonest.at()
    }

    /// Whose moment has come.
    fn due_by(&mut self, now: Mono) -> Vec<UnitName> {
        let all = self.by_name.iter().map(|(name, monitor)| (name, monitor.machine.due()));
        self.soonest.due_by(now, all)
    }

    pub(super) fn diagnostic_signal(&self, name: &UnitName) -> Option<Signal> {
        self.by_name.get(name)?.machine.spec().health.as_ref()?.diagnostic_signal
    }

    pub(super) fn info(&self, name: &UnitName, now: Moment) -> Option<HealthInfo> {
        self.by_name.get(name)?.machine.info(now)
    }

    fn step(&mut self, name: &UnitName, seen: Seen) -> Vec<Act> {
        match self.by_name.get_mut(name) {
            Some(monitor) => {
                let acts = monitor.machine.step(clock::now(), clock::fraction(), seen);
                self.soonest.note(monitor.machine.due());
                acts
            }
            None => Vec::new(),
        }
    }
}

impl Daemon {
    /// Tells a service's monitor, and does what it says.
    pub(super) fn monitor(&mut self, name: &UnitName, seen: Seen) {
        for act in self.monitors.step(name, seen) {
            self.act(name, act);
        }
    }

    /// Does what is due.
    pub(super) fn tick_monitors(&mut self) {
        for name in self.monitors.due_by(clock::now().mono) {
            self.monitor(&name, Seen::Tick);
        }
    }

    /// Looks whether we did not run while we waited for `due` since `before`: then nobody is blamed for the time.
    pub(super) fn look_for_gap(&mut self, before: Moment, due: Option<Mono>) {
        let Some(gap) = gap(before, due, clock::now()) else { return };
        let Gap { slept, stalled } = gap;
        tracing::info!(?slept, ?stalled, "the machine or the supervisor stood still");
        let millis = |d: Duration| u64::try_from(d.as_millis()).unwrap_or(u64::MAX);
        let data = serde_json::json!({ "run_id": null, "slept_ms": millis(slept), "stalled_ms": millis(stalled) });
        self.record(EventType::ClockGap, data);
        self.alive.stood_still(clock::now());
        self.tasks.look_soon();
        let names: Vec<UnitName> = self.monitors.by_name.keys().cloned().collect();
        for name in names {
            self.monitor(&name, Seen::Gap(gap));
        }
        for name in self.memories.names() {
            self.memory(&name, MemorySeen::Gap(gap));
        }
        self.expose_all(&ExposureInput::Gap);
    }

    /// Asks the ledger what it knows of former starts and hangs; nothing waits for it.
    pub(super) fn learn(&self) {
        let names: Vec<UnitName> = self.monitors.by_name.keys().cloned().collect();
        let (database, events) = (self.paths.database(), self.events.clone());
        tokio::task::spawn_blocking(move || {
            // Without a ledger everything is learned anew.
            if let Ok(learned) = Reader::open(&database).and_then(|ledger| ledger.learned(&names)) {
                let _ = events.blocking_send(Event::Learned(learned));
            }
        });
    }

    /// Takes over what the ledger knows of former starts and hangs.
    pub(super) fn on_learned(&mut self, learned: BTreeMap<UnitName, Learned>) {
        for (name, learned) in learned {
            self.monitor(&name, Seen::Learned(learned));
        }
    }

    fn act(&mut self, name: &UnitName, act: Act) {
        let asks = |of: fn(&Asks) -> &Option<Arc<ProbeSpec>>| of(&self.monitors.by_name.get(name)?.asks).clone();
        let watch = |pid: i32| Watch { name: name.clone(), pid, events: self.events.clone() };
        match act {
            Act::Probe { run_id, pid, startup, timeout, linger, facts } => {
                let probe = if startup { asks(|asks| &asks.startup) } else { asks(|asks| &asks.health) };
                if let Some(probe) = probe {
                    let paths = facts.then(|| Arc::clone(&self.monitors.paths));
                    tokio::spawn(watch(pid).ask(run_id, probe, timeout, linger, paths));
                }
            }
            Act::Parts { run_id, timeout } => {
                if let Some(probe) = asks(|asks| &asks.parts) {
                    let watch = watch(0);
                    tokio::spawn(async move {
                        let parts = probe::parts(&probe, timeout).await;
                        watch.tell(Seen::Parts { run_id, parts }).await;
                    });
                }
            }
            Act::AskRunner { run_id, timeout } => {
                let (path, watch) = (self.runner_of(name).map(|id| self.paths.runner_socket(id)), watch(0));
                tokio::spawn(async move {
                    let answer = watch.ask_runner(path, timeout).await;
                    watch.tell(Seen::Probed { run_id, probed: Probed::new(answer, Duration::ZERO), facts: None }).await;
                });
            }
            Act::Look { run_id, pid } => {
                let (watch, paths) = (watch(pid), Arc::clone(&self.monitors.paths));
                tokio::spawn(async move {
                    let facts = watch.facts(&paths).await;
                    watch.tell(Seen::Looked { run_id, facts }).await;
                });
            }
            Act::TellReady { run_id } => self.tell_ready(name, run_id),
            Act::Record { event, data } => self.record_of(event, Some(name.clone()), data.into()),
            Act::Convict(conviction) => self.convict(name, *conviction),
            Act::Restart { run_id, cause } => self.restart_run(name, run_id, cause, std::future::ready(())),
        }
    }

    /// Has a run restarted, once something else is done.
    pub(super) fn restart_run(
        &self,
        name: &UnitName,
        run_id: u64,
        cause: StopCause,
        after: impl Future<Output = ()> + Send + 'static,
    ) {
        let Some(id) = self.runner_of(name) else { return };
        let path = self.paths.runner_socket(id);
        let request = RunnerRequest::Order {
            verb: Verb::Restart,
            names: vec![name.clone()],
            by: "daemon".into(),
            cause: Some(cause),
            wait: false,
            run_id: Some(run_id),
        };
        tracing::warn!(service = %name, run_id, ?cause, "restarting");
        tokio::spawn(async move {
            after.await;
            // An order that does not get through is given again while the run is there.
            let _ = link::ask(path, request).await;
        });
    }
}

/// What a task that watches one service needs.
struct Watch {
    name: UnitName,
    pid: i32,
    events: mpsc::Sender<Event>,
}

impl Watch {
    async fn tell(&self, seen: Seen) {
        // When nobody listens the daemon is gone.
        let _ = self.events.send(Event::Seen(self.name.clone(), Box::new(seen))).await;
    }

    /// Asks once; where nothing came, an answer after its time is told as well.
    async fn ask(
        self,
        run_id: u64,
        probe: Arc<ProbeSpec>,
        timeout: Duration,
        linger: Option<Duration>,
        facts: Option<Arc<Paths>>,
    ) {
        let probe::Asked { probed, pending } = probe::ask(&probe, timeout).await;
        let facts = match facts {
            Some(paths) if !matches!(probed.answer, Answer::Good | Answer::Beat(_)) => self.facts(&paths).await,
            _ => None,
        };
        self.tell(Seen::Probed { run_id, probed, facts }).await;
        if let (Some(pending), Some(linger)) = (pending, linger)
            && let Some(probed) = pending.answer(linger).await
        {
            self.tell(Seen::Late { run_id, probed }).await;
        }
    }

    /// When WATCHDOG=1 last came, by the word of its runner.
    async fn ask_runner(&self, path: Option<PathBuf>, timeout: Duration) -> Answer {
        let asked = async { link::ask(path?, RunnerRequest::Snapshot).await.ok() };
        match tokio::time::timeout(timeout, asked).await {
            Ok(Some(RunnerReply::Snapshot(info))) => {
                let view = info.views.iter().find(|view| view.name == self.name);
                Answer::Beat(view.and_then(|view| view.beat).map(|beat| beat.0))
            }
            _ => Answer::NotAsked("its runner, which hears its WATCHDOG=1, does not answer".into()),
        }
    }

    /// Looks at the service's processes and at the machine.
    async fn facts(&self, paths: &Paths) -> Option<Facts> {
        let pid = self.pid;
        let logs = [Stream::Stdout, Stream::Stderr].map(|stream| paths.log(&self.name, stream));
        let look = move || look(pid, &logs);
        // Reading about processes may take longer than the loop has time for; and a verdict does not wait for what hangs there.
        tokio::time::timeout(FACTS_WITHIN, tokio::task::spawn_blocking(look)).await.ok()?.ok()
    }
}

fn look(pid: i32, logs: &[PathBuf; 2]) -> Facts {
    let length = |path: &PathBuf| path.metadata().map_or(0, |file| file.len());
    Facts { vitals: vitals::look(pid), host: host::load(), logged: logs.iter().map(length).sum() }
}
