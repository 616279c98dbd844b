//! What commands write on DaemonSets so that pitstop holds their rollouts: our own annotations, and before that the model
//! under which they have an effect.

use std::collections::BTreeMap;
use std::mem;

use anyhow::Context as _;
use pitstop_api::view::{ConditionStatus, DaemonSetView, StrategyType};
use pitstop_api::{Timestamp, json_diff, keys, reasons};
use pitstop_engine::Reason;
use pitstop_engine::daemonset::strategy::{self, Model};
use pitstop_engine::snapshot::file::SnapshotFile;
use serde_json::{Value, json};

use crate::output::talk;
use crate::rollout::{Found, PodRow};
use crate::{failure, rollout};

/// Writes what `edit` does to a DaemonSet of `apps`, with our annotations in effect. Returns whether anything changed.
///
/// Where its own controller replaces pods, or nobody does, `convert` turns it into OnDelete with AdvancedRollingUpdate in the same
/// write; without it the error says with which patch that is done. Either way it is said which outdated pods go then.
///
/// # Errors
/// Our annotations would have no effect, `edit` fails, or the API server refuses.
pub(super) async fn change(
    found: &Found,
    convert: bool,
    edit: impl Fn(&mut Value) -> anyhow::Result<()>,
) -> anyhow::Result<bool> {
    let objects = rollout::objects(&found.client, found.kind, &found.namespace);
    let object = objects.get(&found.name).await.context("reading the workload")?;
    let object = serde_json::to_value(object).context("reading the workload")?;
    if needs_conversion(&view_of(&object)?)? {
        let file = rollout::fetch_file(&found.client, &found.namespace, &found.workload()).await?;
        let conversion = Conversion::of(file, &edit)?;
        if !convert {
            return Err(conversion.offer());
        }
        if let Some(text) = conversion.what_goes() {
            talk(&format!("{} is left to pitstop, which {text}", found.title()));
        }
        for text in conversion.what_surge_loses() {
            talk(&format!("{}: {text}", found.title()));
        }
    }
    let edit = |object: &mut Value| {
        let view = view_of(object)?;
        if needs_conversion(&view)? {
            to_advanced(object, &view);
        }
        edit(object)
    };
    found.change(edit).await
}

/// Have our annotations no effect yet, and would they have one after a conversion?
///
/// # Errors
/// They would have none.
fn needs_conversion(view: &DaemonSetView) -> anyhow::Result<bool> {
    let name = &view.name;
    match strategy::read(view).model {
        Model::Native => Ok(true),
        Model::AdvancedRollingUpdate => Ok(false),
        Model::Ota => Err(failure::usage(
            format!("ds/{name} is under OTA, where the owner of each node decides"),
            "an owner who waits holds the upgrade of a node",
        )),
        Model::Invalid => Err(failure::usage(
            format!(
                "ds/{name}: annotation {} names no model",
                keys::OPENYURT_UPDATE_STRATEGY
            ),
            "set it to AdvancedRollingUpdate",
        )),
    }
}

/// How many nodes are named where there are many.
const NAMED: usize = 3;

/// The first of these nodes, and how many more there are; `None`: there are none.
fn named(nodes: &[String]) -> Option<String> {
    let (named, others) = nodes.split_at(nodes.len().min(NAMED));
    let mut text = named.join(", ");
    if !others.is_empty() {
        text = format!("{text} and {} more", others.len());
    }
    (!named.is_empty()).then_some(text)
}

/// Is it written, and zero?
fn is_zero(amount: Option<&Value>) -> bool {
    amount.is_some_and(|amount| *amount == 0 || *amount == "0%")
}

/// A DaemonSet that is left to pitstop together with an edit.
struct Conversion {
    name: String,
    namespace: String,
    was: StrategyType,
    patch: Value,
    /// The nodes whose outdated pods pitstop replaces afterwards, now or in their turn.
    goes: Vec<String>,
    /// The nodes on which a new pod runs beside an old one.
    surged: Vec<String>,
    /// May a pod be unavailable afterwards, where none might before?
    gets_unavailable: bool,
}

impl Conversion {
    fn of(mut file: SnapshotFile, edit: impl Fn(&mut Value) -> anyhow::Result<()>) -> anyhow::Result<Self> {
        let before = file.workload.object().clone();
        let view = view_of(&before)?;
        let after = file.workload.object_mut();
        to_advanced(after, &view);
        edit(after)?;
        let patch = json_diff::merge_patch(&before, after).unwrap_or_default();
        // What holds a pod is hidden where its node is away; it is caught up, or held, when the node is back.
        file.nodes.iter_mut().for_each(be_ready);
        let rollout = rollout::decide(&file)?.rollout;
        let is_outdated = |row: &PodRow| row.pod.is_some() && row.revision != rollout.target;
        let stays = |reason: &Reason| {
            matches!(
                reason,
                Reason::Paused
                    | Reason::Partition { .. }
                    | Reason::Canary
                    | Reason::Protected { .. }
                    | Reason::NotInPlace { .. }
                    | Reason::Invalid { .. }
                    | Reason::Terminating { .. }
            )
        };
        let mut on_node: BTreeMap<&str, (bool, bool)> = BTreeMap::new();
        let lives = |row: &&PodRow| row.pod.is_some() && row.state != "Terminating";
        for row in rollout.pods.iter().filter(lives) {
            let (has_old, has_new) = on_node
                .entry(row.node.as_deref().unwrap_or_default())
                .or_default();
            let has = if is_outdated(row) { has_old } else { has_new };
            *has = true;
        }
        let surged = on_node
            .into_iter()
            .filter(|(_, (has_old, has_new))| *has_old && *has_new);
        let surged = surged.map(|(node, _)| node.to_owned()).collect();
        let rows = rollout.waiting();
        let goes = rows.filter(|(row, waiting)| is_outdated(row) && !stays(&waiting.detail));
        Ok(Self {
            name: view.name.to_string(),
            namespace: view.namespace.to_string(),
            gets_unavailable: view.strategy.kind == StrategyType::RollingUpdate
                && is_zero(view.strategy.max_unavailable.as_ref())
                && before["metadata"]["annotations"][keys::OPENYURT_MAX_UNAVAILABLE].is_null(),
            was: view.strategy.kind,
            patch,
            surged,
            goes: goes.filter_map(|(row, _)| row.node.clone()).collect(),
        })
    }

    /// Which outdated pods go, for people; `None`: none.
    fn what_goes(&self) -> Option<String> {
        let nodes = named(&self.goes)?;
        Some(format!(
            "replaces the outdated pods on {nodes}, as many at once as may be unavailable"
        ))
    }

    /// What becomes of a surge, for people: OnDelete has none.
    fn what_surge_loses(&self) -> Vec<String> {
        let surged = named(&self.surged).map(|nodes| {
            format!("the new pods beside old ones on {nodes} are deleted: OnDelete has no surge")
        });
        let unavailable = self.gets_unavailable.then(|| {
            "one pod at a time may be unavailable from then on, where maxSurge let none be".to_owned()
        });
        surged.into_iter().chain(unavailable).collect()
    }

    /// The error that offers it.
    fn offer(&self) -> anyhow::Error {
        let Self {
            name,
            namespace,
            patch,
            ..
        } = self;
        let who = match self.was {
            StrategyType::OnDelete => {
                "pods are replaced when somebody deletes them, so there is nothing to hold"
            }
            StrategyType::RollingUpdate | StrategyType::Other(_) => {
                "the cluster's own controller replaces its pods, and cannot be held back"
            }
        };
        let mut then = match self.what_goes() {
            Some(text) => format!("leaves the replacing to pitstop: it {text}"),
            None if self.surged.is_empty() => {
                "restarts nothing and then leaves the replacing to pitstop".to_owned()
            }
            None => "leaves the replacing to pitstop".to_owned(),
        };
        for text in self.what_surge_loses() {
            then = format!("{then}; {text}");
        }
        failure::usage(
            format!("ds/{name}: {who}"),
            format!(
                "run it again with --convert, which {then}; by hand: kubectl patch -n {namespace} ds/{name} --type merge -p \
                 '{patch}'"
            ),
        )
    }
}

/// Makes a node ready.
fn be_ready(node: &mut Value) {
    let list = |node: &mut Value, place| {
        node.pointer_mut(place)
            .and_then(Value::as_array_mut)
            .map(mem::take)
    };
    let mut conditions = list(node, "/status/conditions").unwrap_or_default();
    for condition in conditions
        .iter_mut()
        .filter(|condition| condition["type"] == reasons::READY)
    {
        condition["status"] = "True".into();
    }
    node["status"]["conditions"] = conditions.into();
    if let Some(mut taints) = list(node, "/spec/taints") {
        taints
            .retain(|taint| taint["key"] != keys::TAINT_NOT_READY && taint["key"] != keys::TAINT_UNREACHABLE);
        node["spec"]["taints"] = taints.into();
    }
}

/// Kinds of `apps.kruise.io` have fields for what is asked: there is nothing to convert.
///
/// # Errors
/// It is asked for all the same.
pub(super) fn refuse_convert(found: &Found, convert: bool) -> anyhow::Result<()> {
    if !convert {
        return Ok(());
    }
    Err(failure::usage(
        format!(
            "--convert: {} has a field for this, and needs no conversion",
            found.title()
        ),
        "leave --convert away; it is for DaemonSets of apps",
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
            // Surge has no counterpart: one at a time is the safe side.
            amount if is_zero(amount.as_ref()) => "1".to_owned(),
            Some(Value::String(percent)) => percent.clone(),
            Some(Value::Number(pods)) => pods.to_string(),
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
    let view = view_of(daemonset)?;
    // Elsewhere nothing of ours stops a rollout, whatever conditions were left behind.
    let is_ours = strategy::read(&view).model == Model::AdvancedRollingUpdate;
    let stopped_at = stopped_at(&view).filter(|_| is_ours);
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
    use crate::rollout::sample;

    fn daemonset(strategy: &Value, annotations: &Value) -> Value {
        json!({
            "metadata": {
                "name": "filebeat-ds", "namespace": "default", "uid": "00000000-0000-0000-0000-000000000001",
                "annotations": annotations,
            },
            "spec": { "selector": {}, "template": { "spec": {} }, "updateStrategy": strategy },
        })
    }

    /// `agent` half way on three nodes, whose third is away, without the model of ours.
    fn half_way(strategy: Value) -> SnapshotFile {
        let mut file = sample::half_way(&["a", "b", "c"]);
        let object = file.workload.object_mut();
        object["metadata"]["annotations"] = json!({});
        object["spec"]["updateStrategy"] = strategy;
        file
    }

    /// Seed 003: as many may be unavailable as before.
    #[test]
    fn a_rolling_update_is_offered_the_one_patch() {
        for (rolling, max_unavailable) in [
            (json!({}), "1"),
            (json!({ "maxUnavailable": 3, "maxSurge": 0 }), "3"),
            (json!({ "maxUnavailable": "30%" }), "30%"),
            (json!({ "maxUnavailable": 0, "maxSurge": 1 }), "1"),
        ] {
            let file = half_way(json!({ "type": "RollingUpdate", "rollingUpdate": rolling }));
            let conversion = Conversion::of(file, |_| Ok(())).unwrap();
            let annotations = json!({
                (keys::OPENYURT_UPDATE_STRATEGY): "AdvancedRollingUpdate",
                (keys::OPENYURT_MAX_UNAVAILABLE): max_unavailable,
            });
            assert_eq!(conversion.patch["metadata"]["annotations"], annotations);
            let strategy = &conversion.patch["spec"]["updateStrategy"];
            assert_eq!(
                (&strategy["type"], &strategy["rollingUpdate"]),
                (&json!("OnDelete"), &Value::Null)
            );
            let said = failure::describe(&conversion.offer()).1;
            assert!(said.contains("cannot be held back"), "{said}");
        }
    }

    /// What was asked for is in the patch, and pods that are outdated are named where it lets them go.
    #[test]
    fn the_patch_holds_what_it_says_that_it_holds() {
        let pause = |object: &mut Value| set_paused(object, true, Timestamp::default());
        let canary = |object: &mut Value| {
            object["metadata"]["annotations"][keys::CANARY_NODES] = "ring=canary".into();
            Ok(())
        };
        let offered = |settled: bool, edit: &dyn Fn(&mut Value) -> anyhow::Result<()>| {
            let mut file = half_way(json!({ "type": "OnDelete" }));
            if settled {
                let object = file.workload.object().clone();
                file = sample::settled(&["a", "b"]);
                file.workload.object_mut()["metadata"] = object["metadata"].clone();
            }
            let conversion = Conversion::of(file, edit).unwrap();
            let annotations = conversion.patch["metadata"]["annotations"].clone();
            (
                annotations,
                conversion.goes.join(" "),
                failure::describe(&conversion.offer()).1,
            )
        };
        let (patch, goes, said) = offered(false, &pause);
        assert_eq!((&patch[keys::PAUSED], &*goes), (&json!("true"), ""));
        assert!(
            said.contains("nothing to hold") && said.contains("restarts nothing"),
            "{said}"
        );
        let (patch, goes, _) = offered(false, &canary);
        assert_eq!((&patch[keys::CANARY_NODES], &*goes), (&json!("ring=canary"), ""));
        let (_, goes, said) = offered(false, &|_| Ok(()));
        assert_eq!(goes, "b c");
        assert!(
            !said.contains("restarts nothing")
                && said.contains("replaces the outdated pods on b, c, as many"),
            "{said}"
        );
        let (_, goes, said) = offered(true, &|_| Ok(()));
        assert_eq!(goes, "");
        assert!(said.contains("restarts nothing"), "{said}");
    }

    /// What OnDelete cannot do is said: new pods beside old ones go, and a pod may be unavailable where none might be.
    #[test]
    fn what_becomes_of_a_surge_is_said() {
        let pause = |object: &mut Value| set_paused(object, true, Timestamp::default());
        let deleted = "the new pods beside old ones on b are deleted";
        let unavailable = "one pod at a time may be unavailable";
        for (rolling, is_surged, want) in [
            (
                json!({ "maxUnavailable": 0, "maxSurge": 1 }),
                true,
                [true, true, false],
            ),
            (
                json!({ "maxUnavailable": "0%", "maxSurge": 1 }),
                false,
                [false, true, true],
            ),
            (json!({ "maxUnavailable": 1 }), false, [false, false, true]),
            (json!({}), false, [false, false, true]),
        ] {
            let mut file = half_way(json!({ "type": "RollingUpdate", "rollingUpdate": rolling }));
            if is_surged {
                let mut new = file.pods[0].clone();
                new["metadata"]["name"] = "agent-new".into();
                new["metadata"]["uid"] = "22222222-0000-4000-8000-0000000000ff".into();
                new["spec"]["nodeName"] = "b".into();
                file.pods.push(new);
            }
            let said = failure::describe(&Conversion::of(file, pause).unwrap().offer()).1;
            let says = [deleted, unavailable, "restarts nothing"].map(|text| said.contains(text));
            assert_eq!(says, want, "{said}");
        }
    }

    #[test]
    fn few_nodes_are_named() {
        let goes = |n: usize| {
            let conversion = Conversion {
                name: "agent".to_owned(),
                namespace: "edge".to_owned(),
                was: StrategyType::OnDelete,
                patch: Value::Null,
                goes: (1..=n).map(|i| format!("n{i}")).collect(),
                surged: Vec::new(),
                gets_unavailable: false,
            };
            conversion.what_goes()
        };
        let on = |nodes: &str| {
            let text =
                format!("replaces the outdated pods on {nodes}, as many at once as may be unavailable");
            Some(text)
        };
        assert_eq!([goes(0), goes(1)], [None, on("n1")]);
        assert_eq!(
            [goes(3), goes(5)],
            [on("n1, n2, n3"), on("n1, n2, n3 and 2 more")]
        );
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
            let object = daemonset(&json!({ "type": "OnDelete" }), &annotations);
            assert!(needs_conversion(&view_of(&object).unwrap()).is_err(), "{model}");
        }
    }

    #[test]
    fn what_was_stopped_goes_on_after_the_moment_of_the_stop() {
        let now: Timestamp = "2026-01-01T01:00:00Z".parse().unwrap();
        let resumed = |kind: &str, status: &str, at: &str| {
            let model = (keys::OPENYURT_UPDATE_STRATEGY, "AdvancedRollingUpdate");
            let annotations = json!({ (keys::PAUSED): "true", (model.0): model.1 });
            let mut object = daemonset(&json!({ "type": "OnDelete" }), &annotations);
            object["status"]["conditions"] =
                json!([{ "type": kind, "status": status, "lastTransitionTime": at }]);
            set_paused(&mut object, false, now).unwrap();
            let annotations = object["metadata"]["annotations"].as_object_mut().unwrap();
            annotations.remove(model.0);
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
