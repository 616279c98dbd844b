//! The `scale` of an object: how many replicas it is to have, in one form for every kind that has replicas.
//!
//! Source: embedded-cluster.md 10.2.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::admission;
use super::options::{Wanted, WriteOptions};
use super::owners::{self, Writer};
use super::route::Target;
use super::status::Failure;
use super::update::{self, OtherUid};
use super::write::{from_decode, from_patch, from_patched};
use super::{Api, Body, Call, apply, metadata, present};
use crate::admission::{Form, Operation};
use crate::apply::Managers;
use crate::custom::Scale;
use crate::kinds::{self, FieldError};
use crate::patch::{self, PatchType};
use crate::schema;
use crate::store::WriteError;

/// How often a scale without a resourceVersion is tried when others write at the same time.
const TRIES: usize = 5;

impl Api {
    pub(super) async fn get_scale(&self, target: &Target) -> Result<Response<Body>, Failure> {
        let stored = self.shown_to(target, self.stored(target)?).await?;
        let scale = scale_of(target, &present::value(target.kind, &stored))?;
        Ok(super::json(StatusCode::OK, scale.to_string()))
    }

    pub(super) async fn update_scale(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let options = WriteOptions::parse(call)?;
        let decoded = schema::decode(&kinds::SCALE, call.content_type(), &call.body).map_err(from_decode)?;
        let wanted = options.accept(&kinds::SCALE, decoded)?;
        let writer = self.writer(target, call);
        self.rescale(target, call, options.dry_run, &writer, |_, _| {
            let wanted = Wanted {
                object: wanted.object.clone(),
                warnings: wanted.warnings.clone(),
            };
            Ok((wanted, None))
        })
        .await
    }

    pub(super) async fn patch_scale(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        if owners::is_apply(call) {
            return self.apply_scale(target, call).await;
        }
        let patch_type = call.content_type().and_then(PatchType::of);
        let patch_type = patch_type.ok_or_else(Failure::unsupported_patch)?;
        let options = WriteOptions::parse(call)?;
        let writer = self.writer(target, call);
        self.rescale(target, call, options.dry_run, &writer, |_, current| {
            let patched = patch::apply(&kinds::SCALE, patch_type, current, &call.body).map_err(from_patch)?;
            let shown = patch::Shown::new(&kinds::SCALE, patch_type, current, &call.body);
            let decoded =
                schema::clean(&kinds::SCALE, patched).map_err(|error| from_patched(error, &shown))?;
            Ok((options.accept_patch(decoded, || shown.text())?, None))
        })
        .await
    }

    /// Applies a number of replicas: the field of the object has an owner like any other.
    async fn apply_scale(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let (options, force) = apply::parameters(call)?;
        let (scale, _) = apply::configuration(&kinds::SCALE, call, None, |body| {
            schema::clean(&kinds::SCALE, body)
        })?;
        let mut wanted = json!({"apiVersion": kind.api_version(), "kind": kind.kind});
        if let Some(replicas) = scale.pointer("/spec/replicas") {
            set_at(&mut wanted, &places(target).wanted, replicas.clone());
        }
        let writer = self.writer(target, call);
        self.rescale(target, call, options.dry_run, &writer, |object, _| {
            let mut live = object.clone();
            let managers = owners::take(&mut live)
                .as_ref()
                .and_then(Managers::decode)
                .unwrap_or_default();
            let applied = crate::apply::merge(&managers, &live, &wanted, &writer.write(), force)
                .map_err(|error| apply::refused(&scale, error))?;
            let mut object = scale_of(target, &applied.object)?;
            if let Some(metadata) = metadata::metadata_mut(&mut object) {
                for condition in ["uid", "resourceVersion"] {
                    metadata::keep(metadata, &scale, condition);
                }
            }
            let mut owned = json!({});
            owners::put(&mut owned, &applied.managers);
            let wanted = Wanted {
                object,
                warnings: Vec::new(),
            };
            Ok((wanted, owners::take(&mut owned)))
        })
        .await
    }

    /// Lets `want` change the scale of an object, and brings the number into the object. `want` sees both, and may say
    /// who owns what.
    async fn rescale(
        &self,
        target: &Target,
        call: &Call,
        dry_run: bool,
        writer: &Writer<'_>,
        want: impl Fn(&Value, &Value) -> Result<(Wanted, Option<Value>), Failure> + Sync,
    ) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let name = target.name.as_deref().unwrap_or_default();
        for _ in 0..TRIES {
            let stored = self.shown_to(target, self.stored(target)?).await?;
            let old = present::value(kind, &stored);
            let before = scale_of(target, &old)?;
            let (wanted, owned) = self
                .with_versions(target, writer.versions(), || want(&old, &before))
                .await?;
            let Wanted {
                object: scale,
                mut warnings,
            } = wanted;
            update::check_preconditions(kind, name, &scale, &old, OtherUid::Conflict)?;
            let mut request = admission::request(target, call, Operation::Update, dry_run);
            request.form = Form::of(&kinds::SCALE);
            let asked = self.admit_body(&request, scale, Some(&before), &mut warnings);
            let scale = Box::pin(asked).await?;
            let replicas = replicas_of(&scale, name)?;
            let mut new = old.clone();
            set_at(&mut new, &places(target).wanted, replicas.into());
            let next = update::next_state(target, new, &old)?;
            let next = self.settle(target, writer, next, &old, owned.as_ref()).await?;
            let next = self.next_as_stored(target, next).await?;
            match self.store_next(kind, &stored, &old, next, dry_run).await {
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(Failure::from_write(error, kind, name)),
                Ok(stored) => {
                    let stored = self.shown_to(target, stored).await?;
                    let body = scale_of(target, &present::value(kind, &stored))?.to_string();
                    return Ok(super::with_warnings(super::json(StatusCode::OK, body), &warnings));
                }
            }
        }
        Err(Failure::modified(kind, name))
    }
}

fn replicas_of(scale: &Value, name: &str) -> Result<i64, Failure> {
    let replicas = scale.pointer("/spec/replicas").and_then(Value::as_i64);
    let replicas = replicas.unwrap_or_default();
    if replicas >= 0 {
        return Ok(replicas);
    }
    let why = "must be greater than or equal to 0";
    let error = FieldError::invalid("spec.replicas", replicas, why);
    Err(Failure::invalid(&kinds::SCALE, name, &[error]))
}

/// Where the replicas of a kind's objects are.
fn places(target: &Target) -> Scale {
    let custom = target.custom.as_ref().and_then(|custom| custom.scale.clone());
    custom.unwrap_or_else(|| Scale {
        wanted: "/spec/replicas".to_owned(),
        counted: "/status/replicas".to_owned(),
        selector: None,
    })
}

/// Sets a value, with the maps that lead to it.
fn set_at(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for name in pointer.split('/').skip(1) {
        if !at.is_object() {
            *at = json!({});
        }
        let Some(map) = at.as_object_mut() else { return };
        at = map.entry(name).or_insert(Value::Null);
    }
    *at = value;
}

fn scale_of(target: &Target, object: &Value) -> Result<Value, Failure> {
    let places = places(target);
    let number = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_i64)
            .unwrap_or_default()
    };
    if target.custom.is_some() && object.pointer(&places.wanted).is_none() {
        let path = places.wanted.replace('/', ".");
        let why = format!("the spec replicas field {path:?} does not exist");
        return Err(Failure::internal_error(&why));
    }
    let selector = match &places.selector {
        Some(pointer) => object
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned(),
        None => (target.kind.scale_selector)(object),
    };
    let mut meta = serde_json::Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        metadata::keep(&mut meta, object, field);
    }
    let mut spec = serde_json::Map::new();
    if number(&places.wanted) != 0 {
        spec.insert("replicas".to_owned(), number(&places.wanted).into());
    }
    let mut status = serde_json::Map::new();
    status.insert("replicas".to_owned(), number(&places.counted).into());
    if target.custom.is_none() || !selector.is_empty() {
        status.insert("selector".to_owned(), selector.into());
    }
    Ok(json!({
        "kind": kinds::SCALE.kind, "apiVersion": kinds::SCALE.api_version(), "metadata": meta, "spec": spec,
        "status": status,
    }))
}
