//! What a version is, and the history of versions: daemonset.md A11, C3, N28-N32.

use std::sync::Arc;

use pitstop_api::keys;
use pitstop_engine::plan::{Action, Plan};
use pitstop_engine::revision::{canonical, current, data_of, hash_of, holds, is_same_template};
use serde_json::{Value, json};

use crate::cluster::{Cluster, THEIRS, hash, template};

/// Revision actions in words, versions by name.
fn revision_actions(cluster: &Cluster, plan: &Plan) -> Vec<String> {
    let version = |name: &str| {
        let of = |n: &usize| name.ends_with(&*hash(&format!("v{n}")));
        (0..20).find(of).map_or(name.to_owned(), |n| format!("v{n}"))
    };
    let number = |name: &str| {
        let found = cluster.revisions.iter().find(|r| *r.name == *name);
        found.map_or(0, |r| r.revision)
    };
    plan.actions
        .iter()
        .filter_map(|action| match action {
            Action::CreateRevision(new) => Some(format!("create {} as {}", version(&new.name), new.revision)),
            Action::RenumberRevision { name, revision, .. } => {
                Some(format!("renumber {} to {revision}", version(name)))
            }
            Action::LabelRevision { name, .. } => Some(format!("label {}", version(name))),
            Action::DeleteRevision { name, .. } => Some(format!("delete {}", number(name))),
            Action::RelabelPod { hash, .. } => Some(format!("relabel pod {}", version(hash))),
            Action::Adopt { name, .. } => Some(format!("adopt {}", version(name))),
            Action::Release { name, .. } => Some(format!("release {}", version(name))),
            _ => None,
        })
        .collect()
}

fn numbers(cluster: &Cluster) -> Vec<i64> {
    let mut numbers: Vec<i64> = cluster.revisions.iter().map(|r| r.revision).collect();
    numbers.sort_unstable();
    numbers
}

/// Twelve old revisions 1 to 12 and a current one, no pods.
fn long_history() -> Cluster {
    let mut cluster = Cluster::native("n1R v20+");
    cluster.revisions.clear();
    for n in 1..=12 {
        cluster.publish(&format!("v{n}"), n);
    }
    cluster.daemonset.template = Arc::new(template("v20"));
    cluster.publish("v20", 13);
    cluster
}

/// A11: the data is a compact patch that replaces the template, keys sorted.
#[test]
fn the_data_of_a_revision_replaces_the_template() {
    let template = json!({ "spec": { "b": 1, "a": [] }, "metadata": { "labels": { "app": "x" } } });
    assert_eq!(
        data_of(&template).to_string(),
        r#"{"spec":{"template":{"$patch":"replace","metadata":{"labels":{"app":"x"}},"spec":{"a":[],"b":1}}}}"#
    );
}

/// A11: hashes are stable across versions of pitstop, since pods and revisions carry them.
#[test]
fn the_hash_of_a_template_never_changes() {
    let template = template("v1");
    let hashes = [None, Some(0), Some(1), Some(2)].map(|collision_count| hash_of(&template, collision_count));
    assert_eq!(hashes, ["8668856489", "bd8cd5545", "78574d9fb8", "7d5d549fbc"]);
    assert!(
        hash_of(&template, None)
            .chars()
            .all(|c| keys::SAFE_ALPHABET.contains(c))
    );
}

/// C3.2: which templates are the same.
#[test]
fn templates_are_compared_by_what_they_say() {
    type Change = fn(&mut Value);
    let base = || json!({ "metadata": { "labels": { "a": "b" } }, "spec": { "containers": [{ "name": "x" }, { "name": "y" }] } });
    let cases: [(&str, Change, bool); 9] = [
        ("nothing", |_| {}, true),
        ("$patch", |t| t["$patch"] = json!("replace"), true),
        (
            "creationTimestamp",
            |t| t["metadata"]["creationTimestamp"] = json!("2026-01-01T00:00:00Z"),
            true,
        ),
        (
            "null",
            |t| t["spec"]["containers"][0]["image"] = Value::Null,
            true,
        ),
        (
            "order of an array",
            |t| t["spec"]["containers"].as_array_mut().unwrap().reverse(),
            false,
        ),
        (
            "empty object",
            |t| t["spec"]["securityContext"] = json!({}),
            false,
        ),
        (
            "another value",
            |t| t["metadata"]["labels"]["a"] = json!("c"),
            false,
        ),
        ("$patch elsewhere", |t| t["spec"]["$patch"] = json!("x"), false),
        (
            "creationTimestamp elsewhere",
            |t| t["spec"]["creationTimestamp"] = json!("x"),
            false,
        ),
    ];
    for (case, change, same) in cases {
        let mut other = base();
        change(&mut other);
        assert_eq!(canonical(&base()) == canonical(&other), same, "{case}");
        assert_eq!(is_same_template(&base(), &other), same, "{case}");
        assert_eq!(
            is_same_template(&other, &base()),
            same,
            "{case}, the other way round"
        );
        assert_eq!(hash_of(&base(), None) == hash_of(&other, None), same, "{case}");
    }
}

/// C3.3: the target is the highest of those that hold the template, and all of them are accepted.
#[test]
fn the_target_is_read_from_the_cluster() {
    let mut cluster = Cluster::advanced("n1R old+");
    cluster.publish("v2", 7);
    let twin = cluster.revisions.last_mut().unwrap();
    Arc::make_mut(&mut twin.labels).insert(keys::REVISION_HASH.into(), "twin".into());
    let found = current(&cluster.daemonset, &cluster.snapshot().revisions).unwrap();
    assert_eq!(&*found.target, "twin");
    assert_eq!(found.accepted, [hash("v2"), Arc::from("twin")]);
    for broken in [
        json!(null),
        json!({ "spec": {} }),
        json!({ "spec": { "template": 3 } }),
    ] {
        for revision in &mut cluster.revisions {
            revision.data = Arc::new(broken.clone());
        }
        assert_eq!(
            current(&cluster.daemonset, &cluster.snapshot().revisions),
            None,
            "{broken}"
        );
    }
}

/// C3.1, S7
#[test]
fn a_revision_of_another_workload_is_not_ours() {
    let mut cluster = Cluster::advanced("n1R old+");
    for revision in &mut cluster.revisions {
        revision.controller.as_mut().unwrap().uid = THEIRS;
    }
    assert_eq!(cluster.advanced_does(), "nothing");
    let plan = cluster.plan_native();
    assert_eq!(revision_actions(&cluster, &plan), ["create v2 as 1"]);
}

/// A11: the first revision, and the next.
#[test]
fn a_new_template_gets_the_next_number() {
    let mut cluster = Cluster::native("n1R old+");
    cluster.revisions.clear();
    assert_eq!(
        revision_actions(&cluster, &cluster.plan_native()),
        ["create v2 as 1"]
    );
    let mut cluster = Cluster::native("n1R old+");
    cluster.edit_template("v3");
    let plan = cluster.plan_native();
    assert_eq!(revision_actions(&cluster, &plan), ["create v3 as 3"]);
    let Some(Action::CreateRevision(new)) = plan.actions.first() else {
        panic!("revisions come first")
    };
    assert_eq!(new.name, format!("agent-{}", hash("v3")));
    assert_eq!(new.data, data_of(&template("v3")));
}

/// N28: undo patches the old template back, and the revision that holds it is renumbered, with its change cause.
#[test]
fn an_undo_renumbers_the_revision_it_goes_back_to() {
    let mut cluster = Cluster::native("n1R new+").annotation(keys::CHANGE_CAUSE, "undo");
    cluster.edit_template("v1");
    let plan = cluster.plan_native();
    assert_eq!(revision_actions(&cluster, &plan), ["renumber v1 to 3"]);
    let cause = vec![(keys::CHANGE_CAUSE.to_owned(), "undo".to_owned())];
    assert!(
        matches!(&plan.actions[0], Action::RenumberRevision { annotations, .. } if *annotations == cause)
    );
    cluster.apply(&plan);
    assert_eq!(numbers(&cluster), [2, 3]);
    assert_eq!(revision_actions(&cluster, &cluster.plan_native()), [""; 0]);
}

/// N29, N30
#[test]
fn the_oldest_revisions_beyond_the_limit_go_unless_a_pod_has_them() {
    let cluster = long_history();
    assert_eq!(
        revision_actions(&cluster, &cluster.plan_native()),
        ["delete 1", "delete 2"]
    );
    let mut cluster = long_history();
    cluster.add_node("n2", false);
    cluster.add_pod("n2", "v1-").deleted_at = Some(crate::cluster::at(-10));
    assert_eq!(
        revision_actions(&cluster, &cluster.plan_native()),
        ["delete 2", "delete 3"]
    );
}

/// A6.6: pruning does not wait for the pods to be in order.
#[test]
fn history_is_pruned_while_pods_are_created() {
    let mut cluster = long_history();
    cluster.add_node("n2", true);
    let plan = cluster.plan_native();
    assert_eq!(cluster.words(&plan), "create n2");
    assert_eq!(revision_actions(&cluster, &plan), ["delete 1", "delete 2"]);
}

/// A1: a limit of 0 is legal, and the current revision is never counted.
#[test]
fn a_limit_of_zero_keeps_the_current_revision() {
    let mut cluster = long_history();
    cluster.daemonset.revision_history_limit = 0;
    let plan = cluster.plan_native();
    cluster.apply(&plan);
    assert_eq!(numbers(&cluster), [13]);
}

/// N31
#[test]
fn of_equal_revisions_the_highest_stays_and_only_pods_of_the_others_are_relabelled() {
    let mut cluster = Cluster::native("n1R v2+, n2R v1+").max_unavailable(1);
    cluster.publish("v2", 5);
    let twin = cluster.revisions.last_mut().unwrap();
    twin.name = "agent-twin".into();
    Arc::make_mut(&mut twin.labels).insert(keys::REVISION_HASH.into(), "twin".into());
    let plan = cluster.plan_native();
    assert_eq!(
        revision_actions(&cluster, &plan),
        ["relabel pod twin", "delete 2"],
        "were it the other way round, a failure between them would leave pods that look outdated"
    );
    let relabelled = cluster.pod_on("n1").uid;
    assert!(
        plan.actions
            .iter()
            .any(|a| matches!(a, Action::RelabelPod { uid, .. } if *uid == relabelled))
    );
    assert_eq!(
        cluster.words(&plan),
        "del n2",
        "the outdated pod is not hidden by the duplicate"
    );
}

/// N32: what is created after a collision has another name.
#[test]
fn a_collision_gives_another_name() {
    let mut cluster = Cluster::native("n1R old+");
    cluster.edit_template("v3");
    let name = |cluster: &Cluster| match cluster.plan_native().actions.first() {
        Some(Action::CreateRevision(new)) => new.name.clone(),
        other => panic!("{other:?}"),
    };
    let first = name(&cluster);
    cluster.daemonset.status.collision_count = Some(1);
    let second = name(&cluster);
    assert_ne!(first, second);
    assert_eq!(second, format!("agent-{}", hash_of(&template("v3"), Some(1))));
}

/// A11: a revision without its label gets it.
#[test]
fn a_missing_hash_label_is_set_to_the_name() {
    let mut cluster = Cluster::native("n1R old+");
    Arc::make_mut(&mut cluster.revisions[0].labels).remove(keys::REVISION_HASH);
    let plan = cluster.plan_native();
    assert_eq!(revision_actions(&cluster, &plan), ["label v1"]);
}

/// A5: revisions are claimed by the rules of pods.
#[test]
fn revisions_are_adopted_and_released() {
    let mut cluster = Cluster::native("n1R new+");
    cluster.revisions[0].controller = None;
    Arc::make_mut(&mut cluster.revisions[1].labels).remove("app");
    let plan = cluster.plan_native();
    assert_eq!(revision_actions(&cluster, &plan)[..2], ["adopt v1", "release v2"]);
    cluster.may_adopt = false;
    let plan = cluster.plan_native();
    assert_eq!(revision_actions(&cluster, &plan)[..1], ["release v2"]);
}

/// What a revision holds is its template, whatever wrote it.
#[test]
fn a_revision_written_by_an_older_cluster_holds_the_same_template() {
    let mut cluster = Cluster::native("n1R new+");
    let data = Arc::make_mut(&mut cluster.revisions[1].data);
    data["spec"]["template"]["metadata"]["creationTimestamp"] = Value::Null;
    assert!(holds(&cluster.revisions[1], &template("v2")));
    assert_eq!(revision_actions(&cluster, &cluster.plan_native()), [""; 0]);
}
