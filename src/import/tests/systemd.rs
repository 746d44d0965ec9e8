use super::*;
use crate::model::{CatchUp, ProbeKind, RestartMode, Signal, StepAction};

const SERVER: &str = r#"
[Unit]
Description=A server
After=network-online.target database.service cache.service
Requires=database.service

[Service]
# A comment
Type=notify
ExecStart=-/usr/bin/node --name "a b" \
    ; a comment in between
    %h/server.js $FLAGS ${MODE}x $$HOME 100%%
Environment="FLAGS=--a --b" MODE=fast
Environment=API_TOKEN=hunter2 "QUOTED=x \"y\""
EnvironmentFile=
WorkingDirectory=~
Restart=on-failure
RestartSec=2s
RestartPreventExitStatus=3 EX_CONFIG SIGKILL
SuccessExitStatus=7 78
TimeoutStopSec=1min 30s
TimeoutStartSec=5min
KillSignal=SIGINT
WatchdogSec=4min
MemoryMax=2G
LimitNOFILE=65536
NoNewPrivileges=yes

[Install]
WantedBy=default.target
"#;

const DATABASE: &str = "[Service]\nExecStart=/usr/bin/db\nRestart=always\n";

#[test]
fn a_service_is_taken_over() {
    let (imported, fleet) = read(&[file("server.service", SERVER), file("database.service", DATABASE)]);
    let server = named(&fleet, "server");
    assert_eq!(
        command(server),
        ["/usr/bin/node", "--name", "a b", "/Users/u/server.js", "--a", "--b", "fastx", "$HOME", "100%"]
    );
    assert!(server.enabled && server.notify);
    assert_eq!(server.restart, RestartMode::OnFailure);
    assert_eq!(
        (server.throttle.as_secs(), server.stop_timeout.as_secs(), server.start_timeout.as_secs()),
        (2, 90, 300)
    );
    assert_eq!(server.stop_signal, Signal::parse("INT").unwrap());
    assert_eq!((server.success_exit_codes.as_slice(), server.hold_exit_codes.as_slice()), (&[0, 7][..], &[3, 78][..]));
    assert_eq!(server.after, [UnitName::new("database").unwrap()]);
    assert_eq!(server.env["QUOTED"], "x \"y\"");
    assert_eq!(server.cwd.to_str(), Some("/Users/u"));
    assert_eq!(server.memory.as_ref().unwrap().limit, Some(2 << 30));
    let health = server.health.as_ref().unwrap();
    assert!(matches!(health.probe.kind, ProbeKind::Notify));
    // A pause of (failures - 1) * interval + timeout.
    assert_eq!((health.interval * (health.failures - 1) + health.timeout).as_secs(), 240);
    assert!(!format!("{imported:?}").contains("hunter2"));
    for words in [
        "API_TOKEN looks like a secret",
        "cache.service, which is not among",
        "SIGKILL: only exit codes",
        "LimitNOFILE, NoNewPrivileges",
    ] {
        assert!(is_said(&imported, words), "{words}\n{}", imported.text);
    }
    assert_eq!(named(&fleet, "database").restart, RestartMode::Always);
}

#[test]
fn what_a_unit_cannot_have_here_switches_it_off() {
    for (line, words) in [
        ("Type=forking\nExecStart=/bin/x", "Type=forking"),
        ("ExecStart=/bin/x $UNKNOWN", "uses $UNKNOWN"),
        ("EnvironmentFile=/e\nEnvironment=A=1\nExecStart=/bin/x ${A}", "uses $A"),
        ("ExecStartPre=/bin/y\nExecStart=/bin/x", "ExecStartPre"),
        ("Type=oneshot\nExecStart=/bin/x\nExecStart=/bin/y", "several commands"),
        ("ExecStart=/bin/x\nRestart=always\nRestartPreventExitStatus=0", "exit 0"),
    ] {
        let (imported, found) = service("a.service", &format!("[Service]\n{line}\n"));
        assert!(!found.enabled && is_told(&imported, words), "{words}\n{}", imported.text);
    }
    for line in ["", "ExecStart=\"/bin/x", "ExecStart=/bin/x %q", "ExecStart=-"] {
        let (imported, fleet) = read(&[file("a.service", format!("[Service]\n{line}\n"))]);
        assert!(fleet.services.is_empty() && is_told(&imported, "commented out"), "{line}\n{}", imported.text);
        assert!(imported.text.contains("# [service.a]"));
    }
}

#[test]
fn restarts_and_times() {
    for (line, mode) in [
        ("", RestartMode::Never),
        ("Restart=no", RestartMode::Never),
        ("Restart=always", RestartMode::Always),
        ("Restart=on-abnormal", RestartMode::OnFailure),
        ("Restart=on-success", RestartMode::Always),
    ] {
        let (_, found) = service("a.service", &format!("[Service]\nExecStart=/bin/x\n{line}\n"));
        assert_eq!(found.restart, mode, "{line}");
    }
    for (text, seconds) in [("0", 3600), ("infinity", 3600), ("1d", 3600), ("5s", 5), ("soon", 30)] {
        let (_, found) = service("a.service", &format!("[Service]\nExecStart=/bin/x\nTimeoutStopSec={text}\n"));
        assert_eq!(found.stop_timeout.as_secs(), seconds, "{text}");
    }
    for (text, seconds) in [("0", 10), ("100ms", 10), ("1", 1), ("1min", 60)] {
        let (_, found) =
            service("a.service", &format!("[Service]\nExecStart=/bin/x\nRestart=always\nRestartSec={text}\n"));
        assert_eq!(found.throttle.as_secs(), seconds, "{text}");
    }
    let (imported, found) = service("a@.service", "[Service]\nExecStart=/bin/x\n");
    assert!(!found.enabled && is_told(&imported, "template"));
    assert_eq!(command(&service("a@b.service", "[Service]\nExecStart=/bin/x %i %p\n").1), ["/bin/x", "b", "a"]);
    let (_, found) = service("a.service", "[Service]\nExecStart=/bin/x\nSuccessExitStatus=78\n");
    assert_eq!((found.success_exit_codes, found.hold_exit_codes), (vec![0, 78], vec![]));
}

#[test]
fn a_timer_makes_a_task_of_its_service() {
    let timer =
        "[Timer]\nOnCalendar=Mon..Fri 22:00\nOnCalendar=*-*-01 09:00:00\nPersistent=true\nRandomizedDelaySec=5min\n";
    let job = "[Service]\nType=oneshot\nExecStartPre=/bin/a\nExecStart=/bin/b ; /bin/c 'x y'\nRestart=no\nTimeoutStopSec=5\nTimeoutStartSec=2h\n";
    let files = [file("job.timer", timer), file("job.service", job)];
    let (imported, fleet) = read(&files);
    let [task] = fleet.tasks.as_slice() else { panic!("{}", imported.text) };
    assert_eq!(task.name.as_str(), "job");
    assert_eq!(words_of(task), ["Mon..Fri 22:00", "monthly 1 09:00"]);
    let steps = task.steps.iter().map(|step| match &step.action {
        StepAction::Run(argv) => argv.join(" "),
        StepAction::Builtin(builtin) => builtin.name().to_owned(),
    });
    assert_eq!(steps.collect::<Vec<_>>(), ["/bin/a", "/bin/b", "/bin/c x y"]);
    assert_eq!((task.catch_up, task.enabled), (CatchUp::Once, true));
    assert!(is_said(&imported, "RandomizedDelaySec") && is_said(&imported, "left out: TimeoutStopSec"));
    let limit = std::time::Duration::from_secs(7200);
    assert!(task.max_runtime == limit && task.steps.iter().all(|step| step.timeout == limit));

    let timer = "[Timer]\nUnit=other.service\nOnCalendar=Mon *-*-13 00:00\nOnUnitActiveSec=90s\nOnBootSec=1min\n";
    let (imported, fleet) = read(&[file("x.timer", timer), file("other.service", job)]);
    assert_eq!((fleet.tasks[0].catch_up, fleet.tasks[0].enabled), (CatchUp::Skip, false));
    assert_eq!(words_of(&fleet.tasks[0]), ["every 2m"]);
    assert!(is_told(&imported, "both weekday and day"), "{}", imported.text);
    assert!(is_said(&imported, "OnBootSec 1min is left out"), "{}", imported.text);

    let imported = import(&files[..1], None, &around());
    assert!(imported.faults[0].message.contains("job.service, which is not among"), "{:?}", imported.faults);
    let zoned = "[Timer]\nOnCalendar=03:00 Europe/Berlin\nOnCalendar=04:00 Europe/Berlin\n";
    let (_, fleet) = read(&[file("job.timer", zoned), file("job.service", job)]);
    assert_eq!(fleet.tasks[0].timezone.as_deref(), Some("Europe/Berlin"));
}

#[test]
fn units_that_wait_for_each_other_are_untied() {
    let unit = |after: &str| format!("[Unit]\nAfter={after}.service\n[Service]\nExecStart=/bin/x\nRestart=always\n");
    let (imported, fleet) = read(&[
        file("a.service", unit("b")),
        file("b.service", unit("c")),
        file("c.service", unit("a")),
        file("d.service", unit("e")),
        file("e.service", format!("{}Type=forking\n", unit("d"))),
    ]);
    let after = |name: &str| named(&fleet, name).after.iter().map(ToString::to_string).collect::<Vec<_>>();
    assert_eq!((after("a"), after("b"), after("c")), (vec!["b".to_owned()], vec!["c".to_owned()], vec![]));
    assert!(after("d").is_empty());
    assert!(is_told(&imported, "that one waits for this one") && is_told(&imported, "e: that is no enabled service"));
}

#[test]
fn what_is_no_unit_is_told() {
    let drop_in = File { path: "/etc/x.service.d/o.conf".into(), ..file("o.conf", "[Service]\nRestart=always\n") };
    let imported =
        import(&[drop_in, file("x.socket", "[Unit]\n[Socket]\n"), file("y.service", "[Install]\n")], None, &around());
    let messages: Vec<&str> = imported.faults.iter().map(|fault| fault.message.as_str()).collect();
    assert!(
        matches!(messages[..], [a, b, c] if a.contains("drop-in") && b.contains("no counterpart") && c.contains("neither")),
        "{messages:?}"
    );
    let (imported, fleet) = read(&[file("z.service", "[Service]\nExecStart=/bin/x\nnonsense\n")]);
    assert_eq!((imported.faults[0].line, fleet.services.len()), (Some(3), 1));
}
