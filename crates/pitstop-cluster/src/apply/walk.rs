//! Walks over one or two objects along their type.

use serde_json::{Map, Value};

use super::fields::{Fields, readable};
use super::structure::{Key, Type, View};

/// What differs between two objects.
#[derive(Debug, Clone, PartialEq, Eq, Default)]
pub struct Changes {
    /// Paths that only the new one has.
    pub added: Fields,
    /// Paths with another value.
    pub modified: Fields,
    /// Paths that only the old one has.
    pub removed: Fields,
}

impl Changes {
    /// Paths that have a value of the writer's.
    pub(super) fn taken(&self) -> Fields {
        self.added.union(&self.modified)
    }

    /// Forgets all at and below the paths of a set.
    pub fn exclude(&mut self, fields: &Fields) {
        if !fields.is_empty() {
            for changed in [&mut self.added, &mut self.modified, &mut self.removed] {
                *changed = changed.without_below(fields);
            }
        }
    }
}

/// A list whose elements cannot be told apart.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{path}: {why}")]
pub struct InvalidList {
    /// Where it is, e.g. `.spec.template.spec.containers`.
    pub path: String,
    /// What is wrong.
    pub why: String,
}

/// All fields of an object.
pub fn fields_of(object: &Value, structure: Type<'_>) -> Result<Fields, InvalidList> {
    let mut path = Vec::new();
    Ok(collect(object, structure, &mut path)?.1)
}

/// Is the value itself a member, and what is below it?
fn collect(
    value: &Value,
    structure: Type<'_>,
    path: &mut Vec<String>,
) -> Result<(bool, Fields), InvalidList> {
    let mut fields = Fields::default();
    let view = structure.view(value);
    match (view, value) {
        (View::Named, Value::Object(map)) => {
            for (name, child) in map {
                let step = format!("f:{name}");
                path.push(step);
                let (whole, below) = collect(child, structure.field(name), path)?;
                let step = path.pop().unwrap_or_default();
                let bare = child.is_null() || child.as_object().is_some_and(Map::is_empty);
                fields.put(&step, whole || bare || !structure.declares(name), below);
            }
            Ok((false, fields))
        }
        (View::Set | View::Keyed(_), Value::Array(list)) => {
            for (step, child) in unique(list, view, path)? {
                path.push(step);
                let (_, below) = collect(child, structure.element(), path)?;
                let step = path.pop().unwrap_or_default();
                fields.put(&step, true, below);
            }
            Ok((false, fields))
        }
        (View::Set | View::Keyed(_), Value::Null) => Ok((false, fields)),
        _ => Ok((true, fields)),
    }
}

/// The elements of a list, each with its step. Elements that cannot be told apart are an error.
fn unique<'v>(
    list: &'v [Value],
    view: View<'_>,
    path: &[String],
) -> Result<Vec<(String, &'v Value)>, InvalidList> {
    let invalid = |why: String| InvalidList {
        path: path.iter().map(|step| readable(step)).collect(),
        why,
    };
    let mut steps: Vec<(String, &Value)> = Vec::with_capacity(list.len());
    for (index, element) in list.iter().enumerate() {
        let step = step_of(element, view).map_err(|why| invalid(format!("element {index}: {why}")))?;
        if steps.iter().any(|(seen, _)| *seen == step) {
            return Err(invalid(format!("duplicate entries for key {}", readable(&step))));
        }
        steps.push((step, element));
    }
    Ok(steps)
}

/// The elements of a stored list: one that cannot be told apart is known by its place.
fn indexed<'v>(value: Option<&'v Value>, view: View<'_>) -> Vec<(String, &'v Value)> {
    let list = value
        .and_then(Value::as_array)
        .map(Vec::as_slice)
        .unwrap_or_default();
    let steps = list.iter().enumerate().map(|(index, element)| {
        let step = step_of(element, view).unwrap_or_else(|_| format!("i:{index}"));
        (step, element)
    });
    steps.collect()
}

fn step_of(element: &Value, view: View<'_>) -> Result<String, String> {
    match view {
        View::Keyed(keys) => keyed_step(element, keys),
        _ if element.is_object() || element.is_array() => {
            Err("associative list without keys has an element that's a list or a map".to_owned())
        }
        _ => Ok(format!("v:{element}")),
    }
}

fn keyed_step(element: &Value, keys: &[Key]) -> Result<String, String> {
    let element = element
        .as_object()
        .ok_or("associative list with keys may not have non-map elements")?;
    let mut values = Map::new();
    for key in keys {
        let value = element.get(&key.name).filter(|value| !value.is_null());
        if let Some(value) = value.or(key.default.as_ref()) {
            values.insert(key.name.clone(), value.clone());
        } else if let [only] = keys {
            return Err(format!(
                "associative list with keys has an element that omits key field \"{}\" (and doesn't have default value)",
                only.name
            ));
        }
    }
    if values.is_empty() {
        return Err("associative list with keys has an element that omits all key fields".to_owned());
    }
    Ok(format!("k:{}", Value::Object(values)))
}

/// What differs between two objects. `Null` is no object.
pub fn compare(old: &Value, new: &Value, structure: Type<'_>) -> Changes {
    let some = |value: &'_ Value| !value.is_null();
    let mut walk = Comparison::default();
    let (old, new) = (Some(old).filter(|v| some(v)), Some(new).filter(|v| some(v)));
    if old != new {
        walk.values(old, new, structure);
    }
    walk.changes
}

#[derive(Default)]
struct Comparison {
    path: Vec<String>,
    changes: Changes,
}

impl Comparison {
    /// Two values that differ.
    fn values(&mut self, old: Option<&Value>, new: Option<&Value>, structure: Type<'_>) {
        let Some(sample) = new.or(old) else { return };
        let view = structure.view(sample);
        if matches!(view, View::Whole) || (is_empty(old) && is_empty(new)) {
            return self.leaf(old, new);
        }
        // A value of unknown type may have changed from a scalar to an object.
        if let (View::Named, Some(old)) = (view, old)
            && !old.is_object()
            && !old.is_null()
        {
            return self.leaf(Some(old), new);
        }
        if old.is_none() || new.is_none() {
            self.leaf(old, new);
        }
        match view {
            View::Named => self.named(old, new, structure),
            _ => self.elements(&indexed(old, view), &indexed(new, view), structure.element()),
        }
    }

    fn named(&mut self, old: Option<&Value>, new: Option<&Value>, structure: Type<'_>) {
        let old = old.and_then(Value::as_object);
        let new = new.and_then(Value::as_object);
        for (name, value) in old.into_iter().flatten() {
            let (old, new) = (Some(value), new.and_then(|new| new.get(name)));
            if old != new {
                self.step(format!("f:{name}"), old, new, structure.field(name));
            }
        }
        for (name, value) in new.into_iter().flatten() {
            if old.is_none_or(|old| !old.contains_key(name)) {
                self.step(format!("f:{name}"), None, Some(value), structure.field(name));
            }
        }
    }

    fn elements(&mut self, old: &[(String, &Value)], new: &[(String, &Value)], structure: Type<'_>) {
        for (step, value) in old {
            let (old, new) = (Some(*value), find(new, step));
            if old != new {
                self.step(step.clone(), old, new, structure);
            }
        }
        for (step, value) in new {
            if find(old, step).is_none() {
                self.step(step.clone(), None, Some(value), structure);
            }
        }
    }

    fn step(&mut self, step: String, old: Option<&Value>, new: Option<&Value>, structure: Type<'_>) {
        self.path.push(step);
        self.values(old, new, structure);
        self.path.pop();
    }

    fn leaf(&mut self, old: Option<&Value>, new: Option<&Value>) {
        let changed = match (old, new) {
            (None, _) => &mut self.changes.added,
            (_, None) => &mut self.changes.removed,
            _ => &mut self.changes.modified,
        };
        changed.insert(&self.path);
    }
}

fn find<'v>(elements: &[(String, &'v Value)], step: &str) -> Option<&'v Value> {
    elements
        .iter()
        .find(|(found, _)| found == step)
        .map(|(_, value)| *value)
}

fn is_empty(value: Option<&Value>) -> bool {
    match value {
        None | Some(Value::Null) => true,
        Some(Value::Array(list)) => list.is_empty(),
        Some(Value::Object(map)) => map.is_empty(),
        Some(_) => false,
    }
}

/// `applied` over `live`: what both have is merged, what only one has is kept.
pub(super) fn merge(live: &Value, applied: &Value, structure: Type<'_>) -> Result<Value, InvalidList> {
    let mut path = Vec::new();
    merge_values(
        Some(live).filter(|live| !live.is_null()),
        applied,
        structure,
        &mut path,
    )
}

fn merge_values(
    live: Option<&Value>,
    applied: &Value,
    structure: Type<'_>,
    path: &mut Vec<String>,
) -> Result<Value, InvalidList> {
    let view = structure.view(applied);
    match (view, live, applied) {
        (_, None, _) | (View::Whole, ..) => Ok(applied.clone()),
        // Nothing is applied to a list or map that has something.
        (_, Some(live), applied) if is_empty(Some(applied)) && !is_empty(Some(live)) => Ok(live.clone()),
        (View::Named, Some(Value::Object(live)), Value::Object(applied)) => {
            let mut merged = live.clone();
            for (name, value) in applied {
                path.push(format!("f:{name}"));
                let value = merge_values(live.get(name), value, structure.field(name), path)?;
                path.pop();
                merged.insert(name.clone(), value);
            }
            Ok(Value::Object(merged))
        }
        (View::Set | View::Keyed(_), Some(Value::Array(_)), Value::Array(applied)) => {
            let applied = unique(applied, view, path)?;
            let live = indexed(live, view);
            merge_elements(&live, &applied, structure.element(), path).map(Value::Array)
        }
        _ => Ok(applied.clone()),
    }
}

/// The elements of both lists. Those that are applied come in their order. Before each come the live ones that are not
/// applied, up to the next one that is.
fn merge_elements(
    live: &[(String, &Value)],
    applied: &[(String, &Value)],
    structure: Type<'_>,
    path: &mut Vec<String>,
) -> Result<Vec<Value>, InvalidList> {
    let mut merged = Vec::with_capacity(live.len().max(applied.len()));
    let mut rest = live.iter().peekable();
    for (index, (step, value)) in applied.iter().enumerate() {
        let later = applied.get(index..).unwrap_or_default();
        let next_shared = later
            .iter()
            .map(|(step, _)| step)
            .find(|step| find(live, step).is_some());
        while let Some(element) = rest.next_if(|(step, _)| Some(step) != next_shared) {
            merged.extend(only_live(element, applied));
        }
        rest.next_if(|(next, _)| next == step);
        path.push(step.clone());
        merged.push(merge_values(find(live, step), value, structure, path)?);
        path.pop();
    }
    merged.extend(rest.filter_map(|element| only_live(element, applied)));
    Ok(merged)
}

/// A live element that is not applied; those that are come when it is their turn.
fn only_live(element: &(String, &Value), applied: &[(String, &Value)]) -> Option<Value> {
    let (step, value) = element;
    find(applied, step).is_none().then(|| (*value).clone())
}

/// The object without the paths of a set and all below them. What is left empty becomes null.
pub(super) fn remove(value: &Value, fields: &Fields, structure: Type<'_>) -> Value {
    let view = structure.view(value);
    match (view, value) {
        (View::Named, Value::Object(map)) => {
            let mut left = Map::new();
            for (name, child) in map {
                let step = format!("f:{name}");
                if !fields.has(&step) {
                    left.insert(
                        name.clone(),
                        removed_below(child, fields.below(&step), structure.field(name)),
                    );
                }
            }
            some_object(left)
        }
        (View::Set | View::Keyed(_), Value::Array(_)) => {
            let left: Vec<Value> = indexed(Some(value), view)
                .into_iter()
                .filter(|(step, _)| !fields.has(step))
                .map(|(step, child)| removed_below(child, fields.below(&step), structure.element()))
                .collect();
            if left.is_empty() {
                Value::Null
            } else {
                Value::Array(left)
            }
        }
        _ => value.clone(),
    }
}

fn removed_below(value: &Value, fields: Option<&Fields>, structure: Type<'_>) -> Value {
    match fields {
        Some(fields) => remove(value, fields, structure),
        None => value.clone(),
    }
}

fn some_object(map: Map<String, Value>) -> Value {
    if map.is_empty() {
        Value::Null
    } else {
        Value::Object(map)
    }
}
