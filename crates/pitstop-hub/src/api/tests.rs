use std::sync::{Arc, Mutex};

use http_body_util::StreamBody;
use hyper::body::Frame;
use serde_json::Value;

use super::*;

/// Requests that were sent: method, target, content type and body.
type Seen = Arc<Mutex<Vec<(String, String, String, String)>>>;

/// Answers every request the same, in pieces of a few bytes.
struct Script {
    code: u16,
    body: &'static str,
    seen: Seen,
}

impl Transport for Script {
    fn send(&self, request: Request<Full<Bytes>>) -> BoxFuture<'_, Result<Response<AnswerBody>, String>> {
        Box::pin(async move {
            let (head, body) = request.into_parts();
            let body = body.collect().await.unwrap_or_default().to_bytes();
            let kind = head
                .headers
                .get(CONTENT_TYPE)
                .map_or("", |kind| kind.to_str().unwrap_or_default());
            self.seen
                .lock()
                .unwrap_or_else(std::sync::PoisonError::into_inner)
                .push((
                    head.method.to_string(),
                    head.uri.to_string(),
                    kind.to_owned(),
                    String::from_utf8_lossy(&body).into_owned(),
                ));
            let pieces = self
                .body
                .as_bytes()
                .chunks(7)
                .map(|piece| Ok(Frame::data(Bytes::from_static(piece))));
            let mut answer = Response::new(StreamBody::new(stream::iter(pieces)).boxed_unsync());
            *answer.status_mut() =
                http::StatusCode::from_u16(self.code).map_err(|error| error.to_string())?;
            Ok(answer)
        })
    }
}

fn server(code: u16, body: &'static str) -> (ApiServer<Script>, Seen) {
    let seen = Seen::default();
    let script = Script {
        code,
        body,
        seen: Arc::clone(&seen),
    };
    (ApiServer::new(script, "n1"), seen)
}

fn sent(seen: &Seen) -> (String, String, String, String) {
    seen.lock().unwrap().pop().unwrap()
}

#[tokio::test]
async fn pods_of_the_node_are_listed_in_pages() {
    let body =
        r#"{"metadata":{"resourceVersion":"9","continue":"a b"},"items":[{"metadata":{"name":"a"}}, {}]}"#;
    let (server, seen) = server(200, body);
    let page = server.list_pods(50, None).await.unwrap();
    assert_eq!(page.pods, [r#"{"metadata":{"name":"a"}}"#, "{}"]);
    assert_eq!(
        (page.resource_version.as_str(), page.next.as_deref()),
        ("9", Some("a b"))
    );
    assert_eq!(
        sent(&seen).1,
        "/api/v1/pods?fieldSelector=spec.nodeName%3Dn1&limit=50"
    );
    server.list_pods(50, Some("a b=")).await.unwrap();
    assert!(sent(&seen).1.ends_with("&limit=50&continue=a%20b%3D"));
}

#[tokio::test]
async fn a_watch_is_read_in_whatever_pieces_it_comes() {
    let body = concat!(
        r#"{"type":"ADDED","object":{"metadata":{"name":"a"}}}"#,
        "\n\n",
        r#"{"type":"MODIFIED","object":{"a":1}}"#,
        "\n",
        r#"{"type":"DELETED","object":{"a":2}}"#,
        "\n",
        r#"{"type":"BOOKMARK","object":{"kind":"Pod","metadata":{"resourceVersion":"12"}}}"#,
        "\n",
        r#"{"type":"LATER","object":{}}"#,
        "\n",
        r#"{"type":"ERROR","object":{"kind":"Status","code":410,"message":"too old"}}"#,
        "\n",
        r#"{"type":"ADDED","object":{}}"#,
        "\n",
    );
    let (server, seen) = server(200, body);
    let changes: Vec<_> = server.watch_pods("7").await.unwrap().collect().await;
    let expected = [
        Ok(Change::Put(r#"{"metadata":{"name":"a"}}"#.into())),
        Ok(Change::Put(r#"{"a":1}"#.into())),
        Ok(Change::Gone(r#"{"a":2}"#.into())),
        Ok(Change::Bookmark("12".to_owned())),
        Err(CloudError::Expired("too old".to_owned())),
    ];
    assert_eq!(changes, expected);
    let target = sent(&seen).1;
    assert!(target.contains("watch=true&allowWatchBookmarks=true") && target.ends_with("&resourceVersion=7"));
}

#[tokio::test]
async fn a_delete_names_the_very_object() {
    let (server, seen) = server(200, "{}");
    server.delete_pod("default", "nginx-a", "u1", "7").await.unwrap();
    let (method, target, kind, body) = sent(&seen);
    assert_eq!(
        (method.as_str(), target.as_str()),
        ("DELETE", "/api/v1/namespaces/default/pods/nginx-a")
    );
    assert_eq!(kind, "application/json");
    let body: Value = serde_json::from_str(&body).unwrap();
    assert_eq!(
        body["preconditions"],
        json!({"uid": "u1", "resourceVersion": "7"})
    );
}

#[tokio::test]
async fn a_condition_is_a_strategic_patch_of_the_status() {
    let (server, seen) = server(200, "{}");
    server
        .patch_pod_status("default", "a", Bytes::from_static(b"{}"))
        .await
        .unwrap();
    let (method, target, kind, _) = sent(&seen);
    assert_eq!(method, "PATCH");
    assert_eq!(
        target,
        "/api/v1/namespaces/default/pods/a/status?fieldManager=pitstop-hub"
    );
    assert_eq!(kind, "application/strategic-merge-patch+json");
}

#[tokio::test]
async fn whether_we_may_delete_is_asked() {
    for (body, may) in [
        (r#"{"status":{"allowed":true}}"#, true),
        (r#"{"status":{"denied":true}}"#, false),
    ] {
        let (server, seen) = server(201, body);
        assert_eq!(server.may_delete("default", "a").await, Ok(may));
        let review: Value = serde_json::from_str(&sent(&seen).3).unwrap();
        let attributes = json!({"verb": "delete", "resource": "pods", "namespace": "default", "name": "a"});
        assert_eq!(review["spec"]["resourceAttributes"], attributes);
    }
}

#[tokio::test]
async fn refusals_keep_the_words_of_the_server() {
    let status = r#"{"kind":"Status","message":"pods \"a\" not found","code":404}"#;
    let message = "pods \"a\" not found".to_owned();
    for (code, expected) in [
        (404, CloudError::NotFound(message.clone())),
        (409, CloudError::Conflict(message.clone())),
        (403, CloudError::Forbidden(message.clone())),
        (410, CloudError::Expired(message.clone())),
        (429, CloudError::Other { code: 429, message }),
    ] {
        let (server, _) = server(code, status);
        assert_eq!(server.get_pod("default", "a").await, Err(expected), "{code}");
    }
    let (server, _) = server(503, "no Status at all");
    let error = server.ready().await.unwrap_err();
    assert!(error.passing() && !error.unreachable() && error.to_string() == "no Status at all");
}
