//! The versions of a kind, in each of which somebody may own fields.

use std::collections::BTreeMap;
use std::fmt;

use serde_json::Value;

use super::fields::Fields;
use super::managers::Managers;
use super::structure::Type;
use super::walk::{Changes, compare};
use super::{ApplyError, Write};

/// How an object looks in the versions of its kind.
pub trait Versions: fmt::Debug + Sync {
    /// How values are merged in a version; `None` if the kind has no such version any more.
    fn structure(&self, api_version: &str) -> Option<Type<'_>>;

    /// An object in a version that the kind has.
    fn convert(&self, object: &Value, api_version: &str) -> Result<Value, Unconverted>;
}

/// An object was not converted so far. Who keeps the versions knows which one, and may decide again when it is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
#[error("the object is not known in all versions in which its fields are owned")]
pub struct Unconverted;

/// A kind whose versions differ in nothing.
#[derive(Debug, Clone, Copy)]
pub struct Alike<'a>(pub Type<'a>);

impl Versions for Alike<'_> {
    fn structure(&self, _api_version: &str) -> Option<Type<'_>> {
        Some(self.0)
    }

    fn convert(&self, object: &Value, _api_version: &str) -> Result<Value, Unconverted> {
        Ok(object.clone())
    }
}

impl Write<'_> {
    /// An object in another version. Where nothing is, nothing is in all versions.
    pub(super) fn in_version(&self, object: &Value, api_version: &str) -> Result<Value, Unconverted> {
        let own = object.get("apiVersion").and_then(Value::as_str);
        if object.is_null() || own.unwrap_or(&self.identity.api_version) == api_version {
            return Ok(object.clone());
        }
        self.versions.convert(object, api_version)
    }

    /// How values are merged in a version.
    pub(super) fn structure_of(&self, api_version: &str) -> Option<Type<'_>> {
        if api_version == self.identity.api_version {
            return Some(self.structure);
        }
        self.versions.structure(api_version)
    }
}

/// What a write changes, in the words of each version in which somebody owns fields.
#[derive(Debug)]
pub(super) struct Changed {
    own: Changes,
    /// `None`: there is no such version any more.
    others: BTreeMap<String, Option<Changes>>,
}

impl Changed {
    pub(super) fn between(
        old: &Value,
        new: &Value,
        managers: &Managers,
        write: &Write<'_>,
    ) -> Result<Self, Unconverted> {
        let mut own = compare(old, new, write.structure);
        own.exclude(write.reset);
        let mut others = BTreeMap::new();
        for version in managers.versions() {
            if version == write.identity.api_version {
                continue;
            }
            let changes = match write.structure_of(&version) {
                None => None,
                Some(structure) => {
                    let (old, new) = (write.in_version(old, &version)?, write.in_version(new, &version)?);
                    let mut changes = compare(&old, &new, structure);
                    changes.exclude(write.reset);
                    Some(changes)
                }
            };
            others.insert(version, changes);
        }
        Ok(Self { own, others })
    }

    /// In the version of the write.
    pub(super) fn own(&self) -> &Changes {
        &self.own
    }

    /// In the version of an owner.
    pub(super) fn at(&self, api_version: &str) -> Option<&Changes> {
        match self.others.get(api_version) {
            Some(changes) => changes.as_ref(),
            None => Some(&self.own),
        }
    }
}

/// Brings back what went from an object although somebody owns it, in whichever version. `whole` is the object from
/// which it went; the answer is in the version of the last owner that was looked at.
pub(super) fn restore_owned(
    whole: Value,
    pruned: Value,
    first: &str,
    managers: &Managers,
    write: &Write<'_>,
) -> Result<Value, ApplyError> {
    let (mut whole, mut pruned) = (whole, pruned);
    let mut versions = managers.versions();
    // Nothing may be missing that a conversion needs.
    versions.sort_by_key(|version| version != first);
    for version in versions {
        let Some(structure) = write.structure_of(&version) else {
            continue;
        };
        whole = write.in_version(&whole, &version)?;
        pruned = write.in_version(&pruned, &version)?;
        let named = |fields: &Fields| fields.with_named(structure);
        let fields = |object: &Value| super::fields_of(object, structure).map(|fields| named(&fields));
        let kept = fields(&pruned)?.union(&named(&managers.all_in(&version)));
        pruned = super::walk::remove(&whole, &fields(&whole)?.difference(&kept), structure);
    }
    Ok(pruned)
}
