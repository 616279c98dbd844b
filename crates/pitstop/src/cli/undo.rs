//! `pitstop undo`.

use anyhow::Context as _;
use clap::Args;
use k8s_openapi::api::apps::v1::ControllerRevision;
use kube::api::{Api, ListParams};
use serde_json::Value;

use crate::cli::target::{NamespaceArgs, Workload};
use crate::connect::ConnectArgs;
use crate::rollout::{self, Found, images_of};
use crate::{failure, output};

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
        let is_changed = found.change(|object| {
            object["spec"]["template"] = template.clone();
            Ok(())
        });
        let title = found.title();
        let images = images_of(&template).join(", ");
        output::data(&if is_changed.await? {
            format!("{title} rolled back to revision {number} ({images})")
        } else {
            format!("{title} is at the template of revision {number} already")
        })
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

/// The template that a revision holds, without the mark that makes it replace another.
pub(super) fn template_of(revision: &ControllerRevision) -> anyhow::Result<Value> {
    let template = revision
        .data
        .as_ref()
        .and_then(|data| data.0.pointer("/spec/template"));
    let mut template = template.cloned().ok_or_else(|| {
        failure::failed(
            format!("revision {} holds no template", revision.revision),
            "choose another one of `pitstop history`",
        )
    })?;
    if let Some(template) = template.as_object_mut() {
        template.remove("$patch");
    }
    Ok(template)
}
