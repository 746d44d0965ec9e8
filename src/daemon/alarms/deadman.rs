//! The dead man's switch: somebody elsewhere is called while all is well, so that silence is noticed there. It is called from
//! the ledger's thread, and only while the daemon's loop goes round, too.

use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};
use std::sync::mpsc::Sender;
use std::time::Duration;

use super::Call;
use crate::alert::{self, Ping};
use crate::model::{DeadmanSpec, Mono};

/// The daemon's loop goes round at least each minute.
const STUCK_AFTER: Duration = Duration::from_secs(180);

/// How long one call may take.
const LIMIT: Duration = Duration::from_secs(10);

/// Between two tries of a call that failed, unless the interval is shorter.
const AGAIN: Duration = Duration::from_secs(30);

pub(super) struct Deadman {
    spec: Option<DeadmanSpec>,
    beat: Arc<AtomicU64>,
    due: Option<Mono>,
    started: bool,
    calling: bool,
    /// What went wrong with the last call.
    trouble: Option<String>,
}

impl Deadman {
    pub(super) fn new(spec: Option<DeadmanSpec>, beat: Arc<AtomicU64>, now: Mono) -> Self {
        Self { due: spec.is_some().then_some(now), spec, beat, started: false, calling: false, trouble: None }
    }

    pub(super) fn declared(&mut self, spec: Option<DeadmanSpec>, now: Mono) {
        if spec != self.spec {
            let calling = self.calling;
            *self = Self { calling, ..Self::new(spec, Arc::clone(&self.beat), now) };
        }
    }

    /// Calls, if it is time to: that we have started, once; then that all is well, or what is not.
    pub(super) fn tick(&mut self, now: Mono, ill: &[String], back: &Sender<Call>) {
        let Some(spec) = self.spec.clone().filter(|_| !self.calling && self.due.is_some_and(|due| due <= now)) else {
            return;
        };
        self.due = Some(now.plus(spec.interval));
        if now.since(Mono(self.beat.load(Ordering::Relaxed))) > STUCK_AFTER {
            self.trouble = Some("the daemon does not get on: nobody is called".into());
            return;
        }
        let ping = match (self.started, ill.is_empty()) {
            (false, _) => Ping::Start,
            (true, true) => Ping::Success,
            (true, false) => Ping::Fail,
        };
        if ping == Ping::Start {
            // Whether all is well is said right after.
            self.due = Some(now);
        }
        self.calling = true;
        let body = ill.join("\n");
        let (tell, failed) = (back.clone(), back.clone());
        let call = move || {
            let _ = tell.send(Call::Pinged(alert::ping(&spec, ping, &body, LIMIT)));
        };
        if let Err(e) = std::thread::Builder::new().name("deadman".into()).spawn(call) {
            let _ = failed.send(Call::Pinged(Err(format!("no thread could be started for it: {e}"))));
        }
    }

    /// A call has ended.
    pub(super) fn called(&mut self, result: Result<(), String>, now: Mono) {
        self.calling = false;
        self.started |= result.is_ok();
        if let Err(why) = &result
            && let Some(due) = self.due
        {
            self.due = Some(due.min(now.plus(AGAIN)).max(now.plus(Duration::from_secs(1))));
            if self.trouble.as_ref() != Some(why) {
                tracing::warn!("the dead man's switch could not be called: {why}");
            }
        }
        self.trouble = result.err();
    }

    pub(super) fn due(&self) -> Option<Mono> {
        self.due.filter(|_| !self.calling)
    }

    pub(super) fn trouble(&self) -> Option<String> {
        self.trouble.as_ref().map(|why| format!("the dead man's switch is not called: {why}"))
    }
}
