//! What the generator makes requests of: kinds, right objects of them, and values for their fields.

use std::collections::BTreeMap;

use serde_json::{Value, json};

const FILE: &str = include_str!("subjects.txt");

/// A kind.
#[derive(Debug, Clone)]
pub(crate) struct Subject {
    /// As sequences write it.
    pub(crate) path: &'static str,
    api_version: &'static str,
    kind: &'static str,
    pub(crate) has_status: bool,
    pub(crate) has_scale: bool,
    pub(crate) is_cluster_wide: bool,
    /// Is it applied? The owners of what is written all the time are not recorded.
    pub(crate) is_applied: bool,
    template: Value,
    pub(crate) field_selector: Option<&'static str>,
    pub(crate) places: Vec<Place>,
    /// What the status endpoint may be asked to write.
    pub(crate) status_places: Vec<Place>,
}

/// A field and what may be put there.
#[derive(Debug, Clone)]
pub(crate) struct Place {
    pub(crate) pointer: String,
    pub(crate) values: Vec<Value>,
}

impl Subject {
    /// What stands for an object's name in paths and bodies: those of kinds outside namespaces are shared by everybody.
    pub(crate) fn name(&self, name: &str) -> String {
        if self.is_cluster_wide {
            format!("$(ns)-{name}")
        } else {
            name.to_owned()
        }
    }

    /// An object without content.
    pub(crate) fn bare(&self, name: &str) -> Value {
        json!({"apiVersion": self.api_version, "kind": self.kind, "metadata": {"name": self.name(name)}})
    }

    /// An object that is right.
    pub(crate) fn object(&self, name: &str) -> Value {
        let mut object = self.bare(name);
        object["metadata"]["labels"] = json!({"of": "$(ns)"});
        if let (Some(object), Some(content)) = (object.as_object_mut(), self.template.as_object()) {
            object.extend(content.clone());
        }
        object
    }
}

/// All of them.
pub(crate) fn all() -> Vec<Subject> {
    let sections: Vec<(&str, Vec<&str>)> = FILE.split("\n== ").skip(1).map(section).collect();
    let parts: BTreeMap<&str, &Vec<&str>> = sections
        .iter()
        .filter(|(head, _)| head.starts_with('@'))
        .map(|(head, lines)| (*head, lines))
        .collect();
    sections
        .iter()
        .filter(|(head, _)| !head.starts_with('@'))
        .map(|(head, lines)| subject(head, lines, &parts))
        .collect()
}

fn section(text: &'static str) -> (&'static str, Vec<&'static str>) {
    let mut lines = text.lines();
    let head = lines.next().unwrap_or_default();
    (head, lines.filter(|line| !line.is_empty()).collect())
}

fn subject(head: &'static str, lines: &[&'static str], parts: &BTreeMap<&str, &Vec<&str>>) -> Subject {
    let words: Vec<&'static str> = head.split(' ').collect();
    let &[path, api_version, kind, ref abilities @ ..] = words.as_slice() else {
        panic!("{head} is no kind");
    };
    let mut subject = Subject {
        path,
        api_version,
        kind,
        has_status: abilities.contains(&"status"),
        has_scale: abilities.contains(&"scale"),
        is_cluster_wide: abilities.contains(&"cluster"),
        is_applied: !abilities.contains(&"unapplied"),
        template: Value::Null,
        field_selector: None,
        places: Vec::new(),
        status_places: Vec::new(),
    };
    add(&mut subject.places, "@metadata ", parts);
    for line in lines {
        match line.split_once(' ') {
            Some(("=", template)) => subject.template = template.parse().unwrap(),
            Some(("?", selector)) => subject.field_selector = Some(selector),
            Some(("status", place)) => add(&mut subject.status_places, place, parts),
            _ => add(&mut subject.places, line, parts),
        }
    }
    subject
}

/// Adds the places that a line names.
fn add(places: &mut Vec<Place>, line: &str, parts: &BTreeMap<&str, &Vec<&str>>) {
    let (pointer, rest) = line.split_once(' ').unwrap_or((line, ""));
    if let Some(part) = parts.get(pointer) {
        let mut inner = Vec::new();
        for line in *part {
            add(&mut inner, line, parts);
        }
        places.extend(inner.into_iter().map(|place| Place {
            pointer: format!("{rest}{}", place.pointer.trim_end_matches('/')),
            ..place
        }));
        return;
    }
    let values = serde_json::Deserializer::from_str(rest).into_iter();
    places.push(Place {
        pointer: pointer.to_owned(),
        values: values
            .collect::<Result<_, _>>()
            .unwrap_or_else(|error| panic!("{line}: {error}")),
    });
}

#[test]
fn every_kind_has_an_object_and_fields() {
    let all = all();
    assert!(all.len() >= 14);
    for subject in all {
        assert!(subject.template.is_object(), "{} has no template", subject.path);
        assert!(subject.places.len() > 12, "{} has too few fields", subject.path);
        assert!(
            subject.has_status != subject.status_places.is_empty(),
            "{}",
            subject.path
        );
        let pointers = subject.places.iter().chain(&subject.status_places);
        for place in pointers {
            assert!(
                place.pointer.starts_with('/'),
                "{}: {}",
                subject.path,
                place.pointer
            );
            assert!(!place.values.is_empty(), "{}: {}", subject.path, place.pointer);
        }
    }
}
