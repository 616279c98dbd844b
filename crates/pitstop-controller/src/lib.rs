//! The shell around the decisions: fetches snapshots, asks the engine, carries out plans.
//!
//! | module | what is in it |
//! |---|---|
//! | [`api`] | the one door through which every request passes: requests as data, the gate that a lost lease closes |
//! | [`store`] | lean views of what the API serves, kept up to date by list and watch; what we wrote and have not seen yet |
//! | [`queue`] | which workload is looked at next |
//! | [`snapshot`] | what a decision is made from, borrowed from the stores |
//! | [`executor`] | a plan becomes requests |
//! | [`controllers`] | which changes touch which workloads, and the loop around one reconcile |
//! | [`events`] | events about workloads, aggregated |
//! | [`lease`] | only one controller at a time |
//! | [`metrics`] | what was done, for Prometheus; health and readiness |
//! | [`manager`] | all of it, started and stopped |
//! | [`webhook`] | admission and conversion of the kinds that pitstop brings |
//! | [`fetch`] | a snapshot by plain requests, for people who ask |
//!
//! Rely: only the DaemonSet's own controller and we change what we own; deletes of others are news.
//! Guarantee: nothing is written that carries another uid than the one that was decided on (S7), nothing is written
//! after the lease is lost, and an object that cannot be read freezes its workload rather than being acted on from
//! memory.

pub mod api;
pub mod controllers;
mod error;
pub mod events;
pub mod executor;
pub mod fetch;
pub mod lease;
pub mod manager;
pub mod metrics;
mod offers;
pub mod queue;
pub mod snapshot;
pub mod store;
pub mod webhook;

pub use api::{Api, Call, CallError, KubeApi};
pub use error::Error;
pub use lease::HeldBy;
pub use lease::native_daemonset_conflict;
pub use manager::replica::{Phase, Replica};
pub use manager::{Config, Controller, Manager};
