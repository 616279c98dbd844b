//! The schemas of ImagePullJobs and NodeImages, with what `kubectl explain` says of each field.

use serde_json::{Value, json};

use crate::image_pull::Kind;
use crate::kruise::schema::kind as kind_schema;
use crate::open_api::{amount, insert, int, list, object, selector, template, text, texts, time};

pub(super) fn schema(kind: Kind) -> Value {
    let (why, spec, status) = match kind {
        Kind::Job => (
            "Pulls an image on nodes, before containers need it.",
            job_spec(),
            job_status(),
        ),
        Kind::NodeImage => (
            "The images that a node is to pull, and how far it is. It has the name of its node.",
            node_spec(),
            node_status(),
        ),
    };
    kind_schema(why, kind.name(), spec, status)
}

fn sandbox() -> Value {
    object(
        "What the runtime is told beside the image.",
        &[
            ("labels", texts("Labels of the sandbox.")),
            ("annotations", texts("Annotations of the sandbox.")),
        ],
        &[],
    )
}

fn image_pull_policy() -> Value {
    text(
        "IfNotPresent leaves an image alone that the node has; Always asks the registry. IfNotPresent where absent.",
    )
}

fn job_spec() -> Value {
    let mut nodes = selector("Which nodes. All where neither selector nor podSelector is there.");
    if let Some(properties) = nodes.get_mut("properties") {
        insert(properties, "names", list("Names of nodes.", text("A name.")));
    }
    object(
        "What is wanted.",
        &[
            ("image", text("The image.")),
            (
                "pullSecrets",
                list(
                    "Names of secrets of this namespace for its registry.",
                    text("A name."),
                ),
            ),
            ("selector", nodes),
            (
                "podSelector",
                selector("Nodes of these pods of this namespace, instead of selector."),
            ),
            (
                "parallelism",
                amount("On how many nodes at once. 1 where absent; 0 pauses it."),
            ),
            (
                "pullPolicy",
                object(
                    "How patient each node is.",
                    &[
                        (
                            "timeoutSeconds",
                            int("How long one attempt may take. 600 where absent.", "int32"),
                        ),
                        (
                            "backoffLimit",
                            int("How often it is tried again. 3 where absent.", "int32"),
                        ),
                    ],
                    &[],
                ),
            ),
            (
                "completionPolicy",
                object(
                    "When it is done.",
                    &[
                        (
                            "type",
                            text(
                                "Always: when each node has succeeded or failed. Never: it stays, and new nodes pull \
                                 the image too. Always where absent.",
                            ),
                        ),
                        (
                            "activeDeadlineSeconds",
                            int("After so long it ends, whatever is missing.", "int64"),
                        ),
                        (
                            "ttlSecondsAfterFinished",
                            int(
                                "How long after its end it is deleted. Never where absent.",
                                "int32",
                            ),
                        ),
                    ],
                    &[],
                ),
            ),
            ("sandboxConfig", sandbox()),
            ("imagePullPolicy", image_pull_policy()),
        ],
        &["image"],
    )
}

fn job_status() -> Value {
    object(
        "How far it is.",
        &[
            ("startTime", time("When it began.")),
            ("completionTime", time("When it ended.")),
            ("desired", int("How many nodes are meant.", "int32")),
            ("active", int("How many pull the image.", "int32")),
            ("succeeded", int("How many have it.", "int32")),
            ("failed", int("How many could not pull it.", "int32")),
            ("failedNodes", list("Which nodes those are.", text("A name."))),
            ("message", text("The same in words.")),
        ],
        &[],
    )
}

fn node_spec() -> Value {
    let secret = object(
        "A secret that the node may read.",
        &[
            ("namespace", text("Its namespace.")),
            ("name", text("Its name.")),
            ("mode", text("batch: it belongs to jobs, and goes with them.")),
        ],
        &[],
    );
    let policy = object(
        "How patient the node is.",
        &[
            (
                "timeoutSeconds",
                int("How long one attempt may take. 600 where absent.", "int32"),
            ),
            (
                "backoffLimit",
                int("How often it is tried again. 3 where absent.", "int32"),
            ),
            (
                "ttlSecondsAfterFinished",
                int("How long after its end the entry goes. The image stays.", "int32"),
            ),
            (
                "activeDeadlineSeconds",
                int("After so long it has failed.", "int64"),
            ),
        ],
        &["ttlSecondsAfterFinished"],
    );
    let tag = object(
        "A version of the image.",
        &[
            ("tag", text("A tag, or a digest.")),
            ("version", int("Raised to have it pulled once more.", "int64")),
            ("createdAt", time("When this version was asked for.")),
            ("imagePullPolicy", image_pull_policy()),
            (
                "ownerReferences",
                list("Who wants it.", template("A reference to an object.")),
            ),
            ("pullPolicy", policy),
        ],
        &["tag"],
    );
    let mut image = json!({"type": "object", "description": "The images, by repository."});
    let one = object(
        "A repository.",
        &[
            ("pullSecrets", list("Secrets for its registry.", secret)),
            ("sandboxConfig", sandbox()),
            ("tags", list("The versions.", tag)),
        ],
        &[],
    );
    insert(&mut image, "additionalProperties", one);
    object("What is wanted.", &[("images", image)], &[])
}

fn node_status() -> Value {
    let tag = object(
        "How far a version is.",
        &[
            ("tag", text("A tag, or a digest.")),
            ("phase", text("Waiting, Pulling, Succeeded or Failed.")),
            ("progress", int("Per cent.", "int32")),
            (
                "version",
                int("Which version of the wish this is about.", "int64"),
            ),
            ("startTime", time("When the pull began.")),
            ("completionTime", time("When it ended.")),
            ("imageID", text("What the runtime calls the image.")),
            ("message", text("What went wrong.")),
        ],
        &["tag"],
    );
    let one = object(
        "How far a repository is.",
        &[("tags", list("The versions.", tag))],
        &[],
    );
    let mut images = json!({"type": "object", "description": "The images, by repository."});
    insert(&mut images, "additionalProperties", one);
    object(
        "How far it is.",
        &[
            ("desired", int("How many images are wanted.", "int32")),
            ("succeeded", int("How many are there.", "int32")),
            ("failed", int("How many could not be pulled.", "int32")),
            ("pulling", int("How many are being pulled.", "int32")),
            ("waiting", int("How many wait.", "int32")),
            ("imageStatuses", images),
            (
                "firstSyncStatus",
                template("Kept for clients that know it. Nobody writes it."),
            ),
        ],
        &[],
    )
}
