//! Which pods are created and deleted.
//!
//! Source: cloneset.md 8.

use std::sync::Arc;

use pitstop_api::reasons;
use pitstop_api::view::PodView;

use super::numbers::{Diff, Numbers};
use super::plan::{Action, NewPod, PatchWhy, Removal};
use super::rows::Row;
use super::{Touch, Turn, claims, instance};
use crate::inplace::Change;
use crate::instances::MOST_CREATED;
use crate::lifecycle::{State, enter, is_hooked};
use crate::order::deletion::{Candidate, Spread, deletion_order};
use crate::order::topology::Constraint;
use crate::plan::Event;

impl<'a> Turn<'_, 'a> {
    /// Creates or deletes pods; says whether it does anything that others wait for.
    ///
    /// Differs from upstream in that only pods that are created are waited for, not those that should be (cloneset.md 18.24).
    pub(super) fn scale(&mut self, numbers: &Numbers) -> bool {
        let diff = numbers.scale;
        if self.regret(numbers) {
            return true;
        }
        if diff.scale_up > diff.scale_up_limit {
            self.plan.events.push(limited(diff.scale_up_limit));
        }
        // What the server does not create holds nobody else up: missing pods cost the budget of all that follows.
        let is_refused = self.snapshot.failures.scale.is_some();
        if diff.scale_up_limit > 0 && self.create(diff) && !is_refused {
            return true;
        }
        self.delete_prepared() || self.delete_specified(diff) || self.scale_down(diff)
    }

    /// Pods that something is true of, by name.
    fn rows_with(&self, is_wanted: impl Fn(&Row<'a>) -> bool) -> Vec<(usize, Row<'a>)> {
        let rows = self.rows.active.iter().copied().enumerate();
        let mut wanted: Vec<(usize, Row<'a>)> = rows.filter(|(_, row)| is_wanted(row)).collect();
        wanted.sort_by(|(_, a), (_, b)| a.pod.name.cmp(&b.pod.name));
        wanted
    }

    /// Pods that wait for their deletion come back when they are needed again. Source: cloneset.md 8, step 2.
    ///
    /// Differs from upstream: also where a hook takes pods out of service, since the way back puts them into it again
    /// (inplace.md 13.4).
    fn regret(&mut self, numbers: &Numbers) -> bool {
        let leaving = self.rows_with(|row| row.is_preparing_delete() || row.is_specified);
        let replicas = usize::try_from(numbers.wanted.replicas).unwrap_or(usize::MAX);
        let staying = self.rows.len().saturating_sub(leaving.len());
        let missing = replicas.saturating_sub(staying);
        let back = leaving.into_iter().filter(|(_, row)| !row.is_specified);
        let back: Vec<(usize, Row<'a>)> = back.take(missing).collect();
        let mut does_anything = false;
        for (i, row) in &back {
            does_anything |= self.enter(*i, row, State::PreparingNormal);
        }
        does_anything
    }

    /// Changes the state of a pod; says whether that writes anything.
    fn enter(&mut self, i: usize, row: &Row<'a>, state: State) -> bool {
        let Some(live) = row.live.filter(|_| !self.is_put_off(i)) else {
            return false;
        };
        let snapshot = self.snapshot;
        let mut change = Change::default();
        enter(
            live,
            state,
            &snapshot.cloneset.lifecycle,
            snapshot.now,
            &mut change,
        );
        if change.is_empty() {
            return false;
        }
        self.touch(i, Touch::Deleted);
        self.patch(live, change, PatchWhy::Prepare);
        true
    }

    /// Those at the current revision come first, and take the lowest ids; says whether there are any. Source: cloneset.md 8,
    /// step 4.
    fn create(&mut self, diff: Diff) -> bool {
        let snapshot = self.snapshot;
        let (free, taken) = claims::ids(snapshot, self.rows);
        let n = usize::try_from(diff.scale_up_limit).map_or(MOST_CREATED, |n| n.min(MOST_CREATED));
        // Who takes over the claims of a pod that terminates takes over its name, when it is free.
        let awaited = claims::awaited(snapshot, self.rows);
        let n = n.saturating_sub(awaited.n);
        self.wake(awaited.until);
        let n_old = usize::try_from(diff.scale_up_old).unwrap_or(usize::MAX);
        let present = claims::names(snapshot);
        for (i, id) in instance::ids(n, &free, &taken, snapshot.seed)
            .into_iter()
            .enumerate()
        {
            let revision = if i < n_old {
                &self.history.current
            } else {
                &self.history.update
            };
            let cloneset = snapshot.cloneset;
            let short = snapshot.features.short_hash;
            self.plan.actions.push(Action::CreatePod(NewPod {
                name: instance::pod_name(cloneset, &id).into(),
                revision: Arc::clone(&revision.name),
                manifest: instance::pod_of(cloneset, revision.template(), &revision.name, &id, short),
                claims: claims::missing_of(snapshot, &present, &id),
                instance: id,
            }));
        }
        n > 0
    }

    /// Pods whose hook has let them go. Source: cloneset.md 8, step 5.
    fn delete_prepared(&mut self) -> bool {
        let prepared = self.rows_with(Row::is_preparing_delete);
        self.delete_all(&prepared, Removal::Prepared)
    }

    /// Pods that were named, and those that are marked to be replaced. Source: cloneset.md 8, step 6.
    ///
    /// Differs from upstream: those of them that serve nobody count as unavailable, so that no other one goes beside them
    /// that the budget does not allow (S1).
    fn delete_specified(&mut self, diff: Diff) -> bool {
        let specified = self.rows_with(|row| row.is_specified && !row.is_preparing_delete());
        let n_down = specified.iter().filter(|(_, row)| !row.is_available).count();
        let n_down = u32::try_from(n_down).unwrap_or(u32::MAX);
        let affordable = affordable(specified, diff.delete_ready_limit.saturating_sub(n_down));
        self.delete_all(&affordable, Removal::Specified)
    }

    /// Source: cloneset.md 8, step 7.
    fn scale_down(&mut self, diff: Diff) -> bool {
        let is_leaving = |row: &Row<'a>| row.is_specified || row.is_preparing_delete();
        if diff.scale_down == 0 || self.rows.active.iter().any(is_leaving) {
            return false;
        }
        let n_old = diff.scale_down_old.min(diff.scale_down);
        let n_new = diff.scale_down.saturating_sub(n_old);
        let mut chosen = self.lowest(|row| !row.is_new, n_old);
        chosen.extend(self.lowest(|row| row.is_new, n_new));
        let affordable = affordable(chosen, diff.delete_ready_limit);
        self.delete_all(&affordable, Removal::ScaledDown)
    }

    /// The pods of a group that are worth least.
    fn lowest(&self, is_in_group: impl Fn(&Row<'a>) -> bool, n: u32) -> Vec<(usize, Row<'a>)> {
        let group = self.rows_with(is_in_group);
        let n = usize::try_from(n).unwrap_or(usize::MAX);
        if n == 0 || n >= group.len() {
            return group.into_iter().take(n).collect();
        }
        let candidates: Vec<Candidate<'_>> = group
            .iter()
            .map(|(_, row)| Candidate {
                pod: row.pod,
                is_available: row.is_available,
            })
            .collect();
        let constraints = Constraint::all_of(&self.snapshot.cloneset.template);
        let active: Vec<&PodView> = self.rows.active.iter().map(|row| row.pod).collect();
        let spread = if constraints.is_empty() {
            Spread::SameNode
        } else {
            Spread::Topology {
                constraints: &constraints,
                active: &active,
                nodes: self.snapshot.nodes,
            }
        };
        let order = deletion_order(&candidates, spread).into_iter().take(n);
        order.filter_map(|i| group.get(i).copied()).collect()
    }

    /// Deletes pods, or asks their hooks first; says whether it does anything. Source: cloneset.md 8.1.
    fn delete_all(&mut self, pods: &[(usize, Row<'a>)], why: Removal) -> bool {
        let mut does_anything = false;
        for (i, row) in pods {
            if self.is_put_off(*i) {
                continue;
            }
            let hook = self.snapshot.cloneset.lifecycle.pre_delete.as_ref();
            if row.live.is_some_and(|live| is_hooked(hook, live)) {
                does_anything |= self.enter(*i, row, State::PreparingDelete);
                continue;
            }
            self.touch(*i, Touch::Deleted);
            does_anything = true;
            // Who was named goes whatever it does, unless it goes beside the budget since it serves nobody; others only as
            // they were looked at.
            let must_be_unchanged = why == Removal::ScaledDown || !row.is_available;
            self.plan.actions.push(Action::DeletePod {
                name: Arc::clone(&row.pod.name),
                uid: row.pod.uid,
                resource_version: must_be_unchanged.then_some(row.pod.resource_version),
                claims: claims::of_instance(self.snapshot, row.instance()),
                why,
            });
        }
        does_anything
    }
}

/// Pods that are not available, and as many available ones as may go.
///
/// Differs from upstream, which counts a pod against the limit that is ready, but not available yet: it counts as
/// unavailable already (18.9).
fn affordable(pods: Vec<(usize, Row<'_>)>, limit: u32) -> Vec<(usize, Row<'_>)> {
    let mut left = limit;
    pods.into_iter()
        .filter(|(_, row)| {
            if !row.is_available {
                return true;
            }
            let is_affordable = left > 0;
            left = left.saturating_sub(1);
            is_affordable
        })
        .collect()
}

fn limited(limit: u32) -> Event {
    Event {
        is_warning: true,
        reason: reasons::SCALE_UP_LIMITED,
        message: format!("scaleUp is limited because of scaleStrategy.maxUnavailable, limit: {limit}").into(),
        once_per: None,
    }
}
