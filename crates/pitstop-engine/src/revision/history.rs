//! The history of a native DaemonSet: which revision is current, which are surplus.
//!
//! Source: daemonset.md A11.

use std::sync::Arc;

use pitstop_api::keys;
use pitstop_api::view::{DaemonSetView, PodView, RevisionView};

use super::{data_of, hash_of, holds, kruise_data_of, name_of};
use crate::plan::{Action, NewRevision, OwnedObject};
use crate::shared_labels::revisions_of;

/// What has to be written so that the history is right, and the hash of the current revision.
#[derive(Debug, Clone, PartialEq)]
pub struct History {
    /// Hash of the current revision.
    pub target: Arc<str>,
    /// Writes, in order.
    pub actions: Vec<Action>,
    /// Hashes of duplicates that go away: their pods are relabelled to the target.
    ///
    /// Differs from upstream, which relabels every pod of another hash: a duplicate made by hand would pass outdated pods
    /// off as current.
    pub merged: Vec<Arc<str>>,
    /// Deletes of the duplicates, which come after the relabelling: with a duplicate gone and its pods not relabelled,
    /// they would count as outdated.
    pub duplicates: Vec<Action>,
}

/// Builds the history from the revisions that the DaemonSet owns or adopts.
pub fn build(daemonset: &DaemonSetView, revisions: &[&RevisionView], may_adopt: bool) -> History {
    let mut actions = Vec::new();
    let owned = claim(daemonset, revisions, may_adopt, &mut actions);
    for revision in owned
        .iter()
        .filter(|r| !r.labels.contains_key(keys::REVISION_HASH))
    {
        actions.push(Action::LabelRevision {
            name: Arc::clone(&revision.name),
            uid: revision.uid,
            hash: Arc::clone(&revision.name),
        });
    }
    let (mut current, old): (Vec<_>, Vec<_>) = owned.into_iter().partition(|r| holds(r, &daemonset.template));
    let next = old
        .iter()
        .map(|r| r.revision)
        .max()
        .unwrap_or(0)
        .saturating_add(1);
    current.sort_by(|a, b| a.revision.cmp(&b.revision).then_with(|| a.name.cmp(&b.name)));
    let Some(kept) = current.pop() else {
        let hash: Arc<str> = hash_of(&daemonset.template, daemonset.status.collision_count).into();
        let data = match daemonset.advanced {
            Some(_) => kruise_data_of(&daemonset.template),
            None => data_of(&daemonset.template),
        };
        actions.push(Action::CreateRevision(NewRevision {
            name: name_of(&daemonset.name, &hash),
            hash: Arc::clone(&hash),
            revision: next,
            data,
        }));
        return History {
            target: hash,
            actions,
            merged: Vec::new(),
            duplicates: Vec::new(),
        };
    };
    let merged = current
        .iter()
        .map(|duplicate| duplicate.hash())
        .filter(|hash| *hash != kept.hash())
        .map(Arc::from)
        .collect();
    let duplicates = current.iter().map(|r| delete(r)).collect();
    if kept.revision < next {
        actions.push(Action::RenumberRevision {
            name: Arc::clone(&kept.name),
            uid: kept.uid,
            revision: next,
            annotations: change_cause(daemonset),
        });
    }
    History {
        target: kept.hash().into(),
        actions,
        merged,
        duplicates,
    }
}

/// The action that deletes a revision.
pub fn delete(revision: &RevisionView) -> Action {
    Action::DeleteRevision {
        name: Arc::clone(&revision.name),
        uid: revision.uid,
    }
}

/// The change cause of the object as it is now: a revision that an undo brings back is made current for this reason.
///
/// Source: daemonset.md, Better than upstream 15.
fn change_cause(daemonset: &DaemonSetView) -> Vec<(String, String)> {
    let cause = daemonset.annotations.get(keys::CHANGE_CAUSE);
    cause
        .map(|cause| (keys::CHANGE_CAUSE.to_owned(), cause.clone()))
        .into_iter()
        .collect()
}

fn claim<'a>(
    daemonset: &DaemonSetView,
    revisions: &[&'a RevisionView],
    may_adopt: bool,
    actions: &mut Vec<Action>,
) -> Vec<&'a RevisionView> {
    let selector = daemonset.selector.selector();
    let mut owned = Vec::new();
    for revision in revisions {
        let matches = selector.as_ref().is_some_and(|s| s.matches(&revision.labels));
        let (name, uid) = (Arc::clone(&revision.name), revision.uid);
        match revision.controller {
            Some(controller) if controller.uid != daemonset.uid => {}
            Some(_) if matches => owned.push(*revision),
            Some(_) => actions.push(Action::Release {
                object: OwnedObject::Revision,
                name,
                uid,
            }),
            None if matches && may_adopt && !revision.is_terminating => {
                actions.push(Action::Adopt {
                    object: OwnedObject::Revision,
                    name,
                    uid,
                });
                owned.push(*revision);
            }
            None => {}
        }
    }
    owned
}

/// The revisions beyond the limit, oldest first; one that a pod of the snapshot still has is kept.
///
/// The current one is never counted.
pub fn surplus<'a>(
    daemonset: &DaemonSetView,
    revisions: &[&'a RevisionView],
    pods: &[&PodView],
) -> Vec<&'a RevisionView> {
    let owned = |r: &&RevisionView| r.controller.is_some_and(|c| c.uid == daemonset.uid);
    let mut old: Vec<&RevisionView> = revisions
        .iter()
        .copied()
        .filter(owned)
        .filter(|r| !r.is_terminating && !holds(r, &daemonset.template))
        .collect();
    let limit = usize::try_from(daemonset.revision_history_limit).unwrap_or(usize::MAX);
    let n_surplus = old.len().saturating_sub(limit);
    if n_surplus == 0 {
        return Vec::new();
    }
    old.sort_by(|a, b| a.revision.cmp(&b.revision).then_with(|| a.name.cmp(&b.name)));
    let live = revisions_of(pods.iter().copied());
    old.into_iter()
        .filter(|r| live.binary_search(&r.hash()).is_err())
        .take(n_surplus)
        .collect()
}
