//! Pods, grouped by who controls them, so that all pods of a workload lie side by side.

use std::collections::HashMap;
use std::sync::Arc;

use pitstop_api::keys;
use pitstop_api::view::{ControllerRef, NodeSlot, OwnerKind, PodView, Uid};

/// Whose pods.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(super) enum Group {
    /// Of a DaemonSet, a CloneSet, a StatefulSet, or of a Job that pulls images.
    Of(Uid),
    /// Of nobody, in this namespace.
    Orphans(Arc<str>),
}

/// Pods that a workload controls which is rolled out here, pods that nobody controls, and pods that pull images ahead.
/// Others are not kept, such as those of StatefulSets of `apps`.
#[derive(Debug, Default)]
pub(super) struct Pods {
    groups: HashMap<Group, Vec<PodView>>,
    places: HashMap<Uid, (Group, usize)>,
    /// By slot: the controllers of the pods there, one entry a pod.
    on_node: Vec<Vec<Uid>>,
}

impl Pods {
    /// Is this pod of a kind that is kept?
    pub(super) fn is_kept(pod: &PodView) -> bool {
        let is_ours = |owner: ControllerRef| match owner.kind {
            OwnerKind::DaemonSet
            | OwnerKind::AdvancedDaemonSet
            | OwnerKind::CloneSet
            | OwnerKind::StatefulSet => true,
            OwnerKind::Other => false,
        };
        pod.controller.is_none_or(is_ours) || pod.labels.contains_key(keys::IMAGE_PRE_PULL)
    }

    pub(super) fn get(&self, uid: Uid) -> Option<&PodView> {
        let (group, at) = self.places.get(&uid)?;
        self.groups.get(group)?.get(*at)
    }

    pub(super) fn of(&self, controller: Uid) -> &[PodView] {
        self.groups.get(&Group::Of(controller)).map_or(&[], Vec::as_slice)
    }

    pub(super) fn orphans(&self, namespace: &Arc<str>) -> &[PodView] {
        self.groups
            .get(&Group::Orphans(Arc::clone(namespace)))
            .map_or(&[], Vec::as_slice)
    }

    /// Controllers of the pods on a node, with repetitions.
    pub(super) fn controllers_on(&self, node: NodeSlot) -> &[Uid] {
        self.on_node.get(node.index()).map_or(&[], Vec::as_slice)
    }

    pub(super) fn len(&self) -> usize {
        self.places.len()
    }

    /// Puts a pod in, and returns what was there before.
    pub(super) fn put(&mut self, pod: PodView) -> Option<PodView> {
        let group = match pod.controller {
            Some(controller) => Group::Of(controller.uid),
            None => Group::Orphans(Arc::clone(&pod.namespace)),
        };
        if let Some((old_group, at)) = self.places.get(&pod.uid)
            && *old_group == group
            && let Some(place) = self.groups.get_mut(&group).and_then(|pods| pods.get_mut(*at))
            && place.node == pod.node
        {
            return Some(std::mem::replace(place, pod));
        }
        let before = self.remove(pod.uid);
        if let (Some(controller), Some(node)) = (pod.controller, pod.node) {
            if self.on_node.len() <= node.index() {
                self.on_node.resize_with(node.index() + 1, Vec::new);
            }
            if let Some(controllers) = self.on_node.get_mut(node.index()) {
                controllers.push(controller.uid);
            }
        }
        let pods = self.groups.entry(group.clone()).or_default();
        self.places.insert(pod.uid, (group, pods.len()));
        pods.push(pod);
        before
    }

    /// Takes a pod out.
    pub(super) fn remove(&mut self, uid: Uid) -> Option<PodView> {
        let (group, at) = self.places.remove(&uid)?;
        let pods = self.groups.get_mut(&group)?;
        let pod = pods.swap_remove(at);
        if let Some(moved) = pods.get(at)
            && let Some((_, place)) = self.places.get_mut(&moved.uid)
        {
            *place = at;
        }
        if pods.is_empty() {
            self.groups.remove(&group);
        }
        if let (Some(controller), Some(node)) = (pod.controller, pod.node)
            && let Some(controllers) = self.on_node.get_mut(node.index())
            && let Some(at) = controllers.iter().position(|uid| *uid == controller.uid)
        {
            controllers.swap_remove(at);
        }
        Some(pod)
    }

    /// Takes out every pod for which `keep` says no.
    pub(super) fn retain(&mut self, keep: impl Fn(&PodView) -> bool) {
        let mut gone: Vec<Uid> = self
            .groups
            .values()
            .flatten()
            .filter(|pod| !keep(pod))
            .map(|pod| pod.uid)
            .collect();
        // In a fixed order, so that what is left lies in an order that depends on the input alone.
        gone.sort_unstable();
        for uid in gone {
            self.remove(uid);
        }
    }
}
