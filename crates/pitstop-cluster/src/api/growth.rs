//! Claims of volumes ask for more only where their class lets volumes grow.
//!
//! The rule and its text are those of the admission plugin `PersistentVolumeClaimResize` of Kubernetes 1.34.

use pitstop_api::quantity;
use serde_json::Value;

use super::Api;
use super::status::Failure;
use crate::kinds::Kind;

/// Where classes of storage are stored.
const CLASSES: (&str, &str) = ("storage.k8s.io", "storageclasses");

impl Api {
    /// Refuses a claim that asks for more than before without a class that allows it.
    pub(super) fn check_growth(
        &self,
        kind: &Kind,
        name: &str,
        new: &Value,
        old: &Value,
    ) -> Result<(), Failure> {
        if (kind.group, kind.plural) != ("", "persistentvolumeclaims") || asks_for(new) <= asks_for(old) {
            return Ok(());
        }
        let class = |claim: &Value| claim.pointer("/spec/storageClassName").cloned();
        let named = class(new).filter(|named| Some(named) == class(old).as_ref());
        let class = named.and_then(|named| self.object(CLASSES, "", named.as_str()?));
        if class.is_some_and(|class| class.get("allowVolumeExpansion") == Some(&Value::Bool(true))) {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                   support resize";
        Err(Failure::forbidden(kind, name, why))
    }
}

/// Units: billionths of a byte.
fn asks_for(claim: &Value) -> Option<i128> {
    let asked = claim.pointer("/spec/resources/requests/storage")?;
    match asked {
        Value::String(text) => quantity::value(text),
        number => quantity::value(&number.to_string()),
    }
}
