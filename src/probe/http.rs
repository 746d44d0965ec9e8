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
