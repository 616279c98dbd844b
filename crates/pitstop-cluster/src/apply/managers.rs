//! The owners of an object's fields.

use std::collections::BTreeSet;
use std::{fmt, mem};

use serde_json::{Map, Value};

use super::Conflict;
use super::fields::Fields;
use super::versions::Changed;

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

impl Identity {
    /// Is that the same manager? Who applies stays the same in whatever version it applies.
    fn is(&self, other: &Self) -> bool {
        self.manager == other.manager
            && self.operation == other.operation
            && self.subresource == other.subresource
            && (self.operation == Operation::Apply || self.api_version == other.api_version)
    }
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
        let is_among = |entry: &Entry| {
            let same = |other: &&Entry| other.identity == entry.identity;
            other.0.iter().find(same).map(|other| &other.fields) == Some(&entry.fields)
        };
        self.0.len() == other.0.len() && self.0.iter().all(is_among)
    }

    /// What a manager owns.
    pub fn fields_of(&self, identity: &Identity) -> Option<&Fields> {
        self.0
            .iter()
            .find(|entry| entry.identity.is(identity))
            .map(|entry| &entry.fields)
    }

    /// The versions in which somebody owns something.
    pub(super) fn versions(&self) -> Vec<String> {
        let versions = self.0.iter().map(|entry| &entry.identity.api_version);
        versions.collect::<BTreeSet<_>>().into_iter().cloned().collect()
    }

    /// What anybody owns in a version.
    pub(super) fn all_in(&self, api_version: &str) -> Fields {
        self.0
            .iter()
            .filter(|entry| entry.identity.api_version == api_version)
            .fold(Fields::default(), |all, entry| all.union(&entry.fields))
    }

    /// Who else owns some of the fields that a write sets, sorted by owner and path.
    pub(super) fn conflicts(&self, but: &Identity, changed: &Changed) -> Vec<Conflict> {
        let mut conflicts: Vec<Conflict> = Vec::new();
        for entry in self.0.iter().filter(|entry| !entry.identity.is(but)) {
            let Some(changes) = changed.at(&entry.identity.api_version) else {
                continue;
            };
            let paths = entry.fields.intersection(&changes.taken()).paths().into_iter();
            conflicts.extend(paths.map(|path| Conflict {
                owner: entry.identity.clone(),
                path,
            }));
        }
        conflicts.sort();
        conflicts
    }

    /// Takes what a write sets or removes from everybody, or everybody but one. Who has none left is no owner any more,
    /// and neither is who owned fields of a version that is no more.
    pub(super) fn subtract(&mut self, changed: &Changed, but: Option<&Identity>) {
        let is_spared = |entry: &Entry| but.is_some_and(|but| entry.identity.is(but));
        for entry in self.0.iter_mut().filter(|entry| !is_spared(entry)) {
            match changed.at(&entry.identity.api_version) {
                Some(changes) => {
                    for gone in [&changes.added, &changes.modified, &changes.removed] {
                        entry.fields.subtract(gone);
                    }
                }
                None => entry.fields = Fields::default(),
            }
        }
        self.0
            .retain(|entry| !entry.fields.is_empty() || is_spared(entry));
    }

    /// A manager owns these fields too from now on.
    pub(super) fn add(&mut self, identity: &Identity, fields: &Fields, now: &str) {
        if fields.is_empty() {
            return;
        }
        match self.entry_mut(identity) {
            Some(entry) => {
                entry.fields.extend(fields);
                entry.identity.api_version.clone_from(&identity.api_version);
            }
            None => drop(self.set(identity, fields.clone())),
        }
        self.touch(identity, now);
    }

    /// A manager owns exactly these fields from now on, and no longer what is returned, with its version. When it wrote
    /// is left open.
    pub(super) fn set(&mut self, identity: &Identity, fields: Fields) -> Option<(String, Fields)> {
        if let Some(entry) = self.entry_mut(identity) {
            let version = mem::replace(&mut entry.identity.api_version, identity.api_version.clone());
            return Some((version, mem::replace(&mut entry.fields, fields)));
        }
        self.0.push(Entry {
            identity: identity.clone(),
            time: None,
            fields,
        });
        None
    }

    fn entry_mut(&mut self, identity: &Identity) -> Option<&mut Entry> {
        self.0.iter_mut().find(|entry| entry.identity.is(identity))
    }

    /// A manager has written now.
    pub(super) fn touch(&mut self, identity: &Identity, now: &str) {
        if let Some(entry) = self.entry_mut(identity) {
            entry.time = Some(now.to_owned());
        }
    }

    /// Changes what a manager owns.
    pub(super) fn strip(&mut self, identity: &Identity, change: impl Fn(&mut Fields)) {
        if let Some(entry) = self.entry_mut(identity) {
            change(&mut entry.fields);
        }
    }

    pub(super) fn drop_empty(&mut self) {
        self.0.retain(|entry| !entry.fields.is_empty());
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
