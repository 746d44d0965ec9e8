//! What a hang looked like from outside, in words.

use crate::model::{Facts, ProcessState};

/// `failure` is what the last probe said, `facts` what was seen beside the first and the last one.
pub(super) fn hang(failure: &str, facts: Option<&(Facts, Facts)>) -> String {
    match facts.and_then(|(first, last)| looks(first, last)) {
        Some(looks) => format!("{failure}; {looks}"),
        None => failure.to_owned(),
    }
}

fn looks(first: &Facts, last: &Facts) -> Option<String> {
    let now = last.vitals.as_ref()?;
    match now.state {
        ProcessState::Stopped => return Some("its main process is stopped by a signal".into()),
        ProcessState::Uninterruptible => {
            return Some("its main process waits for a device and cannot be interrupted".into());
        }
        ProcessState::Zombie => return Some("its main process has ended and is not reaped".into()),
        ProcessState::Running | ProcessState::Sleeping | ProcessState::Traced | ProcessState::Unknown => {}
    }
    let before = first.vitals.as_ref()?;
    let span = now.at.since(before.at).as_secs_f64();
    if span <= 0.0 {
        return None;
    }
    let share = now.cpu.saturating_sub(before.cpu).as_secs_f64() / span * 100.0;
    Some(match share {
        share if share >= 50.0 => format!("meanwhile it used {share:.0} % of a processor: it spins"),
        share if share < 2.0 => "meanwhile it used hardly any processor time: it waits for something".into(),
        share => format!("meanwhile it used {share:.0} % of a processor"),
    })
}
