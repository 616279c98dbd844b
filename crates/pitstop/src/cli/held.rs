//! What commands write on DaemonSets so that pitstop holds their rollouts: our own annotations, and before that the model
//! under which they have an effect.

use anyhow::Context as _;
use pitstop_api::view::{ConditionStatus, DaemonSetView, StrategyType};
use pitstop_api::{Timestamp, json_diff, keys, reasons};
use pitstop_engine::daemonset::strategy::{self, Model};
use serde_json::{Value, json};

use crate::failure;

/// Makes sure that our annotations have an effect on this DaemonSet.
///
/// Where its own controller replaces pods, or nobody does, `convert` turns it into OnDelete with AdvancedRollingUpdate, which
/// restarts nothing; without it the error says with which patch that is done.
///
/// # Errors
/// They would have none.
pub(super) fn prepare(daemonset: &mut Value, convert: bool) -> anyhow::Result<()> {
    let view = view_of(daemonset)?;
    let name = &view.name;
    match strategy::read(&view).model {
        Model::AdvancedRollingUpdate => return Ok(()),
        Model::Ota => {
            return Err(failure::usage(
                format!("ds/{name} is under OTA, where the owner of each node decides"),
                "an owner who waits holds the upgrade of a node",
            ));
        }
        Model::Invalid => {
            return Err(failure::usage(
                format!(
                    "ds/{name}: annotation {} names no model",
                    keys::OPENYURT_UPDATE_STRATEGY
                ),
                "set it to AdvancedRollingUpdate",
            ));
        }
        Model::Native => {}
    }
    let mut converted = daemonset.clone();
    to_advanced(&mut converted, &view);
    if convert {
        *daemonset = converted;
        return Ok(());
    }
    let patch = json_diff::merge_patch(daemonset, &converted).unwrap_or_default();
    let who = match view.strategy.kind {
        StrategyType::OnDelete => "pods are replaced when somebody deletes them, so there is nothing to hold",
        StrategyType::RollingUpdate | StrategyType::Other(_) => {
            "the cluster's own controller replaces its pods, and cannot be held back"
        }
    };
    Err(failure::usage(
        format!("ds/{name}: {who}"),
        format!(
            "run it again with --convert, which restarts nothing and then leaves the replacing to pitstop; by hand: kubectl \
             patch -n {} ds/{name} --type merge -p '{patch}'",
            view.namespace
        ),
    ))
}

/// Of kinds of `apps.kruise.io`: makes sure that their controllers replace pods, so that what `edit` writes has an effect.
///
/// # Errors
/// Pods are replaced when somebody deletes them. The error has the patch that changes that, and writes the same.
pub(super) fn expect_rolling(object: &Value, title: &str, edit: impl Fn(&mut Value)) -> anyhow::Result<()> {
    if object["spec"]["updateStrategy"]["type"] != "OnDelete" {
        return Ok(());
    }
    let mut rolling = object.clone();
    rolling["spec"]["updateStrategy"]["type"] = "RollingUpdate".into();
    edit(&mut rolling);
    let patch = json_diff::merge_patch(object, &rolling).unwrap_or_default();
    let namespace = object["metadata"]["namespace"].as_str().unwrap_or("default");
    Err(failure::usage(
        format!("{title}: pods are replaced when somebody deletes them, so there is nothing to hold"),
        format!(
            "to have it roll out from now on, so: kubectl patch -n {namespace} {title} --type merge -p '{patch}'"
        ),
    ))
}

/// OnDelete with AdvancedRollingUpdate, as many unavailable pods as before.
fn to_advanced(daemonset: &mut Value, view: &DaemonSetView) {
    let was_rolling = view.strategy.kind == StrategyType::RollingUpdate;
    daemonset["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
    let annotations = &mut daemonset["metadata"]["annotations"];
    annotations[keys::OPENYURT_UPDATE_STRATEGY] = "AdvancedRollingUpdate".into();
    if was_rolling && annotations[keys::OPENYURT_MAX_UNAVAILABLE].is_null() {
        let written = match &view.strategy.max_unavailable {
            Some(Value::String(percent)) if percent != "0%" => percent.clone(),
            Some(Value::Number(pods)) if pods.as_u64() != Some(0) => pods.to_string(),
            // Surge has no counterpart: one at a time is the safe side.
            _ => "1".to_owned(),
        };
        annotations[keys::OPENYURT_MAX_UNAVAILABLE] = written.into();
    }
}

/// Holds the rollout, or lets it go on: also where the guard or the deadline stopped it. What is not there counts as false.
///
/// # Errors
/// The object is no DaemonSet.
pub(super) fn set_paused(daemonset: &mut Value, is_paused: bool, now: Timestamp) -> anyhow::Result<()> {
    let stopped_at = stopped_at(&view_of(daemonset)?);
    let annotations = &mut daemonset["metadata"]["annotations"];
    if is_paused {
        annotations[keys::PAUSED] = "true".into();
        return Ok(());
    }
    if let Some(annotations) = annotations.as_object_mut() {
        annotations.remove(keys::PAUSED);
    }
    if let Some(stopped_at) = stopped_at {
        // Clocks differ: what stopped it is in the past in any case.
        let at = now.max(stopped_at);
        let at = Timestamp::from_second(at.as_second()).unwrap_or(at);
        annotations[keys::RESUMED_AT] = at.to_string().into();
    }
    Ok(())
}

/// When the guard or the deadline stopped the rollout, if one did and nobody let it go on since.
fn stopped_at(view: &DaemonSetView) -> Option<Timestamp> {
    let condition = |kind: &str, status| view.conditions.get(kind).filter(|one| one.status == status);
    let guard = condition(reasons::NODES_LOST, ConditionStatus::True);
    let deadline = condition(reasons::PROGRESSING, ConditionStatus::False);
    [guard, deadline]
        .into_iter()
        .flatten()
        .filter_map(|one| one.since)
        .max()
}

/// # Errors
/// The object is no DaemonSet.
pub(super) fn view_of(daemonset: &Value) -> anyhow::Result<DaemonSetView> {
    let bytes = daemonset.to_string().into_bytes();
    DaemonSetView::from_json(&bytes).context("reading the DaemonSet")
}

#[cfg(test)]
mod tests {
    use super::*;

    fn daemonset(strategy: &Value, annotations: &Value) -> Value {
        json!({
            "metadata": {
                "name": "filebeat-ds", "namespace": "default", "uid": "00000000-0000-0000-0000-000000000001",
                "annotations": annotations,
            },
            "spec": { "selector": {}, "template": { "spec": {} }, "updateStrategy": strategy },
        })
    }

    /// Seed 003: the one patch restarts nothing, since the template stays.
    #[test]
    fn a_rolling_update_is_offered_the_one_patch() {
        for (rolling, max_unavailable) in [
            (json!({}), "1"),
            (json!({ "maxUnavailable": 3, "maxSurge": 0 }), "3"),
            (json!({ "maxUnavailable": "30%" }), "30%"),
            (json!({ "maxUnavailable": 0, "maxSurge": 1 }), "1"),
        ] {
            let before = daemonset(
                &json!({ "type": "RollingUpdate", "rollingUpdate": rolling }),
                &json!({}),
            );
            let mut after = before.clone();
            let error = prepare(&mut after, false).unwrap_err();
            assert_eq!(after, before);
            let said = format!("{error:?} {error}");
            assert!(said.contains("cannot be held back"), "{said}");
            prepare(&mut after, true).unwrap();
            let mut want = before.clone();
            want["spec"]["updateStrategy"] = json!({ "type": "OnDelete" });
            want["metadata"]["annotations"] = json!({
                (keys::OPENYURT_UPDATE_STRATEGY): "AdvancedRollingUpdate",
                (keys::OPENYURT_MAX_UNAVAILABLE): max_unavailable,
            });
            assert_eq!(after, want);
            prepare(&mut after, false).unwrap();
            assert_eq!(after, want, "it is prepared now");
        }
    }

    #[test]
    fn kinds_with_fields_of_their_own_have_to_roll_out() {
        let pause =
            |object: &mut Value| object["spec"]["updateStrategy"]["rollingUpdate"]["paused"] = true.into();
        let mut object = json!({ "metadata": { "namespace": "edge" }, "spec": { "updateStrategy": { "type": "OnDelete" } } });
        let error = expect_rolling(&object, "statefulset.apps.kruise.io/x", pause).unwrap_err();
        let (code, said) = failure::describe(&error);
        assert_eq!(code, 2);
        let patch = r#"kubectl patch -n edge statefulset.apps.kruise.io/x --type merge -p '{"spec":{"updateStrategy":{"rollingUpdate":{"paused":true},"type":"RollingUpdate"}}}'"#;
        assert!(
            said.contains("nothing to hold") && said.ends_with(patch),
            "{said}"
        );
        object["spec"]["updateStrategy"]["type"] = "RollingUpdate".into();
        expect_rolling(&object, "x", pause).unwrap();
    }

    #[test]
    fn where_others_decide_nothing_is_offered() {
        for model in ["OTA", "nonsense"] {
            let annotations = json!({ (keys::OPENYURT_UPDATE_STRATEGY): model });
            let before = daemonset(&json!({ "type": "OnDelete" }), &annotations);
            let mut after = before.clone();
            assert!(prepare(&mut after, true).is_err(), "{model}");
            assert_eq!(after, before);
        }
    }

    #[test]
    fn what_was_stopped_goes_on_after_the_moment_of_the_stop() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let resumed = |kind: &str, status: &str, at: &str| {
            let mut object = daemonset(&json!({ "type": "OnDelete" }), &json!({ (keys::PAUSED): "true" }));
            object["status"]["conditions"] =
                json!([{ "type": kind, "status": status, "lastTransitionTime": at }]);
            set_paused(&mut object, false, now).unwrap();
            object["metadata"]["annotations"].clone()
        };
        let at = |at: &str| json!({ (keys::RESUMED_AT): at });
        let (early, late) = ("2026-01-01T00:00:00Z", "2026-01-01T01:00:05Z");
        for (kind, status, since, want) in [
            (reasons::NODES_LOST, "True", early, at("2026-01-01T01:00:00Z")),
            (reasons::NODES_LOST, "True", late, at(late)),
            (reasons::NODES_LOST, "False", early, json!({})),
            (reasons::PROGRESSING, "False", early, at("2026-01-01T01:00:00Z")),
            (reasons::PROGRESSING, "True", early, json!({})),
        ] {
            assert_eq!(resumed(kind, status, since), want, "{kind} {status}");
        }
        let mut plain = daemonset(&json!({ "type": "OnDelete" }), &json!({}));
        set_paused(&mut plain, true, now).unwrap();
        assert_eq!(
            plain["metadata"]["annotations"],
            json!({ (keys::PAUSED): "true" })
        );
    }
}
