use super::alerts::{spec, telling};
use super::*;
use crate::model::testing::{alert, notice};
use crate::model::{AlertChange, Breaker, Message, OutboxRow, RowState, SinkState};

/// A ledger where `alerts` are to be told to `hook` and `log`.
fn filled(scratch: &Scratch, alerts: &[&str]) -> Ledger {
    let mut ledger = scratch.ledger();
    let changes: Vec<AlertChange> =
        alerts.iter().map(|id| AlertChange::Tell(Box::new(notice(alert(id), "0", T0)))).collect();
    ledger.change(&changes, &telling(&spec(), T0)).unwrap();
    ledger
}

fn state(failures: u32) -> SinkState {
    SinkState { sink: "hook".into(), failures, breaker: Breaker::HalfOpen, ..SinkState::default() }
}

fn outbox(scratch: &Scratch, sink: &str) -> Vec<OutboxRow> {
    scratch.reader().outbox(&OutboxFilter { sink: Some(sink.into()), ..OutboxFilter::default() }).unwrap()
}

fn digest(rows: &[OutboxRow]) -> Message {
    Message::Digest { key: "digest-1".into(), notices: rows.iter().map(|row| row.notice.clone()).collect() }
}

#[test]
fn a_try_and_its_end_are_on_record_row_by_row() {
    let scratch = Scratch::new();
    let mut ledger = filled(&scratch, &["a", "b", "c"]);
    let pending = ledger.pending("hook", 2).unwrap();
    assert_eq!(pending.len(), 2);
    let one = Message::One(Box::new(pending[0].notice.clone()));
    ledger.begin_sending(&state(0)).unwrap();
    assert_eq!((ledger.sink_states().unwrap(), outbox(&scratch, "hook")[0].attempts), (vec![state(0)], 0));
    ledger.settle(&one, RowState::Pending, Some("it answered 500"), &state(1), T0 + 1).unwrap();
    ledger.settle(&digest(&pending), RowState::Delivered, None, &state(0), T0 + 2).unwrap();
    let left = ledger.pending("hook", 9).unwrap();
    assert_eq!(left.iter().map(|row| row.notice.key.as_str()).collect::<Vec<_>>(), ["c.0"]);
    ledger
        .settle(&Message::One(Box::new(left[0].notice.clone())), RowState::Refused, Some("413"), &state(0), 3)
        .unwrap();
    let rows: Vec<_> = outbox(&scratch, "hook")
        .into_iter()
        .map(|row| (row.attempts, row.state, row.settled_ms, row.error, row.digest))
        .collect();
    let in_digest = Some("digest-1".to_owned());
    assert_eq!(
        rows,
        [
            (2, RowState::Delivered, Some(T0 + 2), None, in_digest.clone()),
            (1, RowState::Delivered, Some(T0 + 2), None, in_digest),
            (1, RowState::Refused, Some(3), Some("413".into()), None),
        ]
    );
    assert!(outbox(&scratch, "log").iter().all(|row| row.state == RowState::Pending && row.attempts == 0));
    assert_eq!(scratch.reader().sink_states().unwrap(), [state(0)]);
}

#[test]
fn a_settlement_that_fails_half_way_leaves_all_as_it_was() {
    for (event, table, when) in
        [("UPDATE", "supervisor_outbox", "new.key = 'b.0'"), ("INSERT", "supervisor_sinks", "1")]
    {
        let scratch = Scratch::new();
        let mut ledger = filled(&scratch, &["a", "b"]);
        ledger.begin_sending(&state(4)).unwrap();
        let before = outbox(&scratch, "hook");
        let fail = format!(
            "CREATE TEMP TRIGGER full BEFORE {event} ON main.{table} WHEN {when} BEGIN SELECT RAISE(ABORT, 'no'); END"
        );
        ledger.conn.execute_batch(&fail).unwrap();
        assert!(ledger.settle(&digest(&before), RowState::Delivered, None, &state(0), T0).is_err());
        assert_eq!((outbox(&scratch, "hook"), ledger.sink_states().unwrap()), (before, vec![state(4)]), "{table}");
    }
}

#[test]
fn what_was_pending_for_too_long_is_given_up_and_told() {
    let scratch = Scratch::new();
    let mut ledger = filled(&scratch, &["a", "b"]);
    let expires = ledger.pending("hook", 1).unwrap()[0].expires_ms;
    let pending = ledger.pending("hook", 9).unwrap();
    ledger
        .settle(&Message::One(Box::new(pending[0].notice.clone())), RowState::Delivered, None, &state(0), T0)
        .unwrap();
    assert_eq!(ledger.expire(expires - 1).unwrap(), []);
    let expired: Vec<_> = ledger
        .expire(expires)
        .unwrap()
        .into_iter()
        .map(|row| (row.sink, row.notice.key, row.state, row.settled_ms))
        .collect();
    let gone = |sink: &str, key: &str| (sink.to_owned(), key.to_owned(), RowState::Expired, Some(expires));
    assert_eq!(expired, [gone("log", "a.0"), gone("hook", "b.0"), gone("log", "b.0")]);
    assert_eq!(ledger.expire(expires).unwrap(), [], "told once");
    assert!(ledger.pending("hook", 9).unwrap().is_empty());
    // It was under way: what arrived has arrived, whatever was thought of it.
    let late = Message::One(Box::new(pending[1].notice.clone()));
    ledger.settle(&late, RowState::Pending, Some("500"), &state(1), expires + 1).unwrap();
    assert_eq!(outbox(&scratch, "hook")[1].state, RowState::Expired);
    ledger.settle(&late, RowState::Delivered, None, &state(0), expires + 2).unwrap();
    assert_eq!(outbox(&scratch, "hook")[1].state, RowState::Delivered);
}

#[test]
fn a_sink_that_is_not_declared_any_more_keeps_nothing_waiting() {
    let scratch = Scratch::new();
    let mut ledger = filled(&scratch, &["a", "b"]);
    let first = ledger.pending("hook", 1).unwrap();
    ledger.settle(&Message::One(Box::new(first[0].notice.clone())), RowState::Delivered, None, &state(0), T0).unwrap();
    assert_eq!(ledger.drop_sinks(&["log", "hook"], T0).unwrap(), 0);
    assert_eq!(ledger.drop_sinks(&["log"], T0 + 5).unwrap(), 1);
    assert!(ledger.sink_states().unwrap().is_empty());
    let states: Vec<_> = outbox(&scratch, "hook").iter().map(|row| (row.state, row.settled_ms)).collect();
    assert_eq!(states, [(RowState::Delivered, Some(T0)), (RowState::Dropped, Some(T0 + 5))]);
    assert_eq!(ledger.pending("log", 9).unwrap().len(), 2);
}

#[test]
fn readers_choose_what_they_see() {
    let scratch = Scratch::new();
    let mut ledger = filled(&scratch, &["a", "b", "c"]);
    let first = ledger.pending("log", 1).unwrap();
    let log = SinkState { sink: "log".into(), ..SinkState::default() };
    ledger.settle(&Message::One(Box::new(first[0].notice.clone())), RowState::Delivered, None, &log, T0).unwrap();
    let seen = |filter: OutboxFilter| -> Vec<String> {
        let rows = scratch.reader().outbox(&filter).unwrap();
        rows.into_iter().map(|row| format!("{} {}", row.sink, row.notice.key)).collect()
    };
    let all = OutboxFilter::default;
    assert_eq!(seen(all()), ["hook a.0", "log a.0", "hook b.0", "log b.0", "hook c.0", "log c.0"]);
    assert_eq!(seen(OutboxFilter { limit: Some(2), ..all() }), ["hook c.0", "log c.0"]);
    assert_eq!(seen(OutboxFilter { alert: Some("a".into()), ..all() }), ["hook a.0", "log a.0"]);
    let states = vec![RowState::Delivered, RowState::Refused];
    assert_eq!(seen(OutboxFilter { states: states.clone(), ..all() }), ["log a.0"]);
    assert_eq!(seen(OutboxFilter { sink: Some("hook".into()), states, ..all() }), [""; 0]);
}
