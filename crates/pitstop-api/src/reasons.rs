//! Every condition type, event reason and event source that pitstop writes.

/// Event source of the native DaemonSet controller.
pub const SOURCE_DAEMONSET: &str = "daemonset-controller";
/// Event source of AdvancedRollingUpdate and OTA.
pub const SOURCE_POD_UPDATER: &str = "daemon-pod-updater-controller";

/// A pod was created.
pub const SUCCESSFUL_CREATE: &str = "SuccessfulCreate";
/// A pod could not be created.
pub const FAILED_CREATE: &str = "FailedCreate";
/// A pod was deleted.
pub const SUCCESSFUL_DELETE: &str = "SuccessfulDelete";
/// A pod could not be deleted.
pub const FAILED_DELETE: &str = "FailedDelete";
/// A pod of phase Failed is deleted so that it is made again.
pub const FAILED_DAEMON_POD: &str = "FailedDaemonPod";
/// A pod of phase Succeeded is deleted so that it is made again.
pub const SUCCEEDED_DAEMON_POD: &str = "SucceededDaemonPod";
/// The selector of a DaemonSet is empty.
pub const SELECTING_ALL: &str = "SelectingAll";

/// `apps.openyurt.io/update-strategy` names no known model.
pub const INVALID_UPDATE_STRATEGY: &str = "InvalidUpdateStrategy";
/// A model is named, but `spec.updateStrategy.type` is not OnDelete.
pub const UPDATE_STRATEGY_NOT_ON_DELETE: &str = "UpdateStrategyNotOnDelete";
/// An annotation does not parse.
pub const INVALID_ANNOTATION: &str = "InvalidAnnotation";
/// `max-unavailable` is written as zero and read as the default.
pub const MAX_UNAVAILABLE_IGNORED: &str = "MaxUnavailableIgnored";
/// The strategy was written as its alias.
pub const STRATEGY_ALIAS: &str = "StrategyAlias";
/// A rollout under AdvancedRollingUpdate began or ended.
pub const UPGRADE_PROGRESS: &str = "UpgradeProgress";
/// Our own keys are on a DaemonSet whose pods its own controller replaces.
pub const NEEDS_ON_DELETE: &str = "NeedsOnDelete";
/// Our own keys are on a DaemonSet that does not ask for AdvancedRollingUpdate.
pub const NEEDS_UPDATE_STRATEGY: &str = "NeedsUpdateStrategy";
/// A rollout that made no progress goes back to the revision before.
pub const ROLLING_BACK: &str = "RollingBack";
/// A right of ours is missing, so nothing becomes of the workload.
pub const NOT_ALLOWED: &str = "NotAllowed";

/// Pod and node condition: ready to serve.
pub const READY: &str = "Ready";
/// Pod condition: OTA, a newer revision waits.
pub const POD_NEED_UPGRADE: &str = "PodNeedUpgrade";
/// Pod condition: OTA, the images of the revision that waits are on the node.
pub const POD_IMAGE_READY: &str = "PodImageReady";
/// Pod condition: OTA, the owner of the node has asked for the upgrade through a hub that may not delete pods.
pub const UPGRADE_REQUESTED: &str = "pitstop.io/UpgradeRequested";
/// Why an upgrade is not requested any more: it is done.
pub const UPGRADED: &str = "Upgraded";
/// Why nothing moves: under OTA nobody has asked for the revision on the nodes that are left.
pub const WAITING_FOR_OWNER: &str = "WaitingForOwner";
/// Why an image is ready: it was pulled.
pub const PULL_IMAGE_SUCCESS: &str = "PullImageSuccess";
/// Why an image is not ready: it could not be pulled.
pub const PULL_IMAGE_FAIL: &str = "PullImageFail";
/// Why an image is not ready: it is being pulled.
pub const WAIT_PULL_IMAGE: &str = "WaitPullImage";
/// Pod condition: OTA, the owner has agreed and the hub waits for what its reason names: consent, a window, a gate.
pub const UPGRADE_PENDING: &str = "pitstop.io/UpgradePending";
/// Event source of the hub of a node.
pub const SOURCE_HUB: &str = "pitstop-hub";
/// The owner of a node starts an upgrade.
pub const UPGRADE_STARTED: &str = "UpgradeStarted";
/// An upgrade waits for someone's consent on the node.
pub const UPGRADE_NEEDS_CONSENT: &str = "UpgradeNeedsConsent";
/// An upgrade that the owner of a node started has failed.
pub const UPGRADE_FAILED: &str = "UpgradeFailed";
/// An upgrade that the owner of a node asked for was not possible within its time.
pub const UPGRADE_EXPIRED: &str = "UpgradeExpired";
/// No controller reacts to an upgrade that the owner of a node asked for.
pub const UPGRADE_STALLED: &str = "UpgradeStalled";

/// Pod condition and readiness gate: no update in place is under way. Source: inplace.md 2.
pub const INPLACE_UPDATE_READY: &str = "InPlaceUpdateReady";
/// Why it is False.
pub const START_INPLACE_UPDATE: &str = "StartInPlaceUpdate";
/// Pod condition and readiness gate: nobody holds the pod out of service. Source: inplace.md 8.
pub const KRUISE_POD_READY: &str = "KruisePodReady";
/// Pod condition: all containers are ready.
pub const CONTAINERS_READY: &str = "ContainersReady";
/// Why a pod with ready containers is not ready: a condition that its readiness gates name is not True.
pub const READINESS_GATES_NOT_READY: &str = "ReadinessGatesNotReady";
/// Pod condition: its node has not taken new resources over yet.
pub const POD_RESIZE_PENDING: &str = "PodResizePending";

/// A field of a workload cannot be read: nothing is done until it is mended.
pub const INVALID_SPEC: &str = "InvalidSpec";
/// Event source of the CloneSet controller.
pub const SOURCE_CLONESET: &str = "cloneset-controller";
/// Fewer pods are added than are missing. Source: cloneset.md 13.
pub const SCALE_UP_LIMITED: &str = "ScaleUpLimited";
/// A claim could not be changed.
pub const FAILED_UPDATE: &str = "FailedUpdate";
/// A pod was updated in place.
pub const SUCCESSFUL_UPDATE_IN_PLACE: &str = "SuccessfulUpdatePodInPlace";
/// A pod could not be updated in place.
pub const FAILED_UPDATE_IN_PLACE: &str = "FailedUpdatePodInPlace";
/// A pod was marked to be replaced.
pub const SUCCESSFUL_UPDATE_RECREATE: &str = "SuccessfulUpdatePodReCreate";
/// A pod could not be marked to be replaced.
pub const FAILED_UPDATE_RECREATE: &str = "FailedUpdatePodReCreate";
/// Pods are replaced although they were to be updated in place where possible, and why.
pub const NOT_IN_PLACE: &str = "NotInPlace";
/// Nothing but the mark of a restart changed, and pods that are updated in place take it without one.
pub const RESTARTS_NOTHING: &str = "RestartsNothing";
/// An update in place came to a stop, and why.
pub const INPLACE_UPDATE_STALLED: &str = "InPlaceUpdateStalled";
/// Init containers read what an update in place changes, and do not run again.
pub const INIT_CONTAINERS_STAY: &str = "InitContainersStay";
/// `partition` is a percentage that keeps the only pod there is at its revision.
pub const PARTITION_KEEPS_ALL: &str = "PartitionKeepsAll";
/// `partition` was raised, and no updated pod goes back.
pub const PARTITION_ROLLBACK_OFF: &str = "PartitionRollbackOff";

/// CloneSet condition: pods could not be added or removed.
pub const FAILED_SCALE: &str = "FailedScale";
/// CloneSet condition: how far a rollout is.
pub const PROGRESSING: &str = "Progressing";
/// Why it progresses: it does.
pub const CLONESET_UPDATED: &str = "CloneSetUpdated";
/// Why it progresses: it is done.
pub const CLONESET_AVAILABLE: &str = "CloneSetAvailable";
/// Why it progresses: it is paused.
pub const CLONESET_PAUSED: &str = "CloneSetPaused";
/// Why it progresses: all that the partition lets go are done.
pub const PARTITION_AVAILABLE: &str = "ProgressPartitionAvailable";
/// Why it does not progress.
pub const PROGRESS_DEADLINE_EXCEEDED: &str = "ProgressDeadlineExceeded";

/// Node condition, set by administrators: somebody works on the node. Source: KEP-5683; users.md W15.
pub const MAINTENANCE_IN_PROGRESS: &str = "MaintenanceInProgress";
/// Pod condition: its node turned NotReady shortly after the update that made the pod what it is.
pub const NODE_LOST: &str = "pitstop.io/NodeLost";
/// DaemonSet condition: a rollout was stopped since it may cost nodes.
pub const NODES_LOST: &str = "pitstop.io/NodesLost";
/// Why: nodes turned NotReady after their update, clearly more than others.
pub const NODES_LOST_AFTER_UPDATE: &str = "NodesLostAfterUpdate";
/// Why not any more: somebody lets the rollout go on, or there is another revision.
pub const ROLLOUT_GOES_ON: &str = "RolloutGoesOn";

/// Why a DaemonSet progresses: it does.
pub const ROLLOUT_PROGRESSING: &str = "RolloutProgressing";
/// Why it progresses: it is done.
pub const ROLLOUT_COMPLETE: &str = "RolloutComplete";
/// Why it progresses: it is done but for nodes that are not ready.
pub const NODES_EXCLUDED: &str = "NodesExcluded";
/// Why it progresses: it is done on the nodes that `pitstop.io/canary-nodes` selects.
pub const CANARY_AVAILABLE: &str = "CanaryAvailable";
/// Why it is unknown whether it progresses: `pitstop.io/progress-deadline-seconds` was taken away.
pub const NO_DEADLINE: &str = "NoDeadline";

/// Event source of the StatefulSet controller. Source: statefulset.md 10.1.
pub const SOURCE_STATEFULSET: &str = "statefulset-controller";
/// A pod was changed, other than by an update in place.
pub const SUCCESSFUL_UPDATE: &str = "SuccessfulUpdate";
/// A claim grew.
pub const SUCCESSFUL_RESIZE: &str = "SuccessfulResize";
/// A claim could not grow.
pub const FAILED_RESIZE: &str = "FailedResize";
/// A claim differs from its template in more than its size.
pub const FAILED_UPDATE_CLAIM: &str = "FailedUpdatePVC";
/// StatefulSet condition: a pod could not be created.
pub const FAILED_CREATE_POD: &str = "FailedCreatePod";
/// StatefulSet condition: a pod could not be changed.
pub const FAILED_UPDATE_POD: &str = "FailedUpdatePod";
/// StatefulSet condition: protection holds an update back. Source: statefulset.md 16.5.
pub const UPDATE_BLOCKED: &str = "UpdateBlocked";
/// Why: every pod that is left to update is protected.
pub const ALL_REMAINING_PROTECTED: &str = "AllRemainingProtected";
/// Why: fewer pods are protected than have to be.
pub const TOO_FEW_PROTECTED: &str = "TooFewProtected";
/// Why: nobody says which pods work.
pub const ARBITER_UNAVAILABLE: &str = "ArbiterUnavailable";
/// A protected pod is not deleted now, though somebody asked for it.
pub const PROTECTED_POD_DEFERRED: &str = "ProtectedPodDeferred";
/// The arbiter does not answer, or answers again.
pub const ARBITER_PROBE_FAILED: &str = "ArbiterProbeFailed";
/// An update was blocked for longer than it may be.
pub const PROTECTION_DEADLINE_EXCEEDED: &str = "ProtectionDeadlineExceeded";
/// A pod of a broken revision is replaced, since it is in the way of those that come after it.
pub const BROKEN_POD_REPLACED: &str = "BrokenPodReplaced";

/// Event source of the controller of ImagePullJobs.
pub const SOURCE_IMAGE_PULL_JOB: &str = "imagepulljob-controller";
/// Event source of the controller of NodeImages.
pub const SOURCE_NODE_IMAGE: &str = "nodeimage-controller";
/// Event source of the agents on the nodes. Source: inplace.md 2.
pub const SOURCE_IMAGE_AGENT: &str = "kruise-daemon";
/// A job that pulls an image ahead was made. Source: cloneset.md 13.
pub const CREATED_IMAGE_PULL_JOB: &str = "CreatedImagePullJob";
/// A job that pulls an image ahead could not be made.
pub const FAILED_CREATE_IMAGE_PULL_JOB: &str = "FailedCreateImagePullJob";
/// A node has pulled an image.
pub const PULL_IMAGE_SUCCEED: &str = "PullImageSucceed";
/// A node could not pull an image.
pub const PULL_IMAGE_FAILED: &str = "PullImageFailed";
/// A secret that a job names is not there.
pub const MISSING_SECRET: &str = "MissingSecret";
