//! A Kubernetes-compatible API server with simulated nodes, in one process.
//!
//! A library first: [`Cluster::start`] gives a [`kube::Client`] that talks to it without a socket, and
//! [`Cluster::serve`] adds HTTPS for `kubectl`. Its nodes run no containers. It knows nothing of pitstop's controllers.
//!
//! | module | what is there |
//! |---|---|
//! | [`kinds`] | the table of kinds: one entry each, with its defaults, validation and printed columns |
//! | `schema` | field tables of the built-in kinds: strict decoding, protobuf, merge keys |
//! | `store` | objects as bytes, one global resourceVersion, watch history, durability |
//! | `access` | who may do what: roles, nodes, tokens |
//! | `admission` | webhooks: who is asked about a write, what, and what the answer means |
//! | `webhook` | calls to programs of others |
//! | `custom` | kinds that definitions bring: schemas, validation, columns |
//! | `api` | HTTP: verbs, lists, watches, patches, discovery, status errors |
//! | [`apply`] | server-side apply: who owns which field |
//! | [`builtin`] | scheduler, node lifecycle, garbage collection, namespaces, service accounts, pod GC |
//! | [`node`] | the simulated nodes, ordinary clients of any API server |

mod access;
mod admission;
mod alike;
mod api;
pub mod apply;
mod broken;
pub mod builtin;
mod clock;
mod cluster;
mod custom;
pub mod informer;
pub mod kinds;
pub mod node;
pub mod patch;
mod pipe;
pub mod schema;
mod serve;
mod store;
mod webhook;

pub use access::Authorization;
#[cfg(feature = "broken")]
pub use broken::Defect;
pub use clock::VirtualClock;
pub use cluster::{Cluster, Config, Error};
pub use serve::{ServeConfig, ServeError, Serving};
pub use store::OpenError;
pub use webhook::inside::WebhookService;
