//! CloneSets as an API server keeps them, with kubectl: made, defaulted, converted, judged, listed, scaled, explained.

use crate::seed_004::{FIRST, SECOND};
use crate::world::{Server, World, kubectl_is_there, squeezed};

const NAME: &str = "clonesets.v1alpha1.apps.kruise.io/nginxweb1";
const STORED: &str = "clonesets.v1beta1.apps.kruise.io/nginxweb1";

#[tokio::test(flavor = "multi_thread")]
async fn clonesets_are_kept_as_openkruise_keeps_them() {
    if !kubectl_is_there() {
        return;
    }
    let gate = "ResourcesDeletionProtection=true";
    let Some(mut world) = World::with_gates(Server::Embedded, &[], gate).await else {
        return;
    };
    // What is looked at is what the server does by itself.
    world.stop_controllers().await;
    play(&world).await;
    world.stop().await;
}

/// What a user sees of the kind, whichever server keeps it.
pub(crate) async fn play(world: &World) {
    made_and_changed(world).await;
    applied_by_the_server(world).await;
    shown(world).await;
    refused(world).await;
    explained(world).await;
}

async fn made_and_changed(world: &World) {
    let apply = |text: &'static str| world.kubectl_with(&["apply", "-f", "-"], text);
    let said = apply(FIRST).await;
    assert_eq!(
        said.stdout, "cloneset.apps.kruise.io/nginxweb1 created\n",
        "{}",
        said.stderr
    );
    let field = async |object: &str, path: &str| {
        let output = format!("jsonpath={{{path}}}");
        world.kubectl(&["get", object, "-o", &output]).await
    };
    // cloneset.md 1.5, and 2: ReCreate is the policy of a rolling update.
    assert_eq!(field(NAME, ".spec.updateStrategy.type").await, "ReCreate");
    let rolling = ".spec.updateStrategy.rollingUpdate";
    assert_eq!(
        field(STORED, &format!("{rolling}.podUpdatePolicy")).await,
        "ReCreate"
    );
    assert_eq!(field(STORED, &format!("{rolling}.maxUnavailable")).await, "20%");
    assert_eq!(field(STORED, ".spec.scaleStrategy.enablePVCReuse").await, "true");
    assert_eq!(field(STORED, ".spec.template.spec.restartPolicy").await, "Always");
    let said = apply(SECOND).await;
    assert_eq!(
        said.stdout, "cloneset.apps.kruise.io/nginxweb1 configured\n",
        "{}",
        said.stderr
    );
    assert_eq!(
        field(STORED, &format!("{rolling}.podUpdatePolicy")).await,
        "InPlaceIfPossible"
    );
    assert_eq!(
        field(STORED, &format!("{rolling}.inPlaceUpdateStrategy")).await,
        "{}"
    );
    assert_eq!(
        field(NAME, ".spec.scaleStrategy").await,
        r#"{"maxUnavailable":1}"#
    );
    // kubectl sends the list of containers again, as it lacks the defaults; nothing comes of it.
    let version = ".metadata.resourceVersion";
    let before = field(STORED, version).await;
    assert!(apply(SECOND).await.status.success());
    assert_eq!(field(STORED, version).await, before);
    // What the one version cannot say survives a write of the other.
    let exclude = r#"{"spec":{"scaleStrategy":{"excludePreparingDelete":true}}}"#;
    world
        .kubectl(&["patch", STORED, "--type=merge", "-p", exclude])
        .await;
    let paused = r#"{"spec":{"updateStrategy":{"paused":true}}}"#;
    world
        .kubectl(&["patch", NAME, "--type=merge", "-p", paused])
        .await;
    assert_eq!(
        field(STORED, ".spec.scaleStrategy.excludePreparingDelete").await,
        "true"
    );
    assert_eq!(field(STORED, &format!("{rolling}.paused")).await, "true");
    assert_eq!(
        world
            .kubectl(&["scale", "clone", "nginxweb1", "--replicas=3"])
            .await,
        "cloneset.apps.kruise.io/nginxweb1 scaled\n"
    );
    assert_eq!(field(NAME, ".spec.replicas").await, "3");
}

/// Owners of fields in different versions: what the one owns is seen by the other, in its own version.
async fn applied_by_the_server(world: &World) {
    let apply = async |manager: &str, text: &str, more: &[&str]| {
        let manager = format!("--field-manager={manager}");
        let arguments = ["apply", "--server-side", &manager, "-f", "-"];
        world.kubectl_with(&[&arguments, more].concat(), text).await
    };
    let part = |version: &str, strategy: &str| {
        format!(
            "apiVersion: apps.kruise.io/{version}\nkind: CloneSet\nmetadata: {{name: nginxweb1, namespace: default}}\n\
             spec:\n  updateStrategy: {strategy}\n"
        )
    };
    let beta = part("v1beta1", "{rollingUpdate: {partition: 1}}");
    let said = apply("beta", &beta, &["--force-conflicts"]).await;
    assert!(said.status.success(), "{}", said.stderr);
    let said = apply("alpha", &part("v1alpha1", "{partition: 2}"), &[]).await;
    // The field is named as the one who has it knows it.
    let conflict = "conflict with \"beta\": .spec.updateStrategy.rollingUpdate.partition";
    assert!(said.stderr.contains(conflict), "{}", said.stderr);
    let said = apply(
        "alpha",
        &part("v1alpha1", "{partition: 2}"),
        &["--force-conflicts"],
    )
    .await;
    assert!(said.status.success(), "{}", said.stderr);
    let path = "jsonpath={.spec.updateStrategy.rollingUpdate.partition}";
    assert_eq!(world.kubectl(&["get", STORED, "-o", path]).await, "2");
}

async fn shown(world: &World) {
    let status = r#"{"status":{"replicas":3,"readyReplicas":2,"availableReplicas":2,"updatedReplicas":1,
        "updatedReadyReplicas":1,"updatedAvailableReplicas":1,"labelSelector":"app=nginxweb1"}}"#;
    world
        .kubectl(&[
            "patch",
            "clone",
            "nginxweb1",
            "--subresource=status",
            "--type=merge",
            "-p",
            status,
        ])
        .await;
    let table = squeezed(&world.kubectl(&["get", "clone"]).await);
    let head = "NAME DESIRED UPDATED UPDATED_READY UPDATED_AVAILABLE READY TOTAL AGE";
    assert!(
        table.starts_with(&format!("{head} nginxweb1 3 1 1 1 2 3 ")),
        "{table}"
    );
    let table = squeezed(&world.kubectl(&["get", "clonesets", "-o", "wide"]).await);
    assert!(
        table.starts_with(&format!("{head} CONTAINERS IMAGES SELECTOR nginxweb1 ")),
        "{table}"
    );
    assert!(table.ends_with(" nginx nginx:latest app=nginxweb1"), "{table}");
}

async fn refused(world: &World) {
    let patch = async |object: &str, patch: &str| {
        let said = world
            .kubectl_any(&["patch", object, "--type=merge", "-p", patch])
            .await;
        assert!(!said.status.success());
        said.stderr
    };
    let both = "maxUnavailable and maxSurge should not both be less than 1";
    assert_eq!(
        patch(NAME, r#"{"spec":{"updateStrategy":{"maxUnavailable":0}}}"#).await,
        format!(
            "The CloneSet \"nginxweb1\" is invalid: spec.updateStrategy.maxUnavailable: Invalid value: 0: {both}\n"
        )
    );
    let rolling = "spec.updateStrategy.rollingUpdate.maxUnavailable";
    assert_eq!(
        patch(
            STORED,
            r#"{"spec":{"updateStrategy":{"rollingUpdate":{"maxUnavailable":0}}}}"#
        )
        .await,
        format!("The CloneSet \"nginxweb1\" is invalid: {rolling}: Invalid value: 0: {both}\n")
    );
    let selector = r#"{"spec":{"selector":{"matchLabels":{"tier":"front"}}}}"#;
    assert!(
        patch(NAME, selector)
            .await
            .contains("spec: Forbidden: updates to cloneset spec for fields other than")
    );
    let deleted = r#"{"spec":{"scaleStrategy":{"podsToDelete":["gone"]}}}"#;
    assert!(
        patch(STORED, deleted)
            .await
            .contains("find pod gone failed: pods \"gone\" not found")
    );
    let shape = r#"{"spec":{"template":{"spec":{"containers":"none"}}}}"#;
    assert!(
        patch(STORED, shape)
            .await
            .contains("denied the request: spec.template.spec.containers: expected a list")
    );
    let label = "policy.kruise.io/delete-protection";
    world
        .kubectl(&["label", "clone", "nginxweb1", &format!("{label}=Cascading")])
        .await;
    let said = world.kubectl_any(&["delete", "clone", "nginxweb1"]).await;
    assert_eq!(
        said.stderr,
        format!(
            "Error from server (Forbidden): admission webhook \"vcloneset.kb.io\" denied the request: forbidden by \
             ResourcesProtectionDeletion for {label}=Cascading and replicas 3>0\n"
        )
    );
    world
        .kubectl(&["label", "clone", "nginxweb1", &format!("{label}-")])
        .await;
    world.kubectl(&["delete", "clone", "nginxweb1"]).await;
}

async fn explained(world: &World) {
    let text = world.kubectl(&["explain", "cloneset.spec.updateStrategy"]).await;
    for part in [
        "VERSION:    v1beta1",
        "rollingUpdate\t<Object>",
        "How a rolling update goes on.",
    ] {
        assert!(text.contains(part), "{text}");
    }
    let alpha = [
        "explain",
        "cloneset.spec.updateStrategy.type",
        "--api-version=apps.kruise.io/v1alpha1",
    ];
    let text = squeezed(&world.kubectl(&alpha).await);
    assert!(text.contains("InPlaceIfPossible restarts containers"), "{text}");
}
