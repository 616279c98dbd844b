//! statefulset.md 14: the motivating scenario, step by step.

use super::*;

/// The manifest, after admission.
fn sample() -> World {
    let weights = json!({ "priorityStrategy": { "weightPriority": [
        { "weight": 30, "matchSelector": { "matchLabels": { "working": "true" } } },
        { "weight": 50, "matchSelector": { "matchLabels": { "working": "false" } } }] } });
    World::new(5)
        .set("/spec/template/metadata/labels/working", "false")
        .with(|world| {
            world.revisions[0]["data"]["spec"]["template"]["metadata"]["labels"]["working"] = json!("false");
        })
        .rolling("partition", 3)
        .rolling("unorderedUpdate", weights)
        .set("/spec/serviceName", "fake-service")
}

fn new_image(world: World) -> World {
    let world = world.set("/spec/template/spec/containers/0/image", "foo2");
    world.with(|world| {
        let mut b = revision('B');
        b["data"]["spec"]["template"]["metadata"]["labels"]["working"] = json!("false");
        world.revisions.push(b);
    })
}

fn settle(world: &mut World) {
    for _ in 0..3 {
        world.kubelets();
        world.now += 1;
        let plan = world.plan();
        assert!(matches!(words(&plan).as_str(), "-"), "{}", words(&plan));
        world.apply(&plan);
    }
}

/// Steps a to j, and the final assertions; inplace.md 12.6, rows F10 (steps c to g) and F11 (steps h to j).
#[test]
fn the_idle_instances_go_first() {
    let mut world = sample();
    assert_eq!(world.does(), "+0A +1A +2A +3A +4A", "a");
    world.apply(&world.plan());
    settle(&mut world);
    let mut world = world.labels("working", &[(0, "true"), (2, "true"), (4, "true")]);
    settle(&mut world);
    let mut world = new_image(world);
    assert_eq!(world.does(), "-3", "c");
    world.apply(&world.plan());
    let early = world.clone();
    assert_eq!(world.does(), "+3B", "d");
    world.apply(&world.plan());
    assert_eq!(world.does(), "-", "it starts");
    world.kubelets();
    world.apply(&world.plan());
    world.kubelets();
    assert_eq!(world.does(), "-1", "e");
    world.apply(&world.plan());
    assert_eq!(world.does(), "+1B", "f");
    world.apply(&world.plan());
    settle(&mut world);
    assert_eq!(world.picture(), "0A 1B 2A 3B 4A", "g");
    let status = world.view().status;
    assert_eq!(
        (
            status.updated_replicas,
            status.current_replicas,
            &*status.current_revision
        ),
        (2, 3, "web-a"),
        "g"
    );
    let label = |world: &World, ordinal| {
        world
            .get(ordinal)
            .unwrap()
            .get("/metadata/labels/working")
            .cloned()
    };
    assert_eq!(
        label(&world, 3),
        Some(json!("false")),
        "(1): the template says so"
    );

    let evict = |world: &World, ordinal: u32| {
        let mut world = world.clone();
        world
            .pods
            .retain(|pod| pod.json["metadata"]["name"] != format!("web-{ordinal}"));
        world.does()
    };
    assert_eq!(evict(&early, 0), "+0B +3B", "(2) between c and e");
    assert_eq!(evict(&world, 0), "+0A", "(2) after g");
    assert_eq!(
        world.clone().rolling("partition", 2).does(),
        "-4",
        "(3) label first, partition second"
    );
    for (partition, want) in [("60%", "-"), ("40%", "-4")] {
        assert_eq!(
            world.clone().rolling("partition", partition).does(),
            want,
            "(4) {partition}"
        );
    }

    let mut world = world.labels("working", &[(1, "true"), (4, "false")]);
    assert_eq!(world.does(), "-", "h");
    world = world.rolling("partition", 2);
    assert_eq!(world.does(), "-4", "i");
    world.apply(&world.plan());
    assert_eq!(world.does(), "+4B", "j");
    world.apply(&world.plan());
    settle(&mut world);
    assert_eq!(world.picture(), "0A 1B 2A 3B 4B", "the end");

    let mut world = world.rolling("partition", 0);
    let mut done = Vec::new();
    for _ in 0..12 {
        let did = world.pass();
        if did != "-" {
            done.push(did);
        }
    }
    assert_eq!(done, ["-2", "+2B", "-0", "+0B"], "(5)");
    assert_eq!(world.view().status.current_revision, "web-b", "(5)");
    assert!(
        world.plan().actions.is_empty() && world.plan().status.is_none(),
        "it rests"
    );
}
