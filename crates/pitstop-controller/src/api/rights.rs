//! Rights that we lack, as the API server's answers show them.
//!
//! RBAC refuses with 403, and so do quotas and admission; only the text tells them apart. A right that is missing is told
//! once, not with every attempt, and again when it has been granted or is missing anew.

use std::collections::{BTreeMap, BTreeSet};
use std::fmt;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use futures::future::BoxFuture;
use prometheus_client::collector::Collector;
use prometheus_client::encoding::{DescriptorEncoder, EncodeMetric};
use prometheus_client::metrics::MetricType;
use prometheus_client::metrics::gauge::ConstGauge;
use tokio::time::Instant;
use tracing::{error, warn};

use super::{Api, Call, CallError, Command, Connection, Lines, MaySend, Resource, Verb};

/// What to do about it.
pub const REMEDY: &str = "apply the output of `pitstop manifests` again";
/// A refusal that was not repeated for this long is forgotten: nobody needs the right any more. Everything that is
/// refused is tried again long before.
const FORGET_AFTER: Duration = Duration::from_mins(10);

/// What the admission plugin `OwnerReferencesPermissionEnforcement` says to who may not set finalizers of the owner.
const TO_BLOCK_OWNER: &str =
    "cannot set blockOwnerDeletion if an ownerReference refers to a resource you can't set finalizers on";
/// What it says to who may not delete the object that gets an owner.
const TO_SET_OWNER: &str = "cannot set an ownerRef on a resource you can't delete";

/// The subresource of an owner that takes a right to name it.
const FINALIZERS: &str = "/finalizers";

/// The kinds that we name as controllers of what we make.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum OwnerKind {
    /// A DaemonSet.
    DaemonSet,
    /// A DaemonSet of `apps.kruise.io`.
    AdvancedDaemonSet,
    /// A CloneSet.
    CloneSet,
    /// A StatefulSet of `apps.kruise.io`.
    StatefulSet,
    /// A pod.
    Pod,
}

impl OwnerKind {
    /// The controller that the object of a request names.
    pub fn of(call: &Call) -> Option<Self> {
        let owners = call.body.as_ref()?.pointer("/metadata/ownerReferences")?;
        let mut owners = owners.as_array()?.iter();
        let controller = owners.find(|owner| owner.get("controller") == Some(&true.into()))?;
        let version = controller.get("apiVersion").and_then(serde_json::Value::as_str);
        let is_kruise = version.is_some_and(|version| version.starts_with("apps.kruise.io/"));
        match controller.get("kind")?.as_str()? {
            "DaemonSet" if is_kruise => Some(Self::AdvancedDaemonSet),
            "DaemonSet" => Some(Self::DaemonSet),
            "CloneSet" => Some(Self::CloneSet),
            "StatefulSet" => Some(Self::StatefulSet),
            "Pod" => Some(Self::Pod),
            _ => None,
        }
    }

    /// Its resource and group.
    fn resource(self) -> (&'static str, &'static str) {
        match self {
            Self::DaemonSet => ("daemonsets", "apps"),
            Self::AdvancedDaemonSet => ("daemonsets", "apps.kruise.io"),
            Self::CloneSet => ("clonesets", "apps.kruise.io"),
            Self::StatefulSet => ("statefulsets", "apps.kruise.io"),
            Self::Pod => ("pods", ""),
        }
    }
}

/// A right that somebody lacks.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct MissingRight {
    /// Who lacks it; `None`: whoever asked.
    pub user: Option<String>,
    /// The verb, as in RBAC.
    pub verb: String,
    /// The resource, with its subresource: `daemonsets/status`.
    pub resource: String,
    /// The API group; empty for the core group.
    pub group: String,
    /// Where it was asked for; `None`: for the whole cluster, or it was not said.
    pub namespace: Option<String>,
}

impl MissingRight {
    /// Reads the text of a 403. `None`: it was refused for another reason, such as a quota or an admission webhook.
    pub fn from_message(message: &str) -> Option<Self> {
        Self::from_authorizer(message).or_else(|| Self::from_admission(message))
    }

    /// `pods is forbidden: User "u" cannot list resource "pods" in API group "" at the cluster scope`.
    fn from_authorizer(message: &str) -> Option<Self> {
        let (_, rest) = message.split_once("User \"")?;
        let (user, rest) = rest.split_once("\" cannot ")?;
        let (verb, rest) = rest.split_once(" resource \"")?;
        let (resource, rest) = rest.split_once("\" in API group \"")?;
        let (group, place) = rest.split_once('"')?;
        let namespace = match place.strip_prefix(" in the namespace \"") {
            Some(rest) => Some(rest.split_once('"')?.0),
            None if place.starts_with(" at the cluster scope") => None,
            None => return None,
        };
        Some(Self {
            user: Some(user.to_owned()),
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            group: group.to_owned(),
            namespace: namespace.map(str::to_owned),
        })
    }

    /// `controllerrevisions.apps "x" is forbidden: cannot set an ownerRef on a resource you can't delete: ...`.
    fn from_admission(message: &str) -> Option<Self> {
        let (object, why) = message.split_once(" is forbidden: ")?;
        let object = object.split(' ').next()?;
        let (verb, (resource, group)) = if why.starts_with(TO_BLOCK_OWNER) {
            // Whom it named is not said: of a Job it is a pod, of all else mostly a DaemonSet.
            match object {
                "jobs.batch" => ("update", ("pods/finalizers", "")),
                _ => ("update", ("daemonsets/finalizers", "apps")),
            }
        } else if why.starts_with(TO_SET_OWNER) {
            ("delete", object.split_once('.').unwrap_or((object, "")))
        } else {
            return None;
        };
        Some(Self {
            user: None,
            verb: verb.to_owned(),
            resource: resource.to_owned(),
            group: group.to_owned(),
            namespace: None,
        })
    }

    /// The same right on the owner that was named, where it is one on an owner.
    #[must_use]
    pub fn on(mut self, owner: OwnerKind) -> Self {
        if self.user.is_none() && self.resource.ends_with(FINALIZERS) {
            let (resource, group) = owner.resource();
            self.resource = format!("{resource}{FINALIZERS}");
            group.clone_into(&mut self.group);
        }
        self
    }

    /// Is it the right to create or delete pods?
    pub fn is_about_pods(&self) -> bool {
        self.resource == Resource::Pods.plural() && matches!(self.verb.as_str(), "create" | "delete")
    }
}

impl fmt::Display for MissingRight {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self {
            user,
            verb,
            resource,
            group,
            ..
        } = self;
        write!(f, "not allowed to {verb} {resource}")?;
        match &self.namespace {
            Some(namespace) => write!(f, " in namespace \"{namespace}\"")?,
            None if user.is_none() || resource == Resource::Nodes.plural() => {}
            None => f.write_str(" in all namespaces")?,
        }
        match user {
            Some(user) => write!(f, ": user \"{user}\" lacks")?,
            None => f.write_str(": this user lacks")?,
        }
        write!(
            f,
            " verb \"{verb}\" on resource \"{resource}\" (API group \"{group}\")"
        )
    }
}

/// What is asked for: verb, resource and subresource.
type Asked = (&'static str, &'static str, Option<&'static str>);

/// The rights that turned out to be missing.
#[derive(Debug, Clone, Default)]
pub struct Rights(Arc<Mutex<BTreeMap<Asked, Places>>>);

/// Where it was refused, and for want of what: since when this is known, and how it was said. Behind one request there may be
/// several rights, such as one on an owner.
type Places = BTreeMap<(Option<String>, Wanted), (Instant, MissingRight)>;
/// Verb, resource and group.
type Wanted = (String, String, String);

impl Rights {
    /// The rights that are missing now, one for each request that needs it, wherever that goes.
    pub fn missing(&self) -> Vec<MissingRight> {
        let known = self.known();
        let of_request = |places: &Places| {
            let rights = places
                .iter()
                .map(|((_, wanted), (_, right))| (wanted.clone(), right.clone()));
            rights.collect::<BTreeMap<Wanted, MissingRight>>().into_values()
        };
        known.values().flat_map(of_request).collect()
    }

    /// Learns from an answer.
    fn learn(&self, asked: Asked, namespace: Option<&str>, answer: Result<(), &CallError>) {
        match answer {
            Ok(()) => self.granted(asked, namespace),
            Err(error) => match error.missing_right() {
                Some(right) => self.refused(asked, namespace, right),
                // What was answered by name, version or content was allowed before.
                None if error.is_past_authorization() => self.granted(asked, namespace),
                None => {}
            },
        }
    }

    fn refused(&self, asked: Asked, namespace: Option<&str>, right: MissingRight) {
        let mut known = self.known();
        let places = known.entry(asked).or_default();
        let wanted: Wanted = (right.verb.clone(), right.resource.clone(), right.group.clone());
        if !places.keys().any(|(_, known)| *known == wanted) {
            error!("{right}; {REMEDY}");
        }
        places.insert((namespace.map(str::to_owned), wanted), (Instant::now(), right));
    }

    fn granted(&self, asked: Asked, namespace: Option<&str>) {
        let mut known = self.known();
        let Some(places) = known.get_mut(&asked) else {
            return;
        };
        places.retain(|(place, _), _| place.as_deref() != namespace);
        if places.is_empty() {
            known.remove(&asked);
            let (verb, _, _) = asked;
            warn!("allowed again to {verb} {}", path(asked));
        }
    }

    /// What is known, without what was forgotten.
    fn known(&self) -> MutexGuard<'_, BTreeMap<Asked, Places>> {
        let mut known = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        known.retain(|_, places| {
            places.retain(|_, (at, _)| at.elapsed() < FORGET_AFTER);
            !places.is_empty()
        });
        known
    }
}

impl Collector for Rights {
    fn encode(&self, mut encoder: DescriptorEncoder<'_>) -> Result<(), fmt::Error> {
        let help = "1 for each right that turned out to be missing";
        let mut metric = encoder.encode_descriptor("missing_rights", help, None, MetricType::Gauge)?;
        // What is asked for and what is missing may differ: to create with an owner takes a right on the owner.
        let missing: BTreeSet<(String, String)> = self
            .missing()
            .into_iter()
            .map(|right| (right.verb, right.resource))
            .collect();
        for (verb, resource) in missing {
            let labels = [("verb", verb), ("resource", resource)];
            ConstGauge::new(1_i64).encode(metric.encode_family(&labels)?)?;
        }
        Ok(())
    }
}

fn path((_, resource, subresource): Asked) -> String {
    match subresource {
        Some(subresource) => format!("{resource}/{subresource}"),
        None => resource.to_owned(),
    }
}

/// Lets everything through, and learns from the answers which rights are missing.
pub struct Learning {
    inner: Arc<dyn Api>,
    rights: Rights,
}

impl Learning {
    /// In front of `inner`.
    pub fn new(inner: Arc<dyn Api>, rights: Rights) -> Self {
        Self { inner, rights }
    }

    async fn learn<T>(
        &self,
        (asked, namespace, owner): (Asked, Option<String>, Option<OwnerKind>),
        answer: impl Future<Output = Result<T, CallError>>,
    ) -> Result<T, CallError> {
        let answer = answer.await.map_err(|error| error.owned_by(owner));
        self.rights
            .learn(asked, namespace.as_deref(), answer.as_ref().map(|_| ()));
        answer
    }
}

impl Api for Learning {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(self.learn(asked(&call), self.inner.send(call)))
    }

    fn send_if(&self, call: Call, may_send: MaySend) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(self.learn(asked(&call), self.inner.send_if(call, may_send)))
    }

    fn watch(&self, call: Call) -> BoxFuture<'_, Result<Lines, CallError>> {
        Box::pin(self.learn(asked(&call), self.inner.watch(call)))
    }

    fn run(&self, command: Command) -> BoxFuture<'_, Result<i32, CallError>> {
        let asked = ("get", Resource::Pods.plural(), Some("exec"));
        let asked = (asked, Some(command.namespace.clone()), None);
        Box::pin(self.learn(asked, self.inner.run(command)))
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Connection>> {
        self.inner.connect(address)
    }
}

fn asked(call: &Call) -> (Asked, Option<String>, Option<OwnerKind>) {
    let verb: Verb = call.verb;
    let asked = (verb.as_str(), call.resource.plural(), call.subresource);
    (asked, call.namespace.clone(), OwnerKind::of(call))
}

#[cfg(test)]
mod tests {
    use super::*;

    /// Texts of a kube-apiserver 1.34.
    #[test]
    fn what_rbac_says_is_told_from_quotas_and_admission() {
        for (message, want) in [
            (
                "pods is forbidden: User \"system:serviceaccount:pitstop-system:pitstop\" cannot list resource \
                 \"pods\" in API group \"\" at the cluster scope",
                Some(
                    "not allowed to list pods in all namespaces: user \
                     \"system:serviceaccount:pitstop-system:pitstop\" lacks verb \"list\" on resource \"pods\" \
                     (API group \"\")",
                ),
            ),
            (
                "nodes is forbidden: User \"jane\" cannot watch resource \"nodes\" in API group \"\" at the cluster \
                 scope: RBAC: clusterrole.rbac.authorization.k8s.io \"x\" not found",
                Some(
                    "not allowed to watch nodes: user \"jane\" lacks verb \"watch\" on resource \"nodes\" (API group \
                     \"\")",
                ),
            ),
            (
                "daemonsets.apps \"agent\" is forbidden: User \"jane\" cannot patch resource \"daemonsets/status\" in \
                 API group \"apps\" in the namespace \"prod\"",
                Some(
                    "not allowed to patch daemonsets/status in namespace \"prod\": user \"jane\" lacks verb \"patch\" \
                     on resource \"daemonsets/status\" (API group \"apps\")",
                ),
            ),
            (
                "controllerrevisions.apps \"agent-1\" is forbidden: cannot set blockOwnerDeletion if an ownerReference \
                 refers to a resource you can't set finalizers on: , <nil>",
                Some(
                    "not allowed to update daemonsets/finalizers: this user lacks verb \"update\" on resource \
                     \"daemonsets/finalizers\" (API group \"apps\")",
                ),
            ),
            (
                "controllerrevisions.apps \"agent-1\" is forbidden: cannot set an ownerRef on a resource you can't \
                 delete: , <nil>",
                Some(
                    "not allowed to delete controllerrevisions: this user lacks verb \"delete\" on resource \
                     \"controllerrevisions\" (API group \"apps\")",
                ),
            ),
            (
                "pods \"agent-x\" is forbidden: exceeded quota: q, requested: pods=1",
                None,
            ),
            (
                "admission webhook \"w.example.com\" denied the request: not on Fridays",
                None,
            ),
            (
                "pods \"x\" is forbidden: violates PodSecurity \"restricted:latest\": runAsNonRoot != true",
                None,
            ),
            (
                "pods \"x\" is forbidden: unable to create new content in namespace a because it is being terminated",
                None,
            ),
            ("forbidden: User \"jane\" cannot get path \"/metrics\"", None),
            (
                "User \"jane\" cannot get resource \"pods\" in API group \"\" somewhere else",
                None,
            ),
            ("", None),
        ] {
            let right = MissingRight::from_message(message).map(|right| right.to_string());
            assert_eq!(right.as_deref(), want, "{message}");
        }
    }

    /// What the answer does not say, the request does.
    #[test]
    fn the_owner_of_what_is_made_is_the_one_that_takes_the_right() {
        let message = "pods \"web-a\" is forbidden: cannot set blockOwnerDeletion if an ownerReference refers to a \
                       resource you can't set finalizers on: , <nil>";
        for (kind, want) in [
            ("CloneSet", "update clonesets/finalizers"),
            ("DaemonSet", "update daemonsets/finalizers"),
            ("Pod", "update pods/finalizers"),
            ("Widget", "update daemonsets/finalizers"),
        ] {
            let owner = serde_json::json!({"kind": kind, "controller": true});
            let body = serde_json::json!({"metadata": {"ownerReferences": [{"kind": "Node"}, owner]}});
            let call = Call::collection(Verb::Create, Resource::Pods, Some("default")).with_body(body);
            let body = serde_json::json!({ "message": message }).to_string();
            let error = CallError::from_answer(403, body.as_bytes()).owned_by(OwnerKind::of(&call));
            let right = error.missing_right().unwrap().to_string();
            assert!(right.starts_with(&format!("not allowed to {want}: ")), "{right}");
        }
    }

    fn refusal(namespace: &str) -> CallError {
        let message = format!(
            "pods \\\"x\\\" is forbidden: User \\\"u\\\" cannot delete resource \\\"pods\\\" in API group \\\"\\\" in \
             the namespace \\\"{namespace}\\\""
        );
        CallError::from_answer(403, format!("{{\"message\":\"{message}\"}}").as_bytes())
    }

    const DELETE: Asked = ("delete", "pods", None);

    #[tokio::test(start_paused = true)]
    async fn a_right_is_missing_until_it_is_granted_where_it_was_missing() {
        let rights = Rights::default();
        let n = |rights: &Rights| rights.known().get(&DELETE).map_or(0, Places::len);
        rights.learn(DELETE, Some("a"), Err(&refusal("a")));
        rights.learn(DELETE, Some("b"), Err(&refusal("b")));
        assert_eq!(
            (n(&rights), rights.missing().len()),
            (2, 1),
            "one line for a verb and resource"
        );
        rights.learn(DELETE, Some("c"), Ok(()));
        rights.learn(("list", "pods", None), None, Ok(()));
        assert_eq!(n(&rights), 2, "allowed elsewhere is not allowed here");
        rights.learn(DELETE, Some("a"), Err(&CallError::Unreachable("down".into())));
        rights.learn(DELETE, Some("a"), Err(&CallError::from_answer(503, b"")));
        assert_eq!(n(&rights), 2, "no answer says nothing");
        rights.learn(DELETE, Some("a"), Err(&CallError::from_answer(404, b"")));
        assert_eq!(
            n(&rights),
            1,
            "who is told that it is not there might have looked"
        );
        rights.learn(DELETE, Some("b"), Ok(()));
        assert!(rights.missing().is_empty());
    }

    /// The server asks for one right before it asks for the next.
    #[tokio::test(start_paused = true)]
    async fn another_right_behind_the_same_request_is_missing_too() {
        let rights = Rights::default();
        let patch: Asked = ("patch", "persistentvolumeclaims", None);
        for message in [
            r#"x is forbidden: User \"u\" cannot patch resource \"persistentvolumeclaims\" in API group \"\" in the namespace \"a\""#,
            "persistentvolumeclaims \\\"x\\\" is forbidden: cannot set an ownerRef on a resource you can't delete: , <nil>",
        ] {
            let body = format!("{{\"message\":\"{message}\"}}");
            rights.learn(
                patch,
                Some("a"),
                Err(&CallError::from_answer(403, body.as_bytes())),
            );
        }
        let verbs: Vec<String> = rights.missing().into_iter().map(|right| right.verb).collect();
        assert_eq!(verbs, ["delete", "patch"]);
        rights.learn(patch, Some("a"), Ok(()));
        assert!(rights.missing().is_empty(), "who may patch lacks none of them");
    }

    #[tokio::test(start_paused = true)]
    async fn what_is_not_refused_any_more_is_forgotten() {
        let rights = Rights::default();
        rights.learn(DELETE, Some("a"), Err(&refusal("a")));
        tokio::time::advance(FORGET_AFTER).await;
        assert!(rights.missing().is_empty());
    }
}
