//! When a DaemonSet of `apps.kruise.io` has its images pulled ahead. Source: daemonset.md D2; inplace.md 11.1.

use pitstop_api::keys;
use pitstop_api::view::{ImagePullJobView, PodView, RevisionView, StrategyType};
use serde_json::json;

use super::kruise::takes_all_at_once;
use crate::daemonset::pod::owner_reference;
use crate::predownload::trigger::{Manner, Rollout, Step, decide, min_updated_ready, parallelism, timeout};
use crate::revision::{current, template_of};
use crate::snapshot::Snapshot;

/// Decides whether jobs that pull images ahead are made or go. `jobs`: those that the DaemonSet owns.
///
/// Pods that are replaced come back to their node, so that it is worth it for these, too; under OnDelete nobody knows when
/// they go. The first revision has nobody to pull for.
pub fn pre_download<'a>(
    snapshot: &Snapshot<'_>,
    jobs: impl IntoIterator<Item = &'a ImagePullJobView>,
) -> Step {
    let daemonset = snapshot.daemonset;
    let is_rolling = daemonset.strategy.kind == StrategyType::RollingUpdate;
    let Some(advanced) = daemonset.advanced.as_deref().filter(|_| is_rolling) else {
        return Step::Nothing;
    };
    let Some(current) = current(daemonset, &snapshot.revisions).filter(|_| daemonset.deleted_at.is_none())
    else {
        return Step::Nothing;
    };
    let is_ours = |revision: &&RevisionView| {
        let controller = revision.controller;
        controller.is_some_and(|owner| owner.uid == daemonset.uid) && !revision.is_terminating
    };
    let is_target = |hash: &str| current.accepted.iter().any(|accepted| **accepted == *hash);
    let (target, old): (Vec<&RevisionView>, Vec<&RevisionView>) = snapshot
        .revisions
        .iter()
        .copied()
        .filter(is_ours)
        .partition(|revision| is_target(revision.hash()));
    let old_templates: Vec<_> = old.into_iter().filter_map(template_of).collect();
    if old_templates.is_empty() {
        return Step::Nothing;
    }
    let status = &daemonset.status;
    let desired = status.desired_number_scheduled;
    let is_about_target = status.update_revision.as_deref() == Some(&*current.target)
        && status.observed_generation >= daemonset.generation;
    let is_ready_at_target = |pod: &&&PodView| {
        let is_ours = pod.controller.is_some_and(|owner| owner.uid == daemonset.uid);
        is_ours && pod.is_ready() && pod.revision_hash().is_some_and(is_target)
    };
    let annotations = &daemonset.annotations;
    let rollout = Rollout {
        namespace: &daemonset.namespace,
        owner: owner_reference(daemonset),
        selector: json!(daemonset.selector),
        update: target
            .into_iter()
            .find(|revision| *revision.hash() == *current.target),
        is_settled: is_about_target && status.updated_number_scheduled == desired,
        template: &daemonset.template,
        old_templates,
        manner: Manner::Daemons,
        is_one_batch: takes_all_at_once(daemonset, advanced, desired),
        min_updated_ready: min_updated_ready(None, annotations, desired),
        updated_ready: u32::try_from(snapshot.pods.iter().filter(is_ready_at_target).count())
            .unwrap_or(u32::MAX),
        parallelism: parallelism(None, annotations, desired),
        timeout_seconds: timeout(annotations.get(keys::PRE_DOWNLOAD_TIMEOUT_SECONDS)),
    };
    decide(&rollout, jobs)
}
