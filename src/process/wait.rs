//! Waiting for something that nobody tells of.

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
