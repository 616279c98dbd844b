//! Durations as people type them: `10s`, `1m30s`.

use std::time::Duration;

/// Reads a duration. Range: above zero.
///
/// # Errors
/// The text is no duration, or not above zero.
pub fn parse(text: &str) -> Result<Duration, String> {
    let malformed = || format!("\"{text}\" is no duration; write it like 10s or 1m30s");
    let span: jiff::SignedDuration = text.parse().map_err(|_| malformed())?;
    let duration = Duration::try_from(span).map_err(|_| malformed())?;
    if duration.is_zero() {
        return Err("a duration must be above zero".to_owned());
    }
    Ok(duration)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_read_as_people_type_them() {
        for (text, seconds) in [("40s", 40), ("1m30s", 90), ("2h", 7200), ("1m 5s", 65)] {
            assert_eq!(parse(text), Ok(Duration::from_secs(seconds)), "{text}");
        }
        assert_eq!(parse("500ms"), Ok(Duration::from_millis(500)));
        for text in ["40", "-3s", "0s", "soon", ""] {
            parse(text).unwrap_err();
        }
    }
}
