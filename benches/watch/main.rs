//! The built-in file-watcher measured: beside what people take in its place, in the same run; and by itself.
//!
//! ```text
//! cargo bench --bench watch [-- [contest] [idle] [steady] [million] [--quick] [--strict]]
//! ```
//! Without names everything is measured but `million`, which makes as many files. Each measure says what it does at the top of
//! its file. What is printed is a table in Markdown with the marks that must hold. `--strict` exits with 1 when one is missed;
//! `--quick` is a trial of the harness: it does little of everything, and judges only what does not depend on time (files missed).
//!
//! fswatch and watchexec are those that REAL_FSWATCH and REAL_WATCHEXEC name (`.ci/install_watchers` says where they are), or the
//! first in PATH; one that is not there is left out, and that is said.
#![expect(
    clippy::unwrap_used,
    clippy::expect_used,
    clippy::disallowed_methods,
    reason = "a benchmark measures time, starts programs, and fails by panicking"
)]

#[path = "../whole/chosen.rs"]
mod chosen;
mod contest;
mod contestants;
#[path = "../whole/host.rs"]
#[allow(dead_code, reason = "made for another one")]
mod host;
mod idle;
mod million;
#[path = "../whole/programs.rs"]
#[allow(dead_code, reason = "made for another one")]
mod programs;
#[path = "../../tests/sim/rng.rs"]
#[allow(dead_code, reason = "made for the simulator")]
mod rng;
mod steady;
#[path = "../../tests/main/support.rs"]
mod support;
#[path = "../whole/table.rs"]
#[allow(dead_code, reason = "made for another one")]
mod table;
#[path = "../../tests/real/watch/watcher.rs"]
mod watcher;

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use chosen::Chosen;
use support::Env;
use table::Row;
use watcher::{Records, Tree};

/// How much is measured, and of what everything random comes.
struct Plan {
    quick: bool,
    seed: u64,
    handler: PathBuf,
}

impl Plan {
    /// The handler and the file of its records, as words of a command.
    fn handler(&self, records: &Path) -> [String; 2] {
        [&self.handler, records].map(|path| path.display().to_string())
    }
}

/// A tree that is watched by ours, and the records of its handler.
struct Ours {
    env: Env,
    tree: Tree,
    records: Records,
    _folder: tempfile::TempDir,
}

impl Ours {
    /// A tree of so many folders. Nothing runs yet.
    fn new(plan: &Plan, folders: u64) -> Self {
        let (folder, mut tree) = new_tree();
        let mut rng = rng::Rng::new(plan.seed, folders);
        (0..folders).for_each(|_| tree.grow(rng.next()).unwrap());
        let env = Env::new("");
        let file = env.dir().join("records");
        let records = Records::create(&file).unwrap();
        let [handler, file] = plan.handler(&file);
        env.configure(&watcher::declared(folder.path(), &[&handler, &file, "{path}"], 4));
        Self { env, tree, records, _folder: folder }
    }
}

/// A tree without folders, in the folder for temporary files, or the one that SUPERVISOR_WATCH_IN names.
fn new_tree() -> (tempfile::TempDir, Tree) {
    let place = std::env::var_os("SUPERVISOR_WATCH_IN").map_or_else(std::env::temp_dir, PathBuf::from);
    let folder = tempfile::Builder::new().prefix("svtree").tempdir_in(place.canonicalize().unwrap()).unwrap();
    let tree = Tree::new(folder.path());
    (folder, tree)
}

type Measure = fn(&Plan) -> Vec<Row>;

const MEASURES: [(&str, Measure); 4] = [
    ("contest", contest::measure),
    ("idle", idle::measure),
    ("steady", steady::measure),
    ("million", million::measure),
];

fn main() -> ExitCode {
    let chosen = match Chosen::read(&MEASURES.map(|(name, _)| name)) {
        Ok(chosen) => chosen,
        Err(code) => return code,
    };
    programs::ours();
    let plan = Plan { quick: chosen.quick, seed: host::now(), handler: programs::example("handled") };
    let before = host::load();
    let mut rows = Vec::new();
    for (name, measure) in MEASURES {
        if chosen.has(name, name != "million") {
            eprintln!("measuring: {name}");
            rows.extend(measure(&plan));
        }
    }
    let before = format!("load {before} before, seed {}", plan.seed);
    chosen.report("watch", "theirs, or floor", &before, &rows)
}
