//! Which events are written, and how: alone, as one more of the same, as one for many, or not at all.
//!
//! Source: daemonset.md A13. In this order:
//! 1. Events that differ only in their message form a group. The 10th message of a group within 600 s, and those after
//!    it, are told as one event, `(combined from similar events): ` and the newest message.
//! 2. What was told before is told again by raising `count`.
//! 3. For each reason a source may tell 25 things about an object at once, and one more every 300 s. The rest is dropped.
//!
//! Differs from upstream, which has one allowance for all reasons of an object: there the deletions of a rollout over 25
//! nodes use it up, and why the rollout stopped after that is never told.

use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};

use super::{About, Record};

/// From this message of a group on, messages are combined.
const COMBINE_FROM: usize = 10;
/// A group that is silent for longer starts afresh.
const GROUP_WINDOW: SignedDuration = SignedDuration::from_secs(600);
/// How many events of a reason a source may tell about an object at once.
const BURST: f64 = 25.0;
/// How long it takes until it may tell one more. Units: seconds.
const REFILL_SECONDS: f64 = 300.0;
/// How many groups, events and buckets are remembered each.
const REMEMBERED: usize = 4096;
/// What combined messages begin with.
const COMBINED: &str = "(combined from similar events): ";

/// Decides about events, one after the other.
#[derive(Debug, Default)]
pub struct Correlator {
    groups: Recent<GroupKey, Group>,
    told: Recent<EventKey, Told>,
    buckets: Recent<GroupKey, Bucket>,
    n_judged: u64,
}

/// How an event is written.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Verdict {
    /// The existing event that is patched; `None`: a new one is made.
    pub patch: Option<String>,
    /// The text, combined or not.
    pub message: String,
    /// How often it was told, this time included.
    pub count: u32,
    /// When it was told first.
    pub first_at: Timestamp,
    /// Different for every verdict.
    pub serial: u64,
    key: EventKey,
}

#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
struct GroupKey {
    source: &'static str,
    about: About,
    is_warning: bool,
    reason: &'static str,
}

/// A group and a message; no message: what stands for the whole group.
type EventKey = (GroupKey, Option<String>);

#[derive(Debug, Default)]
struct Group {
    messages: BTreeSet<String>,
    last_at: Timestamp,
}

#[derive(Debug)]
struct Told {
    name: Option<String>,
    count: u32,
    first_at: Timestamp,
}

#[derive(Debug)]
struct Bucket {
    tokens: f64,
    filled_at: Timestamp,
}

impl Correlator {
    /// Decides about one event. `None`: it is dropped.
    pub fn judge(&mut self, record: &Record, now: Timestamp) -> Option<Verdict> {
        self.n_judged += 1;
        let group_key = GroupKey {
            source: record.source,
            about: record.about.clone(),
            is_warning: record.is_warning,
            reason: record.reason,
        };
        let may_tell = self.may_tell(&group_key, now);
        let is_combined = self.is_combined(&group_key, &record.message, now);
        let (key, message) = if is_combined {
            ((group_key, None), format!("{COMBINED}{}", record.message))
        } else {
            ((group_key, Some(record.message.clone())), record.message.clone())
        };
        let told = self.told.entry(&key, || Told {
            name: None,
            count: 0,
            first_at: now,
        });
        told.count = told.count.saturating_add(1);
        let verdict = Verdict {
            patch: told.name.clone(),
            message,
            count: told.count,
            first_at: told.first_at,
            serial: self.n_judged,
            key,
        };
        may_tell.then_some(verdict)
    }

    /// An event was written under this name.
    pub fn written(&mut self, verdict: &Verdict, name: String) {
        if let Some(told) = self.told.get(&verdict.key) {
            told.name = Some(name);
        }
    }

    fn is_combined(&mut self, key: &GroupKey, message: &str, now: Timestamp) -> bool {
        let group = self.groups.entry(key, Group::default);
        if now.duration_since(group.last_at) > GROUP_WINDOW {
            group.messages.clear();
        }
        group.last_at = now;
        group.messages.insert(message.to_owned());
        if group.messages.len() < COMBINE_FROM {
            return false;
        }
        // The group stays one short of full, so that it neither grows nor forgets that it is full.
        group.messages.pop_first();
        true
    }

    fn may_tell(&mut self, key: &GroupKey, now: Timestamp) -> bool {
        let bucket = self.buckets.entry(key, || Bucket {
            tokens: BURST,
            filled_at: now,
        });
        let elapsed = now.duration_since(bucket.filled_at).as_secs_f64().max(0.0);
        bucket.tokens = (bucket.tokens + elapsed / REFILL_SECONDS).min(BURST);
        bucket.filled_at = now;
        if bucket.tokens < 1.0 {
            return false;
        }
        bucket.tokens -= 1.0;
        true
    }
}

/// A map that forgets what was not used for longest.
#[derive(Debug)]
struct Recent<K, V> {
    values: BTreeMap<K, (V, u64)>,
    by_use: BTreeMap<u64, K>,
    n_uses: u64,
}

impl<K, V> Default for Recent<K, V> {
    fn default() -> Self {
        Self {
            values: BTreeMap::new(),
            by_use: BTreeMap::new(),
            n_uses: 0,
        }
    }
}

impl<K: Ord + Clone, V> Recent<K, V> {
    fn get(&mut self, key: &K) -> Option<&mut V> {
        self.values.get_mut(key).map(|(value, _)| value)
    }

    fn entry(&mut self, key: &K, make: impl FnOnce() -> V) -> &mut V {
        self.n_uses += 1;
        if let Some((_, used)) = self.values.get(key) {
            self.by_use.remove(used);
        } else if self.values.len() >= REMEMBERED
            && let Some((_, oldest)) = self.by_use.pop_first()
        {
            self.values.remove(&oldest);
        }
        self.by_use.insert(self.n_uses, key.clone());
        let (value, used) = self.values.entry(key.clone()).or_insert_with(|| (make(), 0));
        *used = self.n_uses;
        value
    }
}

#[cfg(test)]
mod tests {
    use pitstop_api::view::Uid;

    use super::*;

    fn mk_record(reason: &'static str, message: &str) -> Record {
        Record {
            source: "daemonset-controller",
            about: About {
                kind: "DaemonSet",
                api_version: "apps/v1",
                namespace: "default".into(),
                name: "filebeat-ds".into(),
                uid: Uid(1),
            },
            is_warning: false,
            reason,
            message: message.to_owned(),
        }
    }

    fn at(seconds: i64) -> Timestamp {
        Timestamp::from_second(1_700_000_000 + seconds).unwrap()
    }

    /// Judges and takes what was judged as written, as the writer does.
    fn tell(correlator: &mut Correlator, record: &Record, now: Timestamp) -> Option<Verdict> {
        let verdict = correlator.judge(record, now)?;
        let name = verdict.patch.clone();
        correlator.written(&verdict, name.unwrap_or_else(|| format!("e{}", verdict.serial)));
        Some(verdict)
    }

    #[test]
    fn the_tenth_creation_of_seed_003_is_combined_and_the_deletions_are_not() {
        let mut correlator = Correlator::default();
        let mut shown = Vec::new();
        let mut go = |reason, pod: &str, now| {
            let verb = if reason == "SuccessfulCreate" {
                "Created"
            } else {
                "Deleted"
            };
            let record = mk_record(reason, &format!("{verb} pod: {pod}"));
            shown.push(tell(&mut correlator, &record, at(now)).unwrap().message);
        };
        for i in 0..5 {
            go("SuccessfulCreate", &format!("old-{i}"), 0);
        }
        for i in 0..5 {
            go("SuccessfulDelete", &format!("old-{i}"), 120 + 20 * i);
            go("SuccessfulCreate", &format!("new-{i}"), 130 + 20 * i);
        }
        let combined: Vec<&String> = shown.iter().filter(|m| m.contains("combined")).collect();
        assert_eq!(combined, ["(combined from similar events): Created pod: new-4"]);
        assert_eq!(
            shown.last(),
            Some(&"(combined from similar events): Created pod: new-4".to_owned())
        );
        assert_eq!(shown.iter().filter(|m| m.starts_with("Deleted")).count(), 5);
    }

    #[test]
    fn the_eleventh_and_later_raise_the_count_of_the_combined_one() {
        let mut correlator = Correlator::default();
        let verdicts: Vec<Verdict> = (0..12)
            .filter_map(|i| tell(&mut correlator, &mk_record("R", &format!("m{i}")), at(i)))
            .collect();
        let last: Vec<_> = verdicts[9..]
            .iter()
            .map(|v| (v.patch.as_deref(), v.count, v.message.as_str()))
            .collect();
        assert_eq!(
            last,
            [
                (None, 1, "(combined from similar events): m9"),
                (Some("e10"), 2, "(combined from similar events): m10"),
                (Some("e10"), 3, "(combined from similar events): m11"),
            ]
        );
        assert_eq!(verdicts[11].first_at, at(9));
    }

    #[test]
    fn identical_events_are_one_event_with_a_count() {
        let mut correlator = Correlator::default();
        let record = mk_record("FailedCreate", "Error creating: quota");
        for (n, patch) in [(1, None), (2, Some("e1")), (3, Some("e1"))] {
            let verdict = tell(&mut correlator, &record, at(n)).unwrap();
            assert_eq!((i64::from(verdict.count), verdict.patch.as_deref()), (n, patch));
            assert_eq!(verdict.first_at, at(1));
        }
    }

    #[test]
    fn a_group_that_was_silent_for_over_600_seconds_starts_afresh() {
        for (pause, is_combined) in [(600, true), (601, false)] {
            let mut correlator = Correlator::default();
            for i in 0..9 {
                tell(&mut correlator, &mk_record("R", &format!("m{i}")), at(0));
            }
            let verdict = tell(&mut correlator, &mk_record("R", "m9"), at(pause)).unwrap();
            assert_eq!(
                verdict.message.starts_with(COMBINED),
                is_combined,
                "pause {pause}"
            );
        }
    }

    /// A rollout over 40 nodes, and what has to be heard after it.
    #[test]
    fn deletions_leave_room_for_what_is_rare() {
        let mut correlator = Correlator::default();
        let told = (0..40)
            .filter_map(|i| {
                let record = mk_record("SuccessfulDelete", &format!("Deleted pod: agent-{i}"));
                tell(&mut correlator, &record, at(i))
            })
            .count();
        assert_eq!(told, 25);
        for (reason, is_warning) in [
            ("RollingBack", true),
            ("NodesLostAfterUpdate", true),
            ("InvalidAnnotation", true),
            ("UpgradeProgress", false),
            ("SuccessfulUpdatePodInPlace", false),
        ] {
            let mut record = mk_record(reason, "m");
            record.is_warning = is_warning;
            assert!(tell(&mut correlator, &record, at(41)).is_some(), "{reason}");
        }
    }

    #[test]
    fn a_source_tells_25_things_of_a_kind_about_an_object_and_then_one_every_300_seconds() {
        let mut correlator = Correlator::default();
        let record = mk_record("R", "m");
        let told = (0..40)
            .filter(|_| tell(&mut correlator, &record, at(0)).is_some())
            .count();
        assert_eq!(told, 25);
        for (now, is_told) in [(299, false), (301, true), (302, false), (900, true)] {
            assert_eq!(
                tell(&mut correlator, &record, at(now)).is_some(),
                is_told,
                "at {now}"
            );
        }
        let mut other = mk_record("R", "m");
        other.source = "daemon-pod-updater-controller";
        assert!(tell(&mut correlator, &other, at(0)).is_some());
    }

    #[test]
    fn only_so_many_are_remembered() {
        let mut recent: Recent<u32, ()> = Recent::default();
        for i in 0..10_000 {
            recent.entry(&i, || ());
            recent.entry(&0, || ());
        }
        assert_eq!(recent.values.len(), REMEMBERED);
        assert_eq!(recent.by_use.len(), REMEMBERED);
        assert!(recent.get(&0).is_some() && recent.get(&5).is_none());
    }
}
