//! The controller of disruption budgets: how many pods may go now.
//!
//! Source: embedded-cluster.md 16; the rules are those of Kubernetes 1.34.

use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};

use super::super::wire::Pod;
use super::super::writes::Write;
use super::amounts::resolve;
use super::objects::{Budget, BudgetCondition, BudgetStatus};
use super::queue::{Plan, Sort, Step};

/// A pod that was allowed to go and is still there after this long stays.
const PATIENCE: SignedDuration = SignedDuration::from_mins(2);

/// A pod of a budget, and what it is part of.
#[derive(Debug)]
pub(super) struct Member<'a> {
    pub(super) pod: &'a Pod,
    pub(super) part_of: PartOf<'a>,
}

/// What a pod is part of.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum PartOf<'a> {
    /// A workload, by uid, with so many replicas.
    Scaled(&'a str, i64),
    /// Something that has no scale.
    Unscaled(String),
    /// Nothing.
    Alone,
}

/// What is to be said about a budget.
pub(super) fn decide(budget: &Budget, members: &[Member<'_>], now: Timestamp) -> Plan {
    let disrupted = still_disrupted(budget, members, now);
    let again = disrupted
        .values()
        .min()
        .and_then(|since| since.checked_add(PATIENCE).ok());
    let healthy = members.iter().filter(|member| {
        let meta = &member.pod.metadata;
        let is_going = meta.deletion_timestamp.is_some() || disrupted.contains_key(&meta.name);
        member.pod.ready_since().is_some() && !is_going
    });
    let healthy = count(healthy.count());
    let status = match expected(budget, members) {
        Ok((expected, desired)) => {
            let allowed = if expected > 0 {
                healthy.saturating_sub(desired).max(0)
            } else {
                0
            };
            BudgetStatus {
                disrupted_pods: disrupted,
                disruptions_allowed: allowed,
                current_healthy: healthy,
                desired_healthy: desired,
                expected_pods: expected,
                ..with_condition(budget, allowed, None, now)
            }
        }
        Err(why) => with_condition(budget, 0, Some(why), now),
    };
    let mut steps = Vec::new();
    if status != budget.status {
        steps.push(write_status(budget, &status));
    }
    Plan { steps, again }
}

/// Pods that were allowed to go, and have not begun to.
fn still_disrupted(
    budget: &Budget,
    members: &[Member<'_>],
    now: Timestamp,
) -> std::collections::BTreeMap<String, Timestamp> {
    let is_there = |name: &str| {
        let mut pods = members.iter().map(|member| &member.pod.metadata);
        pods.any(|meta| meta.name == name && meta.deletion_timestamp.is_none())
    };
    let known = budget.status.disrupted_pods.iter();
    let kept = known.filter(|(name, since)| is_there(name) && now.duration_since(**since) < PATIENCE);
    kept.map(|(name, since)| (name.clone(), *since)).collect()
}

/// How many pods there are to be, and how many of them healthy.
fn expected(budget: &Budget, members: &[Member<'_>]) -> Result<(i64, i64), String> {
    match (&budget.spec.max_unavailable, &budget.spec.min_available) {
        (Some(amount), _) => {
            let expected = expected_scale(members)?;
            let unavailable = resolve(amount, expected, true);
            Ok((expected, expected.saturating_sub(unavailable).max(0)))
        }
        (None, Some(Value::String(percentage))) => {
            let expected = expected_scale(members)?;
            Ok((
                expected,
                resolve(&Value::from(percentage.as_str()), expected, true),
            ))
        }
        (None, Some(amount)) => Ok((count(members.len()), resolve(amount, 0, true))),
        (None, None) => Ok((count(members.len()), 0)),
    }
}

/// The replicas of all workloads that have a pod here.
fn expected_scale(members: &[Member<'_>]) -> Result<i64, String> {
    let mut scales = std::collections::BTreeMap::new();
    for member in members {
        match &member.part_of {
            PartOf::Scaled(uid, replicas) => {
                scales.insert(*uid, *replicas);
            }
            PartOf::Unscaled(kind) => return Err(format!("{kind} does not implement the scale subresource")),
            PartOf::Alone => {}
        }
    }
    Ok(scales.values().sum())
}

fn count(n: usize) -> i64 {
    i64::try_from(n).unwrap_or(i64::MAX)
}

/// The status as it is, with its condition brought up to date.
fn with_condition(budget: &Budget, allowed: i64, failed: Option<String>, now: Timestamp) -> BudgetStatus {
    let generation = budget.metadata.generation.unwrap_or_default();
    let (status, reason) = match (&failed, allowed) {
        (Some(_), _) => ("False", "SyncFailed"),
        (None, 0) => ("False", "InsufficientPods"),
        (None, _) => ("True", "SufficientPods"),
    };
    let mut conditions = budget.status.conditions.clone();
    let at = conditions
        .iter()
        .position(|condition| condition.kind == "DisruptionAllowed");
    let known = at.map(|at| conditions.remove(at));
    let same_since = known.filter(|condition| condition.status == status);
    let now = Timestamp::from_second(now.as_second()).ok();
    let condition = BudgetCondition {
        kind: "DisruptionAllowed".to_owned(),
        status: status.to_owned(),
        observed_generation: generation,
        last_transition_time: same_since.map_or(now, |condition| condition.last_transition_time),
        reason: reason.to_owned(),
        message: failed.unwrap_or_default(),
    };
    conditions.insert(at.unwrap_or(conditions.len()).min(conditions.len()), condition);
    BudgetStatus {
        observed_generation: generation,
        disruptions_allowed: allowed,
        conditions,
        ..budget.status.clone()
    }
}

fn write_status(budget: &Budget, status: &BudgetStatus) -> Step {
    let meta = &budget.metadata;
    let path = format!(
        "/apis/policy/v1/namespaces/{}/poddisruptionbudgets/{}/status",
        meta.namespace, meta.name
    );
    // The whole of it: a merge would keep pods that are to leave the list.
    let body = json!([
        {"op": "test", "path": "/metadata/resourceVersion", "value": meta.resource_version},
        {"op": "replace", "path": "/status", "value": status},
    ]);
    Step::new(Sort::Budget, Write::json(path, body))
}

#[cfg(test)]
mod tests;
