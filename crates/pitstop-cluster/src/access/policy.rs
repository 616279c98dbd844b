//! Roles and bindings, and what they allow.

use std::collections::BTreeMap;

use serde::{Deserialize, Serialize};
use serde_json::Value;

use super::{Attributes, Decision, User, account_of};

/// One rule of a role.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize, Serialize)]
#[serde(default, rename_all = "camelCase")]
pub(crate) struct Rule {
    pub(crate) verbs: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) api_groups: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resources: Vec<String>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pub(crate) resource_names: Vec<String>,
    #[serde(rename = "nonResourceURLs", skip_serializing_if = "Vec::is_empty")]
    pub(crate) urls: Vec<String>,
}

impl Rule {
    /// Does it allow a request?
    pub(crate) fn allows(&self, asked: &Attributes) -> bool {
        if !has(&self.verbs, &asked.verb) {
            return false;
        }
        if !asked.is_resource() {
            return self.urls.iter().any(|url| covers_url(url, &asked.path));
        }
        let names = &self.resource_names;
        has(&self.api_groups, &asked.group)
            && self.allows_resource(&asked.resource, &asked.subresource)
            && (names.is_empty() || names.contains(&asked.name))
    }

    fn allows_resource(&self, resource: &str, subresource: &str) -> bool {
        self.resources.iter().any(|given| match given.split_once('/') {
            _ if given == "*" => true,
            None => subresource.is_empty() && given == resource,
            Some((given, below)) => {
                !subresource.is_empty() && below == subresource && (given == "*" || given == resource)
            }
        })
    }

    /// Does it allow everything that `other` allows? `other` has one verb, one group and one resource, or one URL.
    fn covers(&self, other: &Self) -> bool {
        let all = |mine: &[String], theirs: &[String]| {
            mine.iter().any(|value| value == "*") || theirs.iter().all(|value| mine.contains(value))
        };
        if !all(&self.verbs, &other.verbs) {
            return false;
        }
        if let Some(url) = other.urls.first() {
            return self.urls.iter().any(|mine| covers_url(mine, url));
        }
        let names = &self.resource_names;
        let names_covered =
            names.is_empty() || (!other.resource_names.is_empty() && all(names, &other.resource_names));
        let resource = other.resources.first().map(String::as_str).unwrap_or_default();
        let (plain, below) = resource.split_once('/').unwrap_or((resource, ""));
        let resource_covered =
            self.resources.iter().any(|mine| mine == resource) || self.allows_resource(plain, below);
        all(&self.api_groups, &other.api_groups) && resource_covered && names_covered
    }

    /// The same rights as rules that can be compared one by one.
    fn parts(&self) -> Vec<Self> {
        let mut parts = Vec::new();
        for group in &self.api_groups {
            for resource in &self.resources {
                for verb in &self.verbs {
                    let part = Self {
                        verbs: vec![verb.clone()],
                        api_groups: vec![group.clone()],
                        resources: vec![resource.clone()],
                        ..Self::default()
                    };
                    if self.resource_names.is_empty() {
                        parts.push(part.clone());
                    }
                    parts.extend(self.resource_names.iter().map(|name| Self {
                        resource_names: vec![name.clone()],
                        ..part.clone()
                    }));
                }
            }
        }
        for url in &self.urls {
            parts.extend(self.verbs.iter().map(|verb| Self {
                verbs: vec![verb.clone()],
                urls: vec![url.clone()],
                ..Self::default()
            }));
        }
        parts
    }

    /// As it stands in the answer to somebody who gives away more than they have.
    fn compact(&self) -> String {
        let mut fields = Vec::new();
        let mut field = |name: &str, values: &[String]| {
            if !values.is_empty() {
                fields.push(format!("{name}:{}", quoted_list(values)));
            }
        };
        field("APIGroups", &self.api_groups);
        field("Resources", &self.resources);
        field("ResourceNames", &self.resource_names);
        field("NonResourceURLs", &self.urls);
        field("Verbs", &self.verbs);
        format!("{{{}}}", fields.join(", "))
    }
}

/// `["a" "b"]`, as Go prints quoted lists.
pub(crate) fn quoted_list(values: &[String]) -> String {
    let values: Vec<String> = values.iter().map(|value| format!("\"{value}\"")).collect();
    format!("[{}]", values.join(" "))
}

fn has(values: &[String], wanted: &str) -> bool {
    values.iter().any(|value| value == "*" || value == wanted)
}

fn covers_url(rule: &str, path: &str) -> bool {
    rule == "*"
        || rule == path
        || rule
            .strip_suffix('*')
            .is_some_and(|start| path.starts_with(start))
}

/// Rights that `wanted` has and `held` has not; those that differ only in the verb are one.
///
/// Nobody may give away more than they have. The order is that of groups, resources and names.
pub(crate) fn missing(held: &[Rule], wanted: &[Rule]) -> Vec<Rule> {
    let mut missing: Vec<Rule> = Vec::new();
    for part in wanted.iter().flat_map(Rule::parts) {
        if held.iter().any(|rule| rule.covers(&part)) {
            continue;
        }
        let same = missing.iter_mut().find(|other| {
            other.api_groups == part.api_groups
                && other.resources == part.resources
                && other.resource_names == part.resource_names
                && other.urls == part.urls
        });
        match same {
            Some(other) => other.verbs.extend(part.verbs),
            None => missing.push(part),
        }
    }
    missing.sort_by_key(Rule::compact);
    missing
}

/// What is said to somebody who gives away more than they have.
pub(crate) fn escalation(user: &User, missing: &[Rule], errors: &[String]) -> String {
    let rules: Vec<String> = missing.iter().map(Rule::compact).collect();
    let mut text = format!(
        "user \"{}\" (groups={}) is attempting to grant RBAC permissions not currently held:\n{}",
        user.name,
        quoted_list(&user.groups),
        rules.join("\n")
    );
    if !errors.is_empty() {
        text.push_str("; resolution errors: ");
        text.push_str(&error_list(errors));
    }
    text
}

/// Several errors in brackets, one as it is.
fn error_list(errors: &[String]) -> String {
    match errors {
        [one] => one.clone(),
        many => format!("[{}]", many.join(", ")),
    }
}

/// Who a role is given to.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Subject {
    kind: String,
    name: String,
    namespace: String,
}

impl Subject {
    fn is(&self, user: &User, binding_namespace: &str) -> bool {
        match self.kind.as_str() {
            "User" => *self.name == *user.name,
            "Group" => user.is_in(&self.name),
            "ServiceAccount" => {
                let namespace = if self.namespace.is_empty() {
                    binding_namespace
                } else {
                    &self.namespace
                };
                account_of(&user.name) == Some((namespace, self.name.as_str()))
            }
            _ => false,
        }
    }

    fn describe(&self, binding_namespace: &str) -> String {
        if self.kind == "ServiceAccount" {
            let namespace = if self.namespace.is_empty() {
                binding_namespace
            } else {
                &self.namespace
            };
            return format!("ServiceAccount \"{}/{namespace}\"", self.name);
        }
        format!("{} \"{}\"", self.kind, self.name)
    }
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct RoleRef {
    kind: String,
    name: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Named {
    name: String,
    namespace: String,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Binding {
    metadata: Named,
    role_ref: RoleRef,
    subjects: Vec<Subject>,
}

#[derive(Debug, Clone, Default, Deserialize)]
#[serde(default)]
struct Role {
    metadata: Named,
    rules: Vec<Rule>,
}

/// Every role and binding of a cluster.
#[derive(Debug, Default)]
pub(crate) struct Policy {
    cluster_roles: BTreeMap<String, Vec<Rule>>,
    roles: BTreeMap<(String, String), Vec<Rule>>,
    cluster_bindings: Vec<Binding>,
    bindings: BTreeMap<String, Vec<Binding>>,
}

/// Rules that apply to somebody, and what is said of the bindings whose role is not there.
#[derive(Debug, Default, PartialEq, Eq)]
pub(crate) struct Held {
    pub(crate) rules: Vec<Rule>,
    pub(crate) errors: Vec<String>,
}

impl Policy {
    /// Adds a role, of a namespace or of the cluster.
    pub(crate) fn add_role(&mut self, role: Value) {
        let Ok(Role { metadata, rules }) = serde_json::from_value(role) else {
            return;
        };
        if metadata.namespace.is_empty() {
            self.cluster_roles.insert(metadata.name, rules);
        } else {
            self.roles.insert((metadata.namespace, metadata.name), rules);
        }
    }

    /// Adds a binding, of a namespace or of the cluster. The order of names is theirs.
    pub(crate) fn add_binding(&mut self, binding: Value) {
        let Ok(binding) = serde_json::from_value::<Binding>(binding) else {
            return;
        };
        if binding.metadata.namespace.is_empty() {
            self.cluster_bindings.push(binding);
        } else {
            self.bindings
                .entry(binding.metadata.namespace.clone())
                .or_default()
                .push(binding);
        }
    }

    /// May somebody do this?
    pub(crate) fn decide(&self, user: &User, asked: &Attributes) -> Decision {
        if user.is_in(super::MASTERS) {
            return Decision::allow("");
        }
        let mut errors = Vec::new();
        for (binding, subject, rules) in self.applying(user, &asked.namespace) {
            match rules {
                Ok(rules) if rules.iter().any(|rule| rule.allows(asked)) => {
                    return Decision::allow(allowed_by(binding, subject));
                }
                Ok(_) => {}
                Err(error) => errors.push(error),
            }
        }
        Decision::no_opinion(match errors.as_slice() {
            [] => String::new(),
            errors => format!("RBAC: {}", error_list(errors)),
        })
    }

    /// All that somebody may do in a namespace; with an empty one: everywhere.
    pub(crate) fn held(&self, user: &User, namespace: &str) -> Held {
        let mut held = Held::default();
        for (_, _, rules) in self.applying(user, namespace) {
            match rules {
                Ok(rules) => held.rules.extend_from_slice(rules),
                Err(error) => held.errors.push(error),
            }
        }
        held
    }

    /// The rules that a binding gives; the error says that its role is not there.
    pub(crate) fn rules_of(&self, kind: &str, name: &str, namespace: &str) -> Result<&[Rule], String> {
        let found = match kind {
            "ClusterRole" => self.cluster_roles.get(name),
            _ => self.roles.get(&(namespace.to_owned(), name.to_owned())),
        };
        found.map(Vec::as_slice).ok_or_else(|| {
            let resource = kind.to_ascii_lowercase();
            format!("{resource}.rbac.authorization.k8s.io \"{name}\" not found")
        })
    }

    fn applying<'a>(
        &'a self,
        user: &'a User,
        namespace: &'a str,
    ) -> impl Iterator<Item = (&'a Binding, &'a Subject, Result<&'a [Rule], String>)> {
        let in_namespace = self.bindings.get(namespace).into_iter().flatten();
        self.cluster_bindings
            .iter()
            .chain(in_namespace)
            .filter_map(move |binding| {
                let at = &binding.metadata.namespace;
                let subject = binding.subjects.iter().find(|subject| subject.is(user, at))?;
                let rules = self.rules_of(&binding.role_ref.kind, &binding.role_ref.name, at);
                Some((binding, subject, rules))
            })
    }
}

fn allowed_by(binding: &Binding, subject: &Subject) -> String {
    let Named { name, namespace } = &binding.metadata;
    let RoleRef { kind, name: role } = &binding.role_ref;
    let subject = subject.describe(namespace);
    if namespace.is_empty() {
        format!("RBAC: allowed by ClusterRoleBinding \"{name}\" of {kind} \"{role}\" to {subject}")
    } else {
        format!("RBAC: allowed by RoleBinding \"{name}/{namespace}\" of {kind} \"{role}\" to {subject}")
    }
}
