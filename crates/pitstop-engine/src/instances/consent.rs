//! Whether a pod can stay when it is updated, and what the owner of its node is told to expect: the annotation
//! `pitstop.io/upgrade-plan`, so that a hub need not read the workload.
//!
//! Source: hub.md B4.

use std::collections::BTreeMap;

use jiff::Timestamp;
use pitstop_api::fields;
use serde::Serialize;
use serde_json::{Value, json};

use super::history::{History, Target};
use super::in_flight::InFlight;
use crate::inplace::diff::DiffOptions;
use crate::inplace::{Live, UpdateSpec, Verdict, WhyRecreate, eligibility};

/// The longest plan that hubs read. Units: bytes. Source: hub.md B4.
const LONGEST: usize = 4096;

/// What becomes of this very pod, where a comparison of revisions says `verdict`.
///
/// # Errors
/// Why it has to be replaced.
pub(crate) fn stays<'v>(
    verdict: &'v Verdict,
    live: Live<'_>,
    target: &Target,
    in_flight: &InFlight,
    now: Timestamp,
) -> Result<&'v UpdateSpec, WhyRecreate> {
    match verdict {
        Verdict::Recreate(why) => Err(why.clone()),
        Verdict::InPlace(spec) => match in_flight.refused_resize(live.pod.uid, &target.name) {
            Some(message) if !spec.resources.is_empty() => {
                Err(WhyRecreate::ResizeRefused(message.to_owned()))
            }
            _ => eligibility(live, spec, now).map(|()| spec),
        },
    }
}

/// What pods of a workload may do when they are updated.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Policy {
    /// May they stay?
    pub(crate) may_stay: bool,
    /// Must they?
    pub(crate) must_stay: bool,
    /// What a comparison of revisions depends on.
    pub(crate) options: DiffOptions,
}

/// What the owners of nodes are told, for all pods of a workload.
#[derive(Debug)]
pub(crate) struct Offers<'h, 'a> {
    history: &'h History<'a>,
    policy: Policy,
    in_flight: &'h InFlight,
    now: Timestamp,
    in_place: String,
    recreate: String,
    by_revision: BTreeMap<String, Verdict>,
}

impl<'h, 'a> Offers<'h, 'a> {
    /// `hash`: the revision of the workload, as labels name it.
    pub(crate) fn new(
        history: &'h History<'a>,
        hash: &str,
        policy: Policy,
        in_flight: &'h InFlight,
        now: Timestamp,
    ) -> Self {
        let template = history.update.template();
        Self {
            history,
            policy,
            in_flight,
            now,
            in_place: text(hash, "InPlace", template),
            recreate: text(hash, "Recreate", template),
            by_revision: BTreeMap::new(),
        }
    }

    /// What becomes of a pod of this revision when its owner agrees; `None` where nothing would.
    pub(crate) fn of(&mut self, live: Live<'_>, revision: &str) -> Option<&str> {
        let Policy {
            may_stay,
            must_stay,
            options,
        } = self.policy;
        if !may_stay {
            return Some(&self.recreate);
        }
        if !self.by_revision.contains_key(revision) {
            let verdict = self.history.diff(revision, &self.history.update, options);
            self.by_revision.insert(revision.to_owned(), verdict);
        }
        let verdict = self.by_revision.get(revision)?;
        match stays(verdict, live, &self.history.update, self.in_flight, self.now) {
            Ok(_) => Some(&self.in_place),
            Err(_) if must_stay => None,
            Err(_) => Some(&self.recreate),
        }
    }
}

/// What an annotation says.
#[derive(Debug, Serialize)]
#[serde(rename_all = "camelCase")]
struct Plan<'t> {
    hash: &'t str,
    method: &'t str,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    images: Vec<Image<'t>>,
    #[serde(skip_serializing_if = "Vec::is_empty")]
    pull_secrets: Vec<&'t str>,
}

/// The image that a container will have.
#[derive(Debug, Serialize)]
struct Image<'t> {
    container: &'t str,
    image: &'t str,
}

/// The plan as an annotation; images are left out of one that were too long with them.
fn text(hash: &str, method: &str, template: &Value) -> String {
    let containers = ["/spec/initContainers", "/spec/containers"].map(|list| fields::list(template, list));
    let image = |container| Image {
        container: fields::text(container, "/name"),
        image: fields::text(container, "/image"),
    };
    let secrets = fields::list(template, "/spec/imagePullSecrets").iter();
    let mut plan = Plan {
        hash,
        method,
        images: containers.into_iter().flatten().map(image).collect(),
        pull_secrets: secrets.map(|secret| fields::text(secret, "/name")).collect(),
    };
    let whole = json!(plan).to_string();
    if whole.len() <= LONGEST {
        return whole;
    }
    (plan.images, plan.pull_secrets) = (Vec::new(), Vec::new());
    json!(plan).to_string()
}
