//! What built-in types and their fields are for, in the words of Kubernetes.
//!
//! Source: embedded-cluster.md 3.4; the texts are those of the documents of kube-apiserver 1.34.2.

use std::collections::BTreeMap;
use std::io::Read as _;
use std::sync::OnceLock;

use flate2::read::GzDecoder;
use serde_json::{Map, Value, json};

/// Lines `T`, the name of a schema and its text, each followed by its fields: `F`, name, text, accepted values.
/// A line break is `\n`, a tab `\t`, a backslash `\\`. See tools/schema/README.md.
const PACKED: &[u8] = include_bytes!("../../schema/descriptions.tsv.gz");

#[derive(Debug, Default)]
struct Type {
    text: String,
    fields: BTreeMap<String, Field>,
}

#[derive(Debug, Default)]
struct Field {
    text: String,
    accepted: Vec<String>,
}

/// Adds to a schema what is known of it and of its properties.
pub(super) fn describe(name: &str, schema: &mut Value) {
    let (Some(known), Some(schema)) = (types().get(name), schema.as_object_mut()) else {
        return;
    };
    put(schema, &known.text);
    let properties = schema.get_mut("properties").and_then(Value::as_object_mut);
    for (name, property) in properties.into_iter().flatten() {
        if let (Some(field), Some(property)) = (known.fields.get(name), property.as_object_mut()) {
            put(property, &field.text);
            if !field.accepted.is_empty() {
                property.insert("enum".to_owned(), json!(field.accepted));
            }
        }
    }
}

/// What a field is for that all objects have.
pub(super) fn common(field: &str) -> Option<&'static str> {
    let any = types().get("io.k8s.api.core.v1.ConfigMap")?;
    any.fields.get(field).map(|field| field.text.as_str())
}

fn put(schema: &mut Map<String, Value>, text: &str) {
    if !text.is_empty() {
        schema.insert("description".to_owned(), text.into());
    }
}

/// All of them, unpacked when the first document is made.
fn types() -> &'static BTreeMap<String, Type> {
    static TYPES: OnceLock<BTreeMap<String, Type>> = OnceLock::new();
    TYPES.get_or_init(|| {
        let mut text = String::new();
        if let Err(error) = GzDecoder::new(PACKED).read_to_string(&mut text) {
            // The bytes are part of the program; a test reads them.
            tracing::error!(%error, "the descriptions of types cannot be unpacked");
        }
        parse(&text)
    })
}

fn parse(text: &str) -> BTreeMap<String, Type> {
    let mut types = BTreeMap::new();
    let mut last = String::new();
    for line in text.lines() {
        let mut parts = line.split('\t');
        let sort = parts.next().unwrap_or_default();
        let mut next = || parts.next().unwrap_or_default();
        let (name, text) = (next().to_owned(), unescaped(next()));
        match sort {
            "T" => {
                last.clone_from(&name);
                let fields = BTreeMap::new();
                types.insert(name, Type { text, fields });
            }
            "F" => {
                let accepted = next().split(',').filter(|value| !value.is_empty());
                let accepted = accepted.map(str::to_owned).collect();
                if let Some(of) = types.get_mut(&last) {
                    of.fields.insert(name, Field { text, accepted });
                }
            }
            _ => {}
        }
    }
    types
}

fn unescaped(text: &str) -> String {
    let mut plain = String::with_capacity(text.len());
    let mut characters = text.chars();
    while let Some(c) = characters.next() {
        match (c, c == '\\') {
            (_, true) => match characters.next() {
                Some('n') => plain.push('\n'),
                Some('t') => plain.push('\t'),
                Some(other) => plain.push(other),
                None => {}
            },
            (c, false) => plain.push(c),
        }
    }
    plain
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::schema::table::table;

    #[test]
    fn every_type_that_is_served_is_described() {
        let undescribed: Vec<&str> = crate::kinds::all()
            .iter()
            .filter_map(|kind| table().kind(kind.group, kind.version, kind.kind))
            .filter(|message| !types().contains_key(&super::super::schemas::full_name(message.name)))
            .map(|message| message.name)
            .collect();
        assert_eq!(undescribed, Vec::<&str>::new());
    }

    #[test]
    fn texts_and_accepted_values_are_put_where_they_belong() {
        let mut schema = json!({"properties": {"type": {"type": "string"}, "nosuch": {}}});
        describe("io.k8s.api.apps.v1.DaemonSetUpdateStrategy", &mut schema);
        let text = schema["description"].as_str().unwrap();
        assert!(
            text.starts_with("DaemonSetUpdateStrategy is a struct used to control"),
            "{text}"
        );
        let of_type = &schema["properties"]["type"];
        assert_eq!(of_type["enum"], json!(["OnDelete", "RollingUpdate"]));
        let text = of_type["description"].as_str().unwrap();
        assert!(
            text.contains("\n\nPossible enum values:\n - `\"OnDelete\"`"),
            "{text}"
        );
        assert_eq!(schema["properties"]["nosuch"], json!({}));
    }

    #[test]
    fn lines_are_unescaped() {
        let types = parse("# notice\nT\ta\tone\\ntwo \\\\n\\t.\nF\tb\ttext\tx,y\nF\tc\t\t\n");
        assert_eq!(types["a"].text, "one\ntwo \\n\t.");
        assert_eq!(types["a"].fields["b"].accepted, ["x", "y"]);
        assert!(types["a"].fields["c"].accepted.is_empty());
    }
}
