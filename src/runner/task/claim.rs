//! Which run this is, and whether it is ours: asked and taken while nobody else decides about the job.

use super::Wanted;
use super::tools::Tools;
use crate::error::{Error, ErrorKind};
use crate::machine::agenda::{self, Decision, SlotsSeen};
use crate::model::paths::Paths;
use crate::model::{Accounted, Claim, SlotKey, SlotState, StepRecord, TaskSpec, Timing, Trigger};
use crate::process::lock::{Lock, NotLocked};
use crate::process::{clock, identity, intent, record};
use crate::runner::signals::Signals;
use crate::slots::{Holding, Taken, TaskSlots};

/// Before a daemon has ever accounted for anything, runs that were killed so long before are still asked for what they left.
const REMEMBERED_MS: i64 = 8 * 24 * 3600 * 1000;

/// A run that is ours.
pub(super) struct Claimed {
    pub(super) claim: Claim,
    pub(super) holding: Holding,
    pub(super) slots: TaskSlots,
    /// Of the run that it goes on with.
    pub(super) resumed: Vec<StepRecord>,
    /// Runs that were cut off, and may have left something.
    pub(super) cut_off: Vec<SlotKey>,
    /// One run at a time.
    pub(super) lock: Lock,
}

pub(super) enum Answer {
    Run(Box<Claimed>, Box<Tools>),
    /// Why there is nothing to do.
    Nothing(String),
}

/// Takes the run that is wanted.
pub(super) fn claim(task: &TaskSpec, paths: &Paths, wanted: Wanted, signals: &mut Signals) -> Result<Answer, Error> {
    let slots = TaskSlots::of(paths, &task.name);
    let folder =
        |e: std::io::Error| Error::io("cannot use the folder of the job's slots", &paths.slots(&task.name), &e);
    let busy = |pid: Option<i32>| {
        let who = pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
        match wanted {
            Wanted::Due(_) => Ok(Answer::Nothing(format!("it runs already{who}"))),
            Wanted::Extra(_) => {
                let message = format!("task {} runs already{who}", task.name);
                let hint = format!("wait for its end, or end it: supervisor tasks stop {}", task.name);
                Err(Error::new(ErrorKind::Refused, message).hint(hint))
            }
        }
    };
    let _alone = match slots.alone_soon() {
        Ok(lock) => lock,
        Err(NotLocked::Held { .. }) => return busy(None),
        Err(NotLocked::Io(e)) => return Err(folder(e)),
    };
    let path = paths.service_lock(&task.name);
    let lock = match Lock::acquire(&path) {
        Ok(lock) => lock,
        Err(NotLocked::Held { pid }) => return busy(pid),
        Err(NotLocked::Io(e)) => return Err(Error::io("cannot take the lock", &path, &e)),
    };
    let now = clock::now();
    let boot_id = clock::boot_id();
    let accounted = slots.accounted().map_err(folder)?;
    let from_ms = accounted.as_ref().map_or(now.wall_ms - REMEMBERED_MS, Accounted::from_ms);
    let known = slots.read(from_ms).map_err(folder)?;
    let cut_off = known.iter().filter(|slot| slot.end.is_none() && !slot.running);
    let cut_off = cut_off.map(|slot| slot.claim.slot).collect();
    let mut resumed = Vec::new();
    let (mut slot, timing, trigger, resumes) = match wanted {
        Wanted::Extra(resumes) => {
            if let Some(run) = resumes {
                resumed = to_resume(task, &slots, run)?;
            }
            (SlotKey::Extra(now.wall_ms), Timing::InTime, Trigger::Operator, resumes)
        }
        Wanted::Due(trigger) => {
            // What is due until now is due by the calendar that was looked at last.
            let named = accounted.as_ref().map_or(task.timezone.as_deref(), |known| known.timezone.as_deref());
            let zone = clock::zone(named);
            let presence = record::read(&paths.alive()).and_then(|bytes| serde_json::from_slice(&bytes).ok());
            let seen = SlotsSeen {
                slots: &known,
                presence: presence.as_ref(),
                boot_id: &boot_id,
                held: !intent::read(paths, &task.name).up,
                zone: &zone,
            };
            match agenda::decide(task, accounted.as_ref(), seen, now) {
                Decision::Run { slot, timing } => (slot, timing, trigger, None),
                Decision::Busy => return busy(None),
                Decision::Nothing => {
                    return Ok(Answer::Nothing("nothing is due that was not run or accounted for".into()));
                }
            }
        }
    };
    let pid = i32::try_from(std::process::id()).unwrap_or(i32::MAX);
    let start_token = identity::start_token(pid).unwrap_or_default();
    if signals.take() {
        return Ok(Answer::Nothing("it was told to end before it had begun".into()));
    }
    // Nobody has the slot yet: whatever fails from here on is to be told in its end.
    let mut tools = Box::new(Tools::open(task, paths, &boot_id)?);
    loop {
        let claim = Claim { slot, trigger, timing, pid, start_token, boot_id: boot_id.clone(), at: now, resumes };
        let answer = match (slots.take(&claim), slot) {
            (Ok(Taken::Ours(holding)), _) => {
                return Ok(Answer::Run(Box::new(Claimed { claim, holding, slots, resumed, cut_off, lock }), tools));
            }
            // Somebody wanted one in the same millisecond.
            (Ok(Taken::Before), SlotKey::Extra(ms)) => {
                slot = SlotKey::Extra(ms + 1);
                continue;
            }
            (Ok(Taken::Before), SlotKey::Due(_)) => Ok(Answer::Nothing(format!("{slot} was run already"))),
            (Err(e), _) => Err(folder(e)),
        };
        tools.output.close(clock::now());
        return answer;
    }
}

/// The steps of a run that a person wants to go on with.
fn to_resume(task: &TaskSpec, slots: &TaskSlots, run: SlotKey) -> Result<Vec<StepRecord>, Error> {
    let Some(found) = slots.read_one(run) else {
        let message = format!("task {} has no run {run}", task.name);
        let hint = format!("see which there are: supervisor tasks {}", task.name);
        return Err(Error::new(ErrorKind::Usage, message).hint(hint));
    };
    let well = |state: SlotState| matches!(state, SlotState::Ran | SlotState::Late | SlotState::CaughtUp);
    match found.end {
        Some(end) if well(end.state) => {
            let message = format!("run {run} of task {} ended well: there is nothing to resume", task.name);
            Err(Error::new(ErrorKind::Refused, message)
                .hint(format!("run it anew: supervisor tasks run {}", task.name)))
        }
        _ => Ok(found.steps),
    }
}
