//! How a run can end, and what that end counts as (DESIGN section 3).

use std::fmt;

use serde::{Deserialize, Serialize};

/// What the kernel says about an end.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum Exit {
    /// `exit(code)`, 0 to 255.
    Code(i32),
    /// Ended by a signal; `core` when a core image was dumped.
    Signal {
        /// Which one.
        signal: Signal,
        /// Whether the kernel reports a core dump.
        core: bool,
    },
    /// It is gone and nobody can say how.
    Unknown,
}

impl Exit {
    /// The exit code, if there is one.
    pub fn code(self) -> Option<i32> {
        match self {
            Self::Code(code) => Some(code),
            Self::Signal { .. } | Self::Unknown => None,
        }
    }

    /// The signal, if one ended it.
    pub fn signal(self) -> Option<Signal> {
        match self {
            Self::Signal { signal, .. } => Some(signal),
            Self::Code(_) | Self::Unknown => None,
        }
    }
}

impl fmt::Display for Exit {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Code(code) => write!(f, "exit code {code}"),
            Self::Signal { signal, core: false } => write!(f, "{signal}"),
            Self::Signal { signal, core: true } => write!(f, "{signal}, core dumped"),
            Self::Unknown => f.write_str("an end nobody saw"),
        }
    }
}

/// A signal by number, shown by its name. The numbers are the running system's.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct Signal(pub i32);

/// Names and numbers of the signals that have one on both systems, by the platform's own numbers.
const SIGNALS: &[(&str, i32)] = &[
    ("HUP", libc::SIGHUP),
    ("INT", libc::SIGINT),
    ("QUIT", libc::SIGQUIT),
    ("ILL", libc::SIGILL),
    ("TRAP", libc::SIGTRAP),
    ("ABRT", libc::SIGABRT),
    ("BUS", libc::SIGBUS),
    ("FPE", libc::SIGFPE),
    ("KILL", libc::SIGKILL),
    ("USR1", libc::SIGUSR1),
    ("SEGV", libc::SIGSEGV),
    ("USR2", libc::SIGUSR2),
    ("PIPE", libc::SIGPIPE),
    ("ALRM", libc::SIGALRM),
    ("TERM", libc::SIGTERM),
    ("CHLD", libc::SIGCHLD),
    ("CONT", libc::SIGCONT),
    ("STOP", libc::SIGSTOP),
    ("TSTP", libc::SIGTSTP),
    ("TTIN", libc::SIGTTIN),
    ("TTOU", libc::SIGTTOU),
    ("URG", libc::SIGURG),
    ("XCPU", libc::SIGXCPU),
    ("XFSZ", libc::SIGXFSZ),
    ("VTALRM", libc::SIGVTALRM),
    ("PROF", libc::SIGPROF),
    ("WINCH", libc::SIGWINCH),
    ("IO", libc::SIGIO),
    ("SYS", libc::SIGSYS),
];

impl Signal {
    /// SIGTERM.
    pub const TERM: Self = Self(libc::SIGTERM);
    /// SIGKILL.
    pub const KILL: Self = Self(libc::SIGKILL);
    /// SIGABRT.
    pub const ABRT: Self = Self(libc::SIGABRT);

    /// Reads `TERM` or `SIGTERM`, upper case.
    pub fn parse(text: &str) -> Option<Self> {
        let bare = text.strip_prefix("SIG").unwrap_or(text);
        SIGNALS.iter().find(|(name, _)| *name == bare).map(|(_, number)| Self(*number))
    }

    /// All names without `SIG`, for messages.
    pub fn names() -> impl Iterator<Item = &'static str> {
        SIGNALS.iter().map(|(name, _)| *name)
    }
}

impl fmt::Display for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match SIGNALS.iter().find(|(_, number)| *number == self.0) {
            Some((name, _)) => write!(f, "SIG{name}"),
            None => write!(f, "signal {}", self.0),
        }
    }
}

impl fmt::Debug for Signal {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, f)
    }
}

impl Serialize for Signal {
    fn serialize<S: serde::Serializer>(&self, to: S) -> Result<S::Ok, S::Error> {
        to.collect_str(self)
    }
}

impl<'de> Deserialize<'de> for Signal {
    fn deserialize<D: serde::Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        let text = String::deserialize(from)?;
        Self::parse(&text)
            .or_else(|| text.strip_prefix("signal ")?.parse().ok().map(Self))
            .ok_or_else(|| serde::de::Error::custom(format!("no signal is named {text:?}")))
    }
}

/// Why we ended a run ourselves.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum StopCause {
    /// `supervisor stop` or `restart`.
    Operator,
    /// A changed or removed service at `reload`.
    Reload,
    /// A new program version.
    Upgrade,
    /// The runner or the machine goes down.
    Shutdown,
    /// The daemon's verdict: no answer in time.
    Hung,
    /// The daemon's verdict: never became ready.
    StartTimeout,
    /// The daemon's verdict: above its memory limit.
    OverMemory,
}

/// What an end counts as; every run ends as exactly one of these.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
pub enum ExitClass {
    /// We ended it because somebody asked.
    Requested,
    /// A success code that nobody asked for.
    Recycled,
    /// A code that says 'restarting will not help'.
    Refused,
    /// Any other code, any signal that was not ours.
    Crash,
    /// Ended by us: it did not answer.
    Hung,
    /// Ended by us: it never became ready.
    StartTimeout,
    /// Ended by us: too much memory.
    OverMemory,
    /// Ended while nobody could see.
    Lost,
}

impl ExitClass {
    /// All classes, in the order of the table in DESIGN section 3.
    pub const ALL: [Self; 8] = [
        Self::Requested,
        Self::Recycled,
        Self::Refused,
        Self::Crash,
        Self::Hung,
        Self::StartTimeout,
        Self::OverMemory,
        Self::Lost,
    ];

    /// The name in records and JSON.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Requested => "requested",
            Self::Recycled => "recycled",
            Self::Refused => "refused",
            Self::Crash => "crash",
            Self::Hung => "hung",
            Self::StartTimeout => "start_timeout",
            Self::OverMemory => "over_memory",
            Self::Lost => "lost",
        }
    }

    /// Whether it counts toward the crash windows.
    pub fn is_crash(self) -> bool {
        match self {
            Self::Crash | Self::Hung | Self::StartTimeout | Self::OverMemory => true,
            Self::Requested | Self::Recycled | Self::Refused | Self::Lost => false,
        }
    }
}

impl fmt::Display for ExitClass {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(self.as_str())
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn signals_have_their_names_both_ways() {
        assert_eq!(Signal::parse("TERM"), Some(Signal::TERM));
        assert_eq!(Signal::parse("SIGKILL"), Some(Signal::KILL));
        assert_eq!(Signal::parse("term"), None);
        assert_eq!(Signal::KILL.to_string(), "SIGKILL");
        for signal in [Signal::KILL, Signal(40)] {
            let text = serde_json::to_string(&signal).unwrap();
            assert_eq!(serde_json::from_str::<Signal>(&text).unwrap(), signal);
        }
    }

    #[test]
    fn class_names_are_the_ones_of_serde() {
        for class in ExitClass::ALL {
            assert_eq!(serde_json::to_value(class).unwrap(), class.as_str());
        }
    }
}
