use proptest::prelude::*;
use serde_json::json;

use super::*;
use crate::kinds;

const PROTOBUF: Option<&str> = Some("application/vnd.kubernetes.protobuf");

fn kind(name: &str) -> &'static Kind {
    kinds::all().iter().find(|kind| kind.kind == name).unwrap()
}

fn daemon_set(body: &Value) -> Result<Decoded, DecodeError> {
    decode(
        kind("DaemonSet"),
        Some("application/json"),
        body.to_string().as_bytes(),
    )
}

fn hex(text: &str) -> Vec<u8> {
    let digits: Vec<char> = text.chars().filter(|c| !c.is_whitespace()).collect();
    digits
        .chunks(2)
        .map(|pair| u8::from_str_radix(&pair.iter().collect::<String>(), 16).unwrap())
        .collect()
}

/// embedded-cluster.md 20, example 23.
#[test]
fn the_body_of_kubectl_create_namespace_decodes() {
    let body = hex(
        "6b387300 0a0f 0a027631 1209 4e616d657370616365 121c 0a14 0a04 7465616d 1200 1a00 2200 2a00 3200 3800 4200 \
         1200 1a02 0a00 1a00 2200",
    );
    let decoded = decode(kind("Namespace"), PROTOBUF, &body).unwrap();
    assert_eq!(
        decoded.object,
        json!({"apiVersion": "v1", "kind": "Namespace", "metadata": {"name": "team"}})
    );
    assert!(decoded.strict_errors.is_empty());
}

/// embedded-cluster.md 4.2.3.
#[test]
fn delete_options_tell_absent_grace_from_zero() {
    let without = hex("6b387300 0a13 0a027631 120d 44656c6574654f7074696f6e73 1200 1a00 2200");
    let with = hex("6b387300 0a13 0a027631 120d 44656c6574654f7074696f6e73 1202 0800 1a00 2200");
    let options = |body: &[u8]| decode_as("meta/v1.DeleteOptions", PROTOBUF, body).unwrap().object;
    assert_eq!(
        options(&without),
        json!({"apiVersion": "v1", "kind": "DeleteOptions"})
    );
    assert_eq!(options(&with)["gracePeriodSeconds"], 0);
}

/// embedded-cluster.md 4.2.1: inlined wrappers are merged into the parent, maps and special messages become JSON.
#[test]
fn protobuf_pods_become_the_same_json() {
    // Pod{metadata{name p, labels{app: x}}, spec{volumes[{name v, volumeSource{configMap{localObjectReference{name c}}}}]}}
    let reference = message(1, &message(1, b"c"));
    let source = message(19, &reference);
    let volume = [message(1, b"v"), message(2, &source)].concat();
    let label = [message(1, b"app"), message(2, b"x")].concat();
    let metadata = [message(1, b"p"), message(11, &label)].concat();
    let port = [message(4, &[0x08, 0x00, 0x10, 0x50])].concat();
    let get = [message(1, b"/live"), message(2, &port[2..])].concat();
    let probe = message(1, &message(2, &get));
    let container = [message(1, b"a"), message(10, &probe), varint(18, 1)].concat();
    let spec = [message(1, &volume), message(2, &container), varint(4, 0)].concat();
    let pod = [message(1, &metadata), message(2, &spec)].concat();
    let type_meta = [message(1, b"v1"), message(2, b"Pod")].concat();
    let body = [b"k8s\0".to_vec(), message(1, &type_meta), message(2, &pod)].concat();
    let decoded = decode(kind("Pod"), PROTOBUF, &body).unwrap();
    assert_eq!(
        decoded.object,
        json!({
            "apiVersion": "v1", "kind": "Pod",
            "metadata": {"name": "p", "labels": {"app": "x"}},
            "spec": {
                "volumes": [{"name": "v", "configMap": {"name": "c"}}],
                "containers": [{"name": "a", "tty": true, "livenessProbe": {"httpGet": {"path": "/live", "port": 80}}}],
                "terminationGracePeriodSeconds": 0,
            },
        })
    );
}

fn message(number: u8, content: &[u8]) -> Vec<u8> {
    let mut bytes = Vec::new();
    let tag = (u32::from(number) << 3) | 2;
    for value in [tag, u32::try_from(content.len()).unwrap()] {
        let mut value = value;
        while value >= 0x80 {
            bytes.push(u8::try_from(value & 0x7f).unwrap() | 0x80);
            value >>= 7;
        }
        bytes.push(u8::try_from(value).unwrap());
    }
    bytes.extend_from_slice(content);
    bytes
}

fn varint(number: u8, value: u8) -> Vec<u8> {
    let mut tag = message(number, &[]);
    tag.pop();
    tag[0] &= !7;
    tag.push(value);
    tag
}

/// embedded-cluster.md 6.5.
#[test]
fn unknown_and_duplicate_fields_are_named_and_dropped() {
    let body = br#"{"apiVersion":"apps/v1","kind":"DaemonSet","metadata":{"name":"x","nam":1},
        "spec":{"foo":1,"minReadySeconds":1,"minReadySeconds":2,
        "template":{"spec":{"containers":[{"name":"a","imag":"b"}]}}},"status":{}}"#;
    let decoded = decode(kind("DaemonSet"), None, body).unwrap();
    assert_eq!(
        decoded.strict_errors,
        [
            r#"duplicate field "spec.minReadySeconds""#,
            r#"unknown field "metadata.nam""#,
            r#"unknown field "spec.foo""#,
            r#"unknown field "spec.template.spec.containers[0].imag""#,
        ]
    );
    assert_eq!(
        decoded.object,
        json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "x"},
            "spec": {"minReadySeconds": 2, "template": {"spec": {"containers": [{"name": "a"}]}}},
            "status": {
                "currentNumberScheduled": 0, "desiredNumberScheduled": 0, "numberMisscheduled": 0, "numberReady": 0,
            },
        })
    );
}

#[test]
fn values_of_the_wrong_type_are_refused_in_upstreams_words() {
    let cases = [
        (
            json!({"spec": {"minReadySeconds": "1"}}),
            "json: cannot unmarshal string into Go struct field DaemonSetSpec.spec.minReadySeconds of type int32",
        ),
        (
            json!({"spec": {"minReadySeconds": 1.5}}),
            "json: cannot unmarshal number 1.5 into Go struct field DaemonSetSpec.spec.minReadySeconds of type int32",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": {}}}}}),
            "json: cannot unmarshal object into Go struct field PodSpec.spec.template.spec.containers of type []v1.Container",
        ),
        (
            json!({"spec": {"template": {"spec": {"containers": [{"image": 1}]}}}}),
            "json: cannot unmarshal number into Go struct field Container.spec.template.spec.containers.image of type string",
        ),
        (
            json!({"spec": {"template": {"spec": {"restartPolicy": true}}}}),
            "json: cannot unmarshal bool into Go struct field PodSpec.spec.template.spec.restartPolicy of type v1.RestartPolicy",
        ),
        (
            json!({"metadata": {"labels": {"a": 1}}}),
            "json: cannot unmarshal number into Go struct field ObjectMeta.metadata.labels of type string",
        ),
    ];
    for (body, wanted) in cases {
        let wanted = format!("DaemonSet in version \"v1\" cannot be handled as a DaemonSet: {wanted}");
        assert_eq!(daemon_set(&body).unwrap_err().to_string(), wanted);
    }
}

/// embedded-cluster.md 5.
#[test]
fn the_type_of_the_body_is_that_of_the_url() {
    let error = daemon_set(&json!({"apiVersion": "apps/v1beta1", "kind": "DaemonSet"})).unwrap_err();
    assert_eq!(
        error.to_string(),
        "DaemonSet in version \"v1beta1\" cannot be handled as a DaemonSet: no kind \"DaemonSet\" is registered for version \
         \"apps/v1beta1\" in scheme \"pkg/runtime/scheme.go:110\""
    );
    let error = daemon_set(&json!({"apiVersion": "apps/v1", "kind": "Deployment"})).unwrap_err();
    assert!(
        error
            .to_string()
            .starts_with("Deployment in version \"v1\" cannot be handled as a DaemonSet: ")
    );
    assert_eq!(daemon_set(&json!({})).unwrap().object["kind"], "DaemonSet");
}

#[test]
fn content_types_are_json_yaml_and_protobuf() {
    let config_map = kind("ConfigMap");
    let yaml = b"metadata:\n  name: a\ndata:\n  n: \"1\"\n";
    let decoded = decode(config_map, Some("application/yaml"), yaml).unwrap();
    assert_eq!(decoded.object["data"], json!({"n": "1"}));
    assert!(decode(config_map, Some("application/json; charset=utf-8"), b"{}").is_ok());
    assert!(matches!(
        decode(config_map, Some("text/plain"), b"{}"),
        Err(DecodeError::UnsupportedMediaType(_))
    ));
    assert!(matches!(
        decode(config_map, None, b"{"),
        Err(DecodeError::Malformed(_))
    ));
    assert!(matches!(
        decode(config_map, None, b"[]"),
        Err(DecodeError::Malformed(_))
    ));
}

/// Traps 21 and 23: nulls and empty values mean absent, pointers keep their zero, quantities and times have one form.
#[test]
fn an_object_has_one_form() {
    let body = json!({
        "metadata": {"name": "p", "creationTimestamp": null, "labels": {}, "annotations": {"a": null}, "finalizers": []},
        "spec": {
            "terminationGracePeriodSeconds": 0, "hostNetwork": false, "nodeName": "", "securityContext": {},
            "containers": [{
                "name": "a", "resources": {"requests": {"cpu": 0.5, "memory": "1024Mi"}},
                "env": [{"name": "E", "value": ""}],
            }],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
        "status": {"startTime": "2026-01-02T03:04:05.6+01:00"},
    });
    let decoded = decode(kind("Pod"), None, body.to_string().as_bytes()).unwrap();
    let wanted = json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": "p", "annotations": {"a": ""}},
        "spec": {
            "terminationGracePeriodSeconds": 0, "securityContext": {},
            "containers": [{
                "name": "a", "resources": {"requests": {"cpu": "500m", "memory": "1Gi"}}, "env": [{"name": "E"}],
            }],
            "volumes": [{"name": "v", "emptyDir": {}}],
        },
        "status": {"startTime": "2026-01-02T02:04:05Z"},
    });
    assert_eq!(decoded.object, wanted);
    assert_eq!(clean(kind("Pod"), wanted.clone()).unwrap().object, wanted);
}

/// The data of a revision is read back by clients byte for byte.
#[test]
fn the_data_of_a_revision_is_kept_as_sent() {
    let data = json!({"spec": {"template": {"$patch": "replace", "metadata": {"creationTimestamp": null}, "x": []}}});
    let body = json!({"metadata": {"name": "r"}, "revision": 0, "data": data});
    let decoded = decode(kind("ControllerRevision"), None, body.to_string().as_bytes()).unwrap();
    assert_eq!(decoded.object["data"], data);
    assert!(decoded.strict_errors.is_empty());
}

fn any_json() -> impl Strategy<Value = Value> {
    let leaf = prop_oneof![
        Just(Value::Null),
        any::<bool>().prop_map(Value::from),
        any::<i64>().prop_map(Value::from),
        any::<f64>().prop_map(Value::from),
        "[a-z0-9$/:.]{0,6}".prop_map(Value::from),
    ];
    let name = prop_oneof![
        prop::sample::select(vec![
            "metadata",
            "spec",
            "status",
            "template",
            "containers",
            "labels",
            "name",
            "ports",
            "volumes",
            "env",
            "resources",
            "limits",
            "apiVersion",
            "kind",
            "data",
            "creationTimestamp",
        ])
        .prop_map(str::to_owned),
        "[a-z]{1,3}",
    ];
    leaf.prop_recursive(6, 64, 6, move |inner| {
        prop_oneof![
            prop::collection::vec(inner.clone(), 0..4).prop_map(Value::from),
            prop::collection::btree_map(name.clone(), inner, 0..6)
                .prop_map(|map| Value::Object(map.into_iter().collect())),
        ]
    })
}

proptest! {
    #[test]
    fn decoding_bytes_never_panics(bytes in prop::collection::vec(any::<u8>(), 0..200)) {
        for kind in kinds::all() {
            let _ = decode(kind, None, &bytes);
            let enveloped = [b"k8s\0\x12".as_slice(), &[u8::try_from(bytes.len().min(127)).unwrap()], &bytes].concat();
            let _ = decode(kind, PROTOBUF, &enveloped);
        }
    }

    #[test]
    fn shaping_a_shaped_object_changes_nothing(value in any_json()) {
        for kind in kinds::all() {
            if let Ok(decoded) = clean(kind, value.clone()) {
                let again = clean(kind, decoded.object.clone()).unwrap();
                prop_assert_eq!(again.object, decoded.object);
                prop_assert!(again.strict_errors.is_empty());
            }
        }
    }

    #[test]
    fn defaulting_twice_is_defaulting_once(value in any_json()) {
        for kind in kinds::all() {
            if let Ok(decoded) = clean(kind, value.clone()) {
                check_default(kind, decoded.object);
            }
        }
    }

    #[test]
    fn rules_and_cells_take_any_object(value in any_json(), old in any_json()) {
        let creation = kinds::Creation::at(jiff::Timestamp::UNIX_EPOCH);
        for kind in kinds::all() {
            for mut object in [value.clone(), json!({"spec": value, "status": value, "metadata": value})] {
                (kind.default)(&mut object);
                (kind.prepare_update)(&mut object, &old);
                (kind.prepare_create)(&mut object, &creation);
                let _ = kinds::validate_metadata(kind, &object);
                let _ = (kind.validate)(&object);
                let _ = (kind.validate_update)(&object, &old);
                prop_assert_eq!((kind.cells)(&object, creation.now).len(), kind.columns.len());
            }
        }
    }
}

/// One object of each kind, encoded by the library that Kubernetes clients use. See tools/schema/samples.
#[test]
fn bodies_of_go_clients_mean_the_same_in_protobuf_and_json() {
    let samples = include_str!("samples.tsv");
    let mut checked = std::collections::BTreeSet::new();
    for line in samples.lines() {
        let [group, version, name, protobuf, json] = line.split('\t').collect::<Vec<_>>()[..] else {
            panic!("{line}")
        };
        let Some(kind) = kinds::find_kind(group, version, name) else {
            continue;
        };
        checked.insert((group, version, name));
        let from_protobuf = decode(kind, PROTOBUF, &hex(protobuf)).unwrap();
        let from_json = decode(kind, None, json.as_bytes()).unwrap();
        assert_eq!(from_protobuf, from_json, "{name}");
        assert_eq!(from_json.strict_errors, Vec::<String>::new(), "{name}");
        let (mut kept, mut given) = (from_json.object, serde_json::from_str(json).unwrap());
        strip_empty(&mut kept);
        strip_empty(&mut given);
        assert_eq!(kept, given, "{name}");
    }
    // Definitions come as JSON: the schema in them has a form of its own in protobuf.
    for kind in kinds::all()
        .iter()
        .filter(|kind| kind.group != "apiextensions.k8s.io" && kind.verbs.contains(&"get"))
        .filter(|kind| kind.is_stored())
    {
        let name = (kind.group, kind.version, kind.kind);
        assert!(checked.contains(&name), "no sample of {name:?}");
    }
}

/// Removes everything that could stand for an absent field.
fn strip_empty(value: &mut Value) {
    match value {
        Value::Object(fields) => {
            fields.values_mut().for_each(strip_empty);
            let empty = [
                json!(null),
                json!({}),
                json!([]),
                json!(""),
                json!(0),
                json!(false),
                json!("0"),
            ];
            fields.retain(|_, value| !empty.contains(value));
        }
        Value::Array(values) => values.iter_mut().for_each(strip_empty),
        _ => {}
    }
}

/// Traps 6 and 8: a stored object is not changed by being written again.
#[test]
fn defaulting_again_changes_nothing() {
    for line in include_str!("samples.tsv").lines() {
        let columns: Vec<&str> = line.split('\t').collect();
        let Some(kind) = kinds::find_kind(columns[0], columns[1], columns[2]) else {
            continue;
        };
        check_default(kind, decode(kind, None, columns[4].as_bytes()).unwrap().object);
    }
}

fn check_default(kind: &Kind, mut object: Value) {
    (kind.default)(&mut object);
    let mut again = object.clone();
    (kind.default)(&mut again);
    assert_eq!(again, object, "{}", kind.kind);
    let mut cleaned = clean(kind, object.clone()).unwrap().object;
    (kind.default)(&mut cleaned);
    assert_eq!(cleaned, object, "{}", kind.kind);
}
