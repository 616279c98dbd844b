//! A service that knows which pods work: none does. Whoever asks waits for its answer.
//!
//! Source: statefulset.md 16.4.

use std::convert::Infallible;
use std::io;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use axum::extract::State;
use axum::routing::get;
use axum::{Json, Router};
use futures::future;
use serde_json::{Value, json};
use tokio::io::DuplexStream;
use tokio::sync::mpsc::{UnboundedReceiver, UnboundedSender, unbounded_channel};
use tokio::time::sleep;

/// The host that the service stands for, outside of the cluster.
pub(crate) const HOST: &str = "arbiter.example.com";
pub(crate) const PORT: u16 = 80;
/// Where it answers.
pub(crate) const PATH: &str = "/work";
/// What one connection holds. Units: bytes. More than any question or answer here.
const BUFFER: usize = 1 << 16;
/// More ordinals than any StatefulSet that asks has.
const N_ORDINALS: u32 = 16;

pub(crate) struct Arbiter {
    callers: UnboundedSender<DuplexStream>,
    /// How long its answers take.
    takes: Mutex<Duration>,
}

impl Arbiter {
    /// Answers from now on.
    pub(crate) fn open() -> Arc<Self> {
        let (callers, line) = unbounded_channel();
        let arbiter = Arc::new(Self {
            callers,
            takes: Mutex::default(),
        });
        let routes = Router::new()
            .route(PATH, get(states))
            .with_state(Arc::clone(&arbiter));
        tokio::spawn(async move { axum::serve(Line(line), routes).await });
        arbiter
    }

    /// A connection to it.
    ///
    /// # Errors
    /// There is nobody with this address.
    pub(crate) fn connect(&self, address: &str) -> io::Result<DuplexStream> {
        if address != format!("{HOST}:{PORT}") {
            return Err(io::Error::from(io::ErrorKind::ConnectionRefused));
        }
        let (ours, theirs) = tokio::io::duplex(BUFFER);
        self.callers.send(theirs).map_err(io::Error::other)?;
        Ok(ours)
    }

    /// How long its answers take from now on.
    pub(crate) fn take_time(&self, takes: Duration) {
        *self.takes.lock().unwrap() = takes;
    }
}

async fn states(State(arbiter): State<Arc<Arbiter>>) -> Json<Value> {
    let takes = *arbiter.takes.lock().unwrap();
    sleep(takes).await;
    let idles = |ordinal: u32| json!({"name": format!("web-{ordinal}"), "state": "idle"});
    let states: Vec<Value> = (0..N_ORDINALS).map(idles).collect();
    Json(json!({ "instances": states }))
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
