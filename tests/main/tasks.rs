//! One run of a calendar job, `exec TASK`: which slot it is, once whoever starts it, and what becomes of steps that do not do as told.

use std::path::PathBuf;
use std::process::Child;

use nix::sys::signal::Signal;
use supervisor::model::paths::Paths;
use supervisor::model::{
    Accounted, CalendarTable, Schedule, SlotEnd, SlotFile, SlotKey, SlotState, StepOutcome, StepRecord, Trigger,
    UnitName,
};
use supervisor::process::clock;
use supervisor::slots::TaskSlots;

use super::support::{Env, pid_of, signal, wait_for};
use super::tools::*;

/// A slot that was due so long ago, and is the only one of its year: no test is troubled by a minute that begins in its middle.
const AGO_MS: i64 = 90 * 60_000;

/// A job with one slot, `AGO_MS` ago.
fn task(steps: &[String], more: &str) -> String {
    let time = jiff::Timestamp::from_millisecond(due().at_ms()).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    let calendar = format!(
        "{{ month = {}, day = {}, hour = {}, minute = {} }}",
        time.month(),
        time.day(),
        time.hour(),
        time.minute()
    );
    let steps = steps.join(",\n");
    format!(
        "[task.job]\ncalendar = [{calendar}]\ntimezone = \"UTC\"\nstart_within = \"1d\"\nsteps = [{steps}]\n{more}\n"
    )
}

/// The slot of [`task`]: the same for a whole test, whatever minute it is meanwhile.
pub fn due() -> SlotKey {
    use std::sync::OnceLock;
    static DUE: OnceLock<i64> = OnceLock::new();
    SlotKey::Due(*DUE.get_or_init(|| (clock::now().wall_ms - AGO_MS) / 60_000 * 60_000))
}

pub fn sh(script: &str, more: &str) -> String {
    format!("{{ run = [\"/bin/sh\", \"-c\", '''{script}'''] {more} }}")
}

pub fn slots(env: &Env) -> TaskSlots {
    TaskSlots::of(&Paths::new(&env.state_dir()), &UnitName::new("job").unwrap())
}

/// An installation whose daemon has accounted for everything before the slot.
pub fn with_due_slot(steps: &[String], more: &str) -> Env {
    let env = Env::new(&task(steps, more));
    let time = jiff::Timestamp::from_millisecond(due().at_ms()).unwrap().to_zoned(jiff::tz::TimeZone::UTC);
    let number = |n: i8| u8::try_from(n).ok();
    let table = CalendarTable {
        minute: number(time.minute()),
        hour: number(time.hour()),
        day: number(time.day()),
        weekday: None,
        month: number(time.month()),
    };
    let accounted = Accounted {
        v: 1,
        through_ms: due().at_ms() - 60_000,
        open_ms: None,
        calendar: vec![Schedule::Table(table)],
        timezone: Some("UTC".into()),
    };
    slots(&env).account(&accounted).unwrap();
    env
}

fn log(env: &Env, stream: &str) -> String {
    std::fs::read_to_string(env.state_dir().join(format!("logs/job-{stream}.log"))).unwrap_or_default()
}

pub fn runs(env: &Env) -> Vec<SlotFile> {
    slots(env).read(0).unwrap()
}

/// The one run that there was.
pub fn only(env: &Env) -> SlotFile {
    let mut runs = runs(env);
    assert_eq!(runs.len(), 1, "{runs:#?}");
    runs.remove(0)
}

/// The run that was taken last, which has ended.
fn last(env: &Env) -> (Vec<StepRecord>, SlotEnd) {
    let run = runs(env).pop().unwrap();
    (run.steps, run.end.unwrap())
}

fn outcomes(steps: &[StepRecord]) -> Vec<StepOutcome> {
    steps.iter().map(|step| step.outcome).collect()
}

/// The data of all records of one kind in the job's journal.
fn journaled(env: &Env, event: &str) -> Vec<serde_json::Value> {
    let text = std::fs::read_to_string(env.state_dir().join("supervisor/runners/job.journal")).unwrap();
    let records = text.lines().map(|line| serde_json::from_str::<serde_json::Value>(line).unwrap());
    records.filter(|record| record["event"] == event).map(|record| record["data"].clone()).collect()
}

fn start(env: &Env, args: &[&str]) -> Child {
    env.command(args).spawn().unwrap()
}

fn exit_code(child: &mut Child) -> Option<i32> {
    wait_for("its end", || child.try_wait().unwrap()).code()
}

#[test]
fn the_slot_that_is_due_is_run_once_and_put_on_record() {
    let show =
        "echo $A $B $SUPERVISOR_TASK $SUPERVISOR_SLOT $SUPERVISOR_SLOT_TIME $SUPERVISOR_STEP $SUPERVISOR_ATTEMPT $PWD";
    let steps = [
        sh("echo one; echo err >&2", ", name = \"first one\""),
        sh(show, ", env = { B = \"step\" }, cwd = \"{dir}/sub\""),
    ];
    let env = with_due_slot(&steps, "env = { A = \"job\", B = \"job\" }\ncwd = \"{dir}\"");
    std::fs::create_dir(env.dir().join("sub")).unwrap();
    ok(&env, &["exec", "job"]);
    let time = jiff::Timestamp::from_millisecond(due().at_ms()).unwrap();
    let sub = env.dir().join("sub");
    assert_eq!(log(&env, "stdout"), format!("one\njob step job {} {time} 2 1 {}\n", due(), sub.display()));
    assert_eq!(log(&env, "stderr"), "err\n", "nothing is said of what goes well");
    let run = only(&env);
    assert_eq!((run.claim.slot, run.claim.trigger), (due(), Trigger::Manager));
    let end = run.end.unwrap();
    assert_eq!((end.state, end.why.as_str(), end.frozen_ms), (SlotState::Ran, "", 0));
    assert_eq!(outcomes(&run.steps), [StepOutcome::Ok; 2]);
    assert_eq!(run.steps[0].what, "first one");
    let [started, finished] = [journaled(&env, "task_started"), journaled(&env, "task_finished")].map(|mut all| {
        assert_eq!(all.len(), 1);
        all.remove(0)
    });
    assert_eq!((&started["slot"], &started["trigger"]), (&due().to_string().into(), &"manager".into()));
    assert!(started["late_ms"].as_i64().unwrap() >= AGO_MS);
    assert_eq!((&finished["result"], &finished["due_ms"]), (&"ran".into(), &due().at_ms().into()));
    assert_eq!(finished["steps"].as_array().unwrap().len(), 2);
    // Whoever comes later finds it done.
    for args in [&["exec", "job"][..], &["exec", "job", "--trigger", "daemon"]] {
        assert!(ok(&env, args).contains("nothing is due"));
    }
    assert_eq!(journaled(&env, "task_finished").len(), 1);
    // The ledger takes the journal in as it does any.
    env.start_daemon();
    wait_for("its rows", || {
        let rows = rows_of(&env, "job");
        (rows.iter().any(|row| row.is("task_started")) && rows.iter().any(|row| row.is("task_finished"))).then_some(())
    });
}

#[test]
fn of_twenty_triggers_at_once_one_runs() {
    let env = with_due_slot(&[sh("echo run >> {dir}/runs; sleep 0.2", "")], "");
    let args =
        |n: usize| if n.is_multiple_of(2) { &["exec", "job"][..] } else { &["exec", "job", "--trigger", "daemon"] };
    let mut all: Vec<Child> = (0..20).map(|n| start(&env, args(n))).collect();
    for child in &mut all {
        assert_eq!(exit_code(child), Some(0), "{}", env.terminal());
    }
    assert_eq!(std::fs::read_to_string(env.dir().join("runs")).unwrap(), "run\n");
    assert_eq!(only(&env).end.unwrap().state, SlotState::Ran);
    assert_eq!(journaled(&env, "task_started").len(), 1);
}

#[test]
fn a_job_that_is_not_to_run_does_not() {
    let steps = [sh("echo run", "")];
    let env = with_due_slot(&steps, "enabled = false");
    assert!(ends_with(&env, 6, &["exec", "job"]).contains("enabled = false"));
    assert!(ends_with(&env, 2, &["exec", "jib"]).contains("jib"));
    assert!(ends_with(&env, 2, &["exec", "jib", "--extra"]).contains("no task called jib"));
    // Held back by a person's word, it is for the daemon to account for.
    env.configure(&task(&steps, ""));
    let folder = env.state_dir().join("supervisor/services/job");
    std::fs::create_dir_all(&folder).unwrap();
    std::fs::write(folder.join("intent"), "{\"up\":false,\"by\":\"operator\",\"since_ms\":1}").unwrap();
    assert!(ok(&env, &["exec", "job"]).contains("nothing is due"));
    assert_eq!(runs(&env), []);
    // A person's own run is that person's word.
    ok(&env, &["exec", "job", "--extra"]);
    assert_eq!(only(&env).claim.trigger, Trigger::Operator);
}

#[test]
fn the_end_of_a_run_is_no_error_of_the_calendar_and_one_of_who_asked() {
    let env = with_due_slot(&[sh("echo TOKEN=sk-proj-0123456789abcdefghij >&2; exit 7", "")], "");
    ok(&env, &["exec", "job"]);
    let text = ends_with(&env, 3, &["exec", "job", "--extra"]);
    assert!(
        text.contains("task job: failed: step 1 of 1 (sh): exit code 7") && text.contains("supervisor logs job"),
        "{text}"
    );
    let finished = journaled(&env, "task_finished");
    assert_eq!(finished.iter().map(|data| data["extra"].as_bool().unwrap()).collect::<Vec<_>>(), [false, true]);
    assert_eq!(finished[0]["stderr_tail"], "TOKEN=[redacted]");
    assert!(log(&env, "stderr").contains("supervisor: job: step 1 of 1 (sh): exit code 7\n"));
}

#[test]
fn steps_go_by_what_was_before_and_are_tried_again() {
    let steps = [
        sh("echo try $SUPERVISOR_ATTEMPT; [ $SUPERVISOR_ATTEMPT -ge 3 ]", ", retries = 2, retry_delay = \"0s\""),
        sh("exit 5", ", continue_on_failure = true"),
        sh("echo not this", ", if = \"ok\""),
        sh("echo cleanup; exit 3", ", if = \"failed\", success_exit_codes = [0, 3]"),
        "{ run = [\"/no/such/thing\"] }".into(),
        sh("echo nor this", ""),
    ];
    let env = Env::new(&task(&steps, ""));
    ends_with(&env, 3, &["exec", "job", "--extra"]);
    use StepOutcome::{Failed, NotStarted, Ok, Skipped};
    let (steps, end) = last(&env);
    assert_eq!(outcomes(&steps), [Ok, Failed, Skipped, Ok, NotStarted, Skipped]);
    assert_eq!((steps[0].tries, steps[1].code, steps[3].code), (3, Some(5), Some(3)));
    assert_eq!(end.state, SlotState::Failed);
    assert!(end.why.starts_with("step 5 of 6 (thing): the program /no/such/thing does not exist"), "{}", end.why);
    assert_eq!(log(&env, "stdout"), "try 1\ntry 2\ntry 3\ncleanup\n");
}

#[test]
fn a_run_goes_on_from_its_failed_step() {
    let steps = [
        sh("echo one >> {dir}/ran", ""),
        sh("echo two >> {dir}/ran; [ -e {dir}/mended ]", ""),
        sh("echo three >> {dir}/ran", ""),
    ];
    let env = with_due_slot(&steps, "");
    ok(&env, &["exec", "job"]);
    std::fs::write(env.dir().join("mended"), "").unwrap();
    ok(&env, &["exec", "job", "--extra", "--resume", &due().to_string()]);
    assert_eq!(std::fs::read_to_string(env.dir().join("ran")).unwrap(), "one\ntwo\ntwo\nthree\n");
    let run = runs(&env).pop().unwrap();
    assert_eq!(run.claim.resumes, Some(due()));
    assert_eq!(outcomes(&run.steps), [StepOutcome::Skipped, StepOutcome::Ok, StepOutcome::Ok]);
    let extra = run.claim.slot.to_string();
    assert!(ends_with(&env, 6, &["exec", "job", "--extra", "--resume", &extra]).contains("nothing to resume"));
    assert!(ends_with(&env, 2, &["exec", "job", "--extra", "--resume", "20200101T000000Z"]).contains("has no run"));
    assert!(ends_with(&env, 2, &["exec", "job", "--extra", "--resume", "yesterday"]).contains("names no run"));
}

#[test]
fn a_step_over_its_time_is_ended_with_all_that_it_started() {
    let deaf =
        sh("trap \"\" TERM; sleep 1000 & echo $! > {dir}/child; echo $$ > {dir}/pid; wait; wait", ", timeout = \"1s\"");
    let env = Env::new(&task(&[deaf], "stop_timeout = \"200ms\""));
    let text = ends_with(&env, 3, &["exec", "job", "--extra"]);
    assert!(text.contains("did not end within its timeout of 1s; it ignored SIGTERM and was killed"), "{text}");
    wait_dead(number_in(&env, "pid"));
    wait_dead(number_in(&env, "child"));
    let (steps, end) = last(&env);
    assert_eq!((steps[0].outcome, end.state), (StepOutcome::TimedOut, SlotState::Failed));
    // The whole job has a limit, too.
    env.configure(&task(&[sh("sleep 1000", ""), sh("echo more", "")], "max_runtime = \"500ms\""));
    assert!(ends_with(&env, 3, &["exec", "job", "--extra"]).contains("too-long"));
    assert_eq!(outcomes(&last(&env).0), [StepOutcome::TimedOut, StepOutcome::Skipped]);
}

#[test]
fn what_a_step_leaves_in_its_group_ends_with_it_and_what_left_the_group_keeps_nobody_waiting() {
    let steps = [
        sh("sleep 1000 & echo $! > {dir}/group", ""),
        sh("perl {dir}/away {dir}/gone & while [ ! -e {dir}/gone ]; do sleep 0.01; done; echo done", ""),
    ];
    let env = with_away(Env::new(&task(&steps, "")));
    ok(&env, &["exec", "job", "--extra"]);
    wait_dead(number_in(&env, "group"));
    let gone = number_in(&env, "gone");
    assert!(alive(gone), "it has left on purpose");
    assert_eq!(last(&env).1.state, SlotState::Ran);
    end(gone, Signal::SIGKILL);
}

#[test]
fn a_flood_is_bounded_and_keeps_nothing_from_ending() {
    const FLOOD: u64 = 100_000_000;
    let env = Env::new(&task(&[sh(&format!("yes 0123456789abcdef | head -c {FLOOD}; echo; echo last"), "")], ""));
    ok(&env, &["exec", "job", "--extra"]);
    let file = |n: usize| -> PathBuf {
        let number = if n == 0 { String::new() } else { format!(".{n}") };
        env.state_dir().join(format!("logs/job-stdout.log{number}"))
    };
    let sizes: Vec<u64> = (0..10).map_while(|n| file(n).metadata().ok()).map(|data| data.len()).collect();
    assert_eq!(sizes.len(), 6);
    // Those between the first, which is cut at the newest bytes, and the oldest that is kept: each as long as a file may be.
    assert!(sizes[1..].iter().all(|size| (10 << 20..(10 << 20) + 100).contains(size)), "{sizes:?}");
    assert!(log(&env, "stdout").ends_with("last\n"));
    // No byte is lost or doubled at the seams.
    for n in 1..5 {
        let text = std::fs::read_to_string(file(n)).unwrap();
        assert!(text.lines().all(|line| line == "0123456789abcdef"), "file {n}");
    }
    // One that never ends is ended in the middle of it.
    env.configure(&task(&[sh("yes", ", timeout = \"500ms\"")], "stop_timeout = \"1s\""));
    ends_with(&env, 3, &["exec", "job", "--extra"]);
    assert_eq!(last(&env).0[0].outcome, StepOutcome::TimedOut);
}

#[test]
fn a_run_that_is_stopped_says_who_wanted_it() {
    let steps = [sh("echo $$ > {dir}/pid; exec sleep 1000", ""), sh("echo more", "")];
    let env = with_due_slot(&steps, "");
    let mut run = start(&env, &["exec", "job"]);
    let step = number_in(&env, "pid");
    assert!(slots(&env).read_one(due()).unwrap().running);
    // Nobody else runs it meanwhile.
    assert!(ok(&env, &["exec", "job"]).contains("it runs already"));
    assert!(ends_with(&env, 6, &["exec", "job", "--extra"]).contains(&format!("runs already (pid {})", pid_of(&run))));
    assert!(slots(&env).stop(due(), "stopped by the operator").unwrap());
    assert_eq!(exit_code(&mut run), Some(0));
    wait_dead(step);
    let (records, end) = last(&env);
    assert_eq!(outcomes(&records), [StepOutcome::Cancelled, StepOutcome::Skipped]);
    assert_eq!((end.state, end.why.as_str()), (SlotState::Cancelled, "stopped by the operator"));
    std::fs::remove_file(env.dir().join("pid")).unwrap();
    let mut run = start(&env, &["exec", "job", "--extra"]);
    number_in(&env, "pid");
    signal(pid_of(&run), Signal::SIGTERM);
    assert_eq!(exit_code(&mut run), Some(3));
    assert!(last(&env).1.why.contains("by its service manager"));
}

#[test]
fn only_a_persons_second_word_cuts_a_steps_time_short() {
    // It says that it was told, and goes on until it may end.
    let steps = [sh(
        "trap \"echo told\" TERM; echo $$ > {dir}/pid.$SUPERVISOR_SLOT; while [ ! -e {dir}/gate ]; do echo on; sleep 0.02; done; echo bye",
        "",
    )];
    let env = with_due_slot(&steps, "stop_timeout = \"1h\"");
    let lines = || log(&env, "stdout").lines().count();
    // Whoever moves its output has looked for signals before: after two turns it has seen what came until now.
    let seen = || {
        let now = lines();
        wait_for("its output to go on", || (lines() >= now + 10).then_some(()));
    };
    let mut run = start(&env, &["exec", "job"]);
    number_in(&env, &format!("pid.{}", due()));
    let pid = pid_of(&run);
    for n in 0..3 {
        signal(pid, Signal::SIGTERM);
        seen();
        // A person's word is the first of that kind; scripts repeat what is no such word.
        assert!(
            if n == 1 {
                slots(&env).stop_by_person(due(), "stopped by the operator")
            } else {
                slots(&env).stop(due(), "replaced")
            }
            .unwrap()
        );
        seen();
    }
    assert!(log(&env, "stdout").contains("told\n"));
    std::fs::write(env.dir().join("gate"), "").unwrap();
    assert_eq!(exit_code(&mut run), Some(0));
    let (records, end) = last(&env);
    assert_eq!((records[0].outcome, records[0].code, records[0].signal), (StepOutcome::Cancelled, Some(0), None));
    assert!(end.why.contains("by its service manager") && log(&env, "stdout").ends_with("bye\n"), "{}", end.why);
    // The command, said twice.
    std::fs::remove_file(env.dir().join("gate")).unwrap();
    let mut run = start(&env, &["exec", "job", "--extra"]);
    let slot = wait_for("the next run", || runs(&env).into_iter().find(|run| run.claim.slot != due())).claim.slot;
    let step = number_in(&env, &format!("pid.{slot}"));
    let mut first = start(&env, &["tasks", "stop", "job"]);
    wait_for("its first word", || slots(&env).stop_asked(slot));
    seen();
    assert!(alive(step));
    assert!(ok(&env, &["tasks", "stop", "job"]).contains("stopped by the operator"));
    assert_eq!((exit_code(&mut first), exit_code(&mut run)), (Some(0), Some(3)));
    wait_dead(step);
    let (records, end) = last(&env);
    assert_eq!(end.why, "stopped by the operator; step 1 of 1 (sh) was killed at once");
    assert_eq!(records[0].signal.map(|signal| signal.0), Some(Signal::SIGKILL as i32));
}

#[test]
fn no_slot_is_taken_by_a_run_that_has_no_pipes_or_no_journal() {
    let env = with_due_slot(&[sh("echo run", "")], "");
    for (place, what) in [
        ("supervisor/runners/job.journal", "cannot write the journal of task job"),
        ("supervisor/services/job/stdout.fifo", "cannot open the pipes of task job"),
    ] {
        let in_the_way = env.state_dir().join(place);
        std::fs::create_dir_all(&in_the_way).unwrap();
        for args in [&["exec", "job"][..], &["exec", "job", "--extra"]] {
            let text = ends_with(&env, 70, args);
            assert!(text.contains(what) && text.contains("nothing was begun"), "{text}");
        }
        assert_eq!(runs(&env), [], "somebody else may");
        std::fs::remove_dir(&in_the_way).unwrap();
    }
    ok(&env, &["exec", "job"]);
    assert_eq!(only(&env).end.unwrap().state, SlotState::Ran);
}

#[test]
fn a_maintenance_step_says_itself_why_it_failed() {
    let env = with_due_slot(&["{ builtin = \"verify-backup\" }".into()], "");
    let database = rusqlite::Connection::open(env.state_dir().join("observability.sqlite")).unwrap();
    database.execute_batch("CREATE TABLE theirs (x)").unwrap();
    ok(&env, &["exec", "job"]);
    let (steps, end) = last(&env);
    assert!(
        end.why.starts_with("step 1 of 1 (verify-backup): ") && end.why.contains("there is no copy"),
        "{}",
        end.why
    );
    assert!(!end.why.contains("hint") && !end.why.contains("exit code"), "{}", end.why);
    assert_eq!((steps[0].outcome, steps[0].code), (StepOutcome::Failed, Some(3)));
    assert_eq!(journaled(&env, "task_finished")[0]["why"], end.why);
}

#[test]
fn a_slot_whose_file_is_spoiled_has_failed_once_and_is_run_by_nobody() {
    let env = with_due_slot(&[sh("echo run >> {dir}/runs", "")], "");
    let path = env.state_dir().join("supervisor/slots/job").join(due().to_string());
    std::fs::write(&path, [0; 100]).unwrap();
    assert!(ok(&env, &["exec", "job"]).contains("nothing is due"));
    env.start_daemon();
    let end = wait_for("its end", || only(&env).end);
    assert_eq!(end.state, SlotState::Failed);
    assert!(end.why.starts_with("its file cannot be read ("), "{}", end.why);
    let rows = || rows_of(&env, "job").into_iter().filter(|row| row.is("task_finished")).collect::<Vec<_>>();
    wait_for("its row", || (!rows().is_empty()).then_some(()));
    let text = ok(&env, &["tasks", "job"]);
    assert!(text.contains("its file cannot be read"), "{text}");
    assert!(!home(&env, "runs").exists());
    // Neither a look nor a new daemon tells it again: one that starts another run has looked.
    env.stop_daemon();
    env.start_daemon();
    ok(&env, &["tasks", "run", "job"]);
    wait_for("the row of another run", || (rows().len() > 1).then_some(()));
    let spoiled = runs(&env).into_iter().find(|run| run.claim.slot == due()).unwrap();
    assert_eq!((rows().len(), spoiled.end), (2, Some(end)));
    assert_eq!(std::fs::read_to_string(home(&env, "runs")).unwrap(), "run\n", "the one that was asked for");
}

#[test]
fn a_run_that_ends_what_a_dead_one_has_left_can_be_stopped_meanwhile() {
    let deaf = "trap \"\" TERM; echo $$ > {dir}/pid.$SUPERVISOR_SLOT; while :; do sleep 0.05; done";
    let env = with_due_slot(&[sh(deaf, "")], "stop_timeout = \"1h\"");
    let mut run = start(&env, &["exec", "job"]);
    let step = number_in(&env, &format!("pid.{}", due()));
    run.kill().unwrap();
    run.wait().unwrap();
    let mut next = start(&env, &["exec", "job", "--extra"]);
    wait_for("the next run", || runs(&env).into_iter().find(|run| run.claim.slot != due()));
    signal(pid_of(&next), Signal::SIGTERM);
    assert_eq!(exit_code(&mut next), Some(3));
    assert!(alive(step), "nobody has waited for its end");
    let (steps, end) = last(&env);
    assert_eq!((outcomes(&steps), end.state), (vec![StepOutcome::Skipped], SlotState::Cancelled));
    end_of(step);
}

fn end_of(step: i32) {
    end(step, Signal::SIGKILL);
    wait_dead(step);
}

#[test]
fn a_run_that_was_killed_leaves_no_second_copy_and_none_of_its_output() {
    let script = "echo $$ > {dir}/pid.$SUPERVISOR_SLOT; echo before; while [ ! -e {dir}/gate ]; do sleep 0.01; done; echo after; \
                  touch {dir}/said; exec sleep 1000";
    let env = with_due_slot(&[sh(script, "")], "");
    let mut run = start(&env, &["exec", "job"]);
    let step = number_in(&env, &format!("pid.{}", due()));
    wait_for("its output", || log(&env, "stdout").contains("before").then_some(()));
    run.kill().unwrap();
    run.wait().unwrap();
    // The step goes on: neither its output nor its pipe breaks.
    std::fs::write(env.dir().join("gate"), "").unwrap();
    wait_file(&home(&env, "said"));
    assert!(alive(step));
    let found = only(&env);
    assert_eq!((found.running, found.end, found.began_ms.is_some()), (false, None, true));
    assert_eq!(slots(&env).leftover(due()).len(), 1);
    assert!(journaled(&env, "task_finished").is_empty(), "that is for who accounts for it");
    // The next run ends what is left, and only then begins.
    let mut next = start(&env, &["exec", "job", "--extra"]);
    let extra = wait_for("the next run", || runs(&env).into_iter().find(|run| run.claim.slot != due()));
    let other = number_in(&env, &format!("pid.{}", extra.claim.slot));
    // (Its zombie is another's to reap.)
    wait_dead(step);
    assert!(alive(other));
    assert!(log(&env, "stdout").starts_with("before\nafter\n"));
    assert!(log(&env, "stderr").contains(&format!("ended what the run {}, which was killed, had left: 1", due())));
    signal(pid_of(&next), Signal::SIGTERM);
    assert_eq!(exit_code(&mut next), Some(3));
    wait_dead(other);
}
