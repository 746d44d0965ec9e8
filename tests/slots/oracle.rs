//! Which slots are due, from what the wall clock has passed and the calendar and zone in force then, and what has to hold. It knows
//! nothing of what decides; the ledger is in it, which takes records in as the real one does.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;

use jiff::tz::TimeZone;
use supervisor::model::{CatchUp, SlotKey, SlotState, TaskSpec, Timing};
use supervisor::policy::Calendar;

/// A calendar and its zone.
pub type Force = (Calendar, TimeZone);

/// A slot.
#[derive(Debug, Default)]
struct Slot {
    row: Option<Row>,
    /// How often a run of it has begun.
    runs: u32,
    /// It has to be accounted for; one that may have been due or not, as the calendar or the zone was changed about then, need not.
    must: bool,
    /// It may be run though it was told to be missed: the clock was set back before it, or whoever told it was killed before that
    /// was written down.
    reopened: bool,
    /// That it was told is written down.
    secured: bool,
}

/// What the ledger has of a slot.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Row {
    Missed(SlotState),
    Begun,
    Ended(SlotState),
}

/// What was counted.
#[derive(Debug, Default, Clone)]
pub struct Counts {
    pub due: u64,
    pub runs: u64,
    pub extra: u64,
    pub looks: u64,
    pub faults: u64,
    states: BTreeMap<&'static str, u64>,
}

impl Counts {
    pub fn add(&mut self, other: Self) {
        self.due += other.due;
        self.runs += other.runs;
        self.extra += other.extra;
        self.looks += other.looks;
        self.faults += other.faults;
        for (state, count) in other.states {
            *self.states.entry(state).or_default() += count;
        }
    }
}

impl fmt::Display for Counts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { due, runs, extra, looks, faults, states } = self;
        write!(
            f,
            "{due} slots due and accounted for, {runs} run, {extra} extra runs, {looks} looks, {faults} faults:"
        )?;
        states.iter().try_for_each(|(state, count)| write!(f, " {state} {count}"))
    }
}

#[derive(Debug)]
pub struct Oracle {
    /// The calendars and zones that may be in force; the last is the one that will be. One alone is.
    pub forces: Vec<Force>,
    slots: BTreeMap<i64, Slot>,
    /// Due, and not taken or told.
    open: BTreeSet<i64>,
    /// Told since the last time it was written down.
    unsecured: Vec<i64>,
    pub counts: Counts,
}

impl Oracle {
    pub fn new(force: Force) -> Self {
        Self {
            forces: vec![force],
            slots: BTreeMap::new(),
            open: BTreeSet::new(),
            unsecured: Vec::new(),
            counts: Counts::default(),
        }
    }

    /// The wall clock has come from `from` to `to`, in whatever way; what was due until `known` need not be accounted for.
    pub fn pass(&mut self, from: i64, to: i64, known: Option<i64>) {
        let must = self.forces.len() == 1;
        for at in 0..self.forces.len() {
            self.due(at, from, to, must, known);
        }
    }

    fn due(&mut self, force: usize, from: i64, to: i64, must: bool, known: Option<i64>) {
        let (calendar, zone) = &self.forces[force];
        let mut at = from;
        while let Some(ms) = calendar.next_after(at, zone).filter(|ms| *ms <= to) {
            at = ms;
            let must = must && known.is_none_or(|known| ms > known);
            let slot = self.slots.entry(ms).or_default();
            slot.must |= must;
            if must && slot.row.is_none() && slot.runs == 0 {
                self.open.insert(ms);
            }
        }
    }

    /// The next slot after `wall` by anything that may be in force.
    pub fn next(&self, wall: i64) -> Option<i64> {
        self.forces.iter().filter_map(|(calendar, zone)| calendar.next_after(wall, zone)).min()
    }

    /// From now on another calendar or zone may be in force. What is accounted for on disk is what was due until `since` (by the wall
    /// clock), and `looked` is when it was looked last: in between, who comes first may look by the one or the other.
    pub fn change(&mut self, force: Force, zone_changed: bool, since: i64, wall: i64, looked: Option<i64>) {
        if zone_changed {
            let zone = force.1.clone();
            let others: Vec<Force> = self.forces.iter().map(|(calendar, _)| (calendar.clone(), zone.clone())).collect();
            let new: Vec<Force> = others.into_iter().filter(|other| !self.forces.contains(other)).collect();
            self.forces.extend(new);
            self.forget(looked.unwrap_or(since));
        }
        self.forces.retain(|other| *other != force);
        self.forces.push(force);
        if zone_changed {
            for at in 0..self.forces.len() {
                self.due(at, since, wall, false, None);
            }
        }
    }

    /// The last of what may be in force is.
    pub fn settled(&mut self) {
        self.forces.drain(..self.forces.len() - 1);
    }

    /// What is open after `since` need not be accounted for.
    pub fn forget(&mut self, since: i64) {
        for ms in self.open.split_off(&(since + 1)) {
            if let Some(slot) = self.slots.get_mut(&ms) {
                slot.must = false;
            }
        }
    }

    /// The clock was set back to `wall`.
    pub fn set_back(&mut self, wall: i64) {
        self.forget(wall);
        self.slots.range_mut(wall - 5 * 60_000..).for_each(|(_, slot)| slot.reopened = true);
    }

    /// Slots that are due and not taken or told.
    pub fn open(&self) -> &BTreeSet<i64> {
        &self.open
    }

    /// A run takes a slot.
    pub fn taken(&mut self, task: &TaskSpec, slot: SlotKey, timing: Timing, wall: i64) -> Result<(), String> {
        let SlotKey::Due(ms) = slot else {
            self.counts.extra += 1;
            return Ok(());
        };
        if ms > wall {
            return Err(format!("{slot} is run before it is due"));
        }
        let Some(found) = self.slots.get_mut(&ms) else { return Err(format!("{slot} is run and was never due")) };
        found.runs += 1;
        if found.runs > 1 {
            return Err(format!("{slot} is run twice"));
        }
        if let Some(row) = found.row
            && !found.reopened
            && found.secured
        {
            return Err(format!("{slot} is run and is on record as {row:?}"));
        }
        if timing == Timing::CaughtUp && task.catch_up == CatchUp::Skip {
            return Err(format!("{slot} is caught up against catch_up"));
        }
        self.open.remove(&ms);
        Ok(())
    }

    /// task_started.
    pub fn started(&mut self, slot: SlotKey) {
        if let SlotKey::Due(ms) = slot {
            let found = self.slots.entry(ms).or_default();
            if !matches!(found.row, Some(Row::Ended(_))) {
                found.row = Some(Row::Begun);
            }
        }
    }

    /// task_finished: the first counts.
    pub fn finished(&mut self, slot: SlotKey, state: SlotState) {
        if let SlotKey::Due(ms) = slot {
            let found = self.slots.entry(ms).or_default();
            if !matches!(found.row, Some(Row::Ended(_))) {
                found.row = Some(Row::Ended(state));
            }
        }
    }

    /// task_missed.
    pub fn missed(
        &mut self,
        slots: &[i64],
        state: SlotState,
        why: &str,
        made_up_by: Option<SlotKey>,
    ) -> Result<(), String> {
        if slots.is_empty() || slots.len() > 500 || !slots.is_sorted() {
            return Err(format!("{} slots in one record", slots.len()));
        }
        if let Some(by) = made_up_by
            && self.slots.get(&by.at_ms()).is_none_or(|slot| slot.runs == 0)
        {
            return Err(format!("{by} makes up for others and was not run"));
        }
        for ms in slots {
            let slot = SlotKey::Due(*ms);
            let Some(found) = self.slots.get_mut(ms) else {
                return Err(format!("{slot} is {state:?} and was never due: {why}"));
            };
            if found.runs > 0 {
                return Err(format!("{slot} is {state:?} and was run: {why}"));
            }
            if found.secured && !found.reopened {
                return Err(format!("{slot} is told twice: {state:?}, {why}, on record as {:?}", found.row));
            }
            found.row = found.row.or(Some(Row::Missed(state)));
            found.reopened = false;
            found.secured = false;
            self.unsecured.push(*ms);
            self.open.remove(ms);
        }
        Ok(())
    }

    /// What was told is written down.
    pub fn accounted(&mut self, through_ms: i64, wall: i64) -> Result<(), String> {
        for ms in self.unsecured.drain(..) {
            if let Some(slot) = self.slots.get_mut(&ms) {
                slot.secured = true;
            }
        }
        match self.open.first() {
            Some(open) if *open <= through_ms => {
                Err(format!("{} is said to be accounted for and is not", SlotKey::Due(*open)))
            }
            _ if through_ms > wall + 3 * 60_000 => {
                Err(format!("what is accounted for is in the future by {} ms", through_ms - wall))
            }
            _ => Ok(()),
        }
    }

    /// Whoever told was killed before that was written down.
    pub fn killed(&mut self) {
        for ms in self.unsecured.drain(..) {
            if let Some(slot) = self.slots.get_mut(&ms) {
                slot.reopened = true;
            }
        }
    }

    /// Everything is over.
    pub fn end(mut self) -> Result<Counts, String> {
        if let Some(open) = self.open.first() {
            return Err(format!(
                "{} of {} slots are not accounted for, the first {}",
                self.open.len(),
                self.slots.len(),
                SlotKey::Due(*open)
            ));
        }
        for (ms, slot) in &self.slots {
            match slot.row {
                None if !slot.must && slot.runs == 0 => continue,
                None => return Err(format!("{} is not on record", SlotKey::Due(*ms))),
                Some(Row::Begun) => return Err(format!("{} has begun and not ended", SlotKey::Due(*ms))),
                Some(Row::Ended(_)) if slot.runs != 1 => {
                    return Err(format!("{} has ended and was not run", SlotKey::Due(*ms)));
                }
                Some(Row::Missed(state) | Row::Ended(state)) => {
                    *self.counts.states.entry(state.as_str()).or_default() += 1;
                    self.counts.due += 1;
                    self.counts.runs += u64::from(slot.runs);
                }
            }
        }
        Ok(self.counts)
    }
}
