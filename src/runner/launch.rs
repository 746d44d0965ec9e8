//! From a specification to a running process: what is looked at before, and what is said when it cannot be.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use serde::{Deserialize, Serialize};

use super::Options;
use super::environment::{self, Base, RunFacts};
use crate::logs::fifo;
use crate::machine::{Hold, Refusal};
use crate::model::{Program, ServiceSpec, paths::Paths, paths::Stream};
use crate::process::{clock, handover, identity, ports, spawn};

/// Everything a start needs besides the specification.
pub(super) struct Surroundings<'a> {
    pub(super) paths: &'a Paths,
    pub(super) base: &'a Base,
    pub(super) run_id: u64,
    pub(super) attempt: u32,
    pub(super) notify_socket: Option<&'a Path>,
    pub(super) options: &'a Options,
}

/// Why a start did not come about, and whose end would change that.
pub(super) struct NotStarted {
    pub(super) refusal: Refusal,
    /// The process that holds a port we need.
    pub(super) port_owner: Option<i32>,
    /// Whether [`prepare`] found something missing.
    pub(super) unprepared: bool,
}

impl NotStarted {
    fn hold(reason: impl Into<String>, remedy: impl Into<String>) -> Self {
        let hold = Hold { reason: reason.into(), remedy: remedy.into(), last_words: String::new() };
        Self { refusal: Refusal::Hold(hold), port_owner: None, unprepared: false }
    }

    fn short(what: String) -> Self {
        Self { refusal: Refusal::Short(what), port_owner: None, unprepared: false }
    }
}

/// What was started.
pub(super) struct Launched {
    pub(super) pid: i32,
    pub(super) program: ProgramFile,
}

/// The file that a service is, for the record: what goes wrong after it was replaced, may go wrong because of that.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(super) struct ProgramFile {
    /// The run that was started from it.
    pub(super) run_id: u64,
    pub(super) path: PathBuf,
    pub(super) version: String,
}

impl ProgramFile {
    /// The program; where an interpreter is given a script by its whole path, the script.
    fn of(run_id: u64, program: &Path, argv: &[String]) -> Self {
        let script = argv.iter().skip(1).find(|word| !word.starts_with('-')).map(Path::new);
        let script = script.filter(|path| path.is_absolute() && path.is_file());
        let versions = [Some(program), script].into_iter().flatten().filter_map(identity::file_version);
        let version = versions.collect::<Vec<_>>().join("+");
        Self { run_id, path: script.unwrap_or(program).to_owned(), version }
    }
}

/// What a start is made from.
struct Prepared {
    program: PathBuf,
    /// Of one that is part of this binary: what stands before its name.
    argv: Vec<String>,
    file: BTreeMap<String, String>,
}

/// Whether all that a start needs is there, ports apart.
pub(super) fn is_prepared(spec: &ServiceSpec) -> bool {
    prepare(spec).is_ok()
}

fn prepare(spec: &ServiceSpec) -> Result<Prepared, NotStarted> {
    let file = match &spec.env_file {
        Some(path) => environment::read_env_file(path).map_err(|why| NotStarted::hold(why, ""))?,
        None => BTreeMap::new(),
    };
    let (program, argv) = match &spec.program {
        Program::Command(argv) => (find(spec, argv, &file)?, argv.clone()),
        Program::Builtin(_) => {
            let own = handover::own_program();
            let own = own.map_err(|e| NotStarted::short(format!("our own program cannot be found: {e}")))?;
            let name = own.display().to_string();
            (own, vec![name])
        }
    };
    if !spec.cwd.is_dir() {
        let reason = format!("its working directory {} does not exist", spec.cwd.display());
        return Err(NotStarted::hold(reason, format!("create it or change `cwd` of service.{}", spec.name)));
    }
    Ok(Prepared { program, argv, file })
}

/// Starts a process for `spec`.
pub(super) fn launch(spec: &ServiceSpec, around: &Surroundings<'_>) -> Result<Launched, NotStarted> {
    let Prepared { program, mut argv, file: env_file } =
        prepare(spec).map_err(|refused| NotStarted { unprepared: true, ..refused })?;
    for port in &spec.ports {
        if let Some(owner) = ports::taken(*port) {
            let pid = owner.pid.map_or(String::new(), |pid| format!(" (pid {pid})"));
            let reason = format!("port {port} is taken by {}{pid}", owner.command);
            let refused = NotStarted::hold(reason, "end that process, and it is started at once");
            return Err(NotStarted { port_owner: owner.pid, ..refused });
        }
    }
    let short = |what: &str, e: std::io::Error| NotStarted::short(format!("{what} could not be opened: {e}"));
    let open = |stream: Stream| fifo::open_writer(&around.paths.fifo(&spec.name, stream));
    let facts = RunFacts {
        name: &spec.name,
        run_id: around.run_id,
        attempt: around.attempt,
        token: identity::token_at(clock::now()),
        state_dir: around.paths.state_dir(),
        notify_socket: around.notify_socket,
        watchdog: spec.watchdog(),
    };
    let file = ProgramFile::of(around.run_id, &program, &argv);
    let mut env = environment::compose(&spec.env, &env_file, around.base, facts);
    if matches!(spec.program, Program::Builtin(_)) {
        let Options { config, surroundings, .. } = around.options;
        argv.extend(environment::own_arguments(config, around.paths));
        argv.extend(["serve".into(), spec.name.to_string()]);
        environment::add_surroundings(&mut env, &surroundings.vars);
    }
    let launch = spawn::Launch {
        program,
        argv,
        env: env.into_iter().collect(),
        cwd: spec.cwd.clone(),
        stdout: open(Stream::Stdout).map_err(|e| short("its stdout", e))?,
        stderr: open(Stream::Stderr).map_err(|e| short("its stderr", e))?,
    };
    match spawn::spawn(launch) {
        Ok(spawned) => Ok(Launched { pid: spawned.pid, program: file }),
        Err(e) if !e.needs_mending() => Err(NotStarted::short(e.to_string())),
        Err(e) => Err(NotStarted::hold(e.to_string(), "")),
    }
}

fn find(spec: &ServiceSpec, argv: &[String], file: &BTreeMap<String, String>) -> Result<PathBuf, NotStarted> {
    let name = argv.first().map_or("", String::as_str);
    spawn::find_program(name, environment::search_path(&spec.env, file), &spec.cwd).map_err(|why| {
        let remedy = if name.contains('/') {
            format!("install it, or correct `command` of service.{}", spec.name)
        } else {
            format!(
                "install `{name}`, or write its absolute path in `command` of service.{0}, or its folder in env.PATH \
                 (`supervisor check` tells where your shell has it)",
                spec.name
            )
        };
        NotStarted::hold(why, remedy)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::model::Builtin;

    #[test]
    fn what_is_part_of_this_binary_is_started_from_it() {
        for builtin in [Builtin::EmitServer, Builtin::FileWatcher] {
            let mut spec = ServiceSpec::for_tests("own");
            spec.program = Program::Builtin(builtin);
            let Ok(prepared) = prepare(&spec) else { panic!("{builtin:?} cannot be started") };
            assert_eq!(prepared.program, handover::own_program().unwrap());
            assert_eq!(prepared.argv, [prepared.program.display().to_string()]);
            spec.cwd = "/nowhere".into();
            assert!(!is_prepared(&spec), "its folder is looked at as any other's");
        }
    }
}
