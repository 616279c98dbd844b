//! What a workload asks for, and what is to be seen of its pods.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use pitstop_api::claim::ClaimDisk;
use pitstop_api::{keys, reasons};
use serde_json::{Value, json};

use super::{LATE_WRITE, SKEW};
use crate::history::Entry;
use crate::instances::wish::ordinals::live;
use crate::instances::wish::{DRAIN, SERVES, instance_of, kept, ordinal_of, works};
use crate::instances::{Kind, NAME};
use crate::objects::{is_ready, owner, text};

/// What a workload asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Spec {
    pub(super) replicas: i64,
    pub(super) partition: i64,
    pub(super) max_unavailable: i64,
    pub(super) max_surge: i64,
    pub(super) scale_max_unavailable: Option<i64>,
    pub(super) min_ready: i64,
    pub(super) is_paused: bool,
    /// `podUpdatePolicy`, or the type where it is not a rolling update.
    pub(super) policy: String,
    pub(super) named: BTreeSet<String>,
    pub(super) holds_deletions: bool,
    pub(super) holds_updates: bool,
    pub(super) template: Value,
    /// What only a StatefulSet asks for.
    pub(super) ordinals: Option<Ordinals>,
}

/// What only a StatefulSet asks for.
#[derive(Debug, Clone, PartialEq)]
pub(super) struct Ordinals {
    /// Those that have a pod, ascending.
    live: Vec<i64>,
    /// Does one pod come after the other?
    pub(super) come_in_order: bool,
    /// Is one pod updated after the other?
    pub(super) is_descending: bool,
    /// Is one updated that idles, before any that works?
    pub(super) prefers_idle: bool,
    protects: bool,
    blocks_scale_down: bool,
    min_protected: i64,
    /// From when on pods are taken for idle.
    forced_at: Option<Timestamp>,
    source: Source,
    /// What a claim is to ask for before its pod is updated. Units: billionths of a byte.
    claim: Option<i128>,
    /// What it says is the revision that all pods had last.
    pub(super) current: String,
}

/// Who says which pods work.
#[derive(Debug, Clone, Copy, PartialEq)]
pub(super) enum Source {
    Labels,
    Arbiter {
        /// How long it has to know of a pod's work for that pod to be safe from us.
        known_for: SignedDuration,
    },
}

impl Spec {
    pub(super) fn read(object: &Value, kind: Kind) -> Self {
        let spec = &object["spec"];
        let rolling = &spec["updateStrategy"]["rollingUpdate"];
        let replicas = spec["replicas"].as_i64().unwrap_or(1);
        // Of a CloneSet rounded up: what is rounded down is less.
        let scaled = |amount: &Value| match amount.as_str() {
            Some(percent) => {
                let percent: i64 = percent.trim_end_matches('%').parse().unwrap_or_default();
                match kind {
                    Kind::CloneSet => (replicas * percent + 99) / 100,
                    Kind::StatefulSet => (replicas * percent / 100).max(1),
                }
            }
            None => amount.as_i64().unwrap_or(i64::from(kind == Kind::StatefulSet)),
        };
        let strategy = &spec["updateStrategy"]["type"];
        let policy = if strategy == "RollingUpdate" {
            &rolling["podUpdatePolicy"]
        } else {
            strategy
        };
        let scale = &spec["scaleStrategy"];
        let named = scale["podsToDelete"].as_array().into_iter().flatten();
        let min_ready = match kind {
            Kind::CloneSet => &spec["minReadySeconds"],
            Kind::StatefulSet => &rolling["minReadySeconds"],
        };
        Self {
            replicas,
            partition: kept(&rolling["partition"], replicas),
            max_unavailable: scaled(&rolling["maxUnavailable"]),
            max_surge: rolling["maxSurge"].as_i64().unwrap_or_default(),
            scale_max_unavailable: scale["maxUnavailable"].as_i64(),
            min_ready: min_ready.as_i64().unwrap_or_default(),
            is_paused: rolling["paused"] == true,
            policy: text(policy),
            named: named.map(text).collect(),
            holds_deletions: !spec["lifecycle"]["preDelete"].is_null(),
            holds_updates: !spec["lifecycle"]["inPlaceUpdate"].is_null(),
            template: looks(&spec["template"]),
            ordinals: (kind == Kind::StatefulSet).then(|| Ordinals::read(object, replicas)),
        }
    }

    /// Is a pod one of those that it is to have?
    pub(super) fn wants(&self, pod: &Pod) -> bool {
        self.rank(pod).is_some()
    }

    /// The place of a pod among those that it is to have, by ordinal; pods of a CloneSet have none that counts.
    pub(super) fn rank(&self, pod: &Pod) -> Option<usize> {
        match &self.ordinals {
            None => Some(0),
            Some(ordinals) => ordinals.live.iter().position(|live| Some(*live) == pod.ordinal),
        }
    }

    /// Is a pod left alone for as long as it works?
    pub(super) fn protects(&self, pod: &Pod, at: Timestamp) -> bool {
        // Who decides may be ahead, and have been when it wrote since when nothing goes on.
        let is_forced = |one: &Ordinals| {
            one.forced_at
                .is_some_and(|forced_at| at + SKEW + SKEW >= forced_at)
        };
        let ordinals = self.ordinals.as_ref().filter(|one| one.protects);
        ordinals.is_some_and(|one| !is_forced(one) && (one.blocks_scale_down || self.wants(pod)))
    }

    /// Who says which pods work.
    pub(super) fn source(&self) -> Source {
        self.ordinals.as_ref().map_or(Source::Labels, |one| one.source)
    }

    /// How many pods have to work for any to be disrupted.
    pub(super) fn min_protected(&self) -> i64 {
        self.ordinals.as_ref().map_or(0, |one| one.min_protected)
    }

    /// Does a claim of this size grow before its pod is updated?
    pub(super) fn asks_for_more_than(&self, size: i128) -> bool {
        let wanted = self.ordinals.as_ref().and_then(|one| one.claim);
        wanted.is_some_and(|wanted| wanted > size)
    }

    /// Is nothing updated by it?
    pub(super) fn rests(&self) -> bool {
        self.is_paused || self.policy == "OnDelete"
    }

    /// The ordinals that are to have a pod, ascending.
    pub(super) fn live(&self) -> &[i64] {
        self.ordinals.as_ref().map_or(&[], |ordinals| &ordinals.live)
    }
}

impl Ordinals {
    fn read(object: &Value, replicas: i64) -> Self {
        let spec = &object["spec"];
        let rolling = &spec["updateStrategy"]["rollingUpdate"];
        let reserved = spec["reserveOrdinals"].as_array().into_iter().flatten();
        let reserved: Vec<i64> = reserved.filter_map(Value::as_i64).collect();
        let start = spec["ordinals"]["start"].as_i64().unwrap_or_default();
        let protection = &rolling["protection"];
        let claim = &spec["volumeClaimTemplates"][0];
        let grows = spec["volumeClaimUpdateStrategy"]["type"] == "OnPodRollingUpdate" && claim.is_object();
        Self {
            live: live(start, &reserved, replicas),
            come_in_order: spec["podManagementPolicy"] == "OrderedReady",
            is_descending: rolling["unorderedUpdate"].is_null() && protection.is_null(),
            prefers_idle: !rolling["unorderedUpdate"]["priorityStrategy"].is_null() && protection.is_null(),
            protects: !protection.is_null(),
            min_protected: protection["minProtected"].as_i64().unwrap_or_default(),
            forced_at: forced_at(object),
            source: Source::read(&protection["arbiter"]),
            claim: ClaimDisk::of(claim).request.filter(|_| grows),
            blocks_scale_down: protection["onScaleDown"] != "Delete",
            current: text(&object["status"]["currentRevision"]),
        }
    }
}

impl Source {
    fn read(arbiter: &Value) -> Self {
        if arbiter.is_null() {
            return Self::Labels;
        }
        let stale_after =
            SignedDuration::from_secs(arbiter["staleAfterSeconds"].as_i64().unwrap_or_default());
        // Beside what is too old, a write that came late, decided on by a clock that was set back.
        let known_for = if arbiter["claim"] == true {
            SignedDuration::ZERO
        } else {
            stale_after + LATE_WRITE + SKEW + SKEW
        };
        Self::Arbiter { known_for }
    }
}

/// From when on pods are taken for idle, since an update was blocked for as long as it may be.
fn forced_at(object: &Value) -> Option<Timestamp> {
    let protection = &object["spec"]["updateStrategy"]["rollingUpdate"]["protection"];
    let conditions = object["status"]["conditions"].as_array().into_iter().flatten();
    let mut blocked =
        conditions.filter(|one| one["type"] == reasons::UPDATE_BLOCKED && one["status"] == "True");
    let since: Timestamp = blocked.next()?["lastTransitionTime"].as_str()?.parse().ok()?;
    let seconds = protection["deadlineSeconds"].as_i64()?;
    (protection["onDeadline"] == "Force").then(|| since + SignedDuration::from_secs(seconds))
}

/// What of a template, or of a pod, the story changes and a container cannot get without being touched.
fn made_of(object: &Value) -> Value {
    let container = &object["spec"]["containers"][0];
    json!([container["image"], container["env"]])
}

/// All that the story changes of a template, or of a pod.
fn looks(object: &Value) -> Value {
    json!([made_of(object), object["metadata"]["labels"]["example.com/label"]])
}

#[derive(Debug, Clone)]
pub(super) struct Pod {
    pub(super) name: String,
    /// When it came.
    pub(super) came_at: Timestamp,
    pub(super) owner: String,
    pub(super) instance: String,
    /// Of a pod of a StatefulSet.
    pub(super) ordinal: Option<i64>,
    pub(super) hash: String,
    pub(super) state: String,
    pub(super) made_of: Value,
    pub(super) looks: Value,
    pub(super) place: (String, String),
    /// Since when it is Ready.
    pub(super) ready_since: Option<Timestamp>,
    pub(super) in_service: bool,
    pub(super) is_active: bool,
    pub(super) is_ours: bool,
    pub(super) is_marked: bool,
    pub(super) marked_by_us: bool,
    pub(super) is_held: bool,
    pub(super) serves: bool,
    /// Does it work, as far as anybody may tell?
    pub(super) works: bool,
    /// Since when it does, or does not.
    pub(super) turned_at: Timestamp,
}

impl Pod {
    pub(super) fn read(entry: &Entry, before: Option<&Self>) -> Self {
        let object = &entry.object;
        let (metadata, status) = (&object["metadata"], &object["status"]);
        let labels = &metadata["labels"];
        let conditions = status["conditions"].as_array().into_iter().flatten();
        let mut gates = conditions.filter(|one| one["type"] == reasons::INPLACE_UPDATE_READY);
        let is_gone = entry.event == "DELETED" || !metadata["deletionTimestamp"].is_null();
        let finalizers = metadata["finalizers"].as_array().into_iter().flatten();
        let phase = text(&status["phase"]);
        let since = before.and_then(|before| before.ready_since).unwrap_or(entry.at);
        let name = text(&metadata["name"]);
        Self {
            came_at: before.map_or(entry.at, |before| before.came_at),
            owner: owner(object),
            instance: instance_of(object),
            ordinal: ordinal_of(&name),
            hash: text(&labels[keys::REVISION_HASH]),
            state: text(&labels[keys::LIFECYCLE_STATE]),
            made_of: made_of(object),
            looks: looks(object),
            place: (text(&object["spec"]["nodeName"]), text(&status["podIP"])),
            ready_since: (is_ready(object) && !is_gone).then_some(since),
            in_service: phase == "Running" && gates.all(|gate| gate["status"] == "True"),
            is_active: !is_gone && !matches!(phase.as_str(), "Failed" | "Succeeded"),
            is_ours: labels["app"] == NAME,
            is_marked: !labels[keys::SPECIFIED_DELETE].is_null(),
            marked_by_us: before.is_some_and(|before| before.marked_by_us),
            is_held: finalizers.clone().any(|finalizer| finalizer == DRAIN),
            serves: labels[SERVES] == "true",
            works: works(object),
            turned_at: before
                .filter(|before| before.works == works(object))
                .map_or(entry.at, |before| before.turned_at),
            name,
        }
    }

    /// Counts as available, beyond doubt.
    pub(super) fn is_available(&self, at: Timestamp, min_ready: i64) -> bool {
        let is_settled = |since| at.duration_since(since) > SignedDuration::from_secs(min_ready) + SKEW;
        let counts = matches!(self.state.as_str(), "" | "Normal");
        counts && self.in_service && self.is_active && self.ready_since.is_some_and(is_settled)
    }

    /// May count as available.
    pub(super) fn may_be_available(&self, at: Timestamp, min_ready: i64) -> bool {
        let wanted = SignedDuration::from_secs(min_ready) - SKEW - SKEW;
        let is_settled = |since| at.duration_since(since) >= wanted;
        let is_down = matches!(self.state.as_str(), "PreparingDelete" | "PreparingUpdate");
        !is_down && self.in_service && self.is_active && self.ready_since.is_some_and(is_settled)
    }

    /// Does this state, which another one has brought it to, put it out of service, or what it is made of at risk?
    pub(super) fn is_touched_since(&self, before: &Self) -> bool {
        let is_preparing = matches!(self.state.as_str(), "PreparingDelete" | "PreparingUpdate");
        !self.is_active
            || (before.in_service && !self.in_service)
            || self.made_of != before.made_of
            || (self.hash != before.hash && !before.hash.is_empty())
            || (is_preparing && self.state != before.state)
    }
}
