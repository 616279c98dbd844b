//! `pitstop demo`.

use std::net::{Ipv4Addr, SocketAddr};

use anyhow::Context as _;
use clap::Args;
use pitstop_cluster::Authorization;
use pitstop_cluster::builtin::Selection;

use crate::cli::Global;
use crate::embedded::{Embedded, NodeNames, Options};
use crate::hubs::Which;
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
        let story = Story::new(self.plot, self.nodes, self.image);
        let folder = std::env::temp_dir().join(format!("pitstop-demo-{}", std::process::id()));
        let kubeconfig = folder.join("kubeconfig");
        let embedded = Embedded::start(Options {
            data: None,
            addr: SocketAddr::from((Ipv4Addr::LOCALHOST, 0)),
            node_grace: story.node_grace(),
            time_scale: story.time_scale(),
            cluster_controllers: Selection::all(),
            controllers: true,
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
            interrupted = tokio::signal::ctrl_c() => {
                interrupted.context("listening for Ctrl-C")?;
                Err(failure::failed("stopped before its end", "run `pitstop demo` again to see the rest"))
            }
        };
        embedded.stop().await;
        std::fs::remove_dir_all(&folder).with_context(|| format!("removing {}", folder.display()))?;
        played
    }
}
