//! Damaged files: whatever stands in the text, there is an answer, and its places are in the text.

use super::{EVERY_KEY, OURS, around, source};
use crate::config::{parse, render, state_dir};
use crate::model::testing::Numbers;

const TOKENS: &[&str] = &[
    "[",
    "]",
    "[[",
    "]]",
    "{",
    "}",
    "=",
    ",",
    ".",
    "\"",
    "'",
    "\"\"\"",
    "#",
    "\n",
    "\r\n",
    " ",
    "\t",
    "\0",
    "\u{7f}",
    "\u{feff}",
    "é",
    "日本",
    "\u{202e}",
    "-1",
    "0",
    "99999999999999999999",
    "0x1F",
    "1.5",
    "nan",
    "inf",
    "true",
    "false",
    "1979-05-27",
    "\"10s\"",
    "\"~\"",
    "\"${VAR}\"",
    "\"${\"",
    "\"${NONE}\"",
    "[]",
    "{}",
    "\"\"",
    "\"\\u0000\"",
    "\"http://[::1\"",
    "command",
    "after",
    "service",
    "task",
    "health",
    "[service.web]",
    "[service.gateway]",
    "[task.x]\n",
    "[[alerts.sink]]\n",
    "after = [\"web\"]\n",
    "a.b.c = 1\n",
    "\"\\q\"",
    "'''",
];

fn mutated(text: &str, numbers: &mut Numbers) -> String {
    let mut bytes = text.as_bytes().to_vec();
    for _ in 0..=numbers.below(6) {
        let at = numbers.below(bytes.len() + 1);
        match numbers.below(7) {
            0 if at < bytes.len() => bytes[at] = u8::try_from(numbers.below(256)).unwrap(),
            1 if at < bytes.len() => drop(bytes.remove(at)),
            2 => bytes.insert(at, u8::try_from(numbers.below(128)).unwrap()),
            3 => drop(bytes.splice(at..at, TOKENS[numbers.below(TOKENS.len())].bytes())),
            4 => {
                // A word or value is replaced by a token.
                let is_end = |b: &u8| matches!(b, b' ' | b'\n' | b',' | b']');
                let end = bytes[at..].iter().position(is_end).map_or(bytes.len(), |n| at + n);
                drop(bytes.splice(at..end, TOKENS[numbers.below(TOKENS.len())].bytes()));
            }
            5 => {
                // A line is moved elsewhere: keys land in other tables, headers come twice.
                let text = String::from_utf8_lossy(&bytes).into_owned();
                let mut lines: Vec<&str> = text.split_inclusive('\n').collect();
                let from = numbers.below(lines.len());
                let Some(line) = lines.get(from).copied() else { continue };
                if numbers.below(2) == 0 {
                    lines.remove(from);
                }
                lines.insert(numbers.below(lines.len() + 1), line);
                bytes = lines.concat().into_bytes();
            }
            _ => bytes.truncate(at),
        }
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

#[test]
fn ten_thousand_damaged_files_are_answered_within_their_text() {
    let around = around();
    let mut numbers = Numbers(0x5eed);
    let (mut with_faults, mut with_fleet) = (0, 0);
    for round in 0..10_000 {
        let text = mutated(if round % 2 == 0 { OURS } else { EVERY_KEY }, &mut numbers);
        let source = source(&text);
        let parsed = parse(&source, &around);
        for fault in &parsed.faults {
            assert!(text.get(fault.span.clone()).is_some(), "round {round}: {fault:?}");
            let lines = text.split('\n').count();
            assert!((1..=lines).contains(&fault.line) && fault.column >= 1, "round {round}: {fault:?}");
            assert!(!fault.one_line(&source.path).contains('\n'), "round {round}: {fault:?}");
        }
        assert!(parsed.fleet.is_some() || !parsed.faults.is_empty(), "round {round}: nothing at all");
        // Read alone, the state directory is the same. (In a file that says nothing as a whole its head may say it.)
        let alone = state_dir(|| Some(&source), &around);
        if let Some(fleet) = &parsed.fleet {
            assert_eq!(alone, fleet.state_dir, "round {round}");
        }
        if let Some(fleet) = &parsed.fleet {
            assert!(fleet.unusable.is_empty() || !parsed.faults.is_empty(), "round {round}: unusable without a fault");
            with_fleet += 1;
        }
        with_faults += usize::from(!parsed.faults.is_empty());
        if round % 16 == 0 {
            let shown = render(&parsed.faults, &source, false);
            assert_eq!(shown.matches("error[CFG").count(), parsed.faults.len(), "round {round}");
        }
    }
    // Else the damage would be too small, or so large that only the TOML parser is ever tried.
    assert!(with_faults > 5_000 && with_fleet > 2_000, "{with_faults} with faults, {with_fleet} with a fleet");
}
