//! Admission of StatefulSets. Source: statefulset.md 2.1, 2.2, 2.4.

use pitstop_api::statefulset::defaults::{self, Gates};
use pitstop_api::statefulset::validation::{self, Surroundings};
use pitstop_api::statefulset::{GROUP, KIND, protection};

use super::review::{Admission, Verdict};

/// Fills in defaults.
pub(super) fn mutate(admission: &Admission<'_>) -> Verdict {
    admission.mutate(validation::decode, |object| {
        defaults::default(object, admission.old, Gates::default());
    })
}

/// Judges what is to be stored, or deleted.
pub(super) fn validate(admission: &Admission<'_>, resizes_in_place: bool) -> Verdict {
    if admission.operation == "DELETE" {
        let refusal = admission.old.and_then(protection::refusal);
        return refusal.map_or(Verdict::ALLOWED, Verdict::forbidden);
    }
    let object = match admission.readable(validation::decode) {
        Ok(object) => object,
        Err(verdict) => return verdict,
    };
    let surroundings = Surroundings {
        resizes_in_place,
        // Without the gate claims do not grow with their templates, and may change in any way.
        classes: None,
    };
    let errors = validation::validate(object, admission.old, &surroundings);
    Verdict::of_errors(&errors, (GROUP, KIND, admission.name)).warning(validation::warnings(object))
}
