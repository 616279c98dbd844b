//! `pitstop up`.

use std::net::{Ipv4Addr, SocketAddr};
use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use pitstop_cluster::Authorization;
use pitstop_cluster::builtin::Selection;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::gates::Gates;
use crate::cli::span;
use crate::embedded::{Embedded, NodeNames, Options, heartbeat};
use crate::hubs::{HubsArgs, Which};
use crate::output::{self, talk};
use crate::{config, failure, kubeconfig_file};

/// Start a cluster to try things on: API server, simulated nodes, controllers
///
/// Serves on loopback until Ctrl-C. Started again on the same data it goes on where it was. The nodes are simulated and
/// run no containers.
#[derive(Debug, Args)]
#[allow(clippy::struct_excessive_bools, reason = "flags")]
pub struct Up {
    /// How many nodes a new cluster gets; more are added to an old one [default: 3]
    #[arg(long, value_name = "N", env = "PITSTOP_NODES", hide_env = true)]
    pub nodes: Option<u32>,
    /// Names of the nodes, instead of node-1, node-2, ...
    #[arg(
        long,
        value_name = "A,B,C",
        env = "PITSTOP_NODE_NAMES",
        hide_env = true,
        value_delimiter = ',',
        conflicts_with = "nodes"
    )]
    pub node_names: Vec<String>,
    /// Add a node `control-plane` with the taint that keeps ordinary pods away
    #[arg(long, env = "PITSTOP_CONTROL_PLANE_NODE", hide_env = true)]
    pub control_plane_node: bool,
    /// Folder of the cluster [default: pitstop in your data folder]
    #[arg(long, value_name = "DIR", env = "PITSTOP_DATA", hide_env = true)]
    pub data: Option<PathBuf>,
    /// Keep everything in memory: it is gone when the program ends
    #[arg(long, env = "PITSTOP_MEMORY", hide_env = true, conflicts_with = "data")]
    pub memory: bool,
    /// Port on 127.0.0.1; 0 takes a free one
    #[arg(
        long,
        value_name = "PORT",
        env = "PITSTOP_PORT",
        hide_env = true,
        default_value_t = 7443
    )]
    pub port: u16,
    /// How long a node may be silent before it is NotReady
    #[arg(
        long,
        value_name = "DURATION",
        env = "PITSTOP_NODE_GRACE",
        hide_env = true,
        default_value = "40s",
        value_parser = span::parse
    )]
    pub node_grace: Duration,
    /// Also write the kubeconfig here; a file that pitstop did not write is never touched
    #[arg(long, value_name = "FILE", env = "PITSTOP_WRITE_KUBECONFIG", hide_env = true)]
    pub write_kubeconfig: Option<PathBuf>,
    /// Run pitstop's controllers inside
    #[arg(
        long,
        value_name = "on|off",
        env = "PITSTOP_UP_CONTROLLERS",
        hide_env = true,
        hide_possible_values = true,
        default_value = "on"
    )]
    pub controllers: Switch,
    /// Controllers that the cluster itself brings: `*` is all, `-NAME` all but that one; empty for none, to run those of
    /// somebody else against it
    #[arg(
        long,
        value_name = "LIST",
        env = "PITSTOP_CLUSTER_CONTROLLERS",
        hide_env = true,
        allow_hyphen_values = true,
        default_value = "*"
    )]
    pub cluster_controllers: Selection,
    /// Run starts, pulls, heartbeats and evictions of simulated nodes this many times faster
    #[arg(
        long,
        value_name = "FACTOR",
        env = "PITSTOP_TIME_SCALE",
        hide_env = true,
        default_value = "1",
        value_parser = time_scale
    )]
    pub time_scale: f64,
    /// Which features.
    #[command(flatten)]
    pub gates: Gates,
    /// Which hubs.
    #[command(flatten)]
    pub hubs: HubsArgs,
    /// Who may do what: whoever has the kubeconfig everything, or what roles and bindings say
    #[arg(
        long,
        value_name = "always-allow|rbac",
        env = "PITSTOP_AUTHORIZATION",
        hide_env = true,
        hide_possible_values = true,
        default_value = "always-allow"
    )]
    pub authorization: Mode,
}

/// How requests are authorised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Mode {
    /// Everybody may do everything.
    AlwaysAllow,
    /// Roles and bindings decide.
    Rbac,
}

/// `on` or `off`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Switch {
    /// On.
    On,
    /// Off.
    Off,
}

/// Reads `--time-scale`. Range: 0.01..=1000.
///
/// # Errors
/// The text is no number of that range.
pub fn time_scale(text: &str) -> Result<f64, String> {
    match text.parse::<f64>() {
        Ok(factor) if (0.01..=1000.0).contains(&factor) => Ok(factor),
        _ => Err(format!(
            "\"{text}\" is no factor; write a number from 0.01 to 1000"
        )),
    }
}

impl Up {
    /// Runs until Ctrl-C or SIGTERM.
    ///
    /// # Errors
    /// The data or port are in use, a file of the user is in the way, or the cluster ended by a fault.
    pub async fn run(self) -> anyhow::Result<()> {
        self.check_grace()?;
        let data = self.data_folder()?;
        let kubeconfig_path = match &data {
            Some(data) => Some(data.join("kubeconfig")),
            None => self.write_kubeconfig.clone(),
        };
        let Some(kubeconfig_path) = kubeconfig_path else {
            return Err(failure::usage(
                "with --memory there is no folder for the kubeconfig",
                "say where to write it with --write-kubeconfig FILE",
            ));
        };
        let mut files = vec![kubeconfig_path.clone()];
        files.extend(
            self.write_kubeconfig
                .clone()
                .filter(|path| *path != kubeconfig_path),
        );
        for file in &files {
            kubeconfig_file::check(file)?;
        }
        // Signals are taken over before anything is started, so that one in between is not lost.
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
        let mut embedded = Embedded::start(self.options(data.clone())).await?;
        for file in &files {
            kubeconfig_file::write(file, embedded.kubeconfig())?;
        }
        let shown = files.last().unwrap_or(&kubeconfig_path);
        output::data(&self.greeting(&embedded, shown, data.as_deref()))?;
        let ended = tokio::select! {
            _ = interrupt.recv() => Ok(()),
            _ = terminate.recv() => Ok(()),
            ended = embedded.ended() => ended,
        };
        talk("stopping");
        embedded.stop().await;
        if ended.is_ok() && data.is_some() {
            talk("stopped; `pitstop up` goes on where it was");
        }
        ended
    }

    /// A node that answers must not be taken for a silent one between two heartbeats.
    fn check_grace(&self) -> anyhow::Result<()> {
        let least = heartbeat(self.time_scale).mul_f64(1.5);
        if self.node_grace >= least {
            return Ok(());
        }
        let between = heartbeat(self.time_scale);
        Err(failure::usage(
            format!(
                "--node-grace {:?} is too short: simulated nodes report every {between:?}, so they would turn NotReady \
                 by themselves",
                self.node_grace
            ),
            format!("give at least {least:?}, or make time run faster with --time-scale"),
        ))
    }

    fn data_folder(&self) -> anyhow::Result<Option<PathBuf>> {
        if self.memory {
            return Ok(None);
        }
        match self.data.clone().or_else(config::data_folder) {
            Some(folder) => Ok(Some(folder)),
            None => Err(failure::usage(
                "there is no home folder to keep the cluster in",
                "say where with --data DIR, or keep it in memory with --memory",
            )),
        }
    }

    fn options(&self, data: Option<PathBuf>) -> Options {
        Options {
            data,
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, self.port)),
            node_grace: self.node_grace,
            time_scale: self.time_scale,
            cluster_controllers: self.cluster_controllers.clone(),
            controllers: self.controllers == Switch::On,
            gates: self.gates.clone(),
            nodes: if !self.node_names.is_empty() {
                NodeNames::Given(self.node_names.clone())
            } else if let Some(n) = self.nodes {
                NodeNames::Given((1..=n).map(|i| format!("node-{i}")).collect())
            } else {
                NodeNames::IfEmpty((1..=3).map(|i| format!("node-{i}")).collect())
            },
            hubs: self.hubs.wanted(),
            control_plane: self.control_plane_node.then(|| "control-plane".to_owned()),
            authorization: match self.authorization {
                Mode::AlwaysAllow => Authorization::AlwaysAllow,
                Mode::Rbac => Authorization::Rbac,
            },
        }
    }

    fn greeting(&self, embedded: &Embedded, kubeconfig: &Path, data: Option<&Path>) -> String {
        let example = embedded.node_names().last().map_or("node-1", String::as_str);
        let place = data.map_or_else(|| "memory only".to_owned(), |data| data.display().to_string());
        let controllers = match self.controllers {
            Switch::On => "on",
            Switch::Off => "off: start them with `pitstop controller`",
        };
        let hubs = match self.hubs.hubs.0 {
            Some(Which::All) => "all, one for each node: see `pitstop node list`".to_owned(),
            Some(Which::First(k)) => format!("of the {k} oldest nodes: see `pitstop node list`"),
            None => "none".to_owned(),
        };
        greeting(&Greeting {
            server: &format!("https://{}", embedded.addr()),
            nodes: &embedded.node_names().join(" "),
            place: &place,
            controllers,
            hubs: &hubs,
            kubeconfig: &kubeconfig.display().to_string(),
            example,
            grace: &format!("{:?}", self.node_grace),
        })
    }
}

struct Greeting<'a> {
    server: &'a str,
    nodes: &'a str,
    place: &'a str,
    controllers: &'a str,
    hubs: &'a str,
    kubeconfig: &'a str,
    example: &'a str,
    grace: &'a str,
}

/// What is running, and what to type next: something that works, something that fails, and the question why.
fn greeting(given: &Greeting<'_>) -> String {
    let Greeting {
        server,
        nodes,
        place,
        controllers,
        hubs,
        kubeconfig,
        example,
        grace,
    } = given;
    format!(
        r#"cluster      {server}
nodes        {nodes} (simulated: no containers run)
data         {place}
controllers  {controllers}
hubs         {hubs}
kubeconfig   {kubeconfig}

In another terminal:

export KUBECONFIG={kubeconfig}

# a DaemonSet that is upgraded node by node, over nodes that come and go
kubectl apply -f - <<'YAML'
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: nginx-daemonset
  annotations: {{apps.openyurt.io/update-strategy: AdvancedRollingUpdate}}
spec:
  selector: {{matchLabels: {{app: nginx}}}}
  updateStrategy: {{type: OnDelete}}
  template:
    metadata: {{labels: {{app: nginx}}}}
    spec: {{containers: [{{name: nginx, image: "nginx:1.19.4"}}]}}
YAML

# cut a node off (it is NotReady after {grace}), upgrade, and ask why a pod waits
pitstop node disconnect {example} --wait
kubectl set image ds/nginx-daemonset nginx=nginx:1.19.5
pitstop why ds/nginx-daemonset
pitstop node reconnect {example}

# an image that does not exist
kubectl set image ds/nginx-daemonset nginx=nginx:bad
pitstop why ds/nginx-daemonset

Ctrl-C stops it."#
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_greeting_can_be_pasted() {
        let text = greeting(&Greeting {
            server: "https://127.0.0.1:7443",
            nodes: "node-1 node-2 node-3",
            place: "/home/me/.local/share/pitstop",
            controllers: "on",
            hubs: "none",
            kubeconfig: "/home/me/.local/share/pitstop/kubeconfig",
            example: "node-3",
            grace: "40s",
        });
        for line in [
            "export KUBECONFIG=/home/me/.local/share/pitstop/kubeconfig",
            "pitstop node disconnect node-3 --wait",
            "pitstop why ds/nginx-daemonset",
        ] {
            assert!(text.lines().any(|shown| shown == line), "{line}: {text}");
        }
        let manifest = text
            .split("'YAML'\n")
            .nth(1)
            .unwrap()
            .split("\nYAML\n")
            .next()
            .unwrap();
        let object: serde_json::Value = serde_saphyr::from_str(manifest).unwrap();
        assert_eq!(object["spec"]["updateStrategy"]["type"], "OnDelete");
        assert_eq!(
            object["metadata"]["annotations"][pitstop_api::keys::OPENYURT_UPDATE_STRATEGY],
            "AdvancedRollingUpdate"
        );
    }

    #[test]
    fn a_time_scale_is_a_factor() {
        assert_eq!(time_scale("10"), Ok(10.0));
        assert_eq!(time_scale("0.5"), Ok(0.5));
        for text in ["0", "-1", "NaN", "inf", "fast", "1001"] {
            time_scale(text).unwrap_err();
        }
    }
}
