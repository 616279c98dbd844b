//! What `demo` plays, as data: the stories of seeds 001 to 004 with their names, a canary, and the guard.

use std::time::Duration;

use serde_json::{Value, json};

use pitstop_api::{WorkloadKind, keys, reasons};

use crate::cli::target::Workload;

pub mod player;
pub mod view;

/// `minReadySeconds` of the CloneSet; the seed has 30, which is long to watch. Units: seconds.
const MIN_READY_SECONDS: u32 = 2;

/// The label of seed 002 that says whether an instance works: `true` or `false`.
const WORKING: &str = "working";
/// Nodes of the story about the guard, at least: two are lost before it can tell, and others have to be left. Units: nodes.
const GUARD_NODES: u32 = 4;
/// `minReadySeconds` in that story: longer than a node is silent before it is NotReady, and than it lives with the new version,
/// so that none is updated while it is not known what became of the one before. Units: seconds.
const GUARD_MIN_READY_SECONDS: u32 = 10;

/// Which story.
#[derive(Debug, Clone, Copy, PartialEq, Eq, clap::ValueEnum)]
pub enum Plot {
    /// Two nodes lose their network during an upgrade with AdvancedRollingUpdate and catch up when they return
    Auto,
    /// A native rolling update, one node at a time
    Rolling,
    /// The owner of each node decides when its pod is upgraded, also while the node is cut off
    Ota,
    /// A CloneSet whose containers restart while its pods stay: same names, uids, nodes and addresses
    #[value(name = "inplace")]
    InPlace,
    /// A StatefulSet whose instances turn busy and idle: those that work are left alone
    Protect,
    /// A new version comes to one node first, and to the others when that is promoted
    Canary,
    /// A new version takes its nodes down, and the guard stops it (4 nodes or more)
    Guard,
}

impl Plot {
    /// The upgrade model of the workload, as the seed writes it.
    fn model(self) -> &'static str {
        match self {
            Self::Auto => "auto",
            Self::Ota => "OTA",
            Self::Canary | Self::Guard => "AdvancedRollingUpdate",
            Self::Rolling | Self::InPlace | Self::Protect => "",
        }
    }

    /// How many nodes it needs: one can be away while another is upgraded. Units: nodes.
    pub fn least_nodes(self) -> u32 {
        if self == Self::Guard { GUARD_NODES } else { 2 }
    }

    /// Does it need the hubs of the nodes?
    pub fn has_hubs(self) -> bool {
        self == Self::Ota
    }
}

/// One story, ready to be played.
#[derive(Debug, Clone)]
pub struct Story {
    /// Which one.
    pub plot: Plot,
    /// The control-plane node, where no pod of the workload runs.
    pub control_plane: Option<String>,
    /// The nodes where the pods run.
    pub nodes: Vec<String>,
    /// Those that lose their network.
    pub cut_off: Vec<String>,
    /// Kind of the workload.
    pub kind: WorkloadKind,
    /// Its name.
    pub name: &'static str,
    /// Name of its container.
    pub container: &'static str,
    /// The image that the story begins with.
    pub old_image: &'static str,
    /// The image that it is upgraded to.
    pub new_image: String,
}

impl Story {
    /// The story with these parameters; `None`: those of the seed.
    ///
    /// Range of `n_nodes`: at least [`Plot::least_nodes`].
    pub fn new(plot: Plot, n_nodes: Option<u32>, image: Option<String>) -> Self {
        match plot {
            Plot::Auto => Self::auto(n_nodes.unwrap_or(3), image),
            Plot::Rolling => Self::rolling(n_nodes.unwrap_or(5), image),
            Plot::Ota => Self::ota(n_nodes.unwrap_or(3), image),
            Plot::InPlace => Self::in_place(n_nodes.unwrap_or(3), image),
            Plot::Protect => Self::protect(n_nodes.unwrap_or(3), image),
            Plot::Canary => Self::canary(n_nodes.unwrap_or(4), image),
            Plot::Guard => Self::guard(n_nodes.unwrap_or(8), image),
        }
    }

    /// Seed 001, first half.
    fn auto(n_nodes: u32, image: Option<String>) -> Self {
        let nodes: Vec<String> = (1..=n_nodes)
            .map(|i| match i {
                1 => "openyurt-e2e-test-worker".to_owned(),
                i => format!("openyurt-e2e-test-worker{i}"),
            })
            .collect();
        let n_cut_off = 2.min(nodes.len().saturating_sub(1));
        Self {
            plot: Plot::Auto,
            control_plane: Some("openyurt-e2e-test-control-plane".to_owned()),
            cut_off: nodes.iter().skip(nodes.len() - n_cut_off).cloned().collect(),
            nodes,
            kind: WorkloadKind::DaemonSet,
            name: "nginx-daemonset",
            container: "nginx",
            old_image: "nginx:1.19.4",
            new_image: image.unwrap_or_else(|| "nginx:1.19.5".to_owned()),
        }
    }

    /// Seed 001, second half, and a node that is cut off when its owner decides.
    fn ota(n_nodes: u32, image: Option<String>) -> Self {
        let story = Self::auto(n_nodes, image);
        Self {
            plot: Plot::Ota,
            cut_off: story.nodes.last().cloned().into_iter().collect(),
            ..story
        }
    }

    /// Seed 003.
    fn rolling(n_nodes: u32, image: Option<String>) -> Self {
        Self {
            plot: Plot::Rolling,
            control_plane: None,
            nodes: (1..=n_nodes).map(|i| format!("node-{i}")).collect(),
            cut_off: Vec::new(),
            kind: WorkloadKind::DaemonSet,
            name: "filebeat-ds",
            container: "filebeat",
            old_image: "ikubernetes/filebeat:5.6.5-alpine",
            new_image: image.unwrap_or_else(|| "ikubernetes/filebeat:5.6.6-alpine".to_owned()),
        }
    }

    /// The DaemonSet of seed 003, held to one node at first.
    fn canary(n_nodes: u32, image: Option<String>) -> Self {
        let story = Self::rolling(n_nodes, image);
        Self {
            plot: Plot::Canary,
            ..story
        }
    }

    /// A version that takes every node down that it comes to.
    fn guard(n_nodes: u32, image: Option<String>) -> Self {
        Self {
            plot: Plot::Guard,
            control_plane: None,
            nodes: (1..=n_nodes).map(|i| format!("node-{i}")).collect(),
            cut_off: Vec::new(),
            kind: WorkloadKind::DaemonSet,
            name: "agent",
            container: "agent",
            old_image: "example.com/agent:1",
            new_image: image.unwrap_or_else(|| "example.com/agent:2".to_owned()),
        }
    }

    /// The image that all pods run when it is over.
    pub fn last_image(&self) -> &str {
        if self.plot == Plot::Guard {
            self.old_image
        } else {
            &self.new_image
        }
    }

    /// Seed 004.
    fn in_place(n_nodes: u32, image: Option<String>) -> Self {
        Self {
            plot: Plot::InPlace,
            control_plane: None,
            nodes: (1..=n_nodes).map(|i| format!("node-{i}")).collect(),
            cut_off: Vec::new(),
            kind: WorkloadKind::CloneSet,
            name: "nginxweb1",
            container: "nginx",
            old_image: "nginx:perl",
            new_image: image.unwrap_or_else(|| "nginx:latest".to_owned()),
        }
    }

    /// Seed 002, with protection in place of what its author would have had to write.
    fn protect(n_nodes: u32, image: Option<String>) -> Self {
        Self {
            plot: Plot::Protect,
            kind: WorkloadKind::StatefulSet,
            name: "sample",
            container: "main",
            old_image: "alpine:3.18.2",
            new_image: image.unwrap_or_else(|| "alpine:3.18.0".to_owned()),
            ..Self::in_place(n_nodes, None)
        }
    }

    /// Pods that run when it begins. Those of seed 004 are four after its second manifest.
    pub fn n_pods(&self) -> u32 {
        match self.kind {
            WorkloadKind::CloneSet => 4,
            WorkloadKind::StatefulSet => 5,
            WorkloadKind::DaemonSet | WorkloadKind::AdvancedDaemonSet => {
                u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)
            }
        }
    }

    /// The manifest of the seed.
    pub fn manifest(&self) -> Value {
        match self.plot {
            Plot::InPlace => json!({
                "apiVersion": "apps.kruise.io/v1alpha1",
                "kind": "CloneSet",
                "metadata": {"name": self.name},
                "spec": {
                    "replicas": self.n_pods(),
                    "minReadySeconds": MIN_READY_SECONDS,
                    "updateStrategy": {"type": "InPlaceIfPossible", "maxUnavailable": 1},
                    "scaleStrategy": {"maxUnavailable": "100%"},
                    "selector": {"matchLabels": {"app": self.name}},
                    "template": {
                        "metadata": {"labels": {"app": self.name}},
                        "spec": {"containers": [{
                            "name": self.container,
                            "image": self.old_image,
                            "imagePullPolicy": "IfNotPresent",
                            "ports": [{"containerPort": 80}],
                        }]},
                    },
                },
            }),
            Plot::Protect => json!({
                "apiVersion": "apps.kruise.io/v1beta1",
                "kind": "StatefulSet",
                "metadata": {"name": self.name},
                "spec": {
                    "replicas": self.n_pods(),
                    "serviceName": "fake-service",
                    "podManagementPolicy": "Parallel",
                    "selector": {"matchLabels": {"app": self.name}},
                    "updateStrategy": {"rollingUpdate": {
                        "podUpdatePolicy": "InPlaceIfPossible",
                        "protection": {"podSelector": {"matchLabels": {WORKING: "true"}}},
                    }},
                    "template": {
                        "metadata": {"labels": {"app": self.name, WORKING: "false"}},
                        "spec": {
                            "readinessGates": [{"conditionType": reasons::INPLACE_UPDATE_READY}],
                            "containers": [{
                                "name": self.container, "image": self.old_image, "command": ["sleep", "3600"],
                            }],
                        },
                    },
                },
            }),
            Plot::Auto | Plot::Ota => self.on_delete("nginx", 0, None),
            Plot::Guard => self.on_delete(self.name, GUARD_MIN_READY_SECONDS, Some("1")),
            Plot::Canary => self.on_delete("filebeat", 0, Some("1")),
            Plot::Rolling => json!({
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "metadata": {"name": self.name, "labels": {"app": "filebeat"}},
                "spec": {
                    "selector": {"matchLabels": {"app": "filebeat"}},
                    "template": {
                        "metadata": {"labels": {"app": "filebeat"}},
                        "spec": {"containers": [{
                            "name": self.container,
                            "image": self.old_image,
                            "env": [
                                {"name": "REDIS_HOST", "value": "db.ilinux.io:6379"},
                                {"name": "LOG_LEVEL", "value": "info"},
                            ],
                        }]},
                    },
                },
            }),
        }
    }

    /// A DaemonSet of type OnDelete that asks for a model.
    fn on_delete(&self, app: &str, min_ready_seconds: u32, max_unavailable: Option<&str>) -> Value {
        let mut annotations = json!({ (keys::OPENYURT_UPDATE_STRATEGY): self.plot.model() });
        if let Some(max_unavailable) = max_unavailable {
            annotations[keys::OPENYURT_MAX_UNAVAILABLE] = json!(max_unavailable);
        }
        json!({
            "apiVersion": "apps/v1",
            "kind": "DaemonSet",
            "metadata": {"name": self.name, "annotations": annotations},
            "spec": {
                "minReadySeconds": min_ready_seconds,
                "selector": {"matchLabels": {"app": app}},
                "updateStrategy": {"type": "OnDelete"},
                "template": {
                    "metadata": {"labels": {"app": app}},
                    "spec": {"containers": [{"name": self.container, "image": self.old_image}]},
                },
            },
        })
    }

    /// Its workload, for commands.
    pub fn workload(&self) -> Workload {
        Workload {
            kind: Some(self.kind),
            name: self.name.to_owned(),
        }
    }

    /// How much faster than life it is played: slow enough to be followed, and over within half a minute.
    pub fn time_scale(&self) -> f64 {
        match self.plot {
            // Heartbeats come every ten seconds in life, and the network of two nodes is cut.
            Plot::Auto => 2.0,
            // A hub looks every ten seconds in life whether the network is back, and heartbeats come often enough that a silent
            // node is noticed within seconds.
            Plot::Ota | Plot::Guard => 5.0,
            // Each pod is ready for two seconds before the next one's turn, and that is life's time.
            Plot::InPlace | Plot::Protect => 1.0,
            // One node after the other, about three seconds each in life.
            Plot::Rolling | Plot::Canary => {
                f64::from(u32::try_from(self.nodes.len()).unwrap_or(u32::MAX)).max(5.0) / 5.0
            }
        }
    }

    /// How long a node may be silent before it is NotReady: well above the time between two heartbeats.
    pub fn node_grace(&self) -> Duration {
        match self.plot {
            Plot::Auto | Plot::Ota => Duration::from_secs(8),
            Plot::Guard => Duration::from_secs(5),
            Plot::Rolling | Plot::Canary | Plot::InPlace | Plot::Protect => Duration::from_secs(40),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::embedded;
    use clap::ValueEnum as _;

    #[test]
    fn the_seeds_stories_have_the_seeds_names() {
        let auto = Story::new(Plot::Auto, None, None);
        assert_eq!(
            auto.control_plane.as_deref(),
            Some("openyurt-e2e-test-control-plane")
        );
        assert_eq!(
            auto.nodes,
            [
                "openyurt-e2e-test-worker",
                "openyurt-e2e-test-worker2",
                "openyurt-e2e-test-worker3"
            ]
        );
        assert_eq!(
            auto.cut_off,
            ["openyurt-e2e-test-worker2", "openyurt-e2e-test-worker3"]
        );
        assert_eq!(auto.new_image, "nginx:1.19.5");
        let rolling = Story::new(Plot::Rolling, None, None);
        assert_eq!(rolling.nodes.len(), 5);
        assert_eq!(rolling.new_image, "ikubernetes/filebeat:5.6.6-alpine");
        assert!(rolling.cut_off.is_empty());
        let in_place = Story::new(Plot::InPlace, None, None);
        assert_eq!((in_place.name, in_place.n_pods()), ("nginxweb1", 4));
        assert_eq!(in_place.workload().to_string(), "clone/nginxweb1");
        let protect = Story::new(Plot::Protect, None, None);
        assert_eq!((protect.name, protect.n_pods()), ("sample", 5));
        assert_eq!(protect.workload().to_string(), "asts/sample");
    }

    #[test]
    fn a_node_that_answers_is_never_silent_for_too_long() {
        for n_nodes in [2, 5, 20] {
            for plot in Plot::value_variants().iter().copied() {
                let story = Story::new(plot, Some(n_nodes), None);
                let between_heartbeats = embedded::heartbeat(story.time_scale());
                assert!(
                    story.node_grace() > between_heartbeats.mul_f64(1.5),
                    "{plot:?} {n_nodes}"
                );
            }
        }
    }

    #[test]
    fn its_parameters_can_be_changed() {
        let story = Story::new(Plot::Auto, Some(6), Some("nginx:1.25".to_owned()));
        assert_eq!(story.nodes.len(), 6);
        assert_eq!(
            story.cut_off,
            ["openyurt-e2e-test-worker5", "openyurt-e2e-test-worker6"]
        );
        assert_eq!(story.new_image, "nginx:1.25");
        assert_eq!(
            Story::new(Plot::Auto, Some(2), None).cut_off,
            ["openyurt-e2e-test-worker2"]
        );
    }
}
