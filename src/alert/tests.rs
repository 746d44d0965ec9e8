//! Every way that a delivery can end, against real sockets and programs.

use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use super::testing::{Act, LONG, Server, answer, digest, notice};
use super::*;
use crate::model::{DeadmanSpec, NoticeKind, SecretSpec};

const SECRET: &str = "hunter2hunter2";

/// Scratch space of one test.
struct Home(tempfile::TempDir);

impl Home {
    fn new() -> Self {
        Self(tempfile::tempdir().unwrap())
    }

    fn file(&self, name: &str, text: &str, mode: u32) -> PathBuf {
        let path = self.0.path().join(name);
        fs::write(&path, text).unwrap();
        fs::set_permissions(&path, fs::Permissions::from_mode(mode)).unwrap();
        path
    }

    fn secret(&self, text: &str) -> Option<SecretSpec> {
        Some(SecretSpec::File(self.file("secret", text, 0o600)))
    }

    /// Delivers, and looks whether a secret got out.
    fn deliver(&self, sink: &SinkSpec, message: &Message) -> Delivery {
        let delivery = deliver(sink, message, &Around { evidence: &self.0.path().join("evidence"), host: "mac" });
        let text = format!("{delivery:?}");
        assert!(!text.contains(SECRET) && !text.contains("/hidden"), "{text}");
        assert!(text.len() < 2000, "{text}");
        delivery
    }
}

fn sink(kind: SinkKind, url: &str) -> SinkSpec {
    SinkSpec { url: Some(url.to_owned()), timeout: LONG, ..SinkSpec::new(kind) }
}

fn webhook(port: u16) -> SinkSpec {
    sink(SinkKind::Webhook, &format!("http://127.0.0.1:{port}/hidden/{SECRET}?key={SECRET}"))
}

fn one() -> Message {
    Message::One(Box::new(notice(NoticeKind::Fired)))
}

fn why(delivery: Delivery) -> String {
    match delivery {
        Delivery::Failed(why) => why,
        other => panic!("{other:?}"),
    }
}

#[test]
fn each_answer_means_what_it_should() {
    let later = |seconds| move |d: &Delivery| matches!(d, Delivery::Later { after, .. } if *after == Duration::from_secs(seconds));
    let failed = |part: &'static str| move |d: &Delivery| matches!(d, Delivery::Failed(why) if why.contains(part));
    let refused = |d: &Delivery| matches!(d, Delivery::Refused(_));
    let dates = "Date: Fri, 31 Jul 2026 10:00:00 GMT\r\nRetry-After: Fri, 31 Jul 2026 10:02:05 GMT\r\n";
    let past = "Date: Fri, 31 Jul 2026 10:00:00 GMT\r\nRetry-After: Fri, 31 Jul 2026 09:00:00 GMT\r\n";
    type Right = Box<dyn Fn(&Delivery) -> bool>;
    let rows: Vec<(Act, Right)> = vec![
        (answer(200, "", "ok"), Box::new(|d| *d == Delivery::Done { plain: false })),
        (answer(202, "", ""), Box::new(|d| *d == Delivery::Done { plain: false })),
        (answer(429, "Retry-After: 17\r\n", ""), Box::new(later(17))),
        (answer(429, dates, ""), Box::new(later(125))),
        (answer(503, "Retry-After: 3\r\n", ""), Box::new(later(3))),
        (answer(503, past, ""), Box::new(later(0))),
        (answer(429, "Retry-After: 99999999999\r\n", ""), Box::new(later(86_400))),
        (answer(429, "Retry-After: soon\r\n", ""), Box::new(failed("asked too often"))),
        (answer(429, "", ""), Box::new(failed("asked too often"))),
        (answer(500, "", "<h1>broken</h1>"), Box::new(failed("answers 500 (<h1>broken</h1>)"))),
        (answer(503, "", ""), Box::new(failed("trouble of its own"))),
        (answer(408, "", ""), Box::new(failed("408"))),
        (answer(425, "", ""), Box::new(failed("425"))),
        (
            answer(301, "Location: https://elsewhere.example/hidden\r\n", ""),
            Box::new(failed("redirects to https://elsewhere.example:")),
        ),
        (answer(308, "Location: /hidden\r\n", ""), Box::new(failed("redirects to another path"))),
        (answer(400, "", &format!("no {SECRET} here")), Box::new(refused)),
        (answer(413, "", ""), Box::new(refused)),
        (answer(422, "", ""), Box::new(refused)),
        (answer(401, "", ""), Box::new(failed("does it want a secret?"))),
        (answer(403, "", ""), Box::new(failed("does not let us in"))),
        (answer(404, "", ""), Box::new(failed("is it right?"))),
        (answer(410, "", ""), Box::new(failed("is it right?"))),
        (answer(500, "", &"x".repeat(1 << 20)), Box::new(failed("500"))),
        (Act::Answer("HTTP/1.1 500 X\r\nContent-Length: 100\r\n\r\nbroken off".into()), Box::new(failed("broken off"))),
        (Act::Answer("220 mail.example ESMTP\r\n".into()), Box::new(failed("does not speak HTTP"))),
        (Act::Break, Box::new(|d| matches!(d, Delivery::Unknown(_) | Delivery::Failed(_)))),
    ];
    let (acts, rights): (Vec<Act>, Vec<Right>) = rows.into_iter().unzip();
    let server = Server::start(acts);
    let home = Home::new();
    for (row, right) in rights.iter().enumerate() {
        let delivery = home.deliver(&webhook(server.port), &one());
        assert!(right(&delivery), "row {row}: {delivery:?}");
    }
}

#[test]
fn what_breaks_off_after_the_request_is_unknown_and_before_it_failed() {
    let home = Home::new();
    // It has read the request, and closes: the answer may have been under way.
    let server = Server::start(vec![Act::Answer(String::new()), Act::Hang]);
    let mut sink = webhook(server.port);
    assert!(matches!(home.deliver(&sink, &one()), Delivery::Unknown(why) if why.contains("connection ended")));
    sink.timeout = Duration::from_millis(500);
    assert!(matches!(home.deliver(&sink, &one()), Delivery::Unknown(why) if why.contains("no answer within")));
    // Nobody listens.
    let port = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert!(why(home.deliver(&webhook(port), &one())).contains("refused"));
    // It lets us connect, and says nothing that TLS begins with.
    let mute = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    sink.url = Some(format!("https://127.0.0.1:{}/hidden", mute.local_addr().unwrap().port()));
    assert!(why(home.deliver(&sink, &one())).contains("no connection came about in time"));
}

#[test]
fn addresses_and_headers_that_are_none_are_told() {
    let home = Home::new();
    for (url, part) in [
        ("not a url", "is no URL"),
        ("ftp://host/hidden", "does not begin with https://HOST"),
        ("https:///hidden", "URL"),
        ("http://nowhere.invalid/hidden", "http://nowhere.invalid"),
    ] {
        let why = why(home.deliver(&sink(SinkKind::Webhook, url), &one()));
        assert!(why.contains(part), "{url}: {why}");
    }
    let mut sink = webhook(1);
    sink.headers = [("Content-Length".to_owned(), SECRET.to_owned())].into();
    assert!(why(home.deliver(&sink, &one())).contains("\"Content-Length\" cannot be sent"));
    sink.headers = [("X-A".to_owned(), format!("{SECRET}\r\nX: y"))].into();
    assert!(why(home.deliver(&sink, &one())).contains("\"X-A\" cannot be sent"));
    assert!(unreachable_why(&sink).unwrap().contains("\"X-A\""));
    sink.url = None;
    assert!(why(home.deliver(&sink, &one())).contains("write `url`"));
}

#[test]
fn a_certificate_that_nobody_trusts_is_told() {
    let server = Server::start_tls(vec![answer(200, "", "")]);
    let why = why(
        Home::new().deliver(&sink(SinkKind::Webhook, &format!("https://localhost:{}/hidden", server.port)), &one())
    );
    assert!(why.contains("certificate") && why.contains(&format!("https://localhost:{}", server.port)), "{why}");
}

#[test]
fn a_webhook_is_signed_and_has_its_headers() {
    let home = Home::new();
    let server = Server::start(vec![answer(204, "", "")]);
    let mut sink = webhook(server.port);
    sink.secret = home.secret(&format!("{SECRET}\n"));
    sink.headers =
        [("X-Source", "here"), ("idempotency-key", "not this")].map(|(n, v)| (n.to_owned(), v.to_owned())).into();
    assert_eq!(home.deliver(&sink, &one()), Delivery::Done { plain: false });
    let asked = server.asked();
    assert!(asked.head.starts_with("POST /hidden/"), "{}", asked.head);
    assert_eq!(asked.header("idempotency-key"), Some("0123456789ab.0"));
    assert_eq!(asked.header("content-type"), Some("application/json; charset=utf-8"));
    assert_eq!(asked.header("x-source"), Some("here"));
    assert_eq!(asked.header("user-agent"), Some(concat!("supervisor/", env!("CARGO_PKG_VERSION"))));
    let signature = asked.header("x-supervisor-signature").unwrap();
    let seconds = signature.strip_prefix("t=").and_then(|rest| rest.split_once(',')).unwrap().0.parse().unwrap();
    assert_eq!(super::webhook::signature(SECRET, seconds, &asked.body), signature);
    assert!((clock::now().wall_ms / 1000 - seconds).abs() < 60);
    assert_eq!(asked.body, super::webhook::json(&one(), "mac"));
}

#[test]
fn slack_gets_blocks_and_plain_text_when_it_refuses_them() {
    let home = Home::new();
    let server = Server::start(vec![
        answer(200, "", "ok"),
        answer(400, "", "invalid_blocks"),
        answer(200, "", "ok"),
        answer(400, "", "invalid_payload"),
        answer(400, "", "no_text"),
        answer(404, "", "no_service"),
        answer(429, "Retry-After: 30\r\n", "rate_limited"),
    ]);
    let mut sink = sink(SinkKind::Slack, "http://127.0.0.1:1/not-this");
    sink.secret = home.secret(&format!("http://127.0.0.1:{}/hidden/{SECRET}\n", server.port));
    let next = |message: &Message| home.deliver(&sink, message);
    assert_eq!(next(&one()), Delivery::Done { plain: false });
    assert!(server.asked().body.contains("\"blocks\""));
    assert_eq!(next(&digest(3)), Delivery::Done { plain: true });
    let (rich, plain) = (server.asked(), server.asked());
    assert!(rich.body.contains("\"blocks\"") && !plain.body.contains("\"blocks\""));
    assert_eq!(rich.header("idempotency-key"), plain.header("idempotency-key"));
    assert!(matches!(next(&one()), Delivery::Refused(why) if why.contains("no_text")));
    assert!(why(next(&one())).contains("no_service"));
    assert!(matches!(next(&one()), Delivery::Later { after, .. } if after == Duration::from_secs(30)));
}

#[test]
fn ntfy_gets_json_and_the_token() {
    let home = Home::new();
    let server = Server::start(vec![answer(200, "", "{}"), answer(401, "", "{\"error\":\"unauthorized\"}")]);
    let mut sink = sink(SinkKind::Ntfy, &format!("http://127.0.0.1:{}/topic", server.port));
    sink.secret = home.secret(SECRET);
    assert_eq!(home.deliver(&sink, &one()), Delivery::Done { plain: false });
    let asked = server.asked();
    assert!(asked.head.starts_with("POST / HTTP/1.1") && asked.body.contains("\"topic\":\"topic\""));
    assert_eq!(asked.header("authorization"), Some(format!("Bearer {SECRET}").as_str()));
    assert!(why(home.deliver(&sink, &one())).contains("is the secret right?"));
}

#[test]
fn a_secret_that_cannot_be_had_is_told_before_anything_is_sent() {
    let home = Home::new();
    let mut sink = webhook(1);
    sink.secret = Some(SecretSpec::File(home.file("open", SECRET, 0o644)));
    assert!(why(home.deliver(&sink, &one())).contains("run: chmod 600 "));
    assert!(unreachable_why(&sink).unwrap().contains("run: chmod 600 "));
    sink.secret = home.secret(SECRET);
    assert_eq!(unreachable_why(&sink), None);
    sink.url = Some("nothing".into());
    assert!(unreachable_why(&sink).unwrap().contains("does not begin with https://"));
    sink.kind = SinkKind::Email;
    assert!(unreachable_why(&sink).unwrap().contains("smtps://"));
    sink.url = Some("smtp://me@127.0.0.1:1/?to=a@b.example".into());
    assert_eq!(unreachable_why(&sink), None);
    sink.secret = None;
    assert_eq!(unreachable_why(&sink), Some(why(home.deliver(&sink, &one()))));
    sink.kind = SinkKind::Log;
    assert_eq!(unreachable_why(&sink), None);
    assert_eq!(home.deliver(&sink, &digest(2)), Delivery::Done { plain: false });
}

fn script(home: &Home, text: &str, timeout: Duration) -> SinkSpec {
    let path = home.file("on-alert", &format!("#!/bin/sh\n{text}\n"), 0o700);
    SinkSpec {
        command: vec![path.to_str().unwrap().to_owned(), "an argument".into()],
        timeout,
        ..SinkSpec::new(SinkKind::Command)
    }
}

#[test]
fn a_command_gets_json_a_small_environment_and_a_judgement() {
    let home = Home::new();
    let out = home.0.path().join("out");
    let text = format!("cat > {0}.json; env > {0}.env; echo \"$1\" > {0}.arg", out.display());
    assert_eq!(home.deliver(&script(&home, &text, LONG), &one()), Delivery::Done { plain: false });
    let read = |end: &str| fs::read_to_string(format!("{}.{end}", out.display())).unwrap();
    assert_eq!((read("json"), read("arg").as_str()), (super::webhook::json(&one(), "mac"), "an argument\n"));
    let environment = read("env");
    let mut names: Vec<&str> = environment.lines().filter_map(|line| Some(line.split_once('=')?.0)).collect();
    // A shell adds these.
    names.retain(|name| !["PWD", "OLDPWD", "SHLVL", "_", "__CF_USER_TEXT_ENCODING"].contains(name));
    assert!(
        names
            .iter()
            .all(|name| ["PATH", "HOME", "LANG", "TMPDIR", "USER"].contains(name)
                || name.starts_with("SUPERVISOR_ALERT_")),
        "{names:?}"
    );
    for line in ["ID=0123456789ab", "RULE=crash-loop", "SERVICE=gateway", "SEVERITY=critical", "KIND=fired"] {
        assert!(environment.contains(&format!("SUPERVISOR_ALERT_{line}\n")), "{environment}");
    }
    // Big input that nobody reads, and much output.
    let many = digest(2000);
    assert_eq!(home.deliver(&script(&home, "exit 0", LONG), &many), Delivery::Done { plain: false });
    let flood = "head -c 5000000 /dev/zero; head -c 5000000 /dev/zero >&2";
    assert_eq!(home.deliver(&script(&home, flood, LONG), &one()), Delivery::Done { plain: false });
    let text = format!("echo first >&2; echo \"token={SECRET}\" >&2; exit 75");
    let why_not = why(home.deliver(&script(&home, &text, LONG), &one()));
    assert!(why_not.contains("75") && why_not.ends_with("token=[redacted]"), "{why_not}");
}

#[test]
fn a_command_that_hangs_or_is_missing_is_told() {
    let home = Home::new();
    let sink = script(&home, "sleep 600 & echo $! > $(dirname $0)/child; wait", Duration::from_secs(1));
    assert!(matches!(home.deliver(&sink, &one()), Delivery::Unknown(why) if why.contains("did not end within 1 s")));
    // What it had started was ended with it.
    let child: i32 = fs::read_to_string(home.0.path().join("child")).unwrap().trim().parse().unwrap();
    crate::process::testing::wait_for("its child to end", || {
        use crate::process::identity::{State, state};
        matches!(state(child), State::Gone | State::Zombie(_)).then_some(())
    });
    let mut sink = script(&home, "", LONG);
    for (command, part) in [
        (vec!["/no/such/program".to_owned()], "does not exist"),
        (vec!["no-such-program".to_owned()], "PATH"),
        (vec!["./here".to_owned()], "no absolute path"),
        (vec![home.file("plain", "", 0o600).to_str().unwrap().to_owned()], "chmod +x"),
        (Vec::new(), "empty"),
    ] {
        sink.command = command;
        let why = why(home.deliver(&sink, &one()));
        assert!(why.contains(part), "{why}");
        assert_eq!(unreachable_why(&sink), Some(why));
    }
}

#[test]
fn the_dead_mans_switch_is_called_behind_its_path() {
    let server = Server::start(vec![
        answer(200, "", "OK"),
        answer(200, "", "OK"),
        answer(200, "", "OK"),
        answer(404, "", "not found"),
    ]);
    let url = format!("http://127.0.0.1:{}/hidden/{SECRET}/?a=b", server.port);
    let spec = DeadmanSpec { url: Some(url), secret: None, interval: LONG };
    for (kind, end) in [(Ping::Start, "/start?a=b"), (Ping::Success, "?a=b"), (Ping::Fail, "/fail?a=b")] {
        ping(&spec, kind, "what is wrong", LONG).unwrap();
        let asked = server.asked();
        assert!(asked.head.starts_with(&format!("POST /hidden/{SECRET}{end} HTTP/1.1")), "{}", asked.head);
        assert_eq!(asked.body, "what is wrong");
    }
    let why = ping(&spec, Ping::Success, "", LONG).unwrap_err();
    assert!(why.contains("404") && !why.contains(SECRET) && !why.contains("hidden"), "{why}");
    let home = Home::new();
    let none = DeadmanSpec { url: None, secret: home.secret("no url"), interval: LONG };
    assert!(ping(&none, Ping::Success, "", LONG).unwrap_err().contains("no URL"));
}
