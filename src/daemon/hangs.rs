//! What is done about a run that is to be ended: it is put on record with the name of its evidence, and that is taken on a thread of
//! its own, so that nothing else waits. Whether and when it is ended is its monitor's to say.

use super::{Daemon, Event};
use crate::machine::{Conviction, Seen};
use crate::model::UnitName;

impl Daemon {
    pub(super) fn convict(&mut self, name: &UnitName, conviction: Conviction) {
        let Conviction { run_id, pid, reason, event, data, .. } = conviction;
        tracing::warn!(service = %name, run_id, pid, reason, "it is to be restarted");
        self.record_of(event, Some(name.clone()), data.into());
        let (name, events) = (name.clone(), self.events.clone());
        tokio::spawn(async move {
            // When nobody listens the daemon is gone.
            let _ = events.send(Event::Seen(name, Box::new(Seen::EvidenceTaken { run_id }))).await;
        });
    }
}
