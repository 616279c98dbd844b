use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

/// What the controllers know, and how they are told of it.
struct World(Volumes);

fn object<T: serde::de::DeserializeOwned>(value: &Value) -> Arc<T> {
    Arc::new(serde_json::from_value(value.clone()).unwrap())
}

fn claim(change: impl FnOnce(&mut Value)) -> Value {
    let mut claim = json!({
        "metadata": {"name": "data", "namespace": "default", "uid": "c1", "finalizers": [CLAIM_PROTECTION]},
        "spec": {"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}},
            "volumeMode": "Filesystem"},
        "status": {"phase": "Pending"},
    });
    change(&mut claim);
    claim
}

fn volume(name: &str, size: &str, change: impl FnOnce(&mut Value)) -> Value {
    let mut volume = json!({
        "metadata": {"name": name, "uid": name},
        "spec": {"accessModes": ["ReadWriteOnce", "ReadOnlyMany"], "capacity": {"storage": size},
            "volumeMode": "Filesystem", "persistentVolumeReclaimPolicy": "Retain"},
        "status": {"phase": "Available"},
    });
    change(&mut volume);
    volume
}

fn class(name: &str, mode: &str, is_default: bool) -> Value {
    json!({
        "metadata": {"name": name, "uid": name,
            "annotations": {"storageclass.kubernetes.io/is-default-class": is_default.to_string()}},
        "provisioner": "example.com/disk", "reclaimPolicy": "Retain", "volumeBindingMode": mode,
    })
}

/// A pod that uses the claim.
fn pod(node: &str, phase: &str) -> Value {
    json!({
        "metadata": {"name": "web", "namespace": "default", "uid": "1"},
        "spec": {"nodeName": node, "volumes": [
            {"name": "token", "projected": {}},
            {"name": "data", "persistentVolumeClaim": {"claimName": "data"}},
        ]},
        "status": {"phase": phase},
    })
}

impl World {
    fn with(classes: &[Value], volumes: &[Value]) -> Self {
        let mut state = Volumes::new(&Selection::all());
        for value in classes {
            state.on_seen(Seen::Class(Change::Applied(object(value))));
        }
        for value in volumes {
            state.on_seen(Seen::Volume(Change::Applied(object(value))));
        }
        state.on_seen(Seen::Claim(Change::Synced));
        state.on_seen(Seen::Volume(Change::Synced));
        state.on_seen(Seen::Class(Change::Synced));
        state.on_pods_synced();
        Self(state)
    }

    fn see(&mut self, seen: Seen) -> Vec<String> {
        let keys = self.0.on_seen(seen);
        shown(self.0.look_at(&keys, NOW))
    }

    fn claim(&mut self, value: &Value) -> Vec<String> {
        self.see(Seen::Claim(Change::Applied(object(value))))
    }

    fn pod(&mut self, value: &Value) -> Vec<String> {
        let pod: Arc<Pod> = object(value);
        let keys = self.0.on_pod(&pod, Uid(1), false);
        shown(self.0.look_at(&keys, NOW))
    }
}

/// Method and end of the path of each write, and what matters of its body.
fn shown(writes: Vec<Write>) -> Vec<String> {
    let text = |write: &Write| {
        let body = write.body.clone().unwrap_or_default();
        let mut said = format!("{} {}", write.method, write.path.rsplit("/v1/").next().unwrap());
        for pointer in [
            "/reason",
            "/message",
            "/spec/volumeName",
            "/spec/capacity/storage",
            "/status/capacity/storage",
            "/spec/storageClassName",
            "/spec/claimRef/uid",
            "/status/phase",
            "/metadata/finalizers",
        ] {
            if let Some(value) = body.pointer(pointer) {
                let value = value.as_str().map_or_else(|| value.to_string(), str::to_owned);
                said = format!("{said} {value}");
            }
        }
        said.replace("namespaces/default/persistentvolumeclaims/", "claim ")
            .replace("persistentvolumes", "volumes")
            .replace("namespaces/default/", "")
    };
    let mut all = Vec::new();
    for write in writes {
        let mut next = Some(write);
        while let Some(write) = next {
            all.push(text(&write));
            next = write.following();
        }
    }
    all
}

/// embedded-cluster.md 16: a pending claim gets a volume of its own.
#[test]
fn a_claim_gets_a_volume_step_by_step() {
    let mut world = World::with(&[], &[]);
    let pending = claim(|_| {});
    assert_eq!(world.claim(&pending), ["PATCH claim data", "POST volumes 1Gi c1"]);
    let made = volume("pvc-c1", "1Gi", |volume| {
        volume["spec"]["claimRef"] = json!({"namespace": "default", "name": "data", "uid": "c1"});
        volume["status"]["phase"] = json!("Pending");
    });
    assert_eq!(
        world.see(Seen::Volume(Change::Applied(object(&made)))),
        [
            "PATCH claim data pvc-c1",
            "PATCH claim data/status 1Gi Bound",
            "PATCH volumes/pvc-c1/status Bound",
        ]
    );
    let mut bound = pending.clone();
    bound["spec"]["volumeName"] = json!("pvc-c1");
    bound["status"]["phase"] = json!("Bound");
    let mut made = made;
    made["status"]["phase"] = json!("Bound");
    world.claim(&bound);
    assert!(
        world.see(Seen::Volume(Change::Applied(object(&made)))).is_empty(),
        "all is done"
    );
    assert_eq!(
        world.0.readiness(&("default".into(), "data".into())),
        Some(Readiness::Bound(Vec::new()))
    );
}

#[test]
fn the_smallest_volume_that_suits_is_taken() {
    type Edit = fn(&mut Value);
    type Volumes<'a> = &'a [(&'a str, &'a str, Edit)];
    let cases: [(&str, Volumes<'_>, Edit, &str); 8] = [
        (
            "smallest",
            &[("big", "9Gi", |_| {}), ("fit", "2Gi", |_| {})],
            |_| {},
            "fit",
        ),
        ("too small", &[("small", "1Mi", |_| {})], |_| {}, ""),
        (
            "another class",
            &[("fast", "1Gi", |v| v["spec"]["storageClassName"] = json!("fast"))],
            |_| {},
            "",
        ),
        (
            "another mode",
            &[("one", "1Gi", |_| {})],
            |c| c["spec"]["accessModes"] = json!(["ReadWriteMany"]),
            "",
        ),
        (
            "a block device",
            &[("one", "1Gi", |_| {})],
            |c| c["spec"]["volumeMode"] = json!("Block"),
            "",
        ),
        (
            "labels",
            &[
                ("a", "1Gi", |_| {}),
                ("b", "2Gi", |v| v["metadata"]["labels"] = json!({"disk": "ssd"})),
            ],
            |c| c["spec"]["selector"] = json!({"matchLabels": {"disk": "ssd"}}),
            "b",
        ),
        (
            "somebody else's",
            &[("a", "1Gi", |v| {
                v["spec"]["claimRef"] = json!({"namespace": "x", "name": "y", "uid": "z"});
            })],
            |_| {},
            "",
        ),
        (
            "reserved, whatever its size",
            &[
                ("a", "2Gi", |_| {}),
                ("b", "9Gi", |v| {
                    v["spec"]["claimRef"] = json!({"namespace": "default", "name": "data"});
                }),
            ],
            |_| {},
            "b",
        ),
    ];
    for (what, volumes, change, expected) in cases {
        let volumes: Vec<Value> = volumes
            .iter()
            .map(|(name, size, change)| volume(name, size, change))
            .collect();
        let mut world = World::with(&[], &volumes);
        let writes = world.claim(&claim(change));
        let taken = writes
            .iter()
            .find_map(|write| write.strip_prefix("PATCH volumes/")?.strip_suffix(" c1"));
        assert_eq!(taken.unwrap_or_default(), expected, "{what}: {writes:?}");
    }
}

#[test]
fn a_class_says_when_and_how() {
    let named = |name: &str| {
        let name = json!(name);
        claim(|claim| claim["spec"]["storageClassName"] = name)
    };
    // The default class is written into claims that name none.
    let mut world = World::with(&[class("std", "Immediate", true)], &[]);
    assert_eq!(world.claim(&claim(|_| {})), ["PATCH claim data std"]);
    assert_eq!(
        world.claim(&named("std")),
        ["PATCH claim data", "POST volumes 1Gi std c1"]
    );
    // An empty name asks for a volume that is there.
    let told = world.claim(&named(""));
    assert_eq!(
        told,
        [
            "POST events FailedBinding no persistent volumes available for this claim and no storage class is set"
        ]
    );
    assert!(world.claim(&named("")).is_empty(), "told once");
    let told = world.claim(&named("nosuch"));
    assert_eq!(
        told,
        [r#"POST events ProvisioningFailed storageclass.storage.k8s.io "nosuch" not found"#]
    );
    // And a class may wait for a pod that has a node.
    let mut world = World::with(&[class("late", "WaitForFirstConsumer", false)], &[]);
    let told = world.claim(&named("late"));
    assert_eq!(
        told,
        ["POST events WaitForFirstConsumer waiting for first consumer to be created before binding"]
    );
    let key = ("default".to_owned(), "data".to_owned());
    assert_eq!(world.0.readiness(&key), Some(Readiness::WaitsForPod));
    assert!(
        world.pod(&pod("", "Pending")).is_empty(),
        "the pod has no node yet"
    );
    assert_eq!(
        world.pod(&pod("n1", "Pending")),
        ["PATCH claim data", "POST volumes 1Gi late c1"]
    );
}

/// embedded-cluster.md 16; statefulset.md 8.
#[test]
fn a_claim_grows_where_its_class_allows_that() {
    let bound = |size: &'static str, has: &'static str| {
        claim(|claim| {
            claim["spec"]["storageClassName"] = json!("disk");
            claim["spec"]["volumeName"] = json!("v");
            claim["spec"]["resources"]["requests"]["storage"] = json!(size);
            claim["status"] = json!({"phase": "Bound", "capacity": {"storage": has}});
        })
    };
    let volume = |size: &str| {
        volume("v", size, |volume| {
            volume["spec"]["claimRef"] = json!({"namespace": "default", "name": "data", "uid": "c1"});
            volume["status"]["phase"] = json!("Bound");
        })
    };
    let expanding = |allows: Value| {
        let mut class = class("disk", "Immediate", false);
        class["allowVolumeExpansion"] = allows;
        class
    };
    let both = ["PATCH volumes/v 2Gi", "PATCH claim data/status 2Gi"];
    for (allows, (asked, has), of_volume, want) in [
        (json!(true), ("2Gi", "1Gi"), "1Gi", &both[..]),
        (json!(true), ("2Gi", "1Gi"), "2Gi", &both[1..]),
        (json!(true), ("2Gi", "2Gi"), "2Gi", &[]),
        (json!(true), ("1Gi", "2Gi"), "2Gi", &[]),
        (json!(false), ("2Gi", "1Gi"), "1Gi", &[]),
    ] {
        let mut world = World::with(&[expanding(allows.clone())], &[volume(of_volume)]);
        assert_eq!(world.claim(&bound(asked, has)), want, "{allows} {asked} {has}");
    }
    // What a class allows later counts for the claims that wait.
    let mut world = World::with(&[expanding(json!(false))], &[volume("1Gi")]);
    assert!(world.claim(&bound("2Gi", "1Gi")).is_empty());
    let seen = Seen::Class(Change::Applied(object(&expanding(json!(true)))));
    assert_eq!(world.see(seen), both);
}

#[test]
fn what_is_used_does_not_go() {
    let mut world = World::with(&[], &[]);
    let ending = claim(|claim| {
        claim["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
        claim["spec"]["volumeName"] = json!("v");
        claim["status"]["phase"] = json!("Bound");
    });
    world.pod(&pod("n1", "Running"));
    assert!(world.claim(&ending).is_empty(), "a pod uses it");
    assert_eq!(world.pod(&pod("n1", "Succeeded")), ["PATCH claim data []"]);

    let bound = |policy: &'static str, is_ending: bool| {
        volume("v", "1Gi", move |volume| {
            volume["metadata"]["finalizers"] = json!([VOLUME_PROTECTION]);
            volume["spec"]["claimRef"] = json!({"namespace": "default", "name": "data", "uid": "c1"});
            volume["spec"]["persistentVolumeReclaimPolicy"] = json!(policy);
            volume["status"]["phase"] = json!("Bound");
            if is_ending {
                volume["metadata"]["deletionTimestamp"] = json!("2026-01-01T00:00:00Z");
            }
        })
    };
    let kept = world.see(Seen::Volume(Change::Applied(object(&bound("Delete", true)))));
    assert_eq!(
        kept,
        ["PATCH claim data []"],
        "the claim may go, its volume not yet"
    );
    // With its claim a volume goes, or is kept for somebody to look at.
    for (policy, expected) in [
        ("Delete", "DELETE volumes/v"),
        ("Retain", "PATCH volumes/v/status Released"),
    ] {
        let mut world = World::with(&[], &[bound(policy, false)]);
        world.claim(&ending);
        assert_eq!(
            world.see(Seen::Claim(Change::Deleted(object(&ending)))),
            [expected]
        );
    }
    let mut world = World::with(&[], &[]);
    let released = world.see(Seen::Volume(Change::Applied(object(&bound("Delete", true)))));
    assert_eq!(released, ["PATCH volumes/v []"]);
}

#[test]
fn controllers_that_are_left_out_write_nothing() {
    let mut state = Volumes::new(&"*,-persistentvolume-binder-controller".parse().unwrap());
    for synced in [
        Seen::Claim(Change::Synced),
        Seen::Volume(Change::Synced),
        Seen::Class(Change::Synced),
    ] {
        state.on_seen(synced);
    }
    let keys = state.on_seen(Seen::Claim(Change::Applied(object(&claim(|_| {})))));
    assert!(state.look_at(&keys, NOW).is_empty());
}
