//! Refusals, sorted by what the caller should do.

use std::time::Duration;

use serde::Deserialize;

use super::rights::{MissingRight, OwnerKind};

/// Why a request did not do what was asked, by what the caller should do.
#[derive(Debug, Clone, thiserror::Error)]
#[non_exhaustive]
pub enum CallError {
    /// 404: the object is gone.
    #[error("{0}")]
    NotFound(Refusal),
    /// 409 `AlreadyExists`: the name is taken.
    #[error("{0}")]
    AlreadyExists(Refusal),
    /// 409: the object is not what we thought; look again.
    #[error("{0}")]
    Conflict(Refusal),
    /// 410: what we knew is too old; list again.
    #[error("{0}")]
    Gone(Refusal),
    /// 403: a right is missing ([`CallError::missing_right`]), a quota is used up, or admission says no.
    #[error("{0}")]
    Forbidden(Refusal),
    /// 429, 503, 504 and other 5xx: try again later.
    #[error("{0}")]
    Busy(Refusal),
    /// Any other refusal: trying again does not help by itself.
    #[error("{0}")]
    Refused(Refusal),
    /// No answer. The request may or may not have been carried out.
    #[error("{0}")]
    Unreachable(String),
    /// An answer that cannot be read.
    #[error("{what}: {problem}")]
    Unreadable {
        /// What was read.
        what: String,
        /// What is wrong with it.
        problem: String,
    },
    /// The lease is lost, or was not renewed in time: nothing may be written.
    #[error("not written: the lease is lost, or was not renewed in time")]
    LeaseLost,
}

/// What the API server said instead of doing it.
#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
pub struct Refusal {
    /// HTTP status code.
    pub code: u16,
    /// CamelCase word.
    pub reason: String,
    /// Text for people.
    pub message: String,
    details: Details,
    /// Whom the object that was sent named as its controller. The answer does not say it.
    #[serde(skip)]
    owner: Option<OwnerKind>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default, rename_all = "camelCase")]
struct Details {
    retry_after_seconds: u32,
    causes: Vec<Cause>,
}

#[derive(Debug, Clone, Default, PartialEq, Eq, Deserialize)]
#[serde(default)]
struct Cause {
    reason: String,
    field: String,
}

impl Refusal {
    /// Is this field one of those that the server complains of?
    fn is_about(&self, field: &str) -> bool {
        self.details.causes.iter().any(|cause| cause.field == field)
    }
}

impl std::fmt::Display for Refusal {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        if let Some(right) = self.missing_right() {
            return right.fmt(f);
        }
        if self.message.is_empty() {
            write!(f, "the server answered {} {}", self.code, self.reason)
        } else {
            f.write_str(&self.message)
        }
    }
}

impl Refusal {
    fn missing_right(&self) -> Option<MissingRight> {
        let right = (self.code == 403).then(|| MissingRight::from_message(&self.message))??;
        Some(self.owner.map_or(right.clone(), |owner| right.on(owner)))
    }
}

impl CallError {
    /// Sorts a refusal by its code and reason.
    pub fn from_answer(code: u16, body: &[u8]) -> Self {
        let mut refusal: Refusal = serde_json::from_slice(body).unwrap_or_else(|_| Refusal {
            message: String::from_utf8_lossy(body.get(..200).unwrap_or(body))
                .trim()
                .to_owned(),
            ..Refusal::default()
        });
        refusal.code = code;
        match code {
            404 => Self::NotFound(refusal),
            409 if refusal.reason == "AlreadyExists" => Self::AlreadyExists(refusal),
            409 => Self::Conflict(refusal),
            // A patch that names the uid of an object which was replaced by another of its name.
            422 if refusal.is_about("metadata.uid") => Self::Conflict(refusal),
            410 => Self::Gone(refusal),
            403 => Self::Forbidden(refusal),
            429 | 500..=599 => Self::Busy(refusal),
            _ => Self::Refused(refusal),
        }
    }

    /// How long the server asks us to wait.
    pub fn retry_after(&self) -> Option<Duration> {
        match self {
            Self::Busy(refusal) if refusal.details.retry_after_seconds > 0 => Some(Duration::from_secs(
                u64::from(refusal.details.retry_after_seconds),
            )),
            _ => None,
        }
    }

    /// Was something refused because its namespace is being deleted? That ends by itself.
    pub fn is_namespace_terminating(&self) -> bool {
        matches!(self, Self::Forbidden(refusal)
            if refusal.details.causes.iter().any(|cause| cause.reason == "NamespaceTerminating"))
    }

    /// The answer to an object that names this one as its controller.
    #[must_use]
    pub fn owned_by(mut self, owner: Option<OwnerKind>) -> Self {
        if let Self::Forbidden(refusal) = &mut self {
            refusal.owner = owner;
        }
        self
    }

    /// The right that is missing; `None`: something else is wrong.
    pub fn missing_right(&self) -> Option<MissingRight> {
        match self {
            Self::Forbidden(refusal) => refusal.missing_right(),
            _ => None,
        }
    }

    /// The HTTP status code of a refusal.
    pub fn code(&self) -> Option<u16> {
        match self {
            Self::NotFound(refusal)
            | Self::AlreadyExists(refusal)
            | Self::Conflict(refusal)
            | Self::Gone(refusal)
            | Self::Forbidden(refusal)
            | Self::Busy(refusal)
            | Self::Refused(refusal) => Some(refusal.code),
            Self::Unreachable(_) | Self::Unreadable { .. } | Self::LeaseLost => None,
        }
    }

    /// Does it show that the right to ask was there?
    pub(super) fn is_past_authorization(&self) -> bool {
        match self {
            Self::NotFound(_) | Self::AlreadyExists(_) | Self::Conflict(_) | Self::Gone(_) => true,
            Self::Forbidden(refusal) => refusal.missing_right().is_none(),
            Self::Refused(refusal) => refusal.code == 422,
            Self::Busy(_) | Self::Unreachable(_) | Self::Unreadable { .. } | Self::LeaseLost => false,
        }
    }

    /// Is it about what others did in the meantime rather than about something being wrong?
    pub fn is_news(&self) -> bool {
        matches!(
            self,
            Self::NotFound(_) | Self::Conflict(_) | Self::AlreadyExists(_)
        )
    }

    /// May the request have been carried out although we got no answer?
    ///
    /// A proxy says 502, 503 or 504 also when its connection broke after it had passed the request on.
    pub fn is_ambiguous(&self) -> bool {
        match self {
            Self::Unreachable(_) => true,
            Self::Busy(refusal) => refusal.code >= 500,
            _ => false,
        }
    }

    /// The word for metrics.
    pub fn as_str(&self) -> &'static str {
        match self {
            Self::NotFound(_) => "not_found",
            Self::AlreadyExists(_) => "already_exists",
            Self::Conflict(_) => "conflict",
            Self::Gone(_) => "gone",
            Self::Forbidden(_) => "forbidden",
            Self::Busy(_) => "busy",
            Self::Refused(_) => "refused",
            Self::Unreachable(_) => "unreachable",
            Self::Unreadable { .. } => "unreadable",
            Self::LeaseLost => "lease_lost",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn refusals_are_sorted_by_what_to_do() {
        for (code, reason, want) in [
            (404, "NotFound", "not_found"),
            (409, "AlreadyExists", "already_exists"),
            (409, "Conflict", "conflict"),
            (410, "Expired", "gone"),
            (403, "Forbidden", "forbidden"),
            (429, "TooManyRequests", "busy"),
            (503, "ServiceUnavailable", "busy"),
            (422, "Invalid", "refused"),
        ] {
            let body = format!(r#"{{"kind":"Status","reason":"{reason}","message":"m"}}"#);
            let error = CallError::from_answer(code, body.as_bytes());
            assert_eq!(error.as_str(), want, "{code} {reason}");
            assert_eq!(error.to_string(), "m");
        }
    }

    #[test]
    fn an_answer_that_is_no_status_is_quoted() {
        let error = CallError::from_answer(502, b"bad gateway\n");
        assert_eq!(error.to_string(), "bad gateway");
        assert!(error.is_ambiguous());
        assert!(CallError::from_answer(503, b"").is_ambiguous());
        assert!(!CallError::from_answer(429, b"").is_ambiguous());
    }

    #[test]
    fn a_missing_right_is_said_in_our_words_and_a_quota_in_those_of_the_server() {
        let rbac = br#"{"message":"nodes is forbidden: User \"u\" cannot list resource \"nodes\" in API group \"\" at the cluster scope"}"#;
        let error = CallError::from_answer(403, rbac);
        assert_eq!(
            error.to_string(),
            "not allowed to list nodes: user \"u\" lacks verb \"list\" on resource \"nodes\" (API group \"\")"
        );
        let quota = CallError::from_answer(
            403,
            br#"{"message":"pods \"x\" is forbidden: exceeded quota: q"}"#,
        );
        assert_eq!(quota.to_string(), "pods \"x\" is forbidden: exceeded quota: q");
        assert!(quota.missing_right().is_none());
        assert!(
            CallError::from_answer(500, rbac).missing_right().is_none(),
            "not a refusal"
        );
    }

    #[test]
    fn a_patch_for_an_object_that_was_replaced_is_a_conflict() {
        let body = br#"{"reason":"Invalid","details":{"causes":[{"reason":"FieldValueInvalid","field":"metadata.uid"}]}}"#;
        assert!(CallError::from_answer(422, body).is_news());
        let body =
            br#"{"reason":"Invalid","details":{"causes":[{"reason":"FieldValueInvalid","field":"spec"}]}}"#;
        assert!(!CallError::from_answer(422, body).is_news());
    }

    #[test]
    fn a_terminating_namespace_is_recognised() {
        let body = br#"{"reason":"Forbidden","details":{"causes":[{"reason":"NamespaceTerminating"}]}}"#;
        assert!(CallError::from_answer(403, body).is_namespace_terminating());
    }
}
