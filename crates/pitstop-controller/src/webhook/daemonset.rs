//! Admission of DaemonSets of `apps.kruise.io`. Source: daemonset.md D1.

use pitstop_api::daemonset::validation;
use pitstop_api::daemonset::{GROUP, KIND, defaults};

use super::review::{Admission, Verdict};

/// Fills in defaults.
pub(super) fn mutate(admission: &Admission<'_>) -> Verdict {
    admission.mutate(validation::decode, |object| {
        defaults::default(object, admission.old);
    })
}

/// Judges what is to be stored. Deletions are nobody's concern here, as upstream.
pub(super) fn validate(admission: &Admission<'_>) -> Verdict {
    let object = match admission.readable(validation::decode) {
        Ok(object) => object,
        Err(verdict) => return verdict,
    };
    let errors = validation::validate(object, admission.old);
    Verdict::of_errors(&errors, (GROUP, KIND, admission.name))
}
