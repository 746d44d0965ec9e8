use proptest::prelude::*;

use super::*;
use crate::manager::job::tests::{fleet, site};

fn job(name: &str) -> Job {
    let mut job =
        crate::manager::job::jobs(&fleet(), &site(), false).0.into_iter().find(|job| job.name == name).unwrap();
    job.label = name.into();
    job.argv = ["/opt/my sv", "exec", "$HOME", ""].map(str::to_owned).to_vec();
    job
}

/// As systemd 252 has it.
const RUNNING: &str = r#"MainPID=4711
Result=success
NRestarts=2
ExecMainPID=4711
ExecMainCode=0
ExecMainStatus=0
ExecStart={ path=/opt/my sv ; argv[]=/opt/my sv exec $HOME  ; ignore_errors=no ; start_time=[n/a] ; stop_time=[n/a] ; pid=0 ; code=(null) ; status=0/0 }
Environment="PATH=/usr/bin:/x y" "B=%h \$HOME \"q=\" \\ 'x'" C=😀 D=
Id=gateway.service
LoadState=loaded
ActiveState=active
SubState=running
FragmentPath=/home/u/.config/systemd/user/gateway.service
UnitFileState=enabled
NeedDaemonReload=no
Job=
"#;

const TIMER: &str = r"TimersCalendar={ OnCalendar=*-*-* 07:55:00 ; next_elapse=Mon 2026-11-23 07:55:00 UTC }
Result=success
Id=daily.timer
LoadState=loaded
ActiveState=active
SubState=waiting
FragmentPath=/home/u/.config/systemd/user/daily.timer
UnitFileState=enabled
";

/// `base` with other values, one to a line.
fn changed(base: &str, changes: &str) -> Shown {
    let mut unit = read(base).remove(0);
    for (key, value) in changes.lines().filter_map(|line| line.split_once('=')) {
        unit.0.insert(key.trim().into(), vec![value.into()]);
    }
    unit
}

fn gateway(changes: &str) -> JobState {
    state(&job("gateway"), &changed(RUNNING, changes), None, "user")
}

fn daily(service: &str, timer: &str) -> JobState {
    let idle = "Id=daily.service\nMainPID=0\nActiveState=inactive\nSubState=dead\nUnitFileState=static\n";
    state(&job("daily"), &changed(RUNNING, &format!("{idle}{service}")), Some(&changed(TIMER, timer)), "user")
}

const ENDED: &str = "MainPID=0\nExecMainCode=1\nExecMainStatus=70\nResult=exit-code\n";

#[test]
fn a_running_one_is_shown_with_all_that_is_known() {
    let state = gateway("");
    assert_eq!(
        state,
        JobState {
            standing: Standing::Running,
            pid: Some(4711),
            file: Some("/home/u/.config/systemd/user/gateway.service".into()),
            argv: Some(job("gateway").argv),
            env_names: Some(["B", "C", "D", "PATH"].map(str::to_owned).to_vec()),
            calendar: None,
            disabled: false,
            last_exit: None,
            runs: Some(3),
            domain: Some("user".into()),
        }
    );
    let other = Job { argv: vec!["/opt/my".into()], ..job("gateway") };
    let loaded = super::state(&other, &changed(RUNNING, ""), None, "user").argv.unwrap();
    assert_eq!(loaded, ["/opt/my", "sv", "exec", "$HOME", ""], "what it cannot be is as near as can be known");
}

#[test]
fn every_standing_is_told() {
    let auto = format!("{ENDED}ActiveState=activating\nSubState=auto-restart\n");
    let cases: [(&str, Standing); 12] = [
        ("ActiveState=activating\nSubState=start", Standing::Running),
        ("ActiveState=reloading\nSubState=reload", Standing::Running),
        ("LoadState=not-found\nFragmentPath=\nUnitFileState=", Standing::Running),
        ("LoadState=bad-setting", Standing::Running),
        (&auto, Standing::Delayed),
        ("ActiveState=deactivating\nSubState=stop-sigterm", Standing::Stopping),
        ("MainPID=0\nActiveState=failed\nSubState=failed\nUnitFileState=disabled", Standing::Stopped),
        ("MainPID=0\nActiveState=inactive\nSubState=dead", Standing::Stopped),
        ("MainPID=0\nActiveState=inactive\nSubState=dead\nUnitFileState=enabled-runtime", Standing::Stopped),
        ("MainPID=0\nActiveState=inactive\nSubState=dead\nUnitFileState=disabled", Standing::Absent),
        ("MainPID=0\nActiveState=inactive\nSubState=dead\nUnitFileState=\nLoadState=not-found", Standing::Absent),
        ("MainPID=0\nActiveState=inactive\nSubState=dead\nUnitFileState=masked\nLoadState=masked", Standing::Absent),
    ];
    for (changes, standing) in cases {
        assert_eq!(gateway(changes).standing, standing, "{changes}");
    }
    let queued = gateway("MainPID=0\nActiveState=inactive\nSubState=dead\nJob=77").standing;
    assert!(matches!(&queued, Standing::Pended(why) if why.contains("waits")), "{queued:?}");
    let prepared = gateway("MainPID=0\nActiveState=activating\nSubState=start-pre").standing;
    assert!(matches!(&prepared, Standing::Pended(_)), "{prepared:?}");
}

#[test]
fn what_cannot_start_says_why() {
    let why = |changes: &str| match gateway(changes).standing {
        Standing::CannotStart(why) => why,
        other => panic!("{changes}: {other:?}"),
    };
    let exec = "MainPID=0\nExecMainCode=1\nExecMainStatus=203\nResult=exit-code\n";
    assert!(why(&format!("{exec}ActiveState=activating\nSubState=auto-restart")).contains("program is not there"));
    assert!(why(&format!("{exec}ActiveState=failed\nSubState=failed")).contains("exit code 203"));
    let odd = exec.replace("203", "231");
    assert!(why(&format!("{odd}ActiveState=failed\nSubState=failed")).contains("could not set up"));
    let bad = "MainPID=0\nActiveState=inactive\nLoadState=bad-setting\nLoadError=org.x.BadUnitSetting \"Unit has a bad line.\"";
    assert_eq!(why(bad), "systemd refuses gateway.service: Unit has a bad line.");
    // The program's own exit codes are its own, and a start that worked is no failure any more.
    assert_eq!(gateway(&format!("{ENDED}ActiveState=failed")).standing, Standing::Stopped);
    assert_eq!(gateway("ExecMainCode=1\nExecMainStatus=203").standing, Standing::Running);
}

#[test]
fn the_last_end_is_told_in_words() {
    let said = |code: &str, status: &str, result: &str| {
        gateway(&format!("ExecMainCode={code}\nExecMainStatus={status}\nResult={result}")).last_exit
    };
    assert_eq!(said("0", "0", "success"), None);
    assert_eq!(said("1", "0", "success").unwrap(), "exited with 0");
    assert_eq!(said("2", "9", "signal").unwrap(), "killed with SIGKILL");
    assert_eq!(said("exited", "70", "exit-code").unwrap(), "exited with 70");
    assert_eq!(said("2", "9", "oom-kill").unwrap(), "killed with SIGKILL, as memory ran out");
    assert_eq!(said("2", "9", "timeout").unwrap(), "killed with SIGKILL, as it did not end in time");
    assert_eq!(said("3", "99999999999", "core-dump").unwrap(), "killed with 99999999999");
    assert_eq!(said("?", "x", ""), None);
}

#[test]
fn switched_off_is_what_is_disabled_or_masked() {
    for (file_state, off) in
        [("enabled", false), ("disabled", true), ("masked", true), ("masked-runtime", true), ("", false)]
    {
        assert_eq!(gateway(&format!("UnitFileState={file_state}")).disabled, off, "{file_state}");
        assert_eq!(daily("", &format!("UnitFileState={file_state}")).disabled, off, "{file_state}");
    }
    let gone = "MainPID=0\nActiveState=inactive\nSubState=dead\nUnitFileState=disabled";
    assert_eq!(gateway(gone), JobState::absent(true));
}

#[test]
fn of_a_calendar_job_the_timer_counts() {
    let waits = daily("", "");
    assert_eq!((waits.standing, waits.disabled, waits.runs), (Standing::Stopped, false, None));
    assert_eq!(waits.calendar.unwrap(), job("daily").calendar);
    let off = "ActiveState=inactive\nSubState=dead\nUnitFileState=disabled";
    assert_eq!(daily("", off), JobState::absent(true));
    assert_eq!(daily("", "ActiveState=inactive\nSubState=dead").standing, Standing::Stopped, "at the next boot");
    let runs = "MainPID=99\nActiveState=activating\nSubState=start";
    assert_eq!((daily(runs, "").standing, daily(runs, off).standing), (Standing::Running, Standing::Running));
    let bad = "LoadState=bad-setting\nLoadError=\nActiveState=inactive";
    assert!(matches!(daily("", bad).standing, Standing::CannotStart(why) if why.contains("daily.timer")));
}

#[test]
fn a_calendar_is_compared_as_it_was_meant() {
    let at = |line: &str| format!("{{ OnCalendar={line} ; next_elapse=(null) }}");
    let table = |minute, day, weekday| CalendarTable { minute, day, weekday, ..Default::default() };
    let both = Job { calendar: vec![table(Some(5), None, None), table(None, Some(1), Some(7))], ..job("daily") };
    let lines = ["Sun *-*-* *:*:00", "*-*-01 *:*:00", "*-*-* *:05:00"];
    let mut timer = changed(TIMER, "");
    timer.0.insert("TimersCalendar".into(), lines.map(at).to_vec());
    let loaded = timer.calendar(&both).unwrap();
    assert_eq!(loaded, [table(None, Some(1), Some(7)), table(Some(5), None, None)]);
    timer.0.insert("TimersCalendar".into(), lines[..2].iter().map(|line| at(line)).collect());
    assert_eq!(timer.calendar(&both).unwrap(), [table(None, None, Some(0)), table(None, Some(1), None)]);
}

#[test]
fn two_units_are_told_apart() {
    let text = format!("{RUNNING}\n{TIMER}");
    let units = read(&text);
    assert_eq!(units.iter().map(Shown::id).collect::<Vec<_>>(), ["gateway.service", "daily.timer"]);
    assert_eq!(units, [changed(RUNNING, ""), changed(TIMER, "")]);
    assert_eq!(read(""), []);
}

proptest! {
    #[test]
    fn whatever_is_answered_is_no_trouble(bytes in prop::collection::vec(any::<u8>(), 0..400)) {
        let text = String::from_utf8_lossy(&bytes);
        let units = read(&text);
        let unit = units.first().cloned().unwrap_or_default();
        let _ = (state(&job("gateway"), &unit, None, "user"), state(&job("daily"), &unit, Some(&unit), "user"));
    }

    #[test]
    fn nor_is_what_looks_like_an_answer(lines in prop::collection::vec(("[A-Za-z]{0,3}|ExecStart|Environment|MainPID|NRestarts|ExecMainCode|ExecMainStatus|TimersCalendar|SubState", "\\PC{0,30}|[0-9]{0,30}"), 0..30)) {
        let text: String = lines.iter().map(|(key, value)| format!("{key}={value}\n")).collect();
        let unit = read(&text).first().cloned().unwrap_or_default();
        let _ = (state(&job("gateway"), &unit, None, "user"), state(&job("daily"), &unit, Some(&unit), "user"));
    }
}
