//! Namespaces: what every one of them has, and how they end.
//!
//! The server takes no new objects into a namespace that ends. So once all kinds were cleared and listed empty after
//! that, nothing can be left behind; watches only tell when it is worth looking again.
//!
//! Source: embedded-cluster.md 11, 16.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Write as _;
use std::sync::Arc;

use jiff::Timestamp;
use serde_json::{Value, json};

use super::customs::News;
use super::garbage::collection_path;
use super::selection::{Controller, Selection};
use super::wire::Namespace;
use super::writes::{Asked, Write, seconds};
use crate::kinds::{self, Kind};

/// The finalizer of namespaces: it goes when nothing is left inside.
const FINALIZER: &str = "kubernetes";
/// Objects of a kind that are looked at to tell what is left; beyond that they are only counted.
const SAMPLE: usize = 100;

/// The controller's view.
#[derive(Debug, Default)]
pub(super) struct Namespaces {
    ca_certificate: Option<String>,
    active: BTreeSet<String>,
    ending: BTreeMap<String, Ending>,
    /// Kinds that definitions bring.
    customs: Vec<&'static Kind>,
    /// Somebody else sees to what every namespace has.
    leaves_unfurnished: bool,
    /// Somebody else ends namespaces.
    leaves_unended: bool,
}

/// A namespace that ends.
#[derive(Debug)]
struct Ending {
    namespace: Arc<Namespace>,
    /// The round of clearing and listing that is under way.
    round: Option<Round>,
    /// Something changed during the round: another one is needed.
    again: bool,
    /// The server took the finalizer off, or is asked to.
    is_finalized: bool,
    /// What the conditions say.
    told: String,
}

/// What a round found so far.
#[derive(Debug, Default)]
struct Round {
    n_pending: usize,
    n_refused: usize,
    /// How many objects are left, by resource.
    left: BTreeMap<String, u64>,
    /// How many of them wait for a finalizer, by its name.
    finalizers: BTreeMap<String, usize>,
}

impl Namespaces {
    pub(super) fn new(ca_certificate: Option<String>, controllers: &Selection) -> Self {
        Self {
            ca_certificate,
            leaves_unfurnished: !controllers.has(Controller::ServiceAccount),
            leaves_unended: !controllers.has(Controller::Namespace),
            ..Self::default()
        }
    }

    /// The certificate of the cluster is known, or is another one.
    pub(super) fn on_certificate(&mut self, certificate: Option<String>) -> Vec<Write> {
        self.ca_certificate = certificate;
        self.active.iter().flat_map(|name| self.furnish(name)).collect()
    }

    pub(super) fn on_namespace(&mut self, namespace: &Arc<Namespace>, is_gone: bool) -> Vec<Write> {
        let name = &namespace.metadata.name;
        if is_gone {
            self.active.remove(name);
            self.ending.remove(name);
            return Vec::new();
        }
        if namespace.metadata.deletion_timestamp.is_none() {
            self.ending.remove(name);
            return if self.active.insert(name.clone()) {
                self.furnish(name)
            } else {
                Vec::new()
            };
        }
        self.active.remove(name);
        if self.leaves_unended {
            return Vec::new();
        }
        if let Some(ending) = self.ending.get_mut(name) {
            ending.namespace = Arc::clone(namespace);
            return Vec::new();
        }
        let ending = Ending {
            namespace: Arc::clone(namespace),
            round: None,
            again: false,
            is_finalized: false,
            told: String::new(),
        };
        self.ending.insert(name.clone(), ending);
        self.begin_round(name)
    }

    /// An object is gone, and perhaps was the last of its namespace.
    pub(super) fn on_object_gone(
        &mut self,
        namespace: &str,
        kind: &str,
        name: &str,
        is_empty: bool,
    ) -> Vec<Write> {
        if is_empty && self.ending.contains_key(namespace) {
            return self.begin_round(namespace);
        }
        let is_furniture = matches!(
            (kind, name),
            ("ServiceAccount", "default") | ("ConfigMap", "kube-root-ca.crt")
        );
        if is_furniture && self.active.contains(namespace) {
            self.furnish(namespace)
        } else {
            Vec::new()
        }
    }

    /// Looks again at all namespaces that end: a request may have failed.
    pub(super) fn retry_all(&mut self) -> Vec<Write> {
        let idle = self.ending.iter().filter(|(_, ending)| ending.round.is_none());
        let idle: Vec<String> = idle.map(|(name, _)| name.clone()).collect();
        idle.iter().flat_map(|name| self.begin_round(name)).collect()
    }

    /// The server answered whether all objects of a kind could be deleted.
    pub(super) fn on_cleared(&mut self, namespace: &str, is_refused: bool) {
        let round = self.ending.get_mut(namespace).and_then(|e| e.round.as_mut());
        if let Some(round) = round {
            round.n_refused += usize::from(is_refused);
        }
    }

    /// A kind has come or gone.
    pub(super) fn on_kind(&mut self, news: News) {
        match news {
            News::Served(kind) => self.customs.push(kind),
            News::Gone(gone) => self.customs.retain(|kind| kind.stored_as != gone.stored_as),
        }
    }

    /// The server answered what is left of a kind.
    pub(super) fn on_remains(
        &mut self,
        namespace: &str,
        kind: &Kind,
        answer: &Result<Value, u16>,
        now: Timestamp,
    ) -> Vec<Write> {
        let Some(ending) = self.ending.get_mut(namespace) else {
            return Vec::new();
        };
        let Some(round) = &mut ending.round else {
            return Vec::new();
        };
        round.add(kind, answer);
        if round.n_pending > 0 {
            return Vec::new();
        }
        let Some(round) = ending.round.take() else {
            return Vec::new();
        };
        if round.is_empty() {
            ending.is_finalized = true;
            return vec![finalize(&ending.namespace)];
        }
        let mut writes: Vec<Write> = ending.tell(&round, now).into_iter().collect();
        if std::mem::take(&mut ending.again) {
            writes.extend(self.begin_round(namespace));
        }
        writes
    }

    /// The server answered the wish to end a namespace. A refusal is tried again with the next round.
    pub(super) fn on_finalized(&mut self, name: &str, is_refused: bool) {
        if let Some(ending) = self.ending.get_mut(name) {
            ending.is_finalized = !is_refused;
        }
    }

    fn furnish(&self, namespace: &str) -> Vec<Write> {
        if self.leaves_unfurnished {
            return Vec::new();
        }
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
            let path = format!("/api/v1/namespaces/{namespace}/configmaps");
            // One that is there already may be of an earlier authority; the same data changes nothing.
            let data = json!({ "data": { "ca.crt": certificate } });
            let current = Write::merge(format!("{path}/kube-root-ca.crt"), data);
            writes.push(Write::post(path, map).then(current));
        }
        writes
    }

    /// Deletes what is inside, kind by kind, and asks what is left.
    fn begin_round(&mut self, name: &str) -> Vec<Write> {
        let Some(ending) = self.ending.get_mut(name) else {
            return Vec::new();
        };
        let waits_for_us = ending.namespace.spec.finalizers.iter().any(|f| f == FINALIZER);
        if ending.is_finalized || !waits_for_us {
            return Vec::new();
        }
        if ending.round.is_some() {
            ending.again = true;
            return Vec::new();
        }
        let customs = self.customs.iter().copied();
        let kinds = kinds::all()
            .iter()
            .chain(customs)
            .filter(|kind| kind.namespaced && kind.is_stored() && kind.conversion.is_none());
        let writes: Vec<Write> = kinds
            .map(|kind| {
                let (namespace, path) = (name.to_owned(), collection_path(kind, name));
                let remains = Write::get(format!("{path}?limit={SAMPLE}")).asked_by(Asked::Remains {
                    namespace: namespace.clone(),
                    kind,
                });
                Write::delete_all(path)
                    .asked_by(Asked::Cleared { namespace })
                    .then(remains)
            })
            .collect();
        ending.round = Some(Round {
            n_pending: writes.len(),
            ..Round::default()
        });
        writes
    }
}

impl Ending {
    /// What keeps the namespace, in its conditions; said once for each text.
    fn tell(&mut self, round: &Round, now: Timestamp) -> Option<Write> {
        let conditions = round.conditions();
        let mut text = String::new();
        for (kind, status, _, message) in &conditions {
            let _ = write!(text, "{kind}={status}:{message};");
        }
        if self.told == text {
            return None;
        }
        self.told = text;
        let conditions: Vec<Value> = conditions
            .into_iter()
            .map(|(kind, status, reason, message)| {
                json!({
                    "type": kind, "status": status, "reason": reason, "message": message,
                    "lastTransitionTime": seconds(now),
                })
            })
            .collect();
        let meta = &self.namespace.metadata;
        let body = json!({ "metadata": { "uid": meta.uid }, "status": { "conditions": conditions } });
        Some(Write::strategic(
            format!("/api/v1/namespaces/{}/status", meta.name),
            body,
        ))
    }
}

impl Round {
    fn add(&mut self, kind: &Kind, answer: &Result<Value, u16>) {
        self.n_pending = self.n_pending.saturating_sub(1);
        let Ok(list) = answer else {
            self.n_refused += 1;
            return;
        };
        let none = Vec::new();
        let items = list.get("items").and_then(Value::as_array).unwrap_or(&none);
        let n_more = list
            .pointer("/metadata/remainingItemCount")
            .and_then(Value::as_u64)
            .unwrap_or(0);
        let n = u64::try_from(items.len())
            .unwrap_or(u64::MAX)
            .saturating_add(n_more);
        if n > 0 {
            self.left.insert(format!("{}.{}", kind.plural, kind.group), n);
        }
        for item in items {
            let finalizers = item.pointer("/metadata/finalizers").and_then(Value::as_array);
            for finalizer in finalizers.into_iter().flatten().filter_map(Value::as_str) {
                *self.finalizers.entry(finalizer.to_owned()).or_default() += 1;
            }
        }
    }

    fn is_empty(&self) -> bool {
        self.n_refused == 0 && self.left.is_empty()
    }

    /// Type, status, reason and message of what is to be said.
    fn conditions(&self) -> [(&'static str, &'static str, &'static str, String); 3] {
        let failure = if self.n_refused == 0 {
            let done = "All content successfully deleted, may be waiting on finalization";
            ("False", "ContentDeleted", done.to_owned())
        } else {
            let message = format!(
                "Failed to delete all resource types, {} remaining",
                self.n_refused
            );
            ("True", "ContentDeletionFailed", message)
        };
        let left = self.left.iter();
        let left: Vec<String> = left
            .map(|(resource, n)| format!("{resource} has {n} resource instances"))
            .collect();
        let content = if left.is_empty() {
            let done = "All content successfully removed";
            ("False", "ContentRemoved", done.to_owned())
        } else {
            let message = format!("Some resources are remaining: {}", left.join(", "));
            ("True", "SomeResourcesRemain", message)
        };
        let held = self.finalizers.iter();
        let held: Vec<String> = held
            .map(|(finalizer, n)| format!("{finalizer} in {n} resource instances"))
            .collect();
        let finalizers = if held.is_empty() {
            let done = "All content-preserving finalizers finished";
            ("False", "ContentHasNoFinalizers", done.to_owned())
        } else {
            let held = held.join(", ");
            let message = format!("Some content in the namespace has finalizers remaining: {held}");
            ("True", "SomeFinalizersRemain", message)
        };
        [
            ("NamespaceDeletionContentFailure", failure),
            ("NamespaceContentRemaining", content),
            ("NamespaceFinalizersRemaining", finalizers),
        ]
        .map(|(kind, (status, reason, message))| (kind, status, reason, message))
    }
}

/// Takes our finalizer off a namespace.
fn finalize(namespace: &Namespace) -> Write {
    let name = &namespace.metadata.name;
    let finalizers = namespace.spec.finalizers.iter();
    let left: Vec<&String> = finalizers.filter(|f| *f != FINALIZER).collect();
    let body = json!({
        "apiVersion": "v1", "kind": "Namespace",
        "metadata": { "name": name, "uid": namespace.metadata.uid },
        "spec": { "finalizers": left },
    });
    Write::put(format!("/api/v1/namespaces/{name}/finalize"), body).asked_by(Asked::Finalized(name.clone()))
}

#[cfg(test)]
mod tests;
