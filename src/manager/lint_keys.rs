//! The keys of launchd.plist(5), with the form of their values.

/// The form of a value.
pub(super) enum Form {
    Bool,
    /// Least, most, and what to say of a number outside.
    Int((i64, i64, &'static str)),
    Text,
    /// A string with an absolute path.
    Path,
    /// One of these words; LimitLoadToSessionType takes several.
    OneOf(&'static [&'static str]),
    Texts,
    Paths,
    TextOrTexts,
    TextMap,
    BoolMap,
    /// Whatever is in it.
    Dict,
    KeepAlive,
    Calendar,
    Limits,
    Umask,
}

impl Form {
    /// For people.
    pub(super) fn wanted(&self) -> &'static str {
        match self {
            Self::Bool => "<true/> or <false/>",
            Self::Int(_) => "an <integer>",
            Self::Text | Self::Path => "a <string>",
            Self::OneOf(_) => "one of its words as a <string>",
            Self::Texts | Self::Paths => "an <array> of <string>s",
            Self::TextOrTexts => "a <string>, or an <array> of them",
            Self::TextMap => "a <dict> of <string>s",
            Self::BoolMap => "a <dict> of <true/> and <false/>",
            Self::Dict => "a <dict>",
            Self::KeepAlive => "<true/>, <false/> or a <dict> of conditions",
            Self::Calendar => "a <dict> of <integer>s, or an <array> of such",
            Self::Limits => "a <dict> of <integer>s",
            Self::Umask => "an <integer> (decimal), or a <string> (octal)",
        }
    }
}

const ANY: &str = "";
const SECONDS: i64 = 86_400 * 366;

/// What a job may have at its top.
pub(super) const KEYS: &[(&str, Form)] = &[
    ("Label", Form::Text),
    ("Disabled", Form::Bool),
    ("UserName", Form::Text),
    ("GroupName", Form::Text),
    ("InitGroups", Form::Bool),
    ("Program", Form::Path),
    ("BundleProgram", Form::Text),
    ("ProgramArguments", Form::Texts),
    ("EnableGlobbing", Form::Bool),
    ("EnableTransactions", Form::Bool),
    ("EnablePressuredExit", Form::Bool),
    ("KeepAlive", Form::KeepAlive),
    ("RunAtLoad", Form::Bool),
    ("RootDirectory", Form::Path),
    ("WorkingDirectory", Form::Path),
    ("EnvironmentVariables", Form::TextMap),
    ("Umask", Form::Umask),
    ("ExitTimeOut", Form::Int((1, SECONDS, "; 0 would mean for ever, and can hold up log-out and shutdown"))),
    ("ThrottleInterval", Form::Int((1, SECONDS, "; launchd ignores 0 and uses 10"))),
    ("StartInterval", Form::Int((1, SECONDS, ANY))),
    ("StartCalendarInterval", Form::Calendar),
    ("WatchPaths", Form::Paths),
    ("QueueDirectories", Form::Paths),
    ("StartOnMount", Form::Bool),
    ("StandardInPath", Form::Path),
    ("StandardOutPath", Form::Path),
    ("StandardErrorPath", Form::Path),
    ("Debug", Form::Bool),
    ("WaitForDebugger", Form::Bool),
    ("SoftResourceLimits", Form::Limits),
    ("HardResourceLimits", Form::Limits),
    ("Nice", Form::Int((-20, 20, ANY))),
    ("ProcessType", Form::OneOf(&["Background", "Standard", "Adaptive", "Interactive"])),
    ("AbandonProcessGroup", Form::Bool),
    ("LowPriorityIO", Form::Bool),
    ("LowPriorityBackgroundIO", Form::Bool),
    ("MaterializeDatalessFiles", Form::Bool),
    ("LaunchOnlyOnce", Form::Bool),
    ("SessionCreate", Form::Bool),
    ("LegacyTimers", Form::Bool),
    ("MachServices", Form::Dict),
    ("Sockets", Form::Dict),
    ("LaunchEvents", Form::Dict),
    ("LimitLoadToHardware", Form::Dict),
    ("LimitLoadFromHardware", Form::Dict),
    ("inetdCompatibility", Form::Dict),
    ("AssociatedBundleIdentifiers", Form::TextOrTexts),
    ("LimitLoadToSessionType", Form::OneOf(&["Aqua", "Background", "LoginWindow", "StandardIO", "System"])),
];

/// What it had once, and what does the same today.
pub(super) const DEAD: &[(&str, &str)] = &[
    ("OnDemand", "write KeepAlive"),
    ("ServiceIPC", "leave it out"),
    ("TimeOut", "write ExitTimeOut for the time from SIGTERM to SIGKILL"),
    ("HopefullyExitsFirst", "leave it out"),
    ("HopefullyExitsLast", "leave it out"),
    ("LimitLoadToHosts", "leave it out"),
    ("LimitLoadFromHosts", "leave it out"),
];

/// The conditions of KeepAlive.
pub(super) const KEEP_ALIVE: &[(&str, Form)] = &[
    ("SuccessfulExit", Form::Bool),
    ("Crashed", Form::Bool),
    ("NetworkState", Form::Bool),
    ("PathState", Form::BoolMap),
    ("OtherJobEnabled", Form::BoolMap),
    ("AfterInitialDemand", Form::Bool),
];

/// The fields of StartCalendarInterval.
pub(super) const CALENDAR: &[(&str, Form)] = &[
    ("Minute", Form::Int((0, 59, ANY))),
    ("Hour", Form::Int((0, 23, ANY))),
    ("Day", Form::Int((1, 31, ANY))),
    ("Weekday", Form::Int((0, 7, ANY))),
    ("Month", Form::Int((1, 12, ANY))),
];

/// What SoftResourceLimits and HardResourceLimits can limit.
pub(super) const LIMITS: &[&str] = &[
    "Core",
    "CPU",
    "Data",
    "FileSize",
    "MemoryLock",
    "NumberOfFiles",
    "NumberOfProcesses",
    "ResidentSetSize",
    "Stack",
];
