//! What is said to the arbiter of a protection, and what its answers become.
//!
//! Source: statefulset.md 16.4.

use std::collections::BTreeMap;
use std::sync::Arc;

use jiff::SignedDuration;
use pitstop_api::view::{Arbiter, Protection, Uid};

use super::numbers::Numbers;
use super::protection::Judge;
use super::rows::Row;
use super::snapshot::Observed;
use super::{Action, Touch, Turn};

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
        if !asks || numbers.shield.is_forced || row.pod.is_terminal() {
            return true;
        }
        let now = self.snapshot.now;
        let mut claimed = self.snapshot.arbiter.claimed.iter();
        if claimed.any(|claim| claim.pod == row.pod.name && claim.is_granted && claim.until > now) {
            return true;
        }
        self.touch(i, Touch::Updated);
        self.asked.push(i);
        false
    }

    /// Asks for pods, goes on asking while they are down, and tells when they are back.
    pub(super) fn talk_to_arbiter(&mut self) {
        let (snapshot, rows) = (self.snapshot, self.rows);
        let asked: Vec<usize> = std::mem::take(&mut self.asked);
        let mut wanted: Vec<Arc<str>> = asked
            .iter()
            .filter_map(|i| rows.all.get(*i))
            .map(|row| Arc::clone(&row.pod.name))
            .collect();
        let mut back = Vec::new();
        let granted = snapshot
            .arbiter
            .claimed
            .iter()
            .filter(|claim| claim.is_granted && claim.until > snapshot.now);
        for claim in granted {
            let row = rows.all.iter().position(|row| row.pod.name == claim.pod);
            let is_back = row.is_some_and(|i| {
                let is_up = rows.all.get(i).is_some_and(|row| row.is_up() && row.is_new);
                is_up && !self.is_taken(i)
            });
            let renews_at = claim
                .until
                .checked_sub(SignedDuration::from_secs(RENEW_BEFORE))
                .unwrap_or(claim.until);
            if is_back {
                back.push(Arc::clone(&claim.pod));
            } else if renews_at <= snapshot.now {
                wanted.push(Arc::clone(&claim.pod));
            } else {
                self.wake(Some(renews_at));
            }
        }
        let token = format!("{}-{}", snapshot.set.uid, self.history.update.name);
        if !wanted.is_empty() {
            self.plan.actions.push(Action::ClaimPods {
                pods: wanted,
                token: token.clone(),
                ttl_seconds: CLAIM_SECONDS,
            });
        }
        if !back.is_empty() {
            self.plan.actions.push(Action::ReleasePods { pods: back, token });
        }
    }
}
