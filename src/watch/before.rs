//! What a watcher that was killed has left running: its handlers. Its runner ends them (`runner::sweep`) a little after it has started us;
//! until then no handler is begun, so that none comes beside an earlier one of the same file.

use std::time::Duration;

use crate::process::table::{self, Marker};
use crate::process::{identity, wait};

/// More than the sweep takes, with its grace for who does not heed SIGTERM. What lives longer (a service whose sweep is `"group"`) lives
/// on beside us.
const PATIENCE: Duration = Duration::from_secs(5);

/// Waits until nothing runs any more that our predecessor has started. Whom nobody has marked has no runner, and nobody ends what it
/// leaves: then it is not waited for. Nor is it for what does not show its environment (macOS: Apple's own programs).
pub(super) fn wait() {
    let Ok(me) = i32::try_from(std::process::id()) else { return };
    let Some(mark) = table::marker(me) else { return };
    let mut left = Vec::new();
    let gone = wait::until(PATIENCE, || {
        left.retain(|(pid, start)| identity::start_token(*pid) == Some(*start));
        if left.is_empty() {
            // After the first look: what these had started.
            left = leftovers(me, &mark);
        }
        left.is_empty().then_some(())
    });
    if gone.is_none() {
        anstream::eprintln!("handlers of the watcher before this one run on beside it ({} processes)", left.len());
    }
}

/// Processes of an earlier run of our service, with their start tokens.
fn leftovers(me: i32, mark: &Marker) -> Vec<(i32, u64)> {
    // Without a process table nothing can be found.
    let mut entries = table::scan().unwrap_or_default();
    // The youngest first: it is they that may be becoming other programs.
    entries.sort_by_key(|entry| std::cmp::Reverse(entry.start));
    let is_older = |other: &Marker| {
        (&other.service, &other.state_dir) == (&mark.service, &mark.state_dir) && other.run_id < mark.run_id
    };
    let of_others = entries.iter().filter(|entry| entry.pid != me && !entry.zombie);
    let mut patience = 20;
    let left = of_others.filter(|entry| table::marker_in_time(entry.pid, &mut patience).is_some_and(|m| is_older(&m)));
    left.map(|entry| (entry.pid, entry.start)).collect()
}
