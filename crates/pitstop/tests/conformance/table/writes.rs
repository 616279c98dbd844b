//! Create, update, patches, apply, subresources, dry run, generated names, Strict validation and wrong input.

use http::Method;
use serde_json::{Value, json};

use crate::sequence::{APPLY, Class, JSON_PATCH, MERGE, STRATEGIC, Sequence, seq};

/// A pod that no scheduler and no node touches.
pub(super) fn pod(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Pod",
        "metadata": {"name": name, "labels": {"app": name}},
        "spec": {
            "schedulerName": "nobody",
            "automountServiceAccountToken": false,
            "containers": [{"name": "c", "image": "registry.example/c:1"}],
        },
    })
}

pub(super) fn map(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": name}, "data": {"k": "v"}})
}

pub(super) fn daemon_set(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": name},
        "spec": {
            "selector": {"matchLabels": {"app": name}},
            "template": {
                "metadata": {"labels": {"app": name}},
                "spec": {"containers": [{"name": "c", "image": "registry.example/c:1"}]},
            },
        },
    })
}

fn secret(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": name}, "stringData": {"k": "v"}})
}

fn service(name: &str) -> Value {
    json!({
        "apiVersion": "v1", "kind": "Service", "metadata": {"name": name},
        "spec": {"clusterIP": "None", "selector": {"app": "a"}, "ports": [{"port": 80}]},
    })
}

fn lease(name: &str) -> Value {
    json!({
        "apiVersion": "coordination.k8s.io/v1", "kind": "Lease", "metadata": {"name": name},
        "spec": {"holderIdentity": "me", "leaseDurationSeconds": 15},
    })
}

fn revision(name: &str) -> Value {
    json!({
        "apiVersion": "apps/v1", "kind": "ControllerRevision", "metadata": {"name": name},
        "revision": 1, "data": {"spec": {"template": {}}},
    })
}

fn account(name: &str) -> Value {
    json!({"apiVersion": "v1", "kind": "ServiceAccount", "metadata": {"name": name}})
}

fn bad(mut body: Value, pointer: &str, value: Value) -> Value {
    if let Some(place) = body.pointer_mut(pointer) {
        *place = value;
    }
    body
}

fn with(mut body: Value, pointer: &str, name: &str, value: Value) -> Value {
    if let Some(Value::Object(fields)) = body.pointer_mut(pointer) {
        fields.insert(name.to_owned(), value);
    }
    body
}

pub(super) fn all() -> Vec<Sequence> {
    [
        creates(),
        updates(),
        patches(),
        applies(),
        subresources(),
        dry_runs(),
        generated_names(),
        strict(),
        wrong_input(),
    ]
    .concat()
}

fn creates() -> Vec<Sequence> {
    let create = |name, path: &str, body: Value| {
        let item = body["metadata"]["name"]
            .as_str()
            .map(str::to_owned)
            .unwrap_or_default();
        seq(name, Class::Create)
            .post(path, body.clone())
            .post(path, body)
            .get(&format!("{path}/{item}"))
    };
    vec![
        create("create-config-map", "configmaps", map("a")),
        create("create-secret", "secrets", secret("a")),
        create("create-pod", "pods", pod("a")),
        create("create-service-headless", "services", service("a")),
        create("create-lease", "coordination.k8s.io/leases", lease("a")),
        create("create-revision", "apps/controllerrevisions", revision("a")),
        create("create-daemon-set", "apps/daemonsets", daemon_set("a")),
        create("create-service-account", "serviceaccounts", account("a")),
        create(
            "create-map-binary",
            "configmaps",
            with(map("b"), "", "binaryData", json!({"b": "AAEC"})),
        ),
        create(
            "create-map-immutable",
            "configmaps",
            with(map("i"), "", "immutable", json!(true)),
        ),
        create(
            "create-map-labelled",
            "configmaps",
            with(
                map("l"),
                "/metadata",
                "labels",
                json!({"a.example/x": "y", "z": ""}),
            ),
        ),
        create(
            "create-map-other-namespace",
            "configmaps",
            with(map("n"), "/metadata", "namespace", json!("elsewhere")),
        ),
        create(
            "create-map-with-version",
            "configmaps",
            with(map("v"), "/metadata", "resourceVersion", json!("1")),
        ),
        create(
            "create-map-with-uid",
            "configmaps",
            with(map("u"), "/metadata", "uid", json!("u")),
        ),
        create(
            "create-pod-two-containers",
            "pods",
            bad(
                pod("two"),
                "/spec/containers",
                json!([
                    {"name": "a", "image": "registry.example/a", "ports": [{"containerPort": 80}]},
                    {"name": "b", "image": "registry.example/b:latest",
                     "readinessProbe": {"httpGet": {"port": 80}},
                     "resources": {"limits": {"cpu": "0.5", "memory": "1024Mi"}}},
                ]),
            ),
        ),
        create(
            "create-pod-volumes",
            "pods",
            with(
                pod("vol"),
                "/spec",
                "volumes",
                json!([
                    {"name": "c", "configMap": {"name": "x"}},
                    {"name": "s", "secret": {"secretName": "x"}},
                    {"name": "e", "emptyDir": {}},
                    {"name": "h", "hostPath": {"path": "/x"}},
                ]),
            ),
        ),
        create(
            "create-pod-host-network",
            "pods",
            with(pod("host"), "/spec", "hostNetwork", json!(true)),
        ),
        create(
            "create-namespace-conflict",
            "/api/v1/namespaces",
            json!({"metadata": {"name": "$(ns)"}}),
        ),
    ]
}

fn updates() -> Vec<Sequence> {
    let start = |name| {
        seq(name, Class::Update)
            .post("configmaps", map("a"))
            .keep("rv", "/metadata/resourceVersion")
            .keep("uid", "/metadata/uid")
    };
    let new = || bad(map("a"), "/data/k", json!("w"));
    vec![
        start("update-without-version")
            .put("configmaps/a", new())
            .get("configmaps/a"),
        start("update-with-version")
            .put(
                "configmaps/a",
                with(new(), "/metadata", "resourceVersion", json!("$(rv)")),
            )
            .put(
                "configmaps/a",
                with(new(), "/metadata", "resourceVersion", json!("$(rv)")),
            ),
        start("update-conflict")
            .patch("configmaps/a", MERGE, json!({"data": {"x": "1"}}))
            .put(
                "configmaps/a",
                with(new(), "/metadata", "resourceVersion", json!("$(rv)")),
            ),
        start("update-same")
            .put("configmaps/a", map("a"))
            .get("configmaps/a"),
        start("update-bad-version").put(
            "configmaps/a",
            with(new(), "/metadata", "resourceVersion", json!("x")),
        ),
        start("update-other-uid").put("configmaps/a", with(new(), "/metadata", "uid", json!("other"))),
        start("update-same-uid").put("configmaps/a", with(new(), "/metadata", "uid", json!("$(uid)"))),
        start("update-other-name").put("configmaps/a", map("b")),
        start("update-no-name").put("configmaps/a", json!({"data": {}})),
        start("update-missing").put("configmaps/b", map("b")),
        start("update-to-immutable")
            .put("configmaps/a", with(new(), "", "immutable", json!(true)))
            .put("configmaps/a", map("a"))
            .put(
                "configmaps/a",
                with(bad(map("a"), "/data/k", json!("z")), "", "immutable", json!(true)),
            ),
        seq("update-pod-image", Class::Update)
            .post("pods", pod("a"))
            .patch(
                "pods/a",
                STRATEGIC,
                json!({"spec": {"containers": [{"name": "c", "image": "x:2"}]}}),
            )
            .patch(
                "pods/a",
                STRATEGIC,
                json!({"spec": {"containers": [{"name": "c", "image": ""}]}}),
            )
            .patch("pods/a", MERGE, json!({"spec": {"hostNetwork": true}}))
            .patch("pods/a", MERGE, json!({"spec": {"activeDeadlineSeconds": 5}})),
        seq("update-secret-type", Class::Update)
            .post("secrets", secret("a"))
            .put("secrets/a", with(secret("a"), "", "type", json!("example.com/x"))),
        seq("update-set-selector", Class::Update)
            .post("apps/daemonsets", daemon_set("a"))
            .patch(
                "apps/daemonsets/a",
                MERGE,
                json!({"spec": {"selector": {"matchLabels": {"app": "b"}}}}),
            )
            .patch(
                "apps/daemonsets/a",
                MERGE,
                json!({"spec": {"minReadySeconds": 3}}),
            ),
        seq("update-revision-data", Class::Update)
            .post("apps/controllerrevisions", revision("a"))
            .patch("apps/controllerrevisions/a", MERGE, json!({"revision": 2}))
            .patch("apps/controllerrevisions/a", MERGE, json!({"data": {"x": 1}})),
    ]
}

fn patches() -> Vec<Sequence> {
    let start = |name| seq(name, Class::Patch).post("configmaps", map("a"));
    let on_pod = |name| seq(name, Class::Patch).post("pods", pod("a"));
    let op = |op: &str, path: &str, value: Value| json!([{"op": op, "path": path, "value": value}]);
    vec![
        start("patch-merge").patch("configmaps/a", MERGE, json!({"data": {"n": "1"}})).get("configmaps/a"),
        start("patch-merge-null").patch("configmaps/a", MERGE, json!({"data": {"k": null}})),
        start("patch-merge-empty").patch("configmaps/a", MERGE, json!({})),
        start("patch-merge-name").patch("configmaps/a", MERGE, json!({"metadata": {"name": "b"}})),
        start("patch-merge-uid").patch("configmaps/a", MERGE, json!({"metadata": {"uid": "b"}})),
        start("patch-merge-version")
            .patch("configmaps/a", MERGE, json!({"metadata": {"resourceVersion": "1"}, "data": {"k": "2"}})),
        start("patch-merge-type").patch("configmaps/a", MERGE, json!({"data": {"k": 1}})),
        start("patch-merge-list").patch("configmaps/a", MERGE, json!([1])),
        start("patch-json-add").patch("configmaps/a", JSON_PATCH, op("add", "/data/n", json!("1"))),
        start("patch-json-replace").patch("configmaps/a", JSON_PATCH, op("replace", "/data/k", json!("1"))),
        start("patch-json-missing").patch("configmaps/a", JSON_PATCH, op("replace", "/data/x", json!("1"))),
        start("patch-json-test").patch("configmaps/a", JSON_PATCH, op("test", "/data/k", json!("x"))),
        start("patch-json-remove").patch("configmaps/a", JSON_PATCH, json!([{"op": "remove", "path": "/data"}])),
        start("patch-json-remove-missing")
            .patch("configmaps/a", JSON_PATCH, json!([{"op": "remove", "path": "/data/x"}])),
        start("patch-json-unknown").patch("configmaps/a", JSON_PATCH, op("bad", "/data/k", json!("x"))),
        start("patch-json-object").patch("configmaps/a", JSON_PATCH, json!({"a": 1})),
        start("patch-json-move").patch(
            "configmaps/a",
            JSON_PATCH,
            json!([{"op": "move", "from": "/data/k", "path": "/data/m"}, {"op": "copy", "from": "/data/m", "path": "/data/o"}]),
        ),
        start("patch-unknown-type").patch("configmaps/a", "application/json", json!({})),
        start("patch-missing").patch("configmaps/b", MERGE, json!({})),
        on_pod("patch-strategic-label").patch("pods/a", STRATEGIC, json!({"metadata": {"labels": {"x": "y"}}})),
        on_pod("patch-strategic-image")
            .patch("pods/a", STRATEGIC, json!({"spec": {"containers": [{"name": "c", "image": "i:2"}]}})),
        on_pod("patch-strategic-no-key")
            .patch("pods/a", STRATEGIC, json!({"spec": {"containers": [{"image": "i:2"}]}})),
        on_pod("patch-strategic-delete")
            .patch("pods/a", STRATEGIC, json!({"metadata": {"labels": {"$patch": "replace", "new": "1"}}})),
        on_pod("patch-strategic-tolerations").patch(
            "pods/a",
            STRATEGIC,
            json!({"spec": {"tolerations": [{"key": "x", "operator": "Exists"}]}}),
        ),
    ]
}

fn applies() -> Vec<Sequence> {
    let apply = |s: Sequence, manager: &str, force: bool, body: Value| {
        let path = format!("configmaps/a?fieldManager={manager}&force={force}");
        s.patch(&path, APPLY, body)
    };
    let new = || bad(map("a"), "/data/k", json!("w"));
    let start = |name| seq(name, Class::Apply);
    vec![
        apply(start("apply-create"), "one", false, map("a")),
        apply(
            apply(start("apply-same"), "one", false, map("a")),
            "one",
            false,
            map("a"),
        ),
        apply(
            apply(start("apply-change"), "one", false, map("a")),
            "one",
            false,
            new(),
        ),
        apply(
            apply(start("apply-conflict"), "one", false, map("a")),
            "two",
            false,
            new(),
        ),
        apply(
            apply(start("apply-force"), "one", false, map("a")),
            "two",
            true,
            new(),
        ),
        apply(
            apply(start("apply-share"), "one", false, map("a")),
            "two",
            false,
            map("a"),
        ),
        apply(
            apply(start("apply-remove"), "one", false, map("a")),
            "one",
            false,
            json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "a"}}),
        ),
        start("apply-no-manager").patch("configmaps/a", APPLY, map("a")),
        start("apply-over-create")
            .post("configmaps?fieldManager=creator", map("a"))
            .patch("configmaps/a?fieldManager=one", APPLY, new()),
        apply(
            start("apply-no-kind"),
            "one",
            false,
            json!({"metadata": {"name": "a"}}),
        ),
        apply(start("apply-other-name"), "one", false, map("b")),
        apply(
            start("apply-with-managed"),
            "one",
            false,
            with(map("a"), "/metadata", "managedFields", json!([{"manager": "x"}])),
        ),
        start("apply-pod")
            .patch("pods/a?fieldManager=one", APPLY, pod("a"))
            .patch(
                "pods/a?fieldManager=two",
                APPLY,
                json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "a", "labels": {"two": "2"}}}),
            ),
        start("apply-yaml").raw(
            Method::PATCH,
            "configmaps/a?fieldManager=one",
            APPLY,
            b"apiVersion: v1\nkind: ConfigMap\nmetadata:\n  name: a\ndata:\n  k: v\n",
        ),
        start("apply-unknown-field").patch(
            "configmaps/a?fieldManager=one",
            APPLY,
            with(map("a"), "", "unknown", json!(1)),
        ),
    ]
}

fn subresources() -> Vec<Sequence> {
    let on_pod = |name| seq(name, Class::Subresource).post("pods", pod("a"));
    let on_set = |name| seq(name, Class::Subresource).post("apps/daemonsets", daemon_set("a"));
    let phase = || json!({"status": {"phase": "Running"}});
    let bind = |node: &str| {
        json!({"apiVersion": "v1", "kind": "Binding", "metadata": {"name": "a"},
               "target": {"kind": "Node", "name": node}})
    };
    vec![
        on_pod("status-get").get("pods/a/status"),
        on_pod("status-merge")
            .patch("pods/a/status", MERGE, phase())
            .get("pods/a"),
        on_pod("status-strategic-condition").patch(
            "pods/a/status",
            STRATEGIC,
            json!({"status": {"conditions": [{"type": "Example", "status": "True"}]}}),
        ),
        on_pod("status-ignores-spec").patch("pods/a/status", MERGE, json!({"spec": {"nodeName": "n"}})),
        on_pod("status-via-main")
            .patch("pods/a", MERGE, phase())
            .get("pods/a"),
        on_pod("status-put").put(
            "pods/a/status",
            with(pod("a"), "", "status", json!({"phase": "Failed"})),
        ),
        on_set("status-set")
            .patch(
                "apps/daemonsets/a/status",
                MERGE,
                json!({"status": {"numberReady": 3}}),
            )
            .get("apps/daemonsets/a"),
        on_set("status-set-missing").patch("apps/daemonsets/b/status", MERGE, json!({"status": {}})),
        on_set("status-set-negative").patch(
            "apps/daemonsets/a/status",
            MERGE,
            json!({"status": {"numberReady": -3}}),
        ),
        on_set("scale-of-set").get("apps/daemonsets/a/scale"),
        seq("status-of-map", Class::Subresource)
            .post("configmaps", map("a"))
            .get("configmaps/a/status"),
        on_pod("binding")
            .post("pods/a/binding", bind("nowhere"))
            .get("pods/a")
            .post("pods/a/binding", bind("x")),
        on_pod("binding-no-target").post("pods/a/binding", bind("")),
        on_pod("binding-missing").post("pods/b/binding", bind("x")),
        on_pod("binding-kind").post("pods/a/binding", bad(bind("x"), "/target/kind", json!("Pod"))),
        on_pod("unknown-subresource").get("pods/a/nothing"),
        on_pod("ephemeral-containers").get("pods/a/ephemeralcontainers"),
        seq("namespace-status", Class::Subresource)
            .get("/api/v1/namespaces/$(ns)/status")
            .get("/api/v1/namespaces/$(ns)"),
        seq("namespace-finalize", Class::Subresource).get("/api/v1/namespaces/$(ns)/finalize"),
        on_pod("log-of-unscheduled").get("pods/a/log"),
    ]
}

fn dry_runs() -> Vec<Sequence> {
    let s = |name| seq(name, Class::DryRun);
    let start = |name| s(name).post("configmaps", map("a"));
    vec![
        s("dry-create")
            .post("configmaps?dryRun=All", map("a"))
            .get("configmaps/a"),
        s("dry-create-pod")
            .post("pods?dryRun=All", pod("a"))
            .get("pods/a"),
        s("dry-create-set").post("apps/daemonsets?dryRun=All", daemon_set("a")),
        s("dry-create-secret").post("secrets?dryRun=All", secret("a")),
        s("dry-create-lease").post("coordination.k8s.io/leases?dryRun=All", lease("a")),
        start("dry-create-twice").post("configmaps?dryRun=All", map("a")),
        start("dry-update")
            .put("configmaps/a?dryRun=All", bad(map("a"), "/data/k", json!("w")))
            .get("configmaps/a"),
        start("dry-merge")
            .patch("configmaps/a?dryRun=All", MERGE, json!({"data": {"k": "w"}}))
            .get("configmaps/a"),
        start("dry-delete")
            .delete("configmaps/a?dryRun=All")
            .get("configmaps/a"),
        start("dry-delete-body")
            .delete_with("configmaps/a", json!({"dryRun": ["All"]}))
            .get("configmaps/a"),
        start("dry-delete-missing").delete("configmaps/b?dryRun=All"),
        start("dry-bad").post("configmaps?dryRun=Some", map("b")),
        start("dry-bad-delete").delete("configmaps/a?dryRun=Some"),
        start("dry-bad-patch").patch("configmaps/a?dryRun=", MERGE, json!({"data": {"k": "w"}})),
        s("dry-generate").post(
            "configmaps?dryRun=All",
            json!({"metadata": {"generateName": "g-"}}),
        ),
        s("dry-delete-pod")
            .post("pods", pod("a"))
            .delete("pods/a?dryRun=All")
            .get("pods/a"),
    ]
}

fn generated_names() -> Vec<Sequence> {
    let generate = |name, path: &str, body: Value, prefix: &str| {
        let mut body = with(body, "/metadata", "generateName", json!(prefix));
        if let Some(Value::Object(metadata)) = body.pointer_mut("/metadata") {
            metadata.remove("name");
        }
        seq(name, Class::GenerateName)
            .post(path, body)
            .keep("name", "/metadata/name")
            .get(&format!("{path}/$(name)"))
    };
    let refused = |name, prefix: &str| {
        seq(name, Class::GenerateName).post("configmaps", json!({"metadata": {"generateName": prefix}}))
    };
    let long = "p".repeat(70);
    vec![
        generate("generate-map", "configmaps", map(""), "g-"),
        generate("generate-secret", "secrets", secret(""), "g-"),
        generate("generate-pod", "pods", pod("g"), "g-"),
        generate("generate-lease", "coordination.k8s.io/leases", lease(""), "g-"),
        generate(
            "generate-revision",
            "apps/controllerrevisions",
            revision(""),
            "g-",
        ),
        generate("generate-account", "serviceaccounts", account(""), "g-"),
        generate("generate-set", "apps/daemonsets", daemon_set("g"), "g-"),
        generate("generate-service", "services", service(""), "g-"),
        generate("generate-long", "configmaps", map(""), &long),
        generate("generate-no-dash", "configmaps", map(""), "abc"),
        refused("generate-dots", "a.b."),
        refused("generate-upper", "Bad-"),
        refused("generate-slash", "a/b"),
        seq("generate-and-name", Class::GenerateName).post(
            "configmaps",
            json!({"metadata": {"name": "n", "generateName": "g-"}}),
        ),
        seq("generate-empty", Class::GenerateName)
            .post("configmaps", json!({"metadata": {"generateName": ""}})),
    ]
}

fn strict() -> Vec<Sequence> {
    let s = |name| seq(name, Class::Strict);
    let unknown = || with(map("a"), "", "unknown", json!(1));
    let deep = || with(pod("a"), "/spec", "unknown", json!({"x": 1}));
    let twice: &[u8] = br#"{"metadata": {"name": "a"}, "data": {"k": "1", "k": "2"}}"#;
    let json_type = "application/json";
    vec![
        s("strict-create").post("configmaps?fieldValidation=Strict", unknown()),
        s("warn-create").post("configmaps?fieldValidation=Warn", unknown()),
        s("ignore-create").post("configmaps?fieldValidation=Ignore", unknown()),
        s("default-create").post("configmaps", unknown()),
        s("bad-validation").post("configmaps?fieldValidation=Maybe", unknown()),
        s("strict-deep").post("pods?fieldValidation=Strict", deep()),
        s("warn-deep").post("pods?fieldValidation=Warn", deep()),
        s("strict-twice").raw(
            Method::POST,
            "configmaps?fieldValidation=Strict",
            json_type,
            twice,
        ),
        s("warn-twice").raw(Method::POST, "configmaps?fieldValidation=Warn", json_type, twice),
        s("strict-case").post(
            "configmaps?fieldValidation=Strict",
            with(map("a"), "", "Data", json!({})),
        ),
        s("strict-update")
            .post("configmaps", map("a"))
            .put("configmaps/a?fieldValidation=Strict", unknown()),
        s("strict-merge").post("configmaps", map("a")).patch(
            "configmaps/a?fieldValidation=Strict",
            MERGE,
            json!({"unknown": 1}),
        ),
        s("warn-merge").post("configmaps", map("a")).patch(
            "configmaps/a?fieldValidation=Warn",
            MERGE,
            json!({"unknown": 1}),
        ),
        s("strict-strategic").post("pods", pod("a")).patch(
            "pods/a?fieldValidation=Strict",
            STRATEGIC,
            json!({"spec": {"unknown": 1}}),
        ),
        s("strict-json-patch").post("configmaps", map("a")).patch(
            "configmaps/a?fieldValidation=Strict",
            JSON_PATCH,
            json!([{"op": "add", "path": "/unknown", "value": 1}]),
        ),
        s("strict-yaml").raw(
            Method::POST,
            "configmaps?fieldValidation=Strict",
            "application/yaml",
            b"metadata:\n  name: a\nunknown: 1\n",
        ),
    ]
}

fn wrong_input() -> Vec<Sequence> {
    let s = |name| seq(name, Class::WrongInput);
    let json_type = "application/json";
    let maps = "configmaps";
    let post = |name, body: &[u8]| s(name).raw(Method::POST, maps, json_type, body);
    vec![
        post("wrong-empty", b""),
        post("wrong-cut", b"{\"metadata\": {"),
        post("wrong-array", b"[]"),
        post("wrong-text", b"hello"),
        post("wrong-null", b"null"),
        post("wrong-type", br#"{"metadata": {"name": 1}}"#),
        post(
            "wrong-data-type",
            br#"{"metadata": {"name": "a"}, "data": {"k": {}}}"#,
        ),
        s("wrong-media").raw(Method::POST, maps, "text/plain", b"{}"),
        s("wrong-accept").get(maps).header("accept", "text/html"),
        s("wrong-kind").post(
            maps,
            json!({"apiVersion": "v1", "kind": "Secret", "metadata": {"name": "a"}}),
        ),
        s("wrong-version").post(
            maps,
            json!({"apiVersion": "v2", "kind": "ConfigMap", "metadata": {"name": "a"}}),
        ),
        s("wrong-no-name").post(maps, json!({"data": {}})),
        s("wrong-name").post(maps, map("Not_Valid")),
        s("wrong-data-key").post(maps, with(map("a"), "", "data", json!({"a/b": "x"}))),
        s("wrong-label").post(maps, with(map("a"), "/metadata", "labels", json!({"a b": "c d"}))),
        s("wrong-annotation").post(
            maps,
            with(map("a"), "/metadata", "annotations", json!({"a b": "c d"})),
        ),
        s("wrong-owner").post(
            maps,
            with(
                map("a"),
                "/metadata",
                "ownerReferences",
                json!([{"apiVersion": "v1", "kind": "Pod", "name": "", "uid": ""}]),
            ),
        ),
        s("wrong-finalizer").post(
            maps,
            with(map("a"), "/metadata", "finalizers", json!(["nodomain"])),
        ),
        s("wrong-pod-empty").post(
            "pods",
            json!({"metadata": {"name": "a"}, "spec": {"containers": []}}),
        ),
        s("wrong-pod-image").post("pods", bad(pod("a"), "/spec/containers/0/image", json!(""))),
        s("wrong-pod-names").post(
            "pods",
            bad(
                pod("a"),
                "/spec/containers",
                json!([{"name": "X", "image": "i"}, {"name": "X", "image": "i"}]),
            ),
        ),
        s("wrong-pod-policy").post("pods", with(pod("a"), "/spec", "restartPolicy", json!("Perhaps"))),
        s("wrong-pod-quantity").post(
            "pods",
            with(
                pod("a"),
                "/spec/containers/0",
                "resources",
                json!({"limits": {"cpu": "x"}}),
            ),
        ),
        s("wrong-pod-requests").post(
            "pods",
            with(
                pod("a"),
                "/spec/containers/0",
                "resources",
                json!({"limits": {"cpu": "1"}, "requests": {"cpu": "2"}}),
            ),
        ),
        s("wrong-set-selector").post(
            "apps/daemonsets",
            bad(daemon_set("a"), "/spec/selector/matchLabels/app", json!("other")),
        ),
        s("wrong-path").get("/apis/nothing.example/v1/things"),
        s("wrong-resource").get("nothings"),
        s("wrong-missing").get("configmaps/none"),
        s("wrong-missing-namespace").post("/api/v1/namespaces/none/configmaps", map("a")),
        s("wrong-method").raw(Method::POST, "configmaps/a", json_type, b"{}"),
        s("wrong-put-list").raw(Method::PUT, maps, json_type, b"{}"),
    ]
}
