//! What the subresources `ephemeralcontainers` and `resize` of pods may write.
//!
//! Source: the answers of Kubernetes 1.34.

use serde_json::Value;

use super::qos;
use crate::kinds::FieldError;
use crate::kinds::fields::{entries, keep, list, list_mut, text};

/// What no ephemeral container has.
const FORBIDDEN: [&str; 6] = [
    "ports",
    "resources",
    "livenessProbe",
    "readinessProbe",
    "startupProbe",
    "lifecycle",
];
/// Resources that can be changed in place.
const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// The old pod with the ephemeral containers of the new one.
pub(crate) fn with_ephemeral_containers(new: &Value, old: &Value) -> Value {
    let mut next = old.clone();
    keep(&mut next, new, &["spec"], "ephemeralContainers");
    next
}

/// What is wrong with ephemeral containers, which come and never go.
pub(crate) fn validate_ephemeral(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let mains: Vec<&str> = names(new, "/spec/containers");
    let mut taken: Vec<&str> = [mains.clone(), names(new, "/spec/initContainers")].concat();
    for (index, container) in list(new, "/spec/ephemeralContainers").iter().enumerate() {
        let field = |name: &str| format!("spec.ephemeralContainers[{index}].{name}");
        let name = text(container, "/name");
        if name.is_empty() {
            errors.push(FieldError::required(field("name"), ""));
        } else if taken.contains(&name) {
            errors.push(FieldError::duplicate(field("name"), name));
        }
        taken.push(name);
        if text(container, "/image").is_empty() {
            errors.push(FieldError::required(field("image"), ""));
        }
        let target = text(container, "/targetContainerName");
        if !target.is_empty() && !mains.contains(&target) {
            errors.push(FieldError::not_found(field("targetContainerName"), target));
        }
        let has = |name: &str| {
            let value = container.get(name).filter(|value| !value.is_null());
            value.is_some_and(|value| value.as_object().is_none_or(|fields| !fields.is_empty()))
        };
        for name in FORBIDDEN.into_iter().filter(|name| has(name)) {
            let why = "cannot be set for an Ephemeral Container";
            errors.push(FieldError::forbidden(field(name), why));
        }
    }
    for before in list(old, "/spec/ephemeralContainers") {
        let name = text(before, "/name");
        let mut all = list(new, "/spec/ephemeralContainers").iter();
        let problem = match all.find(|container| text(container, "/name") == name) {
            Some(after) if after == before => continue,
            Some(_) => "changed",
            // A line for a comparison with nothing follows.
            None => "removed\n",
        };
        let why = format!("existing ephemeral containers {name:?} may not be {problem}");
        errors.push(FieldError::forbidden("spec.ephemeralContainers", why));
    }
    errors
}

/// The old pod with the resources of the containers of the new one; an error where those are other containers.
pub(crate) fn with_resources(new: &Value, old: &Value) -> Result<Value, FieldError> {
    const LISTS: [&str; 2] = ["/spec/containers", "/spec/initContainers"];
    let mut next = old.clone();
    for pointer in LISTS {
        if names(new, pointer) != names(old, pointer) {
            let (field, why) = if pointer == LISTS[0] {
                (
                    "spec.containers",
                    "containers may not be added or removed on resize",
                )
            } else {
                (
                    "spec.initContainers",
                    "initContainers may not be added or removed on resize",
                )
            };
            return Err(FieldError::forbidden(field, why));
        }
        for (container, given) in list_mut(&mut next, pointer).iter_mut().zip(list(new, pointer)) {
            keep(container, given, &[], "resources");
        }
    }
    Ok(next)
}

/// What may not become of a pod by other resources.
pub(crate) fn validate_resize(new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if qos::class(new) != qos::class(old) {
        let why = "Pod QOS Class may not change as a result of resizing";
        errors.push(FieldError::invalid("spec", qos::class(old), why));
    }
    let lists = ["initContainers", "containers"];
    for list_name in lists {
        for (index, (after, before)) in pairs(new, old, list_name).enumerate() {
            if list_name == "initContainers" && !is_sidecar(before) {
                continue;
            }
            for sort in ["limits", "requests"] {
                let amount = |container: &Value, name: &str| {
                    container.pointer(&format!("/resources/{sort}/{name}")).cloned()
                };
                let gone = COMPUTE
                    .iter()
                    .any(|name| amount(before, name).is_some() && amount(after, name).is_none());
                if gone {
                    let field = format!("spec.{list_name}[{index}].resources.{sort}");
                    let why = format!("resource {sort} cannot be removed");
                    errors.push(FieldError::forbidden(field, why));
                }
            }
        }
    }
    let mut refuse = |why| errors.push(FieldError::forbidden("spec", why));
    if pairs(new, old, "containers").any(|(after, before)| others(after) != others(before)) {
        refuse("only cpu and memory resources are mutable");
    }
    for (after, before) in pairs(new, old, "initContainers") {
        if !is_sidecar(before) && after != before {
            refuse("resources for non-sidecar init containers are immutable");
        } else if others(after) != others(before) {
            refuse("only cpu and memory resources for sidecar containers are mutable");
        }
    }
    errors
}

/// Is it an init container that goes on beside the others?
fn is_sidecar(container: &Value) -> bool {
    text(container, "/restartPolicy") == "Always"
}

/// The amounts of a container that cannot be changed in place.
fn others(container: &Value) -> Vec<(String, Value)> {
    let sorts = ["/resources/limits", "/resources/requests"];
    let all = sorts.into_iter().flat_map(|sort| {
        entries(container, sort)
            .filter(|(name, _)| !COMPUTE.contains(name))
            .map(move |(name, value)| (format!("{sort}/{name}"), value.clone()))
    });
    all.collect()
}

/// The containers of a list, as they are to be and as they are.
fn pairs<'o>(new: &'o Value, old: &'o Value, name: &str) -> impl Iterator<Item = (&'o Value, &'o Value)> {
    let pointer = format!("/spec/{name}");
    list(new, &pointer).iter().zip(list(old, &pointer))
}

fn names<'o>(pod: &'o Value, pointer: &str) -> Vec<&'o str> {
    let containers = list(pod, pointer).iter();
    containers.map(|container| text(container, "/name")).collect()
}
