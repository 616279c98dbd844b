//! cloneset.md 3, 4, 12: instances, their pods and claims, and revisions.

use std::collections::BTreeSet;
use std::sync::Arc;

use pitstop_engine::cloneset::instance::ids;
use pitstop_engine::cloneset::{claims_of, pod_of};
use pitstop_engine::inplace::hash::go_json;

use super::*;

fn set(ids: &[&str]) -> BTreeSet<Arc<str>> {
    ids.iter().map(|id| Arc::from(*id)).collect()
}

/// 3: ids that are free come first, in order.
#[test]
fn instances_take_free_ids_and_then_new_ones() {
    let chosen = ids(2, &set(&["c"]), &set(&["a", "b", "c"]), 1);
    assert!(chosen.contains(&"c".into()) && chosen.len() == 2, "{chosen:?}");
    let new = chosen.iter().find(|id| ***id != *"c").unwrap();
    assert!(
        new.len() == 5 && new.chars().all(|c| "bcdfghjklmnpqrstvwxz2456789".contains(c)),
        "{new}"
    );
    assert_eq!(
        ids(3, &set(&[]), &set(&[]), 9),
        ids(3, &set(&[]), &set(&[]), 9),
        "the same seed"
    );
    assert_ne!(ids(3, &set(&[]), &set(&[]), 9), ids(3, &set(&[]), &set(&[]), 10));
    let taken: BTreeSet<Arc<str>> = ids(50, &set(&[]), &set(&[]), 3).into_iter().collect();
    assert!(ids(50, &set(&[]), &taken, 3).iter().all(|id| !taken.contains(id)));
    assert_eq!(
        ids(1, &set(&["z", "b"]), &set(&[]), 0),
        ["b".into()],
        "the smallest"
    );
}

/// 3: what is in a pod and its claims.
#[test]
fn a_pod_has_its_labels_its_gate_and_its_volumes() {
    let world = World::new(1).set("/spec/volumeClaimTemplates", json!([
        { "metadata": { "name": "data", "labels": { "app": "other", "disk": "fast" } }, "spec": { "storageClassName": "x" } }]));
    let world = world
        .set("/spec/template/metadata/finalizers", json!(["kept"]))
        .set(
            "/spec/template/spec/volumes",
            json!([{ "name": "data", "emptyDir": {} }, { "name": "tmp", "emptyDir": {} }]),
        );
    let view = world.view();
    let pod = pod_of(&view, &view.template, "web-5bf7", "x2b4c", false);
    assert_eq!(pod["metadata"]["name"], "web-x2b4c");
    assert_eq!(pod["metadata"]["generateName"], "web-");
    assert_eq!(
        pod["metadata"]["labels"],
        json!({ "app": "web", "apps.kruise.io/cloneset-instance-id": "x2b4c", "controller-revision-hash": "web-5bf7",
            "pod-template-hash": "5bf7", "lifecycle.apps.kruise.io/state": "PreparingNormal" })
    );
    assert_eq!(pod["metadata"]["finalizers"], json!(["kept"]));
    assert_eq!(
        pod["metadata"]["ownerReferences"],
        json!([{ "apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet", "name": "web", "uid": OWNER,
            "controller": true, "blockOwnerDeletion": true }])
    );
    assert_eq!(
        pod["spec"]["readinessGates"],
        json!([{ "conditionType": "InPlaceUpdateReady" }, { "conditionType": "KruisePodReady" }])
    );
    let volumes = pod["spec"]["volumes"].as_array().unwrap();
    let names: Vec<&Value> = volumes.iter().map(|volume| &volume["name"]).collect();
    assert_eq!(names, ["data", "tmp"]);
    assert_eq!(volumes[0]["persistentVolumeClaim"]["claimName"], "data-web-x2b4c");
    let claims = claims_of(&view, "x2b4c");
    assert_eq!(claims[0]["metadata"]["name"], "data-web-x2b4c");
    assert_eq!(
        claims[0]["metadata"]["labels"],
        json!({ "app": "web", "disk": "fast", "apps.kruise.io/cloneset-instance-id": "x2b4c" })
    );
    assert_eq!(claims[0]["spec"], json!({ "storageClassName": "x" }));
    // 18.18: a name that does not fit a label.
    let long = format!("{}-5bf7", "a".repeat(60));
    let pod = pod_of(&view, &view.template, &long, "x2b4c", false);
    assert_eq!(pod["metadata"]["labels"]["controller-revision-hash"], "5bf7");
    let pod = pod_of(&view, &view.template, "web-5bf7", "x2b4c", true);
    assert_eq!(
        pod["metadata"]["labels"]["controller-revision-hash"], "5bf7",
        "CloneSetShortHash"
    );
}

fn revision_actions(world: &World) -> Vec<String> {
    let actions = world.plan().actions;
    actions
        .iter()
        .filter_map(|action| match action {
            Action::CreateRevision { name, .. } => Some(format!("create {name}")),
            Action::RenumberRevision { name, revision, .. } => Some(format!("{name} is {revision}")),
            Action::DeleteRevision { name, .. } => Some(format!("delete {name}")),
            _ => None,
        })
        .collect()
}

/// 4.2, 4.6, 18.19: which revision is meant.
#[test]
fn the_update_revision_is_found_raised_or_made() {
    assert_eq!(
        revision_actions(&World::new(0)),
        Vec::<String>::new(),
        "the newest is equal"
    );
    let back = World::new(0).set("/spec/template", template("foo1"));
    assert_eq!(revision_actions(&back), ["web-old is 3"]);
    assert_eq!(back.status().update_revision, "web-old");
    // The bytes differ, the content does not.
    let mut same = template("foo2");
    same["metadata"]["creationTimestamp"] = Value::Null;
    same["spec"]["nodeName"] = Value::Null;
    assert_eq!(
        revision_actions(&World::new(0).set("/spec/template", same)),
        Vec::<String>::new()
    );

    let bare = json!({ "spec": { "containers": [{ "image": "foo1", "name": "c1" }] } });
    let world = |count: i32| {
        World::new(0)
            .set("/spec/template", bare.clone())
            .set("/status/collisionCount", count)
    };
    assert_eq!(revision_actions(&world(0)), ["create web-5bf76ddbbd"], "4.2");
    assert_eq!(revision_actions(&world(1)), ["create web-5bf76ddbbf"], "4.2");
    let plan = world(0).plan();
    let Some(Action::CreateRevision { manifest, .. }) = plan.actions.first() else {
        panic!("{plan:?}")
    };
    assert_eq!(
        manifest["metadata"]["labels"]["controller.kubernetes.io/hash"],
        "5bf76ddbbd"
    );
    assert_eq!(
        manifest["metadata"]["annotations"]["kruise.io/cloneset-volumeclaimtemplate-hash"],
        ""
    );
    assert_eq!(manifest["revision"], 3);
}

/// 4.1: the bytes that OpenKruise writes, which compares them, so that it makes no revision of its own when it takes over.
/// What pitstop once wrote without the time of creation is the same revision.
#[test]
fn the_data_of_a_revision_has_the_bytes_that_openkruise_writes() {
    let mut template = template("foo3");
    template["spec"]["containers"][0]["args"] = json!(["a<b&c>d"]);
    template["spec"]["volumes"] =
        json!([{ "name": "v", "ephemeral": { "volumeClaimTemplate": { "metadata": {}, "spec": {} } } }]);
    let world = World::new(0).set("/spec/template", template.clone()).set(
        "/metadata/annotations",
        json!({ "a": "b", "kubectl.kubernetes.io/last-applied-configuration": "{}" }),
    );
    let plan = world.plan();
    let Some(Action::CreateRevision { manifest, .. }) = plan.actions.first() else {
        panic!("{plan:?}")
    };
    let annotations = &manifest["metadata"]["annotations"];
    assert_eq!(
        (
            &annotations["a"],
            &annotations["kubectl.kubernetes.io/last-applied-configuration"]
        ),
        (&json!("b"), &json!("{}")),
        "3: all annotations of the CloneSet"
    );
    assert_eq!(
        go_json(&manifest["data"]),
        concat!(
            r#"{"spec":{"template":{"$patch":"replace","metadata":{"creationTimestamp":null,"labels":{"app":"web"}},"#,
            r#""spec":{"containers":[{"args":["a\u003cb\u0026c\u003ed"],"image":"foo3","name":"c1"}],"volumes":[{"#,
            r#""ephemeral":{"volumeClaimTemplate":{"metadata":{"creationTimestamp":null},"spec":{}}},"name":"v"}]}}}}"#,
        )
    );

    let mut world = world;
    world.apply(&plan);
    assert_eq!(
        revision_actions(&world),
        Vec::<String>::new(),
        "it is found again"
    );
    template["$patch"] = json!("replace");
    let earlier = world.with(|world| {
        let last = world.revisions.last_mut().unwrap();
        last["data"] = json!({ "spec": { "template": template } });
    });
    assert_eq!(
        revision_actions(&earlier),
        Vec::<String>::new(),
        "without the time of creation"
    );
}

/// 4.10
#[test]
fn old_revisions_go_that_nobody_has() {
    let world = World::new(1)
        .pods("1o+")
        .set("/spec/revisionHistoryLimit", 1)
        .with(|world| {
            for i in 0..4 {
                world
                    .revisions
                    .insert(0, revision(&format!("web-r{i}"), &format!("bar{i}"), -i));
            }
            world.pods[0] = world.pods[0].clone().label("controller-revision-hash", "r3");
        });
    assert_eq!(
        revision_actions(&world),
        ["delete web-r2", "delete web-r1"],
        "r3 is used, by its hash"
    );
}

fn claim(instance: &str, owner: &str) -> Value {
    json!({ "metadata": {
        "name": format!("data-web-{instance}"), "namespace": "default", "resourceVersion": "3",
        "uid": format!("00000000-0000-0000-0005-0000000{instance}"),
        "labels": { "apps.kruise.io/cloneset-instance-id": instance },
        "ownerReferences": [{ "uid": owner, "controller": true }] } })
}

fn with_claims(replicas: u32) -> World {
    World::new(replicas).set(
        "/spec/volumeClaimTemplates",
        json!([{ "metadata": { "name": "data" }, "spec": {} }]),
    )
}

/// 18.29: a pod that is let go keeps its volumes.
#[test]
fn a_released_pod_takes_its_claims_along() {
    for reuses in [true, false] {
        let mut world = with_claims(0)
            .pods("1n+")
            .set("/spec/scaleStrategy/disablePVCReuse", !reuses)
            .edit(0, |pod| pod.label("app", "other"))
            .with(|world| world.claims.push(claim("00000", OWNER)));
        let actions = world.plan().actions;
        assert!(
            matches!(actions.as_slice(), [Action::LeaveClaim { pod, .. }] if &**pod == "web-00000"),
            "{actions:?}"
        );
        world.claims = vec![claim("00000", "00000000-0000-0000-0002-000000000000")];
        assert!(matches!(
            world.plan().actions.as_slice(),
            [Action::ReleasePod { .. }]
        ));
    }
}

/// 12: claims are reused, or go.
#[test]
fn claims_stay_for_the_next_pod_or_go_with_the_last() {
    let orphaned = |reuse: bool| {
        with_claims(1)
            .set("/spec/scaleStrategy/enablePVCReuse", reuse)
            .with(|world| {
                world.claims.push(claim("00077", OWNER));
            })
    };
    let actions = orphaned(true).plan().actions;
    let Some(Action::CreatePod(pod)) = actions.first() else {
        panic!("{actions:?}")
    };
    assert_eq!(
        (&*pod.instance, pod.claims.len()),
        ("00077", 0),
        "the claim is taken over"
    );
    let actions = orphaned(false).plan().actions;
    let Some(Action::CreatePod(pod)) = actions.first() else {
        panic!("{actions:?}")
    };
    assert_ne!(&*pod.instance, "00077");
    assert_eq!(pod.claims.len(), 1);
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::DeleteClaim { name, .. } if &**name == "data-web-00077"))
    );

    // Its pod is on its way out: the claim goes with it, or waits for who takes over its name (18.12).
    let leaving = |reuse: bool, seconds: i64| {
        with_claims(1)
            .pods("1n+")
            .set("/spec/scaleStrategy/enablePVCReuse", reuse)
            .with(|world| {
                world.claims.push(claim("00000", OWNER));
                world.pods[0] = world.pods[0]
                    .clone()
                    .set("/metadata/deletionTimestamp", at(-seconds).to_string());
            })
    };
    let actions = leaving(false, 5).plan().actions;
    assert!(
        actions
            .iter()
            .any(|action| matches!(action, Action::LeaveClaim { pod, .. } if &**pod == "web-00000"))
    );
    let waits = leaving(true, 5).plan();
    assert!(waits.actions.is_empty(), "{:?}", waits.actions);
    assert_eq!(
        waits.requeue_after.map(|after| after.as_secs()),
        Some(55),
        "its grace period and 30 s"
    );
    let ends = leaving(true, 60).plan();
    let is_new = |action: &Action| matches!(action, Action::CreatePod(pod) if &*pod.instance != "00000");
    assert!(ends.actions.iter().any(is_new), "{:?}", ends.actions);
    let failed = ends.status.unwrap().condition("FailedScale").unwrap().clone();
    assert_eq!(
        failed.message,
        "pod web-00000 does not end, and its claims are kept: a pod with new claims takes its place"
    );
    let taken_over = leaving(true, 5).with(|world| world.pods.clear()).plan();
    let is_same = |action: &Action| matches!(action, Action::CreatePod(pod) if &*pod.instance == "00000" && pod.claims.is_empty());
    assert!(taken_over.actions.iter().any(is_same), "{:?}", taken_over.actions);

    // A pod that we delete takes its claims along.
    let named = with_claims(0)
        .pods("1n+")
        .with(|world| world.claims.push(claim("00000", OWNER)));
    let actions = named.plan().actions;
    assert!(
        matches!(actions.as_slice(), [Action::DeletePod { claims, .. }] if claims.len() == 1),
        "{actions:?}"
    );
}

/// L1: a claim that was deleted under a pod which no node has taken yet comes back; a pod that runs keeps what it has.
#[test]
fn a_pod_that_waits_for_its_lost_claim_gets_it_back() {
    let with_pod = |bound: bool| {
        let world = with_claims(1).pods("1n-");
        let world = world.edit(0, |pod| {
            if bound {
                pod
            } else {
                pod.set("/spec/nodeName", Value::Null)
            }
        });
        let created = |world: &World| -> Vec<String> {
            let actions = world.plan().actions.into_iter();
            let claims = actions.filter_map(|action| match action {
                Action::CreateClaim { pod, manifest } => {
                    Some(format!("{} for {pod}", manifest["metadata"]["name"]))
                }
                _ => None,
            });
            claims.collect()
        };
        let without = created(&world);
        let with = created(&world.with(|world| world.claims.push(claim("00000", OWNER))));
        (without, with)
    };
    let lost = vec![r#""data-web-00000" for web-00000"#.to_owned()];
    assert_eq!(with_pod(false), (lost, vec![]));
    assert_eq!(with_pod(true), (vec![], vec![]));
}
