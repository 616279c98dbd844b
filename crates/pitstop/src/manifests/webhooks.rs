//! What the webhooks need in a cluster: a service in front of them, their rights, and the kinds that they are about.

use pitstop_api::{cloneset, daemonset, statefulset};
use pitstop_controller::Controller;
use pitstop_controller::webhook::{CONFIGURATION, SECRET, SERVICE};
use serde_json::json;

use super::rights::{self, Rule, Scope};
use super::tree::{Tree, list, map, plain};
use super::{Options, RBAC, SERVICE_ACCOUNT, kinds, labels};

/// Name of the roles and their bindings.
const ROLE: &str = "pitstop-webhook";
/// Where they are served in the pod.
pub(super) const PORT: u16 = 9443;
/// Name of that port.
pub(super) const PORT_NAME: &str = "webhook";

const TELL: &str = "tell the API server where the webhooks are, and whose certificate to trust";
const KEEP: &str = "keep the certificate of the webhooks, which all replicas share";
const MAKE: &str = "make it where there is none; a name cannot be asked for before the object is there";

const ADMISSION: &str = "admissionregistration.k8s.io";
const EXTENSIONS: &str = "apiextensions.k8s.io";
const DEFINITIONS: &str = "customresourcedefinitions";

/// Their rights; pods, which they look up, are among those of every controller.
const RULES: &[Rule] = &[
    named(
        "get",
        ADMISSION,
        "mutatingwebhookconfigurations",
        CONFIGURATION,
        TELL,
    ),
    named(
        "patch",
        ADMISSION,
        "mutatingwebhookconfigurations",
        CONFIGURATION,
        TELL,
    ),
    named(
        "get",
        ADMISSION,
        "validatingwebhookconfigurations",
        CONFIGURATION,
        TELL,
    ),
    named(
        "patch",
        ADMISSION,
        "validatingwebhookconfigurations",
        CONFIGURATION,
        TELL,
    ),
    named("get", EXTENSIONS, DEFINITIONS, daemonset::definition::NAME, TELL),
    named(
        "patch",
        EXTENSIONS,
        DEFINITIONS,
        daemonset::definition::NAME,
        TELL,
    ),
    named("get", EXTENSIONS, DEFINITIONS, cloneset::definition::NAME, TELL),
    named("patch", EXTENSIONS, DEFINITIONS, cloneset::definition::NAME, TELL),
    named(
        "get",
        EXTENSIONS,
        DEFINITIONS,
        statefulset::definition::NAME,
        TELL,
    ),
    named(
        "patch",
        EXTENSIONS,
        DEFINITIONS,
        statefulset::definition::NAME,
        TELL,
    ),
];

/// Those in the namespace of the controllers.
const SECRET_RULES: &[Rule] = &[
    named("get", "", "secrets", SECRET, KEEP),
    named("patch", "", "secrets", SECRET, KEEP),
    named("create", "", "secrets", "", MAKE),
];

const fn named(
    verb: &'static str,
    group: &'static str,
    resource: &'static str,
    name: &'static str,
    purpose: &'static str,
) -> Rule {
    Rule {
        verb,
        group,
        resource,
        subresource: "",
        name,
        scope: Scope::Cluster,
        used_by: &[],
        purpose,
    }
}

/// The documents, in the order in which they are applied.
pub(super) fn documents(options: &Options) -> Vec<Tree> {
    let namespace = options.namespace.as_str();
    let here = |path: &str| match &options.webhook_url {
        Some(url) => json!({"url": format!("{url}{path}")}),
        None => json!({"service": {"namespace": namespace, "name": SERVICE, "path": path}}),
    };
    let mut documents = vec![
        role("ClusterRole", None, RULES, options),
        binding("ClusterRole", None, options),
        role("Role", Some(namespace), SECRET_RULES, options),
        binding("Role", Some(namespace), options),
    ];
    if options.webhook_url.is_none() {
        documents.push(service(options));
    }
    let objects = kinds::objects(here, &options.controllers, namespace);
    documents.extend(objects.into_iter().map(plain));
    documents
}

/// The definition of a kind is written where its versions have to be converted.
fn role(kind: &'static str, namespace: Option<&str>, rules: &'static [Rule], options: &Options) -> Tree {
    let converted = [
        (Controller::AdvancedDaemonSet, daemonset::definition::NAME),
        (Controller::CloneSet, cloneset::definition::NAME),
        (Controller::StatefulSet, statefulset::definition::NAME),
    ];
    let is_needed = |rule: &&Rule| {
        let mut others = converted
            .iter()
            .filter(|(kind, _)| !options.controllers.contains(kind));
        others.all(|(_, name)| rule.name != *name)
    };
    let rules: Vec<&Rule> = rules.iter().filter(is_needed).collect();
    map([
        ("apiVersion", RBAC.into()),
        ("kind", kind.into()),
        ("metadata", metadata(ROLE, namespace)),
        ("rules", rights::to_tree(&rules)),
    ])
}

fn binding(role_kind: &str, namespace: Option<&str>, options: &Options) -> Tree {
    map([
        ("apiVersion", RBAC.into()),
        ("kind", format!("{role_kind}Binding").into()),
        ("metadata", metadata(ROLE, namespace)),
        (
            "roleRef",
            map([
                ("apiGroup", "rbac.authorization.k8s.io".into()),
                ("kind", role_kind.into()),
                ("name", ROLE.into()),
            ]),
        ),
        (
            "subjects",
            list([map([
                ("kind", "ServiceAccount".into()),
                ("name", SERVICE_ACCOUNT.into()),
                ("namespace", options.namespace.as_str().into()),
            ])]),
        ),
    ])
}

fn service(options: &Options) -> Tree {
    let port = map([
        ("name", PORT_NAME.into()),
        ("port", 443.into()),
        ("targetPort", PORT_NAME.into()),
    ]);
    map([
        ("apiVersion", "v1".into()),
        ("kind", "Service".into()),
        ("metadata", metadata(SERVICE, Some(&options.namespace))),
        (
            "spec",
            map([("selector", labels()), ("ports", list([port]))])
                .with_comment("selector", "all replicas answer, also those that stand by"),
        ),
    ])
}

fn metadata(name: &str, namespace: Option<&str>) -> Tree {
    let mut entries = vec![("name", name.into())];
    if let Some(namespace) = namespace {
        entries.push(("namespace", namespace.into()));
    }
    entries.push(("labels", labels()));
    map(entries)
}

/// Flags of a controller that serves them.
pub(super) fn flags(options: &Options) -> [String; 2] {
    [
        format!("--webhook-addr=0.0.0.0:{PORT}"),
        format!("--webhook-namespace={}", options.namespace),
    ]
}
