//! One HTTP request, and what its end says about the message.

use std::error::Error as StdError;
use std::io::{self, Read};
use std::sync::{Arc, LazyLock};
use std::time::Duration;

use rustls::CertificateError;
use ureq::http::{HeaderMap, HeaderName, HeaderValue, Request, Uri, header};
use ureq::tls::{RootCerts, TlsConfig, TlsProvider};
use ureq::{Agent, SendBody};

use super::secret::shut;
use crate::model::{Delivery, SecretSpec};
use crate::process::clock;

/// The most that is read of an answer, bytes.
const MOST: u64 = 64 << 10;

/// A longer wait than this is no wait but a mistake.
const LONGEST_WAIT: Duration = Duration::from_secs(24 * 3600);

/// What every request says who is.
pub(super) const USER_AGENT: &str = concat!("supervisor/", env!("CARGO_PKG_VERSION"));

/// The system is asked once whom it trusts. Connections are not kept: one that the other side has closed meanwhile would look
/// like a request whose end is unknown.
static AGENT: LazyLock<Agent> = LazyLock::new(|| agent(RootCerts::PlatformVerifier));

fn agent(trusted: RootCerts) -> Agent {
    let tls = TlsConfig::builder()
        .provider(TlsProvider::Rustls)
        .unversioned_rustls_crypto_provider(Arc::new(rustls::crypto::ring::default_provider()))
        .root_certs(trusted)
        .build();
    Agent::config_builder()
        .tls_config(tls)
        .http_status_as_error(false)
        .max_redirects(0)
        .max_redirects_will_error(false)
        .max_idle_connections(0)
        .build()
        .new_agent()
}

/// An address to POST to. Its path and query may be secret, and are not shown.
#[derive(Clone)]
pub(super) struct Address(Uri);

impl Address {
    pub(super) fn parse(text: &str) -> Result<Self, String> {
        let uri: Uri = text.parse().map_err(|_| "the address is no URL: write https://HOST/...".to_owned())?;
        match uri.scheme_str() {
            Some("http" | "https") if uri.host().is_some_and(|host| !host.is_empty()) => Ok(Self(uri)),
            _ => Err("the address does not begin with https://HOST or http://HOST".to_owned()),
        }
    }

    /// The same with another path; the query stays.
    pub(super) fn with_path(&self, path: &str) -> Result<Self, String> {
        let query = self.0.query().map_or(String::new(), |query| format!("?{query}"));
        let authority = self.0.authority().map_or("", |authority| authority.as_str());
        Self::parse(&format!("{}://{authority}{path}{query}", self.0.scheme_str().unwrap_or_default()))
    }

    pub(super) fn path(&self) -> &str {
        self.0.path()
    }

    /// Scheme, host and port.
    pub(super) fn shown(&self) -> String {
        let port = self.0.port_u16().map_or(String::new(), |port| format!(":{port}"));
        format!("{}://{}{port}", self.0.scheme_str().unwrap_or_default(), self.0.host().unwrap_or_default())
    }

    /// What of it must not be shown, as long as it could not be anything else.
    pub(super) fn secrets(&self) -> Vec<&str> {
        let path = self.0.path_and_query().map_or("", |path| path.as_str());
        let login = self.0.authority().and_then(|a| a.as_str().rsplit_once('@')).map_or("", |(login, _)| login);
        // A part that is a word is in other texts too, and no secret.
        let parts = path.split(['/', '?', '&', '=']);
        let parts = parts.filter(|part| part.len() >= 12 || part.contains(|c: char| c.is_ascii_digit()));
        [path, login].into_iter().chain(parts).filter(|part| part.len() >= 6).collect()
    }

    fn is_loopback(&self) -> bool {
        let host = self.0.host().unwrap_or_default().trim_matches(['[', ']']);
        host == "localhost" || host.parse().is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
    }
}

/// What came back.
pub(super) struct Answer {
    status: u16,
    /// How long it asks to be left alone.
    retry_after: Option<Duration>,
    /// Where it sends us: scheme and host.
    location: Option<String>,
    /// What it says, shortened.
    pub(super) said: String,
}

/// Why nothing came back.
pub(super) struct Trouble {
    why: String,
    /// Whether some of the message had left.
    sent: bool,
}

/// POSTs `body`. Ends within `limit`.
pub(super) fn post(to: &Address, headers: &HeaderMap, body: &[u8], limit: Duration) -> Result<Answer, Trouble> {
    post_by(&AGENT, to, headers, body, limit)
}

fn post_by(agent: &Agent, to: &Address, headers: &HeaderMap, body: &[u8], limit: Duration) -> Result<Answer, Trouble> {
    let mut watched = Watched { body, was_read: false };
    let mut request = Request::post(to.0.clone());
    if let Some(there) = request.headers_mut() {
        there.insert(header::USER_AGENT, HeaderValue::from_static(USER_AGENT));
        there.extend(headers.clone());
        there.insert(header::CONTENT_LENGTH, HeaderValue::from(body.len()));
    }
    let unsent = |why: String| Trouble { why, sent: false };
    let request = request
        .body(SendBody::from_reader(&mut watched))
        .map_err(|e| unsent(format!("no request can be made: {e}")))?;
    // So that a connection that does not come about is told apart from an answer that does not.
    let part = limit * 2 / 5;
    let config = agent.configure_request(request).timeout_global(Some(limit));
    let config = config.timeout_resolve(Some(part)).timeout_connect(Some(part));
    let config = if to.is_loopback() { config.proxy(None) } else { config };
    let request = config.build();
    match agent.run(request) {
        Ok(mut answer) => {
            let status = answer.status().as_u16();
            let headers = std::mem::take(answer.headers_mut());
            let said = if (200..300).contains(&status) { String::new() } else { words(answer.body_mut()) };
            Ok(Answer { status, retry_after: retry_after(&headers), location: location(&headers), said })
        }
        Err(error) => {
            let why = why_not(&error, limit);
            let answered_otherwise = matches!(error, ureq::Error::Protocol(_) | ureq::Error::LargeResponseHeader(..));
            Err(Trouble { why: format!("{}: {why}", to.shown()), sent: watched.was_read && !answered_otherwise })
        }
    }
}

/// The message, and whether any of it was taken.
struct Watched<'a> {
    body: &'a [u8],
    was_read: bool,
}

impl Read for Watched<'_> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        self.was_read = true;
        self.body.read(buffer)
    }
}

/// The first line of an answer that has words.
fn words(body: &mut ureq::Body) -> String {
    let mut said = Vec::new();
    // The status is known; what breaks off is as good as nothing.
    let _ = body.as_reader().take(MOST).read_to_end(&mut said);
    let said = String::from_utf8_lossy(&said);
    let line = said.lines().map(str::trim).find(|line| !line.is_empty()).unwrap_or_default();
    line.chars().take(200).collect()
}

/// Seconds, or a date; that is compared with the date of the answer, since their clock and ours may differ.
fn retry_after(headers: &HeaderMap) -> Option<Duration> {
    let text = |name| headers.get(name).and_then(|value: &HeaderValue| value.to_str().ok()).map(str::trim);
    let wanted = text(header::RETRY_AFTER)?;
    let wait = match wanted.parse::<u64>() {
        Ok(seconds) => Duration::from_secs(seconds),
        Err(_) => {
            let until = httpdate::parse_http_date(wanted).ok()?;
            let ours =
                || std::time::UNIX_EPOCH + Duration::from_millis(u64::try_from(clock::now().wall_ms).unwrap_or(0));
            let now = text(header::DATE).and_then(|date| httpdate::parse_http_date(date).ok()).unwrap_or_else(ours);
            until.duration_since(now).unwrap_or_default()
        }
    };
    Some(wait.min(LONGEST_WAIT))
}

fn location(headers: &HeaderMap) -> Option<String> {
    let text = headers.get(header::LOCATION)?.to_str().ok()?;
    Address::parse(text).ok().map(|address| address.shown())
}

/// The error as a person can read it. What a library adds to it may have the whole address in it.
fn why_not(error: &ureq::Error, limit: Duration) -> String {
    use ureq::{Error, Timeout};
    if let Some(certificate) = certificate(error) {
        return certificate;
    }
    match error {
        Error::HostNotFound => "its address is not found: the name is wrong, or there is no network".to_owned(),
        Error::Timeout(Timeout::Resolve) => "its address was not found in time: there may be no network".to_owned(),
        Error::Timeout(Timeout::Connect) => "no connection came about in time".to_owned(),
        Error::Timeout(_) => no_answer_within(limit),
        Error::Io(error) => io_words(error),
        Error::Rustls(error) => tls_words(error),
        Error::Tls(why) => format!("no safe connection came about: {why}"),
        Error::Protocol(_) | Error::LargeResponseHeader(..) => "what answers there does not speak HTTP".to_owned(),
        Error::ConnectionFailed => "no connection came about".to_owned(),
        Error::ConnectProxyFailed(_) | Error::InvalidProxyUrl => {
            "the proxy of the environment (HTTPS_PROXY, HTTP_PROXY) does not let us through".to_owned()
        }
        Error::Http(_) | Error::BadUri(_) => "its address or one of the headers cannot be sent".to_owned(),
        _ => "the request did not come to its end".to_owned(),
    }
}

/// That nothing was answered. What is left of a limit is a little less than what was written.
pub(super) fn no_answer_within(limit: Duration) -> String {
    format!("no answer within {} s", (limit.as_secs_f64() * 10.0).round() / 10.0)
}

/// The system's words for what ended a connection.
pub(super) fn io_words(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::ConnectionRefused => "the connection was refused: nothing listens there".to_owned(),
        io::ErrorKind::ConnectionReset | io::ErrorKind::BrokenPipe | io::ErrorKind::ConnectionAborted => {
            "the connection was reset".to_owned()
        }
        io::ErrorKind::UnexpectedEof => "the connection ended before an answer".to_owned(),
        io::ErrorKind::TimedOut | io::ErrorKind::WouldBlock => "no answer in time".to_owned(),
        io::ErrorKind::NetworkUnreachable | io::ErrorKind::HostUnreachable => "no network leads there".to_owned(),
        _ => match error.get_ref().and_then(|inner| inner.downcast_ref()) {
            Some(error) => tls_words(error),
            None => error.to_string(),
        },
    }
}

fn tls_words(error: &rustls::Error) -> String {
    match error {
        rustls::Error::InvalidMessage(_) => "what answers there does not speak TLS: is the port right?".to_owned(),
        error => format!("no safe connection came about: {error}"),
    }
}

/// What is wrong with the certificate, if it is that.
pub(super) fn certificate(error: &(dyn StdError + 'static)) -> Option<String> {
    let mut next = Some(error);
    while let Some(error) = next {
        // An io::Error says what is in it only when asked so.
        if let Some(inner) = error.downcast_ref::<io::Error>().and_then(io::Error::get_ref) {
            return certificate(inner);
        }
        let rustls = match error.downcast_ref::<ureq::Error>() {
            Some(ureq::Error::Rustls(inner)) => Some(inner),
            Some(ureq::Error::Io(inner)) => return certificate(inner),
            _ => error.downcast_ref::<rustls::Error>(),
        };
        if let Some(rustls::Error::InvalidCertificate(what)) = rustls {
            return Some(format!("its certificate is invalid: {}", what_is_wrong(what)));
        }
        next = error.source();
    }
    None
}

fn what_is_wrong(what: &CertificateError) -> String {
    match what {
        CertificateError::Expired | CertificateError::ExpiredContext { .. } => "it has expired".to_owned(),
        CertificateError::NotValidYet | CertificateError::NotValidYetContext { .. } => {
            "it is not valid yet, or this machine's clock is wrong".to_owned()
        }
        CertificateError::UnknownIssuer => {
            "nobody whom this system trusts has signed it (self-signed, or an issuer that is not installed here)"
                .to_owned()
        }
        CertificateError::NotValidForName | CertificateError::NotValidForNameContext { .. } => {
            "it is for another host name".to_owned()
        }
        CertificateError::Revoked => "it was revoked".to_owned(),
        other => other.to_string(),
    }
}

/// What the end of the request means. `secrets` are not shown; `secret` is where the one is kept that proves who we are.
pub(super) fn judge(
    ended: Result<Answer, Trouble>,
    to: &Address,
    secrets: &[&str],
    secret: Option<&SecretSpec>,
) -> Delivery {
    let shut = |text: &str| shut(text, secrets);
    let answer = match ended {
        Ok(answer) => answer,
        Err(trouble) if trouble.sent => return Delivery::Unknown(shut(&trouble.why)),
        Err(trouble) => return Delivery::Failed(shut(&trouble.why)),
    };
    let (host, status) = (to.shown(), answer.status);
    let said = if answer.said.is_empty() { String::new() } else { format!(" ({})", answer.said) };
    let proof = if secret.is_some() { "is the secret right?" } else { "does it want a secret?" };
    let failed = |why: &str| Delivery::Failed(shut(&format!("{host} answers {status}{said}: {why}")));
    match (status, answer.retry_after) {
        (200..=299, _) => Delivery::Done { plain: false },
        (429 | 500..=599, Some(after)) => Delivery::Later {
            after,
            why: shut(&format!("{host} answers {status}{said}, and wants {} s of rest", after.as_secs())),
        },
        (300..=399, _) => {
            let place = answer.location.filter(|place| *place != host).unwrap_or_else(|| "another path".to_owned());
            failed(&format!("it redirects to {place}: write the address that it leads to"))
        }
        (400 | 406 | 411 | 413 | 415 | 422, _) => {
            Delivery::Refused(shut(&format!("{host} answers {status}{said}: it does not take this message")))
        }
        (401 | 407, _) => failed(proof),
        (403, _) => failed(&format!("it does not let us in; {proof}")),
        (404 | 410, _) => failed("there is nothing at this address (any more): is it right?"),
        (405, _) => failed("nothing takes a POST at this address: is it right?"),
        (429, None) => failed("it was asked too often"),
        (500..=599, None) => failed("it has trouble of its own"),
        _ => failed("this is not how a receiver of alerts answers: is the address right?"),
    }
}

/// Puts a header of the configuration into the request.
pub(super) fn set(headers: &mut HeaderMap, name: &str, value: &str) -> Result<(), String> {
    let refused = |why: &str| format!("the header {name:?} cannot be sent: {why}");
    let reserved = ["content-length", "transfer-encoding", "connection", "expect", "upgrade", "te", "trailer"];
    if reserved.iter().any(|reserved| name.eq_ignore_ascii_case(reserved)) {
        return Err(refused("it belongs to the connection; take it out"));
    }
    let name: HeaderName = name.parse().map_err(|_| refused("that is no name of a header"))?;
    let value: HeaderValue = value.parse().map_err(|_| refused("its value has characters that no header has"))?;
    headers.insert(name, value);
    Ok(())
}

#[cfg(test)]
mod tests {
    use ureq::tls::Certificate;

    use super::*;
    use crate::alert::testing::{LONG, Server, answer, self_signed};

    fn ask(trusted: RootCerts, host: &str) -> Result<Answer, Trouble> {
        let server = Server::start_tls(vec![answer(200, "", "")]);
        let to = Address::parse(&format!("https://{host}:{}/", server.port)).unwrap();
        post_by(&agent(trusted), &to, &HeaderMap::new(), b"{}", LONG)
    }

    #[test]
    fn who_is_trusted_is_talked_to_by_name_and_nobody_else() {
        let (certificate, _) = self_signed();
        let known = || RootCerts::from(vec![Certificate::from_der(&certificate).to_owned()]);
        assert!(matches!(ask(known(), "localhost"), Ok(Answer { status: 200, .. })));
        for (trusted, host, part) in
            [(known(), "127.0.0.1", "for another host name"), (RootCerts::from(Vec::new()), "localhost", "self-signed")]
        {
            let Err(trouble) = ask(trusted, host) else { panic!("{host}") };
            assert!(
                trouble.why.contains("its certificate is invalid: ") && trouble.why.contains(part),
                "{}",
                trouble.why
            );
            assert!(!trouble.sent);
        }
    }

    #[test]
    fn what_is_wrong_with_a_certificate_is_in_words() {
        for (what, part) in [
            (CertificateError::Expired, "expired"),
            (CertificateError::NotValidYet, "clock"),
            (CertificateError::Revoked, "revoked"),
        ] {
            let error = ureq::Error::Rustls(rustls::Error::InvalidCertificate(what));
            assert!(why_not(&error, LONG).contains(part));
        }
    }

    #[test]
    fn what_stood_in_the_way_is_in_words() {
        // What a library hands back is what is left of the limit.
        let left = Duration::from_micros(2_999_919);
        assert_eq!(why_not(&ureq::Error::Timeout(ureq::Timeout::RecvResponse), left), "no answer within 3 s");
        let plain = rustls::Error::InvalidMessage(rustls::InvalidMessage::InvalidContentType);
        let error = ureq::Error::Io(io::Error::new(io::ErrorKind::InvalidData, plain));
        assert_eq!(why_not(&error, LONG), "what answers there does not speak TLS: is the port right?");
    }

    #[test]
    fn an_address_shows_its_host_only() {
        let address =
            Address::parse("https://me:pw1234@h.example:8443/services/T0123/abcdefghijkl?token=x1y2z3").unwrap();
        assert_eq!(address.shown(), "https://h.example:8443");
        for part in ["me:pw1234", "abcdefghijkl", "x1y2z3"] {
            assert!(address.secrets().contains(&part), "{part}");
        }
        assert!(!address.secrets().contains(&"services"));
        assert_eq!(address.with_path("/a").unwrap().0, "https://me:pw1234@h.example:8443/a?token=x1y2z3");
    }
}
