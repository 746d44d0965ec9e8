//! Memory that outlives its maker and no reboot: what is in hand when a process is killed is still there for its successor.
//!
//! A POSIX shared memory object rather than a mapped file: a file's pages are written to the disk again and again, and each
//! time writing to them waits for the file system once more.

use std::io;
use std::num::NonZeroUsize;
use std::os::fd::OwnedFd;
use std::ptr::NonNull;
use std::sync::atomic::AtomicU64;

use nix::fcntl::OFlag;
use nix::sys::mman::{MapFlags, ProtFlags, mmap, mmap_anonymous, munmap, shm_open, shm_unlink};
use nix::sys::stat::{Mode, fstat};
use nix::unistd::geteuid;

/// How many numbers stand before the bytes.
pub const WORDS: usize = 32;

/// Where the bytes begin: at a page of their own on most machines.
const HEADING: usize = 4096;

/// Some numbers and some bytes, all zero at first.
#[derive(Debug)]
pub struct Shared {
    memory: NonNull<u8>,
    size: NonZeroUsize,
    name: Option<String>,
}

impl Shared {
    /// Opens the memory of this name (a slash and at most 30 characters: macOS, PSHMNAMLEN) with room for `length` bytes, or
    /// makes it (0600). One at a time may have it open; whoever opens it finds what the one before left.
    ///
    /// # Errors
    /// What the system says; that there is no room for it; that it is somebody else's.
    pub fn open(name: &str, length: usize) -> io::Result<Self> {
        let size = size(length)?;
        let fd = object(name, size.get())?;
        Self::map(Some(&fd), size, Some(name.to_owned()))
    }

    /// Memory that goes with this process.
    ///
    /// # Errors
    /// There is none.
    pub fn private(length: usize) -> io::Result<Self> {
        Self::map(None, size(length)?, None)
    }

    #[expect(unsafe_code, reason = "mmap, as nix has it")]
    fn map(fd: Option<&OwnedFd>, size: NonZeroUsize, name: Option<String>) -> io::Result<Self> {
        let access = ProtFlags::PROT_READ | ProtFlags::PROT_WRITE;
        // SAFETY: a new mapping at a place that the system chooses; nothing of ours is replaced.
        let memory = unsafe {
            match fd {
                Some(fd) => mmap(None, size, access, MapFlags::MAP_SHARED, fd, 0)?,
                None => mmap_anonymous(None, size, access, MapFlags::MAP_PRIVATE)?,
            }
        };
        Ok(Self { memory: memory.cast(), size, name })
    }

    /// The numbers and the bytes.
    #[expect(unsafe_code, reason = "the one place that says what the mapping is")]
    pub fn parts(&mut self) -> (&[AtomicU64; WORDS], &mut [u8]) {
        let memory = self.memory.as_ptr();
        // SAFETY: the mapping begins at a page, is longer than HEADING, can be read and written until `drop`, and any content
        // is valid for both types. The parts do not overlap (HEADING is more than WORDS numbers), and `&mut self` gives them out
        // once at a time. Nobody else has the object mapped meanwhile: it is 0600, and `open` is for the holder of a lock.
        unsafe {
            let words = &*memory.cast::<[AtomicU64; WORDS]>();
            let bytes = std::slice::from_raw_parts_mut(memory.add(HEADING), self.size.get() - HEADING);
            (words, bytes)
        }
    }

    /// Whether a successor finds it.
    pub fn outlives_us(&self) -> bool {
        self.name.is_some()
    }

    /// Takes the name away: nothing is to be found here by a successor.
    pub fn remove(&mut self) {
        if let Some(name) = self.name.take() {
            // Who has removed it before us has done what we want.
            shm_unlink(name.as_str()).ok();
        }
    }
}

impl Drop for Shared {
    #[expect(unsafe_code, reason = "munmap")]
    fn drop(&mut self) {
        // SAFETY: our own mapping, and references into it have ended with the borrow of `self`.
        unsafe { munmap(self.memory.cast(), self.size.get()) }.ok();
    }
}

fn size(length: usize) -> io::Result<NonZeroUsize> {
    length.checked_add(HEADING).and_then(NonZeroUsize::new).ok_or_else(|| io::ErrorKind::InvalidInput.into())
}

/// The object of this name, ours alone and large enough.
fn object(name: &str, size: usize) -> io::Result<OwnedFd> {
    let open = || shm_open(name, OFlag::O_RDWR | OFlag::O_CREAT, Mode::S_IRUSR | Mode::S_IWUSR);
    let mut fd = open()?;
    let mut data = fstat(&fd)?;
    let others = Mode::S_IRWXG | Mode::S_IRWXO;
    // Anybody may have made one of our name: what we write is not for them, and what they have written is not ours.
    if data.st_uid != geteuid().as_raw() || Mode::from_bits_truncate(data.st_mode).intersects(others) {
        return Err(io::Error::new(
            io::ErrorKind::PermissionDenied,
            "the shared memory of this name is not ours alone",
        ));
    }
    let holds = |size: usize, data: &nix::sys::stat::FileStat| usize::try_from(data.st_size).is_ok_and(|is| is >= size);
    if data.st_size != 0 && !holds(size, &data) {
        // Another version's, and macOS lets its size be set only once.
        shm_unlink(name)?;
        fd = open()?;
        data = fstat(&fd)?;
    }
    if !holds(size, &data)
        && let Err(error) = allocate(&fd, size)
    {
        shm_unlink(name).ok();
        return Err(error);
    }
    Ok(fd)
}

/// All of it now: memory that turns out to be missing when it is written to ends a process (SIGBUS).
#[cfg(target_os = "linux")]
fn allocate(fd: &OwnedFd, size: usize) -> io::Result<()> {
    let size = libc::off_t::try_from(size).map_err(io::Error::other)?;
    Ok(nix::fcntl::posix_fallocate(fd, 0, size)?)
}

/// Shared memory is paged like any other here, and has no size of its own that could be used up.
#[cfg(not(target_os = "linux"))]
fn allocate(fd: &OwnedFd, size: usize) -> io::Result<()> {
    let size = libc::off_t::try_from(size).map_err(io::Error::other)?;
    Ok(nix::unistd::ftruncate(fd, size)?)
}

#[cfg(test)]
mod tests {
    use std::sync::atomic::Ordering;

    use super::*;

    /// A name that nobody else has, removed at the end.
    struct Name(String);

    impl Name {
        fn new(what: u8) -> Self {
            Self(format!("/svtest-{:x}-{what}", std::process::id()))
        }
    }

    impl Drop for Name {
        fn drop(&mut self) {
            shm_unlink(self.0.as_str()).ok();
        }
    }

    #[test]
    fn what_is_in_it_is_found_by_the_next_one_until_it_is_removed() {
        let name = Name::new(1);
        let mut one = Shared::open(&name.0, 70_000).unwrap();
        let (words, bytes) = one.parts();
        assert!(bytes.len() == 70_000 && bytes.iter().all(|byte| *byte == 0));
        words[WORDS - 1].store(7, Ordering::Relaxed);
        bytes[0] = 1;
        bytes[69_999] = 2;
        drop(one);
        let mut next = Shared::open(&name.0, 70_000).unwrap();
        assert!(next.outlives_us());
        let (words, bytes) = next.parts();
        assert_eq!((words[WORDS - 1].load(Ordering::Relaxed), bytes[0], bytes[69_999]), (7, 1, 2));
        next.remove();
        assert!(!next.outlives_us());
        next.parts().1[5] = 5;
        assert_eq!(Shared::open(&name.0, 70_000).unwrap().parts().1[0], 0);
    }

    #[test]
    fn one_of_another_size_is_replaced_and_one_that_others_may_read_is_not_used() {
        let name = Name::new(2);
        Shared::open(&name.0, 100).unwrap().parts().1[0] = 1;
        let mut larger = Shared::open(&name.0, 200_000).unwrap();
        assert_eq!(larger.parts().1[0], 0);
        larger.remove();
        let everybody = Mode::S_IRUSR | Mode::S_IWUSR | Mode::S_IRGRP;
        let fd = shm_open(name.0.as_str(), OFlag::O_RDWR | OFlag::O_CREAT, everybody).unwrap();
        #[cfg(target_os = "linux")]
        nix::sys::stat::fchmod(&fd, everybody).unwrap();
        assert_eq!(Shared::open(&name.0, 100).unwrap_err().kind(), io::ErrorKind::PermissionDenied);
        drop(fd);
        // The longest name that macOS takes.
        let longest = Name(format!("/{:030}", std::process::id()));
        drop(Shared::open(&longest.0, 100).unwrap());
    }

    #[test]
    fn memory_of_this_process_only_is_zero_and_can_be_written() {
        let mut memory = Shared::private(100).unwrap();
        let (words, bytes) = memory.parts();
        assert_eq!((words[0].load(Ordering::Relaxed), bytes[99]), (0, 0));
        bytes[99] = 1;
        assert!(!memory.outlives_us());
    }
}
