//! What Linux writes into /proc/PID/stat and /proc/PID/schedstat. Pure, so that it is tested everywhere.

use std::time::Duration;

use crate::model::ProcessState;

/// One line of /proc/PID/stat or /proc/PID/task/TID/stat, as far as it is of use.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Stat {
    pub(super) name: String,
    pub(super) letter: char,
    pub(super) ppid: i32,
    pub(super) pgid: i32,
    pub(super) sid: i32,
    /// In user mode and in the kernel, clock ticks.
    pub(super) cpu: u64,
    pub(super) threads: u32,
    /// Clock ticks since boot.
    pub(super) start: u64,
    pub(super) resident_pages: u64,
}

impl Stat {
    /// proc(5): `pid (name) state ppid pgrp session ...`. The name may hold spaces and parentheses, so the fields are counted from
    /// the last `)`.
    pub(super) fn parse(bytes: &[u8]) -> Option<Self> {
        let name_from = bytes.iter().position(|byte| *byte == b'(')? + 1;
        let name_to = bytes.iter().rposition(|byte| *byte == b')')?;
        let name = String::from_utf8_lossy(bytes.get(name_from..name_to)?).into_owned();
        let mut fields = std::str::from_utf8(bytes.get(name_to + 1..)?).ok()?.split_ascii_whitespace();
        let letter = fields.next()?.chars().next()?;
        let ppid = fields.next()?.parse().ok()?;
        let pgid = fields.next()?.parse().ok()?;
        let sid = fields.next()?.parse().ok()?;
        let user: u64 = fields.nth(7)?.parse().ok()?; // field 14
        let system: u64 = fields.next()?.parse().ok()?;
        let threads = fields.nth(4)?.parse().ok()?; // field 20
        let start = fields.nth(1)?.parse().ok()?; // field 22
        let resident_pages = fields.nth(1)?.parse().unwrap_or(0); // field 24
        let cpu = user.saturating_add(system);
        Some(Self { name, letter, ppid, pgid, sid, cpu, threads, start, resident_pages })
    }

    /// A process whose first thread has ended shows as `Z` while its other threads run on.
    pub(super) fn is_zombie(&self) -> bool {
        matches!(self.letter, 'Z' | 'X' | 'x') && self.threads <= 1
    }

    pub(super) fn state(&self) -> ProcessState {
        match self.letter {
            'R' => ProcessState::Running,
            'S' | 'I' => ProcessState::Sleeping,
            'D' => ProcessState::Uninterruptible,
            'T' => ProcessState::Stopped,
            't' => ProcessState::Traced,
            _ if self.is_zombie() => ProcessState::Zombie,
            _ => ProcessState::Unknown,
        }
    }
}

/// /proc/PID/schedstat: how long the first thread has run, and how long it has waited for a processor.
pub(super) fn schedstat(text: &str) -> Option<(Duration, Duration)> {
    let mut fields = text.split_ascii_whitespace().map(|field| field.parse().ok().map(Duration::from_nanos));
    Some((fields.next()??, fields.next()??))
}

/// Numbers between white space: /proc/PID/task/TID/children.
pub(super) fn pids(text: &str) -> impl Iterator<Item = i32> {
    text.split_ascii_whitespace().filter_map(|word| word.parse().ok())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_name_with_parentheses_and_newlines_is_no_trouble() {
        let line = b"7 (a) R 1 (\n) S 3 4 5 0 -1 4194560 1 0 0 0 11 2 9 9 20 0 1 0 987654 1 33 9\n";
        let stat = Stat::parse(line).unwrap();
        assert_eq!((stat.name.as_str(), stat.letter), ("a) R 1 (\n", 'S'));
        assert_eq!((stat.ppid, stat.pgid, stat.sid, stat.start), (3, 4, 5, 987_654));
        assert_eq!((stat.cpu, stat.threads, stat.resident_pages), (13, 1, 33), "not the time of ended children");
    }

    #[test]
    fn letters_are_states_and_a_dead_first_thread_with_others_alive_is_no_zombie() {
        let stat = |letter, threads| {
            Stat::parse(format!("7 (x) {letter} 3 4 5 0 -1 0 1 0 0 0 0 0 0 0 20 0 {threads} 0 9 1 1").as_bytes())
                .unwrap()
        };
        for (letter, state) in [
            ('R', ProcessState::Running),
            ('S', ProcessState::Sleeping),
            ('D', ProcessState::Uninterruptible),
            ('T', ProcessState::Stopped),
            ('t', ProcessState::Traced),
            ('Z', ProcessState::Zombie),
            ('X', ProcessState::Zombie),
            ('?', ProcessState::Unknown),
        ] {
            assert_eq!(stat(letter, 1).state(), state, "{letter}");
        }
        assert!(stat('Z', 1).is_zombie() && stat('Z', 0).is_zombie());
        assert!(!stat('Z', 2).is_zombie());
        assert_eq!(stat('Z', 2).state(), ProcessState::Unknown);
    }

    #[test]
    fn what_is_cut_is_nothing() {
        for cut in
            ["", "7", "7 (x", "7 (x)", "7 )x(", "7 (x) Z 3", "7 (x) S 3 4 5 0 -1 0 1 0 0 0 a 0 0 0 20 0 1 0 9 1 1"]
        {
            assert_eq!(Stat::parse(cut.as_bytes()), None, "{cut}");
        }
        let ms = Duration::from_millis;
        assert_eq!(schedstat("802000000 5000000 2\n"), Some((ms(802), ms(5))));
        for bad in ["", "1", "x 1 2", "1 -1 2"] {
            assert_eq!(schedstat(bad), None, "{bad}");
        }
        assert_eq!(pids("12 x 13\n").collect::<Vec<_>>(), [12, 13]);
    }
}
