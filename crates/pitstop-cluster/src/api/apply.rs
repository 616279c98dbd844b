//! Server-side apply.
//!
//! Source: embedded-cluster.md 9.4; texts are those of Kubernetes 1.34 on the wire.

use http::Response;
use serde_json::{Value, json};

use super::options::{Wanted, WriteOptions};
use super::owners;
use super::route::Target;
use super::status::Failure;
use super::update::OtherUid;
use super::write::from_decode;
use super::{Api, Body, Call, metadata};
use crate::apply::{self, ApplyError, Managers, Type};
use crate::broken::{self, Defect};
use crate::kinds::{FieldError, Kind};
use crate::schema::{self, DecodeError, Decoded};
use crate::store::Key;

/// How often an apply that creates is repeated when somebody else creates or deletes the object at the same time.
const TRIES: usize = 5;

impl Api {
    /// Applies the configuration in the body to the object, which is made if it is not there.
    pub(super) async fn apply(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let name = target.name.as_deref().unwrap_or_default();
        let (options, force) = parameters(call)?;
        let writer = self.writer(target, call);
        let (body, duplicates) = configuration(kind, call, Some(writer.write().structure), |body| {
            target.clean(body)
        })?;
        let want = |current: &Value| {
            let mut live = current.clone();
            let managers = owners::take(&mut live)
                .as_ref()
                .and_then(Managers::decode)
                .unwrap_or_default();
            let mut applied = apply::merge(&managers, &live, &body, &writer.write(), force)
                .map_err(|error| refused(&body, error))?;
            apply::renew_last_applied(&mut applied.object, &body, &writer.write());
            let mut decoded = target.clean(applied.object).map_err(from_decode)?;
            decoded.strict_errors.extend(duplicates.iter().cloned());
            owners::put(&mut decoded.object, &applied.managers);
            if applied.managers.is_empty()
                && let Some(metadata) = metadata::metadata_mut(&mut decoded.object)
            {
                // Whoever has given up everything is no owner any more.
                metadata.insert("managedFields".to_owned(), json!([]));
            }
            options.accept_patch(decoded, || body.to_string())
        };
        for _ in 0..TRIES {
            let key = Key::new(target.namespace.as_deref().unwrap_or_default(), name);
            let exists = self.store.get(self.collection_of(kind)?.id, &key).is_some();
            if exists || target.subresource.is_some() {
                match self
                    .modify(target, call, options.dry_run, OtherUid::Invalid, &writer, &want)
                    .await
                {
                    Err(failure) if failure.is_not_found() && target.subresource.is_none() => continue,
                    answer => return answer,
                }
            }
            let wanted = self
                .with_versions(target, writer.versions(), || want(&Value::Null))
                .await?;
            let wanted = creatable(target, name, wanted)?;
            match self.create_wanted(target, call, options.dry_run, wanted).await {
                Err(failure) if failure.is_already_exists() => {}
                answer => return answer,
            }
        }
        Err(Failure::modified(kind, name))
    }
}

/// The parameters of an apply: those of every write, and whether fields are taken from others.
pub(super) fn parameters(call: &Call) -> Result<(WriteOptions, bool), Failure> {
    if call.params.get("fieldManager").is_none() {
        let error = FieldError::required("fieldManager", "is required for apply patch");
        return Err(Failure::invalid_options("PatchOptions", &[error]));
    }
    let options = WriteOptions::parse(call)?;
    let force = call
        .params
        .get("force")
        .is_some_and(|value| !matches!(value, "0" | "false" | "False" | "FALSE"));
    Ok((options, force || broken::is(Defect::ForcedApply)))
}

/// The configuration, as it was written: what it does not say is nobody's.
pub(super) fn configuration(
    kind: &Kind,
    call: &Call,
    structure: Option<Type<'_>>,
    clean: impl FnOnce(Value) -> Result<Decoded, DecodeError>,
) -> Result<(Value, Vec<String>), Failure> {
    let (body, duplicates) = schema::parse_yaml(&call.body)
        .map_err(|why| Failure::bad_request(format!("error decoding YAML: {why}")))?;
    if !body.is_object() {
        return Err(Failure::bad_request(
            "error decoding YAML: the document is no object",
        ));
    }
    let given = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    if given("apiVersion") != kind.api_version() || given("kind") != kind.kind {
        return Err(Failure::bad_request(format!(
            "invalid object type: {}",
            type_of(&body)
        )));
    }
    if body
        .pointer("/metadata/managedFields")
        .is_some_and(|owners| !owners.is_null())
    {
        return Err(Failure::bad_request("metadata.managedFields must be nil"));
    }
    let structure = structure.unwrap_or_else(|| Type::of(kind));
    let problems = if kind.is_custom() {
        Vec::new()
    } else {
        apply::problems(&body, structure)
    };
    match problems.as_slice() {
        [] => {}
        [one] => return Err(untyped(&body, one)),
        many => return Err(untyped(&body, &format!("errors:\n  {}", many.join("\n  ")))),
    }
    let decoded = clean(body.clone()).map_err(|error| match error {
        DecodeError::WrongType { problem, .. } if !kind.is_custom() => unconvertible(&body, &problem),
        other => untyped(&body, &other.to_string()),
    })?;
    let undeclared: Vec<String> = decoded
        .strict_errors
        .iter()
        .filter_map(|error| error.strip_prefix("unknown field \"")?.strip_suffix('"'))
        .map(|path| format!(".{path}: field not declared in schema"))
        .collect();
    match undeclared.as_slice() {
        [] => Ok((body, duplicates)),
        [one] => Err(untyped(&body, one)),
        many => Err(untyped(&body, &format!("errors:\n  {}", many.join("\n  ")))),
    }
}

/// `apps/v1, Kind=DaemonSet`, or `/v1, Kind=Pod`.
fn type_of(body: &Value) -> String {
    let given = |name: &str| body.get(name).and_then(Value::as_str).unwrap_or_default();
    let api_version = given("apiVersion");
    let slash = if api_version.contains('/') { "" } else { "/" };
    format!("{slash}{api_version}, Kind={}", given("kind"))
}

/// A configuration that is not of its kind's type.
fn untyped(body: &Value, why: &str) -> Failure {
    let (namespace, name) = (metadata::text(body, "namespace"), metadata::text(body, "name"));
    Failure::untyped(format!(
        "failed to create typed patch object ({namespace}/{name}; {}): {why}",
        type_of(body)
    ))
}

/// A configuration that is of its kind's type but for the form of a value: of a time, a quantity, or bytes.
fn unconvertible(body: &Value, problem: &str) -> Failure {
    let (namespace, name) = (metadata::text(body, "namespace"), metadata::text(body, "name"));
    let of_type = type_of(body);
    let problem = match problem.split_once(" into Go struct field ") {
        Some((found, wanted)) => {
            let wanted = wanted.rsplit(' ').next().unwrap_or_default();
            format!("{found} into Go value of type {wanted}")
        }
        None if problem.starts_with("illegal base64") => format!("error decoding from json: {problem}"),
        None => problem.to_owned(),
    };
    Failure::untyped(format!(
        "failed to convert new object ({namespace}/{name}; {of_type}) to proper version: unable to convert unstructured \
         object to {of_type}: {problem}"
    ))
}

pub(super) fn refused(body: &Value, error: ApplyError) -> Failure {
    let text = error.to_string();
    match error {
        ApplyError::List(_) => untyped(body, &text),
        ApplyError::Conflicts(conflicts) => {
            let causes = conflicts.iter().map(|conflict| {
                json!({
                    "reason": "FieldManagerConflict",
                    "message": format!("conflict with {}", conflict.owner),
                    "field": conflict.path,
                })
            });
            Failure::apply_conflict(text, causes.collect())
        }
        ApplyError::Unconverted(error) => error.into(),
    }
}

/// The object that an apply makes. A uid in it means one that should be there.
fn creatable(target: &Target, name: &str, mut wanted: Wanted) -> Result<Wanted, Failure> {
    let given = metadata::text(&wanted.object, "name");
    if given.is_empty() {
        return Err(Failure::without_name(name));
    }
    if given != name {
        return Err(Failure::other_name(given, name));
    }
    let uid = metadata::text(&wanted.object, "uid");
    if !uid.is_empty() {
        let why = format!(
            "uid mismatch: the provided object specified uid {uid}, and no existing object was found"
        );
        return Err(Failure::conflict(target.kind, name, &why));
    }
    if let Some(metadata) = metadata::metadata_mut(&mut wanted.object) {
        metadata.remove("resourceVersion");
    }
    Ok(wanted)
}
