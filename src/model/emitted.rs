//! Events that other programs send to the emit-server.

use serde::{Deserialize, Serialize};
use serde_json::{Map, Value};

/// One event, complete.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct Emitted {
    /// When it happened, milliseconds since 1970 UTC.
    pub timestamp_ms: i64,
    /// What sort of thing it is about.
    pub category: String,
    /// What happened.
    pub event_type: String,
    /// Which service it is about.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub service: Option<String>,
    /// All else.
    pub metadata: Map<String, Value>,
    /// Sent again under the same key it is the same event.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub key: Option<String>,
}

/// One that is on record.
#[derive(Debug, Clone, PartialEq, Serialize)]
pub struct EmittedRow {
    /// Rises with the order of taking in.
    pub id: i64,
    /// When it happened, milliseconds since 1970 UTC.
    pub timestamp: i64,
    /// What sort of thing it is about.
    pub category: String,
    /// What happened.
    pub event_type: String,
    /// Which service it is about.
    pub service_name: Option<String>,
    /// All else.
    pub metadata: Value,
}
