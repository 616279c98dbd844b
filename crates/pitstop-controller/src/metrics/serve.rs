//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::{Arc, Mutex, PoisonError};

use axum::Router;
use axum::extract::State;
use axum::http::StatusCode;
use axum::http::header::CONTENT_TYPE;
use axum::response::IntoResponse;
use axum::routing::get;
use tokio::net::TcpListener;

use super::Metrics;
use crate::store::Stores;

/// The media type of [`Metrics::text`].
const OPENMETRICS: &str = "application/openmetrics-text; version=1.0.0; charset=utf-8";

/// What this process is doing, for `/readyz`.
#[derive(Clone, Default)]
pub(crate) struct Standing(Arc<Mutex<Doing>>);

#[derive(Default)]
enum Doing {
    /// Nothing is known of the cluster yet.
    #[default]
    Starting,
    /// Ready to take over. As good as one that leads: or a rolling update of two replicas would wait for the new one,
    /// which waits for the old one.
    StandingBy,
    Leading(Arc<Stores>),
}

impl Standing {
    pub(crate) fn starting(&self) {
        self.set(Doing::Starting);
    }

    pub(crate) fn standing_by(&self) {
        self.set(Doing::StandingBy);
    }

    pub(crate) fn leading(&self, stores: Arc<Stores>) {
        self.set(Doing::Leading(stores));
    }

    fn set(&self, doing: Doing) {
        *self.0.lock().unwrap_or_else(PoisonError::into_inner) = doing;
    }

    /// The text, or why not.
    fn ready(&self) -> Result<&'static str, String> {
        match &*self.0.lock().unwrap_or_else(PoisonError::into_inner) {
            Doing::Starting => Err("the lease was not seen yet".to_owned()),
            Doing::StandingBy => Ok("ok: standing by"),
            Doing::Leading(stores) => {
                let unsynced = stores.unsynced();
                let names: Vec<&str> = unsynced.into_iter().map(crate::api::Resource::plural).collect();
                if names.is_empty() {
                    Ok("ok")
                } else {
                    Err(format!("not in sync: {}", names.join(", ")))
                }
            }
        }
    }
}

#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    standing: Standing,
}

/// The endpoints. Alive means that the process answers; ready, that it stands by, or leads and all stores are in sync,
/// and that no right is missing.
pub(crate) fn routes(metrics: Arc<Metrics>, standing: Standing) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(Shared { metrics, standing })
}

/// Serves the endpoints for ever.
pub(crate) async fn serve(listener: TcpListener, routes: Router) {
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "health endpoints ended");
    }
}

async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    let (text, mut lines) = match shared.standing.ready() {
        Ok(text) => (text, Vec::new()),
        Err(why) => ("", vec![why]),
    };
    lines.extend(shared.metrics.rights().missing().iter().map(ToString::to_string));
    if lines.is_empty() {
        (StatusCode::OK, text.to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, lines.join("\n"))
    }
}

async fn metrics_text(State(shared): State<Shared>) -> impl IntoResponse {
    ([(CONTENT_TYPE, OPENMETRICS)], shared.metrics.text())
}
