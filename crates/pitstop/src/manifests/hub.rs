//! What a hub needs on every node: as a DaemonSet, or as a unit of systemd.
//!
//! A pod of the DaemonSet has the least rights that a hub can work with: it reads pods, and says in their conditions what
//! the owner of the node decided. It deletes nothing; the controller does what the condition asks for. A policy that the
//! API server enforces keeps it to the pods of its own node, which RBAC cannot express. Source: hub.md B3.

use serde_json::{Value, json};

use super::tree::{Tree, flow, list, map};
use super::{IMAGE_REPOSITORY, RBAC};

/// Namespace of the hubs. They use the network of their node, which a namespace must allow.
pub const NAMESPACE: &str = "pitstop-hub";
/// Name of everything that a hub needs.
const NAME: &str = "pitstop-hub";
/// The hub as a program of its own, which needs a third less memory than `pitstop hub`.
const PROGRAM: &str = "pitstop-hub";
/// Any user but root; images that are made for it call this one `nonroot`.
const USER: u32 = 65532;
/// What hubs keep through restarts. Source: hub.md B7.
const STATE: &str = "/var/lib/pitstop-hub";
/// The claim in which the API server says on which node a service account's pod runs. Since Kubernetes 1.30.
const NODE_CLAIM: &str = "authentication.kubernetes.io/node-name";

/// What may differ between clusters.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Options {
    /// Namespace of the service account and of the DaemonSet.
    pub namespace: String,
    /// Image of the hub; `pitstop-hub` must be on its PATH.
    pub image: String,
    /// Are the pods of a node read from its kubelet?
    pub from_kubelet: bool,
}

impl Default for Options {
    fn default() -> Self {
        Self {
            namespace: NAMESPACE.to_owned(),
            image: format!("{IMAGE_REPOSITORY}:{}", env!("CARGO_PKG_VERSION")),
            from_kubelet: false,
        }
    }
}

/// The unit of systemd.
pub const UNIT: &str = include_str!("hub/pitstop-hub.service");

/// The manifests as YAML documents for `kubectl apply -f -`.
pub fn render(options: &Options) -> String {
    let mut text = format!(
        "# pitstop {}: a hub on every node, from `pitstop manifests --hub`.\n",
        env!("CARGO_PKG_VERSION")
    );
    for document in documents(options) {
        text.push_str("---\n");
        text.push_str(&document.to_yaml());
    }
    text
}

/// The manifests as one `List`.
pub fn to_json(options: &Options) -> Value {
    let items: Vec<Value> = documents(options).iter().map(Tree::to_json).collect();
    json!({ "apiVersion": "v1", "kind": "List", "items": items })
}

fn documents(options: &Options) -> Vec<Tree> {
    vec![
        namespace(options),
        map([
            ("apiVersion", "v1".into()),
            ("kind", "ServiceAccount".into()),
            ("metadata", metadata(Some(options))),
            ("automountServiceAccountToken", false.into()),
        ])
        .with_comment(
            "automountServiceAccountToken",
            "only the DaemonSet below asks for the token",
        ),
        role(options),
        binding(options),
        policy(options),
        map([
            ("apiVersion", "admissionregistration.k8s.io/v1".into()),
            ("kind", "ValidatingAdmissionPolicyBinding".into()),
            ("metadata", metadata(None)),
            (
                "spec",
                map([("policyName", NAME.into()), ("validationActions", flow(["Deny"]))]),
            ),
        ]),
        daemonset(options),
    ]
}

fn labels() -> Tree {
    map([
        ("app.kubernetes.io/name", "pitstop".into()),
        ("app.kubernetes.io/component", "hub".into()),
    ])
}

fn metadata(of: Option<&Options>) -> Tree {
    let mut entries = vec![("name", NAME.into())];
    if let Some(options) = of {
        entries.push(("namespace", options.namespace.as_str().into()));
    }
    entries.push(("labels", labels()));
    map(entries)
}

fn namespace(options: &Options) -> Tree {
    let labels = map([
        ("app.kubernetes.io/name", "pitstop".into()),
        ("pod-security.kubernetes.io/enforce", "privileged".into()),
    ])
    .with_comment(
        "pod-security.kubernetes.io/enforce",
        "a hub answers on 127.0.0.1 of its node and keeps requests on its disk, which no lower level allows",
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

fn rule(resource: &'static str, verbs: &[&'static str], why: &'static str) -> Tree {
    map([
        ("apiGroups", flow([""])),
        ("resources", flow([resource])),
        ("verbs", flow(verbs.iter().copied())),
    ])
    .why(why)
}

fn role(options: &Options) -> Tree {
    let reads = if options.from_kubelet {
        rule(
            "nodes/pods",
            &["get"],
            "ask the kubelet of the node for its pods (Kubernetes 1.33 and later; before that it is nodes/proxy)",
        )
    } else {
        rule(
            "pods",
            &["get", "list", "watch"],
            "know which pods of the node have a newer revision waiting",
        )
    };
    map([
        ("apiVersion", RBAC.into()),
        ("kind", "ClusterRole".into()),
        ("metadata", metadata(None)),
        (
            "rules",
            list([
                reads,
                rule(
                    "pods/status",
                    &["patch"],
                    "say in conditions what the owner of the node decided; the policy below allows no more",
                ),
                rule(
                    "events",
                    &["create"],
                    "tell in `kubectl describe` what became of it",
                ),
            ]),
        ),
    ])
}

fn binding(options: &Options) -> Tree {
    map([
        ("apiVersion", RBAC.into()),
        ("kind", "ClusterRoleBinding".into()),
        ("metadata", metadata(None)),
        (
            "roleRef",
            map([
                ("apiGroup", "rbac.authorization.k8s.io".into()),
                ("kind", "ClusterRole".into()),
                ("name", NAME.into()),
            ]),
        ),
        (
            "subjects",
            list([map([
                ("kind", "ServiceAccount".into()),
                ("name", NAME.into()),
                ("namespace", options.namespace.as_str().into()),
            ])]),
        ),
    ])
}

/// Keeps a hub to conditions of its own kinds, on pods of its own node. Source: hub.md B3, v1 to v3.
fn policy(options: &Options) -> Tree {
    let user = format!("system:serviceaccount:{}:{NAME}", options.namespace);
    let claim = format!("request.userInfo.extra['{NODE_CLAIM}']");
    let ours = "(c.type == 'PodImageReady' || c.type.startsWith('pitstop.io/'))";
    let same = |field: &str| {
        format!(
            "(has(object.metadata.{field}) ? object.metadata.{field} : {{}}) == (has(oldObject.metadata.{field}) ? oldObject.metadata.{field} : {{}})"
        )
    };
    let others = |object: &str| {
        format!("(has({object}.status.conditions) ? {object}.status.conditions : []).filter(c, !{ours})")
    };
    let expression =
        |text: String, message: &'static str| map([("expression", text.into()), ("message", message.into())]);
    let fields = [
        "phase",
        "message",
        "reason",
        "podIP",
        "podIPs",
        "hostIP",
        "hostIPs",
        "qosClass",
        "startTime",
        "containerStatuses",
        "initContainerStatuses",
        "ephemeralContainerStatuses",
    ];
    let untouched = fields.map(|field| {
        format!(
            "has(object.status.{field}) == has(oldObject.status.{field}) && (!has(object.status.{field}) || \
             object.status.{field} == oldObject.status.{field})"
        )
    });
    map([
        ("apiVersion", "admissionregistration.k8s.io/v1".into()),
        ("kind", "ValidatingAdmissionPolicy".into()),
        ("metadata", metadata(None)),
        (
            "spec",
            map([
                ("failurePolicy", "Fail".into()),
                (
                    "matchConstraints",
                    map([(
                        "resourceRules",
                        list([map([
                            ("apiGroups", flow([""])),
                            ("apiVersions", flow(["v1"])),
                            ("operations", flow(["UPDATE"])),
                            ("resources", flow(["pods/status"])),
                        ])]),
                    )]),
                ),
                (
                    "matchConditions",
                    list([map([
                        ("name", "is-a-hub".into()),
                        (
                            "expression",
                            format!("request.userInfo.username == '{user}'").into(),
                        ),
                    ])]),
                ),
                (
                    "validations",
                    list([
                        expression(
                            format!(
                                "has(request.userInfo.extra) && '{NODE_CLAIM}' in request.userInfo.extra"
                            ),
                            "the token of a hub must say on which node it runs",
                        ),
                        expression(
                            format!("{claim}[0] == oldObject.spec.nodeName"),
                            "a hub may only touch pods of its own node",
                        ),
                        expression(
                            format!("{} && {}", same("labels"), same("annotations")),
                            "a hub may not change labels or annotations",
                        ),
                        expression(
                            format!("{} == {}", others("object"), others("oldObject")),
                            "a hub may only change conditions PodImageReady and pitstop.io/...",
                        ),
                        expression(untouched.join(" && "), "a hub may only change conditions"),
                    ]),
                ),
            ]),
        ),
    ])
}

fn daemonset(options: &Options) -> Tree {
    map([
        ("apiVersion", "apps/v1".into()),
        ("kind", "DaemonSet".into()),
        ("metadata", metadata(Some(options))),
        (
            "spec",
            map([
                ("selector", map([("matchLabels", labels())])),
                (
                    "updateStrategy",
                    map([
                        ("type", "RollingUpdate".into()),
                        ("rollingUpdate", map([("maxUnavailable", "10%".into())])),
                    ]),
                ),
                (
                    "template",
                    map([("metadata", map([("labels", labels())])), ("spec", pod(options))]),
                ),
            ]),
        ),
    ])
}

fn pod(options: &Options) -> Tree {
    let everywhere = map([("operator", "Exists".into())]).why("the owner of any node may decide");
    map([
        ("serviceAccountName", NAME.into()),
        ("automountServiceAccountToken", true.into()),
        ("enableServiceLinks", false.into()),
        ("hostNetwork", true.into()),
        ("dnsPolicy", "ClusterFirstWithHostNet".into()),
        ("priorityClassName", "system-node-critical".into()),
        ("nodeSelector", map([("kubernetes.io/os", "linux".into())])),
        ("tolerations", list([everywhere])),
        (
            "securityContext",
            map([("seccompProfile", map([("type", "RuntimeDefault".into())]))]),
        ),
        ("initContainers", list([folder(options)])),
        ("containers", list([container(options)])),
        (
            "volumes",
            list([map([
                ("name", "state".into()),
                (
                    "hostPath",
                    map([("path", STATE.into()), ("type", "DirectoryOrCreate".into())]),
                ),
            ])
            .why("requests that were accepted while the node was cut off survive everything but the disk")]),
        ),
    ])
    .with_comment("hostNetwork", "127.0.0.1:10267 is that of the node")
}

fn mounts() -> Tree {
    list([map([("name", "state".into()), ("mountPath", STATE.into())])])
}

/// The folder belongs to root when the kubelet makes it.
fn folder(options: &Options) -> Tree {
    map([
        ("name", "folder".into()),
        ("image", options.image.as_str().into()),
        (
            "command",
            list(
                [
                    PROGRAM.to_owned(),
                    format!("--state={STATE}"),
                    format!("--give-state-to={USER}"),
                ]
                .map(Tree::from),
            ),
        ),
        ("volumeMounts", mounts()),
        (
            "securityContext",
            map([
                ("runAsUser", 0.into()),
                ("allowPrivilegeEscalation", false.into()),
                ("readOnlyRootFilesystem", true.into()),
                (
                    "capabilities",
                    map([("drop", flow(["ALL"])), ("add", flow(["CHOWN", "FOWNER"]))]),
                ),
            ]),
        ),
    ])
    .why("gives the folder to the user below, and ends")
}

fn container(options: &Options) -> Tree {
    let mut command = vec![
        PROGRAM.to_owned(),
        "--node-name=$(NODE_NAME)".to_owned(),
        format!("--state={STATE}"),
        "--executor=request".to_owned(),
    ];
    if options.from_kubelet {
        command.push("--pods-source=kubelet".to_owned());
    }
    let probe = |path: &'static str| {
        map([(
            "httpGet",
            map([
                ("host", "127.0.0.1".into()),
                ("path", path.into()),
                ("port", pitstop_hub::ADDRESS.port().into()),
            ]),
        )])
    };
    let node_name = map([("fieldRef", map([("fieldPath", "spec.nodeName".into())]))]);
    let resources = map([
        ("requests", map([("cpu", "5m".into()), ("memory", "15Mi".into())])),
        ("limits", map([("memory", "64Mi".into())])),
    ]);
    map([
        ("name", "hub".into()),
        ("image", options.image.as_str().into()),
        ("command", list(command.into_iter().map(Tree::from))),
        (
            "env",
            list([map([("name", "NODE_NAME".into()), ("valueFrom", node_name)])]),
        ),
        ("volumeMounts", mounts()),
        ("livenessProbe", probe("/v1/healthz")),
        (
            "resources",
            resources.why("about 15 MiB; more only while many ask at once"),
        ),
        (
            "securityContext",
            map([
                ("runAsNonRoot", true.into()),
                ("runAsUser", USER.into()),
                ("runAsGroup", USER.into()),
                ("allowPrivilegeEscalation", false.into()),
                ("readOnlyRootFilesystem", true.into()),
                ("capabilities", map([("drop", flow(["ALL"]))])),
            ]),
        ),
    ])
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_printed_for_hubs() {
        let text = render(&Options::default());
        insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
    }

    #[test]
    fn yaml_and_json_are_the_same_objects() {
        let options = Options::default();
        let documents: Vec<Value> = serde_saphyr::from_multiple(&render(&options)).unwrap();
        assert_eq!(Value::from(documents), to_json(&options)["items"]);
    }

    /// B3: the least role, and nothing that lets a hub delete.
    #[test]
    fn a_hub_may_read_pods_and_set_conditions_and_no_more() {
        let list = to_json(&Options::default());
        let items = list["items"].as_array().unwrap();
        let role = items.iter().find(|item| item["kind"] == "ClusterRole").unwrap();
        let mut rights: Vec<String> = Vec::new();
        for rule in role["rules"].as_array().unwrap() {
            for verb in rule["verbs"].as_array().unwrap() {
                rights.push(format!(
                    "{} {}",
                    verb.as_str().unwrap(),
                    rule["resources"][0].as_str().unwrap()
                ));
            }
        }
        assert_eq!(
            rights,
            [
                "get pods",
                "list pods",
                "watch pods",
                "patch pods/status",
                "create events"
            ]
        );
    }
}
