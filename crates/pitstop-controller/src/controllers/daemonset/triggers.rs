//! Which changes touch which workloads. Source: daemonset.md A3, C5.8.

use std::collections::BTreeSet;

use pitstop_api::WorkloadKind;
use pitstop_api::view::{NodeView, Uid};

use super::DaemonSets;
use crate::api::Resource;
use crate::queue::COALESCE;
use crate::store::{Change, Key, Listener, State};

impl Listener for DaemonSets {
    fn changed(&self, state: &State, change: &Change) {
        let within = match change {
            Change::Pod {
                turned_ready: false, ..
            } => self.model.patience,
            _ => COALESCE,
        };
        for key in self.touched(state, change) {
            self.mark(&key, within);
        }
    }

    fn relisted(&self, state: &State, _: Resource) {
        let known = self.memories.keys();
        let concerned = state
            .daemonsets_of(self.model.kind)
            .iter()
            .filter(|(_, daemonset)| (self.model.concerns)(daemonset))
            .map(|(key, _)| key.clone());
        for key in concerned.chain(known).collect::<BTreeSet<_>>() {
            self.mark(&key, COALESCE);
        }
    }
}

impl DaemonSets {
    /// The workloads that a change touches. Source: daemonset.md A3 and C5.8.
    fn touched(&self, state: &State, change: &Change) -> BTreeSet<Key> {
        let ours = state.daemonsets_of(self.model.kind);
        let mut touched = BTreeSet::new();
        match change {
            Change::DaemonSet { kind, .. } if *kind != self.model.kind => {}
            Change::DaemonSet {
                key, before, after, ..
            } => {
                let is_news = match (before, after) {
                    (Some(before), Some(after)) => (self.model.is_news)(before, after),
                    _ => true,
                };
                if is_news {
                    touched.insert(key.clone());
                }
            }
            Change::Pod { owned, .. } | Change::Revision(owned) => {
                let owners = [owned.controller_before, owned.controller];
                touched.extend(
                    owners
                        .into_iter()
                        .flatten()
                        .filter_map(|uid| self.owned_by(state, uid))
                        .cloned(),
                );
                if let Some(labels) = owned.orphan_labels.as_ref().filter(|_| self.model.adopts) {
                    touched.extend(ours.selecting(&owned.namespace, labels).cloned());
                }
            }
            Change::CloneSet { .. }
            | Change::StatefulSet { .. }
            | Change::Claim { .. }
            | Change::ImagePullJob { .. }
            | Change::NodeImage { .. } => {}
            Change::Job { .. } if self.model.kind != WorkloadKind::DaemonSet => {}
            Change::Job { pod } => {
                touched.extend(pod.and_then(|pod| state.daemonset_of_pod(pod)).cloned());
            }
            Change::Node { before, after } => {
                self.touched_by_node(state, before.as_deref(), after.as_deref(), &mut touched);
            }
            Change::Unreadable { controller } => {
                touched.extend(controller.and_then(|uid| ours.key(uid)).cloned());
            }
        }
        // A DaemonSet that is gone, or that does not concern us any more, is looked at once more, to forget it.
        let is_own = matches!(change, Change::DaemonSet { .. });
        touched.retain(|key| is_own || ours.get(key).is_some_and(|d| (self.model.concerns)(d)));
        touched
    }

    /// The workload that somebody's pod or revision belongs to: pods that pull images count for whom they pull.
    fn owned_by<'a>(&self, state: &'a State, controller: Uid) -> Option<&'a Key> {
        match self.model.kind {
            WorkloadKind::DaemonSet => state.daemonset_of(controller),
            kind => state.daemonsets_of(kind).key(controller),
        }
    }

    /// A node touches the workloads with a pod there, and those that could or did run there.
    fn touched_by_node(
        &self,
        state: &State,
        before: Option<&NodeView>,
        after: Option<&NodeView>,
        touched: &mut BTreeSet<Key>,
    ) {
        let placement = |node: &NodeView| (node.uid, node.labels.clone(), node.taints.clone());
        let is_placement = before.map(placement) != after.map(placement);
        if !is_placement && !self.model.heeds_readiness {
            return;
        }
        let Some(node) = after.or(before) else { return };
        let ours = state.daemonsets_of(self.model.kind);
        touched.extend(
            state
                .controllers_on(node.slot)
                .iter()
                .filter_map(|uid| ours.key(*uid))
                .cloned(),
        );
        for (key, daemonset) in ours.iter() {
            let could_run = [before, after]
                .into_iter()
                .flatten()
                .any(|node| daemonset.placement.selects(&node.name, &node.labels));
            if could_run {
                touched.insert(key.clone());
            }
        }
    }
}
