//! `[service.NAME.memory]` as the schema has it. The comments are what an editor shows, the values of `Default` the defaults.

use std::collections::BTreeMap;

use schemars::JsonSchema;
use serde::Serialize;
use serde_json::Value;

use super::schema::{DurationText, HoursText, PathText, RateText, SizeText};
use crate::model::OnGrowth;

/// How memory is judged: all processes of the service together.
#[derive(Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Memory {
    /// What counts as fast growth. Slower growth that is certain is told as well, and matters less.
    #[serde(skip_serializing_if = "Option::is_none")]
    growth: Option<RateText>,
    /// Restart, drained, when it stays above this.
    #[serde(skip_serializing_if = "Option::is_none")]
    limit: Option<SizeText>,
    /// Above this a restart waits for nothing; the limit and a quarter by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    ceiling: Option<SizeText>,
    /// Between two samples.
    interval: DurationText,
    /// A size that it may grow to: what fills a cache up to there is not told as growth.
    #[serde(skip_serializing_if = "Option::is_none")]
    plateau: Option<SizeText>,
    /// It is replaced so often on purpose: growth that would not reach the limit in that time is not told.
    #[serde(skip_serializing_if = "Option::is_none")]
    recycle: Option<DurationText>,
    /// What is done about growth: it is told, or the service is also restarted when it is idle or in its quiet hours.
    on_growth: OnGrowth,
    /// Says whether it is idle: a restart for memory waits for a good answer.
    #[serde(skip_serializing_if = "Option::is_none")]
    idle: Option<Idle>,
    /// Hours of the day, local time, in which a restart for memory may be. Without idle and quiet it waits for nothing.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    quiet: Vec<HoursText>,
    /// How long a restart above the limit waits for one of the two; 24h by default.
    #[serde(skip_serializing_if = "Option::is_none")]
    max_wait: Option<DurationText>,
    /// Heap in use, by the service's own word: judged beside the memory of its processes.
    #[serde(skip_serializing_if = "Option::is_none")]
    heap: Option<Figure>,
    /// Requests served so far, by the service's own word: growth that they explain is no leak.
    #[serde(skip_serializing_if = "Option::is_none")]
    requests: Option<Figure>,
    /// Has the main process write a heap snapshot, once for each growth that is told and on request: PROF for Node started with
    /// --heapsnapshot-signal=SIGPROF, or what the program documents for this.
    #[serde(skip_serializing_if = "Option::is_none")]
    snapshot_signal: Option<String>,
}

impl Default for Memory {
    fn default() -> Self {
        Self {
            growth: None,
            limit: None,
            ceiling: None,
            interval: DurationText("60s"),
            plateau: None,
            recycle: None,
            on_growth: OnGrowth::Alert,
            idle: None,
            quiet: Vec::new(),
            max_wait: None,
            heap: None,
            requests: None,
            snapshot_signal: None,
        }
    }
}

/// Exactly one of http, unix with path, and exec; a good answer says that the service is idle.
#[derive(Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Idle {
    /// GET of a URL on this machine.
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<String>,
    /// The same over a Unix socket.
    #[serde(skip_serializing_if = "Option::is_none")]
    unix: Option<PathText>,
    /// What is asked for over the socket of unix.
    #[serde(skip_serializing_if = "Option::is_none")]
    path: Option<String>,
    /// A program that exits 0 when the service is idle.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    exec: Vec<String>,
    /// HTTP status that means idle.
    #[schemars(range(min = 100, max = 599))]
    expect_status: u16,
    /// Members that a JSON answer must have, with these values, such as { running = 0 }.
    #[serde(skip_serializing_if = "Option::is_none")]
    expect_json: Option<BTreeMap<String, Value>>,
}

impl Default for Idle {
    fn default() -> Self {
        Self { http: None, unix: None, path: None, exec: Vec::new(), expect_status: 200, expect_json: None }
    }
}

/// A number that a service tells.
#[derive(Default, Serialize, JsonSchema)]
#[serde(default, deny_unknown_fields)]
pub(super) struct Figure {
    /// GET of a URL on this machine that answers with JSON.
    #[serde(skip_serializing_if = "Option::is_none")]
    http: Option<String>,
    /// Where in the answer the number stands, as a JSON pointer such as /memory/heapUsed.
    #[serde(skip_serializing_if = "Option::is_none")]
    #[schemars(regex(pattern = "^/"))]
    pointer: Option<String>,
}
