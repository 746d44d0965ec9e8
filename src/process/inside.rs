//! What a process has open and where its threads stand: for a person who wants to know why it is silent.

use std::path::Path;
use std::time::Duration;

#[cfg(target_os = "linux")]
#[path = "inside_linux.rs"]
mod half;
#[cfg(target_os = "macos")]
#[path = "inside_macos.rs"]
mod half;

/// What a process has open, one a line, as the system writes it: the names in it are of anybody's choice.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Open {
    /// Descriptors: the number, and what is behind it.
    pub descriptors: Vec<String>,
    /// TCP and Unix sockets: the descriptor's number, state, addresses, and what waits in it.
    pub sockets: Vec<String>,
    /// How many more descriptors there are than were looked at.
    pub unseen: usize,
}

/// What `pid` has open, of at most `most` descriptors. Ends about `limit` later.
///
/// # Errors
/// Why nothing is known, in words.
pub fn open(pid: i32, most: usize, limit: Duration) -> Result<Open, String> {
    half::open(pid, most, limit)
}

/// Where the threads of `pid` stand, one or more lines for each; on Linux in the kernel, and the first threads of `others` too. Ends
/// about `limit` later. `scratch` is a file that may be made meanwhile.
///
/// # Errors
/// Why nothing is known, in words.
pub fn stacks(pid: i32, others: &[i32], scratch: &Path, limit: Duration) -> Result<Vec<String>, String> {
    half::stacks(pid, others, scratch, limit)
}

/// Lines of `lsof -n -P -p PID`: COMMAND PID USER FD TYPE DEVICE SIZE/OFF NODE NAME.
#[cfg(any(target_os = "macos", test))]
fn of_lsof(text: &str, most: usize) -> Open {
    let mut open = Open::default();
    for line in text.lines().skip(1) {
        let columns: Vec<&str> = line.split_ascii_whitespace().skip(3).collect();
        let (Some(descriptor), Some(kind)) = (columns.first(), columns.get(1)) else { continue };
        // What is mapped into memory has no number.
        if !descriptor.starts_with(|c: char| c.is_ascii_digit()) && *descriptor != "cwd" {
            continue;
        }
        if open.descriptors.len() + open.sockets.len() >= most {
            open.unseen += 1;
            continue;
        }
        let is_socket = matches!(*kind, "IPv4" | "IPv6" | "unix");
        if is_socket { &mut open.sockets } else { &mut open.descriptors }.push(columns.join(" "));
    }
    open
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};
    use std::os::unix::net::UnixListener;

    use super::*;
    use crate::process::testing::{Guard, sh};

    const LONG: Duration = Duration::from_secs(20);

    #[test]
    fn our_own_files_and_sockets_are_seen() {
        let me = i32::try_from(std::process::id()).unwrap();
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("a file");
        let _file = std::fs::File::create(&path).unwrap();
        let socket = folder.path().join("socket");
        let _unix = UnixListener::bind(&socket).unwrap();
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let address = listener.local_addr().unwrap();
        let _waiting = TcpStream::connect(address).unwrap();
        let open = open(me, 10_000, LONG).unwrap();
        let has = |lines: &[String], words: &[&str]| {
            assert!(lines.iter().any(|line| words.iter().all(|word| line.contains(word))), "{words:?}: {lines:#?}");
        };
        has(&open.descriptors, &["a file"]);
        has(&open.sockets, &[socket.to_str().unwrap()]);
        has(&open.sockets, &[&address.to_string(), "LISTEN"]);
        has(&open.sockets, &[&address.to_string(), "ESTABLISHED"]);
        assert_eq!(open.unseen, 0);
        if cfg!(target_os = "linux") {
            has(&open.sockets, &[&address.to_string(), "1 waits to be accepted"]);
            has(&open.sockets, &[socket.to_str().unwrap(), "LISTEN"]);
        }
        let one = super::open(me, 1, LONG).unwrap();
        assert!(one.descriptors.len() + one.sockets.len() <= 1 && one.unseen > 2, "{one:?}");
    }

    #[test]
    fn of_one_that_is_gone_there_are_words() {
        let mut child = Guard(sh("exit 0").spawn().unwrap());
        child.0.wait().unwrap();
        let folder = tempfile::tempdir().unwrap();
        open(child.pid(), 9, LONG).unwrap_err();
        assert!(!stacks(child.pid(), &[], &folder.path().join("x"), LONG).unwrap_err().is_empty());
        assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
    }

    #[test]
    fn lsof_is_read() {
        let text = "COMMAND   PID USER   FD   TYPE             DEVICE SIZE/OFF NODE NAME\n\
            node    47110 me  cwd    DIR               1,14      640    2 /Users/me/a b\n\
            node    47110 me  txt    REG               1,14  1234567    9 /opt/homebrew/bin/node\n\
            node    47110 me    0r   CHR                3,2      0t0  322 /dev/null\n\
            node    47110 me   18u  IPv4 0x9d5c5a8f1c1a2b3c      0t0  TCP 127.0.0.1:18789 (LISTEN)\n\
            node    47110 me   19u  unix 0x9d5c5a8f1c1a2b3d      0t0      /tmp/x.sock\n\
            \nx\n";
        let open = of_lsof(text, 100);
        assert_eq!(open.descriptors, ["cwd DIR 1,14 640 2 /Users/me/a b", "0r CHR 3,2 0t0 322 /dev/null"]);
        assert_eq!(open.sockets[0], "18u IPv4 0x9d5c5a8f1c1a2b3c 0t0 TCP 127.0.0.1:18789 (LISTEN)");
        assert_eq!((open.sockets.len(), open.unseen), (2, 0));
        assert_eq!(of_lsof(text, 1).unseen, 3);
        assert_eq!(of_lsof("", 1), Open::default());
    }
}
