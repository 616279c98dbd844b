//! What a node may do: its own Node, its Lease, its pods, and what those need.
//!
//! The identity of a node is `system:node:<name>` in the group `system:nodes`. First comes what no role can say
//! ([`decide`]), then, where a write's content matters, what the node wants to write ([`check_write`]).

use std::collections::BTreeMap;

use pitstop_api::keys::{self, MIRROR_POD};
use serde_json::Value;

use super::policy::Rule;
use super::{Attributes, Decision, NODE_PREFIX, NODES, User};

/// Namespace of the Leases of nodes.
const LEASES: &str = "kube-node-lease";

/// What there is to know of the objects that a node's rights depend on.
pub(crate) trait Objects {
    /// A pod.
    fn pod(&self, namespace: &str, name: &str) -> Option<Value>;
    /// The pods of a namespace that run on a node.
    fn pods_on(&self, namespace: &str, node: &str) -> Vec<Value>;
    /// Name of the claim that a volume is bound to, with its namespace.
    fn claim_of(&self, volume: &str) -> Option<(String, String)>;
}

/// The node whose identity this is.
pub(crate) fn node_of(user: &User) -> Option<&str> {
    let name = user.name.strip_prefix(NODE_PREFIX)?;
    user.is_in(NODES).then_some(name).filter(|name| !name.is_empty())
}

/// May a node do this? `rules` are those of the role `system:node`.
pub(crate) fn decide(node: &str, asked: &Attributes, rules: &[Rule], objects: &impl Objects) -> Decision {
    let by_rules = || {
        let allowed = rules.iter().any(|rule| rule.allows(asked));
        if allowed {
            Decision::allow("")
        } else {
            Decision::no_opinion("")
        }
    };
    match (asked.group.as_str(), asked.resource.as_str()) {
        ("", "secrets" | "configmaps") => match cannot_read(asked) {
            Some(why) => Decision::no_opinion(why),
            None => related(node, asked, objects),
        },
        ("", "persistentvolumeclaims" | "persistentvolumes") if asked.subresource.is_empty() => {
            match asked.verb.as_str() {
                "get" => related(node, asked, objects),
                _ => Decision::no_opinion("can only get individual resources of this type"),
            }
        }
        ("", "serviceaccounts") => match (asked.verb.as_str(), asked.subresource.as_str()) {
            ("create", "token") => related(node, asked, objects),
            _ => Decision::no_opinion("can only create tokens for individual service accounts"),
        },
        ("coordination.k8s.io", "leases") => lease(node, asked),
        ("", "nodes") if asked.subresource.is_empty() => match asked.verb.as_str() {
            "get" | "list" | "watch" if asked.name == node => Decision::allow(""),
            "get" | "list" | "watch" => Decision::no_opinion(if asked.name.is_empty() {
                format!("node '{node}' cannot read all nodes, only its own Node object")
            } else {
                format!(
                    "node '{node}' cannot read '{}', only its own Node object",
                    asked.name
                )
            }),
            _ => by_rules(),
        },
        ("", "pods") if asked.subresource.is_empty() => match asked.verb.as_str() {
            "get" => related(node, asked, objects),
            "list" | "watch" if asked.node_selector.as_deref() == Some(node) => Decision::allow(""),
            "list" | "watch" => {
                Decision::no_opinion("can only list/watch pods with spec.nodeName field selector")
            }
            _ => by_rules(),
        },
        _ => by_rules(),
    }
}

fn cannot_read(asked: &Attributes) -> Option<&'static str> {
    if !matches!(asked.verb.as_str(), "get" | "list" | "watch") {
        return Some("can only read resources of this type");
    }
    if !asked.subresource.is_empty() {
        return Some("cannot read subresource");
    }
    asked
        .namespace
        .is_empty()
        .then_some("can only read namespaced object of this type")
}

fn lease(node: &str, asked: &Attributes) -> Decision {
    let verb = asked.verb.as_str();
    if !matches!(verb, "get" | "create" | "update" | "patch" | "delete") {
        return Decision::no_opinion("can only get, create, update, patch, or delete a node lease");
    }
    if asked.namespace != LEASES {
        return Decision::no_opinion(format!(
            "can only access leases in the \"{LEASES}\" system namespace"
        ));
    }
    if verb != "create" && asked.name != node {
        return Decision::no_opinion("can only access node lease with the same name as the requesting node");
    }
    Decision::allow("")
}

/// Does a pod of the node need the object?
fn related(node: &str, asked: &Attributes, objects: &impl Objects) -> Decision {
    if asked.name.is_empty() {
        return Decision::no_opinion("No Object name found");
    }
    let needs = |namespace: &str, resource: &str, name: &str| {
        objects
            .pods_on(namespace, node)
            .iter()
            .any(|pod| references(pod).any(|found| found == (resource, name)))
    };
    let found = match asked.resource.as_str() {
        "pods" => objects
            .pod(&asked.namespace, &asked.name)
            .is_some_and(|pod| node_name(&pod) == node),
        "persistentvolumes" => objects
            .claim_of(&asked.name)
            .is_some_and(|(namespace, claim)| needs(&namespace, "persistentvolumeclaims", &claim)),
        resource => needs(&asked.namespace, resource, &asked.name),
    };
    if found {
        Decision::allow("")
    } else {
        Decision::no_opinion(format!(
            "no relationship found between node '{node}' and this object"
        ))
    }
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn node_name(pod: &Value) -> &str {
    text(pod, "/spec/nodeName")
}

fn list<'a>(value: &'a Value, pointer: &str) -> impl Iterator<Item = &'a Value> + use<'a> {
    value
        .pointer(pointer)
        .and_then(Value::as_array)
        .into_iter()
        .flatten()
}

/// What the spec of a pod names in its namespace: resource and name.
fn references(pod: &Value) -> impl Iterator<Item = (&'static str, &str)> {
    let account = [("serviceaccounts", text(pod, "/spec/serviceAccountName"))];
    let pull = list(pod, "/spec/imagePullSecrets").map(|secret| ("secrets", text(secret, "/name")));
    let containers = [
        "/spec/containers",
        "/spec/initContainers",
        "/spec/ephemeralContainers",
    ]
    .into_iter()
    .flat_map(|pointer| list(pod, pointer))
    .flat_map(|container| {
        let sources = list(container, "/envFrom").flat_map(|source| {
            [
                ("secrets", text(source, "/secretRef/name")),
                ("configmaps", text(source, "/configMapRef/name")),
            ]
        });
        let variables = list(container, "/env").flat_map(|variable| {
            [
                ("secrets", text(variable, "/valueFrom/secretKeyRef/name")),
                ("configmaps", text(variable, "/valueFrom/configMapKeyRef/name")),
            ]
        });
        sources.chain(variables)
    });
    let volumes = list(pod, "/spec/volumes").flat_map(|volume| {
        let direct = [
            ("secrets", text(volume, "/secret/secretName")),
            ("configmaps", text(volume, "/configMap/name")),
            (
                "persistentvolumeclaims",
                text(volume, "/persistentVolumeClaim/claimName"),
            ),
        ];
        let projected = list(volume, "/projected/sources").flat_map(|source| {
            [
                ("secrets", text(source, "/secret/name")),
                ("configmaps", text(source, "/configMap/name")),
            ]
        });
        direct.into_iter().chain(projected)
    });
    account
        .into_iter()
        .chain(pull)
        .chain(containers)
        .chain(volumes)
        .filter(|(_, name)| !name.is_empty())
}

/// What a node wants to write.
#[derive(Debug)]
pub(crate) struct Write<'a> {
    /// As it was asked for; `create`, `update`, `patch` or `delete`.
    pub(crate) asked: &'a Attributes,
    /// What is stored; none on create.
    pub(crate) old: Option<&'a Value>,
    /// What is to be stored; none on delete.
    pub(crate) new: Option<&'a Value>,
}

/// What is wrong with a write of a node, besides what [`decide`] says.
pub(crate) fn check_write(node: &str, write: &Write<'_>, objects: &impl Objects) -> Result<(), String> {
    let asked = write.asked;
    match (
        asked.group.as_str(),
        asked.resource.as_str(),
        asked.subresource.as_str(),
    ) {
        ("", "pods", "") => check_pod(node, write),
        ("", "pods", "status") => check_pod_status(node, write),
        ("", "pods", "eviction") => {
            let pod = objects.pod(&asked.namespace, &asked.name);
            let own = pod.is_none_or(|pod| node_name(&pod) == node);
            own.then_some(())
                .ok_or_else(|| format!("node {node} can only evict pods with spec.nodeName set to itself"))
        }
        ("", "pods", below) => Err(format!("unexpected pod subresource \"{below}\"")),
        ("", "nodes", _) => check_node(node, write),
        ("", "serviceaccounts", "token") => check_token(node, write, objects),
        ("coordination.k8s.io", "leases", _) => check_name(
            node,
            write,
            "can only access node lease with the same name as the requesting node",
        ),
        ("storage.k8s.io", "csinodes", _) => check_name(
            node,
            write,
            "can only access CSINode with the same name as the requesting node",
        ),
        _ => Ok(()),
    }
}

fn check_name(node: &str, write: &Write<'_>, why: &str) -> Result<(), String> {
    let named = write
        .new
        .map(|new| text(new, "/metadata/name"))
        .filter(|name| !name.is_empty());
    let own = named.unwrap_or(&write.asked.name) == node;
    own.then_some(()).ok_or_else(|| why.to_owned())
}

fn check_pod(node: &str, write: &Write<'_>) -> Result<(), String> {
    if let (None, Some(pod)) = (write.old, write.new) {
        let annotations = pod.pointer("/metadata/annotations");
        if annotations.and_then(|map| map.get(MIRROR_POD)).is_none() {
            return Err(format!(
                "pod does not have \"{MIRROR_POD}\" annotation, node \"{node}\" can only create mirror pods"
            ));
        }
        if node_name(pod) != node {
            return Err(format!(
                "node \"{node}\" can only create pods with spec.nodeName set to itself"
            ));
        }
        return match references(pod).next() {
            Some((resource, _)) => Err(format!(
                "node \"{node}\" can not create pods that reference {resource}"
            )),
            None => Ok(()),
        };
    }
    match (write.old, write.new) {
        (Some(old), None) if node_name(old) != node => Err(format!(
            "node \"{node}\" can only delete pods with spec.nodeName set to itself"
        )),
        (_, None) => Ok(()),
        _ => Err(format!(
            "unexpected operation \"UPDATE\", node \"{node}\" can only create and delete mirror pods"
        )),
    }
}

fn check_pod_status(node: &str, write: &Write<'_>) -> Result<(), String> {
    let Some(old) = write.old else { return Ok(()) };
    if node_name(old) != node {
        return Err(format!(
            "node \"{node}\" can only update pod status for pods with spec.nodeName set to itself"
        ));
    }
    let labels = |object: &Value| object.pointer("/metadata/labels").cloned();
    if write.new.is_some_and(|new| labels(new) != labels(old)) {
        return Err(format!("node \"{node}\" cannot update labels through pod status"));
    }
    Ok(())
}

fn check_node(node: &str, write: &Write<'_>) -> Result<(), String> {
    let named = write
        .new
        .map(|new| text(new, "/metadata/name"))
        .filter(|name| !name.is_empty());
    let name = named.unwrap_or(&write.asked.name);
    if name != node {
        return Err(format!(
            "node \"{node}\" is not allowed to modify node \"{name}\""
        ));
    }
    let Some(new) = write.new else { return Ok(()) };
    let Some(old) = write.old else {
        let refused = refused_labels(&BTreeMap::new(), &labels_of(new));
        return if refused.is_empty() {
            Ok(())
        } else {
            Err(format!(
                "node \"{node}\" is not allowed to set the following labels: {refused}"
            ))
        };
    };
    let same = |pointer: &str| new.pointer(pointer) == old.pointer(pointer);
    if !same("/metadata/ownerReferences") {
        return Err(format!(
            "node \"{node}\" is not allowed to modify ownerReferences"
        ));
    }
    if !same("/spec/taints") {
        return Err(format!("node \"{node}\" is not allowed to modify taints"));
    }
    let refused = refused_labels(&labels_of(old), &labels_of(new));
    if refused.is_empty() {
        Ok(())
    } else {
        Err(format!("is not allowed to modify labels: {refused}"))
    }
}

fn labels_of(object: &Value) -> BTreeMap<&str, &Value> {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    labels
        .into_iter()
        .flatten()
        .map(|(key, value)| (key.as_str(), value))
        .collect()
}

/// Changed labels that are not a node's own affair, joined by commas.
fn refused_labels(old: &BTreeMap<&str, &Value>, new: &BTreeMap<&str, &Value>) -> String {
    let mut changed: Vec<&str> = old
        .keys()
        .chain(new.keys())
        .copied()
        .filter(|key| old.get(key) != new.get(key) && !is_own_label(key))
        .collect();
    changed.sort_unstable();
    changed.dedup();
    changed.join(", ")
}

fn is_own_label(key: &str) -> bool {
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let is_in = |parent: &str| {
        domain == parent
            || domain
                .strip_suffix(parent)
                .is_some_and(|rest| rest.ends_with('.'))
    };
    if is_in("node-restriction.kubernetes.io") {
        return false;
    }
    let of_kubernetes = is_in("kubernetes.io") || is_in("k8s.io");
    !of_kubernetes
        || keys::OWN_NODE_LABELS.contains(&key)
        || is_in("kubelet.kubernetes.io")
        || is_in("node.kubernetes.io")
}

fn check_token(node: &str, write: &Write<'_>, objects: &impl Objects) -> Result<(), String> {
    let Some(request) = write.new else { return Ok(()) };
    let bound = |field: &str| text(request, &format!("/spec/boundObjectRef/{field}"));
    if bound("kind") != "Pod" || bound("name").is_empty() {
        return Err("node requested token not bound to a pod".to_owned());
    }
    if bound("uid").is_empty() {
        return Err("node requested token with a pod binding without a uid".to_owned());
    }
    let pod = objects.pod(&write.asked.namespace, bound("name"));
    let Some(pod) = pod.filter(|pod| text(pod, "/metadata/uid") == bound("uid")) else {
        return Err(format!(
            "the UID in the bound object reference ({}) does not match the UID in record. The object might have been \
             deleted and then recreated",
            bound("uid")
        ));
    };
    if node_name(&pod) != node {
        return Err("node requested token bound to a pod scheduled on a different node".to_owned());
    }
    Ok(())
}
