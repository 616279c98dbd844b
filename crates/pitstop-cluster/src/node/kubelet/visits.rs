//! Questions about containers that run here: their logs, and commands run in them.
//!
//! Source: embedded-cluster.md 10.6, 10.7.

use jiff::Timestamp;
use pitstop_api::view::Uid;
use tokio::sync::watch;

use super::super::containers::{PodName, Runs};
use super::super::inside::{Ends, Line, Log, Place, Question, Refusal, Said};
use super::super::pod_life::{Container, PodLife, State, Terminated};
use super::images::{NodeImages, pod_rules};
use super::{Kubelets, Pod};

impl Kubelets {
    /// Who does not wait for the answer any more does not get it.
    pub(super) fn on_question(&mut self, question: Question) {
        match question {
            Question::Pull { wish, answer } => self.on_pull(wish, answer),
            Question::Run {
                place,
                command,
                answer,
            } => drop(answer.send(self.run_command(&place, &command))),
            Question::Log {
                place,
                previous,
                answer,
            } => drop(answer.send(self.log(&place, previous))),
            Question::Inspect { place, answer } => drop(answer.send(self.inspect(&place))),
            Question::Stop { place, id, answer } => drop(answer.send(self.stop_container(&place, &id))),
            Question::PodsThatShowMetadata { told } => {
                self.agent = Some(told);
                let all: Vec<Uid> = self.pods.keys().copied().collect();
                for uid in all {
                    self.tell_agent(uid);
                }
            }
        }
    }

    /// Those who follow a log look again.
    pub(super) fn tell_followers(&mut self, uid: Uid) {
        if let Some(pod) = self.pods.get_mut(&uid)
            && let Some(followers) = &pod.followers
            && followers.send(ends(pod)).is_err()
        {
            pod.followers = None;
        }
    }

    fn run_command(&mut self, place: &Place, command: &[String]) -> Result<Said, Refusal> {
        let uid = self.find(place)?;
        let no_pod = || Refusal::NoPod(place.pod.clone());
        let pod = self.pods.get_mut(&uid).ok_or_else(no_pod)?;
        let object = &pod.object;
        let machine = self.machines.get_mut(&object.spec.node_name).ok_or_else(no_pod)?;
        let life = pod.life.as_mut().ok_or_else(no_pod)?;
        let (i, _) = container(life, place)?;
        let images = NodeImages {
            rules: pod_rules(object, &machine.rules),
            cache: &mut machine.images,
        };
        let spec = &object.spec;
        let hostname = match (spec.hostname.as_str(), spec.host_network) {
            (_, true) => &spec.node_name,
            ("", false) => &object.metadata.name,
            (given, false) => given,
        };
        let (said, effects) = life
            .run(i, hostname, command, &images)
            .ok_or_else(|| Refusal::NotRunning(place.container.clone()))?;
        self.carry_out(uid, effects);
        Ok(said)
    }

    /// The agent of its node looks at a pod again.
    pub(super) fn tell_agent(&mut self, uid: Uid) {
        let Some(pod) = self.pods.get(&uid).filter(|pod| pod.object.shows_metadata()) else {
            return;
        };
        let machine = self.machines.get(&pod.object.spec.node_name);
        let has_agent =
            machine.is_some_and(|machine| machine.is_connected && !machine.object.has_no_agents());
        let name = PodName {
            namespace: pod.object.metadata.namespace.clone(),
            name: pod.object.metadata.name.clone(),
        };
        if has_agent && self.agent.as_ref().is_some_and(|agent| agent.send(name).is_err()) {
            self.agent = None;
        }
    }

    fn inspect(&self, place: &Place) -> Result<Runs, Refusal> {
        let uid = self.find(place)?;
        let life = self.pods.get(&uid).and_then(|pod| pod.life.as_ref());
        let life = life.ok_or_else(|| Refusal::NoPod(place.pod.clone()))?;
        let (_, container) = container(life, place)?;
        if !container.is_running() {
            return Err(Refusal::NotRunning(place.container.clone()));
        }
        let environment = container.environment();
        Ok(Runs {
            id: container.id(life.uid),
            image: container.running_image.clone(),
            environment: environment
                .map(|(name, value)| (name.to_owned(), value.to_owned()))
                .collect(),
        })
    }

    fn stop_container(&mut self, place: &Place, id: &str) -> Result<(), Refusal> {
        let uid = self.find(place)?;
        let life = self.pods.get_mut(&uid).and_then(|pod| pod.life.as_mut());
        let life = life.ok_or_else(|| Refusal::NoPod(place.pod.clone()))?;
        let (i, _) = container(life, place)?;
        let effects = life.stop_one(i, id);
        let effects = effects.ok_or_else(|| Refusal::NotRunning(place.container.clone()))?;
        self.carry_out(uid, effects);
        Ok(())
    }

    fn log(&mut self, place: &Place, previous: bool) -> Result<Log, Refusal> {
        let uid = self.find(place)?;
        let no_pod = || Refusal::NoPod(place.pod.clone());
        let pod = self.pods.get_mut(&uid).ok_or_else(no_pod)?;
        let life = pod.life.as_ref().ok_or_else(no_pod)?;
        let (_, container) = container(life, place)?;
        let (run, lines, is_over) = match (&container.state, &container.last) {
            (_, None) if previous => {
                return Err(Refusal::NoPrevious {
                    pod: place.pod.clone(),
                    container: place.container.clone(),
                });
            }
            (_, Some(last)) if previous => (last.run, of_ended(container, last), true),
            (State::Running { since }, _) => {
                let image = &container.running_image;
                let line = started(container, image, container.restarts, *since);
                (container.restarts, vec![line], false)
            }
            (State::Terminated(end), _) | (State::Waiting { .. }, Some(end)) => {
                (end.run, of_ended(container, end), true)
            }
            (State::Waiting { reason, .. }, None) => {
                return Err(Refusal::Waiting {
                    pod: place.pod.clone(),
                    container: place.container.clone(),
                    reason,
                });
            }
        };
        let followers = pod
            .followers
            .get_or_insert_with(|| watch::Sender::new(Ends::new()));
        Ok(Log {
            lines,
            run: (uid, run),
            is_over,
            changes: followers.subscribe(),
        })
    }

    /// The pod of these names: the one that is not being deleted, where an earlier one is still stopping.
    fn find(&self, place: &Place) -> Result<Uid, Refusal> {
        let named = self.pods.iter().filter(|(_, pod)| {
            let metadata = &pod.object.metadata;
            pod.life.is_some() && metadata.name == place.pod && metadata.namespace == place.namespace
        });
        let (uid, pod) = named
            .min_by_key(|(_, pod)| pod.object.metadata.deletion_timestamp.is_some())
            .ok_or_else(|| Refusal::NoPod(place.pod.clone()))?;
        let node = self.machines.get(&pod.object.spec.node_name);
        match node {
            Some(machine) if machine.is_connected => Ok(*uid),
            _ => Err(Refusal::Unreachable),
        }
    }
}

/// The logs of the newest runs that have ended.
fn ends(pod: &Pod) -> Ends {
    let containers = pod.life.iter().flat_map(|life| &life.containers);
    let ended = containers.filter_map(|container| {
        let end = match &container.state {
            State::Terminated(end) => end,
            State::Running { .. } | State::Waiting { .. } => container.last.as_ref()?,
        };
        Some((container.spec.name.clone(), (end.run, of_ended(container, end))))
    });
    ended.collect()
}

fn container<'a>(life: &'a PodLife, place: &Place) -> Result<(usize, &'a Container), Refusal> {
    let mut containers = life.containers.iter().enumerate();
    let found = containers.find(|(_, container)| container.spec.name == place.container);
    found.ok_or_else(|| Refusal::NoContainer {
        pod: place.pod.clone(),
        container: place.container.clone(),
    })
}

/// What a simulated container says when it starts. Source: embedded-cluster.md 10.6.
fn started(container: &Container, image: &str, run: u32, at: Timestamp) -> Line {
    let name = &container.spec.name;
    let text = format!("{at:.3} {name} started image={image} restart={run}");
    Line { at, text }
}

fn of_ended(container: &Container, end: &Terminated) -> Vec<Line> {
    let (name, at) = (&container.spec.name, end.finished_at);
    let text = format!("{at:.3} {name} ended code={}", end.code);
    vec![
        started(container, &end.image, end.run, end.started_at),
        Line { at, text },
    ]
}
