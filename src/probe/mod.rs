//! Asking a service how it is: one question, one deadline over connecting, first byte and whole answer.
//!
//! Never a bare look at whether the port is open where HTTP is spoken: the kernel accepts connections for a process that is
//! stopped (measured on the real gateway). No redirects, no proxies, a cap on the answer. What an outcome means is decided
//! by `MonitorMachine`.

mod http;

use std::time::Duration;

use tokio::net::{TcpStream, UnixStream};
use tokio::time::Instant;

use crate::machine::ProbeOutcome;
use crate::model::{ProbeKind, ProbeSpec};

/// Asks once.
pub async fn ask(probe: &ProbeSpec, timeout: Duration) -> ProbeOutcome {
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
            ProbeKind::Ws(_) | ProbeKind::Exec(_) | ProbeKind::HeartbeatFile(_) | ProbeKind::Notify => {
                Err("this version does not ask this kind of probe".into())
            }
        }
    };
    match tokio::time::timeout(timeout, answer).await {
        Ok(Ok(())) => ProbeOutcome::Pass(began.elapsed().as_secs_f64() * 1000.0),
        Ok(Err(why)) => ProbeOutcome::Fail(why),
        Err(_) => ProbeOutcome::Fail(format!("no whole answer within {} ms", timeout.as_millis())),
    }
}
