//! `pitstop snapshot`.

use anyhow::Context as _;
use clap::Args;

use crate::cli::target::{NamespaceArgs, Workload};
use crate::connect::ConnectArgs;
use crate::{output, rollout};

/// Write what decisions are made from to stdout, for `plan --snapshot`
///
/// The file holds the workload, its pods and revisions and the nodes, as far as a decision looks at them. It is what
/// to attach to a question about a rollout that does not move.
#[derive(Debug, Args)]
#[command(
    after_help = "Example:\n  pitstop snapshot ds/nginx-daemonset > state.json\n  pitstop plan --snapshot state.json"
)]
pub struct SnapshotCommand {
    /// The workload, as ds/NAME, ads/NAME, clone/NAME or asts/NAME
    #[arg(value_name = "KIND/NAME")]
    pub name: Workload,
    /// Where to look.
    #[command(flatten)]
    pub scope: NamespaceArgs,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

impl SnapshotCommand {
    /// Writes it.
    ///
    /// # Errors
    /// The workload is not there, or the API server does not answer.
    pub async fn run(self) -> anyhow::Result<()> {
        let connection = self.connect.connect().await?;
        let namespace = self.scope.namespace.as_deref().unwrap_or(&connection.namespace);
        let file = rollout::fetch_file(&connection.client, namespace, &self.name).await?;
        output::data(&serde_json::to_string_pretty(&file).context("writing the snapshot")?)
    }
}
