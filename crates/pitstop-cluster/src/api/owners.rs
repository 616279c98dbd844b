//! `metadata.managedFields` of every write: who owns which field afterwards.
//!
//! Source: embedded-cluster.md 9.4.

use http::header::{CONTENT_TYPE, USER_AGENT};
use jiff::Timestamp;
use pitstop_api::keys;
use serde_json::{Map, Value};

use super::route::Target;
use super::status::Failure;
use super::update::Next;
use super::versions::KnownVersions;
use super::{Api, Call, metadata};
use crate::apply::{self, Fields, Identity, Managers, Operation, Type, Unconverted, Write};
use crate::kinds::{Durability, Kind, Subresource};
use crate::schema;

/// Content type of server-side apply. Its bodies are YAML, and JSON is YAML too.
pub(super) const APPLY: &str = "application/apply-patch+yaml";

/// Longest name of a manager that is made of a User-Agent, in bytes.
const MAX_MANAGER: usize = 128;

/// Is the body of a request a configuration to apply?
pub(super) fn is_apply(call: &Call) -> bool {
    let given = call
        .headers
        .get(CONTENT_TYPE)
        .and_then(|value| value.to_str().ok());
    let media_type = given
        .and_then(|given| given.split(';').next())
        .unwrap_or_default()
        .trim();
    media_type.eq_ignore_ascii_case(APPLY)
}

/// Takes `managedFields` out of an object.
pub(super) fn take(object: &mut Value) -> Option<Value> {
    object
        .get_mut("metadata")?
        .as_object_mut()?
        .remove("managedFields")
}

/// Sets `managedFields` of an object.
pub(super) fn put(object: &mut Value, managers: &Managers) {
    if let Some(metadata) = metadata::metadata_mut(object) {
        match managers.encode() {
            Some(entries) => metadata.insert("managedFields".to_owned(), entries),
            None => metadata.remove("managedFields"),
        };
    }
}

/// The owners that another outcome of the same write has.
pub(super) fn keep(mut next: Next, from: &Next) -> Next {
    let owners = from
        .object()
        .and_then(|object| object.pointer("/metadata/managedFields"));
    if let (Next::Replace(new), Some(owners)) = (&mut next, owners)
        && let Some(metadata) = metadata::metadata_mut(new)
    {
        metadata.insert("managedFields".to_owned(), owners.clone());
    }
    next
}

/// A write of a request, as far as owners are concerned.
#[derive(Debug)]
pub(super) struct Writer<'a> {
    identity: Identity,
    now: String,
    structure: Type<'a>,
    versions: KnownVersions<'a>,
    reset: Fields,
}

impl Api {
    /// Who writes what with a request.
    pub(super) fn writer<'a>(&self, target: &'a Target, call: &Call) -> Writer<'a> {
        Writer::of(target, call, self.versions_of(target), self.clock.now())
    }

    /// Adds owners to what a write made of an object. `given` are those that the writer sent.
    pub(super) async fn settle(
        &self,
        target: &Target,
        writer: &Writer<'_>,
        next: Next,
        old: &Value,
        given: Option<&Value>,
    ) -> Result<Next, Failure> {
        let owners = self
            .with_versions(target, &writer.versions, || writer.after(&next, old, given))
            .await?;
        let Some(owners) = owners else {
            return Ok(next);
        };
        Ok(match next {
            Next::Replace(mut new) => {
                put(&mut new, &owners);
                Next::Replace(new)
            }
            Next::Same if !owners.same_fields(&stored(old)) => {
                let mut new = old.clone();
                put(&mut new, &owners);
                Next::Replace(new)
            }
            Next::Remove(mut last) => {
                put(&mut last, &owners);
                Next::Remove(last)
            }
            next @ Next::Same => next,
        })
    }
}

/// The owners of an object as it is stored.
fn stored(object: &Value) -> Managers {
    let owners = object.pointer("/metadata/managedFields");
    owners.and_then(Managers::decode).unwrap_or_default()
}

impl<'a> Writer<'a> {
    fn of(target: &'a Target, call: &Call, versions: KnownVersions<'a>, now: Timestamp) -> Self {
        let kind = target.kind;
        let operation = if is_apply(call) {
            Operation::Apply
        } else {
            Operation::Update
        };
        let subresource = target.subresource.map_or("", subresource_name);
        Self {
            identity: Identity {
                manager: manager_of(call),
                operation,
                api_version: kind.api_version(),
                subresource: subresource.to_owned(),
            },
            now: metadata::seconds(now),
            structure: match &target.custom {
                Some(custom) => Type::custom(&custom.structure),
                None => Type::of(kind),
            },
            versions,
            reset: reset_fields(kind, target.subresource),
        }
    }

    /// The write as the rules of owners see it.
    pub(super) fn write(&self) -> Write<'_> {
        Write {
            identity: &self.identity,
            now: &self.now,
            structure: self.structure,
            versions: &self.versions,
            reset: &self.reset,
        }
    }

    /// The owners of a new object, from what its writer sent with it.
    pub(super) fn at_creation(
        &self,
        kind: &Kind,
        object: &Value,
        given: Option<&Value>,
    ) -> Result<Managers, Unconverted> {
        let given = given.and_then(Managers::decode).unwrap_or_default();
        let applies = self.identity.operation == Operation::Apply;
        if applies || (given.is_empty() && !is_tracked(kind)) {
            return Ok(given);
        }
        // The owner also owns the defaults of the fields that it did not set.
        let mut object = object.clone();
        (kind.default)(&mut object);
        let counted = reset_but_counter(kind);
        let write = match (kind.group, kind.kind) {
            ("apps", "DaemonSet") => {
                count_template(&mut object);
                Write {
                    reset: &counted,
                    ..self.write()
                }
            }
            _ => self.write(),
        };
        apply::update(given, &schema::zero(kind), &object, &write)
    }

    /// The owners after a write; `None` if they stay as they are.
    fn after(
        &self,
        next: &Next,
        old: &Value,
        given: Option<&Value>,
    ) -> Result<Option<Managers>, Unconverted> {
        let before = old.pointer("/metadata/managedFields");
        let applies = self.identity.operation == Operation::Apply;
        let unchanged = matches!(next, Next::Same) && (given.is_none() || given == before);
        if unchanged {
            return Ok(None);
        }
        let base = match given {
            Some(given) if is_reset(given) => Managers::default(),
            Some(given) if Some(given) != before || applies => Managers::decode(given)
                .filter(|given| !given.is_empty())
                .unwrap_or_else(|| stored(old)),
            _ => stored(old),
        };
        Ok(Some(match next {
            // Objects that nobody has owned so far stay so until somebody applies to them.
            Next::Replace(new) | Next::Remove(new) if !applies && !base.is_empty() => {
                apply::update(base, old, new, &self.write())?
            }
            _ => base,
        }))
    }

    /// What is asked of other versions while it is decided on this write.
    pub(super) fn versions(&self) -> &KnownVersions<'a> {
        &self.versions
    }
}

/// An empty list, or a list with one empty entry, asks to forget all owners.
///
/// Source: embedded-cluster.md 9.4.
fn is_reset(given: &Value) -> bool {
    match given.as_array().map(Vec::as_slice) {
        Some([]) => true,
        Some([one]) => one.as_object().is_some_and(Map::is_empty),
        _ => false,
    }
}

/// Are the owners of its objects recorded from the start? Leases and events are written all the time, each by one
/// writer, and nobody applies them: their owners are recorded once somebody does.
fn is_tracked(kind: &Kind) -> bool {
    kind.durability != Durability::Relaxed
}

/// `fieldManager`, or the first part of the User-Agent.
fn manager_of(call: &Call) -> String {
    if let Some(manager) = call.params.get("fieldManager") {
        return manager.to_owned();
    }
    let agent = call.headers.get(USER_AGENT).and_then(|value| value.to_str().ok());
    let name = agent
        .and_then(|agent| agent.split('/').next())
        .filter(|name| !name.is_empty())
        .unwrap_or("unknown");
    name.chars()
        .filter(|c| !c.is_control())
        .take(MAX_MANAGER)
        .collect()
}

/// As paths name it.
pub(super) fn subresource_name(subresource: Subresource) -> &'static str {
    match subresource {
        Subresource::Status => "status",
        Subresource::Binding => "binding",
        Subresource::Finalize => "finalize",
        Subresource::Eviction => "eviction",
        Subresource::Scale => "scale",
        Subresource::Token => "token",
        Subresource::Log => "log",
        Subresource::Exec => "exec",
        Subresource::Attach => "attach",
        Subresource::PortForward => "portforward",
        Subresource::Approval => "approval",
        Subresource::EphemeralContainers => "ephemeralcontainers",
        Subresource::Resize => "resize",
        Subresource::Proxy => "proxy",
    }
}

/// The count of changes of a template begins with its creator, who owns it from then on.
fn count_template(object: &mut Value) {
    if let Some(metadata) = metadata::metadata_mut(object) {
        let annotations = metadata.entry("annotations").or_insert_with(|| Map::new().into());
        if let Some(annotations) = annotations.as_object_mut() {
            annotations.insert(keys::TEMPLATE_GENERATION.to_owned(), "1".into());
        }
    }
}

/// What a creator does not write, the count of changes of a template excepted.
fn reset_but_counter(kind: &Kind) -> Fields {
    let mut fields = Fields::default();
    if kind.subresources.contains(&Subresource::Status) {
        fields.insert(&["f:status"]);
    }
    fields
}

/// What an endpoint does not write, whatever is sent to it.
///
/// Source: embedded-cluster.md 9.4, apply algorithm, step 1; what of it is metadata is the answer of Kubernetes 1.34.
fn reset_fields(kind: &Kind, subresource: Option<Subresource>) -> Fields {
    let mut fields = Fields::default();
    // Counted by the server, and its writers are told nothing of it.
    let counter = format!("f:{}", keys::TEMPLATE_GENERATION);
    fields.insert(&["f:metadata", "f:annotations", counter.as_str()]);
    match subresource {
        Some(Subresource::Status) => {
            fields.insert(&["f:spec"]);
            if kind.graceful_deletion {
                fields.insert(&["f:metadata", "f:deletionTimestamp"]);
                fields.insert(&["f:metadata", "f:ownerReferences"]);
            }
        }
        _ if kind.subresources.contains(&Subresource::Status) => fields.insert(&["f:status"]),
        _ => {}
    }
    fields
}
