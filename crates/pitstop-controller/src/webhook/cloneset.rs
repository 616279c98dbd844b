//! Admission of CloneSets. Source: cloneset.md 1.5, 1.6.

use std::collections::BTreeMap;

use pitstop_api::cloneset::defaults::{self, Gates};
use pitstop_api::cloneset::validation::{self, Surroundings};
use pitstop_api::cloneset::{GROUP, KIND, protection};
use serde_json::Value;

use super::review::{Admission, Verdict};
use crate::api::{Api, Call, CallError, Resource, Verb};

/// Pods by name, or why they could not be read.
type Pods = BTreeMap<String, Result<Value, String>>;

/// Fills in defaults.
pub(super) fn mutate(admission: &Admission<'_>, gates: Gates) -> Verdict {
    admission.mutate(validation::decode, |object| {
        defaults::default(object, admission.old, gates);
    })
}

/// Judges what is to be stored, or deleted.
pub(super) fn validate(
    admission: &Admission<'_>,
    pods: Pods,
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
    let surroundings = Surroundings {
        pods,
        resizes_in_place,
    };
    let errors = validation::validate(object, admission.old, &surroundings);
    Verdict::of_errors(&errors, (GROUP, KIND, admission.name))
}

/// The pods that have to be known before the request is judged. Those that are not there are left out.
pub(super) async fn pods(api: &dyn Api, admission: &Admission<'_>) -> Pods {
    let mut pods = Pods::new();
    let object = admission.object.filter(|_| admission.operation != "DELETE");
    let names = object.map_or_else(Vec::new, |object| {
        validation::pods_to_look_up(object, admission.old)
    });
    for name in names {
        let call = Call::object(Verb::Get, Resource::Pods, Some(admission.namespace), name);
        let pod = match api.send(call).await {
            Ok(body) => serde_json::from_slice(&body).map_err(|error| error.to_string()),
            Err(CallError::NotFound(_)) => continue,
            Err(error) => Err(error.to_string()),
        };
        pods.insert(name.to_owned(), pod);
    }
    pods
}
