//! HTTP/1.1 GET over loopback.

use http_body_util::{BodyExt, Empty, Limited};
use hyper::body::Bytes;
use hyper::header::HOST;
use hyper::{Request, Uri};
use hyper_util::rt::TokioIo;
use tokio::net::TcpStream;

use crate::model::ProbeSpec;

/// Most of an answer that is read.
const MAX_BODY: usize = 64 * 1024;

/// Most of an answer's head.
const MAX_HEAD: usize = 16 * 1024;

pub(super) async fn get(url: &str, expect: &ProbeSpec) -> Result<(), String> {
    let uri: Uri = url.parse().map_err(|e| format!("{url}: {e}"))?;
    let authority = uri.authority().ok_or_else(|| format!("{url} names no host"))?.clone();
    let host = authority.host().trim_start_matches('[').trim_end_matches(']');
    let stream = TcpStream::connect((host, authority.port_u16().unwrap_or(80)))
        .await
        .map_err(|e| format!("cannot connect to {authority}: {e}"))?;
    let (mut sender, connection) = hyper::client::conn::http1::Builder::new()
        .max_buf_size(MAX_HEAD)
        .handshake(TokioIo::new(stream))
        .await
        .map_err(|e| format!("{authority}: {e}"))?;
    let driver = tokio::spawn(connection);
    let path = uri.path_and_query().map_or("/", hyper::http::uri::PathAndQuery::as_str);
    let request = Request::get(path)
        .header(HOST, authority.as_str())
        .header("connection", "close")
        .body(Empty::<Bytes>::new())
        .map_err(|e| format!("{url}: {e}"))?;
    let result = async {
        let answer = sender.send_request(request).await.map_err(|e| format!("{authority} gave no HTTP answer: {e}"))?;
        let status = answer.status().as_u16();
        if status != expect.expect_status {
            return Err(format!("{path} answered {status} instead of {}", expect.expect_status));
        }
        let body = Limited::new(answer.into_body(), MAX_BODY)
            .collect()
            .await
            .map_err(|e| format!("the answer of {path} is cut off or too long: {e}"))?;
        match &expect.expect_json {
            Some(wanted) => members(wanted, &body.to_bytes()).map_err(|why| format!("{path}: {why}")),
            None => Ok(()),
        }
    }
    .await;
    driver.abort();
    result
}

fn members(wanted: &serde_json::Map<String, serde_json::Value>, body: &[u8]) -> Result<(), String> {
    let found: serde_json::Value =
        serde_json::from_slice(body).map_err(|_| "the answer is not JSON (a web page on a wrong path?)".to_string())?;
    for (name, value) in wanted {
        match found.get(name) {
            Some(got) if got == value => {}
            Some(got) => return Err(format!("`{name}` is {got} instead of {value}")),
            None => return Err(format!("the answer has no member `{name}`")),
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::time::Duration;

    use super::*;
    use crate::machine::ProbeOutcome;
    use crate::model::ProbeKind;

    /// A server that answers each connection with the same bytes.
    fn serve(answer: &'static [u8]) -> String {
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/healthz?x=1", listener.local_addr().unwrap());
        std::thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let mut request = [0u8; 4096];
                let n = stream.read(&mut request).unwrap_or(0);
                assert!(request[..n].starts_with(b"GET /healthz?x=1 HTTP/1.1\r\n"));
                let _ = stream.write_all(answer);
            }
        });
        url
    }

    async fn ask(url: String, json: Option<serde_json::Value>) -> ProbeOutcome {
        let expect_json = json.map(|v| v.as_object().unwrap().clone());
        let probe = ProbeSpec { kind: ProbeKind::Http(url), expect_status: 200, expect_json };
        crate::probe::ask(&probe, Duration::from_secs(5)).await
    }

    fn why(outcome: ProbeOutcome) -> String {
        match outcome {
            ProbeOutcome::Fail(why) => why,
            ProbeOutcome::Pass(_) => "pass".into(),
        }
    }

    #[tokio::test]
    async fn answers_and_what_they_mean() {
        let ok = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 27\r\n\r\n{\"ok\":true,\"status\":\"live\"}");
        assert_eq!(why(ask(ok.clone(), None).await), "pass");
        assert_eq!(why(ask(ok.clone(), Some(serde_json::json!({"ok": true}))).await), "pass");
        assert!(why(ask(ok.clone(), Some(serde_json::json!({"ok": false}))).await).contains("instead of false"));
        assert!(why(ask(ok, Some(serde_json::json!({"ready": true}))).await).contains("no member `ready`"));
        let page = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 6\r\n\r\n<html>");
        assert!(why(ask(page, Some(serde_json::json!({"ok": true}))).await).contains("not JSON"));
        let moved = serve(b"HTTP/1.1 302 Found\r\nlocation: /\r\ncontent-length: 0\r\n\r\n");
        assert!(why(ask(moved, None).await).contains("302 instead of 200"));
        let garbage = serve(b"\x16\x03\x01 what\r\n\r\n");
        assert!(why(ask(garbage, None).await).contains("no HTTP answer"));
        let cut = serve(b"HTTP/1.1 200 OK\r\ncontent-length: 100\r\n\r\nshort");
        assert!(why(ask(cut, None).await).contains("cut off"));
        let closed = std::net::TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap();
        assert!(why(ask(format!("http://{closed}/"), None).await).contains("cannot connect"));
    }

    #[tokio::test]
    async fn a_listener_that_never_answers_is_no_pass() {
        let silent = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}/", silent.local_addr().unwrap());
        let probe = ProbeSpec { kind: ProbeKind::Http(url), expect_status: 200, expect_json: None };
        let outcome = crate::probe::ask(&probe, Duration::from_millis(100)).await;
        assert_eq!(why(outcome), "no whole answer within 100 ms");
    }
}
