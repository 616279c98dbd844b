//! The revisions of a StatefulSet: its template alone, so that edits of claim templates make none. Source: statefulset.md 4.

use super::identity::owner_reference;
use super::snapshot::Snapshot;
use crate::instances::history::{self, History, Keeper};

pub(super) fn build<'a>(snapshot: &Snapshot<'a>) -> History<'a> {
    let set = snapshot.set;
    history::build(&Keeper {
        namespace: &set.namespace,
        name: &set.name,
        uid: set.uid,
        annotations: &set.annotations,
        template: &set.template,
        claims_hash: None,
        owner: owner_reference(set),
        collision_count: set.status.collision_count.unwrap_or(0),
        current: &set.status.current_revision,
        revisions: &snapshot.revisions,
    })
}
