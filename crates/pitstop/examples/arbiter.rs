//! An arbiter: it knows which instances work, and lets no update take one of them.
//!
//! `cargo run --example arbiter -- 127.0.0.1:7777`, and then each instance says what it does:
//! `curl -X PUT -d working http://127.0.0.1:7777/instances/sample-0` (or `idle`).
//! `updateStrategy.rollingUpdate.protection.arbiter.http` of the StatefulSet names the service before it, and path `/work`.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex, PoisonError};

use axum::extract::{Path, State};
use axum::routing::{get, post, put};
use axum::{Json, Router};
use serde_json::{Value, json};
use tokio::net::TcpListener;

/// What each instance does: `working` or `idle`.
type Instances = Arc<Mutex<BTreeMap<String, String>>>;

/// Serves until it is dropped.
pub(crate) async fn serve(listener: TcpListener) -> std::io::Result<()> {
    let routes = Router::new()
        .route("/instances/{name}", put(tell))
        .route("/work", get(states))
        .route("/work/claim", post(claim))
        .route("/work/release", post(async || "{}"))
        .with_state(Instances::default());
    axum::serve(listener, routes).await
}

async fn tell(State(instances): State<Instances>, Path(name): Path<String>, state: String) {
    let mut instances = instances.lock().unwrap_or_else(PoisonError::into_inner);
    instances.insert(name, state);
}

async fn states(State(instances): State<Instances>) -> Json<Value> {
    let instances = instances.lock().unwrap_or_else(PoisonError::into_inner);
    let all = instances
        .iter()
        .map(|(name, state)| json!({"name": name, "state": state}));
    Json(json!({"instances": all.collect::<Vec<_>>()}))
}

/// Whoever is asked for and idles may be taken down. A real arbiter would give it no work until it is released.
async fn claim(State(instances): State<Instances>, Json(asked): Json<Value>) -> Json<Value> {
    let instances = instances.lock().unwrap_or_else(PoisonError::into_inner);
    let idles = |name: &&Value| {
        name.as_str()
            .is_some_and(|name| instances.get(name).is_some_and(|state| state == "idle"))
    };
    let granted = asked["pods"].as_array().into_iter().flatten().filter(idles);
    Json(json!({"granted": granted.collect::<Vec<_>>()}))
}

#[allow(dead_code, reason = "tests serve it themselves")]
#[tokio::main]
async fn main() -> std::io::Result<()> {
    let addr = std::env::args()
        .nth(1)
        .unwrap_or_else(|| "0.0.0.0:7777".to_owned());
    serve(TcpListener::bind(addr).await?).await
}
