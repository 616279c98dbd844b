//! Images that somebody beside the kubelet has a node pull.

use std::sync::Arc;

use pitstop_api::image_pull::Reference;
use tokio::sync::oneshot;
use tokio::time::Instant;

use super::super::images::{PullError, Pulled, Wish};
use super::super::pod_life::Images as _;
use super::super::profile::Profile;
use super::images::NodeImages;
use super::{Kubelets, LISTED_IMAGES, Machine, Timer};

/// Where the end of a pull is told.
type Answer = oneshot::Sender<Result<Pulled, PullError>>;

/// A pull under way.
pub(super) struct Pull {
    wish: Wish,
    answer: Answer,
}

impl Kubelets {
    pub(super) fn on_pull(&mut self, wish: Wish, answer: Answer) {
        let Some(machine) = self.machines.get_mut(&wish.node) else {
            drop(answer.send(Err(PullError::Unreachable)));
            return;
        };
        let profile = machine.images().profile(&wish.image);
        if wish.unless_present && machine.has(&wish.image) {
            drop(answer.send(Ok(pulled(&wish.image, &profile))));
            return;
        }
        let took = profile.pull;
        let free_at = machine.pull_free_at.max(Instant::now());
        let done = free_at + self.scaled(took);
        if let Some(machine) = self.machines.get_mut(&wish.node) {
            machine.pull_free_at = done;
        }
        self.sequence = self.sequence.wrapping_add(1);
        let run = self.sequence;
        self.pulls.insert(run, Pull { wish, answer });
        self.at(done, Timer::Pull(run));
    }

    /// A pull is over: the image is there, unless nobody wants it any more.
    pub(super) fn on_pulled(&mut self, run: u64) {
        let Some(Pull { wish, answer }) = self.pulls.remove(&run) else {
            return;
        };
        let Some(machine) = self.machines.get_mut(&wish.node).filter(|_| !answer.is_closed()) else {
            return;
        };
        let image = &wish.image;
        let profile = machine.images().profile(image);
        let result = match profile.fail {
            Some(failure) => Err(PullError::Failed(failure.message(image))),
            None => {
                machine.images().cache(image);
                machine.is_dirty |= machine.images.len() <= LISTED_IMAGES;
                Ok(pulled(image, &profile))
            }
        };
        // Who asked may just have stopped waiting.
        let _ = answer.send(result);
        self.report_node(&wish.node);
    }
}

impl Machine {
    fn images(&mut self) -> NodeImages<'_> {
        NodeImages {
            rules: Arc::clone(&self.rules),
            cache: &mut self.images,
        }
    }

    /// Has it the image, under whichever name?
    fn has(&self, image: &str) -> bool {
        let normal = |image: &str| Reference::parse(image).ok();
        let wanted = normal(image);
        let mut cached = self.images.iter();
        cached.any(|(cached, _)| cached == image || (wanted.is_some() && normal(cached) == wanted))
    }
}

fn pulled(image: &str, profile: &Profile) -> Pulled {
    Pulled {
        id: format!("sha256:{}", profile.digest(image)),
    }
}
