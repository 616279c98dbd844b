//! Tables of daemonset.md: A2 (eligibility), A4 (pods), A12 (status), C2 (budgets).

use std::sync::Arc;

use pitstop_api::keys;
use pitstop_api::placement::{NO_EXECUTE, NO_SCHEDULE, Taint, Toleration};
use pitstop_engine::budget::{annotated, rolling, room};
use pitstop_engine::daemonset::eligibility::{Eligibility, Eligible};
use pitstop_engine::daemonset::pod_for_node;
use serde_json::json;

use crate::cluster::{Cluster, not_ready_taints};

/// C2
#[test]
fn max_unavailable_of_the_annotation() {
    for (raw, n, want) in [
        (None, 3, 1),
        (Some("30%"), 3, 1),
        (Some("30%"), 10, 3),
        (Some("10%"), 10, 1),
        (Some("20%"), 10, 2),
        (Some("90%"), 10, 9),
        (Some("95%"), 10, 10),
        (Some("100%"), 10, 10),
        (Some("0"), 10, 1),
        (Some("0%"), 10, 1),
        (Some("00"), 10, 1),
        (Some("000%"), 10, 1),
        (Some("150%"), 10, 10),
        (Some("25"), 10, 10),
        (Some("0%"), 25, 3),
        (None, 0, 0),
        (Some("5"), 0, 0),
    ] {
        assert_eq!(annotated(raw, n).unwrap().max_unavailable, want, "{raw:?} of {n}");
    }
    for raw in ["-1", "-5%", "3.5", "abc", "", "5 %"] {
        assert!(annotated(Some(raw), 10).is_err(), "{raw:?}");
    }
}

/// A1.4, A9.2
#[test]
fn max_unavailable_and_max_surge_of_a_rolling_update() {
    for (unavailable, surge, desired, want) in [
        (None, None, 5, (1, 0)),
        (Some(json!(2)), None, 5, (2, 0)),
        (Some(json!("50%")), Some(json!(0)), 3, (2, 0)),
        (Some(json!(0)), Some(json!("1%")), 3, (0, 1)),
        (Some(json!(0)), Some(json!(0)), 3, (1, 0)),
        (Some(json!(0)), Some(json!(0)), 0, (0, 0)),
        (None, Some(json!(1)), 3, (0, 1)),
    ] {
        let budget = rolling(unavailable.as_ref(), surge.as_ref(), desired).unwrap();
        assert_eq!(
            (budget.max_unavailable, budget.max_surge),
            want,
            "{unavailable:?} {surge:?} {desired}"
        );
    }
    assert!(
        rolling(Some(&json!("x")), None, 1)
            .unwrap_err()
            .ends_with("maxUnavailable")
    );
    assert!(
        rolling(None, Some(&json!(-1)), 1)
            .unwrap_err()
            .ends_with("maxSurge")
    );
}

/// A2
#[test]
fn taints_decide_where_pods_run() {
    let taint = |key: &str, effect: &str| Taint {
        key: key.into(),
        value: String::new(),
        effect: effect.into(),
    };
    let all = Toleration {
        operator: "Exists".into(),
        ..Toleration::default()
    };
    for (case, taints, tolerations, want) in [
        ("none", vec![], vec![], (true, true)),
        ("not ready", not_ready_taints(), vec![], (false, true)),
        (
            "not ready, all tolerated",
            not_ready_taints(),
            vec![all],
            (true, true),
        ),
        (
            "cordoned",
            vec![taint(keys::TAINT_UNSCHEDULABLE, NO_SCHEDULE)],
            vec![],
            (true, true),
        ),
        (
            "no network",
            vec![taint(keys::TAINT_NETWORK_UNAVAILABLE, NO_SCHEDULE)],
            vec![],
            (false, true),
        ),
        (
            "control plane",
            vec![taint(keys::NODE_ROLE_CONTROL_PLANE, NO_SCHEDULE)],
            vec![],
            (false, true),
        ),
        ("evicting", vec![taint("x", NO_EXECUTE)], vec![], (false, false)),
        (
            "preference",
            vec![taint("x", "PreferNoSchedule")],
            vec![],
            (true, true),
        ),
    ] {
        let mut cluster = Cluster::native("n1R .");
        cluster.node_mut("n1").taints = taints;
        cluster.daemonset.placement.tolerations = tolerations;
        let node = cluster.node_mut("n1").clone();
        let (should_run, should_continue) = want;
        let want = Eligible {
            should_run,
            should_continue,
        };
        assert_eq!(Eligibility::of(&cluster.daemonset).of_node(&node), want, "{case}");
    }
}

/// A2.1: a template that names its node runs there and nowhere else.
#[test]
fn a_named_node_is_the_only_one() {
    let mut cluster = Cluster::native("n1R ., n2R .");
    cluster.daemonset.placement.node_name = Some("n2".into());
    assert_eq!(cluster.native_does(), "create n2");
}

/// A4
#[test]
fn the_pod_of_a_node_is_bound_to_it_by_affinity() {
    let cluster = Cluster::native("n1R .");
    let pod = pod_for_node(&cluster.daemonset, "n1", "abc");
    assert_eq!(pod["metadata"]["generateName"], "agent-");
    assert_eq!(
        pod["metadata"]["labels"],
        json!({ "app": "agent", keys::REVISION_HASH: "abc", keys::POD_TEMPLATE_GENERATION: "2" })
    );
    assert_eq!(
        pod.pointer("/spec/affinity/nodeAffinity/requiredDuringSchedulingIgnoredDuringExecution"),
        Some(&json!({ "nodeSelectorTerms": [{
            "matchFields": [{ "key": "metadata.name", "operator": "In", "values": ["n1"] }],
        }]}))
    );
    assert_eq!(pod.pointer("/spec/nodeName"), None);
    let tolerations = pod["spec"]["tolerations"].as_array().unwrap();
    assert_eq!(tolerations.len(), 6, "one more with hostNetwork");
    assert_eq!(
        tolerations[0],
        json!({ "key": keys::TAINT_NOT_READY, "operator": "Exists", "effect": "NoExecute" })
    );
}

/// A2, A4: default tolerations come last, in their order; one that is there already loses its time limit.
#[test]
fn default_tolerations_complete_those_of_the_template() {
    let toleration = |key: &str, effect: &str, seconds| Toleration {
        key: key.into(),
        operator: "Exists".into(),
        effect: effect.into(),
        toleration_seconds: seconds,
        ..Toleration::default()
    };
    let mut cluster = Cluster::native("n1R .");
    cluster.daemonset.placement.tolerations = vec![
        toleration("mine", "", Some(7)),
        toleration(keys::TAINT_UNREACHABLE, NO_EXECUTE, Some(30)),
    ];
    let without_network = [
        toleration("mine", "", Some(7)),
        toleration(keys::TAINT_UNREACHABLE, NO_EXECUTE, None),
        toleration(keys::TAINT_NOT_READY, NO_EXECUTE, None),
        toleration(keys::TAINT_DISK_PRESSURE, NO_SCHEDULE, None),
        toleration(keys::TAINT_MEMORY_PRESSURE, NO_SCHEDULE, None),
        toleration(keys::TAINT_PID_PRESSURE, NO_SCHEDULE, None),
        toleration(keys::TAINT_UNSCHEDULABLE, NO_SCHEDULE, None),
    ];
    let tolerations = |cluster: &Cluster| {
        let pod = pod_for_node(&cluster.daemonset, "n1", "abc");
        serde_json::from_value::<Vec<Toleration>>(pod["spec"]["tolerations"].clone()).unwrap()
    };
    assert_eq!(tolerations(&cluster), without_network);
    cluster.daemonset.placement.host_network = true;
    let network = toleration(keys::TAINT_NETWORK_UNAVAILABLE, NO_SCHEDULE, None);
    assert_eq!(tolerations(&cluster).last(), Some(&network));
}

/// A4: other affinity of the template stays, and a name that no hyphen may follow gets none.
#[test]
fn the_rest_of_the_template_is_kept() {
    let mut cluster = Cluster::native("n1R .");
    cluster.daemonset.template = Arc::new(json!({
        "metadata": { "creationTimestamp": null, "annotations": { "a": "b" } },
        "spec": { "nodeSelector": { "x": "y" }, "affinity": {
            "podAffinity": { "p": 1 }, "nodeAffinity": { "preferredDuringSchedulingIgnoredDuringExecution": [] },
        }},
    }));
    let pod = pod_for_node(&cluster.daemonset, "n1", "abc");
    assert_eq!(pod["metadata"]["annotations"], json!({ "a": "b" }));
    assert_eq!(pod["metadata"].get("creationTimestamp"), None);
    assert_eq!(pod["spec"]["nodeSelector"], json!({ "x": "y" }));
    assert_eq!(pod["spec"]["affinity"]["podAffinity"], json!({ "p": 1 }));
    let node_affinity = pod["spec"]["affinity"]["nodeAffinity"].as_object().unwrap();
    assert_eq!(node_affinity.len(), 2);

    let long = "a".repeat(252);
    cluster.daemonset.name = long.as_str().into();
    let pod = pod_for_node(&cluster.daemonset, "n1", "abc");
    assert_eq!(pod["metadata"]["generateName"], json!(long));
}

/// A12: the oldest pod speaks for its node, terminating or not.
#[test]
fn the_status_counts_nodes() {
    let cluster = Cluster::native("n1R new+, n2R old+, n3R new-, n4R ., n5N new-, n6R T new+");
    let status = cluster.plan_native().status.unwrap();
    assert_eq!(status.desired_number_scheduled, 5);
    assert_eq!(status.current_number_scheduled, 4);
    assert_eq!(status.number_misscheduled, 1);
    assert_eq!(status.number_ready, 3);
    assert_eq!(status.number_available, 3);
    assert_eq!(status.updated_number_scheduled, 2);
    assert_eq!(status.number_unavailable, 2);
    assert_eq!(status.observed_generation, 2);
}

/// S1: what a limit leaves for outdated pods that run, those inside minReadySeconds first.
#[test]
fn settling_pods_count_and_have_the_first_call_on_the_budget() {
    for (limit, unavailable, settling, want) in [
        (1, 0, 0, (0, 1)),
        (1, 0, 1, (1, 0)),
        (1, 0, 10, (1, 0)),
        (3, 0, 1, (1, 2)),
        (3, 1, 1, (1, 1)),
        (3, 3, 1, (0, 0)),
        (3, 9, 9, (0, 0)),
        (0, 0, 5, (0, 0)),
        (u32::MAX, 0, u32::MAX, (usize::try_from(u32::MAX).unwrap(), 0)),
    ] {
        let room = room(limit, unavailable, settling);
        assert_eq!(
            (room.settling, room.available),
            want,
            "{limit}, {unavailable}, {settling}"
        );
    }
}
