//! statefulset.md 15.1: what upstream does wrong. Rows that other tables hold are named there: 2, 3, 7, 8, 9, 12, 17.

use super::*;

/// Row 1: a pod that is missing is not updated.
#[test]
fn a_rollout_is_not_complete_while_a_pod_is_missing() {
    let world = World::rollout(2).rolling("partition", 1).pods("1B");
    assert_eq!(world.status().current_revision, "web-a");
    assert_eq!(world.does(), "+0A");
    let all = World::rollout(2).pods("0-1B");
    let status = all.status();
    assert_eq!((&*status.current_revision, status.current_replicas), ("web-b", 2));
    let over = World::rollout(2).pods("0-2B");
    assert_eq!(over.status().current_revision, "web-a", "one is there too many");
}

/// Row 4: what an update deletes comes back as fast as the update may delete.
#[test]
fn pods_of_an_update_are_not_held_back_by_the_limit_of_scaling() {
    let world = || {
        World::rollout(20)
            .rolling("maxUnavailable", "60%")
            .scale_max("20%")
            .pods("0-7A")
    };
    assert_eq!(
        world()
            .does()
            .split(' ')
            .filter(|word| word.starts_with('+'))
            .count(),
        12
    );
    let mut upstream = world();
    upstream.features.throttles_updates_as_upstream = true;
    assert_eq!(
        upstream
            .does()
            .split(' ')
            .filter(|word| word.starts_with('+'))
            .count(),
        4
    );
    let at_rest = World::new(20)
        .rolling("maxUnavailable", "60%")
        .scale_max("20%")
        .pods("0-7A");
    assert_eq!(
        at_rest.does().split(' ').count(),
        4,
        "without a rollout the limit holds"
    );
}

/// Row 5: what hinders one pod hinders no other.
#[test]
fn a_claim_that_goes_hinders_only_its_own_pod() {
    let claim = json!({ "metadata": { "name": "data-web-1", "namespace": "default",
        "uid": "00000000-0000-0000-0005-000000000001", "deletionTimestamp": at(-1).to_string() } });
    let world = World::new(3)
        .set(
            "/spec/volumeClaimTemplates",
            json!([{ "metadata": { "name": "data" }, "spec": {} }]),
        )
        .with(|world| world.claims.push(claim));
    assert_eq!(world.does(), "+0A +2A");
    assert_eq!(world.requeue(), Some(5), "row 19");
    assert!(world.events().contains(&"FailedCreate"));
    assert_eq!(world.condition("FailedCreatePod").as_deref(), Some("True"));
}

/// Row 6: a pod that is one too many wakes its StatefulSet.
#[test]
fn a_condemned_pod_that_settles_is_looked_at_again() {
    let world = World::new(1)
        .ordered()
        .rolling("minReadySeconds", 60)
        .pods("0A 1A! 2A~");
    assert_eq!((world.does().as_str(), world.requeue()), ("-", Some(50)));
}

/// Rows 8 and 10: a pod that is in the way at a revision that it should not have is asked to go once, and its hook is waited
/// for.
#[test]
fn a_broken_pod_that_its_hook_holds_stays_on_its_way() {
    let hook = json!({ "preDelete": { "labelsHandler": { "held": "yes" }, "markPodNotReady": true } });
    let mut world = World::rollout(3)
        .ordered()
        .set("/spec/lifecycle", hook)
        .rolling("partition", 3)
        .pods("0-1A 2B!")
        .labels("held", &[(2, "yes")]);
    assert_eq!(world.does(), "2:PreparingDelete");
    world.apply(&world.plan());
    for seconds in [1, 60] {
        let later = world.clone().at(seconds);
        assert_eq!(later.does(), "-", "its hook holds it");
    }
    let freed = world.clone().labels("held", &[(2, "no")]);
    assert_eq!(freed.does(), "-2");
    let back = world.clone().rolling("partition", 0);
    assert_eq!(
        back.does(),
        "2:Normal",
        "it is at the revision of its ordinal again"
    );
    let mended = world.edit(2, |pod| pod.condition("Ready", "True", ""));
    assert_eq!(mended.does(), "2:Normal", "it is ready, and no more in the way");
}

/// Row 10: whoever is needed again comes back.
#[test]
fn a_pod_that_prepared_for_its_deletion_comes_back() {
    let hook = json!({ "preDelete": { "labelsHandler": { "held": "yes" }, "markPodNotReady": true } });
    let world = |replicas| {
        World::new(replicas)
            .set("/spec/lifecycle", hook.clone())
            .pods("0-2A")
            .labels("held", &[(2, "yes")])
            .state(2, "PreparingDelete")
            .edit(2, |pod| {
                pod.condition(
                    "KruisePodReady",
                    "False",
                    r#"[{"userAgent":"Lifecycle","key":"preDeleteHook"}]"#,
                )
            })
    };
    assert_eq!(world(2).does(), "-", "it is too many, and held");
    let mut back = world(3);
    assert_eq!(back.does(), "2:Normal", "scaled up again");
    back.apply(&back.plan());
    assert_eq!(
        back.get(2).unwrap().says("KruisePodReady"),
        Some("True"),
        "row 12"
    );
    let marked = world(3).labels("apps.kruise.io/specified-delete", &[(2, "true")]);
    assert_eq!(marked.does(), "-", "somebody wants it gone");
    let freed = marked.labels("held", &[(2, "no")]);
    assert_eq!(freed.does(), "-2");
    let outdated = world(3)
        .set("/spec/template", template('B'))
        .with(|world| world.revisions.push(revision('B')));
    assert_eq!(outdated.does(), "-", "it is replaced");
    assert_eq!(
        outdated.rolling("partition", 3).does(),
        "2:Normal",
        "not any more"
    );
}

/// Row 11: whoever prepared for an update and is not among those to be updated any more comes back.
#[test]
fn a_pod_that_prepared_for_its_update_comes_back() {
    let hook = json!({ "inPlaceUpdate": { "labelsHandler": { "held": "yes" }, "markPodNotReady": true } });
    let world = |partition: u32| {
        World::rollout(3)
            .in_place()
            .rolling("partition", partition)
            .set("/spec/lifecycle", hook.clone())
            .pods("0-2A")
            .labels("held", &[(2, "yes")])
            .state(2, "PreparingUpdate")
    };
    assert_eq!(world(2).does(), "-", "its hook holds it");
    assert_eq!(world(3).does(), "2:Normal");
    // One after the other: what was begun goes on, though not all are available.
    let freed = world(2).ordered().labels("held", &[(2, "no")]);
    assert_eq!(freed.does(), "@2");
    // Rolled back while it waited: whoever prepared it sees it end in the usual way (inplace.md 13.4).
    let back = world(0)
        .set("/spec/template", template('A'))
        .with(|world| world.revisions[0]["revision"] = json!(3));
    assert_eq!(back.does(), "2:Updated");
}

/// Row 14: once is enough, `false` is no mark, and it works under `OnDelete` and while paused.
#[test]
fn a_mark_counts_once_and_everywhere() {
    assert_eq!(World::new(3).pods("0A 1AsT 2A").does(), "-");
    let marked = |value: &str| {
        World::new(3)
            .pods("0-2A")
            .labels("apps.kruise.io/specified-delete", &[(1, value)])
    };
    assert_eq!(marked("false").does(), "-");
    assert_eq!(marked("true").does(), "-1");
    assert_eq!(marked("").does(), "-1");
    assert_eq!(marked("true").rolling("paused", true).does(), "-1");
    assert_eq!(
        marked("true")
            .set("/spec/updateStrategy", json!({ "type": "OnDelete" }))
            .does(),
        "-1"
    );
    // A pod that is down already goes where pods come one after the other, too.
    assert_eq!(World::new(3).ordered().pods("0A 1A!s 2A").does(), "-1");
}

/// Row 15: conditions stay until what they say is over, and every change is written.
#[test]
fn conditions_stay_until_it_is_over() {
    let mut world = World::new(1);
    world.failures.scale = Some("no quota".into());
    let status = world.status();
    let found = status.condition("FailedCreatePod").unwrap();
    assert_eq!(
        (found.status.as_str(), found.message.as_str()),
        ("True", "StatefulPodControl failed to create Pod error: no quota")
    );
    world.apply(&world.plan());
    world.failures.scale = None;
    assert_eq!(
        world.condition("FailedCreatePod").as_deref(),
        Some("False Succeeded")
    );
    let settled = World::new(1).pods("0A");
    let counted = settled.status();
    let changed = settled
        .set("/status", serde_json::to_value(&counted).unwrap())
        .set("/status/updatedAvailableReplicas", 0);
    assert_eq!(changed.plan().status, Some(counted), "no counter is left out");
}

/// Row 17: a malformed entry is left out, and said.
#[test]
fn a_malformed_range_is_left_out_and_said() {
    let world = World::new(2)
        .reserve(json!([1, "5-2", "7-2147483647"]))
        .pods("0A 2A");
    assert_eq!(world.does(), "-");
    assert_eq!(
        world.condition("InvalidSpec").as_deref(),
        Some("True InvalidSpec")
    );
    let mut mended = world;
    mended.apply(&mended.plan());
    let mended = mended.reserve(json!([1]));
    assert_eq!(
        mended.condition("InvalidSpec").as_deref(),
        Some("False Succeeded")
    );
}

/// Row 18: a request is about exactly the pod that was judged.
#[test]
fn deletions_name_the_version_that_was_judged() {
    let plan = World::new(1).pods("0-1A").plan();
    let [
        Action::DeletePod {
            resource_version: Some(10),
            ..
        },
    ] = plan.actions.as_slice()
    else {
        panic!("{plan:?}")
    };
}

/// Row 21: fields that admission would have filled in.
#[test]
fn fields_that_are_missing_have_their_defaults() {
    let world = World::rollout(3).pods("0-2A").set(
        "/spec/updateStrategy",
        json!({ "type": "RollingUpdate", "rollingUpdate": {} }),
    );
    assert_eq!(world.does(), "-2");
    let nothing = World::rollout(3)
        .pods("0-1A")
        .set("/spec/updateStrategy", json!({}));
    assert_eq!(
        nothing.does(),
        "+2B",
        "6.1: by status.currentReplicas, of which there are none"
    );
    let counted = nothing.set("/status/currentReplicas", 3);
    assert_eq!(counted.does(), "+2A", "6.1");
}

/// Row 24: more than one at a time, where pods come one after the other and all are there.
#[test]
fn several_go_at_once_where_pods_come_one_after_the_other() {
    let world = |pods: &str| {
        World::rollout(5)
            .ordered()
            .rolling("maxUnavailable", 2)
            .pods(pods)
    };
    assert_eq!(world("0-4A").does(), "-4 -3");
    assert_eq!(world("0-2A").does(), "+3B");
    assert_eq!(world("0-2A 3B").does(), "+4B");
}

/// Row 25
#[test]
fn pods_may_come_as_they_were_while_the_rollout_is_paused() {
    let world = World::rollout(5).rolling("paused", true).pods("0-2A");
    assert_eq!(world.does(), "+3B +4B");
    assert_eq!(world.rolling("pausedCreates", "Current").does(), "+3A +4A");
}

/// Our own writes count before the store shows them.
#[test]
fn what_we_did_counts_before_it_is_seen() {
    let posted = World::new(3)
        .pods("0A")
        .with(|world| world.in_flight.created.push(created(1, "web-a")));
    assert_eq!(posted.does(), "+2A");
    assert_eq!(posted.ordered().does(), "-");
    let deleted = World::rollout(3).pods("0-2A").with(|world| {
        let uid = world.get(2).unwrap().view().uid;
        world.in_flight.deleted.push(uid);
    });
    assert_eq!(deleted.does(), "-");
    let in_doubt = World::rollout(3).pods("0-2A").with(|world| {
        let uid = world.get(2).unwrap().view().uid;
        world.in_flight.maybe_deleted.push(uid);
    });
    assert_eq!(in_doubt.does(), "-2", "the same again, and no other");
    let patched = World::rollout(3).pods("0-1A 2B").with(|world| {
        let uid = world.get(2).unwrap().view().uid;
        world.in_flight.maybe_patched.push(uid);
    });
    assert_eq!(patched.does(), "-");
}
