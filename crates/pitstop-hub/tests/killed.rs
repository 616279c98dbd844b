//! A hub that is killed from outside at every system call of its log keeps its word.
//!
//! The hub is this very test program, started again with its one `#[test]` that is a hub; variables of the environment
//! tell it that it was meant. The API server is in this process and speaks HTTP.
//!
//! Source: hub.md B7, B12 (SIGKILL at any instant); design.md S4, S9.
#![allow(
    clippy::unwrap_used,
    clippy::unwrap_in_result,
    clippy::panic,
    clippy::print_stdout,
    reason = "a test fails by panicking, and a hub under test tells its parent where it is"
)]

#[path = "killed/budget.rs"]
mod budget;
#[path = "killed/child.rs"]
mod child;
#[allow(dead_code, reason = "shared with the suite `hub`, which uses more of it")]
#[path = "hub/client.rs"]
mod client;
#[allow(dead_code, reason = "shared with the suite `hub`, which uses more of it")]
#[path = "hub/fake.rs"]
mod fake;
#[path = "killed/points.rs"]
mod points;
#[path = "killed/server.rs"]
mod server;
