//! Deaths by lack of memory: those that tell so themselves, and those that the system tells of.

use crate::model::{Exit, KillEvidence, Signal};

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

/// Whether an end may be the system's kill for lack of memory, so that evidence is worth a look: SIGKILL, or a shell's word for it,
/// that is not `ours`. One that nobody saw is none: too much else ends processes.
pub fn may_be_kill(exit: Exit, ours: bool) -> bool {
    !ours && (exit.signal() == Some(Signal::KILL) || exit.code() == Some(128 + Signal::KILL.0))
}

/// What the system's evidence makes of such an end, a word of the same list as [`recognise_oom`]'s: `kernel` when Linux killed it, or
/// somebody in its control group at that time; `kernel-likely` when all that is known is that somebody on the machine was killed;
/// `jetsam` when macOS did it.
pub fn recognise_kill(exit: Exit, ours: bool, evidence: KillEvidence) -> Option<&'static str> {
    match evidence {
        _ if !may_be_kill(exit, ours) => None,
        KillEvidence::Nothing => None,
        KillEvidence::OnMachine => Some("kernel-likely"),
        KillEvidence::InGroup | KillEvidence::Named => Some("kernel"),
        KillEvidence::Jetsam => Some("jetsam"),
    }
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

    #[test]
    fn a_kill_that_is_not_ours_is_what_the_evidence_says() {
        let killed = Exit::Signal { signal: Signal::KILL, core: false };
        for (evidence, word) in [
            (KillEvidence::Nothing, None),
            (KillEvidence::OnMachine, Some("kernel-likely")),
            (KillEvidence::InGroup, Some("kernel")),
            (KillEvidence::Named, Some("kernel")),
            (KillEvidence::Jetsam, Some("jetsam")),
        ] {
            assert_eq!(recognise_kill(killed, false, evidence), word);
            assert_eq!(recognise_kill(Exit::Code(137), false, evidence), word, "a shell's word for it");
            assert_eq!(recognise_kill(killed, true, evidence), None, "that was us");
            for other in
                [Exit::Code(1), Exit::Code(9), Exit::Unknown, Exit::Signal { signal: Signal::TERM, core: false }]
            {
                assert_eq!(recognise_kill(other, false, evidence), None, "{other:?}");
            }
        }
    }
}
