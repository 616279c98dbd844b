//! Faults that are put into the server on purpose, so that the suite that compares it with a real one can show that it
//! finds them.
//!
//! They are there only with the feature `broken`, which test builds switch on and no release has; without it every seam
//! is `false` at compile time. A request has the fault that its extensions name, so that one build, and one cluster, can
//! be broken in all ways and in none.

#[cfg(feature = "broken")]
use std::future::Future;

/// Something that the server does wrong.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
#[cfg_attr(
    not(feature = "broken"),
    allow(unreachable_pub, reason = "public where the feature is on")
)]
pub enum Defect {
    /// Updates and patches with an old resourceVersion are written.
    StaleWrite,
    /// Pods get no restart policy.
    ForgottenDefault,
    /// Conflicts are bad requests.
    ConflictCode,
    /// Every apply takes fields from others.
    ForcedApply,
    /// No bookmark ends the initial list of a watch.
    NoBookmark,
    /// `!=` of field selectors is read as `=`.
    NotEqualIsEqual,
    /// The uid among the preconditions of deletions does not matter.
    DeletesOtherUid,
    /// The first object of each further page is left out.
    PageSkipsOne,
    /// Generated names have four random characters.
    ShortSuffix,
    /// `fieldValidation=Strict` lets unknown fields pass.
    LooseStrict,
    /// `dryRun=All` writes.
    WetDryRun,
    /// Finalizers hold nothing.
    WeakFinalizers,
    /// Updates of an object write its status too.
    StatusByUpdate,
    /// A changed spec is no new generation.
    StuckGeneration,
    /// What must not change may.
    MutableFields,
    /// The operation `test` of JSON patches always succeeds.
    PassingTest,
    /// Tables lack their last column.
    LostColumn,
    /// The time that a deletion gives a pod is the pod's own, whatever the client asks for.
    OwnGrace,
}

/// Does the request that is being answered have this fault?
#[cfg(not(feature = "broken"))]
pub(crate) const fn is(_: Defect) -> bool {
    false
}

/// The fault that a request names.
#[cfg(not(feature = "broken"))]
pub(crate) const fn of(_: &http::Extensions) -> Option<Defect> {
    None
}

/// Answers a request with a fault.
#[cfg(not(feature = "broken"))]
pub(crate) fn scope<F>(_: Option<Defect>, answer: F) -> F {
    answer
}

#[cfg(feature = "broken")]
tokio::task_local! {
    static DEFECT: Option<Defect>;
}

/// Does the request that is being answered have this fault?
#[cfg(feature = "broken")]
pub(crate) fn is(defect: Defect) -> bool {
    DEFECT.try_with(|found| *found == Some(defect)).unwrap_or(false)
}

/// The fault that a request names.
#[cfg(feature = "broken")]
pub(crate) fn of(extensions: &http::Extensions) -> Option<Defect> {
    extensions.get().copied()
}

/// Answers a request with a fault.
#[cfg(feature = "broken")]
pub(crate) fn scope<F: Future>(
    fault: Option<Defect>,
    answer: F,
) -> tokio::task::futures::TaskLocalFuture<Option<Defect>, F> {
    DEFECT.scope(fault, answer)
}
