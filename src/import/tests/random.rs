//! Whatever is read: no panic, no fault in what comes out, and texts arrive as they were.

use proptest::prelude::*;

use super::super::Format;
use super::super::write::quoted;
use super::*;

const FORMATS: [Option<Format>; 6] = [
    None,
    Some(Format::Launchd),
    Some(Format::Systemd),
    Some(Format::Procfile),
    Some(Format::Supervisord),
    Some(Format::Pm2),
];

fn hold(bytes: &[u8], name: &str) {
    for format in FORMATS {
        let imported = import(&[file(name, bytes)], format, &around());
        let source = Source { path: "services.toml".into(), text: imported.text };
        let parsed = config::parse(&source, &around());
        assert!(parsed.faults.is_empty(), "{}\n{}", config::render(&parsed.faults, &source, false), source.text);
    }
}

/// Pieces that mean something to one of the readers, in any order.
fn pieces() -> impl Strategy<Value = String> {
    let pieces = [
        "[Unit]\n",
        "[Service]\n",
        "[Timer]\n",
        "[program:a]\n",
        "ExecStart=",
        "OnCalendar=",
        "Environment=",
        "After=",
        "a.service\n",
        "command=",
        "environment=",
        "exitcodes=",
        "stopwaitsecs=",
        "WatchdogSec=",
        "TimeoutStopSec=",
        "SuccessExitStatus=",
        "web: ",
        "cd ",
        " && ",
        "exec ",
        ">> ",
        "2>&1",
        "$HOME",
        "${A}",
        "%(ENV_PATH)s",
        "%h",
        "%",
        "$",
        "\"",
        "'",
        "\\",
        "\n",
        " ",
        "=",
        ",",
        "/",
        "/bin/x",
        "78",
        "0",
        "-1",
        "1d",
        "*-*-*",
        "Mon..Fri",
        "03:00",
        "{",
        "}",
        "[",
        "]",
        ":",
        "~",
        "~/x",
        "\u{0}",
        "é",
        "😀",
        "&",
        "{\"apps\":[{\"script\":\"",
        "\",\"args\":\"",
        "\",\"name\":\"",
        "\"}]}",
        "supervisor",
        "..",
        "#",
        ";",
        "--token x",
    ];
    prop::collection::vec(prop::sample::select(pieces.to_vec()), 0..40).prop_map(|pieces| pieces.concat())
}

/// An agent with these texts in all places that texts can be in.
fn agent(text: &str, key: &str, other: &str, number: i64) -> plist::Dictionary {
    use plist::Value;
    let mut env = plist::Dictionary::new();
    env.insert(key.into(), text.into());
    let mut when = plist::Dictionary::new();
    when.insert("Hour".into(), number.into());
    when.insert(other.into(), number.into());
    let mut dict = plist::Dictionary::new();
    dict.insert("Label".into(), other.into());
    dict.insert("KeepAlive".into(), true.into());
    dict.insert("ProgramArguments".into(), Value::Array(vec!["/bin/x".into(), text.into(), other.into()]));
    dict.insert("EnvironmentVariables".into(), env.into());
    dict.insert("WorkingDirectory".into(), other.into());
    dict.insert("StandardOutPath".into(), text.into());
    dict.insert("ThrottleInterval".into(), number.into());
    dict.insert("ExitTimeOut".into(), number.into());
    dict.insert(key.into(), when.into());
    dict
}

fn bytes(dict: plist::Dictionary, binary: bool) -> Vec<u8> {
    let mut bytes = Vec::new();
    let value = plist::Value::Dictionary(dict);
    match binary {
        true => value.to_writer_binary(&mut bytes).unwrap(),
        false => value.to_writer_xml(&mut bytes).unwrap(),
    }
    bytes
}

proptest! {
    #![proptest_config(ProptestConfig { cases: 128, ..ProptestConfig::default() })]

    #[test]
    fn any_text_survives_into_toml_and_back(text in any::<String>(), odd in "[\\x00-\\x20\"'\\\\\\x7f${}~#\u{85}\u{2028}😀]{0,12}") {
        for text in [text, odd] {
            let toml = format!("a = {}\n", quoted(&text));
            let table: toml::Table = toml::from_str(&toml).unwrap();
            prop_assert_eq!(table["a"].as_str(), Some(text.as_str()));
        }
    }

    #[test]
    fn any_bytes_are_answered(bytes in prop::collection::vec(any::<u8>(), 0..200), start in 0..5_usize) {
        let start: &[u8] = [&b""[..], b"bplist00", b"<plist><dict><key>", b"[Service]\nExecStart=", b"{\"apps\":[{\"script\":\""][start];
        hold(&[start, &bytes].concat(), "a.txt");
    }

    #[test]
    fn any_words_are_answered(text in pieces()) {
        hold(text.as_bytes(), "b.txt");
    }

    #[test]
    fn broken_plists_are_answered(at in 0..1000_usize, byte in any::<u8>(), binary: bool) {
        let mut bytes = bytes(agent("a b", "PATH", "x", 5), binary);
        let at = at % bytes.len();
        bytes[at] = byte;
        hold(&bytes, "c.plist");
    }

    #[test]
    fn any_agent_is_taken_over_as_it_is(text in "[^\\x00-\\x1f\u{7f}-\u{9f}\u{fffe}\u{ffff}]{0,12}", key in "[A-Z_]{1,8}|\\PC{0,8}", other in "\\PC{0,8}", number in any::<i64>(), binary: bool) {
        let (imported, fleet) = read(&[file("d.plist", bytes(agent(&text, &key, &other, number), binary))]);
        let [service] = fleet.services.as_slice() else { return Ok(()) };
        let hidden = imported.text.contains("***");
        prop_assert!(hidden || command(service) == ["/bin/x", &text, &other], "{}", imported.text);
        if let Some(value) = service.env.get(&key) {
            let home = text == "~" || text.starts_with("~/");
            prop_assert!(home || *value == text, "{}", imported.text);
        }
    }
}
