//! The Linux half: control groups and the kernel's log. `oom_macos.rs` has the same names.

use std::fs::File;
use std::os::unix::fs::FileExt;
use std::path::Path;

use super::Counts;
use crate::model::{KillEvidence, Moment, Mono};

/// syslog(2): the newest messages, as many as fit.
const SYSLOG_ACTION_READ_ALL: i32 = 3;

/// Bytes of the kernel's log that are looked at. It says whom it kills after it has listed all processes.
const LOG: usize = 32 * 1024;

#[derive(Debug, Default)]
pub(super) struct Kills {
    counter: Option<Option<Counter>>,
    counts: Counts,
}

/// A file with a count, and whose.
#[derive(Debug)]
struct Counter {
    file: File,
    evidence: KillEvidence,
}

impl Kills {
    pub(super) fn remember(&mut self, now: Mono) {
        if self.counts.is_due(now)
            && let Some(count) = self.count()
        {
            self.counts.remember(now, count);
        }
    }

    pub(super) fn ended(&mut self, _pid: i32) {}

    pub(super) fn evidence(&mut self, pid: i32, started: Moment) -> KillEvidence {
        let is_named = log().is_some_and(|log| super::log_names(&log, pid, started.mono.0 / 1_000_000_000));
        // Taken off the count in any case, as it is no other's.
        let rose = self.count().is_some_and(|count| self.counts.takes_one(count));
        match (&self.counter, is_named, rose) {
            (_, true, _) => KillEvidence::Named,
            (Some(Some(counter)), _, true) => counter.evidence,
            _ => KillEvidence::Nothing,
        }
    }

    fn count(&mut self) -> Option<u64> {
        self.counter.get_or_insert_with(|| Counter::find(Path::new("/"))).as_ref()?.read()
    }
}

impl Counter {
    /// The file stays open: to read it again takes two microseconds, to find it fifty. A group that we are moved to is not seen.
    fn find(root: &Path) -> Option<Self> {
        let cgroups = std::fs::read_to_string(root.join("proc/self/cgroup")).unwrap_or_default();
        let ours = super::counters(&cgroups).into_iter().map(|place| (format!("sys/fs/cgroup{place}"), true));
        let all = ours.chain([("proc/vmstat".to_owned(), false)]);
        all.into_iter().find_map(|(path, is_group)| {
            let file = File::open(root.join(path)).ok()?;
            let evidence = if is_group { KillEvidence::InGroup } else { KillEvidence::OnMachine };
            let counter = Self { file, evidence };
            counter.read().is_some().then_some(counter)
        })
    }

    fn read(&self) -> Option<u64> {
        let mut bytes = [0; 16 * 1024];
        let length = self.file.read_at(&mut bytes, 0).ok()?;
        super::oom_kills(std::str::from_utf8(&bytes[..length]).ok()?)
    }
}

/// The end of the kernel's log; `None` where it may not be read. /dev/kmsg has the same, but one message at a time and the oldest first.
#[expect(unsafe_code, reason = "syslog(2) has no wrapper in nix")]
fn log() -> Option<String> {
    let mut bytes = vec![0_u8; LOG];
    let length = i32::try_from(bytes.len()).ok()?;
    // SAFETY: the buffer is as long as is said, and outlives the call.
    let got = unsafe { libc::klogctl(SYSLOG_ACTION_READ_ALL, bytes.as_mut_ptr().cast(), length) };
    bytes.truncate(usize::try_from(got).ok()?);
    Some(String::from_utf8_lossy(&bytes).into_owned())
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::clock;

    fn put(root: &Path, path: &str, text: &str) {
        let path = root.join(path);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(path, text).unwrap();
    }

    fn kills(root: &Path) -> Kills {
        Kills { counter: Some(Counter::find(root)), counts: Counts::default() }
    }

    /// A pid that no log names.
    const NOBODY: i32 = i32::MAX;

    #[test]
    fn a_kill_in_our_group_is_evidence_for_one_end() {
        let folder = tempfile::tempdir().unwrap();
        let (root, now) = (folder.path(), clock::now());
        put(root, "proc/self/cgroup", "0::/app.slice/x.service\n");
        put(root, "proc/vmstat", "oom_kill 70\n");
        let events = "sys/fs/cgroup/app.slice/x.service/memory.events";
        put(root, events, "oom 0\noom_kill 2\n");
        let mut kills = kills(root);
        kills.remember(now.mono);
        assert_eq!(kills.evidence(NOBODY, now), KillEvidence::Nothing, "killed by a person");
        put(root, events, "oom 1\noom_kill 3\n");
        assert_eq!(kills.evidence(NOBODY, now), KillEvidence::InGroup);
        assert_eq!(kills.evidence(NOBODY, now), KillEvidence::Nothing);
        std::fs::write(root.join(events), "").unwrap();
        assert_eq!(kills.evidence(NOBODY, now), KillEvidence::Nothing);
    }

    #[test]
    fn without_a_group_the_machine_tells_and_that_says_less() {
        let folder = tempfile::tempdir().unwrap();
        let (root, now) = (folder.path(), clock::now());
        put(root, "proc/vmstat", "nr_free_pages 1\noom_kill 70\n");
        let mut kills = kills(root);
        kills.remember(now.mono);
        put(root, "proc/vmstat", "nr_free_pages 1\noom_kill 71\n");
        assert_eq!(kills.evidence(NOBODY, now), KillEvidence::OnMachine);
        let empty = tempfile::tempdir().unwrap();
        let mut none = self::kills(empty.path());
        none.remember(now.mono);
        assert_eq!(none.evidence(NOBODY, now), KillEvidence::Nothing);
    }

    #[test]
    fn this_machine_has_a_count() {
        let counter = Counter::find(Path::new("/")).unwrap();
        assert!(counter.read().is_some(), "{counter:?}");
    }
}
