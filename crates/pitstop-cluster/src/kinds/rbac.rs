//! Roles and their bindings. What they allow is decided elsewhere.
//!
//! Source: embedded-cluster.md 13; rules and texts as kube-apiserver 1.34 answers them.

use serde_json::{Value, json};

use super::fields::{entries, list, list_mut, map_mut, set_missing, text};
use super::{Column, FieldError, Kind, NameRule, age, metadata};

const GROUP: &str = "rbac.authorization.k8s.io";

const ROLE_COLUMNS: &[Column] = &[Column::NAME, Column::CREATED_AT];

const BINDING_COLUMNS: &[Column] = &[
    Column::NAME,
    Column::string("Role"),
    Column::AGE,
    Column::wide("Users"),
    Column::wide("Groups"),
    Column::wide("ServiceAccounts"),
];

/// What all four have in common.
const fn plain(kind: &'static str, plural: &'static str, singular: &'static str) -> Kind {
    Kind {
        group: GROUP,
        stored_as: (GROUP, plural),
        name_rule: NameRule::PathSegment,
        metadata_checks: super::MetadataChecks::TWICE,
        is_made_by_update: true,
        ..Kind::plain(kind, plural, singular)
    }
}

pub(super) const CLUSTER_ROLE_BINDING: Kind = Kind {
    namespaced: false,
    default: default_binding,
    validate: |object| validate_binding(object, &["ClusterRole"]),
    validate_update: validate_binding_update,
    columns: BINDING_COLUMNS,
    cells: binding_cells,
    ..plain("ClusterRoleBinding", "clusterrolebindings", "clusterrolebinding")
};

pub(super) const CLUSTER_ROLE: Kind = Kind {
    namespaced: false,
    validate: |object| {
        let mut errors = rules(object, true);
        errors.extend(aggregation(object));
        errors
    },
    columns: ROLE_COLUMNS,
    cells: role_cells,
    ..plain("ClusterRole", "clusterroles", "clusterrole")
};

pub(super) const ROLE_BINDING: Kind = Kind {
    default: default_binding,
    validate: |object| validate_binding(object, &["Role", "ClusterRole"]),
    validate_update: validate_binding_update,
    columns: BINDING_COLUMNS,
    cells: binding_cells,
    ..plain("RoleBinding", "rolebindings", "rolebinding")
};

pub(super) const ROLE: Kind = Kind {
    validate: |object| rules(object, false),
    columns: ROLE_COLUMNS,
    cells: role_cells,
    ..plain("Role", "roles", "role")
};

fn role_cells(object: &Value, _: jiff::Timestamp) -> Vec<Value> {
    let created = text(object, "/metadata/creationTimestamp");
    vec![age::name(object), Value::from(created)]
}

fn binding_cells(object: &Value, now: jiff::Timestamp) -> Vec<Value> {
    let of_kind = |kind: &str| {
        let names: Vec<String> = list(object, "/subjects")
            .iter()
            .filter(|subject| text(subject, "/kind") == kind)
            .map(|subject| match (kind, text(subject, "/namespace")) {
                ("ServiceAccount", namespace) => format!("{namespace}/{}", text(subject, "/name")),
                _ => text(subject, "/name").to_owned(),
            })
            .collect();
        Value::from(names.join(", "))
    };
    let role = format!(
        "{}/{}",
        text(object, "/roleRef/kind"),
        text(object, "/roleRef/name")
    );
    vec![
        age::name(object),
        Value::from(role),
        age::age(object, now),
        of_kind("User"),
        of_kind("Group"),
        of_kind("ServiceAccount"),
    ]
}

/// Roles are of this group, and so are users and groups.
fn default_binding(object: &mut Value) {
    let role = map_mut(object, &["roleRef"]);
    if role
        .get("apiGroup")
        .and_then(Value::as_str)
        .unwrap_or_default()
        .is_empty()
    {
        role.insert("apiGroup".to_owned(), GROUP.into());
    }
    for subject in list_mut(object, "/subjects") {
        let is_of_group = matches!(text(subject, "/kind"), "User" | "Group");
        if let (true, Some(subject)) = (is_of_group, subject.as_object_mut()) {
            set_missing(subject, "apiGroup", GROUP);
        }
    }
}

fn rules(object: &Value, may_name_urls: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    for (index, rule) in list(object, "/rules").iter().enumerate() {
        let field = |name: &str| format!("rules[{index}].{name}");
        let is_empty = |name: &str| list(rule, name).is_empty();
        if is_empty("/verbs") {
            errors.push(FieldError::required(
                field("verbs"),
                "verbs must contain at least one value",
            ));
        }
        if let Some(urls) = rule
            .get("nonResourceURLs")
            .filter(|_| !is_empty("/nonResourceURLs"))
        {
            let mut wrong =
                |why: &str| errors.push(FieldError::invalid(field("nonResourceURLs"), urls.clone(), why));
            if !may_name_urls {
                wrong("namespaced rules cannot apply to non-resource URLs");
            }
            if !is_empty("/apiGroups") || !is_empty("/resources") || !is_empty("/resourceNames") {
                wrong("rules cannot apply to both regular resources and non-resource URLs");
            }
            continue;
        }
        if is_empty("/apiGroups") {
            let why = "resource rules must supply at least one api group";
            errors.push(FieldError::required(field("apiGroups"), why));
        }
        if is_empty("/resources") {
            let why = "resource rules must supply at least one resource";
            errors.push(FieldError::required(field("resources"), why));
        }
    }
    errors
}

fn aggregation(object: &Value) -> Vec<FieldError> {
    if object.get("aggregationRule").is_none() {
        return Vec::new();
    }
    let selectors = list(object, "/aggregationRule/clusterRoleSelectors");
    if selectors.is_empty() {
        let why = "at least one clusterRoleSelector required if aggregationRule is non-nil";
        return vec![FieldError::required("aggregationRule.clusterRoleSelectors", why)];
    }
    let mut errors = Vec::new();
    for (index, selector) in selectors.iter().enumerate() {
        let field = format!("aggregationRule.clusterRoleSelectors[{index}]");
        let mut wrong = metadata::labels(selector, "/matchLabels", &format!("{field}.matchLabels"));
        for (index, expression) in list(selector, "/matchExpressions").iter().enumerate() {
            let operator = text(expression, "/operator");
            if !matches!(operator, "In" | "NotIn" | "Exists" | "DoesNotExist") {
                let field = format!("{field}.matchExpressions[{index}].operator");
                wrong.push(FieldError::invalid(
                    field,
                    operator,
                    "not a valid selector operator",
                ));
            }
        }
        if !wrong.is_empty() {
            wrong.push(FieldError::invalid(field, Value::Null, "invalid label selector."));
        }
        errors.extend(wrong);
    }
    errors
}

fn validate_binding(object: &Value, role_kinds: &[&str]) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let group = text(object, "/roleRef/apiGroup");
    if group != GROUP {
        errors.push(FieldError::not_supported("roleRef.apiGroup", group, &[GROUP]));
    }
    let kind = text(object, "/roleRef/kind");
    if !role_kinds.contains(&kind) {
        errors.push(FieldError::not_supported("roleRef.kind", kind, role_kinds));
    }
    let name = text(object, "/roleRef/name");
    if name.is_empty() {
        errors.push(FieldError::required("roleRef.name", ""));
    } else {
        let problems = metadata::name_problems(name, NameRule::PathSegment);
        errors.extend(
            problems
                .into_iter()
                .map(|why| FieldError::invalid("roleRef.name", name, why)),
        );
    }
    let is_namespaced = role_kinds.contains(&"Role");
    for (index, one) in list(object, "/subjects").iter().enumerate() {
        errors.extend(subject(one, &format!("subjects[{index}]"), is_namespaced));
    }
    errors
}

fn subject(subject: &Value, field: &str, is_namespaced: bool) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let (kind, name, group) = (
        text(subject, "/kind"),
        text(subject, "/name"),
        text(subject, "/apiGroup"),
    );
    if name.is_empty() {
        errors.push(FieldError::required(format!("{field}.name"), ""));
    }
    match kind {
        "ServiceAccount" => {
            if !name.is_empty() {
                let problems = metadata::name_problems(name, NameRule::Subdomain);
                let wrong = |why| FieldError::invalid(format!("{field}.name"), name, why);
                errors.extend(problems.into_iter().map(wrong));
            }
            if !group.is_empty() {
                errors.push(FieldError::not_supported(
                    format!("{field}.apiGroup"),
                    group,
                    &[""],
                ));
            }
            if !is_namespaced && text(subject, "/namespace").is_empty() {
                errors.push(FieldError::required(format!("{field}.namespace"), ""));
            }
        }
        "User" | "Group" => {
            if group != GROUP {
                errors.push(FieldError::not_supported(
                    format!("{field}.apiGroup"),
                    group,
                    &[GROUP],
                ));
            }
        }
        _ => errors.push(FieldError::not_supported(
            format!("{field}.kind"),
            kind,
            &["ServiceAccount", "User", "Group"],
        )),
    }
    errors
}

fn validate_binding_update(new: &Value, old: &Value) -> Vec<FieldError> {
    if new.get("roleRef") == old.get("roleRef") {
        return Vec::new();
    }
    let upper = |name: &str| match name {
        "apiGroup" => "APIGroup",
        "kind" => "Kind",
        _ => "Name",
    };
    // Shown as the server itself holds it.
    let mut shown = json!({});
    for (name, value) in entries(new, "/roleRef") {
        map_mut(&mut shown, &[]).insert(upper(name).to_owned(), value.clone());
    }
    vec![FieldError::invalid("roleRef", shown, "cannot change roleRef")]
}
