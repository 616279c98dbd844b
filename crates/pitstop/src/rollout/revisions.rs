//! The revisions of a workload, as rows.

use pitstop_api::keys;
use pitstop_api::view::{RevisionView, Uid};
use serde::Serialize;
use serde_json::Value;

/// One revision.
#[derive(Debug, Clone, Serialize)]
#[serde(rename_all = "camelCase")]
pub struct RevisionRow {
    /// Its number.
    pub revision: i64,
    /// What pods at it carry as a label.
    pub hash: String,
    /// Is it the one that pods are brought to?
    pub is_target: bool,
    /// Pods at it.
    pub pods: usize,
    /// Images of its template.
    pub images: Vec<String>,
    /// Annotation `kubernetes.io/change-cause`.
    pub change_cause: Option<String>,
}

/// The revisions that a workload controls.
pub(super) fn owned<'a>(
    revisions: &'a [&'a RevisionView],
    owner: Uid,
) -> impl Iterator<Item = &'a RevisionView> + 'a {
    let is_ours = move |revision: &&RevisionView| {
        revision
            .controller
            .as_ref()
            .is_some_and(|controller| controller.uid == owner)
    };
    revisions.iter().copied().filter(is_ours)
}

/// Rows, oldest first; `state` gives the label of its pods, how many there are, and whether it is the target.
pub(super) fn rows<'a>(
    revisions: impl Iterator<Item = &'a RevisionView>,
    state: impl Fn(&RevisionView) -> (String, usize, bool),
) -> Vec<RevisionRow> {
    let mut rows: Vec<RevisionRow> = revisions
        .map(|revision| {
            let (hash, pods, is_target) = state(revision);
            RevisionRow {
                revision: revision.revision,
                hash,
                is_target,
                pods,
                images: images_of(&revision.data["spec"]["template"]),
                change_cause: revision.annotations.get(keys::CHANGE_CAUSE).cloned(),
            }
        })
        .collect();
    rows.sort_by(|a, b| (a.revision, &a.hash).cmp(&(b.revision, &b.hash)));
    rows
}

/// The images of a template.
pub fn images_of(template: &Value) -> Vec<String> {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    let containers = containers.into_iter().flatten();
    containers
        .filter_map(|container| container.get("image")?.as_str().map(str::to_owned))
        .collect()
}
