//! `rotate`: puts logs aside that are long and that nobody else puts aside.
//!
//! Those are what launchd writes of its jobs' own words, and what other programs write into our folder of logs. Their writers have
//! them open for as long as they run, so a log that is renamed would go on growing under its new name: it is copied and cut back to
//! nothing, which is right for whoever appends, as launchd and shells (`>>`) do. Between the last look at the copy's end and the cut
//! there are microseconds in which a line can be lost. The logs of our services and jobs, and our own, are rotated by whoever writes
//! them, who loses none; they are left alone here.

use std::path::{Path, PathBuf};

use super::remove::{self, Found};
use super::{Work, failed};
use crate::error::Error;
use crate::logs::{self, Aside};
use crate::machine::words;
use crate::process::host;

/// Each for itself.
pub(super) fn run(max_size: u64, keep: u32, work: &mut Work<'_>) -> Vec<Error> {
    let (mut wrong, mut count) = (Vec::new(), 0);
    for (folder, is_other) in folders(work) {
        let files = match remove::files(&folder) {
            Ok(files) => files,
            Err(error) => {
                wrong.push(error);
                continue;
            }
        };
        for file in files {
            let name = file.path.file_name().and_then(|name| name.to_str()).unwrap_or_default();
            if file.bytes <= max_size || !name.ends_with(".log") || !is_other(name) {
                continue;
            }
            match put_aside(&file, keep, work) {
                Ok(()) => count += 1,
                Err(error) => wrong.push(error),
            }
        }
    }
    work.say(format!("{} of more than {} put aside", words::count(count, "log"), words::size(max_size)));
    wrong
}

type IsOther = Box<dyn Fn(&str) -> bool>;

/// Where such logs are, and by which names.
fn folders(work: &Work<'_>) -> Vec<(PathBuf, IsOther)> {
    let logs = work.paths.logs();
    let ours: IsOther = Box::new(|name| super::prune::log_of(name).is_none());
    let prefix = format!("{}.", work.fleet.label_prefix);
    let jobs: IsOther = Box::new(move |name| name.starts_with(&prefix));
    let beside = (work.job_logs != logs).then(|| (work.job_logs.to_path_buf(), jobs));
    std::iter::once((logs, ours)).chain(beside).collect()
}

fn put_aside(file: &Found, keep: u32, work: &mut Work<'_>) -> Result<(), Error> {
    let path = &file.path;
    let free = path.parent().and_then(host::free_disk).unwrap_or(u64::MAX);
    if free < file.bytes.saturating_mul(2) {
        let message = format!(
            "there is no room to put {} aside: it has {}, and {} are free",
            path.display(),
            words::size(file.bytes),
            words::size(free)
        );
        return Err(failed(message, "free some space on that disk, or remove what is old by hand"));
    }
    match logs::copy_aside(path, keep).map_err(|e| wrong(path, &e))? {
        Aside::Copied(bytes) => {
            work.say(format!("{}: {} put aside, {keep} files are kept", path.display(), words::size(bytes)))
        }
        Aside::Sparse => {
            let message = format!("{} is written by somebody who does not append to it", path.display());
            return Err(failed(message, "have its writer open it for appending (`>>`), and remove it once by hand"));
        }
    }
    Ok(())
}

fn wrong(path: &Path, e: &std::io::Error) -> Error {
    Error::io("cannot put aside", path, e).hint("see to the owner and the mode of it and its folder")
}
