use std::io::{BufRead, BufReader, Write};
use std::net::TcpListener;
use std::sync::mpsc::Receiver;

use super::*;
use crate::alert::testing::{LONG, Server, digest, notice};
use crate::model::NoticeKind;

/// A mail server that answers each command by its first word: with what stands here, or else with 250. It tells all that it
/// heard. An answer of "" hangs until the other side has enough.
fn server(answers: &'static [(&'static str, &'static str)]) -> (u16, Receiver<String>) {
    let listener = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = listener.local_addr().unwrap().port();
    let (tell, told) = mpsc::channel();
    std::thread::spawn(move || {
        let (mut stream, _) = listener.accept().unwrap();
        stream.set_read_timeout(Some(LONG)).unwrap();
        let mut lines = BufReader::new(stream.try_clone().unwrap()).lines();
        let mut heard = String::new();
        let answer = |word: &str, usual: &'static str| {
            answers.iter().find(|(there, _)| *there == word).map_or(usual, |(_, answer)| *answer)
        };
        let mut say = |text: &str| stream.write_all(format!("{text}\r\n").as_bytes()).is_ok();
        say(answer("", "220 fake"));
        let mut in_letter = false;
        while let Some(Ok(line)) = lines.next() {
            heard.push_str(&format!("{line}\n"));
            let word = line.split([' ', ':']).next().unwrap_or_default();
            let next = match (in_letter, line.as_str()) {
                (true, ".") => answer(".", "250 taken"),
                (true, _) => continue,
                (false, "DATA") => answer(word, "354 go on"),
                (false, _) => answer(word, if word == "AUTH" { "235 in" } else { "250 ok" }),
            };
            in_letter = line == "DATA" && next.starts_with('3');
            if next.is_empty() {
                continue;
            }
            if !say(next) {
                break;
            }
        }
        tell.send(heard).ok();
    });
    (port, told)
}

fn post(port: u16, user: &str) -> Post {
    Post::parse(&format!("smtp://{user}127.0.0.1:{port}/?to=you@example.org,me@example.org&from=it@example.org"))
        .unwrap()
}

fn one() -> Message {
    Message::One(Box::new(notice(NoticeKind::Fired)))
}

fn send_to(post: Post, password: Option<&str>, limit: Duration) -> Delivery {
    let delivery = send(post, password.map(str::to_owned), &one(), "mac.local", limit);
    assert!(!format!("{delivery:?}").contains("hunter2"), "{delivery:?}");
    delivery
}

#[test]
fn one_that_takes_it_has_all_of_it() {
    let (port, told) = server(&[("EHLO", "250-fake\r\n250 AUTH PLAIN LOGIN")]);
    assert_eq!(send_to(post(port, "me%40x@"), Some("hunter2"), LONG), Delivery::Done { plain: false });
    let heard = told.recv_timeout(LONG).unwrap();
    for part in [
        "EHLO mac.local\n",
        "AUTH PLAIN ",
        "MAIL FROM:<it@example.org>\nRCPT TO:<you@example.org>\nRCPT TO:<me@example.org>\nDATA\n",
        "From: it@example.org\n",
        "To: you@example.org, me@example.org\n",
        "Subject: [supervisor] gateway crashed 3 times within 5 min\n",
        "Message-ID: <0123456789ab.0@mac.local.supervisor.invalid>\n",
        "Content-Type: text/plain; charset=utf-8\n",
        "Error: listen EADDRINUSE",
        "\n.\nQUIT\n",
    ] {
        assert!(heard.contains(part), "{part} is not in\n{heard}");
    }
}

#[test]
fn each_refusal_means_what_it_should() {
    type Row = (&'static [(&'static str, &'static str)], &'static str, &'static str);
    let rows: [Row; 8] = [
        (&[("", "554 no service")], "failed", "554 to our greeting (no service)"),
        (&[("", "421 too busy")], "failed", "421"),
        (
            &[("EHLO", "250 AUTH PLAIN"), ("AUTH", "535 wrong hunter2")],
            "failed",
            "are the user and the password right?",
        ),
        (&[("EHLO", "250 AUTH PLAIN"), ("MAIL", "530 log in")], "failed", "wants a login"),
        (&[("EHLO", "250 AUTH PLAIN"), ("RCPT", "550 who?")], "failed", "is `to` right?"),
        (&[("EHLO", "250 AUTH PLAIN"), ("DATA", "451 later")], "failed", "451 to the letter"),
        (&[("EHLO", "250 AUTH PLAIN"), (".", "452 full")], "failed", "452 to the letter"),
        (&[("EHLO", "250 AUTH PLAIN"), (".", "554 spam")], "refused", "554 to the letter (spam)"),
    ];
    for (answers, end, part) in rows {
        let (port, _told) = server(answers);
        let delivery = send_to(post(port, "me@"), Some("hunter2"), LONG);
        let (is, why) = match &delivery {
            Delivery::Failed(why) => ("failed", why),
            Delivery::Refused(why) => ("refused", why),
            other => panic!("{other:?}"),
        };
        assert!(is == end && why.contains(part) && why.contains(&format!("127.0.0.1:{port}")), "{delivery:?}");
    }
}

#[test]
fn one_that_hangs_is_left_and_after_the_letter_nobody_knows() {
    let short = Duration::from_millis(500);
    let (port, _told) = server(&[("MAIL", "")]);
    assert!(matches!(send_to(post(port, ""), None, short), Delivery::Failed(why) if why.contains("no answer")));
    let (port, told) = server(&[(".", "")]);
    assert!(matches!(send_to(post(port, ""), None, short), Delivery::Unknown(why) if why.contains("no answer")));
    assert!(told.recv_timeout(LONG).unwrap().contains("\n.\n"));
    let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
    assert!(matches!(send_to(post(port, ""), None, LONG), Delivery::Failed(why) if why.contains("refused")));
}

#[test]
fn what_is_not_safe_is_not_used() {
    // Who cannot be trusted to be the one is not told anything.
    let tls = Server::start_tls(Vec::from([crate::alert::testing::Act::Hang]));
    let safe = Post::parse(&format!("smtps://localhost:{}/?to=a@b.example", tls.port)).unwrap();
    let delivery = send_to(safe, None, LONG);
    assert!(matches!(&delivery, Delivery::Failed(why) if why.contains("certificate")), "{delivery:?}");
    let (port, told) = server(&[]);
    let mut far = post(port, "me@");
    far.may_be_plain = false;
    assert!(matches!(send_to(far, Some("hunter2"), LONG), Delivery::Failed(why) if why.contains("STARTTLS")));
    assert!(!told.recv_timeout(LONG).unwrap().contains("AUTH"));
}

#[test]
fn no_text_gets_out_of_its_line() {
    let mut bad = notice(NoticeKind::Fired);
    bad.alert.title = "x\r\nBcc: evil@example.org\r\n\r\nbody".into();
    bad.key = "k\r\nX: y>".into();
    bad.alert.tail = vec![".".into(), "QUIT".into()];
    let post = post(25, "");
    let letter = letter(&post, &Message::One(Box::new(bad)), "ho st\r\n", clock::now()).unwrap();
    let letter = String::from_utf8(letter).unwrap();
    let (head, _) = letter.split_once("\r\n\r\n").unwrap();
    assert!(!head.lines().any(|line| line.starts_with("Bcc") || line.starts_with("X:")), "{head}");
    assert!(head.contains("Message-ID: <kXy@ho-st--.supervisor.invalid>"), "{head}");
    assert!(super::letter(&post, &digest(200), "mac", clock::now()).is_ok());
}

#[test]
fn an_address_says_all_or_what_it_lacks() {
    let whole = Post::parse("smtps://me%40b.c@mail.example/?to=a@b.c").unwrap();
    assert_eq!((whole.host.as_str(), whole.port, whole.tls), ("mail.example", 465, true));
    assert_eq!((whole.user.as_deref(), whole.from.email.to_string().as_str()), (Some("me@b.c"), "me@b.c"));
    assert_eq!(Post::parse("smtp://mail.example/?to=a@b.c").unwrap().port, 587);
    assert!(whole.lacks(false).unwrap().contains("secret_file") && whole.lacks(true).is_none());
    for (url, part) in [
        ("smtps://mail.example/", "does not say to whom"),
        ("http://mail.example/?to=a@b.c", "does not begin with smtps://"),
        ("smtps://me:hunter2@mail.example/?to=a@b.c", "has a password in it"),
        ("smtps://mail.example/?to=nobody", "`to` of the mail server's address"),
        ("smtps://mail.example/?to=a@b.c&x=y", "has no `x`"),
        ("smtps://mail.example/?to=a@b.c%0d%0aBcc:d@e.f", "control characters"),
        ("what", "smtps://"),
    ] {
        let why = Post::parse(url).unwrap_err();
        assert!(why.contains(part) && !why.contains("hunter2"), "{url}: {why}");
    }
}
