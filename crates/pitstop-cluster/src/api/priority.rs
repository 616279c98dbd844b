//! The priority of a new pod, from its class.
//!
//! Source: embedded-cluster.md 13; texts are those of the Priority admission plugin of Kubernetes 1.34.

use serde_json::{Value, json};

use super::status::Failure;
use super::{Api, metadata};
use crate::kinds::Kind;
use crate::store::ListQuery;

/// Where classes are stored.
const CLASSES: (&str, &str) = ("scheduling.k8s.io", "priorityclasses");

impl Api {
    /// Gives a new pod the priority of the class that it names, or of the class for those that name none.
    pub(super) fn give_priority(&self, kind: &Kind, name: &str, object: &mut Value) -> Result<(), Failure> {
        if (kind.group, kind.plural) != ("", "pods") {
            return Ok(());
        }
        let Some(spec) = object.get_mut("spec").and_then(Value::as_object_mut) else {
            return Ok(());
        };
        let wanted = spec.get("priorityClassName").and_then(Value::as_str);
        let wanted = wanted.unwrap_or_default().to_owned();
        let class = if wanted.is_empty() {
            self.default_class()
        } else {
            let class = self.object(CLASSES, "", &wanted);
            Some(class.ok_or_else(|| {
                let why = format!("no PriorityClass with name {wanted} was found");
                Failure::forbidden(kind, name, &why)
            })?)
        };
        let class = class.unwrap_or_else(|| json!({}));
        let value = class.get("value").and_then(Value::as_i64).unwrap_or_default();
        if let Some(given) = spec
            .get("priority")
            .and_then(Value::as_i64)
            .filter(|given| *given != value)
        {
            let why = format!(
                "the integer value of priority ({given}) must not be provided in pod spec; priority admission controller \
                 computed {value} from the given PriorityClass name"
            );
            return Err(Failure::forbidden(kind, name, &why));
        }
        spec.insert("priority".to_owned(), value.into());
        if wanted.is_empty() && !class_name(&class).is_empty() {
            spec.insert("priorityClassName".to_owned(), class_name(&class).into());
        }
        let policy = class.get("preemptionPolicy").cloned();
        let policy = policy.unwrap_or_else(|| "PreemptLowerPriority".into());
        spec.entry("preemptionPolicy").or_insert(policy);
        Ok(())
    }

    /// The class of pods that name none: the lowest of those that say so.
    fn default_class(&self) -> Option<Value> {
        let is_default = |class: &Value| class.get("globalDefault").and_then(Value::as_bool) == Some(true);
        let classes = self.objects(CLASSES, &ListQuery::default()).into_iter();
        classes
            .filter(is_default)
            .min_by_key(|class| class.get("value").and_then(Value::as_i64))
    }
}

fn class_name(class: &Value) -> &str {
    metadata::text(class, "name")
}
