//! Server-side apply: who owns which field of an object, and what an applied configuration makes of it.
//!
//! Every function here is pure. An object's owners are [`Managers`], decoded from `metadata.managedFields`; what each
//! owns is a trie of paths, [`Fields`]; and [`Type`] says how values are merged: as a whole, by name, by key or as a set.
//! [`update`] keeps the record for ordinary writes, [`merge`] brings an applied configuration into an object.
//!
//! Source: embedded-cluster.md 9.4; where it is silent, the answers of Kubernetes 1.34.

mod fields;
mod managers;
mod structure;
mod typed;
mod versions;
mod walk;

pub use fields::Fields;
pub use managers::{Identity, Managers, Operation};
pub use structure::{Custom, Key, Type};
pub use typed::problems;
pub use versions::{Alike, Unconverted, Versions};
pub use walk::{Changes, InvalidList, compare, fields_of};

use serde_json::Value;

use self::versions::Changed;

/// The manager that owns what an object was before anybody applied to it.
///
/// Source: embedded-cluster.md 9.4.
const BEFORE_FIRST_APPLY: &str = "before-first-apply";

/// The manager whose applies take over what its client-side applies left behind.
const KUBECTL: &str = "kubectl";

/// Where client-side apply keeps what it applied.
const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// Fields that belong to the server, whoever sends them.
const SERVER_FIELDS: [&[&str]; 12] = [
    &["f:apiVersion"],
    &["f:kind"],
    &["f:metadata"],
    &["f:metadata", "f:name"],
    &["f:metadata", "f:namespace"],
    &["f:metadata", "f:creationTimestamp"],
    &["f:metadata", "f:selfLink"],
    &["f:metadata", "f:uid"],
    &["f:metadata", "f:clusterName"],
    &["f:metadata", "f:generation"],
    &["f:metadata", "f:managedFields"],
    &["f:metadata", "f:resourceVersion"],
];

/// A write, as far as the record of owners is concerned.
#[derive(Debug, Clone, Copy)]
pub struct Write<'a> {
    /// Who writes, with which operation, to what.
    pub identity: &'a Identity,
    /// Now, as `metadata` writes it.
    pub now: &'a str,
    /// How the kind's values are merged in the version of the write.
    pub structure: Type<'a>,
    /// The other versions of the kind.
    pub versions: &'a dyn Versions,
    /// Paths that this endpoint does not write, e.g. `status` for all but the status endpoint.
    pub reset: &'a Fields,
}

/// What an apply made of an object.
#[derive(Debug, Clone, PartialEq)]
pub struct Applied {
    /// The object, without `metadata.managedFields`. It has not been defaulted.
    pub object: Value,
    /// Its owners from now on.
    pub managers: Managers,
}

/// A field that another manager owns.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Conflict {
    /// The other manager.
    pub owner: Identity,
    /// E.g. `.spec.replicas`.
    pub path: String,
}

/// Why a configuration is not applied.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ApplyError {
    /// A list that should be told apart by key cannot be.
    #[error(transparent)]
    List(#[from] InvalidList),
    /// Others own fields that would get another value.
    #[error("{}", conflict_text(.0))]
    Conflicts(Vec<Conflict>),
    /// Some own fields in a version that has to be asked for first.
    #[error(transparent)]
    Unconverted(#[from] Unconverted),
}

/// The owners of an object after an ordinary write. `old` is `Null` for a new object.
///
/// The writer owns what it changed or added, and nobody else does; nobody owns what it removed.
///
/// Source: embedded-cluster.md 9.4, update operations.
pub fn update(
    mut managers: Managers,
    old: &Value,
    new: &Value,
    write: &Write<'_>,
) -> Result<Managers, Unconverted> {
    let changed = Changed::between(old, new, &managers, write)?;
    managers.subtract(&changed, None);
    let mut taken = changed.own().taken();
    strip(&mut taken);
    managers.add(write.identity, &taken, write.now);
    managers.cap();
    Ok(managers)
}

/// Applies a configuration to an object. `live` is `Null` if there is none yet.
///
/// Fields that the manager applied before and does not any more are removed, unless somebody else owns them.
///
/// Source: embedded-cluster.md 9.4, apply algorithm.
pub fn merge(
    managers: &Managers,
    live: &Value,
    applied: &Value,
    write: &Write<'_>,
    force: bool,
) -> Result<Applied, ApplyError> {
    let mut managers = managers.clone();
    if managers.is_empty() && !live.is_null() {
        let before = Identity {
            manager: BEFORE_FIRST_APPLY.to_owned(),
            operation: Operation::Update,
            subresource: String::new(),
            ..write.identity.clone()
        };
        let before = Write {
            identity: &before,
            ..*write
        };
        managers = update(managers, &Value::Null, live, &before)?;
    }
    match merge_once(managers.clone(), live, applied, write, force) {
        Err(ApplyError::Conflicts(conflicts)) if write.identity.manager == KUBECTL => {
            let left = without_last_applied(conflicts, live, write.structure);
            if left.is_empty() {
                merge_once(managers, live, applied, write, true)
            } else {
                Err(ApplyError::Conflicts(left))
            }
        }
        result => result,
    }
}

/// Who moves from client-side to server-side apply with kubectl can go back: where client-side apply has left what it
/// applied, kubectl's server-side apply leaves it too.
pub fn renew_last_applied(object: &mut Value, applied: &Value, write: &Write<'_>) {
    let last = object
        .get_mut("metadata")
        .and_then(|m| m.get_mut("annotations"))
        .and_then(|a| a.get_mut(LAST_APPLIED));
    if let (KUBECTL, Some(last)) = (write.identity.manager.as_str(), last) {
        *last = format!("{applied}\n").into();
    }
}

fn merge_once(
    mut managers: Managers,
    live: &Value,
    applied: &Value,
    write: &Write<'_>,
    force: bool,
) -> Result<Applied, ApplyError> {
    let structure = write.structure;
    let mut wanted = fields_of(applied, structure)?;
    wanted = wanted.without_below(write.reset);
    let last = managers.set(write.identity, wanted);
    let merged = walk::merge(live, applied, structure)?;
    let object = match last {
        Some((version, fields)) if !fields.is_empty() => prune(merged, &managers, &version, &fields, write)?,
        _ => merged,
    };
    let changed = Changed::between(live, &object, &managers, write)?;
    let conflicts = managers.conflicts(write.identity, &changed);
    if !force && !conflicts.is_empty() {
        return Err(ApplyError::Conflicts(conflicts));
    }
    managers.subtract(&changed, Some(write.identity));
    managers.strip(write.identity, strip);
    managers.drop_empty();
    if object != *live {
        managers.touch(write.identity, write.now);
    }
    Ok(Applied { object, managers })
}

/// Removes what the manager applied last time, in whatever version, and nobody owns any more.
fn prune(
    merged: Value,
    managers: &Managers,
    version: &str,
    last: &Fields,
    write: &Write<'_>,
) -> Result<Value, ApplyError> {
    let Some(structure) = write.structure_of(version) else {
        return Ok(merged);
    };
    let merged = write.in_version(&merged, version)?;
    let named = |fields: &Fields| fields.with_named(structure);
    let everything = named(&fields_of(&merged, structure)?);
    let pruned = walk::remove(&merged, &named(last), structure);
    // What went with its parent comes back if somebody owns it.
    let pruned = versions::restore_owned(merged.clone(), pruned, version, managers, write)?;
    let pruned = write.in_version(&pruned, version)?;
    // And what nobody owned comes back unless the manager itself gave it up.
    let kept = named(&fields_of(&pruned, structure)?);
    let removed = everything.difference(&kept).intersection(&named(last));
    let pruned = walk::remove(&merged, &removed, structure);
    Ok(write.in_version(&pruned, &write.identity.api_version)?)
}

fn strip(fields: &mut Fields) {
    for path in SERVER_FIELDS {
        fields.remove(path);
    }
}

/// The conflicts that are no remains of client-side apply: fields that it set and nobody has changed since are taken
/// over without a question.
fn without_last_applied(conflicts: Vec<Conflict>, live: &Value, structure: Type<'_>) -> Vec<Conflict> {
    let last = live
        .get("metadata")
        .and_then(|m| m.get("annotations"))
        .and_then(|a| a.get(LAST_APPLIED));
    let last = last
        .and_then(Value::as_str)
        .and_then(|text| serde_json::from_str::<Value>(text).ok());
    let Some(last) = last else { return conflicts };
    let Ok(fields) = fields_of(&last, structure) else {
        return conflicts;
    };
    let changes = compare(&last, live, structure);
    let same = fields.difference(&changes.added.union(&changes.modified).union(&changes.removed));
    let allowed = same.paths();
    conflicts
        .into_iter()
        .filter(|conflict| !allowed.contains(&conflict.path))
        .collect()
}

/// The text of a 409, as Kubernetes words it.
fn conflict_text(conflicts: &[Conflict]) -> String {
    if let [one] = conflicts {
        return format!(
            "Apply failed with 1 conflict: conflict with {}: {}",
            one.owner, one.path
        );
    }
    let mut text = format!("Apply failed with {} conflicts: ", conflicts.len());
    for (index, conflict) in conflicts.iter().enumerate() {
        let same_owner = index
            .checked_sub(1)
            .and_then(|before| conflicts.get(before))
            .is_some_and(|c| c.owner == conflict.owner);
        if !same_owner {
            if index > 0 {
                text.push('\n');
            }
            text.push_str("conflicts with ");
            text.push_str(&conflict.owner.to_string());
            text.push(':');
        }
        text.push_str("\n- ");
        text.push_str(&conflict.path);
    }
    text
}

#[cfg(test)]
mod tests;
