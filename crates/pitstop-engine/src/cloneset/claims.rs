//! Claims of volumes: whose they are, which are free, which go.
//!
//! Source: cloneset.md 12.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::ClaimView;
use pitstop_api::keys;
use pitstop_api::view::{PodView, Uid};
use serde_json::Value;

use super::instance::{claims_of, pod_name};
use super::plan::Action;
use super::rows::Rows;
use super::snapshot::Snapshot;

/// `terminationGracePeriodSeconds` where a template has none. Units: seconds. Source: Kubernetes' default.
const GRACE: i64 = 30;

/// Claims of the CloneSet that stay, by instance.
fn owned<'a>(snapshot: &Snapshot<'a>) -> BTreeMap<&'a str, Vec<&'a ClaimView>> {
    let mut by_instance: BTreeMap<&str, Vec<&ClaimView>> = BTreeMap::new();
    for claim in &snapshot.claims {
        let is_ours = claim.owner == Some(snapshot.cloneset.uid) && !claim.is_terminating;
        let is_gone = snapshot.in_flight.deleted_claims.contains(&claim.uid);
        if let Some(instance) = claim.instance.as_deref().filter(|_| is_ours && !is_gone) {
            by_instance.entry(instance).or_default().push(claim);
        }
    }
    by_instance
}

fn instance_of(pod: &PodView) -> Option<&str> {
    pod.labels.get(keys::INSTANCE_ID).map(String::as_str)
}

/// Claims that go with a pod.
pub(super) fn of_instance(snapshot: &Snapshot<'_>, instance: Option<&str>) -> Vec<(Arc<str>, Uid)> {
    let owned = owned(snapshot);
    let claims = instance
        .and_then(|instance| owned.get(instance))
        .into_iter()
        .flatten();
    claims.map(|claim| (Arc::clone(&claim.name), claim.uid)).collect()
}

/// Ids of instances that a new pod may take over with their claims, and those that none may have.
///
/// Differs from upstream: an id whose pod is still there, in whatever state, is not given out again, since its name is
/// taken (18.12). Source: cloneset.md 3.
pub(super) fn ids(snapshot: &Snapshot<'_>, rows: &Rows<'_>) -> (BTreeSet<Arc<str>>, BTreeSet<Arc<str>>) {
    let cloneset = snapshot.cloneset;
    let owned = owned(snapshot);
    let mut used: BTreeSet<Arc<str>> = snapshot
        .pods
        .iter()
        .filter_map(|pod| instance_of(pod))
        .map(Arc::from)
        .collect();
    used.extend(rows.active.iter().filter_map(|row| row.instance()).map(Arc::from));
    used.extend(
        snapshot
            .in_flight
            .created
            .iter()
            .map(|created| Arc::clone(&created.instance)),
    );
    let has_name = |id: &str| {
        let name = pod_name(cloneset, id);
        snapshot.pods.iter().any(|pod| *pod.name == *name)
    };
    let free: BTreeSet<Arc<str>> = owned
        .keys()
        .filter(|id| cloneset.scale.reuses_claims && !used.contains(**id) && !has_name(id))
        .map(|id| Arc::from(*id))
        .collect();
    used.extend(snapshot.claims.iter().filter_map(|claim| claim.instance.clone()));
    (free, used)
}

/// How long a terminating pod keeps the place of the pod that takes over its claims, beyond its own grace period. Units:
/// seconds. Our number: a kubelet that runs is done by then.
const PATIENCE: i64 = 30;

/// Terminating pods whose claims a new pod takes over once their names are free.
#[derive(Debug, Default)]
pub(super) struct Awaited {
    /// How many there are that are waited for.
    pub(super) n: usize,
    /// When the first of them is not waited for any longer.
    pub(super) until: Option<Timestamp>,
    /// One that was waited for long enough.
    pub(super) overdue: Option<Arc<str>>,
}

/// Differs from upstream, where the successor cannot get the name, for ever (18.12).
pub(super) fn awaited(snapshot: &Snapshot<'_>, rows: &Rows<'_>) -> Awaited {
    let mut awaited = Awaited::default();
    let cloneset = snapshot.cloneset;
    if !cloneset.scale.reuses_claims || cloneset.claim_templates.is_empty() {
        return awaited;
    }
    let mut ending = rows
        .inactive
        .iter()
        .filter(|pod| pod.deleted_at.is_some())
        .peekable();
    if ending.peek().is_none() {
        return awaited;
    }
    let owned = owned(snapshot);
    let grace = cloneset.template.pointer("/spec/terminationGracePeriodSeconds");
    let grace = grace.and_then(Value::as_i64).unwrap_or(GRACE);
    for pod in ending {
        let has_claims = instance_of(pod).is_some_and(|id| owned.contains_key(id));
        let Some(asked_at) = pod.deleted_at.filter(|_| has_claims) else {
            continue;
        };
        let patience = SignedDuration::from_secs(grace.saturating_add(PATIENCE));
        let until = asked_at.checked_add(patience).unwrap_or(asked_at);
        if until <= snapshot.now {
            awaited.overdue.get_or_insert_with(|| Arc::clone(&pod.name));
            continue;
        }
        awaited.n = awaited.n.saturating_add(1);
        awaited.until = Some(awaited.until.map_or(until, |first| first.min(until)));
    }
    awaited
}

/// The claims of a pod become its own.
pub(super) fn left_to(snapshot: &Snapshot<'_>, pod: &PodView) -> Vec<Action> {
    let claims = of_instance(snapshot, instance_of(pod));
    let leave = claims.into_iter().map(|(name, uid)| Action::LeaveClaim {
        name,
        uid,
        pod: Arc::clone(&pod.name),
        pod_uid: pod.uid,
    });
    leave.collect()
}

/// Names of claims that are there, in whatever state.
pub(super) fn names<'a>(snapshot: &Snapshot<'a>) -> BTreeSet<&'a str> {
    let claims = snapshot.claims.iter();
    let there = claims.filter(|claim| !snapshot.in_flight.deleted_claims.contains(&claim.uid));
    there.map(|claim| &*claim.name).collect()
}

/// Claims that pods miss which are there already, and which no node can take without them: deleted by somebody, or by a
/// DELETE of ours that was not answered and came late. `is_going`: what this pass does to the pod of a row.
///
/// Differs from upstream, where such a pod waits until somebody deletes it (L1).
pub(super) fn missing(
    snapshot: &Snapshot<'_>,
    rows: &Rows<'_>,
    is_going: impl Fn(usize) -> bool,
) -> Vec<Action> {
    if snapshot.cloneset.claim_templates.is_empty() {
        return Vec::new();
    }
    let present = names(snapshot);
    let rows = rows.active.iter().enumerate();
    let waiting = rows.filter(|(i, row)| !row.pod.bound && !is_going(*i));
    let missing = waiting.flat_map(|(_, row)| {
        let missing = row.instance().map(|id| missing_of(snapshot, &present, id));
        missing.into_iter().flatten().map(|manifest| Action::CreateClaim {
            pod: Arc::clone(&row.pod.name),
            manifest,
        })
    });
    missing.collect()
}

/// The claims of an instance that are not among those present.
pub(super) fn missing_of(snapshot: &Snapshot<'_>, present: &BTreeSet<&str>, instance: &str) -> Vec<Value> {
    let is_missing = |claim: &Value| {
        let name = claim.pointer("/metadata/name").and_then(Value::as_str);
        name.is_some_and(|name| !present.contains(name))
    };
    let claims = claims_of(snapshot.cloneset, instance).into_iter();
    claims.filter(is_missing).collect()
}

/// Where claims are not reused: those without an active pod go, with the pod that is on its way out where it is still
/// there. Source: cloneset.md 12.
pub(super) fn clean_up(snapshot: &Snapshot<'_>, rows: &Rows<'_>) -> Vec<Action> {
    if snapshot.cloneset.scale.reuses_claims {
        return Vec::new();
    }
    let is_active = |id: &str| {
        let created = &snapshot.in_flight.created;
        rows.active.iter().any(|row| row.instance() == Some(id))
            || created.iter().any(|pod| *pod.instance == *id)
    };
    let mut actions = Vec::new();
    for (id, claims) in owned(snapshot) {
        let is_released = rows.released.iter().any(|pod| instance_of(pod) == Some(id));
        if is_active(id) || is_released {
            continue;
        }
        let leaving = rows.inactive.iter().find(|pod| instance_of(pod) == Some(id));
        actions.extend(claims.into_iter().map(|claim| match leaving {
            Some(pod) => Action::LeaveClaim {
                name: Arc::clone(&claim.name),
                uid: claim.uid,
                pod: Arc::clone(&pod.name),
                pod_uid: pod.uid,
            },
            None => Action::DeleteClaim {
                name: Arc::clone(&claim.name),
                uid: claim.uid,
            },
        }));
    }
    actions
}
