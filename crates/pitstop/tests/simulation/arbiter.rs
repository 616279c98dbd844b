//! Who knows which pods work: a service, or a command in each pod. It says the truth, if it says anything, and not always at
//! once.
//!
//! Source: statefulset.md 16.4.

use std::collections::{BTreeMap, BTreeSet};
use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex, MutexGuard};
use std::time::Duration;

use axum::extract::State;
use axum::routing::{get, post};
use axum::{Json, Router};
use futures::future;
use jiff::{SignedDuration, Timestamp};
use pitstop_api::SharedClock;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

use crate::objects::text;
use crate::storm::{Fault, Storm};

/// The host that the service stands for, outside of the cluster.
pub(crate) const HOST: &str = "arbiter.example.com";
pub(crate) const PORT: u16 = 80;
/// Where it answers.
pub(crate) const PATH: &str = "/work";
/// How long an answer may be under way. Units: milliseconds. Longer than anybody waits for it.
const LATE: u64 = 4_000;
/// How far the clocks of those who ask may be off, and set forth and back: a grant is kept for that much longer.
const SKEW: SignedDuration = SignedDuration::from_secs(10);
/// What one connection holds. Units: bytes. More than any question or answer here.
const BUFFER: usize = 1 << 16;

/// A pod begins to work, or is done.
#[derive(Debug, Clone)]
pub(crate) struct Turn {
    pub(crate) at: Timestamp,
    pub(crate) pod: String,
    pub(crate) works: bool,
}

/// Who says that a pod begins to work right when somebody writes to it, where that has to be heeded.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Surprise {
    /// The label of the pod: whoever writes says which version of it was judged.
    Label,
    /// The arbiter: it begins nothing that it has granted.
    Arbiter,
}

pub(crate) struct Arbiter {
    clock: SharedClock,
    storm: Arc<Storm>,
    callers: UnboundedSender<DuplexStream>,
    inner: Mutex<Inner>,
}

#[derive(Default)]
struct Inner {
    working: BTreeSet<String>,
    /// Pods that begin no work, and until when.
    granted: BTreeMap<String, Timestamp>,
    is_silent: bool,
    surprise: Option<Surprise>,
    /// How long answers take that nothing delays.
    takes: Duration,
    turns: Vec<Turn>,
}

impl Arbiter {
    /// Answers from now on.
    pub(crate) fn open(clock: SharedClock, storm: Arc<Storm>) -> Arc<Self> {
        let (callers, line) = unbounded_channel();
        let arbiter = Arc::new(Self {
            clock,
            storm,
            callers,
            inner: Mutex::default(),
        });
        let routes = Router::new()
            .route(PATH, get(states))
            .route(&format!("{PATH}/claim"), post(claim))
            .route(&format!("{PATH}/release"), post(release))
            .with_state(Arc::clone(&arbiter));
        tokio::spawn(async move { axum::serve(Line(line), routes).await });
        arbiter
    }

    /// A connection to it.
    ///
    /// # Errors
    /// It does not answer, or there is nobody with this address.
    pub(crate) fn connect(&self, address: &str) -> io::Result<DuplexStream> {
        if address != format!("{HOST}:{PORT}") || self.is_silent() {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        }
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        self.callers.send(theirs).map_err(io::Error::other)?;
        Ok(ours)
    }

    pub(crate) fn works(&self, pod: &str) -> bool {
        self.lock().working.contains(pod)
    }

    /// Names of all pods that work.
    pub(crate) fn working(&self) -> BTreeSet<String> {
        self.lock().working.clone()
    }

    /// A pod works from now on, or is done. Who was granted begins nothing.
    pub(crate) fn set_work(&self, pod: &str, works: bool) {
        let at = self.clock.now();
        let mut inner = self.lock();
        let is_granted = inner.granted.get(pod).is_some_and(|until| *until > at);
        if works == inner.working.contains(pod) || (works && is_granted) {
            return;
        }
        if works {
            inner.working.insert(pod.to_owned());
        } else {
            inner.working.remove(pod);
        }
        let pod = pod.to_owned();
        inner.turns.push(Turn { at, pod, works });
    }

    /// Pods begin to work right when somebody writes to them, from now on.
    pub(crate) fn set_surprise(&self, surprise: Option<Surprise>) {
        self.lock().surprise = surprise;
    }

    pub(crate) fn surprise(&self) -> Option<Surprise> {
        self.lock().surprise
    }

    /// Whether it answers at all.
    pub(crate) fn set_silent(&self, is_silent: bool) {
        self.lock().is_silent = is_silent;
    }

    /// How long its answers take from now on.
    pub(crate) fn take_time(&self, takes: Duration) {
        self.lock().takes = takes;
    }

    pub(crate) fn is_silent(&self) -> bool {
        self.lock().is_silent
    }

    /// All that began and ended, in order.
    pub(crate) fn turns(&self) -> Vec<Turn> {
        self.lock().turns.clone()
    }

    fn lock(&self) -> MutexGuard<'_, Inner> {
        self.inner.lock().unwrap()
    }

    /// An answer on its way.
    async fn after_a_while(&self, answer: Value) -> Json<Value> {
        let takes = self.lock().takes;
        if !takes.is_zero() {
            sleep(takes).await;
        }
        if self.storm.strikes(Fault::AnswerLost, 20, "of the arbiter") {
            sleep(self.storm.duration(0..LATE)).await;
        }
        Json(answer)
    }
}

async fn states(State(arbiter): State<Arc<Arbiter>>) -> Json<Value> {
    // It knows of no others: these are all ordinals that a story has.
    let working = arbiter.working();
    let names = (0..N_ORDINALS).map(|ordinal| format!("{}-{ordinal}", crate::instances::NAME));
    let states = names.map(|name| {
        let state = if working.contains(&name) {
            "working"
        } else {
            "idle"
        };
        json!({"name": name, "state": state})
    });
    let answer = json!({"instances": states.collect::<Vec<_>>()});
    arbiter.after_a_while(answer).await
}

/// More ordinals than any story has: 8 replicas, 2 reserved, and the first of them 2.
const N_ORDINALS: u32 = 16;

/// Who idles is granted, and begins nothing before that ends.
async fn claim(State(arbiter): State<Arc<Arbiter>>, Json(asked): Json<Value>) -> Json<Value> {
    let ttl = SignedDuration::from_secs(asked["ttlSeconds"].as_i64().unwrap_or_default());
    let until = arbiter.clock.now() + ttl + SKEW;
    let mut granted = Vec::new();
    for pod in pods(&asked) {
        let mut inner = arbiter.lock();
        if !inner.working.contains(&pod) {
            inner.granted.insert(pod.clone(), until);
            granted.push(pod);
        }
    }
    arbiter.after_a_while(json!({ "granted": granted })).await
}

async fn release(State(arbiter): State<Arc<Arbiter>>, Json(asked): Json<Value>) -> Json<Value> {
    for pod in pods(&asked) {
        arbiter.lock().granted.remove(&pod);
    }
    arbiter.after_a_while(json!({})).await
}

fn pods(asked: &Value) -> Vec<String> {
    let pods = asked["pods"].as_array().into_iter().flatten();
    pods.map(text).collect()
}

/// Those who call it.
struct Line(UnboundedReceiver<DuplexStream>);

impl axum::serve::Listener for Line {
    type Io = DuplexStream;
    type Addr = ();

    async fn accept(&mut self) -> (DuplexStream, ()) {
        match self.0.recv().await {
            Some(caller) => (caller, ()),
            // Nobody can call any more.
            None => match future::pending::<Infallible>().await {},
        }
    }

    fn local_addr(&self) -> io::Result<()> {
        Ok(())
    }
}
