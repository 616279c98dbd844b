//! A count that a user may write as a number or as a percentage.

use serde::{Deserialize, Deserializer, Serialize, Serializer};

/// A count, or a percentage of a total.
///
/// Units: pods (or nodes); per cent. Range: 0.. for both; kinds that allow at most 100 % say so in their validation.
/// Source: daemonset.md A1, C2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum IntOrPercent {
    /// An absolute number.
    Int(u32),
    /// A percentage of a total that the user of the value names.
    Percent(u32),
}

/// How a value failed to be a count or a percentage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given:?} is neither a whole number of at least 0 nor a percentage such as \"10%\"")]
pub struct ParseIntOrPercentError {
    /// The text as it was given.
    pub given: String,
}

impl IntOrPercent {
    /// What messages to users say is accepted.
    pub const ACCEPTED: &'static str = "a whole number of at least 0, or a percentage such as 10%";

    /// Reads a decimal number or `<decimal>%`. No sign, no blanks, no fraction.
    ///
    /// # Errors
    /// The text is neither, or does not fit 31 bits.
    pub fn parse(text: &str) -> Result<Self, ParseIntOrPercentError> {
        let error = || ParseIntOrPercentError {
            given: text.to_owned(),
        };
        let (digits, percent) = text
            .strip_suffix('%')
            .map_or((text, false), |digits| (digits, true));
        if digits.is_empty() || !digits.bytes().all(|b| b.is_ascii_digit()) {
            return Err(error());
        }
        let value = digits
            .parse::<u32>()
            .ok()
            .filter(|v| i32::try_from(*v).is_ok())
            .ok_or_else(error)?;
        Ok(if percent {
            Self::Percent(value)
        } else {
            Self::Int(value)
        })
    }

    /// The number for a total of `n`, percentages rounded up. Not capped at `n`.
    pub fn scaled_up(self, n: u32) -> u32 {
        match self {
            Self::Int(value) => value,
            Self::Percent(percent) => clamp(u64::from(percent).saturating_mul(u64::from(n)).div_ceil(100)),
        }
    }

    /// The number for a total of `n`, percentages rounded down. Not capped at `n`.
    pub fn scaled_down(self, n: u32) -> u32 {
        match self {
            Self::Int(value) => value,
            Self::Percent(percent) => clamp(u64::from(percent).saturating_mul(u64::from(n)) / 100),
        }
    }

    /// Is the written number zero, whatever its unit?
    pub fn is_zero(self) -> bool {
        matches!(self, Self::Int(0) | Self::Percent(0))
    }
}

fn clamp(value: u64) -> u32 {
    u32::try_from(value).unwrap_or(u32::MAX)
}

impl std::fmt::Display for IntOrPercent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Int(value) => write!(f, "{value}"),
            Self::Percent(percent) => write!(f, "{percent}%"),
        }
    }
}

impl Serialize for IntOrPercent {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Int(value) => serializer.serialize_u32(*value),
            Self::Percent(_) => serializer.collect_str(self),
        }
    }
}

impl<'de> Deserialize<'de> for IntOrPercent {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        #[derive(Deserialize)]
        #[serde(untagged)]
        enum Raw {
            Int(i64),
            Text(String),
        }
        match Raw::deserialize(deserializer)? {
            Raw::Int(value) => u32::try_from(value).map(Self::Int).map_err(|_| {
                serde::de::Error::custom(ParseIntOrPercentError {
                    given: value.to_string(),
                })
            }),
            Raw::Text(text) => Self::parse(&text).map_err(serde::de::Error::custom),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_and_percentages_scale_as_the_user_expects() {
        for (raw, n, up, down) in [
            ("1", 3, 1, 1),
            ("30%", 3, 1, 0),
            ("30%", 10, 3, 3),
            ("50%", 3, 2, 1),
            ("95%", 10, 10, 9),
            ("150%", 10, 15, 15),
            ("0%", 10, 0, 0),
            ("7", 0, 7, 7),
        ] {
            let value = IntOrPercent::parse(raw).unwrap();
            assert_eq!(
                (value.scaled_up(n), value.scaled_down(n)),
                (up, down),
                "{raw} of {n}"
            );
        }
    }

    #[test]
    fn anything_else_is_refused_and_names_what_is_accepted() {
        for raw in [
            "",
            "%",
            "-1",
            "+1",
            "-5%",
            "3.5",
            "abc",
            "5 %",
            " 5",
            "4294967296",
            "2147483648",
            "٣",
        ] {
            let error = IntOrPercent::parse(raw).unwrap_err();
            assert_eq!(error.given, raw);
            assert!(error.to_string().contains("percentage"), "{error}");
        }
    }
}
