//! Classes of storage, as far as claims of volumes grow.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde_json::{Value, json};

use crate::fields::text;

/// Annotation of the class that claims get which name none.
pub const DEFAULT_CLASS: &str = "storageclass.kubernetes.io/is-default-class";

/// What a class says of claims that ask for more. Source: statefulset.md 2.4.10, 8.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Expansion {
    /// `allowVolumeExpansion: true`.
    Allowed,
    /// `allowVolumeExpansion: false`.
    Refused,
    /// Nothing: no claim grows, and nobody is refused a template for it.
    Unsaid,
}

/// The classes of storage of a cluster.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct StorageClasses {
    expansion: BTreeMap<Arc<str>, Expansion>,
    default: Option<Arc<str>>,
}

impl StorageClasses {
    /// Reads `StorageClass` objects.
    ///
    /// The default is the newest of those that are marked as such; of two that are as old as each other, the one whose name
    /// comes last.
    pub fn of(classes: &[Value]) -> Self {
        let name = |class| text(class, "/metadata/name");
        let expansion = |class: &Value| match class.get("allowVolumeExpansion").and_then(Value::as_bool) {
            Some(true) => Expansion::Allowed,
            Some(false) => Expansion::Refused,
            None => Expansion::Unsaid,
        };
        let is_default = |class: &&Value| {
            let annotations = class.pointer("/metadata/annotations");
            annotations.and_then(|annotations| annotations.get(DEFAULT_CLASS)?.as_str()) == Some("true")
        };
        // The server writes times in one form, which sorts as the times do.
        let newest = classes
            .iter()
            .filter(is_default)
            .max_by_key(|class| (text(class, "/metadata/creationTimestamp"), name(class)));
        Self {
            default: newest.map(|class| name(class).into()),
            expansion: classes
                .iter()
                .map(|class| (name(class).into(), expansion(class)))
                .collect(),
        }
    }

    /// What [`StorageClasses::of`] reads of a `StorageClass`.
    pub fn lean(class: &Value) -> Value {
        let read = |pointer: &str| class.pointer(pointer).cloned().unwrap_or_default();
        let is_default = class
            .pointer("/metadata/annotations")
            .and_then(|all| all.get(DEFAULT_CLASS));
        json!({
            "metadata": {
                "name": read("/metadata/name"),
                "creationTimestamp": read("/metadata/creationTimestamp"),
                "annotations": is_default.map(|value| json!({ (DEFAULT_CLASS): value })),
            },
            "allowVolumeExpansion": read("/allowVolumeExpansion"),
        })
    }

    /// The class of a claim that names this one, or none.
    pub fn class_of<'a>(&'a self, named: Option<&'a str>) -> Option<&'a str> {
        named.or(self.default.as_deref())
    }

    /// What a class says; `None`: there is no such class.
    pub fn expansion(&self, class: &str) -> Option<Expansion> {
        self.expansion.get(class).copied()
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn class(name: &str, made: &str, is_default: &str, expansion: &Value) -> Value {
        json!({
            "metadata": {"name": name, "creationTimestamp": made, "annotations": {(DEFAULT_CLASS): is_default}},
            "allowVolumeExpansion": expansion,
        })
    }

    #[test]
    fn the_newest_default_counts() {
        let all = [
            class("old", "2026-01-01T00:00:00Z", "true", &json!(true)),
            class("new", "2026-01-02T00:00:00Z", "true", &json!(false)),
            class("newest", "2026-01-03T00:00:00Z", "false", &json!(null)),
            json!({"metadata": {"name": "bare"}, "provisioner": "example.com/disk"}),
        ];
        let classes = StorageClasses::of(&all);
        assert_eq!(classes.class_of(None), Some("new"));
        let lean = all.each_ref().map(StorageClasses::lean);
        assert_eq!(StorageClasses::of(&lean), classes);
        assert_eq!(classes.class_of(Some("old")), Some("old"));
        for (name, want) in [
            ("old", Some(Expansion::Allowed)),
            ("new", Some(Expansion::Refused)),
            ("newest", Some(Expansion::Unsaid)),
            ("bare", Some(Expansion::Unsaid)),
            ("gone", None),
        ] {
            assert_eq!(classes.expansion(name), want, "{name}");
        }
        assert_eq!(StorageClasses::default().class_of(None), None);
    }
}
