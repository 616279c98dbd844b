//! Kinds that are stored, and what describes all kinds: tables, discovery and `OpenAPI` documents.

use serde_json::{Value, json};

use super::writes::map;
use crate::sequence::{Class, JSON_PATCH, MERGE, STRATEGIC, Sequence, TABLE, seq};

pub(super) fn all() -> Vec<Sequence> {
    [made(), tables(), described(), documents(), lists(), patches()].concat()
}

fn object(kind: &str, fields: Value) -> Value {
    let mut body = json!({"kind": kind, "metadata": {"name": "a"}});
    if let (Some(body), Value::Object(fields)) = (body.as_object_mut(), fields) {
        body.extend(fields);
    }
    body
}

fn versioned(api_version: &str, kind: &str, fields: Value) -> Value {
    let mut body = object(kind, fields);
    body["apiVersion"] = api_version.into();
    body
}

/// Kinds on whose objects nobody acts in these sequences.
fn made() -> Vec<Sequence> {
    let create = |name, path: &str, body: Value| {
        seq(name, Class::Create)
            .post(path, body)
            .get(&format!("{path}/a"))
            .patch(
                &format!("{path}/a"),
                MERGE,
                json!({"metadata": {"labels": {"x": "y"}}}),
            )
            .delete(&format!("{path}/a"))
    };
    let template = json!({"metadata": {"labels": {"app": "a"}}, "spec": {"containers": [{"name": "c", "image": "i:1"}]}});
    let selector = json!({"matchLabels": {"app": "a"}});
    let networking = "/apis/networking.k8s.io/v1/namespaces/$(ns)";
    vec![
        create(
            "create-limit-range",
            "limitranges",
            versioned(
                "v1",
                "LimitRange",
                json!({"spec": {"limits": [{"type": "Container", "max": {"cpu": "1"}}]}}),
            ),
        ),
        create(
            "create-quota",
            "resourcequotas",
            versioned(
                "v1",
                "ResourceQuota",
                json!({"spec": {"hard": {"configmaps": "100"}}}),
            ),
        ),
        create(
            "create-pod-template",
            "podtemplates",
            versioned("v1", "PodTemplate", json!({"template": template})),
        ),
        create(
            "create-stateful-set",
            "apps/statefulsets",
            versioned(
                "apps/v1",
                "StatefulSet",
                json!({"spec": {"serviceName": "s", "selector": selector, "template": template}}),
            ),
        ),
        create(
            "create-cron-job",
            "batch/cronjobs",
            versioned(
                "batch/v1",
                "CronJob",
                json!({"spec": {"schedule": "0 0 1 1 *", "suspend": true, "jobTemplate": {"spec": {"template": {
                    "spec": {"restartPolicy": "Never", "containers": [{"name": "c", "image": "i:1"}]}}}}}}),
            ),
        ),
        create(
            "create-ingress",
            &format!("{networking}/ingresses"),
            versioned(
                "networking.k8s.io/v1",
                "Ingress",
                json!({"spec": {"defaultBackend": {"service": {"name": "s", "port": {"number": 80}}}}}),
            ),
        ),
        create(
            "create-network-policy",
            &format!("{networking}/networkpolicies"),
            versioned(
                "networking.k8s.io/v1",
                "NetworkPolicy",
                json!({"spec": {"podSelector": {}}}),
            ),
        ),
        create(
            "create-role",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/$(ns)/roles",
            versioned(
                "rbac.authorization.k8s.io/v1",
                "Role",
                json!({"rules": [{"apiGroups": [""], "resources": ["pods"], "verbs": ["get"]}]}),
            ),
        ),
        create(
            "create-role-binding",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/$(ns)/rolebindings",
            versioned(
                "rbac.authorization.k8s.io/v1",
                "RoleBinding",
                json!({"subjects": [{"kind": "ServiceAccount", "name": "default"}],
                       "roleRef": {"apiGroup": "rbac.authorization.k8s.io", "kind": "Role", "name": "a"}}),
            ),
        ),
    ]
}

fn tables() -> Vec<Sequence> {
    let list = |name, path: &str| seq(name, Class::Table).get(path).header("accept", TABLE);
    vec![
        list("table-deployments", "apps/deployments"),
        list("table-replica-sets", "apps/replicasets"),
        list("table-stateful-sets", "apps/statefulsets"),
        list("table-jobs", "batch/jobs"),
        list("table-cron-jobs", "batch/cronjobs"),
        list("table-budgets", "policy/poddisruptionbudgets"),
        list("table-endpoints", "endpoints"),
        list("table-claims", "persistentvolumeclaims"),
        list("table-quotas", "resourcequotas"),
        list(
            "table-roles",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/$(ns)/roles",
        ),
        list(
            "table-bindings",
            "/apis/rbac.authorization.k8s.io/v1/namespaces/$(ns)/rolebindings",
        ),
        list(
            "table-ingresses",
            "/apis/networking.k8s.io/v1/namespaces/$(ns)/ingresses",
        ),
        list(
            "table-slices",
            "/apis/discovery.k8s.io/v1/namespaces/$(ns)/endpointslices",
        ),
    ]
}

fn described() -> Vec<Sequence> {
    let get = |name, path: &str| seq(name, Class::Discovery).get(path);
    vec![
        get("discovery-autoscaling", "/apis/autoscaling"),
        get("discovery-events", "/apis/events.k8s.io"),
        get("discovery-events-v1", "/apis/events.k8s.io/v1"),
        get("discovery-networking-v1", "/apis/networking.k8s.io/v1"),
        get("discovery-scheduling-v1", "/apis/scheduling.k8s.io/v1"),
        get("discovery-rbac-v1", "/apis/rbac.authorization.k8s.io/v1"),
        get("discovery-authorization-v1", "/apis/authorization.k8s.io/v1"),
        get("discovery-slices-v1", "/apis/discovery.k8s.io/v1"),
    ]
}

fn documents() -> Vec<Sequence> {
    let get = |name, path: &str| seq(name, Class::OpenApi).get(path);
    vec![
        get("openapi-v3-missing-version", "/openapi/v3/apis/apps/v9"),
        get("openapi-v3-missing-group", "/openapi/v3/apis/none.example"),
        get("openapi-v3-missing-root", "/openapi/v3/none"),
        get("openapi-v3-missing-kind", "/openapi/v3/apis/apps/v1/daemonsets"),
        get("openapi-v3-version-alone", "/openapi/v3/v1"),
        get("openapi-v4", "/openapi/v4"),
        get("openapi-v1", "/openapi/v1"),
        get("openapi-alone", "/openapi"),
        get("openapi-v3-accept", "/openapi/v3/api/v2").header("accept", "text/html"),
        get("openapi-v3-hash", "/openapi/v3/apis/none.example/v1?hash=x"),
        get("openapi-v3-custom", "/openapi/v3/apis/$(ns).example.com/v1"),
        get("openapi-v3-case", "/openapi/v3/apis/Apps/v1"),
        get("openapi-v2-below", "/openapi/v2/definitions"),
    ]
}

fn lists() -> Vec<Sequence> {
    let list = |name, query: &str| {
        seq(name, Class::Selector)
            .post("configmaps", map("a"))
            .get(&format!("configmaps?{query}"))
    };
    vec![
        list("select-comma-alone", "labelSelector=,"),
        list("select-two-commas", "labelSelector=a,,b"),
        list("select-empty-set", "labelSelector=a+in+()"),
        list("select-two-words", "labelSelector=a+b"),
        list("select-open-set", "labelSelector=a+in+(x"),
        list("select-no-key", "labelSelector=%3Da"),
        list("select-above", "labelSelector=a%3E5"),
        list("select-above-text", "labelSelector=a%3Ex"),
        list("select-not-alone", "labelSelector=!"),
        list("select-not-equal-value", "labelSelector=!a%3Db"),
        list("select-bad-value", "labelSelector=a%3D-b"),
        list(
            "select-two-fields",
            "fieldSelector=metadata.name%3Da,metadata.namespace%3D$(ns)",
        ),
    ]
}

fn patches() -> Vec<Sequence> {
    let start = |name, class| seq(name, class).post("configmaps", map("a"));
    let patch = |name, kind, body: Value| start(name, Class::Patch).patch("configmaps/a", kind, body);
    vec![
        patch(
            "patch-merge-labels",
            MERGE,
            json!({"metadata": {"labels": {"a b": "c"}}}),
        ),
        patch(
            "patch-merge-annotations",
            MERGE,
            json!({"metadata": {"annotations": {"a": "b"}}}),
        ),
        patch("patch-merge-metadata-null", MERGE, json!({"metadata": null})),
        patch("patch-merge-kind", MERGE, json!({"kind": "Secret"})),
        patch("patch-merge-number", MERGE, json!(1)),
        patch("patch-json-empty", JSON_PATCH, json!([])),
        patch("patch-json-numbers", JSON_PATCH, json!([1])),
        patch(
            "patch-json-deep",
            JSON_PATCH,
            json!([{"op": "add", "path": "/metadata/labels/x", "value": "y"}]),
        ),
        patch(
            "patch-json-copy-missing",
            JSON_PATCH,
            json!([{"op": "copy", "from": "/data/none", "path": "/data/x"}]),
        ),
        patch("patch-strategic-null", STRATEGIC, json!({"data": null})),
        patch(
            "patch-strategic-directive",
            STRATEGIC,
            json!({"data": {"$patch": "none", "a": "b"}}),
        ),
        patch("patch-merge-force", MERGE, json!({})).patch("configmaps/a?force=true", MERGE, json!({})),
    ]
}
