use tokio::time::Instant;

use super::*;
use crate::checks;
use crate::journal::faulty::{Fault, Faulty};

const NOW: &str = "2026-11-21T08:00:00Z";

pub(crate) fn mk_pod(uid: &str, need: &str, target: &str) -> PodView {
    let raw = serde_json::json!({
        "metadata": {
            "namespace": "default", "name": "nginx-a", "uid": uid, "resourceVersion": "7",
            "ownerReferences": [
                {"apiVersion": "apps/v1", "kind": "DaemonSet", "name": "nginx", "uid": "d", "controller": true}
            ],
        },
        "spec": {"nodeName": "n1"},
        "status": {"conditions": [
            {"type": "PodNeedUpgrade", "status": need, "message": format!("controllerrevision: {target}")}
        ]},
    });
    PodView::read(raw.to_string().as_bytes()).unwrap()
}

pub(crate) fn mk_intent() -> Intent {
    let by = By {
        uid: Some(1000),
        ..By::default()
    };
    let age = Age {
        now: NOW.parse().unwrap(),
        uptime: 100,
        ttl: Duration::from_secs(72 * 3600),
    };
    Intent::new(Action::Upgrade, &mk_pod("1", "True", "new"), by, Follow::Pod, age)
}

struct Case {
    rule: &'static str,
    intent: Intent,
    pod: Option<PodView>,
    others: Vec<PodView>,
    now: &'static str,
    uptime: u64,
    policy: Option<Waiting>,
    expected: Step,
}

fn case(rule: &'static str, expected: Step) -> Case {
    Case {
        rule,
        intent: mk_intent(),
        pod: Some(mk_pod("1", "True", "new")),
        others: Vec::new(),
        now: NOW,
        uptime: 100,
        policy: None,
        expected,
    }
}

fn executing(method: Method) -> Intent {
    Intent {
        state: State::Executing,
        waiting: None,
        method: Some(method),
        ..mk_intent()
    }
}

fn with(pod: PodView, kind: &str, status: &str, reason: &str, message: &str) -> PodView {
    let mut pod = pod;
    pod.conditions.push(crate::pod::Condition {
        kind: kind.to_owned(),
        status: status.to_owned(),
        reason: reason.to_owned(),
        message: message.to_owned(),
    });
    pod
}

#[allow(clippy::too_many_lines, reason = "one row for each case of the spec")]
fn cases() -> Vec<Case> {
    let fresh = || mk_pod("1", "True", "new");
    let deleting = || PodView {
        deleting: true,
        ..fresh()
    };
    let end = Step::End;
    let late = "2026-11-24T08:00:00Z";
    let requested = || {
        with(
            fresh(),
            "pitstop.io/UpgradeRequested",
            "True",
            "",
            "controllerrevision: new",
        )
    };
    let image = |status: &str, reason: &str| {
        with(
            fresh(),
            "PodImageReady",
            status,
            reason,
            "controllerrevision: new",
        )
    };
    let foreign = |need: &str| PodView {
        owner: Owner::default(),
        ..mk_pod("2", need, "new")
    };
    let follow = || Intent {
        follow: Follow::Owner,
        ..mk_intent()
    };
    let asking = || {
        let mut intent = mk_intent();
        intent.asks = Some("newer".to_owned());
        intent.wait(Waiting::Approval);
        intent
    };
    vec![
        Case {
            now: late,
            ..case("V1 wall clock", end(State::Expired, "Expired"))
        },
        Case {
            uptime: 100 + 72 * 3600,
            ..case("V1 uptime", end(State::Expired, "Expired"))
        },
        Case {
            now: "1970-01-01T00:00:00Z",
            ..case("V1 a clock that steps back", Step::Act)
        },
        Case {
            now: late,
            pod: None,
            ..case("V1 before V4", end(State::Expired, "Expired"))
        },
        Case {
            now: late,
            intent: executing(Method::Direct),
            pod: None,
            ..case(
                "V2 an executing one does not expire",
                end(State::Succeeded, "Replaced"),
            )
        },
        Case {
            now: late,
            intent: executing(Method::Direct),
            ..case("V1 after V2", end(State::Expired, "Expired"))
        },
        Case {
            now: late,
            intent: executing(Method::Request),
            pod: Some(requested()),
            ..case("V2 what is asked for stays asked for", Step::Stay)
        },
        Case {
            intent: executing(Method::Direct),
            pod: None,
            ..case("V2 gone", end(State::Succeeded, "Replaced"))
        },
        Case {
            intent: executing(Method::Direct),
            pod: Some(mk_pod("2", "False", "new")),
            ..case("V2 another uid", end(State::Succeeded, "Replaced"))
        },
        Case {
            intent: executing(Method::Direct),
            pod: Some(deleting()),
            ..case("V2 terminating", end(State::Succeeded, "Deleting"))
        },
        Case {
            intent: executing(Method::Direct),
            ..case("V2 crashed before the delete", Step::Act)
        },
        Case {
            intent: executing(Method::Direct),
            policy: Some(Waiting::Gate),
            ..case("V9 a gate that closes after it began", Step::Act)
        },
        Case {
            intent: executing(Method::Request),
            pod: Some(requested()),
            ..case("V2 request under way", Step::Stay)
        },
        Case {
            intent: executing(Method::Request),
            pod: Some(mk_pod("1", "False", "new")),
            ..case("V2 request done", end(State::Succeeded, "Upgraded"))
        },
        Case {
            intent: executing(Method::Request),
            ..case("V2 crashed before the patch", Step::Act)
        },
        Case {
            intent: executing(Method::Direct),
            pod: Some(mk_pod("1", "True", "newer")),
            ..case("V7 while executing", Step::AskAgain("newer".to_owned()))
        },
        Case {
            intent: executing(Method::Direct),
            pod: Some(mk_pod("1", "False", "old")),
            ..case("V6 while executing", end(State::Obsolete, "NoLongerNeeded"))
        },
        Case {
            pod: Some(mk_pod("2", "False", "new")),
            ..case(
                "V3 the successor is at the target",
                end(State::Succeeded, "AlreadyAtTarget"),
            )
        },
        Case {
            pod: None,
            others: vec![mk_pod("2", "False", "new")],
            ..case(
                "V3 a sibling is at the target",
                end(State::Succeeded, "AlreadyAtTarget"),
            )
        },
        Case {
            pod: None,
            others: vec![PodView {
                revision: "new".to_owned(),
                conditions: Vec::new(),
                ..mk_pod("2", "True", "x")
            }],
            ..case("V3 by its label", end(State::Succeeded, "AlreadyAtTarget"))
        },
        Case {
            pod: None,
            others: vec![foreign("False")],
            ..case("V4 a pod of someone else", end(State::Obsolete, "PodReplaced"))
        },
        Case {
            pod: None,
            ..case("V4 gone", end(State::Obsolete, "PodReplaced"))
        },
        Case {
            pod: Some(mk_pod("2", "True", "new")),
            ..case("V4 replaced", end(State::Obsolete, "PodReplaced"))
        },
        Case {
            pod: Some(mk_pod("2", "True", "new")),
            intent: follow(),
            ..case(
                "V4 follow=owner",
                Step::Follow(Box::new(mk_pod("2", "True", "new"))),
            )
        },
        Case {
            pod: Some(deleting()),
            ..case("V5", end(State::Obsolete, "Deleting"))
        },
        Case {
            pod: Some(mk_pod("1", "False", "old")),
            ..case("V6 rolled back", end(State::Obsolete, "NoLongerNeeded"))
        },
        Case {
            pod: Some(mk_pod("1", "True", "newer")),
            ..case("V7", Step::AskAgain("newer".to_owned()))
        },
        Case {
            pod: Some(mk_pod("1", "True", "newer")),
            intent: asking(),
            ..case("V7 already asked", Step::Stay)
        },
        Case {
            pod: Some(mk_pod("1", "True", "newest")),
            intent: asking(),
            ..case("V7 and again", Step::AskAgain("newest".to_owned()))
        },
        Case {
            intent: asking(),
            ..case("V7 back at what was agreed to", Step::Act)
        },
        Case {
            pod: Some(image("True", "PullImageSuccess")),
            ..case("V8 ready", Step::Act)
        },
        Case {
            pod: Some(image("False", "")),
            ..case("V8 under way", Step::Wait(Waiting::Image))
        },
        Case {
            pod: Some(image("False", "PullImageFail")),
            ..case("V8 failed", Step::Pull)
        },
        Case {
            pod: Some(image("False", "PullImageFail")),
            intent: Intent {
                pulls: 3,
                ..mk_intent()
            },
            ..case("V8 failed for good", Step::Wait(Waiting::Image))
        },
        Case {
            policy: Some(Waiting::Window),
            ..case("V9", Step::Wait(Waiting::Window))
        },
        Case {
            pod: Some(PodView { owners: 0, ..fresh() }),
            ..case("owner", end(State::Failed, "NoOwner"))
        },
        case("V10", Step::Act),
    ]
}

// hub.md B7, V1 to V10.
#[test]
fn every_rule_in_its_order() {
    for case in cases() {
        let world = World {
            node: "n1",
            now: case.now.parse().unwrap(),
            uptime: case.uptime,
            pod: case.pod.as_ref(),
            others: &case.others,
            policy: case.policy,
        };
        assert_eq!(step(&case.intent, &world), case.expected, "{}", case.rule);
    }
}

#[test]
fn what_is_over_stays_over() {
    for state in State::ALL.into_iter().filter(|state| state.ended()) {
        let intent = Intent { state, ..mk_intent() };
        let world = World {
            node: "n1",
            now: NOW.parse().unwrap(),
            uptime: 0,
            pod: None,
            others: &[],
            policy: None,
        };
        assert_eq!(step(&intent, &world), Step::Stay);
    }
}

#[test]
fn the_same_request_is_the_same_intent() {
    // printf 'upgrade|1|new' | sha256sum
    assert_eq!(intent_id(Action::Upgrade, "1", "new").len(), 16);
    assert_eq!(mk_intent().id, intent_id(Action::Upgrade, "1", "new"));
    assert_ne!(mk_intent().id, intent_id(Action::ImagePull, "1", "new"));
    assert_ne!(mk_intent().id, intent_id(Action::Upgrade, "2", "new"));
}

fn numbered(number: usize) -> Intent {
    Intent {
        id: format!("{number:016x}"),
        created: Timestamp::from_second(i64::try_from(number).unwrap()).unwrap(),
        ..mk_intent()
    }
}

fn open(disk: &Faulty) -> Book {
    Book::open(Box::new(disk.clone()), Instant::now()).unwrap().0
}

#[test]
fn the_257th_intent_is_refused() {
    let disk = Faulty::default();
    let mut book = open(&disk);
    for number in 0..256 {
        book.put(numbered(number)).unwrap();
    }
    assert!(matches!(book.put(numbered(256)), Err(BookError::TooMany)));
    let mut known = numbered(7);
    known.wait(Waiting::Gate);
    book.put(known).unwrap();
    assert_eq!(
        book.cancel(&numbered(3).id, NOW.parse().unwrap())
            .unwrap()
            .unwrap()
            .state,
        State::Cancelled
    );
    book.put(numbered(256)).unwrap();
    assert_eq!(open(&disk).open_ones().len(), 256);
}

#[test]
fn long_names_are_bounded_in_bytes() {
    let mut book = open(&Faulty::default());
    let long = |number| Intent {
        target: "x".repeat(32 * 1024),
        ..numbered(number)
    };
    let kept = (0..40).filter(|number| book.put(long(*number)).is_ok()).count();
    assert!(kept < 33, "{kept}");
}

#[test]
fn the_log_and_the_ended_are_bounded() {
    let disk = Faulty::default();
    let mut book = open(&disk);
    for number in 0..600 {
        let mut intent = numbered(number);
        book.put(intent.clone()).unwrap();
        intent.end(
            State::Succeeded,
            "Deleted",
            Timestamp::from_second(i64::try_from(number).unwrap()).unwrap(),
        );
        book.settle(intent);
    }
    assert!(book.all().len() <= 258, "{}", book.all().len());
    assert!(book.length() < 600 * 1024, "{}", book.length());
    // Seven days later they are forgotten.
    book.minute(Instant::now(), NOW.parse().unwrap());
    assert_eq!(book.all().len(), 0);
}

#[test]
fn uptime_outlives_restarts() {
    let disk = Faulty::default();
    let start = Instant::now();
    let hour = Duration::from_secs(3600);
    let mut book = Book::open(Box::new(disk.clone()), start).unwrap().0;
    book.put(numbered(1)).unwrap();
    book.minute(start + hour, NOW.parse().unwrap());
    let book = Book::open(Box::new(disk.clone()), start + hour * 5).unwrap().0;
    assert_eq!(book.uptime(start + hour * 6), 2 * 3600);
}

#[test]
fn records_of_a_newer_version_are_kept() {
    let disk = Faulty::default();
    let newer = br#"{"intention":{"id":"x"}}"#;
    let (mut log, ..) = crate::journal::Log::open(Box::new(disk.clone()), book::FILE).unwrap();
    log.append(&[newer.to_vec()]).unwrap();
    let mut book = open(&disk);
    for number in 0..600 {
        let mut intent = numbered(number);
        intent.end(State::Failed, "x", NOW.parse().unwrap());
        book.settle(intent);
    }
    let bytes = disk.bytes(book::FILE);
    assert!(
        bytes.len() < 300 * 1024,
        "the log was never written anew: {}",
        bytes.len()
    );
    let (records, _) = crate::journal::parse(&bytes);
    assert!(records.contains(&newer.as_slice()));
}

// S9: what was promised survives; what was refused is not there twice.
#[test]
fn a_promise_survives_death_at_every_call() {
    let mut points = 0;
    for power in [true, false] {
        for some in [0, 3, 8, 64, 100_000] {
            for call in 0..60 {
                let disk = Faulty::default();
                let mut book = open(&disk);
                let before = disk.calls();
                disk.at(call, Fault::Die(some));
                let mut promised = Vec::new();
                for number in 0..12 {
                    let mut intent = numbered(number);
                    if book.put(intent.clone()).is_ok() {
                        promised.push(intent.clone());
                    }
                    if number % 4 == 3 {
                        intent.end(State::Succeeded, "Deleted", NOW.parse().unwrap());
                        book.settle(intent);
                    }
                    if number % 5 == 4 {
                        book.minute(Instant::now() + Duration::from_secs(60), NOW.parse().unwrap());
                    }
                    if disk.dead() {
                        break;
                    }
                }
                if !disk.dead() {
                    assert!(disk.calls() - before <= call);
                    continue;
                }
                points += 1;
                drop(book);
                disk.restart(power);
                let book = open(&disk);
                for intent in &promised {
                    let found = book
                        .get(&intent.id)
                        .unwrap_or_else(|| panic!("{power} {some} {call}: lost"));
                    assert_eq!(found.target, intent.target);
                }
                assert!(
                    book.all().len() <= promised.len() + 1,
                    "{power} {some} {call}: invented"
                );
            }
        }
    }
    assert!(points >= 200, "{points}");
}

#[test]
fn a_full_disk_refuses_and_what_happened_meanwhile_is_written_later() {
    let disk = Faulty::default();
    let mut book = open(&disk);
    book.put(numbered(1)).unwrap();
    book.put(numbered(2)).unwrap();
    disk.full(true);
    assert!(matches!(book.put(numbered(3)), Err(BookError::Disk(_))));
    assert!(book.get(&numbered(3).id).is_none());
    let mut done = numbered(1);
    done.end(State::Succeeded, "Deleted", NOW.parse().unwrap());
    book.settle(done);
    assert_eq!(book.get(&numbered(1).id).unwrap().state, State::Succeeded);
    assert!(book.errors >= 2);
    disk.full(false);
    book.put(numbered(4)).unwrap();
    let again = open(&disk);
    let states: Vec<State> = again.all().iter().map(|intent| intent.state).collect();
    assert_eq!(states, [State::Succeeded, State::Pending, State::Pending]);
}

mod any {
    use proptest::prelude::*;

    use super::*;

    fn target() -> impl Strategy<Value = &'static str> {
        proptest::sample::select(vec!["new", "newer", "old", ""])
    }

    fn pod() -> impl Strategy<Value = PodView> {
        let status = proptest::sample::select(vec!["True", "False", "Unknown"]);
        let image = proptest::option::of((status.clone(), target()));
        let uid = proptest::sample::select(vec!["1", "2"]);
        (uid, status, target(), any::<bool>(), image).prop_map(|(uid, need, target, deleting, image)| {
            let mut pod = PodView {
                deleting,
                ..mk_pod(uid, need, target)
            };
            if let Some((status, target)) = image {
                pod = with(pod, "PodImageReady", status, "", target);
            }
            pod
        })
    }

    fn intent() -> impl Strategy<Value = Intent> {
        let state = proptest::sample::select(State::ALL.to_vec());
        let method = proptest::sample::select(vec![None, Some(Method::Direct), Some(Method::Request)]);
        let asks = proptest::option::of(target());
        (state, method, target(), asks, any::<bool>()).prop_map(|(state, method, target, asks, owner)| {
            Intent {
                state,
                waiting: (state == State::Pending).then_some(Waiting::Approval),
                method,
                target: target.to_owned(),
                asks: asks.map(str::to_owned),
                follow: if owner { Follow::Owner } else { Follow::Pod },
                ..mk_intent()
            }
        })
    }

    proptest! {
        // S4: whatever is seen, the hand moves only for the pod and the revision that were agreed to, and S9: what is
        // over is not begun again.
        #[test]
        fn only_what_was_agreed_to_is_done(
            intent in intent(),
            pod in proptest::option::of(pod()),
            others in proptest::collection::vec(pod(), 0..3),
            late in any::<bool>(),
            gate in any::<bool>(),
        ) {
            let world = World {
                node: "n1",
                now: if late { intent.expires } else { intent.created },
                uptime: intent.born,
                pod: pod.as_ref(),
                others: &others,
                policy: gate.then_some(Waiting::Gate),
            };
            let next = step(&intent, &world);
            if intent.state.ended() {
                prop_assert_eq!(&next, &Step::Stay);
            }
            if next == Step::Act {
                let pod = pod.as_ref().unwrap();
                prop_assert_eq!(&pod.uid, &intent.uid);
                prop_assert_eq!(pod.target(), &intent.target);
                prop_assert!(pod.needs_upgrade() && !pod.deleting);
                prop_assert!(checks::check_upgrade(pod, "n1").is_ok());
                prop_assert!(!late && (intent.state == State::Executing || !gate));
            }
        }
    }
}
