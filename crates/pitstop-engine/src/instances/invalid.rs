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

    pub(crate) fn event(&self) -> Event {
        Event {
            is_warning: true,
            reason: reasons::INVALID_SPEC,
            message: format!(
                "{}: {}; no pod is touched until it is mended",
                self.field, self.problem
            )
            .into(),
            once_per: Some(format!("{}={}", self.field, self.problem)),
        }
    }
}
