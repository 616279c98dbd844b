//! Webhooks whose program is in this process: asked without a socket, and otherwise as others are.

use futures::future::BoxFuture;

use super::*;
use crate::webhook::inside::WebhookService;

/// Refuses at `/no`, never answers at `/slow`, and is nowhere else.
struct Judge;

impl WebhookService for Judge {
    fn answer<'a>(&'a self, path: &'a str, review: &'a Value) -> BoxFuture<'a, Option<Value>> {
        Box::pin(async move {
            match path {
                "/no" => Some(json!({
                    "apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview",
                    "response": {
                        "uid": review["request"]["uid"], "allowed": false, "status": {"code": 403, "message": "no"},
                    },
                })),
                "/slow" => std::future::pending().await,
                _ => None,
            }
        })
    }
}

async fn said_at(path: &str, server: &Server) -> String {
    let wanted = json!({
        "apiVersion": "admissionregistration.k8s.io/v1", "kind": "ValidatingWebhookConfiguration",
        "metadata": {"name": "hooks"},
        "webhooks": [{
            "name": "judge.example.com", "timeoutSeconds": 1, "sideEffects": "None", "admissionReviewVersions": ["v1"],
            "clientConfig": {"service": {"namespace": "programs", "name": "judge", "path": path}},
            "rules": [{
                "operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["configmaps"],
            }],
        }],
    });
    let configurations = "/apis/admissionregistration.k8s.io/v1/validatingwebhookconfigurations";
    server
        .delete(&format!("{configurations}/hooks"), &json!({}))
        .await;
    server.post(configurations, &wanted).await.expect(201);
    let answer = server.post(MAPS, &json!({"metadata": {"name": "x"}})).await;
    answer.json()["message"].as_str().unwrap_or_default().to_owned()
}

#[tokio::test(start_paused = true)]
async fn programs_in_this_process_are_asked_without_a_socket() {
    let server = Server::new().await;
    let failed =
        "Internal error occurred: failed calling webhook \"judge.example.com\": failed to call webhook:";
    assert_eq!(
        said_at("/no", &server).await,
        format!(
            "{failed} Post \"https://judge.programs.svc:443/no?timeout=1s\": service \"judge\" not found"
        )
    );
    server.api.inside().add("programs", "judge", Arc::new(Judge));
    assert_eq!(
        said_at("/no", &server).await,
        "admission webhook \"judge.example.com\" denied the request: no"
    );
    assert_eq!(
        said_at("/slow", &server).await,
        format!(
            "{failed} Post \"https://judge.programs.svc:443/slow?timeout=1s\": context deadline exceeded"
        )
    );
    assert_eq!(
        said_at("/elsewhere", &server).await,
        format!("{failed} the server could not find the requested resource")
    );
    server.api.close();
    assert!(server.api.inside().find("programs", "judge").is_none());
}
