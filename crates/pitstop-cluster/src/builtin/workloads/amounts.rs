//! Numbers and percentages.

use serde_json::Value;

/// A number, or a percentage of `total`.
pub(super) fn resolve(amount: &Value, total: i64, rounds_up: bool) -> i64 {
    let percent = |text: &str| text.strip_suffix('%')?.parse::<i64>().ok();
    match amount {
        Value::Number(number) => number.as_i64().unwrap_or_default(),
        Value::String(text) => {
            let parts = percent(text).unwrap_or_default().saturating_mul(total);
            let rounding = if rounds_up { 99 } else { 0 };
            parts.saturating_add(rounding) / 100
        }
        _ => 0,
    }
}
