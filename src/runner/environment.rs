//! The environment of a service: built from nothing, so that no marker of another supervisor and no secret of ours can
//! leak into it (DESIGN section 4; facts on markers such as XPC_SERVICE_NAME: a gateway that sees one believes that
//! launchd owns it).

use std::collections::BTreeMap;
use std::os::unix::fs::MetadataExt;
use std::path::Path;
use std::time::Duration;

use crate::model::paths::Paths;
use crate::model::{DEFAULT_PATH, UnitName};

/// What a service gets from its surroundings when services.toml does not say otherwise.
#[derive(Debug, Clone)]
pub struct Base {
    vars: Vec<(&'static str, String)>,
}

impl Base {
    /// Reads HOME, TMPDIR, LANG and USER of this process; what is missing is looked up or given its usual value.
    pub fn of_process() -> Self {
        let account = nix::unistd::User::from_uid(nix::unistd::getuid()).ok().flatten();
        let own = |name: &str| std::env::var(name).ok().filter(|v| !v.is_empty());
        let user = account.as_ref().map(|a| a.name.clone());
        let home = account.map(|a| a.dir.display().to_string());
        let mut vars = vec![
            ("HOME", own("HOME").or(home).unwrap_or_else(|| "/".into())),
            ("TMPDIR", own("TMPDIR").unwrap_or_else(|| "/tmp".into())),
            (
                "LANG",
                own("LANG").unwrap_or_else(|| if cfg!(target_os = "macos") { "en_US.UTF-8" } else { "C.UTF-8" }.into()),
            ),
        ];
        if let Some(user) = own("USER").or(user) {
            vars.push(("USER", user.clone()));
            vars.push(("LOGNAME", user));
        }
        Self { vars }
    }
}

/// What one run is told about itself.
#[derive(Debug, Clone, Copy)]
pub struct RunFacts<'a> {
    /// Its service.
    pub name: &'a UnitName,
    /// Its number.
    pub run_id: u64,
    /// Automatic starts that led to it.
    pub attempt: u32,
    /// The start token that its process is going to have: by it children that outlive it are told from it.
    pub token: u64,
    /// The installation it belongs to: the mark by which strays are found again.
    pub state_dir: &'a Path,
    /// Where READY=1 goes, for services that ask for it.
    pub notify_socket: Option<&'a Path>,
    /// How long it may give no sign of life there, where that is watched.
    pub watchdog: Option<Duration>,
}

/// The PATH a service's program is looked up on.
pub fn search_path<'a>(env: &'a BTreeMap<String, String>, file: &'a BTreeMap<String, String>) -> &'a str {
    env.get("PATH").or_else(|| file.get("PATH")).map_or(DEFAULT_PATH, String::as_str)
}

/// The whole environment of one run. What services.toml says wins over its `env_file`, both over the base; ours over all.
pub fn compose(
    own: &BTreeMap<String, String>,
    file: &BTreeMap<String, String>,
    base: &Base,
    run: RunFacts<'_>,
) -> BTreeMap<String, String> {
    let mut env: BTreeMap<String, String> = BTreeMap::new();
    for (name, value) in &base.vars {
        env.insert((*name).into(), value.clone());
    }
    env.insert("PATH".into(), DEFAULT_PATH.into());
    env.extend(file.iter().chain(own).map(|(name, value)| (name.clone(), value.clone())));
    // Without WATCHDOG_PID it is for whoever reads it, sd_watchdog_enabled(3): the main process may be a wrapper.
    for name in ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID"] {
        env.remove(name);
    }
    if let Some(watchdog) = run.watchdog {
        env.insert("WATCHDOG_USEC".into(), watchdog.as_micros().to_string());
    }
    if let Some(socket) = run.notify_socket {
        env.insert("NOTIFY_SOCKET".into(), socket.display().to_string());
    }
    for (name, value) in [
        ("SUPERVISOR_SERVICE", run.name.to_string()),
        ("SUPERVISOR_RUN_ID", run.run_id.to_string()),
        ("SUPERVISOR_RUN_STARTED", run.token.to_string()),
        ("SUPERVISOR_RESTART_COUNT", run.attempt.to_string()),
        ("LAUNCHD_RESTART_COUNT", run.attempt.to_string()),
        ("SUPERVISOR_STATE_DIR", run.state_dir.display().to_string()),
    ] {
        env.insert(name.into(), value);
    }
    env
}

/// What of our own environment is about ourselves.
const OUR_OWN: [&str; 4] = ["NOTIFY_SOCKET", "WATCHDOG_USEC", "WATCHDOG_PID", "XPC_SERVICE_NAME"];

/// For a program that is ours: services.toml is to read there as it does here.
pub fn add_surroundings(env: &mut BTreeMap<String, String>, vars: &BTreeMap<String, String>) {
    for (name, value) in vars {
        if !OUR_OWN.contains(&name.as_str()) {
            env.entry(name.clone()).or_insert_with(|| value.clone());
        }
    }
}

/// The arguments by which a program that is ours works on the same installation.
pub fn own_arguments(config: &Path, paths: &Paths) -> [String; 4] {
    let [config, state_dir] = [config, paths.state_dir()].map(|path| path.display().to_string());
    ["--config".into(), config, "--state-dir".into(), state_dir]
}

/// Reads an `env_file`. It has to be ours and closed to everybody else, since it is where secrets are.
pub fn read_env_file(path: &Path) -> Result<BTreeMap<String, String>, String> {
    let say = |e: std::io::Error| format!("env_file {} cannot be read: {e}", path.display());
    let meta = std::fs::metadata(path).map_err(say)?;
    let uid = nix::unistd::getuid().as_raw();
    if meta.uid() != uid && meta.uid() != 0 {
        return Err(format!("env_file {} belongs to another user (uid {})", path.display(), meta.uid()));
    }
    if meta.mode() & 0o077 != 0 {
        return Err(format!(
            "env_file {0} can be read by others (mode {1:03o}); run: chmod 600 {0}",
            path.display(),
            meta.mode() & 0o777
        ));
    }
    parse_env_file(&std::fs::read_to_string(path).map_err(say)?)
        .map_err(|line| format!("env_file {}:{line}: a line must read KEY=value", path.display()))
}

/// KEY=value lines; blank lines and lines that begin with `#` are skipped, `export ` before a key and one pair of quotes
/// around a value are taken off. The error is the number of the first line that is none of these.
fn parse_env_file(text: &str) -> Result<BTreeMap<String, String>, usize> {
    let mut vars = BTreeMap::new();
    for (index, line) in text.lines().enumerate() {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let line = line.strip_prefix("export ").unwrap_or(line);
        let (key, value) = line.split_once('=').ok_or(index + 1)?;
        let key = key.trim();
        if key.is_empty() || key.contains(char::is_whitespace) || value.contains('\0') {
            return Err(index + 1);
        }
        let value = value.trim();
        let bare =
            ['"', '\''].into_iter().find_map(|quote| value.strip_prefix(quote)?.strip_suffix(quote)).unwrap_or(value);
        vars.insert(key.into(), bare.into());
    }
    Ok(vars)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn facts<'a>(name: &'a UnitName, socket: Option<&'a Path>) -> RunFacts<'a> {
        RunFacts {
            name,
            run_id: 7,
            attempt: 2,
            token: 9,
            state_dir: Path::new("/state"),
            notify_socket: socket,
            watchdog: None,
        }
    }

    #[test]
    fn it_is_built_from_nothing_and_ours_wins() {
        let mut spec = crate::model::ServiceSpec::for_tests("gateway");
        spec.env.insert("A".into(), "toml".into());
        spec.env.insert("SUPERVISOR_RUN_ID".into(), "forged".into());
        for (name, value) in [("NOTIFY_SOCKET", "/elsewhere"), ("WATCHDOG_USEC", "1"), ("WATCHDOG_PID", "2")] {
            spec.env.insert(name.into(), value.into());
        }
        let file = BTreeMap::from([("A".to_string(), "file".to_string()), ("B".into(), "file".into())]);
        let base = Base { vars: vec![("HOME", "/home/u".into())] };
        let env = compose(&spec.env, &file, &base, facts(&spec.name, None));
        assert_eq!(env["A"], "toml");
        assert_eq!(env["B"], "file");
        assert_eq!(env["HOME"], "/home/u");
        assert_eq!(env["SUPERVISOR_RUN_ID"], "7");
        assert_eq!(env["LAUNCHD_RESTART_COUNT"], "2");
        assert_eq!(env["PATH"], DEFAULT_PATH);
        assert!(!env.contains_key("NOTIFY_SOCKET"));
        assert!(!env.contains_key("CARGO"), "nothing of this process is inherited");
        let env: BTreeMap<_, _> = compose(&spec.env, &file, &base, facts(&spec.name, Some(Path::new("/n"))));
        assert_eq!(env["NOTIFY_SOCKET"], "/n");
        assert!(!env.contains_key("WATCHDOG_USEC") && !env.contains_key("WATCHDOG_PID"), "that of somebody else");
        let watched =
            RunFacts { watchdog: Some(Duration::from_millis(700)), ..facts(&spec.name, Some(Path::new("/n"))) };
        let env = compose(&spec.env, &file, &base, watched);
        assert_eq!(env["WATCHDOG_USEC"], "700000");
        assert!(!env.contains_key("WATCHDOG_PID"));
    }

    #[test]
    fn env_files_are_read_as_people_write_them() {
        let text = "# secrets\n\nA=1\nexport B = \"two words\" \nC='x=y'\nD=\n";
        let vars = parse_env_file(text).unwrap();
        let wanted = [("A", "1"), ("B", "two words"), ("C", "x=y"), ("D", "")];
        assert_eq!(vars, wanted.map(|(k, v)| (k.to_string(), v.to_string())).into());
        assert_eq!(parse_env_file("A=1\nnonsense\n"), Err(2));
        assert_eq!(parse_env_file("=1\n"), Err(1));
        assert_eq!(parse_env_file("A B=1\n"), Err(1));
    }

    #[test]
    fn an_env_file_that_others_can_read_is_refused() {
        use std::os::unix::fs::PermissionsExt;
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("env");
        std::fs::write(&path, "A=1\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o640)).unwrap();
        assert!(read_env_file(&path).unwrap_err().contains("chmod 600"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert_eq!(read_env_file(&path).unwrap()["A"], "1");
        assert!(read_env_file(&dir.path().join("none")).unwrap_err().contains("cannot be read"));
    }
}
