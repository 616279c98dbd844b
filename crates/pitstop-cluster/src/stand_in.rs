//! Plain JSON decoding and merging of the kinds, where the tables of kinds and fields have not landed.

pub(crate) mod kinds {
    //! A table with the names alone.
    use serde_json::Value;

    use crate::kinds::{Column, Durability, FieldKey, Kind, NameRule, Subresource};

    const VERBS: &[&str] = &[
        "create",
        "delete",
        "deletecollection",
        "get",
        "list",
        "patch",
        "update",
        "watch",
    ];

    const fn kind(group: &'static str, kind: &'static str, plural: &'static str) -> Kind {
        Kind {
            group,
            version: "v1",
            kind,
            plural,
            singular: plural,
            short_names: &[],
            categories: &[],
            namespaced: true,
            stored_as: (group, plural),
            subresources: &[],
            verbs: VERBS,
            has_generation: false,
            durability: Durability::Sync,
            graceful_deletion: false,
            name_rule: NameRule::Subdomain,
            field_keys: &[],
            default: |_| {},
            prepare_create: |_, _| {},
            prepare_update: |_, _| {},
            validate: |_| Vec::new(),
            validate_update: |_, _| Vec::new(),
            columns: &[Column {
                name: "Name",
                kind: "string",
                format: "name",
                priority: 0,
            }],
            cells: |object, _| vec![object.pointer("/metadata/name").cloned().unwrap_or(Value::Null)],
        }
    }

    static ALL: [Kind; 12] = [
        Kind {
            namespaced: false,
            name_rule: NameRule::Label,
            subresources: &[Subresource::Status, Subresource::Finalize],
            prepare_create: |object, _| {
                let name = object.pointer("/metadata/name").cloned().unwrap_or(Value::Null);
                object["spec"] = serde_json::json!({"finalizers": ["kubernetes"]});
                object["status"] = serde_json::json!({"phase": "Active"});
                object["metadata"]["labels"]["kubernetes.io/metadata.name"] = name;
            },
            ..kind("", "Namespace", "namespaces")
        },
        Kind {
            namespaced: false,
            subresources: &[Subresource::Status],
            ..kind("", "Node", "nodes")
        },
        Kind {
            subresources: &[Subresource::Status, Subresource::Binding],
            has_generation: true,
            graceful_deletion: true,
            field_keys: &[
                FieldKey {
                    key: "spec.nodeName",
                    pointers: &["/spec/nodeName"],
                    absent: "",
                },
                FieldKey {
                    key: "status.phase",
                    pointers: &["/status/phase"],
                    absent: "",
                },
            ],
            prepare_create: |object, _| object["status"] = serde_json::json!({"phase": "Pending"}),
            ..kind("", "Pod", "pods")
        },
        kind("", "ConfigMap", "configmaps"),
        kind("", "Secret", "secrets"),
        kind("", "Service", "services"),
        kind("", "ServiceAccount", "serviceaccounts"),
        Kind {
            durability: Durability::Relaxed,
            ..kind("", "Event", "events")
        },
        Kind {
            subresources: &[Subresource::Status],
            has_generation: true,
            ..kind("apps", "DaemonSet", "daemonsets")
        },
        kind("apps", "ControllerRevision", "controllerrevisions"),
        Kind {
            durability: Durability::Relaxed,
            ..kind("coordination.k8s.io", "Lease", "leases")
        },
        Kind {
            stored_as: ("", "events"),
            durability: Durability::Relaxed,
            ..kind("events.k8s.io", "Event", "events")
        },
    ];

    pub(crate) fn all() -> &'static [Kind] {
        &ALL
    }

    pub(crate) fn find(group: &str, version: &str, plural: &str) -> Option<&'static Kind> {
        ALL.iter()
            .find(|k| (k.group, k.version, k.plural) == (group, version, plural))
    }
}

pub(crate) mod schema {
    //! JSON without field tables.
    use serde_json::Value;

    use crate::kinds::Kind;

    pub(crate) struct Decoded {
        pub(crate) object: Value,
        pub(crate) strict_errors: Vec<String>,
    }

    #[allow(dead_code, reason = "plain JSON is never refused by its type")]
    pub(crate) enum DecodeError {
        UnsupportedMediaType(String),
        Malformed(String),
    }

    pub(crate) fn decode(kind: &Kind, _type: Option<&str>, body: &[u8]) -> Result<Decoded, DecodeError> {
        let decoded = decode_as(kind.kind, None, body)?;
        clean(kind, decoded.object)
    }

    pub(crate) fn decode_as(_name: &str, _type: Option<&str>, body: &[u8]) -> Result<Decoded, DecodeError> {
        let object = serde_json::from_slice(body).map_err(|e| DecodeError::Malformed(e.to_string()))?;
        Ok(Decoded {
            object,
            strict_errors: Vec::new(),
        })
    }

    #[allow(clippy::unnecessary_wraps, reason = "the signature of the field tables")]
    pub(crate) fn clean(kind: &Kind, mut object: Value) -> Result<Decoded, DecodeError> {
        drop_nulls(&mut object);
        let version = if kind.group.is_empty() {
            "v1".to_owned()
        } else {
            format!("{}/{}", kind.group, kind.version)
        };
        if let Some(object) = object.as_object_mut() {
            object.insert("apiVersion".to_owned(), version.into());
            object.insert("kind".to_owned(), kind.kind.into());
            if object
                .get("status")
                .and_then(Value::as_object)
                .is_some_and(serde_json::Map::is_empty)
            {
                object.remove("status");
            }
        }
        Ok(Decoded {
            object,
            strict_errors: Vec::new(),
        })
    }

    fn drop_nulls(value: &mut Value) {
        match value {
            Value::Object(map) => {
                map.retain(|_, v| !v.is_null());
                map.values_mut().for_each(drop_nulls);
            }
            Value::Array(list) => list.iter_mut().for_each(drop_nulls),
            _ => {}
        }
    }
}

pub(crate) mod patch {
    //! Merge and JSON patches.
    use serde_json::Value;

    use crate::kinds::Kind;

    #[derive(Clone, Copy)]
    pub(crate) enum PatchType {
        Json,
        Merge,
        Strategic,
    }

    pub(crate) enum PatchError {
        BadRequest(String),
        Invalid(String),
    }

    pub(crate) fn apply(_: &Kind, of: PatchType, current: &Value, body: &[u8]) -> Result<Value, PatchError> {
        let bad = |e: serde_json::Error| PatchError::BadRequest(e.to_string());
        let mut new = current.clone();
        match of {
            PatchType::Json => {
                let patch: json_patch::Patch = serde_json::from_slice(body).map_err(bad)?;
                json_patch::patch(&mut new, &patch).map_err(|e| PatchError::Invalid(e.to_string()))?;
            }
            PatchType::Merge | PatchType::Strategic => {
                let patch: Value = serde_json::from_slice(body).map_err(bad)?;
                json_patch::merge(&mut new, &patch);
            }
        }
        Ok(new)
    }
}
