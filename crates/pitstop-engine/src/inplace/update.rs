//! The beginning of an update in place.

use jiff::Timestamp;
use pitstop_api::view::{ContainerState, ContainerStatus, RestartPolicy};
use pitstop_api::{keys, reasons};
use serde_json::Value;

use super::batch::{Wanted, add_metadata, advance};
use super::change::{merge_metadata, whole_seconds};
use super::completion::{Completion, REPORT_WITHIN, containers_done};
use super::readiness::{needs_unready, updated, updating};
use super::state::{GraceState, Proof, UpdateState};
use super::{Change, Features, Live, UpdateSpec, WhyRecreate};
use crate::availability::later;

/// Can this very pod be updated in place, whatever its revisions say?
///
/// Source: inplace.md 13.10: a container that is not started again would never become new.
///
/// # Errors
/// Why it cannot.
pub fn eligibility(live: Live<'_>, spec: &UpdateSpec, now: Timestamp) -> Result<(), WhyRecreate> {
    if live.pod.is_terminal() {
        return Err(WhyRecreate::PodEnded);
    }
    // Agents restart containers for their environment only while the gate is closed.
    if spec.update_env && !live.view.has_gate(reasons::INPLACE_UPDATE_READY) {
        return Err(WhyRecreate::NoGate);
    }
    if spec.update_env && has_no_agent(live, now) {
        return Err(WhyRecreate::NoAgent);
    }
    let affected = spec.images.keys().chain(spec.resources.keys());
    for name in affected.chain(spec.ref_metadata.keys()) {
        if live.view.container(name).is_none() {
            return Err(WhyRecreate::NoContainer(name.clone()));
        }
        let Some(ContainerState::Terminated { exit_code, .. }) =
            live.view.status(name).map(|status| &status.state)
        else {
            continue;
        };
        let is_restarted = match live.view.spec.restart_policy {
            RestartPolicy::Always => true,
            RestartPolicy::OnFailure => *exit_code != 0,
            RestartPolicy::Never => false,
        };
        if !is_restarted {
            return Err(WhyRecreate::ContainerEnded(name.clone()));
        }
    }
    Ok(())
}

/// Has its node no agent? One says what runs within so long of the start of a container. What is seen before a pod leaves
/// service need not be waited for outside of it. Source: inplace.md 13.8.
fn has_no_agent(live: Live<'_>, now: Timestamp) -> bool {
    let runs_long = |status: &ContainerStatus| match status.state {
        ContainerState::Running { since: Some(since) } => later(since, REPORT_WITHIN) <= now,
        _ => false,
    };
    live.view.annotation(&[keys::RUNTIME_CONTAINERS]).is_none() && live.view.statuses.iter().any(runs_long)
}

/// Begins an update, or turns one that is under way towards another revision.
///
/// What an earlier update has not written yet, in a grace period or for a later batch, becomes a part of this one: the pod
/// carries the label of that revision already, so that no comparison of revisions would show it again. What the pod has
/// anyway is left out, so that an update that is taken back before it touched a container just ends.
///
/// A pod that need not leave service has no time to leave it, either. Differs from upstream, which waits for
/// `gracePeriodSeconds` in any case: before a change of resources that restarts nothing, before one of labels alone, and
/// before one of a pod without the readiness gate, which goes on serving all the while.
///
/// Labels of the revision and of a lifecycle are the workload's to add. Source: inplace.md 4.1, 13.1, 13.11.
pub fn begin(live: Live<'_>, spec: &UpdateSpec, features: Features, now: Timestamp) -> Change {
    let prior = UpdateState::of(live.view).ok().flatten();
    let grace = GraceState::of(live.view).ok().flatten();
    let is_in_grace = grace.is_some();
    let prior_began_at = prior.as_ref().and_then(UpdateState::began_at);
    let from_revision = revision_before(live, prior.as_ref(), is_in_grace, features, now);
    let (mut spec, proof) = carry_over(live, spec.clone(), prior, grace, features, now);
    let has = |name: &String, image: &String| {
        let container = live.view.container(name);
        container.is_some_and(|container| *container.image == **image)
    };
    spec.images.retain(|name, image| !has(name, image));

    let mut change = Change::default();
    let is_unready = needs_unready(live, &spec, features);
    let has_said_so = live
        .view
        .update_ready
        .as_ref()
        .is_some_and(|condition| !condition.is_true() && condition.revision() == spec.revision);
    if is_unready && !has_said_so {
        change.condition(reasons::INPLACE_UPDATE_READY, updating(&spec.revision, now));
    }
    let began_at = prior_began_at.filter(|_| is_in_grace).unwrap_or(now);
    let mut state = UpdateState {
        revision: spec.revision.clone(),
        update_timestamp: Some(whole_seconds(began_at)),
        update_images: !spec.images.is_empty(),
        update_env_from_metadata: spec.update_env,
        update_resources: !spec.resources.is_empty(),
        proof: Proof {
            began_at: Some(began_at),
            completed_at: None,
            ..proof
        },
        ..UpdateState::default()
    };
    if live.view.annotations.contains_key(keys::INPLACE_STATE_OLD) {
        change.drop_annotation(keys::INPLACE_STATE_OLD);
    }
    if spec.grace_seconds > 0 && is_unready {
        state.proof.from_revision = from_revision;
        change.annotation(keys::INPLACE_GRACE, &GraceState::from(&spec).to_json());
    } else {
        drop_grace(live, &mut change);
        add_metadata(&mut change, spec.metadata_patch.as_ref());
        let containers = advance(live, Wanted::of(&spec), &mut state, now);
        change.merge(containers);
    }
    change.annotation(keys::INPLACE_STATE, &state.to_json());
    change
}

/// The revision that the containers of a pod are of, while an update waits for the end of its grace period; empty when an
/// earlier update has left them between two.
fn revision_before(
    live: Live<'_>,
    prior: Option<&UpdateState>,
    is_in_grace: bool,
    features: Features,
    now: Timestamp,
) -> String {
    match prior {
        Some(prior) if is_in_grace => prior.proof.from_revision.clone(),
        Some(prior) if containers_done(live, prior, features, now) != Completion::Done => String::new(),
        _ => live.pod.revision_hash().unwrap_or_default().to_owned(),
    }
}

/// Takes an update back that waits for the end of its grace period, and with it the label of its revision; `None` when
/// containers may have been touched already.
///
/// Source: statefulset.md 16.3.
pub fn cancel(live: Live<'_>, now: Timestamp) -> Option<Change> {
    GraceState::of(live.view).ok().flatten()?;
    let state = UpdateState::of(live.view).ok().flatten()?;
    let before = state.proof.from_revision;
    if before.is_empty() {
        return None;
    }
    let mut change = Change::default();
    drop_grace(live, &mut change);
    for key in [keys::INPLACE_STATE, keys::INPLACE_STATE_OLD] {
        if live.view.annotations.contains_key(key) {
            change.drop_annotation(key);
        }
    }
    change.label(keys::REVISION_HASH, &before);
    change.condition(reasons::INPLACE_UPDATE_READY, updated(now));
    Some(change)
}

/// Takes both keys of the grace annotation off.
pub(super) fn drop_grace(live: Live<'_>, change: &mut Change) {
    for key in [keys::INPLACE_GRACE, keys::INPLACE_GRACE_OLD] {
        if live.view.annotations.contains_key(key) {
            change.drop_annotation(key);
        }
    }
}

/// Adds to an update what an earlier one has left to do, and keeps what it noted of containers.
fn carry_over(
    live: Live<'_>,
    spec: UpdateSpec,
    prior: Option<UpdateState>,
    grace: Option<GraceState>,
    features: Features,
    now: Timestamp,
) -> (UpdateSpec, Proof) {
    let mut left = UpdateSpec::default();
    let mut proof = Proof::default();
    if let Some(mut prior) = prior {
        let is_done = containers_done(live, &prior, features, now) == Completion::Done;
        let next = Wanted::take_next(&mut prior);
        left.images = next.images;
        left.resources = next.resources;
        left.ref_metadata = next.ref_metadata;
        if !is_done {
            left.update_env = prior.update_env_from_metadata;
            proof = prior.proof;
        }
    }
    if let Some(grace) = grace {
        put_on_top(&mut left, grace.into());
    }
    let spec_revision = spec.revision.clone();
    let grace_seconds = spec.grace_seconds;
    put_on_top(&mut left, spec);
    left.revision = spec_revision;
    left.grace_seconds = grace_seconds;
    (left, proof)
}

/// Puts one update on top of another: where both change the same, the upper one wins.
fn put_on_top(lower: &mut UpdateSpec, upper: UpdateSpec) {
    lower.images.extend(upper.images);
    for (name, resources) in upper.resources {
        let below = lower.resources.entry(name).or_default();
        below.limits.extend(resources.limits);
        below.requests.extend(resources.requests);
    }
    for (name, metadata) in upper.ref_metadata {
        let below = lower.ref_metadata.entry(name).or_default();
        below.labels.extend(metadata.labels);
        below.annotations.extend(metadata.annotations);
    }
    lower.update_env |= upper.update_env;
    lower.metadata_patch = match (lower.metadata_patch.take(), upper.metadata_patch) {
        (Some(Value::Object(mut below)), Some(Value::Object(mut above))) => {
            if let (Some(Value::Object(below)), Some(Value::Object(above))) =
                (below.get_mut("metadata"), above.remove("metadata"))
            {
                merge_metadata(below, above);
            } else {
                below.extend(above);
            }
            Some(Value::Object(below))
        }
        (below, above) => above.or(below),
    };
}

/// The update that makes a pod what a template says, for one whose own notes cannot be read.
///
/// Only images: what else there may be to do can no longer be told. Source: inplace.md 13.11.
pub fn rebuild(live: Live<'_>, revision: &str, template: &Value) -> UpdateSpec {
    let containers = template.pointer("/spec/containers").and_then(Value::as_array);
    let differing = containers.into_iter().flatten().filter_map(|container| {
        let name = container.get("name")?.as_str()?;
        let image = container.get("image")?.as_str()?;
        let present = live.view.container(name)?;
        (*present.image != *image).then(|| (name.to_owned(), image.to_owned()))
    });
    UpdateSpec {
        revision: revision.to_owned(),
        images: differing.collect(),
        ..UpdateSpec::default()
    }
}
