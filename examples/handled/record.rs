//! What the handler writes down, and whoever measures reads.

/// That a handler has begun.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Record {
    /// CLOCK_MONOTONIC in nanoseconds, the handler's first act.
    pub began: u64,
    /// The file's path, by its [`hash`].
    pub path: u64,
    /// How often a handler was started for it, as it was told.
    pub attempt: u32,
    /// The handler's process.
    pub pid: u32,
}

/// The length of a record.
pub const LENGTH: usize = 24;

impl Record {
    /// As it is written, in native byte order.
    pub fn bytes(&self) -> [u8; LENGTH] {
        let mut bytes = [0; LENGTH];
        bytes[..8].copy_from_slice(&self.began.to_ne_bytes());
        bytes[8..16].copy_from_slice(&self.path.to_ne_bytes());
        bytes[16..20].copy_from_slice(&self.attempt.to_ne_bytes());
        bytes[20..].copy_from_slice(&self.pid.to_ne_bytes());
        bytes
    }

    /// As it is read.
    #[allow(dead_code, reason = "whoever writes does not read")]
    pub fn of(bytes: &[u8; LENGTH]) -> Self {
        let long = |at: usize| u64::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
        let short = |at: usize| u32::from_ne_bytes(std::array::from_fn(|i| bytes[at + i]));
        Self { began: long(0), path: long(8), attempt: short(16), pid: short(20) }
    }
}

/// FNV-1a: of a hundred thousand paths two are alike once in four thousand million times.
pub fn hash(path: &[u8]) -> u64 {
    path.iter().fold(0xCBF2_9CE4_8422_2325, |hash, byte| (hash ^ u64::from(*byte)).wrapping_mul(0x0100_0000_01B3))
}
