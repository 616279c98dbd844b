//! Which upgrade model a DaemonSet asks for, and what is malformed about the way it asks.
//!
//! Source: daemonset.md C1, C2.

use std::borrow::Cow;

use pitstop_api::view::{DaemonSetView, StrategyType};
use pitstop_api::{IntOrPercent, keys, reasons};

use crate::ota;
use crate::plan::Event;

/// An upgrade model.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Model {
    /// `spec.updateStrategy` alone decides.
    Native,
    /// Nodes that are not ready are passed over.
    AdvancedRollingUpdate,
    /// The owner of the node decides.
    Ota,
    /// A model is asked for in a way that cannot be followed: nothing is done.
    Invalid,
}

/// The model, and what to tell the user about it.
#[derive(Debug, Clone, PartialEq)]
pub struct Reading {
    /// The model.
    pub model: Model,
    /// Warnings about how it is written.
    pub events: Vec<Event>,
}

/// Reads the annotations of a DaemonSet.
///
/// Both must hold for a model: `spec.updateStrategy.type` is OnDelete, and the annotation names one. Case and blanks
/// around it do not matter, and `auto` is `AdvancedRollingUpdate`. Source: daemonset.md C1.
pub fn read(daemonset: &DaemonSetView) -> Reading {
    let mut events = Vec::new();
    if daemonset
        .annotations
        .contains_key(keys::OPENYURT_UPGRADE_STRATEGY_TYPO)
    {
        events.push(warning(
            daemonset,
            reasons::INVALID_ANNOTATION,
            keys::OPENYURT_UPGRADE_STRATEGY_TYPO,
            format!(
                "annotation {} has no effect: the key is {}",
                keys::OPENYURT_UPGRADE_STRATEGY_TYPO,
                keys::OPENYURT_UPDATE_STRATEGY
            ),
        ));
    }
    let Some(written) = daemonset.annotations.get(keys::OPENYURT_UPDATE_STRATEGY) else {
        return Reading {
            model: Model::Native,
            events,
        };
    };
    let value = written.trim();
    let is = |name: &str| value.eq_ignore_ascii_case(name);
    let is_on_delete = daemonset.strategy.kind == StrategyType::OnDelete;
    let named = if is("AdvancedRollingUpdate") || is("auto") {
        Model::AdvancedRollingUpdate
    } else if ota::is_ota(written) {
        Model::Ota
    } else {
        events.push(unknown(daemonset, written, is_on_delete));
        let model = if is_on_delete {
            Model::Invalid
        } else {
            Model::Native
        };
        return Reading { model, events };
    };
    if !is_on_delete {
        events.push(not_on_delete(daemonset, written));
        return Reading {
            model: Model::Native,
            events,
        };
    }
    if is("auto") {
        events.push(Event {
            is_warning: false,
            reason: reasons::STRATEGY_ALIAS,
            message: Cow::Owned(format!("{written:?} is read as AdvancedRollingUpdate")),
            once_per: Some(once_per(daemonset, written)),
        });
    }
    Reading { model: named, events }
}

fn unknown(daemonset: &DaemonSetView, written: &str, is_on_delete: bool) -> Event {
    let consequence = if is_on_delete {
        "no pod is touched"
    } else {
        "the native strategy decides"
    };
    let message = format!(
        "annotation {}: {written:?} is not an upgrade model; accepted are AdvancedRollingUpdate, auto and OTA; {consequence}",
        keys::OPENYURT_UPDATE_STRATEGY
    );
    warning(daemonset, reasons::INVALID_UPDATE_STRATEGY, written, message)
}

fn not_on_delete(daemonset: &DaemonSetView, written: &str) -> Event {
    let message = format!(
        "annotation {}: {written:?} needs spec.updateStrategy.type OnDelete; without it the native strategy decides",
        keys::OPENYURT_UPDATE_STRATEGY
    );
    warning(
        daemonset,
        reasons::UPDATE_STRATEGY_NOT_ON_DELETE,
        written,
        message,
    )
}

/// The warning for a `max-unavailable` that does not parse.
pub(super) fn invalid_max_unavailable(daemonset: &DaemonSetView, given: &str) -> Event {
    warning(
        daemonset,
        reasons::INVALID_ANNOTATION,
        given,
        format!(
            "annotation {}: {given:?} is not {}; no pod is touched until it is mended",
            keys::OPENYURT_MAX_UNAVAILABLE,
            IntOrPercent::ACCEPTED
        ),
    )
}

/// The warning for a `max-unavailable` of zero, which counts as the default.
pub(super) fn zero_max_unavailable(daemonset: &DaemonSetView, given: &str, used: u32) -> Event {
    warning(
        daemonset,
        reasons::MAX_UNAVAILABLE_IGNORED,
        given,
        format!(
            "annotation {}: {given:?} counts as the default of 10%, here {used}",
            keys::OPENYURT_MAX_UNAVAILABLE
        ),
    )
}

fn warning(daemonset: &DaemonSetView, reason: &'static str, value: &str, message: String) -> Event {
    Event {
        is_warning: true,
        reason,
        message: Cow::Owned(message),
        once_per: Some(once_per(daemonset, value)),
    }
}

/// Once for each generation and value. Source: daemonset.md, Better than upstream 2.
fn once_per(daemonset: &DaemonSetView, value: &str) -> String {
    format!("{}/{value}", daemonset.generation)
}
