//! Objects of custom kinds in the version that is asked for: converted, and with the defaults that their schema has got
//! since they were written.
//!
//! Source: embedded-cluster.md 14, rules 3 and 5.

use std::sync::{Arc, Mutex, PoisonError};
use std::{mem, slice};

use serde_json::Value;

use super::route::Target;
use super::status::Failure;
use super::update::Next;
use super::{Api, present};
use crate::apply::{self, Type, Unconverted};
use crate::custom::Custom;
use crate::custom::conversion::{Converter, TIMEOUT};
use crate::kinds::{self, Kind};
use crate::store::{Draft, Stored};

impl Api {
    /// Objects as a custom kind shows them, in their order.
    pub(super) async fn shown(
        &self,
        custom: &Custom,
        mut list: Vec<Arc<Stored>>,
    ) -> Result<Vec<Arc<Stored>>, Failure> {
        if custom.converter.is_none() && !custom.schema.has_defaults() {
            // What is left to do, naming the version, is done when they are written out.
            return Ok(list);
        }
        let is_other = |stored: &Stored| !present::is_stored_as_shown(custom.kind, stored);
        let mut converted = Vec::new();
        if let Some(converter) = &custom.converter {
            let others: Vec<Value> = list
                .iter()
                .filter(|stored| is_other(stored))
                .map(|stored| stored.decode())
                .collect();
            converted = self
                .convert(converter, &others, &custom.kind.api_version())
                .await?;
        }
        let mut converted = converted.into_iter();
        for stored in &mut list {
            let before = stored.decode();
            let mut value = match &custom.converter {
                Some(_) if is_other(stored) => converted.next().unwrap_or_default(),
                _ => present::value(custom.kind, stored),
            };
            custom.schema.fill(&mut value);
            if value != before {
                let draft = Draft::new(&value, custom.kind.field_keys);
                *stored = Arc::new(self.store.preview(stored.key.clone(), draft, stored.version));
            }
        }
        Ok(list)
    }

    /// One object as a request's kind shows it.
    pub(super) async fn shown_to(
        &self,
        target: &Target,
        stored: Arc<Stored>,
    ) -> Result<Arc<Stored>, Failure> {
        let Some(custom) = &target.custom else {
            return Ok(stored);
        };
        let shown = Box::pin(self.shown(custom, vec![stored.clone()])).await?;
        Ok(shown.into_iter().next().unwrap_or(stored))
    }

    /// An object in the version in which its kind is stored.
    pub(super) async fn as_stored(&self, target: &Target, object: Value) -> Result<Value, Failure> {
        let Some((custom, converter)) = target
            .custom
            .as_ref()
            .and_then(|custom| Some((custom, custom.converter.as_ref()?)))
        else {
            return Ok(object);
        };
        if custom.stored_version == custom.kind.api_version() {
            return Ok(object);
        }
        let converted = Box::pin(self.convert(converter, &[object], &custom.stored_version)).await?;
        Ok(converted.into_iter().next().unwrap_or_default())
    }

    /// The same for what a write comes to.
    pub(super) async fn next_as_stored(&self, target: &Target, next: Next) -> Result<Next, Failure> {
        Ok(match next {
            Next::Replace(object) => Next::Replace(self.as_stored(target, object).await?),
            next @ (Next::Same | Next::Remove(_)) => next,
        })
    }

    /// An object in the form of another version of its kind.
    pub(super) async fn in_form_of(
        &self,
        wanted: &Kind,
        given: &Kind,
        object: Option<&Value>,
    ) -> Result<Option<Value>, Failure> {
        let Some(object) = object.cloned() else {
            return Ok(None);
        };
        if std::ptr::eq(wanted, given) {
            return Ok(Some(object));
        }
        if !wanted.is_custom() {
            return Ok(Some(in_built_in_form(wanted, given, object)));
        }
        let served = self.served();
        let custom = served.find(wanted.group, wanted.version, wanted.plural);
        if let Some(converter) = custom.and_then(|custom| custom.converter.as_ref()) {
            let converted = Box::pin(self.convert(converter, &[object], &wanted.api_version())).await?;
            return Ok(converted.into_iter().next());
        }
        Ok(Some(named(object, &wanted.api_version())))
    }

    /// The versions of a kind, as far as the owners of fields go.
    pub(super) fn versions_of<'a>(&self, target: &'a Target) -> KnownVersions<'a> {
        let Some(custom) = &target.custom else {
            return KnownVersions::BuiltIn(target.kind);
        };
        let served = self.served();
        KnownVersions::Custom {
            kinds: served.all_of(custom.kind),
            is_converted: custom.converter.is_some(),
            known: Mutex::default(),
        }
    }

    /// Decides, and asks for what the decision needs to know of other versions until it knows enough.
    pub(super) async fn with_versions<T, E: Into<Failure>>(
        &self,
        target: &Target,
        versions: &KnownVersions<'_>,
        decide: impl Fn() -> Result<T, E> + Send,
    ) -> Result<T, Failure> {
        loop {
            let failure = match decide() {
                Ok(decided) => return Ok(decided),
                Err(error) => error.into(),
            };
            let converter = target
                .custom
                .as_ref()
                .and_then(|custom| custom.converter.as_ref());
            let (Some((object, version)), Some(converter)) = (versions.wanted(), converter) else {
                return Err(failure);
            };
            let mut converted = Box::pin(self.convert(converter, slice::from_ref(&object), &version)).await?;
            versions.learn(object, version, converted.pop().unwrap_or_default());
        }
    }

    async fn convert(
        &self,
        converter: &Converter,
        objects: &[Value],
        wanted: &str,
    ) -> Result<Vec<Value>, Failure> {
        let Some(first) = objects.first() else {
            return Ok(Vec::new());
        };
        let text = |field: &str| first.get(field).and_then(Value::as_str).unwrap_or_default();
        let of = format!("{}, Kind={}", text("apiVersion"), text("kind"));
        let uid = self.random.uid();
        let originals: Vec<&Value> = objects.iter().collect();
        let question = converter.review(&originals, wanted, &uid);
        let answer = self.ask_webhook(&converter.place, &question, TIMEOUT).await;
        let converted = answer.map_err(|why| format!("failed: {why}"));
        let converted = converted.and_then(|answer| {
            Converter::converted(&answer, &uid, &originals, wanted).map_err(|why| {
                if why.starts_with("returned ") {
                    why
                } else {
                    format!("failed: {why}")
                }
            })
        });
        converted.map_err(|why| Failure::untyped(format!("conversion webhook for {of} {why}")))
    }
}

/// The same among built-in kinds, which this program converts itself.
fn in_built_in_form(wanted: &Kind, given: &Kind, object: Value) -> Value {
    let stored = match given.conversion {
        Some(conversion) => (conversion.to_stored)(object),
        None => object,
    };
    match wanted.conversion {
        Some(conversion) => (conversion.from_stored)(stored),
        None => stored,
    }
}

/// The kinds that are other forms of a built-in one.
fn forms_of(kind: &Kind) -> impl Iterator<Item = &'static Kind> {
    let stored_as = kind.stored_as;
    kinds::all()
        .iter()
        .filter(move |other| other.stored_as == stored_as)
}

/// An object under the name of another version.
fn named(mut object: Value, api_version: &str) -> Value {
    if let Some(object) = object.as_object_mut() {
        object.insert("apiVersion".to_owned(), api_version.into());
    }
    object
}

/// The versions of a kind, with what a decision has asked of them.
#[derive(Debug)]
pub(super) enum KnownVersions<'a> {
    /// A built-in kind.
    BuiltIn(&'a Kind),
    /// A custom kind.
    Custom {
        /// All served versions.
        kinds: Vec<Arc<Custom>>,
        /// Does a webhook convert them?
        is_converted: bool,
        known: Mutex<Known>,
    },
}

/// What a webhook has said so far, and what it is to be asked next.
#[derive(Debug, Default)]
pub(super) struct Known {
    answers: Vec<Answer>,
    wanted: Option<(Value, String)>,
}

#[derive(Debug)]
struct Answer {
    object: Value,
    api_version: String,
    converted: Value,
}

impl KnownVersions<'_> {
    /// The object and version that a decision was missing.
    fn wanted(&self) -> Option<(Value, String)> {
        match self {
            Self::BuiltIn(_) => None,
            Self::Custom { known, .. } => {
                mem::take(&mut known.lock().unwrap_or_else(PoisonError::into_inner).wanted)
            }
        }
    }

    fn learn(&self, object: Value, api_version: String, converted: Value) {
        if let Self::Custom { known, .. } = self {
            let answer = Answer {
                object,
                api_version,
                converted,
            };
            known
                .lock()
                .unwrap_or_else(PoisonError::into_inner)
                .answers
                .push(answer);
        }
    }
}

impl apply::Versions for KnownVersions<'_> {
    fn structure(&self, api_version: &str) -> Option<Type<'_>> {
        match self {
            Self::BuiltIn(kind) => {
                let form = forms_of(kind).find(|form| form.api_version() == api_version);
                Some(Type::of(form.unwrap_or(kind)))
            }
            Self::Custom { kinds, .. } => kinds
                .iter()
                .find(|custom| custom.kind.api_version() == api_version)
                .map(|custom| Type::custom(&custom.structure)),
        }
    }

    fn convert(&self, object: &Value, api_version: &str) -> Result<Value, Unconverted> {
        match self {
            Self::BuiltIn(kind) => {
                let form = |wanted: &str| forms_of(kind).find(|form| form.api_version() == wanted);
                let own = object.get("apiVersion").and_then(Value::as_str).and_then(form);
                Ok(match (own, form(api_version)) {
                    (Some(own), Some(wanted)) => in_built_in_form(wanted, own, object.clone()),
                    _ => object.clone(),
                })
            }
            Self::Custom {
                is_converted: false, ..
            } => Ok(named(object.clone(), api_version)),
            Self::Custom { known, .. } => {
                let mut known = known.lock().unwrap_or_else(PoisonError::into_inner);
                let is_asked =
                    |answer: &&Answer| answer.api_version == api_version && answer.object == *object;
                if let Some(answer) = known.answers.iter().find(is_asked) {
                    return Ok(answer.converted.clone());
                }
                known.wanted = Some((object.clone(), api_version.to_owned()));
                Err(Unconverted)
            }
        }
    }
}
