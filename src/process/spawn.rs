//! Starting a service's process, and saying in words why it could not be.

use std::fs::{self, File};
use std::io::{self, Read};
use std::os::fd::OwnedFd;
use std::os::unix::process::CommandExt;
use std::path::{Path, PathBuf};
use std::process::Command;

use nix::unistd::{AccessFlags, access};

use super::tune;

/// All that a new process is made of; it inherits nothing else.
#[derive(Debug)]
pub struct Launch {
    /// Absolute.
    pub program: PathBuf,
    /// With the program's own name first.
    pub argv: Vec<String>,
    /// The whole environment.
    pub env: Vec<(String, String)>,
    /// Absolute.
    pub cwd: PathBuf,
    /// Its descriptor 1.
    pub stdout: OwnedFd,
    /// Its descriptor 2.
    pub stderr: OwnedFd,
}

/// A process that has been started; reaping it is the caller's ([`super::reap`]).
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Spawned {
    /// Its pid, which is its process group's number too.
    pub pid: i32,
}

/// Why a process could not be started.
#[derive(Debug, thiserror::Error)]
pub enum SpawnError {
    /// No such file.
    #[error("the program {} does not exist", .0.display())]
    NotFound(PathBuf),
    /// A folder, or a file without the permission.
    #[error("{} is not an executable file", .0.display())]
    NotExecutable(PathBuf),
    /// The file is there, what its `#!` line names is not.
    #[error("{} needs the interpreter {interpreter:?} (its #! line), which does not exist", program.display())]
    BadInterpreter {
        /// The script.
        program: PathBuf,
        /// What its first line asks for.
        interpreter: String,
    },
    /// The working directory.
    #[error("the working directory {} {why}", cwd.display())]
    BadCwd {
        /// Which.
        cwd: PathBuf,
        /// What is wrong with it.
        why: &'static str,
    },
    /// Nothing this system can run.
    #[error("{} is no program that this machine can run (wrong format or architecture)", .0.display())]
    Format(PathBuf),
    /// The system is out of something, or says what we do not know.
    #[error("{} could not be started: {source}", program.display())]
    Os {
        /// What was to be started.
        program: PathBuf,
        /// What the system said.
        source: io::Error,
    },
}

impl SpawnError {
    /// Whether somebody has to mend something before another try can succeed. Everything but [`SpawnError::Os`].
    pub fn needs_mending(&self) -> bool {
        !matches!(self, Self::Os { .. })
    }
}

/// Starts `launch` in a process group of its own, with /dev/null as its stdin and the limit of descriptors that we
/// found ([`tune::raise_descriptor_limit`]).
///
/// The standard library goes by posix_spawn as long as nothing here asks for more than it can do (no `pre_exec`, no user
/// or group): a large parent would take milliseconds to fork. Its `Child` is dropped, which neither waits nor kills.
#[expect(clippy::disallowed_methods, reason = "the one place where services are started")]
pub fn spawn(launch: Launch) -> Result<Spawned, SpawnError> {
    let Launch { program, argv, env, cwd, stdout, stderr } = launch;
    // Opened here, as under the children's limit there may be no room for another descriptor.
    let stdin = match File::open("/dev/null") {
        Ok(file) => file,
        Err(source) => return Err(SpawnError::Os { program, source }),
    };
    let mut command = Command::new(&program);
    command.env_clear().envs(env).current_dir(&cwd).process_group(0);
    let mut words = argv.into_iter();
    if let Some(name) = words.next() {
        command.arg0(name);
    }
    command.args(words);
    let spawned = tune::with_child_limits([stdin.into(), stdout, stderr], move |[stdin, stdout, stderr]| {
        command.stdin(stdin).stdout(stdout).stderr(stderr).spawn()
    });
    match spawned {
        Ok(child) => Ok(Spawned { pid: i32::try_from(child.id()).unwrap_or(i32::MAX) }),
        Err(error) => Err(explain(program, cwd, error)),
    }
}

/// The system's answer is the same for a missing program, interpreter and working directory; the disk tells them apart.
fn explain(program: PathBuf, cwd: PathBuf, source: io::Error) -> SpawnError {
    match cwd.metadata() {
        Ok(data) if !data.is_dir() => return SpawnError::BadCwd { cwd, why: "is not a directory" },
        Ok(_) if access(&cwd, AccessFlags::X_OK).is_err() => {
            return SpawnError::BadCwd { cwd, why: "may not be entered" };
        }
        Ok(_) => {}
        Err(error) if error.kind() == io::ErrorKind::NotFound => {
            return SpawnError::BadCwd { cwd, why: "does not exist" };
        }
        Err(_) => return SpawnError::BadCwd { cwd, why: "cannot be reached" },
    }
    match source.raw_os_error() {
        Some(libc::ENOENT) if !program.exists() => SpawnError::NotFound(program),
        Some(libc::ENOENT) => match interpreter(&program) {
            Some(interpreter) => SpawnError::BadInterpreter { program, interpreter },
            // A binary whose dynamic loader is missing: made for another system.
            None => SpawnError::Format(program),
        },
        Some(libc::ENOTDIR) => SpawnError::NotFound(program),
        Some(libc::EACCES | libc::EPERM | libc::EISDIR) if !is_executable(&program) => {
            SpawnError::NotExecutable(program)
        }
        Some(libc::ENOEXEC) => SpawnError::Format(program),
        #[cfg(target_os = "macos")]
        Some(libc::EBADARCH | libc::EBADEXEC) => SpawnError::Format(program),
        _ => SpawnError::Os { program, source },
    }
}

/// The program that a file's `#!` line names.
pub fn interpreter(program: &Path) -> Option<String> {
    interpreter_line(program)?.into_iter().next()
}

/// All words of a file's `#!` line.
pub fn interpreter_line(program: &Path) -> Option<Vec<String>> {
    let mut start = Vec::new();
    File::open(program).ok()?.take(256).read_to_end(&mut start).ok()?;
    let line = start.strip_prefix(b"#!")?.split(|byte| *byte == b'\n').next()?;
    // A carriage return at the end is the usual reason: shown as it is.
    let line = String::from_utf8_lossy(line);
    Some(line.split([' ', '\t']).filter(|word| !word.is_empty()).map(str::to_owned).collect())
}

/// Finds `name` as a shell would, on the service's own PATH (a name with a `/` is a path, from `cwd`); else a sentence
/// that says what was looked for and found instead.
pub fn find_program(name: &str, path_var: &str, cwd: &Path) -> Result<PathBuf, String> {
    if name.contains('/') {
        let path = cwd.join(name);
        return match fs::metadata(&path) {
            Ok(data) if data.is_file() && access(&path, AccessFlags::X_OK).is_ok() => Ok(path),
            Ok(data) if data.is_dir() => Err(format!("{} is a folder, not a program", path.display())),
            Ok(_) => Err(format!("{} is not executable; run: chmod +x {}", path.display(), path.display())),
            Err(_) => Err(format!("the program {} does not exist", path.display())),
        };
    }
    if name.is_empty() {
        return Err("the command is empty".to_owned());
    }
    let candidates = || path_var.split(':').map(|folder| cwd.join(folder).join(name));
    if let Some(found) = candidates().find(|path| is_executable(path)) {
        return Ok(found);
    }
    match candidates().find(|path| path.is_file()) {
        Some(path) => Err(format!("{} is not executable; run: chmod +x {}", path.display(), path.display())),
        None => Err(format!("{name:?} is not on the service's PATH ({path_var})")),
    }
}

/// Whether it is a file that we may execute.
pub(super) fn is_executable(path: &Path) -> bool {
    path.is_file() && access(path, AccessFlags::X_OK).is_ok()
}

#[cfg(test)]
mod tests {
    use std::os::unix::fs::PermissionsExt;

    use super::*;
    use crate::model::Exit;
    use crate::process::testing::{again, wait_for};
    use crate::process::{reap, table};

    fn launch(program: &Path, argv: &[&str], cwd: &Path, out: &File) -> Launch {
        Launch {
            program: program.to_owned(),
            argv: argv.iter().map(|word| (*word).to_owned()).collect(),
            env: vec![("ONLY".to_owned(), "this".to_owned())],
            cwd: cwd.to_owned(),
            stdout: out.try_clone().unwrap().into(),
            stderr: out.try_clone().unwrap().into(),
        }
    }

    fn executable(path: &Path, content: &str) {
        fs::write(path, content).unwrap();
        fs::set_permissions(path, fs::Permissions::from_mode(0o755)).unwrap();
    }

    /// It reaps, so it is played in a process of its own.
    #[test]
    fn a_process_gets_what_is_said_and_nothing_else() {
        const INNER: &str = "SUPERVISOR_TEST_SPAWN";
        if std::env::var_os(INNER).is_none() {
            let output = again("process::spawn::tests::a_process_gets", INNER).output().unwrap();
            assert!(output.status.success(), "{}", String::from_utf8_lossy(&output.stdout));
            assert!(String::from_utf8_lossy(&output.stdout).contains("1 passed"));
            return;
        }
        let folder = tempfile::tempdir().unwrap();
        let cwd = folder.path().canonicalize().unwrap();
        let out = File::create(cwd.join("out")).unwrap();
        let script = r#"echo "$0,$1,$ONLY,$HOME,$(pwd -P)"; cat; echo "err" >&2; exit 7"#;
        let started = spawn(launch(Path::new("/bin/sh"), &["sh", "-c", script, "name", "one"], &cwd, &out)).unwrap();
        let (pid, _) = wait_for("its end", reap::peek);
        let group = table::scan().unwrap().into_iter().find(|e| e.pid == pid).map(|e| e.pgid);
        let exit = reap::reap(pid);
        assert_eq!((pid, exit, group), (started.pid, Exit::Code(7), Some(pid)));
        let text = fs::read_to_string(cwd.join("out")).unwrap();
        assert_eq!(text, format!("name,one,this,,{}\nerr\n", cwd.display()));
    }

    #[test]
    fn each_way_to_fail_has_its_own_words() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        let out = File::create(here.join("out")).unwrap();
        let fails = |program: &Path, cwd: &Path| spawn(launch(program, &["x"], cwd, &out)).unwrap_err();

        let missing = fails(&here.join("missing"), here);
        assert!(matches!(missing, SpawnError::NotFound(_)) && missing.needs_mending());
        assert_eq!(missing.to_string(), format!("the program {}/missing does not exist", here.display()));
        assert!(matches!(fails(&here.join("out/x"), here), SpawnError::NotFound(_)));
        assert!(matches!(fails(&here.join("out"), here), SpawnError::NotExecutable(_)));
        assert!(matches!(fails(here, here), SpawnError::NotExecutable(_)));

        executable(&here.join("script"), "#! /no/such/interpreter -x\nhello\n");
        let error = fails(&here.join("script"), here);
        assert!(
            matches!(&error, SpawnError::BadInterpreter { interpreter, .. } if interpreter == "/no/such/interpreter")
        );
        executable(&here.join("dos"), "#!/bin/sh\r\necho\r\n");
        assert!(fails(&here.join("dos"), here).to_string().contains(r#""/bin/sh\r""#));

        executable(&here.join("garbage"), "\x7fELF garbage");
        assert!(matches!(fails(&here.join("garbage"), here), SpawnError::Format(_)));

        let no_folder = fails(Path::new("/bin/sh"), &here.join("nowhere"));
        assert_eq!(no_folder.to_string(), format!("the working directory {}/nowhere does not exist", here.display()));
        assert!(matches!(fails(Path::new("/bin/sh"), &here.join("out")), SpawnError::BadCwd { .. }));
    }

    #[test]
    fn programs_are_found_on_the_services_own_path() {
        let folder = tempfile::tempdir().unwrap();
        let here = folder.path();
        fs::create_dir_all(here.join("a/tool")).unwrap();
        fs::create_dir(here.join("b")).unwrap();
        fs::create_dir(here.join("c")).unwrap();
        fs::write(here.join("b/tool"), "").unwrap();
        executable(&here.join("c/tool"), "");
        let path = format!("{0}/a:{0}/b:c", here.display());
        assert_eq!(find_program("tool", &path, here), Ok(here.join("c/tool")));
        assert_eq!(find_program("c/tool", "", here), Ok(here.join("c/tool")));
        let text = find_program("tool", &format!("{0}/a:{0}/b", here.display()), here).unwrap_err();
        assert!(text.contains("b/tool is not executable; run: chmod +x"), "{text}");
        assert!(find_program("b/tool", "", here).unwrap_err().contains("chmod +x"));
        assert!(find_program("./a", "", here).unwrap_err().contains("is a folder"));
        assert!(find_program("/no/such", "", here).unwrap_err().contains("/no/such does not exist"));
        let text = find_program("nothing", "/x:/y", here).unwrap_err();
        assert_eq!(text, "\"nothing\" is not on the service's PATH (/x:/y)");
        find_program("", "/bin", here).unwrap_err();
    }
}
