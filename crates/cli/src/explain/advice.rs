//! What to do next.

use api::condition::Reason;

/// What to do about a reason, where the reason alone says it.
pub(super) fn by_reason(reason: &str) -> Option<&'static str> {
    Some(match Reason::parse(reason)? {
        Reason::InvalidReference => "write registry, repository and tag or digest into spec.package",
        Reason::NotFound => "push the tag, or correct the reference with gantry update",
        Reason::Unauthorized | Reason::InvalidPullSecret => {
            "put right the pull secret, in the operator's namespace; it is tried at once when it changes"
        }
        Reason::HostUnknown | Reason::Unreachable | Reason::TimedOut => {
            "check the host's name, the network and the operator's proxy settings (HTTPS_PROXY, NO_PROXY)"
        }
        Reason::TlsFailed => {
            "give the operator the registry's CA with --ca-bundle-path, or name a registry without TLS by \
             --plain-http"
        }
        Reason::RateLimited | Reason::RegistryFailed => {
            "nothing: Gantry waits as long as the registry asks for"
        }
        Reason::ContentMismatch | Reason::LimitExceeded => {
            "push the image again; if it is larger than a limit, split the package"
        }
        Reason::NotInStore => {
            "the pull policy is Never: bring the package into the content store, or set \
             spec.packagePullPolicy"
        }
        Reason::InvalidImageConfig => "correct the ImageConfig that the message names",
        Reason::VerificationFailed => "sign the image, or correct the verification in the ImageConfig",
        Reason::RuntimeRequired => "run the package's program, and start the operator with --package-runtime",
        Reason::Forbidden => "give the operator the rights of deploy/rbac.yaml of its version",
        _ => return None,
    })
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
