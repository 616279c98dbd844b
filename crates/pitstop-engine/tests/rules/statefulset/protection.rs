//! statefulset.md 16: pods that work are left alone.

use pitstop_engine::plan::ProtectedBy;
use pitstop_engine::statefulset::{Observation, Observed, eviction_refusal};

use super::*;

pub(super) fn protected_by(by: ProtectedBy) -> Reason {
    Reason::Protected { by }
}

/// Five pods at A under a rollout to B, of which these are at work; all others are idle.
pub(super) fn five(pods: &str, working: &[u32]) -> World {
    protected(World::rollout(5).pods(pods), working)
}

fn protected(world: World, working: &[u32]) -> World {
    let world = world.rolling(
        "protection",
        json!({ "podSelector": { "matchLabels": { "working": "true" } } }),
    );
    work(world, working)
}

/// Makes these pods work, and all others idle.
fn work(mut world: World, working: &[u32]) -> World {
    for pod in &mut world.pods {
        let name = pod.json["metadata"]["name"].as_str().unwrap();
        let ordinal: u32 = name.trim_start_matches("web-").parse().unwrap();
        let value = if working.contains(&ordinal) {
            "true"
        } else {
            "false"
        };
        *pod = pod.clone().label("working", value);
    }
    world
}

pub(super) fn protection(world: World, key: &str, value: impl Into<Value>) -> World {
    world.rolling(&format!("protection/{key}"), value)
}

/// One pass after the other until nothing more is done. Pods come as the template says: idle.
fn run(world: &mut World) -> String {
    let mut done = Vec::new();
    for _ in 0..20 {
        let did = world.pass();
        for pod in &mut world.pods {
            if pod.get("/metadata/labels/working").is_none() {
                *pod = pod.clone().label("working", "false");
            }
        }
        if did == "-" && world.plan().actions.is_empty() && world.plan().status.is_none() {
            break;
        }
        if did != "-" {
            done.push(did);
        }
    }
    done.join(" ")
}

/// 16.6 P1, P2, P3: the update follows whoever becomes idle, and nobody edits the partition.
#[test]
fn an_update_follows_the_idle_pods() {
    let mut world = five("0-4A", &[0, 2, 4]);
    let effective = |world: &World| world.status().protection.unwrap().effective_partition;
    assert_eq!((effective(&world), world.does().as_str()), (3, "-3"), "P1");
    assert_eq!(run(&mut world), "-3 +3B -1 +1B", "P1");
    assert_eq!(
        world.condition("UpdateBlocked").as_deref(),
        Some("True AllRemainingProtected")
    );
    assert_eq!(
        world.status().protection.unwrap().waiting,
        ["web-4", "web-2", "web-0"]
    );
    assert_eq!(world.reason(4), Some(protected_by(ProtectedBy::Work)));

    let mut world = work(world, &[0, 1, 2]);
    assert_eq!((effective(&world), world.does().as_str()), (2, "-4"), "P2");
    assert_eq!(run(&mut world), "-4 +4B", "P2");

    let mut world = work(world, &[1, 3, 4]);
    assert_eq!((effective(&world), world.does().as_str()), (0, "-2"), "P3");
    assert_eq!(run(&mut world), "-2 +2B -0 +0B", "P3");
    assert_eq!(world.view().status.current_revision, "web-b", "P3");
    assert_eq!(
        world.condition("UpdateBlocked").as_deref(),
        Some("False Progressing")
    );
}

/// 16.6 P4
#[test]
fn nothing_goes_while_too_few_are_protected() {
    let world = protection(five("0-4A", &[]), "minProtected", 3);
    assert_eq!(world.does(), "-");
    assert_eq!(world.status().protection.unwrap().effective_partition, 5);
    assert_eq!(
        world.condition("UpdateBlocked").as_deref(),
        Some("True TooFewProtected")
    );
    let world = protection(five("0-3A", &[]), "minProtected", 3);
    assert_eq!(world.does(), "+4A", "16.3: a lost pod comes back as it was");
    let marked = protection(
        five("0-4A", &[]).labels("apps.kruise.io/specified-delete", &[(1, "true")]),
        "minProtected",
        3,
    );
    assert_eq!(marked.does(), "-", "no voluntary disruption at all");
}

/// With an arbiter that said this of each pod, so many seconds ago.
pub(super) fn asked(world: World, said: &[(u32, Observed)], age: i64) -> World {
    let world = protection(
        world,
        "arbiter",
        json!({ "http": { "service": { "name": "arbiter", "port": 80 }, "path": "/" } }),
    );
    world.with(|world| {
        world.arbiter.heard_at = Some(at(world.now - age));
        for (ordinal, state) in said {
            let pod = world.get(*ordinal).unwrap().view().uid;
            world.arbiter.observations.push(Observation {
                pod,
                state: *state,
                at: at(world.now - age),
                ttl_seconds: None,
            });
        }
    })
}

pub(super) const ALL_IDLE: [(u32, Observed); 5] = [
    (0, Observed::Idle),
    (1, Observed::Idle),
    (2, Observed::Idle),
    (3, Observed::Idle),
    (4, Observed::Idle),
];

/// 16.6 P5; 16.2.3: what is stale counts by the policy for failures.
#[test]
fn a_silent_arbiter_protects_every_pod() {
    let silent = || asked(five("0-4A", &[]), &ALL_IDLE, 31);
    assert_eq!(silent().does(), "-");
    assert_eq!(
        silent().condition("UpdateBlocked").as_deref(),
        Some("True ArbiterUnavailable")
    );
    let status = silent().status().protection.unwrap();
    assert_eq!(
        (status.effective_partition, status.arbiter_healthy),
        (5, Some(false))
    );
    assert_eq!(
        asked(five("0-3A", &[]), &ALL_IDLE[..4], 31).does(),
        "+4A",
        "it comes back as it was"
    );

    let heard = asked(five("0-4A", &[]), &ALL_IDLE, 30);
    assert_eq!(heard.does(), "-4");
    let failing = heard.with(|world| world.arbiter.failures = 3);
    assert_eq!(failing.does(), "-", "after so many failures all is stale");
    let two = failing.with(|world| world.arbiter.failures = 2);
    assert_eq!(two.does(), "-4");
    let short = two.with(|world| {
        for seen in &mut world.arbiter.observations {
            seen.ttl_seconds = Some(20);
        }
    });
    assert_eq!(
        short.does(),
        "-",
        "the arbiter may shorten how long its answers count"
    );

    let policy = |policy: &str, working: &[u32]| {
        let world = asked(five("0-4A", working), &ALL_IDLE, 31);
        protection(world, "arbiter/failurePolicy", policy)
    };
    assert_eq!(policy("KeepLabel", &[4]).does(), "-3", "labels decide");
    assert_eq!(policy("Ignore", &[4]).does(), "-4", "all are idle");
    assert_eq!(
        asked(five("0-4A", &[]), &[], 0).does(),
        "-",
        "it never said anything"
    );
}

/// 16.2.2: the arbiter outranks labels, and a person outranks the arbiter.
#[test]
fn a_person_outranks_the_arbiter_and_the_arbiter_the_labels() {
    let said = [
        (0, Observed::Idle),
        (1, Observed::Idle),
        (2, Observed::Idle),
        (3, Observed::Idle),
        (4, Observed::Working),
    ];
    let world = || asked(five("0-4A", &[3]), &said, 0);
    assert_eq!(world().does(), "-3", "3 works by its label alone");
    let by_hand = |ordinal, word: &str| {
        world().edit(ordinal, |pod| pod.annotation("pitstop.io/arbiter-override", word))
    };
    assert_eq!(by_hand(4, "idle").does(), "-4");
    assert_eq!(by_hand(3, "protected").does(), "-2");
    let unknown = asked(five("0-4A", &[]), &[(4, Observed::Unknown), ALL_IDLE[3]], 0);
    assert_eq!(unknown.does(), "-3", "4 is unknown, 0 to 2 were never seen");
    assert_eq!(protection(unknown, "unknownPolicy", "Idle").does(), "-4");
}

/// 16.6 P6; 16.2.4
#[test]
fn a_pod_without_the_label_is_unknown() {
    let world = || {
        five("0-4A", &[]).rolling("maxUnavailable", 5).edit(0, |mut pod| {
            pod.json["metadata"]["labels"]
                .as_object_mut()
                .unwrap()
                .remove("working");
            pod
        })
    };
    assert_eq!(world().status().protection.unwrap().effective_partition, 1);
    assert_eq!(world().does(), "-4 -3 -2 -1");
    assert_eq!(
        protection(world(), "unknownPolicy", "Idle").does(),
        "-4 -3 -2 -1 -0"
    );
}

/// 16.6 P7, P8
#[test]
fn the_partition_of_the_user_counts_too() {
    let static_ = protection(five("0-4A", &[0, 2, 4]), "partitionPolicy", "Static")
        .rolling("partition", 1)
        .rolling("maxUnavailable", 5);
    assert_eq!(static_.does(), "-3 -1", "P7: 4 and 2 are in the quota and work");
    let mut world = five("0-4A", &[0, 2, 4]).rolling("partition", 4);
    assert_eq!(world.status().protection.unwrap().effective_partition, 4, "P8");
    assert_eq!(run(&mut world), "-3 +3B", "P8");
    assert_eq!(
        world.condition("UpdateBlocked").as_deref(),
        Some("False Progressing"),
        "the partition keeps the rest, not protection"
    );
}

/// 16.6 P9: whoever becomes protected before the request arrives keeps running.
#[test]
fn a_pod_that_changed_is_decided_on_again() {
    let mut truth = five("0-4A", &[0, 2, 4]);
    let plan = truth.plan();
    assert_eq!(words(&plan), "-3");
    truth = truth.edit(3, |pod| {
        pod.label("working", "true")
            .set("/metadata/resourceVersion", "11")
    });
    truth.apply(&plan);
    assert!(
        truth.get(3).is_some(),
        "the request names the version that was judged"
    );
    assert_eq!(truth.does(), "-1");
}

/// 16.6 P10; 16.1 `onScaleDown`
#[test]
fn a_pod_too_many_stays_while_it_works() {
    let world = || {
        five("0-4A", &[4])
            .set("/spec/replicas", 3)
            .set("/spec/template", template('A'))
    };
    assert_eq!(world().does(), "-3");
    assert_eq!(world().status().replicas, 5);
    assert_eq!(world().status().protection.unwrap().condemned, ["web-4"]);
    assert_eq!(world().reason(4), Some(protected_by(ProtectedBy::Work)));
    assert_eq!(protection(world(), "onScaleDown", "Delete").does(), "-4 -3");
    assert_eq!(work(world(), &[]).does(), "-4 -3", "it is idle");
}

/// 16.6 P11, P12
#[test]
fn what_has_ended_is_gone_and_what_is_not_ready_still_works() {
    let mut ended = five("0-1A 2AF 3-4A", &[0, 2, 4]);
    assert_eq!(ended.does(), "-2", "P11");
    ended.apply(&ended.plan());
    assert_eq!(ended.does(), "+2B", "P11: a missing pod is never protected");
    let down = five("0-1A 2A! 3-4A", &[2]);
    assert_eq!(down.does(), "-", "P12: the budget is used by 2");
    assert_eq!(
        down.condition("UpdateBlocked").as_deref(),
        Some("True AllRemainingProtected"),
        "P12: no idle one can go"
    );
    for (more, blocked) in [
        (down.clone().rolling("maxUnavailable", 2), false),
        (five("0A! 1A 2A! 3-4A", &[2]), false),
        (five("0A! 1A 2A! 3-4A", &[0, 2]), true),
        (five("0-1A 2A 3-4A", &[2]), false),
    ] {
        let said = more.condition("UpdateBlocked").unwrap();
        assert_eq!(said.starts_with("True"), blocked, "{said}");
    }
    let forced = protection(protection(down, "deadlineSeconds", 60), "onDeadline", "Force");
    let mut forced = blocked_since(forced, -60);
    assert_eq!(forced.does(), "-2", "P12: what is down costs no budget");
    assert_eq!(run(&mut forced), "-2 +2B -4 +4B -3 +3B -1 +1B -0 +0B");
}

/// Blocked by protection since then.
pub(super) fn blocked_since(world: World, since: i64) -> World {
    world.set(
        "/status/conditions",
        json!([{ "type": "UpdateBlocked", "status": "True", "reason": "AllRemainingProtected",
            "lastTransitionTime": at(since).to_string() }]),
    )
}

/// 16.6 P13; 16.1 `deadlineSeconds`
#[test]
fn a_deadline_tells_or_forces() {
    let blocked = |since: i64, on_deadline: &str| {
        let world = protection(five("0-4A", &[0, 1, 2, 3, 4]), "deadlineSeconds", 60);
        let world = protection(world, "onDeadline", on_deadline).rolling("maxUnavailable", 1);
        blocked_since(world, since)
    };
    let early = blocked(-50, "Force");
    assert_eq!((early.does().as_str(), early.requeue()), ("-", Some(10)));
    assert!(early.events().is_empty());
    let told = blocked(-60, "Event");
    assert_eq!(told.does(), "-");
    assert!(told.events().contains(&"ProtectionDeadlineExceeded"));
    let mut forced = blocked(-60, "Force");
    assert_eq!(forced.does(), "-4", "one at a time");
    assert!(forced.events().contains(&"ProtectionDeadlineExceeded"));
    let done = run(&mut forced);
    assert_eq!(done, "-4 +4B -3 +3B -2 +2B -1 +1B -0 +0B", "the rest follows");
    let first = protection(five("0-4A", &[0, 1, 2, 3, 4]), "deadlineSeconds", 60);
    assert_eq!(first.requeue(), Some(60), "it is blocked from now on");
}

/// 16.6 P13, where too few are protected and where the arbiter is silent: the last pod, too, comes back at the update
/// revision, and is taken once.
#[test]
fn what_a_deadline_took_comes_back_updated() {
    let few = |pods: &str| protection(five(pods, &[0]), "minProtected", 2);
    let silent = |pods: &str| asked(five(pods, &[]), &[], 0);
    for reason in ["TooFewProtected", "ArbiterUnavailable"] {
        let world = |pods: &str| {
            if reason == "TooFewProtected" {
                few(pods)
            } else {
                silent(pods)
            }
        };
        let forced = |pods: &str| {
            let world = protection(world(pods), "deadlineSeconds", 60);
            blocked_since(protection(world, "onDeadline", "Force"), -60)
        };
        let mut all = forced("0-4A");
        assert_eq!(run(&mut all), "-4 +4B -3 +3B -2 +2B -1 +1B -0 +0B", "{reason}");
        assert_eq!(
            all.condition("UpdateBlocked").as_deref(),
            Some("False Progressing")
        );
        let mut last = forced("0AT 1-4B");
        assert_eq!(last.does(), "-", "{reason}: it is on its way out");
        assert_eq!(
            last.condition("UpdateBlocked"),
            Some(format!("True {reason}")),
            "the deadline goes on to count"
        );
        last.apply(&last.plan());
        last.pods.retain(|pod| !pod.view().is_terminating());
        assert_eq!(last.does(), "+0B", "{reason}");
        let lost = world("1-4B");
        assert_eq!(lost.does(), "+0A", "{reason}: it was lost, not taken");
    }
}

/// 16.6 P14
#[test]
fn a_rollback_follows_too() {
    let mut world = protected(World::rollout(5).pods("0A 1B 2A 3B 4A"), &[0, 2, 4])
        .set("/spec/template", template('A'))
        .with(|world| world.revisions[0]["revision"] = json!(3));
    assert_eq!(run(&mut world), "-3 +3A -1 +1A");
}

/// 16.3: a pod that starts to work comes back from wherever it was held.
#[test]
fn a_pod_that_starts_to_work_comes_back() {
    let hooks = json!({ "preDelete": { "labelsHandler": { "held": "yes" }, "markPodNotReady": true },
        "inPlaceUpdate": { "labelsHandler": { "held": "yes" }, "markPodNotReady": true } });
    let world = |state: &str| {
        five("0-4A", &[3])
            .in_place()
            .set("/spec/lifecycle", hooks.clone())
            .labels("held", &[(3, "yes")])
            .state(3, state)
            .edit(3, |pod| {
                pod.condition(
                    "KruisePodReady",
                    "False",
                    r#"[{"userAgent":"Lifecycle","key":"preUpdateHook"}]"#,
                )
            })
    };
    for state in ["PreparingUpdate", "PreparingDelete"] {
        let mut world = world(state);
        assert_eq!(world.does(), "3:Normal", "{state}; 3 is down until it is back");
        world.apply(&world.plan());
        assert_eq!(
            world.get(3).unwrap().says("KruisePodReady"),
            Some("True"),
            "{state}"
        );
    }
}

/// 16.3: in its grace period an update is taken back, and later it ends.
#[test]
fn an_update_in_its_grace_period_is_taken_back() {
    let mut world = five("0-4A", &[])
        .in_place()
        .rolling("inPlaceUpdateStrategy/gracePeriodSeconds", 30)
        .at(100);
    world.apply(&world.plan());
    assert_eq!(world.picture(), "0A 1A 2A 3A 4B");
    let waiting = world.get(4).unwrap();
    assert_eq!(
        (waiting.image("c1"), waiting.says("Ready")),
        ("foo1", Some("False"))
    );
    let mut works = work(world.clone(), &[4]).at(110);
    assert_eq!(works.does(), "4:Normal");
    works.apply(&works.plan());
    assert_eq!(works.picture(), "0A 1A 2A 3A 4A");
    let back = works.get(4).unwrap();
    assert_eq!(
        (back.image("c1"), back.says("InPlaceUpdateReady")),
        ("foo1", Some("True"))
    );
    assert!(back.state().is_none(), "nothing is left of it");

    // Once its container changes, it is finished.
    world = world.at(131);
    world.apply(&world.plan());
    assert_eq!(world.get(4).unwrap().image("c1"), "foo2");
    let mut late = work(world, &[4]).at(132);
    late.apply(&late.plan());
    assert_eq!(late.picture(), "0A 1A 2A 3A 4B");
}

/// 16.3: a marked pod waits until it is idle.
#[test]
fn a_marked_pod_waits_until_it_is_idle() {
    let world = |working: &[u32]| five("0A 1As 2-4A", working).rolling("paused", true);
    assert_eq!(world(&[1]).does(), "-");
    assert!(world(&[1]).events().contains(&"ProtectedPodDeferred"));
    assert_eq!(world(&[0]).does(), "-1");
}

/// 16.5: each cause has its own sentence.
#[test]
fn why_a_pod_is_protected_is_told() {
    let unlabelled = five("0-4A", &[]).edit(4, |mut pod| {
        pod.json["metadata"]["labels"]
            .as_object_mut()
            .unwrap()
            .remove("working");
        pod
    });
    let heard = || asked(five("0-4A", &[]), &ALL_IDLE, 0);
    let by_hand = heard().edit(4, |pod| {
        pod.annotation("pitstop.io/arbiter-override", "protected")
    });
    let unknown = heard().with(|world| world.arbiter.observations[4].state = Observed::Unknown);
    let unreadable = five("0-4A", &[]).rolling("protection", json!({ "podSelector": {} }));
    for (world, by) in [
        (five("0-4A", &[4]), ProtectedBy::Work),
        (unlabelled, ProtectedBy::Unknown),
        (unknown, ProtectedBy::Unknown),
        (by_hand, ProtectedBy::Person),
        (asked(five("0-4A", &[]), &ALL_IDLE, 31), ProtectedBy::Silence),
        (
            protection(five("0-4A", &[0]), "minProtected", 2),
            ProtectedBy::TooFew,
        ),
        (unreadable, ProtectedBy::Unreadable),
    ] {
        assert_eq!(world.reason(4), Some(protected_by(by)));
        let marked = world.labels("apps.kruise.io/specified-delete", &[(4, "true")]);
        let events = marked.plan().events;
        let deferred = events.iter().find(|event| event.reason == "ProtectedPodDeferred");
        assert_eq!(
            deferred.unwrap().message,
            format!("pod web-4 is to be deleted, and stays: {}", by.sentence())
        );
    }
}

/// 16.5: pods that are one too many and stay while they work are told of, too, in either order.
#[test]
fn a_surplus_pod_that_stays_is_told_of() {
    let told = |world: World| {
        let mut events = world.plan().events.into_iter();
        let deferred = events.find(|event| event.reason == "ProtectedPodDeferred");
        deferred.map(|event| event.message.into_owned())
    };
    let working = Some("pod web-5 is one too many, and stays: it is protected while it works".to_owned());
    assert_eq!(told(five("0-5B", &[5])), working);
    assert_eq!(told(five("0-5B", &[0])), None);
    assert_eq!(
        told(protection(five("0-5B", &[5]), "onScaleDown", "Delete")),
        None
    );
}

/// 16.4, claim: nobody is asked for a pod that has to stay and cannot be updated so.
#[test]
fn a_pod_that_cannot_be_updated_is_not_claimed() {
    let world = |policy: &str| {
        let world = asked(five("0-4A", &[]), &ALL_IDLE, 0);
        let world = protection(world, "arbiter/claim", true).rolling("podUpdatePolicy", policy);
        // Another command is nothing that a pod takes while it runs.
        world.set("/spec/template/spec/containers/0/command", json!(["other"]))
    };
    let claims = |world: &World| {
        let actions = world.plan().actions;
        let is_claim = |action: &Action| matches!(action, Action::ClaimPods { .. });
        actions.iter().any(is_claim)
    };
    assert!(claims(&world("ReCreate")));
    let stays = world("InPlaceOnly");
    assert!(!claims(&stays));
    assert!(stays.events().contains(&"FailedUpdatePodInPlace"));
}

/// 16.4: until an arbiter has answered for the first time, every pod works, whatever is to be done when it is silent. What was
/// told before stays.
#[test]
fn before_its_first_answer_an_arbiter_is_waited_for() {
    for policy in ["Protect", "KeepLabel", "Ignore"] {
        let silent = protection(
            asked(five("0-3A 5A", &[]), &[], 0),
            "arbiter/failurePolicy",
            policy,
        );
        let awaited = silent.with(|world| {
            world.arbiter.heard_at = None;
            world.arbiter.is_awaited = true;
        });
        assert_eq!(awaited.does(), "+4A", "{policy}: pods that are missing come");
        assert_eq!(awaited.reason(3), Some(protected_by(ProtectedBy::Silence)));
        let status = awaited.status();
        assert_eq!(
            (status.protection, status.conditions.len()),
            (None, 0),
            "{policy}"
        );
        assert!(!awaited.events().contains(&"ProtectedPodDeferred"));
    }
    // Nobody waits for an arbiter that there is not.
    let by_label = five("0-4A", &[4]).with(|world| world.arbiter.is_awaited = true);
    assert_eq!(by_label.does(), "-3");
    assert_eq!(by_label.status().protection.unwrap().protected, 1);
}

/// 16.1, `onScaleDown`: where pods that are too many go although they work, nobody is asked for them.
#[test]
fn only_pods_that_stay_while_they_work_are_claimed_on_scale_down() {
    for state in [Observed::Working, Observed::Idle] {
        for (policy, does) in [("Block", "-"), ("Delete", "-5")] {
            let world = asked(five("0-5B", &[]), &[(5, state)], 0);
            let world = protection(world, "arbiter/claim", true);
            let world = protection(world, "onScaleDown", policy);
            assert_eq!(world.does(), does, "{state:?} {policy}");
        }
    }
}

/// 16.1: what cannot be read protects every pod, and is said.
#[test]
fn a_protection_that_cannot_be_read_stops_every_disruption() {
    let world = five("0A 1As 2-3A 5A", &[]).rolling("protection", json!({ "podSelector": {} }));
    assert_eq!(world.does(), "+4A");
    assert!(world.events().contains(&"InvalidSpec"));
    assert_eq!(
        world.condition("InvalidSpec").as_deref(),
        Some("True InvalidSpec")
    );
}

/// Which pods may be evicted: `-` is one that may, `w` one that works, `u` one of which nobody knows, `s` one of which an arbiter is silent, `f` one that
/// has to stay since too few are protected, `?` one that stays for another reason.
fn evictions(world: &World) -> String {
    let pods: Vec<_> = world.pods.iter().map(|pod| pod.view().uid).collect();
    let of = |pod| world.judged(|snapshot| eviction_refusal(snapshot, pod));
    let word = |why: Option<String>| match why.as_deref() {
        None => '-',
        Some("it is protected while it works") => 'w',
        Some(said) if said.starts_with("it is protected while its arbiter does not answer") => 's',
        Some(why) if why.starts_with("it is protected while nobody knows") => 'u',
        Some(why) if why.contains("minProtected") => 'f',
        Some(_) => '?',
    };
    pods.into_iter().map(|pod| word(of(pod))).collect()
}

/// 16.1, `evictionGuard`: evictions are judged as an update would be.
#[test]
fn protected_pods_are_not_evicted() {
    let guarded = |pods: &str, working: &[u32]| protection(five(pods, working), "evictionGuard", true);
    assert_eq!(
        evictions(&five("0-4A", &[0, 2, 4])),
        "-----",
        "nobody asks for it"
    );
    assert_eq!(evictions(&guarded("0-4A", &[0, 2, 4])), "w-w-w");
    assert_eq!(
        evictions(&guarded("0-2B 3-4A", &[0, 4])),
        "w---w",
        "at any revision"
    );
    assert_eq!(
        evictions(&guarded("0-1A 2AF 3A 4AT", &[2, 4])),
        "-----",
        "what has ended, or is on its way out, is not protected any more"
    );
    let unlabelled = guarded("0-4A", &[]).edit(3, |mut pod| {
        pod.json["metadata"]["labels"]
            .as_object_mut()
            .unwrap()
            .remove("working");
        pod
    });
    assert_eq!(evictions(&unlabelled), "---u-", "16.2.4: unknown is protected");
    let few = |n: u32| protection(guarded("0-4A", &[0, 2]), "minProtected", n);
    assert_eq!(evictions(&few(2)), "w-w--");
    assert_eq!(evictions(&few(3)), "wfwff", "no voluntary disruption at all");
    let broken = guarded("0-4A", &[]).rolling("protection", json!({ "evictionGuard": true }));
    assert_eq!(evictions(&broken), "?????", "it cannot be read");
    let ending = guarded("0-4A", &[0, 1, 2, 3, 4]);
    let ending =
        ending.with(|world| world.set["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z"));
    assert_eq!(evictions(&ending), "-----", "its pods go with it");
}

/// 16.2: an arbiter is asked right then; its silence protects, unless `failurePolicy` says otherwise.
#[test]
fn a_silent_arbiter_keeps_pods_from_eviction() {
    let guarded = |world| protection(world, "evictionGuard", true);
    let said = [
        (0, Observed::Working),
        (1, Observed::Idle),
        (2, Observed::Unknown),
        (3, Observed::Idle),
        (4, Observed::Idle),
    ];
    let heard = guarded(asked(five("0-4A", &[4]), &said, 0));
    assert_eq!(evictions(&heard), "w-u--", "it outranks labels");
    let silent = heard.with(|world| world.arbiter.failures = 3);
    assert_eq!(evictions(&silent), "sssss");
    let policy = |policy: &str| protection(silent.clone(), "arbiter/failurePolicy", policy);
    assert_eq!(evictions(&policy("KeepLabel")), "----w");
    assert_eq!(evictions(&policy("Ignore")), "-----");
}
