//! Steady: a hundred files a second in a hundred folders, each handled. The processor time of the watcher itself, in percent of a
//! core; beside it a bare loop that starts the same handler as often (posix_spawn, waitpid), since what the kernel does to start a
//! program is counted as the time of whoever starts it. And the same loop, that also writes down each beginning and each end as the
//! watcher must (two transactions of SQLite, which outlive a kill): less than that nobody can need who does so.

use std::ffi::CString;
use std::path::Path;
use std::time::Duration;

use nix::spawn::{PosixSpawnAttr, PosixSpawnFileActions, posix_spawn};
use nix::sys::wait::waitpid;
use rusqlite::{Connection, ToSql};

use crate::host::{self, now};
use crate::support::wait_within;
use crate::table::{Mark, Row};
use crate::{Ours, Plan, watcher};

/// From one file to the next.
const STEP: u64 = 10_000_000;

pub fn measure(plan: &Plan) -> Vec<Row> {
    let (parts, seconds) = if plan.quick { (1, 2) } else { (3, 10) };
    let count = seconds * 1_000_000_000 / STEP;
    let mut ours = Ours::new(plan, 100);
    let process = watcher::start(&ours.env);
    watcher::wait_until_it_watches(&ours.env, Duration::from_secs(60));
    host::sleep(Duration::from_secs(1));
    let pid = watcher::pid(&process);
    let (mut own, mut children, mut missed) = (Vec::new(), Vec::new(), 0.0);
    let percent = |micros: f64| micros / 1e6 / seconds as f64 * 100.0;
    for part in 0..parts {
        let (before, before_children, seen) = (host::cpu(pid), children_cpu(pid), ours.records.all.len());
        every_step(count, |number| {
            ours.tree.put(usize::try_from(number * 7 % 100).unwrap(), &format!("f{part}-{number}")).unwrap();
        });
        let count = usize::try_from(count).unwrap();
        wait_within("the last handler", Duration::from_secs(20), || {
            ours.records.poll().unwrap();
            (ours.records.all.len() >= seen + count).then_some(())
        });
        host::sleep(Duration::from_millis(500));
        own.extend(host::cpu(pid).zip(before).map(|(after, before)| percent(after - before)));
        children.extend(children_cpu(pid).zip(before_children).map(|(after, before)| percent(after - before)));
        ours.records.poll().unwrap();
        missed += (ours.records.all.len() as f64 - (seen + count) as f64).abs();
    }
    let (floor, floor_children) = bare(plan, &ours, count, seconds, None);
    let table = Table::create(&ours.env.dir().join("floor.sqlite"));
    let (written_down, _) = bare(plan, &ours, count, seconds, Some(&table));
    vec![
        Row::new("100 files/s: processor time of the watcher", "% of a core", floor, own.clone(), Mark::AtMost(2.0)),
        Row::new("the same beside a loop that writes it down", "% of a core", written_down, own, Mark::None),
        Row::new("that of the handlers", "% of a core", floor_children, children, Mark::None),
        Row::new("handlers too many", "", Vec::new(), vec![missed], Mark::Never),
    ]
}

/// Does something so often, each time at its moment.
fn every_step(count: u64, mut what: impl FnMut(u64)) {
    let from = now();
    for number in 0..count {
        host::sleep(Duration::from_nanos((from + number * STEP).saturating_sub(now())));
        what(number);
    }
}

/// What beginnings and ends are written to.
struct Table(Connection);

impl Table {
    fn create(path: &Path) -> Self {
        let conn = Connection::open(path).unwrap();
        conn.pragma_update(None, "journal_mode", "WAL").unwrap();
        conn.pragma_update(None, "synchronous", "NORMAL").unwrap();
        let tables = "CREATE TABLE work (path TEXT PRIMARY KEY) WITHOUT ROWID; CREATE TABLE file (path TEXT PRIMARY KEY, at) WITHOUT ROWID";
        conn.execute_batch(tables).unwrap();
        Self(conn)
    }

    fn now(&self, sql: &str, with: &[&dyn ToSql]) {
        self.0.prepare_cached(sql).unwrap().execute(with).unwrap();
    }

    fn begins(&self, path: &str) {
        self.now("INSERT INTO work VALUES (?1)", &[&path]);
    }

    fn has_ended(&self, path: &str, at: u64) {
        self.now("BEGIN", &[]);
        self.now("DELETE FROM work WHERE path = ?1", &[&path]);
        self.now("INSERT INTO file VALUES (?1, ?2)", &[&path, &i64::try_from(at).unwrap()]);
        self.now("COMMIT", &[]);
    }
}

fn bare(plan: &Plan, ours: &Ours, count: u64, seconds: u64, table: Option<&Table>) -> (Vec<f64>, Vec<f64>) {
    let [handler, file] = plan.handler(&ours.env.dir().join("floor")).map(|word| CString::new(word).unwrap());
    let (actions, how) = (PosixSpawnFileActions::init().unwrap(), PosixSpawnAttr::init().unwrap());
    let argv = [handler.clone(), file, CString::new("/a/path/as/long/as/the/others/are").unwrap()];
    let me = i32::try_from(std::process::id()).unwrap();
    let (before, before_children) = (host::own_cpu(), children_cpu(me));
    every_step(count, |number| {
        let path = format!("d{}/f-{number}", number * 7 % 100);
        if let Some(table) = table {
            table.begins(&path);
        }
        let pid = posix_spawn(handler.as_c_str(), &actions, &how, &argv, &[] as &[CString]).unwrap();
        waitpid(pid, None).unwrap();
        if let Some(table) = table {
            table.has_ended(&path, now());
        }
    });
    let percent = |micros: f64| micros / 1e6 / seconds as f64 * 100.0;
    let children = children_cpu(me).zip(before_children).map(|(after, before)| percent(after - before));
    (vec![percent(host::own_cpu() - before)], children.into_iter().collect())
}

/// Processor time of the children of a process that have ended, in microseconds; `None` where the system does not tell.
fn children_cpu(pid: i32) -> Option<f64> {
    let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).ok()?;
    // What follows the name, which can hold anything; cutime and cstime are fields 16 and 17 of the whole line.
    let fields: Vec<&str> = stat.rsplit_once(')')?.1.split_whitespace().collect();
    let ticks = fields.get(13)?.parse::<f64>().ok()? + fields.get(14)?.parse::<f64>().ok()?;
    let per_second = nix::unistd::sysconf(nix::unistd::SysconfVar::CLK_TCK).ok()??;
    Some(ticks / per_second as f64 * 1e6)
}
