//! What is told of a rollout of a native DaemonSet, and how often. Source: daemonset.md, Better than upstream 3; spec/README.md,
//! "Our own keys".

use jiff::Timestamp;
use pitstop_api::view::{ConditionStatus, PodCondition, revision_message};
use pitstop_api::{keys, reasons};

use crate::cluster::{Cluster, at, hash};

/// Whoever let a rollout go on that had failed hears of it when it fails again.
#[test]
fn a_second_stop_by_the_deadline_is_told_too() {
    let failed = |since: Timestamp| {
        Cluster::advanced("n1R new-, n2R old+")
            .annotation(keys::PROGRESS_DEADLINE_SECONDS, "60")
            .with(|cluster| {
                let condition = PodCondition {
                    status: ConditionStatus::False,
                    reason: reasons::PROGRESS_DEADLINE_EXCEEDED.into(),
                    message: revision_message(&hash("v2")).into(),
                    since: Some(since),
                };
                cluster
                    .daemonset
                    .conditions
                    .insert(reasons::PROGRESSING.to_owned(), condition);
            })
    };
    let once = |cluster: &Cluster| {
        let plan = cluster.plan_advanced();
        let mut told = plan.events.iter();
        let told = told.find(|event| event.reason == reasons::PROGRESS_DEADLINE_EXCEEDED);
        told.unwrap().once_per.clone().unwrap()
    };
    let first = once(&failed(at(-300)));
    assert_eq!(first, once(&failed(at(-300))));
    let resumed_at = at(-200).to_string();
    let second = once(&failed(at(-100)).annotation(keys::RESUMED_AT, &resumed_at));
    assert_ne!(first, second);
}

/// A partition is at most all, as `pitstop set-partition` has it.
#[test]
fn a_partition_of_more_than_all_is_refused() {
    for (value, n_told) in [("100%", 0), ("7", 0), ("101%", 1), ("150%", 1)] {
        let cluster = Cluster::advanced("n1R old-").annotation(keys::PARTITION, value);
        let plan = cluster.plan_advanced();
        let told = plan.events.iter();
        let told = told.filter(|event| event.reason == reasons::INVALID_ANNOTATION);
        assert_eq!(told.count(), n_told, "{value}");
        assert_eq!(cluster.words(&plan), "nothing", "{value}");
    }
}
