//! Questions that are answered and never stored: who am I, what may I do, is this token good.
//!
//! Source: embedded-cluster.md 13 and 19, `auth can-i`.

use super::Kind;

/// What all of them have in common.
const fn question(
    group: &'static str,
    kind: &'static str,
    plural: &'static str,
    singular: &'static str,
) -> Kind {
    Kind {
        group,
        stored_as: (group, plural),
        namespaced: false,
        verbs: &["create"],
        ..Kind::plain(kind, plural, singular)
    }
}

pub(super) const SELF_SUBJECT: Kind = question(
    "authentication.k8s.io",
    "SelfSubjectReview",
    "selfsubjectreviews",
    "selfsubjectreview",
);

pub(super) const TOKEN: Kind = question(
    "authentication.k8s.io",
    "TokenReview",
    "tokenreviews",
    "tokenreview",
);

pub(super) const LOCAL_SUBJECT_ACCESS: Kind = Kind {
    namespaced: true,
    ..question(
        "authorization.k8s.io",
        "LocalSubjectAccessReview",
        "localsubjectaccessreviews",
        "localsubjectaccessreview",
    )
};

pub(super) const SELF_SUBJECT_ACCESS: Kind = question(
    "authorization.k8s.io",
    "SelfSubjectAccessReview",
    "selfsubjectaccessreviews",
    "selfsubjectaccessreview",
);

pub(super) const SELF_SUBJECT_RULES: Kind = question(
    "authorization.k8s.io",
    "SelfSubjectRulesReview",
    "selfsubjectrulesreviews",
    "selfsubjectrulesreview",
);

pub(super) const SUBJECT_ACCESS: Kind = question(
    "authorization.k8s.io",
    "SubjectAccessReview",
    "subjectaccessreviews",
    "subjectaccessreview",
);
