//! Every schedule of a small world: two containers, three revisions, a controller that stops between two requests or hears
//! no answer, a store that lags, a kubelet that lags, and a container that crashes.
//!
//! Checked in every state: a pod whose containers are not those of its spec is out of service, and an update is only said
//! to be complete when it is (S6: nothing but the containers changes). From every state, with faults ended, the pod reaches
//! the revision that is wanted and rests there (L1). Time passes only while the kubelet has caught up: a container in doubt
//! is believed after a while because a kubelet does not lag for that long.

use std::collections::{BTreeMap, HashSet, VecDeque};
use std::sync::Arc;

use pitstop_api::view::{
    ContainerSpec, ContainerState, ContainerStatus, InPlaceSpec, InPlaceView, PodCondition, PodLabels,
    PodView,
};
use pitstop_api::{keys, reasons};

use super::*;

/// Images of the containers of each revision: the third differs from the second in one container alone.
const REVISIONS: [[u8; 2]; 4] = [[0, 0], [1, 1], [2, 2], [3, 2]];
const NAMES: [&str; 2] = ["c1", "c2"];

/// What the world is like.
#[derive(Debug, Clone, Copy)]
struct World {
    /// Do the second and third revision hold the same image under two tags, which the runtime calls by neither?
    has_aliases: bool,
    /// Does the kubelet say which generation it acted on?
    observes: bool,
    /// Units: seconds.
    grace: u32,
    /// How often the revision that is wanted changes after the first time.
    retargets: u8,
    /// How often a container crashes, and how often time passes.
    crashes: u8,
}

impl World {
    fn digest(self, container: usize, image: u8) -> String {
        let image = if self.has_aliases { image.min(2) } else { image };
        format!("sha256:{container}{image}")
    }

    fn name(self, container: usize, image: u8) -> String {
        if self.has_aliases {
            self.digest(container, image)
        } else {
            tag(container, image)
        }
    }
}

fn tag(container: usize, image: u8) -> String {
    format!("app{container}:v{image}")
}

/// A pod as the server has it.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct Pod {
    revision: u8,
    images: [u8; 2],
    state: Option<Arc<str>>,
    grace: Option<Arc<str>>,
    gate: Option<(bool, Arc<str>)>,
    generation: i64,
    observed: Option<i64>,
    running: [Running; 2],
}

/// A container that runs.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
struct Running {
    image: u8,
    n_starts: i32,
    since: i64,
}

#[derive(Debug, Clone, PartialEq, Eq, Hash)]
struct State {
    server: Pod,
    /// What the controller sees.
    store: Pod,
    is_fresh: bool,
    /// The images that the kubelet has seen.
    seen: [u8; 2],
    target: u8,
    now: i64,
    retargets: u8,
    losses: u8,
    crashes: u8,
    passes: u8,
}

/// A decision: the real one, or one with a fault built in.
#[derive(Clone, Copy)]
struct Planner {
    begin: fn(Live<'_>, &UpdateSpec, i64) -> Change,
    refresh: fn(Live<'_>, i64) -> Change,
    order: fn(&mut Vec<pitstop_engine::inplace::PodWrite>),
    has_preconditions: bool,
}

const REAL: Planner = Planner {
    begin: |live, spec, now| begin(live, spec, PLAIN, at(now)),
    refresh: |live, now| refresh(live, None, PLAIN, at(now)).change,
    order: |_| {},
    has_preconditions: true,
};

impl Pod {
    fn view(&self, world: World, blank: &PodView) -> PodView {
        let annotations = [
            (keys::INPLACE_STATE, &self.state),
            (keys::INPLACE_GRACE, &self.grace),
        ];
        let annotations = annotations.into_iter();
        let annotations =
            annotations.filter_map(|(key, value)| Some((key.to_owned(), value.as_ref()?.to_string())));
        let containers = (0..2).map(|i| ContainerSpec {
            name: NAMES[i].into(),
            image: tag(i, self.images[i]).into(),
            priority: Some(if i == 0 { 20 } else { 10 }),
            ..ContainerSpec::default()
        });
        let statuses = (0..2).map(|i| ContainerStatus {
            name: NAMES[i].into(),
            image: world.name(i, self.running[i].image).into(),
            image_id: world.digest(i, self.running[i].image).into(),
            container_id: format!("{i}-{}", self.running[i].n_starts).into(),
            restart_count: self.running[i].n_starts,
            is_ready: true,
            state: ContainerState::Running {
                since: Some(at(self.running[i].since)),
            },
            resources: None,
        });
        let gate = self.gate.as_ref().map(|(is_true, message)| PodCondition {
            status: (*is_true).into(),
            reason: "".into(),
            message: Arc::clone(message),
            since: None,
        });
        let view = InPlaceView {
            spec: Arc::new(InPlaceSpec {
                containers: containers.collect(),
                readiness_gates: vec![reasons::INPLACE_UPDATE_READY.into()],
                ..InPlaceSpec::default()
            }),
            annotations: annotations.collect(),
            finalizers: Vec::new(),
            generation: self.generation,
            observed_generation: self.observed,
            statuses: statuses.collect(),
            update_ready: gate,
            kruise_ready: None,
            resize_pending: None,
            changed_while_ready: None,
        };
        PodView {
            labels: PodLabels::from_iter([(keys::REVISION_HASH.to_owned(), revision_name(self.revision))]),
            in_place: Some(Arc::new(view)),
            ..blank.clone()
        }
    }

    fn write(&mut self, patch: &Value) {
        let text = |value: &Value| value.as_str().map(Arc::from);
        let annotations = patch.pointer("/metadata/annotations").and_then(Value::as_object);
        for (key, value) in annotations.into_iter().flatten() {
            match key.as_str() {
                keys::INPLACE_STATE => self.state = text(value),
                keys::INPLACE_GRACE => self.grace = text(value),
                other => panic!("{other}"),
            }
        }
        if let Some(label) = patch
            .pointer("/metadata/labels")
            .and_then(|labels| labels.get(keys::REVISION_HASH))
        {
            self.revision = label
                .as_str()
                .unwrap()
                .trim_start_matches("web-v")
                .parse()
                .unwrap();
        }
        let conditions = patch.pointer("/status/conditions").and_then(Value::as_array);
        for condition in conditions.into_iter().flatten() {
            if condition["type"] == reasons::INPLACE_UPDATE_READY {
                let message = condition["message"].as_str().unwrap_or_default();
                self.gate = Some((condition["status"] == "True", message.into()));
            }
        }
        let containers = patch.pointer("/spec/containers").and_then(Value::as_array);
        for container in containers.into_iter().flatten() {
            let i = usize::from(container["name"] == NAMES[1]);
            let image = container["image"]
                .as_str()
                .unwrap()
                .rsplit_once(":v")
                .unwrap()
                .1
                .parse()
                .unwrap();
            if self.images[i] != image {
                self.images[i] = image;
                self.generation += 1;
            }
        }
    }

    fn is_new(&self) -> bool {
        (0..2).all(|i| self.running[i].image == self.images[i])
    }

    fn is_open(&self) -> bool {
        self.gate.as_ref().is_some_and(|(is_true, _)| *is_true)
    }
}

fn revision_name(revision: u8) -> String {
    format!("web-v{revision}")
}

/// A world, a decision, and what they are looked at with.
struct Checker {
    world: World,
    planner: Planner,
    blank: PodView,
}

impl Checker {
    fn new(world: World, planner: Planner) -> Self {
        let blank = LivePod::running(&["c1=x"]).view();
        Self {
            world,
            planner,
            blank,
        }
    }

    fn start(&self) -> State {
        let running = |image| Running {
            image,
            n_starts: 0,
            since: -1000,
        };
        let pod = Pod {
            revision: 1,
            images: REVISIONS[1],
            state: None,
            grace: None,
            gate: Some((true, "".into())),
            generation: 1,
            observed: self.world.observes.then_some(1),
            running: [running(1), running(1)],
        };
        State {
            store: pod.clone(),
            server: pod,
            is_fresh: true,
            seen: REVISIONS[1],
            target: 2,
            now: 0,
            retargets: self.world.retargets,
            losses: 1,
            crashes: self.world.crashes,
            passes: self.world.crashes,
        }
    }

    /// The requests that the controller sends, from what it sees.
    fn writes(&self, state: &State) -> Vec<pitstop_engine::inplace::PodWrite> {
        let view = state.store.view(self.world, &self.blank);
        let live = Live::of(&view).unwrap();
        let change = if state.store.revision == state.target {
            (self.planner.refresh)(live, state.now)
        } else {
            let (old, new) = (
                REVISIONS[usize::from(state.store.revision)],
                REVISIONS[usize::from(state.target)],
            );
            let differing = (0..2).filter(|i| old[*i] != new[*i]);
            let spec = UpdateSpec {
                revision: revision_name(state.target),
                images: differing.map(|i| (NAMES[i].to_owned(), tag(i, new[i]))).collect(),
                grace_seconds: self.world.grace,
                ..UpdateSpec::default()
            };
            let mut change = (self.planner.begin)(live, &spec, state.now);
            change.label(keys::REVISION_HASH, &revision_name(state.target));
            change
        };
        let mut writes = change.writes(live, at(state.now));
        (self.planner.order)(&mut writes);
        writes
    }

    /// Sends the first of the requests; all, and their answers arrive, where nothing is lost.
    fn act(
        &self,
        state: &State,
        sent: &[pitstop_engine::inplace::PodWrite],
        is_lost: bool,
    ) -> Result<State, String> {
        let mut next = state.clone();
        if !state.is_fresh && self.planner.has_preconditions {
            return Ok(next);
        }
        for write in sent {
            let was_open = next.server.is_open();
            let before = next.server.images;
            next.server.write(&write.patch);
            next.is_fresh = false;
            let opens = !was_open && next.server.is_open();
            if opens && !next.server.is_new() {
                return Err("the gate opens before the containers are new".into());
            }
            let touches = write.patch.pointer("/spec/containers").is_some();
            if touches && before == next.server.images {
                return Err("a container is patched to what it has".into());
            }
            if touches && next.server.grace.is_some() {
                return Err("a container is patched in a grace period".into());
            }
        }
        if is_lost {
            next.losses -= 1;
        } else {
            next.store = next.server.clone();
            next.is_fresh = true;
        }
        Ok(next)
    }

    fn see(&self, state: &mut State) {
        state.seen = state.server.images;
        let observed = self.world.observes.then_some(state.server.generation);
        if state.server.observed != observed {
            state.server.observed = observed;
            state.is_fresh = false;
        }
    }

    fn restart(state: &mut State, i: usize) {
        state.server.running[i] = Running {
            image: state.seen[i],
            n_starts: state.server.running[i].n_starts + 1,
            since: state.now,
        };
        state.is_fresh = false;
    }

    fn is_caught_up(state: &State) -> bool {
        state.seen == state.server.images && state.server.is_new()
    }

    fn successors(&self, state: &State) -> Result<Vec<State>, String> {
        let mut found = Vec::new();
        let writes = self.writes(state);
        let done = self.act(state, &writes, false)?;
        if done.is_fresh && state.store.revision == state.target && !self.writes(&done).is_empty() {
            return Err(format!("a refresh leads to another at once: {state:?}"));
        }
        found.push(done);
        if state.losses > 0 {
            for n_sent in 1..=writes.len() {
                found.push(self.act(state, &writes[..n_sent], true)?);
            }
        }
        let mut then = |change: &dyn Fn(&mut State)| {
            let mut next = state.clone();
            change(&mut next);
            found.push(next);
        };
        then(&|next| {
            next.store = next.server.clone();
            next.is_fresh = true;
        });
        then(&|next| self.see(next));
        for i in 0..2 {
            let is_current = state.server.running[i].image == state.seen[i];
            if !is_current {
                then(&|next| Self::restart(next, i));
            } else if state.crashes > 0 {
                then(&|next| {
                    next.crashes -= 1;
                    Self::restart(next, i);
                });
            }
        }
        if state.retargets > 0 {
            for target in (1..=3).filter(|target| *target != state.target) {
                then(&|next| {
                    next.target = target;
                    next.retargets -= 1;
                });
            }
        }
        if state.passes > 0 && Self::is_caught_up(state) {
            then(&|next| {
                next.now += 100;
                next.passes -= 1;
            });
        }
        Ok(found)
    }

    /// With faults ended: does the pod reach the revision that is wanted, and rest there?
    fn settles(&self, state: &State, known: &mut HashSet<State>) -> Result<(), String> {
        let mut path = Vec::new();
        let mut current = State {
            retargets: 0,
            losses: 0,
            crashes: 0,
            passes: 0,
            ..state.clone()
        };
        for _ in 0..40 {
            if known.contains(&current) {
                known.extend(path);
                return Ok(());
            }
            path.push(current.clone());
            let mut next = current.clone();
            next.store = next.server.clone();
            next.is_fresh = true;
            let writes = self.writes(&next);
            next = self.act(&next, &writes, false)?;
            self.see(&mut next);
            for i in 0..2 {
                if next.server.running[i].image != next.seen[i] {
                    Self::restart(&mut next, i);
                }
            }
            if next.server == current.server {
                let images = REVISIONS[usize::from(next.target)];
                let pod = &next.server;
                if pod.revision == next.target && pod.images == images && pod.is_new() && pod.is_open() {
                    known.extend(path);
                    return Ok(());
                }
                next.now += 700;
            }
            current = next;
        }
        Err(format!("it never settles: {current:?}"))
    }

    /// Every state that can be reached, and what is wrong in the first that is wrong.
    fn explore(&self) -> Result<usize, String> {
        let mut reached = HashSet::from([self.start()]);
        let mut queue = VecDeque::from([self.start()]);
        let mut settled = HashSet::new();
        while let Some(state) = queue.pop_front() {
            if state.server.is_open() && !state.server.is_new() {
                return Err(format!("in service while its containers change: {state:?}"));
            }
            self.settles(&state, &mut settled)?;
            for next in self.successors(&state)? {
                if reached.insert(next.clone()) {
                    queue.push_back(next);
                }
            }
        }
        Ok(reached.len())
    }
}

const PLAINEST: World = World {
    has_aliases: false,
    observes: false,
    grace: 0,
    retargets: 1,
    crashes: 1,
};

/// Worlds, and the least number of their states: fewer mean that the model has lost some.
const WORLDS: [(World, usize); 6] = [
    (PLAINEST, 9_885),
    (
        World {
            observes: true,
            ..PLAINEST
        },
        13_731,
    ),
    (
        World {
            has_aliases: true,
            ..PLAINEST
        },
        8_405,
    ),
    (
        World {
            has_aliases: true,
            observes: true,
            ..PLAINEST
        },
        11_925,
    ),
    (
        World {
            grace: 30,
            ..PLAINEST
        },
        1_610,
    ),
    (
        World {
            retargets: 2,
            crashes: 0,
            ..PLAINEST
        },
        3_996,
    ),
];

/// S6, L1; issue 7, section 1.
#[test]
fn no_schedule_leaves_a_pod_behind_or_takes_an_old_container_for_new() {
    for (world, least) in WORLDS {
        let found = Checker::new(world, REAL).explore();
        let n_states = found.unwrap_or_else(|problem| panic!("{world:?}: {problem}"));
        eprintln!("{world:?}: {n_states} states");
        assert!(n_states >= least, "{world:?}: {n_states} of {least} states");
    }
}

/// A pod without its notes, as a controller would see it that forgets them.
fn without_notes(live: Live<'_>) -> PodView {
    let mut view = live.view.clone();
    view.annotations.clear();
    PodView {
        in_place: Some(Arc::new(view)),
        ..live.pod.clone()
    }
}

/// Each fault is found in some world.
#[test]
fn the_model_finds_each_fault() {
    let faults: [(&str, Planner); 7] = [
        (
            "forgets what it noted when it is retargeted",
            Planner {
                begin: |live, spec, now| (REAL.begin)(Live::of(&without_notes(live)).unwrap(), spec, now),
                ..REAL
            },
        ),
        (
            "takes any pod for complete",
            Planner {
                refresh: |live, now| (REAL.refresh)(Live::of(&without_notes(live)).unwrap(), now),
                ..REAL
            },
        ),
        (
            "changes containers before it takes the pod out of service",
            Planner {
                order: |writes| writes.reverse(),
                ..REAL
            },
        ),
        (
            "sends no resourceVersion",
            Planner {
                has_preconditions: false,
                ..REAL
            },
        ),
        (
            "never takes the pod out of service",
            Planner {
                begin: |live, spec, now| Change {
                    conditions: BTreeMap::new(),
                    ..(REAL.begin)(live, spec, now)
                },
                ..REAL
            },
        ),
        (
            "never opens the gate",
            Planner {
                refresh: |live, now| Change {
                    conditions: BTreeMap::new(),
                    ..(REAL.refresh)(live, now)
                },
                ..REAL
            },
        ),
        (
            "never changes a container after the first ones",
            Planner {
                refresh: |live, now| {
                    let change = (REAL.refresh)(live, now);
                    if change.images.is_empty() {
                        change
                    } else {
                        Change::default()
                    }
                },
                ..REAL
            },
        ),
    ];
    for (fault, planner) in faults {
        let found = WORLDS
            .into_iter()
            .find_map(|(world, _)| Checker::new(world, planner).explore().err());
        assert!(found.is_some(), "the fault goes unnoticed: {fault}");
    }
}
