//! Worked examples of DaemonSets of `apps.kruise.io`: daemonset.md, D1-D20, and what D1 and D2 say beside them.

use std::sync::Arc;

use pitstop_api::selector::LabelSelector;
use pitstop_api::view::{AdvancedDaemonSet, Lifecycle, LifecycleHook, RollingType, StrategyType};
use pitstop_api::{keys, reasons};
use pitstop_engine::daemonset::{native, pod_for_node};
use pitstop_engine::plan::{Action, Plan, Reason};
use pitstop_engine::predownload::trigger::Step;
use serde_json::{Value, json};

use crate::cluster::{Cluster, OURS, at, events, hash, template};
use crate::gated::{gated, restarts};
use crate::own_keys::{rows_below, words};

/// A DaemonSet with Standard rolling updates, maxUnavailable 1.
pub(crate) fn standard(picture: &str) -> Cluster {
    Cluster::native(picture).with(|cluster| cluster.daemonset.advanced = Some(Arc::default()))
}

pub(crate) fn change(cluster: Cluster, change: impl FnOnce(&mut AdvancedDaemonSet)) -> Cluster {
    cluster.with(|cluster| {
        let advanced = cluster.daemonset.advanced.as_mut().unwrap();
        change(Arc::make_mut(advanced));
    })
}

fn partition(cluster: Cluster, partition: impl Into<Value>) -> Cluster {
    change(cluster, |advanced| advanced.partition = Some(partition.into()))
}

/// Only pods on these nodes are updated.
fn canary(cluster: Cluster, nodes: &[&str]) -> Cluster {
    let cluster = cluster.with(|cluster| {
        for node in nodes {
            cluster
                .node_mut(node)
                .labels
                .insert("tier".into(), "canary".into());
        }
    });
    change(cluster, |advanced| {
        let match_labels = [("tier".to_owned(), "canary".to_owned())].into();
        advanced.node_selector = Some(LabelSelector {
            match_labels,
            ..LabelSelector::default()
        });
    })
}

/// `n` nodes `node-0`, `node-1`, ...: the first `n_new` have new pods, the others none.
fn growing(n: usize, n_new: usize) -> Cluster {
    let names: Vec<String> = (0..n).map(|i| format!("node-{i}")).collect();
    growing_on(&names, n_new)
}

/// These nodes: the first `n_new` have new pods, the others none.
fn growing_on(names: &[String], n_new: usize) -> Cluster {
    let mut cluster = standard("").with(|cluster| {
        for name in names {
            cluster.add_node(name, true);
        }
        for name in &names[..n_new] {
            cluster.add_pod(name, "new+");
        }
    });
    cluster.daemonset.status.desired_number_scheduled = u32::try_from(names.len()).unwrap();
    change(cluster, |advanced| advanced.scales_by_partition = true)
}

/// D2, `PreDownloadImageForDaemonSetUpdate`; inplace.md 11.1: what is done about images that are pulled ahead.
#[test]
fn images_are_pulled_ahead_where_a_rollout_takes_several_steps() {
    let said = |cluster: &Cluster| {
        let pods = cluster.pods.clone();
        match native::pre_download(&cluster.snapshot_of(&pods), []) {
            Step::Nothing => "nothing".to_owned(),
            Step::DeleteJobs(_) => "delete".to_owned(),
            Step::Ignore(_) => "ignore".to_owned(),
            Step::Create(revision, jobs) => {
                assert_eq!(*revision.name, format!("agent-{}", hash("v2")));
                let jobs = jobs.iter().map(|job| {
                    assert_eq!(*job.name, format!("{}-agent", revision.name));
                    let kind = &job.manifest["metadata"]["ownerReferences"][0]["kind"];
                    assert_eq!(kind, "DaemonSet");
                    format!("{} on {}", job.image, job.manifest["spec"]["parallelism"])
                });
                jobs.collect::<Vec<_>>().join(", ")
            }
        }
    };
    let three = || {
        standard("n1R old+, n2R old+, n3R old+").with(|cluster| {
            cluster.daemonset.status.desired_number_scheduled = 3;
            cluster.daemonset.strategy.max_unavailable = Some(json!(1));
        })
    };
    let annotated = |key: &str, value: &str| {
        three().with(|cluster| {
            cluster
                .daemonset
                .annotations
                .insert(key.to_owned(), value.to_owned());
        })
    };
    let settled = three().with(|cluster| {
        let status = &mut cluster.daemonset.status;
        status.updated_number_scheduled = 3;
        status.update_revision = Some(hash("v2"));
        status.observed_generation = cluster.daemonset.generation;
    });
    for (case, cluster, want) in [
        ("a new image", three(), "agent:v2 on 1"),
        (
            "two at once",
            annotated(keys::PRE_DOWNLOAD_PARALLELISM, "50%"),
            "agent:v2 on 2",
        ),
        (
            "one has to work first",
            annotated(keys::PRE_DOWNLOAD_MIN_UPDATED_READY_PODS, "1"),
            "nothing",
        ),
        (
            "one step takes all",
            three().with(|cluster| cluster.daemonset.strategy.max_unavailable = Some(json!("100%"))),
            "ignore",
        ),
        (
            "a partition makes it several",
            partition(three(), 1)
                .with(|cluster| cluster.daemonset.strategy.max_unavailable = Some(json!("100%"))),
            "agent:v2 on 1",
        ),
        (
            "whoever deletes pods decides when",
            three().with(|cluster| cluster.daemonset.strategy.kind = StrategyType::OnDelete),
            "nothing",
        ),
        (
            "the first revision",
            three().with(|cluster| {
                cluster.revisions.remove(0);
            }),
            "nothing",
        ),
        (
            "not of apps.kruise.io",
            three().with(|cluster| cluster.daemonset.advanced = None),
            "nothing",
        ),
        ("it is over, and no job is left", settled, "nothing"),
    ] {
        assert_eq!(said(&cluster), want, "{case}");
    }
}

fn does(cluster: &Cluster) -> String {
    cluster.native_does()
}

fn story(cluster: &mut Cluster) -> Vec<String> {
    cluster.story(&[native::plan])
}

/// D1-D5: which nodes take part. With a budget for all, these are the ones whose old pods go.
#[test]
fn partition_and_selector_say_which_nodes_take_part() {
    for (id, picture, keeps, nodes, want) in [
        ("D1", "n1R old+, n2R new+, n3R old+", 0, None, "del n1 n3"),
        ("D2", "n1R new+, n2R old+, n3R old+", 1, None, "del n3"),
        (
            "D3",
            "n1R old+, n2R new+, n3R old+, n4R old+",
            1,
            Some(vec!["n3"]),
            "del n3",
        ),
        (
            "D4",
            "n1R old+, n2R new+, n3R old+, n4R old+",
            2,
            Some(vec!["n1", "n3", "n4"]),
            "del n4",
        ),
        (
            "D5",
            "n1R old+, n2R new+, n3R T, n4R old+",
            0,
            Some(vec!["n1", "n3"]),
            "del n1",
        ),
    ] {
        let mut cluster = partition(standard(picture).max_unavailable("100%"), keeps);
        if let Some(nodes) = nodes {
            cluster = canary(cluster, &nodes);
        }
        assert_eq!(does(&cluster), want, "{id}: {picture}");
    }
}

/// D2: among equals the greater name goes first, so that a partition that shrinks goes on where it was.
#[test]
fn who_is_next_does_not_depend_on_the_budget() {
    for (keeps, want) in [(2, "del n3"), (1, "del n2 n3"), (0, "del n1 n2 n3")] {
        let cluster = partition(standard("n1R old+, n2R old+, n3R old+").max_unavailable(3), keeps);
        assert_eq!(does(&cluster), want, "partition {keeps}");
    }
    assert_eq!(does(&standard("n1R old+, n2R old+, n3R old+")), "del n3");
}

/// D6: a percentage is of the nodes that should run a pod, rounded down.
#[test]
fn a_partition_keeps_its_share() {
    let five = "n1R old+, n2R old+, n3R old+, n4R old+, n5R old+";
    for (keeps, want) in [
        (json!("50%"), "del n3 n4 n5"),
        (json!("39%"), "del n2 n3 n4 n5"),
        (json!("100%"), "nothing"),
        (json!(7), "nothing"),
        (Value::Null, "del n1 n2 n3 n4 n5"),
    ] {
        let cluster = partition(standard(five).max_unavailable(5), keeps.clone());
        assert_eq!(does(&cluster), want, "partition {keeps}");
    }
    let mut cluster = partition(standard(five), "50%");
    let lines = story(&mut cluster);
    assert_eq!(
        lines,
        [
            "del n5",
            "create n5",
            "del n4",
            "create n4",
            "del n3",
            "create n3"
        ]
    );
    let plan = cluster.plan_native();
    assert_eq!(cluster.reason(&plan, "n1"), Some(Reason::Partition { keeps: 2 }));
}

/// D2: what is updated stays so when the partition grows.
#[test]
fn a_partition_that_grows_takes_nothing_back() {
    let cluster = partition(standard("n1R new+, n2R new+, n3R old+").max_unavailable(3), 3);
    assert_eq!(does(&cluster), "nothing");
}

/// D7-D10, D12: with `partitionedScaling` only so many pods are made as the partition lets be new.
#[test]
fn pods_that_the_partition_would_keep_are_not_made() {
    for (id, n, n_new, keeps, want) in [
        ("D7", 10, 0, 10, "nothing"),
        ("D7", 10, 0, 9, "create node-0"),
        ("D8", 10, 1, 5, "create node-1 node-2 node-3 node-4"),
        ("D9", 12, 5, 5, "create node-10 node-11"),
        ("D12", 10, 5, 100, "nothing"),
    ] {
        let cluster = partition(growing(n, n_new), keeps);
        assert_eq!(does(&cluster), want, "{id}");
    }
    // D10: four of nine nodes have their pod, the fifth node is called node-10.
    let d10 = [1, 2, 3, 4, 5, 6, 7, 9, 10].map(|i| format!("node-{i}"));
    for (keeps, want) in [(5, "nothing"), (0, "create node-10 node-5 node-6 node-7 node-9")] {
        assert_eq!(does(&partition(growing_on(&d10, 4), keeps)), want, "D10");
    }
    let cluster = partition(growing(10, 0), 10);
    let plan = cluster.plan_native();
    assert_eq!(
        cluster.reason(&plan, "node-3"),
        Some(Reason::Partition { keeps: 10 })
    );
}

/// D11: without it every node gets a pod, of the newest revision.
#[test]
fn a_pod_that_somebody_deleted_comes_back_new() {
    let cluster = partition(standard("n1R ., n2R old+, n3R old+"), 3);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "create n1");
    let made = plan.actions.iter().find_map(|action| match action {
        Action::CreatePod { hash, .. } => Some(hash),
        _ => None,
    });
    assert_eq!(made, Some(&hash("v2")));
}

/// D13
#[test]
fn a_pause_holds_updates_and_nothing_else() {
    let paused = |picture| change(standard(picture), |advanced| advanced.is_paused = true);
    let cluster = paused("n1R ., n2R old+");
    assert_eq!(does(&cluster), "create n1");
    let cluster = paused("n1R new+, n2R old+");
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "nothing");
    assert_eq!(cluster.reason(&plan, "n2"), Some(Reason::Paused));
}

/// Holds pods that have the label `hold: yes` before they are deleted.
fn hooked(cluster: Cluster) -> Cluster {
    let mut cluster = change(cluster, |advanced| {
        let hook = LifecycleHook {
            labels: [("hold".to_owned(), "yes".to_owned())].into(),
            ..LifecycleHook::default()
        };
        advanced.lifecycle = Lifecycle {
            pre_delete: Some(hook),
            ..Lifecycle::default()
        };
    });
    for pod in &mut cluster.pods {
        pod.labels.insert("hold".into(), "yes".into());
    }
    cluster
}

fn release(cluster: &mut Cluster, node: &str) {
    cluster.pod_on(node).labels.remove("hold");
}

/// D14: a pod that a hook holds is prepared for its deletion, counts as absent, and goes when it is let go.
#[test]
fn a_hook_holds_a_pod_from_its_deletion() {
    let mut cluster = hooked(standard("n1R *old+, n2R *old+, n3R *old+"));
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "patch n3");
    cluster.apply(&plan);
    let state = |cluster: &Cluster, i: usize| cluster.pods[i].labels.get(keys::LIFECYCLE_STATE).cloned();
    assert_eq!(state(&cluster, 2).as_deref(), Some("PreparingDelete"));
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "nothing", "one of one is out");
    let state = "PreparingDelete";
    assert_eq!(cluster.reason(&plan, "n3"), Some(Reason::Hook { state }));
    let limit = Reason::MaxUnavailable { used: 1, limit: 1 };
    assert_eq!(cluster.reason(&plan, "n2"), Some(limit));
    release(&mut cluster, "n3");
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "del n3");
    cluster.apply(&plan);
    cluster.kubelets();
    cluster.stores_catch_up();
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "create n3");
    cluster.apply(&plan);
    cluster.kubelets();
    cluster.stores_catch_up();
    assert_eq!(does(&cluster), "patch n2");
}

/// A10, D2: an old pod that a hook holds beside its successor is a surge until it is let go.
#[test]
fn a_pod_that_is_held_beside_a_new_one_counts_as_surged() {
    for (max_surge, then) in [(1, "nothing"), (2, "create n2")] {
        let picture = "n1R *old+, n2R *old+, n3R *old+ new+";
        let mut cluster = hooked(standard(picture).max_surge(max_surge));
        let plan = cluster.plan_native();
        assert_eq!(cluster.words(&plan), "patch n3");
        cluster.apply(&plan);
        let plan = cluster.plan_native();
        assert_eq!(cluster.words(&plan), then);
        let limit = Reason::MaxSurge {
            used: max_surge,
            limit: max_surge,
        };
        assert_eq!(cluster.reason(&plan, "n1"), Some(limit));
        release(&mut cluster, "n3");
        let plan = cluster.plan_native();
        assert_eq!(cluster.words(&plan), "del n3");
    }
}

/// D2: a pod that waits for its hook holds nobody back for whom there is room.
#[test]
fn a_pod_that_is_held_does_not_stop_the_others() {
    let mut cluster = hooked(standard("n1R *old+, n2R *old+, n3R *old+").max_unavailable(2));
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "patch n2 n3");
    cluster.apply(&plan);
    release(&mut cluster, "n2");
    release(&mut cluster, "n1");
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "del n2");
    cluster.apply(&plan);
    cluster.kubelets();
    cluster.stores_catch_up();
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "create n2");
    cluster.apply(&plan);
    cluster.kubelets();
    cluster.stores_catch_up();
    assert_eq!(does(&cluster), "del n1", "n3 waits, and there is room for one");
}

/// D2: the hook holds whatever the reason of the deletion is.
#[test]
fn a_hook_holds_on_nodes_that_should_not_run_a_pod() {
    let mut cluster = hooked(standard("n1R *new+, n2R *new+"));
    let elsewhere = json!({ "nodeSelector": { "disk": "ssd" } });
    cluster.daemonset.placement = serde_json::from_value(elsewhere).unwrap();
    assert_eq!(does(&cluster), "patch n1 n2");
    release(&mut cluster, "n1");
    assert_eq!(does(&cluster), "patch n2; del n1");
}

fn in_place(picture: &str) -> Cluster {
    change(standard(picture), |advanced| {
        advanced.rolling_type = RollingType::InPlaceIfPossible;
    })
}

/// D14, D15: a hook before the deletion holds nobody who is not deleted.
#[test]
fn a_pod_that_stays_is_not_asked_before_its_deletion() {
    let mut cluster = hooked(in_place("n1R *old+, n2R *old+"));
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "patch n2");
    cluster.apply(&plan);
    let label = cluster.pod_on("n2").labels.get(keys::LIFECYCLE_STATE).cloned();
    assert_ne!(label.as_deref(), Some("PreparingDelete"));
    let lines = story(&mut cluster);
    assert!(!lines.iter().any(|line| line.contains("del")), "{lines:?}");
}

/// The new revision changes the command, too, which no live pod can take.
fn with_other_command(cluster: Cluster) -> Cluster {
    cluster.with(|cluster| {
        let mut changed = template("v2");
        changed["spec"]["containers"][0]["command"] = json!(["/agent", "--new"]);
        cluster.daemonset.template = Arc::new(changed.clone());
        let newest = cluster.revisions.iter_mut().max_by_key(|r| r.revision).unwrap();
        newest.data = Arc::new(pitstop_engine::revision::data_of(&changed));
    })
}

/// D15: one pod at a time stays where it is, and its container is started again once.
#[test]
fn pods_stay_where_the_change_allows_it() {
    let mut cluster = in_place("n1R *old+, n2R *old+, n3R *old+");
    let uids: Vec<_> = cluster.pods.iter().map(|pod| pod.uid).collect();
    let plan = cluster.plan_native();
    let begins = Some(Reason::InPlace {
        pending: "it begins now".to_owned(),
    });
    assert_eq!(cluster.reason(&plan, "n3"), begins);
    let lines = story(&mut cluster);
    let patched: Vec<_> = lines.iter().filter(|line| line.contains("patch")).collect();
    assert_eq!(patched, ["patch n3", "patch n2", "patch n1"], "{lines:?}");
    assert!(!lines.iter().any(|line| line.contains("del")), "{lines:?}");
    let after: Vec<_> = cluster.pods.iter().map(|pod| pod.uid).collect();
    assert_eq!(after, uids);
    for pod in &cluster.pods {
        assert_eq!((restarts(pod), pod.revision_hash()), (1, Some(&*hash("v2"))));
    }
}

/// D15: the first pod stays, too, whose update is decided together with the revision that it is brought to.
#[test]
fn a_revision_that_is_not_written_yet_can_be_compared() {
    let mut cluster = in_place("n1R *old+, n2R *old+");
    cluster.revisions.retain(|revision| revision.revision == 1);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "patch n2");
    let mut actions = plan.actions.iter();
    assert!(actions.any(|action| matches!(action, Action::CreateRevision(_))));
}

/// D16, D17: others are replaced, and an event says why.
#[test]
fn pods_that_cannot_stay_are_replaced() {
    for (id, cluster) in [
        ("D16", with_other_command(in_place("n1R *old+, n2R *old+"))),
        ("D17", in_place("n1R old+, n2R old+")),
    ] {
        let plan = cluster.plan_native();
        assert_eq!(cluster.words(&plan), "del n2", "{id}");
        let told: Vec<_> = plan.events.iter().map(|event| event.reason).collect();
        assert_eq!(told, [reasons::NOT_IN_PLACE], "{id}");
    }
    let replaced = standard("n1R *old+, n2R *old+");
    assert_eq!(does(&replaced), "del n2", "Standard never updates in place");
}

/// D2: an update in place obeys partition and pause like a replacement.
#[test]
fn what_holds_a_replacement_holds_an_update_in_place() {
    let picture = "n1R *old+, n2R *old+, n3R *old+";
    let cluster = partition(in_place(picture).max_unavailable(3), 2);
    assert_eq!(does(&cluster), "patch n3");
    let cluster = change(in_place(picture), |advanced| advanced.is_paused = true);
    assert_eq!(does(&cluster), "nothing");
}

/// D2: the readiness gate of updates in place is added to pods that are made, under this type alone; the one by which a hook
/// holds a pod out of service always. They are no part of the revision.
#[test]
fn pods_that_may_stay_get_the_gate() {
    let gates = |cluster: &Cluster| {
        let pod = pod_for_node(&cluster.daemonset, "n1", "h");
        pod["spec"]["readinessGates"].clone()
    };
    let (gate, held) = (
        json!({ "conditionType": reasons::INPLACE_UPDATE_READY }),
        json!({ "conditionType": reasons::KRUISE_POD_READY }),
    );
    assert_eq!(gates(&in_place("n1R .")), json!([gate, held]));
    assert_eq!(gates(&standard("n1R .")), json!([held]));
    assert_eq!(gates(&in_place("n1R .").on_delete()), json!([held]));
    assert_eq!(gates(&Cluster::native("n1R .")), Value::Null);
    let mut own = in_place("n1R .");
    let mut with_gates = template("v2");
    with_gates["spec"]["readinessGates"] = json!([{ "conditionType": "mine" }, gate]);
    own.daemonset.template = Arc::new(with_gates);
    let all = json!([{ "conditionType": "mine" }, gate, held]);
    assert_eq!(gates(&own), all, "once is enough");
}

/// D1: its pods name it as their owner.
#[test]
fn pods_belong_to_the_kind_of_their_own_group() {
    let owner = |cluster: &Cluster| {
        let pod = pod_for_node(&cluster.daemonset, "n1", "h");
        let owner = pod["metadata"]["ownerReferences"][0].clone();
        (
            owner["apiVersion"].clone(),
            owner["kind"].clone(),
            owner["uid"].clone(),
        )
    };
    let uid = json!(OURS.to_string());
    let kind = json!("DaemonSet");
    assert_eq!(
        owner(&standard("n1R .")),
        (json!("apps.kruise.io/v1beta1"), kind.clone(), uid.clone())
    );
    assert_eq!(owner(&Cluster::native("n1R .")), (json!("apps/v1"), kind, uid));
}

/// D1, D20, Better than upstream 17: so many pods in one pass, a percentage of at least one.
#[test]
fn a_burst_bounds_one_pass() {
    let counts = |plan: &Plan| {
        let made = plan.actions.iter();
        made.filter(|action| matches!(action, Action::CreatePod { .. }))
            .count()
    };
    for (burst, want) in [
        (Value::Null, 30),
        (json!(7), 7),
        (json!("10%"), 3),
        (json!("1%"), 1),
        (json!(0), 0),
    ] {
        let cluster = Cluster::native_on(30, ".").with(|c| c.daemonset.advanced = Some(Arc::default()));
        let cluster = change(cluster, |advanced| advanced.burst_replicas = Some(burst.clone()));
        let plan = cluster.plan_native();
        assert_eq!(counts(&plan), want, "burstReplicas {burst}");
    }
    let cluster = change(
        standard("n1R old+, n2R old+, n3R old+").max_unavailable(3),
        |advanced| advanced.burst_replicas = Some(json!(2)),
    );
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "del n2 n3");
    assert_eq!(cluster.reason(&plan, "n1"), Some(Reason::Burst));
}

/// D2: surge under a partition; what the partition keeps gets no second pod.
#[test]
fn a_surge_stays_within_the_partition() {
    let surging = |picture| {
        let cluster = standard(picture).max_unavailable(0).max_surge(1);
        partition(cluster, 1)
    };
    let mut cluster = surging("n1R old+, n2R old+");
    let lines = story(&mut cluster);
    assert_eq!(lines, ["create n2", "del n2"]);
    let plan = cluster.plan_native();
    assert_eq!(cluster.reason(&plan, "n1"), Some(Reason::Partition { keeps: 1 }));
}

/// D1: what is malformed, or not known, touches no pod and says which field it is.
#[test]
fn what_is_not_understood_touches_no_pod() {
    let one = || standard("n1R old+");
    let path = "spec.updateStrategy.rollingUpdate";
    let bad_selector = || LabelSelector {
        match_expressions: vec![serde_json::from_value(json!({ "key": "a", "operator": "Like" })).unwrap()],
        ..LabelSelector::default()
    };
    for (cluster, field) in [
        (partition(one(), "many"), "partition"),
        (
            change(one(), |a| a.node_selector = Some(bad_selector())),
            "selector",
        ),
        (
            change(one(), |a| a.rolling_type = RollingType::Other("Fast".into())),
            "rollingUpdateType",
        ),
    ] {
        let plan = cluster.plan_native();
        assert_eq!(cluster.words(&plan), "nothing", "{field}");
        let field = format!("{path}.{field}").into();
        assert_eq!(cluster.reason(&plan, "n1"), Some(Reason::Invalid { field }));
    }
    let mut unknown = one();
    unknown.daemonset.strategy.kind = StrategyType::Other("Never".into());
    assert_eq!(does(&unknown), "nothing");
    assert_eq!(does(&one().on_delete()), "nothing");
}

/// D1: the status names the revision that pods are brought to; that of a native one does not.
#[test]
fn the_status_names_the_revision() {
    let status = |cluster: &Cluster| cluster.plan_native().status.unwrap().update_revision;
    assert_eq!(status(&standard("n1R new+")), Some(hash("v2")));
    assert_eq!(status(&Cluster::native("n1R new+")), None);
}

/// The annotations of OpenYurt, and our own keys for native DaemonSets, mean nothing here; of ours that is told.
#[test]
fn annotations_of_the_native_kind_mean_nothing() {
    let cluster = standard("n1R old+, n2N old-")
        .annotation(keys::OPENYURT_UPDATE_STRATEGY, "OTA")
        .annotation(keys::PAUSED, "true");
    let plan = pitstop_engine::daemonset::plan(&cluster.snapshot());
    assert_eq!(cluster.words(&plan), "del n2");
    let told: Vec<_> = plan
        .events
        .iter()
        .map(|event| (event.reason, &*event.message))
        .collect();
    let [(reasons::INVALID_ANNOTATION, message)] = told.as_slice() else {
        panic!("{told:?}")
    };
    assert!(
        message.starts_with("pitstop.io/paused: no effect on a DaemonSet of apps.kruise.io"),
        "{message}"
    );
    let cluster = standard("n1R old+").annotation(keys::IGNORE_NOT_READY_NODES, "true");
    assert_eq!(cluster.plan_native().events, []);
}

/// spec/README.md, "Our own keys": what cannot be read is told, and means what no annotation means.
#[test]
fn a_malformed_word_about_nodes_that_are_not_ready_is_told() {
    for (value, want, n_told) in [
        ("true", "del n1", 0),
        (" true ", "del n1", 0),
        ("false", "del n2", 0),
        ("yes", "del n2", 1),
        ("True", "del n2", 1),
        ("", "del n2", 1),
    ] {
        let cluster = standard("n1R old+, n2N old-").annotation(keys::IGNORE_NOT_READY_NODES, value);
        let plan = cluster.plan_native();
        assert_eq!(cluster.words(&plan), want, "{value:?}");
        assert_eq!(
            events(&plan),
            vec![reasons::INVALID_ANNOTATION; n_told],
            "{value:?}"
        );
        for event in &plan.events {
            let said = format!("{value:?} is not true or false");
            assert!(
                event.message.contains(keys::IGNORE_NOT_READY_NODES) && event.message.contains(&said),
                "{}",
                event.message
            );
        }
    }
}

/// D2: nodes that cannot answer hold a rollout up, unless somebody asked for them to be left out. Then they cost no budget, and
/// are caught up when they are back.
#[test]
fn nodes_that_are_not_ready_can_be_left_out() {
    let away = "n1R old+, n2N old-, n3N T";
    assert_eq!(
        does(&standard(away)),
        "del n2",
        "as upstream: and n1 waits for it for ever"
    );
    let mut waiting = standard(away);
    waiting.apply(&waiting.plan_native());
    let costs = |cluster: &Cluster| match cluster.reason(&cluster.plan_native(), "n2") {
        Some(Reason::NodeNotReady { costs_budget, .. }) => costs_budget,
        other => panic!("{other:?}"),
    };
    assert!(costs(&waiting), "and who waits is told so");
    let asked = || standard(away).annotation(keys::IGNORE_NOT_READY_NODES, "true");
    let cluster = asked();
    assert_eq!(does(&cluster), "del n1");
    assert!(!costs(&cluster));
    let mut back = asked();
    back.set_ready("n2", true);
    back.pod_on("n2").ready = crate::cluster::ready(true, -1);
    assert_eq!(does(&back), "del n2", "the greater name first");
    let share = partition(asked(), "50%");
    assert_eq!(
        does(&share),
        "del n1",
        "a share of the nodes that should run a pod, of those that take part"
    );
}

/// D2, D15: the gate of a pod is opened whatever holds the rollout back.
#[test]
fn gates_are_looked_after_during_a_pause() {
    let mut cluster = change(in_place("n1R *new+"), |advanced| advanced.is_paused = true);
    let view = Arc::make_mut(cluster.pods[0].in_place.as_mut().unwrap());
    view.update_ready = None;
    cluster.now = at(5);
    assert_eq!(does(&cluster), "refresh n1");
}

/// Gives the pod of a node the gate by which hooks hold it, alone.
fn with_hold_gate(cluster: &mut Cluster, node: &str) {
    let view = Arc::make_mut(cluster.pod_on(node).in_place.as_mut().unwrap());
    Arc::make_mut(&mut view.spec).readiness_gates = vec![reasons::KRUISE_POD_READY.into()];
    view.update_ready = None;
}

/// inplace.md 8: nobody holds a new pod out of service, and once that is said there is nothing to write.
#[test]
fn the_gate_of_hooks_is_opened_whatever_the_type() {
    for mut cluster in [
        standard("n1R *new+"),
        in_place("n1R *new+"),
        standard("n1R *new+").on_delete(),
        change(standard("n1R *new+"), |advanced| advanced.is_paused = true),
    ] {
        with_hold_gate(&mut cluster, "n1");
        let plan = cluster.plan_native();
        assert_eq!(cluster.words(&plan), "refresh n1");
        cluster.apply(&plan);
        let opened = cluster
            .pod_on("n1")
            .in_place
            .as_ref()
            .unwrap()
            .kruise_ready
            .clone();
        assert!(opened.is_some_and(|condition| condition.is_true()));
        assert_eq!(does(&cluster), "nothing");
    }
}

/// D14, inplace.md 7: with `markPodNotReady` a pod that is held from its deletion leaves service.
#[test]
fn a_hook_takes_a_pod_out_of_service() {
    for marks_not_ready in [false, true] {
        let mut cluster = change(hooked(standard("n1R *old+")), |advanced| {
            advanced.lifecycle.pre_delete.as_mut().unwrap().marks_not_ready = marks_not_ready;
        });
        with_hold_gate(&mut cluster, "n1");
        let view = Arc::make_mut(cluster.pod_on("n1").in_place.as_mut().unwrap());
        view.kruise_ready = gated("v1").update_ready;
        cluster.apply(&cluster.plan_native());
        let pod = cluster.pod_on("n1");
        let state = pod.labels.get(keys::LIFECYCLE_STATE).map(String::as_str);
        assert_eq!(state, Some("PreparingDelete"));
        let held = pod.in_place.as_ref().unwrap().kruise_ready.as_ref();
        assert_eq!(held.map(|condition| !condition.is_true()), Some(marks_not_ready));
    }
}

/// Every row of `docs/daemonset-keys.md` that says what a combination of fields does.
#[test]
fn the_table_of_fields_in_the_documentation_is_true() {
    let text = include_str!("../../../../docs/daemonset-keys.md");
    let rows = rows_below(text, "| given | fields | now | why |");
    assert!(rows.len() > 20, "{}", rows.len());
    let mut wrong = Vec::new();
    for row in &rows {
        let &[given, written, now, why] = row.as_slice() else {
            panic!("{row:?}")
        };
        let cluster = documented(given, written);
        let plan = cluster.plan_native();
        let does = cluster.words(&plan);
        let does = does.strip_prefix("del ").unwrap_or(&does);
        let waits = words(&cluster, &plan).replace(':', "");
        if (does, &*waits) != (now, why) {
            wrong.push(format!("| {given} | {written} | {does} | {waits} |"));
        }
    }
    assert!(wrong.is_empty(), "this is what happens:\n{}", wrong.join("\n"));
}

/// The cluster that a row of the documentation describes.
fn documented(given: &str, written: &str) -> Cluster {
    let mut cluster = standard(given).max_unavailable("100%");
    for node in given.split(", ") {
        let name = node.split(['R', 'N']).next().unwrap();
        let labels = &mut cluster.node_mut(name).labels;
        labels.insert("pool".into(), name[..1].into());
    }
    for pair in written.split(", ").filter(|pair| !pair.is_empty()) {
        let (field, value) = pair.split_once(": ").unwrap();
        let number: Value = value.parse::<i64>().map_or_else(|_| value.into(), Value::from);
        cluster = match field {
            "maxUnavailable" => cluster.max_unavailable(number),
            "maxSurge" => cluster.max_surge(number),
            "partition" => partition(cluster, number),
            "type" => cluster.on_delete(),
            "paused" => change(cluster, |advanced| advanced.is_paused = value == "true"),
            "rollingUpdateType" => change(cluster, |advanced| {
                advanced.rolling_type = value.to_owned().into();
            }),
            "selector" => change(cluster, |advanced| {
                let (key, value) = value.split_once('=').unwrap();
                advanced.node_selector = Some(LabelSelector {
                    match_labels: [(key.to_owned(), value.to_owned())].into(),
                    ..LabelSelector::default()
                });
            }),
            "partitionedScaling" => {
                change(cluster, |advanced| advanced.scales_by_partition = value == "true")
            }
            "preDelete" => hooked(cluster),
            _ => cluster.annotation(field, value),
        };
    }
    cluster
}
