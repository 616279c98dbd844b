//! The instances of a CloneSet: their ids, their pods, their claims.
//!
//! Source: cloneset.md 3.

use std::collections::BTreeSet;
use std::sync::Arc;

use pitstop_api::view::CloneSetView;
use pitstop_api::{cloneset, keys, reasons};
use serde_json::{Map, Value, json};

use super::history::label_of;
use crate::inplace::short_revision;
use crate::lifecycle::State;

/// Characters of an instance id.
const ID_LENGTH: usize = 5;

/// New instance ids: those that are free first, in their order, and then others that are not taken.
///
/// The same seed gives the same ids. Source: cloneset.md 3, 18.17.
pub fn ids(n: usize, free: &BTreeSet<Arc<str>>, taken: &BTreeSet<Arc<str>>, seed: u64) -> Vec<Arc<str>> {
    let mut chosen: BTreeSet<Arc<str>> = free.iter().take(n).cloned().collect();
    let mut state = seed;
    while chosen.len() < n {
        let id: Arc<str> = next_id(&mut state).into();
        if !taken.contains(&id) {
            chosen.insert(id);
        }
    }
    chosen.into_iter().collect()
}

/// The next of a sequence of ids: a generator that visits every state once (`SplitMix64`).
fn next_id(state: &mut u64) -> String {
    *state = state.wrapping_add(0x9e37_79b9_7f4a_7c15);
    let mut bits = *state;
    bits = (bits ^ (bits >> 30)).wrapping_mul(0xbf58_476d_1ce4_e5b9);
    bits = (bits ^ (bits >> 27)).wrapping_mul(0x94d0_49bb_1331_11eb);
    bits ^= bits >> 31;
    let alphabet = keys::SAFE_ALPHABET.as_bytes();
    let n = u64::try_from(alphabet.len()).unwrap_or(1);
    (0..ID_LENGTH)
        .map(|_| {
            let digit = usize::try_from(bits.checked_rem(n).unwrap_or(0)).unwrap_or(0);
            bits = bits.checked_div(n).unwrap_or(0);
            alphabet.get(digit).map_or('x', |byte| char::from(*byte))
        })
        .collect()
}

/// The reference by which pods, claims and revisions belong to a CloneSet.
pub(super) fn owner_reference(cloneset: &CloneSetView) -> Value {
    json!({
        "apiVersion": format!("{}/v1beta1", cloneset::GROUP), "kind": cloneset::KIND,
        "name": cloneset.name, "uid": cloneset.uid.to_string(), "controller": true, "blockOwnerDeletion": true,
    })
}

/// The name of an instance's pod.
pub fn pod_name(cloneset: &CloneSetView, instance: &str) -> String {
    format!("{}-{instance}", cloneset.name)
}

/// The pod of an instance at a revision, whose template is given. `short_hash`: its label is the hash alone.
///
/// It has the readiness gate of updates in place whatever the policy is, and the one by which hooks hold it, which
/// upstream's admission adds. It begins in state `PreparingNormal`. Volumes of claims come first, and replace those of
/// the template that have their name. Source: cloneset.md 3; inplace.md 8.
pub fn pod_of(
    cloneset: &CloneSetView,
    template: &Value,
    revision: &str,
    instance: &str,
    short_hash: bool,
) -> Value {
    let part = |name: &str| object(template.get(name));
    let (mut metadata, mut spec) = (part("metadata"), part("spec"));
    let mut labels = object(metadata.get("labels"));
    for (key, value) in [
        (keys::INSTANCE_ID, instance),
        (keys::REVISION_HASH, label_of(revision, short_hash)),
        (keys::POD_TEMPLATE_HASH, short_revision(revision)),
        (keys::LIFECYCLE_STATE, State::PreparingNormal.as_str()),
    ] {
        labels.insert(key.to_owned(), Value::from(value));
    }
    metadata.retain(|key, _| matches!(key.as_str(), "annotations" | "finalizers"));
    metadata.insert("labels".to_owned(), Value::Object(labels));
    metadata.insert("namespace".to_owned(), json!(cloneset.namespace));
    metadata.insert("name".to_owned(), Value::from(pod_name(cloneset, instance)));
    metadata.insert("ownerReferences".to_owned(), json!([owner_reference(cloneset)]));

    let mut gates = array(spec.get("readinessGates"));
    for condition in [reasons::INPLACE_UPDATE_READY, reasons::KRUISE_POD_READY] {
        let is_it = |gate: &Value| gate.get("conditionType") == Some(&Value::from(condition));
        if !gates.iter().any(is_it) {
            gates.push(json!({ "conditionType": condition }));
        }
    }
    spec.insert("readinessGates".to_owned(), Value::Array(gates));
    let claimed: Vec<(String, Value)> = claim_names(cloneset, instance)
        .map(|(volume, claim)| {
            let source =
                json!({ "name": volume, "persistentVolumeClaim": { "claimName": claim, "readOnly": false } });
            (volume, source)
        })
        .collect();
    if !claimed.is_empty() {
        let is_replaced = |volume: &Value| {
            let name = volume.get("name").and_then(Value::as_str);
            claimed.iter().any(|(claimed, _)| Some(claimed.as_str()) == name)
        };
        let mut others = array(spec.get("volumes"));
        others.retain(|volume| !is_replaced(volume));
        let volumes = claimed.iter().map(|(_, volume)| volume.clone()).chain(others);
        spec.insert("volumes".to_owned(), volumes.collect());
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

/// The claims of an instance. Labels of the selector and the id win over those of the template.
///
/// Source: cloneset.md 3.
pub fn claims_of(cloneset: &CloneSetView, instance: &str) -> Vec<Value> {
    let names = claim_names(cloneset, instance).map(|(_, name)| name);
    let templates = cloneset
        .claim_templates
        .iter()
        .filter(|template| template_name(template).is_some());
    let claims = templates.zip(names).map(|(template, name)| {
        let mut metadata = object(template.get("metadata"));
        let mut labels = object(metadata.get("labels"));
        let selected = cloneset.selector.match_labels.iter();
        labels.extend(selected.map(|(key, value)| (key.clone(), Value::from(value.as_str()))));
        labels.insert(keys::INSTANCE_ID.to_owned(), Value::from(instance));
        metadata.retain(|key, _| key == "annotations");
        metadata.insert("labels".to_owned(), Value::Object(labels));
        metadata.insert("name".to_owned(), Value::from(name));
        metadata.insert("namespace".to_owned(), json!(cloneset.namespace));
        metadata.insert("ownerReferences".to_owned(), json!([owner_reference(cloneset)]));
        json!({
            "apiVersion": "v1", "kind": "PersistentVolumeClaim", "metadata": metadata,
            "spec": template.get("spec").cloned().unwrap_or_default(),
        })
    });
    claims.collect()
}

/// Names of volumes, and of the claims behind them, in the order of the templates.
fn claim_names<'a>(
    cloneset: &'a CloneSetView,
    instance: &'a str,
) -> impl Iterator<Item = (String, String)> + 'a {
    let names = cloneset.claim_templates.iter().filter_map(template_name);
    names.map(move |name| (name.to_owned(), format!("{name}-{}-{instance}", cloneset.name)))
}

fn template_name(template: &Value) -> Option<&str> {
    template.pointer("/metadata/name")?.as_str()
}

fn object(value: Option<&Value>) -> Map<String, Value> {
    value.and_then(Value::as_object).cloned().unwrap_or_default()
}

fn array(value: Option<&Value>) -> Vec<Value> {
    value.and_then(Value::as_array).cloned().unwrap_or_default()
}
