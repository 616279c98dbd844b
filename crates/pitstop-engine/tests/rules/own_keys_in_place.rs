//! `pitstop.io/pod-update-policy`: spec/README.md, "Our own keys"; inplace.md 3, 5, 13.

use std::sync::Arc;

use pitstop_api::view::ContainerState;
use pitstop_api::{keys, reasons};
use pitstop_engine::inplace::Endpoint;
use pitstop_engine::plan::{Action, Plan, Reason};
use serde_json::json;

use crate::cluster::{Cluster, at, events, hash, ready, template};
use crate::gated::{note, restarts};

fn in_place(picture: &str) -> Cluster {
    Cluster::advanced(picture).annotation(keys::POD_UPDATE_POLICY, "InPlaceIfPossible")
}

fn in_place_only(picture: &str) -> Cluster {
    Cluster::advanced(picture).annotation(keys::POD_UPDATE_POLICY, "InPlaceOnly")
}

/// The same with a field of the new template changed that no live pod can change.
fn with_other_command(cluster: Cluster) -> Cluster {
    cluster.with(|c| {
        let mut changed = template("v2");
        changed["spec"]["containers"][0]["command"] = json!(["/agent", "--new"]);
        set_template(c, &changed);
    })
}

/// The new revision holds this template.
fn set_template(cluster: &mut Cluster, template: &serde_json::Value) {
    cluster.daemonset.template = Arc::new(template.clone());
    let newest = cluster.revisions.iter_mut().max_by_key(|r| r.revision).unwrap();
    newest.data = Arc::new(pitstop_engine::revision::data_of(template));
}

/// What is different from the cluster that a row begins with.
type Change = fn(Cluster) -> Cluster;

fn patches(plan: &Plan) -> Vec<&Action> {
    let is_patch = |action: &&Action| matches!(action, Action::PatchPod { .. });
    plan.actions.iter().filter(is_patch).collect()
}

#[test]
fn a_malformed_policy_keeps_every_pod_where_it_is() {
    for value in ["", "InPlace", "inplaceonly", "Recreate"] {
        let cluster = Cluster::advanced("n1R *old+").annotation(keys::POD_UPDATE_POLICY, value);
        let plan = cluster.plan_advanced();
        assert_eq!(cluster.words(&plan), "nothing", "{value:?}");
        assert_eq!(events(&plan), [reasons::INVALID_ANNOTATION], "{value:?}");
        let message = &plan.events[0].message;
        assert!(
            message.contains("ReCreate, InPlaceIfPossible or InPlaceOnly"),
            "{message}"
        );
    }
}

/// inplace.md 4.1, 13.3: out of service first, then labels, notes and image in one write.
#[test]
fn a_pod_stays_what_and_where_it_is() {
    let cluster = in_place("n1R *old+");
    let plan = cluster.plan_advanced();
    let [
        Action::PatchPod {
            uid,
            resource_version,
            writes,
            why,
            ..
        },
    ] = patches(&plan)[..]
    else {
        panic!("{:?}", plan.actions)
    };
    assert_eq!((*uid, *resource_version), (cluster.pods[0].uid, 1));
    let endpoints: Vec<_> = writes.iter().map(|write| write.endpoint).collect();
    assert_eq!(endpoints, [Endpoint::Status, Endpoint::Pod]);
    assert_eq!(writes[0].patch["status"]["conditions"][0]["status"], "False");
    let labels = &writes[1].patch["metadata"]["labels"];
    assert_eq!(labels[keys::REVISION_HASH], &*hash("v2"));
    assert_eq!(labels[keys::POD_TEMPLATE_GENERATION], "2");
    assert_eq!(
        writes[1].patch["spec"]["containers"],
        json!([{ "name": "agent", "image": "agent:v2" }])
    );
    let told = why.succeeded("agent-1").unwrap();
    assert_eq!(told.reason, reasons::SUCCESSFUL_UPDATE_IN_PLACE);
    let begins = Reason::InPlace {
        pending: "it begins now".to_owned(),
    };
    assert_eq!(cluster.reason(&plan, "n1"), Some(begins));
}

/// inplace.md 3: the mark of `kubectl rollout restart` is an annotation, which pods take as they are. It is told that nobody
/// was restarted, and only where nothing else changed.
#[test]
fn a_mark_of_a_restart_that_restarts_nothing_is_told() {
    let annotated = |template: &mut serde_json::Value, key: &str| {
        template["metadata"]["annotations"][key] = "2026-01-01T00:00:00Z".into();
    };
    for (marks, image, policy, want) in [
        (vec![keys::RESTARTED_AT], "v1", "InPlaceIfPossible", true),
        (vec![keys::RESTARTED_AT], "v1", "InPlaceOnly", true),
        (vec![keys::RESTARTED_AT], "v1", "ReCreate", false),
        (vec![keys::RESTARTED_AT, "team"], "v1", "InPlaceIfPossible", false),
        (vec!["team"], "v1", "InPlaceIfPossible", false),
        (vec![keys::RESTARTED_AT], "v2", "InPlaceIfPossible", false),
    ] {
        let cluster = in_place("n1R *old+, n2R *old+").annotation(keys::POD_UPDATE_POLICY, policy);
        let mut changed = template(image);
        for key in &marks {
            annotated(&mut changed, key);
        }
        let cluster = cluster.with(|c| set_template(c, &changed));
        let plan = cluster.plan_advanced();
        let told = plan
            .events
            .iter()
            .find(|event| event.reason == reasons::RESTARTS_NOTHING);
        assert_eq!(
            told.is_some(),
            want,
            "{marks:?} {image} {policy}: {:?}",
            plan.events
        );
        if let Some(told) = told {
            assert!(
                told.is_warning && told.message.contains(keys::POD_UPDATE_POLICY),
                "{}",
                told.message
            );
        }
    }
}

/// The whole way: one at a time, each container started again once, every uid as before.
#[test]
fn a_rollout_keeps_every_pod_and_the_budget() {
    let mut cluster = in_place("n1R *old+, n2R *old+, n3R *old+");
    let uids: Vec<_> = cluster.pods.iter().map(|pod| pod.uid).collect();
    let lines = cluster.advanced_story();
    let patched: Vec<_> = lines.iter().filter(|line| line.contains("patch")).collect();
    assert_eq!(patched, ["patch n1", "patch n2", "patch n3"], "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("del")), "{lines:?}");
    let after: Vec<_> = cluster.pods.iter().map(|pod| pod.uid).collect();
    assert_eq!(after, uids);
    for pod in &cluster.pods {
        assert_eq!((restarts(pod), pod.revision_hash()), (1, Some(&*hash("v2"))));
        assert!(pod.is_ready());
    }
    // Back, in place as well.
    let mut cluster = cluster.now_at_version("v1");
    let lines = cluster.advanced_story();
    assert!(!lines.iter().any(|line| line.contains("del")), "{lines:?}");
    assert!(cluster.pods.iter().all(|pod| restarts(pod) == 2));
}

/// Whatever holds a rollout holds updates in place too; what waits is told in the same words.
#[test]
fn the_other_keys_hold_updates_in_place() {
    for (key, value, want) in [
        (keys::PAUSED, "true", "nothing"),
        (keys::PARTITION, "1", "patch n1"),
        (keys::PARTITION, "2", "nothing"),
        (keys::CANARY_NODES, "kubernetes.io/hostname=n2", "patch n2"),
        (keys::PARTITION, "0", "patch n1"),
    ] {
        let cluster = in_place("n1R *old+, n2R *old+").annotation(key, value);
        assert_eq!(cluster.advanced_does(), want, "{key}={value}");
    }
    assert_eq!(in_place("n1N *old+, n2R *old+").advanced_does(), "patch n2");
    // A pod on its way to the new revision holds the next one back, whatever its kubelet still says of it.
    let mut cluster = in_place("n1R *old+, n2R *old+");
    let plan = cluster.plan_advanced();
    cluster.apply(&plan);
    cluster.pod_on("n1").ready = ready(true, -500);
    let view = Arc::make_mut(cluster.pod_on("n1").in_place.as_mut().unwrap());
    view.statuses[0].state = ContainerState::Waiting {
        reason: "ImagePullBackOff".into(),
    };
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "nothing");
    let Some(Reason::InPlace { pending }) = cluster.reason(&plan, "n1") else {
        panic!("{:?}", plan.waiting)
    };
    assert!(pending.contains("ImagePullBackOff"), "{pending}");
}

/// A patch without an answer counts as carried out, and as not: the pod is down, and the same one is changed again. S1.
#[test]
fn a_patch_without_an_answer_counts_as_done() {
    let mut cluster = in_place("n1R *old+, n2R *old+");
    cluster.in_flight.maybe_patched = vec![cluster.pods[1].uid];
    assert_eq!(cluster.advanced_does(), "patch n2");
    let two = cluster.clone().max_unavailable(2);
    assert_eq!(two.advanced_does(), "patch n1 n2");
    assert_eq!(
        cluster.annotation(keys::PARTITION, "2").advanced_does(),
        "nothing"
    );
    // The write that puts a pod back into service.
    let mut cluster = in_place("n1R *new+, n2R *old+");
    cluster.in_flight.maybe_patched = vec![cluster.pods[0].uid];
    assert_eq!(cluster.advanced_does(), "nothing");
}

/// inplace.md 3: what cannot stay is replaced where that is allowed, and the reason is told once for the revision.
#[test]
fn what_cannot_stay_is_replaced_or_left() {
    let command = |cluster: Cluster| with_other_command(cluster);
    let same = |cluster: Cluster| cluster;
    let cases: [(&str, &str, Change); 3] = [
        ("n1R old+", "it has no readiness gate InPlaceUpdateReady", same),
        ("n1R *old+", "command differs", command),
        ("n1R *v0+", "the revision that it has is unknown", same),
    ];
    for (picture, why, change) in &cases {
        let cluster = change(in_place(picture));
        let plan = cluster.plan_advanced();
        assert_eq!(cluster.words(&plan), "del n1", "{picture}");
        assert!(
            events(&plan).contains(&reasons::NOT_IN_PLACE),
            "{picture}: {:?}",
            plan.events
        );
        let told = plan
            .events
            .iter()
            .find(|event| event.reason == reasons::NOT_IN_PLACE)
            .unwrap();
        assert!(told.message.contains(why), "{}", told.message);
        assert!(told.once_per.is_some());

        let cluster = change(in_place_only(picture));
        let plan = cluster.plan_advanced();
        assert_eq!(cluster.words(&plan), "nothing", "{picture}");
        let Some(Reason::NotInPlace { why: told }) = cluster.reason(&plan, "n1") else {
            panic!("{:?}", plan.waiting)
        };
        assert!(told.contains(why), "{told}");
        let told = plan
            .events
            .iter()
            .find(|event| event.reason == reasons::FAILED_UPDATE_IN_PLACE)
            .unwrap();
        assert!(
            told.message
                .contains("update strategy is InPlaceOnly but can not update in-place"),
            "{}",
            told.message
        );
    }
    // Others go in its place, and what is down counts although it stays.
    assert_eq!(in_place_only("n1R old+, n2R *old+").advanced_does(), "patch n2");
    assert_eq!(in_place_only("n1R old-, n2R *old+").advanced_does(), "nothing");
}

/// Without the policy nothing is different: pods go, gate or not.
#[test]
fn without_the_policy_pods_are_replaced() {
    for cluster in [
        Cluster::advanced("n1R *old+"),
        Cluster::advanced("n1R *old+").annotation(keys::POD_UPDATE_POLICY, "ReCreate"),
    ] {
        let plan = cluster.plan_advanced();
        assert_eq!(cluster.words(&plan), "del n1");
        assert!(!events(&plan).contains(&reasons::NOT_IN_PLACE));
    }
}

/// inplace.md 13.7: labels alone touch no container, and cost nothing.
#[test]
fn an_update_of_labels_alone_costs_no_budget() {
    let mut labelled = template("v1");
    labelled["metadata"]["labels"]["team"] = json!("edge");
    let cluster = in_place("n1R *old+, n2R *old+, n3R *old+, n4R *old-").with(|c| set_template(c, &labelled));
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "patch n1 n2 n3 n4");
    for patch in patches(&plan) {
        let Action::PatchPod { writes, .. } = patch else {
            unreachable!()
        };
        let endpoints: Vec<_> = writes.iter().map(|write| write.endpoint).collect();
        assert_eq!(endpoints, [Endpoint::Pod], "no pod leaves service for it");
        assert_eq!(writes[0].patch["metadata"]["labels"]["team"], "edge");
    }
    let kept = cluster.annotation(keys::PARTITION, "3");
    assert_eq!(kept.advanced_does(), "patch n4");
}

/// inplace.md 6.5, 13.8: a container that reads a label would keep its old environment; pods of DaemonSets have no agent.
#[test]
fn a_label_that_a_container_reads_takes_another_pod() {
    let reads = |version: &str, label: &str| {
        let mut template = template(version);
        template["metadata"]["labels"]["zone"] = json!(label);
        template["spec"]["containers"][0]["env"] = json!([{ "name": "ZONE", "valueFrom": { "fieldRef": {
            "fieldPath": "metadata.labels['zone']" } } }]);
        template
    };
    let cluster = in_place("n1R *old+").with(|c| {
        set_template(c, &reads("v1", "b"));
        c.revisions[0].data = Arc::new(pitstop_engine::revision::data_of(&reads("v1", "a")));
    });
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "del n1");
    let told = plan
        .events
        .iter()
        .find(|event| event.reason == reasons::NOT_IN_PLACE)
        .unwrap();
    assert!(told.message.contains("no agent"), "{}", told.message);
}

/// inplace.md 13.19: without it no pod with the gate would ever become Ready.
#[test]
fn the_gate_of_a_new_pod_opens_whatever_holds_the_rollout() {
    let new_pod = |c: &mut Cluster| {
        let pod = c.pod_on("n1");
        pod.ready = ready(false, -5);
        Arc::make_mut(pod.in_place.as_mut().unwrap()).update_ready = None;
    };
    for (key, value) in [
        (keys::PAUSED, "true"),
        (keys::PARTITION, "x"),
        (keys::POD_UPDATE_POLICY, "x"),
        (keys::POD_UPDATE_POLICY, "ReCreate"),
        (keys::OPENYURT_UPDATE_STRATEGY, "OTA"),
    ] {
        let cluster = Cluster::advanced("n1R *new+")
            .annotation(key, value)
            .with(new_pod);
        assert_eq!(cluster.advanced_does(), "refresh n1", "{key}={value}");
    }
    // Nothing is heard of a node that is away; nobody looks after pods that the cluster's own controller replaces.
    let away = Cluster::advanced("n1N *new+").with(new_pod);
    assert_eq!(away.advanced_does(), "nothing");
    let native = Cluster::native("n1R *new+")
        .annotation(keys::POD_UPDATE_POLICY, "InPlaceOnly")
        .with(new_pod);
    let plan = native.plan_advanced();
    assert_eq!(native.words(&plan), "nothing");
    assert_eq!(events(&plan), [reasons::NEEDS_ON_DELETE]);
}

/// users.md W10: another revision while the container waits for an image that cannot be had.
#[test]
fn a_pod_that_is_stuck_on_a_bad_image_is_turned_to_the_next() {
    let mut cluster = in_place("n1R *old+, n2R *old+");
    let plan = cluster.plan_advanced();
    cluster.apply(&plan);
    cluster.stores_catch_up();
    // The image of v2 cannot be had: no kubelet does anything.
    assert_eq!(cluster.advanced_does(), "nothing");
    let mut cluster = cluster.now_at_version("v1");
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "patch n1", "{:?}", plan.actions);
    cluster.apply(&plan);
    cluster.stores_catch_up();
    cluster.pass(120);
    cluster.advanced_story();
    assert!(
        cluster
            .pods
            .iter()
            .all(|pod| pod.is_ready() && restarts(pod) == 0)
    );
}

/// A lost node counts from the update in place on, not from when its pod was made (spec/README.md, `node-loss-guard`).
#[test]
fn the_guard_sees_updates_in_place() {
    let updated = |began_at: i64| {
        move |c: &mut Cluster| {
            for node in ["n1", "n2"] {
                c.pod_on(node).created_at = at(-100_000);
                note(c.pod_on(node), &hash("v2"), began_at, true);
                c.node_mut(node).ready = ready(false, -40);
                c.pod_on(node).ready = ready(false, -40);
            }
        }
    };
    let cluster = in_place("n1N *new-, n2N *new-, n3R *old+").with(updated(-100));
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "nothing");
    assert!(
        matches!(cluster.reason(&plan, "n3"), Some(Reason::NodesLost { .. })),
        "{:?}",
        plan.waiting
    );
    let long_ago = in_place("n1N *new-, n2N *new-, n3R *old+").with(updated(-1000));
    assert_eq!(long_ago.advanced_does(), "patch n3");
}

/// `progress-deadline-seconds`: an update in place is a move, and one that comes to nothing is not.
#[test]
fn an_update_in_place_that_hangs_is_a_failed_rollout() {
    let mut cluster = in_place("n1R *old+, n2R *old+").annotation(keys::PROGRESS_DEADLINE_SECONDS, "60");
    cluster.daemonset.min_ready_seconds = 0;
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "patch n1");
    cluster.apply(&plan);
    cluster.stores_catch_up();
    for _ in 0..70 {
        let plan = cluster.plan_advanced();
        cluster.apply(&plan);
        cluster.stores_catch_up();
        cluster.pass(1);
    }
    let condition = &cluster.daemonset.conditions[reasons::PROGRESSING];
    assert_eq!(&*condition.reason, reasons::PROGRESS_DEADLINE_EXCEEDED);
    let plan = cluster.plan_advanced();
    assert!(matches!(
        cluster.reason(&plan, "n2"),
        Some(Reason::DeadlineExceeded { .. })
    ));
}
