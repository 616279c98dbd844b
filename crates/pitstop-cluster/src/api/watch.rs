//! Watches.
//!
//! Source: embedded-cluster.md 8.

use std::collections::VecDeque;
use std::convert::Infallible;
use std::sync::Arc;
use std::time::Duration;

use bytes::Bytes;
use futures::{Stream, stream};
use http::header::CONTENT_TYPE;
use http::{HeaderValue, Response};
use http_body::Frame;
use http_body_util::{BodyExt, StreamBody};
use serde_json::json;
use tokio::sync::Notify;
use tokio::sync::futures::Notified;
use tokio::time::Instant;

use super::present::{self, Form};
use super::read::{check_match, filter_of, parse_version};
use super::route::Target;
use super::status::Failure;
use super::{Api, Body, Call, closed};
use crate::broken::{self, Defect};
use crate::custom::Custom;
use crate::kinds::Kind;
use crate::store::{Change, ChangeKind, CollectionId, Filter, Gone, ListQuery, Stored};

/// Bounds of a watch's life in seconds when the client sets none.
const DEADLINE: (u64, u64) = (1800, 3600);
const BOOKMARK_EVERY: Duration = Duration::from_mins(1);
const BOOKMARK_BEFORE_END: Duration = Duration::from_secs(2);

/// Changes taken from the store at once.
const BATCH: usize = 512;

/// Where a watch begins.
#[derive(Clone, Copy)]
enum Start {
    /// With everything there is; the flag: then say that this was all.
    Everything { marked: bool },
    /// After a resourceVersion.
    After(u64),
}

/// Why a watch that had nothing to send goes on.
enum Wake {
    Changed,
    Bookmark,
    End,
}

/// What comes next.
enum Ready {
    Frame(Bytes),
    /// Of a custom kind: it is brought into the version of the watch when its turn comes.
    Change(ChangeKind, Arc<Stored>, u64),
}

/// One watch: a state machine that turns changes into frames.
struct Watch {
    api: Arc<Api>,
    kind: &'static Kind,
    form: Form,
    collection: CollectionId,
    namespace: Option<String>,
    filter: Filter,
    bookmarks: bool,
    /// Everything up to here was sent.
    sent: u64,
    custom: Option<Arc<Custom>>,
    ready: VecDeque<Ready>,
    changes: Arc<Notify>,
    /// Of the server, and of the connection.
    closing: [tokio::sync::watch::Receiver<bool>; 2],
    deadline: Instant,
    next_bookmark: Option<Instant>,
    ended: bool,
}

impl Api {
    pub(super) fn watch(self: &Arc<Self>, target: &Target, call: &Call) -> Result<Response<Body>, Failure> {
        let kind = target.kind;
        let collected = self.collection_of(kind)?;
        let filter = filter_of(kind, collected.kind, call)?;
        let start = watch_start(call)?;
        let asked = call.params.number("timeoutSeconds")?;
        let seconds = match asked.and_then(|seconds| u64::try_from(seconds).ok()) {
            Some(seconds) if seconds > 0 => seconds,
            _ => self.random.seconds(DEADLINE.0, DEADLINE.1),
        };
        let now = Instant::now();
        let bookmarks = call.params.flag("allowWatchBookmarks");
        let Some(changes) = self.store.arrivals(collected.id) else {
            return Err(Failure::no_such_path());
        };
        let connection_closing = call
            .closing
            .as_ref()
            .map_or_else(|| self.closing.subscribe(), |closing| closing.0.clone());
        let mut watch = Watch {
            api: self.clone(),
            kind,
            form: call.form,
            collection: collected.id,
            namespace: target.namespace.clone(),
            filter,
            bookmarks,
            sent: 0,
            custom: target.custom.clone(),
            ready: VecDeque::new(),
            changes,
            closing: [self.closing.subscribe(), connection_closing],
            deadline: now + Duration::from_secs(seconds),
            next_bookmark: None,
            ended: false,
        };
        watch.begin(start, now);
        let mut response = Response::new(StreamBody::new(watch.frames()).boxed_unsync());
        response
            .headers_mut()
            .insert(CONTENT_TYPE, HeaderValue::from_static("application/json"));
        Ok(response)
    }
}

fn watch_start(call: &Call) -> Result<Start, Failure> {
    check_match(call, true)?;
    // What Kubernetes cannot read here it does not type.
    let version = parse_version(call).map_err(|error| Failure::untyped(error.to_string()))?;
    let version = version.filter(|version| *version != 0);
    Ok(match call.params.get("sendInitialEvents") {
        Some(_) if call.params.flag("sendInitialEvents") => {
            let marked = !broken::is(Defect::NoBookmark);
            Start::Everything { marked }
        }
        // `sendInitialEvents=false` asks for changes alone, from now when there is no resourceVersion.
        Some(_) => Start::After(version.unwrap_or(u64::MAX)),
        None => version.map_or(Start::Everything { marked: false }, Start::After),
    })
}

impl Watch {
    fn begin(&mut self, start: Start, now: Instant) {
        if self.bookmarks {
            let last = self.deadline.checked_sub(BOOKMARK_BEFORE_END).unwrap_or(now);
            self.next_bookmark = Some((now + BOOKMARK_EVERY).min(last.max(now)));
        }
        match start {
            Start::After(u64::MAX) => self.sent = self.api.store.version(),
            Start::After(version) => match self.api.store.check_resume(self.collection, version) {
                Ok(()) => self.sent = version,
                Err(gone) => self.expire(gone),
            },
            Start::Everything { marked } => self.send_everything(marked),
        }
    }

    fn send_everything(&mut self, marked: bool) {
        let api = self.api.clone();
        let namespace = if self.kind.namespaced {
            self.namespace.as_deref()
        } else {
            Some("")
        };
        let query = ListQuery {
            namespace,
            ..ListQuery::default()
        };
        match api.store.list(self.collection, &query, &self.filter) {
            Err(gone) => self.expire(gone),
            Ok(page) => {
                for stored in page.items {
                    let version = stored.version;
                    let frame = self.ready(ChangeKind::Added, &stored, version);
                    self.ready.push_back(frame);
                }
                self.sent = page.version;
                if marked && self.bookmarks {
                    self.push_bookmark(true);
                }
            }
        }
    }

    /// The frames, until the watch ends.
    fn frames(self) -> impl Stream<Item = Result<Frame<Bytes>, Infallible>> {
        stream::unfold(self, |mut watch| async move {
            let frame = watch.next().await?;
            Some((Ok(Frame::data(frame)), watch))
        })
    }

    async fn next(&mut self) -> Option<Bytes> {
        loop {
            match self.ready.pop_front() {
                Some(Ready::Frame(frame)) => return Some(frame),
                Some(Ready::Change(kind, stored, version)) => {
                    return Some(self.converted(kind, stored, version).await);
                }
                None => {}
            }
            if self.ended {
                return None;
            }
            // It waits before the changes are read: one that comes in between wakes it.
            let changes = Arc::clone(&self.changes);
            let changed = changes.notified();
            self.take_changes();
            if !self.ready.is_empty() || self.ended {
                continue;
            }
            match self.wake(changed).await {
                Wake::Changed => {}
                Wake::Bookmark => self.push_due_bookmark(),
                Wake::End => self.ended = true,
            }
        }
    }

    async fn wake(&mut self, changed: Notified<'_>) -> Wake {
        let bookmark_at = self.next_bookmark.unwrap_or(self.deadline);
        let [server, connection] = &mut self.closing;
        tokio::select! {
            biased;
            () = closed(server) => Wake::End,
            () = closed(connection) => Wake::End,
            () = changed => Wake::Changed,
            () = tokio::time::sleep_until(self.deadline) => Wake::End,
            () = tokio::time::sleep_until(bookmark_at), if self.next_bookmark.is_some() => Wake::Bookmark,
        }
    }

    /// Turns the next changes into frames.
    fn take_changes(&mut self) {
        let api = self.api.clone();
        loop {
            match api.store.changes_after(self.collection, self.sent, BATCH) {
                Err(gone) => return self.expire(gone),
                Ok(batch) => {
                    let full = batch.changes.len() == BATCH;
                    for change in &batch.changes {
                        if let Some(frame) = self.frame_of(change) {
                            self.ready.push_back(frame);
                        }
                    }
                    self.sent = batch.upto;
                    if !full || !self.ready.is_empty() {
                        return;
                    }
                }
            }
        }
    }

    /// What a change means to this watch: objects come and go as they begin and cease to match.
    fn frame_of(&self, change: &Change) -> Option<Ready> {
        let matches = |stored: &Stored| {
            let in_namespace = self
                .namespace
                .as_deref()
                .is_none_or(|n| *stored.key.namespace == *n);
            in_namespace && self.filter.matches(stored)
        };
        let old = change.old.as_deref().filter(|old| matches(old));
        let is_deleted = change.kind == ChangeKind::Deleted;
        let new = (!is_deleted && matches(&change.new)).then_some(&change.new);
        match (old, new) {
            (None, None) => None,
            (None, Some(new)) => Some(self.ready(ChangeKind::Added, new, change.version)),
            (Some(_), Some(new)) => Some(self.ready(ChangeKind::Modified, new, change.version)),
            (Some(_), None) if is_deleted => {
                Some(self.ready(ChangeKind::Deleted, &change.new, change.version))
            }
            // It exists, but not for this watch: the last state that matched, under the version of its going.
            (Some(old), None) => {
                let gone = Arc::new(old.restamped(ChangeKind::Deleted, change.version, old.at));
                Some(self.ready(ChangeKind::Deleted, &gone, change.version))
            }
        }
    }

    fn ready(&self, kind: ChangeKind, stored: &Arc<Stored>, version: u64) -> Ready {
        if self.custom.is_some() {
            Ready::Change(kind, stored.clone(), version)
        } else {
            Ready::Frame(self.frame(kind, stored, version))
        }
    }

    /// The frame of a change in the version of the watch, or the error that it ends with.
    async fn converted(&mut self, kind: ChangeKind, stored: Arc<Stored>, version: u64) -> Bytes {
        let Some(custom) = self.custom.clone() else {
            return self.frame(kind, &stored, version);
        };
        match Box::pin(self.api.shown(&custom, vec![stored])).await {
            Ok(shown) => shown
                .first()
                .map(|stored| self.frame(kind, stored, version))
                .unwrap_or_default(),
            Err(failure) => {
                self.ready.clear();
                self.ended = true;
                let frame = json!({"type": "ERROR", "object": failure.to_status()}).to_string() + "\n";
                frame.into()
            }
        }
    }

    fn frame(&self, kind: ChangeKind, stored: &Stored, version: u64) -> Bytes {
        if self.form == Form::Whole && !self.kind.is_custom() && present::stores_own_form(self.kind) {
            let shared = stored.frame();
            if shared.starts_with(kind.frame_start().as_bytes()) {
                return shared;
            }
            return stored.frame_as(kind, version);
        }
        let object = present::one(self.kind, self.form, stored, self.api.clock.now());
        enclose(kind.frame_start(), &object)
    }

    fn push_due_bookmark(&mut self) {
        self.push_bookmark(false);
        let now = Instant::now();
        let last = self.deadline.checked_sub(BOOKMARK_BEFORE_END).unwrap_or(now);
        self.next_bookmark = if now < last {
            Some((now + BOOKMARK_EVERY).min(last))
        } else {
            None
        };
    }

    fn push_bookmark(&mut self, initial_events_end: bool) {
        let object = present::bookmark(self.kind, self.form, self.sent, initial_events_end);
        let frame = enclose("{\"type\":\"BOOKMARK\",\"object\":", &object);
        self.ready.push_back(Ready::Frame(frame));
    }

    fn expire(&mut self, gone: Gone) {
        let status = Failure::watch_expired(gone).to_status();
        let frame = json!({"type": "ERROR", "object": status}).to_string() + "\n";
        self.ready.push_back(Ready::Frame(frame.into()));
        self.ended = true;
    }
}

fn enclose(start: &str, object: &[u8]) -> Bytes {
    let mut frame = Vec::with_capacity(start.len() + object.len() + 2);
    frame.extend_from_slice(start.as_bytes());
    frame.extend_from_slice(object);
    frame.extend_from_slice(b"}\n");
    frame.into()
}
