//! `pitstop demo`.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use clap::Args;
use pitstop_cluster::Authorization;
use pitstop_cluster::builtin::Selection;
use tokio::signal::unix::{SignalKind, signal};

use crate::cli::Global;
use crate::cli::gates::Gates;
use crate::embedded::{Embedded, NodeNames, Options};
use crate::hubs::Which;
use crate::scratch::Scratch;
use crate::story::player::Player;
use crate::story::view::View;
use crate::story::{Plot, Story};
use crate::{failure, kubeconfig_file, output};

/// Watch a rollout story from beginning to end, in under a minute
///
/// Starts a cluster in memory, and then does nothing that you could not do through its kubeconfig. The nodes are
/// simulated and their time runs faster.
#[derive(Debug, Args)]
pub struct Demo {
    /// Which story
    #[arg(value_name = "STORY", default_value = "auto")]
    pub plot: Plot,
    /// How many nodes run the workload [default: as in the story]
    #[arg(
        long,
        value_name = "N",
        env = "PITSTOP_DEMO_NODES",
        hide_env = true,
        value_parser = clap::value_parser!(u32).range(2..=20)
    )]
    pub nodes: Option<u32>,
    /// The image to upgrade to [default: as in the story]
    #[arg(long, value_name = "IMAGE", env = "PITSTOP_DEMO_IMAGE", hide_env = true)]
    pub image: Option<String>,
}

impl Demo {
    /// Plays the story.
    ///
    /// # Errors
    /// A step does not come to its end, or the API server refuses a request.
    pub async fn run(self, global: &Global) -> anyhow::Result<()> {
        let least = self.plot.least_nodes();
        if let Some(nodes) = self.nodes.filter(|nodes| *nodes < least) {
            return Err(failure::usage(
                format!("--nodes {nodes}: this story needs {least} nodes"),
                format!("give --nodes {least} or more"),
            ));
        }
        let story = Story::new(self.plot, self.nodes, self.image);
        // Signals are taken over before anything is started, so that one in between leaves nothing behind.
        let mut terminate = signal(SignalKind::terminate()).context("listening for SIGTERM")?;
        let mut interrupt = signal(SignalKind::interrupt()).context("listening for Ctrl-C")?;
        let folder = Scratch::new("demo")?;
        let kubeconfig = folder.path().join("kubeconfig");
        let embedded = Embedded::start(Options {
            data: None,
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            node_grace: story.node_grace(),
            time_scale: story.time_scale(),
            cluster_controllers: Selection::all(),
            controllers: true,
            gates: Gates::default(),
            nodes: NodeNames::Given(story.nodes.clone()),
            // On free ports: a cluster of the user may have the usual one.
            hubs: self.plot.has_hubs().then_some((Which::All, 0)),
            control_plane: story.control_plane.clone(),
            authorization: Authorization::AlwaysAllow,
        })
        .await?;
        kubeconfig_file::write(&kubeconfig, embedded.kubeconfig())?;
        output::data(&format!(
            "Watch along in another terminal:\n  kubectl --kubeconfig {} get pods -o wide -w",
            kubeconfig.display()
        ))?;
        let player = Player::new(embedded.client(), &story, View::new(!global.no_color));
        let played = tokio::select! {
            played = player.play() => played.map(drop),
            _ = interrupt.recv() => Err(stopped()),
            _ = terminate.recv() => Err(stopped()),
        };
        embedded.stop().await;
        played
    }
}

fn stopped() -> anyhow::Error {
    failure::failed(
        "stopped before its end",
        "run `pitstop demo` again to see the rest",
    )
}
