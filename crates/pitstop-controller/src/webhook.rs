//! Admission and conversion of the kinds that pitstop brings.
//!
//! [`Webhooks`] answers reviews; who carries them here does not matter: a server, or an API server of the same process.
//! The rules are `pitstop_api`'s and pure. Only pods that somebody asks to have deleted or evicted are looked up, and the
//! classes of storage of claims that are to grow.

use std::sync::Arc;

use pitstop_api::fields::text;
use pitstop_api::image_pull::definition::{MUTATE_PATHS, VALIDATE_PATHS};
use pitstop_api::kruise::definition::CONVERT_PATH;
use pitstop_api::statefulset::defaults::Gates;
use pitstop_api::{cloneset as clonesets, daemonset as daemonsets, statefulset as statefulsets};
use serde_json::Value;

use crate::api::Api;
use review::{Admission, ReviewError, Verdict};

mod certificate;
mod cloneset;
mod daemonset;
mod eviction;
mod image_pull;
mod keeper;
mod review;
mod serve;
pub mod server;
mod statefulset;

/// Name of the service in front of the webhooks.
pub const SERVICE: &str = "pitstop-webhook";
/// Name of the Secret that keeps the certificate.
pub const SECRET: &str = "pitstop-webhook";
/// Name of the webhook configurations.
pub const CONFIGURATION: &str = "pitstop-webhooks";

/// Answers the reviews that an API server sends.
#[derive(Clone)]
pub struct Webhooks {
    api: Arc<dyn Api>,
    resizes_in_place: bool,
    gates: Gates,
}

impl Webhooks {
    /// `api` is asked for pods and classes of storage. `resizes_in_place`: does the cluster change the resources of running
    /// containers?
    pub fn new(api: Arc<dyn Api>, resizes_in_place: bool) -> Self {
        Self {
            api,
            resizes_in_place,
            gates: Gates::default(),
        }
    }

    /// With what the administrator has decided.
    #[must_use]
    pub fn with_gates(self, gates: Gates) -> Self {
        Self { gates, ..self }
    }

    /// The answer to a review that was sent to a path; `None` when nothing is there.
    ///
    /// What cannot be read is refused with code 400; whoever sent it is told why.
    pub async fn answer(&self, path: &str, review: &Value) -> Option<Value> {
        let verdict = match path {
            CONVERT_PATH => return Some(convert(review)),
            clonesets::definition::MUTATE_PATH => {
                Admission::read(review).map(|admission| cloneset::mutate(&admission, self.gates))
            }
            daemonsets::definition::MUTATE_PATH => {
                Admission::read(review).map(|admission| daemonset::mutate(&admission))
            }
            daemonsets::definition::VALIDATE_PATH => {
                Admission::read(review).map(|admission| daemonset::validate(&admission))
            }
            statefulsets::definition::MUTATE_PATH => {
                Admission::read(review).map(|admission| statefulset::mutate(&admission, self.gates))
            }
            statefulsets::definition::VALIDATE_PATH => match Admission::read(review) {
                Ok(admission) => Ok(self.judge_statefulset(&admission).await),
                Err(error) => Err(error),
            },
            statefulsets::definition::EVICTION_PATH => match Admission::read(review) {
                Ok(admission) => Ok(Box::pin(eviction::judge(self.api.as_ref(), &admission)).await),
                Err(error) => Err(error),
            },
            path if MUTATE_PATHS.contains(&path) => {
                Admission::read(review).map(|admission| image_pull::mutate(&admission))
            }
            path if VALIDATE_PATHS.contains(&path) => {
                Admission::read(review).map(|admission| image_pull::validate(&admission))
            }
            clonesets::definition::VALIDATE_PATH => match Admission::read(review) {
                Ok(admission) => Ok(self.judge(&admission).await),
                Err(error) => Err(error),
            },
            _ => return None,
        };
        let verdict = verdict.unwrap_or_else(|ReviewError(why)| Verdict::undecodable(why));
        Some(verdict.to_review(review))
    }

    async fn judge_statefulset(&self, admission: &Admission<'_>) -> Verdict {
        let api = self.api.as_ref();
        statefulset::validate(api, admission, self.gates, self.resizes_in_place).await
    }

    async fn judge(&self, admission: &Admission<'_>) -> Verdict {
        let pods = cloneset::pods(self.api.as_ref(), admission).await;
        cloneset::validate(admission, pods, self.gates, self.resizes_in_place)
    }
}

/// Converts all objects of a review; one that cannot be converted spoils it.
fn convert(review: &Value) -> Value {
    let converted = review::objects_to_convert(review).and_then(|(objects, wanted)| {
        let known = |object: &Value| match text(object, "/kind") {
            daemonsets::KIND => daemonsets::conversion::convert(object.clone(), wanted),
            statefulsets::KIND => statefulsets::conversion::convert(object.clone(), wanted),
            _ => clonesets::conversion::convert(object.clone(), wanted),
        };
        let all: Result<Vec<Value>, _> = objects.iter().map(known).collect();
        all.map_err(|error| ReviewError(error.to_string()))
    });
    review::converted(review, converted)
}

#[cfg(test)]
mod tests;
