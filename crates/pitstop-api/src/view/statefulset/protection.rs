//! `protection`: which pods an update leaves alone while they work. Source: statefulset.md 16.1.

use std::sync::Arc;

use serde::Deserialize;
use serde_json::Value;

use crate::selector::{LabelSelector, LabelValues, Labels, Op, Requirement, Selector};

/// Which pods an update leaves alone, and who says so.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Protection {
    /// `podSelector`: pods that match are protected while they match. An arbiter's label stands in for it.
    pub selector: Selector,
    /// Is `partitionPolicy` `Follow`: do protected old pods raise the partition?
    pub follows: bool,
    /// Is `unknownPolicy` `Protect`: are pods protected of which nobody knows?
    pub protects_unknown: bool,
    /// `minProtected`: with fewer protected pods, nothing is disrupted. Units: pods.
    pub min_protected: u32,
    /// Is `onScaleDown` `Block`: do protected pods stay that are too many?
    pub blocks_scale_down: bool,
    /// `deadlineSeconds`: how long an update may be blocked. Units: seconds.
    pub deadline_seconds: Option<u32>,
    /// Is `onDeadline` `Force`: are pods taken for idle after that?
    pub forces_at_deadline: bool,
    /// `evictionGuard`: are evictions of protected pods refused?
    pub guards_evictions: bool,
    /// `arbiter`: who knows which pods work.
    pub arbiter: Option<Arbiter>,
}

/// `arbiter`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Arbiter {
    /// How it is asked.
    pub probe: ArbiterProbe,
    /// `label`: the label that its answers are written to.
    pub label: Option<ArbiterLabel>,
    /// `periodSeconds`: how often it is asked. Units: seconds. Range: 1..=300.
    pub period_seconds: u32,
    /// `timeoutSeconds`: how long an answer may take. Units: seconds. Range: 1..=30.
    pub timeout_seconds: u32,
    /// `failureThreshold`: after so many failures in a row all that it said is stale. Range: 1..
    pub failure_threshold: u32,
    /// `staleAfterSeconds`: for how long an answer counts. Units: seconds. Range: `period_seconds`..
    pub stale_after_seconds: u32,
    /// `failurePolicy`: what a pod is when its answer is stale.
    pub failure_policy: FailurePolicy,
    /// `claim`: is it asked again right before a pod is disrupted?
    pub claims: bool,
}

/// How an arbiter is asked.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum ArbiterProbe {
    /// `http`: one call for each StatefulSet.
    Http(HttpProbe),
    /// `exec`: one call for each pod.
    Exec {
        /// `container`; `None` for the first.
        container: Option<Arc<str>>,
        /// `command`.
        command: Vec<Arc<str>>,
    },
}

/// `arbiter.http`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct HttpProbe {
    /// `service.name`.
    pub service: Arc<str>,
    /// `service.namespace`; `None` for that of the StatefulSet.
    pub namespace: Option<Arc<str>>,
    /// `service.port`.
    pub port: u16,
    /// Is `scheme` `https`?
    pub is_https: bool,
    /// `caBundle`: authorities that vouch for its certificate, as PEM in base64; `None` for those that this machine trusts.
    pub ca_bundle: Option<Arc<str>>,
    /// `path`.
    pub path: Arc<str>,
}

/// `arbiter.label`.
#[derive(Debug, Clone, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ArbiterLabel {
    /// `key`.
    pub key: Arc<str>,
    /// `protectedValue`: its value on pods that work.
    #[serde(rename = "protectedValue")]
    pub protected: Arc<str>,
    /// `idleValue`: its value on pods that do not.
    #[serde(rename = "idleValue")]
    pub idle: Arc<str>,
}

/// `arbiter.failurePolicy`.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq, Deserialize)]
pub enum FailurePolicy {
    /// Every pod is protected.
    #[default]
    Protect,
    /// Labels decide.
    KeepLabel,
    /// Every pod is idle.
    Ignore,
}

#[derive(Deserialize, Default)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct ProtectionWire {
    pod_selector: Option<LabelSelector>,
    partition_policy: PartitionPolicy,
    unknown_policy: UnknownPolicy,
    min_protected: u32,
    on_scale_down: OnScaleDown,
    deadline_seconds: Option<u32>,
    on_deadline: OnDeadline,
    eviction_guard: bool,
    arbiter: Option<ArbiterWire>,
}

#[derive(Deserialize, Default, PartialEq)]
enum PartitionPolicy {
    #[default]
    Follow,
    Static,
}

#[derive(Deserialize, Default, PartialEq)]
enum UnknownPolicy {
    #[default]
    Protect,
    Idle,
}

#[derive(Deserialize, Default, PartialEq)]
enum OnScaleDown {
    #[default]
    Block,
    Delete,
}

#[derive(Deserialize, Default, PartialEq)]
enum OnDeadline {
    #[default]
    Event,
    Force,
}

#[derive(Deserialize)]
#[serde(default, rename_all = "camelCase", deny_unknown_fields)]
struct ArbiterWire {
    http: Option<HttpWire>,
    exec: Option<ExecWire>,
    label: Option<ArbiterLabel>,
    period_seconds: u32,
    timeout_seconds: u32,
    failure_threshold: u32,
    stale_after_seconds: u32,
    failure_policy: FailurePolicy,
    claim: bool,
}

impl Default for ArbiterWire {
    /// Source: statefulset.md 16.1.
    fn default() -> Self {
        Self {
            http: None,
            exec: None,
            label: None,
            period_seconds: 10,
            timeout_seconds: 2,
            failure_threshold: 3,
            stale_after_seconds: 30,
            failure_policy: FailurePolicy::Protect,
            claim: false,
        }
    }
}

#[derive(Deserialize)]
#[serde(rename_all = "camelCase")]
struct HttpWire {
    service: ServiceWire,
    #[serde(default)]
    scheme: String,
    #[serde(default)]
    ca_bundle: Option<Arc<str>>,
    #[serde(default)]
    path: Arc<str>,
}

impl HttpWire {
    /// As for probes of containers, `HTTPS` is the same word as `https`.
    fn is_https(&self) -> Result<bool, String> {
        let is = |scheme: &str| self.scheme.eq_ignore_ascii_case(scheme);
        match () {
            () if is("https") => Ok(true),
            () if is("http") || is("") => Ok(false),
            () => Err(format!(
                "arbiter.http.scheme is http or https, not {:?}",
                self.scheme
            )),
        }
    }
}

#[derive(Deserialize)]
struct ServiceWire {
    name: Arc<str>,
    #[serde(default)]
    namespace: Option<Arc<str>>,
    port: u16,
}

#[derive(Deserialize)]
struct ExecWire {
    #[serde(default)]
    container: Option<Arc<str>>,
    command: Vec<Arc<str>>,
}

impl Protection {
    /// Reads the field.
    ///
    /// # Errors
    /// What is wrong, for people. A StatefulSet whose protection cannot be read is not updated at all.
    pub fn of(value: &Value) -> Result<Self, String> {
        let wire: ProtectionWire = serde_path_to_error::deserialize(value).map_err(|error| {
            let why = error.inner().to_string();
            let why = why.replace("expected u32", "expected a whole number from 0 on");
            match error.path().to_string().as_str() {
                "." => why,
                path => format!("{path}: {why}"),
            }
        })?;
        let arbiter = wire.arbiter.map(Arbiter::of).transpose()?;
        let label = arbiter.as_ref().and_then(|arbiter| arbiter.label.as_ref());
        let selector = match (&wire.pod_selector, label) {
            (Some(selector), _) if selector.is_empty() => {
                return Err("podSelector is empty; name the labels of pods that work".to_owned());
            }
            (Some(selector), _) => selector
                .selector()
                .ok_or("podSelector has an expression that cannot be read")?,
            (None, Some(label)) => working(label),
            (None, None) if arbiter.is_some() => Selector::default(),
            (None, None) => return Err("podSelector or arbiter is required".to_owned()),
        };
        Ok(Self {
            selector,
            follows: wire.partition_policy == PartitionPolicy::Follow,
            protects_unknown: wire.unknown_policy == UnknownPolicy::Protect,
            min_protected: wire.min_protected,
            blocks_scale_down: wire.on_scale_down == OnScaleDown::Block,
            deadline_seconds: wire.deadline_seconds,
            forces_at_deadline: wire.on_deadline == OnDeadline::Force,
            guards_evictions: wire.eviction_guard,
            arbiter,
        })
    }

    /// What labels say of a pod: does it work? `None`: it carries none of the keys that the selector asks for.
    ///
    /// Source: statefulset.md 16.2, step 4.
    pub fn labels_say(&self, labels: &impl LabelValues) -> Option<bool> {
        if self.selector.is_empty() {
            return None;
        }
        if self.selector.matches(labels) {
            return Some(true);
        }
        let is_positive = |requirement: &&Requirement| matches!(requirement.op, Op::In(_) | Op::Exists);
        let positive = self.selector.requirements().iter().filter(is_positive);
        let mut keys = positive.map(|requirement| requirement.key.as_str()).peekable();
        let is_known = keys.peek().is_none() || keys.any(|key| labels.value_of(key).is_some());
        is_known.then_some(false)
    }
}

/// Pods with the label that an arbiter gives to those that work.
fn working(label: &ArbiterLabel) -> Selector {
    let labels = LabelSelector {
        match_labels: Labels::from([(label.key.to_string(), label.protected.to_string())]),
        ..LabelSelector::default()
    };
    labels.selector().unwrap_or_default()
}

impl Arbiter {
    fn of(wire: ArbiterWire) -> Result<Self, String> {
        let is_https = wire.http.as_ref().map_or(Ok(false), HttpWire::is_https)?;
        let probe = match (wire.http, wire.exec) {
            (Some(http), None) => ArbiterProbe::Http(HttpProbe {
                service: http.service.name,
                namespace: http.service.namespace,
                port: http.service.port,
                is_https,
                ca_bundle: http.ca_bundle,
                path: http.path,
            }),
            (None, Some(exec)) if exec.command.is_empty() => {
                return Err("arbiter.exec.command is empty; name a program, and its arguments".to_owned());
            }
            (None, Some(_)) if wire.claim => {
                return Err("arbiter.claim needs arbiter.http; a command is not asked for pods".to_owned());
            }
            (None, Some(exec)) => ArbiterProbe::Exec {
                container: exec.container,
                command: exec.command,
            },
            _ => return Err("arbiter needs exactly one of http and exec".to_owned()),
        };
        Ok(Self {
            probe,
            label: wire.label,
            period_seconds: wire.period_seconds.clamp(1, 300),
            timeout_seconds: wire.timeout_seconds.clamp(1, 30),
            failure_threshold: wire.failure_threshold.max(1),
            stale_after_seconds: wire.stale_after_seconds.max(wire.period_seconds),
            failure_policy: wire.failure_policy,
            claims: wire.claim,
        })
    }
}
