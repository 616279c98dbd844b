//! statefulset.md 3, 4: identities, and revisions.

use pitstop_api::view::StatefulSetView;
use pitstop_engine::statefulset::identity::{claims_of, ordinal_of, pod_of};

use super::*;

/// 3.1
#[test]
fn names_hold_ordinals() {
    for (name, want) in [
        ("web-0", Some(0)),
        ("web-12", Some(12)),
        ("web-2147483647", Some(2_147_483_647)),
        ("web-2147483648", None),
        ("web-01", None),
        ("web-", None),
        ("web-x", None),
        ("web--1", None),
        ("web-+1", None),
        ("web-1-2", None),
        ("webs-1", None),
        ("web", None),
    ] {
        assert_eq!(ordinal_of("web", name), want, "{name}");
    }
    assert_eq!(ordinal_of("web-1", "web-1-2"), Some(2));
}

fn full() -> StatefulSetView {
    World::new(1)
        .set("/spec/serviceName", "svc")
        .set("/spec/volumeClaimTemplates", json!([
            { "metadata": { "name": "data", "labels": { "app": "other", "disk": "fast" } }, "spec": { "storageClassName": "x" } }]))
        .set("/spec/template/metadata/annotations", json!({ "a": "b" }))
        .set("/spec/template/metadata/finalizers", json!(["kept"]))
        .set(
            "/spec/template/spec/volumes",
            json!([{ "name": "data", "emptyDir": {} }, { "name": "tmp", "emptyDir": {} }]),
        )
        .view()
}

/// 3.2, 3.3, 3.6
#[test]
fn a_pod_has_its_identity_and_its_volumes() {
    let view = full();
    let pod = pod_of(&view, &view.template, "web-5bf7", 3, true, at(1));
    assert_eq!(pod["metadata"]["name"], "web-3");
    assert_eq!(
        pod["metadata"]["labels"],
        json!({ "app": "web", "statefulset.kubernetes.io/pod-name": "web-3", "apps.kubernetes.io/pod-index": "3",
            "controller-revision-hash": "web-5bf7", "lifecycle.apps.kruise.io/state": "Normal" })
    );
    assert_eq!(
        pod["metadata"]["annotations"],
        json!({ "a": "b", "lifecycle.apps.kruise.io/timestamp": "2026-01-01T00:00:01Z" })
    );
    assert_eq!(pod["metadata"]["finalizers"], json!(["kept"]));
    assert_eq!(
        pod["metadata"]["ownerReferences"],
        json!([{ "apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet", "name": "web", "uid": OWNER,
            "controller": true, "blockOwnerDeletion": true }])
    );
    assert_eq!(
        (&pod["spec"]["hostname"], &pod["spec"]["subdomain"]),
        (&json!("web-3"), &json!("svc"))
    );
    assert_eq!(
        pod["spec"]["volumes"],
        json!([{ "name": "data", "persistentVolumeClaim": { "claimName": "data-web-3", "readOnly": false } },
            { "name": "tmp", "emptyDir": {} }])
    );
    let claims = claims_of(&view, 3, false);
    assert_eq!(claims[0]["metadata"]["name"], "data-web-3");
    assert_eq!(
        claims[0]["metadata"]["labels"],
        json!({ "app": "web", "disk": "fast" })
    );
    assert_eq!(claims[0]["metadata"].get("ownerReferences"), None);
    let owned = claims_of(&view, 3, true);
    assert_eq!(
        owned[0]["metadata"]["ownerReferences"],
        json!([{ "apiVersion": "apps.kruise.io/v1beta1", "kind": "StatefulSet", "name": "web", "uid": OWNER }])
    );
    let bare = pod_of(&view, &view.template, "web-5bf7", 3, false, at(1));
    assert_eq!(
        bare["metadata"]["labels"].get("apps.kubernetes.io/pod-index"),
        None,
        "PodIndexLabel"
    );
}

/// 3.4
#[test]
fn a_pod_waits_for_its_first_hook() {
    for (labels, want) in [
        (json!({ "a": "b" }), "Normal"),
        (json!({ "a": "c" }), "PreparingNormal"),
    ] {
        let world = World::new(1)
            .set(
                "/spec/lifecycle",
                json!({ "preNormal": { "labelsHandler": { "a": "b" } } }),
            )
            .set("/spec/template/metadata/labels", labels);
        let view = world.view();
        let pod = pod_of(&view, &view.template, "web-a", 0, true, at(0));
        assert_eq!(pod["metadata"]["labels"]["lifecycle.apps.kruise.io/state"], want);
    }
}

/// 3.5
#[test]
fn a_pod_gets_its_identity_back() {
    let without = |key: &'static str| {
        move |mut pod: LivePod| {
            pod.json["metadata"]["labels"]
                .as_object_mut()
                .unwrap()
                .remove(key);
            pod
        }
    };
    let world = World::new(2).pods("0-1A");
    assert_eq!(
        world
            .clone()
            .edit(1, without("statefulset.kubernetes.io/pod-name"))
            .does(),
        "=1"
    );
    assert_eq!(
        world.edit(1, without("apps.kubernetes.io/pod-index")).does(),
        "-",
        "the index alone is left"
    );
}

/// 5: pods are taken over and let go.
#[test]
fn pods_are_adopted_and_released() {
    let orphan = |world: World| {
        world.edit(0, |mut pod| {
            pod.json["metadata"]
                .as_object_mut()
                .unwrap()
                .remove("ownerReferences");
            pod
        })
    };
    let named = |plan: &Plan| -> Vec<String> {
        let names = plan.actions.iter().filter_map(|action| match action {
            Action::Adopt { name, .. } => Some(format!("adopt {name}")),
            Action::ReleasePod { name, .. } => Some(format!("release {name}")),
            _ => None,
        });
        names.collect()
    };
    let world = orphan(World::new(2).pods("0-1A"));
    assert_eq!(
        (named(&world.plan()), world.does().as_str()),
        (vec!["adopt web-0".to_owned()], "-")
    );
    let waits = world.clone().with(|world| world.may_adopt = false);
    assert_eq!(
        (named(&waits.plan()), waits.does().as_str()),
        (vec![], "-"),
        "its name is taken"
    );
    let other = world.labels("app", &[(0, "other")]);
    assert_eq!(named(&other.plan()), Vec::<String>::new(), "S7");
    let relabelled = World::new(2).pods("0-1A").labels("app", &[(1, "other")]);
    assert_eq!(named(&relabelled.plan()), ["release web-1"]);
    let foreign = World::new(1).pods("0-1A").edit(1, |pod| {
        pod.set(
            "/metadata/ownerReferences/0/uid",
            "00000000-0000-0000-0000-000000000099",
        )
    });
    assert_eq!(
        (named(&foreign.plan()), foreign.does().as_str()),
        (vec![], "-"),
        "S7"
    );
}

fn revisions(world: &World) -> Vec<String> {
    let actions = world.plan().actions;
    let found = actions.iter().filter_map(|action| match action {
        Action::CreateRevision { name, manifest } => {
            Some(format!("create {name} as {}", manifest["revision"]))
        }
        Action::RenumberRevision { name, revision, .. } => Some(format!("{name} is {revision}")),
        Action::DeleteRevision { name, .. } => Some(format!("delete {name}")),
        _ => None,
    });
    found.collect()
}

/// 4, its examples.
#[test]
fn revisions_are_found_raised_or_made() {
    let made = revisions(&World::new(1).set("/spec/template", template('C')));
    assert!(
        made.len() == 1 && made[0].starts_with("create web-") && made[0].ends_with(" as 2"),
        "{made:?}"
    );
    let three = World::rollout(1).with(|world| world.revisions.push(revision('C')));
    assert_eq!(revisions(&three), ["web-b is 4"]);
    assert_eq!(three.status().update_revision, "web-b");
    let claims = json!([{ "metadata": { "name": "data" }, "spec": {} }]);
    assert_eq!(
        revisions(&World::new(1).set("/spec/volumeClaimTemplates", claims)),
        Vec::<String>::new()
    );
    let lost = World::rollout(1).set("/status/currentRevision", "web-gone");
    assert_eq!(lost.status().current_revision, "web-b", "4.4");
    let many = World::rollout(2)
        .set("/spec/revisionHistoryLimit", 1)
        .with(|world| {
            for (letter, number) in [('C', -3), ('D', -2), ('E', -1)] {
                let mut old = revision(letter);
                old["revision"] = json!(number);
                world.revisions.insert(0, old);
            }
        })
        .pods("0D 1A");
    assert_eq!(revisions(&many), ["delete web-c"], "4.5: one is used, one stays");
}

/// 9
#[test]
fn the_status_counts_what_is_there() {
    let world = World::rollout(5)
        .rolling("minReadySeconds", 60)
        .pods("0A 1AT 2A~ 3B! 6B")
        .state(6, "PreparingDelete");
    let status = world.status();
    assert_eq!(
        [
            status.replicas,
            status.ready_replicas,
            status.available_replicas,
            status.current_replicas,
            status.updated_replicas,
            status.updated_ready_replicas,
            status.updated_available_replicas
        ],
        [5, 4, 2, 2, 2, 1, 0]
    );
    assert_eq!(status.label_selector, "app=web");
    let gone = world.set("/metadata/deletionTimestamp", at(0).to_string());
    assert_eq!((gone.does().as_str(), gone.status().replicas), ("-", 5), "5.6");
}
