//! Random histories: owners ask, clouds change their minds, links and processes and disks die. What was agreed to is
//! done, once, and nothing else is (design.md S4, S9).
//!
//! Time is virtual, so a history of minutes takes milliseconds.
#![allow(clippy::unwrap_in_result, clippy::panic, reason = "a test fails by panicking")]

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rand::rngs::StdRng;
use rand::{RngExt as _, SeedableRng as _};
use serde_json::{Value, json};
use tokio::task::JoinHandle;
use tokio::time::Instant;
use tokio_util::sync::CancellationToken;

use crate::ask::{self, Asked};
use crate::checks::Action;
use crate::consent;
use crate::intents::{Book, State, Waiting};
use crate::journal::faulty::{Fault, Faulty};
use crate::pod::PodView;
use crate::routes::Admitted;
use crate::save::Saver;
use crate::settings::Settings;
use crate::shared::{Found, Shared};
use crate::{keeper, link};
use fake::{Fake, Line, target_of};

#[allow(dead_code, reason = "shared with the suite `hub`, which uses more of it")]
#[path = "../tests/hub/fake.rs"]
mod fake;

/// Histories, and what happens in each.
const HISTORIES: u64 = 300;
const STEPS: usize = 60;
const PODS: [&str; 3] = ["a", "b", "c"];

/// Virtual time, as a clock on the wall.
#[derive(Debug)]
struct WallClock {
    began: Instant,
}

impl pitstop_api::Clock for WallClock {
    fn now(&self) -> Timestamp {
        let start: Timestamp = "2026-11-21T08:00:00Z".parse().unwrap();
        start
            .checked_add(SignedDuration::try_from(self.began.elapsed()).unwrap())
            .unwrap()
    }
}

fn mk_pod(name: &str, uid: &str, need: &str, target: &str) -> Value {
    json!({
        "metadata": {
            "namespace": "default", "name": name, "uid": uid,
            "ownerReferences": [{"apiVersion": "apps/v1", "kind": "DaemonSet", "name": name,
                "uid": format!("ds-{name}"), "controller": true}],
        },
        "spec": {"nodeName": "n1"},
        "status": {"conditions": [
            {"type": "PodNeedUpgrade", "status": need, "message": format!("controllerrevision: {target}")}
        ]},
    })
}

/// One history.
struct History {
    what: String,
    random: StdRng,
    fake: Fake,
    disk: Faulty,
    clock: Arc<WallClock>,
    hub: Option<Running>,
    /// Identities and revisions that an owner agreed to.
    agreed: BTreeSet<(String, String)>,
    /// Of those, the ones that the hub promised.
    promised: BTreeSet<(String, String)>,
    /// Numbers for revisions and identities.
    last: u64,
}

struct Running {
    shared: Arc<Shared>,
    tasks: Vec<JoinHandle<()>>,
}

impl History {
    fn new(seed: u64) -> Self {
        let fake = Fake::new();
        for name in PODS {
            fake.put(mk_pod(name, &format!("{name}-0"), "True", "r0"));
        }
        Self {
            what: format!("seed {seed}"),
            random: StdRng::seed_from_u64(seed),
            fake,
            disk: Faulty::default(),
            clock: Arc::new(WallClock {
                began: Instant::now(),
            }),
            hub: None,
            agreed: BTreeSet::new(),
            promised: BTreeSet::new(),
            last: 0,
        }
    }

    fn next(&mut self) -> u64 {
        self.last += 1;
        self.last
    }

    fn pod(&mut self) -> &'static str {
        PODS[self.random.random_range(0..PODS.len())]
    }

    /// A hub on what the disk holds. Nothing, if the disk dies over it.
    fn start(&mut self) {
        let mut settings = Settings::new("n1", "/nonexistent");
        settings.reconnect_spread = Duration::from_secs(5);
        settings.seed = self.random.random();
        settings.waits_for_disk = true;
        let Ok((book, _)) = Book::open(Box::new(self.disk.clone()), Instant::now()) else {
            return;
        };
        let (saver, saved) = Saver::open(Box::new(Faulty::default())).unwrap();
        let found = Found {
            book,
            saver,
            saved,
            audit: None,
        };
        let cloud = Arc::new(self.fake.clone());
        let shared = Arc::new(Shared::new(settings, cloud, Arc::clone(&self.clock) as _, found));
        let stop = CancellationToken::new();
        let (one, two) = (Arc::clone(&shared), Arc::clone(&shared));
        let (stop_one, stop_two) = (stop.clone(), stop);
        let tasks = vec![
            tokio::spawn(async move { link::run(&one, &stop_one).await }),
            tokio::spawn(async move { keeper::run(&two, &stop_two).await }),
        ];
        self.hub = Some(Running { shared, tasks });
    }

    /// Ends the hub as kill -9 or a loss of power does, and starts another.
    async fn kill(&mut self) {
        if let Some(hub) = self.hub.take() {
            for task in hub.tasks {
                task.abort();
                let _ = task.await;
            }
        }
        let power = self.random.random_bool(0.5);
        self.disk.restart(power);
        self.start();
    }

    /// The owner asks for an upgrade of what is shown on the node.
    async fn post(&mut self) {
        let name = self.pod();
        let Some(hub) = &self.hub else {
            return;
        };
        let shared = Arc::clone(&hub.shared);
        // What the hub will look at: the API server if it is in reach, else what it saw last.
        let cached = shared.cache().view("default", name);
        let live = self
            .fake
            .pod(name)
            .and_then(|pod| PodView::read(pod.to_string().as_bytes()).ok());
        let asked = Asked {
            action: Action::Upgrade,
            namespace: "default".to_owned(),
            name: name.to_owned(),
            query: None,
        };
        let answer = Box::pin(ask::answer(&shared, &Admitted::within(), asked, false)).await;
        // Who hears nothing, because the machine died over it, has asked nevertheless.
        if !answer.status().is_success() && !self.disk.dead() {
            return;
        }
        let kept = answer.status() == 202;
        let seen = [cached, live]
            .into_iter()
            .flatten()
            .filter(PodView::needs_upgrade);
        let agreed: Vec<_> = seen
            .map(|pod| (pod.uid.clone(), pod.target().to_owned()))
            .collect();
        self.agreed.extend(agreed);
        // An answer counts if it reached the owner before the machine died.
        if !self.disk.dead() {
            let book = shared.book();
            let newest = book
                .all()
                .into_iter()
                .rfind(|intent| intent.name == name && !intent.state.ended());
            if let Some(intent) = newest.filter(|intent| kept && intent.asks.is_none()) {
                self.promised.insert((intent.uid.clone(), intent.target.clone()));
            }
        }
    }

    /// The owner agrees to what waits for consent, or takes back what waits.
    async fn decide(&mut self) {
        let Some(hub) = &self.hub else {
            return;
        };
        let shared = Arc::clone(&hub.shared);
        let open: Vec<_> = shared.book().open_ones().into_iter().cloned().collect();
        if open.is_empty() {
            return;
        }
        let intent = open[self.random.random_range(0..open.len())].clone();
        if let (true, Some(asks)) = (self.random.random_bool(0.5), intent.asks.clone()) {
            let query = format!("target={asks}");
            self.agreed.insert((intent.uid.clone(), asks));
            Box::pin(consent::approve(
                &shared,
                &Admitted::within(),
                &intent.id,
                Some(&query),
            ))
            .await;
        } else {
            let answer = consent::cancel(&shared, &intent.id).await;
            if answer.status().is_success() && !self.disk.dead() {
                let done = self.fake.deleted().iter().any(|(uid, _)| *uid == intent.uid);
                let state = shared.book().get(&intent.id).map(|intent| intent.state);
                self.promised.remove(&(intent.uid.clone(), intent.target.clone()));
                if state == Some(State::Cancelled) && !done {
                    self.agreed.remove(&(intent.uid, intent.target));
                }
            } else {
                self.promised.remove(&(intent.uid, intent.target));
            }
        }
    }

    /// The cloud changes its mind, or its controllers act.
    fn cloud(&mut self) {
        let name = self.pod();
        let number = self.next();
        let Some(pod) = self.fake.pod(name) else {
            self.fake
                .put(mk_pod(name, &format!("{name}-{number}"), "False", "r0"));
            return;
        };
        let need = &mut |status: &str, target: String| {
            self.fake.change(name, |pod| {
                pod["status"]["conditions"][0] = json!({"type": "PodNeedUpgrade", "status": status,
                    "message": format!("controllerrevision: {target}")});
            });
        };
        if !pod["metadata"]["deletionTimestamp"].is_null() {
            self.fake.remove(name);
            return;
        }
        // A promise ends when it is not wanted any more, also if it is wanted again later.
        self.promised.retain(|(uid, _)| pod["metadata"]["uid"] != *uid);
        match self.random.random_range(0..5) {
            0..=2 => need("True", format!("r{number}")),
            3 => need("False", "r0".to_owned()),
            _ => need("True", "r0".to_owned()),
        }
    }

    async fn step(&mut self) {
        match self.random.random_range(0..16) {
            0..=3 => self.post().await,
            4 => self.decide().await,
            5..=7 => self.cloud(),
            8 => self.fake.line(Line::Down),
            9 => self.fake.line(Line::Silent),
            10..=11 => self.fake.line(Line::Up),
            12 => self.kill().await,
            13 => {
                let call = self.random.random_range(0..6);
                let some = self.random.random_range(0..600);
                let fault = if self.random.random_bool(0.5) {
                    Fault::Die(some)
                } else {
                    Fault::Fail(some)
                };
                self.disk.at(call, fault);
            }
            _ => {
                let wait = self.random.random_range(0..30_000);
                tokio::time::sleep(Duration::from_millis(wait)).await;
            }
        }
        if self.disk.dead() || self.hub.is_none() {
            self.kill().await;
        }
        self.check();
    }

    /// S4: only what was agreed to. S9: once.
    fn check(&self) {
        let mut times: BTreeMap<String, usize> = BTreeMap::new();
        for (uid, target) in self.fake.deleted() {
            let pair = (uid.clone(), target);
            assert!(
                self.agreed.contains(&pair),
                "{}: nobody agreed to {pair:?}: {:?}",
                self.what,
                self.agreed
            );
            *times.entry(uid).or_default() += 1;
        }
        assert!(
            times.values().all(|times| *times == 1),
            "{}: {times:?}",
            self.what
        );
    }

    /// In the end everything works, and what was promised and still is wanted has been done.
    async fn end(&mut self) {
        self.kill().await;
        self.fake.line(Line::Up);
        tokio::time::sleep(Duration::from_secs(300)).await;
        self.check();
        let deleted = self.fake.deleted();
        for (uid, target) in &self.promised {
            let (name, _) = uid.split_once('-').unwrap();
            let wanted = self.fake.pod(name).is_some_and(|pod| {
                pod["metadata"]["uid"] == *uid
                    && target_of(&pod) == *target
                    && pod["metadata"]["deletionTimestamp"].is_null()
            });
            let done = deleted.iter().any(|(deleted, _)| deleted == uid);
            assert!(done || !wanted, "{}: {uid} to {target} was promised", self.what);
        }
        let hub = self.hub.as_ref().unwrap();
        for intent in hub.shared.book().open_ones() {
            assert_eq!(
                intent.waiting,
                Some(Waiting::Approval),
                "{}: {intent:?}",
                self.what
            );
        }
    }
}

#[tokio::test(start_paused = true)]
async fn what_was_agreed_to_is_done_once_and_nothing_else() {
    let mut deleted = 0;
    for seed in 0..HISTORIES {
        let mut history = History::new(seed);
        history.start();
        for _ in 0..STEPS {
            history.step().await;
        }
        history.end().await;
        deleted += history.fake.deleted().len();
        for task in history.hub.take().unwrap().tasks {
            task.abort();
        }
    }
    assert!(deleted > 300, "too little happened to tell anything: {deleted}");
}
