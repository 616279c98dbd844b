//! Our own keys on native DaemonSets: spec/README.md, "Our own keys"; users.md W1, W13, W16.

use std::sync::Arc;
use std::time::Duration;

use pitstop_api::view::{ConditionStatus, PodCondition, PodView, revision_message};
use pitstop_api::{keys, reasons};
use pitstop_engine::daemonset::{advanced, own_keys};
use pitstop_engine::plan::{Action, Plan, Reason};

use crate::cluster::{Cluster, at, events, hash, ready};

/// The word why each node's first pod waits: `n1: Updating, n2: Partition`.
pub(crate) fn words(cluster: &Cluster, plan: &Plan) -> String {
    let mut lines: Vec<_> = plan
        .waiting
        .iter()
        .map(|w| format!("{}: {}", cluster.names.name(w.node.unwrap()), w.reason.word()))
        .collect();
    lines.sort();
    lines.join(", ")
}

/// `Progressing` as it was written last: status and reason.
fn progressing(cluster: &Cluster) -> (ConditionStatus, String) {
    let condition = &cluster.daemonset.conditions[reasons::PROGRESSING];
    (condition.status, condition.reason.to_string())
}

/// Every key, and what it does not accept.
#[test]
fn a_malformed_value_keeps_every_pod_where_it_is_and_is_told() {
    let cases: &[(&str, &[&str], &str)] = &[
        (keys::PREHEAT, &["", "yes"], "true or false"),
        (keys::PAUSED, &["", "yes", "True", "1"], "true or false"),
        (
            keys::PARTITION,
            &["", "-1", "x", "1.5", "5 %", "%"],
            "a whole number of at least 0, or a percentage from 0% to 100%",
        ),
        (
            keys::CANARY_NODES,
            &["", "a b", "=x", "a in b"],
            "a label selector",
        ),
        (
            keys::MIN_NODE_READY_SECONDS,
            &["", "-1", "+1", "1m", "1.5", "2147483648"],
            "a number of seconds of at least 0",
        ),
        (
            keys::MAX_UNAVAILABLE_PER_POOL,
            &["", "0", "0%", "101%", "-1", "x"],
            "a whole number of at least 1, or a percentage from 1% to 100%",
        ),
        (keys::PACE, &["", "true", "Adaptive", "2"], "adaptive"),
        (
            keys::PROGRESS_DEADLINE_SECONDS,
            &["", "0", "-1", "10m"],
            "a number of seconds of at least 1",
        ),
        (
            keys::RESUMED_AT,
            &["", "now", "2026-01-01", "2026-01-01T00:02:00Z"],
            "a time that has come",
        ),
    ];
    for (key, values, accepted) in cases {
        for value in *values {
            // Even a pod that serves nobody stays.
            let cluster = Cluster::advanced("n1R old-, n2R old+").annotation(key, value);
            let plan = cluster.plan_advanced();
            assert_eq!(cluster.words(&plan), "nothing", "{key}: {value:?}");
            assert_eq!(events(&plan), [reasons::INVALID_ANNOTATION], "{key}: {value:?}");
            for part in [*key, &format!("{value:?}"), accepted] {
                assert!(
                    plan.events[0].message.contains(part),
                    "{}",
                    plan.events[0].message
                );
            }
            let field = Reason::Invalid { field: (*key).into() };
            assert_eq!(cluster.reason(&plan, "n1"), Some(field));
            assert_eq!(plan.requeue_after, None, "no retry before it is mended");
        }
    }
    for value in ["", "pause", "Retry"] {
        let cluster = Cluster::advanced("n1R old+")
            .annotation(keys::PROGRESS_DEADLINE_SECONDS, "60")
            .annotation(keys::ON_FAILURE, value);
        let plan = cluster.plan_advanced();
        assert_eq!(cluster.words(&plan), "nothing", "{value:?}");
        assert!(plan.events[0].message.contains("Pause, Rollback or Report"));
    }
}

#[test]
fn two_malformed_keys_of_the_same_value_are_both_told() {
    let cluster = Cluster::advanced("n1R old+")
        .annotation(keys::PAUSED, "x")
        .annotation(keys::PARTITION, "x");
    let plan = cluster.plan_advanced();
    assert_eq!(events(&plan), [reasons::INVALID_ANNOTATION; 2]);
    assert_ne!(plan.events[0].once_per, plan.events[1].once_per);
}

#[test]
fn blanks_around_values_do_not_matter() {
    let cluster = Cluster::advanced("n1R old+").annotation(keys::PAUSED, " false\n");
    assert_eq!(cluster.advanced_does(), "del n1");
}

/// Our keys alone start nothing, and hold nothing where somebody else does the replacing.
#[test]
fn without_the_model_the_keys_do_nothing_and_say_so() {
    let picture = "n1R old+, n2R old+";
    for (key, value) in [
        (keys::PAUSED, "true"),
        (keys::PAUSED, "malformed"),
        (keys::PARTITION, "0"),
        (keys::CANARY_NODES, "a=b"),
        ("pitstop.io/unknown", "x"),
    ] {
        let on_delete = Cluster::native(picture).on_delete().annotation(key, value);
        let plan = on_delete.plan_advanced();
        assert_eq!(on_delete.words(&plan), "nothing", "{key}");
        assert_eq!(events(&plan), [reasons::NEEDS_UPDATE_STRATEGY], "{key}");
        assert!(plan.events[0].message.contains(key));
        assert!(plan.events[0].is_warning);
        assert_eq!(on_delete.native_does(), "nothing");

        let rolling = Cluster::native(picture).annotation(key, value);
        let plan = rolling.plan_advanced();
        assert_eq!(rolling.words(&plan), "nothing", "{key}");
        assert_eq!(events(&plan), [reasons::NEEDS_ON_DELETE], "{key}");
        assert_eq!(rolling.native_does(), "del n1", "as without the key");
        let why = pitstop_engine::daemonset::plan(&rolling.snapshot());
        assert_eq!(events(&why), [reasons::NEEDS_ON_DELETE], "`why` has it too");

        let ota = Cluster::advanced(picture)
            .annotation(keys::OPENYURT_UPDATE_STRATEGY, "OTA")
            .annotation(key, value);
        assert_eq!(
            events(&ota.plan_advanced()),
            [reasons::NEEDS_UPDATE_STRATEGY],
            "{key}"
        );

        for cluster in [&on_delete, &rolling, &ota] {
            assert!(advanced::is_activated(&cluster.daemonset), "{key}");
        }
    }
    assert!(!advanced::is_activated(&Cluster::native(picture).daemonset));
}

/// Nothing that was written is ignored in silence.
#[test]
fn a_key_without_effect_is_told_and_stops_nothing() {
    for (key, value, text) in [
        ("pitstop.io/pause", "true", "known are pitstop.io/paused"),
        (keys::ON_FAILURE, "Rollback", keys::PROGRESS_DEADLINE_SECONDS),
    ] {
        let cluster = Cluster::advanced("n1R old+").annotation(key, value);
        let plan = cluster.plan_advanced();
        assert_eq!(cluster.words(&plan), "del n1", "{key}");
        assert_eq!(events(&plan)[0], reasons::INVALID_ANNOTATION, "{key}");
        let message = &plan.events[0].message;
        assert!(message.contains(key) && message.contains(text), "{message}");
    }
    for key in own_keys::ALL {
        assert!(key.starts_with(keys::OWN_PREFIX), "{key}");
    }
}

/// `paused`: no pod is updated, not even one that serves nobody; the DaemonSet's own controller goes on.
#[test]
fn paused() {
    let cluster = Cluster::advanced("n1R old-, n2R old+, n3R ., n4N old+").annotation(keys::PAUSED, "true");
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(
        words(&cluster, &plan),
        "n1: Paused, n2: Paused, n3: WaitingForPod, n4: Paused"
    );
    assert_eq!(cluster.native_does(), "create n3");
    let resumed = cluster.annotation(keys::PAUSED, "false");
    assert_eq!(resumed.advanced_does(), "del n1");
}

/// `partition`: so many pods stay old. Nodes that are away are among them; what could be gone already goes first.
#[test]
fn partition() {
    for (picture, partition, want) in [
        ("n1R old+, n2R old+, n3R old+", "0", "del n1 n2 n3"),
        ("n1R old+, n2R old+, n3R old+", "1", "del n1 n2"),
        ("n1R old+, n2R old+, n3R old+", "3", "nothing"),
        ("n1R old+, n2R old+, n3R old+", "100", "nothing"),
        // A percentage is of all nodes that count, rounded down, as daemonset.md D6 has it.
        (
            "n1R old+, n2R old+, n3R old+, n4R old+, n5R old+",
            "50%",
            "del n1 n2 n3",
        ),
        ("n1R new+, n2R old+, n3R old+", "1", "del n2"),
        ("n1R new+, n2R old+, n3R old+", "2", "nothing"),
        // Updated pods stay updated when it is raised.
        ("n1R new+, n2R new+, n3R old+", "3", "nothing"),
        // On their way out, and missing ones, are old no more.
        ("n1R T, n2R old+, n3R old+", "1", "del n2"),
        ("n1R ., n2R old+, n3R old+", "1", "del n2"),
        // A node that is away keeps its old pod, so the others need not.
        ("n1R old+, n2R old+, n3N old+", "1", "del n1 n2"),
        ("n1R old+, n2N old+, n3N old+", "1", "del n1"),
        // Pods that serve nobody go first, and are never kept.
        ("n1R old+, n2R old+, n3R old-", "2", "del n3"),
        ("n1R old+, n2R old+, n3R old-", "3", "del n3"),
        ("n1R old-, n2R old-, n3R old-", "2", "del n1 n2 n3"),
        // Of two pods one goes anyway, and nobody knows which.
        ("n1R old+ new+, n2R old+", "1", "nothing"),
    ] {
        let cluster = Cluster::advanced(picture)
            .max_unavailable("100%")
            .annotation(keys::PARTITION, partition);
        assert_eq!(cluster.advanced_does(), want, "{picture}: {partition}");
    }
    let cluster = Cluster::advanced_on(4, "old+").annotation(keys::PARTITION, "2");
    let plan = cluster.plan_advanced();
    assert_eq!(
        words(&cluster, &plan),
        "n1: Updating, n2: MaxUnavailable, n3: Partition, n4: Partition"
    );
    let in_doubt = Cluster::advanced_on(3, "old+")
        .max_unavailable("100%")
        .annotation(keys::PARTITION, "2")
        .with(|c| {
            let uid = c.pod_on("n3").uid;
            c.in_flight.maybe_deleted.push(uid);
        });
    assert_eq!(
        in_doubt.advanced_does(),
        "del n3",
        "n3 may be gone: it is the one"
    );
}

/// The whole way with a partition, and on when it is lowered.
#[test]
fn a_partition_is_reached_and_lowered() {
    let mut cluster = Cluster::advanced_on(3, "old+").annotation(keys::PARTITION, "2");
    assert_eq!(cluster.advanced_story(), ["del n1", "create n1"]);
    let mut cluster = cluster.without_annotation(keys::PARTITION);
    assert_eq!(
        cluster.advanced_story(),
        ["del n2", "create n2", "del n3", "create n3"]
    );
}

/// `canary-nodes`: only pods on matching nodes are updated until it is removed.
#[test]
fn canary_nodes() {
    let label = |cluster: Cluster, node: &str| {
        cluster.with(|c| {
            c.node_mut(node).labels.insert("ring".into(), "canary".into());
        })
    };
    let cluster =
        Cluster::advanced("n1R old-, n2R old+, n3N old+").annotation(keys::CANARY_NODES, "ring=canary");
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(words(&cluster, &plan), "n1: Canary, n2: Canary, n3: NodeNotReady");
    assert_eq!(
        plan.progress.unavailable, 1,
        "a pod that is down counts wherever it is: S1"
    );
    let mut cluster =
        label(Cluster::advanced_on(3, "old+"), "n2").annotation(keys::CANARY_NODES, "ring=canary");
    assert_eq!(cluster.advanced_story(), ["del n2", "create n2"]);
    let mut cluster = cluster.without_annotation(keys::CANARY_NODES);
    assert_eq!(
        cluster.advanced_story(),
        ["del n1", "create n1", "del n3", "create n3"]
    );
    let both = label(Cluster::advanced_on(3, "old+"), "n2")
        .annotation(keys::CANARY_NODES, "ring=canary")
        .annotation(keys::PARTITION, "3");
    assert_eq!(
        both.advanced_does(),
        "nothing",
        "the partition holds in the canary too"
    );
}

/// `min-node-ready-seconds`, W16: a node that flaps faster than this is never touched, and one that stays is caught up.
#[test]
fn a_node_that_became_ready_a_short_time_ago_waits() {
    let mut cluster = Cluster::advanced("n1N old+").annotation(keys::MIN_NODE_READY_SECONDS, "60");
    for _ in 0..20 {
        cluster.set_ready("n1", true);
        for _ in 0..2 {
            cluster.pass(10);
            let plan = cluster.plan_advanced();
            assert_eq!(cluster.words(&plan), "nothing");
            let until =
                cluster.node_mut("n1").ready_changed_at().unwrap() + jiff::SignedDuration::from_secs(60);
            assert_eq!(cluster.reason(&plan, "n1"), Some(Reason::NodeUnsettled { until }));
            assert!(
                plan.requeue_after.is_some(),
                "it is looked at when that has passed"
            );
        }
        cluster.set_ready("n1", false);
        cluster.pass(20);
    }
    cluster.set_ready("n1", true);
    cluster.pass(60);
    assert_eq!(cluster.advanced_does(), "nothing", "exactly at the boundary");
    cluster.pass(1);
    assert_eq!(cluster.advanced_does(), "del n1");
}

/// W15: a node that is put in maintenance while its pod is on its way frees its slot, and is caught up afterwards.
#[test]
fn a_node_in_maintenance_costs_no_budget() {
    let mut cluster = Cluster::advanced("n1R T, n2R old+, n3R old+");
    assert_eq!(cluster.advanced_does(), "nothing");
    cluster.node_mut("n1").maintenance = ready(true, -60);
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "del n2");
    assert_eq!(
        words(&cluster, &plan),
        "n1: NodeInMaintenance, n2: Updating, n3: MaxUnavailable"
    );
    assert_eq!(plan.progress.frozen, 1);
    cluster.node_mut("n3").maintenance = ready(true, -60);
    assert_eq!(cluster.advanced_story(), ["del n2", "create n1 n2"]);
    for node in ["n1", "n3"] {
        cluster.node_mut(node).maintenance = ready(false, 60);
    }
    assert_eq!(cluster.advanced_story(), ["del n3", "create n3"]);
    // A node that goes down while somebody works on it is no loss that the update costs.
    let mut lost = Cluster::advanced("n1N new-, n2N new-, n3R old+");
    for node in ["n1", "n2"] {
        lost.pod_on(node).created_at = at(-100);
        lost.node_mut(node).ready = ready(false, -40);
    }
    assert_eq!(lost.advanced_does(), "nothing");
    for node in ["n1", "n2"] {
        lost.node_mut(node).maintenance = ready(true, -100);
    }
    assert_eq!(lost.advanced_does(), "del n3");
}

/// What we took down on a node that came back a moment ago counts, settled or not: S1.
#[test]
fn a_node_that_waits_to_settle_counts_what_is_down_there() {
    let mut cluster = Cluster::advanced("n1N new-, n2R old+").annotation(keys::MIN_NODE_READY_SECONDS, "60");
    cluster.set_ready("n1", true);
    cluster.pass(1);
    assert_eq!(cluster.advanced_does(), "nothing");
}

/// `max-unavailable-per-pool`, and W13: 500 nodes in 4 pools that come back together.
#[test]
fn no_pool_loses_more_than_its_limit() {
    let pooled = |picture: &str, pools: &[(&str, &str)]| {
        Cluster::advanced(picture).max_unavailable("100%").with(|c| {
            for (node, pool) in pools {
                let labels = &mut c.node_mut(node).labels;
                labels.insert(keys::OPENYURT_NODEPOOL.into(), (*pool).into());
            }
        })
    };
    for (picture, limit, want) in [
        (
            "n1R old+, n2R old+, n3R old+, n4R old+, n5R old+",
            "1",
            "del n1 n3 n5",
        ),
        (
            "n1R old+, n2R old+, n3R old+, n4R old+, n5R old+",
            "50%",
            "del n1 n3 n5",
        ),
        (
            "n1R old+, n2R old+, n3R old+, n4R old+, n5R old+",
            "51%",
            "del n1 n2 n3 n4 n5",
        ),
        (
            "n1R new-, n2R old+, n3R old+, n4R old+, n5R old+",
            "1",
            "del n3 n5",
        ),
        // Serves nobody: it goes whatever the limit, and counts.
        (
            "n1R old-, n2R old+, n3R old+, n4R old+, n5R old+",
            "1",
            "del n1 n3 n5",
        ),
        (
            "n1N old-, n2R old+, n3R old+, n4R old+, n5R old+",
            "1",
            "del n2 n3 n5",
        ),
    ] {
        let pools = [("n1", "a"), ("n2", "a"), ("n3", "b"), ("n4", "b")];
        let cluster = pooled(picture, &pools).annotation(keys::MAX_UNAVAILABLE_PER_POOL, limit);
        assert_eq!(cluster.advanced_does(), want, "{picture}: {limit}");
    }
    let cluster = pooled("n1R old+, n2R old+", &[("n1", "a"), ("n2", "a")])
        .annotation(keys::MAX_UNAVAILABLE_PER_POOL, "1");
    let plan = cluster.plan_advanced();
    let (pool, used, limit) = (Arc::from("a"), 1, 1);
    assert_eq!(
        cluster.reason(&plan, "n2"),
        Some(Reason::PoolMaxUnavailable { pool, used, limit })
    );

    let mut fleet = Cluster::advanced_on(500, "old+")
        .max_unavailable("10%")
        .annotation(keys::MAX_UNAVAILABLE_PER_POOL, "5")
        .annotation(keys::MIN_NODE_READY_SECONDS, "60");
    let names: Vec<String> = (1..=500).map(|n| format!("n{n:03}")).collect();
    for (n, name) in names.iter().enumerate() {
        let pool = format!("pool{}", n % 4);
        fleet
            .node_mut(name)
            .labels
            .insert(keys::OPENYURT_NODEPOOL.into(), pool);
        fleet.node_mut(name).ready = ready(true, i64::try_from(n % 10).unwrap());
    }
    let (mut most, mut n_deleted) = (0, 0);
    for second in 0..400 {
        fleet.now = at(10 + second);
        let plan = fleet.plan_advanced();
        n_deleted += plan.actions.len();
        assert!(second >= 50 || plan.actions.is_empty(), "nodes settle first");
        fleet.apply(&plan);
        let down = |pod: &&PodView| pod.deleted_at.is_some() || !pod.is_ready();
        most = most.max(fleet.pods.iter().filter(down).count());
        fleet.stores_catch_up();
        // A pod takes 6 s from its end to its successor's beginning.
        if second % 6 == 5 {
            fleet.kubelets();
            let plan = fleet.plan_native();
            fleet.apply(&plan);
            fleet.stores_catch_up();
            fleet.kubelets();
        }
    }
    assert_eq!((n_deleted, most), (500, 20));
}

/// A rollout whose new pods never become ready, and what is left of the cluster.
fn stuck(on_failure: Option<&str>) -> Cluster {
    let cluster = Cluster::advanced_on(3, "old+").annotation(keys::PROGRESS_DEADLINE_SECONDS, "60");
    match on_failure {
        Some(value) => cluster.annotation(keys::ON_FAILURE, value),
        None => cluster,
    }
}

/// Plays both controllers while pods of `bad` never become ready. Returns what happened by second.
fn play(cluster: &mut Cluster, bad: &str, seconds: i64) -> Vec<String> {
    let mut lines = Vec::new();
    for _ in 0..seconds {
        let plan = cluster.plan_advanced();
        for action in &plan.actions {
            match action {
                Action::SetCondition { condition, .. } => lines.push(condition.reason.to_string()),
                Action::RollBack { hash: to, .. } => {
                    let version = ["v1", "v2", "v3"].into_iter().find(|v| hash(v) == *to);
                    lines.push(format!("back to {}", version.unwrap()));
                }
                _ => {}
            }
        }
        let words = cluster.words(&plan);
        if words != "nothing" {
            lines.push(words);
        }
        cluster.apply(&plan);
        let native = cluster.plan_native();
        cluster.apply(&native);
        cluster.stores_catch_up();
        for pod in &mut cluster.pods {
            if pod.revision_hash() == Some(&hash(bad)) {
                pod.trouble = Some("ImagePullBackOff".into());
            }
        }
        cluster.kubelets();
        cluster.pass(1);
    }
    lines
}

/// `progress-deadline-seconds` with `Pause`, the default: it stops, and stays so until somebody resumes it.
#[test]
fn a_rollout_that_does_not_move_is_stopped() {
    let mut cluster = stuck(None);
    assert_eq!(
        play(&mut cluster, "v2", 100),
        ["RolloutProgressing", "del n1", "ProgressDeadlineExceeded"]
    );
    let plan = cluster.plan_advanced();
    assert_eq!(
        words(&cluster, &plan),
        "n1: NotReady, n2: DeadlineExceeded, n3: DeadlineExceeded"
    );
    assert_eq!(events(&plan), [reasons::PROGRESS_DEADLINE_EXCEEDED]);
    assert!(plan.events[0].message.contains("pitstop resume ds/agent"));
    // The pod recovers: it stays stopped all the same.
    cluster.pod_on("n1").trouble = None;
    assert_eq!(play(&mut cluster, "none", 10), [""; 0]);
    let resumed_at = cluster.now.to_string();
    let mut cluster = cluster.annotation(keys::RESUMED_AT, &resumed_at);
    assert_eq!(
        play(&mut cluster, "none", 20),
        ["RolloutProgressing", "del n2", "del n3", "RolloutComplete"]
    );
}

/// It does not matter when a controller starts: all that it has to know is in the objects.
#[test]
fn another_template_goes_on_where_one_was_stopped() {
    let mut cluster = stuck(None);
    play(&mut cluster, "v2", 100);
    let mut cluster = cluster.now_at_version("v3");
    assert_eq!(
        play(&mut cluster, "v2", 20),
        [
            "RolloutProgressing",
            "del n1",
            "del n2",
            "del n3",
            "RolloutComplete"
        ]
    );
}

/// `Report`: it is told, and goes on.
#[test]
fn a_rollout_that_does_not_move_is_reported() {
    let mut cluster = stuck(Some("Report"));
    assert_eq!(
        play(&mut cluster, "v2", 100),
        ["RolloutProgressing", "del n1", "ProgressDeadlineExceeded"]
    );
    cluster.pod_on("n1").trouble = None;
    assert_eq!(
        play(&mut cluster, "none", 20),
        ["RolloutProgressing", "del n2", "del n3", "RolloutComplete"]
    );
}

/// `Rollback`: a bad image goes without a hand, and good pods are not touched by it.
#[test]
fn a_bad_image_is_rolled_back() {
    let mut cluster = stuck(Some("Rollback"));
    let good: Vec<_> = cluster.pods.iter().skip(1).map(|pod| pod.uid).collect();
    assert_eq!(
        play(&mut cluster, "v2", 100),
        [
            "RolloutProgressing",
            "del n1",
            "ProgressDeadlineExceeded",
            "back to v1",
            "RolloutProgressing",
            "del n1",
            "RolloutComplete",
        ]
    );
    let left: Vec<_> = cluster.pods.iter().map(|pod| pod.uid).collect();
    assert!(good.iter().all(|uid| left.contains(uid)), "S2");
}

/// Does the template have the image of this version?
fn is_at(cluster: &Cluster, version: &str) -> bool {
    cluster.daemonset.template["spec"] == crate::cluster::template(version)["spec"]
}

/// A node that can start no image makes every revision fail. It goes back once, stays there until somebody resumes it or
/// writes another template, and says so.
#[test]
fn a_rollout_goes_back_once() {
    let mut cluster = stuck(Some("Rollback"));
    let rollbacks = |cluster: &mut Cluster, seconds: i64| {
        let mut lines = Vec::new();
        for _ in 0..seconds {
            lines.extend(play(cluster, "none", 1));
            // The node starts nothing.
            let is_new = |pod: &&mut PodView| pod.created_at > at(-500);
            for pod in cluster.pods.iter_mut().filter(is_new) {
                let is_on_n1 = pod.node.is_some_and(|slot| slot.index() == 0);
                if is_on_n1 {
                    pod.ready = ready(false, 0);
                    pod.trouble = Some("ImagePullBackOff".into());
                }
            }
        }
        lines.retain(|line| line.starts_with("back"));
        lines
    };
    assert_eq!(rollbacks(&mut cluster, 1000), ["back to v1"]);
    assert!(is_at(&cluster, "v1"));
    let condition = &cluster.daemonset.conditions[reasons::PROGRESSING];
    assert_eq!(&*condition.reason, reasons::PROGRESS_DEADLINE_EXCEEDED);
    assert_eq!(condition.revision(), &*hash("v1"));
    let from = format!("back from revision: {}", hash("v2"));
    assert!(condition.message.ends_with(&from), "{}", condition.message);
    let plan = cluster.plan_advanced();
    assert_eq!(events(&plan), [reasons::PROGRESS_DEADLINE_EXCEEDED]);
    let message = &plan.events[0].message;
    assert!(
        message.contains(&*hash("v2")) && message.contains("pitstop resume ds/agent"),
        "{message}"
    );

    // Resumed, nothing is remembered: nobody serves at the other revision, so it stays where it is.
    let resumed_at = cluster.now.to_string();
    let mut resumed = cluster.clone().annotation(keys::RESUMED_AT, &resumed_at);
    assert_eq!(rollbacks(&mut resumed, 200), [""; 0]);
    let condition = &resumed.daemonset.conditions[reasons::PROGRESSING];
    assert!(!condition.message.contains("back from"), "{}", condition.message);

    // Another template may fail, too, and goes back once.
    let mut other = cluster.now_at_version("v3");
    assert_eq!(rollbacks(&mut other, 1000), ["back to v1"]);
}

/// The condition says where the template goes before it does. What was written before a controller was stopped counts.
#[test]
fn what_was_left_is_known_to_whoever_decides_next() {
    let failed = |message: String| PodCondition {
        status: ConditionStatus::False,
        reason: reasons::PROGRESS_DEADLINE_EXCEEDED.into(),
        message: message.into(),
        since: Some(at(-30)),
    };
    let (v1, v2, v3) = (hash("v1"), hash("v2"), hash("v3"));
    for (case, message, resumed_at, is_remembered) in [
        (
            "gone back",
            format!("controllerrevision: {v1}; x; back to revision: {v2}"),
            None,
            true,
        ),
        (
            "to another",
            format!("controllerrevision: {v1}; x; back to revision: {v3}"),
            None,
            false,
        ),
        ("failed only", format!("controllerrevision: {v1}; x"), None, false),
        (
            "long ago",
            format!("controllerrevision: {v2}; x; back from revision: {v1}"),
            None,
            true,
        ),
        (
            "of another",
            format!("controllerrevision: {v3}; x; back from revision: {v1}"),
            None,
            false,
        ),
        (
            "resumed since",
            format!("controllerrevision: {v2}; x; back from revision: {v1}"),
            Some("2026-01-01T00:00:00Z"),
            false,
        ),
    ] {
        let mut cluster = Cluster::advanced("n1R new-, n2R old+")
            .annotation(keys::PROGRESS_DEADLINE_SECONDS, "60")
            .annotation(keys::ON_FAILURE, "Rollback")
            .with(|c| {
                let conditions = &mut c.daemonset.conditions;
                conditions.insert(reasons::PROGRESSING.to_owned(), failed(message));
            });
        if let Some(resumed_at) = resumed_at {
            cluster = cluster.annotation(keys::RESUMED_AT, resumed_at);
        }
        for _ in 0..5 {
            cluster.apply(&cluster.plan_advanced());
            cluster.pass(61);
        }
        assert_eq!(is_at(&cluster, "v1"), !is_remembered, "{case}");
    }
}

/// The same under a partition: the bad pods are the only outdated ones then, and none of them is kept.
#[test]
fn a_bad_image_is_rolled_back_under_a_partition() {
    let mut cluster = Cluster::advanced_on(4, "old+")
        .annotation(keys::PROGRESS_DEADLINE_SECONDS, "60")
        .annotation(keys::ON_FAILURE, "Rollback")
        .annotation(keys::PARTITION, "3");
    let good: Vec<_> = cluster.pods.iter().skip(1).map(|pod| pod.uid).collect();
    let lines = play(&mut cluster, "v2", 200);
    assert_eq!(
        lines.iter().filter(|line| *line == "del n1").count(),
        2,
        "{lines:?}"
    );
    assert_eq!(lines.last().unwrap(), reasons::ROLLOUT_COMPLETE, "{lines:?}");
    assert!(cluster.pods.iter().all(PodView::is_ready));
    let left: Vec<_> = cluster.pods.iter().map(|pod| pod.uid).collect();
    assert!(good.iter().all(|uid| left.contains(uid)), "S2");
}

/// The revision before the newest may be as bad: it goes back to one that pods serve at, or nowhere.
#[test]
fn a_rollback_goes_where_pods_serve() {
    let mut cluster = stuck(Some("Rollback"));
    let mut lines = play(&mut cluster, "v2", 5);
    cluster = cluster.now_at_version("v3");
    for second in 0..200 {
        // v2 and v3 are both bad.
        let bad = if second % 2 == 0 { "v2" } else { "v3" };
        lines.extend(play(&mut cluster, bad, 1));
        for pod in &mut cluster.pods {
            let is_bad = [hash("v2"), hash("v3")]
                .iter()
                .any(|h| pod.revision_hash() == Some(&**h));
            if is_bad {
                pod.ready = ready(false, 0);
                pod.trouble = Some("ImagePullBackOff".into());
            }
        }
    }
    let back: Vec<_> = lines.iter().filter(|line| line.starts_with("back")).collect();
    assert_eq!(back, ["back to v1"], "{lines:?}");

    let nowhere = Cluster::advanced("n1R old-, n2R new-")
        .annotation(keys::PROGRESS_DEADLINE_SECONDS, "60")
        .annotation(keys::ON_FAILURE, "Rollback")
        .with(|c| c.pods[1].created_at = at(-50));
    let mut nowhere = nowhere.annotation(keys::CANARY_NODES, "no=node");
    nowhere.apply(&nowhere.plan_advanced());
    nowhere.pass(61);
    let plan = nowhere.plan_advanced();
    assert_eq!(
        events(&plan),
        [reasons::PROGRESS_DEADLINE_EXCEEDED],
        "it stays stopped"
    );
}

/// A rollout that nothing is expected of does not fail. W1: nodes that are away are told apart.
#[test]
fn what_waits_for_others_does_not_fail() {
    for (picture, key, value, want) in [
        (
            "n1R new+, n2N old-",
            keys::PAUSED,
            "false",
            reasons::NODES_EXCLUDED,
        ),
        (
            "n1R new+, n2R old+",
            keys::PARTITION,
            "1",
            reasons::PARTITION_AVAILABLE,
        ),
        (
            "n1R new+, n2R old+",
            keys::CANARY_NODES,
            "a=b",
            reasons::CANARY_AVAILABLE,
        ),
        (
            "n1R new+, n2R new+",
            keys::PARTITION,
            "0",
            reasons::ROLLOUT_COMPLETE,
        ),
    ] {
        let mut cluster = Cluster::advanced(picture)
            .annotation(keys::PROGRESS_DEADLINE_SECONDS, "60")
            .annotation(key, value);
        for _ in 0..3 {
            cluster.apply(&cluster.plan_advanced());
            assert_eq!(
                progressing(&cluster),
                (ConditionStatus::True, want.into()),
                "{picture}"
            );
            cluster.pass(1000);
        }
        assert!(
            cluster.plan_advanced().actions.is_empty(),
            "written once: {picture}"
        );
    }
    let mut paused = stuck(None).annotation(keys::PAUSED, "true");
    for _ in 0..3 {
        paused.apply(&paused.plan_advanced());
        assert_eq!(progressing(&paused), (ConditionStatus::Unknown, "Paused".into()));
        paused.pass(1000);
    }
    let mut resumed = paused.annotation(keys::PAUSED, "false");
    resumed.apply(&resumed.plan_advanced());
    assert_eq!(
        progressing(&resumed),
        (ConditionStatus::True, reasons::ROLLOUT_PROGRESSING.into()),
        "the time in which it was paused does not count"
    );
}

/// W1: 161 of 164 nodes are updated one at a time; the message says how many were left out.
#[test]
fn nodes_that_are_away_are_counted_out() {
    let mut cluster = Cluster::advanced_on(164, "old+").annotation(keys::PROGRESS_DEADLINE_SECONDS, "600");
    for node in ["n001", "n080", "n164"] {
        cluster.set_ready(node, false);
        cluster.pod_on(node).ready = ready(false, 0);
    }
    let lines = cluster.advanced_story();
    assert_eq!(lines.iter().filter(|line| line.starts_with("del")).count(), 161);
    let condition = &cluster.daemonset.conditions[reasons::PROGRESSING];
    assert_eq!(&*condition.reason, reasons::NODES_EXCLUDED);
    assert!(condition.message.ends_with("excluded=3"), "{}", condition.message);
}

/// A pod that goes down once a rollout is done is no failure of it.
#[test]
fn a_rollout_that_is_done_does_not_fail_later() {
    let mut cluster = stuck(Some("Rollback"));
    let lines = play(&mut cluster, "none", 20);
    assert_eq!(lines.last().unwrap(), reasons::ROLLOUT_COMPLETE);
    cluster.pod_on("n1").ready = ready(false, 20);
    cluster.pod_on("n1").trouble = Some("CrashLoopBackOff".into());
    assert_eq!(play(&mut cluster, "v2", 200), [""; 0]);
}

/// Without the key nothing is written of DaemonSets; taken away, the condition says so once.
#[test]
fn a_deadline_that_is_taken_away_is_told() {
    let mut plain = Cluster::advanced_on(2, "old+");
    plain.advanced_story();
    assert!(plain.daemonset.conditions.is_empty());
    let mut cluster = stuck(None);
    play(&mut cluster, "v2", 100);
    let mut cluster = cluster.without_annotation(keys::PROGRESS_DEADLINE_SECONDS);
    assert_eq!(play(&mut cluster, "v2", 5), ["NoDeadline"]);
    assert_eq!(progressing(&cluster).0, ConditionStatus::Unknown);
}

/// Every row of `docs/daemonset-keys.md` that says what a combination of keys does.
#[test]
fn the_table_in_the_documentation_is_true() {
    let text = include_str!("../../../../docs/daemonset-keys.md");
    let rows = rows_below(text, "| given | keys | now | why |");
    assert!(rows.len() > 40, "{}", rows.len());
    for row in &rows {
        let &[given, written, now, why] = row.as_slice() else {
            panic!("{row:?}")
        };
        let cluster = documented(given, written);
        let plan = cluster.plan_advanced();
        let does = cluster.words(&plan);
        assert_eq!(does.strip_prefix("del ").unwrap_or(&does), now, "{row:?}");
        assert_eq!(words(&cluster, &plan).replace(':', ""), why, "{row:?}");
    }
    for key in own_keys::ALL {
        let name = key.strip_prefix(keys::OWN_PREFIX).unwrap();
        assert!(
            text.contains(&format!("| `{name}` |")),
            "{name} is not documented"
        );
        assert!(
            rows.iter().any(|row| row[1].contains(name)),
            "{name} is in no row"
        );
    }
}

/// The rows of a table of the documentation, by its heading.
pub(crate) fn rows_below<'a>(text: &'a str, heading: &str) -> Vec<Vec<&'a str>> {
    let (_, table) = text
        .split_once(&format!("{heading}\n|---|---|---|---|\n"))
        .unwrap();
    let rows = table.lines().take_while(|line| line.starts_with('|'));
    rows.map(|line| line.trim_matches('|').split('|').map(str::trim).collect())
        .collect()
}

/// The cluster that a row of the documentation describes.
fn documented(given: &str, written: &str) -> Cluster {
    let mut nodes = Vec::new();
    let mut marked = Vec::new();
    for node in given.split(", ") {
        let (node, pods) = node.split_once(' ').unwrap();
        let (name, state) = node.split_at(node.len() - 1);
        let known = match state {
            "F" => "R",
            "L" => "N",
            state => state,
        };
        nodes.push(format!("{name}{known} {pods}"));
        marked.push((name, state));
    }
    let mut cluster = Cluster::advanced(&nodes.join(", ")).max_unavailable("100%");
    for (name, state) in marked {
        let pool = name.chars().take(1).collect();
        let node = cluster.node_mut(name);
        node.labels.insert(keys::OPENYURT_NODEPOOL.into(), pool);
        match state {
            "F" => node.ready = ready(true, -10),
            "L" => {
                node.ready = ready(false, -40);
                let pod = cluster.pod_on(name);
                pod.created_at = at(-100);
                pod.ready = ready(false, -40);
            }
            _ => {}
        }
    }
    for pair in written.split(", ").filter(|pair| !pair.is_empty()) {
        let (key, value) = pair.split_once(": ").unwrap();
        cluster = match key {
            "max-unavailable" => cluster.max_unavailable(value),
            reasons::PROGRESSING => cluster.with(|c| {
                let condition = PodCondition {
                    status: ConditionStatus::False,
                    reason: reasons::PROGRESS_DEADLINE_EXCEEDED.into(),
                    message: revision_message(&hash("v2")).into(),
                    since: Some(at(-30)),
                };
                c.daemonset.conditions.insert(key.to_owned(), condition);
            }),
            _ => cluster.annotation(&format!("{}{key}", keys::OWN_PREFIX), value),
        };
    }
    cluster
}

/// W14: 250 nodes, 27 s each. How many go at once in each round, and how long all take.
#[test]
fn an_adaptive_pace_doubles_until_the_budget_is_used() {
    const SECONDS_PER_ROUND: usize = 27;
    for (pace, seconds, rounds) in [
        (None, 270, vec![25; 10]),
        (
            Some("adaptive"),
            378,
            [vec![1, 2, 4, 8, 16], vec![25; 8], vec![19]].concat(),
        ),
    ] {
        let mut fleet = Cluster::advanced_on(250, "old+").max_unavailable("10%");
        if let Some(pace) = pace {
            fleet = fleet.annotation(keys::PACE, pace);
        }
        let mut seen = Vec::new();
        for round in 0.. {
            fleet.now = at(10 + 27 * round);
            let plan = fleet.plan_advanced();
            if plan.actions.is_empty() {
                break;
            }
            seen.push(plan.actions.len());
            fleet.apply(&plan);
            fleet.stores_catch_up();
            // While they are down nobody else goes.
            assert_eq!(fleet.advanced_does(), "nothing", "{pace:?}: {seen:?}");
            fleet.kubelets();
            let plan = fleet.plan_native();
            fleet.apply(&plan);
            fleet.stores_catch_up();
            fleet.kubelets();
        }
        assert_eq!(seen, rounds, "{pace:?}");
        assert_eq!(seen.len() * SECONDS_PER_ROUND, seconds, "{pace:?}");
    }
}

/// A site comes back after a power cut in the middle of a rollout: its pods are being started, all at once.
#[test]
fn nodes_that_restarted_together_are_not_all_updated_at_once() {
    let restarted = |picture: &str, seconds: i64| {
        Cluster::advanced(picture).max_unavailable("1").with(|c| {
            for name in ["n1", "n2", "n3"] {
                c.node_mut(name).ready = ready(true, -seconds);
                c.pod_on(name).are_containers_ready = c.pod_on(name).is_ready();
            }
        })
    };
    for (picture, seconds, want) in [
        ("n1R old-, n2R old-, n3R old-", 10, "del n1"),
        ("n1R old-, n2R old-, n3R old-", 299, "del n1"),
        // What is not ready by then serves nobody.
        ("n1R old-, n2R old-, n3R old-", 300, "del n1 n2 n3"),
        ("n1R new-, n2R old-, n3R old-", 10, "nothing"),
        ("n1R new+, n2R old-, n3R old+", 10, "del n2"),
    ] {
        let cluster = restarted(picture, seconds);
        assert_eq!(cluster.advanced_does(), want, "{picture} {seconds}");
    }
    let cluster = restarted("n1R new-, n2R old-, n3R new+", 10);
    let plan = cluster.plan_advanced();
    assert_eq!(
        plan.requeue_after,
        Some(Duration::from_millis(290_001)),
        "looks again by itself"
    );
}
