//! Worked examples of AdvancedRollingUpdate: daemonset.md, C7 and Y1-Y34.

use pitstop_api::{keys, reasons};
use pitstop_engine::daemonset::strategy::{self, Model};
use pitstop_engine::daemonset::{advanced, native};
use pitstop_engine::plan::{Action, Reason};
use pitstop_engine::snapshot::{DeletedPod, InFlight};

use crate::cluster::{Cluster, THEIRS, at, deleted_uids, events, not_ready_taints, ready};

/// Y1, C7.14
#[test]
fn a_rolling_update_is_left_to_the_native_controller_and_said_so() {
    let cluster =
        Cluster::native_on(3, "old+").annotation(keys::OPENYURT_UPDATE_STRATEGY, "AdvancedRollingUpdate");
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(events(&plan), [reasons::UPDATE_STRATEGY_NOT_ON_DELETE]);
    assert_eq!(cluster.native_does(), "del n1");
}

/// Y2
#[test]
fn pods_are_replaced_one_after_the_other() {
    let mut cluster = Cluster::advanced_on(3, "old+");
    assert_eq!(
        cluster.advanced_story(),
        [
            "del n1",
            "create n1",
            "del n2",
            "create n2",
            "del n3",
            "create n3"
        ]
    );
}

/// Y3-Y14, Y23, Y34: what one plan does with maxUnavailable 1.
#[test]
fn one_step() {
    for (id, picture, want) in [
        ("Y4", "n1R old+, n2R old+, n3N old+", "del n1"),
        ("Y5", "n1R old+, n2N old-, n3N old-", "del n1"),
        ("Y5, then", "n1R new+, n2N old-, n3N old-", "nothing"),
        ("Y8", "n1R old-, n2R old+", "del n1"),
        ("Y9", "n1R new-, n2R old+", "nothing"),
        ("Y10", "n1N new-, n2R old+", "del n2"),
        ("Y11", "n1R T, n2R old+", "nothing"),
        ("Y12, C7.4", "n1N T, n2R old+", "del n2"),
        ("Y13, C7.6", "n1R ., n2R old+", "nothing"),
        ("Y23", "n1R old+ old+, n2R old+", "nothing"),
        ("Y34", "n1R new+, n2R new+, n3R new+", "nothing"),
        ("C7.15", "n1N ., n2R old+", "del n2"),
    ] {
        assert_eq!(
            Cluster::advanced(picture).advanced_does(),
            want,
            "{id}: {picture}"
        );
    }
}

/// Y4, L3
#[test]
fn a_node_that_is_not_ready_is_passed_over_and_the_reason_is_given() {
    let cluster = Cluster::advanced("n1R old+, n2R old+, n3N old+");
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.reason(&plan, "n1"), Some(Reason::Updating));
    assert_eq!(
        cluster.reason(&plan, "n2"),
        Some(Reason::MaxUnavailable { used: 1, limit: 1 })
    );
    assert_eq!(
        cluster.reason(&plan, "n3"),
        Some(Reason::NodeNotReady {
            since: Some(at(-1800)),
            costs_budget: false,
        })
    );
    assert_eq!(plan.progress.frozen, 1);
}

/// Y6, seed 001
#[test]
fn nodes_that_return_are_caught_up_one_after_the_other() {
    let mut cluster = Cluster::advanced("n1R old+, n2N old-, n3N old-");
    assert_eq!(cluster.advanced_story(), ["del n1", "create n1"]);
    for node in ["n2", "n3"] {
        cluster.set_ready(node, true);
        cluster.pod_on(node).ready = ready(true, 20);
    }
    assert_eq!(
        cluster.advanced_story(),
        ["del n2", "create n2", "del n3", "create n3"]
    );
}

/// Y7, C7.3
#[test]
fn pods_marked_not_ready_while_their_node_was_away_share_one_budget() {
    let mut cluster = Cluster::advanced("n1R new+, n2N old-, n3N old-").at(10);
    for node in ["n2", "n3"] {
        cluster.pod_on(node).ready = ready(false, -1700);
        cluster.set_ready(node, true);
    }
    assert_eq!(cluster.advanced_does(), "del n2");
    cluster.pod_on("n2").ready = ready(false, 11);
    cluster = cluster.at(12);
    assert_eq!(
        cluster.advanced_does(),
        "del n2",
        "not ready by its own kubelet's word: it goes and counts"
    );
}

/// C7.3: whoever marks pods of nodes that are away leaves their containers ready.
#[test]
fn a_pod_that_had_not_started_when_its_node_went_away_counts() {
    let mut cluster = Cluster::advanced("n1R new+, n2N old-, n3N old-").at(10);
    for node in ["n2", "n3"] {
        cluster.pod_on(node).ready = ready(false, -1700);
        cluster.set_ready(node, true);
    }
    cluster.pod_on("n3").are_containers_ready = false;
    assert_eq!(cluster.advanced_does(), "del n3");
}

/// C7.3 between condition and taint: the pod would go and nothing could come.
#[test]
fn a_node_is_back_only_when_nothing_keeps_a_successor_from_it() {
    let mut cluster = Cluster::advanced("n1R old+, n2R old+");
    cluster.node_mut("n1").taints = not_ready_taints();
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "del n2");
    assert_eq!(cluster.reason(&plan, "n1").unwrap().word(), "NodeNotReady");
    cluster.set_ready("n1", true);
    assert_eq!(cluster.advanced_does(), "del n1");
}

/// Y14, C7.5
#[test]
fn a_pod_on_a_node_that_is_gone_stops_nothing() {
    let mut cluster = Cluster::advanced("n9R old+, n1R old+");
    cluster.remove_node("n9");
    assert_eq!(cluster.advanced_does(), "del n1");
}

/// Y3, Y15, Y16, Y18; users.md W7
#[test]
fn as_many_go_as_max_unavailable_allows() {
    for (id, n, annotation, want) in [
        ("Y3", 3, Some("50%"), 2),
        ("Y15", 10, Some("10%"), 1),
        ("Y15", 10, Some("20%"), 2),
        ("Y15", 10, Some("95%"), 10),
        ("Y15", 10, Some("100%"), 10),
        ("Y16", 10, Some("0"), 1),
        ("Y16", 10, Some("0%"), 1),
        ("Y16", 10, None, 1),
        ("Y18", 400, Some("100%"), 250),
        ("seed 000", 3, Some("30%"), 1),
        ("seed 000", 10, Some("30%"), 3),
        ("seed 000", 4, Some("30%"), 2),
    ] {
        let cluster = Cluster::advanced_on(n, "old+");
        let cluster = match annotation {
            Some(text) => cluster.max_unavailable(text),
            None => cluster.without_annotation(keys::OPENYURT_MAX_UNAVAILABLE),
        };
        let plan = cluster.plan_advanced();
        assert_eq!(plan.actions.len(), want, "{id}: {annotation:?} of {n}");
        let is_told = events(&plan).contains(&reasons::MAX_UNAVAILABLE_IGNORED);
        assert_eq!(is_told, matches!(annotation, Some("0" | "0%")), "{id}");
    }
}

/// Y17
#[test]
fn a_malformed_max_unavailable_stops_the_rollout_and_is_told_once() {
    for text in ["abc", "3.5", "", "5 %", "-1", "-5%"] {
        let cluster = Cluster::advanced_on(3, "old-").max_unavailable(text);
        let plan = cluster.plan_advanced();
        assert_eq!(cluster.words(&plan), "nothing", "{text:?}");
        assert_eq!(events(&plan), [reasons::INVALID_ANNOTATION], "{text:?}");
        let event = &plan.events[0];
        assert_eq!(event.once_per, Some(format!("2/{text}")));
        for part in [keys::OPENYURT_MAX_UNAVAILABLE, &format!("{text:?}"), "percentage"] {
            assert!(event.message.contains(part), "{}", event.message);
        }
        assert_eq!(cluster.reason(&plan, "n1").unwrap().word(), "Invalid");
        assert_eq!(plan.requeue_after, None, "no retry before it is mended");
    }
}

/// Y18
#[test]
fn a_burst_goes_on_at_once() {
    let mut cluster = Cluster::advanced_on(400, "old+").max_unavailable("100%");
    let plan = cluster.plan_advanced();
    assert!(plan.requeue_after.is_some());
    assert_eq!(cluster.reason(&plan, "n251"), Some(Reason::Burst));
    cluster.apply(&plan);
    assert_eq!(cluster.plan_advanced().actions.len(), 150);
}

/// Y19, C7.9
#[test]
fn nothing_goes_before_the_revision_is_there() {
    let mut cluster = Cluster::advanced_on(2, "old-");
    cluster.edit_template("v3");
    cluster.daemonset.status.observed_generation = 3;
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(plan.requeue_after.map(|d| d.as_secs()), Some(5));
    assert_eq!(cluster.reason(&plan, "n1"), Some(Reason::RevisionUnknown));
}

/// Y20, C7.9
#[test]
fn nothing_goes_before_the_spec_was_observed() {
    let mut cluster = Cluster::advanced_on(2, "old-");
    cluster.daemonset.generation = 3;
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(cluster.reason(&plan, "n1"), Some(Reason::NotObserved));
}

/// Y21, Y22, C7.7, C7.8
#[test]
fn the_newest_template_decides_what_is_old() {
    let cluster = Cluster::advanced("n1R v2+, n2R v1+").now_at_version("v3");
    assert_eq!(cluster.advanced_does(), "del n1", "Y21");
    let cluster = Cluster::advanced("n1R v2-, n2R v1+").now_at_version("v3");
    assert_eq!(
        cluster.advanced_does(),
        "del n1",
        "C7.7: the one that serves nobody, at once"
    );
    let cluster = Cluster::advanced("n1R v2+, n2R v1+, n3R v1+").now_at_version("v1");
    assert_eq!(cluster.advanced_does(), "del n1", "Y22");
}

/// Y24, C7.16
#[test]
fn a_pod_that_is_not_bound_yet_is_on_the_node_it_is_meant_for() {
    let mut cluster = Cluster::advanced("n1R old-, n2R old+");
    cluster.pod_on("n1").bound = false;
    cluster.pod_on("n1").ready = None;
    assert_eq!(cluster.advanced_does(), "del n1");
}

/// Y25, Y26, Y27; users.md W8
#[test]
fn the_model_is_read_from_the_annotation() {
    use Model::{AdvancedRollingUpdate, Invalid, Native, Ota};
    for (value, model, told) in [
        (Some("AdvancedRollingUpdate"), AdvancedRollingUpdate, None),
        (Some("advancedrollingupdate"), AdvancedRollingUpdate, None),
        (Some("Auto"), AdvancedRollingUpdate, Some(reasons::STRATEGY_ALIAS)),
        (Some("AUTO"), AdvancedRollingUpdate, Some(reasons::STRATEGY_ALIAS)),
        (
            Some(" auto "),
            AdvancedRollingUpdate,
            Some(reasons::STRATEGY_ALIAS),
        ),
        (Some("OTA"), Ota, None),
        (Some("ota"), Ota, None),
        (Some("other"), Invalid, Some(reasons::INVALID_UPDATE_STRATEGY)),
        (Some(""), Invalid, Some(reasons::INVALID_UPDATE_STRATEGY)),
        (Some("auto,ota"), Invalid, Some(reasons::INVALID_UPDATE_STRATEGY)),
        (None, Native, None),
    ] {
        let mut cluster = Cluster::advanced_on(2, "old+").without_annotation(keys::OPENYURT_UPDATE_STRATEGY);
        if let Some(value) = value {
            cluster = cluster.annotation(keys::OPENYURT_UPDATE_STRATEGY, value);
        }
        let reading = strategy::read(&cluster.daemonset);
        assert_eq!(reading.model, model, "{value:?}");
        let reasons: Vec<_> = reading.events.iter().map(|event| event.reason).collect();
        assert_eq!(reasons, Vec::from_iter(told), "{value:?}");
        let want = if model == AdvancedRollingUpdate {
            "del n1"
        } else {
            "nothing"
        };
        assert_eq!(cluster.advanced_does(), want, "{value:?}");
    }
}

/// C1: a value that names no model leaves a native rolling update to the native controller.
#[test]
fn a_wrong_value_stops_nothing_under_rolling_update() {
    let cluster = Cluster::native_on(1, "old+").annotation(keys::OPENYURT_UPDATE_STRATEGY, "other");
    let reading = strategy::read(&cluster.daemonset);
    assert_eq!(reading.model, Model::Native);
    assert!(
        reading.events[0].message.contains("native"),
        "{}",
        reading.events[0].message
    );
}

/// C1: a key that was never implemented is warned about.
#[test]
fn the_key_of_the_early_design_has_no_effect() {
    let cluster = Cluster::advanced_on(2, "old+")
        .without_annotation(keys::OPENYURT_UPDATE_STRATEGY)
        .annotation(keys::OPENYURT_UPGRADE_STRATEGY_TYPO, "auto");
    let plan = cluster.plan_advanced();
    assert_eq!(
        (cluster.words(&plan).as_str(), events(&plan)),
        ("nothing", vec![reasons::INVALID_ANNOTATION])
    );
}

/// Y28
#[test]
fn a_workload_that_is_going_is_left_alone() {
    let cluster = Cluster::advanced_on(2, "old-").with(|c| c.daemonset.deleted_at = Some(at(0)));
    assert_eq!(cluster.advanced_does(), "nothing");
}

/// Y29, Y30, C3.6
#[test]
fn an_adopted_pod_is_judged_by_its_hash_and_only_without_one_by_its_generation() {
    for (id, has_hash, generation, want) in [
        ("Y29", false, "2", "nothing"),
        ("Y30", true, "2", "del n1"),
        ("C3.6", false, "1", "del n1"),
    ] {
        let cluster = Cluster::advanced("n1R old+").with(|c| {
            let labels = &mut c.pod_on("n1").labels;
            labels.insert(keys::REVISION_HASH.into(), "unknown".into());
            labels.insert(keys::POD_TEMPLATE_GENERATION.into(), generation.into());
            if !has_hash {
                labels.remove(keys::REVISION_HASH);
            }
        });
        assert_eq!(cluster.advanced_does(), want, "{id}");
    }
}

/// Y31
#[test]
fn a_node_that_never_said_it_is_ready_is_passed_over() {
    let cluster = Cluster::advanced("n1R old+").with(|c| c.node_mut("n1").ready = None);
    assert_eq!(cluster.advanced_does(), "nothing");
}

/// Y32
#[test]
fn the_next_pod_waits_for_min_ready_seconds() {
    let mut cluster = Cluster::advanced("n1R new+, n2R old+").min_ready_seconds(30);
    cluster.pod_on("n1").ready = ready(true, 0);
    cluster = cluster.at(10);
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(plan.requeue_after.map(|d| d.as_millis()), Some(20_001));
    assert_eq!(
        cluster.reason(&plan, "n1"),
        Some(Reason::MinReadySeconds { until: at(30) })
    );
    assert_eq!(cluster.at(31).advanced_does(), "del n2");
}

/// A node with two pods has nothing to wait for by the clock.
#[test]
fn what_no_time_mends_is_not_waited_for() {
    let plan = Cluster::advanced("n1R new+ old+, n2R old+").plan_advanced();
    assert_eq!((plan.actions, plan.requeue_after), (vec![], None));
}

/// Y33, C7.10, users.md W17: a delete of ours counts although the store shows nothing of it yet.
#[test]
fn a_delete_counts_before_the_store_shows_it() {
    let mut cluster = Cluster::advanced_on(2, "old+");
    let before = cluster.pods.clone();
    let plan = cluster.plan_advanced();
    cluster.apply(&plan);
    let stale = cluster.snapshot_of(&before);
    assert_eq!(advanced::plan(&stale).actions, []);
    assert_eq!(
        cluster.words(&native::plan(&stale)),
        "nothing",
        "the pod still stands in the way"
    );
}

/// C5.7, C7.1: when an entry of the ledger ends.
#[test]
fn the_ledger_forgets() {
    type Change = fn(&mut Cluster);
    let cases: [(&str, Change, bool); 6] = [
        ("nothing is seen of it", |_| {}, true),
        (
            "seen terminating",
            |c| c.pod_on("n1").deleted_at = Some(at(0)),
            false,
        ),
        ("seen gone", |c| c.pods.clear(), false),
        ("its node is not ready", |c| c.set_ready("n1", false), true),
        ("its node is gone", |c| c.remove_node("n1"), false),
        ("five minutes later", |c| c.now = at(300), false),
    ];
    for (case, change, want) in cases {
        let mut cluster = Cluster::advanced("n1R old+");
        let pod = cluster.pod_on("n1").clone();
        change(&mut cluster);
        let mut in_flight = InFlight {
            deleted: vec![DeletedPod {
                uid: pod.uid,
                node: pod.node,
                at: at(0),
            }],
            ..InFlight::default()
        };
        let snapshot = cluster.snapshot();
        advanced::retire(&mut in_flight, &snapshot.pods, &snapshot.nodes, snapshot.now);
        assert_eq!(!in_flight.deleted.is_empty(), want, "{case}");
    }
}

/// S7, C5.6: pods of others stay, and every delete names the uid and version that were looked at.
#[test]
fn only_our_pods_are_touched_and_only_as_they_were_seen() {
    let mut cluster = Cluster::advanced("n1R old-, n2R old-, n3R old-").max_unavailable("100%");
    cluster.pod_on("n1").controller.as_mut().unwrap().uid = THEIRS;
    cluster.pod_on("n2").controller = None;
    cluster.pod_on("n3").resource_version = 77;
    let plan = cluster.plan_advanced();
    let uid = cluster.pod_on("n3").uid;
    assert_eq!(deleted_uids(&plan), [uid]);
    assert!(plan.actions.iter().all(|a| matches!(
        a,
        Action::DeletePod {
            resource_version: Some(77),
            ..
        }
    )));
}

/// C5.6: the pod that was judged not to serve came back before the delete arrived.
#[test]
fn a_pod_that_came_back_is_not_deleted_for_having_been_away() {
    let mut cluster = Cluster::advanced("n1R old-, n2R new-");
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "del n1");
    let pod = cluster.pod_on("n1");
    (pod.ready, pod.resource_version) = (ready(true, 1), 2);
    cluster.apply(&plan);
    assert!(!cluster.pod_on("n1").is_terminating());
}

/// users.md W1
#[test]
fn three_lost_nodes_of_164_stop_nothing() {
    let mut cluster = Cluster::advanced_on(164, "old+").max_unavailable(1);
    for node in ["n007", "n080", "n164"] {
        cluster.set_ready(node, false);
        cluster.pod_on(node).ready = ready(false, 0);
    }
    let story = cluster.advanced_story();
    assert_eq!(story.len(), 2 * 161);
    let progress = cluster.plan_advanced().progress;
    assert_eq!((progress.updated, progress.frozen), (161, 3));
}

/// users.md W3
#[test]
fn a_template_after_a_broken_one_first_replaces_what_the_broken_one_left() {
    let cluster = Cluster::advanced("n1R v2-, n2R v1+, n3R v1+").now_at_version("v3");
    assert_eq!(cluster.advanced_does(), "del n1");
    let cluster = Cluster::advanced("n1R v3-, n2R v1+, n3R v1+").now_at_version("v4");
    assert_eq!(cluster.advanced_does(), "del n1");
}

/// users.md W3, W4: pods that are Ready and only inside minReadySeconds serve, and share the budget.
#[test]
fn a_second_template_soon_after_the_first_does_not_take_all_pods_down() {
    let mut cluster = Cluster::advanced_on(10, "v2+").min_ready_seconds(60).at(30);
    for pod in &mut cluster.pods {
        pod.ready = ready(true, 0);
    }
    cluster = cluster.now_at_version("v3");
    assert_eq!(cluster.advanced_does(), "del n01");
    cluster.pod_on("n05").ready = ready(false, 25);
    assert_eq!(
        cluster.advanced_does(),
        "del n05",
        "one that really does not serve goes first"
    );
}

/// S1, C5.5: such pods count, and go before available ones, within what the limit leaves.
#[test]
fn pods_inside_min_ready_seconds_count_and_go_first() {
    for (picture, max_unavailable, want) in [
        ("n1R v1+, n2R v2+, n3R v1+", 1, "del n2"),
        ("n1R v1+, n2R v2+, n3R v1+", 2, "del n1 n2"),
        ("n1R v1-, n2R v2+, n3R v1+", 1, "del n1"),
        ("n1R v3-, n2R v2+, n3R v1+", 1, "nothing"),
        ("n1R v2+, n2R v2+, n3R v2+", 2, "del n1 n2"),
    ] {
        let mut cluster = Cluster::advanced(picture)
            .now_at_version("v3")
            .max_unavailable(max_unavailable)
            .min_ready_seconds(60);
        let just_started = crate::cluster::hash("v2");
        for pod in &mut cluster.pods {
            if pod.revision_hash() == Some(&*just_started) {
                pod.ready = ready(true, -30);
            }
        }
        assert_eq!(cluster.advanced_does(), want, "{picture}, {max_unavailable}");
        let wake = cluster.plan_advanced().requeue_after;
        assert_eq!(
            wake.map(|d| d.as_secs()),
            Some(30),
            "{picture}: when they have become available"
        );
    }
}

/// users.md W13: the budget holds when everything returns at once.
#[test]
fn five_hundred_nodes_that_return_together_share_the_budget() {
    let mut cluster = Cluster::advanced_on(500, "old-").max_unavailable("10%").at(10);
    for slot in cluster.by_name.clone() {
        let name = cluster.names.name(slot).to_owned();
        cluster.set_ready(&name, true);
    }
    assert_eq!(cluster.plan_advanced().actions.len(), 50);
}
