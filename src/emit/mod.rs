//! The built-in event server: takes events over loopback HTTP (and a Unix socket) and puts them into the database. An answer of 200 means
//! that they are kept: a kill loses none of them, with `durability = "full"` a loss of power does not either.
//!
//! ```text
//! POST /events          one object, an array, or one object a line (`body`)     → 200 {"stored", "duplicates", "spooled"}
//! GET  /events?since=   what is on record, after a number or since a time       → 200 {"events": [...], "next"}
//! GET  /events/stream   the same as it comes, as server-sent events (`stream`)
//! GET  /healthz         200 while events are kept, 503 when they are not
//! ```
//!
//! It is a service as any other, with a process and a runner of its own (`supervisor serve NAME`), and works without a daemon. `http` decides
//! who is answered, `writer` is the one thread that writes, `spool` has what the database does not take just now.
//!
//! Nothing in here judges what an event means, and nothing is sent anywhere.

mod body;
mod http;
mod spool;
mod stream;
mod writer;

use std::net::SocketAddr;

use tokio::net::{TcpListener, UnixListener};
use tokio::signal::unix::{SignalKind, signal};
use tokio::sync::watch;

use crate::alert::read_secret_file;
use crate::error::{Error, ErrorKind};
use crate::model::paths::Paths;
use crate::model::{Durability, ServiceSpec};
use crate::process::{files, notify, socket};

/// What a request has to bring besides itself.
#[derive(Clone)]
struct Door {
    /// A bearer token, where one is wanted.
    token: Option<String>,
}

/// Serves until SIGTERM or SIGINT, and then until everything that has come is kept.
///
/// # Errors
/// `Refused` when another process has the port, or the token cannot be read: a person has to do something; `Internal` otherwise.
pub fn serve(spec: &ServiceSpec, paths: &Paths) -> Result<(), Error> {
    let internal = |what: &str, e: std::io::Error| Error::new(ErrorKind::Internal, format!("cannot {what}: {e}"));
    let token = spec.token_file.as_ref().map(|path| {
        read_secret_file(path).map_err(|why| Error::new(ErrorKind::Refused, format!("nobody can be let in: {why}")))
    });
    let token = token.transpose()?;
    files::ensure_dir(&paths.service(&spec.name))
        .map_err(|e| Error::io("cannot make the folder", &paths.service(&spec.name), &e))?;
    let listen = spec.listen.as_deref().unwrap_or_default();
    let address: SocketAddr = listen.replace("localhost", "127.0.0.1").parse().map_err(|_| {
        Error::new(ErrorKind::Refused, format!("{listen:?} is no address to listen at")).hint("write 127.0.0.1:18790")
    })?;
    let setting = writer::Setting {
        database: paths.database(),
        spool: paths.spool(&spec.name),
        outlive_power: spec.durability == Durability::Full,
    };
    let (writer, thread) = writer::Writer::start(setting).map_err(|e| internal("open the spool", e))?;
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .map_err(|e| internal("start the runtime", e))?;
    let served = runtime.block_on(async {
        let tcp = TcpListener::bind(address).await.map_err(|e| match e.kind() {
            std::io::ErrorKind::AddrInUse => {
                Error::new(ErrorKind::Refused, format!("another process listens at {address} already"))
                    .hint(format!("end it, or write another `listen` for service.{}", spec.name))
            }
            _ => internal(&format!("listen at {address}"), e),
        })?;
        let path = paths.event_socket(&spec.name);
        let unix = socket::bind(&path).and_then(|(listener, _)| {
            listener.set_nonblocking(true)?;
            UnixListener::from_std(listener)
        });
        let unix = unix.map_err(|e| Error::io("cannot open the socket", &path, &e))?;
        let (close, closing) = watch::channel(());
        let router = http::router(writer, paths.database(), Door { token }, closing.clone());
        let mut term = signal(SignalKind::terminate()).map_err(|e| internal("catch signals", e))?;
        let mut int = signal(SignalKind::interrupt()).map_err(|e| internal("catch signals", e))?;
        let serving = tokio::spawn(http::serve(tcp, unix, router, closing));
        notify::tell("READY=1");
        anstream::eprintln!("takes events at http://{address}/events and {}", path.display());
        tokio::select! {
            _ = term.recv() => {}
            _ = int.recv() => {}
        }
        notify::tell("STOPPING=1");
        drop(close);
        // A panic there has been told on stderr.
        let _ = serving.await;
        Ok(())
    });
    // The last handle on the writer goes with the runtime; what has come is written then.
    drop(runtime);
    let _ = thread.join();
    served
}
