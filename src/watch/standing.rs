//! How things stand: written by the loop after each turn, read by whoever is asked.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use serde_json::{Map, Value};

use crate::model::{Canary, Mono, WatchState, WatchedFolder};

/// Longer than this nothing of the loop's takes.
const LONGEST: Duration = Duration::from_secs(60);

/// What only the loop knows.
#[derive(Debug, Clone, Default)]
pub(super) struct Standing {
    pub(super) sets: Vec<Live>,
    pub(super) canary: Canary,
    /// Why the table cannot be written.
    pub(super) unwell: Option<String>,
    /// How many files were given up.
    pub(super) dead: u64,
}

/// Of one set.
#[derive(Debug, Clone, Default)]
pub(super) struct Live {
    pub(super) name: String,
    pub(super) folders: Vec<WatchedFolder>,
    pub(super) waiting: u64,
    pub(super) behind: bool,
    pub(super) running: u32,
    pub(super) handled: u64,
    pub(super) handled_ms: Option<i64>,
    pub(super) scanning: bool,
    /// Why its handler cannot be started.
    pub(super) blocked: Option<String>,
}

/// What the loop is doing: seen from outside, whatever it does.
#[derive(Debug, Default)]
pub(super) struct Busy {
    /// Since when it works, nanoseconds; 0: it waits.
    since: AtomicU64,
    /// Until when it waits at the longest; 0: until something comes.
    until: AtomicU64,
}

impl Busy {
    pub(super) fn works(&self, now: Mono) {
        self.since.store(now.0.max(1), Ordering::Release);
    }

    pub(super) fn rests(&self, until: Option<Mono>) {
        self.until.store(until.map_or(0, |until| until.0.max(1)), Ordering::Release);
        self.since.store(0, Ordering::Release);
    }

    /// What is wrong with the loop.
    pub(super) fn trouble(&self, now: Mono) -> Option<String> {
        let late = |since: u64| Some(now.since(Mono(since))).filter(|late| since != 0 && *late > LONGEST);
        match self.since.load(Ordering::Acquire) {
            0 => {
                let late = late(self.until.load(Ordering::Acquire))?;
                Some(format!("it should have done something {} s ago", late.as_secs()))
            }
            since => Some(format!("it has been at one and the same thing for {} s", late(since)?.as_secs())),
        }
    }
}

impl Standing {
    /// What makes it of no use, as far as a restart can help.
    pub(super) fn failure(&self, busy: &Busy, now: Mono) -> Option<String> {
        busy.trouble(now).or_else(|| self.canary.trouble.clone())
    }

    /// Each part and how it is: `parts` of its health.
    pub(super) fn parts(&self) -> Value {
        let mut parts = Map::new();
        let mut say = |name: String, trouble: Option<&String>| {
            parts.insert(name, Value::String(trouble.map_or("ok", String::as_str).to_owned()));
        };
        say("table".into(), self.unwell.as_ref());
        for set in &self.sets {
            say(format!("handler of {}", set.name), set.blocked.as_ref());
            for folder in &set.folders {
                let is_well = matches!(folder.state, WatchState::Watched | WatchState::Polled | WatchState::Absent);
                let unknown = folder.state == WatchState::Unknown;
                let why = folder.why.as_ref().filter(|_| !is_well && !unknown);
                let why = why.map(|why| match &folder.remedy {
                    Some(remedy) => format!("{why}: {remedy}"),
                    None => why.clone(),
                });
                say(folder.path.clone(), why.as_ref());
            }
        }
        let dead = format!("{} files were given up: supervisor watch status", self.dead);
        say("given up".into(), (self.dead > 0).then_some(&dead));
        Value::Object(parts)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn who_works_or_rests_too_long_is_in_trouble() {
        let at = |seconds: u64| Mono(seconds * 1_000_000_000);
        let busy = Busy::default();
        assert_eq!(busy.trouble(at(1000)), None);
        busy.works(at(1000));
        assert_eq!(busy.trouble(at(1060)), None);
        assert!(busy.trouble(at(1061)).is_some_and(|why| why.contains("61 s")));
        busy.rests(Some(at(1100)));
        assert_eq!(busy.trouble(at(1160)), None);
        assert!(busy.trouble(at(1170)).is_some_and(|why| why.contains("70 s ago")));
        busy.rests(None);
        assert_eq!(busy.trouble(at(100_000)), None);
    }

    #[test]
    fn parts_say_what_a_person_has_to_see() {
        let folder = |path: &str, state, why: Option<&str>| WatchedFolder {
            path: path.into(),
            state,
            why: why.map(str::to_owned),
            remedy: why.map(|_| "let it".to_owned()),
        };
        let folders = vec![
            folder("/a", WatchState::Watched, None),
            folder("/b", WatchState::Denied, Some("denied")),
            folder("/c", WatchState::Polled, Some("every 30 s")),
        ];
        let set = Live { name: "s".into(), folders, ..Live::default() };
        let standing = Standing { sets: vec![set], dead: 2, ..Standing::default() };
        let wanted = serde_json::json!({
            "/a": "ok", "/b": "denied: let it", "/c": "ok", "handler of s": "ok", "table": "ok",
            "given up": "2 files were given up: supervisor watch status",
        });
        assert_eq!(standing.parts(), wanted);
    }
}
