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
    /// S5: where one pod is updated, it marks all others to be replaced as well.
    IgnoresThePartition,
    /// S5: it reads StatefulSets without their partition.
    OverlooksThePartition,
    /// S5: it reads StatefulSets without how many of their pods have to work.
    OverlooksTheLeast,
    /// S5: it reads StatefulSets as if pods that are too many went although they work.
    OverlooksSurplus,
    /// S5: it reads StatefulSets as if updates were blocked for a second only.
    ForcesEarly,
    /// S5: it believes for ever what an arbiter said.
    BelievesForEver,
    /// S5: it reads StatefulSets without which pods go first.
    OverlooksPriorities,
    /// S5: it disrupts pods that the arbiter has not granted.
    OverlooksGrants,
    /// S5: it reads StatefulSets as if claims grew with their pods' deletion.
    OverlooksGrowth,
    /// S5: it replaces pods although the rollout is paused.
    IgnoresThePause,
    /// S5: it deletes pods whose hook it has only just asked.
    IgnoresHooks,
    /// S5: where one pod is replaced, it replaces those that work as well.
    IgnoresWork,
    /// S5: it writes over what has changed since it looked.
    WritesBlindly,
    /// S5: with one pod it makes the next one.
    IgnoresTheOrder,
    /// S6: it replaces what it has updated in place.
    ReplacesAnyway,
    /// S8: it deletes claims of pods that are there.
    LosesClaims,
    /// L1: it says that it did what it did not.
    OnlyPretends,
    /// L1: it is never done.
    NeverRests,
}

/// A broken controller, the invariant that it breaks, and the seed that is tried first: the first of all that showed it
/// when it was measured. If that seed's story has changed since, others are tried.
pub(crate) type Broken = (Mutant, &'static str, u64);

impl Mutant {
    /// Those that are broken with DaemonSets.
    pub(crate) const BROKEN: [Broken; 10] = [
        (Self::ExceedsTheBudget, "S1", 0),
        (Self::TouchesTheFinished, "S2", 0),
        (Self::TouchesLostNodes, "S3", 0),
        (Self::AsksNobody, "S4", 7),
        (Self::IgnoresThePause, "S5", 2),
        (Self::IgnoresWork, "S5", 2),
        (Self::TouchesStrangers, "S7", 0),
        (Self::MakesTwo, "S8", 0),
        (Self::OnlyPretends, "L1", 0),
        (Self::NeverRests, "L1", 0),
    ];

    /// Those that are broken with DaemonSets of `apps.kruise.io`.
    pub(crate) const BROKEN_WITH_KRUISE: [Broken; 7] = [
        (Self::ExceedsTheBudget, "S1", 0),
        (Self::TouchesTheFinished, "S2", 0),
        (Self::IgnoresThePause, "S5", 0),
        (Self::TouchesStrangers, "S7", 0),
        (Self::MakesTwo, "S8", 0),
        (Self::OnlyPretends, "L1", 0),
        (Self::NeverRests, "L1", 0),
    ];

    /// Those that are broken with CloneSets.
    pub(crate) const BROKEN_WITH_CLONESETS: [Broken; 10] = [
        (Self::ExceedsTheBudget, "S1", 0),
        (Self::TouchesTheFinished, "S2", 2),
        (Self::IgnoresThePartition, "S5", 0),
        (Self::IgnoresHooks, "S5", 10),
        (Self::ReplacesAnyway, "S6", 5),
        (Self::TouchesStrangers, "S7", 0),
        (Self::MakesTwo, "S8", 0),
        (Self::LosesClaims, "S8", 4),
        (Self::OnlyPretends, "L1", 0),
        (Self::NeverRests, "L1", 0),
    ];

    /// Those that are broken with StatefulSets.
    pub(crate) const BROKEN_WITH_STATEFULSETS: [Broken; 20] = [
        (Self::ExceedsTheBudget, "S1", 0),
        (Self::TouchesTheFinished, "S2", 2),
        (Self::OverlooksThePartition, "S5", 5),
        (Self::OverlooksTheLeast, "S5", 1),
        (Self::OverlooksSurplus, "S5", 12),
        (Self::ForcesEarly, "S5", 7),
        (Self::BelievesForEver, "S5", 23),
        (Self::OverlooksPriorities, "S5", 10),
        (Self::OverlooksGrants, "S5", 3),
        (Self::OverlooksGrowth, "S5", 9),
        (Self::IgnoresHooks, "S5", 0),
        (Self::IgnoresWork, "S5", 4),
        (Self::WritesBlindly, "S5", 7),
        (Self::IgnoresTheOrder, "S5", 5),
        (Self::ReplacesAnyway, "S6", 15),
        (Self::TouchesStrangers, "S7", 0),
        (Self::MakesTwo, "S8", 0),
        (Self::LosesClaims, "S8", 4),
        (Self::OnlyPretends, "L1", 0),
        (Self::NeverRests, "L1", 0),
    ];

    /// Does it show only in what is left undone, or is done without end?
    pub(crate) fn shows_in_calm(self) -> bool {
        matches!(self, Self::Sound | Self::OnlyPretends | Self::NeverRests)
    }

    /// What it makes of an object, a list or an event that it reads.
    pub(crate) fn reads(self, resource: Resource, read: Bytes) -> Bytes {
        let (field, misread) = match self {
            _ if resource != Resource::StatefulSets => return read,
            Self::OverlooksThePartition => ("partition", Value::Null),
            Self::OverlooksTheLeast => ("minProtected", json!(0)),
            Self::OverlooksSurplus => ("onScaleDown", json!("Delete")),
            Self::ForcesEarly => ("deadlineSeconds", json!(1)),
            Self::BelievesForEver => ("staleAfterSeconds", json!(3_600)),
            Self::OverlooksPriorities => ("priorityStrategy", Value::Null),
            Self::OverlooksGrants => ("claim", json!(false)),
            Self::OverlooksGrowth => ("volumeClaimUpdateStrategy", Value::Null),
            _ => return read,
        };
        let mut value: Value = serde_json::from_slice(&read).unwrap_or_default();
        set_all(&mut value, field, &misread);
        if self == Self::BelievesForEver {
            set_all(&mut value, "failureThreshold", &json!(1_000));
        }
        value.to_string().into()
    }

    /// The call as it sends it.
    pub(crate) fn alters(self, mut call: Call) -> Call {
        if self == Self::WritesBlindly
            && call.resource == Resource::Pods
            && let Some(body) = &mut call.body
        {
            for part in ["/preconditions", "/metadata"] {
                let fields = body.pointer_mut(part).and_then(Value::as_object_mut);
                fields.and_then(|fields| fields.remove("resourceVersion"));
            }
        }
        call
    }

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
        let body = call.body.as_ref();
        match (self, call.verb, call.resource) {
            (Self::Sound, ..) => Vec::new(),
            (Self::MakesTwo, Verb::Create, Resource::Pods) => {
                let mut twin = call.clone();
                if let Some(body) = &mut twin.body {
                    let name = body["metadata"]["name"].as_str().unwrap_or_default();
                    body["metadata"]["name"] = json!(format!("{name}-twin"));
                }
                vec![twin]
            }
            (Self::IgnoresTheOrder, Verb::Create, Resource::Pods) => next_of(call).into_iter().collect(),
            (Self::NeverRests, _, Resource::Leases) => {
                let note =
                    json!({"metadata": {"annotations": {"example.com/seen": answer.len().to_string()}}});
                // Only one of them is there.
                [
                    (Resource::DaemonSets, crate::story::NAME),
                    (Resource::AdvancedDaemonSets, crate::story::NAME),
                    (Resource::CloneSets, crate::instances::NAME),
                    (Resource::StatefulSets, crate::instances::NAME),
                ]
                .map(|(kind, name)| {
                    Call::object(Verb::MergePatch, kind, Some("default"), name).with_body(note.clone())
                })
                .into()
            }
            (Self::IgnoresThePause, _, Resource::Leases) => replaced_while_paused(api).await,
            (Self::IgnoresHooks, Verb::StrategicPatch, Resource::Pods) => {
                let asks = body.is_some_and(|body| {
                    body["metadata"]["labels"][keys::LIFECYCLE_STATE] == "PreparingDelete"
                });
                let name = call.name.as_deref().unwrap_or_default();
                let deletion = Call::object(Verb::Delete, Resource::Pods, Some("default"), name);
                asks.then_some(deletion).into_iter().collect()
            }
            (_, Verb::Delete, Resource::Pods) => self.adds_to_a_replacement(answer, api).await,
            (_, Verb::StrategicPatch, Resource::Pods)
                if body.is_some_and(|body| body.pointer("/spec/containers").is_some()) =>
            {
                self.adds_to_a_replacement(answer, api).await
            }
            _ => Vec::new(),
        }
    }

    /// What it does beside a pod that was replaced, or updated in place.
    async fn adds_to_a_replacement(self, answer: &[u8], api: &dyn Api) -> Vec<Call> {
        let touched: Value = serde_json::from_slice(answer).unwrap_or_default();
        let kind = if self == Self::LosesClaims {
            Resource::Claims
        } else {
            Resource::Pods
        };
        let list = api
            .send(Call::collection(Verb::List, kind, Some("default")))
            .await;
        let list: Value = serde_json::from_slice(&list.unwrap_or_default()).unwrap_or_default();
        let objects = list["items"].as_array().into_iter().flatten();
        let more = objects.filter(|object| self.takes(object, &touched));
        more.map(|object| {
            let name = object["metadata"]["name"].as_str().unwrap_or_default();
            if self == Self::IgnoresThePartition {
                let mark = json!({"metadata": {"labels": {(keys::SPECIFIED_DELETE): "true"}}});
                return Call::object(Verb::StrategicPatch, kind, Some("default"), name).with_body(mark);
            }
            let more = Call::object(Verb::Delete, kind, Some("default"), name);
            // As carefully as the controller itself.
            let version = &object["metadata"]["resourceVersion"];
            more.with_body(json!({ "preconditions": { "resourceVersion": version } }))
        })
        .collect()
    }

    /// Does it touch this object as well?
    fn takes(self, object: &Value, touched: &Value) -> bool {
        let hash = |pod: &Value| pod["metadata"]["labels"][keys::REVISION_HASH].clone();
        let is_stranger = object["metadata"]["name"] == crate::stage::STRANGER;
        let is_going = !object["metadata"]["deletionTimestamp"].is_null();
        if is_going || is_stranger != (self == Self::TouchesStrangers) {
            return false;
        }
        let is_ready = crate::objects::is_ready(object);
        let is_replaced = !touched["metadata"]["deletionTimestamp"].is_null();
        match self {
            Self::ExceedsTheBudget | Self::AsksNobody if is_replaced => {
                is_ready && hash(object) == hash(touched)
            }
            Self::ExceedsTheBudget | Self::AsksNobody => is_ready,
            // Not what is up to date, or it would be replaced without end.
            Self::IgnoresThePartition => is_ready && (hash(object) == hash(touched)) == is_replaced,
            // What is updated in place has its new revision already.
            Self::TouchesTheFinished => is_ready && (hash(object) != hash(touched)) == is_replaced,
            Self::IgnoresWork => is_ready && object["metadata"]["labels"][crate::instances::WORKS] == "true",
            Self::TouchesLostNodes => !is_ready,
            Self::ReplacesAnyway => !is_replaced && object["metadata"]["uid"] == touched["metadata"]["uid"],
            Self::TouchesStrangers | Self::LosesClaims => true,
            Self::Sound
            | Self::MakesTwo
            | Self::IgnoresThePause
            | Self::IgnoresHooks
            | Self::WritesBlindly
            | Self::OverlooksThePartition
            | Self::OverlooksTheLeast
            | Self::OverlooksSurplus
            | Self::ForcesEarly
            | Self::BelievesForEver
            | Self::OverlooksPriorities
            | Self::OverlooksGrants
            | Self::OverlooksGrowth
            | Self::IgnoresTheOrder
            | Self::OnlyPretends
            | Self::NeverRests => false,
        }
    }
}

/// Gives all fields of this name another value in what was read, or takes them out.
fn set_all(value: &mut Value, field: &str, to: &Value) {
    match value {
        Value::Object(fields) => {
            if to.is_null() {
                fields.remove(field);
            } else if let Some(old) = fields.get_mut(field) {
                *old = to.clone();
            }
            fields.values_mut().for_each(|value| set_all(value, field, to));
        }
        Value::Array(items) => items.iter_mut().for_each(|value| set_all(value, field, to)),
        _ => {}
    }
}

/// The call that makes the pod with the next ordinal.
fn next_of(call: &Call) -> Option<Call> {
    let mut next = call.clone();
    let body = next.body.as_mut()?;
    let (set, ordinal) = body["metadata"]["name"].as_str()?.rsplit_once('-')?;
    let name = format!("{set}-{}", ordinal.parse::<u32>().ok()? + 1);
    body["metadata"]["name"] = json!(name);
    body["metadata"]["labels"][keys::STATEFUL_POD_NAME] = json!(name);
    Some(next)
}

/// The deletion of a pod that is outdated and Ready, while its DaemonSet is paused.
async fn replaced_while_paused(api: &dyn Api) -> Vec<Call> {
    let read = async |call: Call| -> Value {
        let answer = api.send(call).await.unwrap_or_default();
        serde_json::from_slice(&answer).unwrap_or_default()
    };
    let name = crate::story::NAME;
    let mut daemonset = Value::Null;
    for kind in [Resource::DaemonSets, Resource::AdvancedDaemonSets] {
        let one = read(Call::object(Verb::Get, kind, Some("default"), name)).await;
        if one.is_object() {
            daemonset = one;
        }
    }
    let is_paused = daemonset["metadata"]["annotations"][keys::PAUSED] == "true"
        || daemonset["spec"]["updateStrategy"]["rollingUpdate"]["paused"] == true;
    if !is_paused {
        return Vec::new();
    }
    let image = "/spec/containers/0/image";
    let wanted = daemonset["spec"]["template"].pointer(image);
    let list = read(Call::collection(Verb::List, Resource::Pods, Some("default"))).await;
    let mut pods = list["items"].as_array().into_iter().flatten();
    let outdated = pods.find(|pod| {
        let is_ours = pod["metadata"]["labels"]["app"] == name;
        is_ours && pod.pointer(image) != wanted && crate::objects::is_ready(pod)
    });
    let deletion = outdated.map(|pod| {
        let name = pod["metadata"]["name"].as_str().unwrap_or_default();
        let version = &pod["metadata"]["resourceVersion"];
        Call::object(Verb::Delete, Resource::Pods, Some("default"), name)
            .with_body(json!({ "preconditions": { "resourceVersion": version } }))
    });
    deletion.into_iter().collect()
}
