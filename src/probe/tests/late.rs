//! Silence, and answers that come after it.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::sync::atomic::Ordering::Relaxed;

use super::servers::{pour, reply, request, tcp, unix};
use super::*;
use crate::model::Probed;
use crate::process::testing::wait_for;

/// Asks, lets `then` happen, and waits for the late answer.
fn late(probe: ProbeSpec, then: impl FnOnce() + Send + 'static, within: Duration) -> (Probed, Option<Probed>) {
    run(async move {
        let asked = ask(&probe, SHORT).await;
        then();
        let late = asked.pending.expect("it is silent").answer(within).await;
        (asked.probed, late)
    })
}

#[test]
fn who_accepts_and_never_answers_is_silent_and_stays_so() {
    let server = tcp(|_, server| server.wait(|_| false));
    let (probed, late) = late(http(server.port), || (), SHORT);
    is(&probed.answer, "silent", "it was connected to and said nothing within 100 ms");
    assert!(probed.took >= SHORT && probed.late == probed.took - SHORT);
    assert_eq!(late, None);
    // Nobody accepts, and the kernel does: as with a process that is stopped.
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    is(&answer(http(listener.local_addr().unwrap().port()), SHORT), "silent", "said nothing");
}

#[test]
fn what_comes_late_is_told_as_what_it_is() {
    for (status, kind) in [("200 OK", "good"), ("503 Unavailable", "unwell"), ("404 Not Found", "misasked")] {
        let server = tcp(move |stream, server| {
            request(stream);
            server.wait(|server| server.go.load(Relaxed));
            let _ = stream.write_all(reply(status, "", "{}").as_bytes());
        });
        let shared = std::sync::Arc::clone(&server.server);
        let (probed, late) = late(http(server.port), move || shared.go.store(true, Relaxed), LONG);
        is(&probed.answer, "silent", "");
        let late = late.unwrap();
        assert!(of(&late.answer).0 == kind && late.took > probed.took, "{late:?}");
    }
}

#[test]
fn a_single_late_byte_is_a_sign_of_life() {
    let server = tcp(move |stream, server| {
        request(stream);
        server.wait(|server| server.go.load(Relaxed));
        let _ = stream.write_all(b"H");
        server.wait(|_| false);
    });
    let shared = std::sync::Arc::clone(&server.server);
    let (_, late) = late(http(server.port), move || shared.go.store(true, Relaxed), LONG);
    is(&late.unwrap().answer, "slow", "/healthz: the answer began after ");
}

#[test]
fn a_question_that_is_dropped_closes_its_connection() {
    let server = tcp(|stream, server| {
        request(stream);
        assert!(matches!(stream.read(&mut [0; 1]), Ok(0)) || server.over.load(Relaxed));
        server.closed.store(true, Relaxed);
    });
    let pending = asked(http(server.port), SHORT).pending.unwrap();
    assert!(!server.server.closed.load(Relaxed));
    drop(pending);
    wait_for("the connection to be closed", || server.server.closed.load(Relaxed).then_some(()));
}

/// Linux says so where the queue of a Unix socket is full: whoever listens takes nobody in, as over TCP.
#[test]
#[cfg(target_os = "linux")]
fn a_full_queue_is_silence_and_not_our_fault() {
    use std::os::unix::net::UnixStream;

    use nix::sys::socket::{AddressFamily, Backlog, SockFlag, SockType, UnixAddr, bind, listen, socket};

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let listener = socket(AddressFamily::Unix, SockType::Stream, SockFlag::SOCK_CLOEXEC, None).unwrap();
    bind(std::os::fd::AsRawFd::as_raw_fd(&listener), &UnixAddr::new(&path).unwrap()).unwrap();
    listen(&listener, Backlog::new(0).unwrap()).unwrap();
    let _first = UnixStream::connect(&path).unwrap();
    is(&answer(spec(ProbeKind::Unix(path.clone())), SHORT), "silent", "it let nobody connect within 100 ms");
    let pending = asked(spec(ProbeKind::HttpUnix { socket: path, path: "/".into() }), SHORT).pending;
    assert!(pending.is_some());
}

#[test]
fn silence_over_a_unix_socket_is_waited_for_too() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let server = unix(&path, |stream, server| {
        server.wait(|server| server.go.load(Relaxed));
        request(stream);
        pour(stream, server, reply("200 OK", "", "").as_bytes(), 1, 0);
    });
    let shared = std::sync::Arc::clone(&server.server);
    let probe = spec(ProbeKind::HttpUnix { socket: path, path: "/".into() });
    let (probed, late) = late(probe, move || shared.go.store(true, Relaxed), LONG);
    is(&probed.answer, "silent", "said nothing");
    assert_eq!(late.unwrap().answer, Answer::Good);
}
