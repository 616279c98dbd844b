//! The pods of this node, as a list.
//!
//! Source: hub.md A4, B2 (4).

use std::collections::VecDeque;
use std::convert::Infallible;
use std::pin::Pin;
use std::task::{Context, Poll};

use bytes::Bytes;
use http::HeaderValue;
use http::header::AGE;
use http_body::{Frame, SizeHint};
use http_body_util::BodyExt as _;

use crate::answers::{self, Answer};
use crate::guard::Sight;
use crate::overview;
use crate::pod;
use crate::shared::Shared;

const HEAD: &[u8] = br#"{"kind":"PodList","apiVersion":"v1","metadata":{},"items":["#;
const NONE: &[u8] = b"{\"kind\":\"PodList\",\"apiVersion\":\"v1\",\"metadata\":{},\"items\":null}\n";
const TAIL: &[u8] = b"]}\n";

/// A list that shares its pods with the cache: no client costs a copy of them.
struct List {
    parts: VecDeque<Bytes>,
    redacted: bool,
    first: bool,
    state: State,
}

#[derive(Clone, Copy, PartialEq, Eq)]
enum State {
    Head,
    Pods,
    Done,
}

impl List {
    fn next(&mut self) -> Option<Bytes> {
        match self.state {
            State::Head => {
                self.state = State::Pods;
                Some(Bytes::from_static(HEAD))
            }
            State::Pods => loop {
                let Some(pod) = self.parts.front() else {
                    self.state = State::Done;
                    return Some(Bytes::from_static(TAIL));
                };
                // Between two pods stands a comma of its own.
                if !self.first {
                    self.first = true;
                    return Some(Bytes::from_static(b","));
                }
                let seen = if self.redacted {
                    pod::redact(pod)
                } else {
                    Some(pod.clone())
                };
                self.parts.pop_front();
                if let Some(seen) = seen {
                    self.first = self.parts.is_empty();
                    return Some(seen);
                }
            },
            State::Done => None,
        }
    }
}

impl http_body::Body for List {
    type Data = Bytes;
    type Error = Infallible;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<Result<Frame<Bytes>, Infallible>>> {
        Poll::Ready(self.next().map(|part| Ok(Frame::data(part))))
    }

    fn is_end_stream(&self) -> bool {
        self.state == State::Done
    }

    fn size_hint(&self) -> SizeHint {
        if self.redacted || self.state != State::Head {
            return SizeHint::new();
        }
        let commas = self.parts.len().saturating_sub(1);
        let pods: usize = self.parts.iter().map(Bytes::len).sum();
        SizeHint::with_exact((HEAD.len() + pods + commas + TAIL.len()) as u64)
    }
}

/// `GET /pods`.
pub(crate) fn pods(shared: &Shared, sight: Sight, as_json: bool) -> Answer {
    let (synced, raws) = {
        let cache = shared.cache();
        (cache.synced(), cache.raws())
    };
    if !synced {
        let code = if as_json { 503 } else { 500 };
        return answers::failure(as_json, code, "NoCache", "Get pod list failed");
    }
    let kind = HeaderValue::from_static("application/json");
    let body = if raws.is_empty() && shared.settings.compat_null_items {
        http_body_util::Full::new(Bytes::from_static(NONE)).boxed_unsync()
    } else {
        List {
            parts: raws.into(),
            redacted: sight == Sight::Redacted,
            first: true,
            state: State::Head,
        }
        .boxed_unsync()
    };
    let mut answer = answers::stream(kind, body);
    let freshness = if shared.link.connected() { "live" } else { "stale" };
    let age = overview::cache_age(shared);
    answer
        .headers_mut()
        .insert("x-pitstop-cache", HeaderValue::from_static(freshness));
    answer.headers_mut().insert(AGE, HeaderValue::from(age));
    answer
}

#[cfg(test)]
mod tests {
    use super::*;

    fn list(pods: &[&'static [u8]], redacted: bool) -> (String, Option<u64>) {
        let mut list = List {
            parts: pods.iter().map(|pod| Bytes::from_static(pod)).collect(),
            redacted,
            first: true,
            state: State::Head,
        };
        let exact = http_body::Body::size_hint(&list).exact();
        let mut all = Vec::new();
        while let Some(part) = list.next() {
            all.extend_from_slice(&part);
        }
        (String::from_utf8(all).unwrap(), exact)
    }

    #[test]
    fn a_list_is_as_long_as_it_says() {
        for pods in [
            &[] as &[&[u8]],
            &[b"{\"a\":1}"],
            &[b"{\"a\":1}", b"{\"b\":2}", b"{}"],
        ] {
            let (text, exact) = list(pods, false);
            assert_eq!(exact, Some(text.len() as u64));
            let value: serde_json::Value = serde_json::from_str(&text).unwrap();
            assert_eq!(value["items"].as_array().unwrap().len(), pods.len());
            assert!(text.ends_with("]}\n"));
        }
        let (text, exact) = list(&[b"broken", b"{}", b"broken", b"{}"], true);
        assert_eq!(exact, None);
        assert!(serde_json::from_str::<serde_json::Value>(&text).is_ok(), "{text}");
    }
}
