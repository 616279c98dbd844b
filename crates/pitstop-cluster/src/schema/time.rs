//! Times as the API writes them: UTC, whole seconds or six digits.

use jiff::Timestamp;
use jiff::fmt::strtime;

/// `metav1.Time`: whole seconds.
pub(crate) fn seconds(text: &str) -> Result<String, String> {
    parse(text).and_then(|at| format(at, "%Y-%m-%dT%H:%M:%SZ"))
}

/// `metav1.MicroTime`: six digits.
pub(crate) fn micros(text: &str) -> Result<String, String> {
    parse(text).and_then(|at| format(at, "%Y-%m-%dT%H:%M:%S.%6fZ"))
}

fn parse(text: &str) -> Result<Timestamp, String> {
    text.parse().map_err(|_| {
        format!("parsing time {text:?} as \"2006-01-02T15:04:05Z07:00\": cannot parse {text:?} as \"2006\"")
    })
}

fn format(at: Timestamp, layout: &str) -> Result<String, String> {
    strtime::format(layout, at).map_err(|error| error.to_string())
}

/// Time as protobuf sends it, `None` for the zero time.
pub(crate) fn from_parts(seconds: i64, nanos: i32) -> Result<Option<Timestamp>, String> {
    if seconds == 0 && nanos == 0 {
        return Ok(None);
    }
    Timestamp::new(seconds, nanos)
        .map(Some)
        .map_err(|error| error.to_string())
}

/// Length of time in Go's notation, e.g. `1h30m0s`.
pub(crate) fn go_duration(nanos: i64) -> String {
    const UNITS: [(u64, &str); 3] = [(1_000_000_000, "s"), (1_000_000, "ms"), (1_000, "µs")];
    let sign = if nanos < 0 { "-" } else { "" };
    let all = nanos.unsigned_abs();
    let (seconds, rest) = (all / 1_000_000_000, all % 1_000_000_000);
    if all == 0 {
        return "0s".to_owned();
    }
    if seconds == 0 {
        let (unit, name) = UNITS
            .into_iter()
            .find(|(unit, _)| all >= *unit)
            .unwrap_or((1, "ns"));
        return format!("{sign}{}{name}", decimal(all / unit, all % unit, unit));
    }
    let (hours, minutes) = (seconds / 3600, seconds / 60 % 60);
    let tail = format!("{}s", decimal(seconds % 60, rest, 1_000_000_000));
    match (hours, minutes) {
        (0, 0) => format!("{sign}{tail}"),
        (0, minutes) => format!("{sign}{minutes}m{tail}"),
        (hours, minutes) => format!("{sign}{hours}h{minutes}m{tail}"),
    }
}

/// `whole` and the fraction `part / unit`, `unit` a power of ten, without trailing zeros.
fn decimal(whole: u64, part: u64, unit: u64) -> String {
    if part == 0 {
        return whole.to_string();
    }
    let digits = unit.to_string().len() - 1;
    let fraction = format!("{part:0digits$}");
    format!("{whole}.{}", fraction.trim_end_matches('0'))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times_become_utc_of_fixed_precision() {
        assert_eq!(
            seconds("2026-01-02T03:04:05.678+01:00").unwrap(),
            "2026-01-02T02:04:05Z"
        );
        assert_eq!(
            micros("2026-01-02T03:04:05Z").unwrap(),
            "2026-01-02T03:04:05.000000Z"
        );
        assert!(
            seconds("yesterday")
                .unwrap_err()
                .starts_with("parsing time \"yesterday\"")
        );
    }

    #[test]
    fn durations_are_written_as_go_does() {
        let cases = [
            (0, "0s"),
            (5_400_000_000_000, "1h30m0s"),
            (1_500_000_000, "1.5s"),
            (90_000_000_000, "1m30s"),
            (1_500_000, "1.5ms"),
            (7, "7ns"),
            (-2_000, "-2µs"),
        ];
        for (nanos, text) in cases {
            assert_eq!(go_duration(nanos), text);
        }
    }
}
