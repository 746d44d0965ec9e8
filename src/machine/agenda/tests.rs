//! Single slots by hand; tests/slots plays whole years.

use std::time::Duration;

use jiff::tz::TimeZone;

use super::*;
use crate::model::{CalendarTable, CatchUp, Claim, Overlap, Schedule, Trigger};

const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;
/// 2026-11-22T00:00Z.
const DAY: i64 = 1_795_305_600_000;

/// One job, one machine that is up since the day before.
struct World {
    agenda: Agenda,
    slots: Vec<SlotFile>,
    presence: Presence,
    held: bool,
    zone: TimeZone,
    ms: i64,
    slept: i64,
}

fn hourly(change: impl FnOnce(&mut TaskSpec)) -> TaskSpec {
    let table = CalendarTable { minute: Some(0), ..CalendarTable::default() };
    let mut task = TaskSpec { calendar: vec![Schedule::Table(table)], ..TaskSpec::for_tests("job") };
    change(&mut task);
    task
}

impl World {
    fn new(native: bool, task: TaskSpec) -> Self {
        let now = moment(DAY, 0);
        Self {
            agenda: Agenda::new(task, native, None, now),
            slots: Vec::new(),
            presence: Presence::noted(None, now, "b"),
            held: false,
            zone: TimeZone::UTC,
            ms: DAY,
            slept: 0,
        }
    }

    fn now(&self) -> Moment {
        moment(self.ms, self.slept)
    }

    fn seen(&self) -> SlotsSeen<'_> {
        SlotsSeen {
            slots: &self.slots,
            presence: Some(&self.presence),
            boot_id: "b",
            held: self.held,
            zone: &self.zone,
        }
    }

    fn note(&mut self) {
        self.presence = Presence::noted(Some(self.presence.clone()), self.now(), "b");
    }

    /// Looks at `ms` after the day began; what is written down is left out.
    fn at(&mut self, ms: i64) -> Vec<AgendaAct> {
        while self.ms < DAY + ms {
            self.ms = (self.ms + MINUTE).min(DAY + ms);
            self.note();
        }
        self.look()
    }

    fn look(&mut self) -> Vec<AgendaAct> {
        let idle = Agenda::new(hourly(|_| {}), false, None, self.now());
        let mut agenda = std::mem::replace(&mut self.agenda, idle);
        let mut acts = agenda.step(self.now(), self.seen());
        self.agenda = agenda;
        acts.retain(|act| !matches!(act, AgendaAct::Account(_)));
        acts
    }

    fn sleep_until(&mut self, ms: i64) {
        self.slept += DAY + ms - self.ms;
        self.ms = DAY + ms;
    }

    fn decide(&self) -> Decision {
        decide(&self.agenda.task, Some(&self.agenda.accounted), self.seen(), self.now())
    }

    /// Takes what is due and begins to run.
    fn take(&mut self) -> SlotKey {
        let Decision::Run { slot, timing } = self.decide() else { panic!("{:?}", self.decide()) };
        let claim = Claim {
            slot,
            trigger: Trigger::Daemon,
            timing,
            pid: 1,
            start_token: 1,
            boot_id: "b".to_owned(),
            at: self.now(),
            resumes: None,
        };
        self.slots.push(SlotFile {
            claim,
            began_ms: None,
            steps: Vec::new(),
            end: None,
            running: true,
            unreadable: None,
        });
        slot
    }

    fn end(&mut self) {
        let ms = self.ms;
        let file = self.slots.last_mut().unwrap();
        let awake_ms = u64::try_from(ms - file.claim.at.wall_ms).unwrap();
        let end = SlotEnd { state: SlotState::Ran, why: String::new(), ended_ms: ms, awake_ms, frozen_ms: 0 };
        (file.running, file.end) = (false, Some(end));
    }
}

fn moment(ms: i64, slept: i64) -> Moment {
    let up = u64::try_from(ms - DAY + 86_400_000).unwrap();
    let awake = u64::try_from(ms - DAY + 86_400_000 - slept).unwrap();
    Moment { mono: Mono(awake * 1_000_000), boot_ns: up * 1_000_000, wall_ms: ms }
}

fn due(ms: i64) -> SlotKey {
    SlotKey::Due(DAY + ms)
}

fn missed(slots: &[i64], state: SlotState, why: &str, made_up_by: Option<SlotKey>) -> Vec<AgendaAct> {
    let slots = slots.iter().map(|ms| DAY + ms).collect();
    vec![AgendaAct::Missed { slots, state, why: why.to_owned(), made_up_by }]
}

#[test]
fn a_slot_is_started_at_once_or_left_to_the_manager_for_a_while() {
    let mut embedded = World::new(false, hourly(|_| {}));
    assert_eq!(embedded.at(1), []);
    assert_eq!(embedded.at(HOUR - 1), []);
    assert_eq!(embedded.agenda.wait(embedded.now(), &embedded.zone), Duration::from_millis(1));
    assert_eq!(embedded.decide(), Decision::Nothing);
    assert_eq!(embedded.at(HOUR), [AgendaAct::Start]);
    assert_eq!(embedded.at(HOUR + 29_999), []);
    assert_eq!(embedded.at(HOUR + 30_000), [AgendaAct::Start], "nobody took it");
    assert_eq!(embedded.at(HOUR + 89_999), []);
    assert_eq!(embedded.at(HOUR + 90_000), [AgendaAct::Start]);
    assert_eq!(embedded.take(), due(HOUR));
    assert_eq!(embedded.decide(), Decision::Busy);
    assert_eq!(embedded.at(HOUR + 5 * MINUTE), []);
    embedded.end();
    assert_eq!(embedded.decide(), Decision::Nothing);

    let mut native = World::new(true, hourly(|_| {}));
    assert_eq!(native.at(HOUR + 10 * MINUTE - 1), []);
    assert_eq!(native.at(HOUR + 10 * MINUTE), [AgendaAct::Start]);
    native.take();
    native.end();
    // Nobody may start it any more.
    let none = native.at(3 * HOUR - 1).into_iter().filter(|act| *act != AgendaAct::Start);
    assert_eq!(none.count(), 0);
    assert!(matches!(native.decide(), Decision::Run { timing: Timing::Late, .. }));
    native.at(3 * HOUR + 10 * MINUTE);
    native.take();
    let told = missed(
        &[2 * HOUR],
        SlotState::MissedOff,
        "it was not started before the next one was due",
        Some(due(3 * HOUR)),
    );
    assert_eq!(native.look(), told);
}

#[test]
fn what_was_slept_over_is_made_up_for_by_one_run() {
    let mut world = World::new(true, hourly(|_| {}));
    world.at(30 * MINUTE);
    world.sleep_until(5 * HOUR + 40 * MINUTE);
    assert!(
        matches!(world.decide(), Decision::Run { timing: Timing::CaughtUp, .. }),
        "before anybody has noted the sleep"
    );
    world.note();
    assert_eq!(world.look(), [AgendaAct::Start]);
    assert_eq!(world.take(), due(5 * HOUR));
    let slots = [HOUR, 2 * HOUR, 3 * HOUR, 4 * HOUR];
    assert_eq!(world.look(), missed(&slots, SlotState::MissedAsleep, "the machine slept", Some(due(5 * HOUR))));
    assert_eq!(world.look(), []);

    for (catch_up, why) in [
        (CatchUp::Skip, "the machine slept"),
        (
            CatchUp::Within(Duration::from_secs(1800)),
            "the machine slept, and it is longer ago than catch_up makes up for",
        ),
    ] {
        let mut world = World::new(false, hourly(|task| task.catch_up = catch_up));
        world.at(30 * MINUTE);
        world.sleep_until(HOUR + 40 * MINUTE);
        world.note();
        assert_eq!(world.look(), missed(&[HOUR], SlotState::MissedAsleep, why, None));
        assert_eq!(world.decide(), Decision::Nothing);
    }
}

#[test]
fn a_slot_that_falls_into_a_run_is_left_out_waits_or_replaces_it() {
    let begin = |overlap| {
        let mut world = World::new(true, hourly(|task| task.overlap = overlap));
        world.at(HOUR);
        world.take();
        world
    };
    let mut skip = begin(Overlap::Skip);
    assert_eq!(skip.at(2 * HOUR), missed(&[2 * HOUR], SlotState::SkippedOverlap, "the run before still went on", None));
    assert_eq!(skip.at(2 * HOUR + MINUTE), []);
    skip.end();
    assert_eq!((skip.look(), skip.decide()), (vec![], Decision::Nothing));

    let mut queue = begin(Overlap::Queue);
    assert_eq!((queue.at(3 * HOUR + MINUTE), queue.decide()), (vec![], Decision::Busy));
    queue.end();
    assert_eq!(queue.look(), [AgendaAct::Start], "the manager will not come back for it");
    assert_eq!(queue.take(), due(3 * HOUR));
    assert_eq!(queue.look(), missed(&[2 * HOUR], SlotState::SkippedOverlap, "the run before still went on", None));

    let mut replace = begin(Overlap::Replace);
    assert_eq!(replace.at(2 * HOUR), [AgendaAct::Replace(due(HOUR))]);
    assert_eq!(replace.look(), []);
    replace.end();
    assert_eq!(replace.look(), [AgendaAct::Start]);
    assert_eq!(replace.take(), due(2 * HOUR));
}

#[test]
fn who_died_without_a_word_is_told_once_and_not_run_again() {
    let mut world = World::new(false, hourly(|_| {}));
    world.at(HOUR);
    let slot = world.take();
    world.at(HOUR + 5 * MINUTE);
    world.slots[0].running = false;
    let acts = world.at(HOUR + 6 * MINUTE);
    let [AgendaAct::CutOff(cut, end)] = acts.as_slice() else { panic!("{acts:?}") };
    assert_eq!((*cut, end.state), (slot, SlotState::Failed));
    assert_eq!(end.why, "interrupted: its process was killed or has crashed");
    assert_eq!(end.ended_ms, DAY + HOUR + 5 * MINUTE, "when it was seen last");
    assert!(world.agenda.is_settled(), "its end is written down before what is accounted for is");
    world.slots[0].claim.boot_id = "a".to_owned();
    let acts = world.look();
    assert!(matches!(acts.as_slice(), [AgendaAct::CutOff(_, end)] if end.why.contains("lost power")), "{acts:?}");
    // Nor is it when its file tells nothing any more.
    world.slots[0].unreadable = Some("it is empty".to_owned());
    let acts = world.look();
    let [AgendaAct::CutOff(cut, end)] = acts.as_slice() else { panic!("{acts:?}") };
    let why = "its file cannot be read (it is empty), so nobody knows what became of it";
    assert_eq!((*cut, end.state, end.why.as_str()), (slot, SlotState::Failed, why));
    assert_eq!(world.decide(), Decision::Nothing);
    world.slots[0].end = Some(end.clone());
    assert_eq!((world.look(), world.decide()), (vec![], Decision::Nothing));
}

#[test]
fn held_disabled_and_declared_otherwise() {
    let mut world = World::new(false, hourly(|_| {}));
    world.held = true;
    assert_eq!(world.at(HOUR), missed(&[HOUR], SlotState::Cancelled, "the job was held back", None));
    world.held = false;
    assert_eq!((world.look(), world.decide()), (vec![], Decision::Nothing));
    assert_eq!(world.at(2 * HOUR), [AgendaAct::Start]);
    let half = CalendarTable { minute: Some(30), ..CalendarTable::default() };
    world.agenda.declare(hourly(|task| task.calendar = vec![Schedule::Table(half)]), false);
    let why = "the calendar was changed before it was started";
    assert_eq!(world.look(), missed(&[2 * HOUR], SlotState::Cancelled, why, None));
    assert_eq!(world.at(2 * HOUR + 29 * MINUTE), []);
    assert_eq!(world.at(2 * HOUR + 30 * MINUTE), [AgendaAct::Start]);
    world.take();
    world.end();
    world.agenda.declare(hourly(|task| task.enabled = false), false);
    assert_eq!((world.look(), world.at(6 * HOUR)), (vec![], vec![]));
    world.agenda.declare(hourly(|_| {}), false);
    assert_eq!((world.at(6 * HOUR + MINUTE), world.look()), (vec![], vec![]), "no slot was due meanwhile");
    assert_eq!(world.at(7 * HOUR), [AgendaAct::Start]);
}

#[test]
fn a_month_of_minutes_is_told_in_bounded_records_and_looks() {
    let mut world = World::new(false, hourly(|task| task.calendar = vec![Schedule::Table(CalendarTable::default())]));
    world.at(1);
    let month = 30 * 24 * HOUR;
    world.sleep_until(month);
    world.note();
    assert_eq!(world.look(), [AgendaAct::Start], "nothing is told before it is known which run stands for it");
    let stand = world.take();
    let (mut told, mut looks) = (Vec::new(), 0);
    while looks == 0 || world.agenda.wait(world.now(), &world.zone) == Duration::ZERO {
        looks += 1;
        for act in world.look() {
            let AgendaAct::Missed { slots, state, made_up_by, .. } = act else { panic!("{act:?}") };
            assert!(slots.len() <= 500);
            assert_eq!((state, made_up_by), (SlotState::MissedAsleep, Some(stand)));
            told.extend(slots);
        }
    }
    assert_eq!(looks, 3);
    assert_eq!(told, (1..30 * 24 * 60).map(|minute| DAY + minute * MINUTE).collect::<Vec<_>>());
}

#[test]
fn what_was_run_stays_done_when_the_clock_goes_back_and_years_that_were_none_have_missed_nothing() {
    let mut world = World::new(false, hourly(|_| {}));
    world.at(HOUR);
    world.take();
    world.end();
    assert_eq!(world.look(), []);
    let right = world.ms;
    world.ms = DAY + MINUTE;
    assert_eq!((world.look(), world.decide()), (vec![], Decision::Nothing));
    assert!(world.agenda.accounted.through_ms <= world.ms);
    assert_eq!(world.agenda.accounted.from_ms(), -5 * MINUTE, "what goes on may have been taken at any time");
    world.ms = right;
    assert_eq!((world.look(), world.decide()), (vec![], Decision::Nothing), "it was run");
    let through = world.agenda.accounted.through_ms;
    world.ms += 20 * 365 * 24 * HOUR;
    let told: usize =
        world.look().iter().map(|act| if let AgendaAct::Missed { slots, .. } = act { slots.len() } else { 0 }).sum();
    assert!((world.agenda.settled_ms > through) && told <= 400 * 24, "{told}");
}

#[test]
fn a_run_that_died_while_the_clock_was_behind_what_is_accounted_for_is_found_by_who_comes() {
    let mut world = World::new(false, hourly(|_| {}));
    world.at(HOUR);
    world.take();
    world.end();
    assert_eq!(world.look(), []);
    let accounted = world.agenda.accounted.clone();
    assert!(accounted.from_ms() > DAY + MINUTE);
    // Nobody looked when the clock was set back, somebody ran the job by hand, was killed, and the clock was right again.
    let slot = SlotKey::Extra(DAY + MINUTE);
    let mut extra = world.slots[0].clone();
    (extra.claim.slot, extra.end) = (slot, None);
    world.ms += 10 * MINUTE;
    world.agenda = Agenda::new(hourly(|_| {}), false, Some(accounted), world.now());
    assert!(world.agenda.from_ms() <= slot.at_ms(), "its file is shown");
    world.slots.insert(0, extra);
    let acts = world.look();
    let [AgendaAct::CutOff(cut, end)] = acts.as_slice() else { panic!("{acts:?}") };
    assert_eq!(*cut, slot);
    world.slots[0].end = Some(end.clone());
    assert_eq!((world.look(), world.decide()), (vec![], Decision::Nothing));
    assert!(world.agenda.from_ms() > slot.at_ms(), "it is over");
}
