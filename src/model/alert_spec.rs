//! `[alerts]` of services.toml: when somebody is told, and where.

use std::collections::{BTreeMap, BTreeSet};
use std::path::PathBuf;
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::{Notice, Severity};

/// Alert rules and sinks.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct AlertSpec {
    /// Default 3 in 5 min.
    pub crash_loop: CrashWindow,
    /// Default 5 in 10 min.
    pub storm: CrashWindow,
    /// Default 4 in 1 h and 6 in 24 h.
    pub slow_loop: Vec<CrashWindow>,
    /// The gaps: the first reminder comes so long after the alert, the second so long after the first, and so on; the last
    /// gap repeats. Empty: no reminders. Default 1 h, 4 h, 24 h.
    pub reminders: Vec<Duration>,
    /// How long a service has to be well (awake time) before its alert is over. Default 10 min.
    pub resolve_after: Duration,
    /// How long a sink that cannot be reached is tried before a notice is given up. Default 7 days.
    pub expire_after: Duration,
    /// Whether a report goes out each Monday at 9. Default true.
    pub weekly: bool,
    /// A URL that is called while all is well.
    pub deadman: Option<DeadmanSpec>,
    /// Where alerts go; never empty: without any in the file they are desktop and log.
    pub sinks: Vec<SinkSpec>,
}

impl Default for AlertSpec {
    /// The rules that count where the file has none.
    fn default() -> Self {
        const MINUTE: Duration = Duration::from_secs(60);
        let window = |count, within| CrashWindow { count, within };
        Self {
            crash_loop: window(3, 5 * MINUTE),
            storm: window(5, 10 * MINUTE),
            slow_loop: vec![window(4, 60 * MINUTE), window(6, 24 * 60 * MINUTE)],
            reminders: vec![60 * MINUTE, 4 * 60 * MINUTE, 24 * 60 * MINUTE],
            resolve_after: 10 * MINUTE,
            expire_after: 7 * 24 * 60 * MINUTE,
            weekly: true,
            deadman: None,
            sinks: vec![SinkSpec::new(SinkKind::Desktop), SinkSpec::new(SinkKind::Log)],
        }
    }
}

impl AlertSpec {
    /// The sinks that are told: all of `only`, whatever they take, where that is given; else those that the notice is for.
    pub fn sinks_for<'a>(
        &'a self,
        notice: &'a Notice,
        only: Option<&'a BTreeSet<String>>,
    ) -> impl Iterator<Item = &'a SinkSpec> {
        self.sinks.iter().filter(move |sink| match only {
            Some(only) => only.contains(&sink.name),
            None => notice.is_for(sink.min_severity),
        })
    }
}

/// A URL that is called while all is well, so that silence is noticed elsewhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct DeadmanSpec {
    /// The address, unless the secret is it. `/start` and `/fail` are put behind its path.
    pub url: Option<String>,
    /// Where the address is kept instead.
    pub secret: Option<SecretSpec>,
    /// How often. Default 1 min.
    pub interval: Duration,
}

/// Where a secret is kept. It is read each time it is needed, and never written anywhere.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum SecretSpec {
    /// A file of ours that nobody else can read (0600).
    File(PathBuf),
    /// A variable of the daemon's environment.
    Env(String),
    /// A generic password of the macOS keychain, by its service name.
    Keychain(String),
}

/// So many within so long.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct CrashWindow {
    /// How many.
    pub count: u32,
    /// Within how long (awake time).
    pub within: Duration,
}

/// One place alerts go to.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SinkSpec {
    /// What it is called in `alerts` and by `alerts test`; unique. By default its kind, with a number from the second on.
    pub name: String,
    /// Which kind.
    pub kind: SinkKind,
    /// What it takes. Default: warnings and worse; the log takes everything.
    pub min_severity: Severity,
    /// How long one try may take. Default 10 s.
    pub timeout: Duration,
    /// argv (kind `command`).
    pub command: Vec<String>,
    /// Address (kinds `webhook`, `slack`, `ntfy`, `email`).
    pub url: Option<String>,
    /// Extra headers (kind `webhook`).
    pub headers: BTreeMap<String, String>,
    /// What proves who we are: webhook: the HMAC key; slack: the URL itself; ntfy: the access token; email: the password.
    pub secret: Option<SecretSpec>,
}

impl SinkSpec {
    /// One of this kind with nothing else said.
    pub fn new(kind: SinkKind) -> Self {
        let min_severity = if kind == SinkKind::Log { Severity::Info } else { Severity::Warning };
        Self {
            name: kind.as_str().into(),
            kind,
            min_severity,
            timeout: Duration::from_secs(10),
            command: Vec::new(),
            url: None,
            headers: BTreeMap::new(),
            secret: None,
        }
    }
}

/// The kinds of sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize, schemars::JsonSchema)]
#[serde(rename_all = "lowercase")]
pub enum SinkKind {
    /// A program that gets the alert as JSON on stdin.
    Command,
    /// An HTTP POST.
    Webhook,
    /// A Slack webhook.
    Slack,
    /// A desktop notification.
    Desktop,
    /// The supervisor's own log.
    Log,
    /// An ntfy topic.
    Ntfy,
    /// Mail by SMTP.
    Email,
}

impl SinkKind {
    /// The word in services.toml.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Command => "command",
            Self::Webhook => "webhook",
            Self::Slack => "slack",
            Self::Desktop => "desktop",
            Self::Log => "log",
            Self::Ntfy => "ntfy",
            Self::Email => "email",
        }
    }
}
