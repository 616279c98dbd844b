//! Are there enough sequences, of every class, and is each of them another one?

use std::collections::{BTreeMap, BTreeSet};

use crate::sequence::{Class, Sequence};
use crate::table;

/// Sequences in all, and of each class. Source: issue "The embedded cluster", 2.
const IN_ALL: usize = 400;
const OF_EACH: usize = 15;

/// What a sequence asks: verb, path, headers and body of each request, and how many events it reads. What differs in none
/// of them gets the same answers.
fn asked(sequence: &Sequence) -> String {
    let step = |step: &crate::sequence::Step| {
        let body = String::from_utf8_lossy(&step.body).into_owned();
        format!(
            "{} {} {:?} {body} {:?}",
            step.method, step.path, step.headers, step.events
        )
    };
    sequence.steps.iter().map(step).collect::<Vec<_>>().join("\n")
}

#[test]
fn every_class_has_its_sequences() {
    let all = table::all();
    let mut of_class: BTreeMap<Class, usize> = BTreeMap::new();
    for sequence in &all {
        *of_class.entry(sequence.class).or_default() += 1;
    }
    for class in Class::ALL {
        let count = of_class.get(&class).copied().unwrap_or_default();
        assert!(count >= OF_EACH, "{} has {count} sequences only", class.name());
    }
    assert!(all.len() >= IN_ALL, "{} sequences", all.len());
}

#[test]
fn no_sequence_asks_what_another_asks() {
    let mut seen: BTreeMap<String, &str> = BTreeMap::new();
    let all = table::all();
    for sequence in &all {
        if let Some(other) = seen.insert(asked(sequence), &sequence.name) {
            panic!("{} asks what {other} asks", sequence.name);
        }
    }
}

/// The kinds of requests of which the issue wants to see each: all types of patches in their class, both media types,
/// all three cascades.
#[test]
fn classes_hold_what_their_names_say() {
    let all = table::all();
    let has = |class: Class, is: &dyn Fn(&crate::sequence::Step) -> bool| {
        let steps = all.iter().filter(|s| s.class == class).flat_map(|s| &s.steps);
        steps.into_iter().any(is)
    };
    let says = |class, text: &str| {
        has(class, &|step| {
            step.path.contains(text)
                || String::from_utf8_lossy(&step.body).contains(text)
                || step.headers.iter().any(|(_, value)| value.contains(text))
        })
    };
    let wanted = [
        (Class::Patch, "application/merge-patch+json"),
        (Class::Patch, "application/strategic-merge-patch+json"),
        (Class::Patch, "application/json-patch+json"),
        (Class::Apply, "force=true"),
        (Class::Apply, "force=false"),
        (Class::Subresource, "/status"),
        (Class::Subresource, "/scale"),
        (Class::Subresource, "/binding"),
        (Class::Delete, "preconditions"),
        (Class::Finalizer, "Foreground"),
        (Class::Finalizer, "Orphan"),
        (Class::Finalizer, "Background"),
        (Class::Selector, "labelSelector"),
        (Class::Selector, "fieldSelector"),
        (Class::Paging, "continue=$(next)"),
        (Class::Watch, "allowWatchBookmarks"),
        (Class::Watch, "sendInitialEvents"),
        (Class::Table, "as=Table"),
        (Class::Discovery, "apidiscovery"),
        (Class::OpenApi, "/openapi/v3/apis/apps/v1"),
        (Class::Crd, "customresourcedefinitions"),
        (Class::Protobuf, "application/vnd.kubernetes.protobuf"),
        (Class::Strict, "fieldValidation=Strict"),
        (Class::Eviction, "/eviction"),
        (Class::GenerateName, "generateName"),
        (Class::DryRun, "dryRun=All"),
    ];
    let missing: BTreeSet<&str> = wanted
        .iter()
        .filter(|(class, text)| !says(*class, text))
        .map(|(_, text)| *text)
        .collect();
    assert!(missing.is_empty(), "no sequence of its class has {missing:?}");
}
