//! The views, their indexes, and what is laid over them. Sources: design.md section 4, daemonset.md C5.7.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::view::{NodeSlot, Uid};
use pitstop_controller::api::Resource;
use pitstop_controller::snapshot::{Beside, gather, has_adoptable};
use pitstop_controller::store::{Change, Key, Object, Overlay, Seen, SentCreate, SentDelete, State, Wire};
use pitstop_engine::snapshot::{CreatedPod, DeletedPod, InFlight};
use rand::rngs::StdRng;
use rand::{RngExt, SeedableRng};
use serde_json::{Value, json};

use crate::scripted::{daemonset_json, node_json, pod_json, uid};

fn object(state: &mut State, resource: Resource, json: &Value) -> Object {
    let wire = Wire::decode(resource, json.to_string().as_bytes());
    state.lean(wire)
}

fn put(state: &mut State, resource: Resource, json: &Value) -> Option<Change> {
    let object = object(state, resource, json);
    state.put(object)
}

fn remove(state: &mut State, resource: Resource, json: &Value) -> Option<Change> {
    let object = object(state, resource, json);
    state.remove(&object)
}

fn terminating(mut pod: Value, version: u64) -> Value {
    pod["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:10Z");
    pod["metadata"]["resourceVersion"] = json!(version.to_string());
    pod
}

fn now() -> Timestamp {
    "2026-01-01T00:00:00Z".parse().unwrap()
}

#[test]
fn a_list_keeps_what_we_wrote_after_it_and_nothing_else_that_it_lacks() {
    let mut state = State::default();
    for (n, version) in [(2, 2), (3, 3), (4, 40)] {
        put(&mut state, Resource::Pods, &pod_json(n, "a", version));
    }
    let listed = object(&mut state, Resource::Pods, &pod_json(2, "a", 2));
    state.replace(Resource::Pods, vec![listed], 30);
    assert!(state.pod(Uid(2)).is_some(), "listed");
    assert!(state.pod(Uid(3)).is_none(), "gone");
    assert!(state.pod(Uid(4)).is_some(), "written after the list was made");
}

#[test]
fn a_server_whose_versions_went_back_is_believed() {
    let mut state = State::default();
    state.seen(Resource::Pods, 1000);
    put(&mut state, Resource::Pods, &pod_json(2, "a", 900));
    put(&mut state, Resource::Pods, &pod_json(3, "a", 901));
    let listed = object(&mut state, Resource::Pods, &pod_json(2, "b", 5));
    state.replace(Resource::Pods, vec![listed], 10);
    assert_eq!(state.pod(Uid(2)).unwrap().resource_version, 5);
    assert!(state.pod(Uid(3)).is_none());
    assert_eq!(state.version(Resource::Pods), 10);
}

#[test]
fn an_object_of_the_same_name_with_another_uid_takes_its_place() {
    let mut state = State::default();
    let key = Key::new("default", "agent");
    put(&mut state, Resource::DaemonSets, &daemonset_json());
    let mut successor = daemonset_json();
    successor["metadata"]["uid"] = json!(uid(9));
    successor["metadata"]["resourceVersion"] = json!("9");
    put(&mut state, Resource::DaemonSets, &successor);
    assert_eq!(state.daemonsets().get(&key).unwrap().uid, Uid(9));
    assert!(state.daemonsets().key(Uid(1)).is_none());
    assert!(
        remove(&mut state, Resource::DaemonSets, &daemonset_json()).is_none(),
        "late news of the predecessor"
    );
    assert!(state.daemonsets().get(&key).is_some());
}

#[test]
fn nodes_are_numbered_by_name_and_ordered_by_name() {
    let mut state = State::default();
    for (n, name) in [(1, "c"), (2, "a"), (3, "b")] {
        put(&mut state, Resource::Nodes, &node_json(n, name, n, true));
    }
    let names =
        |state: &State| -> Vec<String> { state.nodes().iter().map(|node| node.name.to_string()).collect() };
    assert_eq!(names(&state), ["a", "b", "c"]);
    let slot = state.nodes().names.get("a").unwrap();
    remove(&mut state, Resource::Nodes, &node_json(2, "a", 9, true));
    assert_eq!(names(&state), ["b", "c"]);
    put(&mut state, Resource::Nodes, &node_json(7, "a", 10, true));
    assert_eq!(state.nodes().names.get("a"), Some(slot));
    assert_eq!(names(&state), ["a", "b", "c"]);
}

/// A thousand random changes; after each the indexes say what a plain map says.
#[test]
fn indexes_agree_with_the_pods() {
    let mut rng = StdRng::seed_from_u64(3);
    let mut state = State::default();
    let mut plain: BTreeMap<u64, Value> = BTreeMap::new();
    for version in 1..1000 {
        let n = rng.random_range(2..30);
        if rng.random_bool(0.3) {
            remove(&mut state, Resource::Pods, &pod_json(n, "x", version));
            plain.remove(&n);
        } else {
            let mut pod = pod_json(n, &format!("node-{}", rng.random_range(0..5)), version);
            match rng.random_range(0..4) {
                0 => pod["metadata"]["ownerReferences"] = json!([]),
                1 => pod["metadata"]["ownerReferences"][0]["uid"] = json!(uid(100)),
                _ => {}
            }
            put(&mut state, Resource::Pods, &pod);
            plain.insert(n, pod);
        }
        let owner = |pod: &Value| {
            let owner = pod["metadata"]["ownerReferences"].get(0)?;
            Uid::parse(owner["uid"].as_str()?)
        };
        for controller in [Uid(1), Uid(100)] {
            let got: BTreeSet<Uid> = state.pods_of(controller).iter().map(|pod| pod.uid).collect();
            let want = plain.iter().filter(|(_, pod)| owner(pod) == Some(controller));
            let want: BTreeSet<Uid> = want.map(|(n, _)| Uid(u128::from(*n))).collect();
            assert_eq!(got, want, "version {version}");
        }
        let orphans = state.orphan_pods(&Arc::from("default")).len();
        assert_eq!(orphans, plain.values().filter(|pod| owner(pod).is_none()).count());
        for node in 0..5 {
            let name = format!("node-{node}");
            let Some(slot) = state.nodes().names.get(&name) else {
                continue;
            };
            let mut got = state.controllers_on(slot).to_vec();
            got.sort();
            let there = plain
                .values()
                .filter(|pod| pod["spec"]["nodeName"] == name.as_str());
            let mut want: Vec<Uid> = there.filter_map(owner).collect();
            want.sort();
            assert_eq!(got, want, "version {version} node {node}");
        }
    }
}

#[test]
fn a_snapshot_has_what_the_workload_owns_and_the_orphans_that_it_selects() {
    let mut state = State::default();
    put(&mut state, Resource::DaemonSets, &daemonset_json());
    put(&mut state, Resource::Pods, &pod_json(2, "a", 2));
    let key = Key::new("default", "agent");
    for (n, labels, owners, is_in, adoptable) in [
        (3, json!({ "app": "agent" }), json!([]), true, true),
        (4, json!({ "app": "other" }), json!([]), false, false),
        (
            5,
            json!({ "app": "agent" }),
            json!([{ "apiVersion": "apps/v1", "kind": "DaemonSet", "name": "x", "uid": uid(77), "controller": true }]),
            false,
            false,
        ),
        (
            6,
            json!({ "app": "changed" }),
            pod_json(2, "a", 2)["metadata"]["ownerReferences"].clone(),
            true,
            false,
        ),
    ] {
        let mut pod = pod_json(n, "a", n);
        pod["metadata"]["labels"] = labels;
        pod["metadata"]["ownerReferences"] = owners;
        put(&mut state, Resource::Pods, &pod);
        let daemonset = state.daemonsets().get(&key).unwrap();
        let snapshot = gather(
            &state,
            &key,
            daemonset,
            Beside {
                now: now(),
                in_flight: InFlight::default(),
                failed_pods: &[],
                knows_pulls: false,
                may_adopt: false,
            },
        );
        let uids: Vec<Uid> = snapshot.pods.iter().map(|pod| pod.uid).collect();
        assert_eq!(uids.contains(&Uid(u128::from(n))), is_in, "pod {n}: {uids:?}");
        assert_eq!(has_adoptable(&snapshot), adoptable, "pod {n}");
        remove(&mut state, Resource::Pods, &pod);
    }
}

/// What happens to the views.
type Happens = fn(&mut State);

fn mk_created(n: u128) -> CreatedPod {
    CreatedPod {
        uid: Uid(n),
        name: format!("agent-{n}").into(),
        node: NodeSlot(0),
        hash: "h1".into(),
        at: now(),
    }
}

#[test]
fn a_created_pod_is_in_flight_until_the_store_knows_better() {
    let minutes = |n: i64| now().checked_add(SignedDuration::from_mins(n)).unwrap();
    let cases: [(&str, Happens, i64, usize); 5] = [
        ("not seen yet", |_| {}, 4, 1),
        (
            "other pods up to an earlier version",
            |s| s.seen(Resource::Pods, 19),
            4,
            1,
        ),
        (
            "shown",
            |s| {
                put(s, Resource::Pods, &pod_json(20, "a", 20));
            },
            0,
            0,
        ),
        (
            "passed without being shown: it came and went",
            |s| s.seen(Resource::Pods, 20),
            0,
            0,
        ),
        ("too old", |_| {}, 5, 0),
    ];
    for (case, change, at, want) in cases {
        let (overlay, mut state) = (Overlay::default(), State::default());
        overlay.created(Uid(1), mk_created(20), 20);
        change(&mut state);
        let in_flight = overlay.in_flight(Uid(1), &state, minutes(at));
        assert_eq!(in_flight.created.len(), want, "{case}");
        assert_eq!(overlay.len(), want, "{case}: ended entries are dropped");
    }
}

#[test]
fn a_deleted_pod_is_in_flight_until_the_store_shows_it() {
    let minutes = |n: i64| now().checked_add(SignedDuration::from_mins(n)).unwrap();
    let cases: [(&str, Happens, i64, usize); 4] = [
        ("not seen yet", |_| {}, 4, 1),
        (
            "terminating",
            |s| {
                put(s, Resource::Pods, &terminating(pod_json(2, "a", 2), 3));
            },
            0,
            0,
        ),
        (
            "gone",
            |s| {
                remove(s, Resource::Pods, &pod_json(2, "a", 3));
            },
            0,
            0,
        ),
        ("too old", |_| {}, 5, 0),
    ];
    for (case, change, at, want) in cases {
        let (overlay, mut state) = (Overlay::default(), State::default());
        put(&mut state, Resource::Pods, &pod_json(2, "a", 2));
        let deleted = DeletedPod {
            uid: Uid(2),
            node: Some(NodeSlot(0)),
            at: now(),
        };
        overlay.deleted(Uid(1), deleted);
        overlay.deleted(Uid(1), deleted);
        change(&mut state);
        let in_flight = overlay.in_flight(Uid(1), &state, minutes(at));
        assert_eq!(in_flight.deleted.len(), want, "{case}");
    }
}

#[test]
fn a_name_that_was_not_answered_is_kept_until_the_pod_is_seen() {
    let (overlay, mut state) = (Overlay::default(), State::default());
    let sent = SentCreate {
        name: "agent-7".into(),
        at: now(),
    };
    overlay.maybe_created(Uid(1), NodeSlot(3), sent);
    for _ in 0..2 {
        assert_eq!(overlay.name_in_doubt(Uid(1), NodeSlot(4)), None);
        let name = overlay.name_in_doubt(Uid(1), NodeSlot(3));
        assert_eq!(name.as_deref(), Some("agent-7"));
    }
    put(&mut state, Resource::Pods, &pod_json(6, "a", 6));
    let in_flight = overlay.in_flight(Uid(1), &state, now());
    assert_eq!(in_flight.maybe_created, [NodeSlot(3)], "another pod");
    put(&mut state, Resource::Pods, &pod_json(7, "a", 7));
    assert_eq!(overlay.in_flight(Uid(1), &state, now()).maybe_created, []);
    assert_eq!(overlay.name_in_doubt(Uid(1), NodeSlot(3)), None);
    // What made the pod may have been the repetition: the first request can come yet, when that pod is gone.
    let minutes = |n: i64| now().checked_add(SignedDuration::from_mins(n)).unwrap();
    let late = |at| overlay.name_of_late(Uid(1), NodeSlot(3), minutes(at));
    assert_eq!((late(4).as_deref(), late(6)), (Some("agent-7"), None));
    overlay.in_flight(Uid(1), &state, minutes(6));
    assert!(overlay.is_empty());
}

#[test]
fn an_unanswered_delete_ends_when_it_can_take_nothing_down_any_more() {
    let named = Some(2);
    let cases: [(&str, Option<u64>, Happens, usize); 6] = [
        ("not seen yet", named, |_| {}, 1),
        (
            "terminating",
            named,
            |s| {
                put(s, Resource::Pods, &terminating(pod_json(2, "a", 2), 3));
            },
            0,
        ),
        (
            "gone",
            named,
            |s| {
                remove(s, Resource::Pods, &pod_json(2, "a", 3));
            },
            0,
        ),
        (
            "at another version than it named",
            named,
            |s| {
                put(s, Resource::Pods, &pod_json(2, "a", 3));
            },
            0,
        ),
        (
            "at another version, where it named none",
            None,
            |s| {
                put(s, Resource::Pods, &pod_json(2, "a", 3));
            },
            1,
        ),
        (
            "other pods at later versions",
            named,
            |s| s.seen(Resource::Pods, 90),
            1,
        ),
    ];
    for (case, version, change, want) in cases {
        let (overlay, mut state) = (Overlay::default(), State::default());
        put(&mut state, Resource::Pods, &pod_json(2, "a", 2));
        overlay.maybe_deleted(Uid(1), sent_delete(version));
        change(&mut state);
        // A store that is an hour behind shows the same as one that is not.
        let later = now().checked_add(SignedDuration::from_hours(1)).unwrap();
        let in_flight = overlay.in_flight(Uid(1), &state, later);
        assert_eq!(in_flight.maybe_deleted.len(), want, "{case}");
        assert_eq!(overlay.len(), want, "{case}");
    }
}

#[test]
fn a_live_read_settles_an_unanswered_delete() {
    let alive = Seen {
        uid: Uid(2),
        version: 2,
        is_terminating: false,
    };
    let going = Seen {
        is_terminating: true,
        version: 3,
        ..alive
    };
    let later = Seen { version: 3, ..alive };
    let successor = Seen { uid: Uid(9), ..alive };
    // What is seen, minutes later; then how many deletes are in doubt, and how many are known to be done.
    let cases: [(&str, Read, i64, [usize; 2]); 9] = [
        ("it is gone", (Some(2), None), 0, [0, 1]),
        ("it goes", (Some(2), Some(going)), 0, [0, 1]),
        ("another has its name", (None, Some(successor)), 0, [0, 1]),
        ("it changed, so it cannot go", (Some(2), Some(later)), 0, [0, 0]),
        (
            "it changed, and may go at any version",
            (None, Some(later)),
            4,
            [1, 0],
        ),
        (
            "it is as it was, and may go yet",
            (Some(2), Some(alive)),
            4,
            [1, 0],
        ),
        (
            "it is as it was, and it is too late",
            (Some(2), Some(alive)),
            5,
            [0, 0],
        ),
        ("it changed, and it is too late", (None, Some(later)), 5, [0, 0]),
        ("it went late", (None, Some(going)), 5, [0, 1]),
    ];
    for (case, (version, seen), minutes, want) in cases {
        let (overlay, mut state) = (Overlay::default(), State::default());
        put(&mut state, Resource::Pods, &pod_json(2, "a", 2));
        overlay.maybe_deleted(Uid(1), sent_delete(version));
        let at = now().checked_add(SignedDuration::from_mins(minutes)).unwrap();
        overlay.looked_for(Uid(1), Uid(2), seen, at);
        let in_flight = overlay.in_flight(Uid(1), &state, at);
        let got = [in_flight.maybe_deleted.len(), in_flight.deleted.len()];
        assert_eq!(got, want, "{case}");
    }
}

/// The version that a DELETE named, and what a live read shows.
type Read = (Option<u64>, Option<Seen>);

fn sent_delete(version: Option<u64>) -> SentDelete {
    SentDelete {
        name: "agent-2".into(),
        uid: Uid(2),
        version,
        node: Some(NodeSlot(0)),
        at: now(),
    }
}
