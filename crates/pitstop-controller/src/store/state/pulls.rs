//! ImagePullJobs and NodeImages among the views.

use std::sync::Arc;

use pitstop_api::view::{ImagePullJobView, NodeImageView, Uid};

use super::State;
use super::write::is_as_new;
use crate::api::Resource;
use crate::store::change::{Change, Key};

impl State {
    /// The ImagePullJob of this name.
    pub fn image_pull_job(&self, key: &Key) -> Option<&Arc<ImagePullJobView>> {
        self.pull_jobs.get(key)
    }

    /// All ImagePullJobs, by namespace and name.
    pub fn image_pull_jobs(&self) -> impl Iterator<Item = (&Key, &Arc<ImagePullJobView>)> {
        self.pull_jobs.iter()
    }

    /// The ImagePullJobs of a workload, by name.
    pub fn image_pull_jobs_of(&self, controller: Uid) -> impl Iterator<Item = &ImagePullJobView> {
        let is_its =
            move |job: &&Arc<ImagePullJobView>| job.controller.is_some_and(|of| of.uid == controller);
        self.pull_jobs.values().filter(is_its).map(Arc::as_ref)
    }

    /// The NodeImage of a node.
    pub fn node_image(&self, node: &str) -> Option<&Arc<NodeImageView>> {
        self.node_images.get(node)
    }

    /// All NodeImages, by name.
    pub fn node_images(&self) -> impl Iterator<Item = &Arc<NodeImageView>> {
        self.node_images.values()
    }

    pub(super) fn put_pull_job(&mut self, view: Arc<ImagePullJobView>) -> Option<Change> {
        let key = Key::new(&view.namespace, &view.name);
        self.readable(Resource::ImagePullJobs, &key);
        let stored = self.pull_jobs.get(&key);
        if stored
            .is_some_and(|old| old.uid == view.uid && is_as_new(old.resource_version, view.resource_version))
        {
            return None;
        }
        let uid = view.uid;
        self.pull_jobs.insert(key.clone(), view);
        Some(Change::ImagePullJob {
            key,
            uid,
            is_gone: false,
        })
    }

    pub(super) fn remove_pull_job(&mut self, key: &Key) -> Option<Change> {
        let view = self.pull_jobs.remove(key)?;
        Some(Change::ImagePullJob {
            key: key.clone(),
            uid: view.uid,
            is_gone: true,
        })
    }

    pub(super) fn put_node_image(&mut self, view: Arc<NodeImageView>) -> Option<Change> {
        self.readable(Resource::NodeImages, &Key::new("", &view.name));
        let stored = self.node_images.get(&view.name);
        if stored
            .is_some_and(|old| old.uid == view.uid && is_as_new(old.resource_version, view.resource_version))
        {
            return None;
        }
        let before = self.node_images.insert(Arc::clone(&view.name), Arc::clone(&view));
        let after = Some(view);
        Some(Change::NodeImage { before, after })
    }

    pub(super) fn remove_node_image(&mut self, name: &str) -> Option<Change> {
        let before = Some(self.node_images.remove(name)?);
        Some(Change::NodeImage { before, after: None })
    }

    /// Takes out those of one of the two kinds that do not stay.
    pub(super) fn retain_pulls(&mut self, resource: Resource, stays: impl Fn(Uid, u64) -> bool) {
        if resource == Resource::ImagePullJobs {
            self.pull_jobs
                .retain(|_, job| stays(job.uid, job.resource_version));
        } else {
            self.node_images
                .retain(|_, image| stays(image.uid, image.resource_version));
        }
    }
}
