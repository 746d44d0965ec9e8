//! What the operator wants of a service or job, as it is kept on disk.

use std::io;

use super::files;
use crate::model::paths::Paths;
use crate::model::{Intent, UnitName};

/// What the operator wants; as services.toml says where nobody has said anything.
pub fn read(paths: &Paths, name: &UnitName) -> Intent {
    let bytes = std::fs::read(paths.intent(name)).ok();
    bytes.and_then(|bytes| serde_json::from_slice(&bytes).ok()).unwrap_or_default()
}

/// Stores it, and does not return before it is on the disk.
///
/// # Errors
/// When it cannot be written: then what was there before holds.
pub fn write(paths: &Paths, name: &UnitName, intent: &Intent) -> io::Result<()> {
    files::ensure_dir(&paths.service(name))?;
    files::write_atomic(&paths.intent(name), &serde_json::to_vec(intent)?, true)
}
