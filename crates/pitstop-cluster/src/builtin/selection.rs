//! Which of the controllers run: each can be left out, so that somebody else's runs in its place.
//!
//! Source: embedded-cluster.md 16. The names and the form of a list are those of kube-controller-manager's
//! `--controllers`.

use std::collections::BTreeSet;
use std::fmt;
use std::str::FromStr;

/// A controller that the cluster brings.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub enum Controller {
    /// Binds pods to nodes.
    Scheduler,
    /// Marks nodes that are silent, and evicts their pods.
    NodeLifecycle,
    /// Deletes what belongs to objects that are gone.
    GarbageCollector,
    /// Empties namespaces that are deleted.
    Namespace,
    /// Makes the service account and the certificate that every namespace has.
    ServiceAccount,
    /// Deletes pods of nodes that are gone, and of those that ended the oldest.
    PodGc,
    /// Deployments.
    Deployment,
    /// Replica sets.
    ReplicaSet,
    /// Jobs.
    Job,
    /// Disruption budgets.
    Disruption,
    /// Endpoints and their slices.
    Endpoints,
    /// Cluster roles that collect the rules of others.
    RoleAggregation,
    /// Brings claims and volumes together.
    PersistentVolumeBinder,
    /// Keeps claims that pods use.
    ClaimProtection,
    /// Keeps volumes that claims use.
    VolumeProtection,
}

impl Controller {
    /// All of them.
    pub const ALL: [Self; 15] = [
        Self::Scheduler,
        Self::NodeLifecycle,
        Self::GarbageCollector,
        Self::Namespace,
        Self::ServiceAccount,
        Self::PodGc,
        Self::Deployment,
        Self::ReplicaSet,
        Self::Job,
        Self::Disruption,
        Self::Endpoints,
        Self::RoleAggregation,
        Self::PersistentVolumeBinder,
        Self::ClaimProtection,
        Self::VolumeProtection,
    ];

    /// Its name, as upstream's programs have it.
    pub const fn name(self) -> &'static str {
        match self {
            Self::Scheduler => "scheduler",
            Self::NodeLifecycle => "node-lifecycle-controller",
            Self::GarbageCollector => "garbage-collector-controller",
            Self::Namespace => "namespace-controller",
            Self::ServiceAccount => "serviceaccount-controller",
            Self::PodGc => "pod-garbage-collector-controller",
            Self::Deployment => "deployment-controller",
            Self::ReplicaSet => "replicaset-controller",
            Self::Job => "job-controller",
            Self::Disruption => "disruption-controller",
            Self::Endpoints => "endpoints-controller",
            Self::RoleAggregation => "clusterrole-aggregation-controller",
            Self::PersistentVolumeBinder => "persistentvolume-binder-controller",
            Self::ClaimProtection => "persistentvolumeclaim-protection-controller",
            Self::VolumeProtection => "persistentvolume-protection-controller",
        }
    }
}

/// The controllers that run.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Selection(BTreeSet<Controller>);

impl Selection {
    /// Every controller.
    pub fn all() -> Self {
        Self(Controller::ALL.into_iter().collect())
    }

    /// No controller at all.
    pub const fn none() -> Self {
        Self(BTreeSet::new())
    }

    /// Does it run?
    pub fn has(&self, controller: Controller) -> bool {
        self.0.contains(&controller)
    }

    /// Does none run?
    pub fn is_empty(&self) -> bool {
        self.0.is_empty()
    }
}

impl Default for Selection {
    fn default() -> Self {
        Self::all()
    }
}

/// Why a list of controllers is none.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("there is no controller {name:?}; there are {}", known())]
pub struct UnknownController {
    name: String,
}

fn known() -> String {
    Controller::ALL.map(Controller::name).join(", ")
}

/// `*` is every controller, `NAME` that one, `-NAME` all that were named before but not that one. Nothing: none.
impl FromStr for Selection {
    type Err = UnknownController;

    fn from_str(list: &str) -> Result<Self, UnknownController> {
        let mut selected = Self::none();
        for item in list.split(',').map(str::trim).filter(|item| !item.is_empty()) {
            if item == "*" {
                selected = Self::all();
                continue;
            }
            let (name, is_out) = match item.strip_prefix('-') {
                Some(name) => (name, true),
                None => (item, false),
            };
            let found = Controller::ALL.into_iter().find(|known| known.name() == name);
            let controller = found.ok_or_else(|| UnknownController {
                name: name.to_owned(),
            })?;
            if is_out {
                selected.0.remove(&controller);
            } else {
                selected.0.insert(controller);
            }
        }
        Ok(selected)
    }
}

impl fmt::Display for Selection {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let names: Vec<&str> = self.0.iter().map(|controller| controller.name()).collect();
        f.write_str(&names.join(", "))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn lists_are_read_as_kube_controller_manager_reads_them() {
        let read = |list: &str| list.parse::<Selection>().unwrap().to_string();
        assert_eq!(read("job-controller,scheduler"), "scheduler, job-controller");
        assert_eq!(read("scheduler,job-controller,-scheduler"), "job-controller");
        assert_eq!(read(""), "");
        assert_eq!("*".parse(), Ok(Selection::all()));
        let rest = "*,-deployment-controller".parse::<Selection>().unwrap();
        assert!(!rest.has(Controller::Deployment) && rest.has(Controller::ReplicaSet));
    }

    #[test]
    fn a_name_that_does_not_exist_is_named_with_those_that_do() {
        let error = "*,-deployment".parse::<Selection>().unwrap_err().to_string();
        assert!(
            error.starts_with("there is no controller \"deployment\"; there are scheduler, node-lifecycle-"),
            "{error}"
        );
    }
}
