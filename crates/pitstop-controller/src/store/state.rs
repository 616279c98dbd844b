//! The views and their indexes, without locks, requests or time.

use std::collections::{BTreeMap, BTreeSet, HashMap, HashSet};
use std::sync::Arc;

use pitstop_api::view::{
    CloneSetView, ImagePullJobView, JobView, MetaWire, NodeImageView, NodeNames, NodeSlot, NodeView, PodView,
    RevisionView, StatefulSetView, Uid, ViewError,
};
use pitstop_api::{ClaimView, WorkloadKind};
use pitstop_engine::snapshot::Nodes;

use super::change::{Change, Key};
use super::index;
use super::intern::Interner;
use super::object::{Identity, Object, Wire};
use super::pods::Pods;
use crate::api::Resource;

mod daemonsets;
mod pulls;
mod write;

pub use daemonsets::DaemonSetIndex;

use write::key_of;

/// All views.
#[derive(Debug, Default)]
pub struct State {
    names: NodeNames,
    nodes: Vec<Option<Arc<NodeView>>>,
    nodes_by_name: Vec<NodeSlot>,
    daemonsets: DaemonSetIndex,
    advanced_daemonsets: DaemonSetIndex,
    pods: Pods,
    revisions: BTreeMap<Key, Arc<RevisionView>>,
    revisions_of: HashMap<Uid, BTreeSet<Key>>,
    jobs: BTreeMap<Key, Arc<JobView>>,
    job_pods: HashMap<Uid, Uid>,
    clonesets: BTreeMap<Key, Arc<CloneSetView>>,
    cloneset_keys: HashMap<Uid, Key>,
    statefulsets: BTreeMap<Key, Arc<StatefulSetView>>,
    statefulset_keys: HashMap<Uid, Key>,
    claims: BTreeMap<Key, Arc<ClaimView>>,
    claims_of: HashMap<Uid, BTreeSet<Key>>,
    pull_jobs: BTreeMap<Key, Arc<ImagePullJobView>>,
    node_images: BTreeMap<Arc<str>, Arc<NodeImageView>>,
    unreadable: BTreeMap<(Resource, Key), Identity>,
    versions: [u64; Resource::WATCHED.len()],
    interner: Interner,
}

impl State {
    /// The DaemonSets of `apps`.
    pub fn daemonsets(&self) -> &DaemonSetIndex {
        &self.daemonsets
    }

    /// The DaemonSets of a kind.
    pub fn daemonsets_of(&self, kind: WorkloadKind) -> &DaemonSetIndex {
        match kind {
            WorkloadKind::AdvancedDaemonSet => &self.advanced_daemonsets,
            WorkloadKind::DaemonSet | WorkloadKind::CloneSet | WorkloadKind::StatefulSet => &self.daemonsets,
        }
    }

    /// A pod by uid.
    pub fn pod(&self, uid: Uid) -> Option<&PodView> {
        self.pods.get(uid)
    }

    /// The pods that a DaemonSet controls.
    pub fn pods_of(&self, controller: Uid) -> &[PodView] {
        self.pods.of(controller)
    }

    /// The pods of a namespace that nobody controls.
    pub fn orphan_pods(&self, namespace: &Arc<str>) -> &[PodView] {
        self.pods.orphans(namespace)
    }

    /// The DaemonSets with a pod on a node, with repetitions.
    pub fn controllers_on(&self, node: NodeSlot) -> &[Uid] {
        self.pods.controllers_on(node)
    }

    /// The revisions that a DaemonSet controls, by name.
    pub fn revisions_of(&self, controller: Uid) -> impl Iterator<Item = &RevisionView> {
        self.revisions_of
            .get(&controller)
            .into_iter()
            .flatten()
            .filter_map(|key| self.revisions.get(key))
            .map(Arc::as_ref)
    }

    /// The revisions of a namespace that nobody controls, by name.
    pub fn orphan_revisions<'a>(&'a self, namespace: &'a Arc<str>) -> impl Iterator<Item = &'a RevisionView> {
        let first = Key {
            namespace: Arc::clone(namespace),
            name: Arc::from(""),
        };
        self.revisions
            .range(first..)
            .take_while(move |(key, _)| key.namespace == *namespace)
            .map(|(_, revision)| revision.as_ref())
            .filter(|revision| revision.controller.is_none())
    }

    /// The Jobs that pull images for pods of a DaemonSet, by name. There are few of them, and many pods.
    pub fn pull_jobs_of(&self, daemonset: Uid) -> impl Iterator<Item = &Arc<JobView>> {
        let controller = |pod: Uid| Some(self.pod(pod)?.controller?.uid);
        self.jobs
            .values()
            .filter(move |job| job.pod.and_then(controller) == Some(daemonset))
    }

    /// The DaemonSet of `apps` that a pod belongs to: its controller, or that of the pod that it pulls images for.
    pub fn daemonset_of(&self, controller: Uid) -> Option<&Key> {
        self.daemonsets
            .key(controller)
            .or_else(|| self.daemonset_of_pod(*self.job_pods.get(&controller)?))
    }

    /// The DaemonSet that controls a pod.
    pub fn daemonset_of_pod(&self, pod: Uid) -> Option<&Key> {
        self.daemonsets.key(self.pod(pod)?.controller?.uid)
    }

    /// The CloneSet of this name.
    pub fn cloneset(&self, key: &Key) -> Option<&Arc<CloneSetView>> {
        self.clonesets.get(key)
    }

    /// All CloneSets, by namespace and name.
    pub fn clonesets(&self) -> impl Iterator<Item = (&Key, &Arc<CloneSetView>)> {
        self.clonesets.iter()
    }

    /// The CloneSet with this uid.
    pub fn cloneset_key(&self, uid: Uid) -> Option<&Key> {
        self.cloneset_keys.get(&uid)
    }

    /// The StatefulSet of this name.
    pub fn statefulset(&self, key: &Key) -> Option<&Arc<StatefulSetView>> {
        self.statefulsets.get(key)
    }

    /// All StatefulSets, by namespace and name.
    pub fn statefulsets(&self) -> impl Iterator<Item = (&Key, &Arc<StatefulSetView>)> {
        self.statefulsets.iter()
    }

    /// The StatefulSets of a namespace, by name.
    pub fn statefulsets_in<'a>(
        &'a self,
        namespace: &'a str,
    ) -> impl Iterator<Item = &'a Arc<StatefulSetView>> {
        let sets = self.statefulsets.range(Key::new(namespace, "")..);
        sets.take_while(move |(key, _)| *key.namespace == *namespace)
            .map(|(_, set)| set)
    }

    /// The StatefulSet with this uid.
    pub fn statefulset_key(&self, uid: Uid) -> Option<&Key> {
        self.statefulset_keys.get(&uid)
    }

    /// The claims of a namespace whose names begin like this, by name.
    pub fn claims_named<'a>(
        &'a self,
        namespace: &str,
        prefix: &'a str,
    ) -> impl Iterator<Item = &'a ClaimView> {
        let first = Key::new(namespace, prefix);
        let namespace = Arc::clone(&first.namespace);
        let claims = self.claims.range(first..);
        claims
            .take_while(move |(key, _)| key.namespace == namespace && key.name.starts_with(prefix))
            .map(|(_, claim)| claim.as_ref())
    }

    /// The claims that somebody owns, by name.
    pub fn claims_of(&self, owner: Uid) -> impl Iterator<Item = &ClaimView> {
        let keys = self.claims_of.get(&owner).into_iter().flatten();
        keys.filter_map(|key| self.claims.get(key)).map(Arc::as_ref)
    }

    /// A claim by uid, among those that somebody owns.
    pub fn claim_of(&self, owner: Uid, uid: Uid) -> Option<&ClaimView> {
        self.claims_of(owner).find(|claim| claim.uid == uid)
    }

    /// The nodes.
    pub fn nodes(&self) -> Nodes<'_> {
        Nodes {
            names: &self.names,
            by_slot: &self.nodes,
            by_name: &self.nodes_by_name,
        }
    }

    /// The object because of which this workload must be left alone, if there is one.
    pub fn unreadable_for(&self, daemonset: Uid) -> Option<&Identity> {
        self.unreadable
            .values()
            .find(|identity| identity.controller == Some(daemonset))
    }

    /// Up to which version the changes of a kind were seen.
    pub fn version(&self, resource: Resource) -> u64 {
        self.versions.get(index(resource)).copied().unwrap_or_default()
    }

    /// How many objects of a kind are kept.
    pub fn count(&self, resource: Resource) -> usize {
        match resource {
            Resource::DaemonSets => self.daemonsets.len(),
            Resource::AdvancedDaemonSets => self.advanced_daemonsets.len(),
            Resource::Pods => self.pods.len(),
            Resource::Nodes => self.nodes_by_name.len(),
            Resource::ControllerRevisions => self.revisions.len(),
            Resource::Jobs => self.jobs.len(),
            Resource::CloneSets => self.clonesets.len(),
            Resource::StatefulSets => self.statefulsets.len(),
            Resource::Claims => self.claims.len(),
            Resource::ImagePullJobs => self.pull_jobs.len(),
            Resource::NodeImages => self.node_images.len(),
            Resource::Events
            | Resource::Leases
            | Resource::Secrets
            | Resource::Services
            | Resource::StorageClasses => 0,
        }
    }

    /// How many objects cannot be read.
    pub fn count_unreadable(&self) -> usize {
        self.unreadable.len()
    }

    /// Numbers the nodes in an object and shares its strings.
    pub fn lean(&mut self, wire: Wire) -> Object {
        match wire {
            Wire::DaemonSet(view) => Object::DaemonSet(Arc::new(*view)),
            Wire::Pod(wire) => {
                let named = named(&wire.metadata);
                match wire.view(&mut self.names) {
                    Ok(mut pod) => {
                        self.interner.share(&mut pod);
                        Object::Pod(Box::new(pod))
                    }
                    Err(e) => named.unreadable(Resource::Pods, &e),
                }
            }
            Wire::Node(wire) => {
                let named = named(&wire.metadata);
                match wire.view(&mut self.names) {
                    Ok(view) => Object::Node(Arc::new(view)),
                    Err(e) => named.unreadable(Resource::Nodes, &e),
                }
            }
            Wire::Revision(namespace, view) => {
                let key = Key {
                    namespace: self.interner.string(&namespace),
                    name: Arc::clone(&view.name),
                };
                Object::Revision(key, Arc::new(*view))
            }
            Wire::Job(view) => Object::Job(Arc::new(*view)),
            Wire::CloneSet(view) => Object::CloneSet(Arc::new(*view)),
            Wire::StatefulSet(view) => Object::StatefulSet(Arc::new(*view)),
            Wire::Claim(view) => Object::Claim(Arc::new(*view)),
            Wire::ImagePullJob(view) => Object::ImagePullJob(Arc::new(*view)),
            Wire::NodeImage(view) => Object::NodeImage(Arc::new(*view)),
            Wire::Unreadable(identity) => Object::Unreadable(identity),
        }
    }

    /// Puts an object in, unless what is there is as new.
    pub fn put(&mut self, object: Object) -> Option<Change> {
        match object {
            Object::DaemonSet(view) => self.put_daemonset(view),
            Object::Pod(view) => self.put_pod(*view),
            Object::Node(view) => self.put_node(view),
            Object::Revision(key, view) => self.put_revision(key, view),
            Object::Job(view) => self.put_job(view),
            Object::CloneSet(view) => self.put_cloneset(view),
            Object::StatefulSet(view) => self.put_statefulset(view),
            Object::Claim(view) => self.put_claim(view),
            Object::ImagePullJob(view) => self.put_pull_job(view),
            Object::NodeImage(view) => self.put_node_image(view),
            Object::Unreadable(identity) => Some(self.put_unreadable(identity)),
        }
    }

    /// Takes an object out that the API says is gone.
    pub fn remove(&mut self, object: &Object) -> Option<Change> {
        match object {
            Object::DaemonSet(view) => {
                let (key, kind) = (key_of(view), view.workload_kind());
                self.readable(Resource::of(kind), &key);
                let stored = self.daemonsets_of(kind).get(&key)?;
                (stored.uid == view.uid).then(|| self.remove_daemonset(kind, &key))?
            }
            Object::Pod(pod) => {
                self.readable(Resource::Pods, &Key::new(&pod.namespace, &pod.name));
                self.remove_pod(pod.uid)
            }
            Object::Node(node) => self.remove_node(node.slot),
            Object::Revision(key, view) => {
                self.readable(Resource::ControllerRevisions, key);
                let stored = self.revisions.get(key)?;
                (stored.uid == view.uid).then(|| self.remove_revision(key))?
            }
            Object::Job(view) => {
                let key = Key::new(&view.namespace, &view.name);
                let stored = self.jobs.get(&key)?;
                (stored.uid == view.uid).then(|| self.remove_job(&key))?
            }
            Object::CloneSet(view) => {
                let key = Key::new(&view.namespace, &view.name);
                self.readable(Resource::CloneSets, &key);
                let stored = self.clonesets.get(&key)?;
                (stored.uid == view.uid).then(|| self.remove_cloneset(&key))?
            }
            Object::StatefulSet(view) => {
                let key = Key::new(&view.namespace, &view.name);
                self.readable(Resource::StatefulSets, &key);
                let stored = self.statefulsets.get(&key)?;
                (stored.uid == view.uid).then(|| self.remove_statefulset(&key))?
            }
            Object::Claim(view) => {
                let key = Key::new(&view.namespace, &view.name);
                self.readable(Resource::Claims, &key);
                let stored = self.claims.get(&key)?;
                (stored.uid == view.uid).then(|| self.remove_claim(&key))?
            }
            Object::ImagePullJob(view) => {
                let key = Key::new(&view.namespace, &view.name);
                self.readable(Resource::ImagePullJobs, &key);
                let stored = self.pull_jobs.get(&key)?;
                (stored.uid == view.uid).then(|| self.remove_pull_job(&key))?
            }
            Object::NodeImage(view) => {
                self.readable(Resource::NodeImages, &Key::new("", &view.name));
                let stored = self.node_images.get(&view.name)?;
                (stored.uid == view.uid).then(|| self.remove_node_image(&view.name))?
            }
            Object::Unreadable(identity) => {
                self.put_unreadable(identity.clone());
                let key = Key::new(&identity.namespace, &identity.name);
                self.readable(identity.resource, &key);
                Some(Change::Unreadable {
                    controller: identity.controller,
                })
            }
        }
    }

    /// Changes up to this version were seen.
    pub fn seen(&mut self, resource: Resource, version: u64) {
        if let Some(seen) = self.versions.get_mut(index(resource)) {
            *seen = version.max(*seen);
        }
    }

    /// Makes the objects of a kind exactly these, as of `version`.
    ///
    /// What we wrote ourselves after `version` stays. A version that went back (a restored server) keeps nothing.
    pub fn replace(&mut self, resource: Resource, objects: Vec<Object>, version: u64) {
        let went_back = version < self.version(resource);
        let newest_kept = if went_back { u64::MAX } else { version };
        self.unreadable.retain(|(kind, _), _| *kind != resource);
        let mut listed: HashSet<Uid> = HashSet::with_capacity(objects.len());
        for object in &objects {
            match object {
                Object::DaemonSet(view) => listed.insert(view.uid),
                Object::Pod(view) => listed.insert(view.uid),
                Object::Node(view) => listed.insert(view.uid),
                Object::Revision(_, view) => listed.insert(view.uid),
                Object::Job(view) => listed.insert(view.uid),
                Object::CloneSet(view) => listed.insert(view.uid),
                Object::StatefulSet(view) => listed.insert(view.uid),
                Object::Claim(view) => listed.insert(view.uid),
                Object::ImagePullJob(view) => listed.insert(view.uid),
                Object::NodeImage(view) => listed.insert(view.uid),
                Object::Unreadable(_) => false,
            };
        }
        let stays = |uid: Uid, at: u64| (!went_back && listed.contains(&uid)) || at > newest_kept;
        self.retain(resource, stays);
        for object in objects {
            self.put(object);
        }
        if let Some(seen) = self.versions.get_mut(index(resource)) {
            *seen = version;
        }
    }

    fn retain(&mut self, resource: Resource, stays: impl Fn(Uid, u64) -> bool) {
        match resource {
            Resource::Pods => self.pods.retain(|pod| stays(pod.uid, pod.resource_version)),
            Resource::DaemonSets => self.retain_daemonsets(WorkloadKind::DaemonSet, stays),
            Resource::AdvancedDaemonSets => self.retain_daemonsets(WorkloadKind::AdvancedDaemonSet, stays),
            Resource::ControllerRevisions => {
                let gone = keys_of(&self.revisions, |view| !stays(view.uid, view.resource_version));
                for key in gone {
                    self.remove_revision(&key);
                }
            }
            Resource::Nodes => {
                let gone: Vec<NodeSlot> = self
                    .nodes()
                    .iter()
                    .filter(|node| !stays(node.uid, node.resource_version))
                    .map(|node| node.slot)
                    .collect();
                for slot in gone {
                    self.remove_node(slot);
                }
            }
            Resource::Jobs => {
                let gone = keys_of(&self.jobs, |view| !stays(view.uid, view.resource_version));
                for key in gone {
                    self.remove_job(&key);
                }
            }
            Resource::CloneSets => {
                let gone = keys_of(&self.clonesets, |view| !stays(view.uid, view.resource_version));
                for key in gone {
                    self.remove_cloneset(&key);
                }
            }
            Resource::StatefulSets => {
                let gone = keys_of(&self.statefulsets, |view| !stays(view.uid, view.resource_version));
                for key in gone {
                    self.remove_statefulset(&key);
                }
            }
            Resource::Claims => {
                let gone = keys_of(&self.claims, |view| !stays(view.uid, view.resource_version));
                for key in gone {
                    self.remove_claim(&key);
                }
            }
            Resource::ImagePullJobs | Resource::NodeImages => self.retain_pulls(resource, stays),
            Resource::Events
            | Resource::Leases
            | Resource::Secrets
            | Resource::Services
            | Resource::StorageClasses => {}
        }
    }
}

fn keys_of<V>(map: &BTreeMap<Key, V>, which: impl Fn(&V) -> bool) -> Vec<Key> {
    map.iter()
        .filter(|(_, value)| which(value))
        .map(|(key, _)| key.clone())
        .collect()
}

/// What is kept of metadata in case the rest cannot be read.
struct Named {
    namespace: String,
    name: String,
    controller: Option<Uid>,
    version: u64,
}

fn named(metadata: &MetaWire) -> Named {
    Named {
        namespace: metadata.namespace.clone(),
        name: metadata.name.clone(),
        controller: metadata.controller().map(|controller| controller.uid),
        version: metadata.version(),
    }
}

impl Named {
    fn unreadable(self, resource: Resource, error: &ViewError) -> Object {
        Object::Unreadable(Identity {
            resource,
            namespace: self.namespace,
            name: self.name,
            uid: None,
            controller: self.controller,
            version: self.version,
            problem: error.to_string(),
        })
    }
}
