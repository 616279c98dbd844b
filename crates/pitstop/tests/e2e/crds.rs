//! Kinds that definitions bring, as a user sees them with kubectl: on our server and on a real one the same.

use crate::real::Plane;
use crate::world::{World, kubectl_is_there, squeezed};

const DEFINITION: &str = r#"
apiVersion: apiextensions.k8s.io/v1
kind: CustomResourceDefinition
metadata:
  name: widgets.crds.example.com
spec:
  group: crds.example.com
  scope: Namespaced
  names: {plural: widgets, kind: Widget, shortNames: [wd]}
  versions:
  - name: v1
    served: true
    storage: true
    subresources:
      status: {}
      scale: {specReplicasPath: .spec.replicas, statusReplicasPath: .status.replicas}
    additionalPrinterColumns:
    - {name: Replicas, type: integer, jsonPath: .spec.replicas}
    - {name: Ready, type: string, jsonPath: '.status.conditions[?(@.type=="Ready")].status'}
    schema:
      openAPIV3Schema:
        type: object
        required: [spec]
        properties:
          spec:
            type: object
            required: [image]
            properties:
              image: {type: string}
              replicas: {type: integer, default: 1, minimum: 0}
              parts:
                type: array
                x-kubernetes-list-type: map
                x-kubernetes-list-map-keys: [name]
                items:
                  type: object
                  required: [name]
                  properties: {name: {type: string}, color: {type: string}}
          status:
            type: object
            x-kubernetes-preserve-unknown-fields: true
"#;

const WIDGET: &str = "
apiVersion: crds.example.com/v1
kind: Widget
metadata: {name: one, namespace: default}
spec: {image: a}
";

const PART: &str = "
apiVersion: crds.example.com/v1
kind: Widget
metadata: {name: one, namespace: default}
spec:
  parts:
  - {name: NAME, color: red}
";

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_comes_is_used_and_goes() {
    if !kubectl_is_there() {
        return;
    }
    widgets(World::embedded(&["node-1"], None).await).await;
}

#[tokio::test(flavor = "multi_thread")]
async fn a_kind_comes_is_used_and_goes_on_a_real_control_plane() {
    let Some(plane) = Plane::take().await else { return };
    let kubectl = plane.kubectl();
    widgets(World::real(plane, kubectl, &["node-1"], None).await).await;
}

async fn widgets(world: World) {
    let apply = |text: &'static str| world.kubectl_with(&["apply", "-f", "-"], text);
    assert!(apply(DEFINITION).await.status.success());
    let definition = "crd/widgets.crds.example.com";
    world
        .kubectl(&["wait", "--for=condition=Established", definition, "--timeout=60s"])
        .await;
    let said = apply(WIDGET).await;
    assert!(said.status.success(), "{}", said.stderr);
    world
        .kubectl(&[
            "patch",
            "widget",
            "one",
            "--type=merge",
            "-p",
            r#"{"spec":{"replicas":3}}"#,
        ])
        .await;
    let ready = r#"{"status":{"conditions":[{"type":"Ready","status":"True"}]}}"#;
    world
        .kubectl(&[
            "patch",
            "wd",
            "one",
            "--subresource=status",
            "--type=merge",
            "-p",
            ready,
        ])
        .await;
    world
        .kubectl(&["wait", "widget/one", "--for=condition=Ready", "--timeout=60s"])
        .await;
    let table = squeezed(&world.kubectl(&["get", "wd"]).await);
    assert_eq!(table.trim(), "NAME REPLICAS READY one 3 True");
    let said = world.kubectl(&["scale", "widget", "one", "--replicas=5"]).await;
    assert_eq!(said, "widget.crds.example.com/one scaled\n");
    let path = "jsonpath={.spec.replicas}";
    assert_eq!(world.kubectl(&["get", "widget", "one", "-o", path]).await, "5");
    for (manager, part) in [("first", "a"), ("second", "b")] {
        let manager = format!("--field-manager={manager}");
        let part = PART.replace("NAME", part);
        let said = world
            .kubectl_with(&["apply", "--server-side", &manager, "-f", "-"], &part)
            .await;
        assert!(said.status.success(), "{}", said.stderr);
    }
    let path = "jsonpath={.spec.parts[*].name}";
    assert_eq!(world.kubectl(&["get", "widget", "one", "-o", path]).await, "a b");
    let wrong = r#"{"spec":{"replicas":"many"}}"#;
    let said = world
        .kubectl_any(&["patch", "widget", "one", "--type=merge", "-p", wrong])
        .await;
    assert!(
        said.stderr.contains(
            "spec.replicas: Invalid value: \"string\": spec.replicas in body must be of type integer: \"string\""
        ),
        "{}",
        said.stderr
    );
    world.kubectl(&["delete", definition, "--timeout=60s"]).await;
    let said = world.kubectl_any(&["get", "widgets"]).await;
    let gone = "Error from server (NotFound): Unable to list \"crds.example.com/v1, Resource=widgets\": the server could not";
    assert!(said.stderr.starts_with(gone), "{}", said.stderr);
    world.stop().await;
}
