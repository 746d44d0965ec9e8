//! What a command knows beside its arguments: the terminal, the time, and where its facts come from.

use std::cell::OnceCell;
use std::collections::BTreeMap;
use std::ffi::OsString;
use std::io;
use std::path::{Path, PathBuf};

use jiff::tz::TimeZone;
use serde::Serialize;

use super::args::Global;
use super::{style, width_of_stdout};
use crate::config::Surroundings;
use crate::control::client::Daemon;
use crate::error::{Error, ErrorKind};
use crate::model::paths::Paths;
use crate::model::{
    Alert, Fleet, LastExit, Moment, OutboxRow, RestartCounts, Silence, SinkState, SlotRow, TaskSpec, UnitName,
};
use crate::process::clock;
use crate::store::{EventRow, Filter, HistoryPoint, KeptSample, LastSlots, SlotCounts, SlotFilter};

/// Where facts come from that are not asked of a control socket.
pub trait Sources {
    /// Finds, reads and checks services.toml. An error means that there is none, or none that may be read.
    fn fleet(&self, color: bool) -> Result<Loaded, Error>;

    /// Where state is: `--state-dir`, the environment, services.toml, the default.
    fn state_dir(&self) -> PathBuf;

    /// What the text of services.toml may refer to.
    fn surroundings(&self) -> Surroundings;

    /// The JSON schema of services.toml.
    fn schema(&self) -> String;

    /// What the ledger adds to each service; `None` without a database.
    fn tallies(&self, database: &Path) -> Result<Option<Tallies>, Error>;

    /// Rows of the ledger, oldest first, and what waits in the journals to become rows; `None` without a database.
    fn events(&self, paths: &Paths, filter: &Filter) -> Result<Option<Vec<EventRow>>, Error>;

    /// What the database has of alerts; `None` without a database.
    fn alerts(&self, database: &Path, wanted: &AlertsWanted, now_ms: i64) -> Result<Option<AlertsSeen>, Error>;

    /// What the database has of memory since then, of one service or of all that have something; `None` without a database.
    fn memory(&self, database: &Path, of: Option<&UnitName>, since_ms: i64) -> Result<Option<Vec<MemoryKept>>, Error>;

    /// Rows of the slots of calendar jobs; `None` without a database.
    fn slots(&self, database: &Path, filter: &SlotFilter) -> Result<Option<Vec<SlotRow>>, Error>;

    /// How many slots of each job that were due since then ended as what; `None` without a database.
    fn slot_counts(&self, database: &Path, since_ms: i64) -> Result<Option<SlotCounts>, Error>;

    /// Hands a log to `to`, as bytes. When it follows it ends only with an error of `to` or of the file.
    fn log(&self, wanted: &LogWanted, to: &mut dyn FnMut(&[u8]) -> io::Result<()>) -> io::Result<()>;
}

/// services.toml as it was read.
#[derive(Debug, Clone, PartialEq)]
pub struct Loaded {
    /// Where it is.
    pub path: PathBuf,
    /// What it declares, unless it is unusable as a whole.
    pub fleet: Option<Fleet>,
    /// What is wrong with it.
    pub faults: Vec<FaultLine>,
    /// The faults as people read them; empty without faults.
    pub rendered: String,
}

/// A fault in `check --json`.
#[derive(Debug, Clone, PartialEq, Eq, Serialize)]
pub struct FaultLine {
    /// Its stable code.
    pub code: String,
    /// The service or task it is in.
    pub unit: Option<UnitName>,
    /// From 1.
    pub line: usize,
    /// From 1.
    pub column: usize,
    /// What is wrong.
    pub message: String,
    /// What to type instead.
    pub help: Option<String>,
}

/// What the ledger says of all services.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct Tallies {
    /// Ends by class.
    pub counters: BTreeMap<UnitName, RestartCounts>,
    /// The newest ends.
    pub last_exits: BTreeMap<UnitName, LastExit>,
    /// How calendar jobs stand.
    pub last_slots: BTreeMap<UnitName, LastSlots>,
}

/// What is wanted of alerts. Silences in force come with each of them.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum AlertsWanted {
    /// Those that are open.
    Open,
    /// Those that are open and past ones, with sinks, and what of the outbox is pending or went wrong in the last week.
    Listed {
        /// Of the past ones: those that still held then, milliseconds since 1970 UTC.
        since_ms: Option<i64>,
        /// At most so many past ones, the newest.
        past: Option<usize>,
    },
    /// Those whose id begins so, with all of the outbox that is about them.
    One(String),
}

/// What the database has of alerts.
#[derive(Debug, Clone, Default, PartialEq)]
pub struct AlertsSeen {
    /// In no order.
    pub alerts: Vec<Alert>,
    /// Rows of the outbox, oldest first.
    pub rows: Vec<OutboxRow>,
    /// What is remembered of sinks.
    pub sinks: Vec<SinkState>,
    /// In force.
    pub silences: Vec<Silence>,
}

/// What the database has of one service's memory.
#[derive(Debug, Clone, PartialEq)]
pub struct MemoryKept {
    /// Whose.
    pub service: UnitName,
    /// The sample that came last, while it is kept.
    pub newest: Option<KeptSample>,
    /// Oldest first.
    pub points: Vec<HistoryPoint>,
}

/// Which log, and what of it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct LogWanted {
    /// The current file; rotated ones lie beside it.
    pub log: PathBuf,
    /// Which time stands where in it.
    pub index: PathBuf,
    /// Where to begin.
    pub from: LogFrom,
    /// Whether to go on with what is written later. A file that is not there yet is waited for.
    pub follow: bool,
}

/// Where to begin in a log.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum LogFrom {
    /// So many lines before its end.
    LastLines(usize),
    /// What was written from then on, milliseconds since 1970 UTC.
    Since(i64),
}

/// What a command knows beside its arguments.
pub struct Context<'a> {
    /// Print JSON.
    pub json: bool,
    /// Colour the output.
    pub color: bool,
    /// How much more is to be said.
    pub verbose: u8,
    /// Columns there are, if that is limited.
    pub width: Option<u16>,
    /// Milliseconds since 1970 UTC.
    pub now_ms: i64,
    /// For times of day, once one is printed.
    pub zone: OnceCell<TimeZone>,
    /// PATH of whoever typed the command.
    pub path_var: Option<OsString>,
    /// Where facts come from.
    pub sources: &'a dyn Sources,
}

impl<'a> Context<'a> {
    /// What this process knows.
    pub fn of_process(global: &Global, at: Moment, sources: &'a dyn Sources) -> Self {
        Self {
            json: global.json,
            color: style::is_wanted(global.color),
            verbose: global.verbose,
            width: width_of_stdout(),
            now_ms: at.wall_ms,
            zone: OnceCell::new(),
            path_var: std::env::var_os("PATH"),
            sources,
        }
    }

    /// Where state is, and services.toml for whoever asks for it.
    pub(super) fn place(&self) -> Place<'_> {
        Place { paths: Paths::new(&self.sources.state_dir()), context: self, loaded: OnceCell::new() }
    }

    /// TZ, else the system's. Looked up when the first time of day is printed: the search goes through all of
    /// zoneinfo, which takes longer than everything else that `status` does.
    pub(super) fn zone(&self) -> &TimeZone {
        self.zone.get_or_init(TimeZone::system)
    }

    /// Where the times of a job's calendar are.
    pub(super) fn zone_of(&self, task: &TaskSpec) -> TimeZone {
        match &task.timezone {
            Some(name) => clock::zone(Some(name)),
            None => self.zone().clone(),
        }
    }

    /// The zone that services.toml gives a job, where it does.
    pub(super) fn own_zone(&self, task: &TaskSpec) -> Option<TimeZone> {
        task.timezone.as_ref().map(|_| self.zone_of(task))
    }

    /// For words with times.
    pub(super) fn reader(&self) -> crate::machine::words::Reader<'_> {
        crate::machine::words::Reader { now_ms: self.now_ms, zone: self.zone() }
    }
}

/// The state directory and services.toml. Who has an answer from the daemon asks for no more than the directory, and
/// the file is not checked for it.
pub(super) struct Place<'a> {
    pub(super) paths: Paths,
    context: &'a Context<'a>,
    loaded: OnceCell<Result<Loaded, Error>>,
}

impl Place<'_> {
    fn loaded(&self) -> Result<&Loaded, &Error> {
        self.loaded.get_or_init(|| self.context.sources.fleet(self.context.color)).as_ref()
    }

    /// What is declared, if the file can be used at all.
    pub(super) fn fleet(&self) -> Option<&Fleet> {
        self.loaded().ok()?.fleet.as_ref()
    }

    /// What is declared, if there is nothing wrong with the file.
    pub(super) fn flawless(&self) -> Option<&Fleet> {
        self.loaded().ok().filter(|loaded| loaded.faults.is_empty())?.fleet.as_ref()
    }

    /// The daemon, for what only it can do. Without a file that can be read, it may have been looked for in the wrong place.
    pub(super) fn daemon(&self) -> Result<Daemon, Error> {
        Daemon::connect(&self.paths).map_err(|error| self.fault().unwrap_or(error))
    }

    /// Why nothing is known of what is declared; `None` when it is known.
    pub(super) fn fault(&self) -> Option<Error> {
        match self.loaded() {
            Err(error) => Some(error.clone()),
            Ok(Loaded { fleet: Some(_), .. }) => None,
            Ok(loaded) => Some(
                Error::new(ErrorKind::Config, format!("{} cannot be used", loaded.path.display()))
                    .hint("`supervisor check` tells what is wrong with it"),
            ),
        }
    }

    /// The names in services.toml, in file order.
    pub(super) fn names(&self) -> Vec<UnitName> {
        let Some(fleet) = self.fleet() else { return Vec::new() };
        let services = fleet.services.iter().map(|service| &service.name);
        let tasks = fleet.tasks.iter().map(|task| &task.name);
        let exposures = fleet.exposures.iter().map(|exposure| &exposure.name);
        services.chain(tasks).chain(exposures).chain(fleet.unusable.iter().map(|unit| &unit.name)).cloned().collect()
    }
}
