//! Whether a TCP port can be had, and who has it.

use nix::errno::Errno;
use nix::sys::socket::{
    AddressFamily, SockFlag, SockType, SockaddrIn, SockaddrIn6, SockaddrLike, bind, setsockopt, socket, sockopt,
};
use std::net::{Ipv4Addr, Ipv6Addr, SocketAddrV4, SocketAddrV6};

use listeners::{Protocol, SocketState};

use super::{describe, sys};

/// Who has a port.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Owner {
    /// Its pid, where the system shows it.
    pub pid: Option<i32>,
    /// Its command line, or why there is none.
    pub command: String,
}

/// The owner of `port`, or `None` when a server on this machine could bind it now.
///
/// It is tried by binding without listening, so nobody can connect to us meanwhile. All four addresses are tried as BSD
/// systems let a specific address be bound beside a wildcard. What remains of closed connections (TIME_WAIT) does not
/// count.
pub fn taken(port: u16) -> Option<Owner> {
    if !in_use(port) || sys::port_is_only_lingering(port) {
        return None;
    }
    owner(port).or_else(|| {
        // Looking for the owner takes a while; it may have gone meanwhile.
        let command = "a process of another user, or one that cannot be seen from here".to_owned();
        in_use(port).then_some(Owner { pid: None, command })
    })
}

fn in_use(port: u16) -> bool {
    let v4 = [Ipv4Addr::LOCALHOST, Ipv4Addr::UNSPECIFIED]
        .map(|ip| refuses(AddressFamily::Inet, &SockaddrIn::from(SocketAddrV4::new(ip, port))));
    let v6 = [Ipv6Addr::LOCALHOST, Ipv6Addr::UNSPECIFIED]
        .map(|ip| refuses(AddressFamily::Inet6, &SockaddrIn6::from(SocketAddrV6::new(ip, port, 0, 0))));
    v4.contains(&true) || v6.contains(&true)
}

/// Whether the system says that the address is in use. Any other failure (no IPv6 here, a privileged port) says nothing
/// about an owner.
fn refuses(family: AddressFamily, address: &dyn SockaddrLike) -> bool {
    let Ok(socket) = socket(family, SockType::Stream, SockFlag::empty(), None) else { return false };
    // Without it, lingering connections of the service's own last run would count as an owner.
    setsockopt(&socket, sockopt::ReuseAddr, &true).ok();
    if family == AddressFamily::Inet6 {
        // Else `::` would be tried for IPv4 as well, and once more.
        setsockopt(&socket, sockopt::Ipv6V6Only, &true).ok();
    }
    bind(std::os::fd::AsRawFd::as_raw_fd(&socket), address) == Err(Errno::EADDRINUSE)
}

/// Listeners first: a connection of a client may have the same local port at another address.
fn owner(port: u16) -> Option<Owner> {
    let all = listeners::get_all().ok()?;
    let of_port = |state: Option<SocketState>| {
        all.iter().find(|l| {
            l.protocol == Protocol::TCP && l.socket.port() == port && state.is_none_or(|state| l.state == state)
        })
    };
    let process = &of_port(Some(SocketState::Listen)).or_else(|| of_port(None))?.process;
    let pid = i32::try_from(process.pid).ok();
    let command = pid.and_then(describe::command_line).unwrap_or_else(|| process.name.clone());
    Some(Owner { pid, command })
}

#[cfg(test)]
mod tests {
    use std::net::{TcpListener, TcpStream};

    use super::*;
    use crate::process::testing::wait_for;

    /// Here and below, soon rather than at once: a child that another test forks has our sockets until it calls exec.
    fn assert_mine(port: u16) {
        let me = i32::try_from(std::process::id()).ok();
        let owner = wait_for("ours", || taken(port).filter(|owner| owner.pid == me));
        assert!(owner.command.contains("supervisor"), "{owner:?}");
    }

    fn assert_free(port: u16) {
        wait_for("a free port", || taken(port).is_none().then_some(()));
    }

    #[test]
    fn a_listener_is_found_on_whatever_address_and_gone_when_it_is_gone() {
        for address in ["127.0.0.1:0", "0.0.0.0:0", "[::1]:0", "[::]:0"] {
            let listener = match TcpListener::bind(address) {
                Ok(listener) => listener,
                Err(_) if address.starts_with('[') => continue,
                Err(error) => panic!("{address}: {error}"),
            };
            let port = listener.local_addr().unwrap().port();
            assert_mine(port);
            drop(listener);
            assert_free(port);
        }
    }

    #[test]
    fn closed_connections_that_linger_do_not_count() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        let client = TcpStream::connect(("127.0.0.1", port)).unwrap();
        let (server, _) = listener.accept().unwrap();
        drop(server); // the server's end lingers, on the port itself
        drop(client);
        drop(listener);
        assert_free(port);
    }

    #[cfg(target_os = "linux")]
    #[test]
    fn even_those_of_a_socket_without_reuse() {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let client = TcpStream::connect(listener.local_addr().unwrap()).unwrap();
        let port = client.local_addr().unwrap().port();
        let (server, _) = listener.accept().unwrap();
        assert_mine(port); // bound without SO_REUSEADDR: nobody can have it
        client.shutdown(std::net::Shutdown::Both).unwrap();
        drop(client); // closed first, so this end lingers
        drop(server);
        assert_free(port);
    }
}
