//! Quality of service classes.

use serde_json::Value;

use crate::kinds::fields::list;

const COMPUTE: [&str; 2] = ["cpu", "memory"];

/// `Guaranteed` if every container limits processor and memory and requests no less, `BestEffort` if none asks for
/// anything, else `Burstable`.
pub(super) fn class(pod: &Value) -> &'static str {
    let containers: Vec<&Value> = list(pod, "/spec/initContainers")
        .iter()
        .chain(list(pod, "/spec/containers"))
        .collect();
    let amount = |container: &Value, list: &str, name: &str| {
        let amount = container
            .pointer(&format!("/resources/{list}/{name}"))
            .and_then(Value::as_str)?;
        Some(amount.to_owned()).filter(|amount| amount != "0")
    };
    let asks = |container: &&Value| {
        COMPUTE.iter().any(|name| {
            amount(container, "limits", name).is_some() || amount(container, "requests", name).is_some()
        })
    };
    let guaranteed = |container: &&Value| {
        COMPUTE.iter().all(|name| {
            let limit = amount(container, "limits", name);
            let request = amount(container, "requests", name).or_else(|| limit.clone());
            limit.is_some() && limit == request
        })
    };
    match () {
        () if !containers.iter().any(asks) => "BestEffort",
        () if containers.iter().all(guaranteed) => "Guaranteed",
        () => "Burstable",
    }
}
