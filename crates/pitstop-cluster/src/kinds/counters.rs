//! Counters in the status of workloads: which may not be negative, greater than others, or lower than before.
//!
//! Source: the answers of Kubernetes 1.34.

use serde_json::Value;

use super::FieldError;
use super::fields::integer;
use super::pod_template::nonnegative;

const COLLISIONS: &str = "/status/collisionCount";

/// What the counters of a kind have to be.
struct Rules {
    /// Not negative, in the order in which they are checked.
    counters: &'static [&'static str],
    /// No greater than `replicas`.
    of_replicas: &'static [&'static str],
    /// What `availableReplicas` are told to be no greater than.
    ready: Option<&'static str>,
}

impl Rules {
    fn errors(&self, new: &Value, old: &Value) -> Vec<FieldError> {
        let number = |name: &str| integer(new, &format!("/status/{name}")).unwrap_or_default();
        let field = |name: &str| format!("status.{name}");
        let mut errors = Vec::new();
        for name in self.counters {
            errors.extend(nonnegative(new, &format!("/status/{name}"), &field(name)));
        }
        for name in self.of_replicas {
            if number(name) > number("replicas") {
                let why = "cannot be greater than status.replicas";
                errors.push(FieldError::invalid(field(name), number(name), why));
            }
        }
        if let Some(ready) = self.ready
            && number("availableReplicas") > number("readyReplicas")
        {
            let why = format!("cannot be greater than {ready}");
            let name = "availableReplicas";
            errors.push(FieldError::invalid(field(name), number(name), why));
        }
        if let (Some(before), Some(now)) = (integer(old, COLLISIONS), integer(new, COLLISIONS))
            && now < before
        {
            let why = "cannot be decremented";
            errors.push(FieldError::invalid(field("collisionCount"), now, why));
        }
        errors
    }
}

/// Of the status of a `DaemonSet`.
pub(super) fn of_daemon_set(new: &Value, old: &Value) -> Vec<FieldError> {
    let rules = Rules {
        counters: &[
            "currentNumberScheduled",
            "numberMisscheduled",
            "desiredNumberScheduled",
            "numberReady",
            "observedGeneration",
            "updatedNumberScheduled",
            "numberAvailable",
            "numberUnavailable",
            "collisionCount",
        ],
        of_replicas: &[],
        ready: None,
    };
    rules.errors(new, old)
}

/// Of the status of a Deployment.
pub(super) fn of_deployment(new: &Value, old: &Value) -> Vec<FieldError> {
    let rules = Rules {
        counters: &[
            "observedGeneration",
            "replicas",
            "updatedReplicas",
            "readyReplicas",
            "availableReplicas",
            "unavailableReplicas",
            "collisionCount",
        ],
        of_replicas: &["updatedReplicas", "readyReplicas", "availableReplicas"],
        ready: Some("readyReplicas"),
    };
    rules.errors(new, old)
}

/// Of the status of a `ReplicaSet` or `ReplicationController`.
pub(super) fn of_replicas(new: &Value, old: &Value) -> Vec<FieldError> {
    let rules = Rules {
        counters: &[
            "replicas",
            "fullyLabeledReplicas",
            "readyReplicas",
            "availableReplicas",
            "observedGeneration",
        ],
        of_replicas: &["fullyLabeledReplicas", "readyReplicas", "availableReplicas"],
        ready: Some("readyReplicas"),
    };
    rules.errors(new, old)
}

/// Of the status of a `StatefulSet`.
pub(super) fn of_stateful_set(new: &Value, old: &Value) -> Vec<FieldError> {
    let rules = Rules {
        counters: &[
            "replicas",
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "observedGeneration",
            "collisionCount",
            "availableReplicas",
        ],
        of_replicas: &[
            "readyReplicas",
            "currentReplicas",
            "updatedReplicas",
            "availableReplicas",
        ],
        ready: Some("status.readyReplicas"),
    };
    rules.errors(new, old)
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn counters_have_their_bounds() {
        type Check = fn(&Value, &Value) -> Vec<FieldError>;
        let cases: [(Check, Value, Value, &[&str]); 5] = [
            (
                of_daemon_set,
                json!({"numberReady": -3}),
                json!({}),
                &["status.numberReady: Invalid value: -3: must be greater than or equal to 0"],
            ),
            (
                of_daemon_set,
                json!({"collisionCount": 2}),
                json!({"collisionCount": 3}),
                &["status.collisionCount: Invalid value: 2: cannot be decremented"],
            ),
            (
                of_deployment,
                json!({"replicas": 1, "availableReplicas": 2}),
                json!({}),
                &[
                    "status.availableReplicas: Invalid value: 2: cannot be greater than status.replicas",
                    "status.availableReplicas: Invalid value: 2: cannot be greater than readyReplicas",
                ],
            ),
            (
                of_stateful_set,
                json!({"replicas": 3, "readyReplicas": 1, "availableReplicas": 2}),
                json!({}),
                &["status.availableReplicas: Invalid value: 2: cannot be greater than status.readyReplicas"],
            ),
            (
                of_replicas,
                json!({"replicas": 2, "readyReplicas": 2, "availableReplicas": 2}),
                json!({}),
                &[],
            ),
        ];
        for (check, new, old, wanted) in cases {
            let errors = check(&json!({"status": new}), &json!({"status": old}));
            let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
            assert_eq!(texts, wanted, "{new}");
        }
    }
}
