//! The gate in front of all writes.

use std::io;
use std::sync::Arc;

use bytes::Bytes;
use futures::future::BoxFuture;
use jiff::Timestamp;
use pitstop_api::SharedClock;
use tokio::sync::watch;
use tokio::time::{Instant, sleep_until};

use super::{Api, Call, CallError, Command, Connection, Lines, MaySend};
use crate::metrics::Metrics;

/// Until when may be written.
///
/// By two clocks: the monotonic one runs on while a process is stopped but may stand still while a machine sleeps; the
/// wall clock shows that, but may be set back. The earlier of the two counts. Both are compared with what they
/// themselves said when the renewal was begun, so it does not matter whether they are right.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Permission {
    /// By the monotonic clock.
    pub until: Instant,
    /// By the wall clock.
    pub until_wall: Timestamp,
}

#[derive(Debug, Clone, Copy)]
enum State {
    /// Nobody excludes anybody.
    Unlimited,
    Until(Permission),
    Closed,
}

/// Lets writes through only while we may write, and counts them.
///
/// The time is looked at right before a write is sent, and once more when its first byte is about to leave. A write that
/// is not answered when the time is over is given up: it may not have left yet.
pub struct Gate {
    inner: Arc<dyn Api>,
    term: Arc<Term>,
    metrics: Arc<Metrics>,
}

/// The time in which may be written.
struct Term {
    clock: Option<SharedClock>,
    state: watch::Sender<State>,
}

impl Gate {
    /// A gate in front of `inner` that is open until it is closed.
    pub fn new(inner: Arc<dyn Api>, metrics: Arc<Metrics>) -> Self {
        Self {
            inner,
            term: Arc::new(Term {
                clock: None,
                state: watch::Sender::new(State::Unlimited),
            }),
            metrics,
        }
    }

    /// A gate that is open for as long as this and each later permission says.
    pub fn with_permission(
        inner: Arc<dyn Api>,
        metrics: Arc<Metrics>,
        clock: SharedClock,
        permission: Permission,
    ) -> Self {
        Self {
            inner,
            term: Arc::new(Term {
                clock: Some(clock),
                state: watch::Sender::new(State::Until(permission)),
            }),
            metrics,
        }
    }

    /// The lease was renewed: writing is allowed until then. Does not open a gate that was closed.
    pub fn renewed(&self, permission: Permission) {
        self.term.state.send_if_modified(|state| match state {
            State::Until(until) => {
                *until = permission;
                true
            }
            State::Unlimited | State::Closed => false,
        });
    }

    /// Nothing is written from here on, and what is under way is given up. Cannot be undone.
    pub fn close(&self) {
        self.term.state.send_replace(State::Closed);
    }

    /// Was it closed?
    pub fn is_closed(&self) -> bool {
        matches!(*self.term.state.borrow(), State::Closed)
    }

    /// May be written now?
    pub fn is_open(&self) -> bool {
        self.term.is_running()
    }

    async fn write(&self, call: Call) -> Result<Bytes, CallError> {
        if !self.is_open() {
            return Err(CallError::LeaseLost);
        }
        let term = Arc::clone(&self.term);
        let may_send: MaySend = Arc::new(move || term.is_running());
        tokio::select! {
            biased;
            () = self.term.runs_out() => Err(CallError::Unreachable(
                "given up: the lease was not renewed in time".to_owned(),
            )),
            answer = self.inner.send_if(call, may_send) => answer,
        }
    }
}

impl Term {
    fn is_running(&self) -> bool {
        self.closes_at(*self.state.borrow())
            .is_none_or(|at| Instant::now() < at)
    }

    /// When it ends unless something happens; `None`: never.
    fn closes_at(&self, state: State) -> Option<Instant> {
        match state {
            State::Unlimited => None,
            State::Closed => Some(Instant::now()),
            State::Until(permission) => {
                let is_over_by_wall = self
                    .clock
                    .as_ref()
                    .is_some_and(|clock| clock.now() >= permission.until_wall);
                Some(if is_over_by_wall {
                    Instant::now()
                } else {
                    permission.until
                })
            }
        }
    }

    /// Returns when nothing may be written any more.
    async fn runs_out(&self) {
        let mut state = self.state.subscribe();
        loop {
            let now = *state.borrow_and_update();
            match self.closes_at(now) {
                Some(at) if Instant::now() >= at => return,
                Some(at) => {
                    tokio::select! {
                        biased;
                        // The sender is ours.
                        _ = state.changed() => {}
                        () = sleep_until(at) => {}
                    }
                }
                None => {
                    // The sender is ours, so it does not end before us.
                    let _ = state.changed().await;
                }
            }
        }
    }
}

impl Api for Gate {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            let (verb, resource) = (call.verb, call.resource);
            if !verb.is_write() {
                return self.inner.send(call).await;
            }
            let answer = self.write(call).await;
            let result = answer.as_ref().map_or_else(CallError::as_str, |_| "ok");
            self.metrics.count_write(verb, resource, result);
            answer
        })
    }

    fn watch(&self, call: Call) -> BoxFuture<'_, Result<Lines, CallError>> {
        self.inner.watch(call)
    }

    fn run(&self, command: Command) -> BoxFuture<'_, Result<i32, CallError>> {
        self.inner.run(command)
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Connection>> {
        self.inner.connect(address)
    }
}
