//! One stored object: the bytes that clients read, laid out so that its resourceVersion and its metadata are found
//! without parsing.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use bytes::Bytes;
use jiff::Timestamp;
use pitstop_api::selector::Labels;
use serde_json::Value;

use super::collection::ChangeKind;
use super::frame::Frame;
use crate::alike::Alike;
use crate::kinds::FieldKey;
use crate::schema::write_json;

/// Where an object is: namespaces order before names. The namespace of cluster-scoped objects is empty.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord, Hash)]
pub(crate) struct Key {
    /// Namespace, or empty.
    pub(crate) namespace: Arc<str>,
    /// Name.
    pub(crate) name: Arc<str>,
}

impl Key {
    /// A key from its parts.
    pub(crate) fn new(namespace: &str, name: &str) -> Self {
        Self {
            namespace: namespace.into(),
            name: name.into(),
        }
    }
}

/// What selectors and preconditions ask for. Versions of an object that agree in all of it share one.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Header {
    pub(crate) labels: Alike<Labels>,
    pub(crate) uid: Box<str>,
    fields: Fields,
}

/// Values in the order of the kind's field keys, as one text: an event has a dozen, most of them empty.
#[derive(Debug, PartialEq, Eq)]
struct Fields {
    text: Box<str>,
    /// Where each value ends.
    ends: Box<[u32]>,
}

impl Fields {
    fn of(object: &Value, keys: &[FieldKey]) -> Self {
        let mut text = String::new();
        let ends = keys.iter().map(|key| {
            push_field_value(&mut text, object, key);
            u32::try_from(text.len()).unwrap_or(u32::MAX)
        });
        Self {
            ends: ends.collect(),
            text: text.into(),
        }
    }

    fn get(&self, index: usize) -> &str {
        let end = |index: usize| {
            let end = self.ends.get(index)?;
            usize::try_from(*end).ok()
        };
        let start = index.checked_sub(1).map_or(Some(0), end);
        let range = start.zip(end(index)).map(|(start, end)| start..end);
        range.and_then(|range| self.text.get(range)).unwrap_or_default()
    }
}

/// One version of an object.
#[derive(Debug)]
pub(crate) struct Stored {
    /// Where it is.
    pub(crate) key: Key,
    /// Its resourceVersion.
    pub(crate) version: u64,
    /// When it was written.
    pub(crate) at: Timestamp,
    pub(super) header: Arc<Header>,
    /// `{"type":"ADDED","object":{...}}\n`: the watch frame of the change that made this version. The object is a
    /// slice of it, so both exist once.
    frame: Frame,
    layout: Layout,
    /// Counts the versions of the object, from 0 to one less than [`WHOLE_EVERY`].
    turn: u8,
    /// Are others kept as what they differ in from it? It is whole then, and stays so: what is restored is at most so
    /// many versions, and one of these, away from whole bytes.
    is_base: AtomicBool,
}

/// One of so many versions is always kept whole, so that hardly anything has to be restored to restore another.
const WHOLE_EVERY: u8 = 8;

/// Offsets into the frame.
#[derive(Debug, Clone, Copy)]
struct Layout {
    object: usize,
    metadata: usize,
    version: usize,
    version_end: usize,
    metadata_end: usize,
}

const FRAME_END: &[u8] = b"}\n";
const METADATA: &[u8] = b",\"metadata\":";
const VERSION: &[u8] = b"{\"resourceVersion\":\"";

impl Stored {
    /// The object as compact JSON, with its resourceVersion.
    pub(crate) fn bytes(&self) -> Bytes {
        let end = self.frame.len() - FRAME_END.len();
        self.frame.bytes().slice(self.layout.object..end)
    }

    /// The object's `metadata` as compact JSON.
    pub(crate) fn metadata(&self) -> Bytes {
        self.frame
            .bytes()
            .slice(self.layout.metadata..self.layout.metadata_end)
    }

    /// The watch frame of the change that made this version.
    pub(crate) fn frame(&self) -> Bytes {
        self.frame.bytes()
    }

    /// Keeps only what is not in the version after, which is `next`.
    pub(super) fn pack(&self, next: &Arc<Self>) {
        if self.turn + 1 < WHOLE_EVERY && !self.is_base.load(Ordering::Relaxed) {
            self.frame.pack(next);
        }
    }

    /// Keeps only what is not in another object, which is whole. The collection that both are in is not shared meanwhile.
    pub(super) fn pack_beside(&self, base: &Arc<Self>) {
        if self.frame.pack(base) {
            base.is_base.store(true, Ordering::Relaxed);
        }
    }

    /// Is it kept as it is, and not as what it differs in from another one?
    pub(super) fn is_whole(&self) -> bool {
        self.frame.is_whole()
    }

    /// Labels.
    pub(crate) fn labels(&self) -> &Labels {
        &self.header.labels
    }

    /// Unique id.
    pub(crate) fn uid(&self) -> &str {
        &self.header.uid
    }

    /// The value of a field key, by its place in the kind's table.
    pub(crate) fn field(&self, index: usize) -> &str {
        self.header.fields.get(index)
    }

    /// The object, decoded.
    pub(crate) fn decode(&self) -> Value {
        // The bytes were serialised from a value by this module.
        serde_json::from_slice(&self.bytes()).unwrap_or(Value::Null)
    }

    /// The same object as the end of a change, under another resourceVersion.
    pub(crate) fn restamped(&self, kind: ChangeKind, version: u64, at: Timestamp) -> Self {
        let frame = self.frame();
        let (head, tail) = self.around_version(&frame);
        let metadata_len = self.layout.metadata_end - self.layout.version_end;
        let (frame, layout) = lay_out(kind, version, head, tail, metadata_len);
        Self {
            key: self.key.clone(),
            version,
            at,
            header: self.header.clone(),
            frame: Frame::new(frame),
            layout,
            turn: self.next_turn(),
            is_base: AtomicBool::new(false),
        }
    }

    /// A watch frame with this object and another resourceVersion.
    pub(crate) fn frame_as(&self, kind: ChangeKind, version: u64) -> Bytes {
        let frame = self.frame();
        let (head, tail) = self.around_version(&frame);
        lay_out(kind, version, head, tail, 0).0
    }

    /// The object's bytes before and after the digits of its resourceVersion.
    fn around_version<'a>(&self, frame: &'a Bytes) -> (&'a [u8], &'a [u8]) {
        let Layout {
            object,
            version,
            version_end,
            ..
        } = self.layout;
        let end = frame.len() - FRAME_END.len();
        (
            frame.get(object..version).unwrap_or_default(),
            frame.get(version_end..end).unwrap_or_default(),
        )
    }

    fn next_turn(&self) -> u8 {
        (self.turn + 1) % WHOLE_EVERY
    }
}

/// An object about to be stored, serialised but for its resourceVersion.
#[derive(Debug)]
pub(crate) struct Draft {
    head: Vec<u8>,
    tail: Vec<u8>,
    /// How much of the tail belongs to the metadata.
    metadata_len: usize,
    header: Header,
}

impl Draft {
    /// Serialises an object. Its `metadata.resourceVersion` is ignored.
    pub(crate) fn new(object: &Value, keys: &[FieldKey]) -> Self {
        let mut head = Vec::with_capacity(128);
        let mut tail = Vec::with_capacity(2048);
        let text = |name: &str| object.get(name).and_then(Value::as_str).unwrap_or_default();
        head.extend_from_slice(b"{\"apiVersion\":");
        write_json(&mut head, text("apiVersion"));
        head.extend_from_slice(b",\"kind\":");
        write_json(&mut head, text("kind"));
        head.extend_from_slice(METADATA);
        head.extend_from_slice(VERSION);
        tail.push(b'"');
        for (name, value) in object
            .get("metadata")
            .and_then(Value::as_object)
            .into_iter()
            .flatten()
        {
            if name != "resourceVersion" {
                write_member(&mut tail, name, value);
            }
        }
        tail.push(b'}');
        let metadata_len = tail.len();
        for (name, value) in object.as_object().into_iter().flatten() {
            if !matches!(name.as_str(), "apiVersion" | "kind" | "metadata") {
                write_member(&mut tail, name, value);
            }
        }
        tail.push(b'}');
        Self {
            head,
            tail,
            metadata_len,
            header: header_of(object, keys),
        }
    }

    /// The stored form under a resourceVersion. `old` is the version before, whose header is shared when equal.
    pub(super) fn stored(
        self,
        key: Key,
        kind: ChangeKind,
        version: u64,
        at: Timestamp,
        old: Option<&Stored>,
    ) -> Stored {
        let Self {
            head,
            tail,
            metadata_len,
            header,
        } = self;
        let header = match old {
            Some(old) if *old.header == header => old.header.clone(),
            _ => Arc::new(header),
        };
        let (frame, layout) = lay_out(kind, version, &head, &tail, metadata_len);
        Stored {
            key,
            version,
            at,
            header,
            frame: Frame::new(frame),
            layout,
            turn: old.map_or(0, Stored::next_turn),
            is_base: AtomicBool::new(false),
        }
    }
}

fn lay_out(kind: ChangeKind, version: u64, head: &[u8], tail: &[u8], metadata_len: usize) -> (Bytes, Layout) {
    let start = kind.frame_start();
    let digits = version.to_string();
    let mut frame =
        Vec::with_capacity(start.len() + head.len() + digits.len() + tail.len() + FRAME_END.len());
    frame.extend_from_slice(start.as_bytes());
    let object = frame.len();
    frame.extend_from_slice(head);
    let version_at = frame.len();
    frame.extend_from_slice(digits.as_bytes());
    let version_end = frame.len();
    frame.extend_from_slice(tail);
    frame.extend_from_slice(FRAME_END);
    let layout = Layout {
        object,
        metadata: version_at.saturating_sub(VERSION.len()),
        version: version_at,
        version_end,
        metadata_end: version_end + metadata_len,
    };
    (frame.into(), layout)
}

fn write_member(out: &mut Vec<u8>, name: &str, value: &Value) {
    out.push(b',');
    write_json(out, name);
    out.push(b':');
    write_json(out, value);
}

fn header_of(object: &Value, keys: &[FieldKey]) -> Header {
    let labels = object.pointer("/metadata/labels").and_then(Value::as_object);
    let labels = labels.into_iter().flatten();
    let labels = labels.filter_map(|(k, v)| Some((k.clone(), v.as_str()?.to_owned())));
    Header {
        labels: labels.collect::<Labels>().into(),
        uid: object
            .pointer("/metadata/uid")
            .and_then(Value::as_str)
            .unwrap_or_default()
            .into(),
        fields: Fields::of(object, keys),
    }
}

/// Adds what a field selector compares with.
fn push_field_value(out: &mut String, object: &Value, key: &FieldKey) {
    let found = key.pointers.iter().find_map(|pointer| {
        let value = object.pointer(pointer)?;
        matches!(value, Value::String(_) | Value::Bool(_) | Value::Number(_)).then_some(value)
    });
    match found {
        Some(Value::String(text)) => out.push_str(text),
        Some(other) => out.push_str(&other.to_string()),
        None => out.push_str(key.absent),
    }
}
