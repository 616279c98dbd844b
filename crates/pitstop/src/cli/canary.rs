//! `pitstop canary start|promote|abort`.

use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use pitstop_api::selector::{Op, Requirement, Selector};
use pitstop_api::{WorkloadKind, keys};
use serde_json::{Value, json};

use crate::cli::held;
use crate::cli::target::{NamespaceArgs, Workload};
use crate::cli::undo;
use crate::connect::ConnectArgs;
use crate::rollout::{self, Found, Rollout};
use crate::{failure, output};

/// Try a new version of a DaemonSet on some nodes first
#[derive(Debug, Args)]
pub struct Canary {
    /// What to do.
    #[command(subcommand)]
    pub what: What,
}

/// What to do.
#[derive(Debug, Subcommand)]
pub enum What {
    /// From now on update only pods on the nodes that are named
    ///
    /// Change the image afterwards: it comes to these nodes alone, until the canary is promoted or aborted.
    #[command(
        after_help = "Examples:\n  pitstop canary start ds/agent --nodes ring=canary\n  pitstop set image ds/agent \
                            app=app:2\n  pitstop canary promote ds/agent"
    )]
    Start(Start),
    /// Let the new version come to all nodes
    Promote(Which),
    /// Go back to the version that the other nodes have
    Abort(Which),
}

/// Which DaemonSet, and where.
#[derive(Debug, Args)]
pub struct Which {
    /// The workload, as ds/NAME or ads/NAME
    #[arg(value_name = "KIND/NAME")]
    pub name: Workload,
    /// Where to look.
    #[command(flatten)]
    pub scope: NamespaceArgs,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `canary start`.
#[derive(Debug, Args)]
pub struct Start {
    /// Which nodes, as a label selector
    #[arg(long, value_name = "SELECTOR", env = "PITSTOP_NODES", hide_env = true)]
    pub nodes: String,
    /// Turn a DaemonSet that pitstop cannot hold into OnDelete with AdvancedRollingUpdate
    #[arg(long, env = "PITSTOP_CONVERT", hide_env = true)]
    pub convert: bool,
    /// Which.
    #[command(flatten)]
    pub which: Which,
}

impl Canary {
    /// Does it.
    ///
    /// # Errors
    /// The DaemonSet is not there or cannot be held, no node matches, or the API server refuses.
    pub async fn run(self) -> anyhow::Result<()> {
        match self.what {
            What::Start(start) => start.run().await,
            What::Promote(which) => which.promote().await,
            What::Abort(which) => which.abort().await,
        }
    }
}

impl Which {
    async fn find(&self) -> anyhow::Result<Found> {
        let found = Found::at(&self.connect, &self.scope, &self.name).await?;
        if !matches!(
            found.kind,
            WorkloadKind::DaemonSet | WorkloadKind::AdvancedDaemonSet
        ) {
            return Err(failure::usage(
                format!("{} has no canary of nodes", found.title()),
                "its partition keeps pods at their version",
            ));
        }
        Ok(found)
    }

    async fn promote(&self) -> anyhow::Result<()> {
        let found = self.find().await?;
        let is_changed = found.change(|object| {
            forget(object, found.kind);
            Ok(())
        });
        let state = if is_changed.await? {
            "promoted"
        } else {
            "has no canary"
        };
        output::data(&format!("{} {state}", found.title()))
    }

    async fn abort(&self) -> anyhow::Result<()> {
        let found = self.find().await?;
        let workload = Workload {
            kind: Some(found.kind),
            name: found.name.clone(),
        };
        let rollout = rollout::fetch(&found.client, &found.namespace, &workload).await?;
        let revisions = undo::revisions_of(&found).await?;
        let back_to = revision_of_others(&rollout);
        let revision = back_to.and_then(|hash| {
            let label = |one: &k8s_openapi::api::apps::v1::ControllerRevision| {
                let labels = one.metadata.labels.as_ref()?;
                labels.get(keys::REVISION_HASH).cloned()
            };
            revisions.iter().find(|one| label(one).as_deref() == Some(hash))
        });
        let template = revision.map(undo::template_of).transpose()?;
        let is_changed = found.change(|object| {
            if forget(object, found.kind)
                && let Some(template) = &template
            {
                object["spec"]["template"] = template.clone();
            }
            Ok(())
        });
        let title = found.title();
        let text = match (is_changed.await?, revision) {
            (false, _) => format!("{title} has no canary"),
            (true, None) => format!("{title} aborted: no node had another version"),
            (true, Some(revision)) => format!("{title} aborted: back to revision {}", revision.revision),
        };
        output::data(&text)
    }
}

impl Start {
    async fn run(&self) -> anyhow::Result<()> {
        let selector = Selector::parse(&self.nodes).map_err(|error| {
            failure::usage(
                format!("--nodes: {error}"),
                "give a label selector such as ring=canary",
            )
        })?;
        let found = self.which.find().await?;
        let n = self.n_matching(&found, &selector).await?;
        let is_changed = if found.kind == WorkloadKind::AdvancedDaemonSet {
            held::refuse_convert(&found, self.convert)?;
            let edit = |object: &mut Value| select(object, &selector, &found.title());
            found.change(edit).await?
        } else {
            let edit = |object: &mut Value| {
                object["metadata"]["annotations"][keys::CANARY_NODES] = self.nodes.trim().into();
                Ok(())
            };
            held::change(&found, self.convert, edit).await?
        };
        let state = if is_changed { "is" } else { "is already" };
        let nodes = if n == 1 { "node" } else { "nodes" };
        output::data(&format!("{} {state} updated on {n} {nodes} only", found.title()))
    }

    /// How many nodes the selector matches. One that matches none would hold everything, which has a command of its own.
    async fn n_matching(&self, found: &Found, selector: &Selector) -> anyhow::Result<usize> {
        let api: Api<Node> = Api::all(found.client.clone());
        let nodes = api.list(&ListParams::default()).await.context("listing nodes")?;
        let empty = BTreeMap::new();
        let labels = nodes
            .items
            .iter()
            .map(|node| node.metadata.labels.as_ref().unwrap_or(&empty));
        let n = labels.filter(|labels| selector.matches(*labels)).count();
        if n > 0 && !selector.is_empty() {
            return Ok(n);
        }
        let problem = if selector.is_empty() {
            format!("--nodes {:?} selects every node, which is no canary", self.nodes)
        } else {
            format!(
                "--nodes {:?} matches none of {} nodes",
                self.nodes,
                nodes.items.len()
            )
        };
        let advice = match selector.requirements().iter().find(|one| is_of_nothing(one)) {
            Some(one) => format!(
                "it asks for an empty value of {0}; write {0}=VALUE, or {0} for any value",
                one.key
            ),
            None => "see the labels with `kubectl get nodes --show-labels`".to_owned(),
        };
        Err(failure::nothing_matched(problem, advice))
    }
}

/// Does it ask for a label without a value?
fn is_of_nothing(requirement: &Requirement) -> bool {
    matches!(&requirement.op, Op::In(values) if values.iter().all(String::is_empty))
}

/// A DaemonSet of `apps.kruise.io` has a field for it.
fn select(object: &mut Value, selector: &Selector, title: &str) -> anyhow::Result<()> {
    let requirements = selector.requirements().iter();
    let expressions: Option<Vec<Value>> = requirements.map(expression).collect();
    let expressions = expressions.ok_or_else(|| {
        failure::usage(
            "--nodes: the selector of this kind does not compare numbers",
            "give a label selector such as ring=canary",
        )
    })?;
    let write = |object: &mut Value| {
        let rolling = &mut object["spec"]["updateStrategy"]["rollingUpdate"];
        rolling["selector"] = json!({ "matchExpressions": expressions });
    };
    held::expect_rolling(object, title, write)?;
    write(object);
    Ok(())
}

/// A requirement as objects carry it; `None` for one that selectors of labels do not have.
fn expression(requirement: &Requirement) -> Option<Value> {
    let key = &requirement.key;
    Some(match &requirement.op {
        Op::In(values) => json!({ "key": key, "operator": "In", "values": values }),
        Op::NotIn(values) => json!({ "key": key, "operator": "NotIn", "values": values }),
        Op::Exists => json!({ "key": key, "operator": "Exists" }),
        Op::DoesNotExist => json!({ "key": key, "operator": "DoesNotExist" }),
        Op::GreaterThan(_) | Op::LessThan(_) => return None,
    })
}

/// Takes the canary away. Was there one?
fn forget(object: &mut Value, kind: WorkloadKind) -> bool {
    let (place, key) = match kind {
        WorkloadKind::AdvancedDaemonSet => ("/spec/updateStrategy/rollingUpdate", "selector"),
        _ => ("/metadata/annotations", keys::CANARY_NODES),
    };
    let fields = object.pointer_mut(place).and_then(Value::as_object_mut);
    fields.and_then(|fields| fields.remove(key)).is_some()
}

/// The revision that most pods have that are not at the target; `None` when all are.
fn revision_of_others(rollout: &Rollout) -> Option<&str> {
    let mut n_pods: BTreeMap<&str, usize> = BTreeMap::new();
    let others = rollout.pods.iter().filter_map(|row| row.revision.as_deref());
    for revision in others.filter(|revision| rollout.target.as_deref() != Some(*revision)) {
        *n_pods.entry(revision).or_default() += 1;
    }
    n_pods
        .into_iter()
        .max_by_key(|(_, n)| *n)
        .map(|(revision, _)| revision)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::{decide, sample};

    #[test]
    fn a_kind_with_a_field_for_it_gets_the_selector() {
        let mut object = json!({ "spec": { "updateStrategy": { "type": "RollingUpdate" } } });
        let selector = Selector::parse("ring in (a, b),!spare").unwrap();
        select(&mut object, &selector, "ads/agent").unwrap();
        let expressions = json!([
            { "key": "ring", "operator": "In", "values": ["a", "b"] }, { "key": "spare", "operator": "DoesNotExist" },
        ]);
        let rolling = json!({ "selector": { "matchExpressions": expressions } });
        assert_eq!(object["spec"]["updateStrategy"]["rollingUpdate"], rolling);
        let kind = WorkloadKind::AdvancedDaemonSet;
        assert!(forget(&mut object, kind) && !forget(&mut object, kind));
        object["spec"]["updateStrategy"]["type"] = "OnDelete".into();
        assert!(select(&mut object, &selector, "ads/agent").is_err());
    }

    #[test]
    fn an_empty_value_is_named() {
        for (text, want) in [
            ("ring==", true),
            ("ring=", true),
            ("ring=a", false),
            ("ring", false),
        ] {
            let selector = Selector::parse(text).unwrap();
            assert_eq!(selector.requirements().iter().any(is_of_nothing), want, "{text}");
        }
    }

    #[test]
    fn a_canary_goes_back_to_what_the_others_have() {
        let half_way = decide(&sample::half_way(&["a", "b", "c"])).unwrap().rollout;
        assert_eq!(revision_of_others(&half_way), Some("one"));
        let settled = decide(&sample::settled(&["a", "b", "c"])).unwrap().rollout;
        assert_eq!(revision_of_others(&settled), None);
    }
}
