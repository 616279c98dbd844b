//! Calls through `kube::Client`: method, path, query, headers, body; and refusals.

use std::convert::Infallible;
use std::sync::{Arc, Mutex};

use futures::StreamExt;
use http::{Request, Response};
use kube::client::Body;
use pitstop_controller::api::{Api, Call, CallError, KubeApi, Resource, Verb};
use serde_json::json;

type Seen = Arc<Mutex<Vec<(String, Option<String>, Vec<u8>)>>>;

/// A server that answers everything alike.
fn mk_api(code: u16, answer: &'static str) -> (KubeApi, Seen) {
    let seen = Seen::default();
    let log = Arc::clone(&seen);
    let service = tower::service_fn(move |request: Request<Body>| {
        let log = Arc::clone(&log);
        async move {
            let (parts, body) = request.into_parts();
            let line = format!("{} {}", parts.method, parts.uri);
            let content_type = parts.headers.get("content-type");
            let content_type = content_type.map(|value| value.to_str().unwrap().to_owned());
            let body = body.collect_bytes().await.unwrap().to_vec();
            log.lock().unwrap().push((line, content_type, body));
            let answer = Body::from(answer.as_bytes().to_vec());
            Ok::<_, Infallible>(Response::builder().status(code).body(answer).unwrap())
        }
    });
    (KubeApi::new(kube::Client::new(service, "default")), seen)
}

#[tokio::test]
async fn a_call_arrives_as_it_was_made() {
    let (api, seen) = mk_api(200, "{\"kind\":\"Pod\"}");
    let delete = Call::object(Verb::Delete, Resource::Pods, Some("default"), "agent-x")
        .with_body(json!({ "preconditions": { "uid": "u" } }));
    assert_eq!(api.send(delete).await.unwrap(), "{\"kind\":\"Pod\"}");
    let patch = Call::object(Verb::StrategicPatch, Resource::Pods, Some("default"), "agent-x")
        .with_query("fieldManager", "me")
        .with_body(json!({}));
    api.send(patch).await.unwrap();
    let seen = seen.lock().unwrap();
    let json = Some("application/json".to_owned());
    assert_eq!(
        seen[0],
        (
            "DELETE /api/v1/namespaces/default/pods/agent-x".to_owned(),
            json,
            br#"{"preconditions":{"uid":"u"}}"#.to_vec()
        )
    );
    assert_eq!(
        (seen[1].0.as_str(), seen[1].1.as_deref()),
        (
            "PATCH /api/v1/namespaces/default/pods/agent-x?fieldManager=me",
            Some("application/strategic-merge-patch+json")
        )
    );
}

#[tokio::test]
async fn a_refusal_says_what_the_server_said() {
    let (api, _) = mk_api(
        409,
        r#"{"kind":"Status","reason":"Conflict","message":"uid differs"}"#,
    );
    let call = Call::object(Verb::Get, Resource::Nodes, None, "a");
    let error = api.send(call).await.unwrap_err();
    assert!(matches!(error, CallError::Conflict(_)));
    assert_eq!(error.to_string(), "uid differs");
}

#[tokio::test]
async fn a_watch_is_cut_into_lines_and_its_refusal_is_sorted() {
    let (api, seen) = mk_api(200, "{\"type\":\"ADDED\"}\n{\"type\":\"DELETED\"}\n");
    let call = || Call::collection(Verb::Watch, Resource::Pods, None).with_query("watch", "1");
    let lines: Vec<_> = api
        .watch(call())
        .await
        .unwrap()
        .map(Result::unwrap)
        .collect()
        .await;
    assert_eq!(lines, ["{\"type\":\"ADDED\"}", "{\"type\":\"DELETED\"}"]);
    assert_eq!(seen.lock().unwrap()[0].0, "GET /api/v1/pods?watch=1");
    let (api, _) = mk_api(410, r#"{"reason":"Expired"}"#);
    assert!(matches!(api.watch(call()).await.err(), Some(CallError::Gone(_))));
}

#[tokio::test]
async fn no_answer_is_told_with_its_cause() {
    let service = tower::service_fn(|_: Request<Body>| async {
        Err::<Response<Body>, _>(std::io::Error::other("connection refused"))
    });
    let api = KubeApi::new(kube::Client::new(service, "default"));
    let call = Call::object(Verb::Get, Resource::Nodes, None, "a");
    let error = api.send(call).await.unwrap_err();
    assert!(error.is_ambiguous());
    assert!(error.to_string().contains("connection refused"), "{error}");
}
