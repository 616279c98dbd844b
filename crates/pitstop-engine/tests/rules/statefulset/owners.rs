//! hub.md B4, D17: owners of nodes ask for the update of a pod of a StatefulSet, under OTA and without.

use pitstop_api::{keys, reasons};

use super::*;

const TARGET: &str = "controllerrevision: web-b";

fn ota(world: World) -> World {
    let annotations = json!({ (keys::OPENYURT_UPDATE_STRATEGY): "OTA" });
    world.set("/metadata/annotations", annotations)
}

/// The owner of the node of a pod asks for a revision, through its hub.
fn asks(world: World, ordinal: u32, revision: &str) -> World {
    let message = format!("controllerrevision: {revision}");
    world.edit(ordinal, |pod| {
        pod.condition(reasons::UPGRADE_REQUESTED, "True", &message)
    })
}

/// Pods of A in a rollout to B, which have been told that it waits.
fn waiting() -> World {
    told(ota(World::rollout(3).pods("0-2A")))
}

/// What is said on pods is written.
fn told(mut world: World) -> World {
    let plan = world.plan();
    world.apply(&plan);
    world
}

/// Status and message of a condition; empty where it is not there.
fn said(world: &World, ordinal: u32, kind: &str) -> (String, String) {
    let pod = world.get(ordinal).unwrap();
    let conditions = pod.json["status"]["conditions"].as_array().unwrap();
    let condition = conditions.iter().find(|condition| condition["type"] == kind);
    let text = |key: &str| {
        condition
            .and_then(|condition| condition[key].as_str())
            .unwrap_or_default()
    };
    (text("status").to_owned(), text("message").to_owned())
}

fn reason(world: &World, ordinal: u32) -> Option<Reason> {
    let name = format!("web-{ordinal}");
    let mut waiting = world.plan().waiting.into_iter();
    waiting.find_map(|waiting| (*waiting.pod?.0 == *name).then_some(waiting.reason))
}

/// S4: a pod is touched when its owner asked for that very revision, and within the budget.
#[test]
fn under_ota_owners_decide() {
    let broken = || ota(World::rollout(3)).ordered().pods("0A! 1A 2A");
    for (case, world, want) in [
        ("nobody asked", waiting(), "-"),
        ("one asked", asks(waiting(), 1, "web-b"), "-1"),
        ("by the hash alone", asks(waiting(), 1, "b"), "-1"),
        ("for what was before", asks(waiting(), 1, "web-a"), "-"),
        (
            "one after the other",
            asks(asks(waiting(), 0, "web-b"), 1, "web-b"),
            "-1",
        ),
        (
            "another is down",
            asks(told(ota(World::rollout(3).pods("0A 1A! 2A"))), 2, "web-b"),
            "-",
        ),
        (
            "the one that is down",
            asks(told(ota(World::rollout(3).pods("0A 1A! 2A"))), 1, "web-b"),
            "-1",
        ),
        (
            "what the partition keeps",
            asks(waiting().rolling("partition", 3), 1, "web-b"),
            "-",
        ),
        (
            "an ordinal below the partition",
            asks(waiting().rolling("partition", 2), 1, "web-b"),
            "-",
        ),
        (
            "in any order the partition only counts",
            asks(waiting().unordered().rolling("partition", 2), 1, "web-b"),
            "-1",
        ),
        (
            "while it is paused",
            asks(waiting().rolling("paused", true), 1, "web-b"),
            "-",
        ),
        ("in place", asks(waiting().in_place(), 1, "web-b"), "@1"),
        (
            "one that works is left alone all the same",
            asks(
                waiting()
                    .rolling(
                        "protection",
                        json!({ "podSelector": { "matchLabels": { "working": "true" } } }),
                    )
                    .labels("working", &[(0, "true"), (1, "true"), (2, "true")]),
                1,
                "web-b",
            ),
            "-",
        ),
        (
            "a missing one is made at the target",
            ota(World::rollout(3).pods("0-1A")),
            "+2B",
        ),
        (
            "who deletes decides",
            asks(
                waiting().set("/spec/updateStrategy", json!({ "type": "OnDelete" })),
                1,
                "web-b",
            ),
            "-",
        ),
        ("one in the way is nobody's but its owner's", told(broken()), "-"),
        ("who asks for it", asks(told(broken()), 0, "web-b"), "-0"),
        (
            "without OTA, whoever asked comes first",
            asks(World::rollout(3).pods("0-2A"), 0, "web-b"),
            "-0",
        ),
    ] {
        assert_eq!(world.does(), want, "{case}");
    }
}

/// The owner sees that a revision waits, and afterwards that what was asked for is done.
#[test]
fn what_an_owner_sees() {
    let world = told(waiting().in_place());
    for ordinal in 0..3 {
        assert_eq!(
            said(&world, ordinal, reasons::POD_NEED_UPGRADE),
            ("True".into(), TARGET.into())
        );
        assert_eq!(reason(&world, ordinal), Some(Reason::WaitingForOwner));
    }
    assert!(world.plan().actions.is_empty(), "it is said once");
    let mut world = told(asks(world, 1, "web-b"));
    assert_eq!(
        said(&world, 1, reasons::POD_NEED_UPGRADE).0,
        "True",
        "the container has not restarted yet"
    );
    for _ in 0..3 {
        world.kubelets();
        world.now += 5;
        world = told(world);
    }
    assert_eq!(
        said(&world, 1, reasons::POD_NEED_UPGRADE),
        ("False".into(), TARGET.into())
    );
    assert_eq!(
        said(&world, 1, reasons::UPGRADE_REQUESTED),
        ("False".into(), TARGET.into())
    );
    assert_eq!(
        said(&world, 0, reasons::POD_NEED_UPGRADE),
        ("True".into(), TARGET.into())
    );
    assert_eq!(world.get(0).unwrap().image("c1"), "foo1");
    // Without the annotation the rest rolls.
    assert_eq!(world.set("/metadata/annotations", json!({})).does(), "@2");
}

/// An update strategy of DaemonSets has no effect on a StatefulSet, and that is said.
#[test]
fn other_models_are_not_for_statefulsets() {
    let annotation = json!({ (keys::OPENYURT_UPDATE_STRATEGY): "AdvancedRollingUpdate" });
    let world = World::rollout(3)
        .pods("0-2A")
        .set("/metadata/annotations", annotation);
    assert_eq!(world.does(), "-2");
    let events = world.plan().events;
    let event = events
        .iter()
        .find(|event| event.reason == reasons::INVALID_UPDATE_STRATEGY);
    assert_eq!(
        event.unwrap().message,
        "annotation apps.openyurt.io/update-strategy: \"AdvancedRollingUpdate\" has no effect on a StatefulSet; accepted is \
         OTA, everything else is said in spec.updateStrategy"
    );
}
