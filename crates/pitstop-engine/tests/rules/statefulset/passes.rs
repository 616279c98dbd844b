//! statefulset.md 13: what one pass does.

use super::*;

fn check(rows: Vec<(u32, World, &str)>) {
    for (row, world, want) in rows {
        assert_eq!(world.does(), want, "row {row}");
    }
}

/// 13.1
#[test]
fn pods_are_created_and_deleted() {
    check(vec![
        (1, World::new(3).ordered(), "+0A"),
        (1, World::new(3).ordered().pods("0A!"), "-"),
        (1, World::new(3).ordered().pods("0A"), "+1A"),
        (
            2,
            World::new(3).ordered().rolling("minReadySeconds", 60).pods("0A~"),
            "-",
        ),
        (
            3,
            World::new(5).rolling("minReadySeconds", 60),
            "+0A +1A +2A +3A +4A",
        ),
        (4, World::new(3).ordered().pods("2A"), "+0A"),
        (4, World::new(3).ordered().pods("0A 2A"), "+1A"),
        (5, World::new(5).scale_max(2), "+0A +1A"),
        (6, World::new(5).scale_max(2).pods("0A! 1A"), "+2A"),
        (7, World::new(10).scale_max(2).pods("0-2A"), "+3A +4A"),
        (8, World::new(3).scale_max(2).pods("0AT"), "+1A"),
        (9, World::new(3).scale_max(2).pods("0A!T"), "+1A"),
        (10, World::new(3).pods("0AF 1A 2AF"), "-0 -2"),
        (11, World::new(3).ordered().pods("0AF 1A 2AF"), "-0"),
        (12, World::new(3).scale_max(1).pods("0AF 1A 2A"), "-0"),
        (13, World::new(3).scale_max(2).pods("0AF 1A 2A"), "-0"),
        (14, World::new(2).ordered().pods("0-3A"), "-3"),
        (14, World::new(2).ordered().pods("0-2A 3AT"), "-"),
        (14, World::new(2).ordered().pods("0-2A"), "-2"),
        (15, World::new(2).ordered().pods("0A 1A! 2A 3A"), "-"),
        (16, World::new(2).ordered().pods("0-2A 3A! 4A"), "-4"),
        (16, World::new(2).ordered().pods("0-2A 3A!"), "-3"),
        (17, World::new(2).ordered().pods("0-3A 4A!"), "-4"),
        (18, World::new(2).ordered().pods("0A 1A 2A! 3A!"), "-"),
        (19, World::new(1).pods("0A! 1A 2A 3A"), "-3 -2 -1"),
        (
            20,
            World::new(4).reserve(json!([1, 3])).pods("0A 2A 3A 4A"),
            "+5A -3",
        ),
        (21, World::new(3).reserve(json!([1, 3])).pods("0A 2A 3A 4A"), "-3"),
        (
            22,
            World::new(3).set("/spec/ordinals/start", 2).pods("0-2A"),
            "+3A +4A -1 -0",
        ),
    ]);
}

/// One pass makes 500 pods at most; the next one goes on.
#[test]
fn very_many_pods_are_created_in_several_passes() {
    let does = World::new(2000).does();
    assert_eq!(does.split(' ').count(), 500, "{does}");
    assert!(does.ends_with("+499A"), "{does}");
    assert!(World::new(2000).pods("0-499A").does().starts_with("+500A"));
}

/// 13.1 row 2; 10.3.
#[test]
fn a_pass_comes_again_when_a_pod_becomes_available() {
    let world = World::new(3).ordered().rolling("minReadySeconds", 60).pods("0A~");
    assert_eq!(world.requeue(), Some(50));
    let world = World::rollout(5)
        .rolling("maxUnavailable", 2)
        .rolling("minReadySeconds", 60)
        .pods("0-2A 3-4B~");
    assert_eq!(
        (world.does().as_str(), world.requeue()),
        ("-", Some(50)),
        "row 35"
    );
}

/// 13.1 row 23, 15.1 row 9.
#[test]
fn a_hook_holds_the_order_too() {
    let hook = json!({ "preDelete": { "labelsHandler": { "held": "yes" } } });
    let world = World::new(3)
        .ordered()
        .set("/spec/lifecycle", hook)
        .pods("0-4A")
        .labels("held", &[(4, "yes")]);
    assert_eq!(world.does(), "4:PreparingDelete");
    let held = world.state(4, "PreparingDelete");
    assert_eq!(held.does(), "-");
    let freed = held.labels("held", &[(4, "no")]);
    assert_eq!(freed.does(), "-4");
}

/// 13.2
#[test]
fn updates_go_from_the_highest_ordinal_down() {
    let max = |replicas, max: i32| World::rollout(replicas).rolling("maxUnavailable", max);
    let part3 = || max(6, 2).rolling("partition", 3);
    check(vec![
        (
            24,
            World::rollout(3).ordered().rolling("partition", 2).pods("0-2A"),
            "-2",
        ),
        (
            24,
            World::rollout(3).ordered().rolling("partition", 2).pods("0-1A"),
            "+2B",
        ),
        (
            24,
            World::rollout(3)
                .ordered()
                .rolling("partition", 2)
                .pods("0-1A 2B"),
            "-",
        ),
        (
            25,
            World::rollout(5).rolling("partition", 2).pods("0-2A"),
            "+3B +4B",
        ),
        (
            25,
            World::rollout(5).rolling("partition", 2).pods("0-2A 3-4B!"),
            "-",
        ),
        (
            25,
            World::rollout(5).rolling("partition", 2).pods("0-2A 3-4B"),
            "-2",
        ),
        (
            26,
            World::rollout(5).rolling("paused", true).pods("0-2A"),
            "+3B +4B",
        ),
        (
            26,
            World::rollout(5).rolling("paused", true).pods("0-2A 3-4B"),
            "-",
        ),
        (27, World::rollout(3).rolling("partition", 5).pods("0-2A"), "-"),
        (28, part3().pods("0-5A"), "-5 -4"),
        (28, part3().pods("0-3A"), "+4B +5B"),
        (28, part3().pods("0-3A 4B 5B!"), "-3"),
        (28, part3().pods("0-2A 4-5B"), "+3B"),
        (28, part3().pods("0-2A 3-5B"), "-"),
        (29, part3().pods("0AT 1-5A"), "-5"),
        (30, part3().pods("0AT 1A 2AT 3A 4A 5B"), "-"),
    ]);
}

/// 13.2. Row 34 by 15.1 row 7: the pod that is down already goes too.
#[test]
fn pods_that_are_down_already_cost_nothing() {
    let max = |replicas, max: i32| World::rollout(replicas).rolling("maxUnavailable", max);
    let nine = |start: u32| {
        World::rollout(9)
            .rolling("partition", 5)
            .rolling("maxUnavailable", 9)
            .reserve(json!([3, 4]))
            .set("/spec/ordinals/start", start)
    };
    check(vec![
        (31, World::rollout(5).pods("0-2A 3A! 4A!"), "-4 -3"),
        (32, World::rollout(5).pods("0A 1A! 2A 3A! 4A"), "-3 -1"),
        (33, World::rollout(5).pods("0-3A 4B!"), "-"),
        (34, max(5, 2).pods("0A! 1-4A"), "-4 -0"),
        (
            36,
            World::rollout(3).rolling("maxUnavailable", "20%").pods("0-2A"),
            "-2",
        ),
        (
            37,
            World::rollout(5).rolling("maxUnavailable", "60%").pods("0-4A"),
            "-4 -3 -2",
        ),
        (
            38,
            World::rollout(3)
                .rolling("partition", 2)
                .reserve(json!([1, 3]))
                .pods("0A 2A 4A"),
            "-4",
        ),
        (39, nine(0).pods("0-2A 5-10A"), "-10 -9 -8 -7"),
        (40, nine(2).pods("2A 5-12A"), "-12 -11 -10 -9"),
        (
            41,
            World::rollout(3)
                .rolling("partition", 2)
                .reserve(json!([1]))
                .pods("0-2A"),
            "+3B -1",
        ),
        (
            42,
            World::rollout(4).rolling("partition", 3).pods("0A 1B"),
            "+2A +3B",
        ),
        (
            44,
            World::rollout(3)
                .set("/spec/updateStrategy", json!({ "type": "OnDelete" }))
                .pods("0A 2A"),
            "+1B",
        ),
        (
            44,
            World::rollout(3)
                .set("/spec/updateStrategy", json!({ "type": "OnDelete" }))
                .pods("0-2A"),
            "-",
        ),
    ]);
}

/// 13.2 row 43, 15.1 row 8.
#[test]
fn a_rollback_gets_past_a_pod_that_never_becomes_ready() {
    let stuck = |now: i64| {
        let world = World::new(3).ordered().pods("0-1A 2B!").at(now);
        world.with(|world| world.revisions.insert(0, revision('B')))
    };
    assert_eq!(stuck(0).does(), "-2");
    // It is given its time first.
    let fresh = stuck(-480);
    assert_eq!((fresh.does().as_str(), fresh.requeue()), ("-", Some(10)));
    let reason = fresh.reason(2).unwrap();
    assert_eq!(reason.word(), "InTheWay");
    let why = "it is not ready, and all others wait for it: it goes to revision web-a in 10s, unless it is ready by then";
    assert_eq!(reason.explain(at(-480)), why);
    assert_ne!(
        fresh.rolling("paused", true).reason(2).unwrap().word(),
        "InTheWay"
    );
    let left = stuck(0).set("/metadata/annotations/pitstop.io~1replace-broken-pods", "false");
    assert_eq!(left.does(), "-");
    assert_eq!(stuck(0).rolling("paused", true).does(), "-");
    assert!(stuck(0).events().contains(&"BrokenPodReplaced"));
    // A pod that has to stay is moved in place, back to what works.
    let only = stuck(0).rolling("podUpdatePolicy", "InPlaceOnly");
    assert_eq!(only.does(), "@2");
}

/// 13.2 row 45.
#[test]
fn updates_in_place_wait_for_each_other() {
    let mut world = World::rollout(3)
        .rolling("partition", 1)
        .in_place()
        .pods("0-2A")
        .at(100);
    assert_eq!(world.does(), "@2");
    let plan = world.plan();
    world.apply(&plan);
    assert_eq!(world.does(), "-", "its image is not new yet");
    let mut done = vec![];
    for _ in 0..12 {
        world.kubelets();
        world.now += 1;
        let plan = world.plan();
        done.push(words(&plan));
        world.apply(&plan);
    }
    assert!(
        done.contains(&"@1".to_owned()) && !done.contains(&"@0".to_owned()),
        "{done:?}"
    );
    assert_eq!(world.picture(), "0A 1B 2B");
    let images: Vec<&str> = [0, 1, 2].map(|i| world.get(i).unwrap().image("c1")).into();
    assert_eq!(images, ["foo1", "foo2", "foo2"]);
}

/// 13.3
#[test]
fn marked_pods_go_within_the_budget() {
    let six = || {
        World::rollout(6)
            .rolling("partition", 3)
            .rolling("maxUnavailable", 3)
            .in_place()
    };
    check(vec![
        (46, six().pods("0As 1-5A"), "-0 @5 @4"),
        (46, six().pods("1-3A 4-5B"), "+0A @3"),
        (47, six().pods("0As 1As 2As 3A 4B 5Bs"), "-5 -2 -1"),
        (47, six().pods("0As 3A 4B"), "+1A +2A +5B"),
        (48, six().pods("0As 1A 2A 3As 4B 5B"), "-3 -0"),
        (48, six().pods("1A 2A 4B 5B"), "+0A +3B"),
    ]);
}

/// `weightPriority` with these weights, keys and values.
fn weights(terms: &[(u32, &str, &str)]) -> Value {
    let terms: Vec<Value> = terms
        .iter()
        .map(|(weight, key, value)| {
            json!({ "weight": weight, "matchSelector": { "matchLabels": { (*key): value } } })
        })
        .collect();
    json!({ "priorityStrategy": { "weightPriority": terms } })
}

/// 13.4
#[test]
fn updates_in_any_order_go_by_priority() {
    let never = || weights(&[(10, "no", "such")]);
    let all = |replicas, partition: u32, max: u32| {
        World::rollout(replicas)
            .rolling("partition", partition)
            .rolling("maxUnavailable", max)
            .unordered()
    };
    let order =
        json!({ "priorityStrategy": { "orderPriority": [{ "orderedKey": "k1" }, { "orderedKey": "k2" }] } });
    let sum = || weights(&[(20, "k1", "x"), (10, "k2", "x"), (15, "k3", "x")]);
    let foo = || weights(&[(100, "foo", "bar"), (90, "hello", "world")]);
    check(vec![
        (49, all(5, 1, 2).pods("0-4A"), "-4 -3"),
        (
            50,
            all(10, 6, 10)
                .rolling("unorderedUpdate", never())
                .pods("0-5A 6-7B 8-9A"),
            "-9 -8",
        ),
        (
            51,
            all(10, 6, 10)
                .rolling("unorderedUpdate", never())
                .reserve(json!([3, 10]))
                .pods("0-2A 4-6A 7-8B 9A 11A"),
            "-11 -9",
        ),
        (
            53,
            all(4, 0, 4)
                .rolling("unorderedUpdate", order)
                .pods("0-3A")
                .labels("k1", &[(0, "o-5"), (1, "o-10")])
                .labels("k2", &[(2, "o-20")]),
            "-3 -1 -0 -2",
        ),
        (
            54,
            all(4, 0, 4)
                .rolling("unorderedUpdate", foo())
                .pods("0-3A")
                .labels("hello", &[(0, "world")])
                .labels("foo", &[(2, "bar")]),
            "-2 -0 -3 -1",
        ),
        (
            55,
            all(2, 0, 1)
                .rolling("unorderedUpdate", sum())
                .pods("0-1A")
                .labels("k1", &[(1, "x")])
                .labels("k2", &[(0, "x")])
                .labels("k3", &[(0, "x")]),
            "-0",
        ),
    ]);
}

/// 13.4
#[test]
fn as_many_stay_as_the_partition_says_whichever_they_are() {
    let all = |replicas, partition: u32, max: u32| {
        World::rollout(replicas)
            .rolling("partition", partition)
            .rolling("maxUnavailable", max)
            .unordered()
    };
    check(vec![
        (
            56,
            World::rollout(5).rolling("partition", 2).unordered().pods("0-2A"),
            "+3B +4B",
        ),
        (
            57,
            World::rollout(4)
                .rolling("partition", 3)
                .unordered()
                .pods("0A 1B"),
            "+2A +3A",
        ),
        (
            58,
            World::rollout(3)
                .rolling("partition", 1)
                .unordered()
                .pods("0A 2B"),
            "+1B",
        ),
        (
            59,
            World::rollout(3)
                .rolling("partition", 1)
                .unordered()
                .pods("0B 2B"),
            "+1A",
        ),
        (
            60,
            World::rollout(3)
                .rolling("partition", 1)
                .unordered()
                .reserve(json!([1]))
                .pods("0B 3B"),
            "+2A",
        ),
        (61, all(5, 4, 1).pods("0-1A 2-4B"), "-"),
        (62, all(5, 4, 3).pods("0AT 1-4A"), "-"),
        (
            63,
            all(5, 1, 5)
                .rolling(
                    "unorderedUpdate",
                    weights(&[(30, "working", "true"), (50, "working", "false")]),
                )
                .pods("0-4A")
                .labels(
                    "working",
                    &[(0, "true"), (1, "false"), (2, "true"), (3, "false"), (4, "true")],
                ),
            "-3 -1 -4 -2",
        ),
    ]);
}

/// 13.4 row 52: pods that prepare count as updated, so that no others begin.
#[test]
fn pods_that_prepare_are_among_the_updated() {
    let hook = json!({ "inPlaceUpdate": { "labelsHandler": { "held": "yes" } } });
    let world = World::rollout(10)
        .rolling("partition", 6)
        .rolling("maxUnavailable", 10)
        .unordered()
        .in_place()
        .reserve(json!([3, 10]))
        .set("/spec/lifecycle", hook)
        .pods("0-2A 4-6A 7-8B 9A 11A")
        .labels("held", &[(0, "yes"), (1, "no")])
        .state(0, "PreparingUpdate")
        .state(1, "PreparingUpdate");
    assert_eq!(world.does(), "@1", "8 7 1 0: one is held, one goes on");
    let mut upstream = world;
    upstream.features.preparing_update_as_update = false;
    assert_eq!(upstream.does(), "0:Normal 1:Normal @11 @9", "8 7 11 9");
}

/// 13.5
#[test]
fn hooks_hold_pods_before_and_after() {
    let one = |pods: &str| World::rollout(1).pods(pods);
    let pre_normal = json!({ "preNormal": { "labelsHandler": { "a": "b" }, "finalizersHandler": ["x/y"] } });
    let pre_delete = json!({ "preDelete": { "labelsHandler": { "a": "b" } } });
    let update = json!({ "inPlaceUpdate": { "finalizersHandler": ["x/y"] } });
    let held = |pod: LivePod| pod.set("/metadata/finalizers", json!(["x/y"]));
    check(vec![
        (
            64,
            World::new(1).pods("0A!").state(0, "PreparingNormal"),
            "0:Normal",
        ),
        (
            65,
            World::new(1)
                .set("/spec/lifecycle", pre_normal.clone())
                .pods("0A")
                .labels("a", &[(0, "b")])
                .state(0, "PreparingNormal"),
            "-",
        ),
        (
            66,
            one("0A")
                .set("/spec/lifecycle", pre_normal.clone())
                .state(0, "PreparingNormal"),
            "-0",
        ),
        (
            67,
            one("0A")
                .set("/spec/lifecycle", pre_normal.clone())
                .set("/spec/lifecycle/preDelete", pre_delete["preDelete"].clone())
                .labels("a", &[(0, "b")])
                .state(0, "PreparingNormal"),
            "0:PreparingDelete",
        ),
        (
            68,
            one("0A")
                .in_place()
                .set("/spec/lifecycle", pre_normal)
                .state(0, "PreparingNormal"),
            "@0",
        ),
        (
            69,
            one("0A")
                .in_place()
                .set("/spec/lifecycle", update.clone())
                .edit(0, held),
            "0:PreparingUpdate",
        ),
        (
            70,
            one("0A")
                .in_place()
                .set("/spec/lifecycle", update.clone())
                .state(0, "PreparingUpdate"),
            "@0",
        ),
        (
            71,
            one("0A")
                .in_place()
                .set("/spec/lifecycle", update)
                .edit(0, held)
                .state(0, "Updated"),
            "0:Normal",
        ),
    ]);
}

/// 2.2, 15.2: the partition may be a percentage.
#[test]
fn a_partition_may_be_a_percentage() {
    for (partition, want) in [
        ("60%", "-4 -3"),
        ("40%", "-4 -3 -2"),
        ("99%", "-4"),
        ("100%", "-"),
    ] {
        let world = World::rollout(5)
            .rolling("partition", partition)
            .rolling("maxUnavailable", 5)
            .pods("0-4A");
        assert_eq!(world.does(), want, "{partition}");
        let annotated = World::rollout(5)
            .set("/metadata/annotations/pitstop.io~1partition", partition)
            .rolling("maxUnavailable", 5)
            .pods("0-4A");
        assert_eq!(annotated.does(), want, "{partition} as annotation");
    }
}

/// What cannot be read is said, and nothing is touched.
#[test]
fn what_cannot_be_read_is_said() {
    for (pointer, value) in [
        ("/spec/updateStrategy/rollingUpdate/partition", json!("5")),
        ("/spec/updateStrategy/rollingUpdate/maxUnavailable", json!("many")),
        ("/spec/scaleStrategy/maxUnavailable", json!("%")),
        ("/spec/updateStrategy/type", json!("Sometimes")),
        ("/spec/selector", json!({})),
    ] {
        let world = World::rollout(3).pods("0-1A").set(pointer, value);
        assert_eq!(world.does(), "-", "{pointer}");
        assert!(world.events().contains(&"InvalidSpec"), "{pointer}");
    }
}

/// 15.2: what is wrong with an annotation is told by its name, in an event and in the condition.
#[test]
fn a_malformed_partition_is_told_where_it_is_written() {
    for (world, field) in [
        (
            World::rollout(3).set(
                "/metadata/annotations",
                json!({ "pitstop.io/partition": "12.5%" }),
            ),
            "metadata.annotations[pitstop.io/partition]",
        ),
        (
            World::rollout(3).rolling("partition", "x"),
            "spec.updateStrategy.rollingUpdate.partition",
        ),
    ] {
        let world = world.pods("0-2A");
        assert_eq!(world.does(), "-");
        let status = world.status();
        let condition = status.condition("InvalidSpec").unwrap();
        assert_eq!((&*condition.status, &*condition.reason), ("True", "InvalidSpec"));
        assert!(
            condition.message.starts_with(&format!("{field}: ")),
            "{}",
            condition.message
        );
        let events = world.plan().events;
        let told: Vec<_> = events
            .iter()
            .filter(|event| event.reason == "InvalidSpec")
            .collect();
        assert_eq!((told.len(), &*told[0].message), (1, &*condition.message));
    }
    let annotated = json!({ "pitstop.io/update-protection": "{}" });
    let world = World::rollout(1)
        .set("/metadata/annotations", annotated)
        .pods("0A");
    let status = world.status();
    let message = &status.condition("InvalidSpec").unwrap().message;
    assert!(
        message.starts_with("metadata.annotations[pitstop.io/update-protection]: podSelector or arbiter"),
        "{message}"
    );
}

/// 15.2, the table: a percentage that keeps the only pod is told, as of a CloneSet.
#[test]
fn a_percentage_that_keeps_the_only_pod_is_told() {
    let told = |replicas, partition: Value, pods: &str| {
        let world = World::rollout(replicas)
            .rolling("partition", partition)
            .pods(pods);
        world.events().contains(&"PartitionKeepsAll")
    };
    assert!(told(1, json!("10%"), "0A"));
    assert!(!told(1, json!("10%"), "0B"), "it is updated");
    assert!(!told(1, json!("100%"), "0A"), "that is what was asked for");
    assert!(!told(1, json!(1), "0A"));
    assert!(!told(2, json!("10%"), "0-1A"));
}
