use super::*;

const GOOD: &str = "<key>Label</key><string>a.b</string>\
    <key>ProgramArguments</key><array><string>/bin/x</string></array>\
    <key>ExitTimeOut</key><integer>30</integer>";

fn file(keys: &str) -> String {
    format!(
        "<?xml version=\"1.0\" encoding=\"UTF-8\"?>\n<!-- <key> -->\n<plist version=\"1.0\"><dict>{keys}</dict></plist>\n"
    )
}

fn of(keys: &str) -> Vec<String> {
    let shown = |finding: &Finding| format!("{} {finding}", if finding.is_error() { "E" } else { "W" });
    lint(file(keys).as_bytes()).iter().map(shown).collect()
}

/// What is said of a good job with these keys too.
fn with(keys: &str) -> Vec<String> {
    of(&format!("{GOOD}{keys}"))
}

#[test]
fn a_good_file_has_nothing_to_be_said_of() {
    let all = "<key>KeepAlive</key><dict><key>SuccessfulExit</key><false/><key>PathState</key><dict><key>/x</key><true/></dict></dict>\
        <key>EnvironmentVariables</key><dict><key>A</key><string>b</string></dict><key>Umask</key><integer>63</integer>\
        <key>SoftResourceLimits</key><dict><key>NumberOfFiles</key><integer>8192</integer></dict>\
        <key>LimitLoadToSessionType</key><array><string>Aqua</string><string>Background</string></array>\
        <key>ProcessType</key><string>Interactive</string><key>StandardOutPath</key><string>/x</string>\
        <key>MachServices</key><dict><key>a</key><true/></dict><key>Nice</key><integer>-5</integer>";
    assert_eq!(with(all), Vec::<String>::new());
    let calendar = "<key>StartCalendarInterval</key><array><dict><key>Hour</key><integer>7</integer><key>Minute</key>\
        <integer>0</integer></dict></array>";
    assert_eq!(with(calendar), Vec::<String>::new());
}

/// Key, value, and what the one finding says.
const BAD: &[(&str, &str, &str)] = &[
    (
        "ExitTimeout",
        "<integer>30</integer>",
        "E ExitTimeout: launchd does not know it, and waits 5 s only; the key is ExitTimeOut",
    ),
    ("keepAlive", "<true/>", "E keepAlive: launchd does not know it; capitals count, write KeepAlive"),
    ("RunAtload", "<true/>", "write RunAtLoad"),
    ("KeepALive", "<true/>", "write KeepAlive"),
    ("ThrottelInterval", "<integer>5</integer>", "did you mean ThrottleInterval?"),
    ("StandardOutpath", "<string>/x</string>", "write StandardOutPath"),
    ("Colour", "<string>red</string>", "E Colour: launchd does not know it, and passes over it"),
    ("OnDemand", "<false/>", "E OnDemand: launchd no longer knows it; write KeepAlive"),
    ("TimeOut", "<integer>3</integer>", "write ExitTimeOut"),
    ("HopefullyExitsLast", "<true/>", "leave it out"),
    ("ThrottleInterval", "<string>10</string>", "E ThrottleInterval: is a <string>, and has to be an <integer>"),
    ("ThrottleInterval", "<integer>0</integer>", "launchd ignores 0 and uses 10"),
    ("ThrottleInterval", "<real>1.5</real>", "is a <real>"),
    ("StartInterval", "<integer>-1</integer>", "-1 is not from 1"),
    ("Nice", "<integer>21</integer>", "21 is not from -20 to 20"),
    ("RunAtLoad", "<integer>1</integer>", "is an <integer>, and has to be <true/> or <false/>"),
    ("RunAtLoad", "<string>true</string>", "is a <string>"),
    ("KeepAlive", "<string>yes</string>", "is a <string>, and has to be <true/>, <false/> or a <dict> of conditions"),
    ("KeepAlive", "<dict/>", "has no condition"),
    (
        "KeepAlive",
        "<dict><key>SuccessfullExit</key><false/></dict>",
        "E KeepAlive.SuccessfullExit: launchd does not know it; did you mean SuccessfulExit?",
    ),
    (
        "KeepAlive",
        "<dict><key>SuccessfulExit</key><integer>0</integer></dict>",
        "E KeepAlive.SuccessfulExit: is an <integer>",
    ),
    ("KeepAlive", "<dict><key>Crashed</key><true/></dict>", "W KeepAlive.Crashed: a process that is killed"),
    ("KeepAlive", "<dict><key>Crashed</key><false/></dict>", "W KeepAlive.Crashed: starts it again after every end"),
    ("KeepAlive", "<dict><key>NetworkState</key><true/></dict>", "W KeepAlive.NetworkState"),
    (
        "KeepAlive",
        "<dict><key>PathState</key><dict><key>/x</key><string>y</string></dict></dict>",
        "KeepAlive.PathState./x",
    ),
    (
        "WorkingDirectory",
        "<string>~/x</string>",
        "E WorkingDirectory: \"~/x\": launchd expands neither ~ nor variables",
    ),
    ("StandardOutPath", "<string>$HOME/x.log</string>", "expands neither ~ nor variables"),
    ("StandardErrorPath", "<string>/Users/${USER}/x.log</string>", "expands neither ~ nor variables"),
    ("StandardErrorPath", "<string>logs/x.log</string>", "is no absolute path"),
    ("WatchPaths", "<array><string>/x</string><string>y</string></array>", "\"y\" is no absolute path"),
    ("WatchPaths", "<array/>", "is empty"),
    (
        "EnvironmentVariables",
        "<dict><key>A</key><integer>1</integer></dict>",
        "E EnvironmentVariables.A: is an <integer>",
    ),
    (
        "EnvironmentVariables",
        "<dict><key>PATH</key><string>/x:$PATH</string></dict>",
        "W EnvironmentVariables.PATH: \"/x:$PATH\"",
    ),
    ("EnvironmentVariables", "<dict><key>A=B</key><string>x</string></dict>", "is no name of a variable"),
    ("EnvironmentVariables", "<array/>", "is an <array>, and has to be a <dict> of <string>s"),
    (
        "Umask",
        "<integer>77</integer>",
        "E Umask: an <integer> is decimal: 77 is octal 115; for octal 77 write <integer>63</integer>",
    ),
    ("Umask", "<integer>022</integer>", "for octal 22 write <integer>18</integer>"),
    ("Umask", "<integer>-1</integer>", "is not from 0 to 511"),
    ("Umask", "<string>63</string>", "W Umask: a <string> is read as octal"),
    ("Umask", "<string>089</string>", "is no octal number"),
    ("ProcessType", "<string>interactive</string>", "E ProcessType: \"interactive\" is written Interactive"),
    ("ProcessType", "<string>Realtime</string>", "is none of Background, Standard"),
    ("LimitLoadToSessionType", "<array><string>GUI</string></array>", "\"GUI\" is none of Aqua"),
    ("LimitLoadToSessionType", "<true/>", "is <true/>"),
    ("SoftResourceLimits", "<dict><key>NumberOfFile</key><integer>9</integer></dict>", "did you mean NumberOfFiles?"),
    ("HardResourceLimits", "<dict><key>NumberOfFiles</key><string>9</string></dict>", "has to be an <integer> from 0"),
    ("Disabled", "<true/>", "W Disabled"),
    ("Label", "<string>a.b</string>", "E Label: stands there twice"),
    (
        "EnvironmentVariables",
        "<dict><key>A</key><string>1</string><key>A</key><string>2</string></dict>",
        "EnvironmentVariables.A: stands there twice",
    ),
    ("WorkingDirectory", "<data>AAAA</data>", "is <data>"),
    ("WorkingDirectory", "<array><string>/</string></array>", "is an <array>, and has to be a <string>"),
    ("StartCalendarInterval", "<array/>", "is empty"),
    ("StartCalendarInterval", "<array><string>x</string></array>", "made of <dict>s only"),
    ("StartCalendarInterval", "<integer>3</integer>", "is an <integer>"),
];

#[test]
fn every_bad_key_is_told_once_and_with_what_to_write() {
    for (key, value, expected) in BAD {
        let found = with(&format!("<key>{key}</key>{value}"));
        assert!(found.len() == 1 && found[0].contains(expected), "{key} {value}: {found:?}");
    }
}

#[test]
fn schedules_are_looked_at_field_by_field() {
    let field = |(key, value): &(&str, &str)| format!("<key>{key}</key><integer>{value}</integer>");
    for (fields, expected) in [
        (&[("Hour", "7")][..], "E StartCalendarInterval: without Minute it is started every minute"),
        (&[("Minute", "7")], "E StartCalendarInterval: without Hour it is started every hour"),
        (&[("Minute", "60"), ("Hour", "5")], "E StartCalendarInterval.Minute: 60 is not from 0 to 59"),
        (&[("Minute", "0"), ("Hour", "24")], "Hour: 24 is not from 0 to 23"),
        (&[("Minute", "0"), ("Hour", "5"), ("Day", "0")], "Day: 0 is not from 1 to 31"),
        (&[("Minute", "0"), ("Hour", "5"), ("Weekday", "8")], "Weekday: 8 is not from 0 to 7"),
        (&[("Minute", "0"), ("Hour", "5"), ("Month", "13")], "Month: 13 is not from 1 to 12"),
        (&[("Minute", "0"), ("Hour", "5"), ("WeekDay", "1")], "capitals count, write Weekday"),
        (&[("Minute", "0"), ("Hour", "5"), ("Year", "2030")], "launchd does not know it"),
        (
            &[("Minute", "0"), ("Hour", "5"), ("Weekday", "1"), ("Month", "3")],
            "E StartCalendarInterval: launchd is known to ignore",
        ),
        (
            &[("Minute", "0"), ("Hour", "5"), ("Weekday", "1"), ("Day", "3")],
            "W StartCalendarInterval: Day beside Weekday",
        ),
        (&[("Minute", "0"), ("Hour", "5"), ("Day", "29")], "W StartCalendarInterval: Day 29"),
        (&[("Minute", "59"), ("Hour", "3")], "W StartCalendarInterval: Hour 3"),
    ] {
        let one = format!("<dict>{}</dict>", fields.iter().map(field).collect::<String>());
        let found = with(&format!("<key>StartCalendarInterval</key>{one}"));
        assert!(found.len() == 1 && found[0].contains(expected), "{fields:?}: {found:?}");
        let many = format!("<key>StartCalendarInterval</key><array>{one}{one}</array>");
        let of_table = found[0].contains("StartCalendarInterval:");
        assert_eq!(with(&many).len(), if of_table { 1 } else { 2 }, "{many}");
    }
    let slot = "<key>StartCalendarInterval</key><dict><key>Hour</key><integer>7</integer><key>Minute</key><integer>0</integer></dict>";
    let kept = with(&format!("{slot}<key>KeepAlive</key><true/><key>RunAtLoad</key><true/>"));
    assert!(kept.len() == 1 && kept[0].contains("W KeepAlive: with StartCalendarInterval"), "{kept:?}");
    assert_eq!(with(&format!("{slot}<key>KeepAlive</key><false/>")), Vec::<String>::new());
    assert!(with(&format!("{slot}<key>RunAtLoad</key><true/>"))[0].contains("also runs at each login"));
}

#[test]
fn label_program_and_grace_have_to_be_there() {
    let label = "<key>Label</key><string>a.b</string>";
    let program = "<key>Program</key><string>/bin/x</string>";
    let grace = "<key>ExitTimeOut</key><integer>9</integer>";
    for (keys, expected) in [
        (format!("{program}{grace}"), "E Label: is missing"),
        (format!("<key>Label</key><string>a b</string>{program}{grace}"), "keep to letters"),
        (format!("<key>Label</key><integer>1</integer>{program}{grace}"), "E Label: is an <integer>"),
        (format!("{label}{grace}"), "nothing is started"),
        (format!("{label}{grace}<key>Program</key><string>x</string>"), "E Program: \"x\" is no absolute path"),
        (
            format!("{label}{grace}<key>ProgramArguments</key><array><string>x</string></array>"),
            "E ProgramArguments: \"x\" is no absolute path",
        ),
        (format!("{label}{grace}<key>ProgramArguments</key><array/>"), "is empty"),
        (format!("{label}{grace}<key>ProgramArguments</key><array><true/></array>"), "made of <string>s only"),
        (
            format!("{label}{grace}<key>ProgramArguments</key><array><string>/x</string><string>~/y</string></array>"),
            "W ProgramArguments: \"~/y\"",
        ),
        (format!("{label}{program}"), "W ExitTimeOut: not written, so launchd waits 5 s"),
        (format!("{label}{program}<key>ExitTimeOut</key><integer>0</integer>"), "0 would mean for ever"),
    ] {
        let found = of(&keys);
        assert!(found.len() == 1 && found[0].contains(expected), "{keys}: {found:?}");
    }
    let relative = "<key>ProgramArguments</key><array><string>x</string></array>";
    assert_eq!(of(&format!("{label}{program}{grace}{relative}")), Vec::<String>::new(), "argv[0] is then a mere name");
}

#[test]
fn a_file_has_to_be_called_as_its_label() {
    let text = file(GOOD);
    assert_eq!(lint_file(text.as_bytes(), "a.b.plist"), []);
    let found = lint_file(text.as_bytes(), "b.plist");
    assert!(found.len() == 1 && found[0].what.contains("a.b.plist, not b.plist"), "{found:?}");
}

#[test]
fn what_is_no_property_list_is_told_as_such() {
    let whole = file(GOOD);
    let array = "<plist version=\"1.0\"><array/></plist>";
    let deep = format!("<plist><dict><key>x</key>{}{}</dict></plist>", "<array>".repeat(99), "</array>".repeat(99));
    for (bytes, expected) in [
        (&b""[..], "neither an XML nor a binary"),
        (b"{ Label = x; }", "neither an XML nor a binary"),
        (b"\xff\xfe<", "nor UTF-8"),
        (b"bplist00nonsense", "is no property list"),
        (array.as_bytes(), "it holds an <array>"),
        (&whole.as_bytes()[..whole.len() - 9], "ends before"),
        (&whole.as_bytes()[..whole.len() - 3], "ends in the middle"),
        (file("<key>A</key><key>B</key><string>x</string>").as_bytes(), "<key> without a value"),
        (file("<key>A</key>").as_bytes(), "<key> without a value"),
        (file("<string>A</string><string>x</string>").as_bytes(), "without a <key> before it"),
        (file("<key>Label</key><string>a & b</string>").as_bytes(), "is no property list"),
        (file("<key>Label</key><string><![CDATA[a]]></string>").as_bytes(), "CDATA"),
        (file("<key>Nice</key><integer>ten</integer>").as_bytes(), "is no property list"),
        (file("<key>Nice</key><number>1</number>").as_bytes(), "is no property list"),
        (deep.as_bytes(), "nested"),
    ] {
        let found = lint(bytes);
        let text = String::from_utf8_lossy(bytes);
        assert!(found.len() == 1 && found[0].is_error() && found[0].what.contains(expected), "{text}: {found:?}");
    }
}

#[test]
fn binary_ones_are_read_too() {
    let mut bytes = Vec::new();
    let job = [("Label", "a.b"), ("Program", "/bin/x"), ("ExitTimeout", "9")];
    ::plist::Value::Dictionary(job.into_iter().collect()).to_writer_binary(&mut bytes).unwrap();
    let found: Vec<String> = lint(&bytes).iter().map(ToString::to_string).collect();
    assert!(found.len() == 2 && found[0].starts_with("ExitTimeout: launchd does not know it"), "{found:?}");
}
