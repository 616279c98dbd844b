//! Asks webhooks about writes: first those that change objects, in turn, then those that only judge, all at once.
//!
//! Source: embedded-cluster.md 13.

use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use futures::future::join_all;
use pitstop_api::keys;
use serde_json::{Map, Value, json};
use tokio::sync::watch;

use super::owners::subresource_name;
use super::route::Target;
use super::status::Failure;
use super::{Api, Call, metadata};
use crate::admission::{self, Form, GROUP, Objects, Operation, Request, Verdict, Webhook};
use crate::kinds::{self, Creation, Kind};
use crate::patch::{self, PatchType};
use crate::store::{Filter, Key, ListQuery};
use crate::webhook::{Address, At, Place};

/// Where the configurations are stored: those of webhooks that change objects, and those of webhooks that judge.
const MUTATING: (&str, &str) = (GROUP, "mutatingwebhookconfigurations");
const VALIDATING: (&str, &str) = (GROUP, "validatingwebhookconfigurations");

/// The webhooks as of the last look at their configurations.
#[derive(Debug)]
pub(super) struct Webhooks(Mutex<Cached>);

#[derive(Debug)]
struct Cached {
    sources: Vec<watch::Receiver<u64>>,
    known: Option<Arc<Known>>,
}

/// In the order of their configurations' names.
#[derive(Debug, Default)]
struct Known {
    mutating: Vec<Webhook>,
    validating: Vec<Webhook>,
}

impl Webhooks {
    /// `subscribe` gives what wakes when a collection changes.
    pub(super) fn new(
        subscribe: impl Fn((&'static str, &'static str)) -> Option<watch::Receiver<u64>>,
    ) -> Self {
        Self(Mutex::new(Cached {
            sources: [MUTATING, VALIDATING].into_iter().filter_map(subscribe).collect(),
            known: None,
        }))
    }
}

/// What webhooks learn of a request besides its objects.
pub(super) fn request<'a>(
    target: &Target,
    call: &'a Call,
    operation: Operation,
    dry_run: bool,
) -> Request<'a> {
    let kind = target.kind;
    let name = target.name.clone().unwrap_or_default();
    let namespace = match &target.namespace {
        Some(namespace) => namespace.clone(),
        None if kind.stored_as == ("", "namespaces") => name.clone(),
        None => String::new(),
    };
    Request {
        operation,
        kind,
        form: Form::of(kind),
        subresource: target.subresource.map_or("", subresource_name),
        name,
        namespace,
        user: &call.user,
        options: write_options(call, operation, dry_run),
        dry_run,
    }
}

fn write_options(call: &Call, operation: Operation, dry_run: bool) -> Value {
    let kind = match operation {
        Operation::Create => "CreateOptions",
        Operation::Update => "UpdateOptions",
        Operation::Delete => "DeleteOptions",
    };
    let mut options = Map::new();
    options.insert("kind".to_owned(), kind.into());
    options.insert("apiVersion".to_owned(), "meta.k8s.io/v1".into());
    if dry_run {
        options.insert("dryRun".to_owned(), json!(["All"]));
    }
    for field in ["fieldManager", "fieldValidation"] {
        if let Some(value) = call.params.get(field).filter(|_| operation != Operation::Delete) {
            options.insert(field.to_owned(), value.into());
        }
    }
    options.into()
}

impl Api {
    fn webhooks(&self) -> Arc<Known> {
        let mut cached = self.webhooks.0.lock().unwrap_or_else(PoisonError::into_inner);
        let Cached { sources, known } = &mut *cached;
        let mut changed = known.is_none();
        for source in sources {
            changed |= source.has_changed().unwrap_or(true);
            // Seen before it is read: what changes in between is read again the next time.
            source.borrow_and_update();
        }
        match known {
            Some(known) if !changed => known.clone(),
            _ => {
                let new = Arc::new(Known {
                    mutating: self.read_webhooks(MUTATING),
                    validating: self.read_webhooks(VALIDATING),
                });
                *known = Some(new.clone());
                new
            }
        }
    }

    fn read_webhooks(&self, stored_as: (&str, &str)) -> Vec<Webhook> {
        let Ok(collected) = self.collected(stored_as) else {
            return Vec::new();
        };
        let page = self
            .store
            .list(collected.id, &ListQuery::default(), &Filter::default());
        let items = page.map(|page| page.items).unwrap_or_default();
        items
            .iter()
            .flat_map(|stored| admission::webhooks(&stored.decode()))
            .collect()
    }

    /// As which kind a webhook is asked about a request; `None` if it is not asked.
    fn form_for(
        &self,
        webhook: &Webhook,
        request: &Request<'_>,
        objects: Objects<'_>,
    ) -> Option<&'static Kind> {
        let kind = request.kind;
        if kind.group == GROUP {
            return None;
        }
        let mut same: Vec<&'static Kind> = kinds::all()
            .iter()
            .filter(|other| other.stored_as == kind.stored_as && !std::ptr::eq(*other, kind))
            .collect();
        if kind.is_custom() {
            same = self.served().versions_of(kind);
        }
        let form = webhook.form_of(request, &same)?;
        webhook
            .selects(objects, || self.namespace_of(request, objects))
            .then_some(form)
    }

    /// The namespace of a request, as it will be when it is the namespace that is written.
    fn namespace_of(&self, request: &Request<'_>, objects: Objects<'_>) -> Option<Value> {
        let is_namespace = request.kind.stored_as == ("", "namespaces");
        if is_namespace && request.subresource.is_empty() && request.operation != Operation::Delete {
            return objects.new.cloned();
        }
        if request.namespace.is_empty() {
            return None;
        }
        let namespaces = self.collected(("", "namespaces")).ok()?;
        let stored = self.store.get(namespaces.id, &Key::new("", &request.namespace));
        // One that is gone has no labels.
        Some(stored.map_or_else(|| json!({}), |stored| stored.decode()))
    }

    /// Asks one webhook. `None`: it cannot be asked, and its configuration says that this does not matter.
    async fn consult(
        &self,
        webhook: &Webhook,
        request: &Request<'_>,
        seen_as: &Kind,
        objects: Objects<'_>,
        mutates: bool,
    ) -> Result<Option<Verdict>, Failure> {
        let uid = self.random.uid();
        let question = webhook.review(request, seen_as, objects, &uid);
        let answer = self.ask_webhook(&webhook.place, &question, webhook.timeout).await;
        let verdict = answer
            .map_err(|why| format!("failed to call webhook: {why}"))
            .and_then(|answer| webhook.verdict(&answer, &uid, mutates));
        match verdict {
            Ok(verdict) => Ok(Some(verdict)),
            Err(why) if webhook.may_fail => {
                tracing::warn!(webhook = webhook.name, why, "the webhook failed, which it may");
                Ok(None)
            }
            Err(why) => Err(Failure::internal_error(&format!(
                "failed calling webhook {:?}: {why}",
                webhook.name
            ))),
        }
    }

    /// Lets webhooks change what is to be stored; `None` if they leave it as it is. `clean` makes an object of what a
    /// patch made.
    pub(super) async fn mutate(
        &self,
        request: &Request<'_>,
        objects: Objects<'_>,
        clean: &(dyn Fn(Value) -> Result<Value, Failure> + Sync),
        warnings: &mut Vec<String>,
    ) -> Result<Option<Value>, Failure> {
        let known = self.webhooks();
        let mut changed: Option<Value> = None;
        // Those that were asked before somebody else's change, and want to see it.
        let mut outdated: Vec<bool> = vec![false; known.mutating.len()];
        for is_first in [true, false] {
            let round = std::mem::replace(&mut outdated, vec![false; known.mutating.len()]);
            let mut asked = Vec::new();
            for (index, webhook) in known.mutating.iter().enumerate() {
                if !is_first && !round.get(index).copied().unwrap_or_default() {
                    continue;
                }
                let now = Objects {
                    new: changed.as_ref().or(objects.new),
                    old: objects.old,
                };
                let patched = self.change_by(webhook, request, now, clean, warnings).await?;
                if let Some(patched) = patched {
                    changed = Some(patched);
                    for earlier in asked.drain(..) {
                        if let Some(outdated) = outdated.get_mut(earlier) {
                            *outdated = true;
                        }
                    }
                }
                if webhook.again {
                    asked.push(index);
                }
            }
        }
        Ok(changed)
    }

    /// What one webhook makes of an object, if it changes it.
    async fn change_by(
        &self,
        webhook: &Webhook,
        request: &Request<'_>,
        objects: Objects<'_>,
        clean: &(dyn Fn(Value) -> Result<Value, Failure> + Sync),
        warnings: &mut Vec<String>,
    ) -> Result<Option<Value>, Failure> {
        let Some(form) = self.form_for(webhook, request, objects) else {
            return Ok(None);
        };
        let new = self.in_form_of(form, request.kind, objects.new).await?;
        let old = self.in_form_of(form, request.kind, objects.old).await?;
        let seen = Objects {
            new: new.as_ref(),
            old: old.as_ref(),
        };
        let Some(verdict) = self.consult(webhook, request, form, seen, true).await? else {
            return Ok(None);
        };
        warnings.extend(verdict.warnings);
        if let Some(denial) = verdict.denial {
            return Err(denied(denial));
        }
        let Some(patch) = verdict.patch else {
            return Ok(None);
        };
        let (Some(before), Some(new)) = (objects.new, &new) else {
            let why = "webhook attempted to modify the object, which is not supported for this operation";
            return Err(Failure::internal_error(why));
        };
        let patched = patch::apply(form, PatchType::Json, new, &patch)
            .map_err(|error| Failure::internal_error(&error.to_string()))?;
        let patched = self.in_form_of(request.kind, form, Some(&patched)).await?;
        let patched = clean(patched.unwrap_or_default())?;
        Ok((patched != *before).then_some(patched))
    }

    /// Lets webhooks judge what is to be stored.
    pub(super) async fn judge(
        &self,
        request: &Request<'_>,
        objects: Objects<'_>,
        warnings: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let known = self.webhooks();
        let asked = known.validating.iter().filter_map(|webhook| {
            let form = self.form_for(webhook, request, objects)?;
            Some(async move {
                let new = self.in_form_of(form, request.kind, objects.new).await?;
                let old = self.in_form_of(form, request.kind, objects.old).await?;
                let seen = Objects {
                    new: new.as_ref(),
                    old: old.as_ref(),
                };
                self.consult(webhook, request, form, seen, false).await
            })
        });
        let mut refusal = None;
        for answer in join_all(asked).await {
            match answer {
                Ok(None) => {}
                Ok(Some(verdict)) => {
                    warnings.extend(verdict.warnings);
                    if let Some(denial) = verdict.denial {
                        refusal.get_or_insert_with(|| denied(denial));
                    }
                }
                Err(failure) => {
                    refusal.get_or_insert(failure);
                }
            }
        }
        refusal.map_or(Ok(()), Err)
    }

    /// Both, for what has no object of its own to be changed: deletions.
    pub(super) async fn admit_deletion(
        &self,
        request: &Request<'_>,
        old: &Value,
        warnings: &mut Vec<String>,
    ) -> Result<(), Failure> {
        let objects = Objects {
            new: None,
            old: Some(old),
        };
        self.mutate(request, objects, &Ok, warnings).await?;
        self.judge(request, objects, warnings).await
    }

    /// Both, for a body that is not stored as it is: the object as webhooks leave it.
    pub(super) async fn admit_body(
        &self,
        request: &Request<'_>,
        body: Value,
        old: Option<&Value>,
        warnings: &mut Vec<String>,
    ) -> Result<Value, Failure> {
        let objects = Objects {
            new: Some(&body),
            old,
        };
        let changed = self.mutate(request, objects, &Ok, warnings).await?;
        let body = changed.unwrap_or(body);
        let objects = Objects {
            new: Some(&body),
            old,
        };
        self.judge(request, objects, warnings).await?;
        Ok(body)
    }

    /// Lets webhooks change a new object. They see it before it has a uid, and a generated name; pods with what
    /// admission injects into them.
    pub(super) async fn mutate_new(
        &self,
        request: &Request<'_>,
        target: &Target,
        object: Value,
        warnings: &mut Vec<String>,
    ) -> Result<Value, Failure> {
        if self.webhooks().mutating.is_empty() {
            return Ok(object);
        }
        let kind = target.kind;
        let mut seen = object.clone();
        if (kind.service_account)(&seen).is_some() {
            let suffix = self.random.suffix();
            let creation = Creation {
                now: self.clock.now(),
                suffix: &suffix,
                user: request.user,
            };
            (kind.prepare_create)(&mut seen, &creation);
        }
        (kind.default)(&mut seen);
        let given = ["uid", "creationTimestamp", "generation"];
        if let Some(metadata) = metadata::metadata_mut(&mut seen) {
            metadata.retain(|field, _| !given.contains(&field.as_str()));
        }
        let objects = Objects {
            new: Some(&seen),
            old: None,
        };
        let clean = |patched| clean_patched(target, patched);
        let Some(mut changed) = self.mutate(request, objects, &clean, warnings).await? else {
            return Ok(object);
        };
        metadata::place(kind, &mut changed, target.namespace.as_deref())?;
        if let Some(metadata) = metadata::metadata_mut(&mut changed) {
            for field in given {
                metadata::keep(metadata, &object, field);
            }
        }
        Ok(changed)
    }

    /// Asks a webhook, wherever it is.
    pub(super) async fn ask_webhook(
        &self,
        place: &Place,
        question: &Value,
        timeout: Duration,
    ) -> Result<Value, String> {
        let inside = match &place.at {
            At::Service { namespace, name, .. } => self.inside.find(namespace, name),
            At::Url(_) => None,
        };
        match inside {
            Some(program) => place.ask_inside(program.as_ref(), question, timeout).await,
            None => place.ask(question, timeout, |at| self.resolve(at)).await,
        }
    }

    /// The address behind a service: the one that it is annotated with, its external name, or that of an endpoint
    /// that is ready.
    pub(super) fn resolve(&self, at: &At) -> Result<Address, String> {
        let At::Service {
            namespace,
            name,
            port,
            ..
        } = at
        else {
            return Err("no service".to_owned());
        };
        let object = |plural: &str| {
            let collected = self.collected(("", plural)).ok()?;
            let stored = self.store.get(collected.id, &Key::new(namespace, name))?;
            Some(stored.decode())
        };
        let service = object("services").ok_or_else(|| format!("service {name:?} not found"))?;
        if let Some(address) = annotated(&service) {
            return Ok(address);
        }
        let text = |pointer: &str| service.pointer(pointer).and_then(Value::as_str);
        if text("/spec/type") == Some("ExternalName") {
            return Ok((text("/spec/externalName").unwrap_or_default().to_owned(), *port));
        }
        let ports = service.pointer("/spec/ports").and_then(Value::as_array);
        let port = ports
            .into_iter()
            .flatten()
            .find(|entry| entry.get("port").and_then(Value::as_u64) == Some(u64::from(*port)))
            .ok_or_else(|| format!("no service port {port} found for service {name:?}"))?;
        let endpoints = object("endpoints").unwrap_or_default();
        ready_address(&endpoints, port).ok_or_else(|| format!("no endpoints available for service {name:?}"))
    }
}

/// An object of what a webhook's patch made: unknown fields go, defaults come.
pub(super) fn clean_patched(target: &Target, patched: Value) -> Result<Value, Failure> {
    let decoded = target
        .clean(patched)
        .map_err(|error| Failure::internal_error(&error.to_string()))?;
    let mut object = decoded.object;
    (target.kind.default)(&mut object);
    Ok(object)
}

fn denied(denial: admission::Denial) -> Failure {
    Failure::denied(denial.code, denial.reason, denial.message, denial.details)
}

fn annotated(service: &Value) -> Option<Address> {
    let annotations = service.pointer("/metadata/annotations")?;
    let given = annotations.get(keys::SIM_ADDRESS)?.as_str()?;
    let (host, port) = given.rsplit_once(':')?;
    Some((host.to_owned(), port.parse().ok()?))
}

/// The first ready address that has the port of a service.
fn ready_address(endpoints: &Value, port: &Value) -> Option<Address> {
    let name = |port: &Value| {
        port.get("name")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .to_owned()
    };
    let subsets = endpoints.get("subsets").and_then(Value::as_array)?;
    subsets.iter().find_map(|subset| {
        let address = subset.pointer("/addresses/0/ip")?.as_str()?;
        let ports = subset.get("ports").and_then(Value::as_array)?;
        let found = ports.iter().find(|found| name(found) == name(port))?;
        let number = u16::try_from(found.get("port")?.as_u64()?).ok()?;
        Some((address.to_owned(), number))
    })
}
