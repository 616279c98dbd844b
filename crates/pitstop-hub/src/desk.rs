//! The way to ask a hub that has no door: for programs that it is a part of.

use std::sync::Arc;

use http_body_util::BodyExt as _;
use serde_json::Value;

use crate::ask::{self, Asked};
use crate::checks::Action;
use crate::overview;
use crate::routes::Admitted;
use crate::shared::Shared;

/// Asks a hub of the same program, past what guards its doors.
#[derive(Clone)]
pub struct Desk {
    shared: Arc<Shared>,
}

/// What a hub answered.
#[derive(Debug, Clone, PartialEq)]
pub struct Answered {
    /// Code, as of HTTP.
    pub code: u16,
    /// Body: JSON, or a text.
    pub body: Value,
}

impl Desk {
    pub(crate) fn new(shared: Arc<Shared>) -> Self {
        Self { shared }
    }

    /// Asks for something to be done about a pod, as `POST` does that asks for JSON.
    pub async fn ask(&self, action: Action, namespace: &str, name: &str) -> Answered {
        let asked = Asked {
            action,
            namespace: namespace.to_owned(),
            name: name.to_owned(),
            query: None,
        };
        let answer = Box::pin(ask::answer(&self.shared, &Admitted::within(), asked, true)).await;
        read(answer).await
    }

    /// The pods of the node, as `GET /pitstop/v1/pods` has them.
    pub async fn pods(&self) -> Answered {
        read(overview::slim(&self.shared, true)).await
    }

    /// What was asked for, as `GET /pitstop/v1/intents/{id}` has it.
    pub async fn intent(&self, id: &str) -> Answered {
        read(crate::consent::get(&self.shared, id)).await
    }
}

async fn read(answer: crate::answers::Answer) -> Answered {
    let code = answer.status().as_u16();
    // Bodies of our own have no errors.
    let body = answer
        .into_body()
        .collect()
        .await
        .map(http_body_util::Collected::to_bytes)
        .unwrap_or_default();
    let text = || Value::String(String::from_utf8_lossy(&body).into_owned());
    Answered {
        code,
        body: serde_json::from_slice(&body).unwrap_or_else(|_| text()),
    }
}
