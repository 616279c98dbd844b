//! Who may do what, asked over the API. Answers are those of kube-apiserver 1.34.

use super::*;

const RBAC: &str = "/apis/rbac.authorization.k8s.io/v1";
const REVIEWS: &str = "/apis/authorization.k8s.io/v1";

impl Server {
    /// A server that decides by roles, with the default ones.
    async fn guarded() -> Self {
        let server = Self::authorizing(Authorization::Rbac).await;
        for namespace in ["kube-system", "kube-public", "kube-node-lease"] {
            let namespace = json!({"metadata": {"name": namespace}});
            server.post("/api/v1/namespaces", &namespace).await.expect(201);
        }
        server.api.clone().ensure_defaults().await.unwrap();
        server
    }

    async fn call_as(&self, user: &str, method: Method, path: &str, body: &Value) -> Answer {
        let body = if body.is_null() {
            Vec::new()
        } else {
            body.to_string().into_bytes()
        };
        let mut headers = vec![("impersonate-user", user)];
        if user.starts_with("system:node:") {
            headers.push(("impersonate-group", "system:nodes"));
        }
        if method == Method::PATCH {
            headers.push(("content-type", MERGE));
        }
        self.call(method, path, &headers, body).await
    }

    async fn get_by(&self, user: &str, path: &str) -> Answer {
        self.call_as(user, Method::GET, path, &Value::Null).await
    }
}

#[tokio::test]
async fn nothing_is_allowed_that_no_role_allows() {
    let server = Server::guarded().await;
    let refused = server.get_by("bob", PODS).await.expect(403);
    assert_eq!(
        refused,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\"",
            "reason": "Forbidden", "details": {"kind": "pods"}, "code": 403,
        })
    );
    let unknown = server.get_by("bob", "/apis/nope.io/v1/foos/x").await.expect(403);
    assert_eq!(
        unknown["message"],
        "foos.nope.io \"x\" is forbidden: User \"bob\" cannot get resource \"foos\" in API group \"nope.io\" at the cluster scope"
    );
    assert_eq!(
        server.get_by("bob", "/foo").await.expect(403)["message"],
        "forbidden: User \"bob\" cannot get path \"/foo\""
    );
    for open in [
        "/api",
        "/apis",
        "/apis/apps/v1",
        "/healthz",
        "/version",
        "/openapi/v2",
    ] {
        assert_eq!(server.get_by("bob", open).await.code, 200, "{open}");
    }
    let role = json!({
        "metadata": {"name": "reader"},
        "rules": [{"verbs": ["get", "list"], "apiGroups": [""], "resources": ["pods"]}],
    });
    let roles = format!("{RBAC}/namespaces/default/roles");
    server.post(&roles, &role).await.expect(201);
    let binding = json!({
        "metadata": {"name": "bob"}, "roleRef": {"kind": "Role", "name": "reader"},
        "subjects": [{"kind": "User", "name": "bob"}],
    });
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    let bound = server.post(&bindings, &binding).await.expect(201);
    assert_eq!(bound["roleRef"]["apiGroup"], "rbac.authorization.k8s.io");
    assert_eq!(bound["subjects"][0]["apiGroup"], "rbac.authorization.k8s.io");
    server.get_by("bob", PODS).await.expect(200);
    server.get_by("bob", "/api/v1/pods").await.expect(403);
    server
        .delete(&format!("{roles}/reader"), &json!({}))
        .await
        .expect(200);
    assert_eq!(
        server.get_by("bob", PODS).await.expect(403)["message"],
        "pods is forbidden: User \"bob\" cannot list resource \"pods\" in API group \"\" in the namespace \"default\": \
         RBAC: role.rbac.authorization.k8s.io \"reader\" not found"
    );
}

#[tokio::test]
async fn roles_and_bindings_are_validated() {
    let server = Server::new().await;
    let cases = [
        (
            "clusterroles",
            json!({"metadata": {"name": "x"}, "rules": [{"verbs": ["get"], "nonResourceURLs": ["/a"], "resources": ["y"]}], "aggregationRule": {}}),
            "ClusterRole.rbac.authorization.k8s.io \"x\" is invalid: [rules[0].nonResourceURLs: Invalid value: [\"/a\"]: rules cannot apply to both regular resources and non-resource URLs, aggregationRule.clusterRoleSelectors: Required value: at least one clusterRoleSelector required if aggregationRule is non-nil]",
        ),
        (
            "namespaces/default/roles",
            json!({"metadata": {"name": "a/b"}, "rules": [{"apiGroups": [""], "resources": ["pods"]}, {"verbs": ["get"]}]}),
            "Role.rbac.authorization.k8s.io \"a/b\" is invalid: [metadata.name: Invalid value: \"a/b\": may not contain '/', rules[0].verbs: Required value: verbs must contain at least one value, rules[1].apiGroups: Required value: resource rules must supply at least one api group, rules[1].resources: Required value: resource rules must supply at least one resource]",
        ),
        (
            "namespaces/default/rolebindings",
            json!({"metadata": {"name": "x"}, "roleRef": {"kind": "Foo", "name": ""}, "subjects": [{"kind": "User"}, {"kind": "Foo", "name": "b"}, {"kind": "Group", "name": "g", "apiGroup": "zz"}]}),
            "RoleBinding.rbac.authorization.k8s.io \"x\" is invalid: [roleRef.kind: Unsupported value: \"Foo\": supported values: \"Role\", \"ClusterRole\", roleRef.name: Required value, subjects[0].name: Required value, subjects[1].kind: Unsupported value: \"Foo\": supported values: \"ServiceAccount\", \"User\", \"Group\", subjects[2].apiGroup: Unsupported value: \"zz\": supported values: \"rbac.authorization.k8s.io\"]",
        ),
        (
            "clusterrolebindings",
            json!({"metadata": {"name": "x"}, "roleRef": {"kind": "Role", "name": "z", "apiGroup": "q"}}),
            "ClusterRoleBinding.rbac.authorization.k8s.io \"x\" is invalid: [roleRef.apiGroup: Unsupported value: \"q\": supported values: \"rbac.authorization.k8s.io\", roleRef.kind: Unsupported value: \"Role\": supported values: \"ClusterRole\"]",
        ),
    ];
    for (plural, body, wanted) in cases {
        let refused = server.post(&format!("{RBAC}/{plural}"), &body).await.expect(422);
        assert_eq!(refused["message"], wanted);
    }
    let binding =
        |role: &str| json!({"metadata": {"name": "x"}, "roleRef": {"kind": "ClusterRole", "name": role}});
    let path = format!("{RBAC}/clusterrolebindings");
    server.post(&path, &binding("view")).await.expect(201);
    let refused = server
        .put(&format!("{path}/x"), &binding("edit"))
        .await
        .expect(422);
    assert_eq!(
        refused["message"],
        "ClusterRoleBinding.rbac.authorization.k8s.io \"x\" is invalid: roleRef: Invalid value: \
         {\"APIGroup\":\"rbac.authorization.k8s.io\",\"Kind\":\"ClusterRole\",\"Name\":\"edit\"}: cannot change roleRef"
    );
}

#[tokio::test]
async fn reviews_say_what_the_server_would() {
    let server = Server::guarded().await;
    let ask =
        json!({"spec": {"resourceAttributes": {"verb": "get", "resource": "pods", "namespace": "default"}}});
    let path = format!("{REVIEWS}/selfsubjectaccessreviews");
    let answer = server.call_as("bob", Method::POST, &path, &ask).await.expect(201);
    assert_eq!(answer["status"], json!({"allowed": false}));
    assert_eq!(answer["spec"], ask["spec"]);
    assert_eq!(
        server.post(&path, &ask).await.expect(201)["status"],
        json!({"allowed": true})
    );
    let subject = format!("{REVIEWS}/subjectaccessreviews");
    let collector = json!({"spec": {
        "user": "system:serviceaccount:kube-system:pod-garbage-collector",
        "resourceAttributes": {"verb": "list", "resource": "pods"},
    }});
    assert_eq!(
        server.post(&subject, &collector).await.expect(201)["status"],
        json!({
            "allowed": true,
            "reason": "RBAC: allowed by ClusterRoleBinding \"system:controller:pod-garbage-collector\" of ClusterRole \
                       \"system:controller:pod-garbage-collector\" to ServiceAccount \"pod-garbage-collector/kube-system\"",
        })
    );
    let wrong = [
        (
            path.clone(),
            json!({"spec": {}}),
            ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes: Invalid value: null: exactly one of nonResourceAttributes or resourceAttributes must be specified",
        ),
        (
            subject,
            json!({"spec": {"resourceAttributes": {"verb": "get"}, "nonResourceAttributes": {"verb": "get"}}}),
            ".authorization.k8s.io \"\" is invalid: [spec.nonResourceAttributes: Invalid value: {\"Path\":\"\",\"Verb\":\"get\"}: cannot be specified in combination with resourceAttributes, spec.user: Invalid value: \"\": at least one of user or group must be specified]",
        ),
        (
            format!("{REVIEWS}/namespaces/default/localsubjectaccessreviews"),
            json!({"spec": {"user": "a", "resourceAttributes": {"verb": "get", "namespace": "x"}}}),
            ".authorization.k8s.io \"\" is invalid: spec.resourceAttributes.namespace: Invalid value: \"x\": must match metadata.namespace",
        ),
    ];
    for (path, body, message) in wrong {
        assert_eq!(server.post(&path, &body).await.expect(422)["message"], message);
    }
    let rules = format!("{REVIEWS}/selfsubjectrulesreviews");
    assert_eq!(
        server.post(&rules, &json!({"spec": {}})).await.expect(400)["message"],
        "no namespace on request"
    );
    let body = json!({"spec": {"namespace": "default"}});
    let held = server
        .call_as("bob", Method::POST, &rules, &body)
        .await
        .expect(201);
    assert_eq!(held["status"]["incomplete"], false);
    assert_eq!(held["status"]["resourceRules"].as_array().unwrap().len(), 2);
    assert_eq!(held["status"]["nonResourceRules"].as_array().unwrap().len(), 2);
    let me = "/apis/authentication.k8s.io/v1/selfsubjectreviews";
    let who = server
        .call_as("bob", Method::POST, me, &json!({}))
        .await
        .expect(201);
    assert_eq!(
        who["status"],
        json!({"userInfo": {"username": "bob", "groups": ["system:authenticated"]}})
    );
    assert_eq!(server.get(me).await.code, 405);
}

#[tokio::test]
async fn nobody_acts_as_another_without_the_right_to() {
    let server = Server::guarded().await;
    let alone = [("impersonate-group", "x")];
    let refused = server
        .call(Method::GET, PODS, &alone, Vec::new())
        .await
        .expect(500);
    assert_eq!(
        refused["message"],
        "Internal error occurred: requested impersonation without impersonating a user"
    );
    let mut request = Request::builder()
        .uri("/api/v1/nodes")
        .header("impersonate-user", "x");
    request = request.extension(User::named("bob"));
    let request = request.body(Full::new(Bytes::new())).unwrap();
    let response = server.api.clone().handle(request).await;
    assert_eq!(response.status(), 403);
    let body = response.into_body().collect().await.unwrap().to_bytes();
    let body: Value = serde_json::from_slice(&body).unwrap();
    assert_eq!(
        body["message"],
        "users \"x\" is forbidden: User \"bob\" cannot impersonate resource \"users\" in API group \"\" at the cluster scope"
    );
}

#[tokio::test]
async fn tokens_of_service_accounts_are_good_while_the_account_is_there() {
    let server = Server::guarded().await;
    let accounts = "/api/v1/namespaces/default/serviceaccounts";
    let account = server
        .post(accounts, &json!({"metadata": {"name": "sa"}}))
        .await
        .expect(201);
    let path = format!("{accounts}/sa/token");
    let answer = server.post(&path, &json!({"spec": {}})).await.expect(201);
    assert_eq!(answer["kind"], "TokenRequest");
    assert_eq!(
        answer["spec"],
        json!({"audiences": ["https://kubernetes.default.svc"], "expirationSeconds": 3600, "boundObjectRef": null})
    );
    assert_eq!(answer["status"]["expirationTimestamp"], "2026-01-02T04:04:05Z");
    let token = answer["status"]["token"].as_str().unwrap();
    let user = server.api.authenticate(token).unwrap();
    assert_eq!(&*user.name, "system:serviceaccount:default:sa");
    assert_eq!(user.uid, account["metadata"]["uid"].as_str().unwrap());
    let reviews = "/apis/authentication.k8s.io/v1/tokenreviews";
    let review = server
        .post(reviews, &json!({"spec": {"token": token}}))
        .await
        .expect(201);
    assert_eq!(review["status"]["authenticated"], true);
    assert_eq!(
        review["status"]["user"]["username"],
        "system:serviceaccount:default:sa"
    );
    let short = server
        .post(&path, &json!({"spec": {"expirationSeconds": 10}}))
        .await
        .expect(422);
    assert_eq!(
        short["message"],
        "TokenRequest.authentication.k8s.io \"\" is invalid: spec.expirationSeconds: Invalid value: 10: may not specify a \
         duration less than 10 minutes"
    );
    let nobody = server
        .post(&format!("{accounts}/nope/token"), &json!({"spec": {}}))
        .await;
    assert_eq!(
        nobody.expect(404)["message"],
        "serviceaccounts \"nope\" not found"
    );
    *server.clock.0.lock().unwrap() = "2026-01-02T04:04:04Z".parse().unwrap();
    assert!(server.api.authenticate(token).is_some());
    *server.clock.0.lock().unwrap() = "2026-01-02T04:04:05Z".parse().unwrap();
    assert!(server.api.authenticate(token).is_none(), "its time has passed");
    *server.clock.0.lock().unwrap() = "2026-01-02T03:30:00Z".parse().unwrap();
    server
        .delete(&format!("{accounts}/sa"), &json!({}))
        .await
        .expect(200);
    server
        .post(accounts, &json!({"metadata": {"name": "sa"}}))
        .await
        .expect(201);
    assert!(
        server.api.authenticate(token).is_none(),
        "another of the same name"
    );
}

#[tokio::test]
async fn nodes_touch_only_what_is_theirs() {
    let server = Server::guarded().await;
    for (name, node) in [("p1", "n1"), ("p2", "n2")] {
        let pod = json!({
            "metadata": {"name": name},
            "spec": {"nodeName": node, "automountServiceAccountToken": false, "containers": [{"name": "a", "image": "b"}]},
        });
        server.post(PODS, &pod).await.expect(201);
    }
    let n1 = "system:node:n1";
    let node = |name: &str| json!({"metadata": {"name": name}});
    server
        .call_as(n1, Method::POST, "/api/v1/nodes", &node("n1"))
        .await
        .expect(201);
    let status = json!({"status": {"phase": "Running"}});
    let cases = [
        (Method::POST, "/api/v1/nodes", node("n2"), 403),
        (
            Method::PATCH,
            "/api/v1/nodes/n1",
            json!({"spec": {"taints": [{"key": "a", "effect": "NoSchedule"}]}}),
            403,
        ),
        (
            Method::PATCH,
            "/api/v1/namespaces/default/pods/p1/status",
            status.clone(),
            200,
        ),
        (
            Method::PATCH,
            "/api/v1/namespaces/default/pods/p2/status",
            status,
            403,
        ),
        (
            Method::DELETE,
            "/api/v1/namespaces/default/pods/p2",
            Value::Null,
            403,
        ),
        (
            Method::DELETE,
            "/api/v1/namespaces/default/pods/p1",
            json!({"gracePeriodSeconds": 0}),
            200,
        ),
        (
            Method::POST,
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
            node("n1"),
            201,
        ),
        (
            Method::POST,
            "/apis/coordination.k8s.io/v1/namespaces/kube-node-lease/leases",
            node("n2"),
            403,
        ),
        (
            Method::GET,
            "/api/v1/namespaces/default/pods/p2",
            Value::Null,
            403,
        ),
    ];
    for (method, path, body, code) in cases {
        let answer = server.call_as(n1, method.clone(), path, &body).await;
        assert_eq!(
            answer.code,
            code,
            "{method} {path} {}",
            String::from_utf8_lossy(&answer.body)
        );
    }
}

#[tokio::test]
async fn who_writes_a_role_has_the_rights_in_it() {
    let server = Server::guarded().await;
    let role = json!({
        "metadata": {"name": "editor"},
        "rules": [{"verbs": ["get", "create", "update"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles", "rolebindings"]}],
    });
    server
        .post(&format!("{RBAC}/clusterroles"), &role)
        .await
        .expect(201);
    let binding = json!({
        "metadata": {"name": "editor"}, "roleRef": {"kind": "ClusterRole", "name": "editor"},
        "subjects": [{"kind": "User", "name": "bob"}],
    });
    server
        .post(&format!("{RBAC}/clusterrolebindings"), &binding)
        .await
        .expect(201);
    let more = json!({
        "metadata": {"name": "more"},
        "rules": [{"verbs": ["get"], "apiGroups": [""], "resources": ["secrets"]}],
    });
    let roles = format!("{RBAC}/namespaces/default/roles");
    let refused = server
        .call_as("bob", Method::POST, &roles, &more)
        .await
        .expect(403);
    assert_eq!(
        refused["message"],
        "roles.rbac.authorization.k8s.io \"more\" is forbidden: user \"bob\" (groups=[\"system:authenticated\"]) is \
         attempting to grant RBAC permissions not currently held:\n{APIGroups:[\"\"], Resources:[\"secrets\"], Verbs:[\"get\"]}"
    );
    let same = json!({
        "metadata": {"name": "same"},
        "rules": [{"verbs": ["get"], "apiGroups": ["rbac.authorization.k8s.io"], "resources": ["roles"]}],
    });
    server
        .call_as("bob", Method::POST, &roles, &same)
        .await
        .expect(201);
    let bind =
        json!({"metadata": {"name": "x"}, "roleRef": {"kind": "ClusterRole", "name": "cluster-admin"}});
    let bindings = format!("{RBAC}/namespaces/default/rolebindings");
    server
        .call_as("bob", Method::POST, &bindings, &bind)
        .await
        .expect(403);
}
