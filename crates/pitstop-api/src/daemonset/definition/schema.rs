//! The schema of DaemonSets of `apps.kruise.io`, with what `kubectl explain` says of each field. Source: daemonset.md D1.
//!
//! As upstream: templates are not described, so that fields of newer versions survive, and numbers have no bounds, which
//! admission sets.

use serde_json::Value;

use crate::daemonset::KIND;
use crate::kruise::Version;
use crate::kruise::schema::{kind, lifecycle};
use crate::open_api::{amount, flag, int, list, object, selector, template, text, time};

pub(super) fn schema(version: Version) -> Value {
    kind(
        "Runs a pod of one template on every node that should have one, and updates them in place where it can.",
        KIND,
        spec(version),
        status(version),
    )
}

fn spec(version: Version) -> Value {
    let mut fields = vec![
        (
            "selector",
            selector(
                "Which pods are looked after. It has to match the labels of the template and cannot be changed.",
            ),
        ),
        ("template", template("What the pods are made from.")),
        ("updateStrategy", update_strategy(version)),
        (
            "minReadySeconds",
            int(
                "How long a pod has to be ready, in seconds, until it counts as available.",
                "int32",
            ),
        ),
        (
            "burstReplicas",
            amount(
                "How many pods are made, and deleted, in one go: a number, or a percentage of the nodes that should run \
                 a pod, rounded down. 250 where absent.",
            ),
        ),
        (
            "revisionHistoryLimit",
            int(
                "How many old revisions are kept, to go back to. 10 where absent.",
                "int32",
            ),
        ),
        ("lifecycle", lifecycle()),
    ];
    if version == Version::V1beta1 {
        let partitioned = flag("Pods that partition would keep at an old revision are not made at all.");
        let scale = object("How pods are added.", &[("partitionedScaling", partitioned)], &[]);
        fields.push(("scaleStrategy", scale));
    }
    object("What is wanted.", &fields, &["selector", "template"])
}

fn update_strategy(version: Version) -> Value {
    let kind = text(
        "RollingUpdate updates pods as rollingUpdate says; OnDelete waits until somebody deletes a pod. RollingUpdate where \
         absent.",
    );
    let how = match version {
        Version::V1alpha1 => {
            "Standard replaces pods; InPlaceIfPossible restarts containers in the pod where the change allows it; Surging \
             is an old name of Standard with maxSurge 1. Standard where absent."
        }
        Version::V1beta1 => {
            "Standard replaces pods; InPlaceIfPossible restarts containers in the pod where the change allows it. Standard \
             where absent."
        }
    };
    let rolling = [
        ("rollingUpdateType", text(how)),
        (
            "maxUnavailable",
            amount(
                "How many pods may be unavailable during an update: a number, or a percentage of the nodes that should \
                 run a pod, rounded up. 1 where neither this nor maxSurge is written.",
            ),
        ),
        (
            "maxSurge",
            amount(
                "On how many nodes a new pod may run beside the old one during an update: a number, or a percentage of \
                 the nodes that should run a pod, rounded up. 0 where absent.",
            ),
        ),
        (
            "selector",
            selector("Nodes whose pods are updated; those of other nodes wait. All where absent."),
        ),
        (
            "partition",
            amount(
                "How many pods stay at their revision: a number, or a percentage of the nodes that should run a pod, \
                 rounded down.",
            ),
        ),
        (
            "paused",
            flag("No pod is updated; pods are still made and deleted."),
        ),
    ];
    let rolling = object("How a rolling update goes on.", &rolling, &[]);
    object(
        "How pods get a new template.",
        &[("type", kind), ("rollingUpdate", rolling)],
        &[],
    )
}

fn status(version: Version) -> Value {
    let count = |why: &str| int(why, "int32");
    let condition = object(
        "A condition.",
        &[
            ("type", text("What it is about.")),
            ("status", text("True, False or Unknown.")),
            ("lastTransitionTime", time("When its status changed last.")),
            ("reason", text("Why, in one word.")),
            ("message", text("Why, for people.")),
        ],
        &["type", "status"],
    );
    let revision = match version {
        Version::V1alpha1 => "daemonSetHash",
        Version::V1beta1 => "updateRevision",
    };
    object(
        "What is there.",
        &[
            (
                "observedGeneration",
                int("The newest generation that was acted on.", "int64"),
            ),
            (
                "desiredNumberScheduled",
                count("How many nodes should run a pod."),
            ),
            ("currentNumberScheduled", count("How many of those have a pod.")),
            (
                "numberMisscheduled",
                count("How many nodes have a pod and should not."),
            ),
            (
                "numberReady",
                count("How many nodes that should have a pod have one that is ready."),
            ),
            (
                "numberAvailable",
                count("How many of those have one that has been ready for minReadySeconds."),
            ),
            (
                "numberUnavailable",
                count("How many nodes that should have an available pod have none."),
            ),
            (
                "updatedNumberScheduled",
                count("How many nodes that should have a pod have one of the newest revision."),
            ),
            (
                "collisionCount",
                count("How often the name of a revision was taken by another one."),
            ),
            ("conditions", list("Conditions.", condition)),
            (
                revision,
                text("The hash of the revision that pods are brought to."),
            ),
        ],
        &[],
    )
}
