//! Claims of volumes ask for more only where their class lets volumes grow.
//!
//! The rule and its text are those of the admission plugin `PersistentVolumeClaimResize` of Kubernetes 1.34.

use pitstop_api::claim::ClaimDisk;
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
        if (kind.group, kind.plural) != ("", "persistentvolumeclaims") {
            return Ok(());
        }
        let (new, old) = (ClaimDisk::of(new), ClaimDisk::of(old));
        if new.request <= old.request {
            return Ok(());
        }
        let class = new.class.as_ref().filter(|_| new.class == old.class);
        let class = class.and_then(|class| self.object(CLASSES, "", class));
        if class.is_some_and(|class| class.get("allowVolumeExpansion") == Some(&Value::Bool(true))) {
            return Ok(());
        }
        let why = "only dynamically provisioned pvc can be resized and the storageclass that provisions the pvc must \
                   support resize";
        Err(Failure::forbidden(kind, name, why))
    }
}
