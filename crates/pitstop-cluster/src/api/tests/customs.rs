//! Kinds that definitions bring. embedded-cluster.md 14; answers are those of kube-apiserver 1.34.

use super::*;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
pub(super) const WIDGETS: &str = "/apis/example.com/v1/namespaces/default/widgets";

fn definition() -> Value {
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "widgets.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced",
            "names": {"plural": "widgets", "kind": "Widget", "shortNames": ["wd"], "categories": ["all"]},
            "versions": [
                {
                    "name": "v1", "served": true, "storage": true, "subresources": {"status": {}},
                    "additionalPrinterColumns": [
                        {"name": "Replicas", "type": "integer", "jsonPath": ".spec.replicas"},
                        {"name": "Ready", "type": "string", "jsonPath": ".status.conditions[?(@.type==\"Ready\")].status"},
                    ],
                    "schema": {"openAPIV3Schema": {"type": "object", "required": ["spec"], "properties": {
                        "spec": {"type": "object", "required": ["must"], "properties": {
                            "must": {"type": "string"},
                            "replicas": {"type": "integer", "default": 1, "minimum": 0},
                        }},
                        "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
                    }}},
                },
                {
                    "name": "v2", "served": true, "storage": false,
                    "schema": {"openAPIV3Schema": {"type": "object", "x-kubernetes-preserve-unknown-fields": true}},
                },
            ],
        },
    })
}

pub(super) fn widget(spec: &Value) -> Value {
    json!({"apiVersion": "example.com/v1", "kind": "Widget", "metadata": {"name": "x"}, "spec": spec})
}

pub(super) async fn with_widgets() -> Server {
    let server = Server::new().await;
    server.post(DEFINITIONS, &definition()).await.expect(201);
    assert!(!server.api.settle_definitions().await);
    server
}

#[tokio::test]
async fn a_definition_is_established_and_served_at_once() {
    let server = Server::new().await;
    server.get(WIDGETS).await.expect(404);
    let etag = |answer: &Answer| answer.headers.get(ETAG).cloned();
    let aggregated = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";
    let before = etag(&server.get_as("/apis", aggregated).await);
    let made = server.post(DEFINITIONS, &definition()).await.expect(201);
    assert_eq!(made["spec"]["names"]["singular"], "widget");
    assert_eq!(made["spec"]["names"]["listKind"], "WidgetList");
    assert_eq!(made["spec"]["conversion"], json!({"strategy": "None"}));
    assert_eq!(made["status"]["storedVersions"], json!(["v1"]));
    server.api.settle_definitions().await;
    let kept = server
        .get(&format!("{DEFINITIONS}/widgets.example.com"))
        .await
        .expect(200);
    let at = "2026-01-02T03:04:05Z";
    assert_eq!(
        kept["status"]["conditions"],
        json!([
            {"type": "NamesAccepted", "status": "True", "lastTransitionTime": at, "reason": "NoConflicts", "message": "no conflicts found"},
            {"type": "Established", "status": "True", "lastTransitionTime": at, "reason": "InitialNamesAccepted", "message": "the initial names have been accepted"},
        ])
    );
    assert_eq!(kept["status"]["acceptedNames"], kept["spec"]["names"]);
    let group = server.get("/apis/example.com").await.expect(200);
    assert_eq!(group["preferredVersion"]["version"], "v2");
    let resources = server.get("/apis/example.com/v1").await.expect(200);
    let names: Vec<&str> = resources["resources"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|r| r["name"].as_str())
        .collect();
    assert_eq!(names, ["widgets", "widgets/status"]);
    assert_ne!(etag(&server.get_as("/apis", aggregated).await), before, "trap 26");
    server.get("/openapi/v3/apis/example.com/v1").await.expect(200);
}

#[tokio::test]
async fn definitions_are_validated() {
    let server = Server::new().await;
    let with = |change: fn(&mut Value)| {
        let mut definition = definition();
        change(&mut definition);
        definition
    };
    let start = "CustomResourceDefinition.apiextensions.k8s.io \"widgets.example.com\" is invalid: ";
    let cases: Vec<(Value, &str)> = vec![
        (
            with(|d| d["spec"]["scope"] = json!("X")),
            "spec.scope: Unsupported value: \"X\": supported values: \"Cluster\", \"Namespaced\"",
        ),
        (
            with(|d| d["spec"]["versions"][0]["schema"] = json!({"openAPIV3Schema": {"type": "string"}})),
            "spec.validation.openAPIV3Schema.type: Invalid value: \"string\": must be object at the root",
        ),
        (
            with(
                |d| d["spec"]["versions"][0]["schema"] = json!({"openAPIV3Schema": {"type": "object", "properties": {"a": {}, "b": {"type": "array"}, "c": {"type": "foo"}}}}),
            ),
            "[spec.validation.openAPIV3Schema.properties[a].type: Required value: must not be empty for specified object fields, spec.validation.openAPIV3Schema.properties[b].items: Required value: must be specified, spec.validation.openAPIV3Schema.properties[c].type: Unsupported value: \"foo\": supported values: \"array\", \"boolean\", \"integer\", \"number\", \"object\", \"string\"]",
        ),
        (
            with(|d| {
                d["spec"]["versions"][0]["additionalPrinterColumns"] =
                    json!([{"name": "", "type": "x", "jsonPath": "a"}]);
            }),
            "[spec.additionalPrinterColumns[0].name: Required value, spec.additionalPrinterColumns[0].type: Invalid value: \"x\": must be one of boolean,date,integer,number,string, spec.additionalPrinterColumns[0].JSONPath: Invalid value: \"a\": must be a simple json path starting with .]",
        ),
    ];
    for (body, wanted) in cases {
        let refused = server.post(DEFINITIONS, &body).await.expect(422);
        assert_eq!(refused["message"], format!("{start}{wanted}"));
    }
}

/// embedded-cluster.md 20, example 26.
#[tokio::test]
async fn objects_are_pruned_filled_in_and_validated() {
    let server = with_widgets().await;
    let unknown = widget(&json!({"must": "a", "unknown": 1}));
    let strict = server
        .post(&format!("{WIDGETS}?fieldValidation=Strict"), &unknown)
        .await
        .expect(400);
    assert!(
        strict["message"]
            .as_str()
            .unwrap()
            .contains("unknown field \"spec.unknown\""),
        "{strict}"
    );
    let made = server.post(WIDGETS, &unknown).await;
    assert_eq!(
        made.headers.get("warning").unwrap(),
        "299 - \"unknown field \\\"spec.unknown\\\"\""
    );
    let made = made.expect(201);
    assert_eq!(made["spec"], json!({"must": "a", "replicas": 1}));
    assert_eq!(made["metadata"]["generation"], 1);
    let refused = server
        .post(WIDGETS, &widget(&json!({"must": 1, "replicas": "a"})))
        .await
        .expect(422);
    assert_eq!(
        refused["message"],
        "Widget.example.com \"x\" is invalid: [spec.must: Invalid value: \"integer\": spec.must in body must be of type \
         string: \"integer\", spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \
         \"string\"]"
    );
    assert_eq!(refused["details"]["causes"][0]["reason"], "FieldValueTypeInvalid");
    let strategic = server
        .patch(&format!("{WIDGETS}/x"), STRATEGIC, &json!({}))
        .await
        .expect(415);
    assert!(
        strategic["message"]
            .as_str()
            .unwrap()
            .contains("application/apply-patch+yaml")
    );
    let nameless = server
        .post(WIDGETS, &json!({"metadata": {"name": "z"}}))
        .await
        .expect(400);
    assert!(
        nameless["message"]
            .as_str()
            .unwrap()
            .contains("Object 'Kind' is missing in")
    );
}

/// embedded-cluster.md 20, example 4.
#[tokio::test]
async fn spec_and_status_are_written_apart() {
    let server = with_widgets().await;
    let mut body = widget(&json!({"must": "a"}));
    body["status"] = json!({"a": 1});
    let made = server.post(WIDGETS, &body).await.expect(201);
    assert_eq!(made.get("status"), None);
    let one = format!("{WIDGETS}/x");
    let change = json!({"metadata": {"labels": {"a": "b"}}, "spec": {"replicas": 5}, "status": {"conditions": [{"type": "Ready", "status": "True"}]}});
    let status = server
        .patch(&format!("{one}/status"), MERGE, &change)
        .await
        .expect(200);
    assert_eq!(status["spec"]["replicas"], 1);
    assert_eq!(status["metadata"].get("labels"), None);
    assert_eq!(status["metadata"]["generation"], 1);
    let spec = server.patch(&one, MERGE, &change).await.expect(200);
    assert_eq!(spec["spec"]["replicas"], 5);
    assert_eq!(spec["metadata"]["generation"], 2);
    assert_eq!(spec["metadata"]["labels"], json!({"a": "b"}));
    let table = server
        .get_as(WIDGETS, "application/json;as=Table;v=v1;g=meta.k8s.io")
        .await
        .expect(200);
    assert_eq!(table["rows"][0]["cells"], json!(["x", 5, "True"]));
    let other = "/apis/example.com/v2/namespaces/default/widgets";
    let other = server.get(&format!("{other}/x")).await.expect(200);
    assert_eq!(other["apiVersion"], "example.com/v2");
    assert_eq!(other["spec"], spec["spec"]);
    server
        .get("/apis/example.com/v2/namespaces/default/widgets/x/status")
        .await
        .expect(404);
}

/// embedded-cluster.md 14, rule 6.
#[tokio::test]
async fn a_definition_goes_when_its_last_object_has_gone() {
    let server = with_widgets().await;
    let mut body = widget(&json!({"must": "a"}));
    body["metadata"]["finalizers"] = json!(["a.b/c"]);
    server.post(WIDGETS, &body).await.expect(201);
    let path = format!("{DEFINITIONS}/widgets.example.com");
    server.delete(&path, &json!({})).await.expect(200);
    server.api.settle_definitions().await;
    assert!(server.api.settle_definitions().await, "an object is left");
    let kept = server.get(&path).await.expect(200);
    assert_eq!(
        kept["status"]["conditions"][2]["message"],
        "CustomResource deletion is in progress"
    );
    let mut another = widget(&json!({"must": "a"}));
    another["metadata"]["name"] = json!("q");
    assert_eq!(
        server.post(WIDGETS, &another).await.expect(403)["message"],
        "widgets.example.com \"q\" is forbidden: create not allowed while custom resource definition is terminating"
    );
    let release = json!({"metadata": {"finalizers": null}});
    server
        .patch(&format!("{WIDGETS}/x"), MERGE, &release)
        .await
        .expect(200);
    assert!(!server.api.settle_definitions().await);
    server.get(&path).await.expect(404);
    assert_eq!(
        server.get(WIDGETS).await.expect(404),
        Value::Null,
        "not even the group is left"
    );
    server.post(DEFINITIONS, &definition()).await.expect(201);
    server.api.settle_definitions().await;
    assert_eq!(server.get(WIDGETS).await.expect(200)["items"], json!([]));
}

#[tokio::test]
async fn what_definitions_brought_is_there_again_after_a_restart() {
    let folder = tempfile::tempdir().unwrap();
    let open = || {
        let setup = Setup {
            data: Some(folder.path().to_owned()),
            clock: Arc::new(pitstop_api::SystemClock),
            seed: Some(1),
            authorization: Authorization::AlwaysAllow,
        };
        let clock = Arc::new(HandClock(Mutex::new("2026-01-02T03:04:05Z".parse().unwrap())));
        Server {
            api: Arc::new(Api::open(setup).unwrap()),
            clock,
        }
    };
    let server = open();
    server
        .post("/api/v1/namespaces", &json!({"metadata": {"name": "default"}}))
        .await
        .expect(201);
    server.post(DEFINITIONS, &definition()).await.expect(201);
    server.api.settle_definitions().await;
    server
        .post(WIDGETS, &widget(&json!({"must": "a"})))
        .await
        .expect(201);
    server.api.close();
    drop(server);
    let server = open();
    assert_eq!(
        server.get(&format!("{WIDGETS}/x")).await.expect(200)["spec"]["must"],
        "a"
    );
}
