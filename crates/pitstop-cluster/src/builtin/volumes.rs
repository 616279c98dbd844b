//! Binds claims to volumes, makes volumes for those that find none, and keeps both as long as they are used.
//!
//! There is no storage behind a simulated volume, so there is no driver to wait for: what a claim's class asks for is
//! there at once, also when a claim asks for more later and its class allows that. A claim without a class gets a volume
//! too, as on a cluster with a default class.
//!
//! Every look at a claim or volume is made of what is known of it, and everything that it writes may be written twice:
//! nothing has to be remembered of what is under way.
//!
//! Source: embedded-cluster.md 16, the row of the PVC binder; events and annotations are those of Kubernetes 1.34.

mod objects;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use kube::Client;
use pitstop_api::view::{MetaWire, Uid};
use pitstop_api::{keys, quantity};
use serde_json::{Value, json};
use tokio::sync::mpsc;

pub(super) use self::objects::{Claim, Class, Volume};
use super::wire::Pod;
use super::writes::{Event, Write};
use super::{Controller, Selection};
use crate::informer::{self, Change, Object};

/// Event source of the binder.
const SOURCE: &str = "persistentvolume-controller";
/// The provisioner of classes whose volumes somebody makes by hand.
const NO_PROVISIONER: &str = "kubernetes.io/no-provisioner";
/// What holds a claim that pods use, and a volume that a claim uses. The server puts them on.
const CLAIM_PROTECTION: &str = "kubernetes.io/pvc-protection";
const VOLUME_PROTECTION: &str = "kubernetes.io/pv-protection";

/// Namespace and name of a claim.
pub(super) type Key = (String, String);

/// Something that has changed.
#[derive(Debug)]
pub(super) enum Seen {
    Claim(Change<Claim>),
    Volume(Change<Volume>),
    Class(Change<Class>),
}

/// Watches claims, volumes and classes.
pub(super) fn watch_all(client: &Client) -> mpsc::Receiver<Seen> {
    let (sender, receiver) = mpsc::channel(256);
    watch(client, "/api/v1/persistentvolumeclaims", &sender, Seen::Claim);
    watch(client, "/api/v1/persistentvolumes", &sender, Seen::Volume);
    watch(
        client,
        "/apis/storage.k8s.io/v1/storageclasses",
        &sender,
        Seen::Class,
    );
    receiver
}

fn watch<T: Object>(
    client: &Client,
    path: &str,
    sender: &mpsc::Sender<Seen>,
    seen: impl Fn(Change<T>) -> Seen + Send + 'static,
) {
    let changes = informer::watch::<T>(client.clone(), path);
    tokio::spawn(informer::forward(changes, sender.clone(), seen));
}

/// A claim, as far as a pod that uses it is concerned.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Readiness {
    /// It has a volume, which nodes may reach that match one of these terms; all of them if there is none.
    Bound(Vec<pitstop_api::placement::NodeSelectorTerm>),
    /// It gets a volume when a pod that uses it has a node.
    WaitsForPod,
    /// It has no volume.
    Unbound,
    /// It is on its way out.
    Ending,
}

/// What the controllers know.
#[derive(Debug)]
pub(super) struct Volumes {
    binds: bool,
    /// Do claims stay that pods use?
    keeps_used: bool,
    /// Do volumes stay that claims use?
    keeps_claimed: bool,
    claims: BTreeMap<Key, Arc<Claim>>,
    known: BTreeMap<String, Arc<Volume>>,
    classes: BTreeMap<String, Arc<Class>>,
    /// Pods that use a claim, and the node of each that has one.
    users: BTreeMap<Key, BTreeMap<Uid, String>>,
    /// The claims of a pod that has some.
    used: BTreeMap<Uid, Vec<Key>>,
    unsynced: usize,
    pods_synced: bool,
    /// What was last told about a claim.
    told: BTreeMap<Key, String>,
}

impl Volumes {
    pub(super) fn new(controllers: &Selection) -> Self {
        Self {
            binds: controllers.has(Controller::PersistentVolumeBinder),
            keeps_used: controllers.has(Controller::ClaimProtection),
            keeps_claimed: controllers.has(Controller::VolumeProtection),
            claims: BTreeMap::new(),
            known: BTreeMap::new(),
            classes: BTreeMap::new(),
            users: BTreeMap::new(),
            used: BTreeMap::new(),
            unsynced: 3,
            pods_synced: false,
            told: BTreeMap::new(),
        }
    }

    /// Is everything known that there was at the start?
    pub(super) fn is_synced(&self) -> bool {
        self.unsynced == 0
    }

    /// Takes a change in. Returns the claims that it may matter to.
    pub(super) fn on_seen(&mut self, seen: Seen) -> Vec<Key> {
        match seen {
            Seen::Claim(Change::Applied(claim)) => {
                let key = claim.key();
                self.claims.insert(key.clone(), claim);
                vec![key]
            }
            Seen::Claim(Change::Deleted(claim)) => {
                let key = claim.key();
                self.claims.remove(&key);
                self.told.remove(&key);
                vec![key]
            }
            Seen::Volume(Change::Applied(volume)) => {
                let key = volume.claimed_by();
                self.known.insert(volume.metadata.name.clone(), volume);
                // A volume that is free may be what any claim waits for.
                key.map_or_else(|| self.waiting(), |key| vec![key])
            }
            Seen::Volume(Change::Deleted(volume)) => {
                self.known.remove(&volume.metadata.name);
                volume.claimed_by().into_iter().collect()
            }
            Seen::Class(Change::Applied(class)) => {
                self.classes.insert(class.metadata.name.clone(), class);
                // Those that wait for a volume, and those that may grow now.
                self.claims.keys().cloned().collect()
            }
            Seen::Class(Change::Deleted(class)) => {
                self.classes.remove(&class.metadata.name);
                self.waiting()
            }
            Seen::Claim(Change::Synced) | Seen::Volume(Change::Synced) | Seen::Class(Change::Synced) => {
                self.unsynced = self.unsynced.saturating_sub(1);
                if self.is_synced() {
                    self.claims.keys().cloned().collect()
                } else {
                    Vec::new()
                }
            }
        }
    }

    /// Takes a pod in. Returns the claims that it may matter to.
    pub(super) fn on_pod(&mut self, pod: &Pod, uid: Uid, is_gone: bool) -> Vec<Key> {
        if pod.spec.claims.is_empty() {
            return Vec::new();
        }
        let of = |name: &String| (pod.metadata.namespace.clone(), name.clone());
        let keys: Vec<Key> = pod.spec.claims.iter().map(of).collect();
        if is_gone || pod.is_terminal() {
            self.used.remove(&uid);
        } else {
            self.used.insert(uid, keys.clone());
        }
        for key in &keys {
            let users = self.users.entry(key.clone()).or_default();
            if self.used.contains_key(&uid) {
                users.insert(uid, pod.spec.node_name.clone());
            } else {
                users.remove(&uid);
            }
            if users.is_empty() {
                self.users.remove(key);
            }
        }
        keys
    }

    /// All pods that there were at the start are known.
    pub(super) fn on_pods_synced(&mut self) -> Vec<Key> {
        self.pods_synced = true;
        self.claims.keys().cloned().collect()
    }

    /// Every claim and volume, to be looked at again.
    pub(super) fn look_at_all(&mut self, now: Timestamp) -> Vec<Write> {
        let keys: Vec<Key> = self.claims.keys().cloned().collect();
        self.look_at(&keys, now)
    }

    /// What is to be written, now that something about these claims has changed.
    pub(super) fn look_at(&mut self, keys: &[Key], now: Timestamp) -> Vec<Write> {
        if !self.is_synced() {
            return Vec::new();
        }
        let mut writes = Vec::new();
        for key in keys {
            if let Some(claim) = self.claims.get(key).cloned() {
                writes.extend(self.look_at_claim(key, &claim, now));
            }
        }
        let volumes: Vec<Arc<Volume>> = self.known.values().cloned().collect();
        writes.extend(volumes.iter().filter_map(|volume| self.look_at_volume(volume)));
        writes
    }

    /// How ready a claim is for a pod; `None` if it is not there.
    pub(super) fn readiness(&self, key: &Key) -> Option<Readiness> {
        let claim = self.claims.get(key)?;
        if claim.metadata.deletion_timestamp.is_some() {
            return Some(Readiness::Ending);
        }
        if claim.is_bound() {
            let volume = self.known.get(&claim.spec.volume_name);
            return Some(Readiness::Bound(
                volume.map(|v| v.reachable_from()).unwrap_or_default(),
            ));
        }
        let waits = self.class_of(claim).is_some_and(|class| class.waits_for_pod());
        Some(if waits && claim.spec.volume_name.is_empty() {
            Readiness::WaitsForPod
        } else {
            Readiness::Unbound
        })
    }

    /// Claims that have no volume yet.
    fn waiting(&self) -> Vec<Key> {
        let waiting = self.claims.iter().filter(|(_, claim)| !claim.is_bound());
        waiting.map(|(key, _)| key.clone()).collect()
    }

    fn class_of(&self, claim: &Claim) -> Option<&Arc<Class>> {
        self.classes.get(claim.spec.storage_class_name.as_deref()?)
    }

    /// The class that claims get which name none: the newest that says so.
    fn default_class(&self) -> Option<&Arc<Class>> {
        let defaults = self.classes.values().filter(|class| class.is_default());
        defaults.max_by_key(|class| (class.metadata.creation_timestamp, &class.metadata.name))
    }

    fn look_at_claim(&mut self, key: &Key, claim: &Claim, now: Timestamp) -> Vec<Write> {
        if claim.metadata.deletion_timestamp.is_some() {
            return self.release_claim(key, claim).into_iter().collect();
        }
        if !self.binds {
            return Vec::new();
        }
        if claim.is_bound() {
            return self.grow(claim).into_iter().collect();
        }
        if let (None, Some(class)) = (&claim.spec.storage_class_name, self.default_class()) {
            let class = json!({"spec": {"storageClassName": class.metadata.name}});
            return vec![claim.patch("", class)];
        }
        match self.volume_for(key, claim) {
            Wanted::Volume(volume) => bind(claim, &volume),
            Wanted::New(class) => vec![make(claim, class.as_deref(), self.node_of(key))],
            Wanted::Nothing(is_warning, reason, why) => self.tell(key, claim, is_warning, reason, why, now),
        }
    }

    /// Gives a claim what it asks for, after its volume.
    fn grow(&self, claim: &Claim) -> Option<Write> {
        let may_grow = self.class_of(claim).is_some_and(|class| class.expands());
        if !may_grow || !claim.is_too_small() {
            return None;
        }
        let volume = self.known.get(&claim.spec.volume_name)?;
        let asked = &claim.spec.resources.requests.storage;
        let grown = claim.patch("/status", json!({"status": {"capacity": {"storage": asked}}}));
        if volume.size() >= quantity::value(asked) {
            return Some(grown);
        }
        let volume = volume.patch("", json!({"spec": {"capacity": {"storage": asked}}}));
        Some(volume.then(grown))
    }

    /// The volume that a claim is to have.
    fn volume_for(&self, key: &Key, claim: &Claim) -> Wanted {
        if !claim.spec.volume_name.is_empty() {
            let named = self.known.get(&claim.spec.volume_name);
            return match named.filter(|volume| volume.is_free_for(claim)) {
                Some(volume) => Wanted::Volume(Arc::clone(volume)),
                None if named.is_some() => Wanted::nothing(
                    "FailedBinding",
                    format!(
                        "volume {:?} already bound to a different claim.",
                        claim.spec.volume_name
                    ),
                ),
                None => Wanted::nothing(
                    "FailedBinding",
                    format!("volume {:?} not found", claim.spec.volume_name),
                ),
            };
        }
        let reserved = self.known.values().find(|volume| volume.is_reserved_for(claim));
        if let Some(volume) = reserved {
            return Wanted::Volume(Arc::clone(volume));
        }
        let class = self.class_of(claim);
        let waits = class.is_some_and(|class| class.waits_for_pod());
        if waits && self.node_of(key).is_none() {
            let why = "waiting for first consumer to be created before binding";
            return Wanted::Nothing(false, "WaitForFirstConsumer", why.to_owned());
        }
        let fitting = self.known.values().filter(|volume| volume.suits(claim));
        if let Some(volume) = fitting.min_by_key(|volume| (volume.size(), &volume.metadata.name)) {
            return Wanted::Volume(Arc::clone(volume));
        }
        match (claim.spec.storage_class_name.as_deref(), class) {
            // A class with an empty name asks for a volume that is there.
            (Some(""), _) => {
                let why = "no persistent volumes available for this claim and no storage class is set";
                Wanted::Nothing(false, "FailedBinding", why.to_owned())
            }
            (Some(name), None) => Wanted::nothing(
                "ProvisioningFailed",
                format!("storageclass.storage.k8s.io {name:?} not found"),
            ),
            (_, Some(class)) if class.provisioner == NO_PROVISIONER => {
                let why = "no volume plugin matched name: kubernetes.io/no-provisioner";
                Wanted::nothing("ProvisioningFailed", why.to_owned())
            }
            (_, class) => Wanted::New(class.cloned()),
        }
    }

    /// The node of a pod that uses a claim.
    fn node_of(&self, key: &Key) -> Option<&str> {
        let users = self.users.get(key)?;
        users.values().find(|node| !node.is_empty()).map(String::as_str)
    }

    /// Lets a claim go that is deleted, when no pod on a node uses it.
    fn release_claim(&self, key: &Key, claim: &Claim) -> Option<Write> {
        let is_held = claim.metadata.finalizers.iter().any(|f| f == CLAIM_PROTECTION);
        let is_used = !self.pods_synced || self.node_of(key).is_some();
        (self.keeps_used && is_held && !is_used)
            .then(|| claim.patch("", without(&claim.metadata, CLAIM_PROTECTION)))
    }

    fn look_at_volume(&self, volume: &Volume) -> Option<Write> {
        let claim = volume.claimed_by().and_then(|key| self.claims.get(&key));
        let is_of = |claim: &&Arc<Claim>| {
            volume
                .spec
                .claim_ref
                .as_ref()
                .is_some_and(|r| r.uid == claim.metadata.uid)
        };
        let owner = claim.filter(is_of);
        if volume.metadata.deletion_timestamp.is_some() {
            let is_held = volume.metadata.finalizers.iter().any(|f| f == VOLUME_PROTECTION);
            return (self.keeps_claimed && is_held && owner.is_none())
                .then(|| volume.patch("", without(&volume.metadata, VOLUME_PROTECTION)));
        }
        if !self.binds {
            return None;
        }
        let has_owner = volume
            .spec
            .claim_ref
            .as_ref()
            .is_some_and(|claim| !claim.uid.is_empty());
        let phase = match (owner, has_owner) {
            (Some(_), _) => "Bound",
            (None, true) if volume.spec.persistent_volume_reclaim_policy == "Delete" => {
                return Some(Write::delete(volume.path(), &volume.metadata.uid, None, None));
            }
            (None, true) => "Released",
            (None, false) => "Available",
        };
        (volume.status.phase != phase).then(|| volume.patch("/status", json!({"status": {"phase": phase}})))
    }

    /// Tells why a claim has to wait, once for each text.
    fn tell(
        &mut self,
        key: &Key,
        claim: &Claim,
        is_warning: bool,
        reason: &'static str,
        message: String,
        now: Timestamp,
    ) -> Vec<Write> {
        if self.told.get(key) == Some(&message) {
            return Vec::new();
        }
        self.told.insert(key.clone(), message.clone());
        let event = Event {
            source: SOURCE,
            kind: "PersistentVolumeClaim",
            meta: &claim.metadata,
            uid: &claim.metadata.uid,
            is_warning,
            reason,
            message,
            now,
        };
        vec![event.write()]
    }
}

/// What a claim is to have.
enum Wanted {
    Volume(Arc<Volume>),
    /// A volume of its own, of this class.
    New(Option<Arc<Class>>),
    /// It has to wait: is that a warning, the reason, and the text.
    Nothing(bool, &'static str, String),
}

impl Wanted {
    fn nothing(reason: &'static str, why: String) -> Self {
        Self::Nothing(true, reason, why)
    }
}

/// The next step of bringing a claim and its volume together.
fn bind(claim: &Claim, volume: &Volume) -> Vec<Write> {
    if volume
        .spec
        .claim_ref
        .as_ref()
        .is_none_or(|r| r.uid != claim.metadata.uid)
    {
        let reserve = json!({
            "metadata": {"annotations": {"pv.kubernetes.io/bound-by-controller": "yes"}},
            "spec": {"claimRef": claim.reference()},
        });
        return vec![volume.patch("", reserve)];
    }
    let mut writes = Vec::new();
    if claim.spec.volume_name != volume.metadata.name {
        let bound = json!({
            "metadata": {"annotations": {
                "pv.kubernetes.io/bind-completed": "yes", "pv.kubernetes.io/bound-by-controller": "yes",
            }},
            "spec": {"volumeName": volume.metadata.name},
        });
        writes.push(claim.patch("", bound));
    }
    let status = json!({"status": {
        "phase": "Bound", "accessModes": volume.spec.access_modes, "capacity": volume.spec.capacity,
    }});
    writes.push(claim.patch("/status", status));
    // One after the other, so that nobody sees a bound claim without its volume.
    let last = writes.pop().into_iter();
    match writes.pop() {
        Some(first) => last.map(|last| first.clone().then(last)).collect(),
        None => last.collect(),
    }
}

/// Makes the volume that a claim asks for.
fn make(claim: &Claim, class: Option<&Class>, node: Option<&str>) -> Write {
    let meta = &claim.metadata;
    let provisioner = class.map_or(keys::SIM_PROVISIONER, |class| &class.provisioner);
    let reclaim = class.map_or("Delete", |class| &class.reclaim_policy);
    let mut volume = json!({
        "apiVersion": "v1", "kind": "PersistentVolume",
        "metadata": {
            "name": format!("pvc-{}", meta.uid),
            "annotations": {"pv.kubernetes.io/provisioned-by": provisioner},
        },
        "spec": {
            "accessModes": claim.spec.access_modes,
            "capacity": {"storage": claim.spec.resources.requests.storage},
            "claimRef": claim.reference(),
            "hostPath": {"path": format!("/var/lib/volumes/{}/{}", meta.namespace, meta.name), "type": "DirectoryOrCreate"},
            "persistentVolumeReclaimPolicy": reclaim,
            "volumeMode": claim.spec.volume_mode,
        },
    });
    if let (Some(name), Some(spec)) = (
        claim
            .spec
            .storage_class_name
            .as_deref()
            .filter(|name| !name.is_empty()),
        volume.get_mut("spec").and_then(Value::as_object_mut),
    ) {
        spec.insert("storageClassName".to_owned(), name.into());
    }
    let made = Write::post("/api/v1/persistentvolumes".to_owned(), volume);
    let mut annotations = json!({"volume.kubernetes.io/storage-provisioner": provisioner});
    if let (Some(node), Some(map)) = (node, annotations.as_object_mut()) {
        map.insert("volume.kubernetes.io/selected-node".to_owned(), node.into());
    }
    claim
        .patch("", json!({"metadata": {"annotations": annotations}}))
        .then(made)
}

/// A patch that removes a finalizer.
fn without(meta: &MetaWire, finalizer: &str) -> Value {
    let left: BTreeSet<&String> = meta.finalizers.iter().filter(|f| *f != finalizer).collect();
    json!({"metadata": {"finalizers": left}})
}

#[cfg(test)]
mod tests;
