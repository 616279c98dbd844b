//! What is below pods, nodes and services, what is not stored, and the two versions of autoscalers.

use http::Method;
use serde_json::{Value, json};

use super::writes::pod;
use crate::sequence::{APPLY, Class, MERGE, STRATEGIC, Sequence, TABLE, seq};

const FIRST: &str = "/apis/autoscaling/v1/namespaces/$(ns)/horizontalpodautoscalers";
const SECOND: &str = "/apis/autoscaling/v2/namespaces/$(ns)/horizontalpodautoscalers";

pub(super) fn all() -> Vec<Sequence> {
    [
        ephemeral_containers(),
        resizes(),
        proxies(),
        bindings(),
        counters(),
        autoscalers(),
    ]
    .concat()
}

fn on_pod(name: &str) -> Sequence {
    let mut pod = pod("a");
    pod["spec"]["containers"][0]["resources"] = json!({"requests": {"cpu": "1"}});
    seq(name, Class::Subresource).post("pods", pod)
}

fn ephemeral_containers() -> Vec<Sequence> {
    let path = "pods/a/ephemeralcontainers";
    let add = |s: Sequence, container: Value| {
        s.patch(
            path,
            STRATEGIC,
            json!({"spec": {"ephemeralContainers": [container]}}),
        )
    };
    let debug = || json!({"name": "d", "image": "busybox:1"});
    vec![
        add(on_pod("ephemeral-add"), debug()).get("pods/a"),
        add(
            add(on_pod("ephemeral-two"), debug()),
            json!({"name": "e", "image": "i", "targetContainerName": "c"}),
        ),
        add(
            add(on_pod("ephemeral-change"), debug()),
            json!({"name": "d", "image": "other"}),
        ),
        add(on_pod("ephemeral-same-name"), json!({"name": "c", "image": "i"})),
        add(on_pod("ephemeral-no-image"), json!({"name": "d"})),
        add(
            on_pod("ephemeral-target-missing"),
            json!({"name": "d", "image": "i", "targetContainerName": "none"}),
        ),
        add(
            on_pod("ephemeral-forbidden"),
            json!({"name": "d", "image": "i", "ports": [{"containerPort": 80}],
                   "resources": {"limits": {"cpu": "1"}}, "livenessProbe": {"exec": {"command": ["a"]}},
                   "lifecycle": {"preStop": {"exec": {"command": ["a"]}}}}),
        ),
        add(on_pod("ephemeral-remove"), debug()).patch(
            path,
            MERGE,
            json!({"spec": {"ephemeralContainers": null}}),
        ),
        on_pod("ephemeral-missing").patch("pods/b/ephemeralcontainers", MERGE, json!({"spec": {}})),
        on_pod("ephemeral-post").post(path, json!({})),
    ]
}

fn resizes() -> Vec<Sequence> {
    let to = |name, resources: Value| {
        on_pod(name).patch(
            "pods/a/resize",
            STRATEGIC,
            json!({"spec": {"containers": [{"name": "c", "resources": resources}]}}),
        )
    };
    let to_init = |name, container: &str, resources: Value| {
        let mut pod = pod("a");
        let request = json!({"requests": {"cpu": "1"}});
        pod["spec"]["containers"][0]["resources"] = request.clone();
        pod["spec"]["initContainers"] = json!([
            {"name": "first", "image": "i:1", "resources": request},
            {"name": "beside", "image": "i:1", "restartPolicy": "Always", "resources": request},
        ]);
        seq(name, Class::Subresource).post("pods", pod).patch(
            "pods/a/resize",
            STRATEGIC,
            json!({"spec": {"initContainers": [{"name": container, "resources": resources}]}}),
        )
    };
    let more = || json!({"requests": {"cpu": "2"}});
    let other = || json!({"limits": {"example.com/x": "1"}});
    let none = || json!({"requests": {"cpu": null}});
    vec![
        to_init("resize-init", "first", more()).get("pods/a"),
        to_init("resize-init-same", "first", json!({"requests": {"cpu": "1"}})),
        to_init("resize-init-other", "first", other()),
        to_init("resize-init-remove", "first", none()),
        to_init("resize-sidecar", "beside", more()).get("pods/a"),
        to_init("resize-everything", "first", more()).patch(
            "pods/a/resize",
            STRATEGIC,
            json!({"spec": {
                "initContainers": [
                    {"name": "first", "resources": none()},
                    {"name": "beside", "resources": {"requests": {"cpu": null}, "limits": {"example.com/x": "1"}}},
                ],
                "containers": [
                    {"name": "c", "resources": {"requests": {"cpu": null}, "limits": {"example.com/x": "1"}}},
                ],
            }}),
        ),
        to_init("resize-sidecar-other", "beside", other()),
        to_init("resize-sidecar-remove", "beside", none()),
        on_pod("resize-get").get("pods/a/resize"),
        to("resize-cpu", json!({"requests": {"cpu": "2"}})).get("pods/a"),
        to("resize-memory", json!({"requests": {"memory": "1Gi"}})),
        to("resize-below-request", json!({"limits": {"cpu": "500m"}})),
        to("resize-other-resource", json!({"limits": {"example.com/x": "1"}})),
        to("resize-remove", json!({"requests": {"cpu": null}})),
        to("resize-same", json!({"requests": {"cpu": "1"}})),
        on_pod("resize-new-container").patch(
            "pods/a/resize",
            STRATEGIC,
            json!({"spec": {"containers": [{"name": "new", "image": "i"}]}}),
        ),
        on_pod("resize-via-main").patch(
            "pods/a",
            STRATEGIC,
            json!({"spec": {"containers": [{"name": "c", "resources": {"requests": {"cpu": "2"}}}]}}),
        ),
    ]
}

fn proxies() -> Vec<Sequence> {
    let node = "/api/v1/nodes/$(ns)";
    let with_node =
        |name| seq(name, Class::Subresource).post("/api/v1/nodes", json!({"metadata": {"name": "$(ns)"}}));
    vec![
        on_pod("proxy-pod").get("pods/a/proxy"),
        on_pod("proxy-pod-path").get("pods/https:a:80/proxy/some/path?x=y"),
        on_pod("proxy-pod-post").raw(Method::POST, "pods/a:80/proxy/", "text/plain", b"x"),
        on_pod("proxy-pod-missing").get("pods/none/proxy/"),
        seq("proxy-service-missing", Class::Subresource).get("services/none/proxy/"),
        with_node("proxy-node")
            .get(&format!("{node}/proxy/pods"))
            .delete(node),
        seq("proxy-node-missing", Class::Subresource).get("/api/v1/nodes/none/proxy/"),
    ]
}

fn bindings() -> Vec<Sequence> {
    let to =
        |pod: &str, node: &str| json!({"metadata": {"name": pod}, "target": {"kind": "Node", "name": node}});
    vec![
        on_pod("bind-named")
            .post("bindings", to("a", "nowhere"))
            .get("pods/a")
            .post("bindings", to("a", "nowhere")),
        on_pod("bind-nobody").post("bindings", to("", "nowhere")),
        on_pod("bind-missing").post("bindings", to("none", "nowhere")),
        on_pod("bind-no-node").post("bindings", to("a", "")),
        on_pod("bind-dry")
            .post("bindings?dryRun=All", to("a", "nowhere"))
            .get("pods/a"),
        on_pod("bind-list").get("bindings").get("bindings/a"),
        seq("component-missing", Class::Subresource).get("/api/v1/componentstatuses/none"),
        seq("component-watch", Class::Watch).get("/api/v1/componentstatuses?labelSelector=a"),
        seq("component-labels", Class::Selector)
            .get("/api/v1/componentstatuses?labelSelector=none")
            .header("accept", TABLE),
    ]
}

fn counters() -> Vec<Sequence> {
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let make = move |name, resource: &str, status: Value| {
        let selector = json!({"matchLabels": {"app": "a"}});
        let spec = json!({"serviceName": "s", "selector": selector, "template": template});
        let mut body = json!({"metadata": {"name": "a"}, "spec": spec});
        // Nothing for controllers to count, where there are any.
        if resource != "apps/daemonsets" {
            body["spec"]["replicas"] = json!(0);
        }
        if let (false, Some(spec)) = (resource == "apps/statefulsets", body["spec"].as_object_mut()) {
            spec.remove("serviceName");
        }
        seq(name, Class::Subresource).post(resource, body).patch(
            &format!("{resource}/a/status"),
            MERGE,
            json!({"status": status}),
        )
    };
    vec![
        make(
            "counters-deployment",
            "apps/deployments",
            json!({"replicas": 1, "readyReplicas": 2, "availableReplicas": 3}),
        ),
        make("counters-replicas", "apps/replicasets", json!({"replicas": -1})),
        make(
            "counters-stateful",
            "apps/statefulsets",
            json!({"replicas": 3, "readyReplicas": 1, "availableReplicas": 2}),
        ),
        make(
            "counters-collisions",
            "apps/daemonsets",
            json!({"collisionCount": 3}),
        )
        .patch(
            "apps/daemonsets/a/status",
            MERGE,
            json!({"status": {"collisionCount": 2}}),
        ),
    ]
}

fn scaler(version: &str, more: Value) -> Value {
    let mut spec = json!({
        "scaleTargetRef": {"kind": "Deployment", "name": "d", "apiVersion": "apps/v1"}, "maxReplicas": 3,
    });
    if let (Some(spec), Value::Object(more)) = (spec.as_object_mut(), more) {
        spec.extend(more);
    }
    json!({
        "apiVersion": format!("autoscaling/{version}"), "kind": "HorizontalPodAutoscaler",
        "metadata": {"name": "a"}, "spec": spec,
    })
}

/// An autoscaler with all sorts of metrics, of which the first version knows one.
fn of_second(name: &str, class: Class) -> Sequence {
    let average = json!({"type": "AverageValue", "averageValue": "5"});
    let metrics = json!([
        {"type": "Resource", "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 60}}},
        {"type": "Resource", "resource": {"name": "memory", "target": average}},
        {"type": "Pods", "pods": {"metric": {"name": "x"}, "target": average}},
        {"type": "Object", "object": {"describedObject": {"kind": "Service", "name": "s", "apiVersion": "v1"},
            "metric": {"name": "y", "selector": {"matchLabels": {"a": "b"}}}, "target": {"type": "Value", "value": "10"}}},
        {"type": "External", "external": {"metric": {"name": "z"}, "target": average}},
        {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
            "target": {"type": "Utilization", "averageUtilization": 10}}},
    ]);
    let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 10}});
    let more = json!({"metrics": metrics, "behavior": behavior});
    seq(name, class).post(SECOND, scaler("v2", more))
}

fn autoscalers() -> Vec<Sequence> {
    let (first, second) = (format!("{FIRST}/a"), format!("{SECOND}/a"));
    let measured = json!({"status": {"currentReplicas": 1, "desiredReplicas": 2, "currentMetrics": [
        {"type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": 30, "averageValue": "100m"}}},
        {"type": "Resource", "resource": {"name": "memory", "current": {"averageValue": "1Mi"}}},
    ], "conditions": [{"type": "AbleToScale", "status": "True", "reason": "R", "message": "m"}]}});
    let percent = |percent: Value| json!({"spec": {"targetCPUUtilizationPercentage": percent}});
    let none = json!({"metrics": [{"type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": 0}}}]});
    vec![
        seq("autoscaler-first", Class::Create)
            .post(FIRST, scaler("v1", json!({})))
            .get(&second),
        seq("autoscaler-percent", Class::Create)
            .post(
                FIRST,
                scaler(
                    "v1",
                    json!({"targetCPUUtilizationPercentage": 50, "minReplicas": 2}),
                ),
            )
            .get(&second)
            .get(SECOND),
        of_second("autoscaler-second", Class::Create)
            .get(&first)
            .get(FIRST),
        of_second("autoscaler-patch-first", Class::Patch)
            .patch(&first, MERGE, percent(json!(70)))
            .get(&second)
            .patch(&first, MERGE, percent(Value::Null))
            .get(&second),
        of_second("autoscaler-put-first", Class::Update)
            .put(&first, scaler("v1", json!({})))
            .get(&second),
        of_second("autoscaler-status", Class::Subresource)
            .patch(&format!("{second}/status"), MERGE, measured)
            .get(&first)
            .patch(
                &format!("{first}/status"),
                MERGE,
                json!({"status": {"currentReplicas": 5}}),
            )
            .get(&second),
        seq("autoscaler-wrong-first", Class::WrongInput).post(
            FIRST,
            scaler(
                "v1",
                json!({"maxReplicas": 0, "targetCPUUtilizationPercentage": 0}),
            ),
        ),
        seq("autoscaler-zero", Class::WrongInput).post(SECOND, scaler("v2", none)),
        applied_in_both(),
        of_second("autoscaler-table-first", Class::Table)
            .get(&first)
            .header("accept", TABLE),
        of_second("autoscaler-delete-first", Class::Delete)
            .delete(&first)
            .get(&second),
        of_second("autoscaler-watch-first", Class::Watch)
            .watch(&format!("{FIRST}?watch=true&timeoutSeconds=3"), 1),
        seq("discovery-autoscaling-first", Class::Discovery).get("/apis/autoscaling/v1"),
        seq("discovery-autoscaling-second", Class::Discovery).get("/apis/autoscaling/v2"),
    ]
}

fn applied_in_both() -> Sequence {
    let apply = |s: Sequence, place: &str, parameters: &str, body: Value| {
        s.patch(&format!("{place}/a?fieldManager={parameters}"), APPLY, body)
    };
    let more = || scaler("v2", json!({"maxReplicas": 5}));
    let s = seq("autoscaler-apply-both", Class::Apply);
    let s = apply(s, FIRST, "one", scaler("v1", json!({})));
    let s = apply(s, SECOND, "two", more());
    apply(s, SECOND, "two&force=true", more()).get(&format!("{FIRST}/a"))
}
