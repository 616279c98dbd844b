use super::*;
use crate::intents::tests::mk_intent;
use std::time::Duration;
use tokio::time::Instant;

fn facts<'a>(now: &str, synced: bool, open: &'a mut dyn FnMut(&Gate) -> bool) -> Facts<'a> {
    Facts {
        now: now.parse().unwrap(),
        clock_synced: synced,
        open,
    }
}

fn at(policy: &str, now: &str) -> Option<Waiting> {
    let policy = Policy::parse(policy).unwrap();
    policy.waits(&mk_intent(), &mut facts(now, true, &mut |_| true))
}

// hub.md B8: to < from crosses midnight; local time, with its changes of the clock.
#[test]
fn windows_are_in_local_time() {
    let night = r#"rules: [{windows: [{days: [mon-fri], from: "22:00", to: "05:00", tz: Europe/Berlin}]}]"#;
    for (now, open) in [
        ("2026-11-20T21:30:00Z", true),  // Friday 22:30
        ("2026-11-20T20:59:59Z", false), // Friday 21:59:59
        ("2026-11-21T03:59:59Z", true),  // Saturday 04:59:59, begun on Friday
        ("2026-11-21T04:00:00Z", false), // Saturday 05:00
        ("2026-11-21T21:30:00Z", false), // Saturday 22:30
        ("2026-11-23T01:00:00Z", false), // Monday 02:00: Sunday's did not begin
        ("2026-07-17T20:30:00Z", true),  // Friday 22:30 in summer
        ("2026-07-17T19:59:00Z", false), // Friday 21:59 in summer
    ] {
        assert_eq!(at(night, now), (!open).then_some(Waiting::Window), "{now}");
    }
    let day = r#"rules: [{windows: [{days: [sat-mon], from: "08:00", to: "10:00", tz: UTC}]}]"#;
    for (now, open) in [
        ("2026-11-21T08:00:00Z", true),
        ("2026-11-22T09:59:59Z", true),
        ("2026-11-23T09:00:00Z", true),
        ("2026-11-24T09:00:00Z", false),
        ("2026-11-21T10:00:00Z", false),
    ] {
        assert_eq!(at(day, now), (!open).then_some(Waiting::Window), "{now}");
    }
}

#[test]
fn a_clock_that_cannot_be_believed_closes_windows_if_the_rule_says_so() {
    for (rule, expected) in [("deny", Some(Waiting::Window)), ("allow", None)] {
        let text = format!(
            r#"rules: [{{windows: [{{from: "00:00", to: "23:59", tz: UTC}}], unsyncedClock: {rule}}}]"#
        );
        let policy = Policy::parse(&text).unwrap();
        let mut open = |_: &Gate| true;
        let waits = policy.waits(&mk_intent(), &mut facts("2026-11-21T08:00:00Z", false, &mut open));
        assert_eq!(waits, expected, "{rule}");
    }
}

#[test]
fn the_first_rule_that_matches_counts() {
    let text =
        |matches: &str| format!("rules: [{{match: {matches}, approval: {{required: true}}}}, {{gates: []}}]");
    let now = "2026-11-21T08:00:00Z";
    // The intent is of default/nginx-a, owned by DaemonSet/nginx.
    for (matches, expected) in [
        ("{}", true),
        ("{namespaces: [default]}", true),
        ("{namespaces: [drive-*]}", false),
        ("{namespaces: ['*']}", true),
        ("{namespaces: [kube-system, def*lt]}", true),
        ("{owners: [DaemonSet/*]}", true),
        ("{owners: [DaemonSet/nginx]}", true),
        ("{owners: [StatefulSet/*]}", false),
        ("{namespaces: [default], owners: [DaemonSet/other]}", false),
    ] {
        assert_eq!(
            at(&text(matches), now),
            expected.then_some(Waiting::Approval),
            "{matches}"
        );
    }
}

#[test]
fn patterns_have_stars_anywhere() {
    for (pattern, text, expected) in [
        ("a", "a", true),
        ("a", "ab", false),
        ("a*", "ab", true),
        ("*b", "ab", true),
        ("a*c*e", "abcde", true),
        ("a*c*e", "abde", false),
        ("a**b", "ab", true),
        ("*", "", true),
        ("a*a", "a", false),
        ("", "", true),
    ] {
        assert_eq!(matches(pattern, text), expected, "{pattern} {text}");
    }
}

#[test]
fn consent_is_of_those_who_are_listed() {
    let text = |distinct| {
        format!(
            "rules: [{{approval: {{required: true, by: ['uid:1000', 'token:headunit'], distinct: {distinct}}}}}]"
        )
    };
    let intent = mk_intent(); // asked for by uid 1000
    let uid = |uid| By {
        uid: Some(uid),
        ..By::default()
    };
    let token = By {
        uid: Some(1000),
        token: Some("headunit".to_owned()),
        ..By::default()
    };
    let policy = Policy::parse(&text(false)).unwrap();
    assert!(policy.may_approve(&intent, &uid(1000)) && policy.may_approve(&intent, &token));
    assert!(!policy.may_approve(&intent, &uid(0)) && !policy.may_approve(&intent, &By::default()));
    let policy = Policy::parse(&text(true)).unwrap();
    assert!(!policy.may_approve(&intent, &uid(1000)));
    assert!(Policy::default().may_approve(&intent, &uid(5)));
}

#[test]
fn mistakes_are_told_by_name() {
    for (text, told) in [
        ("rules: [{windows: [{from: '22:00', to: '22:00'}]}]", "is empty"),
        ("rules: [{windows: [{from: '25:00', to: '22:00'}]}]", "is no time"),
        (
            "rules: [{windows: [{days: [someday], from: '1:00', to: '22:00'}]}]",
            "is no day",
        ),
        (
            "rules: [{windows: [{from: '01:00', to: '22:00', tz: Mars/Base}]}]",
            "Mars/Base",
        ),
        (
            "rules: [{gates: [{name: a, file: /a, equals: x, for: ever}]}]",
            "is no duration",
        ),
        ("rules: [{gate: []}]", "gate"),
        ("rule: []", "rule"),
    ] {
        let error = Policy::parse(text).unwrap_err();
        assert!(error.contains(told), "{text}: {error}");
    }
    assert_eq!(Policy::parse(" \n").unwrap(), Policy::default());
}

#[test]
fn a_gate_is_open_while_its_file_says_so() {
    let folder = tempfile::tempdir().unwrap();
    let file = folder.path().join("parked");
    let text = format!(
        "rules: [{{gates: [{{name: parked, file: {}, equals: '1', for: 30s}}]}}]",
        file.display()
    );
    let policy = Policy::parse(&text).unwrap();
    let gate = policy.lasting_gates().next().unwrap();
    let (mut gates, start) = (Gates::default(), Instant::now());
    let second = |n| start + Duration::from_secs(n);
    assert!(!gates.open(gate, start), "missing");
    std::fs::write(&file, "1\n").unwrap();
    assert!(!gates.open(gate, second(0)));
    assert!(!gates.open(gate, second(29)));
    assert!(gates.open(gate, second(30)));
    std::fs::write(&file, "0\n").unwrap();
    assert!(!gates.open(gate, second(31)));
    std::fs::write(&file, "1\n").unwrap();
    assert!(!gates.open(gate, second(32)) && gates.open(gate, second(62)));
    std::fs::write(&file, format!("1{}", " ".repeat(64))).unwrap();
    assert!(!gates.open(gate, second(63)), "longer than 64 bytes");
    std::fs::remove_file(&file).unwrap();
    std::fs::create_dir(&file).unwrap();
    assert!(!gates.open(gate, second(64)), "no file");
}

#[test]
fn a_broken_file_keeps_the_last_good_rules() {
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("policy.yaml");
    let mut file = PolicyFile::new();
    assert_eq!(*file.refresh(&path), Policy::default());
    assert!(file.valid());
    std::fs::write(&path, "rules: [{approval: {required: true}}]").unwrap();
    let good = file.refresh(&path).clone();
    assert_ne!(good, Policy::default());
    std::fs::write(&path, "rules: {").unwrap();
    assert_eq!(*file.refresh(&path), good);
    assert!(!file.valid());
    std::fs::write(&path, "rules: []").unwrap();
    assert_eq!(*file.refresh(&path), Policy::default());
    assert!(file.valid());
}
