//! Events: one store, two kinds. Source: embedded-cluster.md 13.

mod validation;

use jiff::Timestamp;
use serde_json::Value;

use super::age::{name, since};
use super::fields::{integer, or, text};
use super::{Column, Conversion, Durability, FieldKey, Kind};

/// Fields of `events.k8s.io/v1` events and of core events that are the same but for their name.
const RENAMED: &[(&str, &str)] = &[
    ("regarding", "involvedObject"),
    ("note", "message"),
    ("reportingController", "reportingComponent"),
    ("deprecatedSource", "source"),
    ("deprecatedFirstTimestamp", "firstTimestamp"),
    ("deprecatedLastTimestamp", "lastTimestamp"),
    ("deprecatedCount", "count"),
];

const REASON: FieldKey = FieldKey {
    key: "reason",
    pointers: &["/reason"],
    absent: "",
};
const TYPE: FieldKey = FieldKey {
    key: "type",
    pointers: &["/type"],
    absent: "",
};

const fn key(key: &'static str, pointers: &'static [&'static str]) -> FieldKey {
    FieldKey {
        key,
        pointers,
        absent: "",
    }
}

pub(super) const CORE: Kind = Kind {
    short_names: &["ev"],
    durability: Durability::Relaxed,
    field_keys: &[
        key("involvedObject.kind", &["/involvedObject/kind"]),
        key("involvedObject.namespace", &["/involvedObject/namespace"]),
        key("involvedObject.name", &["/involvedObject/name"]),
        key("involvedObject.uid", &["/involvedObject/uid"]),
        key("involvedObject.apiVersion", &["/involvedObject/apiVersion"]),
        key(
            "involvedObject.resourceVersion",
            &["/involvedObject/resourceVersion"],
        ),
        key("involvedObject.fieldPath", &["/involvedObject/fieldPath"]),
        key("reportingComponent", &["/reportingComponent"]),
        key("source", &["/source/component", "/reportingComponent"]),
        REASON,
        TYPE,
    ],
    validate: |object| validation::validate(object, true),
    columns: COLUMNS,
    cells,
    ..Kind::plain("Event", "events", "event")
};

pub(super) const EVENTS: Kind = Kind {
    group: "events.k8s.io",
    conversion: Some(&Conversion {
        to_stored: to_core,
        from_stored: from_core,
        stored_field: core_field,
    }),
    validate: |object| validation::validate(&to_core(object.clone()), false),
    validate_create: |object| validation::validate_new(&to_core(object.clone())),
    validate_update: |new, old| validation::validate_change(&to_core(new.clone()), &to_core(old.clone())),
    cells: |object, now| cells(&to_core(object.clone()), now),
    ..CORE
};

const COLUMNS: &[Column] = &[
    Column {
        name: "Last Seen",
        kind: "string",
        format: "",
        priority: 0,
    },
    Column::string("Type"),
    Column::string("Reason"),
    Column::string("Object"),
    Column::wide("Subobject"),
    Column::wide("Source"),
    Column::string("Message"),
    Column::wide("First Seen"),
    Column {
        name: "Count",
        kind: "integer",
        format: "",
        priority: 1,
    },
    Column {
        name: "Name",
        kind: "string",
        format: "name",
        priority: 1,
    },
];

/// An `events.k8s.io/v1` event as the core event that is stored. A core event stays as it is.
pub fn to_core(event: Value) -> Value {
    renamed(event, "v1", |name| {
        RENAMED
            .iter()
            .find(|(theirs, _)| *theirs == name)
            .map(|(_, core)| *core)
    })
}

/// A stored core event as `events.k8s.io/v1` shows it.
pub fn from_core(event: Value) -> Value {
    renamed(event, "events.k8s.io/v1", |name| {
        RENAMED
            .iter()
            .find(|(_, core)| *core == name)
            .map(|(theirs, _)| *theirs)
    })
}

fn renamed(event: Value, api_version: &str, rename: impl Fn(&str) -> Option<&'static str>) -> Value {
    let Value::Object(fields) = event else {
        return event;
    };
    let fields = fields.into_iter().map(|(name, value)| match name.as_str() {
        "apiVersion" => (name, Value::from(api_version)),
        text => (rename(text).map_or(name, str::to_owned), value),
    });
    Value::Object(fields.collect())
}

/// The core name of a field selector key of `events.k8s.io/v1`, e.g. `involvedObject.uid` of `regarding.uid`.
pub fn core_field(key: &str) -> String {
    let (head, rest) = key
        .split_once('.')
        .map_or((key, None), |(head, rest)| (head, Some(rest)));
    let head = RENAMED
        .iter()
        .find(|(theirs, _)| *theirs == head)
        .map_or(head, |(_, core)| *core);
    rest.map_or_else(|| head.to_owned(), |rest| format!("{head}.{rest}"))
}

fn cells(event: &Value, now: Timestamp) -> Vec<Value> {
    let first = since(event, "/firstTimestamp", now).or_else(|| since(event, "/eventTime", now));
    let last = since(event, "/series/lastObservedTime", now)
        .or_else(|| since(event, "/lastTimestamp", now))
        .or_else(|| first.clone());
    let unknown = || "<unknown>".to_owned();
    let object = format!(
        "{}/{}",
        text(event, "/involvedObject/kind").to_lowercase(),
        text(event, "/involvedObject/name")
    );
    let count = integer(event, "/series/count")
        .or_else(|| integer(event, "/count"))
        .filter(|count| *count > 0);
    vec![
        Value::from(last.unwrap_or_else(unknown)),
        Value::from(text(event, "/type")),
        Value::from(text(event, "/reason")),
        Value::from(object),
        Value::from(text(event, "/involvedObject/fieldPath")),
        Value::from(source(event)),
        Value::from(text(event, "/message").trim()),
        Value::from(first.unwrap_or_else(unknown)),
        Value::from(count.unwrap_or(1)),
        name(event),
    ]
}

fn source(event: &Value) -> String {
    let component = or(
        text(event, "/source/component"),
        text(event, "/reportingComponent"),
    );
    match or(text(event, "/source/host"), text(event, "/reportingInstance")) {
        "" => component.to_owned(),
        host if text(event, "/source/host") == host => format!("{component}, {host}"),
        _ => component.to_owned(),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    /// embedded-cluster.md 20, example 27.
    #[test]
    fn both_kinds_of_events_are_one() {
        let theirs = json!({
            "apiVersion": "events.k8s.io/v1", "kind": "Event", "metadata": {"name": "e", "namespace": "default"},
            "regarding": {"kind": "Pod", "name": "p", "namespace": "default", "uid": "u"}, "note": "hello",
            "reportingController": "c", "reportingInstance": "c-1", "action": "Act", "reason": "Why", "type": "Normal",
            "eventTime": "2026-01-01T00:00:00.000000Z", "series": {"count": 2},
            "deprecatedSource": {"component": "c"}, "deprecatedCount": 1,
        });
        let core = to_core(theirs.clone());
        assert_eq!(core["apiVersion"], "v1");
        assert_eq!(core["involvedObject"]["uid"], "u");
        assert_eq!(core["message"], "hello");
        assert_eq!(core["reportingComponent"], "c");
        assert_eq!(core["source"], json!({"component": "c"}));
        assert_eq!(from_core(core.clone()), theirs);
        assert_eq!(to_core(core.clone()), core);
    }

    #[test]
    fn selectors_name_the_fields_of_their_version() {
        for (theirs, core) in [
            ("regarding.uid", "involvedObject.uid"),
            ("reportingController", "reportingComponent"),
            ("metadata.name", "metadata.name"),
            ("type", "type"),
        ] {
            assert_eq!(core_field(theirs), core);
        }
    }

    /// embedded-cluster.md 12.
    #[test]
    fn cells_show_the_series() {
        let event = json!({
            "metadata": {"name": "e"}, "type": "Warning", "reason": "BackOff", "message": " back-off \n", "count": 4,
            "involvedObject": {"kind": "Pod", "name": "p", "fieldPath": "spec.containers{a}"},
            "source": {"component": "kubelet", "host": "n1"},
            "firstTimestamp": "2026-01-01T00:00:00Z", "lastTimestamp": "2026-01-01T00:09:30Z",
        });
        let now = "2026-01-01T00:10:00Z".parse().unwrap();
        let wanted = json!([
            "30s",
            "Warning",
            "BackOff",
            "pod/p",
            "spec.containers{a}",
            "kubelet, n1",
            "back-off",
            "10m",
            4,
            "e"
        ]);
        assert_eq!(Value::from(cells(&event, now)), wanted);
        let empty = cells(
            &json!({"metadata": {"name": "e"}, "eventTime": "2026-01-01T00:09:00.000000Z"}),
            now,
        );
        assert_eq!(
            Value::from(empty),
            json!(["60s", "", "", "/", "", "", "", "60s", 1, "e"])
        );
    }
}
