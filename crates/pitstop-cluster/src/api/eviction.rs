//! Evictions: deletions of pods that disruption budgets have a say in.
//!
//! Source: embedded-cluster.md 10.4.

use std::sync::Arc;

use http::{Response, StatusCode};
use jiff::Timestamp;
use pitstop_api::selector::{LabelSelector, Labels};
use serde_json::{Map, Value, json};

use super::admission;
use super::delete::DeleteOptions;
use super::options::WriteOptions;
use super::route::Target;
use super::status::{self, Failure};
use super::update::Next;
use super::write::from_decode;
use super::{Api, Body, Call, metadata};
use crate::admission::{Form, Operation};
use crate::kinds;
use crate::schema;
use crate::store::{Filter, ListQuery, Stored, WriteError};

/// How often a budget or pod that others write at the same time is looked at again.
const TRIES: usize = 16;

/// Pods whose deletion a budget waits for at once.
const MAX_DISRUPTED: usize = 2000;

const VIOLATED: &str = "Cannot evict pod as it would violate the pod's disruption budget.";

const SEVERAL: &str =
    "This pod has more than one PodDisruptionBudget, which the eviction subresource does not support.";

/// What a budget says.
enum Verdict {
    /// It does not mind.
    Free,
    /// It loses one of the disruptions that it allows.
    Counted(Value),
}

impl Api {
    pub(super) async fn evict(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let name = target.name.as_deref().unwrap_or_default();
        let options = WriteOptions::parse(call)?;
        let decoded = schema::decode(&kinds::EVICTION, call.content_type(), &call.body).or_else(|error| {
            // Clients of old still speak its beta version.
            schema::decode(&kinds::EVICTION_BETA, call.content_type(), &call.body).map_err(|_| error)
        });
        let eviction = options
            .accept(&kinds::EVICTION, decoded.map_err(from_decode)?)?
            .object;
        if metadata::text(&eviction, "name") != name {
            return Err(Failure::bad_request(
                "name in URL does not match name in Eviction object",
            ));
        }
        let delete = eviction
            .get("deleteOptions")
            .cloned()
            .unwrap_or_else(|| json!({}));
        let delete = DeleteOptions::from_object(&delete)?;
        let dry_run = options.dry_run || delete.is_dry_run();
        let stored = self.stored(target)?;
        let mut request = admission::request(target, call, Operation::Create, dry_run);
        request.form = Form::of(&kinds::EVICTION);
        let mut warnings = Vec::new();
        let mut shown = request.form.shown(eviction);
        metadata::place(&kinds::EVICTION, &mut shown, target.namespace.as_deref())?;
        Box::pin(self.admit_body(&request, shown, None, &mut warnings)).await?;
        let pod = stored.decode();
        delete.check(kind, name, &stored)?;
        if needs_leave(&pod) {
            self.ask_budget(&pod, dry_run).await?;
        }
        if !dry_run {
            let stored = self.mark_evicted(target, stored).await?;
            self.delete_one(kind, stored, &delete.of_uid(metadata::text(&pod, "uid")))
                .await?;
        }
        let answer = super::json(StatusCode::CREATED, status::created().to_string());
        Ok(super::with_warnings(answer, &warnings))
    }

    /// Asks the budget of a pod, if it has one, and takes a disruption from it.
    async fn ask_budget(&self, pod: &Value, dry_run: bool) -> Result<(), Failure> {
        let budgets = self.collected(("policy", "poddisruptionbudgets"))?;
        for _ in 0..TRIES {
            let Some((stored, budget)) = self.budget_of(pod)? else {
                return Ok(());
            };
            let name = metadata::text(&budget, "name").to_owned();
            match judge(&budget, pod, self.clock.now())? {
                Verdict::Free => return Ok(()),
                Verdict::Counted(next) => {
                    let next = Next::Replace(next);
                    match self
                        .store_next(budgets.kind, &stored, &budget, next, dry_run)
                        .await
                    {
                        Ok(_) => return Ok(()),
                        Err(WriteError::Conflict | WriteError::Missing) => {}
                        Err(error) => return Err(Failure::from_write(error, budgets.kind, &name)),
                    }
                }
            }
        }
        Err(refused(
            VIOLATED,
            "others take disruptions at the same time",
            Some(10),
        ))
    }

    /// The one budget whose selector takes the pod in.
    fn budget_of(&self, pod: &Value) -> Result<Option<(Arc<Stored>, Value)>, Failure> {
        let budgets = self.collected(("policy", "poddisruptionbudgets"))?;
        let query = ListQuery {
            namespace: Some(metadata::text(pod, "namespace")),
            ..ListQuery::default()
        };
        let page = self
            .store
            .list(budgets.id, &query, &Filter::default())
            .map_err(Failure::list_expired)?;
        let labels = labels_of(pod);
        let mut found = page
            .items
            .into_iter()
            .map(|stored| (stored.decode(), stored))
            .filter(|(budget, _)| selects(budget, &labels));
        match (found.next(), found.next()) {
            (_, Some(_)) => Err(Failure::internal(SEVERAL)),
            (one, None) => Ok(one.map(|(budget, stored)| (stored, budget))),
        }
    }

    /// Says in the pod why it goes.
    async fn mark_evicted(&self, target: &Target, mut stored: Arc<Stored>) -> Result<Arc<Stored>, Failure> {
        let name = target.name.as_deref().unwrap_or_default();
        for _ in 0..TRIES {
            let old = stored.decode();
            if metadata::is_deleting(&old) {
                return Ok(stored);
            }
            let mut new = old.clone();
            set_disrupted(&mut new, self.clock.now());
            let marked = self
                .store_next(target.kind, &stored, &old, Next::Replace(new), false)
                .await;
            match marked {
                Ok(stored) => return Ok(stored),
                Err(WriteError::Conflict) => stored = self.stored(target)?,
                Err(error) => return Err(Failure::from_write(error, target.kind, name)),
            }
        }
        Err(Failure::modified(target.kind, name))
    }
}

/// Does anybody have to be asked before the pod goes? Not about one that has ended, or has not begun, or goes already.
fn needs_leave(pod: &Value) -> bool {
    let phase = pod
        .pointer("/status/phase")
        .and_then(Value::as_str)
        .unwrap_or_default();
    !matches!(phase, "Succeeded" | "Failed" | "Pending") && !metadata::is_deleting(pod)
}

/// Decides about one pod of a budget.
fn judge(budget: &Value, pod: &Value, now: Timestamp) -> Result<Verdict, Failure> {
    let number = |pointer: &str| {
        budget
            .pointer(pointer)
            .and_then(Value::as_i64)
            .unwrap_or_default()
    };
    let (healthy, desired) = (number("/status/currentHealthy"), number("/status/desiredHealthy"));
    if !is_ready(pod) {
        let policy = budget
            .pointer("/spec/unhealthyPodEvictionPolicy")
            .and_then(Value::as_str);
        if policy == Some("AlwaysAllow") || (desired > 0 && healthy >= desired) {
            return Ok(Verdict::Free);
        }
    }
    let name = metadata::text(budget, "name");
    if number("/status/observedGeneration") < number("/metadata/generation") {
        let why = format!("The disruption budget {name} is still being processed by the server.");
        return Err(refused(VIOLATED, &why, Some(10)));
    }
    let disrupted = budget.pointer("/status/disruptedPods").and_then(Value::as_object);
    if disrupted.map_or(0, Map::len) > MAX_DISRUPTED {
        let why =
            format!("DisruptedPods map too big - too many evictions not confirmed by PDB controller: {name}");
        return Err(refused(VIOLATED, &why, None));
    }
    let allowed = number("/status/disruptionsAllowed");
    if allowed <= 0 {
        let why =
            format!("The disruption budget {name} needs {desired} healthy pods and has {healthy} currently");
        return Err(refused(VIOLATED, &why, None));
    }
    let mut next = budget.clone();
    if let Some(status) = next.get_mut("status").and_then(Value::as_object_mut) {
        let left = allowed.saturating_sub(1);
        status.insert("disruptionsAllowed".to_owned(), left.into());
        let pods = status.entry("disruptedPods").or_insert_with(|| json!({}));
        if let Some(pods) = pods.as_object_mut() {
            pods.insert(
                metadata::text(pod, "name").to_owned(),
                metadata::seconds(now).into(),
            );
        }
        if left == 0 {
            forbid(status, now);
        }
    }
    Ok(Verdict::Counted(next))
}

/// The last disruption is taken: the budget's condition says so at once.
fn forbid(status: &mut Map<String, Value>, now: Timestamp) {
    let conditions = status.get_mut("conditions").and_then(Value::as_array_mut);
    let allowed = conditions.into_iter().flatten().filter_map(Value::as_object_mut);
    for condition in allowed.filter(|c| c.get("type").and_then(Value::as_str) == Some("DisruptionAllowed")) {
        condition.insert("status".to_owned(), "False".into());
        condition.insert("reason".to_owned(), "InsufficientPods".into());
        condition.insert("lastTransitionTime".to_owned(), metadata::seconds(now).into());
    }
}

fn refused(message: &str, why: &str, retry_after: Option<u32>) -> Failure {
    let cause = json!({"reason": "DisruptionBudget", "message": why});
    let failure = Failure::too_many_requests(message).with_causes(vec![cause]);
    match retry_after {
        Some(seconds) => failure.retry_after(seconds),
        None => failure,
    }
}

fn is_ready(pod: &Value) -> bool {
    let conditions = pod.pointer("/status/conditions").and_then(Value::as_array);
    conditions.into_iter().flatten().any(|condition| {
        let text = |field: &str| condition.get(field).and_then(Value::as_str);
        text("type") == Some("Ready") && text("status") == Some("True")
    })
}

fn labels_of(pod: &Value) -> Labels {
    let labels = pod
        .pointer("/metadata/labels")
        .cloned()
        .unwrap_or_else(|| json!({}));
    serde_json::from_value(labels).unwrap_or_default()
}

/// A budget without a selector takes in no pod, one with an empty selector every pod of its namespace.
fn selects(budget: &Value, labels: &Labels) -> bool {
    let selector = budget.pointer("/spec/selector").cloned();
    let selector = selector.and_then(|selector| serde_json::from_value::<LabelSelector>(selector).ok());
    let selector = selector.and_then(|selector| selector.selector());
    selector.is_some_and(|selector| selector.matches(labels))
}

fn set_disrupted(pod: &mut Value, now: Timestamp) {
    let Some(status) = pod
        .as_object_mut()
        .map(|pod| pod.entry("status").or_insert_with(|| json!({})))
        .and_then(Value::as_object_mut)
    else {
        return;
    };
    let conditions = status.entry("conditions").or_insert_with(|| json!([]));
    let Some(conditions) = conditions.as_array_mut() else {
        return;
    };
    conditions.retain(|c| c.get("type").and_then(Value::as_str) != Some("DisruptionTarget"));
    conditions.push(json!({
        "type": "DisruptionTarget", "status": "True", "reason": "EvictionByEvictionAPI",
        "message": "Eviction API: evicting", "lastTransitionTime": metadata::seconds(now),
    }));
}

#[cfg(test)]
mod tests;
