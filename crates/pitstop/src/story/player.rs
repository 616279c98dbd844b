//! Plays a story, with nothing but API requests: each of them could be made by a user of the kubeconfig.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::Node;
use kube::Client;
use kube::api::{Api, Patch, PatchParams, PostParams};
use pitstop_api::keys;
use pitstop_engine::plan::Reason;
use serde_json::json;
use tokio::time::Instant;

use super::view::View;
use super::{Plot, Story};
use crate::cli::node::{Network, is_ready, set_network};
use crate::cli::shell::hub_of;
use crate::failure;
use crate::hub_client::HubClient;
use crate::rollout::{self, Rollout};

/// The namespace of the stories.
const NAMESPACE: &str = "default";
/// How often the state is read.
const LOOK_EVERY: Duration = Duration::from_millis(100);
/// A step that takes longer than this will not come to an end.
const STEP_LIMIT: Duration = Duration::from_secs(45);

/// Plays one story.
pub struct Player<'a> {
    client: Client,
    story: &'a Story,
    view: View,
    started: Instant,
    /// Most pods that were unavailable at once on nodes that answer, and how many were allowed.
    most_down: (u32, u32),
}

/// How a story ended.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Summary {
    /// Node, pod at the beginning, pod at the end.
    pub pods: Vec<(String, String, String)>,
    /// Most pods that were unavailable at once on nodes that answer.
    pub most_down: u32,
    /// How many were allowed.
    pub allowed: u32,
    /// Units: seconds.
    pub seconds: u64,
}

impl<'a> Player<'a> {
    /// A player that talks to the cluster of this client.
    pub fn new(client: Client, story: &'a Story, view: View) -> Self {
        Self {
            client,
            story,
            view,
            started: Instant::now(),
            most_down: (0, 0),
        }
    }

    /// Plays from beginning to end.
    ///
    /// # Errors
    /// The API server refuses a request, or a step does not come to an end.
    pub async fn play(mut self) -> anyhow::Result<Summary> {
        self.wait_for_nodes(&self.story.nodes.clone(), true).await?;
        let before = self.apply().await?;
        if self.story.plot == Plot::Auto {
            self.cut_off().await?;
        }
        let old_target = before.target.clone();
        self.set_image().await?;
        let is_new = move |now: &Rollout| now.target.is_some() && now.target != old_target;
        if self.story.plot == Plot::Ota {
            self.owners_decide(&is_new).await?;
        }
        if self.story.plot == Plot::Auto {
            let n_away = u32::try_from(self.story.cut_off.len()).unwrap_or(u32::MAX);
            let frozen = self
                .watch_until("the nodes that answer are upgraded", |now| {
                    is_new(now) && now.is_done_where_reachable() && now.updated + n_away == now.nodes
                })
                .await?;
            self.explain(&frozen);
            self.reconnect().await?;
        }
        let after = self
            .watch_until("every node is upgraded", |now| {
                is_new(now) && now.is_done() && now.updated == now.nodes
            })
            .await?;
        let summary = self.summary(&before, &after);
        self.tell(&summary);
        Ok(summary)
    }

    async fn apply(&mut self) -> anyhow::Result<Rollout> {
        let (name, image) = (self.story.name, self.story.old_image);
        self.view.step(
            &format!("Create daemonset {name} with image {image}"),
            &format!("kubectl apply -f {name}.yaml"),
        );
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), NAMESPACE);
        let object = serde_json::from_value(self.story.manifest()).context("making the DaemonSet")?;
        api.create(&PostParams::default(), &object)
            .await
            .context("creating the DaemonSet")?;
        let n_nodes = u32::try_from(self.story.nodes.len()).unwrap_or(u32::MAX);
        let rollout = self
            .watch_until("every node runs its pod", |now| {
                now.is_done() && now.updated == n_nodes
            })
            .await?;
        // The start of a workload is no disruption.
        self.most_down = (0, 0);
        Ok(rollout)
    }

    async fn set_image(&mut self) -> anyhow::Result<()> {
        let Story {
            name,
            container,
            new_image,
            ..
        } = self.story;
        self.view.step(
            &format!("Upgrade to {new_image}"),
            &format!("kubectl set image ds/{name} {container}={new_image}"),
        );
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = json!({"spec": {"template": {"spec": {"containers": [{"name": container, "image": new_image}]}}}});
        api.patch(name, &PatchParams::default(), &Patch::Strategic(&patch))
            .await
            .context("setting the image")?;
        Ok(())
    }

    /// Every owner asks for the upgrade, one of them while the node is cut off.
    async fn owners_decide(&mut self, is_new: &impl Fn(&Rollout) -> bool) -> anyhow::Result<()> {
        let waits = self
            .watch_until("every pod waits for the owner of its node", |now| {
                let waiting = now
                    .waiting()
                    .filter(|(_, waiting)| waiting.detail == Reason::WaitingForOwner);
                is_new(now) && waiting.count() == now.pods.len()
            })
            .await?;
        self.explain(&waits);
        let cut_off = self.story.cut_off.clone();
        let near = self.story.nodes.iter().filter(|node| !cut_off.contains(node));
        for (n_done, node) in (1..).zip(near.cloned().collect::<Vec<_>>()) {
            self.view.step(
                &format!("The owner of {node} lets it in"),
                &request(&waits, &node),
            );
            self.ask(&waits, &node).await?;
            self.watch_until("the pod is replaced", |now| {
                now.updated == n_done && now.unavailable == 0
            })
            .await?;
        }
        self.cut_off().await?;
        for node in &cut_off {
            self.view.step(
                &format!("The owner of {node} lets it in as well, although the node is cut off"),
                &request(&waits, node),
            );
            self.ask(&waits, node).await?;
        }
        self.reconnect().await?;
        self.view
            .say("  The hub carries out what it kept, within a few seconds");
        Ok(())
    }

    async fn ask(&mut self, rollout: &Rollout, node: &str) -> anyhow::Result<()> {
        let hub = hub_of(self.client.clone(), node).await?;
        let path = pitstop_hub::upgrade_path(NAMESPACE, pod_on(rollout, node));
        let (code, said) = HubClient::new(&hub.to_string())?.post_as_curl(&path).await?;
        self.view.say(&format!("  {said}"));
        if code.is_success() {
            return Ok(());
        }
        Err(failure::failed(
            format!("the hub of {node} answered {code}"),
            "run it again with --log info to see what the hubs did",
        ))
    }

    async fn cut_off(&mut self) -> anyhow::Result<()> {
        let names = self.story.cut_off.clone();
        let grace = self.story.node_grace().as_secs();
        let title = format!("The cluster notices after {grace}s of silence. Cut the network of");
        self.switch(&title, &names, Network::Disconnected).await
    }

    async fn reconnect(&mut self) -> anyhow::Result<()> {
        let names = self.story.cut_off.clone();
        self.switch("Restore the network of", &names, Network::Connected)
            .await
    }

    async fn switch(&mut self, what: &str, names: &[String], network: Network) -> anyhow::Result<()> {
        let list = names.join(" ");
        self.view.step(
            &format!("{what} {}", names.join(" and ")),
            &format!(
                "kubectl annotate --overwrite node {list} {}={}",
                keys::SIM_NETWORK,
                network.as_str()
            ),
        );
        for name in names {
            set_network(&self.client, name, network)
                .await
                .with_context(|| format!("annotating node {name}"))?;
        }
        self.wait_for_nodes(names, network == Network::Connected).await?;
        if network == Network::Disconnected {
            // The last look was before the change.
            self.watch_until("nodes are shown as they are", |now| {
                let shown = now.pods.iter().filter(|row| !row.node_ready).count();
                shown >= names.len()
            })
            .await?;
        }
        Ok(())
    }

    async fn wait_for_nodes(&mut self, names: &[String], want_ready: bool) -> anyhow::Result<()> {
        let api: Api<Node> = Api::all(self.client.clone());
        let deadline = Instant::now() + STEP_LIMIT;
        loop {
            let mut all = true;
            for name in names {
                let node = api.get_opt(name).await.context("reading a node")?;
                all &= node.is_some_and(|node| is_ready(&node) == want_ready);
            }
            if all {
                return Ok(());
            }
            let word = if want_ready { "Ready" } else { "NotReady" };
            self.look(deadline, &format!("nodes are {word}")).await?;
        }
    }

    async fn watch_until(
        &mut self,
        what: &str,
        is_reached: impl Fn(&Rollout) -> bool,
    ) -> anyhow::Result<Rollout> {
        let deadline = Instant::now() + STEP_LIMIT;
        loop {
            if let Some(rollout) = self.look(deadline, what).await?
                && is_reached(&rollout)
            {
                return Ok(rollout);
            }
        }
    }

    /// Reads the state, shows it, and rests. `None`: the DaemonSet is not there yet.
    async fn look(&mut self, deadline: Instant, what: &str) -> anyhow::Result<Option<Rollout>> {
        if Instant::now() > deadline {
            return Err(failure::timed_out(
                format!("waited {}s until {what}", STEP_LIMIT.as_secs()),
                "run it again with --log info to see what the controllers did",
            ));
        }
        let api: Api<DaemonSet> = Api::namespaced(self.client.clone(), NAMESPACE);
        let exists = api
            .get_opt(self.story.name)
            .await
            .context("reading the DaemonSet")?
            .is_some();
        let rollout = if exists {
            let rollout = rollout::fetch(&self.client, NAMESPACE, self.story.name).await?;
            if rollout.unavailable >= self.most_down.0 {
                self.most_down = (rollout.unavailable, rollout.limit);
            }
            self.view.show(&rollout);
            Some(rollout)
        } else {
            None
        };
        tokio::time::sleep(LOOK_EVERY).await;
        Ok(rollout)
    }

    fn explain(&mut self, rollout: &Rollout) {
        self.view.step(
            "Nothing more can be done now, and every pod that waits says why",
            &format!("pitstop why ds/{}", self.story.name),
        );
        for (row, waiting) in rollout.waiting() {
            let pod = row.pod.as_deref().unwrap_or("<none>");
            self.view.say(&format!(
                "  pod/{pod} waits ({}): {}",
                waiting.reason, waiting.explanation
            ));
        }
    }

    fn summary(&self, before: &Rollout, after: &Rollout) -> Summary {
        let by_node = |rollout: &Rollout| -> BTreeMap<String, String> {
            rollout
                .pods
                .iter()
                .filter_map(|row| Some((row.node.clone()?, row.pod.clone()?)))
                .collect()
        };
        let (old, new) = (by_node(before), by_node(after));
        Summary {
            pods: new
                .into_iter()
                .map(|(node, pod)| {
                    let old = old.get(&node).cloned().unwrap_or_else(|| "<none>".to_owned());
                    (node, old, pod)
                })
                .collect(),
            most_down: self.most_down.0,
            allowed: self.most_down.1,
            seconds: self.started.elapsed().as_secs(),
        }
    }

    fn tell(&mut self, summary: &Summary) {
        self.view.finish();
        for line in summary.lines(self.story) {
            self.view.say(&line);
        }
    }
}

/// What the owner of a node types there.
fn request(rollout: &Rollout, node: &str) -> String {
    let path = pitstop_hub::upgrade_path(NAMESPACE, pod_on(rollout, node));
    format!("curl -X POST http://{}{path}   # on {node}", pitstop_hub::ADDRESS)
}

/// The pod of a node.
fn pod_on<'a>(rollout: &'a Rollout, node: &str) -> &'a str {
    let mut pods = rollout.pods.iter();
    let row = pods.find(|row| row.node.as_deref() == Some(node));
    row.and_then(|row| row.pod.as_deref()).unwrap_or_default()
}

impl Summary {
    /// The summary as lines.
    pub fn lines(&self, story: &Story) -> Vec<String> {
        let n = self.pods.len();
        let mut lines = vec![
            String::new(),
            format!(
                "Done in {}s: {n} of {n} pods run {}",
                self.seconds, story.new_image
            ),
        ];
        let width = self
            .pods
            .iter()
            .map(|(node, ..)| node.len())
            .max()
            .unwrap_or_default();
        for (node, old, new) in &self.pods {
            lines.push(format!("  {node:width$}  {old} -> {new}"));
        }
        if story.plot == Plot::Ota {
            lines.push(
                "  each when the owner of its node said so; one request was kept while its node was cut off"
                    .to_owned(),
            );
        } else {
            lines.push(format!(
                "  at most {} of {} allowed pods unavailable at once on nodes that answer",
                self.most_down, self.allowed
            ));
        }
        if story.plot == Plot::Auto {
            lines.push(format!(
                "  {} nodes were away: they cost no budget, and caught up by themselves when they returned",
                story.cut_off.len()
            ));
        }
        lines.push("Every step was a request that kubectl or curl could have made; the nodes are simulated and ran no containers".to_owned());
        lines.push("Try it by hand: pitstop up".to_owned());
        lines
    }
}
