//! Requests as they go over the wire, against a scripted API server.

#![allow(clippy::unwrap_used, reason = "a test that cannot go on fails")]

mod clonesets;
mod executor;
mod executor_doubts;
mod fetch;
mod kube_api;
mod lease;
mod lease_model;
mod loops;
mod rights;
mod scripted;
mod statefulsets;
mod store;
mod triggers;
