//! Why a step has failed, in words.

use crate::model::{Exit, StepAction};

/// What a step of our own puts before each of its errors (`cli::error_text`).
const MARK: &str = "supervisor: ";

/// What it puts before what is to be done about one.
const HINT: &str = "hint: ";

/// Of a reason, characters: it goes into a line of a table, an alert, a record.
const LONGEST: usize = 400;

/// Why a step that has ended so has failed; `said`: what it wrote to stderr last. The code of a maintenance step of ours says nothing
/// more than that it went wrong: the last error that it printed is the reason.
pub(super) fn of_failure(action: Option<&StepAction>, exit: Exit, said: Option<&str>) -> String {
    let is_ours = matches!(action, Some(StepAction::Builtin(_))) && exit.code().is_some();
    said.filter(|_| is_ours).and_then(last_error).unwrap_or_else(|| exit.to_string())
}

/// The last error of those that were printed, and how many there are beside it.
fn last_error(said: &str) -> Option<String> {
    let errors = || said.lines().filter_map(|line| line.strip_prefix(MARK));
    let plain = || said.lines().map(str::trim).rfind(|line| !line.is_empty() && !line.starts_with(HINT));
    let last = errors().next_back().or_else(plain)?.trim();
    let mut text: String = last.chars().take(LONGEST).collect();
    if text.len() < last.len() {
        text.push('…');
    }
    match errors().count() {
        0 | 1 => {}
        many => text.push_str(&format!(" (and {} more)", many - 1)),
    }
    Some(text)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::BuiltinStep;

    #[test]
    fn what_a_step_of_ours_printed_last_is_why_it_failed() {
        let ours = StepAction::Builtin(BuiltinStep::Vacuum { backups: 1 });
        let theirs = StepAction::Run(vec!["backup".into()]);
        let one = "supervisor: the copy cannot be written: No space left on device\n  hint: make room\n";
        let two = format!("supervisor: first\n  hint: x\n{one}");
        let long = format!("supervisor: {}", "ä".repeat(500));
        let code = Exit::Code(3);
        for (action, exit, said, why) in [
            (&ours, code, Some(one), "the copy cannot be written: No space left on device"),
            (&ours, code, Some(two.as_str()), "the copy cannot be written: No space left on device (and 1 more)"),
            (&ours, code, Some("thread 'main' panicked\nat the disk\n\n"), "at the disk"),
            (&ours, code, Some("  hint: alone\n"), "exit code 3"),
            (&ours, code, Some(""), "exit code 3"),
            (&ours, code, None, "exit code 3"),
            (&ours, code, Some(long.as_str()), &format!("{}…", "ä".repeat(400))),
            // One that was killed has not said why.
            (&ours, Exit::Signal { signal: crate::model::Signal::KILL, core: false }, Some(one), "SIGKILL"),
            (&theirs, code, Some(one), "exit code 3"),
        ] {
            let found = of_failure(Some(action), exit, said);
            assert!(found == why || (exit != code && found.contains(why)), "{found}");
        }
        assert_eq!(of_failure(None, code, Some(one)), "exit code 3");
    }
}
