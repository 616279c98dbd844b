//! `pitstop why`.

use clap::Args;
use futures::StreamExt as _;
use jiff::Timestamp;
use kube::Client;
use pitstop_api::{Clock as _, SystemClock, WorkloadKind};
use serde::Serialize;

use crate::cli::target::{FormArgs, ScopeArgs, Target};
use crate::connect::ConnectArgs;
use crate::output::{self, Report};
use crate::rollout::{self, PodRow, Refusal, Rollout};

/// For how many workloads refusals are asked for at once.
const CONCURRENCY: usize = 8;

/// Why pods are not at the target revision
///
/// Names the reason of each pod that waits: its node is not ready, the budget is used, a new pod is not ready yet. The
/// reasons come from the same decision that the controller makes.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pitstop why                         every workload of the namespace\n  pitstop why \
                  ds/nginx-daemonset      one of them\n  pitstop why pod/nginx-daemonset-bv5jg"
)]
pub struct Why {
    /// ds/NAME, ads/NAME, clone/NAME, asts/NAME or pod/NAME [default: every workload]
    #[arg(value_name = "KIND/NAME")]
    pub target: Option<Target>,
    /// Where to look.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Form.
    #[command(flatten)]
    pub form: FormArgs,
}

/// The answer of `why`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WhyReport {
    /// One for each workload.
    pub items: Vec<WhyItem>,
}

/// What one workload, or one pod of it, waits for.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WhyItem {
    /// Kind of the workload.
    #[serde(flatten, serialize_with = "rollout::as_in_objects")]
    pub kind: WorkloadKind,
    /// Namespace.
    pub namespace: String,
    /// Its name.
    pub name: String,
    /// Where it stands, in a sentence.
    pub summary: String,
    /// Hash of the target revision.
    pub target: Option<String>,
    /// The one pod that was asked about.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub pod: Option<String>,
    /// What is wrong with how the workload asks for its rollout.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
    /// What waits.
    pub waiting: Vec<PodRow>,
    /// What the API server refused of late.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub refused: Vec<Refusal>,
    /// Are fewer pods there than should be?
    #[serde(skip)]
    pub lacks_pods: bool,
    /// When that was looked at.
    #[serde(skip)]
    pub at: Timestamp,
}

impl WhyItem {
    /// Everything of a workload that waits.
    pub fn of(rollout: &Rollout) -> Self {
        Self {
            kind: rollout.kind,
            namespace: rollout.namespace.clone(),
            name: rollout.name.clone(),
            summary: rollout.sentence(),
            target: rollout.target.clone(),
            pod: None,
            warnings: rollout.warnings.clone(),
            waiting: rollout.waiting().map(|(row, _)| row.clone()).collect(),
            refused: Vec::new(),
            lacks_pods: rollout.present < rollout.desired,
            at: Timestamp::default(),
        }
    }

    /// One pod.
    pub fn of_pod(rollout: &Rollout, pod: &str) -> Self {
        let mut item = Self::of(rollout);
        item.waiting.retain(|row| row.pod.as_deref() == Some(pod));
        item.pod = Some(pod.to_owned());
        item
    }

    /// With what was refused of late, if anything waits, or is not there at all.
    async fn with_refusals(mut self, client: &Client) -> Self {
        if !self.waiting.is_empty() || self.lacks_pods {
            self.at = SystemClock.now();
            self.refused = rollout::refusals(client, self.kind, &self.namespace, &self.name, self.at).await;
        }
        self
    }

    fn title(&self) -> String {
        format!("{}/{}", self.kind.qualified(), self.name)
    }

    fn text(&self, wide: bool) -> String {
        let mut text = match &self.pod {
            Some(pod) => self.pod_text(pod),
            None => self.workload_text(wide),
        };
        for warning in &self.warnings {
            text.push_str("\nwarning: ");
            text.push_str(warning);
        }
        for refusal in &self.refused {
            text.push('\n');
            text.push_str(&refusal.text(self.at));
        }
        text
    }

    fn pod_text(&self, pod: &str) -> String {
        let target = self.target.as_deref().unwrap_or("<unknown>");
        let Some((row, waiting)) = self
            .waiting
            .first()
            .and_then(|row| row.waiting.as_ref().map(|waiting| (row, waiting)))
        else {
            return format!("pod/{pod} is at the target revision {target} and available");
        };
        format!(
            "pod/{pod} waits ({}): {}\n  node      {}{}\n  revision  {} of target {target}\n  workload  {}: {}",
            waiting.reason,
            waiting.explanation,
            row.node.as_deref().unwrap_or("<none>"),
            if row.node_ready { "" } else { " (not ready)" },
            row.revision.as_deref().unwrap_or("<none>"),
            self.title(),
            self.summary,
        )
    }

    fn workload_text(&self, wide: bool) -> String {
        let head = format!("{}: {}", self.title(), self.summary);
        if self.waiting.is_empty() {
            return head;
        }
        let mut headers = vec!["NODE", "POD", "REVISION", "STATE", "REASON", "EXPLANATION"];
        if wide {
            headers.push("IMAGES");
        }
        let mut table = output::table(&headers);
        for row in &self.waiting {
            let Some(waiting) = &row.waiting else { continue };
            let mut cells = vec![
                row.node.clone().unwrap_or_else(|| "<none>".to_owned()),
                row.pod.clone().unwrap_or_else(|| "<none>".to_owned()),
                row.revision.clone().unwrap_or_else(|| "<none>".to_owned()),
                row.state.clone(),
                waiting.reason.clone(),
                waiting.explanation.clone(),
            ];
            if wide {
                cells.push(row.images.join(","));
            }
            table.add_row(cells);
        }
        format!("{head}\n{}", output::table_text(&table))
    }
}

impl Report for WhyReport {
    fn text(&self, wide: bool) -> String {
        let parts: Vec<String> = self.items.iter().map(|item| item.text(wide)).collect();
        parts.join("\n\n")
    }
}

impl Why {
    /// Answers.
    ///
    /// # Errors
    /// Nothing of that name is there, or the API server does not answer.
    pub async fn run(self) -> anyhow::Result<()> {
        let connection = self.connect.connect().await?;
        let items: Vec<WhyItem> = match &self.target {
            Some(Target::Pod(pod)) => {
                let namespace = self.scope.namespace.as_deref().unwrap_or(&connection.namespace);
                let owner = rollout::owner_of_pod(&connection.client, namespace, pod).await?;
                let rollout = rollout::fetch(&connection.client, namespace, &owner).await?;
                vec![WhyItem::of_pod(&rollout, pod)]
            }
            Some(Target::Workload(workload)) => {
                let named = [workload.clone()];
                let rollouts = rollout::fetch_all(&connection, &self.scope, &named).await?;
                rollouts.iter().map(WhyItem::of).collect()
            }
            None => {
                let rollouts = rollout::fetch_all(&connection, &self.scope, &[]).await?;
                rollouts.iter().map(WhyItem::of).collect()
            }
        };
        let client = &connection.client;
        let asked: Vec<_> = items.into_iter().map(|item| item.with_refusals(client)).collect();
        let items = futures::stream::iter(asked).buffered(CONCURRENCY).collect().await;
        output::show(&WhyReport { items }, self.form.output)
    }
}
