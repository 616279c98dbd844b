//! Can one revision become another in a live pod, and what has to change for that?
//!
//! Source: inplace.md 3, with 13.8: metadata is compared by key, so that the first annotation of a template and one that
//! goes refresh the environment like any other.

use std::collections::{BTreeMap, BTreeSet};

use pitstop_api::keys;
use pitstop_api::quantity::text_of;
use pitstop_api::selector::Labels;
use pitstop_api::view::{MetadataKey, Resources, RevisionView};
use serde::Deserialize;
use serde_json::Value;

use super::metadata::{Metadata, changed};
use super::state::RefMetadata;
use super::{Features, quantity};

/// A revision to compare.
#[derive(Debug, Clone, Copy)]
pub struct Version<'a> {
    /// What pods of it carry in their state: the name of the revision, or its hash for DaemonSets.
    pub name: &'a str,
    /// `data` of the revision.
    pub data: &'a Value,
    /// Annotations of the revision.
    pub annotations: &'a Labels,
}

impl<'a> Version<'a> {
    /// A revision, known by its name.
    pub fn of(revision: &'a RevisionView) -> Self {
        Self {
            name: &revision.name,
            data: &revision.data,
            annotations: &revision.annotations,
        }
    }
}

/// What a comparison depends on beside the revisions.
#[derive(Debug, Clone, Copy, Default)]
pub struct DiffOptions {
    /// What the cluster allows.
    pub features: Features,
    /// How long a pod is not ready before its containers change. Units: seconds.
    pub grace_seconds: u32,
    /// Do claim templates not matter, as under `InPlaceOnly`?
    pub ignores_claims: bool,
}

/// What comes of a comparison.
#[derive(Debug, Clone, PartialEq)]
pub enum Verdict {
    /// The pod has to be replaced.
    Recreate(WhyRecreate),
    /// The pod can stay.
    InPlace(UpdateSpec),
}

/// Why a pod cannot be updated in place.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum WhyRecreate {
    /// The revision that it has is not there any more.
    #[error("the revision that it has is unknown")]
    NoOldRevision,
    /// A revision holds no template.
    #[error("the data of revision {0} holds no pod template")]
    NoTemplate(String),
    /// The claim templates differ.
    #[error("volumeClaimTemplates differ")]
    ClaimTemplates,
    /// A field differs that cannot change in a live pod.
    #[error("{0} differs, which cannot change in a live pod")]
    Field(String),
    /// The resources would change its class.
    #[error("the new resources change its quality of service from {0} to {1}")]
    QosClass(&'static str, &'static str),
    /// It has ended.
    #[error("it has ended")]
    PodEnded,
    /// It is not made for updates in place.
    #[error("it has no readiness gate InPlaceUpdateReady")]
    NoGate,
    /// It has no container of this name.
    #[error("it has no container {0}")]
    NoContainer(String),
    /// A container has ended, and is not to be started again.
    #[error("container {0} has ended, and its restartPolicy does not start it again")]
    ContainerEnded(String),
    /// Its environment cannot be refreshed.
    #[error("its node has no agent that restarts containers whose environment changed")]
    NoAgent,
    /// The server would not change its resources.
    #[error("the server refuses the new resources: {0}")]
    ResizeRefused(String),
    /// Its node cannot give it the resources.
    #[error("its node refused the new resources: {0}")]
    Infeasible(String),
}

/// What has to change in a pod. Source: inplace.md 3, step 8.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct UpdateSpec {
    /// The revision that it leads to.
    pub revision: String,
    /// New images, by container.
    pub images: BTreeMap<String, String>,
    /// New resources, by container: only what changes.
    pub resources: BTreeMap<String, Resources>,
    /// Labels and annotations that containers read, by container.
    pub ref_metadata: BTreeMap<String, RefMetadata>,
    /// Strategic merge patch of all other metadata; `None` when no metadata changed at all.
    pub metadata_patch: Option<Value>,
    /// Has the environment of a container to be refreshed?
    pub update_env: bool,
    /// Init containers that read a label or annotation that changes: they do not run again. Source: inplace.md 13.8.
    pub init_readers: BTreeSet<String>,
    /// How long the pod is not ready before its containers change. Units: seconds.
    pub grace_seconds: u32,
}

impl UpdateSpec {
    /// Does any container restart, or change its resources?
    pub fn touches_containers(&self) -> bool {
        !self.images.is_empty()
            || !self.resources.is_empty()
            || !self.ref_metadata.is_empty()
            || self.update_env
    }
}

/// Compares two revisions.
pub fn diff(old: Option<Version<'_>>, new: Version<'_>, options: DiffOptions) -> Verdict {
    match compare(old, new, options) {
        Ok(spec) => Verdict::InPlace(spec),
        Err(why) => Verdict::Recreate(why),
    }
}

fn compare(
    old: Option<Version<'_>>,
    new: Version<'_>,
    options: DiffOptions,
) -> Result<UpdateSpec, WhyRecreate> {
    let old = old.ok_or(WhyRecreate::NoOldRevision)?;
    let (old_template, new_template) = (template(old)?, template(new)?);
    if options.features.recreate_on_claim_change && !options.ignores_claims {
        let hash = |version: Version<'_>| version.annotations.get(keys::CLAIM_TEMPLATES_HASH).cloned();
        if let (Some(old), Some(new)) = (hash(old), hash(new))
            && old != new
        {
            return Err(WhyRecreate::ClaimTemplates);
        }
    }
    let mut spec = UpdateSpec {
        revision: new.name.to_owned(),
        grace_seconds: options.grace_seconds,
        ..UpdateSpec::default()
    };
    for (key, old, new) in fields(old_template, new_template) {
        match key {
            "$patch" => {}
            "metadata" if old.is_some() && new.is_some() => {}
            "spec" => compare_spec(old, new, options.features, &mut spec)?,
            key => require_same(&format!("/{key}"), old, new)?,
        }
    }
    if !spec.resources.is_empty() {
        let (old, new) = (qos_class(old_template), qos_class(new_template));
        if old != new {
            return Err(WhyRecreate::QosClass(old, new));
        }
    }
    compare_metadata(old_template, new_template, options.features, &mut spec);
    Ok(spec)
}

fn template(version: Version<'_>) -> Result<&Value, WhyRecreate> {
    let template = version
        .data
        .pointer("/spec/template")
        .filter(|template| template.is_object());
    template.ok_or_else(|| WhyRecreate::NoTemplate(version.name.to_owned()))
}

/// A field of an object, and its value in either of two.
type Field<'a> = (&'a str, Option<&'a Value>, Option<&'a Value>);

/// Every field of either object with both its values; null is absent.
fn fields<'a>(old: &'a Value, new: &'a Value) -> Vec<Field<'a>> {
    let keys = |value: &'a Value| value.as_object().into_iter().flat_map(|map| map.keys());
    let keys: BTreeSet<&str> = keys(old).chain(keys(new)).map(String::as_str).collect();
    let get = |value: &'a Value, key: &str| value.get(key).filter(|value| !value.is_null());
    keys.into_iter()
        .map(|key| (key, get(old, key), get(new, key)))
        .collect()
}

fn require_same(path: &str, old: Option<&Value>, new: Option<&Value>) -> Result<(), WhyRecreate> {
    match first_difference(path, old, new) {
        Some(path) => Err(WhyRecreate::Field(path)),
        None => Ok(()),
    }
}

/// Where two values differ first, as a JSON pointer.
fn first_difference(path: &str, old: Option<&Value>, new: Option<&Value>) -> Option<String> {
    let (Some(old), Some(new)) = (old, new) else {
        return (old.is_some() || new.is_some()).then(|| path.to_owned());
    };
    match (old, new) {
        (Value::Object(_), Value::Object(_)) => fields(old, new).into_iter().find_map(|(key, old, new)| {
            let key = key.replace('~', "~0").replace('/', "~1");
            first_difference(&format!("{path}/{key}"), old, new)
        }),
        (Value::Array(a), Value::Array(b)) => (0..a.len().max(b.len()))
            .find_map(|i| first_difference(&format!("{path}/{i}"), a.get(i), b.get(i))),
        _ => (old != new).then(|| path.to_owned()),
    }
}

fn compare_spec(
    old: Option<&Value>,
    new: Option<&Value>,
    features: Features,
    spec: &mut UpdateSpec,
) -> Result<(), WhyRecreate> {
    let (Some(old), Some(new)) = (old, new) else {
        return require_same("/spec", old, new);
    };
    for (key, old, new) in fields(old, new) {
        match (key, old.and_then(Value::as_array), new.and_then(Value::as_array)) {
            ("containers", Some(old), Some(new)) if old.len() == new.len() => {
                for (i, (old, new)) in old.iter().zip(new).enumerate() {
                    compare_container(i, old, new, features, spec)?;
                }
            }
            ("containers", Some(a), Some(b)) => {
                return Err(WhyRecreate::Field(format!(
                    "/spec/containers/{}",
                    a.len().min(b.len())
                )));
            }
            _ => require_same(&format!("/spec/{key}"), old, new)?,
        }
    }
    Ok(())
}

fn compare_container(
    i: usize,
    old: &Value,
    new: &Value,
    features: Features,
    spec: &mut UpdateSpec,
) -> Result<(), WhyRecreate> {
    let name = old.get("name").and_then(Value::as_str).unwrap_or_default();
    for (key, old, new) in fields(old, new) {
        let path = format!("/spec/containers/{i}/{key}");
        match (key, old, new) {
            ("image", Some(Value::String(old)), Some(Value::String(new))) => {
                if old != new {
                    spec.images.insert(name.to_owned(), new.clone());
                }
            }
            ("resources", Some(old), Some(new)) if are_same_amounts(old, new) => {}
            ("resources", Some(old), Some(new)) if features.vertical_scaling => {
                let changed = changed_resources(&path, old, new)?;
                if !changed.is_empty() {
                    spec.resources.insert(name.to_owned(), changed);
                }
            }
            _ => require_same(&path, old, new)?,
        }
    }
    Ok(())
}

/// Are the resources of a container the same, whatever the notation of their amounts?
///
/// Differs from upstream, which compares texts: types of its own have written them all in one notation, which revisions of
/// other writers need not have.
fn are_same_amounts(old: &Value, new: &Value) -> bool {
    fields(old, new)
        .into_iter()
        .all(|(list, old, new)| match (old, new) {
            (Some(old @ Value::Object(_)), Some(new @ Value::Object(_)))
                if matches!(list, "limits" | "requests") =>
            {
                let mut amounts = fields(old, new).into_iter();
                amounts.all(|(_, old, new)| is_same_amount(old, new))
            }
            _ => old == new,
        })
}

/// The cpu and memory that changed. Source: inplace.md 3, step 5.
fn changed_resources(path: &str, old: &Value, new: &Value) -> Result<Resources, WhyRecreate> {
    let mut changed = Resources::default();
    for (list, old, new) in fields(old, new) {
        let quantities = match list {
            "limits" => &mut changed.limits,
            "requests" => &mut changed.requests,
            _ => {
                require_same(&format!("{path}/{list}"), old, new)?;
                continue;
            }
        };
        let (Some(old), Some(new)) = (old, new) else {
            require_same(&format!("{path}/{list}"), old, new)?;
            continue;
        };
        for (resource, old, new) in fields(old, new) {
            if is_same_amount(old, new) {
                continue;
            }
            let is_scalable = matches!(resource, "cpu" | "memory") && old.is_some();
            let written = new
                .and_then(text_of)
                .filter(|text| quantity::parse(text).is_some());
            match written {
                Some(written) if is_scalable => {
                    quantities.insert(resource.into(), (*written).into());
                }
                _ => require_same(&format!("{path}/{list}/{resource}"), old, new)?,
            }
        }
    }
    Ok(changed)
}

/// Is it the same amount, whatever its notation?
fn is_same_amount(old: Option<&Value>, new: Option<&Value>) -> bool {
    let texts = old.and_then(text_of).zip(new.and_then(text_of));
    old == new || texts.is_some_and(|(old, new)| quantity::are_equal(&old, &new))
}

/// The class that a template's resources give its pods. Source: Kubernetes, quality of service classes.
fn qos_class(template: &Value) -> &'static str {
    let mut names_any = false;
    let mut is_guaranteed = true;
    for list in ["/spec/containers", "/spec/initContainers"] {
        let containers = template.pointer(list).and_then(Value::as_array);
        for container in containers.into_iter().flatten() {
            for resource in ["cpu", "memory"] {
                let get = |list: &str| {
                    let value = container.pointer(&format!("/resources/{list}/{resource}"));
                    let nanos = value.and_then(text_of).and_then(|text| quantity::parse(&text));
                    nanos.filter(|nanos| *nanos != 0)
                };
                let limit = get("limits");
                // A request that is not written is the limit.
                let request = get("requests").or(limit);
                names_any |= request.is_some();
                is_guaranteed &= limit.is_some() && request == limit;
            }
        }
    }
    match (names_any, is_guaranteed) {
        (false, _) => "BestEffort",
        (true, true) => "Guaranteed",
        (true, false) => "Burstable",
    }
}

fn compare_metadata(old_template: &Value, new_template: &Value, features: Features, spec: &mut UpdateSpec) {
    let (mut old, mut new) = (Metadata::of(old_template), Metadata::of(new_template));
    if old.is_same(&new) {
        return;
    }
    if features.env_from_metadata {
        let reads_changed = |read: &MetadataKey| match read {
            MetadataKey::Label(key) => old.labels.get(&**key) != new.labels.get(&**key),
            MetadataKey::Annotation(key) => old.annotations.get(&**key) != new.annotations.get(&**key),
        };
        spec.init_readers = readers(new_template, "/spec/initContainers")
            .into_iter()
            .filter_map(|(container, read)| reads_changed(&read).then_some(container))
            .collect();
        let readers = readers(new_template, "/spec/containers");
        let label = |key: &str| MetadataKey::Label(key.into());
        let annotation = |key: &str| MetadataKey::Annotation(key.into());
        let maps = (&mut old.labels, &mut new.labels);
        hand_over(maps, &readers, label, spec, |reads| &mut reads.labels);
        let maps = (&mut old.annotations, &mut new.annotations);
        hand_over(maps, &readers, annotation, spec, |reads| &mut reads.annotations);
    }
    spec.metadata_patch = Some(new.patch_from(&old));
}

/// What containers read goes to them, and out of the rest, where it is set and not taken away. Source: inplace.md 3, step 7a.
fn hand_over(
    (old, new): (&mut Labels, &mut Labels),
    readers: &[(String, MetadataKey)],
    named: impl Fn(&str) -> MetadataKey,
    spec: &mut UpdateSpec,
    part: impl Fn(&mut RefMetadata) -> &mut Labels,
) {
    for (key, value) in changed(old, new) {
        let named = named(&key);
        let mut containers = readers.iter().filter(|(_, read)| *read == named).peekable();
        if containers.peek().is_none() {
            continue;
        }
        spec.update_env = true;
        if let Some(value) = value {
            for (container, _) in containers {
                let reads = spec.ref_metadata.entry(container.clone()).or_default();
                part(reads).insert(key.clone(), value.clone());
            }
            old.remove(&key);
            new.remove(&key);
        }
    }
}

/// The containers of one list of a template, and the labels and annotations that they read.
fn readers(template: &Value, list: &str) -> Vec<(String, MetadataKey)> {
    #[derive(Deserialize, Default)]
    #[serde(default, rename_all = "camelCase")]
    struct Container {
        name: String,
        env: Vec<pitstop_api::view::EnvWire>,
    }
    let containers = template.pointer(list).and_then(Value::as_array);
    let mut readers = Vec::new();
    for container in containers.into_iter().flatten() {
        let container = Container::deserialize(container).unwrap_or_default();
        for read in container
            .env
            .iter()
            .filter_map(pitstop_api::view::EnvWire::metadata)
        {
            readers.push((container.name.clone(), read.key));
        }
    }
    readers
}
