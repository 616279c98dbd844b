//! The hub over real HTTP on loopback, with an API server of memory behind it.
#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    reason = "a test fails by panicking"
)]

#[path = "hub/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with other suites, which use more of it")]
#[path = "hub/fake.rs"]
mod fake;
#[path = "hub/fuzzed.rs"]
mod fuzzed;
#[path = "hub/guards.rs"]
mod guards;
#[allow(
    dead_code,
    reason = "shared with tests inside of the crate, which use more of it"
)]
#[path = "fuzz/mutate.rs"]
mod mutate;
#[path = "hub/neighbours.rs"]
mod neighbours;
#[path = "hub/offline.rs"]
mod offline;
#[path = "hub/online.rs"]
mod online;
#[path = "hub/rig.rs"]
mod rig;
#[path = "hub/stories.rs"]
mod stories;
#[path = "hub/wire.rs"]
mod wire;
