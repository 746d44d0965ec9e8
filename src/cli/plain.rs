//! `status` as it is typed by people and scripts all day, read without clap.
//!
//! clap builds the grammar of all commands with all their help before it reads the first word, which takes as long as the
//! rest of `status`. This reads the plain forms of that one command, and leaves all else to clap: whatever it is not sure
//! of, and every mistake, as clap has the words for it. It adds no meaning: a test holds what it reads against clap.

use std::ffi::{OsStr, OsString};
use std::path::PathBuf;

use super::args::{Ask, Command, Global, Invocation, Status};

/// Reads the command line, program name first; `None` for what clap has to read.
pub(super) fn status(args: &[OsString]) -> Option<Invocation> {
    let mut global = Global::default();
    let mut words: Vec<String> = Vec::new();
    let mut args = args.iter().skip(1);
    while let Some(arg) = args.next() {
        let arg = arg.to_str()?;
        let (key, value) = match arg.split_once('=') {
            Some((key, value)) if arg.starts_with('-') => (key, Some(OsStr::new(value))),
            _ => (arg, None),
        };
        match key {
            "--json" if value.is_none() && !global.json => global.json = true,
            "--config" => once(&mut global.config, value.or_else(|| args.next().map(OsString::as_os_str))?)?,
            "--state-dir" => once(&mut global.state_dir, value.or_else(|| args.next().map(OsString::as_os_str))?)?,
            _ if key.is_empty() || key.starts_with('-') => return None,
            _ if words.is_empty() && key != "status" => return None,
            _ => words.push(key.to_owned()),
        }
    }
    if words.is_empty() {
        return None;
    }
    let names = words.split_off(1);
    Some(Invocation { global, command: Command::Ask(Ask::Status(Status { names })) })
}

/// Takes an option's value, if it is the first and is plainly one.
fn once(to: &mut Option<PathBuf>, value: &OsStr) -> Option<()> {
    if to.is_some() || value.is_empty() || value.as_encoded_bytes().starts_with(b"-") {
        return None;
    }
    *to = Some(value.into());
    Some(())
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;

    fn plain(line: &[&str]) -> Option<Invocation> {
        status(&line.iter().map(OsString::from).collect::<Vec<_>>())
    }

    #[test]
    fn what_it_reads_means_the_same_to_clap() {
        const WORDS: [&str; 18] = [
            "status",
            "--json",
            "--config",
            "--config=f",
            "--config=",
            "--state-dir",
            "--state-dir=d=e",
            "a",
            "run",
            "help",
            "",
            "a=b",
            "-v",
            "-",
            "--",
            "--help",
            "--jso",
            "--json=true",
        ];
        let mut read = 0;
        for length in 0..=4_u32 {
            for number in 0..WORDS.len().pow(length) {
                let nth = |at| WORDS[number / WORDS.len().pow(at) % WORDS.len()];
                let line: Vec<&str> = std::iter::once("supervisor").chain((0..length).map(nth)).collect();
                let Some(plain) = plain(&line) else { continue };
                assert_eq!(Invocation::try_parse_from(&line).ok(), Some(plain), "{line:?}");
                read += 1;
            }
        }
        assert!(read > 500, "it reads {read} lines only");
    }

    #[test]
    fn the_forms_that_are_typed_all_day_are_read() {
        let names = |of: &[&str]| of.iter().map(|name| (*name).to_owned()).collect();
        for (line, json, config, wanted) in [
            ("supervisor status", false, None, names(&[])),
            ("supervisor status --json", true, None, names(&[])),
            ("supervisor --json status a b", true, None, names(&["a", "b"])),
            ("supervisor --config f status --json", true, Some("f"), names(&[])),
            ("supervisor status a --config=f", false, Some("f"), names(&["a"])),
        ] {
            let read = plain(&line.split(' ').collect::<Vec<_>>()).unwrap_or_else(|| panic!("{line}"));
            let global = Global { json, config: config.map(PathBuf::from), ..Global::default() };
            assert_eq!(
                read,
                Invocation { global, command: Command::Ask(Ask::Status(Status { names: wanted })) },
                "{line}"
            );
        }
    }

    #[test]
    fn what_is_no_text_is_left_to_clap_but_for_paths() {
        use std::os::unix::ffi::OsStringExt;
        let odd = OsString::from_vec(vec![b'x', 0xff]);
        let line = ["supervisor", "status", "--config"].map(OsString::from).into_iter().chain([odd.clone()]);
        let line: Vec<OsString> = line.collect();
        assert_eq!(status(&line), Some(Invocation::try_parse_from(&line).unwrap()));
        assert_eq!(status(&["supervisor".into(), "status".into(), odd]), None);
    }
}
