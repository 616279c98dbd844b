//! What the kinds of `apps.kruise.io` that run pods from a template have in common, for admission.

use serde_json::Value;

use crate::fields::{map_mut, text};

pub mod defaults;
pub mod definition;
pub mod protection;
pub(crate) mod schema;
pub(crate) mod template;
pub(crate) mod validation;

/// Is the spec written as it is stored, and only the rest changed? Then nothing of it is judged again.
pub fn is_spec_untouched(object: &Value, old: Option<&Value>) -> bool {
    old.is_some_and(|old| old.get("spec") == object.get("spec"))
}

/// The API group.
pub const GROUP: &str = "apps.kruise.io";

/// A version of a kind.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Version {
    /// `v1alpha1`.
    V1alpha1,
    /// `v1beta1`, which is stored.
    V1beta1,
}

impl Version {
    /// Both, the older first.
    pub const ALL: [Self; 2] = [Self::V1alpha1, Self::V1beta1];

    /// The version that an `apiVersion` names.
    pub fn of(api_version: &str) -> Option<Self> {
        Self::ALL
            .into_iter()
            .find(|version| version.api_version() == api_version)
    }

    /// The version of an object of a kind; `None` when it is of another kind, or of a version that is not known.
    pub fn of_object(object: &Value, kind: &str) -> Option<Self> {
        Self::of(text(object, "/apiVersion")).filter(|_| text(object, "/kind") == kind)
    }

    /// `apiVersion` of its objects.
    pub fn api_version(self) -> &'static str {
        match self {
            Self::V1alpha1 => "apps.kruise.io/v1alpha1",
            Self::V1beta1 => "apps.kruise.io/v1beta1",
        }
    }

    /// Without the group.
    pub fn name(self) -> &'static str {
        match self {
            Self::V1alpha1 => "v1alpha1",
            Self::V1beta1 => "v1beta1",
        }
    }
}

/// Why an object cannot be converted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ConversionError {
    /// It is of another kind, or of a version that is not known.
    #[error("{kind} of {api_version} is no {wanted} that can be converted")]
    Unknown {
        /// Its kind.
        kind: String,
        /// Its version.
        api_version: String,
        /// The kind that is converted here.
        wanted: &'static str,
    },
    /// The version that is wanted is not known.
    #[error("{kind}s have no version {version}")]
    UnknownVersion {
        /// The kind.
        kind: &'static str,
        /// The version.
        version: String,
    },
}

/// The version that an object of a kind has, and the one that it is wanted in.
///
/// # Errors
/// It is of another kind, or one of the versions is not known.
fn versions(object: &Value, kind: &'static str, wanted: &str) -> Result<(Version, Version), ConversionError> {
    let given = Version::of_object(object, kind).ok_or_else(|| ConversionError::Unknown {
        kind: text(object, "/kind").to_owned(),
        api_version: text(object, "/apiVersion").to_owned(),
        wanted: kind,
    })?;
    let wanted = Version::of(wanted).ok_or_else(|| ConversionError::UnknownVersion {
        kind,
        version: wanted.to_owned(),
    })?;
    Ok((given, wanted))
}

/// An object of `kind` in another version, `change` being what becomes of it on the way.
///
/// # Errors
/// It is of another kind, or one of the versions is not known.
pub(crate) fn convert(
    mut object: Value,
    kind: &'static str,
    wanted: &str,
    change: impl FnOnce(&mut Value, Version),
) -> Result<Value, ConversionError> {
    let (given, wanted) = versions(&object, kind, wanted)?;
    if given == wanted {
        return Ok(object);
    }
    map_mut(&mut object, &[]).insert("apiVersion".to_owned(), wanted.api_version().into());
    // Objects without a spec are parts that the server makes on the way; they have nothing to convert.
    if object.get("spec").is_some_and(Value::is_object) {
        change(&mut object, wanted);
    }
    Ok(object)
}
