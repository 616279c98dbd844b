//! statefulset.md 3, 8: claims go with whom they are to go with, and grow.

use pitstop_engine::statefulset::{ClaimWhy, needs_classes};

use super::*;

const POD: &str = "00000000-0000-0000-0002-000000000001";

fn with_claims(replicas: u32, deleted: &str, scaled: &str) -> World {
    World::new(replicas)
        .set(
            "/spec/volumeClaimTemplates",
            json!([{ "metadata": { "name": "data" }, "spec": { "accessModes": ["ReadWriteOnce"],
                "resources": { "requests": { "storage": "2Gi" } } } }]),
        )
        .set(
            "/spec/persistentVolumeClaimRetentionPolicy",
            json!({ "whenDeleted": deleted, "whenScaled": scaled }),
        )
}

/// The claim of pod 1 with these owners, and this size.
fn claim(owners: &[&str], request: &str, capacity: &str) -> Value {
    let owners: Vec<Value> = owners
        .iter()
        .map(|owner| match *owner {
            "set" => json!({ "apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet", "name": "web", "uid": OWNER }),
            "pod" => json!({ "apiVersion": "v1", "kind": "Pod", "name": "web-1", "uid": POD }),
            _ => json!({ "apiVersion": "v1", "kind": "Pod", "name": "web-1",
                "uid": "00000000-0000-0000-0002-000000000099" }),
        })
        .collect();
    json!({
        "metadata": { "name": "data-web-1", "namespace": "default", "uid": "00000000-0000-0000-0005-000000000001",
            "resourceVersion": "3", "ownerReferences": owners },
        "spec": { "accessModes": ["ReadWriteOnce"], "storageClassName": "fast",
            "resources": { "requests": { "storage": request } } },
        "status": { "capacity": { "storage": capacity } },
    })
}

/// Whose the claim becomes, and what is done beside.
fn owners(world: &World) -> (Vec<String>, String) {
    let plan = world.plan();
    let mut found = Vec::new();
    for action in &plan.actions {
        if let Action::PatchClaim {
            why: ClaimWhy::Owners,
            patch,
            ..
        } = action
        {
            for owner in patch["metadata"]["ownerReferences"].as_array().unwrap() {
                let who = if owner["uid"] == OWNER { "set" } else { "pod" };
                let sign = if owner.get("$patch").is_some() { '-' } else { '+' };
                found.push(format!("{sign}{who}"));
            }
        }
    }
    (found, words(&plan))
}

/// 3, the table of the retention policy; 5, step 9.
#[test]
fn claims_go_with_whom_the_policy_says() {
    for (deleted, scaled, in_range, condemned) in [
        ("Retain", "Retain", vec![], vec![]),
        ("Delete", "Retain", vec!["set"], vec!["set"]),
        ("Retain", "Delete", vec![], vec!["pod"]),
        ("Delete", "Delete", vec!["set"], vec!["pod"]),
        ("Sometimes", "Never", vec![], vec![]),
    ] {
        for (replicas, want) in [(2, in_range), (1, condemned)] {
            for have in [vec![], vec!["set"], vec!["pod"], vec!["set", "pod"]] {
                let world = with_claims(replicas, deleted, scaled)
                    .pods("0-1A")
                    .with(|world| world.claims = vec![claim(&have, "2Gi", "2Gi")]);
                let mut changes: Vec<String> = Vec::new();
                for who in ["set", "pod"] {
                    match (have.contains(&who), want.contains(&who)) {
                        (true, false) => changes.push(format!("-{who}")),
                        (false, true) => changes.push(format!("+{who}")),
                        _ => {}
                    }
                }
                // A pod that takes its claim along goes when that is seen.
                let goes = if replicas == 1 && changes.is_empty() {
                    "-1"
                } else {
                    "-"
                };
                let label = format!("{deleted} {scaled} {replicas} {have:?}");
                assert_eq!(owners(&world), (changes, goes.to_owned()), "{label}");
                let off = world.with(|world| world.features.deletes_claims = false);
                assert_eq!(owners(&off).0, Vec::<String>::new(), "{label}, without the gate");
            }
        }
    }
}

/// 5, step 9: also of a pod that somebody else deletes, before or after it is one too many.
#[test]
fn the_claim_of_a_pod_that_ends_goes_with_it_where_it_is_one_too_many() {
    let world = |replicas| {
        with_claims(replicas, "Retain", "Delete")
            .pods("0A 1AT")
            .with(|world| world.claims = vec![claim(&[], "2Gi", "2Gi")])
    };
    let goes = |changes: &[&str]| (changes.iter().map(ToString::to_string).collect(), "-".to_owned());
    assert_eq!(owners(&world(1)), goes(&["+pod"]));
    assert_eq!(owners(&world(1).ordered()), goes(&["+pod"]));
    assert_eq!(owners(&world(2)), goes(&[]), "it comes back");
}

/// 3: a claim that goes with the pod that was here before; 15.1 row 19.
#[test]
fn a_pod_waits_for_the_claim_of_the_one_before() {
    let world = |scaled: &str, owner: &str| {
        with_claims(3, "Retain", scaled)
            .pods("0A")
            .with(|world| world.claims = vec![claim(&[owner], "2Gi", "2Gi")])
    };
    let stale = world("Delete", "old pod");
    assert_eq!((stale.does().as_str(), stale.requeue()), ("+2A", Some(5)));
    assert_eq!(stale.ordered().does(), "-");
    assert_eq!(world("Retain", "old pod").does(), "+1A +2A");
    assert_eq!(world("Delete", "set").does(), "+1A +2A");
}

/// 5, steps 8b and 8c.
#[test]
fn missing_claims_are_made() {
    let world = with_claims(2, "Delete", "Retain").pods("0A");
    let plan = world.plan();
    let Some(Action::CreatePod(pod)) = plan
        .actions
        .iter()
        .find(|action| matches!(action, Action::CreatePod(_)))
    else {
        panic!("{plan:?}")
    };
    assert_eq!(pod.claims[0]["metadata"]["name"], "data-web-1");
    assert_eq!(pod.claims[0]["metadata"]["ownerReferences"][0]["uid"], OWNER);
    let pending = world.edit(0, |pod| pod.set("/status/phase", "Pending"));
    let made = pending
        .plan()
        .actions
        .into_iter()
        .find_map(|action| match action {
            Action::CreateClaim { manifest, .. } => Some(manifest["metadata"]["name"].clone()),
            _ => None,
        });
    assert_eq!(made, Some(json!("data-web-0")));
}

/// Class `fast`, with this `allowVolumeExpansion`.
fn classes(expands: &Value) -> StorageClasses {
    StorageClasses::of(&[json!({ "metadata": { "name": "fast" }, "allowVolumeExpansion": expands })])
}

/// A rollout with pod 1 alone, whose claim may grow.
fn growing(request: &str, capacity: &str) -> World {
    with_claims(1, "Retain", "Retain")
        .set("/spec/ordinals/start", 1)
        .set("/spec/volumeClaimUpdateStrategy/type", "OnPodRollingUpdate")
        .set("/spec/template", template('B'))
        .with(|world| {
            world.features.resizes_claims = true;
            world.classes = classes(&json!(true));
            world.revisions.push(revision('B'));
            world.claims = vec![claim(&[], request, capacity)];
        })
        .pods("1A")
}

fn resizes(world: &World) -> usize {
    let actions = world.plan().actions;
    let is_resize = |action: &&Action| {
        matches!(
            action,
            Action::PatchClaim {
                why: ClaimWhy::Resize,
                ..
            }
        )
    };
    actions.iter().filter(is_resize).count()
}

/// 8
#[test]
fn claims_grow_before_their_pods_are_updated() {
    for (request, capacity, resized, did) in [
        ("1Gi", "1Gi", 1, "-"),
        ("2Gi", "1Gi", 0, "-"),
        ("2Gi", "2Gi", 0, "-1"),
        ("3Gi", "3Gi", 0, "-1"),
    ] {
        let world = growing(request, capacity);
        assert_eq!(
            (resizes(&world), world.does().as_str()),
            (resized, did),
            "{request} {capacity}"
        );
    }
    let plan = growing("1Gi", "1Gi").plan();
    let Some(Action::PatchClaim { patch, .. }) = plan
        .actions
        .iter()
        .find(|a| matches!(a, Action::PatchClaim { .. }))
    else {
        panic!("{plan:?}")
    };
    assert_eq!(
        *patch,
        json!({ "metadata": { "annotations": { "apps.kruise.io/owned-by-asts": "web" } },
            "spec": { "resources": { "requests": { "storage": "2Gi" } } } })
    );
    let pending = growing("2Gi", "1Gi").with(|world| {
        world.claims[0]["status"]["conditions"] =
            json!([{ "type": "FileSystemResizePending", "status": "True" }]);
    });
    assert_eq!(
        pending.does(),
        "-1",
        "only its next start misses, and it costs nothing: it counts as down"
    );
    let off = growing("1Gi", "1Gi").with(|world| world.features.resizes_claims = false);
    assert_eq!((resizes(&off), off.does().as_str()), (0, "-1"), "the gate is off");
    let on_delete = growing("1Gi", "1Gi").set("/spec/volumeClaimUpdateStrategy/type", "OnDelete");
    assert_eq!((resizes(&on_delete), on_delete.does().as_str()), (0, "-1"));
}

/// 8, whatever brings a pod to the update revision: one that is in the way of others (15.1 row 8), or that has let its hook go.
#[test]
fn claims_grow_first_whatever_a_pod_is_updated_for() {
    let broken = |request: &str| {
        let world = growing(request, request).ordered().at(60);
        world.edit(1, |pod| pod.condition("Ready", "False", ""))
    };
    assert_eq!((resizes(&broken("1Gi")), broken("1Gi").does().as_str()), (1, "-"));
    assert_eq!(
        (resizes(&broken("2Gi")), broken("2Gi").does().as_str()),
        (0, "-1")
    );
    let prepared = |request: &str| growing(request, request).state(1, "PreparingUpdate");
    assert_eq!(
        (resizes(&prepared("1Gi")), prepared("1Gi").does().as_str()),
        (1, "-")
    );
    assert_eq!(
        (resizes(&prepared("2Gi")), prepared("2Gi").does().as_str()),
        (0, "-1")
    );
}

/// 8; 17: a claim that grows restarts no pod.
#[test]
fn a_pod_at_the_update_revision_is_not_restarted_for_its_claim() {
    let new = growing("1Gi", "1Gi").edit(1, |pod| pod.label("controller-revision-hash", "web-b"));
    assert_eq!((resizes(&new), new.does().as_str()), (1, "-"));
    let grown = new.with(|world| world.claims = vec![claim(&[], "2Gi", "1Gi")]);
    assert_eq!((resizes(&grown), grown.does().as_str()), (0, "-"));
    let status = grown.status().volume_claims;
    assert_eq!(
        (
            status[0].volume_claim_name.as_str(),
            status[0].compatible_replicas,
            status[0].compatible_ready_replicas
        ),
        ("data", 1, 0)
    );
}

/// 8
#[test]
fn a_claim_that_cannot_grow_is_said_and_its_pod_left() {
    let none = StorageClasses::default();
    for found in [classes(&json!(false)), classes(&Value::Null), none] {
        let fixed = growing("1Gi", "1Gi").with(|world| world.classes = found.clone());
        assert_eq!((resizes(&fixed), fixed.does().as_str()), (0, "-"), "{found:?}");
        let events = fixed.plan().events;
        let why = "storage class \"fast\" of pvc data-web-1 does not allow volume expansion";
        let told = events.iter().find(|event| event.reason == "FailedUpdatePVC");
        assert_eq!(told.map(|event| &*event.message), Some(why), "{found:?}");
        assert_eq!(fixed.requeue(), Some(30), "nobody tells when a class changes");
    }
    let other =
        growing("1Gi", "1Gi").with(|world| world.claims[0]["spec"]["accessModes"] = json!(["ReadWriteMany"]));
    assert_eq!((resizes(&other), other.does().as_str()), (0, "-"));
    let plan = other.plan();
    assert!(
        plan.events.iter().any(|event| event.message
            == "failed to update pvc data-web-1: contains diff other than spec resource, wait pvc to be deleted"),
        "{:?}",
        plan.events
    );
}

/// 8: classes are read only where a claim is to grow.
#[test]
fn classes_matter_where_a_claim_is_to_grow() {
    let needs = |world: &World| world.judged(needs_classes);
    assert!(needs(&growing("1Gi", "1Gi")));
    assert!(!needs(&growing("2Gi", "1Gi")), "it has asked already");
    let off = growing("1Gi", "1Gi").with(|world| world.features.resizes_claims = false);
    assert!(!needs(&off), "the gate is off");
    let on_delete = growing("1Gi", "1Gi").set("/spec/volumeClaimUpdateStrategy/type", "OnDelete");
    assert!(!needs(&on_delete));
    let elsewhere = growing("1Gi", "1Gi").with(|world| world.pods.clear());
    assert!(!needs(&elsewhere), "nobody has the claim");
}
