//! Simulated nodes: ordinary clients of any API server.
