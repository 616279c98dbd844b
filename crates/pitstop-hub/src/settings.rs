//! What a hub is told before it starts.

use std::net::{IpAddr, SocketAddr};
use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use crate::checks::Method;
use crate::guard::Tokens;
use crate::policy::Policy;

/// Who may do what on this machine.
///
/// Source: hub.md B10.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Profile {
    /// Any local user reads and changes, as with the systems that pitstop replaces.
    #[default]
    Compat,
    /// Any local user reads a redacted list; changes need root, a listed user or group, or a token.
    Guarded,
    /// Everything but `/v1/healthz` needs the unix socket or a token.
    Strict,
}

/// Local protection.
///
/// Source: hub.md B10.
#[derive(Debug, Clone, Default)]
pub struct LocalAuth {
    /// Which profile.
    pub profile: Profile,
    /// Users that may change this node under `Guarded`, besides root.
    pub uids: Vec<u32>,
    /// Groups that may, over the unix socket (a TCP connection tells no group).
    pub gids: Vec<u32>,
}

/// How an upgrade is carried out where there is a choice.
///
/// Source: hub.md B4.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Executor {
    /// By deleting where we may, else by asking the controller.
    #[default]
    Auto,
    /// Always this way.
    Always(Method),
}

/// How the link to the API server is watched.
///
/// Source: hub.md B12, A2.
#[derive(Debug, Clone, Copy)]
pub struct Heartbeat {
    /// Between probes of a silent link.
    pub interval: Duration,
    /// How long a probe, or a read that a client waits for, may take.
    pub timeout: Duration,
    /// How long a watch may be silent, bookmarks included, before pods are listed again.
    pub watch_silence: Duration,
}

impl Default for Heartbeat {
    fn default() -> Self {
        Self {
            interval: Duration::from_secs(10),
            timeout: Duration::from_secs(2),
            watch_silence: Duration::from_secs(90),
        }
    }
}

/// How much of the machine clients may use.
///
/// Source: hub.md B10.
#[derive(Debug, Clone, Copy)]
pub struct Limits {
    /// Head of a request, in bytes; at least 8192, which is the least that the HTTP library takes.
    pub head: usize,
    /// Body of a request, in bytes.
    pub body: u64,
    /// From the first byte of a request to the end of its head, and again to the end of its body.
    pub request: Duration,
    /// Between two requests of a connection.
    pub idle: Duration,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once of one user.
    pub connections_per_user: usize,
    /// Reads of one user: per second, and at once.
    pub reads: (f64, f64),
    /// Changes of one user: per second, and at once.
    pub changes: (f64, f64),
    /// Changes of all users: per second, and at once.
    pub all_changes: (f64, f64),
    /// Event streams at once.
    pub streams: usize,
    /// Event streams at once of one user.
    pub streams_per_user: usize,
    /// What a slow reader of events may have waiting, in bytes.
    pub backlog: usize,
}

impl Default for Limits {
    fn default() -> Self {
        Self {
            head: 8192,
            body: 4096,
            request: Duration::from_secs(5),
            idle: Duration::from_secs(60),
            connections: 64,
            connections_per_user: 8,
            reads: (20.0, 40.0),
            changes: (0.2, 5.0),
            all_changes: (10.0 / 60.0, 10.0),
            streams: 16,
            streams_per_user: 4,
            backlog: 64 * 1024,
        }
    }
}

/// Called before each system call on the log of intents, with its number; a test dies there.
pub type FaultPoints = Arc<dyn Fn(usize) + Send + Sync>;

/// Whether the machine's clock can be believed.
pub type ClockSynced = Arc<dyn Fn() -> bool + Send + Sync>;

/// Everything that a hub is told before it starts.
#[derive(Clone)]
pub struct Settings {
    /// Name of this node.
    pub node: String,
    /// Where to listen; loopback only, unless `exposed`. Without an address nor a socket only [`crate::Desk`] asks.
    pub listen: Vec<SocketAddr>,
    /// Whether other machines may reach it; needs `tokens`.
    pub exposed: bool,
    /// A unix socket to listen on as well.
    pub unix_socket: Option<PathBuf>,
    /// Folder of everything that survives a restart.
    pub state: PathBuf,
    /// File with the rules of the owner of this node.
    pub policy: Option<PathBuf>,
    /// File that records every change and every refusal.
    pub audit: Option<PathBuf>,
    /// Who may do what on this machine.
    pub local_auth: LocalAuth,
    /// File with the hashes of tokens: `<name> <sha256 in hex>` a line.
    pub tokens: Option<PathBuf>,
    /// Whether an upgrade that is asked for while cut off is kept.
    pub offline_intents: bool,
    /// How long it is kept.
    pub intent_ttl: Duration,
    /// How an upgrade is carried out.
    pub executor: Executor,
    /// Host names, besides those of loopback, under which the hub may be called.
    pub allowed_hosts: Vec<String>,
    /// Web origins that may call the hub.
    pub allowed_origins: Vec<String>,
    /// Whether metrics also have their names of OpenYurt.
    pub legacy_metrics: bool,
    /// Whether an empty list of pods is `null`, as OpenYurt sends it.
    pub compat_null_items: bool,
    /// How the link is watched.
    pub heartbeat: Heartbeat,
    /// Longest wait between a reconnect and the first kept upgrade, so that a fleet does not act at once.
    pub reconnect_spread: Duration,
    /// After which time a controller that was asked for an upgrade counts as silent. Source: hub.md B4.
    pub stalled_after: Duration,
    /// Where randomness begins.
    pub seed: u64,
    /// How much of the machine clients may use.
    pub limits: Limits,
    /// Whether the clock can be believed; `None` looks for the mark of a time service.
    pub clock_synced: Option<ClockSynced>,
    /// Whether the one thread of the runtime waits for the disk itself, so that the same run is the same again.
    pub waits_for_disk: bool,
    /// Called before each system call on the log of intents, for tests that die there.
    pub fault_points: Option<FaultPoints>,
    /// As whom the hub talks to the API server, as `/pitstop/v1/status` tells it.
    pub identity: String,
}

impl Settings {
    /// The defaults of a node: loopback, port 10267, everything else as hub.md has it.
    pub fn new(node: impl Into<String>, state: impl Into<PathBuf>) -> Self {
        Self {
            node: node.into(),
            listen: vec![crate::ADDRESS],
            exposed: false,
            unix_socket: None,
            state: state.into(),
            policy: None,
            audit: None,
            local_auth: LocalAuth::default(),
            tokens: None,
            offline_intents: true,
            intent_ttl: Duration::from_secs(72 * 3600),
            executor: Executor::default(),
            allowed_hosts: Vec::new(),
            allowed_origins: Vec::new(),
            legacy_metrics: false,
            compat_null_items: false,
            heartbeat: Heartbeat::default(),
            reconnect_spread: Duration::from_secs(30),
            stalled_after: Duration::from_secs(60),
            seed: 0,
            limits: Limits::default(),
            clock_synced: None,
            waits_for_disk: false,
            fault_points: None,
            identity: "node".to_owned(),
        }
    }

    /// Checks what contradicts itself.
    ///
    /// # Errors
    /// A sentence that says what, and what to do.
    pub(crate) fn check(&self) -> Result<(), String> {
        if self.node.is_empty() {
            return Err("the name of the node is empty: set --node-name".to_owned());
        }
        let open = self.listen.iter().find(|address| !is_loopback(address.ip()));
        if let Some(open) = open
            && !(self.exposed && self.tokens.is_some())
        {
            return Err(format!(
                "{open} can be reached from other machines: listen on loopback, or give both \
                 --i-know-this-exposes-the-node and a token file"
            ));
        }
        // Once it runs, a hub keeps what was good; at the start there is nothing that was, and rules that cannot be read
        // must not count as none.
        if let Some(file) = &self.policy {
            Policy::check(file).map_err(|error| format!("policy {}: {error}", file.display()))?;
        }
        if let Some(file) = &self.tokens {
            Tokens::check(file).map_err(|error| format!("tokens {}: {error}", file.display()))?;
        }
        Ok(())
    }
}

/// Whether only this machine reaches an address.
pub(crate) fn is_loopback(address: IpAddr) -> bool {
    address.to_canonical().is_loopback()
}
