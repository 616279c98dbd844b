//! Copies of the secrets of jobs, which the agents on the nodes may read. Source: inplace.md 11.3.

use std::collections::BTreeSet;

use pitstop_api::image_pull::SECRETS_NAMESPACE;
use pitstop_api::keys;
use pitstop_api::view::{SecretReference, Uid};
use serde_json::{Value, json};

/// Mode of secrets that belong to jobs.
pub const BATCH: &str = "batch";

/// What becomes of a copy.
#[derive(Debug, Clone, PartialEq)]
pub enum Step {
    /// It is as it should be.
    Nothing,
    /// It is made.
    Create(Value),
    /// It is changed by this merge patch.
    Patch(Value),
    /// Nobody needs it any more.
    Delete,
}

/// Name of the copy of a secret: one for each source. Six hexadecimal digits tell those apart that have the same name.
pub fn copy_of(namespace: &str, name: &str) -> SecretReference {
    let hash = format!("{namespace}/{name}")
        .bytes()
        .fold(0x811c_9dc5_u32, |hash, byte| {
            (hash ^ u32::from(byte)).wrapping_mul(0x0100_0193)
        });
    SecretReference {
        namespace: SECRETS_NAMESPACE.to_owned(),
        name: format!("{name}-{:06x}", hash & 0x00ff_ffff),
        mode: BATCH.to_owned(),
    }
}

/// Makes the copy say what its source says, and that a job uses it.
pub fn sync(source: &Value, copy: Option<&Value>, job: Uid) -> Step {
    let text = |pointer: &str| {
        source
            .pointer(pointer)
            .and_then(Value::as_str)
            .unwrap_or_default()
    };
    let (namespace, name) = (text("/metadata/namespace"), text("/metadata/name"));
    let data = source.get("data").cloned().unwrap_or_else(|| json!({}));
    let Some(copy) = copy else {
        let reference = copy_of(namespace, name);
        return Step::Create(json!({
            "apiVersion": "v1", "kind": "Secret",
            "metadata": {
                "name": reference.name, "namespace": reference.namespace,
                "annotations": {
                    (keys::SECRET_SOURCE): format!("{namespace}/{name}"),
                    (keys::SECRET_REFERENCES): job.to_string(),
                    (keys::SECRET_MODE): BATCH,
                },
            },
            "type": text("/type"), "data": data,
        }));
    };
    let mut users = users_of(copy);
    let is_new = users.insert(job.to_string());
    let has = copy.get("data").cloned().unwrap_or_else(|| json!({}));
    let change = super::patch::merge_patch(&has, &data);
    if change.is_none() && !is_new {
        return Step::Nothing;
    }
    let mut patch = with_users(copy, &users);
    if let (Some(change), Some(patch)) = (change, patch.as_object_mut()) {
        patch.insert("data".to_owned(), change);
    }
    Step::Patch(patch)
}

/// A job does not use the copy any more.
pub fn release(copy: &Value, job: Uid) -> Step {
    let mut users = users_of(copy);
    if !users.remove(&job.to_string()) {
        return if users.is_empty() {
            Step::Delete
        } else {
            Step::Nothing
        };
    }
    if users.is_empty() {
        Step::Delete
    } else {
        Step::Patch(with_users(copy, &users))
    }
}

fn users_of(copy: &Value) -> BTreeSet<String> {
    let annotations = copy.pointer("/metadata/annotations");
    let users = annotations.and_then(|all| all.get(keys::SECRET_REFERENCES)?.as_str());
    let users = users.unwrap_or_default().split(',');
    users.filter(|user| !user.is_empty()).map(str::to_owned).collect()
}

/// For exactly the copy that was read.
fn with_users(copy: &Value, users: &BTreeSet<String>) -> Value {
    let users: Vec<&str> = users.iter().map(String::as_str).collect();
    json!({"metadata": {
        "uid": copy.pointer("/metadata/uid"), "resourceVersion": copy.pointer("/metadata/resourceVersion"),
        "annotations": {(keys::SECRET_REFERENCES): users.join(",")},
    }})
}

#[cfg(test)]
mod tests {
    use super::*;

    const JOBS: [Uid; 2] = [Uid(1), Uid(2)];

    fn source(data: &str) -> Value {
        json!({"metadata": {"namespace": "shop", "name": "reg"}, "type": "kubernetes.io/dockerconfigjson", "data": {"x": data}})
    }

    /// inplace.md 11.3: copied once per source secret, data kept in sync, references shrink, empty: deleted.
    #[test]
    fn a_copy_lives_as_long_as_a_job_uses_it() {
        let Step::Create(mut copy) = sync(&source("a"), None, JOBS[0]) else {
            panic!()
        };
        let name = copy["metadata"]["name"].as_str().unwrap();
        let (base, hex) = name.rsplit_once('-').unwrap();
        assert_eq!((base, hex.len()), ("reg", 6));
        assert_eq!(copy["metadata"]["namespace"], "kruise-daemon-config");
        assert_eq!(copy["metadata"]["annotations"][keys::SECRET_SOURCE], "shop/reg");
        assert_eq!(copy["metadata"]["annotations"][keys::SECRET_MODE], "batch");
        assert_eq!(sync(&source("a"), Some(&copy), JOBS[0]), Step::Nothing);

        let Step::Patch(patch) = sync(&source("b"), Some(&copy), JOBS[1]) else {
            panic!()
        };
        assert_eq!(patch["data"], json!({"x": "b"}));
        let both = format!("{},{}", JOBS[0], JOBS[1]);
        assert_eq!(patch["metadata"]["annotations"][keys::SECRET_REFERENCES], both);
        copy["metadata"]["annotations"][keys::SECRET_REFERENCES] = both.into();

        let Step::Patch(patch) = release(&copy, JOBS[0]) else {
            panic!()
        };
        let left = &patch["metadata"]["annotations"][keys::SECRET_REFERENCES];
        assert_eq!(*left, JOBS[1].to_string());
        copy["metadata"]["annotations"][keys::SECRET_REFERENCES] = left.clone();
        assert_eq!(release(&copy, JOBS[0]), Step::Nothing);
        assert_eq!(release(&copy, JOBS[1]), Step::Delete);
        assert_ne!(copy_of("a", "reg").name, copy_of("b", "reg").name);
    }
}
