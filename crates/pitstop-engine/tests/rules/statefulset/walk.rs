//! Random walks: a StatefulSet whose template, partition and busy pods change under a controller whose view of the pods lags
//! behind.
//!
//! Pods start out serving, and nobody but the controller takes one out of service, so that what is missing is its doing (S1).
//! Each property is shown to be able to fail.

use std::collections::BTreeSet;

use pitstop_api::view::Uid;
use proptest::prelude::*;
use proptest::test_runner::{Config, RngAlgorithm, TestError, TestRng, TestRunner};

use super::*;

/// A decision: the real one, or one with a fault built in.
type Planner = fn(&World) -> Plan;

/// One thing that happens.
#[derive(Debug, Clone, Copy)]
enum Step {
    /// The controller decides on what its store shows, and acts.
    Act,
    /// Its store catches up.
    Sync,
    /// It is replaced by another one, which begins with what the server has.
    Crash,
    /// Kubelets do their work.
    Kubelets,
    /// The template changes.
    Edit(u8),
    /// The partition changes.
    Partition(u8),
    /// A pod begins to work, or stops.
    Turn(u8, bool),
    /// Time passes. Units: seconds.
    Pass(u8),
}

#[derive(Debug, Clone)]
struct Start {
    replicas: u32,
    max_unavailable: u32,
    policy: &'static str,
    grace: u32,
    management: &'static str,
    is_protected: bool,
}

fn starts() -> impl Strategy<Value = Start> {
    let policies = vec!["ReCreate", "InPlaceIfPossible", "InPlaceOnly"];
    (
        1_u32..5,
        1_u32..3,
        prop::sample::select(policies),
        prop::sample::select(vec![0_u32, 5]),
        prop::sample::select(vec!["Parallel", "OrderedReady"]),
        any::<bool>(),
    )
        .prop_map(
            |(replicas, max_unavailable, policy, grace, management, is_protected)| Start {
                replicas,
                max_unavailable,
                policy,
                grace,
                management,
                is_protected: is_protected && management == "Parallel",
            },
        )
}

fn steps() -> impl Strategy<Value = Vec<Step>> {
    let step = prop_oneof![
        6 => Just(Step::Act),
        4 => Just(Step::Sync),
        1 => Just(Step::Crash),
        4 => Just(Step::Kubelets),
        1 => (2_u8..5).prop_map(Step::Edit),
        1 => (0_u8..4).prop_map(Step::Partition),
        2 => (0_u8..4, any::<bool>()).prop_map(|(pod, works)| Step::Turn(pod, works)),
        2 => (1_u8..10).prop_map(Step::Pass),
    ];
    prop::collection::vec(step, 0..30)
}

/// A walk under way.
struct Walk {
    truth: World,
    store: Vec<LivePod>,
    in_flight: InFlight,
    replicas: usize,
    least_serving: usize,
    first: BTreeSet<Uid>,
    stays: bool,
    is_protected: bool,
    planner: Planner,
}

fn uid_of(pod: &LivePod) -> Uid {
    pod.view().uid
}

fn serving(world: &World) -> usize {
    world
        .pods
        .iter()
        .filter(|pod| pod.says("Ready") == Some("True"))
        .count()
}

fn works(pod: &LivePod) -> bool {
    pod.get("/metadata/labels/working") == Some(&json!("true"))
}

/// A StatefulSet whose template has the gate of updates in place, and whose pods are idle.
fn world(start: &Start) -> World {
    let gates = json!([{ "conditionType": "InPlaceUpdateReady" }]);
    let world = World::new(start.replicas)
        .set("/spec/template/spec/readinessGates", gates.clone())
        .set("/spec/template/metadata/labels/working", "false")
        .with(|world| {
            let held = &mut world.revisions[0]["data"]["spec"]["template"];
            held["spec"]["readinessGates"] = gates;
            held["metadata"]["labels"]["working"] = json!("false");
        })
        .set("/spec/podManagementPolicy", start.management)
        .pods(&format!("0-{}A", start.replicas - 1))
        .rolling("podUpdatePolicy", start.policy)
        .rolling("maxUnavailable", start.max_unavailable)
        .rolling("inPlaceUpdateStrategy/gracePeriodSeconds", start.grace)
        .with(|world| {
            for pod in &mut world.pods {
                *pod = pod.clone().label("working", "false");
            }
        })
        .at(1000);
    if start.is_protected {
        let selector = json!({ "podSelector": { "matchLabels": { "working": "true" } } });
        world.rolling("protection", selector)
    } else {
        world
    }
}

impl Walk {
    fn new(start: &Start, planner: Planner) -> Self {
        let truth = world(start);
        Self {
            store: truth.pods.clone(),
            in_flight: InFlight::default(),
            replicas: usize::try_from(start.replicas).unwrap(),
            least_serving: usize::try_from(start.replicas.saturating_sub(start.max_unavailable)).unwrap(),
            first: truth.pods.iter().map(uid_of).collect(),
            stays: start.policy == "InPlaceOnly",
            is_protected: start.is_protected,
            truth,
            planner,
        }
    }

    fn act(&mut self) -> Result<bool, String> {
        let mut seen = self.truth.clone();
        seen.pods.clone_from(&self.store);
        seen.in_flight = self.in_flight.clone();
        let plan = (self.planner)(&seen);
        let target = plan.status.as_ref().map_or_else(
            || seen.view().status.update_revision,
            |status| status.update_revision.clone(),
        );
        for action in &plan.actions {
            self.check(action, &target)?;
            let n_written = self.truth.apply_one(action);
            if n_written > 0 {
                self.hear(action);
            }
        }
        let acted = !plan.actions.is_empty() || plan.status.is_some();
        self.truth.apply(&Plan {
            actions: Vec::new(),
            ..plan
        });
        let n = serving(&self.truth);
        if n < self.least_serving {
            return Err(format!("S1: {n} pods serve, {} must", self.least_serving));
        }
        Ok(acted)
    }

    /// S2, S5, S6, S8: of requests that are not refused for the version that they name.
    fn check(&self, action: &Action, target: &str) -> Result<(), String> {
        let (uid, version, touches, begins) = match action {
            Action::DeletePod {
                uid,
                resource_version,
                ..
            } => (*uid, *resource_version, true, true),
            Action::PatchPod {
                uid,
                resource_version,
                writes,
                why,
                ..
            } => (
                *uid,
                Some(*resource_version),
                writes
                    .iter()
                    .any(|write| write.patch.pointer("/spec/containers").is_some()),
                why.as_str() == "UpdateInPlace",
            ),
            Action::CreatePod(_) if self.stays => return Err(format!("S6: {action:?}")),
            _ => return Ok(()),
        };
        let Some(pod) = self.truth.pods.iter().find(|pod| uid_of(pod) == uid) else {
            return Ok(());
        };
        if version.is_some_and(|version| version != pod.view().resource_version) {
            return Ok(());
        }
        let is_new = pod.get("/metadata/labels/controller-revision-hash") == Some(&json!(target));
        if touches && is_new && pod.says("Ready") == Some("True") {
            return Err(format!("S2: {action:?}"));
        }
        if self.is_protected && begins && works(pod) {
            return Err(format!("S5: {action:?}"));
        }
        if self.stays && matches!(action, Action::DeletePod { .. }) {
            return Err(format!("S6: {action:?}"));
        }
        Ok(())
    }

    /// Takes the answer to a request in.
    fn hear(&mut self, action: &Action) {
        match action {
            Action::PatchPod { uid, .. } => {
                let answer = self.truth.pods.iter().find(|pod| uid_of(pod) == *uid);
                if let Some((known, answer)) =
                    self.store.iter_mut().find(|pod| uid_of(pod) == *uid).zip(answer)
                {
                    *known = answer.clone();
                }
            }
            Action::DeletePod { uid, .. } => self.in_flight.deleted.push(*uid),
            Action::CreatePod(pod) => {
                let ordinal = pod.instance.parse().unwrap();
                self.in_flight.created.push(created(ordinal, &pod.revision));
            }
            _ => {}
        }
    }

    fn step(&mut self, step: Step) -> Result<(), String> {
        self.truth.now += 1;
        match step {
            Step::Act => _ = self.act()?,
            Step::Sync | Step::Crash => {
                self.store.clone_from(&self.truth.pods);
                self.in_flight = InFlight::default();
            }
            Step::Kubelets => self.truth.kubelets(),
            Step::Edit(n) => {
                let world = std::mem::replace(&mut self.truth, World::new(0));
                self.truth = world.set("/spec/template/spec/containers/0/image", format!("foo{n}"));
            }
            Step::Partition(n) => {
                let world = std::mem::replace(&mut self.truth, World::new(0));
                self.truth = world.rolling("partition", n);
            }
            Step::Turn(ordinal, is_working) => {
                let name = format!("web-{ordinal}");
                let found = self.truth.pods.iter_mut();
                for pod in found.filter(|pod| pod.json["metadata"]["name"] == *name) {
                    pod.apply_write(&pitstop_engine::inplace::PodWrite {
                        endpoint: pitstop_engine::inplace::Endpoint::Pod,
                        patch: json!({ "metadata": { "labels": { "working": is_working.to_string() } } }),
                    });
                }
            }
            Step::Pass(seconds) => self.truth.now += i64::from(seconds),
        }
        Ok(())
    }

    /// L1: with a store that keeps up and idle pods, all reach the revision, and then nothing is written any more.
    fn settle(&mut self) -> Result<(), String> {
        self.step(Step::Partition(0))?;
        for ordinal in 0..4 {
            self.step(Step::Turn(ordinal, false))?;
        }
        for _ in 0..120 {
            self.step(Step::Sync)?;
            let acted = self.act()?;
            self.step(Step::Kubelets)?;
            let image = self.truth.set["spec"]["template"]["spec"]["containers"][0]["image"].clone();
            let is_there =
                |pod: &LivePod| json!(pod.image("c1")) == image && pod.says("Ready") == Some("True");
            if !acted && self.truth.pods.len() == self.replicas && self.truth.pods.iter().all(is_there) {
                let stayed = self
                    .truth
                    .pods
                    .iter()
                    .all(|pod| self.first.contains(&uid_of(pod)));
                return if self.stays && !stayed {
                    Err("S6: other pods".into())
                } else {
                    Ok(())
                };
            }
            if !acted {
                self.step(Step::Pass(100))?;
            }
        }
        Err(format!("L1: it never settles: {}", self.truth.does()))
    }
}

/// The shortest walk on which something is wrong; the same in every run.
fn counterexample(planner: Planner) -> Option<String> {
    let config = Config {
        cases: 300,
        failure_persistence: None,
        max_shrink_iters: 60,
        ..Config::default()
    };
    let mut runner = TestRunner::new_with_rng(config, TestRng::deterministic_rng(RngAlgorithm::ChaCha));
    let found = runner.run(&(starts(), steps()), |(start, steps)| {
        let mut walk = Walk::new(&start, planner);
        let mut go = || {
            steps.iter().try_for_each(|step| walk.step(*step))?;
            walk.settle()
        };
        go().map_err(TestCaseError::fail)
    });
    match found {
        Ok(()) => None,
        Err(TestError::Fail(reason, input)) => Some(format!("{reason}\nfor {input:?}")),
        Err(TestError::Abort(reason)) => Some(format!("aborted: {reason}")),
    }
}

/// S1, S2, S5, S6, L1.
#[test]
fn a_rollout_keeps_its_promises_under_every_schedule() {
    if let Some(found) = counterexample(World::plan) {
        panic!("{found}");
    }
}

/// Faults that the walks find.
#[test]
fn the_walks_find_faults() {
    let faults: [(&str, Planner); 4] = [
        ("forgets what it created", |world| {
            let mut world = world.clone();
            for unseen in std::mem::take(&mut world.in_flight.created) {
                let ordinal: u32 = unseen.instance.parse().unwrap();
                let uid = format!("00000000-0000-0000-0009-{ordinal:012}");
                let name = format!("web-{ordinal}");
                world.pods.retain(|pod| pod.json["metadata"]["name"] != *name);
                let mut pod = world.pod(ordinal, "A").set("/metadata/uid", uid);
                pod = pod.label("controller-revision-hash", &unseen.revision);
                world.pods.push(pod);
            }
            world.plan()
        }),
        ("takes one pod too many", |world| {
            let written = world.set["spec"]["updateStrategy"]["rollingUpdate"]["maxUnavailable"].as_u64();
            world
                .clone()
                .rolling("maxUnavailable", written.unwrap_or(1) + 1)
                .plan()
        }),
        ("does not look who works", |world| {
            world.clone().rolling("protection", Value::Null).plan()
        }),
        ("never refreshes pods", |world| {
            let mut plan = world.plan();
            plan.actions.retain(
                |action| !matches!(action, Action::PatchPod { why, .. } if why.as_str() == "Refresh"),
            );
            plan
        }),
    ];
    for (fault, planner) in faults {
        assert!(
            counterexample(planner).is_some(),
            "the fault goes unnoticed: {fault}"
        );
    }
}
