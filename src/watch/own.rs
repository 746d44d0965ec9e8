//! What the supervisor itself writes: it is left alone where a folder of a set holds it, or each handler's words in the log would be a
//! change to run a handler for.

use std::os::unix::ffi::OsStrExt;
use std::path::{Path, PathBuf};

use crate::model::paths::Paths;

/// All of it, with links followed.
#[derive(Debug)]
pub(super) struct Own(Vec<PathBuf>);

impl Own {
    pub(super) fn new(paths: &Paths) -> Self {
        let beside = ["", "-wal", "-shm", "-journal"].map(|more| {
            let mut path = paths.database().into_os_string();
            path.push(more);
            PathBuf::from(path)
        });
        let state_dir = paths.state_dir();
        let real = state_dir.canonicalize().unwrap_or_else(|_| state_dir.to_owned());
        let all = [paths.supervisor(), paths.logs()].into_iter().chain(beside);
        Self(all.filter_map(|path| Some(real.join(path.strip_prefix(state_dir).ok()?))).collect())
    }

    /// Of it, what is below `folder`, as paths below it.
    pub(super) fn below(&self, folder: &Path) -> Vec<Vec<u8>> {
        let below = self.0.iter().filter_map(|path| path.strip_prefix(folder).ok());
        below.map(|path| path.as_os_str().as_bytes().to_vec()).filter(|path| !path.is_empty()).collect()
    }
}

/// Whether `path` is one of these, or below one.
pub(super) fn holds(own: &[Vec<u8>], path: &[u8]) -> bool {
    own.iter()
        .any(|own| path.strip_prefix(own.as_slice()).is_some_and(|rest| rest.first().is_none_or(|byte| *byte == b'/')))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_the_supervisor_writes_is_left_alone_and_nothing_else_of_the_state_directory() {
        let folder = tempfile::tempdir().unwrap();
        let real = folder.path().canonicalize().unwrap();
        std::fs::create_dir(real.join("state")).unwrap();
        std::os::unix::fs::symlink(real.join("state"), real.join("link")).unwrap();
        let own = Own::new(&Paths::new(&real.join("link")));
        let above = own.below(&real);
        for path in ["state/logs", "state/logs/a.log", "state/supervisor/x/y", "state/observability.sqlite-wal"] {
            assert!(holds(&above, path.as_bytes()), "{path}");
        }
        for path in ["state", "state/logs2", "state/inbox/a", "state/observability.sqlite.bak", "link"] {
            assert!(!holds(&above, path.as_bytes()), "{path}");
        }
        assert!(holds(&own.below(&real.join("state")), b"logs/a"));
        // Who names a folder of ours has it watched.
        assert!(own.below(&real.join("state/logs")).is_empty() && own.below(&real.join("elsewhere")).is_empty());
    }
}
