//! `reserveOrdinals`: ordinals that no pod gets.

use std::sync::Arc;

use serde_json::Value;

/// Intervals of ordinals, sorted and apart; nothing is expanded, so that a wide range costs no more than a narrow one.
///
/// Source: statefulset.md 2.4, 3, 15.1 row 17.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Reserved {
    /// First and last of each, both included.
    ranges: Vec<(u32, u32)>,
    malformed: Vec<Arc<str>>,
}

/// The largest ordinal. Source: statefulset.md 3.
const MAX: u32 = i32::MAX as u32;

impl Reserved {
    /// Reads numbers and ranges such as `2-5`. What is neither is left out, and kept as [`Reserved::malformed`].
    pub fn of(entries: &[Value]) -> Self {
        let mut found = Self::default();
        for entry in entries {
            match range_of(entry) {
                Some(range) => found.ranges.push(range),
                None => found.malformed.push(entry.to_string().into()),
            }
        }
        found.ranges.sort_unstable();
        found.ranges.dedup_by(|next, last| {
            let touches = next.0 <= last.1.saturating_add(1);
            if touches {
                last.1 = last.1.max(next.1);
            }
            touches
        });
        found
    }

    /// Entries that are neither a number nor a range, as they were written.
    pub fn malformed(&self) -> &[Arc<str>] {
        &self.malformed
    }

    /// Is this ordinal reserved?
    pub fn contains(&self, ordinal: u32) -> bool {
        let after = self.ranges.partition_point(|(first, _)| *first <= ordinal);
        let before = after.checked_sub(1).and_then(|i| self.ranges.get(i));
        before.is_some_and(|(_, last)| ordinal <= *last)
    }

    /// How many ordinals from `start` on are not reserved. Units: pods.
    pub fn room(&self, start: u32) -> u32 {
        let taken = self.ranges.iter().map(|(first, last)| {
            let (first, end) = ((*first).max(start), last.saturating_add(1));
            end.saturating_sub(first)
        });
        let all = MAX.saturating_add(1).saturating_sub(start);
        taken.fold(all, u32::saturating_sub)
    }

    /// The first ordinals from `start` on that are not reserved, as many as there are replicas.
    pub fn live(&self, start: u32, replicas: u32) -> Vec<u32> {
        let mut live = Vec::with_capacity(usize::try_from(replicas).unwrap_or_default());
        let mut ranges = self
            .ranges
            .iter()
            .skip_while(|(_, last)| *last < start)
            .peekable();
        let mut next = start;
        let wanted = usize::try_from(replicas).unwrap_or(usize::MAX);
        while live.len() < wanted && next <= MAX {
            match ranges.peek() {
                Some((first, last)) if *first <= next => {
                    next = next.max(last.saturating_add(1));
                    ranges.next();
                }
                _ => {
                    live.push(next);
                    next = next.saturating_add(1);
                }
            }
        }
        live
    }
}

/// One entry: a number of at least 0, or `<digits>-<digits>` from the lower to the higher.
pub(crate) fn range_of(entry: &Value) -> Option<(u32, u32)> {
    let ordinal = |text: &str| {
        let is_number = !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit());
        let number = text.parse::<i32>().ok().filter(|_| is_number)?;
        u32::try_from(number).ok()
    };
    match entry {
        Value::String(text) => {
            let (first, last) = text.split_once('-')?;
            let (first, last) = (ordinal(first)?, ordinal(last)?);
            (first <= last).then_some((first, last))
        }
        entry => {
            let number = i32::try_from(entry.as_i64()?).ok()?;
            let number = u32::try_from(number).ok()?;
            Some((number, number))
        }
    }
}
