//! The services' output pipes, held open: what a pipe holds is gone when nobody has it open any more, and without us that is
//! so when a service ends while its runner is dead. Its last words are what its successor is asked for first.

use std::collections::BTreeMap;
use std::os::fd::OwnedFd;

use crate::logs::fifo;
use crate::model::paths::{Paths, Stream};
use crate::model::{Fleet, UnitName};
use crate::process::files;
use crate::process::handover::Parcel;

/// The pipes of all services that are to run. Never read from.
#[derive(Default)]
pub(super) struct Pipes {
    held: BTreeMap<UnitName, Vec<OwnedFd>>,
}

impl Pipes {
    /// The program that this one becomes is to have them open, too, until it has opened them itself.
    pub(super) fn hand_over<'a>(&'a self, parcel: &mut Parcel<'a>) {
        for (n, pipe) in self.held.values().flatten().enumerate() {
            parcel.add(format!("pipe/{n}"), pipe);
        }
    }

    /// Holds the pipes of `fleet`, and no others. They are made where their runner has not been there yet.
    pub(super) fn follow(&mut self, fleet: &Fleet, paths: &Paths) {
        let mut old = std::mem::take(&mut self.held);
        for spec in fleet.services.iter().filter(|spec| spec.enabled) {
            let hold = |stream| {
                let path = paths.fifo(&spec.name, stream);
                fifo::ensure(&path).and_then(|()| fifo::open_keeper(&path))
            };
            // What cannot be made or opened is told by its runner, which needs it for more than this.
            let fresh = || {
                files::ensure_dir(&paths.service(&spec.name)).ok();
                [Stream::Stdout, Stream::Stderr].into_iter().filter_map(|stream| hold(stream).ok()).collect()
            };
            let pipes = old.remove(&spec.name).filter(|pipes| pipes.len() == 2).unwrap_or_else(fresh);
            self.held.insert(spec.name.clone(), pipes);
        }
    }
}
