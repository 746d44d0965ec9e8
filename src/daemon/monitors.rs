//! All monitors, and the probes they ask for.

use std::collections::BTreeMap;

use tokio::sync::mpsc;

use super::Event;
use crate::machine::{Act, MonitorMachine, Seen};
use crate::model::{Fleet, HealthInfo, HealthSpec, Mono, Probed, RunView, UnitName};
use crate::probe;
use crate::process::clock;

pub(super) struct Monitors {
    by_name: BTreeMap<UnitName, (Option<HealthSpec>, MonitorMachine)>,
}

impl Monitors {
    pub(super) fn new(fleet: &Fleet) -> Self {
        let mut monitors = Self { by_name: BTreeMap::new() };
        monitors.follow(fleet);
        monitors
    }

    /// Takes a changed fleet over; a service whose probes did not change keeps what is known of it.
    pub(super) fn follow(&mut self, fleet: &Fleet) {
        let mut old = std::mem::take(&mut self.by_name);
        for spec in fleet.services.iter().filter(|spec| spec.health.is_some()) {
            let kept = old.remove(&spec.name).filter(|(health, _)| *health == spec.health);
            let fresh = || (spec.health.clone(), MonitorMachine::new(spec.health.clone()));
            self.by_name.insert(spec.name.clone(), kept.unwrap_or_else(fresh));
        }
    }

    pub(super) fn saw(&mut self, view: &RunView) {
        self.step(&view.name, Seen::View(Box::new(view.clone())));
    }

    pub(super) fn lost(&mut self, name: &UnitName) {
        self.step(name, Seen::RunnerGone);
    }

    /// The run that is to be told ready, if this made it so.
    pub(super) fn probed(&mut self, name: &UnitName, run_id: u64, probed: Probed) -> Option<u64> {
        self.step(name, Seen::Probed { run_id, probed }).into_iter().find_map(|act| match act {
            Act::TellReady { run_id } => Some(run_id),
            Act::Probe { .. } => None,
        })
    }

    pub(super) fn due(&self) -> Option<Mono> {
        self.by_name.values().filter_map(|(_, monitor)| monitor.due()).min()
    }

    /// Starts the probes that are due.
    pub(super) fn tick(&mut self, events: &mpsc::Sender<Event>) {
        let now = clock::now().mono;
        let due = |(_, monitor): &(Option<HealthSpec>, MonitorMachine)| monitor.due().is_some_and(|due| due <= now);
        let names: Vec<UnitName> =
            self.by_name.iter().filter(|(_, monitor)| due(monitor)).map(|(name, _)| name.clone()).collect();
        for name in names {
            for act in self.step(&name, Seen::Tick) {
                if let Act::Probe { run_id, probe, timeout } = act {
                    let (name, events) = (name.clone(), events.clone());
                    tokio::spawn(async move {
                        let probed = probe::ask(&probe, timeout).await.probed;
                        let _ = events.send(Event::Probed { name, run_id, probed }).await;
                    });
                }
            }
        }
    }

    pub(super) fn info(&self, name: &UnitName) -> Option<HealthInfo> {
        self.by_name.get(name)?.1.info()
    }

    fn step(&mut self, name: &UnitName, seen: Seen) -> Vec<Act> {
        match self.by_name.get_mut(name) {
            Some((_, monitor)) => monitor.step(clock::now(), clock::fraction(), seen),
            None => Vec::new(),
        }
    }
}
