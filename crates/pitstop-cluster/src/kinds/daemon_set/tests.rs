use super::*;
use crate::kinds::Creation;

fn daemon_set(change: impl FnOnce(&mut Value)) -> Value {
    let mut object = json!({
        "metadata": {"name": "x"},
        "spec": {
            "selector": {"matchLabels": {"app": "x"}},
            "template": {
                "metadata": {"labels": {"app": "x"}},
                "spec": {"containers": [{"name": "c", "image": "c:1"}]},
            },
        },
    });
    change(&mut object);
    default(&mut object);
    object
}

fn errors(object: &Value) -> Vec<String> {
    validate(object).iter().map(ToString::to_string).collect()
}

fn creation() -> Creation<'static> {
    Creation::at(Timestamp::UNIX_EPOCH)
}

/// daemonset.md A1, the table of defaults.
#[test]
fn defaults_are_filled_in_for_rolling_updates_only() {
    let object = daemon_set(|_| {});
    assert_eq!(object["spec"]["revisionHistoryLimit"], 10);
    assert_eq!(
        object["spec"]["updateStrategy"],
        json!({"type": "RollingUpdate", "rollingUpdate": {"maxUnavailable": 1, "maxSurge": 0}})
    );
    let on_delete = daemon_set(|object| object["spec"]["updateStrategy"] = json!({"type": "OnDelete"}));
    assert_eq!(on_delete["spec"]["updateStrategy"], json!({"type": "OnDelete"}));
    assert_eq!(errors(&object), Vec::<String>::new());
    assert_eq!(errors(&on_delete), Vec::<String>::new());
}

/// daemonset.md A1.2.
#[test]
fn exactly_one_of_max_unavailable_and_max_surge_is_set() {
    const ROLLING: &str = "spec.updateStrategy.rollingUpdate";
    let none = "cannot be 0 when maxSurge is 0";
    let both = "may not be set when maxUnavailable is non-zero";
    let cases = [
        (
            json!({"maxSurge": 1}),
            vec![format!("{ROLLING}.maxSurge: Invalid value: 1: {both}")],
        ),
        (
            json!({"maxSurge": "10%"}),
            vec![format!("{ROLLING}.maxSurge: Invalid value: \"10%\": {both}")],
        ),
        (
            json!({"maxUnavailable": 0}),
            vec![format!("{ROLLING}.maxUnavailable: Required value: {none}")],
        ),
        (
            json!({"maxUnavailable": "0%"}),
            vec![format!("{ROLLING}.maxUnavailable: Required value: {none}")],
        ),
        (json!({"maxUnavailable": 0, "maxSurge": 1}), vec![]),
        (json!({"maxUnavailable": "30%"}), vec![]),
        (
            json!({"maxUnavailable": "101%"}),
            vec![format!(
                "{ROLLING}.maxUnavailable: Invalid value: \"101%\": must not be greater than 100%"
            )],
        ),
        (
            json!({"maxUnavailable": -1}),
            vec![format!(
                "{ROLLING}.maxUnavailable: Invalid value: -1: must be greater than or equal to 0"
            )],
        ),
    ];
    for (rolling, wanted) in cases {
        let object =
            daemon_set(|object| object["spec"]["updateStrategy"] = json!({"rollingUpdate": rolling}));
        assert_eq!(errors(&object), wanted);
    }
    let text = daemon_set(|object| {
        object["spec"]["updateStrategy"] = json!({"rollingUpdate": {"maxUnavailable": "x"}});
    });
    assert!(errors(&text)[0].contains("a valid percent string must be a numeric string"));
}

/// daemonset.md A1, table and A1.3.
#[test]
fn wrong_daemon_sets_are_refused_in_upstreams_words() {
    type Change = fn(&mut Value);
    let cases: [(Change, &str); 8] = [
        (
            |object| object["spec"]["selector"] = json!({"matchLabels": {"app": "y"}}),
            r#"spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`"#,
        ),
        (
            |object| object["spec"]["selector"] = json!({}),
            "spec.selector: Invalid value: {}: empty selector is invalid for daemonset",
        ),
        (
            |object| drop(object["spec"].as_object_mut().unwrap().remove("selector")),
            r#"spec.template.metadata.labels: Invalid value: {"app":"x"}: `selector` does not match template `labels`"#,
        ),
        (
            |object| object["spec"]["template"]["spec"]["restartPolicy"] = json!("Never"),
            r#"spec.template.spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#,
        ),
        (
            |object| object["spec"]["template"]["spec"]["activeDeadlineSeconds"] = json!(5),
            "spec.template.spec.activeDeadlineSeconds: Forbidden: activeDeadlineSeconds in DaemonSet is not Supported",
        ),
        (
            |object| object["spec"]["minReadySeconds"] = json!(-1),
            "spec.minReadySeconds: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            |object| object["spec"]["revisionHistoryLimit"] = json!(-1),
            "spec.revisionHistoryLimit: Invalid value: -1: must be greater than or equal to 0",
        ),
        (
            |object| object["spec"]["updateStrategy"] = json!({"type": "Recreate"}),
            r#"spec.updateStrategy: Unsupported value: "Recreate": supported values: "RollingUpdate", "OnDelete""#,
        ),
    ];
    for (change, wanted) in cases {
        assert_eq!(errors(&daemon_set(change)), [wanted]);
    }
}

#[test]
fn selectors_with_expressions_match_templates() {
    let cases = [
        (
            json!({"key": "app", "operator": "In", "values": ["x", "y"]}),
            true,
        ),
        (json!({"key": "app", "operator": "NotIn", "values": ["x"]}), false),
        (json!({"key": "app", "operator": "Exists"}), true),
        (json!({"key": "other", "operator": "DoesNotExist"}), true),
        (
            json!({"key": "other", "operator": "NotIn", "values": ["x"]}),
            true,
        ),
        (json!({"key": "app", "operator": "In"}), false),
        (json!({"key": "app", "operator": "Like"}), false),
    ];
    for (expression, valid) in cases {
        let object =
            daemon_set(|object| object["spec"]["selector"] = json!({"matchExpressions": [expression]}));
        assert_eq!(errors(&object).is_empty(), valid, "{expression}");
    }
}

#[test]
fn the_selector_is_immutable() {
    let old = daemon_set(|_| {});
    let new = daemon_set(|object| {
        object["spec"]["selector"] = json!({"matchLabels": {"app": "y"}});
        object["spec"]["template"]["metadata"]["labels"] = json!({"app": "y"});
    });
    let errors: Vec<String> = (KIND.validate_update)(&new, &old)
        .iter()
        .map(ToString::to_string)
        .collect();
    assert_eq!(
        errors,
        [r#"spec.selector: Invalid value: {"matchLabels":{"app":"y"}}: field is immutable"#]
    );
}

/// daemonset.md A1, "Generation rules".
#[test]
fn the_template_generation_counts_changes_of_the_template() {
    let generation = |object: &Value| object["metadata"]["annotations"][keys::TEMPLATE_GENERATION].clone();
    let given = |text: &str| {
        let text = text.to_owned();
        let mut object =
            daemon_set(|object| object["metadata"]["annotations"] = json!({keys::TEMPLATE_GENERATION: text}));
        (KIND.prepare_create)(&mut object, &creation());
        object
    };
    for (text, wanted) in [("3", "3"), ("0", "1"), ("-2", "1"), ("x", "1")] {
        assert_eq!(generation(&given(text)), wanted, "{text}");
    }
    let mut old = daemon_set(|_| {});
    (KIND.prepare_create)(&mut old, &creation());
    assert_eq!(generation(&old), "1");
    assert_eq!(old["status"]["numberReady"], 0);

    let mut same = daemon_set(|object| {
        object["metadata"]["annotations"] = json!({keys::TEMPLATE_GENERATION: "9"});
        object["spec"]["minReadySeconds"] = json!(3);
    });
    (KIND.prepare_update)(&mut same, &old);
    assert_eq!(generation(&same), "1");
    let mut spelled_out = json!({"metadata": {}, "spec": {"template": {
        "metadata": {"labels": {"app": "x"}},
        "spec": {"containers": [{"name": "c", "image": "c:1"}], "dnsPolicy": "ClusterFirst"},
    }}});
    (KIND.prepare_update)(&mut spelled_out, &old);
    assert_eq!(generation(&spelled_out), "1");
    let mut changed =
        daemon_set(|object| object["spec"]["template"]["spec"]["containers"][0]["image"] = json!("c:2"));
    (KIND.prepare_update)(&mut changed, &old);
    assert_eq!(generation(&changed), "2");
}

/// daemonset.md B3.
#[test]
fn cells_of_daemon_sets() {
    let mut object = daemon_set(|object| {
        object["spec"]["template"]["spec"]["nodeSelector"] = json!({"b": "2", "a": "1"});
        object["spec"]["template"]["spec"]["containers"] =
            json!([{"name": "c", "image": "c:1"}, {"name": "d", "image": "d:1"}]);
        object["spec"]["selector"]["matchExpressions"] =
            json!([{"key": "t", "operator": "In", "values": ["b", "a"]}]);
    });
    object["status"] = json!({
        "desiredNumberScheduled": 3, "currentNumberScheduled": 2, "numberReady": 1, "updatedNumberScheduled": 1,
    });
    assert_eq!(
        Value::from(cells(&object, Timestamp::UNIX_EPOCH)),
        json!([
            "x",
            3,
            2,
            1,
            1,
            0,
            "a=1,b=2",
            "<unknown>",
            "c,d",
            "c:1,d:1",
            "app=x,t in (a,b)"
        ])
    );
    assert_eq!(cells(&daemon_set(|_| {}), Timestamp::UNIX_EPOCH)[6], "<none>");
}
