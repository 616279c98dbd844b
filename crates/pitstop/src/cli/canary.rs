//! `pitstop canary start|promote|abort`.

use std::collections::BTreeMap;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use k8s_openapi::api::core::v1::Node;
use kube::api::{Api, ListParams};
use pitstop_api::selector::{LabelSelector, Op, Requirement, Selector};
use pitstop_api::{WorkloadKind, keys};
use pitstop_engine::snapshot::file::SnapshotFile;
use serde_json::{Value, json};

use crate::cli::held;
use crate::cli::target::{NamespaceArgs, Workload};
use crate::cli::undo;
use crate::connect::ConnectArgs;
use crate::rollout::{self, Found, PodRow};
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
        let before = rollout::fetch_file(&found.client, &found.namespace, &found.workload()).await?;
        let revisions = undo::revisions_of(&found).await?;
        let back_to = revision_of_others(&before, found.kind)?;
        let revision = back_to.and_then(|hash| {
            let label = |one: &k8s_openapi::api::apps::v1::ControllerRevision| {
                let labels = one.metadata.labels.as_ref()?;
                labels.get(keys::REVISION_HASH).cloned()
            };
            revisions.iter().find(|one| label(one).as_ref() == Some(&hash))
        });
        let template = revision.map(undo::template_of).transpose()?;
        let go_back = |object: &mut Value| {
            if forget(object, found.kind)
                && let Some(template) = &template
            {
                object["spec"]["template"] = template.clone();
            }
        };
        let is_changed = found.change(|object| {
            go_back(object);
            Ok(())
        });
        let title = found.title();
        match (is_changed.await?, revision) {
            (false, _) => output::data(&format!("{title} has no canary")),
            (true, None) => output::data(&format!("{title} aborted: no node had another version")),
            (true, Some(revision)) => {
                output::data(&format!(
                    "{title} aborted: back to revision {}",
                    revision.revision
                ))?;
                undo::tell_who_stays(&found, Ok(before), go_back);
                Ok(())
            }
        }
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

/// The nodes of the canary, where there is one that can be read.
fn selector_of(object: &Value, kind: WorkloadKind) -> Option<Selector> {
    if kind == WorkloadKind::AdvancedDaemonSet {
        let written = object.pointer("/spec/updateStrategy/rollingUpdate/selector")?;
        let written = serde_json::from_value::<LabelSelector>(written.clone()).ok()?;
        return written.selector();
    }
    let written = object["metadata"]["annotations"][keys::CANARY_NODES].as_str()?;
    Selector::parse(written.trim()).ok()
}

/// The revision, other than the target, that most pods have on nodes outside the canary, and of equals the newest: a version
/// that was tried there before is none to go back to. Where nobody outside has another, that of most pods anywhere; `None`
/// when all are at the target.
///
/// # Errors
/// The file holds something that cannot be read.
fn revision_of_others(file: &SnapshotFile, kind: WorkloadKind) -> anyhow::Result<Option<String>> {
    let decided = rollout::decide(file)?;
    let canary = selector_of(file.workload.object(), kind);
    let empty = BTreeMap::new();
    let labels: BTreeMap<&str, BTreeMap<String, String>> = file
        .nodes
        .iter()
        .filter_map(|node| {
            let labels = serde_json::from_value(node["metadata"]["labels"].clone());
            Some((node["metadata"]["name"].as_str()?, labels.unwrap_or_default()))
        })
        .collect();
    let is_outside = |row: &&PodRow| {
        let labels = row.node.as_deref().and_then(|node| labels.get(node));
        let labels = labels.unwrap_or(&empty);
        canary.as_ref().is_some_and(|canary| !canary.matches(labels))
    };
    let rows = &decided.rollout.pods;
    let most = |rows: &mut dyn Iterator<Item = &PodRow>| {
        let mut n_pods: BTreeMap<&str, usize> = BTreeMap::new();
        for row in rows.filter(|row| row.revision != decided.rollout.target) {
            if let Some(revision) = &row.revision {
                *n_pods.entry(revision).or_default() += 1;
            }
        }
        let number = |hash: &str| {
            let known = decided.revisions.iter().find(|revision| revision.hash == hash);
            known.map(|revision| revision.revision)
        };
        let most = n_pods.into_iter().max_by_key(|(hash, n)| (*n, number(hash)));
        most.map(|(hash, _)| hash.to_owned())
    };
    Ok(most(&mut rows.iter().filter(is_outside)).or_else(|| most(&mut rows.iter())))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::rollout::sample;

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

    /// Pods of `two` on the nodes of the canary are of one that was tried before.
    #[test]
    fn a_canary_goes_back_to_what_the_others_have() {
        let kind = WorkloadKind::DaemonSet;
        let others = |pods: &[(&str, &str)], canary: Option<&str>| {
            let names: Vec<&str> = pods.iter().map(|(node, _)| *node).collect();
            let mut file = sample::at_revisions(&names, &["one", "two", "three"]);
            for (i, (node, revision)) in pods.iter().enumerate() {
                file.pods[i]["metadata"]["labels"][keys::REVISION_HASH] = (*revision).into();
                file.nodes[i]["metadata"]["labels"] = json!({ "ring": &node[..1] });
            }
            let annotations = &mut file.workload.object_mut()["metadata"]["annotations"];
            if let Some(canary) = canary {
                annotations[keys::CANARY_NODES] = canary.into();
            }
            revision_of_others(&file, kind).unwrap()
        };
        for (case, pods, canary, want) in [
            (
                "all are new",
                vec![("c1", "three"), ("d1", "three")],
                Some("ring=c"),
                None,
            ),
            (
                "the others",
                vec![("c1", "three"), ("d1", "one")],
                Some("ring=c"),
                Some("one"),
            ),
            (
                "most of the canary have an earlier one",
                vec![("c1", "two"), ("c2", "two"), ("c3", "three"), ("d1", "one")],
                Some("ring=c"),
                Some("one"),
            ),
            (
                "of equals the newest",
                vec![("c1", "three"), ("d1", "one"), ("d2", "two")],
                Some("ring=c"),
                Some("two"),
            ),
            (
                "most, though older",
                vec![("c1", "three"), ("d1", "one"), ("d2", "two"), ("d3", "one")],
                Some("ring=c"),
                Some("one"),
            ),
            (
                "nobody is outside",
                vec![("c1", "three"), ("c2", "one")],
                Some("ring=c"),
                Some("one"),
            ),
            (
                "no canary",
                vec![("c1", "three"), ("d1", "one")],
                None,
                Some("one"),
            ),
        ] {
            assert_eq!(others(&pods, canary).as_deref(), want, "{case}");
        }
    }

    /// The nodes of a canary are read from where the kind has them.
    #[test]
    fn the_nodes_of_a_canary_are_read_from_the_field_of_the_kind() {
        let native = json!({ "metadata": { "annotations": { (keys::CANARY_NODES): " ring=a " } } });
        let mut advanced = json!({ "spec": { "updateStrategy": { "type": "RollingUpdate" } } });
        let selector = Selector::parse("ring=a").unwrap();
        select(&mut advanced, &selector, "ads/agent").unwrap();
        for (object, kind) in [
            (&native, WorkloadKind::DaemonSet),
            (&advanced, WorkloadKind::AdvancedDaemonSet),
        ] {
            let read = selector_of(object, kind).unwrap();
            for (value, want) in [("a", true), ("b", false)] {
                let labels = BTreeMap::from([("ring".to_owned(), value.to_owned())]);
                assert_eq!(read.matches(&labels), want, "{kind:?} {value}");
            }
        }
        assert!(selector_of(&advanced, WorkloadKind::DaemonSet).is_none());
    }
}
