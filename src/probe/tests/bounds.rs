//! Answers without end: each is left in time, and little of it is read.

use std::io::Write;
use std::sync::atomic::Ordering::Relaxed;

use super::servers::{pour, request, tcp};
use super::*;
use crate::process::testing::wait_for;

const MUCH: usize = 100 << 20;

/// More than a probe reads and what the two sockets of a connection hold: megabytes on both systems, and far from all.
const KERNEL: usize = 32 << 20;

#[test]
fn an_endless_body_that_comes_fast_is_left_at_the_cap() {
    let server = tcp(|stream, server| {
        request(stream);
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\n\r\n");
        pour(stream, server, &[b'x'; 65_536], MUCH, 0);
    });
    is(&answer(http(server.port), LONG), "misasked", "longer than 64 KiB");
    wait_for("the server to see that we have closed", || server.server.closed.load(Relaxed).then_some(()));
    assert!(server.server.sent.load(Relaxed) < KERNEL, "{} bytes were sent", server.server.sent.load(Relaxed));
}

#[test]
fn a_head_of_a_megabyte_is_left_at_the_cap() {
    for line in [&b"x-much: 0123456789012345678901234567890123456789\r\n"[..], b"0123456789"] {
        let server = tcp(move |stream, server| {
            request(stream);
            let _ = stream.write_all(b"HTTP/1.1 200 OK\r\nx: ");
            pour(stream, server, line, 1 << 20, 0);
        });
        is(&answer(http(server.port), LONG), "misasked", "longer than 16 KiB");
    }
}

#[test]
fn a_byte_now_and_then_is_slow_and_never_silent() {
    for head in [&b""[..], b"HTTP/1.1 200 OK\r\n\r\n"] {
        let server = tcp(move |stream, server| {
            request(stream);
            let _ = stream.write_all(head);
            pour(stream, server, b"H", MUCH, 20);
        });
        // Its first bytes come at once; it has them by then even where threads wait for each other.
        let found = asked(http(server.port), Duration::from_millis(1500));
        assert!(found.pending.is_none());
        let (kind, text) = of(&found.probed.answer);
        // Without a head it is no HTTP, and that shows as soon as there are enough of them.
        assert!(
            kind == "slow" && text.contains("bytes came within") || head.is_empty() && kind == "misasked",
            "{kind} {text}"
        );
    }
}

#[test]
fn a_status_that_is_wrong_is_enough_of_an_endless_answer() {
    let server = tcp(|stream, server| {
        request(stream);
        let _ = stream.write_all(b"HTTP/1.1 404 Not Found\r\n\r\n");
        pour(stream, server, &[b'x'; 4096], MUCH, 0);
    });
    is(&answer(http(server.port), LONG), "misasked", "no such path");
}

#[test]
fn a_redirect_loop_is_asked_once() {
    let server = tcp(|stream, _| {
        request(stream);
        let _ = stream.write_all(b"HTTP/1.1 302 Found\r\nlocation: /healthz\r\ncontent-length: 0\r\n\r\n");
    });
    is(&answer(http(server.port), LONG), "misasked", "302 to /healthz");
    assert_eq!(server.server.connections.load(Relaxed), 1);
}

#[test]
fn a_side_that_has_closed_its_half_is_not_silent() {
    let server = tcp(|stream, server| {
        request(stream);
        let _ = stream.shutdown(std::net::Shutdown::Write);
        server.wait(|_| false);
    });
    is(&answer(http(server.port), LONG), "unwell", "without an answer");
}
