//! What services say of themselves over their NOTIFY_SOCKET: lines of sd_notify(3).

use std::cmp::Reverse;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Runner, TELL_BEAT, Turn};
use crate::machine::Input;
use crate::model::Mono;

/// Messages of one service that are taken in one turn: more than a socket holds, and no more than others can wait for.
const MOST: usize = 1024;

/// Subscribers are told of one service's signs of life at most this often.
const TELL_EVERY: Duration = Duration::from_millis(100);

/// The last WATCHDOG=1 of a service. It is no change that a successor has to know of: nothing is written down for it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub(super) struct Beat {
    /// The run that sent it.
    pub(super) run_id: u64,
    /// When.
    pub(super) at: Mono,
}

/// A service's signs of life, and what subscribers know of them.
#[derive(Debug, Default)]
pub(super) struct Beats {
    pub(super) last: Option<Beat>,
    told: Option<Mono>,
    /// Whether a timer is to tell what subscribers do not know yet.
    waits: bool,
}

impl Beats {
    /// What was heard in a program that this one was before.
    pub(super) fn resumed(last: Option<Beat>) -> Self {
        Self { last, ..Self::default() }
    }

    /// Takes one in; when subscribers are to be told of it, unless that is arranged already.
    fn take(&mut self, beat: Beat) -> Option<Mono> {
        self.last = Some(beat);
        if self.waits {
            return None;
        }
        let due = self.told.map_or(beat.at, |told| told.plus(TELL_EVERY).max(beat.at));
        self.waits = due > beat.at;
        self.told = Some(due);
        Some(due)
    }
}

impl Runner {
    pub(super) fn on_notify(&mut self, index: usize, turn: &mut Turn) {
        let mut bytes = [0u8; 4096];
        let mut beats = false;
        for _ in 0..MOST {
            let Some(service) = self.services.get_mut(index).and_then(Option::as_mut) else { return };
            let Some((socket, _)) = &service.notify else { return };
            let Ok(n) = socket.recv(&mut bytes) else { break };
            let Some(run_id) = service.machine.run().map(|run| run.id) else { continue };
            let says = |wanted: &[u8]| bytes[..n].split(|b| *b == b'\n').any(|line| line == wanted);
            beats |= says(b"WATCHDOG=1");
            if says(b"READY=1") {
                self.drive(index, Input::Ready { run_id }, turn);
            }
        }
        if beats {
            self.on_beat(index, turn);
        }
    }

    fn on_beat(&mut self, index: usize, turn: &mut Turn) {
        let Some(service) = self.services.get_mut(index).and_then(Option::as_mut) else { return };
        let Some(run_id) = service.machine.run().map(|run| run.id) else { return };
        let at = turn.now.mono;
        match service.beats.take(Beat { run_id, at }) {
            Some(due) if due > at => self.timers.push(Reverse((due, index, TELL_BEAT))),
            Some(_) => drop(turn.changed.insert(index)),
            None => {}
        }
    }

    /// How long ago a run that is to be ended for its silence gave a sign of life, when that is within what is tolerated: we were held
    /// up, and who passed the verdict has not heard of it.
    pub(super) fn has_just_beaten(&mut self, index: usize, turn: &mut Turn) -> Option<Duration> {
        // What has come meanwhile is heard before the order is.
        self.on_notify(index, turn);
        let service = self.services.get(index)?.as_ref()?;
        let (tolerated, run) = (service.machine.spec().watchdog()?, service.machine.run()?);
        let last = service.beats.last.filter(|beat| beat.run_id == run.id)?;
        Some(turn.now.mono.since(last.at)).filter(|ago| *ago < tolerated)
    }

    /// The moment has come to tell what was held back.
    pub(super) fn tell_beat(&mut self, index: usize, turn: &mut Turn) {
        if let Some(service) = self.services.get_mut(index).and_then(Option::as_mut) {
            service.beats.waits = false;
            turn.changed.insert(index);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_sign_of_life_is_told_at_once_and_many_at_most_ten_times_a_second_and_none_is_lost() {
        let mut beats = Beats::default();
        let (mut told, mut due) = (Vec::new(), None::<Mono>);
        // One a millisecond for a second, silence for two, and one more.
        for ms in (0..=1000).chain([3000]) {
            let at = Mono(0).plus(Duration::from_millis(ms));
            if let Some(when) = due.take_if(|when| *when <= at) {
                beats.waits = false;
                told.push((when, beats.last.unwrap().at));
            }
            if let Some(when) = beats.take(Beat { run_id: 1, at }) {
                if when > at { due = Some(when) } else { told.push((when, at)) }
            }
        }
        assert_eq!(due, None);
        assert_eq!(told.len(), 13, "{told:?}");
        assert_eq!(told.first().unwrap().0, Mono(0));
        assert!(told.windows(2).all(|pair| pair[1].0.since(pair[0].0) >= TELL_EVERY), "{told:?}");
        let last = told.iter().rev().nth(1).unwrap().1;
        assert_eq!(last, Mono(0).plus(Duration::from_secs(1)), "the last before the silence is known");
        assert_eq!(told.last().unwrap().0, Mono(0).plus(Duration::from_secs(3)), "the first after it is told at once");
    }
}
