//! Admission of StatefulSets. Source: statefulset.md 2.1, 2.2, 2.4.

use pitstop_api::statefulset::defaults::{self, Gates};
use pitstop_api::statefulset::validation::{self, Surroundings};
use pitstop_api::statefulset::{GROUP, KIND, protection};

use super::review::{Admission, Verdict};
use crate::api::Api;
use crate::controllers::live;

/// Fills in defaults.
pub(super) fn mutate(admission: &Admission<'_>, gates: Gates) -> Verdict {
    admission.mutate(validation::decode, |object| {
        defaults::default(object, admission.old, gates);
    })
}

/// Judges what is to be stored, or deleted. `api` is asked for classes of storage.
pub(super) async fn validate(
    api: &dyn Api,
    admission: &Admission<'_>,
    gates: Gates,
    resizes_in_place: bool,
) -> Verdict {
    if admission.operation == "DELETE" {
        let protected = admission.old.filter(|_| gates.protects_deletion);
        let refusal = protected.and_then(protection::refusal);
        return refusal.map_or(Verdict::ALLOWED, Verdict::forbidden);
    }
    let object = match admission.readable(validation::decode) {
        Ok(object) => object,
        Err(verdict) => return verdict,
    };
    let is_news = |old| gates.resizes_claims && validation::needs_classes(object, old);
    let classes = match admission.old {
        Some(old) if is_news(old) => match live::storage_classes(api).await {
            Ok(classes) => Some(classes),
            Err(error) => {
                let why =
                    format!("it cannot be told whether claims may grow: reading storage classes: {error}");
                return Verdict::unknown(why);
            }
        },
        // Without the gate claims do not grow with their templates, and may change in any way.
        _ => None,
    };
    let surroundings = Surroundings {
        resizes_in_place,
        classes,
    };
    let errors = validation::validate(object, admission.old, &surroundings);
    Verdict::of_errors(&errors, (GROUP, KIND, admission.name)).warning(validation::warnings(object))
}
