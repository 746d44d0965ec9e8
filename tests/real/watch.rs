//! The built-in file-watcher under what it was made for: a hundred thousand files while it is killed again and again, and a queue
//! of the system that overflows.
//!
//! Their trees are made in the folder for temporary files, or in the one that SUPERVISOR_WATCH_IN names (a tmpfs, for example).

mod judge;
#[cfg_attr(not(target_os = "linux"), path = "watch/no_overflow.rs")]
mod overflow;
pub mod watcher;

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::time::Duration;

use nix::sys::signal::Signal;

use super::support::{Env, Guard, signal, try_wait, wait_within};
use super::wait;
use super::week::{TEN_MINUTES_EACH, week};
use judge::{Judged, Kill, judge};
use rng::Rng;
use supervisor::model::WatchSetStatus;
use watcher::{Made, Records, Tree, declared, now, status, wait_until_it_watches};

#[path = "../sim/rng.rs"]
#[allow(dead_code, reason = "made for the simulator")]
mod rng;

/// Samples of the week, each of which stands for forty minutes and takes a fifth of a second.
const SAMPLES: usize = TEN_MINUTES_EACH / 4;
/// Handlers at once.
const CONCURRENCY: usize = 4;
/// The longest that files may wait, on a loaded machine.
const PATIENCE: Duration = Duration::from_secs(300);

/// A folder that is watched, a watcher's installation beside it, and the records of its handler.
struct Watched {
    env: Env,
    tree: Tree,
    records: Records,
    _folder: tempfile::TempDir,
}

impl Watched {
    fn new() -> Self {
        let place = std::env::var_os("SUPERVISOR_WATCH_IN").map_or_else(std::env::temp_dir, PathBuf::from);
        let folder = tempfile::Builder::new().prefix("svtree").tempdir_in(place).unwrap();
        let root = folder.path().canonicalize().unwrap();
        let env = Env::new("");
        let file = env.dir().join("records");
        let records = Records::create(&file).unwrap();
        let (handler, file) = (handler().display().to_string(), file.display().to_string());
        env.configure(&declared(&root, &[&handler, &file, "{path}", "{attempt}"], CONCURRENCY));
        Self { env, tree: Tree::new(&root), records, _folder: folder }
    }

    fn wait_until_it_watches(&self) {
        wait_until_it_watches(&self.env, Duration::from_secs(60));
    }

    /// Waits until every file has been handled, and the watcher says that nothing is left; a file that is not handled fails the
    /// test when nothing has happened for long.
    fn wait_until_all_is_handled(&mut self, made: &[Made]) {
        let mut left: BTreeSet<u64> = made.iter().map(|made| made.path).collect();
        let (mut seen, mut last) = (0, now());
        let records = &mut self.records;
        wait("all files handled", PATIENCE, || {
            if records.poll().unwrap() > 0 {
                last = now();
            }
            for record in &records.all[seen..] {
                left.remove(&record.path);
            }
            seen = records.all.len();
            let quiet = Duration::from_nanos(now() - last);
            assert!(left.is_empty() || quiet < Duration::from_secs(40), "{} files are never handled", left.len());
            left.is_empty().then_some(())
        });
        wait("nothing waits", Duration::from_secs(60), || {
            let idle =
                status(&self.env)?.sets.iter().all(|set| set.waiting + u64::from(set.running) + set.retrying == 0);
            idle.then_some(())
        });
        // One too many would come now.
        self.records.poll().unwrap();
    }

    fn known(&self) -> u64 {
        status(&self.env).expect("the watcher answers").sets[0].known
    }
}

/// The handler. Cargo builds examples for `cargo test`, and not for `cargo test --test real`.
fn handler() -> PathBuf {
    let profile = Path::new(env!("CARGO_BIN_EXE_supervisor")).parent().unwrap();
    let program = profile.join("examples/handled");
    assert!(program.exists(), "{} is not there; cargo build --example handled", program.display());
    program
}

#[test]
#[ignore = "takes minutes; .ci/run runs it"]
fn many_files_and_ten_kills() {
    const KILLS: u64 = 10;
    let files: usize = std::env::var("SUPERVISOR_WATCH_FILES").map_or(100_000, |files| files.parse().unwrap());
    let folders = files / 100;
    let seed = u64::from(std::process::id());
    eprintln!("  for information: seed {seed}");
    let mut watched = Watched::new();
    let _runner = Guard(watched.env.command(&["exec", "watcher"]).spawn().unwrap());
    watched.wait_until_it_watches();

    let began = now();
    let made = std::sync::Mutex::new(Vec::with_capacity(files));
    let mut kills: Vec<Kill> = Vec::new();
    let (env, tree, records) = (&watched.env, &mut watched.tree, &mut watched.records);
    std::thread::scope(|scope| {
        scope.spawn(|| {
            let mut rng = Rng::new(seed, 1);
            for number in 0..files {
                // A folder for each hundred files, and files in it at once.
                if number % 100 == 0 {
                    tree.grow(rng.next()).unwrap();
                }
                let folder = match number % 100 {
                    0..3 => tree.folders() - 1,
                    _ => usize::try_from(rng.below(tree.folders() as u64)).unwrap(),
                };
                let file = tree.put(folder, &format!("f{number}")).unwrap();
                made.lock().unwrap().push(file);
            }
            eprintln!("  for information: {files} files made in {:.1} s", (now() - began) as f64 / 1e9);
        });
        // Some at random moments while files are made, the others at random moments while what is left is handled.
        let mut rng = Rng::new(seed, 2);
        let mut of = |count: u64| {
            let mut moments: Vec<usize> =
                (0..count).map(|_| usize::try_from(rng.below(files as u64)).unwrap()).collect();
            moments.sort_unstable();
            moments
        };
        let (while_made, while_handled) = (of(KILLS / 2), of(KILLS - KILLS / 2));
        let next = |last: i32| {
            // By its own word: a handler has its command line too, until it has become what it is to be.
            wait_within("the next watcher", PATIENCE, || {
                let pid = i32::try_from(status(env)?.pid?).unwrap();
                (pid != last).then_some(pid)
            })
        };
        let mut pid = next(0);
        let mut kill = || {
            let from = now();
            assert!(signal(pid, Signal::SIGKILL));
            // What it had started may come to run, and so stamp its record, after its end: until there is another one.
            pid = next(pid);
            kills.push(Kill { from, to: now() });
        };
        for moment in while_made {
            wait_within("files", PATIENCE, || (made.lock().unwrap().len() >= moment).then_some(()));
            kill();
        }
        for moment in while_handled {
            wait_within("handlers", PATIENCE, || {
                records.poll().unwrap();
                (records.all.len() >= moment).then_some(())
            });
            kill();
        }
    });
    let made = made.into_inner().unwrap();
    watched.wait_until_all_is_handled(&made);
    eprintln!("  for information: all handled after {:.1} s", (now() - began) as f64 / 1e9);

    let judged = judge(&made, &watched.records.all, &kills);
    eprintln!("  for information: {judged}");
    assert_eq!((judged.missed, judged.unknown), (0, 0));
    assert_eq!(judged.without_kill, 0, "files handled again though nobody died");
    assert_eq!(judged.not_told, 0, "files handled again whose handler was not told so");
    let most = judged.for_a_kill.iter().max().copied().unwrap_or(0);
    assert!(most <= CONCURRENCY, "{most} files handled again after one kill, with {CONCURRENCY} handlers at once");
    assert_eq!(kills.len() as u64, KILLS);
    assert_eq!((watched.tree.folders(), watched.known()), (folders, files as u64));
}

#[test]
#[ignore = "takes minutes; .ci/run runs it"]
fn an_overflow_of_the_queue_loses_nothing() {
    const FILES: usize = 40_000;
    let mut watched = Watched::new();
    for luck in 0..40 {
        watched.tree.grow(luck).unwrap();
    }
    let watcher = watcher::start(&watched.env);
    watched.wait_until_it_watches();
    let beside = overflow::Beside::new(&watched.tree);

    assert!(signal(watcher::pid(&watcher), Signal::SIGSTOP));
    let began = now();
    let made: Vec<Made> =
        (0..FILES).map(|number| watched.tree.put(number % 40, &format!("f{number}")).unwrap()).collect();
    eprintln!("  for information: {FILES} files made in {:.1} s", (now() - began) as f64 / 1e9);
    beside.assert_overflow(FILES);
    assert_eq!(watched.records.poll().unwrap(), 0, "a stopped watcher has started a handler");

    assert!(signal(watcher::pid(&watcher), Signal::SIGCONT));
    watched.wait_until_all_is_handled(&made);
    eprintln!("  for information: all handled after {:.1} s", (now() - began) as f64 / 1e9);
    let judged = judge(&made, &watched.records.all, &[]);
    eprintln!("  for information: {judged}");
    assert_eq!(judged, Judged { files: FILES, ..Judged::default() });
    assert_eq!(watched.known(), FILES as u64);
    // And it is no worse for it: what comes now is told at once.
    let one = watched.tree.put(3, "afterwards").unwrap();
    let mut records = watched.records;
    let found = try_wait(Duration::from_secs(20), || {
        records.poll().unwrap();
        records.all.iter().any(|record| record.path == one.path).then_some(())
    });
    assert!(found.is_some(), "after the overflow nothing new is handled");
}

/// Files between two samples, beside what else happens.
const IN_BETWEEN: usize = 6;

#[test]
#[ignore = "takes minutes; .ci/run runs it"]
fn a_week_of_files_that_come_and_go_leaves_it_as_it_was() {
    let mut watched = Watched::new();
    let refused = watched.env.dir().join("refused");
    std::fs::create_dir(&refused).unwrap();
    let (handler, file) = (handler().display().to_string(), watched.env.dir().join("records").display().to_string());
    let root = watched.tree.all().next().unwrap().to_owned();
    let more = format!(
        "on = [\"created\", \"modified\", \"renamed\"]\n\
         [[service.watcher.watch]]\nname = \"refused\"\npaths = [{refused:?}]\nsettle = \"0s\"\nrun = [\"/bin/false\"]\n\
         retries = 1\nretry_delay = \"0s\"\n"
    );
    watched.env.configure(&(declared(&root, &[&handler, &file, "{path}", "{attempt}"], CONCURRENCY) + &more));
    let watcher = watcher::start(&watched.env);
    watched.wait_until_it_watches();
    // The week begins when it has warmed up: what SQLite keeps in memory has its size.
    for number in 0..100 {
        forty_minutes(&mut watched, &root, &refused, number);
    }
    let seen = week(watcher::pid(&watcher), SAMPLES, |number| {
        forty_minutes(&mut watched, &root, &refused, number + 100);
    });
    seen.was_flat("the file-watcher", 2);
    let end = status(&watched.env).expect("it answers");
    assert_eq!(end.sets[1].dead, 100 + SAMPLES as u64);
    // What is gone is forgotten two seconds later.
    wait("the last files to be forgotten", Duration::from_secs(30), || {
        (status(&watched.env)?.sets[0].known == 0).then_some(())
    });
}

/// What comes, changes and goes in that time.
fn forty_minutes(watched: &mut Watched, root: &Path, refused: &Path, number: usize) {
    let before = watched.records.all.len();
    let folder = root.join(format!("folder{number}"));
    std::fs::create_dir_all(folder.join("below")).unwrap();
    let file = |name: usize| folder.join(if name.is_multiple_of(2) { "" } else { "below" }).join(format!("f{name}"));
    for name in 0..IN_BETWEEN {
        std::fs::write(file(name), "one line\n").unwrap();
    }
    // A download that has another name until it is whole, one that was whole elsewhere, one more name; and what is not wanted.
    std::fs::write(folder.join("a.part"), "half\n").unwrap();
    std::fs::rename(folder.join("a.part"), folder.join("a")).unwrap();
    let beside = watched.env.dir().join("whole");
    std::fs::write(&beside, "whole\n").unwrap();
    std::fs::rename(&beside, folder.join("b")).unwrap();
    std::fs::hard_link(file(0), folder.join("c")).unwrap();
    std::fs::write(refused.join(format!("no{number}")), "").unwrap();
    let records = &mut watched.records;
    let mut handled = |count: usize| {
        wait("all handled", PATIENCE, || {
            records.poll().unwrap();
            (records.all.len() >= before + count).then_some(())
        });
    };
    handled(IN_BETWEEN + 3);
    std::fs::write(file(1), "another line, which is longer\n").unwrap();
    std::fs::rename(file(2), folder.join("below/renamed")).unwrap();
    handled(IN_BETWEEN + 5);
    // What is gone by the time it fails is not given up.
    wait("what is refused to be given up", PATIENCE, || {
        let status = status(&watched.env)?;
        let [all, refused] = [&status.sets[0], &status.sets[1]];
        let is_quiet = |set: &WatchSetStatus| set.waiting + u64::from(set.running) + set.retrying == 0;
        (is_quiet(all) && is_quiet(refused) && refused.dead > number as u64).then_some(())
    });
    std::fs::remove_file(refused.join(format!("no{number}"))).unwrap();
    std::fs::remove_dir_all(&folder).unwrap();
}
