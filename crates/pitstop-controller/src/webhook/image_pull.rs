//! Admission of ImagePullJobs and NodeImages. Source: inplace.md 11.3, 11.4.

use pitstop_api::fields::text;
use pitstop_api::image_pull::{GROUP, defaults, protection, validation};
use pitstop_api::json_diff::diff;
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
    defaults::default(&mut defaulted);
    Verdict::Allowed(diff(object, &defaulted))
}

/// Judges what is to be stored, or deleted.
pub(super) fn validate(admission: &Admission<'_>) -> Verdict {
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
    let errors = validation::validate(object, admission.old);
    Verdict::of_errors(&errors, (GROUP, text(object, "/kind"), admission.name))
}

/// Why an object cannot be read. A spec that is stored like this is no reason: its finalizers have to go.
fn undecodable(object: &Value, old: Option<&Value>) -> Option<String> {
    let is_known = validation::is_spec_untouched(object, old);
    validation::decode(object).err().filter(|_| !is_known)
}
