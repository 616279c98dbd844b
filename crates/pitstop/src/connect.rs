//! From a kubeconfig to a client.

use std::path::{Path, PathBuf};
use std::time::Duration;

use anyhow::Context as _;
use clap::Args;
use kube::Client;
use kube::config::{Config, KubeConfigOptions, Kubeconfig};

use crate::{config, failure, output};

/// Which API server.
#[derive(Debug, Clone, Default, Args)]
pub struct ConnectArgs {
    /// Kubeconfig of the cluster [default: $KUBECONFIG, a running `pitstop up`, ~/.kube/config]
    #[arg(long, value_name = "FILE", env = "PITSTOP_KUBECONFIG", hide_env = true)]
    pub kubeconfig: Option<PathBuf>,
    /// Context of the kubeconfig [default: its current one]
    #[arg(long, value_name = "NAME", env = "PITSTOP_CONTEXT", hide_env = true)]
    pub context: Option<String>,
}

/// A client and the namespace that the context names.
#[derive(Clone)]
pub struct Connection {
    /// The client.
    pub client: Client,
    /// Namespace of the context, `default` if it names none.
    pub namespace: String,
}

impl ConnectArgs {
    /// The client for what was asked for.
    ///
    /// # Errors
    /// There is no kubeconfig, it cannot be read, or it does not hold the context.
    pub async fn connect(&self) -> anyhow::Result<Connection> {
        let kubeconfig = self.kubeconfig().await?;
        let options = KubeConfigOptions {
            context: self.context.clone(),
            ..KubeConfigOptions::default()
        };
        let mut config = Config::from_custom_kubeconfig(kubeconfig, &options)
            .await
            .map_err(|error| {
                failure::failed(
                    format!("reading the kubeconfig: {error}"),
                    "choose another file with --kubeconfig or another of its contexts with --context",
                )
            })?;
        // A repeated POST would make a twin; whoever wants another try makes it himself.
        config.default_retry = false;
        let namespace = config.default_namespace.clone();
        let client = Client::try_from(config).context("making a client from the kubeconfig")?;
        Ok(Connection { client, namespace })
    }

    async fn kubeconfig(&self) -> anyhow::Result<Kubeconfig> {
        if let Some(path) = &self.kubeconfig {
            return read(path);
        }
        let from_env = Kubeconfig::from_env().map_err(|error| {
            failure::failed(
                format!("reading the kubeconfig that $KUBECONFIG names: {error}"),
                "correct $KUBECONFIG or choose a file with --kubeconfig",
            )
        })?;
        if let Some(kubeconfig) = from_env {
            return Ok(kubeconfig);
        }
        if let Some((path, kubeconfig)) = running_up().await {
            output::talk(&format!(
                "note: using the cluster of the running `pitstop up` ({}); --kubeconfig chooses another",
                path.display()
            ));
            return Ok(kubeconfig);
        }
        Kubeconfig::read().map_err(|_| {
            failure::failed(
                "no kubeconfig was given and there is none at ~/.kube/config",
                "start a cluster with `pitstop up`, or choose one with --kubeconfig FILE",
            )
        })
    }
}

fn read(path: &Path) -> anyhow::Result<Kubeconfig> {
    Kubeconfig::read_from(path).map_err(|error| {
        failure::failed(
            format!("reading {}: {error}", path.display()),
            "choose another file with --kubeconfig; `pitstop up` prints the path of its own",
        )
    })
}

/// The kubeconfig of the cluster in the default data folder, if its server answers.
async fn running_up() -> Option<(PathBuf, Kubeconfig)> {
    let path = config::own_kubeconfig()?;
    let kubeconfig = Kubeconfig::read_from(&path).ok()?;
    let server = kubeconfig.clusters.first()?.cluster.as_ref()?.server.clone()?;
    let address = server.strip_prefix("https://")?.trim_end_matches('/').to_owned();
    let dial = tokio::net::TcpStream::connect(address);
    tokio::time::timeout(Duration::from_secs(1), dial)
        .await
        .ok()?
        .ok()?;
    Some((path, kubeconfig))
}
