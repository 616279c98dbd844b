//! Rules of `spec.updateStrategy`.

use std::collections::BTreeSet;

use serde_json::Value;

use super::amount;
use crate::cloneset::Version;
use crate::fields::{integer, list, text};
use crate::kruise::validation::{pre_download, priority};
use crate::validate::FieldError;

/// What pods can be updated by.
const POLICIES: [&str; 3] = ["InPlaceIfPossible", "InPlaceOnly", "ReCreate"];

pub(super) fn errors(object: &Value, version: Version) -> Vec<FieldError> {
    let mut errors = Vec::new();
    let kind = text(object, "/spec/updateStrategy/type");
    let kinds: &[&str] = match version {
        Version::V1alpha1 => &["InPlaceIfPossible", "InPlaceOnly", "OnDelete", "ReCreate"],
        Version::V1beta1 => &["OnDelete", "RollingUpdate"],
    };
    // v1beta1 lets it be absent, as upstream; v1alpha1 has it from its defaults.
    let is_absent = kind.is_empty() && version == Version::V1beta1;
    if !is_absent && !kinds.contains(&kind) {
        errors.push(FieldError::not_supported("spec.updateStrategy.type", kind, kinds));
    }
    let Some(rolling) = object
        .pointer(version.rolling())
        .filter(|rolling| rolling.is_object())
    else {
        return errors;
    };
    let path = version.rolling_path();
    let policy = text(rolling, &format!("/{}", version.policy()));
    if version == Version::V1beta1 && !policy.is_empty() && !POLICIES.contains(&policy) {
        errors.push(FieldError::not_supported(
            format!("{path}.podUpdatePolicy"),
            policy,
            &POLICIES,
        ));
    }
    errors.extend(amounts(object, rolling, version));
    errors.extend(priority(rolling, path));
    errors.extend(scatter(rolling, path));
    errors.extend(pre_download(rolling, path));
    errors
}

/// `partition`, `maxSurge` and `maxUnavailable`.
fn amounts(object: &Value, rolling: &Value, version: Version) -> Vec<FieldError> {
    let replicas = integer(object, "/spec/replicas").unwrap_or(1);
    let replicas = u32::try_from(replicas).unwrap_or_default();
    let path = version.rolling_path();
    let mut errors = Vec::new();
    let mut scaled = |name: &str, is_optional: bool| {
        let written = rolling.get(name).filter(|value| !value.is_null());
        if is_optional && written.is_none() {
            return Some(0);
        }
        let number = amount(written, &format!("{path}.{name}"), name, replicas);
        number.map_err(|error| errors.push(error)).ok()
    };
    scaled("partition", false);
    let unavailable = scaled("maxUnavailable", false);
    let surge = scaled("maxSurge", true);
    let is_in_place_only = text(rolling, &format!("/{}", version.policy())) == "InPlaceOnly";
    if is_in_place_only && surge.is_some_and(|surge| surge > 0) {
        let name = match version {
            Version::V1alpha1 => "strategy type",
            Version::V1beta1 => "podUpdatePolicy",
        };
        let why = format!("can not use maxSurge with {name} InPlaceOnly");
        let value = rolling.get("maxSurge").cloned().unwrap_or_default();
        errors.push(FieldError::invalid(format!("{path}.maxSurge"), value, why));
    }
    if replicas > 0 && unavailable == Some(0) && surge == Some(0) {
        let why = "maxUnavailable and maxSurge should not both be less than 1";
        let value = rolling.get("maxUnavailable").cloned().unwrap_or_default();
        errors.push(FieldError::invalid(format!("{path}.maxUnavailable"), value, why));
    }
    errors
}

/// `scatterStrategy`: the first thing that is wrong with it, as upstream.
fn scatter(rolling: &Value, path: &str) -> Option<FieldError> {
    let mut seen = BTreeSet::new();
    let problem = list(rolling, "/scatterStrategy").iter().find_map(|term| {
        let (key, value) = (text(term, "/key"), text(term, "/value"));
        if key.is_empty() {
            return Some("key should not be empty".to_owned());
        }
        (!seen.insert((key, value))).then(|| format!("duplicated key={key} value={value}"))
    })?;
    Some(FieldError::required(format!("{path}.scatterStrategy"), problem))
}
