//! Names of images, split as NodeImages list them. Source: inplace.md 11.3.

use std::fmt;

/// Registry of names that name none.
const DEFAULT_REGISTRY: &str = "docker.io";
/// Where that registry keeps images of one word.
const DEFAULT_FOLDER: &str = "library/";
/// Longest name of a repository, its registry included.
const LONGEST: usize = 255;
/// Longest tag.
const LONGEST_TAG: usize = 128;
/// Shortest digest behind its algorithm.
const SHORTEST_DIGEST: usize = 32;

/// An image: its repository by its familiar name, and its tag or digest.
#[derive(Debug, Clone, PartialEq, Eq, PartialOrd, Ord)]
pub struct Reference {
    /// E.g. `nginx`, `bitnami/redis`, `quay.io/app`.
    pub repository: String,
    /// E.g. `latest`, or `sha256:…` where the image is pinned, also when a tag is written too.
    pub tag: String,
}

/// A text that names no image.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{0:?} is not a reference to an image")]
pub struct MalformedReference(pub String);

impl Reference {
    /// Reads a reference as templates write it. Without a tag it is `latest`.
    ///
    /// # Errors
    /// It is none: a letter where none may be, or a part that is empty or too long.
    pub fn parse(text: &str) -> Result<Self, MalformedReference> {
        Self::read(text).ok_or_else(|| MalformedReference(text.to_owned()))
    }

    fn read(text: &str) -> Option<Self> {
        let (name, digest) = match text.split_once('@') {
            Some((name, digest)) => (name, Some(digest)),
            None => (text, None),
        };
        // A colon before the last slash belongs to the port of a registry.
        let at = name.rfind('/').map_or(0, |slash| slash.saturating_add(1));
        let tag_at = name.get(at..)?.find(':').map(|colon| at.saturating_add(colon));
        let (path, tag) = match tag_at {
            Some(colon) => (name.get(..colon)?, name.get(colon..)?.strip_prefix(':')),
            None => (name, None),
        };
        let (registry, path) = match path.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => (DEFAULT_REGISTRY, path),
        };
        let registry = if registry == "index.docker.io" {
            DEFAULT_REGISTRY
        } else {
            registry
        };
        let is_well_formed = path.split('/').all(is_component)
            && tag.is_none_or(is_tag)
            && digest.is_none_or(is_digest)
            && registry.len() + path.len() < LONGEST;
        let repository = if registry == DEFAULT_REGISTRY {
            path.strip_prefix(DEFAULT_FOLDER)
                .filter(|rest| !rest.contains('/'))
                .unwrap_or(path)
                .to_owned()
        } else {
            format!("{registry}/{path}")
        };
        is_well_formed.then(|| Self {
            repository,
            tag: digest.or(tag).unwrap_or("latest").to_owned(),
        })
    }

    /// Is this a tag or a digest, as NodeImages list both?
    pub fn is_version(text: &str) -> bool {
        is_tag(text) || is_digest(text)
    }
}

impl fmt::Display for Reference {
    /// As a runtime is asked for it: a digest stands behind an `@`. Source: inplace.md 13.18.
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let Self { repository, tag } = self;
        let mark = if tag.contains(':') { '@' } else { ':' };
        write!(f, "{repository}{mark}{tag}")
    }
}

fn is_registry(part: &str) -> bool {
    let (host, port) = part
        .split_once(':')
        .map_or((part, "1"), |(host, port)| (host, port));
    let is_host = |host: &str| {
        let labels = host.split('.');
        labels.clone().all(|label| {
            let inner = label
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-');
            !label.is_empty() && inner && !label.starts_with('-') && !label.ends_with('-')
        })
    };
    let is_port = !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit());
    (part.contains(['.', ':']) || part == "localhost") && is_host(host) && is_port
}

/// Lower case words between `.`, `_`, `__` or any number of `-`.
fn is_component(part: &str) -> bool {
    let is_word = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit();
    let separators = part.split(is_word).filter(|between| !between.is_empty());
    let are_separators = separators
        .clone()
        .all(|between| matches!(between, "." | "_" | "__") || between.bytes().all(|byte| byte == b'-'));
    part.starts_with(is_word) && part.ends_with(is_word) && are_separators
}

fn is_tag(text: &str) -> bool {
    let is_first = |c: char| c.is_ascii_alphanumeric() || c == '_';
    let is_rest = |c: char| is_first(c) || c == '.' || c == '-';
    text.len() <= LONGEST_TAG && text.starts_with(is_first) && text.chars().all(is_rest)
}

fn is_digest(text: &str) -> bool {
    text.split_once(':').is_some_and(|(algorithm, digits)| {
        let is_algorithm = algorithm.starts_with(|c: char| c.is_ascii_alphabetic())
            && algorithm
                .chars()
                .all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '+' | '.'));
        is_algorithm
            && digits.len() >= SHORTEST_DIGEST
            && digits.bytes().all(|digit| digit.is_ascii_hexdigit())
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    /// inplace.md 11.3, image split.
    #[test]
    fn images_are_split_by_their_familiar_names() {
        const DIGEST: &str = "sha256:0123456789abcdef0123456789abcdef";
        let pinned = format!("nginx:1.20@{DIGEST}");
        for (text, want) in [
            ("nginx", Some(("nginx", "latest"))),
            ("nginx:1.20", Some(("nginx", "1.20"))),
            ("docker.io/library/nginx:1.20", Some(("nginx", "1.20"))),
            ("index.docker.io/library/nginx", Some(("nginx", "latest"))),
            ("library/nginx", Some(("nginx", "latest"))),
            ("bitnami/redis:7", Some(("bitnami/redis", "7"))),
            ("docker.io/library/a/b", Some(("library/a/b", "latest"))),
            ("quay.io/library/nginx", Some(("quay.io/library/nginx", "latest"))),
            ("registry:5000/app", Some(("registry:5000/app", "latest"))),
            ("registry:5000/app:v1", Some(("registry:5000/app", "v1"))),
            ("localhost/app:1", Some(("localhost/app", "1"))),
            (pinned.as_str(), Some(("nginx", DIGEST))),
            ("a__b/c--d.e", Some(("a__b/c--d.e", "latest"))),
            ("", None),
            ("nginx:", None),
            ("Nginx", None),
            ("nginx/", None),
            ("/nginx", None),
            ("a..b", None),
            ("nginx:-x", None),
            ("nginx@sha256:aa", None),
            ("nginx@", None),
            ("a b", None),
            ("quay.io:/x", None),
        ] {
            let parsed = Reference::parse(text).ok();
            let parts = parsed.as_ref().map(|image| (&*image.repository, &*image.tag));
            assert_eq!(parts, want, "{text}");
        }
        assert!(Reference::parse(&"a".repeat(255)).is_err());
        assert!(Reference::parse(&format!("a:{}", "b".repeat(129))).is_err());
    }

    /// inplace.md 13.18: upstream asks for `repo:sha256:…`, which is no reference.
    #[test]
    fn a_runtime_is_asked_for_a_digest_behind_an_at() {
        let digest = "sha256:0123456789abcdef0123456789abcdef";
        let image = Reference::parse(&format!("quay.io/a@{digest}")).unwrap();
        assert_eq!(image.to_string(), format!("quay.io/a@{digest}"));
        assert_eq!(Reference::parse("nginx").unwrap().to_string(), "nginx:latest");
    }
}
