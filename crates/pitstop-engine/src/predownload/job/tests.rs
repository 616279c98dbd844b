#![allow(
    clippy::needless_pass_by_value,
    reason = "tables read better with JSON as it is"
)]

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";
const JOB: &str = "00000000-0000-0000-0000-000000000001";
const OTHER: &str = "00000000-0000-0000-0000-000000000002";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn job(spec: Value, status: Value) -> ImagePullJobView {
    let mut whole = json!({"image": "nginx:1", "completionPolicy": {"type": "Always"}});
    for (key, value) in spec.as_object().unwrap() {
        whole[key] = value.clone();
    }
    let object = json!({
        "metadata": {"name": "j", "namespace": "d", "uid": JOB, "finalizers": [keys::FINALIZER_IMAGE_PULL_JOB]},
        "spec": whole, "status": status,
    });
    ImagePullJobView::from_json(object.to_string().as_bytes()).unwrap()
}

/// A tag of `nginx` with these owners.
fn tag(version: i64, owners: &[&str]) -> Value {
    let owners: Vec<Value> = owners.iter().map(|uid| json!({"uid": uid})).collect();
    let policy = json!({"timeoutSeconds": 600, "backoffLimit": 3, "ttlSecondsAfterFinished": 9});
    json!({"tag": "1", "version": version, "createdAt": NOW, "ownerReferences": owners, "pullPolicy": policy})
}

/// A node that wants these tags of `nginx` and reports these.
fn node(name: &str, tags: &[Value], statuses: &[Value]) -> NodeImageView {
    let images = if tags.is_empty() {
        json!({})
    } else {
        json!({"nginx": {"tags": tags}})
    };
    let object = json!({
        "metadata": {"name": name, "uid": OTHER, "resourceVersion": "5", "labels": {"disk": name}},
        "spec": {"images": images},
        "status": {"imageStatuses": {"nginx": {"tags": statuses}}},
    });
    NodeImageView::from_json(object.to_string().as_bytes()).unwrap()
}

fn report(tag: &str, version: i64, phase: &str) -> Value {
    json!({"tag": tag, "version": version, "phase": phase})
}

fn decide(job: &ImagePullJobView, nodes: &[NodeImageView], secrets: &[SecretReference]) -> Plan {
    let targets = nodes
        .iter()
        .map(|image| Target {
            image,
            is_ready: !image.name.starts_with("away"),
        })
        .collect();
    plan(&Snapshot {
        now: now(),
        job,
        targets,
        secrets,
        seed: 1,
    })
}

fn shown(job: &ImagePullJobView, nodes: &[NodeImageView]) -> ImagePullJobStatus {
    decide(job, nodes, &[])
        .status
        .unwrap_or_else(|| job.status.clone())
}

/// Names and patches of the nodes that are written to.
fn wants(plan: &Plan) -> Vec<(&str, &Value)> {
    let wants = plan.actions.iter().filter_map(|action| match action {
        Action::Want { node, patch, .. } => Some((&**node, patch)),
        _ => None,
    });
    wants.collect()
}

/// The tags of `nginx` in a patch.
fn tags(patch: &Value) -> &Value {
    &patch["spec"]["images"]["nginx"]["tags"]
}

#[test]
fn j1_phases_are_counted() {
    let job = job(json!({}), json!({}));
    let nodes = [
        node("node1", &[tag(1, &[JOB])], &[report("1", 1, "Succeeded")]),
        node("node2", &[tag(1, &[JOB])], &[report("1", 1, "Pulling")]),
        node("node3", &[tag(1, &[JOB])], &[report("1", 1, "Failed")]),
    ];
    let status = shown(&job, &nodes);
    assert_eq!(
        (status.desired, status.active, status.succeeded, status.failed),
        (3, 1, 1, 1)
    );
    assert_eq!(status.failed_nodes, ["node3"]);
    assert_eq!(status.message, "job is running, progress 66.7%");
    assert_eq!(status.start_time, Some(now()));
}

#[test]
fn j2_what_is_about_another_tag_or_version_counts_as_pulling() {
    let job = job(json!({}), json!({}));
    for statuses in [
        vec![report("2", 1, "Succeeded")],
        vec![report("1", 0, "Succeeded")],
        vec![],
    ] {
        let status = shown(&job, &[node("n", &[tag(1, &[JOB])], &statuses)]);
        assert_eq!(
            (status.active, &*status.message),
            (1, "job is running, progress 0.0%")
        );
    }
}

#[test]
fn j3_a_tag_of_others_is_not_synced() {
    let job = job(json!({}), json!({}));
    let plan = decide(
        &job,
        &[node("n", &[tag(1, &[OTHER])], &[report("1", 1, "Succeeded")])],
        &[],
    );
    let status = plan.status.clone().unwrap();
    assert_eq!((status.active, status.succeeded), (0, 0));
    assert_eq!(wants(&plan).len(), 1);
}

#[test]
fn j4_a_missing_secret_is_added_without_another_pull() {
    let job = job(json!({"parallelism": 5}), json!({}));
    let secret = super::super::secret::copy_of("d", "reg");
    let node = node("n", &[tag(1, &[JOB])], &[report("1", 1, "Pulling")]);
    let plan = decide(&job, std::slice::from_ref(&node), std::slice::from_ref(&secret));
    assert_eq!(plan.status.clone().unwrap().active, 1);
    let wants = wants(&plan);
    assert_eq!(
        *wants[0].1,
        json!({"spec": {"images": {"nginx": {"pullSecrets": [secret]}}}}),
        "the version is unchanged"
    );
}

#[test]
fn j5_a_deadline_that_has_passed_ends_the_job() {
    let spec = json!({"completionPolicy": {"type": "Always", "activeDeadlineSeconds": 600}});
    let job = job(spec, json!({"startTime": "2026-01-01T00:50:00Z"}));
    let nodes = [
        node("done", &[tag(1, &[JOB])], &[report("1", 1, "Succeeded")]),
        node("slow", &[tag(1, &[JOB])], &[report("1", 1, "Pulling")]),
    ];
    let plan = decide(&job, &nodes, &[]);
    let status = plan.status.clone().unwrap();
    assert_eq!((status.succeeded, status.active, status.failed), (1, 0, 1));
    assert_eq!(status.failed_nodes, ["slow"]);
    assert_eq!(status.message, "job exceeds activeDeadlineSeconds");
    assert_eq!(status.completion_time, Some(now()));
    let unsynced = shown(&job, &[node("new", &[], &[])]);
    assert_eq!(
        unsynced.failed_nodes,
        ["new"],
        "those that are not synced have failed too"
    );
}

#[test]
fn j6_a_new_tag_begins_behind_what_the_status_knows() {
    let job = job(json!({}), json!({}));
    for (statuses, version) in [(vec![], 0), (vec![report("1", 5, "Succeeded")], 6)] {
        let plan = decide(&job, &[node("n", &[], &statuses)], &[]);
        let wants = wants(&plan);
        let tag = &tags(wants[0].1)[0];
        assert_eq!(tag["version"], version);
        assert_eq!(
            (&tag["createdAt"], &tag["ownerReferences"][0]["uid"]),
            (&json!(NOW), &json!(JOB))
        );
        assert_eq!(tag["ownerReferences"][0]["kind"], "ImagePullJob");
    }
}

#[test]
fn j7_a_tag_of_another_job_is_pulled_once_more_for_both() {
    let job = job(
        json!({"imagePullPolicy": "Always", "pullPolicy": {"timeoutSeconds": 1}}),
        json!({}),
    );
    let plan = decide(&job, &[node("n", &[tag(3, &[OTHER])], &[])], &[]);
    let wants = wants(&plan);
    let tag = &tags(wants[0].1)[0];
    assert_eq!(
        (&tag["version"], tag["ownerReferences"].as_array().unwrap().len()),
        (&json!(4), 2)
    );
    assert_eq!(tag["imagePullPolicy"], "Always");
    assert_eq!(
        tag["pullPolicy"]["timeoutSeconds"], 600,
        "the policy is not updated"
    );
}

/// inplace.md 11.3, extend; 13.16, 13.17.
#[test]
fn as_many_nodes_pull_as_may_at_once_in_the_order_that_was_chosen() {
    let fresh = |name: &str| node(name, &[], &[]);
    let pulling = |name: &str| node(name, &[tag(1, &[JOB])], &[report("1", 1, "Pulling")]);
    for (parallelism, nodes, want) in [
        (json!(null), vec![fresh("c"), fresh("a"), fresh("b")], vec!["c"]),
        (json!(2), vec![fresh("c"), fresh("a"), fresh("b")], vec!["c", "a"]),
        (json!(2), vec![pulling("x"), fresh("a"), fresh("b")], vec!["a"]),
        (json!(1), vec![pulling("x"), fresh("a")], vec![]),
        (json!(0), vec![fresh("a")], vec![]),
        (json!("3"), vec![fresh("b"), fresh("a")], vec!["b", "a"]),
        (json!(1), vec![fresh("away-1"), fresh("a")], vec!["a"]),
        (json!(1), vec![pulling("away-1"), fresh("a")], vec!["a"]),
    ] {
        let job = job(json!({"parallelism": parallelism}), json!({}));
        let plan = decide(&job, &nodes, &[]);
        let names: Vec<&str> = wants(&plan).into_iter().map(|(name, _)| name).collect();
        assert_eq!(names, want, "{parallelism}");
    }
    let job = job(json!({}), json!({}));
    let status = shown(&job, &[pulling("away-1"), pulling("b")]);
    assert_eq!(
        status.message,
        "job is running, progress 0.0%, waiting for 1 node that is not ready"
    );
}

/// inplace.md 11.3, completion and messages.
#[test]
fn a_job_ends_when_each_node_has_or_never() {
    let done = || vec![node("n", &[tag(0, &[JOB])], &[report("1", 0, "Succeeded")])];
    let never = json!({"completionPolicy": {"type": "Never"}});
    for (spec, nodes, message, ends) in [
        (json!({}), done(), "job has completed", true),
        (json!({}), vec![], "job has completed", true),
        (never.clone(), done(), "job is running, progress 100.0%", false),
        (never, vec![], "job is running, no progress", false),
    ] {
        let status = shown(&job(spec, json!({})), &nodes);
        assert_eq!(
            (&*status.message, status.completion_time.is_some()),
            (message, ends)
        );
    }
}

/// inplace.md 11.3, tag pullPolicy; 13.16, the deadline of Never.
#[test]
fn entries_expire_after_the_job() {
    for (spec, ttl, deadline) in [
        (
            json!({"completionPolicy": {"type": "Always", "ttlSecondsAfterFinished": 60}}),
            360..=659,
            None,
        ),
        (
            json!({"completionPolicy": {"type": "Always", "activeDeadlineSeconds": 1000}}),
            1300..=1599,
            Some(1000),
        ),
        (
            json!({"pullPolicy": {"timeoutSeconds": 100, "backoffLimit": 2}}),
            500..=799,
            None,
        ),
        (
            json!({"completionPolicy": {"type": "Never"}, "pullPolicy": {"timeoutSeconds": 60, "backoffLimit": 3}}),
            85_800..=87_000,
            Some(1800),
        ),
        (
            json!({"completionPolicy": {"type": "Never"}, "pullPolicy": {"timeoutSeconds": 600, "backoffLimit": 3}}),
            85_800..=87_000,
            Some(2400),
        ),
    ] {
        let job = job(spec.clone(), json!({}));
        for name in ["a", "b", "c", "d"] {
            let policy = policy_of(&job, &node(name, &[], &[]), 7);
            let drawn = policy.ttl_seconds_after_finished.unwrap();
            assert!(ttl.contains(&drawn), "{spec}: {drawn}");
            assert_eq!(policy.active_deadline_seconds, deadline, "{spec}");
        }
    }
}

/// inplace.md 13.16: propagate later edits of the policy.
#[test]
fn an_edited_policy_reaches_nodes_that_pull_for_this_job_alone() {
    let job = job(
        json!({"pullPolicy": {"timeoutSeconds": 30, "backoffLimit": 3}}),
        json!({}),
    );
    let alone = node("n", &[tag(1, &[JOB])], &[]);
    let plan = decide(&job, std::slice::from_ref(&alone), &[]);
    let wants = wants(&plan);
    let tag_now = &tags(wants[0].1)[0];
    assert_eq!(
        (&tag_now["version"], &tag_now["pullPolicy"]["timeoutSeconds"]),
        (&json!(1), &json!(30))
    );
    let shared = node("n", &[tag(1, &[JOB, OTHER])], &[]);
    assert!(decide(&job, &[shared], &[]).actions.is_empty());
}

/// inplace.md 11.3, sync.
#[test]
fn a_job_is_held_until_its_secrets_are_released() {
    let mut fresh = job(json!({}), json!({}));
    fresh.finalizers = vec!["x/y".to_owned()];
    let plan = decide(&fresh, &[], &[]);
    let both = vec!["x/y".to_owned(), keys::FINALIZER_IMAGE_PULL_JOB.to_owned()];
    assert_eq!(plan.actions, [Action::AddFinalizer(both.clone())]);

    let mut deleted = job(json!({}), json!({}));
    deleted.finalizers.clone_from(&both);
    deleted.deleted_at = Some(now());
    let released = Action::Release(vec!["x/y".to_owned()]);
    assert_eq!(decide(&deleted, &[node("n", &[], &[])], &[]).actions, [released]);

    let ended = json!({"completionTime": "2026-01-01T00:59:00Z"});
    let ttl =
        |seconds: u32| json!({"completionPolicy": {"type": "Always", "ttlSecondsAfterFinished": seconds}});
    let stays = decide(&job(ttl(600), ended.clone()), &[], &[]);
    assert_eq!(stays.actions, [Action::Release(vec![])]);
    assert_eq!(stays.requeue_after.unwrap().as_secs(), 540);
    let mut released = job(ttl(60), ended.clone());
    released.finalizers.clear();
    assert_eq!(decide(&released, &[], &[]).actions, [Action::Delete]);
    released
        .labels
        .insert(keys::DELETE_PROTECTION.to_owned(), "Always".to_owned());
    assert!(
        decide(&released, &[], &[]).actions.is_empty(),
        "a protected job stays"
    );
    let mut without_ttl = job(json!({}), ended);
    without_ttl.finalizers.clear();
    assert_eq!(decide(&without_ttl, &[], &[]), Plan::default());
}

/// inplace.md 11.3: requeue at the deadline, at least 1 s.
#[test]
fn a_job_is_looked_at_again_at_its_deadline() {
    let spec = json!({"completionPolicy": {"type": "Always", "activeDeadlineSeconds": 3601}});
    for (begun, seconds) in [("2026-01-01T00:00:00Z", 1), ("2026-01-01T00:30:00Z", 1801)] {
        let job = job(spec.clone(), json!({"startTime": begun}));
        let plan = decide(&job, &[node("n", &[], &[])], &[]);
        assert_eq!(plan.requeue_after.unwrap().as_secs(), seconds, "{begun}");
    }
}

/// inplace.md 11.3, selection.
#[test]
fn nodes_are_chosen_by_pod_by_name_or_by_label() {
    let all = [node("a", &[], &[]), node("b", &[], &[]), node("c", &[], &[])];
    let get = |name: &str| all.iter().find(|node| &*node.name == name);
    let pods: Vec<Arc<str>> = ["c", "gone", "a", "c"].map(Arc::from).to_vec();
    for (spec, want) in [
        (json!({}), vec!["a", "b", "c"]),
        (
            json!({"podSelector": {"matchLabels": {"x": "y"}}}),
            vec!["c", "a"],
        ),
        (
            json!({"selector": {"names": ["c", "b", "gone", "b"]}}),
            vec!["b", "c"],
        ),
        (json!({"selector": {"matchLabels": {"disk": "b"}}}), vec!["b"]),
        (json!({"selector": {}}), vec!["a", "b", "c"]),
    ] {
        let job = job(spec.clone(), json!({}));
        let chosen = select(&job.spec, all.iter(), get, &pods);
        let names: Vec<&str> = chosen.iter().map(|node| &*node.name).collect();
        assert_eq!(names, want, "{spec}");
    }
}

/// inplace.md 11.4: at most 256 images.
#[test]
fn a_full_node_image_is_left_alone() {
    let mut full = node("full", &[], &[]);
    for i in 0..MOST_IMAGES {
        full.spec
            .images
            .insert(format!("image-{i}"), ImageSpec::default());
    }
    let job = job(json!({}), json!({}));
    let plan = decide(&job, &[full, node("next", &[], &[])], &[]);
    assert_eq!(wants(&plan)[0].0, "next");
}
