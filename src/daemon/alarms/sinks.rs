//! Which sinks there are: services.toml says so, and it changes.

use super::Alarms;
use super::send::Served;
use crate::alert;
use crate::model::{Alert, AlertSpec, AlertState, HeardAt, Moment, Notice, NoticeKind, SinkKind, SinkSpec};
use crate::process::clock;
use crate::store::{Ledger, StoreError, Telling};

impl Alarms {
    /// Serves these, and no others. The desktop that nobody asked for is left out where there is none.
    pub(super) fn serve_sinks(&mut self, sinks: &[SinkSpec]) {
        let by_default = sinks == AlertSpec::default().sinks;
        let absent =
            |sink: &SinkSpec| by_default && sink.kind == SinkKind::Desktop && alert::unreachable_why(sink).is_some();
        let mut old = std::mem::take(&mut self.served);
        for sink in sinks.iter().filter(|sink| !absent(sink)) {
            let served = match old.remove(&sink.name) {
                Some(served) => served.declared(sink),
                None => Served::new(sink, clock::now()),
            };
            self.served.insert(sink.name.clone(), served);
        }
        self.spec = self.declared.spec.clone();
        self.spec.sinks.retain(|sink| !absent(sink));
    }

    /// Brings the outbox in line with the sinks that there are.
    pub(super) fn follow_sinks(&mut self, ledger: &mut Ledger) -> Result<(), StoreError> {
        self.drop_sinks(ledger)?;
        self.acquaint(ledger, clock::now())
    }

    /// Who comes new hears of what is open: the one it takes the place of may have had no time to tell anybody.
    fn acquaint(&mut self, ledger: &mut Ledger, at: Moment) -> Result<(), StoreError> {
        let is_told = |alert: &&Alert| alert.told && alert.quiet.is_none() && alert.state == AlertState::Open;
        let notice = |alert: &Alert| Notice {
            key: format!("{}.0", alert.id),
            kind: NoticeKind::Fired,
            at_ms: at.wall_ms,
            alert: alert.clone(),
            beyond: None,
        };
        let open: Vec<Notice> = self.machine.open().filter(is_told).map(notice).collect();
        let at = HeardAt { boot_id: &self.boot_id, at };
        let telling = Telling { at, spec: &self.spec, only: None, delivered: &self.told.known };
        if ledger.acquaint(&open, &telling)? > 0 {
            self.look_again();
        }
        Ok(())
    }

    /// What waits for sinks that are no more is not sent.
    fn drop_sinks(&self, ledger: &mut Ledger) -> Result<(), StoreError> {
        if self.has_faults {
            return Ok(());
        }
        // A desktop that is absent today is still declared.
        let remain: Vec<&str> = self.declared.spec.sinks.iter().map(|sink| sink.name.as_str()).collect();
        match ledger.drop_sinks(&remain, clock::now().wall_ms)? {
            0 => {}
            count => tracing::warn!("{count} notices are not sent any more: their sinks are no longer declared"),
        }
        Ok(())
    }
}
