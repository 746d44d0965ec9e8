//! launchd's numbers and their texts.

use crate::Reply;

pub const NOT_PERMITTED: u8 = 1;
pub const NO_SUCH_PROCESS: u8 = 3;
pub const IO: u8 = 5;
pub const IN_PROGRESS: u8 = 36;
pub const ALREADY: u8 = 37;
pub const USAGE: u8 = 64;
pub const INVALID_PATH: u8 = 108;
pub const INVALID_PLIST: u8 = 109;
pub const NO_DOMAIN: u8 = 112;
pub const NO_SERVICE: u8 = 113;
pub const DISABLED: u8 = 119;
pub const BAD_MODE: u8 = 122;
pub const NOT_IN_DOMAIN: u8 = 125;
pub const BAD_SESSION: u8 = 134;
pub const BTM: u8 = 161;

/// The text of a number.
pub fn text(code: u8) -> &'static str {
    match code {
        0 => "No error",
        NOT_PERMITTED => "Operation not permitted",
        NO_SUCH_PROCESS => "No such process",
        IO => "Input/output error",
        IN_PROGRESS => "Operation now in progress",
        ALREADY => "Operation already in progress",
        INVALID_PATH => "Invalid path",
        INVALID_PLIST => "Invalid property list",
        NO_DOMAIN => "Could not find specified domain",
        NO_SERVICE => "Could not find specified service",
        DISABLED => "Service is disabled",
        BAD_MODE => "Path had bad ownership/permissions",
        NOT_IN_DOMAIN => "Domain does not support specified action",
        BAD_SESSION => "Service cannot load in requested session",
        159 => "Sandbox restriction",
        BTM => "Service cannot be launched because of BTM policy",
        _ => "unknown error code",
    }
}

/// `launchctl error NUMBER`.
pub fn error(number: &str) -> Reply {
    match number.parse() {
        Ok(code) => Reply { code: 0, out: format!("{code}: {}\n", text(code)), err: String::new() },
        Err(_) => Reply {
            code: USAGE,
            out: String::new(),
            err: "Usage: launchctl error [posix|mach|bootstrap] <code>\n".into(),
        },
    }
}
