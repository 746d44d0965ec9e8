//! The daemon's own log: a file that we rotate ourselves, and the terminal where there is one.

use crate::logs::OwnLog;
use crate::model::paths::Paths;
use crate::model::{LogSpec, RunView};

/// Rotation of our own log.
const OWN_LOG: LogSpec = LogSpec { max_size: 10 << 20, keep: 5 };

/// Where the daemon's words go from now on.
pub(super) fn start(paths: &Paths, verbose: bool) {
    use tracing_subscriber::prelude::*;
    let level = if verbose { tracing::Level::DEBUG } else { tracing::Level::INFO };
    let log = OwnLog::new(&paths.own_log(), OWN_LOG);
    let file = tracing_subscriber::fmt::layer()
        .with_ansi(false)
        .with_target(false)
        .log_internal_errors(false)
        .with_writer(std::sync::Mutex::new(log));
    // A terminal that has gone must not end us: an event that cannot be written is dropped.
    let terminal = std::io::IsTerminal::is_terminal(&std::io::stderr());
    let shown = terminal || !under_service_manager();
    let screen = shown.then(|| {
        tracing_subscriber::fmt::layer()
            .with_ansi(terminal)
            .with_target(false)
            .log_internal_errors(false)
            .with_writer(std::io::stderr)
    });
    let filter = tracing_subscriber::filter::LevelFilter::from_level(level);
    // A second daemon in one process (tests) keeps the first one's.
    let _ = tracing_subscriber::registry().with(filter).with(file).with(screen).try_init();
}

/// launchd and systemd keep what we print in files that nobody rotates, or in a journal that has our log file's lines already.
/// (In a terminal window of macOS the first variable is there too, hence the look at the terminal before.)
fn under_service_manager() -> bool {
    let set = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty() && value != "0");
    set("XPC_SERVICE_NAME") || set("INVOCATION_ID")
}

/// One line for each change of status, for whoever watches the terminal or the log.
pub(super) fn tell_transition(before: Option<&RunView>, view: &RunView) {
    let same = before.is_some_and(|b| b.status == view.status && b.run_id == view.run_id);
    if same {
        return;
    }
    let from = before.map_or("new", |b| b.status.as_str());
    let why = if view.reason.is_empty() { String::new() } else { format!(": {}", view.reason) };
    tracing::info!(service = %view.name, run = view.run_id, pid = view.pid, "{from} → {}{why}", view.status);
}
