//! Deaths by lack of memory that tell so themselves.

use crate::model::{Exit, Signal};

/// What the last words of a run say about memory: `v8` when V8 gave up its heap (it prints so and aborts), `python` when an
/// uncaught MemoryError ended it, `allocator` when `malloc` failed in a program that aborts then. `None` where the text
/// says nothing; a kernel's SIGKILL leaves no words.
pub fn recognise_oom(exit: Exit, tail: &str) -> Option<&'static str> {
    let aborted = exit.signal() == Some(Signal::ABRT) || exit.code() == Some(134);
    // Node prints "FATAL ERROR: ... JavaScript heap out of memory" (measured: also "Reached heap limit").
    if aborted && (tail.contains("JavaScript heap out of memory") || tail.contains("Reached heap limit")) {
        return Some("v8");
    }
    if aborted && tail.contains("memory allocation of") && tail.contains("failed") {
        return Some("allocator");
    }
    let last = tail.trim_end().lines().next_back().unwrap_or_default();
    (exit.code() == Some(1) && last.starts_with("MemoryError")).then_some("python")
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn words_and_exit_must_agree() {
        let abort = Exit::Signal { signal: Signal::ABRT, core: true };
        let v8 = "FATAL ERROR: Reached heap limit Allocation failed - JavaScript heap out of memory\n----- Native stack trace";
        assert_eq!(recognise_oom(abort, v8), Some("v8"));
        assert_eq!(recognise_oom(Exit::Code(134), v8), Some("v8"));
        assert_eq!(recognise_oom(Exit::Code(1), v8), None);
        assert_eq!(recognise_oom(abort, "Assertion failed"), None);
        assert_eq!(recognise_oom(abort, "memory allocation of 123 bytes failed"), Some("allocator"));
        assert_eq!(recognise_oom(Exit::Code(1), "Traceback\nMemoryError\n"), Some("python"));
        assert_eq!(recognise_oom(Exit::Code(1), "MemoryError is fine\nbye\n"), None);
    }
}
