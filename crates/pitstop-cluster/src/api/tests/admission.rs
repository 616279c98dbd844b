//! Webhooks that are asked about writes, over TLS on loopback. Answers are those of kube-apiserver 1.34.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use tokio::net::TcpListener;

use super::hook::Hook;
use super::*;

const MUTATING: &str = "/apis/admissionregistration.k8s.io/v1/mutatingwebhookconfigurations";
const VALIDATING: &str = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";

fn patch(operations: &Value) -> Value {
    let patch = STANDARD.encode(operations.to_string());
    json!({"allowed": true, "patchType": "JSONPatch", "patch": patch})
}

fn configuration(kind: &str, webhooks: &[Value]) -> Value {
    json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": kind,
        "metadata": {"name": "hooks"}, "webhooks": webhooks,
    })
}

impl Server {
    async fn validating(&self, webhooks: &[Value]) {
        let wanted = configuration("ValidatingWebhookConfiguration", webhooks);
        self.delete(&format!("{VALIDATING}/hooks"), &json!({})).await;
        self.post(VALIDATING, &wanted).await.expect(201);
    }

    async fn mutating(&self, webhooks: &[Value]) {
        let wanted = configuration("MutatingWebhookConfiguration", webhooks);
        self.delete(&format!("{MUTATING}/hooks"), &json!({})).await;
        self.post(MUTATING, &wanted).await.expect(201);
    }
}

fn map(name: &str) -> Value {
    json!({"metadata": {"name": name, "labels": {"a": "b"}}, "data": {"k": "v"}})
}

fn judge(path: &str, _: &Value) -> Value {
    match path {
        "/no" => json!({"allowed": false, "status": {"message": "no", "code": 418, "reason": "Odd"}}),
        "/warn" => json!({"allowed": true, "warnings": ["careful", "again"]}),
        "/patch" => patch(&json!([])),
        _ => json!({"allowed": true}),
    }
}

#[tokio::test]
async fn webhooks_that_judge_are_obeyed() {
    let (server, hook) = (Server::new().await, Hook::start(judge).await);
    server
        .validating(&[hook.at("ok", &json!({})), hook.at("no", &json!({}))])
        .await;
    let said = server.post(MAPS, &map("x")).await.expect(418);
    assert_eq!(
        said,
        json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure", "code": 418,
            "message": "admission webhook \"no.example.com\" denied the request: no", "reason": "Odd",
        })
    );
    server.get(&format!("{MAPS}/x")).await.expect(404);
    server.validating(&[hook.at("warn", &json!({}))]).await;
    let said = server.post(MAPS, &map("x")).await;
    let warnings: Vec<_> = said.headers.get_all("warning").iter().collect();
    assert_eq!(warnings, ["299 - \"careful\"", "299 - \"again\""]);
    said.expect(201);
    server.validating(&[hook.at("patch", &json!({}))]).await;
    let why = "failed calling webhook \"patch.example.com\": received invalid webhook response: \
               validating webhook may not return response.patch";
    let said = server.post(MAPS, &map("y")).await.expect(500);
    assert_eq!(said["message"], format!("Internal error occurred: {why}"));
    assert_eq!(said["reason"], "InternalError");
    assert_eq!(said["details"], json!({"causes": [{"message": why}]}));
}

#[tokio::test]
async fn a_webhook_that_cannot_be_asked_counts_as_its_failure_policy_says() {
    let (server, hook) = (Server::new().await, Hook::start(judge).await);
    let refusal = |said: &Value| {
        let message = said["message"].as_str().unwrap().to_owned();
        let start =
            "Internal error occurred: failed calling webhook \"x.example.com\": failed to call webhook: ";
        message.strip_prefix(start).unwrap().to_owned()
    };
    let nobody = TcpListener::bind(("127.0.0.1", 0))
        .await
        .unwrap()
        .local_addr()
        .unwrap();
    let url = format!("https://{nobody}/y");
    let mut at = json!({"clientConfig": {"url": url, "caBundle": hook.bundle}});
    server.validating(&[hook.at("x", &at)]).await;
    let said = server.post(MAPS, &map("x")).await.expect(500);
    let refused = format!("Post \"{url}?timeout=10s\": dial tcp {nobody}: connect: connection refused");
    assert_eq!(refusal(&said), refused);
    at["failurePolicy"] = "Ignore".into();
    server.validating(&[hook.at("x", &at)]).await;
    server.post(MAPS, &map("ignored")).await.expect(201);

    let url = format!("https://127.0.0.1:{}/x", hook.port);
    server
        .validating(&[hook.at("x", &json!({"clientConfig": {"url": url}}))])
        .await;
    let said = server.post(MAPS, &map("x")).await.expect(500);
    let why = "tls: failed to verify certificate: x509: certificate signed by unknown authority";
    assert_eq!(refusal(&said), format!("Post \"{url}?timeout=10s\": {why}"));

    let slow = hook.at("slow", &json!({"timeoutSeconds": 1, "name": "x.example.com"}));
    server.validating(&[slow]).await;
    let said = server.post(MAPS, &map("x")).await.expect(500);
    let url = url.replace("/x", "/slow");
    assert_eq!(
        refusal(&said),
        format!("Post \"{url}?timeout=1s\": context deadline exceeded")
    );
}

#[tokio::test]
async fn a_service_leads_to_an_address() {
    let (server, hook) = (Server::new().await, Hook::start(judge).await);
    let service = json!({"namespace": "default", "name": "hook", "path": "/ok"});
    let at = json!({"clientConfig": {"service": service, "caBundle": hook.bundle}});
    server.validating(&[hook.at("x", &at)]).await;
    let why = |said: &Value| {
        said["message"]
            .as_str()
            .unwrap()
            .rsplit("\": ")
            .next()
            .unwrap()
            .to_owned()
    };
    let said = server.post(MAPS, &map("x")).await.expect(500);
    assert_eq!(why(&said), "service \"hook\" not found");
    let services = "/api/v1/namespaces/default/services";
    let wanted = json!({"metadata": {"name": "hook"}, "spec": {"ports": [{"port": 443}]}});
    server.post(services, &wanted).await.expect(201);
    let said = server.post(MAPS, &map("x")).await.expect(500);
    assert_eq!(why(&said), "no endpoints available for service \"hook\"");
    let annotated = json!({"metadata": {"annotations": {
        "sim.pitstop.io/address": format!("127.0.0.1:{}", hook.port),
    }}});
    server
        .patch(&format!("{services}/hook"), MERGE, &annotated)
        .await
        .expect(200);
    server.post(MAPS, &map("x")).await.expect(201);
    assert_eq!(hook.asked().len(), 1);
}

fn change(path: &str, request: &Value) -> Value {
    match path {
        "/label" => patch(&json!([
            {"op": "add", "path": "/metadata/labels", "value": {"hooked": request["operation"]}},
            {"op": "add", "path": "/nothing", "value": 1},
        ])),
        "/data" => patch(&json!([{"op": "add", "path": "/data/by", "value": "hook"}])),
        "/bad" => patch(&json!([{"op": "replace", "path": "/nope/x", "value": 1}])),
        _ => json!({"allowed": true}),
    }
}

#[tokio::test]
async fn webhooks_change_what_is_stored_and_nobody_owns_it() {
    let (server, hook) = (Server::new().await, Hook::start(change).await);
    server.mutating(&[hook.at("label", &json!({}))]).await;
    server.validating(&[hook.at("ok", &json!({}))]).await;
    let wanted = json!({"metadata": {"generateName": "g-", "labels": {"a": "b"}}, "data": {"k": "v"}});
    let made = server.post(MAPS, &wanted).await.expect(201);
    assert_eq!(made["metadata"]["labels"], json!({"hooked": "CREATE"}));
    assert_eq!(made.get("nothing"), None);
    assert_eq!(
        made["metadata"]["managedFields"][0]["fieldsV1"],
        json!({"f:data": {".": {}, "f:k": {}}, "f:metadata": {"f:generateName": {}, "f:labels": {".": {}, "f:a": {}}}})
    );
    let asked = hook.asked();
    assert_eq!(asked.len(), 2);
    assert_eq!(asked[0].get("name"), None, "it is not generated yet");
    assert_eq!(asked[0]["object"]["metadata"].get("uid"), None);
    assert_eq!(asked[1]["name"], made["metadata"]["name"]);
    assert_eq!(asked[1]["object"]["metadata"]["uid"], made["metadata"]["uid"]);
    assert_eq!(
        asked[1]["object"]["metadata"]["labels"],
        json!({"hooked": "CREATE"})
    );

    let path = format!("{MAPS}/{}", made["metadata"]["name"].as_str().unwrap());
    let changed = server
        .patch(&path, MERGE, &json!({"data": {"k": "w"}}))
        .await
        .expect(200);
    assert_eq!(changed["metadata"]["labels"], json!({"hooked": "UPDATE"}));
    let asked = hook.asked();
    assert_eq!(asked[0]["operation"], "UPDATE");
    assert_eq!(asked[0]["oldObject"]["data"], json!({"k": "v"}));
    assert_eq!(
        asked[0]["options"],
        json!({"kind": "UpdateOptions", "apiVersion": "meta.k8s.io/v1"})
    );
    server.mutating(&[hook.at("bad", &json!({}))]).await;
    server.post(MAPS, &map("x")).await.expect(500);
}

#[tokio::test]
async fn a_webhook_is_asked_again_when_another_changed_the_object_after_it() {
    let (server, hook) = (Server::new().await, Hook::start(change).await);
    for (policy, times) in [("IfNeeded", 2), ("Never", 1)] {
        let early = hook.at("ok", &json!({"reinvocationPolicy": policy}));
        let late = hook.at("data", &json!({"reinvocationPolicy": policy}));
        server.mutating(&[early, late]).await;
        server.post(MAPS, &map(&policy.to_lowercase())).await.expect(201);
        let asked = hook.asked();
        assert_eq!(asked.len(), times + 1, "{policy}");
        let seen_by_first = &asked[asked.len() - 1]["object"]["data"];
        assert_eq!(seen_by_first.get("by").is_some(), policy == "IfNeeded");
    }
}

#[tokio::test]
async fn deletions_and_subresources_are_asked_about_too() {
    let (server, hook) = (Server::new().await, Hook::start(judge).await);
    let rules = json!([{
        "operations": ["*"], "apiGroups": ["*"], "apiVersions": ["*"], "resources": ["*/*"],
    }]);
    server
        .validating(&[hook.at("ok", &json!({"rules": rules}))])
        .await;
    assert_eq!(
        hook.asked(),
        Vec::<Value>::new(),
        "not about the configurations themselves"
    );
    server.post(MAPS, &map("x")).await.expect(201);
    let dry = json!({"dryRun": ["All"], "propagationPolicy": "Foreground", "gracePeriodSeconds": 3});
    server.delete(&format!("{MAPS}/x"), &dry).await.expect(200);
    server
        .delete(&format!("{MAPS}/x"), &json!({"propagationPolicy": "Background"}))
        .await
        .expect(200);
    let asked = hook.asked();
    assert_eq!(asked.len(), 3);
    assert_eq!(asked[1]["dryRun"], true);
    assert_eq!(asked[2]["object"], Value::Null);
    assert_eq!(asked[2]["oldObject"]["data"], json!({"k": "v"}));
    assert_eq!(
        asked[2]["options"],
        json!({"kind": "DeleteOptions", "apiVersion": "meta.k8s.io/v1", "propagationPolicy": "Background"})
    );

    let deployments = "/apis/apps/v1/namespaces/default/deployments";
    let template = json!({
        "metadata": {"labels": {"a": "b"}}, "spec": {"containers": [{"name": "c", "image": "i"}]},
    });
    let wanted = json!({
        "metadata": {"name": "d"},
        "spec": {"selector": {"matchLabels": {"a": "b"}}, "template": template},
    });
    server.post(deployments, &wanted).await.expect(201);
    server
        .patch(
            &format!("{deployments}/d/scale"),
            MERGE,
            &json!({"spec": {"replicas": 2}}),
        )
        .await
        .expect(200);
    let scaled = hook.asked().remove(1);
    assert_eq!(
        scaled["kind"],
        json!({"group": "autoscaling", "version": "v1", "kind": "Scale"})
    );
    assert_eq!(scaled["resource"]["resource"], "deployments");
    assert_eq!(scaled["subResource"], "scale");
    assert_eq!(scaled["object"]["spec"]["replicas"], 2);
    assert_eq!(scaled["oldObject"]["spec"]["replicas"], 1);

    let pod = json!({"metadata": {"name": "p"}, "spec": {"containers": [{"name": "c", "image": "i"}]}});
    server.post(PODS, &pod).await.expect(201);
    let eviction = json!({"metadata": {"name": "p"}});
    server
        .post(&format!("{PODS}/p/eviction"), &eviction)
        .await
        .expect(201);
    let asked = hook.asked();
    assert_eq!(asked.len(), 2, "the deletion that follows is no request");
    assert_eq!(
        asked[1]["object"],
        json!({
            "kind": "Eviction", "apiVersion": "policy/v1",
            "metadata": {"name": "p", "namespace": "default"},
        })
    );
}

#[tokio::test]
async fn configurations_are_completed_and_checked() {
    let server = Server::new().await;
    let wanted = configuration(
        "MutatingWebhookConfiguration",
        &[json!({
            "name": "a.b.c", "clientConfig": {"service": {"namespace": "n", "name": "s"}},
            "rules": [{"operations": ["CREATE"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["pods"]}],
            "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "matchConditions": [{"name": "m", "expression": "true"}],
        })],
    );
    let said = server.post(MUTATING, &wanted).await;
    let warning =
        "299 - \"webhooks[0].matchConditions: not evaluated, every request that the rules match is sent\"";
    assert_eq!(said.headers["warning"], warning);
    let made = said.expect(201);
    assert_eq!(made["metadata"]["generation"], 1);
    let webhook = &made["webhooks"][0];
    assert_eq!(webhook["clientConfig"]["service"]["port"], 443);
    assert_eq!(webhook["rules"][0]["scope"], "*");
    for (field, value) in [
        ("failurePolicy", json!("Fail")),
        ("matchPolicy", json!("Equivalent")),
        ("reinvocationPolicy", json!("Never")),
        ("timeoutSeconds", json!(10)),
        ("namespaceSelector", json!({})),
        ("objectSelector", json!({})),
    ] {
        assert_eq!(webhook[field], value, "{field}");
    }
    let changed = json!({"webhooks": [{"name": "a.b.c", "timeoutSeconds": 3}]});
    let changed = server
        .patch(&format!("{MUTATING}/hooks"), STRATEGIC, &changed)
        .await
        .expect(200);
    assert_eq!(changed["metadata"]["generation"], 2);
    assert_eq!(changed["webhooks"][0]["sideEffects"], "None");

    let wrong = configuration(
        "ValidatingWebhookConfiguration",
        &[
            json!({
                "name": "x", "clientConfig": {}, "sideEffects": "Some", "timeoutSeconds": 40, "failurePolicy": "q",
                "rules": [{
                    "operations": ["FOO"], "apiGroups": [], "apiVersions": ["v1"], "resources": ["pods"], "scope": "z",
                }],
                "admissionReviewVersions": ["v9"],
            }),
            json!({"name": "x", "clientConfig": {"url": "http://a"}}),
        ],
    );
    let said = server.post(VALIDATING, &wrong).await.expect(422);
    let lines: Vec<String> = said["details"]["causes"]
        .as_array()
        .unwrap()
        .iter()
        .map(|cause| {
            format!(
                "{}: {}",
                cause["field"].as_str().unwrap(),
                cause["message"].as_str().unwrap()
            )
        })
        .collect();
    let name = "Invalid value: \"x\": should be a domain with at least three segments separated by dots";
    assert_eq!(
        lines,
        [
            format!("webhooks[0].name: {name}").as_str(),
            "webhooks[0].rules[0].operations[0]: Unsupported value: \"FOO\": supported values: \"*\", \"CONNECT\", \
             \"CREATE\", \"DELETE\", \"UPDATE\"",
            "webhooks[0].rules[0].apiGroups: Required value",
            "webhooks[0].rules[0].scope: Unsupported value: \"z\": supported values: \"*\", \"Cluster\", \"Namespaced\"",
            "webhooks[0].failurePolicy: Unsupported value: \"q\": supported values: \"Fail\", \"Ignore\"",
            "webhooks[0].sideEffects: Unsupported value: \"Some\": supported values: \"None\", \"NoneOnDryRun\"",
            "webhooks[0].timeoutSeconds: Invalid value: 40: the timeout value must be between 1 and 30 seconds",
            "webhooks[0].clientConfig: Required value: exactly one of url or service is required",
            "webhooks[0].admissionReviewVersions: Invalid value: [\"v9\"]: must include at least one of v1, v1beta1",
            format!("webhooks[1].name: {name}").as_str(),
            "webhooks[1].sideEffects: Required value: must specify one of None, NoneOnDryRun",
            "webhooks[1].clientConfig.url: Invalid value: \"http\": 'https' is the only allowed URL scheme; desired \
             format: https://host[/path]",
            "webhooks[1].admissionReviewVersions: Required value: must specify one of v1, v1beta1",
            "webhooks[1].name: Duplicate value: \"x\"",
        ]
    );
}
