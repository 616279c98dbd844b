//! Rows from a plan.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pitstop_api::view::{NodeSlot, NodeView, PodView, Uid};
use pitstop_engine::Reason;
use pitstop_engine::plan::Waiting;
use pitstop_engine::snapshot::Nodes;

use super::{PodRow, READY, WaitingFor};

/// What rows are made from.
pub(super) struct Facts<'a> {
    pub(super) now: Timestamp,
    pub(super) owner: Uid,
    pub(super) pods: &'a [&'a PodView],
    pub(super) nodes: Nodes<'a>,
    pub(super) waiting: &'a [Waiting],
}

impl Facts<'_> {
    /// Every pod of the owner, and every node that lacks its pod, by node name.
    pub(super) fn rows(&self) -> Vec<PodRow> {
        let mut waiting_pods: BTreeMap<Uid, &Reason> = BTreeMap::new();
        let mut waiting_nodes: Vec<(NodeSlot, &Reason)> = Vec::new();
        for waiting in self.waiting {
            match (&waiting.pod, waiting.node) {
                (Some((_, uid)), _) => {
                    waiting_pods.insert(*uid, &waiting.reason);
                }
                (None, Some(node)) => waiting_nodes.push((node, &waiting.reason)),
                (None, None) => {}
            }
        }
        let owned = self.pods.iter().filter(|pod| is_of(pod, self.owner));
        let mut rows: Vec<PodRow> = owned
            .map(|pod| self.of_pod(pod, waiting_pods.get(&pod.uid).copied()))
            .collect();
        for (slot, reason) in waiting_nodes {
            rows.push(PodRow {
                pod: None,
                node: Some(self.nodes.names.name(slot).to_owned()),
                node_ready: self.nodes.get(slot).is_some_and(NodeView::is_ready),
                revision: None,
                images: Vec::new(),
                state: "-".to_owned(),
                waiting: Some(self.waiting_for(reason)),
            });
        }
        rows.sort_by(|a, b| (&a.node, &a.pod).cmp(&(&b.node, &b.pod)));
        rows
    }

    fn of_pod(&self, pod: &PodView, reason: Option<&Reason>) -> PodRow {
        let node = pod.node.and_then(|slot| self.nodes.get(slot));
        let state = if pod.is_terminating() {
            "Terminating".to_owned()
        } else if pod.is_ready() {
            READY.to_owned()
        } else {
            pod.trouble.as_deref().unwrap_or("NotReady").to_owned()
        };
        PodRow {
            pod: Some(pod.name.to_string()),
            node: pod.node.map(|slot| self.nodes.names.name(slot).to_owned()),
            node_ready: node.is_some_and(NodeView::is_ready),
            revision: pod.revision_hash().map(str::to_owned),
            images: pod.images.iter().map(ToString::to_string).collect(),
            state,
            waiting: reason.map(|reason| self.waiting_for(reason)),
        }
    }

    fn waiting_for(&self, reason: &Reason) -> WaitingFor {
        WaitingFor {
            reason: reason.word().to_owned(),
            explanation: reason.explain(self.now),
            detail: reason.clone(),
        }
    }
}

/// Is it controlled by this workload?
pub(super) fn is_of(pod: &PodView, owner: Uid) -> bool {
    pod.controller
        .as_ref()
        .is_some_and(|controller| controller.uid == owner)
}
