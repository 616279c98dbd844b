//! Makes sequences of requests from a seed.

use http::Method;
use rand::rngs::StdRng;
use rand::seq::IndexedRandom as _;
use rand::{RngExt, SeedableRng};
use serde_json::{Map, Value, json};

use super::subjects::{Place, Subject};
use crate::sequence::{APPLY, Class, JSON_PATCH, MERGE, STRATEGIC, Sequence, TABLE, seq};

/// Requests of a sequence before those that look at what is left.
const LENGTHS: std::ops::RangeInclusive<usize> = 8..=16;
/// Names of objects.
const NAMES: [&str; 3] = ["a", "b", "c"];
/// Names under which a sequence keeps the versions and uids of them.
const VERSIONS: [&str; 3] = ["rv_a", "rv_b", "rv_c"];
const OLD_VERSIONS: [&str; 3] = ["old_a", "old_b", "old_c"];
const UIDS: [&str; 3] = ["uid_a", "uid_b", "uid_c"];
const METADATA: &str = "application/json;as=PartialObjectMetadata;v=v1;g=meta.k8s.io,application/json";
const METADATA_LIST: &str =
    "application/json;as=PartialObjectMetadataList;v=v1;g=meta.k8s.io,application/json";
const JSON: &str = "application/json";

/// The sequence of a number under a seed.
pub(crate) fn sequence(subjects: &[Subject], seed: u64, number: usize) -> Sequence {
    let own = seed
        .wrapping_mul(0x9e37_79b9_7f4a_7c15)
        .wrapping_add(number as u64);
    let mut maker = Maker {
        random: StdRng::seed_from_u64(own),
        made: seq(&format!("random-{seed}-{number}"), Class::Random),
    };
    let count = if maker.one_in(3) { 2 } else { 1 };
    let chosen: Vec<&Subject> = (0..count)
        .filter_map(|_| subjects.choose(&mut maker.random))
        .collect();
    for subject in &chosen {
        maker.create(subject, 0);
    }
    for _ in 0..maker.random.random_range(LENGTHS) {
        if let Some(subject) = chosen.choose(&mut maker.random) {
            maker.step(subject);
        }
    }
    for subject in &chosen {
        let path = format!("{}?{}", subject.path, own_objects(subject));
        maker.push(|made| made.get(&path));
    }
    maker.made
}

/// Every value of every field once: in a new object, and in a patch of one that is right.
pub(crate) fn every_field(subjects: &[Subject]) -> Vec<Sequence> {
    let mut all = Vec::new();
    for subject in subjects {
        let fields = |places: &'static str| -> Vec<(&'static str, String, Value)> {
            let chosen = if places.is_empty() {
                &subject.places
            } else {
                &subject.status_places
            };
            let values = chosen
                .iter()
                .flat_map(|place| place.values.iter().map(move |value| (place, value)));
            values
                .map(|(place, value)| (places, place.pointer.clone(), value.clone()))
                .collect()
        };
        for (below, pointer, value) in [fields(""), fields("/status")].concat() {
            let name = format!("field-{}", all.len());
            let mut made = seq(&name, Class::Random);
            if below.is_empty() {
                let mut body = subject.object("a");
                set(&mut body, &pointer, value.clone());
                made = made.post(subject.path, body);
            }
            let right = subject.object("b");
            let mut patch = json!({});
            put(&mut patch, &right, &pointer, value, false);
            let path = format!("{}/{}{below}", subject.path, subject.name("b"));
            all.push(made.post(subject.path, right).patch(&path, MERGE, patch));
        }
    }
    all
}

/// A selector that leaves out what others made.
fn own_objects(subject: &Subject) -> &'static str {
    if subject.is_cluster_wide {
        "labelSelector=of%3D$(ns)"
    } else {
        "labelSelector=!other"
    }
}

struct Maker {
    random: StdRng,
    made: Sequence,
}

impl Maker {
    fn push(&mut self, add: impl FnOnce(Sequence) -> Sequence) {
        let made = std::mem::replace(&mut self.made, seq("", Class::Random));
        self.made = add(made);
    }

    fn one_in(&mut self, n: u32) -> bool {
        self.random.random_range(0..n) == 0
    }

    fn pick(&mut self, among: &[&'static str]) -> &'static str {
        among.choose(&mut self.random).copied().unwrap_or_default()
    }

    /// One of the names; the first one mostly.
    fn name(&mut self) -> usize {
        match self.random.random_range(0..8) {
            0 => 2,
            1 | 2 => 1,
            _ => 0,
        }
    }

    fn step(&mut self, subject: &Subject) {
        match self.random.random_range(0..100) {
            0..10 => {
                let name = self.name();
                self.create(subject, name);
            }
            // The count of the changes of a template is another second's, and another version, where it is left out.
            10..28 if subject.path != "apps/daemonsets" => self.replace(subject),
            58..68 if subject.is_applied => self.apply(subject),
            10..68 => self.patch(subject),
            68..78 => self.subresource(subject),
            78..84 => self.read(subject),
            84..92 => self.list(subject),
            92..98 => self.delete(subject),
            _ => self.wrong(subject),
        }
    }

    /// Adds a request with a JSON body whose answer tells version and uid.
    fn write(&mut self, method: Method, path: &str, kind: &'static str, body: &Value, name: usize) {
        let bytes = body.to_string().into_bytes();
        self.push(|made| {
            let made = made.raw(method, path, kind, &bytes);
            made.keep(VERSIONS[name], "/metadata/resourceVersion")
                .keep(UIDS[name], "/metadata/uid")
        });
    }

    /// Parameters of a write, with the `?`.
    fn parameters(&mut self) -> String {
        let mut given = Vec::new();
        if self.one_in(10) {
            given.push(self.pick(&["dryRun=All", "dryRun=All", "dryRun=All", "dryRun=Some", "dryRun="]));
        }
        if self.one_in(4) {
            given.push(self.pick(&["fieldManager=one", "fieldManager=two"]));
        }
        if self.one_in(6) {
            let modes = [
                "fieldValidation=Strict",
                "fieldValidation=Ignore",
                "fieldValidation=Warn",
            ];
            given.push(self.pick(&modes));
        }
        if self.one_in(60) {
            given.push(self.pick(&["fieldValidation=Maybe", "pretty=true", "nothing=1", "timeout=5s"]));
        }
        if given.is_empty() {
            String::new()
        } else {
            format!("?{}", given.join("&"))
        }
    }

    fn create(&mut self, subject: &Subject, name: usize) {
        let mut body = subject.object(NAMES[name]);
        let changes = [0, 0, 1].choose(&mut self.random).copied().unwrap_or_default();
        for _ in 0..changes {
            self.change(&mut body, &subject.places);
        }
        if self.one_in(25)
            && let Some(metadata) = body["metadata"].as_object_mut()
        {
            metadata.remove("name");
            metadata.insert("generateName".to_owned(), json!(subject.name("g-")));
        }
        let path = format!("{}{}", subject.path, self.parameters());
        self.write(Method::POST, &path, JSON, &body, name);
        self.push(|made| made.keep(OLD_VERSIONS[name], "/metadata/resourceVersion"));
    }

    fn replace(&mut self, subject: &Subject) {
        let name = self.name();
        let mut body = subject.object(NAMES[name]);
        for _ in 0..self.random.random_range(0..2) {
            self.change(&mut body, &subject.places);
        }
        let version = match self.random.random_range(0..10) {
            0..4 => Some(VERSIONS[name]),
            4 => Some(OLD_VERSIONS[name]),
            _ => None,
        };
        if let (Some(version), Some(metadata)) = (version, body["metadata"].as_object_mut()) {
            metadata.insert("resourceVersion".to_owned(), json!(format!("$({version})")));
        }
        let path = format!(
            "{}/{}{}",
            subject.path,
            subject.name(NAMES[name]),
            self.parameters()
        );
        self.write(Method::PUT, &path, JSON, &body, name);
    }

    /// Puts a value somewhere.
    fn change(&mut self, body: &mut Value, places: &[Place]) {
        if let Some((pointer, value)) = self.place(places) {
            set(body, &pointer, value);
        }
    }

    fn place(&mut self, places: &[Place]) -> Option<(String, Value)> {
        // Fields of a kind's own are of more interest than those that all kinds have.
        let places = match places.iter().position(|place| place.pointer == "/unknown") {
            Some(last) if last + 1 < places.len() && !self.one_in(3) => places.get(last + 1..)?,
            _ => places,
        };
        let place = places.choose(&mut self.random)?;
        let value = place.values.choose(&mut self.random)?;
        Some((place.pointer.clone(), value.clone()))
    }

    fn patch(&mut self, subject: &Subject) {
        let name = self.name();
        let path = format!(
            "{}/{}{}",
            subject.path,
            subject.name(NAMES[name]),
            self.parameters()
        );
        let (kind, body) = self.patch_of(subject, &subject.places, name);
        self.write(Method::PATCH, &path, kind, &body, name);
    }

    /// A patch of any type that puts values at some of these places.
    fn patch_of(&mut self, subject: &Subject, places: &[Place], name: usize) -> (&'static str, Value) {
        let whole = subject.object(NAMES[name]);
        let kind = [MERGE, STRATEGIC, JSON_PATCH]
            .choose(&mut self.random)
            .copied()
            .unwrap_or(MERGE);
        if kind == JSON_PATCH {
            let count = self.random.random_range(1..2);
            return (kind, (0..count).map(|_| self.operation(places)).collect());
        }
        let mut patch = json!({});
        for _ in 0..self.random.random_range(1..2) {
            if let Some((pointer, value)) = self.place(places) {
                put(&mut patch, &whole, &pointer, value, kind == STRATEGIC);
            }
        }
        if kind == STRATEGIC && self.one_in(12) {
            self.direct(&mut patch);
        }
        if self.one_in(12) {
            let version = json!(format!("$({})", VERSIONS[name]));
            set(&mut patch, "/metadata/resourceVersion", version);
        }
        (kind, patch)
    }

    /// Adds a directive to a strategic merge patch.
    fn direct(&mut self, patch: &mut Value) {
        let (pointer, value) = [
            ("/metadata/labels", json!({"$patch": "delete"})),
            ("/metadata/finalizers", json!(["example.com/h"])),
            (
                "/metadata/$deleteFromPrimitiveList~1finalizers",
                json!(["example.com/f"]),
            ),
            (
                "/metadata/$setElementOrder~1finalizers",
                json!(["example.com/g", "example.com/f"]),
            ),
        ]
        .choose(&mut self.random)
        .cloned()
        .unwrap_or_default();
        set(patch, pointer, value);
    }

    fn operation(&mut self, places: &[Place]) -> Value {
        let Some((path, value)) = self.place(places) else {
            return json!({});
        };
        match self.random.random_range(0..20) {
            0..9 => json!({"op": "add", "path": path, "value": value}),
            9..13 => json!({"op": "replace", "path": path, "value": value}),
            13..16 => json!({"op": "remove", "path": path}),
            16 | 17 => json!({"op": "test", "path": path, "value": value}),
            18 => json!({"op": "move", "from": path, "path": "/metadata/annotations/moved"}),
            _ => json!({"op": self.pick(&["bad", ""]), "path": path, "value": value}),
        }
    }

    fn apply(&mut self, subject: &Subject) {
        let name = self.name();
        let mut body = if name > 0 || self.one_in(2) {
            subject.object(NAMES[name])
        } else {
            subject.bare(NAMES[name])
        };
        let whole = subject.object(NAMES[name]);
        for _ in 0..self.random.random_range(0..2) {
            if let Some((pointer, value)) = self.place(&subject.places) {
                put(&mut body, &whole, &pointer, value, true);
            }
        }
        let manager = self.pick(&[
            "?fieldManager=one",
            "?fieldManager=two",
            "?fieldManager=one",
            "?force=true",
        ]);
        let force = self.pick(&[
            "",
            "",
            "&force=true",
            "&force=false",
            "&dryRun=All",
            "&force=true&dryRun=All",
        ]);
        let path = format!("{}/{}{manager}{force}", subject.path, subject.name(NAMES[name]));
        self.write(Method::PATCH, &path, APPLY, &body, name);
    }

    fn subresource(&mut self, subject: &Subject) {
        let name = self.name();
        let path = format!("{}/{}", subject.path, subject.name(NAMES[name]));
        let is_pod = subject.path == "pods";
        match self.random.random_range(0..10) {
            5 | 6 if subject.has_scale => self.scale(&path, name),
            5 if is_pod => {
                let node = self.pick(&["nowhere", "", "elsewhere"]);
                let body =
                    json!({"metadata": {"name": NAMES[name]}, "target": {"kind": "Node", "name": node}});
                let path = format!("{path}/binding{}", self.parameters());
                self.push(|made| made.post(&path, body));
            }
            6 if is_pod => {
                let body =
                    json!({"apiVersion": "policy/v1", "kind": "Eviction", "metadata": {"name": NAMES[name]}});
                let path = format!("{path}/eviction{}", self.parameters());
                self.push(|made| made.post(&path, body));
            }
            8 => {
                let inner = self.pick(&["status", "scale", "nothing"]);
                self.push(|made| made.get(&format!("{path}/{inner}")));
            }
            _ if subject.has_status => self.status(subject, &path, name),
            _ => self.patch(subject),
        }
    }

    fn status(&mut self, subject: &Subject, path: &str, name: usize) {
        let path = format!("{path}/status{}", self.parameters());
        let (kind, body) = self.patch_of(subject, &subject.status_places, name);
        self.write(Method::PATCH, &path, kind, &body, name);
    }

    fn scale(&mut self, path: &str, name: usize) {
        let path = format!("{path}/scale");
        let replicas = [json!(3), json!(0), json!(-1), json!("x"), Value::Null]
            .choose(&mut self.random)
            .cloned();
        let replicas = replicas.unwrap_or_default();
        match self.random.random_range(0..3) {
            0 => self.push(|made| made.get(&path)),
            1 => {
                let path = format!("{path}{}", self.parameters());
                self.write(
                    Method::PATCH,
                    &path,
                    MERGE,
                    &json!({"spec": {"replicas": replicas}}),
                    name,
                );
            }
            _ => {
                let body = json!({
                    "apiVersion": "autoscaling/v1", "kind": "Scale", "metadata": {"name": NAMES[name]},
                    "spec": {"replicas": replicas},
                });
                let path = format!("{path}{}", self.parameters());
                self.write(Method::PUT, &path, JSON, &body, name);
            }
        }
    }

    fn read(&mut self, subject: &Subject) {
        let name = self.name();
        let path = format!("{}/{}", subject.path, subject.name(NAMES[name]));
        let accept = self.pick(&["", "", "", TABLE, METADATA]);
        self.get(&path, accept);
    }

    fn get(&mut self, path: &str, accept: &'static str) {
        self.push(|made| {
            let made = made.get(path);
            if accept.is_empty() {
                made
            } else {
                made.header("accept", accept)
            }
        });
    }

    fn list(&mut self, subject: &Subject) {
        let mut given = Vec::new();
        if subject.is_cluster_wide {
            given.push(own_objects(subject).to_owned());
        } else if self.one_in(3) {
            let selectors = [
                "x",
                "!x",
                "x%3D1",
                "x!%3D1",
                "x+in+(1,2)",
                "x+notin+(1)",
                "app%3Da",
                "a%3D%3D%3Db",
            ];
            given.push(format!("labelSelector={}", self.pick(&selectors)));
        }
        if self.one_in(4) {
            let fields = ["metadata.name%3Da", "metadata.name!%3Da", "spec.none%3D1"];
            let known = subject
                .field_selector
                .map(|selector| selector.replace('=', "%3D"));
            let field = match known {
                Some(known) if self.one_in(2) => known,
                _ => self
                    .pick(&fields)
                    .replace("%3Da", &format!("%3D{}", subject.name("a"))),
            };
            given.push(format!("fieldSelector={field}"));
        }
        let accept = self.pick(&["", "", "", TABLE, METADATA_LIST]);
        // How many others there are is another matter.
        if !subject.is_cluster_wide && self.one_in(3) {
            let limit = self.pick(&["limit=1", "limit=2", "limit=0"]);
            given.push(limit.to_owned());
            let path = format!("{}?{}", subject.path, given.join("&"));
            self.get(&path, accept);
            self.push(|made| made.keep("next", "/metadata/continue"));
            self.get(&format!("{path}&continue=$(next)"), accept);
            return;
        }
        let path = if given.is_empty() {
            subject.path.to_owned()
        } else {
            format!("{}?{}", subject.path, given.join("&"))
        };
        self.get(&path, accept);
    }

    fn delete(&mut self, subject: &Subject) {
        let name = self.name();
        if self.one_in(6) {
            let selector = if subject.is_cluster_wide {
                own_objects(subject)
            } else {
                self.pick(&[
                    "labelSelector=x",
                    "labelSelector=!x",
                    "fieldSelector=metadata.name%3Da",
                    "labelSelector=!",
                ])
            };
            let path = format!("{}?{selector}", subject.path);
            self.push(|made| made.delete(&path));
            return;
        }
        let path = format!("{}/{}", subject.path, subject.name(NAMES[name]));
        let mut options = Map::new();
        if self.one_in(3) {
            let uid = if self.one_in(2) {
                format!("$({})", UIDS[name])
            } else {
                "other".to_owned()
            };
            options.insert("preconditions".to_owned(), json!({"uid": uid}));
        } else if self.one_in(4) {
            let version = if self.one_in(2) {
                VERSIONS[name]
            } else {
                OLD_VERSIONS[name]
            };
            options.insert(
                "preconditions".to_owned(),
                json!({"resourceVersion": format!("$({version})")}),
            );
        }
        if self.one_in(3) {
            let policy = self.pick(&["Background", "X"]);
            options.insert("propagationPolicy".to_owned(), json!(policy));
        }
        if self.one_in(4) {
            let grace = self.random.random_range(-1..3);
            options.insert("gracePeriodSeconds".to_owned(), json!(grace));
        }
        let query = self.pick(&["", "", "", "", "?dryRun=All", "?gracePeriodSeconds=0"]);
        let path = format!("{path}{query}");
        if options.is_empty() {
            self.push(|made| made.delete(&path));
        } else {
            self.push(|made| made.delete_with(&path, Value::Object(options)));
        }
    }

    /// Requests that are no requests.
    fn wrong(&mut self, subject: &Subject) {
        let item = format!("{}/{}", subject.path, subject.name("a"));
        let bodies: [&[u8]; 5] = [b"", b"{", b"[]", b"text", b"{\"metadata\":{\"name\":1}}"];
        let body = bodies.choose(&mut self.random).copied().unwrap_or_default();
        let types = [JSON, MERGE, STRATEGIC, JSON_PATCH, "text/plain"];
        let kind = types.choose(&mut self.random).copied().unwrap_or(JSON);
        match self.random.random_range(0..5) {
            0 => self.push(|made| made.raw(Method::POST, subject.path, kind, body)),
            1 => self.push(|made| made.raw(Method::PUT, &item, kind, body)),
            2 => self.push(|made| made.raw(Method::PATCH, &item, kind, body)),
            3 => self.push(|made| made.raw(Method::POST, &item, kind, body)),
            _ => self.push(|made| made.raw(Method::PUT, subject.path, kind, body)),
        }
    }
}

/// The keys on the way to a place.
fn keys(pointer: &str) -> Vec<String> {
    pointer
        .split('/')
        .skip(1)
        .map(|key| key.replace("~1", "/").replace("~0", "~"))
        .collect()
}

/// The place behind some keys.
fn pointer_to<'k>(keys: impl Iterator<Item = &'k String>) -> String {
    keys.fold(String::new(), |pointer, key| pointer + "/" + key)
}

/// Puts a value into an object; what is on the way and not there is made. What is no list and no object stays.
fn set(object: &mut Value, pointer: &str, value: Value) {
    let mut at = object;
    for key in keys(pointer) {
        let inner = match at {
            Value::Array(items) => key.parse().ok().and_then(|index: usize| items.get_mut(index)),
            Value::Object(fields) => Some(fields.entry(key).or_insert_with(|| json!({}))),
            _ => None,
        };
        match inner {
            Some(inner) => at = inner,
            None => return,
        }
    }
    *at = value;
}

/// Puts a value into a patch. A list can be patched by the names of its elements; else the whole list is sent.
fn put(patch: &mut Value, whole: &Value, pointer: &str, value: Value, by_name: bool) {
    let keys = keys(pointer);
    let Some(list) = keys.iter().position(|key| key.parse::<usize>().is_ok()) else {
        set(patch, pointer, value);
        return;
    };
    let list_pointer: String = pointer_to(keys.iter().take(list));
    let inner_pointer: String = pointer_to(keys.iter().skip(list + 1));
    let element = whole.pointer(&format!("{list_pointer}/{}", keys[list]));
    let mut element = element.cloned().unwrap_or_default();
    let names = ["name", "port", "ip"];
    if by_name && let Some(fields) = element.as_object_mut() {
        fields.retain(|field, _| names.contains(&field.as_str()));
    }
    set(&mut element, &inner_pointer, value);
    set(patch, &list_pointer, json!([element]));
}
