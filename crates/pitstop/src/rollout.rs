//! How far a workload is and why each pod waits: the engine's plan, as rows that people and programs read.

use std::collections::{BTreeMap, BTreeSet};

use pitstop_api::WorkloadKind;
use pitstop_engine::Reason;
use serde::ser::SerializeMap as _;
use serde::{Serialize, Serializer};

mod back_off;
mod decided;
mod fetch;
mod objects;
mod refusals;
mod revisions;
mod rows;
#[cfg(test)]
pub(crate) mod sample;
mod step;

pub use decided::{Decided, decide};
pub use fetch::{fetch, fetch_all, fetch_file, locate, owner_of_pod};
pub use objects::{Found, change, objects};
pub use refusals::{Refusal, refusals};
pub use revisions::{RevisionRow, images_of};
pub use step::ActionRow;

/// The kind of a workload as objects carry it, with their `apiVersion`: two kinds are called DaemonSet.
#[allow(clippy::trivially_copy_pass_by_ref, reason = "serde calls it so")]
pub(crate) fn as_in_objects<S: Serializer>(kind: &WorkloadKind, serializer: S) -> Result<S::Ok, S::Error> {
    let mut fields = serializer.serialize_map(Some(2))?;
    fields.serialize_entry("apiVersion", kind.api_version())?;
    fields.serialize_entry("kind", kind.kind())?;
    fields.end()
}

/// One workload at one moment.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct Rollout {
    /// Its kind.
    #[serde(flatten, serialize_with = "as_in_objects")]
    pub kind: WorkloadKind,
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Who replaces or changes its pods. Of a DaemonSet `RollingUpdate`, OnDelete, AdvancedRollingUpdate, `OTA`, or
    /// `Invalid`; of a CloneSet or a StatefulSet `ReCreate`, `InPlaceIfPossible`, `InPlaceOnly`, or OnDelete.
    pub strategy: String,
    /// The revision that pods are brought to, as they carry it in a label; absent until it is known.
    pub target: Option<String>,
    /// Pods that should be there. Of a DaemonSet: nodes that should have one or have one.
    pub desired: u32,
    /// Pods that are there and do not end. Of a DaemonSet this is `desired`: a pod that is missing waits.
    pub present: u32,
    /// Of those: at the target.
    pub updated: u32,
    /// Of those: available, from the status of the object.
    pub available: u32,
    /// Unavailable pods that count against the budget.
    pub unavailable: u32,
    /// Unavailable pods that are allowed.
    pub limit: u32,
    /// The generation of the object, where no controller has acted on it yet.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub unseen_generation: Option<i64>,
    /// What goes wrong, as the conditions of the object say: `FailedCreatePod: ...`.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub failing: Vec<String>,
    /// Nodes that are not ready and wait.
    pub not_ready_nodes: Vec<String>,
    /// Every pod, and every node that lacks its pod, by node name.
    pub pods: Vec<PodRow>,
    /// What is wrong with how it asks for its rollout.
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub warnings: Vec<String>,
}

/// The state of a pod that is ready.
const READY: &str = "Ready";

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
    /// Its revision, as its label says.
    pub revision: Option<String>,
    /// Images of its containers.
    pub images: Vec<String>,
    /// `Ready`, NotReady, `Terminating`, or what a container reports.
    pub state: String,
    /// Why it is not at the target, or not available there; absent when it is.
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

impl PodRow {
    /// Is its pod ready?
    fn is_ready(&self) -> bool {
        self.state == READY
    }
}

impl Rollout {
    /// `cloneset.apps.kruise.io/web`, as kubectl names it.
    pub fn title(&self) -> String {
        format!("{}/{}", self.kind.qualified(), self.name)
    }

    /// The rows that wait.
    pub fn waiting(&self) -> impl Iterator<Item = (&PodRow, &WaitingFor)> {
        self.pods
            .iter()
            .filter_map(|row| row.waiting.as_ref().map(|waiting| (row, waiting)))
    }

    /// Is nothing left to do, not even on nodes that are away? What a partition keeps back is not meant to be done, as long
    /// as it is ready.
    pub fn is_done(&self) -> bool {
        self.is_done_but_for(|_, _| false)
    }

    /// Is nothing left to do but on nodes that are away?
    pub fn is_done_where_reachable(&self) -> bool {
        let is_away = |row: &PodRow, reason: &Reason| match reason {
            Reason::NodeNotReady { .. } | Reason::NodeInMaintenance { .. } => true,
            Reason::Partition { .. } => !row.node_ready,
            _ => false,
        };
        self.is_done_but_for(is_away)
    }

    /// Is nothing left to do but where the owner of a node has not agreed yet?
    pub fn is_done_where_consented(&self) -> bool {
        self.is_done_but_for(|_, reason| *reason == Reason::WaitingForOwner)
    }

    fn is_done_but_for(&self, may_wait: impl Fn(&PodRow, &Reason) -> bool) -> bool {
        let is_kept = |row: &PodRow, reason: &Reason| match reason {
            Reason::Partition { .. } => row.is_ready(),
            Reason::Canary | Reason::NotSelected => true,
            _ => false,
        };
        self.present == self.desired
            && self.unseen_generation.is_none()
            && self
                .waiting()
                .all(|(row, waiting)| is_kept(row, &waiting.detail) || may_wait(row, &waiting.detail))
    }

    /// `updated U of D, waiting for R not-ready nodes: ...`. Source: daemonset.md "Better than upstream" 3.
    pub fn sentence(&self) -> String {
        let mut parts = vec![format!("updated {} of {}", self.updated, self.desired)];
        if self.present != self.desired {
            parts.push(format!(", {} there", self.present));
        }
        if !self.not_ready_nodes.is_empty() {
            let (n, names) = (self.not_ready_nodes.len(), self.not_ready_nodes.join(", "));
            let nodes = if n == 1 { "node" } else { "nodes" };
            parts.push(format!(", waiting for {n} not-ready {nodes}: {names}"));
        }
        let mut others: BTreeMap<&str, u32> = BTreeMap::new();
        let (mut n_owners, mut n_kept, mut n_kept_down, mut n_outside) = (0, 0, 0, 0);
        for (row, waiting) in self.waiting() {
            match waiting.detail {
                Reason::NodeNotReady { .. } => {}
                Reason::WaitingForOwner => n_owners += 1,
                Reason::Partition { .. } if row.is_ready() => n_kept += 1,
                Reason::Partition { .. } => n_kept_down += 1,
                Reason::Canary | Reason::NotSelected => n_outside += 1,
                _ => *others.entry(&waiting.reason).or_default() += 1,
            }
        }
        for (n, what) in [
            (n_owners, "waiting for consent"),
            (n_kept, "kept by partition"),
            (n_kept_down, "kept by partition and not ready"),
            (n_outside, "outside the canary"),
        ] {
            if n > 0 {
                parts.push(format!(", {n} {what}"));
            }
        }
        if !others.is_empty() {
            let others: Vec<String> = others.iter().map(|(word, n)| format!("{n} {word}")).collect();
            parts.push(format!("; waiting: {}", others.join(", ")));
        }
        parts.extend(self.failing.iter().map(|failure| format!("; {failure}")));
        if let Some(generation) = self.unseen_generation {
            parts.push(format!(
                "; no controller has acted on generation {generation} of it yet"
            ));
        }
        if self.is_done() {
            parts.push(", done".to_owned());
        }
        parts.concat()
    }

    /// The nodes of rows that wait for them.
    fn not_ready(rows: &[PodRow]) -> Vec<String> {
        let away = rows.iter().filter(|row| {
            let detail = row.waiting.as_ref().map(|waiting| &waiting.detail);
            matches!(detail, Some(Reason::NodeNotReady { .. }))
        });
        let names: BTreeSet<String> = away.filter_map(|row| row.node.clone()).collect();
        names.into_iter().collect()
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::cli::history::HistoryReport;
    use crate::cli::status::StatusReport;
    use crate::cli::why::{WhyItem, WhyReport};
    use crate::output::{Format, Report as _, render};

    fn half_way() -> Rollout {
        decide(&sample::half_way(&["a", "b", "c"])).unwrap().rollout
    }

    #[test]
    fn two_kinds_of_one_name_are_told_apart() {
        let mut now = half_way();
        now.kind = WorkloadKind::AdvancedDaemonSet;
        let json = serde_json::to_value(&now).unwrap();
        assert_eq!(
            (&json["apiVersion"], &json["kind"]),
            (&"apps.kruise.io/v1beta1".into(), &"DaemonSet".into())
        );
        assert_eq!(json["namespace"], "edge");
    }

    #[test]
    fn a_rollout_says_how_far_it_is() {
        let done = decide(&sample::settled(&["a", "b", "c"])).unwrap().rollout;
        assert_eq!(done.sentence(), "updated 3 of 3, done");
        assert!(done.is_done() && done.is_done_where_reachable());
        let now = half_way();
        assert_eq!(
            now.sentence(),
            "updated 1 of 3, waiting for 1 not-ready node: c; waiting: 1 Updating"
        );
        assert!(!now.is_done() && !now.is_done_where_reachable());
    }

    /// Where nobody runs the kind, nothing is done, however little there is to do.
    #[test]
    fn what_no_controller_has_seen_is_not_done() {
        let mut file = sample::settled(&[]);
        assert_eq!(decide(&file).unwrap().rollout.sentence(), "updated 0 of 0, done");
        for (status, generation) in [(json!({}), 1), (json!({"observedGeneration": 1}), 2)] {
            file.workload.object_mut()["status"] = status;
            file.workload.object_mut()["metadata"]["generation"] = generation.into();
            let unseen = decide(&file).unwrap().rollout;
            let text =
                format!("updated 0 of 0; no controller has acted on generation {generation} of it yet");
            assert_eq!(unseen.sentence(), text);
            assert!(!unseen.is_done() && !unseen.is_done_where_reachable());
        }
    }

    /// users.md W18.
    #[test]
    fn owners_who_have_not_agreed_are_counted() {
        let names: Vec<String> = (0..100).map(|n| format!("{n:02x}")).collect();
        let names: Vec<&str> = names.iter().map(String::as_str).collect();
        let now = decide(&sample::under_ota(&names, 40)).unwrap().rollout;
        assert_eq!(now.sentence(), "updated 40 of 100, 60 waiting for consent");
        assert!(!now.is_done() && now.is_done_where_consented());
        assert!(!half_way().is_done_where_consented());
    }

    #[test]
    fn a_rollout_is_done_where_reachable_when_only_absent_nodes_wait() {
        let mut file = sample::half_way(&["a", "c"]);
        file.workload.object_mut()["status"]["numberAvailable"] = 1.into();
        let now = decide(&file).unwrap().rollout;
        assert_eq!(now.sentence(), "updated 1 of 2, waiting for 1 not-ready node: c");
        assert!(!now.is_done() && now.is_done_where_reachable());
    }

    /// What a partition keeps is done only while it works: after going back it may be the bad version that is kept.
    #[test]
    fn what_a_partition_keeps_has_to_be_ready() {
        let mut now = decide(&sample::settled(&["a", "b"])).unwrap().rollout;
        now.pods[1].waiting = Some(WaitingFor {
            reason: "Partition".to_owned(),
            explanation: String::new(),
            detail: Reason::Partition { keeps: 1 },
        });
        now.updated = 1;
        for (state, node_ready, sentence, is_done, is_done_where_reachable) in [
            ("Ready", true, "1 kept by partition, done", true, true),
            (
                "ErrImagePull",
                true,
                "1 kept by partition and not ready",
                false,
                false,
            ),
            (
                "NotReady",
                false,
                "1 kept by partition and not ready",
                false,
                true,
            ),
        ] {
            (now.pods[1].state, now.pods[1].node_ready) = (state.to_owned(), node_ready);
            assert_eq!(now.sentence(), format!("updated 1 of 2, {sentence}"));
            assert_eq!(
                (now.is_done(), now.is_done_where_reachable()),
                (is_done, is_done_where_reachable),
                "{state}"
            );
        }
    }

    #[test]
    fn status_in_every_form() {
        let mut report = StatusReport {
            items: vec![half_way()],
            named: false,
            with_namespace: true,
        };
        insta::assert_snapshot!(report.text(false), @r"
        NAMESPACE   NAME       STRATEGY                REVISION   DESIRED   UPDATED   AVAILABLE   NOT-READY   WAITING
        edge        ds/agent   AdvancedRollingUpdate   two        3         1         3           1           2
        ");
        insta::assert_snapshot!(report.text(true), @r"
        NAMESPACE   NAME       STRATEGY                REVISION   DESIRED   UPDATED   AVAILABLE   NOT-READY   WAITING   BUDGET   IMAGES
        edge        ds/agent   AdvancedRollingUpdate   two        3         1         3           1           2         0/1      app:1,app:2
        ");
        report.named = true;
        insta::assert_snapshot!(report.text(false), @r"daemonset.apps/agent: updated 1 of 3, waiting for 1 not-ready node: c; waiting: 1 Updating");
        insta::assert_snapshot!(render(&report, Some(Format::Yaml)).unwrap(), @r#"
        items:
        - apiVersion: apps/v1
          kind: DaemonSet
          namespace: edge
          name: agent
          strategy: AdvancedRollingUpdate
          target: two
          desired: 3
          present: 3
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
              explanation: its turn has come, and it is being updated
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
        b      agent-b   one        Ready   Updating       its turn has come, and it is being updated
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
        let report = HistoryReport::of(decide(&file).unwrap());
        insta::assert_snapshot!(report.text(true), @r"
        REVISION   HASH   PODS   TARGET   IMAGES   CHANGE-CAUSE
        1          one    2               app:1    use app:1
        2          two    1      yes      app:2    use app:2
        ");
    }
}
