//! What a user sees, from outside: the real kubectl and the real `pitstop` against a cluster that is served over TLS.
//!
//! `PITSTOP_E2E_KUBECONFIG=FILE` runs the stories of the seeds against that API server, with simulated nodes and
//! pitstop's controllers attached, one at a time: `cargo test --test e2e seed_ -- --test-threads 1`. Without kubectl the
//! suite says that it did not run; `PITSTOP_REQUIRE_KUBECTL=1` makes that a failure.
#![allow(
    clippy::unwrap_used,
    clippy::panic,
    reason = "a test that cannot go on has failed"
)]

mod access;
mod apply;
mod audit;
mod auto;
mod background;
mod certificate;
mod claims;
mod clients;
mod cloneset;
mod commands;
mod containers;
mod control_plane;
mod crds;
mod demo;
mod edge_rollouts;
mod held_daemons;
mod in_place_daemons;
mod inplace;
mod kruise_daemons;
mod nodes;
mod objects;
mod ota;
mod others;
mod owners;
mod plan;
mod predownload;
mod protection;
mod proxy;
mod real;
mod reasons;
mod rolling;
mod seed_002;
mod seed_004;
mod skewed;
mod stateful;
mod up;
mod verbs;
mod workloads;
mod world;
