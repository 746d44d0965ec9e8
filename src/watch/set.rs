//! A watch set of services.toml, made ready.

use std::borrow::Cow;
use std::ffi::{OsStr, OsString};
use std::os::unix::ffi::{OsStrExt, OsStringExt};
use std::path::{Path, PathBuf};

use ignore::gitignore::{Gitignore, GitignoreBuilder};
use serde::Serialize;

use super::judge::{On, Stat};
use crate::error::{Error, ErrorKind};
use crate::model::{NEVER_WATCHED, WatchOn, WatchSpec};

/// A watch set.
#[derive(Debug)]
pub(super) struct Set {
    pub(super) spec: WatchSpec,
    pub(super) on: On,
    ignore: Gitignore,
}

/// What a handler is told of a file.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Told {
    pub(super) event: WatchOn,
    pub(super) path: PathBuf,
    /// Its former name.
    pub(super) from: Option<PathBuf>,
    /// `None`: it is gone.
    pub(super) stat: Option<Stat>,
    pub(super) attempt: u32,
}

/// The same on its stdin.
#[derive(Debug, Serialize)]
struct Event<'a> {
    schema: u32,
    event: &'a str,
    path: Cow<'a, str>,
    name: Option<Cow<'a, str>>,
    dir: Option<Cow<'a, str>>,
    set: &'a str,
    size: Option<u64>,
    mtime_ms: Option<i64>,
    attempt: u32,
    from: Option<Cow<'a, str>>,
    /// Of a name that is no UTF-8.
    #[serde(skip_serializing_if = "Option::is_none")]
    path_hex: Option<String>,
}

impl Set {
    /// Makes it ready.
    ///
    /// # Errors
    /// `Refused` when a glob cannot be read.
    pub(super) fn new(spec: &WatchSpec) -> Result<Self, Error> {
        let mut builder = GitignoreBuilder::new("/");
        for glob in NEVER_WATCHED.iter().copied().chain(spec.ignore.iter().map(String::as_str)) {
            builder.add_line(None, glob).map_err(|e| bad_glob(glob, &e))?;
        }
        let ignore = builder.build().map_err(|e| bad_glob("", &e))?;
        Ok(Self { on: On::of(&spec.on), ignore, spec: spec.clone() })
    }

    /// What decides which files are the set's: when it changes, those that were left out before are no new files.
    pub(super) fn shape(&self) -> String {
        format!("{} {}", self.spec.recursive, serde_json::to_string(&self.spec.ignore).unwrap_or_default())
    }

    /// Whether a path below a folder of the set is left alone.
    pub(super) fn ignores(&self, below: &Path, is_folder: bool) -> bool {
        self.ignore.matched(Path::new("/").join(below), is_folder).is_ignore()
    }

    /// Whether a path below a folder of the set, or a folder that it is in, is left alone.
    pub(super) fn ignores_all_of(&self, below: &Path) -> bool {
        self.ignore.matched_path_or_any_parents(Path::new("/").join(below), false).is_ignore()
    }

    /// Whether new content of a known file is of interest.
    pub(super) fn wants_content(&self) -> bool {
        self.on.modified
    }

    /// Program and arguments of its handler.
    pub(super) fn argv(&self, told: &Told) -> Vec<OsString> {
        self.spec.run.iter().map(|word| filled(word, told)).collect()
    }

    /// What the handler finds on its stdin.
    pub(super) fn stdin(&self, told: &Told) -> Vec<u8> {
        let hex = || told.path.as_os_str().as_bytes().iter().map(|byte| format!("{byte:02x}")).collect();
        let event = Event {
            schema: 1,
            event: told.event.as_str(),
            path: told.path.to_string_lossy(),
            name: told.path.file_name().map(OsStr::to_string_lossy),
            dir: told.path.parent().map(Path::to_string_lossy),
            set: &self.spec.name,
            size: told.stat.map(|stat| stat.size),
            mtime_ms: told.stat.map(|stat| stat.modified / 1_000_000),
            attempt: told.attempt,
            from: told.from.as_deref().map(Path::to_string_lossy),
            path_hex: told.path.to_str().is_none().then(hex),
        };
        let mut bytes = serde_json::to_vec(&event).unwrap_or_default();
        bytes.push(b'\n');
        bytes
    }
}

fn bad_glob(glob: &str, why: &ignore::Error) -> Error {
    Error::new(ErrorKind::Refused, format!("cannot read the glob {glob:?} in `ignore`: {why}"))
        .hint("write it as .gitignore has it")
}

/// A word of `run` with its placeholders replaced, byte for byte. What a file is called is never read as a placeholder.
fn filled(word: &str, told: &Told) -> OsString {
    let mut filled = Vec::with_capacity(word.len());
    let mut rest = word;
    while let Some(open) = rest.find('{') {
        filled.extend_from_slice(&rest.as_bytes()[..open]);
        rest = &rest[open..];
        let name = rest.find('}').map(|close| &rest[1..close]);
        match name.and_then(|name| value(name, told)) {
            Some(value) => {
                filled.extend_from_slice(value.as_bytes());
                rest = &rest[name.map_or(1, str::len) + 2..];
            }
            None => {
                filled.push(b'{');
                rest = &rest[1..];
            }
        }
    }
    filled.extend_from_slice(rest.as_bytes());
    OsString::from_vec(filled)
}

fn value(name: &str, told: &Told) -> Option<OsString> {
    let of = |path: Option<&OsStr>| path.unwrap_or_default().to_owned();
    Some(match name {
        "path" => told.path.clone().into_os_string(),
        "name" => of(told.path.file_name()),
        "dir" => of(told.path.parent().map(Path::as_os_str)),
        "from" => of(told.from.as_deref().map(Path::as_os_str)),
        "event" => told.event.as_str().into(),
        "attempt" => told.attempt.to_string().into(),
        _ => return None,
    })
}

#[cfg(test)]
mod tests {
    use std::time::Duration;

    use serde_json::{Value, json};

    use super::*;
    use crate::model::Initial;

    pub(crate) fn spec(ignore: &[&str], run: &[&str]) -> WatchSpec {
        WatchSpec {
            name: "set".into(),
            paths: vec!["/folder".into()],
            on: vec![WatchOn::Created],
            recursive: true,
            settle: Duration::ZERO,
            ignore: ignore.iter().map(|&glob| glob.to_owned()).collect(),
            run: run.iter().map(|&word| word.to_owned()).collect(),
            concurrency: 1,
            timeout: Duration::from_secs(10),
            retries: 0,
            retry_delay: Duration::from_secs(1),
            initial: Initial::Seen,
            poll: None,
        }
    }

    #[test]
    fn globs_are_gitignores_and_parts_of_downloads_are_left_alone() {
        let set = Set::new(&spec(&["*.log", "/top", "sub/*.txt", "!*.part", "cache/"], &["/bin/true"])).unwrap();
        for ignored in ["a.log", "b/a.log", "x.crdownload", "d/x.download", "top", "sub/a.txt", "b/.DS_Store"] {
            assert!(set.ignores(Path::new(ignored), false), "{ignored}");
        }
        for watched in ["a.txt", "x.part", "b/top", "sub/b/a.txt", "cache", "logs"] {
            assert!(!set.ignores(Path::new(watched), false), "{watched}");
        }
        assert!(set.ignores(Path::new("cache"), true));
        assert!(set.ignores_all_of(Path::new("cache/a/b")) && !set.ignores_all_of(Path::new("a/b")));
        assert!(Set::new(&spec(&["{a"], &["/bin/true"])).map(|_| ()).unwrap_err().message.contains("{a"));
    }

    #[test]
    fn a_handler_is_told_of_its_file_byte_for_byte() {
        let run = ["/bin/h", "{path}", "{dir}|{name}", "{event} {attempt}", "{other} {", "--from={from}"];
        let set = Set::new(&spec(&[], &run)).unwrap();
        let path = PathBuf::from(OsString::from_vec(b"/folder/{name}\xff.png".to_vec()));
        let stat = Some(Stat { size: 3, modified: 5_000_000, ..Stat::default() });
        let told = Told { event: WatchOn::Renamed, path, from: Some("/folder/a".into()), stat, attempt: 2 };
        let argv: Vec<Vec<u8>> = set.argv(&told).into_iter().map(OsString::into_vec).collect();
        let wanted: [&[u8]; 6] = [
            b"/bin/h",
            b"/folder/{name}\xff.png",
            b"/folder|{name}\xff.png",
            b"renamed 2",
            b"{other} {",
            b"--from=/folder/a",
        ];
        assert_eq!(argv, wanted);
        for name in crate::model::PLACEHOLDERS {
            assert!(value(name, &told).is_some(), "{name}");
        }
        let event: Value = serde_json::from_slice(&set.stdin(&told)).unwrap();
        assert_eq!(event["path_hex"], "2f666f6c6465722f7b6e616d657dff2e706e67");
        assert_eq!((&event["event"], &event["mtime_ms"], &event["attempt"]), (&json!("renamed"), &json!(5), &json!(2)));
        let plain = Told { path: "/folder/é".into(), from: None, ..told };
        let event: Value = serde_json::from_slice(&set.stdin(&plain)).unwrap();
        assert_eq!((&event["path"], event.get("path_hex"), &event["from"]), (&json!("/folder/é"), None, &Value::Null));
    }
}
