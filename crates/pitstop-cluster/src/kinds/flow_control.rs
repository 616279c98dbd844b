//! Priority and fairness, which are only stored: this server refuses nobody for lack of capacity.
//!
//! Source: embedded-cluster.md 13.

use serde_json::{Value, json};

use super::fields::{integer, map_mut, or, set_missing, text};
use super::{Column, FieldError, Kind, Subresource, age};

const GROUP: &str = "flowcontrol.apiserver.k8s.io";
/// Precedence of who does not say, and the greatest that there is.
const PRECEDENCE: (i64, i64) = (1000, 10_000);
/// Shares of a level that does not say.
const SHARES: i64 = 30;
/// Queues of a level that does not say: their number, the hand, and how long each is.
const QUEUING: (i64, i64, i64) = (64, 8, 50);

pub(super) const FLOW_SCHEMA: Kind = Kind {
    group: GROUP,
    namespaced: false,
    stored_as: (GROUP, "flowschemas"),
    subresources: &[Subresource::Status],
    has_generation: true,
    is_only_stored: true,
    default: |object| set_missing(map_mut(object, &["spec"]), "matchingPrecedence", PRECEDENCE.0),
    prepare_create: begin,
    validate: |object| {
        let mut errors = Vec::new();
        let precedence = integer(object, "/spec/matchingPrecedence").unwrap_or_default();
        if !(1..=PRECEDENCE.1).contains(&precedence) {
            let why = format!("must be between 1 and {}", PRECEDENCE.1);
            errors.push(FieldError::invalid("spec.matchingPrecedence", precedence, why));
        }
        if text(object, "/spec/priorityLevelConfiguration/name").is_empty() {
            let why = "must reference a priority level";
            errors.push(FieldError::required("spec.priorityLevelConfiguration.name", why));
        }
        errors
    },
    columns: &[
        Column::NAME,
        Column::string("PriorityLevel"),
        Column::string("MatchingPrecedence"),
        Column::string("DistinguisherMethod"),
        Column::AGE,
        Column::string("MissingPL"),
    ],
    cells: |object, now| {
        let conditions = object.pointer("/status/conditions").and_then(Value::as_array);
        let dangling = conditions
            .into_iter()
            .flatten()
            .find(|condition| text(condition, "/type") == "Dangling");
        vec![
            age::name(object),
            Value::from(text(object, "/spec/priorityLevelConfiguration/name")),
            Value::from(integer(object, "/spec/matchingPrecedence").unwrap_or_default()),
            Value::from(or(text(object, "/spec/distinguisherMethod/type"), "<none>")),
            age::age(object, now),
            Value::from(dangling.map_or("?", |condition| text(condition, "/status"))),
        ]
    },
    ..Kind::plain("FlowSchema", "flowschemas", "flowschema")
};

pub(super) const PRIORITY_LEVEL: Kind = Kind {
    group: GROUP,
    namespaced: false,
    stored_as: (GROUP, "prioritylevelconfigurations"),
    subresources: &[Subresource::Status],
    has_generation: true,
    is_only_stored: true,
    default: |object| {
        if let Some(limited) = object.pointer_mut("/spec/limited") {
            let limited = map_mut(limited, &[]);
            set_missing(limited, "nominalConcurrencyShares", SHARES);
            set_missing(limited, "lendablePercent", 0);
        }
        if let Some(exempt) = object.pointer_mut("/spec/exempt") {
            let exempt = map_mut(exempt, &[]);
            set_missing(exempt, "nominalConcurrencyShares", 0);
            set_missing(exempt, "lendablePercent", 0);
        }
        if let Some(queuing) = object.pointer_mut("/spec/limited/limitResponse/queuing") {
            let queuing = map_mut(queuing, &[]);
            set_missing(queuing, "queues", QUEUING.0);
            set_missing(queuing, "handSize", QUEUING.1);
            set_missing(queuing, "queueLengthLimit", QUEUING.2);
        }
    },
    prepare_create: begin,
    validate: |object| match text(object, "/spec/type") {
        "Limited" | "Exempt" => Vec::new(),
        "" => vec![FieldError::required("spec.type", "")],
        other => vec![FieldError::not_supported(
            "spec.type",
            other,
            &["Exempt", "Limited"],
        )],
    },
    columns: &[
        Column::NAME,
        Column::string("Type"),
        Column::string("NominalConcurrencyShares"),
        Column::string("Queues"),
        Column::string("HandSize"),
        Column::string("QueueLengthLimit"),
        Column::AGE,
    ],
    cells: |object, now| {
        let number = |pointer: &str| {
            integer(object, &format!("/spec/limited/{pointer}"))
                .map_or_else(|| Value::from("<none>"), Value::from)
        };
        vec![
            age::name(object),
            Value::from(text(object, "/spec/type")),
            number("nominalConcurrencyShares"),
            number("limitResponse/queuing/queues"),
            number("limitResponse/queuing/handSize"),
            number("limitResponse/queuing/queueLengthLimit"),
            age::age(object, now),
        ]
    },
    ..Kind::plain(
        "PriorityLevelConfiguration",
        "prioritylevelconfigurations",
        "prioritylevelconfiguration",
    )
};

fn begin(object: &mut Value, _: &super::Creation<'_>) {
    map_mut(object, &[]).insert("status".to_owned(), json!({}));
}
