//! The Linux half: /proc. `inside_macos.rs` has the same names.

use std::collections::HashMap;
use std::fs::{self, File};
use std::io::{self, BufRead, BufReader, Read};
use std::path::Path;
use std::time::Duration;

use super::super::{clock, sockets, vitals};
use super::Open;
use crate::model::Mono;

/// More than this is read of no table of sockets, bytes: about a hundred thousand of them.
const TABLE: u64 = 16 << 20;

/// Threads and frames of a stack that are shown.
const THREADS: usize = 16;
const FRAMES: usize = 16;

pub(super) fn open(pid: i32, most: usize, limit: Duration) -> Result<Open, String> {
    let end = clock::now().mono.plus(limit);
    let folder = format!("/proc/{pid}/fd");
    let told = |error: io::Error| match error.kind() {
        io::ErrorKind::PermissionDenied => format!("the descriptors of pid {pid} are not shown to us"),
        _ => format!("{folder} cannot be read: {error}"),
    };
    let entries = fs::read_dir(&folder).map_err(told)?.flatten();
    let mut numbers: Vec<u32> = entries.filter_map(|entry| entry.file_name().to_str()?.parse().ok()).collect();
    numbers.sort_unstable();
    let mut open = Open { unseen: numbers.len().saturating_sub(most), ..Open::default() };
    let mut by_inode: HashMap<u64, u32> = HashMap::new();
    for number in numbers.into_iter().take(most) {
        // It may be closed by now.
        let Ok(target) = fs::read_link(format!("{folder}/{number}")) else { continue };
        let target = target.to_string_lossy();
        by_inode.extend(sockets::inode(&target).map(|inode| (inode, number)));
        open.descriptors.push(format!("{number} {target}"));
    }
    if !by_inode.is_empty() {
        // Those of the process's own network.
        for (table, read) in [
            ("tcp", sockets::tcp as fn(&str) -> Option<(u64, String)>),
            ("tcp6", sockets::tcp),
            ("unix", sockets::unix),
        ] {
            join(&format!("/proc/{pid}/net/{table}"), read, &by_inode, end, &mut open.sockets);
        }
    }
    Ok(open)
}

/// The lines of the table at `path` that are about one of these inodes.
fn join(
    path: &str,
    read: fn(&str) -> Option<(u64, String)>,
    by_inode: &HashMap<u64, u32>,
    end: Mono,
    found: &mut Vec<String>,
) {
    let Ok(file) = File::open(path) else { return };
    let mut lines = BufReader::new(file.take(TABLE));
    let mut line = Vec::new();
    while clock::now().mono < end && lines.read_until(b'\n', &mut line).is_ok_and(|length| length > 0) {
        if let Some((inode, text)) = read(&String::from_utf8_lossy(&line))
            && let Some(number) = by_inode.get(&inode)
        {
            found.push(format!("{number} {text}"));
        }
        line.clear();
    }
}

pub(super) fn stacks(pid: i32, others: &[i32], _scratch: &Path, _limit: Duration) -> Result<Vec<String>, String> {
    let mut lines = Vec::new();
    for thread in vitals::threads(pid, THREADS) {
        lines.extend(stack(&format!("/proc/{pid}/task/{}/stack", thread.id), &format!("thread {}", thread.id))?);
    }
    for other in others {
        lines.extend(stack(&format!("/proc/{other}/stack"), &format!("pid {other}"))?);
    }
    if lines.is_empty() { Err("the kernel shows no stack of it: it is gone, or runs".into()) } else { Ok(lines) }
}

/// The stack in the kernel, innermost first; nothing for who runs, or has ended meanwhile.
fn stack(path: &str, who: &str) -> Result<Option<String>, String> {
    let text = match fs::read_to_string(path) {
        Ok(text) => text,
        Err(error) if error.kind() == io::ErrorKind::PermissionDenied => {
            return Err("the kernel shows stacks to root only".into());
        }
        Err(_) => return Ok(None),
    };
    let frames: Vec<&str> = text.lines().filter_map(|line| line.split_whitespace().nth(1)).take(FRAMES).collect();
    Ok((!frames.is_empty()).then(|| format!("{who}: {}", frames.join(" < "))))
}
