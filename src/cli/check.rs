//! `check`: is services.toml fine, and would its programs be found?

mod jobs;
mod watch;

use std::ffi::OsStr;
use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};

use serde::Serialize;

use super::context::{FaultLine, Loaded};
use super::{Context, Output, Stop};
use crate::config;
use crate::error::ErrorKind;
use crate::machine::words::count;
use crate::model::{AlertSpec, DEFAULT_PATH, Fleet, ProbeKind, Program, ServiceSpec, Severity, SinkKind, StepAction};

/// `check --json`.
#[derive(Serialize)]
struct Report<'a> {
    ok: bool,
    path: &'a Path,
    services: Option<usize>,
    tasks: Option<usize>,
    exposures: Option<usize>,
    faults: &'a [FaultLine],
    /// The enabled calendar jobs.
    jobs: &'a [jobs::JobLine],
    notes: &'a [String],
    warnings: &'a [String],
}

pub(super) fn run(context: &Context<'_>, output: &mut Output<'_>) -> Result<u8, Stop> {
    let loaded = context.sources.fleet(context.color)?;
    let ok = loaded.faults.is_empty() && loaded.fleet.is_some();
    let fleet = loaded.fleet.as_ref();
    let mut notes = fleet.map(|fleet| notes(fleet, context.path_var.as_deref())).unwrap_or_default();
    let tasks = fleet.into_iter().flat_map(|fleet| fleet.tasks.iter().filter(|task| task.enabled));
    notes.extend(tasks.flat_map(|task| jobs::notes(task, context.now_ms, &context.zone_of(task))));
    // Two commands of one unit may lack the same program.
    let mut told = std::collections::BTreeSet::new();
    notes.retain(|note| told.insert(note.clone()));
    let jobs = fleet.map(|fleet| jobs::lines(fleet, context)).unwrap_or_default();
    let enabled = || fleet.into_iter().flat_map(|fleet| fleet.services.iter().filter(|service| service.enabled));
    let warnings = fleet.and_then(|fleet| config::alert_path(fleet).warning()).into_iter();
    let warnings: Vec<String> = warnings.chain(enabled().filter_map(blind)).collect();
    if context.json {
        let report = Report {
            ok,
            path: &loaded.path,
            services: loaded.fleet.as_ref().map(|fleet| fleet.services.len()),
            tasks: loaded.fleet.as_ref().map(|fleet| fleet.tasks.len()),
            exposures: loaded.fleet.as_ref().map(|fleet| fleet.exposures.len()),
            faults: &loaded.faults,
            jobs: &jobs,
            notes: &notes,
            warnings: &warnings,
        };
        writeln!(output.out, "{}", serde_json::to_string(&report).map_err(std::io::Error::other)?)?;
    } else {
        output.out.write_all(text(&loaded, &jobs::text(&jobs, context), &notes, &warnings).as_bytes())?;
    }
    Ok(if ok { 0 } else { ErrorKind::Config.exit_code() })
}

fn text(loaded: &Loaded, jobs: &str, notes: &[String], warnings: &[String]) -> String {
    let file = loaded.path.file_name().unwrap_or(loaded.path.as_os_str()).display();
    let mut text = String::new();
    match &loaded.fleet {
        Some(fleet) if loaded.faults.is_empty() => {
            let (services, tasks) = (fleet.services.len(), fleet.tasks.len());
            let exposures = match fleet.exposures.len() {
                0 => String::new(),
                some => format!(", {}", count(some, "exposure")),
            };
            let (services, tasks) = (count(services, "service"), count(tasks, "task"));
            text.push_str(&format!("{file} is fine: {services}, {tasks}{exposures}\n"));
        }
        _ => {
            text.push_str(loaded.rendered.trim_end());
            text.push_str(&format!("\n\n{file} has {}\n", count(loaded.faults.len(), "fault")));
        }
    }
    text.push_str(jobs);
    for note in notes {
        text.push_str(&format!("note: {note}\n"));
    }
    for warning in warnings {
        text.push_str(&format!("warning: {warning}\n"));
    }
    text
}

/// What a person should know who is used to their shell's PATH: a service has its own.
fn notes(fleet: &Fleet, callers: Option<&OsStr>) -> Vec<String> {
    let mut notes = Vec::new();
    for service in fleet.services.iter().filter(|service| service.enabled) {
        let own = if let Program::Command(argv) = &service.program { Some(argv) } else { None };
        for argv in own.into_iter().chain(service.watch.iter().map(|set| &set.run)) {
            let path = service.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
            notes.extend(note(service.name.as_str(), argv, &service.cwd, path, callers));
        }
        notes.extend(tolerated(service));
        notes.extend(watch::notes(service));
    }
    for task in fleet.tasks.iter().filter(|task| task.enabled) {
        for step in &task.steps {
            if let StepAction::Run(argv) = &step.action {
                let path = step.env.get("PATH").or_else(|| task.env.get("PATH")).map_or(DEFAULT_PATH, String::as_str);
                let cwd = step.cwd.as_ref().unwrap_or(&task.cwd);
                notes.extend(note(task.name.as_str(), argv, cwd, path, callers));
            }
        }
    }
    for exposure in fleet.exposures.iter().filter(|exposure| exposure.enabled) {
        let path = exposure.env.get("PATH").map_or(DEFAULT_PATH, String::as_str);
        for argv in [Some(&exposure.ensure), exposure.check.as_ref(), exposure.undo.as_ref()].into_iter().flatten() {
            notes.extend(note(exposure.name.as_str(), argv, &exposure.cwd, path, callers));
        }
    }
    notes.extend(alerts(&fleet.alerts));
    notes
}

/// How long a service may be silent, and when a hang is found.
fn tolerated(service: &ServiceSpec) -> Option<String> {
    // What it cannot see is told as a warning.
    let health = service.health.as_ref().filter(|_| blind(service).is_none())?;
    let (name, show) = (&service.name, |time| config::show_duration(time));
    let (most, every) = (health.tolerated(), health.interval);
    Some(match &health.probe.kind {
        ProbeKind::Notify => format!(
            "{name}: WATCHDOG=1 is expected at least every {}; a service that is silent for longer is hung",
            show(most)
        ),
        ProbeKind::HeartbeatFile(file) => {
            format!("{name}: hung when {} was not touched for {}", file.display(), show(most))
        }
        _ => format!(
            "{name}: asked every {}, a pause of up to {} is tolerated, a hang is found {} to {} after it began",
            show(every),
            show(most),
            show(most),
            show(most.saturating_add(every))
        ),
    })
}

/// What a probe cannot see.
fn blind(service: &ServiceSpec) -> Option<String> {
    let kind = match service.health.as_ref()?.probe.kind {
        ProbeKind::Tcp(_) => "tcp",
        ProbeKind::Unix(_) => "unix",
        _ => return None,
    };
    Some(format!(
        "{}: a {kind} probe sees no hang, as the kernel accepts connections for a process that is stopped; better is http, \
         ws, mcp, {}or heartbeat_file",
        service.name,
        if kind == "unix" { "path beside unix " } else { "" }
    ))
}

/// Where alerts go, and what of it should be known.
fn alerts(spec: &AlertSpec) -> Vec<String> {
    let mut notes = Vec::new();
    // Whoever writes these two down has what everybody has.
    if spec.sinks == AlertSpec::default().sinks {
        notes
            .push("alerts go to the desktop and the log only; with an [[alerts.sink]] they reach you elsewhere".into());
    } else {
        let sinks = spec.sinks.iter().map(|sink| match sink.min_severity {
            Severity::Info => config::describe_sink(sink),
            least => format!("{}: {least}{}", config::describe_sink(sink), or_worse(least)),
        });
        notes.push(format!("alerts go to {}", sinks.collect::<Vec<_>>().join(", ")));
    }
    for sink in &spec.sinks {
        let name = &sink.name;
        if sink.kind == SinkKind::Slack && sink.url.is_some() {
            let place = "secret_file, secret_env or secret_keychain keep it out of this file";
            notes.push(format!("sink {name}: who knows its url can post there; {place}"));
        }
    }
    notes
}

fn or_worse(least: Severity) -> &'static str {
    if least == Severity::Critical { "" } else { " or worse" }
}

fn note(unit: &str, argv: &[String], cwd: &Path, path: &str, callers: Option<&OsStr>) -> Option<String> {
    let program = argv.first()?;
    if program.contains('/') {
        let file = cwd.join(program);
        return if is_program(&file) {
            None
        } else if file.exists() {
            Some(format!("{unit}: {} is not an executable file", file.display()))
        } else {
            Some(format!("{unit}: {} does not exist", file.display()))
        };
    }
    if find(program, OsStr::new(path), cwd).is_some() {
        return None;
    }
    let start = format!("{unit}: `{program}` is not on the service's PATH ({path})");
    // The shell's own relative entries mean nothing to a service, which runs elsewhere.
    let callers = callers.and_then(|callers| find(program, callers, Path::new("/")));
    Some(match callers.as_deref().and_then(|file| Some((file, file.parent()?))) {
        Some((file, folder)) => format!(
            "{start}; your shell has it at {}: write env = {{ PATH = \"{}:{path}\" }} or the absolute path",
            file.display(),
            folder.display()
        ),
        None => format!("{start}, nor on yours: install it, or write its absolute path"),
    })
}

fn find(program: &str, path: &OsStr, cwd: &Path) -> Option<PathBuf> {
    std::env::split_paths(path).map(|folder| cwd.join(folder).join(program)).find(|file| is_program(file))
}

fn is_program(file: &Path) -> bool {
    file.metadata().is_ok_and(|data| data.is_file() && data.permissions().mode() & 0o111 != 0)
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use super::*;
    use crate::model::{HealthSpec, ProbeSpec, SinkSpec};

    fn program(dir: &Path, name: &str, mode: u32) -> PathBuf {
        let file = dir.join(name);
        std::fs::write(&file, "#!/bin/sh\n").unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    fn note_for(argv0: &str, cwd: &Path, path: &str, callers: &Path) -> Option<String> {
        note("gateway", &[argv0.to_owned()], cwd, path, Some(callers.as_os_str()))
    }

    #[test]
    fn programs_that_a_service_would_not_find_are_noted() {
        let (service, shell) = (tempfile::tempdir().unwrap(), tempfile::tempdir().unwrap());
        let path = service.path().to_str().unwrap();
        let cwd = Path::new("/");
        program(service.path(), "there", 0o755);
        program(service.path(), "no-x", 0o644);
        let mine = program(shell.path(), "openclaw", 0o755);
        let ask = |argv0: &str| note_for(argv0, cwd, path, shell.path());

        assert_eq!(ask("there"), None);
        assert_eq!(
            ask("openclaw").unwrap(),
            format!(
                "gateway: `openclaw` is not on the service's PATH ({path}); your shell has it at {}: write env = {{ \
                 PATH = \"{}:{path}\" }} or the absolute path",
                mine.display(),
                shell.path().display()
            )
        );
        for missing in ["nowhere", "no-x"] {
            assert!(ask(missing).unwrap().ends_with("nor on yours: install it, or write its absolute path"));
        }
    }

    fn probed(kind: ProbeKind) -> ServiceSpec {
        let probe = ProbeSpec { kind, expect_status: 200, expect_json: None };
        let (interval, timeout) = (Duration::from_secs(10), Duration::from_secs(5));
        let (failures, startup, parts, diagnostic_signal) = (4, None, None, None);
        let health = HealthSpec { probe, interval, timeout, failures, startup, parts, diagnostic_signal };
        ServiceSpec { health: Some(health), ..ServiceSpec::for_tests("gateway") }
    }

    #[test]
    fn what_is_tolerated_is_told_in_numbers() {
        for (kind, told) in [
            (
                ProbeKind::Http("http://127.0.0.1:1/".into()),
                "gateway: asked every 10s, a pause of up to 35s is tolerated, a hang is found 35s to 45s after it began",
            ),
            (
                ProbeKind::Notify,
                "gateway: WATCHDOG=1 is expected at least every 35s; a service that is silent for longer is hung",
            ),
            (ProbeKind::HeartbeatFile("/run/beat".into()), "gateway: hung when /run/beat was not touched for 35s"),
        ] {
            let service = probed(kind);
            assert_eq!(tolerated(&service).as_deref(), Some(told));
            assert_eq!(blind(&service), None);
        }
        assert_eq!(tolerated(&ServiceSpec::for_tests("plain")), None);
        let over = ProbeKind::HttpUnix { socket: "/x".into(), path: "/healthz".into() };
        assert_eq!(blind(&probed(over)), None);
        for (kind, better) in
            [(ProbeKind::Tcp("127.0.0.1:1".into()), "mcp, or"), (ProbeKind::Unix("/x".into()), "path beside unix or")]
        {
            let warned = blind(&probed(kind)).unwrap();
            assert!(warned.contains("sees no hang") && warned.contains(better), "{warned}");
        }
    }

    #[test]
    fn where_alerts_go_is_told_without_secrets() {
        let url = |kind, url: &str| SinkSpec { url: Some(url.into()), ..SinkSpec::new(kind) };
        let slack = url(SinkKind::Slack, "https://hooks.slack.com/services/T/hunter2");
        let hook = SinkSpec {
            name: "ops".into(),
            min_severity: Severity::Critical,
            ..url(SinkKind::Webhook, "https://example.org/hunter2")
        };
        let command =
            SinkSpec { command: vec!["/bin/on-alert".into(), "hunter2".into()], ..SinkSpec::new(SinkKind::Command) };
        let spec =
            AlertSpec { sinks: vec![slack, hook, SinkSpec::new(SinkKind::Log), command], ..AlertSpec::default() };
        let told = alerts(&spec);
        assert_eq!(
            told[0],
            "alerts go to slack (hooks.slack.com): warning or worse, ops (webhook, example.org): critical, log, command \
             (/bin/on-alert): warning or worse"
        );
        assert!(told[1].starts_with("sink slack: who knows its url can post there"), "{told:?}");
        assert!(told.len() == 2 && !told.concat().contains("hunter2"), "{told:?}");
        assert_eq!(alerts(&AlertSpec::default()).len(), 1);
    }

    #[test]
    fn programs_with_a_path_are_looked_at_themselves() {
        let dir = tempfile::tempdir().unwrap();
        program(dir.path(), "run.sh", 0o755);
        program(dir.path(), "data", 0o644);
        let ask = |argv0: &str| note_for(argv0, dir.path(), "/usr/bin", dir.path());
        assert_eq!(ask("./run.sh"), None);
        assert_eq!(ask("/bin/sh"), None);
        assert!(ask("./data").unwrap().ends_with("is not an executable file"));
        assert!(ask("./gone").unwrap().ends_with("does not exist"));
    }
}
