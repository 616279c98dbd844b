//! An arbiter that is a command in each pod: 0 is idle, 1 works, anything else is unknown. Source: statefulset.md 16.4.

use std::sync::Arc;
use std::time::Duration;

use futures::stream::{self, StreamExt as _};
use tokio::time::timeout;
use tracing::debug;

use super::{Answer, Instance, Others};
use crate::api::{Api, Command};

/// How many pods are asked at once: as many as are written at once.
const AT_ONCE: usize = 10;

/// Asks each of these pods. What a pod said before stays, until it is stale, where it does not answer now.
///
/// # Errors
/// None of them answers.
pub(super) async fn ask(
    api: &dyn Api,
    (namespace, pods): (&str, &[Arc<str>]),
    (container, command): (&str, &[Arc<str>]),
    within: Duration,
) -> Result<Answer, String> {
    let asked = pods.iter().map(|pod| {
        let command = Command {
            namespace: namespace.to_owned(),
            pod: pod.to_string(),
            container: container.to_owned(),
            command: command.iter().map(ToString::to_string).collect(),
        };
        async move {
            let ended = timeout(within, api.run(command)).await;
            let code = match ended {
                Ok(Ok(code)) => Ok(code),
                Ok(Err(error)) => Err(error.to_string()),
                Err(_) => Err(format!("no answer within {} s", within.as_secs())),
            };
            (Arc::clone(pod), code)
        }
    });
    // Collected first: a stream of a borrowing closure is not general enough for the compiler.
    let asked: Vec<_> = asked.collect();
    let said: Vec<(Arc<str>, Result<i32, String>)> = stream::iter(asked).buffered(AT_ONCE).collect().await;
    let (mut instances, mut failure) = (Vec::new(), None);
    for (pod, code) in said {
        match code {
            Ok(code) => instances.push(Instance {
                name: pod.to_string(),
                state: state(code).to_owned(),
            }),
            Err(why) => {
                debug!(pod = &*pod, why, "a pod was asked in vain whether it works");
                failure.get_or_insert(format!("pod {pod}: {why}"));
            }
        }
    }
    match failure {
        Some(why) if instances.is_empty() => Err(why),
        _ => Ok(Answer {
            instances,
            ttl_seconds: None,
            others: Others::StayAsTheyWere,
        }),
    }
}

fn state(code: i32) -> &'static str {
    match code {
        0 => "idle",
        1 => "working",
        _ => "unknown",
    }
}
