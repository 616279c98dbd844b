//! `pitstop history`.

use clap::Args;
use pitstop_api::keys;
use pitstop_engine::{Plan, Snapshot};
use serde::Serialize;
use serde_json::Value;

use crate::cli::target::{FormArgs, NamespaceArgs, daemonset};
use crate::connect::ConnectArgs;
use crate::output::{self, Report};
use crate::rollout;

/// The revisions of a DaemonSet
///
/// Shows how many pods are at each of them. `kubectl rollout undo ds/NAME --to-revision=N` goes back to one.
#[derive(Debug, Args)]
pub struct History {
    /// The DaemonSet, as ds/NAME
    #[arg(value_name = "DS/NAME", value_parser = daemonset)]
    pub name: String,
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
    /// Name of the DaemonSet.
    pub daemonset: String,
    /// Oldest first.
    pub items: Vec<RevisionRow>,
}

/// One revision.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionRow {
    /// Its number.
    pub revision: i64,
    /// Its hash, which pods carry as a label.
    pub hash: String,
    /// Is it the one that pods are brought to?
    pub is_target: bool,
    /// Pods at it.
    pub pods: usize,
    /// Images of its template.
    pub images: Vec<String>,
    /// Annotation `kubernetes.io/change-cause`.
    pub change_cause: Option<String>,
}

impl HistoryReport {
    /// The revisions of a snapshot.
    pub fn of(snapshot: &Snapshot<'_>, plan: &Plan) -> Self {
        let uid = snapshot.daemonset.uid;
        let mut items: Vec<RevisionRow> = snapshot
            .revisions
            .iter()
            .filter(|revision| revision.controller.as_ref().is_some_and(|owner| owner.uid == uid))
            .map(|revision| RevisionRow {
                revision: revision.revision,
                hash: revision.hash().to_owned(),
                is_target: plan.progress.target.as_deref() == Some(revision.hash()),
                pods: snapshot
                    .pods
                    .iter()
                    .filter(|pod| pod.controller.as_ref().is_some_and(|owner| owner.uid == uid))
                    .filter(|pod| pod.revision_hash() == Some(revision.hash()))
                    .count(),
                images: images(&revision.data),
                change_cause: revision.annotations.get(keys::CHANGE_CAUSE).cloned(),
            })
            .collect();
        items.sort_by(|a, b| (a.revision, &a.hash).cmp(&(b.revision, &b.hash)));
        Self {
            daemonset: snapshot.daemonset.name.to_string(),
            items,
        }
    }
}

fn images(data: &Value) -> Vec<String> {
    let containers = data.pointer("/spec/template/spec/containers");
    containers
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
        .filter_map(|container| container.get("image")?.as_str().map(str::to_owned))
        .collect()
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

impl History {
    /// Answers.
    ///
    /// # Errors
    /// The DaemonSet is not there, or the API server does not answer.
    pub async fn run(self) -> anyhow::Result<()> {
        let connection = self.connect.connect().await?;
        let namespace = self.scope.namespace.as_deref().unwrap_or(&connection.namespace);
        let file = rollout::fetch_file(&connection.client, namespace, &self.name).await?;
        let report = rollout::decide(&file, HistoryReport::of)?;
        output::show(&report, self.form.output)
    }
}
