//! List and watch through a `kube::Client`, for the controllers and nodes of this crate.
