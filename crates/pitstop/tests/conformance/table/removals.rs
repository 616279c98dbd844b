//! Deletes with preconditions, finalizers, cascades and evictions.

use serde_json::{Value, json};

use super::writes::{map, pod};
use crate::sequence::{Class, MERGE, Sequence, seq};

pub(super) fn all() -> Vec<Sequence> {
    [deletes(), finalizers(), evictions()].concat()
}

fn deletes() -> Vec<Sequence> {
    let start = |name| {
        seq(name, Class::Delete)
            .post("configmaps", map("a"))
            .keep("rv", "/metadata/resourceVersion")
            .keep("uid", "/metadata/uid")
    };
    let given = |options: Value| json!({"preconditions": options});
    let on_pod = |name| seq(name, Class::Delete).post("pods", pod("a"));
    vec![
        start("delete")
            .delete("configmaps/a")
            .get("configmaps/a")
            .delete("configmaps/a"),
        start("delete-uid")
            .delete_with("configmaps/a", given(json!({"uid": "$(uid)"})))
            .get("configmaps/a"),
        start("delete-wrong-uid")
            .delete_with("configmaps/a", given(json!({"uid": "other"})))
            .get("configmaps/a"),
        start("delete-version").delete_with("configmaps/a", given(json!({"resourceVersion": "$(rv)"}))),
        start("delete-old-version")
            .patch("configmaps/a", MERGE, json!({"data": {"x": "y"}}))
            .delete_with("configmaps/a", given(json!({"resourceVersion": "$(rv)"})))
            .get("configmaps/a"),
        start("delete-both").delete_with(
            "configmaps/a",
            given(json!({"uid": "$(uid)", "resourceVersion": "$(rv)"})),
        ),
        start("delete-bad-body").delete_with("configmaps/a", json!({"preconditions": 1})),
        start("delete-other-kind").delete_with("configmaps/a", json!({"apiVersion": "v1", "kind": "Pod"})),
        start("delete-bad-grace").delete_with("configmaps/a", json!({"gracePeriodSeconds": -1})),
        start("delete-bad-policy").delete_with("configmaps/a", json!({"propagationPolicy": "Some"})),
        start("delete-two-policies").delete_with(
            "configmaps/a",
            json!({"propagationPolicy": "Orphan", "orphanDependents": true}),
        ),
        on_pod("delete-pod-unscheduled").delete("pods/a").get("pods/a"),
        on_pod("delete-pod-now")
            .delete("pods/a?gracePeriodSeconds=0")
            .get("pods/a"),
        on_pod("delete-pod-bound")
            .post(
                "pods/a/binding",
                json!({"metadata": {"name": "a"}, "target": {"kind": "Node", "name": "nowhere"}}),
            )
            .delete_with("pods/a", json!({"gracePeriodSeconds": 60}))
            .delete_with("pods/a", json!({"gracePeriodSeconds": 0}))
            .get("pods/a"),
        start("delete-collection")
            .post("configmaps", map("b"))
            .delete("configmaps?fieldSelector=metadata.name%3Db")
            .get("configmaps/a")
            .get("configmaps/b"),
        seq("delete-collection-none", Class::Delete).delete("secrets?labelSelector=a%3Db"),
    ]
}

fn held(name: &str, finalizers: Value) -> Value {
    let mut body = map(name);
    body["metadata"]["finalizers"] = finalizers;
    body
}

fn owned(name: &str, blocks: bool) -> Value {
    let mut body = map(name);
    body["metadata"]["ownerReferences"] = json!([
        {"apiVersion": "v1", "kind": "ConfigMap", "name": "a", "uid": "$(uid)", "blockOwnerDeletion": blocks}
    ]);
    body
}

fn finalizers() -> Vec<Sequence> {
    let own = || json!(["example.com/f"]);
    let start = |name| seq(name, Class::Finalizer).post("configmaps", held("a", own()));
    let family = |name| {
        seq(name, Class::Finalizer)
            .post("configmaps", map("a"))
            .keep("uid", "/metadata/uid")
            .post("configmaps", owned("b", false))
    };
    let policy = |policy: &str| json!({"propagationPolicy": policy});
    let none = || json!({"metadata": {"finalizers": null}});
    vec![
        start("finalizer-holds")
            .delete("configmaps/a")
            .get("configmaps/a"),
        start("finalizer-released")
            .delete("configmaps/a")
            .patch("configmaps/a", MERGE, none())
            .get("configmaps/a"),
        start("finalizer-first")
            .patch("configmaps/a", MERGE, none())
            .delete("configmaps/a")
            .get("configmaps/a"),
        start("finalizer-twice")
            .delete("configmaps/a")
            .delete("configmaps/a"),
        start("finalizer-added-late").delete("configmaps/a").patch(
            "configmaps/a",
            MERGE,
            json!({"metadata": {"finalizers": ["example.com/f", "example.com/g"]}}),
        ),
        start("finalizer-update-while").delete("configmaps/a").patch(
            "configmaps/a",
            MERGE,
            json!({"data": {"k": "w"}}),
        ),
        start("finalizer-recreate")
            .delete("configmaps/a")
            .post("configmaps", map("a")),
        start("finalizer-dry")
            .delete("configmaps/a?dryRun=All")
            .get("configmaps/a"),
        start("finalizer-policy-orphan").delete_with("configmaps/a", policy("Orphan")),
        start("finalizer-timestamp").patch(
            "configmaps/a",
            MERGE,
            json!({"metadata": {"deletionTimestamp": "2020-01-01T00:00:00Z"}}),
        ),
        family("cascade-background")
            .delete_with("configmaps/a", policy("Background"))
            .get("configmaps/b")
            .until(404),
        family("cascade-default")
            .delete("configmaps/a")
            .get("configmaps/b")
            .until(404),
        family("cascade-orphan")
            .delete_with("configmaps/a", policy("Orphan"))
            .get("configmaps/a")
            .until(404)
            .get("configmaps/b"),
        family("cascade-foreground")
            .delete_with("configmaps/a", policy("Foreground"))
            .get("configmaps/a")
            .until(404)
            .get("configmaps/b"),
        seq("cascade-namespace", Class::Finalizer)
            .post("/api/v1/namespaces", json!({"metadata": {"name": "$(ns)-2"}}))
            .delete("/api/v1/namespaces/$(ns)-2")
            .get("/api/v1/namespaces/$(ns)-2")
            .until(404),
    ]
}

fn evictions() -> Vec<Sequence> {
    let eviction =
        |name: &str| json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": name}});
    let budget = |spec: Value| json!({"apiVersion": "policy/v1", "kind": "PodDisruptionBudget", "metadata": {"name": "b"}, "spec": spec});
    let on_a = || json!({"matchLabels": {"app": "a"}});
    let start = |name| seq(name, Class::Eviction).post("pods", pod("a"));
    let evict = |s: Sequence, body: Value| s.post("pods/a/eviction", body).get("pods/a");
    vec![
        evict(start("evict-pending"), eviction("a")),
        evict(
            start("evict-no-name"),
            json!({"apiVersion": "policy/v1", "kind": "Eviction"}),
        ),
        evict(start("evict-other-name"), eviction("b")),
        evict(
            start("evict-wrong-kind"),
            json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a"}}),
        ),
        evict(
            start("evict-old-version"),
            json!({"apiVersion": "policy/v1beta1", "kind": "Eviction", "metadata": {"name": "a"}}),
        ),
        evict(
            start("evict-dry"),
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"}, "deleteOptions": {"dryRun": ["All"]}}),
        ),
        evict(
            start("evict-precondition"),
            json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": "a"},
                   "deleteOptions": {"preconditions": {"uid": "other"}}}),
        ),
        start("evict-missing").post("pods/none/eviction", eviction("none")),
        start("evict-get").get("pods/a/eviction"),
        seq("budget-create", Class::Eviction).post(
            "policy/poddisruptionbudgets",
            budget(json!({"maxUnavailable": 1, "selector": on_a()})),
        ),
        seq("budget-both", Class::Eviction).post(
            "policy/poddisruptionbudgets",
            budget(json!({"maxUnavailable": 1, "minAvailable": 1, "selector": on_a()})),
        ),
        seq("budget-negative", Class::Eviction).post(
            "policy/poddisruptionbudgets",
            budget(json!({"minAvailable": -1, "selector": on_a()})),
        ),
        seq("budget-percent", Class::Eviction).post(
            "policy/poddisruptionbudgets",
            budget(json!({"minAvailable": "50%", "selector": on_a()})),
        ),
        seq("budget-bad-percent", Class::Eviction).post(
            "policy/poddisruptionbudgets",
            budget(json!({"minAvailable": "half", "selector": on_a()})),
        ),
        seq("budget-policy", Class::Eviction).post(
            "policy/poddisruptionbudgets",
            budget(json!({"minAvailable": 1, "selector": on_a(), "unhealthyPodEvictionPolicy": "Never"})),
        ),
        seq("budget-empty", Class::Eviction).post("policy/poddisruptionbudgets", budget(json!({}))),
    ]
}
