//! Label and field selectors, resolved against a kind's table of field keys.
//!
//! Source: embedded-cluster.md 7.1.

use pitstop_api::selector::Selector;
use serde_json::Value;

use super::object::Stored;
use crate::kinds::FieldKey;

/// Which objects a list or watch asks for.
#[derive(Debug, Clone, Default)]
pub(crate) struct Filter {
    /// By labels.
    pub(crate) labels: Selector,
    /// By fields, all of which must agree.
    pub(crate) fields: FieldTerms,
}

/// The terms of a field selector.
pub(crate) type FieldTerms = Vec<FieldTerm>;

/// `key=value` or `key!=value`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct FieldTerm {
    field: Field,
    negated: bool,
    value: String,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Field {
    Name,
    Namespace,
    /// Place in the kind's table.
    Listed(usize),
    /// JSON pointer of a field that a definition lets objects be selected by.
    Selectable(&'static str),
}

impl FieldTerm {
    /// Resolves a key; `None` when the kind does not support it.
    pub(crate) fn new(key: &str, negated: bool, value: String, keys: &[FieldKey]) -> Option<Self> {
        let field = match key {
            "metadata.name" => Field::Name,
            "metadata.namespace" => Field::Namespace,
            key => Field::Listed(keys.iter().position(|k| k.key == key)?),
        };
        Some(Self {
            field,
            negated,
            value,
        })
    }

    /// A field that a definition lets objects be selected by, by its JSON pointer.
    ///
    /// Objects are looked at as they are stored, in whatever version.
    pub(crate) fn selectable(pointer: &'static str, negated: bool, value: String) -> Self {
        Self {
            field: Field::Selectable(pointer),
            negated,
            value,
        }
    }

    fn matches(&self, object: &Stored) -> bool {
        let is_it = match self.field {
            Field::Name => *object.key.name == self.value,
            Field::Namespace => *object.key.namespace == self.value,
            Field::Listed(index) => object.field(index) == self.value,
            Field::Selectable(pointer) => match object.decode().pointer(pointer) {
                Some(Value::String(text)) => *text == self.value,
                Some(Value::Null) | None => self.value.is_empty(),
                Some(other) => {
                    let shown = other.to_string();
                    shown == self.value
                }
            },
        };
        is_it != self.negated
    }
}

impl Filter {
    /// Does it let everything through?
    pub(crate) fn is_empty(&self) -> bool {
        self.labels.is_empty() && self.fields.is_empty()
    }

    /// Does it let this object through?
    pub(crate) fn matches(&self, object: &Stored) -> bool {
        self.fields.iter().all(|term| term.matches(object)) && self.labels.matches(object.labels())
    }

    /// The one name that it lets through.
    pub(super) fn name(&self) -> Option<&str> {
        self.fields
            .iter()
            .find(|t| t.field == Field::Name && !t.negated)
            .map(|t| t.value.as_str())
    }

    /// The one namespace that it lets through.
    pub(super) fn namespace(&self) -> Option<&str> {
        self.fields
            .iter()
            .find(|t| t.field == Field::Namespace && !t.negated)
            .map(|t| t.value.as_str())
    }

    /// Values of listed fields that objects must have, by the field's place in the kind's table.
    pub(super) fn required_values(&self) -> impl Iterator<Item = (usize, &str)> {
        self.fields
            .iter()
            .filter(|t| !t.negated)
            .filter_map(|t| match t.field {
                Field::Listed(index) => Some((index, t.value.as_str())),
                Field::Name | Field::Namespace | Field::Selectable(_) => None,
            })
    }
}
