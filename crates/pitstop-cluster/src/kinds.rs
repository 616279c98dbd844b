//! The table of kinds. To serve another kind, add one entry here; nothing else in this crate names kinds one by one.

use serde_json::Value;

/// One served resource: `group/version`, its names, and the rules that differ from kind to kind.
#[derive(Debug)]
pub struct Kind {
    /// API group, empty for core.
    pub group: &'static str,
    /// API version.
    pub version: &'static str,
    /// Kind, e.g. `DaemonSet`.
    pub kind: &'static str,
    /// Resource name in URLs, e.g. `daemonsets`.
    pub plural: &'static str,
    /// Singular resource name.
    pub singular: &'static str,
    /// Short names that users type.
    pub short_names: &'static [&'static str],
    /// Categories, e.g. `all`.
    pub categories: &'static [&'static str],
    /// Do its objects live in namespaces?
    pub namespaced: bool,
    /// Group and plural of the kind whose store it shares; its own for all but `events.k8s.io` events.
    pub stored_as: (&'static str, &'static str),
    /// Subresources, in the order in which discovery lists them.
    pub subresources: &'static [Subresource],
    /// Verbs of the resource itself that discovery lists.
    pub verbs: &'static [&'static str],
    /// Is `metadata.generation` kept, and raised when `spec` changes?
    pub has_generation: bool,
    /// How soon a write has to be on disk.
    pub durability: Durability,
    /// What happens to DELETE without grace: only pods die slowly.
    pub graceful_deletion: bool,
    /// How `metadata.name` is checked.
    pub name_rule: NameRule,
    /// Field selector keys besides `metadata.name` and `metadata.namespace`, with the path of their value.
    pub field_keys: &'static [FieldKey],
    /// Fills in defaults, after decoding and before validation, on every write.
    pub default: fn(&mut Value),
    /// Sets what a new object starts with and clears what clients may not set (`status` mostly).
    pub prepare_create: fn(&mut Value, &Creation<'_>),
    /// Keeps or derives fields on update of the main endpoint; `status` and `generation` are handled by the server.
    pub prepare_update: fn(&mut Value, &Value),
    /// What is wrong with an object, whatever was there before.
    pub validate: fn(&Value) -> Vec<FieldError>,
    /// What is wrong with a change from the second to the first.
    pub validate_update: fn(&Value, &Value) -> Vec<FieldError>,
    /// Columns of `kubectl get`.
    pub columns: &'static [Column],
    /// The cells of one row, one for each column.
    pub cells: fn(&Value, jiff::Timestamp) -> Vec<Value>,
}

/// What a new object is made with.
#[derive(Debug)]
pub struct Creation<'a> {
    /// The server's clock.
    pub now: jiff::Timestamp,
    /// Five characters for the name of the injected service account volume.
    pub suffix: &'a str,
}

/// A path below an object, e.g. `daemonsets/status`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Subresource {
    /// `status`: get, patch, update.
    Status,
    /// `binding` of pods: create.
    Binding,
    /// `finalize` of namespaces: update.
    Finalize,
}

/// How soon a write has to be on disk before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before the answer.
    Sync,
    /// Within a second: Leases and Events. (Heartbeats of nodes are told apart by the store's caller.)
    Relaxed,
}

/// How names of a kind are checked.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum NameRule {
    /// DNS-1123 subdomain, at most 253 characters.
    Subdomain,
    /// DNS-1123 label, at most 63 characters.
    Label,
    /// DNS-1035 label, at most 63 characters.
    Dns1035Label,
    /// Any path segment: no `/`, no `%`, not `.` or `..`.
    PathSegment,
}

/// A field selector key and the JSON pointer of its value. A missing value is the empty string, and a missing boolean
/// is `false`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct FieldKey {
    /// As written in a selector, e.g. `spec.nodeName`.
    pub key: &'static str,
    /// Pointers of which the first that exists counts, e.g. `/spec/nodeName`.
    pub pointers: &'static [&'static str],
    /// Value of an object that has none of them.
    pub absent: &'static str,
}

/// A column of `kubectl get`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Column {
    /// Shown in upper case.
    pub name: &'static str,
    /// `string`, `integer`, `date`.
    pub kind: &'static str,
    /// `name` for the first column, else empty.
    pub format: &'static str,
    /// 0 is always shown, 1 with `-o wide`.
    pub priority: u8,
}

/// One line of a validation error: which field, what is wrong.
#[derive(Debug, Clone, PartialEq)]
pub struct FieldError {
    /// E.g. `spec.template.metadata.labels`.
    pub field: String,
    /// Reason of the cause in the Status: `FieldValueRequired` and so on.
    pub reason: FieldErrorReason,
    /// The value that was refused, shown for `Invalid`, `NotSupported`, `Duplicate`, `TooLong`.
    pub value: Option<Value>,
    /// What is wrong, or what is accepted.
    pub detail: String,
}

/// What kind of wrong a field is. Source: embedded-cluster.md 5.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum FieldErrorReason {
    /// `Required value`.
    Required,
    /// `Invalid value`.
    Invalid,
    /// `Unsupported value`.
    NotSupported,
    /// `Forbidden`.
    Forbidden,
    /// `Duplicate value`.
    Duplicate,
    /// `Too long`.
    TooLong,
    /// `Not found`.
    NotFound,
}
