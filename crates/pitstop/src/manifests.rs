//! What a cluster needs so that pitstop's controllers run in it, or hubs on its nodes: namespace, identity, rights, and the Deployment.
//!
//! The rights are one table, [`rules`]; YAML and JSON are rendered from it, and a test can leave one of them out.

use pitstop_api::image_pull::SECRETS_NAMESPACE;
use pitstop_controller::Controller;
use serde_json::{Value, json};

pub use rights::{Rule, Scope, rules, rules_for};

use tree::{Tree, list, map};

mod deployment;
pub mod hub;
pub mod kinds;
mod rights;
mod tree;
mod webhooks;

/// Namespace of the Deployment unless another one is chosen.
pub const NAMESPACE: &str = "pitstop-system";
/// Name of the service account.
pub const SERVICE_ACCOUNT: &str = "pitstop";
/// Name of the roles, of their bindings, and of the Deployment.
pub const NAME: &str = "pitstop-controller";
/// Where images are meant to be published.
pub const IMAGE_REPOSITORY: &str = "ghcr.io/pitstop-io/pitstop";

/// What may differ between clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Namespace of the service account and of the Deployment.
    pub namespace: String,
    /// Image of the controllers; `pitstop` must be on its PATH.
    pub image: String,
    /// How many controllers are started. One holds the lease and works, the others stand by.
    pub replicas: u32,
    /// Which controllers run; they decide which rights are asked for. No order, no repetition.
    pub controllers: Vec<Controller>,
    /// May the controllers run commands in pods? Arbiters of StatefulSets may be such.
    pub runs_commands: bool,
    /// Where an API server asks the webhooks of controllers that run outside of the cluster, without a path; `None`: they
    /// run in it. Outside, neither a Deployment nor a Service is printed.
    pub webhook_url: Option<String>,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: NAMESPACE.to_owned(),
            image: default_image(),
            replicas: 2,
            controllers: vec![Controller::DaemonPodUpdater],
            runs_commands: false,
            webhook_url: None,
        }
    }
}

impl Options {
    /// Is there a controller of kinds that a cluster does not have by itself? Then they are defined, and the controllers
    /// serve their webhooks.
    pub fn brings_kinds(&self) -> bool {
        let brings = [
            Controller::AdvancedDaemonSet,
            Controller::CloneSet,
            Controller::StatefulSet,
            Controller::ImagePullJob,
        ];
        brings
            .iter()
            .any(|controller| self.controllers.contains(controller))
    }
}

/// The image of this version.
pub fn default_image() -> String {
    format!("{IMAGE_REPOSITORY}:{}", env!("CARGO_PKG_VERSION"))
}

/// The manifests as YAML documents for `kubectl apply -f -`, each rule with a comment on what it is for.
///
/// `without` leaves one right out, so that a test can show that it is needed.
pub fn render(options: &Options, without: Option<&Rule>) -> String {
    let mut text = format!(
        "# pitstop {}: everything that its controllers need in a cluster, from `pitstop manifests`.\n",
        env!("CARGO_PKG_VERSION")
    );
    for document in documents(options, without) {
        text.push_str("---\n");
        text.push_str(&document.to_yaml());
    }
    text
}

/// The manifests as one `List`, which `kubectl apply -f -` takes as well.
pub fn to_json(options: &Options, without: Option<&Rule>) -> Value {
    let items: Vec<Value> = documents(options, without).iter().map(Tree::to_json).collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

fn documents(options: &Options, without: Option<&Rule>) -> Vec<Tree> {
    let of_scope = |scope: Scope| -> Vec<&Rule> {
        let commands = rights::COMMANDS.iter().filter(|_| options.runs_commands);
        rules_for(&options.controllers)
            .chain(commands)
            .filter(|rule| rule.scope == scope && Some(*rule) != without)
            .collect()
    };
    let cluster = of_scope(Scope::Cluster);
    let leases = of_scope(Scope::Namespace(rights::LEASE_NAMESPACE));
    let mut documents = vec![
        namespace(options),
        service_account(options),
        map([
            ("apiVersion", RBAC.into()),
            ("kind", "ClusterRole".into()),
            ("metadata", metadata(None)),
            ("rules", rights::to_tree(&cluster)),
        ]),
        binding("ClusterRole", None, options),
        map([
            ("apiVersion", RBAC.into()),
            ("kind", "Role".into()),
            ("metadata", metadata(Some(rights::LEASE_NAMESPACE))),
            ("rules", rights::to_tree(&leases)),
        ]),
        binding("Role", Some(rights::LEASE_NAMESPACE), options),
    ];
    if options.controllers.contains(&Controller::ImagePullJob) {
        let secrets = of_scope(Scope::Namespace(SECRETS_NAMESPACE));
        documents.push(tree::plain(kinds::secrets_namespace()));
        documents.push(map([
            ("apiVersion", RBAC.into()),
            ("kind", "Role".into()),
            ("metadata", metadata(Some(SECRETS_NAMESPACE))),
            ("rules", rights::to_tree(&secrets)),
        ]));
        documents.push(binding("Role", Some(SECRETS_NAMESPACE), options));
    }
    if options.brings_kinds() {
        documents.extend(webhooks::documents(options));
    }
    if options.webhook_url.is_none() {
        documents.push(deployment::deployment(options));
    }
    documents
}

const RBAC: &str = "rbac.authorization.k8s.io/v1";

fn namespace(options: &Options) -> Tree {
    let labels = map([
        ("app.kubernetes.io/name", SERVICE_ACCOUNT.into()),
        ("pod-security.kubernetes.io/enforce", "restricted".into()),
    ])
    .with_comment(
        "pod-security.kubernetes.io/enforce",
        "the controllers need nothing that this level forbids",
    );
    map([
        ("apiVersion", "v1".into()),
        ("kind", "Namespace".into()),
        (
            "metadata",
            map([("name", options.namespace.as_str().into()), ("labels", labels)]),
        ),
    ])
}

fn service_account(options: &Options) -> Tree {
    map([
        ("apiVersion", "v1".into()),
        ("kind", "ServiceAccount".into()),
        (
            "metadata",
            map([
                ("name", SERVICE_ACCOUNT.into()),
                ("namespace", options.namespace.as_str().into()),
                ("labels", labels()),
            ]),
        ),
        ("automountServiceAccountToken", false.into()),
    ])
    .with_comment(
        "automountServiceAccountToken",
        "only the Deployment below asks for the token",
    )
}

fn binding(role_kind: &str, namespace: Option<&str>, options: &Options) -> Tree {
    map([
        ("apiVersion", RBAC.into()),
        ("kind", format!("{role_kind}Binding").into()),
        ("metadata", metadata(namespace)),
        (
            "roleRef",
            map([
                ("apiGroup", "rbac.authorization.k8s.io".into()),
                ("kind", role_kind.into()),
                ("name", NAME.into()),
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

fn metadata(namespace: Option<&str>) -> Tree {
    let mut entries = vec![("name", NAME.into())];
    if let Some(namespace) = namespace {
        entries.push(("namespace", namespace.into()));
    }
    entries.push(("labels", labels()));
    map(entries)
}

fn labels() -> Tree {
    map([
        ("app.kubernetes.io/name", SERVICE_ACCOUNT.into()),
        ("app.kubernetes.io/component", "controller".into()),
    ])
}

#[cfg(test)]
mod tests;
