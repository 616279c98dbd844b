//! What the hub has to know of a pod, and the bytes that it hands on.
//!
//! The cache holds raw bytes; a pod is read only when a decision needs it, and then only these fields.
//!
//! Source: hub.md B2 (4), B4, B12.

use std::borrow::Cow;
use std::fmt;

use bytes::Bytes;
use pitstop_api::view::message_revision;
use pitstop_api::{keys, reasons};
use serde::de::{IgnoredAny, MapAccess, Visitor};
use serde::{Deserialize, Deserializer, Serialize};
use serde_json::value::RawValue;

/// A condition of a pod.
#[derive(Debug, Clone, PartialEq, Eq, Default, Deserialize)]
#[serde(default)]
pub struct Condition {
    /// Which condition.
    #[serde(rename = "type", deserialize_with = "text")]
    pub kind: String,
    /// `True`, `False` or `Unknown`.
    #[serde(deserialize_with = "text")]
    pub status: String,
    /// One word.
    #[serde(deserialize_with = "text")]
    pub reason: String,
    /// A sentence, or the hash of a revision.
    #[serde(deserialize_with = "text")]
    pub message: String,
}

/// Whom a pod belongs to.
#[derive(Debug, Clone, PartialEq, Eq, Default, Serialize, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Owner {
    /// API group, empty for the core.
    pub group: String,
    /// Kind.
    pub kind: String,
    /// Name.
    pub name: String,
    /// Identity.
    pub uid: String,
}

/// How a controller will bring a pod to its target.
///
/// Source: hub.md B4.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct UpgradePlan {
    /// The revision that the plan is for.
    pub hash: String,
    /// `InPlace` or `Recreate`.
    pub method: String,
}

/// The few fields of a pod that checks and intents read.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct PodView {
    /// Namespace.
    pub namespace: String,
    /// Name.
    pub name: String,
    /// Identity.
    pub uid: String,
    /// Version of the object.
    pub resource_version: String,
    /// Whether it has a deletion timestamp.
    pub deleting: bool,
    /// The node that it is bound to, empty if none.
    pub node: String,
    /// Number of owner references.
    pub owners: usize,
    /// The owner reference that controls the pod, else the first one.
    pub owner: Owner,
    /// Label `controller-revision-hash`, empty if absent.
    pub revision: String,
    /// Annotation `pitstop.io/upgrade-plan`, if it is one.
    pub plan: Option<UpgradePlan>,
    /// Phase of its life.
    pub phase: String,
    /// Conditions, in their order.
    pub conditions: Vec<Condition>,
}

impl PodView {
    /// Reads a pod.
    ///
    /// # Errors
    /// The bytes are not a pod.
    pub fn read(raw: &[u8]) -> Result<Self, serde_json::Error> {
        serde_json::from_slice::<Wire>(raw).map(Self::from)
    }

    /// The condition of a type.
    pub fn condition(&self, kind: &str) -> Option<&Condition> {
        self.conditions.iter().find(|condition| condition.kind == kind)
    }

    /// Whether a newer revision waits for consent.
    pub fn needs_upgrade(&self) -> bool {
        self.condition(reasons::POD_NEED_UPGRADE)
            .is_some_and(|condition| condition.status == "True")
    }

    /// The hash that the pod would come to, empty where an old controller wrote none.
    pub fn target(&self) -> &str {
        self.condition(reasons::POD_NEED_UPGRADE)
            .map_or("", |condition| message_revision(&condition.message))
    }

    /// Whether its owner already asked a controller for the target of now.
    pub fn requested(&self) -> bool {
        self.condition(reasons::UPGRADE_REQUESTED)
            .is_some_and(|condition| {
                condition.status == "True" && message_revision(&condition.message) == self.target()
            })
    }

    /// Whether its containers serve.
    pub fn ready(&self) -> bool {
        self.condition(reasons::READY)
            .is_some_and(|condition| condition.status == "True")
    }
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct Wire {
    metadata: WireMeta,
    spec: WireSpec,
    status: WireStatus,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireMeta {
    #[serde(deserialize_with = "text")]
    namespace: String,
    #[serde(deserialize_with = "text")]
    name: String,
    #[serde(deserialize_with = "text")]
    uid: String,
    #[serde(deserialize_with = "text")]
    resource_version: String,
    deletion_timestamp: Option<IgnoredAny>,
    #[serde(rename = "labels", deserialize_with = "revision")]
    revision: Option<String>,
    #[serde(rename = "annotations", deserialize_with = "plan")]
    plan: Option<String>,
    owner_references: Option<Vec<WireOwner>>,
}

/// The value of one key among labels or annotations; the others are read over.
struct Entry(&'static str);

impl<'de> Visitor<'de> for Entry {
    type Value = Option<String>;

    fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
        to.write_str("a map of texts")
    }

    fn visit_unit<E>(self) -> Result<Self::Value, E> {
        Ok(None)
    }

    fn visit_map<M: MapAccess<'de>>(self, mut map: M) -> Result<Self::Value, M::Error> {
        let mut found = None;
        while let Some(key) = map.next_key::<Cow<'de, str>>()? {
            if key == self.0 {
                found = map.next_value()?;
            } else {
                map.next_value::<IgnoredAny>()?;
            }
        }
        Ok(found)
    }
}

fn revision<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    from.deserialize_any(Entry(keys::REVISION_HASH))
}

fn plan<'de, D: Deserializer<'de>>(from: D) -> Result<Option<String>, D::Error> {
    from.deserialize_any(Entry(keys::UPGRADE_PLAN))
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireOwner {
    #[serde(deserialize_with = "text")]
    api_version: String,
    #[serde(deserialize_with = "text")]
    kind: String,
    #[serde(deserialize_with = "text")]
    name: String,
    #[serde(deserialize_with = "text")]
    uid: String,
    controller: Option<bool>,
}

#[derive(Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct WireSpec {
    #[serde(deserialize_with = "text")]
    node_name: String,
}

#[derive(Default, Deserialize)]
#[serde(default)]
struct WireStatus {
    #[serde(deserialize_with = "text")]
    phase: String,
    conditions: Option<Vec<Condition>>,
}

/// A string that may be null.
fn text<'de, D: Deserializer<'de>>(from: D) -> Result<String, D::Error> {
    Ok(Option::<String>::deserialize(from)?.unwrap_or_default())
}

/// Longest upgrade plan that is read, in bytes. Source: hub.md B4.
const MAX_PLAN: usize = 4096;

impl From<Wire> for PodView {
    fn from(wire: Wire) -> Self {
        let owners = wire.metadata.owner_references.unwrap_or_default();
        let owner = owners
            .iter()
            .find(|owner| owner.controller == Some(true))
            .or_else(|| owners.first())
            .map(|owner| Owner {
                group: owner
                    .api_version
                    .split_once('/')
                    .map_or("", |(group, _)| group)
                    .to_owned(),
                kind: owner.kind.clone(),
                name: owner.name.clone(),
                uid: owner.uid.clone(),
            })
            .unwrap_or_default();
        debug_assert_eq!(keys::REVISION_HASH, "controller-revision-hash");
        Self {
            namespace: wire.metadata.namespace,
            name: wire.metadata.name,
            uid: wire.metadata.uid,
            resource_version: wire.metadata.resource_version,
            deleting: wire.metadata.deletion_timestamp.is_some(),
            node: wire.spec.node_name,
            owners: owners.len(),
            owner,
            revision: wire.metadata.revision.unwrap_or_default(),
            plan: wire
                .metadata
                .plan
                .filter(|plan| plan.len() <= MAX_PLAN)
                .and_then(|plan| serde_json::from_str(&plan).ok()),
            phase: wire.status.phase,
            conditions: wire.status.conditions.unwrap_or_default(),
        }
    }
}

/// The members of a JSON object in their order, with their values as they were written.
#[derive(Default)]
struct Members<'a>(Vec<(String, &'a RawValue)>);

impl<'de: 'a, 'a> Deserialize<'de> for Members<'a> {
    fn deserialize<D: Deserializer<'de>>(from: D) -> Result<Self, D::Error> {
        struct Object;
        impl<'de> Visitor<'de> for Object {
            type Value = Members<'de>;
            fn expecting(&self, to: &mut fmt::Formatter<'_>) -> fmt::Result {
                to.write_str("an object")
            }
            fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<Self::Value, A::Error> {
                let mut members = Vec::new();
                while let Some(member) = map.next_entry()? {
                    members.push(member);
                }
                Ok(Members(members))
            }
        }
        from.deserialize_map(Object)
    }
}

/// Writes members as one JSON object.
fn object<'a>(
    members: impl IntoIterator<Item = (&'a str, &'a str)>,
    into: &mut Vec<u8>,
) -> serde_json::Result<()> {
    into.push(b'{');
    for (at, (key, value)) in members.into_iter().enumerate() {
        if at > 0 {
            into.push(b',');
        }
        serde_json::to_writer(&mut *into, key)?;
        into.push(b':');
        into.extend_from_slice(value.as_bytes());
    }
    into.push(b'}');
    Ok(())
}

/// A pod as clients get it: the bytes as they came, `kind` and `apiVersion` set, `managedFields` removed.
///
/// # Errors
/// The bytes are not a JSON object.
///
/// Source: hub.md B2 (4).
pub fn clean(raw: &[u8]) -> Result<Bytes, serde_json::Error> {
    let members: Members<'_> = serde_json::from_slice(raw)?;
    let mut metadata = Vec::new();
    let found = members.0.iter().find(|(key, _)| key == "metadata");
    if let Some((_, value)) = found {
        let inner: Members<'_> = serde_json::from_str(value.get())?;
        let kept = inner.0.iter().filter(|(key, _)| key != "managedFields");
        object(
            kept.map(|(key, value)| (key.as_str(), value.get())),
            &mut metadata,
        )?;
    } else {
        metadata.extend_from_slice(b"{}");
    }
    let metadata = String::from_utf8_lossy(&metadata);
    let head = [
        ("kind", "\"Pod\""),
        ("apiVersion", "\"v1\""),
        ("metadata", &*metadata),
    ];
    let rest = members
        .0
        .iter()
        .filter(|(key, _)| !matches!(key.as_str(), "kind" | "apiVersion" | "metadata"));
    let mut pod = Vec::with_capacity(raw.len());
    object(
        head.into_iter()
            .chain(rest.map(|(key, value)| (key.as_str(), value.get()))),
        &mut pod,
    )?;
    pod.shrink_to_fit();
    Ok(pod.into())
}

/// A pod without the values that a stranger has no business with: annotations and the values of variables.
///
/// A pod that cannot be read yields nothing.
///
/// Source: hub.md B10 (profile `guarded`).
pub fn redact(pod: &[u8]) -> Option<Bytes> {
    let mut pod: serde_json::Value = serde_json::from_slice(pod).ok()?;
    if let Some(metadata) = pod
        .get_mut("metadata")
        .and_then(|metadata| metadata.as_object_mut())
    {
        metadata.remove("annotations");
    }
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let containers = pod
            .pointer_mut(&format!("/spec/{list}"))
            .and_then(|list| list.as_array_mut());
        for container in containers.into_iter().flatten() {
            let variables = container.get_mut("env").and_then(|env| env.as_array_mut());
            for variable in variables.into_iter().flatten() {
                if let Some(variable) = variable.as_object_mut() {
                    variable.remove("value");
                }
            }
        }
    }
    serde_json::to_vec(&pod).ok().map(Bytes::from)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn the_owner_is_the_controller_else_the_first() {
        let raw = br#"{"metadata":{"ownerReferences":[
            {"apiVersion":"v1","kind":"ConfigMap","name":"a","uid":"1"},
            {"apiVersion":"apps/v1","kind":"DaemonSet","name":"d","uid":"2","controller":true}]}}"#;
        let pod = PodView::read(raw).unwrap();
        assert_eq!(
            (pod.owner.kind.as_str(), pod.owner.group.as_str()),
            ("DaemonSet", "apps")
        );
        let raw =
            br#"{"metadata":{"ownerReferences":[{"apiVersion":"v1","kind":"Node","name":"a","uid":"1"}]}}"#;
        let pod = PodView::read(raw).unwrap();
        assert_eq!((pod.owner.kind.as_str(), pod.owner.group.as_str()), ("Node", ""));
    }

    #[test]
    fn nulls_are_as_good_as_absent() {
        let raw = br#"{"metadata":{"name":null,"labels":null,"annotations":null,"ownerReferences":null,
            "deletionTimestamp":null},"spec":{"nodeName":null},"status":{"conditions":null,"phase":null}}"#;
        assert_eq!(PodView::read(raw).unwrap(), PodView::default());
    }

    #[test]
    fn bytes_stay_as_they_came_without_managed_fields() {
        let raw = br#"{ "metadata": {"name": "a", "managedFields": [{"f:x": {}}], "uid": "1"}, "spec": {"x":  1.50} }"#;
        assert_eq!(
            clean(raw).unwrap(),
            br#"{"kind":"Pod","apiVersion":"v1","metadata":{"name":"a","uid":"1"},"spec":{"x":  1.50}}"#
                .as_slice()
        );
        assert!(clean(b"[]").is_err());
    }

    #[test]
    fn strangers_see_no_annotations_and_no_values() {
        let raw = br#"{"metadata":{"annotations":{"a":"secret"},"name":"n"},
            "spec":{"containers":[{"env":[{"name":"A","value":"secret"}]}],"initContainers":[{"env":[{"name":"B","value":"secret"}]}]}}"#;
        let seen = String::from_utf8(redact(raw).unwrap().to_vec()).unwrap();
        assert!(
            !seen.contains("secret") && seen.contains(r#""name":"A""#),
            "{seen}"
        );
    }

    #[test]
    fn the_hash_of_a_message_stands_before_any_remark() {
        for (message, hash) in [
            ("controllerrevision: 5b9", "5b9"),
            ("controllerrevision: 5b9; pull failed", "5b9"),
            ("5b9", "5b9"),
            ("", ""),
        ] {
            assert_eq!(message_revision(message), hash, "{message}");
        }
    }
}
