//! The end of a log.

use std::path::Path;

use super::{LINE, shown};
use crate::logs::read;

/// The last whole lines of the log's last `most` bytes, as far as they fit into `room` bytes; the last one may be unfinished.
pub(super) fn of(log: &Path, most: usize, room: usize) -> Result<Vec<String>, String> {
    // One more, to see whether a line begins there.
    let bytes = read::last_bytes(log, most + 1).map_err(|error| error.to_string())?;
    let text = String::from_utf8_lossy(if bytes.len() > most { whole(&bytes) } else { &bytes });
    if text.is_empty() && !bytes.is_empty() {
        return Err(format!("its last line is longer than {most} bytes"));
    }
    let mut left = room;
    let mut lines = Vec::new();
    for line in text.lines().rev() {
        let line = shown(line, LINE);
        // With its end.
        let Some(rest) = left.checked_sub(line.len() + 1) else { break };
        left = rest;
        lines.push(line);
    }
    lines.reverse();
    if lines.is_empty() && !text.is_empty() { Err("there is no room for it".into()) } else { Ok(lines) }
}

/// Without the line that has begun before: of a secret in it a half would be left, and not be known.
fn whole(bytes: &[u8]) -> &[u8] {
    let end = bytes.iter().position(|byte| *byte == b'\n').map_or(bytes.len(), |at| at + 1);
    &bytes[end..]
}

#[cfg(test)]
mod tests {
    use super::*;

    const MUCH: usize = 1 << 20;

    fn log(text: &str) -> (tempfile::TempDir, std::path::PathBuf) {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a-stderr.log");
        std::fs::write(&path, text).unwrap();
        (folder, path)
    }

    #[test]
    fn whole_lines_from_the_end_without_secrets() {
        let (folder, path) = log("one\ntwo password=hunter2\n\x1b[31mthree\x1b[0m\nfour");
        assert_eq!(of(&path, MUCH, MUCH).unwrap(), ["one", "two password=[redacted]", "three", "four"]);
        assert_eq!(of(&path, MUCH, 11).unwrap(), ["three", "four"]);
        of(&path, MUCH, 4).unwrap_err();
        assert_eq!(of(&folder.path().join("none"), MUCH, MUCH).unwrap(), [""; 0]);
    }

    #[test]
    fn half_a_line_is_no_line() {
        // The cut is within the secret's line, at its beginning, and in the one before.
        let (_folder, path) = log("first\ntoken=abcdefghij\nlast\n");
        assert_eq!(of(&path, 10, MUCH).unwrap(), ["last"]);
        assert_eq!(of(&path, 5, MUCH).unwrap(), ["last"]);
        assert_eq!(of(&path, 21, MUCH).unwrap(), ["last"]);
        assert_eq!(of(&path, 22, MUCH).unwrap(), ["token=[redacted]", "last"]);
        assert!(of(&path, 3, MUCH).unwrap_err().contains("longer than 3 bytes"));
    }

    #[test]
    fn a_long_line_is_cut_after_its_secrets_are_gone() {
        let (_folder, path) = log(&format!("{} password={}\n", "x y ".repeat(480), "s3cret".repeat(300)));
        let lines = of(&path, MUCH, MUCH).unwrap();
        assert!(lines[0].ends_with("password=[redacted]") && !lines[0].contains("s3cret"), "{lines:?}");
        let (_folder, path) = log(&"\u{e4} ".repeat(LINE));
        assert!(of(&path, MUCH, MUCH).unwrap()[0].ends_with("..."));
    }
}
