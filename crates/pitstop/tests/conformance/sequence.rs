//! Requests as data.

use http::Method;
use serde_json::Value;

/// Types of patches.
pub(crate) const MERGE: &str = "application/merge-patch+json";
pub(crate) const STRATEGIC: &str = "application/strategic-merge-patch+json";
pub(crate) const JSON_PATCH: &str = "application/json-patch+json";
pub(crate) const APPLY: &str = "application/apply-patch+yaml";
/// What kubectl asks for to print lists.
pub(crate) const TABLE: &str = "application/json;as=Table;v=v1;g=meta.k8s.io,application/json";

/// What a sequence is about. Source: issue "The embedded cluster", 2.
#[derive(Debug, Clone, Copy, PartialEq, Eq, PartialOrd, Ord)]
pub(crate) enum Class {
    Create,
    Update,
    Patch,
    Apply,
    Subresource,
    Delete,
    Finalizer,
    Selector,
    Paging,
    Watch,
    Table,
    Discovery,
    OpenApi,
    Crd,
    Protobuf,
    Strict,
    Eviction,
    GenerateName,
    DryRun,
    WrongInput,
    /// Made by the generator.
    Random,
}

impl Class {
    /// Those that the table must have sequences of.
    pub(crate) const ALL: [Self; 20] = [
        Self::Create,
        Self::Update,
        Self::Patch,
        Self::Apply,
        Self::Subresource,
        Self::Delete,
        Self::Finalizer,
        Self::Selector,
        Self::Paging,
        Self::Watch,
        Self::Table,
        Self::Discovery,
        Self::OpenApi,
        Self::Crd,
        Self::Protobuf,
        Self::Strict,
        Self::Eviction,
        Self::GenerateName,
        Self::DryRun,
        Self::WrongInput,
    ];

    /// As it is printed.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Create => "create",
            Self::Update => "update",
            Self::Patch => "patch",
            Self::Apply => "apply",
            Self::Subresource => "subresource",
            Self::Delete => "delete",
            Self::Finalizer => "finalizer",
            Self::Selector => "selector",
            Self::Paging => "paging",
            Self::Watch => "watch",
            Self::Table => "table",
            Self::Discovery => "discovery",
            Self::OpenApi => "openapi",
            Self::Crd => "crd",
            Self::Protobuf => "protobuf",
            Self::Strict => "strict",
            Self::Eviction => "eviction",
            Self::GenerateName => "generate-name",
            Self::DryRun => "dry-run",
            Self::WrongInput => "wrong-input",
            Self::Random => "random",
        }
    }
}

/// Requests that belong together, in order, in a namespace of their own.
#[derive(Debug, Clone)]
pub(crate) struct Sequence {
    pub(crate) name: String,
    pub(crate) class: Class,
    pub(crate) steps: Vec<Step>,
}

/// One request. In its path and body, `$(ns)` is the namespace and `$(NAME)` what an earlier step has kept.
#[derive(Debug, Clone)]
pub(crate) struct Step {
    pub(crate) method: Method,
    /// Absolute, or `configmaps/a` or `apps/daemonsets/a` in the namespace of the sequence.
    pub(crate) path: String,
    pub(crate) headers: Vec<(&'static str, &'static str)>,
    pub(crate) body: Vec<u8>,
    /// Names and the JSON pointers to their values in the answer.
    pub(crate) keeps: Vec<(&'static str, &'static str)>,
    /// Read so many events, then stop.
    pub(crate) events: Option<usize>,
    /// Ask again until this code comes; only the last answer is compared.
    pub(crate) until: Option<u16>,
}

/// An empty sequence.
pub(crate) fn seq(name: &str, class: Class) -> Sequence {
    Sequence {
        name: name.to_owned(),
        class,
        steps: Vec::new(),
    }
}

#[allow(
    clippy::needless_pass_by_value,
    reason = "the sequences read as data when their bodies are written in place"
)]
impl Sequence {
    fn step(mut self, method: Method, path: &str, content_type: Option<&'static str>, body: Vec<u8>) -> Self {
        self.steps.push(Step {
            method,
            path: path.to_owned(),
            headers: content_type
                .map(|value| ("content-type", value))
                .into_iter()
                .collect(),
            body,
            keeps: Vec::new(),
            events: None,
            until: None,
        });
        self
    }

    fn json(self, method: Method, path: &str, content_type: &'static str, body: &Value) -> Self {
        self.step(method, path, Some(content_type), body.to_string().into_bytes())
    }

    fn last(mut self, change: impl FnOnce(&mut Step)) -> Self {
        if let Some(step) = self.steps.last_mut() {
            change(step);
        }
        self
    }

    pub(crate) fn get(self, path: &str) -> Self {
        self.step(Method::GET, path, None, Vec::new())
    }

    pub(crate) fn post(self, path: &str, body: Value) -> Self {
        self.json(Method::POST, path, "application/json", &body)
    }

    pub(crate) fn put(self, path: &str, body: Value) -> Self {
        self.json(Method::PUT, path, "application/json", &body)
    }

    pub(crate) fn patch(self, path: &str, kind: &'static str, body: Value) -> Self {
        self.json(Method::PATCH, path, kind, &body)
    }

    pub(crate) fn delete(self, path: &str) -> Self {
        self.step(Method::DELETE, path, None, Vec::new())
    }

    pub(crate) fn delete_with(self, path: &str, options: Value) -> Self {
        self.json(Method::DELETE, path, "application/json", &options)
    }

    /// Any method and any bytes.
    pub(crate) fn raw(self, method: Method, path: &str, content_type: &'static str, body: &[u8]) -> Self {
        self.step(method, path, Some(content_type), body.to_vec())
    }

    /// A watch of which so many events are read; bookmarks that end no initial list do not count.
    pub(crate) fn watch(self, path: &str, events: usize) -> Self {
        self.get(path).last(|step| step.events = Some(events))
    }

    /// A header of the request before.
    pub(crate) fn header(self, name: &'static str, value: &'static str) -> Self {
        self.last(|step| step.headers.push((name, value)))
    }

    /// Keeps a value of the answer before.
    pub(crate) fn keep(self, name: &'static str, pointer: &'static str) -> Self {
        self.last(|step| step.keeps.push((name, pointer)))
    }

    /// Repeats the request before until it is answered with the code, for what controllers do in their own time.
    pub(crate) fn until(self, code: u16) -> Self {
        self.last(|step| step.until = Some(code))
    }
}
