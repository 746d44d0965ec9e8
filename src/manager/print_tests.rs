//! Recorded texts (values changed), and what becomes of them when they are damaged.

use crate::model::testing::Numbers;
use proptest::prelude::*;

use super::*;

const RUNNING: &str = include_str!("fixtures/running.txt");
const THROTTLED: &str = include_str!("fixtures/throttled.txt");
const PENDED_SPECULATIVE: &str = include_str!("fixtures/pended_speculative.txt");
const PENDED_INEFFICIENT: &str = include_str!("fixtures/pended_inefficient.txt");
const SPAWN_FAILED: &str = include_str!("fixtures/spawn_failed.txt");
const CALENDAR: &str = include_str!("fixtures/calendar.txt");
const KILLED: &str = include_str!("fixtures/killed.txt");
const CODESIGNING: &str = include_str!("fixtures/codesigning.txt");
const STOPPING: &str = include_str!("fixtures/stopping.txt");
const EQUALS_SIGN: &str = include_str!("fixtures/equals_sign.txt");
const OLDER_MACOS: &str = include_str!("fixtures/older_macos.txt");
const PRINT_DISABLED: &str = include_str!("fixtures/print_disabled.txt");
const PRINT_DISABLED_OLD: &str = include_str!("fixtures/print_disabled_old.txt");

const ALL: [&str; 11] = [
    RUNNING,
    THROTTLED,
    PENDED_SPECULATIVE,
    PENDED_INEFFICIENT,
    SPAWN_FAILED,
    CALENDAR,
    KILLED,
    CODESIGNING,
    STOPPING,
    EQUALS_SIGN,
    OLDER_MACOS,
];

fn judged(text: &str) -> JobState {
    verdict(Some(&service(text)), false, "gui/501")
}

fn owned(words: &[&str]) -> Vec<String> {
    words.iter().map(|word| (*word).to_owned()).collect()
}

#[test]
fn all_that_is_told_of_a_running_service_is_read() {
    let expected = Printed {
        target: Some("gui/501/org.example.web".into()),
        domain: Some("gui/501".into()),
        state: Some("running".into()),
        job_state: Some("running".into()),
        pid: Some(16090),
        last_signal: Some("Terminated: 15".into()),
        runs: Some(2),
        successive_crashes: Some(0),
        reason: Some("non-ipc demand".into()),
        minimum_runtime_s: Some(10),
        exit_timeout_s: Some(30),
        path: Some("/Users/u/Library/LaunchAgents/org.example.web.plist".into()),
        program: Some("/Users/u/.local/bin/web".into()),
        arguments: Some(owned(&["/Users/u/.local/bin/web", "--port", "8080"])),
        environment: Some(owned(&["OSLogRateLimit", "XPC_SERVICE_NAME"])),
        properties: owned(&["keepalive", "runatload", "inferred program", "managed LWCR", "has LWCR"]),
        ..Printed::default()
    };
    assert_eq!(service(RUNNING), expected);
    let state = judged(RUNNING);
    assert_eq!((state.standing, state.pid, state.runs), (Standing::Running, Some(16090), Some(2)));
    assert_eq!((state.env_names, state.domain), (Some(vec![]), Some("gui/501".into())));
    assert_eq!(state.last_exit.as_deref(), Some("Terminated: 15"));
}

#[test]
fn each_recorded_text_gets_its_verdict() {
    let standings: Vec<Standing> = ALL.iter().map(|text| judged(text).standing).collect();
    assert!(
        matches!(
            standings[..],
            [
                Standing::Running,
                Standing::Delayed,
                Standing::Pended(_),
                Standing::Pended(_),
                Standing::CannotStart(_),
                Standing::Stopped,
                Standing::Stopped,
                Standing::CannotStart(_),
                Standing::Stopping,
                Standing::Running,
                Standing::Stopped,
            ]
        ),
        "{standings:#?}"
    );
    let said = |at: usize| format!("{:?}", standings[at]);
    assert!(said(2).contains("speculative") && said(3).contains("inefficient"), "{standings:#?}");
    assert!(said(4).contains("78: EX_CONFIG") && said(4).contains("/Users/u/.local/bin/web"), "{standings:#?}");
    assert!(said(7).contains("OS_REASON_CODESIGNING") && said(7).contains("unload and load"), "{standings:#?}");
    let ends: Vec<_> = ALL.iter().map(|text| judged(text).last_exit).collect();
    let ends: Vec<&str> = ends.iter().map(|end| end.as_deref().unwrap_or("-")).collect();
    assert_eq!(
        ends,
        [
            "Terminated: 15",
            "Segmentation fault: 11",
            "-",
            "exit code 1",
            "exit code 78: EX_CONFIG",
            "-",
            "Killed: 9",
            "OS_REASON_CODESIGNING",
            "-",
            "-",
            "exit code 0",
        ]
    );
}

#[test]
fn crashes_show_as_a_longer_minimum() {
    let printed = service(THROTTLED);
    let times = (printed.base_minimum_runtime_s, printed.minimum_runtime_s, printed.successive_crashes);
    assert_eq!(times, (Some(10), Some(40), Some(3)));
}

#[test]
fn the_calendar_is_read_from_its_triggers() {
    let daily = CalendarTable { minute: Some(20), hour: Some(3), ..Default::default() };
    let weekly = CalendarTable { minute: Some(5), hour: Some(4), weekday: Some(0), ..Default::default() };
    assert_eq!(judged(CALENDAR).calendar, Some(vec![weekly, daily]), "sorted");
    assert_eq!(judged(RUNNING).calendar, None);
    // A value that is not understood must not read as "every hour".
    assert_eq!(judged(&CALENDAR.replace("\"Hour\" => 3", "\"Hour\" => 3000")).calendar, None);
    assert_eq!(judged(&CALENDAR.replace("\"Hour\" => 3", "\"Year\" => 3")).calendar, None);
    let other = CALENDAR.replacen("com.apple.launchd.calendarinterval", "com.apple.notifyd.matching", 1);
    assert_eq!(judged(&other).calendar.unwrap().len(), 1, "other streams are none of the calendar's");
}

#[test]
fn values_are_not_taken_for_lines() {
    let printed = service(EQUALS_SIGN);
    let arguments =
        ["/Users/u/a = b/query", "--where=pid = 1", "state = not running", "", "\tpid = 2", "}", "block = {"];
    assert_eq!(printed.arguments, Some(owned(&arguments)));
    assert_eq!(printed.program.as_deref(), Some("/Users/u/a = b/query"));
    assert_eq!(printed.path, Some("/Users/u/a = b/org.example.query.plist".into()));
    assert_eq!((printed.pid, printed.state.as_deref()), (Some(411), Some("running")));
    assert_eq!(judged(EQUALS_SIGN).env_names, Some(owned(&["NODE_ENV", "PATH", "WHERE"])));
}

#[test]
fn older_systems_say_it_otherwise() {
    let printed = service(OLDER_MACOS);
    assert_eq!(printed.target.as_deref(), Some("org.example.old"));
    assert_eq!(printed.properties, ["runatload", "low priority i/o"]);
    assert_eq!((printed.runs, printed.exit_timeout_s), (Some(1), Some(5)));
    let submitted =
        service(&RUNNING.replace("/Users/u/Library/LaunchAgents/org.example.web.plist", "(submitted by smd[532])"));
    assert_eq!(submitted.path, None);
}

#[test]
fn what_comes_first_in_the_order_is_the_verdict() {
    let text = |lines: &str| format!("gui/501/x = {{\n{lines}}}\n");
    let standing = |lines: &str| judged(&text(lines)).standing;
    let failed = "\tjob state = spawn failed\n";
    let pended = "\tpended nondemand spawn = semaphore\n";
    let scheduled = "\tstate = spawn scheduled\n";
    assert!(matches!(standing(&format!("{failed}{pended}{scheduled}")), Standing::CannotStart(_)));
    assert!(matches!(standing(&format!("{pended}{scheduled}")), Standing::Pended(_)));
    assert_eq!(standing(&format!("{pended}\tstate = running\n\tpid = 7\n")), Standing::Running);
    assert_eq!(standing("\tpended nondemand spawn = false\n"), Standing::Stopped);
    assert_eq!(standing("\tstate = running\n"), Standing::Stopped, "without a process it does not run");
    assert_eq!(standing("\tstate = xpcproxy\n\tpid = 7\n"), Standing::Delayed, "not its own program yet");
    assert_eq!(standing("\tstate = SIGKILLed\n\tpid = 7\n"), Standing::Stopping);
    assert_eq!(
        standing("\tstate = running\n\tpid = 7\n\tlast exit reason = OS_REASON_CODESIGNING\n"),
        Standing::Running
    );
    assert_eq!(standing("\tpid = -1\n\tpid = 99999999999\n"), Standing::Stopped);
    assert_eq!(verdict(None, true, "gui/501"), JobState::absent(true));
    assert!(verdict(Some(&service(RUNNING)), true, "gui/501").disabled);
}

#[test]
fn both_forms_of_the_overrides_are_read() {
    let switched = |pairs: &[(&str, bool)]| pairs.iter().map(|(label, off)| ((*label).to_owned(), *off)).collect();
    let new: BTreeMap<String, bool> =
        switched(&[("com.apple.ftp-proxy", true), ("org.example.off", true), ("org.example.on", false)]);
    assert_eq!(disabled(PRINT_DISABLED), new, "login items are another list");
    let old: BTreeMap<String, bool> = switched(&[
        ("org.example.off", true),
        ("org.example.on", false),
        ("com.apple.mdmclient.daemon.runatboot", true),
    ]);
    assert_eq!(disabled(PRINT_DISABLED_OLD), old);
}

const TOKENS: &[&str] = &[
    "\t",
    "\n",
    "\r\n",
    " ",
    " = ",
    " => ",
    " = {",
    "}",
    "\t}\n",
    "{",
    "\0",
    "\u{1b}[31m",
    "é",
    "日本",
    "\u{202e}",
    "-1",
    "99999999999999999999",
    "(never exited)",
    "78: EX_CONFIG",
    "\tpid = 1\n",
    "\t\tpid = 2\n",
    "\tstate = running\n",
    "\targuments = {\n",
    "\tenvironment = {\n",
    "\tevent triggers = {\n",
    "\t\t\tdescriptor = {\n",
    "\t\t\t\t\"Hour\" => 3\n",
    "\tproperties = {\n",
    "\tpended nondemand spawn = inefficient\n",
    "\tjob state = spawn failed\n",
    "\"",
    "0x92a03",
    ": ",
];

fn mutated(text: &str, numbers: &mut Numbers) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(bytes.len() + 1);
        match numbers.below(7) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.insert(at, u8::try_from(numbers.below(128)).unwrap()),
            3 | 4 => drop(bytes.splice(at..at, TOKENS[numbers.below(TOKENS.len())].bytes())),
            5 => {
                // A line is moved elsewhere, or comes twice.
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
                let from = numbers.below(lines.len());
                let Some(line) = lines.get(from).copied() else { continue };
                if numbers.below(2) == 0 {
                    lines.remove(from);
                }
                lines.insert(numbers.below(lines.len() + 1), line);
                bytes = lines.concat().into_bytes();
            }
            _ => bytes.truncate(at),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// What must hold whatever stands there.
fn check(text: &str) -> JobState {
    let printed = service(text);
    let whole = |value: &Option<String>| value.as_ref().is_none_or(|value| text.contains(value.as_str()));
    assert!(
        whole(&printed.state) && whole(&printed.program) && whole(&printed.pended) && whole(&printed.target),
        "{text:?}"
    );
    assert!(
        printed.pid.is_none_or(|pid| pid > 0 && text.contains(&format!("\tpid = {pid}")) || text.contains('+')),
        "{text:?}"
    );
    for argument in printed.arguments.iter().flatten() {
        assert!(text.contains(&format!("\t\t{argument}")), "{text:?}");
    }
    for name in printed.environment.iter().flatten() {
        assert!(text.contains(&format!("\t\t{name} => ")), "{text:?}");
    }
    let state = verdict(Some(&printed), false, "gui/501");
    assert!(
        state.standing != Standing::Absent && (state.standing != Standing::Running || state.pid.is_some()),
        "{text:?}"
    );
    state
}

#[test]
fn ten_thousand_damaged_texts_are_answered_from_what_is_left_of_them() {
    let mut numbers = Numbers(0x5eed);
    let mut unharmed = 0;
    for round in 0..10_000 {
        let whole = ALL[round % ALL.len()];
        let state = check(&mutated(whole, &mut numbers));
        unharmed += usize::from(state == judged(whole));
        let of_overrides = mutated([PRINT_DISABLED, PRINT_DISABLED_OLD][round % 2], &mut numbers);
        for label in disabled(&of_overrides).keys() {
            assert!(of_overrides.contains(label.as_str()), "round {round}: {of_overrides:?}");
        }
    }
    // Else the damage would be too small, or so large that nothing is read.
    assert!((1_000..8_000).contains(&unharmed), "{unharmed} read as if nothing had happened");
}

proptest! {
    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..2000)) {
        let text = String::from_utf8_lossy(&bytes);
        check(&text);
        disabled(&text);
    }

    #[test]
    fn lines_and_blocks_of_other_systems_change_nothing(
        at in 0_usize..100,
        which in 0..ALL.len(),
        name in "[a-z]{3} [a-z]{3,12} \\([a-z]{3}\\)",
        value in "[ -~]{0,30}",
    ) {
        // Between two lines of the service itself, as a newer macOS would add them.
        let lines: Vec<&str> = ALL[which].split_inclusive('\n').collect();
        let own: Vec<usize> = (1..lines.len())
            .filter(|n| lines[*n].starts_with('\t') && !lines[*n].starts_with("\t\t") && lines[*n] != "\t}\n")
            .collect();
        let at = own[at % own.len()];
        let added = format!("\t{name} = {value}\n\t{name} = {{\n\t\tstate = active\n\t\tpid = 3\n\t\t{value} = {{\n\t\t\tpid = 4\n\t\t}}\n\t}}\n");
        let text = lines[..at].concat() + &added + &lines[at..].concat();
        prop_assert_eq!(service(&text), service(ALL[which]));
    }
}
