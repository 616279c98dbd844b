//! The schema of CloneSets, with what `kubectl explain` says of each field. Source: cloneset.md 1.1-1.3.
//!
//! As upstream: templates are not described, so that fields of newer versions survive, and numbers have no bounds, which
//! admission sets.

use serde_json::Value;

use crate::cloneset::{KIND, Version};
use crate::kruise::schema::{in_place_strategy, kind, lifecycle, priority_strategy};
use crate::open_api::{amount, flag, insert, int, list, object, selector, template, text, time};

pub(super) fn schema(version: Version) -> Value {
    kind(
        "Runs pods of one template that need no fixed identity, and updates them in place where it can.",
        KIND,
        spec(version),
        status(),
    )
}

fn spec(version: Version) -> Value {
    object(
        "What is wanted.",
        &[
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
            ("scaleStrategy", scale_strategy(version)),
            ("updateStrategy", update_strategy(version)),
            (
                "revisionHistoryLimit",
                int(
                    "How many old revisions are kept, to go back to. 10 where absent.",
                    "int32",
                ),
            ),
            (
                "minReadySeconds",
                int(
                    "How long a pod has to be ready, in seconds, until it counts as available.",
                    "int32",
                ),
            ),
            (
                "progressDeadlineSeconds",
                int(
                    "How long a rollout may make no progress, in seconds, until the condition Progressing says that it \
                     failed. No deadline where absent.",
                    "int32",
                ),
            ),
            ("lifecycle", lifecycle()),
        ],
        &["selector", "template"],
    )
}

fn scale_strategy(version: Version) -> Value {
    let mut fields = vec![
        (
            "podsToDelete",
            list(
                "Names of pods that are deleted first when there are too many, and replaced otherwise.",
                text("A name."),
            ),
        ),
        (
            "maxUnavailable",
            amount(
                "How many pods may be unavailable while pods are added: a number, or a percentage of replicas. Any \
                 number where absent.",
            ),
        ),
    ];
    match version {
        Version::V1alpha1 => fields.push((
            "disablePVCReuse",
            flag("Claims of deleted pods are not given to new ones, but deleted."),
        )),
        Version::V1beta1 => {
            let mut reuse =
                flag("New pods take claims of deleted ones. Otherwise these are deleted with their pod.");
            insert(&mut reuse, "default", false.into());
            fields.push(("enablePVCReuse", reuse));
            fields.push((
                "excludePreparingDelete",
                flag(
                    "Pods that a preDelete hook holds no longer count as replicas, and are replaced at once.",
                ),
            ));
        }
    }
    object("How pods are added and removed.", &fields, &[])
}

fn update_strategy(version: Version) -> Value {
    let mut rolling = rolling_fields(version);
    match version {
        Version::V1alpha1 => {
            let kind = text(
                "How pods are updated. ReCreate replaces them; InPlaceIfPossible restarts containers in the pod where \
                 the change allows it; InPlaceOnly does nothing else; OnDelete waits until somebody deletes the pod. \
                 ReCreate where absent.",
            );
            rolling.insert(0, ("type", kind));
            object("How pods get a new template.", &rolling, &[])
        }
        Version::V1beta1 => {
            let policy = text(
                "ReCreate replaces pods; InPlaceIfPossible restarts containers in the pod where the change allows it; \
                 InPlaceOnly does nothing else. ReCreate where absent.",
            );
            rolling.insert(0, ("podUpdatePolicy", policy));
            let kind = text(
                "RollingUpdate updates pods as rollingUpdate says; OnDelete waits until somebody deletes a pod. \
                 RollingUpdate where absent.",
            );
            let rolling = object("How a rolling update goes on.", &rolling, &[]);
            object(
                "How pods get a new template.",
                &[("type", kind), ("rollingUpdate", rolling)],
                &[],
            )
        }
    }
}

fn rolling_fields(version: Version) -> Vec<(&'static str, Value)> {
    vec![
        (
            "partition",
            amount(
                "How many pods stay at old revisions: a number, or a percentage of replicas, rounded up. Below 100 %, \
                 at least one of several pods is updated. 0 where absent.",
            ),
        ),
        (
            "maxUnavailable",
            amount(
                "How many pods may be unavailable during an update: a number, or a percentage of replicas, rounded up \
                 without maxSurge and down with it. 20% where absent.",
            ),
        ),
        (
            "maxSurge",
            amount(
                "How many pods there may be beyond replicas during an update: a number, or a percentage of replicas, \
                 rounded up. 0 where absent, and with InPlaceOnly.",
            ),
        ),
        ("paused", flag("No further pod is updated.")),
        ("priorityStrategy", priority_strategy()),
        (
            "scatterStrategy",
            list(
                "Labels whose pods are spread over the rollout, so that they are not updated one after the other.",
                object(
                    "A label.",
                    &[("key", text("Its key.")), ("value", text("Its value."))],
                    &["key", "value"],
                ),
            ),
        ),
        (
            "inPlaceUpdateStrategy",
            in_place_strategy(version == Version::V1beta1),
        ),
    ]
}

fn status() -> Value {
    let count = |why: &str| int(why, "int32");
    let condition = object(
        "A condition.",
        &[
            ("type", text("FailedScale, FailedUpdate or Progressing.")),
            ("status", text("True, False or Unknown.")),
            ("lastUpdateTime", time("When it was written last.")),
            ("lastTransitionTime", time("When its status changed last.")),
            ("reason", text("Why, in one word.")),
            ("message", text("Why, for people.")),
        ],
        &["type", "status"],
    );
    object(
        "What is there.",
        &[
            (
                "observedGeneration",
                int("The newest generation that was acted on.", "int64"),
            ),
            ("replicas", count("How many pods there are.")),
            ("readyReplicas", count("How many of them are ready.")),
            (
                "availableReplicas",
                count("How many of them have been ready for minReadySeconds."),
            ),
            ("updatedReplicas", count("How many have the update revision.")),
            ("updatedReadyReplicas", count("How many of those are ready.")),
            (
                "updatedAvailableReplicas",
                count("How many of those have been ready for minReadySeconds."),
            ),
            (
                "expectedUpdatedReplicas",
                count("How many are to get the update revision: all but those that partition keeps."),
            ),
            ("updateRevision", text("The revision that pods are brought to.")),
            ("currentRevision", text("The revision that all pods had last.")),
            (
                "collisionCount",
                count("How often the name of a revision was taken by another one."),
            ),
            (
                "conditions",
                list("What went wrong, and how far the rollout is.", condition),
            ),
            ("labelSelector", text("The selector as text, for autoscalers.")),
        ],
        &[
            "replicas",
            "readyReplicas",
            "availableReplicas",
            "updatedReplicas",
            "updatedReadyReplicas",
        ],
    )
}
