//! Paths.
//!
//! Source: embedded-cluster.md 2.

use std::sync::Arc;

use http::Method;
use serde_json::Value;

use super::customs::Served;
use super::params::percent_decode;
use super::status::Failure;
use crate::custom::Custom;
use crate::kinds::{self, FieldError, Kind, Subresource};
use crate::schema::{self, DecodeError, Decoded};

/// What a path names.
#[derive(Debug)]
pub(super) enum Route {
    /// `/version`.
    Version,
    /// `/healthz`, `/livez`, `/readyz`.
    Health,
    /// `/api`.
    CoreVersions,
    /// `/apis`.
    Groups,
    /// `/apis/{group}`.
    Group(String),
    /// `/api/v1`, `/apis/{group}/{version}`.
    Resources(String),
    /// `/openapi/v2`.
    OpenApiV2,
    /// `/openapi/v3`.
    OpenApiV3,
    /// `/openapi/v3/{api/v1|apis/group/version}`, without the prefix.
    OpenApiV3Group(String),
    /// Objects of a kind.
    Objects(Target),
}

/// Objects that a path names.
#[derive(Debug)]
pub(super) struct Target {
    /// Their kind.
    pub(super) kind: &'static Kind,
    /// What a definition says of them, if the kind is not built in.
    pub(super) custom: Option<Arc<Custom>>,
    /// `None`: all namespaces, or a cluster-scoped kind.
    pub(super) namespace: Option<String>,
    /// `None`: all of them.
    pub(super) name: Option<String>,
    /// A path below the object.
    pub(super) subresource: Option<Subresource>,
    /// The path below a `proxy`.
    pub(super) below: Vec<String>,
}

impl Target {
    /// Decodes a body.
    pub(super) fn decode(&self, content_type: Option<&str>, body: &[u8]) -> Result<Decoded, DecodeError> {
        match &self.custom {
            Some(custom) => custom.decode(content_type, body),
            None => schema::decode(self.kind, content_type, body),
        }
    }

    /// Brings the result of a patch into canonical form.
    pub(super) fn clean(&self, value: Value) -> Result<Decoded, DecodeError> {
        match &self.custom {
            Some(custom) => custom.clean(value),
            None => schema::clean(self.kind, value),
        }
    }

    /// What is wrong with an object besides its metadata.
    pub(super) fn validate(&self, object: &Value) -> Vec<FieldError> {
        match &self.custom {
            Some(custom) => custom.validate(object),
            None => (self.kind.validate)(object),
        }
    }
}

/// The segments of a path, percent-decoded.
pub(super) fn segments(path: &str) -> Vec<String> {
    path.split('/')
        .filter(|segment| !segment.is_empty())
        .map(percent_decode)
        .collect()
}

/// Understands a path, given as its segments; `None` when nothing is served there.
pub(super) fn parse(path: &[&str], served: &Served) -> Option<Route> {
    Some(match path {
        ["version"] => Route::Version,
        ["healthz" | "livez" | "readyz", ..] => Route::Health,
        ["api"] => Route::CoreVersions,
        ["apis"] => Route::Groups,
        ["apis", group] => Route::Group((*group).to_owned()),
        ["openapi", "v2"] => Route::OpenApiV2,
        ["openapi", "v3"] => Route::OpenApiV3,
        ["openapi", "v3", rest @ ..] => Route::OpenApiV3Group(rest.join("/")),
        ["api", version] => Route::Resources((*version).to_owned()),
        ["apis", group, version] => Route::Resources(format!("{group}/{version}")),
        ["api", version, rest @ ..] => Route::Objects(objects("", version, rest, served)?),
        ["apis", group, version, rest @ ..] => Route::Objects(objects(group, version, rest, served)?),
        _ => return None,
    })
}

/// What is answered where nothing is served: groups that exist say so themselves.
pub(super) fn nothing_at(path: &[&str], served: &Served) -> Failure {
    match path {
        ["api", ..] => Failure::no_such_path(),
        ["apis", group, ..] if served.documents.has(&Route::Group((*group).to_owned())) => {
            Failure::no_such_path()
        }
        _ => Failure::no_such_page(),
    }
}

impl Route {
    /// The media types that can be asked for.
    pub(super) fn representations(&self, method: &Method) -> &'static [&'static str] {
        match self {
            Self::Objects(target) if target.name.is_none() && method == Method::GET => &WATCHES,
            Self::Objects(_) | Self::CoreVersions | Self::Groups | Self::Group(_) | Self::Resources(_) => {
                &OBJECTS
            }
            Self::Version => &["application/json"],
            Self::Health | Self::OpenApiV2 | Self::OpenApiV3 | Self::OpenApiV3Group(_) => &[],
        }
    }
}

/// Media types of objects, as a 406 lists them.
const OBJECTS: [&str; 3] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
];

/// Those of lists, which watches are too.
const WATCHES: [&str; 5] = [
    "application/json",
    "application/yaml",
    "application/vnd.kubernetes.protobuf",
    "application/json;stream=watch",
    "application/vnd.kubernetes.protobuf;stream=watch",
];

fn objects(group: &str, version: &str, rest: &[&str], served: &Served) -> Option<Target> {
    // Below a namespace come objects, or the namespace's own subresources.
    let (namespace, rest) = match rest {
        ["namespaces", name, sub] if group.is_empty() && subresource_named(sub).is_some() => {
            (None, ["namespaces", name, sub].to_vec())
        }
        ["namespaces", namespace, rest @ ..] if !rest.is_empty() => (Some(*namespace), rest.to_vec()),
        rest => (None, rest.to_vec()),
    };
    let (plural, name, subresource) = match rest.as_slice() {
        [plural] => (*plural, None, None),
        [plural, name] => (*plural, Some(*name), None),
        [plural, name, sub] => (*plural, Some(*name), Some(subresource_named(sub)?)),
        // What is below is a path on the other side.
        [plural, name, "proxy", ..] => (*plural, Some(*name), Some(Subresource::Proxy)),
        _ => return None,
    };
    let (kind, custom) = match kinds::find(group, version, plural) {
        Some(kind) => (kind, None),
        None => {
            let custom = served.find(group, version, plural)?;
            (custom.kind, Some(custom.clone()))
        }
    };
    let misplaced = match namespace {
        Some(_) => !kind.namespaced,
        None => kind.namespaced && name.is_some(),
    };
    // What is only created has no names.
    let is_nameless = name.is_some() && !kind.verbs.contains(&"get");
    if misplaced || is_nameless || subresource.is_some_and(|s| !kind.subresources.contains(&s)) {
        return None;
    }
    Some(Target {
        kind,
        custom,
        namespace: namespace.map(str::to_owned),
        name: name.map(str::to_owned),
        subresource,
        below: rest.iter().skip(3).map(|part| (*part).to_owned()).collect(),
    })
}

fn subresource_named(name: &str) -> Option<Subresource> {
    match name {
        "status" => Some(Subresource::Status),
        "binding" => Some(Subresource::Binding),
        "eviction" => Some(Subresource::Eviction),
        "finalize" => Some(Subresource::Finalize),
        "scale" => Some(Subresource::Scale),
        "approval" => Some(Subresource::Approval),
        "token" => Some(Subresource::Token),
        "log" => Some(Subresource::Log),
        "exec" => Some(Subresource::Exec),
        "attach" => Some(Subresource::Attach),
        "portforward" => Some(Subresource::PortForward),
        "ephemeralcontainers" => Some(Subresource::EphemeralContainers),
        "resize" => Some(Subresource::Resize),
        "proxy" => Some(Subresource::Proxy),
        _ => None,
    }
}
