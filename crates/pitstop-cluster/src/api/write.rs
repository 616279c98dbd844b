//! Create, update and patch: the write pipeline.
//!
//! decode -> metadata -> the kind's own rules -> defaults -> validation -> store.
//!
//! Source: embedded-cluster.md 6 and 9.

use std::sync::Arc;

use http::{Response, StatusCode};
use serde_json::Value;

use super::admission::{self, clean_patched};
use super::options::{Wanted, WriteOptions};
use super::owners::{self, Writer};
use super::route::Target;
use super::status::Failure;
use super::update::{self, Next, OtherUid};
use super::{Api, Body, Call, Collected, metadata, present};
use crate::admission::{Objects, Operation};
use crate::kinds::{self, Conversion, Creation, Durability, FieldError, Kind, Subresource};
use crate::patch::{self, PatchError, PatchType};
use crate::schema::{self, DecodeError};
use crate::store::{Draft, Expect, Key, Stored, WriteError};

/// How often a name is generated before giving up.
///
/// Source: embedded-cluster.md 6.1.
const NAME_TRIES: usize = 8;

/// How often a write without a resourceVersion of its own is repeated when others write at the same time.
///
/// Source: embedded-cluster.md 9.
const CONFLICT_TRIES: usize = 5;

/// What the creator of an object is told that nothing will come of.
const ONLY_STORED: &str = "stored, but no controller acts on it";

/// Custom kinds have no strategic merge.
///
/// Source: embedded-cluster.md 21.
const CUSTOM_PATCH_TYPES: &str = "the body of the request was in an unknown format - accepted media types include: \
                                  application/json-patch+json, application/merge-patch+json, application/apply-patch+yaml";

/// Nothing new of a kind that goes away.
///
/// Source: embedded-cluster.md 14, rule 6.
fn check_definition(target: &Target, object: &Value) -> Result<(), Failure> {
    if target.custom.as_ref().is_some_and(|custom| custom.is_terminating) {
        let why = "create not allowed while custom resource definition is terminating";
        return Err(Failure::forbidden(
            target.kind,
            metadata::text(object, "name"),
            why,
        ));
    }
    Ok(())
}

impl Api {
    pub(super) async fn create(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let options = WriteOptions::parse(call)?;
        let decoded = target
            .decode(call.content_type(), &call.body)
            .map_err(from_decode)?;
        let wanted = options.accept(kind, decoded)?;
        call.note(&wanted.warnings);
        self.create_wanted(target, call, options.dry_run, wanted).await
    }

    /// Makes an object. Its `managedFields` are those that its writer sent.
    pub(super) async fn create_wanted(
        &self,
        target: &Target,
        call: &Call,
        dry_run: bool,
        wanted: Wanted,
    ) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let Wanted {
            mut object,
            mut warnings,
        } = wanted;
        if kind.is_only_stored {
            warnings.push(ONLY_STORED.to_owned());
        }
        warnings.extend((kind.unheeded)(&object));
        metadata::place(kind, &mut object, target.namespace.as_deref())?;
        check_definition(target, &object)?;
        self.check_namespace(target, &object)?;
        let now = self.clock.now();
        let owners = owners::take(&mut object);
        metadata::begin(kind, &mut object, self.random.uid(), now)?;
        // What webhooks change is nobody's.
        let writer = self.writer(target, call);
        let decide = || writer.at_creation(kind, &object, owners.as_ref());
        let owners = self.with_versions(target, writer.versions(), decide).await?;
        let mut request = admission::request(target, call, Operation::Create, dry_run);
        request.name = metadata::text(&object, "name").to_owned();
        let object = Box::pin(self.mutate_new(&request, target, object, &mut warnings)).await?;
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
            self.check_write(call, None, Some(&object))?;
            let suffix = self.random.suffix();
            (kind.prepare_create)(
                &mut object,
                &Creation {
                    now,
                    suffix: &suffix,
                    user: &call.user,
                },
            );
            (kind.default)(&mut object);
            self.give_priority(kind, &name, &mut object)?;
            let errors = creation_errors(target, &object);
            if !errors.is_empty() {
                return Err(Failure::invalid(kind, &name, &errors));
            }
            self.check_service_account(target, &name, &object)?;
            owners::put(&mut object, &owners);
            request.name = name.clone();
            let objects = Objects {
                new: Some(&object),
                old: None,
            };
            Box::pin(self.judge(&request, objects, &mut warnings)).await?;
            let key = Key::new(target.namespace.as_deref().unwrap_or_default(), &name);
            let object = self.as_stored(target, object).await?;
            match self.insert(kind, key, object, dry_run).await {
                Err(WriteError::Exists) if given.is_empty() => {}
                Err(WriteError::Exists) if !prefix.is_empty() => {
                    return Err(Failure::no_free_name(kind, &name));
                }
                Err(WriteError::Exists) if self.is_going(target, &name) => {
                    return Err(Failure::still_exists(kind, &name));
                }
                Err(error) => return Err(Failure::from_write(error, kind, &name)),
                Ok(stored) => {
                    let stored = self.shown_to(target, stored).await?;
                    let body = if dry_run {
                        present::unstored(kind, call.form, &stored, now)
                    } else {
                        present::one(kind, call.form, &stored, now)
                    };
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

    /// Is an object there that waits for its end?
    fn is_going(&self, target: &Target, name: &str) -> bool {
        let key = Key::new(target.namespace.as_deref().unwrap_or_default(), name);
        let found = self.collection_of(target.kind).ok();
        let found = found.and_then(|collected| self.store.get(collected.id, &key));
        found.is_some_and(|stored| metadata::is_deleting(&stored.decode()))
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

    /// The service account of a new object has to be there. That of every namespace comes by itself, and pods need not
    /// wait for it here.
    fn check_service_account(&self, target: &Target, name: &str, object: &Value) -> Result<(), Failure> {
        let Some(account) = (target.kind.service_account)(object).filter(|account| *account != "default")
        else {
            return Ok(());
        };
        let namespace = target.namespace.as_deref().unwrap_or_default();
        let accounts = self.collected(("", "serviceaccounts"))?;
        if self
            .store
            .get(accounts.id, &Key::new(namespace, account))
            .is_some()
        {
            return Ok(());
        }
        let why = format!(
            "error looking up service account {namespace}/{account}: serviceaccount \"{account}\" not found"
        );
        Err(Failure::forbidden(target.kind, name, &why))
    }

    pub(super) async fn update(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let options = WriteOptions::parse(call)?;
        let decoded = target
            .decode(call.content_type(), &call.body)
            .map_err(from_decode)?;
        let Wanted { mut object, warnings } = options.accept(kind, decoded)?;
        call.note(&warnings);
        let name = target.name.as_deref().unwrap_or_default();
        let given = metadata::text(&object, "name");
        if given.is_empty() {
            return Err(Failure::without_name(name));
        }
        if given != name {
            return Err(Failure::other_name(given, name));
        }
        if kind.is_custom() && metadata::text(&object, "resourceVersion").is_empty() {
            return Err(Failure::without_version(kind, name));
        }
        metadata::place(kind, &mut object, target.namespace.as_deref())?;
        let want = |_: &Value| {
            Ok(Wanted {
                object: object.clone(),
                warnings: warnings.clone(),
            })
        };
        if target.subresource.is_none() && self.is_missing(target) {
            let uid = metadata::text(&object, "uid");
            if !uid.is_empty() && (kind.is_made_by_update || options.dry_run) {
                return Err(Failure::conflict(
                    kind,
                    name,
                    &update::missing_uid(kind, &object, uid),
                ));
            }
            if !kind.is_made_by_update {
                return Err(Failure::not_found(kind, name));
            }
            update::check_version_syntax(metadata::text(&object, "resourceVersion"))?;
            if let Some(metadata) = metadata::metadata_mut(&mut object) {
                metadata.remove("resourceVersion");
            }
            let wanted = Wanted { object, warnings };
            return self.create_wanted(target, call, options.dry_run, wanted).await;
        }
        let writer = self.writer(target, call);
        self.modify(target, call, options.dry_run, OtherUid::Conflict, &writer, want)
            .await
    }

    fn is_missing(&self, target: &Target) -> bool {
        self.stored(target).is_err_and(|failure| failure.is_not_found())
    }

    pub(super) async fn patch(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        if owners::is_apply(call) {
            return self.apply(target, call).await;
        }
        let kind = target.kind;
        let name = target.name.as_deref().unwrap_or_default();
        let patch_type = call.content_type().and_then(PatchType::of);
        let patch_type = patch_type.ok_or_else(Failure::unsupported_patch)?;
        if kind.is_custom() && patch_type == PatchType::Strategic {
            return Err(Failure::unsupported_media_type(CUSTOM_PATCH_TYPES));
        }
        if call.params.get("force").is_some() {
            let error = FieldError::forbidden("force", "may not be specified for non-apply patch");
            return Err(Failure::invalid_options("PatchOptions", &[error]));
        }
        let options = WriteOptions::parse(call)?;
        let is_about_status = target.subresource == Some(Subresource::Status) && !kind.is_custom();
        let want = |current: &Value| {
            let patched =
                patch::apply_where_it_reaches(kind, patch_type, current, &call.body, is_about_status);
            let (mut patched, is_whole) = patched.map_err(from_patch)?;
            if patch_type == PatchType::Strategic {
                keep_type(kind, &mut patched);
            }
            let shown = patch::Shown::new(kind, patch_type, current, &call.body);
            if patch_type != PatchType::Strategic && !kind.is_custom() {
                check_patched_type(kind, name, &patched, &shown, call)?;
            }
            let mut decoded = target
                .clean(patched)
                .map_err(|error| from_patched(error, &shown))?;
            if !is_whole {
                update::keep_rest(&mut decoded.object, current);
            }
            options.accept_patch(decoded, || shown.text())
        };
        let writer = self.writer(target, call);
        self.modify(target, call, options.dry_run, OtherUid::Invalid, &writer, want)
            .await
    }

    /// Reads an object, lets `want` change it, and writes it back.
    pub(super) async fn modify(
        &self,
        target: &Target,
        call: &Call,
        dry_run: bool,
        other_uid: OtherUid,
        writer: &Writer<'_>,
        want: impl Fn(&Value) -> Result<Wanted, Failure> + Sync,
    ) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let name = target.name.as_deref().unwrap_or_default();
        for _ in 0..CONFLICT_TRIES {
            let stored = self.shown_to(target, self.stored(target)?).await?;
            let old = present::value(kind, &stored);
            let Wanted {
                object: mut new,
                mut warnings,
            } = self
                .with_versions(target, writer.versions(), || want(&old))
                .await?;
            call.note(&warnings);
            warnings.extend((kind.unheeded)(&new));
            let owners = owners::take(&mut new);
            update::check_preconditions(kind, name, &new, &old, other_uid)?;
            self.check_write(call, Some(&old), Some(&new))?;
            let request = admission::request(target, call, Operation::Update, dry_run);
            if target.subresource.is_none() {
                (kind.default)(&mut new);
            }
            let objects = Objects {
                new: Some(&new),
                old: Some(&old),
            };
            let clean = |patched| clean_patched(target, patched);
            let changed = Box::pin(self.mutate(&request, objects, &clean, &mut warnings)).await?;
            let next = match changed {
                None => {
                    let next = update::next_state(target, new, &old)?;
                    self.settle(target, writer, next, &old, owners.as_ref()).await?
                }
                Some(changed) => {
                    // What webhooks change is nobody's: owners follow from what the writer wants.
                    let wanted = Next::Replace(new);
                    let wanted = self.settle(target, writer, wanted, &old, owners.as_ref()).await?;
                    let next = update::next_state(target, changed, &old)?;
                    owners::keep(next, &wanted)
                }
            };
            let settled = next.object().unwrap_or(&old);
            if target.subresource.is_none() {
                self.check_growth(kind, name, settled, &old)?;
            }
            let objects = Objects {
                new: Some(settled),
                old: Some(&old),
            };
            Box::pin(self.judge(&request, objects, &mut warnings)).await?;
            let next = self.next_as_stored(target, next).await?;
            match self.store_next(kind, &stored, &old, next, dry_run).await {
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(Failure::from_write(error, kind, name)),
                Ok(stored) => {
                    let stored = self.shown_to(target, stored).await?;
                    let body = present::one(kind, call.form, &stored, self.clock.now());
                    return Ok(super::with_warnings(super::json(StatusCode::OK, body), &warnings));
                }
            }
        }
        Err(Failure::modified(kind, name))
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
        let draft = |kind: &Kind, collected: Collected, new: Value| match kind.conversion {
            Some(conversion) => draft(collected.kind, collected, converted(conversion, new, old, stored)),
            None => draft(kind, collected, new),
        };
        let commit = match next {
            Next::Same => return Ok(stored.clone()),
            Next::Replace(new) | Next::Remove(new) if dry_run => {
                let draft = draft(kind, collected, new);
                return Ok(Arc::new(self.store.preview(key, draft, stored.version)));
            }
            Next::Replace(new) => {
                let durability = if update::only_heartbeats_differ(&new, old) {
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
                // Who watches sees the state that was stored, who writes the one that was written.
                let commit = self
                    .store
                    .remove(collected.id, &key, stored.version, kind.durability)?;
                commit.durable().await?;
                let last = draft(kind, collected, last);
                return Ok(Arc::new(self.store.preview(key, last, stored.version)));
            }
        };
        commit.durable().await
    }
}

/// What is wrong with a new object: by the rules of its kind, and if nothing is, by those of all kinds.
fn creation_errors(target: &Target, object: &Value) -> Vec<FieldError> {
    let kind = target.kind;
    let mut errors = Vec::new();
    if kind.metadata_checks.on_create {
        errors.extend(kinds::validate_metadata(kind, object));
    }
    errors.extend(target.validate(object));
    errors.extend((kind.validate_create)(object));
    if errors.is_empty() {
        errors.extend(kinds::validate_common_metadata(object));
    }
    errors
}

/// A new version in the form that is stored. A spec that has not changed stays as it is, also where the way through the
/// other form and back would bring it into another order.
fn converted(conversion: &Conversion, new: Value, old: &Value, stored: &Stored) -> Value {
    let mut new = (conversion.to_stored)(new);
    if new.get("spec") == (conversion.to_stored)(old.clone()).get("spec")
        && let (Some(spec), Some(fields)) = (stored.decode().get("spec"), new.as_object_mut())
    {
        fields.insert("spec".to_owned(), spec.clone());
    }
    new
}

/// A new object's or version's bytes, in the form in which the kind is stored.
pub(super) fn draft(kind: &Kind, collected: Collected, object: Value) -> Draft {
    let object = match kind.conversion {
        Some(conversion) => (conversion.to_stored)(object),
        None => object,
    };
    Draft::new(&object, collected.kind.field_keys)
}

pub(super) fn from_decode(error: DecodeError) -> Failure {
    match error {
        DecodeError::UnsupportedMediaType(message) => Failure::unsupported_media_type(message),
        DecodeError::Malformed(message) => Failure::bad_request(message),
        wrong @ DecodeError::WrongType { .. } => Failure::bad_request(wrong.to_string()),
    }
}

/// A strategic merge patch changes the fields of a type, and not the type.
fn keep_type(kind: &Kind, patched: &mut Value) {
    for (field, own) in [("apiVersion", kind.api_version()), ("kind", kind.kind.to_owned())] {
        if let Some(given @ Value::String(_)) = patched.get_mut(field) {
            *given = own.into();
        }
    }
}

/// What a patch made has to be of a type that is known. What has no version is nothing of which a field is known.
fn check_patched_type(
    kind: &Kind,
    name: &str,
    patched: &Value,
    shown: &patch::Shown<'_>,
    call: &Call,
) -> Result<(), Failure> {
    match schema::patched_type(kind, patched) {
        schema::PatchedType::Right => Ok(()),
        schema::PatchedType::Wrong(problem) => Err(Failure::invalid_patch(shown.text(), &problem)),
        schema::PatchedType::Unversioned => {
            let fields = patched.as_object().into_iter().flat_map(serde_json::Map::keys);
            let unknown: Vec<String> = fields
                .filter(|field| !matches!(field.as_str(), "apiVersion" | "kind"))
                .map(|field| format!("unknown field \"{field}\""))
                .collect();
            if call.params.get("fieldValidation") != Some("Ignore") {
                call.note(&unknown);
            }
            Err(Failure::without_name(name))
        }
    }
}

/// What a patch made is no object of its kind.
pub(super) fn from_patched(error: DecodeError, shown: &patch::Shown<'_>) -> Failure {
    match error {
        DecodeError::WrongType { problem, .. } => {
            Failure::invalid_patch(shown.text(), &shown.problem(&problem))
        }
        other => from_decode(other),
    }
}

pub(super) fn from_patch(error: PatchError) -> Failure {
    match error {
        PatchError::BadRequest(message) => Failure::bad_request(message),
        PatchError::Invalid(message) => Failure::unprocessable(message),
        PatchError::Rejected => Failure::rejected(),
        PatchError::Untyped(message) => Failure::untyped(message),
        PatchError::TooLarge(message) => Failure::too_large(message),
    }
}
