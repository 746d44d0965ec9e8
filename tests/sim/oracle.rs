//! What has to hold, judged by what the kernel did and what the ledger says; nothing here asks a machine what it thinks,
//! except where it says so.

use std::collections::BTreeMap;
use std::time::Duration;

use supervisor::model::{EventType, Exit, ExitClass, Mono, Record, ServiceSpec, StopCause, Sweep};
use supervisor::policy::{HOLD_RETRY, KILL_AGAIN};

use crate::clock::{Clock, SECOND};
use crate::kernel::Kernel;

/// Start times are known to a hundredth of a second, so a successor's account of them is that much off.
const TOLERANCE: u64 = SECOND / 50;

/// What did not hold.
#[derive(Debug, Clone, PartialEq)]
pub struct Broken {
    /// Which invariant.
    pub invariant: &'static str,
    pub what: String,
}

/// What really became of a run.
#[derive(Debug, Default)]
struct Run {
    pid: i32,
    uid: u64,
    ended: Option<Exit>,
    /// Nobody can have seen how it ended.
    unseen: bool,
    /// Nobody can know of it: its records were only in the memory of a runner that could not write, and was killed.
    forgotten: bool,
    /// Its runner decided to end it, and that is written down.
    told: bool,
    /// It did, and that could not be written down.
    told_unwritten: bool,
    /// What it was ordered to end for, besides by the operator.
    verdicts: Vec<ExitClass>,
    start_rows: u32,
    end_rows: u32,
    /// Its end is in a journal.
    journaled: bool,
}

#[derive(Debug)]
struct Service {
    spec: ServiceSpec,
    runs: BTreeMap<u64, Run>,
    last_spawn: Option<(u32, Mono)>,
    /// The next start is nobody's automatism: an order, a new boot, a runner that was told to leave.
    excused: bool,
    /// What the operator wants, if that is certain.
    wanted: Option<bool>,
    /// Until when (awake time) it must not be started after a refusal.
    held_until: Option<u64>,
    /// The run that is being stopped, since when, and for how long that may take.
    stopping: Option<(u64, u64, u64)>,
    last_started_row: u64,
    /// The adoption record could not be written lately.
    stale: bool,
    /// A file that it may be held for changed since its last start.
    mended: bool,
}

#[derive(Debug)]
pub struct Oracle {
    services: Vec<Service>,
    tells_status: bool,
    pub broken: Option<Broken>,
    /// Runs that were started.
    pub runs: u64,
}

impl Oracle {
    pub fn new(specs: &[ServiceSpec], tells_status: bool) -> Self {
        let service = |spec: &ServiceSpec| Service {
            spec: spec.clone(),
            runs: BTreeMap::new(),
            last_spawn: None,
            excused: true,
            wanted: Some(true),
            held_until: None,
            stopping: None,
            last_started_row: 0,
            stale: false,
            mended: false,
        };
        Self { services: specs.iter().map(service).collect(), tells_status, broken: None, runs: 0 }
    }

    pub fn fail(&mut self, invariant: &'static str, what: String) {
        self.broken.get_or_insert(Broken { invariant, what });
    }

    fn check(&mut self, holds: bool, invariant: &'static str, what: impl FnOnce() -> String) {
        if !holds {
            self.fail(invariant, what());
        }
    }

    /// A main process was started.
    pub fn spawned(&mut self, service: usize, run_id: u64, pid: i32, kernel: &Kernel, clock: &Clock) {
        self.runs += 1;
        let name = self.services[service].spec.name.clone();
        let other = self.services[service].runs.iter().rev().take(8).find(|(_, run)| {
            run.ended.is_none() && kernel.get(run.pid).is_some_and(|p| p.uid == run.uid && p.zombie.is_none())
        });
        let other = other.map(|(id, run)| (*id, run.pid));
        self.check(other.is_none(), "never two live runs", || {
            format!("{name} run {run_id} (pid {pid}) was started while run and pid {other:?} live")
        });
        let s = &self.services[service];
        let (last, stale) = (s.runs.keys().next_back().copied().unwrap_or(0), s.stale);
        self.check(run_id > last || stale, "run numbers rise", || format!("{name} run {run_id} came after run {last}"));
        let now = clock.moment().mono;
        if let Some((boot, at)) = self.services[service].last_spawn
            && boot == clock.boots()
            && !self.services[service].excused
        {
            let apart = now.since(at) + Duration::from_nanos(TOLERANCE);
            let throttle = self.services[service].spec.throttle;
            self.check(apart >= throttle, "throttle kept", || {
                format!("{name} run {run_id} was started {apart:?} after the last, and its throttle is {throttle:?}")
            });
        }
        if let Some(until) = self.services[service].held_until {
            self.check(clock.now + TOLERANCE >= until, "held means held", || {
                format!("{name} run {run_id} was started {} s before its time", (until - clock.now) / SECOND)
            });
        }
        let wanted = self.services[service].wanted;
        self.check(wanted != Some(false), "down stays down", || format!("{name} run {run_id} was started"));
        let s = &mut self.services[service];
        (s.last_spawn, s.excused, s.held_until) = (Some((clock.boots(), now)), false, None);
        (s.stopping, s.mended) = (None, false);
        let uid = kernel.get(pid).map_or(0, |p| p.uid);
        s.runs.insert(run_id, Run { pid, uid, ..Run::default() });
    }

    /// A main process ended; `seen`: a living runner will learn how.
    pub fn ended(&mut self, service: usize, run_id: u64, exit: Exit, seen: bool) {
        if let Some(run) = self.services[service].runs.get_mut(&run_id)
            && run.ended.is_none()
        {
            run.ended = Some(exit);
            run.unseen = !seen;
        }
    }

    /// Its runner decided to end it, and from when on that counts against its time.
    pub fn told(&mut self, service: usize, run_id: u64, clock: &Clock) {
        let s = &mut self.services[service];
        if let Some(run) = s.runs.get_mut(&run_id) {
            run.told |= !s.stale;
            run.told_unwritten |= s.stale;
        }
        if s.stopping.is_none_or(|(id, ..)| id != run_id) {
            let most = s.spec.stop_timeout.max(s.spec.drain_timeout) + KILL_AGAIN;
            s.stopping = Some((run_id, clock.now, u64::try_from(most.as_nanos()).unwrap_or(u64::MAX)));
        }
    }

    /// Somebody is about to order something: until it is done nobody knows what is wanted.
    pub fn ordering(&mut self, service: usize, cause: Option<StopCause>) {
        let s = &mut self.services[service];
        let verdict = match cause {
            Some(StopCause::Hung) => ExitClass::Hung,
            Some(StopCause::StartTimeout) => ExitClass::StartTimeout,
            Some(StopCause::OverMemory) => ExitClass::OverMemory,
            _ => {
                (s.wanted, s.excused, s.held_until) = (None, true, None);
                // The line of the refusal may come to the disk after the order.
                s.mended = true;
                return;
            }
        };
        if let Some((_, run)) = s.runs.iter_mut().next_back() {
            run.verdicts.push(verdict);
        }
    }

    /// It is ordered.
    pub fn ordered(&mut self, service: usize, up: bool) {
        self.services[service].wanted = Some(up);
    }

    /// What was ordered is not on the disk.
    pub fn intent_lost(&mut self, service: usize) {
        self.services[service].wanted = None;
    }

    pub fn wanted(&self, service: usize) -> Option<bool> {
        self.services[service].wanted
    }

    /// When its last start was is not known exactly.
    pub fn excuse_throttle(&mut self, service: usize) {
        self.services[service].excused = true;
    }

    pub fn excuse(&mut self, service: usize) {
        self.excuse_throttle(service);
        self.services[service].held_until = None;
    }

    /// A watched file changed: a held service may be tried.
    pub fn mended(&mut self, service: usize) {
        self.services[service].held_until = None;
        self.services[service].mended = true;
    }

    /// Whether the adoption record could be written.
    pub fn persisted(&mut self, service: usize, written: bool) {
        self.services[service].stale = !written;
    }

    /// A line is in a journal's file (not only in memory).
    pub fn journaled(
        &mut self,
        service: usize,
        record: (EventType, Option<u64>, Option<&str>),
        boot_ns: u64,
        clock: &Clock,
    ) {
        let (event, Some(run_id), class) = record else { return };
        let s = &mut self.services[service];
        if event.is_run_end()
            && let Some(run) = s.runs.get_mut(&run_id)
        {
            run.journaled = true;
        }
        // Why it is held is not asked of the machine: its last run said so.
        let newest = s.runs.keys().next_back() == Some(&run_id);
        if newest && !s.mended && event.is_run_end() && class == Some(ExitClass::Refused.as_str()) {
            let ago = clock.moment().boot_ns.saturating_sub(boot_ns);
            let retry = u64::try_from(HOLD_RETRY.as_nanos()).unwrap_or(u64::MAX);
            s.held_until = Some((clock.now + retry).saturating_sub(ago));
        }
    }

    /// A runner is gone; what is wanted is now what is on the disk where that was not certain.
    pub fn runner_gone(&mut self, service: usize, on_disk: bool, lost_lines: impl Iterator<Item = (EventType, u64)>) {
        let s = &mut self.services[service];
        s.wanted = Some(s.wanted.unwrap_or(on_disk));
        s.stopping = None;
        for (_, run_id) in lost_lines {
            if let Some(run) = s.runs.get_mut(&run_id) {
                run.forgotten = true;
            }
        }
        for run in s.runs.values_mut().rev().take(64) {
            run.unseen |= run.ended.is_some() && !run.journaled;
        }
        // Without its records a successor knows neither the last start nor the last number.
        if s.stale {
            (s.excused, s.held_until) = (true, None);
        }
    }

    /// The power is gone.
    pub fn power_loss(&mut self) {
        for s in &mut self.services {
            (s.excused, s.held_until, s.stopping) = (true, None, None);
            for run in s.runs.values_mut() {
                run.ended.get_or_insert(Exit::Unknown);
                run.unseen |= run.end_rows == 0;
            }
        }
    }

    /// After a loss of power, or the death of a runner that could not write, nothing on the disk speaks of runs after `known`,
    /// and nothing in the ledger.
    pub fn unknown_after(&mut self, service: usize, known: u64) {
        self.services[service]
            .runs
            .retain(|id, run| *id <= known || run.ended.is_none() || run.start_rows + run.end_rows > 0);
    }

    /// A row is in the ledger.
    pub fn row(&mut self, service: usize, record: &Record) {
        let name = self.services[service].spec.name.clone();
        let Some(run_id) = record.data.get("run_id").and_then(serde_json::Value::as_u64) else { return };
        let class = record.data.get("class").and_then(serde_json::Value::as_str).unwrap_or_default();
        // A run that its runner had no time to write down may never have been.
        let guessed = record.data.get("seen").is_some_and(|seen| seen == false);
        let s = &mut self.services[service];
        if guessed {
            let run = s.runs.entry(run_id).or_insert_with(|| Run { ended: Some(Exit::Unknown), ..Run::default() });
            run.unseen = true;
        }
        let tells_status = self.tells_status;
        let (spec_success, spec_hold) = (s.spec.success_exit_codes.clone(), s.spec.hold_exit_codes.clone());
        let last_row = s.last_started_row;
        let Some(run) = s.runs.get_mut(&run_id) else {
            if record.event == EventType::ServiceStart || record.event.is_run_end() {
                self.fail("the ledger is true", format!("{name} run {run_id} never was: {record:?}"));
            }
            return;
        };
        if record.event == EventType::ServiceStart {
            run.start_rows += 1;
            s.last_started_row = run_id.max(last_row);
            let rows = run.start_rows;
            self.check(rows == 1, "every start once", || format!("{name} run {run_id} was recorded {rows} times"));
            self.check(run_id > last_row, "run numbers rise", || format!("{name}: {run_id} after {last_row}"));
        } else if record.event.is_run_end() {
            run.end_rows += 1;
            run.journaled = true;
            let rows = run.end_rows;
            let adopted = record.data.contains_key("adopted");
            let wrong = match (run.ended, class) {
                (None, _) => Some("it lives".to_owned()),
                (Some(_), _) if run.told_unwritten => None,
                (Some(_), "lost") if run.unseen || (adopted && !tells_status) => None,
                (Some(_), "requested") if run.told => None,
                (Some(_), class) if run.told && !run.verdicts.is_empty() => {
                    (!run.verdicts.iter().any(|verdict| verdict.as_str() == class))
                        .then(|| format!("ordered: {:?}", run.verdicts))
                }
                (Some(_), class) if run.told => Some(format!("it was ended by us, and counts as {class}")),
                (Some(exit), class) => {
                    let right = match exit {
                        Exit::Code(code) if spec_hold.contains(&code) => "refused",
                        Exit::Code(code) if spec_success.contains(&code) => "recycled",
                        Exit::Unknown => "lost",
                        Exit::Code(_) | Exit::Signal { .. } => "crash",
                    };
                    (right != class).then(|| format!("it ended with {exit}, unseen: {}", run.unseen))
                }
            };
            self.check(rows == 1, "every end once", || {
                format!("{name} run {run_id} ended {rows} times, now as {class}: {:?}", record.data)
            });
            if let Some(wrong) = wrong {
                self.fail(
                    "every end with its class",
                    format!("{name} run {run_id} is recorded as {class}, but {wrong}"),
                );
            }
        }
    }

    /// What has to hold at any time.
    pub fn always(&mut self, kernel: &Kernel, clock: &Clock) {
        for n in 0..self.services.len() {
            let Some((run_id, since, most)) = self.services[n].stopping else { continue };
            if clock.now <= since + most + SECOND {
                continue;
            }
            let run = self.services[n].runs.get(&run_id);
            let lives = run.and_then(|run| kernel.get(run.pid).filter(|p| p.uid == run.uid && p.zombie.is_none()));
            match lives {
                Some(process) if !process.stuck => {
                    let text = format!("{} run {run_id} lives {} s after", self.services[n].spec.name, most / SECOND);
                    self.fail("every stop ends in time", text);
                }
                Some(_) => {}
                None => self.services[n].stopping = None,
            }
        }
    }

    /// What has to hold when nothing has gone wrong for a while: the ledger is complete, and nothing is left of ended runs.
    pub fn at_rest(&mut self, kernel: &Kernel, runner_was_killed: bool) {
        for n in 0..self.services.len() {
            let name = self.services[n].spec.name.clone();
            let mut wrong = Vec::new();
            for (id, run) in &self.services[n].runs {
                let ends = u32::from(run.ended.is_some());
                if !run.forgotten && (run.start_rows, run.end_rows) != (1, ends) {
                    wrong.push(format!(
                        "{name} run {id} has {} starts and {} ends, not {ends}",
                        run.start_rows, run.end_rows
                    ));
                }
            }
            if let Some(first) = wrong.first() {
                self.fail("the ledger is complete", format!("{first} (and {} more)", wrong.len() - 1));
            }
            let current = self.services[n].runs.iter().next_back().filter(|(_, run)| run.ended.is_none());
            let current = current.map(|(id, _)| *id);
            let group = self.services[n].spec.sweep == Sweep::Group;
            let left: Vec<(i32, u64)> = kernel
                .alive()
                .filter_map(|p| {
                    p.mark.filter(|(service, run)| *service == n && Some(*run) != current).map(|m| (p.pid, m.1))
                })
                .collect();
            // `sweep = "group"` spares what has left its group; which group that was is not known after a runner's death.
            if !left.is_empty() && !group {
                let text = format!("{name}: pid and run {left:?}; a runner was killed: {runner_was_killed}");
                self.fail("nothing is left behind", text);
            }
        }
    }
}
