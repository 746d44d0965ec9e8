//! FSEvents tells nobody else when it gives up telling one by one (`MustScanSubDirs`): there is no proof of it here.

use super::watcher::Tree;

pub struct Beside;

impl Beside {
    pub fn new(_: &Tree) -> Self {
        Self
    }

    pub fn assert_overflow(&self, files: usize) {
        eprintln!("  for information: whether {files} files were too many to be told of one by one is not known here");
    }
}
