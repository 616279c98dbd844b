//! Who may do what: identities, roles and their bindings, what nodes may do, tokens of service accounts.
//!
//! Everything here is a function of its input. The server says who asks and what is stored, and acts on the answer.
//!
//! Source: embedded-cluster.md 13, 15; texts and rules as kube-apiserver 1.34 answers them.

pub(crate) mod defaults;
pub(crate) mod nodes;
pub(crate) mod policy;
pub(crate) mod token;

use std::collections::BTreeMap;
use std::fmt;
use std::sync::Arc;

use http::Method;

/// Members of this group may do everything, whatever roles say.
pub(crate) const MASTERS: &str = "system:masters";
/// Everyone who could say who they are.
pub(crate) const AUTHENTICATED: &str = "system:authenticated";
/// Everyone else.
pub(crate) const UNAUTHENTICATED: &str = "system:unauthenticated";
/// Name of everyone else.
pub(crate) const ANONYMOUS: &str = "system:anonymous";
/// Group of the identities of nodes.
pub(crate) const NODES: &str = "system:nodes";
/// The name of a node's identity is this and the node's name.
pub(crate) const NODE_PREFIX: &str = "system:node:";
/// The name of a service account's identity is this, its namespace, a colon and its name.
pub(crate) const ACCOUNT_PREFIX: &str = "system:serviceaccount:";
const ACCOUNTS: &str = "system:serviceaccounts";

/// How requests are authorised.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum Authorization {
    /// Whoever may come in may do everything.
    #[default]
    AlwaysAllow,
    /// Roles and bindings decide, and nodes may touch only what is theirs.
    Rbac,
}

/// Who asks.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct User {
    /// E.g. `kubernetes-admin`.
    pub(crate) name: Arc<str>,
    /// What tells it from another of the same name; may be empty.
    pub(crate) uid: String,
    /// In the order in which they were given.
    pub(crate) groups: Vec<String>,
    /// Whatever else whoever authenticated it knows.
    pub(crate) extra: BTreeMap<String, Vec<String>>,
}

impl User {
    /// Somebody with the groups that follow from the name.
    pub(crate) fn named(name: &str) -> Self {
        let mut user = Self {
            name: name.into(),
            ..Self::default()
        };
        if let Some((namespace, _)) = account_of(name) {
            user.groups = account_groups(namespace);
        } else if name.starts_with(NODE_PREFIX) {
            user.groups.push(NODES.to_owned());
        }
        let everyone = if name == ANONYMOUS {
            UNAUTHENTICATED
        } else {
            AUTHENTICATED
        };
        user.groups.push(everyone.to_owned());
        user
    }

    /// The same one, as a member of the group that may do everything.
    pub(crate) fn into_master(mut self) -> Self {
        self.groups.insert(0, MASTERS.to_owned());
        self
    }

    /// Is it a member of a group?
    pub(crate) fn is_in(&self, group: &str) -> bool {
        self.groups.iter().any(|member| member == group)
    }
}

/// Namespace and name of a service account, from the name of its identity.
pub(crate) fn account_of(name: &str) -> Option<(&str, &str)> {
    let (namespace, name) = name.strip_prefix(ACCOUNT_PREFIX)?.split_once(':')?;
    let is_whole = !namespace.is_empty() && !name.is_empty() && !name.contains(':');
    is_whole.then_some((namespace, name))
}

/// The groups of the service accounts of a namespace.
pub(crate) fn account_groups(namespace: &str) -> Vec<String> {
    vec![ACCOUNTS.to_owned(), format!("{ACCOUNTS}:{namespace}")]
}

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub(crate) struct Attributes {
    /// `get`, `list`, `create`; for other paths the method in lower case.
    pub(crate) verb: String,
    /// API group, empty for core.
    pub(crate) group: String,
    /// API version.
    pub(crate) version: String,
    /// E.g. `pods`; empty for paths that name no objects.
    pub(crate) resource: String,
    /// E.g. `status`; empty for the object itself.
    pub(crate) subresource: String,
    /// Empty: all of them, or none.
    pub(crate) namespace: String,
    /// Empty: all of them, or a new one.
    pub(crate) name: String,
    /// The path, when it names no objects.
    pub(crate) path: String,
    /// The value that a list or a watch asks `spec.nodeName` to have.
    pub(crate) node_selector: Option<String>,
}

impl Attributes {
    /// Reads them off a request. The segments are those of the path, percent-decoded; `parameter` gives a query parameter.
    pub(crate) fn of<'a>(
        method: &Method,
        path: &str,
        segments: &[&str],
        parameter: impl Fn(&str) -> Option<&'a str>,
    ) -> Self {
        let (group, version, rest) = match segments {
            ["api", version, rest @ ..] if !rest.is_empty() => ("", *version, rest),
            ["apis", group, version, rest @ ..] if !rest.is_empty() => (*group, *version, rest),
            _ => return Self::of_path(method, path),
        };
        let mut attributes = Self {
            group: group.to_owned(),
            version: version.to_owned(),
            ..Self::default()
        };
        attributes.place(rest);
        attributes.set_verb(method, parameter);
        attributes
    }

    fn of_path(method: &Method, path: &str) -> Self {
        Self {
            verb: method.as_str().to_ascii_lowercase(),
            path: path.to_owned(),
            ..Self::default()
        }
    }

    /// A namespace is in itself, and so are its subresources.
    fn place(&mut self, segments: &[&str]) {
        let rest = match segments {
            ["namespaces", namespace, rest @ ..] => {
                (*namespace).clone_into(&mut self.namespace);
                match rest {
                    [] | ["status" | "finalize"] => segments,
                    rest => rest,
                }
            }
            segments => segments,
        };
        let mut rest = rest.iter();
        let mut next = || {
            rest.next()
                .map(|segment| (*segment).to_owned())
                .unwrap_or_default()
        };
        self.resource = next();
        self.name = next();
        self.subresource = next();
    }

    fn set_verb<'a>(&mut self, method: &Method, parameter: impl Fn(&str) -> Option<&'a str>) {
        let flagged = parameter("watch")
            .is_some_and(|value| matches!(value, "1" | "t" | "T" | "true" | "TRUE" | "True"));
        let verb = match *method {
            Method::POST => "create",
            Method::GET | Method::HEAD if !self.name.is_empty() => "get",
            Method::GET | Method::HEAD if flagged => "watch",
            Method::GET | Method::HEAD => "list",
            Method::PUT => "update",
            Method::PATCH => "patch",
            Method::DELETE if self.name.is_empty() => "deletecollection",
            Method::DELETE => "delete",
            _ => "",
        };
        verb.clone_into(&mut self.verb);
        if !matches!(verb, "list" | "watch" | "deletecollection") {
            return;
        }
        // Somebody who may read one object may list and watch it.
        for requirement in parameter("fieldSelector").unwrap_or_default().split(',') {
            let Some((key, value)) = requirement.split_once('=') else {
                continue;
            };
            let value = value.strip_prefix('=').unwrap_or(value);
            match key {
                "metadata.name" => value.clone_into(&mut self.name),
                "spec.nodeName" => self.node_selector = Some(value.to_owned()),
                _ => {}
            }
        }
    }

    /// Does it name objects?
    pub(crate) fn is_resource(&self) -> bool {
        !self.resource.is_empty()
    }

    /// `pods`, `pods/status`.
    pub(crate) fn full_resource(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.clone()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// What is said to somebody who may not.
    pub(crate) fn refusal(&self, user: &User, reason: &str) -> String {
        let mut text = format!("User \"{}\" cannot {self}", user.name);
        if !reason.is_empty() {
            text.push_str(": ");
            text.push_str(reason);
        }
        text
    }
}

impl fmt::Display for Attributes {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let verb = &self.verb;
        if !self.is_resource() {
            return write!(f, "{verb} path \"{}\"", self.path);
        }
        write!(
            f,
            "{verb} resource \"{}\" in API group \"{}\" ",
            self.full_resource(),
            self.group
        )?;
        if self.namespace.is_empty() {
            f.write_str("at the cluster scope")
        } else {
            write!(f, "in the namespace \"{}\"", self.namespace)
        }
    }
}

/// May somebody do something?
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Decision {
    pub(crate) allowed: bool,
    /// Why; may be empty.
    pub(crate) reason: String,
}

impl Decision {
    /// Yes.
    pub(crate) fn allow(reason: impl Into<String>) -> Self {
        Self {
            allowed: true,
            reason: reason.into(),
        }
    }

    /// Nobody says yes.
    pub(crate) fn no_opinion(reason: impl Into<String>) -> Self {
        Self {
            allowed: false,
            reason: reason.into(),
        }
    }
}

#[cfg(test)]
mod tests;
