//! Discovery: which kinds are served, in both forms that clients know.
//!
//! Source: embedded-cluster.md 2 and 3.

use std::sync::Arc;

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use bytes::Bytes;
use http::header::{ACCEPT, CACHE_CONTROL, CONTENT_TYPE, ETAG, IF_NONE_MATCH, VARY};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::route::Route;
use super::status::Failure;
use super::{Body, accept, openapi};
use crate::custom::Custom;
use crate::kinds::{self, Kind, Subresource};

/// The server speaks this version of Kubernetes.
///
/// Source: embedded-cluster.md 2.
const GIT_VERSION: &str = "v1.34.2+pitstop";

const AGGREGATED: &str = "application/json;g=apidiscovery.k8s.io;v=v2;as=APIGroupDiscoveryList";

/// Every document that does not depend on objects.
#[derive(Debug, Default)]
pub(super) struct Documents {
    kinds: Vec<&'static Kind>,
    customs: Vec<Arc<Custom>>,
    openapi: openapi::Cache,
    core: Document,
    groups: Document,
}

/// A document and the hash by which clients ask whether it has changed.
#[derive(Debug, Default)]
struct Document {
    body: Bytes,
    etag: String,
}

impl Document {
    fn new(value: &Value) -> Self {
        let body = value.to_string();
        let etag = format!("\"{:016X}\"", fingerprint(body.as_bytes()));
        Self {
            body: body.into(),
            etag,
        }
    }
}

impl Documents {
    /// The documents of a table of kinds, and of what definitions say of some of them.
    pub(super) fn new(kinds: Vec<&'static Kind>, customs: Vec<Arc<Custom>>) -> Self {
        let is_core = |group: &&str| group.is_empty();
        Self {
            core: Document::new(&aggregated(&kinds, is_core)),
            groups: Document::new(&aggregated(&kinds, |group| !group.is_empty())),
            kinds,
            customs,
            openapi: openapi::Cache::default(),
        }
    }

    fn described(&self) -> openapi::Served<'_> {
        openapi::Served {
            kinds: &self.kinds,
            customs: &self.customs,
        }
    }

    /// Is there such a document?
    pub(super) fn has(&self, route: &Route) -> bool {
        match route {
            Route::Group(name) => self.groups().contains(&name.as_str()),
            Route::Resources(version) => self.resources(version).is_some(),
            Route::Objects(_) => false,
            _ => true,
        }
    }

    /// Answers a GET of such a document.
    pub(super) fn answer(
        &self,
        route: &Route,
        accept: &str,
        headers: &HeaderMap,
    ) -> Result<Response<Body>, Failure> {
        let ok = |value: &Value| Ok(super::json(StatusCode::OK, value.to_string()));
        match route {
            Route::Version => ok(&version()),
            Route::Health => Ok(super::respond(StatusCode::OK, "text/plain; charset=utf-8", "ok")),
            Route::CoreVersions if wants_aggregated(accept) => Ok(self.core.answer(headers)),
            Route::CoreVersions => {
                ok(&json!({"kind": "APIVersions", "versions": ["v1"], "serverAddressByClientCIDRs": []}))
            }
            Route::Groups if wants_aggregated(accept) => Ok(self.groups.answer(headers)),
            Route::Groups => {
                let groups: Vec<Value> = self.groups().iter().map(|group| self.group(group)).collect();
                ok(&json!({"kind": "APIGroupList", "apiVersion": "v1", "groups": groups}))
            }
            Route::Group(name) if self.groups().contains(&name.as_str()) => {
                let mut group = self.group(name);
                if let Some(group) = group.as_object_mut() {
                    group.insert("kind".to_owned(), "APIGroup".into());
                    group.insert("apiVersion".to_owned(), "v1".into());
                }
                ok(&group)
            }
            Route::Resources(version) => ok(&self.resources(version).ok_or_else(|| {
                let group = version.split_once('/').map_or("", |(group, _)| group);
                if group.is_empty() || self.groups().contains(&group) {
                    Failure::no_such_path()
                } else {
                    Failure::no_such_page()
                }
            })?),
            Route::OpenApiV2 => Ok(openapi::v2(accept)),
            Route::OpenApiV3 => ok(&openapi::index(&self.described(), &self.openapi)),
            Route::OpenApiV3Group(path) => {
                openapi::group(&self.described(), &self.openapi, path).ok_or_else(Failure::no_such_document)
            }
            Route::Group(_) | Route::Objects(_) => Err(Failure::no_such_page()),
        }
    }

    /// The groups besides core, in the order of the table.
    fn groups(&self) -> Vec<&'static str> {
        groups_of(&self.kinds)
    }

    fn group(&self, name: &str) -> Value {
        let versions = distinct(self.kinds.iter().filter(|k| k.group == name).map(|k| k.version));
        let versions: Vec<Value> = versions
            .iter()
            .map(|version| json!({"groupVersion": format!("{name}/{version}"), "version": version}))
            .collect();
        json!({"name": name, "versions": versions, "preferredVersion": versions.first()})
    }

    /// The legacy list of a group version.
    fn resources(&self, group_version: &str) -> Option<Value> {
        let kinds = self.kinds.iter().filter(|k| k.api_version() == group_version);
        let resources: Vec<Value> = kinds.flat_map(|kind| legacy_entries(kind)).collect();
        (!resources.is_empty()).then(|| {
            let mut list = json!({
                "kind": "APIResourceList", "groupVersion": group_version, "resources": resources,
            });
            // The oldest document of all has no version.
            if let (Some(list), true) = (list.as_object_mut(), group_version.contains('/')) {
                list.insert("apiVersion".to_owned(), "v1".into());
            }
            list
        })
    }
}

impl Document {
    fn answer(&self, headers: &HeaderMap) -> Response<Body> {
        let known = headers.get(IF_NONE_MATCH).and_then(|v| v.to_str().ok());
        let unchanged = known.is_some_and(|known| known.split(',').any(|tag| tag.trim() == self.etag));
        let mut response = if unchanged {
            super::respond(StatusCode::NOT_MODIFIED, AGGREGATED, Bytes::new())
        } else {
            super::respond(StatusCode::OK, AGGREGATED, self.body.clone())
        };
        let headers = response.headers_mut();
        headers.insert(VARY, HeaderValue::from_name(ACCEPT));
        headers.insert(CACHE_CONTROL, HeaderValue::from_static("public"));
        if let Ok(etag) = HeaderValue::from_str(&self.etag) {
            headers.insert(ETAG, etag);
        }
        if unchanged {
            headers.remove(CONTENT_TYPE);
        }
        response
    }
}

fn version() -> Value {
    json!({
        "major": "1", "minor": "34", "gitVersion": GIT_VERSION, "gitCommit": "", "gitTreeState": "clean",
        "buildDate": "2025-11-11T00:00:00Z", "goVersion": "none", "compiler": "rustc",
        "platform": format!("{}/{}", std::env::consts::OS, go_arch()),
    })
}

fn go_arch() -> &'static str {
    match std::env::consts::ARCH {
        "x86_64" => "amd64",
        "aarch64" => "arm64",
        other => other,
    }
}

/// Is the aggregated form asked for, before plain JSON?
fn wants_aggregated(header: &str) -> bool {
    for clause in accept::clauses(header) {
        if !clause.is_json() {
            continue;
        }
        match clause.parameter("as") {
            "" => return false,
            "APIGroupDiscoveryList"
                if clause.parameter("g") == "apidiscovery.k8s.io" && clause.parameter("v") == "v2" =>
            {
                return true;
            }
            _ => {}
        }
    }
    false
}

fn aggregated(kinds: &[&'static Kind], wanted: impl Fn(&&str) -> bool) -> Value {
    let groups: Vec<&str> = std::iter::once("")
        .chain(groups_of(kinds))
        .filter(wanted)
        .collect();
    let items: Vec<Value> = groups
        .into_iter()
        .map(|group| {
            let in_group = || kinds.iter().filter(move |k| k.group == group);
            let versions: Vec<Value> = distinct(in_group().map(|k| k.version))
                .into_iter()
                .map(|version| {
                    let resources: Vec<Value> = in_group()
                        .filter(|k| k.version == version)
                        .map(|kind| aggregated_entry(kind))
                        .collect();
                    json!({"version": version, "freshness": "Current", "resources": resources})
                })
                .collect();
            let metadata = if group.is_empty() {
                json!({})
            } else {
                json!({"name": group})
            };
            json!({"metadata": metadata, "versions": versions})
        })
        .collect();
    json!({
        "kind": "APIGroupDiscoveryList", "apiVersion": "apidiscovery.k8s.io/v2", "metadata": {},
        "items": items,
    })
}

fn aggregated_entry(kind: &Kind) -> Value {
    // Of the group and version under which it is listed.
    let response_kind = json!({"group": "", "version": "", "kind": kind.kind});
    let subresources: Vec<Value> = kind
        .subresources
        .iter()
        .map(|sub| {
            let (name, response_kind, verbs) = match sub {
                Subresource::Status => ("status", response_kind.clone(), STATUS_VERBS),
                Subresource::Approval => ("approval", response_kind.clone(), STATUS_VERBS),
                Subresource::Finalize => ("finalize", response_kind.clone(), FINALIZE_VERBS),
                Subresource::Binding => ("binding", core("Binding"), BINDING_VERBS),
                Subresource::Eviction => ("eviction", foreign(&kinds::EVICTION), BINDING_VERBS),
                Subresource::Scale => ("scale", foreign(&kinds::SCALE), STATUS_VERBS),
                Subresource::Token => ("token", foreign(&kinds::TOKEN_REQUEST), TOKEN_VERBS),
                Subresource::Log => ("log", response_kind.clone(), LOG_VERBS),
                Subresource::Exec => ("exec", core("PodExecOptions"), STREAM_VERBS),
                Subresource::EphemeralContainers => {
                    ("ephemeralcontainers", response_kind.clone(), STATUS_VERBS)
                }
                Subresource::Resize => ("resize", response_kind.clone(), STATUS_VERBS),
                Subresource::Proxy => ("proxy", core(&proxy_options(kind)), PROXY_VERBS),
                Subresource::Attach => ("attach", core("PodAttachOptions"), STREAM_VERBS),
                Subresource::PortForward => ("portforward", core("PodPortForwardOptions"), STREAM_VERBS),
            };
            json!({"subresource": name, "responseKind": response_kind, "verbs": verbs})
        })
        .collect();
    let mut entry = json!({
        "resource": kind.plural,
        "responseKind": response_kind,
        "scope": if kind.namespaced { "Namespaced" } else { "Cluster" },
        "singularResource": kind.singular,
        "verbs": kind.verbs,
    });
    if let Some(entry) = entry.as_object_mut() {
        insert_names(entry, kind);
        if !subresources.is_empty() {
            entry.insert("subresources".to_owned(), subresources.into());
        }
    }
    entry
}

const STATUS_VERBS: &[&str] = &["get", "patch", "update"];
const FINALIZE_VERBS: &[&str] = &["update"];
const BINDING_VERBS: &[&str] = &["create"];
const TOKEN_VERBS: &[&str] = &["create"];
const LOG_VERBS: &[&str] = &["get"];
/// Whatever the method is, it is passed on.
const PROXY_VERBS: &[&str] = &["create", "delete", "get", "patch", "update"];
const STREAM_VERBS: &[&str] = &["create", "get"];

/// The kind of what a `proxy` is asked with.
fn proxy_options(kind: &Kind) -> String {
    format!("{}ProxyOptions", kind.kind)
}

fn legacy_entries(kind: &'static Kind) -> Vec<Value> {
    let mut entry = json!({
        "name": kind.plural, "singularName": kind.singular, "namespaced": kind.namespaced, "kind": kind.kind,
        "verbs": kind.verbs,
    });
    if let Some(entry) = entry.as_object_mut() {
        insert_names(entry, kind);
        // Reviews are answered and not stored.
        if kind.is_stored() {
            entry.insert("storageVersionHash".to_owned(), storage_hash(kind).into());
        }
    }
    let proxied = proxy_options(kind);
    let below = kind.subresources.iter().map(|sub| {
        let (name, body, verbs) = match sub {
            Subresource::Status => ("status", kind.kind, STATUS_VERBS),
            Subresource::Approval => ("approval", kind.kind, STATUS_VERBS),
            Subresource::Finalize => ("finalize", kind.kind, FINALIZE_VERBS),
            Subresource::Binding => ("binding", "Binding", BINDING_VERBS),
            Subresource::Eviction => ("eviction", kinds::EVICTION.kind, BINDING_VERBS),
            Subresource::Scale => ("scale", kinds::SCALE.kind, STATUS_VERBS),
            Subresource::Token => ("token", kinds::TOKEN_REQUEST.kind, TOKEN_VERBS),
            Subresource::Log => ("log", kind.kind, LOG_VERBS),
            Subresource::Exec => ("exec", "PodExecOptions", STREAM_VERBS),
            Subresource::EphemeralContainers => ("ephemeralcontainers", kind.kind, STATUS_VERBS),
            Subresource::Resize => ("resize", kind.kind, STATUS_VERBS),
            Subresource::Proxy => ("proxy", proxied.as_str(), PROXY_VERBS),
            Subresource::Attach => ("attach", "PodAttachOptions", STREAM_VERBS),
            Subresource::PortForward => ("portforward", "PodPortForwardOptions", STREAM_VERBS),
        };
        let mut entry = json!({
            "name": format!("{}/{name}", kind.plural), "singularName": "", "namespaced": kind.namespaced,
            "kind": body, "verbs": verbs,
        });
        // A body of another group than the resource's says so.
        if let (Some(foreign), Some(entry)) = (foreign_body(*sub), entry.as_object_mut()) {
            entry.insert("group".to_owned(), foreign.group.into());
            entry.insert("version".to_owned(), foreign.version.into());
        }
        entry
    });
    std::iter::once(entry).chain(below).collect()
}

/// The kind of a subresource's body, where it is of another group.
fn foreign_body(sub: Subresource) -> Option<&'static Kind> {
    match sub {
        Subresource::Eviction => Some(&kinds::EVICTION),
        Subresource::Scale => Some(&kinds::SCALE),
        Subresource::Token => Some(&kinds::TOKEN_REQUEST),
        Subresource::Status
        | Subresource::Finalize
        | Subresource::Binding
        | Subresource::Log
        | Subresource::Exec
        | Subresource::Attach
        | Subresource::PortForward
        | Subresource::Approval
        | Subresource::EphemeralContainers
        | Subresource::Resize
        | Subresource::Proxy => None,
    }
}

fn core(kind: &str) -> Value {
    json!({"group": "", "version": "", "kind": kind})
}

fn foreign(kind: &Kind) -> Value {
    json!({"group": kind.group, "version": kind.version, "kind": kind.kind})
}

fn insert_names(entry: &mut Map<String, Value>, kind: &Kind) {
    if !kind.short_names.is_empty() {
        entry.insert("shortNames".to_owned(), kind.short_names.into());
    }
    if !kind.categories.is_empty() {
        entry.insert("categories".to_owned(), kind.categories.into());
    }
}

/// The groups besides core, the more important ones first.
fn groups_of(kinds: &[&'static Kind]) -> Vec<&'static str> {
    let mut groups = distinct(
        kinds
            .iter()
            .map(|kind| kind.group)
            .filter(|group| !group.is_empty()),
    );
    groups.sort_by_key(|group| {
        GROUPS
            .iter()
            .position(|known| known == group)
            .unwrap_or(GROUPS.len())
    });
    groups
}

/// In the order in which Kubernetes lists them, from which clients take the first that has a resource.
const GROUPS: [&str; 20] = [
    "apiregistration.k8s.io",
    "apps",
    "events.k8s.io",
    "authentication.k8s.io",
    "authorization.k8s.io",
    "autoscaling",
    "batch",
    "certificates.k8s.io",
    "networking.k8s.io",
    "policy",
    "rbac.authorization.k8s.io",
    "storage.k8s.io",
    "admissionregistration.k8s.io",
    "apiextensions.k8s.io",
    "scheduling.k8s.io",
    "coordination.k8s.io",
    "node.k8s.io",
    "discovery.k8s.io",
    "resource.k8s.io",
    "flowcontrol.apiserver.k8s.io",
];

/// Tells whether objects of a kind are stored in the form in which they were.
fn storage_hash(kind: &Kind) -> String {
    let (group, plural) = kind.stored_as;
    let stored = kinds::all().iter().find(|other| {
        kind.conversion.is_some() && other.conversion.is_none() && other.stored_as == (group, plural)
    });
    let version = stored.map_or(kind.version, |stored| stored.version);
    let named = format!("{group}/{version}/{}", kind.kind);
    let digest = ring::digest::digest(&ring::digest::SHA256, named.as_bytes());
    STANDARD.encode(digest.as_ref().get(..8).unwrap_or_default())
}

fn distinct<'a>(items: impl Iterator<Item = &'a str>) -> Vec<&'a str> {
    let mut seen = Vec::new();
    for item in items {
        if !seen.contains(&item) {
            seen.push(item);
        }
    }
    seen
}

/// FNV-1a: names a document's content, nothing more.
pub(super) fn fingerprint(bytes: &[u8]) -> u64 {
    bytes.iter().fold(0xcbf2_9ce4_8422_2325, |hash, byte| {
        (hash ^ u64::from(*byte)).wrapping_mul(0x0000_0100_0000_01b3)
    })
}
