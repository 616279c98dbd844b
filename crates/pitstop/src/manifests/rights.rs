//! Every right that the controllers use, and what for.

use pitstop_api::image_pull::SECRETS_NAMESPACE;
use pitstop_controller::Controller;
use pitstop_controller::Controller::{
    AdvancedDaemonSet, CloneSet, DaemonPodUpdater, ImagePullJob, NativeDaemonSet, StatefulSet,
};

use super::tree::{Tree, flow, list, map};

/// Where the lease is. Source: design.md section 4, one controller at a time.
pub(super) const LEASE_NAMESPACE: &str = "kube-system";

/// Where a right holds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Scope {
    /// In all namespaces, or on what lives in none: granted by the cluster role.
    Cluster,
    /// In this namespace alone: granted by the role there.
    Namespace(&'static str),
}

/// One right: a verb on a resource.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Rule {
    /// The verb, as in RBAC.
    pub verb: &'static str,
    /// The API group; empty for the core group.
    pub group: &'static str,
    /// The resource, plural.
    pub resource: &'static str,
    /// The subresource; empty for the resource itself.
    pub subresource: &'static str,
    /// The only object that it is about; empty for any.
    pub name: &'static str,
    /// Where it holds.
    pub scope: Scope,
    /// Which controllers use it.
    pub used_by: &'static [Controller],
    /// What they use it for.
    pub purpose: &'static str,
}

impl Rule {
    /// The resource as a role names it: `daemonsets/status`.
    pub fn path(&self) -> String {
        if self.subresource.is_empty() {
            self.resource.to_owned()
        } else {
            format!("{}/{}", self.resource, self.subresource)
        }
    }

    /// May the two be one entry of a role?
    fn is_like(&self, other: &Self) -> bool {
        self.purpose == other.purpose
            && Self {
                verb: self.verb,
                ..*other
            } == *self
    }
}

const ALL: &[Controller] = &Controller::ALL;
const DAEMONS: &[Controller] = &[NativeDaemonSet, DaemonPodUpdater];
/// Those that make pods, and write the revisions that they are made from.
const MAKERS: &[Controller] = &[NativeDaemonSet, AdvancedDaemonSet, CloneSet, StatefulSet];
/// Those that change pods.
const CHANGERS: &[Controller] = &[
    NativeDaemonSet,
    DaemonPodUpdater,
    AdvancedDaemonSet,
    CloneSet,
    StatefulSet,
];
/// Those that write conditions of pods.
const TELLERS: &[Controller] = &[DaemonPodUpdater, AdvancedDaemonSet, CloneSet, StatefulSet];
/// Those that make pods owners of what goes with them.
const LEAVERS: &[Controller] = &[DaemonPodUpdater, CloneSet, StatefulSet];
const UPDATER: &[Controller] = &[DaemonPodUpdater];
const NATIVE: &[Controller] = &[NativeDaemonSet];
const ADVANCED: &[Controller] = &[AdvancedDaemonSet];
const CLONES: &[Controller] = &[CloneSet];
const STATEFUL: &[Controller] = &[StatefulSet];
/// Those whose pods have identities of their own, and claims with them.
const INSTANCES: &[Controller] = &[CloneSet, StatefulSet];
/// Those that have images pulled ahead.
const PULLERS: &[Controller] = &[ImagePullJob];

/// A right in all namespaces on `resource` or `resource/subresource`.
const fn cluster(
    used_by: &'static [Controller],
    verb: &'static str,
    group: &'static str,
    (resource, subresource): (&'static str, &'static str),
    purpose: &'static str,
) -> Rule {
    Rule {
        verb,
        group,
        resource,
        subresource,
        name: "",
        scope: Scope::Cluster,
        used_by,
        purpose,
    }
}

/// A right on the Lease `name`.
const fn lease(
    used_by: &'static [Controller],
    verb: &'static str,
    name: &'static str,
    purpose: &'static str,
) -> Rule {
    Rule {
        verb,
        group: "coordination.k8s.io",
        resource: "leases",
        subresource: "",
        name,
        scope: Scope::Namespace(LEASE_NAMESPACE),
        used_by,
        purpose,
    }
}

/// A right on the copies of secrets that nodes may read.
const fn copied_secret(verb: &'static str) -> Rule {
    Rule {
        verb,
        group: "",
        resource: "secrets",
        subresource: "",
        name: "",
        scope: Scope::Namespace(SECRETS_NAMESPACE),
        used_by: PULLERS,
        purpose: COPY_SECRETS,
    }
}

const DAEMONSETS: (&str, &str) = ("daemonsets", "");
const KRUISE: &str = "apps.kruise.io";
const CLONESETS: (&str, &str) = ("clonesets", "");
const STATEFULSETS: (&str, &str) = ("statefulsets", "");
const PULL_JOBS: (&str, &str) = ("imagepulljobs", "");
const NODE_IMAGES: (&str, &str) = ("nodeimages", "");
const CLAIMS: (&str, &str) = ("persistentvolumeclaims", "");
const REVISIONS: (&str, &str) = ("controllerrevisions", "");
const PODS: (&str, &str) = ("pods", "");
const NODES: (&str, &str) = ("nodes", "");
const JOBS: (&str, &str) = ("jobs", "");
const EVENTS: (&str, &str) = ("events", "");

const FOLLOW_CLAIMS: &str = "know which claims belong to which instance";
const FOLLOW_DAEMONSETS: &str = "follow the workloads and what they ask for";
const FOLLOW_REVISIONS: &str = "know which revision is the newest";
const FOLLOW_PODS: &str = "know which pods are outdated, and how many are available";
const FOLLOW_NODES: &str = "know which nodes are ready, and which should run a pod";
const PULL_IMAGES: &str = "pull the images of a new revision ahead, where the owner of a node asks for it";
const FOLLOW_PULLS: &str = "know which images nodes are to pull, and how far they are";
const MAKE_PULL_JOBS: &str =
    "have the images of a workload pulled before it restarts containers, and stop that when it has";
const KEEP_NODE_IMAGES: &str = "keep one list of images for each node, and add to it and take out of it";
const COPY_SECRETS: &str = "copy the secrets that ImagePullJobs name to where the nodes may read them";
const TELL: &str = "tell in `kubectl describe` what was done and what was refused";
const HOLD_LEASE: &str = "hold the lease, so that only one controller works at a time";
const HAVE_LEASE: &str =
    "make the lease where there is none; a name cannot be asked for before the object is there";

/// All rights, in the order in which they are printed. No wildcard: each stands for requests that the code sends.
const RULES: &[Rule] = &[
    cluster(DAEMONS, "list", "apps", DAEMONSETS, FOLLOW_DAEMONSETS),
    cluster(DAEMONS, "watch", "apps", DAEMONSETS, FOLLOW_DAEMONSETS),
    cluster(
        NATIVE,
        "get",
        "apps",
        DAEMONSETS,
        "make sure that a DaemonSet still exists before something is adopted or a collision is counted for it",
    ),
    cluster(
        DAEMONS,
        "patch",
        "apps",
        ("daemonsets", "status"),
        "write how far the rollout is",
    ),
    cluster(
        UPDATER,
        "patch",
        "apps",
        DAEMONSETS,
        "put the template of the revision before back, where pitstop.io/on-failure: Rollback asks for it",
    ),
    cluster(
        NATIVE,
        "update",
        "apps",
        ("daemonsets", "finalizers"),
        "name the DaemonSet as owner that waits for its pods, where OwnerReferencesPermissionEnforcement is on",
    ),
    cluster(ADVANCED, "list", KRUISE, DAEMONSETS, FOLLOW_DAEMONSETS),
    cluster(ADVANCED, "watch", KRUISE, DAEMONSETS, FOLLOW_DAEMONSETS),
    cluster(
        ADVANCED,
        "get",
        KRUISE,
        DAEMONSETS,
        "make sure that a DaemonSet still exists before something is adopted or a collision is counted for it",
    ),
    cluster(
        ADVANCED,
        "patch",
        KRUISE,
        ("daemonsets", "status"),
        "write how far the rollout is",
    ),
    cluster(
        ADVANCED,
        "update",
        KRUISE,
        ("daemonsets", "finalizers"),
        "name the DaemonSet as owner that waits for its pods, where OwnerReferencesPermissionEnforcement is on",
    ),
    cluster(CLONES, "list", KRUISE, CLONESETS, FOLLOW_DAEMONSETS),
    cluster(CLONES, "watch", KRUISE, CLONESETS, FOLLOW_DAEMONSETS),
    cluster(
        CLONES,
        "patch",
        KRUISE,
        CLONESETS,
        "take names out of podsToDelete that are those of no pod any more",
    ),
    cluster(
        CLONES,
        "patch",
        KRUISE,
        ("clonesets", "status"),
        "write how far the rollout is",
    ),
    cluster(
        CLONES,
        "update",
        KRUISE,
        ("clonesets", "finalizers"),
        "name the CloneSet as owner that waits for its pods, where OwnerReferencesPermissionEnforcement is on",
    ),
    cluster(STATEFUL, "list", KRUISE, STATEFULSETS, FOLLOW_DAEMONSETS),
    cluster(STATEFUL, "watch", KRUISE, STATEFULSETS, FOLLOW_DAEMONSETS),
    cluster(
        STATEFUL,
        "get",
        KRUISE,
        STATEFULSETS,
        "make sure that a StatefulSet still exists before something is adopted for it, and know what it protects from eviction",
    ),
    cluster(
        STATEFUL,
        "patch",
        KRUISE,
        ("statefulsets", "status"),
        "write how far the rollout is",
    ),
    cluster(
        STATEFUL,
        "patch",
        KRUISE,
        STATEFULSETS,
        "say in an annotation what is protected, where the definition of the kind has no field for it",
    ),
    cluster(
        STATEFUL,
        "get",
        "",
        ("services", ""),
        "find the arbiter that update protection names",
    ),
    cluster(
        STATEFUL,
        "update",
        KRUISE,
        ("statefulsets", "finalizers"),
        "name the StatefulSet as owner that waits for its pods, where OwnerReferencesPermissionEnforcement is on",
    ),
    cluster(ALL, "list", "apps", REVISIONS, FOLLOW_REVISIONS),
    cluster(ALL, "watch", "apps", REVISIONS, FOLLOW_REVISIONS),
    cluster(
        MAKERS,
        "get",
        "apps",
        REVISIONS,
        "look at the revision that already has the name of a new one",
    ),
    cluster(MAKERS, "create", "apps", REVISIONS, "write a new revision"),
    cluster(
        MAKERS,
        "patch",
        "apps",
        REVISIONS,
        "number, label, adopt and release revisions",
    ),
    cluster(
        MAKERS,
        "delete",
        "apps",
        REVISIONS,
        "keep no more history than revisionHistoryLimit",
    ),
    cluster(ALL, "list", "", PODS, FOLLOW_PODS),
    cluster(ALL, "watch", "", PODS, FOLLOW_PODS),
    cluster(ALL, "delete", "", PODS, "replace outdated pods"),
    cluster(
        ALL,
        "get",
        "",
        PODS,
        "find out what became of a pod whose creation or deletion was not answered",
    ),
    cluster(MAKERS, "create", "", PODS, "make pods"),
    cluster(
        CHANGERS,
        "patch",
        "",
        PODS,
        "label, adopt and release pods, and change images in place",
    ),
    cluster(
        INSTANCES,
        "patch",
        "",
        ("pods", "resize"),
        "change cpu and memory in place",
    ),
    cluster(
        TELLERS,
        "patch",
        "",
        ("pods", "status"),
        "say on each pod whether a newer revision waits, and take it out of service before it changes",
    ),
    cluster(
        LEAVERS,
        "update",
        "",
        ("pods", "finalizers"),
        "name the pod as owner that waits for its image pulls and claims, where OwnerReferencesPermissionEnforcement is on",
    ),
    cluster(INSTANCES, "list", "", CLAIMS, FOLLOW_CLAIMS),
    cluster(INSTANCES, "watch", "", CLAIMS, FOLLOW_CLAIMS),
    cluster(
        INSTANCES,
        "create",
        "",
        CLAIMS,
        "make the claims of an instance before its pod",
    ),
    cluster(
        INSTANCES,
        "patch",
        "",
        CLAIMS,
        "leave a claim to whom it goes with, and let it grow",
    ),
    cluster(
        INSTANCES,
        "delete",
        "",
        CLAIMS,
        "delete the claims of a pod with it, or leave them to it, where OwnerReferencesPermissionEnforcement is on",
    ),
    cluster(
        STATEFUL,
        "list",
        "storage.k8s.io",
        ("storageclasses", ""),
        "know which claims may grow, where StatefulSetAutoResizePVCGate is on",
    ),
    cluster(UPDATER, "list", "batch", JOBS, PULL_IMAGES),
    cluster(UPDATER, "watch", "batch", JOBS, PULL_IMAGES),
    cluster(UPDATER, "create", "batch", JOBS, PULL_IMAGES),
    cluster(UPDATER, "delete", "batch", JOBS, PULL_IMAGES),
    cluster(PULLERS, "list", KRUISE, PULL_JOBS, FOLLOW_PULLS),
    cluster(PULLERS, "watch", KRUISE, PULL_JOBS, FOLLOW_PULLS),
    cluster(PULLERS, "create", KRUISE, PULL_JOBS, MAKE_PULL_JOBS),
    cluster(PULLERS, "delete", KRUISE, PULL_JOBS, MAKE_PULL_JOBS),
    cluster(
        PULLERS,
        "patch",
        KRUISE,
        PULL_JOBS,
        "hold a job until the copies of its secrets are released",
    ),
    cluster(
        PULLERS,
        "patch",
        KRUISE,
        ("imagepulljobs", "status"),
        "write how far a job is",
    ),
    cluster(PULLERS, "list", KRUISE, NODE_IMAGES, FOLLOW_PULLS),
    cluster(PULLERS, "watch", KRUISE, NODE_IMAGES, FOLLOW_PULLS),
    cluster(PULLERS, "create", KRUISE, NODE_IMAGES, KEEP_NODE_IMAGES),
    cluster(PULLERS, "patch", KRUISE, NODE_IMAGES, KEEP_NODE_IMAGES),
    cluster(PULLERS, "delete", KRUISE, NODE_IMAGES, KEEP_NODE_IMAGES),
    cluster(
        PULLERS,
        "patch",
        KRUISE,
        ("nodeimages", "status"),
        "say of a node that has not answered for long that it failed",
    ),
    cluster(
        PULLERS,
        "get",
        "",
        ("secrets", ""),
        "read the secrets that ImagePullJobs name",
    ),
    copied_secret("create"),
    copied_secret("patch"),
    copied_secret("delete"),
    cluster(ALL, "list", "", NODES, FOLLOW_NODES),
    cluster(ALL, "watch", "", NODES, FOLLOW_NODES),
    cluster(ALL, "create", "", EVENTS, TELL),
    cluster(ALL, "patch", "", EVENTS, TELL),
    lease(ALL, "get", "pitstop-controller", HOLD_LEASE),
    lease(ALL, "patch", "pitstop-controller", HOLD_LEASE),
    lease(ALL, "create", "", HAVE_LEASE),
    lease(
        NATIVE,
        "get",
        "kube-controller-manager",
        "refuse to work beside a DaemonSet controller that the cluster already has",
    ),
];

const RUN_COMMANDS: &str = "ask instances whether they work, where arbiter.exec names the command; whoever may do this, may do in pods what their \
     containers may";

/// What is needed only where the arbiter of a StatefulSet is a command in its pods. It is much, so it is asked for
/// explicitly.
pub(super) const COMMANDS: &[Rule] = &[
    cluster(STATEFUL, "get", "", ("pods", "exec"), RUN_COMMANDS),
    // API servers from 1.35 on ask for this one.
    cluster(STATEFUL, "create", "", ("pods", "exec"), RUN_COMMANDS),
];

/// All rights that any controller uses, in the order in which they are printed.
pub fn rules() -> &'static [Rule] {
    RULES
}

/// The rights that these controllers use.
pub fn rules_for(controllers: &[Controller]) -> impl Iterator<Item = &'static Rule> {
    RULES
        .iter()
        .filter(|rule| rule.used_by.iter().any(|user| controllers.contains(user)))
}

/// Entries of a role: neighbours with the same resource and purpose share one, under that purpose as comment.
pub(super) fn to_tree(rules: &[&Rule]) -> Tree {
    let entries = rules.chunk_by(|a, b| a.is_like(b)).filter_map(|alike| {
        let rule = alike.first()?;
        let mut entry = vec![
            ("apiGroups", flow([rule.group])),
            ("resources", flow([rule.path()])),
        ];
        if !rule.name.is_empty() {
            entry.push(("resourceNames", flow([rule.name])));
        }
        entry.push(("verbs", flow(alike.iter().map(|rule| rule.verb))));
        Some(map(entry).why(rule.purpose))
    });
    list(entries)
}
