#![allow(
    clippy::needless_pass_by_value,
    reason = "tables read better with JSON as it is"
)]

use serde_json::{Value, json};

use super::*;

const NOW: &str = "2026-01-01T01:00:00Z";

fn now() -> Timestamp {
    NOW.parse().unwrap()
}

fn spec(images: Value) -> NodeImageSpec {
    serde_json::from_value(json!({ "images": images })).unwrap()
}

/// One tag of `nginx`.
fn nginx(tag: Value) -> NodeImageSpec {
    let mut whole = json!({"tag": "1", "version": 0, "createdAt": NOW, "pullPolicy": {"timeoutSeconds": 60, "backoffLimit": 1}});
    for (key, value) in tag.as_object().unwrap() {
        whole[key] = value.clone();
    }
    spec(json!({"nginx": {"tags": [whole]}}))
}

fn sync(agent: &mut Agent, spec: &NodeImageSpec) -> Vec<Effect> {
    agent.sync(spec, &NodeImageStatus::default(), now())
}

fn pulls(effects: &[Effect]) -> Vec<&Pull> {
    let pulls = effects.iter().filter_map(|effect| match effect {
        Effect::Pull(pull) => Some(pull),
        _ => None,
    });
    pulls.collect()
}

fn phase(agent: &Agent, spec: &NodeImageSpec) -> Option<PullPhase> {
    agent.status(spec).of("nginx", "1").map(|status| status.phase)
}

fn fails() -> Result<String, String> {
    Err("not found".to_owned())
}

#[test]
fn an_image_is_pulled_and_reported() {
    let spec = nginx(json!({"ownerReferences": [{"kind": "ImagePullJob", "name": "j"}]}));
    let mut agent = Agent::new(None);
    let effects = sync(&mut agent, &spec);
    let pull = pulls(&effects)[0].clone();
    assert_eq!(
        (pull.image.to_string(), pull.unless_present),
        ("nginx:1".to_owned(), true)
    );
    assert_eq!(pull.timeout, Duration::from_secs(60));
    assert_eq!(
        pull.sandbox
            .annotations
            .get(keys::PULLING_IMAGE_BY)
            .map(String::as_str),
        Some("kruise-daemon")
    );
    let status = agent.status(&spec);
    let tag = status.of("nginx", "1").unwrap();
    assert_eq!(
        (status.pulling, tag.phase, tag.start_time),
        (1, PullPhase::Pulling, Some(now()))
    );

    let effects = agent.pulled(pull.run, Ok("sha256:aa".to_owned()), now());
    let [Effect::Tell(notice)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!(
        (notice.reason, notice.is_warning, &*notice.owners[0].name),
        ("PullImageSucceed", false, "j")
    );
    let status = agent.status(&spec);
    let tag = status.of("nginx", "1").unwrap();
    assert_eq!(
        (status.succeeded, tag.progress, &*tag.image_id),
        (1, 100, "nginx@sha256:aa")
    );
    assert!(agent.is_idle() && tag.completion_time == Some(now()));
    assert!(sync(&mut agent, &spec).is_empty(), "it is done");
}

/// J12; 13.18: no pause after the last attempt.
#[test]
fn j12_a_pull_that_keeps_failing_is_given_up() {
    let spec = nginx(json!({}));
    let mut agent = Agent::new(None);
    let run = pulls(&sync(&mut agent, &spec))[0].run;
    let pause = agent.pulled(run, fails(), now());
    assert_eq!(
        pause,
        [Effect::Wake {
            run,
            after: Duration::from_secs(1)
        }]
    );
    assert_eq!(phase(&agent, &spec), Some(PullPhase::Pulling));
    assert_eq!(pulls(&agent.woken(run, now())).len(), 1, "the second attempt");
    let effects = agent.pulled(run, fails(), now());
    let [Effect::Tell(notice)] = &effects[..] else {
        panic!("{effects:?}")
    };
    assert_eq!((notice.reason, notice.is_warning), ("PullImageFailed", true));
    let status = agent.status(&spec);
    assert_eq!(
        (status.failed, &*status.of("nginx", "1").unwrap().message),
        (1, "not found")
    );
}

/// inplace.md 11.5: 1, 2, 4 … max 30 s; backoffLimit + 1 attempts, negative → 3.
#[test]
fn pauses_double_up_to_half_a_minute() {
    for (limit, want) in [
        (7, vec![1, 2, 4, 8, 16, 30, 30]),
        (-1, vec![1, 2, 4]),
        (0, vec![]),
    ] {
        let spec = nginx(json!({"pullPolicy": {"backoffLimit": limit}}));
        let mut agent = Agent::new(None);
        let run = pulls(&sync(&mut agent, &spec))[0].run;
        let mut pauses = Vec::new();
        while let [Effect::Wake { after, .. }] = agent.pulled(run, fails(), now())[..] {
            pauses.push(after.as_secs());
            agent.woken(run, now());
        }
        assert_eq!(pauses, want, "{limit}");
        assert_eq!(phase(&agent, &spec), Some(PullPhase::Failed));
    }
}

#[test]
fn j13_two_workers_for_three_images() {
    let tags = json!([{"tag": "1"}, {"tag": "2"}, {"tag": "3"}]);
    let spec = spec(json!({"nginx": {"tags": tags}}));
    let mut agent = Agent::new(Some(2));
    let effects = sync(&mut agent, &spec);
    let status = agent.status(&spec);
    assert_eq!((pulls(&effects).len(), status.pulling, status.waiting), (2, 2, 1));
    let effects = agent.pulled(pulls(&effects)[0].run, Ok("x".to_owned()), now());
    assert_eq!(pulls(&effects)[0].image.tag, "3", "the place is taken again");
    let status = agent.status(&spec);
    assert_eq!((status.succeeded, status.pulling, status.waiting), (1, 2, 0));
}

/// inplace.md 13.18: where there is no room nothing is begun, and it is said why.
#[test]
fn a_node_that_is_short_of_disk_pulls_nothing() {
    let spec = nginx(json!({}));
    let mut agent = Agent::new(None);
    let run = pulls(&sync(&mut agent, &spec))[0].run;
    assert_eq!(
        agent.set_disk_pressure(true, now()),
        [],
        "what is under way goes on"
    );
    assert!(matches!(
        agent.pulled(run, fails(), now())[..],
        [Effect::Wake { .. }]
    ));
    assert_eq!(agent.woken(run, now()), [], "it is not tried again");
    let waiting = agent.status(&spec).of("nginx", "1").cloned().unwrap();
    assert_eq!(waiting.phase, PullPhase::Waiting);
    assert!(waiting.message.contains("DiskPressure"), "{}", waiting.message);
    assert_eq!(sync(&mut agent, &spec), []);

    let effects = agent.set_disk_pressure(false, now());
    assert_eq!(pulls(&effects)[0].run, run, "it goes on where it was");
    let pulling = agent.status(&spec).of("nginx", "1").cloned().unwrap();
    assert_eq!((pulling.phase, &*pulling.message), (PullPhase::Pulling, ""));
    assert!(
        matches!(agent.pulled(run, fails(), now())[..], [Effect::Tell(_)]),
        "attempts that failed before count"
    );
}

/// inplace.md 11.5, step 3.
#[test]
fn a_deadline_cuts_attempts_short_and_ends_them() {
    let policy =
        |seconds: i64| json!({"pullPolicy": {"timeoutSeconds": 60, "activeDeadlineSeconds": seconds}});
    let spec = nginx(policy(30));
    let mut agent = Agent::new(None);
    let effects = sync(&mut agent, &spec);
    let pull = pulls(&effects)[0];
    assert_eq!(pull.timeout, Duration::from_secs(30), "what is left");
    agent.pulled(pull.run, fails(), now());
    agent.woken(pull.run, later(now(), 31));
    let status = agent.status(&spec);
    assert_eq!(
        status.of("nginx", "1").unwrap().message,
        "pulling exceeds the activeDeadlineSeconds"
    );
    assert_eq!(status.failed, 1);
}

/// inplace.md 11.5, step 2.
#[test]
fn only_another_version_begins_anew() {
    let mut agent = Agent::new(None);
    let first = pulls(&sync(&mut agent, &nginx(json!({}))))[0].run;
    let edited = nginx(json!({"pullPolicy": {"timeoutSeconds": 5, "backoffLimit": 1}}));
    assert!(
        sync(&mut agent, &edited).is_empty(),
        "a policy does not restart a worker"
    );
    agent.pulled(first, fails(), now());
    assert_eq!(
        pulls(&agent.woken(first, now()))[0].timeout,
        Duration::from_secs(5),
        "but counts"
    );
    let next = nginx(json!({"version": 1}));
    let effects = sync(&mut agent, &next);
    assert_eq!(effects[0], Effect::Cancel { run: first });
    assert_eq!(pulls(&effects).len(), 1);
    assert!(
        agent.pulled(first, fails(), now()).is_empty(),
        "a stopped worker reports nothing"
    );
    let gone = sync(&mut agent, &spec(json!({})));
    assert!(matches!(gone[..], [Effect::Cancel { .. }]) && agent.is_idle());
    assert_eq!(agent.status(&spec(json!({}))), NodeImageStatus::default());
}

/// inplace.md 13.18: resume after a restart of the agent from the status; and what the controller judged stands.
#[test]
fn what_has_ended_is_not_done_again() {
    let status = |version: i64| -> NodeImageStatus {
        let tag =
            json!({"tag": "1", "version": version, "phase": "Failed", "completionTime": NOW, "message": "m"});
        serde_json::from_value(json!({"imageStatuses": {"nginx": {"tags": [tag]}}})).unwrap()
    };
    let spec = nginx(json!({"version": 2}));
    let mut agent = Agent::new(None);
    assert!(agent.sync(&spec, &status(2), now()).is_empty());
    assert_eq!(agent.status(&spec).failed, 1);
    let mut other = Agent::new(None);
    let run = pulls(&other.sync(&spec, &status(1), now()))[0].run;
    assert_eq!(other.sync(&spec, &status(2), now()), [Effect::Cancel { run }]);
    assert_eq!(phase(&other, &spec), Some(PullPhase::Failed));
}

/// inplace.md 11.5: present and policy is exactly `IfNotPresent`; 13.18: so is an empty one.
#[test]
fn always_asks_the_registry() {
    for (policy, unless_present) in [("IfNotPresent", true), ("", true), ("Always", false)] {
        let mut agent = Agent::new(None);
        let effects = sync(&mut agent, &nginx(json!({"imagePullPolicy": policy})));
        assert_eq!(pulls(&effects)[0].unless_present, unless_present, "{policy}");
    }
}
