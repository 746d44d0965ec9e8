//! What tests of several rooms need: real children, and waiting for a condition with a deadline.

use std::process::{Child, Command};
use std::time::Duration;

use super::clock;

/// A `sh -c script` that has not been started yet.
#[expect(clippy::disallowed_methods, reason = "tests need real children")]
pub(crate) fn sh(script: &str) -> Command {
    let mut command = Command::new("/bin/sh");
    command.arg("-c").arg(script);
    command
}

/// Asks `ready` again and again until it answers, and fails the test when it has not within 20 s.
#[expect(clippy::disallowed_methods, reason = "waits for a condition, with a deadline")]
pub(crate) fn wait_for<T>(what: &str, mut ready: impl FnMut() -> Option<T>) -> T {
    let deadline = clock::now().mono.plus(Duration::from_secs(20));
    loop {
        if let Some(value) = ready() {
            return value;
        }
        assert!(clock::now().mono < deadline, "not within 20 s: {what}");
        std::thread::sleep(Duration::from_millis(2));
    }
}

/// Ends and reaps its child when the test is over, however it ends.
pub(crate) struct Guard(pub(crate) Child);

impl Guard {
    /// Its pid.
    pub(crate) fn pid(&self) -> i32 {
        i32::try_from(self.0.id()).unwrap()
    }
}

impl Drop for Guard {
    fn drop(&mut self) {
        self.0.kill().ok();
        self.0.wait().ok();
    }
}

/// This test binary again, for one test only, with `variable` set: for tests that change their whole process.
#[expect(clippy::disallowed_methods, reason = "tests need real children")]
pub(crate) fn again(test: &str, variable: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().unwrap());
    command.arg(test).arg("--test-threads=1").arg("--nocapture").env(variable, "1");
    command
}
