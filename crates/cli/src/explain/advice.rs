//! What to do next.

use api::condition::Reason;

/// What to do about a reason, where the reason alone says it.
pub(super) fn by_reason(reason: &str) -> Option<&'static str> {
    let reason = Reason::parse(reason)?;
    matches!(
        reason,
        Reason::InvalidReference
            | Reason::NotFound
            | Reason::Unauthorized
            | Reason::InvalidPullSecret
            | Reason::HostUnknown
            | Reason::Unreachable
            | Reason::TimedOut
            | Reason::TlsFailed
            | Reason::RateLimited
            | Reason::RegistryFailed
            | Reason::ContentMismatch
            | Reason::LimitExceeded
            | Reason::NotInStore
            | Reason::InvalidImageConfig
            | Reason::InvalidPackage
            | Reason::FetchFailed
            | Reason::FetchRefused
    )
    .then(|| reason.help().remedy)
}

/// What a refusal's words ask for: a word that only such a message has, and what to do.
const REFUSALS: &[(&str, &str)] = &[
    (
        "already controlled by",
        "take the owner that controls it off the object, or delete that owner; Gantry notices by itself",
    ),
    (
        "incompatible Crossplane version",
        "install a version that fits, or set spec.ignoreCrossplaneConstraints to true",
    ),
    (
        "package meta type is not",
        "delete this object and create one of the kind that the package is",
    ),
    (
        "while the package runtime is None",
        "start the operator with --package-runtime=Provider=External and run the package's program",
    ),
    (
        "is being deleted",
        "see with kubectl which finalizers hold the object that is being deleted, and finish or remove them",
    ),
    (
        "install what defines",
        "install what defines the missing kinds; Gantry notices by itself",
    ),
    (
        "is forbidden",
        "give the operator the rights of deploy/rbac.yaml of its version, or change the policy that refuses",
    ),
    (
        "linting package contents failed",
        "mend the package, or start the operator without --strict-lint",
    ),
];

/// What to do about a refusal, by its words.
pub(super) fn by_words(message: &str) -> Option<&'static str> {
    let known = REFUSALS.iter().find(|(words, _)| message.contains(words));
    known.map(|(_, advice)| *advice)
}
