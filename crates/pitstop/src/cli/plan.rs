//! `pitstop plan`.

use std::path::PathBuf;

use anyhow::Context as _;
use clap::Args;
use pitstop_api::WorkloadKind;
use pitstop_engine::Reason;
use pitstop_engine::snapshot::file::SnapshotFile;
use serde::Serialize;

use crate::cli::target::{FormArgs, NamespaceArgs, Workload};
use crate::connect::ConnectArgs;
use crate::output::{self, Report};
use crate::rollout::{self, ActionRow, Decided, PodRow};
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
    /// The workload, as ds/NAME, ads/NAME, clone/NAME or asts/NAME
    #[arg(value_name = "KIND/NAME")]
    pub name: Option<Workload>,
    /// A manifest with the workload as it might become; `-` is stdin
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
    /// Kind of the workload.
    #[serde(flatten, serialize_with = "rollout::as_in_objects")]
    pub kind: WorkloadKind,
    /// Namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
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

impl PlanReport {
    /// What is decided.
    pub fn of(decided: Decided, assumed: Vec<String>) -> Self {
        let rollout = decided.rollout;
        Self {
            summary: rollout.sentence(),
            waiting: rollout.waiting().map(|(row, _)| row.clone()).collect(),
            kind: rollout.kind,
            namespace: rollout.namespace,
            name: rollout.name,
            assumed,
            actions: decided.actions,
            warnings: decided.warnings,
            again_in_seconds: decided.requeue_after.map(|after| after.as_secs()),
        }
    }
}

impl Report for PlanReport {
    fn text(&self, wide: bool) -> String {
        let mut parts: Vec<String> = self
            .assumed
            .iter()
            .map(|line| format!("assumed: {line}"))
            .collect();
        parts.push(format!(
            "{}/{}: {}",
            self.kind.qualified(),
            self.name,
            self.summary
        ));
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
    /// The file does not parse, the workload is not there, or the API server refuses it.
    pub async fn run(self) -> anyhow::Result<()> {
        let (file, assumed) = self.state().await?;
        let report = PlanReport::of(rollout::decide(&file)?, assumed);
        output::show(&report, self.form.output)
    }

    async fn state(&self) -> anyhow::Result<(SnapshotFile, Vec<String>)> {
        if let Some(path) = &self.snapshot {
            let text =
                std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
            let file = serde_json::from_str(&text).map_err(|error| {
                failure::failed(
                    format!("{} is no snapshot: {error}", path.display()),
                    "write one with `pitstop snapshot KIND/NAME > state.json`",
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
        let Some(workload) = &self.name else {
            return Err(failure::usage(
                "nothing is named",
                "name a workload, or give -f or --snapshot",
            ));
        };
        let namespace = namespace.unwrap_or(&connection.namespace);
        let file = rollout::fetch_file(&connection.client, namespace, workload).await?;
        Ok((file, Vec::new()))
    }
}
