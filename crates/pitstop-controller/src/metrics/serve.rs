//! `/healthz`, `/readyz` and `/metrics`.

use std::sync::Arc;

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

#[derive(Clone)]
struct Shared {
    metrics: Arc<Metrics>,
    stores: Arc<Stores>,
}

/// The endpoints. Alive means that the process answers; ready, that all stores are in sync and no right is missing.
pub fn routes(metrics: Arc<Metrics>, stores: Arc<Stores>) -> Router {
    Router::new()
        .route("/healthz", get(async || "ok"))
        .route("/readyz", get(ready))
        .route("/metrics", get(metrics_text))
        .with_state(Shared { metrics, stores })
}

/// Serves the endpoints for ever.
pub(crate) async fn serve(listener: TcpListener, routes: Router) {
    if let Err(error) = axum::serve(listener, routes).await {
        tracing::error!(%error, "health endpoints ended");
    }
}

async fn ready(State(shared): State<Shared>) -> impl IntoResponse {
    let unsynced: Vec<&str> = shared
        .stores
        .unsynced()
        .into_iter()
        .map(crate::api::Resource::plural)
        .collect();
    let mut lines: Vec<String> = Vec::new();
    if !unsynced.is_empty() {
        lines.push(format!("not in sync: {}", unsynced.join(", ")));
    }
    lines.extend(shared.metrics.rights().missing().iter().map(ToString::to_string));
    if lines.is_empty() {
        (StatusCode::OK, "ok".to_owned())
    } else {
        (StatusCode::SERVICE_UNAVAILABLE, lines.join("\n"))
    }
}

async fn metrics_text(State(shared): State<Shared>) -> impl IntoResponse {
    ([(CONTENT_TYPE, OPENMETRICS)], shared.metrics.text())
}
