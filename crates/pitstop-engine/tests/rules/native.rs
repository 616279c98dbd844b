//! Worked examples of the native rolling update: daemonset.md, N1-N25, N34, N35.

use jiff::SignedDuration;
use pitstop_api::placement::{NO_EXECUTE, NO_SCHEDULE, Taint};
use pitstop_api::reasons;
use pitstop_api::view::{Phase, StrategyType};
use pitstop_engine::availability::is_available;
use pitstop_engine::plan::{Action, DeleteReason, OwnedObject, Reason};
use serde_json::json;

use crate::cluster::{Cluster, OURS, at, events, ready};

fn taint(effect: &str) -> Taint {
    Taint {
        key: "x".into(),
        value: String::new(),
        effect: effect.into(),
    }
}

/// N1
#[test]
fn every_desired_node_gets_a_pod() {
    let mut cluster = Cluster::native_on(5, ".");
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "create n1 n2 n3 n4 n5");
    cluster.apply(&plan);
    let status = cluster.plan_native().status.unwrap();
    assert_eq!(
        (status.desired_number_scheduled, status.current_number_scheduled),
        (5, 5)
    );
}

/// N2
#[test]
fn a_rollout_goes_in_steps_of_max_unavailable() {
    let mut cluster = Cluster::native_on(5, "old+").max_unavailable(2);
    assert_eq!(
        cluster.native_story(),
        [
            "del n1 n2",
            "create n1 n2",
            "del n3 n4",
            "create n3 n4",
            "del n5",
            "create n5"
        ]
    );
}

/// N3
#[test]
fn a_rollout_stops_when_new_pods_do_not_become_available() {
    let mut cluster = Cluster::native_on(5, "old+").max_unavailable(3);
    assert_eq!(cluster.native_does(), "del n1 n2 n3");
    cluster = Cluster::native("n1R ., n2R ., n3R ., n4R old+, n5R old+").max_unavailable(3);
    assert_eq!(cluster.native_does(), "create n1 n2 n3");
    cluster = Cluster::native("n1R new-, n2R new-, n3R new-, n4R old+, n5R old+").max_unavailable(3);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(
        cluster.reason(&plan, "n4"),
        Some(Reason::MaxUnavailable { used: 3, limit: 3 })
    );
}

/// N4
#[test]
fn old_pods_that_serve_nobody_go_at_once() {
    let mut cluster = Cluster::native_on(5, "old-").max_unavailable(3);
    assert_eq!(
        cluster.native_story(),
        ["del n1 n2 n3 n4 n5", "create n1 n2 n3 n4 n5"]
    );
}

/// N5
#[test]
fn a_change_of_the_strategy_alone_changes_no_pod_and_no_revision() {
    let mut cluster = Cluster::native_on(5, "new-").max_unavailable(3);
    cluster.daemonset.generation += 1;
    let plan = cluster.plan_native();
    assert_eq!(plan.actions, []);
    assert_eq!(plan.status.unwrap().observed_generation, 3);
}

/// N6-N11: what one plan does.
#[test]
fn one_step_without_surge() {
    for (id, picture, max_unavailable, want) in [
        ("N6", "n1R old-, n2R old+, n3R old+", json!(1), "del n1"),
        ("N7", "n1R T, n2R old+, n3R old+", json!(1), "nothing"),
        ("N8", "n1R old+ new+, n2R old+", json!(1), "del n1"),
        ("N9", "n1N old-, n2R old+, n3R old+", json!(1), "del n1"),
        ("N9", "n1N T, n2R old+, n3R old+", json!(1), "nothing"),
        ("N10", "n1R old+, n2R old+", json!(0), "del n1"),
        ("N11", "n1R old+, n2R old+", json!("50%"), "del n1"),
        ("N11", "n1R old+, n2R old+, n3R old+", json!("50%"), "del n1 n2"),
    ] {
        let cluster = Cluster::native(picture).max_unavailable(max_unavailable);
        assert_eq!(cluster.native_does(), want, "{id}: {picture}");
    }
}

/// N8
#[test]
fn of_two_pods_on_a_node_the_younger_goes_and_the_others_wait() {
    let mut cluster = Cluster::native("n1R old+ new+, n2R old+");
    let plan = cluster.plan_native();
    let younger = cluster.pods[1].uid;
    assert!(plan.actions.iter().any(
        |a| matches!(a, Action::DeletePod { uid, why: DeleteReason::Duplicate, .. } if *uid == younger)
    ));
    cluster.apply(&plan);
    assert_eq!(
        cluster.native_does(),
        "del n1",
        "n1 waits for its own turn, n2 for n1"
    );
}

/// N9; users.md W1
#[test]
fn a_pod_stuck_on_a_node_that_is_not_ready_blocks_a_native_rollout() {
    let mut cluster = Cluster::native("n1N old-, n2R old+, n3R old+");
    assert_eq!(cluster.native_story(), ["del n1"]);
    cluster.set_ready("n1", true);
    assert_eq!(
        cluster.native_story(),
        ["create n1", "del n2", "create n2", "del n3", "create n3"]
    );
}

/// N12
#[test]
fn max_surge_is_rounded_up() {
    for (max_surge, want) in [("50%", "create n1"), ("100%", "create n1 n2")] {
        let cluster = Cluster::native_on(2, "old+").max_surge(max_surge);
        assert_eq!(cluster.native_does(), want, "{max_surge}");
    }
}

/// N13
#[test]
fn without_nodes_there_is_nothing_to_do() {
    let cluster = Cluster::native("").max_unavailable(0);
    let plan = cluster.plan_native();
    assert_eq!(
        (cluster.words(&plan).as_str(), plan.progress.limit),
        ("nothing", 0)
    );
}

/// N14
#[test]
fn with_surge_a_new_pod_comes_before_the_old_one_goes() {
    let mut cluster = Cluster::native_on(5, "old+").max_surge(2);
    assert_eq!(
        cluster.native_story(),
        [
            "create n1 n2",
            "del n1 n2",
            "create n3 n4",
            "del n3 n4",
            "create n5",
            "del n5"
        ]
    );
}

/// N14: surge pods that are not ready hold the rollout.
#[test]
fn surge_pods_that_are_not_ready_hold_the_rollout() {
    let cluster = Cluster::native("n1R old+ new-, n2R old+ new-, n3R old+").max_surge(2);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(cluster.reason(&plan, "n1"), Some(Reason::WaitingForSurge));
    assert_eq!(
        cluster.reason(&plan, "n3"),
        Some(Reason::MaxSurge { used: 2, limit: 2 })
    );
}

/// N15
#[test]
fn old_pods_that_serve_nobody_get_their_successors_beyond_the_surge() {
    let mut cluster = Cluster::native_on(5, "old-").max_surge(3).at(100);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "create n1 n2 n3 n4 n5");
    cluster.apply(&plan);
    cluster.stores_catch_up();
    cluster.pass(100);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "del n1 n2 n3 n4 n5");
}

/// N16-N19
#[test]
fn a_surge_rollout_with_min_ready_seconds_second_by_second() {
    let mut cluster = Cluster::native_on(5, "v2+")
        .max_surge(3)
        .min_ready_seconds(15)
        .at(300);
    for pod in &mut cluster.pods {
        pod.ready = ready(true, 200);
    }
    cluster = cluster.now_at_version("v3");
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "create n1 n2 n3", "N16");
    cluster.apply(&plan);
    cluster.stores_catch_up();
    for i in [5, 6] {
        cluster.pods[i].ready = ready(true, 300);
    }
    cluster.pod_on("n5").ready = ready(false, 300);

    cluster = cluster.at(310);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "create n5", "N17");
    cluster.apply(&plan);
    cluster.stores_catch_up();

    cluster = cluster.at(320);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "del n1 n2 n5", "N18");
    cluster.apply(&plan);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "create n4", "N18, next pass");
    cluster.apply(&plan);
    cluster.stores_catch_up();
    cluster.pods.retain(|pod| !pod.is_terminating());
    for pod in cluster.pods.iter_mut().filter(|pod| pod.ready.is_none()) {
        pod.ready = ready(true, 320);
    }

    cluster = cluster.at(335);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "nothing", "exactly at the boundary");
    assert_eq!(plan.requeue_after.map(|d| d.as_millis()), Some(1));
    cluster = cluster.at(340);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "del n3 n4", "N19");
    cluster.apply(&plan);
    cluster.stores_catch_up();
    assert!(cluster.kubelets());
    cluster = cluster.at(350);
    let status = cluster.plan_native().status;
    cluster.daemonset.status = status.unwrap();
    assert_eq!(cluster.plan_native().actions, []);
    assert_eq!(cluster.plan_native().requeue_after, None);
}

/// N20
#[test]
fn a_pod_is_available_only_after_min_ready_seconds_have_passed() {
    let mut cluster = Cluster::native("n1R new+");
    cluster.pod_on("n1").ready = ready(true, 100);
    for (seconds, want) in [(109, false), (110, false), (111, true)] {
        assert_eq!(
            is_available(cluster.pod_on("n1"), 10, at(seconds)),
            want,
            "{seconds}"
        );
    }
}

/// N21
#[test]
fn a_failed_pod_is_replaced_with_growing_delays() {
    let mut cluster = Cluster::native("n1R new-").with(|c| c.pod_on("n1").phase = Phase::Failed);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "del n1");
    assert_eq!(events(&plan), [reasons::FAILED_DAEMON_POD]);
    cluster.failed_pods = plan.failed_pods;

    let again = cluster.plan_native();
    assert_eq!(
        cluster.words(&again),
        "nothing",
        "it fails again within the second"
    );
    assert_eq!(again.requeue_after.map(|d| d.as_millis()), Some(1001));
    assert_eq!(
        cluster.reason(&again, "n1"),
        Some(Reason::BackOff { until: at(1) })
    );
    assert_eq!(
        again.failed_pods, cluster.failed_pods,
        "a node that waits is not forgotten"
    );

    let mut delay = 1;
    for want in [2, 4, 8, 16, 32, 64, 128, 256, 512, 900, 900] {
        cluster.now += SignedDuration::from_secs(delay);
        let plan = cluster.plan_native();
        assert_eq!(cluster.words(&plan), "del n1");
        cluster.failed_pods = plan.failed_pods;
        assert_eq!(cluster.failed_pods.len(), 1);
        delay = i64::from(cluster.failed_pods[0].delay_seconds);
        assert_eq!(delay, want);
    }
}

/// A8: the key of the back-off includes the observed generation.
#[test]
fn a_new_generation_ends_the_back_off() {
    let mut cluster = Cluster::native("n1R new-").with(|c| c.pod_on("n1").phase = Phase::Failed);
    cluster.failed_pods = cluster.plan_native().failed_pods;
    assert_eq!(cluster.native_does(), "nothing");
    cluster.daemonset.status.observed_generation = 3;
    assert_eq!(cluster.native_does(), "del n1");
}

/// N22
#[test]
fn a_pod_that_ended_well_is_made_again() {
    let mut cluster = Cluster::native("n1R new-").with(|c| c.pod_on("n1").phase = Phase::Succeeded);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "del n1");
    assert_eq!(events(&plan), [reasons::SUCCEEDED_DAEMON_POD]);
    cluster.apply(&plan);
    assert_eq!(
        cluster.native_does(),
        "create n1",
        "done and terminating: it does not count"
    );
}

/// N23
#[test]
fn pods_follow_the_node_selector() {
    let select = |c: &mut Cluster| {
        c.daemonset
            .placement
            .node_selector
            .insert("disk".into(), "ssd".into());
    };
    let mut cluster = Cluster::native("n1R .").with(select);
    assert_eq!(cluster.native_does(), "nothing");
    cluster.node_mut("n1").labels.insert("disk".into(), "ssd".into());
    assert_eq!(cluster.native_does(), "create n1");
    let cluster = Cluster::native("n1R new+").with(select);
    assert_eq!(cluster.native_does(), "del n1");
}

/// N24
#[test]
fn a_taint_keeps_new_pods_away_or_drives_pods_out() {
    let tainted = |effect: &str| {
        Cluster::native("n1R new+, n2R new+").with(|c| c.node_mut("n1").taints.push(taint(effect)))
    };
    let cluster = tainted(NO_SCHEDULE);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "nothing");
    let status = plan.status.unwrap();
    assert_eq!(
        (status.desired_number_scheduled, status.number_misscheduled),
        (1, 1)
    );
    assert_eq!(tainted(NO_EXECUTE).native_does(), "del n1");
    assert_eq!(tainted("PreferNoSchedule").native_does(), "nothing");
}

/// N25
#[test]
fn a_cordon_does_not_keep_pods_away() {
    let mut cluster = Cluster::native("n1R .");
    cluster.node_mut("n1").unschedulable = true;
    cluster.node_mut("n1").taints.push(Taint {
        key: pitstop_api::keys::TAINT_UNSCHEDULABLE.into(),
        ..taint(NO_SCHEDULE)
    });
    assert_eq!(cluster.native_does(), "create n1");
}

/// N26: the batches are the executor's; the plan holds 250.
#[test]
fn one_pass_creates_250_pods_at_most() {
    let mut cluster = Cluster::native_on(300, ".");
    let plan = cluster.plan_native();
    assert_eq!(plan.actions.len(), 250);
    cluster.apply(&plan);
    assert_eq!(cluster.plan_native().actions.len(), 50);
}

/// N34
#[test]
fn an_orphan_is_adopted_and_old_without_a_hash() {
    let mut cluster = Cluster::native("n1R new+, n2R new+").with(|c| {
        let pod = c.pod_on("n1");
        pod.controller = None;
        let labels = &mut pod.labels;
        labels.remove(pitstop_api::keys::REVISION_HASH);
        labels.remove(pitstop_api::keys::POD_TEMPLATE_GENERATION);
    });
    let plan = cluster.plan_native();
    let orphan = cluster.pod_on("n1").uid;
    assert!(
        plan.actions
            .iter()
            .any(|a| matches!(a, Action::Adopt { object: OwnedObject::Pod, uid, .. } if *uid == orphan))
    );
    cluster.apply(&plan);
    assert_eq!(cluster.pod_on("n1").controller.unwrap().uid, OURS);
    cluster.stores_catch_up();
    assert_eq!(cluster.native_does(), "del n1", "it is old");
}

/// N35
#[test]
fn a_pod_that_waits_for_a_node_that_is_gone_is_deleted() {
    let mut cluster = Cluster::native("n1R new+");
    let stray = cluster.add_pod("n9", "new-");
    stray.bound = false;
    assert_eq!(cluster.native_does(), "del n9");
    cluster.pod_on("n9").bound = true;
    assert_eq!(
        cluster.native_does(),
        "nothing",
        "a bound one is left to the collector"
    );
}

/// A6.1: neither a DaemonSet that is going nor one that selects everything is acted on.
#[test]
fn a_workload_that_is_going_or_selects_everything_is_left_alone() {
    let going = Cluster::native_on(2, "old+").with(|c| c.daemonset.deleted_at = Some(at(0)));
    assert_eq!(
        (going.plan_native().actions, going.plan_native().status),
        (vec![], None)
    );
    let all = Cluster::native_on(2, "old+").with(|c| c.daemonset.selector.match_labels.clear());
    let plan = all.plan_native();
    assert_eq!(
        (plan.actions.len(), events(&plan)),
        (0, vec![reasons::SELECTING_ALL])
    );
}

/// A strategy of a later version is not guessed at.
#[test]
fn an_unknown_strategy_keeps_pods_running_and_updates_none() {
    let mut cluster = Cluster::native("n1R old+, n2R .");
    cluster.daemonset.strategy.kind = StrategyType::Other("Sideways".into());
    assert_eq!(cluster.native_does(), "create n2");
    let cluster = Cluster::native("n1R old+").with(|c| {
        c.daemonset.strategy.kind = StrategyType::Other("Sideways".into());
    });
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(plan.waiting[0].reason.word(), "Invalid");
}

/// OnDelete replaces what somebody deletes, and nothing else.
#[test]
fn on_delete_touches_no_old_pod() {
    let cluster = Cluster::native("n1R old+, n2R old-").on_delete();
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(cluster.reason(&plan, "n1"), Some(Reason::OnDelete));
}

/// A10: nodes that should not run the pod any more lose it only as far as others serve instead.
#[test]
fn moving_between_node_sets_under_surge_never_drops_below_desired() {
    let blocked = |c: &mut Cluster| c.node_mut("n1").taints.push(taint(NO_SCHEDULE));
    let cluster = Cluster::native("n1R old+, n2R new-").max_surge(1).with(blocked);
    assert_eq!(cluster.native_does(), "nothing", "n1 is all that serves");
    let cluster = Cluster::native("n1R old+, n2R new+").max_surge(1).with(blocked);
    assert_eq!(cluster.native_does(), "del n1");
}

/// A8: under surge a node whose pod failed waits for the back-off before it gets another.
#[test]
fn failed_pods_do_not_pile_up_under_surge() {
    let mut cluster = Cluster::native("n1R new-").max_surge(1);
    cluster.pod_on("n1").phase = Phase::Failed;
    cluster.failed_pods = cluster.plan_native().failed_pods;
    assert_eq!(cluster.native_does(), "nothing");
}

/// A12: a surge pod inside minReadySeconds is waited for, though the old pod still speaks for the node.
#[test]
fn a_surge_pod_is_waited_for() {
    let mut cluster = Cluster::native("n1R old+ new+")
        .max_surge(1)
        .min_ready_seconds(10)
        .at(5);
    cluster.pods[1].ready = ready(true, 0);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(plan.requeue_after.map(|d| d.as_millis()), Some(5001));
}

/// A7, S2: a pod that runs does not go for one that we created and do not see yet.
#[test]
fn of_two_pods_the_one_that_is_there_stays() {
    let mut cluster = Cluster::native("n1R .");
    let plan = cluster.plan_native();
    cluster.apply(&plan);
    cluster.pods.clear();
    cluster.add_pod("n1", "new+");
    assert_eq!(cluster.native_does(), "nothing");
}

/// A9.3: a pod that we created is judged by the version we created it at.
#[test]
fn a_pod_created_before_the_edit_is_old() {
    let mut cluster = Cluster::native("n1R ., n2R old+").max_unavailable(2);
    let plan = cluster.plan_native();
    cluster.apply(&plan);
    let unseen = cluster.pods.pop();
    cluster.edit_template("v3");
    assert_eq!(cluster.native_does(), "del n2", "n1 counts until its pod is seen");
    cluster.pods.extend(unseen);
    assert_eq!(cluster.native_does(), "del n1 n2");
}

/// S1, A9.5: pods that are ready, but not for minReadySeconds yet, go within the budget. Upstream takes all at once.
#[test]
fn a_second_template_soon_after_the_first_does_not_take_all_pods_down() {
    let mut cluster = Cluster::native_on(10, "old+").min_ready_seconds(60).at(30);
    for pod in &mut cluster.pods {
        pod.ready = ready(true, 0);
    }
    let mut n_down_at_most = 0;
    for _ in 0..2000 {
        let plan = cluster.plan_native();
        cluster.apply(&plan);
        cluster.stores_catch_up();
        let serving = cluster
            .pods
            .iter()
            .filter(|pod| pod.is_ready() && !pod.is_terminating());
        n_down_at_most = n_down_at_most.max(10 - serving.count());
        cluster.kubelets();
        cluster.pass(1);
    }
    assert_eq!(n_down_at_most, 1);
    assert_eq!(cluster.daemonset.status.updated_number_scheduled, 10);
}

/// A selector that cannot be read matches nothing: to act on that would release every pod.
#[test]
fn a_selector_that_cannot_be_read_stops_everything() {
    let mut cluster = Cluster::native("n1R old+, n2R .");
    let expression =
        json!({ "matchExpressions": [{ "key": "app", "operator": "Like", "values": ["agent"] }] });
    cluster.daemonset.selector = serde_json::from_value(expression).unwrap();
    let plan = cluster.plan_native();
    assert_eq!((plan.actions.as_slice(), &plan.status), ([].as_slice(), &None));
    assert_eq!(cluster.reason(&plan, "n1").unwrap().word(), "Invalid");
}

/// C5.7, S1: a pod whose DELETE was not answered counts as down. It goes again before any other, while the budget has
/// room for it.
#[test]
fn a_delete_without_an_answer_counts_and_comes_first() {
    let cases = [
        ("n1R old+, n2R old+", "1", 1, "del n2"),
        ("n1R old+, n2R old+, n3R old+", "2", 2, "del n1 n3"),
        ("n1R old+, n2R new+", "1", 1, "nothing"),
        ("n1R new-, n2R old+", "1", 1, "nothing"),
        ("n1R old-, n2R old+", "1", 1, "del n1"),
    ];
    for (picture, max_unavailable, in_doubt, want) in cases {
        for mut cluster in [Cluster::native(picture), Cluster::advanced(picture)] {
            cluster = cluster.max_unavailable(max_unavailable);
            cluster.in_flight.maybe_deleted = vec![cluster.pods[in_doubt].uid];
            let is_advanced = cluster.daemonset.strategy.kind == StrategyType::OnDelete;
            let plan = if is_advanced {
                cluster.plan_advanced()
            } else {
                cluster.plan_native()
            };
            assert_eq!(cluster.words(&plan), want, "{picture}, advanced: {is_advanced}");
        }
    }
    let mut cluster = Cluster::advanced("n1R old+, n2N old+");
    cluster.in_flight.maybe_deleted = vec![cluster.pods[1].uid];
    let plan = cluster.plan_advanced();
    assert_eq!(
        cluster.words(&plan),
        "del n1",
        "S3: a node that is away costs nothing"
    );
}

/// C5.7, S8: a surge pod whose POST was not answered counts as there, and is posted again before another is.
#[test]
fn a_surge_pod_without_an_answer_counts_and_comes_first() {
    let on_n2 = |c: &mut Cluster| c.in_flight.maybe_created = c.names.get("n2").into_iter().collect();
    for (max_surge, want) in [(1, "create n2"), (2, "create n1 n2")] {
        let cluster = Cluster::native("n1R old+, n2R old+").max_surge(max_surge);
        assert_eq!(cluster.with(on_n2).native_does(), want);
    }
    let is_new_in_doubt = |c: &mut Cluster| c.in_flight.maybe_deleted = vec![c.pods[1].uid];
    let cluster = Cluster::native("n1R old+ new+").max_surge(1);
    assert_eq!(cluster.clone().native_does(), "del n1");
    assert_eq!(
        cluster.with(is_new_in_doubt).native_does(),
        "nothing",
        "the new one may not be there"
    );
}

/// A8, S8: of two pods on a node the same one goes again.
#[test]
fn of_two_pods_the_one_in_doubt_goes_again() {
    let mut cluster = Cluster::native("n1R new+ new+");
    let older = cluster.pods[0].uid;
    cluster.in_flight.maybe_deleted = vec![older];
    let plan = cluster.plan_native();
    let gone = plan.actions.iter().filter_map(|action| match action {
        Action::DeletePod { uid, .. } => Some(*uid),
        _ => None,
    });
    assert_eq!(gone.collect::<Vec<_>>(), [older]);
}
