//! A program that is given the message as JSON on stdin.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::secret::shut;
use super::webhook;
use crate::model::{Delivery, Message};
use crate::process::command::{self, Finished, Given, NoAnswer};

/// Where the program is, as its own PATH says.
pub(super) fn find(argv: &[String]) -> Result<PathBuf, String> {
    let name = argv.first().ok_or("the command is empty: write command = [\"/usr/local/bin/on-alert\"]")?;
    command::find(name)
}

/// Runs it.
pub(super) fn run(argv: &[String], message: &Message, host: &str, limit: Duration) -> Delivery {
    let program = match find(argv) {
        Ok(program) => program,
        Err(why) => return Delivery::Failed(shut(&why, &[])),
    };
    let json = webhook::json(message, host);
    let about = about(message);
    let kept = command::kept_environment();
    let environment: Vec<(&str, &str)> = kept
        .iter()
        .map(|(name, value)| (*name, value.as_str()))
        .chain(about.iter().map(|(n, v)| (*n, v.as_str())))
        .collect();
    let given = Given { environment: &environment, only_these: true, stdin: json.as_bytes(), ..Given::default() };
    ended(&program, command::run_with(&program, &argv[1..], &given, limit))
}

/// What a script can ask for without reading JSON.
fn about(message: &Message) -> Vec<(&'static str, String)> {
    match message {
        Message::One(notice) => vec![
            ("SUPERVISOR_ALERT_ID", notice.alert.id.clone()),
            ("SUPERVISOR_ALERT_RULE", notice.alert.rule.to_string()),
            ("SUPERVISOR_ALERT_SERVICE", notice.alert.service.as_ref().map_or(String::new(), ToString::to_string)),
            ("SUPERVISOR_ALERT_SEVERITY", notice.alert.severity.to_string()),
            ("SUPERVISOR_ALERT_KIND", notice.kind.as_str().to_owned()),
        ],
        Message::Digest { key, notices } => vec![
            ("SUPERVISOR_ALERT_ID", key.clone()),
            (
                "SUPERVISOR_ALERT_SEVERITY",
                notices.iter().map(|n| n.alert.severity).max().map_or(String::new(), |worst| worst.to_string()),
            ),
            ("SUPERVISOR_ALERT_KIND", "digest".to_owned()),
        ],
    }
}

/// What its end says.
pub(super) fn ended(program: &Path, ended: Result<Finished, NoAnswer>) -> Delivery {
    let shown = program.display();
    match ended {
        Ok(done) if done.is_good() => Delivery::Done { plain: false },
        Ok(done) => {
            let last = done.stderr.lines().rev().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
            let said = if last.is_empty() { String::new() } else { format!(": {last}") };
            Delivery::Failed(shut(&format!("{shown} ended with {}{said}", done.exit), &[]))
        }
        Err(NoAnswer::TimedOut { limit, .. }) => Delivery::Unknown(shut(
            &format!("{shown} did not end within {} s and was ended; it may have told", limit.as_secs_f64()),
            &[],
        )),
        Err(error) => Delivery::Failed(shut(&error.to_string(), &[])),
    }
}
