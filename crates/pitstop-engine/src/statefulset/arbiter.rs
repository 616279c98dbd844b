//! What is said to the arbiter of a protection, and what its answers become.
//!
//! Source: statefulset.md 16.4.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use pitstop_api::view::{Arbiter, Protection, Uid};

use super::identity::ordinal_of;
use super::numbers::Numbers;
use super::protection::{Guard, Judge};
use super::rows::Row;
use super::snapshot::{Claimed, Observed};
use super::{Action, Turn};
use crate::plan::ProtectedBy;

/// For how long a pod is claimed. Units: seconds. Source: statefulset.md 16.4.
const CLAIM_SECONDS: u32 = 120;
/// How long before its end a claim is renewed. Units: seconds.
const RENEW_BEFORE: i64 = 60;

impl Turn<'_, '_> {
    fn protection(&self) -> Option<(&Protection, &Arbiter)> {
        let protection = self.snapshot.set.protection.as_ref()?.as_ref().ok()?;
        Some((protection, protection.arbiter.as_ref()?))
    }

    /// Labels that differ from what the arbiter says, by pod.
    pub(super) fn arbiter_labels(&self) -> BTreeMap<Uid, (Arc<str>, Arc<str>)> {
        let mut labels = BTreeMap::new();
        let Some((protection, arbiter)) = self.protection() else {
            return labels;
        };
        let Some(label) = &arbiter.label else {
            return labels;
        };
        let judge = Judge::new(self.snapshot);
        for row in &self.rows.all {
            let value = match judge.fresh(protection, row.pod.uid, self.snapshot.now) {
                Some(Observed::Working) => &label.protected,
                Some(Observed::Idle) => &label.idle,
                Some(Observed::Unknown) | None => continue,
            };
            if row.pod.labels.get(&label.key).map(String::as_str) != Some(&**value) {
                labels.insert(row.pod.uid, (Arc::clone(&label.key), Arc::clone(value)));
            }
        }
        labels
    }

    /// May a pod be disrupted now? Where the arbiter is to be asked first, that is noted. What has ended is not asked for.
    pub(super) fn may_disrupt(&mut self, i: usize, row: &Row<'_>, numbers: &Numbers) -> bool {
        let asks = self.protection().is_some_and(|(_, arbiter)| arbiter.claims);
        if !asks || numbers.shield.is_forced || row.pod.is_terminal() || self.is_granted(row) {
            return true;
        }
        self.ask_for(i);
        false
    }

    fn ask_for(&mut self, i: usize) {
        if !self.is_asked(i) {
            self.asked.push(i);
        }
    }

    /// Is the arbiter asked for this pod in this pass?
    pub(super) fn is_asked(&self, i: usize) -> bool {
        self.asked.contains(&i)
    }

    /// May a pod be disrupted, as the arbiter said?
    pub(super) fn is_granted(&self, row: &Row<'_>) -> bool {
        let claim = self.claim_of(row);
        claim.is_some_and(|claim| claim.is_granted && claim.until > self.snapshot.now)
    }

    fn claim_of(&self, row: &Row<'_>) -> Option<&Claimed> {
        let mut claimed = self.snapshot.arbiter.claimed.iter();
        claimed.find(|claim| claim.pod == row.pod.name)
    }

    /// Asks again for pods that the arbiter did not let go, longest ago first, where they could go otherwise.
    pub(super) fn ask_again(&mut self, numbers: &Numbers) {
        let (rows, snapshot) = (self.rows, self.snapshot);
        if numbers.shield.is_forced || numbers.shield.stops.is_some() {
            return;
        }
        let is_refused =
            |row: &Row<'_>| row.guard == Guard::Protected(ProtectedBy::Refusal) && !row.is_terminating;
        let refused = rows.all.iter().enumerate().filter(|(_, row)| is_refused(row));
        let mut refused: Vec<_> = refused
            .filter_map(|(i, row)| Some((self.claim_of(row)?.until, i, *row)))
            .collect();
        refused.sort_by_key(|(until, i, _)| (*until, *i));
        let is_rolling = self.is_rolling() && !snapshot.set.is_paused();
        let mut n_left = if is_rolling { self.n_left(numbers) } else { 0 };
        for (until, i, row) in refused {
            let is_condemned = rows.condemned.contains(&i);
            let is_for_update = n_left > 0 && !row.is_new && self.may_update(&row) && self.can_update(&row);
            if !is_condemned && !row.is_specified && !is_for_update {
                continue;
            }
            let is_free = is_condemned || !row.is_up();
            if until > snapshot.now {
                self.wake(Some(until));
            } else if is_free || self.n_down() < numbers.max_unavailable {
                n_left = n_left.saturating_sub(u32::from(is_for_update));
                self.ask_for(i);
            }
        }
    }

    /// Asks for pods, goes on asking while they are down, and tells when they are back, or are not to go any more.
    pub(super) fn talk_to_arbiter(&mut self) {
        let (snapshot, rows) = (self.snapshot, self.rows);
        let token: Arc<str> = format!("{}-{}", snapshot.set.uid, self.history.update.name).into();
        let asked = self.asked.iter().filter_map(|i| rows.all.get(*i));
        // By token: a claim is renewed and released by that which it was made with.
        let mut wanted: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        let asked: Vec<_> = asked.map(|row| Arc::clone(&row.pod.name)).collect();
        if !asked.is_empty() {
            wanted.insert(token, asked);
        }
        let mut back: BTreeMap<Arc<str>, Vec<Arc<str>>> = BTreeMap::new();
        let granted = snapshot
            .arbiter
            .claimed
            .iter()
            .filter(|claim| claim.is_granted && claim.until > snapshot.now);
        for claim in granted {
            let renews_at = claim
                .until
                .checked_sub(SignedDuration::from_secs(RENEW_BEFORE))
                .unwrap_or(claim.until);
            let entry = |map: &mut BTreeMap<Arc<str>, Vec<Arc<str>>>| {
                let pods = map.entry(Arc::clone(&claim.token)).or_default();
                pods.push(Arc::clone(&claim.pod));
            };
            if self.is_over(&claim.pod) {
                entry(&mut back);
            } else if renews_at <= snapshot.now {
                entry(&mut wanted);
            } else {
                self.wake(Some(renews_at));
            }
        }
        let actions = &mut self.plan.actions;
        // What is let go is told first: it may be what lets others be granted.
        actions.extend(
            back.into_iter()
                .map(|(token, pods)| Action::ReleasePods { pods, token }),
        );
        actions.extend(wanted.into_iter().map(|(token, pods)| Action::ClaimPods {
            pods,
            token,
            ttl_seconds: CLAIM_SECONDS,
        }));
    }

    /// Is a claim of no more use: is its pod up and not to go, or gone for good?
    fn is_over(&self, pod: &str) -> bool {
        let rows = self.rows;
        match rows.all.iter().position(|row| *row.pod.name == *pod) {
            Some(i) => rows.all.get(i).is_some_and(Row::is_up) && !self.is_taken(i),
            None => {
                let ordinal = ordinal_of(&self.snapshot.set.name, pod);
                !rows.slots.iter().any(|slot| Some(slot.ordinal) == ordinal)
            }
        }
    }
}
