//! What a `CustomResourceDefinition` says, and what its status says of it.
//!
//! Source: embedded-cluster.md 14, rules 1, 2 and 6.

use std::collections::BTreeSet;
use std::sync::Arc;

use serde_json::{Value, json};

use super::conversion::Converter;
use super::schema::Schema;
use super::{Custom, Entry, Scale, entry};
use crate::apply;

/// Holds a definition until the last object of its kind is gone.
pub(crate) const FINALIZER: &str = "customresourcecleanup.apiextensions.k8s.io";

/// Types of printed columns.
pub(crate) const COLUMN_TYPES: [&str; 5] = ["boolean", "date", "integer", "number", "string"];

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn flag(value: &Value, pointer: &str) -> bool {
    value
        .pointer(pointer)
        .and_then(Value::as_bool)
        .unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> &'a [Value] {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.map(Vec::as_slice).unwrap_or_default()
}

fn texts(value: &Value, pointer: &str) -> Vec<String> {
    let list = list(value, pointer).iter();
    list.filter_map(Value::as_str).map(str::to_owned).collect()
}

/// Is a condition there and true?
pub(crate) fn is_condition(definition: &Value, kind: &str) -> bool {
    list(definition, "/status/conditions")
        .iter()
        .any(|condition| text(condition, "/type") == kind && text(condition, "/status") == "True")
}

/// Is the definition being deleted?
pub(crate) fn is_terminating(definition: &Value) -> bool {
    !text(definition, "/metadata/deletionTimestamp").is_empty()
}

/// The served versions of an established definition, newest first; none of another.
pub(crate) fn served(definition: &Value) -> Vec<Arc<Custom>> {
    if !is_condition(definition, "Established") {
        return Vec::new();
    }
    let mut versions: Vec<&Value> = list(definition, "/spec/versions")
        .iter()
        .filter(|version| flag(version, "/served"))
        .collect();
    versions.sort_by_key(|version| std::cmp::Reverse(rank(text(version, "/name"))));
    let stored = list(definition, "/spec/versions")
        .iter()
        .find(|version| flag(version, "/storage"))
        .map(|version| text(version, "/name"))
        .unwrap_or_default();
    let stored_version = format!("{}/{stored}", text(definition, "/spec/group"));
    versions
        .into_iter()
        .map(|version| {
            let schema = version.pointer("/schema/openAPIV3Schema");
            let described = schema.cloned().unwrap_or_else(|| json!({}));
            Arc::new(Custom {
                kind: entry(&entry_of(definition, version)),
                schema: schema.map(Schema::parse).unwrap_or_default(),
                structure: apply::Custom::object(&described),
                described,
                stored_version: stored_version.clone(),
                converter: definition.pointer("/spec/conversion").and_then(Converter::of),
                scale: version.pointer("/subresources/scale").map(scale_of),
                is_terminating: is_terminating(definition),
            })
        })
        .collect()
}

/// Versions in the order of their maturity: v2, v1, v1beta2, v1beta1, v1alpha1, others by name.
fn rank(version: &str) -> (u8, u32, u32, std::cmp::Reverse<String>) {
    let parsed = version.strip_prefix('v').and_then(|rest| {
        let end = rest.find(|c: char| !c.is_ascii_digit()).unwrap_or(rest.len());
        let (major, tail) = rest.split_at(end);
        let major = major.parse().ok()?;
        if tail.is_empty() {
            return Some((3, major, 0));
        }
        let beta = tail.strip_prefix("beta").map(|minor| (2, minor));
        let (stage, minor) = beta.or_else(|| tail.strip_prefix("alpha").map(|minor| (1, minor)))?;
        Some((stage, major, minor.parse().ok()?))
    });
    let (stage, major, minor) = parsed.unwrap_or((0, 0, 0));
    let name = if stage == 0 {
        version.to_owned()
    } else {
        String::new()
    };
    (stage, major, minor, std::cmp::Reverse(name))
}

fn scale_of(scale: &Value) -> Scale {
    let pointer = |path: &str| path.replace('.', "/");
    Scale {
        wanted: pointer(text(scale, "/specReplicasPath")),
        counted: pointer(text(scale, "/statusReplicasPath")),
        selector: scale
            .get("labelSelectorPath")
            .and_then(Value::as_str)
            .map(pointer),
    }
}

fn entry_of(definition: &Value, version: &Value) -> Entry {
    let name = |field: &str| text(definition, &format!("/spec/names/{field}")).to_owned();
    let columns = list(version, "/additionalPrinterColumns").iter().map(|column| {
        let of = |field: &str| text(column, field).to_owned();
        let priority = column.get("priority").and_then(Value::as_u64).unwrap_or_default();
        let priority = u8::try_from(priority).unwrap_or(u8::MAX);
        (of("/name"), of("/type"), of("/format"), priority, of("/jsonPath"))
    });
    let mut columns: Vec<_> = columns.collect();
    if columns.is_empty() {
        let age = |text: &str| text.to_owned();
        columns.push((
            age("Age"),
            age("date"),
            String::new(),
            0,
            age(".metadata.creationTimestamp"),
        ));
    }
    Entry {
        group: text(definition, "/spec/group").to_owned(),
        version: text(version, "/name").to_owned(),
        kind: name("kind"),
        plural: name("plural"),
        singular: name("singular"),
        short_names: texts(definition, "/spec/names/shortNames"),
        categories: texts(definition, "/spec/names/categories"),
        namespaced: text(definition, "/spec/scope") == "Namespaced",
        has_status: version.pointer("/subresources/status").is_some(),
        has_scale: version.pointer("/subresources/scale").is_some(),
        selectable_fields: list(version, "/selectableFields")
            .iter()
            .map(|field| text(field, "/jsonPath").to_owned())
            .collect(),
        columns,
    }
}

/// The status that a definition should have, next to all others; `now` as metadata carries it.
pub(crate) fn settled(definition: &Value, others: &[Value], now: &str) -> Value {
    let mut settled = definition.clone();
    let conflict = conflict(definition, others);
    let mut accepted = definition
        .pointer("/status/acceptedNames")
        .cloned()
        .unwrap_or_else(|| json!({}));
    let names = match &conflict {
        None => {
            accepted = definition.pointer("/spec/names").cloned().unwrap_or_default();
            ("True", "NoConflicts", "no conflicts found".to_owned())
        }
        Some((reason, name)) => ("False", *reason, format!("\"{name}\" is already in use")),
    };
    let was_established = is_condition(definition, "Established");
    let established = if conflict.is_none() || was_established {
        (
            "True",
            "InitialNamesAccepted",
            "the initial names have been accepted",
        )
    } else {
        ("False", "NotAccepted", "not all names are accepted")
    };
    let mut conditions = list(definition, "/status/conditions").to_vec();
    set_condition(&mut conditions, "NamesAccepted", names.0, names.1, &names.2, now);
    set_condition(
        &mut conditions,
        "Established",
        established.0,
        established.1,
        established.2,
        now,
    );
    if is_terminating(definition) {
        let why = "CustomResource deletion is in progress";
        set_condition(
            &mut conditions,
            "Terminating",
            "True",
            "InstanceDeletionInProgress",
            why,
            now,
        );
    }
    if let Some(status) = settled.get_mut("status").and_then(Value::as_object_mut) {
        status.insert("conditions".to_owned(), conditions.into());
        status.insert("acceptedNames".to_owned(), accepted);
    }
    settled
}

fn set_condition(
    conditions: &mut Vec<Value>,
    kind: &str,
    status: &str,
    reason: &str,
    message: &str,
    now: &str,
) {
    let known = conditions
        .iter_mut()
        .find(|condition| text(condition, "/type") == kind);
    let at = match &known {
        Some(known) if text(known, "/status") == status => text(known, "/lastTransitionTime").to_owned(),
        _ => now.to_owned(),
    };
    let condition = json!({
        "type": kind, "status": status, "lastTransitionTime": at, "reason": reason, "message": message,
    });
    match known {
        Some(known) => *known = condition,
        None => conditions.push(condition),
    }
}

/// The first name that another definition of the group has: reason and name.
fn conflict(definition: &Value, others: &[Value]) -> Option<(&'static str, String)> {
    let group = text(definition, "/spec/group");
    let own = text(definition, "/metadata/name");
    let mut resources: BTreeSet<String> = BTreeSet::new();
    let mut kinds: BTreeSet<String> = BTreeSet::new();
    let same_group =
        |other: &&Value| text(other, "/spec/group") == group && text(other, "/metadata/name") != own;
    for other in others.iter().filter(same_group) {
        let name = |field: &str| text(other, &format!("/status/acceptedNames/{field}")).to_owned();
        let short = texts(other, "/status/acceptedNames/shortNames");
        resources.extend([name("plural"), name("singular")].into_iter().chain(short));
        kinds.extend([name("kind"), name("listKind")]);
    }
    let wanted = |field: &str| text(definition, &format!("/spec/names/{field}")).to_owned();
    let short = texts(definition, "/spec/names/shortNames");
    let asked = [
        ("PluralConflict", wanted("plural"), &resources),
        ("SingularConflict", wanted("singular"), &resources),
    ];
    let short = short
        .into_iter()
        .map(|name| ("ShortNamesConflict", name, &resources));
    let kinds_asked = [
        ("KindConflict", wanted("kind"), &kinds),
        ("ListKindConflict", wanted("listKind"), &kinds),
    ];
    // The last problem found is the one that is told.
    asked
        .into_iter()
        .chain(short)
        .chain(kinds_asked)
        .filter(|(_, name, taken)| !name.is_empty() && taken.contains(name))
        .map(|(reason, name, _)| (reason, name))
        .next_back()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn versions_are_in_the_order_of_their_maturity() {
        let mut versions = [
            "foo1", "v1alpha1", "v10", "v1beta2", "v2", "v1beta10", "foo10", "v1",
        ];
        versions.sort_by_key(|version| std::cmp::Reverse(rank(version)));
        assert_eq!(
            versions,
            [
                "v10", "v2", "v1", "v1beta10", "v1beta2", "v1alpha1", "foo1", "foo10"
            ]
        );
    }

    fn definition(plural: &str, kind: &str) -> Value {
        json!({
            "metadata": {"name": format!("{plural}.a.b")},
            "spec": {
                "group": "a.b", "scope": "Namespaced",
                "names": {"plural": plural, "singular": plural, "kind": kind, "listKind": format!("{kind}List")},
                "versions": [{"name": "v1", "served": true, "storage": true}],
            },
            "status": {},
        })
    }

    #[test]
    fn names_are_accepted_unless_another_has_them() {
        let now = "2026-01-01T00:00:00Z";
        let first = settled(&definition("foos", "Foo"), &[], now);
        assert!(is_condition(&first, "NamesAccepted") && is_condition(&first, "Established"));
        assert_eq!(served(&first).len(), 1);
        let second = settled(&definition("bars", "Foo"), std::slice::from_ref(&first), now);
        assert_eq!(
            second.pointer("/status/conditions"),
            Some(&json!([
                {"type": "NamesAccepted", "status": "False", "lastTransitionTime": now, "reason": "ListKindConflict", "message": "\"FooList\" is already in use"},
                {"type": "Established", "status": "False", "lastTransitionTime": now, "reason": "NotAccepted", "message": "not all names are accepted"},
            ]))
        );
        assert_eq!(served(&second).len(), 0);
        assert_eq!(
            settled(&first, &[second], "2026-02-02T00:00:00Z"),
            first,
            "nothing has changed"
        );
    }
}
