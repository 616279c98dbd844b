//! Why each pod waits, in a word and in a sentence: L3.

use pitstop_api::keys;
use pitstop_api::view::{Phase, StrategyType};
use pitstop_engine::daemonset::plan;
use pitstop_engine::plan::{Reason, render, span};

use crate::cluster::{Cluster, at, ready};

/// `node: word` for each that waits, under the model that the DaemonSet asks for.
fn words(cluster: &Cluster) -> String {
    let plan = plan(&cluster.snapshot());
    let mut lines: Vec<_> = plan
        .waiting
        .iter()
        .map(|w| format!("{}: {}", cluster.names.name(w.node.unwrap()), w.reason.word()))
        .collect();
    lines.sort();
    lines.join(", ")
}

#[test]
fn each_pod_that_is_not_at_the_target_has_a_reason() {
    for (picture, want) in [
        ("n1R old+, n2R old+", "n1: Updating, n2: MaxUnavailable"),
        (
            "n1R new+, n2N old-, n3N new-, n4N T",
            "n2: NodeNotReady, n3: NodeNotReady, n4: NodeNotReady",
        ),
        (
            "n1R T, n2R new-, n3R .",
            "n1: Terminating, n2: NotReady, n3: WaitingForPod",
        ),
        ("n1R old+ old+", "n1: DuplicatePods, n1: DuplicatePods"),
    ] {
        assert_eq!(words(&Cluster::advanced(picture)), want, "{picture}");
    }
    for (picture, want) in [
        ("n1R old+, n2R old+", "n1: Updating, n2: MaxUnavailable"),
        ("n1R ., n2R old+", "n1: WaitingForPod, n2: MaxUnavailable"),
        ("n1N T, n2R T", "n1: NodeNotReady, n2: Terminating"),
        ("n1R old+ new-", "n1: DuplicatePods, n1: Updating"),
    ] {
        assert_eq!(words(&Cluster::native(picture)), want, "{picture}");
    }
}

#[test]
fn what_holds_all_pods_is_the_reason_of_the_outdated_ones() {
    let scene = || Cluster::advanced("n1R old+, n2R new+");
    let strategy = |value: &str| scene().annotation(keys::OPENYURT_UPDATE_STRATEGY, value);
    let plain = || scene().without_annotation(keys::OPENYURT_UPDATE_STRATEGY);
    for (cluster, want) in [
        (strategy("OTA"), "n1: WaitingForOwner"),
        (strategy("other"), "n1: Invalid"),
        (scene().max_unavailable("x"), "n1: Invalid"),
        (
            plain().with(|c| c.daemonset.strategy.kind = StrategyType::Other("Canary".into())),
            "n1: Invalid",
        ),
        (plain(), "n1: OnDelete"),
        (
            scene().with(|c| c.daemonset.deleted_at = Some(at(0))),
            "n1: WorkloadTerminating, n2: WorkloadTerminating",
        ),
        (
            scene().with(|c| c.edit_template("v3")),
            "n1: RevisionUnknown, n2: RevisionUnknown",
        ),
        (
            scene().with(|c| c.daemonset.status.observed_generation = 1),
            "n1: NotObserved",
        ),
    ] {
        assert_eq!(words(&cluster), want);
    }
}

#[test]
fn pods_on_vanished_nodes_are_nobodys_turn() {
    for mut cluster in [
        Cluster::advanced("n1R new+, n2R old+"),
        Cluster::native("n1R new+, n2R old+"),
    ] {
        cluster.remove_node("n2");
        assert_eq!(words(&cluster), "n2: NodeGone");
    }
}

#[test]
fn surge_has_reasons_of_its_own() {
    let cluster = Cluster::native("n1R old+, n2R old+, n3R old+ new-").max_surge(2);
    assert_eq!(
        words(&cluster),
        "n1: WaitingForSurge, n2: MaxSurge, n3: NotReady, n3: WaitingForSurge"
    );
}

#[test]
fn failed_pods_say_when_they_are_replaced() {
    let mut cluster = Cluster::native("n1R new-").with(|c| c.pod_on("n1").phase = Phase::Failed);
    let first = plan(&cluster.snapshot());
    cluster.failed_pods = first.failed_pods;
    assert_eq!(
        cluster.reason(&plan(&cluster.snapshot()), "n1"),
        Some(Reason::BackOff { until: at(1) })
    );
}

#[test]
fn failed_pods_beyond_the_burst_are_not_noted_as_replaced() {
    let mut cluster = Cluster::native_on(300, "new-");
    for pod in &mut cluster.pods {
        pod.phase = Phase::Failed;
    }
    let plan = plan(&cluster.snapshot());
    assert_eq!(
        (plan.actions.len(), plan.failed_pods.len(), plan.events.len()),
        (250, 250, 250)
    );
    assert_eq!(cluster.reason(&plan, "n300"), Some(Reason::Burst));
}

#[test]
fn the_budget_that_is_shown_includes_what_is_taken_now() {
    let cluster = Cluster::advanced("n1R new-, n2R old+, n3R old+").max_unavailable("2");
    assert_eq!(
        cluster.reason(&cluster.plan_advanced(), "n3"),
        Some(Reason::MaxUnavailable { used: 2, limit: 2 })
    );
}

#[test]
fn sentences_say_since_when_and_what_follows() {
    let since = Some(at(-134));
    for (reason, want) in [
        (
            Reason::NodeNotReady {
                since,
                costs_budget: false,
            },
            "its node is not ready for 2m14s; this costs no budget, and the pod is caught up when the node returns",
        ),
        (
            Reason::NodeNotReady {
                since,
                costs_budget: true,
            },
            "its node is not ready for 2m14s; the pod counts as unavailable until the node returns",
        ),
        (
            Reason::MaxUnavailable { used: 3, limit: 3 },
            "3 of 3 pods that may be unavailable are; its turn comes when one is available again",
        ),
        (
            Reason::MaxSurge { used: 1, limit: 1 },
            "1 of 1 surge pods are there; its turn comes when one has taken over",
        ),
        (
            Reason::NotReady {
                trouble: Some("ImagePullBackOff".into()),
                since,
            },
            "it is at the new revision but not ready for 2m14s: ImagePullBackOff",
        ),
        (
            Reason::MinReadySeconds { until: at(20) },
            "it is ready, and counts as available in 20s (minReadySeconds)",
        ),
        (
            Reason::Invalid {
                field: keys::OPENYURT_MAX_UNAVAILABLE.into(),
            },
            "apps.openyurt.io/max-unavailable is malformed; no pod is touched until it is mended",
        ),
        (
            Reason::NodeGone,
            "its node does not exist any more; nothing waits for it",
        ),
    ] {
        assert_eq!(reason.explain(at(0)), want);
    }
    assert_eq!(span(at(0), at(8040)), "2h14m");
}

#[test]
fn a_plan_reads_as_lines_in_a_fixed_order() {
    let mut cluster = Cluster::native("n1R ., n2R old+, n3N T");
    cluster.pod_on("n2").controller = None;
    for (i, pod) in cluster.pods.iter_mut().enumerate() {
        pod.name = format!("agent-{i}").into();
    }
    let text = render(&plan(&cluster.snapshot()), &cluster.names);
    let hash = crate::cluster::hash("v2");
    assert_eq!(
        text,
        format!(
            "adopt pod agent-0\n\
             create pod on n1 at {hash}\n\
             no pod on n1: WaitingForPod\n\
             pod agent-0 on n2: MaxUnavailable\n\
             pod agent-1 on n3: NodeNotReady\n"
        )
    );
}

#[test]
fn a_pod_that_is_ready_only_since_now_says_until_when_it_waits() {
    let mut cluster = Cluster::advanced("n1R new+").min_ready_seconds(30);
    cluster.pod_on("n1").ready = ready(true, 0);
    assert_eq!(
        cluster.reason(&cluster.plan_advanced(), "n1"),
        Some(Reason::MinReadySeconds { until: at(30) })
    );
}
