//! The built-in file-watcher: a handler runs once for every new file in the watched folders, also for those that came while nobody
//! watched.
//!
//! ```text
//! eye       what the system tells of changes           hints: paths worth a look
//! look      what is there                              judge: what that means (pure)
//! table     what is dealt with, and what is under way  on disk, outlives a kill
//! items     files that settle, wait, run (pure)        handler: runs them
//! keeper    the loop that has all of it                scans, folders that come and go
//! canary    the proof that changes are told of         standing, desk: how it is, for others
//! before    the end of what one that was killed has left
//! ```
//!
//! The truth is the difference between what is on disk and what the table has as dealt with. Events only say where to look; a scan looks
//! everywhere: at the start, after sleep, when the system has lost events, and every hour. So nothing that an event does not tell is
//! missed, and what two events tell is done once.
//!
//! A handler's beginning is written down before it is started, and its end when it has ended. Who is killed in between does it again, with
//! a higher `{attempt}`: at least once, and exactly once unless we died meanwhile.
//!
//! It is a service as any other, with a process and a runner of its own (`supervisor serve NAME`), and works without a daemon. Nothing in
//! here knows of services, exits or alerts.

mod before;
mod canary;
mod desk;
mod eye;
mod handler;
mod items;
mod judge;
mod keeper;
mod look;
mod own;
mod set;
mod standing;
mod table;

use std::os::unix::ffi::OsStrExt;
use std::path::Path;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::net::UnixListener;
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::control::serving;
use crate::error::{Error, ErrorKind};
use crate::model::paths::Paths;
use crate::model::{Initial, ServiceSpec, WatchSetStatus, WatchState, WatchedFolder, WatcherStatus};
use crate::process::{clock, files, notify, socket};
use set::Set;
use standing::Standing;
use table::{Reader, Table};

/// Dead letters in a status.
const LETTERS: usize = 100;

/// So much of the time we are given to end is not the handlers'.
const RESERVE: Duration = Duration::from_secs(2);

/// Watches until SIGTERM or SIGINT, and then until the handlers that run have ended.
///
/// # Errors
/// `Refused` when a person has to do something (a glob that cannot be read, a table of a newer version); `Internal` otherwise.
pub fn serve(spec: &ServiceSpec, paths: &Paths) -> Result<(), Error> {
    let canary = paths.service(&spec.name).join("canary");
    files::ensure_dir(&canary).map_err(|e| Error::io("cannot make the folder", &canary, &e))?;
    let mut table = Table::open(&paths.watched(&spec.name))?;
    let sets = spec.watch.iter().map(Set::new).collect::<Result<Vec<Set>, Error>>()?;
    let roots = roots(&table, &sets, &paths.watched(&spec.name))?;
    if table.was_cut_off().map_err(|e| unwritten(&paths.watched(&spec.name), &e))? {
        before::wait();
    }
    table.take_over().map_err(|e| unwritten(&paths.watched(&spec.name), &e))?;
    let (post, inbox) = keeper::inbox().map_err(|e| cannot("open a pair of sockets", e))?;
    let hints = post.clone();
    // A loop that has ended needs no hints.
    let mut eye = eye::Eye::open(sets.iter().any(Set::wants_content), move || {
        hints.send(keeper::Input::Hints);
    });
    let canary = canary::Canary::new(canary);
    if let Ok(watching) = &mut eye
        && let Err(e) = watching.watch(canary.real_folder(), false)
    {
        anstream::eprintln!("{} is not watched: {e:?}", canary.real_folder().display());
    }
    let handlers = handler::Handlers::new(spec.cwd.clone()).map_err(|e| cannot("hand on our output", e))?;
    let standing = Arc::<Mutex<Standing>>::default();
    let busy = Arc::<standing::Busy>::default();
    let desk = desk::Desk {
        spec: Arc::new(spec.clone()),
        table: paths.watched(&spec.name),
        standing: Arc::clone(&standing),
        busy: Arc::clone(&busy),
        inbox: post.clone(),
    };
    let answering = answer(desk, &paths.watch_socket(&spec.name), move || {
        // A loop that has ended need not be told.
        post.send(keeper::Input::Stop);
    })?;
    let own = own::Own::new(paths);
    let keeper = keeper::Keeper::new(keeper::Parts { sets, roots, table, eye, handlers, canary, own, standing, busy });
    notify::tell("READY=1");
    keeper.run(&inbox, spec.stop_timeout.saturating_sub(RESERVE));
    notify::tell("STOPPING=1");
    answering.end();
    Ok(())
}

fn cannot(what: &str, error: std::io::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("cannot {what}: {error}"))
}

/// The folders of all sets, each with what is known of it.
fn roots(table: &Table, sets: &[Set], path: &Path) -> Result<Vec<keeper::Root>, Error> {
    let now_ns = clock::now().wall_ms.saturating_mul(1_000_000);
    let read = || -> table::Told<Vec<keeper::Root>> {
        let mut roots = Vec::new();
        for (number, set) in sets.iter().enumerate() {
            // To whom all files are new nothing was there before.
            let since = if set.spec.initial == Initial::Handle { 0 } else { now_ns };
            for folder in &set.spec.paths {
                let known = table.root(&set.spec.name, folder.as_os_str().as_bytes(), &set.shape(), since)?;
                roots.push(keeper::Root::new(number, folder.clone(), known));
            }
        }
        table.keep_roots(&roots.iter().map(|root| root.id).collect::<Vec<_>>())?;
        Ok(roots)
    };
    read().map_err(|e| unwritten(path, &e))
}

fn unwritten(path: &Path, error: &rusqlite::Error) -> Error {
    Error::new(ErrorKind::Internal, format!("cannot write the table {}: {error}", path.display()))
}

/// A thread that answers on the Unix socket.
struct Answering {
    close: watch::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Answering {
    fn end(self) {
        drop(self.close);
        // A panic there has been told on stderr.
        let _ = self.thread.join();
    }
}

fn answer(desk: desk::Desk, path: &Path, stop: impl Fn() + Send + 'static) -> Result<Answering, Error> {
    let (listener, _) = socket::bind(path).map_err(|e| Error::io("cannot open the socket", path, &e))?;
    listener.set_nonblocking(true).map_err(|e| cannot("open the socket", e))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| cannot("start the runtime", e))?;
    let entered = runtime.enter();
    let listener = UnixListener::from_std(listener).map_err(|e| cannot("open the socket", e))?;
    let mut term = signal(SignalKind::terminate()).map_err(|e| cannot("catch signals", e))?;
    let mut int = signal(SignalKind::interrupt()).map_err(|e| cannot("catch signals", e))?;
    drop(entered);
    let (close, closing) = watch::channel(());
    let serve = move || {
        runtime.block_on(async move {
            tokio::spawn(async move {
                loop {
                    tokio::select! {
                        _ = term.recv() => {}
                        _ = int.recv() => {}
                    }
                    stop();
                }
            });
            serving::serve_unix(listener, desk::router(desk), closing).await;
        });
    };
    let thread = std::thread::Builder::new().name("answers".into()).spawn(serve);
    Ok(Answering { close, thread: thread.map_err(|e| cannot("start a thread", e))? })
}

/// What a watcher that does not run has written down; `None`: it never ran.
///
/// # Errors
/// When its table cannot be read.
pub fn offline(spec: &ServiceSpec, paths: &Paths) -> Result<Option<WatcherStatus>, Error> {
    let table = paths.watched(&spec.name);
    if table.exists() { status_of(spec, &table, None).map(Some) } else { Ok(None) }
}

fn status_of(spec: &ServiceSpec, path: &Path, standing: Option<&Standing>) -> Result<WatcherStatus, Error> {
    let mut status = WatcherStatus { schema: 1, service: spec.name.to_string(), ..WatcherStatus::default() };
    status.canary = standing.map(|standing| standing.canary.clone());
    let Some(table) = Reader::open(path)? else { return Ok(status) };
    let mut ask = || -> table::Told<()> {
        for set in &spec.watch {
            let live = standing.and_then(|standing| standing.sets.iter().find(|live| live.name == set.name)).cloned();
            let live = live.unwrap_or_default();
            let (known, retrying, dead) = table.counts(&set.name)?;
            let unknown = |path: &std::path::PathBuf| WatchedFolder {
                path: path.to_string_lossy().into_owned(),
                state: WatchState::Unknown,
                why: None,
                remedy: None,
            };
            let folders = if live.folders.is_empty() { set.paths.iter().map(unknown).collect() } else { live.folders };
            status.sets.push(WatchSetStatus {
                name: set.name.clone(),
                run: set.run.clone(),
                folders,
                known,
                waiting: live.waiting,
                behind: live.behind,
                running: live.running,
                retrying,
                dead,
                handled: live.handled,
                handled_ms: live.handled_ms,
                scanning: live.scanning,
                scanned_ms: table.last_scan(&set.name)?,
            });
        }
        status.dead = table.dead(LETTERS)?;
        Ok(())
    };
    ask().map_err(|e| Error::new(ErrorKind::Internal, format!("cannot read {}: {e}", path.display())))?;
    Ok(status)
}
