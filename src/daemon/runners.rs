//! The runners as the daemon sees them: found, followed, told, and missed.

use std::collections::BTreeMap;

use super::{Daemon, Linked, link, own_log};
use crate::machine::{MemorySeen, Seen};
use crate::model::paths::EMBEDDED_RUNNER;
use crate::model::wire::RunnerRequest;
use crate::model::{RunView, RunnerInfo, UnitName};
use crate::process::{clock, socket};

impl Daemon {
    pub(super) fn on_push(&mut self, id: String, info: RunnerInfo) {
        let views = &info.views;
        let ours = id == EMBEDDED_RUNNER && self.embedded.is_some();
        let linked = self.runners.entry(id).or_insert_with(|| Linked {
            info: info.clone(),
            views: BTreeMap::new(),
            connected: true,
        });
        linked.connected = true;
        for view in views {
            own_log::tell_transition(linked.views.get(&view.name), view);
            self.ledger.saw(linked.views.get(&view.name), view);
            linked.views.insert(view.name.clone(), view.clone());
        }
        if ours {
            // A service that was taken out of services.toml is forgotten by its runner once it is down.
            let fleet = &self.fleet;
            let declared = |name: &UnitName| {
                fleet.service(name).is_some_and(|spec| spec.enabled) || fleet.unusable.iter().any(|u| u.name == *name)
            };
            linked.views.retain(|name, view| view.pid.is_some() || declared(name));
        }
        let mut info = info;
        let views = std::mem::take(&mut info.views);
        linked.info = info;
        for view in views {
            self.on_view(view);
        }
        // What was journaled before we subscribed is told by nobody else.
        self.ledger.look();
    }

    /// Tells who judges a service what its runner says of it.
    fn on_view(&mut self, view: RunView) {
        let name = view.name.clone();
        if self.memories.follows(&name) {
            self.memory(&name, MemorySeen::View(Box::new(view.clone())));
        }
        self.monitor(&name, Seen::View(Box::new(view)));
    }

    /// The same for all whose runner is there: of the others nothing is known until it is back.
    pub(super) fn view_again(&mut self) {
        for view in self.known_views() {
            self.on_view(view);
        }
    }

    /// What the runners that are there say of their services.
    pub(super) fn known_views(&self) -> Vec<RunView> {
        let linked = self.runners.values().filter(|linked| linked.connected);
        linked.flat_map(|linked| linked.views.values().cloned()).collect()
    }

    pub(super) fn on_gone(&mut self, id: &str) {
        if let Some(linked) = self.runners.get_mut(id) {
            linked.connected = false;
            let names: Vec<UnitName> = linked.views.keys().cloned().collect();
            for name in names {
                self.monitor(&name, Seen::RunnerGone);
                self.memory(&name, MemorySeen::RunnerGone);
            }
        }
        self.ledger.look();
        if id == EMBEDDED_RUNNER && self.embedded.is_some() {
            self.on_embedded_gone();
        } else {
            self.runners.remove(id);
            self.jobs.runner_gone(id, clock::now().mono);
        }
    }

    /// Looks for runners that were started by others and follows them.
    pub(super) fn find_runners(&mut self) {
        // A folder that cannot be read now is read at the next knock.
        for id in socket::names_in(&self.paths.runners()).unwrap_or_default() {
            let ours = id == EMBEDDED_RUNNER && self.embedded.is_some();
            if ours || self.runners.contains_key(&id) {
                continue;
            }
            if let Ok(stream) = link::connect(&self.paths.runner_socket(&id)) {
                let info = RunnerInfo {
                    id: id.clone(),
                    pid: 0,
                    version: String::new(),
                    upgrades: 0,
                    program: None,
                    views: Vec::new(),
                    journal_lost: 0,
                    troubles: Vec::new(),
                };
                self.runners.insert(id.clone(), Linked { info, views: BTreeMap::new(), connected: true });
                tokio::spawn(link::follow(id, stream, self.events.clone()));
            }
        }
    }

    pub(super) fn tell_ready(&self, name: &UnitName, run_id: u64) {
        let Some(id) = self.runner_of(name) else { return };
        let path = self.paths.runner_socket(id);
        let request = RunnerRequest::Ready { name: name.clone(), run_id };
        tokio::spawn(async move {
            // A runner that is gone has a successor, which is probed anew.
            let _ = link::ask(path, request).await;
        });
    }

    pub(super) fn runner_of(&self, name: &UnitName) -> Option<&str> {
        let mut owners = self.runners.iter().filter_map(|(id, linked)| Some((id, linked.views.get(name)?)));
        let owner = owners.clone().find(|(_, view)| view.pid.is_some()).or_else(|| owners.next());
        owner.map(|(id, _)| id.as_str())
    }
}
