//! `pitstop node shell`: a command that finds the hub of a node on 127.0.0.1:10267, as on the node itself.
//!
//! Where the system lets us, the command runs in a network namespace of its own, with nothing in it but loopback: there
//! 127.0.0.1:10267 is the hub of the node, and the address of the API server leads to the API server. Connections cross
//! the border over unix sockets. Elsewhere the command gets `http_proxy`, and is told so.

use std::ffi::OsString;
use std::io;
use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::process::Stdio;

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::api::core::v1::Node as NodeObject;
use kube::ResourceExt as _;
use kube::api::Api;
use pitstop_api::keys;
use tokio::io::{AsyncRead, AsyncWrite, copy_bidirectional};
use tokio::net::{TcpStream, UnixListener};
use tokio::process::Command;
use tokio::task::JoinSet;
use tokio_util::net::Listener;

use crate::connect::ConnectArgs;
use crate::failure;
use crate::output::talk;
use crate::scratch::Scratch;

mod inside;

pub use inside::Inside;

/// What makes a namespace. The user of the shell is root in it, and nowhere else.
const UNSHARE: &str = "unshare";

/// Run a command as if on a node: 127.0.0.1:10267 is the node's hub
///
/// Needs a simulated node with a hub, on this machine. Without a command it is your shell.
#[derive(Debug, Args)]
pub struct Shell {
    /// Name of the node
    #[arg(value_name = "NODE")]
    pub name: String,
    /// The command and its arguments [default: $SHELL]
    #[arg(last = true, value_name = "COMMAND")]
    pub command: Vec<OsString>,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Where the hub of a simulated node is.
///
/// # Errors
/// There is no such node, or it has no hub.
pub async fn hub_of(client: kube::Client, name: &str) -> anyhow::Result<SocketAddr> {
    let node = Api::<NodeObject>::all(client).get_opt(name).await;
    let node = node.context("reading the node")?.ok_or_else(|| {
        failure::nothing_matched(
            format!("node \"{name}\" is not there"),
            "see the names with `pitstop node list`",
        )
    })?;
    let address = node.annotations().get(keys::SIM_HUB);
    address.and_then(|address| address.parse().ok()).ok_or_else(|| {
        failure::nothing_matched(
            format!("node \"{name}\" has no hub in a `pitstop up` or `pitstop simulate`"),
            "see which have one with `pitstop node list`; --hubs of `up` and `simulate` says which get one",
        )
    })
}

impl Shell {
    /// Runs the command to its end.
    ///
    /// # Errors
    /// There is no hub, or the command cannot be started. A command that fails gives its exit code.
    pub async fn run(self) -> anyhow::Result<()> {
        let client = self.connect.connect().await?.client;
        let hub = hub_of(client, &self.name).await?;
        let command = match self.command.as_slice() {
            [] => vec![std::env::var_os("SHELL").unwrap_or_else(|| "/bin/sh".into())],
            given => given.to_vec(),
        };
        let code = if may_unshare().await {
            let server = self
                .connect
                .server()
                .await?
                .filter(|server| server.ip().is_loopback());
            in_namespace(hub, server, &command).await?
        } else {
            talk(&format!(
                "note: this system gives no network namespace to you, so http_proxy={hub} leads to the hub of {}; only \
                 programs that heed http_proxy find it",
                self.name
            ));
            behind_proxy(hub, &command).await?
        };
        match code {
            0 => Ok(()),
            code => Err(failure::ended_with(code)),
        }
    }
}

async fn may_unshare() -> bool {
    let tried = Command::new(UNSHARE)
        .args(["--user", "--map-root-user", "--net", "--", "true"])
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status()
        .await;
    tried.is_ok_and(|status| status.success())
}

/// The exit code of a command, as a shell gives it: 128 and the signal where one ended it.
pub(super) fn code_of(status: std::process::ExitStatus) -> u8 {
    use std::os::unix::process::ExitStatusExt as _;
    let signal = || status.signal().map(|signal| signal.saturating_add(128));
    let code = status.code().or_else(signal);
    code.and_then(|code| u8::try_from(code).ok()).unwrap_or(1)
}

async fn behind_proxy(hub: SocketAddr, command: &[OsString]) -> anyhow::Result<u8> {
    let mut child = start(command)?;
    child
        .env("http_proxy", format!("http://{hub}"))
        .env_remove("no_proxy")
        .env_remove("NO_PROXY");
    let status = child.status().await;
    Ok(code_of(status.with_context(|| running(command))?))
}

pub(super) fn start(command: &[OsString]) -> anyhow::Result<Command> {
    let (program, arguments) = command.split_first().context("no command")?;
    let mut child = Command::new(program);
    child.args(arguments);
    Ok(child)
}

pub(super) fn running(command: &[OsString]) -> String {
    let program = command.first().map(|program| program.to_string_lossy());
    format!("running {}", program.unwrap_or_default())
}

async fn in_namespace(
    hub: SocketAddr,
    server: Option<SocketAddr>,
    command: &[OsString],
) -> anyhow::Result<u8> {
    let folder = Scratch::new("shell")?;
    let program = std::env::current_exe().context("finding our own program")?;
    let mut child = Command::new(UNSHARE);
    child
        .args(["--user", "--map-root-user", "--net", "--"])
        .arg(program)
        .args(["node", "inside"]);
    let mut relays = JoinSet::new();
    let doors = [
        Some((pitstop_hub::ADDRESS, hub)),
        server.map(|server| (server, server)),
    ];
    for (n, (door, to)) in doors.into_iter().flatten().enumerate() {
        let path = folder.path().join(n.to_string());
        let listener = UnixListener::bind(&path).with_context(|| format!("making {}", path.display()))?;
        relays.spawn(relay(listener, move || TcpStream::connect(to)));
        child.arg("--doors").arg(format!("{door}={}", path.display()));
    }
    child.arg("--").args(command);
    let status = child.status().await.context("running unshare")?;
    relays.shutdown().await;
    Ok(code_of(status))
}

/// Passes every connection on to where `connect` leads, until it is dropped.
async fn relay<L, F, S>(mut listener: L, connect: impl Fn() -> F)
where
    L: Listener<Io: AsyncRead + AsyncWrite + Unpin + Send + 'static>,
    F: Future<Output = io::Result<S>> + Send + 'static,
    S: AsyncRead + AsyncWrite + Unpin + Send,
{
    let mut connections = JoinSet::new();
    loop {
        tokio::select! {
            accepted = listener.accept() => {
                let Ok((mut near, _)) = accepted else { continue };
                let far = connect();
                connections.spawn(async move {
                    if let Ok(mut far) = far.await {
                        // Either side may hang up whenever it likes.
                        let _ = copy_bidirectional(&mut near, &mut far).await;
                    }
                });
            }
            Some(_) = connections.join_next() => {}
        }
    }
}

/// `<address>=<path>` of a door.
fn door(text: &str) -> Result<(SocketAddr, PathBuf), String> {
    let (address, path) = text.split_once('=').ok_or("no `=` in it")?;
    let address = address
        .parse()
        .map_err(|error| format!("\"{address}\": {error}"))?;
    Ok((address, Path::new(path).to_owned()))
}
