//! Which pods go first: inplace.md 10, 12.6, 12.7; cloneset.md 8.2, 9.

use std::sync::Arc;

use jiff::Timestamp;
use pitstop_api::selector::{LabelSelector, Labels};
use pitstop_api::view::{
    ContainerStatus, InPlaceView, MissingKey, NodeNames, NodeSlot, NodeView, Phase, PodLabels, PodView,
    PriorityStrategy, ScatterTerm, WeightTerm,
};
use pitstop_engine::order::deletion::{Candidate, Rank, Spread, cost, deletion_order, ranks};
use pitstop_engine::order::priority::number_at_end;
use pitstop_engine::order::topology::Constraint;
use pitstop_engine::order::update_order;
use pitstop_engine::snapshot::Nodes;
use proptest::prelude::*;
use serde_json::{Value, json};

use crate::cluster::{at, ready};
use crate::live::LivePod;

/// A pod that runs and is ready, whose name is its index.
fn pod(i: usize) -> PodView {
    let mut pod = LivePod::running(&["c1=foo1"]).view();
    pod.name = format!("web-{i:03}").into();
    pod.ready = ready(true, -500);
    pod.labels = PodLabels::default();
    pod
}

fn labelled(i: usize, labels: &[(&str, &str)]) -> PodView {
    let mut pod = pod(i);
    pod.labels = labels.iter().map(|(k, v)| ((*k).into(), (*v).into())).collect();
    pod
}

fn order_of(
    pods: &[PodView],
    candidates: &[usize],
    priority: &PriorityStrategy,
    terms: &[ScatterTerm],
) -> Vec<usize> {
    let pods: Vec<&PodView> = pods.iter().collect();
    update_order(&pods, candidates.to_vec(), usize::MAX, priority, terms)
}

fn all(pods: &[PodView]) -> Vec<usize> {
    (0..pods.len()).collect()
}

/// 12.6, rows F1 and F9.
#[test]
fn pods_that_are_worth_least_are_updated_first() {
    let mut pods: Vec<PodView> = (0..5).map(pod).collect();
    pods[0].phase = Phase::Pending;
    pods[1].phase = Phase::Pending;
    pods[1].ready = ready(false, -500);
    pods[4].ready = ready(false, -500);
    let none = PriorityStrategy::None;
    assert_eq!(order_of(&pods, &[0, 1, 3, 4], &none, &[]), [1, 0, 4, 3], "F1");

    pods[3].labels = labelled(3, &[("lifecycle.apps.kruise.io/state", "PreparingUpdate")]).labels;
    assert_eq!(order_of(&pods, &[0, 1, 3, 4], &none, &[]), [3, 1, 0, 4], "F9");
}

/// 10.1, step 2, one rule at a time.
#[test]
fn each_rule_of_worth_decides_when_the_ones_before_are_equal() {
    type Make = fn(&mut PodView);
    let none = PriorityStrategy::None;
    let rules: [(&str, Make); 8] = [
        ("unscheduled", |pod| pod.bound = false),
        ("phase", |pod| pod.phase = Phase::Unknown),
        ("not ready", |pod| pod.ready = ready(false, -500)),
        ("ready since never", |pod| {
            pod.ready.as_mut().unwrap().since = None;
        }),
        ("ready later", |pod| pod.ready = ready(true, -400)),
        ("restarts", |pod| restart(pod, 3)),
        ("no creation time", |pod| pod.created_at = Timestamp::UNIX_EPOCH),
        ("younger", |pod| pod.created_at = at(-100)),
    ];
    for (rule, make) in rules {
        let mut pods: Vec<PodView> = (0..3).map(pod).collect();
        make(&mut pods[2]);
        assert_eq!(
            order_of(&pods, &all(&pods), &none, &[]),
            [2, 0, 1],
            "{rule}, then the name"
        );
    }
}

fn restart(pod: &mut PodView, count: i32) {
    let mut view: InPlaceView = (**pod.in_place.as_ref().unwrap()).clone();
    view.statuses.push(ContainerStatus {
        restart_count: count,
        ..ContainerStatus::default()
    });
    pod.in_place = Some(Arc::new(view));
}

fn weights(terms: &[(&str, &str, u32)]) -> PriorityStrategy {
    let term = |(key, value, weight): &(&str, &str, u32)| {
        let selector = LabelSelector {
            match_labels: Labels::from([((*key).into(), (*value).into())]),
            ..LabelSelector::default()
        };
        WeightTerm {
            weight: *weight,
            selector: selector.selector(),
        }
    };
    PriorityStrategy::Weight(terms.iter().map(term).collect())
}

fn keys(keys: &[&str], missing_key: MissingKey) -> PriorityStrategy {
    PriorityStrategy::Order {
        keys: keys.iter().map(|key| (*key).into()).collect(),
        missing_key,
    }
}

/// 12.6, rows F2 to F8; 13.14.
#[test]
fn priorities_of_the_workload_come_before_worth() {
    let key = |i, pairs: &[(&str, &str)]| labelled(i, pairs);
    let (one, two, three) = (("key1", "v"), ("key2", "v"), ("key3", "v"));
    let table: [(&str, PriorityStrategy, Vec<PodView>, Vec<usize>); 9] = [
        (
            "F2",
            weights(&[("foo", "bar", 100), ("hello", "world", 90)]),
            vec![
                key(0, &[("hello", "world")]),
                pod(1),
                key(2, &[("foo", "bar")]),
                pod(3),
            ],
            vec![2, 0, 1, 3],
        ),
        (
            "F3",
            weights(&[("key1", "v", 20), ("key2", "v", 10), ("key3", "v", 15)]),
            vec![key(0, &[one]), key(1, &[two, three])],
            vec![1, 0],
        ),
        (
            "F4",
            weights(&[("key1", "v", 20), ("key2", "v", 10), ("key3", "v", 5)]),
            vec![key(0, &[two, three]), key(1, &[one])],
            vec![1, 0],
        ),
        (
            "F5",
            keys(&["key1"], MissingKey::First),
            vec![key(0, &[("key1", "o-5")]), key(1, &[("key1", "o-10")])],
            vec![1, 0],
        ),
        (
            "F6",
            keys(&["key1", "key2"], MissingKey::First),
            vec![key(0, &[("key2", "o-20")]), key(1, &[("key1", "o-10")])],
            vec![1, 0],
        ),
        (
            "F7",
            keys(&["key1"], MissingKey::First),
            vec![key(0, &[("key1", "o-9")]), pod(1)],
            vec![1, 0],
        ),
        (
            "13.14",
            keys(&["key1"], MissingKey::Last),
            vec![pod(0), key(1, &[("key1", "o-9")])],
            vec![1, 0],
        ),
        (
            "both terms match nothing",
            weights(&[("x", "y", 100)]),
            vec![pod(0), pod(1)],
            vec![0, 1],
        ),
        (
            "equal levels keep their order",
            keys(&["key1"], MissingKey::First),
            vec![key(0, &[("key1", "a")]), key(1, &[("key1", "b")])],
            vec![0, 1],
        ),
    ];
    for (row, strategy, pods, want) in table {
        assert_eq!(order_of(&pods, &all(&pods), &strategy, &[]), want, "{row}");
    }
    for (value, want) in [
        ("5", 5),
        ("sts-10", 10),
        ("x-007", 7),
        ("12abc", 0),
        ("", 0),
        ("99999999999999999999", 0),
        ("٣", 0),
    ] {
        assert_eq!(number_at_end(value), want, "F8: {value:?}");
    }
}

fn scattered(picture: &str, n_candidates: usize, terms: &str) -> Vec<usize> {
    let pods: Vec<PodView> = picture
        .split_whitespace()
        .enumerate()
        .map(|(i, letters)| {
            let letters: Vec<String> = letters.chars().filter(|c| *c != '.').map(String::from).collect();
            let labels: Vec<(&str, &str)> = letters.iter().map(|letter| (letter.as_str(), "v")).collect();
            labelled(i, &labels)
        })
        .collect();
    let terms: Vec<ScatterTerm> = terms
        .chars()
        .map(|letter| ScatterTerm {
            key: letter.to_string().into(),
            value: "v".into(),
        })
        .collect();
    let candidates: Vec<usize> = (0..n_candidates).collect();
    order_of(&pods, &candidates, &PriorityStrategy::None, &terms)
}

/// 12.6, rows S1 to S13; cloneset.md 9.3.
#[test]
fn pods_with_a_label_are_spread_over_the_rollout() {
    for (row, picture, n, terms, want) in [
        ("S1", ". . . . A A", 6, "A", &[4, 0, 1, 2, 3, 5][..]),
        ("S2", ". . . A A A", 6, "A", &[3, 0, 1, 4, 2, 5]),
        ("S3", ". . . . . . A A A", 9, "A", &[6, 0, 1, 2, 7, 3, 4, 5, 8]),
        ("S4", ". . A A A A", 6, "A", &[2, 3, 0, 4, 1, 5]),
        ("S5", ". . A . A A A A A", 9, "A", &[2, 4, 0, 5, 6, 1, 7, 3, 8]),
        ("S6", "A .", 2, "A", &[0, 1]),
        ("S6", ". A . .", 4, "A", &[0, 1, 2, 3]),
        (
            "S7",
            "A . . A . . . A . .",
            10,
            "A",
            &[0, 1, 2, 4, 5, 3, 6, 8, 9, 7],
        ),
        ("S8", ". . . . A A A", 6, "A", &[0, 1, 4, 2, 3, 5]),
        ("S9", "A A . . . . . . . A", 7, "A", &[2, 0, 3, 4, 5, 6, 1]),
        ("S10", "B B . . A A", 6, "AB", &[0, 4, 2, 3, 5, 1]),
        ("S11", ". . . B AB A", 6, "AB", &[4, 0, 1, 2, 5, 3]),
        (
            "S12",
            ". . . . . . B A A B",
            10,
            "BA",
            &[7, 6, 0, 1, 2, 3, 4, 5, 9, 8],
        ),
        (
            "S12",
            ". . . . . . B A A B",
            10,
            "AB",
            &[6, 7, 0, 1, 2, 3, 4, 5, 8, 9],
        ),
        (
            "S13",
            ". A A B B C C C C C",
            10,
            "ABC",
            &[3, 1, 5, 0, 6, 7, 8, 9, 2, 4],
        ),
        ("cloneset.md 9.3", ". . . A . . A", 7, "A", &[3, 0, 1, 2, 4, 5, 6]),
        (
            "cloneset.md 9.3",
            ". A . A . . A A A",
            9,
            "A",
            &[1, 0, 3, 2, 6, 4, 7, 5, 8],
        ),
        (
            "cloneset.md 9.3",
            ". . . . . . . A A A",
            10,
            "A",
            &[7, 0, 1, 2, 3, 8, 4, 5, 6, 9],
        ),
    ] {
        assert_eq!(scattered(picture, n, terms), want, "{row}: {picture}");
    }
}

/// 12.6, row S14.
#[test]
fn weights_come_before_scattering() {
    let pods: Vec<PodView> = (0..6)
        .map(|i| {
            if matches!(i, 1 | 2 | 4) {
                labelled(i, &[("A", "v"), ("w", &i.to_string())])
            } else {
                pod(i)
            }
        })
        .collect();
    let strategy = weights(&[("w", "4", 30), ("w", "2", 20), ("w", "1", 10)]);
    let terms = [ScatterTerm {
        key: "A".into(),
        value: "v".into(),
    }];
    assert_eq!(
        order_of(&pods, &all(&pods), &strategy, &terms),
        [4, 0, 3, 2, 5, 1]
    );
}

fn candidates(pods: &[PodView]) -> Vec<Candidate<'_>> {
    pods.iter()
        .map(|pod| Candidate {
            pod,
            is_available: pod.is_ready(),
        })
        .collect()
}

/// 12.7, rows G1 to G4.
#[test]
fn pods_that_serve_least_are_deleted_first() {
    let mut pods: Vec<PodView> = (0..7).map(pod).collect();
    pods.reverse();
    pods[0].ready = ready(true, -2_592_000);
    pods[1].ready = ready(true, 0);
    pods[2].ready.as_mut().unwrap().since = None;
    pods[3].ready = ready(false, -500);
    pods[4].phase = Phase::Unknown;
    pods[5].phase = Phase::Pending;
    pods[6].bound = false;
    pods[6].phase = Phase::Pending;
    for pod in &mut pods {
        pod.node = None;
    }
    assert_eq!(
        deletion_order(&candidates(&pods), Spread::SameNode),
        [6, 5, 4, 3, 2, 1, 0],
        "G1"
    );

    let mut pods = vec![pod(0), pod(1)];
    for pod in &mut pods {
        pod.node = None;
    }
    restart(&mut pods[1], 9001);
    assert_eq!(deletion_order(&candidates(&pods), Spread::SameNode), [1, 0], "G2");

    let mut pods = vec![pod(0), pod(1)];
    for pod in &mut pods {
        pod.node = None;
    }
    pods[0].created_at = at(-2_592_000);
    pods[1].created_at = at(0);
    assert_eq!(deletion_order(&candidates(&pods), Spread::SameNode), [1, 0], "G3");

    let priced = |text: &str| {
        LivePod::running(&["c1=foo1"])
            .annotation("controller.kubernetes.io/pod-deletion-cost", text)
            .view()
    };
    let mut pods = vec![priced("100"), priced("10")];
    pods[1].name = "web-2".into();
    assert_eq!(deletion_order(&candidates(&pods), Spread::SameNode), [1, 0], "G4");
    for (text, want) in [
        ("10", 10),
        ("-5", -5),
        ("0", 0),
        ("+5", 0),
        ("007", 0),
        ("x", 0),
        ("2147483648", 0),
        ("", 0),
    ] {
        assert_eq!(cost(&priced(text)), want, "G4: {text:?}");
    }
}

/// 12.7, row G5.
#[test]
fn of_several_pods_on_a_node_some_go_first() {
    let mut pods: Vec<PodView> = (0..11).map(pod).collect();
    for (node, on_it) in [
        (0, vec![0, 4, 10]),
        (1, vec![3, 6]),
        (2, vec![5]),
        (3, vec![7, 8, 9]),
    ] {
        for i in on_it {
            pods[i].node = Some(NodeSlot(node));
        }
    }
    for i in [1, 2] {
        pods[i].node = None;
        pods[i].bound = false;
    }
    let found = ranks(&candidates(&pods), Spread::SameNode);
    let found: Vec<f64> = found.iter().map(|rank| rank.crowded).collect();
    let want = [2.0, 0.0, 0.0, 1.0, 1.0, 0.0, 0.0, 2.0, 1.0, 0.0, 0.0];
    assert_eq!(found, want);
}

/// The nodes of the example of cloneset.md 8.2, and their pods.
struct Zones {
    names: NodeNames,
    nodes: Vec<Option<Arc<NodeView>>>,
    pods: Vec<PodView>,
}

fn zones() -> Zones {
    let mut names = NodeNames::default();
    let (mut nodes, mut pods) = (Vec::new(), Vec::new());
    for (name, zone, n) in [
        ("a", "", 2),
        ("b", "z1", 2),
        ("c", "z1", 3),
        ("d", "z1", 5),
        ("e", "z2", 5),
        ("f", "z2", 3),
        ("i", "z3", 5),
    ] {
        let slot = names.slot(name);
        let labels = if zone.is_empty() {
            Labels::new()
        } else {
            Labels::from([
                ("zone".into(), zone.into()),
                ("kubernetes.io/hostname".into(), name.into()),
            ])
        };
        nodes.push(Some(Arc::new(NodeView {
            name: name.into(),
            slot,
            uid: pitstop_api::view::Uid(u128::from(slot.0)),
            resource_version: 1,
            created_at: at(-1000),
            labels,
            taints: Vec::new(),
            unschedulable: false,
            ready: ready(true, -1000),
            maintenance: None,
        })));
        for i in 0..n {
            let mut made = pod(0);
            made.name = format!("{name}{i}").into();
            made.node = Some(slot);
            pods.push(made);
        }
    }
    Zones { names, nodes, pods }
}

impl Zones {
    fn nodes<'a>(&'a self, by_name: &'a [NodeSlot]) -> Nodes<'a> {
        Nodes {
            names: &self.names,
            by_slot: &self.nodes,
            by_name,
        }
    }

    /// Names of those of the pods that may go, by rank, with a bar between different ranks.
    fn by_rank(&self, constraints: &Value, may_go: impl Fn(&str) -> bool) -> String {
        let by_name: Vec<NodeSlot> = (0..self.nodes.len())
            .map(|i| NodeSlot(u32::try_from(i).unwrap()))
            .collect();
        let template = json!({ "spec": { "topologySpreadConstraints": constraints } });
        let active: Vec<&PodView> = self.pods.iter().collect();
        let candidate = |pod| Candidate {
            pod,
            is_available: true,
        };
        let candidates: Vec<Candidate<'_>> = active
            .iter()
            .filter(|pod| may_go(&pod.name))
            .map(|pod| candidate(*pod))
            .collect();
        let spread = Spread::Topology {
            constraints: &Constraint::all_of(&template),
            active: &active,
            nodes: self.nodes(&by_name),
        };
        let found = ranks(&candidates, spread);
        let mut ranked: Vec<(Rank, &str)> = found
            .into_iter()
            .zip(candidates.iter().map(|candidate| &*candidate.pod.name))
            .collect();
        ranked.retain(|(rank, _)| rank.crowded > 0.0);
        ranked.sort_by(|a, b| b.0.total_cmp(&a.0).then(a.1.cmp(b.1)));
        let is_same = |a: &Rank, b: &Rank| a.too_many == b.too_many && (a.crowded - b.crowded).abs() < 1e-9;
        let groups = ranked.chunk_by(|a, b| is_same(&a.0, &b.0));
        let text = |group: &[(Rank, &str)]| group.iter().map(|(_, name)| *name).collect::<Vec<_>>().join(" ");
        groups.map(text).collect::<Vec<_>>().join(" | ")
    }
}

/// A constraint that counts all pods.
fn constraint(key: &str, max_skew: u32) -> Value {
    json!({ "topologyKey": key, "maxSkew": max_skew, "whenUnsatisfiable": "ScheduleAnyway", "labelSelector": {} })
}

/// 12.7, row G6; cloneset.md 8.2: where nothing violates a constraint.
#[test]
fn pods_of_crowded_domains_go_first() {
    let zones = zones();
    assert_eq!(
        zones.by_rank(&json!([constraint("zone", 10)]), |_| true),
        "d0 | d1 | c0 e0 | d2 e1 | b0 e2 | c1 f0 i0 | d3 e3 i1 | b1 f1 i2 | c2 e4 i3 | d4 f2 i4"
    );
    let both = json!([constraint("zone", 10), constraint("kubernetes.io/hostname", 10)]);
    let both = zones.by_rank(&both, |_| true);
    let order: Vec<&str> = both.split_whitespace().filter(|word| *word != "|").collect();
    assert_eq!(
        order.join(" "),
        "d0 e0 d1 e1 c0 i0 d2 e2 i1 f0 b0 c1 i2 d3 e3 f1 i3 b1 c2 e4 d4 f2 i4"
    );
}

/// cloneset.md 18.28: z1 has 10 pods, z2 has 8, z3 has 5.
#[test]
fn who_goes_depends_on_all_pods_of_a_domain() {
    let zones = zones();
    // Of the pods that may go, most are in z3.
    let may_go = |name: &str| matches!(name, "b0" | "e0" | "i0" | "i1" | "i2");
    assert_eq!(
        zones.by_rank(&json!([constraint("zone", 10)]), may_go),
        "b0 | e0 | i0 | i1 | i2"
    );
    // In a zone, a pod goes first that shares its node with others, though they stay.
    assert_eq!(
        zones.by_rank(&json!([constraint("zone", 10)]), |name| matches!(
            name,
            "b0" | "d0"
        )),
        "d0 | b0"
    );
    // Two hosts of two and of five pods.
    let hosts = json!([constraint("kubernetes.io/hostname", 10)]);
    assert_eq!(
        zones.by_rank(&hosts, |name| matches!(name, "b0" | "d0" | "f0")),
        "d0 | f0 | b0"
    );
}

/// cloneset.md 18.28.
#[test]
fn a_constraint_that_is_violated_decides_before_others() {
    let zones = zones();
    let of = |zone: u32, host: u32| {
        let constraints = json!([
            constraint("zone", zone),
            constraint("kubernetes.io/hostname", host)
        ]);
        zones.by_rank(&constraints, |name| matches!(name, "b0" | "e0"))
    };
    // b0 is in z1, of 10 pods, on a host of 2; e0 is in z2, of 8, on a host of 5.
    assert_eq!(of(10, 10), "e0 | b0", "the sum of both");
    assert_eq!(of(2, 10), "b0 | e0", "the least zone has 5: by 3 and 1 too many");
    assert_eq!(of(10, 2), "e0 | b0", "the least host has 2: by 0 and 1 too many");
}

/// cloneset.md 18.28.
#[test]
fn pods_that_a_constraint_does_not_count_are_no_crowd() {
    let mut zones = zones();
    for pod in &mut zones.pods {
        let is_web = !pod.name.starts_with('d');
        let release = if pod.name.starts_with('i') { "new" } else { "old" };
        let app = if is_web { "web" } else { "other" };
        pod.labels = [("app", app), ("release", release)]
            .map(|(k, v)| (k.into(), v.into()))
            .into_iter()
            .collect();
    }
    let one_each = |name: &str| matches!(name, "b0" | "d0" | "e0" | "i0");
    let mut zone = constraint("zone", 10);
    assert_eq!(
        zones.by_rank(&json!([zone]), one_each),
        "d0 | b0 | e0 | i0",
        "10, 8 and 5"
    );
    zone["labelSelector"] = json!({ "matchLabels": { "app": "web" } });
    assert_eq!(
        zones.by_rank(&json!([zone]), one_each),
        "e0 | b0 i0",
        "5, 8 and 5"
    );
    // New pods are in z3 alone, old ones in z1 and z2.
    zone["maxSkew"] = json!(4);
    zone["matchLabelKeys"] = json!(["release"]);
    assert_eq!(
        zones.by_rank(&json!([zone]), one_each),
        "e0 | b0 i0",
        "by 4, 1 and 1 too many"
    );
    zone["labelSelector"] = Value::Null;
    assert_eq!(
        zones.by_rank(&json!([zone]), one_each),
        "",
        "without a selector it counts none"
    );
}

proptest! {
    /// 14: whatever the pods are, an order has each candidate once.
    #[test]
    fn orders_are_permutations(
        facts in prop::collection::vec((any::<bool>(), any::<bool>(), 0_u8..4, any::<bool>()), 0..40),
        terms in prop::sample::select(vec!["", "A", "AB"]),
        keyed in any::<bool>(),
    ) {
        let pods: Vec<PodView> = facts.iter().enumerate().map(|(i, (is_ready, has_a, b, _))| {
            let b = format!("o-{b}");
            let mut labels = vec![("B", b.as_str())];
            if *has_a {
                labels.push(("A", "v"));
            }
            let mut pod = labelled(i, &labels);
            pod.ready = ready(*is_ready, -500);
            pod
        }).collect();
        let chosen: Vec<usize> = (0..facts.len()).filter(|i| facts[*i].3).collect();
        let terms: Vec<ScatterTerm> = terms.chars().map(|key| ScatterTerm {
            key: key.to_string().into(),
            value: if key == 'A' { "v".into() } else { "o-1".into() },
        }).collect();
        let strategy = if keyed { keys(&["B"], MissingKey::First) } else { weights(&[("A", "v", 5)]) };
        let all_of_them: Vec<&PodView> = pods.iter().collect();
        let none = PriorityStrategy::None;
        let first = update_order(&all_of_them, chosen.clone(), 3, &none, &[]);
        prop_assert!(order_of(&pods, &chosen, &none, &[]).starts_with(&first) && first.len() == chosen.len().min(3));
        let mut order = order_of(&pods, &chosen, &strategy, &terms);
        prop_assert_eq!(&order, &order_of(&pods, &chosen, &strategy, &terms));
        order.sort_unstable();
        prop_assert_eq!(order, chosen);
        let mut deleted = deletion_order(&candidates(&pods), Spread::SameNode);
        deleted.sort_unstable();
        prop_assert_eq!(deleted, all(&pods));
    }
}

/// 10.2: strategies as users write them.
#[test]
fn strategies_are_read_as_written() {
    let read = |value| serde_json::from_value::<PriorityStrategy>(value).unwrap();
    assert_eq!(
        read(json!({ "orderPriority": [{ "orderedKey": "key1" }] })),
        keys(&["key1"], MissingKey::First)
    );
}
