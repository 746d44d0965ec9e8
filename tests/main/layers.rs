//! Who may use whom: the table in src/lib.rs is the one source of truth, and the sources are held against it.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

/// Rooms that decide and do nothing, besides what is named there.
const PURE: [&str; 5] = ["model", "policy", "machine", "config", "import"];

/// Reads services.toml, which is the one thing `config` does.
const IMPURE: [&str; 1] = ["config/load.rs"];

/// What needs a file system, a network, a process, a clock, a runtime or luck.
const WORLD: [&str; 9] = [
    "std::fs",
    "std::process",
    "TcpStream",
    "TcpListener",
    "ToSocketAddrs",
    "Instant::now",
    "SystemTime::now",
    "tokio::",
    "rand::",
];

/// A file that is longer does more than one thing.
const LONGEST: usize = 450;

fn src() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("src")
}

/// All source files: the path below src/, the room, and the text that is not for tests, without comments.
struct Source {
    path: String,
    room: String,
    lines: usize,
    text: String,
    is_test: bool,
}

fn sources() -> Vec<Source> {
    let mut files = Vec::new();
    let mut folders = vec![src()];
    while let Some(folder) = folders.pop() {
        for entry in std::fs::read_dir(folder).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
            } else if path.extension().is_some_and(|e| e == "rs") {
                files.push(path);
            }
        }
    }
    files.sort();
    let whole: Vec<(PathBuf, String)> =
        files.into_iter().map(|path| (path.clone(), std::fs::read_to_string(path).unwrap())).collect();
    let tests: Vec<PathBuf> = whole.iter().flat_map(|(path, text)| test_files(path, text)).collect();
    let source = |(path, text): (PathBuf, String)| {
        let below = path.strip_prefix(src()).unwrap().to_str().unwrap().to_owned();
        let room = below.split('/').next().unwrap().trim_end_matches(".rs").to_owned();
        let is_test = tests.iter().any(|test| path == *test || path.starts_with(test.with_extension("")));
        let text = if is_test { text } else { without_tests(&text) };
        let lines = text.lines().count();
        Source { path: below, room, lines, text: without_comments(&text), is_test }
    };
    whole.into_iter().map(source).collect()
}

/// The files of modules that `text`, the file at `path`, has for tests only.
fn test_files(path: &Path, text: &str) -> Vec<PathBuf> {
    let folder = path.parent().unwrap();
    let stem = path.file_stem().unwrap().to_str().unwrap();
    let below = if matches!(stem, "mod" | "lib" | "main") { folder.to_path_buf() } else { folder.join(stem) };
    let mut found = Vec::new();
    for part in text.split("#[cfg(test)]\n").skip(1) {
        let mut lines = part.lines();
        let mut line = lines.next().unwrap_or_default();
        let named = line.strip_prefix("#[path = \"").and_then(|rest| rest.strip_suffix("\"]"));
        if let Some(named) = named {
            found.push(folder.join(named));
            continue;
        }
        while line.starts_with("#[") {
            line = lines.next().unwrap_or_default();
        }
        let name = line.trim_start_matches("pub ").trim_start_matches("pub(crate) ").trim_start_matches("pub(super) ");
        if let Some(name) = name.strip_prefix("mod ").and_then(|name| name.strip_suffix(';')) {
            found.extend([below.join(format!("{name}.rs")), below.join(name).join("mod.rs")]);
        }
    }
    found
}

/// Leaves out what `#[cfg(test)]` stands before: a module, to the end of the file or of its declaration; or another item.
fn without_tests(text: &str) -> String {
    let mut kept = String::new();
    let mut lines = text.lines();
    while let Some(line) = lines.next() {
        if line.trim() != "#[cfg(test)]" {
            kept.push_str(line);
            kept.push('\n');
            continue;
        }
        let indent = line.len() - line.trim_start().len();
        // rustfmt ends an item with a brace in the column where it begins.
        for line in lines.by_ref() {
            let ends = line.ends_with(';') || line.starts_with('}') || line.trim_start().starts_with('}');
            if ends && line.len() - line.trim_start().len() == indent {
                break;
            }
        }
    }
    kept
}

fn without_comments(text: &str) -> String {
    text.lines().filter(|line| !line.trim_start().starts_with("//")).map(|line| format!("{line}\n")).collect()
}

/// Room by room, what it may use: the table in the documentation of src/lib.rs.
fn arrows() -> BTreeMap<String, BTreeSet<String>> {
    let text = std::fs::read_to_string(src().join("lib.rs")).unwrap();
    let table = text.split("//! ```text\n").nth(1).and_then(|rest| rest.split("//! ```").next()).unwrap();
    let mut arrows: BTreeMap<String, BTreeSet<String>> = BTreeMap::new();
    let mut above: Vec<String> = Vec::new();
    for line in table.lines() {
        let line = line.trim_start_matches("//!").trim();
        let (what, to) = line.rsplit_once("->").unwrap_or((line, ""));
        let room = what.split_whitespace().next().unwrap().to_owned();
        let rooms = |list: &str| -> BTreeSet<String> {
            // In brackets stands what is used of a room, for readers.
            let list: String =
                list.split('(').map(|part| part.split_once(')').map_or(part, |(_, rest)| rest)).collect();
            list.replace(" and ", ",").split(',').map(|name| name.trim().to_owned()).filter(|n| !n.is_empty()).collect()
        };
        let to = match to.trim().strip_prefix("all of the above") {
            Some(but) => {
                let but = rooms(but.trim().trim_start_matches("but"));
                let unknown: Vec<_> = but.iter().filter(|name| !above.contains(*name)).collect();
                assert!(unknown.is_empty(), "{room}: {unknown:?} is not above");
                above.iter().filter(|name| !but.contains(*name)).cloned().collect()
            }
            None => rooms(to),
        };
        above.push(room.clone());
        arrows.insert(room, to);
    }
    arrows
}

/// The rooms that `text` names after `crate::`, also in `use crate::{a, b::c};`.
fn used(text: &str) -> BTreeSet<String> {
    let word = |text: &str| text.chars().take_while(|c| c.is_alphanumeric() || *c == '_').collect::<String>();
    let mut found = BTreeSet::new();
    for part in text.split("crate::").skip(1) {
        let Some(group) = part.strip_prefix('{') else {
            found.insert(word(part));
            continue;
        };
        let (mut depth, mut fresh) = (1, true);
        for (at, c) in group.char_indices() {
            match c {
                '{' => depth += 1,
                '}' if depth == 1 => break,
                '}' => depth -= 1,
                ',' if depth == 1 => fresh = true,
                c if fresh && depth == 1 && !c.is_whitespace() => {
                    found.insert(word(&group[at..]));
                    fresh = false;
                }
                _ => {}
            }
        }
    }
    found
}

#[test]
fn every_room_uses_only_what_the_table_says() {
    let arrows = arrows();
    let mut wrong = Vec::new();
    let mut seen = BTreeSet::new();
    for source in sources().iter().filter(|source| !source.is_test) {
        if matches!(source.room.as_str(), "lib" | "main" | "error") {
            continue;
        }
        seen.insert(source.room.clone());
        let Some(may) = arrows.get(&source.room) else {
            wrong.push(format!("{}: {} is not in the table", source.path, source.room));
            continue;
        };
        for room in used(&source.text) {
            if room != source.room && room != "error" && !may.contains(&room) {
                wrong.push(format!("src/{} uses {room}, and {} may use {may:?}", source.path, source.room));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
    let idle: Vec<_> = arrows.keys().filter(|room| !seen.contains(*room)).collect();
    assert!(idle.is_empty(), "the table has {idle:?}, and src/ has not");
}

#[test]
fn what_decides_touches_no_file_no_clock_and_no_luck() {
    let mut wrong = Vec::new();
    for source in sources().iter().filter(|source| !source.is_test && PURE.contains(&source.room.as_str())) {
        if IMPURE.contains(&source.path.as_str()) {
            continue;
        }
        for (number, line) in source.text.lines().enumerate() {
            let hit = WORLD.iter().find(|word| {
                line.match_indices(**word).any(|(at, _)| {
                    // `tokio::` is not in `not_tokio::`.
                    !line[..at].ends_with(|c: char| c.is_alphanumeric() || c == '_')
                })
            });
            if let Some(word) = hit {
                wrong.push(format!("src/{} has {word} (line {} without comments)", source.path, number + 1));
            }
        }
    }
    assert!(wrong.is_empty(), "{}", wrong.join("\n"));
}

#[test]
fn no_file_is_too_long_to_be_read() {
    let sources = sources();
    assert!(sources.len() > 50 && sources.iter().any(|s| s.is_test), "the sources are not found");
    let long: Vec<String> =
        sources.iter().filter(|s| s.lines > LONGEST).map(|s| format!("src/{}: {} lines", s.path, s.lines)).collect();
    assert!(long.is_empty(), "more than {LONGEST} lines (before their tests): {}", long.join(", "));
}

/// The test above would be worth nothing if this did not see anything.
#[test]
fn what_is_looked_for_is_found() {
    let text = "use crate::model::{A, B};\nuse crate::{\n    logs::{fifo, Sink},\n    process,\n};\nlet x = crate::store::y();\n";
    assert_eq!(used(text), ["logs", "model", "process", "store"].map(str::to_owned).into());
    let text = "fn a() {}\n#[cfg(test)]\nmod tests {\n    use crate::store;\n}\n";
    assert_eq!(without_tests(text), "fn a() {}\n");
    let text =
        "impl A {\n    fn a() {}\n    #[cfg(test)]\n    fn b() {\n        if x {\n        }\n    }\n    fn c() {}\n}\n";
    assert_eq!(without_tests(text), "impl A {\n    fn a() {}\n    fn c() {}\n}\n");
    assert_eq!(test_files(Path::new("/s/a/mod.rs"), "#[cfg(test)]\nmod x;\n")[0], Path::new("/s/a/x.rs"));
    assert_eq!(
        test_files(Path::new("/s/a/b.rs"), "#[cfg(test)]\n#[path = \"c.rs\"]\nmod x;\n")[0],
        Path::new("/s/a/c.rs")
    );
    let arrows = arrows();
    assert!(arrows["model"].is_empty() && arrows["runner"].contains("journal") && !arrows["runner"].contains("store"));
}
