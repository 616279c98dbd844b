//! Reading fields of objects by their path.

use serde::de::DeserializeOwned;
use serde_json::Value;

use super::meta::ViewError;

/// The value at a path; its default where it is absent or null.
pub(super) fn read<T: DeserializeOwned + Default>(
    object: &Value,
    path: &'static str,
) -> Result<T, ViewError> {
    let mut keys = path.split('.');
    let value = keys.try_fold(object, |value, key| value.get(key));
    match value {
        None | Some(Value::Null) => Ok(T::default()),
        Some(value) => T::deserialize(value).map_err(|error| ViewError {
            field: path,
            problem: error.to_string(),
        }),
    }
}

/// A number of at least 0.
pub(super) fn count(object: &Value, path: &'static str) -> Result<Option<u32>, ViewError> {
    let number: Option<i32> = read(object, path)?;
    Ok(number.map(|number| u32::try_from(number).unwrap_or_default()))
}
