//! Jobs and cron jobs. Source: embedded-cluster.md 12, 13.

use jiff::Timestamp;
use pitstop_api::keys;
use serde_json::{Value, json};

use super::fields::{entries, flag, integer, list, map_mut, or, set_missing, text};
use super::pod_template::{default_spec, nonnegative, validate_template};
use super::workload::{immutable, label_selector_errors, selector_text, wide_cells};
use super::{Column, FieldError, Kind, MetadataChecks, Subresource, age};

pub(super) const JOB: Kind = Kind {
    group: "batch",
    categories: &["all"],
    stored_as: ("batch", "jobs"),
    subresources: &[Subresource::Status],
    has_generation: true,
    default: default_job,
    prepare_create: |object, _| {
        map_mut(object, &[]).insert("status".to_owned(), json!({}));
        if !flag(object, "/spec/manualSelector") {
            select_own_pods(object);
        }
    },
    validate: validate_job,
    validate_update: |new, old| {
        let fields = [
            ("completions", "/spec/completions"),
            ("selector", "/spec/selector"),
            ("template", "/spec/template"),
            ("completionMode", "/spec/completionMode"),
        ];
        let changes = fields
            .into_iter()
            .flat_map(|(name, pointer)| immutable(new, old, pointer, &format!("spec.{name}")));
        // A changed one is checked twice.
        validate_job(new).into_iter().chain(changes).collect()
    },
    columns: &[
        Column::NAME,
        Column::string("Status"),
        Column::string("Completions"),
        Column::string("Duration"),
        Column::AGE,
        Column::wide("Containers"),
        Column::wide("Images"),
        Column::wide("Selector"),
    ],
    cells: job_cells,
    metadata_checks: MetadataChecks::WHOLE_FIRST,
    orphans_by_default: true,
    orphan_warning: Some(
        "child pods are preserved by default when jobs are deleted; set propagationPolicy=Background to remove them or \
         set propagationPolicy=Orphan to suppress this warning",
    ),
    ..Kind::plain("Job", "jobs", "job")
};

pub(super) const CRON_JOB: Kind = Kind {
    group: "batch",
    short_names: &["cj"],
    categories: &["all"],
    stored_as: ("batch", "cronjobs"),
    subresources: &[Subresource::Status],
    has_generation: true,
    is_only_stored: true,
    default: |object| {
        let spec = map_mut(object, &["spec"]);
        set_missing(spec, "concurrencyPolicy", "Allow");
        set_missing(spec, "suspend", false);
        set_missing(spec, "successfulJobsHistoryLimit", 3);
        set_missing(spec, "failedJobsHistoryLimit", 1);
        set_missing(map_mut(object, &["spec", "jobTemplate"]), "metadata", json!({}));
        let template = map_mut(object, &["spec", "jobTemplate", "spec", "template"]);
        set_missing(template, "metadata", json!({}));
        default_spec(template.entry("spec").or_insert(Value::Null));
    },
    prepare_create: |object, _| {
        map_mut(object, &[]).insert("status".to_owned(), json!({}));
    },
    validate: validate_cron_job,
    columns: &[
        Column::NAME,
        Column::string("Schedule"),
        Column::string("Timezone"),
        Column {
            kind: "boolean",
            ..Column::string("Suspend")
        },
        Column::integer("Active"),
        Column::string("Last Schedule"),
        Column::AGE,
        Column::wide("Containers"),
        Column::wide("Images"),
        Column::wide("Selector"),
    ],
    cells: cron_job_cells,
    metadata_checks: MetadataChecks {
        on_status: false,
        ..MetadataChecks::CHANGE
    },
    ..Kind::plain("CronJob", "cronjobs", "cronjob")
};

fn default_job(object: &mut Value) {
    let labels = object.pointer("/spec/template/metadata/labels").cloned();
    let has_labels = entries(object, "/metadata/labels").next().is_some();
    if let Some(labels) = labels.filter(|_| !has_labels) {
        map_mut(object, &["metadata"]).insert("labels".to_owned(), labels);
    }
    let spec = map_mut(object, &["spec"]);
    if !spec.contains_key("parallelism") {
        set_missing(spec, "completions", 1);
    }
    set_missing(spec, "parallelism", 1);
    let is_per_index = spec.contains_key("backoffLimitPerIndex");
    set_missing(spec, "backoffLimit", if is_per_index { i32::MAX } else { 6 });
    set_missing(spec, "completionMode", "NonIndexed");
    set_missing(spec, "suspend", false);
    let replaces = if spec.contains_key("podFailurePolicy") {
        "Failed"
    } else {
        "TerminatingOrFailed"
    };
    set_missing(spec, "podReplacementPolicy", replaces);
    set_missing(spec, "manualSelector", false);
    let template = map_mut(object, &["spec", "template"]);
    default_spec(template.entry("spec").or_insert(Value::Null));
}

/// Its pods are told from those of any other Job by its uid.
fn select_own_pods(object: &mut Value) {
    let (uid, name) = (
        text(object, "/metadata/uid").to_owned(),
        text(object, "/metadata/name").to_owned(),
    );
    let labels = map_mut(object, &["spec", "template", "metadata", "labels"]);
    for (key, value) in [
        (keys::CONTROLLER_UID_OLD, &uid),
        (keys::JOB_NAME_OLD, &name),
        (keys::CONTROLLER_UID, &uid),
        (keys::JOB_NAME, &name),
    ] {
        labels.insert(key.to_owned(), value.as_str().into());
    }
    let selector = json!({"matchLabels": {keys::CONTROLLER_UID: uid}});
    map_mut(object, &["spec"]).insert("selector".to_owned(), selector);
}

fn validate_job(object: &Value) -> Vec<FieldError> {
    let mut errors = validate_job_spec(object, "");
    match object.pointer("/spec/selector") {
        Some(selector) => errors.extend(label_selector_errors(selector, "spec.selector")),
        None => errors.push(FieldError::required("spec.selector", "")),
    }
    errors
}

/// What is wrong with the `spec` of a Job that is found at a pointer of its own.
fn validate_job_spec(object: &Value, at: &str) -> Vec<FieldError> {
    let prefix = at.trim_start_matches('/').replace('/', ".");
    let field = |name: &str| {
        if prefix.is_empty() {
            format!("spec.{name}")
        } else {
            format!("{prefix}.spec.{name}")
        }
    };
    let mut errors = Vec::new();
    for name in [
        "parallelism",
        "completions",
        "activeDeadlineSeconds",
        "backoffLimit",
        "ttlSecondsAfterFinished",
    ] {
        errors.extend(nonnegative(object, &format!("{at}/spec/{name}"), &field(name)));
    }
    match object.pointer(&format!("{at}/spec/template")) {
        Some(template) => errors.extend(validate_template(template, &field("template"))),
        None => errors.push(FieldError::required(field("template"), "")),
    }
    if text(object, &format!("{at}/spec/template/spec/restartPolicy")) == "Always" {
        let why = "valid values: \"OnFailure\", \"Never\"";
        errors.push(FieldError::required(field("template.spec.restartPolicy"), why));
    }
    let mode = text(object, &format!("{at}/spec/completionMode"));
    if !["", "NonIndexed", "Indexed"].contains(&mode) {
        let supported = &["NonIndexed", "Indexed"];
        errors.push(FieldError::not_supported(
            field("completionMode"),
            mode,
            supported,
        ));
    }
    errors
}

fn validate_cron_job(object: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    if text(object, "/spec/schedule").is_empty() {
        errors.push(FieldError::required("spec.schedule", ""));
    }
    let policy = text(object, "/spec/concurrencyPolicy");
    if !["Allow", "Forbid", "Replace"].contains(&policy) {
        let supported = &["Allow", "Forbid", "Replace"];
        errors.push(FieldError::not_supported(
            "spec.concurrencyPolicy",
            policy,
            supported,
        ));
    }
    errors.extend(validate_job_spec(object, "/spec/jobTemplate"));
    errors
}

fn job_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let succeeded = integer(object, "/status/succeeded").unwrap_or_default();
    let completions = match (
        integer(object, "/spec/completions"),
        integer(object, "/spec/parallelism"),
    ) {
        (Some(completions), _) => format!("{succeeded}/{completions}"),
        (None, Some(parallelism)) if parallelism > 1 => format!("{succeeded}/1 of {parallelism}"),
        (None, _) => format!("{succeeded}/1"),
    };
    let [containers, images, selector] = wide_cells(object);
    vec![
        age::name(object),
        Value::from(job_status(object)),
        Value::from(completions),
        Value::from(duration(object, now)),
        age::age(object, now),
        containers,
        images,
        selector,
    ]
}

/// Source: embedded-cluster.md 12, "the first that applies".
fn job_status(object: &Value) -> &'static str {
    let has = |kind: &str| {
        let mut conditions = list(object, "/status/conditions").iter();
        conditions.any(|condition| text(condition, "/type") == kind && text(condition, "/status") == "True")
    };
    match () {
        () if has("Complete") => "Complete",
        () if has("Failed") => "Failed",
        () if !text(object, "/metadata/deletionTimestamp").is_empty() => "Terminating",
        () if has("Suspended") => "Suspended",
        () if has("FailureTarget") => "FailureTarget",
        () if has("SuccessCriteriaMet") => "SuccessCriteriaMet",
        () => "Running",
    }
}

fn duration(object: &Value, now: Timestamp) -> String {
    let time = |pointer: &str| text(object, pointer).parse::<Timestamp>().ok();
    let Some(started) = time("/status/startTime") else {
        return String::new();
    };
    let ended = time("/status/completionTime").unwrap_or(now);
    age::human_duration(ended.duration_since(started))
}

fn cron_job_cells(object: &Value, now: Timestamp) -> Vec<Value> {
    let containers = list(object, "/spec/jobTemplate/spec/template/spec/containers");
    let joined = |pointer: &str| {
        let texts: Vec<&str> = containers
            .iter()
            .map(|container| text(container, pointer))
            .collect();
        Value::from(texts.join(","))
    };
    let suspend = if flag(object, "/spec/suspend") {
        "True"
    } else {
        "False"
    };
    vec![
        age::name(object),
        Value::from(text(object, "/spec/schedule")),
        Value::from(or(text(object, "/spec/timeZone"), "<none>")),
        Value::from(suspend),
        Value::from(list(object, "/status/active").len()),
        Value::from(
            age::since(object, "/status/lastScheduleTime", now).unwrap_or_else(|| "<none>".to_owned()),
        ),
        age::age(object, now),
        joined("/name"),
        joined("/image"),
        Value::from(selector_text(object, "/spec/jobTemplate/spec/selector")),
    ]
}

#[cfg(test)]
mod tests {
    use super::*;

    fn job(change: impl FnOnce(&mut Value)) -> Value {
        let mut job = json!({
            "metadata": {"name": "pi", "namespace": "default", "uid": "u1"},
            "spec": {"template": {"spec": {
                "restartPolicy": "Never", "containers": [{"name": "pi", "image": "perl:5"}],
            }}},
        });
        change(&mut job);
        (JOB.prepare_create)(&mut job, &super::super::Creation::at(Timestamp::UNIX_EPOCH));
        default_job(&mut job);
        job
    }

    /// embedded-cluster.md 13.
    #[test]
    fn a_job_selects_the_pods_of_its_uid() {
        let job = job(|_| {});
        assert_eq!(
            job["spec"]["selector"],
            json!({"matchLabels": {"batch.kubernetes.io/controller-uid": "u1"}})
        );
        let labels = json!({
            "batch.kubernetes.io/controller-uid": "u1", "batch.kubernetes.io/job-name": "pi",
            "controller-uid": "u1", "job-name": "pi",
        });
        assert_eq!(job["spec"]["template"]["metadata"]["labels"], labels);
        assert_eq!(job["metadata"]["labels"], labels);
        assert_eq!(
            (&job["spec"]["completions"], &job["spec"]["parallelism"]),
            (&json!(1), &json!(1))
        );
        assert_eq!(job["spec"]["backoffLimit"], 6);
        assert!(validate_job(&job).is_empty());
    }

    #[test]
    fn a_work_queue_has_no_number_of_completions() {
        let queue = job(|job| job["spec"]["parallelism"] = json!(3));
        assert_eq!(queue["spec"].get("completions"), None);
        assert_eq!(job_cells(&queue, Timestamp::UNIX_EPOCH)[2], "0/1 of 3");
    }

    #[test]
    fn wrong_jobs_are_refused_in_upstreams_words() {
        let always = job(|job| {
            job["spec"]["template"]["spec"]["restartPolicy"] = json!("Always");
            job["spec"]["backoffLimit"] = json!(-1);
        });
        let errors: Vec<String> = validate_job(&always).iter().map(ToString::to_string).collect();
        assert_eq!(
            errors,
            [
                "spec.backoffLimit: Invalid value: -1: must be greater than or equal to 0",
                "spec.template.spec.restartPolicy: Required value: valid values: \"OnFailure\", \"Never\""
            ]
        );
        let changed = job(|job| job["spec"]["completions"] = json!(2));
        let errors = (JOB.validate_update)(&changed, &job(|_| {}));
        assert_eq!(
            errors[0].to_string(),
            "spec.completions: Invalid value: 2: field is immutable"
        );
    }

    /// embedded-cluster.md 12.
    #[test]
    fn cells_of_jobs() {
        let now = "2026-01-01T00:02:00Z".parse().unwrap();
        let done = job(|_| {});
        let mut done = done.clone();
        done["status"] = json!({
            "succeeded": 1, "startTime": "2026-01-01T00:00:00Z", "completionTime": "2026-01-01T00:00:05Z",
            "conditions": [{"type": "Complete", "status": "True"}],
        });
        let cells = job_cells(&done, now);
        assert_eq!(
            cells[..4],
            [json!("pi"), json!("Complete"), json!("1/1"), json!("5s")]
        );
        assert_eq!(
            cells[5..],
            [
                json!("pi"),
                json!("perl:5"),
                json!("batch.kubernetes.io/controller-uid=u1")
            ]
        );
    }
}
