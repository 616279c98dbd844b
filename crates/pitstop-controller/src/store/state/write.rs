//! Putting objects into the views and taking them out, kind by kind.

use std::sync::Arc;

use pitstop_api::view::{
    CloneSetView, DaemonSetView, JobView, NodeSlot, NodeView, PodView, RevisionView, StatefulSetView, Uid,
};
use pitstop_api::{ClaimView, WorkloadKind};

use super::{DaemonSetIndex, State};
use crate::api::Resource;
use crate::store::change::{Change, Key, Owned};
use crate::store::object::Identity;
use crate::store::pods::Pods;

impl State {
    pub(super) fn put_daemonset(&mut self, view: Arc<DaemonSetView>) -> Option<Change> {
        let (key, kind) = (key_of(&view), view.workload_kind());
        self.readable(Resource::of(kind), &key);
        let index = self.daemonsets_mut(kind);
        if index.is_as_new(&key, &view) {
            return None;
        }
        let before = index.put(&key, &view);
        Some(Change::DaemonSet {
            kind,
            key,
            before,
            after: Some(view),
        })
    }

    pub(super) fn remove_daemonset(&mut self, kind: WorkloadKind, key: &Key) -> Option<Change> {
        let view = self.daemonsets_mut(kind).remove(key)?;
        Some(Change::DaemonSet {
            kind,
            key: key.clone(),
            before: Some(view),
            after: None,
        })
    }

    /// Takes those out that do not stay, by uid and version.
    pub(super) fn retain_daemonsets(&mut self, kind: WorkloadKind, stays: impl Fn(Uid, u64) -> bool) {
        let all = self.daemonsets_of(kind).iter();
        let gone = all.filter(|(_, view)| !stays(view.uid, view.resource_version));
        let gone: Vec<Key> = gone.map(|(key, _)| key.clone()).collect();
        for key in gone {
            self.remove_daemonset(kind, &key);
        }
    }

    fn daemonsets_mut(&mut self, kind: WorkloadKind) -> &mut DaemonSetIndex {
        match kind {
            WorkloadKind::AdvancedDaemonSet => &mut self.advanced_daemonsets,
            WorkloadKind::DaemonSet | WorkloadKind::CloneSet | WorkloadKind::StatefulSet => {
                &mut self.daemonsets
            }
        }
    }

    pub(super) fn put_pod(&mut self, mut pod: PodView) -> Option<Change> {
        let was_unreadable = !self.unreadable.is_empty()
            && self.readable(Resource::Pods, &Key::new(&pod.namespace, &pod.name));
        let stored = self.pods.get(pod.uid);
        if stored.is_some_and(|stored| is_as_new(stored.resource_version, pod.resource_version)) {
            return None;
        }
        if !Pods::is_kept(&pod) {
            return self.remove_pod(pod.uid);
        }
        // Most writes to a pod are of no interest to any decision: an address, the start of a container.
        let is_news = was_unreadable || stored.is_none_or(|stored| !is_alike(stored, &mut pod));
        let namespace = Arc::clone(&pod.namespace);
        let controller = pod.controller.map(|controller| controller.uid);
        let orphan_labels = controller.is_none().then(|| pod.labels.clone());
        let is_ready = pod.is_ready();
        let before = self.pods.put(pod);
        is_news.then(|| Change::Pod {
            turned_ready: is_ready && !before.as_ref().is_some_and(PodView::is_ready),
            owned: Owned {
                namespace,
                controller_before: before.and_then(|pod| Some(pod.controller?.uid)),
                controller,
                orphan_labels,
            },
        })
    }

    pub(super) fn remove_pod(&mut self, uid: Uid) -> Option<Change> {
        let pod = self.pods.remove(uid)?;
        Some(Change::Pod {
            turned_ready: false,
            owned: Owned {
                namespace: pod.namespace,
                controller_before: pod.controller.map(|controller| controller.uid),
                controller: None,
                orphan_labels: None,
            },
        })
    }

    pub(super) fn put_node(&mut self, node: Arc<NodeView>) -> Option<Change> {
        self.readable(Resource::Nodes, &Key::new("", &node.name));
        let slot = node.slot;
        if self.nodes.len() <= slot.index() {
            self.nodes.resize(slot.index() + 1, None);
        }
        let place = self.nodes.get_mut(slot.index())?;
        if let Some(stored) = place
            && stored.uid == node.uid
            && is_as_new(stored.resource_version, node.resource_version)
        {
            return None;
        }
        let before = place.replace(Arc::clone(&node));
        if before.is_none() {
            let names = &self.names;
            let at = self
                .nodes_by_name
                .partition_point(|other| names.name(*other) < &*node.name);
            self.nodes_by_name.insert(at, slot);
        }
        let is_heartbeat = before.as_ref().is_some_and(|before| {
            before.uid == node.uid
                && before.ready == node.ready
                && before.maintenance == node.maintenance
                && before.labels == node.labels
                && before.taints == node.taints
                && before.unschedulable == node.unschedulable
        });
        (!is_heartbeat).then_some(Change::Node {
            before,
            after: Some(node),
        })
    }

    pub(super) fn remove_node(&mut self, slot: NodeSlot) -> Option<Change> {
        let before = self.nodes.get_mut(slot.index())?.take()?;
        self.nodes_by_name.retain(|other| *other != slot);
        Some(Change::Node {
            before: Some(before),
            after: None,
        })
    }

    pub(super) fn put_revision(&mut self, key: Key, view: Arc<RevisionView>) -> Option<Change> {
        self.readable(Resource::ControllerRevisions, &key);
        let stored = self.revisions.get(&key);
        if stored
            .is_some_and(|old| old.uid == view.uid && is_as_new(old.resource_version, view.resource_version))
        {
            return None;
        }
        let controller_before = stored.and_then(|old| Some(old.controller?.uid));
        let controller = view.controller.map(|controller| controller.uid);
        self.remove_revision(&key);
        if let Some(controller) = controller {
            self.revisions_of
                .entry(controller)
                .or_default()
                .insert(key.clone());
        }
        let orphan_labels = controller.is_none().then(|| (*view.labels).clone().into());
        self.revisions.insert(key.clone(), view);
        Some(Change::Revision(Owned {
            namespace: key.namespace,
            controller_before,
            controller,
            orphan_labels,
        }))
    }

    pub(super) fn remove_revision(&mut self, key: &Key) -> Option<Change> {
        let view = self.revisions.remove(key)?;
        let controller_before = view.controller.map(|controller| controller.uid);
        if let Some(controller) = controller_before
            && let Some(keys) = self.revisions_of.get_mut(&controller)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.revisions_of.remove(&controller);
            }
        }
        Some(Change::Revision(Owned {
            namespace: Arc::clone(&key.namespace),
            controller_before,
            controller: None,
            orphan_labels: None,
        }))
    }

    pub(super) fn put_job(&mut self, view: Arc<JobView>) -> Option<Change> {
        let key = Key::new(&view.namespace, &view.name);
        self.readable(Resource::Jobs, &key);
        let stored = self.jobs.get(&key);
        if stored
            .is_some_and(|old| old.uid == view.uid && is_as_new(old.resource_version, view.resource_version))
        {
            return None;
        }
        self.remove_job(&key);
        if let Some(pod) = view.pod {
            self.job_pods.insert(view.uid, pod);
        }
        let pod = view.pod;
        self.jobs.insert(key, view);
        Some(Change::Job { pod })
    }

    pub(super) fn remove_job(&mut self, key: &Key) -> Option<Change> {
        let view = self.jobs.remove(key)?;
        self.job_pods.remove(&view.uid);
        Some(Change::Job { pod: view.pod })
    }

    pub(super) fn put_cloneset(&mut self, view: Arc<CloneSetView>) -> Option<Change> {
        let key = Key::new(&view.namespace, &view.name);
        self.readable(Resource::CloneSets, &key);
        let before = self.clonesets.get(&key).map(Arc::clone);
        if let Some(stored) = &before {
            if stored.uid == view.uid && is_as_new(stored.resource_version, view.resource_version) {
                return None;
            }
            self.cloneset_keys.remove(&stored.uid);
        }
        self.cloneset_keys.insert(view.uid, key.clone());
        self.clonesets.insert(key.clone(), Arc::clone(&view));
        let after = Some(view);
        Some(Change::CloneSet { key, before, after })
    }

    pub(super) fn remove_cloneset(&mut self, key: &Key) -> Option<Change> {
        let view = self.clonesets.remove(key)?;
        self.cloneset_keys.remove(&view.uid);
        Some(Change::CloneSet {
            key: key.clone(),
            before: Some(view),
            after: None,
        })
    }

    pub(super) fn put_statefulset(&mut self, view: Arc<StatefulSetView>) -> Option<Change> {
        let key = Key::new(&view.namespace, &view.name);
        self.readable(Resource::StatefulSets, &key);
        let before = self.statefulsets.get(&key).map(Arc::clone);
        if let Some(stored) = &before {
            if stored.uid == view.uid && is_as_new(stored.resource_version, view.resource_version) {
                return None;
            }
            self.statefulset_keys.remove(&stored.uid);
        }
        self.statefulset_keys.insert(view.uid, key.clone());
        self.statefulsets.insert(key.clone(), Arc::clone(&view));
        let after = Some(view);
        Some(Change::StatefulSet { key, before, after })
    }

    pub(super) fn remove_statefulset(&mut self, key: &Key) -> Option<Change> {
        let view = self.statefulsets.remove(key)?;
        self.statefulset_keys.remove(&view.uid);
        Some(Change::StatefulSet {
            key: key.clone(),
            before: Some(view),
            after: None,
        })
    }

    pub(super) fn put_claim(&mut self, view: Arc<ClaimView>) -> Option<Change> {
        let key = Key::new(&view.namespace, &view.name);
        self.readable(Resource::Claims, &key);
        let stored = self.claims.get(&key);
        if stored
            .is_some_and(|old| old.uid == view.uid && is_as_new(old.resource_version, view.resource_version))
        {
            return None;
        }
        let before = stored.and_then(|old| old.owner);
        self.remove_claim(&key);
        let after = view.owner;
        if let Some(owner) = after {
            self.claims_of.entry(owner).or_default().insert(key.clone());
        }
        self.claims.insert(key.clone(), view);
        Some(Change::Claim {
            key,
            owners: [before, after],
        })
    }

    pub(super) fn remove_claim(&mut self, key: &Key) -> Option<Change> {
        let view = self.claims.remove(key)?;
        if let Some(owner) = view.owner
            && let Some(keys) = self.claims_of.get_mut(&owner)
        {
            keys.remove(key);
            if keys.is_empty() {
                self.claims_of.remove(&owner);
            }
        }
        Some(Change::Claim {
            key: key.clone(),
            owners: [view.owner, None],
        })
    }

    /// Forgets the last readable form of an object, so that nobody acts on it.
    pub(super) fn put_unreadable(&mut self, identity: Identity) -> Change {
        let key = Key::new(&identity.namespace, &identity.name);
        let removed = match identity.resource {
            Resource::DaemonSets => self.remove_daemonset(WorkloadKind::DaemonSet, &key),
            Resource::AdvancedDaemonSets => self.remove_daemonset(WorkloadKind::AdvancedDaemonSet, &key),
            Resource::Pods => identity.uid.and_then(|uid| self.remove_pod(uid)),
            Resource::Nodes => self
                .names
                .get(&identity.name)
                .and_then(|slot| self.remove_node(slot)),
            Resource::ControllerRevisions => self.remove_revision(&key),
            Resource::Jobs => self.remove_job(&key),
            Resource::CloneSets => self.remove_cloneset(&key),
            Resource::StatefulSets => self.remove_statefulset(&key),
            Resource::Claims => self.remove_claim(&key),
            Resource::ImagePullJobs => self.remove_pull_job(&key),
            Resource::NodeImages => self.remove_node_image(&key.name),
            Resource::Events
            | Resource::Leases
            | Resource::Secrets
            | Resource::Services
            | Resource::StorageClasses => None,
        };
        let controller = identity.controller;
        self.unreadable.insert((identity.resource, key), identity);
        removed.unwrap_or(Change::Unreadable { controller })
    }

    /// An object can be read. Could it not be before?
    pub(super) fn readable(&mut self, resource: Resource, key: &Key) -> bool {
        !self.unreadable.is_empty() && self.unreadable.remove(&(resource, key.clone())).is_some()
    }
}

/// Is the stored version at least as new as the offered one? Versions of 0 cannot be compared and never are.
pub(super) fn is_as_new(stored: u64, offered: u64) -> bool {
    offered != 0 && stored >= offered
}

/// Do the two differ in nothing but their version?
fn is_alike(stored: &PodView, offered: &mut PodView) -> bool {
    let version = std::mem::replace(&mut offered.resource_version, stored.resource_version);
    let is_alike = stored == offered;
    offered.resource_version = version;
    is_alike
}

pub(super) fn key_of(view: &DaemonSetView) -> Key {
    Key {
        namespace: Arc::clone(&view.namespace),
        name: Arc::clone(&view.name),
    }
}
