//! What a service's processes use, and what that means.

use serde::{Deserialize, Serialize};

use super::Moment;

/// Which number of the kernel's a sample is. Numbers of two kinds are never compared.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub enum Metric {
    /// Linux: anonymous pages plus swap (RssAnon + VmSwap of `/proc/PID/status`). A page-out neither hides a leak nor looks like one.
    #[serde(rename = "anon+swap")]
    AnonSwap,
    /// macOS: the physical footprint (`proc_pid_rusage`, `ri_phys_footprint`): dirty and compressed pages.
    #[serde(rename = "footprint")]
    Footprint,
}

impl Metric {
    /// As in rows and `status --json`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::AnonSwap => "anon+swap",
            Self::Footprint => "footprint",
        }
    }
}

/// What one process uses.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Serialize, Deserialize)]
pub struct ProcessMemory {
    /// Its pid.
    pub pid: i32,
    /// Its start token: a pid that is used anew has another.
    pub start: u64,
    /// Bytes of the sample's metric.
    pub bytes: u64,
}

/// What the tree of a service uses at one time.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MemorySample {
    /// When.
    pub at: Moment,
    /// Of which kind the numbers are.
    pub metric: Metric,
    /// The sum over the tree, bytes.
    pub bytes: u64,
    /// Processes, the main one first, then the largest; bounded, the sum counts all.
    pub processes: Vec<ProcessMemory>,
    /// How many processes the tree had, also those that are not listed.
    pub count: u32,
}

/// What the system tells about whether it killed a process for lack of memory.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum KillEvidence {
    /// Nothing.
    Nothing,
    /// Linux: it has killed somebody on this machine lately.
    OnMachine,
    /// Linux: it has killed somebody in the control group of this process lately.
    InGroup,
    /// Linux: its log names this process.
    Named,
    /// macOS: it says so of this process.
    Jetsam,
}

/// One life of a process tree: its main process, known over restarts of ours.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
pub struct Life {
    /// Of the boot.
    pub boot_id: String,
    /// Of its main process.
    pub pid: i32,
    /// Start token of that.
    pub start: u64,
}

/// What a trend of memory means.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MemoryVerdict {
    /// There is not enough to say anything.
    Early,
    /// It does not grow, or in a way that ends by itself.
    Flat,
    /// It grows and nothing shows that this ends.
    Growing,
    /// It grows so fast that little time is left.
    Urgent,
}

impl MemoryVerdict {
    /// As in rows, `status --json` and `memory replay`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Early => "early",
            Self::Flat => "flat",
            Self::Growing => "growing",
            Self::Urgent => "urgent",
        }
    }
}

/// Sustained growth, as it is told.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Growth {
    /// [`MemoryVerdict::Growing`] or [`MemoryVerdict::Urgent`].
    pub verdict: MemoryVerdict,
    /// Bytes per hour awake.
    pub bytes_per_hour: f64,
    /// What that is at least.
    pub low: f64,
    /// What that is at most.
    pub high: f64,
    /// Bytes it has grown by in the time looked at.
    pub grown: f64,
    /// Hours awake that were looked at.
    pub hours: f64,
    /// Hours awake until the limit, or until the machine has no more, at this rate; `None` without either.
    pub hours_left: Option<f64>,
    /// Bytes for each request that was served meanwhile, where the service tells how many.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub bytes_per_request: Option<f64>,
    /// Which test found it.
    pub test: String,
}
