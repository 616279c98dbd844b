//! `pitstop status`.

use std::time::Duration;

use clap::Args;
use serde::Serialize;

use crate::cli::span;
use crate::cli::target::{FormArgs, ScopeArgs, Workload};
use crate::connect::{ConnectArgs, Connection};
use crate::output::{self, Report};
use crate::rollout::{self, Rollout};
use crate::{failure, output::talk};

/// How often a waiting command looks again.
const LOOK_EVERY: Duration = Duration::from_millis(500);

/// How far rollouts are
///
/// Works for DaemonSets of every strategy, also for OnDelete, and for CloneSets and StatefulSets of apps.kruise.io, where
/// `kubectl rollout status` refuses.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pitstop status                           every workload of the namespace\n  pitstop \
                        status clone/web                 one, in a sentence\n  pitstop status ds/x --wait reachable    \
                        wait until all nodes that answer are done"
)]
pub struct Status {
    /// Workloads, as ds/NAME, ads/NAME, clone/NAME and asts/NAME [default: all]
    #[arg(value_name = "KIND/NAME")]
    pub names: Vec<Workload>,
    /// Where to look.
    #[command(flatten)]
    pub scope: ScopeArgs,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
    /// Form.
    #[command(flatten)]
    pub form: FormArgs,
    /// Wait until rollouts are done, on `all` nodes, on those that are `reachable` now, or, under OTA, where owners have
    /// `consented`
    #[arg(long, value_name = "WHERE", env = "PITSTOP_WAIT", hide_env = true)]
    pub wait: Option<Wait>,
    /// How long to wait at most; after that the exit code is 3
    #[arg(
        long,
        value_name = "DURATION",
        env = "PITSTOP_TIMEOUT",
        hide_env = true,
        default_value = "10m",
        value_parser = span::parse
    )]
    pub timeout: Duration,
}

/// `--wait`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Wait {
    /// On every node, also on those that are away.
    All,
    /// On the nodes that are ready now.
    Reachable,
    /// On the nodes whose owners have agreed.
    Consented,
}

/// The answer of `status`.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct StatusReport {
    /// One for each workload.
    pub items: Vec<Rollout>,
    /// Were they asked for by name? Then each is a sentence.
    #[serde(skip)]
    pub named: bool,
    /// Are several namespaces in it?
    #[serde(skip)]
    pub with_namespace: bool,
}

impl Report for StatusReport {
    fn text(&self, wide: bool) -> String {
        if self.named && !wide {
            let lines: Vec<String> = self.items.iter().map(sentence).collect();
            return lines.join("\n");
        }
        let mut headers = vec![
            "NAME",
            "STRATEGY",
            "REVISION",
            "DESIRED",
            "UPDATED",
            "AVAILABLE",
            "NOT-READY",
            "WAITING",
        ];
        if self.with_namespace {
            headers.insert(0, "NAMESPACE");
        }
        if wide {
            headers.extend(["BUDGET", "IMAGES"]);
        }
        let mut table = output::table(&headers);
        for item in &self.items {
            let mut row = vec![
                format!("{}/{}", item.kind.short(), item.name),
                item.strategy.clone(),
                item.target.clone().unwrap_or_else(|| "<unknown>".to_owned()),
                item.desired.to_string(),
                item.updated.to_string(),
                item.available.to_string(),
                item.not_ready_nodes.len().to_string(),
                item.waiting().count().to_string(),
            ];
            if self.with_namespace {
                row.insert(0, item.namespace.clone());
            }
            if wide {
                row.push(format!("{}/{}", item.unavailable, item.limit));
                row.push(images(item));
            }
            table.add_row(row);
        }
        output::table_text(&table)
    }
}

fn sentence(item: &Rollout) -> String {
    format!("{}: {}", item.title(), item.sentence())
}

fn images(item: &Rollout) -> String {
    let mut images: Vec<&str> = item
        .pods
        .iter()
        .flat_map(|row| row.images.iter().map(String::as_str))
        .collect();
    images.sort_unstable();
    images.dedup();
    images.join(",")
}

impl Status {
    /// Answers, or waits.
    ///
    /// # Errors
    /// Nothing of that name is there, the API server does not answer, or waiting took too long.
    pub async fn run(self) -> anyhow::Result<()> {
        let connection = self.connect.connect().await?;
        if self.wait.is_some() {
            return self.wait_for(&connection).await;
        }
        let report = self.look(&connection).await?;
        output::show(&report, self.form.output)
    }

    async fn look(&self, connection: &Connection) -> anyhow::Result<StatusReport> {
        let items = rollout::fetch_all(connection, &self.scope, &self.names).await?;
        Ok(StatusReport {
            items,
            named: !self.names.is_empty(),
            with_namespace: self.scope.all_namespaces,
        })
    }

    async fn wait_for(&self, connection: &Connection) -> anyhow::Result<()> {
        let is_done = |item: &Rollout| match self.wait {
            Some(Wait::Reachable) => item.is_done_where_reachable(),
            Some(Wait::Consented) => item.is_done_where_consented(),
            Some(Wait::All) | None => item.is_done(),
        };
        let deadline = tokio::time::Instant::now() + self.timeout;
        let mut said = String::new();
        loop {
            let report = self.look(connection).await?;
            let lines: Vec<String> = report.items.iter().map(sentence).collect();
            let now = lines.join("\n");
            if report.items.iter().all(is_done) {
                return output::show(&report, self.form.output);
            }
            if now != said {
                talk(&now);
                said = now;
            }
            if tokio::time::Instant::now() + LOOK_EVERY > deadline {
                return Err(failure::timed_out(
                    format!("not done after {}s", self.timeout.as_secs()),
                    "ask `pitstop why` for the reason of each pod that waits",
                ));
            }
            tokio::time::sleep(LOOK_EVERY).await;
        }
    }
}
