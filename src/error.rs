//! The error that reaches a person, and the exit code it ends with (CONTRACT).

use std::fmt;

/// What kind of thing went wrong; decides the exit code.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum ErrorKind {
    /// The command line is wrong: 2.
    Usage,
    /// A service is not up: 3.
    NotUp,
    /// The daemon (or runner) does not answer: 4.
    Unreachable,
    /// services.toml has faults: 5.
    Config,
    /// Refused: 6.
    Refused,
    /// Anything that should not happen: 70.
    Internal,
}

impl ErrorKind {
    /// The exit code.
    pub fn exit_code(self) -> u8 {
        match self {
            Self::Usage => 2,
            Self::NotUp => 3,
            Self::Unreachable => 4,
            Self::Config => 5,
            Self::Refused => 6,
            Self::Internal => 70,
        }
    }

    /// The kind that ends with `code`; what is unknown is internal.
    pub fn from_exit_code(code: u8) -> Self {
        match code {
            2 => Self::Usage,
            3 => Self::NotUp,
            4 => Self::Unreachable,
            5 => Self::Config,
            6 => Self::Refused,
            _ => Self::Internal,
        }
    }
}

/// What was attempted, on what, what is wrong; and what to do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Error {
    /// Decides the exit code.
    pub kind: ErrorKind,
    /// One sentence without a full stop; may be followed by further lines (diagnostics).
    pub message: String,
    /// An imperative sentence.
    pub hint: Option<String>,
}

impl Error {
    /// An error without a hint.
    pub fn new(kind: ErrorKind, message: impl Into<String>) -> Self {
        Self { kind, message: message.into(), hint: None }
    }

    /// Adds what to do.
    #[must_use]
    pub fn hint(mut self, hint: impl Into<String>) -> Self {
        self.hint = Some(hint.into());
        self
    }

    /// What could not be done with a file, and why.
    pub fn io(what: &str, path: &std::path::Path, error: &std::io::Error) -> Self {
        Self::new(ErrorKind::Internal, format!("{what} {}: {error}", path.display()))
    }
}

impl fmt::Display for Error {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Error {}
