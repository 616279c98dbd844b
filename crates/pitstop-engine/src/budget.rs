//! How many pods may be unavailable, or surplus, at once. One implementation for all kinds.

use pitstop_api::IntOrPercent;
use pitstop_api::int_or_percent::ParseIntOrPercentError;
use serde_json::Value;

/// `rollingUpdate.maxUnavailable` and `maxSurge`, scaled for `desired` nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollingBudget {
    /// Pods that may be unavailable. Units: pods.
    pub max_unavailable: u32,
    /// Pods that may be there on top. Units: pods.
    pub max_surge: u32,
}

/// The budget of a native rolling update; percentages are rounded up, and where both numbers end at zero, one pod may
/// be unavailable. `maxUnavailable` that is absent is 1, or 0 beside a `maxSurge`; `maxSurge` that is absent is 0.
///
/// Units: pods. Source: daemonset.md A1, A9.2.
///
/// # Errors
/// The path of the field that is neither a number nor a percentage.
pub fn rolling(
    max_unavailable: Option<&Value>,
    max_surge: Option<&Value>,
    desired: u32,
) -> Result<RollingBudget, &'static str> {
    let scaled = |value: Option<&Value>, default: u32, field: &'static str| match value {
        None | Some(Value::Null) => Ok(default),
        Some(value) => parse(value).map(|v| v.scaled_up(desired)).ok_or(field),
    };
    let unavailable = scaled(
        max_unavailable,
        u32::from(max_surge.is_none()),
        "spec.updateStrategy.rollingUpdate.maxUnavailable",
    )?;
    let surge = scaled(max_surge, 0, "spec.updateStrategy.rollingUpdate.maxSurge")?;
    let both_zero = desired > 0 && unavailable == 0 && surge == 0;
    Ok(RollingBudget {
        max_unavailable: if both_zero { 1 } else { unavailable },
        max_surge: surge,
    })
}

fn parse(value: &Value) -> Option<IntOrPercent> {
    serde_json::from_value(value.clone()).ok()
}

/// What `apps.openyurt.io/max-unavailable` allows.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Annotated {
    /// Pods that may be unavailable. Units: pods. Range: 1..=n, and 0 only when n = 0.
    pub max_unavailable: u32,
    /// Was a zero written, which counts as the default?
    pub zero_ignored: bool,
}

/// The budget of AdvancedRollingUpdate for `n` nodes. Absent, and zero in any spelling, mean 10 %.
///
/// Units: pods. Source: daemonset.md C2. Differs from upstream: capped at `n`; what does not parse is invalid.
///
/// # Errors
/// The text is neither a number nor a percentage.
pub fn annotated(raw: Option<&str>, n: u32) -> Result<Annotated, ParseIntOrPercentError> {
    let written = raw.map(IntOrPercent::parse).transpose()?;
    let zero_ignored = written.is_some_and(IntOrPercent::is_zero);
    let value = written
        .filter(|value| !value.is_zero())
        .unwrap_or(IntOrPercent::Percent(10));
    Ok(Annotated {
        max_unavailable: value.scaled_up(n).min(n),
        zero_ignored,
    })
}

/// How many outdated pods that run well may be taken down now.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Room {
    /// Of those that are ready, but only inside `minReadySeconds`. Units: pods.
    pub settling: usize,
    /// Of those that are available. Units: pods.
    pub available: usize,
}

/// The room that a limit leaves.
///
/// `unavailable` pods are counted without the `settling` ones: outdated, ready, but not for `minReadySeconds` yet. A
/// settling pod counts as unavailable already, so taking it down makes nothing worse on paper; but it runs, so no more of
/// them go at once than the limit says. They go before available ones, which have only what is left beside them.
///
/// Units: pods. Source: daemonset.md A9.5, C5.5. Differs from upstream, which takes all settling pods at once: a second
/// change shortly after the first would stop every pod of the workload (S1).
pub fn room(limit: u32, unavailable: u32, settling: u32) -> Room {
    let free = limit.saturating_sub(unavailable);
    let size = |n: u32| usize::try_from(n).unwrap_or(usize::MAX);
    Room {
        settling: size(free.min(settling)),
        available: size(free.saturating_sub(settling)),
    }
}
