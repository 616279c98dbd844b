//! The `OpenAPI` documents without which `kubectl apply` refuses to work and `kubectl explain` has nothing to say. They tell
//! which kinds accept `fieldValidation`; the server itself knows the fields.
//!
//! Source: embedded-cluster.md 3.4.

mod descriptions;
mod schemas;

use std::collections::BTreeMap;
use std::sync::{Arc, OnceLock};

use bytes::Bytes;
use http::header::{CACHE_CONTROL, ETAG};
use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::discovery::fingerprint;
use super::{Body, accept};
use crate::custom::Custom;
use crate::kinds::Kind;

/// With `@` instead of the second dot, as clients spell it in `Accept`, their own parser fails.
const V2_PROTOBUF: &str = "application/com.github.proto-openapi.spec.v2.v1.0+protobuf";

/// A Document with `swagger` "2.0" and `info` {title "Kubernetes", version "v1.34.2"}.
const V2_DOCUMENT: &[u8] = b"\x0a\x032.0\x12\x15\x0a\x0aKubernetes\x12\x07v1.34.2";

/// What there are documents about.
pub(super) struct Served<'a> {
    pub(super) kinds: &'a [&'static Kind],
    /// What definitions say of those of them that are custom.
    pub(super) customs: &'a [Arc<Custom>],
}

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
pub(super) fn index(served: &Served<'_>, cache: &Cache) -> Value {
    let entry = |(path, document): (&String, &Document)| {
        let url = format!("/openapi/v3/{path}?hash={}", document.hash);
        (path.clone(), json!({"serverRelativeURL": url}))
    };
    let paths: Map<String, Value> = documents(served, cache).iter().map(entry).collect();
    json!({"paths": paths})
}

/// `/openapi/v3/{path}`; `None` when no kind is there.
pub(super) fn group(served: &Served<'_>, cache: &Cache, path: &str) -> Option<Response<Body>> {
    let found = documents(served, cache).get(path)?;
    let text = found
        .text
        .get_or_init(|| Bytes::from(document(served, path).to_string()));
    let mut response = super::json(StatusCode::OK, text.clone());
    if let Ok(etag) = HeaderValue::from_str(&format!("\"{}\"", found.hash)) {
        response.headers_mut().insert(ETAG, etag);
    }
    response
        .headers_mut()
        .insert(CACHE_CONTROL, HeaderValue::from_static("public, immutable"));
    Some(response)
}

/// The documents of a table of kinds, by path, once somebody has asked for them.
pub(super) type Cache = OnceLock<BTreeMap<String, Document>>;

/// A document as it is sent.
#[derive(Debug, Default)]
pub(super) struct Document {
    /// Made when the first client asks for it.
    text: OnceLock<Bytes>,
    /// Another one for every other content.
    hash: String,
}

/// The documents of all group versions.
fn documents<'a>(served: &Served<'_>, cache: &'a Cache) -> &'a BTreeMap<String, Document> {
    cache.get_or_init(|| {
        let mut sources: BTreeMap<String, String> = BTreeMap::new();
        for kind in served.kinds {
            let source = sources.entry(group_path(kind)).or_default();
            source.push_str(concat!(env!("CARGO_PKG_VERSION"), " "));
            source.push_str(kind.plural);
        }
        for custom in served.customs {
            let source = sources.entry(group_path(custom.kind)).or_default();
            source.push_str(&custom.described.to_string());
        }
        let document = |(path, source): (String, String)| {
            let hash = format!("{:016X}", fingerprint(source.as_bytes()));
            (
                path,
                Document {
                    hash,
                    ..Document::default()
                },
            )
        };
        sources.into_iter().map(document).collect()
    })
}

/// `api/v1`, `apis/apps/v1`.
fn group_path(kind: &Kind) -> String {
    let root = if kind.group.is_empty() { "api" } else { "apis" };
    format!("{root}/{}", kind.api_version())
}

fn document(served: &Served<'_>, path: &str) -> Value {
    let customs = served.customs.iter().map(AsRef::as_ref);
    let customs = customs.filter(|custom: &&Custom| group_path(custom.kind) == path);
    let in_group = || served.kinds.iter().filter(|kind| group_path(kind) == path);
    let mut paths = Map::new();
    for kind in in_group() {
        let place = if kind.namespaced {
            "namespaces/{namespace}/"
        } else {
            ""
        };
        let content = schemas::reference(kind).map(|schema| json!({"application/json": {"schema": schema}}));
        let responses =
            json!({"200": {"description": "OK", "content": content.unwrap_or_else(|| json!({}))}});
        let get = json!({
            "responses": responses, "x-kubernetes-group-version-kind": schemas::type_of(kind),
        });
        let patch = json!({
            "parameters": [{"name": "fieldValidation", "in": "query", "schema": {"type": "string"}}],
            "responses": responses, "x-kubernetes-group-version-kind": schemas::type_of(kind),
        });
        paths.insert(
            format!("/{path}/{place}{}/{{name}}", kind.plural),
            json!({"get": get, "patch": patch}),
        );
    }
    json!({
        "openapi": "3.0.0", "info": {"title": "Kubernetes", "version": "v1.34.2"}, "paths": paths,
        "components": {"schemas": schemas::schemas(in_group().copied(), customs)},
    })
}
