//! Resource quantities: one text for each value. Source: embedded-cluster.md 13, "canonicalise on write".

use std::borrow::Cow;

use serde_json::Value;

const MALFORMED: &str =
    "quantities must match the regular expression '^([+-]?[0-9.]+)([eEinumkKMGTP]*[-+]?[0-9]*)$'";

/// A billionth is the smallest step; smaller fractions are rounded up.
const NANO: i128 = 1_000_000_000;

/// Decimal suffixes from 10^-9 upwards, in steps of a thousand.
const DECIMAL: [&str; 10] = ["n", "u", "m", "", "k", "M", "G", "T", "P", "E"];

/// Binary suffixes from 2^0 upwards, in steps of 1024.
const BINARY: [&str; 7] = ["", "Ki", "Mi", "Gi", "Ti", "Pi", "Ei"];

/// The canonical text of a quantity: no fraction, and the largest suffix that needs none.
///
/// Values beyond what is computed exactly here are returned as they came.
///
/// # Errors
/// The text is no quantity.
pub fn canonical(text: &str) -> Result<String, String> {
    let (number, suffix) = split(text).ok_or(MALFORMED)?;
    let unit = Unit::parse(suffix).ok_or(MALFORMED)?;
    let Some(nanos) = nanos(number, unit) else {
        return Ok(text.to_owned());
    };
    Ok(match unit {
        Unit::Binary(_) if nanos.abs() >= 1024 * NANO => binary(nanos),
        Unit::Exponent(_) => decimal(nanos, |thousands| {
            if thousands == 0 {
                String::new()
            } else {
                format!("e{}", thousands * 3)
            }
        }),
        _ => decimal(nanos, |thousands| {
            usize::try_from(thousands + 3)
                .ok()
                .and_then(|index| DECIMAL.get(index))
                .copied()
                .unwrap_or_default()
                .to_owned()
        }),
    })
}

/// An amount as text: manifests may hold numbers.
pub fn text_of(amount: &Value) -> Option<Cow<'_, str>> {
    match amount {
        Value::String(text) => Some(text.into()),
        Value::Number(number) => Some(number.to_string().into()),
        _ => None,
    }
}

/// The value in billionths; `None` if it is none, or too large to compute.
pub fn value(text: &str) -> Option<i128> {
    let (number, suffix) = split(text)?;
    nanos(number, Unit::parse(suffix)?)
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Unit {
    /// A power of ten written as a suffix.
    Decimal(i32),
    /// A power of ten written as an exponent.
    Exponent(i32),
    /// A power of two.
    Binary(u32),
}

impl Unit {
    fn parse(suffix: &str) -> Option<Self> {
        if let Some(index) = DECIMAL.iter().position(|known| *known == suffix) {
            return i32::try_from(index)
                .ok()
                .map(|index| Self::Decimal((index - 3) * 3));
        }
        if let Some(index) = BINARY.iter().position(|known| *known == suffix) {
            return u32::try_from(index).ok().map(|index| Self::Binary(index * 10));
        }
        suffix.strip_prefix(['e', 'E'])?.parse().ok().map(Self::Exponent)
    }
}

/// Number and suffix, if the number is one.
fn split(text: &str) -> Option<(&str, &str)> {
    let digits = text.strip_prefix(['+', '-']).unwrap_or(text);
    let end = digits
        .find(|c: char| !c.is_ascii_digit() && c != '.')
        .unwrap_or(digits.len());
    let (number, suffix) = text.split_at_checked(text.len() - digits.len() + end)?;
    let number_digits = digits.get(..end)?;
    let valid =
        number_digits.bytes().any(|byte| byte.is_ascii_digit()) && number_digits.matches('.').count() <= 1;
    valid.then_some((number, suffix))
}

/// The value in billionths, rounded away from zero; `None` if it is too large to compute.
fn nanos(number: &str, unit: Unit) -> Option<i128> {
    let (sign, digits) = match number.strip_prefix('-') {
        Some(digits) => (-1, digits),
        None => (1, number.strip_prefix('+').unwrap_or(number)),
    };
    let (whole, fraction) = digits.split_once('.').unwrap_or((digits, ""));
    let fraction = fraction.trim_end_matches('0');
    let mantissa = format!("0{whole}{fraction}").parse::<i128>().ok()?;
    let places = i32::try_from(fraction.len()).ok()?;
    let (factor, power) = match unit {
        Unit::Decimal(power) | Unit::Exponent(power) => (1, power),
        Unit::Binary(bits) => (1_i128.checked_shl(bits)?, 0),
    };
    let power = power.checked_sub(places)?.checked_add(9)?;
    let value = mantissa.checked_mul(factor)?;
    let ten = 10_i128.checked_pow(power.unsigned_abs())?;
    let magnitude = if power >= 0 {
        value.checked_mul(ten)?
    } else {
        value.checked_add(ten - 1)? / ten
    };
    Some(sign * magnitude)
}

fn decimal(nanos: i128, suffix: impl Fn(i32) -> String) -> String {
    if nanos == 0 {
        return "0".to_owned();
    }
    let (mut number, mut thousands) = (nanos, -3);
    while number % 1000 == 0 && thousands < 6 {
        number /= 1000;
        thousands += 1;
    }
    format!("{number}{}", suffix(thousands))
}

fn binary(nanos: i128) -> String {
    let mut number = nanos.signum() * ((nanos.abs() + NANO - 1) / NANO);
    let mut index = 0;
    while number % 1024 == 0 && index + 1 < BINARY.len() {
        number /= 1024;
        index += 1;
    }
    format!("{number}{}", BINARY.get(index).copied().unwrap_or_default())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn equal_values_have_one_text() {
        let cases = [
            ("1000m", "1"),
            ("0.5", "500m"),
            ("1.5", "1500m"),
            ("100m", "100m"),
            ("1000", "1k"),
            ("1024", "1024"),
            ("1024Ki", "1Mi"),
            ("1.5Gi", "1536Mi"),
            ("0.5Gi", "512Mi"),
            ("1Ki", "1Ki"),
            ("512e6", "512e6"),
            ("1e3", "1e3"),
            ("0", "0"),
            ("0Mi", "0"),
            ("-1500m", "-1500m"),
            ("+2", "2"),
            ("110", "110"),
            ("0.0000000001", "1n"),
            ("1E", "1E"),
            (".5", "500m"),
            ("5.", "5"),
        ];
        for (given, wanted) in cases {
            assert_eq!(canonical(given).as_deref(), Ok(wanted), "{given}");
            assert_eq!(canonical(wanted).as_deref(), Ok(wanted), "{wanted} again");
        }
    }

    #[test]
    fn what_is_no_quantity_is_refused() {
        for text in ["", "a", "1.2.3", "1 Gi", "1GiB", "e3", ".", "1x", "--1"] {
            assert_eq!(canonical(text), Err(MALFORMED.to_owned()), "{text}");
        }
    }

    #[test]
    fn huge_values_are_kept_as_they_came() {
        let digits = "9".repeat(60);
        assert_eq!(canonical(&digits).as_deref(), Ok(digits.as_str()));
        assert_eq!(canonical("1e999999999").as_deref(), Ok("1e999999999"));
    }
}
