//! A notification on the screen, by the program of the system that makes them.

use std::path::{Path, PathBuf};
use std::time::Duration;

use super::{program, text};
use crate::model::{Delivery, Message, Severity};
use crate::process::command;
use crate::process::spawn::find_program;
use crate::process::{clock, files};

/// What fits a notification; more is cut by the systems, at different places.
const TITLE: usize = 120;
const BODY: usize = 400;

/// How many evidence files stay; older ones are removed.
const EVIDENCE: usize = 200;

/// The programs that can do it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Tool {
    TerminalNotifier,
    Osascript,
    NotifySend,
    Busctl,
}

/// Those of a system, best first.
fn tools(is_mac: bool) -> &'static [(Tool, &'static str)] {
    match is_mac {
        true => &[(Tool::TerminalNotifier, "terminal-notifier"), (Tool::Osascript, "osascript")],
        false => &[(Tool::NotifySend, "notify-send"), (Tool::Busctl, "busctl")],
    }
}

/// A daemon's PATH is short, and Homebrew's folders are not on it.
fn path() -> String {
    let path = std::env::var("PATH").unwrap_or_default();
    format!("{path}:/opt/homebrew/bin:/usr/local/bin:/usr/bin:/bin")
}

fn find(is_mac: bool, path: &str) -> Result<(Tool, PathBuf), String> {
    let mut found =
        tools(is_mac).iter().filter_map(|(tool, name)| Some((*tool, find_program(name, path, Path::new("/")).ok()?)));
    let names: Vec<&str> = tools(is_mac).iter().map(|(_, name)| *name).collect();
    let advice = if is_mac { "" } else { ": install notify-send (libnotify), or name another sink" };
    found.next().ok_or_else(|| format!("no program for notifications is here ({}){advice}", names.join(", ")))
}

/// Why no notification can appear here.
pub(super) fn unreachable_why() -> Option<String> {
    let is_mac = cfg!(target_os = "macos");
    if let Err(why) = find(is_mac, &path()) {
        return Some(why);
    }
    let has = |name: &str| std::env::var_os(name).is_some_and(|value| !value.is_empty());
    let runtime = std::env::var_os("XDG_RUNTIME_DIR").map(PathBuf::from).unwrap_or_default();
    (!is_mac && !has("DBUS_SESSION_BUS_ADDRESS") && !runtime.join("bus").exists())
        .then(|| "there is no desktop session here that would show a notification: name another sink".to_owned())
}

/// What is shown.
struct Shown<'a> {
    title: String,
    body: String,
    severity: Severity,
    key: &'a str,
    evidence: Option<&'a Path>,
}

/// Shows it, and leaves all of it in a file that a click opens where the system can do that.
pub(super) fn show(message: &Message, evidence: &Path, host: &str, limit: Duration) -> Delivery {
    let (tool, program) = match find(cfg!(target_os = "macos"), &path()) {
        Ok(found) => found,
        Err(why) => return Delivery::Failed(why),
    };
    // A notification without a file is better than none.
    let file = keep(evidence, message, host).inspect_err(|e| tracing::warn!("no evidence file: {e}")).ok();
    let argv = argv(tool, &shown(message, file.as_deref()));
    program::ended(&program, command::run(&program, &argv, &[], limit))
}

fn shown<'a>(message: &'a Message, evidence: Option<&'a Path>) -> Shown<'a> {
    let body = match message {
        Message::One(notice) => text::body(notice),
        Message::Digest { notices, .. } => {
            notices.iter().map(|notice| format!("{}\n", text::line(notice, 120))).collect()
        }
    };
    let severity = message.notices().iter().filter(|n| n.alert.is_open()).map(|n| n.alert.severity).max();
    Shown {
        title: guarded(&text::shorten(&text::subject(message), TITLE)),
        body: guarded(&text::shorten(body.trim(), BODY)),
        severity: severity.unwrap_or(Severity::Info),
        key: message.key(),
        evidence,
    }
}

/// None of the programs takes it for an option or a list: it begins with a letter, a number, or a dot in the middle.
fn guarded(text: &str) -> String {
    match text.chars().next() {
        Some(c) if c.is_alphanumeric() => text.to_owned(),
        _ => format!("\u{b7} {text}"),
    }
}

/// The words for a program. Texts are always words of their own, and in no script.
fn argv(tool: Tool, shown: &Shown<'_>) -> Vec<String> {
    let Shown { title, body, severity, key, evidence } = shown;
    let words: Vec<&str> = match tool {
        Tool::TerminalNotifier => vec!["-title", title, "-message", body, "-group", key],
        Tool::Osascript => vec![
            "-e",
            "on run argv",
            "-e",
            "display notification (item 2 of argv) with title (item 1 of argv)",
            "-e",
            "end run",
            title,
            body,
        ],
        Tool::NotifySend => {
            let urgency = match severity {
                Severity::Info => "--urgency=low",
                Severity::Warning => "--urgency=normal",
                Severity::Critical => "--urgency=critical",
            };
            let body = markup(body);
            return [urgency, "--app-name=supervisor", "--", title, &body].map(str::to_owned).into();
        }
        Tool::Busctl => {
            let urgency = match severity {
                Severity::Info => "0",
                Severity::Warning => "1",
                Severity::Critical => "2",
            };
            let body = markup(body);
            let place =
                ["org.freedesktop.Notifications", "/org/freedesktop/Notifications", "org.freedesktop.Notifications"];
            // The name of the application, no notification that it takes the place of, no icon, no buttons, one hint, and the
            // server's own time.
            return ["--user", "--", "call"]
                .into_iter()
                .chain(place)
                .chain([
                    "Notify",
                    "susssasa{sv}i",
                    "supervisor",
                    "0",
                    "",
                    title,
                    &body,
                    "0",
                    "1",
                    "urgency",
                    "y",
                    urgency,
                    "-1",
                ])
                .map(str::to_owned)
                .collect();
        }
    };
    let mut words: Vec<String> = words.into_iter().map(str::to_owned).collect();
    if let (Tool::TerminalNotifier, Some(file)) = (tool, evidence) {
        words.extend(["-open".to_owned(), file_url(file)]);
    }
    words
}

/// Bodies on Linux are markup.
fn markup(text: &str) -> String {
    text.replace('&', "&amp;").replace('<', "&lt;").replace('>', "&gt;")
}

fn file_url(path: &Path) -> String {
    use std::os::unix::ffi::OsStrExt;
    let plain = |c: u8| c.is_ascii_alphanumeric() || b"/-._~".contains(&c);
    let path = path.as_os_str().as_bytes().iter();
    path.fold("file://".to_owned(), |url, c| {
        if plain(*c) { url + (*c as char).to_string().as_str() } else { format!("{url}%{c:02X}") }
    })
}

/// Writes all of the message into a file of its alert.
fn keep(folder: &Path, message: &Message, host: &str) -> Result<PathBuf, String> {
    let id = match message {
        Message::One(notice) => &notice.alert.id,
        Message::Digest { key, .. } => key,
    };
    let id: String = id.chars().map(|c| if c.is_ascii_alphanumeric() || c == '-' { c } else { '_' }).take(64).collect();
    let path = folder.join(format!("alert-{id}.txt"));
    let failed = |e: std::io::Error| format!("{}: {e}", path.display());
    files::ensure_dir(folder).map_err(failed)?;
    let text = format!("{}\nwritten {}\n", text::full(message, host), text::rfc3339(clock::now().wall_ms));
    files::write_atomic(&path, text.as_bytes(), false).map_err(failed)?;
    files::keep_newest(folder, |name| name.starts_with("alert-"), EVIDENCE, u64::MAX);
    Ok(path)
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::alert::testing::{digest, notice};
    use crate::model::NoticeKind;

    const ALL: [Tool; 4] = [Tool::TerminalNotifier, Tool::Osascript, Tool::NotifySend, Tool::Busctl];

    #[test]
    fn each_program_gets_the_texts_as_words_of_their_own() {
        let mut notice = notice(NoticeKind::Fired);
        notice.alert.title = "--urgency=low\" & (do shell script \"x\")".into();
        notice.alert.facts = vec!["<b>-e</b>".into()];
        let message = Message::One(Box::new(notice));
        let shown = shown(&message, Some(Path::new("/a b/c%.txt")));
        for tool in ALL {
            let argv = argv(tool, &shown);
            let title = "\u{b7} --urgency=low\" & (do shell script \"x\")";
            assert_eq!(argv.iter().filter(|word| *word == title).count(), 1, "{argv:?}");
            // Nothing else of the texts is in a word with something of ours.
            assert!(argv.iter().all(|word| word == title || !word.contains("do shell")), "{argv:?}");
            let body = argv.iter().find(|word| word.contains("b>-e") || word.contains("&lt;b&gt;-e")).unwrap();
            assert!(body.starts_with('\u{b7}'), "{body}");
            let is_markup = matches!(tool, Tool::NotifySend | Tool::Busctl);
            assert_eq!(body.contains("&lt;b&gt;"), is_markup, "{body}");
        }
        let words = argv(Tool::TerminalNotifier, &shown);
        assert_eq!(words[words.len() - 4..], ["-group", "0123456789ab.0", "-open", "file:///a%20b/c%25.txt"]);
        assert_eq!(argv(Tool::NotifySend, &shown)[..3], ["--urgency=critical", "--app-name=supervisor", "--"]);
        let words = argv(Tool::Busctl, &shown);
        assert_eq!(words.len(), 19, "{words:?}");
        assert_eq!(words[words.len() - 6..], ["0", "1", "urgency", "y", "2", "-1"]);
        assert!(argv(Tool::Osascript, &shown)[1] == "on run argv");
    }

    #[test]
    fn a_system_has_its_own_programs_best_first() {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().to_str().unwrap();
        for (is_mac, best, other) in [(true, "terminal-notifier", "osascript"), (false, "notify-send", "busctl")] {
            assert!(find(is_mac, path).unwrap_err().contains(best));
            for (name, tool) in tools(is_mac).iter().rev().map(|(tool, name)| (*name, *tool)) {
                let file = folder.path().join(name);
                std::fs::write(&file, "#!/bin/sh\n").unwrap();
                std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o700)).unwrap();
                assert_eq!(find(is_mac, path).unwrap(), (tool, file));
            }
            assert_eq!(tools(is_mac)[1].1, other);
        }
    }

    #[test]
    fn the_evidence_is_private_and_bounded() {
        let home = tempfile::tempdir().unwrap();
        let folder = home.path().join("evidence");
        let message = Message::One(Box::new(notice(NoticeKind::Fired)));
        let path = keep(&folder, &message, "mac").unwrap();
        assert_eq!(path, folder.join("alert-0123456789ab.txt"));
        assert!(std::fs::read_to_string(&path).unwrap().contains("Error: listen"));
        assert_eq!(std::fs::metadata(&path).unwrap().permissions().mode() & 0o777, 0o600);
        assert_eq!(std::fs::metadata(&folder).unwrap().permissions().mode() & 0o777, 0o700);
        for n in 0..EVIDENCE + 5 {
            std::fs::write(folder.join(format!("alert-{n}.txt")), "").unwrap();
        }
        let Message::Digest { notices, .. } = digest(2) else { panic!() };
        let last = keep(&folder, &Message::Digest { key: "../d".into(), notices }, "mac").unwrap();
        assert_eq!(last, folder.join("alert-___d.txt"));
        assert_eq!(std::fs::read_dir(&folder).unwrap().count(), EVIDENCE);
    }
}
