//! Processes in words, for messages.

use sysinfo::{Pid, ProcessRefreshKind, ProcessesToUpdate, System, UpdateKind};

/// Longest description, in characters.
const MOST: usize = 120;

/// The command line of `pid` cut to about 120 characters, or its name where there is none to be seen. Looks at that one
/// process only.
pub fn describe(pid: i32) -> String {
    command_line(pid).unwrap_or_else(|| format!("process {pid}"))
}

/// The same, or `None` when nothing is known about `pid`.
pub(super) fn command_line(pid: i32) -> Option<String> {
    let (name, words) = name_and_arguments(pid)?;
    let text = if words.is_empty() { name } else { words.join(" ") };
    (!text.is_empty()).then(|| cut(&text))
}

/// The arguments of `pid`, its program's name first, as they are: secrets may be among them. Nothing where they are not shown.
pub fn arguments(pid: i32) -> Vec<String> {
    name_and_arguments(pid).map(|(_, words)| words).unwrap_or_default()
}

fn name_and_arguments(pid: i32) -> Option<(String, Vec<String>)> {
    let pid = Pid::from_u32(u32::try_from(pid).ok()?);
    let mut system = System::new().ok()?;
    let what = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::Some(&[pid]), true, what);
    let process = system.process(pid)?;
    let words = process.cmd().iter().map(|word| word.to_string_lossy().into_owned()).collect();
    Some((process.name().to_string_lossy().into_owned(), words))
}

/// All processes with their arguments, as far as the system shows them.
pub fn command_lines() -> Vec<(i32, Vec<String>)> {
    let Ok(mut system) = System::new() else { return Vec::new() };
    let what = ProcessRefreshKind::nothing().with_cmd(UpdateKind::Always).without_tasks();
    system.refresh_processes_specifics(ProcessesToUpdate::All, true, what);
    let line = |(pid, process): (&Pid, &sysinfo::Process)| {
        let words: Vec<String> = process.cmd().iter().map(|word| word.to_string_lossy().into_owned()).collect();
        (!words.is_empty()).then_some((i32::try_from(pid.as_u32()).ok()?, words))
    };
    system.processes().iter().filter_map(line).collect()
}

/// Control characters would spoil the message (and the terminal) that it stands in.
fn cut(text: &str) -> String {
    let clean = text.chars().map(|c| if c.is_control() { ' ' } else { c });
    let mut short: String = clean.clone().take(MOST).collect();
    if clean.count() > MOST {
        short.push_str("...");
    }
    short
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::process::testing::{Guard, sh, wait_for};

    #[test]
    fn a_process_is_described_by_its_command_line() {
        let child = Guard(sh("exec sleep 4\"\"321").spawn().unwrap());
        let text = wait_for("its own program", || Some(describe(child.pid())).filter(|text| text.contains("4321")));
        assert_eq!(text, "sleep 4321");
    }

    #[test]
    fn what_is_unknown_keeps_its_number_and_what_is_long_is_cut() {
        assert_eq!(describe(i32::MAX), format!("process {}", i32::MAX));
        assert_eq!(describe(-1), "process -1");
        assert_eq!(cut(&"ä".repeat(200)).chars().count(), MOST + 3);
        assert_eq!(cut("a\u{1b}[2Jb\nc"), "a [2Jb c");
    }
}
