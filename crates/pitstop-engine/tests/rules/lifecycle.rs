//! Lifecycle hooks and readiness that several hold: inplace.md 7, 8, 12.8.

use std::slice::from_ref;

use pitstop_api::view::{Lifecycle, LifecycleHook};
use pitstop_engine::inplace::readiness::{Hold, hold, holds};
use pitstop_engine::inplace::{Change, Live};
use pitstop_engine::lifecycle::{
    BeforeUpdate, Facts, State, before_update, enter, hook_again, is_hooked, step,
};
use serde_json::json;

use crate::cluster::at;
use crate::live::LivePod;

const STATE: &str = "lifecycle.apps.kruise.io/state";

/// A hook that looks for these labels and finalizers.
fn hook(labels: &[&str], finalizers: &[&str], marks_not_ready: bool) -> LifecycleHook {
    LifecycleHook {
        labels: labels.iter().map(|key| ((*key).into(), "true".into())).collect(),
        finalizers: finalizers.iter().map(|name| (*name).into()).collect(),
        marks_not_ready,
    }
}

fn on_update(hook: LifecycleHook) -> Lifecycle {
    Lifecycle {
        in_place_update: Some(hook),
        ..Lifecycle::default()
    }
}

fn pod(state: &str) -> LivePod {
    LivePod::running(&["c1=foo1"]).label(STATE, state)
}

fn finalizers(pod: LivePod, names: &[&str]) -> LivePod {
    pod.set("/metadata/finalizers", json!(names))
}

/// The state that the pod goes to by itself.
fn next(pod: &LivePod, lifecycle: &Lifecycle, is_at_target: bool, is_complete: bool) -> Option<State> {
    let view = pod.view();
    let facts = Facts {
        waits_for_node: true,
        is_at_target,
        is_complete,
    };
    step(Live::of(&view)?, lifecycle, facts)
}

fn before(pod: &LivePod, lifecycle: &Lifecycle) -> BeforeUpdate {
    let view = pod.view();
    before_update(Live::of(&view).unwrap(), lifecycle)
}

/// 12.8, rows H1 to H3.
#[test]
fn a_new_pod_counts_when_it_has_a_node_or_its_hook_is_through() {
    let none = Lifecycle::default();
    let unbound = pod("PreparingNormal").set("/spec/nodeName", "");
    assert_eq!(next(&unbound, &none, true, true), None, "H1");
    assert_eq!(
        next(&pod("PreparingNormal"), &none, true, true),
        Some(State::Normal),
        "H2"
    );
    let hooked = Lifecycle {
        pre_normal: Some(hook(&["warm"], &[], false)),
        ..Lifecycle::default()
    };
    assert_eq!(next(&pod("PreparingNormal"), &hooked, true, true), None, "H3");
    let warm = unbound.label("warm", "true");
    assert_eq!(
        next(&warm, &hooked, true, true),
        Some(State::Normal),
        "H3: the hook alone counts"
    );
}

/// 12.8, rows H4, H5, H6, H11.
#[test]
fn a_hook_holds_a_pod_before_its_update() {
    let lifecycle = on_update(hook(&[], &["unready"], false));
    let held = |state: &str| finalizers(pod(state), &["unready"]);
    for (row, pod, want) in [
        ("H4", held("Normal"), BeforeUpdate::Prepare),
        ("H5", pod("PreparingNormal"), BeforeUpdate::Update),
        ("H6, held", held("PreparingUpdate"), BeforeUpdate::Wait),
        ("H6", pod("PreparingUpdate"), BeforeUpdate::Update),
        ("without a state", held(""), BeforeUpdate::Prepare),
        ("a newer revision", held("Updating"), BeforeUpdate::Update),
        ("H9", pod("Updated"), BeforeUpdate::PrepareAgain),
        ("on its way out", pod("PreparingDelete"), BeforeUpdate::Refuse),
        ("unknown", pod("Elsewhere"), BeforeUpdate::Refuse),
    ] {
        assert_eq!(before(&pod, &lifecycle), want, "{row}");
    }
    assert_eq!(
        before(&pod("Updated"), &Lifecycle::default()),
        BeforeUpdate::Update
    );
    let two = on_update(hook(&["a", "b"], &[], false));
    let one_left = pod("PreparingUpdate").label("a", "true");
    assert_eq!(
        before(&one_left, &two),
        BeforeUpdate::Wait,
        "H11: one of two is enough to hold it before"
    );
    let other_value = pod("PreparingUpdate").label("a", "yes");
    assert_eq!(
        before(&other_value, &two),
        BeforeUpdate::Update,
        "the value counts"
    );
}

/// 12.8, rows H7, H8, H10, H11; 13.4, 13.6.
#[test]
fn a_hook_holds_a_pod_after_its_update() {
    let none = Lifecycle::default();
    let lifecycle = on_update(hook(&["a", "b"], &[], false));
    let all = |state: &str| pod(state).label("a", "true").label("b", "true");
    for (row, pod, lifecycle, is_at_target, is_complete, want) in [
        ("not complete", pod("Updating"), &lifecycle, true, false, None),
        (
            "H7",
            pod("Updating"),
            &lifecycle,
            true,
            true,
            Some(State::Updated),
        ),
        (
            "all there already",
            all("Updating"),
            &lifecycle,
            true,
            true,
            Some(State::Normal),
        ),
        ("13.6", pod("Updating"), &none, true, true, Some(State::Normal)),
        (
            "H11",
            pod("Updated").label("a", "true"),
            &lifecycle,
            true,
            true,
            None,
        ),
        ("H8", all("Updated"), &lifecycle, true, true, Some(State::Normal)),
        (
            "hook gone",
            pod("Updated"),
            &none,
            true,
            true,
            Some(State::Normal),
        ),
        (
            "H10, 13.4",
            all("PreparingUpdate"),
            &lifecycle,
            true,
            true,
            Some(State::Updated),
        ),
        (
            "rolled back without a hook",
            pod("PreparingUpdate"),
            &none,
            true,
            true,
            Some(State::Normal),
        ),
        (
            "still to be updated",
            all("PreparingUpdate"),
            &lifecycle,
            false,
            true,
            None,
        ),
        ("at rest", all("Normal"), &lifecycle, true, true, None),
        (
            "on its way out",
            all("PreparingDelete"),
            &lifecycle,
            true,
            true,
            None,
        ),
    ] {
        assert_eq!(next(&pod, lifecycle, is_at_target, is_complete), want, "{row}");
    }
}

/// Enters a state, and carries the requests out.
fn entered(pod: &mut LivePod, state: State, lifecycle: &Lifecycle) -> Change {
    let view = pod.view();
    let mut change = Change::default();
    enter(Live::of(&view).unwrap(), state, lifecycle, at(7), &mut change);
    pod.apply(&change, 7);
    change
}

/// 7, and H9: what is written with a state.
#[test]
fn a_state_is_written_with_its_time_and_once() {
    let lifecycle = on_update(hook(&["a"], &["fz", "kept"], false));
    let mut pod = finalizers(pod("Updated"), &["kept"]);
    let view = pod.view();
    let mut change = Change::default();
    hook_again(
        Live::of(&view).unwrap(),
        lifecycle.in_place_update.as_ref(),
        &mut change,
    );
    pod.apply(&change, 7);
    entered(&mut pod, State::PreparingUpdate, &lifecycle);
    assert_eq!(
        pod.get("/metadata/labels/lifecycle.apps.kruise.io~1state"),
        Some(&json!("PreparingUpdate"))
    );
    assert_eq!(
        pod.get("/metadata/annotations/lifecycle.apps.kruise.io~1timestamp"),
        Some(&json!("2026-01-01T00:00:07Z"))
    );
    assert_eq!(pod.get("/metadata/labels/a"), Some(&json!("true")), "H9");
    assert_eq!(
        pod.get("/metadata/finalizers"),
        Some(&json!(["kept", "fz"])),
        "H9"
    );
    let view = pod.view();
    assert!(is_hooked(
        lifecycle.in_place_update.as_ref(),
        Live::of(&view).unwrap()
    ));
    assert!(
        entered(&mut pod, State::PreparingUpdate, &lifecycle).is_empty(),
        "the same state is not written again"
    );
}

/// 7, 13.4: a pod that a hook takes out of service comes back on every way out.
#[test]
fn no_hook_leaves_a_pod_out_of_service() {
    let lifecycle = Lifecycle {
        pre_delete: Some(hook(&["a"], &[], true)),
        in_place_update: Some(hook(&["a"], &[], true)),
        pre_normal: None,
    };
    for (into, out) in [
        (State::PreparingUpdate, State::Updated),
        (State::PreparingUpdate, State::Normal),
        (State::PreparingDelete, State::PreparingNormal),
        (State::PreparingDelete, State::PreparingUpdate),
    ] {
        let mut pod = pod("Normal");
        entered(&mut pod, into, &lifecycle);
        assert_eq!(pod.says("KruisePodReady"), Some("False"), "{into:?}");
        assert_eq!(
            pod.says("Ready"),
            Some("False"),
            "{into:?}: endpoints do not wait for the kubelet"
        );
        entered(&mut pod, out, &lifecycle);
        let want = if out == State::PreparingUpdate {
            "False"
        } else {
            "True"
        };
        assert_eq!(pod.says("KruisePodReady"), Some(want), "{into:?} to {out:?}");
    }
    let mut pod = pod("Normal");
    entered(
        &mut pod,
        State::PreparingUpdate,
        &on_update(hook(&["a"], &[], false)),
    );
    assert_eq!(
        pod.says("KruisePodReady"),
        Some("True"),
        "a hook that does not ask for it"
    );
}

/// 8; 12.8, row H12; 13.5.
#[test]
fn a_pod_is_in_service_when_nobody_holds_it() {
    let hold_on = |pod: &mut LivePod, added: &[Hold], removed: &[Hold]| {
        let view = pod.view();
        let mut change = Change::default();
        hold(Live::of(&view).unwrap(), added, removed, at(0), &mut change);
        pod.apply(&change, 0);
        !change.is_empty()
    };
    let (foo, bar) = (Hold::new("ua1", "foo"), Hold::new("ua1", "bar"));
    let mut pod = LivePod::running(&["c1=foo1"]);
    assert!(hold_on(&mut pod, &[foo.clone(), bar.clone()], &[]));
    assert_eq!(pod.says("KruisePodReady"), Some("False"));
    assert!(!hold_on(&mut pod, from_ref(&foo), &[]), "listed already");
    assert_eq!(
        holds(Live::of(&pod.view()).unwrap()),
        [bar.clone(), foo.clone()],
        "sorted"
    );
    hold_on(&mut pod, &[], from_ref(&foo));
    assert_eq!(pod.says("KruisePodReady"), Some("False"));
    hold_on(&mut pod, &[], &[bar]);
    assert_eq!(pod.says("KruisePodReady"), Some("True"));
    let conditions = pod.json["status"]["conditions"].as_array().unwrap();
    let message = &conditions.iter().find(|c| c["type"] == "KruisePodReady").unwrap()["message"];
    assert_eq!(message, "[]", "H12");
    assert!(!hold_on(&mut pod, &[], from_ref(&foo)), "nothing to take back");

    let mut bare = LivePod::running(&["c1=foo1"]).without_condition("KruisePodReady");
    assert!(!hold_on(&mut bare, &[], from_ref(&foo)));
    assert!(hold_on(&mut bare, from_ref(&foo), &[]));
    assert_eq!(bare.says("KruisePodReady"), Some("False"), "13.5");
    let mut ungated = LivePod::running(&["c1=foo1"])
        .without_gates()
        .in_state(&json!({}));
    assert!(!hold_on(&mut ungated, &[foo], &[]), "no gate, no hold");
}
