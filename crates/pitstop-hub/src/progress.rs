//! How far upgrades are, from the request to a pod that is ready.
//!
//! The new pod is linked to the old one through its owner and this node.
//!
//! Source: hub.md B11 (SSE phases), B12.

use std::collections::BTreeMap;
use std::time::Duration;

use tokio::time::Instant;

use crate::cache::Event;
use crate::checks::Method;
use crate::intents::Intent;
use crate::pod::PodView;

/// Upgrades that are followed at once; the oldest is let go.
const MAX: usize = 256;

/// Where an upgrade is.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, serde::Serialize)]
pub(crate) enum Phase {
    Requested,
    Patched,
    Deleting,
    Gone,
    Created,
    Restarting,
    Starting,
    Ready,
    Stalled,
    Failed,
}

/// A phase that was just reached.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Reached {
    pub(crate) ns: String,
    pub(crate) pod: String,
    /// The pod that it takes the place of, if it is another one.
    pub(crate) replaces: Option<String>,
    pub(crate) phase: Phase,
    pub(crate) target: String,
    pub(crate) elapsed: Duration,
    pub(crate) method: Method,
}

#[derive(Debug)]
struct Upgrade {
    ns: String,
    name: String,
    uid: String,
    owner: String,
    target: String,
    method: Method,
    began: Instant,
    phase: Phase,
    /// The pod that took the place.
    successor: Option<String>,
}

/// All upgrades that are under way, by intent.
#[derive(Debug, Default)]
pub(crate) struct Progress {
    upgrades: BTreeMap<String, Upgrade>,
}

impl Upgrade {
    fn reach(&mut self, phase: Phase, pod: &str, now: Instant) -> Option<Reached> {
        if phase <= self.phase {
            return None;
        }
        self.phase = phase;
        Some(Reached {
            ns: self.ns.clone(),
            pod: pod.to_owned(),
            replaces: (pod != self.name).then(|| self.name.clone()),
            phase,
            target: self.target.clone(),
            elapsed: now.saturating_duration_since(self.began),
            method: self.method,
        })
    }

    fn at_target(&self, pod: &PodView) -> bool {
        // Old controllers name no revision.
        let named = self.target.is_empty() || pod.revision == self.target || pod.target() == self.target;
        named && !pod.needs_upgrade()
    }

    fn seen(&mut self, pod: &PodView, now: Instant) -> Option<Reached> {
        if pod.uid == self.uid {
            let phase = match self.method {
                _ if pod.deleting => Phase::Deleting,
                Method::Request if self.at_target(pod) && pod.ready() => Phase::Ready,
                Method::Request if self.at_target(pod) => Phase::Restarting,
                Method::Request | Method::Direct => return None,
            };
            return self.reach(phase, &pod.name, now);
        }
        let same = pod.namespace == self.ns && !self.owner.is_empty() && pod.owner.uid == self.owner;
        let mine = self
            .successor
            .as_ref()
            .is_none_or(|successor| *successor == pod.uid);
        // A pod of the same owner that runs another revision is not what was asked for.
        if !same || !mine || pod.deleting || self.phase < Phase::Deleting || !self.at_target(pod) {
            return None;
        }
        self.successor = Some(pod.uid.clone());
        let phase = if pod.ready() {
            Phase::Ready
        } else if pod.phase == "Running" {
            Phase::Starting
        } else {
            Phase::Created
        };
        self.reach(phase, &pod.name, now)
    }
}

impl Progress {
    /// An upgrade was begun.
    pub(crate) fn begin(&mut self, intent: &Intent, now: Instant) -> Option<Reached> {
        let method = intent.method?;
        if self.upgrades.contains_key(&intent.id) {
            return None;
        }
        if self.upgrades.len() >= MAX {
            let oldest = self.upgrades.iter().min_by_key(|(_, upgrade)| upgrade.began);
            if let Some(id) = oldest.map(|(id, _)| id.clone()) {
                self.upgrades.remove(&id);
            }
        }
        let upgrade = Upgrade {
            ns: intent.ns.clone(),
            name: intent.name.clone(),
            uid: intent.uid.clone(),
            owner: intent.owner.uid.clone(),
            target: intent.target.clone(),
            method,
            began: now,
            phase: Phase::Requested,
            successor: None,
        };
        let reached = Reached {
            ns: upgrade.ns.clone(),
            pod: upgrade.name.clone(),
            replaces: None,
            phase: Phase::Requested,
            target: upgrade.target.clone(),
            elapsed: Duration::ZERO,
            method,
        };
        self.upgrades.insert(intent.id.clone(), upgrade);
        Some(reached)
    }

    /// What an intent says of itself: it was acted upon, its controller is silent, or it failed.
    pub(crate) fn tell(&mut self, id: &str, phase: Phase, now: Instant) -> Option<Reached> {
        let upgrade = self.upgrades.get_mut(id)?;
        let name = upgrade.name.clone();
        let reached = if phase == Phase::Stalled {
            // It may go on after that.
            let before = upgrade.phase;
            let reached = upgrade.reach(phase, &name, now);
            upgrade.phase = before;
            reached
        } else {
            upgrade.reach(phase, &name, now)
        };
        if phase == Phase::Failed {
            self.upgrades.remove(id);
        }
        reached
    }

    /// A pod changed.
    pub(crate) fn observe(&mut self, event: &Event, now: Instant) -> Vec<Reached> {
        let mut all = Vec::new();
        for upgrade in self.upgrades.values_mut() {
            let reached = match event {
                Event::Put(pod) => upgrade.seen(pod, now),
                Event::Gone { uid, name, .. } if *uid == upgrade.uid => upgrade.reach(Phase::Gone, name, now),
                Event::Gone { .. } => None,
            };
            all.extend(reached);
        }
        self.upgrades.retain(|_, upgrade| upgrade.phase != Phase::Ready);
        all
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::intents::tests::{mk_intent, mk_pod};

    fn intent(method: Method) -> Intent {
        Intent {
            method: Some(method),
            ..mk_intent()
        }
    }

    fn put(pod: PodView) -> Event {
        Event::Put(Box::new(pod))
    }

    fn condition(ready: bool) -> crate::pod::Condition {
        crate::pod::Condition {
            kind: "Ready".to_owned(),
            status: if ready { "True" } else { "False" }.to_owned(),
            ..crate::pod::Condition::default()
        }
    }

    fn successor(ready: bool, phase: &str) -> Event {
        let mut pod = PodView {
            name: "nginx-b".to_owned(),
            phase: phase.to_owned(),
            revision: "new".to_owned(),
            ..mk_pod("2", "False", "new")
        };
        pod.conditions.push(condition(ready));
        put(pod)
    }

    fn gone() -> Event {
        Event::Gone {
            namespace: "default".to_owned(),
            name: "nginx-a".to_owned(),
            uid: "1".to_owned(),
        }
    }

    #[test]
    fn a_recreated_pod_is_followed_to_its_successor() {
        let start = Instant::now();
        let mut progress = Progress::default();
        assert_eq!(
            progress.begin(&intent(Method::Direct), start).unwrap().phase,
            Phase::Requested
        );
        assert_eq!(progress.begin(&intent(Method::Direct), start), None);
        let later = start + Duration::from_secs(8);
        let deleting = put(PodView {
            deleting: true,
            ..mk_pod("1", "True", "new")
        });
        let old = put(mk_pod("3", "True", "new"));
        let mut phases = Vec::new();
        let events = [
            successor(true, "Running"), // a pod that was there before
            deleting.clone(),
            deleting,
            gone(),
            old,
            successor(false, "Pending"),
            successor(false, "Running"),
            successor(true, "Running"),
            successor(true, "Running"),
        ];
        for event in events {
            for reached in progress.observe(&event, later) {
                assert_eq!(reached.elapsed, Duration::from_secs(8));
                phases.push((reached.phase, reached.replaces));
            }
        }
        let old = Some("nginx-a".to_owned());
        let expected = [
            (Phase::Deleting, None),
            (Phase::Gone, None),
            (Phase::Created, old.clone()),
            (Phase::Starting, old.clone()),
            (Phase::Ready, old),
        ];
        assert_eq!(phases, expected);
    }

    #[test]
    fn a_pod_that_is_upgraded_in_place_is_followed_as_itself() {
        let start = Instant::now();
        let mut progress = Progress::default();
        progress.begin(&intent(Method::Request), start);
        assert_eq!(
            progress
                .tell(&mk_intent().id, Phase::Patched, start)
                .unwrap()
                .phase,
            Phase::Patched
        );
        assert_eq!(
            progress
                .tell(&mk_intent().id, Phase::Stalled, start)
                .unwrap()
                .phase,
            Phase::Stalled
        );
        let mut pod = mk_pod("1", "False", "new");
        pod.conditions.push(condition(false));
        assert_eq!(
            progress.observe(&put(pod.clone()), start)[0].phase,
            Phase::Restarting
        );
        pod.conditions.pop();
        pod.conditions.push(condition(true));
        assert_eq!(progress.observe(&put(pod), start)[0].phase, Phase::Ready);
        assert!(progress.upgrades.is_empty());
    }

    #[test]
    fn what_is_followed_is_bounded() {
        let mut progress = Progress::default();
        for number in 0..1000 {
            let intent = Intent {
                id: number.to_string(),
                ..intent(Method::Direct)
            };
            progress.begin(&intent, Instant::now());
        }
        assert_eq!(progress.upgrades.len(), MAX);
        assert!(progress.tell("999", Phase::Failed, Instant::now()).is_some());
        assert_eq!(progress.upgrades.len(), MAX - 1);
    }
}
