use http::Method;

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn uid(n: u32) -> String {
    format!("00000000-0000-4000-8000-{n:012}")
}

fn parsed(n: u32) -> Uid {
    Uid::parse(&uid(n)).unwrap()
}

fn set(n: u32) -> Value {
    json!({"metadata": {"name": format!("set{n}"), "namespace": "default", "uid": uid(n), "resourceVersion": "1"}})
}

fn pod(n: u32, owners: &[u32]) -> Value {
    let owner = |n: &u32| {
        json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "name": format!("set{n}"), "uid": uid(*n),
            "blockOwnerDeletion": true})
    };
    let owners: Vec<Value> = owners.iter().map(owner).collect();
    json!({"metadata": {"name": format!("pod{n}"), "namespace": "default", "uid": uid(n), "resourceVersion": "1",
        "ownerReferences": owners}})
}

fn deleting(mut object: Value, finalizer: &str) -> Value {
    object["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
    object["metadata"]["finalizers"] = json!([finalizer]);
    object
}

/// Feeds an object: numbers below 100 are DaemonSets, others are pods.
fn apply(garbage: &mut Garbage, object: &Value) -> Vec<String> {
    let meta: Meta = serde_json::from_value(object.clone()).unwrap();
    let uid = meta.metadata.uid().unwrap();
    let plural = if meta.metadata.name.starts_with("set") {
        ("apps", "daemonsets")
    } else {
        ("", "pods")
    };
    let kind = kinds::find(plural.0, "v1", plural.1).unwrap();
    shown(&garbage.on_applied(kind, Arc::new(meta), uid, NOW))
}

/// `DELETE pod100 Foreground`, `GET set1`, `RELEASE pod100 1`, `FREE set1`, `EVENT reason`.
fn shown(writes: &[Write]) -> Vec<String> {
    let show = |write: &Write| {
        let name = write.path.rsplit('/').next().unwrap_or_default();
        let body = write.body.clone().unwrap_or_default();
        match write.method {
            Method::DELETE => {
                let policy = body["propagationPolicy"].as_str().unwrap_or("Background");
                format!("DELETE {name} {policy}")
            }
            Method::GET => format!("GET {name}"),
            Method::POST => format!("EVENT {}", body["reason"].as_str().unwrap()),
            _ => match body["metadata"]["ownerReferences"].as_array() {
                Some(owners) => {
                    let owners = owners.iter().filter_map(|o| o["uid"].as_str());
                    let owners: Vec<&str> = owners.map(|o| o.trim_start_matches(&uid(0)[..24])).collect();
                    format!("RELEASE {name} {}", owners.join("+").replace("00000000000", ""))
                }
                None => format!("FREE {name}"),
            },
        }
    };
    writes.iter().map(show).collect()
}

fn garbage(objects: &[Value]) -> Garbage {
    let mut garbage = Garbage::default();
    for object in objects {
        assert!(
            apply(&mut garbage, object).is_empty(),
            "nothing before all is listed"
        );
    }
    assert!(garbage.on_synced().is_empty());
    garbage
}

#[test]
fn what_an_owner_that_is_gone_leaves_is_deleted() {
    let mut garbage = garbage(&[set(1), pod(100, &[1]), pod(101, &[1])]);
    let writes = garbage.on_deleted(parsed(1));
    assert_eq!(
        shown(&writes),
        ["DELETE pod100 Background", "DELETE pod101 Background"]
    );
    let preconditions = &writes[0].body.as_ref().unwrap()["preconditions"];
    assert_eq!(*preconditions, json!({"uid": uid(100), "resourceVersion": "1"}));
}

#[test]
fn an_object_with_another_owner_loses_only_the_reference() {
    let mut garbage = garbage(&[set(1), set(2), pod(100, &[1, 2])]);
    assert_eq!(shown(&garbage.on_deleted(parsed(1))), ["RELEASE pod100 1"]);
    assert_eq!(
        shown(&garbage.on_deleted(parsed(2))),
        ["DELETE pod100 Background"],
        "now all owners are missing"
    );
}

#[test]
fn an_owner_that_the_graph_does_not_have_is_asked_for_once() {
    let mut garbage = garbage(&[]);
    assert_eq!(apply(&mut garbage, &pod(100, &[1, 2])), ["GET set1", "GET set2"]);
    assert!(apply(&mut garbage, &pod(101, &[1])).is_empty(), "asked already");
    let path = |n: u32| format!("/apis/apps/v1/namespaces/default/daemonsets/set{n}");
    assert_eq!(
        shown(&garbage.on_owner(parsed(1), path(1), &Err(404))),
        ["DELETE pod101 Background"],
        "the other owner of the first is not known to be missing"
    );
    let another = json!({"metadata": {"uid": uid(77)}});
    assert_eq!(
        shown(&garbage.on_owner(parsed(2), path(2), &Ok(another))),
        ["DELETE pod100 Background"],
        "an object of the same name is not the owner"
    );
}

#[test]
fn an_owner_with_a_uid_that_no_server_gives_is_not_there() {
    let mut garbage = garbage(&[]);
    let mut foundling = pod(100, &[1]);
    foundling["metadata"]["ownerReferences"][0]["uid"] = json!("none");
    assert_eq!(apply(&mut garbage, &foundling), ["DELETE pod100 Background"]);
    foundling["metadata"]["ownerReferences"][0]["kind"] = json!("Unserved");
    assert!(apply(&mut garbage, &foundling).is_empty());
}

#[test]
fn a_server_that_cannot_say_is_no_proof_of_absence() {
    let mut garbage = garbage(&[]);
    assert_eq!(apply(&mut garbage, &pod(100, &[1])), ["GET set1"]);
    let path = "/apis/apps/v1/namespaces/default/daemonsets/set1".to_owned();
    assert!(garbage.on_owner(parsed(1), path, &Err(503)).is_empty());
    assert_eq!(apply(&mut garbage, &pod(100, &[1])), ["GET set1"], "asked again");
}

#[test]
fn foreground_deletion_waits_for_what_blocks_it() {
    let mut garbage = garbage(&[set(1), set(2), pod(100, &[1]), pod(101, &[1, 2])]);
    let owner = deleting(set(1), "foregroundDeletion");
    assert_eq!(
        apply(&mut garbage, &owner),
        ["DELETE pod100 Background", "RELEASE pod101 1"],
        "what another owner holds is only released"
    );
    assert!(
        apply(&mut garbage, &owner).is_empty(),
        "not all over again with each change"
    );
    assert!(apply(&mut garbage, &pod(101, &[2])).is_empty());
    assert_eq!(shown(&garbage.on_deleted(parsed(100))), ["FREE set1"]);
}

#[test]
fn dependents_with_dependents_are_deleted_in_the_foreground_too() {
    let mut middle = pod(100, &[1]);
    middle["metadata"]["uid"] = json!(uid(2));
    let mut garbage = garbage(&[set(1), middle.clone()]);
    let mut leaf = pod(101, &[]);
    leaf["metadata"]["ownerReferences"] =
        json!([{"apiVersion": "v1", "kind": "Pod", "name": "pod100", "uid": uid(2)}]);
    assert!(apply(&mut garbage, &leaf).is_empty());
    let owner = deleting(set(1), "foregroundDeletion");
    assert_eq!(apply(&mut garbage, &owner), ["DELETE pod100 Foreground"]);
}

#[test]
fn orphaning_releases_every_dependent_and_then_the_owner() {
    let mut garbage = garbage(&[set(1), set(2), pod(100, &[1]), pod(101, &[1, 2])]);
    let owner = deleting(set(1), "orphan");
    assert_eq!(
        apply(&mut garbage, &owner),
        ["RELEASE pod100 1", "RELEASE pod101 1"]
    );
    assert!(apply(&mut garbage, &pod(100, &[])).is_empty());
    assert_eq!(
        apply(&mut garbage, &pod(101, &[2])),
        ["FREE set1"],
        "the last one keeps another owner"
    );
}

#[test]
fn an_owner_in_another_namespace_does_not_count() {
    let mut garbage = garbage(&[set(1)]);
    let mut stranger = pod(100, &[1]);
    stranger["metadata"]["namespace"] = json!("other");
    assert_eq!(
        apply(&mut garbage, &stranger),
        ["EVENT OwnerRefInvalidNamespace", "DELETE pod100 Background"]
    );
}

#[test]
fn a_namespace_is_empty_when_its_last_object_is_gone() {
    let mut garbage = garbage(&[set(1), pod(100, &[1])]);
    garbage.on_deleted(parsed(1));
    assert!(!garbage.is_empty("default"));
    garbage.on_deleted(parsed(100));
    assert!(garbage.is_empty("default"));
}
