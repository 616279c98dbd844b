//! The gate in front of all writes.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use futures::future::BoxFuture;

use super::{Api, Call, CallError, Lines};
use crate::metrics::Metrics;

/// Lets writes through only while we may write, and counts them.
pub struct Gate {
    inner: Arc<dyn Api>,
    is_closed: AtomicBool,
    metrics: Arc<Metrics>,
}

impl Gate {
    /// An open gate in front of `inner`.
    pub fn new(inner: Arc<dyn Api>, metrics: Arc<Metrics>) -> Self {
        Self {
            inner,
            is_closed: AtomicBool::new(false),
            metrics,
        }
    }

    /// Nothing is written from here on. Cannot be undone.
    pub fn close(&self) {
        self.is_closed.store(true, Ordering::SeqCst);
    }

    /// Was it closed?
    pub fn is_closed(&self) -> bool {
        self.is_closed.load(Ordering::SeqCst)
    }
}

impl Api for Gate {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            let (verb, resource) = (call.verb, call.resource);
            if !verb.is_write() {
                return self.inner.send(call).await;
            }
            let answer = if self.is_closed() {
                Err(CallError::LeaseLost)
            } else {
                self.inner.send(call).await
            };
            let result = answer.as_ref().map_or_else(CallError::as_str, |_| "ok");
            self.metrics.count_write(verb, resource, result);
            answer
        })
    }

    fn watch(&self, call: Call) -> BoxFuture<'_, Result<Lines, CallError>> {
        self.inner.watch(call)
    }
}
