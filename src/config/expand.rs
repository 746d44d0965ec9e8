//! `~` and `${VAR}` in paths and in values of the environment, and nowhere else: there is no shell.

use std::path::{Component, Path, PathBuf};

use super::Surroundings;
use super::fault::code;
use super::units::{Wrong, quoted};

/// `text` with a leading `~` and every `${VAR}` replaced; `$${` stands for `${` itself. A `$` before anything else is
/// just that, so that passwords and the like need no care.
pub(super) fn expand(text: &str, around: &Surroundings) -> Result<String, Wrong> {
    let mut out = String::with_capacity(text.len());
    let mut rest = text;
    if let Some(after) = text.strip_prefix('~') {
        if !(after.is_empty() || after.starts_with('/')) {
            let message = format!("{} names another person's home directory", quoted(text));
            return Err(
                Wrong::new(code::PATH, message, "only `~` and `~/` are expanded").help("write the absolute path")
            );
        }
        out.push_str(&around.home.to_string_lossy());
        rest = after;
    }
    while let Some(at) = rest.find("${") {
        if let Some(before) = rest[..at].strip_suffix('$') {
            out.push_str(before);
            out.push_str("${");
            rest = &rest[at + 2..];
            continue;
        }
        out.push_str(&rest[..at]);
        let Some((name, after)) = rest[at + 2..].split_once('}') else {
            let message = format!("{} has a `${{` without its `}}`", quoted(text));
            return Err(Wrong::new(code::PATH, message, "not closed")
                .help("write `${NAME}`, or `$${` for the two characters themselves"));
        };
        let value = around.vars.get(name).ok_or_else(|| unset(name))?;
        out.push_str(value);
        rest = after;
    }
    out.push_str(rest);
    Ok(out)
}

fn unset(name: &str) -> Wrong {
    let message = format!("the variable {} is not set where the supervisor runs", quoted(name));
    Wrong::new(code::PATH, message, "not set").help(
        "write the value itself, set the variable for the supervisor too (launchd and systemd pass on almost nothing of \
         a login shell), or write `$${` for the two characters themselves",
    )
}

/// An absolute path after expansion.
pub(super) fn path(text: &str, around: &Surroundings) -> Result<PathBuf, Wrong> {
    let expanded = expand(text, around)?;
    nul_free(&expanded)?;
    let path = Path::new(&expanded);
    if !path.is_absolute() {
        let message = format!("{} is not an absolute path", quoted(text));
        let help = format!("write an absolute path or \"~/{}\"", text.trim_start_matches("./"));
        return Err(Wrong::new(code::PATH, message, "relative").help(help));
    }
    Ok(path.components().filter(|c| !matches!(c, Component::CurDir)).collect())
}

/// What argv begins with: a bare name, which is looked up when the program is started, or an absolute path.
pub(super) fn program(text: &str, around: &Surroundings) -> Result<String, Wrong> {
    nul_free(text)?;
    if text.is_empty() {
        let wrong = Wrong::new(code::BAD_FORM, "the program's name is empty", "empty");
        return Err(wrong.help("write a program's name or its absolute path"));
    }
    if text.chars().any(char::is_whitespace) && !text.contains('/') {
        let message = format!("{} is one word with blanks in it, and there is no shell to split it", quoted(text));
        let words: Vec<String> = text.split_whitespace().map(quoted).collect();
        return Err(Wrong::new(code::BAD_FORM, message, "not a program").help(format!("write [{}]", words.join(", "))));
    }
    if !(text.contains('/') || text.starts_with('~') || text.contains("${")) {
        return Ok(text.to_owned());
    }
    let found = path(text, around).map_err(|wrong| match wrong.label.as_str() {
        "relative" => wrong.help("write a bare name (looked up on the service's PATH), an absolute path, or \"~/...\""),
        _ => wrong,
    })?;
    Ok(found.to_string_lossy().into_owned())
}

/// The kernel ends argv, names and paths at a NUL, so none may hold one.
pub(super) fn nul_free(text: &str) -> Result<(), Wrong> {
    if text.contains('\0') {
        let message = format!("{} holds a NUL character, which no program can be given", quoted(text));
        return Err(Wrong::new(code::BAD_FORM, message, "holds a NUL").help("take out the \\u0000"));
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn around() -> Surroundings {
        let vars = [("A", "one"), ("EMPTY", "")].map(|(k, v)| (k.to_owned(), v.to_owned()));
        Surroundings { home: "/home/u".into(), vars: vars.into(), state_dir: None }
    }

    #[test]
    fn what_is_expanded_and_what_is_not() {
        for (text, want) in [
            ("~", "/home/u"),
            ("~/x", "/home/u/x"),
            ("a~b", "a~b"),
            ("${A}", "one"),
            ("x${A}y${EMPTY}z${A}", "xoneyzone"),
            ("$A $ $$", "$A $ $$"),
            ("$${A}", "${A}"),
            ("a$${A}${A}", "a${A}one"),
            ("", ""),
        ] {
            assert_eq!(expand(text, &around()).unwrap(), want, "{text}");
        }
        for bad in ["~root", "~root/x", "${B}", "${}", "${A", "x${"] {
            assert_eq!(expand(bad, &around()).unwrap_err().code, code::PATH, "{bad}");
        }
    }

    #[test]
    fn programs_are_names_or_absolute() {
        for (text, want) in
            [("node", "node"), ("/bin/sh", "/bin/sh"), ("~/bin/x", "/home/u/bin/x"), ("/a b/c", "/a b/c")]
        {
            assert_eq!(program(text, &around()).unwrap(), want, "{text}");
        }
        for bad in ["", "./x", "bin/x", "node main.js", "a\0b", "${A}"] {
            assert!(program(bad, &around()).is_err(), "{bad:?}");
        }
        assert!(program("node main.js", &around()).unwrap_err().help.unwrap().contains("[\"node\", \"main.js\"]"));
    }
}
