//! Controllers that are broken on purpose: each breaks one invariant, and has to be caught.

use bytes::Bytes;
use pitstop_api::keys;
use pitstop_controller::api::{Api, Call, CallError, Resource, Verb};
use serde_json::{Value, json};

/// What is wrong with a controller.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Mutant {
    /// Nothing.
    Sound,
    /// S1: it takes down more than it decided.
    ExceedsTheBudget,
    /// S2: it takes down what is up to date.
    TouchesTheFinished,
    /// S3: it takes down what is on a node that is away.
    TouchesLostNodes,
    /// S4: where one owner agreed, it upgrades the others' pods as well.
    AsksNobody,
    /// S7: it takes down what is not its own.
    TouchesStrangers,
    /// S8: it makes two of each.
    MakesTwo,
    /// L1: it says that it did what it did not.
    OnlyPretends,
    /// L1: it is never done.
    NeverRests,
}

impl Mutant {
    /// Those that are broken, with the invariant that each breaks.
    pub(crate) const BROKEN: [(Self, &str); 8] = [
        (Self::ExceedsTheBudget, "S1"),
        (Self::TouchesTheFinished, "S2"),
        (Self::TouchesLostNodes, "S3"),
        (Self::AsksNobody, "S4"),
        (Self::TouchesStrangers, "S7"),
        (Self::MakesTwo, "S8"),
        (Self::OnlyPretends, "L1"),
        (Self::NeverRests, "L1"),
    ];

    /// An answer without the deed.
    pub(crate) fn pretends(self, call: &Call) -> Option<Result<Bytes, CallError>> {
        let is_deletion = (call.verb, call.resource) == (Verb::Delete, Resource::Pods);
        (self == Self::OnlyPretends && is_deletion).then(|| {
            let uid = &call.body.as_ref().unwrap_or(&Value::Null)["preconditions"]["uid"];
            Ok(json!({"kind": "Pod", "metadata": {"uid": uid}})
                .to_string()
                .into())
        })
    }

    /// What it does beside a call that was carried out.
    pub(crate) async fn adds(self, call: &Call, answer: &[u8], api: &dyn Api) -> Vec<Call> {
        match (self, call.verb, call.resource) {
            (Self::MakesTwo, Verb::Create, Resource::Pods) => {
                let mut twin = call.clone();
                if let Some(body) = &mut twin.body {
                    let name = body["metadata"]["name"].as_str().unwrap_or_default();
                    body["metadata"]["name"] = json!(format!("{name}-twin"));
                }
                vec![twin]
            }
            (Self::NeverRests, _, Resource::Leases) => {
                let note =
                    json!({"metadata": {"annotations": {"example.com/seen": answer.len().to_string()}}});
                let name = crate::story::NAME;
                let touch = Call::object(Verb::MergePatch, Resource::DaemonSets, Some("default"), name);
                vec![touch.with_body(note)]
            }
            (_, Verb::Delete, Resource::Pods) if self != Self::Sound => {
                let deleted: Value = serde_json::from_slice(answer).unwrap_or_default();
                let list = Call::collection(Verb::List, Resource::Pods, Some("default"));
                let pods = api.send(list).await.unwrap_or_default();
                let pods: Value = serde_json::from_slice(&pods).unwrap_or_default();
                let pods = pods["items"].as_array().cloned().unwrap_or_default();
                let more = pods.iter().filter(|pod| self.takes(pod, &deleted));
                more.map(|pod| {
                    let name = pod["metadata"]["name"].as_str().unwrap_or_default();
                    let more = Call::object(Verb::Delete, Resource::Pods, Some("default"), name);
                    // As carefully as the controller itself.
                    let version = &pod["metadata"]["resourceVersion"];
                    more.with_body(json!({ "preconditions": { "resourceVersion": version } }))
                })
                .collect()
            }
            _ => Vec::new(),
        }
    }

    /// Does it take down this pod as well?
    fn takes(self, pod: &Value, deleted: &Value) -> bool {
        let hash = |pod: &Value| pod["metadata"]["labels"][keys::REVISION_HASH].clone();
        let is_stranger = pod["metadata"]["name"] == crate::story::STRANGER;
        if !pod["metadata"]["deletionTimestamp"].is_null() || is_stranger != (self == Self::TouchesStrangers)
        {
            return false;
        }
        let is_ready = crate::objects::is_ready(pod);
        match self {
            Self::ExceedsTheBudget | Self::AsksNobody => is_ready && hash(pod) == hash(deleted),
            Self::TouchesTheFinished => is_ready && hash(pod) != hash(deleted),
            Self::TouchesLostNodes => !is_ready,
            Self::TouchesStrangers => true,
            Self::Sound | Self::MakesTwo | Self::OnlyPretends | Self::NeverRests => false,
        }
    }
}
