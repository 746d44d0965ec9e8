//! The few parts of HTTP/1.1 that a client of one trusted, local server needs: write one request, read one answer.
//!
//! It is blocking so that `status` has no runtime to start, and bounded so that a broken server cannot fill memory.

use std::io::{self, Read};

/// Longest head of an answer, and longest line before a chunk.
const MAX_HEAD: usize = 64 * 1024;

/// Most header lines in an answer.
const MAX_HEADERS: usize = 64;

/// A complete answer.
#[derive(Debug, PartialEq, Eq)]
pub struct Answer {
    /// 200, 404, ...
    pub status: u16,
    /// All of it.
    pub body: Vec<u8>,
}

/// Why there is no complete answer.
#[derive(Debug, thiserror::Error)]
pub enum HttpFault {
    /// Reading failed; a time-out is `WouldBlock` or `TimedOut`.
    #[error("{0}")]
    Io(#[from] io::Error),
    /// The server went away in the middle.
    #[error("the connection was closed before the answer was complete")]
    ClosedEarly,
    /// Not HTTP, or not as the standard (RFC 9112) has it.
    #[error("the answer is not HTTP/1.1: {0}")]
    Garbage(String),
    /// More than the limit.
    #[error("the answer is longer than {0} bytes")]
    TooLong(usize),
}

/// The bytes of one request. The connection is closed after the answer, as each command asks once.
pub fn request(method: &str, path: &str, body: Option<&[u8]>) -> Vec<u8> {
    let mut bytes = format!("{method} {path} HTTP/1.1\r\nhost: localhost\r\nconnection: close\r\n").into_bytes();
    if let Some(body) = body {
        let head = format!("content-type: application/json\r\ncontent-length: {}\r\n", body.len());
        bytes.extend_from_slice(head.as_bytes());
    }
    bytes.extend_from_slice(b"\r\n");
    bytes.extend_from_slice(body.unwrap_or_default());
    bytes
}

/// Reads one answer whose body is at most `limit` bytes long.
pub fn read_answer(from: impl Read, limit: usize) -> Result<Answer, HttpFault> {
    let mut incoming = Incoming { from, buffer: Vec::new() };
    let head = incoming.head()?;
    let body = match head.length {
        Length::Known(length) if length > limit => return Err(HttpFault::TooLong(limit)),
        Length::Known(length) => incoming.exactly(length)?,
        Length::Chunked => incoming.chunks(limit)?,
        Length::UntilClosed => incoming.rest(limit)?,
    };
    Ok(Answer { status: head.status, body })
}

struct Head {
    status: u16,
    length: Length,
}

enum Length {
    Known(usize),
    Chunked,
    UntilClosed,
}

/// What was read and not yet used.
struct Incoming<R> {
    from: R,
    buffer: Vec<u8>,
}

impl<R: Read> Incoming<R> {
    /// Reads some more; `false` when the other side has closed.
    fn more(&mut self) -> io::Result<bool> {
        let before = self.buffer.len();
        // Most answers are small, and memory that is touched has to be got from the system first.
        self.buffer.resize(before + before.clamp(4 * 1024, 64 * 1024), 0);
        let read = loop {
            match self.from.read(&mut self.buffer[before..]) {
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                read => break read,
            }
        };
        self.buffer.truncate(before + read.as_ref().map_or(0, |n| *n));
        read.map(|n| n > 0)
    }

    fn head(&mut self) -> Result<Head, HttpFault> {
        loop {
            let mut headers = [httparse::EMPTY_HEADER; MAX_HEADERS];
            let mut response = httparse::Response::new(&mut headers);
            let parsed = response.parse(&self.buffer).map_err(|error| HttpFault::Garbage(error.to_string()))?;
            if let httparse::Status::Complete(used) = parsed {
                let status = response.code.unwrap_or_default();
                let length = length_of(response.headers)?;
                self.buffer.drain(..used);
                return Ok(Head { status, length });
            }
            if self.buffer.len() > MAX_HEAD {
                return Err(HttpFault::Garbage(format!("its head does not end within {MAX_HEAD} bytes")));
            }
            if !self.more()? {
                return Err(HttpFault::ClosedEarly);
            }
        }
    }

    fn exactly(&mut self, length: usize) -> Result<Vec<u8>, HttpFault> {
        while self.buffer.len() < length {
            if !self.more()? {
                return Err(HttpFault::ClosedEarly);
            }
        }
        let rest = self.buffer.split_off(length);
        Ok(std::mem::replace(&mut self.buffer, rest))
    }

    fn rest(&mut self, limit: usize) -> Result<Vec<u8>, HttpFault> {
        loop {
            if self.buffer.len() > limit {
                return Err(HttpFault::TooLong(limit));
            }
            if !self.more()? {
                return Ok(std::mem::take(&mut self.buffer));
            }
        }
    }

    fn chunks(&mut self, limit: usize) -> Result<Vec<u8>, HttpFault> {
        let mut body = Vec::new();
        loop {
            let size = self.chunk_size()?;
            let room = limit.saturating_sub(body.len());
            let Some(size) = usize::try_from(size).ok().filter(|size| *size <= room) else {
                return Err(HttpFault::TooLong(limit));
            };
            if size == 0 {
                // Trailers may follow; nobody reads them, and the connection is not used again.
                return Ok(body);
            }
            let mut chunk = self.exactly(size + 2)?;
            if !chunk.ends_with(b"\r\n") {
                return Err(HttpFault::Garbage("a chunk is longer than it says".into()));
            }
            chunk.truncate(size);
            body.append(&mut chunk);
        }
    }

    fn chunk_size(&mut self) -> Result<u64, HttpFault> {
        loop {
            match httparse::parse_chunk_size(&self.buffer) {
                Ok(httparse::Status::Complete((used, size))) => {
                    self.buffer.drain(..used);
                    return Ok(size);
                }
                Ok(httparse::Status::Partial) if self.buffer.len() > MAX_HEAD => {
                    return Err(HttpFault::Garbage("the line before a chunk does not end".into()));
                }
                Ok(httparse::Status::Partial) => {}
                Err(_) => return Err(HttpFault::Garbage("the size of a chunk is no number".into())),
            }
            if !self.more()? {
                return Err(HttpFault::ClosedEarly);
            }
        }
    }
}

fn length_of(headers: &[httparse::Header<'_>]) -> Result<Length, HttpFault> {
    let find = |name: &str| headers.iter().find(|header| header.name.eq_ignore_ascii_case(name));
    if let Some(coding) = find("transfer-encoding") {
        return if coding.value.eq_ignore_ascii_case(b"chunked") {
            Ok(Length::Chunked)
        } else {
            Err(HttpFault::Garbage("an unknown transfer-encoding".into()))
        };
    }
    let Some(length) = find("content-length") else { return Ok(Length::UntilClosed) };
    std::str::from_utf8(length.value)
        .ok()
        .and_then(|text| text.trim().parse().ok())
        .map(Length::Known)
        .ok_or_else(|| HttpFault::Garbage("its content-length is no number".into()))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Hands out one byte at a time: every place where an answer can be torn is met.
    struct Drip<'a>(&'a [u8]);

    impl Read for Drip<'_> {
        fn read(&mut self, into: &mut [u8]) -> io::Result<usize> {
            let Some((first, rest)) = self.0.split_first() else { return Ok(0) };
            into[0] = *first;
            self.0 = rest;
            Ok(1)
        }
    }

    fn read(text: &str) -> Result<Answer, String> {
        let whole = read_answer(text.as_bytes(), 100).map_err(|error| error.to_string());
        let torn = read_answer(Drip(text.as_bytes()), 100).map_err(|error| error.to_string());
        assert_eq!(whole, torn, "{text:?}");
        whole
    }

    fn body(text: &str) -> String {
        String::from_utf8(read(text).unwrap().body).unwrap()
    }

    #[test]
    fn the_three_ways_to_end_a_body() {
        assert_eq!(body("HTTP/1.1 200 OK\r\nContent-Length: 5\r\n\r\nhello, and more"), "hello");
        assert_eq!(body("HTTP/1.1 200 OK\r\n\r\nhello"), "hello");
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: Chunked\r\n\r\n2\r\nhe\r\n3;x=y\r\nllo\r\n0\r\n\r\n";
        assert_eq!(body(chunked), "hello");
        assert_eq!(body("HTTP/1.1 204 No Content\r\ncontent-length: 0\r\n\r\n"), "");
        assert_eq!(read("HTTP/1.1 404 Not Found\r\ncontent-length: 0\r\n\r\n").unwrap().status, 404);
    }

    #[test]
    fn what_ends_early_is_no_answer() {
        let whole = "HTTP/1.1 200 OK\r\ncontent-length: 5\r\n\r\nhello";
        for end in 0..whole.len() {
            assert_eq!(read(&whole[..end]), Err(HttpFault::ClosedEarly.to_string()), "{end}");
        }
        let chunked = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n5\r\nhello\r\n0\r\n";
        for end in 0..chunked.len() - 3 {
            assert_eq!(read(&chunked[..end]), Err(HttpFault::ClosedEarly.to_string()), "{end}");
        }
    }

    #[test]
    fn what_is_no_http_is_said_to_be_none() {
        for text in [
            "{\"ok\":true}\r\n\r\n",
            "HTTP/1.1 abc\r\n\r\n",
            "HTTP/1.1 200 OK\r\ncontent-length: five\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ncontent-length: -1\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: gzip\r\n\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nxyz\r\nhello",
            "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n3\r\nhello\r\n",
        ] {
            assert!(read(text).unwrap_err().contains("not HTTP/1.1"), "{text:?}");
        }
    }

    #[test]
    fn nothing_grows_without_bound() {
        let endless = io::Cursor::new(b"HTTP/1.1 200 OK\r\nx: ".to_vec()).chain(io::repeat(b'a'));
        assert!(read_answer(endless, 100).unwrap_err().to_string().contains("head does not end"));
        let many = format!("HTTP/1.1 200 OK\r\n{}\r\n", "a: b\r\n".repeat(MAX_HEADERS + 1));
        assert!(read(&many).is_err());
        for (head, fill) in [
            ("HTTP/1.1 200 OK\r\n\r\n", b'a'),
            ("HTTP/1.1 200 OK\r\ncontent-length: 101\r\n\r\n", b'a'),
            ("HTTP/1.1 200 OK\r\ncontent-length: 18446744073709551615\r\n\r\n", b'a'),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\nFFFFFFFFFFFFFFFF\r\n", b'a'),
            ("HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n65\r\n", b'a'),
        ] {
            let answer = read_answer(head.as_bytes().chain(io::repeat(fill)), 100);
            assert!(matches!(answer, Err(HttpFault::TooLong(100))), "{head:?}: {answer:?}");
        }
        let line = "HTTP/1.1 200 OK\r\ntransfer-encoding: chunked\r\n\r\n1;".as_bytes().chain(io::repeat(b'a'));
        assert!(matches!(read_answer(line, 100), Err(HttpFault::Garbage(_))));
    }

    #[test]
    fn a_request_is_what_the_standard_says() {
        let with = request("POST", "/v1/order", Some(b"{}"));
        let mut headers = [httparse::EMPTY_HEADER; 8];
        let mut parsed = httparse::Request::new(&mut headers);
        let used = parsed.parse(&with).unwrap().unwrap();
        assert_eq!((parsed.method, parsed.path), (Some("POST"), Some("/v1/order")));
        assert_eq!(&with[used..], b"{}");
        assert!(request("GET", "/v1/status", None).ends_with(b"connection: close\r\n\r\n"));
    }
}
