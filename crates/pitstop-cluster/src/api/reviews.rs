//! Questions about rights and identities, and tokens of service accounts. Nothing of this is stored.
//!
//! Source: embedded-cluster.md 13, 15, 19; answers as kube-apiserver 1.34 gives them.

use std::collections::BTreeMap;

use http::{Response, StatusCode};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Map, Value, json};

use super::authorize::identity;
use super::options::{Wanted, WriteOptions};
use super::route::Target;
use super::status::Failure;
use super::write::from_decode;
use super::{Api, Body, Call, metadata};
use crate::access::nodes::node_of;
use crate::access::policy::{Held, Rule};
use crate::access::token::{Claims, ISSUER, Private, Reference};
use crate::access::{ACCOUNT_PREFIX, Attributes, Decision, MASTERS, User};
use crate::kinds::FieldError;
use crate::schema;
use crate::store::Key;

const AUTHORIZATION: &str = "authorization.k8s.io";
const AUTHENTICATION: &str = "authentication.k8s.io";
const TOKEN_REQUEST: &str = "authentication/v1.TokenRequest";

/// How long a token lives that does not say.
const DEFAULT_LIFE: i64 = 3600;
/// Shortest life of a token, in seconds.
const SHORTEST_LIFE: i64 = 600;
/// Longest life of a token, in seconds.
const LONGEST_LIFE: i64 = 1 << 32;

impl Api {
    /// Answers a question.
    pub(super) fn review(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let options = WriteOptions::parse(call)?;
        let decoded = schema::decode(kind, call.content_type(), &call.body).map_err(from_decode)?;
        let Wanted { mut object, warnings } = options.accept(kind, decoded)?;
        metadata::place(kind, &mut object, target.namespace.as_deref())?;
        let status = match kind.kind {
            "SelfSubjectReview" => {
                if let Some(metadata) = metadata::metadata_mut(&mut object) {
                    let now = metadata::seconds(self.clock.now());
                    metadata.insert("creationTimestamp".to_owned(), now.into());
                }
                json!({"userInfo": user_info(&call.user)})
            }
            "TokenReview" => self.review_token(&object)?,
            "SelfSubjectRulesReview" => self.review_rules(&call.user, &object)?,
            "SelfSubjectAccessReview" => {
                check_access_spec(&object, Asker::Oneself)?;
                access_status(self.decide(&call.user, &attributes(&object)))
            }
            "LocalSubjectAccessReview" => {
                check_access_spec(
                    &object,
                    Asker::InNamespace(target.namespace.as_deref().unwrap_or_default()),
                )?;
                access_status(self.decide(&subject(&object), &attributes(&object)))
            }
            _ => {
                check_access_spec(&object, Asker::Anyone)?;
                access_status(self.decide(&subject(&object), &attributes(&object)))
            }
        };
        if let Some(object) = object.as_object_mut() {
            object.insert("status".to_owned(), status);
        }
        let response = super::json(StatusCode::CREATED, object.to_string());
        Ok(super::with_warnings(response, &warnings))
    }

    fn review_rules(&self, user: &User, object: &Value) -> Result<Value, Failure> {
        let namespace = text(object, "/spec/namespace");
        if namespace.is_empty() {
            return Err(Failure::bad_request("no namespace on request"));
        }
        let mut held = Held::default();
        if !self.decides_by_roles() || user.is_in(MASTERS) {
            let all = || vec!["*".to_owned()];
            held.rules.push(Rule {
                verbs: all(),
                api_groups: all(),
                resources: all(),
                ..Rule::default()
            });
            held.rules.push(Rule {
                verbs: all(),
                urls: all(),
                ..Rule::default()
            });
        }
        let mut errors = Vec::new();
        if self.decides_by_roles() {
            if node_of(user).is_some() {
                errors.push("node authorizer does not support user rule resolution".to_owned());
            }
            let by_roles = self.policy().held(user, namespace);
            held.rules.extend(by_roles.rules);
            errors.extend(by_roles.errors);
        }
        let of = |wants_urls: bool| -> Vec<Value> {
            let wanted = held
                .rules
                .iter()
                .filter(|rule| rule.urls.is_empty() != wants_urls);
            wanted
                .filter_map(|rule| serde_json::to_value(rule).ok())
                .collect()
        };
        let mut status = json!({
            "resourceRules": of(false), "nonResourceRules": of(true), "incomplete": !errors.is_empty(),
        });
        if let (false, Some(status)) = (errors.is_empty(), status.as_object_mut()) {
            status.insert("evaluationError".to_owned(), errors.join(", ").into());
        }
        Ok(status)
    }

    fn review_token(&self, object: &Value) -> Result<Value, Failure> {
        let token = text(object, "/spec/token");
        if token.is_empty() {
            return Err(Failure::bad_request(
                "token is required for TokenReview in authentication",
            ));
        }
        let wanted: Vec<&str> = match list(object, "/spec/audiences").as_slice() {
            [] => vec![ISSUER],
            given => given.to_vec(),
        };
        let claims = self.verified(token);
        let good = claims.and_then(|claims| {
            let shared: Vec<&str> = wanted
                .into_iter()
                .filter(|aud| claims.aud.iter().any(|known| known == aud))
                .collect();
            (!shared.is_empty()).then(|| (user_info(&identity(&claims)), shared))
        });
        Ok(match good {
            Some((user, audiences)) => json!({"authenticated": true, "user": user, "audiences": audiences}),
            None => json!({"user": {}, "error": "invalid bearer token"}),
        })
    }

    /// A token for a service account.
    pub(super) fn request_token(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let options = WriteOptions::parse(call)?;
        let decoded =
            schema::decode_as(TOKEN_REQUEST, call.content_type(), &call.body).map_err(from_decode)?;
        let Wanted {
            object: request,
            warnings,
        } = options.accept(target.kind, decoded)?;
        let account = self.stored(target)?;
        let life = request.pointer("/spec/expirationSeconds").and_then(Value::as_i64);
        let life = life.unwrap_or(DEFAULT_LIFE);
        check_life(life)?;
        self.check_write(call, None, Some(&request))?;
        let (namespace, name) = (&*account.key.namespace, &*account.key.name);
        let mut private = Private {
            namespace: namespace.to_owned(),
            serviceaccount: Reference {
                name: name.to_owned(),
                uid: account.uid().to_owned(),
            },
            ..Private::default()
        };
        self.bind_token(&request, &mut private)?;
        let audiences: Vec<String> = match list(&request, "/spec/audiences").as_slice() {
            [] => vec![ISSUER.to_owned()],
            given => given.iter().map(|aud| (*aud).to_owned()).collect(),
        };
        let now = self.clock.now();
        let expires = now
            .checked_add(SignedDuration::from_secs(life))
            .unwrap_or(Timestamp::MAX);
        let claims = Claims {
            aud: audiences.clone(),
            exp: expires.as_second(),
            iat: now.as_second(),
            nbf: now.as_second(),
            iss: ISSUER.to_owned(),
            jti: self.random.uid(),
            private,
            sub: format!("{ACCOUNT_PREFIX}{namespace}:{name}"),
        };
        let token = self.signer().and_then(|signer| signer.sign(&claims).ok());
        let token =
            token.ok_or_else(|| Failure::internal("Internal error occurred: failed to generate token"))?;
        let answer = json!({
            "kind": "TokenRequest", "apiVersion": "authentication.k8s.io/v1",
            "metadata": {
                "name": name, "namespace": namespace, "uid": account.uid(), "creationTimestamp": metadata::seconds(now),
            },
            "spec": {
                "audiences": audiences, "expirationSeconds": life,
                "boundObjectRef": request.pointer("/spec/boundObjectRef"),
            },
            "status": {"token": token, "expirationTimestamp": metadata::seconds(expires)},
        });
        let response = super::json(StatusCode::CREATED, answer.to_string());
        Ok(super::with_warnings(response, &warnings))
    }

    /// The object that a token lives and dies with.
    fn bind_token(&self, request: &Value, private: &mut Private) -> Result<(), Failure> {
        if request.pointer("/spec/boundObjectRef").is_none() {
            return Ok(());
        }
        let bound = |field: &str| text(request, &format!("/spec/boundObjectRef/{field}"));
        let (kind, name, uid) = (bound("kind"), bound("name"), bound("uid"));
        let namespace = private.namespace.clone();
        let find = |plural: &str, namespace: &str| -> Result<(Reference, Value), Failure> {
            let collected = self.collected(("", plural))?;
            let stored = self.store.get(collected.id, &Key::new(namespace, name));
            let stored = stored.ok_or_else(|| Failure::not_found(collected.kind, name))?;
            if !uid.is_empty() && uid != stored.uid() {
                let why = format!(
                    "the UID in the bound object reference ({uid}) does not match the UID in record. The object might \
                     have been deleted and then recreated"
                );
                return Err(Failure::conflict(collected.kind, name, &why));
            }
            let reference = Reference {
                name: name.to_owned(),
                uid: stored.uid().to_owned(),
            };
            Ok((reference, stored.decode()))
        };
        match (bound("apiVersion"), kind) {
            ("v1", "Pod") => {
                let (reference, pod) = find("pods", &namespace)?;
                if text(&pod, "/spec/serviceAccountName") != private.serviceaccount.name {
                    let why = format!(
                        "cannot bind token for serviceaccount \"{}\" to pod running with different serviceaccount name.",
                        private.serviceaccount.name
                    );
                    return Err(Failure::bad_request(why));
                }
                let node = text(&pod, "/spec/nodeName");
                private.node = (!node.is_empty()).then(|| Reference {
                    name: node.to_owned(),
                    uid: self.uid_of_node(node),
                });
                private.pod = Some(reference);
            }
            ("v1", "Secret") => private.secret = Some(find("secrets", &namespace)?.0),
            ("v1", "Node") => private.node = Some(find("nodes", "")?.0),
            (version, kind) => {
                let why = format!("cannot bind token to object of type {version}, Kind={kind}");
                return Err(Failure::bad_request(why));
            }
        }
        Ok(())
    }

    fn uid_of_node(&self, name: &str) -> String {
        let nodes = self.collected(("", "nodes")).ok();
        let node = nodes.and_then(|nodes| self.store.get(nodes.id, &Key::new("", name)));
        node.map(|node| node.uid().to_owned()).unwrap_or_default()
    }
}

fn check_life(seconds: i64) -> Result<(), Failure> {
    let why = if seconds < SHORTEST_LIFE {
        "may not specify a duration less than 10 minutes"
    } else if seconds > LONGEST_LIFE {
        "may not specify a duration larger than 2^32 seconds"
    } else {
        return Ok(());
    };
    let error = FieldError::invalid("spec.expirationSeconds", seconds, why);
    Err(Failure::invalid_question(
        AUTHENTICATION,
        "TokenRequest",
        &[error],
    ))
}

/// Whose rights are asked about.
#[derive(Debug, Clone, Copy)]
enum Asker<'a> {
    Oneself,
    Anyone,
    InNamespace(&'a str),
}

fn check_access_spec(object: &Value, asker: Asker<'_>) -> Result<(), Failure> {
    let mut errors = Vec::new();
    let (resource, path) = (
        object.pointer("/spec/resourceAttributes"),
        object.pointer("/spec/nonResourceAttributes"),
    );
    match (resource, path) {
        (Some(_), Some(path)) => {
            let shown = json!({"Path": text(path, "/path"), "Verb": text(path, "/verb")});
            let why = "cannot be specified in combination with resourceAttributes";
            errors.push(FieldError::invalid("spec.nonResourceAttributes", shown, why));
        }
        (None, None) => {
            let why = "exactly one of nonResourceAttributes or resourceAttributes must be specified";
            errors.push(FieldError::invalid("spec.resourceAttributes", Value::Null, why));
        }
        _ => {}
    }
    let names_nobody = text(object, "/spec/user").is_empty() && list(object, "/spec/groups").is_empty();
    if names_nobody && !matches!(asker, Asker::Oneself) {
        let why = "at least one of user or group must be specified";
        errors.push(FieldError::invalid("spec.user", "", why));
    }
    if let Asker::InNamespace(namespace) = asker {
        let given = resource
            .map(|attributes| text(attributes, "/namespace"))
            .unwrap_or_default();
        if resource.is_some() && given != namespace {
            let why = "must match metadata.namespace";
            errors.push(FieldError::invalid(
                "spec.resourceAttributes.namespace",
                given,
                why,
            ));
        }
        if path.is_some() {
            let why = "disallowed on this kind of request";
            errors.push(FieldError::invalid("spec.nonResourceAttributes", json!({}), why));
        }
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid_question(AUTHORIZATION, "", &errors))
    }
}

/// What a review asks about.
fn attributes(review: &Value) -> Attributes {
    if let Some(path) = review.pointer("/spec/nonResourceAttributes") {
        return Attributes {
            verb: text(path, "/verb").to_owned(),
            path: text(path, "/path").to_owned(),
            ..Attributes::default()
        };
    }
    let of = |field: &str| text(review, &format!("/spec/resourceAttributes/{field}")).to_owned();
    let selected = review
        .pointer("/spec/resourceAttributes/fieldSelector/requirements")
        .and_then(Value::as_array);
    let node = selected.into_iter().flatten().find(|requirement| {
        text(requirement, "/key") == "spec.nodeName" && text(requirement, "/operator") == "In"
    });
    let node = node.and_then(|requirement| match list(requirement, "/values").as_slice() {
        [one] => Some((*one).to_owned()),
        _ => None,
    });
    Attributes {
        verb: of("verb"),
        group: of("group"),
        version: of("version"),
        resource: of("resource"),
        subresource: of("subresource"),
        namespace: of("namespace"),
        name: of("name"),
        path: String::new(),
        node_selector: node,
    }
}

/// Whom a review asks about.
fn subject(review: &Value) -> User {
    let owned = |values: Vec<&str>| values.into_iter().map(str::to_owned).collect::<Vec<String>>();
    let extra = review.pointer("/spec/extra").and_then(Value::as_object);
    let extra: BTreeMap<String, Vec<String>> = extra
        .into_iter()
        .flatten()
        .map(|(key, values)| (key.clone(), owned(list(values, ""))))
        .collect();
    User {
        name: text(review, "/spec/user").into(),
        uid: text(review, "/spec/uid").to_owned(),
        groups: owned(list(review, "/spec/groups")),
        extra,
    }
}

fn access_status(decision: Decision) -> Value {
    let mut status = Map::new();
    status.insert("allowed".to_owned(), decision.allowed.into());
    if !decision.reason.is_empty() {
        status.insert("reason".to_owned(), decision.reason.into());
    }
    Value::Object(status)
}

fn user_info(user: &User) -> Value {
    let mut info = json!({"username": &*user.name});
    let Some(fields) = info.as_object_mut() else {
        return info;
    };
    if !user.uid.is_empty() {
        fields.insert("uid".to_owned(), user.uid.as_str().into());
    }
    if !user.groups.is_empty() {
        fields.insert("groups".to_owned(), user.groups.clone().into());
    }
    if !user.extra.is_empty() {
        fields.insert("extra".to_owned(), json!(user.extra));
    }
    info
}

fn text<'a>(value: &'a Value, pointer: &str) -> &'a str {
    value.pointer(pointer).and_then(Value::as_str).unwrap_or_default()
}

fn list<'a>(value: &'a Value, pointer: &str) -> Vec<&'a str> {
    let list = value.pointer(pointer).and_then(Value::as_array);
    list.into_iter().flatten().filter_map(Value::as_str).collect()
}
