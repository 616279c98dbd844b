//! Custom kinds with several versions, `scale`, defaults and lists with keys. embedded-cluster.md 9.4, 10.2 and 14.

use futures::StreamExt as _;

use super::hook::Hook;
use super::*;

const DEFINITIONS: &str = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions";
const BOXES_V1: &str = "/apis/example.com/v1/namespaces/default/boxes";
const BOXES_V2: &str = "/apis/example.com/v2/namespaces/default/boxes";

fn version(name: &str, is_stored: bool, spec: &Value) -> Value {
    json!({
        "name": name, "served": true, "storage": is_stored,
        "subresources": {"status": {}, "scale": {
            "specReplicasPath": ".spec.count", "statusReplicasPath": ".status.count",
            "labelSelectorPath": ".status.selector",
        }},
        "schema": {"openAPIV3Schema": {"type": "object", "properties": {
            "spec": {"type": "object", "properties": spec},
            "status": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
        }}},
    })
}

/// What is `size` in v1 is `width` in v2.
fn definition(conversion: &Value) -> Value {
    let part = json!({"type": "object", "required": ["name"], "properties": {
        "name": {"type": "string", "description": "Who it is"}, "value": {"type": "string"},
    }});
    let parts = json!({
        "type": "array", "items": part, "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["name"],
    });
    let count = json!({"type": "integer"});
    json!({
        "apiVersion": "apiextensions.k8s.io/v1", "kind": "CustomResourceDefinition",
        "metadata": {"name": "boxes.example.com"},
        "spec": {
            "group": "example.com", "scope": "Namespaced", "names": {"plural": "boxes", "kind": "Box"},
            "conversion": conversion,
            "versions": [
                version("v1", true, &json!({"size": {"type": "integer"}, "count": count, "parts": parts})),
                version("v2", false, &json!({"width": {"type": "integer"}, "count": count})),
            ],
        },
    })
}

fn convert(path: &str, request: &Value) -> Value {
    if path == "/fail" {
        return json!({"result": {"status": "Failed", "message": "no"}, "convertedObjects": []});
    }
    let wanted = request["desiredAPIVersion"].as_str().unwrap();
    let (from, to) = if wanted == "example.com/v2" {
        ("size", "width")
    } else {
        ("width", "size")
    };
    let convert = |object: &Value| {
        let mut object = object.clone();
        object["apiVersion"] = wanted.into();
        let spec = object["spec"].as_object_mut().unwrap();
        if let Some(value) = spec.remove(from) {
            spec.insert(to.to_owned(), value);
        }
        object
    };
    let objects: Vec<Value> = request["objects"]
        .as_array()
        .unwrap()
        .iter()
        .map(convert)
        .collect();
    json!({"result": {"status": "Success"}, "convertedObjects": objects})
}

fn conversion(hook: &Hook, path: &str) -> Value {
    let url = format!("https://127.0.0.1:{}/{path}", hook.port);
    json!({"strategy": "Webhook", "webhook": {
        "clientConfig": {"url": url, "caBundle": hook.bundle}, "conversionReviewVersions": ["v1"],
    }})
}

fn a_box(version: &str, spec: &Value) -> Value {
    json!({
        "apiVersion": format!("example.com/{version}"), "kind": "Box", "metadata": {"name": "x"}, "spec": spec,
    })
}

async fn with_boxes(conversion: &Value) -> Server {
    let server = Server::new().await;
    server
        .post(DEFINITIONS, &definition(conversion))
        .await
        .expect(201);
    assert!(!server.api.settle_definitions().await);
    server
}

#[tokio::test]
async fn a_webhook_makes_one_version_of_another() {
    let hook = Hook::start(convert).await;
    let server = with_boxes(&conversion(&hook, "convert")).await;
    let made = server
        .post(BOXES_V2, &a_box("v2", &json!({"width": 3})))
        .await
        .expect(201);
    assert_eq!(
        (&made["apiVersion"], &made["spec"]),
        (&json!("example.com/v2"), &json!({"width": 3}))
    );
    let asked = hook.asked();
    assert_eq!(asked[0]["desiredAPIVersion"], "example.com/v1");
    assert_eq!(asked[0]["objects"][0]["metadata"]["uid"], made["metadata"]["uid"]);

    let one = format!("{BOXES_V1}/x");
    let stored = server.get(&one).await.expect(200);
    assert_eq!(stored["spec"], json!({"size": 3}));
    assert_eq!(hook.asked(), Vec::<Value>::new(), "it is stored like this");
    let other = format!("{BOXES_V2}/x");
    assert_eq!(server.get(&other).await.expect(200)["spec"], json!({"width": 3}));
    let list = server.get(BOXES_V2).await.expect(200);
    assert_eq!(list["items"][0]["spec"], json!({"width": 3}));

    let patched = server
        .patch(&other, MERGE, &json!({"spec": {"width": 5}}))
        .await
        .expect(200);
    assert_eq!(patched["spec"], json!({"width": 5}));
    assert_eq!(patched["metadata"]["generation"], 2);
    assert_eq!(server.get(&one).await.expect(200)["spec"], json!({"size": 5}));

    let answer = server
        .send(Method::GET, &format!("{BOXES_V2}?watch=true"), &[], Vec::new())
        .await;
    let frame = answer
        .into_body()
        .into_data_stream()
        .next()
        .await
        .unwrap()
        .unwrap();
    let event: Value = serde_json::from_slice(&frame).unwrap();
    assert_eq!(event["type"], "ADDED");
    assert_eq!(event["object"]["spec"], json!({"width": 5}));
    assert_eq!(event["object"]["apiVersion"], "example.com/v2");
}

#[tokio::test]
async fn what_cannot_be_converted_is_not_shown() {
    let hook = Hook::start(convert).await;
    let server = with_boxes(&conversion(&hook, "fail")).await;
    server
        .post(BOXES_V1, &a_box("v1", &json!({"size": 3})))
        .await
        .expect(201);
    let said = server.get(&format!("{BOXES_V2}/x")).await.expect(500);
    assert_eq!(
        said["message"],
        "conversion webhook for example.com/v1, Kind=Box failed: no"
    );
    let said = server
        .post(BOXES_V2, &a_box("v2", &json!({"width": 3})))
        .await
        .expect(500);
    assert_eq!(
        said["message"],
        "conversion webhook for example.com/v2, Kind=Box failed: no"
    );
}

#[tokio::test]
async fn defaults_that_come_later_are_seen_in_what_is_there() {
    let server = with_boxes(&json!({"strategy": "None"})).await;
    server
        .post(BOXES_V1, &a_box("v1", &json!({"size": 3})))
        .await
        .expect(201);
    let with_default = json!([{"op": "add", "path": "/spec/versions/0/schema/openAPIV3Schema/properties/spec/properties/count/default", "value": 7}]);
    server
        .patch(
            &format!("{DEFINITIONS}/boxes.example.com"),
            "application/json-patch+json",
            &with_default,
        )
        .await
        .expect(200);
    let shown = server.get(&format!("{BOXES_V1}/x")).await.expect(200);
    assert_eq!(shown["spec"], json!({"size": 3, "count": 7}));
    assert_eq!(
        server.get(BOXES_V1).await.expect(200)["items"][0]["spec"]["count"],
        7
    );
}

#[tokio::test]
async fn custom_objects_are_scaled_where_their_definition_says() {
    let server = with_boxes(&json!({"strategy": "None"})).await;
    let scale = format!("{BOXES_V1}/x/scale");
    server
        .post(BOXES_V1, &a_box("v1", &json!({"size": 3})))
        .await
        .expect(201);
    assert_eq!(
        server.get(&scale).await.expect(500)["message"],
        "Internal error occurred: the spec replicas field \".spec.count\" does not exist"
    );
    let count = json!({"spec": {"count": 2}});
    server
        .patch(&format!("{BOXES_V1}/x"), MERGE, &count)
        .await
        .expect(200);
    let status = json!({"status": {"count": 1, "selector": "a=b"}});
    server
        .patch(&format!("{BOXES_V1}/x/status"), MERGE, &status)
        .await
        .expect(200);
    let shown = server.get(&scale).await.expect(200);
    assert_eq!(shown["kind"], "Scale");
    assert_eq!(shown["spec"], json!({"replicas": 2}));
    assert_eq!(shown["status"], json!({"replicas": 1, "selector": "a=b"}));
    let scaled = server
        .patch(&scale, MERGE, &json!({"spec": {"replicas": 4}}))
        .await
        .expect(200);
    assert_eq!(scaled["spec"], json!({"replicas": 4}));
    let object = server.get(&format!("{BOXES_V1}/x")).await.expect(200);
    assert_eq!(object["spec"]["count"], 4);
    assert_eq!(object["metadata"]["generation"], 3);
    let resources = server.get("/apis/example.com/v1").await.expect(200);
    let names: Vec<&str> = resources["resources"]
        .as_array()
        .unwrap()
        .iter()
        .filter_map(|resource| resource["name"].as_str())
        .collect();
    assert_eq!(names, ["boxes", "boxes/status", "boxes/scale"]);
}

#[tokio::test]
async fn lists_with_keys_are_merged_and_described() {
    let server = with_boxes(&json!({"strategy": "None"})).await;
    for (manager, name) in [("one", "a"), ("two", "b")] {
        let part = json!([{"name": name, "value": manager}]);
        let path = format!("{BOXES_V1}/x?fieldManager={manager}");
        let answer = server
            .patch(
                &path,
                "application/apply-patch+yaml",
                &a_box("v1", &json!({"parts": part})),
            )
            .await;
        assert!(answer.code < 300, "{}", answer.json());
    }
    let object = server.get(&format!("{BOXES_V1}/x")).await.expect(200);
    assert_eq!(
        object["spec"]["parts"],
        json!([{"name": "a", "value": "one"}, {"name": "b", "value": "two"}])
    );
    assert_eq!(
        object["metadata"]["managedFields"][1]["fieldsV1"],
        json!({"f:spec": {"f:parts": {"k:{\"name\":\"b\"}": {".": {}, "f:name": {}, "f:value": {}}}}})
    );
    let document = server.get("/openapi/v3/apis/example.com/v1").await.expect(200);
    let schema = &document["components"]["schemas"]["com.example.v1.Box"];
    assert_eq!(
        schema["properties"]["spec"]["properties"]["parts"]["items"]["properties"]["name"]["description"],
        "Who it is"
    );
    assert_eq!(
        schema["x-kubernetes-group-version-kind"],
        json!([{"group": "example.com", "version": "v1", "kind": "Box"}])
    );
    let metadata = schema["properties"]["metadata"]["allOf"][0]["$ref"]
        .as_str()
        .unwrap();
    let metadata = metadata.rsplit('/').next().unwrap();
    assert!(document["components"]["schemas"].get(metadata).is_some());
}
