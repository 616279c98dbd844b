//! cloneset.md 17: how many pods to add, to remove and to update.

use pitstop_api::Amount;
use pitstop_api::cloneset::scaling;
use pitstop_engine::cloneset::numbers::{Diff, Fact, Wanted, diff, frozen_partition};
use pitstop_engine::cloneset::{Counted, limit};
use serde_json::Value;

/// One row: replicas, settings, pods, and the expected columns up, down, dR, sg, upd.
type Row = (&'static str, u32, &'static str, &'static str, &'static str);

/// What the settings of a row say; `minReadySeconds` is in the signs of its pods.
struct Settings {
    partition: Value,
    max_unavailable: Value,
    max_surge: Value,
    scale_max_unavailable: Option<u32>,
    is_current: bool,
    is_rollback: bool,
    excludes: bool,
    is_paused: bool,
    is_frozen: bool,
    is_on_delete: bool,
    preparing_is_new: bool,
}

fn settings(text: &str, is_rollback: bool) -> Settings {
    let number = |text: &str| {
        text.parse::<u32>()
            .map_or_else(|_| Value::from(text), Value::from)
    };
    let mut settings = Settings {
        partition: Value::from(0),
        max_unavailable: Value::from(1),
        max_surge: Value::from(0),
        scale_max_unavailable: None,
        is_current: false,
        is_rollback,
        excludes: false,
        is_paused: false,
        is_frozen: false,
        is_on_delete: false,
        preparing_is_new: false,
    };
    for word in text.split_whitespace() {
        match word.split_once('=').unwrap_or((word, "")) {
            ("P", value) => settings.partition = number(value),
            ("M", value) => settings.max_unavailable = number(value),
            ("S", value) => settings.max_surge = number(value),
            ("SM", value) => settings.scale_max_unavailable = value.parse().ok(),
            ("current", _) => settings.is_current = true,
            ("off", _) => settings.is_rollback = false,
            ("exclude", _) => settings.excludes = true,
            ("paused", _) => settings.is_paused = true,
            ("frozen", _) => settings.is_frozen = true,
            ("OnDelete", _) => settings.is_on_delete = true,
            ("preparing", _) => settings.preparing_is_new = true,
            (other, _) => panic!("{other}"),
        }
    }
    settings
}

/// Pods in the notation of the tables.
fn facts(picture: &str, preparing_is_new: bool) -> Vec<Fact> {
    let mut facts = Vec::new();
    for word in picture.split_whitespace() {
        let (n, letters) = word.split_at(word.find(|c: char| !c.is_ascii_digit()).unwrap());
        let has = |c: char| letters.contains(c);
        let fact = Fact {
            is_new: has('n') || (preparing_is_new && has('P')),
            is_available: has('+') && !has('D') && !has('P') && !has('U'),
            is_specified: has('!'),
            is_preparing_delete: has('D'),
        };
        facts.extend(std::iter::repeat_n(fact, n.parse().unwrap()));
    }
    facts
}

fn found(replicas: u32, text: &str, picture: &str, is_rollback: bool) -> Diff {
    let settings = settings(text, is_rollback);
    let amount = |value: &Value| Some(Amount::of(value));
    let facts = facts(picture, settings.preparing_is_new);
    let max_surge =
        scaling::max_surge(amount(&settings.max_surge).as_ref(), replicas, settings.is_paused).unwrap();
    let max_unavailable = if settings.is_on_delete {
        scaling::max_unavailable_on_delete(replicas)
    } else {
        scaling::max_unavailable(amount(&settings.max_unavailable).as_ref(), replicas, max_surge).unwrap()
    };
    let written = scaling::partition(amount(&settings.partition).as_ref(), replicas).unwrap();
    let wanted = Wanted {
        is_on_delete: settings.is_on_delete,
        replicas,
        partition: if settings.is_frozen {
            frozen_partition(replicas, &facts)
        } else {
            written
        },
        max_surge,
        max_unavailable,
        scale_max_unavailable: settings.scale_max_unavailable,
        may_go_back: settings.is_rollback && !settings.is_current,
        excludes_preparing_delete: settings.excludes,
    };
    diff(wanted, facts)
}

/// The columns of a row, as the tables write them.
fn columns(diff: Diff) -> String {
    let up = match (diff.scale_up, diff.scale_up_old, diff.scale_up_limit) {
        (0, _, _) => ".".to_owned(),
        (up, old, limit) => format!("{up}/{old}/{limit}"),
    };
    let pair = |a: u32, b: u32| {
        if a == 0 {
            ".".to_owned()
        } else {
            format!("{a}/{b}")
        }
    };
    let update = match diff.update {
        0 => ".".to_owned(),
        n => format!("{n}/{}", diff.update_max_unavailable),
    };
    let (down, surge) = (
        pair(diff.scale_down, diff.scale_down_old),
        pair(diff.use_surge, diff.use_surge_old),
    );
    format!("{up} {down} {} {surge} {update}", diff.delete_ready_limit)
}

fn check(rows: &[Row], is_rollback: bool) {
    for (row, replicas, settings, pods, want) in rows {
        let words: Vec<&str> = want.split_whitespace().collect();
        let [up, down, room, surge, update] = words.as_slice() else {
            panic!("{row}: {want}")
        };
        let room = if *room == "." { "0" } else { room };
        let got = columns(found(*replicas, settings, pods, is_rollback));
        assert_eq!(
            got,
            format!("{up} {down} {room} {surge} {update}"),
            "{row}: {replicas} {settings} {pods}"
        );
    }
}

/// 17, D1 to D54, with the rollback gate on.
#[test]
fn rows_of_the_reference() {
    check(
        &[
            ("D1", 0, "", "", ". . . . ."),
            ("D2", 5, "", "", "5/0/5 . . . ."),
            ("D3", 5, "", "5n+", ". . . . ."),
            ("D4", 5, "", "4n+ 1n+!", ". . 1 . ."),
            ("D5", 5, "", "4n+", "1/0/1 . . . ."),
            ("D6", 5, "", "3n+ 2n+!", ". . 1 . ."),
            ("D7", 5, "", "3n+ 1n+!", "1/0/1 . . . ."),
            ("D8", 5, "", "3n+ 1n+! 1n-", ". . 0 . ."),
            ("D9", 4, "", "3n+ 2n-!", ". . 2 . ."),
            ("D10", 4, "", "3n+", "1/0/1 . . . ."),
            ("D11", 5, "P=3", "5o+", ". . . . 2/1"),
            ("D12", 5, "P=3", "4o+ 1n+", ". . . . 1/1"),
            ("D13", 5, "P=3", "3o+ 2n+", ". . . . ."),
            ("D14", 5, "P=4 M=2", "1o+ 4n+", ". . . . -3/2"),
            ("D15", 5, "P=4 M=2", "3o+ 2n+", ". . . . -1/2"),
            ("D16", 5, "P=4 off", "1o+ 4n+", ". . . . ."),
            ("D17", 5, "M=0 S=1", "4n+ 1n+!", "1/0/1 . 0 1/0 ."),
            ("D18", 5, "M=0 S=1", "4n+ 1n+! 1n-", ". . 0 1/0 ."),
            ("D19", 5, "M=0 S=1", "5n+ 1n+!", ". . 1 1/0 ."),
            ("D20", 5, "P=3 S=1", "5o+", "1/0/1 . . 1/0 2/1"),
            ("D21", 5, "P=3 S=1", "5o+ 1n-", ". . . 1/0 1/2"),
            ("D22", 5, "P=3 S=1", "4o+ 1nU- 1n-", ". 1/1 0 . ."),
            ("D23", 5, "P=3 S=1", "4o+ 1n+ 1n-", ". 1/1 1 . ."),
            ("D24", 5, "P=3 S=1", "4o+ 1o+! 1n-", ". . 1 1/1 1/2"),
            ("D25", 5, "P=3 S=1", "4o+ 1n-", "1/0/1 . . 1/0 1/1"),
            ("D26", 5, "P=3 S=1", "4o+ 2n-", ". 1/1 0 . ."),
            ("D27", 5, "P=3 S=1", "3o+ 2n+", ". . . . ."),
            ("D28", 5, "P=99% M=3 S=2", "5o+", "1/0/1 . . 1/0 1/3"),
            ("D29", 5, "P=99% M=3 S=2", "5o+ 1n-", ". 1/1 3 . ."),
            ("D30", 5, "P=99% M=3 S=2", "4o+ 1n-", ". . . . ."),
            ("D31", 5, "P=99% M=40% S=30%", "5o+", "1/0/1 . . 1/0 1/2"),
            ("D32", 5, "P=99% M=40% S=30%", "5o+ 1n-", ". 1/1 2 . ."),
            ("D33", 5, "P=99% M=30% S=30%", "5o+", "1/0/1 . . 1/0 1/1"),
            ("D34", 5, "P=3 current", "5n+", ". . . . ."),
            ("D35", 5, "P=3 current", "2o+ 3n+", ". . . . ."),
            ("D36", 5, "P=1 current", "3o+ 2n+", ". . . . 2/1"),
            ("D37", 5, "P=1 M=2 current", "2o+ 2n+", "1/0/1 . . . 1/1"),
            ("D38", 5, "P=1 current", "3o+ 3n+", ". 1/2 2 . 1/2"),
            ("D39", 5, "SM=2", "", "5/0/2 . . . ."),
            ("D40", 6, "SM=2", "2n+ 1n-", "3/0/1 . . . ."),
            ("D41", 6, "SM=2", "1n+ 2n-", "3/0/0 . . . ."),
            ("D42", 3, "", "2n+ 1n+D!", ". . . . ."),
            ("D43", 3, "exclude", "2n+ 1n+!", ". . 1 . ."),
            ("D44", 3, "exclude", "2n+ 1n+D!", "1/0/1 . . . ."),
            ("D45", 3, "exclude", "2n+ 1n+D! 1n-", ". . . . ."),
            ("D46", 3, "exclude", "3n+ 1n-", ". 1/0 1 . ."),
            ("D47", 2, "exclude", "2n+ 1n+!", ". . 2 . ."),
            ("D48", 2, "exclude", "2n+ 1n+D!", ". . . . ."),
            ("D49", 4, "P=90% exclude preparing", "2o+ 1o+P", "1/1/1 . . . ."),
            ("D50", 4, "P=2 exclude preparing", "2o+ 1o+P", "1/0/1 . . . ."),
            ("D51", 5, "M=0 S=3 paused", "3o+", "2/0/2 . . . 3/-2"),
            ("D52", 3, "M=0 S=3 paused", "5o+", ". 2/5 2 . 3/2"),
            ("D53", 5, "M=0 S=3 paused", "5o+ 3n-", ". 3/5 0 . 2/3"),
            ("D54", 5, "P=2 M=0 S=3 paused", "5o+ 3n-", ". 3/3 0 . ."),
        ],
        true,
    );
}

/// 17, E2 to E21, with the rollback gate off. E1, E6, E16 and E20 differ from upstream: 18.7, 18.21, 18.6,
/// 18.8.
#[test]
fn rows_that_follow_from_the_rules() {
    check(
        &[
            ("E1, 18.7", 4, "OnDelete", "3n+ 1n+!", ". . 1 . ."),
            ("E2", 5, "OnDelete", "4n+ 1n+!", ". . 1 . ."),
            ("E3", 5, "M=2 S=1", "1n- 1n+! 3n+", ". . 1 . ."),
            ("E4", 5, "M=1 S=1", "1n- 1n+! 3n+", "1/0/1 . 0 1/0 ."),
            ("E5", 5, "M=1 S=1", "1n-! 4n+", ". . 1 . ."),
            ("E6, 18.21", 5, "M=0 S=3", "3o+ 2n+ 1n-", "2/0/2 . . 3/0 2/1"),
            ("E7", 8, "P=6 M=0 S=50%", "8o+", "2/0/2 . . 2/0 2/0"),
            ("E8", 1, "M=10% S=50%", "1n+ 1o-", ". 1/1 0 . ."),
            ("E9", 4, "M=20% S=0", "4o+", ". . . . 4/1"),
            ("E10", 4, "M=20% S=1", "4o+", "1/0/1 . . 1/0 4/0"),
            ("E11", 8, "P=3", "3o+ 2n+", "3/0/3 . . . ."),
            ("E12", 10, "P=50%", "3o+ 3n+", "4/2/4 . . . ."),
            ("E13", 5, "P=3", "2o+ 2n+", "1/1/1 . . . ."),
            ("E14", 5, "P=3", "3o+ 1n+", "1/0/1 . . . ."),
            ("E15", 10, "P=10", "5o+ 5o- 5n+ 5n-", ". 10/0 1 . ."),
            ("E16, 18.6", 3, "SM=1 exclude", "2n+ 1n+D!", "1/0/1 . . . ."),
            ("E17", 3, "M=20% current", "5n-", ". 2/0 0 . ."),
            ("E18", 3, "M=20% current", "4n+ 1n+!", ". 1/0 3 . ."),
            ("E19", 3, "M=20% current", "5n+", ". 2/0 3 . ."),
            ("E20", 5, "M=1 paused", "4o+", "1/0/1 . . . 4/0"),
            ("E20, 18.8", 5, "M=1 paused frozen", "4o+", "1/1/1 . . . ."),
            ("D52, 18.8", 3, "M=0 S=3 paused frozen", "5o+", ". 2/2 2 . ."),
            ("D53, 18.8", 5, "M=0 S=3 paused frozen", "5o+ 3n-", ". 3/0 0 . ."),
            ("E21", 2, "", "2n+ 1n+ 1n+D", ". 2/0 2 . ."),
        ],
        false,
    );
}

/// 18.21: pods on top stay as many as may be and are needed, and follow `maxSurge` while the rollout runs.
#[test]
fn surge_neither_shrinks_nor_freezes() {
    check(
        &[
            ("first", 6, "M=0 S=3", "6o+", "3/0/3 . . 3/0 6/0"),
            ("middle", 6, "M=0 S=3", "3o+ 4n+", "2/0/2 . . 3/0 2/1"),
            ("two left", 6, "M=0 S=3", "2o+ 5n+", "1/0/1 . . 2/0 1/1"),
            ("all new are there", 6, "M=0 S=3", "2o+ 6n+", ". 2/2 2 . ."),
            ("raised from 1", 6, "M=0 S=3", "5o+ 2n+", "2/0/2 . . 3/0 4/1"),
            ("lowered from 3", 6, "M=0 S=1", "4o+ 4n+", ". 1/4 2 1/0 2/2"),
            ("back", 5, "P=3 M=0 S=2", "1o+ 4n+", "2/4/2 . . 2/2 -2/0"),
            (
                "middle of the way back",
                5,
                "P=3 M=0 S=2",
                "2o+ 4n+",
                "1/3/1 . . 2/2 -1/1",
            ),
        ],
        true,
    );
}

/// 17, U1 to U17: how many of the waiting pods are picked.
#[test]
fn pods_are_picked_within_the_budget() {
    for (row, replicas, settings, pods, want) in [
        ("U1", 3, "M=20%", "o+ o+ o+", (3, 1, 1)),
        ("U2", 3, "M=20%", "o+ o- o+", (3, 1, 0)),
        ("U3", 3, "M=20%", "o- o+ o+", (3, 1, 1)),
        ("U4", 10, "M=20%", "o- o+ o+ o+ o+ o+ o+ o+ o- n+", (9, 2, 1)),
        ("U5", 3, "P=2 M=3", "o- o+ n+", (0, 0, 0)),
        ("U6", 8, "P=2 M=3", "o+ o+ o+ o+ o+ o+ o+ n+", (5, 3, 3)),
        ("U7", 5, "M=2", "o- o- o- o- o-", (5, 2, 2)),
        ("U8", 5, "M=2", "o- o- o- n- n-", (3, 2, 0)),
        ("U9", 5, "M=2", "o- o- o- n+ n-", (3, 2, 1)),
        ("U10", 5, "M=2 S=1", "o- o- o- o- o- n-", (4, 3, 2)),
        ("U11", 5, "M=2 S=1", "o- o- o- o- n+ n-", (3, 3, 2)),
        ("U12", 5, "M=2 S=1", "o- o- o- n- n+ n-", (2, 3, 1)),
        ("U13", 5, "M=2 S=1", "o- o- o- n- n- n-", (2, 3, 0)),
        ("U14", 8, "P=7 M=3", "o+ o+ o+ n- n- n- n- n-", (-4, 3, 3)),
        ("U15", 4, "M=2 S=1", "o+ o+ n+ n+ n+", (1, 3, 1)),
        ("U16", 4, "M=2 S=1", "o+ o+ o+ o+ n+ n+", (2, 4, 2)),
        ("U17", 4, "M=20% S=1", "o+ o+ o+ o+", (4, 0, 0)),
    ] {
        let picture: Vec<String> = pods.split(' ').map(|pod| format!("1{pod}")).collect();
        let picture = picture.join(" ");
        let diff = found(replicas, settings, &picture, row == "U14");
        let goes_back = diff.update < 0;
        let facts = facts(&picture, false);
        let counted: Vec<Counted> = facts
            .iter()
            .map(|fact| Counted {
                is_available: fact.is_available,
                is_at_target: fact.is_new != goes_back,
            })
            .collect();
        let waiting = (0..facts.len()).filter(|i| !counted[*i].is_at_target);
        let n = usize::try_from(diff.update.unsigned_abs()).unwrap();
        let picked = limit(waiting.take(n), &counted, diff.update_max_unavailable, |_| false);
        assert_eq!(
            (diff.update, diff.update_max_unavailable, picked.len()),
            want,
            "{row}"
        );
        if row == "U14" {
            assert_eq!(picked, [3, 4, 5], "{row}");
        }
    }
}

/// inplace.md 12.6, rows L1 to L7; 13.7.
#[test]
fn an_update_that_touches_no_container_costs_nothing() {
    let pod = |letter: char| Counted {
        is_available: matches!(letter, 'o' | 'n'),
        is_at_target: matches!(letter, 'n' | 'N'),
    };
    for (row, pods, max_unavailable, want) in [
        ("L1", "ooo", 1, 1),
        ("L2", "oOo", 1, 0),
        ("L3", "Ooo", 1, 1),
        ("L4", "OOOOO", 2, 2),
        ("L5", "OOONN", 2, 0),
        ("L6", "OOOnN", 2, 1),
        ("L7", "OOOOON", 3, 2),
    ] {
        let counted: Vec<Counted> = pods.chars().map(pod).collect();
        let waiting: Vec<usize> = (0..counted.len()).filter(|i| !counted[*i].is_at_target).collect();
        assert_eq!(
            limit(waiting.clone(), &counted, max_unavailable, |_| false).len(),
            want,
            "{row}"
        );
        assert_eq!(
            limit(waiting.clone(), &counted, max_unavailable, |_| true),
            waiting,
            "{row}: 13.7"
        );
    }
}
