//! A thousand alerts through receivers that do all that receivers do, while the supervisor is killed fifty times. The time is
//! made up; database and courier are the real ones.

use std::collections::{BTreeMap, BTreeSet};
use std::time::Duration;

use super::alerts::NOBODY;
use super::*;
use crate::machine::courier::Courier;
use crate::model::testing::{Numbers, alert, notice};
use crate::model::{
    AlertChange, AlertSpec, Delivery, Fraction, HeardAt, Message, Moment, Mono, RowState, SinkKind, SinkSpec, SinkState,
};
use crate::policy::delivery;

const ALERTS: usize = 1000;
const KILLS: usize = 50;
const SECOND: i64 = 1000;
const MINUTE: i64 = 60 * SECOND;
const HOUR: i64 = 60 * MINUTE;

/// While alerts come in.
const SPAN: i64 = 24 * HOUR;

/// When nothing that is sent arrives and nothing comes back, in two places.
const HOLES: [(i64, i64); 2] = [(3 * HOUR, 3 * HOUR + 30 * MINUTE), (15 * HOUR, 15 * HOUR + 30 * MINUTE)];

const SINKS: [&str; 2] = ["hook", "chat"];

/// Where the supervisor dies.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
enum Point {
    WhileTakingIn,
    AfterTakingIn,
    BeforeTheTryIsOnRecord,
    WhileTheTryIsPutOnRecord,
    BeforeSending,
    AfterTheReceiverHadIt,
    WhileSettling,
    AfterSettling,
}

const POINTS: [Point; 8] = [
    Point::WhileTakingIn,
    Point::AfterTakingIn,
    Point::BeforeTheTryIsOnRecord,
    Point::WhileTheTryIsPutOnRecord,
    Point::BeforeSending,
    Point::AfterTheReceiverHadIt,
    Point::WhileSettling,
    Point::AfterSettling,
];

struct Killed;

/// Who takes messages, and what it saw.
#[derive(Default)]
struct Receiver {
    /// By notice, the message it came with last, and whether that may be sent again.
    taken: BTreeMap<String, (String, bool)>,
    /// Notices as they came for the first time.
    order: Vec<String>,
    messages: BTreeSet<String>,
    /// When each request came, of how many notices, and whether all was well then.
    requests: Vec<(i64, usize)>,
    /// It wants to be left alone until then.
    not_before: i64,
    /// What the supervisor had put on record last: not before this.
    on_record: i64,
    doubles: usize,
    digests: usize,
}

impl Receiver {
    /// Answers at `now`; gives how long that took as well.
    fn answer(&mut self, now: i64, message: &Message, luck: &mut Numbers) -> (Delivery, i64) {
        assert!(now >= self.not_before, "{now} is sooner than the receiver said: {}", self.not_before);
        // A millisecond is put on record for what the wall clock's reading lacks; a life that goes on needs none.
        assert!(now >= self.on_record - 1, "{now} is sooner than was on record: {}", self.on_record);
        let keys: Vec<&str> = message.notices().iter().map(|notice| notice.key.as_str()).collect();
        self.requests.push((now, keys.len()));
        match message {
            Message::One(notice) => assert_eq!(message.key(), notice.key),
            Message::Digest { key, .. } => {
                assert!(keys.len() > 1);
                assert_eq!(*key, delivery::digest_key(keys.iter().copied()));
                self.digests += 1;
            }
        }
        if HOLES.iter().any(|(from, to)| (*from..*to).contains(&now)) {
            return (Delivery::Unknown("no answer within 10 s".into()), 10 * SECOND);
        }
        let quiet = now >= SPAN || HOLES.iter().any(|(_, to)| (*to..*to + 30 * MINUTE).contains(&now));
        let turn = if quiet { 99 } else { luck.below(24) };
        // Those that it does not like it never likes, unless it has them already. Small ones, and none before a hole: what
        // is left of such a one goes one by one, and would look like a burst.
        let odd = (2..=8).contains(&keys.len()) && message.key().ends_with(['0', '1', '2', '3']);
        let before_hole = HOLES.iter().any(|(from, _)| (*from - HOUR..*from).contains(&now));
        if !quiet && !before_hole && odd && !self.messages.contains(message.key()) {
            return (Delivery::Refused("it answered 413".into()), SECOND);
        }
        match turn {
            0 | 1 => {
                let after = luck.below(1200) as u64;
                self.not_before = now + SECOND + after as i64 * SECOND;
                (Delivery::Later { after: Duration::from_secs(after), why: "it answered 429".into() }, SECOND)
            }
            2 | 3 => (Delivery::Failed("it answered 500".into()), SECOND),
            4 => (Delivery::Unknown("it hung up before it had it".into()), SECOND),
            5 => (Delivery::Unknown("it hung".into()), 10 * SECOND),
            6 | 7 => {
                self.take(message, true);
                (Delivery::Unknown("it hung up after it had it".into()), SECOND)
            }
            8 => {
                self.take(message, false);
                (Delivery::Done { plain: true }, SECOND)
            }
            _ => {
                self.take(message, false);
                (Delivery::Done { plain: false }, SECOND / 10)
            }
        }
    }

    fn take(&mut self, message: &Message, in_doubt: bool) {
        self.messages.insert(message.key().into());
        for notice in message.notices() {
            match self.taken.insert(notice.key.clone(), (message.key().into(), in_doubt)) {
                None => self.order.push(notice.key.clone()),
                Some((key, in_doubt)) => {
                    assert!(in_doubt, "{} was known to be delivered", notice.key);
                    assert_eq!(key, message.key(), "a double of {} under another key", notice.key);
                    self.doubles += 1;
                }
            }
        }
    }

    /// Nobody was left to hear the answer.
    fn unheard(&mut self, message: &Message) {
        self.not_before = 0;
        for notice in message.notices() {
            if let Some((_, in_doubt)) = self.taken.get_mut(&notice.key) {
                *in_doubt = true;
            }
        }
    }
}

struct World {
    scratch: Scratch,
    spec: AlertSpec,
    luck: Numbers,
    /// Milliseconds since the beginning, and when the machine was booted.
    now: i64,
    booted: i64,
    boots: usize,
    /// In the order of time.
    records: Vec<Record>,
    kills: Vec<i64>,
    armed: Option<Point>,
    died: BTreeMap<Point, usize>,
    receivers: [Receiver; 2],
}

impl World {
    fn new(seed: u64) -> Self {
        let mut luck = Numbers(seed);
        let mut told: Vec<(i64, usize, &str)> = Vec::new();
        for alert in 0..ALERTS {
            // Several at once now and then, and all through the holes.
            let mut at = luck.below(SPAN as usize) as i64 / (10 * MINUTE) * (10 * MINUTE);
            for what in ["0", "r1", "ok"].iter().take(1 + luck.below(4) / 2) {
                told.push((at, alert, what));
                at += luck.below(HOUR as usize) as i64;
            }
        }
        told.sort_by_key(|(at, ..)| *at);
        let record = |(n, (at, alert, what)): (usize, &(i64, usize, &str))| Record {
            wall_ms: T0 + at,
            ..record(n as u64 + 1, EventType::ServiceHung, json!({"alert": format!("a{alert}"), "what": what}))
        };
        let records = told.iter().enumerate().map(record).collect();
        let mut kills: Vec<i64> = (0..KILLS).map(|_| luck.below(SPAN as usize * 9 / 10) as i64).collect();
        kills.sort_unstable_by_key(|at| std::cmp::Reverse(*at));
        let sinks = SINKS.map(|name| SinkSpec { name: name.into(), ..SinkSpec::new(SinkKind::Webhook) });
        Self {
            scratch: Scratch::new(),
            spec: AlertSpec { sinks: sinks.into(), ..AlertSpec::default() },
            luck,
            now: 0,
            booted: 0,
            boots: 0,
            records,
            kills,
            armed: None,
            died: BTreeMap::new(),
            receivers: [Receiver::default(), Receiver::default()],
        }
    }

    fn at(&self) -> Moment {
        let boot_ns = (self.now - self.booted) as u64 * 1_000_000;
        Moment { mono: Mono(boot_ns), boot_ns, wall_ms: T0 + self.now }
    }

    fn fraction(&mut self) -> Fraction {
        Fraction::new(self.luck.below(1 << 20) as f64 / f64::from(1 << 20))
    }

    /// Whether it ends here.
    fn dies(&mut self, point: Point) -> bool {
        if self.armed.is_none() && self.kills.last().is_some_and(|at| *at <= self.now) {
            self.kills.pop();
            self.armed = Some(POINTS[self.luck.below(POINTS.len())]);
        }
        if self.armed != Some(point) {
            return false;
        }
        self.armed = None;
        *self.died.entry(point).or_default() += 1;
        true
    }

    fn run(&mut self) {
        loop {
            let mut ledger = self.scratch.ledger();
            // Nothing here is about power losses, and a sync takes longer than all the rest.
            ledger.conn.pragma_update(None, "synchronous", "OFF").unwrap();
            if self.life(&mut ledger).is_ok() {
                return;
            }
            drop(ledger);
            self.now += self.luck.below(90 * SECOND as usize) as i64;
            if self.luck.below(4) == 0 {
                (self.booted, self.boots) = (self.now, self.boots + 1);
            }
        }
    }

    fn life(&mut self, ledger: &mut Ledger) -> Result<(), Killed> {
        let saved = ledger.sink_states().unwrap();
        let mut couriers = SINKS.map(|name| {
            let named = || SinkState { sink: name.into(), ..SinkState::default() };
            let state = saved.iter().find(|state| state.sink == name).cloned().unwrap_or_else(named);
            Courier::new(state, self.at())
        });
        let mut reached = ledger.position("gateway", "boot-a").unwrap().unwrap_or(0) as usize;
        loop {
            let come = self.records.partition_point(|record| record.wall_ms <= T0 + self.now);
            while reached < come {
                let next = come.min(reached + 40);
                self.take_in(ledger, reached..next)?;
                reached = next;
            }
            let mut wake = self.records.get(reached).map(|record| record.wall_ms - T0);
            for (sink, courier) in couriers.iter_mut().enumerate() {
                let due = courier.due(self.at()).unwrap() - T0;
                let pending = if due <= self.now { Courier::LOOK } else { 1 };
                let pending = ledger.pending(SINKS[sink], pending).unwrap();
                if pending.is_empty() {
                    continue;
                }
                let next = if due <= self.now { self.now } else { due };
                wake = Some(wake.map_or(next, |wake| wake.min(next)));
                if due <= self.now {
                    self.send(ledger, sink, courier, &pending)?;
                }
            }
            match wake {
                Some(wake) => self.now = self.now.max(wake),
                None => return Ok(()),
            }
        }
    }

    fn take_in(&mut self, ledger: &mut Ledger, which: std::ops::Range<usize>) -> Result<(), Killed> {
        if self.dies(Point::WhileTakingIn) {
            break_at(ledger, "supervisor_journal");
            assert!(self.ingest(ledger, which).is_err());
            return Err(Killed);
        }
        self.ingest(ledger, which).unwrap();
        if self.dies(Point::AfterTakingIn) { Err(Killed) } else { Ok(()) }
    }

    fn ingest(&self, ledger: &mut Ledger, which: std::ops::Range<usize>) -> Result<usize, StoreError> {
        let boot_id = format!("boot-{}", self.boots);
        let at = HeardAt { boot_id: &boot_id, at: self.at() };
        let telling = Telling { at, spec: &self.spec, only: None, delivered: NOBODY };
        let mut decide = |new: &[&Record]| new.iter().flat_map(|record| comes_of(record)).collect();
        ledger.ingest_watched("gateway", &self.records[which], &telling, &mut decide)
    }

    fn send(
        &mut self,
        ledger: &mut Ledger,
        sink: usize,
        courier: &mut Courier,
        pending: &[crate::model::OutboxRow],
    ) -> Result<(), Killed> {
        let luck = self.fraction();
        let message = courier.begin(self.at(), luck, pending).expect("it is due, and there is something");
        if self.dies(Point::BeforeTheTryIsOnRecord) {
            return Err(Killed);
        }
        if self.dies(Point::WhileTheTryIsPutOnRecord) {
            break_at(ledger, "supervisor_sinks");
            assert!(ledger.begin_sending(courier.state()).is_err());
            return Err(Killed);
        }
        ledger.begin_sending(courier.state()).unwrap();
        let written_ahead = courier.state().not_before_ms.unwrap() - T0;
        if self.dies(Point::BeforeSending) {
            self.receivers[sink].on_record = written_ahead;
            return Err(Killed);
        }
        let receiver = &mut self.receivers[sink];
        let (delivery, took) = receiver.answer(self.now, &message, &mut self.luck);
        receiver.on_record = written_ahead;
        self.now += took;
        if self.dies(Point::AfterTheReceiverHadIt) {
            self.receivers[sink].unheard(&message);
            return Err(Killed);
        }
        let luck = self.fraction();
        let settled = courier.ended(self.at(), luck, &delivery);
        let now_ms = T0 + self.now;
        if self.dies(Point::WhileSettling) {
            break_at(ledger, "supervisor_sinks");
            let settled = ledger.settle(&message, settled.rows, settled.error.as_deref(), courier.state(), now_ms);
            assert!(settled.is_err());
            self.receivers[sink].unheard(&message);
            return Err(Killed);
        }
        ledger.settle(&message, settled.rows, settled.error.as_deref(), courier.state(), now_ms).unwrap();
        self.receivers[sink].on_record = courier.state().not_before_ms.map_or(0, |not_before| not_before - T0);
        if self.dies(Point::AfterSettling) { Err(Killed) } else { Ok(()) }
    }

    /// Of each sink, what became of a hole: how many requests went into it, and how what had gathered came out of it.
    fn check_hole(&self, receiver: &Receiver, (from, to): (i64, i64)) {
        let into = receiver.requests.iter().filter(|(at, _)| (from..to).contains(at)).count();
        assert!((5..=40).contains(&into), "{into} requests into the hole");
        let gathered = self.records.iter().filter(|record| (T0 + from..T0 + to).contains(&record.wall_ms)).count();
        assert!(gathered > 10, "{gathered} notices in the hole");
        let after: Vec<usize> = receiver.requests.iter().filter(|(at, _)| *at >= to).map(|(_, many)| *many).collect();
        // One whose fate was unknown comes before the digest, as it was, and a kill makes a double of either.
        let mut come = 0;
        let messages = after.iter().take_while(|many| {
            let more = come < gathered;
            come += **many;
            more
        });
        assert!(messages.count() <= 5, "{gathered} gathered, and then {:?}", &after[..9]);
    }

    fn check(&self) {
        let told: Vec<String> = self.records.iter().map(key).collect();
        assert!(told.len() > ALERTS * 5 / 4);
        for receiver in &self.receivers {
            assert!(receiver.order == told, "not all, or not in their order");
            assert!(receiver.doubles > 0 && receiver.digests > 10, "{} {}", receiver.doubles, receiver.digests);
            HOLES.iter().for_each(|hole| self.check_hole(receiver, *hole));
        }
        assert_eq!(self.died.values().sum::<usize>(), KILLS, "{:?}", self.died);
        let reader = self.scratch.reader();
        let rows = reader.outbox(&OutboxFilter::default()).unwrap();
        assert_eq!(rows.len(), 2 * told.len());
        assert!(rows.iter().all(|row| row.state == RowState::Delivered && row.attempts > 0 && row.error.is_none()));
        assert_eq!(reader.alerts(&AlertFilter::default()).unwrap().len(), ALERTS);
        let fired = Filter { event_type: vec![EventType::AlertFired], ..Filter::default() };
        assert_eq!(reader.events(&fired).unwrap().len(), told.len(), "each row about an alert once");
        let states = reader.sink_states().unwrap();
        assert!(
            states.iter().all(|state| state.failures == 0 && state.in_doubt.is_none() && state.not_before_ms.is_none())
        );
    }
}

/// The next write to this table is the end of its transaction.
fn break_at(ledger: &Ledger, table: &str) {
    let sql =
        format!("CREATE TEMP TRIGGER dies BEFORE INSERT ON main.{table} BEGIN SELECT RAISE(ABORT, 'killed'); END");
    ledger.conn.execute_batch(&sql).unwrap();
}

fn key(record: &Record) -> String {
    let part = |name: &str| record.data[name].as_str().unwrap().to_owned();
    format!("{}.{}", part("alert"), part("what"))
}

fn comes_of(record: &Record) -> Vec<AlertChange> {
    let what = record.data["what"].as_str().unwrap();
    let alert = alert(record.data["alert"].as_str().unwrap());
    let event = EventType::AlertFired;
    vec![
        AlertChange::Keep(Box::new(alert.clone())),
        AlertChange::Tell(Box::new(notice(alert, what, record.wall_ms))),
        AlertChange::Record { event, service: record.service.clone(), data: record.data.clone() },
    ]
}

#[test]
fn a_thousand_alerts_arrive_whatever_receivers_do_and_however_often_the_supervisor_dies() {
    let mut died = BTreeSet::new();
    for seed in 1..=2 {
        let mut world = World::new(seed);
        world.run();
        world.check();
        died.extend(world.died.keys().copied());
    }
    assert_eq!(died.len(), POINTS.len(), "only at {died:?}");
}
