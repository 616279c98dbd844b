//! What the columns of tables mean. One data file, `schema/columns.tsv`, says it.

use std::collections::BTreeMap;
use std::sync::OnceLock;

const DATA: &str = include_str!("columns.tsv");

/// Group, resource and column.
type Place = (&'static str, &'static str, &'static str);

/// The description of a column, empty if it has none.
pub(crate) fn description(group: &str, plural: &str, column: &str) -> &'static str {
    static DESCRIPTIONS: OnceLock<BTreeMap<Place, String>> = OnceLock::new();
    let known = DESCRIPTIONS.get_or_init(|| parse(DATA));
    let places = [(group, plural, column), ("*", "*", column)];
    let found = places.into_iter().find_map(|(group, plural, column)| {
        let mut entries = known.iter();
        entries.find(|(place, _)| **place == (group, plural, column))
    });
    found.map_or("", |(_, text)| text)
}

fn parse(data: &'static str) -> BTreeMap<Place, String> {
    let mut known = BTreeMap::new();
    let mut text = String::new();
    for line in data.lines() {
        let mut columns = line.split('\t');
        let tag = columns.next();
        let mut next = || columns.next().unwrap_or_default();
        match tag {
            Some("D") => text = serde_json::from_str(next()).unwrap_or_default(),
            Some("C") => _ = known.insert((next(), next(), next()), text.clone()),
            _ => {}
        }
    }
    known
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn columns_are_described() {
        assert!(description("", "pods", "Ready").starts_with("The aggregate readiness state"));
        assert!(description("example.com", "widgets", "Name").starts_with("Name must be unique"));
        assert_eq!(description("example.com", "widgets", "Size"), "");
    }
}
