//! Plays a story, with nothing but API requests: each of them could be made by a user of the kubeconfig.

use std::collections::BTreeMap;
use std::time::Duration;

use anyhow::Context as _;
use k8s_openapi::api::apps::v1::DaemonSet;
use k8s_openapi::api::core::v1::{Node, Pod};
use kube::api::{Api, ListParams, Patch, PatchParams, PostParams};
use kube::core::GroupVersionKind;
use kube::discovery::ApiResource;
use kube::{Client, ResourceExt as _};
use pitstop_api::{WorkloadKind, keys};
use pitstop_engine::plan::Reason;
use serde_json::json;
use tokio::time::Instant;

use super::view::View;
use super::{Plot, Story, WORKING};
use crate::cli::node::{Network, is_ready, set_network};
use crate::cli::set::{Assignment, set_image};
use crate::cli::shell::hub_of;
use crate::failure;
use crate::hub_client::HubClient;
use crate::rollout::{self, PodRow, Rollout, WaitingFor};

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
    /// Instances that work, with how often their container had restarted when they began.
    busy: BTreeMap<String, i32>,
    /// How often an instance was seen at work, as it had begun.
    n_left_alone: usize,
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
    /// Pods that kept their uid, node and address while their container restarted; empty where pods are replaced.
    pub stayed: Vec<Stayed>,
    /// How often an instance worked while others were updated, and was not touched.
    pub n_left_alone: usize,
    /// Nodes that the new version took down.
    pub lost: Vec<String>,
    /// Units: seconds.
    pub seconds: u64,
}

/// A pod that stayed.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Stayed {
    /// Its name.
    pub pod: String,
    /// Its node.
    pub node: String,
    /// Its address.
    pub address: String,
    /// How often its container restarted.
    pub restarts: i32,
}

/// By what a pod is told from its successor: uid, node and address.
type Identity = (Option<String>, Option<String>, Option<String>);

impl<'a> Player<'a> {
    /// A player that talks to the cluster of this client.
    pub fn new(client: Client, story: &'a Story, view: View) -> Self {
        Self {
            client,
            story,
            view,
            started: Instant::now(),
            most_down: (0, 0),
            busy: BTreeMap::new(),
            n_left_alone: 0,
        }
    }

    /// Plays from beginning to end.
    ///
    /// # Errors
    /// The API server refuses a request, or a step does not come to an end.
    pub async fn play(mut self) -> anyhow::Result<Summary> {
        self.wait_for_nodes(&self.story.nodes.clone(), true).await?;
        let before = self.apply().await?;
        let stay = self.identities().await?;
        if self.story.plot == Plot::Auto {
            self.cut_off().await?;
        }
        if self.story.plot == Plot::Protect {
            self.turn(&[0, 2, 4], true).await?;
        }
        let old_target = before.target.clone();
        if self.story.plot == Plot::Canary {
            self.hold_to_canary().await?;
        }
        self.set_image(&self.story.new_image).await?;
        let is_new = move |now: &Rollout| now.target.is_some() && now.target != old_target;
        if self.story.plot == Plot::Ota {
            self.owners_decide(&is_new).await?;
        }
        if self.story.plot == Plot::Protect {
            self.turn_by_turn(&is_new).await?;
        }
        if self.story.plot == Plot::Auto {
            let n_away = u32::try_from(self.story.cut_off.len()).unwrap_or(u32::MAX);
            let frozen = self
                .watch_until("the nodes that answer are upgraded", |now| {
                    is_new(now) && now.is_done_where_reachable() && now.updated + n_away == now.desired
                })
                .await?;
            self.explain(&frozen);
            self.reconnect().await?;
        }
        if self.story.plot == Plot::Canary {
            self.promote(&is_new).await?;
        }
        let goes_back = self.story.plot == Plot::Guard;
        let lost = if goes_back {
            self.lose_nodes_and_go_back(&is_new).await?
        } else {
            Vec::new()
        };
        let after = self
            .watch_until("every pod is upgraded", |now| {
                is_new(now) != goes_back && now.is_done() && now.updated == now.desired
            })
            .await?;
        let mut summary = self.summary(&before, &after);
        summary.lost = lost;
        if [Plot::InPlace, Plot::Protect].contains(&self.story.plot) {
            summary.stayed = self.stayed(&stay).await?;
        }
        self.tell(&summary);
        Ok(summary)
    }

    async fn apply(&mut self) -> anyhow::Result<Rollout> {
        let (name, image) = (self.story.name, self.story.old_image);
        self.view.step(
            &format!("Create {} {name} with image {image}", self.story.kind.kind()),
            &format!("kubectl apply -f {name}.yaml"),
        );
        let manifest = self.story.manifest();
        let version = manifest["apiVersion"].as_str().unwrap_or_default();
        let (group, version) = version.split_once('/').unwrap_or_default();
        let kind = GroupVersionKind::gvk(group, version, self.story.kind.kind());
        let resource = ApiResource::from_gvk_with_plural(&kind, self.story.kind.plural());
        let object = serde_json::from_value(manifest).context("making the workload")?;
        Api::<kube::api::DynamicObject>::namespaced_with(self.client.clone(), NAMESPACE, &resource)
            .create(&PostParams::default(), &object)
            .await
            .context("creating the workload")?;
        let n_pods = self.story.n_pods();
        let rollout = self
            .watch_until("every pod runs", |now| now.is_done() && now.updated == n_pods)
            .await?;
        // The start of a workload is no disruption.
        self.most_down = (0, 0);
        Ok(rollout)
    }

    async fn set_image(&mut self, image: &str) -> anyhow::Result<()> {
        let Story {
            kind,
            name,
            container,
            ..
        } = self.story;
        let command = match kind {
            WorkloadKind::DaemonSet => format!("kubectl set image ds/{name} {container}={image}"),
            // kubectl knows the kinds that it was built with.
            WorkloadKind::AdvancedDaemonSet | WorkloadKind::CloneSet | WorkloadKind::StatefulSet => {
                format!("pitstop set image {}/{name} {container}={image}", kind.short())
            }
        };
        let what = if image == self.story.new_image {
            "Upgrade"
        } else {
            "Go back"
        };
        self.view.step(&format!("{what} to {image}"), &command);
        let images = [Assignment::new(container, image)];
        set_image(&self.client, *kind, NAMESPACE, name, &images).await?;
        Ok(())
    }

    /// Only the first node is updated from now on.
    async fn hold_to_canary(&mut self) -> anyhow::Result<()> {
        let node = self.story.nodes.first().cloned().unwrap_or_default();
        let selector = format!("kubernetes.io/hostname={node}");
        self.view.step(
            &format!("From now on update {node} only"),
            &format!(
                "pitstop canary start {} --nodes {selector}",
                self.story.workload()
            ),
        );
        self.set_canary(Some(&selector)).await
    }

    async fn set_canary(&self, selector: Option<&str>) -> anyhow::Result<()> {
        let patch = serde_json::json!({ "metadata": { "annotations": { (keys::CANARY_NODES): selector } } });
        Api::<DaemonSet>::namespaced(self.client.clone(), NAMESPACE)
            .patch(self.story.name, &PatchParams::default(), &Patch::Merge(patch))
            .await
            .context("annotating the workload")?;
        Ok(())
    }

    /// The canary is updated and serves; the others wait until it is promoted.
    async fn promote(&mut self, is_new: &impl Fn(&Rollout) -> bool) -> anyhow::Result<()> {
        let held = self
            .watch_until("the canary is updated", |now| {
                let waiting = now
                    .waiting()
                    .filter(|(_, waiting)| waiting.detail == Reason::Canary);
                let n_held = u32::try_from(waiting.count()).unwrap_or(u32::MAX);
                is_new(now) && now.updated == 1 && now.unavailable == 0 && n_held + 1 == now.desired
            })
            .await?;
        self.explain(&held);
        self.view.step(
            "It works: let it come to all nodes",
            &format!("pitstop canary promote {}", self.story.workload()),
        );
        self.set_canary(None).await
    }

    /// Every node that runs the new version falls silent, until the guard stops the rollout; then the nodes are switched on
    /// again, and the old version comes back. Returns those that were lost.
    async fn lose_nodes_and_go_back(
        &mut self,
        is_new: &impl Fn(&Rollout) -> bool,
    ) -> anyhow::Result<Vec<String>> {
        self.view
            .say("  In this story it takes its node down: each that runs it falls silent");
        let mut deadline = Instant::now() + STEP_LIMIT;
        let mut lost: Vec<String> = Vec::new();
        let mut is_held = false;
        let stopped = loop {
            let Some(now) = self.look(deadline, "the guard stops the rollout").await? else {
                continue;
            };
            if !is_new(&now) {
                continue;
            }
            for row in now.pods.iter().filter(|row| row.revision == now.target) {
                let runs = row.node_ready && row.state == "Ready";
                if let Some(node) = row.node.clone().filter(|node| runs && !lost.contains(node)) {
                    set_network(&self.client, &node, Network::Disconnected).await?;
                    self.view.say(&format!("  {node} runs it, and falls silent"));
                    lost.push(node);
                    deadline = Instant::now() + STEP_LIMIT;
                }
            }
            let of_guard = |waiting: &&WaitingFor| matches!(waiting.detail, Reason::NodesLost { .. });
            let held = now.waiting().map(|(_, waiting)| waiting).find(of_guard);
            match held {
                Some(held) if matches!(held.detail, Reason::NodesLost { until: None, .. }) => break now,
                Some(held) if !is_held => {
                    is_held = true;
                    self.view.say(&format!("  {}", held.explanation));
                }
                _ => {}
            }
        };
        self.explain(&stopped);
        let most_down = self.most_down;
        self.switch("Switch on again:", &lost, Network::Connected).await?;
        let serves = |row: &PodRow| row.node_ready && row.state == "Ready";
        self.watch_until("every pod serves", |now| now.pods.iter().all(serves))
            .await?;
        // A pod whose node comes back is not ready at first, which is no disruption.
        self.most_down = most_down;
        self.set_image(self.story.old_image).await?;
        Ok(lost)
    }

    /// The pods of the workload, by name.
    async fn pods(&self) -> anyhow::Result<BTreeMap<String, Pod>> {
        let api: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let pods = api.list(&ListParams::default()).await.context("listing pods")?;
        Ok(pods.into_iter().map(|pod| (pod.name_any(), pod)).collect())
    }

    async fn identities(&self) -> anyhow::Result<BTreeMap<String, Identity>> {
        let pods = self.pods().await?;
        Ok(pods
            .iter()
            .map(|(name, pod)| (name.clone(), identity(pod)))
            .collect())
    }

    /// Those that are who they were.
    async fn stayed(&self, before: &BTreeMap<String, Identity>) -> anyhow::Result<Vec<Stayed>> {
        let pods = self.pods().await?;
        let same = pods
            .into_iter()
            .filter(|(name, pod)| before.get(name) == Some(&identity(pod)));
        Ok(same
            .map(|(pod, object)| {
                let (_, node, address) = identity(&object);
                let restarts = n_restarts(&object);
                Stayed {
                    pod,
                    node: node.unwrap_or_default(),
                    address: address.unwrap_or_default(),
                    restarts,
                }
            })
            .collect())
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

    /// Instances turn busy and idle, and the update follows them: nobody edits a partition.
    async fn turn_by_turn(&mut self, is_new: &impl Fn(&Rollout) -> bool) -> anyhow::Result<()> {
        let blocked = self.until_blocked(is_new, 3).await?;
        self.explain(&blocked);
        self.turn(&[1], true).await?;
        self.turn(&[4], false).await?;
        self.until_blocked(is_new, 2).await?;
        self.turn(&[0, 2], false).await
    }

    /// Waits until so many instances wait, each because it works, and looks whether any was touched.
    async fn until_blocked(
        &mut self,
        is_new: &impl Fn(&Rollout) -> bool,
        n: usize,
    ) -> anyhow::Result<Rollout> {
        let blocked = self.watch_until("only instances that work are left", |now| {
            let mut waiting = now.waiting();
            is_new(now)
                && now.waiting().count() == n
                && waiting.all(|(_, waiting)| matches!(waiting.detail, Reason::Protected { .. }))
        });
        let blocked = blocked.await?;
        let pods = self.pods().await?;
        for (name, restarts) in &self.busy {
            if pods.get(name).map(n_restarts) != Some(*restarts) {
                return Err(failure::failed(
                    format!("{name} was touched while it worked"),
                    "run it again with --log info to see what the controllers did",
                ));
            }
        }
        self.n_left_alone = self.n_left_alone.saturating_add(self.busy.len());
        Ok(blocked)
    }

    /// Instances begin or cease to work.
    async fn turn(&mut self, ordinals: &[u32], works: bool) -> anyhow::Result<()> {
        let names: Vec<String> = ordinals
            .iter()
            .map(|ordinal| format!("{}-{ordinal}", self.story.name))
            .collect();
        let state = if works { "busy" } else { "idle" };
        let verb = if names.len() == 1 { "turns" } else { "turn" };
        self.view.step(
            &format!("{} {verb} {state}", names.join(", ")),
            &format!(
                "kubectl label --overwrite pod {} {WORKING}={works}",
                names.join(" ")
            ),
        );
        let api: Api<Pod> = Api::namespaced(self.client.clone(), NAMESPACE);
        let patch = Patch::Merge(json!({"metadata": {"labels": {WORKING: works.to_string()}}}));
        for name in names {
            let pod = api.patch(&name, &PatchParams::default(), &patch).await;
            let pod = pod.with_context(|| format!("labelling pod {name}"))?;
            if works {
                self.busy.insert(name, n_restarts(&pod));
            } else {
                self.busy.remove(&name);
            }
        }
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

    /// Reads the state, shows it, and rests. `None`: the workload is not there yet.
    async fn look(&mut self, deadline: Instant, what: &str) -> anyhow::Result<Option<Rollout>> {
        if Instant::now() > deadline {
            return Err(failure::timed_out(
                format!("waited {}s until {what}", STEP_LIMIT.as_secs()),
                "run it again with --log info to see what the controllers did",
            ));
        }
        let objects = rollout::objects(&self.client, self.story.kind, NAMESPACE);
        let exists = objects
            .get_metadata_opt(self.story.name)
            .await
            .context("reading the workload")?;
        let rollout = if exists.is_some() {
            let rollout = rollout::fetch(&self.client, NAMESPACE, &self.story.workload()).await?;
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
            &format!("pitstop why {}", self.story.workload()),
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
            stayed: Vec::new(),
            n_left_alone: self.n_left_alone,
            lost: Vec::new(),
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

/// How often the containers of a pod restarted.
fn n_restarts(pod: &Pod) -> i32 {
    let statuses = pod
        .status
        .iter()
        .flat_map(|status| status.container_statuses.iter().flatten());
    statuses.map(|status| status.restart_count).sum()
}

fn identity(pod: &Pod) -> Identity {
    let address = pod.status.as_ref().and_then(|status| status.pod_ip.clone());
    let node = pod.spec.as_ref().and_then(|spec| spec.node_name.clone());
    (pod.metadata.uid.clone(), node, address)
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
        let n = self.pods.len().max(self.stayed.len());
        let mut lines = vec![
            String::new(),
            format!(
                "Done in {}s: {n} of {n} pods run {}",
                self.seconds,
                story.last_image()
            ),
        ];
        if self.stayed.is_empty() {
            lines.extend(self.replaced());
        } else {
            lines.extend(self.stayed.iter().map(|pod| {
                let times = if pod.restarts == 1 { "once" } else { "more than once" };
                let Stayed { pod, node, address, .. } = pod;
                format!("  {pod}  same uid, same node {node}, same address {address}; its container restarted {times}")
            }));
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
        if story.plot == Plot::Protect {
            lines.push(format!(
                "  {} times an instance worked while others were updated: none of them was touched, and nobody set a partition",
                self.n_left_alone
            ));
        }
        if story.plot == Plot::Guard {
            let is_same = |(_, old, new): &&(String, String, String)| old == new;
            lines.push(format!(
                "  {} of {n} nodes were lost before the guard stopped it; the pods of {} were never touched",
                self.lost.len(),
                self.pods.iter().filter(is_same).count()
            ));
        }
        if story.plot == Plot::Auto {
            lines.push(format!(
                "  {} nodes were away: they cost no budget, and caught up by themselves when they returned",
                story.cut_off.len()
            ));
        }
        lines.push(
            "Every step was a request that kubectl or curl could have made; the nodes are simulated and ran no containers"
                .to_owned(),
        );
        lines.push("Try it by hand: pitstop up".to_owned());
        lines
    }

    /// A line for each node: the pod at the beginning and at the end.
    fn replaced(&self) -> impl Iterator<Item = String> + '_ {
        let width = self
            .pods
            .iter()
            .map(|(node, ..)| node.len())
            .max()
            .unwrap_or_default();
        let pods = self.pods.iter();
        pods.map(move |(node, old, new)| {
            if old == new {
                format!("  {node:width$}  {old} stayed")
            } else {
                format!("  {node:width$}  {old} -> {new}")
            }
        })
    }
}
