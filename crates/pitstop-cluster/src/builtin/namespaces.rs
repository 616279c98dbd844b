//! Namespaces: what every one of them has, and how they end.
//!
//! Source: embedded-cluster.md 11, 16.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::garbage::{Garbage, path_of};
use super::wire::Namespace;
use super::writes::{Asked, Write, seconds};
use crate::kinds;

/// The finalizer of namespaces: it goes when nothing is left inside.
const FINALIZER: &str = "kubernetes";

/// The controller's view.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    ca_certificate: Option<String>,
    active: BTreeMap<String, Arc<Namespace>>,
    ending: BTreeMap<String, Arc<Namespace>>,
    /// Namespaces whose end was asked for.
    finalizing: BTreeSet<String>,
    /// What the condition about remaining content says.
    told: BTreeMap<String, String>,
}

impl Namespaces {
    pub(super) fn new(ca_certificate: Option<String>) -> Self {
        Self {
            ca_certificate,
            ..Self::default()
        }
    }

    pub(super) fn on_namespace(
        &mut self,
        namespace: &Arc<Namespace>,
        is_gone: bool,
        garbage: &Garbage,
        now: Timestamp,
    ) -> Vec<Write> {
        let name = namespace.metadata.name.clone();
        self.active.remove(&name);
        if is_gone {
            self.ending.remove(&name);
            self.finalizing.remove(&name);
            self.told.remove(&name);
            return Vec::new();
        }
        if namespace.metadata.deletion_timestamp.is_none() {
            self.active.insert(name.clone(), Arc::clone(namespace));
            return self.furnish(&name);
        }
        let is_new = self.ending.insert(name.clone(), Arc::clone(namespace)).is_none();
        let mut writes = Vec::new();
        if is_new {
            // Kinds that nobody watches here: events and leases.
            for kind in kinds::all()
                .iter()
                .filter(|kind| kind.namespaced && !is_watched(kind))
            {
                let path = path_of(kind, &name, "").trim_end_matches('/').to_owned();
                writes.push(Write {
                    method: http::Method::DELETE,
                    ..Write::get(path)
                });
            }
        }
        writes.extend(self.empty(&name, is_new, garbage, now));
        writes
    }

    /// An object of a namespace is gone: was it the last one?
    pub(super) fn on_object_gone(
        &mut self,
        namespace: &str,
        kind: &str,
        name: &str,
        garbage: &Garbage,
        now: Timestamp,
    ) -> Vec<Write> {
        if self.ending.contains_key(namespace) {
            return self.empty(namespace, false, garbage, now);
        }
        let is_furniture = matches!(
            (kind, name),
            ("ServiceAccount", "default") | ("ConfigMap", "kube-root-ca.crt")
        );
        if is_furniture && self.active.contains_key(namespace) {
            self.furnish(namespace)
        } else {
            Vec::new()
        }
    }

    /// An object came up in a namespace that ends.
    pub(super) fn on_object(&mut self, namespace: &str, garbage: &Garbage, now: Timestamp) -> Vec<Write> {
        if self.ending.contains_key(namespace) {
            self.empty(namespace, true, garbage, now)
        } else {
            Vec::new()
        }
    }

    /// The server answered the wish to end a namespace.
    pub(super) fn on_finalized(&mut self, name: &str, garbage: &Garbage, now: Timestamp) -> Vec<Write> {
        self.finalizing.remove(name);
        if self.ending.contains_key(name) {
            self.empty(name, false, garbage, now)
        } else {
            Vec::new()
        }
    }

    fn furnish(&self, namespace: &str) -> Vec<Write> {
        let account =
            json!({ "apiVersion": "v1", "kind": "ServiceAccount", "metadata": { "name": "default" } });
        let mut writes = vec![Write::post(
            format!("/api/v1/namespaces/{namespace}/serviceaccounts"),
            account,
        )];
        if let Some(certificate) = &self.ca_certificate {
            let map = json!({
                "apiVersion": "v1", "kind": "ConfigMap", "metadata": { "name": "kube-root-ca.crt" },
                "data": { "ca.crt": certificate },
            });
            writes.push(Write::post(
                format!("/api/v1/namespaces/{namespace}/configmaps"),
                map,
            ));
        }
        writes
    }

    /// Deletes what is inside; when nothing is left, the namespace may go.
    fn empty(&mut self, name: &str, delete: bool, garbage: &Garbage, now: Timestamp) -> Vec<Write> {
        let mut writes = Vec::new();
        let mut n_left = 0_usize;
        let mut finalizers: BTreeMap<String, usize> = BTreeMap::new();
        for known in garbage.in_namespace(name) {
            n_left += 1;
            let meta = &known.meta.metadata;
            for finalizer in &meta.finalizers {
                *finalizers.entry(finalizer.clone()).or_default() += 1;
            }
            if delete && meta.common.deletion_timestamp.is_none() {
                let path = path_of(known.kind, name, &meta.common.name);
                writes.push(Write::delete(path, &meta.common.uid, None, Some("Background")));
            }
        }
        let Some(namespace) = self.ending.get(name).cloned() else {
            return writes;
        };
        if n_left > 0 {
            writes.extend(self.tell(name, n_left, &finalizers, now));
            return writes;
        }
        if self.finalizing.insert(name.to_owned()) {
            let left: Vec<&String> = namespace
                .spec
                .finalizers
                .iter()
                .filter(|f| *f != FINALIZER)
                .collect();
            let body = json!({
                "apiVersion": "v1", "kind": "Namespace",
                "metadata": { "name": name, "uid": namespace.metadata.uid },
                "spec": { "finalizers": left },
            });
            let write = Write::put(format!("/api/v1/namespaces/{name}/finalize"), body);
            writes.push(write.asked_by(Asked::Namespace(name.to_owned())));
        }
        writes
    }

    /// What keeps the namespace, in its conditions; said once for each text.
    fn tell(
        &mut self,
        name: &str,
        n_left: usize,
        finalizers: &BTreeMap<String, usize>,
        now: Timestamp,
    ) -> Option<Write> {
        let held: Vec<String> = finalizers
            .iter()
            .map(|(f, n)| format!("{f} in {n} resource instances"))
            .collect();
        let held = held.join(", ");
        if self.told.get(name) == Some(&held) {
            return None;
        }
        self.told.insert(name.to_owned(), held.clone());
        let condition = |kind: &str, is_true: bool, reason: &str, message: String| -> Value {
            json!({
                "type": kind, "status": if is_true { "True" } else { "False" }, "reason": reason, "message": message,
                "lastTransitionTime": seconds(now),
            })
        };
        let remain = condition(
            "NamespaceContentRemaining",
            true,
            "SomeResourcesRemain",
            format!("Some resources are remaining: {n_left} resource instances"),
        );
        let finalizing = if held.is_empty() {
            condition(
                "NamespaceFinalizersRemaining",
                false,
                "ContentHasNoFinalizers",
                "All content-preserving finalizers finished".to_owned(),
            )
        } else {
            let message = format!("Some content in the namespace has finalizers remaining: {held}");
            condition(
                "NamespaceFinalizersRemaining",
                true,
                "SomeFinalizersRemain",
                message,
            )
        };
        let body = json!({ "status": { "conditions": [remain, finalizing] } });
        Some(Write::strategic(
            format!("/api/v1/namespaces/{name}/status"),
            body,
        ))
    }
}

/// Does the graph hold objects of this kind? Events and leases come and go too fast to be worth it, and own nothing.
pub(super) fn is_watched(kind: &kinds::Kind) -> bool {
    kind.durability == kinds::Durability::Sync && (kind.group, kind.plural) == kind.stored_as
}
