//! How the machine is: whether it lets anybody run.

use std::path::Path;

use crate::model::HostLoad;

/// A look at the machine. What the system does not tell counts as idle.
pub fn load() -> HostLoad {
    HostLoad { load: load_average().unwrap_or(0.0), processors: processors(), memory_stall: memory_stall() }
}

/// Memory that could be had without swapping, bytes, where the system tells.
pub fn free_memory() -> Option<u64> {
    half::free_memory()
}

/// Bytes that we may still write to the file system of `folder`.
pub fn free_disk(folder: &Path) -> Option<u64> {
    disk(folder).map(|(free, _)| free)
}

/// The same, and its size.
pub fn disk(folder: &Path) -> Option<(u64, u64)> {
    let stat = nix::sys::statvfs::statvfs(folder).ok()?;
    #[allow(clippy::unnecessary_cast, reason = "32 bits on macOS, 64 on Linux")]
    let bytes = |blocks: libc::fsblkcnt_t| (blocks as u64).saturating_mul(stat.fragment_size() as u64);
    Some((bytes(stat.blocks_available()), bytes(stat.blocks())))
}

#[expect(unsafe_code, reason = "getloadavg has no wrapper in nix or std")]
fn load_average() -> Option<f64> {
    let mut minute = 0.0;
    // SAFETY: room for one number is given, and one is asked for.
    (unsafe { libc::getloadavg(&mut minute, 1) } == 1).then_some(minute)
}

/// All that run: the load is the whole machine's, whatever part of it we may use.
#[expect(unsafe_code, reason = "nix has this one for Linux only")]
fn processors() -> u32 {
    // SAFETY: the call takes a number and touches no memory of ours.
    let online = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_ONLN) };
    u32::try_from(online).unwrap_or(1).max(1)
}

#[cfg(target_os = "linux")]
mod half {
    pub(super) fn free_memory() -> Option<u64> {
        super::mem_available(&std::fs::read_to_string("/proc/meminfo").ok()?)
    }

    pub(super) fn memory_stall() -> Option<f64> {
        super::full_stall(&std::fs::read_to_string("/proc/pressure/memory").ok()?)
    }
}

#[cfg(target_os = "macos")]
mod half {
    use super::super::sys::sysctl_by_name;

    /// `kern.memorystatus_level` is the percentage that the system itself calls free; `memory_pressure -Q` shows it.
    pub(super) fn free_memory() -> Option<u64> {
        let size = u64::from_ne_bytes(sysctl_by_name(c"hw.memsize")?.try_into().ok()?);
        let level = u32::from_ne_bytes(sysctl_by_name(c"kern.memorystatus_level")?.try_into().ok()?);
        Some(size / 100 * u64::from(level.min(100)))
    }

    /// There is nothing like it here.
    pub(super) fn memory_stall() -> Option<f64> {
        None
    }
}

use half::memory_stall;

/// /proc/meminfo: `MemAvailable:   24055416 kB`.
#[cfg(any(target_os = "linux", test))]
fn mem_available(text: &str) -> Option<u64> {
    let line = text.lines().find_map(|line| line.strip_prefix("MemAvailable:"))?;
    let kib: u64 = line.trim().strip_suffix("kB")?.trim_end().parse().ok()?;
    kib.checked_mul(1024)
}

/// /proc/pressure/memory: `full avg10=1.50 avg60=0.00 avg300=0.00 total=2298877`, percent.
#[cfg(any(target_os = "linux", test))]
fn full_stall(text: &str) -> Option<f64> {
    let line = text.lines().find_map(|line| line.strip_prefix("full "))?;
    let percent: f64 = line.split_ascii_whitespace().find_map(|word| word.strip_prefix("avg10="))?.parse().ok()?;
    (0.0..=100.0).contains(&percent).then_some(percent / 100.0)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn this_machine_says_something() {
        let load = load();
        assert!(load.load >= 0.0 && load.processors >= 1, "{load:?}");
        assert!(load.memory_stall.is_none_or(|share| (0.0..=1.0).contains(&share)), "{load:?}");
        assert!(free_memory().unwrap() > 1 << 20);
    }

    #[test]
    fn a_folder_has_room_and_what_is_not_there_has_none() {
        let folder = tempfile::tempdir().unwrap();
        let (free, size) = disk(folder.path()).unwrap();
        assert!(free <= size && size > 1 << 20, "{free} of {size}");
        assert!(free_disk(folder.path()).is_some());
        assert_eq!(free_disk(&folder.path().join("gone")), None);
    }

    #[test]
    fn recorded_texts_are_read() {
        let text =
            "MemTotal:       32882184 kB\nMemFree:          918000 kB\nMemAvailable:   24055416 kB\nBuffers: 3 kB\n";
        assert_eq!(mem_available(text), Some(24_055_416 * 1024));
        let text = "some avg10=12.00 avg60=0.00 avg300=0.00 total=4271298\nfull avg10=1.50 avg60=0.20 avg300=0.00 total=2298877\n";
        assert_eq!(full_stall(text), Some(0.015));
    }

    #[test]
    fn what_is_malformed_is_nothing() {
        let most = format!("MemAvailable: {} kB", u64::MAX);
        for text in ["", "MemAvailable:", "MemAvailable: x kB", "MemAvailable: 12", "MemAvailable: -1 kB", &most] {
            assert_eq!(mem_available(text), None, "{text}");
        }
        for text in [
            "",
            "some avg10=1.0",
            "full",
            "full avg60=1",
            "full avg10=",
            "full avg10=nan",
            "full avg10=101",
            "full avg10=-1",
        ] {
            assert_eq!(full_stall(text), None, "{text}");
        }
    }
}
