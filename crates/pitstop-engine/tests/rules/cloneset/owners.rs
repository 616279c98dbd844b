//! hub.md B4, D16: owners of nodes ask for the update of a pod, under OTA and without.

use pitstop_api::{keys, reasons};

use super::*;

const TARGET: &str = "controllerrevision: web-new";

fn ota(world: World) -> World {
    world.set(
        "/metadata/annotations",
        json!({(keys::OPENYURT_UPDATE_STRATEGY): "OTA"}),
    )
}

/// The owner of the node asks for a revision, through its hub.
fn asks(pod: LivePod, revision: &str) -> LivePod {
    let message = format!("controllerrevision: {revision}");
    pod.condition(reasons::UPGRADE_REQUESTED, "True", &message)
}

/// Decides, writes, and lets kubelets do their work, until nothing is written any more.
fn settle(mut world: World) -> World {
    for _ in 0..20 {
        let plan = world.plan();
        if world.apply(&plan) == 0 {
            return world;
        }
        world.now += 5;
        world.kubelets();
    }
    panic!("it goes on for ever: {:?}", world.plan());
}

fn image(world: &World, i: usize) -> &str {
    world.pods[i].image("c1")
}

/// Status and message of a condition; empty where it is not there.
fn said<'a>(world: &'a World, i: usize, kind: &str) -> (&'a str, &'a str) {
    let conditions = world.pods[i].json["status"]["conditions"].as_array().unwrap();
    let condition = conditions.iter().find(|condition| condition["type"] == kind);
    let text = |key: &str| {
        condition
            .and_then(|condition| condition[key].as_str())
            .unwrap_or_default()
    };
    (text("status"), text("message"))
}

/// S4: a pod is touched when its owner asked for that very revision, and within the budget.
#[test]
fn under_ota_owners_decide() {
    let three = || ota(World::new(3).pods("3o+"));
    for (case, world, want) in [
        ("nobody asked", three(), "nothing"),
        (
            "one asked",
            three().edit(1, |pod| asks(pod, "web-new")),
            "in place 1",
        ),
        (
            "for what was before",
            three().edit(1, |pod| asks(pod, "web-older")),
            "nothing",
        ),
        (
            "one after the other",
            three()
                .edit(1, |pod| asks(pod, "web-new"))
                .edit(2, |pod| asks(pod, "web-new")),
            "in place 1",
        ),
        (
            "another is down",
            ota(World::new(3).pods("1o+ 1o- 1o+")).edit(2, |pod| asks(pod, "web-new")),
            "nothing",
        ),
        (
            "the one that is down",
            ota(World::new(3).pods("1o+ 1o- 1o+")).edit(1, |pod| asks(pod, "web-new")),
            "in place 1",
        ),
        (
            "what the partition keeps",
            three()
                .rolling("partition", 3)
                .edit(1, |pod| asks(pod, "web-new")),
            "nothing",
        ),
        (
            "while it is paused",
            three()
                .rolling("paused", true)
                .edit(1, |pod| asks(pod, "web-new")),
            "nothing",
        ),
        (
            "by replacement",
            three()
                .rolling("podUpdatePolicy", "ReCreate")
                .edit(1, |pod| asks(pod, "web-new")),
            "recreate 1",
        ),
        (
            "no surge for what nobody asked for",
            three().rolling("maxSurge", 1).rolling("maxUnavailable", 0),
            "nothing",
        ),
        (
            "a missing one is made at the target",
            ota(World::new(3).pods("2o+")),
            "create 0 old 1 new",
        ),
        (
            "who deletes decides",
            three()
                .set("/spec/updateStrategy", json!({"type": "OnDelete"}))
                .edit(1, |pod| asks(pod, "web-new")),
            "nothing",
        ),
        (
            "without OTA, whoever asked comes first",
            World::new(3).pods("3o+").edit(2, |pod| asks(pod, "web-new")),
            "in place 2",
        ),
        (
            "but after one that is out of service",
            World::new(3).pods("1oP- 2o+").edit(2, |pod| asks(pod, "web-new")),
            "in place 0",
        ),
    ] {
        assert_eq!(world.does(), want, "{case}");
    }
}

/// The owner sees that a revision waits, and afterwards that what was asked for is done.
#[test]
fn what_an_owner_sees() {
    let mut world = settle(ota(World::new(3).pods("3o+")));
    for i in 0..3 {
        assert_eq!(said(&world, i, reasons::POD_NEED_UPGRADE), ("True", TARGET));
        assert_eq!(image(&world, i), "foo1");
        assert!(matches!(world.reason(i), Some(Reason::WaitingForOwner)));
    }
    world.pods[1] = asks(world.pods[1].clone(), "web-new");
    world.pods[1].put("/metadata/resourceVersion", json!("77"));
    let plan = world.plan();
    world.apply(&plan);
    assert_eq!(
        said(&world, 1, reasons::POD_NEED_UPGRADE),
        ("True", TARGET),
        "the container has not restarted yet"
    );
    let mut world = settle(world);
    assert_eq!(
        [0, 1, 2].map(|i| image(&world, i).to_owned()),
        ["foo1", "foo2", "foo1"]
    );
    assert_eq!(said(&world, 1, reasons::POD_NEED_UPGRADE), ("False", TARGET));
    assert_eq!(said(&world, 1, reasons::UPGRADE_REQUESTED), ("False", TARGET));
    assert_eq!(said(&world, 0, reasons::POD_NEED_UPGRADE), ("True", TARGET));

    // Without the annotation everything rolls, and what is said stays true.
    world.cloneset["metadata"]["annotations"] = json!({});
    let world = settle(world);
    for i in 0..3 {
        assert_eq!(image(&world, i), "foo2");
        assert_eq!(said(&world, i, reasons::POD_NEED_UPGRADE), ("False", TARGET));
    }
}

/// L3: a rollout that waits for owners is not late.
#[test]
fn owners_have_time() {
    let world = settle(ota(World::new(3).pods("3o+")).set("/spec/progressDeadlineSeconds", 60));
    let world = settle(world.at(10_000));
    let status = world.status();
    let progress = status.condition(reasons::PROGRESSING).unwrap();
    assert_eq!(
        (progress.status.as_str(), progress.reason.as_str()),
        ("True", reasons::WAITING_FOR_OWNER)
    );
}

/// An update strategy of DaemonSets has no effect on a CloneSet, and that is said.
#[test]
fn other_models_are_not_for_clonesets() {
    let annotation = json!({(keys::OPENYURT_UPDATE_STRATEGY): "AdvancedRollingUpdate"});
    let world = World::new(3).pods("3o+").set("/metadata/annotations", annotation);
    assert_eq!(world.does(), "in place 0");
    let plan = world.plan();
    let event = plan
        .events
        .iter()
        .find(|event| event.reason == reasons::INVALID_UPDATE_STRATEGY);
    assert_eq!(
        event.unwrap().message,
        "annotation apps.openyurt.io/update-strategy: \"AdvancedRollingUpdate\" has no effect on a CloneSet; accepted is OTA, \
         everything else is said in spec.updateStrategy"
    );
}

/// hub.md B4: what an owner would agree to travels on the pod.
#[test]
fn what_an_owner_would_agree_to() {
    let offered = |world: &World| {
        let annotations = &world.pods[0].json["metadata"]["annotations"];
        annotations[keys::UPGRADE_PLAN].as_str().map(str::to_owned)
    };
    let three = || ota(World::new(3).pods("3o+"));
    let plan = |method: &str, more: &str| {
        format!(
            r#"{{"hash":"web-new","images":[{{"container":"c1","image":"foo2"}}],"method":"{method}"{more}}}"#
        )
    };
    let secret = |world: World| {
        world.set(
            "/spec/template/spec/imagePullSecrets",
            json!([{"name": "registry"}]),
        )
    };
    for (case, world, want) in [
        ("its containers change", three(), Some(plan("InPlace", ""))),
        (
            "it is replaced, by policy",
            three().rolling("podUpdatePolicy", "ReCreate"),
            Some(plan("Recreate", "")),
        ),
        (
            "nothing may become of it",
            secret(three()).rolling("podUpdatePolicy", "InPlaceOnly"),
            None,
        ),
        ("without OTA", World::new(3).pods("3n+"), None),
    ] {
        assert_eq!(offered(&settle(world)), want, "{case}");
    }

    let long = three().set("/spec/template/spec/containers/0/image", "i".repeat(4096));
    let short: Value = serde_json::from_str(&offered(&settle(long)).unwrap()).unwrap();
    assert_eq!(
        (&short["method"], &short["images"]),
        (&json!("InPlace"), &Value::Null),
        "images longer than hubs read are left out"
    );

    let world = settle(settle(three()).edit(0, |pod| asks(pod, "web-new")));
    assert_eq!(offered(&world), None, "what was agreed to is done");
    assert_eq!(said(&world, 0, reasons::POD_NEED_UPGRADE), ("False", TARGET));
}
