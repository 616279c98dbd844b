//! `Accept` headers.
//!
//! Source: embedded-cluster.md 3.1 and 4.1.

/// One clause: a media type and its parameters.
#[derive(Debug, PartialEq, Eq)]
pub(super) struct Clause<'a> {
    pub(super) media_type: &'a str,
    parameters: Vec<(&'a str, &'a str)>,
}

impl Clause<'_> {
    /// The value of a parameter, or the empty text.
    pub(super) fn parameter(&self, name: &str) -> &str {
        self.parameters
            .iter()
            .find(|(n, _)| *n == name)
            .map_or("", |(_, value)| value)
    }

    /// Is JSON an answer to it?
    pub(super) fn is_json(&self) -> bool {
        matches!(self.media_type, "application/json" | "application/*" | "*/*")
    }
}

/// The clauses of a header, in order.
pub(super) fn clauses(header: &str) -> impl Iterator<Item = Clause<'_>> {
    header
        .split(',')
        .map(str::trim)
        .filter(|clause| !clause.is_empty())
        .map(|clause| {
            let mut parts = clause.split(';').map(str::trim);
            Clause {
                media_type: parts.next().unwrap_or_default(),
                parameters: parts
                    .filter_map(|p| p.split_once('='))
                    .map(|(n, v)| (n.trim(), v.trim()))
                    .collect(),
            }
        })
}
