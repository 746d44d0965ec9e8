//! What the system says: clocks, processes, memory, wake-ups.

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use nix::time::{ClockId, clock_gettime};

/// CLOCK_MONOTONIC in nanoseconds: what the services stamp with.
pub fn now() -> u64 {
    let time = clock_gettime(ClockId::CLOCK_MONOTONIC).expect("the clock");
    u64::try_from(time.tv_sec() * 1_000_000_000 + time.tv_nsec()).expect("the clock")
}

/// Milliseconds from one stamp to another.
pub fn ms(from: u64, to: u64) -> f64 {
    (to as f64 - from as f64) / 1e6
}

pub struct Process {
    pub pid: i32,
    pub args: Vec<String>,
}

impl Process {
    /// Whether it is a runner of ours.
    pub fn is_runner(&self) -> bool {
        self.args.iter().any(|arg| arg == "exec")
    }
}

/// The living processes that have a path in `dir` among their arguments.
pub fn processes(dir: &Path) -> Vec<Process> {
    let below = format!("{}/", dir.display());
    let mut all = all();
    all.retain(|p| p.args.iter().any(|arg| arg.starts_with(&below)));
    all
}

#[cfg(target_os = "linux")]
fn all() -> Vec<Process> {
    let process = |entry: std::fs::DirEntry| {
        let pid = entry.file_name().to_str()?.parse().ok()?;
        // A zombie has none.
        let line = std::fs::read(entry.path().join("cmdline")).ok()?;
        let args = line.split(|b| *b == 0).map(|arg| String::from_utf8_lossy(arg).into_owned()).collect();
        Some(Process { pid, args })
    };
    std::fs::read_dir("/proc").expect("/proc").flatten().filter_map(process).collect()
}

#[cfg(not(target_os = "linux"))]
fn all() -> Vec<Process> {
    let process = |line: &str| {
        let mut words = line.split_whitespace().map(str::to_owned);
        Some(Process { pid: words.next()?.parse().ok()?, args: words.collect() })
    };
    said("ps", &["-axww", "-o", "pid=,command="]).lines().filter_map(process).collect()
}

/// Memory of a process in KiB.
pub struct Memory {
    /// Its proportional share (PSS); where the system does not tell, what is resident.
    pub share: f64,
    /// What would be free without it (USS); `None` where the system does not tell.
    pub private: Option<f64>,
}

pub fn memory(pid: i32) -> Memory {
    match std::fs::read_to_string(format!("/proc/{pid}/smaps_rollup")) {
        Ok(text) => {
            let field = |name: &str| {
                let line = text.lines().find_map(|line| line.strip_prefix(name)?.trim().strip_suffix(" kB"));
                line.and_then(|kib| kib.trim().parse::<f64>().ok()).expect("smaps_rollup")
            };
            Memory { share: field("Pss:"), private: Some(field("Private_Clean:") + field("Private_Dirty:")) }
        }
        Err(_) => {
            let resident = said("ps", &["-o", "rss=", "-p", &pid.to_string()]).trim().parse().expect("rss of ps");
            Memory { share: resident, private: None }
        }
    }
}

/// How often the threads of a process have waited for something (voluntary context switches); `None` where the system
/// does not tell.
pub fn wakeups(pid: i32) -> Option<u64> {
    let threads = std::fs::read_dir(format!("/proc/{pid}/task")).ok()?;
    let of = |thread: std::fs::DirEntry| {
        let status = std::fs::read_to_string(thread.path().join("status")).ok()?;
        status.lines().find_map(|line| line.strip_prefix("voluntary_ctxt_switches:")?.trim().parse::<u64>().ok())
    };
    Some(threads.flatten().filter_map(of).sum())
}

/// Processor time of a process so far, user and system, in microseconds; `None` where the system does not tell that exactly.
#[cfg(target_os = "linux")]
pub fn cpu(pid: i32) -> Option<f64> {
    nix::time::clock_getcpuclockid(nix::unistd::Pid::from_raw(pid)).ok().map(cpu_of)
}

#[cfg(not(target_os = "linux"))]
pub fn cpu(_: i32) -> Option<f64> {
    None
}

/// The same of the thread that asks.
pub fn own_cpu() -> f64 {
    cpu_of(ClockId::CLOCK_THREAD_CPUTIME_ID)
}

fn cpu_of(clock: ClockId) -> f64 {
    let time = clock_gettime(clock).expect("the clock");
    time.tv_sec() as f64 * 1e6 + time.tv_nsec() as f64 / 1e3
}

/// The machine in a line.
pub fn machine() -> String {
    let cores = std::thread::available_parallelism().map_or(0, usize::from);
    format!("{cores} cores, {}", said("uname", &["-srm"]).trim())
}

/// The load of the last one, five and fifteen minutes.
pub fn load() -> String {
    let up = said("uptime", &[]);
    up.rsplit_once(": ").map_or("unknown", |(_, load)| load.trim()).to_owned()
}

#[expect(clippy::disallowed_methods, reason = "the system's own tools")]
fn said(program: &str, args: &[&str]) -> String {
    let output = Command::new(program).args(args).env("LC_ALL", "C").output();
    output.map_or_else(|_| String::new(), |output| String::from_utf8_lossy(&output.stdout).into_owned())
}

#[expect(clippy::disallowed_methods, reason = "a benchmark lets time pass")]
pub fn sleep(time: Duration) {
    std::thread::sleep(time);
}
