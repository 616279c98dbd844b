//! Parameters of writes.
//!
//! Source: embedded-cluster.md 6.1 and 6.5.

use http::Method;
use serde_json::Value;

use super::Call;
use super::status::Failure;
use crate::broken::{self, Defect};
use crate::kinds::{FieldError, FieldErrorReason, Kind};
use crate::schema::Decoded;

/// An object as its writer wants it, with what there is to say about the request.
#[derive(Debug)]
pub(super) struct Wanted {
    pub(super) object: Value,
    pub(super) warnings: Vec<String>,
}

/// `dryRun`, `fieldValidation` and `fieldManager`.
#[derive(Debug, Clone, Copy)]
pub(super) struct WriteOptions {
    pub(super) dry_run: bool,
    validation: FieldValidation,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum FieldValidation {
    Strict,
    Warn,
    Ignore,
}

/// What is wrong with the values of `dryRun`.
pub(super) fn dry_run_problem(values: &[Value]) -> Option<FieldError> {
    let is_wrong = values.iter().any(|value| value != "All");
    is_wrong.then(|| FieldError::not_supported("dryRun", values.to_vec(), &["All"]))
}

impl WriteOptions {
    /// Checks the parameters of a write.
    ///
    /// Source: embedded-cluster.md 6.5.
    pub(super) fn parse(call: &Call) -> Result<Self, Failure> {
        let options = match call.method {
            Method::PUT => "UpdateOptions",
            Method::PATCH => "PatchOptions",
            _ => "CreateOptions",
        };
        let mut errors = Vec::new();
        let asked: Vec<Value> = call.params.all("dryRun").map(Value::from).collect();
        let dry_run = !asked.is_empty() && !broken::is(Defect::WetDryRun);
        errors.extend(dry_run_problem(&asked));
        let validation = match call.params.get("fieldValidation") {
            Some("Strict") if broken::is(Defect::LooseStrict) => FieldValidation::Ignore,
            Some("Strict") => FieldValidation::Strict,
            Some("Ignore") => FieldValidation::Ignore,
            Some("Warn") | None => FieldValidation::Warn,
            Some(other) => {
                errors.push(FieldError::not_supported(
                    "fieldValidation",
                    other,
                    &["", "Ignore", "Strict", "Warn"],
                ));
                FieldValidation::Warn
            }
        };
        if let Some(manager) = call.params.get("fieldManager") {
            if manager.len() > 128 {
                errors.push(FieldError {
                    field: "fieldManager".to_owned(),
                    reason: FieldErrorReason::TooLong,
                    value: None,
                    detail: "may not be more than 128 bytes".to_owned(),
                });
            }
            if manager.chars().any(char::is_control) {
                errors.push(FieldError {
                    field: "fieldManager".to_owned(),
                    reason: FieldErrorReason::Invalid,
                    value: Some(manager.into()),
                    detail: "should only contain printable characters".to_owned(),
                });
            }
        }
        if errors.is_empty() {
            Ok(Self { dry_run, validation })
        } else {
            Err(Failure::invalid_options(options, &errors))
        }
    }

    /// Judges unknown and duplicate fields of a body.
    pub(super) fn accept(self, kind: &Kind, decoded: Decoded) -> Result<Wanted, Failure> {
        let Decoded {
            object,
            strict_errors,
        } = decoded;
        match self.validation {
            FieldValidation::Strict if !strict_errors.is_empty() => Err(Failure::bad_request(format!(
                "{kind} in version \"{version}\" cannot be handled as a {kind}: strict decoding error: {errors}",
                kind = kind.kind,
                version = kind.version,
                errors = strict_errors.join(", "),
            ))),
            FieldValidation::Strict | FieldValidation::Ignore => Ok(Wanted {
                object,
                warnings: Vec::new(),
            }),
            FieldValidation::Warn => Ok(Wanted {
                object,
                warnings: strict_errors,
            }),
        }
    }

    /// The same for what a patch made; `patched` shows it.
    pub(super) fn accept_patch(
        self,
        decoded: Decoded,
        patched: impl FnOnce() -> String,
    ) -> Result<Wanted, Failure> {
        let Decoded {
            object,
            strict_errors,
        } = decoded;
        match self.validation {
            FieldValidation::Strict if !strict_errors.is_empty() => Err(Failure::invalid_patch(
                patched(),
                &format!("strict decoding error: {}", strict_errors.join(", ")),
            )),
            FieldValidation::Strict | FieldValidation::Ignore => Ok(Wanted {
                object,
                warnings: Vec::new(),
            }),
            FieldValidation::Warn => Ok(Wanted {
                object,
                warnings: strict_errors,
            }),
        }
    }
}
