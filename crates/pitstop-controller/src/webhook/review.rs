//! What API servers ask, and how they are answered: `AdmissionReview` and `ConversionReview`, v1 and v1beta1.
//!
//! Both versions look the same as far as they are used here; an answer has the version of its question.

use base64::Engine as _;
use base64::engine::general_purpose::STANDARD;
use pitstop_api::fields::{list, text};
use pitstop_api::json_diff::{Operation, diff};
use pitstop_api::kruise::is_spec_untouched;
use pitstop_api::validate::FieldError;
use serde_json::{Value, json};

/// A review that asks nothing that can be answered.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct ReviewError(pub(super) String);

/// The cause by which clients know that a budget keeps a pod from eviction.
const DISRUPTION: &str = "DisruptionBudget";

/// The request of an `AdmissionReview`.
#[derive(Debug, Clone, Copy)]
pub(super) struct Admission<'a> {
    /// `CREATE`, `UPDATE`, `DELETE` or `CONNECT`.
    pub(super) operation: &'a str,
    /// Namespace of the object.
    pub(super) namespace: &'a str,
    /// Name of the object; empty while one has still to be generated.
    pub(super) name: &'a str,
    /// The object as it is to be stored.
    pub(super) object: Option<&'a Value>,
    /// The object as it is stored.
    pub(super) old: Option<&'a Value>,
}

impl<'a> Admission<'a> {
    pub(super) fn read(review: &'a Value) -> Result<Self, ReviewError> {
        let request = request(review, "AdmissionReview")?;
        let object = |name: &str| request.get(name).filter(|object| object.is_object());
        Ok(Self {
            operation: text(request, "/operation"),
            namespace: text(request, "/namespace"),
            name: text(request, "/name"),
            object: object("object"),
            old: object("oldObject"),
        })
    }

    /// Fills in defaults.
    pub(super) fn mutate<T>(
        &self,
        decode: impl FnOnce(&Value) -> Result<T, String>,
        default: impl FnOnce(&mut Value),
    ) -> Verdict {
        let object = match self.readable(decode) {
            Ok(object) => object,
            Err(verdict) => return verdict,
        };
        let mut defaulted = object.clone();
        default(&mut defaulted);
        Verdict::Allowed(diff(object, &defaulted))
    }

    /// The object that is to be stored, or what becomes of the request where there is none or where it cannot be read. A spec
    /// that is stored like this is no reason: its finalizers have to go.
    pub(super) fn readable<T>(
        &self,
        decode: impl FnOnce(&Value) -> Result<T, String>,
    ) -> Result<&'a Value, Verdict> {
        let object = self.object.ok_or(Verdict::ALLOWED)?;
        match decode(object) {
            Err(why) if !is_spec_untouched(object, self.old) => Err(Verdict::undecodable(why)),
            _ => Ok(object),
        }
    }
}

/// What becomes of a request.
#[derive(Debug, Clone, PartialEq)]
pub(super) enum Verdict {
    /// It goes on, perhaps with changes.
    Allowed(Vec<Operation>),
    /// It goes on as it is, and whoever wrote it is warned.
    Warned(Vec<String>),
    /// It ends here.
    Denied {
        /// HTTP status code.
        code: u16,
        /// One word.
        reason: &'static str,
        /// Why, for people.
        message: String,
        /// `details` of the status.
        details: Value,
    },
}

impl Verdict {
    /// It goes on as it is.
    pub(super) const ALLOWED: Self = Self::Allowed(Vec::new());

    /// The object cannot be read. Source: cloneset.md 1.6.
    pub(super) fn undecodable(why: String) -> Self {
        Self::Denied {
            code: 400,
            reason: "BadRequest",
            message: why,
            details: json!({}),
        }
    }

    /// The object must stay.
    pub(super) fn forbidden(why: String) -> Self {
        Self::Denied {
            code: 403,
            reason: "Forbidden",
            message: why,
            details: json!({}),
        }
    }

    /// It cannot be judged now.
    pub(super) fn unknown(why: String) -> Self {
        Self::Denied {
            code: 500,
            reason: "InternalError",
            message: why,
            details: json!({}),
        }
    }

    /// A pod must not be evicted now; later perhaps. As a disruption budget says it, so that whoever drains a node tries
    /// again.
    pub(super) fn disruption(pod: &str, why: &str) -> Self {
        Self::Denied {
            code: 429,
            reason: "TooManyRequests",
            message: format!("Cannot evict pod {pod}: {why}"),
            details: json!({"name": pod, "kind": "pods", "causes": [{"reason": DISRUPTION, "message": why}]}),
        }
    }

    /// Fields of the object are wrong, if there are any. All of them are named, in the message and as causes.
    pub(super) fn of_errors(errors: &[FieldError], (group, kind, name): (&str, &str, &str)) -> Self {
        let texts: Vec<String> = errors.iter().map(ToString::to_string).collect();
        let message = match texts.as_slice() {
            [] => return Self::ALLOWED,
            [one] => one.clone(),
            several => format!("[{}]", several.join(", ")),
        };
        let causes = errors.iter().map(
            |error| json!({"reason": error.reason.cause(), "message": error.message(), "field": error.field}),
        );
        Self::Denied {
            code: 422,
            reason: "Invalid",
            message,
            details: json!({"group": group, "kind": kind, "name": name, "causes": causes.collect::<Vec<_>>()}),
        }
    }

    /// Whoever wrote it is warned, where it goes on.
    pub(super) fn warning(self, warnings: Vec<String>) -> Self {
        match self {
            Self::Allowed(operations) if operations.is_empty() && !warnings.is_empty() => {
                Self::Warned(warnings)
            }
            other => other,
        }
    }

    /// The answer to the review that it is about.
    pub(super) fn to_review(&self, review: &Value) -> Value {
        let mut response = json!({"uid": text(review, "/request/uid")});
        match self {
            Self::Allowed(operations) => {
                response["allowed"] = true.into();
                if !operations.is_empty() {
                    let patch: Value = operations.iter().map(Operation::to_json).collect();
                    response["patchType"] = "JSONPatch".into();
                    response["patch"] = STANDARD.encode(patch.to_string()).into();
                }
            }
            Self::Warned(warnings) => {
                response["allowed"] = true.into();
                response["warnings"] = warnings.clone().into();
            }
            Self::Denied {
                code,
                reason,
                message,
                details,
            } => {
                response["allowed"] = false.into();
                response["status"] = json!({
                    "status": "Failure", "code": code, "reason": reason, "message": message, "details": details,
                });
            }
        }
        answer(review, "AdmissionReview", "admission.k8s.io/v1", response)
    }
}

/// The objects of a `ConversionReview`, and the version that is wanted of them.
pub(super) fn objects_to_convert(review: &Value) -> Result<(&[Value], &str), ReviewError> {
    let request = request(review, "ConversionReview")?;
    Ok((list(request, "/objects"), text(request, "/desiredAPIVersion")))
}

/// The answer to a `ConversionReview`.
pub(super) fn converted(review: &Value, converted: Result<Vec<Value>, ReviewError>) -> Value {
    let uid = text(review, "/request/uid");
    let response = match converted {
        Ok(objects) => json!({"uid": uid, "result": {"status": "Success"}, "convertedObjects": objects}),
        Err(ReviewError(why)) => {
            json!({"uid": uid, "result": {"status": "Failed", "message": why}, "convertedObjects": []})
        }
    };
    answer(review, "ConversionReview", "apiextensions.k8s.io/v1", response)
}

fn request<'a>(review: &'a Value, kind: &str) -> Result<&'a Value, ReviewError> {
    let is_kind = text(review, "/kind") == kind;
    let request = review
        .get("request")
        .filter(|request| is_kind && request.is_object());
    request.ok_or_else(|| ReviewError(format!("expected an object of kind {kind} with a request")))
}

fn answer(review: &Value, kind: &str, newest: &str, response: Value) -> Value {
    let version = match text(review, "/apiVersion") {
        "" => newest,
        given => given,
    };
    let mut answer = json!({"apiVersion": version, "kind": kind});
    answer["response"] = response;
    answer
}
