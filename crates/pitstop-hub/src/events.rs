//! What happens on this node, as a stream for user interfaces.
//!
//! The last events are kept in a ring, so that a client that lost its connection goes on where it was. A client that
//! reads too slowly is let go; it comes back and is told from the ring.
//!
//! Source: hub.md B10 (limits), B11.

use std::collections::{BTreeMap, VecDeque};
use std::convert::Infallible;
use std::pin::Pin;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::task::{Context, Poll};
use std::time::Duration;

use bytes::Bytes;
use http::HeaderValue;
use http::header::CACHE_CONTROL;
use http_body::Frame;
use http_body_util::BodyExt as _;
use serde_json::{Value, json};
use tokio::sync::mpsc;
use tokio::time::{Interval, interval_at};

use crate::answers::{self, Answer};
use crate::settings::Limits;

/// Events that can be told again.
const RING: usize = 512;
/// How often a silent stream says that it lives.
const ALIVE: Duration = Duration::from_secs(15);
/// Events that may be on their way to one client at once; bytes are counted beside.
const QUEUE: usize = 256;

/// What kind of event.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Kind {
    Hello,
    Connectivity,
    Upgradable,
    Intent,
    Upgrade,
    Reset,
}

impl Kind {
    fn as_str(self) -> &'static str {
        match self {
            Self::Hello => "hello",
            Self::Connectivity => "connectivity",
            Self::Upgradable => "upgradable",
            Self::Intent => "intent",
            Self::Upgrade => "upgrade",
            Self::Reset => "reset",
        }
    }
}

/// A client of the stream.
#[derive(Debug)]
struct Client {
    to: mpsc::Sender<Bytes>,
    uid: Option<u32>,
    /// Bytes that it has not taken yet.
    waiting: Arc<std::sync::atomic::AtomicUsize>,
}

#[derive(Debug, Default)]
struct Inner {
    next: u64,
    ring: VecDeque<(u64, Bytes)>,
    clients: BTreeMap<u64, Client>,
    clients_so_far: u64,
    closed: bool,
}

/// All streams.
#[derive(Debug)]
pub(crate) struct Events {
    /// Which run of the hub the numbers are of.
    epoch: String,
    inner: Arc<Mutex<Inner>>,
    limits: Limits,
}

fn lock(inner: &Mutex<Inner>) -> MutexGuard<'_, Inner> {
    inner.lock().unwrap_or_else(PoisonError::into_inner)
}

fn written(id: &str, kind: Kind, data: &Value) -> Bytes {
    format!("id: {id}\nevent: {}\ndata: {data}\n\n", kind.as_str()).into()
}

impl Events {
    pub(crate) fn new(epoch: String, limits: Limits) -> Self {
        Self {
            epoch,
            inner: Arc::default(),
            limits,
        }
    }

    /// Tells everybody.
    pub(crate) fn tell(&self, kind: Kind, data: &Value) {
        let mut inner = lock(&self.inner);
        inner.next += 1;
        let number = inner.next;
        let event = written(&format!("{}-{number}", self.epoch), kind, data);
        if inner.ring.len() == RING {
            inner.ring.pop_front();
        }
        inner.ring.push_back((number, event.clone()));
        let backlog = self.limits.backlog;
        inner.clients.retain(|_, client| client.send(&event, backlog));
    }

    /// Whether anybody listens.
    #[cfg(test)]
    fn heard(&self) -> bool {
        !lock(&self.inner).clients.is_empty()
    }

    /// A stream for a client: what it missed since `last`, or the state of everything, and then what happens.
    ///
    /// None if there are too many streams.
    pub(crate) fn stream(
        &self,
        uid: Option<u32>,
        last: Option<&str>,
        state: impl FnOnce() -> Value,
    ) -> Option<Answer> {
        let mut inner = lock(&self.inner);
        let of_user = inner.clients.values().filter(|client| client.uid == uid).count();
        if inner.closed
            || inner.clients.len() >= self.limits.streams
            || of_user >= self.limits.streams_per_user
        {
            return None;
        }
        let id = format!("{}-{}", self.epoch, inner.next);
        let mut first = VecDeque::new();
        match last.map(|last| self.missed(&inner, last)) {
            None => first.push_back(written(&id, Kind::Hello, &state())),
            Some(Some(missed)) => first.extend(missed),
            Some(None) => first.push_back(written(&id, Kind::Reset, &state())),
        }
        let (to, from) = mpsc::channel(QUEUE);
        let waiting = Arc::default();
        inner.clients_so_far += 1;
        let number = inner.clients_so_far;
        let client = Client {
            to,
            uid,
            waiting: Arc::clone(&waiting),
        };
        inner.clients.insert(number, client);
        drop(inner);
        let stream = Stream {
            first,
            from,
            waiting,
            alive: interval_at(tokio::time::Instant::now() + ALIVE, ALIVE),
            farewell: false,
            place: Place {
                number,
                inner: Arc::clone(&self.inner),
            },
        };
        let mut answer = answers::stream(
            HeaderValue::from_static("text/event-stream"),
            stream.boxed_unsync(),
        );
        answer
            .headers_mut()
            .insert(CACHE_CONTROL, HeaderValue::from_static("no-store"));
        Some(answer)
    }

    /// What came after an event; none if that is not known any more.
    fn missed(&self, inner: &Inner, last: &str) -> Option<Vec<Bytes>> {
        let (epoch, number) = last.rsplit_once('-')?;
        let number: u64 = number.parse().ok()?;
        let oldest = inner.ring.front().map_or(inner.next + 1, |(number, _)| *number);
        if epoch != self.epoch || number > inner.next || number + 1 < oldest {
            return None;
        }
        let newer = inner.ring.iter().filter(|(known, _)| *known > number);
        Some(newer.map(|(_, event)| event.clone()).collect())
    }

    /// Ends all streams; clients come back in two seconds.
    ///
    /// Source: hub.md B12 (shutdown).
    pub(crate) fn close(&self) {
        let mut inner = lock(&self.inner);
        inner.closed = true;
        inner.clients.clear();
    }
}

impl Client {
    /// Whether it keeps up.
    fn send(&self, event: &Bytes, backlog: usize) -> bool {
        use std::sync::atomic::Ordering::Relaxed;
        if self.waiting.load(Relaxed) + event.len() > backlog {
            return false;
        }
        self.waiting.fetch_add(event.len(), Relaxed);
        self.to.try_send(event.clone()).is_ok()
    }
}

/// A place among the clients.
struct Place {
    number: u64,
    inner: Arc<Mutex<Inner>>,
}

impl Drop for Place {
    fn drop(&mut self) {
        lock(&self.inner).clients.remove(&self.number);
    }
}

/// One stream.
struct Stream {
    first: VecDeque<Bytes>,
    from: mpsc::Receiver<Bytes>,
    waiting: Arc<std::sync::atomic::AtomicUsize>,
    alive: Interval,
    farewell: bool,
    place: Place,
}

impl http_body::Body for Stream {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        cx: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        let data = |bytes| Poll::Ready(Some(Ok(Frame::data(bytes))));
        if let Some(event) = self.first.pop_front() {
            return data(event);
        }
        match self.from.poll_recv(cx) {
            Poll::Ready(Some(event)) => {
                self.waiting
                    .fetch_sub(event.len(), std::sync::atomic::Ordering::Relaxed);
                return data(event);
            }
            Poll::Ready(None) if self.farewell => return Poll::Ready(None),
            Poll::Ready(None) => {
                self.farewell = true;
                let closed = lock(&self.place.inner).closed;
                return if closed {
                    data(Bytes::from_static(b"retry: 2000\n\n"))
                } else {
                    // Too slow: there is nothing to say that it would take.
                    Poll::Ready(None)
                };
            }
            Poll::Pending => {}
        }
        if self.alive.poll_tick(cx).is_ready() {
            return data(Bytes::from_static(b": alive\n\n"));
        }
        Poll::Pending
    }
}

/// What an event about the link says.
pub(crate) fn connectivity(connected: bool, since: jiff::Timestamp) -> Value {
    json!({ "connected": connected, "since": since })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn mk_events() -> Events {
        Events::new("7f3a".to_owned(), Limits::default())
    }

    fn count(events: &Events, from: u64, to: u64) {
        for number in from..=to {
            events.tell(Kind::Upgrade, &json!({ "n": number }));
        }
    }

    /// What a stream holds until it would have to wait.
    fn read(answer: Answer) -> String {
        let mut body = answer.into_body();
        let mut all = String::new();
        while let Some(Some(Ok(frame))) = futures::FutureExt::now_or_never(body.frame()) {
            all.push_str(&String::from_utf8_lossy(&frame.into_data().unwrap()));
        }
        all
    }

    #[tokio::test]
    async fn a_new_client_is_told_the_state_and_then_what_happens() {
        let events = mk_events();
        count(&events, 1, 3);
        let answer = events.stream(None, None, || json!({ "node": "n1" })).unwrap();
        assert_eq!(answer.headers()["content-type"], "text/event-stream");
        events.tell(Kind::Intent, &json!({ "id": "x" }));
        let expected = "id: 7f3a-3\nevent: hello\ndata: {\"node\":\"n1\"}\n\n\
                        id: 7f3a-4\nevent: intent\ndata: {\"id\":\"x\"}\n\n";
        assert_eq!(read(answer), expected);
    }

    #[tokio::test]
    async fn a_client_that_comes_back_misses_nothing() {
        let events = mk_events();
        count(&events, 1, 600);
        for (last, expected) in [
            ("7f3a-600", ""),
            ("7f3a-598", "id: 7f3a-599\n"),
            ("7f3a-88", "id: 7f3a-89\n"),
            ("7f3a-87", "id: 7f3a-600\nevent: reset\n"),
            ("7f3a-601", "id: 7f3a-600\nevent: reset\n"),
            ("0000-600", "id: 7f3a-600\nevent: reset\n"),
            ("nonsense", "id: 7f3a-600\nevent: reset\n"),
        ] {
            let answer = events.stream(None, Some(last), || json!({})).unwrap();
            let text = read(answer);
            assert!(
                text.starts_with(expected) && text.is_empty() == expected.is_empty(),
                "{last}: {text}"
            );
        }
    }

    #[tokio::test]
    async fn slow_readers_and_crowds_take_bounded_memory() {
        let events = mk_events();
        let slow = events.stream(Some(1), None, || json!({})).unwrap();
        for _ in 0..100 {
            events.tell(Kind::Intent, &json!({ "x": "x".repeat(4096) }));
        }
        assert!(!events.heard());
        drop(slow);
        let held: Vec<_> = (0..100)
            .map(|uid| events.stream(Some(uid % 10), None, || json!({})))
            .collect();
        assert_eq!(held.iter().flatten().count(), 16);
        drop(held);
        let one: Vec<_> = (0..10).map(|_| events.stream(None, None, || json!({}))).collect();
        assert_eq!(one.iter().flatten().count(), 4);
    }

    #[tokio::test]
    async fn the_end_asks_clients_to_come_back() {
        let events = mk_events();
        let answer = events.stream(None, None, || json!({})).unwrap();
        events.close();
        assert!(read(answer).ends_with("retry: 2000\n\n"));
        assert!(events.stream(None, None, || json!({})).is_none());
    }

    #[tokio::test(start_paused = true)]
    async fn a_silent_stream_says_that_it_lives() {
        let events = mk_events();
        let mut body = events.stream(None, None, || json!({})).unwrap().into_body();
        body.frame().await.unwrap().unwrap();
        let began = tokio::time::Instant::now();
        let frame = body.frame().await.unwrap().unwrap();
        assert_eq!(frame.into_data().unwrap(), ": alive\n\n");
        assert_eq!(began.elapsed().as_secs(), 15);
    }
}
