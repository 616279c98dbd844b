//! Get and list.
//!
//! Source: embedded-cluster.md 7.

use std::sync::Arc;

use base64::Engine;
use base64::engine::general_purpose::URL_SAFE_NO_PAD;
use bytes::{Bytes, BytesMut};
use futures::stream;
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response, StatusCode};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use pitstop_api::selector::{ParseSelectorError, Selector};
use serde_json::{Value, json};

use super::present::{self, Form};
use super::route::Target;
use super::status::Failure;
use super::{Api, Body, Call};
use crate::broken::{self, Defect};
use crate::kinds::{self, FieldError, Kind};
use crate::schema::{base64_offset, go_syntax};
use crate::store::{FieldTerm, FieldTerms, Filter, Key, ListQuery, Page, Stored};

/// A list is sent in pieces of about this many bytes, so that a long one is never in memory twice.
const PIECE: usize = 256 * 1024;

/// How long a list waits for a resourceVersion that has not come yet.
///
/// Source: embedded-cluster.md 7.2.
const WAIT_FOR_VERSION: std::time::Duration = std::time::Duration::from_secs(3);

/// `resourceVersion` and `resourceVersionMatch` of a list, checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum At {
    Newest,
    /// Whatever is at hand; `limit` does not apply.
    Any,
    NotOlderThan(u64),
    Exactly(u64),
}

impl Api {
    pub(super) async fn get(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let stored = self.shown_to(target, self.stored(target)?).await?;
        let body = present::one(target.kind, call.form, &stored, self.clock.now());
        Ok(super::json(StatusCode::OK, body))
    }

    /// The object that a path names.
    pub(super) fn stored(&self, target: &Target) -> Result<Arc<Stored>, Failure> {
        let name = target.name.as_deref().unwrap_or_default();
        let collected = self.collection_of(target.kind)?;
        let key = Key::new(target.namespace.as_deref().unwrap_or_default(), name);
        self.store
            .get(collected.id, &key)
            .ok_or_else(|| Failure::not_found(target.kind, name))
    }

    pub(super) async fn list(&self, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let collected = self.collection_of(kind)?;
        let filter = filter_of(kind, collected.kind, call)?;
        call.params.number("timeoutSeconds")?;
        let wanted = call.params.number("limit")?.unwrap_or(0);
        check_match(call, false)?;
        let at = list_version(call)?;
        let token = call
            .params
            .get("continue")
            .map(ContinueToken::parse)
            .transpose()?;
        if token.is_some() && !matches!(at, At::Newest | At::Any) {
            let why = "specifying resource version is not allowed when using continue";
            return Err(Failure::bad_request(why));
        }
        if let At::NotOlderThan(version) | At::Exactly(version) = at {
            self.wait_for(version).await?;
        }
        let limit = if at == At::Any && token.is_none() {
            0
        } else {
            usize::try_from(wanted).unwrap_or(0)
        };
        let continued = token.is_some();
        let (exact, after) = match (token, at) {
            (Some(token), _) => (Some(token.version), Some(token.after)),
            (None, At::Exactly(version)) => (Some(version), None),
            (None, _) => (None, None),
        };
        let namespace = if kind.namespaced {
            target.namespace.as_deref()
        } else {
            Some("")
        };
        let query = ListQuery {
            namespace,
            at: exact,
            after,
            limit,
        };
        let mut page = self.store.list(collected.id, &query, &filter).map_err(|gone| {
            if continued {
                Failure::continue_expired()
            } else {
                Failure::list_expired(gone)
            }
        })?;
        if continued && broken::is(Defect::PageSkipsOne) && !page.items.is_empty() {
            page.items.remove(0);
        }
        if let Some(custom) = &target.custom {
            page.items = Box::pin(self.shown(custom, page.items)).await?;
        }
        Ok(self.show_page(kind, call.form, page))
    }

    fn show_page(&self, kind: &'static Kind, form: Form, page: Page) -> Response<Body> {
        let mut metadata = json!({"resourceVersion": page.version.to_string()});
        if let (Some(last), Some(map)) = (&page.more_after, metadata.as_object_mut()) {
            let token = ContinueToken {
                version: page.version,
                after: last.clone(),
            };
            map.insert("continue".to_owned(), token.to_string().into());
            if let Some(remaining) = page.remaining {
                map.insert("remainingItemCount".to_owned(), remaining.into());
            }
        }
        if let (true, Some(map)) = (kind.is_custom() && form == Form::Whole, metadata.as_object_mut()) {
            // Lists without a type of their own say that nothing follows.
            map.entry("continue").or_insert_with(|| "".into());
        }
        if let Form::Table(include, beta) = form {
            let now = self.clock.now();
            let rows = page
                .items
                .iter()
                .map(|o| present::row(kind, include, beta, o, now))
                .collect();
            return super::json(StatusCode::OK, present::table_of(kind, beta, metadata, rows));
        }
        let (api_version, list_kind) = match form {
            Form::Metadata => (
                "meta.k8s.io/v1".to_owned(),
                "PartialObjectMetadataList".to_owned(),
            ),
            Form::Whole | Form::Table(..) => (kind.api_version(), format!("{}List", kind.kind)),
        };
        let head = format!(
            "{{\"kind\":\"{list_kind}\",\"apiVersion\":\"{api_version}\",\"metadata\":{metadata},\"items\":"
        );
        if form == Form::Metadata && page.items.is_empty() && !kind.is_custom() {
            return super::json(StatusCode::OK, format!("{head}null}}"));
        }
        let head = format!("{head}[");
        stream_list(&head, page.items, move |stored| present::item(kind, form, stored))
    }

    /// Waits a little for a resourceVersion that a client has from elsewhere.
    async fn wait_for(&self, version: u64) -> Result<(), Failure> {
        let waited = tokio::time::timeout(WAIT_FOR_VERSION, self.store.reached(version)).await;
        waited.map_err(|_| Failure::version_too_large(version, self.store.version()))
    }
}

/// Sends a list piece by piece. Short ones come whole, with their length.
fn stream_list(
    head: &str,
    items: Vec<Arc<Stored>>,
    show: impl Fn(&Stored) -> Bytes + Send + 'static,
) -> Response<Body> {
    let mut items = items.into_iter().peekable();
    let mut piece = BytesMut::from(head.as_bytes());
    let mut ended = false;
    let mut next = move || {
        while !ended {
            if let Some(stored) = items.next() {
                piece.extend_from_slice(&show(&stored));
                if items.peek().is_some() {
                    piece.extend_from_slice(b",");
                }
            } else {
                piece.extend_from_slice(b"]}");
                ended = true;
            }
            if piece.len() >= PIECE {
                break;
            }
        }
        (!piece.is_empty()).then(|| (piece.split().freeze(), ended))
    };
    match next() {
        Some((whole, true)) => super::json(StatusCode::OK, whole),
        first => {
            let first = first.map(|(piece, _)| piece);
            let rest = std::iter::from_fn(move || next().map(|(piece, _)| piece));
            let pieces = first.into_iter().chain(rest).map(|piece| Ok(Frame::data(piece)));
            let mut response = Response::new(StreamBody::new(stream::iter(pieces)).boxed_unsync());
            response
                .headers_mut()
                .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
            response
        }
    }
}

/// The selectors of a request. Fields are looked up in the table of the kind that is stored.
pub(super) fn filter_of(kind: &Kind, stored_kind: &Kind, call: &Call) -> Result<Filter, Failure> {
    let labels = match call.params.get("labelSelector") {
        Some(text) => Selector::parse(text).map_err(|error| Failure::bad_request(unreadable(&error)))?,
        None => Selector::default(),
    };
    let fields = match call.params.get("fieldSelector") {
        Some(text) => field_terms(kind, stored_kind, text)?,
        None => FieldTerms::new(),
    };
    Ok(Filter { labels, fields })
}

/// Why a label selector cannot be read.
fn unreadable(error: &ParseSelectorError) -> String {
    let (field, value, problems) = match error {
        ParseSelectorError::Key(key) => ("<nil>".to_owned(), key, kinds::label_key_problems(key)),
        ParseSelectorError::Value { key, index, value } => (
            format!("values[{index}][{key}]"),
            value,
            kinds::label_value_problems(value),
        ),
        other => return other.to_string(),
    };
    let lines: Vec<String> = problems
        .into_iter()
        .map(|why| FieldError::invalid(&field, value.as_str(), why).to_string())
        .collect();
    match lines.as_slice() {
        [one] => format!("unable to parse requirement: {one}"),
        many => format!("unable to parse requirement: [{}]", many.join(", ")),
    }
}

fn field_terms(kind: &Kind, stored_kind: &Kind, text: &str) -> Result<FieldTerms, Failure> {
    let mut terms = FieldTerms::new();
    for term in split_unescaped(text, ',') {
        if term.is_empty() {
            continue;
        }
        let Some((key, negated, value)) = split_operator(&term) else {
            return Err(Failure::bad_request(format!(
                "invalid selector: '{text}'; can't understand '{term}'"
            )));
        };
        if let Some((_, pointer)) = kind.selectable_fields.iter().find(|(known, _)| *known == key) {
            terms.push(FieldTerm::selectable(pointer, negated, value));
            continue;
        }
        // An unknown key must never be ignored: `drain` would take it for the whole cluster.
        let stored_key = match kind.conversion {
            Some(conversion) => (conversion.stored_field)(key),
            None => key.to_owned(),
        };
        let resolved = FieldTerm::new(&stored_key, negated, value, stored_kind.field_keys)
            .ok_or_else(|| Failure::bad_request(unknown_field(kind, key)))?;
        terms.push(resolved);
    }
    Ok(terms)
}

/// Kinds that can be selected by fields of their own word it in their own way.
///
/// Source: the answers of Kubernetes 1.34.
fn unknown_field(kind: &Kind, key: &str) -> String {
    const OWN: [&str; 7] = [
        "events",
        "namespaces",
        "nodes",
        "pods",
        "replicationcontrollers",
        "secrets",
        "services",
    ];
    match (kind.group, kind.plural) {
        ("", plural) if OWN.contains(&plural) => format!("field label not supported: {key}"),
        ("batch", "jobs") => format!("field label {key:?} not supported for Job"),
        _ if kind.is_custom() || kind.group == "events.k8s.io" => format!("field label not supported: {key}"),
        _ => format!("{key:?} is not a known field selector: only \"metadata.name\", \"metadata.namespace\""),
    }
}

/// Splits at a character that no `\` precedes. Escapes stay.
fn split_unescaped(text: &str, separator: char) -> Vec<String> {
    let mut parts = vec![String::new()];
    let mut escaped = false;
    for c in text.chars() {
        if c == separator && !escaped {
            parts.push(String::new());
            continue;
        }
        escaped = c == '\\' && !escaped;
        if let Some(last) = parts.last_mut() {
            last.push(c);
        }
    }
    parts
}

fn split_operator(term: &str) -> Option<(&str, bool, String)> {
    let at = term.find('=')?;
    let (key, rest) = term.split_at(at);
    let (key, negated) = match key.strip_suffix('!') {
        Some(key) => (key, !broken::is(Defect::NotEqualIsEqual)),
        None => (key, false),
    };
    let rest = rest.strip_prefix("==").or_else(|| rest.strip_prefix('='))?;
    let mut value = String::new();
    let mut chars = rest.chars();
    while let Some(c) = chars.next() {
        value.push(if c == '\\' { chars.next()? } else { c });
    }
    Some((key.trim(), negated, value))
}

/// Checks what goes with `resourceVersionMatch` and `sendInitialEvents`, of lists and of watches.
pub(super) fn check_match(call: &Call, is_watch: bool) -> Result<(), Failure> {
    const MATCH: &str = "resourceVersionMatch";
    let get = |name: &str| call.params.get(name);
    let matching = get(MATCH);
    let sends_initial = get("sendInitialEvents").is_some();
    let mut errors = Vec::new();
    let mut forbid = |field: &str, why: &str| errors.push(FieldError::forbidden(field, why));
    if is_watch && !sends_initial {
        if matching.is_some() {
            forbid(
                MATCH,
                "resourceVersionMatch is forbidden for watch unless sendInitialEvents is provided",
            );
        }
    } else if is_watch {
        if matching != Some("NotOlderThan") {
            forbid(
                MATCH,
                "sendInitialEvents requires setting resourceVersionMatch to NotOlderThan",
            );
        }
    } else if matching.is_some() && get("resourceVersion").is_none() {
        forbid(
            MATCH,
            "resourceVersionMatch is forbidden unless resourceVersion is provided",
        );
    }
    // Of watches Kubernetes says it in the same words, whether there is a match or not.
    if get("continue").is_some() && (matching.is_some() || is_watch) {
        forbid(
            MATCH,
            "resourceVersionMatch is forbidden when continue is provided",
        );
    }
    if !is_watch && matching == Some("Exact") && get("resourceVersion") == Some("0") {
        forbid(
            MATCH,
            "resourceVersionMatch \"exact\" is forbidden for resourceVersion \"0\"",
        );
    }
    if !is_watch && sends_initial {
        forbid("sendInitialEvents", "sendInitialEvents is forbidden for list");
    }
    match matching {
        Some(other) if is_watch && sends_initial && other != "NotOlderThan" => {
            errors.push(FieldError::not_supported(MATCH, other, &["NotOlderThan"]));
        }
        Some(other) if !is_watch && !matches!(other, "Exact" | "NotOlderThan") => {
            errors.push(FieldError::not_supported(
                MATCH,
                other,
                &["Exact", "NotOlderThan", ""],
            ));
        }
        _ => {}
    }
    if errors.is_empty() {
        Ok(())
    } else {
        Err(Failure::invalid_options("ListOptions", &errors))
    }
}

fn list_version(call: &Call) -> Result<At, Failure> {
    let version = parse_version(call)
        .map_err(|error| Failure::bad_request(format!("invalid resource version: {error}")))?;
    Ok(match (call.params.get("resourceVersionMatch"), version) {
        (_, None) => At::Newest,
        (_, Some(0)) => At::Any,
        (Some("Exact"), Some(version)) => At::Exactly(version),
        (_, Some(version)) => At::NotOlderThan(version),
    })
}

/// The `resourceVersion` parameter.
pub(super) fn parse_version(call: &Call) -> Result<Option<u64>, FieldError> {
    let Some(text) = call.params.get("resourceVersion") else {
        return Ok(None);
    };
    let why = format!("strconv.ParseUint: parsing {text:?}: invalid syntax");
    let parsed = text
        .parse()
        .map_err(|_| FieldError::invalid("resourceVersion", text, why))?;
    Ok(Some(parsed))
}

/// Where a continued list goes on: all pages show one state.
#[derive(Debug)]
struct ContinueToken {
    version: u64,
    after: Key,
}

impl ContinueToken {
    fn parse(text: &str) -> Result<Self, Failure> {
        let refuse = |why: &str| {
            Failure::bad_request(format!(
                "invalid continue token: continue key is not valid: {why}"
            ))
        };
        let bytes = URL_SAFE_NO_PAD.decode(text).map_err(|error| {
            let at = base64_offset(&error, text.len());
            refuse(&format!("illegal base64 data at input byte {at}"))
        })?;
        let token: Value = serde_json::from_slice(&bytes).map_err(|_| refuse(&go_syntax::problem(&bytes)))?;
        let field = |name| token.get(name).and_then(Value::as_str);
        let parsed = match (
            field("namespace"),
            field("name"),
            token.get("rv").and_then(Value::as_u64),
        ) {
            (Some(namespace), Some(name), Some(version)) => Some(Self {
                version,
                after: Key::new(namespace, name),
            }),
            _ => None,
        };
        parsed.ok_or_else(|| refuse("server did not recognize it"))
    }
}

impl std::fmt::Display for ContinueToken {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let token = json!({
            "v": 1, "rv": self.version, "namespace": &*self.after.namespace, "name": &*self.after.name,
        });
        f.write_str(&URL_SAFE_NO_PAD.encode(token.to_string()))
    }
}
