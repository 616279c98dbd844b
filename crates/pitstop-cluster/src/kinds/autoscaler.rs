//! Autoscalers, which are stored and do nothing: one store, two versions.
//!
//! Source: embedded-cluster.md 12, 13; what version 1 keeps in annotations is the answer of Kubernetes 1.34.

use jiff::Timestamp;
use pitstop_api::keys::{
    AUTOSCALER_BEHAVIOR, AUTOSCALER_CONDITIONS, AUTOSCALER_CURRENT_METRICS, AUTOSCALER_METRICS,
};
use serde_json::{Map, Value, json};

use super::fields::{integer, list, map_mut, set_missing, text};
use super::{Column, Conversion, FieldError, Kind, MetadataChecks, Subresource, age};

/// What is aimed at where nobody says anything. Units: percent of the requested processor time.
const DEFAULT_CPU: i64 = 80;
const V1: &str = "autoscaling/v1";
const V2: &str = "autoscaling/v2";

pub(super) const SECOND: Kind = Kind {
    group: "autoscaling",
    version: "v2",
    short_names: &["hpa"],
    categories: &["all"],
    stored_as: ("autoscaling", "horizontalpodautoscalers"),
    subresources: &[Subresource::Status],
    is_only_stored: true,
    default,
    prepare_create: |object, _| {
        let status = json!({"currentMetrics": null, "desiredReplicas": 0});
        map_mut(object, &[]).insert("status".to_owned(), status);
    },
    validate,
    columns: &[
        Column::NAME,
        Column::string("Reference"),
        Column::string("Targets"),
        Column::string("MinPods"),
        Column::string("MaxPods"),
        Column::string("Replicas"),
        Column::AGE,
    ],
    cells,
    metadata_checks: MetadataChecks::CHANGE,
    ..Kind::plain(
        "HorizontalPodAutoscaler",
        "horizontalpodautoscalers",
        "horizontalpodautoscaler",
    )
};

/// The version that knows only the processor; the rest of the second is in annotations of it.
pub(super) const FIRST: Kind = Kind {
    version: "v1",
    conversion: Some(&Conversion {
        to_stored: to_second,
        from_stored: to_first,
        stored_field: str::to_owned,
    }),
    default: |object| {
        let mut second = to_second(object.take());
        default(&mut second);
        *object = to_first(second);
    },
    prepare_create: |object, _| {
        let status = json!({"currentReplicas": 0, "desiredReplicas": 0});
        map_mut(object, &[]).insert("status".to_owned(), status);
    },
    validate: |object| validate(&to_second(object.clone())),
    cells: |object, now| cells(&to_second(object.clone()), now),
    ..SECOND
};

fn default(object: &mut Value) {
    let spec = map_mut(object, &["spec"]);
    set_missing(spec, "minReplicas", 1);
    if spec
        .get("metrics")
        .and_then(Value::as_array)
        .is_none_or(Vec::is_empty)
    {
        spec.insert("metrics".to_owned(), json!([cpu_target(DEFAULT_CPU)]));
    }
    if let Some(behavior) = spec.get_mut("behavior").filter(|behavior| behavior.is_object()) {
        let percent = json!({"type": "Percent", "value": 100, "periodSeconds": 15});
        let pods = json!({"type": "Pods", "value": 4, "periodSeconds": 15});
        let up = map_mut(behavior, &["scaleUp"]);
        set_missing(up, "stabilizationWindowSeconds", 0);
        set_missing(up, "selectPolicy", "Max");
        set_missing(up, "policies", json!([pods, percent]));
        let down = map_mut(behavior, &["scaleDown"]);
        set_missing(down, "selectPolicy", "Max");
        set_missing(down, "policies", json!([percent]));
    }
}

fn validate(object: &Value) -> Vec<FieldError> {
    let most = integer(object, "/spec/maxReplicas").unwrap_or_default();
    let least = integer(object, "/spec/minReplicas").unwrap_or(1);
    let mut errors = Vec::new();
    if least < 1 {
        let why = "must be greater than or equal to 1";
        errors.push(FieldError::invalid("spec.minReplicas", least, why));
    }
    if most < 1 {
        errors.push(FieldError::invalid(
            "spec.maxReplicas",
            most,
            "must be greater than 0",
        ));
    }
    if most < least {
        let why = "must be greater than or equal to `minReplicas`";
        errors.push(FieldError::invalid("spec.maxReplicas", most, why));
    }
    for name in ["kind", "name"] {
        if text(object, &format!("/spec/scaleTargetRef/{name}")).is_empty() {
            errors.push(FieldError::required(format!("spec.scaleTargetRef.{name}"), ""));
        }
    }
    for (index, metric) in list(object, "/spec/metrics").iter().enumerate() {
        let percent = integer(metric, "/resource/target/averageUtilization");
        if let Some(percent) = percent.filter(|percent| *percent < 1) {
            let field = format!("spec.metrics[{index}].resource.target.averageUtilization");
            errors.push(FieldError::invalid(field, percent, "must be greater than 0"));
        }
    }
    errors
}

fn cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let reference = object
        .pointer("/spec/scaleTargetRef")
        .cloned()
        .unwrap_or_default();
    let number = |pointer: &str| integer(object, pointer).unwrap_or_default();
    let metrics: Vec<String> = list(object, "/spec/metrics").iter().map(target_of).collect();
    let least = integer(object, "/spec/minReplicas").map_or_else(|| "<unset>".to_owned(), |n| n.to_string());
    vec![
        age::name(object),
        Value::from(format!(
            "{}/{}",
            text(&reference, "/kind"),
            text(&reference, "/name")
        )),
        Value::from(if metrics.is_empty() {
            "<none>".to_owned()
        } else {
            shown(&metrics)
        }),
        Value::from(least),
        Value::from(number("/spec/maxReplicas")),
        Value::from(number("/status/currentReplicas")),
        age::age(object, now),
    ]
}

/// Two metrics, and how many more there are.
fn shown(metrics: &[String]) -> String {
    const SHOWN: usize = 2;
    let first: Vec<&str> = metrics.iter().take(SHOWN).map(String::as_str).collect();
    match metrics.len().saturating_sub(SHOWN) {
        0 => first.join(", "),
        more => format!("{} + {more} more...", first.join(", ")),
    }
}

/// What a metric is to reach; nothing measures it here.
fn target_of(metric: &Value) -> String {
    let source = ["resource", "containerResource", "pods", "object", "external"];
    let Some(source) = source.iter().find_map(|name| metric.get(name)) else {
        return "<unknown>".to_owned();
    };
    let name = text(source, "/name");
    let target = match (
        integer(source, "/target/averageUtilization"),
        text(source, "/target/averageValue"),
    ) {
        (Some(percent), _) => format!("{percent}%"),
        (None, "") => text(source, "/target/value").to_owned(),
        (None, average) => average.to_owned(),
    };
    if name.is_empty() {
        format!("<unknown>/{target}")
    } else {
        format!("{name}: <unknown>/{target}")
    }
}

fn cpu_target(percent: i64) -> Value {
    json!({
        "type": "Resource",
        "resource": {"name": "cpu", "target": {"type": "Utilization", "averageUtilization": percent}},
    })
}

/// The percentage of the processor that a metric of the second version aims at.
fn cpu_percent(metric: &Value) -> Option<i64> {
    let is_cpu = text(metric, "/type") == "Resource" && text(metric, "/resource/name") == "cpu";
    integer(metric, "/resource/target/averageUtilization").filter(|_| is_cpu)
}

fn is(object: &Value, api_version: &str) -> bool {
    text(object, "/apiVersion") == api_version
}

/// An object of the second version in the first one. One of the first stays as it is.
fn to_first(mut object: Value) -> Value {
    if is(&object, V1) {
        return object;
    }
    map_mut(&mut object, &[]).insert("apiVersion".to_owned(), V1.into());
    let mut notes: Vec<(&str, String)> = Vec::new();
    if object.get("spec").is_some() {
        let spec = map_mut(&mut object, &["spec"]);
        let metrics = spec.remove("metrics").unwrap_or_default();
        let metrics = metrics.as_array().cloned().unwrap_or_default();
        if let Some(percent) = metrics.iter().find_map(cpu_percent) {
            spec.insert("targetCPUUtilizationPercentage".to_owned(), percent.into());
        }
        let others: Vec<String> = metrics
            .iter()
            .filter(|metric| cpu_percent(metric).is_none())
            .map(old_metric)
            .collect();
        if !others.is_empty() {
            notes.push((AUTOSCALER_METRICS, format!("[{}]", others.join(","))));
        }
        if let Some(behavior) = spec.remove("behavior").filter(Value::is_object) {
            notes.push((AUTOSCALER_BEHAVIOR, old_behavior(&behavior)));
        }
    }
    if object.get("status").is_some() {
        let status = map_mut(&mut object, &["status"]);
        set_missing(status, "currentReplicas", 0);
        let metrics = status.remove("currentMetrics").unwrap_or_default();
        let metrics = metrics.as_array().cloned().unwrap_or_default();
        let current = metrics.iter().find_map(|metric| {
            let is_cpu = text(metric, "/type") == "Resource" && text(metric, "/resource/name") == "cpu";
            integer(metric, "/resource/current/averageUtilization").filter(|_| is_cpu)
        });
        if let Some(current) = current {
            status.insert("currentCPUUtilizationPercentage".to_owned(), current.into());
        }
        if !metrics.is_empty() {
            let all: Vec<String> = metrics.iter().map(old_current_metric).collect();
            notes.push((AUTOSCALER_CURRENT_METRICS, format!("[{}]", all.join(","))));
        }
        let conditions = status.remove("conditions").unwrap_or_default();
        let conditions: Vec<String> = list(&conditions, "").iter().map(old_condition).collect();
        if !conditions.is_empty() {
            notes.push((AUTOSCALER_CONDITIONS, format!("[{}]", conditions.join(","))));
        }
    }
    if !notes.is_empty() {
        let annotations = map_mut(&mut object, &["metadata", "annotations"]);
        annotations.extend(notes.into_iter().map(|(key, note)| (key.to_owned(), note.into())));
    }
    object
}

/// An object of the first version in the second one. One of the second stays as it is.
fn to_second(mut object: Value) -> Value {
    if is(&object, V2) {
        return object;
    }
    map_mut(&mut object, &[]).insert("apiVersion".to_owned(), V2.into());
    let mut note = |key: &str| -> Option<Value> {
        let annotations = object.pointer_mut("/metadata/annotations")?.as_object_mut()?;
        let note = annotations.remove(key);
        if annotations.is_empty()
            && let Some(metadata) = object.get_mut("metadata").and_then(Value::as_object_mut)
        {
            metadata.remove("annotations");
        }
        serde_json::from_str(note?.as_str()?).ok()
    };
    let [metrics, behavior, current, conditions] = [
        AUTOSCALER_METRICS,
        AUTOSCALER_BEHAVIOR,
        AUTOSCALER_CURRENT_METRICS,
        AUTOSCALER_CONDITIONS,
    ]
    .map(&mut note);
    if object.get("spec").is_some() {
        let spec = map_mut(&mut object, &["spec"]);
        let others = metrics.unwrap_or_default();
        let mut metrics: Vec<Value> = list(&others, "").iter().map(new_metric).collect();
        let percent = spec.remove("targetCPUUtilizationPercentage");
        metrics.extend(percent.as_ref().and_then(Value::as_i64).map(cpu_target));
        if !metrics.is_empty() {
            spec.insert("metrics".to_owned(), metrics.into());
        }
        if let Some(behavior) = behavior.as_ref().and_then(new_behavior) {
            spec.insert("behavior".to_owned(), behavior);
        }
    }
    if object.get("status").is_some() {
        let status = map_mut(&mut object, &["status"]);
        if status.get("currentReplicas") == Some(&json!(0)) {
            status.remove("currentReplicas");
        }
        let percent = status.remove("currentCPUUtilizationPercentage");
        let measured = match (current, percent) {
            (Some(current), _) => list(&current, "").iter().map(new_current_metric).collect(),
            (None, Some(percent)) => json!([{
                "type": "Resource", "resource": {"name": "cpu", "current": {"averageUtilization": percent}},
            }]),
            (None, None) => Value::Null,
        };
        status.insert("currentMetrics".to_owned(), measured);
        if let Some(conditions) = conditions {
            status.insert("conditions".to_owned(), conditions);
        }
    }
    object
}

/// A JSON object with its fields in this order, those without a value left out.
fn ordered(fields: &[(&str, Option<&Value>)]) -> String {
    let fields = fields.iter().filter_map(|(name, value)| {
        let value = value.filter(|value| !value.is_null())?;
        Some(format!("{}:{value}", Value::from(*name)))
    });
    format!("{{{}}}", fields.collect::<Vec<_>>().join(","))
}

/// The name of the source of a metric, and the source.
fn source_of(metric: &Value) -> (&'static str, &Value) {
    let name = match text(metric, "/type") {
        "ContainerResource" => "containerResource",
        "Pods" => "pods",
        "Object" => "object",
        "External" => "external",
        _ => "resource",
    };
    (name, metric.get(name).unwrap_or(&Value::Null))
}

fn enclosed(metric: &Value, name: &str, source: &str) -> String {
    let of_type = metric.get("type").cloned().unwrap_or_default();
    format!("{{\"type\":{of_type},\"{name}\":{source}}}")
}

/// The target of an object or of a scale, in the order of its fields.
fn reference(target: Option<&Value>) -> Option<Value> {
    target.cloned()
}

fn ordered_reference(target: Option<&Value>) -> String {
    let field = |name: &str| target.and_then(|target| target.get(name));
    ordered(&[
        ("kind", field("kind")),
        ("name", field("name")),
        ("apiVersion", field("apiVersion")),
    ])
}

/// A metric as the annotation of the first version has it.
fn old_metric(metric: &Value) -> String {
    let (name, source) = source_of(metric);
    let at = |pointer: &str| source.pointer(pointer);
    let average = at("/target/averageValue");
    let source_text = match name {
        "pods" => ordered(&[
            ("metricName", at("/metric/name")),
            ("targetAverageValue", average),
            ("selector", at("/metric/selector")),
        ]),
        "object" => {
            let rest = ordered(&[
                ("metricName", at("/metric/name")),
                ("targetValue", at("/target/value").or(Some(&json!("0")))),
                ("selector", at("/metric/selector")),
                ("averageValue", average),
            ]);
            let rest = rest.strip_prefix('{').unwrap_or_default();
            format!(
                "{{\"target\":{},{rest}",
                ordered_reference(at("/describedObject"))
            )
        }
        "external" => ordered(&[
            ("metricName", at("/metric/name")),
            ("metricSelector", at("/metric/selector")),
            ("targetValue", at("/target/value")),
            ("targetAverageValue", average),
        ]),
        "containerResource" => ordered(&[
            ("name", at("/name")),
            ("targetAverageUtilization", at("/target/averageUtilization")),
            ("targetAverageValue", average),
            ("container", at("/container")),
        ]),
        _ => ordered(&[
            ("name", at("/name")),
            ("targetAverageUtilization", at("/target/averageUtilization")),
            ("targetAverageValue", average),
        ]),
    };
    enclosed(metric, name, &source_text)
}

/// What was measured, as the annotation of the first version has it.
fn old_current_metric(metric: &Value) -> String {
    let (name, source) = source_of(metric);
    let at = |pointer: &str| source.pointer(pointer);
    let average = at("/current/averageValue");
    let source_text = match name {
        "pods" => ordered(&[
            ("metricName", at("/metric/name")),
            ("currentAverageValue", average),
            ("selector", at("/metric/selector")),
        ]),
        "object" => {
            let rest = ordered(&[
                ("metricName", at("/metric/name")),
                ("currentValue", at("/current/value").or(Some(&json!("0")))),
                ("selector", at("/metric/selector")),
                ("averageValue", average),
            ]);
            let rest = rest.strip_prefix('{').unwrap_or_default();
            format!(
                "{{\"target\":{},{rest}",
                ordered_reference(at("/describedObject"))
            )
        }
        "external" => ordered(&[
            ("metricName", at("/metric/name")),
            ("metricSelector", at("/metric/selector")),
            ("currentValue", at("/current/value").or(Some(&json!("0")))),
            ("currentAverageValue", average),
        ]),
        "containerResource" => ordered(&[
            ("name", at("/name")),
            ("currentAverageUtilization", at("/current/averageUtilization")),
            ("currentAverageValue", average.or(Some(&json!("0")))),
            ("container", at("/container")),
        ]),
        _ => ordered(&[
            ("name", at("/name")),
            ("currentAverageUtilization", at("/current/averageUtilization")),
            ("currentAverageValue", average.or(Some(&json!("0")))),
        ]),
    };
    enclosed(metric, name, &source_text)
}

fn old_condition(condition: &Value) -> String {
    let at = |name: &str| condition.get(name);
    let head = ordered(&[("type", at("type")), ("status", at("status"))]);
    let tail = ordered(&[("reason", at("reason")), ("message", at("message"))]);
    let time = at("lastTransitionTime").cloned().unwrap_or_default();
    let comma = if tail == "{}" { "" } else { "," };
    format!(
        "{},\"lastTransitionTime\":{time}{comma}{}",
        head.trim_end_matches('}'),
        tail.trim_start_matches('{')
    )
}

/// The behaviour is kept as the internal type of Go is written, nulls included.
fn old_behavior(behavior: &Value) -> String {
    let rules = |name: &str| {
        let Some(rules) = behavior.get(name).filter(|rules| rules.is_object()) else {
            return "null".to_owned();
        };
        let at = |name: &str| rules.get(name).cloned().unwrap_or_default();
        let policies = list(rules, "/policies").iter().map(|policy| {
            let at = |name: &str| policy.get(name).cloned().unwrap_or_default();
            format!(
                "{{\"Type\":{},\"Value\":{},\"PeriodSeconds\":{}}}",
                at("type"),
                at("value"),
                at("periodSeconds")
            )
        });
        let policies: Vec<String> = policies.collect();
        format!(
            "{{\"StabilizationWindowSeconds\":{},\"SelectPolicy\":{},\"Policies\":[{}],\"Tolerance\":{}}}",
            at("stabilizationWindowSeconds"),
            at("selectPolicy"),
            policies.join(","),
            at("tolerance")
        )
    };
    format!(
        "{{\"ScaleUp\":{},\"ScaleDown\":{}}}",
        rules("scaleUp"),
        rules("scaleDown")
    )
}

/// An object of those fields that have a value.
fn object_of(fields: impl IntoIterator<Item = (&'static str, Option<Value>)>) -> Value {
    let given = fields
        .into_iter()
        .filter_map(|(name, value)| Some((name.to_owned(), value.filter(|value| !value.is_null())?)));
    Value::Object(given.collect::<Map<_, _>>())
}

/// A metric of the annotation as the second version has it.
fn new_metric(metric: &Value) -> Value {
    let (name, source) = source_of(metric);
    let at = |name: &str| source.get(name).cloned();
    let metric_of = |selector: &str| object_of([("name", at("metricName")), ("selector", at(selector))]);
    let target = |percent: Option<Value>, average: Option<Value>, value: Option<Value>| {
        let of_type = match (&percent, &average) {
            (Some(_), _) => "Utilization",
            (None, Some(_)) => "AverageValue",
            (None, None) => "Value",
        };
        object_of([
            ("type", Some(of_type.into())),
            ("averageUtilization", percent),
            ("averageValue", average),
            ("value", value),
        ])
    };
    let average = || at("targetAverageValue");
    let source = match name {
        "pods" => object_of([
            ("metric", Some(metric_of("selector"))),
            ("target", Some(target(None, average(), None))),
        ]),
        "object" => {
            let average = at("averageValue");
            let value = at("targetValue").filter(|_| average.is_none());
            object_of([
                ("describedObject", reference(source.get("target"))),
                ("metric", Some(metric_of("selector"))),
                ("target", Some(target(None, average, value))),
            ])
        }
        "external" => object_of([
            ("metric", Some(metric_of("metricSelector"))),
            ("target", Some(target(None, average(), at("targetValue")))),
        ]),
        _ => object_of([
            ("name", at("name")),
            ("container", at("container")),
            (
                "target",
                Some(target(at("targetAverageUtilization"), average(), None)),
            ),
        ]),
    };
    json!({"type": metric.get("type"), name: source})
}

fn new_current_metric(metric: &Value) -> Value {
    let (name, source) = source_of(metric);
    let at = |name: &str| source.get(name).cloned();
    let metric_of = |selector: &str| object_of([("name", at("metricName")), ("selector", at(selector))]);
    let current = |value: Option<Value>, average: Option<Value>| {
        object_of([
            ("value", value),
            ("averageValue", average),
            ("averageUtilization", at("currentAverageUtilization")),
        ])
    };
    let average = || at("currentAverageValue");
    let source = match name {
        "pods" => object_of([
            ("metric", Some(metric_of("selector"))),
            ("current", Some(current(None, average()))),
        ]),
        "object" => object_of([
            ("describedObject", reference(source.get("target"))),
            ("metric", Some(metric_of("selector"))),
            ("current", Some(current(at("currentValue"), at("averageValue")))),
        ]),
        "external" => object_of([
            ("metric", Some(metric_of("metricSelector"))),
            ("current", Some(current(at("currentValue"), average()))),
        ]),
        _ => object_of([
            ("name", at("name")),
            ("container", at("container")),
            ("current", Some(current(None, average()))),
        ]),
    };
    json!({"type": metric.get("type"), name: source})
}

fn new_behavior(behavior: &Value) -> Option<Value> {
    let rules = |name: &str| {
        let rules = behavior.get(name).filter(|rules| rules.is_object())?;
        let at = |name: &str| rules.get(name).cloned();
        let policies = list(rules, "/Policies").iter().map(|policy| {
            object_of([
                ("type", policy.get("Type").cloned()),
                ("value", policy.get("Value").cloned()),
                ("periodSeconds", policy.get("PeriodSeconds").cloned()),
            ])
        });
        Some(object_of([
            ("stabilizationWindowSeconds", at("StabilizationWindowSeconds")),
            ("selectPolicy", at("SelectPolicy")),
            ("policies", Some(policies.collect())),
            ("tolerance", at("Tolerance")),
        ]))
    };
    behavior.as_object()?;
    Some(object_of([
        ("scaleUp", rules("ScaleUp")),
        ("scaleDown", rules("ScaleDown")),
    ]))
}

#[cfg(test)]
mod tests {
    use super::*;

    fn second(metrics: &Value, behavior: &Value) -> Value {
        json!({
            "apiVersion": V2, "kind": "HorizontalPodAutoscaler", "metadata": {"name": "a"},
            "spec": {"maxReplicas": 3, "metrics": metrics, "behavior": behavior},
        })
    }

    /// What both versions say is the same, whatever the first one has no field for.
    #[test]
    fn every_metric_survives_the_first_version() {
        let average = json!({"type": "AverageValue", "averageValue": "5"});
        let described = json!({"kind": "Service", "name": "s", "apiVersion": "v1"});
        let metrics = json!([
            {"type": "Resource", "resource": {"name": "memory", "target": average}},
            {"type": "Pods", "pods": {"metric": {"name": "x"}, "target": average}},
            {"type": "Object", "object": {"describedObject": described, "target": {"type": "Value", "value": "10"},
                "metric": {"name": "y", "selector": {"matchLabels": {"a": "b"}}}}},
            {"type": "External", "external": {"metric": {"name": "z"}, "target": average}},
            {"type": "ContainerResource", "containerResource": {"name": "cpu", "container": "c",
                "target": {"type": "Utilization", "averageUtilization": 10}}},
            cpu_target(60),
        ]);
        let behavior = json!({"scaleDown": {"stabilizationWindowSeconds": 10, "selectPolicy": "Max",
            "policies": [{"type": "Percent", "value": 100, "periodSeconds": 15}]}});
        let object = second(&metrics, &behavior);
        let first = to_first(object.clone());
        assert_eq!(first["spec"]["targetCPUUtilizationPercentage"], 60);
        assert_eq!(
            first["metadata"]["annotations"][AUTOSCALER_METRICS],
            "[{\"type\":\"Resource\",\"resource\":{\"name\":\"memory\",\"targetAverageValue\":\"5\"}},\
             {\"type\":\"Pods\",\"pods\":{\"metricName\":\"x\",\"targetAverageValue\":\"5\"}},\
             {\"type\":\"Object\",\"object\":{\"target\":{\"kind\":\"Service\",\"name\":\"s\",\"apiVersion\":\"v1\"},\
             \"metricName\":\"y\",\"targetValue\":\"10\",\"selector\":{\"matchLabels\":{\"a\":\"b\"}}}},\
             {\"type\":\"External\",\"external\":{\"metricName\":\"z\",\"targetAverageValue\":\"5\"}},\
             {\"type\":\"ContainerResource\",\"containerResource\":{\"name\":\"cpu\",\
             \"targetAverageUtilization\":10,\"container\":\"c\"}}]"
        );
        assert_eq!(to_second(first), object);
    }

    #[test]
    fn who_says_nothing_aims_at_most_of_the_processor() {
        let mut first = json!({"apiVersion": V1, "spec": {"maxReplicas": 3}});
        (FIRST.default)(&mut first);
        let wanted = json!({"maxReplicas": 3, "minReplicas": 1, "targetCPUUtilizationPercentage": 80});
        assert_eq!(first["spec"], wanted);
    }

    #[test]
    fn a_row_says_what_is_aimed_at() {
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let mut scaler =
            json!({"spec": {"maxReplicas": 5, "scaleTargetRef": {"kind": "Deployment", "name": "web"}}});
        default(&mut scaler);
        let row = cells(&scaler, now);
        assert_eq!(
            row[1..6],
            [
                json!("Deployment/web"),
                json!("cpu: <unknown>/80%"),
                json!("1"),
                json!(5),
                json!(0)
            ]
        );
    }
}
