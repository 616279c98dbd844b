//! cloneset.md 6 to 11: whole passes, and whole rollouts.

use pitstop_api::reasons;

use super::*;

/// 8: pods are added and removed.
#[test]
fn pods_are_scaled() {
    for (case, world, want) in [
        ("empty", World::new(3), "create 0 old 3 new"),
        (
            "as many as one pass makes",
            World::new(2000),
            "create 0 old 500 new",
        ),
        (
            "E13",
            World::new(5).pods("2o+ 2n+").rolling("partition", 3),
            "create 1 old 0 new",
        ),
        (
            "E12",
            World::new(10).pods("3o+ 3n+").rolling("partition", "50%"),
            "create 2 old 2 new",
        ),
        ("one too many", World::new(2).pods("3n+"), "delete 0"),
        ("the unready one first", World::new(2).pods("2n+ 1n-"), "delete 2"),
        (
            "named",
            World::new(2)
                .pods("2n+")
                .set("/spec/scaleStrategy/podsToDelete", json!(["web-00001"])),
            "delete 1",
        ),
        ("marked", World::new(2).pods("1n+ 1n+!"), "delete 1"),
        ("marked, no budget", World::new(3).pods("1n+ 1n+! 1n-"), "nothing"),
        (
            "marked, beside one that is marked and not ready",
            World::new(4).pods("2n+ 1n+! 1n-!"),
            "delete 3",
        ),
        (
            "marked and not ready",
            World::new(3).pods("1n+ 1n-! 1n-"),
            "delete 1",
        ),
        (
            "E21",
            World::new(2).pods("3n+ 1nD+").set(
                "/spec/lifecycle/preDelete",
                json!({ "labelsHandler": { "app": "web" } }),
            ),
            "nothing",
        ),
        (
            "hooked",
            World::new(1).pods("2n+").set(
                "/spec/lifecycle/preDelete",
                json!({ "labelsHandler": { "app": "web" } }),
            ),
            "prepare 0",
        ),
        ("let go", World::new(1).pods("1n+ 1nD+"), "delete 1"),
        ("needed again", World::new(2).pods("1n+ 1nD+"), "prepare 1"),
        (
            "18.9",
            World::new(3).pods("5n+").set("/spec/minReadySeconds", 9999),
            "delete 0 1",
        ),
        (
            "limited",
            World::new(5)
                .pods("1n+")
                .set("/spec/scaleStrategy/maxUnavailable", 2),
            "create 0 old 2 new",
        ),
        (
            "E20, 18.8",
            World::new(5).pods("4o+").rolling("paused", true),
            "create 1 old 0 new",
        ),
        (
            "OnDelete",
            World::new(2)
                .pods("1o+ 1o+!")
                .set("/spec/updateStrategy", json!({ "type": "OnDelete" })),
            "delete 1",
        ),
        (
            "OnDelete, gone",
            World::new(2)
                .pods("1o+")
                .set("/spec/updateStrategy", json!({ "type": "OnDelete" })),
            "create 0 old 1 new",
        ),
    ] {
        assert_eq!(world.does(), want, "{case}");
    }
    let limited = World::new(5)
        .pods("1n+")
        .set("/spec/scaleStrategy/maxUnavailable", 2)
        .plan();
    assert!(limited.events.iter().any(|event| event.reason == "ScaleUpLimited"
        && event.message == "scaleUp is limited because of scaleStrategy.maxUnavailable, limit: 2"));
}

/// 18.6: pods that are to go do so although none may be added.
#[test]
fn deletions_do_not_wait_for_pods_that_cannot_be_added() {
    let world = World::new(4)
        .pods("1n+ 1nD+")
        .set("/spec/scaleStrategy/maxUnavailable", 0)
        .with(|world| {
            world.pods[1] = world.pods[1]
                .clone()
                .label("apps.kruise.io/specified-delete", "true");
        });
    assert_eq!(world.does(), "delete 1");
}

/// 17, U20 to U28: one pod.
#[test]
fn one_pod_is_updated_as_the_policy_says() {
    let one = |letters: &str| World::new(1).pods(letters);
    let state =
        |world: World, state: &str| world.edit(0, |pod| pod.label("lifecycle.apps.kruise.io/state", state));
    for (row, world, want) in [
        (
            "U20",
            state(
                one("1o+").rolling("podUpdatePolicy", "ReCreate"),
                "PreparingNormal",
            )
            .edit(0, |pod| pod.set("/spec/nodeName", "")),
            "recreate 0",
        ),
        ("U21", one("1o+").set("/spec/template", env()), "recreate 0"),
        ("U22", one("1o+"), "in place 0"),
        ("U25", state(one("1o+"), "PreparingNormal"), "nothing"),
        (
            "U28",
            one("1o+").edit(0, |pod| {
                let labels = json!({ "app": "web", "controller-revision-hash": "web-old" });
                pod.set("/metadata/labels", labels)
            }),
            "nothing",
        ),
        (
            "InPlaceOnly",
            one("1o+")
                .rolling("podUpdatePolicy", "InPlaceOnly")
                .set("/spec/template", env()),
            "nothing",
        ),
        ("paused", one("1o+").rolling("paused", true), "nothing"),
        ("partition", one("1o+").rolling("partition", 1), "nothing"),
        (
            "already marked",
            one("1o-!").rolling("podUpdatePolicy", "ReCreate"),
            "delete 0",
        ),
        (
            "without rollingUpdate",
            one("1o+").set("/spec/updateStrategy", json!({ "type": "RollingUpdate" })),
            "recreate 0",
        ),
        (
            "unknown policy",
            one("1o+").rolling("podUpdatePolicy", "Other"),
            "nothing",
        ),
        (
            "unknown type",
            one("1o+").set("/spec/updateStrategy/type", "Other"),
            "nothing",
        ),
        (
            "malformed partition",
            one("1o+").rolling("partition", "abc"),
            "nothing",
        ),
        (
            "terminating",
            one("1o+").set("/metadata/deletionTimestamp", at(0).to_string()),
            "nothing",
        ),
        (
            "prepares first",
            one("1o+").set(
                "/spec/lifecycle/inPlaceUpdate",
                json!({ "labelsHandler": { "app": "web" } }),
            ),
            "prepare 0",
        ),
    ] {
        assert_eq!(world.does(), want, "{row}");
    }
    let only = one("1o+")
        .rolling("podUpdatePolicy", "InPlaceOnly")
        .set("/spec/template", env());
    let status = only.status();
    let failed = status.condition("FailedUpdate").unwrap();
    assert!(
        failed
            .message
            .starts_with("find Pod web-00000 update strategy is InPlaceOnly but can not update in-place")
    );
    assert!(matches!(only.reason(0), Some(Reason::NotInPlace { .. })));
}

/// 18.24, L1: a pod that has to stay and cannot be updated holds no other up, however often it would be first.
#[test]
fn a_pod_that_cannot_be_updated_holds_no_other_up() {
    let mut other = revision("web-other", "foo1", 0);
    other["data"]["spec"]["template"] = env();
    let mut world = World::new(3)
        .pods("3o+")
        .rolling("podUpdatePolicy", "InPlaceOnly")
        .rolling("maxUnavailable", 1)
        .edit(0, |pod| {
            pod.set("/metadata/labels/controller-revision-hash", "web-other")
        })
        .with(|world| world.revisions.push(other));
    assert_eq!(world.does(), "in place 1");
    assert!(matches!(world.reason(0), Some(Reason::NotInPlace { .. })));
    let status = world.status();
    assert!(
        status
            .condition("FailedUpdate")
            .unwrap()
            .message
            .contains("web-00000"),
        "{status:?}"
    );
    world = world.at(100);
    settle(&mut world);
    let images: Vec<&str> = world.pods.iter().map(|pod| pod.image("c1")).collect();
    assert_eq!(images, ["foo1", "foo2", "foo2"]);
}

/// inplace.md 13.13: what is in the way of an update is told once, stays in a condition as long as it lasts, and goes.
#[test]
fn an_image_that_cannot_be_pulled_is_told() {
    let mut world = World::new(3).pods("3o+").rolling("maxUnavailable", 2);
    world.apply(&world.plan());
    let stuck = |world: &World, reason: &str| {
        let waiting = json!({ "waiting": { "reason": reason } });
        let stuck = |world: World, i| world.edit(i, |pod| pod.status("c1", "state", waiting.clone()));
        stuck(stuck(world.clone(), 0), 1)
    };
    let told = |world: &World| {
        let events = world.plan().events;
        let stalls = events.into_iter().filter(|e| e.reason == "InPlaceUpdateStalled");
        stalls
            .map(|e| (e.message.to_string(), e.once_per))
            .collect::<Vec<_>>()
    };
    let failure = |world: &World| {
        let status = world.status();
        status
            .condition("FailedUpdate")
            .map(|c| (c.status.clone(), c.message.clone()))
    };
    assert_eq!(told(&stuck(&world, "ContainerCreating")), []);
    assert_eq!(failure(&stuck(&world, "ContainerCreating")), None);
    let (backs_off, fails) = (stuck(&world, "ImagePullBackOff"), stuck(&world, "ErrImagePull"));
    let events = told(&backs_off);
    assert_eq!(
        events[0].0,
        "update of pod web-00000 in-place does not go on: the new image of container c1 cannot be pulled"
    );
    assert_eq!(events.len(), 2);
    assert_eq!(events[0].1, events[1].1, "one event for both pods");
    assert_eq!(told(&fails), events, "the kubelet tries again: no other event");
    assert_eq!(failure(&fails), Some(("True".into(), events[0].0.clone())));
    let written = serde_json::to_value(&fails.status().conditions).unwrap();
    let mut over = world.set("/status/conditions", written);
    over.kubelets();
    assert_eq!(failure(&over), Some(("False".into(), String::new())));
}

/// 18.27: a percentage that keeps the only pod.
#[test]
fn a_percentage_that_keeps_every_pod_is_told() {
    let told = |world: &World| {
        let events = world.plan().events;
        events.iter().any(|event| event.reason == "PartitionKeepsAll")
    };
    let of = |partition: Value| World::new(1).pods("1o+").rolling("partition", partition);
    let world = of(json!("50%"));
    assert!(told(&world));
    let status = world.status();
    let condition = status.condition("Progressing").unwrap();
    assert_eq!(
        (&*condition.status, &*condition.reason, &*condition.message),
        (
            "True",
            "ProgressPartitionAvailable",
            "partition 50% is rounded up and keeps the only pod at the current revision; set it to 0 to update"
        )
    );
    for (case, world) in [
        ("a number is meant", of(json!(1))),
        ("so is all", of(json!("100%"))),
        ("nothing is kept", of(json!("0%"))),
        (
            "it is updated",
            World::new(1).pods("1n+").rolling("partition", "50%"),
        ),
        (
            "one of two goes",
            World::new(2).pods("2o+").rolling("partition", "50%"),
        ),
    ] {
        assert!(!told(&world), "{case}");
        assert!(world.status().condition("Progressing").is_none(), "{case}");
    }
}

/// Issue "In-place update and CloneSet", 1: why a pod is replaced reaches the user as event and in `why`.
#[test]
fn who_is_replaced_is_told_why() {
    let world = World::new(1)
        .pods("1o+")
        .rolling("podUpdatePolicy", "InPlaceIfPossible")
        .rolling("maxUnavailable", 1)
        .set("/spec/template", env());
    let plan = world.plan();
    let marks = plan.actions.iter().find_map(|action| match action {
        Action::PatchPod { why, .. } => Some(why),
        _ => None,
    });
    let event = marks.unwrap().succeeded("web-00000").unwrap();
    let Some(Reason::Replacing { why }) = world.reason(0) else {
        panic!("{:?}", world.reason(0))
    };
    let made = plan.actions.iter().find_map(|action| match action {
        Action::CreateRevision { name, .. } => Some(name),
        _ => None,
    });
    let upstream = format!(
        "successfully patch pod web-00000 specified-delete for update(revision {})",
        made.unwrap()
    );
    assert_eq!(event.message, format!("{upstream}: not in-place, since {why}"));
}

/// 17, U22 to U24: the writes of an update in place, with and without a grace period.
#[test]
fn an_update_in_place_writes_labels_state_and_image_together() {
    let mut world = World::new(1).pods("1o+");
    let plan = world.plan();
    let Some(Action::PatchPod { writes, .. }) = plan.actions.first() else {
        panic!("{plan:?}")
    };
    assert_eq!(writes.len(), 2, "U22: the status, and everything else");
    world.apply(&plan);
    let pod = &world.pods[0];
    assert_eq!(pod.image("c1"), "foo2");
    assert_eq!(
        pod.get("/metadata/labels/controller-revision-hash"),
        Some(&json!("web-new"))
    );
    assert_eq!(pod.get("/metadata/labels/pod-template-hash"), Some(&json!("new")));
    assert_eq!(
        pod.get("/metadata/labels/lifecycle.apps.kruise.io~1state"),
        Some(&json!("Updating"))
    );
    assert_eq!(pod.says("InPlaceUpdateReady"), Some("False"));

    let mut world = World::new(1)
        .pods("1o+")
        .rolling("inPlaceUpdateStrategy/gracePeriodSeconds", 3630);
    world.apply(&world.plan());
    assert_eq!(
        (world.pods[0].image("c1"), world.does().as_str()),
        ("foo1", "nothing"),
        "U23"
    );
    let world_at = |seconds| world.clone().at(seconds);
    let plan = world_at(3610).plan();
    assert_eq!(plan.requeue_after.map(|after| after.as_secs()), Some(20), "U23");
    assert_eq!(plan.actions, [], "U23");
    let mut late = world_at(3660);
    let began_at = late.pods[0].state().unwrap()["updateTimestamp"].clone();
    late.apply(&late.plan());
    assert_eq!(late.pods[0].image("c1"), "foo2", "U24");
    assert_eq!(late.pods[0].state().unwrap()["updateTimestamp"], began_at, "U24");
}

/// 17, U25 to U27b: states of new pods.
#[test]
fn new_pods_count_when_they_may() {
    let hooks = json!({ "preNormal": { "finalizersHandler": ["fz"] }, "inPlaceUpdate": { "finalizersHandler": ["fz"] } });
    let pre_normal = json!({ "preNormal": { "finalizersHandler": ["fz"] } });
    let preparing = |world: World| {
        world.edit(0, |pod| {
            pod.label("lifecycle.apps.kruise.io/state", "PreparingNormal")
        })
    };
    let state = |world: &World| {
        let mut world = world.clone();
        let plan = world.plan();
        world.apply(&plan);
        world.pods[0]
            .get("/metadata/labels/lifecycle.apps.kruise.io~1state")
            .unwrap()
            .as_str()
            .unwrap()
            .to_owned()
    };
    let one = || preparing(World::new(1).pods("1o+"));
    assert_eq!(state(&one()), "Normal", "U25");
    let mut fresh = one().edit(0, |pod| {
        pod.without_condition("InPlaceUpdateReady")
            .without_condition("KruisePodReady")
    });
    let plan = fresh.plan();
    assert!(
        matches!(plan.actions.as_slice(), [Action::PatchPod { writes, .. }] if writes.len() == 1),
        "one write"
    );
    fresh.apply(&plan);
    assert_eq!(fresh.pods[0].says("KruisePodReady"), Some("True"), "inplace.md 8");
    assert_eq!(fresh.pods[0].says("InPlaceUpdateReady"), Some("True"));
    assert_eq!(
        state(
            &one()
                .rolling("paused", true)
                .edit(0, |pod| pod.set("/spec/nodeName", ""))
        ),
        "PreparingNormal",
        "U25b"
    );
    let labelled = |label: &str| {
        let hook = json!({ "preNormal": { "labelsHandler": { "slow-start": "passed" } } });
        preparing(World::new(1).pods("1n+"))
            .set("/spec/lifecycle", hook)
            .edit(0, |pod| pod.set("/spec/nodeName", "").label(label, "passed"))
    };
    assert_eq!(state(&labelled("other")), "PreparingNormal", "U26, absent");
    assert_eq!(
        state(&labelled("slow-start")),
        "Normal",
        "U26, present, without a node"
    );
    assert_eq!(
        state(&one().set("/spec/lifecycle", pre_normal)),
        "Updating",
        "U27"
    );
    let held = one()
        .set("/spec/lifecycle", hooks)
        .edit(0, |pod| pod.set("/metadata/finalizers", json!(["fz"])));
    assert_eq!(state(&held), "Normal", "U27b");
    let mut held = held;
    held.apply(&held.plan());
    assert_eq!(state(&held), "PreparingUpdate", "U27b, the next pass");
    assert_eq!(held.pods[0].image("c1"), "foo1", "U27b");
}

/// L1, inplace.md 13.4: pods that left service for an update that they do not get any more return, in the usual way.
#[test]
fn pods_that_prepared_for_nothing_return() {
    let hook = json!({ "inPlaceUpdate": { "labelsHandler": { "serves": "true" } } });
    let two = || World::new(3).pods("2oP+ 1o+").rolling("maxUnavailable", 2);
    let hooked = || two().set("/spec/lifecycle", hook.clone());
    let states = |world: World| {
        let mut world = world;
        let plan = world.plan();
        world.apply(&plan);
        let state = |pod: &LivePod| {
            let state = pod.get("/metadata/labels/lifecycle.apps.kruise.io~1state");
            state.unwrap().as_str().unwrap().to_owned()
        };
        world.pods.iter().map(state).collect::<Vec<_>>().join(" ")
    };
    for (row, world, want) in [
        ("their turn", two(), "Updating Updating Normal"),
        (
            "one kept",
            two().rolling("partition", 2),
            "Updating Normal Normal",
        ),
        ("all kept", two().rolling("partition", 3), "Normal Normal Normal"),
        (
            "all kept, hooked",
            hooked().rolling("partition", 3),
            "Updated Updated Normal",
        ),
        (
            "updated by nobody",
            hooked().set("/spec/updateStrategy/type", "OnDelete"),
            "Updated Updated Normal",
        ),
        (
            "paused",
            hooked().rolling("partition", 3).rolling("paused", true),
            "PreparingUpdate PreparingUpdate Normal",
        ),
    ] {
        assert_eq!(states(world), want, "{row}");
    }
    // Whoever took it out of service takes it in again, and it stays as it was.
    let back = hooked()
        .rolling("partition", 3)
        .edit(0, |pod| pod.label("serves", "true"));
    let mut back = back.edit(0, |pod| pod.label("lifecycle.apps.kruise.io/state", "Updated"));
    back.apply(&back.plan());
    assert_eq!(states(back.clone()).split(' ').next(), Some("Normal"));
    assert_eq!(back.pods[0].image("c1"), "foo1");
}

/// Passes until nothing changes any more, with the kubelets at work; how many writes to pods that took.
fn settle(world: &mut World) -> usize {
    let mut n_writes = 0;
    for _ in 0..200 {
        let plan = world.plan();
        let pods = plan.actions.len();
        n_writes += world.apply(&Plan {
            status: None,
            ..plan.clone()
        });
        world.apply(&Plan {
            actions: Vec::new(),
            ..plan.clone()
        });
        world.kubelets();
        let most = world
            .pods
            .iter()
            .filter(|pod| pod.says("Ready") != Some("True"))
            .count();
        let limit = world.view().update.rolling.map_or(1, |_| 1);
        assert!(
            most <= limit + usize::from(plan.actions.iter().any(|a| matches!(a, Action::CreatePod(_)))),
            "S1: {most}"
        );
        if pods == 0 && plan.status.is_none() && world.plan().actions.is_empty() {
            return n_writes;
        }
        world.now += 10;
    }
    let plan = world.plan();
    panic!("it does not settle: {:?} {:?}", plan.actions, plan.status);
}

/// S6, L1: seed 004 in small. Names and uids stay, each container restarts once, and a pod takes three writes.
#[test]
fn a_rollout_in_place_ends_with_the_same_pods() {
    let mut world = World::new(5).pods("5o+").at(100);
    let before: Vec<Uid> = world.pods.iter().map(uid_of).collect();
    let n_writes = settle(&mut world);
    assert_eq!(world.pods.iter().map(uid_of).collect::<Vec<_>>(), before, "S6");
    for pod in &world.pods {
        let view = pod.view();
        assert_eq!(
            (pod.image("c1"), view.in_place.unwrap().statuses[0].restart_count),
            ("foo2", 1)
        );
        assert_eq!(
            pod.get("/metadata/labels/lifecycle.apps.kruise.io~1state"),
            Some(&json!("Normal"))
        );
    }
    assert_eq!(n_writes, 5 * 3, "status, pod, status");
    let status = world.view().status;
    assert_eq!(
        (
            status.current_revision.as_str(),
            status.updated_available_replicas
        ),
        ("web-new", 5)
    );
}

/// L1: a rollout by replacement, and one with surge.
#[test]
fn a_rollout_by_replacement_ends() {
    for (case, world) in [
        ("ReCreate", World::new(3).pods("3o+")),
        ("surge", World::new(3).pods("3o+").rolling("maxSurge", 1)),
    ] {
        let mut world = world.rolling("podUpdatePolicy", "ReCreate").at(100);
        settle(&mut world);
        assert_eq!(world.pods.len(), 3, "{case}");
        assert!(world.pods.iter().all(|pod| pod.image("c1") == "foo2"), "{case}");
    }
}

/// S1: a pod that was taken out of service and whose containers were not changed, since the controller stopped, is the first
/// to be updated, and no other goes beside it.
#[test]
fn an_interrupted_update_is_taken_up_first() {
    let world = World::new(3).pods("3o+").edit(1, |pod| {
        pod.condition("InPlaceUpdateReady", "False", "controllerrevision: web-new")
            .condition("Ready", "False", "")
    });
    assert_eq!(world.does(), "in place 1");
}

/// inplace.md 13.11: the template changes while a pod drains.
#[test]
fn a_pod_in_its_grace_period_goes_to_the_newest_revision() {
    let mut world = World::new(2)
        .pods("2o+")
        .rolling("inPlaceUpdateStrategy/gracePeriodSeconds", 30);
    world.apply(&world.plan());
    world.revisions.push(revision("web-next", "foo3", 3));
    let mut world = world.set("/spec/template", template("foo3")).at(10);
    assert_eq!(
        world.does(),
        "in place 0",
        "the one that is out of service already"
    );
    world.apply(&world.plan());
    let mut world = world.at(30);
    world.apply(&world.plan());
    assert_eq!(
        (world.pods[0].image("c1"), world.pods[1].image("c1")),
        ("foo3", "foo1")
    );
}

/// inplace.md 13.7: labels alone change at once, in all pods, and none leaves service.
#[test]
fn metadata_alone_costs_no_budget() {
    let mut labelled = template("foo1");
    labelled["metadata"]["labels"]["tier"] = json!("gold");
    let mut world = World::new(3)
        .pods("3o+")
        .rolling("maxSurge", 1)
        .set("/spec/template", labelled);
    assert_eq!(world.does(), "in place 0 1 2");
    world.apply(&world.plan());
    assert!(
        world
            .pods
            .iter()
            .all(|pod| pod.says("InPlaceUpdateReady") == Some("True"))
    );
    assert!(
        world
            .pods
            .iter()
            .all(|pod| pod.get("/metadata/labels/tier") == Some(&json!("gold")))
    );
}

/// S1: who is asked before an update takes the pod out of service, so each costs, even where no container is touched.
#[test]
fn metadata_alone_costs_where_a_hook_is_asked() {
    let mut labelled = template("foo1");
    labelled["metadata"]["labels"]["tier"] = json!("gold");
    let hook = json!({"inPlaceUpdate": {"labelsHandler": {"app": "web"}, "markPodNotReady": true}});
    let world = World::new(3)
        .pods("3o+")
        .rolling("maxUnavailable", 1)
        .set("/spec/lifecycle", hook)
        .set("/spec/template", labelled);
    assert_eq!(world.does(), "prepare 0");
}

/// L1: a pod that cannot run and pods that are missing do not wait for each other; an available one never goes for that.
#[test]
fn a_broken_pod_is_updated_while_others_are_missing() {
    let world = |pods: &str| {
        World::new(6)
            .pods(pods)
            .rolling("maxUnavailable", 1)
            .set("/spec/scaleStrategy/maxUnavailable", 1)
    };
    assert_eq!(world("3o+ 1o-").does(), "in place 3");
    assert_eq!(world("3o+ 1n-").does(), "nothing");
}

/// 10.3, L1: under `OnDelete` no pod is updated, so none is added to update others.
#[test]
fn pods_that_are_updated_by_nobody_need_no_surge() {
    let world = World::new(3)
        .pods("3o+")
        .rolling("maxSurge", 2)
        .set("/spec/updateStrategy/type", "OnDelete");
    assert_eq!(world.does(), "nothing");
}

/// 18.15: a pod that is marked already is not marked again, and keeps its place in the budget.
#[test]
fn a_marked_pod_is_not_marked_again() {
    let world = World::new(3)
        .pods("1o-! 2o+")
        .rolling("podUpdatePolicy", "ReCreate")
        .with(|world| world.in_flight.deleted = vec![uid_of(&world.pods[0])]);
    assert_eq!(world.does(), "create 0 old 1 new", "it is gone already");
    let marked = World::new(3)
        .pods("1o+! 1n- 1o+")
        .rolling("podUpdatePolicy", "ReCreate");
    assert_eq!(marked.does(), "nothing", "no budget");
    assert_eq!(marked.reason(0), Some(Reason::DeleteLimit));
}

/// inplace.md 13.9: a resize that the server refuses leads to the revision another way, before and after it began.
#[test]
fn a_refused_resize_does_not_hold_a_pod_up() {
    let resources = json!({ "requests": { "cpu": "2" } });
    let mut world = World::new(2)
        .pods("2o+")
        .set("/spec/template/spec/containers/0/resources", resources.clone());
    world.revisions[1]["data"]["spec"]["template"]["spec"]["containers"][0]["resources"] = resources;
    for revision in 0..2 {
        let container = "/data/spec/template/spec/containers/0/image";
        *world.revisions[revision].pointer_mut(container).unwrap() = json!("foo1");
    }
    world.cloneset["spec"]["template"]["spec"]["containers"][0]["image"] = json!("foo1");
    world.revisions[0]["data"]["spec"]["template"]["spec"]["containers"][0]["resources"] =
        json!({ "requests": { "cpu": "1" } });
    for pod in &mut world.pods {
        *pod = pod.clone().set(
            "/spec/containers/0/resources",
            json!({ "requests": { "cpu": "1" } }),
        );
    }
    assert_eq!(world.does(), "recreate 0", "the server does not resize");
    world.features.in_place.vertical_scaling = true;
    assert_eq!(world.does(), "in place 0");
    world.in_flight.refused_resizes.push(RefusedResize {
        pod: uid_of(&world.pods[0]),
        revision: "web-new".into(),
        message: "it may not".into(),
    });
    assert_eq!(world.does(), "recreate 0");
    let only = world.clone().rolling("podUpdatePolicy", "InPlaceOnly");
    assert_eq!(only.does(), "nothing");
    let why = "the server refuses the new resources: it may not".to_owned();
    assert_eq!(only.reason(0), Some(Reason::NotInPlace { why }));
    // Its update has begun, and waits for a resize that never comes.
    let mut begun = world.edit(0, |pod| {
        pod.label("controller-revision-hash", "web-new")
            .label("lifecycle.apps.kruise.io/state", "Updating")
            .condition("InPlaceUpdateReady", "False", "")
    });
    assert_eq!(begun.does(), "recreate 0");
    begun.in_flight.refused_resizes.clear();
    assert_eq!(begun.does(), "nothing");
}

/// What was done and is not seen yet counts.
#[test]
fn writes_in_flight_count() {
    let mut world = World::new(3).pods("2n+");
    world.in_flight.created.push(created("x2b4c", "web-new"));
    assert_eq!(world.does(), "nothing");
    let mut gone = World::new(2).pods("3n+");
    gone.in_flight.deleted.push(uid_of(&gone.pods[1]));
    assert_eq!(gone.does(), "nothing");
    let mut unpatched = World::new(3).pods("3o+");
    unpatched.in_flight.maybe_patched.push(uid_of(&unpatched.pods[2]));
    assert_eq!(unpatched.does(), "nothing", "it may have left service");
    let mut unheard = World::new(2).pods("3n+");
    unheard.in_flight.maybe_deleted.push(uid_of(&unheard.pods[2]));
    assert_eq!(unheard.does(), "delete 2", "the same one again");
}

/// S7: pods of others, and pods whose labels do not match any more.
#[test]
fn pods_of_others_are_left_alone() {
    let foreign = World::new(0).pods("1n+").edit(0, |pod| {
        pod.set(
            "/metadata/ownerReferences/0/uid",
            "00000000-0000-0000-0000-000000000002",
        )
    });
    assert_eq!(foreign.plan().actions, []);
    let strayed = World::new(0).pods("1n+").edit(0, |pod| pod.label("app", "other"));
    assert!(matches!(
        strayed.plan().actions.as_slice(),
        [Action::ReleasePod { .. }]
    ));
}

/// 18.13: pods that have ended go when they are replaced.
#[test]
fn ended_pods_go_when_others_serve() {
    let ended = |world: World| world.edit(0, |pod| pod.set("/status/phase", "Failed"));
    assert_eq!(ended(World::new(2).pods("1n+ 1n+")).does(), "create 0 old 1 new");
    assert_eq!(ended(World::new(2).pods("1n+ 2n+")).does(), "delete 0");
}

/// 6, step 13.
#[test]
fn names_of_pods_that_are_gone_leave_the_list() {
    let world = World::new(1).pods("1n+").set(
        "/spec/scaleStrategy/podsToDelete",
        json!(["web-gone", "web-00000"]),
    );
    let kept = world.plan().actions.into_iter().find_map(|action| match action {
        Action::PrunePodsToDelete { kept, .. } => Some(kept),
        _ => None,
    });
    assert_eq!(kept, Some(vec!["web-00000".into()]));
}

/// 11: counters.
#[test]
fn the_status_counts_pods() {
    let status = World::new(5)
        .pods("2o+ 1n+ 1nU+ 1n-")
        .rolling("partition", 2)
        .status();
    let counts = [
        status.replicas,
        status.ready_replicas,
        status.available_replicas,
        status.updated_replicas,
        status.updated_ready_replicas,
        status.updated_available_replicas,
        status.expected_updated_replicas,
    ];
    assert_eq!(counts, [5, 4, 3, 3, 2, 1, 3]);
    assert_eq!(
        (status.current_revision.as_str(), status.update_revision.as_str()),
        ("web-old", "web-new")
    );
    assert_eq!(
        (status.observed_generation, status.label_selector.as_str()),
        (2, "app=web")
    );
    assert_eq!(
        World::new(2).pods("1n+ 1n-").status().current_revision,
        "web-new",
        "readiness does not matter"
    );
    assert_eq!(World::new(0).status().current_revision, "web-new");
    let invalid = World::new(5).pods("2o+").rolling("partition", "x");
    assert_eq!(invalid.status().expected_updated_replicas, 0);
    assert!(
        invalid
            .plan()
            .events
            .iter()
            .any(|event| event.reason == reasons::INVALID_SPEC)
    );
}

/// 11: how far the rollout is, and 18.4.
#[test]
fn progress_follows_the_last_change() {
    let progressing = |reason: &str, updated_at: i64| {
        json!([{ "type": "Progressing", "status": "True", "reason": reason,
            "lastUpdateTime": at(updated_at).to_string(), "lastTransitionTime": at(updated_at).to_string() }])
    };
    let world = |picture: &str| {
        World::new(5)
            .pods(picture)
            .set("/spec/progressDeadlineSeconds", 10)
    };
    let counted = |world: World| {
        let status = serde_json::to_value(world.status()).unwrap();
        world.set("/status", status)
    };
    let reason = |world: &World| world.status().condition("Progressing").map(|c| c.reason.clone());
    let text = |text: &str| Some(text.to_owned());
    assert_eq!(
        reason(&world("3o+ 2n+")),
        text("CloneSetUpdated"),
        "no condition yet"
    );
    assert_eq!(
        reason(&world("4o+ 1n+").rolling("partition", 4)),
        text("ProgressPartitionAvailable")
    );
    assert_eq!(
        reason(&world("3o+ 2n+").rolling("paused", true)),
        text("CloneSetPaused")
    );
    assert_eq!(reason(&world("5n+")), text("CloneSetAvailable"));
    assert_eq!(reason(&World::new(5).pods("5n+")), None, "no deadline");
    let stuck = counted(world("4o+ 1n-")).set("/status/conditions", progressing("CloneSetUpdated", -20));
    assert_eq!(reason(&stuck), text("ProgressDeadlineExceeded"));
    let waits = counted(world("4o+ 1n-")).set("/status/conditions", progressing("CloneSetUpdated", -5));
    assert_eq!(reason(&waits), text("CloneSetUpdated"));
    assert_eq!(waits.plan().requeue_after.map(|after| after.as_secs()), Some(5));
    // 18.4
    let later = counted(world("4o+ 1n-")).set("/status/conditions", progressing("CloneSetAvailable", -3600));
    assert_eq!(
        reason(&later),
        text("CloneSetUpdated"),
        "available for an hour, and a new image"
    );
    let over = |world: World| {
        let mut conditions = progressing("ProgressDeadlineExceeded", -20);
        conditions[0]["status"] = json!("False");
        world.set("/status/conditions", conditions)
    };
    let moved = over(counted(world("4o+ 1n-"))).set("/status/updateRevision", "web-before");
    assert_eq!(reason(&moved), text("CloneSetUpdated"), "a new revision");
    let grown = over(counted(world("4o+ 1n-"))).edit(4, |pod| pod.condition("Ready", "True", ""));
    assert_eq!(reason(&grown), text("CloneSetUpdated"), "one more is ready");
    let exceeded = over(counted(world("4o+ 1n-")));
    let written = serde_json::to_value(exceeded.status()).unwrap();
    assert_eq!(
        exceeded.set("/status", written).plan().status,
        None,
        "written once"
    );
}

/// L1: once everything is as it should be, nothing is written any more, however often it is looked at.
#[test]
fn progress_at_rest_is_written_once() {
    for (picture, paused) in [("5n+", false), ("3o+ 2n+", true)] {
        let world = World::new(5)
            .pods(picture)
            .rolling("paused", paused)
            .set("/spec/progressDeadlineSeconds", 10);
        let status = serde_json::to_value(world.status()).unwrap();
        let later = world.set("/status", status).at(300);
        assert_eq!(later.plan().status, None, "{picture}");
    }
}

/// 18.5: failures are said, and forgotten when they are over.
#[test]
fn failures_are_forgotten_when_they_are_over() {
    let mut world = World::new(1).pods("1n+");
    world.failures.scale = Some("quota exceeded".into());
    let status = world.status();
    let failed = status.condition("FailedScale").unwrap();
    assert_eq!(
        (failed.status.as_str(), failed.message.as_str()),
        ("True", "quota exceeded")
    );
    let mut over = world.set("/status", serde_json::to_value(status).unwrap());
    over.failures = Failures::default();
    assert_eq!(over.status().condition("FailedScale").unwrap().status, "False");
}

/// design.md L3: why pods wait.
#[test]
fn every_pod_that_waits_has_a_reason() {
    let word = |world: &World, i: usize| world.reason(i).map(|reason| reason.word());
    assert_eq!(word(&World::new(2).pods("1o+ 1n-"), 0), Some("MaxUnavailable"));
    assert_eq!(word(&World::new(2).pods("1o+ 1n-"), 1), Some("NotReady"));
    assert_eq!(
        word(&World::new(2).pods("2o+").rolling("partition", 2), 0),
        Some("Partition")
    );
    assert_eq!(
        word(&World::new(2).pods("2o+").rolling("paused", true), 0),
        Some("Paused")
    );
    assert_eq!(
        word(&World::new(1).pods("1n+").set("/spec/minReadySeconds", 9999), 0),
        Some("MinReadySeconds")
    );
    assert_eq!(word(&World::new(1).pods("1n+"), 0), None);
    // Pods that are missing cost the budget, too.
    let short = World::new(4)
        .pods("3o+")
        .set("/spec/scaleStrategy", json!({ "maxUnavailable": 0 }));
    let used = Reason::MaxUnavailable { used: 1, limit: 1 };
    assert_eq!(short.reason(0), Some(used));
    let unscheduled = World::new(1).pods("1n-").edit(0, |pod| {
        pod.set("/status/containerStatuses", json!([])).condition(
            "PodScheduled",
            "False",
            "0/3 nodes are available",
        )
    });
    assert!(
        matches!(unscheduled.reason(0), Some(Reason::NotReady { trouble: Some(why), .. }) if why.contains("0/3 nodes"))
    );
    let mut updating = World::new(1).pods("1o+");
    updating.apply(&updating.plan());
    assert!(
        matches!(updating.reason(0), Some(Reason::InPlace { pending }) if pending.contains("imageID not changed"))
    );
}

/// 18.25: the next look is when the next pod becomes available.
#[test]
fn the_next_look_is_exact() {
    let world = World::new(1).pods("1n+").set("/spec/minReadySeconds", 600).at(0);
    assert_eq!(
        world.plan().requeue_after.map(|after| after.as_secs()),
        Some(100),
        "ready since -500"
    );
}

/// A template that sets a variable, which no running container takes over.
fn env() -> Value {
    let mut template = template("foo2");
    template["spec"]["containers"][0]["env"] = json!([{ "name": "A", "value": "b" }]);
    template
}
