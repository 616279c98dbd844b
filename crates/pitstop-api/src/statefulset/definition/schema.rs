//! The schema of StatefulSets, with what `kubectl explain` says of each field. Source: statefulset.md 2.1-2.3, 15.2, 16.1.
//!
//! As upstream: templates are not described, so that fields of newer versions survive, and numbers have no bounds, which
//! admission sets.

use serde_json::{Value, json};

use crate::kruise::Version;
use crate::kruise::schema::{in_place_strategy, kind, lifecycle, priority_strategy};
use crate::open_api::{amount, flag, int, list, object, selector, template, text, time};
use crate::statefulset::KIND;

pub(super) fn schema(version: Version) -> Value {
    kind(
        "Runs pods of one template that each have a name, an order and volumes of their own, and updates them in place \
         where it can.",
        KIND,
        spec(version),
        status(version),
    )
}

fn spec(version: Version) -> Value {
    let mut fields = vec![
        (
            "replicas",
            int("How many pods are wanted. 1 where absent.", "int32"),
        ),
        (
            "selector",
            selector(
                "Which pods are looked after. It has to match the labels of the template and cannot be changed.",
            ),
        ),
        ("template", template("What the pods are made from.")),
        (
            "volumeClaimTemplates",
            list(
                "Claims that each pod gets for itself, as volumes of the claim's name.",
                template("A claim."),
            ),
        ),
        (
            "serviceName",
            text("The service that gives pods their names in the network. It cannot be changed."),
        ),
        (
            "podManagementPolicy",
            text(
                "OrderedReady creates and deletes pods one after the other, each when those before are available; \
                 Parallel does it all at once. OrderedReady where absent. It cannot be changed.",
            ),
        ),
        ("updateStrategy", update_strategy(version)),
        (
            "revisionHistoryLimit",
            int(
                "How many old revisions are kept, to go back to. 10 where absent.",
                "int32",
            ),
        ),
    ];
    if version == Version::V1beta1 {
        fields.extend(newer_fields());
    }
    object("What is wanted.", &fields, &["selector", "template"])
}

/// What v1alpha1 has no fields for. Source: statefulset.md 2.5.
fn newer_fields() -> Vec<(&'static str, Value)> {
    let policy = "Retain or Delete. Retain where absent.";
    let ordinal = json!({
        "description": "A number, or a range of numbers such as \"2-5\".", "anyOf": [{"type": "integer"}, {"type": "string"}],
        "x-kubernetes-int-or-string": true,
    });
    vec![
        ("reserveOrdinals", list("Ordinals that no pod has.", ordinal)),
        ("lifecycle", lifecycle()),
        (
            "scaleStrategy",
            object(
                "How pods are added.",
                &[(
                    "maxUnavailable",
                    amount(
                        "How many pods may be unavailable while pods are added: a number, or a percentage of replicas, \
                         rounded down, but 1 at least. Any number where absent. It needs podManagementPolicy Parallel.",
                    ),
                )],
                &[],
            ),
        ),
        (
            "persistentVolumeClaimRetentionPolicy",
            object(
                "When claims are deleted that were made from volumeClaimTemplates.",
                &[
                    ("whenDeleted", text(&format!("With the StatefulSet: {policy}"))),
                    (
                        "whenScaled",
                        text(&format!("With a pod that is one too many: {policy}")),
                    ),
                ],
                &[],
            ),
        ),
        (
            "ordinals",
            object(
                "How pods are numbered.",
                &[("start", int("The first ordinal. 0 where absent.", "int32"))],
                &["start"],
            ),
        ),
        (
            "volumeClaimUpdateStrategy",
            object(
                "What becomes of claims when their template changes.",
                &[(
                    "type",
                    text(
                        "OnPodRollingUpdate lets claims grow before their pod is updated; OnDelete waits until \
                         somebody deletes claim and pod.",
                    ),
                )],
                &[],
            ),
        ),
    ]
}

fn update_strategy(version: Version) -> Value {
    let kind = text(
        "RollingUpdate updates pods as rollingUpdate says; OnDelete waits until somebody deletes a pod. \
         RollingUpdate where absent.",
    );
    object(
        "How pods get a new template.",
        &[("type", kind), ("rollingUpdate", rolling_update(version))],
        &[],
    )
}

fn rolling_update(version: Version) -> Value {
    const PARTITION: &str = "How many pods stay at old revisions. 0 where absent.";
    let partition = match version {
        Version::V1alpha1 => int(PARTITION, "int32"),
        Version::V1beta1 => amount(&format!(
            "{PARTITION} A number, or a percentage of replicas, rounded up; below 100 %, at least one of several pods is \
             updated."
        )),
    };
    let mut fields = vec![
        ("partition", partition),
        (
            "maxUnavailable",
            amount(
                "How many pods may be unavailable during an update: a number, or a percentage of replicas, rounded down, \
                 but 1 at least. 1 where absent.",
            ),
        ),
        (
            "podUpdatePolicy",
            text(
                "ReCreate replaces pods; InPlaceIfPossible restarts containers in the pod where the change allows it; \
                 InPlaceOnly does nothing else. ReCreate where absent.",
            ),
        ),
        ("paused", flag("No further pod is updated.")),
        (
            "unorderedUpdate",
            object(
                "Pods are not updated from the highest ordinal down, but those first that are updated already, and then \
                 by priority. It needs podManagementPolicy Parallel.",
                &[("priorityStrategy", priority_strategy())],
                &[],
            ),
        ),
        (
            "inPlaceUpdateStrategy",
            in_place_strategy(version == Version::V1beta1),
        ),
        (
            "minReadySeconds",
            int(
                "How long a pod has to be ready, in seconds, until it counts as available. Range: 0 to 300.",
                "int32",
            ),
        ),
    ];
    if version == Version::V1beta1 {
        fields.push((
            "pausedCreates",
            text(
                "At which revision missing pods are created while the rollout is paused: Update or Current. Update where \
                 absent.",
            ),
        ));
        fields.push(("protection", protection()));
    }
    object("How a rolling update goes on.", &fields, &[])
}

/// Source: statefulset.md 16.1.
fn protection() -> Value {
    object(
        "Which pods are left alone while they work. It needs podManagementPolicy Parallel, and updates in any order.",
        &[
            (
                "podSelector",
                selector("Pods that match are protected while they match. Required without an arbiter."),
            ),
            (
                "partitionPolicy",
                text(
                    "Follow: protected pods at old revisions raise the partition; Static: the partition stays as it is \
                     written. Follow where absent.",
                ),
            ),
            (
                "unknownPolicy",
                text("What pods are of which nobody knows: Protect or Idle. Protect where absent."),
            ),
            (
                "minProtected",
                int(
                    "With fewer protected pods than this, no pod is disrupted. 0 where absent.",
                    "int32",
                ),
            ),
            (
                "onScaleDown",
                text(
                    "What becomes of protected pods that are too many: Block or Delete. Block where absent.",
                ),
            ),
            (
                "deadlineSeconds",
                int(
                    "How long protection may block an update, in seconds. For ever where absent.",
                    "int32",
                ),
            ),
            (
                "onDeadline",
                text("What happens then: Event tells, Force takes pods for idle. Event where absent."),
            ),
            ("evictionGuard", flag("Evictions of protected pods are refused.")),
            ("arbiter", arbiter()),
        ],
        &[],
    )
}

fn arbiter() -> Value {
    let seconds = |why: &str| int(why, "int32");
    object(
        "Who knows which pods work. Exactly one of http and exec.",
        &[
            (
                "http",
                object(
                    "A service that is asked for all pods at once.",
                    &[
                        (
                            "service",
                            object(
                                "Which service.",
                                &[
                                    ("name", text("Its name.")),
                                    (
                                        "namespace",
                                        text("Its namespace. That of the StatefulSet where absent."),
                                    ),
                                    ("port", int("Its port.", "int32")),
                                ],
                                &["name", "port"],
                            ),
                        ),
                        ("scheme", text("http or https. http where absent.")),
                        (
                            "caBundle",
                            text(
                                "Authorities that vouch for its certificate, PEM in base64, for https. Those that the \
                                 controller's machine trusts where absent.",
                            ),
                        ),
                        ("path", text("The path that is asked.")),
                    ],
                    &["service"],
                ),
            ),
            (
                "exec",
                object(
                    "A command that is run in each pod: 0 is idle, 1 works, anything else is unknown.",
                    &[
                        ("container", text("In which container. The first where absent.")),
                        ("command", list("The command.", text("A word."))),
                    ],
                    &["command"],
                ),
            ),
            (
                "label",
                object(
                    "The label that answers are written to.",
                    &[
                        ("key", text("Its key.")),
                        ("protectedValue", text("Its value on pods that work.")),
                        ("idleValue", text("Its value on pods that do not.")),
                    ],
                    &["key", "protectedValue", "idleValue"],
                ),
            ),
            (
                "periodSeconds",
                seconds("How often it is asked. Range: 1 to 300. 10 where absent."),
            ),
            (
                "timeoutSeconds",
                seconds("How long an answer may take. Range: 1 to 30. 2 where absent."),
            ),
            (
                "failureThreshold",
                int(
                    "After how many failures in a row nothing that it said counts any more. 3 where absent.",
                    "int32",
                ),
            ),
            (
                "staleAfterSeconds",
                seconds("For how long an answer counts, at least periodSeconds. 30 where absent."),
            ),
            (
                "failurePolicy",
                text(
                    "What pods are whose answer does not count any more: Protect, KeepLabel or Ignore. Protect where absent.",
                ),
            ),
            (
                "claim",
                flag("It is asked once more right before a pod is disrupted."),
            ),
        ],
        &[],
    )
}

fn status(version: Version) -> Value {
    let count = |why: &str| int(why, "int32");
    let condition = object(
        "A condition.",
        &[
            (
                "type",
                text("FailedCreatePod, FailedUpdatePod, UpdateBlocked or InvalidSpec."),
            ),
            ("status", text("True, False or Unknown.")),
            ("lastTransitionTime", time("When its status changed last.")),
            ("reason", text("Why, in one word.")),
            ("message", text("Why, for people.")),
        ],
        &["type", "status"],
    );
    let mut fields = vec![
        (
            "observedGeneration",
            int("The newest generation that was acted on.", "int64"),
        ),
        ("replicas", count("How many pods there are.")),
        ("readyReplicas", count("How many of them are ready.")),
        (
            "availableReplicas",
            count("How many of them have been ready for minReadySeconds, and are held by no hook."),
        ),
        ("currentReplicas", count("How many have the current revision.")),
        ("updatedReplicas", count("How many have the update revision.")),
        ("currentRevision", text("The revision that all pods had last.")),
        ("updateRevision", text("The revision that pods are brought to.")),
        (
            "collisionCount",
            count("How often the name of a revision was taken by another one."),
        ),
        (
            "conditions",
            list("What went wrong, and what blocks an update.", condition),
        ),
        ("labelSelector", text("The selector as text, for autoscalers.")),
    ];
    if version == Version::V1beta1 {
        fields.extend(newer_status());
    }
    object(
        "What is there.",
        &fields,
        &[
            "replicas",
            "readyReplicas",
            "availableReplicas",
            "currentReplicas",
            "updatedReplicas",
        ],
    )
}

fn newer_status() -> Vec<(&'static str, Value)> {
    let count = |why: &str| int(why, "int32");
    let names = |why: &str| list(why, text("A name."));
    vec![
        (
            "updatedReadyReplicas",
            count("How many of those with the update revision are ready."),
        ),
        (
            "updatedAvailableReplicas",
            count("How many of those have been ready for minReadySeconds."),
        ),
        (
            "volumeClaims",
            list(
                "How far claims have grown to their templates.",
                object(
                    "Claims of a template.",
                    &[
                        ("volumeClaimName", text("Name of the template.")),
                        (
                            "compatibleReplicas",
                            count("How many ask for what the template says."),
                        ),
                        ("compatibleReadyReplicas", count("How many of those have it.")),
                    ],
                    &["volumeClaimName", "compatibleReplicas", "compatibleReadyReplicas"],
                ),
            ),
        ),
        (
            "protection",
            object(
                "What update protection does now.",
                &[
                    ("protected", count("How many pods are protected.")),
                    ("protectedOld", count("How many of those have an old revision.")),
                    (
                        "effectivePartition",
                        count("How many pods stay at old revisions, for protection and partition together."),
                    ),
                    (
                        "waiting",
                        names("Pods that would be updated if they were not protected."),
                    ),
                    (
                        "condemned",
                        names("Pods that are too many and would be deleted if they were not protected."),
                    ),
                    (
                        "refused",
                        names("Of those: pods that the arbiter did not let go when it was asked for them."),
                    ),
                    (
                        "unknown",
                        names("Of those: pods of which nobody knows whether they work."),
                    ),
                    (
                        "silent",
                        names("Of those: pods of which the arbiter has said nothing for too long."),
                    ),
                    ("lastProbeTime", time("When the arbiter was last heard.")),
                    ("arbiterHealthy", flag("Does the arbiter answer?")),
                ],
                &[],
            ),
        ),
    ]
}
