//! For tests: numbers that are found again, and things to tell.

use std::collections::BTreeMap;
use std::time::Duration;

use super::{
    Alert, AlertState, Claim, ExposureSpec, Moment, Notice, NoticeKind, Rule, Severity, SlotKey, StepAction, StepSpec,
    StepWhen, TaskSpec, Timing, Trigger, UnitName,
};

/// A small generator with a fixed seed (Steele, Lea and Flood's SplitMix64), so that a failure is found again.
#[derive(Debug)]
pub(crate) struct Numbers(pub(crate) u64);

impl Numbers {
    /// One of `limit` numbers, from 0.
    pub(crate) fn below(&mut self, limit: usize) -> usize {
        self.0 = self.0.wrapping_add(0x9E37_79B9_7F4A_7C15);
        let mut z = self.0;
        z = (z ^ (z >> 30)).wrapping_mul(0xBF58_476D_1CE4_E5B9);
        z = (z ^ (z >> 27)).wrapping_mul(0x94D0_49BB_1331_11EB);
        usize::try_from((z ^ (z >> 31)) >> 1).unwrap() % limit.max(1)
    }
}

/// An alert about nothing in particular.
pub(crate) fn alert(id: &str) -> Alert {
    Alert {
        id: id.into(),
        rule: Rule::CrashLoop,
        service: UnitName::new("gateway").ok(),
        cause: None,
        severity: Severity::Critical,
        state: AlertState::Open,
        since_ms: 0,
        fired_ms: 0,
        last_ms: 0,
        count: 3,
        title: "gateway crashed 3 times".into(),
        facts: Vec::new(),
        tail: Vec::new(),
        doing: String::new(),
        advice: Vec::new(),
        fingerprint: None,
        told: true,
        quiet: None,
        reminders: 0,
        remind_ms: None,
        acknowledged_ms: None,
        resolved_ms: None,
        outcome: String::new(),
        memory: serde_json::Map::new(),
    }
}

/// What is told of it: `what` is the part of the key behind the dot.
pub(crate) fn notice(alert: Alert, what: &str, at_ms: i64) -> Notice {
    let kind = match what {
        "0" => NoticeKind::Fired,
        "ok" => NoticeKind::Resolved,
        _ => NoticeKind::Reminder,
    };
    Notice { key: format!("{}.{what}", alert.id), kind, at_ms, alert, beyond: None }
}

impl TaskSpec {
    /// A job with the defaults of services.toml, without a calendar and steps.
    pub(crate) fn for_tests(name: &str) -> Self {
        Self { enabled: true, ..Self::undeclared(UnitName::new(name).unwrap()) }
    }
}

impl ExposureSpec {
    /// One with the defaults of services.toml.
    pub(crate) fn for_tests(name: &str, ensure: &str) -> Self {
        Self {
            name: UnitName::new(name).unwrap(),
            enabled: true,
            ensure: vec![ensure.to_owned()],
            check: None,
            undo: None,
            interval: Duration::from_secs(300),
            timeout: Duration::from_secs(30),
            retry_delay: Duration::from_secs(2),
            backoff_max: Duration::from_secs(300),
            cwd: "/".into(),
            env: BTreeMap::new(),
            env_file: None,
        }
    }
}

impl Claim {
    /// The daemon's, in another boot: its run is dead.
    pub(crate) fn for_tests(slot: SlotKey) -> Self {
        Self {
            slot,
            trigger: Trigger::Daemon,
            timing: Timing::InTime,
            pid: 1,
            start_token: 0,
            boot_id: "another".into(),
            at: Moment::default(),
            resumes: None,
        }
    }
}

impl StepSpec {
    /// A step that runs this, with a minute's limit and no retries.
    pub(crate) fn for_tests(argv: &[&str]) -> Self {
        Self {
            name: None,
            action: StepAction::Run(argv.iter().map(|word| (*word).to_owned()).collect()),
            timeout: Duration::from_secs(60),
            retries: 0,
            retry_delay: Duration::from_secs(5),
            continue_on_failure: false,
            when: StepWhen::Going,
            success_exit_codes: vec![0],
            env: BTreeMap::new(),
            cwd: None,
        }
    }
}
