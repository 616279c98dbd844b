//! Exit codes, and errors whose last line says what to do.
//!
//! Source: style.md B5 and B9: 0 done, 1 failed, 2 usage, 3 waiting timed out, 4 nothing matched.

use std::fmt;
use std::io::Write as _;
use std::process::ExitCode;

use pitstop_controller::CallError;
use pitstop_controller::api::MissingRight;

/// How a command ended that did not do what was asked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// It was tried and failed.
    Failed,
    /// What was typed makes no sense.
    Usage,
    /// What was waited for did not come in time.
    TimedOut,
    /// What was named is not there.
    NothingMatched,
}

impl Kind {
    /// The exit code.
    pub fn code(self) -> u8 {
        match self {
            Self::Failed => 1,
            Self::Usage => 2,
            Self::TimedOut => 3,
            Self::NothingMatched => 4,
        }
    }
}

/// An error that knows its exit code and what the user can do about it.
#[derive(Debug)]
pub struct Failure {
    kind: Kind,
    message: String,
    advice: String,
}

impl Failure {
    /// A failure with its message (lower case, no full stop) and the one thing to do next.
    pub fn new(kind: Kind, message: impl Into<String>, advice: impl Into<String>) -> Self {
        Self {
            kind,
            message: message.into(),
            advice: advice.into(),
        }
    }
}

impl fmt::Display for Failure {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(&self.message)
    }
}

impl std::error::Error for Failure {}

/// Something was tried and failed.
pub fn failed(message: impl Into<String>, advice: impl Into<String>) -> anyhow::Error {
    Failure::new(Kind::Failed, message, advice).into()
}

/// What was typed makes no sense.
pub fn usage(message: impl Into<String>, advice: impl Into<String>) -> anyhow::Error {
    Failure::new(Kind::Usage, message, advice).into()
}

/// What was named is not there.
pub fn nothing_matched(message: impl Into<String>, advice: impl Into<String>) -> anyhow::Error {
    Failure::new(Kind::NothingMatched, message, advice).into()
}

/// What was waited for did not come in time.
pub fn timed_out(message: impl Into<String>, advice: impl Into<String>) -> anyhow::Error {
    Failure::new(Kind::TimedOut, message, advice).into()
}

/// A command that we ran for somebody ended so. It has said why.
#[derive(Debug)]
struct EndedWith(u8);

impl fmt::Display for EndedWith {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "the command ended with exit code {}", self.0)
    }
}

impl std::error::Error for EndedWith {}

/// A command that we ran for somebody ended with this exit code, and ours is the same.
pub fn ended_with(code: u8) -> anyhow::Error {
    EndedWith(code).into()
}

/// Prints the error and its advice to stderr.
pub fn report(error: &anyhow::Error) -> ExitCode {
    if let Some(EndedWith(code)) = error.downcast_ref() {
        return ExitCode::from(*code);
    }
    if is_closed_pipe(error) {
        return ExitCode::SUCCESS;
    }
    let (code, text) = describe(error);
    // Nothing is left to tell it to when stderr is closed.
    let _ = writeln!(std::io::stderr().lock(), "{text}");
    ExitCode::from(code)
}

/// Exit code and text of an error: the chain in one line, then what to do.
pub fn describe(error: &anyhow::Error) -> (u8, String) {
    let failure = error.chain().find_map(|cause| cause.downcast_ref::<Failure>());
    let kind = failure.map_or_else(|| kind_of(error), |failure| failure.kind);
    let advice = failure.map_or_else(|| advice_for(error), |failure| failure.advice.clone());
    (kind.code(), format!("error: {}\nhint: {advice}", one_line(error)))
}

/// The chain of causes, each said once: clients repeat the message of what they wrap.
pub fn one_line(error: &anyhow::Error) -> String {
    let mut parts: Vec<String> = Vec::new();
    for cause in error.chain() {
        let text = match cause.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => refusal_text(status),
            _ => cause.to_string(),
        };
        if parts.last().is_some_and(|last| last.contains(&text)) {
            continue;
        }
        parts.push(text);
        if cause.is::<kube::Error>() && matches!(cause.downcast_ref(), Some(kube::Error::Api(_))) {
            break;
        }
    }
    parts.join(": ")
}

/// What the server said; a missing right in the words that all of pitstop says it in.
fn refusal_text(status: &kube::core::Status) -> String {
    let right = (status.code == 403).then(|| MissingRight::from_message(&status.message));
    match right.flatten() {
        Some(right) => right.to_string(),
        None => status.message.clone(),
    }
}

fn api_code(error: &anyhow::Error) -> Option<u16> {
    error
        .chain()
        .find_map(|cause| match cause.downcast_ref::<kube::Error>() {
            Some(kube::Error::Api(status)) => Some(status.code),
            _ => cause.downcast_ref::<CallError>()?.code(),
        })
}

fn kind_of(error: &anyhow::Error) -> Kind {
    if api_code(error) == Some(404) {
        Kind::NothingMatched
    } else {
        Kind::Failed
    }
}

fn advice_for(error: &anyhow::Error) -> String {
    match api_code(error) {
        Some(401) => {
            "the API server does not know this user: choose another with --kubeconfig or --context".into()
        }
        Some(403) => "ask for the right that the message names, or choose another user with --context".into(),
        Some(404) => "look at what is there with `pitstop status -A`".into(),
        Some(409) => "somebody changed it in between: run the command again".into(),
        Some(400 | 422) => "mend what the message names and run the command again".into(),
        Some(_) => "the API server refused: run again with --log debug to see each request".into(),
        None if error.downcast_ref::<kube::Error>().is_some() => {
            "is the cluster running? start one with `pitstop up`, or choose another with --kubeconfig".into()
        }
        None => "run again with --log debug to see each step".into(),
    }
}

fn is_closed_pipe(error: &anyhow::Error) -> bool {
    error.chain().any(|cause| {
        cause
            .downcast_ref::<std::io::Error>()
            .is_some_and(|error| error.kind() == std::io::ErrorKind::BrokenPipe)
    })
}

#[cfg(test)]
mod tests {
    use anyhow::Context as _;

    use super::*;

    #[test]
    fn the_last_line_says_what_to_do() {
        let error = nothing_matched("daemonset \"x\" is not there", "look at `pitstop status -A`");
        let (code, text) = describe(&Err::<(), _>(error).context("reading the state").unwrap_err());
        assert_eq!(code, 4);
        assert_eq!(
            text,
            "error: reading the state: daemonset \"x\" is not there\nhint: look at `pitstop status -A`"
        );
    }

    #[test]
    fn every_kind_has_the_code_of_the_spec() {
        let codes = [Kind::Failed, Kind::Usage, Kind::TimedOut, Kind::NothingMatched].map(Kind::code);
        assert_eq!(codes, [1, 2, 3, 4], "style.md B9");
    }

    #[test]
    fn an_answer_of_the_server_is_said_once() {
        let status =
            kube::core::Status::failure("daemonsets.apps \"x\" not found", "NotFound").with_code(404);
        let error = anyhow::Error::new(kube::Error::Api(Box::new(status))).context("reading ds/x");
        let (code, text) = describe(&error);
        assert_eq!(code, 4);
        assert!(
            text.starts_with("error: reading ds/x: daemonsets.apps \"x\" not found\nhint: "),
            "{text}"
        );
    }

    const RBAC: &str = "nodes is forbidden: User \"jane\" cannot list resource \"nodes\" in API group \"\" at the cluster scope";

    #[test]
    fn a_missing_right_is_named_whichever_way_it_was_asked_for() {
        let status = kube::core::Status::failure(RBAC, "Forbidden").with_code(403);
        let by_kube = anyhow::Error::new(kube::Error::Api(Box::new(status))).context("listing nodes");
        let body = serde_json::json!({ "message": RBAC }).to_string();
        let by_us = anyhow::Error::new(pitstop_controller::Error::Api {
            doing: "listing nodes",
            source: CallError::from_answer(403, body.as_bytes()),
        });
        for error in [by_kube, by_us] {
            let (code, text) = describe(&error);
            assert_eq!(code, 1);
            assert_eq!(
                text,
                "error: listing nodes: not allowed to list nodes: user \"jane\" lacks verb \"list\" on resource \
                 \"nodes\" (API group \"\")\n\
                 hint: ask for the right that the message names, or choose another user with --context"
            );
        }
    }

    #[test]
    fn a_quota_is_no_missing_right() {
        let text = "pods \"x\" is forbidden: exceeded quota: q";
        let status = kube::core::Status::failure(text, "Forbidden").with_code(403);
        let (_, said) = describe(&anyhow::Error::new(kube::Error::Api(Box::new(status))));
        assert!(said.starts_with(&format!("error: {text}\nhint: ")), "{said}");
    }
}
