use super::openclaw::plist;
use super::*;
use crate::model::{ProcessType, RestartMode, Schedule, StepAction};

/// An agent with a program and what else is said.
fn agent(body: &str) -> String {
    plist(&format!(
        "<key>Label</key><string>com.example.thing</string>\n<key>ProgramArguments</key>\
         <array><string>/usr/bin/thing</string></array>\n{body}"
    ))
}

fn one(body: &str) -> (Imported, ServiceSpec) {
    service("com.example.thing.plist", &agent(body))
}

fn timed(body: &str) -> (Imported, TaskSpec) {
    task("com.example.thing.plist", &agent(body))
}

#[test]
fn keep_alive_in_all_its_forms() {
    let dict = |body: &str| format!("<key>KeepAlive</key><dict>{body}</dict>");
    let (yes, no) = ("<true/>", "<false/>");
    let never_enabled = (RestartMode::Never, false);
    for (body, wanted, words) in [
        ("<key>KeepAlive</key><true/>".to_owned(), (RestartMode::Always, true), ""),
        ("<key>KeepAlive</key><false/>".to_owned(), never_enabled, "did not start it by itself"),
        (String::new(), never_enabled, "did not start it by itself"),
        ("<key>RunAtLoad</key><true/>".to_owned(), (RestartMode::Never, true), "once, at login"),
        (dict(&format!("<key>SuccessfulExit</key>{no}")), (RestartMode::OnFailure, true), "after exit 0 it stays down"),
        (dict(&format!("<key>SuccessfulExit</key>{yes}")), (RestartMode::Always, true), "SuccessfulExit true"),
        (dict(&format!("<key>Crashed</key>{yes}")), (RestartMode::OnFailure, true), "SIGSEGV"),
        (dict(&format!("<key>Crashed</key>{no}")), (RestartMode::Always, true), "Crashed false"),
        (dict("<key>NetworkState</key><true/>"), (RestartMode::Always, true), "NetworkState"),
        (dict("<key>PathState</key><dict><key>/x</key><true/></dict>"), (RestartMode::Always, true), "PathState"),
        (
            dict("<key>OtherJobEnabled</key><dict><key>x</key><true/></dict>"),
            (RestartMode::Always, true),
            "OtherJobEnabled",
        ),
        (dict("<key>SuccesfulExit</key><false/>"), (RestartMode::Always, true), "did you mean SuccessfulExit?"),
        ("<key>KeepAlive</key><string>true</string>".to_owned(), never_enabled, "a text, which launchd ignores"),
    ] {
        let (imported, service) = one(&body);
        assert_eq!((service.restart, service.enabled), wanted, "{body}");
        assert!(words.is_empty() || is_said(&imported, words), "{words}\n{}", imported.text);
    }
}

#[test]
fn numbers_are_taken_over_within_their_bounds() {
    let keep = "<key>KeepAlive</key><true/>";
    let with = |key: &str, n: i64| one(&format!("{keep}<key>{key}</key><integer>{n}</integer>"));
    for (n, seconds) in [(1, 1), (10, 10), (0, 10), (-5, 10), (90, 90), (7200, 3600)] {
        assert_eq!(with("ThrottleInterval", n).1.throttle.as_secs(), seconds, "{n}");
    }
    for (n, seconds) in [(20, 20), (0, 3600), (-5, 30), (100_000, 3600)] {
        assert_eq!(with("ExitTimeOut", n).1.stop_timeout.as_secs(), seconds, "{n}");
    }
    let (imported, service) = one(&format!("{keep}<key>ProcessType</key><string>Backgroud</string>"));
    assert_eq!(service.process_type, ProcessType::Interactive);
    assert!(is_told(&imported, "did you mean Background?"));
    let (imported, _) = one(&format!("{keep}<key>ThrottleInterval</key><string>5</string>"));
    assert!(is_told(&imported, "ThrottleInterval is a text, not a whole number"));
    assert_eq!(with("throttleinterval", 7).1.throttle.as_secs(), 7);
}

fn calendar(body: &str) -> (Imported, TaskSpec) {
    timed(&format!("<key>StartCalendarInterval</key>{body}"))
}

fn dict(members: &[(&str, i64)]) -> String {
    let members: String = members.iter().map(|(k, n)| format!("<key>{k}</key><integer>{n}</integer>")).collect();
    format!("<dict>{members}</dict>")
}

#[test]
fn calendars_become_words_where_they_mean_the_same() {
    let time = [("Hour", 22), ("Minute", 0)];
    let on = |day: i64| dict(&[("Weekday", day), time[0], time[1]]);
    for (body, wanted) in [
        (dict(&time), "daily 22:00".to_owned()),
        (on(7), "weekly Sun 22:00".to_owned()),
        (format!("<array>{}{}{}</array>", on(1), on(2), on(3)), "Mon..Wed 22:00".to_owned()),
        (dict(&[("Day", 1), time[0], time[1]]), "monthly 1 22:00".to_owned()),
        ("<dict/>".to_owned(), "every 1m".to_owned()),
    ] {
        let (imported, task) = calendar(&body);
        assert_eq!(words_of(&task), [wanted], "{body}");
        assert!(task.enabled, "{}", imported.text);
    }
    let (_, task) = calendar(&dict(&[("Hour", 9), ("Minute", 30), ("Day", 5), ("Month", 6)]));
    assert!(matches!(task.calendar[..], [Schedule::Table(table)] if table.month == Some(6) && table.day == Some(5)));
}

#[test]
fn what_calendars_really_mean_is_said() {
    for (members, words) in [
        (&[("Hour", 3)][..], "EVERY minute, from 03:00 to 03:59"),
        (&[("Minute", 5)], "no Hour: it starts every hour"),
        (&[], "EVERY minute, all the time"),
        (&[("Hour", 3), ("Minute", 0), ("Day", 1), ("Weekday", 1)], "EITHER matches"),
        (&[("Hour", 3), ("Minute", 0), ("Weekday", 1), ("Month", 1)], "ignore the month"),
        (&[("Hour", 3), ("Minute", 0), ("Day", 31)], "not every month"),
    ] {
        let (imported, task) = calendar(&dict(members));
        assert!(is_told(&imported, words), "{words}\n{}", imported.text);
        assert!(task.enabled);
    }
    let (imported, _) = timed(&format!(
        "<key>RunAtLoad</key><true/><key>StartCalendarInterval</key>{}",
        dict(&[("Hour", 1), ("Minute", 1)])
    ));
    assert!(is_told(&imported, "RunAtLoad also started it"));
}

#[test]
fn what_is_no_time_is_left_out_and_switches_off() {
    let good = dict(&[("Hour", 3), ("Minute", 0)]);
    for (bad, words) in [
        (dict(&[("Hour", 24), ("Minute", 0)]), "Hour of StartCalendarInterval is 24, not a number from 0 to 23"),
        ("<dict><key>Hour</key><string>3</string></dict>".to_owned(), "Hour of StartCalendarInterval is a text"),
        ("<string>daily</string>".to_owned(), "is a text, not a dict"),
        (dict(&[("Day", 31), ("Month", 4), ("Hour", 1), ("Minute", 1)]), "its month never has"),
    ] {
        let (imported, task) = calendar(&format!("<array>{bad}{good}</array>"));
        assert_eq!(words_of(&task), ["daily 03:00"]);
        assert!(!task.enabled && is_told(&imported, words), "{words}\n{}", imported.text);
        // Without the good one there is no task left.
        let (imported, fleet) = read(&[file("a.plist", agent(&format!("<key>StartCalendarInterval</key>{bad}")))]);
        assert!(fleet.tasks.is_empty() && is_told(&imported, "commented out"), "{}", imported.text);
    }
    let (imported, task) = calendar(&dict(&[("Hour", 3), ("Minute", 0), ("WeekDay", 1)]));
    assert!(!task.enabled && is_told(&imported, "did you mean Weekday?"), "{}", imported.text);
}

#[test]
fn intervals_are_minutes() {
    for (seconds, words, enabled) in [(3600, "every 1h", true), (30, "every 1m", false), (100_000, "every 24h", false)]
    {
        let (_, task) = timed(&format!("<key>StartInterval</key><integer>{seconds}</integer>"));
        assert_eq!((words_of(&task), task.enabled), (vec![words.to_owned()], enabled));
    }
}

#[test]
fn shells_go_where_they_do_nothing() {
    let with = |text: &str| {
        let text = text.replace('&', "&amp;").replace('<', "&lt;");
        let body = plist(&format!(
            "<key>Label</key><string>a.b</string><key>KeepAlive</key><true/><key>ProgramArguments</key><array>\
             <string>/bin/sh</string><string>-c</string><string>{text}</string></array>"
        ));
        service("a.b.plist", &body)
    };
    let (imported, found) = with("cd /srv && A=1 exec ./run --now >> /tmp/l 2>&1");
    assert_eq!(command(&found), ["/srv/run", "--now"]);
    assert_eq!((found.env["A"].as_str(), found.cwd.to_str()), ("1", Some("/srv")));
    assert!(is_said(&imported, "what it wrote went >> /tmp/l 2>&1"));
    for text in ["a | b", "a $X", "cd /a; b", "source x/bin/activate && b"] {
        let (imported, found) = with(text);
        assert_eq!(command(&found), ["/bin/sh", "-c", text]);
        assert!(found.enabled && is_said(&imported, "the shell stays"), "{}", imported.text);
    }
    assert!(!with("daemon &").1.enabled);
    let login = agent("<key>KeepAlive</key><true/>").replace(
        "<string>/usr/bin/thing</string>",
        "<string>bash</string><string>-lc</string><string>npm start</string>",
    );
    let (imported, found) = service("a.plist", &login);
    assert_eq!(command(&found), ["npm", "start"]);
    assert!(is_told(&imported, "it was a login shell"));
    let (imported, found) = with("API_TOKEN=hunter2 a | b --password 'hunter2 too'");
    assert!(!found.enabled && !format!("{imported:?}").contains("hunter2"), "{}", imported.text);
}

#[test]
fn paths_and_texts_mean_the_same_after_expansion() {
    let (imported, found) = one(
        "<key>KeepAlive</key><true/><key>WorkingDirectory</key><string>/a/${b}</string><key>EnvironmentVariables</key><dict>\
         <key>A</key><string>${HOME} $${x} \"q\" \\ \n\t😀</string><key>B</key><string>~/x</string></dict>",
    );
    assert_eq!(found.cwd.to_str(), Some("/a/${b}"));
    assert_eq!(found.env["A"], "${HOME} $${x} \"q\" \\ \n\t😀");
    assert_eq!(found.env["B"], "/Users/u/x");
    assert!(is_said(&imported, "the ~ in B"));
    let (_, found) = one(
        "<key>KeepAlive</key><true/><key>EnvironmentVariables</key><dict><key>A</key><string>~root</string></dict>",
    );
    assert!(!found.enabled && found.env.is_empty());
}

#[test]
fn what_launchd_alone_can_do_switches_off_or_is_listed() {
    for (body, enabled, words) in [
        ("<key>WatchPaths</key><array><string>/a</string></array>", false, "paths = [\"/a\"]"),
        ("<key>KeepAlive</key><true/><key>Sockets</key><dict/>", false, "its Sockets"),
        ("<key>KeepAlive</key><true/><key>Disabled</key><true/>", false, "Disabled"),
        (
            "<key>KeepAlive</key><true/><key>SessionCreate</key><true/><key>Nice</key><integer>5</integer>",
            true,
            "left out: Nice, SessionCreate",
        ),
        ("<key>KeepAlive</key><true/><key>UserName</key><string>u</string>", true, "UserName u"),
        ("<key>KeepAlive</key><true/><key>AbandonProcessGroup</key><true/>", true, "AbandonProcessGroup"),
        ("<key>KeepAlive</key><true/><key>Zebra</key><true/>", true, "Zebra is unknown"),
    ] {
        let (imported, found) = one(body);
        assert_eq!(found.enabled, enabled, "{body}");
        assert!(words.is_empty() || is_said(&imported, words), "{words}\n{}", imported.text);
    }
}

#[test]
fn labels_and_names() {
    let agent = |label: &str| {
        let body = format!(
            "<key>Label</key><string>{label}</string><key>Program</key><string>/bin/x</string><key>KeepAlive</key><true/>"
        );
        file(&format!("{label}.plist"), plist(&body))
    };
    let names = |labels: &[&str]| {
        let (_, fleet) = read(&labels.iter().map(|label| agent(label)).collect::<Vec<_>>());
        (fleet.label_prefix, fleet.services.iter().map(|s| s.name.to_string()).collect::<Vec<_>>().join(" "))
    };
    for (labels, prefix, wanted) in [
        (&["ai.openclaw.a", "ai.openclaw.b"][..], "ai.openclaw", "a b"),
        (&["ai.openclaw.a"], "ai.openclaw", "a"),
        (&["ai.openclaw.x.a", "ai.openclaw.x.b"], "ai.openclaw.x", "a b"),
        (&["ai.openclaw.a", "ai.openclaw.b", "com.me.c"], "ai.openclaw", "a b com.me.c"),
        (&["x.a", "x.b"], "x", "a b"),
        (&["a", "A", "a"], "ai.openclaw", "a A-2 a-3"),
        (&["ai.openclaw.supervisor"], "ai.openclaw", "supervisor-2"),
        (&["ai.openclaw.a b/ü"], "ai.openclaw", "a-b"),
        (&["..", ""], "ai.openclaw", "unnamed unnamed-2"),
    ] {
        assert_eq!(names(labels), (prefix.to_owned(), wanted.to_owned()), "{labels:?}");
    }
    assert_eq!(names(&[&"n".repeat(70), &"n".repeat(64)]).1, format!("{} {}-2", "n".repeat(64), "n".repeat(62)));
}

#[test]
fn our_own_agents_are_left_out() {
    let body = "<key>Label</key><string>ai.openclaw.supervisor</string><key>ProgramArguments</key><array>\
                <string>/usr/local/bin/supervisor</string><string>run</string></array>";
    let (imported, fleet) = read(&[file("s.plist", plist(body))]);
    assert!(fleet.services.is_empty() && imported.faults.is_empty());
    assert!(is_told(&imported, "the supervisor itself"));
}

#[test]
fn too_many_are_refused_before_it_takes_long() {
    let imported = import(&[file("Procfile", "a: b\n".repeat(1001))], None, &around());
    assert!(imported.faults[0].message.contains("more than 1000"), "{:?}", imported.faults);
}

#[test]
fn malformed_files_are_told_with_their_place_and_others_go_on() {
    for (text, line, words) in [
        ("<plist>\n<dict>\n<key>Label</key\n", Some(3), "no property list"),
        ("<plist><array/></plist>", None, "it holds an array"),
        ("<plist><dict/></plist>", None, "no launchd agent"),
        ("bplist00", None, "no property list"),
        ("", None, "no property list"),
    ] {
        let good = file("good.plist", agent("<key>KeepAlive</key><true/>"));
        let (imported, fleet) = read(&[file("bad.plist", text), good]);
        assert_eq!(fleet.services.len(), 1);
        let [fault] = imported.faults.as_slice() else { panic!("{:?}", imported.faults) };
        assert_eq!(fault.file, "bad.plist");
        assert!(fault.message.contains(words) && !fault.hint.is_empty(), "{fault:?}");
        assert!(line.is_none() || fault.line.is_some(), "{fault:?}");
    }
}

#[test]
fn binary_plists_are_read_and_bombs_are_not() {
    let mut binary = Vec::new();
    let xml = agent("<key>KeepAlive</key><true/>");
    let value = ::plist::Value::from_reader_xml(xml.as_bytes()).unwrap();
    value.to_writer_binary(&mut binary).unwrap();
    assert!(binary.starts_with(b"bplist00"));
    let (_, fleet) = read(&[file("thing", binary)]);
    assert_eq!(command(&fleet.services[0]), ["/usr/bin/thing"]);

    // Thirty arrays, each with the next one twice: 2^30 values.
    let mut bomb = b"bplist00".to_vec();
    let levels = 30_u8;
    let mut offsets = Vec::new();
    for level in 0..levels {
        offsets.push(u8::try_from(bomb.len()).unwrap());
        bomb.extend(if level + 1 < levels { vec![0xa2, level + 1, level + 1] } else { vec![0x09] });
    }
    let table = u8::try_from(bomb.len()).unwrap();
    bomb.extend(offsets);
    bomb.extend([0, 0, 0, 0, 0, 0, 1, 1]);
    for number in [levels, 0, table] {
        bomb.extend(u64::from(number).to_be_bytes());
    }
    let imported = import(&[file("bomb.plist", bomb)], None, &around());
    assert!(imported.faults[0].message.contains("far more"), "{:?}", imported.faults);

    // As deep as a file can be: dropped without recursion.
    let deep = format!(
        "<plist><dict><key>Label</key><string>a</string><key>Nice</key>{}{}</dict></plist>",
        "<array>".repeat(15_000),
        "</array>".repeat(15_000)
    );
    let (imported, _) = read(&[file("deep.plist", deep)]);
    assert!(imported.faults.len() <= 1);
}

#[test]
fn several_steps_of_one_name_are_told_apart() {
    let body = agent("<key>StartInterval</key><integer>60</integer>");
    let (imported, fleet) = read(&[file("a.plist", body.clone()), file("b.plist", body)]);
    let names: Vec<String> = fleet.tasks.iter().map(|task| task.name.to_string()).collect();
    assert_eq!(names, ["thing", "thing-2"]);
    assert!(is_told(&imported, "It is called thing-2, as another one here is called thing."));
    assert!(matches!(&fleet.tasks[0].steps[0].action, StepAction::Run(argv) if argv == &["/usr/bin/thing"]));
}
