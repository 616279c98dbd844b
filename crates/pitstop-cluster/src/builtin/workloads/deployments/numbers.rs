//! How many replicas each set of a Deployment is to have.

use pitstop_api::keys;

use super::super::amounts::resolve;
use super::super::objects::{DeploymentSpec, ReplicaSet};
use super::Rollout;

/// A set and the number of replicas that it is to have.
type Target<'a> = (&'a ReplicaSet, i64);

/// How many pods may be there beyond those that are wanted, and how many of these may be missing. Not both are none.
pub(super) fn bounds(spec: &DeploymentSpec) -> (i64, i64) {
    if spec.strategy.kind != "RollingUpdate" {
        return (0, 0);
    }
    let rolling = &spec.strategy.rolling_update;
    let surge = resolve(&rolling.max_surge, spec.replicas, true);
    let unavailable = resolve(&rolling.max_unavailable, spec.replicas, false);
    // Nothing would ever move.
    let unavailable = if surge == 0 && unavailable == 0 {
        1
    } else {
        unavailable
    };
    (surge, unavailable.min(spec.replicas))
}

/// How many replicas the new set can have now that has `current`.
pub(super) fn room_for_new(rollout: &Rollout<'_>, current: i64) -> i64 {
    let (surge, _) = rollout.bounds();
    let there: i64 = rollout.all().map(|set| set.spec.replicas).sum();
    let room = rollout
        .wanted()
        .saturating_add(surge)
        .saturating_sub(there)
        .max(0);
    current.saturating_add(room.min(rollout.wanted().saturating_sub(current).max(0)))
}

/// How many replicas the old sets can spare: first those that do not serve, then as many as others serve for.
pub(super) fn shrink_old<'a>(rollout: &Rollout<'a>, new: &ReplicaSet) -> Vec<Target<'a>> {
    let (_, unavailable) = rollout.bounds();
    let least = rollout.wanted().saturating_sub(unavailable);
    let there: i64 = rollout.all().map(|set| set.spec.replicas).sum();
    let unready = new.spec.replicas.saturating_sub(new.status.available_replicas);
    let spare = there.saturating_sub(least).saturating_sub(unready);
    let mut targets: Vec<Target<'a>> = rollout.old.iter().map(|set| (*set, set.spec.replicas)).collect();
    if spare <= 0 {
        return Vec::new();
    }
    let mut taken = 0_i64;
    for (set, target) in &mut targets {
        let broken = target.saturating_sub(set.status.available_replicas).max(0);
        let going = broken.min(spare.saturating_sub(taken));
        *target = target.saturating_sub(going);
        taken = taken.saturating_add(going);
    }
    // A set that has just been told to shrink still counts pods that are about to go.
    let serving = rollout
        .all()
        .map(|set| set.status.available_replicas.min(set.spec.replicas));
    let serving: i64 = serving.sum();
    let mut left = serving.saturating_sub(least).max(0);
    for (_, target) in &mut targets {
        let going = left.min(*target);
        *target = target.saturating_sub(going);
        left = left.saturating_sub(going);
    }
    targets.retain(|(set, target)| *target != set.spec.replicas);
    targets
}

/// Has the new set all that is wanted?
pub(super) fn is_saturated(new: &ReplicaSet, wanted: i64) -> bool {
    let desired = new.number(keys::DEPLOYMENT_DESIRED_REPLICAS);
    new.spec.replicas == wanted && desired == Some(wanted) && new.status.available_replicas == wanted
}

/// Spreads a change of the whole over the sets by their size.
pub(super) fn by_part<'a>(rollout: &Rollout<'a>, active: &[&'a ReplicaSet]) -> Vec<Target<'a>> {
    let (surge, _) = rollout.bounds();
    let most = if rollout.wanted() > 0 {
        rollout.wanted().saturating_add(surge)
    } else {
        0
    };
    let there: i64 = active.iter().map(|set| set.spec.replicas).sum();
    let change = most.saturating_sub(there);
    let mut sets = active.to_vec();
    // The largest first; of equals the newer grows and the older shrinks first.
    sets.sort_by(|a, b| {
        let age = |set: &ReplicaSet| (set.metadata.creation_timestamp, set.metadata.name.clone());
        let of_equals = if change > 0 {
            age(b).cmp(&age(a))
        } else {
            age(a).cmp(&age(b))
        };
        b.spec.replicas.cmp(&a.spec.replicas).then(of_equals)
    });
    let mut spread = 0_i64;
    let mut targets: Vec<Target<'a>> = Vec::new();
    for set in sets {
        let part = part_of(rollout, set, most);
        let left = change.saturating_sub(spread);
        let part = if change > 0 {
            part.min(left)
        } else {
            part.max(left)
        };
        spread = spread.saturating_add(part);
        targets.push((set, set.spec.replicas.saturating_add(part)));
    }
    // What rounding has left goes to the largest.
    if let Some((_, target)) = targets.first_mut() {
        *target = target.saturating_add(change.saturating_sub(spread)).max(0);
    }
    targets
}

/// By how much a set grows or shrinks so that it keeps its part of the whole.
fn part_of(rollout: &Rollout<'_>, set: &ReplicaSet, most: i64) -> i64 {
    let size = set.spec.replicas;
    if rollout.wanted() == 0 {
        return size.saturating_neg();
    }
    let before = set
        .number(keys::DEPLOYMENT_MAX_REPLICAS)
        .filter(|n| *n > 0)
        .unwrap_or(rollout.deployment.status.replicas);
    if before <= 0 {
        return 0;
    }
    // Rounded to the nearest, halves up.
    let doubled = size.saturating_mul(most).saturating_mul(2).saturating_add(before);
    (doubled / before.saturating_mul(2)).saturating_sub(size)
}
