//! The inner end of `pitstop node shell`: the only program of a fresh network namespace.

use std::ffi::OsString;
use std::net::SocketAddr;
use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use rustix::net::netlink::SocketAddrNetlink;
use rustix::net::{AddressFamily, RecvFlags, SendFlags, SocketFlags, SocketType, recv, sendto, socket_with};
use tokio::net::{TcpListener, UnixStream};
use tokio::task::JoinSet;

use super::{code_of, door, relay, running, start};
use crate::failure;

/// Used by `pitstop node shell`
#[derive(Debug, Args)]
pub struct Inside {
    /// Addresses to listen on, and the sockets that they lead to
    #[arg(
        long = "doors",
        value_name = "ADDRESS=SOCKET",
        env = "PITSTOP_DOORS",
        hide_env = true,
        value_parser = door
    )]
    pub doors: Vec<(SocketAddr, PathBuf)>,
    /// The command
    #[arg(last = true, required = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
}

impl Inside {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// The doors cannot be opened, or the command cannot be started. A command that fails gives its exit code.
    pub async fn run(self) -> anyhow::Result<()> {
        raise_loopback().context("raising the loopback of a network namespace")?;
        let mut doors = JoinSet::new();
        for (address, path) in self.doors {
            let listener = TcpListener::bind(address).await;
            let listener = listener.with_context(|| format!("listening on {address}"))?;
            doors.spawn(relay(listener, move || UnixStream::connect(path.clone())));
        }
        let status = start(&self.command)?.status().await;
        match code_of(status.with_context(|| running(&self.command))?) {
            0 => Ok(()),
            code => Err(failure::ended_with(code)),
        }
    }
}

/// `RTM_NEWLINK`, over netlink's protocol 0, for the first interface of a namespace, which is `lo`, with its flag
/// `IFF_UP`. Source: rtnetlink(7).
fn raise_loopback() -> std::io::Result<()> {
    const RTM_NEWLINK: u16 = 16;
    const NLM_F_REQUEST_ACK: u16 = 1 | 4;
    const LENGTH: u32 = 32;
    const LOOPBACK: u32 = 1;
    const IFF_UP: u32 = 1;
    let mut message = Vec::new();
    message.extend(LENGTH.to_ne_bytes());
    message.extend(RTM_NEWLINK.to_ne_bytes());
    message.extend(NLM_F_REQUEST_ACK.to_ne_bytes());
    // Sequence and sender: we ask once.
    message.extend([0; 8]);
    // Family, padding and type.
    message.extend([0; 4]);
    message.extend(LOOPBACK.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    message.extend(IFF_UP.to_ne_bytes());
    let socket = socket_with(
        AddressFamily::NETLINK,
        SocketType::RAW,
        SocketFlags::CLOEXEC,
        None,
    )?;
    sendto(
        &socket,
        &message,
        SendFlags::empty(),
        &SocketAddrNetlink::new(0, 0),
    )?;
    let mut answer = [0_u8; 512];
    recv(&socket, &mut answer, RecvFlags::empty())?;
    // An error message: its header, then the error, 0 for none, negated otherwise.
    let error = answer
        .get(16..20)
        .and_then(|bytes| bytes.try_into().ok())
        .map(i32::from_ne_bytes);
    match error {
        Some(0) => Ok(()),
        Some(error) => Err(std::io::Error::from_raw_os_error(error.saturating_neg())),
        None => Err(std::io::ErrorKind::InvalidData.into()),
    }
}
