//! The tables of inplace.md: 1.2, 12.1, 12.2, 12.4, 12.5.

use pitstop_engine::inplace::agent::{Known, Look, look, read};
use pitstop_engine::inplace::hash::env_hash;

use super::*;

/// 1.2
#[test]
fn hashes_are_those_of_kubelets_and_agents() {
    let old_form = r#"{"name":"test_container","image":"foo/image:v1","args":["/bin/sh","-c","echo abc"],"ports":[{"containerPort":8001}],"resources":{}}"#;
    for (json, want) in [
        (r#"{"image":"foo/image:v1","name":"test_container"}"#, 0x8e45_cbd0),
        (old_form, 0x3c42_280f),
        ("null", 86_995_377),
        (r#"[{"name":"e2","value":"foo"}]"#, 2_053_173_458),
        (r#"[{"name":"e2","value":"bar"}]"#, 539_240_142),
        (r#"[{"name":"e2"}]"#, 1_885_397_378),
    ] {
        assert_eq!(hash_json(json), want, "{json}");
    }
    assert_eq!(container_hash("nginx", "nginx:1.25"), 1_561_234_377);
}

/// Adds a variable that holds metadata to a container of a template.
fn reading(mut template: Value, container: usize, field_path: &str) -> Value {
    template["spec"]["containers"][container]["env"] =
        json!([{ "name": "TEST_ENV", "valueFrom": { "fieldRef": { "fieldPath": field_path } } }]);
    template
}

fn with(mut template: Value, pointer: &str, value: Value) -> Value {
    let (parent, key) = pointer.rsplit_once('/').unwrap();
    match template.pointer_mut(parent).unwrap() {
        Value::Array(list) => list[key.parse::<usize>().unwrap()] = value,
        other => other[key] = value,
    }
    template
}

/// 12.1, rows that stay in place: what changes.
#[test]
#[allow(clippy::too_many_lines, reason = "one table")]
fn two_templates_that_differ_in_what_can_change() {
    let old = template(&["c1=foo1"]);
    let labels = |labels: Value| with(template(&["c1=foo1"]), "/metadata/labels", labels);
    let new_image = |old: &Value| with(old.clone(), "/spec/containers/0/image", json!("foo2"));
    let no_images = json!({});
    let foo2 = json!({ "c1": "foo2" });
    let a4 = labels(json!({ "k": "v" }));
    let a5 = reading(labels(json!({ "k": "v" })), 0, "metadata.labels['k']");
    let a6 = with(
        labels(json!({ "k": "v", "k2": "v2" })),
        "/metadata/finalizers",
        json!(["fz1", "fz2"]),
    );
    let a6_new = with(
        labels(json!({ "k": "v", "k1": "v1" })),
        "/metadata/finalizers",
        json!(["fz2"]),
    );
    let a10 = with(
        reading(old.clone(), 0, "metadata.annotations['a']"),
        "/metadata/annotations",
        json!({ "a": "1" }),
    );
    let a12 = reading(old.clone(), 0, "metadata.annotations['a']");
    let a12_new = with(a12.clone(), "/metadata/annotations", json!({ "a": "1" }));
    let a11_new = with(a10.clone(), "/metadata/annotations", json!({}));
    let patch = |metadata: Value| Some(json!({ "metadata": metadata }));
    for (row, old, new, images, metadata_patch, ref_metadata, update_env) in [
        (
            "A2",
            old.clone(),
            new_image(&old),
            foo2.clone(),
            None,
            json!({}),
            false,
        ),
        (
            "A4",
            a4.clone(),
            new_image(&labels(json!({ "k": "v", "k1": "v1" }))),
            foo2.clone(),
            patch(json!({ "labels": { "k1": "v1" } })),
            json!({}),
            false,
        ),
        (
            "A5",
            a5.clone(),
            new_image(&with(
                a5.clone(),
                "/metadata/labels",
                json!({ "k": "v2", "k1": "v1" }),
            )),
            foo2.clone(),
            patch(json!({ "labels": { "k1": "v1" } })),
            json!({ "c1": { "labels": { "k": "v2" } } }),
            true,
        ),
        (
            "A6",
            a6,
            new_image(&a6_new),
            foo2,
            patch(json!({
                "$deleteFromPrimitiveList/finalizers": ["fz1"], "$setElementOrder/finalizers": ["fz2"],
                "labels": { "k1": "v1", "k2": null },
            })),
            json!({}),
            false,
        ),
        (
            "A9",
            a4.clone(),
            labels(json!({ "k": "w" })),
            no_images.clone(),
            patch(json!({ "labels": { "k": "w" } })),
            json!({}),
            false,
        ),
        (
            "A10",
            a10.clone(),
            with(a10.clone(), "/metadata/annotations", json!({ "a": "2" })),
            no_images.clone(),
            Some(json!({})),
            json!({ "c1": { "annotations": { "a": "2" } } }),
            true,
        ),
        // 13.8: a label or annotation that goes refreshes the environment, and so does the first one.
        (
            "A11",
            a10,
            a11_new,
            no_images.clone(),
            patch(json!({ "annotations": { "a": null } })),
            json!({}),
            true,
        ),
        (
            "A12",
            a12,
            a12_new,
            no_images.clone(),
            Some(json!({})),
            json!({ "c1": { "annotations": { "a": "1" } } }),
            true,
        ),
        ("A26", old.clone(), old.clone(), no_images, None, json!({}), false),
    ] {
        let spec = update(&old, &new, PLAIN);
        assert_eq!(json!(spec.images), images, "{row}");
        assert_eq!(spec.metadata_patch, metadata_patch, "{row}");
        let mut refs = serde_json::to_value(&spec.ref_metadata).unwrap();
        for metadata in refs.as_object_mut().unwrap().values_mut() {
            assert_eq!(
                metadata.as_object_mut().unwrap().remove("creationTimestamp"),
                Some(Value::Null)
            );
        }
        assert_eq!(refs, ref_metadata, "{row}");
        assert_eq!(spec.update_env, update_env, "{row}");
        assert!(spec.resources.is_empty(), "{row}");
    }
}

/// 12.1, rows that cannot stay: why.
#[test]
fn two_templates_that_differ_in_what_cannot_change() {
    let one = template(&["c1=foo1"]);
    let two = template(&["c1=foo1", "c2=bar1"]);
    let env = json!([{ "name": "A", "value": "b" }]);
    let with_init = |image: &str| {
        with(
            one.clone(),
            "/spec/initContainers",
            json!([{ "name": "i", "image": image }]),
        )
    };
    let bare = json!({ "spec": one["spec"] });
    for (row, old, new, want) in [
        (
            "A7",
            one.clone(),
            with(template(&["c1=foo2"]), "/spec/containers/0/env", env),
            "/spec/containers/0/env",
        ),
        ("A13", bare, one.clone(), "/metadata"),
        (
            "A14",
            with_init("a"),
            with_init("b"),
            "/spec/initContainers/0/image",
        ),
        (
            "A15",
            two.clone(),
            template(&["c2=bar1", "c1=foo1"]),
            "/spec/containers/0/name",
        ),
        ("A15", one.clone(), two.clone(), "/spec/containers/1"),
        ("A15", two, template(&["c1=foo1"]), "/spec/containers/1"),
        (
            "A15",
            one.clone(),
            template(&["x=foo1"]),
            "/spec/containers/0/name",
        ),
        (
            "volume with a slash in its key",
            one.clone(),
            with(one.clone(), "/spec/nodeSelector", json!({ "a/b": "c" })),
            "/spec/nodeSelector",
        ),
        (
            "escaped",
            with(one.clone(), "/spec/nodeSelector", json!({ "a/b": "c" })),
            with(one.clone(), "/spec/nodeSelector", json!({ "a/b": "d" })),
            "/spec/nodeSelector/a~1b",
        ),
    ] {
        let verdict = compare(&old, &new, SCALING);
        assert_eq!(
            verdict,
            Verdict::Recreate(WhyRecreate::Field(want.into())),
            "{row}"
        );
    }
    let none = Labels::new();
    let (good, bad) = (data(&one), json!("not a template"));
    let version = |data| Version {
        name: "web-x",
        data,
        annotations: &none,
    };
    let options = DiffOptions::default();
    for (row, old, new, want) in [
        ("A1", None, &good, WhyRecreate::NoOldRevision),
        (
            "A8",
            Some(version(&good)),
            &bad,
            WhyRecreate::NoTemplate("web-x".into()),
        ),
    ] {
        assert_eq!(diff(old, version(new), options), Verdict::Recreate(want), "{row}");
    }
}

/// 12.1, row A3: metadata of the payload itself is nobody's.
#[test]
fn what_is_beside_the_template_does_not_count() {
    let with_root = |image: &str| {
        let mut payload = data(&template(&[image]));
        payload["metadata"] = json!({ "labels": { "k": "v" } });
        payload
    };
    let (old, new) = (with_root("c1=foo1"), with_root("c1=foo2"));
    let none = Labels::new();
    let version = |name, data| Version {
        name,
        data,
        annotations: &none,
    };
    let verdict = diff(
        Some(version("web-old", &old)),
        version("web-new", &new),
        DiffOptions::default(),
    );
    let want = UpdateSpec {
        revision: "web-new".into(),
        ..images(&[("c1", "foo2")])
    };
    assert_eq!(verdict, Verdict::InPlace(want), "A3");
}

/// 13.8: init containers that read what changes are named, since they do not run again.
#[test]
fn init_containers_that_read_what_changes_are_named() {
    let reads = |label: &str| {
        json!({ "name": "init", "image": "a", "env": [
            { "name": "K", "valueFrom": { "fieldRef": { "fieldPath": format!("metadata.labels['{label}']") } } }] })
    };
    let labelled = |value: &str, reads: Value| {
        let mut template = template(&["c1=foo1"]);
        template["metadata"]["labels"] = json!({ "k": value });
        template["spec"]["initContainers"] = json!([reads]);
        template
    };
    for (label, want) in [("k", &["init"][..]), ("other", &[])] {
        let (old, new) = (labelled("1", reads(label)), labelled("2", reads(label)));
        let Verdict::InPlace(spec) = compare(&old, &new, PLAIN) else {
            panic!("{label}")
        };
        assert!(
            spec.init_readers.iter().eq(want),
            "{label}: {:?}",
            spec.init_readers
        );
        assert!(!spec.touches_containers(), "{label}: containers read nothing");
    }
}

/// 12.1, rows A16 to A23: resources.
#[test]
fn resources_change_in_place_where_the_cluster_allows_it() {
    let sized = |requests: &[(&str, Value)]| {
        let mut template = template(&["nginx=n1", "c2=m1"]);
        for (i, (_, resources)) in requests.iter().enumerate() {
            template["spec"]["containers"][i]["resources"] = resources.clone();
        }
        template
    };
    let requests = |cpu: &str| json!({ "requests": { "cpu": cpu } });
    let old = sized(&[("nginx", requests("1"))]);
    let new = sized(&[("nginx", requests("2"))]);
    let spec = update(&old, &new, SCALING);
    assert_eq!(
        json!(spec.resources),
        json!({ "nginx": { "requests": { "cpu": "2" } } }),
        "A16"
    );
    let path = "/spec/containers/0/resources/requests/cpu";
    assert_eq!(
        compare(&old, &new, PLAIN),
        Verdict::Recreate(WhyRecreate::Field(path.into())),
        "A17"
    );
    for amount in [json!("1000m"), json!(1), json!("1.0")] {
        let other = sized(&[("nginx", json!({ "requests": { "cpu": amount } }))]);
        for features in [PLAIN, SCALING] {
            let spec = update(&old, &other, features);
            assert!(
                !spec.touches_containers(),
                "{amount}: the same in another notation"
            );
        }
    }

    let both = |image: &str, cpu: &str| {
        let mut template = sized(&[("nginx", requests(cpu)), ("c2", requests(cpu))]);
        for i in 0..2 {
            template["spec"]["containers"][i]["image"] = json!(image);
        }
        template
    };
    let spec = update(&both("a", "1"), &both("b", "2"), SCALING);
    assert_eq!((spec.images.len(), spec.resources.len()), (2, 2), "A18");

    let pulled = with(new.clone(), "/spec/containers/0/imagePullPolicy", json!("Always"));
    assert!(
        matches!(compare(&old, &pulled, SCALING), Verdict::Recreate(_)),
        "A19"
    );

    let burst =
        json!({ "requests": { "cpu": "1", "memory": "2Gi" }, "limits": { "cpu": "2", "memory": "4Gi" } });
    let full =
        json!({ "requests": { "cpu": "2", "memory": "4Gi" }, "limits": { "cpu": "2", "memory": "4Gi" } });
    let pair = |a: &Value, b: &Value| sized(&[("nginx", a.clone()), ("c2", b.clone())]);
    assert_eq!(
        compare(&pair(&burst, &burst), &pair(&full, &full), SCALING),
        Verdict::Recreate(WhyRecreate::QosClass("Burstable", "Guaranteed")),
        "A20"
    );
    assert!(
        matches!(
            compare(&pair(&burst, &burst), &pair(&full, &burst), SCALING),
            Verdict::InPlace(_)
        ),
        "A21"
    );
    let limits = |limits: Value| sized(&[("nginx", json!({ "limits": limits }))]);
    for (row, old, new) in [
        (
            "A22",
            sized(&[("nginx", json!({}))]),
            limits(json!({ "cpu": "1" })),
        ),
        (
            "A23",
            limits(json!({ "nvidia.com/gpu": "1" })),
            limits(json!({ "nvidia.com/gpu": "2" })),
        ),
        (
            "no quantity",
            limits(json!({ "cpu": "1" })),
            limits(json!({ "cpu": "lots" })),
        ),
        ("gone", limits(json!({ "cpu": "1" })), limits(json!({}))),
    ] {
        assert!(
            matches!(
                compare(&old, &new, SCALING),
                Verdict::Recreate(WhyRecreate::Field(_))
            ),
            "{row}"
        );
    }
}

/// 12.1, rows A24 and A25: claim templates.
#[test]
fn claim_templates_count_where_the_cluster_says_so() {
    let (old, new) = (data(&template(&["c1=foo1"])), data(&template(&["c1=foo2"])));
    let hash =
        |value: &str| Labels::from([("kruise.io/cloneset-volumeclaimtemplate-hash".into(), value.into())]);
    let gate = Features {
        recreate_on_claim_change: true,
        ..PLAIN
    };
    for (row, old_hash, new_hash, features, ignores_claims, is_in_place) in [
        ("A24", hash(""), hash("x"), gate, false, false),
        ("A24, InPlaceOnly", hash(""), hash("x"), gate, true, true),
        ("A24, gate off", hash(""), hash("x"), PLAIN, false, true),
        ("A25", Labels::new(), hash("x"), gate, false, true),
    ] {
        let old = Version {
            name: "web-old",
            data: &old,
            annotations: &old_hash,
        };
        let new = Version {
            name: "web-new",
            data: &new,
            annotations: &new_hash,
        };
        let options = DiffOptions {
            features,
            ignores_claims,
            ..DiffOptions::default()
        };
        let verdict = diff(Some(old), new, options);
        assert_eq!(
            matches!(verdict, Verdict::InPlace(_)),
            is_in_place,
            "{row}: {verdict:?}"
        );
    }
}

/// The pod of 12.2.
fn pod_of_12_2() -> LivePod {
    LivePod::running(&["c1=a1@20", "c2=b1@10", "c3=c1@0", "c4=d1@0"])
        .reads("c1", "E1", "metadata.labels['label-k1']")
        .reads("c2", "E2", "metadata.labels['label-k2']")
        .reads("c3", "E3", "metadata.labels['label-k2']")
        .reads("c4", "E4", "metadata.annotations['annotation-k1']")
}

fn reads(container: &str, field: &str, key: &str) -> UpdateSpec {
    let mut spec = images(&[]);
    spec.update_env = false;
    let metadata = spec.ref_metadata.entry(container.into()).or_default();
    let map = if field == "labels" {
        &mut metadata.labels
    } else {
        &mut metadata.annotations
    };
    map.insert(key.into(), "bar".into());
    spec
}

/// 12.2, rows B1 to B7: which containers change together.
#[test]
fn containers_change_in_batches_by_launch_priority() {
    let mut b2 = images(&[("c3", "c2"), ("c4", "d2")]);
    b2.metadata_patch = Some(json!({ "metadata": { "annotations": { "new-key": "x" } } }));
    let mut b3 = reads("c4", "annotations", "annotation-k1");
    b3.images.insert("c3".into(), "c2".into());
    let mut b7 = reads("c2", "labels", "label-k2");
    b7.ref_metadata.insert("c3".into(), b7.ref_metadata["c2"].clone());
    b7.images = images(&[("c1", "a2"), ("c2", "b2"), ("c4", "d2")]).images;
    for (row, spec, batches) in [
        ("B1", images(&[("c1", "a2")]), json!([["c1"]])),
        ("B2", b2, json!([["c3", "c4"]])),
        ("B3", b3, json!([["c3", "c4"]])),
        (
            "B4",
            images(&[("c1", "a2"), ("c2", "b2")]),
            json!([["c1"], ["c2"]]),
        ),
        (
            "B6",
            images(&[("c1", "a2"), ("c2", "b2"), ("c4", "d2")]),
            json!([["c1"], ["c2"], ["c4"]]),
        ),
        ("B7", b7, json!([["c1"], ["c2", "c3"], ["c4"]])),
    ] {
        let mut pod = pod_of_12_2();
        let wanted = spec.images.clone();
        begin_on(&mut pod, &spec, PLAIN, 0);
        let n_batches = batches.as_array().unwrap().len();
        for done in 1..=n_batches {
            let state = pod.upstreams_state().unwrap();
            let record = state["containerBatchesRecord"].as_array().unwrap().clone();
            let names: Vec<Value> = record.iter().map(|batch| batch["containers"].clone()).collect();
            assert_eq!(json!(names), json!(batches.as_array().unwrap()[..done]), "{row}");
            let check = &state["preCheckBeforeNext"]["containersRequiredReady"];
            let last = if done < n_batches {
                batches[done - 1].clone()
            } else {
                Value::Null
            };
            assert_eq!(*check, last, "{row}: what the next batch waits for");
            // The kubelet does its work on what it was told.
            for (name, image) in &wanted {
                let told = pod.image(name) == image;
                let has_run = pod.view().in_place.unwrap().status(name).unwrap().restart_count > 0;
                if told && !has_run {
                    pod = pod.restarted(name, image, 5);
                }
            }
            refresh_on(&mut pod, PLAIN, 10);
        }
        for (name, image) in &wanted {
            assert_eq!(pod.image(name), image, "{row}");
        }
        assert_eq!(pod.says("InPlaceUpdateReady"), Some("True"), "{row}");
    }
}

/// 12.2, rows B2, B3, B4, B5, B7: what is noted.
#[test]
fn what_a_batch_notes() {
    let mut pod = pod_of_12_2();
    begin_on(&mut pod, &images(&[("c1", "a2"), ("c2", "b2")]), PLAIN, 0);
    let state = pod.upstreams_state().unwrap();
    let last = |names: &[&str]| {
        let entry = |name: &&str| {
            (
                (*name).to_owned(),
                json!({ "imageID": format!("containerd://{name}-img") }),
            )
        };
        Value::Object(names.iter().map(entry).collect())
    };
    assert_eq!(state["lastContainerStatuses"], last(&["c1"]), "B4");
    assert_eq!(state["nextContainerImages"], json!({ "c2": "b2" }), "B4");
    pod = pod.restarted("c1", "a2", 5);
    refresh_on(&mut pod, PLAIN, 10);
    let state = pod.upstreams_state().unwrap();
    assert_eq!(state["lastContainerStatuses"], last(&["c1", "c2"]), "B5");
    assert!(
        state.get("nextContainerImages").is_none() && state.get("preCheckBeforeNext").is_none(),
        "B5"
    );

    let mut pod = pod_of_12_2();
    let mut spec = reads("c4", "annotations", "annotation-k1");
    spec.images.insert("c3".into(), "c2".into());
    begin_on(&mut pod, &spec, PLAIN, 0);
    assert_eq!(pod.state().unwrap()["lastContainerStatuses"], last(&["c3"]), "B3");
    assert_eq!(
        pod.get("/metadata/annotations/annotation-k1"),
        Some(&json!("bar")),
        "B3"
    );
}

/// 12.2, row B8, and 13.2: what comes next may be resources alone.
#[test]
fn resources_come_in_batches_too() {
    let resources = |cpu: &str| serde_json::from_value(json!({ "requests": { "cpu": cpu } })).unwrap();
    let sized = |cpu: &str| json!({ "requests": { "cpu": cpu } });
    let mut pod = pod_of_12_2();
    for name in ["c1", "c2", "c3", "c4"] {
        pod = pod
            .container(name, "resources", sized("1"))
            .status(name, "resources", sized("1"));
    }
    let mut spec = images(&[("c1", "a2"), ("c2", "b2")]);
    spec.resources = [("c1".into(), resources("2")), ("c2".into(), resources("2"))].into();
    begin_on(&mut pod, &spec, SCALING, 0);
    let state = pod.upstreams_state().unwrap();
    assert_eq!(state["nextContainerImages"], json!({ "c2": "b2" }));
    assert_eq!(state["nextContainerResources"], json!({ "c2": sized("2") }));
    assert_eq!(
        state["preCheckBeforeNext"],
        json!({ "containersRequiredReady": ["c1"] })
    );
    assert_eq!(pod.get("/spec/containers/0/resources"), Some(&sized("2")));

    let mut pod = pod.set("/spec/containers/0/resources", sized("1"));
    let mut spec = images(&[]);
    spec.resources = [("c1".into(), resources("3")), ("c2".into(), resources("3"))].into();
    pod.put("/metadata/annotations", json!({}));
    begin_on(&mut pod, &spec, SCALING, 0);
    let mut pod = pod.status("c1", "resources", sized("3"));
    assert_eq!(refresh_on(&mut pod, SCALING, 5), Stage::Advancing);
    assert_eq!(pod.get("/spec/containers/1/resources"), Some(&sized("3")), "13.2");
}

/// 12.2, rows B9 and B10: the writes of a whole update, to the byte of upstream's annotations.
#[test]
fn an_update_begins_with_the_status_and_then_the_containers() {
    let old = template(&["c1=foo1"]);
    let spec = update(&old, &template(&["c1=foo2"]), PLAIN);
    let mut pod = LivePod::running(&["c1=foo1"]).status("c1", "imageID", "image-id-xyz");
    let view = pod.view();
    let writes = begin(live(&view), &spec, PLAIN, at(0)).writes(live(&view), at(0));
    let endpoints: Vec<Endpoint> = writes.iter().map(|write| write.endpoint).collect();
    assert_eq!(endpoints, [Endpoint::Status, Endpoint::Pod]);
    begin_on(&mut pod, &spec, PLAIN, 0);
    assert_eq!(pod.image("c1"), "foo2");
    let written = pod
        .get("/metadata/annotations/apps.kruise.io~1inplace-update-state")
        .unwrap();
    let upstreams = r#"{"revision":"web-new","updateTimestamp":"2026-01-01T00:00:00Z","lastContainerStatuses":{"c1":{"imageID":"image-id-xyz"}},"updateImages":true,"containerBatchesRecord":[{"timestamp":"2026-01-01T00:00:00Z","containers":["c1"]}]"#;
    assert!(
        written
            .as_str()
            .unwrap()
            .starts_with(&format!("{upstreams},\"pitstop\":")),
        "B9: {written}"
    );
    assert_eq!(pod.says("InPlaceUpdateReady"), Some("False"));
    let conditions = pod.json["status"]["conditions"].as_array().unwrap();
    let of = |kind: &str| conditions.iter().find(|c| c["type"] == kind).unwrap();
    assert_eq!(of("InPlaceUpdateReady")["reason"], "StartInPlaceUpdate");
    // 5.2
    assert_eq!(of("Ready")["status"], "False");
    assert_eq!(of("Ready")["reason"], "ReadinessGatesNotReady");
    assert_eq!(
        of("Ready")["message"],
        "the status of pod readiness gate \"InPlaceUpdateReady\" is not \"True\", but False"
    );

    let mut pod = LivePod::running(&["c1=foo1"]);
    let spec = UpdateSpec {
        grace_seconds: 3630,
        ..spec
    };
    let change = begin_on(&mut pod, &spec, PLAIN, 0);
    assert_eq!(pod.image("c1"), "foo1", "B10");
    assert_eq!(
        pod.get("/metadata/annotations/apps.kruise.io~1inplace-update-grace"),
        Some(&json!(
            r#"{"revision":"web-new","containerImages":{"c1":"foo2"},"graceSeconds":3630}"#
        )),
        "B10, 2.2"
    );
    assert_eq!(
        pod.upstreams_state(),
        Some(json!({
            "revision": "web-new", "updateTimestamp": "2026-01-01T00:00:00Z", "lastContainerStatuses": null,
            "updateImages": true,
        })),
        "B10"
    );
    let view = pod.view();
    assert_eq!(
        change.writes(live(&view), at(0)).len(),
        1,
        "labels and condition travel together"
    );
}

/// 2.2: what is stored in a grace period comes back the same.
#[test]
fn a_grace_period_keeps_the_whole_update() {
    let mut spec = reads("c1", "labels", "k");
    spec.metadata_patch = Some(json!({ "metadata": { "labels": { "a": "<b>&" } } }));
    spec.grace_seconds = 5;
    let grace = GraceState::from(&spec);
    let json = grace.to_json();
    // {"metadata":{"labels":{"a":"\u003cb\u003e\u0026"}}}
    assert!(json.contains(
        "\"metaDataPatch\":\"eyJtZXRhZGF0YSI6eyJsYWJlbHMiOnsiYSI6Ilx1MDAzY2JcdTAwM2VcdTAwMjYifX19\""
    ));
    assert!(
        json.contains(r#""containerRefMetadata":{"c1":{"creationTimestamp":null,"labels":{"k":"bar"}}}"#)
    );
    assert_eq!(serde_json::from_str::<GraceState>(&json).unwrap(), grace);
    assert!(serde_json::from_str::<UpdateState>("{\"lastContainerStatuses\":null,\"unknown\":1}").is_ok());
}

/// 12.2, rows B11 and B12: the request that resizes.
#[test]
fn a_resize_names_only_what_differs() {
    let sized = json!({ "limits": { "cpu": "100m" }, "requests": { "memory": "512Mi" } });
    let pod = LivePod::running(&["c=foo"]).container("c", "resources", sized);
    let view = pod.view();
    for (row, wanted, want) in [
        (
            "B11",
            json!({ "limits": { "cpu": "200m" }, "requests": { "memory": "512Mi" } }),
            Some(
                json!({ "spec": { "containers": [{ "name": "c", "resources": { "limits": { "cpu": "200m" } } }] } }),
            ),
        ),
        (
            "B12",
            json!({ "limits": { "cpu": "0.1" }, "requests": { "memory": "512Mi" } }),
            None,
        ),
        ("B12", json!({ "limits": { "nvidia.com/gpu": "1" } }), None),
    ] {
        let change = Change {
            resources: [("c".into(), serde_json::from_value(wanted).unwrap())].into(),
            ..Change::default()
        };
        let writes = change.writes(live(&view), at(0));
        assert_eq!(writes.first().map(|write| write.patch.clone()), want, "{row}");
        assert!(
            writes.iter().all(|write| write.endpoint == Endpoint::Resize),
            "{row}"
        );
    }
}

/// 12.4, of states that upstream wrote.
#[test]
fn updates_that_upstream_began_end() {
    let state = |last: Value| {
        json!({ "revision": "web-new", "lastContainerStatuses": last,
        "updateTimestamp": at(0).to_string() })
    };
    let last = |id: &str| state(json!({ "c1": { "imageID": id } }));
    let running = || LivePod::running(&["c1=foo1"]).status("c1", "imageID", "img01");
    let two = LivePod::running(&["c1=foo2", "c2=bar2"])
        .status("c1", "imageID", "new")
        .status("c2", "imageID", "old")
        .status("c2", "image", "bar1")
        .in_state(&state(
            json!({ "c1": { "imageID": "x" }, "c2": { "imageID": "old" } }),
        ));
    let unchanged = |image: &str, status: &str| {
        running()
            .container("c1", "image", image)
            .status("c1", "image", status)
            .in_state(&last("img01"))
    };
    let grace = json!({ "revision": "web-new", "graceSeconds": 5 }).to_string();
    let mut next = last("img01");
    next["nextContainerResources"] = json!({ "c1": { "limits": { "cpu": "1" } } });
    for (row, pod, want) in [
        ("D1", running(), "done"),
        (
            "D2",
            running()
                .status("c1", "imageID", "img02")
                .in_state(&last("img01")),
            "done",
        ),
        (
            "D3",
            unchanged("foo2", "foo1"),
            "container c1 imageID not changed",
        ),
        (
            "D4",
            running()
                .set("/status/containerStatuses", json!([]))
                .in_state(&last("img01")),
            "not found statuses of containers c1",
        ),
        ("D5", unchanged("nginx", "nginx:latest"), "done"),
        (
            "D6",
            unchanged("nginx:1.20", "docker.io/library/nginx:1.20"),
            "done",
        ),
        ("D7", two, "container c2 imageID not changed"),
        (
            "D15",
            running()
                .annotation("apps.kruise.io/inplace-update-grace", &grace)
                .in_state(&last("img01")),
            "still in grace period of in-place update",
        ),
        (
            "D16",
            running().in_state(&next),
            "existing containers to in-place update in next batches",
        ),
        (
            "13.1: one digest behind two tags, made after the change and running for 90 s",
            unchanged("foo2", "other").status(
                "c1",
                "state",
                json!({ "running": { "startedAt": at(5).to_string() } }),
            ),
            "done",
        ),
        (
            "legacy key",
            running()
                .annotation("inplace-update-state", &last("img01").to_string())
                .container("c1", "image", "foo2"),
            "container c1 imageID not changed",
        ),
    ] {
        assert_eq!(waits_for(&pod, PLAIN, 100), want, "{row}");
    }
}

/// 12.4, rows D8 to D14: resources and what an agent reports.
#[test]
fn resources_and_reports_decide() {
    let sized = |cpu: &str| json!({ "limits": { "cpu": cpu } });
    let state = |extra: Value| {
        let mut state =
            json!({ "revision": "web-new", "lastContainerStatuses": { "c1": { "imageID": "old" } } });
        state
            .as_object_mut()
            .unwrap()
            .extend(extra.as_object().unwrap().clone());
        state
    };
    let resized = |actual: Value| {
        LivePod::running(&["c1=foo2"])
            .container("c1", "resources", sized("2"))
            .status("c1", "resources", actual)
            .in_state(&state(json!({ "updateResources": true })))
    };
    assert_eq!(waits_for(&resized(sized("1")), PLAIN, 0), "done", "D8, gate off");
    assert_eq!(
        waits_for(&resized(sized("1")), SCALING, 0),
        "container c1 resources not changed",
        "D8"
    );
    assert_eq!(waits_for(&resized(sized("2000m")), SCALING, 0), "done", "D9");
    assert_eq!(
        waits_for(&resized(Value::Null), SCALING, 0),
        "container c1 resources not changed",
        "D10"
    );

    let report = |id: &str, plain: u64, env: u64| {
        json!({ "containers": [{ "name": "c1", "containerID": id, "restartCount": 0,
            "hashes": { "plainHash": plain, "extractedEnvFromMetadataHash": env } }] })
        .to_string()
    };
    let pod = LivePod::running(&["c1=foo2"])
        .reads("c1", "e2", "metadata.labels['k']")
        .label("k", "foo")
        .in_state(&state(
            json!({ "updateEnvFromMetadata": true, "updateTimestamp": at(0).to_string() }),
        ));
    let key = "apps.kruise.io/runtime-containers-meta";
    let plain = u64::from(container_hash("c1", "foo2"));
    assert_eq!(
        waits_for(&pod, PLAIN, 59),
        "waiting for all containers hash consistent, but runtime-container-meta not found",
        "D11"
    );
    assert_eq!(
        completion_of(&pod, PLAIN, 60),
        Completion::Impossible(WhyRecreate::NoAgent),
        "13.8"
    );
    let reported = |env| {
        pod.clone()
            .annotation(key, &report("containerd://c1-1", plain, env))
    };
    assert_eq!(
        waits_for(&reported(539_240_142), PLAIN, 0),
        "waiting for all containers hash consistent",
        "D12"
    );
    assert_eq!(waits_for(&reported(2_053_173_458), PLAIN, 0), "done");

    let same_id = LivePod::running(&["c1=foo2"])
        .status("c1", "imageID", "old")
        .status("c1", "image", "foo1")
        .in_state(&state(json!({})));
    let with = |id: &str| same_id.clone().annotation(key, &report(id, plain, 0));
    assert_eq!(waits_for(&with("containerd://c1-1"), PLAIN, 0), "done", "D13");
    assert_eq!(
        waits_for(&with("containerd://c1-0"), PLAIN, 0),
        "container c1 imageID not changed",
        "D14"
    );
    let malformed = same_id.annotation(key, "{");
    assert!(waits_for(&malformed, PLAIN, 0).contains("EOF"), "6.1, step 1");
}

/// 12.5
#[test]
fn a_pod_leaves_service_only_where_a_container_restarts() {
    let resources = |json: Value| UpdateSpec {
        resources: [("c2".to_owned(), serde_json::from_value(json).unwrap())].into(),
        ..images(&[])
    };
    let restart = |resource: &str| json!([{ "resourceName": resource, "restartPolicy": "RestartContainer" }]);
    let pod = || LivePod::running(&["c1=foo1", "c2=bar1"]);
    let cpu = resources(json!({ "limits": { "cpu": "2" } }));
    let memory = resources(json!({ "requests": { "memory": "2Gi" } }));
    let mut labels = images(&[]);
    labels.metadata_patch = Some(json!({ "metadata": { "labels": { "a": "b" } } }));
    for (row, pod, spec, features, want) in [
        ("E1", pod(), images(&[("c1", "foo2")]), SCALING, true),
        (
            "E2",
            pod().without_gates().in_state(&json!({})),
            images(&[("c1", "foo2")]),
            SCALING,
            false,
        ),
        ("E3", pod(), cpu.clone(), SCALING, false),
        (
            "E4",
            pod().container("c2", "resizePolicy", restart("cpu")),
            cpu.clone(),
            SCALING,
            true,
        ),
        (
            "E5",
            pod().container("c2", "resizePolicy", restart("cpu")),
            memory.clone(),
            SCALING,
            false,
        ),
        (
            "E6",
            pod().container("c1", "resizePolicy", restart("cpu")),
            cpu,
            SCALING,
            false,
        ),
        (
            "E7",
            pod().container("c2", "resizePolicy", restart("cpu")),
            memory,
            PLAIN,
            true,
        ),
        ("E8", pod(), labels, PLAIN, false),
    ] {
        let view = pod.view();
        assert_eq!(needs_unready(live(&view), &spec, features), want, "{row}");
    }
}

/// 13.10
#[test]
fn a_container_that_is_not_started_again_is_not_updated_in_place() {
    let ended = |code: i64| json!({ "terminated": { "exitCode": code, "reason": "Completed" } });
    let spec = images(&[("c1", "foo2")]);
    let pod = || LivePod::running(&["c1=foo1"]);
    for (case, pod, want) in [
        ("runs", pod(), Ok(())),
        ("Always", pod().status("c1", "state", ended(0)), Ok(())),
        (
            "Never",
            pod()
                .status("c1", "state", ended(1))
                .set("/spec/restartPolicy", "Never"),
            Err(WhyRecreate::ContainerEnded("c1".into())),
        ),
        (
            "OnFailure, well",
            pod()
                .status("c1", "state", ended(0))
                .set("/spec/restartPolicy", "OnFailure"),
            Err(WhyRecreate::ContainerEnded("c1".into())),
        ),
        (
            "OnFailure, badly",
            pod()
                .status("c1", "state", ended(1))
                .set("/spec/restartPolicy", "OnFailure"),
            Ok(()),
        ),
        (
            "Failed",
            pod().set("/status/phase", "Failed"),
            Err(WhyRecreate::PodEnded),
        ),
    ] {
        assert_eq!(eligibility(live(&pod.view()), &spec, at(0)), want, "{case}");
    }
    // 13.8: agents restart containers for their environment only behind a closed gate.
    let env = UpdateSpec {
        update_env: true,
        ..images(&[])
    };
    let young = at(-1000 + 59);
    assert_eq!(eligibility(live(&pod().view()), &env, young), Ok(()));
    let owner = json!([{ "apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet", "name": "web", "controller": true,
        "uid": "00000000-0000-0000-0000-000000000009" }]);
    let bare = pod().without_gates().set("/metadata/ownerReferences", owner);
    assert_eq!(
        eligibility(live(&bare.view()), &env, young),
        Err(WhyRecreate::NoGate)
    );
    // A container that runs for a minute unreported has no agent: that is known before the pod leaves service.
    let no_agent = Err(WhyRecreate::NoAgent);
    assert_eq!(eligibility(live(&pod().view()), &env, at(-1000 + 60)), no_agent);
    let reported = pod().annotation("apps.kruise.io/runtime-containers-meta", "{}");
    assert_eq!(eligibility(live(&reported.view()), &env, at(0)), Ok(()));
    let other = images(&[("sidecar", "x")]);
    assert_eq!(
        eligibility(live(&pod().view()), &other, at(0)),
        Err(WhyRecreate::NoContainer("sidecar".into()))
    );
}

/// 5.1, 5.3: a grace period is the time to leave service, so that only pods which leave it have one. Upstream waits in any
/// case.
#[test]
fn a_pod_that_stays_in_service_has_no_grace_period() {
    let grace = |spec: UpdateSpec| UpdateSpec {
        grace_seconds: 30,
        ..spec
    };
    let key = "/metadata/annotations/apps.kruise.io~1inplace-update-grace";
    let sized = UpdateSpec {
        revision: "web-new".into(),
        resources: serde_json::from_value(json!({ "c1": { "requests": { "cpu": "2" } } })).unwrap(),
        ..UpdateSpec::default()
    };
    let labelled = UpdateSpec {
        revision: "web-new".into(),
        metadata_patch: Some(json!({ "metadata": { "labels": { "k": "v" } } })),
        ..UpdateSpec::default()
    };
    let owner = json!([{ "apiVersion": "apps.kruise.io/v1beta1", "kind": "CloneSet", "name": "web", "controller": true,
        "uid": "00000000-0000-0000-0000-000000000009" }]);
    let pod = || {
        LivePod::running(&["c1=foo1"])
            .container("c1", "resources", json!({ "requests": { "cpu": "1" } }))
            .set("/metadata/ownerReferences", owner.clone())
    };
    let restarts = json!([{ "resourceName": "cpu", "restartPolicy": "RestartContainer" }]);
    for (case, pod, spec, waits) in [
        ("an image", pod(), images(&[("c1", "foo2")]), true),
        ("no gate", pod().without_gates(), images(&[("c1", "foo2")]), false),
        ("resources", pod(), sized.clone(), false),
        (
            "resources that restart",
            pod().container("c1", "resizePolicy", restarts),
            sized,
            true,
        ),
        ("a label", pod(), labelled, false),
    ] {
        let mut pod = pod;
        begin_on(&mut pod, &grace(spec), SCALING, 0);
        assert_eq!(pod.get(key).is_some(), waits, "{case}");
    }
}

/// 2.3, 6.3: what the agent of a node does, from the start of a container until its environment is new.
#[test]
fn an_agent_tells_what_runs_and_restarts_what_is_outdated() {
    let owned = |kind: &str, group: &str| {
        json!([{ "apiVersion": format!("{group}/v1beta1"), "kind": kind, "name": "web", "controller": true,
            "uid": "00000000-0000-0000-0000-000000000009" }])
    };
    let pod = |label: &str| {
        LivePod::running(&["c1=foo1", "c2=bar1"])
            .reads("c1", "E", "metadata.labels['k']")
            .label("k", label)
            .set("/metadata/ownerReferences", owned("CloneSet", "apps.kruise.io"))
    };
    let look_at = |pod: &LivePod, known: &Known| look(live(&pod.view()), known);
    let of_others = pod("old").set("/metadata/ownerReferences", owned("DaemonSet", "apps"));
    assert_eq!(
        look_at(&of_others, &Known::new()),
        Look::default(),
        "whose controller is no kind of OpenKruise"
    );
    let reads_nothing =
        LivePod::running(&["c1=foo1"]).set("/metadata/ownerReferences", owned("CloneSet", "apps.kruise.io"));
    assert_eq!(look_at(&reads_nothing, &Known::new()), Look::default());

    let first = look_at(&pod("old"), &Known::new());
    assert_eq!(first.report, None, "nothing is told of what is not known");
    assert_eq!(first.unread.len(), 2);
    let environment = [("E".to_owned(), "old".to_owned())];
    let known: Known = first
        .unread
        .iter()
        .map(|(name, id)| {
            let pod = pod("old");
            let view = pod.view();
            let container = live(&view).view.container(name).unwrap().clone();
            let image = if &**name == "c1" { "foo1" } else { "bar1" };
            (id.to_string(), read(&container, image, &environment))
        })
        .collect();
    let told = look_at(&pod("old"), &known).report.unwrap();
    let said: Value = serde_json::from_str(&told).unwrap();
    let hash = |value: &str| u64::from(env_hash(&[("E", value)]));
    assert_eq!(
        said["containers"][0]["hashes"]["plainHash"],
        u64::from(container_hash("c1", "foo1"))
    );
    assert_eq!(
        said["containers"][0]["hashes"]["extractedEnvFromMetadataHash"],
        hash("old")
    );
    assert_eq!(
        said["containers"][1]["hashes"]["extractedEnvFromMetadataHash"],
        u64::from(env_hash(&[]))
    );

    let key = "apps.kruise.io/runtime-containers-meta";
    let reported = |label: &str| pod(label).annotation(key, &told);
    assert_eq!(
        look_at(&reported("old"), &Known::new()),
        Look::default(),
        "it was told already"
    );
    assert_eq!(
        look_at(&reported("new"), &Known::new()).outdated,
        [],
        "nothing restarts while the pod is in service"
    );
    let closed = reported("new").condition("InPlaceUpdateReady", "False", "");
    let names = |look: &Look| {
        look.outdated
            .iter()
            .map(|(name, _)| name.to_string())
            .collect::<Vec<_>>()
    };
    assert_eq!(names(&look_at(&closed, &Known::new())), ["c1"]);
    let restarted = closed.restarted("c1", "foo1", 5);
    let again = look_at(&restarted, &Known::new());
    assert_eq!(
        again.unread.len(),
        1,
        "another container, of which nothing is known"
    );
    assert_eq!(names(&again), Vec::<String>::new());
}
