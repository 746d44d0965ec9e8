//! Mail by SMTP.

use std::error::Error as StdError;
use std::io;
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, atomic::AtomicBool, atomic::Ordering};
use std::time::{Duration, UNIX_EPOCH};

use lettre::address::Envelope;
use lettre::message::header::ContentType;
use lettre::message::{Mailbox, MessageBuilder};
use lettre::transport::smtp::Error;
use lettre::transport::smtp::authentication::{Credentials, Mechanism};
use lettre::transport::smtp::client::{SmtpConnection, TlsParameters};
use lettre::transport::smtp::commands::{Data, Mail, Rcpt};
use lettre::transport::smtp::extension::ClientId;
use ureq::http::Uri;

use super::secret::shut;
use super::{http, text};
use crate::model::{Delivery, Message, Moment, Mono};
use crate::process::clock;

/// The longest subject, characters.
const SUBJECT: usize = 200;

/// Where mail goes, from `smtps://user@host:465/?to=a@b&from=c@d`.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Post {
    host: String,
    port: u16,
    /// From the first byte on; otherwise after STARTTLS.
    tls: bool,
    /// Nobody else hears what is said to this machine itself.
    may_be_plain: bool,
    user: Option<String>,
    from: Mailbox,
    to: Vec<Mailbox>,
}

impl Post {
    pub(super) fn parse(url: &str) -> Result<Self, String> {
        const FORM: &str = "write smtps://USER@HOST/?to=YOU@HOST&from=SUPERVISOR@HOST";
        let uri: Uri = url.parse().map_err(|_| format!("the address of the mail server is no URL: {FORM}"))?;
        let tls = match uri.scheme_str() {
            Some("smtps") => true,
            Some("smtp") => false,
            _ => return Err(format!("the address of the mail server does not begin with smtps:// or smtp://: {FORM}")),
        };
        let host =
            uri.host().filter(|host| !host.is_empty()).ok_or_else(|| format!("no mail server is named: {FORM}"))?;
        let host = host.trim_matches(['[', ']']).to_owned();
        let login = uri.authority().and_then(|all| all.as_str().rsplit_once('@')).map(|(login, _)| login);
        if login.is_some_and(|login| login.contains(':')) {
            return Err("the address of the mail server has a password in it: put it into a `secret_file`".to_owned());
        }
        let user = login.map(decoded).transpose()?;
        let mailbox = |what: &str, text: &str| {
            text.parse::<Mailbox>()
                .map_err(|_| format!("`{what}` of the mail server's address is no mail address: {FORM}"))
        };
        let (mut from, mut to) = (None, Vec::new());
        for pair in uri.query().unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = decoded(value)?;
            match name {
                "from" => from = Some(mailbox("from", &value)?),
                "to" => {
                    to.extend(value.split(',').map(|one| mailbox("to", one.trim())).collect::<Result<Vec<_>, _>>()?)
                }
                other => return Err(format!("the mail server's address has no `{}`: {FORM}", shut(other, &[]))),
            }
        }
        if to.is_empty() {
            return Err(format!("the mail server's address does not say to whom: {FORM}"));
        }
        // Many servers take mail only from who has logged in.
        let from = match (from, &user) {
            (Some(from), _) => from,
            (None, Some(user)) if user.contains('@') => mailbox("user", user)?,
            (None, _) => to[0].clone(),
        };
        let may_be_plain = host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback());
        let port = uri.port_u16().unwrap_or(if tls { 465 } else { 587 });
        Ok(Self { host, port, tls, may_be_plain, user, from, to })
    }

    /// What it lacks besides, when this is all that is declared.
    pub(super) fn lacks(&self, has_secret: bool) -> Option<&'static str> {
        (self.user.is_some() && !has_secret).then_some("a user is named but no secret: write a `secret_file`")
    }

    fn shown(&self) -> String {
        format!("the mail server {}:{}", self.host, self.port)
    }
}

fn decoded(text: &str) -> Result<String, String> {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |at: usize| rest.get(at).and_then(|c| char::from(*c).to_digit(16)).and_then(|d| u8::try_from(d).ok());
        match (first, hex(1), hex(2)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(high * 16 + low);
                rest = &rest[3..];
            }
            _ => {
                bytes.push(*first);
                rest = after;
            }
        }
    }
    let text = String::from_utf8(bytes).map_err(|_| "the mail server's address is no UTF-8".to_owned())?;
    if text.chars().any(char::is_control) {
        return Err("the mail server's address has control characters in it: take them out".to_owned());
    }
    Ok(text)
}

/// The mail. Whatever is in the message stays in the subject's line and in the body.
fn letter(post: &Post, message: &Message, host: &str, now: Moment) -> Result<Vec<u8>, String> {
    let one_line = |text: &str| text.chars().map(|c| if c.is_control() { ' ' } else { c }).collect::<String>();
    let subject = format!("[supervisor] {}", text::shorten(&one_line(&text::subject(message)), SUBJECT));
    // The same notice is the same letter, and is seen to be one.
    let key: String = message.key().chars().filter(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-')).collect();
    let domain: String =
        host.chars().map(|c| if c.is_ascii_alphanumeric() || matches!(c, '.' | '-') { c } else { '-' }).collect();
    let domain = domain.trim_matches('.');
    let mut builder = MessageBuilder::new()
        .from(post.from.clone())
        .subject(subject)
        .message_id(Some(format!("<{key}@{}.supervisor.invalid>", if domain.is_empty() { "host" } else { domain })))
        .date(UNIX_EPOCH + Duration::from_millis(u64::try_from(now.wall_ms).unwrap_or(0)))
        .header(ContentType::TEXT_PLAIN);
    for to in &post.to {
        builder = builder.to(to.clone());
    }
    let letter = builder.body(text::full(message, host)).map_err(|e| format!("no mail can be made of it: {e}"))?;
    Ok(letter.formatted())
}

/// Sends it. The library's steps are bounded one by one and its looking up of names is not, so it is done on a thread that is
/// left alone when the time is over; it ends with the step that it is at.
pub(super) fn send(post: Post, password: Option<String>, message: &Message, host: &str, limit: Duration) -> Delivery {
    let now = clock::now();
    let secrets: Vec<&str> = password.as_deref().into_iter().collect();
    let letter = match letter(&post, message, host, now) {
        Ok(letter) => letter,
        Err(why) => return Delivery::Refused(shut(&why, &secrets)),
    };
    let shown = post.shown();
    let sent = Arc::new(AtomicBool::new(false));
    let (tell, told) = mpsc::channel();
    let work = {
        let (sent, end, host) = (Arc::clone(&sent), now.mono.plus(limit), host.to_owned());
        let password = password.clone();
        move || {
            let ended = talk(&post, password, &letter, &host, end, &sent);
            // Who does not wait any more has told its own end.
            tell.send(ended).ok();
        }
    };
    if let Err(e) = std::thread::Builder::new().name("mail".to_owned()).spawn(work) {
        return Delivery::Failed(format!("no thread for the mail could be started: {e}"));
    }
    let unclear = |why: &str| {
        let why = shut(&format!("{shown}: {why}"), &secrets);
        if sent.load(Ordering::SeqCst) { Delivery::Unknown(why) } else { Delivery::Failed(why) }
    };
    match told.recv_timeout(limit) {
        Ok(Ok(())) => Delivery::Done { plain: false },
        Ok(Err(Stopped::OutOfTime)) | Err(RecvTimeoutError::Timeout) => unclear(&http::no_answer_within(limit)),
        Ok(Err(Stopped::Here(why))) => Delivery::Failed(shut(&format!("{shown}: {why}"), &secrets)),
        Ok(Err(Stopped::There { step, error })) => match error.status().map(|code| (code.to_string(), words(&error))) {
            Some((code, said)) => {
                let why =
                    shut(&format!("{shown} answers {code} to {}{said}{}", step.name(), step.advice(&code)), &secrets);
                if error.is_permanent() && step.is_final(&code) {
                    Delivery::Refused(why)
                } else {
                    Delivery::Failed(why)
                }
            }
            None => unclear(&trouble(&error)),
        },
        Err(RecvTimeoutError::Disconnected) => unclear("the talk with it broke off"),
    }
}

/// What it was told last.
#[derive(Debug, Clone, Copy)]
enum Step {
    Hello,
    Tls,
    Login,
    From,
    To,
    Letter,
}

impl Step {
    fn name(self) -> &'static str {
        match self {
            Self::Hello => "our greeting",
            Self::Tls => "STARTTLS",
            Self::Login => "the login",
            Self::From => "the sender",
            Self::To => "the recipient",
            Self::Letter => "the letter",
        }
    }

    fn advice(self, code: &str) -> &'static str {
        match (self, code) {
            (Self::Login, _) => ": are the user and the password right?",
            (_, "530") => ": it wants a login: write smtps://USER@... and a `secret_file`",
            (Self::From, _) => ": may this user send as `from`?",
            (Self::To, _) => ": is `to` right?",
            _ => "",
        }
    }

    /// Whether a "never" to it is about the letter; what is wrong with an address or a login can be mended.
    fn is_final(self, code: &str) -> bool {
        matches!(self, Self::Letter) && code != "530"
    }
}

/// Why the talk ended.
enum Stopped {
    OutOfTime,
    /// By us.
    Here(String),
    There {
        step: Step,
        error: Error,
    },
}

fn talk(
    post: &Post,
    password: Option<String>,
    letter: &[u8],
    host: &str,
    end: Mono,
    sent: &AtomicBool,
) -> Result<(), Stopped> {
    let left = || match end.since(clock::now().mono) {
        Duration::ZERO => Err(Stopped::OutOfTime),
        left => Ok(left),
    };
    let at = |step| move |error| Stopped::There { step, error };
    let tls = TlsParameters::new_rustls(post.host.clone()).map_err(at(Step::Tls))?;
    let name = host.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '.' | '-'));
    let hello = ClientId::Domain(if name && !host.is_empty() { host.to_owned() } else { "localhost".to_owned() });
    let first = post.tls.then_some(&tls);
    let mut server = SmtpConnection::connect((post.host.as_str(), post.port), Some(left()?), &hello, first, None)
        .map_err(at(Step::Hello))?;
    let timed =
        |server: &mut SmtpConnection| server.set_timeout(Some(left()?)).map_err(|e| Stopped::Here(http::io_words(&e)));
    if !post.tls && server.can_starttls() {
        timed(&mut server)?;
        server.starttls(&tls, &hello).map_err(at(Step::Tls))?;
    }
    if !server.is_encrypted() && !post.may_be_plain {
        return Err(Stopped::Here(
            "it does not offer STARTTLS, and nothing is sent in the clear: write smtps://".to_owned(),
        ));
    }
    match (&post.user, password) {
        (Some(user), Some(password)) => {
            timed(&mut server)?;
            let login = Credentials::new(user.clone(), password);
            server.auth(&[Mechanism::Plain, Mechanism::Login], &login).map_err(at(Step::Login))?;
        }
        (Some(_), None) => {
            return Err(Stopped::Here("a user is named but no secret: write a `secret_file`".to_owned()));
        }
        (None, _) => {}
    }
    let addresses = post.to.iter().map(|to| to.email.clone()).collect();
    let envelope = Envelope::new(Some(post.from.email.clone()), addresses).map_err(|e| Stopped::Here(e.to_string()))?;
    timed(&mut server)?;
    server.command(Mail::new(envelope.from().cloned(), Vec::new())).map_err(at(Step::From))?;
    for to in envelope.to() {
        timed(&mut server)?;
        server.command(Rcpt::new(to.clone(), Vec::new())).map_err(at(Step::To))?;
    }
    timed(&mut server)?;
    server.command(Data).map_err(at(Step::Letter))?;
    timed(&mut server)?;
    sent.store(true, Ordering::SeqCst);
    server.message(letter).map_err(at(Step::Letter))?;
    // It has the letter; whether it hears the goodbye is its own affair.
    if timed(&mut server).is_ok() {
        server.quit().ok();
    }
    Ok(())
}

/// What the server said with its number.
fn words(error: &Error) -> String {
    error.source().map(|said| format!(" ({said})")).unwrap_or_default()
}

fn trouble(error: &Error) -> String {
    if let Some(certificate) = http::certificate(error) {
        return certificate;
    }
    let mut next: Option<&(dyn StdError + 'static)> = Some(error);
    while let Some(error) = next {
        if let Some(error) = error.downcast_ref::<io::Error>() {
            return http::io_words(error);
        }
        next = error.source();
    }
    error.to_string()
}

#[cfg(test)]
#[path = "mail_tests.rs"]
mod tests;
