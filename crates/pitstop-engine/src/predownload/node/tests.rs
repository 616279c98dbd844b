#![allow(
    clippy::needless_pass_by_value,
    reason = "tables read better with JSON as it is"
)]

use pitstop_api::view::{NodeNames, NodeWire};

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";
const NODE: &str = "00000000-0000-0000-0000-00000000000a";
const JOB: &str = "00000000-0000-0000-0000-000000000001";
const GONE: &str = "00000000-0000-0000-0000-000000000002";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn machine(ready: &str, since: &str, labels: Value) -> NodeView {
    let node = json!({
        "metadata": {"name": "n", "uid": NODE, "labels": labels},
        "status": {"conditions": [{"type": "Ready", "status": ready, "lastTransitionTime": since}]},
    });
    let wire: NodeWire = serde_json::from_value(node).unwrap();
    wire.view(&mut NodeNames::default()).unwrap()
}

fn old_machine() -> NodeView {
    machine("True", "2026-01-01T00:00:00Z", json!({}))
}

fn image(images: Value, statuses: Value) -> NodeImageView {
    let object = json!({
        "metadata": {"name": "n", "uid": GONE, "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "uid": NODE}]},
        "spec": {"images": images}, "status": {"imageStatuses": statuses},
    });
    NodeImageView::from_json(object.to_string().as_bytes()).unwrap()
}

fn decide(node: Option<&NodeView>, image: Option<&NodeImageView>) -> Plan {
    let missing = BTreeSet::from([SecretReference {
        namespace: "d".to_owned(),
        name: "gone".to_owned(),
        mode: String::new(),
    }]);
    plan(&Snapshot {
        now: now(),
        node,
        image,
        jobs: &|owner| owner.uid == JOB,
        missing_secrets: &missing,
        create_after: CREATE_AFTER,
    })
}

fn owner(uid: &str) -> Value {
    json!({"apiVersion": "apps.kruise.io/v1alpha1", "kind": "ImagePullJob", "uid": uid})
}

fn tag(owners: &[Value]) -> Value {
    json!({"tag": "1", "version": 3, "createdAt": "2026-01-01T00:59:00Z", "ownerReferences": owners, "pullPolicy": {"ttlSecondsAfterFinished": 600}})
}

/// The merge patch of `spec.images` that keeping a NodeImage leads to.
fn cleaned(tags: Vec<Value>, statuses: Value) -> Option<Value> {
    let image = image(
        json!({"nginx": {"tags": tags}}),
        json!({"nginx": {"tags": statuses}}),
    );
    let plan = decide(Some(&old_machine()), Some(&image));
    plan.actions.into_iter().find_map(|action| match action {
        Action::Patch(patch) => Some(patch["spec"]["images"].clone()),
        _ => None,
    })
}

/// inplace.md 11.4: 30 s after the node became Ready; virtual nodes have none.
#[test]
fn a_node_gets_one_when_it_has_been_ready_for_a_while() {
    let wait = decide(Some(&machine("True", "2026-01-01T00:59:40Z", json!({}))), None);
    assert_eq!(
        (wait.actions.len(), wait.requeue_after.unwrap().as_secs()),
        (0, 10)
    );
    assert_eq!(
        decide(Some(&machine("False", NOW, json!({}))), None),
        Plan::default()
    );
    let virtual_node = machine("True", "2026-01-01T00:00:00Z", json!({"type": "virtual-kubelet"}));
    assert_eq!(decide(Some(&virtual_node), None), Plan::default());
    let ready = machine("True", "2026-01-01T00:59:30Z", json!({"zone": "a"}));
    let want = json!({
        "apiVersion": "apps.kruise.io/v1beta1", "kind": "NodeImage",
        "metadata": {
            "name": "n", "labels": {"zone": "a"},
            "ownerReferences": [{"apiVersion": "v1", "kind": "Node", "name": "n", "uid": NODE}],
        },
        "spec": {},
    });
    assert_eq!(decide(Some(&ready), None).actions, [Action::Create(want)]);
}

/// inplace.md 11.4: deleted with the node, unless labelled.
#[test]
fn it_goes_with_its_node() {
    let mut image = image(json!({}), json!({}));
    assert_eq!(decide(None, Some(&image)).actions, [Action::Delete(image.uid)]);
    image.node = Some(Uid(77));
    assert_eq!(
        decide(Some(&old_machine()), Some(&image)).actions,
        [Action::Delete(image.uid)],
        "that of a former life"
    );
    image
        .labels
        .insert(keys::FAKE_NODE_IMAGE.to_owned(), "true".to_owned());
    assert!(decide(None, Some(&image)).actions.is_empty());
    image.deleted_at = Some(now());
    assert_eq!(decide(None, Some(&image)), Plan::default());
}

/// inplace.md 11.4: copies node labels.
#[test]
fn it_has_the_labels_of_its_node() {
    let mut image = image(json!({}), json!({}));
    image.labels = Labels::from([("old", "1"), ("zone", "a")].map(|(k, v)| (k.to_owned(), v.to_owned())));
    image
        .labels
        .insert(keys::FAKE_NODE_IMAGE.to_owned(), "true".to_owned());
    let node = machine("True", "2026-01-01T00:00:00Z", json!({"zone": "b"}));
    let want = json!({"metadata": {"labels": {"old": null, "zone": "b"}}});
    assert_eq!(decide(Some(&node), Some(&image)).actions, [Action::Patch(want)]);
}

/// inplace.md 12.9 and 11.4.
#[test]
fn j8_to_j11_what_nobody_wants_any_more_goes() {
    // It was the only one.
    let removed = Some(json!(null));
    let foreign = json!({"apiVersion": "v1", "kind": "Pod", "uid": GONE});
    let mut without_time = tag(&[owner(JOB)]);
    without_time.as_object_mut().unwrap().remove("createdAt");
    let ended = |version: i64, at: &str| json!([{"tag": "1", "version": version, "phase": "Succeeded", "completionTime": at}]);
    for (case, tags, statuses, want) in [
        (
            "J8 owner gone, or another of its name",
            vec![tag(&[owner(GONE)])],
            json!([]),
            removed.clone(),
        ),
        ("its owner is there", vec![tag(&[owner(JOB)])], json!([]), None),
        (
            "foreign kinds are kept",
            vec![tag(std::slice::from_ref(&foreign))],
            json!([]),
            None,
        ),
        ("one that never had owners stays", vec![tag(&[])], json!([]), None),
        (
            "J10 without createdAt",
            vec![without_time],
            json!([]),
            removed.clone(),
        ),
        (
            "J11 completed 700 s ago, ttl 600",
            vec![tag(&[owner(JOB)])],
            ended(3, "2026-01-01T00:48:20Z"),
            removed,
        ),
        (
            "completed 500 s ago",
            vec![tag(&[owner(JOB)])],
            ended(3, "2026-01-01T00:51:40Z"),
            None,
        ),
        (
            "another version completed",
            vec![tag(&[owner(JOB)])],
            ended(2, "2026-01-01T00:48:20Z"),
            None,
        ),
    ] {
        assert_eq!(cleaned(tags, statuses), want, "{case}");
    }
    let j9 = cleaned(vec![tag(&[owner(GONE), owner(JOB)])], json!([])).unwrap();
    let owners = &j9["nginx"]["tags"][0]["ownerReferences"];
    assert_eq!(
        (owners.as_array().unwrap().len(), &owners[0]["uid"]),
        (1, &json!(JOB)),
        "J9"
    );
}

/// inplace.md 11.4: non-batch secrets that no longer exist.
#[test]
fn secrets_that_are_gone_are_forgotten_unless_jobs_own_them() {
    let secrets = json!([
        {"namespace": "d", "name": "gone"}, {"namespace": "d", "name": "there"},
        {"namespace": "kruise-daemon-config", "name": "gone", "mode": "batch"},
    ]);
    let image = image(
        json!({"nginx": {"tags": [tag(&[owner(JOB)])], "pullSecrets": secrets}}),
        json!({}),
    );
    let plan = decide(Some(&old_machine()), Some(&image));
    let Some(Action::Patch(patch)) = plan.actions.first() else {
        panic!("{plan:?}")
    };
    let names = patch["spec"]["images"]["nginx"]["pullSecrets"]
        .as_array()
        .unwrap();
    assert_eq!(names.len(), 2);
}

/// inplace.md 11.4: status; 13.17: the real timeout, and no verdict while the node is away.
#[test]
fn a_silent_agent_has_failed() {
    let deadline = |at: &str| json!({"tag": "1", "version": 3, "createdAt": at, "pullPolicy": {"ttlSecondsAfterFinished": 9, "activeDeadlineSeconds": 60}});
    let wish = |at: &str| json!({"tag": "1", "version": 3, "createdAt": at, "pullPolicy": {"ttlSecondsAfterFinished": 9}});
    let pulling = json!([{"tag": "1", "version": 3, "phase": "Pulling"}]);
    let silent = "node has not responded for a long time (10m0s)";
    let overdue = "pulling exceeds the activeDeadlineSeconds";
    let back = machine("True", "2026-01-01T00:55:00Z", json!({}));
    let away = machine("Unknown", "2026-01-01T00:00:00Z", json!({}));
    let here = old_machine();
    for (case, node, tag, statuses, want) in [
        (
            "no answer for 10 min",
            &here,
            wish("2026-01-01T00:50:00Z"),
            json!([]),
            Some(silent),
        ),
        (
            "about another version",
            &here,
            wish("2026-01-01T00:50:00Z"),
            json!([{"tag": "1", "version": 2, "phase": "Succeeded"}]),
            Some(silent),
        ),
        (
            "no answer for 9 min",
            &here,
            wish("2026-01-01T00:51:00Z"),
            json!([]),
            None,
        ),
        (
            "it pulls for an hour, without a deadline",
            &here,
            wish("2026-01-01T00:00:00Z"),
            pulling.clone(),
            None,
        ),
        (
            "11 min, deadline 60 s",
            &here,
            deadline("2026-01-01T00:49:00Z"),
            pulling.clone(),
            Some(overdue),
        ),
        (
            "10 min, deadline 60 s",
            &here,
            deadline("2026-01-01T00:50:00Z"),
            pulling.clone(),
            None,
        ),
        (
            "the node is away",
            &away,
            wish("2026-01-01T00:50:00Z"),
            json!([]),
            None,
        ),
        (
            "the node came back 5 min ago",
            &back,
            wish("2026-01-01T00:50:00Z"),
            json!([]),
            None,
        ),
    ] {
        let image = image(
            json!({"nginx": {"tags": [tag]}}),
            json!({"nginx": {"tags": statuses}}),
        );
        let plan = decide(Some(node), Some(&image));
        let status = plan.actions.iter().find_map(|action| match action {
            Action::PatchStatus(patch) => Some(&patch["imageStatuses"]["nginx"]["tags"][0]),
            _ => None,
        });
        assert_eq!(
            status.map(|status| &status["message"]),
            want.map(|why| json!(why)).as_ref(),
            "{case}"
        );
        assert_eq!(plan.events.len(), usize::from(want.is_some()), "{case}");
        if let Some(status) = status {
            assert_eq!(
                (&status["phase"], &status["version"]),
                (&json!("Failed"), &json!(3)),
                "{case}"
            );
            assert_eq!(plan.events[0].reason, "PullImageFailed");
        }
    }
}

/// inplace.md 11.4: requeue at the nearest deadline, at least 3–5 s.
#[test]
fn it_is_looked_at_again_when_something_is_due() {
    let wish = |at: &str| json!({"nginx": {"tags": [{"tag": "1", "createdAt": at}]}});
    for (at, seconds) in [("2026-01-01T00:55:00Z", 300), ("2026-01-01T00:50:01Z", 5)] {
        let plan = decide(Some(&old_machine()), Some(&image(wish(at), json!({}))));
        assert_eq!(plan.requeue_after.unwrap().as_secs(), seconds, "{at}");
    }
}
