//! Waiting for something that nobody tells of.

use std::path::Path;
use std::time::Duration;

use super::clock;

/// Between two looks.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// Looks again and again until `look` has found it, for at most `within`. Blocks; for commands that a person waits for.
#[expect(clippy::disallowed_methods, reason = "what is waited for here tells nobody")]
pub fn until<T>(within: Duration, mut look: impl FnMut() -> Option<T>) -> Option<T> {
    let end = clock::now().mono.plus(within);
    loop {
        if let Some(found) = look() {
            return Some(found);
        }
        if clock::now().mono >= end {
            return None;
        }
        std::thread::sleep(LOOK_EVERY);
    }
}

/// Between two tries of a job that cannot be started; launchd's own.
const PAUSE: Duration = Duration::from_secs(10);

/// A service manager starts again at once who ends at once, ten times a second for as long as services.toml is broken. Who is
/// started by one and is about to fail waits a little here, or until `config` has changed.
pub fn before_failing(config: &Path) {
    let is_job = ["NOTIFY_SOCKET", "XPC_SERVICE_NAME"].iter().any(|name| std::env::var_os(name).is_some());
    if !is_job {
        return;
    }
    let changed = || config.metadata().and_then(|data| data.modified()).ok();
    let before = changed();
    let _ = until(PAUSE, || (changed() != before).then_some(()));
}
