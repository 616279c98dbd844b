use http::Method;

use super::*;

const NOW: Timestamp = Timestamp::UNIX_EPOCH;

fn namespace(finalizers: &[&str], is_deleting: bool) -> Arc<Namespace> {
    let deleted = is_deleting.then_some("2026-01-01T00:00:00Z");
    let namespace = json!({
        "metadata": {"name": "team", "uid": "u", "deletionTimestamp": deleted}, "spec": {"finalizers": finalizers},
    });
    Arc::new(serde_json::from_value(namespace).unwrap())
}

/// Answers every question of a round: pods as given, nothing of other kinds.
fn answer(namespaces: &mut Namespaces, pods: &Value) -> Vec<Write> {
    let kinds = kinds::all().iter();
    let kinds = kinds.filter(|kind| kind.namespaced && (kind.group, kind.plural) == kind.stored_as);
    let none = json!({"items": []});
    kinds
        .flat_map(|kind| {
            let list = if kind.plural == "pods" { pods } else { &none };
            namespaces.on_cleared("team", false);
            namespaces.on_remains("team", kind, &Ok(list.clone()), NOW)
        })
        .collect()
}

#[test]
fn a_namespace_is_furnished_once_and_again_when_something_is_taken_away() {
    let mut namespaces = Namespaces::new(Some("pem".into()), &Selection::all());
    let paths = |writes: Vec<Write>| writes.into_iter().map(|w| w.path).collect::<Vec<_>>();
    let both = [
        "/api/v1/namespaces/team/serviceaccounts",
        "/api/v1/namespaces/team/configmaps",
    ];
    assert_eq!(
        paths(namespaces.on_namespace(&namespace(&[], false), false)),
        both
    );
    assert!(namespaces.on_namespace(&namespace(&[], false), false).is_empty());
    let again = namespaces.on_object_gone("team", "ServiceAccount", "default", false);
    assert_eq!(paths(again), both);
    assert!(
        namespaces
            .on_object_gone("team", "ServiceAccount", "other", false)
            .is_empty()
    );
}

#[test]
fn a_namespace_ends_when_every_kind_was_listed_empty() {
    let mut namespaces = Namespaces::default();
    let ending = namespace(&["kubernetes"], true);
    let begun = namespaces.on_namespace(&ending, false);
    assert!(begun.iter().all(|write| write.method == Method::DELETE));
    assert!(
        namespaces.on_namespace(&ending, false).is_empty(),
        "one round at a time"
    );
    let last = answer(&mut namespaces, &json!({"items": []}));
    let [finalize] = last.as_slice() else {
        panic!("{last:?}");
    };
    assert_eq!(finalize.path, "/api/v1/namespaces/team/finalize");
    assert_eq!(finalize.body.as_ref().unwrap()["spec"]["finalizers"], json!([]));
    assert!(namespaces.retry_all().is_empty(), "not again while it is asked");
    namespaces.on_finalized("team", true);
    assert!(!namespaces.retry_all().is_empty(), "a refusal is tried again");
}

#[test]
fn finalizers_of_others_are_left_and_do_not_make_it_spin() {
    let mut namespaces = Namespaces::default();
    namespaces.on_namespace(&namespace(&["kubernetes", "theirs"], true), false);
    let last = answer(&mut namespaces, &json!({"items": []}));
    assert_eq!(
        last[0].body.as_ref().unwrap()["spec"]["finalizers"],
        json!(["theirs"])
    );
    namespaces.on_finalized("team", false);
    namespaces.on_namespace(&namespace(&["theirs"], true), false);
    assert!(namespaces.retry_all().is_empty());
}

#[test]
fn what_is_left_is_told_once_and_looked_at_again() {
    let mut namespaces = Namespaces::default();
    namespaces.on_namespace(&namespace(&["kubernetes"], true), false);
    let pods = json!({
        "metadata": {"remainingItemCount": 5},
        "items": [{"metadata": {"finalizers": ["a/b"]}}, {"metadata": {}}],
    });
    let told = answer(&mut namespaces, &pods);
    let conditions = told[0].body.as_ref().unwrap()["status"]["conditions"].clone();
    let shown: Vec<String> = conditions
        .as_array()
        .unwrap()
        .iter()
        .map(|c| {
            format!(
                "{} {} {}",
                c["type"].as_str().unwrap(),
                c["status"].as_str().unwrap(),
                c["message"].as_str().unwrap()
            )
        })
        .collect();
    assert_eq!(
        shown,
        [
            "NamespaceDeletionContentFailure False All content successfully deleted, may be waiting on finalization",
            "NamespaceContentRemaining True Some resources are remaining: pods. has 7 resource instances",
            "NamespaceFinalizersRemaining True Some content in the namespace has finalizers remaining: a/b in 1 \
             resource instances",
        ]
    );
    assert!(!namespaces.retry_all().is_empty());
    assert!(answer(&mut namespaces, &pods).is_empty(), "the same is told once");
    assert!(!namespaces.on_object_gone("team", "Pod", "p", true).is_empty());
    assert!(
        namespaces.on_object_gone("team", "Pod", "q", true).is_empty(),
        "a round is under way"
    );
    let again = answer(&mut namespaces, &pods);
    assert!(
        again.iter().all(|write| write.method == Method::DELETE) && !again.is_empty(),
        "something went during the round"
    );
}
