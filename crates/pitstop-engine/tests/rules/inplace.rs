//! Update in place: the worked examples of inplace.md 12.1 to 12.5, and its section 13.

use jiff::Timestamp;
use pitstop_api::selector::Labels;
use pitstop_api::view::PodView;
use pitstop_engine::availability::{available_at, is_available};
use pitstop_engine::inplace::diff::DiffOptions;
use pitstop_engine::inplace::hash::{container_hash, hash_json};
use pitstop_engine::inplace::readiness::needs_unready;
use pitstop_engine::inplace::state::{GraceState, UpdateState};
use pitstop_engine::inplace::{
    Change, Completion, Endpoint, Features, Live, Pending, Stage, UpdateSpec, Verdict, Version, WhyRecreate,
    begin, completion, diff, eligibility, refresh,
};
use serde_json::{Value, json};

use crate::cluster::at;
use crate::live::LivePod;

#[path = "inplace/model.rs"]
mod model;
#[path = "inplace/progress.rs"]
mod progress;
#[path = "inplace/tables.rs"]
mod tables;

/// What the cluster allows in most tests.
pub(crate) const PLAIN: Features = Features {
    env_from_metadata: true,
    vertical_scaling: false,
    recreate_on_claim_change: false,
};
/// The same, and resources change in place.
pub(crate) const SCALING: Features = Features {
    vertical_scaling: true,
    ..PLAIN
};

/// A template that is `web` with these containers: `c1=foo1`.
pub(crate) fn template(containers: &[&str]) -> Value {
    let containers: Vec<Value> = containers
        .iter()
        .map(|text| {
            let (name, image) = text.split_once('=').unwrap();
            json!({ "name": name, "image": image })
        })
        .collect();
    json!({ "metadata": { "labels": { "app": "web" } }, "spec": { "containers": containers } })
}

pub(crate) fn data(template: &Value) -> Value {
    let mut template = template.clone();
    template["$patch"] = json!("replace");
    json!({ "spec": { "template": template } })
}

/// The comparison of two templates.
pub(crate) fn compare(old: &Value, new: &Value, features: Features) -> Verdict {
    let none = Labels::new();
    let (old, new) = (data(old), data(new));
    let version = |name, data| Version {
        name,
        data,
        annotations: &none,
    };
    let options = DiffOptions {
        features,
        ..DiffOptions::default()
    };
    diff(Some(version("web-old", &old)), version("web-new", &new), options)
}

/// The update between two templates, which is possible in place.
pub(crate) fn update(old: &Value, new: &Value, features: Features) -> UpdateSpec {
    match compare(old, new, features) {
        Verdict::InPlace(spec) => spec,
        Verdict::Recreate(why) => panic!("{why}"),
    }
}

/// An update of images.
pub(crate) fn images(pairs: &[(&str, &str)]) -> UpdateSpec {
    UpdateSpec {
        revision: "web-new".into(),
        images: pairs.iter().map(|(c, i)| ((*c).into(), (*i).into())).collect(),
        ..UpdateSpec::default()
    }
}

/// Begins an update of a pod, and carries its requests out.
pub(crate) fn begin_on(pod: &mut LivePod, spec: &UpdateSpec, features: Features, seconds: i64) -> Change {
    let view = pod.view();
    let mut change = begin(Live::of(&view).unwrap(), spec, features, at(seconds));
    change.label("controller-revision-hash", &spec.revision);
    pod.apply(&change, seconds);
    change
}

/// Refreshes a pod, and carries the requests out.
pub(crate) fn refresh_on(pod: &mut LivePod, features: Features, seconds: i64) -> Stage {
    let view = pod.view();
    let refreshed = refresh(Live::of(&view).unwrap(), None, features, at(seconds));
    pod.apply(&refreshed.change, seconds);
    refreshed.stage
}

/// How far the update of a pod is.
pub(crate) fn completion_of(pod: &LivePod, features: Features, seconds: i64) -> Completion {
    let view = pod.view();
    completion(Live::of(&view).unwrap(), features, at(seconds))
}

/// What it waits for, in words.
pub(crate) fn waits_for(pod: &LivePod, features: Features, seconds: i64) -> String {
    match completion_of(pod, features, seconds) {
        Completion::Done => "done".into(),
        Completion::Waiting { why, .. } => why.to_string(),
        Completion::Impossible(why) => format!("impossible: {why}"),
    }
}

fn live(view: &PodView) -> Live<'_> {
    Live::of(view).unwrap()
}

fn seconds(text: &Value) -> Timestamp {
    text.as_str().unwrap().parse().unwrap()
}
