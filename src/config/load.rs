//! Finding and reading the file, and what of the process's environment its text may refer to.

use std::collections::BTreeMap;
use std::fs::{File, Metadata, OpenOptions};
use std::io::{ErrorKind as IoKind, Read};
use std::os::unix::fs::{MetadataExt, OpenOptionsExt};
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use nix::unistd::{Gid, Group, Uid, User};

use crate::error::{Error, ErrorKind};

/// What the text of services.toml may refer to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Surroundings {
    /// What `~` stands for.
    pub home: PathBuf,
    /// What `${VAR}` stands for.
    pub vars: BTreeMap<String, String>,
    /// `--state-dir` or `OPENCLAW_STATE_DIR`: goes before `supervisor.state_dir`.
    pub state_dir: Option<PathBuf>,
}

impl Surroundings {
    /// Those of this process. `state_dir_override` is `--state-dir`; without it `OPENCLAW_STATE_DIR` counts.
    pub fn of_process(state_dir_override: Option<&Path>) -> Result<Self, Error> {
        // A variable that is not UTF-8 cannot be written into a TOML text either.
        let vars: BTreeMap<String, String> =
            std::env::vars_os().filter_map(|(k, v)| Some((k.into_string().ok()?, v.into_string().ok()?))).collect();
        let home = home(&vars)?;
        let from_env = vars.get("OPENCLAW_STATE_DIR").filter(|v| !v.is_empty()).map(|v| match v.strip_prefix("~/") {
            Some(below) => home.join(below),
            None => PathBuf::from(v),
        });
        let state_dir = match state_dir_override.map(Path::to_path_buf).or(from_env) {
            Some(dir) => Some(std::path::absolute(&dir).map_err(|e| Error::io("find the state directory", &dir, &e))?),
            None => None,
        };
        Ok(Self { home, vars, state_dir })
    }

    /// The name under which this machine knows a time zone; else the one that was probably meant. A machine without a database of
    /// zones knows none, and there every name is taken as it is.
    pub(super) fn zone(name: &str) -> Result<String, Option<String>> {
        if let Ok(zone) = TimeZone::get(name) {
            // In the case in which the others know it who are given the name.
            return Ok(zone.iana_name().unwrap_or(name).to_owned());
        }
        let known: Vec<String> = jiff::tz::db().available().map(|known| known.to_string()).collect();
        if known.iter().all(|known| known == "UTC") {
            return Ok(name.to_owned());
        }
        Err(near_zone(name, &known))
    }

    /// Where state is when nobody says where.
    pub(super) fn default_state_dir(&self) -> PathBuf {
        self.home.join(".openclaw")
    }
}

/// Cities as those who live there and their neighbours call them, and large ones that have no zone of their own.
const CITIES: [(&str, &str); 24] = [
    ("athen", "Europe/Athens"),
    ("beijing", "Asia/Shanghai"),
    ("bombay", "Asia/Kolkata"),
    ("boston", "America/New_York"),
    ("bruxelles", "Europe/Brussels"),
    ("delhi", "Asia/Kolkata"),
    ("frankfurt", "Europe/Berlin"),
    ("hamburg", "Europe/Berlin"),
    ("kopenhagen", "Europe/Copenhagen"),
    ("lisboa", "Europe/Lisbon"),
    ("lissabon", "Europe/Lisbon"),
    ("milano", "Europe/Rome"),
    ("moskau", "Europe/Moscow"),
    ("mumbai", "Asia/Kolkata"),
    ("munich", "Europe/Berlin"),
    ("peking", "Asia/Shanghai"),
    ("praha", "Europe/Prague"),
    ("roma", "Europe/Rome"),
    ("san_francisco", "America/Los_Angeles"),
    ("seattle", "America/Los_Angeles"),
    ("warszawa", "Europe/Warsaw"),
    ("washington", "America/New_York"),
    ("wien", "Europe/Vienna"),
    ("zuerich", "Europe/Zurich"),
];

/// The zone that was probably meant: another name of its city, the city alone, or a slip in a name.
fn near_zone(name: &str, known: &[String]) -> Option<String> {
    fn city(zone: &str) -> &str {
        zone.rsplit('/').next().unwrap_or(zone)
    }
    let typed = city(name).to_ascii_lowercase();
    let called = CITIES.iter().find(|(theirs, _)| *theirs == typed).map(|(_, zone)| (*zone).to_owned());
    let called = called.filter(|zone| known.contains(zone));
    let alone = || known.iter().find(|zone| city(zone).eq_ignore_ascii_case(name)).cloned();
    // As much as `Europe/` is the same in all of Europe: it is the city that has to be alike.
    let most = (typed.chars().count() / 3).clamp(1, 3);
    let is_alike = |zone: &&str| strsim::damerau_levenshtein(&typed, &city(zone).to_ascii_lowercase()) <= most;
    let slip = || super::fields::nearest(name, known.iter().map(String::as_str).filter(is_alike)).map(str::to_owned);
    called.or_else(alone).or_else(slip)
}

/// `$HOME`, else what the user database says: under some service managers the variable is not set.
fn home(vars: &BTreeMap<String, String>) -> Result<PathBuf, Error> {
    if let Some(home) = vars.get("HOME").filter(|h| h.starts_with('/')) {
        return Ok(home.into());
    }
    let known = User::from_uid(Uid::effective()).ok().flatten().map(|user| user.dir).filter(|dir| dir.is_absolute());
    known.ok_or_else(|| {
        Error::new(ErrorKind::Config, "cannot find the home directory: HOME is not set to an absolute path")
            .hint("set HOME to the home directory of the user whose services these are")
    })
}

/// A configuration file as it was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Source {
    /// Where it is, for messages.
    pub path: PathBuf,
    /// All of it.
    pub text: String,
}

/// A services.toml is some kilobytes; what is larger than this is another file.
const LARGEST: u64 = 1 << 20;

/// Reads the file at `path`, unless somebody else could have written it: it says which programs run as this user.
pub fn read(path: &Path) -> Result<Source, Error> {
    let refuse = |what: String, hint: String| Error::new(ErrorKind::Config, what).hint(hint);
    // O_NONBLOCK, so that a FIFO in the file's place cannot hold us for ever.
    let opened = OpenOptions::new().read(true).custom_flags(libc::O_NONBLOCK | libc::O_CLOEXEC).open(path);
    let file = opened.map_err(|e| cannot_open(path, &e))?;
    let meta = file.metadata().map_err(|e| cannot_open(path, &e))?;
    if !meta.is_file() {
        let kind = if meta.is_dir() { "a directory" } else { "no regular file" };
        let what = format!("cannot read {}: it is {kind}", path.display());
        return Err(refuse(what, "name the services.toml file itself with --config FILE".into()));
    }
    if let Some((who, mend)) = other_writers(&Ownership::of(&meta), &members_of) {
        let what = format!("refuse to use {}: {who}, so they could make this user run any program", path.display());
        return Err(refuse(what, format!("{mend} {}", path.display())));
    }
    if meta.len() > LARGEST {
        let what = format!("cannot use {}: it has {} bytes, more than 1 MiB", path.display(), meta.len());
        return Err(refuse(what, "name the services.toml file with --config FILE".into()));
    }
    let text = read_text(file, meta.len()).map_err(|e| match e.kind() {
        IoKind::InvalidData => refuse(
            format!("cannot read {}: it is not UTF-8 text", path.display()),
            "save the file with the encoding UTF-8".into(),
        ),
        _ => cannot_open(path, &e),
    })?;
    Ok(Source { path: path.to_path_buf(), text })
}

fn read_text(file: File, length: u64) -> std::io::Result<String> {
    // With room for one byte more the end is seen without growing.
    let mut text = String::with_capacity(usize::try_from(length).unwrap_or(0) + 1);
    // The file may have grown since it was looked at.
    file.take(LARGEST).read_to_string(&mut text)?;
    Ok(text)
}

fn cannot_open(path: &Path, error: &std::io::Error) -> Error {
    let shown = path.display();
    let (why, hint) = match error.kind() {
        IoKind::NotFound => (
            "there is no such file".to_owned(),
            "make one (the services.toml that comes with supervisor is a commented example), or name another with \
             --config FILE",
        ),
        IoKind::PermissionDenied => {
            ("permission denied".to_owned(), "run supervisor as the user whose services these are, or chmod the file")
        }
        _ => (error.to_string(), "name the services.toml file with --config FILE"),
    };
    Error::new(ErrorKind::Config, format!("cannot read {shown}: {why}")).hint(hint)
}

/// What decides who may write a file.
struct Ownership {
    mode: u32,
    owner: u32,
    group: u32,
    me: u32,
}

impl Ownership {
    fn of(meta: &Metadata) -> Self {
        Self { mode: meta.mode(), owner: meta.uid(), group: meta.gid(), me: Uid::effective().as_raw() }
    }
}

/// Why others can write the file and the command that mends it, or nothing. launchd refuses such plists in the same way.
fn other_writers(file: &Ownership, members: &dyn Fn(u32, u32) -> Option<String>) -> Option<(String, &'static str)> {
    if file.mode & 0o002 != 0 {
        return Some(("every user of this machine can write it".into(), "run: chmod go-w"));
    }
    if file.owner != file.me && file.owner != 0 {
        let who = format!("it belongs to another user (uid {}, not {})", file.owner, file.me);
        return Some((who, "run: sudo chown $(id -u)"));
    }
    if file.mode & 0o020 != 0
        && let Some(other) = members(file.group, file.owner)
    {
        return Some((format!("{other} can write it through its group"), "run: chmod g-w"));
    }
    None
}

/// Somebody other than `owner` who is in group `gid`, or nobody.
fn members_of(gid: u32, owner: u32) -> Option<String> {
    let owner_name = User::from_uid(Uid::from_raw(owner)).ok().flatten().map(|u| u.name);
    // A failed look-up may hide members.
    let Ok(group) = Group::from_gid(Gid::from_raw(gid)) else { return Some(format!("an unknown group (gid {gid})")) };
    let listed = group.into_iter().flat_map(|g| g.mem).find(|name| Some(name) != owner_name.as_ref());
    listed.or_else(|| primary_member(gid, owner))
}

/// Somebody other than `owner` whose own group is `gid`. Users that only a directory service knows are not seen: asking
/// it for all of them can take minutes.
#[cfg(not(target_os = "macos"))]
fn primary_member(gid: u32, owner: u32) -> Option<String> {
    let passwd = std::fs::read_to_string("/etc/passwd").unwrap_or_default();
    passwd.lines().find_map(|line| {
        let mut fields = line.split(':');
        let (name, uid, group) =
            (fields.next()?, fields.nth(1)?.parse::<u32>().ok()?, fields.next()?.parse::<u32>().ok()?);
        (group == gid && uid != owner).then(|| name.to_owned())
    })
}

/// macOS gives every person the same own group, `staff` (20), and has no list of users in a file. Apple's own groups have
/// ids below 500; those are taken as shared, what an administrator made is judged by its listed members.
#[cfg(target_os = "macos")]
fn primary_member(gid: u32, _owner: u32) -> Option<String> {
    (gid < 500).then(|| format!("everybody in the system's group {gid}"))
}

/// Which file is meant: `--config`, else `$SUPERVISOR_CONFIG`, else the first that exists of `./services.toml` and
/// `supervisor/services.toml` in `$XDG_CONFIG_HOME` (by default `~/.config`, on macOS too, where this tool is used from
/// a terminal) and, on macOS, in `~/Library/Application Support`. The answer is absolute, as plists need it. A file
/// that was named need not exist: [`read`] says so with its name.
pub fn locate(explicit: Option<&Path>, cwd: &Path, around: &Surroundings) -> Result<PathBuf, Error> {
    let named = explicit.map(Path::to_path_buf).or_else(|| {
        around.vars.get("SUPERVISOR_CONFIG").filter(|v| !v.is_empty()).map(|v| match v.strip_prefix("~/") {
            Some(below) => around.home.join(below),
            None => PathBuf::from(v),
        })
    });
    if let Some(named) = named {
        return absolute(&cwd.join(named));
    }
    let places = places(cwd, around);
    match places.iter().find(|place| place.symlink_metadata().is_ok()) {
        Some(found) => absolute(found),
        None => {
            let looked: Vec<String> = places.iter().map(|place| format!("\n  {}", place.display())).collect();
            let what = format!("there is no services.toml; looked for{}", looked.concat());
            Err(Error::new(ErrorKind::Config, what).hint(
                "make one in one of these places (the services.toml that comes with supervisor is a commented \
                 example), or name it with --config FILE or SUPERVISOR_CONFIG",
            ))
        }
    }
}

fn places(cwd: &Path, around: &Surroundings) -> Vec<PathBuf> {
    // The XDG specification: a relative value is to be ignored.
    let xdg = around.vars.get("XDG_CONFIG_HOME").map(PathBuf::from).filter(|dir| dir.is_absolute());
    let mut folders = vec![xdg.unwrap_or_else(|| around.home.join(".config"))];
    if cfg!(target_os = "macos") {
        folders.push(around.home.join("Library/Application Support"));
    }
    let in_folders = folders.into_iter().map(|folder| folder.join("supervisor/services.toml"));
    std::iter::once(cwd.join("services.toml")).chain(in_folders).collect()
}

fn absolute(path: &Path) -> Result<PathBuf, Error> {
    std::path::absolute(path).map_err(|e| Error::io("find", path, &e))
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;

    fn file(mode: u32, owner: u32, group: u32) -> Ownership {
        Ownership { mode: 0o100_000 | mode, owner, group, me: 501 }
    }

    #[test]
    fn only_files_that_nobody_else_can_write_are_used() {
        // Group 7 has a member, group 8 has none.
        let members = |gid: u32, owner: u32| (gid == 7 && owner == 501).then(|| "eve".to_owned());
        for (mode, owner, group) in [(0o600, 501, 7), (0o644, 501, 7), (0o644, 0, 0), (0o664, 501, 8)] {
            assert_eq!(other_writers(&file(mode, owner, group), &members), None, "{mode:o} {owner} {group}");
        }
        for (mode, owner, group, word) in [
            (0o666, 501, 8, "every user"),
            (0o602, 501, 8, "every user"),
            (0o600, 502, 8, "uid 502"),
            (0o664, 501, 7, "eve"),
        ] {
            let (who, _) = other_writers(&file(mode, owner, group), &members).unwrap();
            assert!(who.contains(word), "{who}");
        }
    }

    #[test]
    fn reading_says_what_is_wrong_with_the_file() {
        let dir = tempfile::tempdir().unwrap();
        let path = dir.path().join("services.toml");
        let message = |path: &Path| {
            let error = read(path).unwrap_err();
            assert_eq!(error.kind, ErrorKind::Config);
            assert!(error.message.contains(&path.display().to_string()), "{}", error.message);
            assert!(error.hint.is_some());
            error.message
        };
        assert!(message(&path).contains("no such file"));
        assert!(message(dir.path()).contains("directory"));
        std::fs::write(&path, b"# \xff\n").unwrap();
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        assert!(message(&path).contains("UTF-8"));
        std::fs::write(&path, "# fine\n").unwrap();
        assert_eq!(read(&path).unwrap().text, "# fine\n");
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o606)).unwrap();
        assert!(message(&path).contains("every user"));
        std::fs::set_permissions(&path, std::fs::Permissions::from_mode(0o600)).unwrap();
        std::fs::write(&path, vec![b'#'; usize::try_from(LARGEST).unwrap() + 1]).unwrap();
        assert!(message(&path).contains("1 MiB"));
        let fifo = dir.path().join("fifo");
        nix::unistd::mkfifo(&fifo, nix::sys::stat::Mode::S_IRWXU).unwrap();
        assert!(message(&fifo).contains("no regular file"));
    }

    #[test]
    fn the_file_is_looked_for_in_order() {
        let dir = tempfile::tempdir().unwrap();
        let (home, cwd) = (dir.path().join("home"), dir.path().join("cwd"));
        let config = home.join(".config/supervisor");
        std::fs::create_dir_all(&config).unwrap();
        std::fs::create_dir_all(&cwd).unwrap();
        let mut around = Surroundings { home: home.clone(), vars: BTreeMap::new(), state_dir: None };
        let none = locate(None, &cwd, &around).unwrap_err();
        assert!(
            none.message.contains("cwd/services.toml") && none.message.contains(".config/supervisor/services.toml")
        );
        std::fs::write(config.join("services.toml"), "").unwrap();
        assert_eq!(locate(None, &cwd, &around).unwrap(), config.join("services.toml"));
        std::fs::write(cwd.join("services.toml"), "").unwrap();
        assert_eq!(locate(None, &cwd, &around).unwrap(), cwd.join("services.toml"));
        around.vars.insert("SUPERVISOR_CONFIG".into(), "~/other.toml".into());
        assert_eq!(locate(None, &cwd, &around).unwrap(), home.join("other.toml"));
        assert_eq!(locate(Some(Path::new("x.toml")), &cwd, &around).unwrap(), cwd.join("x.toml"));
    }
}
