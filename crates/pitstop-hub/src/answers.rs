//! The exact answers: codes, content types, texts and the JSON error object.
//!
//! Source: hub.md A3, A5, B2 (2), B6.

use std::convert::Infallible;

use bytes::Bytes;
use http::header::{ACCEPT, ALLOW, CONTENT_TYPE, RETRY_AFTER, X_CONTENT_TYPE_OPTIONS};
use http::{HeaderMap, HeaderValue, Response, StatusCode};
use http_body_util::{BodyExt as _, Full, combinators::UnsyncBoxBody};
use serde_json::{Value, json};

use crate::checks::{Action, Refusal, Told};

/// Body of an answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;
/// An answer.
pub(crate) type Answer = Response<Body>;

const TEXT: HeaderValue = HeaderValue::from_static("text/plain; charset=utf-8");
const JSON: HeaderValue = HeaderValue::from_static("application/json");

/// Whether the client names `application/json` with a quality above zero; `*/*` does not count.
///
/// Source: hub.md B2 (2).
pub(crate) fn wants_json(headers: &HeaderMap) -> bool {
    headers
        .get_all(ACCEPT)
        .iter()
        .filter_map(|value| value.to_str().ok())
        .flat_map(|value| value.split(','))
        .any(|range| {
            let mut parts = range.split(';').map(str::trim);
            let named = parts
                .next()
                .is_some_and(|kind| kind.eq_ignore_ascii_case("application/json"));
            let refused = parts.any(|parameter| {
                parameter.split_once('=').is_some_and(|(key, value)| {
                    key.trim().eq_ignore_ascii_case("q")
                        && value.trim().parse::<f32>().is_ok_and(|q| q <= 0.0)
                })
            });
            named && !refused
        })
}

fn answer(code: u16, kind: HeaderValue, body: Bytes) -> Answer {
    let mut answer = Response::new(Full::new(body).boxed_unsync());
    *answer.status_mut() = StatusCode::from_u16(code).unwrap_or(StatusCode::INTERNAL_SERVER_ERROR);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// A bare text, without a final newline unless it has one.
pub(crate) fn text(code: u16, body: impl Into<Bytes>) -> Answer {
    answer(code, TEXT, body.into())
}

/// A text as Go's `http.Error` sends it: with a newline, and browsers must not guess its type.
pub(crate) fn line(code: u16, body: &str) -> Answer {
    let mut answer = text(code, format!("{body}\n"));
    answer
        .headers_mut()
        .insert(X_CONTENT_TYPE_OPTIONS, HeaderValue::from_static("nosniff"));
    answer
}

/// A JSON document with a final newline.
pub(crate) fn json(code: u16, body: &Value) -> Answer {
    answer(code, JSON, format!("{body}\n").into())
}

/// A bare text that claims to be JSON, as successes of the routes of A5 and A6 do.
pub(crate) fn bare(code: u16, body: impl Into<Bytes>) -> Answer {
    answer(code, JSON, body.into())
}

/// A body of our own with the content type of JSON.
pub(crate) fn stream(kind: HeaderValue, body: Body) -> Answer {
    let mut answer = Response::new(body);
    answer.headers_mut().insert(CONTENT_TYPE, kind);
    answer
}

/// No such path.
pub(crate) fn no_such_path() -> Answer {
    line(404, "404 page not found")
}

/// The path is known, the method is not: an empty body and no `Allow`.
///
/// Source: hub.md A3.
pub(crate) fn no_such_method() -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *answer.status_mut() = StatusCode::METHOD_NOT_ALLOWED;
    debug_assert!(!answer.headers().contains_key(ALLOW));
    answer
}

/// The same path, cleaned.
pub(crate) fn moved(to: &str) -> Answer {
    let mut answer = Response::new(Full::new(Bytes::new()).boxed_unsync());
    *answer.status_mut() = StatusCode::MOVED_PERMANENTLY;
    if let Ok(to) = HeaderValue::from_str(to) {
        answer.headers_mut().insert(http::header::LOCATION, to);
    }
    answer
}

/// A failure that has no pod: text or Status, by what the client asks for.
pub(crate) fn failure(as_json: bool, code: u16, reason: &str, message: &str) -> Answer {
    if as_json {
        json(code, &status_failure(code, reason, message, json!({})))
    } else {
        text(code, message.to_owned())
    }
}

/// With the number of seconds after which the client may come back.
pub(crate) fn retry_after(mut answer: Answer, seconds: u64) -> Answer {
    answer
        .headers_mut()
        .insert(RETRY_AFTER, HeaderValue::from(seconds));
    answer
}

fn status_failure(code: u16, reason: &str, message: &str, details: Value) -> Value {
    let mut status = json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
        "message": message, "reason": reason, "code": code,
    });
    if details.as_object().is_some_and(|details| !details.is_empty()) {
        status["details"] = details;
    }
    status
}

/// Why something was not done to a pod.
///
/// Source: hub.md A5, A6, B6.
pub(crate) fn refusal(
    as_json: bool,
    action: Action,
    namespace: &str,
    name: &str,
    refusal: &Refusal,
) -> Answer {
    let message = Told {
        action,
        namespace,
        name,
        refusal,
    }
    .to_string();
    let answer = if as_json {
        let mut details = json!({ "kind": "pods", "name": name });
        if let Some(cause) = refusal.cause() {
            details["causes"] = json!([{ "reason": refusal.reason(), "message": cause }]);
        }
        if let Some(seconds) = refusal.retry_after() {
            details["retryAfterSeconds"] = json!(seconds);
        }
        let code = match refusal {
            // An answer that did not come is another thing than a bad one.
            Refusal::Backend(error) if error.starts_with("no answer within") => {
                return json(504, &status_failure(504, "Timeout", &message, details));
            }
            refusal => refusal.json_code(),
        };
        json(code, &status_failure(code, refusal.reason(), &message, details))
    } else {
        text(refusal.text_code(), message)
    };
    match refusal.retry_after() {
        Some(seconds) if as_json => retry_after(answer, u64::from(seconds)),
        _ => answer,
    }
}

/// The intent that an answer is about, for the audit log.
#[derive(Debug, Clone)]
pub(crate) struct IntentId(pub(crate) String);

/// What was done, or will be, to a pod.
///
/// Source: hub.md A5, B5, B6.
pub(crate) struct Done<'a> {
    /// 200 or 202.
    pub(crate) code: u16,
    /// The words.
    pub(crate) message: String,
    /// Name of the pod.
    pub(crate) name: &'a str,
    /// Identity of the pod.
    pub(crate) uid: &'a str,
    /// The intent that keeps it.
    pub(crate) intent: Option<&'a str>,
}

impl Done<'_> {
    pub(crate) fn answer(&self, as_json: bool) -> Answer {
        let mut answer = if as_json {
            let mut details = json!({ "kind": "pods", "name": self.name, "uid": self.uid });
            if let Some(intent) = self.intent {
                details["causes"] = json!([{ "reason": "Intent", "message": intent }]);
            }
            json(
                self.code,
                &json!({
                    "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success",
                    "message": self.message, "details": details, "code": self.code,
                }),
            )
        } else {
            bare(self.code, self.message.clone())
        };
        if let Some(intent) = self.intent {
            answer.extensions_mut().insert(IntentId(intent.to_owned()));
        }
        if let (202, Some(intent)) = (self.code, self.intent)
            && let Ok(location) = HeaderValue::from_str(&format!("/pitstop/v1/intents/{intent}"))
        {
            answer.headers_mut().insert(http::header::LOCATION, location);
        }
        answer
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn only_a_named_json_asks_for_json() {
        for (accept, expected) in [
            ("application/json", true),
            ("text/html, Application/JSON;q=0.5", true),
            ("application/json;q=0", false),
            ("application/json; q=0.0", false),
            ("*/*", false),
            ("application/*", false),
            ("application/jsonx", false),
            ("", false),
        ] {
            let mut headers = HeaderMap::new();
            headers.insert(ACCEPT, HeaderValue::from_str(accept).unwrap());
            assert_eq!(wants_json(&headers), expected, "{accept}");
        }
        assert!(!wants_json(&HeaderMap::new()));
    }
}
