//! The table of kinds. To serve another kind, add one entry here; nothing else in this crate names kinds one by one.
//!
//! Each kind is a constant in a module below: what differs from `Kind::plain` is what is special about the kind.

mod admission_policy;
mod age;
mod autoscaler;
mod certificate;
mod config;
mod controller_revision;
mod counters;
mod daemon_set;
mod definition;
mod deployment;
mod devices;
mod disruption_budget;
pub mod event;
mod flow_control;
mod job;
mod lease;
mod limits;
mod metadata;
mod namespace;
mod network;
mod node;
mod pod;
mod rbac;
mod replica_set;
mod replicated;
mod review;
mod service;
mod service_account;
mod storage;
mod volumes;
mod webhook;
mod workload;

pub use age::human_duration;
pub use pitstop_api::validate::{FieldError, FieldErrorReason, NameRule};
use pitstop_api::{fields, pod_template};
pub(crate) use pod::{validate_ephemeral, validate_resize, with_ephemeral_containers, with_resources};

use serde_json::Value;

use crate::access::User;

/// Every served kind, in the order of groups and names.
static KINDS: &[Kind] = &[
    BINDING,
    COMPONENT_STATUS,
    config::CONFIG_MAP,
    network::ENDPOINTS,
    event::CORE,
    limits::LIMIT_RANGE,
    namespace::KIND,
    node::KIND,
    volumes::CLAIM,
    volumes::VOLUME,
    pod::KIND,
    limits::POD_TEMPLATE,
    replicated::REPLICATION_CONTROLLER,
    limits::RESOURCE_QUOTA,
    config::SECRET,
    service_account::KIND,
    service::KIND,
    webhook::MUTATING,
    webhook::VALIDATING,
    controller_revision::KIND,
    daemon_set::KIND,
    deployment::KIND,
    replica_set::KIND,
    replicated::STATEFUL_SET,
    admission_policy::POLICY,
    admission_policy::BINDING,
    definition::KIND,
    review::SELF_SUBJECT,
    review::TOKEN,
    review::LOCAL_SUBJECT_ACCESS,
    review::SELF_SUBJECT_ACCESS,
    review::SELF_SUBJECT_RULES,
    review::SUBJECT_ACCESS,
    autoscaler::SECOND,
    autoscaler::FIRST,
    job::CRON_JOB,
    job::JOB,
    certificate::REQUEST,
    lease::KIND,
    network::ENDPOINT_SLICE,
    event::EVENTS,
    flow_control::FLOW_SCHEMA,
    flow_control::PRIORITY_LEVEL,
    network::INGRESS_CLASS,
    network::INGRESS,
    network::ADDRESS,
    network::NETWORK_POLICY,
    network::SERVICE_RANGE,
    devices::RUNTIME_CLASS,
    disruption_budget::KIND,
    rbac::CLUSTER_ROLE_BINDING,
    rbac::CLUSTER_ROLE,
    rbac::ROLE_BINDING,
    rbac::ROLE,
    devices::CLASS,
    devices::CLAIM,
    devices::CLAIM_TEMPLATE,
    devices::SLICE,
    limits::PRIORITY_CLASS,
    storage::DRIVER,
    volumes::CSI_NODE,
    storage::CAPACITY,
    volumes::STORAGE_CLASS,
    storage::ATTACHMENT,
    storage::ATTRIBUTES,
];

/// The body of `scale`: never stored, and of no path of its own.
pub(crate) static SCALE: Kind = Kind {
    group: "autoscaling",
    ..Kind::plain("Scale", "scales", "scale")
};

/// The body of `eviction`: never stored, and of no path of its own.
pub(crate) static EVICTION: Kind = Kind {
    group: "policy",
    ..Kind::plain("Eviction", "evictions", "eviction")
};

/// The body of `token`: never stored, and of no path of its own.
pub(crate) static TOKEN_REQUEST: Kind = Kind {
    group: "authentication.k8s.io",
    ..Kind::plain("TokenRequest", "tokenrequests", "tokenrequest")
};

/// The same in the version in which evictions began.
pub(crate) static EVICTION_BETA: Kind = Kind {
    group: "policy",
    version: "v1beta1",
    ..Kind::plain("Eviction", "evictions", "eviction")
};

/// The body of `binding`, and a way to bind that needs no path of the pod: never stored.
pub(crate) const BINDING: Kind = Kind {
    verbs: &["create"],
    ..Kind::plain("Binding", "bindings", "binding")
};

/// How the parts of the control plane are: never stored.
pub(crate) const COMPONENT_STATUS: Kind = Kind {
    short_names: &["cs"],
    namespaced: false,
    verbs: &["get", "list"],
    deprecation: Some("v1 ComponentStatus is deprecated in v1.19+"),
    columns: &[
        Column::NAME,
        Column::string("Status"),
        Column::string("Message"),
        Column::string("Error"),
    ],
    cells: |object, _| {
        let condition = |field: &str| {
            let text = object.pointer(&format!("/conditions/0/{field}"));
            text.and_then(Value::as_str).unwrap_or_default().to_owned()
        };
        let healthy = match condition("status").as_str() {
            "True" => "Healthy",
            _ => "Unhealthy",
        };
        vec![
            age::name(object),
            healthy.into(),
            condition("message").into(),
            condition("error").into(),
        ]
    },
    ..Kind::plain("ComponentStatus", "componentstatuses", "componentstatus")
};

/// Every served kind.
///
/// Source: embedded-cluster.md 13, the kinds of the first cut.
pub fn all() -> &'static [Kind] {
    KINDS
}

/// The kind behind a resource name, e.g. `("apps", "v1", "daemonsets")`.
pub fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .find(|kind| kind.group == group && kind.version == version && kind.plural == plural)
}

/// A kind by name, e.g. `("apps", "v1", "DaemonSet")`.
pub fn find_kind(group: &str, version: &str, kind: &str) -> Option<&'static Kind> {
    KINDS
        .iter()
        .find(|entry| entry.group == group && entry.version == version && entry.kind == kind)
}

/// How objects of a kind come into the form of another one that is stored, and back.
#[derive(Debug)]
pub struct Conversion {
    /// An object as it is stored. One that is in that form already stays so.
    pub to_stored: fn(Value) -> Value,
    /// A stored object as the kind shows it. One that is in that form already stays so.
    pub from_stored: fn(Value) -> Value,
    /// The key of a field selector as the stored kind has it.
    pub stored_field: fn(&str) -> String,
}

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
    /// How its objects come into the form in which they are stored, where that is another version's.
    pub conversion: Option<&'static Conversion>,
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
    /// How often and by which rules metadata is checked.
    pub metadata_checks: MetadataChecks,
    /// What every request is warned of, of a kind that others have replaced.
    pub deprecation: Option<&'static str>,
    /// Field selector keys besides `metadata.name` and `metadata.namespace`, with the path of their value.
    pub field_keys: &'static [FieldKey],
    /// What a definition lets custom objects be selected by, besides: the key, and the JSON pointer of the value.
    pub selectable_fields: &'static [(&'static str, &'static str)],
    /// Does what belongs to its objects stay when they are deleted by who does not say what becomes of it?
    pub orphans_by_default: bool,
    /// What who deletes so is warned of.
    pub orphan_warning: Option<&'static str>,
    /// Does a PUT make an object that is not there?
    pub is_made_by_update: bool,
    /// Is it only stored, with no controller that acts on it? Who creates one is warned.
    pub is_only_stored: bool,
    /// What of an object nothing will act on, told to whoever writes it.
    pub unheeded: fn(&Value) -> Vec<String>,
    /// Fills in defaults, after decoding and before validation, on every write.
    pub default: fn(&mut Value),
    /// Sets what a new object starts with and clears what clients may not set (`status` mostly).
    pub prepare_create: fn(&mut Value, &Creation<'_>),
    /// Keeps or derives fields on update of the main endpoint; `status` and `generation` are handled by the server.
    pub prepare_update: fn(&mut Value, &Value),
    /// The service account that a new object runs as, if it runs.
    pub service_account: fn(&Value) -> Option<&str>,
    /// What is wrong with a new object besides what `validate` says.
    pub validate_create: fn(&Value) -> Vec<FieldError>,
    /// What is wrong with an object besides its metadata, whatever was there before.
    pub validate: fn(&Value) -> Vec<FieldError>,
    /// What is wrong with a change from the second to the first, besides its metadata.
    pub validate_update: fn(&Value, &Value) -> Vec<FieldError>,
    /// What is wrong with a change of the status alone, from the second to the first.
    pub validate_status: fn(&Value, &Value) -> Vec<FieldError>,
    /// The selector of its pods in written form, as `scale` shows it.
    pub scale_selector: fn(&Value) -> String,
    /// Columns of `kubectl get`.
    pub columns: &'static [Column],
    /// Of a kind that a definition brought: where the values of the columns after the name are in its objects.
    pub column_paths: Option<&'static [&'static str]>,
    /// The cells of one row, one for each column.
    pub cells: fn(&Value, jiff::Timestamp) -> Vec<Value>,
    /// The `conditions` of one row: `Completed` for pods that ended.
    pub row_conditions: fn(&Value) -> Vec<Value>,
}

/// What is wrong with the metadata of an object of a kind.
pub fn validate_metadata(kind: &Kind, object: &Value) -> Vec<FieldError> {
    let mut errors = metadata::validate(object, kind.name_rule);
    if kind.metadata_checks.standard_finalizers {
        errors.extend(metadata::standard_finalizers(object));
    }
    errors
}

/// What is wrong with metadata, whatever the kind.
pub(crate) fn validate_common_metadata(object: &Value) -> Vec<FieldError> {
    metadata::validate(object, NameRule::PathSegment)
}

/// What is wrong with the key of a label.
pub(crate) fn label_key_problems(key: &str) -> Vec<String> {
    metadata::key_problems(key)
}

/// What is wrong with the value of a label.
pub(crate) fn label_value_problems(value: &str) -> Vec<String> {
    metadata::label_value_problems(value)
}

/// What is wrong with a change of metadata from `old` to `new`.
pub fn validate_metadata_update(new: &Value, old: &Value) -> Vec<FieldError> {
    metadata::validate_update(new, old)
}

/// The same by the rules of a kind.
pub(crate) fn validate_kind_metadata_update(kind: &Kind, new: &Value, old: &Value) -> Vec<FieldError> {
    let mut errors = metadata::validate_update(new, old);
    if kind.metadata_checks.standard_finalizers {
        errors.extend(metadata::standard_finalizers(new));
    }
    errors
}

impl Kind {
    /// `apiVersion` of its objects, e.g. `apps/v1` or `v1`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_owned()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// Did a definition bring it?
    pub fn is_custom(&self) -> bool {
        self.column_paths.is_some()
    }

    /// Are its objects kept? Those that are not are questions: they are answered, and that is all.
    pub fn is_stored(&self) -> bool {
        self.verbs.contains(&"watch")
    }

    /// A namespaced kind of the core group without rules of its own, from which the entries of the table differ.
    pub(crate) const fn plain(kind: &'static str, plural: &'static str, singular: &'static str) -> Self {
        Self {
            group: "",
            version: "v1",
            kind,
            plural,
            singular,
            short_names: &[],
            categories: &[],
            namespaced: true,
            stored_as: ("", plural),
            conversion: None,
            subresources: &[],
            verbs: &[
                "create",
                "delete",
                "deletecollection",
                "get",
                "list",
                "patch",
                "update",
                "watch",
            ],
            has_generation: false,
            durability: Durability::Sync,
            graceful_deletion: false,
            name_rule: NameRule::Subdomain,
            metadata_checks: MetadataChecks::USUAL,
            deprecation: None,
            field_keys: &[],
            selectable_fields: &[],
            orphans_by_default: false,
            orphan_warning: None,
            is_made_by_update: false,
            is_only_stored: false,
            unheeded: |_| Vec::new(),
            default: |_| {},
            prepare_create: |_, _| {},
            prepare_update: |_, _| {},
            service_account: |_| None,
            validate_create: |_| Vec::new(),
            validate: |_| Vec::new(),
            validate_update: |_, _| Vec::new(),
            validate_status: |_, _| Vec::new(),
            scale_selector: |_| String::new(),
            columns: &[Column::NAME, Column::AGE],
            column_paths: None,
            cells: |object, now| vec![age::name(object), age::age(object, now)],
            row_conditions: |_| Vec::new(),
        }
    }
}

impl Column {
    const NAME: Self = Self {
        name: "Name",
        kind: "string",
        format: "name",
        priority: 0,
    };
    const AGE: Self = Self::string("Age");
    /// Of kinds without columns of their own.
    pub(crate) const CREATED_AT: Self = Self {
        name: "Created At",
        kind: "date",
        format: "",
        priority: 0,
    };

    const fn string(name: &'static str) -> Self {
        Self {
            name,
            kind: "string",
            format: "",
            priority: 0,
        }
    }

    const fn integer(name: &'static str) -> Self {
        Self {
            name,
            kind: "integer",
            format: "",
            priority: 0,
        }
    }

    const fn boolean(name: &'static str) -> Self {
        Self {
            name,
            kind: "boolean",
            format: "",
            priority: 0,
        }
    }

    const fn wide(name: &'static str) -> Self {
        Self {
            name,
            kind: "string",
            format: "",
            priority: 1,
        }
    }
}

/// What a new object is made with.
#[derive(Debug)]
pub struct Creation<'a> {
    /// The server's clock.
    pub now: jiff::Timestamp,
    /// Five characters for the name of the injected service account volume.
    pub suffix: &'a str,
    /// Who makes it.
    pub(crate) user: &'a User,
}

#[cfg(test)]
impl Creation<'static> {
    /// By nobody in particular.
    pub(crate) fn at(now: jiff::Timestamp) -> Self {
        static NOBODY: std::sync::LazyLock<User> = std::sync::LazyLock::new(User::default);
        Self {
            now,
            suffix: "bcdfg",
            user: &NOBODY,
        }
    }
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
    /// `eviction` of pods: create.
    Eviction,
    /// `scale`: get, patch, update.
    Scale,
    /// `token` of service accounts: create.
    Token,
    /// `log` of pods: get.
    Log,
    /// `exec` of pods: get and create, which become streams.
    Exec,
    /// `attach` of pods, which is refused.
    Attach,
    /// `portforward` of pods, which is refused.
    PortForward,
    /// `approval` of requests for certificates: get, patch, update.
    Approval,
    /// `ephemeralcontainers` of pods: get, patch, update.
    EphemeralContainers,
    /// `resize` of pods: get, patch, update.
    Resize,
    /// `proxy` of pods, services and nodes: what listens there answers.
    Proxy,
}

/// How soon a write has to be on disk before it is acknowledged.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Durability {
    /// Before the answer.
    Sync,
    /// Within a second: Leases and Events. (Heartbeats of nodes are told apart by the store's caller.)
    Relaxed,
}

/// How often a kind checks metadata, besides what the server checks for every kind: an error comes once for each check.
///
/// Source: the answers of Kubernetes 1.34.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct MetadataChecks {
    /// Is a new object checked?
    pub on_create: bool,
    /// Is a change checked?
    pub on_update: bool,
    /// How often the changed object is checked like a new one.
    pub whole_on_update: u8,
    /// Is a change of the status checked?
    pub on_status: bool,
    /// Is the changed object checked like a new one first, and what has changed after that?
    pub whole_first: bool,
    /// Must finalizers be qualified names, or standard ones?
    pub standard_finalizers: bool,
    /// Must whoever replaces an object know its version?
    pub needs_version: bool,
}

impl MetadataChecks {
    /// What most kinds do.
    pub const USUAL: Self = Self {
        on_create: true,
        on_update: true,
        whole_on_update: 1,
        on_status: true,
        whole_first: false,
        standard_finalizers: true,
        needs_version: false,
    };
    /// Changed objects are checked like new ones first.
    pub const WHOLE_FIRST: Self = Self {
        whole_first: true,
        ..Self::USUAL
    };
    /// Changed objects are not checked like new ones.
    pub const CHANGE: Self = Self {
        whole_on_update: 0,
        ..Self::USUAL
    };
    /// The same, and what has changed is said last.
    pub const CHANGE_LAST: Self = Self {
        whole_first: true,
        ..Self::CHANGE
    };
    /// Changed objects are checked like new ones twice.
    pub const TWICE: Self = Self {
        whole_on_update: 2,
        whole_first: true,
        ..Self::USUAL
    };
    /// Changed objects are only checked like new ones.
    pub const WHOLE: Self = Self {
        on_update: false,
        ..Self::USUAL
    };
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
