//! What can be asked of a running container from outside: its log, and a command run in it.
//!
//! Questions go to the loop that plays the nodes, and are answered there: it alone knows what runs.
//!
//! Source: embedded-cluster.md 10.6, 10.7.

mod files;
mod shell;

use std::collections::BTreeMap;

use jiff::Timestamp;
use pitstop_api::view::Uid;
use tokio::sync::{mpsc, oneshot, watch};

use super::containers::{PodName, Runs};
use super::images::{PullError, Pulled, Wish};

pub(super) use self::files::{Files, INDEX_PAGE, normal};
pub(super) use self::shell::{Inside, Said, is_shell};

/// Questions that wait at most; those who ask more wait.
const QUEUE: usize = 64;

/// A container by its names.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Place {
    pub(super) namespace: String,
    pub(super) pod: String,
    pub(super) container: String,
}

/// Why there is no answer.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(super) enum Refusal {
    /// The node is cut off, so that nothing comes back; or it is not played any more.
    #[error("the node does not answer")]
    Unreachable,
    /// No such pod runs here.
    #[error("pod \"{0}\" not found")]
    NoPod(String),
    /// The pod has no such container.
    #[error("container {container} is not valid for pod {pod}")]
    NoContainer { pod: String, container: String },
    /// It has not started yet.
    #[error("container \"{container}\" in pod \"{pod}\" is waiting to start: {reason}")]
    Waiting {
        pod: String,
        container: String,
        reason: &'static str,
    },
    /// It does not run.
    #[error("container not found (\"{0}\")")]
    NotRunning(String),
    /// It never ended before.
    #[error("previous terminated container \"{container}\" in pod \"{pod}\" not found")]
    NoPrevious { pod: String, container: String },
}

/// A line of a log.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Line {
    pub(super) at: Timestamp,
    pub(super) text: String,
}

/// The log of one run of a container.
#[derive(Debug)]
pub(super) struct Log {
    pub(super) lines: Vec<Line>,
    /// Which run: another number is another one.
    pub(super) run: (Uid, u32),
    /// Nothing will follow.
    pub(super) is_over: bool,
    /// Tells that the log may have changed.
    pub(super) changes: watch::Receiver<Ends>,
}

/// What runs that have ended left, by container: the number of the run, and its whole log. Who follows a log reads its
/// end here, also when the pod is gone before it can ask.
pub(super) type Ends = BTreeMap<String, (u32, Vec<Line>)>;

/// A question, with where its answer goes.
#[derive(Debug)]
pub(super) enum Question {
    Pull {
        wish: Wish,
        answer: oneshot::Sender<Result<Pulled, PullError>>,
    },
    Run {
        place: Place,
        command: Vec<String>,
        answer: oneshot::Sender<Result<Said, Refusal>>,
    },
    Log {
        place: Place,
        previous: bool,
        answer: oneshot::Sender<Result<Log, Refusal>>,
    },
    Inspect {
        place: Place,
        answer: oneshot::Sender<Result<Runs, Refusal>>,
    },
    Stop {
        place: Place,
        id: String,
        answer: oneshot::Sender<Result<(), Refusal>>,
    },
    /// Whoever asks is told of these pods from now on.
    PodsThatShowMetadata { told: mpsc::UnboundedSender<PodName> },
}

/// Asks the loop that plays the nodes.
#[derive(Debug, Clone)]
pub(super) struct Visitor {
    questions: mpsc::Sender<Question>,
}

impl Visitor {
    /// With the other end for the loop.
    pub(super) fn new() -> (Self, mpsc::Receiver<Question>) {
        let (questions, receiver) = mpsc::channel(QUEUE);
        (Self { questions }, receiver)
    }

    /// Runs a command in a container.
    pub(super) async fn run(&self, place: &Place, command: Vec<String>) -> Result<Said, Refusal> {
        let place = place.clone();
        self.ask(|answer| Question::Run {
            place,
            command,
            answer,
        })
        .await
    }

    /// The log of the current run of a container, or of the one before.
    pub(super) async fn log(&self, place: &Place, previous: bool) -> Result<Log, Refusal> {
        let place = place.clone();
        self.ask(|answer| Question::Log {
            place,
            previous,
            answer,
        })
        .await
    }

    /// What runs in a container.
    pub(super) async fn inspect(&self, place: &Place) -> Result<Runs, Refusal> {
        let place = place.clone();
        self.ask(|answer| Question::Inspect { place, answer }).await
    }

    /// Stops the container with this ID.
    pub(super) async fn stop(&self, place: &Place, id: &str) -> Result<(), Refusal> {
        let (place, id) = (place.clone(), id.to_owned());
        self.ask(|answer| Question::Stop { place, id, answer }).await
    }

    /// Pods whose containers show their metadata, now and whenever one changes.
    pub(super) async fn pods_that_show_metadata(&self) -> mpsc::UnboundedReceiver<PodName> {
        let (told, pods) = mpsc::unbounded_channel();
        // Without nodes there are no pods, and the channel is closed.
        let _ = self.questions.send(Question::PodsThatShowMetadata { told }).await;
        pods
    }

    /// Has a node pull an image. Who does not wait any more, gives it up.
    pub(super) async fn pull(&self, wish: Wish) -> Result<Pulled, PullError> {
        let (answer, answered) = oneshot::channel();
        let sent = self.questions.send(Question::Pull { wish, answer }).await;
        sent.map_err(|_| PullError::Unreachable)?;
        answered.await.unwrap_or(Err(PullError::Unreachable))
    }

    async fn ask<T>(
        &self,
        question: impl FnOnce(oneshot::Sender<Result<T, Refusal>>) -> Question,
    ) -> Result<T, Refusal> {
        let (answer, answered) = oneshot::channel();
        let sent = self.questions.send(question(answer)).await;
        sent.map_err(|_| Refusal::Unreachable)?;
        answered.await.unwrap_or(Err(Refusal::Unreachable))
    }
}
