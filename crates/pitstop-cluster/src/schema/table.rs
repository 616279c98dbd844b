//! The data file, parsed once.

use std::collections::BTreeMap;
use std::sync::OnceLock;

use serde_json::Value;

use crate::apply::Key;

const DATA: [&str; 2] = [include_str!("kubernetes.tsv"), include_str!("apiextensions.tsv")];

/// How values are merged by server-side apply, and which fields are required.
const STRUCTURE: &str = include_str!("structure.tsv");

/// All messages and which of them are kinds.
#[derive(Debug)]
pub(crate) struct Table {
    messages: Vec<Message>,
    by_name: BTreeMap<&'static str, usize>,
    kinds: BTreeMap<(&'static str, &'static str, &'static str), &'static str>,
}

/// The fields of one message.
#[derive(Debug)]
pub(crate) struct Message {
    /// E.g. `core/v1.PodSpec`.
    pub(crate) name: &'static str,
    /// Server-side apply replaces it as a whole.
    pub(crate) atomic: bool,
    /// Fields that have to be there, by JSON name.
    pub(crate) required: Vec<&'static str>,
    /// Sorted by JSON name; those of inlined messages are among them, without a protobuf number.
    fields: Vec<Field>,
    /// Messages whose JSON fields are this message's own, with their protobuf number.
    inlined: Vec<(u32, &'static str)>,
}

/// One field.
#[derive(Debug, Clone)]
pub(crate) struct Field {
    /// JSON name.
    pub(crate) name: &'static str,
    /// Number in protobuf, 0 for none.
    pub(crate) number: u32,
    /// A zero value differs from an absent one.
    pub(crate) pointer: bool,
    /// An empty value is not written.
    pub(crate) omit_empty: bool,
    /// One value, a list of them or a map of them.
    pub(crate) wrap: Wrap,
    /// What one value is.
    pub(crate) element: Element,
    /// How strategic merge patches treat it.
    pub(crate) merge: MergeRule,
    /// How server-side apply treats a list.
    pub(crate) list: ListRule,
    /// Server-side apply replaces a map as a whole.
    pub(crate) atomic: bool,
    /// Go name of a named scalar type, empty if it has none.
    go_scalar: &'static str,
}

/// How many values a field has.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Wrap {
    One,
    List,
    Map,
}

/// The type of one value.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Element {
    String,
    Bool,
    Int32,
    Int64,
    Float64,
    Bytes,
    Quantity,
    Time,
    MicroTime,
    Duration,
    IntOrString,
    /// Any JSON, kept as it is.
    Raw,
    /// A named list of strings, a message of its own in protobuf.
    Strings(&'static str),
    Message(&'static str),
}

/// `patchStrategy` and `patchMergeKey`. Source: embedded-cluster.md 9.3.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub(crate) struct MergeRule {
    /// Lists are merged rather than replaced.
    pub(crate) merge: bool,
    /// Maps are replaced rather than merged.
    pub(crate) replace: bool,
    /// Field by which list elements are told apart; `None` in lists of scalars.
    pub(crate) key: Option<&'static str>,
}

/// `x-kubernetes-list-type` and its keys. Source: embedded-cluster.md 9.4.
#[derive(Debug, Clone, PartialEq, Default)]
pub(crate) enum ListRule {
    /// Replaced as a whole.
    #[default]
    Whole,
    /// Merged by value.
    Set,
    /// Merged by keys.
    Keyed(Vec<Key>),
}

/// The one table.
pub(crate) fn table() -> &'static Table {
    static TABLE: OnceLock<Table> = OnceLock::new();
    TABLE.get_or_init(|| {
        let mut table = Table::parse(&DATA);
        table.add_structure(STRUCTURE);
        table
    })
}

impl Table {
    /// The message of a kind.
    pub(crate) fn kind(&self, group: &str, version: &str, kind: &str) -> Option<&Message> {
        self.kinds
            .get(&(group, version, kind))
            .and_then(|name| self.message(name))
    }

    /// A message by name, e.g. `meta/v1.DeleteOptions`.
    pub(crate) fn message(&self, name: &str) -> Option<&Message> {
        self.by_name.get(name).and_then(|&index| self.messages.get(index))
    }

    fn parse(data: &[&'static str]) -> Self {
        let mut table = Self {
            messages: Vec::new(),
            by_name: BTreeMap::new(),
            kinds: BTreeMap::new(),
        };
        let mut strings = Vec::new();
        for line in data.iter().flat_map(|data| data.lines()) {
            let mut columns = line.split('\t');
            let tag = columns.next().unwrap_or_default();
            let mut next = || columns.next().unwrap_or_default();
            match tag {
                "K" => {
                    let kind = (next(), next(), next());
                    table.kinds.insert(kind, next());
                }
                "M" => {
                    let name = next();
                    table.by_name.insert(name, table.messages.len());
                    table.messages.push(Message {
                        name,
                        atomic: false,
                        required: Vec::new(),
                        fields: Vec::new(),
                        inlined: Vec::new(),
                    });
                }
                "F" => {
                    let field = Field::parse(next);
                    table
                        .messages
                        .last_mut()
                        .into_iter()
                        .for_each(|message| message.fields.push(field.clone()));
                }
                "I" => {
                    let inlined = (next().parse().unwrap_or_default(), next());
                    table
                        .messages
                        .last_mut()
                        .into_iter()
                        .for_each(|message| message.inlined.push(inlined));
                }
                "L" => strings.extend(table.messages.last().map(|message| message.name)),
                _ => {}
            }
        }
        table.link(&strings);
        table
    }

    fn add_structure(&mut self, data: &'static str) {
        for line in data.lines() {
            let mut columns = line.split('\t');
            let tag = columns.next().unwrap_or_default();
            let mut next = || columns.next().unwrap_or_default();
            // The documents of a server name kinds that have no table here.
            let found = self
                .by_name
                .get(next())
                .and_then(|&index| self.messages.get_mut(index));
            let Some(message) = found else { continue };
            match tag {
                "A" => message.atomic = true,
                "R" => message.required = next().split(',').collect(),
                "G" | "L" => {
                    let name = next();
                    let Some(field) = message.fields.iter_mut().find(|field| field.name == name) else {
                        continue;
                    };
                    match next() {
                        "set" => field.list = ListRule::Set,
                        "map" => field.list = ListRule::Keyed(next().split(',').map(key).collect()),
                        _ => field.atomic = true,
                    }
                }
                _ => {}
            }
        }
    }

    /// Merges inlined fields into their parents and tells lists of strings from other messages.
    fn link(&mut self, strings: &[&'static str]) {
        let inherited: Vec<Vec<Field>> = (0..self.messages.len())
            .map(|index| self.inherited_fields(index))
            .collect();
        for (message, inherited) in self.messages.iter_mut().zip(inherited) {
            message
                .fields
                .extend(inherited.into_iter().map(|field| Field { number: 0, ..field }));
            message.fields.sort_by_key(|field| field.name);
            for field in &mut message.fields {
                if let Element::Message(name) = field.element
                    && strings.contains(&name)
                {
                    field.element = Element::Strings(name);
                }
            }
        }
    }

    fn inherited_fields(&self, index: usize) -> Vec<Field> {
        let mut fields = Vec::new();
        let inlined = self
            .messages
            .get(index)
            .map(|message| message.inlined.as_slice())
            .unwrap_or_default();
        for (_, name) in inlined {
            let Some(&inner) = self.by_name.get(name) else {
                continue;
            };
            fields.extend(
                self.messages
                    .get(inner)
                    .into_iter()
                    .flat_map(|message| message.fields.iter().cloned()),
            );
            fields.extend(self.inherited_fields(inner));
        }
        fields
    }
}

/// `protocol="TCP"`: a key of a list and its default.
fn key(text: &str) -> Key {
    let (name, default) = text.split_once('=').unwrap_or((text, ""));
    Key {
        name: name.to_owned(),
        default: serde_json::from_str::<Value>(default).ok(),
    }
}

impl Message {
    /// A field by JSON name.
    pub(crate) fn field(&self, name: &str) -> Option<&Field> {
        self.fields
            .binary_search_by_key(&name, |field| field.name)
            .ok()
            .and_then(|index| self.fields.get(index))
    }

    /// A field by protobuf number.
    pub(crate) fn numbered(&self, number: u32) -> Option<&Field> {
        self.fields
            .iter()
            .find(|field| field.number == number && number != 0)
    }

    /// The inlined message that is sent as a message of its own under this protobuf number.
    pub(crate) fn inlined(&self, number: u32) -> Option<&'static Message> {
        let name = self
            .inlined
            .iter()
            .find(|(inlined, _)| *inlined == number && number != 0)?
            .1;
        table().message(name)
    }

    /// All JSON fields, in the order of their names.
    pub(crate) fn fields(&self) -> &[Field] {
        &self.fields
    }

    /// E.g. `PodSpec`.
    pub(crate) fn short_name(&self) -> &'static str {
        self.name.rsplit('.').next().unwrap_or_default()
    }
}

impl Field {
    fn parse(mut next: impl FnMut() -> &'static str) -> Self {
        let name = next();
        let number = next().parse().unwrap_or_default();
        let flags = next();
        let (wrap, element) = match next() {
            kind if kind.starts_with("[]") => (Wrap::List, &kind[2..]),
            kind if kind.starts_with("{}") => (Wrap::Map, &kind[2..]),
            kind => (Wrap::One, kind),
        };
        let strategy = next();
        let key = next();
        Self {
            name,
            number,
            pointer: flags.contains('p'),
            omit_empty: flags.contains('o'),
            wrap,
            element: Element::parse(element),
            merge: MergeRule {
                merge: strategy.split(',').any(|word| word == "merge"),
                replace: strategy == "replace",
                key: Some(key).filter(|key| !key.is_empty()),
            },
            list: ListRule::Whole,
            atomic: false,
            go_scalar: next(),
        }
    }

    /// The message of its values, if they are messages.
    pub(crate) fn message(&self) -> Option<&'static Message> {
        match self.element {
            Element::Message(name) => table().message(name),
            _ => None,
        }
    }

    /// The Go type of one value, as Go's JSON errors print it.
    pub(crate) fn go_element(&self) -> String {
        let plain = match self.element {
            Element::String => "string",
            Element::Bool => "bool",
            Element::Int32 => "int32",
            Element::Int64 => "int64",
            Element::Float64 => "float64",
            Element::Bytes => "[]uint8",
            Element::Quantity => "resource.Quantity",
            Element::Time => "v1.Time",
            Element::MicroTime => "v1.MicroTime",
            Element::Duration => "v1.Duration",
            Element::IntOrString => "intstr.IntOrString",
            Element::Raw => "runtime.RawExtension",
            Element::Strings(name) | Element::Message(name) => name.rsplit('/').next().unwrap_or(name),
        };
        if self.go_scalar.is_empty() {
            plain.to_owned()
        } else {
            self.go_scalar.to_owned()
        }
    }

    /// The Go type of the whole field.
    pub(crate) fn go_type(&self) -> String {
        match self.wrap {
            Wrap::One => self.go_element(),
            Wrap::List => format!("[]{}", self.go_element()),
            Wrap::Map => format!("map[string]{}", self.go_element()),
        }
    }
}

impl Element {
    fn parse(name: &'static str) -> Self {
        match name {
            "string" => Self::String,
            "bool" => Self::Bool,
            "int32" => Self::Int32,
            "int64" => Self::Int64,
            "float64" => Self::Float64,
            "bytes" => Self::Bytes,
            "Quantity" => Self::Quantity,
            "Time" => Self::Time,
            "MicroTime" => Self::MicroTime,
            "Duration" => Self::Duration,
            "IntOrString" => Self::IntOrString,
            "RawExtension" | "FieldsV1" => Self::Raw,
            message => Self::Message(message),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_reference_of_the_data_file_resolves() {
        let table = table();
        assert!(table.messages.len() > 400, "{} messages", table.messages.len());
        for name in table.kinds.values() {
            assert!(table.message(name).is_some(), "kind {name}");
        }
        for message in &table.messages {
            for (_, name) in &message.inlined {
                assert!(table.message(name).is_some(), "{} inlines {name}", message.name);
            }
            for field in &message.fields {
                if let Element::Message(name) | Element::Strings(name) = field.element {
                    assert!(
                        table.message(name).is_some(),
                        "{}.{} is a {name}",
                        message.name,
                        field.name
                    );
                }
                if let (Some(key), Some(element)) = (field.merge.key, field.message()) {
                    assert!(
                        element.field(key).is_some(),
                        "{}.{} merges by {key}",
                        message.name,
                        field.name
                    );
                }
            }
        }
    }

    #[test]
    fn names_and_numbers_are_unique_in_a_message() {
        for message in &table().messages {
            for pair in message.fields.windows(2) {
                assert!(
                    pair[0].name < pair[1].name,
                    "{} has {} twice",
                    message.name,
                    pair[0].name
                );
            }
            let mut numbers: Vec<u32> = message.fields.iter().map(|field| field.number).collect();
            numbers.extend(message.inlined.iter().map(|(number, _)| *number));
            numbers.retain(|number| *number != 0);
            let all = numbers.len();
            numbers.sort_unstable();
            numbers.dedup();
            assert_eq!(numbers.len(), all, "{}", message.name);
        }
    }

    /// embedded-cluster.md 9.3, the rows of the first cut's kinds.
    #[test]
    fn merge_keys_are_those_of_the_published_tags() {
        let cases = [
            ("meta/v1.ObjectMeta", "ownerReferences", Some("uid")),
            ("meta/v1.ObjectMeta", "finalizers", None),
            ("core/v1.PodSpec", "containers", Some("name")),
            ("core/v1.PodSpec", "volumes", Some("name")),
            ("core/v1.PodSpec", "hostAliases", Some("ip")),
            (
                "core/v1.PodSpec",
                "topologySpreadConstraints",
                Some("topologyKey"),
            ),
            ("core/v1.Container", "ports", Some("containerPort")),
            ("core/v1.Container", "volumeMounts", Some("mountPath")),
            ("core/v1.PodStatus", "conditions", Some("type")),
            ("core/v1.PodStatus", "podIPs", Some("ip")),
            ("core/v1.NodeStatus", "addresses", Some("type")),
            ("core/v1.ServiceSpec", "ports", Some("port")),
            ("apps/v1.DaemonSetStatus", "conditions", Some("type")),
        ];
        for (message, field, key) in cases {
            let field = table()
                .message(message)
                .and_then(|message| message.field(field))
                .unwrap();
            assert!(field.merge.merge, "{message}");
            assert_eq!(field.merge.key, key, "{message}");
        }
        for (message, field) in [
            ("core/v1.PodSpec", "tolerations"),
            ("core/v1.NodeSpec", "taints"),
            ("core/v1.Container", "args"),
            ("core/v1.PodStatus", "containerStatuses"),
        ] {
            let field = table()
                .message(message)
                .and_then(|message| message.field(field))
                .unwrap();
            assert!(!field.merge.merge, "{message}");
        }
    }
}
