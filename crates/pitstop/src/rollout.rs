//! How far a DaemonSet is and why each pod waits: the engine's plan, as rows that people and programs read.

use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use pitstop_api::view::{NodeSlot, NodeView, PodView, StrategyType, Uid};
use pitstop_engine::daemonset::strategy::{self, Model};
use pitstop_engine::{Plan, Reason, Snapshot};
use serde::Serialize;

mod back_off;
mod fetch;
mod refusals;
#[cfg(test)]
pub(crate) mod sample;

pub use fetch::{decide, fetch, fetch_all, fetch_file, owner_of_pod};
pub use refusals::{Refusal, refusals};

/// One DaemonSet at one moment.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Who replaces its pods: `RollingUpdate`, OnDelete, AdvancedRollingUpdate, `OTA`, or `Invalid`.
    pub strategy: String,
    /// Hash of the revision that pods are brought to; absent until it is known.
    pub target: Option<String>,
    /// Nodes that should have a pod or have one.
    pub nodes: u32,
    /// Of those: with a pod at the target.
    pub updated: u32,
    /// Of those: with an available pod, from the status of the object.
    pub available: u32,
    /// Unavailable pods that count against the budget.
    pub unavailable: u32,
    /// Unavailable pods that are allowed.
    pub limit: u32,
    /// Nodes that are not ready and wait.
    pub not_ready_nodes: Vec<String>,
    /// Every pod, and every node that lacks its pod, by node name.
    pub pods: Vec<PodRow>,
}

/// One pod, or one node that lacks its pod.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct PodRow {
    /// Its name.
    pub pod: Option<String>,
    /// Its node.
    pub node: Option<String>,
    /// Is the node ready?
    pub node_ready: bool,
    /// Hash of its revision.
    pub revision: Option<String>,
    /// Images of its containers.
    pub images: Vec<String>,
    /// `Ready`, NotReady, `Terminating`, or what a container reports.
    pub state: String,
    /// Why it is not at the target; absent when it is.
    pub waiting: Option<WaitingFor>,
}

/// Why a pod waits.
#[derive(Debug, Clone, PartialEq, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct WaitingFor {
    /// The reason in one word.
    pub reason: String,
    /// The reason for people.
    pub explanation: String,
    /// The reason with its numbers and times.
    pub detail: Reason,
}

impl Rollout {
    /// What a plan says about the snapshot that it was made from.
    pub fn of(snapshot: &Snapshot<'_>, plan: &Plan) -> Self {
        let daemonset = snapshot.daemonset;
        let pods = rows(snapshot, plan);
        let not_ready_nodes: BTreeSet<String> = pods
            .iter()
            .filter(|row| {
                let detail = row.waiting.as_ref().map(|waiting| &waiting.detail);
                matches!(detail, Some(Reason::NodeNotReady { .. }))
            })
            .filter_map(|row| row.node.clone())
            .collect();
        Self {
            namespace: daemonset.namespace.to_string(),
            name: daemonset.name.to_string(),
            strategy: strategy_name(snapshot),
            target: plan.progress.target.as_deref().map(str::to_owned),
            nodes: plan.progress.nodes,
            updated: plan.progress.updated,
            available: daemonset.status.number_available,
            unavailable: plan.progress.unavailable,
            limit: plan.progress.limit,
            not_ready_nodes: not_ready_nodes.into_iter().collect(),
            pods,
        }
    }

    /// The rows that wait.
    pub fn waiting(&self) -> impl Iterator<Item = (&PodRow, &WaitingFor)> {
        self.pods
            .iter()
            .filter_map(|row| row.waiting.as_ref().map(|waiting| (row, waiting)))
    }

    /// Is nothing left to do, not even on nodes that are away?
    pub fn is_done(&self) -> bool {
        self.waiting().next().is_none()
    }

    /// Is nothing left to do but on nodes that are away?
    pub fn is_done_where_reachable(&self) -> bool {
        self.waiting()
            .all(|(_, waiting)| matches!(waiting.detail, Reason::NodeNotReady { .. }))
    }

    /// Is nothing left to do but where the owner of a node has not agreed yet?
    pub fn is_done_where_consented(&self) -> bool {
        self.waiting()
            .all(|(_, waiting)| waiting.detail == Reason::WaitingForOwner)
    }

    /// `updated U of D, waiting for R not-ready nodes: ...`. Source: daemonset.md "Better than upstream" 3.
    pub fn sentence(&self) -> String {
        let mut parts = vec![format!("updated {} of {}", self.updated, self.nodes)];
        if !self.not_ready_nodes.is_empty() {
            let (n, names) = (self.not_ready_nodes.len(), self.not_ready_nodes.join(", "));
            let nodes = if n == 1 { "node" } else { "nodes" };
            parts.push(format!(", waiting for {n} not-ready {nodes}: {names}"));
        }
        let mut others: BTreeMap<&str, u32> = BTreeMap::new();
        let mut n_owners: u32 = 0;
        for (_, waiting) in self.waiting() {
            match waiting.detail {
                Reason::NodeNotReady { .. } => {}
                Reason::WaitingForOwner => n_owners += 1,
                _ => *others.entry(&waiting.reason).or_default() += 1,
            }
        }
        if n_owners > 0 {
            parts.push(format!(", {n_owners} waiting for consent"));
        }
        if !others.is_empty() {
            let others: Vec<String> = others.iter().map(|(word, n)| format!("{n} {word}")).collect();
            parts.push(format!("; waiting: {}", others.join(", ")));
        }
        if self.is_done() {
            parts.push(", done".to_owned());
        }
        parts.concat()
    }
}

/// Who replaces the pods of a DaemonSet.
fn strategy_name(snapshot: &Snapshot<'_>) -> String {
    let daemonset = snapshot.daemonset;
    match (strategy::read(daemonset).model, &daemonset.strategy.kind) {
        (Model::AdvancedRollingUpdate, _) => "AdvancedRollingUpdate",
        (Model::Ota, _) => "OTA",
        (Model::Invalid, _) => "Invalid",
        (Model::Native, StrategyType::RollingUpdate) => "RollingUpdate",
        (Model::Native, StrategyType::OnDelete) => "OnDelete",
        (Model::Native, StrategyType::Other(other)) => other,
    }
    .to_owned()
}

fn rows(snapshot: &Snapshot<'_>, plan: &Plan) -> Vec<PodRow> {
    let mut waiting_pods: BTreeMap<Uid, &Reason> = BTreeMap::new();
    let mut waiting_nodes: Vec<(NodeSlot, &Reason)> = Vec::new();
    for waiting in &plan.waiting {
        match (&waiting.pod, waiting.node) {
            (Some((_, uid)), _) => {
                waiting_pods.insert(*uid, &waiting.reason);
            }
            (None, Some(node)) => waiting_nodes.push((node, &waiting.reason)),
            (None, None) => {}
        }
    }
    let uid = snapshot.daemonset.uid;
    let owned = snapshot
        .pods
        .iter()
        .filter(|pod| pod.controller.as_ref().is_some_and(|owner| owner.uid == uid));
    let mut rows: Vec<PodRow> = owned
        .map(|pod| pod_row(snapshot, pod, waiting_pods.get(&pod.uid).copied()))
        .collect();
    for (slot, reason) in waiting_nodes {
        rows.push(PodRow {
            pod: None,
            node: Some(snapshot.nodes.names.name(slot).to_owned()),
            node_ready: snapshot.nodes.get(slot).is_some_and(NodeView::is_ready),
            revision: None,
            images: Vec::new(),
            state: "-".to_owned(),
            waiting: Some(waiting_for(reason, snapshot.now)),
        });
    }
    rows.sort_by(|a, b| (&a.node, &a.pod).cmp(&(&b.node, &b.pod)));
    rows
}

fn pod_row(snapshot: &Snapshot<'_>, pod: &PodView, reason: Option<&Reason>) -> PodRow {
    let node = pod.node.and_then(|slot| snapshot.nodes.get(slot));
    let state = if pod.is_terminating() {
        "Terminating".to_owned()
    } else if pod.is_ready() {
        "Ready".to_owned()
    } else {
        pod.trouble.as_deref().unwrap_or("NotReady").to_owned()
    };
    PodRow {
        pod: Some(pod.name.to_string()),
        node: pod.node.map(|slot| snapshot.nodes.names.name(slot).to_owned()),
        node_ready: node.is_some_and(NodeView::is_ready),
        revision: pod.revision_hash().map(str::to_owned),
        images: pod.images.iter().map(ToString::to_string).collect(),
        state,
        waiting: reason.map(|reason| waiting_for(reason, snapshot.now)),
    }
}

fn waiting_for(reason: &Reason, now: Timestamp) -> WaitingFor {
    WaitingFor {
        reason: reason.word().to_owned(),
        explanation: reason.explain(now),
        detail: reason.clone(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::history::HistoryReport;
    use crate::cli::status::StatusReport;
    use crate::cli::why::{WhyItem, WhyReport};
    use crate::output::{Format, Report as _, render};

    fn half_way() -> Rollout {
        decide(&sample::half_way(&["a", "b", "c"]), Rollout::of).unwrap()
    }

    #[test]
    fn a_rollout_says_how_far_it_is() {
        let done = decide(&sample::settled(&["a", "b", "c"]), Rollout::of).unwrap();
        assert_eq!(done.sentence(), "updated 3 of 3, done");
        assert!(done.is_done() && done.is_done_where_reachable());
        let now = half_way();
        assert_eq!(
            now.sentence(),
            "updated 1 of 3, waiting for 1 not-ready node: c; waiting: 1 Updating"
        );
        assert!(!now.is_done() && !now.is_done_where_reachable());
    }

    /// users.md W18.
    #[test]
    fn owners_who_have_not_agreed_are_counted() {
        let names: Vec<String> = (0..100).map(|n| format!("{n:02x}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let now = decide(&sample::under_ota(&names, 40), Rollout::of).unwrap();
        assert_eq!(now.sentence(), "updated 40 of 100, 60 waiting for consent");
        assert!(!now.is_done() && now.is_done_where_consented());
        assert!(!half_way().is_done_where_consented());
    }

    #[test]
    fn a_rollout_is_done_where_reachable_when_only_absent_nodes_wait() {
        let mut file = sample::half_way(&["a", "c"]);
        file.daemonset["status"]["numberAvailable"] = 1.into();
        let now = decide(&file, Rollout::of).unwrap();
        assert_eq!(now.sentence(), "updated 1 of 2, waiting for 1 not-ready node: c");
        assert!(!now.is_done() && now.is_done_where_reachable());
    }

    #[test]
    fn status_in_every_form() {
        let mut report = StatusReport {
            items: vec![half_way()],
            named: false,
            with_namespace: true,
        };
        insta::assert_snapshot!(report.text(false), @r"
        NAMESPACE   NAME    STRATEGY                REVISION   NODES   UPDATED   AVAILABLE   NOT-READY   WAITING
        edge        agent   AdvancedRollingUpdate   two        3       1         3           1           2
        ");
        insta::assert_snapshot!(report.text(true), @r"
        NAMESPACE   NAME    STRATEGY                REVISION   NODES   UPDATED   AVAILABLE   NOT-READY   WAITING   BUDGET   IMAGES
        edge        agent   AdvancedRollingUpdate   two        3       1         3           1           2         0/1      app:1,app:2
        ");
        report.named = true;
        insta::assert_snapshot!(report.text(false), @r"daemonset.apps/agent: updated 1 of 3, waiting for 1 not-ready node: c; waiting: 1 Updating");
        insta::assert_snapshot!(render(&report, Some(Format::Yaml)).unwrap(), @r#"
        items:
        - namespace: edge
          name: agent
          strategy: AdvancedRollingUpdate
          target: two
          nodes: 3
          updated: 1
          available: 3
          unavailable: 0
          limit: 1
          notReadyNodes:
          - c
          pods:
          - pod: agent-a
            node: a
            nodeReady: true
            revision: two
            images:
            - app:2
            state: Ready
            waiting: null
          - pod: agent-b
            node: b
            nodeReady: true
            revision: one
            images:
            - app:1
            state: Ready
            waiting:
              reason: Updating
              explanation: it is being replaced now
              detail: Updating
          - pod: agent-c
            node: c
            nodeReady: false
            revision: one
            images:
            - app:1
            state: Ready
            waiting:
              reason: NodeNotReady
              explanation: >-
                its node is not ready for 5m0s; this costs no budget, and the pod is caught up
                when the node returns
              detail:
                NodeNotReady:
                  since: "2026-01-01T00:55:00Z"
        "#);
    }

    #[test]
    fn why_names_the_reason_of_each_pod_that_waits() {
        let rollout = half_way();
        let report = WhyReport {
            items: vec![WhyItem::of(&rollout)],
        };
        insta::assert_snapshot!(report.text(false), @r"
        daemonset.apps/agent: updated 1 of 3, waiting for 1 not-ready node: c; waiting: 1 Updating
        NODE   POD       REVISION   STATE   REASON         EXPLANATION
        b      agent-b   one        Ready   Updating       it is being replaced now
        c      agent-c   one        Ready   NodeNotReady   its node is not ready for 5m0s; this costs no budget, and the pod is caught up when the node returns
        ");
        let mut refused = WhyItem::of(&rollout);
        refused.at = "2026-01-01T01:00:00Z".parse().unwrap();
        refused.refused = vec![Refusal {
            reason: "FailedDelete".to_owned(),
            message: "Error deleting: not allowed to delete pods".to_owned(),
            count: 4,
            last_at: "2026-01-01T00:59:50Z".parse().unwrap(),
        }];
        let text = WhyReport { items: vec![refused] }.text(false);
        assert_eq!(
            text.lines().last(),
            Some("refused (FailedDelete, 4 times, last 10s ago): Error deleting: not allowed to delete pods")
        );
        let report = WhyReport {
            items: vec![WhyItem::of_pod(&rollout, "agent-c")],
        };
        insta::assert_snapshot!(report.text(false), @r"
        pod/agent-c waits (NodeNotReady): its node is not ready for 5m0s; this costs no budget, and the pod is caught up when the node returns
          node      c (not ready)
          revision  one of target two
          workload  daemonset.apps/agent: updated 1 of 3, waiting for 1 not-ready node: c; waiting: 1 Updating
        ");
        let report = WhyReport {
            items: vec![WhyItem::of_pod(&rollout, "agent-a")],
        };
        insta::assert_snapshot!(report.text(false), @r"pod/agent-a is at the target revision two and available");
    }

    #[test]
    fn history_shows_where_pods_are() {
        let file = sample::half_way(&["a", "b", "c"]);
        let report = decide(&file, HistoryReport::of).unwrap();
        insta::assert_snapshot!(report.text(true), @r"
        REVISION   HASH   PODS   TARGET   IMAGES   CHANGE-CAUSE
        1          one    2               app:1    use app:1
        2          two    1      yes      app:2    use app:2
        ");
    }
}
