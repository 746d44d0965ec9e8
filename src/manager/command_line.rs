//! Whether two command lines start the same thing: through links, interpreters, `env`, and `sh -c`. It need not know a shell's whole
//! grammar; what it cannot read matches nothing.

use std::path::{Path, PathBuf};

use crate::process::spawn;

/// `sh -c "sh -c ..."` goes no deeper in any sane set-up.
const DEEPEST: usize = 4;

/// What is really run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    /// The program or script, links followed; `None` when it cannot be found.
    file: Option<PathBuf>,
    /// Its name without `.js` and the like.
    name: String,
    arguments: Vec<String>,
}

impl Line {
    /// Whether both run the same program with the same arguments.
    pub(super) fn is_same(&self, other: &Self) -> bool {
        if self.arguments != other.arguments {
            return false;
        }
        match (&self.file, &other.file) {
            (Some(ours), Some(theirs)) if ours == theirs => true,
            // Another installation of it would do the same: but a bare name says too little.
            _ => self.name == other.name && !self.arguments.is_empty(),
        }
    }
}

/// What `argv` runs; more than one when it is a shell with several commands.
pub(super) fn of(argv: &[String], path: &str, cwd: &Path) -> Vec<Line> {
    let mut found = Vec::new();
    unwrap(argv, path, cwd, 0, &mut found);
    found
}

fn unwrap(argv: &[String], path: &str, cwd: &Path, depth: usize, found: &mut Vec<Line>) {
    let Some((program, rest)) = argv.split_first() else { return };
    if depth > DEEPEST {
        return;
    }
    let name = base(program);
    // Of a login shell the name begins with a dash.
    match name.trim_start_matches('-') {
        "sh" | "bash" | "zsh" | "dash" | "ksh" | "fish" => {
            let is_c = |word: &String| word.starts_with('-') && !word.starts_with("--") && word.ends_with('c');
            if let Some(at) = rest.iter().position(is_c)
                && let Some(script) = rest.get(at + 1)
            {
                for command in words(script) {
                    unwrap(&command, path, cwd, depth + 1, found);
                }
                return;
            }
        }
        "env" | "exec" | "nohup" | "caffeinate" | "setsid" | "command" => {
            let is_own = |word: &&String| word.starts_with('-') || (name == "env" && word.contains('='));
            let skipped = rest.iter().take_while(is_own).count();
            return unwrap(&rest[skipped..], path, cwd, depth + 1, found);
        }
        "node" | "bun" => {
            let skipped = rest.iter().take_while(|word| word.starts_with('-')).count();
            if skipped < rest.len() {
                return unwrap(&rest[skipped..], path, cwd, depth + 1, found);
            }
        }
        // `python -m` is no script.
        interpreter if interpreter.starts_with("python") && rest.first().is_some_and(|word| !word.starts_with('-')) => {
            return unwrap(rest, path, cwd, depth + 1, found);
        }
        _ => {}
    }
    let file = spawn::find_program(program, path, cwd).unwrap_or_else(|_| cwd.join(program));
    let file = std::fs::canonicalize(file).ok();
    found.push(Line { file, name: stem(name), arguments: rest.to_vec() });
}

fn base(program: &str) -> &str {
    program.rsplit('/').next().unwrap_or(program)
}

/// `openclaw` is a link to `openclaw.mjs`; `python3.12` and `python` are two names of one thing in a virtual environment.
fn stem(name: &str) -> String {
    if name.starts_with("python") {
        return "python".into();
    }
    [".js", ".mjs", ".cjs", ".py", ".sh", ".ts"]
        .into_iter()
        .find_map(|end| name.strip_suffix(end))
        .unwrap_or(name)
        .into()
}

/// The commands of a shell's line, each as its words. Quotes and backslashes are heeded, redirections and assignments before a command
/// are left out; variables stay as they are written.
pub(super) fn words(text: &str) -> Vec<Vec<String>> {
    let mut commands = vec![Vec::new()];
    let mut word: Option<String> = None;
    let mut is_target = false;
    let mut chars = text.chars().peekable();
    let end_word = |word: &mut Option<String>, commands: &mut Vec<Vec<String>>, is_target: &mut bool| {
        let Some(done) = word.take() else { return };
        if std::mem::take(is_target) {
            return;
        }
        if let Some(command) = commands.last_mut() {
            let is_assignment = done.split_once('=').is_some_and(|(name, _)| {
                !name.is_empty() && name.chars().all(|c| c.is_ascii_alphanumeric() || c == '_')
            });
            if !(command.is_empty() && is_assignment) {
                command.push(done);
            }
        }
    };
    while let Some(c) = chars.next() {
        match c {
            '\'' | '"' => {
                let into = word.get_or_insert_default();
                while let Some(inner) = chars.next().filter(|inner| *inner != c) {
                    match inner {
                        '\\' if c == '"' => into.extend(chars.next()),
                        inner => into.push(inner),
                    }
                }
            }
            '\\' => word.get_or_insert_default().extend(chars.next()),
            '>' | '<' => {
                // `2>&1`: the number belongs to it.
                word = word.filter(|digits| !digits.chars().all(|c| c.is_ascii_digit()));
                end_word(&mut word, &mut commands, &mut is_target);
                while chars.next_if(|c| matches!(c, '>' | '<' | '&')).is_some() {}
                is_target = true;
            }
            ';' | '&' | '|' | '\n' | '(' | ')' => {
                end_word(&mut word, &mut commands, &mut is_target);
                commands.push(Vec::new());
            }
            c if c.is_whitespace() => end_word(&mut word, &mut commands, &mut is_target),
            c => word.get_or_insert_default().push(c),
        }
    }
    end_word(&mut word, &mut commands, &mut is_target);
    commands.retain(|command| !command.is_empty());
    commands
}

#[cfg(test)]
mod tests {
    use super::*;

    fn split(text: &str) -> Vec<String> {
        words(text).into_iter().map(|command| command.join("|")).collect()
    }

    #[test]
    fn a_shells_line_comes_apart_where_the_shell_takes_it_apart() {
        for (text, expected) in [
            ("a b  c", &["a|b|c"][..]),
            ("cd /x && exec openclaw gateway run >> /tmp/log 2>&1", &["cd|/x", "exec|openclaw|gateway|run"]),
            ("A=1 B='x y' run \"a b\" c\\ d 'e\"f' \"g\\\"h\"", &["run|a b|c d|e\"f|g\"h"]),
            ("a | b; c &", &["a", "b", "c"]),
            ("(cd /x; run) </dev/null", &["cd|/x", "run"]),
            ("run '' x=y", &["run||x=y"]),
            ("  # ", &["#"]),
            ("", &[]),
        ] {
            assert_eq!(split(text), expected, "{text}");
        }
    }

    fn argv(text: &str) -> Vec<String> {
        words(text).remove(0)
    }

    #[test]
    fn the_same_program_is_recognised_in_whatever_it_is_wrapped() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().join("openclaw.mjs");
        std::fs::write(&real, "").unwrap();
        let link = folder.path().join("openclaw");
        std::os::unix::fs::symlink(&real, &link).unwrap();
        let (real, link, path) = (real.display(), link.display(), folder.path().to_str().unwrap());
        let of = |text: &str| of(&argv(text), path, Path::new("/"));
        let ours = of(&format!("{link} gateway run")).remove(0);
        let same = [
            format!("{real} gateway run"),
            format!("/usr/bin/node --max-old-space-size=4096 {real} gateway run"),
            "/usr/bin/env A=1 openclaw gateway run".into(),
            "sh -c 'exec openclaw gateway run >>/tmp/x 2>&1'".into(),
            "-zsh -lc 'cd ~ && nohup /elsewhere/openclaw gateway run &'".into(),
            "caffeinate -i openclaw gateway run".into(),
        ];
        for text in same {
            assert!(of(&text).iter().any(|line| line.is_same(&ours)), "{text}: {:?}", of(&text));
        }
        for text in
            ["openclaw gateway", "openclaw gateway run --port 1", "other gateway run", "sh openclaw", "sh -c", "node"]
        {
            assert!(!of(text).iter().any(|line| line.is_same(&ours)), "{text}");
        }
    }

    #[test]
    fn without_arguments_the_file_has_to_be_the_same() {
        let of = |text: &str| of(&argv(text), "/usr/bin:/bin", Path::new("/")).remove(0);
        assert!(of("sh").is_same(&of("/bin/sh")));
        assert!(!of("/nowhere/sh").is_same(&of("/bin/sh")));
        assert!(of("/a/.venv/bin/python3 -m uvicorn x").is_same(&of("/b/python -m uvicorn x")));
        assert!(of("python server.py 1").is_same(&of("/x/server.py 1")));
    }
}
