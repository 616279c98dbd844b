//! When a StatefulSet has its images pulled ahead. Source: statefulset.md 11, 15.1 row 23.

use pitstop_api::view::{ImagePullJobView, UpdateType};
use pitstop_api::{amount, keys};
use serde_json::json;

use super::history;
use super::identity::owner_reference;
use super::snapshot::Snapshot;
use super::update::{diff_options, may_stay};
use crate::inplace::Verdict;
use crate::predownload::trigger::{Manner, Rollout, Step, decide, min_updated_ready, parallelism, timeout};

/// Decides whether jobs that pull images ahead are made or go. `jobs`: those that the StatefulSet owns.
///
/// What the spec says wins over annotations. Budgets that cannot be read count as none: another part of the decision says
/// so.
pub fn pre_download<'a>(
    snapshot: &Snapshot<'_>,
    jobs: impl IntoIterator<Item = &'a ImagePullJobView>,
) -> Step {
    let set = snapshot.set;
    if set.deleted_at.is_some() {
        return Step::Nothing;
    }
    let history = history::build(snapshot);
    let is_settled = history.current.name == history.update.name;
    let rolling = set.rolling.as_ref();
    let options = diff_options(set, snapshot.features.in_place);
    let is_possible = || {
        let verdict = history.diff(&history.current.name, &history.update, options);
        matches!(verdict, Verdict::InPlace(_))
    };
    let all = set.replicas;
    let updates_in_place = set.update == UpdateType::RollingUpdate && may_stay(set);
    let is_one_batch = rolling.is_some_and(|rolling| {
        let down = rolling.max_unavailable.as_ref();
        let down = down.map_or(Ok(1), |amount| amount.scaled_down(all));
        amount::partition(rolling.partition.as_ref(), all) == Ok(0) && down.is_ok_and(|down| down >= all)
    });
    let in_place = rolling.map(|rolling| &rolling.in_place);
    let is_about_update = set.status.update_revision == *history.update.name;
    let rollout = Rollout {
        namespace: &set.namespace,
        owner: owner_reference(set),
        selector: json!(set.selector),
        update: snapshot
            .revisions
            .iter()
            .copied()
            .find(|revision| revision.name == history.update.name && !revision.is_terminating),
        is_settled,
        template: history.update.template(),
        old_templates: vec![history.current.template()],
        manner: Manner::Replicas {
            replicas: all,
            updates_in_place,
            is_possible: updates_in_place && !is_settled && is_possible(),
        },
        is_one_batch,
        min_updated_ready: min_updated_ready(
            in_place.and_then(|in_place| in_place.image_pre_download_min_updated_ready_pods.as_ref()),
            &set.annotations,
            all,
        ),
        updated_ready: if is_about_update {
            set.status.updated_ready_replicas
        } else {
            0
        },
        parallelism: parallelism(
            in_place.and_then(|in_place| in_place.image_pre_download_parallelism.as_ref()),
            &set.annotations,
            all,
        ),
        timeout_seconds: in_place
            .and_then(|in_place| in_place.image_pre_download_timeout_seconds)
            .or_else(|| timeout(set.annotations.get(keys::PRE_DOWNLOAD_TIMEOUT_SECONDS))),
    };
    decide(&rollout, jobs)
}
