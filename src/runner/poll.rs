//! The runner's wait for events: level-triggered, so that bounded work per turn is safe.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::{AsFd, AsRawFd};
use std::time::Duration;

use polling::{Event, Events, PollMode, Poller};

/// What an event is about. Services and connections are known by their place in the runner's tables.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Token {
    Signals,
    Listener,
    Changes,
    Connection(usize),
    Stdout(usize),
    Stderr(usize),
    Watch(usize),
    Notify(usize),
    PortOwner(usize),
}

const KINDS: usize = 9;

impl Token {
    fn key(self) -> usize {
        let (kind, index) = match self {
            Self::Signals => (0, 0),
            Self::Listener => (1, 0),
            Self::Connection(index) => (2, index),
            Self::Stdout(index) => (3, index),
            Self::Stderr(index) => (4, index),
            Self::Watch(index) => (5, index),
            Self::Notify(index) => (6, index),
            Self::PortOwner(index) => (7, index),
            Self::Changes => (8, 0),
        };
        index * KINDS + kind
    }

    fn of_key(key: usize) -> Self {
        let index = key / KINDS;
        match key % KINDS {
            0 => Self::Signals,
            1 => Self::Listener,
            2 => Self::Connection(index),
            3 => Self::Stdout(index),
            4 => Self::Stderr(index),
            5 => Self::Watch(index),
            6 => Self::Notify(index),
            7 => Self::PortOwner(index),
            _ => Self::Changes,
        }
    }
}

/// epoll or kqueue.
pub(super) struct Poll {
    poller: Poller,
    events: Events,
}

impl Poll {
    pub(super) fn new() -> io::Result<Self> {
        let events = Events::with_capacity(NonZeroUsize::new(256).unwrap_or(NonZeroUsize::MIN));
        Ok(Self { poller: Poller::new()?, events })
    }

    /// Watches `fd` for input, and for room for output if `writes`.
    #[expect(unsafe_code, reason = "polling wants a promise about the descriptor's life")]
    pub(super) fn add(&self, fd: &impl AsFd, token: Token, writes: bool) -> io::Result<()> {
        let interest = Event::new(token.key(), true, writes);
        // SAFETY: every descriptor that is added is removed by `remove` before it is closed; epoll and kqueue forget
        // closed descriptors besides, so that a forgotten one is an unused entry and no memory error.
        unsafe { self.poller.add_with_mode(fd.as_fd().as_raw_fd(), interest, PollMode::Level) }
    }

    /// Changes whether room for output is watched for.
    pub(super) fn set_writes(&self, fd: &impl AsFd, token: Token, writes: bool) -> io::Result<()> {
        self.poller.modify_with_mode(fd.as_fd(), Event::new(token.key(), true, writes), PollMode::Level)
    }

    /// Leaves `fd` registered without any interest: for a watch whose descriptor stays readable.
    pub(super) fn mute(&self, fd: &impl AsFd, token: Token) -> io::Result<()> {
        self.poller.modify_with_mode(fd.as_fd(), Event::none(token.key()), PollMode::Level)
    }

    /// Stops watching `fd`.
    pub(super) fn remove(&self, fd: &impl AsFd) {
        // It may never have been added; either way it is not watched afterwards.
        let _ = self.poller.delete(fd.as_fd());
    }

    /// Waits, at most for `timeout`, and gives the tokens of what is ready.
    pub(super) fn wait(&mut self, timeout: Option<Duration>, ready: &mut Vec<Token>) -> io::Result<()> {
        ready.clear();
        self.events.clear();
        let waited = match self.poller.wait(&mut self.events, timeout) {
            // By a signal: what its handler has written is there already, and need not wait for another turn.
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {
                self.poller.wait(&mut self.events, Some(Duration::ZERO))
            }
            waited => waited,
        };
        match waited {
            Ok(_) => {}
            Err(e) if e.kind() == io::ErrorKind::Interrupted => {}
            Err(e) => return Err(e),
        }
        ready.extend(self.events.iter().map(|event| Token::of_key(event.key)));
        Ok(())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn tokens_survive_the_key() {
        for index in [0, 1, 999] {
            for token in [
                Token::Connection(index),
                Token::Stdout(index),
                Token::Stderr(index),
                Token::Watch(index),
                Token::Notify(index),
                Token::PortOwner(index),
            ] {
                assert_eq!(Token::of_key(token.key()), token);
            }
        }
        assert_eq!(Token::of_key(Token::Signals.key()), Token::Signals);
        assert_eq!(Token::of_key(Token::Listener.key()), Token::Listener);
        assert_eq!(Token::of_key(Token::Changes.key()), Token::Changes);
    }
}
