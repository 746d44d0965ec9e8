//! Units to TOML text, always in the same order.

use super::unit::{Unit, Value};

/// In which order keys are written.
const ORDER: [&str; 26] = [
    "enabled",
    "calendar",
    "timezone",
    "command",
    "steps",
    "cwd",
    "env_file",
    "restart",
    "success_exit_codes",
    "hold_exit_codes",
    "throttle",
    "backoff_max",
    "min_uptime",
    "start_timeout",
    "stop_signal",
    "stop_timeout",
    "notify",
    "after",
    "catch_up",
    "max_runtime",
    "process_type",
    "sweep",
    "log",
    "health",
    "memory",
    "env",
];

/// Longest line of a comment, and of a list on one line.
const WIDTH: usize = 120;

/// The whole file.
pub(super) fn file(units: &[Unit], files: &[&str], prefix: Option<&str>) -> String {
    let mut out = String::new();
    let from = if files.len() > 12 { format!("{} files", files.len()) } else { plain(&files.join(", ")) };
    comment(&mut out, &format!("Made by `supervisor import` from {from}."));
    comment(
        &mut out,
        "Comments say where something now means something else. What is not written here has its default. Next: mend what \
         is switched off, take the old services out of their manager (else there are two of each), and run `supervisor check`.",
    );
    if let Some(prefix) = prefix {
        out.push_str(&format!("\n[supervisor]\nlabel_prefix = {}\n", quoted(prefix)));
    }
    for unit in units {
        out.push('\n');
        match &unit.void {
            None => out.push_str(&table(unit)),
            Some(why) => {
                comment(&mut out, &format!("Cannot be declared: {why}"));
                // What is said of single keys would be comments within a comment.
                for line in table(unit).lines().filter(|line| !line.starts_with('#') && !line.is_empty()) {
                    out.push_str(&format!("# {line}\n"));
                }
            }
        }
    }
    out
}

fn table(unit: &Unit) -> String {
    let mut out = String::new();
    let group = if unit.is_task { "task" } else { "service" };
    comment(&mut out, &format!("From {}.", plain(&unit.file)));
    remarks(&mut out, unit, "");
    // Keys of units are names already, and a dotted name needs its quotes.
    let header = format!("{group}.{}", key(&unit.name));
    out.push_str(&format!("[{header}]\n"));
    for why in &unit.off {
        comment(&mut out, &format!("Switched off: {why}."));
    }
    if !unit.off.is_empty() {
        out.push_str("enabled = false\n");
    }
    for name in ORDER.into_iter().filter(|name| *name != "env") {
        remarks(&mut out, unit, name);
        match unit.keys.get(name) {
            Some(_) if name == "enabled" && !unit.off.is_empty() => {}
            Some(value) => out.push_str(&format!("{name} = {}\n", long(value, name.len() + 3))),
            None => {}
        }
    }
    remarks(&mut out, unit, "env");
    if !unit.env.is_empty() {
        out.push_str(&format!("\n[{header}.env]\n"));
        for (name, text) in &unit.env {
            out.push_str(&format!("{} = {}\n", key(name), quoted(text)));
        }
    }
    out
}

fn remarks(out: &mut String, unit: &Unit, key: &str) {
    for remark in unit.remarks.iter().filter(|remark| remark.key == key) {
        comment(out, &remark.text);
    }
}

/// A comment of as many lines as it needs.
fn comment(out: &mut String, text: &str) {
    let mut line = String::from("#");
    for word in text.split(' ') {
        if line.len() > 1 && line.len() + 1 + word.len() > WIDTH {
            out.push_str(line.trim_end());
            out.push('\n');
            line = String::from("#");
        }
        line.push(' ');
        line.push_str(word);
    }
    out.push_str(line.trim_end());
    out.push('\n');
}

/// On one line, or a member a line where that would be too long.
fn long(value: &Value, indent: usize) -> String {
    let short = short(value);
    match value {
        Value::List(members) if indent + short.chars().count() > WIDTH => {
            let lines: String = members.iter().map(|member| format!("  {},\n", self::short(member))).collect();
            format!("[\n{lines}]")
        }
        _ => short,
    }
}

fn short(value: &Value) -> String {
    match value {
        Value::Text(text) => quoted(text),
        Value::Number(number) => number.to_string(),
        Value::Truth(truth) => truth.to_string(),
        Value::List(members) => format!("[{}]", members.iter().map(short).collect::<Vec<_>>().join(", ")),
        Value::Table(members) => {
            let members: Vec<String> =
                members.iter().map(|(name, value)| format!("{name} = {}", short(value))).collect();
            format!("{{ {} }}", members.join(", "))
        }
    }
}

/// A key, in quotes where it needs them.
fn key(name: &str) -> String {
    let bare = !name.is_empty() && name.bytes().all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_'));
    if bare { name.to_owned() } else { quoted(name) }
}

/// A TOML text on one line. JSON's quoting is TOML's, but for DEL, which only TOML wants escaped.
pub(super) fn quoted(text: &str) -> String {
    serde_json::Value::from(text).to_string().replace('\u{7f}', "\\u007F")
}

/// `text` on one line and harmless on a terminal: what others wrote may neither end a comment nor move a cursor.
pub(super) fn plain(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    for c in text.chars() {
        let reorders = matches!(c, '\u{200e}' | '\u{200f}' | '\u{202a}'..='\u{202e}' | '\u{2066}'..='\u{2069}');
        let breaks = matches!(c, '\u{2028}' | '\u{2029}');
        if c.is_control() || reorders || breaks {
            plain.extend(c.escape_default());
        } else {
            plain.push(c);
        }
    }
    plain
}
