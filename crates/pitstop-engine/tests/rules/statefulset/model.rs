//! Every schedule of a small world: three ordinals, two revisions, a partition that moves, pods that turn busy and idle, a
//! store that shows each pod late, a controller that stops between two requests, and an answer that is lost.
//!
//! Checked in every state and at every request, on the true state: no more pods are down than may be (S1), no pod that is
//! new and ready goes (S2), no pod goes that works or that the partition keeps (S5). From every state, with faults ended, as
//! many pods are new as the partition and those that work allow, and nothing is done any more (L1).

use std::collections::{HashSet, VecDeque};

use pitstop_api::keys;
use pitstop_api::selector::Labels;
use pitstop_api::view::{Phase, Uid};

use super::*;

const ORDINALS: usize = 3;
const MAX_UNAVAILABLE: usize = 1;

/// A pod, on the server or as the store shows it.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Pod {
    is_new: bool,
    is_ready: bool,
    is_busy: bool,
    is_terminating: bool,
}

/// One ordinal.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Ordinal {
    server: Option<Pod>,
    store: Option<Pod>,
    /// Does the store show the pod that the server has, in whatever version, and not one that was there before?
    is_same: bool,
    /// What was heard of our own requests, and the store does not show yet.
    is_deleted: bool,
    is_in_doubt: bool,
    created: Option<bool>,
}

/// How often things may still happen.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Chances {
    flips: u8,
    moves: u8,
    crashes: u8,
    losses: u8,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct State {
    ordinals: [Ordinal; ORDINALS],
    partition: u8,
    is_complete: bool,
    chances: Chances,
}

/// A decision: the real one, or one with a fault built in.
#[derive(Clone, Copy)]
struct Planner {
    /// What it sees.
    sees: fn(&mut State),
    /// What of the StatefulSet it sees.
    reads: fn(World) -> World,
    /// What it does.
    does: fn(&State, &mut Vec<Request>),
    has_preconditions: bool,
}

const REAL: Planner = Planner {
    sees: |_| {},
    reads: |world| world,
    does: |_, _| {},
    has_preconditions: true,
};

/// A request that matters here.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Request {
    Delete(usize),
    Create(usize, bool),
}

impl Ordinal {
    fn is_down(&self) -> bool {
        self.server.is_none_or(|pod| !pod.is_ready || pod.is_terminating)
    }

    fn sync(&mut self) {
        self.store = self.server;
        self.is_same = true;
        self.is_deleted = false;
        self.is_in_doubt = false;
        self.created = None;
    }

    /// Does the store show the pod as it is?
    fn is_fresh(&self) -> bool {
        self.is_same && self.store == self.server
    }
}

impl State {
    fn start(chances: Chances) -> Self {
        let pod = Pod {
            is_new: false,
            is_ready: true,
            is_busy: false,
            is_terminating: false,
        };
        let ordinal = Ordinal {
            server: Some(pod),
            store: Some(pod),
            is_same: true,
            is_deleted: false,
            is_in_doubt: false,
            created: None,
        };
        let mut ordinals = [ordinal; ORDINALS];
        for place in [&mut ordinals[2].server, &mut ordinals[2].store] {
            *place = Some(Pod { is_busy: true, ..pod });
        }
        Self {
            ordinals,
            partition: 0,
            is_complete: false,
            chances,
        }
    }

    fn n(&self, is_counted: impl Fn(&Pod) -> bool) -> usize {
        let pods = self.ordinals.iter().filter_map(|ordinal| ordinal.server.as_ref());
        pods.filter(|pod| is_counted(pod)).count()
    }
}

/// Decisions, and what they are made from; the same view serves many states.
struct Checker {
    planner: Planner,
    chances: Chances,
    sets: Vec<StatefulSetView>,
    revisions: Vec<RevisionView>,
    blank: PodView,
}

fn uid(ordinal: usize, is_same: bool) -> Uid {
    let n = u128::try_from(ordinal).unwrap();
    Uid(if is_same { 100 + n } else { 200 + n })
}

impl Checker {
    fn new(planner: Planner, chances: Chances) -> Self {
        let sets = (0..=3_u32).flat_map(|partition| {
            [false, true].map(|is_complete| {
                let world = World::rollout(3)
                    .rolling("partition", partition)
                    .rolling("maxUnavailable", MAX_UNAVAILABLE)
                    .rolling(
                        "protection",
                        json!({ "podSelector": { "matchLabels": { "working": "true" } } }),
                    )
                    .set(
                        "/status/currentRevision",
                        if is_complete { "web-b" } else { "web-a" },
                    );
                (planner.reads)(world).view()
            })
        });
        let revisions = ['A', 'B']
            .map(|letter| RevisionView::from_json(revision(letter).to_string().as_bytes()).unwrap());
        Self {
            planner,
            chances,
            sets: sets.collect(),
            revisions: revisions.into(),
            blank: World::new(1).pods("0A").pods[0].view(),
        }
    }

    fn view(&self, ordinal: usize, pod: Pod, is_same: bool) -> PodView {
        let text = |text: &str| text.to_owned();
        let labels = Labels::from([
            (text("app"), text("web")),
            (
                text(keys::REVISION_HASH),
                text(if pod.is_new { "web-b" } else { "web-a" }),
            ),
            (text(keys::STATEFUL_POD_NAME), format!("web-{ordinal}")),
            (text("working"), pod.is_busy.to_string()),
        ]);
        PodView {
            name: format!("web-{ordinal}").into(),
            uid: uid(ordinal, is_same),
            labels: labels.into(),
            deleted_at: pod.is_terminating.then(|| at(0)),
            phase: Phase::Running,
            ready: crate::cluster::ready(pod.is_ready, -500),
            ..self.blank.clone()
        }
    }

    /// The requests of one decision, and whether the rollout is said to be complete.
    fn decide(&self, state: &State) -> (Vec<Request>, bool) {
        let mut seen = *state;
        (self.planner.sees)(&mut seen);
        let mut pods = Vec::new();
        let mut in_flight = InFlight::default();
        for (i, ordinal) in seen.ordinals.iter().enumerate() {
            if let Some(pod) = ordinal.store {
                pods.push(self.view(i, pod, ordinal.is_same));
            }
            let uid = uid(i, ordinal.is_same);
            in_flight.deleted.extend(ordinal.is_deleted.then_some(uid));
            in_flight.maybe_deleted.extend(ordinal.is_in_doubt.then_some(uid));
            let revision = |is_new| if is_new { "web-b" } else { "web-a" };
            let ordinal_name = u32::try_from(i).unwrap();
            in_flight.created.extend(
                ordinal
                    .created
                    .map(|is_new| created(ordinal_name, revision(is_new))),
            );
        }
        let set = &self.sets[usize::from(seen.partition) * 2 + usize::from(seen.is_complete)];
        let plan = plan(&Snapshot {
            now: at(0),
            set,
            revisions: self.revisions.iter().collect(),
            pods: pods.iter().collect(),
            claims: Vec::new(),
            classes: StorageClasses::default(),
            in_flight,
            arbiter: ArbiterAnswers::default(),
            features: Features::default(),
            failures: Failures::default(),
            may_adopt: true,
        });
        let ordinal = |name: &str| name.trim_start_matches("web-").parse().unwrap();
        let mut requests: Vec<Request> = plan
            .actions
            .iter()
            .filter_map(|action| match action {
                Action::DeletePod { name, .. } => Some(Request::Delete(ordinal(name))),
                Action::CreatePod(pod) => {
                    Some(Request::Create(ordinal(&pod.name), &*pod.revision == "web-b"))
                }
                // Pods of this world have said their first word.
                Action::PatchPod { .. } => None,
                other => panic!("{other:?}"),
            })
            .collect();
        (self.planner.does)(&seen, &mut requests);
        let status = plan.status.unwrap_or_else(|| set.status.clone());
        (requests, status.current_revision == "web-b")
    }

    /// Sends one request. `is_heard`: does its answer arrive?
    fn send(&self, state: &mut State, request: Request, is_heard: bool) -> Result<(), String> {
        match request {
            Request::Delete(i) => {
                let ordinal = state.ordinals[i];
                let is_it = ordinal.is_same && (ordinal.is_fresh() || !self.planner.has_preconditions);
                let Some(pod) = ordinal.server.filter(|pod| is_it && !pod.is_terminating) else {
                    return Ok(());
                };
                if pod.is_busy {
                    return Err(format!("S5: {i} works and goes"));
                }
                if pod.is_new && pod.is_ready {
                    return Err(format!("S2: {i} is new and ready and goes"));
                }
                let n_old = state.n(|pod| !pod.is_new && !pod.is_terminating);
                if !pod.is_new && n_old <= usize::from(state.partition) {
                    return Err(format!("S5: the partition keeps {i}"));
                }
                let ordinal = &mut state.ordinals[i];
                ordinal.server = Some(Pod {
                    is_terminating: true,
                    ..pod
                });
                ordinal.is_deleted = is_heard;
                ordinal.is_in_doubt = !is_heard;
                let n_down = state.ordinals.iter().filter(|ordinal| ordinal.is_down()).count();
                if n_down > MAX_UNAVAILABLE {
                    return Err(format!("S1: {n_down} are down"));
                }
            }
            Request::Create(i, is_new) => {
                let ordinal = &mut state.ordinals[i];
                if ordinal.server.is_none() {
                    ordinal.server = Some(Pod {
                        is_new,
                        is_ready: false,
                        is_busy: false,
                        is_terminating: false,
                    });
                    ordinal.is_same = false;
                }
                // A POST without an answer counts as one that was carried out.
                ordinal.created = Some(is_new);
            }
        }
        Ok(())
    }

    fn successors(&self, state: &State) -> Result<Vec<State>, String> {
        let mut found = Vec::new();
        let (requests, is_complete) = self.decide(state);
        let mut done = *state;
        done.is_complete = is_complete;
        for request in &requests {
            self.send(&mut done, *request, true)?;
        }
        found.push(done);
        for n_sent in 0..=requests.len() {
            let mut partly = *state;
            for request in requests.iter().take(n_sent) {
                self.send(&mut partly, *request, true)?;
            }
            if state.chances.crashes > 0 {
                // Whoever comes next begins with what the server has.
                let mut crashed = partly;
                crashed.chances.crashes -= 1;
                crashed.ordinals.iter_mut().for_each(Ordinal::sync);
                found.push(crashed);
            }
            if let Some(request) = requests.get(n_sent).filter(|_| state.chances.losses > 0) {
                let mut lost = partly;
                lost.chances.losses -= 1;
                self.send(&mut lost, *request, false)?;
                found.push(lost);
            }
        }
        for i in 0..ORDINALS {
            let mut then = |change: &dyn Fn(&mut State)| {
                let mut next = *state;
                change(&mut next);
                found.push(next);
            };
            then(&|next| next.ordinals[i].sync());
            match state.ordinals[i].server {
                Some(pod) if pod.is_terminating => then(&|next| Self::remove(&mut next.ordinals[i])),
                Some(pod) => {
                    then(&|next| {
                        next.ordinals[i].server = Some(Pod {
                            is_ready: true,
                            ..pod
                        });
                    });
                    if state.chances.flips > 0 {
                        then(&|next| {
                            next.chances.flips -= 1;
                            next.ordinals[i].server = Some(Pod {
                                is_busy: !pod.is_busy,
                                ..pod
                            });
                        });
                    }
                }
                None => {}
            }
        }
        if state.chances.moves > 0 {
            for partition in (0..=3).filter(|partition| *partition != state.partition) {
                let mut next = *state;
                next.chances.moves -= 1;
                next.partition = partition;
                found.push(next);
            }
        }
        Ok(found)
    }

    fn remove(ordinal: &mut Ordinal) {
        ordinal.server = None;
        ordinal.is_same = false;
    }

    /// With faults ended: are as many pods new as may be, and is nothing done any more?
    fn settles(&self, state: &State, known: &mut HashSet<State>) -> Result<(), String> {
        let mut current = State {
            chances: Chances {
                flips: 0,
                moves: 0,
                crashes: 0,
                losses: 0,
            },
            ..*state
        };
        let mut path = Vec::new();
        for _ in 0..40 {
            current.ordinals.iter_mut().for_each(Ordinal::sync);
            if known.contains(&current) {
                known.extend(path);
                return Ok(());
            }
            path.push(current);
            let before = current;
            let (requests, is_complete) = self.decide(&current);
            current.is_complete = is_complete;
            for request in requests {
                self.send(&mut current, request, true)?;
            }
            for ordinal in &mut current.ordinals {
                match ordinal.server {
                    Some(pod) if pod.is_terminating => Self::remove(ordinal),
                    Some(pod) => {
                        ordinal.server = Some(Pod {
                            is_ready: true,
                            ..pod
                        });
                    }
                    None => {}
                }
            }
            let mut shown = current;
            shown.ordinals.iter_mut().for_each(Ordinal::sync);
            if shown == before {
                let n_old = current.n(|pod| !pod.is_new);
                let n_busy = current.n(|pod| !pod.is_new && pod.is_busy);
                let kept = usize::from(current.partition).max(n_busy);
                let is_through = current.n(|_| true) == ORDINALS && n_old <= kept;
                if !is_through {
                    return Err(format!("L1: it rests too early: {current:?}"));
                }
                if current.is_complete && n_old > 0 {
                    return Err(format!("the rollout is said to be complete: {current:?}"));
                }
                known.extend(path);
                return Ok(());
            }
        }
        Err(format!("L1: it never rests: {current:?}"))
    }

    /// Every state that can be reached, and what is wrong in the first that is wrong.
    fn explore(&self) -> Result<usize, String> {
        let start = State::start(self.chances);
        let mut reached = HashSet::from([start]);
        let mut queue = VecDeque::from([start]);
        let mut settled = HashSet::new();
        while let Some(state) = queue.pop_front() {
            self.settles(&state, &mut settled)?;
            for next in self.successors(&state)? {
                if reached.insert(next) {
                    queue.push_back(next);
                }
            }
        }
        Ok(reached.len())
    }
}

const NONE: Chances = Chances {
    flips: 0,
    moves: 0,
    crashes: 0,
    losses: 0,
};

/// Worlds, and the least number of their states: fewer mean that the model has lost some.
const WORLDS: [(Chances, usize); 4] = [
    (
        Chances {
            flips: 2,
            crashes: 1,
            ..NONE
        },
        1_436,
    ),
    (
        Chances {
            moves: 2,
            crashes: 1,
            ..NONE
        },
        464,
    ),
    (
        Chances {
            flips: 1,
            losses: 1,
            ..NONE
        },
        379,
    ),
    (
        Chances {
            flips: 3,
            moves: 2,
            crashes: 1,
            losses: 1,
        },
        87_216,
    ),
];

/// S1, S2, S5, L1; issue 8.
#[test]
fn no_schedule_disrupts_a_pod_that_works_or_leaves_one_behind() {
    for (chances, least) in WORLDS {
        let found = Checker::new(REAL, chances).explore();
        let n_states = found.unwrap_or_else(|problem| panic!("{chances:?}: {problem}"));
        eprintln!("{chances:?}: {n_states} states");
        assert!(n_states >= least, "{chances:?}: {n_states} of {least} states");
    }
}

/// Each fault is found in some world.
#[test]
fn the_model_finds_each_fault() {
    let faults: [(&str, Planner); 9] = [
        (
            "sends no resourceVersion",
            Planner {
                has_preconditions: false,
                ..REAL
            },
        ),
        (
            "forgets what it deleted",
            Planner {
                sees: |state| {
                    for ordinal in &mut state.ordinals {
                        ordinal.is_deleted = false;
                    }
                },
                ..REAL
            },
        ),
        (
            "takes a pod for available that it never saw",
            Planner {
                sees: |state| {
                    for ordinal in &mut state.ordinals {
                        if let Some(is_new) = ordinal.created.take() {
                            ordinal.store = Some(Pod {
                                is_new,
                                is_ready: true,
                                is_busy: false,
                                is_terminating: false,
                            });
                        }
                    }
                },
                ..REAL
            },
        ),
        (
            "takes a request without an answer for one that was not sent",
            Planner {
                sees: |state| {
                    for ordinal in &mut state.ordinals {
                        ordinal.is_in_doubt = false;
                    }
                },
                ..REAL
            },
        ),
        (
            "takes one pod too many",
            Planner {
                reads: |world| world.rolling("maxUnavailable", MAX_UNAVAILABLE + 1),
                ..REAL
            },
        ),
        (
            "does not look who works",
            Planner {
                reads: |world| world.rolling("protection", Value::Null),
                ..REAL
            },
        ),
        (
            "does not look at the partition",
            Planner {
                reads: |world| world.rolling("partition", 0),
                ..REAL
            },
        ),
        (
            "never creates the last pod",
            Planner {
                does: |_, requests| requests.retain(|request| !matches!(request, Request::Create(2, _))),
                ..REAL
            },
        ),
        (
            "goes on with pods that are new",
            Planner {
                does: |state, requests| {
                    let all_new = state
                        .ordinals
                        .iter()
                        .all(|ordinal| ordinal.store.is_some_and(|pod| pod.is_new));
                    requests.extend(all_new.then_some(Request::Delete(0)));
                },
                ..REAL
            },
        ),
    ];
    for (fault, planner) in faults {
        let found = WORLDS
            .into_iter()
            .find_map(|(chances, _)| Checker::new(planner, chances).explore().err());
        assert!(found.is_some(), "the fault goes unnoticed: {fault}");
    }
}
