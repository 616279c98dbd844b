//! Admission of ImagePullJobs and NodeImages. Source: inplace.md 11.3, 11.4.

use pitstop_api::fields::text;
use pitstop_api::image_pull::{GROUP, defaults, protection, validation};

use super::review::{Admission, Verdict};

/// Fills in defaults.
pub(super) fn mutate(admission: &Admission<'_>) -> Verdict {
    admission.mutate(validation::decode, defaults::default)
}

/// Judges what is to be stored, or deleted.
pub(super) fn validate(admission: &Admission<'_>) -> Verdict {
    if admission.operation == "DELETE" {
        let refusal = admission.old.and_then(protection::refusal);
        return refusal.map_or(Verdict::ALLOWED, Verdict::forbidden);
    }
    let object = match admission.readable(validation::decode) {
        Ok(object) => object,
        Err(verdict) => return verdict,
    };
    let errors = validation::validate(object, admission.old);
    Verdict::of_errors(&errors, (GROUP, text(object, "/kind"), admission.name))
}
