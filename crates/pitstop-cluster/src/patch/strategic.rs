//! Strategic merge patch. Source: embedded-cluster.md 9.3.
//!
//! Maps are merged, and lists whose field has a merge key are merged element by element. Directives, keys that begin
//! with `$`, say otherwise; each is consumed here, so that none is ever stored.

use serde_json::{Map, Value};

use super::PatchError;
use crate::kinds::Kind;
use crate::schema::go_text;
use crate::schema::table::{Element, Field, Message, Wrap, table};

const DIRECTIVE: &str = "$patch";
const RETAIN_KEYS: &str = "$retainKeys";
const ELEMENT_ORDER: &str = "$setElementOrder/";
const DELETE_FROM: &str = "$deleteFromPrimitiveList/";

/// Applies a strategic merge patch.
pub fn apply(kind: &Kind, current: Value, patch: &Map<String, Value>) -> Result<Value, PatchError> {
    let message = table().kind(kind.group, kind.version, kind.kind);
    let current = match current {
        Value::Object(current) => current,
        _ => Map::new(),
    };
    merge_maps(current, patch, message).map(Value::Object)
}

fn bad(message: impl Into<String>) -> PatchError {
    PatchError::BadRequest(message.into())
}

/// What to do with a map or list element as a whole.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Directive {
    Merge,
    Replace,
    Delete,
}

impl Directive {
    fn of(patch: &Map<String, Value>) -> Result<Self, PatchError> {
        match patch.get(DIRECTIVE).map(Value::as_str) {
            None | Some(Some("merge")) => Ok(Self::Merge),
            Some(Some("replace")) => Ok(Self::Replace),
            Some(Some("delete")) => Ok(Self::Delete),
            Some(_) => Err(PatchError::Untyped(format!(
                "unknown patch type: {} in map: {}",
                go_text::printed(patch.get(DIRECTIVE).unwrap_or(&Value::Null)),
                go_text::printed(&Value::Object(patch.clone()))
            ))),
        }
    }
}

/// Merges `patch` into a map of the type `message`; without one, its content is not known and lists are replaced.
fn merge_maps(
    current: Map<String, Value>,
    patch: &Map<String, Value>,
    message: Option<&Message>,
) -> Result<Map<String, Value>, PatchError> {
    let mut merged = match Directive::of(patch)? {
        Directive::Delete => return Ok(Map::new()),
        Directive::Replace => Map::new(),
        Directive::Merge => current,
    };
    check_directives(patch)?;
    retain_keys(&mut merged, patch)?;
    for (name, value) in patch.iter().filter(|(name, _)| !name.starts_with('$')) {
        let field = message.and_then(|message| message.field(name));
        match value {
            Value::Null => drop(merged.remove(name)),
            value => {
                let order = patch.get(&format!("{ELEMENT_ORDER}{name}"));
                let result = merge_values(merged.remove(name), value, field, order)?;
                merged.insert(name.clone(), result);
            }
        }
    }
    delete_primitives(&mut merged, patch)?;
    order_untouched_lists(&mut merged, patch, message)?;
    Ok(merged)
}

fn check_directives(patch: &Map<String, Value>) -> Result<(), PatchError> {
    let known = |name: &str| {
        name == DIRECTIVE
            || name == RETAIN_KEYS
            || name.starts_with(ELEMENT_ORDER)
            || name.starts_with(DELETE_FROM)
    };
    match patch.keys().find(|name| name.starts_with('$') && !known(name)) {
        Some(name) => Err(bad(format!("unknown directive {name} in strategic merge patch"))),
        None => Ok(()),
    }
}

/// `$retainKeys` drops everything it does not name; what the patch sets has to be named.
fn retain_keys(merged: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), PatchError> {
    let Some(retained) = patch.get(RETAIN_KEYS) else {
        return Ok(());
    };
    let retained = retained
        .as_array()
        .ok_or_else(|| bad("invalid patch format of retainKeys"))?;
    let named = |name: &str| retained.iter().any(|retained| retained == name);
    if patch
        .iter()
        .any(|(name, value)| !name.starts_with('$') && !value.is_null() && !named(name))
    {
        return Err(bad(
            "invalid patch format of retainKeys: a key of the patch is not in the list",
        ));
    }
    merged.retain(|name, _| named(name));
    Ok(())
}

fn merge_values(
    current: Option<Value>,
    patch: &Value,
    field: Option<&Field>,
    order: Option<&Value>,
) -> Result<Value, PatchError> {
    // Content of unknown type is data of its own: revisions hold patches, with directives of their own.
    if field.is_some_and(|field| field.element == Element::Raw) {
        return Ok(patch.clone());
    }
    match (current, patch) {
        (current, Value::Object(patch)) => {
            let replaced = field.is_some_and(|field| field.merge.replace);
            let current = match current {
                Some(Value::Object(current)) if !replaced => current,
                _ => Map::new(),
            };
            let message = field
                .filter(|field| field.wrap == Wrap::One)
                .and_then(Field::message);
            merge_maps(current, patch, message).map(Value::Object)
        }
        (current, Value::Array(patch)) => {
            let current = match current {
                Some(Value::Array(current)) => current,
                _ => Vec::new(),
            };
            merge_lists(current, patch, field, order).map(Value::Array)
        }
        (_, patch) => Ok(patch.clone()),
    }
}

fn merge_lists(
    current: Vec<Value>,
    patch: &[Value],
    field: Option<&Field>,
    order: Option<&Value>,
) -> Result<Vec<Value>, PatchError> {
    let message = field.and_then(Field::message);
    match field
        .filter(|field| field.merge.merge)
        .map(|field| field.merge.key)
    {
        Some(Some(key)) => merge_by_key(current, patch, key, message, order),
        Some(None) => {
            let mut merged = current.clone();
            merged.extend(patch.iter().cloned());
            let order: Vec<&Value> = element_order(order)?.unwrap_or(patch).iter().collect();
            let before: Vec<&Value> = current.iter().collect();
            Ok(ordered(unique(merged), &before, &order, |value| value))
        }
        None => replacement(patch, message),
    }
}

/// The elements of a list that is replaced, freed of directives.
fn replacement(patch: &[Value], message: Option<&Message>) -> Result<Vec<Value>, PatchError> {
    let mut elements = Vec::new();
    for element in patch {
        match element {
            Value::Object(map) if is_only_directive(map) => drop(Directive::of(map)?),
            Value::Object(map) => match Directive::of(map)? {
                Directive::Delete => {}
                Directive::Merge | Directive::Replace => {
                    elements.push(Value::Object(merge_maps(Map::new(), map, message)?));
                }
            },
            Value::Array(inner) => elements.push(Value::Array(replacement(inner, None)?)),
            scalar => elements.push(scalar.clone()),
        }
    }
    Ok(elements)
}

fn is_only_directive(element: &Map<String, Value>) -> bool {
    element.len() == 1 && element.contains_key(DIRECTIVE)
}

fn merge_by_key(
    current: Vec<Value>,
    patch: &[Value],
    key: &str,
    message: Option<&Message>,
    order: Option<&Value>,
) -> Result<Vec<Value>, PatchError> {
    let replaces = patch
        .iter()
        .filter_map(Value::as_object)
        .any(|element| element.get(DIRECTIVE).and_then(Value::as_str) == Some("replace"));
    if replaces {
        return replacement(patch, message);
    }
    let identity = |value: &Value| value.get(key).cloned().unwrap_or_default();
    let before: Vec<Value> = current.iter().map(identity).collect();
    let mut merged = current;
    let mut given = Vec::new();
    for element in patch {
        let Value::Object(element) = element else {
            return Err(bad(format!(
                "elements of a list that is merged by {key} must be objects"
            )));
        };
        let id = element.get(key).filter(|id| !id.is_null());
        let id = id.ok_or_else(|| {
            let shown = go_text::printed(&Value::Object(element.clone()));
            PatchError::Untyped(format!("map: {shown} does not contain declared merge key: {key}"))
        })?;
        let place = merged.iter().position(|existing| existing.get(key) == Some(id));
        if Directive::of(element)? == Directive::Delete {
            merged.retain(|existing| existing.get(key) != Some(id));
            continue;
        }
        given.push(id.clone());
        match place.and_then(|place| merged.get_mut(place)) {
            Some(existing) => {
                let old = match existing.take() {
                    Value::Object(old) => old,
                    _ => Map::new(),
                };
                *existing = Value::Object(merge_maps(old, element, message)?);
            }
            None => merged.push(Value::Object(merge_maps(Map::new(), element, message)?)),
        }
    }
    let order = match element_order(order)? {
        Some(order) => order.iter().map(identity).collect(),
        None => given,
    };
    let (before, order): (Vec<&Value>, Vec<&Value>) = (before.iter().collect(), order.iter().collect());
    Ok(ordered(merged, &before, &order, |value| {
        value.get(key).unwrap_or(&Value::Null)
    }))
}

fn element_order(order: Option<&Value>) -> Result<Option<&[Value]>, PatchError> {
    match order {
        None => Ok(None),
        Some(Value::Array(order)) => Ok(Some(order)),
        Some(_) => Err(bad("invalid patch format of setElementOrder list")),
    }
}

/// Sorts a merged list: elements named in `order` follow it, the others keep the order that they had `before`, and where
/// both had a place before, that decides which comes first. A named element that is new stands before the others.
///
/// `before` and `order` are what `identity` tells elements apart by.
fn ordered(
    merged: Vec<Value>,
    before: &[&Value],
    order: &[&Value],
    identity: impl Fn(&Value) -> &Value,
) -> Vec<Value> {
    let rank = |value: &Value| order.iter().position(|named| *named == identity(value));
    let place = |value: &Value| before.iter().position(|old| *old == identity(value));
    let (mut named, others): (Vec<Value>, Vec<Value>) =
        merged.into_iter().partition(|value| rank(value).is_some());
    named.sort_by_key(&rank);
    let mut result = Vec::with_capacity(named.len() + others.len());
    let mut others = others.into_iter().peekable();
    for value in named {
        let limit = place(&value);
        while let Some(other) = others.next_if(|other| place(other).zip(limit).is_some_and(|(a, b)| a < b)) {
            result.push(other);
        }
        result.push(value);
    }
    result.extend(others);
    result
}

fn unique(values: Vec<Value>) -> Vec<Value> {
    let mut seen = Vec::with_capacity(values.len());
    for value in values {
        if !seen.contains(&value) {
            seen.push(value);
        }
    }
    seen
}

fn delete_primitives(merged: &mut Map<String, Value>, patch: &Map<String, Value>) -> Result<(), PatchError> {
    for (directive, values) in patch {
        let Some(name) = directive.strip_prefix(DELETE_FROM) else {
            continue;
        };
        let values = values
            .as_array()
            .ok_or_else(|| bad("invalid patch format of primitive list"))?;
        if let Some(Value::Array(list)) = merged.get_mut(name) {
            list.retain(|value| !values.contains(value));
        }
    }
    Ok(())
}

/// An order may be given for a list that the patch does not change otherwise.
fn order_untouched_lists(
    merged: &mut Map<String, Value>,
    patch: &Map<String, Value>,
    message: Option<&Message>,
) -> Result<(), PatchError> {
    for (directive, order) in patch {
        let Some(name) = directive.strip_prefix(ELEMENT_ORDER) else {
            continue;
        };
        if patch.get(name).is_some_and(|value| !value.is_null()) {
            continue;
        }
        let field = message
            .and_then(|message| message.field(name))
            .filter(|field| field.merge.merge);
        if let (Some(field), Some(Value::Array(list))) = (field, merged.get_mut(name)) {
            *list = merge_lists(std::mem::take(list), &[], Some(field), Some(order))?;
        }
    }
    Ok(())
}

#[cfg(test)]
mod tests;
