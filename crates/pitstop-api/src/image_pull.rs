//! Rules of ImagePullJobs and NodeImages that admission and decisions share. Pure: what is stored elsewhere is handed in.
//!
//! An ImagePullJob asks for an image on nodes; a NodeImage, one a node, lists the images that its node is to pull, and
//! says how far it is. Source: inplace.md 11.

use serde_json::Value;

use crate::fields::text;

pub mod defaults;
pub mod definition;
pub mod protection;
pub mod reference;
pub mod validation;

pub use reference::{MalformedReference, Reference};

/// The API group.
pub const GROUP: &str = "apps.kruise.io";
/// `apiVersion` of the stored objects.
pub const API_VERSION: &str = "apps.kruise.io/v1beta1";
/// The versions, the older first. They differ in nothing but their name.
pub const VERSIONS: [&str; 2] = ["v1alpha1", "v1beta1"];
/// Where the controllers copy the secrets of jobs to, for the agents on the nodes. Source: inplace.md 11.3.
pub const SECRETS_NAMESPACE: &str = "kruise-daemon-config";

/// How long one attempt to pull may take where a job does not say. Units: seconds. Source: inplace.md 11.3.
pub const TIMEOUT_SECONDS: u32 = 600;
/// How often a pull is tried again where a job does not say. Source: inplace.md 11.3.
pub const BACKOFF_LIMIT: i32 = 3;
/// Images that a NodeImage lists at most. Source: inplace.md 11.4.
pub const MOST_IMAGES: usize = 256;

/// One of the two kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Kind {
    /// `ImagePullJob`, in a namespace.
    Job,
    /// `NodeImage`, of the name of its node.
    NodeImage,
}

impl Kind {
    /// Both.
    pub const ALL: [Self; 2] = [Self::Job, Self::NodeImage];

    /// The kind of an object; `None` for any other, and for versions that are not known.
    pub fn of_object(object: &Value) -> Option<Self> {
        let (group, version) = text(object, "/apiVersion").split_once('/')?;
        let is_known = group == GROUP && VERSIONS.contains(&version);
        let kind = text(object, "/kind");
        Self::ALL
            .into_iter()
            .find(|known| known.name() == kind && is_known)
    }

    /// `kind`.
    pub fn name(self) -> &'static str {
        match self {
            Self::Job => "ImagePullJob",
            Self::NodeImage => "NodeImage",
        }
    }

    /// Plural name, as in paths.
    pub fn plural(self) -> &'static str {
        match self {
            Self::Job => "imagepulljobs",
            Self::NodeImage => "nodeimages",
        }
    }

    /// Singular name.
    pub fn singular(self) -> &'static str {
        match self {
            Self::Job => "imagepulljob",
            Self::NodeImage => "nodeimage",
        }
    }
}
