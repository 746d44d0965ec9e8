//! How the command line and the daemon talk, and how both talk to runners: one Unix socket each, in the state directory.
//!
//! The daemon speaks HTTP/1.1 with JSON bodies on [`routes`]; a runner speaks JSON lines ([`crate::model::wire`]). What
//! may not enter this room: decisions, the database, services.toml. It carries words, it does not judge them.

pub mod client;
pub mod http;
pub mod server;
pub mod serving;

/// The daemon's paths; client and server both take them from here.
pub mod routes {
    /// GET: a `StatusReport`.
    pub const STATUS: &str = "/v1/status";
    /// GET, followed by a name: a `WhyReply`.
    pub const WHY: &str = "/v1/why/";
    /// POST `OrderBody`: an `OrderReply`.
    pub const ORDER: &str = "/v1/order";
    /// POST `ReloadBody`: a `ReloadReply`.
    pub const RELOAD: &str = "/v1/reload";
    /// POST: answers once the ledger has what is in the journals.
    pub const SYNC: &str = "/v1/sync";
    /// POST `UpgradeBody`: an `UpgradeReply`.
    pub const UPGRADE: &str = "/v1/upgrade";
    /// POST `AlertBody`: an `AlertReply`.
    pub const ALERTS: &str = "/v1/alerts";
    /// POST `DigestBody`: an `AlertReply`.
    pub const DIGEST: &str = "/v1/digest";
    /// POST `HeapSnapshotBody`: a `HeapSnapshotReply`.
    pub const HEAP_SNAPSHOT: &str = "/v1/heap-snapshot";
    /// POST `TaskRunBody`: a `TaskRunReply`.
    pub const TASKS_RUN: &str = "/v1/tasks/run";
    /// GET: a `VersionReply`.
    pub const VERSION: &str = "/v1/version";
}
