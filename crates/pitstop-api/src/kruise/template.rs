//! The shape of a template. The schema of the kind says nothing about it, so that fields of newer versions survive;
//! what is said of a pod has to be said in the types that a pod has.

use serde_json::Value;

/// What a field has to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Type {
    Object,
    List,
    Text,
    Integer,
    Bool,
    /// A map of texts.
    Texts,
}

/// Fields of a pod template by path; `*` stands for each element of a list.
const FIELDS: &[(&str, Type)] = &[
    ("metadata", Type::Object),
    ("metadata.labels", Type::Texts),
    ("metadata.annotations", Type::Texts),
    ("metadata.finalizers", Type::List),
    ("metadata.finalizers.*", Type::Text),
    ("spec", Type::Object),
    ("spec.activeDeadlineSeconds", Type::Integer),
    ("spec.affinity", Type::Object),
    ("spec.dnsPolicy", Type::Text),
    ("spec.hostNetwork", Type::Bool),
    ("spec.imagePullSecrets", Type::List),
    ("spec.imagePullSecrets.*", Type::Object),
    ("spec.nodeName", Type::Text),
    ("spec.nodeSelector", Type::Texts),
    ("spec.readinessGates", Type::List),
    ("spec.readinessGates.*", Type::Object),
    ("spec.restartPolicy", Type::Text),
    ("spec.schedulerName", Type::Text),
    ("spec.securityContext", Type::Object),
    ("spec.serviceAccountName", Type::Text),
    ("spec.terminationGracePeriodSeconds", Type::Integer),
    ("spec.tolerations", Type::List),
    ("spec.tolerations.*", Type::Object),
    ("spec.topologySpreadConstraints", Type::List),
    ("spec.topologySpreadConstraints.*", Type::Object),
    ("spec.volumes", Type::List),
    ("spec.volumes.*", Type::Object),
    ("spec.volumes.*.name", Type::Text),
];

/// Fields of the list of claim templates.
const CLAIM: &[(&str, Type)] = &[
    ("*.metadata.name", Type::Text),
    ("*.metadata.labels", Type::Texts),
    ("*.metadata.annotations", Type::Texts),
    ("*.spec.accessModes", Type::List),
    ("*.spec.accessModes.*", Type::Text),
    ("*.spec.resources", Type::Object),
    ("*.spec.resources.requests", Type::Object),
    ("*.spec.storageClassName", Type::Text),
    ("*.spec.volumeMode", Type::Text),
];

/// Fields of each container.
const CONTAINER: &[(&str, Type)] = &[
    ("name", Type::Text),
    ("image", Type::Text),
    ("imagePullPolicy", Type::Text),
    ("args", Type::List),
    ("args.*", Type::Text),
    ("command", Type::List),
    ("command.*", Type::Text),
    ("env", Type::List),
    ("env.*", Type::Object),
    ("env.*.name", Type::Text),
    ("env.*.value", Type::Text),
    ("env.*.valueFrom", Type::Object),
    ("envFrom", Type::List),
    ("envFrom.*", Type::Object),
    ("lifecycle", Type::Object),
    ("livenessProbe", Type::Object),
    ("ports", Type::List),
    ("ports.*", Type::Object),
    ("ports.*.containerPort", Type::Integer),
    ("ports.*.name", Type::Text),
    ("readinessProbe", Type::Object),
    ("resources", Type::Object),
    ("resources.limits", Type::Object),
    ("resources.requests", Type::Object),
    ("securityContext", Type::Object),
    ("startupProbe", Type::Object),
    ("volumeMounts", Type::List),
    ("volumeMounts.*", Type::Object),
    ("volumeMounts.*.name", Type::Text),
    ("volumeMounts.*.mountPath", Type::Text),
];

/// The first field of a template, or of a claim template, that has the wrong type, and what it should be.
pub(crate) fn misshapen(spec: &Value) -> Option<String> {
    let template = spec.get("template")?;
    let at = "spec.template";
    if !template.is_object() {
        return Some(format!("{at}: expected an object"));
    }
    let mut problem = FIELDS
        .iter()
        .find_map(|(path, kind)| wrong(template, at, path, *kind));
    for list in ["containers", "initContainers", "ephemeralContainers"] {
        let at = format!("{at}.spec.{list}");
        let Some(containers) = template.pointer(&format!("/spec/{list}")) else {
            continue;
        };
        problem = problem
            .or_else(|| wrong(containers, &at, "", Type::List))
            .or_else(|| wrong(containers, &at, "*", Type::Object));
        for (index, container) in containers.as_array().into_iter().flatten().enumerate() {
            let at = format!("{at}[{index}]");
            problem = problem.or_else(|| {
                CONTAINER
                    .iter()
                    .find_map(|(path, kind)| wrong(container, &at, path, *kind))
            });
        }
    }
    problem.or_else(|| {
        let claims = spec.get("volumeClaimTemplates")?;
        let at = "spec.volumeClaimTemplates";
        wrong(claims, at, "", Type::List)
            .or_else(|| wrong(claims, at, "*", Type::Object))
            .or_else(|| wrong(claims, at, "*.metadata", Type::Object))
            .or_else(|| wrong(claims, at, "*.spec", Type::Object))
            .or_else(|| {
                CLAIM
                    .iter()
                    .find_map(|(path, kind)| wrong(claims, at, path, *kind))
            })
    })
}

/// Looks at what a path leads to. Absent and null are right for everything.
fn wrong(value: &Value, at: &str, path: &str, kind: Type) -> Option<String> {
    let Some((first, rest)) = path.split_once('.').or((!path.is_empty()).then_some((path, ""))) else {
        return (!is(value, kind)).then(|| format!("{at}: expected {}", expected(kind)));
    };
    if first == "*" {
        let items = value.as_array().into_iter().flatten().enumerate();
        return items
            .map(|(index, item)| wrong(item, &format!("{at}[{index}]"), rest, kind))
            .find_map(|problem| problem);
    }
    wrong(value.get(first)?, &format!("{at}.{first}"), rest, kind)
}

fn is(value: &Value, kind: Type) -> bool {
    value.is_null()
        || match kind {
            Type::Object => value.is_object(),
            Type::List => value.is_array(),
            Type::Text => value.is_string(),
            Type::Integer => value.is_i64(),
            Type::Bool => value.is_boolean(),
            Type::Texts => value
                .as_object()
                .is_some_and(|map| map.values().all(|value| value.is_string() || value.is_null())),
        }
}

fn expected(kind: Type) -> &'static str {
    match kind {
        Type::Object => "an object",
        Type::List => "a list",
        Type::Text => "text",
        Type::Integer => "a whole number",
        Type::Bool => "true or false",
        Type::Texts => "a map of texts",
    }
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn templates_are_of_the_types_that_pods_have() {
        let container = |extra: Value| json!({"template": {"spec": {"containers": [{"name": "a"}, extra]}}});
        for (spec, want) in [
            (json!({"template": []}), Some("spec.template: expected an object")),
            (
                json!({"template": {"metadata": {"labels": {"a": 1}}}}),
                Some("spec.template.metadata.labels: expected a map of texts"),
            ),
            (
                json!({"template": {"spec": {"containers": {}}}}),
                Some("spec.template.spec.containers: expected a list"),
            ),
            (
                container(json!("b")),
                Some("spec.template.spec.containers[1]: expected an object"),
            ),
            (
                container(json!({"image": 5})),
                Some("spec.template.spec.containers[1].image: expected text"),
            ),
            (
                container(json!({"ports": [{"containerPort": 80}, {"containerPort": "80"}]})),
                Some("spec.template.spec.containers[1].ports[1].containerPort: expected a whole number"),
            ),
            (
                json!({"template": {"spec": {"hostNetwork": "yes"}}}),
                Some("spec.template.spec.hostNetwork: expected true or false"),
            ),
            (
                json!({"template": {}, "volumeClaimTemplates": [{}, {"metadata": {"labels": {"x": true}}}]}),
                Some("spec.volumeClaimTemplates[1].metadata.labels: expected a map of texts"),
            ),
            (
                json!({"template": {}, "volumeClaimTemplates": [{"spec": {"storageClassName": 5}}]}),
                Some("spec.volumeClaimTemplates[0].spec.storageClassName: expected text"),
            ),
            (
                json!({"template": {}, "volumeClaimTemplates": [{"metadata": 1}]}),
                Some("spec.volumeClaimTemplates[0].metadata: expected an object"),
            ),
            (
                container(
                    json!({"image": null, "aFieldOfTomorrow": [1], "env": [{"name": "A", "value": "b"}]}),
                ),
                None,
            ),
        ] {
            assert_eq!(misshapen(&spec).as_deref(), want, "{spec}");
        }
    }
}
