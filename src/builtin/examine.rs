//! `doctor`: what is wrong with the machine's set-up.

use super::{Work, failed};
use crate::doctor::Level;
use crate::error::Error;

/// All that is not well is said; what does not work makes the step fail.
pub(super) fn run(work: &mut Work<'_>) -> Vec<Error> {
    let findings = (work.examine)();
    let count = |level| findings.iter().filter(|finding| finding.level == level).count();
    let (bad, warn, note) = (count(Level::Bad), count(Level::Warn), count(Level::Note));
    let mut wrong = Vec::new();
    for finding in findings {
        let word = match finding.level {
            Level::Ok => continue,
            Level::Note => "note",
            Level::Warn => "warn",
            Level::Bad => "bad",
        };
        let remedy = finding.remedy.as_ref().map(|remedy| format!(" ({remedy})")).unwrap_or_default();
        work.say(format!("{word:<4}  {}: {}{remedy}", finding.subject, finding.what));
        if finding.level == Level::Bad {
            let hint = finding.remedy.unwrap_or_else(|| "see `supervisor doctor`".into());
            wrong.push(failed(format!("{}: {}", finding.subject, finding.what), hint));
        }
    }
    work.say(format!("{bad} bad, {warn} to be warned of, {note} to be known"));
    wrong
}
