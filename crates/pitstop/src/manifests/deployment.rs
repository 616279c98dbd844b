//! The Deployment of the controllers.

use pitstop_api::keys;

use super::tree::{Tree, flow, list, map};
use super::{NAME, Options, SERVICE_ACCOUNT, labels, webhooks};

/// Where health and metrics are served in the pod.
const PORT: u16 = 8080;
/// Any user but root; images that are made for it call this one `nonroot`.
const USER: u32 = 65532;
/// How long a node may be away before its controller is started elsewhere. Units: seconds.
const AWAY: u32 = 30;

/// The Deployment.
pub(super) fn deployment(options: &Options) -> Tree {
    let strategy = map([
        ("type", "RollingUpdate".into()),
        (
            "rollingUpdate",
            map([("maxSurge", 1.into()), ("maxUnavailable", 0.into())]),
        ),
    ]);
    map([
        ("apiVersion", "apps/v1".into()),
        ("kind", "Deployment".into()),
        (
            "metadata",
            map([
                ("name", NAME.into()),
                ("namespace", options.namespace.as_str().into()),
                ("labels", labels()),
            ]),
        ),
        (
            "spec",
            map([
                ("replicas", options.replicas.into()),
                ("selector", map([("matchLabels", labels())])),
                (
                    "strategy",
                    strategy.why("a successor stands by before the one that works gives the lease back"),
                ),
                (
                    "template",
                    map([("metadata", map([("labels", labels())])), ("spec", pod(options))]),
                ),
            ])
            .with_comment("replicas", "one holds the lease and works, the others stand by"),
        ),
    ])
}

fn pod(options: &Options) -> Tree {
    map([
        ("serviceAccountName", SERVICE_ACCOUNT.into()),
        ("automountServiceAccountToken", true.into()),
        ("enableServiceLinks", false.into()),
        ("priorityClassName", "system-cluster-critical".into()),
        ("nodeSelector", map([("kubernetes.io/os", "linux".into())])),
        ("affinity", affinity()),
        ("tolerations", tolerations()),
        (
            "securityContext",
            map([
                ("runAsNonRoot", true.into()),
                ("runAsUser", USER.into()),
                ("runAsGroup", USER.into()),
                ("seccompProfile", map([("type", "RuntimeDefault".into())])),
            ]),
        ),
        ("containers", list([container(options)])),
    ])
    .with_comment(
        "enableServiceLinks",
        "the variables of a Service named pitstop would begin as those of our flags do: PITSTOP_",
    )
    .with_comment(
        "priorityClassName",
        "a rollout that is under way is not given up for want of room",
    )
}

fn container(options: &Options) -> Tree {
    let names: Vec<&str> = options
        .controllers
        .iter()
        .map(|controller| controller.name())
        .collect();
    let mut command = vec![
        "pitstop".to_owned(),
        "controller".to_owned(),
        format!("--controllers={}", names.join(",")),
        format!("--metrics-addr=0.0.0.0:{PORT}"),
    ];
    let mut ports = vec![map([("name", "health".into()), ("containerPort", PORT.into())])];
    if options.brings_kinds() {
        command.extend(webhooks::flags(options));
        ports.push(map([
            ("name", webhooks::PORT_NAME.into()),
            ("containerPort", webhooks::PORT.into()),
        ]));
    }
    let resources = map([
        (
            "requests",
            map([("cpu", "20m".into()), ("memory", "48Mi".into())]),
        ),
        ("limits", map([("memory", "256Mi".into())])),
    ]);
    map([
        ("name", "controller".into()),
        ("image", options.image.as_str().into()),
        ("command", list(command.into_iter().map(Tree::from))),
        ("ports", list(ports)),
        ("livenessProbe", probe("/healthz")),
        ("readinessProbe", probe("/readyz")),
        (
            "resources",
            resources.why(
                "below 1 KB a pod and node, and half a CPU second for 1,000 upgraded pods; a CPU limit would only slow \
                 the reaction",
            ),
        ),
        (
            "securityContext",
            map([
                ("allowPrivilegeEscalation", false.into()),
                ("readOnlyRootFilesystem", true.into()),
                ("capabilities", map([("drop", flow(["ALL"]))])),
            ]),
        ),
    ])
}

fn probe(path: &'static str) -> Tree {
    map([("httpGet", map([("path", path.into()), ("port", "health".into())]))])
}

fn affinity() -> Tree {
    let elsewhere = map([
        ("weight", 100.into()),
        (
            "podAffinityTerm",
            map([
                ("topologyKey", keys::HOSTNAME.into()),
                ("labelSelector", map([("matchLabels", labels())])),
            ]),
        ),
    ]);
    let control_plane = map([
        ("weight", 50.into()),
        (
            "preference",
            map([(
                "matchExpressions",
                list([map([
                    ("key", keys::NODE_ROLE_CONTROL_PLANE.into()),
                    ("operator", "Exists".into()),
                ])]),
            )]),
        ),
    ]);
    let preferred = "preferredDuringSchedulingIgnoredDuringExecution";
    map([
        (
            "podAntiAffinity",
            map([(preferred, list([elsewhere]))])
                .why("the one that stands by is on another node, if there is one"),
        ),
        (
            "nodeAffinity",
            map([(preferred, list([control_plane]))])
                .why("near the API server, where the network does not break; any other node will do"),
        ),
    ])
}

fn tolerations() -> Tree {
    let away = |key: &'static str| {
        map([
            ("key", key.into()),
            ("operator", "Exists".into()),
            ("effect", "NoExecute".into()),
            ("tolerationSeconds", AWAY.into()),
        ])
    };
    list([
        map([
            ("key", keys::NODE_ROLE_CONTROL_PLANE.into()),
            ("operator", "Exists".into()),
            ("effect", "NoSchedule".into()),
        ]),
        away(keys::TAINT_NOT_READY).why("sooner elsewhere than after the five minutes that are the default"),
        away(keys::TAINT_UNREACHABLE),
    ])
}
