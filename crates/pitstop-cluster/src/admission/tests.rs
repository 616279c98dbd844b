use super::*;
use crate::kinds;

fn kind(group: &str, plural: &str) -> &'static Kind {
    kinds::find(group, "v1", plural).unwrap()
}

fn request<'a>(kind: &'static Kind, subresource: &'static str, user: &'a User) -> Request<'a> {
    Request {
        operation: Operation::Update,
        kind,
        form: Form::of(kind),
        subresource,
        name: "x".to_owned(),
        namespace: "default".to_owned(),
        user,
        options: json!({}),
        dry_run: false,
    }
}

fn configured(webhook: Value) -> Webhook {
    let mut webhook = webhook;
    let map = webhook.as_object_mut().unwrap();
    map.insert("name".to_owned(), "a.b.c".into());
    map.insert("clientConfig".to_owned(), json!({"url": "https://a"}));
    webhooks(&json!({"webhooks": [webhook]})).remove(0)
}

fn ruled(rule: &Value) -> Webhook {
    configured(json!({"rules": [rule]}))
}

#[test]
fn rules_take_what_they_name() {
    let user = User::named("me");
    let takes = |operation: &str, group: &str, version: &str, resource: &str, scope: &str| {
        let webhook = ruled(&json!({
            "operations": [operation], "apiGroups": [group], "apiVersions": [version],
            "resources": [resource], "scope": scope,
        }));
        let of = |kind, subresource| webhook.form_of(&request(kind, subresource, &user), &[]).is_some();
        [
            of(kind("apps", "deployments"), ""),
            of(kind("apps", "deployments"), "status"),
            of(kind("", "nodes"), ""),
        ]
    };
    assert_eq!(takes("*", "*", "*", "*/*", "*"), [true, true, true]);
    assert_eq!(takes("UPDATE", "*", "*", "*", "*"), [true, false, true]);
    assert_eq!(takes("CREATE", "*", "*", "*/*", "*"), [false, false, false]);
    assert_eq!(takes("*", "apps", "v1", "deployments", "*"), [true, false, false]);
    assert_eq!(
        takes("*", "apps", "v1", "deployments/*", "*"),
        [true, true, false]
    );
    assert_eq!(takes("*", "apps", "v1", "*/status", "*"), [false, true, false]);
    assert_eq!(
        takes("*", "apps", "v2", "deployments", "*"),
        [false, false, false]
    );
    assert_eq!(takes("*", "*", "*", "*", "Cluster"), [false, false, true]);
    assert_eq!(takes("*", "*", "*", "*", "Namespaced"), [true, false, false]);
}

#[test]
fn the_same_object_in_another_version_counts_unless_the_match_is_exact() {
    let user = User::named("me");
    let (core, events) = (kind("", "events"), kind("events.k8s.io", "events"));
    for (policy, taken) in [("Equivalent", true), ("Exact", false)] {
        let webhook = configured(json!({
            "matchPolicy": policy,
            "rules": [{"operations": ["*"], "apiGroups": [""], "apiVersions": ["v1"], "resources": ["events"]}],
        }));
        let form = webhook.form_of(&request(events, "", &user), &[core]);
        assert_eq!(form.map(|kind| kind.group), taken.then_some(""));
    }
}

#[test]
fn selectors_look_at_both_objects_and_at_the_namespace() {
    let webhook = configured(json!({
        "objectSelector": {"matchLabels": {"a": "b"}}, "namespaceSelector": {"matchLabels": {"n": "m"}},
    }));
    let labelled = json!({"metadata": {"labels": {"a": "b"}}});
    let bare = json!({"metadata": {}});
    let namespace = |labels: Value| move || Some(json!({"metadata": {"labels": labels}}));
    let objects = |new, old| Objects { new, old };
    let (yes, no) = (json!({"n": "m"}), json!({}));
    assert!(webhook.selects(objects(Some(&labelled), None), namespace(yes.clone())));
    assert!(webhook.selects(objects(Some(&bare), Some(&labelled)), namespace(yes.clone())));
    assert!(!webhook.selects(objects(Some(&bare), Some(&bare)), namespace(yes)));
    assert!(!webhook.selects(objects(Some(&labelled), None), namespace(no)));
    assert!(
        webhook.selects(objects(Some(&labelled), None), || None),
        "in no namespace"
    );
    assert!(configured(json!({})).selects(objects(None, Some(&bare)), namespace(json!({}))));
}

#[test]
fn a_review_is_what_a_real_server_sends() {
    let mut user = User::named("me");
    user.groups = vec!["g".to_owned()];
    let webhook = ruled(&json!({}));
    let asked = request(kind("", "pods"), "eviction", &user);
    let asked = Request {
        form: Form::of(&kinds::EVICTION),
        operation: Operation::Create,
        ..asked
    };
    let body = json!({"kind": "Eviction"});
    let review = webhook.review(
        &asked,
        asked.kind,
        Objects {
            new: Some(&body),
            old: None,
        },
        "u",
    );
    let pods = json!({"group": "", "version": "v1", "resource": "pods"});
    let eviction = json!({"group": "policy", "version": "v1", "kind": "Eviction"});
    assert_eq!(
        review,
        json!({"kind": "AdmissionReview", "apiVersion": "admission.k8s.io/v1", "request": {
            "uid": "u", "kind": eviction, "resource": pods, "subResource": "eviction",
            "requestKind": eviction, "requestResource": pods, "requestSubResource": "eviction",
            "name": "x", "namespace": "default", "operation": "CREATE",
            "userInfo": {"username": "me", "groups": ["g"]},
            "object": body, "oldObject": null, "dryRun": false, "options": {},
        }})
    );
}

#[test]
fn answers_are_judged_in_the_words_of_a_real_server() {
    let webhook = ruled(&json!({}));
    let verdict = |response: Value, mutates: bool| {
        let answer =
            json!({"apiVersion": "admission.k8s.io/v1", "kind": "AdmissionReview", "response": response});
        webhook.verdict(&answer, "u", mutates)
    };
    let denied = |status: Value| {
        let said = verdict(json!({"uid": "u", "allowed": false, "status": status}), false);
        let denial = said.unwrap().denial.unwrap();
        (denial.code.as_u16(), denial.reason, denial.message)
    };
    let start = "admission webhook \"a.b.c\" denied the request";
    assert_eq!(
        denied(json!({"message": "no", "code": 418, "reason": "Odd"})),
        (418, "Odd".to_owned(), format!("{start}: no"))
    );
    assert_eq!(
        denied(json!({"reason": "Because", "code": 200})),
        (400, "Because".to_owned(), format!("{start}: Because"))
    );
    assert_eq!(
        denied(Value::Null),
        (400, String::new(), format!("{start} without explanation"))
    );
    let invalid = |why: &str| Err(format!("received invalid webhook response: {why}"));
    assert_eq!(
        verdict(json!({"uid": "x", "allowed": true}), false),
        invalid("expected response.uid=\"u\", got \"x\"")
    );
    assert_eq!(
        verdict(Value::Null, false),
        invalid("webhook response was absent")
    );
    assert_eq!(
        verdict(json!({"uid": "u", "allowed": true, "patch": "W10="}), false),
        invalid("validating webhook may not return response.patch")
    );
    assert_eq!(
        verdict(json!({"uid": "u", "allowed": true, "patch": "W10="}), true),
        invalid("webhook returned response.patch but not response.patchType")
    );
    let patched = verdict(
        json!({"uid": "u", "allowed": true, "patch": "W10=", "patchType": "JSONPatch", "warnings": ["w"]}),
        true,
    );
    assert_eq!(
        patched,
        Ok(Verdict {
            denial: None,
            patch: Some(b"[]".to_vec()),
            warnings: vec!["w".to_owned()]
        })
    );
}
