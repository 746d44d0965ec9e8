//! Whole files: the smallest one, ours, the one with every key, and what becomes of the rest when a part is faulty.

use std::time::Duration;

use super::{EVERY_KEY, OURS, around, fleet, read, source};
use crate::config::{parse, render, state_dir};
use crate::model::{
    AlertSpec, Builtin, BuiltinStep, CalendarFields, CalendarRule, CalendarTable, CatchUp, CrashWindow, DayHours,
    DeadmanSpec, FigureSpec, LogSpec, ManagerKind, OnGrowth, Overlap, ProbeKind, ProcessType, Program, PruneSpec,
    RestartMode, Schedule, SecretSpec, ServiceSpec, Severity, Signal, SinkKind, SinkSpec, StepAction, StepSpec,
    StepWhen, Sweep, TaskSpec, UnitName,
};

const fn secs(n: u64) -> Duration {
    Duration::from_secs(n)
}

fn name(text: &str) -> UnitName {
    UnitName::new(text).unwrap()
}

#[test]
fn an_empty_file_is_a_fleet_of_defaults() {
    let fleet = fleet("");
    assert_eq!(fleet.state_dir.to_str(), Some("/home/u/.openclaw"));
    assert_eq!(fleet.label_prefix, "ai.openclaw");
    assert_eq!(fleet.manager, ManagerKind::Auto);
    assert!(fleet.services.is_empty() && fleet.tasks.is_empty() && fleet.unusable.is_empty());
    let window = |count, within| CrashWindow { count, within };
    let rules = AlertSpec {
        crash_loop: window(3, secs(300)),
        storm: window(5, secs(600)),
        slow_loop: vec![window(4, secs(3600)), window(6, secs(86_400))],
        ..AlertSpec::default()
    };
    assert_eq!(fleet.alerts, rules);
}

#[test]
fn the_smallest_service_and_task_have_the_documented_defaults() {
    let fleet = fleet(
        "[service.a]\ncommand = [\"x\"]\n[task.t]\ncalendar = [\"daily 07:55\"]\nsteps = [{ builtin = \"prune\" }]\n",
    );
    let service = ServiceSpec {
        name: name("a"),
        program: Program::Command(vec!["x".into()]),
        cwd: "/home/u".into(),
        env: [].into(),
        env_file: None,
        enabled: true,
        restart: RestartMode::Always,
        success_exit_codes: vec![0],
        hold_exit_codes: vec![78],
        throttle: secs(10),
        backoff_max: secs(300),
        min_uptime: secs(10),
        start_timeout: secs(60),
        stop_signal: Signal::TERM,
        stop_timeout: secs(30),
        drain_timeout: secs(30),
        ports: vec![],
        sweep: Sweep::Tree,
        notify: false,
        after: vec![],
        watch_config: vec![],
        process_type: ProcessType::Interactive,
        log: LogSpec { max_size: 10 << 20, keep: 5 },
        health: None,
        memory: None,
        watch: vec![],
        listen: None,
        durability: crate::model::Durability::Process,
        token_file: None,
    };
    assert_eq!(fleet.services, [service]);
    let task = &fleet.tasks[0];
    assert_eq!(
        *task,
        TaskSpec {
            name: name("t"),
            enabled: true,
            calendar: vec![Schedule::Words {
                text: "daily 07:55".into(),
                rule: CalendarRule::Fields(CalendarFields {
                    minutes: 1 << 55,
                    hours: 1 << 7,
                    days: 0xffff_fffe,
                    months: 0x1ffe,
                    weekdays: 0x7f,
                    stepped: false,
                }),
                tables: Some(vec![CalendarTable { hour: Some(7), minute: Some(55), ..CalendarTable::default() }])
            }],
            timezone: None,
            steps: task.steps.clone(),
            catch_up: CatchUp::Once,
            overlap: Overlap::Skip,
            stop_signal: Signal::TERM,
            stop_timeout: secs(10),
            start_within: secs(600),
            max_runtime: secs(3600),
            min_runtime: secs(0),
            cwd: "/home/u".into(),
            env: [].into(),
            env_file: None,
        }
    );
    const DAY: u64 = 24 * 3600;
    let prune = PruneSpec {
        events: secs(90 * DAY),
        logs: secs(30 * DAY),
        logs_size: 1 << 30,
        evidence: secs(30 * DAY),
        evidence_size: 256 << 20,
        samples: secs(365 * DAY),
    };
    let step = StepSpec {
        name: None,
        action: StepAction::Builtin(BuiltinStep::Prune(prune)),
        timeout: secs(600),
        retries: 0,
        retry_delay: secs(5),
        continue_on_failure: false,
        when: StepWhen::Going,
        success_exit_codes: vec![0],
        env: [].into(),
        cwd: None,
    };
    assert_eq!(task.steps, [step]);
}

#[test]
fn maintenance_has_its_defaults_and_its_own_keys() {
    const DAY: u64 = 24 * 3600;
    let read = |step: &str| {
        let text = format!("[task.t]\ncalendar = [\"daily 07:55\"]\nsteps = [{{ {step} }}]\n");
        match fleet(&text).tasks.remove(0).steps.remove(0).action {
            StepAction::Builtin(builtin) => builtin,
            StepAction::Run(argv) => panic!("{argv:?}"),
        }
    };
    for (text, want) in [
        ("builtin = \"vacuum\"", BuiltinStep::Vacuum { backups: 3 }),
        ("builtin = \"vacuum\", backups = 0", BuiltinStep::Vacuum { backups: 0 }),
        ("builtin = \"digest\"", BuiltinStep::Digest { period: secs(7 * DAY), keep: 12 }),
        ("builtin = \"digest\", period = \"1d\", keep = 2", BuiltinStep::Digest { period: secs(DAY), keep: 2 }),
        ("builtin = \"doctor\"", BuiltinStep::Doctor),
        ("builtin = \"rotate\"", BuiltinStep::Rotate { max_size: 10 << 20, keep: 5 }),
        ("builtin = \"rotate\", max_size = \"1MiB\", keep = 1", BuiltinStep::Rotate { max_size: 1 << 20, keep: 1 }),
        ("builtin = \"verify-backup\"", BuiltinStep::VerifyBackup { max_age: secs(8 * DAY) }),
        ("builtin = \"verify-backup\", max_age = \"2h\"", BuiltinStep::VerifyBackup { max_age: secs(7200) }),
    ] {
        assert_eq!(read(text), want, "{text}");
        assert!(text.contains(want.name()), "{text}");
    }
    // What a job has in all, no step has more of, unless somebody says so.
    let short = fleet("[task.t]\ncalendar = [\"daily 07:55\"]\nsteps = [{ run = [\"x\"] }]\nmax_runtime = \"1m\"\n");
    assert_eq!(short.tasks[0].steps[0].timeout, secs(60));
}

#[test]
fn defaults_follow_what_they_depend_on() {
    let fleet = fleet(
        "[service.a]\ncommand = [\"x\"]\nstop_timeout = \"45s\"\nthrottle = \"10m\"\nhealth = { tcp = \"127.0.0.1:1\", interval = \"2s\" }\nmemory = {}\n\
         [service.b]\nbuiltin = \"emit-server\"\nhealth.tcp = \"localhost:1\"\n",
    );
    let [a, b] = fleet.services.as_slice() else { panic!("two services") };
    assert_eq!((a.drain_timeout, a.backoff_max), (secs(45), secs(600)));
    let health = a.health.as_ref().unwrap();
    assert_eq!((health.interval, health.timeout, health.failures), (secs(2), secs(2), 4));
    let memory = a.memory.as_ref().unwrap();
    assert_eq!((memory.growth, memory.limit, memory.interval), (None, None, secs(60)));
    assert_eq!((memory.ceiling, memory.max_wait, memory.on_growth), (None, secs(24 * 3600), OnGrowth::Alert));
    assert_eq!(b.listen.as_deref(), Some("127.0.0.1:18790"));
    let health = b.health.as_ref().unwrap();
    assert_eq!((health.interval, health.timeout, health.probe.expect_status), (secs(10), secs(5), 200));
}

#[test]
fn our_own_file_has_no_fault_and_the_six_services() {
    let fleet = fleet(OURS);
    assert!(OURS.starts_with("#:schema ./.config/services.schema.json\n"));
    let enabled = |name: &str| fleet.service(&UnitName::new(name).unwrap()).map(|s| s.enabled);
    let ours = ["gateway", "embedding-server", "file-watcher", "emit-server"].map(enabled);
    assert_eq!(ours, [Some(true); 4]);
    let tasks: Vec<_> = fleet.tasks.iter().map(|t| (t.name.as_str(), t.enabled)).collect();
    assert_eq!(tasks, [("daily-tasks", true), ("weekly-tasks", true)]);
    let gateway = fleet.service(&name("gateway")).unwrap();
    assert_eq!((gateway.start_timeout, gateway.drain_timeout), (secs(300), secs(330)));
    assert_eq!(gateway.env["OPENCLAW_SUPERVISOR_MODE"], "external");
    assert_eq!(gateway.watch_config[0].to_str(), Some("/home/u/.openclaw/openclaw.json"));
}

#[test]
fn every_key_is_taken_over() {
    let fleet = fleet(EVERY_KEY);
    assert_eq!((fleet.state_dir.to_str(), fleet.manager), (Some("/state"), ManagerKind::Embedded));
    let order: Vec<_> = fleet.services.iter().map(|s| s.name.as_str()).collect();
    assert_eq!(order[..3], ["web", "emit", "watcher"], "the file's order");
    let web = &fleet.services[0];
    assert_eq!(web.env, [("A".to_owned(), "/home/u/a".to_owned()), ("B".into(), "value-b".into())].into());
    assert_eq!(web.env_file.as_deref().and_then(|p| p.to_str()), Some("/home/u/web.env"));
    assert_eq!(
        (web.restart, web.sweep, web.process_type),
        (RestartMode::OnFailure, Sweep::Group, ProcessType::Background)
    );
    assert_eq!((web.success_exit_codes.as_slice(), web.hold_exit_codes.as_slice()), (&[0, 3][..], &[64, 78][..]));
    assert_eq!((web.throttle, web.backoff_max, web.min_uptime), (secs(1), secs(60), secs(2)));
    assert_eq!((web.start_timeout, web.stop_timeout, web.drain_timeout), (secs(3), secs(4), secs(5)));
    assert_eq!((web.stop_signal, web.notify, web.ports.as_slice()), (Signal(libc::SIGINT), true, &[8080, 8081][..]));
    assert_eq!(web.after, [name("emit"), name("watcher")]);
    assert_eq!(web.log, LogSpec { max_size: 65_536, keep: 2 });
    let health = web.health.as_ref().unwrap();
    assert_eq!(health.probe.kind, ProbeKind::Http("http://127.0.0.1:8080/healthz".into()));
    assert_eq!(health.probe.expect_status, 204);
    let json = serde_json::json!({ "ok": true, "n": 1, "list": [1.5, "x"], "deep": { "a": false } });
    assert_eq!(health.probe.expect_json.as_ref(), json.as_object());
    assert_eq!((health.interval, health.timeout, health.failures), (secs(2), secs(1), 3));
    assert_eq!(health.startup.as_ref().map(|s| s.expect_status), Some(201));
    assert_eq!(health.diagnostic_signal, Signal::parse("USR1"));
    assert_eq!(health.parts.as_ref().map(|p| &p.kind), Some(&ProbeKind::Exec(vec!["/bin/parts".into()])));
    let memory = web.memory.as_ref().unwrap();
    assert_eq!((memory.growth, memory.limit, memory.interval), (Some(5_000_000), Some(1 << 30), secs(30)));
    assert_eq!((memory.plateau, memory.ceiling), (Some(512 << 20), Some(2 << 30)));
    assert_eq!((memory.recycle, memory.max_wait), (Some(secs(6 * 3600)), secs(12 * 3600)));
    assert_eq!(memory.on_growth, OnGrowth::RestartWhenIdle);
    assert_eq!(memory.quiet, [DayHours { from: 180, until: 300 }, DayHours { from: 1410, until: 15 }]);
    let idle = memory.idle.as_ref().unwrap();
    assert_eq!((&idle.kind, idle.expect_status), (&ProbeKind::Http("http://127.0.0.1:8080/idle".into()), 204));
    let figure = |url: &str, pointer: &str| FigureSpec { url: url.into(), pointer: pointer.into() };
    assert_eq!(memory.heap, Some(figure("http://127.0.0.1:8080/stats", "/memory/heapUsed")));
    assert_eq!(memory.requests, Some(figure("http://[::1]:8080/stats", "/served")));
    assert_eq!(memory.snapshot_signal, Signal::parse("PROF"));
    assert_eq!(fleet.services[1].program, Program::Builtin(Builtin::EmitServer));
    let watch = &fleet.services[2].watch[0];
    assert_eq!((watch.paths[0].to_str(), watch.recursive, watch.concurrency), (Some("/home/u/in"), true, 4));
    let kinds: Vec<_> = fleet.services[3..].iter().map(|s| s.health.as_ref().unwrap().probe.kind.clone()).collect();
    assert_eq!(kinds[0], ProbeKind::Unix("/run/x.sock".into()));
    assert_eq!(kinds[1], ProbeKind::Ws("ws://127.0.0.1:18789".into()));
    assert_eq!(kinds[2], ProbeKind::Exec(vec!["/bin/ok".into(), "now".into()]));
    assert_eq!(kinds[3], ProbeKind::Notify);
    assert_eq!(kinds[5], ProbeKind::Mcp("http://127.0.0.1:3001/mcp".into()));
    let over = |path: &str| ProbeKind::HttpUnix { socket: "/run/z.sock".into(), path: path.into() };
    assert_eq!(kinds[6], over("/healthz?full=1"));
    let health = |at: usize| fleet.services[3 + at].health.as_ref().unwrap();
    assert_eq!(health(5).parts.as_ref().map(|p| &p.kind), Some(&over("/readyz")));
    assert_eq!((health(6).probe.expect_status, health(6).probe.expect_json.is_some()), (204, true));
    assert_eq!(health(6).startup.as_ref().map(|s| (&s.kind, s.expect_status)), Some((&over("/up"), 201)));
    assert_eq!(health(6).parts.as_ref().map(|p| &p.kind), Some(&ProbeKind::Http("http://127.0.0.1:3/readyz".into())));
    let task = &fleet.tasks[0];
    assert_eq!((task.catch_up, task.timezone.as_deref()), (CatchUp::Within(secs(21_600)), Some("Europe/Berlin")));
    assert_eq!(
        (task.overlap, task.stop_signal, task.stop_timeout),
        (Overlap::Queue, Signal::parse("INT").unwrap(), secs(4))
    );
    let [first, second, .., last] = &task.steps[..] else { panic!("{:?}", task.steps) };
    assert_eq!(
        (first.name.as_deref(), first.retry_delay, &first.success_exit_codes[..]),
        (Some("first"), secs(1), &[0, 3][..])
    );
    assert_eq!(
        (second.when, second.continue_on_failure, second.cwd.as_deref()),
        (StepWhen::Ok, true, Some("/home/u/work".as_ref()))
    );
    assert_eq!((second.env["B"].as_str(), last.when), ("/home/u/b", StepWhen::Failed));
    assert!(matches!(&task.calendar[2], Schedule::Table(t) if t.weekday == Some(0) && t.month == Some(12)));
    let tunnel = &fleet.exposures[0];
    assert_eq!((fleet.exposures.len(), tunnel.ensure.len(), tunnel.enabled), (1, 7, false));
    let last = |argv: &Option<Vec<String>>| argv.as_ref().map(|argv| argv[4].clone());
    assert_eq!((last(&tunnel.check), last(&tunnel.undo)), (Some("check".into()), Some("exit".into())));
    assert_eq!((tunnel.interval, tunnel.timeout), (secs(60), secs(10)));
    assert_eq!((tunnel.retry_delay, tunnel.backoff_max), (std::time::Duration::from_millis(500), secs(60)));
    assert_eq!(
        (tunnel.env["A"].as_str(), tunnel.env_file.as_ref().and_then(|p| p.to_str())),
        ("value", Some("/home/u/tunnel.env"))
    );
    assert_eq!(fleet.alerts.crash_loop, CrashWindow { count: 2, within: secs(60) });
    let alerts = &fleet.alerts;
    assert_eq!(alerts.reminders, [secs(1800), secs(7200)]);
    assert_eq!((alerts.resolve_after, alerts.expire_after, alerts.weekly), (secs(300), secs(172_800), false));
    let deadman = DeadmanSpec { url: None, secret: Some(SecretSpec::Keychain("ping".into())), interval: secs(300) };
    assert_eq!(alerts.deadman, Some(deadman));
    let sinks = [
        SinkSpec { command: vec!["/bin/on-alert".into()], ..SinkSpec::new(SinkKind::Command) },
        SinkSpec {
            name: "hook".into(),
            min_severity: Severity::Critical,
            timeout: secs(30),
            url: Some("https://example.org/hook".into()),
            headers: [("X-Token".into(), "value".into())].into(),
            secret: Some(SecretSpec::File("/home/u/secret".into())),
            ..SinkSpec::new(SinkKind::Webhook)
        },
        SinkSpec { secret: Some(SecretSpec::Env("SLACK".into())), ..SinkSpec::new(SinkKind::Slack) },
        SinkSpec {
            name: "slack-2".into(),
            url: Some("https://hooks.slack.com/services/x".into()),
            ..SinkSpec::new(SinkKind::Slack)
        },
    ];
    assert_eq!(alerts.sinks, sinks);
}

#[test]
fn the_given_state_directory_goes_first_and_mends_a_faulty_one() {
    let mut around = around();
    around.state_dir = Some("/given".into());
    for text in ["", "[supervisor]\nstate_dir = \"/other\"\n", "[supervisor]\nstate_dir = 5\n"] {
        let parsed = parse(&source(text), &around);
        assert_eq!(parsed.fleet.unwrap().state_dir.to_str(), Some("/given"), "{text}");
    }
}

#[test]
fn where_state_is_is_known_without_the_rest_of_the_file() {
    let mut around = around();
    let default = "/home/u/.openclaw";
    for (text, place) in [
        ("", default),
        ("[supervisor]\nstate_dir = \"~/x/${VAR}\"\n", "/home/u/x/value"),
        ("supervisor.\"state\\u005fdir\" = \"/x\"\n[service.a]\ncommand = 5\n", "/x"),
        ("[supervisor]\nstate_dir = \"x\"\n", default),
        ("[supervisor]\nstate_dir = \"${NONE}\"\n", default),
        ("[supervisor]\nstate_dir = \"/x\"\n[service.a\n", "/x"),
        ("# all of it\n[supervisor] # here\nstate_dir = \"/x\"\n\n  [service.a]\nx = [", "/x"),
        ("[supervisor]\nlabel_prefix = \"\"\"\n[service.a]\n\"\"\"\nstate_dir = \"/x\"\n[service.b]\n", "/x"),
        ("[supervisor.x]\nstate_dir = \"/y\"\n[supervisor]\nstate_dir = \"/x\"\n[service.a\n", default),
        ("[service.a]\ncommand = [\"a\"]\n[supervisor]\nstate_dir = \"/x\"\n", "/x"),
        ("[service.a]\ncommand = [\"a\"]\n[supervisor]\nstate_dir = \"/x\"\n[service.b\n", default),
    ] {
        let source = source(text);
        assert_eq!(state_dir(|| Some(&source), &around).to_str(), Some(place), "{text}");
    }
    assert_eq!(state_dir(|| None, &around).to_str(), Some(default), "no file");
    around.state_dir = Some("/given".into());
    assert_eq!(state_dir(|| panic!("the file decides nothing"), &around).to_str(), Some("/given"));
}

#[test]
fn a_file_that_says_nothing_leaves_no_fleet() {
    for text in ["[service.a", "supervisor = 5", "[supervisor]\nstate_dir = \"relative\"\n", "[[supervisor]]\n"] {
        let parsed = read(text);
        assert_eq!(parsed.fleet, None, "{text}");
        assert!(!parsed.faults.is_empty());
    }
}

#[test]
fn a_fault_takes_its_own_unit_out_and_no_other() {
    let parsed = read(
        "[service.good]\ncommand = [\"x\"]\nafter = [\"bad\"]\n[service.bad]\ncommand = [\"x\"]\nthrottle = 10\n[task.late]\ncalendar = [\"noon\"]\nsteps = 1\n[service.none]\n",
    );
    let fleet = parsed.fleet.unwrap();
    assert_eq!(fleet.services.iter().map(|s| s.name.as_str()).collect::<Vec<_>>(), ["good"]);
    let unusable: Vec<_> = fleet.unusable.iter().map(|u| (u.name.as_str(), u.is_task)).collect();
    assert_eq!(unusable, [("bad", false), ("late", true), ("none", false)]);
    let why = &fleet.unusable[0].why;
    assert!(why.starts_with("services.toml:6:12: CFG003: `service.bad.throttle`") && !why.contains('\n'), "{why}");
    assert_eq!(parsed.faults.len(), 4);
}

#[test]
fn a_good_unit_is_not_hidden_by_a_faulty_one_of_its_name() {
    let parsed = read(
        "[service.a]\ncommand = [\"x\"]\n[task.a]\ncalendar = [\"daily 07:55\"]\nsteps = [{ builtin = \"prune\" }]\n",
    );
    let fleet = parsed.fleet.unwrap();
    assert_eq!((fleet.services.len(), fleet.tasks.len(), fleet.unusable.len()), (1, 0, 0));
    assert_eq!(parsed.faults[0].unit, Some(name("a")));
    assert_eq!(parsed.faults[0].line, 3);
}

#[test]
fn faulty_alerts_keep_what_is_good_in_them() {
    let parsed = read(
        "[alerts]\nstorm = { count = 0, within = \"1m\" }\ncrash_loop = { count = 2, within = \"1m\" }\n[[alerts.sink]]\ntype = \"pigeon\"\n[[alerts.sink]]\ntype = \"log\"\n",
    );
    let alerts = parsed.fleet.unwrap().alerts;
    assert_eq!(parsed.faults.len(), 2);
    assert_eq!(alerts.crash_loop.count, 2);
    assert_eq!(alerts.storm, CrashWindow { count: 5, within: secs(600) });
    assert_eq!(alerts.sinks.iter().map(|s| s.kind).collect::<Vec<_>>(), [SinkKind::Log]);
}

#[test]
fn sinks_keep_their_names() {
    let names = |text: &str| -> Vec<String> {
        let sinks = read(text).fleet.unwrap().alerts.sinks;
        sinks.into_iter().map(|sink| sink.name).collect()
    };
    let log = "[[alerts.sink]]\ntype = \"log\"\n";
    assert_eq!(names(&log.repeat(3)), ["log", "log-2", "log-3"]);
    let called = |name: &str| format!("{log}name = \"{name}\"\n");
    // What is written goes first, wherever it stands.
    assert_eq!(names(&(log.repeat(2) + &called("log"))), ["log-2", "log-3", "log"]);
    assert_eq!(names(&format!("{log}{}{log}", called("x"))), ["log", "x", "log-2"]);
    // A faulty one is left out, and those after it do not move up.
    assert_eq!(names(&format!("{log}colour = \"red\"\nurl = \"https://x\"\n{log}")), ["log-2"]);
}

#[test]
fn alerts_that_say_less_than_usual_are_taken_at_their_word() {
    let alerts = |lines: &str| fleet(&format!("[alerts]\n{lines}\n")).alerts;
    assert!(alerts("reminders = []").reminders.is_empty());
    let deadman = alerts("deadman = { url = \"http://localhost:8000/ping/x\" }").deadman.unwrap();
    assert_eq!((deadman.url.as_deref(), deadman.interval), (Some("http://localhost:8000/ping/x"), secs(60)));
    let sink = |lines: &str| alerts(&format!("[[alerts.sink]]\n{lines}")).sinks.remove(0);
    assert_eq!(sink("type = \"log\"").min_severity, Severity::Info);
    assert_eq!(sink("type = \"slack\"\nsecret_file = \"~/s\"").min_severity, Severity::Warning);
    for good in ["http://127.0.0.1:8065/hooks/x", "https://mattermost.example.org/hooks/x"] {
        assert_eq!(sink(&format!("type = \"slack\"\nurl = \"{good}\"")).url.as_deref(), Some(good));
    }
    sink("type = \"webhook\"\nurl = \"http://10.0.0.5/hook\"");
    sink("type = \"email\"\nurl = \"smtp://localhost:25/?to=a%40b&from=c@d\"");
    sink("type = \"email\"\nurl = \"smtp://me@mail.x.org/?to=a@b,c@d\"\nsecret_env = \"MAIL\"");
    sink("type = \"email\"\nurl = \"smtps://me%40x@mail.x.org/?to=a@b\"\nsecret_keychain = \"mail\"");
}

#[test]
fn faults_look_like_this() {
    let text = "[service.gateway]\ncommand = [\"openclaw\", \"gateway\"]\nthrotle = \"10s\"\nstop_timeout = 30\n\n[service.gateway.health]\nhttp = \"http://example.org/\"\n";
    let parsed = read(text);
    let want = r#"error[CFG002]: [service.gateway] has no key "throtle"
 --> services.toml:3:1
  |
3 | throtle = "10s"
  | ^^^^^^^ not known here
  |
  = help: did you mean `throttle`?

error[CFG003]: `service.gateway.stop_timeout`: wanted is a duration in quotes, not the number 30
 --> services.toml:4:16
  |
4 | stop_timeout = 30
  |                ^^ not a duration in quotes
  |
  = help: write stop_timeout = "30s"

error[CFG013]: `service.gateway.health.http`: "example.org" is not an address of this machine only
 --> services.toml:7:8
  |
7 | http = "http://example.org/"
  |        ^^^^^^^^^^^^^^^^^^^^^ not loopback
  |
  = help: use 127.0.0.1, localhost or [::1]; what is watched from here runs here
"#;
    assert_eq!(render(&parsed.faults, &source(text), false), want);
    assert!(render(&parsed.faults, &source(text), true).contains("\u{1b}["));
    assert_eq!(render(&[], &source(text), false), "");
}
