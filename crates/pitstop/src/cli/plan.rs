//! `pitstop plan`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use pitstop_engine::plan::DeleteReason;
use pitstop_engine::snapshot::file::SnapshotFile;
use pitstop_engine::{Action, Reason, Snapshot};
use serde::Serialize;

use crate::cli::target::{FormArgs, NamespaceArgs, daemonset};
use crate::connect::ConnectArgs;
use crate::output::{self, Report};
use crate::rollout::{self, PodRow, Rollout};
use crate::{failure, hypothesis};

/// What the first step of a rollout would do
///
/// Decides as the controller does, from the same state, and writes nothing. With -f it shows what would happen first if
/// the file were applied; the API server fills in the defaults in a dry run.
#[derive(Debug, Args)]
#[command(
    group = clap::ArgGroup::new("what").required(true).multiple(false).args(["name", "filename", "snapshot"]),
    after_help = "Examples:\n  pitstop plan ds/nginx-daemonset         what is done next\n  pitstop plan -f new.yaml               \
                  what would be done first if this were applied\n  pitstop plan --snapshot state.json     from a file of \
                  `pitstop snapshot`"
)]
pub struct Plan {
    /// The DaemonSet, as ds/NAME
    #[arg(value_name = "DS/NAME", value_parser = daemonset)]
    pub name: Option<String>,
    /// A manifest with the DaemonSet as it might become; `-` is stdin
    #[arg(short, long, value_name = "FILE", env = "PITSTOP_FILENAME", hide_env = true)]
    pub filename: Option<PathBuf>,
    /// A file that `pitstop snapshot` wrote; no cluster is asked
    #[arg(long, value_name = "FILE", env = "PITSTOP_SNAPSHOT", hide_env = true)]
    pub snapshot: Option<PathBuf>,
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

/// The answer of `plan`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PlanReport {
    /// Namespace.
    pub namespace: String,
    /// Name of the DaemonSet.
    pub daemonset: String,
    /// What was assumed, when it is not the state of a cluster as it is.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub assumed: Vec<String>,
    /// Where it stands.
    pub summary: String,
    /// What would be written, in order.
    pub actions: Vec<ActionRow>,
    /// Warnings that would be published.
    pub warnings: Vec<String>,
    /// What waits.
    pub waiting: Vec<PodRow>,
    /// When it would be decided again even if nothing happens. Units: seconds.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub again_in_seconds: Option<u64>,
}

/// One write.
#[derive(Debug, PartialEq, Eq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct ActionRow {
    /// What is done: `delete pod`, `create pod`, ...
    pub action: String,
    /// To which object; absent when its name is not known before it is made.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub name: Option<String>,
    /// On which node.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub node: Option<String>,
    /// Why, in one word.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub why: Option<String>,
}

impl PlanReport {
    /// What is decided from a snapshot.
    pub fn of(snapshot: &Snapshot<'_>, plan: &pitstop_engine::Plan, assumed: Vec<String>) -> Self {
        let rollout = Rollout::of(snapshot, plan);
        Self {
            summary: rollout.sentence(),
            waiting: rollout.waiting().map(|(row, _)| row.clone()).collect(),
            namespace: rollout.namespace,
            daemonset: rollout.name,
            assumed,
            actions: plan
                .actions
                .iter()
                .map(|action| action_row(snapshot, action))
                .collect(),
            warnings: plan
                .events
                .iter()
                .filter(|event| event.is_warning)
                .map(|event| format!("{}: {}", event.reason, event.message))
                .collect(),
            again_in_seconds: plan.requeue_after.map(|after| after.as_secs()),
        }
    }
}

fn action_row(snapshot: &Snapshot<'_>, action: &Action) -> ActionRow {
    let row = |action: &str, name: Option<String>| ActionRow {
        action: action.to_owned(),
        name,
        node: None,
        why: None,
    };
    match action {
        Action::CreateRevision(revision) => row("create revision", Some(revision.name.clone())),
        Action::RenumberRevision { name, revision, .. } => ActionRow {
            why: Some(format!("becomes revision {revision}")),
            ..row("renumber revision", Some(name.to_string()))
        },
        Action::LabelRevision { name, .. } => row("label revision", Some(name.to_string())),
        Action::DeleteRevision { name, .. } => row("delete revision", Some(name.to_string())),
        Action::Adopt { name, .. } => row("adopt", Some(name.to_string())),
        Action::Release { name, .. } => row("release", Some(name.to_string())),
        Action::RelabelPod { name, .. } => row("relabel pod", Some(name.to_string())),
        Action::SetPodCondition {
            name,
            kind,
            condition,
            ..
        } => ActionRow {
            why: Some(format!(
                "{kind}={}: {}",
                condition.status.as_str(),
                condition.message
            )),
            ..row("set condition", Some(name.to_string()))
        },
        Action::CreateJob(job) => ActionRow {
            node: Some(snapshot.nodes.names.name(job.node).to_owned()),
            why: Some(format!("pulls images for {}", job.pod)),
            ..row("create job", Some(job.name.to_string()))
        },
        Action::DeleteJob { name, .. } => row("delete job", Some(name.to_string())),
        Action::CreatePod { node, .. } => ActionRow {
            node: Some(snapshot.nodes.names.name(*node).to_owned()),
            ..row("create pod", None)
        },
        Action::DeletePod { name, node, why, .. } => ActionRow {
            node: node.map(|slot| snapshot.nodes.names.name(slot).to_owned()),
            why: Some(DeleteReason::as_str(*why).to_owned()),
            ..row("delete pod", Some(name.to_string()))
        },
    }
}

impl Report for PlanReport {
    fn text(&self, wide: bool) -> String {
        let mut parts: Vec<String> = self
            .assumed
            .iter()
            .map(|line| format!("assumed: {line}"))
            .collect();
        parts.push(format!("daemonset.apps/{}: {}", self.daemonset, self.summary));
        parts.extend(self.warnings.iter().map(|warning| format!("warning: {warning}")));
        if self.actions.is_empty() {
            parts.push("nothing would be done now".to_owned());
        } else {
            parts.push("would be done now:".to_owned());
            let mut table = output::table(&["  ACTION", "NAME", "NODE", "WHY"]);
            for action in &self.actions {
                table.add_row([
                    format!("  {}", action.action),
                    action.name.clone().unwrap_or_else(|| "<new>".to_owned()),
                    action.node.clone().unwrap_or_else(|| "-".to_owned()),
                    action.why.clone().unwrap_or_else(|| "-".to_owned()),
                ]);
            }
            parts.push(output::table_text(&table));
        }
        // What is replaced now is among the actions already.
        let mut rest = self
            .waiting
            .iter()
            .filter(|row| {
                row.waiting
                    .as_ref()
                    .is_some_and(|waiting| waiting.detail != Reason::Updating)
            })
            .peekable();
        if rest.peek().is_some() {
            parts.push("then waits:".to_owned());
            parts.push(waiting_table(rest, wide));
        }
        if let Some(seconds) = self.again_in_seconds {
            parts.push(format!(
                "looks again in {} at the latest",
                output::age(i64::try_from(seconds).unwrap_or(i64::MAX))
            ));
        }
        parts.join("\n")
    }
}

fn waiting_table<'a>(rows: impl Iterator<Item = &'a PodRow>, wide: bool) -> String {
    let mut headers = vec!["  NODE", "POD", "REASON", "EXPLANATION"];
    if wide {
        headers.push("REVISION");
    }
    let mut table = output::table(&headers);
    for row in rows {
        let Some(waiting) = &row.waiting else { continue };
        let mut cells = vec![
            format!("  {}", row.node.as_deref().unwrap_or("<none>")),
            row.pod.clone().unwrap_or_else(|| "<none>".to_owned()),
            waiting.reason.clone(),
            waiting.explanation.clone(),
        ];
        if wide {
            cells.push(row.revision.clone().unwrap_or_else(|| "<none>".to_owned()));
        }
        table.add_row(cells);
    }
    output::table_text(&table)
}

impl Plan {
    /// Answers.
    ///
    /// # Errors
    /// The file does not parse, the DaemonSet is not there, or the API server refuses it.
    pub async fn run(self) -> anyhow::Result<()> {
        let (file, assumed) = self.state().await?;
        let report = rollout::decide(&file, |snapshot, plan| PlanReport::of(snapshot, plan, assumed))?;
        output::show(&report, self.form.output)
    }

    async fn state(&self) -> anyhow::Result<(SnapshotFile, Vec<String>)> {
        if let Some(path) = &self.snapshot {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            let file = serde_json::from_str(&text).map_err(|error| {
                failure::failed(
                    format!("{} is no snapshot: {error}", path.display()),
                    "write one with `pitstop snapshot ds/NAME > state.json`",
                )
            })?;
            return Ok((file, Vec::new()));
        }
        let connection = self.connect.connect().await?;
        let namespace = self.scope.namespace.as_deref();
        if let Some(path) = &self.filename {
            let wanted = hypothesis::read(path)?;
            let namespace = namespace
                .or(wanted.namespace())
                .unwrap_or(&connection.namespace)
                .to_owned();
            return hypothesis::suppose(&connection.client, &namespace, &wanted).await;
        }
        let name = self.name.as_deref().unwrap_or_default();
        let namespace = namespace.unwrap_or(&connection.namespace);
        let file = rollout::fetch_file(&connection.client, namespace, name).await?;
        Ok((file, Vec::new()))
    }
}
