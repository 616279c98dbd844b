//! The way of a replica to the API server, on which everything may go wrong.

use std::collections::{BTreeSet, VecDeque};
use std::io;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use bytes::Bytes;
use futures::future::BoxFuture;
use futures::stream::{self, StreamExt as _};
use futures::{FutureExt as _, future};
use pitstop_controller::api::{Api, Call, CallError, Command, Connection, Lines, Resource, Verb};
use serde_json::{Value, json};
use tokio::sync::Notify;
use tokio::time::sleep;

use crate::arbiter::{Arbiter, Surprise};
use crate::instances::{NAME, WORKS};
use crate::mutant::Mutant;
use crate::objects::{is_ready, text};
use crate::storm::{Fault, Storm};

/// How late a watch or a list may be. Units: milliseconds.
const LAG: u64 = 20_000;
/// How long a request may be under way whose sender has given up: less than what lies between the last moment at which a
/// leader may write and the first at which another one may take its lease.
const LATE: u64 = 2_000;
/// Of so many writes to pods, one reaches a pod that has begun to work in between.
const SURPRISED_IN: u32 = 3;

/// What all replicas have done.
#[derive(Default)]
pub(crate) struct Deeds {
    /// What was done to pods and claims.
    done: Mutex<Vec<Deed>>,
    /// Uids of the pods that somebody else deletes.
    theirs: Mutex<BTreeSet<String>>,
    /// Of the pods that were deleted: the uids of those that had to be at the version that was decided on, as those that
    /// run at an old revision are.
    pub(crate) outdated: Mutex<Vec<String>>,
    /// Names of the pods whose POST is under way although nobody waits for it any more.
    late: Mutex<BTreeSet<String>>,
    /// Writes that were carried out, leases and events aside.
    pub(crate) n_writes: AtomicU64,
}

/// A write that was carried out for us.
#[derive(Debug, Clone)]
struct Deed {
    verb: Verb,
    uid: String,
    /// The version that it left, if it left anything.
    version: u64,
}

impl Deeds {
    /// Somebody else deletes a pod: that is no deed of ours.
    pub(crate) fn theirs(&self, uid: String) {
        self.theirs.lock().unwrap().insert(uid);
    }

    /// Uids of what we deleted.
    pub(crate) fn deleted(&self) -> BTreeSet<String> {
        let (done, theirs) = (self.done.lock().unwrap(), self.theirs.lock().unwrap());
        let deleted = done.iter().filter(|deed| deed.verb == Verb::Delete);
        let uids = deleted.map(|deed| deed.uid.clone());
        uids.filter(|uid| !theirs.contains(uid)).collect()
    }

    /// The versions that our creations and changes left.
    pub(crate) fn versions(&self) -> BTreeSet<u64> {
        let done = self.done.lock().unwrap();
        let written = done.iter().filter(|deed| deed.verb != Verb::Delete);
        written.map(|deed| deed.version).collect()
    }
}

/// What happens to one replica.
#[derive(Default)]
pub(crate) struct Fate {
    /// It has to end at once.
    pub(crate) crash: Notify,
    /// Nothing gets through.
    pub(crate) is_cut_off: AtomicBool,
    /// It has just started: what it lists first may be old.
    pub(crate) is_fresh: AtomicBool,
}

#[derive(Clone)]
pub(crate) struct Faulty {
    pub(crate) inner: Arc<dyn Api>,
    pub(crate) storm: Arc<Storm>,
    pub(crate) deeds: Arc<Deeds>,
    pub(crate) fate: Arc<Fate>,
    pub(crate) mutant: Mutant,
    pub(crate) arbiter: Arc<Arbiter>,
}

impl Faulty {
    async fn read(&self, call: Call) -> Result<Bytes, CallError> {
        if self.storm.strikes(Fault::Refused, 60, "read") {
            return Err(self.refusal());
        }
        let (is_list, resource) = (call.verb == Verb::List, call.resource);
        let answer = self.inner.send(call).await;
        let answer = answer.map(|answer| self.mutant.reads(resource, answer));
        if is_list
            && self.fate.is_fresh.load(Ordering::Relaxed)
            && self.storm.strikes(Fault::StaleList, 3, "list")
        {
            // Held up on its way.
            sleep(self.storm.duration(0..LAG)).await;
        }
        answer
    }

    async fn write(&self, call: Call) -> Result<Bytes, CallError> {
        let what = format!(
            "{} {} {}",
            call.verb.as_str(),
            call.resource.plural(),
            call.name.as_deref().unwrap_or_default()
        );
        let storm = &self.storm;
        if storm.strikes(Fault::Crash, 250, &format!("before {what}")) {
            self.crash().await;
        }
        if storm.strikes(Fault::Refused, 30, &what) {
            return Err(self.refusal());
        }
        if storm.strikes(Fault::Conflict, 60, &what) {
            return Err(refused(409, "Conflict", "the object has been modified"));
        }
        let may_be_denied = call.resource == Resource::Pods || call.resource == Resource::ControllerRevisions;
        // Who judges a POST has judged an earlier one in the same way.
        let name = posted(&call);
        let is_judged = name
            .as_ref()
            .is_some_and(|name| self.deeds.late.lock().unwrap().contains(name));
        let may_be_denied = may_be_denied && !is_judged;
        if may_be_denied && call.verb != Verb::Delete && storm.strikes(Fault::Denied, 60, &what) {
            return Err(refused(403, "Forbidden", "a webhook denied the request"));
        }
        if call.resource == Resource::Pods
            && call.verb == Verb::Delete
            && storm.strikes(Fault::Overtaken, 30, &what)
        {
            let mut theirs = call.clone();
            theirs.body = None;
            if let Ok(answer) = self.inner.send(theirs).await {
                let pod: Value = serde_json::from_slice(&answer).unwrap_or_default();
                self.deeds.theirs(text(&pod["metadata"]["uid"]));
            }
        }
        if storm.strikes(Fault::AnswerLost, 60, &format!("late {what}")) {
            let (this, after) = (self.clone(), storm.duration(0..LATE));
            self.deeds.late.lock().unwrap().extend(name);
            tokio::spawn(async move {
                sleep(after).await;
                let _ = this.carry_out(call).await;
            });
            return Err(CallError::Unreachable("connection reset".to_owned()));
        }
        let answer = self.carry_out(call).await;
        if storm.strikes(Fault::Crash, 250, &format!("after {what}")) {
            self.crash().await;
        }
        if storm.strikes(Fault::AnswerLost, 30, &what) {
            return Err(CallError::Unreachable("connection reset".to_owned()));
        }
        answer
    }

    /// Lets a write through, and remembers it.
    async fn carry_out(&self, call: Call) -> Result<Bytes, CallError> {
        if let Some(answer) = self.mutant.pretends(&call) {
            return answer;
        }
        self.work_begins(&call).await;
        let call = self.mutant.alters(call);
        let answer = self.inner.send(call.clone()).await?;
        self.note(&call, &answer);
        for more in self.mutant.adds(&call, &answer, &*self.inner).await {
            if let Ok(answer) = self.inner.send(more.clone()).await {
                self.note(&more, &answer);
            }
        }
        // What a write left is read as well.
        Ok(self.mutant.reads(call.resource, answer))
    }

    /// A pod may begin to work when what was decided on it is on its way already.
    async fn work_begins(&self, call: &Call) {
        let is_touched =
            call.resource == Resource::Pods && matches!(call.verb, Verb::Delete | Verb::StrategicPatch);
        let (Some(surprise), Some(name)) = (self.arbiter.surprise(), &call.name) else {
            return;
        };
        let is_ours = name.rsplit_once('-').is_some_and(|(set, _)| set == NAME);
        let what = format!("{name} begins to work");
        if !is_touched || !is_ours || !self.storm.strikes(Fault::Overtaken, SURPRISED_IN, &what) {
            return;
        }
        let of_pod = |verb| Call::object(verb, Resource::Pods, Some("default"), name);
        let found = self.inner.send(of_pod(Verb::Get)).await.unwrap_or_default();
        let pod: Value = serde_json::from_slice(&found).unwrap_or_default();
        let metadata = &pod["metadata"];
        // What cannot serve does not begin.
        if !is_ready(&pod) || !metadata["deletionTimestamp"].is_null() || metadata["labels"]["app"] != NAME {
            return;
        }
        match surprise {
            Surprise::Arbiter => self.arbiter.set_work(name, true),
            Surprise::Label => {
                let patch = json!({"metadata": {
                    "labels": {(WORKS): "true"}, "resourceVersion": metadata["resourceVersion"],
                }});
                // One that has changed since is left alone.
                let _ = self.inner.send(of_pod(Verb::MergePatch).with_body(patch)).await;
            }
        }
    }

    /// Remembers a write that was carried out.
    fn note(&self, call: &Call, answer: &[u8]) {
        if !matches!(call.resource, Resource::Leases | Resource::Events) {
            self.deeds.n_writes.fetch_add(1, Ordering::Relaxed);
        }
        if !matches!(call.resource, Resource::Pods | Resource::Claims) {
            return;
        }
        let object: Value = serde_json::from_slice(answer).unwrap_or_default();
        let metadata = &object["metadata"];
        // What is gone at once is answered by a status that names it.
        let uid = metadata["uid"].as_str().or(object["details"]["uid"].as_str());
        let uid = uid.unwrap_or_default().to_owned();
        let body = call.body.as_ref();
        if call.verb == Verb::Delete
            && call.resource == Resource::Pods
            && body.is_some_and(|body| body.pointer("/preconditions/resourceVersion").is_some())
        {
            self.deeds.outdated.lock().unwrap().push(uid.clone());
        }
        let version = text(&metadata["resourceVersion"]);
        self.deeds.done.lock().unwrap().push(Deed {
            verb: call.verb,
            uid,
            version: version.parse().unwrap_or_default(),
        });
    }

    /// Whether nothing gets through to the arbiter, as far as the way there goes.
    async fn is_lost_on_the_way(&self) -> bool {
        sleep(self.storm.duration(1..20)).await;
        self.fate.is_cut_off.load(Ordering::Relaxed) || self.storm.strikes(Fault::Refused, 12, "arbiter")
    }

    /// The process ends here: this future is never finished.
    async fn crash(&self) {
        self.fate.crash.notify_one();
        future::pending::<()>().await;
    }

    fn refusal(&self) -> CallError {
        match self.storm.pick(4) {
            0 => refused(500, "InternalError", "etcdserver: request timed out"),
            1 => refused(429, "TooManyRequests", "too many requests"),
            2 => refused(503, "ServiceUnavailable", "apiserver is shutting down"),
            _ => CallError::Unreachable("connection refused".to_owned()),
        }
    }
}

impl Api for Faulty {
    fn send(&self, call: Call) -> BoxFuture<'_, Result<Bytes, CallError>> {
        Box::pin(async move {
            sleep(self.storm.duration(1..20)).await;
            if self.fate.is_cut_off.load(Ordering::Relaxed) {
                return Err(CallError::Unreachable("network is unreachable".to_owned()));
            }
            if call.verb.is_write() {
                self.write(call).await
            } else {
                self.read(call).await
            }
        })
    }

    fn watch(&self, call: Call) -> BoxFuture<'_, Result<Lines, CallError>> {
        Box::pin(async move {
            sleep(self.storm.duration(1..20)).await;
            if self.fate.is_cut_off.load(Ordering::Relaxed) || self.storm.strikes(Fault::Refused, 20, "watch")
            {
                return Err(CallError::Unreachable("network is unreachable".to_owned()));
            }
            self.fate.is_fresh.store(false, Ordering::Relaxed);
            let resource = call.resource;
            let watched = Watched {
                // One that lags may look again after its end.
                lines: self.inner.watch(call).await?.fuse().boxed(),
                held: VecDeque::new(),
                storm: Arc::clone(&self.storm),
                fate: Arc::clone(&self.fate),
                mutant: self.mutant,
                resource,
            };
            let lines = stream::unfold(Some(watched), |watched| async {
                let mut watched = watched?;
                let next = watched.next().await?;
                let rest = next.is_ok().then_some(watched);
                Some((next, rest))
            });
            Ok(lines.boxed())
        })
    }

    /// The only command that pods of stories have: it says whether its pod works.
    fn run(&self, command: Command) -> BoxFuture<'_, Result<i32, CallError>> {
        Box::pin(async move {
            if self.is_lost_on_the_way().await || self.arbiter.is_silent() {
                return Err(CallError::Unreachable("connection reset".to_owned()));
            }
            Ok(i32::from(self.arbiter.works(&command.pod)))
        })
    }

    fn connect<'a>(&'a self, address: &'a str) -> BoxFuture<'a, io::Result<Connection>> {
        Box::pin(async move {
            if self.is_lost_on_the_way().await {
                return Err(io::Error::from(io::ErrorKind::ConnectionReset));
            }
            Ok(Box::new(self.arbiter.connect(address)?) as Connection)
        })
    }
}

/// A watch that lags and breaks.
struct Watched {
    lines: Lines,
    /// Came while it lagged.
    held: VecDeque<Bytes>,
    storm: Arc<Storm>,
    fate: Arc<Fate>,
    mutant: Mutant,
    resource: Resource,
}

impl Watched {
    async fn next(&mut self) -> Option<Result<Bytes, CallError>> {
        if let Some(line) = self.held.pop_front() {
            return Some(Ok(line));
        }
        let line = match self.lines.next().await? {
            Ok(line) => self.mutant.reads(self.resource, line),
            Err(error) => return Some(Err(error)),
        };
        let what = self.resource.plural();
        if self.fate.is_cut_off.load(Ordering::Relaxed) || self.storm.strikes(Fault::WatchBreaks, 150, what) {
            return Some(Err(CallError::Unreachable("connection reset".to_owned())));
        }
        if self
            .storm
            .strikes(Fault::WatchBreaks, 400, &format!("{what} expired"))
        {
            let status = json!({"kind": "Status", "status": "Failure", "reason": "Expired", "code": 410});
            return Some(Ok(json!({"type": "ERROR", "object": status}).to_string().into()));
        }
        if !self.storm.strikes(Fault::WatchLags, 60, what) {
            return Some(Ok(line));
        }
        sleep(self.storm.duration(10..LAG)).await;
        let mut lines = vec![line];
        while let Some(Some(Ok(line))) = self.lines.next().now_or_never() {
            lines.push(self.mutant.reads(self.resource, line));
        }
        let n_seen = lines.len();
        self.held = coalesce(lines).into();
        if self.held.len() < n_seen && !self.storm.is_over() {
            self.storm.inject(Fault::Coalesced, what);
        }
        self.held.pop_front().map(Ok)
    }
}

/// Of several modifications of one object that follow each other, only the last is seen.
fn coalesce(lines: Vec<Bytes>) -> Vec<Bytes> {
    let parsed: Vec<Value> = lines
        .iter()
        .map(|line| serde_json::from_slice(line).unwrap_or_default())
        .collect();
    let uid = |event: &Value| event["object"]["metadata"]["uid"].as_str().map(str::to_owned);
    let is_superseded = |at: usize| {
        let event = &parsed[at];
        let later = parsed[at + 1..].iter().find(|later| uid(later) == uid(event));
        event["type"] == "MODIFIED" && later.is_some_and(|later| later["type"] == "MODIFIED")
    };
    let seen = lines.into_iter().enumerate();
    seen.filter(|(at, _)| !is_superseded(*at))
        .map(|(_, line)| line)
        .collect()
}

/// The name of the object that a POST brings.
fn posted(call: &Call) -> Option<String> {
    let name = call.body.as_ref()?.pointer("/metadata/name")?;
    (call.verb == Verb::Create).then(|| text(name))
}

fn refused(code: u16, reason: &str, message: &str) -> CallError {
    let body = json!({"kind": "Status", "reason": reason, "message": message, "code": code});
    CallError::from_answer(code, body.to_string().as_bytes())
}

#[test]
fn only_changes_that_another_change_follows_are_not_seen() {
    let line = |kind: &str, uid: &str, n: u32| {
        let object = json!({"metadata": {"uid": uid, "resourceVersion": n.to_string()}});
        Bytes::from(json!({"type": kind, "object": object}).to_string())
    };
    let lines = vec![
        line("ADDED", "a", 1),
        line("MODIFIED", "a", 2),
        line("MODIFIED", "b", 3),
        line("MODIFIED", "a", 4),
        line("DELETED", "a", 5),
    ];
    let seen = coalesce(lines.clone());
    assert_eq!(seen, [&lines[0], &lines[2], &lines[3], &lines[4]]);
}
