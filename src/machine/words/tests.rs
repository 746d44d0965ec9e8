//! The words for each status.

use std::time::Duration;

use super::*;
use crate::model::{Exit, Intent, Latencies, PartInfo, ProbeKind, ProbeSpec, StartInfo, Verdict};

/// 2026-11-22 10:03:00 UTC.
const NOW: i64 = 1_795_341_780_000;
const MINUTE: i64 = 60_000;
const HOUR: i64 = 60 * MINUTE;

fn view(status: Status) -> RunView {
    RunView {
        name: UnitName::new("gateway").unwrap(),
        epoch: 0,
        status,
        reason: String::new(),
        remedy: String::new(),
        pid: None,
        run_id: 7,
        ready: false,
        since_ms: NOW - 12 * MINUTE,
        started_ms: None,
        next_start_ms: None,
        restart_attempt: 0,
        last_exit: None,
        intent: Intent::default(),
        adopted: false,
        log_dropped: 0,
        beat: None,
        program: None,
    }
}

fn health(verdict: Verdict, failure: Option<&str>) -> HealthInfo {
    HealthInfo {
        verdict,
        latency_ms: Some(2.0),
        checked_ms: Some(NOW),
        failure: failure.map(Into::into),
        ..HealthInfo::default()
    }
}

fn crash() -> LastExit {
    LastExit { signal: Some("SIGKILL".into()), ..LastExit::new(ExitClass::Crash, Exit::Unknown, NOW - 5000) }
}

fn short(view: &RunView, health: Option<&HealthInfo>) -> String {
    why_short(view, health, Reader { now_ms: NOW, zone: &TimeZone::UTC })
}

fn long(view: &RunView, health: Option<&HealthInfo>) -> String {
    why(view, health, None, Reader { now_ms: NOW, zone: &TimeZone::UTC })
}

#[test]
fn lengths_of_time() {
    for (ms, text) in [
        (-5, "0s"),
        (999, "0s"),
        (12_000, "12s"),
        (60_000, "1m"),
        (61_000, "1m 1s"),
        (3 * HOUR + 2 * MINUTE + 59_000, "3h 2m"),
        (HOUR + 30_000, "1h"),
        (24 * HOUR, "1d"),
        (100 * HOUR, "4d 4h"),
        (400 * 24 * HOUR, "400d"),
    ] {
        assert_eq!(lasting(ms), text);
    }
}

#[test]
fn short_times_are_told_exactly() {
    let table = [(0, "0ms"), (1, "1ms"), (700, "700ms"), (3500, "3.5s"), (35_000, "35s"), (60_500, "1m")];
    for (ms, text) in table {
        assert_eq!(exactly(ms), text);
    }
}

#[test]
fn sizes_are_told_in_the_greatest_unit() {
    for (bytes, text) in [
        (0, "0 B"),
        (1023, "1023 B"),
        (1024, "1.0 KiB"),
        (12_697, "12.3 KiB"),
        ((1 << 20) - 1, "1023.9 KiB"),
        (3 << 29, "1.5 GiB"),
        (u64::MAX, "17179869183.9 GiB"),
    ] {
        assert_eq!(size(bytes), text);
    }
}

#[test]
fn points_in_time_are_shown_in_the_zone_asked_for() {
    assert_eq!(local(NOW, &TimeZone::UTC), "2026-11-22 10:03");
    assert_eq!(local_seconds(NOW, &TimeZone::fixed(jiff::tz::offset(-5))), "2026-11-22 05:03:00");
    assert_eq!(local(i64::MAX, &TimeZone::UTC), "9223372036854775807 ms after 1970");
}

#[test]
fn the_table_says_why_in_a_few_words() {
    let reason = |status, text: &str| RunView { reason: text.into(), ..view(status) };
    let mut held = reason(Status::Held, "exit code 78");
    held.next_start_ms = Some(NOW + 3 * MINUTE);
    held.remedy = "~/.openclaw/openclaw.json changes".into();
    let mut waiting = RunView { last_exit: Some(crash()), ..view(Status::Waiting) };
    waiting.next_start_ms = Some(NOW + 12_000);
    waiting.restart_attempt = 4;
    let stopped = Intent { up: false, by: "operator".into(), since_ms: NOW };
    let table = [
        (view(Status::Up), None, "up for 12m"),
        (view(Status::Up), Some(health(Verdict::Healthy, None)), "healthy for 12m"),
        (view(Status::Up), Some(health(Verdict::Unknown, None)), "up for 12m"),
        (view(Status::Starting), None, "starting for 12m"),
        (view(Status::Degraded), Some(health(Verdict::Degraded, Some("503"))), "degraded for 12m: 503"),
        (view(Status::Hung), Some(health(Verdict::Degraded, Some("no answer in 5s"))), "hung for 12m: no answer in 5s"),
        (reason(Status::Stopping, "operator"), None, "stopping for 12m: operator"),
        (waiting.clone(), None, "waiting: crashed (SIGKILL), next start in 12s; 4 automatic starts so far"),
        (
            RunView { next_start_ms: None, ..reason(Status::Waiting, "runner 812 has its lock") },
            None,
            "waiting: runner 812 has its lock",
        ),
        (RunView { next_start_ms: Some(NOW - 5), ..view(Status::Waiting) }, None, "waiting, next start now"),
        (
            held.clone(),
            None,
            "held for 12m: exit code 78 (EX_CONFIG); next try in 3m, or at once when \
             ~/.openclaw/openclaw.json changes or you say `supervisor start gateway`",
        ),
        (
            RunView { remedy: String::new(), next_start_ms: None, ..held.clone() },
            None,
            "held for 12m: exit code 78 (EX_CONFIG); next try when you say `supervisor start gateway`",
        ),
        (RunView { intent: stopped, ..view(Status::Down) }, None, "down since 2026-11-22 09:51: stopped by operator"),
        (
            RunView { last_exit: Some(LastExit { code: Some(1), signal: None, ..crash() }), ..view(Status::Failed) },
            None,
            "failed at 2026-11-22 09:51: exit code 1",
        ),
        (view(Status::Done), None, "done since 2026-11-22 09:51"),
        (RunView { next_start_ms: Some(NOW + HOUR), ..view(Status::Scheduled) }, None, "next run in 1h"),
        (view(Status::Disabled), None, "disabled in services.toml"),
        (reason(Status::Invalid, "services.toml:12: no such key"), None, "invalid: services.toml:12: no such key"),
    ];
    for (view, health, text) in table {
        assert_eq!(short(&view, health.as_ref()), text);
    }
}

#[test]
fn the_paragraph_says_what_why_since_when_and_what_would_change_it() {
    let mut held = RunView { reason: "exit code 78".into(), ..view(Status::Held) };
    held.next_start_ms = Some(NOW + 3 * MINUTE);
    held.remedy = "~/.openclaw/openclaw.json changes or you say `supervisor start gateway`".into();
    assert_eq!(
        long(&held, None),
        "gateway is held since 2026-11-22 09:51 (12m), as starting it again would not help: exit code 78 \
         (EX_CONFIG). Next try in 3m, or at once when ~/.openclaw/openclaw.json changes or you say `supervisor \
         start gateway`."
    );
    let up = RunView { pid: Some(7), adopted: true, log_dropped: 9, last_exit: Some(crash()), ..view(Status::Up) };
    assert_eq!(
        long(&up, Some(&health(Verdict::Healthy, None))),
        "gateway is up and healthy since 2026-11-22 09:51 (12m). Its run was taken over from a runner that had \
         died. The run before crashed (SIGKILL) 5s ago. 9 bytes of its output could not be written to its log."
    );
    let next = Some(NOW + 12_000);
    let waiting =
        RunView { next_start_ms: next, restart_attempt: 1, last_exit: Some(crash()), ..view(Status::Waiting) };
    assert_eq!(
        long(&waiting, None),
        "gateway waits for its next start since 2026-11-22 09:51 (12m). It has been started again once so \
         far. The next start is due in 12s (2026-11-22 10:03); `supervisor start gateway` starts it at once. \
         Its last run crashed (SIGKILL) 5s ago."
    );
}

#[test]
fn an_end_for_lack_of_memory_says_so() {
    for (word, said) in [
        ("v8", "crashed (SIGKILL: V8's heap was full)"),
        ("python", "crashed (SIGKILL: Python had no memory left)"),
        ("allocator", "crashed (SIGKILL: memory was not to be had)"),
        ("kernel", "crashed (SIGKILL: the kernel killed it for lack of memory)"),
        ("jetsam", "crashed (SIGKILL: macOS killed it for lack of memory)"),
        ("balloon", "crashed (SIGKILL: out of memory, balloon)"),
    ] {
        let end = LastExit { out_of_memory: Some(word.into()), ..crash() };
        assert_eq!(exit_text(&end), said);
    }
    let end = LastExit { out_of_memory: Some("kernel-likely".into()), ..crash() };
    let waiting = RunView { last_exit: Some(end), ..view(Status::Waiting) };
    let (short, long) = (short(&waiting, None), long(&waiting, None));
    assert!(long.contains("Its last run crashed (SIGKILL: likely the kernel killed it"), "{long}");
    assert!(short.contains("likely"), "{short}");
}

#[test]
fn every_status_has_both_forms_and_names_the_service() {
    for status in [
        Status::Up,
        Status::Starting,
        Status::Degraded,
        Status::Stopping,
        Status::Waiting,
        Status::Held,
        Status::Hung,
        Status::Down,
        Status::Done,
        Status::Failed,
        Status::Scheduled,
        Status::Running,
        Status::Disabled,
        Status::Invalid,
    ] {
        let view = view(status);
        assert!(!short(&view, None).is_empty());
        let paragraph = long(&view, None);
        assert!(paragraph.starts_with("gateway ") && paragraph.ends_with('.'), "{paragraph}");
        assert!(!paragraph.contains(".."), "{paragraph}");
    }
}

#[test]
fn nothing_is_made_up() {
    let at = Reader { now_ms: NOW, zone: &TimeZone::UTC };
    let mut dead = view(Status::Waiting);
    dead.run_id = 0;
    dead.started_ms = Some(NOW - HOUR);
    let info = service_info(&dead, 498, true, &Recorded::default(), None, at);
    assert_eq!((info.pid, info.uptime_s, info.run_id, info.restarts, info.health), (None, None, None, None, None));
    assert_eq!(info.runner_pid, Some(498));

    let recorded = Recorded { restarts: Some(RestartCounts::default()), last_exit: Some(crash()) };
    let up = RunView { pid: Some(512), started_ms: Some(NOW - HOUR), ..view(Status::Up) };
    let info = service_info(&up, 498, true, &recorded, None, at);
    assert_eq!((info.uptime_s, info.run_id, info.last_exit), (Some(3600), Some(7), Some(crash())));
}

fn gateways() -> HealthSpec {
    HealthSpec {
        probe: ProbeSpec { kind: ProbeKind::Tcp("127.0.0.1:1".into()), expect_status: 200, expect_json: None },
        interval: Duration::from_secs(10),
        timeout: Duration::from_secs(5),
        failures: 4,
        startup: None,
        parts: None,
        diagnostic_signal: None,
    }
}

fn part(name: &str, trouble: Option<&str>) -> PartInfo {
    let (ok, trouble) = (trouble.is_none(), trouble.map(Into::into));
    PartInfo { name: name.into(), ok, since_ms: NOW - 12 * MINUTE, trouble }
}

#[test]
fn each_verdict_has_its_words_in_the_table() {
    let with = |verdict, failure: Option<&str>, note: Option<&str>| HealthInfo {
        note: note.map(Into::into),
        ..health(verdict, failure)
    };
    let starting = |progress: Option<&str>| HealthInfo {
        start: Some(StartInfo {
            budget_ms: 300_000,
            learned_p95_ms: Some(40_000),
            learned_from: 20,
            first_of_program: false,
            progress: progress.map(Into::into),
        }),
        ..health(Verdict::Starting, Some("cannot connect"))
    };
    let waits = HealthInfo {
        restart_at_ms: Some(NOW + 20 * MINUTE),
        ..with(Verdict::Hung, Some("no answer in 5s"), Some("3 restarts did not help"))
    };
    let slow = HealthInfo {
        latencies: Some(Latencies { p50_ms: 80.0, p95_ms: 6200.0, p99_ms: 6900.0, answers: 40 }),
        ..health(Verdict::Degraded, None)
    };
    let mut parts = health(Verdict::Healthy, None);
    parts.parts = vec![part("telegram", Some("not connected")), part("slack", None)];
    let mut many = parts.clone();
    many.parts.extend([
        part("a", None),
        part("b", Some("x")),
        part("c", Some("y")),
        part("d", None),
        part("e", Some("z")),
    ]);
    let mut begun = view(Status::Starting);
    begun.since_ms = NOW - 130_000;
    begun.reason = "its probe has not had a good answer yet".into();
    let table = [
        (
            view(Status::Up),
            with(Verdict::Starved, Some("no answer"), Some("it waited for a processor 93 % of the time")),
            "up for 12m; the machine does not let it run: it waited for a processor 93 % of the time",
        ),
        (
            view(Status::Up),
            with(Verdict::Starved, Some("no answer"), None),
            "up for 12m; the machine does not let it run: no answer",
        ),
        (view(Status::Up), with(Verdict::Asleep, None, None), "up for 12m; the machine slept a moment ago"),
        (
            view(Status::Up),
            with(Verdict::Misconfigured, Some("/x answered 404 instead of 200"), None),
            "up for 12m; its probe asks the wrong question: /x answered 404 instead of 200",
        ),
        (
            view(Status::Up),
            with(Verdict::Unknown, Some("too many open files"), None),
            "up for 12m; its health is not known: too many open files",
        ),
        (
            view(Status::Degraded),
            slow,
            "degraded for 12m: its answers are slow (p50 80 ms, p95 6.2 s, p99 6.9 s of the last 40 answers)",
        ),
        (view(Status::Hung), with(Verdict::Hung, Some("no answer in 5s"), None), "hung for 12m: no answer in 5s"),
        (view(Status::Hung), waits, "hung for 12m: no answer in 5s; restarted at 10:23, as 3 restarts did not help"),
        (
            begun.clone(),
            starting(Some("working (CPU 41 s, log +12 KiB, port open)")),
            "starting for 2m 10s of 5m, working (CPU 41 s, log +12 KiB, port open)",
        ),
        (begun.clone(), starting(None), "starting for 2m 10s of 5m: its probe has not had a good answer yet"),
        (begun, health(Verdict::Starting, None), "starting for 2m 10s: its probe has not had a good answer yet"),
        (view(Status::Up), parts, "healthy for 12m; telegram: not connected for 12m"),
        (
            view(Status::Up),
            many,
            "healthy for 12m; telegram: not connected for 12m; b: x for 12m; 2 more parts not well",
        ),
        // What probes said of it before is over.
        (view(Status::Stopping), health(Verdict::Hung, Some("no answer")), "stopping for 12m"),
    ];
    for (view, health, text) in table {
        assert_eq!(short(&view, Some(&health)), text);
    }
}

#[test]
fn a_stranger_reads_when_it_was_well_what_is_tolerated_and_what_would_change_it() {
    let read = |status, health: &HealthInfo| {
        let at = Reader { now_ms: NOW, zone: &TimeZone::UTC };
        why(&view(status), Some(health), Some(&gateways()), at)
    };
    let mut hung = health(Verdict::Hung, Some("no answer in 5s."));
    assert_eq!(
        read(Status::Hung, &hung),
        "gateway gives no sign of life since 2026-11-22 09:51 (12m): no answer in 5s. Until then it answered. Silence is \
         tolerated for 35s; longer than that it is hung. It is restarted for that once it has been looked at; see \
         `supervisor events --evidence`."
    );
    hung.restart_at_ms = Some(NOW + 20 * MINUTE);
    hung.note = Some("3 restarts did not help".into());
    let waits = read(Status::Hung, &hung);
    assert!(
        waits.ends_with(
            "It is restarted at 10:23 (in 20m), as 3 restarts did not help; an answer before then ends the matter, and \
             `supervisor restart gateway` does not wait."
        ),
        "{waits}"
    );
    let wrong = health(Verdict::Misconfigured, Some("/x answered 404 instead of 200"));
    assert_eq!(
        read(Status::Up, &wrong),
        "gateway is up since 2026-11-22 09:51 (12m). It answers, and its probe asks the wrong question: /x answered 404 \
         instead of 200. It is not restarted for that, only after 35s without any sign of life. Mend \
         [service.gateway.health] in services.toml, and say `supervisor reload`."
    );
    let mut starved = health(Verdict::Starved, Some("no answer in 5s"));
    starved.failing_since_ms = Some(NOW - MINUTE);
    starved.note = Some("memory stalls it 40 % of the time".into());
    let text = read(Status::Up, &starved);
    for part in [
        "the machine does not let it run: memory stalls it 40 % of the time",
        "began 1m ago, and until then it answered: no answer in 5s",
        "nothing is done",
    ] {
        assert!(text.contains(part), "{text}");
    }
    assert_eq!(text.matches("memory stalls").count(), 1, "{text}");
    let mut shaky = health(Verdict::Healthy, Some("no answer in 5s"));
    shaky.failing_since_ms = Some(NOW - 12_000);
    shaky.parts = vec![part("telegram", Some("not connected"))];
    let text = read(Status::Up, &shaky);
    assert!(text.contains("began 12s ago") && text.contains("tolerated for 35s"), "{text}");
    assert!(text.contains("Its part telegram: not connected for 12m; the whole is not restarted for that."), "{text}");
    let start = StartInfo {
        budget_ms: 600_000,
        learned_p95_ms: Some(40_000),
        learned_from: 20,
        first_of_program: true,
        progress: Some("working (CPU 41 s)".into()),
    };
    let starting = HealthInfo { start: Some(start), ..health(Verdict::Starting, Some("cannot connect")) };
    assert_eq!(
        read(Status::Starting, &starting),
        "gateway is not ready yet: it is starting for 12m of 10m, working (CPU 41 s). Its probe says: cannot connect. Of 20 \
         former starts 19 in 20 took no more than 40s. Its program is new, so it has twice the time. It is restarted only \
         if it is not ready after 10m and shows no progress any more."
    );
}

#[test]
fn every_verdict_is_said_in_both_forms() {
    for verdict in [
        Verdict::Starting,
        Verdict::Healthy,
        Verdict::Degraded,
        Verdict::Hung,
        Verdict::Starved,
        Verdict::Asleep,
        Verdict::Misconfigured,
        Verdict::Unknown,
    ] {
        for status in [Status::Up, Status::Starting, Status::Degraded, Status::Hung] {
            for health in [HealthInfo { verdict, ..HealthInfo::default() }, health(verdict, Some("no answer."))] {
                let (short, long) = (short(&view(status), Some(&health)), long(&view(status), Some(&health)));
                assert!(!short.is_empty() && long.starts_with("gateway ") && long.ends_with('.'), "{short} / {long}");
                assert!(!long.contains("..") && !long.contains(": ."), "{long}");
            }
        }
    }
}

#[test]
fn lengths_of_answers() {
    for (ms, text) in
        [(0.04, "0.0 ms"), (2.13, "2.1 ms"), (9.97, "10 ms"), (80.4, "80 ms"), (999.6, "1.0 s"), (6200.0, "6.2 s")]
    {
        assert_eq!(millis(ms), text);
    }
}
