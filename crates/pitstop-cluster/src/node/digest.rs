//! What stands for the digests of images and containers.

/// What a runtime calls an image, from a name of it and its digest.
pub(super) fn image_id(image: &str, digest: &str) -> String {
    let (repository, _) = image
        .rsplit_once(':')
        .filter(|(_, tag)| !tag.contains('/'))
        .unwrap_or((image, ""));
    let registry = match repository.split_once('/') {
        Some((first, _)) if first.contains('.') || first.contains(':') => "",
        Some(_) => "docker.io/",
        None => "docker.io/library/",
    };
    format!("{registry}{repository}@sha256:{digest}")
}

/// 64 hexadecimal digits that are the same for the same text.
pub(super) fn digest(text: &str) -> String {
    let part = |n: u8| super::hash(format!("{text}#{n}").as_bytes());
    format!("{:016x}{:016x}{:016x}{:016x}", part(0), part(1), part(2), part(3))
}
