//! Kinds that a `CustomResourceDefinition` brings: what they are called, what their objects look like.
//!
//! Source: embedded-cluster.md 14.

pub(crate) mod column;
pub(crate) mod conversion;
pub(crate) mod definition;
pub(crate) mod schema;
pub(crate) mod validate;

use std::collections::BTreeMap;
use std::sync::{Mutex, PoisonError};

use serde_json::Value;

use self::conversion::Converter;
use self::schema::Schema;
use crate::apply;
use crate::kinds::{Column, Creation, FieldError, Kind, Subresource};
use crate::schema::{DecodeError, Decoded};

const VERBS: &[&str] = &[
    "delete",
    "deletecollection",
    "get",
    "list",
    "patch",
    "create",
    "update",
    "watch",
];

/// One served version of a custom kind.
#[derive(Debug)]
pub(crate) struct Custom {
    /// Its entry, as built-in kinds have one.
    pub(crate) kind: &'static Kind,
    /// What its objects look like.
    pub(crate) schema: Schema,
    /// The same as it was written, for documents.
    pub(crate) described: Value,
    /// How its objects are merged by server-side apply.
    pub(crate) structure: apply::Custom,
    /// `apiVersion` of stored objects.
    pub(crate) stored_version: String,
    /// What makes one version of an object of another; `None` where they differ in nothing but their name.
    pub(crate) converter: Option<Converter>,
    /// Where its replicas are, if it has `scale`.
    pub(crate) scale: Option<Scale>,
    /// Its definition is being deleted: nothing new is made.
    pub(crate) is_terminating: bool,
}

impl Custom {
    /// Decodes a body: what the schema does not know is dropped, what is missing is filled in.
    ///
    /// Source: embedded-cluster.md 14, rule 3.
    pub(crate) fn decode(&self, content_type: Option<&str>, body: &[u8]) -> Result<Decoded, DecodeError> {
        let (value, duplicates) = crate::schema::parse_untyped(self.kind.kind, content_type, body)?;
        if value
            .get("kind")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .is_empty()
        {
            let shown = value.to_string();
            return Err(DecodeError::Malformed(format!(
                "the object provided is unrecognized (must be of type {}): Object 'Kind' is missing in '{shown}' ({shown})",
                self.kind.kind
            )));
        }
        let mut decoded = self.clean(value)?;
        decoded.strict_errors.splice(0..0, duplicates);
        Ok(decoded)
    }

    /// The same for the result of a patch.
    pub(crate) fn clean(&self, mut value: Value) -> Result<Decoded, DecodeError> {
        crate::schema::set_type(self.kind, &mut value)?;
        let mut strict_errors = crate::schema::clean_metadata(self.kind, &mut value)?;
        let unknown = self.schema.prune(&mut value);
        strict_errors.extend(
            unknown
                .into_iter()
                .map(|path| format!("unknown field \"{path}\"")),
        );
        self.schema.fill(&mut value);
        Ok(Decoded {
            object: value,
            strict_errors,
        })
    }

    /// What is wrong with an object besides its metadata.
    pub(crate) fn validate(&self, object: &Value) -> Vec<FieldError> {
        self.schema.validate(object)
    }
}

/// Where in an object its replicas and their selector are, as JSON pointers.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Scale {
    pub(crate) wanted: String,
    pub(crate) counted: String,
    pub(crate) selector: Option<String>,
}

/// What an entry is made of.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) struct Entry {
    pub(crate) group: String,
    pub(crate) version: String,
    pub(crate) kind: String,
    pub(crate) plural: String,
    pub(crate) singular: String,
    pub(crate) short_names: Vec<String>,
    pub(crate) categories: Vec<String>,
    pub(crate) namespaced: bool,
    pub(crate) has_status: bool,
    pub(crate) has_scale: bool,
    /// Paths of fields that objects are selected by, such as `.spec.colour`.
    pub(crate) selectable_fields: Vec<String>,
    /// Name, type, format, priority, path.
    pub(crate) columns: Vec<(String, String, String, u8, String)>,
}

/// The entry of a kind, one for all that are called the same.
///
/// Entries last as long as the process, like those of built-in kinds: they hold names, of which there are few, and each
/// distinct one is kept once however often its definition comes and goes. Schemas, which are large, are not among them.
pub(crate) fn entry(wanted: &Entry) -> &'static Kind {
    static ENTRIES: Mutex<BTreeMap<Entry, &'static Kind>> = Mutex::new(BTreeMap::new());
    let mut entries = ENTRIES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(kind) = entries.get(wanted) {
        return kind;
    }
    let kind: &'static Kind = Box::leak(Box::new(new_entry(wanted)));
    entries.insert(wanted.clone(), kind);
    kind
}

/// A name that lasts as long as the process.
pub(crate) fn lasting(text: &str) -> &'static str {
    static NAMES: Mutex<BTreeMap<String, &'static str>> = Mutex::new(BTreeMap::new());
    let mut names = NAMES.lock().unwrap_or_else(PoisonError::into_inner);
    if let Some(name) = names.get(text) {
        return name;
    }
    let name: &'static str = Box::leak(text.to_owned().into_boxed_str());
    names.insert(text.to_owned(), name);
    name
}

fn new_entry(wanted: &Entry) -> Kind {
    let all = |names: &[String]| -> &'static [&'static str] {
        let names: Vec<&'static str> = names.iter().map(|name| lasting(name)).collect();
        names.leak()
    };
    let (group, plural) = (lasting(&wanted.group), lasting(&wanted.plural));
    let mut columns = vec![Column {
        name: "Name",
        kind: "string",
        format: "name",
        priority: 0,
    }];
    let mut paths = Vec::new();
    for (name, kind, format, priority, path) in &wanted.columns {
        columns.push(Column {
            name: lasting(name),
            kind: lasting(kind),
            format: lasting(format),
            priority: *priority,
        });
        paths.push(lasting(path));
    }
    let selectable = wanted.selectable_fields.iter();
    let selectable = selectable.map(|path| {
        (
            lasting(path.trim_start_matches('.')),
            lasting(&path.replace('.', "/")),
        )
    });
    let subresources: &[Subresource] = match (wanted.has_status, wanted.has_scale) {
        (true, true) => &[Subresource::Status, Subresource::Scale],
        (true, false) => &[Subresource::Status],
        (false, true) => &[Subresource::Scale],
        (false, false) => &[],
    };
    Kind {
        group,
        version: lasting(&wanted.version),
        short_names: all(&wanted.short_names),
        categories: all(&wanted.categories),
        namespaced: wanted.namespaced,
        stored_as: (group, plural),
        subresources,
        verbs: VERBS,
        has_generation: true,
        prepare_create: if wanted.has_status { drop_status } else { |_, _| {} },
        selectable_fields: selectable.collect::<Vec<_>>().leak(),
        columns: columns.leak(),
        column_paths: Some(paths.leak()),
        ..Kind::plain(lasting(&wanted.kind), plural, lasting(&wanted.singular))
    }
}

fn drop_status(object: &mut Value, _: &Creation<'_>) {
    if let Some(object) = object.as_object_mut() {
        object.remove("status");
    }
}
