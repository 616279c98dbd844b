//! Brings a tree into the form that its message describes.
//!
//! Unknown fields are dropped and named. Empty values that an absent field would mean as well are dropped; scalars that
//! a message always carries are filled in. So an object has one form, and a write that changes nothing is seen as such.

use base64::engine::general_purpose::STANDARD;
use base64::{DecodeError, Engine as _};
use pitstop_api::quantity;
use serde_json::{Map, Value};

use super::table::{Element, Field, Message, Wrap};
use super::time;

/// How many unknown fields are named; upstream stops at 100 too.
const MAX_UNKNOWN: usize = 100;

/// A tree in canonical form.
#[derive(Debug)]
pub(crate) struct Shaped {
    pub(crate) value: Value,
    /// Paths of the fields that were dropped because the message has none of that name.
    pub(crate) unknown: Vec<String>,
}

/// Shapes `value` as `message`. The error is the text that Go's JSON decoder would give.
pub(crate) fn shape(message: &'static Message, mut value: Value) -> Result<Shaped, String> {
    let mut shaper = Shaper {
        owner: message,
        names: Vec::new(),
        unknown: Vec::new(),
    };
    let Value::Object(fields) = &mut value else {
        return Err(format!(
            "json: cannot unmarshal {} into Go value of type {}",
            go_kind(&value),
            message.name.rsplit('/').next().unwrap_or(message.name)
        ));
    };
    shaper.fields(message, fields)?;
    let unknown = shaper.unknown.into_iter();
    let unknown = unknown.map(|path| path.strip_prefix('.').map_or(path.clone(), str::to_owned));
    Ok(Shaped {
        unknown: unknown.collect(),
        value,
    })
}

/// What Go's JSON decoder calls a value.
pub(crate) fn go_kind(value: &Value) -> &'static str {
    match value {
        Value::Null => "null",
        Value::Bool(_) => "bool",
        Value::Number(_) => "number",
        Value::String(_) => "string",
        Value::Array(_) => "array",
        Value::Object(_) => "object",
    }
}

/// Changes a tree where it stands: most of it is right already.
struct Shaper {
    /// The message whose field is being read, for error texts.
    owner: &'static Message,
    /// JSON names of the fields on the way there.
    names: Vec<&'static str>,
    /// Ways to what is unknown, each step with what sets it off from the one before.
    unknown: Vec<String>,
}

impl Shaper {
    fn fields(&mut self, message: &'static Message, fields: &mut Map<String, Value>) -> Result<(), String> {
        let outer = std::mem::replace(&mut self.owner, message);
        let mut has_dropped = false;
        for (name, value) in fields.iter_mut() {
            let known = self.unknown.len();
            match message.field(name) {
                Some(field) => {
                    self.names.push(field.name);
                    if !self.field(field, value)? {
                        *value = Value::Null;
                        has_dropped = true;
                    }
                    self.names.pop();
                }
                None => {
                    *value = Value::Null;
                    has_dropped = true;
                    if known < MAX_UNKNOWN {
                        self.unknown.push(String::new());
                    }
                }
            }
            self.lead_through(known, || format!(".{name}"));
        }
        if has_dropped {
            fields.retain(|_, value| !value.is_null());
        }
        self.owner = outer;
        fill(message, fields);
        Ok(())
    }

    /// Everything unknown from a place in the list on is behind a step.
    fn lead_through(&mut self, known: usize, step: impl Fn() -> String) {
        for path in self.unknown.iter_mut().skip(known) {
            path.insert_str(0, &step());
        }
    }

    /// Is there something left that is not dropped?
    fn field(&mut self, field: &Field, value: &mut Value) -> Result<bool, String> {
        match (field.wrap, &mut *value) {
            (_, Value::Null) => return Ok(false),
            (Wrap::One, value) => self.element(field, value)?,
            (Wrap::List, Value::Array(values)) => self.list(field, values)?,
            (Wrap::Map, Value::Object(values)) => self.map(field, values)?,
            (_, other) => return Err(self.mismatch(go_kind(other), &field.go_type())),
        }
        // An empty list of owners asks to forget them all.
        let kept_empty = field.name == "managedFields";
        let dropped = !field.pointer
            && !kept_empty
            && (field.omit_empty || field.wrap != Wrap::One)
            && is_empty(value)
            && (field.element != Element::Raw || value.is_null());
        Ok(!dropped && !value.is_null())
    }

    fn list(&mut self, field: &Field, values: &mut [Value]) -> Result<(), String> {
        for (index, value) in values.iter_mut().enumerate() {
            let known = self.unknown.len();
            put_zero(field, value);
            self.element(field, value)?;
            self.lead_through(known, || format!("[{index}]"));
        }
        Ok(())
    }

    fn map(&mut self, field: &Field, values: &mut Map<String, Value>) -> Result<(), String> {
        for (key, value) in values.iter_mut() {
            let known = self.unknown.len();
            put_zero(field, value);
            self.element(field, value)?;
            self.lead_through(known, || format!(".{key}"));
        }
        Ok(())
    }

    fn element(&mut self, field: &Field, value: &mut Value) -> Result<(), String> {
        match (field.element, &mut *value) {
            (Element::Raw, _) | (_, Value::Null) => Ok(()),
            (Element::Message(_), Value::Object(fields)) => match field.message() {
                Some(message) => self.fields(message, fields),
                None => Ok(()),
            },
            (Element::Strings(_), Value::Array(values)) => {
                match values.iter().find(|value| !value.is_string()) {
                    Some(other) => Err(self.mismatch(go_kind(other), "string")),
                    None => Ok(()),
                }
            }
            (Element::Message(_) | Element::Strings(_), other) => {
                Err(self.mismatch(go_kind(other), &field.go_element()))
            }
            (_, found) => {
                if let Some(other) = self.scalar(field, found)? {
                    *value = other;
                }
                Ok(())
            }
        }
    }

    /// The canonical form of a scalar where it has another one.
    fn scalar(&self, field: &Field, value: &Value) -> Result<Option<Value>, String> {
        let canonical = |text: String| Some(Value::from(text));
        match (field.element, value) {
            (Element::String | Element::IntOrString | Element::Duration, Value::String(_))
            | (Element::Bool, Value::Bool(_))
            | (Element::Float64, Value::Number(_)) => Ok(None),
            (Element::Int32, Value::Number(number))
                if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) =>
            {
                Ok(None)
            }
            (Element::Int64, Value::Number(number)) if number.is_i64() => Ok(None),
            (Element::IntOrString, Value::Number(number))
                if number.as_i64().is_some_and(|n| i32::try_from(n).is_ok()) =>
            {
                Ok(None)
            }
            (Element::IntOrString, other) => Err(format!(
                "json: cannot unmarshal {} into Go value of type int32",
                number_text(other)
            )),
            (Element::Quantity, Value::String(text)) => quantity::canonical(text).map(canonical),
            (Element::Quantity, Value::Number(number)) => {
                quantity::canonical(&number.to_string()).map(canonical)
            }
            (Element::Quantity, _) => quantity::canonical("?").map(canonical),
            (Element::Time, Value::String(text)) => time::seconds(text).map(canonical),
            (Element::MicroTime, Value::String(text)) => time::micros(text).map(canonical),
            (Element::Bytes, Value::String(text)) => base64_text(text).map(canonical),
            (Element::Time | Element::MicroTime, other) => Err(self.mismatch(&number_text(other), "string")),
            (_, other) => Err(self.mismatch(&number_text(other), &field.go_element())),
        }
    }

    fn mismatch(&self, found: &str, wanted: &str) -> String {
        format!(
            "json: cannot unmarshal {found} into Go struct field {}.{} of type {wanted}",
            self.owner.short_name(),
            self.names.join(".")
        )
    }
}

/// Numbers are shown with their text, because they may have the right type and the wrong size.
fn number_text(value: &Value) -> String {
    match value {
        Value::Number(number) if number.as_i64().is_none_or(|n| i32::try_from(n).is_err()) => {
            format!("number {number}")
        }
        other => go_kind(other).to_owned(),
    }
}

/// Base64 without line breaks, which decoders of the Go library skip.
fn base64_text(text: &str) -> Result<String, String> {
    let compact: String = text.chars().filter(|c| !matches!(c, '\r' | '\n')).collect();
    match STANDARD.decode(&compact) {
        Ok(_) => Ok(compact),
        Err(error) => {
            let at = base64_offset(&error, compact.len());
            Err(format!("illegal base64 data at input byte {at}"))
        }
    }
}

/// Where Go finds base64 of some length to be wrong.
pub(crate) fn base64_offset(error: &DecodeError, length: usize) -> usize {
    match error {
        DecodeError::InvalidByte(at, _) | DecodeError::InvalidLastSymbol { offset: at, .. } => *at,
        // The start of the last, incomplete group.
        DecodeError::InvalidLength(length) => length / 4 * 4,
        DecodeError::InvalidPadding => length,
    }
}

/// Go decodes null in a list or map to the zero value.
fn put_zero(field: &Field, value: &mut Value) {
    if !value.is_null() {
        return;
    }
    *value = match field.element {
        Element::String | Element::Bytes => Value::from(""),
        Element::Bool => Value::Bool(false),
        Element::Int32 | Element::Int64 | Element::Float64 | Element::IntOrString => Value::from(0),
        Element::Quantity => Value::from("0"),
        Element::Message(_) => Value::Object(Map::new()),
        Element::Strings(_) => Value::Array(Vec::new()),
        Element::Time | Element::MicroTime | Element::Duration | Element::Raw => Value::Null,
    };
}

/// Of all times, Go leaves out that of the creation alone.
const METADATA: &str = "meta/v1.ObjectMeta";

/// Scalars and times that Go always writes, and the messages that hold such scalars.
fn fill(message: &'static Message, fields: &mut Map<String, Value>) {
    for field in message.fields() {
        if field.pointer || field.wrap != Wrap::One || fields.contains_key(field.name) {
            continue;
        }
        let is_time = matches!(field.element, Element::Time | Element::MicroTime);
        if is_time && message.name != METADATA {
            fields.insert(field.name.to_owned(), Value::Null);
            continue;
        }
        let value = match field.element {
            Element::Message(_) => {
                let mut inner = Map::new();
                if let Some(message) = field.message() {
                    fill(message, &mut inner);
                }
                Value::Object(inner)
            }
            _ if field.omit_empty => continue,
            Element::String => Value::from(""),
            Element::Bool => Value::Bool(false),
            Element::Int32 | Element::Int64 | Element::Float64 => Value::from(0),
            _ => continue,
        };
        if !(field.omit_empty && is_empty(&value)) {
            fields.insert(field.name.to_owned(), value);
        }
    }
}

/// What Go writes for a message that nobody has set: [`fill`], and null for lists and maps that it does not omit.
pub(crate) fn zero(message: &'static Message) -> Value {
    let mut fields = Map::new();
    fill(message, &mut fields);
    for field in message.fields().iter().filter(|field| !field.pointer) {
        match (field.wrap, field.message()) {
            (Wrap::One, Some(message)) => drop(fields.insert(field.name.to_owned(), zero(message))),
            (Wrap::List | Wrap::Map, _) if !field.omit_empty => {
                fields.insert(field.name.to_owned(), Value::Null);
            }
            _ => {}
        }
    }
    Value::Object(fields)
}

fn is_empty(value: &Value) -> bool {
    match value {
        Value::Null => true,
        Value::Bool(value) => !value,
        Value::Number(number) => number.as_f64() == Some(0.0),
        Value::String(text) => text.is_empty(),
        Value::Array(values) => values.is_empty(),
        Value::Object(fields) => fields.is_empty(),
    }
}
