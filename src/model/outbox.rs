//! How far each notice has come on its way out, and what is known of those who take them.

use serde::{Deserialize, Serialize};

use super::Notice;

/// Where a notice stands on its way through one sink.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub enum RowState {
    /// It is to be sent.
    Pending,
    /// The receiver has it.
    Delivered,
    /// The receiver will not have it, in no form.
    Refused,
    /// It was pending for too long.
    Expired,
    /// Its sink is not declared any more.
    Dropped,
}

impl RowState {
    /// The name in the database.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Pending => "pending",
            Self::Delivered => "delivered",
            Self::Refused => "refused",
            Self::Expired => "expired",
            Self::Dropped => "dropped",
        }
    }

    /// Reads a name.
    pub fn parse(text: &str) -> Option<Self> {
        [Self::Pending, Self::Delivered, Self::Refused, Self::Expired, Self::Dropped]
            .into_iter()
            .find(|state| state.as_str() == text)
    }
}

/// A notice on its way through one sink. Unique by (sink, key).
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub struct OutboxRow {
    /// Rises with the order of firing; per sink, rows are sent in this order.
    pub id: i64,
    /// Which sink, by its name in services.toml.
    pub sink: String,
    /// What is to be told.
    pub notice: Notice,
    /// Where it stands.
    pub state: RowState,
    /// How often it was tried.
    pub attempts: u32,
    /// When it is given up, milliseconds since 1970 UTC.
    pub expires_ms: i64,
    /// When it came to its end, or was tried last.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub settled_ms: Option<i64>,
    /// What went wrong last, in words.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// The key of the digest that carried it.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub digest: Option<String>,
}

/// What one request to a sink carries.
#[derive(Debug, Clone, PartialEq, Serialize, Deserialize)]
pub enum Message {
    /// One notice.
    One(Box<Notice>),
    /// Several that could not be told one by one, oldest first, under a key of their own.
    Digest {
        /// The idempotency key of this set.
        key: String,
        /// What it delivers.
        notices: Vec<Notice>,
    },
}

impl Message {
    /// Its idempotency key.
    pub fn key(&self) -> &str {
        match self {
            Self::One(notice) => &notice.key,
            Self::Digest { key, .. } => key,
        }
    }

    /// What it delivers.
    pub fn notices(&self) -> &[Notice] {
        match self {
            Self::One(notice) => std::slice::from_ref(notice),
            Self::Digest { notices, .. } => notices,
        }
    }
}

/// How one try at a delivery ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Delivery {
    /// The receiver has it. `plain`: only when it was told in plain text, the rich form having been refused.
    Done {
        /// Whether the rich form was refused.
        plain: bool,
    },
    /// The receiver wants to be left alone for so long.
    Later {
        /// For how long, from the answer on.
        after: std::time::Duration,
        /// What it said.
        why: String,
    },
    /// The receiver does not have it, and may take it later.
    Failed(String),
    /// Nobody can know whether the receiver has it: the connection ended before its answer.
    Unknown(String),
    /// The receiver will never take this message, in no form.
    Refused(String),
}

/// Whether a sink is tried.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, Default, Serialize, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum Breaker {
    /// As usual.
    #[default]
    Closed,
    /// Not for a while: too much failed in a row.
    Open,
    /// With one message, to see.
    HalfOpen,
}

/// What is remembered of a sink.
#[derive(Debug, Clone, Default, PartialEq, Serialize, Deserialize)]
pub struct SinkState {
    /// Its name in services.toml.
    pub sink: String,
    /// Whether it is tried.
    pub breaker: Breaker,
    /// Tries that failed in a row.
    pub failures: u32,
    /// Not to be tried before this, milliseconds since 1970 UTC (all `_ms` here are).
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub not_before_ms: Option<i64>,
    /// When the first of those in a row failed.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub failing_since_ms: Option<i64>,
    /// What went wrong last, in words, without secrets.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub error: Option<String>,
    /// When a message was last delivered.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub delivered_ms: Option<i64>,
    /// Something in its declaration that keeps it from its full form: no rich text, no notify-send.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub note: Option<String>,
    /// The receiver may have the rows up to this id, and nobody knows: they go again as the message they were, under its key.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub in_doubt: Option<i64>,
    /// Whether something could not be sent in its time, so that what has gathered goes as one message.
    #[serde(default, skip_serializing_if = "std::ops::Not::not")]
    pub behind: bool,
    /// The receiver will not have the rows up to this id as one message.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub singly: Option<i64>,
}
