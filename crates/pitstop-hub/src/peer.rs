//! Who is at the other end of a connection of this machine.
//!
//! A unix socket says so itself. For TCP the kernel is asked which user holds the client's end of the connection, the
//! way `ss -e` asks.
//!
//! Source: hub.md B10.

use std::io;
use std::net::{IpAddr, SocketAddr};

use rustix::net::netlink::{SOCK_DIAG, SocketAddrNetlink};
use rustix::net::sockopt::{Timeout, set_socket_timeout};
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use serde::{Deserialize, Serialize};

/// How a caller came in.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(rename_all = "lowercase")]
pub(crate) enum Via {
    /// A TCP connection.
    #[default]
    Tcp,
    /// The unix socket.
    Unix,
}

/// Who is at the other end of a connection, as far as the kernel tells.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct Peer {
    /// User.
    pub(crate) uid: Option<u32>,
    /// Group; only over the unix socket.
    pub(crate) gid: Option<u32>,
    /// Process; only over the unix socket.
    pub(crate) pid: Option<i32>,
    /// How it came in.
    pub(crate) via: Via,
}

impl Peer {
    /// The peer of a TCP connection.
    pub(crate) fn of_tcp(client: SocketAddr, server: SocketAddr) -> Self {
        let uid = if crate::settings::is_loopback(client.ip()) {
            user_of(client, server)
                .inspect_err(|error| tracing::debug!(%error, "the kernel does not tell who is calling"))
                .ok()
                .flatten()
        } else {
            None
        };
        Self {
            uid,
            ..Self::default()
        }
    }

    /// The peer of a unix socket.
    pub(crate) fn of_unix(stream: &tokio::net::UnixStream) -> Self {
        let credentials = stream.peer_cred().ok();
        Self {
            uid: credentials.map(|credentials| credentials.uid()),
            gid: credentials.map(|credentials| credentials.gid()),
            pid: credentials.and_then(|credentials| credentials.pid()),
            via: Via::Unix,
        }
    }
}

/// Length of `struct nlmsghdr`.
const HEADER: usize = 16;
/// Length of `struct inet_diag_req_v2`.
const REQUEST: usize = 56;
/// Where `idiag_uid` lies in `struct inet_diag_msg`.
const UID_AT: usize = HEADER + 64;
/// `SOCK_DIAG_BY_FAMILY`.
const BY_FAMILY: u16 = 20;
/// `NLM_F_REQUEST`.
const IS_REQUEST: u16 = 1;
/// `IPPROTO_TCP`.
const TCP: u8 = 6;
/// `INET_DIAG_NOCOOKIE`, twice.
const NO_COOKIE: [u8; 8] = [0xff; 8];

/// The message that asks for the socket of one end of a connection, seen from that end.
fn question(from: SocketAddr, to: SocketAddr) -> Vec<u8> {
    let mut message = Vec::with_capacity(HEADER + REQUEST);
    let length = u32::try_from(HEADER + REQUEST).unwrap_or(0);
    message.extend_from_slice(&length.to_ne_bytes());
    message.extend_from_slice(&BY_FAMILY.to_ne_bytes());
    message.extend_from_slice(&IS_REQUEST.to_ne_bytes());
    message.extend_from_slice(&1_u32.to_ne_bytes());
    message.extend_from_slice(&0_u32.to_ne_bytes());
    let family = if from.is_ipv4() {
        AddressFamily::INET
    } else {
        AddressFamily::INET6
    };
    message.extend_from_slice(&[u8::try_from(family.as_raw()).unwrap_or(0), TCP, 0, 0]);
    message.extend_from_slice(&u32::MAX.to_ne_bytes());
    message.extend_from_slice(&from.port().to_be_bytes());
    message.extend_from_slice(&to.port().to_be_bytes());
    for address in [from.ip(), to.ip()] {
        let mut sixteen = [0_u8; 16];
        match address {
            IpAddr::V4(address) => sixteen[..4].copy_from_slice(&address.octets()),
            IpAddr::V6(address) => sixteen = address.octets(),
        }
        message.extend_from_slice(&sixteen);
    }
    message.extend_from_slice(&0_u32.to_ne_bytes());
    message.extend_from_slice(&NO_COOKIE);
    message
}

/// The user in the kernel's reply; none if there is no such socket.
fn answer(reply: &[u8]) -> Option<u32> {
    let kind = u16::from_ne_bytes(reply.get(4..6)?.try_into().ok()?);
    if kind != BY_FAMILY {
        return None;
    }
    Some(u32::from_ne_bytes(
        reply.get(UID_AT..UID_AT + 4)?.try_into().ok()?,
    ))
}

/// Which user holds the client's end of a connection to us.
fn user_of(client: SocketAddr, server: SocketAddr) -> io::Result<Option<u32>> {
    let flags = SocketFlags::CLOEXEC;
    let socket = socket_with(AddressFamily::NETLINK, SocketType::DGRAM, flags, Some(SOCK_DIAG))?;
    // The kernel replies at once; this only keeps a strange one from holding up everybody.
    set_socket_timeout(
        &socket,
        Timeout::Recv,
        Some(std::time::Duration::from_millis(100)),
    )?;
    let kernel = SocketAddrNetlink::new(0, 0);
    sendto(&socket, &question(client, server), SendFlags::empty(), &kernel)?;
    let mut reply = [0_u8; 512];
    let (length, _) = recv(&socket, &mut reply[..], RecvFlags::empty())?;
    Ok(reply.get(..length).and_then(answer))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_kernel_tells_who_calls() {
        for address in ["127.0.0.1:0", "127.0.1.7:0", "[::1]:0"] {
            let Ok(listener) = tokio::net::TcpListener::bind(address).await else {
                continue; // a machine without IPv6
            };
            let client = tokio::net::TcpStream::connect(listener.local_addr().unwrap())
                .await
                .unwrap();
            let (server, from) = listener.accept().await.unwrap();
            let peer = Peer::of_tcp(from, server.local_addr().unwrap());
            assert_eq!(peer.uid, Some(rustix::process::getuid().as_raw()), "{address}");
            drop(client);
        }
    }

    #[test]
    fn a_reply_that_is_cut_off_tells_nothing() {
        let mut reply = vec![0_u8; UID_AT + 4];
        reply[4..6].copy_from_slice(&BY_FAMILY.to_ne_bytes());
        reply[UID_AT..].copy_from_slice(&1000_u32.to_ne_bytes());
        assert_eq!(answer(&reply), Some(1000));
        for length in 0..reply.len() {
            assert_eq!(answer(&reply[..length]), None, "{length}");
        }
        reply[4..6].copy_from_slice(&2_u16.to_ne_bytes());
        assert_eq!(answer(&reply), None);
    }
}
