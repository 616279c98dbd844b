//! The revisions of a CloneSet. Source: cloneset.md 4.

use std::collections::BTreeMap;

use serde_json::Value;

use super::instance::owner_reference;
use super::snapshot::Snapshot;
use crate::inplace::hash::go_json;
use crate::instances::history::{self, History, Keeper};

/// Source: cloneset.md 4.6, 4.7.
pub(super) fn build<'a>(snapshot: &Snapshot<'a>) -> History<'a> {
    let cloneset = snapshot.cloneset;
    history::build(&Keeper {
        namespace: &cloneset.namespace,
        name: &cloneset.name,
        uid: cloneset.uid,
        annotations: &cloneset.annotations,
        template: &cloneset.template,
        claims_hash: Some(claims_hash(&cloneset.claim_templates)),
        owner: owner_reference(cloneset),
        collision_count: cloneset.status.collision_count.unwrap_or(0),
        current: &cloneset.status.current_revision,
        revisions: &snapshot.revisions,
    })
}

/// A hash of names and specs of claim templates; empty when there are none. Source: cloneset.md 4.8.
fn claims_hash(templates: &[Value]) -> String {
    if templates.is_empty() {
        return String::new();
    }
    let by_name: BTreeMap<&str, &Value> = templates
        .iter()
        .map(|template| {
            let name = template.pointer("/metadata/name").and_then(Value::as_str);
            (
                name.unwrap_or_default(),
                template.get("spec").unwrap_or(&Value::Null),
            )
        })
        .collect();
    let hash = go_json(&by_name).bytes().fold(0x811c_9dc5_u32, |hash, byte| {
        (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
    });
    hash.to_string()
}
