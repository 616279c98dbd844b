//! Parts of schemas that several kinds have.

use serde_json::{Value, json};

use crate::open_api::{amount, flag, int, list, object, selector, text, texts};

/// A kind as a whole, whose purpose is `what`.
pub(crate) fn kind(what: &str, name: &str, spec: Value, status: Value) -> Value {
    object(
        what,
        &[
            (
                "apiVersion",
                text("Version of the schema of this object, as group/version."),
            ),
            ("kind", text(&format!("Kind of this object: {name}."))),
            ("metadata", json!({"type": "object"})),
            ("spec", spec),
            ("status", status),
        ],
        &[],
    )
}

/// `pulls_ahead`: does it have fields about images that are pulled ahead?
pub(crate) fn in_place_strategy(pulls_ahead: bool) -> Value {
    let mut fields = vec![(
        "gracePeriodSeconds",
        int(
            "How long a pod is not ready, in seconds, before its containers change.",
            "int32",
        ),
    )];
    if pulls_ahead {
        fields.push((
            "imagePreDownloadParallelism",
            amount(
                "On how many nodes at once a new image is pulled ahead of the update; a percentage is one of the replicas. \
                 1 where absent.",
            ),
        ));
        fields.push((
            "imagePreDownloadTimeoutSeconds",
            int(
                "How long one attempt to pull an image ahead may take, in seconds. 300 where absent.",
                "int32",
            ),
        ));
        fields.push((
            "imagePreDownloadMinUpdatedReadyPods",
            amount(
                "How many updated pods have to be ready before images are pulled ahead; a percentage is one of the replicas.",
            ),
        ));
    }
    object("How pods are updated in place.", &fields, &[])
}

pub(crate) fn priority_strategy() -> Value {
    let weights = object(
        "Pods and their weight.",
        &[
            ("weight", int("Range: 0 to 100.", "int32")),
            ("matchSelector", selector("Which pods have it.")),
        ],
        &["weight", "matchSelector"],
    );
    let orders = object(
        "A label key.",
        &[
            (
                "orderedKey",
                text(
                    "Pods that have it are updated by the number at the end of its value, the highest first.",
                ),
            ),
            (
                "missingKey",
                text("Where pods go that have none of the keys: First or Last. First where absent."),
            ),
        ],
        &["orderedKey"],
    );
    object(
        "Which pods are updated first.",
        &[
            (
                "weightPriority",
                list("Pods with the highest sum of weights are updated first.", weights),
            ),
            (
                "orderPriority",
                list(
                    "Pods are updated by the first of these keys that they have.",
                    orders,
                ),
            ),
        ],
        &[],
    )
}

pub(crate) fn lifecycle() -> Value {
    let hook = |when: &str| {
        object(
            &format!("Holds pods {when}, as long as they have one of these labels or finalizers."),
            &[
                ("labelsHandler", texts("Labels, with their values.")),
                ("finalizersHandler", list("Finalizers.", text("A finalizer."))),
                (
                    "markPodNotReady",
                    flag("Pods that are held are taken out of service."),
                ),
            ],
            &[],
        )
    };
    object(
        "Where others are waited for in the life of a pod.",
        &[
            ("preDelete", hook("before they are deleted")),
            (
                "inPlaceUpdate",
                hook("before and after they are updated in place"),
            ),
            ("preNormal", hook("that are new, before they count")),
        ],
        &[],
    )
}
