//! Kubernetes protobuf bodies as JSON trees. Source: embedded-cluster.md 4.2.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use serde_json::{Map, Value};

use super::table::{Element, Field, Message, Wrap};
use super::time;

const MAGIC: &[u8] = b"k8s\0";

/// No message of the tables is nested as deeply.
const MAX_DEPTH: usize = 64;

/// Decodes an envelope whose content is a `message`.
pub(super) fn decode(message: &'static Message, body: &[u8]) -> Result<Value, String> {
    if body.is_empty() {
        return Err("empty data".to_owned());
    }
    let body = body.strip_prefix(MAGIC).ok_or_else(|| {
        let magic = format!("{MAGIC:?}").replace(',', "");
        format!("provided data does not appear to be a protobuf message, expected prefix {magic}")
    })?;
    if body.is_empty() {
        return Err("empty body".to_owned());
    }
    let mut fields = Map::new();
    for entry in Entries(body) {
        match entry? {
            (1, Wire::Bytes(type_meta)) => {
                for entry in Entries(type_meta) {
                    match entry? {
                        (1, Wire::Bytes(text)) => put_text(&mut fields, "apiVersion", text)?,
                        (2, Wire::Bytes(text)) => put_text(&mut fields, "kind", text)?,
                        _ => {}
                    }
                }
            }
            (2, Wire::Bytes(raw)) => merge(message, raw, &mut fields, 0)?,
            (3, Wire::Bytes(encoding)) if !encoding.is_empty() => {
                return Err(format!(
                    "unknown content encoding {:?}",
                    String::from_utf8_lossy(encoding)
                ));
            }
            _ => {}
        }
    }
    Ok(Value::Object(fields))
}

fn put_text(fields: &mut Map<String, Value>, name: &str, text: &[u8]) -> Result<(), String> {
    if !text.is_empty() {
        fields.insert(name.to_owned(), utf8(text)?);
    }
    Ok(())
}

/// One value as it stands on the wire.
#[derive(Debug, Clone, Copy)]
enum Wire<'a> {
    Varint(u64),
    Fixed64(u64),
    Bytes(&'a [u8]),
    Fixed32,
}

/// The numbered values of a message, in the order in which they were sent.
struct Entries<'a>(&'a [u8]);

impl<'a> Iterator for Entries<'a> {
    type Item = Result<(u32, Wire<'a>), String>;

    fn next(&mut self) -> Option<Self::Item> {
        if self.0.is_empty() {
            return None;
        }
        let entry = self.read();
        if entry.is_none() {
            self.0 = &[];
        }
        Some(entry.ok_or_else(|| "unexpected end or invalid tag in protobuf message".to_owned()))
    }
}

impl<'a> Entries<'a> {
    fn read(&mut self) -> Option<(u32, Wire<'a>)> {
        let tag = self.varint()?;
        let number = u32::try_from(tag >> 3).ok().filter(|number| *number > 0)?;
        let wire = match tag & 7 {
            0 => Wire::Varint(self.varint()?),
            1 => Wire::Fixed64(u64::from_le_bytes(self.take(8)?.try_into().ok()?)),
            2 => {
                let length = usize::try_from(self.varint()?).ok()?;
                Wire::Bytes(self.take(length)?)
            }
            5 => {
                self.take(4)?;
                Wire::Fixed32
            }
            _ => return None,
        };
        Some((number, wire))
    }

    fn take(&mut self, length: usize) -> Option<&'a [u8]> {
        let (taken, rest) = self.0.split_at_checked(length)?;
        self.0 = rest;
        Some(taken)
    }

    fn varint(&mut self) -> Option<u64> {
        let mut value = 0_u64;
        for shift in (0..64).step_by(7) {
            let (&byte, rest) = self.0.split_first()?;
            self.0 = rest;
            value |= u64::from(byte & 0x7f) << shift;
            if byte & 0x80 == 0 {
                return Some(value);
            }
        }
        None
    }
}

/// Reads a message into `fields`; inlined messages share the fields of their parent.
fn merge(
    message: &'static Message,
    bytes: &[u8],
    fields: &mut Map<String, Value>,
    depth: usize,
) -> Result<(), String> {
    if depth > MAX_DEPTH {
        return Err("protobuf message nested too deeply".to_owned());
    }
    for entry in Entries(bytes) {
        let (number, wire) = entry?;
        if let Some(field) = message.numbered(number) {
            put(field, wire, fields, depth)?;
        } else if let (Some(inlined), Wire::Bytes(bytes)) = (message.inlined(number), wire) {
            merge(inlined, bytes, fields, depth + 1)?;
        }
    }
    Ok(())
}

fn put(field: &Field, wire: Wire<'_>, fields: &mut Map<String, Value>, depth: usize) -> Result<(), String> {
    match field.wrap {
        Wrap::One => {
            fields.insert(field.name.to_owned(), value(field, wire, depth)?);
        }
        Wrap::List => {
            let mut values = Vec::new();
            match wire {
                Wire::Bytes(packed)
                    if matches!(field.element, Element::Int32 | Element::Int64 | Element::Bool) =>
                {
                    let mut packed = Entries(packed);
                    while !packed.0.is_empty() {
                        let number = packed.varint().ok_or("invalid packed list")?;
                        values.push(value(field, Wire::Varint(number), depth)?);
                    }
                }
                wire => values.push(value(field, wire, depth)?),
            }
            if let Value::Array(list) = fields
                .entry(field.name)
                .or_insert_with(|| Value::Array(Vec::new()))
            {
                list.append(&mut values);
            }
        }
        Wrap::Map => {
            let (key, value) = map_entry(field, wire, depth)?;
            if let Value::Object(map) = fields
                .entry(field.name)
                .or_insert_with(|| Value::Object(Map::new()))
            {
                map.insert(key, value);
            }
        }
    }
    Ok(())
}

fn map_entry(field: &Field, wire: Wire<'_>, depth: usize) -> Result<(String, Value), String> {
    let Wire::Bytes(bytes) = wire else {
        return Err(wrong_wire(field));
    };
    let (mut key, mut content) = (String::new(), Value::Null);
    for entry in Entries(bytes) {
        match entry? {
            (1, Wire::Bytes(text)) => utf8(text)?.as_str().unwrap_or_default().clone_into(&mut key),
            (2, wire) => content = value(field, wire, depth)?,
            _ => {}
        }
    }
    Ok((key, content))
}

fn value(field: &Field, wire: Wire<'_>, depth: usize) -> Result<Value, String> {
    match (field.element, wire) {
        (Element::Bool, Wire::Varint(number)) => Ok(Value::Bool(number != 0)),
        (Element::Int32, Wire::Varint(number)) => Ok(Value::from(low_i32(number))),
        (Element::Int64, Wire::Varint(number)) => Ok(Value::from(number.cast_signed())),
        (Element::Float64, Wire::Fixed64(bits)) => Ok(Value::from(f64::from_bits(bits))),
        (Element::String, Wire::Bytes(text)) => utf8(text),
        (Element::Bytes, Wire::Bytes(bytes)) => Ok(Value::from(STANDARD.encode(bytes))),
        (Element::Message(_), Wire::Bytes(bytes)) => {
            let mut fields = Map::new();
            if let Some(message) = field.message() {
                merge(message, bytes, &mut fields, depth + 1)?;
            }
            Ok(Value::Object(fields))
        }
        (Element::Strings(_), Wire::Bytes(bytes)) => Entries(bytes)
            .filter_map(|entry| match entry {
                Ok((1, Wire::Bytes(text))) => Some(utf8(text)),
                Ok(_) => None,
                Err(error) => Some(Err(error)),
            })
            .collect::<Result<_, _>>()
            .map(Value::Array),
        (element, Wire::Bytes(bytes)) => special(element, bytes),
        _ => Err(wrong_wire(field)),
    }
}

/// Types that are messages in protobuf and scalars in JSON.
fn special(element: Element, bytes: &[u8]) -> Result<Value, String> {
    match element {
        Element::Time | Element::MicroTime => {
            let (seconds, nanos) = (number_in(bytes, 1)?, number_in(bytes, 2)?);
            let at = time::from_parts(seconds, i32::try_from(nanos).map_err(|error| error.to_string())?)?;
            Ok(at.map_or(Value::Null, |at| Value::from(at.to_string())))
        }
        Element::Duration => Ok(Value::from(time::go_duration(number_in(bytes, 1)?))),
        Element::Quantity => text_in(bytes, 1).map(|text| if text == "" { Value::Null } else { text }),
        Element::IntOrString if number_in(bytes, 1)? == 1 => text_in(bytes, 3),
        Element::IntOrString => Ok(Value::from(number_in(bytes, 2)?)),
        Element::Raw => match bytes_in(bytes, 1)? {
            [] => Ok(Value::Null),
            raw => serde_json::from_slice(raw).map_err(|error| error.to_string()),
        },
        _ => Err("unexpected length-delimited value in protobuf message".to_owned()),
    }
}

fn number_in(bytes: &[u8], wanted: u32) -> Result<i64, String> {
    let mut found = 0;
    for entry in Entries(bytes) {
        if let (number, Wire::Varint(value)) = entry?
            && number == wanted
        {
            found = value.cast_signed();
        }
    }
    Ok(found)
}

fn bytes_in(bytes: &[u8], wanted: u32) -> Result<&[u8], String> {
    let mut found: &[u8] = &[];
    for entry in Entries(bytes) {
        if let (number, Wire::Bytes(value)) = entry?
            && number == wanted
        {
            found = value;
        }
    }
    Ok(found)
}

fn text_in(bytes: &[u8], wanted: u32) -> Result<Value, String> {
    bytes_in(bytes, wanted).and_then(utf8)
}

fn utf8(bytes: &[u8]) -> Result<Value, String> {
    std::str::from_utf8(bytes)
        .map(Value::from)
        .map_err(|_| "invalid UTF-8 in protobuf string".to_owned())
}

/// Negative numbers are sent sign-extended to 64 bits; the low half is the number.
fn low_i32(number: u64) -> i32 {
    let [a, b, c, d, ..] = number.to_le_bytes();
    i32::from_le_bytes([a, b, c, d])
}

fn wrong_wire(field: &Field) -> String {
    format!("wrong wire type for field {}", field.name)
}
