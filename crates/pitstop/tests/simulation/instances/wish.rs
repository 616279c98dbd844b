//! What people wish for in a workload of instances, drawn from a seed, and how they change their minds.

use pitstop_api::keys;
use rand::RngExt as _;
use rand::rngs::StdRng;
use serde_json::{Value, json};

use super::kind::Kind;
use crate::arbiter::Surprise;

pub(super) mod ordinals;

use ordinals::{Focus, Ordinals, Source};

/// Finalizer that holds a pod before its deletion.
pub(super) const DRAIN: &str = "example.com/drain";
/// Label of a pod that is served to.
pub(super) const SERVES: &str = "example.com/serves";
/// Label of a pod of a StatefulSet: does it work right now?
pub(crate) const WORKS: &str = "example.com/works";
/// Annotation that says which hook is there.
const HOOK: &str = "example.com/hook";
/// `progressDeadlineSeconds`. Units: seconds.
pub(super) const DEADLINE: u64 = 60;

/// How names of claims of ordinals begin.
const CLAIM: &str = "data-";

/// `podUpdatePolicy`, or type `OnDelete`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Policy {
    Recreate,
    IfPossible,
    Only,
    OnDelete,
}

/// Where somebody wants to be heard.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Hook {
    /// Before a deletion.
    Delete,
    /// Before and after an update in place.
    Update,
    /// Before a pod counts.
    Normal,
}

impl Hook {
    const ALL: [(Self, &str); 3] = [
        (Self::Delete, "delete"),
        (Self::Update, "update"),
        (Self::Normal, "normal"),
    ];

    /// The hook of a pod.
    pub(super) fn read(pod: &Value) -> Option<Self> {
        let word = pod["metadata"]["annotations"][HOOK].as_str()?;
        let mut all = Self::ALL.iter();
        all.find(|(_, name)| *name == word).map(|(hook, _)| *hook)
    }

    fn word(self) -> &'static str {
        let mut all = Self::ALL.iter();
        all.find(|(hook, _)| *hook == self).map_or("", |(_, name)| name)
    }
}

/// The spec of a workload, as far as stories change it.
#[derive(Debug, Clone)]
pub(super) struct Wish {
    pub(super) image: String,
    pub(super) replicas: usize,
    pub(super) partition: usize,
    /// What only a StatefulSet has.
    ordinals: Option<Ordinals>,
    pub(super) policy: Policy,
    pub(super) has_claims: bool,
    pub(super) reuses_claims: bool,
    /// Is a rollout of what cannot run part of the story?
    pub(super) is_explained: bool,
    is_paused: bool,
    max_unavailable: Value,
    max_surge: u32,
    scale_max_unavailable: Option<u32>,
    min_ready_seconds: u32,
    grace_period_seconds: u32,
    hook: Option<(Hook, bool)>,
    /// A label that no container reads.
    label: u32,
    /// A variable, which cannot change in place.
    variable: u32,
}

impl Wish {
    pub(super) fn draw(random: &mut StdRng, kind: Kind, seed: u64) -> Self {
        let policy = match random.random_range(0..10) {
            0..=2 => Policy::Recreate,
            3..=7 => Policy::IfPossible,
            8 => Policy::Only,
            _ => Policy::OnDelete,
        };
        let hook = match random.random_range(0..6) {
            0 => Some(Hook::Delete),
            1 | 2 => Some(Hook::Update),
            3 => Some(Hook::Normal),
            _ => None,
        };
        let has_claims = random.random_range(0..4) == 0;
        let mut wish = Self {
            image: "example.com/web:1".to_owned(),
            replicas: random.random_range(3..=7),
            partition: 0,
            ordinals: None,
            policy,
            has_claims,
            reuses_claims: random.random(),
            is_explained: random.random_range(0..3) == 0,
            is_paused: false,
            max_unavailable: budget(random),
            max_surge: surge(random, policy),
            scale_max_unavailable: (random.random_range(0..3) == 0).then(|| random.random_range(1..=3)),
            min_ready_seconds: [0, 0, 5, 12][random.random_range(0..4)],
            grace_period_seconds: [0, 0, 6][random.random_range(0..3)],
            hook: hook.map(|hook| (hook, random.random())),
            label: 0,
            variable: 0,
        };
        if kind == Kind::StatefulSet {
            wish.is_about(Focus::of(seed));
            wish.ordinals = Some(Ordinals::draw(random, wish.policy, Focus::of(seed)));
        }
        wish
    }

    fn is_about(&mut self, focus: Focus) {
        match focus {
            Focus::Nothing => {}
            Focus::Hook => self.hook = Some((Hook::Delete, true)),
            Focus::InPlace => self.policy = Policy::Only,
            _ if self.policy == Policy::OnDelete => self.policy = Policy::Recreate,
            _ => {}
        }
        // What holds pods up beside would leave little to see.
        if matches!(focus, Focus::Growth | Focus::Priorities) {
            self.hook = None;
        }
        self.has_claims |= focus == Focus::Growth;
        self.keep_focus(focus);
    }

    /// What the story is about stays.
    fn keep_focus(&mut self, focus: Focus) {
        // Who goes first is to be seen where one goes after the other.
        if focus == Focus::Priorities {
            self.max_unavailable = json!(1);
        }
    }

    /// There is another version.
    pub(super) fn new_version(&mut self, image: String) {
        self.image = image;
        let focus = self.focus();
        if focus != Focus::Nothing {
            self.is_paused = false;
            self.partition = match focus {
                Focus::Partition => self.replicas.div_ceil(2),
                _ => 0,
            };
        }
        if let Some(ordinals) = &mut self.ordinals {
            ordinals.new_version();
        }
    }

    /// What the story is about.
    pub(super) fn focus(&self) -> Focus {
        self.ordinals.as_ref().map_or(Focus::Nothing, Ordinals::focus)
    }

    /// One of many that are small.
    pub(super) fn of_the_crowd(image: &str, kind: Kind) -> Self {
        Self {
            image: image.to_owned(),
            replicas: 1,
            partition: 0,
            ordinals: (kind == Kind::StatefulSet).then(Ordinals::of_the_crowd),
            policy: Policy::IfPossible,
            has_claims: false,
            reuses_claims: false,
            is_explained: false,
            is_paused: false,
            max_unavailable: json!(1),
            max_surge: 0,
            scale_max_unavailable: None,
            min_ready_seconds: 0,
            grace_period_seconds: 0,
            hook: None,
            label: 0,
            variable: 0,
        }
    }

    /// Somebody changes something, but not what the story is about: says what.
    pub(super) fn change(&mut self, random: &mut StdRng, images: &[String]) -> String {
        let what = self.change_anything(random, images);
        self.keep_focus(self.focus());
        if let Some(ordinals) = &mut self.ordinals {
            ordinals.keep_focus();
        }
        what
    }

    fn change_anything(&mut self, random: &mut StdRng, images: &[String]) -> String {
        if let Some(ordinals) = &mut self.ordinals
            && random.random_range(0..4) == 0
        {
            return ordinals.change(random);
        }
        match random.random_range(0..12) {
            0 | 1 => {
                self.partition = random.random_range(0..=self.replicas);
                format!("partition {}", self.partition)
            }
            2 | 3 => {
                self.replicas = random.random_range(2..=8);
                format!("{} replicas", self.replicas)
            }
            4 | 5 => {
                self.is_paused = !self.is_paused;
                format!("paused: {}", self.is_paused)
            }
            6 => {
                self.max_unavailable = budget(random);
                self.max_surge = surge(random, self.policy);
                format!(
                    "maxUnavailable {}, maxSurge {}",
                    self.max_unavailable, self.max_surge
                )
            }
            7 => {
                self.policy = match self.policy {
                    Policy::IfPossible => Policy::Recreate,
                    Policy::Recreate => Policy::IfPossible,
                    other => other,
                };
                format!("{:?}", self.policy)
            }
            8 => {
                self.min_ready_seconds = [0, 5, 12][random.random_range(0..3)];
                format!("minReadySeconds {}", self.min_ready_seconds)
            }
            9 if self.policy != Policy::Only => {
                self.variable += 1;
                "another variable".to_owned()
            }
            10 => {
                self.label += 1;
                "another label".to_owned()
            }
            _ => {
                let n = images.len().min(2);
                let at = images.len() - 1 - random.random_range(0..n);
                self.image.clone_from(&images[at]);
                format!("image {}", self.image)
            }
        }
    }

    /// The rollout is let go on to its end, or to where somebody wants to look at it.
    pub(super) fn goes_on(&mut self, random: &mut StdRng) {
        self.is_paused = false;
        if let Some(ordinals) = &mut self.ordinals {
            ordinals.is_quiet();
        }
        if random.random_range(0..3) > 0 {
            self.partition = 0;
        }
        self.partition = self.partition.min(self.replicas.saturating_sub(1));
    }

    /// Are pods updated without anybody deleting them?
    pub(super) fn moves_pods(&self) -> bool {
        self.policy != Policy::OnDelete
    }

    /// How many pods stay at old revisions.
    pub(super) fn kept(&self) -> usize {
        let replicas = i64::try_from(self.replicas).unwrap_or_default();
        usize::try_from(kept(&self.written_partition(), replicas)).unwrap_or_default()
    }

    /// The partition as it is written: nobody who deletes pods by hand has one in a StatefulSet.
    fn written_partition(&self) -> Value {
        match &self.ordinals {
            Some(_) if !self.moves_pods() => Value::Null,
            Some(ordinals) => ordinals.partition(self.partition, self.replicas),
            None => json!(self.partition),
        }
    }

    /// Are pods that work left alone?
    pub(super) fn protects(&self) -> bool {
        self.ordinals.as_ref().is_some_and(Ordinals::protects)
    }

    /// Does it matter which pods work?
    pub(super) fn has_work(&self) -> bool {
        self.ordinals.as_ref().is_some_and(Ordinals::has_work)
    }

    /// How pods begin to work that are written to, if that matters.
    pub(super) fn surprise(&self) -> Option<Surprise> {
        match self.source() {
            _ if !self.protects() => None,
            Source::Labels => Some(Surprise::Label),
            Source::Http { claims: true } => Some(Surprise::Arbiter),
            // What they said last counts for some time.
            Source::Http { claims: false } | Source::Exec => None,
        }
    }

    /// Who says which pods work.
    pub(super) fn source(&self) -> Source {
        self.ordinals.as_ref().map_or(Source::Labels, Ordinals::source)
    }

    /// What claims are to ask for. Units: Gi. `None`: they do not grow.
    pub(super) fn claims_grow_to(&self) -> Option<u32> {
        let ordinals = self.ordinals.as_ref().filter(|_| self.has_claims)?;
        ordinals.claims_grow_to()
    }

    /// Is a pod one too many, which is left alone since it works?
    pub(super) fn keeps_surplus(&self, pod: &Value, works: bool) -> bool {
        let Some(ordinals) = self.ordinals.as_ref().filter(|one| one.blocks_scale_down()) else {
            return false;
        };
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let ordinal = ordinal_of(name);
        works && ordinal.is_some_and(|ordinal| !ordinals.live(self.replicas).contains(&ordinal))
    }

    /// Is a pod as the template?
    pub(super) fn is_met_by(&self, pod: &Value) -> bool {
        let container = &pod["spec"]["containers"][0];
        container["image"] == self.image.as_str()
            && container["env"][0]["value"] == json!(self.variable.to_string())
            && pod["metadata"]["labels"]["example.com/label"] == json!(self.label.to_string())
    }

    /// The whole object.
    pub(super) fn object(&self, name: &str) -> Value {
        let mut spec = self.spec(name);
        drop_nulls(&mut spec);
        spec["selector"] = json!({"matchLabels": {"app": name}});
        let kind = self.kind().as_str();
        json!({
            "apiVersion": "apps.kruise.io/v1beta1", "kind": kind, "metadata": {"name": name}, "spec": spec,
        })
    }

    fn kind(&self) -> Kind {
        if self.ordinals.is_some() {
            Kind::StatefulSet
        } else {
            Kind::CloneSet
        }
    }

    /// What changes of it.
    pub(super) fn patch(&self) -> Value {
        json!({ "spec": self.spec(super::NAME) })
    }

    fn spec(&self, name: &str) -> Value {
        let policy = match self.policy {
            Policy::Recreate | Policy::OnDelete => "ReCreate",
            Policy::IfPossible => "InPlaceIfPossible",
            Policy::Only => "InPlaceOnly",
        };
        let kind = if self.policy == Policy::OnDelete {
            "OnDelete"
        } else {
            "RollingUpdate"
        };
        let mut labels = json!({"app": name, "example.com/label": self.label.to_string()});
        let (mut annotations, mut finalizers, mut lifecycle) = (json!({}), json!([]), json!({}));
        if let Some((hook, marks)) = self.hook {
            annotations[HOOK] = json!(hook.word());
            let label = json!({"labelsHandler": {SERVES: "true"}, "markPodNotReady": marks});
            match hook {
                Hook::Delete => {
                    finalizers = json!([DRAIN]);
                    let drain = json!({"finalizersHandler": [DRAIN], "markPodNotReady": marks});
                    lifecycle["preDelete"] = drain;
                }
                Hook::Update => {
                    labels[SERVES] = json!("true");
                    lifecycle["inPlaceUpdate"] = label;
                }
                Hook::Normal => lifecycle["preNormal"] = json!({"labelsHandler": {SERVES: "true"}}),
            }
        }
        let container = json!({
            "name": "web", "image": self.image, "env": [{"name": "VARIABLE", "value": self.variable.to_string()}],
        });
        let mut spec = json!({
            "replicas": self.replicas,
            "minReadySeconds": self.min_ready_seconds,
            "progressDeadlineSeconds": DEADLINE,
            "lifecycle": lifecycle,
            "scaleStrategy": {
                "maxUnavailable": self.scale_max_unavailable, "enablePVCReuse": self.reuses_claims,
            },
            "updateStrategy": {"type": kind, "rollingUpdate": {
                "podUpdatePolicy": policy,
                "partition": self.written_partition(),
                "maxUnavailable": self.max_unavailable,
                "maxSurge": self.max_surge,
                "paused": self.is_paused,
                "inPlaceUpdateStrategy": {"gracePeriodSeconds": self.grace_period_seconds},
            }},
            "template": {
                "metadata": {"labels": labels, "annotations": annotations, "finalizers": finalizers},
                "spec": {"containers": [container]},
            },
        });
        if self.has_claims {
            let plain =
                || json!({"accessModes": ["ReadWriteOnce"], "resources": {"requests": {"storage": "1Gi"}}});
            let claim = self.ordinals.as_ref().map_or_else(plain, Ordinals::claim);
            spec["volumeClaimTemplates"] = json!([{"metadata": {"name": "data"}, "spec": claim}]);
        }
        if let Some(ordinals) = &self.ordinals {
            ordinals.shape(&mut spec, self.policy, !self.reuses_claims);
        }
        spec
    }
}

/// How many pods of all a partition keeps at old revisions. Source: statefulset.md 15.2.
pub(super) fn kept(partition: &Value, replicas: i64) -> i64 {
    let Some(text) = partition.as_str() else {
        return partition.as_i64().unwrap_or_default().min(replicas);
    };
    let percent: i64 = text.trim_end_matches('%').parse().unwrap_or_default();
    let rounded_up = (replicas * percent + 99) / 100;
    if percent < 100 && replicas > 1 && rounded_up == replicas {
        replicas - 1
    } else {
        rounded_up
    }
}

/// The ordinal in the name of a pod of the StatefulSet.
pub(super) fn ordinal_of(pod: &str) -> Option<i64> {
    let rest = pod.strip_prefix(super::NAME)?;
    rest.strip_prefix('-')?.parse().ok()
}

/// Does a pod work, as far as anybody may tell?
pub(super) fn works(pod: &Value) -> bool {
    pod["metadata"]["labels"][WORKS] != "false"
}

/// The instance that a pod or a claim belongs to.
pub(super) fn instance_of(object: &Value) -> String {
    let labels = &object["metadata"]["labels"];
    let mut ids = [keys::INSTANCE_ID, keys::STATEFUL_POD_NAME].into_iter();
    let id = ids.find_map(|key| labels[key].as_str());
    let name = object["metadata"]["name"].as_str().unwrap_or_default();
    id.unwrap_or_else(|| name.strip_prefix(CLAIM).unwrap_or(name))
        .to_owned()
}

/// Takes out what is null: that says something in a patch only.
fn drop_nulls(value: &mut Value) {
    if let Value::Object(fields) = value {
        fields.retain(|_, field| !field.is_null());
        fields.values_mut().for_each(drop_nulls);
    }
}

fn budget(random: &mut StdRng) -> Value {
    match random.random_range(0..5) {
        0 => json!("30%"),
        1 | 2 => json!(1),
        3 => json!(2),
        _ => json!(3),
    }
}

fn surge(random: &mut StdRng, policy: Policy) -> u32 {
    if policy == Policy::Only {
        0
    } else {
        [0, 0, 1, 2][random.random_range(0..4)]
    }
}
