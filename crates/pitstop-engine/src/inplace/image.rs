//! Names of images: when two of them mean the same.

/// Do the two references mean the same image?
///
/// `nginx`, `nginx:latest`, `library/nginx` and `docker.io/library/nginx:latest` do. A digest wins over a tag.
/// Source: inplace.md 13.1.
pub(super) fn are_same(a: &str, b: &str) -> bool {
    a == b || Reference::of(a) == Reference::of(b)
}

#[derive(PartialEq, Eq)]
struct Reference<'a> {
    registry: &'a str,
    path: &'a str,
    /// A tag, or a digest with its `@`.
    version: &'a str,
}

impl<'a> Reference<'a> {
    fn of(text: &'a str) -> Self {
        let (name, digest) = match text.find('@') {
            Some(at) => (text.get(..at), text.get(at..)),
            None => (Some(text), None),
        };
        let name = name.unwrap_or_default();
        // A colon before the last slash belongs to the port of a registry.
        let last_slash = name.rfind('/').unwrap_or(0);
        let colon = name
            .rfind(':')
            .filter(|colon| *colon > last_slash || last_slash == 0);
        let (name, tag) = match colon {
            Some(colon) => (
                name.get(..colon).unwrap_or_default(),
                name.get(colon..).unwrap_or_default().trim_start_matches(':'),
            ),
            None => (name, "latest"),
        };
        let is_registry = |part: &str| part.contains(['.', ':']) || part == "localhost";
        let (registry, path) = match name.split_once('/') {
            Some((first, rest)) if is_registry(first) => (first, rest),
            _ => ("docker.io", name),
        };
        let registry = if registry == "index.docker.io" {
            "docker.io"
        } else {
            registry
        };
        let is_default = registry == "docker.io";
        let path = path
            .strip_prefix("library/")
            .filter(|_| is_default)
            .unwrap_or(path);
        Self {
            registry,
            path,
            version: digest.unwrap_or(tag),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn references_with_and_without_their_defaults_are_the_same() {
        for (a, b, want) in [
            ("nginx", "nginx:latest", true),
            ("nginx:1.20", "docker.io/library/nginx:1.20", true),
            ("nginx:1.20", "docker.io/library/nginx:1.21", false),
            ("bitnami/redis:7", "docker.io/bitnami/redis:7", true),
            ("registry:5000/app", "registry:5000/app:latest", true),
            ("registry:5000/app", "registry:5001/app", false),
            ("localhost/app:1", "app:1", false),
            ("quay.io/library/nginx", "quay.io/nginx", false),
            ("nginx@sha256:aa", "docker.io/library/nginx@sha256:aa", true),
            ("nginx:1.20@sha256:aa", "nginx@sha256:aa", true),
            ("nginx@sha256:aa", "nginx@sha256:bb", false),
            ("nginx:1.20", "nginx@sha256:aa", false),
            ("", "nginx", false),
        ] {
            assert_eq!(are_same(a, b), want, "{a} and {b}");
        }
    }
}
