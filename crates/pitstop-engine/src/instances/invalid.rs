//! Fields that cannot be read.

use std::borrow::Cow;

use pitstop_api::reasons;

use crate::plan::Event;

/// A field that cannot be read. Nothing is done that depends on it.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Invalid {
    pub(crate) field: Cow<'static, str>,
    problem: String,
}

impl Invalid {
    pub(crate) fn of(field: &'static str, problem: &impl ToString) -> Self {
        Self {
            field: field.into(),
            problem: problem.to_string(),
        }
    }

    /// A field whose name is not known before, such as an annotation.
    pub(crate) fn named(field: String, problem: &impl ToString) -> Self {
        Self {
            field: field.into(),
            problem: problem.to_string(),
        }
    }

    /// For people.
    pub(crate) fn message(&self) -> String {
        format!(
            "{}: {}; no pod is touched until it is mended",
            self.field, self.problem
        )
    }

    pub(crate) fn event(&self) -> Event {
        Event {
            is_warning: true,
            reason: reasons::INVALID_SPEC,
            message: self.message().into(),
            once_per: Some(format!("{}={}", self.field, self.problem)),
        }
    }
}
