//! What is wrong with a field, in Kubernetes' words. Source: embedded-cluster.md 5.

use std::fmt;

use serde_json::Value;

/// One line of a validation error: which field, what is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// E.g. `spec.template.metadata.labels`.
    pub field: String,
    /// Reason of the cause in the Status: `FieldValueRequired` and so on.
    pub reason: FieldErrorReason,
    /// The value that was refused, shown for `Invalid`, `NotSupported`, `Duplicate`, `TooLong`.
    pub value: Option<Value>,
    /// What is wrong, or what is accepted.
    pub detail: String,
}

/// What kind of wrong a field is. Source: embedded-cluster.md 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorReason {
    /// `Required value`.
    Required,
    /// `Invalid value`.
    Invalid,
    /// `Unsupported value`.
    NotSupported,
    /// `Forbidden`.
    Forbidden,
    /// `Duplicate value`.
    Duplicate,
    /// `Too long`.
    TooLong,
    /// `Not found`.
    NotFound,
    /// `Invalid value` of another type than the schema says.
    TypeInvalid,
    /// `Too many`.
    TooMany,
}

impl FieldError {
    /// A field that has to be set is not.
    pub fn required(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: FieldErrorReason::Required,
            value: None,
            detail: detail.into(),
        }
    }

    /// A field that may not be set, or not be changed.
    pub fn forbidden(field: impl Into<String>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: FieldErrorReason::Forbidden,
            value: None,
            detail: detail.into(),
        }
    }

    /// A value that breaks a rule.
    pub fn invalid(field: impl Into<String>, value: impl Into<Value>, detail: impl Into<String>) -> Self {
        Self {
            field: field.into(),
            reason: FieldErrorReason::Invalid,
            value: Some(value.into()),
            detail: detail.into(),
        }
    }

    /// A value twice where it may stand once.
    pub fn duplicate(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            field: field.into(),
            reason: FieldErrorReason::Duplicate,
            value: Some(value.into()),
            detail: String::new(),
        }
    }

    /// A reference to what is not there.
    pub fn not_found(field: impl Into<String>, value: impl Into<Value>) -> Self {
        Self {
            field: field.into(),
            reason: FieldErrorReason::NotFound,
            value: Some(value.into()),
            detail: String::new(),
        }
    }

    /// A value that is not one of a few.
    pub fn not_supported(field: impl Into<String>, value: impl Into<Value>, supported: &[&str]) -> Self {
        let supported: Vec<String> = supported.iter().map(|value| format!("\"{value}\"")).collect();
        Self {
            field: field.into(),
            reason: FieldErrorReason::NotSupported,
            value: Some(value.into()),
            detail: format!("supported values: {}", supported.join(", ")),
        }
    }

    /// The error without the field: the message of a cause.
    pub fn message(&self) -> String {
        let mut text = self.reason.text().to_owned();
        if let Some(value) = &self.value {
            text.push_str(": ");
            text.push_str(&value.to_string());
        }
        if !self.detail.is_empty() {
            text.push_str(": ");
            text.push_str(&self.detail);
        }
        text
    }
}

impl fmt::Display for FieldError {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}: {}", self.field, self.message())
    }
}

impl FieldErrorReason {
    /// As it stands in messages, e.g. `Required value`.
    pub fn text(self) -> &'static str {
        match self {
            Self::Required => "Required value",
            Self::Invalid | Self::TypeInvalid => "Invalid value",
            Self::TooMany => "Too many",
            Self::NotSupported => "Unsupported value",
            Self::Forbidden => "Forbidden",
            Self::Duplicate => "Duplicate value",
            Self::TooLong => "Too long",
            Self::NotFound => "Not found",
        }
    }

    /// As the `reason` of a cause, e.g. `FieldValueRequired`.
    pub fn cause(self) -> &'static str {
        match self {
            Self::Required => "FieldValueRequired",
            Self::Invalid => "FieldValueInvalid",
            Self::TypeInvalid => "FieldValueTypeInvalid",
            Self::TooMany => "FieldValueTooMany",
            Self::NotSupported => "FieldValueNotSupported",
            Self::Forbidden => "FieldValueForbidden",
            Self::Duplicate => "FieldValueDuplicate",
            Self::TooLong => "FieldValueTooLong",
            Self::NotFound => "FieldValueNotFound",
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use serde_json::json;

    #[test]
    fn errors_read_as_upstreams() {
        let cases = [
            (
                FieldError::required("spec.containers", ""),
                "spec.containers: Required value",
            ),
            (
                FieldError::invalid(
                    "spec.selector",
                    json!({"matchLabels": {"a": "b"}}),
                    "field is immutable",
                ),
                r#"spec.selector: Invalid value: {"matchLabels":{"a":"b"}}: field is immutable"#,
            ),
            (
                FieldError::not_supported("spec.restartPolicy", "Never", &["Always"]),
                r#"spec.restartPolicy: Unsupported value: "Never": supported values: "Always""#,
            ),
            (
                FieldError::duplicate("spec.containers[1].name", "a"),
                r#"spec.containers[1].name: Duplicate value: "a""#,
            ),
            (FieldError::forbidden("spec", "no"), "spec: Forbidden: no"),
        ];
        for (error, wanted) in cases {
            assert_eq!(error.to_string(), wanted);
        }
    }
}
