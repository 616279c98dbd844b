//! When a CloneSet has its images pulled ahead. Source: cloneset.md 15; inplace.md 11.1.

use pitstop_api::cloneset::scaling;
use pitstop_api::view::{ImagePullJobView, UpdateType};
use serde_json::json;

use super::history;
use super::instance::owner_reference;
use super::snapshot::Snapshot;
use super::update::{may_stay, must_stay};
use crate::inplace::Verdict;
use crate::inplace::diff::DiffOptions;
use crate::predownload::trigger::{Manner, Rollout, Step, decide, min_updated_ready, parallelism};

/// Decides whether jobs that pull images ahead are made or go. `jobs`: those that the CloneSet owns.
///
/// Budgets that cannot be read count as none: another part of the decision says so.
pub fn pre_download<'a>(
    snapshot: &Snapshot<'_>,
    jobs: impl IntoIterator<Item = &'a ImagePullJobView>,
) -> Step {
    let cloneset = snapshot.cloneset;
    if cloneset.deleted_at.is_some() {
        return Step::Nothing;
    }
    let history = history::build(snapshot);
    let is_settled = history.current.name == history.update.name;
    let rolling = cloneset.update.rolling.as_ref();
    let in_place = rolling.map(|rolling| &rolling.in_place);
    let options = DiffOptions {
        features: snapshot.features.in_place,
        grace_seconds: in_place.map_or(0, |in_place| in_place.grace_period_seconds),
        ignores_claims: must_stay(cloneset),
    };
    let is_possible = || {
        let verdict = history.diff(&history.current.name, &history.update, options);
        matches!(verdict, Verdict::InPlace(_))
    };
    let updates_in_place = cloneset.update.kind == UpdateType::RollingUpdate && may_stay(cloneset);
    let is_one_batch = rolling.is_some_and(|rolling| {
        let all = cloneset.replicas;
        let stays = scaling::partition(rolling.partition.as_ref(), all);
        let down = rolling
            .max_unavailable
            .as_ref()
            .map(|amount| amount.scaled_down(all));
        stays == Ok(0) && down.is_some_and(|down| down.is_ok_and(|down| down >= all))
    });
    let is_about_update = cloneset.status.update_revision == *history.update.name;
    let rollout = Rollout {
        namespace: &cloneset.namespace,
        owner: owner_reference(cloneset),
        selector: json!(cloneset.selector),
        update: snapshot
            .revisions
            .iter()
            .copied()
            .find(|revision| revision.name == history.update.name && !revision.is_terminating),
        is_settled,
        template: history.update.template(),
        old_templates: vec![history.current.template()],
        manner: Manner::Replicas {
            replicas: cloneset.replicas,
            updates_in_place,
            is_possible: updates_in_place && !is_settled && is_possible(),
        },
        is_one_batch,
        min_updated_ready: min_updated_ready(
            in_place.and_then(|in_place| in_place.image_pre_download_min_updated_ready_pods.as_ref()),
            &cloneset.annotations,
            cloneset.replicas,
        ),
        updated_ready: if is_about_update {
            cloneset.status.updated_ready_replicas
        } else {
            0
        },
        parallelism: parallelism(
            in_place.and_then(|in_place| in_place.image_pre_download_parallelism.as_ref()),
            &cloneset.annotations,
            cloneset.replicas,
        ),
        timeout_seconds: in_place.and_then(|in_place| in_place.image_pre_download_timeout_seconds),
    };
    decide(&rollout, jobs)
}
