//! Errors as clients know them.
//!
//! Source: embedded-cluster.md 5.

use std::borrow::Cow;

use http::{HeaderValue, Response, StatusCode};
use serde_json::{Map, Value, json};

use super::Body;
use crate::access::{Attributes, User};
use crate::apply::Unconverted;
use crate::broken::{self, Defect};
use crate::kinds::{FieldError, Kind};
use crate::store::{Gone, WriteError};

/// A request that failed.
#[derive(Debug, Clone)]
pub(crate) struct Failure(Box<Parts>);

#[derive(Debug, Clone)]
struct Parts {
    code: StatusCode,
    reason: Cow<'static, str>,
    message: String,
    /// `None` where the Status has no `details` at all.
    details: Option<Map<String, Value>>,
    shape: Shape,
}

/// What the body of a failure is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Shape {
    Status,
    /// The page of a server that knows no such path.
    Page,
    Empty,
}

impl From<Unconverted> for Failure {
    fn from(error: Unconverted) -> Self {
        Self::internal_error(&error.to_string())
    }
}

impl Failure {
    fn new(code: StatusCode, reason: &'static str, message: impl Into<String>) -> Self {
        Self(Box::new(Parts {
            code,
            reason: Cow::Borrowed(reason),
            message: message.into(),
            details: None,
            shape: Shape::Status,
        }))
    }

    fn about(mut self, kind: &Kind, name: &str) -> Self {
        self.0.details = Some(details(kind, name));
        self
    }

    /// Without anything to say about an object, which is said.
    fn about_nothing(mut self) -> Self {
        self.0.details = Some(Map::new());
        self
    }

    fn of_shape(mut self, shape: Shape) -> Self {
        self.0.shape = shape;
        self
    }

    fn add_detail(&mut self, name: &str, value: impl Into<Value>) {
        let details = self.0.details.get_or_insert_default();
        details.insert(name.to_owned(), value.into());
    }

    /// Tells the client to come back after so many seconds.
    pub(super) fn retry_after(mut self, seconds: u32) -> Self {
        self.add_detail("retryAfterSeconds", seconds);
        self
    }

    /// Names what is wrong one by one.
    pub(super) fn with_causes(mut self, causes: Vec<Value>) -> Self {
        self.add_detail("causes", causes);
        self
    }

    /// Nothing is served at this path. Clients' discovery knows this very text.
    pub(super) fn no_such_path() -> Self {
        Self::new(
            StatusCode::NOT_FOUND,
            "NotFound",
            "the server could not find the requested resource",
        )
        .about_nothing()
    }

    /// Nothing is served at this path nor near it: not even the group exists.
    pub(super) fn no_such_page() -> Self {
        Self::no_such_path().of_shape(Shape::Page)
    }

    /// There is no such document.
    pub(super) fn no_such_document() -> Self {
        Self::no_such_path().of_shape(Shape::Empty)
    }

    /// 404 for an object.
    pub(super) fn not_found(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" not found", resource(kind));
        Self::new(StatusCode::NOT_FOUND, "NotFound", message).about(kind, name)
    }

    /// 409: a name is taken.
    pub(super) fn already_exists(kind: &Kind, name: &str) -> Self {
        let message = format!("{} \"{name}\" already exists", resource(kind));
        Self::new(StatusCode::CONFLICT, "AlreadyExists", message).about(kind, name)
    }

    /// 409: a name is taken by an object that still has to go.
    pub(super) fn still_exists(kind: &Kind, name: &str) -> Self {
        let mut failure = Self::already_exists(kind, name);
        failure.0.message.insert_str(0, "object is being deleted: ");
        failure
    }

    /// 409: no free name was found for a `generateName`.
    pub(super) fn no_free_name(kind: &Kind, name: &str) -> Self {
        let mut failure = Self::already_exists(kind, name).retry_after(1);
        failure
            .0
            .message
            .push_str(", the server was not able to generate a unique name for the object");
        failure
    }

    /// 409: someone else was faster.
    pub(super) fn modified(kind: &Kind, name: &str) -> Self {
        let why =
            "the object has been modified; please apply your changes to the latest version and try again";
        Self::conflict(kind, name, why)
    }

    /// 409 with another reason.
    pub(super) fn conflict(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            resource(kind)
        );
        Self::new(StatusCode::CONFLICT, "Conflict", message).about(kind, name)
    }

    /// 409 about a subresource, e.g. `pods/binding`.
    pub(super) fn conflict_below(kind: &Kind, sub: &str, name: &str, why: &str) -> Self {
        let resource = format!("{}/{sub}", resource(kind));
        let message = format!("Operation cannot be fulfilled on {resource} \"{name}\": {why}");
        let mut failure = Self::new(StatusCode::CONFLICT, "Conflict", message).about(kind, name);
        failure.add_detail("kind", format!("{}/{sub}", kind.plural));
        failure
    }

    /// 409: the object is not the one that a delete is about.
    pub(super) fn unmet(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!(
            "Operation cannot be fulfilled on {} \"{name}\": {why}",
            qualified(kind)
        );
        let mut failure = Self::new(StatusCode::CONFLICT, "Conflict", message).about(kind, name);
        failure.add_detail("kind", kind.kind);
        failure
    }

    /// 403.
    pub(super) fn forbidden(kind: &Kind, name: &str, why: &str) -> Self {
        let message = format!("{} \"{name}\" is forbidden: {why}", resource(kind));
        Self::new(StatusCode::FORBIDDEN, "Forbidden", message).about(kind, name)
    }

    /// 403 for a request that somebody may not make.
    pub(super) fn not_allowed(user: &User, asked: &Attributes, reason: &str) -> Self {
        let why = asked.refusal(user, reason);
        let resource = match asked.group.as_str() {
            "" => asked.resource.clone(),
            group => format!("{}.{group}", asked.resource),
        };
        let message = match (asked.is_resource(), asked.name.as_str()) {
            (false, _) => format!("forbidden: {why}"),
            (true, "") => format!("{resource} is forbidden: {why}"),
            (true, name) => format!("{resource} \"{name}\" is forbidden: {why}"),
        };
        let mut failure = Self::new(StatusCode::FORBIDDEN, "Forbidden", message);
        for (field, value) in [
            ("name", &asked.name),
            ("group", &asked.group),
            ("kind", &asked.resource),
        ] {
            if asked.is_resource() && !value.is_empty() {
                failure.add_detail(field, value.as_str());
            }
        }
        failure
    }

    /// 403 for what a request wants to write.
    pub(super) fn forbidden_write(asked: &Attributes, name: &str, why: &str) -> Self {
        let resource = match asked.group.as_str() {
            "" => asked.resource.clone(),
            group => format!("{}.{group}", asked.resource),
        };
        let message = format!("{resource} \"{name}\" is forbidden: {why}");
        let mut failure = Self::new(StatusCode::FORBIDDEN, "Forbidden", message);
        for (field, value) in [
            ("name", name),
            ("group", asked.group.as_str()),
            ("kind", asked.resource.as_str()),
        ] {
            if !value.is_empty() {
                failure.add_detail(field, value);
            }
        }
        failure
    }

    /// 403: nothing new in a namespace that goes away.
    pub(super) fn namespace_terminating(kind: &Kind, name: &str, namespace: &str) -> Self {
        let why =
            format!("unable to create new content in namespace {namespace} because it is being terminated");
        let cause = json!({
            "reason": "NamespaceTerminating",
            "message": format!("namespace {namespace} is being terminated"),
            "field": "metadata.namespace",
        });
        Self::forbidden(kind, name, &why).with_causes(vec![cause])
    }

    /// 400.
    pub(super) fn bad_request(message: impl Into<String>) -> Self {
        Self::new(StatusCode::BAD_REQUEST, "BadRequest", message)
    }

    /// 401.
    pub(crate) fn unauthorized() -> Self {
        Self::new(StatusCode::UNAUTHORIZED, "Unauthorized", "Unauthorized")
    }

    /// 405.
    pub(super) fn method_not_allowed() -> Self {
        let message = "the server does not allow this method on the requested resource";
        Self::new(StatusCode::METHOD_NOT_ALLOWED, "MethodNotAllowed", message).about_nothing()
    }

    /// 406: none of the media types that the client takes. The second text is what a form of JSON that is none gets.
    pub(super) fn not_acceptable(offered: &[&str], is_json: bool) -> Self {
        let offered = offered.join(", ");
        let code = StatusCode::NOT_ACCEPTABLE;
        if is_json {
            let message = format!("only the following media types are accepted: {offered}");
            return Self::new(code, "NotAcceptable", message);
        }
        let message = format!("406: Not Acceptable\n\nAvailable representations: {offered}");
        Self::new(code, "NotAcceptable", message).about_nothing()
    }

    /// 410 of a list.
    pub(super) fn list_expired(gone: Gone) -> Self {
        let Gone { requested, oldest } = gone;
        let message = format!(
            "The resourceVersion for the provided list is too old. (requested {requested}, oldest {oldest})"
        );
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 410 of a continued list.
    pub(super) fn continue_expired() -> Self {
        let message = "The provided continue parameter is too old to display a consistent list result. You can \
                       start a new list without the continue parameter.";
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 410 of a watch.
    pub(super) fn watch_expired(gone: Gone) -> Self {
        let message = format!("too old resource version: {} ({})", gone.requested, gone.oldest);
        Self::new(StatusCode::GONE, "Expired", message)
    }

    /// 409: others own fields that an apply would change.
    pub(super) fn apply_conflict(message: String, causes: Vec<Value>) -> Self {
        Self::new(StatusCode::CONFLICT, "Conflict", message).with_causes(causes)
    }

    /// 500 without a reason, as Kubernetes answers to what it cannot type.
    pub(super) fn untyped(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "", message)
    }

    /// 413.
    pub(super) fn too_large(message: impl Into<String>) -> Self {
        Self::new(StatusCode::PAYLOAD_TOO_LARGE, "RequestEntityTooLarge", message)
    }

    /// 415.
    pub(super) fn unsupported_media_type(message: impl Into<String>) -> Self {
        Self::new(
            StatusCode::UNSUPPORTED_MEDIA_TYPE,
            "UnsupportedMediaType",
            message,
        )
    }

    /// 415: no such type of patches.
    pub(super) fn unsupported_patch() -> Self {
        Self::unsupported_media_type("415: Unsupported Media Type").about_nothing()
    }

    /// 429.
    pub(super) fn too_many_requests(message: impl Into<String>) -> Self {
        Self::new(StatusCode::TOO_MANY_REQUESTS, "TooManyRequests", message)
    }

    /// 500.
    pub(super) fn internal(message: impl Into<String>) -> Self {
        Self::new(StatusCode::INTERNAL_SERVER_ERROR, "InternalError", message)
    }

    /// 503: nobody answers behind the server.
    pub(super) fn unavailable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::SERVICE_UNAVAILABLE, "ServiceUnavailable", message)
    }

    /// 500 for what went wrong while others were asked.
    pub(crate) fn internal_error(why: &str) -> Self {
        let cause = json!({"message": why});
        Self::internal(format!("Internal error occurred: {why}")).with_causes(vec![cause])
    }

    /// What a webhook says no with: its own code, reason and details.
    pub(super) fn denied(
        code: StatusCode,
        reason: String,
        message: String,
        details: Map<String, Value>,
    ) -> Self {
        let mut failure = Self::new(code, "", message);
        failure.0.reason = Cow::Owned(reason);
        failure.0.details = Some(details).filter(|details| !details.is_empty());
        failure
    }

    /// 504: the future has not come yet.
    pub(super) fn version_too_large(requested: u64, current: u64) -> Self {
        let message = format!("Timeout: Too large resource version: {requested}, current: {current}");
        let cause = json!({"reason": "ResourceVersionTooLarge", "message": "Too large resource version"});
        Self::new(StatusCode::GATEWAY_TIMEOUT, "Timeout", message)
            .with_causes(vec![cause])
            .retry_after(1)
    }

    /// 422 about fields of an object.
    pub(super) fn invalid(kind: &Kind, name: &str, errors: &[FieldError]) -> Self {
        let mut failure =
            Self::invalid_fields(&format!("{} \"{name}\" is invalid: ", qualified(kind)), errors);
        let mut about = details(kind, name);
        about.insert("kind".to_owned(), kind.kind.into());
        about.append(&mut failure.0.details.take().unwrap_or_default());
        failure.0.details = Some(about);
        failure
    }

    /// 422: objects of some kinds are only replaced by who knows them.
    pub(super) fn without_version(kind: &Kind, name: &str) -> Self {
        let error = FieldError::invalid("metadata.resourceVersion", 0, "must be specified for an update");
        let mut failure =
            Self::invalid_fields(&format!("{} \"{name}\" is invalid: ", resource(kind)), &[error]);
        let mut about = details(kind, name);
        about.append(&mut failure.0.details.take().unwrap_or_default());
        failure.0.details = Some(about);
        failure
    }

    /// 422 about the parameters of a request.
    pub(super) fn invalid_options(kind: &str, errors: &[FieldError]) -> Self {
        let mut failure = Self::invalid_fields(&format!("{kind}.meta.k8s.io \"\" is invalid: "), errors);
        failure.add_detail("group", "meta.k8s.io");
        failure.add_detail("kind", kind);
        failure
    }

    /// 422: what a patch made is no object of its kind; `patched` shows what it made.
    pub(super) fn invalid_patch(patched: String, why: &str) -> Self {
        let error = FieldError::invalid("patch", patched, why);
        Self::invalid_fields(" \"\" is invalid: ", &[error])
    }

    /// 400: a body does not say which object it is.
    pub(super) fn without_name(name: &str) -> Self {
        Self::bad_request(format!(
            "the name of the object ({name} based on URL) was undeterminable: name must be provided"
        ))
    }

    /// 400: a body is about another object than the URL.
    pub(super) fn other_name(given: &str, name: &str) -> Self {
        Self::bad_request(format!(
            "the name of the object ({given}) does not match the name on the URL ({name})"
        ))
    }

    /// 422 of a JSON patch that does not fit the object.
    pub(super) fn rejected() -> Self {
        let message = "the server rejected our request due to an error in our request";
        Self::unprocessable(message).about_nothing()
    }

    /// 422 about fields of something that has no name and is not stored. Access reviews do not even name their kind.
    pub(super) fn invalid_question(group: &str, kind: &str, errors: &[FieldError]) -> Self {
        let mut failure = Self::invalid_fields(&format!("{kind}.{group} \"\" is invalid: "), errors);
        failure.add_detail("group", group);
        if !kind.is_empty() {
            failure.add_detail("kind", kind);
        }
        failure
    }

    /// 422 with nothing but a text.
    pub(super) fn unprocessable(message: impl Into<String>) -> Self {
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message)
    }

    fn invalid_fields(start: &str, errors: &[FieldError]) -> Self {
        // The text says every problem once, the causes as often as it was found.
        let mut lines: Vec<String> = Vec::new();
        for line in errors.iter().map(ToString::to_string) {
            if !lines.contains(&line) {
                lines.push(line);
            }
        }
        let message = match lines.as_slice() {
            [one] => format!("{start}{one}"),
            many => format!("{start}[{}]", many.join(", ")),
        };
        let causes = errors
            .iter()
            .map(|e| json!({"reason": e.reason.cause(), "message": e.message(), "field": e.field}))
            .collect();
        Self::new(StatusCode::UNPROCESSABLE_ENTITY, "Invalid", message).with_causes(causes)
    }

    /// A write that the store refused.
    pub(super) fn from_write(error: WriteError, kind: &Kind, name: &str) -> Self {
        match error {
            WriteError::Exists => Self::already_exists(kind, name),
            WriteError::Missing => Self::not_found(kind, name),
            WriteError::Conflict => Self::modified(kind, name),
            WriteError::Closed => Self::new(
                StatusCode::SERVICE_UNAVAILABLE,
                "ServiceUnavailable",
                "storage is closed",
            ),
        }
    }

    /// Is it a 404?
    pub(super) fn is_not_found(&self) -> bool {
        self.0.code == StatusCode::NOT_FOUND
    }

    /// Is a name taken?
    pub(super) fn is_already_exists(&self) -> bool {
        self.0.reason == "AlreadyExists"
    }

    /// The Status object.
    pub(super) fn to_status(&self) -> Value {
        let Parts {
            code,
            reason,
            message,
            details,
            ..
        } = &*self.0;
        let mut status = json!({
            "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Failure",
            "message": message, "code": code.as_u16(),
        });
        if let (Some(status), false) = (status.as_object_mut(), reason.is_empty()) {
            status.insert("reason".to_owned(), reason.as_ref().into());
        }
        if let (Some(status), Some(details)) = (status.as_object_mut(), details) {
            status.insert("details".to_owned(), details.clone().into());
        }
        status
    }

    /// The answer that carries it.
    pub(crate) fn into_response(self) -> Response<Body> {
        let code = match self.0.code {
            StatusCode::CONFLICT if broken::is(Defect::ConflictCode) => StatusCode::BAD_REQUEST,
            code => code,
        };
        let mut response = match self.0.shape {
            Shape::Status => super::json(code, self.to_status().to_string()),
            Shape::Page => super::respond(code, "text/plain; charset=utf-8", "404 page not found\n"),
            Shape::Empty => {
                let mut response = super::respond(code, "text/plain", "");
                response.headers_mut().remove(http::header::CONTENT_TYPE);
                response
            }
        };
        let details = self.0.details.as_ref();
        let after = details
            .and_then(|details| details.get("retryAfterSeconds"))
            .map(Value::to_string);
        if let Some(after) = after.and_then(|text| HeaderValue::from_str(&text).ok()) {
            response.headers_mut().insert(http::header::RETRY_AFTER, after);
        }
        response
    }
}

/// The Status of a binding or an eviction that was made.
pub(super) fn created() -> Value {
    json!({"kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "code": 201})
}

/// The Status of a finished DELETE.
pub(super) fn deleted(kind: &Kind, name: &str, uid: &str) -> Value {
    let mut details = details(kind, name);
    details.insert("uid".to_owned(), uid.into());
    json!({
        "kind": "Status", "apiVersion": "v1", "metadata": {}, "status": "Success", "details": details,
    })
}

fn details(kind: &Kind, name: &str) -> Map<String, Value> {
    let mut details = Map::new();
    if !name.is_empty() {
        details.insert("name".to_owned(), name.into());
    }
    if !kind.group.is_empty() {
        details.insert("group".to_owned(), kind.group.into());
    }
    details.insert("kind".to_owned(), kind.plural.into());
    details
}

/// `Pod`, `DaemonSet.apps`.
fn qualified(kind: &Kind) -> String {
    match kind.group {
        "" => kind.kind.to_owned(),
        group => format!("{}.{group}", kind.kind),
    }
}

/// `pods`, `daemonsets.apps`.
fn resource(kind: &Kind) -> String {
    match kind.group {
        "" => kind.plural.to_owned(),
        group => format!("{}.{group}", kind.plural),
    }
}
