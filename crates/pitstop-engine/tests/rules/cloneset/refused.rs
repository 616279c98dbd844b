//! One write that the server refuses holds nothing else up: cloneset.md 18.24, 18.6; design.md L1.

use pitstop_engine::cloneset::RefusedWrite;
use pitstop_engine::plan::Reason;

use super::*;

/// The server refused the last write about this pod, and is not asked again before second 8.
fn refused(world: World, i: usize, is_delete: bool) -> World {
    let pod = uid_of(&world.pods[i]);
    world.with(|world| {
        world.in_flight.refused_writes.push(RefusedWrite {
            pod,
            is_delete,
            message: "denied by policy".into(),
            until: at(8),
        });
    })
}

/// 8.4, 18.6: what waits for creations waits for pods that are created, not for those that the server refuses.
#[test]
fn pods_that_are_not_created_hold_no_other_up() {
    let refuses = |world: World| world.with(|world| world.failures.scale = Some("quota exceeded".into()));
    for (case, world, created, refused) in [
        (
            "missing pods cost the budget of the update",
            World::new(5).pods("3o+").rolling("maxUnavailable", 2),
            "create 0 old 2 new",
            "create 0 old 2 new",
        ),
        (
            "and leave the rest of it",
            World::new(5).pods("4o+").rolling("maxUnavailable", 2),
            "create 0 old 1 new",
            "create 0 old 1 new; in place 0",
        ),
        (
            "a version that does not work is taken back",
            World::new(5).pods("2o- 2n+").rolling("maxUnavailable", 2),
            "create 0 old 1 new",
            "create 0 old 1 new; in place 0",
        ),
        (
            "a pod that was named goes",
            World::new(5).pods("3n+ 1n-!").rolling("maxUnavailable", 2),
            "create 0 old 1 new",
            "create 0 old 1 new; delete 3",
        ),
    ] {
        assert_eq!(world.does(), created, "{case}");
        assert_eq!(refuses(world).does(), refused, "{case}");
    }
}

/// A pod that a webhook keeps from being deleted or changed waits alone, is told, and is tried again.
#[test]
fn a_pod_that_may_not_be_touched_holds_no_other_up() {
    for (case, world, at_once, meanwhile) in [
        (
            "a deletion",
            World::new(4).pods("1o+! 4o+").rolling("maxUnavailable", 2),
            "delete 0",
            "in place 1 2 3",
        ),
        ("an update", World::new(4).pods("4o+"), "in place 0", "in place 1"),
        (
            "the state after an update",
            World::new(4).pods("1nU+ 3o+").rolling("maxUnavailable", 2),
            "nothing",
            "in place 1",
        ),
    ] {
        assert_eq!(world.does(), at_once, "{case}");
        let world = refused(world, 0, case == "a deletion");
        assert_eq!(world.does(), meanwhile, "{case}");
        assert!(
            matches!(world.reason(0), Some(Reason::Refused { message, .. }) if &*message == "denied by policy"),
            "{case}"
        );
        let kind = if case == "a deletion" {
            "FailedScale"
        } else {
            "FailedUpdate"
        };
        assert_eq!(
            world.status().condition(kind).unwrap().message,
            "denied by policy",
            "{case}"
        );
        let after = world.plan().requeue_after.map(|after| after.as_secs());
        assert_eq!(after, Some(8), "{case}: it is tried again");
        assert_eq!(world.at(8).does(), at_once, "{case}");
    }
}
