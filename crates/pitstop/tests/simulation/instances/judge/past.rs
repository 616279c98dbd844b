//! What was true, and until when: what a decision may rest on is a little old.

use std::collections::VecDeque;

use jiff::Timestamp;

use super::OLDEST_VIEW;

/// What was true one after the other; the newest last.
#[derive(Debug)]
pub(super) struct Past<T> {
    /// Since when.
    values: VecDeque<(Timestamp, T)>,
}

impl<T> Default for Past<T> {
    fn default() -> Self {
        Self {
            values: VecDeque::new(),
        }
    }
}

impl<T: PartialEq> Past<T> {
    /// This is true from now on.
    pub(super) fn now(&mut self, at: Timestamp, value: T) {
        if self.values.back().is_some_and(|(_, last)| *last == value) {
            return;
        }
        self.values.push_back((at, value));
        // What was replaced too long ago is nobody's view any more.
        while self
            .values
            .get(1)
            .is_some_and(|(since, _)| at.duration_since(*since) > OLDEST_VIEW)
        {
            self.values.pop_front();
        }
    }

    /// What may be taken for true.
    pub(super) fn known(&self, at: Timestamp) -> impl Iterator<Item = &T> + Clone {
        let ends = self
            .values
            .iter()
            .skip(1)
            .map(|(since, _)| Some(*since))
            .chain([None]);
        let is_recent =
            move |end: Option<Timestamp>| end.is_none_or(|end| at.duration_since(end) <= OLDEST_VIEW);
        let values = self.values.iter().zip(ends.collect::<Vec<_>>());
        values
            .filter(move |(_, end)| is_recent(*end))
            .map(|((_, value), _)| value)
    }
}
