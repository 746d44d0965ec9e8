//! The call that says that all is well, so that somebody else notices when it does not come.

use std::time::Duration;

use ureq::http::HeaderMap;

use super::http::{self, Address};
use super::secret;
use crate::model::{DeadmanSpec, Delivery};
use crate::process::clock;

/// The most that goes along with it, bytes: as much as healthchecks.io keeps.
const BODY: usize = 10_000;

/// What is called out.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Ping {
    /// It begins.
    Start,
    /// All is well.
    Success,
    /// Something is not.
    Fail,
}

/// Calls the URL, with `/start` or `/fail` behind its path. Ends within `limit`. The error has nothing of the path in it.
pub fn ping(spec: &DeadmanSpec, kind: Ping, body: &str, limit: Duration) -> Result<(), String> {
    let end = clock::now().mono.plus(limit);
    let url = match (&spec.secret, &spec.url) {
        (Some(secret), _) => secret::read(secret, limit)?,
        (None, Some(url)) => url.clone(),
        (None, None) => return Err("the dead man's switch has no address: write `url` or `secret_file`".to_owned()),
    };
    let base = Address::parse(&url)?;
    let suffix = match kind {
        Ping::Start => "/start",
        Ping::Success => "",
        Ping::Fail => "/fail",
    };
    let to = base.with_path(&format!("{}{suffix}", base.path().trim_end_matches('/')))?;
    let mut headers = HeaderMap::new();
    http::set(&mut headers, "Content-Type", "text/plain; charset=utf-8")?;
    let body = super::text::shorten_bytes(body, BODY);
    let ended = http::post(&to, &headers, body.as_bytes(), end.since(clock::now().mono));
    let mut secrets = base.secrets();
    secrets.push(&url);
    match http::judge(ended, &to, &secrets, None) {
        Delivery::Done { .. } => Ok(()),
        Delivery::Later { why, .. } | Delivery::Failed(why) | Delivery::Unknown(why) | Delivery::Refused(why) => {
            Err(why)
        }
    }
}
