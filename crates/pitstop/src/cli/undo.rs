//! `pitstop undo`.

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{Api, ListParams};
use pitstop_engine::Reason;
use pitstop_engine::revision::canonical;
use pitstop_engine::snapshot::file::SnapshotFile;
use serde_json::Value;

use crate::cli::target::{NamespaceArgs, Workload};
use crate::connect::ConnectArgs;
use crate::output::talk;
use crate::rollout::{self, Found, Rollout, images_of};
use crate::{failure, output};

/// The policy under which no pod is replaced for an update.
const ONLY: &str = "InPlaceOnly";

/// Go back to an earlier revision of a workload
///
/// Puts the template of that revision back; everything else stays as it is. `pitstop history KIND/NAME` lists revisions.
#[derive(Debug, Args)]
#[command(
    after_help = "Examples:\n  pitstop undo clone/web                   to the revision before the newest\n  pitstop undo \
                  clone/web --to-revision 3   to this one"
)]
pub struct Undo {
    /// The workload, as ds/NAME, ads/NAME, clone/NAME or asts/NAME
    #[arg(value_name = "KIND/NAME")]
    pub name: Workload,
    /// Number of the revision to go back to [default: the one before the newest]
    #[arg(
        long,
        value_name = "N",
        env = "PITSTOP_TO_REVISION",
        hide_env = true,
        value_parser = clap::value_parser!(i64).range(1..)
    )]
    pub to_revision: Option<i64>,
    /// Where to look.
    #[command(flatten)]
    pub scope: NamespaceArgs,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

impl Undo {
    /// Goes back.
    ///
    /// # Errors
    /// The workload or the revision is not there, or the API server refuses.
    pub async fn run(self) -> anyhow::Result<()> {
        let found = Found::at(&self.connect, &self.scope, &self.name).await?;
        let revisions = revisions_of(&found).await?;
        let revision = self.chosen(&revisions)?;
        let template = template_of(revision)?;
        let number = revision.revision;
        let title = found.title();
        let before = rollout::fetch_file(&found.client, &found.namespace, &found.workload()).await;
        let go_back = |object: &mut Value| object["spec"]["template"] = template.clone();
        let is_changed = found.change(|object| {
            go_back(object);
            Ok(())
        });
        let is_changed = is_changed.await;
        if !is_changed.map_err(|error| with_way_out(error, &found, &self.name))? {
            return output::data(&format!(
                "{title} is at the template of revision {number} already"
            ));
        }
        let images = images_of(&template).join(", ");
        output::data(&format!("{title} rolled back to revision {number} ({images})"))?;
        tell_who_stays(&found, before, go_back);
        Ok(())
    }

    fn chosen<'a>(&self, revisions: &'a [ControllerRevision]) -> anyhow::Result<&'a ControllerRevision> {
        let Some(number) = self.to_revision else {
            return revisions.iter().rev().nth(1).ok_or_else(|| {
                failure::nothing_matched(
                    format!("{} has no earlier revision", self.name),
                    "see its revisions with `pitstop history`",
                )
            });
        };
        numbered(&self.name, revisions, number)
    }
}

/// What `InPlaceOnly` refuses, upstream as well: a template that differs in more than can change in pods that stay. There it
/// says how to go back nevertheless.
fn with_way_out(error: anyhow::Error, found: &Found, workload: &Workload) -> anyhow::Error {
    let is_it = error.chain().any(|cause| {
        let refusal = cause.downcast_ref::<kube::Error>();
        matches!(refusal, Some(kube::Error::Api(status)) if status.code == 422 && status.message.contains(ONLY))
    });
    if !is_it {
        return error;
    }
    let (namespace, title) = (&found.namespace, found.title());
    let patch = |policy: &str| {
        format!(
            "`kubectl patch -n {namespace} {title} --type=merge -p \
             '{{\"spec\":{{\"updateStrategy\":{{\"rollingUpdate\":{{\"podUpdatePolicy\":\"{policy}\"}}}}}}}}'`"
        )
    };
    // Paused, nothing is replaced on the way to what it goes back from.
    let run = |command: &str| format!("`pitstop {command} {workload} -n {namespace}`");
    let advice = format!(
        "run {}, {}, {} and {}, which replaces only pods that have the version it goes back from; then {} and {}",
        run("pause"),
        patch("InPlaceIfPossible"),
        run("undo"),
        run("resume"),
        run("status --wait all"),
        patch(ONLY)
    );
    failure::failed(failure::one_line(&error), advice)
}

/// Says how many pods the partition keeps when a workload goes back: those that have the version it goes back from. `before` is
/// how it was, `go_back` what was done to the object.
pub(super) fn tell_who_stays(
    found: &Found,
    before: anyhow::Result<SnapshotFile>,
    go_back: impl Fn(&mut Value),
) {
    let text = before.and_then(|mut file| {
        go_back(file.workload.object_mut());
        let rollout = rollout::decide(&file)?.rollout;
        Ok(who_stays(&rollout, &found.workload()))
    });
    match text {
        Ok(None) => {}
        Ok(Some(text)) => talk(&text),
        Err(error) => talk(&format!(
            "which pods a partition keeps at their version is not known: {error:#}"
        )),
    }
}

/// Which pods the partition keeps, for people; `None`: none.
fn who_stays(rollout: &Rollout, workload: &Workload) -> Option<String> {
    let is_kept = |reason: &Reason| matches!(reason, Reason::Partition { .. });
    let kept = rollout.waiting().filter(|(_, waiting)| is_kept(&waiting.detail));
    let (noun, them) = match kept.count() {
        0 => return None,
        1 => ("1 pod stays at its version".to_owned(), "it"),
        n => (format!("{n} pods stay at their version"), "them"),
    };
    Some(format!(
        "{noun}, kept by partition; `pitstop set-partition {workload} 0` brings {them} back"
    ))
}

/// The revision of a workload with this number.
pub(super) fn numbered<'a>(
    workload: &Workload,
    revisions: &'a [ControllerRevision],
    number: i64,
) -> anyhow::Result<&'a ControllerRevision> {
    let chosen = revisions.iter().find(|revision| revision.revision == number);
    chosen.ok_or_else(|| {
        let numbers: Vec<String> = revisions.iter().map(|one| one.revision.to_string()).collect();
        failure::nothing_matched(
            format!("{workload} has no revision {number}"),
            format!("give one of {}", numbers.join(", ")),
        )
    })
}

/// The revisions that a workload controls, by number.
pub(super) async fn revisions_of(found: &Found) -> anyhow::Result<Vec<ControllerRevision>> {
    let owner = rollout::objects(&found.client, found.kind, &found.namespace);
    let owner = owner
        .get_metadata(&found.name)
        .await
        .context("reading the workload")?;
    let uid = owner.metadata.uid;
    let api: Api<ControllerRevision> = Api::namespaced(found.client.clone(), &found.namespace);
    let list = api
        .list(&ListParams::default())
        .await
        .context("listing ControllerRevisions")?;
    let is_owned = |revision: &ControllerRevision| {
        let mut owners = revision.metadata.owner_references.iter().flatten();
        owners.any(|owner| owner.controller == Some(true) && Some(&owner.uid) == uid.as_ref())
    };
    let mut revisions: Vec<ControllerRevision> = list.items.into_iter().filter(is_owned).collect();
    revisions.sort_by(|a, b| (a.revision, &a.metadata.name).cmp(&(b.revision, &b.metadata.name)));
    Ok(revisions)
}

/// The template that a revision holds, without the mark that makes it replace another, and without what says nothing.
pub(super) fn template_of(revision: &ControllerRevision) -> anyhow::Result<Value> {
    let template = revision
        .data
        .as_ref()
        .and_then(|data| data.0.pointer("/spec/template"));
    let template = template.ok_or_else(|| {
        failure::failed(
            format!("revision {} holds no template", revision.revision),
            "choose another one of `pitstop history`",
        )
    })?;
    Ok(canonical(template))
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;
    use crate::rollout::{decide, sample};

    /// Of those that have the new version already; on a DaemonSet of `apps` none that serves nobody.
    #[test]
    fn whoever_goes_back_hears_whom_a_partition_keeps() {
        for (partition, is_ready, want) in [
            (
                "3",
                "True",
                Some(
                    "1 pod stays at its version, kept by partition; `pitstop set-partition ds/agent 0` brings it back",
                ),
            ),
            ("3", "False", None),
            ("0", "True", None),
        ] {
            let mut file = sample::half_way(&["a", "b", "c", "d"]);
            file.pods[0]["status"]["conditions"][0]["status"] = is_ready.into();
            let object = file.workload.object_mut();
            object["metadata"]["annotations"][pitstop_api::keys::PARTITION] = partition.into();
            object["spec"]["template"]["spec"]["containers"] = json!([{ "name": "app", "image": "app:1" }]);
            let rollout = decide(&file).unwrap().rollout;
            let workload = Workload {
                kind: Some(rollout.kind),
                name: rollout.name.clone(),
            };
            assert_eq!(
                who_stays(&rollout, &workload).as_deref(),
                want,
                "{partition} {is_ready}"
            );
        }
    }
}
