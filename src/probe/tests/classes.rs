//! What each kind of answer is taken for.

use std::io::{Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::path::PathBuf;

use serde_json::json;

use super::servers::{Server, reply, request, says, tcp, unix, unix_at};
use super::*;
use crate::probe::{connect, parts};
use crate::process::{files, socket};

#[test]
fn a_good_answer_is_good_however_it_is_framed() {
    let body = r#"{"ok":true,"status":"live"}"#;
    let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\n{\"ok\"\r\n16\r\n:true,\"status\":\"live\"}\r\n0\r\n\r\n";
    for bytes in [
        reply("200 OK", "", body),
        reply("200 OK", "content-type: application/json; charset=utf-8\r\nconnection: keep-alive\r\n", body),
        format!("HTTP/1.0 200 OK\r\n\r\n{body}"),
        format!(
            "HTTP/1.1 100 Continue\r\n\r\nHTTP/1.1 103 Early Hints\r\nlink: x\r\n\r\n{}",
            reply("200 OK", "", body)
        ),
        chunked.to_owned(),
    ] {
        let server = says(bytes.clone());
        let mut probe = http(server.port);
        probe.expect_json = json!({"ok": true, "status": "live"}).as_object().cloned();
        assert_eq!(answer(probe, LONG), Answer::Good, "{bytes}");
    }
}

#[test]
fn it_asks_with_its_host_path_and_query_and_nothing_of_its_own() {
    let server = tcp(|stream, _| {
        let asked = request(stream);
        let good = asked.starts_with("GET /a/b?c=d HTTP/1.1\r\n")
            && asked.contains(&format!("host: localhost:{}\r\n", stream.local_addr().unwrap().port()));
        let _ = stream
            .write_all(reply(if good { "200 OK" } else { "500 Bad" }, "", &asked.replace("\r\n", " ")).as_bytes());
    });
    // Without a resolver.
    let probe = spec(ProbeKind::Http(format!("http://localhost:{}/a/b?c=d", server.port)));
    assert_eq!(answer(probe, LONG), Answer::Good);
    let tcp = |host: &str| spec(ProbeKind::Tcp(format!("{host}:{}", server.port)));
    assert_eq!(answer(tcp("LOCALHOST"), LONG), Answer::Good);
    assert_eq!(answer(tcp("127.0.0.1"), LONG), Answer::Good);
    is(&answer(tcp("example.org"), LONG), "misasked", "no address of this machine");
}

#[test]
fn localhost_is_the_sixth_version_as_well() {
    let Ok(listener) = TcpListener::bind("[::1]:0") else { return };
    let port = listener.local_addr().unwrap().port();
    // Somebody else may have that port of 127.0.0.1: then the answer is theirs.
    assert_eq!(answer(spec(ProbeKind::Tcp(format!("localhost:{port}"))), LONG), Answer::Good);
    assert_eq!(answer(spec(ProbeKind::Tcp(format!("[::1]:{port}"))), LONG), Answer::Good);
}

#[test]
fn another_status_says_whether_it_is_unwell_or_asked_the_wrong_thing() {
    let page = "<html>no</html>";
    for (status, headers, body, kind, word) in [
        ("503 Service Unavailable", "", r#"{"failing":["telegram"]}"#, "unwell", "503 instead of 200 ({\"failing\""),
        ("500 Oops", "", page, "unwell", "answered 500"),
        ("401 Unauthorized", "", page, "misasked", "without a login"),
        ("403 Forbidden", "", page, "misasked", "without a login"),
        ("404 Not Found", "", page, "misasked", "no such path"),
        ("302 Found", "location: /login?token=secret\r\n", page, "misasked", "answered 302 to /login?..., "),
        ("308 Moved", "", page, "misasked", "follows no redirect"),
        ("204 No Content", "", "", "misasked", "204 instead of 200"),
        ("418 Teapot", "", "short and stout", "misasked", "(short and stout)"),
        ("400 Bad Request", "", "Client sent an HTTP request to an HTTPS server.", "misasked", "speaks TLS"),
    ] {
        let server = says(reply(status, headers, body));
        let found = answer(http(server.port), LONG);
        is(&found, kind, word);
        is(&found, kind, &format!("http://127.0.0.1:{}/healthz: it ", server.port));
    }
    let server = says(reply("503 Service Unavailable", "", ""));
    assert_eq!(answer(ProbeSpec { expect_status: 503, ..http(server.port) }, LONG), Answer::Good);
    is(&answer(ProbeSpec { expect_status: 204, ..http(server.port) }, LONG), "unwell", "503 instead of 204");
}

#[test]
fn members_are_looked_at() {
    for (body, kind, word) in [
        (r#"{"ok":true,"more":1}"#, "good", ""),
        (r#"{"ok":false}"#, "unwell", "`ok` is false instead of true"),
        (r#"{"ready":true}"#, "misasked", "no member `ok`"),
        ("[true]", "misasked", "no member `ok`"),
        ("<html>the web page</html>", "misasked", "not JSON"),
        ("", "misasked", "not JSON"),
    ] {
        let server = says(reply("200 OK", "", body));
        let mut probe = http(server.port);
        probe.expect_json = json!({"ok": true}).as_object().cloned();
        is(&answer(probe, LONG), kind, word);
    }
}

#[test]
fn what_is_no_http_is_named_as_what_it_is() {
    let body = |length: usize| format!("HTTP/1.1 200 OK\r\ncontent-length: {length}\r\n\r\nhalf");
    for (bytes, kind, word) in [
        (&b"\x15\x03\x01\x00\x02\x02\x46"[..], "misasked", "speaks TLS"),
        (b"\x16\x03\x03\x00\x7a", "misasked", "speaks TLS"),
        (b"SSH-2.0-OpenSSH_9.9\r\n", "misasked", "begins with \"SSH-2.0-\""),
        (b"\x00\xff\x1b[2J", "misasked", r"\x00\xff\x1b[2J"),
        (b"x", "misasked", "does not speak HTTP"),
        (b"HTTP/1.1 two hundred\r\n\r\n", "misasked", "broken HTTP"),
        (b"HTTP/1.1 200 OK\r\ncontent-", "misasked", "cut off"),
        (body(10).as_bytes(), "misasked", "cut off"),
        (b"", "unwell", "closed the connection without an answer"),
    ] {
        let server = says(bytes);
        is(&answer(http(server.port), LONG), kind, word);
    }
}

#[test]
fn a_banner_before_the_question_and_a_reset_are_told_apart() {
    let server = tcp(|stream, _| {
        let _ = stream.write_all(b"220 mail ESMTP\r\n");
        request(stream);
    });
    is(&answer(http(server.port), LONG), "misasked", "220 mail");
    // What is not read when it closes makes it a reset.
    let server = tcp(|stream, _| _ = stream.read(&mut [0; 1]));
    is(&answer(http(server.port), LONG), "unwell", "without an answer");
}

#[test]
fn nobody_there_is_a_failure_and_a_wrong_place_is_not() {
    let free = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    is(&answer(http(free), LONG), "failed", "nobody listens there");
    is(&answer(spec(ProbeKind::Tcp(format!("127.0.0.1:{free}"))), LONG), "failed", "nobody listens there");
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    is(&answer(spec(ProbeKind::Unix(path.clone())), LONG), "failed", "no such socket");
    std::fs::write(&path, "").unwrap();
    let (kind, _) = of(&answer(spec(ProbeKind::Unix(path)), LONG));
    assert!(["failed", "misasked"].contains(&kind), "{kind}");
    // Too long for a socket: services.toml may have no such path, one of our own is elsewhere once it is there.
    let long = folder.path().join("s".repeat(120));
    is(&answer(spec(ProbeKind::Unix(long.clone())), LONG), "failed", "no such socket");
    let over = |socket: PathBuf| spec(ProbeKind::HttpUnix { socket, path: "/".into() });
    is(&answer(over(long), LONG), "failed", "no such socket");
    is(&answer(over("/nul\0".into()), LONG), "misasked", "no socket's");
    is(&answer(spec(ProbeKind::Http("http://".into())), LONG), "misasked", "no address");
    is(&answer(spec(ProbeKind::Notify), LONG), "not asked", "WATCHDOG=1");
}

#[test]
fn a_unix_socket_is_asked_as_a_port_is() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("socket");
    let _server = unix(&path, |stream, _| {
        let good = request(stream).starts_with("GET /healthz?x HTTP/1.1\r\nhost: localhost\r\n");
        let _ = stream.write_all(reply(if good { "200 OK" } else { "404 No" }, "", "").as_bytes());
    });
    let over = |text: &str| spec(ProbeKind::HttpUnix { socket: path.clone(), path: text.into() });
    assert_eq!(answer(over("/healthz?x"), LONG), Answer::Good);
    is(&answer(over("/other?token=secret"), LONG), "misasked", "/other?... of the socket ");
    assert_eq!(answer(spec(ProbeKind::Unix(path)), LONG), Answer::Good);
}

#[test]
fn a_socket_of_ours_is_found_where_it_really_is_and_asked_for_parts() {
    let folder = tempfile::tempdir().unwrap();
    let serve = |stream: &mut UnixStream, _: &Server| {
        let said = match request(stream).split(' ').nth(1) {
            Some("/healthz") => reply("200 OK", "", "ok"),
            Some("/parts") => reply("200 OK", "", r#"{"/in":"ok","/gone":"there is no such folder"}"#),
            _ => reply("404 No", "", ""),
        };
        let _ = stream.write_all(said.as_bytes());
    };
    for path in [folder.path().join("watch.sock"), folder.path().join("d".repeat(100)).join("watch.sock")] {
        files::ensure_dir(path.parent().unwrap()).unwrap();
        let (listener, real) = socket::bind(&path).unwrap();
        let server = unix_at(listener, &real, serve);
        let over = |text: &str| spec(ProbeKind::HttpUnix { socket: path.clone(), path: text.into() });
        assert_eq!(answer(over("/healthz"), LONG), Answer::Good, "{}", path.display());
        let of = over("/parts");
        let found = run(async move { parts(&of, LONG).await }).unwrap();
        let found = found.iter().map(|part| (part.name.as_str(), part.trouble.as_deref())).collect::<Vec<_>>();
        assert_eq!(found, [("/gone", Some("there is no such folder")), ("/in", None)]);
        // Its end is told over the socket.
        drop(server);
        std::fs::remove_file(real).unwrap();
    }
}

#[test]
fn our_own_want_is_never_the_services_fault() {
    use libc::*;
    for errno in [EMFILE, ENFILE, ENOBUFS, ENOMEM, EADDRNOTAVAIL, EAGAIN, EACCES, EPERM, ENETUNREACH, EAFNOSUPPORT, EIO]
    {
        let answer = connect::unreached(&std::io::Error::from_raw_os_error(errno));
        assert!(matches!(answer, Answer::NotAsked(_)), "{errno}: {answer:?}");
    }
    for (errno, kind) in [
        (ECONNREFUSED, "failed"),
        (ENOENT, "failed"),
        (ECONNRESET, "unwell"),
        (ETIMEDOUT, "silent"),
        (ENOTSOCK, "misasked"),
    ] {
        assert_eq!(of(&connect::unreached(&std::io::Error::from_raw_os_error(errno))).0, kind, "{errno}");
    }
}
