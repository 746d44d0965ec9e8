//! Checks: 100 services, each asked over HTTP once a second, and what a check costs: processor time, user and system, of the
//! daemon and the runner together. Whatever else they do meanwhile counts.
//!
//! The floor is one blocking GET after the other, at the same pace, in the same seconds, of the same server: a connection, a
//! request of four lines, the answer read to its end. What the kernel takes for a connection over loopback is in both.

use std::io::{Read, Write};
use std::net::{Ipv4Addr, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering::Relaxed};
use std::time::Duration;

use crate::Plan;
use crate::host;
use crate::peer::{Peer, Service, Which, services};
use crate::table::{Mark, Row};

/// Microseconds.
const MOST: f64 = 60.0;

/// As the gateway answers.
const ANSWER: &[u8] =
    b"HTTP/1.1 200 OK\r\ncontent-type: application/json; charset=utf-8\r\ncache-control: no-store\r\n\
    content-length: 27\r\nconnection: close\r\n\r\n{\"ok\":true,\"status\":\"live\"}";

pub fn measure(plan: &Plan) -> Vec<Row> {
    let (n, rounds, seconds) = if plan.quick { (10, 1, 2) } else { (100, 6, 10) };
    let due = n as u64 * seconds;
    let server = Server::start();
    let health = format!(
        "health = {{ http = \"http://{}/healthz\", expect_json = {{ ok = true }}, interval = \"1s\" }}\n",
        server.address
    );
    let list: Vec<Service> =
        services(n, "sleep").into_iter().map(|service| Service { more: health.clone(), ..service }).collect();
    let mut peer = Peer::new(&plan.programs, Which::Ours, &list);
    peer.start(n);
    // Each is up when its first check was good.
    peer.settle(Duration::from_secs(if plan.quick { 1 } else { 5 }));
    let own = peer.processes().0;
    let (mut floor, mut ours) = (Vec::new(), Vec::new());
    for _ in 0..rounds {
        let before = (server.answered.load(Relaxed), cpu(&own));
        floor.push(ask_plainly(server.address, due, Duration::from_secs(1) / n as u32) / due as f64);
        let checks = (server.answered.load(Relaxed) - before.0 - due) as f64;
        ours.extend(cpu(&own).zip(before.1).map(|(after, before)| (after - before) / checks));
        // Services with the same interval are asked together, so a window has up to half a second of checks more or less.
        let edge = n as f64 / due as f64;
        assert!(((0.9 - edge)..(1.1 + edge)).contains(&(checks / due as f64)), "{checks} checks of {due}");
    }
    peer.stop();
    vec![Row::new(format!("a check over HTTP, {n} each second"), "µs of CPU", floor, ours, Mark::AtMost(MOST))]
}

/// Of all of them; `None` where that is not told.
fn cpu(own: &[host::Process]) -> Option<f64> {
    own.iter().map(|process| host::cpu(process.pid)).sum()
}

/// So many GETs, at an even pace: processor time of this thread.
fn ask_plainly(address: SocketAddr, n: u64, pace: Duration) -> f64 {
    let (before, began) = (host::own_cpu(), host::now());
    let pace = u64::try_from(pace.as_nanos()).expect("a pace");
    let mut answer = Vec::new();
    for i in 0..n {
        host::sleep(Duration::from_nanos((began + i * pace).saturating_sub(host::now())));
        answer.clear();
        let mut stream = TcpStream::connect(address).expect("the server");
        let request = format!("GET /healthz HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
        stream.write_all(request.as_bytes()).expect("the request");
        stream.read_to_end(&mut answer).expect("the answer");
        assert!(answer.ends_with(b"}"));
    }
    host::own_cpu() - before
}

/// Answers each connection with [`ANSWER`], until it is dropped.
struct Server {
    address: SocketAddr,
    answered: Arc<AtomicU64>,
    over: Arc<AtomicBool>,
}

impl Server {
    fn start() -> Self {
        let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("a port");
        let address = listener.local_addr().expect("a port");
        let (answered, over) = (Arc::<AtomicU64>::default(), Arc::<AtomicBool>::default());
        let (count, end) = (Arc::clone(&answered), Arc::clone(&over));
        std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Relaxed) {
                    return;
                }
                // One that has closed already was no check.
                if stream.is_ok_and(|stream| answer(stream).is_ok()) {
                    count.fetch_add(1, Relaxed);
                }
            }
        });
        Self { address, answered, over }
    }
}

fn answer(mut stream: TcpStream) -> std::io::Result<()> {
    let mut asked = [0; 1024];
    let mut read = 0;
    while !asked[..read].ends_with(b"\r\n\r\n") {
        match stream.read(&mut asked[read..])? {
            0 => return Err(std::io::ErrorKind::UnexpectedEof.into()),
            n => read += n,
        }
    }
    stream.write_all(ANSWER)
}

impl Drop for Server {
    fn drop(&mut self) {
        self.over.store(true, Relaxed);
        // It waits for a connection.
        let _ = TcpStream::connect(self.address);
    }
}
