//! What is remembered of an arbiter. Source: statefulset.md 16.4.

use pitstop_api::view::Protection;

use super::*;

fn at(seconds: i64) -> Timestamp {
    Timestamp::from_second(1_800_000_000 + seconds).unwrap()
}

fn arbiter() -> Arbiter {
    let http = json!({"service": {"name": "arbiter", "port": 80}, "path": "/work"});
    let protection = Protection::of(&json!({"arbiter": {"http": http, "periodSeconds": 10}}));
    protection.unwrap().arbiter.unwrap()
}

/// Two pods, with uids 1 and 2.
fn pods() -> BTreeMap<Arc<str>, Uid> {
    [("web-0", 1), ("web-1", 2)]
        .map(|(name, uid)| (Arc::from(name), Uid(uid)))
        .into()
}

fn says(states: &[(&str, &str)], ttl_seconds: Option<u32>) -> Answer {
    let instances: Vec<Value> = states
        .iter()
        .map(|(name, state)| json!({"name": name, "state": state}))
        .collect();
    let answer = json!({"instances": instances, "ttlSeconds": ttl_seconds});
    serde_json::from_value(answer).unwrap()
}

fn silence() -> Result<Answer, String> {
    Err("connection refused".to_owned())
}

#[test]
fn it_is_asked_once_in_each_period_whether_it_answers_or_not() {
    for answer in [Ok(says(&[], None)), silence()] {
        let mut asked = Asked::default();
        let due = |asked: &Asked, seconds| asked.due_in(&arbiter(), at(seconds)).as_secs();
        assert_eq!(due(&asked, 0), 0, "it was never asked");
        asked.take(answer, &pods(), at(0));
        assert_eq!([0, 4, 10, 99].map(|seconds| due(&asked, seconds)), [10, 6, 0, 0]);
    }
}

#[test]
fn a_pod_that_it_does_not_name_is_unknown_to_it() {
    let mut asked = Asked::default();
    for (states, expected) in [
        (
            vec![("web-0", "working"), ("web-1", "idle")],
            [Observed::Working, Observed::Idle],
        ),
        (vec![("web-1", "working")], [Observed::Unknown, Observed::Working]),
        (
            vec![("web-0", "asleep"), ("other-0", "idle")],
            [Observed::Unknown; 2],
        ),
    ] {
        asked.take(Ok(says(&states, Some(7))), &pods(), at(5));
        let seen = [1, 2].map(|uid| {
            let mut seen = asked.answers.observations.iter();
            *seen.find(|one| one.pod == Uid(uid)).unwrap()
        });
        assert_eq!(seen.map(|one| one.state), expected, "{states:?}");
        assert!(
            seen.iter()
                .all(|one| (one.at, one.ttl_seconds) == (at(5), Some(7)))
        );
        assert_eq!(asked.answers.heard_at, Some(at(5)));
    }
}

/// 16.5: its silence and its return are told once, and what it said before stays until it is stale.
#[test]
fn its_silence_and_its_return_are_told_once() {
    let mut asked = Asked::default();
    let working = || Ok(says(&[("web-0", "working")], None));
    let why = Turn::Silent("connection refused".to_owned());
    // What it answers, what is told, and how many failures there are in a row then.
    for (seconds, (answer, told, failures)) in (0..).zip([
        (working(), None, 0),
        (silence(), Some(why), 1),
        (silence(), None, 2),
        (working(), Some(Turn::Back), 0),
        (working(), None, 0),
    ]) {
        let is_heard = answer.is_ok();
        assert_eq!(asked.take(answer, &pods(), at(seconds)), told, "{seconds}");
        assert_eq!(asked.answers.failures, failures, "{seconds}");
        assert_eq!(asked.answers.observations.len(), 2, "{seconds}");
        assert_eq!(asked.answers.heard_at == Some(at(seconds)), is_heard, "{seconds}");
    }
}

#[test]
fn what_is_granted_counts_for_its_time_and_what_is_not_is_asked_for_in_the_next_period() {
    let mut asked = Asked::default();
    let names = |asked: &Asked| -> Vec<(String, bool, i64)> {
        let claims = asked.answers.claimed.iter();
        claims
            .map(|one| {
                (
                    one.pod.to_string(),
                    one.is_granted,
                    one.until.duration_since(at(0)).as_secs(),
                )
            })
            .collect()
    };
    let [first, second]: [Arc<str>; 2] = ["web-0".into(), "web-1".into()];
    let both = [Arc::clone(&first), Arc::clone(&second)];
    asked.take_claim(&both, &["web-1".to_owned()], 120, &arbiter(), at(0));
    assert_eq!(
        names(&asked),
        [("web-0".to_owned(), false, 10), ("web-1".to_owned(), true, 120)]
    );
    // A later answer counts instead of the earlier one.
    asked.take_claim(
        std::slice::from_ref(&first),
        &["web-0".to_owned()],
        120,
        &arbiter(),
        at(10),
    );
    assert_eq!(
        names(&asked),
        [("web-1".to_owned(), true, 120), ("web-0".to_owned(), true, 130)]
    );
    asked.release(&[first], at(20));
    assert_eq!(names(&asked), [("web-1".to_owned(), true, 120)]);
    asked.release(&[], at(120));
    assert_eq!(names(&asked), [], "a claim ends by itself");
}
