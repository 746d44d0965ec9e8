//! What former runs teach.

use std::time::Duration;

use super::*;
use crate::model::{Hang, Learned};
use crate::store::learned;

/// Records of one service, numbered and dated in their order.
#[derive(Default)]
struct Story(Vec<Record>);

impl Story {
    fn record(&mut self, event: EventType, data: Value) {
        self.0.push(record(self.0.len() as u64 + 1, event, data));
    }

    fn starts(&mut self, run: u64, program: &str) {
        let data = json!({ "run_id": run, "pid": 7, "program": "/bin/x", "program_id": program });
        self.record(EventType::ServiceStart, data);
    }

    fn comes_up(&mut self, run: u64, program: &str, start_ms: u64) {
        self.starts(run, program);
        self.record(EventType::ServiceReady, json!({ "run_id": run, "pid": 7, "start_ms": start_ms }));
    }

    fn learned(self) -> Option<Learned> {
        let scratch = Scratch::new();
        scratch.ledger().ingest("gateway", &self.0).unwrap();
        let mut all = scratch.reader().learned(&[name("gateway"), name("other")]).unwrap();
        assert!(!all.contains_key(&name("other")));
        all.remove(&name("gateway"))
    }
}

fn ms(all: &[u64]) -> Vec<Duration> {
    all.iter().copied().map(Duration::from_millis).collect()
}

#[test]
fn starts_of_a_new_program_teach_nothing_and_the_first_ever_does() {
    let mut story = Story::default();
    story.comes_up(1, "a", 100);
    story.comes_up(2, "a", 200);
    story.comes_up(3, "b", 9000);
    story.comes_up(4, "b", 300);
    // It did not come up the first time: the next is still the first that did.
    story.starts(5, "c");
    story.comes_up(6, "c", 8000);
    story.comes_up(7, "c", 400);
    story.starts(8, "d");
    let learned = story.learned().unwrap();
    assert_eq!(learned.starts, ms(&[100, 200, 300, 400]), "the newest last");
    assert_eq!(learned.program.as_deref(), Some("c"), "what was last seen to come up");
}

#[test]
fn the_last_twenty_starts_count_and_none_of_what_is_not_known() {
    let mut story = Story::default();
    for run in 1..=40 {
        story.comes_up(run, "a", run);
    }
    let learned = story.learned().unwrap();
    assert_eq!(learned.starts, ms(&(21..=40).collect::<Vec<_>>()));

    let mut story = Story::default();
    // A version before wrote less.
    story.record(EventType::ServiceStart, json!({ "run_id": 1, "pid": 7 }));
    story.record(EventType::ServiceReady, json!({ "run_id": 1, "pid": 7 }));
    story.comes_up(2, "a", 50);
    let learned = story.learned().unwrap();
    assert_eq!((learned.starts, learned.program.as_deref()), (ms(&[50]), Some("a")));
    assert_eq!(Story::default().learned(), None);
}

#[test]
fn a_hang_counts_once_however_often_it_is_told_and_not_when_it_was_over_before_its_restart() {
    let mut story = Story::default();
    let hung = |run: u64, uptime_ms: u64, cleared: bool| {
        let mut data = json!({ "run_id": run, "pid": 7, "reason": "silent", "uptime_ms": uptime_ms });
        if cleared {
            data["cleared"] = true.into();
        }
        data
    };
    story.record(EventType::ServiceHung, hung(1, 700, false));
    story.record(EventType::ServiceHung, hung(2, 800, false));
    story.record(EventType::ServiceHung, hung(2, 850, false));
    // This run answered again, once: what is told of it after that is another hang.
    story.record(EventType::ServiceHung, hung(3, 900, false));
    story.record(EventType::ServiceHung, hung(3, 900, true));
    story.record(EventType::ServiceHung, hung(4, 100, false));
    story.record(EventType::ServiceHung, hung(4, 100, true));
    story.record(EventType::ServiceHung, hung(4, 950, false));
    let hang = |run_id, at: i64, after| Hang { run_id, at_ms: T0 + at, after: Duration::from_millis(after) };
    assert_eq!(story.learned().unwrap().hangs, [hang(1, 1, 700), hang(2, 2, 800), hang(4, 8, 950)]);

    let mut story = Story::default();
    for run in 1..=30 {
        story.record(EventType::ServiceHung, hung(run, run, false));
    }
    let hangs = story.learned().unwrap().hangs;
    assert_eq!((hangs.len(), hangs[0], hangs[19]), (20, hang(11, 11, 11), hang(30, 30, 30)));
}

#[test]
fn a_storm_hides_nothing_and_a_database_of_others_teaches_nothing() {
    let mut story = Story::default();
    story.comes_up(1, "a", 100);
    for run in 2..=3000 {
        story.starts(run, "a");
    }
    let learned = story.learned().unwrap();
    assert_eq!((learned.starts, learned.program.as_deref()), (ms(&[100]), Some("a")));

    let scratch = Scratch::with("CREATE TABLE theirs (x)");
    assert_eq!(scratch.reader().learned(&[name("gateway")]).unwrap(), Default::default());
}

/// Whoever has two million rows waits for none that do not matter.
#[test]
fn rows_are_found_by_their_index() {
    let scratch = Scratch::new();
    let ledger = scratch.ledger();
    let plan = |sql: &str| {
        let mut statement = ledger.conn.prepare(&format!("EXPLAIN QUERY PLAN {sql}")).unwrap();
        let names = vec!["gateway"; statement.parameter_count()];
        let rows = statement.query_map(rusqlite::params_from_iter(names), |row| row.get::<_, String>(3)).unwrap();
        rows.map(Result::unwrap).collect::<Vec<_>>().join("; ")
    };
    let newest = plan(learned::NEWEST);
    assert!(newest.contains("supervisor_events_learned") && !newest.contains("TEMP B-TREE"), "{newest}");
    let start = plan(learned::START);
    assert!(start.contains("supervisor_events_by_service") && !start.contains("TEMP B-TREE"), "{start}");
}
