//! What is done about a run that is to be ended: it is put on record with the name of its evidence, and that is taken on a thread of
//! its own, so that nothing else waits. Whether and when it is ended is its monitor's to say.

use super::{Daemon, Event};
use crate::evidence::{self, Budget, Scene};
use crate::machine::{Conviction, Seen};
use crate::model::paths::Stream;
use crate::model::{StopCause, UnitName};
use crate::process::{clock, identity};
use crate::store;

impl Daemon {
    pub(super) fn convict(&mut self, name: &UnitName, conviction: Conviction) {
        let Conviction { run_id, pid, cause, reason, event, mut data, probes, parts } = conviction;
        let at = clock::now();
        let what = if cause == StopCause::Hung { "hung" } else { "start" };
        let file = evidence::file_name(name, run_id, at.wall_ms, what);
        tracing::warn!(service = %name, run_id, pid, reason, "it is to be restarted");
        data.insert(store::EVIDENCE.into(), file.clone().into());
        self.record_of(event, Some(name.clone()), data.into());
        let scene = Scene {
            service: name.clone(),
            run_id,
            pid,
            at,
            reason,
            probes,
            parts,
            logs: [Stream::Stdout, Stream::Stderr].map(|stream| self.paths.log(name, stream)),
            diagnostic_signal: self.monitors.diagnostic_signal(name).filter(|_| cause == StopCause::Hung),
            started_token: identity::start_token(pid),
        };
        let folder = self.paths.evidence();
        let (name, events) = (name.clone(), self.events.clone());
        let taken = move || {
            if let Err(e) = evidence::take(&folder, &file, &scene, &Budget::default()) {
                tracing::warn!(service = %name, "no evidence of it could be kept: {e}");
            }
            evidence::prune(&folder);
            // When nobody listens the daemon is gone.
            let _ = events.blocking_send(Event::Seen(name, Box::new(Seen::EvidenceTaken { run_id })));
        };
        let thread = std::thread::Builder::new().name("evidence".into()).spawn(taken);
        if let Err(e) = thread {
            // The monitor waits for it a while, and goes on without.
            tracing::warn!("no evidence is taken, as no thread can be started: {e}");
        }
    }
}
