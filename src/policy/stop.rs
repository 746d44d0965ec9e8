//! The stop ladder: a signal, a wait, SIGKILL.

use std::time::Duration;

use crate::model::{ServiceSpec, Signal, StopCause};

/// After SIGKILL the group is killed again this often, should something be left (a process in uninterruptible sleep, one
/// that was forked in the meantime).
pub const KILL_AGAIN: Duration = Duration::from_secs(5);

/// The first step of a stop and how long it may take.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct StopPlan {
    /// Sent to the group first.
    pub signal: Signal,
    /// From then to SIGKILL.
    pub wait: Duration,
}

/// The ladder for one cause. Restarts that we order drain first; a hung service has nothing to drain, and when everything
/// goes down or the operator wants it down the stop timeout counts (launchd's ExitTimeOut is made from it).
pub fn stop_plan(spec: &ServiceSpec, cause: StopCause, restart: bool) -> StopPlan {
    let drains = match cause {
        StopCause::Operator => restart,
        StopCause::Reload | StopCause::Upgrade | StopCause::OverMemory => true,
        StopCause::Shutdown | StopCause::Hung | StopCause::StartTimeout => false,
    };
    StopPlan { signal: spec.stop_signal, wait: if drains { spec.drain_timeout } else { spec.stop_timeout } }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_drains_and_what_does_not() {
        let mut spec = ServiceSpec::for_tests("s");
        spec.stop_timeout = Duration::from_secs(1);
        spec.drain_timeout = Duration::from_secs(9);
        let wait = |cause, restart| stop_plan(&spec, cause, restart).wait.as_secs();
        assert_eq!(wait(StopCause::Operator, false), 1);
        assert_eq!(wait(StopCause::Operator, true), 9);
        assert_eq!(wait(StopCause::OverMemory, true), 9);
        assert_eq!(wait(StopCause::Reload, true), 9);
        assert_eq!(wait(StopCause::Hung, true), 1);
        assert_eq!(wait(StopCause::StartTimeout, true), 1);
        assert_eq!(wait(StopCause::Shutdown, false), 1);
    }
}
