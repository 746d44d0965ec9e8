//! What is known of a calendar job's slots: rows of the ledger, and the slots' own files, which are ahead of it.

use crate::model::{SlotFile, SlotKey, SlotRow, SlotState, UnitName};

/// How a job stands.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct JobStands {
    /// The latest slot that has ended; one that was left out because the run before went on is none.
    pub last: Option<SlotRow>,
    /// The run under way.
    pub running: Option<SlotRow>,
}

impl JobStands {
    /// From what is known of its slots, in any order.
    pub fn of(rows: Vec<SlotRow>, files: &[SlotFile]) -> Self {
        let is_running = |row: &SlotRow| files.iter().any(|file| file.claim.slot == row.slot && file.running);
        let mut stands = Self::default();
        for row in rows {
            let place = match row.state {
                None if is_running(&row) => &mut stands.running,
                None | Some(SlotState::SkippedOverlap) => continue,
                Some(_) => &mut stands.last,
            };
            if place.as_ref().is_none_or(|best| best.due_ms <= row.due_ms) {
                *place = Some(row);
            }
        }
        stands
    }

    /// Whether the last slot is something that a person has to look at.
    pub fn is_failed(&self) -> bool {
        self.last.as_ref().is_some_and(|last| match last.state {
            Some(SlotState::Failed | SlotState::TooLong | SlotState::TooShort) => true,
            Some(SlotState::MissedAsleep | SlotState::MissedOff) => last.made_up_by.is_none(),
            _ => false,
        })
    }
}

/// The slots of `task` by time, from the ledger's rows and from files: a file has the word unless the row is of a run that has
/// ended.
pub fn merged(task: &UnitName, rows: Vec<SlotRow>, files: &[SlotFile]) -> Vec<SlotRow> {
    let is_final = |row: &SlotRow| row.state.is_some() && row.trigger.is_some();
    let known: Vec<SlotKey> = rows.iter().filter(|row| is_final(row)).map(|row| row.slot).collect();
    let news: Vec<SlotRow> =
        files.iter().filter(|file| !known.contains(&file.claim.slot)).map(|file| of_file(task, file)).collect();
    let is_old = |row: &SlotRow| news.iter().all(|new| new.slot != row.slot);
    let mut all: Vec<SlotRow> = rows.into_iter().filter(is_old).collect();
    all.extend(news);
    all.sort_by_key(|row| (row.due_ms, row.slot));
    all
}

/// What a slot's file tells. A run that has died without a word is one that failed: the daemon will put it on record so.
pub fn of_file(task: &UnitName, file: &SlotFile) -> SlotRow {
    let SlotFile { claim, began_ms, steps, end, running, .. } = file;
    let cut_off = end.is_none() && !running;
    let why = match end {
        Some(end) => end.why.clone(),
        None if cut_off => {
            file.why_cut_off(|| format!("interrupted: its process {} is gone, and nobody saw its end", claim.pid))
        }
        None => String::new(),
    };
    SlotRow {
        task: task.clone(),
        slot: claim.slot,
        due_ms: claim.slot.at_ms(),
        state: end.as_ref().map(|end| end.state).or(cut_off.then_some(SlotState::Failed)),
        trigger: Some(claim.trigger),
        timing: Some(claim.timing),
        started_ms: *began_ms,
        ended_ms: end.as_ref().map(|end| end.ended_ms),
        awake_ms: end.as_ref().map(|end| end.awake_ms),
        frozen_ms: end.as_ref().map(|end| end.frozen_ms),
        why,
        made_up_by: None,
        resumes: claim.resumes,
        steps: steps.clone(),
        // Whose file cannot be read is not known.
        pid: (claim.pid > 0).then_some(claim.pid),
    }
}
