//! One of several processes of which one leads.

use std::net::SocketAddr;
use std::sync::Arc;

use tokio::task::JoinSet;

use super::{Config, Front, Manager, refuse_beside_native};
use crate::Error;
use crate::api::{Api, CallError, KubeApi};
use crate::lease::{HeldBy, Keeper, Turn, acquiring};

/// What a replica has come to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Phase {
    /// Somebody else leads; it takes over when the lease is free. Told once per wait.
    Waiting(HeldBy),
    /// The lease is ours and the controllers run.
    Leading,
    /// The lease is lost, all writes have stopped, and it waits again. Says why.
    Lost(String),
}

/// Controllers that run while their process holds the lease, and stand by otherwise. Health endpoints answer all the
/// time. Dropping it stops everything without giving the lease back.
pub struct Replica {
    raw_api: Arc<dyn Api>,
    config: Config,
    front: Front,
    health_addr: Option<SocketAddr>,
    tasks: JoinSet<Error>,
    state: State,
}

enum State {
    Waiting {
        keeper: Box<Keeper>,
        is_told: bool,
        /// Has it been here since the start of the process?
        is_first: bool,
    },
    Leading(Box<Manager>),
}

impl Replica {
    /// Starts to stand by against the API server of `client`. `config.takes_lease` is understood.
    ///
    /// The client should be made with `default_retry = false` ([`KubeApi`]).
    ///
    /// # Errors
    /// The cluster has a DaemonSet controller of its own, the API server cannot be reached to tell, or the health
    /// address is taken.
    pub async fn start(client: kube::Client, mut config: Config) -> Result<Self, Error> {
        config.learn_offers(&client).await;
        Self::start_on(Arc::new(KubeApi::new(client)), config).await
    }

    /// As [`Replica::start`], through any [`Api`]: this is where faults are put in.
    ///
    /// # Errors
    /// As [`Replica::start`].
    pub async fn start_on(raw_api: Arc<dyn Api>, mut config: Config) -> Result<Self, Error> {
        config.takes_lease = true;
        refuse_beside_native(raw_api.as_ref(), &config).await?;
        let mut tasks = JoinSet::new();
        let (front, health_addr) = Front::open(&config, &mut tasks).await?;
        let state = State::Waiting {
            keeper: keeper(&raw_api, &config, &front),
            is_told: false,
            is_first: true,
        };
        Ok(Self {
            raw_api,
            config,
            front,
            health_addr,
            tasks,
            state,
        })
    }

    /// Where the health endpoints are served.
    pub fn health_addr(&self) -> Option<SocketAddr> {
        self.health_addr
    }

    /// The controllers, while they run.
    pub fn manager(&self) -> Option<&Manager> {
        match &self.state {
            State::Leading(manager) => Some(manager),
            State::Waiting { .. } => None,
        }
    }

    /// Goes on until there is something to tell. The wait may be cancelled and begun again.
    ///
    /// # Errors
    /// The API server was never reached, it does not let us use the lease, or a task ended that must not.
    pub async fn next(&mut self) -> Result<Phase, Error> {
        tokio::select! {
            biased;
            Some(ended) = self.tasks.join_next() => Err(ended.unwrap_or_else(|cancelled| Error::TaskEnded {
                task: "a task".to_owned(),
                how: cancelled.to_string(),
            })),
            phase = advance(&self.raw_api, &mut self.config, &self.front, &mut self.state) => phase,
        }
    }

    /// Stops cleanly. Controllers that run finish what they are doing and give the lease back.
    pub async fn shutdown(self) {
        match self.state {
            State::Leading(manager) => manager.shutdown().await,
            // An attempt to take it may have succeeded without our knowledge.
            State::Waiting { mut keeper, .. } => keeper.release().await,
        }
    }
}

fn keeper(raw_api: &Arc<dyn Api>, config: &Config, front: &Front) -> Box<Keeper> {
    let clock = config.clock.clone();
    let keeper = Keeper::new(front.learning(raw_api), clock, &config.identity);
    Box::new(keeper.telling(&config.gates))
}

async fn advance(
    raw_api: &Arc<dyn Api>,
    config: &mut Config,
    front: &Front,
    state: &mut State,
) -> Result<Phase, Error> {
    match state {
        State::Waiting {
            keeper: waiting,
            is_told,
            is_first,
        } => {
            while waiting.permission().is_none() {
                stand_by(waiting, front, *is_first).await?;
                if let Some(held) = waiting.held_by().filter(|_| !*is_told) {
                    *is_told = true;
                    return Ok(Phase::Waiting(held));
                }
            }
            let (api, term) = (Arc::clone(raw_api), config.clone());
            let taken = std::mem::replace(waiting, keeper(raw_api, config, front));
            let manager = Manager::begin(api, term, Some(*taken), front.clone(), JoinSet::new());
            *state = State::Leading(Box::new(manager));
            Ok(Phase::Leading)
        }
        State::Leading(manager) => {
            let why = match manager.wait().await {
                Error::LeaseLost { why, .. } => why,
                error => return Err(error),
            };
            front.standing.starting();
            manager.abandon().await;
            // Names of a later term are other ones.
            config.seed = config.seed.wrapping_add(1);
            *state = State::Waiting {
                keeper: keeper(raw_api, config, front),
                is_told: false,
                is_first: false,
            };
            Ok(Phase::Lost(why))
        }
    }
}

/// One step of waiting. What passes is waited out, but an API server that was never seen, or that does not let us use
/// the lease, is told.
async fn stand_by(keeper: &mut Keeper, front: &Front, is_first: bool) -> Result<(), Error> {
    match keeper.turn().await {
        Turn::Done => {}
        Turn::Failed(error) if error.is_news() => {}
        Turn::Failed(error @ (CallError::Forbidden(_) | CallError::Refused(_))) => {
            return Err(acquiring(error));
        }
        Turn::Failed(error) if is_first && !keeper.has_seen() => return Err(acquiring(error)),
        Turn::Failed(error) => tracing::warn!(%error, "standing by: the lease could not be read"),
        Turn::Lost(loss) => tracing::debug!(%loss, "standing by"),
    }
    if keeper.has_seen() {
        front.standing.standing_by();
    }
    Ok(())
}
