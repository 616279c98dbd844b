//! The state that applying a manifest would lead to, without applying it.
//!
//! The API server fills in defaults and validates in a dry run. The revision that the controller of a DaemonSet would then
//! write is added by hand; those of other kinds are ours, and the plan begins with it. Nothing is stored.

use std::io::Read as _;
use std::path::Path;

use anyhow::Context as _;
use kube::Client;
use kube::api::{Api, DynamicObject, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use pitstop_api::kruise::Version;
use pitstop_api::{WorkloadKind, cloneset, daemonset, keys, statefulset};
use pitstop_engine::revision;
use pitstop_engine::snapshot::file::SnapshotFile;
use serde_json::{Value, json};

use crate::cli::target::Workload;
use crate::{failure, rollout};

/// Hash of a revision that does not exist yet.
const NEW: &str = "(new)";
/// What a manifest with the template of the cluster leads to.
const SAME_TEMPLATE: &str =
    "the template stays as it is: no new revision, so no pod is replaced because of it";

/// A workload as it might become.
#[derive(Debug, Clone, PartialEq)]
pub struct Wanted {
    kind: WorkloadKind,
    object: Value,
}

impl Wanted {
    /// The workload of a manifest; other objects in it do not matter.
    ///
    /// # Errors
    /// The text is no YAML, or does not hold exactly one workload.
    pub fn from_manifest(text: &str) -> anyhow::Result<Self> {
        let documents: Vec<Value> = serde_saphyr::from_multiple(text).map_err(|error| {
            failure::failed(
                format!("the manifest is no YAML: {error}"),
                "mend what the message names; `kubectl apply --dry-run=client -f FILE` checks it too",
            )
        })?;
        let mut found: Vec<Self> = documents
            .into_iter()
            .flat_map(|document| match document.get("items").and_then(Value::as_array) {
                Some(items) => items.clone(),
                None => vec![document],
            })
            .filter_map(|object| {
                let kind = kind_of(&object)?;
                Some(Self { kind, object })
            })
            .collect();
        match (found.pop(), found.len()) {
            (Some(wanted), 0) if wanted.object["metadata"]["name"].is_string() => Ok(wanted),
            (Some(wanted), 0) => Err(failure::failed(
                format!("the {} of the manifest has no name", wanted.kind.kind()),
                "give it metadata.name",
            )),
            (None, _) => Err(failure::nothing_matched(
                format!(
                    "the manifest holds no {}",
                    WorkloadKind::kinds(&WorkloadKind::ALL).join(" or ")
                ),
                "give a file with the workload that you are about to apply",
            )),
            (Some(_), more) => Err(failure::failed(
                format!("the manifest holds {} workloads", more + 1),
                "give them one at a time",
            )),
        }
    }

    /// What it is, and its name.
    fn workload(&self) -> Workload {
        Workload {
            kind: Some(self.kind),
            name: self.name().to_owned(),
        }
    }

    /// Its name.
    fn name(&self) -> &str {
        self.object["metadata"]["name"].as_str().unwrap_or_default()
    }

    /// Its namespace, if it names one.
    pub fn namespace(&self) -> Option<&str> {
        self.object["metadata"]["namespace"].as_str()
    }

    /// The strategic merge patch that makes `live` what applying the manifest would make it: the template is replaced
    /// as a whole, everything else is merged.
    ///
    /// A restart mark that only the live template has stays, as it does under `kubectl apply`.
    fn patch(&self, live: &Value) -> Value {
        let mut template = self.template(live);
        template["$patch"] = json!("replace");
        let mut patch = json!({"spec": self.object["spec"], "metadata": {}});
        patch["spec"]["template"] = template;
        for key in ["labels", "annotations"] {
            if self.object["metadata"][key].is_object() {
                patch["metadata"][key] = self.object["metadata"][key].clone();
            }
        }
        patch
    }

    /// What applying the manifest would make of `live`, which is of the same version: as [`Wanted::patch`], for kinds that
    /// the server merges by RFC 7386 only.
    fn replacement(&self, live: &Value) -> Value {
        let mut object = live.clone();
        merge(&mut object["spec"], &self.object["spec"]);
        for key in ["labels", "annotations"] {
            merge(&mut object["metadata"][key], &self.object["metadata"][key]);
        }
        object["spec"]["template"] = self.template(live);
        object
    }

    /// The template of the manifest, with the restart mark that only the live one has.
    fn template(&self, live: &Value) -> Value {
        let mut template = self.object["spec"]["template"].clone();
        let path = ["spec", "template", "metadata", "annotations", keys::RESTARTED_AT];
        let restarted = path.iter().try_fold(live, |value, key| value.get(key));
        if let Some(restarted) = restarted
            && template["metadata"]["annotations"]
                .get(keys::RESTARTED_AT)
                .is_none()
        {
            template["metadata"]["annotations"][keys::RESTARTED_AT] = restarted.clone();
        }
        template
    }
}

/// The kind of an object, if it is a workload in a version that is known.
fn kind_of(object: &Value) -> Option<WorkloadKind> {
    let (kind, version) = (object["kind"].as_str()?, object["apiVersion"].as_str()?);
    WorkloadKind::ALL.into_iter().find(|known| {
        let is_version = match known {
            WorkloadKind::DaemonSet => version == "apps/v1",
            WorkloadKind::AdvancedDaemonSet | WorkloadKind::CloneSet | WorkloadKind::StatefulSet => {
                Version::of(version).is_some()
            }
        };
        kind == known.kind() && is_version
    })
}

/// Merges objects key by key; everything else is replaced. What is null or absent changes nothing.
fn merge(into: &mut Value, from: &Value) {
    match (into, from) {
        (_, Value::Null) => {}
        (Value::Object(into), Value::Object(from)) => {
            for (key, value) in from {
                merge(into.entry(key).or_insert(Value::Null), value);
            }
        }
        (into, from) => *into = from.clone(),
    }
}

/// Reads a manifest from a file, or from stdin for `-`.
///
/// # Errors
/// The file cannot be read or holds something else.
pub fn read(path: &Path) -> anyhow::Result<Wanted> {
    let mut text = String::new();
    if path == Path::new("-") {
        std::io::stdin()
            .read_to_string(&mut text)
            .context("reading stdin")?;
    } else {
        text = std::fs::read_to_string(path).with_context(|| format!("reading {}", path.display()))?;
    }
    Wanted::from_manifest(&text)
}

/// The state after the manifest was applied, and before anything else was done. Also says in plain words what was assumed.
///
/// # Errors
/// The workload is not there, or the API server refuses the manifest.
pub async fn suppose(
    client: &Client,
    namespace: &str,
    wanted: &Wanted,
) -> anyhow::Result<(SnapshotFile, Vec<String>)> {
    let file = rollout::fetch_file(client, namespace, &wanted.workload()).await?;
    let asking = "asking the API server what it would make of the manifest";
    match wanted.kind {
        WorkloadKind::DaemonSet => {
            let api = rollout::objects(client, wanted.kind, namespace);
            let patch = Patch::Strategic(wanted.patch(file.workload.object()));
            let parameters = PatchParams::default().dry_run();
            let patched = api
                .patch(wanted.name(), &parameters, &patch)
                .await
                .context(asking)?;
            let patched = serde_json::to_value(patched).context("reading the answer of the dry run")?;
            Ok(after_applying(file, patched))
        }
        WorkloadKind::AdvancedDaemonSet | WorkloadKind::CloneSet | WorkloadKind::StatefulSet => {
            let patched = wanted.replaced(client, namespace).await.context(asking)?;
            Ok(after_replacing(file, patched))
        }
    }
}

impl Wanted {
    /// The workload of `apps.kruise.io` that the server would store.
    async fn replaced(&self, client: &Client, namespace: &str) -> anyhow::Result<Value> {
        let version = self.object["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = version.split_once('/').unwrap_or_default();
        let kind = GroupVersionKind::gvk(group, version, self.kind.kind());
        let resource = ApiResource::from_gvk_with_plural(&kind, self.kind.plural());
        let api: Api<DynamicObject> = Api::namespaced_with(client.clone(), namespace, &resource);
        let live = serde_json::to_value(api.get(self.name()).await?)?;
        let replacement = serde_json::from_value(self.replacement(&live))?;
        let parameters = PostParams {
            dry_run: true,
            ..PostParams::default()
        };
        let replaced = api.replace(self.name(), &parameters, &replacement).await?;
        let replaced = serde_json::to_value(replaced)?;
        let stored = Version::V1beta1.api_version();
        Ok(match self.kind {
            WorkloadKind::AdvancedDaemonSet => daemonset::conversion::convert(replaced, stored)?,
            WorkloadKind::StatefulSet => statefulset::conversion::convert(replaced, stored)?,
            WorkloadKind::CloneSet | WorkloadKind::DaemonSet => {
                cloneset::conversion::convert(replaced, stored)?
            }
        })
    }
}

/// Puts the patched workload into the file.
fn after_replacing(mut file: SnapshotFile, patched: Value) -> (SnapshotFile, Vec<String>) {
    let mut assumed = vec!["the manifest is applied".to_owned()];
    if file.workload.object()["spec"]["template"] == patched["spec"]["template"] {
        assumed.push(SAME_TEMPLATE.to_owned());
    }
    *file.workload.object_mut() = patched;
    (file, assumed)
}

/// Puts the patched object into the file, and the revision that its controller would write.
fn after_applying(mut file: SnapshotFile, mut patched: Value) -> (SnapshotFile, Vec<String>) {
    let mut assumed = vec!["the manifest is applied".to_owned()];
    let template = patched["spec"]["template"].clone();
    let canonical = revision::canonical(&template);
    let uid = &patched["metadata"]["uid"];
    let is_owned = |object: &Value| {
        let owners = object["metadata"]["ownerReferences"].as_array();
        owners.is_some_and(|owners| owners.iter().any(|owner| owner["uid"] == *uid))
    };
    let holds = |object: &&Value| {
        is_owned(object) && revision::canonical(&object["data"]["spec"]["template"]) == canonical
    };
    if revision::canonical(&file.workload.object()["spec"]["template"]) == canonical {
        assumed.push(SAME_TEMPLATE.to_owned());
    } else if let Some(known) = file.revisions.iter().find(holds) {
        let number = known["revision"].as_i64().unwrap_or_default();
        assumed.push(format!(
            "the template is that of revision {number}: pods at it stay"
        ));
    } else {
        let newest = file
            .revisions
            .iter()
            .filter_map(|revision| revision["revision"].as_i64())
            .max();
        let number = newest.unwrap_or_default() + 1;
        assumed.push(format!(
            "its template is written as revision {number}, shown as {NEW}"
        ));
        file.revisions.push(new_revision(&patched, &template, number));
    }
    // The moment to look at is the one when the DaemonSet's own controller has seen it.
    patched["status"]["observedGeneration"] = patched["metadata"]["generation"].clone();
    *file.workload.object_mut() = patched;
    (file, assumed)
}

fn new_revision(daemonset: &Value, template: &Value, number: i64) -> Value {
    let metadata = &daemonset["metadata"];
    json!({
        "apiVersion": "apps/v1",
        "kind": "ControllerRevision",
        "metadata": {
            "name": revision::name_of(metadata["name"].as_str().unwrap_or_default(), NEW),
            "namespace": metadata["namespace"],
            // Nothing has this uid: it is not stored.
            "uid": "00000000-0000-4000-8000-000000000000",
            "labels": revision::labels_of(template, NEW),
            "ownerReferences": [{
                "apiVersion": "apps/v1",
                "kind": "DaemonSet",
                "name": metadata["name"],
                "uid": metadata["uid"],
                "controller": true,
                "blockOwnerDeletion": true,
            }],
        },
        "revision": number,
        "data": revision::data_of(template),
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::cli::plan::PlanReport;
    use crate::output::Report as _;
    use crate::rollout::sample;

    const MANIFEST: &str = "
apiVersion: v1
kind: ConfigMap
metadata: {name: other}
---
apiVersion: apps/v1
kind: DaemonSet
metadata:
  name: agent
  namespace: edge
  annotations: {apps.openyurt.io/update-strategy: AdvancedRollingUpdate}
spec:
  selector: {matchLabels: {app: agent}}
  updateStrategy: {type: OnDelete}
  template:
    metadata: {labels: {app: agent}}
    spec: {containers: [{name: app, image: 'app:2'}]}
";

    #[test]
    fn the_daemonset_of_a_manifest_is_found_among_others() {
        let wanted = Wanted::from_manifest(MANIFEST).unwrap();
        assert_eq!((wanted.name(), wanted.namespace()), ("agent", Some("edge")));
        for (text, want) in [
            ("kind: ConfigMap\napiVersion: v1\n", "holds no DaemonSet"),
            ("a: [", "is no YAML"),
            ("kind: DaemonSet\napiVersion: apps/v1\n", "has no name"),
        ] {
            let error = Wanted::from_manifest(text).unwrap_err().to_string();
            assert!(error.contains(want), "{error}");
        }
        let twice = format!("{MANIFEST}---\n{MANIFEST}");
        let error = Wanted::from_manifest(&twice).unwrap_err().to_string();
        assert!(error.contains("holds 2 workloads"), "{error}");
    }

    #[test]
    fn the_template_is_replaced_and_a_restart_mark_stays() {
        let wanted = Wanted::from_manifest(MANIFEST).unwrap();
        let live = json!({"spec": {"template": {"metadata": {"annotations": {(keys::RESTARTED_AT): "t"}}}}});
        let patch = wanted.patch(&live);
        assert_eq!(patch["spec"]["template"]["$patch"], "replace");
        assert_eq!(
            patch["spec"]["template"]["metadata"]["annotations"][keys::RESTARTED_AT],
            "t"
        );
        assert_eq!(
            patch["metadata"].as_object().unwrap().len(),
            1,
            "name and namespace are not patched"
        );
        let patch = wanted.patch(&json!({}));
        assert!(patch["spec"]["template"]["metadata"].get("annotations").is_none());
    }

    fn report(image: &str) -> String {
        let file = sample::settled(&["a", "b"]);
        let (file, assumed) = after_applying(file, sample::daemonset(image, 2));
        PlanReport::of(rollout::decide(&file).unwrap(), assumed).text(false)
    }

    #[test]
    fn a_new_image_starts_with_the_first_node() {
        insta::assert_snapshot!(report("app:2"), @r"
        assumed: the manifest is applied
        assumed: its template is written as revision 2, shown as (new)
        daemonset.apps/agent: updated 0 of 2; waiting: 1 MaxUnavailable, 1 Updating
        would be done now:
          ACTION       NAME      NODE   WHY
          delete pod   agent-a   a      Outdated
        then waits:
          NODE   POD       REASON           EXPLANATION
          b      agent-b   MaxUnavailable   1 of 1 pods that may be unavailable are; its turn comes when one is available again
        ");
    }

    #[test]
    fn the_same_template_changes_nothing() {
        insta::assert_snapshot!(report("app:1"), @r"
        assumed: the manifest is applied
        assumed: the template stays as it is: no new revision, so no pod is replaced because of it
        daemonset.apps/agent: updated 2 of 2, done
        nothing would be done now
        ");
    }
}
