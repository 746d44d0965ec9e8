//! What other threads send to the loop, and the bell that wakes it: it waits for descriptors, those of its handlers among them.

use std::io::{self, PipeReader, PipeWriter, Read, Write};
use std::os::fd::AsFd;
use std::sync::Arc;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::time::Duration;

use nix::fcntl::{FcntlArg, OFlag, fcntl};
use nix::poll::{PollFd, PollFlags, PollTimeout, poll};

use super::Input;

/// Sends to the loop.
#[derive(Clone)]
pub(in crate::watch) struct Post {
    sender: Sender<Input>,
    bell: Arc<PipeWriter>,
}

/// Where it comes in.
pub(in crate::watch) struct Inbox {
    receiver: Receiver<Input>,
    bell: PipeReader,
}

/// Both ends.
///
/// # Errors
/// When there are no more descriptors.
pub(in crate::watch) fn inbox() -> io::Result<(Post, Inbox)> {
    let (ours, theirs) = io::pipe()?;
    for end in [ours.as_fd(), theirs.as_fd()] {
        fcntl(end, FcntlArg::F_SETFL(OFlag::O_NONBLOCK))?;
    }
    let (sender, receiver) = channel();
    Ok((Post { sender, bell: Arc::new(theirs) }, Inbox { receiver, bell: ours }))
}

impl Post {
    /// Gives whether the loop is still there.
    pub(in crate::watch) fn send(&self, input: Input) -> bool {
        let is_there = self.sender.send(input).is_ok();
        // A bell that is full rings already.
        let _ = (&*self.bell).write(&[0]);
        is_there
    }
}

impl Inbox {
    /// Waits until something comes, one of these is ready, or `patience` is over; `None`: for as long as it takes.
    pub(super) fn wait<'a>(&'a self, others: impl Iterator<Item = PollFd<'a>>, patience: Option<Duration>) {
        let mut all: Vec<PollFd<'_>> = others.collect();
        all.push(PollFd::new(self.bell.as_fd(), PollFlags::POLLIN));
        // Times are counted in milliseconds here: it is better to come a little late than to come twice.
        let millis = patience.map(|left| left.as_nanos().div_ceil(1_000_000));
        let timeout = millis.map_or(PollTimeout::NONE, |left| PollTimeout::try_from(left).unwrap_or(PollTimeout::MAX));
        // A signal ends it early, and that is as good as a look.
        let _ = poll(&mut all, timeout);
    }

    /// All that has come.
    pub(super) fn take(&self) -> impl Iterator<Item = Input> {
        // First the bell: who sends after that rings again.
        let mut rings = [0; 64];
        while (&self.bell).read(&mut rings).is_ok_and(|count| count == rings.len()) {}
        self.receiver.try_iter()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_waits_is_woken_and_finds_all_that_was_sent() {
        let (post, inbox) = inbox().unwrap();
        let sender = std::thread::spawn(move || (0..1000).all(|_| post.send(Input::Stop)));
        let mut count = 0;
        while count < 1000 {
            inbox.wait(std::iter::empty(), None);
            count += inbox.take().count();
        }
        assert!(sender.join().unwrap());
        // Nothing rings any more: this ends by its time.
        inbox.wait(std::iter::empty(), Some(Duration::from_nanos(1)));
        assert_eq!(inbox.take().count(), 0);
    }
}
