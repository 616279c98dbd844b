//! Images are pulled before the containers that need them restart.
//!
//! A workload whose images change asks for ImagePullJobs ([`trigger`]). A job picks nodes, writes what it wants into their
//! NodeImages and counts what they report ([`job`]). The agent of a node pulls what its NodeImage lists ([`agent`]), and a
//! controller keeps one NodeImage for each node and takes out what nobody wants any more ([`node`]). What is taken out is
//! the wish: images themselves are never deleted.
//!
//! Source: inplace.md 11, 13.16-18.

pub mod agent;
pub mod job;
pub mod node;
mod patch;
pub mod secret;
pub mod status;
pub mod throttle;
pub mod trigger;
