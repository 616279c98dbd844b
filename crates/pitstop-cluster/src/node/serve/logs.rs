//! Logs as kubelets give them: cut to what was asked for, and followed.
//!
//! Source: embedded-cluster.md 10.6.

use std::io;

use bytes::Bytes;
use futures::stream;
use http_body_util::{BodyExt as _, StreamBody};
use hyper::body::Frame;
use jiff::{SignedDuration, Timestamp};

use super::super::inside::{Line, Log, Place, Visitor};
use super::Body;
use crate::api::params::Params;

/// What part of a log is asked for.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub(super) struct Options {
    pub(super) previous: bool,
    follow: bool,
    timestamps: bool,
    since: Option<Timestamp>,
    tail: Option<usize>,
    /// Units: bytes.
    limit: Option<usize>,
}

impl Options {
    /// From a query. `Err`: what is wrong with it.
    pub(super) fn parse(query: &Params, now: Timestamp) -> Result<Self, String> {
        let mut options = Self::default();
        for (name, value) in query.pairs() {
            let wrong = || format!("{name}: Invalid value: \"{value}\"");
            let number = || value.parse::<u32>().map_err(|_| wrong());
            match name {
                "previous" => options.previous = is_set(value),
                "follow" => options.follow = is_set(value),
                "timestamps" => options.timestamps = is_set(value),
                "sinceSeconds" => {
                    let span = SignedDuration::from_secs(i64::from(number()?));
                    options.since = now.checked_sub(span).ok();
                }
                "sinceTime" => options.since = Some(value.parse().map_err(|_| wrong())?),
                "tailLines" => options.tail = Some(usize::try_from(number()?).map_err(|_| wrong())?),
                "limitBytes" => options.limit = Some(usize::try_from(number()?).map_err(|_| wrong())?),
                _ => {}
            }
        }
        Ok(options)
    }

    /// Lines after the first `shown` ones, as text. The tail is taken of the first part only.
    fn text(&self, lines: &[Line], shown: usize) -> String {
        let new: Vec<&Line> = lines
            .iter()
            .skip(shown)
            .filter(|line| self.since.is_none_or(|since| line.at >= since))
            .collect();
        let skipped = match self.tail {
            Some(tail) if shown == 0 => new.len().saturating_sub(tail),
            _ => 0,
        };
        let mut text = String::new();
        for line in new.into_iter().skip(skipped) {
            if self.timestamps {
                text.extend([format!("{:.9}", line.at).as_str(), " "]);
            }
            text.push_str(&line.text);
            text.push('\n');
        }
        text
    }
}

fn is_set(value: &str) -> bool {
    matches!(value, "true" | "1" | "")
}

struct Following {
    visitor: Visitor,
    place: Place,
    options: Options,
    log: Log,
    shown: usize,
    /// Bytes that may still be sent.
    left: usize,
}

/// The text of a log, which goes on while it is followed and its container runs.
pub(super) fn body(visitor: Visitor, place: Place, log: Log, options: Options) -> Body {
    let left = options.limit.unwrap_or(usize::MAX);
    let start = Following {
        visitor,
        place,
        options,
        log,
        shown: 0,
        left,
    };
    let parts = stream::unfold(Some(start), |following| async {
        let (text, next) = following?.next().await?;
        Some((Ok::<_, io::Error>(Frame::data(Bytes::from(text))), next))
    });
    StreamBody::new(parts).boxed_unsync()
}

impl Following {
    /// The next text, and what comes after it. `None`: it is over.
    async fn next(mut self) -> Option<(String, Option<Self>)> {
        loop {
            let mut text = self.options.text(&self.log.lines, self.shown);
            self.shown = self.log.lines.len();
            while text.len() > self.left {
                text.pop();
            }
            self.left -= text.len();
            let is_over = !self.options.follow || self.log.is_over || self.left == 0;
            if !text.is_empty() {
                return Some((text, (!is_over).then_some(self)));
            }
            if is_over {
                return None;
            }
            self.refresh().await;
        }
    }

    /// Waits for a change. A run that is not the current one any more has its end in what ended, or in the log of the one
    /// before.
    async fn refresh(&mut self) {
        let is_there = self.log.changes.changed().await.is_ok();
        let run = self.log.run;
        let ended = self.log.changes.borrow().get(&self.place.container).cloned();
        if let Some((_, lines)) = ended.filter(|(number, _)| *number == run.1) {
            self.log.lines = lines;
            self.log.is_over = true;
            return;
        }
        for previous in [false, true] {
            if let Ok(log) = self.visitor.log(&self.place, previous).await
                && log.run == run
            {
                self.log = log;
                self.log.is_over |= !is_there;
                return;
            }
        }
        self.log.is_over = true;
    }
}

#[cfg(test)]
mod tests {
    use pitstop_api::view::Uid;
    use tokio::sync::watch;

    use super::super::super::inside::Ends;
    use super::*;

    fn options(query: &[(&str, &str)]) -> Result<Options, String> {
        let query: Vec<String> = query
            .iter()
            .map(|(name, value)| format!("{name}={value}"))
            .collect();
        let now = Timestamp::constant(1_767_225_660, 0);
        Options::parse(&Params::parse(&query.join("&")), now)
    }

    #[test]
    fn the_part_that_was_asked_for_is_shown() {
        let lines: Vec<Line> = (0..3)
            .map(|n| Line {
                at: format!("2026-01-01T00:00:{:02}.5Z", n * 20).parse().unwrap(),
                text: format!("line {n}"),
            })
            .collect();
        for (query, want) in [
            (vec![], "line 0\nline 1\nline 2\n"),
            (vec![("tailLines", "1")], "line 2\n"),
            (vec![("tailLines", "0")], ""),
            (vec![("sinceSeconds", "40")], "line 1\nline 2\n"),
            (vec![("sinceTime", "2026-01-01T00:00:30Z")], "line 2\n"),
            (
                vec![("timestamps", "true"), ("tailLines", "1")],
                "2026-01-01T00:00:40.500000000Z line 2\n",
            ),
        ] {
            assert_eq!(options(&query).unwrap().text(&lines, 0), want, "{query:?}");
        }
        assert_eq!(
            options(&[("tailLines", "0")]).unwrap().text(&lines, 2),
            "line 2\n"
        );
    }

    #[test]
    fn a_query_that_makes_no_sense_is_refused() {
        for query in [
            ("tailLines", "-1"),
            ("sinceTime", "yesterday"),
            ("limitBytes", "x"),
        ] {
            options(&[query]).unwrap_err();
        }
    }

    #[tokio::test]
    async fn who_follows_reads_the_end_also_when_the_pod_is_gone_before_he_asks() {
        let line = |text: &str| Line {
            at: Timestamp::UNIX_EPOCH,
            text: text.to_owned(),
        };
        let place = Place {
            namespace: "default".to_owned(),
            pod: "web".to_owned(),
            container: "nginx".to_owned(),
        };
        let (sender, changes) = watch::channel(Ends::new());
        let log = Log {
            lines: vec![line("started")],
            run: (Uid::default(), 0),
            is_over: false,
            changes,
        };
        let options = options(&[("follow", "true")]).unwrap();
        // Nobody answers its questions any more.
        let (visitor, _) = Visitor::new();
        let body = tokio::spawn(body(visitor, place, log, options).collect());
        let ended = (0, vec![line("started"), line("ended")]);
        sender.send_replace(Ends::from([("nginx".to_owned(), ended)]));
        drop(sender);
        let text = body.await.unwrap().unwrap().to_bytes();
        assert_eq!(text, "started\nended\n");
    }
}
