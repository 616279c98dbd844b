//! `componentstatuses`, which are not stored: what the parts of a control plane say of themselves.
//!
//! Source: the answers of Kubernetes 1.34.

use http::{Response, StatusCode};
use serde_json::{Value, json};

use super::present::{self, Form};
use super::read::filter_of;
use super::route::Target;
use super::status::Failure;
use super::{Api, Body, Call};
use crate::kinds::Kind;
use crate::store::{Draft, Key, Stored};

/// The parts of a control plane. They are all of this process, which answers: they are well.
const COMPONENTS: [&str; 3] = ["controller-manager", "scheduler", "etcd-0"];

impl Api {
    pub(super) fn list_components(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let filter = filter_of(kind, kind, call)?;
        let components = COMPONENTS.iter().map(|name| self.component(kind, name));
        let components: Vec<Stored> = components.filter(|one| filter.matches(one)).collect();
        if let Form::Table(include, beta) = call.form {
            let now = self.clock.now();
            let row = |one| without_version(present::row(kind, include, beta, one, now));
            let rows = components.iter().map(row).collect();
            return Ok(super::json(
                StatusCode::OK,
                present::table_of(kind, beta, json!({}), rows),
            ));
        }
        let items: Vec<Value> = components
            .iter()
            .map(|one| without_version(present::nested(kind, one)))
            .collect();
        let list = json!({
            "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(), "metadata": {}, "items": items,
        });
        Ok(super::json(StatusCode::OK, list.to_string()))
    }

    pub(super) fn get_component(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let name = target.name.as_deref().unwrap_or_default();
        if !COMPONENTS.contains(&name) {
            // Its message has the singular, unlike all others.
            return Err(Failure::not_found(
                &Kind {
                    plural: kind.singular,
                    ..*kind
                },
                name,
            ));
        }
        let component = self.component(kind, name);
        let body = present::unstored(kind, call.form, &component, self.clock.now());
        Ok(super::json(StatusCode::OK, body))
    }

    fn component(&self, kind: &Kind, name: &str) -> Stored {
        let object = json!({
            "apiVersion": kind.api_version(), "kind": kind.kind, "metadata": {"name": name},
            "conditions": [{"type": "Healthy", "status": "True", "message": "ok"}],
        });
        let draft = Draft::new(&object, kind.field_keys);
        self.store.preview(Key::new("", name), draft, 0)
    }
}

/// What is not stored has no version.
fn without_version(mut value: Value) -> Value {
    for pointer in ["/metadata", "/object/metadata"] {
        if let Some(metadata) = value.pointer_mut(pointer).and_then(Value::as_object_mut) {
            metadata.remove("resourceVersion");
        }
    }
    value
}
