//! The kinds that are not plain HTTP: WebSocket, MCP, programs, files; and parts.

use std::io::Write;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use ring::digest;

use super::servers::{Guard, reply, request, says, tcp};
use super::*;
use crate::model::{FigureSpec, Part};
use crate::probe::{figure, parts};
use crate::process::identity::{State, state};
use crate::process::testing::wait_for;

/// Opens the WebSocket as the standard says, and sends these frames.
fn websocket(frames: impl Into<Vec<u8>>) -> Guard {
    let frames = frames.into();
    tcp(move |stream, server| {
        let asked = request(stream);
        let key = asked
            .lines()
            .find_map(|line| line.to_ascii_lowercase().starts_with("sec-websocket-key:").then(|| &line[18..]));
        let text = format!("{}258EAFA5-E914-47DA-95CA-C5AB0DC85B11", key.unwrap().trim());
        let accept = base64(digest::digest(&digest::SHA1_FOR_LEGACY_USE_ONLY, text.as_bytes()).as_ref());
        let head = format!(
            "HTTP/1.1 101 Switching Protocols\r\nupgrade: websocket\r\nconnection: Upgrade\r\nsec-websocket-accept: {accept}\r\n\r\n"
        );
        let _ = stream.write_all(head.as_bytes()).and_then(|()| stream.write_all(&frames));
        // Until the other side closes.
        let _ = stream.set_read_timeout(Some(Duration::from_millis(10)));
        while !server.over.load(std::sync::atomic::Ordering::Relaxed) {
            match std::io::Read::read(stream, &mut [0; 256]) {
                Ok(0) => return,
                Ok(_) => {}
                Err(e) if matches!(e.kind(), std::io::ErrorKind::WouldBlock | std::io::ErrorKind::TimedOut) => {}
                Err(_) => return,
            }
        }
    })
}

fn base64(bytes: &[u8]) -> String {
    const LETTERS: &[u8] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";
    let group = |chunk: &[u8]| {
        let word = chunk.iter().chain([0, 0].iter()).take(3).fold(0_usize, |word, byte| word << 8 | usize::from(*byte));
        (0..4)
            .map(|n| if n <= chunk.len() { char::from(LETTERS[word >> (18 - 6 * n) & 63]) } else { '=' })
            .collect::<String>()
    };
    bytes.chunks(3).map(group).collect()
}

fn frame(opcode: u8, payload: &[u8]) -> Vec<u8> {
    let mut frame = vec![0x80 | opcode, 126];
    frame.extend_from_slice(&u16::try_from(payload.len()).unwrap().to_be_bytes());
    frame.extend_from_slice(payload);
    frame
}

fn ws(port: u16) -> ProbeSpec {
    spec(ProbeKind::Ws(format!("ws://127.0.0.1:{port}")))
}

#[test]
fn the_gateways_greeting_is_good_and_nothing_else_is() {
    let greeting = br#"{"type":"event","event":"connect.challenge","payload":{"nonce":"n","ts":1}}"#;
    let short = |opcode: u8, payload: &[u8]| [&[0x80 | opcode, u8::try_from(payload.len()).unwrap()], payload].concat();
    for (frames, kind, word) in [
        (short(1, greeting), "good", ""),
        ([short(9, b"ping"), short(1, greeting)].concat(), "good", ""),
        (short(1, br#"{"type":"event","event":"shutdown"}"#), "unwell", "shutting down"),
        (short(1, b"hello"), "misasked", "not connect.challenge but hello"),
        (short(2, b"hello"), "misasked", "not text"),
        (short(8, &[0x03, 0xf5, b'b', b'u', b's', b'y']), "unwell", "closed the WebSocket with 1013 busy"),
        (short(8, &[0x03, 0xe8]), "misasked", "closed the WebSocket with 1000 before"),
        (vec![0xff; 20], "misasked", "does not open a WebSocket as it should"),
        ([&[0x81, 127][..], &(1_u64 << 40).to_be_bytes()].concat(), "misasked", "longer than 64 KiB"),
    ] {
        let server = websocket(frames);
        is(&answer(ws(server.port), LONG), kind, word);
    }
    // More than one read's worth.
    let large = format!("{}{}", " ".repeat(20_000), String::from_utf8_lossy(greeting));
    let server = websocket(frame(1, large.as_bytes()));
    assert_eq!(answer(ws(server.port), LONG), Answer::Good);
}

#[test]
fn what_opens_no_websocket_is_told_apart() {
    for (bytes, kind, word) in [
        (reply("200 OK", "", "<html>"), "misasked", "200 instead of opening a WebSocket"),
        (reply("401 Unauthorized", "", ""), "misasked", "without a login"),
        (reply("503 Unavailable", "", "starting"), "unwell", "503"),
        ("HTTP/1.1 101 Switching Protocols\r\n\r\n".into(), "misasked", "as it should"),
        ("HTTP/1.1 101 Swi".into(), "misasked", "cut off"),
        ("\u{15}\u{3}\u{1}\u{0}\u{2}".into(), "misasked", "speaks TLS"),
        ("SSH-2.0-x\r\n\r\n".into(), "misasked", "does not speak HTTP"),
        (String::new(), "unwell", "without an answer"),
    ] {
        let server = says(bytes);
        is(&answer(ws(server.port), LONG), kind, word);
    }
    let server = websocket("");
    is(&answer(ws(server.port), Duration::from_millis(1500)), "slow", "not the whole answer");
    let server = tcp(|_, server| server.wait(|_| false));
    let asked = asked(ws(server.port), SHORT);
    assert!(matches!(asked.probed.answer, Answer::Silent(_)) && asked.pending.is_some());
}

#[test]
fn any_json_rpc_answer_of_an_mcp_server_is_good() {
    let result = r#"{"jsonrpc":"2.0","id":1,"result":{}}"#;
    let error = r#"{"jsonrpc":"2.0","id":null,"error":{"code":-32000,"message":"no session"}}"#;
    let events = "content-type: text/event-stream; charset=utf-8\r\n";
    let open = |data: &str| format!("HTTP/1.1 200 OK\r\n{events}\r\n{data}");
    for (bytes, kind, word) in [
        (reply("200 OK", "content-type: application/json\r\n", result), "good", ""),
        (reply("400 Bad Request", "", error), "good", ""),
        (reply("500 Oops", "", error), "good", ""),
        (open(&format!("id: 0\ndata:\n\nevent: message\r\ndata: {result}\r\n\r\n")), "good", ""),
        (open("data: {\"jsonrpc\":\"2.0\",\"id\":1,\ndata: \"result\":{}}\n\n"), "good", ""),
        (open("data: hello\n\n"), "misasked", "without JSON-RPC"),
        (reply("200 OK", "", "<html>"), "misasked", "without JSON-RPC"),
        (reply("401 Unauthorized", "", "{}"), "misasked", "without a login"),
        (reply("404 Not Found", "", "{}"), "misasked", "no such path"),
        (reply("502 Bad Gateway", "", "{}"), "unwell", "502"),
    ] {
        let server = says(bytes.clone());
        let probe = spec(ProbeKind::Mcp(format!("http://127.0.0.1:{}/mcp", server.port)));
        let found = answer(probe, LONG);
        assert!(of(&found).0 == kind && of(&found).1.contains(word), "{bytes}\n{found:?}");
    }
}

#[test]
fn an_mcp_server_is_asked_for_a_ping_and_its_stream_may_stay_open() {
    let server = tcp(|stream, server| {
        let mut asked = request(stream);
        while !asked.ends_with(r#"{"jsonrpc":"2.0","id":1,"method":"ping"}"#) {
            let mut more = [0; 512];
            let n = std::io::Read::read(stream, &mut more).unwrap();
            assert!(n > 0, "{asked}");
            asked.push_str(&String::from_utf8_lossy(&more[..n]));
        }
        assert!(
            asked.starts_with("POST /mcp HTTP/1.1") && asked.contains("accept: application/json, text/event-stream"),
            "{asked}"
        );
        let _ = stream.write_all(b"HTTP/1.1 200 OK\r\ncontent-type: text/event-stream\r\n\r\ndata: {\"jsonrpc\":\"2.0\",\"id\":1,\"result\":{}}\n\n");
        server.wait(|_| false);
    });
    assert_eq!(answer(spec(ProbeKind::Mcp(format!("http://127.0.0.1:{}/mcp", server.port))), LONG), Answer::Good);
}

fn sh(script: &str) -> ProbeSpec {
    spec(ProbeKind::Exec(vec!["/bin/sh".into(), "-c".into(), script.into()]))
}

#[test]
fn a_check_says_by_its_exit_how_it_is() {
    for (script, kind, word) in [
        ("exit 0", "good", ""),
        ("echo fine; echo no route >&2; exit 1", "failed", "/bin/sh: the check ended with exit code 1: no route"),
        ("echo first; echo last; exit 3", "failed", "exit code 3: last"),
        ("kill -9 $$", "failed", "SIGKILL"),
        ("echo soon >&2; exit 75", "unwell", "exit code 75: soon"),
        ("/no/such/program", "misasked", "exit code 127"),
        ("exit 126", "misasked", "cannot be executed"),
    ] {
        is(&answer(sh(script), LONG), kind, word);
    }
    let none = |program: &str| spec(ProbeKind::Exec(vec![program.into()]));
    is(&answer(none("/no/such/check"), LONG), "misasked", "does not exist");
    is(&answer(none("no-such-check-anywhere"), LONG), "misasked", "the daemon's PATH");
    is(&answer(spec(ProbeKind::Exec(Vec::new())), LONG), "misasked", "empty");
    let folder = tempfile::tempdir().unwrap();
    let script = folder.path().join("check");
    std::fs::write(&script, "#!/no/such/interpreter\n").unwrap();
    std::fs::set_permissions(&script, std::fs::Permissions::from_mode(0o700)).unwrap();
    is(&answer(none(script.to_str().unwrap()), LONG), "misasked", "first line");
}

#[test]
fn a_check_that_hangs_is_killed_with_all_that_it_started() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("pid");
    // It has written the pid before its time is over, or the test looks for it in vain.
    let script = format!("sleep 600 & echo $! > {0}.new; mv {0}.new {0}; echo {{}}; wait", file.display());
    let asked = asked(sh(&script), Duration::from_secs(2));
    is(&asked.probed.answer, "silent", "did not end within 2000 ms, and was killed with all that it had started");
    assert!(asked.pending.is_none());
    let grandchild: i32 = std::fs::read_to_string(&file).unwrap().trim().parse().unwrap();
    wait_for("the grandchild to end", || matches!(state(grandchild), State::Gone | State::Zombie(_)).then_some(()));
}

#[test]
fn a_check_has_nothing_of_ours_and_its_output_has_an_end() {
    let (_ours, held) = std::os::unix::net::UnixStream::pair().unwrap();
    let script = format!(
        "[ -z \"$(cat)\" ] && [ -z \"$CARGO_MANIFEST_DIR\" ] && [ -n \"$PATH\" ] && ! [ -e /dev/fd/{} ] && head -c 9000000 /dev/zero",
        std::os::fd::AsRawFd::as_raw_fd(&held)
    );
    assert_eq!(answer(sh(&script), LONG), Answer::Good);
}

#[test]
fn a_file_tells_when_it_was_last_touched() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("beat");
    let look = |path: &Path| answer(spec(ProbeKind::HeartbeatFile(path.to_owned())), LONG);
    assert_eq!(look(&file), Answer::Beat(None));
    let open = std::fs::File::create(&file).unwrap();
    open.set_modified(std::time::UNIX_EPOCH + Duration::from_nanos(1_700_000_000_000_000_000)).unwrap();
    assert_eq!(look(&file), Answer::Beat(Some(1_700_000_000_000_000_000)));
    is(&look(&file.join("below")), "misasked", "check its path");
}

fn asked_for_parts(probe: ProbeSpec) -> Result<Vec<Part>, String> {
    run(async move { parts(&probe, LONG).await })
}

#[test]
fn parts_are_read_whatever_the_status_or_the_exit() {
    let server = says(reply("503 Unavailable", "", r#"{"ready":false,"failing":["telegram"]}"#));
    let found = asked_for_parts(http(server.port)).unwrap();
    assert!(found.len() == 1 && found[0].name == "telegram" && found[0].trouble.is_some());
    let script = r#"echo '{"peer-a":"ok","peer-b":"no answer"}'; exit 1"#;
    let found = asked_for_parts(sh(script)).unwrap();
    assert_eq!(
        found.iter().map(|p| (p.name.as_str(), p.trouble.as_deref())).collect::<Vec<_>>(),
        [("peer-a", None), ("peer-b", Some("no answer"))]
    );
    // The same from an ordinary check.
    let probed = asked(sh(script), LONG).probed;
    assert!(matches!(probed.answer, Answer::Failed(_)) && probed.parts == Some(found));
    let server = says(reply("200 OK", "", "<html>"));
    let why = asked_for_parts(http(server.port)).unwrap_err();
    assert!(why.starts_with("http://127.0.0.1:") && why.contains("no JSON"), "{why}");
    assert!(asked_for_parts(sh("exit 4")).unwrap_err().contains("exit code 4"));
    assert!(asked_for_parts(sh("echo fine")).unwrap_err().contains("no JSON"));
    assert!(asked_for_parts(spec(ProbeKind::Notify)).unwrap_err().contains("only an http and an exec"));
}

#[test]
fn a_figure_is_a_number_in_a_good_answer_of_this_machine() {
    let ask = |url: String, pointer: &str| {
        let spec = FigureSpec { url, pointer: pointer.into() };
        run(async move { figure(&spec, LONG).await })
    };
    let server = says(reply("200 OK", "", r#"{"memory":{"heapUsed":123456.5,"big":1e999,"name":"x"},"served":[7]}"#));
    assert!(ask(format!("http://127.0.0.1:{}/m", server.port), "/served").unwrap_err().contains("not JSON"), "1e999");
    let server = says(reply("200 OK", "", r#"{"memory":{"heapUsed":123456.5,"name":"x"},"served":[7]}"#));
    let url = format!("http://127.0.0.1:{}/metrics?token=s3cret", server.port);
    assert_eq!(ask(url.clone(), "/memory/heapUsed"), Ok(123_456.5));
    assert_eq!(ask(url.clone(), "/served/0"), Ok(7.0));
    for (pointer, why) in [("/memory/name", "no number"), ("/memory", "no number"), ("/nothing", "nothing at")] {
        let said = ask(url.clone(), pointer).unwrap_err();
        assert!(said.contains(why) && !said.contains("s3cret"), "{said}");
    }
    let server = says(reply("503 Unavailable", "", r#"{"n":1}"#));
    assert!(ask(format!("http://127.0.0.1:{}/", server.port), "/n").unwrap_err().contains("503"));
    let long = format!("{{\"n\":1,\"pad\":\"{}\"}}", "x".repeat(70_000));
    let server = says(reply("200 OK", "", &long));
    assert!(ask(format!("http://127.0.0.1:{}/", server.port), "/n").unwrap_err().contains("longer than 64 KiB"));
    // Nobody outside is asked.
    assert!(ask("http://192.0.2.7:80/".into(), "/n").unwrap_err().contains("this machine only"));
}
