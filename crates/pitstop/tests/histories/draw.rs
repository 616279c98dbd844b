//! Draws histories from a seed.

use pitstop_api::keys;
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};

use crate::play::FINALIZER;
use crate::story::{Cascade, Edit, Story, Topic, Which};

/// Steps of a history after the first one, at least and at most.
const STEPS: (usize, usize) = (4, 8);
/// Edits of one step at most.
const EDITS: usize = 3;
const CASCADES: [Cascade; 3] = [Cascade::Background, Cascade::Foreground, Cascade::Orphan];

/// The history of a seed.
pub(crate) fn story(seed: u64, topic: Topic) -> Story {
    let mut pen = Pen {
        random: StdRng::seed_from_u64(seed),
        is_there: false,
        work: "",
    };
    let (mut n_steps, mut most) = (pen.random.random_range(STEPS.0..=STEPS.1), EDITS);
    match topic {
        Topic::DaemonSet | Topic::Deployment => {}
        // Whether a controller has seen a state in between shows in what it counts.
        Topic::Job => most = 1,
        // What has no owner any more goes at any time: one edit must be through before the next one.
        Topic::Garbage => (n_steps, most) = (3 * n_steps, 1),
    }
    let steps = (0..=n_steps).map(|_| pen.step(topic, most)).collect();
    let n_nodes = match topic {
        Topic::DaemonSet => 4,
        Topic::Deployment => 3,
        Topic::Job => 2,
        Topic::Garbage => 0,
    };
    Story {
        seed,
        topic,
        n_nodes,
        steps,
    }
}

struct Pen {
    random: StdRng,
    /// Is there a workload?
    is_there: bool,
    /// What the pods of the Job do.
    work: &'static str,
}

impl Pen {
    fn pick<T: Clone>(&mut self, from: &[T]) -> T {
        from[self.random.random_range(0..from.len())].clone()
    }

    fn chance(&mut self, one_in: u32) -> bool {
        self.random.random_range(0..one_in) == 0
    }

    /// Edits at once, of which one at most is about the workload.
    fn step(&mut self, topic: Topic, most: usize) -> Vec<Edit> {
        if !self.is_there && topic != Topic::Garbage {
            self.is_there = true;
            let new = match topic {
                Topic::DaemonSet => self.new_daemonset(),
                Topic::Deployment => self.new_deployment(),
                Topic::Job | Topic::Garbage => self.new_job(),
            };
            return vec![new];
        }
        let mut step: Vec<Edit> = Vec::new();
        for _ in 0..self.random.random_range(1..=most) {
            let edits = self.edits(topic);
            let is_second = step.iter().any(Edit::is_of_workload) && edits.iter().any(Edit::is_of_workload);
            // How far a pod has come when the network goes would be a matter of luck.
            let cuts = |edits: &[Edit]| edits.iter().any(Edit::cuts_off);
            let is_alone = (!cuts(&edits) || step.is_empty()) && !cuts(&step);
            if !is_second && is_alone {
                self.is_there &= !matches!(edits.as_slice(), [Edit::Delete { .. }]);
                step.extend(edits);
            }
        }
        step
    }

    /// One edit, or a few that belong together.
    fn edits(&mut self, topic: Topic) -> Vec<Edit> {
        match topic {
            Topic::DaemonSet => self.edits_of_daemonset(),
            Topic::Deployment => self.edits_of_deployment(),
            Topic::Job => self.edits_of_job(),
            Topic::Garbage => self.edits_of_maps(),
        }
    }

    fn image(&mut self) -> &'static str {
        self.pick(&[
            "app:1",
            "app:2",
            "app:3",
            "app:1",
            "app:2",
            "app:3",
            "app:bad",
            "app:unready",
        ])
    }

    fn new_daemonset(&mut self) -> Edit {
        let strategy = self.daemonset_strategy();
        let object = json!({
            "apiVersion": "apps/v1", "kind": "DaemonSet", "metadata": {"name": "agent"},
            "spec": {
                "selector": {"matchLabels": {"app": "agent"}},
                "updateStrategy": strategy,
                "template": template("agent", "app:1"),
            },
        });
        Edit::Create {
            plural: "daemonsets",
            object,
        }
    }

    fn daemonset_strategy(&mut self) -> Value {
        match self.random.random_range(0..6) {
            0 => json!({"type": "OnDelete", "rollingUpdate": null}),
            1 => json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": 1}}),
            2 => json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 0, "maxSurge": "50%"}}),
            _ => {
                let most = self.pick(&[json!(1), json!(2), json!("30%"), json!("100%"), json!(0)]);
                json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": most, "maxSurge": 0}})
            }
        }
    }

    fn edits_of_daemonset(&mut self) -> Vec<Edit> {
        let patch = |spec: Value| Edit::Patch {
            plural: "daemonsets",
            name: "agent".to_owned(),
            patch: json!({"spec": spec}),
        };
        let edit = match self.random.random_range(0..17) {
            0..4 => patch(image_patch(self.image())),
            4 => patch(json!({"updateStrategy": self.daemonset_strategy()})),
            5 => patch(json!({"minReadySeconds": self.random.random_range(0..2)})),
            6 => patch(json!({"revisionHistoryLimit": self.random.random_range(0..3)})),
            7 => {
                let role = self.pick(&[json!("a"), json!("b"), json!(null)]);
                patch(json!({"template": {"spec": {"nodeSelector": {"role": role}}}}))
            }
            8 => {
                let effect = self.pick(&["NoSchedule", "NoExecute"]);
                let toleration = json!([{"key": "example.com/t", "operator": "Exists", "effect": effect}]);
                let tolerations = self.pick(&[toleration, json!(null)]);
                patch(json!({"template": {"spec": {"tolerations": tolerations}}}))
            }
            9..13 => return vec![self.node_edit()],
            13 => {
                let which = Which::Place(self.random.random_range(0..4));
                return vec![Edit::RemoveNode(which), Edit::RestoreNodes];
            }
            14 => self.removal("daemonsets", "agent"),
            _ => return vec![self.pod_edit("agent")],
        };
        vec![edit]
    }

    /// An edit of a node that this history chooses by what is true of it.
    fn node_edit(&mut self) -> Edit {
        let which = Which::Place(self.random.random_range(0..4));
        let cut = json!({"metadata": {"annotations": {keys::SIM_NETWORK: "disconnected"}}});
        match self.random.random_range(0..9) {
            0..2 => Edit::PatchNode(which, taint("NoSchedule")),
            2 => Edit::PatchNode(which, taint("NoExecute")),
            3 => Edit::PatchNode(which, json!({"spec": {"taints": null}})),
            4 => Edit::PatchNode(which, json!({"spec": {"unschedulable": true}})),
            5 => Edit::PatchNode(which, json!({"metadata": {"labels": {"role": "b"}}})),
            6 => Edit::PatchNode(which, cut),
            _ => Edit::ResetNodes,
        }
    }

    fn pod_edit(&mut self, app: &str) -> Edit {
        let place = self.random.random_range(0..8);
        match self.random.random_range(0..6) {
            0..2 => Edit::DeletePod(place),
            2 => Edit::PatchPod(place, json!({"metadata": {"labels": {"app": "released"}}})),
            3 => Edit::PatchPod(place, json!({"metadata": {"labels": {"app": app}}})),
            4 => Edit::PatchPod(place, json!({"metadata": {"finalizers": [FINALIZER]}})),
            _ => Edit::ReleasePods,
        }
    }

    fn removal(&mut self, plural: &'static str, name: &str) -> Edit {
        let cascade = self.pick(&CASCADES);
        Edit::Delete {
            plural,
            name: name.to_owned(),
            cascade,
        }
    }

    fn new_deployment(&mut self) -> Edit {
        let object = json!({
            "apiVersion": "apps/v1", "kind": "Deployment", "metadata": {"name": "web"},
            "spec": {
                "replicas": self.random.random_range(1..5),
                "selector": {"matchLabels": {"app": "web"}},
                "template": template("web", "app:1"),
            },
        });
        Edit::Create {
            plural: "deployments",
            object,
        }
    }

    fn edits_of_deployment(&mut self) -> Vec<Edit> {
        let patch = |spec: Value| Edit::Patch {
            plural: "deployments",
            name: "web".to_owned(),
            patch: json!({"spec": spec}),
        };
        let edit = match self.random.random_range(0..19) {
            0..4 => patch(image_patch(self.image())),
            4..7 => patch(json!({"replicas": self.random.random_range(0..6)})),
            7..9 => patch(json!({"strategy": self.deployment_strategy()})),
            9 => patch(json!({"paused": true})),
            10..12 => patch(json!({"paused": null})),
            12 => patch(json!({"minReadySeconds": self.random.random_range(0..2)})),
            13 => patch(json!({"revisionHistoryLimit": self.random.random_range(0..3)})),
            14 => {
                let label = self.pick(&[json!("x"), json!("y"), json!(null)]);
                patch(json!({"template": {"metadata": {"labels": {"tier": label}}}}))
            }
            15 => return vec![self.some_node_edit()],
            16 => self.removal("deployments", "web"),
            _ => return vec![self.pod_edit("web")],
        };
        vec![edit]
    }

    fn deployment_strategy(&mut self) -> Value {
        if self.chance(4) {
            return json!({"type": "Recreate", "rollingUpdate": null});
        }
        let some = [json!(1), json!(2), json!("25%"), json!("50%"), json!(0)];
        let (surge, unavailable) = (self.pick(&some), self.pick(&some));
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxSurge": surge, "maxUnavailable": unavailable}})
    }

    /// Of a node by its number: on the last one pods have always a place.
    fn some_node_edit(&mut self) -> Edit {
        let which = Which::Number(self.random.random_range(1..3));
        match self.random.random_range(0..4) {
            0 => Edit::PatchNode(which, taint("NoExecute")),
            1 => Edit::PatchNode(which, json!({"spec": {"unschedulable": true}})),
            _ => Edit::ResetNodes,
        }
    }

    fn new_job(&mut self) -> Edit {
        let image = self.pick(&["job:done", "job:long", "job:fail"]);
        self.work = image;
        // How many fail at once, and so how many fail at all, is chance.
        let parallelism = if image == "job:fail" {
            1
        } else {
            self.random.random_range(1..4)
        };
        let completions = self.pick(&[json!(1), json!(2), json!(4), json!(null)]);
        let mode = if completions.is_null() {
            "NonIndexed"
        } else {
            self.pick(&["NonIndexed", "Indexed"])
        };
        let policy = if image == "job:fail" {
            "Never"
        } else {
            self.pick(&["Never", "OnFailure"])
        };
        let object = json!({
            "apiVersion": "batch/v1", "kind": "Job", "metadata": {"name": "work"},
            "spec": {
                "parallelism": parallelism, "completions": completions, "completionMode": mode,
                "backoffLimit": self.random.random_range(0..2), "suspend": self.chance(4),
                "podReplacementPolicy": self.pick(&["TerminatingOrFailed", "Failed"]),
                "template": {
                    "metadata": {"labels": {"app": "work"}},
                    "spec": {
                        "restartPolicy": policy, "automountServiceAccountToken": false,
                        "nodeSelector": {crate::known::HISTORY: "$(ns)"},
                        "containers": [{"name": "c", "image": image}],
                    },
                },
            },
        });
        Edit::Create {
            plural: "jobs",
            object,
        }
    }

    fn edits_of_job(&mut self) -> Vec<Edit> {
        let patch = |spec: Value| Edit::Patch {
            plural: "jobs",
            name: "work".to_owned(),
            patch: json!({"spec": spec}),
        };
        let edit = match self.random.random_range(0..12) {
            0 => patch(json!({"parallelism": self.random.random_range(0..2)})),
            1 => patch(json!({"suspend": true})),
            2..4 => patch(json!({"suspend": false})),
            4 => patch(json!({"backoffLimit": self.random.random_range(0..2)})),
            5 => patch(json!({"ttlSecondsAfterFinished": 0})),
            6 => patch(json!({"completions": self.random.random_range(1..4)})),
            // Nothing else ends such a Job, which would be faster or slower.
            7 if self.work == "job:long" => patch(json!({"activeDeadlineSeconds": 1})),
            8..10 => self.removal("jobs", "work"),
            10 => Edit::DeletePod(self.random.random_range(0..8)),
            _ => self.pod_edit("work"),
        };
        vec![edit]
    }

    fn new_map(&mut self) -> Edit {
        let name = self.map();
        let n_owners = self.pick(&[0_usize, 1, 1, 2]);
        let owners = (0..n_owners).map(|_| {
            let owner = self.map();
            let uid = if self.chance(6) {
                "00000000-0000-4000-8000-000000000000".to_owned()
            } else {
                format!("$(uid:{owner})")
            };
            json!({
                "apiVersion": "v1", "kind": "ConfigMap", "name": owner, "uid": uid,
                "blockOwnerDeletion": self.chance(2),
            })
        });
        let mut metadata = json!({"name": name, "ownerReferences": owners.collect::<Vec<_>>()});
        if self.chance(5) {
            metadata["finalizers"] = json!([FINALIZER]);
        }
        let object = json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": metadata});
        Edit::Create {
            plural: "configmaps",
            object,
        }
    }

    fn map(&mut self) -> String {
        self.pick(&["a", "b", "c", "d", "e", "f"]).to_owned()
    }

    fn edits_of_maps(&mut self) -> Vec<Edit> {
        let name = self.map();
        let patch = |patch: Value| Edit::Patch {
            plural: "configmaps",
            name: name.clone(),
            patch,
        };
        let edit = match self.random.random_range(0..9) {
            0..4 => self.new_map(),
            4..7 => {
                let cascade = self.pick(&CASCADES);
                Edit::Delete {
                    plural: "configmaps",
                    name,
                    cascade,
                }
            }
            7 => patch(json!({"metadata": {"finalizers": null}})),
            _ => patch(json!({"metadata": {"ownerReferences": null}})),
        };
        vec![edit]
    }
}

fn template(app: &str, image: &str) -> Value {
    json!({
        "metadata": {"labels": {"app": app}},
        "spec": {
            "automountServiceAccountToken": false,
            "nodeSelector": {crate::known::HISTORY: "$(ns)"},
            "containers": [{"name": "c", "image": image}],
        },
    })
}

fn image_patch(image: &str) -> Value {
    json!({"template": {"spec": {"containers": [{"name": "c", "image": image}]}}})
}

fn taint(effect: &str) -> Value {
    json!({"spec": {"taints": [{"key": "example.com/t", "effect": effect}]}})
}
