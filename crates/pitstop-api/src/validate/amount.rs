//! Amounts in the words of `apps/v1`.

use serde_json::Value;

/// Why a text is no percentage.
pub fn percent_problem(text: &str) -> Option<&'static str> {
    let digits = text.strip_suffix('%').unwrap_or_default();
    let is_number = !digits.is_empty() && digits.bytes().all(|byte| byte.is_ascii_digit());
    (!is_number).then_some(
        "a valid percent string must be a numeric string followed by an ending '%' (e.g. '1%',  or '93%', regex used for \
         validation is '[0-9]+%')",
    )
}

/// The number, or the number before the percent sign; 0 for what is neither.
pub fn amount(value: &Value) -> i64 {
    match value {
        Value::Number(number) => number.as_i64().unwrap_or_default(),
        Value::String(text) => percent(text).unwrap_or_default(),
        _ => 0,
    }
}

fn percent(text: &str) -> Option<i64> {
    let digits = text
        .strip_suffix('%')
        .filter(|digits| digits.bytes().all(|byte| byte.is_ascii_digit()))?;
    digits.parse().ok()
}

/// Why a value is no amount.
pub fn amount_problem(value: &Value) -> Option<&'static str> {
    match value {
        Value::String(text) => match percent(text) {
            None => percent_problem(text),
            Some(number) if number > 100 => Some("must not be greater than 100%"),
            Some(_) => None,
        },
        value if amount(value) < 0 => Some("must be greater than or equal to 0"),
        _ => None,
    }
}
