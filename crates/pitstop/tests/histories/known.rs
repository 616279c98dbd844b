//! What the watches of one server say of one history.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use pitstop_api::keys;
use pitstop_api::view::MetaWire;
use pitstop_cluster::informer::{self, Change, Object};
use serde::{Deserialize, Deserializer};
use serde_json::Value;
use tokio::sync::Notify;
use tokio::time::timeout;

use crate::promises::Promises;

/// The label of a node that says whose it is.
pub(crate) const HISTORY: &str = "history";

/// What is watched.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Kind {
    ConfigMap,
    DaemonSet,
    Deployment,
    Job,
    Node,
    Pod,
    ReplicaSet,
    Revision,
}

impl Kind {
    pub(crate) const ALL: [(Self, &str); 8] = [
        (Self::ConfigMap, "/api/v1/configmaps"),
        (Self::DaemonSet, "/apis/apps/v1/daemonsets"),
        (Self::Deployment, "/apis/apps/v1/deployments"),
        (Self::Job, "/apis/batch/v1/jobs"),
        (Self::Node, "/api/v1/nodes"),
        (Self::Pod, "/api/v1/pods"),
        (Self::ReplicaSet, "/apis/apps/v1/replicasets"),
        (Self::Revision, "/apis/apps/v1/controllerrevisions"),
    ];
}

/// An object as the server has it.
#[derive(Debug, Clone)]
pub(crate) struct Raw {
    meta: MetaWire,
    pub(crate) value: Value,
}

impl<'de> Deserialize<'de> for Raw {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        let value = Value::deserialize(deserializer)?;
        let meta = MetaWire::deserialize(&value["metadata"]).map_err(serde::de::Error::custom)?;
        Ok(Self { meta, value })
    }
}

impl Object for Raw {
    fn meta(&self) -> &MetaWire {
        &self.meta
    }
}

/// The objects of one history by kind and name, and what has been promised about them.
#[derive(Debug, Default)]
pub(crate) struct Known {
    pub(crate) objects: BTreeMap<(Kind, String), Value>,
    /// What every uid was given to, in the order in which they came.
    pub(crate) born: BTreeMap<String, String>,
    /// What every hash of a template stands for, or stood for last.
    pub(crate) hashes: BTreeMap<String, String>,
    pub(crate) promises: Promises,
}

impl Known {
    pub(crate) fn of(&self, kind: Kind) -> impl Iterator<Item = &Value> {
        let all = self.objects.iter();
        all.filter(move |((found, _), _)| *found == kind)
            .map(|(_, value)| value)
    }

    fn see(&mut self, kind: Kind, raw: &Raw, is_gone: bool) {
        let key = (kind, raw.meta.name.clone());
        if !self.born.contains_key(&raw.meta.uid) {
            let named = format!("{kind:?}/{}", raw.meta.name);
            let before = self
                .born
                .values()
                .filter(|other| other.starts_with(&format!("{named}#")));
            let number = before.count() + 1;
            self.born
                .insert(raw.meta.uid.clone(), format!("{named}#{number}"));
        }
        self.see_hash(kind, &raw.value);
        if is_gone {
            self.objects.remove(&key);
        } else {
            self.objects.insert(key, raw.value.clone());
        }
        let Self {
            objects, promises, ..
        } = self;
        promises.see(kind, &raw.value, objects);
    }

    fn see_hash(&mut self, kind: Kind, object: &Value) {
        let metadata = &object["metadata"];
        let (revision, hash) = match kind {
            Kind::ReplicaSet => (
                metadata["annotations"][keys::DEPLOYMENT_REVISION]
                    .as_str()
                    .map(str::to_owned),
                &metadata["labels"][keys::POD_TEMPLATE_HASH],
            ),
            Kind::Revision => (
                Some(object["revision"].to_string()),
                &metadata["labels"][keys::REVISION_HASH],
            ),
            _ => return,
        };
        if let (Some(revision), Some(hash)) = (revision, hash.as_str()) {
            self.hashes.insert(hash.to_owned(), format!("@{revision}"));
        }
    }
}

/// One history on one server.
#[derive(Debug, Default)]
pub(crate) struct Space {
    known: Mutex<Known>,
    pub(crate) changed: Notify,
}

impl Space {
    pub(crate) fn known(&self) -> MutexGuard<'_, Known> {
        self.known.lock().unwrap()
    }

    /// Waits until something holds, as changes come in; `false` if it never does.
    pub(crate) async fn wait_for(&self, limit: Duration, holds: impl Fn(&Known) -> bool) -> bool {
        let wait = async {
            loop {
                let changed = self.changed.notified();
                if holds(&self.known()) {
                    return;
                }
                changed.await;
            }
        };
        timeout(limit, wait).await.is_ok()
    }
}

/// All histories of one server.
#[derive(Debug, Clone, Default)]
pub(crate) struct Spaces(Arc<Mutex<BTreeMap<String, Arc<Space>>>>);

impl Spaces {
    /// From now on what happens in a namespace, and to its nodes, is noted.
    pub(crate) fn open(&self, namespace: &str) -> Arc<Space> {
        let space = Arc::new(Space::default());
        self.0
            .lock()
            .unwrap()
            .insert(namespace.to_owned(), Arc::clone(&space));
        space
    }

    pub(crate) fn close(&self, namespace: &str) {
        self.0.lock().unwrap().remove(namespace);
    }

    /// Follows everything on a server.
    pub(crate) fn follow(&self, client: &kube::Client) {
        for (kind, path) in Kind::ALL {
            let (spaces, client) = (self.clone(), client.clone());
            tokio::spawn(async move {
                let mut changes = informer::watch::<Raw>(client, path);
                while let Some(change) = changes.recv().await {
                    match change {
                        Change::Applied(raw) => spaces.see(kind, &raw, false),
                        Change::Deleted(raw) => spaces.see(kind, &raw, true),
                        Change::Synced => {}
                    }
                }
            });
        }
    }

    fn see(&self, kind: Kind, raw: &Raw, is_gone: bool) {
        let place = match kind {
            Kind::Node => raw.meta.labels.get(HISTORY).map_or("", String::as_str),
            _ => &raw.meta.namespace,
        };
        let space = self.0.lock().unwrap().get(place).cloned();
        if let Some(space) = space {
            // Every namespace has it, with a certificate that is another one everywhere.
            if kind == Kind::ConfigMap && raw.meta.name == "kube-root-ca.crt" {
                return;
            }
            space.known().see(kind, raw, is_gone);
            space.changed.notify_one();
        }
    }
}
