//! The `scale` of an object: how many replicas it is to have, in one form for every kind that has replicas.
//!
//! Source: embedded-cluster.md 10.2.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::admission;
use super::options::{Wanted, WriteOptions};
use super::owners::Writer;
use super::route::Target;
use super::status::Failure;
use super::update::{self, OtherUid};
use super::write::{from_decode, from_patch, from_patched};
use super::{Api, Body, Call, metadata};
use crate::admission::{Form, Operation};
use crate::kinds::{self, FieldError, Kind};
use crate::patch::{self, PatchType};
use crate::schema;
use crate::store::WriteError;

/// How often a scale without a resourceVersion is tried when others write at the same time.
const TRIES: usize = 5;

impl Api {
    pub(super) fn get_scale(&self, target: &Target) -> Result<Response<Body>, Failure> {
        let stored = self.stored(target)?;
        let scale = scale_of(target.kind, &stored.decode());
        Ok(super::json(StatusCode::OK, scale.to_string()))
    }

    pub(super) async fn update_scale(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let options = WriteOptions::parse(call)?;
        let decoded = schema::decode(&kinds::SCALE, call.content_type(), &call.body).map_err(from_decode)?;
        let wanted = options.accept(&kinds::SCALE, decoded)?;
        self.rescale(target, call, options.dry_run, |_| {
            Ok(Wanted {
                object: wanted.object.clone(),
                warnings: wanted.warnings.clone(),
            })
        })
        .await
    }

    pub(super) async fn patch_scale(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let patch_type = call.content_type().and_then(PatchType::of);
        let patch_type =
            patch_type.ok_or_else(|| Failure::unsupported_media_type(super::write::PATCH_TYPES))?;
        let options = WriteOptions::parse(call)?;
        self.rescale(target, call, options.dry_run, |current| {
            let patched = patch::apply(&kinds::SCALE, patch_type, current, &call.body).map_err(from_patch)?;
            let decoded = schema::clean(&kinds::SCALE, patched).map_err(from_patched)?;
            options.accept_patch(decoded)
        })
        .await
    }

    /// Lets `want` change the scale of an object, and brings the number into the object.
    async fn rescale(
        &self,
        target: &Target,
        call: &Call,
        dry_run: bool,
        want: impl Fn(&Value) -> Result<Wanted, Failure>,
    ) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let name = target.name.as_deref().unwrap_or_default();
        for _ in 0..TRIES {
            let stored = self.stored(target)?;
            let old = stored.decode();
            let Wanted {
                object: scale,
                mut warnings,
            } = want(&scale_of(kind, &old))?;
            update::check_preconditions(kind, name, &scale, &old, OtherUid::Conflict)?;
            let mut request = admission::request(target, call, Operation::Update, dry_run);
            request.form = Form::of(&kinds::SCALE);
            let before = scale_of(kind, &old);
            let asked = self.admit_body(&request, scale, Some(&before), &mut warnings);
            let scale = Box::pin(asked).await?;
            let replicas = replicas_of(&scale, name)?;
            let mut new = old.clone();
            if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) {
                spec.insert("replicas".to_owned(), replicas.into());
            }
            let next = update::next_state(target, new, &old)?;
            let next = Writer::of(target, call, self.clock.now()).settle(next, &old, None);
            match self.store_next(kind, &stored, &old, next, dry_run).await {
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(Failure::from_write(error, kind, name)),
                Ok(stored) => {
                    let body = scale_of(kind, &stored.decode()).to_string();
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

fn scale_of(kind: &Kind, object: &Value) -> Value {
    let number = |pointer: &str| {
        object
            .pointer(pointer)
            .and_then(Value::as_i64)
            .unwrap_or_default()
    };
    let mut meta = serde_json::Map::new();
    for field in ["name", "namespace", "uid", "resourceVersion", "creationTimestamp"] {
        metadata::keep(&mut meta, object, field);
    }
    let mut spec = serde_json::Map::new();
    if number("/spec/replicas") != 0 {
        spec.insert("replicas".to_owned(), number("/spec/replicas").into());
    }
    json!({
        "kind": kinds::SCALE.kind, "apiVersion": kinds::SCALE.api_version(), "metadata": meta, "spec": spec,
        "status": {"replicas": number("/status/replicas"), "selector": (kind.scale_selector)(object)},
    })
}
