//! What a write makes of an object that is there: which fields it may touch, and what follows.
//!
//! Source: embedded-cluster.md 6.2 and 6.3.

use serde_json::{Map, Value, json};

use super::route::Target;
use super::status::Failure;
use super::{metadata, owners};
use crate::broken::{self, Defect};
use crate::kinds::{self, FieldError, Kind, Subresource};

/// What becomes of an object.
#[derive(Debug)]
pub(super) enum Next {
    /// Nothing has changed.
    Same,
    /// It is replaced.
    Replace(Value),
    /// Nothing holds it any more: it goes, and its writer is answered with this state.
    Remove(Value),
}

impl Next {
    /// The state that it becomes, if that is another one.
    pub(super) fn object(&self) -> Option<&Value> {
        match self {
            Self::Same => None,
            Self::Replace(object) | Self::Remove(object) => Some(object),
        }
    }
}

/// Applies the rules of updates to what a writer wants.
///
/// Source: embedded-cluster.md 6.2 and 6.3.
pub(super) fn next_state(target: &Target, mut new: Value, old: &Value) -> Result<Next, Failure> {
    let kind = target.kind;
    let name = target.name.as_deref().unwrap_or_default();
    metadata::keep_server_fields(&mut new, old);
    match target.subresource {
        Some(Subresource::Status) if kind.is_custom() => keep_only_new_status(&mut new, old),
        Some(Subresource::Status) => keep_all_but_status(&mut new, old),
        Some(Subresource::Approval) => keep_all_but_conditions(&mut new, old),
        Some(Subresource::Finalize) => keep_all_but_finalizers(&mut new, old),
        Some(Subresource::EphemeralContainers) => {
            new = kinds::with_ephemeral_containers(&new, old);
            (kind.default)(&mut new);
            raise_if_changed(&mut new, old);
        }
        Some(Subresource::Resize) => {
            new = kinds::with_resources(&new, old).map_err(|error| Failure::invalid(kind, name, &[error]))?;
            (kind.default)(&mut new);
            raise_if_changed(&mut new, old);
        }
        // Others write nothing of a kind by themselves.
        _ => {
            if kind.subresources.contains(&Subresource::Status) && !broken::is(Defect::StatusByUpdate) {
                keep_member(&mut new, old, "status");
            }
            if kind.subresources.contains(&Subresource::Finalize) {
                keep_spec_finalizers(&mut new, old);
            }
            (kind.default)(&mut new);
            (kind.prepare_update)(&mut new, old);
            let changed = if kind.is_custom() {
                differs_in_content(kind, &new, old)
            } else {
                // That of a PodTemplate is what others have in their spec.
                ["spec", "template"]
                    .iter()
                    .any(|part| new.get(part) != old.get(part))
            };
            if kind.has_generation && changed && !broken::is(Defect::StuckGeneration) {
                metadata::raise_generation(&mut new);
            }
        }
    }
    // It follows from the resources of the containers, which do not change.
    if kind.graceful_deletion && new.pointer("/status/qosClass").is_none() {
        keep_quality(&mut new, old);
    }
    if new == *old {
        return Ok(Next::Same);
    }
    // What is common to all kinds is checked once for all of them and again by each: such errors come several times.
    let common = kinds::validate_metadata_update(&new, old);
    let mut errors = kinds::validate_common_metadata(&new);
    errors.extend(common);
    let checks = kind.metadata_checks;
    if matches!(target.subresource, None | Some(Subresource::Scale)) {
        let mut changed = Vec::new();
        if checks.on_update {
            let metadata = kinds::validate_kind_metadata_update(kind, &new, old);
            // What is not checked again with the whole is said before it.
            let place = if checks.whole_on_update == 0 {
                &mut errors
            } else {
                &mut changed
            };
            place.extend(metadata);
        }
        if !broken::is(Defect::MutableFields) {
            changed.extend((kind.validate_update)(&new, old));
        }
        let mut whole = Vec::new();
        for _ in 0..checks.whole_on_update {
            whole.extend(kinds::validate_metadata(kind, &new));
            whole.extend(target.validate(&new));
        }
        if checks.whole_on_update == 0 {
            whole.extend(target.validate(&new));
        }
        if checks.whole_first {
            errors.extend(whole.into_iter().chain(changed));
        } else {
            errors.extend(changed.into_iter().chain(whole));
        }
    } else if checks.on_status {
        errors.extend(kinds::validate_kind_metadata_update(kind, &new, old));
    }
    match target.subresource {
        Some(Subresource::Status) => errors.extend((kind.validate_status)(&new, old)),
        Some(Subresource::EphemeralContainers) => errors.extend(kinds::validate_ephemeral(&new, old)),
        Some(Subresource::Resize) => {
            errors.extend(kinds::validate_resize(&new, old));
            errors.extend(target.validate(&new));
        }
        _ => {}
    }
    if !errors.is_empty() {
        return Err(Failure::invalid(kind, name, &errors));
    }
    Ok(if may_go(kind, &new) {
        Next::Remove(new)
    } else {
        Next::Replace(new)
    })
}

/// A pod of another spec is another generation of it.
fn raise_if_changed(new: &mut Value, old: &Value) {
    if new.get("spec") != old.get("spec") {
        metadata::raise_generation(new);
    }
}

/// Is the uid in a body a condition, or a change?
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum OtherUid {
    /// PUT of another uid means another object: 409.
    Conflict,
    /// A patch that makes it another uid changes what never changes: 422.
    Invalid,
}

/// Name, namespace, resourceVersion and uid in a body must be those of the stored object.
///
/// Source: embedded-cluster.md 6.3, rules 2 to 4; the answer to patches is that of Kubernetes 1.34 on the wire.
pub(super) fn check_preconditions(
    kind: &Kind,
    name: &str,
    new: &Value,
    old: &Value,
    other_uid: OtherUid,
) -> Result<(), Failure> {
    let given = metadata::text(new, "name");
    if given.is_empty() {
        return Err(Failure::without_name(name));
    }
    if given != name {
        return Err(Failure::other_name(given, name));
    }
    let namespace = metadata::text(new, "namespace");
    if kind.namespaced && !namespace.is_empty() && namespace != metadata::text(old, "namespace") {
        return Err(Failure::bad_request(
            "the namespace of the provided object does not match the namespace sent on the request",
        ));
    }
    let uid = metadata::text(new, "uid");
    let stored_uid = metadata::text(old, "uid");
    let is_other = !uid.is_empty() && uid != stored_uid;
    if is_other && other_uid == OtherUid::Conflict {
        let key = storage_key(kind, metadata::text(old, "namespace"), name);
        let why = format!(
            "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition \
             failed: UID in precondition: {uid}, UID in object meta: {stored_uid}"
        );
        return Err(Failure::conflict(kind, name, &why));
    }
    let version = metadata::text(new, "resourceVersion");
    check_version_syntax(version)?;
    if matches!(version, "" | "0") && kind.metadata_checks.needs_version {
        return Err(Failure::without_version(kind, name));
    }
    let is_stale = !matches!(version, "" | "0") && version != metadata::text(old, "resourceVersion");
    if is_stale && !broken::is(Defect::StaleWrite) {
        return Err(Failure::modified(kind, name));
    }
    if is_other {
        let error = FieldError::invalid("metadata.uid", uid, "field is immutable");
        let times = if kind.metadata_checks.on_update { 2 } else { 1 };
        return Err(Failure::invalid(kind, name, &vec![error; times]));
    }
    Ok(())
}

/// Versions are numbers.
pub(super) fn check_version_syntax(version: &str) -> Result<(), Failure> {
    if version.is_empty() || version.parse::<u64>().is_ok() {
        return Ok(());
    }
    let why = format!("strconv.ParseUint: parsing {version:?}: invalid syntax");
    Err(Failure::untyped(why))
}

/// Who replaces an object that is not there meant another one, if it names a uid.
pub(super) fn missing_uid(kind: &Kind, object: &Value, uid: &str) -> String {
    let name = metadata::text(object, "name");
    let key = storage_key(kind, metadata::text(object, "namespace"), name);
    format!(
        "StorageError: invalid object, Code: 4, Key: {key}, ResourceVersion: 0, AdditionalErrorMsg: Precondition \
         failed: UID in precondition: {uid}, UID in object meta: "
    )
}

/// Who approves says so in the conditions, and changes nothing else.
fn keep_all_but_conditions(new: &mut Value, old: &Value) {
    let conditions = new.pointer("/status/conditions").cloned();
    *new = old.clone();
    let status = new.get_mut("status").and_then(Value::as_object_mut);
    if let (Some(status), Some(conditions)) = (status, conditions) {
        status.insert("conditions".to_owned(), conditions);
    }
}

/// Of a write to the status of a custom object nothing counts but the status.
///
/// Source: embedded-cluster.md 20, example 4.
fn keep_only_new_status(new: &mut Value, old: &Value) {
    let status = new.get("status").cloned();
    *new = old.clone();
    if let Some(new) = new.as_object_mut() {
        match status {
            Some(status) => new.insert("status".to_owned(), status),
            None => new.remove("status"),
        };
    }
}

/// Does a custom object differ in anything but metadata, and status where that is written by itself?
fn differs_in_content(kind: &Kind, new: &Value, old: &Value) -> bool {
    let has_status = kind.subresources.contains(&Subresource::Status);
    let counts = |name: &str| name != "metadata" && !(has_status && name == "status");
    let content = |object: &Value| -> Vec<(String, Value)> {
        let fields = object.as_object().into_iter().flatten();
        fields
            .filter(|(name, _)| counts(name))
            .map(|(name, value)| (name.clone(), value.clone()))
            .collect()
    };
    content(new) != content(old)
}

/// Where Kubernetes stores an object, as its messages name it.
fn storage_key(kind: &Kind, namespace: &str, name: &str) -> String {
    let folder = match (kind.group, kind.plural) {
        ("", "services") => "services/specs",
        ("", "endpoints") => "services/endpoints",
        ("", "nodes") => "minions",
        ("", "replicationcontrollers") => "controllers",
        ("networking.k8s.io", "ingresses") => "ingress",
        (_, plural) => plural,
    };
    if namespace.is_empty() {
        format!("/registry/{folder}/{name}")
    } else {
        format!("/registry/{folder}/{namespace}/{name}")
    }
}

/// Source: embedded-cluster.md 6.3, rule 6. Labels, annotations and finalizers of a status write do take effect.
fn keep_all_but_status(new: &mut Value, old: &Value) {
    if let Some(metadata) = metadata::metadata_mut(new) {
        metadata::keep(metadata, old, "ownerReferences");
    }
    let (Some(map), Some(old)) = (new.as_object_mut(), old.as_object()) else {
        return;
    };
    // To leave out a status that says nothing changes nothing.
    if let (None, Some(empty)) = (
        map.get("status"),
        old.get("status").filter(|old| **old == json!({})),
    ) {
        map.insert("status".to_owned(), empty.clone());
    }
    keep_members(map, old);
}

/// What a write of the status does not change.
pub(super) fn keep_rest(new: &mut Value, old: &Value) {
    if let (Some(new), Some(old)) = (new.as_object_mut(), old.as_object()) {
        keep_members(new, old);
    }
}

fn keep_members(new: &mut Map<String, Value>, old: &Map<String, Value>) {
    let is_written = |name: &str| matches!(name, "metadata" | "status");
    new.retain(|name, _| is_written(name) || old.contains_key(name));
    for (name, value) in old.iter().filter(|(name, _)| !is_written(name)) {
        if new.get(name) != Some(value) {
            new.insert(name.clone(), value.clone());
        }
    }
}

fn keep_all_but_finalizers(new: &mut Value, old: &Value) {
    let finalizers = new.pointer("/spec/finalizers").cloned();
    let mut next = old.clone();
    if let Some(metadata) = new.get("metadata").and_then(|m| m.get("finalizers"))
        && let Some(next) = metadata::metadata_mut(&mut next)
    {
        next.insert("finalizers".to_owned(), metadata.clone());
    }
    set_spec_finalizers(&mut next, finalizers);
    *new = next;
}

fn keep_spec_finalizers(new: &mut Value, old: &Value) {
    set_spec_finalizers(new, old.pointer("/spec/finalizers").cloned());
}

fn set_spec_finalizers(object: &mut Value, finalizers: Option<Value>) {
    let Some(object) = object.as_object_mut() else {
        return;
    };
    let spec = object.entry("spec").or_insert_with(|| Value::Object(Map::new()));
    let Some(spec) = spec.as_object_mut() else { return };
    match finalizers.filter(|f| f.as_array().is_some_and(|f| !f.is_empty())) {
        Some(finalizers) => spec.insert("finalizers".to_owned(), finalizers),
        None => spec.remove("finalizers"),
    };
    if spec.is_empty() {
        object.remove("spec");
    }
}

fn keep_member(new: &mut Value, old: &Value, member: &str) {
    let Some(new) = new.as_object_mut() else { return };
    match old.get(member) {
        Some(value) => new.insert(member.to_owned(), value.clone()),
        None => new.remove(member),
    };
}

fn keep_quality(pod: &mut Value, old: &Value) {
    let status = pod.get_mut("status").and_then(Value::as_object_mut);
    if let (Some(status), Some(class)) = (status, old.pointer("/status/qosClass")) {
        status.insert("qosClass".to_owned(), class.clone());
    }
}

/// Does nothing hold a deleted object any more?
///
/// Source: embedded-cluster.md 6.3, rule 8.
fn may_go(kind: &Kind, object: &Value) -> bool {
    let grace = object
        .pointer("/metadata/deletionGracePeriodSeconds")
        .and_then(Value::as_i64);
    metadata::is_deleting(object) && grace.unwrap_or(0) == 0 && !metadata::is_held(kind, object)
}

/// Did a node only say that it is alive? Such writes are many, and losing one to a crash costs nothing.
pub(super) fn only_heartbeats_differ(new: &Value, old: &Value) -> bool {
    let conditions = |object: &Value| {
        object
            .pointer("/status/conditions")
            .and_then(Value::as_array)
            .is_some_and(|list| {
                list.iter()
                    .any(|condition| condition.get("lastHeartbeatTime").is_some())
            })
    };
    if !conditions(new) || !conditions(old) {
        return false;
    }
    let without = |object: &Value| {
        let mut object = object.clone();
        // The time of their owner's last write is in there.
        owners::take(&mut object);
        let list = object
            .pointer_mut("/status/conditions")
            .and_then(Value::as_array_mut);
        for condition in list.into_iter().flatten().filter_map(Value::as_object_mut) {
            condition.remove("lastHeartbeatTime");
        }
        object
    };
    without(new) == without(old)
}
