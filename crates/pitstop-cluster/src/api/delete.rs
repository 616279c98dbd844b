//! Deletion: grace, finalizers, preconditions, propagation.
//!
//! Source: embedded-cluster.md 11.

use std::sync::Arc;

use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use pitstop_api::keys::{FINALIZER_FOREGROUND, FINALIZER_ORPHAN};
use serde_json::Value;

use super::admission;
use super::options::dry_run_problem;
use super::read::filter_of;
use super::route::Target;
use super::status::{self, Failure};
use super::update::Next;
use super::write::draft;
use super::{Api, Body, Call, metadata, params, present};
use crate::admission::Operation;
use crate::broken::{self, Defect};
use crate::custom::definition::FINALIZER;
use crate::kinds::{FieldError, Kind, Subresource};
use crate::schema::{self, DecodeError};
use crate::store::{ListQuery, Stored, WriteError};

/// Repeats of a delete that others' writes get in the way of.
const TRIES: usize = 16;

/// Grace of pods that do not say, in seconds.
const DEFAULT_GRACE: i64 = 30;

/// Namespaces that may not go.
const LASTING_NAMESPACES: [&str; 3] = ["default", "kube-system", "kube-public"];

/// How to delete.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct DeleteOptions {
    grace: Option<i64>,
    propagation: Option<Propagation>,
    uid: Option<String>,
    version: Option<String>,
    dry_run: bool,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Propagation {
    Orphan,
    Foreground,
    Background,
}

/// What a delete comes to.
#[derive(Debug, PartialEq)]
enum Fate {
    /// It was on its way already.
    Same,
    /// It is marked and waits.
    Marked(Value),
    /// It goes, and this is the last that is shown of it.
    Gone(Value),
}

/// What became of an object.
pub(super) enum Deleted {
    Waits(Arc<Stored>),
    Gone(Arc<Stored>),
}

impl Api {
    pub(super) async fn delete(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let name = target.name.as_deref().unwrap_or_default();
        let (options, mut warnings) = DeleteOptions::for_kind(kind, call)?;
        let stored = self.stored(target)?;
        let old = self.shown_to(target, stored.clone()).await?.decode();
        self.check_write(call, Some(&old), None)?;
        self.admit_delete(target, call, &options, &old, &mut warnings)
            .await?;
        let answer = match self.delete_one(kind, stored, &options).await? {
            Deleted::Gone(stored) if !shows_deleted(kind) => {
                let body = status::deleted(kind, name, stored.uid());
                super::json(StatusCode::OK, body.to_string())
            }
            Deleted::Waits(stored) | Deleted::Gone(stored) => {
                let stored = self.shown_to(target, stored).await?;
                let body = present::one(kind, call.form, &stored, self.clock.now());
                super::json(StatusCode::OK, body)
            }
        };
        Ok(super::with_warnings(answer, &warnings))
    }

    async fn admit_delete(
        &self,
        target: &Target,
        call: &Call,
        options: &DeleteOptions,
        old: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let mut request = admission::request(target, call, Operation::Delete, options.dry_run);
        request.name = metadata::text(old, "name").to_owned();
        options.write_to(&mut request.options);
        Box::pin(self.admit_deletion(&request, old, warnings)).await
    }

    pub(super) async fn delete_collection(
        &self,
        target: &Target,
        call: &Call,
    ) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let collected = self.collection_of(kind)?;
        let filter = filter_of(kind, collected.kind, call)?;
        let (options, mut warnings) = DeleteOptions::for_kind(kind, call)?;
        let namespace = if kind.namespaced {
            target.namespace.as_deref()
        } else {
            Some("")
        };
        let query = ListQuery {
            namespace,
            ..ListQuery::default()
        };
        let page = self
            .store
            .list(collected.id, &query, &filter)
            .map_err(Failure::list_expired)?;
        let mut items = Vec::new();
        for stored in page.items {
            let shown = self.shown_to(target, stored.clone()).await?;
            let old = shown.decode();
            self.admit_delete(target, call, &options, &old, &mut warnings)
                .await?;
            let as_listed = present::nested(kind, &shown);
            match self.delete_one(kind, stored, &options).await {
                Ok(Deleted::Waits(_) | Deleted::Gone(_)) => items.push(as_listed),
                // Someone else was faster: it is gone all the same.
                Err(failure) if failure.is_not_found() => {}
                Err(failure) => return Err(failure),
            }
        }
        let list = serde_json::json!({
            "kind": format!("{}List", kind.kind), "apiVersion": kind.api_version(),
            "metadata": {"resourceVersion": page.version.to_string()}, "items": items,
        });
        let answer = super::json(StatusCode::OK, list.to_string());
        Ok(super::with_warnings(answer, &warnings))
    }

    pub(super) async fn delete_one(
        &self,
        kind: &Kind,
        mut stored: Arc<Stored>,
        options: &DeleteOptions,
    ) -> Result<Deleted, Failure> {
        let collected = self.collection_of(kind)?;
        let key = stored.key.clone();
        let name = &*key.name;
        if kind.subresources.contains(&Subresource::Finalize) && LASTING_NAMESPACES.contains(&name) {
            return Err(Failure::forbidden(
                kind,
                name,
                "this namespace may not be deleted",
            ));
        }
        for _ in 0..TRIES {
            options.check(kind, name, &stored)?;
            let old = stored.decode();
            let fate = fate(kind, &held_by_objects(kind, &old), options, self.clock.now());
            if options.dry_run {
                let preview = |new: Value| {
                    let draft = draft(kind, collected, new);
                    Arc::new(self.store.preview(key.clone(), draft, stored.version))
                };
                return Ok(match fate {
                    Fate::Gone(last) => Deleted::Gone(preview(last)),
                    Fate::Marked(new) => Deleted::Waits(preview(new)),
                    Fate::Same => Deleted::Waits(stored),
                });
            }
            let outcome = match fate {
                Fate::Same => return Ok(Deleted::Waits(stored)),
                Fate::Marked(new) => {
                    let next = Next::Replace(new);
                    self.store_next(collected.kind, &stored, &old, next, false)
                        .await
                        .map(Deleted::Waits)
                }
                Fate::Gone(last) => {
                    let removed = self
                        .store
                        .remove(collected.id, &key, stored.version, kind.durability);
                    match removed {
                        Ok(commit) => commit.durable().await.map(|gone| {
                            let last = draft(kind, collected, last);
                            Deleted::Gone(Arc::new(self.store.preview(key.clone(), last, gone.version)))
                        }),
                        Err(error) => Err(error),
                    }
                }
            };
            match outcome {
                Ok(deleted) => return Ok(deleted),
                Err(WriteError::Conflict) => {
                    let again = self.store.get(collected.id, &key);
                    stored = again.ok_or_else(|| Failure::not_found(kind, name))?;
                }
                Err(error) => return Err(Failure::from_write(error, kind, name)),
            }
        }
        Err(Failure::modified(kind, name))
    }
}

impl DeleteOptions {
    /// Is nothing to be stored?
    pub(super) fn is_dry_run(&self) -> bool {
        self.dry_run
    }

    /// The same for the object with this uid, whatever its version.
    pub(super) fn of_uid(self, uid: &str) -> Self {
        Self {
            uid: Some(uid.to_owned()),
            version: None,
            ..self
        }
    }

    /// From the body, and from the query where there is no body.
    fn parse(call: &Call) -> Result<Self, Failure> {
        let mut options = if call.body.is_empty() {
            Self::default()
        } else {
            let decoded = schema::decode_as(
                super::subresource::DELETE_OPTIONS,
                call.content_type(),
                &call.body,
            );
            let options = decoded.map_err(from_decode)?.object;
            check_type(&options)?;
            Self::from_object(&options)?
        };
        if call.body.is_empty() {
            options = Self::from_object(&from_query(call)?)?;
        }
        // Negative is as short as it gets without force.
        options.grace = options.grace.map(|grace| if grace < 0 { 1 } else { grace });
        Ok(options)
    }

    /// Those of a request about objects of a kind, and what its client is warned of.
    fn for_kind(kind: &Kind, call: &Call) -> Result<(Self, Vec<String>), Failure> {
        let mut options = Self::parse(call)?;
        let mut warnings = Vec::new();
        if kind.orphans_by_default && options.propagation.is_none() {
            options.propagation = Some(Propagation::Orphan);
            warnings.extend(kind.orphan_warning.map(str::to_owned));
        }
        call.note(&warnings);
        Ok((options, warnings))
    }

    /// From the object in a body.
    pub(super) fn from_object(object: &Value) -> Result<Self, Failure> {
        let errors = problems(object);
        if !errors.is_empty() {
            return Err(Failure::invalid_options("DeleteOptions", &errors));
        }
        let text = |pointer: &str| {
            object
                .pointer(pointer)
                .and_then(Value::as_str)
                .filter(|t| !t.is_empty())
                .map(str::to_owned)
        };
        let condition = |name: &str| {
            let given = object.pointer("/preconditions")?.get(name)?;
            given.as_str().map(str::to_owned)
        };
        let policy = text("/propagationPolicy").and_then(|policy| Propagation::parse(&policy));
        let orphan = object.get("orphanDependents").and_then(Value::as_bool);
        Ok(Self {
            grace: object.get("gracePeriodSeconds").and_then(Value::as_i64),
            propagation: policy.or(orphan.map(Propagation::from_orphan)),
            // An empty one is that of no object.
            uid: condition("uid").filter(|_| !broken::is(Defect::DeletesOtherUid)),
            version: condition("resourceVersion"),
            dry_run: object
                .get("dryRun")
                .and_then(Value::as_array)
                .is_some_and(|list| !list.is_empty()),
        })
    }

    /// Says the same in the options of a request that webhooks are asked about.
    fn write_to(&self, options: &mut Value) {
        let Some(options) = options.as_object_mut() else {
            return;
        };
        if let Some(grace) = self.grace {
            options.insert("gracePeriodSeconds".to_owned(), grace.into());
        }
        if let Some(propagation) = self.propagation {
            options.insert("propagationPolicy".to_owned(), format!("{propagation:?}").into());
        }
        let mut preconditions = serde_json::Map::new();
        for (field, value) in [("uid", &self.uid), ("resourceVersion", &self.version)] {
            if let Some(value) = value {
                preconditions.insert(field.to_owned(), value.as_str().into());
            }
        }
        if !preconditions.is_empty() {
            options.insert("preconditions".to_owned(), preconditions.into());
        }
    }

    /// Is the object the one that is meant?
    pub(super) fn check(&self, kind: &Kind, name: &str, stored: &Stored) -> Result<(), Failure> {
        let mismatch = |what: &str, wanted: &str, found: &str| {
            let guess = if what == "UID" {
                "deleted and then recreated"
            } else {
                "modified"
            };
            let why = format!(
                "the {what} in the precondition ({wanted}) does not match the {what} in record ({found}). The object \
                 might have been {guess}"
            );
            Err(Failure::unmet(kind, name, &why))
        };
        match (&self.uid, &self.version) {
            (Some(uid), _) if uid != stored.uid() => mismatch("UID", uid, stored.uid()),
            (_, Some(version)) if *version != stored.version.to_string() => {
                mismatch("ResourceVersion", version, &stored.version.to_string())
            }
            _ => Ok(()),
        }
    }
}

impl Propagation {
    fn parse(text: &str) -> Option<Self> {
        match text {
            "Orphan" => Some(Self::Orphan),
            "Foreground" => Some(Self::Foreground),
            "Background" => Some(Self::Background),
            _ => None,
        }
    }

    fn from_orphan(orphan: bool) -> Self {
        if orphan { Self::Orphan } else { Self::Background }
    }
}

/// Is a delete answered with the object that has gone, and not with a Status?
fn shows_deleted(kind: &Kind) -> bool {
    const SHOWN: [&str; 7] = [
        "pods",
        "podtemplates",
        "services",
        "serviceaccounts",
        "resourcequotas",
        "persistentvolumeclaims",
        "persistentvolumes",
    ];
    match kind.group {
        "" => SHOWN.contains(&kind.plural),
        "storage.k8s.io" => kind.plural == "storageclasses",
        _ => false,
    }
}

/// The options that a query has, in the form of a body.
fn from_query(call: &Call) -> Result<Value, Failure> {
    let mut options = serde_json::Map::new();
    if let Some(seconds) = call.params.get("gracePeriodSeconds") {
        options.insert("gracePeriodSeconds".to_owned(), params::integer(seconds)?.into());
    }
    if let Some(policy) = call.params.get("propagationPolicy") {
        options.insert("propagationPolicy".to_owned(), policy.into());
    }
    if call.params.get("orphanDependents").is_some() {
        options.insert(
            "orphanDependents".to_owned(),
            call.params.flag("orphanDependents").into(),
        );
    }
    let dry_run: Vec<&str> = call.params.all("dryRun").collect();
    if !dry_run.is_empty() {
        options.insert("dryRun".to_owned(), dry_run.into());
    }
    Ok(options.into())
}

/// A body that says of what type it is must be right. Kubernetes does not type these failures.
fn check_type(options: &Value) -> Result<(), Failure> {
    let text = |name: &str| options.get(name).and_then(Value::as_str).unwrap_or_default();
    match text("kind") {
        "" | "DeleteOptions" => Ok(()),
        kind => Err(Failure::untyped(format!(
            "no kind \"{kind}\" is registered for version \"{}\" in scheme \"pkg/runtime/scheme.go:110\"",
            text("apiVersion")
        ))),
    }
}

/// What cannot be decoded is not typed either.
fn from_decode(error: DecodeError) -> Failure {
    match error {
        DecodeError::WrongType { problem, .. } => Failure::untyped(problem),
        other => super::write::from_decode(other),
    }
}

/// What is wrong with options.
fn problems(options: &Value) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let policy = options.get("propagationPolicy").and_then(Value::as_str);
    if let (Some(policy), Some(_)) = (policy, options.get("orphanDependents")) {
        let why = "orphanDependents and deletionPropagation cannot be both set";
        errors.push(FieldError::invalid("propagationPolicy", policy, why));
    }
    if let Some(policy) = policy.filter(|policy| Propagation::parse(policy).is_none()) {
        let supported = ["Foreground", "Background", "Orphan", "nil"];
        errors.push(FieldError::not_supported("propagationPolicy", policy, &supported));
    }
    let dry_run = options.get("dryRun").and_then(Value::as_array);
    errors.extend(dry_run.and_then(|values| dry_run_problem(values)));
    errors
}

/// Decides what a delete comes to.
/// A definition stays until the last object of its kind is gone.
///
/// Source: embedded-cluster.md 14, rule 6.
fn held_by_objects(kind: &Kind, object: &Value) -> Value {
    let mut object = object.clone();
    let is_new = !metadata::is_deleting(&object) && (kind.group, kind.plural) == super::customs::DEFINITIONS;
    if let (true, Some(metadata)) = (is_new, metadata::metadata_mut(&mut object)) {
        let finalizers = metadata
            .entry("finalizers")
            .or_insert_with(|| Value::Array(Vec::new()));
        if let Some(finalizers) = finalizers.as_array_mut() {
            finalizers.push(FINALIZER.into());
        }
    }
    object
}

fn fate(kind: &Kind, old: &Value, options: &DeleteOptions, now: Timestamp) -> Fate {
    let mut new = old.clone();
    // What is going already goes as it was told to.
    if kind.graceful_deletion || !metadata::is_deleting(old) {
        set_propagation(&mut new, options.propagation);
    }
    let grace = options.grace.filter(|_| !broken::is(Defect::OwnGrace));
    if kind.graceful_deletion && !soften(&mut new, old, grace, now) {
        return changed(new, old);
    }
    if !metadata::is_held(kind, &new) {
        if kind.graceful_deletion {
            end(&mut new, old, now);
        }
        return Fate::Gone(new);
    }
    mark(kind, &mut new, old, now);
    changed(new, old)
}

/// The last state of an object that goes at once: its time is up now.
fn end(new: &mut Value, old: &Value, now: Timestamp) {
    if !metadata::is_deleting(old) {
        metadata::raise_generation(new);
        set_deadline(new, now, 0);
    } else if let Some(metadata) = metadata::metadata_mut(new) {
        metadata.insert("deletionGracePeriodSeconds".to_owned(), 0.into());
    }
}

fn changed(new: Value, old: &Value) -> Fate {
    if new == *old {
        Fate::Same
    } else {
        Fate::Marked(new)
    }
}

/// The finalizers that stand for a propagation policy.
fn set_propagation(object: &mut Value, policy: Option<Propagation>) {
    let Some(policy) = policy else { return };
    let wanted = match policy {
        Propagation::Orphan => Some(FINALIZER_ORPHAN),
        Propagation::Foreground => Some(FINALIZER_FOREGROUND),
        Propagation::Background => None,
    };
    let mut finalizers: Vec<String> = metadata::finalizers(object)
        .into_iter()
        .filter(|f| ![FINALIZER_ORPHAN, FINALIZER_FOREGROUND].contains(f) || Some(*f) == wanted)
        .map(str::to_owned)
        .collect();
    if let Some(wanted) = wanted
        && !finalizers.iter().any(|f| f == wanted)
    {
        finalizers.push(wanted.to_owned());
    }
    let Some(metadata) = metadata::metadata_mut(object) else {
        return;
    };
    if finalizers.is_empty() {
        metadata.remove("finalizers");
    } else {
        metadata.insert("finalizers".to_owned(), finalizers.into());
    }
}

/// Gives a pod time to stop. True: there is none, it goes now.
fn soften(new: &mut Value, old: &Value, wanted: Option<i64>, now: Timestamp) -> bool {
    let text = |pointer: &str| old.pointer(pointer).and_then(Value::as_str).unwrap_or_default();
    let runs_nowhere = text("/spec/nodeName").is_empty();
    let is_over = matches!(text("/status/phase"), "Succeeded" | "Failed");
    let number = |pointer: &str| old.pointer(pointer).and_then(Value::as_i64);
    let deleting_since = text("/metadata/deletionTimestamp").parse::<Timestamp>().ok();
    let Some(deadline) = deleting_since else {
        let own = number("/spec/terminationGracePeriodSeconds").unwrap_or(DEFAULT_GRACE);
        let grace = if runs_nowhere || is_over {
            0
        } else {
            wanted.unwrap_or(own).max(0)
        };
        if grace == 0 {
            return true;
        }
        set_deadline(new, later(now, grace), grace);
        metadata::raise_generation(new);
        return false;
    };
    // Only a shorter time counts.
    let granted = number("/metadata/deletionGracePeriodSeconds").unwrap_or(0);
    let Some(grace) = wanted.filter(|grace| *grace < granted) else {
        return granted == 0;
    };
    if grace == 0 {
        return true;
    }
    let earlier = later(deadline, grace.saturating_sub(granted));
    if earlier < now {
        set_deadline(new, now, 1);
    } else {
        set_deadline(new, earlier, grace);
    }
    false
}

/// Marks an object that finalizers hold.
fn mark(kind: &Kind, new: &mut Value, old: &Value, now: Timestamp) {
    let first = !metadata::is_deleting(old);
    let deadline = metadata::text(old, "deletionTimestamp")
        .parse::<Timestamp>()
        .map_or(now, |at| at.min(now));
    set_deadline(new, deadline, 0);
    if kind.subresources.contains(&Subresource::Finalize)
        && let Some(metadata) = metadata::metadata_mut(new)
    {
        // A namespace has no grace, not even none.
        metadata.remove("deletionGracePeriodSeconds");
    }
    if first {
        metadata::raise_generation(new);
    }
    if kind.subresources.contains(&Subresource::Finalize)
        && let Some(object) = new.as_object_mut()
    {
        let status = object
            .entry("status")
            .or_insert_with(|| Value::Object(serde_json::Map::new()));
        if let Some(status) = status.as_object_mut() {
            status.insert("phase".to_owned(), "Terminating".into());
        }
    }
}

fn set_deadline(object: &mut Value, at: Timestamp, grace: i64) {
    if let Some(metadata) = metadata::metadata_mut(object) {
        metadata.insert("deletionTimestamp".to_owned(), metadata::seconds(at).into());
        metadata.insert("deletionGracePeriodSeconds".to_owned(), grace.into());
    }
}

fn later(at: Timestamp, seconds: i64) -> Timestamp {
    at.saturating_add(SignedDuration::from_secs(seconds))
        .unwrap_or(at)
}
