//! A sender of events that keeps its connection.
#![allow(dead_code, reason = "every theme takes what it needs")]

use std::io::{Read, Write};
use std::net::TcpStream;
use std::time::Duration;

use serde_json::Value;

pub struct Client {
    stream: TcpStream,
    port: u16,
    buffer: Vec<u8>,
}

pub struct Answer {
    pub status: u16,
    /// `Retry-After`, in seconds.
    pub retry_after: Option<u32>,
    pub body: Value,
}

impl Client {
    pub fn open(port: u16) -> std::io::Result<Self> {
        let stream = TcpStream::connect(("127.0.0.1", port))?;
        stream.set_nodelay(true)?;
        stream.set_read_timeout(Some(Duration::from_secs(20)))?;
        Ok(Self { stream, port, buffer: Vec::new() })
    }

    /// `more`: further lines of the head.
    pub fn ask(&mut self, what: &str, more: &str, body: &[u8]) -> std::io::Result<Answer> {
        let host = if more.contains("Host:") { String::new() } else { format!("Host: 127.0.0.1:{}\r\n", self.port) };
        let mut request = format!("{what} HTTP/1.1\r\n{host}{more}Content-Length: {}\r\n\r\n", body.len()).into_bytes();
        request.extend_from_slice(body);
        self.send(&request)?;
        self.answer()
    }

    /// Bytes as they are.
    pub fn send(&mut self, bytes: &[u8]) -> std::io::Result<()> {
        self.stream.write_all(bytes)
    }

    pub fn post(&mut self, body: &str) -> std::io::Result<Answer> {
        self.ask("POST /events", "", body.as_bytes())
    }

    fn more(&mut self) -> std::io::Result<()> {
        let mut chunk = [0; 64 << 10];
        match self.stream.read(&mut chunk)? {
            0 => Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => {
                self.buffer.extend_from_slice(&chunk[..n]);
                Ok(())
            }
        }
    }

    /// The answer to what was sent.
    pub fn answer(&mut self) -> std::io::Result<Answer> {
        let end = loop {
            if let Some(end) = self.buffer.windows(4).position(|four| four == b"\r\n\r\n") {
                break end + 4;
            }
            self.more()?;
        };
        let head = String::from_utf8_lossy(&self.buffer[..end]).to_lowercase();
        let number =
            |name: &str| head.split(name).nth(1).and_then(|rest| rest.split("\r\n").next()?.parse::<u32>().ok());
        let length = number("content-length: ").ok_or(std::io::ErrorKind::InvalidData)? as usize;
        let retry_after = number("retry-after: ");
        while self.buffer.len() < end + length {
            self.more()?;
        }
        let body = serde_json::from_slice(&self.buffer[end..end + length])?;
        self.buffer.drain(..end + length);
        let status = head[9..12].parse().map_err(|_| std::io::ErrorKind::InvalidData)?;
        Ok(Answer { status, retry_after, body })
    }

    /// Reads a stream of events until `count` of them have come; their data.
    pub fn follow(&mut self, count: usize) -> std::io::Result<Vec<Value>> {
        loop {
            let text = String::from_utf8_lossy(&self.buffer);
            let data: Vec<Value> = text
                .split("data: ")
                .skip(1)
                .filter_map(|rest| serde_json::from_str(rest.split_once("\n\n")?.0).ok())
                .collect();
            if data.len() >= count {
                return Ok(data);
            }
            self.more()?;
        }
    }

    /// Asks for a stream, and comes back when it has begun.
    pub fn subscribe(&mut self, query: &str, more: &str) -> std::io::Result<()> {
        write!(self.stream, "GET /events/stream{query} HTTP/1.1\r\nHost: localhost\r\n{more}\r\n")?;
        while !String::from_utf8_lossy(&self.buffer).contains(": events\n\n") {
            self.more()?;
        }
        Ok(())
    }
}
