//! The signals that the daemon acts upon.

use tokio::signal::unix::{Signal, SignalKind, signal};

use crate::error::{Error, ErrorKind};
use crate::process::handover;

pub(super) struct Signals {
    term: Signal,
    int: Signal,
    hup: Signal,
    child: Signal,
}

impl Signals {
    pub(super) fn new() -> Result<Self, Error> {
        let catch =
            |kind| signal(kind).map_err(|e| Error::new(ErrorKind::Internal, format!("cannot catch signals: {e}")));
        let signals = Self {
            term: catch(SignalKind::terminate())?,
            int: catch(SignalKind::interrupt())?,
            hup: catch(SignalKind::hangup())?,
            child: catch(SignalKind::child())?,
        };
        // Where we have just become this program, they were held back.
        handover::accept_signals();
        Ok(signals)
    }

    pub(super) async fn next(&mut self) -> Told {
        tokio::select! {
            _ = self.term.recv() => Told::Stop,
            _ = self.int.recv() => Told::Stop,
            _ = self.hup.recv() => Told::Reload,
            _ = self.child.recv() => Told::Child,
        }
    }
}

/// What a signal asks for.
pub(super) enum Told {
    Stop,
    Reload,
    Child,
}
