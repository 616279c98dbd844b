//! What is told of a rollout of a native DaemonSet, and how often. Source: daemonset.md, Better than upstream 3; spec/README.md,
//! "Our own keys".

use jiff::Timestamp;
use pitstop_api::view::{ConditionStatus, PodCondition, revision_message};
use pitstop_api::{keys, reasons};
use pitstop_engine::plan::{Action, Event, Plan};

use crate::cluster::{Cluster, at, hash, ready};

fn progress(plan: &Plan) -> Option<&Event> {
    plan.events
        .iter()
        .find(|event| event.reason == reasons::UPGRADE_PROGRESS)
}

/// What comes after `revision HASH: `; nothing where nothing is told.
fn words(cluster: &Cluster) -> String {
    let plan = cluster.plan_advanced();
    let told = progress(&plan).map_or("", |event| &event.message);
    let start = format!("revision {}: ", hash("v2"));
    told.strip_prefix(&*start).unwrap_or(told).to_owned()
}

/// A rollout tells of what it does now: not of pods that a canary or a partition keeps.
#[test]
fn progress_is_told_of_what_is_let_go() {
    let canary = (keys::CANARY_NODES, "kubernetes.io/hostname=n1");
    let partition = |keeps| (keys::PARTITION, keeps);
    for (picture, annotations, want) in [
        ("n1R old+, n2R old+", vec![], "updating 2 of 2 nodes"),
        ("n1R new+, n2R new+", vec![], "all 2 nodes updated"),
        ("n1R new+, n2R new-", vec![], ""),
        (
            "n1R old+, n2N old+",
            vec![],
            "updating 2 of 2 nodes, 1 not ready, passed over and caught up when they return",
        ),
        (
            "n1R old+, n2R old+, n3R old+",
            vec![canary],
            "updating 1 of 3 nodes, 2 outside the canary",
        ),
        (
            "n1R new+, n2R old+, n3N old+",
            vec![canary],
            "1 of 3 nodes updated, 2 outside the canary",
        ),
        ("n1R new-, n2R old+, n3R old+", vec![canary], ""),
        ("n1R new+, n2R new+", vec![canary], "all 2 nodes updated"),
        (
            "n1R old+, n2R old+, n3R old+",
            vec![partition("1")],
            "updating 2 of 3 nodes, 1 kept by partition",
        ),
        (
            "n1R new+, n2R new+, n3R old+",
            vec![partition("1")],
            "2 of 3 nodes updated, 1 kept by partition",
        ),
        ("n1R old+, n2R old+", vec![partition("100%")], ""),
        (
            "n1R old+, n2R old+, n3R old+, n4R old+",
            vec![
                (keys::CANARY_NODES, "kubernetes.io/hostname in (n1, n2)"),
                partition("3"),
            ],
            "updating 1 of 4 nodes, 2 outside the canary, 1 kept by partition",
        ),
    ] {
        let mut cluster = Cluster::advanced(picture);
        for (key, value) in &annotations {
            cluster = cluster.annotation(key, value);
        }
        assert_eq!(words(&cluster), want, "{picture} {annotations:?}");
    }
}

/// Each part is told once: the canary, and what follows when it is promoted.
#[test]
fn each_part_of_a_rollout_is_told_once() {
    let canary =
        |picture| Cluster::advanced(picture).annotation(keys::CANARY_NODES, "kubernetes.io/hostname=n1");
    let once = |cluster: &Cluster| {
        let plan = cluster.plan_advanced();
        progress(&plan).unwrap().once_per.clone().unwrap()
    };
    let stages = [
        once(&canary("n1R old+, n2R old+, n3R old+")),
        once(&canary("n1R new+, n2R old+, n3R old+")),
        once(&Cluster::advanced("n1R new+, n2R old+, n3R old+")),
        once(&Cluster::advanced("n1R new+, n2R new+, n3R new+")),
    ];
    for (i, stage) in stages.iter().enumerate() {
        assert!(!stages[i + 1..].contains(stage), "{stage}");
    }
    let (one, other) = (
        Cluster::advanced("n1R new+, n2R old+, n3R old+"),
        Cluster::advanced("n1R new+, n2R new+, n3R old+"),
    );
    assert_eq!(once(&one), once(&other));
    let (with, without) = (
        canary("n1R new+, n2R new+"),
        Cluster::advanced("n1R new+, n2R new+"),
    );
    assert_eq!(once(&with), once(&without), "a canary of nothing new is no news");
}

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
        let cluster = Cluster::advanced("n1R old+").annotation(keys::PARTITION, value);
        let plan = cluster.plan_advanced();
        let told = plan.events.iter();
        let told = told.filter(|event| event.reason == reasons::INVALID_ANNOTATION);
        assert_eq!(told.count(), n_told, "{value}");
        assert_eq!(cluster.words(&plan), "nothing", "{value}");
    }
}

/// W2: what is lost after the stop is counted in the condition, too, and does not go back when the nodes do.
#[test]
fn the_condition_of_the_guard_says_how_many_are_lost_now() {
    let names = ["n1", "n2", "n3"];
    let mut cluster = Cluster::advanced("n1N new-, n2N new-, n3R new+, n4R old+").with(|cluster| {
        for name in names {
            cluster.pod_on(name).created_at = at(-100);
        }
        for name in &names[..2] {
            cluster.node_mut(name).ready = ready(false, -40);
        }
    });
    let stop = |cluster: &Cluster| cluster.daemonset.conditions[reasons::NODES_LOST].clone();
    cluster.apply(&cluster.plan_advanced());
    let at_first = stop(&cluster);
    assert!(
        at_first.is_true() && at_first.message.contains("2 of 3 updated nodes"),
        "{at_first:?}"
    );
    let writes = |cluster: &Cluster| {
        let plan = cluster.plan_advanced();
        let actions = plan.actions.iter();
        let is_condition = |action: &&Action| {
            matches!(
                action,
                Action::SetCondition { .. } | Action::SetPodCondition { .. }
            )
        };
        actions.filter(is_condition).count()
    };
    assert_eq!(writes(&cluster), 0, "nothing to say again");
    cluster.now = at(10);
    cluster.set_ready("n3", false);
    cluster.now = at(30);
    cluster.apply(&cluster.plan_advanced());
    let then = stop(&cluster);
    assert!(then.message.contains("3 of 3 updated nodes"), "{then:?}");
    assert_eq!(
        (then.is_true(), then.since),
        (true, at_first.since),
        "it is the same stop"
    );
    cluster.now = at(20);
    for name in names {
        cluster.set_ready(name, true);
    }
    assert_eq!(writes(&cluster), 0, "they were lost all the same");
}
