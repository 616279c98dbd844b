//! What is printed, and that it says what the table says.

use std::collections::BTreeSet;

use pitstop_controller::Controller::{CloneSet, DaemonPodUpdater, NativeDaemonSet, StatefulSet};
use serde_json::Value;

use super::*;

fn options(controllers: &[Controller]) -> Options {
    Options {
        image: "registry.example.com/pitstop:1".to_owned(),
        controllers: controllers.to_vec(),
        ..Options::default()
    }
}

/// The documents, read back by a YAML reader that is not ours.
fn read(yaml: &str) -> Vec<Value> {
    serde_saphyr::from_multiple(yaml).unwrap()
}

/// `(verb, group, resource, name)` of every right that the roles grant.
fn granted(documents: &[Value]) -> BTreeSet<(String, String, String, String)> {
    let texts = |value: &Value| -> Vec<String> { serde_json::from_value(value.clone()).unwrap_or_default() };
    let mut rights = BTreeSet::new();
    for role in documents {
        for rule in role["rules"].as_array().into_iter().flatten() {
            let names = texts(&rule["resourceNames"]);
            for verb in texts(&rule["verbs"]) {
                for group in texts(&rule["apiGroups"]) {
                    for resource in texts(&rule["resources"]) {
                        let name = names.first().cloned().unwrap_or_default();
                        rights.insert((verb.clone(), group.clone(), resource, name));
                    }
                }
            }
        }
    }
    rights
}

fn asked_for(rules: impl Iterator<Item = &'static Rule>) -> BTreeSet<(String, String, String, String)> {
    rules
        .map(|rule| (rule.verb.into(), rule.group.into(), rule.path(), rule.name.into()))
        .collect()
}

#[test]
fn what_is_printed_by_default() {
    let text = render(&options(&[DaemonPodUpdater]), None);
    insta::assert_snapshot!(text.replace(env!("CARGO_PKG_VERSION"), "VERSION"));
}

#[test]
fn the_rights_of_the_native_controller() {
    let text = render(&options(&[NativeDaemonSet]), None);
    let rights: Vec<&str> = text
        .split("---\n")
        .filter(|document| document.contains("kind: ClusterRole\n") || document.contains("kind: Role\n"))
        .collect();
    insta::assert_snapshot!(rights.join("---\n"));
}

/// Whoever may run commands in pods may do there what they may: that is not given by itself.
#[test]
fn the_right_to_run_commands_is_given_where_it_is_asked_for() {
    let has = |runs_commands: bool| {
        let options = Options {
            runs_commands,
            ..options(&[DaemonPodUpdater, StatefulSet])
        };
        let granted = granted(&read(&render(&options, None)));
        let mut resources = granted.iter().map(|(_, _, resource, _)| resource.as_str());
        resources.any(|resource| resource == "pods/exec")
    };
    assert!(!has(false) && has(true));
}

fn with_kinds() -> Options {
    Options {
        controllers: vec![DaemonPodUpdater, CloneSet],
        ..options(&[DaemonPodUpdater])
    }
}

fn outside() -> Options {
    Options {
        webhook_url: Some("https://ops.example.com:9443".to_owned()),
        ..with_kinds()
    }
}

#[test]
fn controllers_outside_of_the_cluster_are_asked_by_url() {
    let documents = read(&render(&outside(), None));
    let kinds: Vec<&str> = documents
        .iter()
        .filter_map(|document| document["kind"].as_str())
        .collect();
    assert!(
        !kinds.contains(&"Deployment") && !kinds.contains(&"Service"),
        "{kinds:?}"
    );
    let urls: Vec<&str> = documents
        .iter()
        .flat_map(|document| {
            let webhooks = document["webhooks"].as_array().into_iter().flatten();
            let conversion = &document["spec"]["conversion"]["webhook"]["clientConfig"];
            webhooks
                .map(|webhook| &webhook["clientConfig"])
                .chain([conversion])
        })
        .filter(|client| !client.is_null())
        .map(|client| {
            assert_eq!(client.as_object().unwrap().len(), 1, "{client}");
            client["url"].as_str().unwrap()
        })
        .collect();
    assert_eq!(
        urls,
        [
            "https://ops.example.com:9443/mutate-apps-kruise-io-cloneset",
            "https://ops.example.com:9443/validate-apps-kruise-io-cloneset",
            "https://ops.example.com:9443/convert",
        ]
    );
}

#[test]
fn the_kinds_and_what_their_webhooks_need() {
    let text = render(&with_kinds(), None);
    let plain = render(&options(&[DaemonPodUpdater]), None);
    let added = text.split("---\n").filter(|document| !plain.contains(document));
    insta::assert_snapshot!(added.collect::<Vec<_>>().join("---\n"));
}

#[test]
fn yaml_and_json_are_the_same_objects() {
    for options in [
        options(&[DaemonPodUpdater]),
        options(&[NativeDaemonSet, DaemonPodUpdater]),
        with_kinds(),
        outside(),
    ] {
        let json = to_json(&options, None);
        assert_eq!(Value::from(read(&render(&options, None))), json["items"]);
    }
}

#[test]
fn the_roles_grant_the_table_and_nothing_else() {
    for controllers in [
        &[DaemonPodUpdater][..],
        &[NativeDaemonSet],
        &[NativeDaemonSet, DaemonPodUpdater],
    ] {
        let documents = read(&render(&options(controllers), None));
        assert_eq!(
            granted(&documents),
            asked_for(rules_for(controllers)),
            "{controllers:?}"
        );
    }
}

#[test]
fn each_right_can_be_left_out_alone() {
    let both = [NativeDaemonSet, DaemonPodUpdater];
    for rule in rules() {
        let documents = read(&render(&options(&both), Some(rule)));
        let rest = asked_for(rules_for(&both).filter(|other| *other != rule));
        assert_eq!(granted(&documents), rest, "{rule:?}");
    }
}

#[test]
fn no_right_is_a_wildcard_or_there_twice_or_without_a_purpose() {
    for (at, rule) in rules().iter().enumerate() {
        for text in [rule.verb, rule.group, rule.resource, rule.subresource, rule.name] {
            assert!(!text.contains('*'), "{rule:?}");
        }
        assert!(!rule.purpose.is_empty() && !rule.used_by.is_empty(), "{rule:?}");
        let same = |other: &&Rule| {
            (other.verb, other.group, other.path(), other.name, other.scope)
                == (rule.verb, rule.group, rule.path(), rule.name, rule.scope)
        };
        assert_eq!(
            rules().iter().position(|other| same(&other)),
            Some(at),
            "{rule:?}"
        );
    }
}

#[test]
fn nothing_that_is_asked_for_needs_root_or_a_writable_image() {
    let documents = read(&render(&options(&[DaemonPodUpdater]), None));
    let pod = &documents.last().unwrap()["spec"]["template"]["spec"];
    assert_eq!(pod["securityContext"]["runAsNonRoot"], true);
    assert_eq!(pod["securityContext"]["seccompProfile"]["type"], "RuntimeDefault");
    let container = &pod["containers"][0]["securityContext"];
    assert_eq!(container["readOnlyRootFilesystem"], true);
    assert_eq!(container["allowPrivilegeEscalation"], false);
    assert_eq!(container["capabilities"]["drop"], serde_json::json!(["ALL"]));
}
