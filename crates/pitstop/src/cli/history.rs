//! `pitstop history`.

use clap::Args;
use pitstop_api::WorkloadKind;
use serde::Serialize;
use serde_json::Value;

use crate::cli::target::{FormArgs, NamespaceArgs, Workload};
use crate::cli::undo;
use crate::connect::ConnectArgs;
use crate::output::{self, Report};
use crate::rollout::{self, Decided, Found, RevisionRow};

/// The revisions of a workload
///
/// Shows how many pods are at each of them, or the pod template of one. `pitstop undo KIND/NAME --to-revision=N` goes back to
/// one.
#[derive(Debug, Args)]
pub struct History {
    /// The workload, as ds/NAME, ads/NAME, clone/NAME or asts/NAME
    #[arg(value_name = "KIND/NAME")]
    pub name: Workload,
    /// Show the pod template of this revision
    #[arg(
        long,
        value_name = "N",
        env = "PITSTOP_REVISION",
        hide_env = true,
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub revision: Option<i64>,
    /// Where to look.
    #[command(flatten)]
    pub scope: NamespaceArgs,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Form.
    #[command(flatten)]
    pub form: FormArgs,
}

/// The answer of `history`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct HistoryReport {
    /// Kind of the workload.
    #[serde(flatten, serialize_with = "rollout::as_in_objects")]
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
    /// Oldest first.
    pub items: Vec<RevisionRow>,
}

impl HistoryReport {
    /// The revisions of a workload.
    pub fn of(decided: Decided) -> Self {
        Self {
            kind: decided.rollout.kind,
            name: decided.rollout.name,
            items: decided.revisions,
        }
    }
}

impl Report for HistoryReport {
    fn text(&self, wide: bool) -> String {
        let mut headers = vec!["REVISION", "HASH", "PODS", "TARGET", "IMAGES"];
        if wide {
            headers.push("CHANGE-CAUSE");
        }
        let mut table = output::table(&headers);
        for item in &self.items {
            let mut row = vec![
                item.revision.to_string(),
                item.hash.clone(),
                item.pods.to_string(),
                if item.is_target { "yes" } else { "" }.to_owned(),
                item.images.join(","),
            ];
            if wide {
                row.push(item.change_cause.clone().unwrap_or_else(|| "<none>".to_owned()));
            }
            table.add_row(row);
        }
        output::table_text(&table)
    }
}

/// The answer of `history --revision`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionReport {
    /// Kind of the workload.
    #[serde(flatten, serialize_with = "rollout::as_in_objects")]
    pub kind: WorkloadKind,
    /// Its name.
    pub name: String,
    /// Number of the revision.
    pub revision: i64,
    /// Its pod template.
    pub template: Value,
}

impl Report for RevisionReport {
    fn text(&self, _wide: bool) -> String {
        let template = serde_saphyr::to_string(&self.template).unwrap_or_default();
        let (kind, name) = (self.kind.qualified(), &self.name);
        format!(
            "{kind}/{name} with revision #{}\n{}",
            self.revision,
            template.trim_end()
        )
    }
}

impl History {
    /// Answers.
    ///
    /// # Errors
    /// The workload is not there, or the API server does not answer.
    pub async fn run(self) -> anyhow::Result<()> {
        if let Some(number) = self.revision {
            let found = Found::at(&self.connect, &self.scope, &self.name).await?;
            let revisions = undo::revisions_of(&found).await?;
            let revision = undo::numbered(&self.name, &revisions, number)?;
            let report = RevisionReport {
                kind: found.kind,
                template: undo::template_of(revision)?,
                name: found.name,
                revision: number,
            };
            return output::show(&report, self.form.output);
        }
        let connection = self.connect.connect().await?;
        let namespace = self.scope.namespace.as_deref().unwrap_or(&connection.namespace);
        let file = rollout::fetch_file(&connection.client, namespace, &self.name).await?;
        let report = HistoryReport::of(rollout::decide(&file)?);
        output::show(&report, self.form.output)
    }
}
