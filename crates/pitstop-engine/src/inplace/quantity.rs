//! Quantities of cpu and memory: when two of them are equal.

/// A quantity in billionths of its unit; `None` for a text that is none. Source: Kubernetes, resource quantities.
pub(super) fn parse(text: &str) -> Option<i128> {
    let end_of_number = text
        .find(|c: char| !(c.is_ascii_digit() || matches!(c, '.' | '+' | '-')))
        .unwrap_or(text.len());
    let (number, suffix) = (text.get(..end_of_number)?, text.get(end_of_number..)?);
    let (is_negative, digits) = match number.strip_prefix('-') {
        Some(digits) => (true, digits),
        None => (false, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let is_digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if (whole.is_empty() && fraction.is_empty()) || !is_digits(whole) || !is_digits(fraction) {
        return None;
    }
    let mantissa: i128 = format!("{whole}{fraction}").parse().ok()?;
    let n_decimals = i32::try_from(fraction.len()).ok()?;
    let (factor, exponent) = scale(suffix)?;
    let exponent = exponent.checked_sub(n_decimals)?.checked_add(9)?;
    let scaled = mantissa.checked_mul(factor)?;
    let power = 10_i128.checked_pow(exponent.unsigned_abs())?;
    let nanos = if exponent >= 0 {
        scaled.checked_mul(power)?
    } else {
        // What is below a billionth is rounded up, as Kubernetes does.
        let rest = scaled.checked_rem(power)?;
        scaled.checked_div(power)?.checked_add(i128::from(rest > 0))?
    };
    Some(if is_negative { nanos.checked_neg()? } else { nanos })
}

/// A factor, and a power of ten.
fn scale(suffix: &str) -> Option<(i128, i32)> {
    let binary = |shift: u32| 1_i128.checked_shl(shift).map(|factor| (factor, 0));
    match suffix {
        "" => Some((1, 0)),
        "n" => Some((1, -9)),
        "u" => Some((1, -6)),
        "m" => Some((1, -3)),
        "k" => Some((1, 3)),
        "M" => Some((1, 6)),
        "G" => Some((1, 9)),
        "T" => Some((1, 12)),
        "P" => Some((1, 15)),
        "E" => Some((1, 18)),
        "Ki" => binary(10),
        "Mi" => binary(20),
        "Gi" => binary(30),
        "Ti" => binary(40),
        "Pi" => binary(50),
        "Ei" => binary(60),
        _ => {
            let exponent: i32 = suffix.strip_prefix(['e', 'E'])?.parse().ok()?;
            (-18..=18).contains(&exponent).then_some((1, exponent))
        }
    }
}

/// Are the two quantities equal, whatever their notation?
pub(super) fn are_equal(a: &str, b: &str) -> bool {
    a == b || parse(a).is_some_and(|a| parse(b) == Some(a))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quantities_are_equal_in_any_notation() {
        for (a, b) in [
            ("1", "1000m"),
            ("0.5", "500m"),
            ("1Gi", "1073741824"),
            ("1024Mi", "1Gi"),
            ("1e3", "1k"),
            ("+2", "2"),
            ("0", "0m"),
            ("1.5Gi", "1536Mi"),
        ] {
            assert!(are_equal(a, b), "{a} and {b}");
        }
        assert!(!are_equal("1", "1m"));
    }

    #[test]
    fn other_texts_are_no_quantities() {
        for text in ["", ".", "abc", "1x", "1 Gi", "--1", "1e99", "Gi"] {
            assert_eq!(parse(text), None, "{text}");
        }
    }
}
