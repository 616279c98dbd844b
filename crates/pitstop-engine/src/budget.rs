//! How many pods may be unavailable, or surplus, at once. One implementation for all kinds.

use pitstop_api::IntOrPercent;
use serde_json::Value;

/// `rollingUpdate.maxUnavailable` and `maxSurge`, scaled for `desired` nodes.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct RollingBudget {
    /// Pods that may be unavailable. Units: pods.
    pub max_unavailable: u32,
    /// Pods that may be there on top. Units: pods.
    pub max_surge: u32,
}

/// The budget of a native rolling update. Absent fields are 1 and 0; percentages are rounded up; where both end at
/// zero, one pod may be unavailable.
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
pub fn annotated(
    raw: Option<&str>,
    n: u32,
) -> Result<Annotated, pitstop_api::int_or_percent::ParseIntOrPercentError> {
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
