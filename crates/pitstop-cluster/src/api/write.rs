//! Create, update and patch: the write pipeline.
//!
//! decode -> metadata -> the kind's own rules -> defaults -> validation -> store.
//!
//! Source: embedded-cluster.md 6 and 9.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::Value;

use super::route::Target;
use super::status::Failure;
use super::{Api, Body, Call, Collected, metadata, present};
use crate::kinds::{self, Creation, Durability, FieldError, FieldErrorReason, Kind, Subresource, event};
use crate::patch::{self, PatchError, PatchType};
use crate::schema::{self, DecodeError, Decoded};
use crate::store::{Draft, Expect, Key, Stored, WriteError};

/// How often a name is generated before giving up.
///
/// Source: embedded-cluster.md 6.1.
const NAME_TRIES: usize = 8;

/// How often a write without a resourceVersion of its own is repeated when others write at the same time.
///
/// Source: embedded-cluster.md 9.
const CONFLICT_TRIES: usize = 5;

/// Types of patches, as a 415 lists them.
const PATCH_TYPES: &str = "the body of the request was in an unknown format - accepted media types include: \
                           application/json-patch+json, application/merge-patch+json, application/strategic-merge-patch+json";

/// What becomes of an object.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing has changed.
    Same,
    /// It is replaced.
    Replace(Value),
    /// Nothing holds it any more: it goes, in this last state.
    Remove(Value),
}

/// An object as its writer wants it, with what there is to say about the request.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) object: Value,
    pub(super) warnings: Vec<String>,
}

impl Api {
    pub(super) async fn create(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let options = WriteOptions::parse(call)?;
        let decoded = schema::decode(kind, call.content_type(), &call.body).map_err(from_decode)?;
        let Wanted { mut object, warnings } = options.accept(kind, decoded)?;
        metadata::place(kind, &mut object, target.namespace.as_deref())?;
        self.check_namespace(target, &object)?;
        let now = self.clock.now();
        metadata::begin(kind, &mut object, self.random.uid(), now)?;
        let given = metadata::text(&object, "name").to_owned();
        let prefix = metadata::text(&object, "generateName").to_owned();
        if given.is_empty() && prefix.is_empty() {
            return Err(Failure::invalid(
                kind,
                "",
                &[FieldError::required(
                    "metadata.name",
                    "name or generateName is required",
                )],
            ));
        }
        let tries = if given.is_empty() { NAME_TRIES } else { 1 };
        let mut name = given.clone();
        for _ in 0..tries {
            let mut object = object.clone();
            if given.is_empty() {
                name = metadata::generated_name(&prefix, &self.random.suffix());
                if let Some(metadata) = metadata::metadata_mut(&mut object) {
                    metadata.insert("name".to_owned(), name.as_str().into());
                }
            }
            let suffix = self.random.suffix();
            (kind.prepare_create)(&mut object, &Creation { now, suffix: &suffix });
            (kind.default)(&mut object);
            let mut errors = kinds::validate_metadata(kind, &object);
            errors.extend((kind.validate)(&object));
            if !errors.is_empty() {
                return Err(Failure::invalid(kind, &name, &errors));
            }
            let key = Key::new(target.namespace.as_deref().unwrap_or_default(), &name);
            match self.insert(kind, key, object, options.dry_run).await {
                Err(WriteError::Exists) if given.is_empty() => {}
                Err(error) => return Err(Failure::from_write(error, kind, &name)),
                Ok(stored) => {
                    let body = present::one(kind, call.form, &stored, now);
                    return Ok(super::with_warnings(
                        super::json(StatusCode::CREATED, body),
                        &warnings,
                    ));
                }
            }
        }
        Err(Failure::no_free_name(kind, &name))
    }

    async fn insert(
        &self,
        kind: &Kind,
        key: Key,
        object: Value,
        dry_run: bool,
    ) -> Result<Arc<Stored>, WriteError> {
        let collected = self.collection_of(kind).map_err(|_| WriteError::Missing)?;
        let draft = draft(kind, collected, object);
        if dry_run {
            return match self.store.get(collected.id, &key) {
                Some(_) => Err(WriteError::Exists),
                None => Ok(Arc::new(self.store.preview(key, draft, self.store.version()))),
            };
        }
        self.store
            .put(collected.id, &key, draft, Expect::Absent, kind.durability)?
            .durable()
            .await
    }

    /// The namespace has to be there, and to stay.
    fn check_namespace(&self, target: &Target, object: &Value) -> Result<(), Failure> {
        let (true, Some(namespace)) = (target.kind.namespaced, target.namespace.as_deref()) else {
            return Ok(());
        };
        let namespaces = self.collected(("", "namespaces"))?;
        let found = self.store.get(namespaces.id, &Key::new("", namespace));
        let found = found.ok_or_else(|| Failure::not_found(namespaces.kind, namespace))?;
        if metadata::is_deleting(&found.decode()) {
            let name = metadata::text(object, "name");
            return Err(Failure::namespace_terminating(target.kind, name, namespace));
        }
        Ok(())
    }

    pub(super) async fn update(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let options = WriteOptions::parse(call)?;
        let decoded = schema::decode(kind, call.content_type(), &call.body).map_err(from_decode)?;
        let Wanted { mut object, warnings } = options.accept(kind, decoded)?;
        metadata::place(kind, &mut object, target.namespace.as_deref())?;
        let want = |_: &Value| {
            Ok(Wanted {
                object: object.clone(),
                warnings: warnings.clone(),
            })
        };
        self.modify(target, call, options.dry_run, want).await
    }

    pub(super) async fn patch(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let patch_type = call.content_type().and_then(PatchType::of);
        let patch_type = patch_type.ok_or_else(|| Failure::unsupported_media_type(PATCH_TYPES))?;
        if call.params.get("force").is_some() {
            let error = FieldError {
                field: "force".to_owned(),
                reason: FieldErrorReason::Forbidden,
                value: None,
                detail: "may not be specified for non-apply patch".to_owned(),
            };
            return Err(Failure::invalid_options("PatchOptions", &[error]));
        }
        let options = WriteOptions::parse(call)?;
        let want = |current: &Value| {
            let patched = patch::apply(kind, patch_type, current, &call.body).map_err(from_patch)?;
            let decoded = schema::clean(kind, patched).map_err(from_decode)?;
            options.accept_patch(decoded)
        };
        self.modify(target, call, options.dry_run, want).await
    }

    /// Reads an object, lets `want` change it, and writes it back.
    pub(super) async fn modify(
        &self,
        target: &Target,
        call: &Call,
        dry_run: bool,
        want: impl Fn(&Value) -> Result<Wanted, Failure>,
    ) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let name = target.name.as_deref().unwrap_or_default();
        for _ in 0..CONFLICT_TRIES {
            let stored = self.stored(target)?;
            let old = present::value(kind, &stored);
            let Wanted {
                object: new,
                warnings,
            } = want(&old)?;
            check_preconditions(kind, name, &new, &old)?;
            let next = Self::next_state(target, new, &old)?;
            match self.store_next(kind, &stored, &old, next, dry_run).await {
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(Failure::from_write(error, kind, name)),
                Ok(stored) => {
                    let body = present::one(kind, call.form, &stored, self.clock.now());
                    return Ok(super::with_warnings(super::json(StatusCode::OK, body), &warnings));
                }
            }
        }
        Err(Failure::modified(kind, name))
    }

    /// Applies the rules of updates to what a writer wants.
    ///
    /// Source: embedded-cluster.md 6.2 and 6.3.
    fn next_state(target: &Target, mut new: Value, old: &Value) -> Result<Next, Failure> {
        let kind = target.kind;
        let name = target.name.as_deref().unwrap_or_default();
        metadata::keep_server_fields(&mut new, old);
        match target.subresource {
            Some(Subresource::Status) => keep_all_but_status(&mut new, old),
            Some(Subresource::Finalize) => keep_all_but_finalizers(&mut new, old),
            Some(Subresource::Binding) | None => {
                if kind.subresources.contains(&Subresource::Status) {
                    keep_member(&mut new, old, "status");
                }
                if kind.subresources.contains(&Subresource::Finalize) {
                    keep_spec_finalizers(&mut new, old);
                }
                (kind.default)(&mut new);
                (kind.prepare_update)(&mut new, old);
                if kind.has_generation && new.get("spec") != old.get("spec") {
                    metadata::raise_generation(&mut new);
                }
            }
        }
        if new == *old {
            return Ok(Next::Same);
        }
        let mut errors = kinds::validate_metadata(kind, &new);
        errors.extend(kinds::validate_metadata_update(&new, old));
        if target.subresource.is_none() {
            errors.extend((kind.validate)(&new));
            errors.extend((kind.validate_update)(&new, old));
        }
        if !errors.is_empty() {
            return Err(Failure::invalid(kind, name, &errors));
        }
        Ok(if may_go(kind, &new) {
            Next::Remove(new)
        } else {
            Next::Replace(new)
        })
    }

    /// Brings the next state of an object into the store. `Conflict` means that it was changed in between.
    pub(super) async fn store_next(
        &self,
        kind: &Kind,
        stored: &Arc<Stored>,
        old: &Value,
        next: Next,
        dry_run: bool,
    ) -> Result<Arc<Stored>, WriteError> {
        let collected = self.collection_of(kind).map_err(|_| WriteError::Missing)?;
        let key = stored.key.clone();
        let commit = match next {
            Next::Same => return Ok(stored.clone()),
            Next::Replace(new) | Next::Remove(new) if dry_run => {
                let draft = draft(kind, collected, new);
                return Ok(Arc::new(self.store.preview(key, draft, stored.version)));
            }
            Next::Replace(new) => {
                let durability = if only_heartbeats_differ(&new, old) {
                    Durability::Relaxed
                } else {
                    kind.durability
                };
                let draft = draft(kind, collected, new);
                self.store.put(
                    collected.id,
                    &key,
                    draft,
                    Expect::Version(stored.version),
                    durability,
                )?
            }
            Next::Remove(last) => {
                let draft = draft(kind, collected, last);
                self.store
                    .remove(collected.id, &key, stored.version, Some(draft), kind.durability)?
            }
        };
        commit.durable().await
    }
}

/// `dryRun`, `fieldValidation` and `fieldManager`.
#[derive(Debug, Clone, Copy)]
pub(super) struct WriteOptions {
    pub(super) dry_run: bool,
    validation: FieldValidation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldValidation {
    Strict,
    Warn,
    Ignore,
}

impl WriteOptions {
    /// Checks the parameters of a write.
    ///
    /// Source: embedded-cluster.md 6.5.
    pub(super) fn parse(call: &Call) -> Result<Self, Failure> {
        let mut errors = Vec::new();
        let mut dry_run = false;
        for value in call.params.all("dryRun").filter(|v| !v.is_empty()) {
            dry_run = true;
            if value != "All" {
                errors.push(FieldError::not_supported("dryRun", value, &["All"]));
            }
        }
        let validation = match call.params.get("fieldValidation") {
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Warn") | None => FieldValidation::Warn,
            Some(other) => {
                errors.push(FieldError::not_supported(
                    "fieldValidation",
                    other,
                    &["Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        if let Some(manager) = call.params.get("fieldManager") {
            if manager.len() > 128 {
                errors.push(FieldError {
                    field: "fieldManager".to_owned(),
                    reason: FieldErrorReason::TooLong,
                    value: None,
                    detail: "may not be more than 128 bytes".to_owned(),
                });
            }
            if manager.chars().any(char::is_control) {
                errors.push(FieldError {
                    field: "fieldManager".to_owned(),
                    reason: FieldErrorReason::Invalid,
                    value: Some(manager.into()),
                    detail: "should only contain printable characters".to_owned(),
                });
            }
        }
        if errors.is_empty() {
            Ok(Self { dry_run, validation })
        } else {
            Err(Failure::invalid_options("CreateOptions", &errors))
        }
    }

    /// Judges unknown and duplicate fields of a body.
    pub(super) fn accept(self, kind: &Kind, decoded: Decoded) -> Result<Wanted, Failure> {
        let Decoded {
            object,
            strict_errors,
        } = decoded;
        match self.validation {
            FieldValidation::Strict if !strict_errors.is_empty() => Err(Failure::bad_request(format!(
                "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {errors}",
                kind = kind.kind,
                version = kind.version,
                errors = strict_errors.join(", "),
            ))),
            FieldValidation::Strict | FieldValidation::Ignore => Ok(Wanted {
                object,
                warnings: Vec::new(),
            }),
            FieldValidation::Warn => Ok(Wanted {
                object,
                warnings: strict_errors,
            }),
        }
    }

    /// The same for what a patch made.
    fn accept_patch(self, decoded: Decoded) -> Result<Wanted, Failure> {
        let Decoded {
            object,
            strict_errors,
        } = decoded;
        match self.validation {
            FieldValidation::Strict if !strict_errors.is_empty() => Err(Failure::unprocessable(format!(
                "\"\" is invalid: patch: Invalid value: strict decoding error: {}",
                strict_errors.join(", ")
            ))),
            FieldValidation::Strict | FieldValidation::Ignore => Ok(Wanted {
                object,
                warnings: Vec::new(),
            }),
            FieldValidation::Warn => Ok(Wanted {
                object,
                warnings: strict_errors,
            }),
        }
    }
}

/// A new object's or version's bytes, in the form in which the kind is stored.
pub(super) fn draft(kind: &Kind, collected: Collected, object: Value) -> Draft {
    let object = if present::stores_own_form(kind) {
        object
    } else {
        event::to_core(object)
    };
    Draft::new(&object, collected.kind.field_keys)
}

pub(super) fn from_decode(error: DecodeError) -> Failure {
    match error {
        DecodeError::UnsupportedMediaType(message) => Failure::unsupported_media_type(message),
        DecodeError::Malformed(message) => Failure::bad_request(message),
    }
}

fn from_patch(error: PatchError) -> Failure {
    match error {
        PatchError::BadRequest(message) => Failure::bad_request(message),
        PatchError::Invalid(message) => Failure::unprocessable(message),
        PatchError::TooLarge(message) => Failure::too_large(message),
    }
}

/// Name, namespace, resourceVersion and uid in a body must be those of the stored object.
///
/// Source: embedded-cluster.md 6.3, rules 2 to 4.
fn check_preconditions(kind: &Kind, name: &str, new: &Value, old: &Value) -> Result<(), Failure> {
    let given = metadata::text(new, "name");
    if !given.is_empty() && given != name {
        return Err(Failure::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        )));
    }
    let namespace = metadata::text(new, "namespace");
    if kind.namespaced && !namespace.is_empty() && namespace != metadata::text(old, "namespace") {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let uid = metadata::text(new, "uid");
    let stored_uid = metadata::text(old, "uid");
    if !uid.is_empty() && uid != stored_uid {
        let why =
            format!("Precondition failed: UID in precondition: {uid}, UID in object meta: {stored_uid}");
        return Err(Failure::conflict(kind, name, &why));
    }
    let version = metadata::text(new, "resourceVersion");
    if !version.is_empty() && version != metadata::text(old, "resourceVersion") {
        return Err(Failure::modified(kind, name));
    }
    Ok(())
}

/// Source: embedded-cluster.md 6.3, rule 6. Labels, annotations and finalizers of a status write do take effect.
fn keep_all_but_status(new: &mut Value, old: &Value) {
    if let Some(metadata) = metadata::metadata_mut(new) {
        metadata::keep(metadata, old, "ownerReferences");
    }
    let (Some(map), Some(old)) = (new.as_object_mut(), old.as_object()) else {
        return;
    };
    map.retain(|name, _| matches!(name.as_str(), "metadata" | "status"));
    for (name, value) in old
        .iter()
        .filter(|(name, _)| !matches!(name.as_str(), "metadata" | "status"))
    {
        map.insert(name.clone(), value.clone());
    }
}

fn keep_all_but_finalizers(new: &mut Value, old: &Value) {
    let finalizers = new.pointer("/spec/finalizers").cloned();
    let mut next = old.clone();
    if let Some(metadata) = new.get("metadata").and_then(|m| m.get("finalizers"))
        && let Some(next) = metadata::metadata_mut(&mut next)
    {
        next.insert("finalizers".to_owned(), metadata.clone());
    }
    set_spec_finalizers(&mut next, finalizers);
    *new = next;
}

fn keep_spec_finalizers(new: &mut Value, old: &Value) {
    set_spec_finalizers(new, old.pointer("/spec/finalizers").cloned());
}

fn set_spec_finalizers(object: &mut Value, finalizers: Option<Value>) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    let spec = object
        .entry("spec")
        .or_insert_with(|| Value::Object(serde_json::Map::new()));
    let Some(spec) = spec.as_object_mut() else { return };
    match finalizers.filter(|f| f.as_array().is_some_and(|f| !f.is_empty())) {
        Some(finalizers) => spec.insert("finalizers".to_owned(), finalizers),
        None => spec.remove("finalizers"),
    };
    if spec.is_empty() {
        object.remove("spec");
    }
}

fn keep_member(new: &mut Value, old: &Value, member: &str) {
    let Some(new) = new.as_object_mut() else { return };
    match old.get(member) {
        Some(value) => new.insert(member.to_owned(), value.clone()),
        None => new.remove(member),
    };
}

/// Does nothing hold a deleted object any more?
///
/// Source: embedded-cluster.md 6.3, rule 8.
fn may_go(kind: &Kind, object: &Value) -> bool {
    let grace = object
        .pointer("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_i64);
    metadata::is_deleting(object) && grace.unwrap_or(0) == 0 && !metadata::is_held(kind, object)
}

/// Did a node only say that it is alive? Such writes are many, and losing one to a crash costs nothing.
pub(super) fn only_heartbeats_differ(new: &Value, old: &Value) -> bool {
    let conditions = |object: &Value| {
        object
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .is_some_and(|list| {
                list.iter()
                    .any(|condition| condition.get("lastHeartbeatTime").is_some())
            })
    };
    if !conditions(new) || !conditions(old) {
        return false;
    }
    let without = |object: &Value| {
        let mut object = object.clone();
        let list = object
            .pointer_mut("/status/conditions")
            .and_then(Value::as_array_mut);
        for condition in list.into_iter().flatten().filter_map(Value::as_object_mut) {
            condition.remove("lastHeartbeatTime");
        }
        object
    };
    without(new) == without(old)
}
