//! How an update in place goes on and ends: inplace.md 12.3, and 13 for what upstream never ends or ends too early.

use super::*;

fn state_key() -> &'static str {
    "apps.kruise.io/inplace-update-state"
}

fn grace_pod(seconds: i64, began_at: i64) -> LivePod {
    let grace =
        json!({ "revision": "web-new", "containerImages": { "c1": "foo2" }, "graceSeconds": seconds });
    LivePod::running(&["c1=foo1"])
        .condition("InPlaceUpdateReady", "False", "")
        .label("controller-revision-hash", "web-new")
        .annotation("apps.kruise.io/inplace-update-grace", &grace.to_string())
        .in_state(
            &json!({ "revision": "web-new", "updateTimestamp": at(began_at).to_string(),
            "lastContainerStatuses": null, "updateImages": true }),
        )
}

/// 12.3, rows C1 to C5.
#[test]
fn the_gate_opens_when_nothing_is_under_way() {
    let pod = || LivePod::running(&["c1=foo1"]);
    let no_status =
        json!({ "revision": "web-new", "lastContainerStatuses": { "c1": { "imageID": "img01" } } });
    for (row, mut pod, n_writes, want) in [
        ("C1", pod().without_gates().in_state(&json!({})), 0, Some("True")),
        (
            "C2",
            pod().without_condition("InPlaceUpdateReady"),
            1,
            Some("True"),
        ),
        (
            "C3",
            pod().condition("InPlaceUpdateReady", "False", ""),
            1,
            Some("True"),
        ),
        ("C4", pod(), 0, Some("True")),
        (
            "C5",
            pod()
                .condition("InPlaceUpdateReady", "False", "")
                .set("/status/containerStatuses", json!([]))
                .in_state(&no_status),
            0,
            Some("False"),
        ),
    ] {
        let view = pod.view();
        let change = refresh(live(&view), None, PLAIN, at(0)).change;
        assert_eq!(change.clone().writes(live(&view), at(0)).len(), n_writes, "{row}");
        pod.apply(&change, 0);
        assert_eq!(pod.says("InPlaceUpdateReady"), want, "{row}");
        let view = pod.view();
        assert!(
            refresh(live(&view), None, PLAIN, at(0)).change.is_empty(),
            "{row}: its own output is final"
        );
    }
}

/// 12.3, rows C6 to C8.
#[test]
fn a_grace_period_ends_when_it_is_over() {
    let pod = grace_pod(30, 0);
    let view = pod.view();
    let refreshed = refresh(live(&view), None, PLAIN, at(10));
    assert_eq!(
        (refreshed.stage, refreshed.wake_at),
        (Stage::Grace, Some(at(30))),
        "C6"
    );
    assert!(refreshed.change.is_empty(), "C6");

    let mut pod = grace_pod(5, 0);
    assert_eq!(refresh_on(&mut pod, PLAIN, 10), Stage::Advancing, "C7");
    assert_eq!(pod.image("c1"), "foo2", "C7");
    assert_eq!(
        pod.get("/metadata/annotations/apps.kruise.io~1inplace-update-grace"),
        None,
        "C7"
    );
    let state = pod.upstreams_state().unwrap();
    assert_eq!(
        state["containerBatchesRecord"][0]["containers"],
        json!(["c1"]),
        "C7"
    );
    assert_eq!(
        state["updateTimestamp"],
        at(0).to_string(),
        "C7: the beginning stays"
    );

    let mut pod = grace_pod(5, 0).label("controller-revision-hash", "web-other");
    refresh_on(&mut pod, PLAIN, 10);
    assert_eq!(pod.image("c1"), "foo1", "C8");
    assert_eq!(
        pod.get("/metadata/annotations/apps.kruise.io~1inplace-update-grace"),
        None,
        "C8"
    );
}

/// 12.3, rows C9 to C12.
#[test]
fn the_next_batch_waits_for_the_one_before() {
    let state = |check: bool| {
        let mut state = json!({ "revision": "web-new", "updateTimestamp": at(0).to_string(), "updateImages": true,
            "lastContainerStatuses": { "c1": { "imageID": "containerd://c1-img" } },
            "nextContainerImages": { "c2": "bar2" } });
        if check {
            state["preCheckBeforeNext"] = json!({ "containersRequiredReady": ["c1"] });
        }
        state
    };
    let pod = |check| {
        LivePod::running(&["c1=foo2", "c2=bar1"])
            .condition("InPlaceUpdateReady", "False", "")
            .status("c1", "image", "foo1")
            .in_state(&state(check))
    };
    let mut c9 = pod(false);
    assert_eq!(
        refresh_on(&mut c9, PLAIN, 10),
        Stage::Waiting(Pending::NotReplaced("c1".into())),
        "C9"
    );
    let mut c10 = pod(false).restarted("c1", "foo2", 5);
    assert_eq!(refresh_on(&mut c10, PLAIN, 10), Stage::Advancing, "C10");
    assert_eq!(
        (c10.image("c2"), c10.says("InPlaceUpdateReady")),
        ("bar2", Some("False")),
        "C10"
    );
    let mut c11 = pod(true).restarted("c1", "foo2", 5).status("c1", "ready", false);
    assert_eq!(
        refresh_on(&mut c11, PLAIN, 10),
        Stage::Waiting(Pending::NotReady("c1".into())),
        "C11"
    );
    let mut c12 = c10.restarted("c2", "bar2", 15);
    assert_eq!(refresh_on(&mut c12, PLAIN, 20), Stage::Complete, "C12");
    assert_eq!(c12.says("InPlaceUpdateReady"), Some("True"), "C12");
}

/// One of 13.1's ways to an end: what the kubelet shows, and how far the update is then.
fn after_update(show: impl FnOnce(LivePod) -> LivePod, seconds: i64) -> String {
    let mut pod = LivePod::running(&["c1=reg/app:v1"]);
    begin_on(&mut pod, &images(&[("c1", "reg/app:v2")]), PLAIN, 0);
    waits_for(&show(pod), PLAIN, seconds)
}

/// 13.1
#[test]
fn a_container_is_replaced_when_it_is_another_one_with_the_new_image() {
    let not_yet = "container c1 imageID not changed";
    let in_doubt = "container c1 runs, and may be one from before the update";
    let id = |pod: LivePod| pod.status("c1", "imageID", "containerd://c1-img");
    assert_eq!(
        after_update(|pod| pod, 1000),
        not_yet,
        "the kubelet has not acted"
    );
    assert_eq!(
        after_update(|pod| pod.restarted("c1", "reg/app:v2", 5), 6),
        "done"
    );
    assert_eq!(
        after_update(|pod| pod.restarted("c1", "docker.io/reg/app:v2", 5), 6),
        "done",
        "another name"
    );
    assert_eq!(
        after_update(|pod| id(pod.restarted("c1", "reg/app:v2", 5)), 6),
        "done",
        "one digest, two tags"
    );
    let alias = |pod: LivePod| id(pod.restarted("c1", "sha256:12", 5));
    assert_eq!(
        after_update(alias, 94),
        in_doubt,
        "one digest, and the runtime gives another name"
    );
    assert_eq!(after_update(alias, 95), "done");
    let observed = |pod| alias(pod).set("/status/observedGeneration", 2);
    assert_eq!(after_update(observed, 14), in_doubt);
    assert_eq!(
        after_update(observed, 15),
        "done",
        "the kubelet says that it has acted"
    );
    let unobserved = |pod| alias(pod).set("/status/observedGeneration", 1);
    assert_eq!(
        after_update(unobserved, 10_000),
        in_doubt,
        "the kubelet says that it has not"
    );
    assert_eq!(
        after_update(|pod| id(pod.restarted("c1", "reg/app:v1", 5)), 6),
        in_doubt,
        "it crashed and came back with the old image"
    );
    let pulling = |pod: LivePod| {
        pod.status(
            "c1",
            "state",
            json!({ "waiting": { "reason": "ImagePullBackOff" } }),
        )
    };
    assert_eq!(
        after_update(pulling, 6),
        "container c1 is not running: ImagePullBackOff"
    );
    // It was not started when its image changed: nothing tells the new container from the first.
    let mut pod = LivePod::running(&["c1=reg/app:v1"])
        .status("c1", "containerID", "")
        .status("c1", "imageID", "");
    begin_on(&mut pod, &images(&[("c1", "reg/app:v2")]), PLAIN, 0);
    assert_eq!(
        waits_for(&pod.clone().restarted("c1", "reg/app:v1", 5), PLAIN, 6),
        in_doubt
    );
    assert_eq!(waits_for(&pod.restarted("c1", "reg/app:v2", 5), PLAIN, 6), "done");
}

/// 12.4, row D17; 13.1: the third revision comes while the second is under way.
#[test]
fn a_container_of_the_update_in_between_does_not_count() {
    let third = UpdateSpec {
        revision: "web-third".into(),
        ..images(&[("c1", "app:v3")])
    };
    let mut pod = LivePod::running(&["c1=app:v1"]);
    begin_on(&mut pod, &images(&[("c1", "app:v2")]), PLAIN, 0);
    begin_on(&mut pod, &third, PLAIN, 10);
    let second = pod.clone().restarted("c1", "app:v2", 12);
    assert_eq!(
        waits_for(&second, PLAIN, 13),
        "container c1 runs, and may be one from before the update",
        "D17"
    );
    assert_eq!(
        waits_for(&second.restarted("c1", "app:v3", 20), PLAIN, 21),
        "done"
    );
    assert_eq!(
        waits_for(&pod.restarted("c1", "app:v3", 20), PLAIN, 21),
        "done",
        "the second was never started"
    );
}

/// 13.1c: taken back before the kubelet acted, and after the image could not be pulled.
#[test]
fn an_update_that_is_taken_back_ends() {
    let back = UpdateSpec {
        revision: "web-old".into(),
        ..images(&[("c1", "app:v1")])
    };
    let mut pod = LivePod::running(&["c1=app:v1"]);
    begin_on(&mut pod, &images(&[("c1", "app:v2")]), PLAIN, 0);
    begin_on(&mut pod, &back, PLAIN, 10);
    assert_eq!(pod.image("c1"), "app:v1");
    let observed = |generation: i64| pod.clone().set("/status/observedGeneration", generation);
    assert_eq!(
        waits_for(&observed(3), PLAIN, 11),
        "done",
        "the kubelet never acted, and says so"
    );
    assert_eq!(
        waits_for(&observed(2), PLAIN, 1000),
        "container c1 imageID not changed",
        "it may act yet"
    );
    let in_doubt = "container c1 runs, and may be one from before the update";
    assert_eq!(
        waits_for(&pod, PLAIN, 99),
        in_doubt,
        "it may act yet, and never says so"
    );
    assert_eq!(waits_for(&pod, PLAIN, 100), "done");

    let mut pod = LivePod::running(&["c1=app:v1"]);
    begin_on(&mut pod, &images(&[("c1", "app:bad")]), PLAIN, 0);
    let mut pod = pod.status("c1", "state", json!({ "waiting": { "reason": "ErrImagePull" } }));
    begin_on(&mut pod, &back, PLAIN, 10);
    assert_eq!(
        waits_for(&pod, PLAIN, 11),
        "container c1 is not running: ErrImagePull"
    );
    let mut pod = pod
        .restarted("c1", "app:v1", 20)
        .status("c1", "imageID", "containerd://c1-img");
    assert_eq!(refresh_on(&mut pod, PLAIN, 21), Stage::Complete, "the way back");
    assert_eq!(pod.says("InPlaceUpdateReady"), Some("True"));
    assert_eq!(seconds(&pod.state().unwrap()["pitstop"]["completedAt"]), at(21));
}

/// What an update has not written yet becomes a part of the next one: the label of the pod says that it was written.
#[test]
fn nothing_is_lost_when_an_update_is_retargeted() {
    let mut pod = LivePod::running(&["c1=a1@20", "c2=b1@10"]);
    begin_on(&mut pod, &images(&[("c1", "a2"), ("c2", "b2")]), PLAIN, 0);
    assert_eq!((pod.image("c1"), pod.image("c2")), ("a2", "b1"));
    // The third revision differs from the second in c1 alone.
    begin_on(&mut pod, &images(&[("c1", "a3")]), PLAIN, 10);
    let mut pod = pod.restarted("c1", "a3", 20);
    refresh_on(&mut pod, PLAIN, 21);
    assert_eq!(pod.image("c2"), "b2");
    let mut pod = pod.restarted("c2", "b2", 30);
    assert_eq!(refresh_on(&mut pod, PLAIN, 31), Stage::Complete);
}

/// 13.11: the template changes in a grace period, and changes back.
#[test]
fn an_update_in_its_grace_period_is_retargeted_or_cancelled() {
    let spec = |image: &str| UpdateSpec {
        grace_seconds: 30,
        ..images(&[("c1", image)])
    };
    let mut pod = LivePod::running(&["c1=foo1", "c2=bar1"]);
    let mut first = spec("foo2");
    first.images.insert("c2".into(), "bar2".into());
    begin_on(&mut pod, &first, PLAIN, 0);
    begin_on(&mut pod, &spec("foo3"), PLAIN, 10);
    let view = pod.view();
    assert_eq!(
        refresh(live(&view), None, PLAIN, at(29)).wake_at,
        Some(at(30)),
        "the pod has drained since 0"
    );
    refresh_on(&mut pod, PLAIN, 30);
    assert_eq!(
        (pod.image("c1"), pod.image("c2")),
        ("foo3", "bar2"),
        "one restart each"
    );

    let mut pod = LivePod::running(&["c1=foo1"]);
    begin_on(&mut pod, &spec("foo2"), PLAIN, 0);
    begin_on(
        &mut pod,
        &UpdateSpec {
            revision: "web-old".into(),
            ..spec("foo1")
        },
        PLAIN,
        10,
    );
    assert_eq!(
        pod.get("/metadata/annotations/apps.kruise.io~1inplace-update-grace"),
        None
    );
    assert_eq!(refresh_on(&mut pod, PLAIN, 11), Stage::Complete);
    assert_eq!(
        (pod.image("c1"), pod.says("InPlaceUpdateReady")),
        ("foo1", Some("True"))
    );
}

/// 13.11: notes that cannot be read are made again from the revision.
#[test]
fn notes_that_cannot_be_read_are_made_again() {
    for (case, key, value) in [
        ("state", state_key(), "{"),
        (
            "grace without state",
            "apps.kruise.io/inplace-update-grace",
            "{\"revision\":\"web-new\"}",
        ),
    ] {
        let pod = LivePod::running(&["c1=foo1"])
            .condition("InPlaceUpdateReady", "False", "")
            .label("controller-revision-hash", "web-new")
            .annotation(key, value);
        let view = pod.view();
        let refreshed = refresh(live(&view), None, PLAIN, at(0));
        assert!(
            matches!(refreshed.stage, Stage::Waiting(Pending::Malformed(_))),
            "{case}"
        );
        assert!(refreshed.change.is_empty(), "{case}");
        let mut mended = pod.clone();
        let change = refresh(live(&view), Some(&template(&["c1=foo2"])), PLAIN, at(0)).change;
        mended.apply(&change, 0);
        assert_eq!(mended.image("c1"), "foo2", "{case}");
        let mut mended = mended.restarted("c1", "foo2", 5);
        assert_eq!(refresh_on(&mut mended, PLAIN, 6), Stage::Complete, "{case}");
    }
}

/// 13.3: the controller stopped between the status and the containers.
#[test]
fn an_update_that_never_wrote_its_containers_opens_the_gate_again() {
    let mut pod = LivePod::running(&["c1=foo1"]);
    let view = pod.view();
    let writes = begin(live(&view), &images(&[("c1", "foo2")]), PLAIN, at(0)).writes(live(&view), at(0));
    pod.apply_write(&writes[0]);
    assert_eq!(pod.says("InPlaceUpdateReady"), Some("False"));
    assert_eq!(refresh_on(&mut pod, PLAIN, 1), Stage::Complete);
    assert_eq!(pod.says("InPlaceUpdateReady"), Some("True"));
}

/// 13.9: a node without room.
#[test]
fn a_resize_that_its_node_refuses_is_told_apart_from_one_that_waits() {
    let sized = |cpu: &str| json!({ "limits": { "cpu": cpu } });
    let mut pod = LivePod::running(&["c1=foo1"])
        .container("c1", "resources", sized("1"))
        .status("c1", "resources", sized("1"));
    let spec = UpdateSpec {
        resources: [("c1".to_owned(), serde_json::from_value(sized("2")).unwrap())].into(),
        ..images(&[])
    };
    let change = begin_on(&mut pod, &spec, SCALING, 0);
    assert!(change.conditions.is_empty(), "no container restarts");
    assert_eq!(waits_for(&pod, SCALING, 1), "container c1 resources not changed");
    let pending = |reason: &str| {
        let mut pod = pod.clone();
        let conditions = pod.json["status"]["conditions"].as_array_mut().unwrap();
        conditions.push(
            json!({ "type": "PodResizePending", "status": "True", "reason": reason, "message": "no room" }),
        );
        completion_of(&pod, SCALING, 1)
    };
    assert_eq!(
        pending("Infeasible"),
        Completion::Impossible(WhyRecreate::Infeasible("no room".into()))
    );
    assert_eq!(pending("Deferred"), Pending::Deferred("no room".into()).into());
    // The request that resizes never arrived: it is sent again.
    let mut lost = pod.clone().container("c1", "resources", sized("1"));
    assert_eq!(refresh_on(&mut lost, SCALING, 2), Stage::Advancing);
    assert_eq!(lost.get("/spec/containers/0/resources"), Some(&sized("2")));
    let mut done = pod.status("c1", "resources", sized("2"));
    assert_eq!(waits_for(&done, SCALING, 3), "done");

    // 13.15: the pod was ready all the time, so `minReadySeconds` count from when the update was complete.
    let view = done.view();
    assert!(is_available(&view, 30, at(3)), "ready for long");
    assert_eq!(refresh_on(&mut done, SCALING, 3), Stage::Complete);
    let view = done.view();
    assert!(is_available(&view, 0, at(3)));
    assert_eq!(available_at(&view, 30), Some(at(33)));
    assert!(!is_available(&view, 30, at(33)) && is_available(&view, 30, at(34)));
    let before = done.get("/metadata/annotations").cloned();
    assert_eq!(refresh_on(&mut done, SCALING, 5), Stage::Complete);
    assert_eq!(done.get("/metadata/annotations").cloned(), before, "noted once");
    let mut flipped = done.clone();
    let conditions = flipped.json["status"]["conditions"].as_array_mut().unwrap();
    for condition in conditions.iter_mut().filter(|c| c["type"] == "Ready") {
        condition["lastTransitionTime"] = json!(at(2).to_string());
    }
    assert_eq!(
        available_at(&flipped.view(), 30),
        Some(at(32)),
        "Ready tells of this update"
    );
}

/// A node that is cut off shows a container of the update in between for long: that is no proof.
#[test]
fn what_a_node_showed_before_the_change_is_no_proof_for_minutes() {
    let mut pod = LivePod::running(&["c1=app:v1"]);
    begin_on(&mut pod, &images(&[("c1", "app:v2")]), PLAIN, 0);
    let third = UpdateSpec {
        revision: "web-third".into(),
        ..images(&[("c1", "app:v3")])
    };
    begin_on(&mut pod, &third, PLAIN, 10);
    let pod = pod.restarted("c1", "app:v2", 5);
    let recheck = |seconds| match completion_of(&pod, PLAIN, seconds) {
        Completion::Waiting { recheck_at, .. } => recheck_at,
        other => panic!("{other:?}"),
    };
    assert_eq!(recheck(500), Some(at(610)));
}
