//! What a version of a workload is: its data, its hash, and which ControllerRevision holds it.

use std::sync::Arc;

use pitstop_api::keys;
use pitstop_api::view::{DaemonSetView, RevisionView};
use serde_json::{Map, Value, json};

pub mod history;

/// The `data` of the revision of a template: a strategic merge patch that replaces the template, and nothing else.
///
/// Source: daemonset.md A11.
pub fn data_of(template: &Value) -> Value {
    let mut template = canonical(template);
    if let Some(map) = template.as_object_mut() {
        map.insert("$patch".to_owned(), Value::from("replace"));
    }
    json!({ "spec": { "template": sorted(&template) } })
}

/// The `data` of the revision of a kind of `apps.kruise.io`: as OpenKruise writes it, whose types cannot leave out when a
/// template was created. OpenKruise compares the bytes, so that any other data would make a new revision of a template
/// that nobody touched where it takes over.
///
/// Source: cloneset.md 4.1.
pub fn kruise_data_of(template: &Value) -> Value {
    let mut data = data_of(template);
    say_when_created(data.pointer_mut("/spec/template"));
    let volumes = data.pointer_mut("/spec/template/spec/volumes");
    for volume in volumes.and_then(Value::as_array_mut).into_iter().flatten() {
        say_when_created(volume.pointer_mut("/ephemeral/volumeClaimTemplate"));
    }
    data
}

/// Writes that an object was created at no time, where it has metadata at all, as every template has that a selector finds.
fn say_when_created(object: Option<&mut Value>) {
    let metadata = object.and_then(|object| object.get_mut("metadata"));
    if let Some(metadata) = metadata.and_then(Value::as_object_mut) {
        metadata.insert("creationTimestamp".to_owned(), Value::Null);
    }
}

/// The hash of a template in name and label of its revision.
///
/// FNV-1a of 32 bits over the canonical JSON, and over the collision count where there is one; the decimal digits are
/// written with characters that spell no words. Source: daemonset.md A11.
pub fn hash_of(template: &Value, collision_count: Option<i32>) -> String {
    let mut bytes = canonical(template).to_string().into_bytes();
    if let Some(count) = collision_count {
        bytes.extend(i64::from(count).to_le_bytes());
    }
    short_hash(&bytes)
}

/// FNV-1a of 32 bits, its decimal digits written with characters that spell no words. Length: 1..=10.
pub(crate) fn short_hash(bytes: &[u8]) -> String {
    let hash = bytes.iter().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(*byte)).wrapping_mul(0x0100_0193)
    });
    decimal_hash(hash)
}

/// The decimal digits of a hash, written with characters that spell no words. Length: 1..=10.
pub(crate) fn decimal_hash(hash: u32) -> String {
    const DIGITS: [char; 10] = ['4', '5', '6', '7', '8', '9', 'b', 'c', 'd', 'f'];
    let digit = |c: char| {
        c.to_digit(10)
            .and_then(|d| DIGITS.get(usize::try_from(d).ok()?))
            .copied()
    };
    hash.to_string().chars().filter_map(digit).collect()
}

/// Two templates of the same content have equal canonical forms.
///
/// `$patch`, `metadata.creationTimestamp` and every null are left out; keys are sorted. Source: daemonset.md C3.2.
pub fn canonical(template: &Value) -> Value {
    let mut value = sorted(template);
    if let Some(map) = value.as_object_mut() {
        map.remove("$patch");
        if let Some(metadata) = map.get_mut("metadata").and_then(Value::as_object_mut) {
            metadata.remove("creationTimestamp");
        }
    }
    value
}

fn sorted(value: &Value) -> Value {
    match value {
        Value::Object(map) => {
            let mut entries: Vec<_> = map.iter().filter(|(_, v)| !v.is_null()).collect();
            entries.sort_unstable_by_key(|(key, _)| *key);
            Value::Object(
                entries
                    .into_iter()
                    .map(|(key, v)| (key.clone(), sorted(v)))
                    .collect::<Map<_, _>>(),
            )
        }
        Value::Array(items) => Value::Array(items.iter().map(sorted).collect()),
        other => other.clone(),
    }
}

/// The template that a revision holds; `None` when its data is not of this form.
pub fn template_of(revision: &RevisionView) -> Option<&Value> {
    revision
        .data
        .pointer("/spec/template")
        .filter(|template| template.is_object())
}

/// Does the revision hold exactly this template?
pub fn holds(revision: &RevisionView, template: &Value) -> bool {
    template_of(revision).is_some_and(|held| is_same_template(held, template))
}

/// Have the two the same canonical form? Decisions ask this again and again, so nothing is built for it.
pub fn is_same_template(a: &Value, b: &Value) -> bool {
    let is_same_part = |key: &str, a: &Value, b: &Value| match key {
        "metadata" => are_same(a, b, Some("creationTimestamp"), |_, a, b| is_same(a, b)),
        _ => is_same(a, b),
    };
    are_same(a, b, Some("$patch"), is_same_part)
}

fn is_same(a: &Value, b: &Value) -> bool {
    are_same(a, b, None, |_, a, b| is_same(a, b))
}

/// Compares two values but for nulls and one key. What is under the other keys is compared with `is_same_part`.
fn are_same(
    a: &Value,
    b: &Value,
    left_out: Option<&str>,
    is_same_part: fn(&str, &Value, &Value) -> bool,
) -> bool {
    match (a, b) {
        (Value::Object(a), Value::Object(b)) => {
            let counts =
                |(key, value): &(&String, &Value)| !value.is_null() && Some(key.as_str()) != left_out;
            let is_same_in_b = |(key, value): (&String, &Value)| {
                b.get(key).is_some_and(|other| is_same_part(key, value, other))
            };
            a.iter().filter(counts).count() == b.iter().filter(counts).count()
                && a.iter().filter(counts).all(is_same_in_b)
        }
        (Value::Array(a), Value::Array(b)) => {
            a.len() == b.len() && a.iter().zip(b).all(|(a, b)| is_same(a, b))
        }
        _ => a == b,
    }
}

/// Which revisions hold the current template: read from the cluster, never computed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Current {
    /// Hash of the newest revision that holds the template.
    pub target: Arc<str>,
    /// Hashes of all revisions that hold it: a pod with one of them is at the target.
    pub accepted: Vec<Arc<str>>,
}

/// The current revision by what the cluster's own controller wrote; `None` until it wrote one.
///
/// Source: daemonset.md C3.
pub fn current(daemonset: &DaemonSetView, revisions: &[&RevisionView]) -> Option<Current> {
    let owned = revisions
        .iter()
        .filter(|r| r.controller.is_some_and(|c| c.uid == daemonset.uid));
    let mut matching: Vec<&RevisionView> = owned.copied().filter(|r| holds(r, &daemonset.template)).collect();
    matching.sort_by(|a, b| a.revision.cmp(&b.revision).then_with(|| a.name.cmp(&b.name)));
    let target = matching.last()?.hash().into();
    Some(Current {
        target,
        accepted: matching.iter().map(|r| Arc::from(r.hash())).collect(),
    })
}

/// The name of a revision.
pub fn name_of(workload: &str, hash: &str) -> String {
    format!("{workload}-{hash}")
}

/// The labels of a revision: those of the template, and its hash.
pub fn labels_of(template: &Value, hash: &str) -> Map<String, Value> {
    let mut labels = template
        .pointer("/metadata/labels")
        .and_then(Value::as_object)
        .cloned()
        .unwrap_or_default();
    labels.insert(keys::REVISION_HASH.to_owned(), Value::from(hash));
    labels
}
