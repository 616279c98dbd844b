//! Discovery, `OpenAPI`, custom resources and protobuf.

use http::Method;
use serde_json::{Value, json};

use super::writes::map;
use crate::sequence::{Class, MERGE, Sequence, TABLE, seq};

const PROTOBUF: &str = "application/vnd.kubernetes.protobuf";

pub(super) fn all() -> Vec<Sequence> {
    [discovery(), open_api(), custom(), selectable_fields(), protobuf()].concat()
}

fn discovery() -> Vec<Sequence> {
    let get = |name, path: &str| seq(name, Class::Discovery).get(path);
    vec![
        get("discovery-api", "/api"),
        get("discovery-core", "/api/v1"),
        get("discovery-apis", "/apis"),
        get("discovery-apps", "/apis/apps"),
        get("discovery-apps-v1", "/apis/apps/v1"),
        get("discovery-batch", "/apis/batch"),
        get("discovery-batch-v1", "/apis/batch/v1"),
        get("discovery-policy", "/apis/policy"),
        get("discovery-policy-v1", "/apis/policy/v1"),
        get("discovery-coordination", "/apis/coordination.k8s.io"),
        get("discovery-coordination-v1", "/apis/coordination.k8s.io/v1"),
        get("discovery-missing-group", "/apis/none.example"),
        get("discovery-missing-version", "/apis/apps/v9"),
        get("discovery-missing-core", "/api/v2"),
        get("health-readyz", "/readyz"),
        get("health-livez", "/livez"),
        get("health-healthz", "/healthz"),
        get("discovery-aggregated-core", "/api").header(
            "accept",
            "application/json;v=v2;g=apidiscovery.k8s.io;as=APIGroupDiscoveryList,application/json",
        ),
        get("discovery-post", "/none").raw(Method::POST, "/api/v1", "application/json", b"{}"),
    ]
}

fn open_api() -> Vec<Sequence> {
    let get = |name, path: &str| seq(name, Class::OpenApi).get(path);
    vec![
        get("openapi-v3-missing", "/openapi/v3/apis/none.example/v1"),
        get("openapi-v3-missing-core", "/openapi/v3/api/v2"),
    ]
}

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
/// Where the objects of [`definition`] of the kind `Boxe` are.
const BASE: &str = "/apis/$(ns).example.com/v1/namespaces/$(ns)/boxes";

fn definition(kind: &str, schema: &Value) -> Value {
    let plural = format!("{}s", kind.to_lowercase());
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": format!("{plural}.$(ns).example.com")},
        "spec": {
            "group": "$(ns).example.com", "scope": "Namespaced",
            "names": {"plural": plural, "singular": kind.to_lowercase(), "kind": kind, "listKind": format!("{kind}List")},
            "versions": [{"name": "v1", "served": true, "storage": true, "schema": {"openAPIV3Schema": schema},
                          "subresources": {"status": {}}}],
        },
    })
}

fn schema() -> Value {
    json!({"type": "object", "properties": {
        "spec": {"type": "object", "required": ["size"], "properties": {
            "size": {"type": "integer", "minimum": 1}, "colour": {"type": "string", "default": "red"}}},
        "status": {"type": "object", "properties": {"ready": {"type": "boolean"}}}}})
}

fn one(spec: &Value) -> Value {
    json!({"apiVersion": "$(ns).example.com/v1", "kind": "Boxe", "metadata": {"name": "a"}, "spec": spec})
}

fn custom() -> Vec<Sequence> {
    let start = |name| {
        seq(name, Class::Crd)
            .post(DEFINITIONS, definition("Boxe", &schema()))
            .get(BASE)
            .until(200)
    };
    let a = format!("{BASE}/a");
    vec![
        start("custom-create")
            .post(BASE, one(&json!({"size": 1})))
            .get(&a),
        start("custom-prune").post(BASE, one(&json!({"size": 1, "unknown": 2}))),
        start("custom-required").post(BASE, one(&json!({}))),
        start("custom-minimum").post(BASE, one(&json!({"size": 0}))),
        start("custom-type").post(BASE, one(&json!({"size": "x"}))),
        start("custom-merge").post(BASE, one(&json!({"size": 1}))).patch(
            &a,
            MERGE,
            json!({"spec": {"size": 2}}),
        ),
        start("custom-status")
            .post(BASE, one(&json!({"size": 1})))
            .patch(&format!("{a}/status"), MERGE, json!({"status": {"ready": true}}))
            .get(&a),
        start("custom-delete")
            .post(BASE, one(&json!({"size": 1})))
            .delete(&a)
            .get(&a),
        start("custom-no-version")
            .post(BASE, one(&json!({"size": 1})))
            .put(&a, one(&json!({"size": 2}))),
        start("custom-strict").post(
            &format!("{BASE}?fieldValidation=Strict"),
            one(&json!({"size": 1, "x": 1})),
        ),
        start("custom-strategic")
            .post(BASE, one(&json!({"size": 1})))
            .patch(&a, crate::sequence::STRATEGIC, json!({"spec": {"size": 2}})),
        start("custom-table")
            .post(BASE, one(&json!({"size": 1})))
            .get(&a)
            .header("accept", TABLE),
        seq("definition-not-structural", Class::Crd)
            .post(DEFINITIONS, definition("Boxe", &json!({"properties": {}}))),
        seq("definition-no-versions", Class::Crd).post(
            DEFINITIONS,
            json!({"metadata": {"name": "x.y.example"}, "spec": {"group": "y.example"}}),
        ),
        seq("definition-wrong-name", Class::Crd).post(DEFINITIONS, {
            let mut body = definition("Boxe", &schema());
            body["metadata"]["name"] = json!("other");
            body
        }),
    ]
}

/// `selectableFields` of definitions.
fn selectable_fields() -> Vec<Sequence> {
    let with_selectable = |fields: &Value| {
        let mut body = definition("Boxe", &schema());
        body["spec"]["versions"][0]["selectableFields"] = fields.clone();
        body
    };
    let selectable = |name, fields: &Value| seq(name, Class::Crd).post(DEFINITIONS, with_selectable(fields));
    let selected = |name| {
        let mut blue = one(&json!({"size": 2, "colour": "blue"}));
        blue["metadata"]["name"] = json!("b");
        selectable(
            name,
            &json!([{"jsonPath": ".spec.colour"}, {"jsonPath": ".spec.size"}]),
        )
        .get(BASE)
        .until(200)
        .post(BASE, one(&json!({"size": 1})))
        .post(BASE, blue)
    };
    vec![
        selected("custom-selected").get(&format!("{BASE}?fieldSelector=spec.colour%3Dblue")),
        selected("custom-selected-not").get(&format!("{BASE}?fieldSelector=spec.colour!%3Dblue")),
        selected("custom-selected-number")
            .get(&format!("{BASE}?fieldSelector=spec.size%3D1,spec.colour%3Dred")),
        selected("custom-selected-watch")
            .watch(&format!("{BASE}?watch=true&fieldSelector=spec.colour%3Dred"), 1),
        selected("custom-selected-unknown").get(&format!("{BASE}?fieldSelector=spec.other%3D1")),
        selectable("definition-selectable-none", &json!([{}])),
        selectable(
            "definition-selectable-array",
            &json!([{"jsonPath": ".spec.list[0]"}]),
        ),
        selectable(
            "definition-selectable-start",
            &json!([{"jsonPath": "spec.colour"}]),
        ),
        selectable(
            "definition-selectable-unknown",
            &json!([{"jsonPath": ".spec.other"}]),
        ),
        selectable(
            "definition-selectable-metadata",
            &json!([{"jsonPath": ".metadata.name"}]),
        ),
        selectable("definition-selectable-object", &json!([{"jsonPath": ".spec"}])),
        selectable(
            "definition-selectable-twice",
            &json!([{"jsonPath": ".spec.colour"}, {"jsonPath": ".spec.colour"}]),
        ),
    ]
}

/// A protobuf envelope with the fields of a type and its object.
fn envelope(kind: &str, object: &[u8]) -> Vec<u8> {
    let field = |number: u8, bytes: &[u8]| {
        let length = u8::try_from(bytes.len()).unwrap();
        assert!(length < 0x80, "longer lengths take two bytes");
        [&[number << 3 | 2, length], bytes].concat()
    };
    let of_type = [field(1, b"v1"), field(2, kind.as_bytes())].concat();
    [b"k8s\0".to_vec(), field(1, &of_type), field(2, object)].concat()
}

fn protobuf() -> Vec<Sequence> {
    let post = |name, path: &str, body: &[u8]| {
        seq(name, Class::Protobuf)
            .raw(Method::POST, path, PROTOBUF, body)
            .header("accept", "application/json")
    };
    // metadata is field 1, its name is field 1 of it; data of a ConfigMap is field 2, a map entry has fields 1 and 2.
    let named = [0x0a, 0x03, 0x0a, 0x01, b'a'];
    let data = [0x12, 0x06, 0x0a, 0x01, b'k', 0x12, 0x01, b'v'];
    let whole = [&named[..], &data[..]].concat();
    vec![
        post("protobuf-create", "configmaps", &envelope("ConfigMap", &whole)).get("configmaps/a"),
        post("protobuf-secret", "secrets", &envelope("Secret", &whole)).get("secrets/a"),
        post(
            "protobuf-account",
            "serviceaccounts",
            &envelope("ServiceAccount", &named),
        ),
        post("protobuf-wrong-kind", "configmaps", &envelope("Secret", &whole)),
        post("protobuf-unknown-kind", "configmaps", &envelope("Chair", &whole)),
        post("protobuf-no-magic", "configmaps", b"hello"),
        post("protobuf-empty", "configmaps", b""),
        post("protobuf-only-magic", "configmaps", b"k8s\0"),
        post("protobuf-no-name", "configmaps", &envelope("ConfigMap", &data)),
        post(
            "protobuf-dry",
            "configmaps?dryRun=All",
            &envelope("ConfigMap", &whole),
        )
        .get("configmaps/a"),
        post(
            "protobuf-unknown-field",
            "configmaps",
            &envelope("ConfigMap", &[&whole[..], &[0x7a, 0x01, b'x']].concat()),
        ),
        post("protobuf-update", "configmaps", &envelope("ConfigMap", &whole))
            .raw(
                Method::PUT,
                "configmaps/a",
                PROTOBUF,
                &envelope("ConfigMap", &named),
            )
            .header("accept", "application/json"),
        seq("protobuf-delete", Class::Protobuf)
            .post("configmaps", map("a"))
            .delete("configmaps/a")
            .header("accept", "application/json, application/vnd.kubernetes.protobuf"),
        seq("protobuf-table", Class::Protobuf)
            .post("configmaps", map("a"))
            .get("configmaps/a")
            .header(
                "accept",
                "application/vnd.kubernetes.protobuf;as=Chair;v=v1;g=meta.k8s.io,application/json",
            ),
        seq("protobuf-preferred-json", Class::Protobuf)
            .post("configmaps", map("a"))
            .get("configmaps/a")
            .header("accept", "application/json,application/vnd.kubernetes.protobuf"),
    ]
}
