//! `pitstop set-partition`.

use std::str::FromStr;

use clap::Args;
use pitstop_api::{Amount, WorkloadKind, amount, keys};
use serde_json::Value;

use crate::cli::held;
use crate::cli::target::{NamespaceArgs, Workload};
use crate::connect::ConnectArgs;
use crate::output;
use crate::rollout::Found;

/// Say how many pods of a workload stay at their revision
///
/// A percentage is of the pods that are wanted, and rounded up; of the nodes of a DaemonSet, and rounded down. It holds from now
/// on; 0 lets all go.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pitstop set-partition asts/sample 3     keep three pods\n  pitstop set-partition clone/web 40%     \
                  keep two of five\n  pitstop set-partition ds/agent 0        let all go"
)]
pub struct SetPartition {
    /// The workload, as ds/NAME, ads/NAME, clone/NAME or asts/NAME
    #[arg(value_name = "KIND/NAME")]
    pub name: Workload,
    /// A number, or a percentage from 0% to 100%
    #[arg(value_name = "NUMBER|PERCENT", allow_hyphen_values = true)]
    pub partition: Partition,
    /// Turn a DaemonSet that pitstop cannot hold into OnDelete with AdvancedRollingUpdate
    #[arg(long, env = "PITSTOP_CONVERT", hide_env = true)]
    pub convert: bool,
    /// Where to look.
    #[command(flatten)]
    pub scope: NamespaceArgs,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// A number or a percentage.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Partition(Value);

impl FromStr for Partition {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let value = text.parse::<u32>().map_or_else(|_| text.into(), Value::from);
        // More than all is a slip, and StatefulSets refuse it.
        let is_too_much = text
            .strip_suffix('%')
            .and_then(|percent| percent.parse::<u32>().ok())
            .is_some_and(|percent| percent > 100);
        match amount::partition(Some(&Amount::of(&value)), 1) {
            Ok(_) if !is_too_much => Ok(Self(value)),
            _ => Err(format!(
                "\"{text}\" is neither a number nor a percentage from 0% to 100%"
            )),
        }
    }
}

impl Partition {
    fn text(&self) -> String {
        self.0.as_str().map_or_else(|| self.0.to_string(), str::to_owned)
    }
}

impl SetPartition {
    /// Sets it.
    ///
    /// # Errors
    /// The workload is not there or keeps to no partition, or the API server refuses.
    pub async fn run(self) -> anyhow::Result<()> {
        let found = Found::at(&self.connect, &self.scope, &self.name).await?;
        let partition = &self.partition;
        let is_changed = if found.kind == WorkloadKind::DaemonSet {
            let edit = |object: &mut Value| {
                object["metadata"]["annotations"][keys::PARTITION] = partition.text().into();
                Ok(())
            };
            held::change(&found, self.convert, edit).await?
        } else {
            held::refuse_convert(&found, self.convert)?;
            let edit = |object: &mut Value| {
                let write = |object: &mut Value| write(object, found.kind, partition);
                held::expect_rolling(object, &found.title(), write)?;
                write(object);
                Ok(())
            };
            found.change(edit).await?
        };
        let said = if is_changed { "keeps" } else { "keeps already" };
        output::data(&format!("{} {said} {}", found.title(), partition.text()))
    }
}

/// The annotation wins over the field where there is one, on StatefulSets; on other kinds of `apps.kruise.io` it has no effect.
/// Source: statefulset.md 15.2.
fn write(object: &mut Value, kind: WorkloadKind, partition: &Partition) {
    let annotation = object
        .pointer_mut("/metadata/annotations")
        .filter(|_| kind == WorkloadKind::StatefulSet);
    if let Some(annotation) = annotation.and_then(|annotations| annotations.get_mut(keys::PARTITION)) {
        *annotation = partition.text().into();
        return;
    }
    object["spec"]["updateStrategy"]["rollingUpdate"]["partition"] = partition.0.clone();
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_percentages_are_taken() {
        for (text, value) in [
            ("3", json!(3)),
            ("0", json!(0)),
            ("40%", json!("40%")),
            ("100%", json!("100%")),
        ] {
            assert_eq!(text.parse(), Ok(Partition(value)), "{text}");
        }
        for text in ["", "-1", "4.5", "x", "%", "40 %", "140%"] {
            Partition::from_str(text).unwrap_err();
        }
    }

    #[test]
    fn it_is_written_where_it_counts() {
        let field = "/spec/updateStrategy/rollingUpdate/partition";
        for (kind, annotation_counts) in [
            (WorkloadKind::StatefulSet, true),
            (WorkloadKind::CloneSet, false),
            (WorkloadKind::AdvancedDaemonSet, false),
        ] {
            let mut object =
                json!({"metadata": {}, "spec": {"updateStrategy": {"rollingUpdate": {"partition": 1}}}});
            write(&mut object, kind, &"60%".parse().unwrap());
            assert_eq!(object.pointer(field), Some(&json!("60%")), "{kind:?}");
            object["metadata"]["annotations"] = json!({(keys::PARTITION): "20%"});
            write(&mut object, kind, &"2".parse().unwrap());
            let (annotation, value) = if annotation_counts {
                ("2", json!("60%"))
            } else {
                ("20%", json!(2))
            };
            assert_eq!(
                object["metadata"]["annotations"][keys::PARTITION],
                annotation,
                "{kind:?}"
            );
            assert_eq!(object.pointer(field), Some(&value), "{kind:?}");
        }
    }
}
