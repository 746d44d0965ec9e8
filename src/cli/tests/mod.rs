//! The commands as a whole: what is printed where, and the exit code.

mod alerts;
mod import;
mod jobs;
mod memory;
mod orders;
mod reading;
mod status;
mod tasks;
mod upgrade;
mod watch;

use std::io::{self, Write};

use serde_json::{Value, json};

use super::testing::{Facts, NOW, Ran, name};
use super::{Stop, error_text, flush};
use crate::error::{Error, ErrorKind};
use crate::model::wire::Outcome;
use crate::model::{DaemonInfo, LedgerInfo, RestartCounts, ServiceInfo, Status, StatusReport, UnitKind};

fn info(service: &str, status: Status, why: &str) -> ServiceInfo {
    ServiceInfo {
        name: name(service),
        kind: UnitKind::Service,
        status,
        why: why.into(),
        enabled: true,
        pid: None,
        runner_pid: Some(498),
        run_id: Some(7),
        since_ms: Some(NOW - 720_000),
        uptime_s: None,
        restart_attempt: Some(0),
        restarts: Some(RestartCounts::default()),
        last_exit: None,
        health: None,
        memory: None,
        next_run_ms: None,
        log_dropped: Some(0),
    }
}

fn report(services: Vec<ServiceInfo>) -> StatusReport {
    StatusReport {
        schema: StatusReport::SCHEMA,
        daemon: DaemonInfo {
            running: true,
            pid: Some(411),
            version: Some(env!("CARGO_PKG_VERSION").into()),
            uptime_s: Some(86_400),
            upgrades: 0,
            config: None,
        },
        services,
        ledger: LedgerInfo { ok: true, note: None, waiting: 0 },
        alerts: vec![],
        troubles: vec![],
    }
}

/// One of each kind of row.
fn six() -> StatusReport {
    let restarts = RestartCounts { crash: 1, recycled: 3, requested: 9, refused: 9, ..RestartCounts::default() };
    report(vec![
        ServiceInfo {
            pid: Some(512),
            uptime_s: Some(10_920),
            restarts: Some(restarts),
            ..info("gateway", Status::Up, "healthy for 3h 2m")
        },
        ServiceInfo { next_run_ms: Some(NOW + 180_000), ..info("embedding-server", Status::Held, HELD) },
        ServiceInfo {
            pid: Some(1_234_567),
            uptime_s: Some(400_000),
            ..info("file-watcher", Status::Degraded, "degraded for 12s: 503")
        },
        ServiceInfo { restarts: None, ..info("emit-server", Status::Waiting, "waiting, next start in 12s") },
        ServiceInfo { kind: UnitKind::Task, ..info("daily-tasks", Status::Scheduled, "next run in 21h 52m") },
        ServiceInfo { enabled: false, ..info("weekly-tasks", Status::Disabled, "disabled in services.toml") },
    ])
}

const HELD: &str = "held for 12m: exit code 78 (EX_CONFIG); next try in 3m, or at once when \
                    ~/.openclaw/openclaw.json changes or you say `supervisor start embedding-server`";

fn told(report: &StatusReport) -> Facts {
    let facts = Facts::new(&[]);
    facts.daemon(&[("GET /v1/status ", 200, serde_json::to_string(report).unwrap())]);
    facts
}

/// Compares with a file in `golden`. Set UPDATE_GOLDEN to write it anew, then read the difference.
fn golden(file: &str, text: &str) {
    let path = format!("{}/src/cli/golden/{file}", env!("CARGO_MANIFEST_DIR"));
    if std::env::var_os("UPDATE_GOLDEN").is_some() {
        std::fs::write(&path, text).unwrap();
    }
    assert_eq!(text, std::fs::read_to_string(&path).unwrap(), "{file}");
}

fn usage(ran: &Ran) -> &Error {
    let error = ran.code.as_ref().unwrap_err();
    assert_eq!(error.kind, ErrorKind::Usage, "{error:?}");
    assert_eq!(ran.out, "");
    error
}

fn outcome(service: &str, ok: bool, text: &str) -> Outcome {
    Outcome { name: name(service), ok, text: text.into(), view: None, refused: false }
}

#[test]
fn errors_are_told_in_one_form() {
    let error = Error::new(ErrorKind::Unreachable, "the daemon is not running").hint("start it");
    assert_eq!(error_text(&error, false), "supervisor: the daemon is not running\n  hint: start it\n");
    let json: Value = serde_json::from_str(&error_text(&error, true)).unwrap();
    assert_eq!(json["error"], json!({"code": 4, "message": "the daemon is not running", "hint": "start it"}));
    assert_eq!(error_text(&Error::new(ErrorKind::Internal, "x"), false), "supervisor: x\n");
}

#[test]
fn a_full_disk_under_stdout_is_an_error() {
    assert!(matches!(Stop::from(io::Error::from(io::ErrorKind::StorageFull)), Stop::Failed(_)));
    let (reader, writer) = io::pipe().unwrap();
    drop(reader);
    let mut writer = io::BufWriter::new(writer);
    writer.write_all(b"x").unwrap();
    assert_eq!(flush(&mut writer), Ok(false));
}
