//! The owners of an object's fields.

use std::fmt;

use serde_json::{Map, Value};

use super::Conflict;
use super::fields::Fields;

/// How many managers that update are kept apart.
///
/// Source: embedded-cluster.md 9.4.
const MAX_UPDATE_MANAGERS: usize = 10;

/// The manager into which the oldest of too many are merged.
const ANCIENT: &str = "ancient-changes";

/// How a manager writes.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Operation {
    /// Server-side apply.
    Apply,
    /// Every other write.
    Update,
}

/// What tells entries apart.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Identity {
    /// Name of the manager.
    pub manager: String,
    /// How it writes.
    pub operation: Operation,
    /// `apiVersion` of the fields.
    pub api_version: String,
    /// Empty for the main endpoint.
    pub subresource: String,
}

/// As conflicts name it: `"kubectl" with subresource "status" using v1`.
impl fmt::Display for Identity {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}", self.manager)?;
        if !self.subresource.is_empty() {
            write!(f, " with subresource {:?}", self.subresource)?;
        }
        match self.operation {
            Operation::Apply => Ok(()),
            Operation::Update => write!(f, " using {}", self.api_version),
        }
    }
}

#[derive(Debug, Clone, PartialEq)]
struct Entry {
    identity: Identity,
    time: Option<String>,
    fields: Fields,
}

/// All owners of an object's fields.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct Managers(Vec<Entry>);

impl Managers {
    /// Reads `metadata.managedFields`; `None` if an entry is not of its form.
    pub fn decode(value: &Value) -> Option<Self> {
        let mut managers = Self::default();
        for entry in value.as_array()? {
            let text = |name: &str| {
                entry
                    .get(name)
                    .and_then(Value::as_str)
                    .unwrap_or_default()
                    .to_owned()
            };
            let operation = match text("operation").as_str() {
                "Apply" => Operation::Apply,
                "Update" => Operation::Update,
                _ => return None,
            };
            if text("fieldsType") != "FieldsV1" || text("apiVersion").is_empty() {
                return None;
            }
            let fields = match entry.get("fieldsV1") {
                Some(fields) => Fields::from_json(fields)?,
                None => Fields::default(),
            };
            let identity = Identity {
                manager: text("manager"),
                operation,
                api_version: text("apiVersion"),
                subresource: text("subresource"),
            };
            let time = Some(text("time")).filter(|time| !time.is_empty());
            managers.0.push(Entry {
                identity,
                time,
                fields,
            });
        }
        Some(managers)
    }

    /// `metadata.managedFields`; `None` when there are no owners.
    pub fn encode(&self) -> Option<Value> {
        if self.0.is_empty() {
            return None;
        }
        let mut entries: Vec<&Entry> = self.0.iter().collect();
        entries.sort_by(|a, b| {
            let key = |entry: &Entry| (entry.identity.operation, entry.time.clone());
            key(a).cmp(&key(b)).then_with(|| a.identity.cmp(&b.identity))
        });
        let entries = entries.into_iter().map(|entry| {
            let mut object = Map::new();
            let mut put = |name: &str, value: Value| drop(object.insert(name.to_owned(), value));
            if !entry.identity.manager.is_empty() {
                put("manager", entry.identity.manager.as_str().into());
            }
            put(
                "operation",
                match entry.identity.operation {
                    Operation::Apply => "Apply".into(),
                    Operation::Update => "Update".into(),
                },
            );
            put("apiVersion", entry.identity.api_version.as_str().into());
            if let Some(time) = &entry.time {
                put("time", time.as_str().into());
            }
            put("fieldsType", "FieldsV1".into());
            put("fieldsV1", entry.fields.to_json());
            if !entry.identity.subresource.is_empty() {
                put("subresource", entry.identity.subresource.as_str().into());
            }
            Value::Object(object)
        });
        Some(Value::Array(entries.collect()))
    }

    /// Does nobody own anything?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }

    /// Are the owners and what they own the same, whenever they wrote?
    pub fn same_fields(&self, other: &Self) -> bool {
        let owns = |entry: &Entry| other.fields_of(&entry.identity) == Some(&entry.fields);
        self.0.len() == other.0.len() && self.0.iter().all(owns)
    }

    /// What a manager owns.
    pub fn fields_of(&self, identity: &Identity) -> Option<&Fields> {
        self.0
            .iter()
            .find(|entry| entry.identity == *identity)
            .map(|entry| &entry.fields)
    }

    /// What anybody owns.
    pub(super) fn all(&self) -> Fields {
        self.0
            .iter()
            .fold(Fields::default(), |all, entry| all.union(&entry.fields))
    }

    /// Who else owns some of these fields, sorted by owner and path.
    pub(super) fn conflicts(&self, but: &Identity, fields: &Fields) -> Vec<Conflict> {
        let mut conflicts: Vec<Conflict> = Vec::new();
        for entry in self.0.iter().filter(|entry| entry.identity != *but) {
            let paths = entry.fields.intersection(fields).paths().into_iter();
            conflicts.extend(paths.map(|path| Conflict {
                owner: entry.identity.clone(),
                path,
            }));
        }
        conflicts.sort();
        conflicts
    }

    /// Takes fields from everybody, or everybody but one. Who has none left is no owner any more.
    pub(super) fn subtract(&mut self, fields: &Fields, but: Option<&Identity>) {
        if fields.is_empty() {
            return;
        }
        for entry in self.0.iter_mut().filter(|entry| Some(&entry.identity) != but) {
            entry.fields = entry.fields.difference(fields);
        }
        self.drop_empty_but(but);
    }

    /// A manager owns these fields too from now on.
    pub(super) fn add(&mut self, identity: &Identity, fields: &Fields, now: &str) {
        if fields.is_empty() {
            return;
        }
        let owned = self
            .fields_of(identity)
            .map_or_else(|| fields.clone(), |owned| owned.union(fields));
        self.set(identity, owned);
        self.touch(identity, now);
    }

    /// A manager owns exactly these fields from now on. When it wrote is left open.
    pub(super) fn set(&mut self, identity: &Identity, fields: Fields) {
        match self.0.iter_mut().find(|entry| entry.identity == *identity) {
            Some(entry) => entry.fields = fields,
            None => self.0.push(Entry {
                identity: identity.clone(),
                time: None,
                fields,
            }),
        }
    }

    /// A manager has written now.
    pub(super) fn touch(&mut self, identity: &Identity, now: &str) {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.identity == *identity) {
            entry.time = Some(now.to_owned());
        }
    }

    /// Changes what a manager owns.
    pub(super) fn strip(&mut self, identity: &Identity, change: impl Fn(&mut Fields)) {
        if let Some(entry) = self.0.iter_mut().find(|entry| entry.identity == *identity) {
            change(&mut entry.fields);
        }
    }

    pub(super) fn drop_empty(&mut self) {
        self.drop_empty_but(None);
    }

    fn drop_empty_but(&mut self, but: Option<&Identity>) {
        self.0
            .retain(|entry| !entry.fields.is_empty() || Some(&entry.identity) == but);
    }

    /// Merges the oldest of too many managers that update.
    ///
    /// Source: embedded-cluster.md 9.4.
    pub(super) fn cap(&mut self) {
        let updates = |entry: &Entry| entry.identity.operation == Operation::Update;
        let count = self.0.iter().filter(|entry| updates(entry)).count();
        if count <= MAX_UPDATE_MANAGERS {
            return;
        }
        let (mut oldest, rest): (Vec<Entry>, Vec<Entry>) = self.0.drain(..).partition(updates);
        oldest.sort_by(|a, b| (&a.time, &a.identity).cmp(&(&b.time, &b.identity)));
        // The bucket is one of the managers that are left.
        let newest = oldest.split_off((count - MAX_UPDATE_MANAGERS + 1).min(oldest.len()));
        self.0 = rest;
        self.0.extend(newest);
        for entry in oldest {
            let bucket = Identity {
                manager: ANCIENT.to_owned(),
                subresource: String::new(),
                ..entry.identity
            };
            self.add(&bucket, &entry.fields, &entry.time.unwrap_or_default());
        }
    }
}
