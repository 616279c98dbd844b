//! Each rule of cloneset.md 1.5.

use super::*;

fn defaulted(version: Version, spec: &Value, old: Option<&Value>) -> Value {
    defaulted_by(Gates::default(), version, spec, old)
}

fn defaulted_by(gates: Gates, version: Version, spec: &Value, old: Option<&Value>) -> Value {
    let of = |spec: &Value| json!({"apiVersion": version.api_version(), "kind": "CloneSet", "spec": spec});
    let mut object = of(spec);
    default(&mut object, old.map(of).as_ref(), gates);
    object["spec"].take()
}

#[test]
fn v1alpha1_gets_a_type_and_its_amounts() {
    let want = json!({"replicas": 1, "revisionHistoryLimit": 10, "updateStrategy": {
        "type": "ReCreate", "partition": 0, "maxUnavailable": "20%", "maxSurge": 0,
    }});
    assert_eq!(defaulted(Version::V1alpha1, &json!({}), None), want);
    assert_eq!(
        defaulted(Version::V1alpha1, &json!({"replicas": null}), None),
        want
    );
    for (kind, has_strategy) in [
        ("InPlaceIfPossible", true),
        ("InPlaceOnly", true),
        ("ReCreate", false),
        ("OnDelete", false),
    ] {
        let spec = defaulted(
            Version::V1alpha1,
            &json!({"updateStrategy": {"type": kind, "maxSurge": 2}}),
            None,
        );
        let strategy = &spec["updateStrategy"];
        assert_eq!(
            (&strategy["type"], &strategy["maxSurge"]),
            (&json!(kind), &json!(2))
        );
        assert_eq!(
            strategy.get("inPlaceUpdateStrategy") == Some(&json!({})),
            has_strategy,
            "{kind}"
        );
    }
}

#[test]
fn v1beta1_gets_them_under_rolling_update_alone() {
    let want = json!({"type": "RollingUpdate", "rollingUpdate": {
        "podUpdatePolicy": "ReCreate", "partition": 0, "maxUnavailable": "20%", "maxSurge": 0,
    }});
    assert_eq!(
        defaulted(Version::V1beta1, &json!({}), None)["updateStrategy"],
        want
    );
    let in_place =
        json!({"updateStrategy": {"rollingUpdate": {"podUpdatePolicy": "InPlaceOnly", "partition": "50%"}}});
    let rolling = &defaulted(Version::V1beta1, &in_place, None)["updateStrategy"]["rollingUpdate"];
    assert_eq!(
        (&rolling["inPlaceUpdateStrategy"], &rolling["partition"]),
        (&json!({}), &json!("50%"))
    );
    for on_delete in [
        json!({"type": "OnDelete"}),
        json!({"type": "OnDelete", "rollingUpdate": {"paused": true}}),
    ] {
        let spec = defaulted(Version::V1beta1, &json!({"updateStrategy": on_delete}), None);
        assert_eq!(spec["updateStrategy"], on_delete);
    }
}

#[test]
fn templates_get_defaults_only_when_they_are_new_or_changed() {
    let spec = |image: &str| {
        json!({
            "template": {"spec": {"containers": [{"name": "c", "image": image, "ports": [{"containerPort": 80}]}]}},
            "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
        })
    };
    for version in Version::ALL {
        let created = defaulted(version, &spec("i:1"), None);
        assert_eq!(created["template"]["spec"]["restartPolicy"], "Always");
        assert_eq!(
            created["template"]["spec"]["containers"][0]["ports"][0]["protocol"],
            "TCP"
        );
        assert_eq!(
            created["volumeClaimTemplates"][0]["spec"]["volumeMode"],
            "Filesystem"
        );
        assert_eq!(created["volumeClaimTemplates"][0]["status"]["phase"], "Pending");
        let untouched = defaulted(version, &spec("i:1"), Some(&spec("i:1")));
        assert_eq!(untouched["template"], spec("i:1")["template"]);
        let changed = defaulted(version, &spec("i:2"), Some(&spec("i:1")));
        assert_eq!(changed["template"]["spec"]["restartPolicy"], "Always");
    }
}

/// Gate `TemplateNoDefaults`.
#[test]
fn templates_stay_as_they_are_written_where_the_gate_says_so() {
    let spec = json!({
        "template": {"spec": {"containers": [{"name": "c", "image": "i"}]}},
        "volumeClaimTemplates": [{"metadata": {"name": "data"}, "spec": {}}],
    });
    let gates = Gates {
        leaves_templates: true,
        ..Gates::default()
    };
    for version in Version::ALL {
        let created = defaulted_by(gates, version, &spec, None);
        for part in ["template", "volumeClaimTemplates"] {
            assert_eq!(created[part], spec[part]);
        }
        assert_eq!(created["replicas"], 1);
    }
}

/// As the types of OpenKruise write them, which compares templates byte by byte.
#[test]
fn amounts_are_written_in_one_notation() {
    let spec = json!({"template": {"spec": {"containers": [{"name": "c", "resources": {
        "requests": {"cpu": 0.5, "memory": "1024Mi", "example.com/gpu": 2},
        "limits": {"cpu": 1, "memory": "1.5Gi", "ephemeral-storage": "lots"},
    }}]}}});
    let resources =
        &defaulted(Version::V1beta1, &spec, None)["template"]["spec"]["containers"][0]["resources"];
    let want = json!({
        "requests": {"cpu": "500m", "memory": "1Gi", "example.com/gpu": "2"},
        "limits": {"cpu": "1", "memory": "1536Mi", "ephemeral-storage": "lots"},
    });
    assert_eq!(*resources, want);
}

#[test]
fn defaults_are_there_at_the_second_time() {
    for version in Version::ALL {
        let once = defaulted(
            version,
            &json!({"template": {"spec": {"containers": [{"name": "c"}]}}}),
            None,
        );
        assert_eq!(defaulted(version, &once, None), once);
    }
}

#[test]
fn other_kinds_are_left_alone() {
    let mut object = json!({"apiVersion": "apps/v1", "kind": "DaemonSet", "spec": {}});
    let before = object.clone();
    default(&mut object, None, Gates::default());
    assert_eq!(object, before);
}

/// A field that nobody wrote can be taken out by nobody.
#[test]
fn the_old_name_of_the_service_account_is_not_written_into_templates() {
    let template = json!({"template": {"spec": {"serviceAccountName": "robot", "containers": []}}});
    let pod = &defaulted(Version::V1beta1, &template, None)["template"]["spec"];
    assert_eq!(
        (&pod["serviceAccountName"], pod.get("serviceAccount")),
        (&json!("robot"), None)
    );
}
