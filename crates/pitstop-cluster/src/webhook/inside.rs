//! Webhooks whose programs are in this process: they are asked without a socket.

use std::collections::BTreeMap;
use std::fmt;
use std::sync::{Arc, Mutex, PoisonError};

use futures::future::BoxFuture;
use serde_json::Value;

/// A program that answers reviews, as it would behind a service.
pub trait WebhookService: Send + Sync {
    /// Its answer to an `AdmissionReview` or `ConversionReview` that is sent to a path; `None` when there is nothing at
    /// that path.
    fn answer<'a>(&'a self, path: &'a str, review: &'a Value) -> BoxFuture<'a, Option<Value>>;
}

/// The programs, by namespace and name of the service that configurations name.
#[derive(Default)]
pub(crate) struct Inside(Mutex<BTreeMap<(String, String), Arc<dyn WebhookService>>>);

impl fmt::Debug for Inside {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        f.debug_list().entries(services.keys()).finish()
    }
}

impl Inside {
    pub(crate) fn add(&self, namespace: &str, name: &str, service: Arc<dyn WebhookService>) {
        let mut services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        services.insert((namespace.to_owned(), name.to_owned()), service);
    }

    pub(crate) fn find(&self, namespace: &str, name: &str) -> Option<Arc<dyn WebhookService>> {
        let services = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        let found = services
            .iter()
            .find(|((of, called), _)| of == namespace && called == name);
        found.map(|(_, service)| Arc::clone(service))
    }

    /// Lets them all go: a program often holds a client of the very server that asks it.
    pub(crate) fn clear(&self) {
        let services = std::mem::take(&mut *self.0.lock().unwrap_or_else(PoisonError::into_inner));
        // Dropped without the lock, as that may end what asks for it.
        drop(services);
    }
}
