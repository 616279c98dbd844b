//! `update-protection` on native DaemonSets, and what two of our own keys do together. Source: spec/README.md, "Our own keys";
//! statefulset.md 16.

use pitstop_api::{keys, reasons};
use pitstop_engine::daemonset::own_keys;
use pitstop_engine::instances::PatchWhy;
use pitstop_engine::plan::Action;

use crate::cluster::{Cluster, events, ready};

/// `update-protection`: what is wrong is told in its own words.
#[test]
fn a_protection_that_cannot_be_read_keeps_every_pod() {
    for (value, why) in [
        ("", "EOF"),
        ("true", "invalid type"),
        ("{}", "podSelector or arbiter is required"),
        (r#"{"podSelector":{}}"#, "podSelector is empty"),
    ] {
        let cluster = Cluster::advanced("n1R old-, n2R old+").annotation(keys::UPDATE_PROTECTION, value);
        let plan = cluster.plan_advanced();
        assert_eq!(cluster.words(&plan), "nothing", "{value}");
        assert_eq!(events(&plan), [reasons::INVALID_ANNOTATION], "{value}");
        let message = &plan.events[0].message;
        assert!(
            message.contains(keys::UPDATE_PROTECTION) && message.contains(why),
            "{message}"
        );
    }
}

/// `update-protection`: what it means on StatefulSets only is told, and takes no effect.
#[test]
fn what_a_daemonset_has_no_counterpart_of_is_told() {
    let arbiter = r#""arbiter":{"http":{"service":{"name":"a","port":80}}"#;
    let labels = r#""podSelector":{"matchLabels":{"working":"true"}},"unknownPolicy":"Idle""#;
    for (value, does, told) in [
        (format!("{{{labels}}}"), "del n2", None),
        (
            format!(r#"{{{labels},"evictionGuard":true,"deadlineSeconds":5,"onScaleDown":"Delete"}}"#),
            "del n2",
            Some("no effect on a DaemonSet: evictionGuard, onScaleDown, deadlineSeconds"),
        ),
        (
            format!("{{{labels},{arbiter}}}}}"),
            "nothing",
            Some("its failurePolicy is Protect, so that every pod is protected"),
        ),
        (
            format!(r#"{{{labels},{arbiter},"failurePolicy":"KeepLabel"}}}}"#),
            "del n2",
            Some("so that labels decide"),
        ),
        (
            format!(r#"{{{labels},{arbiter},"failurePolicy":"Ignore"}}}}"#),
            "del n1 n2",
            Some("so that no pod is protected"),
        ),
    ] {
        let cluster = Cluster::advanced("n1R !old+, n2R old+").max_unavailable("100%");
        let cluster = cluster.annotation(keys::UPDATE_PROTECTION, &value);
        let plan = cluster.plan_advanced();
        assert_eq!(cluster.words(&plan), does, "{value}");
        let mut warnings = plan
            .events
            .iter()
            .filter(|event| event.reason == reasons::INVALID_ANNOTATION);
        let message = warnings.next().map(|event| event.message.to_string());
        assert_eq!(message.is_some(), told.is_some(), "{value}: {message:?}");
        assert!(
            message.unwrap_or_default().contains(told.unwrap_or_default()),
            "{value}"
        );
    }
}

/// `update-protection`: a pod is left alone while it works, and goes with its version as precondition when it does not.
#[test]
fn a_pod_goes_when_it_no_longer_works() {
    let protection = r#"{"podSelector":{"matchLabels":{"working":"true"}},"unknownPolicy":"Idle"}"#;
    let mut cluster = Cluster::advanced("n1R !old+, n2R new+")
        .annotation(keys::UPDATE_PROTECTION, protection)
        .annotation(keys::PROGRESS_DEADLINE_SECONDS, "60");
    let plan = cluster.plan_advanced();
    assert_eq!(cluster.words(&plan), "nothing");
    assert!(matches!(
        plan.actions.as_slice(),
        [Action::SetCondition { condition, .. }] if &*condition.reason == reasons::ALL_REMAINING_PROTECTED
    ));
    cluster
        .pod_on("n1")
        .labels
        .insert("working".into(), "false".into());
    let plan = cluster.plan_advanced();
    let version = cluster.pod_on("n1").resource_version;
    assert!(plan.actions.iter().any(|action| matches!(
        action,
        Action::DeletePod { resource_version, .. } if *resource_version == Some(version)
    )));
}

/// Every two keys together keep what each of them keeps alone, and take down no more than may be unavailable.
#[test]
fn two_keys_keep_what_each_of_them_keeps() {
    let picture =
        "c1R !old+, c2R old+, c3R *old+, c4N old+, n1R old+, n2R !old-, n3R *!old+, n4R new+, n5R new-";
    let protection = r#"{"podSelector":{"matchLabels":{"working":"true"}},"unknownPolicy":"Idle"}"#;
    let all = [
        (keys::PAUSED, "true"),
        (keys::PAUSED, "false"),
        (keys::PARTITION, "2"),
        (keys::PARTITION, "50%"),
        (keys::CANARY_NODES, "apps.openyurt.io/nodepool=c"),
        (keys::POD_UPDATE_POLICY, "InPlaceIfPossible"),
        (keys::POD_UPDATE_POLICY, "InPlaceOnly"),
        (keys::MIN_NODE_READY_SECONDS, "60"),
        (keys::NODE_LOSS_GUARD, "1"),
        (keys::NODE_LOSS_GUARD, "off"),
        (keys::PREHEAT, "true"),
        (keys::MAX_UNAVAILABLE_PER_POOL, "1"),
        (keys::PACE, "adaptive"),
        (keys::PROGRESS_DEADLINE_SECONDS, "60"),
        (keys::ON_FAILURE, "Rollback"),
        (keys::UPDATE_PROTECTION, protection),
        (keys::RESUMED_AT, "2025-12-31T00:00:00Z"),
    ];
    for key in own_keys::ALL {
        assert!(all.iter().any(|(known, _)| known == key), "{key} is missing here");
    }
    let touched = |limit: &str, written: &[(&str, &str)]| {
        let mut cluster = Cluster::advanced(picture).max_unavailable(limit);
        for name in ["c1", "c2", "c3", "c4", "n1", "n2", "n3", "n4", "n5"] {
            let labels = &mut cluster.node_mut(name).labels;
            labels.insert(keys::OPENYURT_NODEPOOL.into(), name[..1].into());
        }
        cluster.node_mut("c2").ready = ready(true, -10);
        for (key, value) in written {
            cluster = cluster.annotation(key, value);
        }
        let plan = cluster.plan_advanced();
        let mut touched: Vec<String> = Vec::new();
        for action in &plan.actions {
            let uid = match action {
                Action::DeletePod { uid, .. }
                | Action::PatchPod {
                    uid,
                    why: PatchWhy::UpdateInPlace { .. },
                    ..
                } => *uid,
                _ => continue,
            };
            let pod = cluster.pods.iter().find(|pod| pod.uid == uid).unwrap();
            touched.push(cluster.names.name(pod.node.unwrap()).to_owned());
        }
        touched
    };
    for (i, a) in all.iter().enumerate() {
        for b in all.iter().skip(i + 1).filter(|b| a.0 != b.0) {
            let both = touched("100%", &[*a, *b]);
            for one in [a, b] {
                let alone = touched("100%", &[*one]);
                // A partition, the limit of a pool and the pace keep so many, whichever they are.
                let counts = [keys::PARTITION, keys::MAX_UNAVAILABLE_PER_POOL, keys::PACE];
                let is_kept = if counts.contains(&one.0) {
                    both.len() <= alone.len()
                } else {
                    both.iter().all(|node| alone.contains(node))
                };
                assert!(is_kept, "{a:?} {b:?}: {both:?}, {alone:?}");
            }
            // Down already: n2 and n5. What is broken goes at once, and is down as it is.
            for limit in [2, 3, 5] {
                let goes = touched(&limit.to_string(), &[*a, *b]);
                let n_served = goes.iter().filter(|node| *node != "n2").count();
                assert!(n_served <= limit - 2, "{a:?} {b:?}, {limit}: {goes:?}");
            }
        }
    }
}
