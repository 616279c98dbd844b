//! Admission of StatefulSets. Source: statefulset.md 2.1, 2.2, 2.4.

use pitstop_api::json_diff::diff;
use pitstop_api::statefulset::defaults::{self, Gates};
use pitstop_api::statefulset::validation::{self, Surroundings};
use pitstop_api::statefulset::{GROUP, KIND, protection};
use serde_json::Value;

use super::review::{Admission, Verdict};

/// Fills in defaults.
pub(super) fn mutate(admission: &Admission<'_>) -> Verdict {
    let Some(object) = admission.object else {
        return Verdict::ALLOWED;
    };
    if let Some(why) = undecodable(object, admission.old) {
        return Verdict::undecodable(why);
    }
    let mut defaulted = object.clone();
    defaults::default(&mut defaulted, admission.old, Gates::default());
    Verdict::Allowed(diff(object, &defaulted))
}

/// Judges what is to be stored, or deleted.
pub(super) fn validate(admission: &Admission<'_>, resizes_in_place: bool) -> Verdict {
    if admission.operation == "DELETE" {
        let refusal = admission.old.and_then(protection::refusal);
        return refusal.map_or(Verdict::ALLOWED, Verdict::forbidden);
    }
    let Some(object) = admission.object else {
        return Verdict::ALLOWED;
    };
    if let Some(why) = undecodable(object, admission.old) {
        return Verdict::undecodable(why);
    }
    let surroundings = Surroundings {
        resizes_in_place,
        // Without the gate claims do not grow with their templates, and may change in any way.
        classes: None,
    };
    let errors = validation::validate(object, admission.old, &surroundings);
    Verdict::of_errors(&errors, (GROUP, KIND, admission.name)).warning(validation::warnings(object))
}

/// Why an object cannot be read. A spec that is stored like this is no reason: its finalizers have to go.
fn undecodable(object: &Value, old: Option<&Value>) -> Option<String> {
    let is_known = old.is_some_and(|old| old.get("spec") == object.get("spec"));
    validation::decode(object).err().filter(|_| !is_known)
}
