//! Every label, annotation, taint and finalizer key that pitstop reads or writes.

/// Label: the revision that a pod or a ControllerRevision belongs to.
pub const REVISION_HASH: &str = "controller-revision-hash";
/// Label on pods: the template generation of the DaemonSet that made them.
pub const POD_TEMPLATE_GENERATION: &str = "pod-template-generation";
/// Annotation on DaemonSets: how often the template changed.
pub const TEMPLATE_GENERATION: &str = "deprecated.daemonset.template.generation";
/// Annotation: why a revision was made, shown by `kubectl rollout history`.
pub const CHANGE_CAUSE: &str = "kubernetes.io/change-cause";
/// Annotation on a template: when `kubectl rollout restart` was typed.
pub const RESTARTED_AT: &str = "kubectl.kubernetes.io/restartedAt";
/// Annotation of client-side apply.
pub const LAST_APPLIED: &str = "kubectl.kubernetes.io/last-applied-configuration";

/// OpenYurt: the upgrade model of a DaemonSet.
pub const OPENYURT_UPDATE_STRATEGY: &str = "apps.openyurt.io/update-strategy";
/// OpenYurt: how many pods may be unavailable under `AdvancedRollingUpdate`.
pub const OPENYURT_MAX_UNAVAILABLE: &str = "apps.openyurt.io/max-unavailable";
/// Label of the Jobs that pull images ahead of an upgrade, and of their pods: `true`.
pub const IMAGE_PRE_PULL: &str = "pitstop.io/image-pre-pull";
/// Annotation of pods: what an upgrade would do, for the owner of the node. Source: hub.md B4.
pub const UPGRADE_PLAN: &str = "pitstop.io/upgrade-plan";
/// A key of an early design text that was never implemented; seen, it is worth a warning.
pub const OPENYURT_UPGRADE_STRATEGY_TYPO: &str = "apps.openyurt.io/upgrade-strategy";
/// OpenYurt: node label that names the pool of a node.
pub const OPENYURT_NODEPOOL: &str = "apps.openyurt.io/nodepool";

/// Annotation of the lease of the controllers: the feature gates of whoever holds it, as `Name=true,Other=false`.
pub const FEATURE_GATES: &str = "pitstop.io/feature-gates";

/// What our own keys begin with.
pub const OWN_PREFIX: &str = "pitstop.io/";
/// How messages name an annotation.
pub fn annotation_field(key: &str) -> String {
    format!("metadata.annotations[{key}]")
}

/// Does a label or annotation belong to Kubernetes, OpenKruise, OpenYurt or pitstop?
pub fn is_reserved(key: &str) -> bool {
    const DOMAINS: [&str; 5] = [
        "kubernetes.io",
        "k8s.io",
        "kruise.io",
        "openyurt.io",
        "pitstop.io",
    ];
    let domain = key.split_once('/').map_or("", |(domain, _)| domain);
    let is_in = |owner: &str| {
        let rest = domain.strip_suffix(owner);
        rest.is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    [REVISION_HASH, POD_TEMPLATE_HASH, POD_TEMPLATE_GENERATION].contains(&key)
        || DOMAINS.into_iter().any(is_in)
}

/// Annotation of DaemonSets, `true`: no pod is updated.
pub const PAUSED: &str = "pitstop.io/paused";
/// Annotation of DaemonSets and StatefulSets: how many pods stay at their revision, a number or a percentage.
pub const PARTITION: &str = "pitstop.io/partition";
/// Annotation of DaemonSets, a label selector: only pods on nodes that it matches are updated.
pub const CANARY_NODES: &str = "pitstop.io/canary-nodes";
/// Annotation of DaemonSets: for how many seconds a node has been ready before its pod is touched.
pub const MIN_NODE_READY_SECONDS: &str = "pitstop.io/min-node-ready-seconds";
/// Annotation of DaemonSets: how many nodes may turn NotReady after their update, a number, a percentage or `off`.
pub const NODE_LOSS_GUARD: &str = "pitstop.io/node-loss-guard";
/// Annotation of DaemonSets: how many pods of one node pool may be unavailable, a number or a percentage.
pub const MAX_UNAVAILABLE_PER_POOL: &str = "pitstop.io/max-unavailable-per-pool";
/// Annotation of DaemonSets, `adaptive`: how many pods may be unavailable grows with the pods that serve at the new revision.
pub const PACE: &str = "pitstop.io/pace";
/// Annotation of DaemonSets, `true`: images are pulled on the next nodes ahead of their turn.
pub const PREHEAT: &str = "pitstop.io/preheat";
/// Annotation of DaemonSets: `ReCreate`, `InPlaceIfPossible` or `InPlaceOnly`.
pub const POD_UPDATE_POLICY: &str = "pitstop.io/pod-update-policy";
/// Annotation of DaemonSets: after how many seconds without a move a rollout has failed.
pub const PROGRESS_DEADLINE_SECONDS: &str = "pitstop.io/progress-deadline-seconds";
/// Annotation of DaemonSets: what becomes of a rollout that has failed, `Pause`, `Rollback` or `Report`.
pub const ON_FAILURE: &str = "pitstop.io/on-failure";
/// Annotation of DaemonSets, a time as in RFC 3339: what stopped a rollout before it does not count any more.
pub const RESUMED_AT: &str = "pitstop.io/resumed-at";

/// Taint of a node whose Ready condition is False.
pub const TAINT_NOT_READY: &str = "node.kubernetes.io/not-ready";
/// Taint of a node whose Ready condition is Unknown.
pub const TAINT_UNREACHABLE: &str = "node.kubernetes.io/unreachable";
/// Taint of a node short of disk.
pub const TAINT_DISK_PRESSURE: &str = "node.kubernetes.io/disk-pressure";
/// Taint of a node short of memory.
pub const TAINT_MEMORY_PRESSURE: &str = "node.kubernetes.io/memory-pressure";
/// Taint of a node short of process ids.
pub const TAINT_PID_PRESSURE: &str = "node.kubernetes.io/pid-pressure";
/// Taint of a cordoned node.
pub const TAINT_UNSCHEDULABLE: &str = "node.kubernetes.io/unschedulable";
/// Taint of a node without a network.
pub const TAINT_NETWORK_UNAVAILABLE: &str = "node.kubernetes.io/network-unavailable";
/// Taint and label of control-plane nodes.
pub const NODE_ROLE_CONTROL_PLANE: &str = "node-role.kubernetes.io/control-plane";

/// Label of nodes: their host name.
pub const HOSTNAME: &str = "kubernetes.io/hostname";
/// Label of nodes: operating system.
pub const OS: &str = "kubernetes.io/os";
/// Label of nodes: processor architecture.
pub const ARCH: &str = "kubernetes.io/arch";
/// Labels in the domains of Kubernetes that a node may give itself.
pub const OWN_NODE_LABELS: [&str; 14] = [
    HOSTNAME,
    OS,
    ARCH,
    "kubernetes.io/instance-type",
    "beta.kubernetes.io/os",
    "beta.kubernetes.io/arch",
    "beta.kubernetes.io/instance-type",
    "node.kubernetes.io/instance-type",
    "node.kubernetes.io/windows-build",
    "failure-domain.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/zone",
    "failure-domain.beta.kubernetes.io/region",
    "topology.kubernetes.io/zone",
    "topology.kubernetes.io/region",
];
/// Annotation of pods that a node found on its own disk.
pub const MIRROR_POD: &str = "kubernetes.io/config.mirror";
/// Label of namespaces: their own name.
pub const NAMESPACE_NAME: &str = "kubernetes.io/metadata.name";

/// Finalizer: dependents are deleted first.
pub const FINALIZER_FOREGROUND: &str = "foregroundDeletion";
/// Finalizer: dependents are released first.
pub const FINALIZER_ORPHAN: &str = "orphan";

/// Simulated nodes: cut a node off (`disconnected`) or connect it again (`connected`). embedded-cluster.md 17.6.
pub const SIM_NETWORK: &str = "sim.pitstop.io/network";
/// Annotation of a simulated Node: address and port of its hub.
pub const SIM_HUB: &str = "sim.pitstop.io/hub";
/// Annotation of a Node that a fleet of simulated nodes plays: `true`.
pub const SIM_SIMULATED: &str = "sim.pitstop.io/simulated";
/// Annotation of a Node or Pod: a JSON list of image profiles that come before the shipped ones.
pub const SIM_IMAGE_PROFILE: &str = "sim.pitstop.io/image-profile";
/// Annotation of a Pod: end it well after this many seconds.
pub const SIM_RUN_FOR: &str = "sim.pitstop.io/run-for";
/// Annotation of a Node, `true`: its kubelet reports that it is not ready.
pub const SIM_NOT_READY: &str = "sim.pitstop.io/not-ready";
/// Annotation of a Node, `true`: no agents run beside its kubelet, which pull images ahead and restart containers whose
/// environment changed.
pub const SIM_NO_AGENTS: &str = "sim.pitstop.io/no-agents";
/// Annotation of a Node, `true`: its kubelet reports that it is short of disk, and its agent pulls nothing ahead.
pub const SIM_DISK_PRESSURE: &str = "sim.pitstop.io/disk-pressure";
/// Annotation of a Pod, `true`: its containers fail their readiness probes.
pub const SIM_FAIL_READY: &str = "sim.pitstop.io/fail-ready";
/// Annotation of a Service: `host:port` where webhooks that are called through it listen. embedded-cluster.md 13.
pub const SIM_ADDRESS: &str = "sim.pitstop.io/address";
/// Provisioner of the volumes that the embedded cluster makes for claims without a class.
pub const SIM_PROVISIONER: &str = "pitstop.io/simulated";
/// Simulated nodes: annotation prefix of everything a person can make a simulated node do.
pub const SIM_PREFIX: &str = "sim.pitstop.io/";
/// Annotation watch bookmarks carry at the end of the initial list.
pub const INITIAL_EVENTS_END: &str = "k8s.io/initial-events-end";

/// The characters of generated name suffixes and revision hashes.
///
/// Source: daemonset.md A4.
pub const SAFE_ALPHABET: &str = "bcdfghjklmnpqrstvwxz2456789";

/// Label of ReplicaSets and their pods: the template of a Deployment that they are made of.
pub const POD_TEMPLATE_HASH: &str = "pod-template-hash";
/// Annotation of Deployments and ReplicaSets: the number of the revision.
pub const DEPLOYMENT_REVISION: &str = "deployment.kubernetes.io/revision";
/// Annotation of ReplicaSets: revisions that they were before.
pub const DEPLOYMENT_REVISION_HISTORY: &str = "deployment.kubernetes.io/revision-history";
/// Annotation of ReplicaSets: how many replicas their Deployment wanted when they were last scaled.
pub const DEPLOYMENT_DESIRED_REPLICAS: &str = "deployment.kubernetes.io/desired-replicas";
/// Annotation of ReplicaSets: how many replicas their Deployment could have had at most, surge included, then.
pub const DEPLOYMENT_MAX_REPLICAS: &str = "deployment.kubernetes.io/max-replicas";
/// Annotation of Deployments of old API versions: the revision to go back to.
pub const DEPLOYMENT_ROLLBACK_TO: &str = "deprecated.deployment.rollback.to";
/// Annotation of pods: those of a lower cost go first when a ReplicaSet shrinks.
pub const POD_DELETION_COST: &str = "controller.kubernetes.io/pod-deletion-cost";
/// Label of the pods of a Job: its uid.
pub const CONTROLLER_UID: &str = "batch.kubernetes.io/controller-uid";
/// Label of the pods of a Job: its name.
pub const JOB_NAME: &str = "batch.kubernetes.io/job-name";
/// The same under its old key.
pub const CONTROLLER_UID_OLD: &str = "controller-uid";
/// The same under its old key.
pub const JOB_NAME_OLD: &str = "job-name";
/// Finalizer of the pods of a Job: it holds them until they are counted.
pub const FINALIZER_JOB_TRACKING: &str = "batch.kubernetes.io/job-tracking";
/// Annotation and label of the pods of an Indexed Job: which of its completions they are.
pub const JOB_COMPLETION_INDEX: &str = "batch.kubernetes.io/job-completion-index";
/// Label of Endpoints: who looks after them.
pub const ENDPOINTS_MANAGED_BY: &str = "endpoints.kubernetes.io/managed-by";
/// Label of EndpointSlices: who looks after them.
pub const SLICE_MANAGED_BY: &str = "endpointslice.kubernetes.io/managed-by";
/// Label of EndpointSlices: the service that they belong to.
pub const SERVICE_NAME: &str = "kubernetes.io/service-name";
/// Label of the lists of a service without an address of its own.
pub const HEADLESS: &str = "service.kubernetes.io/headless";

/// Where version 1 of autoscalers keeps the metrics for which it has no field, as JSON. Source: Kubernetes 1.34.
pub const AUTOSCALER_METRICS: &str = "autoscaling.alpha.kubernetes.io/metrics";
/// The same of how fast they act.
pub const AUTOSCALER_BEHAVIOR: &str = "autoscaling.alpha.kubernetes.io/behavior";
/// The same of what was measured.
pub const AUTOSCALER_CURRENT_METRICS: &str = "autoscaling.alpha.kubernetes.io/current-metrics";
/// The same of the conditions.
pub const AUTOSCALER_CONDITIONS: &str = "autoscaling.alpha.kubernetes.io/conditions";

/// Label of CloneSets of v1alpha1, `true`: pods that prepare for their deletion are no longer counted as replicas.
/// Source: cloneset.md 1.2.
pub const EXCLUDE_PREPARING_DELETE: &str = "apps.kruise.io/cloneset-scaling-exclude-preparing-delete";
/// Annotation of workloads: on how many nodes at once images are pulled ahead. Source: inplace.md 3.
pub const PRE_DOWNLOAD_PARALLELISM: &str = "apps.kruise.io/image-predownload-parallelism";
/// Annotation of workloads: how long pulling images ahead may take, in seconds.
pub const PRE_DOWNLOAD_TIMEOUT_SECONDS: &str = "apps.kruise.io/image-predownload-timeout-seconds";
/// Annotation of workloads: how many updated pods have to be ready before images are pulled ahead.
pub const PRE_DOWNLOAD_MIN_UPDATED_READY_PODS: &str =
    "apps.kruise.io/image-predownload-min-updated-ready-pods";
/// Label of ControllerRevisions, `true`: the jobs that pull their images ahead were made. Source: inplace.md 2, where the
/// doubled "pre" is real.
pub const PRE_DOWNLOAD_CREATED: &str = "apps.kruise.io/pre-predownload-created";
/// Label of ControllerRevisions, `true`: nothing is gained by pulling their images ahead.
pub const PRE_DOWNLOAD_IGNORED: &str = "apps.kruise.io/image-predownload-ignored";
/// Finalizer of ImagePullJobs: it holds them until their secrets are released.
pub const FINALIZER_IMAGE_PULL_JOB: &str = "apps.kruise.io/deletion-protection";
/// Annotation of copied secrets: namespace and name of the secret that they are a copy of. Source: inplace.md 2.
pub const SECRET_SOURCE: &str = "imagepulljobs.kruise.io/source-key";
/// Annotation of copied secrets: the uids of the jobs that use them, separated by commas.
pub const SECRET_REFERENCES: &str = "imagepulljobs.kruise.io/references";
/// Annotation of copied secrets: `batch`.
pub const SECRET_MODE: &str = "imagepulljobs.kruise.io/mode";
/// Annotation of the sandbox that a runtime pulls an image for: who pulls it.
pub const PULLING_IMAGE_BY: &str = "apps.kruise.io/pulling-image-by";
/// Label of nodes that have no kubelet: `virtual-kubelet`. Source: inplace.md 11.4.
pub const NODE_TYPE: &str = "type";
/// Label of NodeImages that stay without a node.
pub const FAKE_NODE_IMAGE: &str = "apps.kruise.io/fake-nodeimage";
/// Label of objects that must not be deleted: `Always`, or `Cascading` while they have replicas.
pub const DELETE_PROTECTION: &str = "policy.kruise.io/delete-protection";
/// Annotation of CloneSets in v1beta1: what their v1alpha1 form says beyond it, as JSON. Source: cloneset.md 18.3.
pub const CLONESET_V1ALPHA1: &str = "pitstop.io/cloneset-v1alpha1";
/// Annotation of CloneSets in v1alpha1: what their v1beta1 form says beyond it, as JSON. Source: cloneset.md 18.3.
pub const CLONESET_V1BETA1: &str = "pitstop.io/cloneset-v1beta1";
/// Annotation of pods: how far the update in place is that was begun last, as JSON. Source: inplace.md 2.1.
pub const INPLACE_STATE: &str = "apps.kruise.io/inplace-update-state";
/// The same under its old key.
pub const INPLACE_STATE_OLD: &str = "inplace-update-state";
/// Annotation of pods: the update in place that waits for the end of a grace period, as JSON. Source: inplace.md 2.2.
pub const INPLACE_GRACE: &str = "apps.kruise.io/inplace-update-grace";
/// The same under its old key.
pub const INPLACE_GRACE_OLD: &str = "inplace-update-grace";
/// Annotation of pods: what an agent on the node says of the containers that run. Source: inplace.md 2.3.
pub const RUNTIME_CONTAINERS: &str = "apps.kruise.io/runtime-containers-meta";
/// Label of pods: where they are between their hooks. Source: inplace.md 7.
pub const LIFECYCLE_STATE: &str = "lifecycle.apps.kruise.io/state";
/// Annotation of pods: when that changed last.
pub const LIFECYCLE_TIMESTAMP: &str = "lifecycle.apps.kruise.io/timestamp";
/// Environment variable by which users order the start of containers: the highest number first, 0 where it is absent.
/// Source: inplace.md 2.3, 4.2.
pub const CONTAINER_PRIORITY: &str = "KRUISE_CONTAINER_PRIORITY";
/// Annotation of pods: with the value `Ordered`, containers start in the order of the spec.
pub const CONTAINER_LAUNCH_PRIORITY: &str = "apps.kruise.io/container-launch-priority";
/// Environment variable that the admission of `OpenKruise` makes of them.
pub const CONTAINER_BARRIER: &str = "KRUISE_CONTAINER_BARRIER";
/// What comes before that number in the key that the variable names.
pub const BARRIER_PREFIX: &str = "p_";
/// Environment variables that name metadata and are not part of an update. Source: inplace.md 3.
pub const SIDECAR_VERSIONS: [&str; 2] = ["SIDECARSET_VERSION", "SIDECARSET_VERSION_ALT"];
/// Annotation of ControllerRevisions of CloneSets: a hash of the claim templates. Source: cloneset.md 3.
pub const CLAIM_TEMPLATES_HASH: &str = "kruise.io/cloneset-volumeclaimtemplate-hash";
/// Label of pods and claims of CloneSets: which instance they are. Source: cloneset.md 3.
pub const INSTANCE_ID: &str = "apps.kruise.io/cloneset-instance-id";
/// Label of pods that are to be deleted; its value does not matter.
pub const SPECIFIED_DELETE: &str = "apps.kruise.io/specified-delete";
/// Label of ControllerRevisions: the hash of their data.
pub const REVISION_DATA_HASH: &str = "controller.kubernetes.io/hash";

/// Annotation of DaemonSets of `apps.kruise.io` in v1alpha1, `true`: what v1beta1 calls `partitionedScaling`. Source:
/// daemonset.md D1.
pub const PROGRESSIVE_CREATE_POD: &str = "daemonset.kruise.io/progressive-create-pod";

/// Annotation of DaemonSets of `apps.kruise.io`, `true`: nodes that are not ready take no part in a rolling update. Upstream
/// has after v1.9 a gate of the whole controller, `DaemonSetPruneIneligibleNodes`, for nodes that should run no pod. Source:
/// daemonset.md D2.
pub const IGNORE_NOT_READY_NODES: &str = "pitstop.io/ignore-not-ready-nodes";

/// Label of pods of StatefulSets: their own name.
pub const STATEFUL_POD_NAME: &str = "statefulset.kubernetes.io/pod-name";
/// Label of pods of StatefulSets: their ordinal.
pub const POD_INDEX: &str = "apps.kubernetes.io/pod-index";
/// Annotation of claims: the StatefulSet that grows them. Source: statefulset.md 8.
pub const OWNED_BY_STATEFULSET: &str = "apps.kruise.io/owned-by-asts";
/// Annotation of StatefulSets: `protection` as JSON, for clusters whose definition of the kind lacks the field. Source:
/// statefulset.md 16.1.
pub const UPDATE_PROTECTION: &str = "pitstop.io/update-protection";
/// Annotation of StatefulSets: `status.protection` as JSON, for clusters whose definition of the kind lacks the field. Source:
/// statefulset.md 16.5.
pub const PROTECTION_STATUS: &str = "pitstop.io/protection-status";
/// Name of the webhook that is asked about evictions of pods. Source: statefulset.md 16.1, `evictionGuard`.
pub const EVICTION_WEBHOOK: &str = "evictions.pitstop.io";
/// Annotation of pods, `protected` or `idle`: it outranks the arbiter. Source: statefulset.md 16.2.
pub const ARBITER_OVERRIDE: &str = "pitstop.io/arbiter-override";
/// Annotation of StatefulSets, `false`: a pod of a broken revision is left in the way of those that come one after the
/// other. Source: statefulset.md 15.1 row 8.
pub const REPLACE_BROKEN: &str = "pitstop.io/replace-broken-pods";
/// Annotation of StatefulSets in v1alpha1: what their v1beta1 form says beyond it, as JSON. Source: statefulset.md 2.5.
pub const STATEFULSET_V1BETA1: &str = "pitstop.io/v1beta1-spec";

/// Annotation of the Secret with the certificate of the webhooks: when the authority ends.
pub const WEBHOOK_AUTHORITY_ENDS: &str = "pitstop.io/webhook-authority-ends";
/// The same of the authority before, which is still trusted.
pub const WEBHOOK_FORMER_AUTHORITY_ENDS: &str = "pitstop.io/webhook-former-authority-ends";
/// The same of the certificate.
pub const WEBHOOK_CERTIFICATE_ENDS: &str = "pitstop.io/webhook-certificate-ends";
/// Annotation of that Secret: whom the certificate stands for, separated by commas.
pub const WEBHOOK_NAMES: &str = "pitstop.io/webhook-names";
