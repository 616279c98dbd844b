//! JSON and YAML text as a tree that remembers duplicate keys.

use serde::de::{DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor};
use serde_json::{Map, Number, Value};

/// A parsed body.
#[derive(Debug)]
pub(crate) struct Tree {
    /// The last of several values of one key counts.
    pub(crate) value: Value,
    /// Paths of keys that came twice, e.g. `spec.containers[0].name`.
    pub(crate) duplicates: Vec<String>,
}

/// Parses JSON.
pub(crate) fn from_json(body: &[u8]) -> Result<Tree, String> {
    let mut duplicates = Vec::new();
    let mut path = String::new();
    let mut deserializer = serde_json::Deserializer::from_slice(body);
    let value = Node {
        path: &mut path,
        duplicates: &mut duplicates,
    }
    .deserialize(&mut deserializer)
    .and_then(|value| deserializer.end().map(|()| value))
    .map_err(|error| error.to_string())?;
    Ok(Tree { value, duplicates })
}

/// Parses one YAML document. Duplicate keys are an error of the parser.
pub(crate) fn from_yaml(body: &[u8]) -> Result<Tree, String> {
    let value = serde_saphyr::from_slice(body).map_err(|error| error.to_string())?;
    Ok(Tree {
        value,
        duplicates: Vec::new(),
    })
}

/// Reads one value and knows where in the body it stands.
struct Node<'a> {
    path: &'a mut String,
    duplicates: &'a mut Vec<String>,
}

impl<'de> DeserializeSeed<'de> for Node<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        deserializer.deserialize_any(self)
    }
}

impl<'de> Visitor<'de> for Node<'_> {
    type Value = Value;

    fn expecting(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.write_str("a JSON value")
    }

    fn visit_unit<E>(self) -> Result<Value, E> {
        Ok(Value::Null)
    }

    fn visit_bool<E>(self, value: bool) -> Result<Value, E> {
        Ok(Value::Bool(value))
    }

    fn visit_i64<E>(self, value: i64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_u64<E>(self, value: u64) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_f64<E: Error>(self, value: f64) -> Result<Value, E> {
        Number::from_f64(value)
            .map(Value::Number)
            .ok_or_else(|| E::custom("number out of range"))
    }

    fn visit_str<E>(self, value: &str) -> Result<Value, E> {
        Ok(Value::from(value))
    }

    fn visit_string<E>(self, value: String) -> Result<Value, E> {
        Ok(Value::String(value))
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<Value, A::Error> {
        let length = self.path.len();
        let mut values = Vec::new();
        loop {
            self.path.push('[');
            self.path.push_str(&values.len().to_string());
            self.path.push(']');
            let value = seq.next_element_seed(Node {
                path: self.path,
                duplicates: self.duplicates,
            })?;
            self.path.truncate(length);
            match value {
                Some(value) => values.push(value),
                None => return Ok(Value::Array(values)),
            }
        }
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Value, A::Error> {
        let length = self.path.len();
        let mut values = Map::new();
        while let Some(key) = map.next_key::<String>()? {
            if length > 0 {
                self.path.push('.');
            }
            self.path.push_str(&key);
            if values.contains_key(&key) && !self.duplicates.contains(self.path) {
                self.duplicates.push(self.path.clone());
            }
            let value = map.next_value_seed(Node {
                path: self.path,
                duplicates: self.duplicates,
            })?;
            self.path.truncate(length);
            values.insert(key, value);
        }
        Ok(Value::Object(values))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn duplicates_are_named_and_the_last_value_counts() {
        let tree = from_json(br#"{"a":1,"b":[{"c":1,"c":2,"c":3}],"a":{"d":null}}"#).unwrap();
        assert_eq!(tree.duplicates, ["b[0].c", "a"]);
        assert_eq!(tree.value, serde_json::json!({"a": {"d": null}, "b": [{"c": 3}]}));
    }

    #[test]
    fn text_after_the_value_is_an_error() {
        assert!(from_json(b"{} {}").is_err());
        assert!(from_json(b"").is_err());
    }
}
