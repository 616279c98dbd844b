//! Worked examples of OTA, the part of the controller: daemonset.md C7.13, C8, O1-O5; hub.md B4.

use std::sync::Arc;

use pitstop_api::view::{ConditionStatus, PodCondition, UpgradeConditions, revision_message};
use pitstop_api::{keys, reasons};
use pitstop_engine::plan::{Action, DeleteReason, Plan, Reason};
use pitstop_engine::snapshot::DeletedPod;

use crate::cluster::{Cluster, at, hash};

fn ota(picture: &str) -> Cluster {
    Cluster::advanced(picture).annotation(keys::OPENYURT_UPDATE_STRATEGY, "ota")
}

fn condition(is_true: bool, version: &str, since: i64) -> PodCondition {
    PodCondition {
        status: is_true.into(),
        reason: "".into(),
        message: revision_message(&hash(version)).into(),
        since: Some(at(since)),
    }
}

/// The pod of a node already says so.
fn says(cluster: &mut Cluster, node: &str, need_upgrade: PodCondition) {
    cluster.pod_on(node).upgrade = Some(Arc::new(UpgradeConditions {
        need_upgrade: Some(need_upgrade),
        ..UpgradeConditions::default()
    }));
}

/// The owner of a node asked for this version through its hub.
fn asks(cluster: &mut Cluster, node: &str, version: &str) {
    cluster.pod_on(node).upgrade = Some(Arc::new(UpgradeConditions {
        need_upgrade: Some(condition(true, "v2", -60)),
        upgrade_requested: Some(condition(true, version, -10)),
        ..UpgradeConditions::default()
    }));
}

/// What a plan writes into conditions: node, status, message, when it changed.
fn conditions(cluster: &Cluster, plan: &Plan) -> Vec<(String, ConditionStatus, String, i64)> {
    let written = plan.actions.iter().filter_map(|action| {
        let Action::SetPodCondition {
            uid, kind, condition, ..
        } = action
        else {
            return None;
        };
        assert_eq!(*kind, reasons::POD_NEED_UPGRADE);
        assert_eq!(&*condition.reason, "");
        let pod = cluster.pods.iter().find(|pod| pod.uid == *uid)?;
        let since = condition.since?.duration_since(at(0)).as_secs();
        Some((
            cluster.names.name(pod.node?).to_owned(),
            condition.status,
            condition.message.to_string(),
            since,
        ))
    });
    let mut written: Vec<_> = written.collect();
    written.sort_by(|a, b| a.0.cmp(&b.0));
    written
}

fn written(
    node: &str,
    status: ConditionStatus,
    version: &str,
    since: i64,
) -> (String, ConditionStatus, String, i64) {
    (node.into(), status, revision_message(&hash(version)), since)
}

use ConditionStatus::{False, True};

/// O1, O2, O5, seed 001: every pod says whether the target waits for it, on NotReady nodes too, and none is touched.
#[test]
fn under_ota_the_owner_of_the_node_decides() {
    let cluster = ota("n1R old+, n2R new+, n3N old-, n4R T");
    let plan = cluster.plan_advanced();
    assert_eq!(
        conditions(&cluster, &plan),
        [
            written("n1", True, "v2", 0),
            written("n2", False, "v2", 0),
            written("n3", True, "v2", 0),
        ]
    );
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(cluster.reason(&plan, "n1"), Some(Reason::WaitingForOwner));
    assert_eq!(cluster.reason(&plan, "n3"), Some(Reason::WaitingForOwner));
}

/// O3: another revision waits, which is news, but that one waits is none.
#[test]
fn a_second_change_is_in_the_message_only() {
    let mut cluster = ota("n1R old+");
    says(&mut cluster, "n1", condition(true, "v2", -60));
    let cluster = cluster.now_at_version("v3");
    assert_eq!(
        conditions(&cluster, &cluster.plan_advanced()),
        [written("n1", True, "v3", -60)]
    );
}

/// O4
#[test]
fn what_is_said_already_is_not_written() {
    let mut cluster = ota("n1R old+, n2R new+");
    says(&mut cluster, "n1", condition(true, "v2", -60));
    says(&mut cluster, "n2", condition(false, "v2", -60));
    assert_eq!(cluster.plan_advanced().actions, []);
}

/// C8: the message came with v1.7, and a reason is not ours.
#[test]
fn conditions_of_older_versions_are_completed() {
    for odd in [
        PodCondition {
            message: "".into(),
            ..condition(true, "v2", -60)
        },
        PodCondition {
            reason: "Because".into(),
            ..condition(true, "v2", -60)
        },
    ] {
        let mut cluster = ota("n1R old+");
        says(&mut cluster, "n1", odd);
        assert_eq!(
            conditions(&cluster, &cluster.plan_advanced()),
            [written("n1", True, "v2", -60)]
        );
    }
}

/// C8: rolled back in the cloud, nothing waits any more.
#[test]
fn going_back_ends_the_wait() {
    let mut cluster = ota("n1R old+");
    says(&mut cluster, "n1", condition(true, "v2", -60));
    let cluster = cluster.now_at_version("v1").at(5);
    assert_eq!(
        conditions(&cluster, &cluster.plan_advanced()),
        [written("n1", False, "v1", 5)]
    );
}

/// C7.13: conditions that are there stay true under another model, and no others are added (Y34).
#[test]
fn another_model_keeps_conditions_true() {
    let mut cluster = Cluster::advanced("n1R new+, n2R new+");
    says(&mut cluster, "n1", condition(true, "v2", -60));
    let plan = cluster.plan_advanced();
    assert_eq!(conditions(&cluster, &plan), [written("n1", False, "v2", 0)]);
    assert_eq!(cluster.words(&plan), "nothing");
}

/// C3.4: which revision waits is not known yet.
#[test]
fn without_a_revision_nothing_is_said() {
    let cluster = ota("n1R old+").with(|cluster| cluster.edit_template("v3"));
    let plan = cluster.plan_advanced();
    assert_eq!(plan.actions, []);
    assert_eq!(cluster.reason(&plan, "n1"), Some(Reason::RevisionUnknown));
}

/// B4, S4: where the hub may not delete, the controller does, for the revision that was asked for and no other.
#[test]
fn the_owner_gets_what_the_owner_asked_for() {
    for (asked, want) in [("v2", "del n1"), ("v3", "nothing"), ("v1", "nothing")] {
        let mut cluster = ota("n1R old+, n2R old+, n3N old-").max_unavailable("1");
        asks(&mut cluster, "n1", asked);
        let plan = cluster.plan_advanced();
        assert_eq!(cluster.words(&plan), want, "{asked}");
        let pod = cluster.pod_on("n1").clone();
        for action in &plan.actions {
            if let Action::DeletePod {
                uid,
                resource_version,
                why,
                ..
            } = action
            {
                assert_eq!((*uid, *resource_version), (pod.uid, Some(pod.resource_version)));
                assert_eq!(*why, DeleteReason::Requested);
            }
        }
    }
}

/// B4: owners do not wait for each other: maxUnavailable belongs to the other model.
#[test]
fn every_owner_is_served() {
    let mut cluster = ota("n1R old+, n2N old-, n3R old-, n4R new+");
    for node in ["n1", "n2", "n3", "n4"] {
        asks(&mut cluster, node, "v2");
    }
    assert_eq!(cluster.words(&cluster.plan_advanced()), "del n1 n2 n3");
}

/// C3.5: before that, the old template might come again.
#[test]
fn a_request_waits_for_the_daemonsets_own_controller() {
    let mut cluster = ota("n1R old+");
    asks(&mut cluster, "n1", "v2");
    cluster.daemonset.generation += 1;
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(cluster.reason(&plan, "n1"), Some(Reason::NotObserved));
}

/// C7.10: our own delete may not show yet.
#[test]
fn a_pod_that_went_is_left_alone() {
    let mut cluster = ota("n1R old+");
    asks(&mut cluster, "n1", "v2");
    let pod = cluster.pod_on("n1").clone();
    cluster.in_flight.deleted.push(DeletedPod {
        uid: pod.uid,
        node: pod.node,
        at: at(0),
    });
    assert_eq!(cluster.plan_advanced().actions, []);
}

/// B4: a request is of no consequence under another model, which has an order of its own.
#[test]
fn a_request_does_not_jump_the_queue_of_a_rolling_update() {
    let mut cluster = Cluster::advanced("n1R old+, n2R old+");
    asks(&mut cluster, "n2", "v2");
    assert_eq!(cluster.words(&cluster.plan_advanced()), "del n1");
}
