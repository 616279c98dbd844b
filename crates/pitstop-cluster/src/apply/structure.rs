//! How values are merged.

use std::collections::BTreeMap;

use serde_json::{Map, Value};

use crate::kinds::Kind;
use crate::schema::table::{Element, Field, ListRule, Message, Wrap, table};

/// A field by which list elements are told apart.
#[derive(Debug, Clone, PartialEq)]
pub struct Key {
    /// Its name.
    pub name: String,
    /// Its value in elements that have none: `"TCP"` for the protocol of a port.
    pub default: Option<Value>,
}

/// How a value is merged.
#[derive(Debug, Clone, Copy)]
pub struct Type<'a>(Shape<'a>);

/// Where it is said how a value is merged.
#[derive(Debug, Clone, Copy)]
enum Shape<'a> {
    /// An object of a built-in type.
    Message(&'static Message),
    /// A field of a built-in type, with all its values.
    Field(&'static Field),
    /// One value of a list or map of a built-in type.
    Element(&'static Field),
    /// A type that a custom resource definition describes.
    Custom(&'a Custom),
    /// Nothing is known: objects are merged by name, and all else is replaced.
    Deduced,
}

/// The part of an `OpenAPI` schema that says how values are merged.
///
/// Source: embedded-cluster.md 9.4.
#[derive(Debug, Clone)]
pub enum Custom {
    /// Replaced as a whole: scalars, and what is marked atomic.
    Whole,
    /// Not described.
    Unknown,
    /// A list without duplicates.
    Set,
    /// A list whose elements are told apart by keys.
    Keyed(Vec<Key>, Box<Custom>),
    /// Named fields, and the type of all others.
    Fields(BTreeMap<String, Custom>, Option<Box<Custom>>),
    /// A built-in type: the `metadata` of every object.
    Message(&'static str),
}

/// A simple type.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Scalar {
    Text,
    Boolean,
    Number,
}

/// What a value is to a merge.
#[derive(Debug, Clone, Copy)]
pub(super) enum View<'a> {
    /// It is replaced as a whole.
    Whole,
    /// Its elements are scalars, told apart by their values.
    Set,
    /// Its elements are told apart by keys.
    Keyed(&'a [Key]),
    /// Its fields or entries are told apart by their names.
    Named,
}

impl<'a> Type<'a> {
    /// A kind's objects; nothing is known of one without a field table.
    pub fn of(kind: &Kind) -> Self {
        let message = table().kind(kind.group, kind.version, kind.kind);
        Self(message.map_or(Shape::Deduced, Shape::Message))
    }

    /// A custom resource.
    pub fn custom(custom: &'a Custom) -> Self {
        Self(Shape::Custom(custom))
    }

    /// What a value of this type is.
    pub(super) fn view(self, value: &Value) -> View<'a> {
        match self.0 {
            Shape::Message(message) => of_message(message),
            Shape::Field(field) => match (field.wrap, &field.list) {
                (Wrap::One, _) => Self(Shape::Element(field)).view(value),
                (Wrap::Map, _) if field.atomic => View::Whole,
                (Wrap::Map, _) => View::Named,
                (Wrap::List, ListRule::Whole) => View::Whole,
                (Wrap::List, ListRule::Set) => View::Set,
                (Wrap::List, ListRule::Keyed(keys)) => View::Keyed(keys),
            },
            Shape::Element(field) => match field.element {
                Element::Message(_) => field.message().map_or(View::Whole, of_message),
                _ => View::Whole,
            },
            Shape::Custom(custom) => match custom {
                Custom::Whole => View::Whole,
                Custom::Unknown => Self(Shape::Deduced).view(value),
                Custom::Set => View::Set,
                Custom::Keyed(keys, _) => View::Keyed(keys),
                Custom::Fields(..) => View::Named,
                Custom::Message(name) => table().message(name).map_or(View::Whole, of_message),
            },
            Shape::Deduced if value.is_object() => View::Named,
            Shape::Deduced => View::Whole,
        }
    }

    /// The message that its values are, if they are one.
    fn message(self) -> Option<&'static Message> {
        match self.0 {
            Shape::Message(message) => Some(message),
            Shape::Field(field) if field.wrap == Wrap::One => field.message(),
            Shape::Element(field) => field.message(),
            Shape::Custom(Custom::Message(name)) => table().message(name),
            _ => None,
        }
    }

    /// The type of a field or entry.
    pub(super) fn field(self, name: &str) -> Self {
        if let Some(message) = self.message() {
            return Self(message.field(name).map_or(Shape::Deduced, Shape::Field));
        }
        Self(match self.0 {
            Shape::Field(field) if field.wrap == Wrap::Map => Shape::Element(field),
            Shape::Custom(Custom::Fields(fields, rest)) => {
                let found = fields.get(name).or(rest.as_deref());
                found.map_or(Shape::Deduced, Shape::Custom)
            }
            _ => Shape::Deduced,
        })
    }

    /// The type of an element of a list.
    pub(super) fn element(self) -> Self {
        Self(match self.0 {
            Shape::Field(field) => Shape::Element(field),
            Shape::Custom(Custom::Keyed(_, element)) => Shape::Custom(element),
            Shape::Custom(Custom::Set) => Shape::Custom(&Custom::Whole),
            _ => Shape::Deduced,
        })
    }

    /// The type behind one step of a path.
    pub(super) fn step(self, step: &str) -> Self {
        step.strip_prefix("f:")
            .map_or_else(|| self.element(), |name| self.field(name))
    }

    /// Is every value a list?
    pub(super) fn is_list(self) -> bool {
        match self.0 {
            Shape::Field(field) => {
                field.wrap == Wrap::List
                    || (field.wrap == Wrap::One && matches!(field.element, Element::Strings(_)))
            }
            Shape::Element(field) => matches!(field.element, Element::Strings(_)),
            Shape::Custom(custom) => matches!(custom, Custom::Set | Custom::Keyed(..)),
            Shape::Message(_) | Shape::Deduced => false,
        }
    }

    /// Is every value an object?
    pub(super) fn is_map(self) -> bool {
        match self.0 {
            Shape::Field(field) if field.wrap == Wrap::Map => true,
            Shape::Custom(Custom::Fields(..)) => true,
            _ => self.message().is_some(),
        }
    }

    /// May an object have a field or an entry of that name?
    pub(super) fn has_field(self, name: &str) -> bool {
        match (self.message(), self.0) {
            (Some(message), _) => message.field(name).is_some(),
            (None, Shape::Custom(Custom::Fields(fields, rest))) => {
                rest.is_some() || fields.contains_key(name)
            }
            (None, _) => true,
        }
    }

    /// What its values are, where they are of one simple type.
    pub(super) fn scalar(self) -> Option<Scalar> {
        let field = match self.0 {
            Shape::Field(field) if field.wrap == Wrap::One => field,
            Shape::Element(field) => field,
            _ => return None,
        };
        match field.element {
            Element::String | Element::Bytes => Some(Scalar::Text),
            Element::Bool => Some(Scalar::Boolean),
            Element::Int32 | Element::Int64 | Element::Float64 => Some(Scalar::Number),
            _ => None,
        }
    }

    /// Is this a message with a field of that name, and no map?
    pub(super) fn declares(self, name: &str) -> bool {
        match (self.message(), self.0) {
            (Some(message), _) => message.field(name).is_some(),
            (None, Shape::Custom(Custom::Fields(fields, _))) => fields.contains_key(name),
            (None, _) => false,
        }
    }
}

fn of_message(message: &'static Message) -> View<'static> {
    if message.atomic { View::Whole } else { View::Named }
}

impl Custom {
    /// The type of an object whose `OpenAPI` v3 schema is given. Its `metadata` is that of every object.
    pub fn object(schema: &Value) -> Self {
        let mut custom = Self::value(schema);
        if let Self::Unknown = custom {
            custom = Self::Fields(BTreeMap::new(), Some(Box::new(Self::Unknown)));
        }
        if let Self::Fields(fields, _) = &mut custom {
            fields.insert("metadata".to_owned(), Self::Message("meta/v1.ObjectMeta"));
            fields.insert("apiVersion".to_owned(), Self::Whole);
            fields.insert("kind".to_owned(), Self::Whole);
        }
        custom
    }

    fn value(schema: &Value) -> Self {
        let text = |name: &str| schema.get(name).and_then(Value::as_str).unwrap_or_default();
        let keeps_unknown = schema.get("x-kubernetes-preserve-unknown-fields") == Some(&Value::Bool(true));
        match text("type") {
            "array" => Self::list(schema, text("x-kubernetes-list-type")),
            "object" if text("x-kubernetes-map-type") == "atomic" => Self::Whole,
            "object" => {
                let fields = schema.get("properties").and_then(Value::as_object);
                let rest = schema.get("additionalProperties").filter(|rest| rest.is_object());
                let rest = match rest {
                    Some(rest) => Some(Self::value(rest)),
                    None => (keeps_unknown || fields.is_none()).then_some(Self::Unknown),
                };
                let fields = fields
                    .into_iter()
                    .flatten()
                    .map(|(name, schema)| (name.clone(), Self::value(schema)));
                Self::Fields(fields.collect(), rest.map(Box::new))
            }
            "" if keeps_unknown => Self::Unknown,
            _ => Self::Whole,
        }
    }

    fn list(schema: &Value, list_type: &str) -> Self {
        match list_type {
            "set" => Self::Set,
            "map" => {
                let none = Value::Object(Map::new());
                let element = schema.get("items").unwrap_or(&none);
                let names = schema.get("x-kubernetes-list-map-keys").and_then(Value::as_array);
                let keys = names
                    .into_iter()
                    .flatten()
                    .filter_map(Value::as_str)
                    .map(|name| Key {
                        name: name.to_owned(),
                        default: element
                            .get("properties")
                            .and_then(|p| p.get(name)?.get("default"))
                            .cloned(),
                    });
                Self::Keyed(keys.collect(), Box::new(Self::value(element)))
            }
            _ => Self::Whole,
        }
    }
}
