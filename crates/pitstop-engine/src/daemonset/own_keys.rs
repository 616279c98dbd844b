//! Our own annotations on a native DaemonSet: what each says, and what is malformed about it.
//!
//! They hold where pitstop does the replacing, under AdvancedRollingUpdate. Anywhere else they do nothing, and an event
//! says so. A value that cannot be read keeps every pod where it is until it is mended.
//!
//! Source: spec/README.md, "Our own keys".

use std::borrow::Cow;

use jiff::Timestamp;
use pitstop_api::selector::Selector;
use pitstop_api::view::{DaemonSetView, FailurePolicy, PodUpdatePolicy, Protection, StrategyType};
use pitstop_api::{IntOrPercent, keys, reasons};

use super::strategy::Model;
use crate::availability::later;
use crate::plan::Event;

/// Every key that is read here.
pub const ALL: &[&str] = &[
    keys::PAUSED,
    keys::PARTITION,
    keys::CANARY_NODES,
    keys::POD_UPDATE_POLICY,
    keys::MIN_NODE_READY_SECONDS,
    keys::NODE_LOSS_GUARD,
    keys::PREHEAT,
    keys::MAX_UNAVAILABLE_PER_POOL,
    keys::PACE,
    keys::PROGRESS_DEADLINE_SECONDS,
    keys::ON_FAILURE,
    keys::UPDATE_PROTECTION,
    keys::RESUMED_AT,
];

/// What the keys say. The default is what a DaemonSet without any says.
#[derive(Debug, Clone, PartialEq, Default)]
pub struct OwnKeys {
    /// `paused`: no pod is updated.
    pub paused: bool,
    /// `partition`: so many pods stay old. A percentage is of the nodes that count, rounded down.
    pub partition: Option<IntOrPercent>,
    /// `canary-nodes`: only pods on nodes that it matches are updated.
    pub canary_nodes: Option<Selector>,
    /// `pod-update-policy`: do pods stay when they are updated? Never one that this version does not know.
    pub pod_update_policy: PodUpdatePolicy,
    /// `min-node-ready-seconds`. Units: seconds.
    pub min_node_ready_seconds: u32,
    /// `node-loss-guard`.
    pub node_loss_guard: Guard,
    /// `preheat`: images are pulled on the next nodes ahead of their turn.
    pub preheat: bool,
    /// `max-unavailable-per-pool`. A percentage is of the nodes of the pool, rounded up.
    pub max_unavailable_per_pool: Option<IntOrPercent>,
    /// `pace: adaptive`: one pod goes first, and as many more as serve at the new revision.
    pub is_adaptive: bool,
    /// `progress-deadline-seconds`. Units: seconds. Range: 1..
    pub progress_deadline_seconds: Option<u32>,
    /// `on-failure`.
    pub on_failure: OnFailure,
    /// `update-protection`: pods that work right now are left alone.
    pub protection: Option<Protection>,
    /// `resumed-at`: what stopped the rollout before does not count.
    pub resumed_at: Option<Timestamp>,
    /// The first key whose value cannot be read.
    pub malformed: Option<&'static str>,
}

/// How many nodes may turn NotReady after their update before the rollout is looked at closely.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Guard {
    /// It is not looked at.
    Off,
    /// So many. Units: nodes. Range: 1..
    Nodes(u32),
    /// This percentage of the updated nodes, rounded up, and at least 2. Range: 1..=100
    Percent(u32),
}

impl Default for Guard {
    fn default() -> Self {
        Self::Percent(5)
    }
}

impl Guard {
    fn parse(text: &str) -> Option<Self> {
        if text == "off" {
            return Some(Self::Off);
        }
        Some(match share(text).filter(|amount| !amount.is_zero())? {
            IntOrPercent::Int(nodes) => Self::Nodes(nodes),
            IntOrPercent::Percent(percent) => Self::Percent(percent),
        })
    }

    /// With so many nodes updated: at how many lost ones it acts; `None` when it never does. Units: nodes.
    pub fn threshold(self, n_updated: u32) -> Option<u32> {
        match self {
            Self::Off => None,
            Self::Nodes(nodes) => Some(nodes),
            Self::Percent(percent) => Some(IntOrPercent::Percent(percent).scaled_up(n_updated).max(2)),
        }
    }
}

/// What becomes of a rollout that made no progress within its deadline.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Default)]
pub enum OnFailure {
    /// It stays where it is until somebody resumes it, or changes the template.
    #[default]
    Pause,
    /// The template goes back to the revision that most pods serve at.
    Rollback,
    /// It is told, and the rollout goes on.
    Report,
}

/// Has the DaemonSet any annotation of ours, known or not?
pub fn has_any(daemonset: &DaemonSetView) -> bool {
    written(daemonset).next().is_some()
}

fn written(daemonset: &DaemonSetView) -> impl Iterator<Item = &str> {
    let from = daemonset.annotations.range(keys::OWN_PREFIX.to_owned()..);
    from.map(|(key, _)| key.as_str())
        .take_while(|key| key.starts_with(keys::OWN_PREFIX))
}

/// Reads the keys, and what there is to tell about them.
pub(super) fn read(daemonset: &DaemonSetView, model: Model, now: Timestamp) -> (OwnKeys, Vec<Event>) {
    if !has_any(daemonset) {
        return (OwnKeys::default(), Vec::new());
    }
    if let Some(event) = without_effect(daemonset, model) {
        return (OwnKeys::default(), vec![event]);
    }
    let mut reader = Reader {
        daemonset,
        malformed: None,
        events: Vec::new(),
    };
    let deadline = reader.read(
        keys::PROGRESS_DEADLINE_SECONDS,
        "a number of seconds of at least 1",
        |text| seconds(text).filter(|seconds| *seconds > 0),
    );
    let keys = OwnKeys {
        paused: reader
            .read(keys::PAUSED, "true or false", truth)
            .unwrap_or_default(),
        preheat: reader
            .read(keys::PREHEAT, "true or false", truth)
            .unwrap_or_default(),
        partition: reader.read(
            keys::PARTITION,
            "a whole number of at least 0, or a percentage from 0% to 100%",
            share,
        ),
        canary_nodes: reader.read(keys::CANARY_NODES, "a label selector such as disk=ssd", |text| {
            Selector::parse(text).ok().filter(|selector| !selector.is_empty())
        }),
        pod_update_policy: reader
            .read(
                keys::POD_UPDATE_POLICY,
                "ReCreate, InPlaceIfPossible or InPlaceOnly",
                |text| match text {
                    "ReCreate" => Some(PodUpdatePolicy::ReCreate),
                    "InPlaceIfPossible" => Some(PodUpdatePolicy::InPlaceIfPossible),
                    "InPlaceOnly" => Some(PodUpdatePolicy::InPlaceOnly),
                    _ => None,
                },
            )
            .unwrap_or_default(),
        min_node_ready_seconds: reader
            .read(
                keys::MIN_NODE_READY_SECONDS,
                "a number of seconds of at least 0",
                seconds,
            )
            .unwrap_or_default(),
        node_loss_guard: reader
            .read(
                keys::NODE_LOSS_GUARD,
                "a whole number of at least 1, a percentage from 1% to 100%, or off",
                Guard::parse,
            )
            .unwrap_or_default(),
        max_unavailable_per_pool: reader.read(
            keys::MAX_UNAVAILABLE_PER_POOL,
            "a whole number of at least 1, or a percentage from 1% to 100%",
            |text| share(text).filter(|amount| !amount.is_zero()),
        ),
        is_adaptive: reader
            .read(keys::PACE, "adaptive", |text| {
                (text == "adaptive").then_some(true)
            })
            .unwrap_or_default(),
        progress_deadline_seconds: deadline,
        on_failure: reader
            .read(keys::ON_FAILURE, "Pause, Rollback or Report", |text| match text {
                "Pause" => Some(OnFailure::Pause),
                "Rollback" => Some(OnFailure::Rollback),
                "Report" => Some(OnFailure::Report),
                _ => None,
            })
            .unwrap_or_default(),
        protection: reader.protection(),
        resumed_at: reader.read(
            keys::RESUMED_AT,
            "a time that has come, such as 2026-01-01T00:00:00Z",
            |text| {
                let at: Timestamp = text.parse().ok()?;
                (at <= later(now, CLOCK_SKEW.into())).then_some(at)
            },
        ),
        malformed: reader.malformed,
    };
    reader.tell_what_is_in_vain();
    (keys, reader.events)
}

/// By how much the clock of whoever resumes a rollout may be ahead of ours. Units: seconds.
const CLOCK_SKEW: u32 = 60;

/// A number, or a percentage: more than all is a slip.
fn share(text: &str) -> Option<IntOrPercent> {
    let is_more_than_all = |amount: &IntOrPercent| matches!(amount, IntOrPercent::Percent(101..));
    IntOrPercent::parse(text)
        .ok()
        .filter(|amount| !is_more_than_all(amount))
}

fn truth(text: &str) -> Option<bool> {
    match text {
        "true" => Some(true),
        "false" => Some(false),
        _ => None,
    }
}

fn seconds(text: &str) -> Option<u32> {
    let is_plain = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
    let value = text.parse().ok().filter(|_| is_plain);
    value.filter(|value| i32::try_from(*value).is_ok())
}

/// On a DaemonSet of `apps.kruise.io`, which has fields of its own: the event that says that the keys do nothing.
pub(super) fn beside_fields(daemonset: &DaemonSetView) -> Option<Event> {
    let found = written(daemonset).filter(|key| *key != keys::IGNORE_NOT_READY_NODES);
    let found = found.collect::<Vec<_>>().join(", ");
    let message = format!(
        "{found}: no effect on a DaemonSet of apps.kruise.io, which has the fields paused, partition, selector and \
         rollingUpdateType in spec.updateStrategy.rollingUpdate"
    );
    (!found.is_empty()).then(|| warning(daemonset, reasons::INVALID_ANNOTATION, &found, message))
}

/// Do nodes that are not ready take no part in a rolling update of a DaemonSet of `apps.kruise.io`? What cannot be read means
/// no, as without the annotation, and there is an event that says so.
pub(super) fn ignores_not_ready_nodes(daemonset: &DaemonSetView) -> (bool, Option<Event>) {
    let key = keys::IGNORE_NOT_READY_NODES;
    let Some(given) = daemonset.annotations.get(key) else {
        return (false, None);
    };
    match truth(given.trim()) {
        Some(is_set) => (is_set, None),
        None => {
            let text = format!(
                "annotation {key}: {given:?} is not true or false; until it is mended pods on nodes that are not ready count \
                 as unavailable"
            );
            let once = format!("{key}={given}");
            (
                false,
                Some(warning(daemonset, reasons::INVALID_ANNOTATION, &once, text)),
            )
        }
    }
}

/// Where the keys do nothing, the event that says so.
fn without_effect(daemonset: &DaemonSetView, model: Model) -> Option<Event> {
    let found: Vec<&str> = written(daemonset).collect();
    let found = found.join(", ");
    let (reason, message) = match (model, &daemonset.strategy.kind) {
        (Model::AdvancedRollingUpdate | Model::Invalid, _) => return None,
        (Model::Ota, _) => (
            reasons::NEEDS_UPDATE_STRATEGY,
            format!(
                "{found}: no effect under OTA, where the owner of each node decides; needs annotation {}: \
                 AdvancedRollingUpdate",
                keys::OPENYURT_UPDATE_STRATEGY
            ),
        ),
        (Model::Native, StrategyType::OnDelete) => (
            reasons::NEEDS_UPDATE_STRATEGY,
            format!(
                "{found}: no effect, pods are replaced when somebody deletes them; needs annotation {}: \
                 AdvancedRollingUpdate",
                keys::OPENYURT_UPDATE_STRATEGY
            ),
        ),
        (Model::Native, StrategyType::RollingUpdate | StrategyType::Other(_)) => (
            reasons::NEEDS_ON_DELETE,
            format!(
                "{found}: no effect, the cluster's own controller replaces pods and cannot be held back; needs \
                 spec.updateStrategy.type OnDelete and annotation {}: AdvancedRollingUpdate",
                keys::OPENYURT_UPDATE_STRATEGY
            ),
        ),
    };
    Some(warning(daemonset, reason, &found, message))
}

struct Reader<'a> {
    daemonset: &'a DaemonSetView,
    malformed: Option<&'static str>,
    events: Vec<Event>,
}

impl Reader<'_> {
    /// The value of a key, blanks around it aside; `None` when it is not there, or not one of what is accepted.
    fn read<T>(
        &mut self,
        key: &'static str,
        accepted: &str,
        parse: impl FnOnce(&str) -> Option<T>,
    ) -> Option<T> {
        let given = self.daemonset.annotations.get(key)?;
        let value = parse(given.trim());
        if value.is_none() {
            self.malformed.get_or_insert(key);
            self.warn(
                key,
                given,
                &format!("{given:?} is not {accepted}; no pod is touched until it is mended"),
            );
        }
        value
    }

    /// Which pods are left alone while they work. What this kind has no counterpart of is told.
    fn protection(&mut self) -> Option<Protection> {
        let key = keys::UPDATE_PROTECTION;
        let given = self.daemonset.annotations.get(key)?;
        let value = serde_json::from_str(given).map_err(|error| error.to_string());
        match value.and_then(|value| Protection::of(&value)) {
            Ok(protection) => {
                if let Some(text) = unheeded(&protection) {
                    self.warn(key, given, &text);
                }
                Some(protection)
            }
            Err(why) => {
                self.malformed.get_or_insert(key);
                self.warn(
                    key,
                    given,
                    &format!("{given:?}: {why}; no pod is touched until it is mended"),
                );
                None
            }
        }
    }

    /// Nothing that was written is ignored in silence.
    fn tell_what_is_in_vain(&mut self) {
        let annotations = &self.daemonset.annotations;
        if let Some(given) = annotations.get(keys::ON_FAILURE)
            && !annotations.contains_key(keys::PROGRESS_DEADLINE_SECONDS)
        {
            let text = format!("no effect without {}", keys::PROGRESS_DEADLINE_SECONDS);
            self.warn(keys::ON_FAILURE, given, &text);
        }
        let unknown: Vec<&str> = written(self.daemonset).filter(|key| !ALL.contains(key)).collect();
        for key in unknown {
            let text = format!("no effect on a DaemonSet; known are {}", ALL.join(", "));
            self.warn(key, "", &text);
        }
    }

    fn warn(&mut self, key: &str, given: &str, text: &str) {
        let event = warning(
            self.daemonset,
            reasons::INVALID_ANNOTATION,
            &format!("{key}={given}"),
            format!("annotation {key}: {text}"),
        );
        self.events.push(event);
    }
}

/// What of a protection means nothing on a DaemonSet: nobody asks its arbiter here, and its pods are not scaled down. Evictions
/// and deadlines are looked after for StatefulSets only.
fn unheeded(protection: &Protection) -> Option<String> {
    let fields = [
        ("evictionGuard", protection.guards_evictions),
        ("onScaleDown", !protection.blocks_scale_down),
        ("deadlineSeconds", protection.deadline_seconds.is_some()),
    ];
    let fields = fields.iter().filter(|(_, is_set)| *is_set);
    let fields: Vec<&str> = fields.map(|(name, _)| *name).collect();
    let arbiter = protection.arbiter.as_ref().map(|arbiter| {
        let policy = match arbiter.failure_policy {
            FailurePolicy::Protect => "Protect, so that every pod is protected",
            FailurePolicy::KeepLabel => "KeepLabel, so that labels decide",
            FailurePolicy::Ignore => "Ignore, so that no pod is protected",
        };
        format!("arbiters are not asked about DaemonSets, and its failurePolicy is {policy}")
    });
    let others = (!fields.is_empty()).then(|| format!("no effect on a DaemonSet: {}", fields.join(", ")));
    let parts: Vec<String> = arbiter.into_iter().chain(others).collect();
    (!parts.is_empty()).then(|| parts.join("; "))
}

/// Once for each generation and value. Source: daemonset.md, Better than upstream 2.
fn warning(daemonset: &DaemonSetView, reason: &'static str, once: &str, message: String) -> Event {
    Event {
        is_warning: true,
        reason,
        message: Cow::Owned(message),
        once_per: Some(format!("{}/{once}", daemonset.generation)),
    }
}
