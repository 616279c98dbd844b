//! From a request to its answer.
//!
//! Source: hub.md A3, B10, B11.

use http::header::{
    ACCESS_CONTROL_ALLOW_HEADERS, ACCESS_CONTROL_ALLOW_METHODS, ACCESS_CONTROL_ALLOW_ORIGIN, CONNECTION,
    HeaderValue, VARY, WWW_AUTHENTICATE,
};
use http::{Method, Request};
use http_body_util::{BodyExt as _, Limited};
use hyper::body::Incoming;
use tokio::time::{Instant, timeout};

use crate::answers::{self, Answer, IntentId};
use crate::audit::Entry;
use crate::checks::Action;
use crate::front::Caller;
use crate::guard::{self, Access, Rejection, Sight};
use crate::intents::By;
use crate::peer::{Peer, Via};
use crate::shared::Shared;
use crate::{ask, consent, listing, overview};

/// What a path leads to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) enum Route {
    Healthz,
    Readyz,
    Metrics,
    Pods,
    Act {
        action: Action,
        namespace: String,
        name: String,
    },
    Status,
    Slim,
    Intents,
    Intent(String),
    Approve(String),
    Pulls,
    Pull,
    Events,
}

/// What becomes of a path.
#[derive(Debug, PartialEq, Eq)]
pub(crate) enum Found {
    Route(Route),
    /// The cleaned path is another one.
    Elsewhere(String),
    Nothing,
}

/// The path without empty and dot segments, as Go cleans it; a final slash stays.
fn cleaned(path: &str) -> String {
    let mut kept: Vec<&str> = Vec::new();
    for segment in path.split('/') {
        match segment {
            "" | "." => {}
            ".." => {
                kept.pop();
            }
            segment => kept.push(segment),
        }
    }
    let mut clean = format!("/{}", kept.join("/"));
    if path.ends_with('/') && clean.len() > 1 {
        clean.push('/');
    }
    clean
}

/// A segment of a path with its percent signs resolved; nothing if they make no text.
fn decoded(segment: &str) -> Option<String> {
    let mut bytes = Vec::with_capacity(segment.len());
    let mut rest = segment.bytes();
    while let Some(byte) = rest.next() {
        if byte == b'%' {
            let mut digit = || char::from(rest.next()?).to_digit(16);
            let value = digit()? * 16 + digit()?;
            bytes.push(u8::try_from(value).ok()?);
        } else {
            bytes.push(byte);
        }
    }
    String::from_utf8(bytes).ok()
}

/// Where a path leads.
pub(crate) fn find(path: &str) -> Found {
    let clean = cleaned(path);
    if clean != path {
        return Found::Elsewhere(clean);
    }
    let segments: Vec<&str> = path.split('/').skip(1).collect();
    let route = match segments.as_slice() {
        ["v1", "healthz"] => Route::Healthz,
        ["v1", "readyz"] => Route::Readyz,
        ["metrics"] => Route::Metrics,
        ["pods"] => Route::Pods,
        ["openyurt.io", "v1", "namespaces", namespace, "pods", name, action] => {
            let action = match *action {
                "upgrade" => Action::Upgrade,
                "imagepull" => Action::ImagePull,
                _ => return Found::Nothing,
            };
            // A name that cannot be decoded is refused as a name, not as a path.
            Route::Act {
                action,
                namespace: decoded(namespace).unwrap_or_default(),
                name: decoded(name).unwrap_or_default(),
            }
        }
        ["pitstop", "v1", "status"] => Route::Status,
        ["pitstop", "v1", "pods"] => Route::Slim,
        ["pitstop", "v1", "intents"] => Route::Intents,
        ["pitstop", "v1", "intents", id] => Route::Intent((*id).to_owned()),
        ["pitstop", "v1", "intents", id, "approve"] => Route::Approve((*id).to_owned()),
        ["pitstop", "v1", "pulls"] => Route::Pulls,
        ["pitstop", "v1", "pulls", _] => Route::Pull,
        ["pitstop", "v1", "events"] => Route::Events,
        _ => return Found::Nothing,
    };
    Found::Route(route)
}

impl Route {
    fn takes(&self, method: &Method) -> bool {
        match self {
            Self::Metrics => true,
            Self::Healthz
            | Self::Readyz
            | Self::Pods
            | Self::Status
            | Self::Slim
            | Self::Intents
            | Self::Pulls
            | Self::Events => method == Method::GET,
            Self::Act { .. } | Self::Approve(_) => method == Method::POST,
            Self::Intent(_) => method == Method::GET || method == Method::DELETE,
            Self::Pull => method == Method::DELETE,
        }
    }

    fn access(&self, method: &Method) -> Access {
        match self {
            Self::Healthz => Access::Health,
            Self::Act { .. } => Access::Change,
            _ if method == Method::DELETE || method == Method::POST => Access::Change,
            _ => Access::Read,
        }
    }
}

/// The value of a parameter of the query.
pub(crate) fn parameter<'a>(query: Option<&'a str>, key: &str) -> Option<&'a str> {
    query?
        .split('&')
        .filter_map(|pair| pair.split_once('='))
        .find_map(|(name, value)| (name == key).then_some(value))
}

/// Answers a request.
pub(crate) async fn answer(shared: &Shared, caller: Caller, request: Request<Incoming>) -> Answer {
    let as_json = answers::wants_json(request.headers());
    let origin = guard::listed_origin(request.headers(), &shared.settings.allowed_origins);
    let asked = shared
        .audited()
        .then(|| (request.method().clone(), request.uri().clone()));
    let (mut answer, decision, by) = match admit(shared, caller, &request) {
        Ok(admitted) => {
            let change = admitted.access == Access::Change;
            let by = change.then(|| By::new(caller.peer, admitted.token.as_deref()));
            let answer = Box::pin(dispatch(shared, admitted, request, as_json)).await;
            (answer, "allowed", by)
        }
        Err(rejection) => {
            let answer = rejected(shared, rejection, as_json);
            (answer, rejection.check(), Some(By::new(caller.peer, None)))
        }
    };
    if let (Some((method, target)), Some(by)) = (asked, by) {
        let entry = Entry {
            at: shared.clock.now(),
            uptime: shared.uptime(),
            by,
            method: method.to_string(),
            path: target.path().to_owned(),
            intent: answer
                .extensions()
                .get::<IntentId>()
                .map(|IntentId(id)| id.clone()),
            decision,
            code: answer.status().as_u16(),
        };
        shared.record(entry, decision == "allowed").await;
    }
    if let Some(origin) = origin.and_then(|origin| HeaderValue::from_str(origin).ok()) {
        answer.headers_mut().insert(ACCESS_CONTROL_ALLOW_ORIGIN, origin);
        answer
            .headers_mut()
            .insert(VARY, HeaderValue::from_static("Origin"));
    }
    answer
}

fn rejected(shared: &Shared, rejection: Rejection, as_json: bool) -> Answer {
    shared.metrics.rejected(rejection.check());
    let (code, reason, message) = rejection.told();
    let mut answer = answers::failure(as_json, code, reason, message);
    match rejection {
        Rejection::Rate(seconds) => answers::retry_after(answer, seconds),
        Rejection::Token => {
            answer
                .headers_mut()
                .insert(WWW_AUTHENTICATE, HeaderValue::from_static("Bearer"));
            answer
        }
        Rejection::Host | Rejection::Origin | Rejection::Peer => answer,
    }
}

/// A caller that passed the guard.
pub(crate) struct Admitted {
    pub(crate) caller: Caller,
    /// Name of the token that it showed.
    pub(crate) token: Option<String>,
    pub(crate) sight: Sight,
    access: Access,
}

impl Admitted {
    /// The program that the hub is a part of: it comes through no door.
    pub(crate) fn within() -> Self {
        Self {
            caller: Caller {
                peer: Peer {
                    uid: None,
                    gid: None,
                    pid: None,
                    via: Via::Tcp,
                },
                bound: None,
            },
            token: None,
            sight: Sight::Full,
            access: Access::Change,
        }
    }
}

/// All checks of the guard, in their order.
///
/// Source: hub.md B5 step 1.
fn admit(shared: &Shared, caller: Caller, request: &Request<Incoming>) -> Result<Admitted, Rejection> {
    let settings = &shared.settings;
    let headers = request.headers();
    guard::check_host(headers, request.uri(), caller.bound, &settings.allowed_hosts)?;
    let access = match find(request.uri().path()) {
        // A preflight asks what it may; it is told nothing, below.
        _ if request.method() == Method::OPTIONS => Access::Health,
        Found::Route(route) => route.access(request.method()),
        Found::Elsewhere(_) | Found::Nothing => Access::Read,
    };
    if request.method() != Method::OPTIONS {
        guard::check_origin(headers, &settings.allowed_origins)?;
    }
    let shown = guard::bearer(headers);
    let token = match (&settings.tokens, shown) {
        (Some(file), Some(shown)) => Some(shared.token_name(file, shown).ok_or(Rejection::Token)?),
        _ => None,
    };
    let sight = guard::check_caller(&settings.local_auth, access, caller.peer, token.as_deref())?;
    shared.rates().take(caller.peer.uid, access, Instant::now())?;
    Ok(Admitted {
        caller,
        token,
        sight,
        access,
    })
}

/// What a listed origin may do. Source: hub.md B10 (preflight).
fn preflight(request: &Request<Incoming>, shared: &Shared) -> Answer {
    let mut answer = answers::no_such_method();
    if guard::listed_origin(request.headers(), &shared.settings.allowed_origins).is_some() {
        *answer.status_mut() = http::StatusCode::NO_CONTENT;
        let headers = answer.headers_mut();
        headers.insert(
            ACCESS_CONTROL_ALLOW_METHODS,
            HeaderValue::from_static("GET, POST, DELETE"),
        );
        headers.insert(
            ACCESS_CONTROL_ALLOW_HEADERS,
            HeaderValue::from_static("accept, authorization, last-event-id"),
        );
    }
    answer
}

/// Reads a body away; nobody looks at it.
///
/// # Errors
/// It is too long, or does not come.
async fn swallow(shared: &Shared, body: Incoming) -> Result<(), Answer> {
    let limits = &shared.settings.limits;
    let most = usize::try_from(limits.body).unwrap_or(usize::MAX);
    let read = timeout(limits.request, Limited::new(body, most).collect()).await;
    let mut answer = match read {
        Ok(Ok(_)) => return Ok(()),
        Ok(Err(_)) => answers::text(413, "Request body is too large"),
        Err(_) => answers::text(408, "Request body did not come"),
    };
    // What is left of the body would be taken for the next request.
    answer
        .headers_mut()
        .insert(CONNECTION, HeaderValue::from_static("close"));
    Err(answer)
}

async fn dispatch(shared: &Shared, admitted: Admitted, request: Request<Incoming>, as_json: bool) -> Answer {
    if request.method() == Method::OPTIONS {
        return preflight(&request, shared);
    }
    let (head, body) = request.into_parts();
    let route = match find(head.uri.path()) {
        Found::Route(route) => route,
        Found::Elsewhere(mut path) => {
            if let Some(query) = head.uri.query() {
                path = format!("{path}?{query}");
            }
            return answers::moved(&path);
        }
        Found::Nothing => return answers::no_such_path(),
    };
    if !route.takes(&head.method) {
        return answers::no_such_method();
    }
    if let Err(answer) = swallow(shared, body).await {
        return answer;
    }
    match route {
        Route::Healthz => answers::text(200, "OK"),
        Route::Readyz if shared.cache().synced() => answers::text(200, "OK"),
        Route::Readyz => answers::line(500, "pod cache is not synced"),
        Route::Metrics => overview::metrics(shared),
        Route::Status => overview::status(shared),
        Route::Slim => overview::slim(shared, as_json),
        Route::Pods => listing::pods(shared, admitted.sight, as_json),
        Route::Act {
            action,
            namespace,
            name,
        } => {
            let asked = ask::Asked {
                action,
                namespace,
                name,
                query: head.uri.query().map(str::to_owned),
            };
            Box::pin(ask::answer(shared, &admitted, asked, as_json)).await
        }
        Route::Pulls => overview::pulls(shared),
        // Pulls are Jobs of a controller; only the privileged helper would have some of its own.
        Route::Pull => answers::failure(
            true,
            501,
            "HelperMissing",
            "Pulls are run by the controller; there is no helper to cancel them",
        ),
        Route::Events => {
            let last = head
                .headers
                .get("last-event-id")
                .and_then(|last| last.to_str().ok());
            let uid = admitted.caller.peer.uid;
            let stream = shared.events.stream(uid, last, || overview::everything(shared));
            stream.unwrap_or_else(|| {
                let answer = answers::failure(true, 429, "TooManyRequests", "Too many event streams");
                answers::retry_after(answer, 5)
            })
        }
        Route::Intents => consent::list(shared, head.uri.query()),
        Route::Intent(id) if head.method == Method::DELETE => consent::cancel(shared, &id).await,
        Route::Intent(id) => consent::get(shared, &id),
        Route::Approve(id) => Box::pin(consent::approve(shared, &admitted, &id, head.uri.query())).await,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    // hub.md A3 (router behaviour), D42, D50.
    #[test]
    fn paths_lead_where_they_did() {
        let act = |namespace: &str, name: &str| {
            Found::Route(Route::Act {
                action: Action::Upgrade,
                namespace: namespace.to_owned(),
                name: name.to_owned(),
            })
        };
        let elsewhere = |path: &str| Found::Elsewhere(path.to_owned());
        let cases = [
            ("/v1/healthz", Found::Route(Route::Healthz)),
            ("/pods", Found::Route(Route::Pods)),
            ("/pods/", Found::Nothing),
            ("//pods", elsewhere("/pods")),
            ("/v1//healthz", elsewhere("/v1/healthz")),
            ("/v1/../pods", elsewhere("/pods")),
            ("/", Found::Nothing),
            ("", elsewhere("/")),
            ("/nope", Found::Nothing),
            ("/v1/token", Found::Nothing),
            ("/debug/pprof/", Found::Nothing),
            ("/openyurt.io/v1/pods", Found::Nothing),
            (
                "/openyurt.io/v1/namespaces/default/pods/nginx-a/upgrade",
                act("default", "nginx-a"),
            ),
            (
                "/openyurt.io/v1/namespaces/default/pods/nginx%2Da/upgrade",
                act("default", "nginx-a"),
            ),
            (
                "/openyurt.io/v1/namespaces/%2e%2e/pods/a_b/upgrade",
                act("..", "a_b"),
            ),
            ("/openyurt.io/v1/namespaces/%zz/pods/%ff/upgrade", act("", "")),
            (
                "/openyurt.io/v1/namespaces/default/pods/nginx-a/update",
                Found::Nothing,
            ),
            (
                "/openyurt.io/v1/namespaces/default/pods/nginx-a/upgrade/",
                Found::Nothing,
            ),
        ];
        for (path, expected) in cases {
            assert_eq!(find(path), expected, "{path}");
        }
    }

    #[test]
    fn parameters_are_found_by_name() {
        assert_eq!(parameter(Some("a=1&offline=reject"), "offline"), Some("reject"));
        assert_eq!(parameter(Some("offlines=reject&offline"), "offline"), None);
        assert_eq!(parameter(None, "offline"), None);
    }
}
