//! A number of pods as the kinds of `apps.kruise.io` write it: whole, or a percentage that may have decimals.
//!
//! [`IntOrPercent`](crate::IntOrPercent) is the stricter form of `apps/v1`. Here one parser serves admission and
//! decisions, so that nothing is admitted that a controller then reads in another way.
//! Source: cloneset.md 1.4, 18.11.

use std::sync::Arc;

use serde::{Deserialize, Deserializer, Serialize, Serializer};
use serde_json::Value;

/// Decimals of a percentage that count.
const DECIMALS: usize = 9;
/// One per cent in the smallest unit that counts.
const ONE_PERCENT: u64 = 1_000_000_000;

/// A number of pods, or a percentage of a total, or neither.
///
/// Units: pods; per cent. Range: 0..=2147483647 for both.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Amount {
    /// An absolute number.
    Pods(u32),
    /// A percentage of a total that the user of the value names.
    Percent(Percent),
    /// Anything else, as it was written: a decision says so and does nothing that depends on it.
    Other(Arc<str>),
}

/// A percentage with up to nine decimals, exact.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub struct Percent {
    /// Units: a billionth of a per cent.
    billionths: u64,
}

/// What was written is no number of pods and no percentage.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{given} is not {}", Amount::ACCEPTED)]
pub struct MalformedAmount {
    /// What was written, text in quotes.
    pub given: Arc<str>,
}

impl Percent {
    /// A whole percentage.
    pub fn whole(percent: u32) -> Self {
        Self {
            billionths: u64::from(percent) * ONE_PERCENT,
        }
    }

    /// Reads `<digits>[.<digits>]`: no sign, no exponent, at most nine decimals.
    fn parse(text: &str) -> Option<Self> {
        let is_digits = |text: &str| !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let (whole, decimals) = text.split_once('.').unwrap_or((text, "0"));
        if !is_digits(whole) || !is_digits(decimals) || decimals.len() > DECIMALS {
            return None;
        }
        let whole: u64 = whole.parse::<i32>().ok()?.try_into().ok()?;
        let decimals: u64 = format!("{decimals:0<DECIMALS$}").parse().ok()?;
        Some(Self {
            billionths: whole * ONE_PERCENT + decimals,
        })
    }

    /// Is it 100 %?
    pub fn is_all(self) -> bool {
        self == Self::whole(100)
    }

    fn scaled(self, n: u32, divide: impl FnOnce(u128, u128) -> u128) -> u32 {
        let product = u128::from(self.billionths) * u128::from(n);
        u32::try_from(divide(product, u128::from(ONE_PERCENT) * 100)).unwrap_or(u32::MAX)
    }
}

impl std::fmt::Display for Percent {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write!(f, "{}", self.billionths / ONE_PERCENT)?;
        match self.billionths % ONE_PERCENT {
            0 => {}
            rest => write!(f, ".{}", format!("{rest:09}").trim_end_matches('0'))?,
        }
        f.write_str("%")
    }
}

impl Amount {
    /// What messages to users say is accepted.
    pub const ACCEPTED: &'static str = "a whole number of at least 0, or a percentage such as 10% or 12.5%";

    /// Reads a number or text of an object.
    pub fn of(value: &Value) -> Self {
        let number = value.as_i64().filter(|n| i32::try_from(*n).is_ok());
        if let Some(pods) = number.and_then(|n| u32::try_from(n).ok()) {
            return Self::Pods(pods);
        }
        let percent = value.as_str().and_then(|text| text.strip_suffix('%'));
        percent
            .and_then(Percent::parse)
            .map_or_else(|| Self::Other(value.to_string().into()), Self::Percent)
    }

    /// As [`Amount::of`]; the digits of a number count as well, as annotations hold it.
    pub fn of_text(value: &Value) -> Self {
        let digits = value.as_str().and_then(|text| text.parse::<i32>().ok());
        digits.map_or_else(|| Self::of(value), |number| Self::of(&number.into()))
    }

    /// A whole percentage.
    pub fn percent(percent: u32) -> Self {
        Self::Percent(Percent::whole(percent))
    }

    /// The number for a total of `n`, percentages rounded up. Not capped at `n`.
    ///
    /// # Errors
    /// It is neither a number nor a percentage.
    pub fn scaled_up(&self, n: u32) -> Result<u32, MalformedAmount> {
        self.scaled(n, u128::div_ceil)
    }

    /// The number for a total of `n`, percentages rounded down. Not capped at `n`.
    ///
    /// # Errors
    /// It is neither a number nor a percentage.
    pub fn scaled_down(&self, n: u32) -> Result<u32, MalformedAmount> {
        self.scaled(n, |product, whole| product / whole)
    }

    fn scaled(&self, n: u32, divide: impl FnOnce(u128, u128) -> u128) -> Result<u32, MalformedAmount> {
        match self {
            Self::Pods(pods) => Ok(*pods),
            Self::Percent(percent) => Ok(percent.scaled(n, divide)),
            Self::Other(given) => Err(MalformedAmount { given: given.clone() }),
        }
    }
}

/// How many pods stay at old revisions.
///
/// Rounded up. A percentage below 100 % lets at least one pod of several go; with one replica it keeps that one.
///
/// Units: pods. Range: 0..=replicas. Source: cloneset.md 1.4, 18.27; statefulset.md 15.2, where a
/// number beyond the replicas keeps them all, too.
///
/// # Errors
/// It is neither a number nor a percentage.
pub fn partition(partition: Option<&Amount>, replicas: u32) -> Result<u32, MalformedAmount> {
    let Some(written) = partition else { return Ok(0) };
    let scaled = written.scaled_up(replicas)?;
    let is_part = matches!(written, Amount::Percent(percent) if !percent.is_all());
    let kept = if is_part && replicas > 1 && scaled == replicas {
        scaled - 1
    } else {
        scaled
    };
    Ok(kept.min(replicas))
}

impl std::fmt::Display for Amount {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        match self {
            Self::Pods(pods) => write!(f, "{pods}"),
            Self::Percent(percent) => write!(f, "{percent}"),
            Self::Other(given) => f.write_str(given),
        }
    }
}

impl<'de> Deserialize<'de> for Amount {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Self, D::Error> {
        Ok(Self::of(&Value::deserialize(deserializer)?))
    }
}

impl Serialize for Amount {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        match self {
            Self::Pods(pods) => serializer.serialize_u32(*pods),
            Self::Percent(percent) => serializer.collect_str(percent),
            Self::Other(given) => serde_json::from_str::<Value>(given)
                .map_err(serde::ser::Error::custom)?
                .serialize(serializer),
        }
    }
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;
    use serde_json::json;

    use super::*;

    #[test]
    fn numbers_and_percentages_scale_exactly() {
        for (written, n, up, down) in [
            (json!(3), 1, 3, 3),
            (json!(0), 10, 0, 0),
            (json!("0%"), 10, 0, 0),
            (json!("1%"), 100, 1, 1),
            (json!("30%"), 5, 2, 1),
            (json!("99.9%"), 100, 100, 99),
            (json!("12.5%"), 8, 1, 1),
            (json!("12.5%"), 9, 2, 1),
            // A float would give 29.000000000000004 and round up to 30.
            (json!("29%"), 100, 29, 29),
            (json!("0.000000001%"), 2_147_483_647, 1, 0),
            (json!("200%"), 4, 8, 8),
            (json!("2147483647%"), 2_147_483_647, u32::MAX, u32::MAX),
        ] {
            let amount = Amount::of(&written);
            assert_eq!(
                (amount.scaled_up(n), amount.scaled_down(n)),
                (Ok(up), Ok(down)),
                "{written} of {n}"
            );
            assert_eq!(serde_json::to_value(&amount).unwrap(), written);
        }
    }

    #[test]
    fn anything_else_is_kept_as_written_and_gives_no_number() {
        for written in [
            json!("abc"),
            json!("5"),
            json!("%"),
            json!(""),
            json!("-1%"),
            json!("+1%"),
            json!(".5%"),
            json!("5.%"),
            json!("1e1%"),
            json!("1.0000000001%"),
            json!("2147483648%"),
            json!(" 5%"),
            json!(-1),
            json!(2_147_483_648_u64),
            json!(1.5),
            json!(true),
            json!(["5%"]),
        ] {
            let amount = Amount::of(&written);
            let error = amount.scaled_up(10).unwrap_err();
            assert_eq!(error.given.as_ref(), written.to_string());
            assert!(error.to_string().ends_with(Amount::ACCEPTED), "{error}");
            assert_eq!(serde_json::to_value(&amount).unwrap(), written);
        }
    }

    proptest! {
        #[test]
        fn up_and_down_differ_by_one_at_most(whole in 0_u32..=300, decimals in 0_u32..1000, n in 0_u32..=1_000_000) {
            let amount = Amount::of(&json!(format!("{whole}.{decimals:03}%")));
            let (up, down) = (amount.scaled_up(n).unwrap(), amount.scaled_down(n).unwrap());
            prop_assert!(down <= up && up - down <= 1);
            let back = Amount::of(&serde_json::to_value(&amount).unwrap());
            prop_assert_eq!(back, amount);
        }
    }
}
