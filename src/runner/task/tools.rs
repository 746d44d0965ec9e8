//! What a run needs besides its slot: made before the slot is taken, as it can fail.

use super::output::Output;
use crate::error::{Error, ErrorKind};
use crate::journal;
use crate::model::TaskSpec;
use crate::model::paths::Paths;
use crate::process::clock;

/// Of a job whose lock is ours.
pub(super) struct Tools {
    pub(super) journal: journal::Writer,
    pub(super) output: Output,
}

impl Tools {
    /// Makes them ready. A run without a journal would end without anybody being told how: it is better not begun, and the slot left to
    /// the next try.
    pub(super) fn open(task: &TaskSpec, paths: &Paths, boot_id: &str) -> Result<Self, Error> {
        let (name, now) = (&task.name, clock::now());
        let wrong = |what: String, folder: &std::path::Path| {
            let hint =
                format!("make {} writable for this user; nothing was begun, and it is tried again", folder.display());
            Error::new(ErrorKind::Internal, what).hint(hint)
        };
        let journal = journal::Writer::open(&paths.runners(), name.as_str(), boot_id, now.boot_ns)
            .map_err(|e| e.to_string())
            .and_then(|journal| journal.trouble().map_or(Ok(journal), Err))
            .map_err(|e| wrong(format!("cannot write the journal of task {name}: {e}"), &paths.runners()))?;
        let output = Output::open(paths, name, now)
            .map_err(|e| wrong(format!("cannot open the pipes of task {name}: {e}"), &paths.service(name)))?;
        Ok(Self { journal, output })
    }
}
