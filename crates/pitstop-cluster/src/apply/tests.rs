//! Source: embedded-cluster.md 9.4. What the tables expect was checked against Kubernetes 1.34.

#![allow(clippy::needless_pass_by_value, reason = "tables are written with `json!`")]

use serde_json::{Value, json};

use super::*;
use crate::kinds;

const NOW: &str = "2026-01-01T00:00:00Z";

fn identity(manager: &str, operation: Operation) -> Identity {
    Identity {
        manager: manager.to_owned(),
        operation,
        api_version: "v1".to_owned(),
        subresource: String::new(),
    }
}

/// An object with its owners, to which managers write one after the other.
struct World {
    structure: Type<'static>,
    object: Value,
    managers: Managers,
}

impl World {
    fn of(kind: &str) -> Self {
        let kind = kinds::all().iter().find(|k| k.kind == kind).unwrap();
        Self {
            structure: Type::of(kind),
            object: Value::Null,
            managers: Managers::default(),
        }
    }

    fn apply_as(&mut self, manager: &str, force: bool, applied: Value) -> Result<(), String> {
        let identity = identity(manager, Operation::Apply);
        let reset = Fields::from_json(&json!({"f:status": {}})).unwrap();
        let write = Write {
            identity: &identity,
            now: NOW,
            structure: self.structure,
            versions: &Alike(self.structure),
            reset: &reset,
        };
        let Applied { object, managers } = merge(&self.managers, &self.object, &applied, &write, force)
            .map_err(|error| error.to_string())?;
        (self.object, self.managers) = (without_nulls(object), managers);
        Ok(())
    }

    fn apply(&mut self, manager: &str, applied: Value) {
        self.apply_as(manager, false, applied).unwrap();
    }

    fn update(&mut self, manager: &str, new: Value) {
        let identity = identity(manager, Operation::Update);
        let write = Write {
            identity: &identity,
            now: NOW,
            structure: self.structure,
            versions: &Alike(self.structure),
            reset: &Fields::default(),
        };
        self.managers = update(self.managers.clone(), &self.object, &new, &write).unwrap();
        self.object = new;
    }

    fn owned(&self, manager: &str, operation: Operation) -> Value {
        let fields = self.managers.fields_of(&identity(manager, operation));
        fields.map_or(Value::Null, Fields::to_json)
    }
}

/// As decoding drops them.
fn without_nulls(value: Value) -> Value {
    match value {
        Value::Object(map) => map
            .into_iter()
            .filter(|(_, v)| !v.is_null())
            .map(|(k, v)| (k, without_nulls(v)))
            .collect(),
        Value::Array(list) => list.into_iter().map(without_nulls).collect(),
        other => other,
    }
}

fn pod(spec: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p"}, "spec": spec})
}

fn config(data: Value) -> Value {
    json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}, "data": data})
}

#[test]
fn a_manager_owns_what_it_applies() {
    let cases = [
        // Name, kind and version belong to the server; entries of maps stand for themselves.
        (
            "ConfigMap",
            config(json!({"a": "1"})),
            json!({"f:data": {"f:a": {}}}),
        ),
        // An empty map is a field, and so is a null.
        ("ConfigMap", config(json!({})), json!({"f:data": {}})),
        ("ConfigMap", config(Value::Null), json!({"f:data": {}})),
        (
            "Pod",
            pod(json!({"containers": [{"name": "a", "args": ["x"], "ports": [{"containerPort": 80}]}]})),
            json!({"f:spec": {"f:containers": {"k:{\"name\":\"a\"}": {
                ".": {}, "f:name": {}, "f:args": {},
                "f:ports": {"k:{\"containerPort\":80,\"protocol\":\"TCP\"}": {".": {}, "f:containerPort": {}}},
            }}}}),
        ),
        // Sets by value, atomic maps and lists as a whole, and status not at all.
        (
            "Pod",
            json!({
                "apiVersion": "v1", "kind": "Pod", "metadata": {"name": "p", "finalizers": ["b.c/d"]},
                "spec": {"nodeSelector": {"a": "b"}, "tolerations": [{"operator": "Exists"}]},
                "status": {"phase": "Running"},
            }),
            json!({
                "f:metadata": {"f:finalizers": {"v:\"b.c/d\"": {}}},
                "f:spec": {"f:nodeSelector": {}, "f:tolerations": {}},
            }),
        ),
    ];
    for (kind, applied, owned) in cases {
        let mut world = World::of(kind);
        world.apply("m", applied.clone());
        assert_eq!(world.owned("m", Operation::Apply), owned, "{applied}");
        assert_eq!(Fields::from_json(&owned).unwrap().to_json(), owned);
    }
}

#[test]
fn what_is_not_applied_any_more_goes_unless_others_own_it() {
    let mut world = World::of("ConfigMap");
    world.apply("m", config(json!({"mine": "1", "shared": "1"})));
    world.apply("n", config(json!({"shared": "1"})));
    world.update("u", config(json!({"mine": "1", "shared": "1", "theirs": "1"})));
    world.apply("m", config(json!({})));
    assert_eq!(world.object["data"], json!({"shared": "1", "theirs": "1"}));
    world.apply(
        "n",
        json!({"apiVersion": "v1", "kind": "ConfigMap", "metadata": {"name": "c"}}),
    );
    assert_eq!(world.object["data"], json!({"theirs": "1"}));
    assert_eq!(world.owned("n", Operation::Apply), Value::Null);
    assert_eq!(
        world.owned("u", Operation::Update),
        json!({"f:data": {"f:theirs": {}}})
    );
}

#[test]
fn an_element_goes_with_all_that_is_in_it_but_what_others_own() {
    let both = json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "image": "i"}]});
    let one = json!({"containers": [{"name": "a", "image": "i"}]});
    let mut world = World::of("Pod");
    world.apply("m", pod(both.clone()));
    world.apply("m", pod(one.clone()));
    assert_eq!(world.object["spec"], one);
    // Defaults that nobody owns go too; what somebody owns keeps the element.
    world.apply("m", pod(both));
    world.object["spec"]["containers"][1]["imagePullPolicy"] = "Always".into();
    world.apply("m", pod(one.clone()));
    assert_eq!(world.object["spec"], one);
    world.apply("n", pod(json!({"containers": [{"name": "b", "image": "j"}]})));
    world.apply(
        "m",
        pod(json!({"containers": [{"name": "a", "image": "i"}, {"name": "b", "tty": true}]})),
    );
    world.apply("m", pod(one));
    assert_eq!(
        world.object["spec"]["containers"],
        json!([{"name": "a", "image": "i"}, {"name": "b", "image": "j"}])
    );
}

#[test]
fn another_value_of_anothers_field_is_a_conflict() {
    let mut world = World::of("ConfigMap");
    world.apply("x", config(json!({"a": "1", "b": "1"})));
    // The same value is owned together.
    world.apply("y", config(json!({"a": "1"})));
    assert_eq!(
        world.owned("x", Operation::Apply),
        json!({"f:data": {"f:a": {}, "f:b": {}}})
    );
    let refused = world.apply_as("z", false, config(json!({"a": "2"})));
    assert_eq!(
        refused.unwrap_err(),
        "Apply failed with 2 conflicts: conflicts with \"x\":\n- .data.a\nconflicts with \"y\":\n- .data.a"
    );
    let refused = world.apply_as("z", false, config(json!({"b": "2"})));
    assert_eq!(
        refused.unwrap_err(),
        "Apply failed with 1 conflict: conflict with \"x\": .data.b"
    );
    world.update("u", config(json!({"a": "1", "b": "3"})));
    let refused = world.apply_as("x", false, config(json!({"a": "1", "b": "1"})));
    assert_eq!(
        refused.unwrap_err(),
        "Apply failed with 1 conflict: conflict with \"u\" using v1: .data.b"
    );
    // Force takes the fields away.
    world
        .apply_as("z", true, config(json!({"a": "2", "b": "2"})))
        .unwrap();
    assert_eq!(world.object["data"], json!({"a": "2", "b": "2"}));
    for (manager, operation) in [
        ("x", Operation::Apply),
        ("y", Operation::Apply),
        ("u", Operation::Update),
    ] {
        assert_eq!(world.owned(manager, operation), Value::Null, "{manager}");
    }
}

#[test]
fn elements_keep_their_places_and_follow_the_applied_order() {
    let list = |names: &[&str]| {
        pod(json!({"containers": names.iter().map(|name| json!({"name": name})).collect::<Vec<_>>()}))
    };
    let cases: [(&[&str], &[&str], &[&str]); 6] = [
        (&["a", "b"], &["c"], &["a", "b", "c"]),
        (&["a", "b"], &["b", "c"], &["a", "b", "c"]),
        (&["a", "b"], &["b", "a"], &["b", "a"]),
        (&["a", "b", "c"], &["c", "a"], &["b", "c", "a"]),
        (&["a", "b"], &["c", "a"], &["c", "a", "b"]),
        (&["a"], &["a", "b"], &["a", "b"]),
    ];
    for (live, applied, merged) in cases {
        let mut world = World::of("Pod");
        world.update("u", list(live));
        world.apply("m", list(applied));
        assert_eq!(world.object, list(merged), "{live:?} <- {applied:?}");
    }
}

#[test]
fn ports_with_and_without_their_default_protocol_are_the_same() {
    let mut world = World::of("Service");
    let service = |ports: Value| json!({"apiVersion": "v1", "kind": "Service", "spec": {"ports": ports}});
    world.update(
        "u",
        service(json!([{"port": 53, "protocol": "TCP"}, {"port": 53, "protocol": "UDP"}])),
    );
    world.apply("m", service(json!([{"port": 53, "targetPort": 5353}])));
    assert_eq!(
        world.object["spec"]["ports"],
        json!([{"port": 53, "protocol": "TCP", "targetPort": 5353}, {"port": 53, "protocol": "UDP"}])
    );
}

#[test]
fn duplicates_are_refused() {
    let mut world = World::of("Pod");
    let refused = world.apply_as(
        "m",
        false,
        pod(json!({"containers": [{"name": "c"}, {"name": "c"}]})),
    );
    assert_eq!(
        refused.unwrap_err(),
        ".spec.containers: duplicate entries for key [name=\"c\"]"
    );
}

#[test]
fn the_first_apply_to_an_object_without_owners_finds_one() {
    let mut world = World::of("ConfigMap");
    world.object = config(json!({"a": "1"}));
    let refused = world.apply_as("m", false, config(json!({"a": "2"})));
    assert_eq!(
        refused.unwrap_err(),
        "Apply failed with 1 conflict: conflict with \"before-first-apply\" using v1: .data.a"
    );
}

#[test]
fn kubectl_takes_over_what_it_applied_on_its_own() {
    let applied = config(json!({"a": "1", "b": "1"}));
    let mut live = applied.clone();
    live["metadata"]["annotations"] = json!({LAST_APPLIED: applied.to_string()});
    live["data"]["b"] = "edited".into();
    let mut world = World::of("ConfigMap");
    world.update("kubectl-client-side-apply", live);
    let refused = world.apply_as("kubectl", false, config(json!({"a": "2", "b": "2"})));
    assert_eq!(
        refused.unwrap_err(),
        "Apply failed with 1 conflict: conflict with \"kubectl-client-side-apply\" using v1: .data.b"
    );
    world.apply("kubectl", config(json!({"a": "2"})));
    assert_eq!(world.object["data"], json!({"a": "2", "b": "edited"}));
}

#[test]
fn the_oldest_of_many_updaters_are_merged() {
    let mut world = World::of("ConfigMap");
    let mut data = serde_json::Map::new();
    for index in 0..12 {
        data.insert(format!("k{index}"), "v".into());
        world.update(&format!("u{index:02}"), config(data.clone().into()));
    }
    let entries = world.managers.encode().unwrap();
    let names: Vec<&str> = entries
        .as_array()
        .unwrap()
        .iter()
        .map(|e| e["manager"].as_str().unwrap())
        .collect();
    assert_eq!(
        names,
        [
            "ancient-changes",
            "u03",
            "u04",
            "u05",
            "u06",
            "u07",
            "u08",
            "u09",
            "u10",
            "u11"
        ]
    );
}

#[test]
fn applying_the_same_again_changes_nothing() {
    let mut world = World::of("Pod");
    let applied = pod(json!({"containers": [{"name": "a", "image": "i"}], "nodeSelector": {"a": "b"}}));
    world.apply("m", applied.clone());
    let (object, managers) = (world.object.clone(), world.managers.clone());
    world.apply("m", applied);
    assert_eq!((world.object, world.managers), (object, managers));
}

#[test]
fn custom_resources_merge_as_their_schema_says() {
    let schema = json!({"type": "object", "properties": {"spec": {"type": "object", "properties": {
        "whole": {"type": "array", "items": {"type": "string"}},
        "set": {"type": "array", "x-kubernetes-list-type": "set", "items": {"type": "string"}},
        "keyed": {
            "type": "array", "x-kubernetes-list-type": "map", "x-kubernetes-list-map-keys": ["id", "side"],
            "items": {"type": "object", "properties": {
                "id": {"type": "string"}, "side": {"type": "string", "default": "left"},
            }},
        },
        "atomic": {"type": "object", "x-kubernetes-map-type": "atomic", "properties": {"a": {"type": "string"}}},
        "free": {"type": "object", "x-kubernetes-preserve-unknown-fields": true},
    }}}});
    let custom = Custom::object(&schema);
    let object = json!({"metadata": {"finalizers": ["a/b"]}, "spec": {
        "whole": ["a"], "set": ["a"], "keyed": [{"id": "x"}], "atomic": {"a": "b"}, "free": {"any": {"thing": [1]}},
    }});
    assert_eq!(
        fields_of(&object, Type::custom(&custom)).unwrap().to_json(),
        json!({
            "f:metadata": {"f:finalizers": {"v:\"a/b\"": {}}},
            "f:spec": {
                "f:whole": {}, "f:set": {"v:\"a\"": {}}, "f:atomic": {},
                "f:keyed": {"k:{\"id\":\"x\",\"side\":\"left\"}": {".": {}, "f:id": {}}},
                "f:free": {"f:any": {".": {}, "f:thing": {}}},
            },
        })
    );
}

/// A kind whose number of seats is `spec.capacity.seats` in v1, and `spec.seats` in v1alpha1.
#[derive(Debug)]
struct Ferries(Custom);

impl Versions for Ferries {
    fn structure(&self, api_version: &str) -> Option<Type<'_>> {
        matches!(api_version, "x/v1" | "x/v1alpha1").then(|| Type::custom(&self.0))
    }

    fn convert(&self, object: &Value, api_version: &str) -> Result<Value, Unconverted> {
        let seats = object
            .pointer("/spec/seats")
            .or_else(|| object.pointer("/spec/capacity/seats"));
        let spec = match (seats, api_version) {
            (None, _) => json!({}),
            (Some(seats), "x/v1") => json!({"capacity": {"seats": seats}}),
            (Some(seats), _) => json!({"seats": seats}),
        };
        let mut converted = json!({"apiVersion": api_version, "kind": "Ferry", "spec": spec});
        if let Some(speed) = object.pointer("/spec/speed") {
            converted["spec"]["speed"] = speed.clone();
        }
        Ok(converted)
    }
}

/// Applies a ferry's spec to an object with owners.
fn apply_ferry(
    at: &mut (Value, Managers),
    manager: &str,
    api_version: &str,
    spec: Value,
    force: bool,
) -> Result<(), String> {
    let fields = |fields: Vec<(&str, Custom)>| {
        let fields = fields
            .into_iter()
            .map(|(name, structure)| (name.to_owned(), structure));
        Custom::Fields(fields.collect(), None)
    };
    let spec_fields = vec![
        ("capacity", fields(vec![("seats", Custom::Whole)])),
        ("seats", Custom::Whole),
        ("speed", Custom::Whole),
    ];
    let ferries = Ferries(fields(vec![("spec", fields(spec_fields))]));
    let identity = Identity {
        api_version: api_version.to_owned(),
        ..identity(manager, Operation::Apply)
    };
    let write = Write {
        identity: &identity,
        now: NOW,
        structure: Type::custom(&ferries.0),
        versions: &ferries,
        reset: &Fields::default(),
    };
    let applied = json!({"apiVersion": api_version, "kind": "Ferry", "spec": spec});
    // The server reads an object in the version of the request.
    let live = write
        .in_version(&at.0, api_version)
        .map_err(|error| error.to_string())?;
    let Applied { object, managers } =
        merge(&at.1, &live, &applied, &write, force).map_err(|error| error.to_string())?;
    *at = (object, managers);
    Ok(())
}

#[test]
fn a_conflict_names_the_field_in_the_version_of_its_owner() {
    let mut at = (Value::Null, Managers::default());
    apply_ferry(&mut at, "one", "x/v1", json!({"capacity": {"seats": 5}}), false).unwrap();
    // The same value is no conflict, whatever it is called.
    apply_ferry(&mut at, "two", "x/v1alpha1", json!({"seats": 5}), false).unwrap();
    let error = apply_ferry(&mut at, "two", "x/v1alpha1", json!({"seats": 6}), false).unwrap_err();
    let expected = "Apply failed with 1 conflict: conflict with \"one\": .spec.capacity.seats";
    assert_eq!(error, expected);
    apply_ferry(&mut at, "two", "x/v1alpha1", json!({"seats": 6}), true).unwrap();
    assert_eq!(at.0.pointer("/spec/seats"), Some(&json!(6)));
    let owners = at.1.encode().unwrap();
    assert_eq!(owners.as_array().unwrap().len(), 1, "{owners}");
}

#[test]
fn a_manager_that_applies_in_another_version_stays_the_same() {
    let mut at = (Value::Null, Managers::default());
    let spec = json!({"capacity": {"seats": 5}, "speed": "fast"});
    apply_ferry(&mut at, "one", "x/v1", spec, false).unwrap();
    // What it does not apply any more goes, although it was applied in other words.
    apply_ferry(&mut at, "one", "x/v1alpha1", json!({"seats": 5}), false).unwrap();
    assert_eq!(at.0["spec"], json!({"seats": 5}));
    let owners = at.1.encode().unwrap();
    assert_eq!(owners.as_array().unwrap().len(), 1, "{owners}");
    assert_eq!(owners[0]["apiVersion"], "x/v1alpha1");
    assert_eq!(owners[0]["fieldsV1"], json!({"f:spec": {"f:seats": {}}}));
}

#[test]
fn what_others_own_in_another_version_is_not_removed() {
    let mut at = (Value::Null, Managers::default());
    let spec = json!({"capacity": {"seats": 5}, "speed": "fast"});
    apply_ferry(&mut at, "one", "x/v1", spec, false).unwrap();
    apply_ferry(&mut at, "two", "x/v1alpha1", json!({"seats": 5}), false).unwrap();
    apply_ferry(&mut at, "one", "x/v1", json!({"speed": "fast"}), false).unwrap();
    assert_eq!(at.0["spec"], json!({"capacity": {"seats": 5}, "speed": "fast"}));
}

#[test]
fn owners_of_a_version_that_is_no_more_are_forgotten() {
    let mut at = (Value::Null, Managers::default());
    apply_ferry(&mut at, "one", "x/v1", json!({"speed": "fast"}), false).unwrap();
    let mut owners = at.1.encode().unwrap();
    owners[0]["apiVersion"] = "x/v0".into();
    at.1 = Managers::decode(&owners).unwrap();
    apply_ferry(&mut at, "two", "x/v1", json!({"speed": "slow"}), false).unwrap();
    let owners = at.1.encode().unwrap();
    assert_eq!(owners.as_array().unwrap().len(), 1, "{owners}");
    assert_eq!(owners[0]["manager"], "two");
}
