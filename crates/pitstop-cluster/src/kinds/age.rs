//! Ages as `kubectl get` shows them.

use jiff::Timestamp;
use serde_json::Value;

use super::fields::text;

const MINUTE: i64 = 60;
const HOUR: i64 = 60 * MINUTE;
const DAY: i64 = 24 * HOUR;
const YEAR: i64 = 365 * DAY;

/// A length of time in one or two units.
///
/// Source: embedded-cluster.md 12, "Human duration".
pub fn human_duration(length: jiff::SignedDuration) -> String {
    let seconds = length.as_secs();
    match seconds {
        ..-1 => "<invalid>".to_owned(),
        -1 | 0 => "0s".to_owned(),
        s if s < 2 * MINUTE => format!("{s}s"),
        s if s < 10 * MINUTE => two(s, MINUTE, "m", 1, "s"),
        s if s < 3 * HOUR => format!("{}m", s / MINUTE),
        s if s < 8 * HOUR => two(s, HOUR, "h", MINUTE, "m"),
        s if s < 2 * DAY => format!("{}h", s / HOUR),
        s if s < 8 * DAY => two(s, DAY, "d", HOUR, "h"),
        s if s < 2 * YEAR => format!("{}d", s / DAY),
        s if s < 8 * YEAR => two(s, YEAR, "y", DAY, "d"),
        s => format!("{}y", s / YEAR),
    }
}

fn two(seconds: i64, unit: i64, name: &str, small_unit: i64, small_name: &str) -> String {
    match seconds % unit / small_unit {
        0 => format!("{}{name}", seconds / unit),
        rest => format!("{}{name}{rest}{small_name}", seconds / unit),
    }
}

/// How long ago the time at `pointer` was; `None` if there is no time.
pub(super) fn since(object: &Value, pointer: &str, now: Timestamp) -> Option<String> {
    let at: Timestamp = text(object, pointer).parse().ok()?;
    Some(human_duration(now.duration_since(at)))
}

/// The cell `Age`.
pub(super) fn age(object: &Value, now: Timestamp) -> Value {
    Value::from(since(object, "/metadata/creationTimestamp", now).unwrap_or_else(|| "<unknown>".to_owned()))
}

/// The cell `Name`.
pub(super) fn name(object: &Value) -> Value {
    Value::from(text(object, "/metadata/name"))
}

#[cfg(test)]
mod tests {
    use super::*;
    use jiff::SignedDuration;

    /// embedded-cluster.md 12.
    #[test]
    fn durations_have_one_or_two_units() {
        let cases = [
            (-2, "<invalid>"),
            (-1, "0s"),
            (0, "0s"),
            (119, "119s"),
            (120, "2m"),
            (125, "2m5s"),
            (180, "3m"),
            (599, "9m59s"),
            (600, "10m"),
            (10_799, "179m"),
            (10_800, "3h"),
            (3 * HOUR + 5 * MINUTE, "3h5m"),
            (8 * HOUR, "8h"),
            (47 * HOUR, "47h"),
            (2 * DAY, "2d"),
            (7 * DAY + 23 * HOUR, "7d23h"),
            (8 * DAY, "8d"),
            (729 * DAY, "729d"),
            (2 * YEAR, "2y"),
            (3 * YEAR + DAY, "3y1d"),
            (8 * YEAR, "8y"),
        ];
        for (seconds, wanted) in cases {
            assert_eq!(human_duration(SignedDuration::from_secs(seconds)), wanted);
        }
    }
}
