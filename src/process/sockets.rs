//! Linux's tables of sockets: /proc/net/tcp, tcp6 and unix. Pure, so that it is tested everywhere.

use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};

/// The inode in the target of a descriptor's link, `socket:[4711]`.
pub(super) fn inode(link: &str) -> Option<u64> {
    link.strip_prefix("socket:[")?.strip_suffix(']')?.parse().ok()
}

/// linux/tcp_states.h, from 1 on.
const STATES: [&str; 12] = [
    "ESTABLISHED",
    "SYN_SENT",
    "SYN_RECV",
    "FIN_WAIT1",
    "FIN_WAIT2",
    "TIME_WAIT",
    "CLOSE",
    "CLOSE_WAIT",
    "LAST_ACK",
    "LISTEN",
    "CLOSING",
    "NEW_SYN_RECV",
];

/// `sl local remote st tx_queue:rx_queue tr:when retrnsmt uid timeout inode ...`: the inode, and the rest in words.
pub(super) fn tcp(line: &str) -> Option<(u64, String)> {
    let columns: Vec<&str> = line.split_ascii_whitespace().collect();
    let (local, remote) = (address(columns.get(1)?)?, address(columns.get(2)?)?);
    let state = usize::from_str_radix(columns.get(3)?, 16).ok()?.checked_sub(1).and_then(|at| STATES.get(at))?;
    let (unsent, unread) = columns.get(4)?.split_once(':')?;
    let (unsent, unread) = (u64::from_str_radix(unsent, 16).ok()?, u64::from_str_radix(unread, 16).ok()?);
    let inode = columns.get(9)?.parse().ok()?;
    let text = match (*state, unread) {
        // Of a listener it is how many connections it has not accepted yet.
        ("LISTEN", 1) => format!("tcp LISTEN {local}, 1 waits to be accepted"),
        ("LISTEN", _) => format!("tcp LISTEN {local}, {unread} wait to be accepted"),
        _ => format!("tcp {state} {local} to {remote}, {unread} bytes not read, {unsent} bytes not sent"),
    };
    Some((inode, text))
}

/// `Num RefCount Protocol Flags Type St Inode Path`: the inode, and the rest in words.
pub(super) fn unix(line: &str) -> Option<(u64, String)> {
    let mut columns = line.split_ascii_whitespace();
    let flags = u32::from_str_radix(columns.nth(3)?, 16).ok()?;
    let state = match (u8::from_str_radix(columns.nth(1)?, 16).ok()?, flags & LISTENS != 0) {
        (_, true) => "LISTEN",
        (1, _) => "unconnected",
        (2, _) => "connecting",
        (3, _) => "CONNECTED",
        (4, _) => "disconnecting",
        _ => "free",
    };
    let inode = columns.next()?.parse().ok()?;
    let path: Vec<&str> = columns.collect();
    let path = if path.is_empty() { "without a name".to_owned() } else { path.join(" ") };
    Some((inode, format!("unix {state} {path}")))
}

/// linux/net.h: __SO_ACCEPTCON.
const LISTENS: u32 = 1 << 16;

/// `0100007F:4965`: words of 32 bits as they lie in memory, and the port.
fn address(text: &str) -> Option<SocketAddr> {
    let (ip, port) = text.split_once(':')?;
    let port = u16::from_str_radix(port, 16).ok()?;
    let word = |at: usize| Some(u32::from_str_radix(ip.get(at..at + 8)?, 16).ok()?.to_ne_bytes());
    let ip: IpAddr = match ip.len() {
        8 => Ipv4Addr::from(word(0)?).into(),
        32 => {
            let words = [word(0)?, word(8)?, word(16)?, word(24)?];
            let bytes: [u8; 16] = words.concat().try_into().ok()?;
            Ipv6Addr::from(bytes).to_canonical()
        }
        _ => return None,
    };
    Some(SocketAddr::new(ip, port))
}

#[cfg(all(test, target_endian = "little"))]
mod tests {
    use super::*;

    #[test]
    fn lines_of_tcp_are_read() {
        let listen =
            "   0: 0100007F:4965 00000000:0000 0A 00000000:0000000C 00:00000000 00000000  501        0 1060 1 0000 100";
        assert_eq!(tcp(listen), Some((1060, "tcp LISTEN 127.0.0.1:18789, 12 wait to be accepted".into())));
        let six = "   1: 00000000000000000000000001000000:4965 0000000000000000FFFF00000100007F:C350 08 00000002:0000000A 00:0 0 501 0 77 1";
        let text = "tcp CLOSE_WAIT [::1]:18789 to 127.0.0.1:50000, 10 bytes not read, 2 bytes not sent";
        assert_eq!(tcp(six), Some((77, text.into())));
    }

    #[test]
    fn lines_of_unix_are_read() {
        let line = |rest: &str| unix(&format!("0000000000000000: 00000002 00000000 {rest}"));
        assert_eq!(line("00010000 0001 01 12 /run/a b"), Some((12, "unix LISTEN /run/a b".into())));
        assert_eq!(line("00000000 0001 03 13"), Some((13, "unix CONNECTED without a name".into())));
        assert_eq!(line("00000000 0001 03 13 @x"), Some((13, "unix CONNECTED @x".into())));
    }

    #[test]
    fn what_is_malformed_is_nothing() {
        let header = "  sl  local_address rem_address   st tx_queue rx_queue tr tm->when retrnsmt   uid  timeout inode";
        let line = |local: &str, state: &str| format!("0: {local} 00000000:0000 {state} 0:0 0:0 0 0 0 7");
        assert!(tcp(&line("0100007F:4965", "01")).is_some());
        for bad in [
            "",
            header,
            "0: 0100007F:4965",
            &line("0100007F", "01"),
            &line("010000:4965", "01"),
            &line("\u{e4}\u{e4}\u{e4}\u{e4}:4965", "01"),
            &line("0100007F:4965", "00"),
            &line("0100007F:4965", "FF"),
        ] {
            assert_eq!(tcp(bad), None, "{bad}");
        }
        for bad in ["", "Num       RefCount Protocol Flags    Type St Inode Path", "0: 2 0 0 1 01", "0: 2 0 0 1 01 x"] {
            assert_eq!(unix(bad), None, "{bad}");
        }
        for (link, number) in
            [("socket:[12]", Some(12)), ("socket:[x]", None), ("pipe:[12]", None), ("socket:12", None)]
        {
            assert_eq!(inode(link), number);
        }
    }
}
