//! A runner leaves its services alive, so that its job can be loaded anew and the next runner adopts them.

use std::time::Duration;

use crate::control::client::{Patience, Runner};
use crate::error::{Error, ErrorKind};
use crate::model::paths::Paths;
use crate::model::wire::RunnerRequest;
use crate::process::lock::{self, Standing};
use crate::process::wait::until;

/// How long a runner may take to end once it has said that it does.
const WITHIN: Duration = Duration::from_secs(10);

/// Asks the runner `id` to leave, and waits until it has. `false` when there is none.
///
/// # Errors
/// When it does not, or is of a version that cannot: then its services are alive and its own still.
pub fn leave(paths: &Paths, id: &str) -> Result<bool, Error> {
    let Some(mut runner) = Runner::connect_if_running(&paths.runner_socket(id))? else { return Ok(false) };
    runner.ask(&RunnerRequest::Leave, Patience::Short)?;
    let lock = paths.runner_lock(id);
    let gone = until(WITHIN, || (lock::standing(&lock) != Standing::Held).then_some(()));
    gone.map(|()| true).ok_or_else(|| {
        Error::new(ErrorKind::Internal, format!("the runner of {id} said that it leaves, and did not within 10 s"))
            .hint(format!("`supervisor status` shows it; its services are alive. Try again, or kill -9 it: see `supervisor why {id}`"))
    })
}
