//! Label selectors, in the written form of query parameters and in the form of objects.
//!
//! Source: embedded-cluster.md 7.1. `!=` and `notin` also match objects that lack the key.

use std::collections::BTreeMap;
use std::sync::Arc;

use serde::{Deserialize, Serialize};

/// Labels of an object.
pub type Labels = BTreeMap<String, String>;

/// A conjunction of requirements. The empty selector matches everything.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Selector {
    requirements: Vec<Requirement>,
}

/// One condition on one key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Requirement {
    /// The label key.
    pub key: String,
    /// What has to hold.
    pub op: Op,
}

/// What a requirement asks of the value of its key.
#[derive(Debug, Clone, PartialEq, Eq)]
pub enum Op {
    /// The key is there with one of these values.
    In(Vec<String>),
    /// The key is absent, or its value is none of these.
    NotIn(Vec<String>),
    /// The key is there.
    Exists,
    /// The key is absent.
    DoesNotExist,
    /// The value is a whole number above this.
    GreaterThan(i64),
    /// The value is a whole number below this.
    LessThan(i64),
}

impl Requirement {
    /// Does a value (or the absence of one) satisfy the requirement?
    pub fn matches(&self, value: Option<&str>) -> bool {
        match &self.op {
            Op::In(values) => value.is_some_and(|v| values.iter().any(|x| x == v)),
            Op::NotIn(values) => value.is_none_or(|v| values.iter().all(|x| x != v)),
            Op::Exists => value.is_some(),
            Op::DoesNotExist => value.is_none(),
            Op::GreaterThan(n) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v > *n),
            Op::LessThan(n) => value.and_then(|v| v.parse::<i64>().ok()).is_some_and(|v| v < *n),
        }
    }
}

/// A selector that cannot be read. Texts are those of Kubernetes.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseSelectorError {
    /// Between requirements.
    #[error("{0}")]
    Between(String),
    /// Within a requirement.
    #[error("unable to parse requirement: {0}")]
    Requirement(String),
    /// A key that no label can have.
    #[error("unable to parse requirement: <nil>: Invalid value: {0:?}: not a label key")]
    Key(String),
    /// A value that no label can have.
    #[error(
        "unable to parse requirement: values[{index}][{key}]: Invalid value: {value:?}: not a label value"
    )]
    Value {
        /// Its key.
        key: String,
        /// Its place among the values, in their order.
        index: usize,
        /// The value.
        value: String,
    },
}

/// `metadata.labels` selectors as objects carry them.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase", default)]
pub struct LabelSelector {
    /// Keys with exactly these values.
    pub match_labels: Labels,
    /// Further requirements.
    pub match_expressions: Vec<MatchExpression>,
}

/// One element of `matchExpressions`, in selectors and in node affinity alike.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(default)]
pub struct MatchExpression {
    /// Label or field key.
    pub key: String,
    /// `In`, `NotIn`, `Exists`, `DoesNotExist`, and for node affinity `Gt`, `Lt`.
    pub operator: String,
    /// Values of the operators that take some.
    pub values: Vec<String>,
}

impl MatchExpression {
    /// The requirement, or `None` when the operator is unknown or its values do not fit it.
    pub fn requirement(&self) -> Option<Requirement> {
        let number = || match self.values.as_slice() {
            [one] => one.parse::<i64>().ok(),
            _ => None,
        };
        let op = match self.operator.as_str() {
            "In" if !self.values.is_empty() => Op::In(self.values.clone()),
            "NotIn" if !self.values.is_empty() => Op::NotIn(self.values.clone()),
            "Exists" if self.values.is_empty() => Op::Exists,
            "DoesNotExist" if self.values.is_empty() => Op::DoesNotExist,
            "Gt" => Op::GreaterThan(number()?),
            "Lt" => Op::LessThan(number()?),
            _ => return None,
        };
        Some(Requirement {
            key: self.key.clone(),
            op,
        })
    }
}

impl LabelSelector {
    /// Does it ask for nothing? An empty selector matches everything, which workloads must not.
    pub fn is_empty(&self) -> bool {
        self.match_labels.is_empty() && self.match_expressions.is_empty()
    }

    /// The requirements, or `None` when an expression is malformed: such a selector matches nothing.
    pub fn selector(&self) -> Option<Selector> {
        let labels = self.match_labels.iter().map(|(key, value)| {
            Some(Requirement {
                key: key.clone(),
                op: Op::In(vec![value.clone()]),
            })
        });
        let expressions = self.match_expressions.iter().map(MatchExpression::requirement);
        Some(Selector {
            requirements: labels.chain(expressions).collect::<Option<_>>()?,
        })
    }
}

/// Labels to look a key up in.
pub trait LabelValues {
    /// The value of this key.
    fn value_of(&self, key: &str) -> Option<&str>;
}

impl LabelValues for Labels {
    fn value_of(&self, key: &str) -> Option<&str> {
        self.get(key).map(String::as_str)
    }
}

impl<L: LabelValues + ?Sized> LabelValues for Arc<L> {
    fn value_of(&self, key: &str) -> Option<&str> {
        (**self).value_of(key)
    }
}

impl Selector {
    /// Does it match everything?
    pub fn is_empty(&self) -> bool {
        self.requirements.is_empty()
    }

    /// The requirements, all of which must hold.
    pub fn requirements(&self) -> &[Requirement] {
        &self.requirements
    }

    /// Do these labels satisfy every requirement?
    pub fn matches(&self, labels: &(impl LabelValues + ?Sized)) -> bool {
        self.matches_by(|key| labels.value_of(key))
    }

    /// As [`Selector::matches`], for labels in another shape.
    pub fn matches_by<'a>(&self, mut value_of: impl FnMut(&str) -> Option<&'a str>) -> bool {
        self.requirements.iter().all(|r| r.matches(value_of(&r.key)))
    }

    /// Reads the written form: `k`, `!k`, `k=v`, `k==v`, `k!=v`, `k in (a,b)`, `k notin (a,b)`, `k>1`, `k<1`,
    /// joined by commas.
    ///
    /// # Errors
    /// The text is none of these.
    pub fn parse(text: &str) -> Result<Self, ParseSelectorError> {
        let mut parser = Parser { tokens: tokens(text) };
        let mut requirements = Vec::new();
        loop {
            match parser.peek() {
                Token::End => break,
                Token::Word(_) | Token::Symbol("!") => requirements.push(parser.requirement()?),
                other @ Token::Symbol(_) => {
                    return Err(between(&other, "!, identifier, or 'end of string'"));
                }
            }
            match parser.next() {
                Token::End => break,
                Token::Symbol(",") => match parser.peek() {
                    Token::Word(_) | Token::Symbol("!") => {}
                    other => return Err(between(&other, "identifier after ','")),
                },
                other => return Err(between(&other, "',' or 'end of string'")),
            }
        }
        Ok(Self { requirements })
    }
}

/// The written form, as `status.selector` of scale subresources and query parameters want it.
impl std::fmt::Display for Selector {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        for (i, Requirement { key, op }) in self.requirements.iter().enumerate() {
            if i > 0 {
                f.write_str(",")?;
            }
            match op {
                Op::In(values) => match values.as_slice() {
                    [one] => write!(f, "{key}={one}")?,
                    many => write!(f, "{key} in ({})", many.join(","))?,
                },
                Op::NotIn(values) => match values.as_slice() {
                    [one] => write!(f, "{key}!={one}")?,
                    many => write!(f, "{key} notin ({})", many.join(","))?,
                },
                Op::Exists => f.write_str(key)?,
                Op::DoesNotExist => write!(f, "!{key}")?,
                Op::GreaterThan(n) => write!(f, "{key}>{n}")?,
                Op::LessThan(n) => write!(f, "{key}<{n}")?,
            }
        }
        Ok(())
    }
}

/// What a selector is made of.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Token<'a> {
    Word(&'a str),
    Symbol(&'static str),
    End,
}

impl Token<'_> {
    fn text(&self) -> &str {
        match self {
            Self::Word(text) | Self::Symbol(text) => text,
            Self::End => "",
        }
    }
}

/// Longer symbols stand before those that they begin with.
const SYMBOLS: [&str; 9] = ["==", "!=", "=", "!", "(", ")", ",", ">", "<"];

/// The tokens of a text, the last of which comes first.
fn tokens(text: &str) -> Vec<Token<'_>> {
    let mut found = Vec::new();
    let mut rest = text.trim_start();
    while !rest.is_empty() {
        let symbol = SYMBOLS.into_iter().find(|symbol| rest.starts_with(symbol));
        let token = match symbol {
            Some(symbol) => Token::Symbol(symbol),
            None => {
                let is_end = |c: char| c.is_ascii_whitespace() || "=!(),><".contains(c);
                let end = rest.find(is_end).unwrap_or(rest.len());
                Token::Word(rest.get(..end).unwrap_or_default())
            }
        };
        rest = rest.get(token.text().len()..).unwrap_or_default().trim_start();
        found.push(token);
    }
    found.reverse();
    found
}

fn between(found: &Token<'_>, expected: &str) -> ParseSelectorError {
    ParseSelectorError::Between(format!("found '{}', expected: {expected}", found.text()))
}

fn within(found: &Token<'_>, expected: &str) -> ParseSelectorError {
    ParseSelectorError::Requirement(format!("found '{}', expected: {expected}", found.text()))
}

struct Parser<'a> {
    tokens: Vec<Token<'a>>,
}

impl<'a> Parser<'a> {
    fn peek(&self) -> Token<'a> {
        self.tokens.last().copied().unwrap_or(Token::End)
    }

    fn next(&mut self) -> Token<'a> {
        self.tokens.pop().unwrap_or(Token::End)
    }

    fn requirement(&mut self) -> Result<Requirement, ParseSelectorError> {
        let is_absent = self.peek() == Token::Symbol("!");
        if is_absent {
            self.next();
        }
        let key = match self.next() {
            Token::Word(key) if is_label_key(key) => key.to_owned(),
            Token::Word(key) => return Err(ParseSelectorError::Key(key.to_owned())),
            other => return Err(within(&other, "identifier")),
        };
        let op = match self.peek() {
            _ if is_absent => Op::DoesNotExist,
            Token::End | Token::Symbol(",") => Op::Exists,
            _ => self.operation(&key)?,
        };
        Ok(Requirement { key, op })
    }

    fn operation(&mut self, key: &str) -> Result<Op, ParseSelectorError> {
        let operator = self.next();
        let (values, make): (_, fn(Vec<String>) -> Op) = match operator {
            Token::Word("in") => (self.values()?, Op::In),
            Token::Word("notin") => (self.values()?, Op::NotIn),
            Token::Symbol("=" | "==") => (vec![self.value()?], Op::In),
            Token::Symbol("!=") => (vec![self.value()?], Op::NotIn),
            Token::Symbol(symbol @ (">" | "<")) => return self.bound(symbol),
            other => return Err(within(&other, "in, notin, =, ==, !=, gt, lt")),
        };
        match values.iter().position(|value| !is_label_value(value)) {
            None => Ok(make(values)),
            Some(index) => Err(ParseSelectorError::Value {
                key: key.to_owned(),
                index,
                value: values.get(index).cloned().unwrap_or_default(),
            }),
        }
    }

    fn bound(&mut self, symbol: &str) -> Result<Op, ParseSelectorError> {
        let text = self.value()?;
        let number = text.parse().map_err(|_| {
            ParseSelectorError::Requirement(format!(
                "values[0]: Invalid value: {text:?}: for 'Gt', 'Lt' operators, the value must be an integer"
            ))
        })?;
        Ok(if symbol == ">" {
            Op::GreaterThan(number)
        } else {
            Op::LessThan(number)
        })
    }

    fn value(&mut self) -> Result<String, ParseSelectorError> {
        if matches!(self.peek(), Token::End | Token::Symbol(",")) {
            return Ok(String::new());
        }
        match self.next() {
            Token::Word(value) => Ok(value.to_owned()),
            other => Err(within(&other, "identifier")),
        }
    }

    /// The values of a set, in their order. An empty place is the empty value.
    fn values(&mut self) -> Result<Vec<String>, ParseSelectorError> {
        match self.next() {
            Token::Symbol("(") => {}
            other => {
                let text = format!("found '{}' expected: '('", other.text());
                return Err(ParseSelectorError::Requirement(text));
            }
        }
        let mut values = std::collections::BTreeSet::new();
        loop {
            match self.peek() {
                Token::Word(value) => {
                    self.next();
                    values.insert(value.to_owned());
                }
                Token::Symbol("," | ")") => _ = values.insert(String::new()),
                other if values.is_empty() => return Err(within(&other, "',', ')' or identifier")),
                other => return Err(within(&other, "',', or identifier")),
            }
            match self.next() {
                Token::Symbol(")") => return Ok(values.into_iter().collect()),
                Token::Symbol(",") => {}
                other => return Err(within(&other, "',' or ')'")),
            }
        }
    }
}

/// Is this a valid label or annotation key: `[prefix/]name`?
///
/// Source: embedded-cluster.md 6.4.
pub fn is_label_key(key: &str) -> bool {
    let (prefix, name) = key.rsplit_once('/').map_or((None, key), |(p, n)| (Some(p), n));
    !name.is_empty() && is_label_value(name) && prefix.is_none_or(is_dns_subdomain)
}

/// Is this a valid label value: empty, or up to 63 of `[A-Za-z0-9._-]` that begin and end with a letter or digit?
pub fn is_label_value(value: &str) -> bool {
    let edge = |c: Option<char>| c.is_none_or(|c| c.is_ascii_alphanumeric());
    value.len() <= 63
        && value
            .bytes()
            .all(|b| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'_' | b'.'))
        && edge(value.chars().next())
        && edge(value.chars().last())
}

/// Is this a DNS-1123 subdomain of at most 253 characters?
pub fn is_dns_subdomain(name: &str) -> bool {
    name.len() <= 253 && name.split('.').all(is_dns_label_of_any_length)
}

/// Is this a DNS-1123 label of at most 63 characters?
pub fn is_dns_label(name: &str) -> bool {
    name.len() <= 63 && is_dns_label_of_any_length(name)
}

fn is_dns_label_of_any_length(part: &str) -> bool {
    !part.is_empty()
        && part
            .bytes()
            .all(|b| b.is_ascii_lowercase() || b.is_ascii_digit() || b == b'-')
        && !part.starts_with('-')
        && !part.ends_with('-')
}

#[cfg(test)]
mod tests {
    use super::*;

    fn labels(pairs: &[(&str, &str)]) -> Labels {
        pairs
            .iter()
            .map(|(k, v)| ((*k).to_owned(), (*v).to_owned()))
            .collect()
    }

    #[test]
    fn written_selectors_match_as_upstream() {
        let object = labels(&[("app", "x"), ("n", "5"), ("empty", ""), ("a.b/c-d", "v_1")]);
        for (text, want) in [
            ("", true),
            ("app", true),
            ("!app", false),
            ("!gone", true),
            ("app=x", true),
            ("app==x", true),
            ("app = x , n=5", true),
            ("app!=x", false),
            ("gone!=x", true),
            ("app in (x, y)", true),
            ("app in (y)", false),
            ("gone in (y)", false),
            ("app notin (y,z)", true),
            ("gone notin (y)", true),
            ("empty=", true),
            ("empty in ()", true),
            ("n>4", true),
            ("n<5", false),
            ("app>4", false),
            ("a.b/c-d=v_1", true),
        ] {
            assert_eq!(Selector::parse(text).unwrap().matches(&object), want, "{text}");
        }
    }

    #[test]
    fn malformed_selectors_are_refused() {
        for text in [
            "=", "a=b,", ",a", "a in b", "a in (b", "a ~ b", "a=b c", "n>x", "a/b/c=1", "-a=1", "a=-b",
        ] {
            assert!(Selector::parse(text).is_err(), "{text}");
        }
    }

    #[test]
    fn printing_and_reading_agree() {
        for text in [
            "a=b",
            "a!=b",
            "a in (b,c)",
            "a notin (b,c)",
            "a",
            "!a",
            "a>1",
            "a<1",
            "a=b,c=d",
        ] {
            assert_eq!(Selector::parse(text).unwrap().to_string(), text);
        }
    }

    #[test]
    fn a_malformed_expression_makes_the_selector_match_nothing() {
        let expression = |operator: &str, values: &[&str]| LabelSelector {
            match_labels: Labels::new(),
            match_expressions: vec![MatchExpression {
                key: "a".into(),
                operator: operator.into(),
                values: values.iter().map(|v| (*v).to_owned()).collect(),
            }],
        };
        assert!(expression("In", &["x"]).selector().is_some());
        assert!(expression("In", &[]).selector().is_none());
        assert!(expression("Like", &["x"]).selector().is_none());
        assert!(expression("Exists", &["x"]).selector().is_none());
    }
}
