use std::collections::{BTreeMap, BTreeSet};

use proptest::prelude::*;

use super::*;
use crate::model::testing::{alert, notice};
use crate::policy::breaker::{OPEN_FOR, OPENS_AT};

const T0: i64 = 1_795_317_574_000;
const SECOND: Duration = Duration::from_secs(1);
const MIDDLE: f64 = 0.5;

fn at(since: Duration) -> Moment {
    let nanos = u64::try_from(since.as_nanos()).unwrap();
    Moment { mono: crate::model::Mono(nanos), boot_ns: 1_000_000 + nanos, wall_ms: T0 + (nanos / 1_000_000) as i64 }
}

fn row(id: i64) -> OutboxRow {
    OutboxRow {
        id,
        sink: "hook".into(),
        notice: notice(alert(&format!("a{id}")), "0", T0),
        state: RowState::Pending,
        attempts: 0,
        expires_ms: i64::MAX,
        settled_ms: None,
        error: None,
        digest: None,
    }
}

fn rows(ids: impl IntoIterator<Item = i64>) -> Vec<OutboxRow> {
    ids.into_iter().map(row).collect()
}

fn named() -> SinkState {
    SinkState { sink: "hook".into(), ..SinkState::default() }
}

fn failed() -> Delivery {
    Delivery::Failed("it answered 500".into())
}

fn unknown() -> Delivery {
    Delivery::Unknown("it hung up".into())
}

fn later(after: Duration) -> Delivery {
    Delivery::Later { after, why: "it answered 429".into() }
}

const DONE: Delivery = Delivery::Done { plain: false };

/// A courier and the time it lives in; luck is always the same.
struct Desk {
    courier: Courier,
    now: Duration,
    pending: Vec<OutboxRow>,
}

impl Desk {
    fn new(ids: impl IntoIterator<Item = i64>) -> Self {
        Self { courier: Courier::new(named(), at(Duration::ZERO)), now: Duration::ZERO, pending: rows(ids) }
    }

    fn begin(&mut self) -> Option<Message> {
        self.courier.begin(at(self.now), Fraction::new(MIDDLE), &self.pending)
    }

    /// Sends what is due and takes `delivery` for its end; the keys that went out.
    fn try_now(&mut self, delivery: &Delivery) -> (Vec<String>, Settled) {
        let message = self.begin().expect("it is due");
        let keys: Vec<String> = message.notices().iter().map(|notice| notice.key.clone()).collect();
        let settled = self.courier.ended(at(self.now), Fraction::new(MIDDLE), delivery);
        if settled.rows != RowState::Pending {
            self.pending.retain(|row| !keys.contains(&row.notice.key));
        }
        (keys, settled)
    }

    /// Goes to where the next try is due; how long that took.
    fn wait(&mut self) -> Duration {
        let due = self.courier.due(at(self.now)).expect("nothing is under way");
        let wait = Duration::from_millis(u64::try_from(due - at(self.now).wall_ms).unwrap());
        if !wait.is_zero() {
            self.now += wait - Duration::from_millis(1);
            assert_eq!(self.begin(), None, "sooner than due");
            self.now += Duration::from_millis(1);
        }
        wait
    }

    /// Dies, and comes back after `gone` with what was on record, after a boot.
    fn dies(&mut self, gone: Duration) {
        self.now += gone;
        let mut boot = at(self.now);
        boot.boot_ns = 5;
        self.courier = Courier::new(self.courier.state().clone(), boot);
        // Its clock goes on as if nothing had been: only differences matter.
        let left = self.courier.not_before.saturating_sub(5);
        self.courier.not_before = if left == 0 { 0 } else { at(self.now).boot_ns + left };
    }
}

fn keys(ids: impl IntoIterator<Item = i64>) -> Vec<String> {
    ids.into_iter().map(|id| format!("a{id}.0")).collect()
}

#[test]
fn a_well_sink_gets_one_after_the_other_at_once() {
    let mut desk = Desk::new(1..=9);
    for id in 1..=9 {
        assert_eq!(desk.wait(), Duration::ZERO);
        assert_eq!(desk.try_now(&DONE).0, keys([id]), "however many there are: nothing was late");
    }
    assert_eq!(desk.begin(), None);
    assert_eq!(desk.courier.state(), &SinkState { delivered_ms: Some(T0), ..named() });
}

#[test]
fn one_at_a_time() {
    let mut desk = Desk::new([1, 2]);
    assert!(desk.begin().is_some());
    assert_eq!((desk.courier.due(at(desk.now)), desk.begin()), (None, None));
    desk.now += Duration::from_secs(3600);
    assert_eq!((desk.courier.due(at(desk.now)), desk.begin()), (None, None));
    // What nobody asked about changes nothing.
    let mut idle = Desk::new([1]);
    assert_eq!(idle.courier.ended(at(SECOND), Fraction::new(0.0), &failed()).error, None);
    assert_eq!(idle.courier.state(), &named());
}

#[test]
fn the_waits_grow_and_the_breaker_opens() {
    let mut desk = Desk::new([1]);
    // 1 s + 0.5 x (2^n - 1) s while it is closed, then no less than a minute.
    let waits = [1500, 2500, 4500, 8500, 60_000, 60_000, 64_500, 128_500, 256_500, 450_500, 450_500];
    for (n, millis) in (1u32..).zip(waits) {
        let (_, settled) = desk.try_now(&failed());
        assert_eq!((settled.rows, settled.error.as_deref()), (RowState::Pending, Some("it answered 500")));
        let was = if n <= OPENS_AT { Breaker::Closed } else { Breaker::HalfOpen };
        let is = if n < OPENS_AT { Breaker::Closed } else { Breaker::Open };
        assert_eq!(settled.breaker, (was != is).then_some((was, is)), "failure {n}");
        let state = desk.courier.state();
        assert_eq!((state.failures, state.breaker, state.failing_since_ms), (n, is, Some(T0)));
        assert_eq!(state.error.as_deref(), Some("it answered 500"));
        assert_eq!(state.not_before_ms, Some(at(desk.now).wall_ms + millis + 1), "a millisecond for what was cut off");
        assert_eq!(desk.wait().as_millis() as i64, millis, "failure {n}");
    }
    let (_, settled) = desk.try_now(&DONE);
    assert_eq!(settled.breaker, Some((Breaker::HalfOpen, Breaker::Closed)));
    assert_eq!(desk.courier.state(), &SinkState { delivered_ms: Some(at(desk.now).wall_ms), ..named() });
}

#[test]
fn who_asks_to_be_left_alone_is_and_it_is_no_failure_beyond_one() {
    let table =
        [(0, 1), (1, 1), (30, 30), (3600, 3600), (16 * 60, 16 * 60), (24 * 3600, 24 * 3600), (90_000, 24 * 3600)];
    let mut desk = Desk::new([1]);
    for (asked, waited) in table {
        let (_, settled) = desk.try_now(&later(asked * SECOND));
        assert_eq!((settled.rows, settled.breaker), (RowState::Pending, None));
        assert_eq!(desk.wait(), waited * SECOND, "asked for {asked} s");
        assert_eq!((desk.courier.state().failures, desk.courier.state().breaker), (1, Breaker::Closed));
    }
    for _ in 1..OPENS_AT {
        desk.try_now(&failed());
        desk.wait();
    }
    assert_eq!(desk.courier.state().breaker, Breaker::Open, "the one counts");
    let (_, settled) = desk.try_now(&later(7 * SECOND));
    assert_eq!((settled.breaker, desk.courier.state().failures), (None, OPENS_AT));
    assert_eq!(desk.wait(), 7 * SECOND, "it has said when, and that is when it is tried, with one message still");
    assert_eq!(desk.courier.state().breaker, Breaker::HalfOpen);
    assert_eq!(desk.try_now(&failed()).1.breaker, Some((Breaker::HalfOpen, Breaker::Open)));
}

#[test]
fn after_an_outage_what_has_gathered_goes_as_one() {
    for (pending, messages) in [
        (1i64, vec![keys(1..=1)]),
        (3, vec![keys(1..=1), keys(2..=2), keys(3..=3)]),
        (4, vec![keys(1..=4)]),
        (200, vec![keys(1..=200)]),
        (203, vec![keys(1..=200), keys(201..=201), keys(202..=202), keys(203..=203)]),
        (204, vec![keys(1..=200), keys(201..=204)]),
    ] {
        for outage in [failed(), later(SECOND)] {
            let mut desk = Desk::new([1]);
            desk.try_now(&outage);
            desk.wait();
            desk.pending = rows(1..=pending);
            for message in &messages {
                assert_eq!(&desk.try_now(&DONE).0, message, "{pending} pending");
                assert_eq!(desk.wait(), Duration::ZERO);
            }
            desk.pending = rows(900..910);
            assert_eq!(desk.try_now(&DONE).0, keys([900]), "the outage of {pending} is over");
        }
    }
}

#[test]
fn a_digest_has_its_own_key_and_a_lone_notice_its_own() {
    let mut desk = Desk::new([1]);
    let Some(Message::One(notice)) = desk.begin() else { panic!("a digest of one") };
    assert_eq!(notice.key, "a1.0");
    desk.courier.ended(at(desk.now), Fraction::new(0.0), &failed());
    desk.wait();
    desk.pending = rows(1..=5);
    let message = desk.begin().unwrap();
    let told = keys(1..=5);
    assert_eq!(message.key(), delivery::digest_key(told.iter().map(String::as_str)));
}

#[test]
fn what_is_in_doubt_goes_again_as_it_was_whatever_came_meanwhile() {
    let mut desk = Desk::new([1]);
    desk.try_now(&unknown());
    desk.pending = rows(1..=9);
    desk.wait();
    // That this try failed for sure says nothing of the one before.
    assert_eq!(desk.try_now(&failed()).0, keys([1]));
    desk.wait();
    assert_eq!(desk.try_now(&later(SECOND)).0, keys([1]));
    desk.wait();
    assert_eq!(desk.try_now(&DONE).0, keys([1]));
    assert_eq!(desk.try_now(&unknown()).0, keys(2..=9), "and the rest as one");
    desk.wait();
    desk.pending = rows(2..=12);
    assert_eq!(desk.try_now(&DONE).0, keys(2..=9), "under the key it had");
    // If it was given up meanwhile, nothing is in doubt.
    assert_eq!(desk.try_now(&unknown()).0, keys([10]));
    desk.wait();
    desk.pending = rows(11..=12);
    assert_eq!(desk.try_now(&DONE).0, keys([11]));
    assert_eq!(desk.courier.state().in_doubt, None);
}

#[test]
fn a_refused_digest_goes_one_by_one_and_a_refused_notice_goes_no_more() {
    let refused = Delivery::Refused("it answered 413".into());
    let mut desk = Desk::new([1]);
    desk.try_now(&failed());
    desk.wait();
    desk.pending = rows(1..=5);
    let (sent, settled) = desk.try_now(&refused);
    assert_eq!((sent, settled.rows), (keys(1..=5), RowState::Pending));
    assert_eq!((desk.wait(), desk.courier.state().failures), (Duration::ZERO, 0), "it is there");
    desk.pending = rows(1..=9);
    assert_eq!(desk.try_now(&DONE).0, keys([1]));
    let (sent, settled) = desk.try_now(&refused);
    assert_eq!((sent, settled.rows, settled.error.as_deref()), (keys([2]), RowState::Refused, Some("it answered 413")));
    assert_eq!((desk.wait(), desk.courier.state().error.as_deref()), (Duration::ZERO, Some("it answered 413")));
    // A failure on the way does not bring the digest back, nor does a new life.
    assert_eq!(desk.try_now(&failed()).0, keys([3]));
    desk.dies(60 * SECOND);
    for id in 3..=5 {
        assert_eq!(desk.try_now(&DONE).0, keys([id]));
    }
    assert_eq!(desk.courier.state().singly, None);
    assert_eq!(desk.try_now(&DONE).0, keys(6..=9), "what came later may go as one");
}

#[test]
fn the_plain_form_is_noted_and_the_rich_one_takes_the_note_away() {
    let mut desk = Desk::new([1, 2]);
    let (_, settled) = desk.try_now(&Delivery::Done { plain: true });
    assert_eq!((settled.rows, settled.error), (RowState::Delivered, None));
    assert!(desk.courier.state().note.as_ref().is_some_and(|note| note.contains("plain text")));
    desk.try_now(&DONE);
    assert_eq!(desk.courier.state().note, None);
}

#[test]
fn who_is_killed_on_the_way_does_not_come_sooner_and_sends_the_same() {
    let mut desk = Desk::new([1]);
    for _ in 0..2 {
        desk.try_now(&failed());
        desk.wait();
    }
    assert!(desk.begin().is_some());
    let began = desk.now;
    desk.pending = rows(1..=9);
    desk.dies(Duration::ZERO);
    desk.wait();
    assert_eq!(desk.now - began, Duration::from_millis(4501), "as if that had been the third failure");
    assert_eq!(desk.courier.state().failures, 2, "which nobody knows");
    assert_eq!(desk.try_now(&DONE).0, keys([1]), "it may have it: the same again");
    assert_eq!(desk.try_now(&DONE).0, keys(2..=9));
    // The fifth would open the breaker, and so does a life that ends in it.
    for _ in 1..OPENS_AT {
        desk.pending = rows([20]);
        desk.try_now(&failed());
        desk.wait();
    }
    assert!(desk.begin().is_some());
    desk.dies(SECOND);
    assert_eq!(desk.wait(), OPEN_FOR - SECOND + Duration::from_millis(1));
}

#[test]
fn a_remembered_moment_that_is_too_far_away_is_a_wrong_clock() {
    let day = 24 * 3600 * 1000;
    for (saved, left) in [(T0 - 5, 0), (T0, 0), (T0 + 1, 1), (T0 + day, day), (T0 + day + 1, day), (i64::MAX, day)] {
        let courier = Courier::new(SinkState { not_before_ms: Some(saved), ..named() }, at(Duration::ZERO));
        assert_eq!(courier.due(at(Duration::ZERO)), Some(T0 + left), "{saved}");
    }
    assert_eq!(Courier::new(named(), at(SECOND)).due(at(SECOND)), Some(T0 + 1000));
}

#[test]
fn a_wall_clock_that_jumps_hurries_nothing_and_sleep_counts() {
    let mut desk = Desk::new([1]);
    desk.try_now(&later(600 * SECOND));
    let mut jumped = at(10 * SECOND);
    jumped.wall_ms += 86_400_000;
    assert_eq!(desk.courier.begin(jumped, Fraction::new(0.0), &desk.pending), None);
    assert_eq!(desk.courier.due(jumped), Some(jumped.wall_ms + 590_000));
    let mut woken = at(600 * SECOND);
    woken.mono = crate::model::Mono(0);
    assert!(desk.courier.begin(woken, Fraction::new(0.0), &desk.pending).is_some());
}

/// What the world does next.
#[derive(Debug, Clone)]
enum Turn {
    Arrive(u8),
    Ends(u8, u64),
    Dies(u64),
    Waits(u64),
}

fn turn() -> impl Strategy<Value = Turn> {
    prop_oneof![
        3 => (1u8..9).prop_map(Turn::Arrive),
        6 => (0u8..7, 0u64..4000).prop_map(|(how, asked)| Turn::Ends(how, asked)),
        1 => (0u64..100).prop_map(Turn::Dies),
        2 => (0u64..4000).prop_map(Turn::Waits),
    ]
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 200, failure_persistence: None, ..ProptestConfig::default() })]

    #[test]
    fn never_sooner_than_told_in_order_and_each_row_comes_to_an_end(
        turns in prop::collection::vec(turn(), 1..120), luck in 0.0f64..1.0
    ) {
        let luck = Fraction::new(luck);
        let mut desk = Desk::new([]);
        let mut next_id = 1;
        let mut told_until = Duration::ZERO;
        let mut in_a_row = 0;
        let mut settled_rows = BTreeSet::new();
        // By message key what it carries.
        let mut messages: BTreeMap<String, Vec<String>> = BTreeMap::new();
        let mut doubted: Option<String> = None;
        let well = Turn::Ends(0, 0);
        for turn in turns.iter().chain(std::iter::repeat_n(&well, 300)) {
            match turn {
                Turn::Arrive(count) => {
                    for _ in 0..*count {
                        desk.pending.push(row(next_id));
                        next_id += 1;
                    }
                }
                Turn::Waits(seconds) => desk.now += Duration::from_secs(*seconds),
                Turn::Dies(seconds) => desk.dies(Duration::from_secs(*seconds)),
                Turn::Ends(how, asked) => {
                    if desk.pending.is_empty() {
                        continue;
                    }
                    desk.wait();
                    let message = desk.begin().expect("due and pending");
                    prop_assert!(desk.now >= told_until, "{:?} is before {told_until:?}", desk.now);
                    let sent: Vec<String> = message.notices().iter().map(|notice| notice.key.clone()).collect();
                    let oldest: Vec<String> =
                        desk.pending.iter().take(sent.len()).map(|row| row.notice.key.clone()).collect();
                    prop_assert_eq!(&sent, &oldest, "the oldest first, none left out");
                    prop_assert_eq!(messages.entry(message.key().into()).or_insert_with(|| sent.clone()), &sent);
                    if let Some(key) = &doubted {
                        prop_assert_eq!(key.as_str(), message.key());
                    }
                    let delivery = match how {
                        0 => DONE,
                        1 => Delivery::Done { plain: true },
                        2 => later(Duration::from_secs(*asked)),
                        3 => failed(),
                        4 => unknown(),
                        _ => Delivery::Refused("no".into()),
                    };
                    let written = desk.courier.state().clone();
                    prop_assert!(written.not_before_ms >= Some(at(desk.now).wall_ms + 1000), "written ahead");
                    if *how == 6 {
                        doubted = Some(message.key().into());
                        told_until = desk.now + if in_a_row + 1 >= OPENS_AT { OPEN_FOR } else { SECOND };
                        desk.dies(Duration::ZERO);
                        continue;
                    }
                    desk.now += SECOND; // it takes its time
                    let settled = desk.courier.ended(at(desk.now), luck, &delivery);
                    match delivery {
                        Delivery::Unknown(_) => doubted = Some(message.key().into()),
                        Delivery::Done { .. } | Delivery::Refused(_) => doubted = None,
                        Delivery::Later { .. } | Delivery::Failed(_) => {}
                    }
                    told_until = desk.now;
                    match delivery {
                        Delivery::Later { after, .. } => told_until += after,
                        Delivery::Failed(_) | Delivery::Unknown(_) => {
                            in_a_row += 1;
                            told_until += if in_a_row >= OPENS_AT { OPEN_FOR } else { SECOND };
                        }
                        Delivery::Done { .. } | Delivery::Refused(_) => in_a_row = 0,
                    }
                    if matches!(delivery, Delivery::Later { .. }) {
                        in_a_row = in_a_row.max(1);
                    }
                    prop_assert_eq!(desk.courier.state().failures, in_a_row);
                    let refused = matches!(delivery, Delivery::Refused(_));
                    prop_assert_eq!(settled.rows == RowState::Delivered, matches!(delivery, Delivery::Done { .. }));
                    prop_assert_eq!(settled.rows == RowState::Refused, refused && sent.len() == 1);
                    if settled.rows != RowState::Pending {
                        for key in sent {
                            prop_assert!(settled_rows.insert(key), "settled twice");
                        }
                        desk.pending.retain(|row| !settled_rows.contains(&row.notice.key));
                    }
                }
            }
        }
        prop_assert_eq!(settled_rows.len() as i64, next_id - 1);
        prop_assert!(desk.pending.is_empty());
        prop_assert_eq!(desk.courier.state().breaker, Breaker::Closed);
    }
}
