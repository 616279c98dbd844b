//! Bindings. Status and finalize are updates of a part of the object and live with them.
//!
//! Source: embedded-cluster.md 10.3.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::admission;
use super::options::WriteOptions;
use super::route::Target;
use super::status::{self, Failure};
use super::update::Next;
use super::write::from_decode;
use super::{Api, Body, Call, metadata};
use crate::admission::{Form, Operation};
use crate::kinds::{self, FieldError, Subresource};
use crate::schema;
use crate::store::WriteError;

/// Names of bodies that are no stored objects, as the schema knows them.
pub(super) const DELETE_OPTIONS: &str = "meta/v1.DeleteOptions";
const BINDING_FORM: Form = Form {
    group: "",
    version: "v1",
    kind: "Binding",
};

const TRIES: usize = 5;

impl Api {
    /// A binding that names its pod itself.
    pub(super) async fn bind_named(&self, target: Target, call: &Call) -> Result<Response<Body>, Failure> {
        let decoded = schema::decode(target.kind, call.content_type(), &call.body).map_err(from_decode)?;
        let name = metadata::text(&decoded.object, "name");
        if name.is_empty() {
            return Err(Failure::bad_request("Name parameter required."));
        }
        let pod = Target {
            kind: kinds::find("", "v1", "pods").ok_or_else(Failure::no_such_path)?,
            name: Some(name.to_owned()),
            subresource: Some(Subresource::Binding),
            ..target
        };
        self.bind(&pod, call).await
    }

    pub(super) async fn bind(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let name = target.name.as_deref().unwrap_or_default();
        let options = WriteOptions::parse(call)?;
        let decoded =
            schema::decode(&kinds::BINDING, call.content_type(), &call.body).map_err(from_decode)?;
        let binding = options.accept(&kinds::BINDING, decoded)?.object;
        if metadata::text(&binding, "name") != name {
            return Err(Failure::bad_request(
                "name in URL does not match name in Binding object",
            ));
        }
        check_target(&binding)?;
        let node = target_text(&binding, "name");
        let mut request = admission::request(target, call, Operation::Create, options.dry_run);
        request.form = BINDING_FORM;
        let mut warnings = Vec::new();
        let mut shown = request.form.shown(binding.clone());
        metadata::place(kind, &mut shown, target.namespace.as_deref())?;
        Box::pin(self.admit_body(&request, shown, None, &mut warnings)).await?;
        for _ in 0..TRIES {
            let stored = self.stored(target)?;
            let uid = metadata::text(&binding, "uid");
            if !uid.is_empty() && uid != stored.uid() {
                let why = format!(
                    "Precondition failed: UID in precondition: {uid}, UID in object meta: {}",
                    stored.uid()
                );
                return Err(Failure::conflict_below(kind, "binding", name, &why));
            }
            let old = stored.decode();
            let new = bound(&old, &binding, node, &metadata::seconds(self.clock.now()))
                .map_err(|why| Failure::conflict_below(kind, "binding", name, &why))?;
            match self
                .store_next(kind, &stored, &old, Next::Replace(new), options.dry_run)
                .await
            {
                Ok(_) => {
                    let answer = super::json(StatusCode::CREATED, status::created().to_string());
                    return Ok(super::with_warnings(answer, &warnings));
                }
                Err(WriteError::Conflict) => {}
                Err(error) => return Err(Failure::from_write(error, kind, name)),
            }
        }
        Err(Failure::modified(kind, name))
    }
}

fn target_text<'a>(binding: &'a Value, field: &str) -> &'a str {
    let target = binding.get("target").and_then(|target| target.get(field));
    target.and_then(Value::as_str).unwrap_or_default()
}

/// What Kubernetes finds wrong with a binding it does not type.
fn check_target(binding: &Value) -> Result<(), Failure> {
    let mut problems = Vec::new();
    let kind = target_text(binding, "kind");
    if !matches!(kind, "" | "Node") {
        problems.push(FieldError::not_supported("target.kind", kind, &["Node", "<empty>"]).to_string());
    }
    if target_text(binding, "name").is_empty() {
        problems.push(FieldError::required("target.name", "").to_string());
    }
    match problems.as_slice() {
        [] => Ok(()),
        [one] => Err(Failure::untyped(one)),
        many => Err(Failure::untyped(format!("[{}]", many.join(", ")))),
    }
}

/// The pod, bound to a node; or why it cannot be.
fn bound(old: &Value, binding: &Value, node: &str, now: &str) -> Result<Value, String> {
    let name = metadata::text(old, "name");
    if metadata::is_deleting(old) {
        return Err(format!(
            "pod {name} is being deleted, cannot be assigned to a host"
        ));
    }
    let at = old
        .pointer("/spec/nodeName")
        .and_then(Value::as_str)
        .unwrap_or_default();
    if !at.is_empty() {
        return Err(format!("pod {name} is already assigned to node \"{at}\""));
    }
    let mut new = old.clone();
    if let Some(spec) = new.get_mut("spec").and_then(Value::as_object_mut) {
        spec.insert("nodeName".to_owned(), node.into());
    }
    for field in ["annotations", "labels"] {
        let given = binding
            .get("metadata")
            .and_then(|m| m.get(field))
            .and_then(Value::as_object);
        let (Some(given), Some(metadata)) = (given, metadata::metadata_mut(&mut new)) else {
            continue;
        };
        let map = metadata.entry(field).or_insert_with(|| json!({}));
        if let Some(map) = map.as_object_mut() {
            map.extend(given.iter().map(|(k, v)| (k.clone(), v.clone())));
        }
    }
    set_scheduled(&mut new, now);
    Ok(new)
}

fn set_scheduled(pod: &mut Value, now: &str) {
    let Some(pod) = pod.as_object_mut() else { return };
    let status = pod.entry("status").or_insert_with(|| json!({}));
    let Some(status) = status.as_object_mut() else {
        return;
    };
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    conditions.retain(|c| c.get("type").and_then(Value::as_str) != Some("PodScheduled"));
    let scheduled = json!({
        "type": "PodScheduled", "status": "True", "lastProbeTime": null, "lastTransitionTime": now,
    });
    conditions.push(scheduled);
}
