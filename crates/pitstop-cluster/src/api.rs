//! HTTP: verbs, lists, watches, patches, discovery, status errors.
//!
//! A request is routed to a kind and a verb ([`route`]), its body is decoded and runs through the write pipeline
//! ([`write`], [`update`], [`delete`], [`subresource`]), or objects are read ([`read`], [`watch`]) and shown in the form that was
//! asked for ([`present`]). What goes wrong on the way is a [`status::Failure`].

mod accept;
mod admission;
mod apply;
mod authorize;
mod components;
mod containers;
mod customs;
mod defaults;
mod delete;
mod discovery;
mod eviction;
mod growth;
mod metadata;
mod openapi;
mod options;
mod owners;
pub(crate) mod params;
mod present;
mod priority;
mod proxy;
mod random;
mod read;
mod reviews;
mod route;
mod scale;
mod status;
mod subresource;
mod update;
mod versions;
mod watch;
mod write;

use std::collections::BTreeMap;
use std::convert::Infallible;
use std::path::PathBuf;
use std::sync::{Arc, Mutex, PoisonError};
use std::time::Duration;

use bytes::Bytes;
use http::header::{ACCEPT, CONTENT_TYPE};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode};
use http_body_util::combinators::UnsyncBoxBody;
use http_body_util::{BodyExt, Full, LengthLimitError, Limited};
use hyper::upgrade::OnUpgrade;
use jiff::SignedDuration;
use pitstop_api::SharedClock;

use self::admission::Webhooks;
use self::authorize::Guard;
use self::customs::Customs;
use self::params::Params;
use self::present::Form;
use self::random::Random;
use self::route::{Route, Target};
pub(crate) use self::status::Failure;
use crate::access::{Attributes, Authorization, User};
use crate::broken;
use crate::cluster::ADMIN;
use crate::kinds::{self, Kind, Subresource};
use crate::store::{CollectionId, CollectionSpec, OpenError, Options, Store};
use crate::webhook::inside::Inside;

/// Largest request body in bytes.
///
/// Source: embedded-cluster.md 4.3.
const MAX_BODY: usize = 3 * 1024 * 1024;

/// Changes kept per kind.
///
/// Source: embedded-cluster.md 8, end.
const HISTORY: usize = 100_000;

/// How long an event lives after its last write.
///
/// Source: embedded-cluster.md 13.
const EVENT_TTL: SignedDuration = SignedDuration::from_hours(1);
const EVENT_SWEEP: Duration = Duration::from_mins(1);

/// Body of every answer.
pub(crate) type Body = UnsyncBoxBody<Bytes, Infallible>;

/// Set on requests of a connection that will close: their watches end.
#[derive(Debug, Clone)]
pub(crate) struct Closing(pub(crate) tokio::sync::watch::Receiver<bool>);

/// Returns when a sender has said so, or is gone.
pub(crate) async fn closed(closing: &mut tokio::sync::watch::Receiver<bool>) {
    // An error means that the sender is gone.
    let _ = closing.wait_for(|closing| *closing).await;
}

/// The API server of one cluster.
#[derive(Debug)]
pub(crate) struct Api {
    store: Store,
    clock: SharedClock,
    random: Random,
    collections: BTreeMap<(&'static str, &'static str), Collected>,
    customs: Customs,
    webhooks: Webhooks,
    inside: Inside,
    guard: Guard,
    closing: tokio::sync::watch::Sender<bool>,
}

/// Where a kind is stored, and the kind in whose form.
#[derive(Debug, Clone, Copy)]
struct Collected {
    id: CollectionId,
    kind: &'static Kind,
}

/// What an API server is made with.
#[derive(Debug)]
pub(crate) struct Setup {
    /// Where objects are kept.
    pub(crate) data: Option<PathBuf>,
    /// Now.
    pub(crate) clock: SharedClock,
    /// Seed of uids and name suffixes.
    pub(crate) seed: Option<u64>,
    /// How requests are authorised.
    pub(crate) authorization: Authorization,
}

/// The parts of a request that verbs look at.
#[derive(Debug)]
struct Call {
    params: Params,
    form: Form,
    headers: HeaderMap,
    method: Method,
    body: Bytes,
    closing: Option<Closing>,
    user: User,
    asked: Attributes,
    /// The query as it came.
    query: String,
    /// Gives the connection away, where the client asks to speak something else on it.
    upgrade: Option<OnUpgrade>,
    notes: Notes,
}

impl Call {
    /// Warns whoever asks, also when the request fails in the end.
    fn note(&self, warnings: &[String]) {
        self.notes.add(warnings);
    }

    fn content_type(&self) -> Option<&str> {
        self.headers.get(CONTENT_TYPE).and_then(|v| v.to_str().ok())
    }
}

impl Api {
    /// Opens the store. The namespaces that always exist are made by [`Api::bootstrap`].
    pub(crate) fn open(setup: Setup) -> Result<Self, OpenError> {
        Self::open_with_history(setup, HISTORY)
    }

    fn open_with_history(setup: Setup, history: usize) -> Result<Self, OpenError> {
        let Setup {
            data,
            clock,
            seed,
            authorization,
        } = setup;
        // A kind that shares the store of another comes after it in no particular order: the owner's table counts.
        let owners = || {
            kinds::all()
                .iter()
                .filter(|k| k.is_stored() && k.conversion.is_none())
        };
        let specs = owners().map(|k| CollectionSpec {
            stored_as: k.stored_as,
            field_keys: k.field_keys,
            durability: k.durability,
        });
        let guard_data = data.clone();
        let options = Options {
            data,
            clock: clock.clone(),
            history,
            collections: specs.collect(),
        };
        let store = Store::open(options)?;
        let collections: BTreeMap<_, _> = owners()
            .filter_map(|kind| {
                Some((
                    kind.stored_as,
                    Collected {
                        id: store.collection(kind.stored_as)?,
                        kind,
                    },
                ))
            })
            .collect();
        let guard = Guard::new(authorization, guard_data, |stored_as| {
            collections.get(&stored_as).and_then(|c| store.subscribe(c.id))
        });
        let webhooks =
            Webhooks::new(|stored_as| collections.get(&stored_as).and_then(|c| store.subscribe(c.id)));
        let definitions = collections.get(&customs::DEFINITIONS);
        let customs = Customs::new(definitions.and_then(|c| store.subscribe(c.id)));
        Ok(Self {
            store,
            clock,
            guard,
            webhooks,
            inside: Inside::default(),
            customs,
            random: Random::new(seed),
            collections,
            closing: tokio::sync::watch::Sender::new(false),
        })
    }

    /// The newest resourceVersion.
    pub(crate) fn version(&self) -> u64 {
        self.store.version()
    }

    /// The programs in this process that answer webhooks.
    pub(crate) fn inside(&self) -> &Inside {
        &self.inside
    }

    /// Ends every watch. Requests still get answers.
    pub(crate) fn end_watches(&self) {
        self.closing.send_replace(true);
    }

    /// Ends every watch and brings all writes to the disk; writes are refused from here on.
    pub(crate) fn close(&self) {
        self.end_watches();
        self.inside.clear();
        self.store.close();
    }

    /// Deletes events that have had their time, for as long as it is polled.
    pub(crate) async fn expire_events(self: Arc<Self>) {
        let mut interval = tokio::time::interval(EVENT_SWEEP);
        interval.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
        loop {
            interval.tick().await;
            let Ok(events) = self.collected(("", "events")) else {
                return;
            };
            let expiry = self
                .clock
                .now()
                .saturating_sub(EVENT_TTL)
                .unwrap_or(jiff::Timestamp::MIN);
            for event in self.store.written_before(events.id, expiry) {
                let durability = events.kind.durability;
                // One that was written again in between lives on.
                let _ = self
                    .store
                    .remove(events.id, &event.key, event.version, durability);
            }
        }
    }

    /// Answers a request. Never fails: what goes wrong is an answer too.
    pub(crate) async fn handle<B>(self: Arc<Self>, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let fault = broken::of(request.extensions());
        broken::scope(fault, self.answer(request)).await
    }

    async fn answer<B>(self: Arc<Self>, request: Request<B>) -> Response<Body>
    where
        B: http_body::Body<Data = Bytes> + Send,
        B::Error: Into<Box<dyn std::error::Error + Send + Sync>>,
    {
        let (parts, body) = request.into_parts();
        // The body is read whole before anything is refused, so that the connection stays in step.
        let body = match Limited::new(body, MAX_BODY).collect().await {
            Ok(body) => body.to_bytes(),
            Err(error) if error.is::<LengthLimitError>() => {
                return Failure::too_large(format!("Request entity too large: limit is {MAX_BODY}"))
                    .into_response();
            }
            Err(error) => {
                return Failure::bad_request(format!("the request body cannot be read: {error}"))
                    .into_response();
            }
        };
        let params = Params::parse(parts.uri.query().unwrap_or_default());
        let path = route::segments(parts.uri.path());
        let path: Vec<&str> = path.iter().map(String::as_str).collect();
        let asked = Attributes::of(&parts.method, parts.uri.path(), &path, |name| params.get(name));
        // Whoever calls without a socket and without a name is part of this program.
        let user = parts.extensions.get().cloned();
        let user = user.unwrap_or_else(|| User::named(ADMIN).into_master());
        let user = match self.authorize(user, &parts.headers, &asked) {
            Ok(user) => user,
            Err(failure) => return failure.into_response(),
        };
        let accept = parts
            .headers
            .get(ACCEPT)
            .and_then(|v| v.to_str().ok())
            .unwrap_or_default()
            .to_owned();
        let closing = parts.extensions.get().cloned();
        let served = self.served();
        let route = route::parse(&path, &served);
        let deprecation = match &route {
            Some(Route::Objects(target)) => target.kind.deprecation.map(str::to_owned),
            _ => None,
        };
        let is_patch = parts.method == Method::PATCH;
        let notes = Notes::default();
        let form = match &route {
            Some(route) => present::form(&accept, &params, route.representations(&parts.method)),
            None => Ok(Form::Whole),
        };
        let form = match form {
            Ok(form) => form,
            Err(failure) => return failure.into_response(),
        };
        let call = Call {
            params,
            form,
            headers: parts.headers,
            method: parts.method.clone(),
            body,
            closing,
            user,
            asked,
            query: parts.uri.query().unwrap_or_default().to_owned(),
            upgrade: parts.extensions.get().cloned(),
            notes: notes.clone(),
        };
        let answer = match route {
            Some(route) => self.dispatch(route, &parts.method, &accept, call).await,
            None => Err(route::nothing_at(&path, &served)),
        };
        let answer = answer.unwrap_or_else(|failure| with_warnings(failure.into_response(), &notes.take()));
        // A request that nobody takes is about nothing that is deprecated.
        let is_taken = match answer.status() {
            StatusCode::METHOD_NOT_ALLOWED => false,
            StatusCode::UNSUPPORTED_MEDIA_TYPE => !is_patch,
            _ => true,
        };
        match deprecation.filter(|_| is_taken) {
            Some(deprecation) => with_warning_first(answer, deprecation),
            None => answer,
        }
    }

    async fn dispatch(
        self: Arc<Self>,
        route: Route,
        method: &Method,
        accept: &str,
        call: Call,
    ) -> Result<Response<Body>, Failure> {
        let target = match route {
            Route::Objects(target) => target,
            fixed if method == Method::GET => {
                return self.served().documents.answer(&fixed, accept, &call.headers);
            }
            fixed if self.served().documents.has(&fixed) => return Err(Failure::method_not_allowed()),
            _ => return Err(Failure::no_such_page()),
        };
        let kind = target.kind;
        let verb = verb_of(&target, method, &call.params);
        let Some(verb) = verb.filter(|verb| target.subresource.is_some() || kind.verbs.contains(verb)) else {
            return Err(Failure::method_not_allowed());
        };
        match (verb, target.subresource) {
            ("list", None) if !kind.is_stored() => self.list_components(&target, &call),
            ("get", None) if !kind.is_stored() => self.get_component(&target, &call),
            ("list", None) => self.list(&target, &call).await,
            ("watch", None) => self.watch(&target, &call),
            (
                "get",
                None | Some(Subresource::Status | Subresource::EphemeralContainers | Subresource::Resize),
            ) => Box::pin(self.get(&target, &call)).await,
            ("create", None) if kind.kind == kinds::BINDING.kind => {
                Box::pin(self.bind_named(target, &call)).await
            }
            ("create", None) if !kind.is_stored() => self.review(&target, &call),
            ("create", None) => Box::pin(self.create(&target, &call)).await,
            (
                "update",
                None
                | Some(
                    Subresource::Status
                    | Subresource::Finalize
                    | Subresource::EphemeralContainers
                    | Subresource::Resize,
                ),
            ) => Box::pin(self.update(&target, &call)).await,
            (
                "patch",
                None | Some(Subresource::Status | Subresource::EphemeralContainers | Subresource::Resize),
            ) => Box::pin(self.patch(&target, &call)).await,
            ("get", Some(Subresource::Scale)) => Box::pin(self.get_scale(&target)).await,
            ("update", Some(Subresource::Scale)) => Box::pin(self.update_scale(&target, &call)).await,
            ("patch", Some(Subresource::Scale)) => Box::pin(self.patch_scale(&target, &call)).await,
            ("delete", None) => Box::pin(self.delete(&target, &call)).await,
            ("deletecollection", None) => Box::pin(self.delete_collection(&target, &call)).await,
            ("create", Some(Subresource::Binding)) => Box::pin(self.bind(&target, &call)).await,
            ("get", Some(Subresource::Log)) => Box::pin(self.log(&target, &call)).await,
            ("get" | "create", Some(Subresource::Exec)) => Box::pin(self.exec(&target, &call)).await,
            (_, Some(Subresource::Attach)) => Err(not_simulated("attach")),
            (_, Some(Subresource::PortForward)) => Err(not_simulated("port-forward")),
            ("create", Some(Subresource::Eviction)) => Box::pin(self.evict(&target, &call)).await,
            (_, Some(Subresource::Proxy)) => Box::pin(self.proxy(&target, &call)).await,
            ("create", Some(Subresource::Token)) => self.request_token(&target, &call),
            _ => Err(Failure::method_not_allowed()),
        }
    }

    fn collected(&self, stored_as: (&str, &str)) -> Result<Collected, Failure> {
        let found = self.collections.iter().find(|(k, _)| **k == stored_as);
        let found = found.map(|(_, collected)| *collected);
        found
            .or_else(|| self.served().collection(stored_as))
            .ok_or_else(Failure::no_such_path)
    }

    fn collection_of(&self, kind: &Kind) -> Result<Collected, Failure> {
        match self.collections.get(&kind.stored_as) {
            Some(collected) => Ok(*collected),
            None => self.collected(kind.stored_as),
        }
    }
}

/// What there is to say about a request, whether it succeeds or fails.
#[derive(Debug, Clone, Default)]
struct Notes(Arc<Mutex<Vec<String>>>);

impl Notes {
    /// Everything once, in the order in which it was noted.
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner))
    }

    fn add(&self, warnings: &[String]) {
        let mut notes = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        for warning in warnings {
            if !notes.contains(warning) {
                notes.push(warning.clone());
            }
        }
    }
}

/// The verb as discovery and authorisation name it.
fn verb_of(target: &Target, method: &Method, params: &Params) -> Option<&'static str> {
    let named = target.name.is_some();
    // Across all namespaces, objects can only be read.
    let placed = named || target.namespace.is_some() || !target.kind.namespaced;
    match *method {
        Method::GET if named => Some("get"),
        Method::GET if params.flag("watch") => Some("watch"),
        Method::GET => Some("list"),
        Method::POST if !named && placed => Some("create"),
        Method::POST
            if matches!(
                target.subresource,
                Some(
                    Subresource::Binding
                        | Subresource::Eviction
                        | Subresource::Token
                        | Subresource::Exec
                        | Subresource::Attach
                        | Subresource::PortForward
                        | Subresource::Proxy
                )
            ) =>
        {
            Some("create")
        }
        Method::PUT if named => Some("update"),
        Method::PATCH if named => Some("patch"),
        Method::DELETE if named => Some("delete"),
        Method::DELETE if placed => Some("deletecollection"),
        _ => None,
    }
}

/// Source: embedded-cluster.md 10.7.
fn not_simulated(what: &str) -> Failure {
    Failure::bad_request(format!("{what} is not supported by simulated nodes"))
}

/// An answer with a JSON body.
fn json(status: StatusCode, body: impl Into<Bytes>) -> Response<Body> {
    respond(status, "application/json", body)
}

fn respond(status: StatusCode, content_type: &'static str, body: impl Into<Bytes>) -> Response<Body> {
    let mut response = Response::new(Full::new(body.into()).boxed_unsync());
    *response.status_mut() = status;
    response
        .headers_mut()
        .insert(CONTENT_TYPE, HeaderValue::from_static(content_type));
    response
}

/// Adds a `Warning` header for each text.
///
/// Source: embedded-cluster.md 5, end.
fn with_warnings(mut response: Response<Body>, warnings: &[String]) -> Response<Body> {
    for warning in warnings {
        let quoted = warning.replace('\\', "\\\\").replace('"', "\\\"");
        if let Ok(value) = HeaderValue::from_str(&format!("299 - \"{quoted}\"")) {
            response
                .headers_mut()
                .append(HeaderName::from_static("warning"), value);
        }
    }
    response
}

/// Adds a `Warning` header before those that are there.
fn with_warning_first(mut response: Response<Body>, warning: String) -> Response<Body> {
    const WARNING: HeaderName = HeaderName::from_static("warning");
    let others: Vec<HeaderValue> = response.headers().get_all(WARNING).iter().cloned().collect();
    response.headers_mut().remove(WARNING);
    let mut response = with_warnings(response, &[warning]);
    for other in others {
        response.headers_mut().append(WARNING, other);
    }
    response
}

#[cfg(test)]
mod tests;
