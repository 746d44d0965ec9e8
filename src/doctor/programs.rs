//! Programs and their interpreters: are they there, and will they still be after the next upgrade?

use std::path::Path;

use super::facts::ProgramFacts;
use super::{Finding, Level, SELF};

/// What OpenClaw asks for.
const LEAST_NODE: u32 = 22;

/// Folders whose name changes with a version, and where the same program has a lasting one.
const PASSING: &[(&str, &str, &str)] = &[
    (
        "/.nvm/versions/",
        "nvm",
        "install Node with Homebrew or its own package, and name that one or put its folder first in env.PATH",
    ),
    (
        "/fnm_multishells/",
        "fnm's folder of one shell",
        "it goes when that shell ends; name ~/.local/share/fnm/aliases/default/bin",
    ),
    ("/fnm/node-versions/", "fnm", "name ~/.local/share/fnm/aliases/default/bin"),
    ("/.asdf/installs/", "asdf", "name the shim in ~/.asdf/shims, with ASDF_NODEJS_VERSION and the like in env"),
    ("/mise/installs/", "mise", "name the shim in ~/.local/share/mise/shims, or a `latest` link in the same folder"),
    ("/.volta/tools/image/", "Volta", "name the shim in ~/.volta/bin"),
    (
        "/.pyenv/versions/",
        "pyenv",
        "use the python of a virtual environment (python -m venv), or the shim in ~/.pyenv/shims",
    ),
    ("/.rbenv/versions/", "rbenv", "name the shim in ~/.rbenv/shims"),
];

/// The same, where a link is all right that leads there: it is renewed at each upgrade.
const PASSING_BUT_BY_LINK: &[(&str, &str, &str)] = &[
    (
        "/opt/homebrew/Cellar/",
        "Homebrew's Cellar",
        "name the link in /opt/homebrew/bin, or /opt/homebrew/opt/FORMULA/bin",
    ),
    ("/usr/local/Cellar/", "Homebrew's Cellar", "name the link in /usr/local/bin, or /usr/local/opt/FORMULA/bin"),
    ("/home/linuxbrew/.linuxbrew/Cellar/", "Homebrew's Cellar", "name the link in /home/linuxbrew/.linuxbrew/bin"),
];

/// This program: launchd and systemd are told its path.
pub(super) fn own(path: &Path) -> Vec<Finding> {
    let text = path.to_string_lossy();
    let install = "cargo install --path . (then it is in ~/.cargo/bin), and run `supervisor install` from there";
    let build = ["/target/debug/", "/target/release/"].iter().any(|part| text.contains(part));
    let scratch = ["/tmp/", "/private/tmp/", "/var/tmp/", "/private/var/folders/", "/var/folders/"];
    if build || scratch.iter().any(|start| text.starts_with(start)) {
        let why = if build { "a folder of builds" } else { "a folder that is emptied" };
        let what = format!("this program is {text}, in {why}: what is installed from it stops when it goes");
        return vec![Finding::new(Level::Warn, SELF, what).remedy(install)];
    }
    match passing(path, path) {
        Some((who, stable)) => {
            let what = format!("this program is {text}, a path of {who} that goes at the next upgrade");
            vec![Finding::new(Level::Warn, SELF, what).remedy(stable)]
        }
        None => vec![Finding::ok(SELF, format!("this program is {text}"))],
    }
}

/// Why a path will not last, and what to name instead. `real` is the same with links followed.
fn passing(written: &Path, real: &Path) -> Option<(&'static str, String)> {
    let (written, real) = (written.to_string_lossy(), real.to_string_lossy());
    let is_in = |part: &&(&str, &'static str, &'static str), text: &str| text.contains(part.0);
    let hit = PASSING
        .iter()
        .find(|part| is_in(part, &written) || is_in(part, &real))
        .or_else(|| PASSING_BUT_BY_LINK.iter().find(|part| is_in(part, &written)));
    if let Some((_, who, stable)) = hit {
        return Some((who, (*stable).to_owned()));
    }
    // /snap/NAME/1234/ is one revision, /snap/NAME/current/ the latest.
    let mut parts = written.strip_prefix("/snap/")?.split('/');
    let (name, revision) = (parts.next()?, parts.next()?);
    let is_revision = !revision.is_empty() && revision.bytes().all(|byte| byte.is_ascii_digit() || byte == b'x');
    is_revision.then(|| ("a snap", format!("name /snap/bin/{name}, or /snap/{name}/current/")))
}

/// The program of a service or step.
pub(super) fn program(facts: &ProgramFacts) -> Vec<Finding> {
    let unit = facts.unit.as_str();
    let bad = |what: String| Finding::new(Level::Bad, unit, what);
    let path = match &facts.found {
        Ok(path) => path,
        Err(why) => return vec![missing(facts, why)],
    };
    let mut found = vec![Finding::ok(unit, format!("its program is {}", path.display()))];
    found.extend(lasting(unit, "its program", path, facts.real.as_deref()));
    match &facts.interpreter {
        Some((written, Err(why))) => {
            let what = format!("{} begins with #!{written}, and that is not there: {why}", path.display());
            found.push(bad(what).remedy("install it, or put its folder into env.PATH of the service"));
        }
        Some((_, Ok(interpreter))) => {
            let real = std::fs::canonicalize(interpreter).ok();
            found.extend(lasting(unit, "its interpreter", interpreter, real.as_deref()));
        }
        None => {}
    }
    found.extend(facts.node.as_ref().map(|version| node(unit, version)));
    if let Some((home, false)) = &facts.venv {
        let what = format!("its virtual environment was made from a Python in {}, which has gone", home.display());
        found
            .push(bad(what).remedy("make the environment anew: python3 -m venv --clear DIR, and install its packages"));
    }
    found
}

fn missing(facts: &ProgramFacts, why: &str) -> Finding {
    let bad = |what: String| Finding::new(Level::Bad, &facts.unit, what);
    if let Some((link, target)) = &facts.leads_nowhere {
        let what = format!("{} is a link to {}, which has gone", link.display(), target.display());
        let is_python = link.file_name().is_some_and(|name| name.to_string_lossy().starts_with("python"));
        return bad(what).remedy(if is_python {
            "make the virtual environment anew: python3 -m venv --clear DIR, and install its packages"
        } else {
            "install it again, or name what is there now in `command`"
        });
    }
    bad(why.to_owned())
        .remedy("install it, or write its absolute path in `command`; `supervisor check` tells where your shell has it")
}

fn lasting(unit: &str, what: &str, path: &Path, real: Option<&Path>) -> Option<Finding> {
    let (who, stable) = passing(path, real.unwrap_or(path))?;
    let what = format!("{what} {} is in a folder of {who}, which goes at its next upgrade", path.display());
    Some(Finding::new(Level::Warn, unit, what).remedy(stable))
}

fn node(unit: &str, version: &Result<String, String>) -> Finding {
    let text = match version {
        Ok(text) => text.trim(),
        Err(why) => return Finding::new(Level::Warn, unit, format!("its Node does not tell its version: {why}")),
    };
    let major = text.strip_prefix('v').and_then(|rest| rest.split('.').next()?.parse::<u32>().ok());
    match major {
        Some(major) if major >= LEAST_NODE => Finding::ok(unit, format!("its Node is {text}")),
        Some(_) => {
            Finding::new(Level::Bad, unit, format!("its Node is {text}, and OpenClaw needs {LEAST_NODE} or later"))
                .remedy(
                    "install a later one (brew install node, or from nodejs.org), or put its folder first in env.PATH",
                )
        }
        None => Finding::new(Level::Warn, unit, format!("its Node says {text:?} for a version")),
    }
}
