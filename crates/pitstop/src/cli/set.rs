//! `pitstop set image`.

use std::str::FromStr;

use anyhow::Context as _;
use clap::{Args, Subcommand};
use kube::Client;
use pitstop_api::WorkloadKind;
use serde_json::Value;

use crate::cli::target::{NamespaceArgs, Workload};
use crate::connect::ConnectArgs;
use crate::rollout::Found;
use crate::{failure, output, rollout};

/// Where containers stand in a template. Source: `kubectl set image`, which knows these two lists.
const LISTS: [&str; 2] = ["initContainers", "containers"];

/// Change a part of a workload's template
#[derive(Debug, Args)]
pub struct Set {
    /// What to change.
    #[command(subcommand)]
    pub what: What,
}

/// What to change.
#[derive(Debug, Subcommand)]
pub enum What {
    /// Change images of containers
    ///
    /// Only the images change: the rest of each container stays as it is. `kubectl set image` knows neither CloneSets
    /// nor StatefulSets of apps.kruise.io.
    #[command(
        after_help = "Examples:\n  pitstop set image clone/web nginx=nginx:1.27\n  pitstop set image ds/agent app=app:2 \
                      sidecar=sidecar:5\n  pitstop set image clone/web '*=nginx:1.27'   every container"
    )]
    Image(Image),
}

/// `set image`.
#[derive(Debug, Args)]
pub struct Image {
    /// The workload, as ds/NAME, ads/NAME, clone/NAME or asts/NAME
    #[arg(value_name = "KIND/NAME")]
    pub name: Workload,
    /// Which container gets which image; `*` is every container
    #[arg(value_name = "CONTAINER=IMAGE", required = true)]
    pub images: Vec<Assignment>,
    /// Where to look.
    #[command(flatten)]
    pub scope: NamespaceArgs,
    /// Which API server.
    #[command(flatten)]
    pub connect: ConnectArgs,
}

/// `container=image`.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Assignment {
    container: String,
    image: String,
}

impl Assignment {
    /// This container gets this image.
    pub fn new(container: &str, image: &str) -> Self {
        Self {
            container: container.to_owned(),
            image: image.to_owned(),
        }
    }
}

impl FromStr for Assignment {
    type Err = String;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        match text.split_once('=') {
            Some((container, image)) if !container.is_empty() && !image.is_empty() => {
                Ok(Self::new(container, image))
            }
            _ => Err(format!("\"{text}\" names no image; write CONTAINER=IMAGE")),
        }
    }
}

impl Set {
    /// Changes it.
    ///
    /// # Errors
    /// The workload or a container is not there, or the API server refuses.
    pub async fn run(self) -> anyhow::Result<()> {
        let What::Image(image) = self.what;
        image.run().await
    }
}

impl Image {
    async fn run(self) -> anyhow::Result<()> {
        let found = Found::at(&self.connect, &self.scope, &self.name).await?;
        let is_changed = set_image(
            &found.client,
            found.kind,
            &found.namespace,
            &found.name,
            &self.images,
        )
        .await?;
        let said = if is_changed {
            "image updated"
        } else {
            "has these images already"
        };
        output::data(&format!("{} {said}", found.title()))
    }
}

/// Changes images of a workload, and nothing else. Returns whether any was another.
///
/// # Errors
/// The workload or a container is not there, or the API server refuses.
pub async fn set_image(
    client: &Client,
    kind: WorkloadKind,
    namespace: &str,
    name: &str,
    images: &[Assignment],
) -> anyhow::Result<bool> {
    let edit = |object: &mut Value| {
        let spec = object
            .pointer_mut("/spec/template/spec")
            .context("it has no template")?;
        assign(spec, images)
    };
    rollout::change(client, kind, namespace, name, edit).await
}

/// Puts the images into the spec of a pod.
fn assign(spec: &mut Value, images: &[Assignment]) -> anyhow::Result<()> {
    for Assignment { container, image } in images {
        let mut is_found = false;
        let mut names = Vec::new();
        for list in LISTS {
            let containers = spec
                .get_mut(list)
                .and_then(Value::as_array_mut)
                .into_iter()
                .flatten();
            for one in containers {
                let name = one["name"].as_str().unwrap_or_default().to_owned();
                if container == "*" || *container == name {
                    one["image"] = image.as_str().into();
                    is_found = true;
                }
                names.push(name);
            }
        }
        if !is_found {
            return Err(failure::nothing_matched(
                format!("the template has no container \"{container}\""),
                format!("name one of {}, or * for all", names.join(", ")),
            ));
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn assigned(images: &[&str]) -> Result<Value, String> {
        let mut spec = json!({
            "initContainers": [{"name": "init", "image": "i:1"}],
            "containers": [{"name": "a", "image": "a:1", "ports": [{"containerPort": 80}]}, {"name": "b", "image": "b:1"}],
        });
        let images: Result<Vec<Assignment>, String> = images.iter().map(|text| text.parse()).collect();
        assign(&mut spec, &images?).map_err(|error| error.to_string())?;
        Ok(spec)
    }

    #[test]
    fn images_change_and_nothing_else() {
        let spec = assigned(&["a=a:2", "init=i:2"]).unwrap();
        assert_eq!(
            spec,
            json!({
                "initContainers": [{"name": "init", "image": "i:2"}],
                "containers": [
                    {"name": "a", "image": "a:2", "ports": [{"containerPort": 80}]}, {"name": "b", "image": "b:1"},
                ],
            })
        );
        let spec = assigned(&["*=registry/x@sha256:00"]).unwrap();
        assert_eq!(spec["containers"][1]["image"], "registry/x@sha256:00");
    }

    #[test]
    fn a_container_that_is_not_there_is_named() {
        assert_eq!(
            assigned(&["c=x"]),
            Err("the template has no container \"c\"".to_owned())
        );
        assert_eq!(
            assigned(&["c"]),
            Err("\"c\" names no image; write CONTAINER=IMAGE".to_owned())
        );
    }
}
