//! traces.txt, read and held against the machine: once as it goes, and once more with the daemon killed after each line.

use serde_json::{Value, json};

use super::world::{BASE_MS, World, unit};
use crate::machine::alerts::Heard;
use crate::model::{EventType, Notice, Rule, Silence, SlotKey, UnitName};

const TRACES: &str = include_str!("../traces.txt");

/// `5m1ms`, in ms.
fn ms(text: &str) -> i64 {
    try_ms(text).unwrap_or_else(|| panic!("not a time: {text}"))
}

fn try_ms(text: &str) -> Option<i64> {
    let (mut rest, mut total) = (text, 0);
    while !rest.is_empty() {
        let end = rest.find(|c: char| !c.is_ascii_digit()).filter(|end| *end > 0)?;
        let number: i64 = rest[..end].parse().ok()?;
        let after = &rest[end..];
        let unit_end = after.find(|c: char| c.is_ascii_digit()).unwrap_or(after.len());
        let size = match &after[..unit_end] {
            "ms" => 1,
            "s" => 1000,
            "m" => 60_000,
            "h" => 3_600_000,
            "d" => 86_400_000,
            _ => return None,
        };
        total += number * size;
        rest = &after[unit_end..];
    }
    Some(total)
}

fn lasting_ms(mut ms: i64) -> String {
    let mut text = String::new();
    for (unit, size) in [("d", 86_400_000), ("h", 3_600_000), ("m", 60_000), ("s", 1000), ("ms", 1)] {
        if ms >= size {
            text.push_str(&format!("{}{unit}", ms / size));
            ms %= size;
        }
    }
    if text.is_empty() { "0s".into() } else { text }
}

fn shown(notice: &Notice) -> String {
    let alert = &notice.alert;
    let service = alert.service.as_ref().map_or("-", UnitName::as_str);
    let at = lasting_ms(notice.at_ms - BASE_MS);
    let mut text =
        format!("{at} {} {} {service} {} x{}", notice.kind.as_str(), alert.rule, alert.severity, alert.count);
    for said in
        std::iter::once(&alert.title).chain(&alert.facts).chain([&alert.outcome]).filter(|said| !said.is_empty())
    {
        text.push_str(&format!(" | {said}"));
    }
    text
}

/// `[time] kind rule service [severity] [xN] [~words [!~words that are not there]]`: whether that is what was told.
fn fits(wanted: &str, actual: &str) -> bool {
    let (wanted, words) = wanted.split_once('~').unwrap_or((wanted, ""));
    let (words, without) = words.split_once("!~").unwrap_or((words, "\0"));
    let (head, said) = actual.split_once(" | ").unwrap_or((actual, ""));
    let mut tokens: Vec<&str> = wanted.split_whitespace().collect();
    let is: Vec<&str> = head.split_whitespace().collect();
    if tokens.first().and_then(|first| try_ms(first)).is_some() && tokens.remove(0) != is[0] {
        return false;
    }
    tokens.len() >= 3
        && tokens[..3] == is[1..4]
        && tokens[3..].iter().all(|t| is[4..].contains(t))
        && said.contains(words.trim())
        && !said.contains(without.trim())
}

/// One line of a trace.
fn play(world: &mut World, line: &str) {
    let (time, event) = line.split_once(' ').unwrap_or((line, "wait"));
    world.advance(ms(time));
    happen(world, event);
    if world.cuts {
        world.restart();
    }
}

/// Something happens now.
pub(super) fn happen(world: &mut World, line: &str) {
    let (rest, says) = line.split_once(" says ").map_or((line, None), |(rest, says)| (rest, Some(says)));
    let words: Vec<&str> = rest.split_whitespace().collect();
    let name = |at: usize| unit(words.get(at).unwrap_or_else(|| panic!("no service in: {line}")));
    let mut more = says.map_or(json!({}), |says| json!({ "stderr_tail": says.replace("\\n", "\n") }));
    let ends = |world: &mut World, class: &str, more: Value| {
        world.end(&name(1), class, more);
        world.start(&name(1));
    };
    match words[0] {
        "wait" => {}
        "daemon" => world.restart(),
        "sleep" => world.sleep(ms(words[1])),
        "reboot" => world.reboot(ms(words[1])),
        "start" => world.start(&name(1)),
        "ready" => world.record(EventType::ServiceReady, Some(&name(1)), json!({ "run_id": world.runs[&name(1)] })),
        "adopted" => {
            world.record(EventType::RunnerAdopted, Some(&name(1)), json!({ "run_id": world.runs[&name(1)] }));
        }
        "crash" | "dies" => {
            match words.get(2) {
                Some(&"code") => more["exit_code"] = words[3].parse::<i64>().unwrap().into(),
                Some(&"signal") => (more["exit_code"], more["signal"]) = (Value::Null, words[3].into()),
                Some(&"oom") => more["out_of_memory"] = words[3].into(),
                _ => {}
            }
            world.end(&name(1), "crash", more);
            if words[0] == "crash" {
                world.start(&name(1));
            }
        }
        "crashes" => {
            let (count, gap) = (words[2].parse::<i64>().unwrap(), ms(words[4]));
            for _ in 0..count {
                world.advance(world.now + gap);
                ends(world, "crash", more.clone());
            }
        }
        "exit" | "finishes" => {
            world.end(&name(1), "recycled", json!({ "exit_code": 0, "uptime_ms": ms(words[2]) }));
            if words[0] == "exit" {
                world.start(&name(1));
            }
        }
        "hang" => {
            let run = world.runs[&name(1)];
            world.record(EventType::ServiceHung, Some(&name(1)), json!({ "run_id": run, "why": "no answer for 35s" }));
            ends(world, "hung", json!({ "cause": "hung" }));
        }
        "hung-end" => ends(world, "hung", json!({ "cause": "hung" })),
        "timeout" => ends(world, "start_timeout", json!({ "cause": "start_timeout" })),
        "overmem" => ends(world, "over_memory", json!({ "cause": "over_memory" })),
        "lost" => ends(world, "lost", json!({ "exit_code": null, "uptime_ms": null })),
        "stop" => world.end(&name(1), "requested", json!({ "cause": "operator" })),
        "shutdown" => world.end(&name(1), "requested", json!({ "cause": "shutdown" })),
        "restart" => {
            world.record(
                EventType::ServiceRestart,
                Some(&name(1)),
                json!({ "run_id": world.runs[&name(1)], "by": "me" }),
            );
            ends(world, "requested", json!({ "cause": "operator" }));
        }
        "reload" | "upgrade" => ends(world, "requested", json!({ "cause": words[0] })),
        "stopped" => world.tell(Heard::Stopped(&name(1))),
        "refuse" | "refuse-again" => {
            world.end(&name(1), "refused", json!({ "exit_code": 78 }));
            if words[0] == "refuse" {
                let data = json!({ "run_id": world.runs[&name(1)], "reason": "exit code 78 (EX_CONFIG)", "remedy": "mend the file" });
                world.record(EventType::ServiceHeld, Some(&name(1)), data);
            }
        }
        "held" => {
            let data =
                json!({ "run_id": world.runs[&name(1)], "reason": "port 1 is taken by node (pid 5)", "remedy": "" });
            world.record(EventType::ServiceHeld, Some(&name(1)), data);
        }
        "silent" => {
            let number = |key: &str| {
                let at = words.iter().position(|word| *word == key);
                at.map_or(0, |at| try_ms(words[at + 1]).unwrap_or_else(|| words[at + 1].parse().unwrap()))
            };
            let data = json!({
                "run_id": world.runs[&name(1)], "pid": 7, "reason": "not one byte came in 5 s",
                "failing_since_ms": BASE_MS + world.now - 35_000, "failed_probes": 4, "tolerated_ms": 35_000,
                "uptime_ms": 720_000, "evidence": "gateway-7.txt", "restart_in_ms": number("waits"),
                "unhelped": number("unhelped"),
            });
            world.record(EventType::ServiceHung, Some(&name(1)), data);
        }
        "part" | "slow-start" => {
            let mut data = json!({ "run_id": world.runs[&name(1)], "cleared": words.last() == Some(&"over") });
            match words[0] {
                "part" => (data["part"], data["reason"]) = (words[2].into(), says.into()),
                _ => (data["start"], data["reason"]) = (true.into(), says.into()),
            }
            world.record(EventType::ProbeDegraded, Some(&name(1)), data);
        }
        "grows" => {
            let hours_left =
                words.iter().position(|word| *word == "left").map(|at| words[at + 1].parse::<f64>().unwrap());
            let data = json!({
                "run_id": world.runs[&name(1)], "severity": words[2], "bytes": 626_000_000, "metric": "anon+swap",
                "limit": 3_u64 << 30, "since_ms": BASE_MS + world.now - ms("15h"), "bytes_per_hour": 14_680_064.0,
                "low": 13_000_000.0, "high": 16_000_000.0, "grown": 220_200_960.0, "hours": 15.0, "hours_left": hours_left,
                "of": words.last().filter(|word| **word == "heap"),
            });
            world.record(EventType::MemoryGrowth, Some(&name(1)), data);
        }
        "level" => {
            let unhelped =
                words.get(4).map_or(u64::from(words.get(3) == Some(&"critical")), |many| many.parse().unwrap());
            let data = json!({
                "run_id": world.runs[&name(1)], "stage": words[2], "severity": words[3], "bytes": 3_300_000_000_u64,
                "metric": "footprint", "limit": 3_u64 << 30, "quiet": true, "max_wait_ms": ms("24h"), "chance": "quiet",
                "waited_ms": ms("3h"), "unhelped": unhelped, "restart_in_ms": ms("20m"),
            });
            world.record(EventType::MemoryLimit, Some(&name(1)), data);
        }
        "growth" | "limit" | "probe" | "hangs" => {
            let event = match words[0] {
                "growth" => EventType::MemoryGrowth,
                "limit" => EventType::MemoryLimit,
                "hangs" => EventType::ServiceHung,
                _ => EventType::ProbeMisconfigured,
            };
            let run = world.runs[&name(1)];
            world.record(
                event,
                Some(&name(1)),
                json!({ "run_id": run, "reason": says, "cleared": words.get(2) == Some(&"over"),
                    "of": words.get(3).filter(|word| **word == "heap") }),
            );
        }
        "task" => {
            let due_ms = BASE_MS + world.now - ms(words.get(3).copied().unwrap_or("12s"));
            let extra = words.get(4) == Some(&"extra");
            let slot = if extra { SlotKey::Extra(due_ms) } else { SlotKey::Due(due_ms) };
            let step = |step: u32, what: &str, outcome: &str, why: Option<&str>| {
                json!({ "step": step, "what": what, "outcome": outcome, "tries": step, "code": step - 1, "signal": null,
                    "awake_ms": 5000, "why": why })
            };
            let mut data = json!({
                "slot": slot, "due_ms": due_ms, "extra": extra, "result": words[2], "why": "", "timing": "in-time",
                "trigger": "manager", "awake_ms": 10_000, "wall_ms": 10_000, "frozen_ms": 0, "run_id": null,
                "steps": [step(1, "mkdir", "ok", None)],
            });
            if words[2] == "failed" {
                let bad = step(2, "pg_dump", "failed", None);
                data["steps"] = json!([step(1, "mkdir", "ok", None), bad, step(3, "upload", "skipped", None)]);
                data["stderr_tail"] = json!("pg_dump: error: no such database\n");
            }
            world.record(EventType::TaskFinished, Some(&name(1)), data);
        }
        "missed" => {
            let count: i64 = words.get(3).map_or(1, |count| count.parse().unwrap());
            let last = BASE_MS + world.now - 3_600_000;
            let slots: Vec<i64> = (0..count).rev().map(|n| last - n * 86_400_000).collect();
            let made_up_by = words.get(4).map(|_| SlotKey::Due(last + 60_000));
            let data = json!({
                "slot": SlotKey::Due(last), "slots": slots, "count": count, "result": words[2], "why": "the machine slept",
                "made_up_by": made_up_by, "run_id": null,
            });
            world.record(EventType::TaskMissed, Some(&name(1)), data);
        }
        "exposure" => {
            let (event, data) = match words[2] {
                "up" => (EventType::ExposureUp, json!({ "tries": 1 })),
                "down" => (EventType::ExposureDown, json!({ "work": "check", "why": "ended with exit code 1" })),
                "failed" => (
                    EventType::ExposureFailed,
                    json!({ "work": "ensure", "tries": 5, "held": false, "why": "ended with exit code 1" }),
                ),
                undo => (
                    EventType::ExposureUndone,
                    json!({ "result": undo.trim_start_matches("undo-"), "why": "ended with exit code 2" }),
                ),
            };
            world.record(event, Some(&name(1)), data);
        }
        "drift" => {
            let failed = words.get(3).copied().filter(|_| words[2] != "over");
            let data = json!({
                "label": "l", "layer": "disk", "what": "the file is gone", "repair": words[2], "failed": failed,
                "cleared": words[2] == "over",
            });
            let about = Some(name(1)).filter(|name| name.as_str() != "daemon");
            world.record(EventType::DriftFound, about.as_ref(), data);
        }
        "gap" => {
            let up = BASE_MS + world.now;
            let last = up - ms(words[1]);
            let boot = if words.get(2) == Some(&"boot") { up - 20_000 } else { last - 1_000_000 };
            let gap = json!({ "last_alive_ms": last, "boot_ms": boot, "up_ms": up, "why": "killed" });
            world.record(EventType::SupervisorStart, None, json!({ "run_id": null, "gap": gap }));
        }
        "goodbye" => world.record(EventType::SupervisorStart, None, json!({ "run_id": null })),
        "db" => {
            world.sick_since = (words[1] == "sick").then_some(BASE_MS + world.now);
            world.tell(Heard::Database(world.sick_since.map(|since| (since, "disk full"))));
        }
        "ack" => {
            let ids: Vec<String> =
                world.stored.alerts.values().filter(|alert| alert.is_open()).map(|alert| alert.id.clone()).collect();
            assert!(!ids.is_empty(), "nothing to acknowledge: {line}");
            ids.iter().for_each(|id| world.tell(Heard::Acknowledge(id)));
        }
        "silence" => {
            world.silence_count += 1;
            let some = |word: &str| (word != "*").then(|| word.to_owned());
            world.tell(Heard::Silence(Silence {
                id: world.silence_count,
                service: some(words[1]).map(|name| unit(&name)),
                rule: some(words[2]).map(|rule| Rule::parse(&rule).unwrap()),
                from_ms: BASE_MS + world.now,
                until_ms: BASE_MS + world.now + ms(words[3]),
            }));
        }
        "unsilence" => world.tell(Heard::Unsilence(words[1].parse().unwrap())),
        "program" => {
            world.programs.insert(name(1), words[2].into());
        }
        "undeclare" => {
            world.declared.units.remove(&name(1));
            world.tell(Heard::Declared(Box::new(world.declared.clone())));
        }
        "reminders" => {
            world.declared.spec.reminders =
                words[1..].iter().map(|gap| std::time::Duration::from_millis(ms(gap) as u64)).collect();
            world.tell(Heard::Declared(Box::new(world.declared.clone())));
        }
        "test" => world.tell(Heard::Test(words[1])),
        "weekly" => world.tell(Heard::Weekly { key: words[1], lines: vec!["gateway: crashed once".into()] }),
        other => panic!("no such event: {other} in: {line}"),
    }
}

/// All lines of one trace; what is wrong with it, if anything is.
fn run(lines: &[(usize, &str)], cuts: bool) -> Result<(), String> {
    let mut world = World::new(cuts);
    let mut told = 0;
    let mut at = 0;
    while at < lines.len() {
        let (number, line) = lines[at];
        if let Some(open) = line.strip_prefix("open:") {
            let found: Vec<String> = world
                .machine
                .open()
                .map(|alert| format!("{} {}", alert.rule, alert.service.as_ref().map_or("-", UnitName::as_str)))
                .collect();
            let wanted: Vec<String> = open.split(',').map(|w| w.trim().to_owned()).filter(|w| !w.is_empty()).collect();
            if found != wanted {
                return Err(format!("line {number}: open are {found:?}, not {wanted:?}"));
            }
            at += 1;
            continue;
        }
        if !line.starts_with("=>") {
            play(&mut world, line);
            at += 1;
            continue;
        }
        let wanted: Vec<&str> =
            lines[at..].iter().map_while(|(_, line)| line.strip_prefix("=>")).map(str::trim).collect();
        at += wanted.len();
        let actual: Vec<String> = world.stored.notices[told..].iter().map(shown).collect();
        told = world.stored.notices.len();
        let wanted: Vec<&str> = wanted.into_iter().filter(|wanted| *wanted != "nothing").collect();
        if wanted.len() != actual.len() || !wanted.iter().zip(&actual).all(|(wanted, actual)| fits(wanted, actual)) {
            return Err(format!(
                "line {number}: expected\n    {}\n  and told was\n    {}",
                wanted.join("\n    "),
                actual.join("\n    ")
            ));
        }
    }
    let left: Vec<String> = world.stored.notices[told..].iter().map(shown).collect();
    if left.is_empty() { Ok(()) } else { Err(format!("told and not expected:\n    {}", left.join("\n    "))) }
}

#[test]
fn each_trace_gives_the_alerts_that_stand_in_it() {
    let lines =
        TRACES.lines().zip(1..).map(|(line, number)| (number, line.split('#').next().unwrap_or_default().trim()));
    let mut traces: Vec<(&str, Vec<(usize, &str)>)> = Vec::new();
    for (number, line) in lines.filter(|(_, line)| !line.is_empty()) {
        match line.strip_prefix("== ") {
            Some(name) => traces.push((name, Vec::new())),
            None => traces.last_mut().expect("a trace begins with ==").1.push((number, line)),
        }
    }
    assert!(traces.len() >= 60, "only {} traces", traces.len());
    let mut wrong = Vec::new();
    for (name, lines) in &traces {
        for cuts in [false, true] {
            if let Err(why) = run(lines, cuts) {
                let how = if cuts { ", with the daemon killed after each line" } else { "" };
                wrong.push(format!("{name}{how}:\n  {why}"));
            }
        }
    }
    assert!(wrong.is_empty(), "{} wrong\n\n{}", wrong.len(), wrong.join("\n\n"));
}

/// The test above would be worth nothing if this did not see anything.
#[test]
fn a_wrong_trace_is_seen() {
    let crashes = [(1, "0s crash gateway"), (2, "1m crash gateway"), (3, "2m crash gateway")];
    let with = |line| crashes.iter().copied().chain([(4, line)]).collect::<Vec<_>>();
    assert_eq!(run(&with("=> 2m fired crash-loop gateway warning x3 ~3 times in 2m"), false), Ok(()));
    for wrong in [
        "=> nothing",
        "=> 1m fired crash-loop gateway",
        "=> fired storm gateway",
        "=> fired crash-loop gateway x4",
        "=> fired crash-loop gateway ~4 times",
        "open:",
    ] {
        let said = run(&with(wrong), false).expect_err(wrong);
        assert!(said.contains("line 4"), "{said}");
    }
    assert!(run(&crashes, false).is_err_and(|said| said.contains("2m fired crash-loop gateway")));
}
