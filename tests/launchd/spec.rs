//! A job's property list, as launchd reads it: keys to the letter, anything else is passed over with a line in the log.

use std::collections::BTreeMap;
use std::fs::Metadata;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use plist::{Dictionary, Value};

use crate::calendar::Slot;
use crate::codes;

/// When a job is started again after its end.
#[derive(Clone, Copy, PartialEq, Eq)]
pub enum KeepAlive {
    Never,
    Always,
    /// Whether after a good end (exit 0) or after any other.
    After {
        success: bool,
    },
}

/// What the plist says.
#[derive(Clone)]
pub struct Spec {
    pub label: String,
    pub path: PathBuf,
    pub argv: Vec<String>,
    pub program: String,
    pub env: BTreeMap<String, String>,
    pub cwd: PathBuf,
    pub out: Option<PathBuf>,
    pub err: Option<PathBuf>,
    pub run_at_load: bool,
    pub keep_alive: KeepAlive,
    pub throttle_s: u64,
    pub exit_timeout_s: u64,
    pub abandon: bool,
    pub umask: Option<u32>,
    pub slots: Vec<Slot>,
    pub sessions: Vec<String>,
}

/// What is read here, and what means nothing to a stand-in.
const READ: [&str; 16] = [
    "Label",
    "ProgramArguments",
    "Program",
    "EnvironmentVariables",
    "WorkingDirectory",
    "StandardOutPath",
    "StandardErrorPath",
    "RunAtLoad",
    "KeepAlive",
    "ThrottleInterval",
    "ExitTimeOut",
    "AbandonProcessGroup",
    "Umask",
    "StartCalendarInterval",
    "LimitLoadToSessionType",
    "StandardInPath",
];
const PASSED_OVER: [&str; 11] = [
    "ProcessType",
    "Nice",
    "LowPriorityIO",
    "SoftResourceLimits",
    "HardResourceLimits",
    "SessionCreate",
    "AssociatedBundleIdentifiers",
    "UserName",
    "GroupName",
    "LowPriorityBackgroundIO",
    "EnablePressuredExit",
];

/// Reads a file that `uid` wants to load; launchd's number when it refuses, and keys that it does not know.
pub fn read(path: &Path, uid: u32) -> Result<(Spec, Vec<String>), u8> {
    let stat = std::fs::metadata(path).map_err(|_| codes::INVALID_PATH)?;
    if !path.is_absolute() || path.extension().is_none_or(|e| e != "plist") || !stat.is_file() {
        return Err(codes::INVALID_PATH);
    }
    if !is_safe(&stat, uid) {
        return Err(codes::BAD_MODE);
    }
    let keys = Value::from_file(path).ok().and_then(Value::into_dictionary).ok_or(codes::INVALID_PLIST)?;
    let unknown = keys.keys().filter(|key| !READ.contains(&key.as_str()) && !PASSED_OVER.contains(&key.as_str()));
    let unknown = unknown.cloned().collect();
    spec(path, &keys).map(|spec| (spec, unknown)).ok_or(codes::INVALID_PLIST)
}

/// Owned by root or the loading user, and written to by nobody else.
fn is_safe(stat: &Metadata, uid: u32) -> bool {
    (stat.uid() == 0 || stat.uid() == uid) && stat.mode() & 0o022 == 0
}

fn spec(path: &Path, keys: &Dictionary) -> Option<Spec> {
    let text = |key: &str| keys.get(key).and_then(Value::as_string).map(str::to_owned);
    let texts = |value: &Value| -> Option<Vec<String>> {
        value.as_array()?.iter().map(|item| Some(item.as_string()?.to_owned())).collect()
    };
    let flag = |key: &str| keys.get(key).and_then(Value::as_boolean).unwrap_or(false);
    let number = |key: &str| keys.get(key).and_then(Value::as_unsigned_integer);
    let argv = keys.get("ProgramArguments").and_then(texts).unwrap_or_default();
    let program = text("Program").or_else(|| argv.first().cloned())?;
    let argv = if argv.is_empty() { vec![program.clone()] } else { argv };
    let env = keys.get("EnvironmentVariables").and_then(Value::as_dictionary);
    let env = env.into_iter().flatten().filter_map(|(key, value)| Some((key.clone(), value.as_string()?.to_owned())));
    let keep_alive = match keys.get("KeepAlive") {
        Some(Value::Boolean(true)) => KeepAlive::Always,
        Some(Value::Dictionary(when)) => {
            let success = when.get("SuccessfulExit").and_then(Value::as_boolean);
            success.map_or(KeepAlive::Never, |success| KeepAlive::After { success })
        }
        _ => KeepAlive::Never,
    };
    let slots = match keys.get("StartCalendarInterval") {
        Some(Value::Array(slots)) => slots.iter().map(slot).collect::<Option<_>>()?,
        Some(one) => vec![slot(one)?],
        None => Vec::new(),
    };
    let umask = match keys.get("Umask") {
        Some(Value::String(octal)) => u32::from_str_radix(octal, 8).ok(),
        Some(value) => value.as_unsigned_integer().and_then(|n| u32::try_from(n).ok()),
        None => None,
    };
    Some(Spec {
        label: text("Label").filter(|label| !label.is_empty())?,
        path: path.to_owned(),
        argv,
        program,
        env: env.collect(),
        cwd: text("WorkingDirectory").unwrap_or_else(|| "/".into()).into(),
        out: text("StandardOutPath").map(PathBuf::from),
        err: text("StandardErrorPath").map(PathBuf::from),
        // Any KeepAlive implies a start at load.
        run_at_load: flag("RunAtLoad") || keep_alive != KeepAlive::Never,
        keep_alive,
        throttle_s: number("ThrottleInterval").filter(|s| *s > 0).unwrap_or(10),
        exit_timeout_s: number("ExitTimeOut").unwrap_or(5),
        abandon: flag("AbandonProcessGroup"),
        umask,
        slots,
        sessions: match keys.get("LimitLoadToSessionType") {
            Some(Value::String(one)) => vec![one.clone()],
            Some(many) => texts(many)?,
            None => vec!["Aqua".into()],
        },
    })
}

fn slot(value: &Value) -> Option<Slot> {
    let keys = value.as_dictionary()?;
    let number = |key: &str| keys.get(key).and_then(Value::as_signed_integer);
    Some(Slot {
        minute: number("Minute"),
        hour: number("Hour"),
        day: number("Day"),
        weekday: number("Weekday"),
        month: number("Month"),
    })
}
