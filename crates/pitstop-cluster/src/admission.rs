//! Admission webhooks: which of them are asked about a request, what they are asked, and what they answered.
//!
//! Everything here is a function of its input; `api::admission` asks.
//!
//! Source: embedded-cluster.md 13; rules and texts are those of kube-apiserver 1.34.

use std::time::Duration;

use http::StatusCode;
use pitstop_api::selector::{LabelSelector, Labels, Selector};
use serde_json::{Map, Value, json};

use crate::access::User;
use crate::kinds::Kind;
use crate::webhook::Place;

/// Group of the configurations, which no webhook is asked about.
pub(crate) const GROUP: &str = "admissionregistration.k8s.io";

/// One webhook of a configuration.
#[derive(Debug, Clone)]
pub(crate) struct Webhook {
    pub(crate) name: String,
    pub(crate) place: Place,
    pub(crate) timeout: Duration,
    /// Does a request go on when the webhook cannot be asked?
    pub(crate) may_fail: bool,
    /// Is it asked again when others have changed the object after it?
    pub(crate) again: bool,
    rules: Vec<Rule>,
    takes_equivalent: bool,
    namespaces: Option<Selector>,
    objects: Option<Selector>,
    review_version: &'static str,
}

#[derive(Debug, Clone)]
struct Rule {
    operations: Vec<String>,
    groups: Vec<String>,
    versions: Vec<String>,
    resources: Vec<String>,
    scope: String,
}

/// What is done to an object.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Operation {
    Create,
    Update,
    Delete,
}

impl Operation {
    fn name(self) -> &'static str {
        match self {
            Self::Create => "CREATE",
            Self::Update => "UPDATE",
            Self::Delete => "DELETE",
        }
    }
}

/// A kind of body, by group, version and kind.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Form {
    pub(crate) group: &'static str,
    pub(crate) version: &'static str,
    pub(crate) kind: &'static str,
}

impl Form {
    pub(crate) fn of(kind: &Kind) -> Self {
        Self {
            group: kind.group,
            version: kind.version,
            kind: kind.kind,
        }
    }

    /// A body as one of this form.
    pub(crate) fn shown(self, mut body: Value) -> Value {
        if let Some(body) = body.as_object_mut() {
            let api_version = match self.group {
                "" => self.version.to_owned(),
                group => format!("{group}/{}", self.version),
            };
            body.insert("apiVersion".to_owned(), api_version.into());
            body.insert("kind".to_owned(), self.kind.into());
        }
        body
    }

    fn to_value(self) -> Value {
        json!({"group": self.group, "version": self.version, "kind": self.kind})
    }
}

/// A request, but for the objects.
#[derive(Debug)]
pub(crate) struct Request<'a> {
    pub(crate) operation: Operation,
    /// Of what the path names.
    pub(crate) kind: &'static Kind,
    /// Of the body, which differs below objects.
    pub(crate) form: Form,
    /// Empty for the object itself.
    pub(crate) subresource: &'static str,
    /// Empty as long as it has not been generated.
    pub(crate) name: String,
    /// Empty for what is in no namespace.
    pub(crate) namespace: String,
    pub(crate) user: &'a User,
    pub(crate) options: Value,
    pub(crate) dry_run: bool,
}

/// The objects of a request.
#[derive(Debug, Clone, Copy)]
pub(crate) struct Objects<'a> {
    pub(crate) new: Option<&'a Value>,
    pub(crate) old: Option<&'a Value>,
}

/// What a webhook answered.
#[derive(Debug, PartialEq)]
pub(crate) struct Verdict {
    /// Why not, if it says no.
    pub(crate) denial: Option<Denial>,
    /// A JSON patch.
    pub(crate) patch: Option<Vec<u8>>,
    pub(crate) warnings: Vec<String>,
}

/// A webhook's no.
#[derive(Debug, PartialEq)]
pub(crate) struct Denial {
    pub(crate) code: StatusCode,
    pub(crate) reason: String,
    pub(crate) message: String,
    pub(crate) details: Map<String, Value>,
}

fn texts(value: &Value, field: &str) -> Vec<String> {
    let list = value.get(field).and_then(Value::as_array);
    list.into_iter()
        .flatten()
        .filter_map(Value::as_str)
        .map(str::to_owned)
        .collect()
}

/// The webhooks of a configuration, in its order.
pub(crate) fn webhooks(configuration: &Value) -> Vec<Webhook> {
    let list = configuration.get("webhooks").and_then(Value::as_array);
    list.into_iter().flatten().filter_map(webhook).collect()
}

fn webhook(value: &Value) -> Option<Webhook> {
    let text = |field: &str| value.get(field).and_then(Value::as_str).unwrap_or_default();
    // A selector that cannot be understood selects nothing; it has been refused when it was written.
    let selector = |field: &str| {
        let given: LabelSelector = match value.get(field) {
            Some(given) => serde_json::from_value(given.clone()).ok()?,
            None => LabelSelector::default(),
        };
        given.selector()
    };
    let rules = value.get("rules").and_then(Value::as_array);
    let rules = rules.into_iter().flatten().map(|rule| Rule {
        operations: texts(rule, "operations"),
        groups: texts(rule, "apiGroups"),
        versions: texts(rule, "apiVersions"),
        resources: texts(rule, "resources"),
        scope: rule
            .get("scope")
            .and_then(Value::as_str)
            .unwrap_or("*")
            .to_owned(),
    });
    let versions = texts(value, "admissionReviewVersions");
    let known = versions.iter().find_map(|version| match version.as_str() {
        "v1" => Some("v1"),
        "v1beta1" => Some("v1beta1"),
        _ => None,
    });
    Some(Webhook {
        name: text("name").to_owned(),
        place: Place::of(value.get("clientConfig")?)?,
        timeout: Duration::from_secs(value.get("timeoutSeconds").and_then(Value::as_u64).unwrap_or(10)),
        may_fail: text("failurePolicy") == "Ignore",
        again: text("reinvocationPolicy") == "IfNeeded",
        rules: rules.collect(),
        takes_equivalent: text("matchPolicy") != "Exact",
        namespaces: selector("namespaceSelector"),
        objects: selector("objectSelector"),
        review_version: known.unwrap_or("v1"),
    })
}

fn has(list: &[String], wanted: &str) -> bool {
    list.iter().any(|item| item == "*" || item == wanted)
}

impl Rule {
    /// Does it take a request, if that were one for `kind`?
    fn takes(&self, request: &Request<'_>, kind: &Kind) -> bool {
        let in_scope = match self.scope.as_str() {
            "Namespaced" => kind.namespaced,
            "Cluster" => !kind.namespaced,
            _ => true,
        };
        let names = |resource: &String| {
            let (resource, below) = resource.split_once('/').unwrap_or((resource, ""));
            (resource == "*" || resource == kind.plural) && (below == "*" || below == request.subresource)
        };
        in_scope
            && has(&self.operations, request.operation.name())
            && has(&self.groups, kind.group)
            && has(&self.versions, kind.version)
            && self.resources.iter().any(names)
    }
}

fn labels(object: &Value) -> Labels {
    let labels = object.pointer("/metadata/labels").cloned().unwrap_or_default();
    serde_json::from_value(labels).unwrap_or_default()
}

impl Webhook {
    /// As which kind it is asked about a request: the request's own, or one of those that are the `same` in another
    /// version. `None`: it is not asked.
    pub(crate) fn form_of(&self, request: &Request<'_>, same: &[&'static Kind]) -> Option<&'static Kind> {
        if self.rules.iter().any(|rule| rule.takes(request, request.kind)) {
            return Some(request.kind);
        }
        let others = same.iter().copied().filter(|_| self.takes_equivalent);
        others
            .into_iter()
            .find(|kind| self.rules.iter().any(|rule| rule.takes(request, kind)))
    }

    /// Do its selectors take the objects of a request? `of_namespace` looks up the labels of the namespace.
    pub(crate) fn selects(&self, objects: Objects<'_>, of_namespace: impl FnOnce() -> Option<Value>) -> bool {
        let (Some(by_namespace), Some(by_object)) = (&self.namespaces, &self.objects) else {
            return false;
        };
        let takes = |object: Option<&Value>| object.is_some_and(|object| by_object.matches(&labels(object)));
        if !by_object.is_empty() && !takes(objects.new) && !takes(objects.old) {
            return false;
        }
        // What is in no namespace is always meant.
        by_namespace.is_empty()
            || of_namespace().is_none_or(|namespace| by_namespace.matches(&labels(&namespace)))
    }

    /// What it is asked. `seen_as` is what [`Webhook::form_of`] said; objects are in that form.
    pub(crate) fn review(
        &self,
        request: &Request<'_>,
        seen_as: &Kind,
        objects: Objects<'_>,
        uid: &str,
    ) -> Value {
        let resource =
            |kind: &Kind| json!({"group": kind.group, "version": kind.version, "resource": kind.plural});
        let is_below = !request.subresource.is_empty();
        let form = if is_below { request.form } else { Form::of(seen_as) };
        let mut asked = json!({
            "uid": uid,
            "kind": form.to_value(),
            "resource": resource(seen_as),
            "requestKind": request.form.to_value(),
            "requestResource": resource(request.kind),
            "operation": request.operation.name(),
            "userInfo": user_info(request.user),
            "object": objects.new,
            "oldObject": objects.old,
            "dryRun": request.dry_run,
            "options": request.options,
        });
        if let Some(asked) = asked.as_object_mut() {
            for (field, value) in [
                ("subResource", request.subresource),
                ("requestSubResource", request.subresource),
                ("name", &request.name),
                ("namespace", &request.namespace),
            ] {
                if !value.is_empty() {
                    asked.insert(field.to_owned(), value.into());
                }
            }
        }
        json!({
            "kind": "AdmissionReview", "apiVersion": self.api_version(), "request": asked,
        })
    }

    fn api_version(&self) -> String {
        format!("admission.k8s.io/{}", self.review_version)
    }

    /// Understands an answer. `uid` is that of the question; only webhooks that `mutate` may patch.
    pub(crate) fn verdict(&self, answer: &Value, uid: &str, mutates: bool) -> Result<Verdict, String> {
        let invalid = |why: String| Err(format!("received invalid webhook response: {why}"));
        let given = |field: &str| answer.get(field).and_then(Value::as_str).unwrap_or_default();
        let (version, kind) = (given("apiVersion"), given("kind"));
        let is_other = |given: &str, wanted: &str| !given.is_empty() && given != wanted;
        if is_other(version, &self.api_version()) || is_other(kind, "AdmissionReview") {
            return invalid(format!(
                "expected webhook response of {}, Kind=AdmissionReview, got {version}, Kind={kind}",
                self.api_version()
            ));
        }
        let Some(response) = answer.get("response").filter(|response| response.is_object()) else {
            return invalid("webhook response was absent".to_owned());
        };
        let text = |field: &str| response.get(field).and_then(Value::as_str).unwrap_or_default();
        if self.review_version == "v1" && text("uid") != uid {
            return invalid(format!("expected response.uid={uid:?}, got {:?}", text("uid")));
        }
        let patch = patch_of(
            text("patch"),
            text("patchType"),
            mutates,
            self.review_version == "v1",
        );
        let patch = match patch {
            Ok(patch) => patch,
            Err(why) => return invalid(why),
        };
        let allowed = response
            .get("allowed")
            .and_then(Value::as_bool)
            .unwrap_or_default();
        Ok(Verdict {
            denial: (!allowed).then(|| self.denial(response.get("status").unwrap_or(&Value::Null))),
            patch,
            warnings: texts(response, "warnings"),
        })
    }

    fn denial(&self, status: &Value) -> Denial {
        let text = |field: &str| status.get(field).and_then(Value::as_str).unwrap_or_default();
        let denied = format!("admission webhook {:?} denied the request", self.name);
        let message = match (text("message"), text("reason")) {
            ("", "") => format!("{denied} without explanation"),
            ("", why) | (why, _) => format!("{denied}: {why}"),
        };
        let code = status.get("code").and_then(Value::as_u64).unwrap_or_default();
        let code = u16::try_from(code)
            .ok()
            .and_then(|code| StatusCode::from_u16(code).ok());
        Denial {
            code: code
                .filter(|code| code.as_u16() >= 400)
                .unwrap_or(StatusCode::BAD_REQUEST),
            reason: text("reason").to_owned(),
            message,
            details: status
                .get("details")
                .and_then(Value::as_object)
                .cloned()
                .unwrap_or_default(),
        }
    }
}

fn patch_of(patch: &str, kind: &str, mutates: bool, is_v1: bool) -> Result<Option<Vec<u8>>, String> {
    use base64::Engine as _;

    match (patch, kind) {
        ("", "") => return Ok(None),
        (patch, _) if !mutates && !patch.is_empty() => {
            return Err("validating webhook may not return response.patch".to_owned());
        }
        _ if !mutates => return Err("validating webhook may not return response.patchType".to_owned()),
        ("", _) => return Err("webhook returned response.patchType but not response.patch".to_owned()),
        (_, "") if is_v1 => {
            return Err("webhook returned response.patch but not response.patchType".to_owned());
        }
        (_, "JSONPatch" | "") => {}
        (_, other) => {
            return Err(format!(
                "webhook returned invalid response.patchType of {other:?}"
            ));
        }
    }
    let decoded = base64::engine::general_purpose::STANDARD.decode(patch);
    decoded.map(Some).map_err(|error| error.to_string())
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": &*user.name, "groups": user.groups});
    if let Some(info) = info.as_object_mut() {
        if !user.uid.is_empty() {
            info.insert("uid".to_owned(), user.uid.as_str().into());
        }
        if !user.extra.is_empty() {
            info.insert("extra".to_owned(), json!(user.extra));
        }
    }
    info
}

#[cfg(test)]
mod tests;
