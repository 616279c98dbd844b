//! `pitstop pause` and `pitstop resume`.

use clap::Args;
use pitstop_api::{Clock as _, SystemClock, WorkloadKind};
use serde_json::Value;

use crate::cli::held;
use crate::cli::target::{NamespaceArgs, Workload};
use crate::connect::ConnectArgs;
use crate::output;
use crate::rollout::Found;

/// Which workload, and where.
#[derive(Debug, Args)]
pub struct PauseArgs {
    /// The workload, as ds/NAME, ads/NAME, clone/NAME or asts/NAME
    #[arg(value_name = "KIND/NAME")]
    pub name: Workload,
    /// Where to look.
    #[command(flatten)]
    pub scope: NamespaceArgs,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// Hold a rollout where it is
///
/// Pods that are being updated come to their end; no other begins. Scaling goes on.
#[derive(Debug, Args)]
pub struct Pause {
    /// Turn a DaemonSet that pitstop cannot hold into OnDelete with AdvancedRollingUpdate
    #[arg(long, env = "PITSTOP_CONVERT", hide_env = true)]
    pub convert: bool,
    /// Which.
    #[command(flatten)]
    pub which: PauseArgs,
}

/// Let a rollout go on that was paused, or was stopped
#[derive(Debug, Args)]
pub struct Resume {
    /// Which.
    #[command(flatten)]
    pub which: PauseArgs,
}

impl Pause {
    /// Holds it.
    ///
    /// # Errors
    /// The workload is not there or cannot be paused, or the API server refuses.
    pub async fn run(self) -> anyhow::Result<()> {
        self.which.set(true, self.convert).await
    }
}

impl Resume {
    /// Lets it go on.
    ///
    /// # Errors
    /// The workload is not there or cannot be paused, or the API server refuses.
    pub async fn run(self) -> anyhow::Result<()> {
        self.which.set(false, false).await
    }
}

impl PauseArgs {
    async fn set(&self, is_paused: bool, convert: bool) -> anyhow::Result<()> {
        let found = Found::at(&self.connect, &self.scope, &self.name).await?;
        if found.kind == WorkloadKind::DaemonSet {
            let edit = |object: &mut Value| held::set_paused(object, is_paused, SystemClock.now());
            // Where pitstop does not replace pods, nothing is held: there is nothing to prepare for that.
            let is_changed = if is_paused {
                held::change(&found, convert, edit).await?
            } else {
                found.change(edit).await?
            };
            return say(&found, is_changed, is_paused);
        }
        held::refuse_convert(&found, convert)?;
        let is_changed = found.change(|object| {
            let write = |object: &mut Value| {
                let rolling = &mut object["spec"]["updateStrategy"]["rollingUpdate"];
                // What is not there counts as false already.
                if rolling["paused"].as_bool().unwrap_or(false) != is_paused {
                    rolling["paused"] = is_paused.into();
                }
            };
            if is_paused {
                held::expect_rolling(object, &found.title(), write)?;
            }
            write(object);
            Ok(())
        });
        say(&found, is_changed.await?, is_paused)
    }
}

fn say(found: &Found, is_changed: bool, is_paused: bool) -> anyhow::Result<()> {
    let state = match (is_changed, is_paused) {
        (true, true) => "paused",
        (true, false) => "resumed",
        (false, true) => "is paused already",
        (false, false) => "is not paused",
    };
    output::data(&format!("{} {state}", found.title()))
}
