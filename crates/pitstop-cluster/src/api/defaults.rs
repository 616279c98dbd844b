//! Makes the roles and bindings that a cluster with RBAC starts with, and gives back rules that they have lost.

use std::sync::Arc;

use bytes::Bytes;
use futures::future::try_join_all;
use http::{Method, Request, StatusCode, Uri};
use http_body_util::{BodyExt, Full};
use serde_json::{Value, json};

use super::Api;
use crate::access::defaults;
use crate::kinds;

const AUTO_UPDATE: &str = "/metadata/annotations/rbac.authorization.kubernetes.io~1autoupdate";

impl Api {
    /// Returns kind and name of what could not be made, and the answer's code.
    pub(crate) async fn ensure_defaults(self: Arc<Self>) -> Result<(), (String, StatusCode)> {
        let all = defaults::objects()
            .into_iter()
            .map(|object| self.clone().ensure(object));
        try_join_all(all).await.map(drop)
    }

    async fn ensure(self: Arc<Self>, object: Value) -> Result<(), (String, StatusCode)> {
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .unwrap_or_default()
        };
        let (kind, name, namespace) = (text("/kind"), text("/metadata/name"), text("/metadata/namespace"));
        let failed = |status| (format!("{kind} {name}"), status);
        let Some(entry) = kinds::find_kind("rbac.authorization.k8s.io", "v1", kind) else {
            return Err(failed(StatusCode::NOT_FOUND));
        };
        let place = if namespace.is_empty() {
            String::new()
        } else {
            format!("namespaces/{namespace}/")
        };
        let all = format!("/apis/{}/{place}{}", entry.api_version(), entry.plural);
        match self.clone().ask(Method::POST, &all, &object).await {
            (StatusCode::CREATED, _) => return Ok(()),
            (StatusCode::CONFLICT, _) => {}
            (status, _) => return Err(failed(status)),
        }
        let path = format!("{all}/{name}");
        let (_, stored) = self.clone().ask(Method::GET, &path, &Value::Null).await;
        let Some(repaired) = repaired(&object, &stored) else {
            return Ok(());
        };
        match self.ask(Method::PUT, &path, &repaired).await {
            (StatusCode::OK | StatusCode::CONFLICT, _) => Ok(()),
            (status, _) => Err(failed(status)),
        }
    }

    async fn ask(self: Arc<Self>, method: Method, path: &str, body: &Value) -> (StatusCode, Value) {
        let body = if body.is_null() {
            String::new()
        } else {
            body.to_string()
        };
        let mut request = Request::new(Full::new(Bytes::from(body)));
        *request.method_mut() = method;
        let Ok(uri) = Uri::try_from(path) else {
            return (StatusCode::BAD_REQUEST, Value::Null);
        };
        *request.uri_mut() = uri;
        let response = Box::pin(self.handle(request)).await;
        let status = response.status();
        let body = response.into_body().collect().await;
        let body = body.map(http_body_util::Collected::to_bytes).unwrap_or_default();
        (status, serde_json::from_slice(&body).unwrap_or_default())
    }
}

/// What is stored with the rules or subjects that it has lost; `None` if it has all, or if its owner wants it as it is.
fn repaired(wanted: &Value, stored: &Value) -> Option<Value> {
    if stored.pointer(AUTO_UPDATE).and_then(Value::as_str) != Some("true") {
        return None;
    }
    let mut repaired = stored.clone();
    for field in ["rules", "subjects"] {
        let list = |object: &Value| {
            object
                .get(field)
                .and_then(Value::as_array)
                .cloned()
                .unwrap_or_default()
        };
        let mut kept = list(stored);
        let lost: Vec<Value> = list(wanted)
            .into_iter()
            .filter(|rule| !kept.contains(rule))
            .collect();
        if lost.is_empty() {
            continue;
        }
        kept.extend(lost);
        if let Some(repaired) = repaired.as_object_mut() {
            repaired.insert(field.to_owned(), json!(kept));
        }
    }
    (repaired != *stored).then_some(repaired)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lost_rules_come_back_unless_their_owner_says_otherwise() {
        let wanted = json!({"rules": [{"verbs": ["get"]}, {"verbs": ["list"]}]});
        let stored = |update: &str| {
            json!({
                "metadata": {"annotations": {"rbac.authorization.kubernetes.io/autoupdate": update}},
                "rules": [{"verbs": ["get"]}, {"verbs": ["mine"]}],
            })
        };
        let repaired = repaired(&wanted, &stored("true")).unwrap();
        assert_eq!(
            repaired.get("rules").unwrap(),
            &json!([{"verbs": ["get"]}, {"verbs": ["mine"]}, {"verbs": ["list"]}])
        );
        assert_eq!(super::repaired(&wanted, &stored("false")), None);
        assert_eq!(super::repaired(&wanted, &repaired), None, "nothing is lost");
    }
}
