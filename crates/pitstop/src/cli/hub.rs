//! `pitstop hub`.

use std::net::{IpAddr, Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::sync::Arc;
use std::time::Duration;

use anyhow::Context as _;
use clap::{Args, Parser};
use pitstop_api::SystemClock;
use pitstop_hub::checks::Method;
use pitstop_hub::{ADDRESS, Executor, Heartbeat, Hub, HubError, LocalAuth, Profile, Settings};
use rand::TryRng as _;
use rand::rngs::SysRng;
use tokio::signal::unix::{SignalKind, signal};
use tokio_util::sync::CancellationToken;

use crate::cli::{Global, span};
use crate::failure;
use crate::output::{self, talk};

use self::access::{Identity, Way};

mod access;

/// Where kubeadm and others put the access with which a node asks to join. Source: Kubernetes documentation, "TLS
/// bootstrapping".
const BOOTSTRAP: &str = "/etc/kubernetes/bootstrap-kubelet.conf";
/// Where the kubelet of this node answers. Source: Kubernetes documentation, "Ports and Protocols".
const KUBELET_URL: &str = "https://127.0.0.1:10250";
/// Another hub has the folder. Source: hub.md B7.
const IN_USE: u8 = 75;

/// Run the hub of this node: its owner decides when pods are upgraded
///
/// Answers on 127.0.0.1:10267, to those on this node alone. A request that comes while the cluster cannot be reached is
/// kept, through restarts, and carried out when it can.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pitstop hub --node-name edge-7            with the access of the kubelet\n  curl \
                  http://127.0.0.1:10267/pods               the pods of this node\n  curl -X POST \
                  http://127.0.0.1:10267/openyurt.io/v1/namespaces/NS/pods/POD/upgrade"
)]
pub struct HubCommand {
    /// Name of this node in the cluster [default: the name of this machine]
    #[arg(long, value_name = "NAME", env = "PITSTOP_NODE_NAME", hide_env = true)]
    pub node_name: Option<String>,
    /// Address to answer on; other machines are only let in with --i-know-this-exposes-the-node and --tokens
    #[arg(
        long,
        value_name = "ADDRESS",
        env = "PITSTOP_BIND_ADDRESS",
        hide_env = true,
        default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST)
    )]
    pub bind_address: IpAddr,
    /// Port to answer on
    #[arg(
        long,
        value_name = "PORT",
        env = "PITSTOP_SERVE_PORT",
        hide_env = true,
        default_value_t = ADDRESS.port()
    )]
    pub serve_port: u16,
    /// Unix socket to answer on as well
    #[arg(long, value_name = "FILE", env = "PITSTOP_UNIX_SOCKET", hide_env = true)]
    pub unix_socket: Option<PathBuf>,
    /// Folder of what survives a restart
    #[arg(
        long,
        value_name = "DIR",
        env = "PITSTOP_STATE",
        hide_env = true,
        default_value = "/var/lib/pitstop-hub"
    )]
    pub state: PathBuf,
    /// Kubeconfig of the hub [default: that of the kubelet, else the service account of the pod that this runs in]
    #[arg(long, value_name = "FILE", env = "PITSTOP_KUBECONFIG", hide_env = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", env = "PITSTOP_CONTEXT", hide_env = true)]
    pub context: Option<String>,
    /// API server, in place of the one in the kubeconfig
    #[arg(long, value_name = "URL", env = "PITSTOP_SERVER_ADDR", hide_env = true)]
    pub server_addr: Option<String>,
    /// As whom: `node` with the kubeconfig of the kubelet, `csr` with a certificate of its own that it asks the cluster for,
    /// `sa` with the service account of the pod that this runs in; `auto` with the first of them that there is
    #[arg(
        long,
        value_name = "auto|node|csr|sa",
        env = "PITSTOP_IDENTITY",
        hide_env = true,
        hide_possible_values = true,
        default_value = "auto"
    )]
    pub identity: IdentityName,
    /// Kubeconfig that may ask for the certificate of `--identity=csr`
    #[arg(
        long,
        value_name = "FILE",
        env = "PITSTOP_BOOTSTRAP_KUBECONFIG",
        hide_env = true,
        default_value = BOOTSTRAP
    )]
    pub bootstrap_kubeconfig: PathBuf,
    /// Where the pods of this node are read: from the API server, or from the `kubelet`, so that a service account needs no
    /// right to read the pods of others
    #[arg(
        long,
        value_name = "api|kubelet",
        env = "PITSTOP_PODS_SOURCE",
        hide_env = true,
        hide_possible_values = true,
        default_value = "api"
    )]
    pub pods_source: PodsSource,
    /// Where the kubelet answers
    #[arg(
        long,
        value_name = "URL",
        env = "PITSTOP_KUBELET_URL",
        hide_env = true,
        default_value = KUBELET_URL
    )]
    pub kubelet_url: String,
    /// Authority that signed the kubelet's certificate, or that certificate [default: the authority of the cluster]
    #[arg(
        long,
        value_name = "FILE",
        env = "PITSTOP_KUBELET_CERTIFICATE_AUTHORITY",
        hide_env = true
    )]
    pub kubelet_certificate_authority: Option<PathBuf>,
    /// How pods are upgraded: `direct` deletes them, `request` asks the controller to; `auto` deletes where that is allowed
    #[arg(
        long,
        value_name = "auto|direct|request",
        env = "PITSTOP_EXECUTOR",
        hide_env = true,
        hide_possible_values = true,
        default_value = "auto"
    )]
    pub executor: ExecutorName,
    /// What becomes of requests while the cluster cannot be reached: `on` keeps them, `off` refuses them with 503
    #[arg(
        long,
        value_name = "on|off",
        env = "PITSTOP_OFFLINE_INTENTS",
        hide_env = true,
        hide_possible_values = true,
        default_value = "on"
    )]
    pub offline_intents: super::up::Switch,
    /// How long a kept request is good
    #[arg(
        long,
        value_name = "DURATION",
        env = "PITSTOP_INTENT_TTL",
        hide_env = true,
        default_value = "72h",
        value_parser = span::parse
    )]
    pub intent_ttl: Duration,
    /// Rules of the owner: who must agree, in which windows, behind which gates
    #[arg(long, value_name = "FILE", env = "PITSTOP_POLICY", hide_env = true)]
    pub policy: Option<PathBuf>,
    /// File that records every change and refusal
    #[arg(long, value_name = "FILE", env = "PITSTOP_AUDIT", hide_env = true)]
    pub audit: Option<PathBuf>,
    /// Who may do what here: `compat` lets any local user change the node, `guarded` only root, --allow-uid and tokens,
    /// `strict` nobody without the unix socket or a token
    #[arg(
        long,
        value_name = "compat|guarded|strict",
        env = "PITSTOP_LOCAL_AUTH",
        hide_env = true,
        hide_possible_values = true,
        default_value = "compat"
    )]
    pub local_auth: ProfileName,
    /// Users that may change the node under `guarded`
    #[arg(
        long,
        value_name = "UID",
        env = "PITSTOP_ALLOW_UID",
        hide_env = true,
        value_delimiter = ','
    )]
    pub allow_uid: Vec<u32>,
    /// Groups that may, over the unix socket
    #[arg(
        long,
        value_name = "GID",
        env = "PITSTOP_ALLOW_GID",
        hide_env = true,
        value_delimiter = ','
    )]
    pub allow_gid: Vec<u32>,
    /// File of tokens: a name and the SHA-256 of its token in each line
    #[arg(long, value_name = "FILE", env = "PITSTOP_TOKENS", hide_env = true)]
    pub tokens: Option<PathBuf>,
    /// Names by which the hub may be called besides those of loopback
    #[arg(
        long,
        value_name = "HOST",
        env = "PITSTOP_ALLOWED_HOSTS",
        hide_env = true,
        value_delimiter = ','
    )]
    pub allowed_hosts: Vec<String>,
    /// Origins of web pages that may call the hub
    #[arg(
        long,
        value_name = "ORIGIN",
        env = "PITSTOP_ALLOWED_ORIGINS",
        hide_env = true,
        value_delimiter = ','
    )]
    pub allowed_origins: Vec<String>,
    /// Let other machines reach the hub
    #[arg(long, env = "PITSTOP_I_KNOW_THIS_EXPOSES_THE_NODE", hide_env = true)]
    pub i_know_this_exposes_the_node: bool,
    /// Metrics under the names of OpenYurt, too
    #[arg(long, env = "PITSTOP_LEGACY_METRICS", hide_env = true)]
    pub legacy_metrics: bool,
    /// An empty list of pods is `null`, as OpenYurt has it
    #[arg(long, env = "PITSTOP_COMPAT_NULL_ITEMS", hide_env = true)]
    pub compat_null_items: bool,
    /// How often a silent link to the API server is tried
    #[arg(
        long,
        value_name = "SECONDS",
        env = "PITSTOP_HEARTBEAT_INTERVAL_SECONDS",
        hide_env = true,
        default_value_t = 10,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub heartbeat_interval_seconds: u32,
    /// How long the API server may take to answer
    #[arg(
        long,
        value_name = "SECONDS",
        env = "PITSTOP_HEARTBEAT_TIMEOUT_SECONDS",
        hide_env = true,
        default_value_t = 2,
        value_parser = clap::value_parser!(u32).range(1..)
    )]
    pub heartbeat_timeout_seconds: u32,
    /// Of no effect: one failure means that the link is down, one success that it is up. Accepted for OpenYurt's scripts
    #[arg(
        long,
        value_name = "N",
        env = "PITSTOP_HEARTBEAT_FAILED_RETRY",
        hide_env = true
    )]
    pub heartbeat_failed_retry: Option<u32>,
    /// Of no effect, as --heartbeat-failed-retry
    #[arg(
        long,
        value_name = "N",
        env = "PITSTOP_HEARTBEAT_HEALTHY_THRESHOLD",
        hide_env = true
    )]
    pub heartbeat_healthy_threshold: Option<u32>,
    /// Make the folder of --state, give it to this user, and end
    #[arg(
        long,
        value_name = "UID",
        env = "PITSTOP_GIVE_STATE_TO",
        hide_env = true,
        hide = true
    )]
    pub give_state_to: Option<u32>,
}

/// Run the hub of this node: its owner decides when pods are upgraded
///
/// `pitstop hub` as a program of its own, for nodes that count megabytes.
#[derive(Debug, Parser)]
#[command(
    name = "pitstop-hub",
    version,
    max_term_width = 110,
    after_help = "The same as `pitstop hub`, in a program of its own. Every flag has an environment twin (--node-name is\n\
                  PITSTOP_NODE_NAME) and a line in the config file ($PITSTOP_CONFIG)."
)]
pub struct HubProgram {
    /// Flags of every command.
    #[command(flatten)]
    pub global: Global,
    /// The hub.
    #[command(flatten)]
    pub command: HubCommand,
}

/// `--executor`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ExecutorName {
    /// By deleting where that is allowed.
    Auto,
    /// By deleting.
    Direct,
    /// By asking the controller.
    Request,
}

/// `--identity`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum IdentityName {
    /// The first that there is.
    Auto,
    /// The kubelet's kubeconfig.
    Node,
    /// A certificate of its own.
    Csr,
    /// The service account of its pod.
    Sa,
}

/// `--pods-source`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum PodsSource {
    /// The API server.
    Api,
    /// The kubelet of this node.
    Kubelet,
}

/// `--local-auth`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum ProfileName {
    /// Any local user.
    Compat,
    /// Root, listed users, tokens.
    Guarded,
    /// The unix socket or a token.
    Strict,
}

impl HubCommand {
    /// Runs until Ctrl-C or SIGTERM.
    ///
    /// # Errors
    /// An address or the folder cannot be used, or there is no access to a cluster.
    pub async fn run(self) -> anyhow::Result<()> {
        if let Some(uid) = self.give_state_to {
            return give(&self.state, uid);
        }
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
        let access = self.access()?;
        let settings = self.settings(access.identity)?;
        let node = settings.node.clone();
        let seed = settings.seed;
        let Way { cloud, certificates } = self.way(&access, &node, seed)?;
        let hub = Hub::bind(settings, cloud, Arc::new(SystemClock))
            .await
            .map_err(|error| told(&error))?;
        let places: Vec<String> = hub.addresses().iter().map(|at| format!("http://{at}")).collect();
        output::data(&format!("hub of node {node} on {}", places.join(" ")))?;
        let stop = CancellationToken::new();
        let running = async {
            let keep = async {
                if let Some(certificates) = &certificates {
                    certificates.run(stop.clone()).await;
                }
            };
            tokio::join!(hub.run(stop.clone()), keep).0
        };
        tokio::pin!(running);
        tokio::select! {
            ended = &mut running => return ended.map_err(|error| told(&error)),
            _ = interrupt.recv() => {}
            _ = terminate.recv() => {}
        }
        talk("stopping");
        stop.cancel();
        running.await.map_err(|error| told(&error))
    }

    fn settings(&self, identity: Identity) -> anyhow::Result<Settings> {
        let node = match &self.node_name {
            Some(name) => name.clone(),
            None => rustix::system::uname()
                .nodename()
                .to_string_lossy()
                .to_lowercase(),
        };
        let mut settings = Settings::new(node, &self.state);
        settings.listen = vec![SocketAddr::new(self.bind_address, self.serve_port)];
        settings.exposed = self.i_know_this_exposes_the_node;
        settings.unix_socket.clone_from(&self.unix_socket);
        settings.policy.clone_from(&self.policy);
        settings.audit.clone_from(&self.audit);
        settings.local_auth = LocalAuth {
            profile: match self.local_auth {
                ProfileName::Compat => Profile::Compat,
                ProfileName::Guarded => Profile::Guarded,
                ProfileName::Strict => Profile::Strict,
            },
            uids: self.allow_uid.clone(),
            gids: self.allow_gid.clone(),
        };
        settings.tokens.clone_from(&self.tokens);
        settings.offline_intents = self.offline_intents == super::up::Switch::On;
        settings.intent_ttl = self.intent_ttl;
        settings.executor = match self.executor {
            ExecutorName::Auto => Executor::Auto,
            ExecutorName::Direct => Executor::Always(Method::Direct),
            ExecutorName::Request => Executor::Always(Method::Request),
        };
        settings.allowed_hosts.clone_from(&self.allowed_hosts);
        settings.allowed_origins.clone_from(&self.allowed_origins);
        settings.legacy_metrics = self.legacy_metrics;
        settings.compat_null_items = self.compat_null_items;
        settings.heartbeat = Heartbeat {
            interval: Duration::from_secs(self.heartbeat_interval_seconds.into()),
            timeout: Duration::from_secs(self.heartbeat_timeout_seconds.into()),
            ..Heartbeat::default()
        };
        settings.seed = SysRng
            .try_next_u64()
            .context("asking the operating system for random numbers")?;
        identity.name().clone_into(&mut settings.identity);
        Ok(settings)
    }
}

fn give(folder: &Path, uid: u32) -> anyhow::Result<()> {
    use std::os::unix::fs::{DirBuilderExt as _, chown};
    let path = folder.display();
    std::fs::DirBuilder::new()
        .recursive(true)
        .mode(0o700)
        .create(folder)
        .with_context(|| format!("making {path}"))?;
    chown(folder, Some(uid), Some(uid)).with_context(|| format!("giving {path} to user {uid}"))?;
    let entries = std::fs::read_dir(folder).with_context(|| format!("reading {path}"))?;
    for entry in entries {
        let entry = entry.with_context(|| format!("reading {path}"))?.path();
        chown(&entry, Some(uid), Some(uid))
            .with_context(|| format!("giving {} to user {uid}", entry.display()))?;
    }
    output::data(&format!("{path} belongs to user {uid}"))
}

/// What a person is told when a hub does not run.
fn told(error: &HubError) -> anyhow::Error {
    let advice = match error {
        HubError::Locked(_) => {
            talk(&format!(
                "error: {error}\nhint: stop the other one, or give this one a folder of its own with --state"
            ));
            return failure::ended_with(IN_USE);
        }
        HubError::Listen { .. } => "is a hub running already? another port is chosen with --serve-port",
        HubError::State { .. } => "give a folder that this user may write with --state",
        HubError::Settings(_) => "correct what it names; `pitstop hub --help` explains each flag",
    };
    failure::failed(error.to_string(), advice)
}
