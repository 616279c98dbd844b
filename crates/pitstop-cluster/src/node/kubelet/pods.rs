//! The pods of simulated nodes: what becomes of them, and what is told about it.

use std::sync::Arc;
use std::time::Duration;

use jiff::Timestamp;
use pitstop_api::view::Uid;
use tokio::time::Instant;

use super::super::machine;
use super::super::pod_life::{Effect, Images as _, PodLife, Role, Step};
use super::super::status::{Addresses, Conditions, RESIZE_PENDING, render};
use super::super::wire::PodObject;
use super::images::{NodeImages, pod_rules};
use super::{Kubelets, LISTED_IMAGES, PlannedStep, Pod, Timer};
use crate::informer::Change;

impl Kubelets {
    pub(super) fn on_pod(&mut self, change: Change<PodObject>) {
        match change {
            Change::Applied(object) => {
                let Ok(uid) = object.metadata.uid() else { return };
                if object.spec.node_name.is_empty() {
                    return;
                }
                self.bound
                    .entry(object.spec.node_name.clone())
                    .or_default()
                    .insert(uid);
                match self.pods.get_mut(&uid) {
                    Some(pod) => pod.object = object,
                    None => {
                        let conditions = Conditions::resume(&object);
                        let pod = Pod {
                            object,
                            life: None,
                            conditions,
                            ip: String::new(),
                            is_dirty: false,
                            is_writing: false,
                            is_gone: false,
                            hold_until: None,
                            followers: None,
                        };
                        self.pods.insert(uid, pod);
                    }
                }
                self.sync_pod(uid);
            }
            Change::Deleted(object) => {
                let Ok(uid) = object.metadata.uid() else { return };
                self.remove_pod(uid, &object.spec.node_name);
            }
            Change::Synced => {}
        }
    }

    pub(super) fn remove_pod(&mut self, uid: Uid, node: &str) {
        let ip = self.pods.remove(&uid).map(|pod| pod.ip).unwrap_or_default();
        if let Some(bound) = self.bound.get_mut(node) {
            bound.remove(&uid);
            if bound.is_empty() {
                self.bound.remove(node);
            }
        }
        if let Some(machine) = self.machines.get_mut(node) {
            machine.pods.remove(&uid);
            if let Some(address) = ip.rsplit('.').next().and_then(|last| last.parse().ok()) {
                machine.addresses.remove(&address);
            }
        }
    }

    /// Brings what runs on the node to what the object asks for. A node that is cut off does not see the object.
    pub(super) fn sync_pod(&mut self, uid: Uid) {
        let now = self.now();
        let Some(pod) = self.pods.get_mut(&uid) else {
            return;
        };
        let Some(machine) = self.machines.get_mut(&pod.object.spec.node_name) else {
            return;
        };
        if !machine.is_connected {
            return;
        }
        machine.pods.insert(uid);
        let object = Arc::clone(&pod.object);
        let number = machine.number;
        let mut images = NodeImages {
            rules: pod_rules(&object, &machine.rules),
            cache: &mut machine.images,
        };
        let is_deleted = object.metadata.deletion_timestamp.is_some();
        let effects = match &mut pod.life {
            None => {
                let was_reported = !object.status.container_statuses.is_empty();
                let mut life = if was_reported {
                    PodLife::resume(&object, uid, now)
                } else {
                    PodLife::new(&object, uid, now)
                };
                for container in life.containers.iter().filter(|c| c.was_started) {
                    images.cache(&container.spec.image);
                }
                look_at_fields(&mut life, &object, number, &object.status.pod_ip);
                let mut effects = if is_deleted {
                    life.stop(remaining_grace(&object, now))
                } else {
                    life.begin(&mut images, now)
                };
                pod.is_dirty |= !was_reported;
                if life.has_sandbox && !object.spec.host_network {
                    pod.ip.clone_from(&object.status.pod_ip);
                    if let Some(last) = pod.ip.rsplit('.').next().and_then(|last| last.parse().ok()) {
                        machine.addresses.insert(last);
                    }
                }
                if is_deleted && life.containers.iter().all(|c| !c.was_started) {
                    effects = vec![(None, Effect::Gone)];
                }
                pod.life = Some(life);
                effects
            }
            Some(life) if is_deleted && !life.is_stopping => {
                pod.is_dirty = true;
                life.observed = object.generation();
                life.stop(remaining_grace(&object, now))
            }
            Some(life) if life.is_stopping => {
                if pod.is_gone {
                    vec![(None, Effect::Gone)]
                } else {
                    Vec::new()
                }
            }
            Some(life) => {
                let was_observed = life.observed >= object.generation();
                look_at_fields(life, &object, number, &pod.ip);
                let effects = life.update(&object, &images);
                let shown = object.is_true("Ready") == Some(true);
                pod.is_dirty |= !was_observed || !effects.is_empty() || has_drifted(life, &object, shown);
                effects
            }
        };
        self.carry_out(uid, effects);
        self.report(uid);
        self.tell_followers(uid);
        self.tell_agent(uid);
    }

    pub(super) fn on_step(&mut self, uid: Uid, planned: PlannedStep) {
        let now = self.now();
        let Some(pod) = self.pods.get_mut(&uid) else {
            return;
        };
        let Some(machine) = self.machines.get_mut(&pod.object.spec.node_name) else {
            return;
        };
        let Some(life) = pod
            .life
            .as_mut()
            .filter(|life| life.is_current(planned.step, planned.epoch))
        else {
            return;
        };
        if planned.step == Step::Sandbox {
            pod.ip = machine.take_address(pod.object.spec.host_network);
            look_at_fields(life, &pod.object, machine.number, &pod.ip);
        }
        let n_images = machine.images.len();
        let mut images = NodeImages {
            rules: pod_rules(&pod.object, &machine.rules),
            cache: &mut machine.images,
        };
        let effects = life.step(planned.step, &mut images, now);
        machine.is_dirty |= machine.images.len() != n_images && machine.images.len() <= LISTED_IMAGES;
        pod.is_dirty = true;
        let node = pod.object.spec.node_name.clone();
        self.carry_out(uid, effects);
        self.report(uid);
        self.report_node(&node);
        self.tell_followers(uid);
    }

    pub(super) fn carry_out(&mut self, uid: Uid, effects: Vec<(Option<u32>, Effect)>) {
        for (epoch, effect) in effects {
            match effect {
                Effect::After(delay, step) => {
                    self.after(delay, Timer::Pod(uid, PlannedStep { step, epoch }));
                }
                Effect::Pull(container, duration) => {
                    let took = self.scaled(duration);
                    let Some(pod) = self.pods.get(&uid) else { continue };
                    let Some(machine) = self.machines.get_mut(&pod.object.spec.node_name) else {
                        continue;
                    };
                    let done = machine.pull_free_at.max(Instant::now()) + took;
                    machine.pull_free_at = done;
                    self.at(
                        done,
                        Timer::Pod(
                            uid,
                            PlannedStep {
                                step: Step::Pulled(container),
                                epoch,
                            },
                        ),
                    );
                }
                Effect::Event {
                    is_warning,
                    reason,
                    message,
                } => self.tell(uid, is_warning, reason, &message),
                Effect::Gone => {
                    if let Some(pod) = self.pods.get_mut(&uid) {
                        pod.is_gone = true;
                    }
                }
            }
        }
    }

    fn tell(&mut self, uid: Uid, is_warning: bool, reason: &str, message: &str) {
        self.sequence = self.sequence.wrapping_add(1);
        let Some(pod) = self.pods.get(&uid) else { return };
        if self
            .machines
            .get(&pod.object.spec.node_name)
            .is_some_and(|machine| machine.is_connected)
        {
            let sequence = self.sequence % 0x1_0000;
            self.requests
                .pod_event(&pod.object, is_warning, reason, message, self.now(), sequence);
        }
    }

    /// Writes the status of a pod, one write at a time; what changes meanwhile goes with the next one.
    pub(super) fn report(&mut self, uid: Uid) {
        let now = self.now();
        let Some(pod) = self.pods.get_mut(&uid) else {
            return;
        };
        let Some(machine) = self.machines.get(&pod.object.spec.node_name) else {
            return;
        };
        let held = pod.hold_until.is_some_and(|until| until > Instant::now());
        if pod.is_writing || !machine.is_connected {
            return;
        }
        if pod.is_gone {
            // There is nothing else to tell about it.
            pod.is_dirty = false;
            pod.is_writing = true;
            self.requests.confirm_deletion(&pod.object, uid);
            return;
        }
        if !pod.is_dirty || held {
            return;
        }
        let Some(life) = &pod.life else { return };
        let host = machine::host_ip(machine.number);
        let own = if pod.object.spec.host_network {
            &host
        } else {
            &pod.ip
        };
        let addresses = Addresses {
            host: &host,
            pod: own,
        };
        let status = render(life, &pod.object, &mut pod.conditions, &addresses, now);
        pod.hold_until = None;
        pod.is_dirty = false;
        pod.is_writing = true;
        self.requests.pod_status(&pod.object, uid, &status);
    }

    pub(super) fn report_again(&mut self, uid: Uid) {
        // A confirmed deletion is not sent twice: the pod goes, or a finalizer holds it and the watch tells when not.
        if self
            .pods
            .get(&uid)
            .is_some_and(|pod| !pod.is_gone || pod.is_dirty)
        {
            self.report(uid);
        }
    }
}

/// Looks at the fields that containers of a pod show, if any does. `address`: the pod's own, where it has one.
fn look_at_fields(life: &mut PodLife, pod: &PodObject, number: u32, address: &str) {
    if pod.shown_fields().next().is_none() {
        return;
    }
    let host = machine::host_ip(number);
    let pod_address = if pod.spec.host_network { &host } else { address };
    let addresses = Addresses {
        host: &host,
        pod: pod_address,
    };
    life.look_at_fields(pod, &addresses);
}

/// Does the API server show another readiness than the node has, or not what it says of a resize?
fn has_drifted(life: &PodLife, pod: &PodObject, shown_ready: bool) -> bool {
    let containers = life
        .containers
        .iter()
        .filter(|c| c.role == Role::Main)
        .all(|c| c.is_ready);
    let gates = pod
        .spec
        .readiness_gates
        .iter()
        .all(|gate| pod.is_true(&gate.condition_type) == Some(true));
    let serves = !matches!(life.phase(), "Succeeded" | "Failed");
    let shows_pending = pod.is_true(RESIZE_PENDING).is_some();
    (containers && gates && serves) != shown_ready || life.infeasible.is_some() != shows_pending
}

fn remaining_grace(pod: &PodObject, now: Timestamp) -> Duration {
    let due = pod.metadata.deletion_timestamp.map(|at| at.duration_since(now));
    due.and_then(|due| Duration::try_from(due).ok())
        .map_or(Duration::ZERO, |due| due.min(pod.grace()))
}
