//! Who a pod of a StatefulSet is: its name, its labels, its claims.
//!
//! Source: statefulset.md 3.

use jiff::Timestamp;
use pitstop_api::view::{PodView, StatefulSetView};
use pitstop_api::{keys, reasons, statefulset};
use serde_json::{Value, json};

use crate::instances::history::label_of;
use crate::instances::pod::{self, ClaimTemplates};
use crate::lifecycle::State;

/// The reference by which pods and revisions belong to a StatefulSet.
pub(super) fn owner_reference(set: &StatefulSetView) -> Value {
    let mut owner = plain_reference(set);
    if let Some(owner) = owner.as_object_mut() {
        owner.insert("controller".to_owned(), Value::from(true));
        owner.insert("blockOwnerDeletion".to_owned(), Value::from(true));
    }
    owner
}

/// The reference by which claims go with a StatefulSet that they do not obey.
pub(super) fn plain_reference(set: &StatefulSetView) -> Value {
    json!({
        "apiVersion": format!("{}/v1beta1", statefulset::GROUP), "kind": statefulset::KIND,
        "name": set.name, "uid": set.uid.to_string(),
    })
}

/// The name of the pod with this ordinal.
pub fn pod_name(set: &str, ordinal: u32) -> String {
    format!("{set}-{ordinal}")
}

/// The ordinal in the name of a pod of this StatefulSet; `None` for names of others, and for numbers that do not fit.
pub fn ordinal_of(set: &str, pod: &str) -> Option<u32> {
    let digits = pod.strip_prefix(set)?.strip_prefix('-')?;
    let is_canonical = digits == "0" || !digits.starts_with('0');
    let is_number = digits.bytes().all(|byte| byte.is_ascii_digit());
    let ordinal: i32 = digits.parse().ok().filter(|_| is_number && is_canonical)?;
    u32::try_from(ordinal).ok()
}

/// Which labels of its identity a pod lacks. A missing index alone is not mended.
pub(super) fn has_identity(pod: &PodView) -> bool {
    pod.labels.get(keys::STATEFUL_POD_NAME).map(String::as_str) == Some(&*pod.name)
}

/// The claims of a StatefulSet.
pub(super) fn claim_templates(set: &StatefulSetView) -> ClaimTemplates<'_> {
    ClaimTemplates {
        workload: &set.name,
        namespace: &set.namespace,
        templates: &set.claim_templates,
        selected: &set.selector.match_labels,
    }
}

/// The claims of an ordinal. Labels of the selector win over those of the template.
pub fn claims_of(set: &StatefulSetView, ordinal: u32, goes_with_set: bool) -> Vec<Value> {
    let owners = if goes_with_set {
        vec![plain_reference(set)]
    } else {
        Vec::new()
    };
    claim_templates(set).claims(&ordinal.to_string(), &[], &owners)
}

/// The pod of an ordinal at a revision, whose template is given.
///
/// It has the gate by which hooks hold it, which upstream's admission adds. It begins in state `Normal`, unless a hook is to
/// be asked before it counts.
pub fn pod_of(
    set: &StatefulSetView,
    template: &Value,
    revision: &str,
    ordinal: u32,
    labels_index: bool,
    now: Timestamp,
) -> Value {
    let name = pod_name(&set.name, ordinal);
    let index = ordinal.to_string();
    let mut labels = vec![
        (keys::STATEFUL_POD_NAME, name.as_str()),
        (keys::REVISION_HASH, label_of(revision, false)),
    ];
    if labels_index {
        labels.push((keys::POD_INDEX, index.as_str()));
    }
    let mut metadata = pod::metadata(template, &labels, owner_reference(set));
    let state = first_state(set, &metadata);
    for (map, key, value) in [
        ("labels", keys::LIFECYCLE_STATE, state.as_str().to_owned()),
        ("annotations", keys::LIFECYCLE_TIMESTAMP, seconds(now).to_string()),
    ] {
        let entry = metadata.entry(map).or_insert_with(|| json!({}));
        if let Some(entry) = entry.as_object_mut() {
            entry.insert(key.to_owned(), Value::from(value));
        }
    }
    metadata.insert("namespace".to_owned(), json!(set.namespace));
    metadata.insert("name".to_owned(), Value::from(name.as_str()));
    let mut spec = pod::object(template.get("spec"));
    pod::add_gates(&mut spec, &[reasons::KRUISE_POD_READY]);
    claim_templates(set).mount(&index, &mut spec);
    spec.insert("hostname".to_owned(), Value::from(name));
    if !set.service_name.is_empty() {
        spec.insert("subdomain".to_owned(), json!(set.service_name));
    }
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

/// `PreparingNormal` while its hook is not all on it. Source: statefulset.md 3.4.
fn first_state(set: &StatefulSetView, metadata: &serde_json::Map<String, Value>) -> State {
    let Some(hook) = &set.lifecycle.pre_normal else {
        return State::Normal;
    };
    let labels = metadata.get("labels");
    let has_label = |(key, value): (&String, &String)| {
        let found = labels.and_then(|labels| labels.get(key)).and_then(Value::as_str);
        found == Some(value)
    };
    let finalizers = metadata.get("finalizers").and_then(Value::as_array);
    let has_finalizer = |name: &std::sync::Arc<str>| {
        let mut found = finalizers.into_iter().flatten();
        found.any(|finalizer| finalizer.as_str() == Some(name))
    };
    if hook.labels.iter().all(has_label) && hook.finalizers.iter().all(has_finalizer) {
        State::Normal
    } else {
        State::PreparingNormal
    }
}

/// A moment in whole seconds, as objects carry it.
pub(super) fn seconds(at: Timestamp) -> Timestamp {
    Timestamp::from_second(at.as_second()).unwrap_or(at)
}
