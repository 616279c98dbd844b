//! The instances of a CloneSet: their ids, their pods, their claims.
//!
//! Source: cloneset.md 3.

use std::collections::BTreeSet;
use std::sync::Arc;

use pitstop_api::view::CloneSetView;
use pitstop_api::{cloneset, keys, reasons};
use serde_json::{Value, json};

use crate::inplace::short_revision;
use crate::instances::history::label_of;
use crate::instances::pod::{self, ClaimTemplates};
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
    let labels = [
        (keys::INSTANCE_ID, instance),
        (keys::REVISION_HASH, label_of(revision, short_hash)),
        (keys::POD_TEMPLATE_HASH, short_revision(revision)),
        (keys::LIFECYCLE_STATE, State::PreparingNormal.as_str()),
    ];
    let mut metadata = pod::metadata(template, &labels, owner_reference(cloneset));
    metadata.insert("namespace".to_owned(), json!(cloneset.namespace));
    metadata.insert("name".to_owned(), Value::from(pod_name(cloneset, instance)));
    let generated = format!("{}-", cloneset.name);
    metadata.insert("generateName".to_owned(), Value::from(generated));
    let mut spec = pod::object(template.get("spec"));
    pod::add_gates(
        &mut spec,
        &[reasons::INPLACE_UPDATE_READY, reasons::KRUISE_POD_READY],
    );
    claim_templates(cloneset).mount(instance, &mut spec);
    json!({ "apiVersion": "v1", "kind": "Pod", "metadata": metadata, "spec": spec })
}

/// The claims of an instance. Labels of the selector and the id win over those of the template.
///
/// Source: cloneset.md 3.
pub fn claims_of(cloneset: &CloneSetView, instance: &str) -> Vec<Value> {
    let labels = [(keys::INSTANCE_ID, instance)];
    claim_templates(cloneset).claims(instance, &labels, &[owner_reference(cloneset)])
}

fn claim_templates(cloneset: &CloneSetView) -> ClaimTemplates<'_> {
    ClaimTemplates {
        workload: &cloneset.name,
        namespace: &cloneset.namespace,
        templates: &cloneset.claim_templates,
        selected: &cloneset.selector.match_labels,
    }
}
