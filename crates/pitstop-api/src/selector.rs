//! Label selectors, in the written form of query parameters and in the form of objects.
//!
//! Source: embedded-cluster.md 7.1. `!=` and `notin` also match objects that lack the key.

use std::collections::BTreeMap;

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

/// A selector that cannot be read.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("unable to parse requirement: {0}")]
pub struct ParseSelectorError(String);

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
    pub fn matches(&self, labels: &Labels) -> bool {
        self.matches_by(|key| labels.get(key).map(String::as_str))
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
        let mut parser = Parser { rest: text.trim() };
        let mut requirements = Vec::new();
        while !parser.rest.is_empty() {
            requirements.push(parser.requirement()?);
            parser.skip_blanks();
            if parser.rest.is_empty() {
                break;
            }
            if !parser.eat(",") {
                return Err(parser.error("expected ',' or the end"));
            }
            parser.skip_blanks();
            if parser.rest.is_empty() {
                return Err(parser.error("expected a requirement after ','"));
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

struct Parser<'a> {
    rest: &'a str,
}

impl Parser<'_> {
    fn error(&self, what: &str) -> ParseSelectorError {
        ParseSelectorError(format!("{what}, found {:?}", self.rest))
    }

    fn skip_blanks(&mut self) {
        self.rest = self.rest.trim_start();
    }

    fn eat(&mut self, token: &str) -> bool {
        self.skip_blanks();
        let Some(rest) = self.rest.strip_prefix(token) else {
            return false;
        };
        self.rest = rest;
        true
    }

    fn word(&mut self) -> String {
        self.skip_blanks();
        let end = self
            .rest
            .find([',', '=', '!', '(', ')', '<', '>', ' ', '\t'])
            .unwrap_or(self.rest.len());
        let (word, rest) = self.rest.split_at(end);
        self.rest = rest;
        word.to_owned()
    }

    fn key(&mut self) -> Result<String, ParseSelectorError> {
        let before = self.rest;
        let key = self.word();
        if is_label_key(&key) {
            return Ok(key);
        }
        self.rest = before;
        Err(self.error("expected a label key"))
    }

    fn requirement(&mut self) -> Result<Requirement, ParseSelectorError> {
        if self.eat("!") {
            return Ok(Requirement {
                key: self.key()?,
                op: Op::DoesNotExist,
            });
        }
        let key = self.key()?;
        let op = if self.eat("==") || self.eat("=") {
            Op::In(vec![self.value()?])
        } else if self.eat("!=") {
            Op::NotIn(vec![self.value()?])
        } else if self.eat(">") {
            Op::GreaterThan(self.number()?)
        } else if self.eat("<") {
            Op::LessThan(self.number()?)
        } else {
            self.skip_blanks();
            if self.rest.is_empty() || self.rest.starts_with(',') {
                Op::Exists
            } else {
                match self.word().as_str() {
                    "in" => Op::In(self.values()?),
                    "notin" => Op::NotIn(self.values()?),
                    _ => return Err(self.error("expected one of = == != in notin > <")),
                }
            }
        };
        Ok(Requirement { key, op })
    }

    fn value(&mut self) -> Result<String, ParseSelectorError> {
        let value = self.word();
        if is_label_value(&value) {
            Ok(value)
        } else {
            Err(self.error("expected a label value"))
        }
    }

    fn number(&mut self) -> Result<i64, ParseSelectorError> {
        self.word()
            .parse()
            .map_err(|_| self.error("expected a whole number"))
    }

    fn values(&mut self) -> Result<Vec<String>, ParseSelectorError> {
        if !self.eat("(") {
            return Err(self.error("expected '('"));
        }
        let mut values = vec![self.value()?];
        while self.eat(",") {
            values.push(self.value()?);
        }
        if self.eat(")") {
            Ok(values)
        } else {
            Err(self.error("expected ')'"))
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
