//! One schedule's story: the daemon, `exec TASK` and launchd around the decisions, and what goes wrong.

use std::time::Duration;

use jiff::tz::TimeZone;
use supervisor::machine::agenda::{Agenda, AgendaAct, Decision, SlotsSeen, decide};
use supervisor::model::{Claim, SlotEnd, SlotFile, SlotKey, SlotState, TaskSpec, Timing, Trigger};
use supervisor::policy::{Calendar, Presence};

use crate::machine::{Clock, Disk};
use crate::oracle::{Counts, Oracle};
use crate::plan::{self, DAY, Fault, HOUR, MINUTE, SECOND, ZONES};
use crate::rng::Rng;

/// 2026-01-01T00:00Z.
const BEGIN: i64 = 1_767_225_600_000;

/// So long at the end nothing goes wrong any more.
const QUIET: i64 = 10 * DAY;

/// Nothing stays open longer than this while nothing goes wrong and no run goes on.
const PROMPT: i64 = 8 * HOUR;

/// Whoever is set back by no more than this goes on as if nothing had been.
const LITTLE: i64 = 2 * MINUTE;

/// So long a run waits for its journal at its end. One that waits in vain writes no end into its file either: it is accounted for as one
/// that was cut off.
const RECORDED_WITHIN: i64 = 10 * SECOND;

#[derive(Debug)]
pub struct Story {
    rng: Rng,
    trace: bool,
    clock: Clock,
    disk: Disk,
    oracle: Oracle,
    /// As it is declared now.
    task: TaskSpec,
    native: bool,
    /// About how far its slots are apart.
    apart: i64,
    /// The machine's own.
    zone: TimeZone,
    held: bool,
    daemon: Option<Daemon>,
    run: Option<Run>,
    /// Starts of `exec TASK` that are on their way.
    coming: Vec<(i64, Trigger)>,
    /// launchd has a start for the time when its job has ended.
    merged: bool,
    /// What is to come, by the time that really passes.
    next_fault: i64,
    next_slot: i64,
    restart: i64,
    look: i64,
    unhold: Option<i64>,
    restore: Option<(i64, i64)>,
    broken_until: i64,
    /// The journals take nothing until then.
    refused_until: i64,
    /// The last time when something went wrong, or was done by somebody.
    trouble: i64,
    /// The clock was set back before this, and no daemon has gone on with that yet: what comes a second time until then has its end
    /// from the first.
    known: Option<i64>,
}

#[derive(Debug)]
struct Daemon {
    agenda: Agenda,
    /// By the wall clock.
    looked: i64,
    /// The machine slept, or the clock was set, since its last note.
    is_note_due: bool,
    /// The last start of a slot, by the awake clock, and how many there were.
    started: Option<(i64, Duration, u32)>,
    /// It was this daemon that saw the zone that holds, or held.
    sees_zone: bool,
}

#[derive(Debug)]
struct Run {
    slot: SlotKey,
    timing: Timing,
    stage: Stage,
    /// When that is over.
    until: i64,
    /// It is killed then.
    dies: bool,
    /// Its journal has its start, and not only its memory.
    is_start_recorded: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stage {
    /// It waits before it makes up for a missed one.
    Waits,
    Runs,
    /// It waits for its journal to take its end, until then at most.
    Records {
        state: SlotState,
        at_most: i64,
    },
    /// Its end is in the journal and not in its file.
    Ends(SlotState),
}

impl Story {
    pub fn new(seed: u64, trace: bool) -> Self {
        let mut rng = Rng::new(seed, 8);
        let (task, apart) = plan::task(&mut rng);
        let zone = plan::zone(rng.pick(&ZONES));
        let force = (Calendar::new(&task.calendar), zone_of(task.timezone.as_deref(), &zone));
        let mut story = Self {
            native: rng.chance(60),
            trace,
            clock: Clock::new(BEGIN),
            disk: Disk::default(),
            oracle: Oracle::new(force),
            task,
            apart,
            zone,
            held: false,
            daemon: None,
            run: None,
            coming: Vec::new(),
            merged: false,
            next_fault: i64::MAX,
            next_slot: i64::MAX,
            restart: BEGIN,
            look: i64::MAX,
            unhold: None,
            restore: None,
            broken_until: 0,
            refused_until: 0,
            trouble: BEGIN,
            known: None,
            rng,
        };
        story.up();
        story.plan_fault();
        story
    }

    pub fn play(mut self, years: f64) -> Result<Counts, String> {
        let years = if self.apart < HOUR { years / 20.0 } else { years };
        let end = BEGIN + ((years * 365.25) * DAY as f64) as i64;
        let line = format!(
            "{:?} {:?} {:?} {:?}",
            self.task.calendar, self.task.timezone, self.task.catch_up, self.task.overlap
        );
        self.note(|| line);
        self.find_next();
        let mut calm_until = end + QUIET;
        // To where nothing is under way.
        let is_over = |story: &Self| {
            story.run.is_none() && story.oracle.open().is_empty() && story.daemon.is_some() && story.look == i64::MAX
        };
        while self.clock.t < calm_until || (!is_over(&self) && self.clock.t < calm_until + QUIET) {
            let is_calm = self.clock.t >= end;
            if let Err(broken) = self.turn(is_calm, calm_until) {
                return Err(format!("{}: {broken}", self.time()));
            }
            if !is_calm {
                calm_until = self.clock.t + QUIET;
            }
        }
        if self.run.is_some() {
            return Err("the last run does not end".to_owned());
        }
        if let Some(file) = self.disk.files.iter().find(|file| file.end.is_none()) {
            return Err(format!("{} has no end in its file", file.claim.slot));
        }
        self.oracle.end()
    }

    fn turn(&mut self, is_calm: bool, until: i64) -> Result<(), String> {
        if is_calm {
            self.calm();
        }
        let run = self.run.as_ref().map_or(i64::MAX, |run| run.until);
        let coming = self.coming.iter().map(|(at, _)| *at).min().unwrap_or(i64::MAX);
        let back = self.restore.map_or(i64::MAX, |(at, _)| at).min(self.unhold.unwrap_or(i64::MAX));
        let look = if self.daemon.is_some() { self.look } else { self.restart };
        // Or a day, when what is under way lasts longer.
        let until = if until > self.clock.t { until } else { self.clock.t + DAY };
        let fault = if is_calm { i64::MAX } else { self.next_fault };
        let next = [run, coming, back, look, fault, self.next_slot, until].into_iter().min().unwrap_or(until);
        self.advance(next.max(self.clock.t));
        let t = self.clock.t;
        if t >= self.next_slot {
            self.slot_is_due();
        }
        if let Some((_, by)) = self.restore.filter(|(at, _)| *at <= t) {
            self.restore = None;
            self.set(by);
        }
        if self.unhold.is_some_and(|at| at <= t) {
            (self.held, self.unhold, self.trouble) = (false, None, t);
        }
        if let Some(at) = self.coming.iter().position(|(at, _)| *at <= t) {
            let (_, trigger) = self.coming.swap_remove(at);
            self.exec(trigger)?;
        }
        if self.run.as_ref().is_some_and(|run| run.until <= t) {
            self.run_on();
        }
        if fault <= t {
            self.go_wrong()?;
        }
        let t = self.clock.t;
        if self.daemon.is_none() && self.restart <= t {
            self.up();
        } else if self.daemon.is_some() && self.look <= t {
            self.look()?;
        }
        if let Some(open) = self.oracle.open().first()
            && self.run.is_none()
            && self.daemon.is_some()
            && self.clock.t - self.trouble.max(open - self.clock.ahead).max(self.broken_until).max(self.refused_until)
                > PROMPT
        {
            return Err(format!("{} is not accounted for", SlotKey::Due(*open)));
        }
        Ok(())
    }

    /// Nothing goes wrong any more.
    fn calm(&mut self) {
        let t = self.clock.t;
        self.restart = self.restart.min(t);
        self.unhold = self.unhold.map(|at| at.min(t));
        self.broken_until = self.broken_until.min(t);
        self.refused_until = self.refused_until.min(t);
        (self.restore, self.next_fault) = (None, i64::MAX);
    }

    /// Time passes, and everybody who lives does nothing.
    fn advance(&mut self, to: i64) {
        let from = self.clock.t;
        if to <= from {
            return;
        }
        if let (Some(daemon), true) = (&mut self.daemon, to - from > MINUTE) {
            // It has left a note each minute.
            let first = from + below(&mut self.rng, MINUTE);
            if daemon.is_note_due {
                self.disk.presence =
                    Some(Presence::noted(self.disk.presence.take(), self.clock.at(first), &self.clock.boot_id));
                daemon.is_note_due = false;
            }
            let last = (to - below(&mut self.rng, MINUTE)).max(first);
            if let Some(presence) = &mut self.disk.presence {
                presence.at = self.clock.at(last);
            }
        }
        let wall = self.clock.wall();
        self.clock.t = to;
        self.oracle.pass(wall, self.clock.wall(), self.known);
    }

    fn find_next(&mut self) {
        let next = self.oracle.next(self.clock.wall());
        self.next_slot = next.map_or(i64::MAX, |ms| ms - self.clock.ahead);
    }

    fn slot_is_due(&mut self) {
        self.find_next();
        let t = self.clock.t;
        if self.native && self.rng.chance(96) {
            let late = below(&mut self.rng, 2 * SECOND);
            self.coming.push((t + late, Trigger::Manager));
        }
        self.look_within(2 * SECOND);
    }

    fn look_within(&mut self, ms: i64) {
        self.look = self.look.min(self.clock.t + below(&mut self.rng, ms));
    }

    // --- the daemon -------------------------------------------------------------------------------

    fn up(&mut self) {
        let now = self.clock.now();
        self.disk.presence = Some(Presence::noted(self.disk.presence.take(), now, &self.clock.boot_id));
        let agenda = Agenda::new(self.task.clone(), self.native, self.disk.accounted.clone(), now);
        self.daemon = Some(Daemon { agenda, looked: now.wall_ms, is_note_due: false, started: None, sees_zone: false });
        (self.restart, self.look) = (i64::MAX, self.clock.t);
        if self.disk.accounted.is_some() {
            self.look_within(3 * SECOND);
        }
        self.trouble = self.clock.t;
        self.note(|| "the daemon is up".to_owned());
    }

    fn down(&mut self, for_ms: i64) {
        if self.daemon.take().is_none() {
            return;
        }
        self.forget_agenda();
        (self.restart, self.look, self.trouble) = (self.clock.t + for_ms, i64::MAX, self.clock.t);
        self.note(|| format!("the daemon is down for {} s", for_ms / SECOND));
    }

    fn zone_may_change(&self) -> bool {
        let first = self.oracle.forces.first().map(|force| &force.1);
        self.oracle.forces.iter().any(|force| Some(&force.1) != first)
    }

    fn look(&mut self) -> Result<(), String> {
        let now = self.clock.now();
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        self.oracle.counts.looks += 1;
        let is_stale =
            self.disk.presence.as_ref().is_none_or(|left| now.mono.since(left.at.mono) > Duration::from_secs(60));
        if daemon.is_note_due || is_stale {
            self.disk.presence = Some(Presence::noted(self.disk.presence.take(), now, &self.clock.boot_id));
            daemon.is_note_due = false;
        }
        daemon.agenda.declare(self.task.clone(), self.native);
        let zone = zone_of(daemon.agenda.timezone(), &self.zone);
        let seen = SlotsSeen {
            slots: self.disk.from(daemon.agenda.from_ms()),
            presence: self.disk.presence.as_ref(),
            boot_id: &self.clock.boot_id,
            held: self.held,
            zone: &zone,
        };
        let acts = daemon.agenda.step(now, seen);
        (daemon.looked, daemon.sees_zone) = (now.wall_ms, true);
        let is_idle = acts.is_empty();
        let is_record = |act: &AgendaAct| matches!(act, AgendaAct::Missed { .. } | AgendaAct::CutOff(..));
        if self.is_refused() && acts.iter().any(is_record) {
            return self.refused(acts);
        }
        for act in acts {
            if self.rng.below(250) == 0 && self.may_go_wrong() {
                let for_ms = self.some_time();
                self.down(for_ms);
                return Ok(());
            }
            self.act(act)?;
            if self.daemon.is_none() {
                return Ok(());
            }
        }
        self.after_look(is_idle)
    }

    /// What is to go on record cannot: nothing that comes after it is done, and what is on disk counts when it is tried again.
    fn refused(&mut self, acts: Vec<AgendaAct>) -> Result<(), String> {
        self.note(|| format!("the journal refuses {} acts", acts.len()));
        if self.rng.chance(30) {
            // The journal has them after all: what was written could not be synced.
            for act in acts {
                match act {
                    AgendaAct::Missed { slots, state, why, made_up_by } => {
                        self.oracle.missed(&slots, state, &why, made_up_by)?;
                    }
                    AgendaAct::CutOff(slot, end) => self.oracle.finished(slot, end.state),
                    _ => {}
                }
            }
        }
        let now = self.clock.now();
        self.forget_agenda();
        if let Some(daemon) = &mut self.daemon {
            let agenda = Agenda::new(self.task.clone(), self.native, self.disk.accounted.clone(), now);
            (daemon.agenda, daemon.sees_zone) = (agenda, false);
        }
        // The daemon tries again each second; so often it would say the same.
        self.look = self.clock.t + SECOND + below(&mut self.rng, MINUTE);
        Ok(())
    }

    /// An agenda is gone, with what it knew that is not on disk.
    fn forget_agenda(&mut self) {
        self.oracle.killed();
        if self.oracle.forces.len() > 1 && self.zone_may_change() {
            // Whoever comes next knows nothing of the zone before.
            self.oracle.forget(i64::MIN);
        }
    }

    fn is_refused(&self) -> bool {
        self.clock.t < self.refused_until
    }

    fn may_go_wrong(&self) -> bool {
        // Before anything was ever written down nothing is due.
        self.next_fault != i64::MAX && self.disk.accounted.is_some()
    }

    fn some_time(&mut self) -> i64 {
        match self.rng.below(3) {
            0 => below(&mut self.rng, 10 * SECOND),
            1 => below(&mut self.rng, 30 * MINUTE),
            _ => below(&mut self.rng, self.apart.max(HOUR)),
        }
    }

    /// Whether it may wait as long as it wants.
    fn after_look(&mut self, is_idle: bool) -> Result<(), String> {
        let now = self.clock.now();
        self.gone_back();
        let Some(daemon) = &self.daemon else { return Ok(()) };
        let zone = zone_of(daemon.agenda.timezone(), &self.zone);
        let wait = daemon.agenda.wait(now, &zone);
        let wait_ms = i64::try_from(wait.as_millis()).unwrap_or(i64::MAX);
        if self.oracle.forces.len() == 1
            && wait_ms > (self.next_slot - self.clock.t).max(0)
            && self.next_slot > self.clock.t
        {
            return Err(format!("it would wait for {wait_ms} ms, beyond the next slot"));
        }
        let settled = self.oracle.open().is_empty() && is_idle && wait_ms == 30 * SECOND;
        self.look = if settled { i64::MAX } else { self.clock.t + wait_ms.max(1) };
        let accounted = self.disk.accounted.as_ref();
        let (calendar, timezone) = (declared(&self.task), &self.task.timezone);
        if accounted.is_some_and(|accounted| accounted.calendar == calendar && accounted.timezone == *timezone)
            && self.oracle.forces.len() > 1
            && is_idle
            && wait_ms > 0
        {
            self.oracle.settled();
            self.find_next();
            self.note(|| "the new calendar or zone holds".to_owned());
        } else if self.oracle.forces.len() > 1 {
            self.look = self.look.min(self.clock.t + 1 + wait_ms);
        }
        Ok(())
    }

    /// Somebody has gone on with a clock that was set back: once, and from now on everything is due that it shows, but for what it was
    /// set back by a little.
    fn gone_back(&mut self) {
        let wall = self.clock.wall();
        self.known = self.known.filter(|known| *known <= wall + LITTLE);
    }

    fn act(&mut self, act: AgendaAct) -> Result<(), String> {
        self.note(|| match &act {
            AgendaAct::Missed { slots, state, why, made_up_by } => {
                let ends = (slots.first().map(|ms| SlotKey::Due(*ms)), slots.last().map(|ms| SlotKey::Due(*ms)));
                format!("{} {ends:?} {state:?} {why} {made_up_by:?}", slots.len())
            }
            AgendaAct::Account(accounted) => {
                format!("accounted through {} open {:?}", SlotKey::Due(accounted.through_ms), accounted.open_ms)
            }
            other => format!("{other:?}"),
        });
        match act {
            AgendaAct::Start => {
                self.count_start()?;
                let late = below(&mut self.rng, 3 * SECOND);
                self.coming.push((self.clock.t + late, Trigger::Daemon));
            }
            AgendaAct::Replace(slot) => {
                let goes_on = |run: &Run| run.slot == slot && matches!(run.stage, Stage::Waits | Stage::Runs);
                if let Some(mut run) = self.run.take_if(|run| goes_on(run)) {
                    run.dies = false;
                    self.end_run(&mut run, SlotState::Cancelled, 10 * SECOND);
                    self.run = Some(run);
                }
            }
            AgendaAct::Missed { slots, state, why, made_up_by } => {
                if !self.is_refused() {
                    self.oracle.missed(&slots, state, &why, made_up_by)?;
                }
            }
            AgendaAct::CutOff(slot, end) => {
                if self.run.as_ref().is_some_and(|run| run.slot == slot) {
                    return Err(format!("{slot} is ended for the dead and lives"));
                }
                if !self.is_refused() {
                    self.oracle.finished(slot, end.state);
                }
                if self.rng.chance(5) && self.may_go_wrong() {
                    self.down(MINUTE);
                    return Ok(());
                }
                match self.disk.find(slot) {
                    Some(file) if file.end.is_none() => file.end = Some(end),
                    _ => return Err(format!("{slot} is ended for the dead and has its end")),
                }
            }
            AgendaAct::Account(accounted) => {
                self.oracle.accounted(accounted.through_ms, self.clock.wall())?;
                self.disk.account(accounted);
                self.gone_back();
            }
        }
        Ok(())
    }

    fn count_start(&mut self) -> Result<(), String> {
        let (mono, wall) = (Duration::from_nanos(self.clock.now().mono.0), self.clock.wall());
        // Within the three seconds that one is on its way, whatever goes wrong.
        let coming = self.coming.iter().filter(|(_, trigger)| *trigger == Trigger::Daemon).count();
        if coming > 20 {
            return Err(format!("{coming} starts are on their way"));
        }
        let Some(daemon) = &mut self.daemon else { return Ok(()) };
        let zone = zone_of(daemon.agenda.timezone(), &self.zone);
        let slot =
            self.oracle.forces.iter().filter_map(|(calendar, _)| calendar.last_until(wall, &zone)).max().unwrap_or(0);
        let count = match daemon.started {
            Some((before, at, count)) if before == slot && self.clock.t - self.trouble > 5 * MINUTE => {
                if mono.saturating_sub(at) < Duration::from_secs(30) || count > 40 {
                    return Err(format!(
                        "start {count} of {} within {:?}",
                        SlotKey::Due(slot),
                        mono.saturating_sub(at)
                    ));
                }
                count + 1
            }
            _ => 1,
        };
        daemon.started = Some((slot, mono, count));
        Ok(())
    }

    // --- `exec TASK` ------------------------------------------------------------------------------

    fn exec(&mut self, trigger: Trigger) -> Result<(), String> {
        if trigger == Trigger::Manager && self.run.is_some() {
            // launchd does not start a job a second time.
            self.merged |= self.rng.chance(50);
            return Ok(());
        }
        if self.clock.t < self.broken_until || self.rng.below(200) == 0 {
            return Ok(());
        }
        let now = self.clock.now();
        let accounted = self.disk.accounted.as_ref();
        let zone = zone_of(accounted.and_then(|accounted| accounted.timezone.as_deref()), &self.zone);
        let from_ms = accounted.map_or(i64::MIN, supervisor::model::Accounted::from_ms);
        let seen = SlotsSeen {
            slots: self.disk.from(from_ms),
            presence: self.disk.presence.as_ref(),
            boot_id: &self.clock.boot_id,
            held: self.held,
            zone: &zone,
        };
        let (slot, timing) = match trigger {
            Trigger::Operator if seen.slots.iter().any(|file| file.running) => return Ok(()),
            Trigger::Operator => (SlotKey::Extra(now.wall_ms), Timing::InTime),
            Trigger::Manager | Trigger::Daemon => match decide(&self.task, accounted, seen, now) {
                Decision::Run { slot, timing } => (slot, timing),
                Decision::Busy | Decision::Nothing => return Ok(()),
            },
        };
        self.note(|| format!("{trigger:?} takes {slot} {timing:?}"));
        if let Some(run) = &self.run {
            return Err(format!("{slot} is begun while {} goes on", run.slot));
        }
        self.oracle.taken(&self.task, slot, timing, now.wall_ms)?;
        let boot_id = self.clock.boot_id.clone();
        let claim = Claim { slot, trigger, timing, pid: 1, start_token: 1, boot_id, at: now, resumes: None };
        if !self.disk.take(SlotFile {
            claim,
            began_ms: None,
            steps: Vec::new(),
            end: None,
            running: true,
            unreadable: None,
        }) {
            return match trigger {
                Trigger::Operator => Ok(()),
                _ => Err(format!("{slot} was to be taken and is")),
            };
        }
        let waits = timing == Timing::CaughtUp;
        let until = self.clock.t + if waits { 30 * SECOND + below(&mut self.rng, 5 * MINUTE) } else { 0 };
        let dies = self.rng.chance(1);
        self.run = Some(Run { slot, timing, stage: Stage::Waits, until, dies, is_start_recorded: false });
        self.look_within(30 * SECOND);
        Ok(())
    }

    /// The run goes on to its next stage, or dies at the end of this.
    fn run_on(&mut self) {
        let Some(mut run) = self.run.take() else { return };
        self.look_within(30 * SECOND);
        if run.dies {
            self.die(run.slot);
            return;
        }
        self.trouble = self.clock.t;
        run.dies = self.rng.chance(1);
        match run.stage {
            Stage::Waits => {
                run.is_start_recorded = !self.is_refused();
                if run.is_start_recorded {
                    self.oracle.started(run.slot);
                }
                let wall = self.clock.wall();
                if let Some(file) = self.disk.find(run.slot) {
                    file.began_ms = Some(wall);
                }
                let length = match self.rng.below(12) {
                    0 => (self.apart + below(&mut self.rng, self.apart)).min(20 * HOUR),
                    1..4 => below(&mut self.rng, 3 * HOUR),
                    _ => below(&mut self.rng, 10 * MINUTE),
                };
                (run.stage, run.until) = (Stage::Runs, self.clock.t + length.min(3 * self.apart));
                self.run = Some(run);
            }
            Stage::Runs => {
                let well = match run.timing {
                    Timing::InTime => SlotState::Ran,
                    Timing::Late => SlotState::Late,
                    Timing::CaughtUp => SlotState::CaughtUp,
                };
                let state = if self.rng.chance(95) { well } else { SlotState::Failed };
                self.end_run(&mut run, state, 50);
                self.run = Some(run);
            }
            Stage::Records { at_most, .. } if self.is_refused() && self.clock.t >= at_most => {
                self.note(|| format!("{} cannot record its end", run.slot));
                self.die(run.slot);
            }
            Stage::Records { state, .. } => {
                self.end_run(&mut run, state, 50);
                self.run = Some(run);
            }
            Stage::Ends(state) => {
                let wall = self.clock.wall();
                if let Some(file) = self.disk.find(run.slot) {
                    let took = wall - file.began_ms.unwrap_or(file.claim.at.wall_ms);
                    let awake_ms = u64::try_from(took).unwrap_or(0);
                    let end = SlotEnd { state, why: String::new(), ended_ms: wall, awake_ms, frozen_ms: 0 };
                    (file.running, file.end) = (false, Some(end));
                }
                if std::mem::take(&mut self.merged) {
                    self.coming.push((self.clock.t + SECOND, Trigger::Manager));
                }
            }
        }
    }

    /// It is over; its journal takes that, and then its file, within so long, or refuses it.
    fn end_run(&mut self, run: &mut Run, state: SlotState, within_ms: i64) {
        if self.is_refused() {
            let at_most = match run.stage {
                Stage::Records { at_most, .. } => at_most,
                _ => self.clock.t + RECORDED_WITHIN,
            };
            (run.stage, run.until) = (Stage::Records { state, at_most }, self.refused_until.min(at_most));
            return;
        }
        if !run.is_start_recorded {
            self.oracle.started(run.slot);
        }
        self.oracle.finished(run.slot, state);
        (run.stage, run.until) = (Stage::Ends(state), self.clock.t + below(&mut self.rng, within_ms));
    }

    fn die(&mut self, slot: SlotKey) {
        self.note(|| format!("{slot} is killed"));
        if let Some(file) = self.disk.find(slot) {
            file.running = false;
        }
        self.trouble = self.clock.t;
    }

    // --- what goes wrong --------------------------------------------------------------------------

    fn plan_fault(&mut self) {
        let mean = (self.apart as f64 * 1.3).max(6.0 * HOUR as f64);
        let at = self.clock.t + self.rng.exponential(mean) as i64;
        let near =
            self.oracle.next(at + self.clock.ahead).filter(|_| self.rng.chance(50)).map(|ms| ms - self.clock.ahead);
        let near = near.filter(|near| near - at < 2 * self.apart);
        let about = below(&mut self.rng, 12 * MINUTE) - 2 * MINUTE;
        self.next_fault = near.map_or(at, |near| near + about).max(self.clock.t + SECOND);
    }

    fn go_wrong(&mut self) -> Result<(), String> {
        let fault = Fault::draw(&mut self.rng, self.apart);
        self.note(|| format!("{fault:?}"));
        self.oracle.counts.faults += 1;
        self.trouble = self.clock.t;
        match fault {
            Fault::Sleep(ms) => {
                let wall = self.clock.wall();
                self.clock.sleep(ms);
                self.oracle.pass(wall, self.clock.wall(), self.known);
                if let Some(run) = &mut self.run {
                    run.until += ms;
                }
                if self.native && self.next_slot <= self.clock.t && self.rng.chance(80) {
                    let late = below(&mut self.rng, 20 * SECOND);
                    self.coming.push((self.clock.t + late, Trigger::Manager));
                }
                self.woken();
            }
            Fault::Off(ms) => {
                if self.rng.chance(50) {
                    self.goodbye();
                }
                let up = if self.rng.chance(80) { 5 * SECOND } else { self.some_time() };
                self.down(0);
                if let Some(run) = self.run.take() {
                    self.die(run.slot);
                }
                let wall = self.clock.wall();
                self.clock.boot(ms);
                self.oracle.pass(wall, self.clock.wall(), self.known);
                self.coming.clear();
                (self.merged, self.restart) = (false, self.clock.t + up);
                self.find_next();
            }
            Fault::Set(by, back) => {
                let far = (self.clock.ahead + by).abs() > 60 * DAY;
                let by = if far { -self.clock.ahead } else { by };
                self.set(by);
                self.restore = back.filter(|_| !far).map(|after| (self.clock.t + after, -by)).or(self.restore);
            }
            Fault::KillDaemon(ms) => self.down(ms),
            Fault::StopDaemon(ms) => {
                self.goodbye();
                self.down(ms);
            }
            Fault::KillRun => {
                if let Some(run) = self.run.take() {
                    self.die(run.slot);
                }
                self.look_within(30 * SECOND);
            }
            Fault::Zone => {
                let zone = plan::zone(self.rng.pick(&ZONES));
                self.move_to(zone);
            }
            Fault::Edit => {
                let (calendar, _) = plan::calendar(&mut self.rng);
                // As dense as it was, or the story gets too long.
                if self.oracle_apart(&calendar) > self.apart / 3 {
                    let timezone = if self.rng.chance(30) {
                        Some(self.rng.pick(&ZONES).to_owned())
                    } else {
                        self.task.timezone.clone()
                    };
                    let zoned = timezone != self.task.timezone;
                    (self.task.calendar, self.task.timezone) = (calendar, timezone);
                    self.declared_otherwise(zoned);
                }
            }
            Fault::Disable => {
                self.task.enabled = !self.task.enabled;
                self.declared_otherwise(false);
            }
            Fault::Hold(ms) => (self.held, self.unhold) = (true, Some(self.clock.t + ms)),
            Fault::Extra => self.exec(Trigger::Operator)?,
            Fault::Broken(ms) => self.broken_until = self.clock.t + ms,
            Fault::Refuse(ms) => self.refused_until = self.clock.t + ms,
        }
        self.plan_fault();
        Ok(())
    }

    fn oracle_apart(&self, calendar: &[supervisor::model::Schedule]) -> i64 {
        let calendar = Calendar::new(calendar);
        let first = calendar.next_after(self.clock.wall(), &self.zone);
        let second = first.and_then(|first| calendar.next_after(first, &self.zone));
        first.zip(second).map_or(0, |(first, second)| second - first)
    }

    fn woken(&mut self) {
        self.find_next();
        if let Some(daemon) = &mut self.daemon {
            daemon.is_note_due = true;
        }
        self.look = self.look.max(self.clock.t);
        self.look_within(30 * SECOND);
        self.trouble = self.clock.t;
    }

    fn goodbye(&mut self) {
        if self.daemon.is_some() {
            let presence = Presence::noted(self.disk.presence.take(), self.clock.now(), &self.clock.boot_id);
            self.disk.presence = Some(Presence { ended: true, ..presence });
        }
    }

    /// The wall clock is set.
    fn set(&mut self, by: i64) {
        let wall = self.clock.wall();
        self.clock.ahead += by;
        self.note(|| format!("the clock is set by {} s", by / SECOND));
        if by > 0 {
            self.oracle.pass(wall, wall + by, self.known);
            if self.native && self.rng.chance(50) {
                self.coming.push((self.clock.t + SECOND, Trigger::Manager));
            }
        } else {
            self.oracle.set_back(wall + by);
            self.known = self.disk.accounted.as_ref().map(|accounted| accounted.through_ms);
        }
        self.woken();
    }

    /// The machine's own zone changes.
    fn move_to(&mut self, zone: TimeZone) {
        self.zone = zone;
        if self.task.timezone.is_none()
            || self.disk.accounted.as_ref().is_some_and(|accounted| accounted.timezone.is_none())
        {
            self.declared_otherwise(true);
        }
    }

    fn declared_otherwise(&mut self, zone_changed: bool) {
        let force = (Calendar::new(declared(&self.task)), zone_of(self.task.timezone.as_deref(), &self.zone));
        let through = self.disk.accounted.as_ref().map_or(i64::MAX, |accounted| accounted.through_ms);
        let wall = self.clock.wall();
        let looked = self.daemon.as_ref().filter(|daemon| daemon.sees_zone).map(|daemon| daemon.looked);
        if zone_changed && looked.is_none() {
            self.oracle.forget(i64::MIN);
        }
        self.oracle.change(force, zone_changed, through.min(wall), wall, looked);
        self.find_next();
        self.look_within(30 * SECOND);
        self.note(|| "the calendar or zone is another".to_owned());
    }

    fn time(&self) -> String {
        format!("{} by the wall clock", SlotKey::Extra(self.clock.wall()))
    }

    fn note(&self, what: impl FnOnce() -> String) {
        if self.trace {
            println!("{} {}", self.time(), what());
        }
    }
}

/// The zone that services.toml names.
fn zone_of(name: Option<&str>, own: &TimeZone) -> TimeZone {
    name.map_or_else(|| own.clone(), plan::zone)
}

/// By which a job is due.
fn declared(task: &TaskSpec) -> &[supervisor::model::Schedule] {
    if task.enabled { &task.calendar } else { &[] }
}

fn below(rng: &mut Rng, ms: i64) -> i64 {
    i64::try_from(rng.below(u64::try_from(ms).unwrap_or(0))).unwrap_or(0)
}
