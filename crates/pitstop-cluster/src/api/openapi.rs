//! The `OpenAPI` documents without which `kubectl apply` refuses to work. They say which kinds accept `fieldValidation`;
//! the server itself knows the fields.
//!
//! Source: embedded-cluster.md 3.4.

use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::discovery::fingerprint;
use super::{Body, accept};
use crate::kinds::Kind;

/// With `@` instead of the second dot, as clients spell it in `Accept`, their own parser fails.
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A Document with `swagger` "2.0" and `info` {title "Kubernetes", version "v1.34.2"}.
const V2_DOCUMENT: &[u8] = b"\x0a\x032.0\x12\x15\x0a\x0aKubernetes\x12\x07v1.34.2";

/// `/openapi/v2`.
pub(super) fn v2(header: &str) -> Response<Body> {
    let protobuf = accept::clauses(header).any(|clause| clause.media_type.contains("proto-openapi"));
    if protobuf {
        return super::respond(StatusCode::OK, V2_PROTOBUF, V2_DOCUMENT);
    }
    let document = json!({
        "swagger": "2.0", "info": {"title": "Kubernetes", "version": "v1.34.2"}, "paths": {}, "definitions": {},
    });
    super::json(StatusCode::OK, document.to_string())
}

/// `/openapi/v3`.
pub(super) fn index(kinds: &'static [Kind]) -> Value {
    let mut paths = Map::new();
    for kind in kinds {
        let path = group_path(kind);
        if !paths.contains_key(&path) {
            let hash = hash_of(&document(kinds, &path));
            let url = format!("/openapi/v3/{path}?hash={hash}");
            paths.insert(path, json!({"serverRelativeURL": url}));
        }
    }
    json!({"paths": paths})
}

/// `/openapi/v3/{path}`; `None` when no kind is there.
pub(super) fn group(kinds: &'static [Kind], path: &str) -> Option<Response<Body>> {
    if !kinds.iter().any(|kind| group_path(kind) == path) {
        return None;
    }
    let document = document(kinds, path);
    let mut response = super::json(StatusCode::OK, document.to_string());
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", hash_of(&document))) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    Some(response)
}

fn hash_of(document: &Value) -> String {
    format!("{:016X}", fingerprint(document.to_string().as_bytes()))
}

/// `api/v1`, `apis/apps/v1`.
fn group_path(kind: &Kind) -> String {
    let root = if kind.group.is_empty() { "api" } else { "apis" };
    format!("{root}/{}", kind.api_version())
}

fn document(kinds: &'static [Kind], path: &str) -> Value {
    let mut paths = Map::new();
    for kind in kinds.iter().filter(|kind| group_path(kind) == path) {
        let place = if kind.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let operation = json!({
            "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
            "responses": {"200": {"description": "OK"}},
            "x-kubernetes-group-version-kind": {
                "group": kind.group, "version": kind.version, "kind": kind.kind,
            },
        });
        paths.insert(
            format!("/{path}/{place}{}/{{name}}", kind.plural),
            json!({"patch": operation}),
        );
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.34.2"}, "paths": paths,
    })
}
