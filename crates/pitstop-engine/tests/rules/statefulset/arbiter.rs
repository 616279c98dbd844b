//! statefulset.md 16.4: what an arbiter is asked, and what its answers become.

use pitstop_api::reasons;
use pitstop_engine::plan::ProtectedBy;
use pitstop_engine::statefulset::{Claimed, Observation, Observed, PatchWhy};

use super::protection::{ALL_IDLE, asked, blocked_since, five, protected_by, protection};
use super::*;

/// 16.4: answers become labels.
#[test]
fn answers_of_the_arbiter_become_labels() {
    let said = [(3, Observed::Working), (4, Observed::Working)];
    let world = asked(five("0-4A", &[4]), &said, 0);
    let mut world = protection(
        world,
        "arbiter/label",
        json!({ "key": "working", "protectedValue": "true", "idleValue": "false" }),
    );
    let plan = world.plan();
    let by_arbiter = plan.actions.iter().filter(|action| match action {
        Action::PatchPod { why, .. } => *why == PatchWhy::ArbiterLabel,
        _ => false,
    });
    assert_eq!(
        by_arbiter.count(),
        1,
        "of others nothing was said, and 4 has its label"
    );
    world.apply(&plan);
    let label = |ordinal| {
        world
            .get(ordinal)
            .unwrap()
            .get("/metadata/labels/working")
            .unwrap()
            .clone()
    };
    assert_eq!([label(2), label(3), label(4)], ["false", "true", "true"]);
}

/// 16.4: where the arbiter is to be asked first, it is, and again while the pod is down.
#[test]
fn a_pod_is_claimed_before_it_goes() {
    let talk = |world: &World| -> Vec<String> {
        let plan = world.plan();
        let found = plan.actions.iter().filter_map(|action| match action {
            Action::ClaimPods { pods, token, .. } => Some(format!("claim {} {token}", pods.join(" "))),
            Action::ReleasePods { pods, token } => Some(format!("release {} {token}", pods.join(" "))),
            _ => None,
        });
        found.collect()
    };
    let world = || protection(asked(five("0-4A", &[]), &ALL_IDLE, 0), "arbiter/claim", true);
    assert_eq!(world().does(), "-");
    assert_eq!(talk(&world()), [format!("claim web-4 {OWNER}-web-b")]);
    let answered = |pod: &str, is_granted: bool, until: i64| {
        world().with(|world| {
            world.arbiter.claimed.push(Claimed {
                pod: pod.into(),
                is_granted,
                until: at(until),
                token: "of-then".into(),
            });
        })
    };
    assert_eq!(answered("web-4", true, 100).does(), "-4");
    let refused = answered("web-4", false, 100);
    assert_eq!((refused.does().as_str(), talk(&refused).len()), ("-", 1));
    assert!(
        talk(&refused)[0].starts_with("claim web-3 "),
        "the next one is asked for"
    );
    assert_eq!(answered("web-4", true, 0).does(), "-", "it has run out");
    let mut gone = answered("web-4", true, 100);
    gone.apply(&gone.plan());
    assert_eq!(talk(&gone), Vec::<String>::new());
    let soon = gone.clone().with(|world| world.arbiter.claimed[0].until = at(30));
    assert!(
        talk(&soon)[0].starts_with("claim web-4 of-then"),
        "renewed while it is down, as it was made"
    );
    for _ in 0..3 {
        gone.pass();
    }
    assert!(
        talk(&gone)[0] == "release web-4 of-then",
        "it is back, which is told first: {:?}",
        talk(&gone)
    );
}

/// What is asked and told: `?` asks for a pod, `~` renews by the token of then, `^` releases.
fn talks(world: &World) -> String {
    let number = |name: &Arc<str>| name.trim_start_matches("web-").to_owned();
    let mut found = Vec::new();
    for action in world.plan().actions {
        let (sign, pods) = match &action {
            Action::ClaimPods { pods, token, .. } if &**token == "of-then" => ('~', pods),
            Action::ClaimPods { pods, .. } => ('?', pods),
            Action::ReleasePods { pods, token } => {
                assert_eq!(&**token, "of-then", "by what it was claimed with");
                ('^', pods)
            }
            _ => continue,
        };
        found.extend(pods.iter().map(|pod| format!("{sign}{}", number(pod))));
    }
    found.join(" ")
}

/// Five idle pods whose arbiter is asked for each, and what it said of some: granted or refused until then.
fn claimed(pods: &str, said: &[(u32, bool, i64)]) -> World {
    let world = five(pods, &[]);
    let idle: Vec<_> = world.pods.iter().map(|pod| pod.view().uid).collect();
    let mut world = protection(asked(world, &[], 0), "arbiter/claim", true);
    world
        .arbiter
        .observations
        .extend(idle.into_iter().map(|pod| Observation {
            pod,
            state: Observed::Idle,
            at: at(0),
            ttl_seconds: None,
        }));
    world
        .arbiter
        .claimed
        .extend(said.iter().map(|(ordinal, is_granted, until)| Claimed {
            pod: format!("web-{ordinal}").into(),
            is_granted: *is_granted,
            until: at(*until),
            token: "of-then".into(),
        }));
    world
}

/// 16.4: a pod that the arbiter does not let go stops no other; it is asked for again after a period (10 s), the one whose
/// refusal is the oldest first, and is protected all that time.
#[test]
fn a_refused_pod_stops_no_other() {
    let refused = |untils: &[(u32, i64)]| {
        let said: Vec<_> = untils
            .iter()
            .map(|(ordinal, until)| (*ordinal, false, *until))
            .collect();
        claimed("0-4A", &said)
    };
    for (untils, asks) in [
        (&[][..], "?4"),
        (&[(4, 10)], "?3"),
        (&[(4, 10), (3, 10), (2, 10), (1, 10)], "?0"),
        (&[(4, 10), (3, 10), (2, 10), (1, 10), (0, 10)], ""),
        (&[(4, 0)], "?3"),
        (&[(4, 0), (3, -1), (2, 10), (1, 10), (0, 10)], "?3"),
        (&[(4, -10), (3, -1), (2, 10), (1, 10), (0, 10)], "?4"),
    ] {
        assert_eq!(talks(&refused(untils)), asks, "{untils:?}");
    }
    // It is blocked, and stays so while it is asked again, so that a deadline is reached.
    for until in [10, 0, -9] {
        let all = [4, 3, 2, 1, 0].map(|ordinal| (ordinal, until));
        let world = refused(&all);
        assert_eq!(
            world.condition("UpdateBlocked").as_deref(),
            Some("True AllRemainingProtected"),
            "{until}"
        );
        let told = world.status().protection.unwrap();
        assert_eq!((told.protected, told.refused.len()), (5, 5), "{until}");
        assert_eq!(
            world.reason(1),
            Some(protected_by(ProtectedBy::Refusal)),
            "{until}"
        );
    }
    let forced = protection(
        refused(&[(4, 10), (3, 10), (2, 10), (1, 10), (0, 10)]),
        "deadlineSeconds",
        60,
    );
    let forced = blocked_since(protection(forced, "onDeadline", "Force"), -60);
    assert_eq!(forced.does(), "-4");
    let granted = claimed("0-4A", &[(1, true, 100)]);
    assert_eq!(
        (granted.does().as_str(), &*talks(&granted)),
        ("-1", ""),
        "whoever may go goes first"
    );
    assert_eq!(
        claimed("0-4A", &[]).reason(4),
        Some(protected_by(ProtectedBy::Question))
    );
}

/// 16.4: a claim ends when its pod is back, or is not to go any more.
#[test]
fn claims_of_no_more_use_are_released() {
    let old = |world: World| world.set("/spec/template", template('A'));
    for (world, talk, why) in [
        (claimed("0-3A", &[(4, true, 100)]), "", "it is made"),
        (claimed("0-3A", &[(4, true, 50)]), "~4", "its pod is down"),
        (
            claimed("0-3A 4B!", &[(4, true, 50)]),
            "~4",
            "its pod is not ready",
        ),
        (claimed("0-3A 4B", &[(4, true, 50)]), "^4 ?3", "it is back"),
        (
            claimed("0-2A", &[(3, true, 50), (4, true, 50)]).set("/spec/replicas", 3),
            "^3 ^4 ?2",
            "they are gone for good",
        ),
        (
            old(claimed("0-4A", &[(4, true, 50)])).set("/spec/replicas", 4),
            "~4",
            "it is deleted now",
        ),
        (
            old(claimed("0-4A", &[(4, true, 50)])),
            "^4",
            "nobody wants it any more",
        ),
        (
            claimed("0-4A", &[(4, true, 50)]).rolling("paused", true),
            "^4",
            "paused",
        ),
        (
            claimed("0-4A", &[(4, true, 50)]).rolling("partition", 5),
            "^4",
            "the partition keeps it",
        ),
    ] {
        assert_eq!(talks(&world), talk, "{why}");
    }
    let hook = json!({ "preDelete": { "labelsHandler": { "held": "yes" } } });
    let mut held = claimed("0-4A", &[(4, true, 50)])
        .set("/spec/lifecycle", hook)
        .labels("held", &[(4, "yes")])
        .state(4, "PreparingDelete");
    assert_eq!(talks(&held), "~4", "its hook holds it");
    held = held.rolling("paused", true);
    assert_eq!(held.does(), "4:Normal");
    held.apply(&held.plan());
    assert_eq!(talks(&held), "^4", "it is back, and old");
}

/// 16.4, exec: commands run in pods that run; a pod in which nothing ever started cannot work.
#[test]
fn a_pod_that_never_started_does_not_work() {
    let exec = |world: World| {
        let command = json!({ "exec": { "command": ["is-idle"] } });
        protection(world, "arbiter", command)
    };
    let never = |world: World, ordinal| {
        world.edit(ordinal, |pod| {
            let waits = json!([{ "name": "c1", "image": "nosuch", "imageID": "", "restartCount": 0, "ready": false,
                "state": { "waiting": { "reason": "ImagePullBackOff" } } }]);
            pod.set("/status/phase", "Pending")
                .set("/status/containerStatuses", waits)
                .condition("Ready", "False", "")
        })
    };
    let world = || {
        let world = asked(
            five("0-4A", &[]),
            &[(0, Observed::Working), (1, Observed::Working)],
            0,
        );
        exec(world)
    };
    assert_eq!(world().does(), "-", "2 to 4 were not heard");
    let world = never(world(), 4);
    assert_eq!(world.does(), "-4");
    let kept = world.edit(4, |pod| {
        pod.annotation("pitstop.io/arbiter-override", "protected")
    });
    assert_eq!(kept.does(), "-", "a person says so");
    let mut none = exec(five("0A", &[])).set("/spec/replicas", 1);
    none = never(none, 0);
    assert_eq!(none.does(), "-0", "nobody can be asked, so nobody is silent");
}

/// 16.4, exec: an update in place, which only an idle pod gets, stops the container in which the command runs; until it
/// is started again nothing in it works, and the way back is open.
#[test]
fn a_pod_that_its_update_stopped_does_not_work() {
    let exec = json!({ "exec": { "command": ["is-idle"] } });
    let mut world = asked(five("0-4A", &[]), &ALL_IDLE, 0).in_place();
    world = protection(world, "arbiter", exec);
    world.kubelets();
    assert_eq!(world.does(), "@4");
    let plan = world.plan();
    world.apply(&plan);
    // The command was heard of the others alone since then, and the user goes back.
    world.now += 60;
    let now = at(world.now);
    for seen in world.arbiter.observations.iter_mut().take(4) {
        seen.at = now;
    }
    world.arbiter.heard_at = Some(now);
    let world = world
        .set("/spec/template", template('A'))
        .with(|world| world.revisions[0]["revision"] = json!(3));
    let container = |state: Value, id: &str| {
        let container = json!([{ "name": "c1", "image": "foo1", "imageID": "containerd://foo1", "restartCount": 0,
            "ready": false, "containerID": id, "state": state }]);
        world.clone().edit(4, |pod| {
            pod.set("/status/containerStatuses", container)
                .condition("Ready", "False", "")
        })
    };
    let waiting = json!({ "waiting": { "reason": "ImagePullBackOff" } });
    let stopped = container(waiting.clone(), "containerd://c1-1");
    assert_eq!(stopped.does(), "@4", "nothing has run there since");
    let crashed = container(waiting, "containerd://c1-2");
    assert_eq!(
        crashed.does(),
        "-",
        "the new version has run, and its state is not known"
    );
    let told = crashed.plan();
    let said = told.status.unwrap().protection.unwrap();
    assert_eq!(said.silent, ["web-4"], "who does not ask finds that out");
    let event = told
        .events
        .iter()
        .find(|event| event.reason == reasons::ARBITER_PROBE_FAILED);
    assert!(
        event
            .unwrap()
            .message
            .starts_with("the arbiter says nothing of pod web-4: "),
        "{event:?}"
    );
    let runs = container(json!({ "running": {} }), "containerd://c1-1");
    assert_eq!(runs.does(), "-", "it has not been stopped yet");
}

/// 16.5: who does not ask the arbiter finds in the status what it said: who waits works, and so do as many others as are
/// protected.
#[test]
fn what_the_arbiter_said_is_read_from_the_status() {
    use Observed::{Idle, Working};
    let reports = |protection: Value| {
        let world = World::rollout(5)
            .pods("0-2A 3-4B")
            .set("/status/updateRevision", "web-b")
            .set("/status/protection", protection);
        let pods: Vec<PodView> = world.pods.iter().map(LivePod::view).collect();
        let pods: Vec<&PodView> = pods.iter().collect();
        let reported = ArbiterAnswers::reported(&world.view(), &pods, at(world.now));
        let states = |pod: &&PodView| {
            let mut seen = reported.observations.iter();
            seen.find(|one| one.pod == pod.uid).map(|one| one.state)
        };
        pods.iter().filter_map(states).collect::<Vec<Observed>>()
    };
    let status = |protected: u32, old: u32, waiting: &[&str], condemned: &[&str], answers: bool| {
        json!({
            "protected": protected, "protectedOld": old, "effectivePartition": old,
            "waiting": waiting, "condemned": condemned, "arbiterHealthy": answers,
        })
    };
    assert_eq!(
        reports(status(2, 1, &["web-1"], &[], true)),
        [Idle, Working, Idle, Working, Idle],
        "one that waits, and one that is new"
    );
    assert_eq!(
        reports(status(0, 0, &[], &["web-4"], true)),
        [Idle, Idle, Idle, Idle, Working],
        "one that is too many"
    );
    let mut told = status(3, 3, &["web-2", "web-1", "web-0"], &[], true);
    told["refused"] = json!(["web-2"]);
    told["unknown"] = json!(["web-0"]);
    assert_eq!(
        reports(told.clone()),
        [Observed::Unknown, Working, Idle, Idle, Idle],
        "one that nobody knows, and one that was refused"
    );
    told["silent"] = json!(["web-1"]);
    assert_eq!(
        reports(told),
        [Observed::Unknown, Idle, Idle, Idle],
        "of one nothing is heard"
    );
    assert_eq!(
        reports(status(2, 1, &["web-1"], &[], false)),
        [],
        "it did not answer"
    );
}
