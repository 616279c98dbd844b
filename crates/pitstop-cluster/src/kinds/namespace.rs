//! Namespaces. Their content is deleted, and they are finalized, by the namespace controller.

use pitstop_api::keys;
use serde_json::{Value, json};

use super::fields::{keep, map_mut, text};
use super::{Column, FieldKey, Kind, NameRule, Subresource, age};

pub(super) const KIND: Kind = Kind {
    short_names: &["ns"],
    namespaced: false,
    subresources: &[Subresource::Finalize, Subresource::Status],
    verbs: &["create", "delete", "get", "list", "patch", "update", "watch"],
    name_rule: NameRule::Label,
    field_keys: &[FieldKey {
        key: "status.phase",
        pointers: &["/status/phase"],
        absent: "",
    }],
    default: label_with_name,
    prepare_create: |object, _| {
        map_mut(object, &["spec"]).insert("finalizers".to_owned(), json!(["kubernetes"]));
        map_mut(object, &[]).insert("status".to_owned(), json!({"phase": "Active"}));
    },
    prepare_update: |new, old| keep(new, old, &["spec"], "finalizers"),
    columns: &[Column::NAME, Column::string("Status"), Column::AGE],
    cells: |object, now| {
        vec![
            age::name(object),
            Value::from(text(object, "/status/phase")),
            age::age(object, now),
        ]
    },
    ..Kind::plain("Namespace", "namespaces", "namespace")
};

fn label_with_name(object: &mut Value) {
    let name = text(object, "/metadata/name").to_owned();
    if !name.is_empty() {
        map_mut(object, &["metadata", "labels"]).insert(keys::NAMESPACE_NAME.to_owned(), Value::from(name));
    }
}
