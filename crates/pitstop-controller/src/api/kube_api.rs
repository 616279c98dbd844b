//! The real API server, through `kube::Client`.

use std::error::Error as _;
use std::fmt::Write as _;
use std::io::BufRead as _;
use std::time::Duration;

use bytes::{Bytes, BytesMut};
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt};
use http::Request;
use http_body_util::BodyExt;
use k8s_openapi::api::core::v1::Pod;
use k8s_openapi::apimachinery::pkg::apis::meta::v1::Status;
use kube::api::AttachParams;
use kube::client::Body;
use tokio::io::{AsyncRead, sink};

use super::guarded::Bodies;
use super::{Api, Call, CallError, Command, Lines, MaySend};

/// How long one request may take. Watches are not bound by it.
const ANSWER_WITHIN: Duration = Duration::from_secs(30);
/// The longest line that a watch may send. An object of etcd's limit of 1.5 MiB fits many times.
const LONGEST_LINE: usize = 64 << 20;

/// Sends calls with a `kube::Client`.
///
/// The client should be made with `Config::default_retry = false`: the library repeats POST after 429, 503 and 504 by
/// itself, while our back-off knows the workload. It is safe either way, as created objects have names that we choose.
#[derive(Clone)]
pub struct KubeApi {
    client: kube::Client,
    bodies: Bodies,
}

impl KubeApi {
    /// Calls go through `client`. Must be called in a runtime, as the client was.
    pub fn new(client: kube::Client) -> Self {
        let bodies = Bodies::new();
        Self { client, bodies }
    }

    async fn open(&self, request: Request<Body>) -> Result<Body, CallError> {
        let answer = self
            .client
            .send(request)
            .await
            .map_err(|e| CallError::Unreachable(chain(&e)))?;
        let code = answer.status();
        if code.is_success() {
            return Ok(answer.into_body());
        }
        let body = collect(answer.into_body()).await?;
        Err(CallError::from_answer(code.as_u16(), &body))
    }

    async fn exchange(&self, request: Request<Body>) -> Result<Bytes, CallError> {
        let exchange = async { collect(self.open(request).await?).await };
        tokio::time::timeout(ANSWER_WITHIN, exchange)
            .await
            .unwrap_or_else(|_| Err(unanswered()))
    }
}

impl Api for KubeApi {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            let request = call.to_http()?.map(Body::from);
            self.exchange(request).await
        })
    }

    fn send_if(&self, call: Call, may_send: MaySend) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            let (head, body) = call.to_http()?.into_parts();
            let guarded = self.bodies.guarded(body.into(), may_send).await;
            let (body, kept) = guarded.map_err(|e| CallError::Unreachable(chain(&e)))?;
            let answer = self.exchange(Request::from_parts(head, body)).await;
            if kept.is_kept() {
                return Err(CallError::LeaseLost);
            }
            answer
        })
    }

    fn watch(&self, call: Call) -> BoxFuture<'_, Result<Lines, CallError>> {
        Box::pin(async move {
            let request = call.to_http()?.map(Body::from);
            let body = tokio::time::timeout(ANSWER_WITHIN, self.open(request))
                .await
                .unwrap_or_else(|_| Err(unanswered()))?;
            Ok(lines(body))
        })
    }

    fn run(&self, command: Command) -> BoxFuture<'_, Result<i32, CallError>> {
        Box::pin(async move {
            let ended = tokio::time::timeout(ANSWER_WITHIN, run(self.client.clone(), command)).await;
            ended.unwrap_or_else(|_| Err(unanswered()))
        })
    }
}

/// Runs a command over a WebSocket. What it prints is read, and dropped: it could not go on otherwise.
async fn run(client: kube::Client, command: Command) -> Result<i32, CallError> {
    let pods: kube::Api<Pod> = kube::Api::namespaced(client, &command.namespace);
    let mut parameters = AttachParams::default().stdin(false).stdout(true).stderr(true);
    parameters.container = Some(command.container);
    let mut process = match pods.exec(&command.pod, command.command, &parameters).await {
        Ok(process) => process,
        Err(kube::Error::Api(status)) => {
            let body = serde_json::to_vec(&*status).unwrap_or_default();
            return Err(CallError::from_answer(status.code, &body));
        }
        Err(error) => return Err(CallError::Unreachable(chain(&error))),
    };
    let (said, warned) = (process.stdout(), process.stderr());
    let status = process.take_status();
    let ended = async {
        match status {
            Some(status) => status.await,
            None => None,
        }
    };
    let (status, (), ()) = futures::join!(ended, drop_all(said), drop_all(warned));
    let broken = |why: &str| CallError::Unreachable(format!("pod {}: {why}", command.pod));
    let status = status.ok_or_else(|| broken("the connection ended before the command"))?;
    exit_code(&status).ok_or_else(|| broken(status.message.as_deref().unwrap_or("it did not run")))
}

/// Reads to the end. Where it breaks off, how the command ended says more.
async fn drop_all(from: Option<impl AsyncRead + Unpin>) {
    if let Some(mut from) = from {
        let _ = tokio::io::copy(&mut from, &mut sink()).await;
    }
}

/// The code that a command ended with; `None`: it did not run.
fn exit_code(status: &Status) -> Option<i32> {
    if status.status.as_deref() == Some("Success") {
        return Some(0);
    }
    let causes = status
        .details
        .as_ref()
        .and_then(|details| details.causes.as_ref())?;
    let code = causes
        .iter()
        .find(|cause| cause.reason.as_deref() == Some("ExitCode"))?;
    code.message.as_deref()?.parse().ok()
}

fn unanswered() -> CallError {
    CallError::Unreachable(format!("no answer within {} s", ANSWER_WITHIN.as_secs()))
}

async fn collect(body: Body) -> Result<Bytes, CallError> {
    let collected = body
        .collect()
        .await
        .map_err(|e| CallError::Unreachable(e.to_string()))?;
    Ok(collected.to_bytes())
}

/// An error with its causes: the outermost alone often says only that the service failed.
fn chain(error: &kube::Error) -> String {
    let mut text = error.to_string();
    let mut cause = error.source();
    while let Some(inner) = cause {
        let inner_text = inner.to_string();
        if !text.ends_with(&inner_text) {
            let _ = write!(text, ": {inner_text}");
        }
        cause = inner.source();
    }
    text
}

/// Cuts a body into lines. An unfinished last line is dropped: the watch is opened again from the last whole one.
fn lines(body: Body) -> Lines {
    let state = (body, BytesMut::new(), 0_usize);
    stream::unfold(Some(state), |state| async move {
        let (mut body, mut buffer, mut searched) = state?;
        loop {
            let fresh = buffer.get(searched..).unwrap_or_default();
            if let Some(at) = newline(fresh) {
                let line = buffer.split_to(searched + at + 1).freeze();
                let line = line.slice(..line.len() - 1);
                if line.iter().all(u8::is_ascii_whitespace) {
                    searched = 0;
                    continue;
                }
                return Some((Ok(line), Some((body, buffer, 0))));
            }
            searched = buffer.len();
            if searched > LONGEST_LINE {
                let error = CallError::Unreadable {
                    what: "watch event".to_owned(),
                    problem: format!("longer than {LONGEST_LINE} bytes"),
                };
                return Some((Err(error), None));
            }
            match body.frame().await? {
                Ok(frame) => buffer.extend_from_slice(frame.data_ref().unwrap_or(&Bytes::new())),
                Err(e) => return Some((Err(CallError::Unreachable(e.to_string())), None)),
            }
        }
    })
    .boxed()
}

/// Where the first line ends. Lines are long, and the standard library's readers look at many bytes at a time, an
/// iterator at one.
fn newline(mut bytes: &[u8]) -> Option<usize> {
    let whole = bytes;
    // Reading from memory cannot fail.
    let n_read = bytes.skip_until(b'\n').unwrap_or_default();
    let at = n_read.checked_sub(1)?;
    (whole.get(at) == Some(&b'\n')).then_some(at)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_command_ends_with_a_code_or_did_not_run() {
        let status = |json: serde_json::Value| exit_code(&serde_json::from_value(json).unwrap());
        let causes = serde_json::json!([{"reason": "ExitCode", "message": "3"}]);
        for (said, code) in [
            (serde_json::json!({"status": "Success"}), Some(0)),
            (
                serde_json::json!({"status": "Failure", "reason": "NonZeroExitCode", "details": {"causes": causes}}),
                Some(3),
            ),
            (
                serde_json::json!({"status": "Failure", "reason": "InternalError", "message": "no such file"}),
                None,
            ),
        ] {
            assert_eq!(status(said.clone()), code, "{said}");
        }
    }

    #[tokio::test]
    async fn lines_are_cut_wherever_the_frames_end() {
        let body = Body::from(b"{\"a\":1}\n\n{\"b\":2}\n{\"unfinished\"".to_vec());
        let got: Vec<Bytes> = lines(body).map(Result::unwrap).collect().await;
        assert_eq!(
            got,
            [Bytes::from_static(b"{\"a\":1}"), Bytes::from_static(b"{\"b\":2}")]
        );
    }
}
