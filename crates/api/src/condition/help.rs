//! What conditions mean and what to do about them: the texts of `docs/troubleshooting.md`, and the next step that
//! events name. They are beside the closed sets so that the compiler keeps them complete.

use super::{ConditionType as Type, Reason};

/// What a person needs to know about a reason.
#[derive(Clone, Copy, Debug, Eq, PartialEq)]
pub struct Help {
    /// The conditions that can have it.
    pub on: &'static [Type],
    /// What is so.
    pub meaning: &'static str,
    /// How it comes to be so.
    pub cause: &'static str,
    /// What to do next. Begins in lower case and ends without a full stop, so that it can follow in a sentence.
    pub remedy: &'static str,
}

const fn help(on: &'static [Type], meaning: &'static str, cause: &'static str, remedy: &'static str) -> Help {
    Help {
        on,
        meaning,
        cause,
        remedy,
    }
}

/// Remedy of a state that is as it should be.
const NOTHING: &str = "nothing";

const HEALTH: &[Type] = &[
    Type::Healthy,
    Type::RevisionHealthy,
    Type::RuntimeHealthy,
    Type::Ready,
];
const CHECK: &[Type] = &[Type::UpToDate];
const CHECKS: &[Type] = &[Type::Preflighted, Type::Ready];

impl Type {
    /// On what it is: packages, revisions, or both.
    pub const fn on(self) -> &'static str {
        match self {
            Self::Installed | Self::Healthy | Self::UpToDate => "package",
            Self::RevisionHealthy
            | Self::RuntimeHealthy
            | Self::RuntimeActive
            | Self::Preflighted
            | Self::Established
            | Self::DependenciesResolved => "revision",
            Self::Synced | Self::Ready | Self::Reconciling | Self::Stalled => "package, revision",
        }
    }

    /// What `True` says.
    pub const fn meaning(self) -> &'static str {
        match self {
            Self::Installed => "a revision of the package serves, or is being put in place",
            Self::Healthy => "the revision that serves, and its runtime, are well",
            Self::Synced => "never `True` on packages; `False` while paused",
            Self::RevisionHealthy => "its objects are in place; of an inactive revision: they could be",
            Self::RuntimeHealthy => "its program runs; written by whoever runs it",
            Self::RuntimeActive => "its program is not scaled to zero; written by whoever runs it",
            Self::Preflighted => "what it would change was checked, and may be changed",
            Self::Established => "all its objects are in place and served",
            Self::DependenciesResolved => "what it needs is installed, in a version that fits",
            Self::UpToDate => "the registry was asked, if there was anything to ask, and answered",
            Self::Ready => "what is wanted now serves and is well",
            Self::Reconciling => "work goes on, or is tried again by itself; absent when not",
            Self::Stalled => "trying again can't help: somebody has to act; absent when not",
        }
    }
}

impl Reason {
    /// What it means, where it comes from, and what to do. One arm for each, so that none is forgotten.
    pub const fn help(self) -> Help {
        match self {
            Self::UnpackingPackage => help(
                &[Type::Installed, Type::Ready],
                "The package's image can't be had; nothing of this version is installed.",
                "The registry, a pull secret, an ImageConfig or the image itself is at fault. The message says which; \
                 `UpToDate` has the exact reason or, where the registry answered for the tag and the content is at fault, \
                 `Preflighted` of the revision.",
                "see the reason of condition UpToDate, or of the revision's Preflighted where UpToDate is True, and what \
                 is written here about it",
            ),
            Self::ActivePackageRevision => help(
                &[Type::Installed],
                "A revision is active.",
                "It passed its checks, or a person activated it.",
                NOTHING,
            ),
            Self::InactivePackageRevision => help(
                &[Type::Installed],
                "No revision is active.",
                "The first revision is still being checked, was refused, or waits for a person (activation policy \
                 Manual).",
                "look at condition Ready: it says which of these it is",
            ),
            Self::HealthyPackageRevision => help(
                HEALTH,
                "All is well.",
                "The objects are in place, and the runtime, where there is one, is available.",
                NOTHING,
            ),
            Self::UnhealthyPackageRevision => help(
                HEALTH,
                "The revision, or its runtime, is not well.",
                "Objects are missing, refused or not served yet, or the controller of the package doesn't run. The \
                 message quotes the revision's condition.",
                "do what the message says; `kubectl describe` of the revision shows its conditions and events",
            ),
            Self::ActiveRuntime => help(
                &[Type::RuntimeActive],
                "The program runs, as far as it is asked to.",
                "Its Deployment has the replicas that were asked for.",
                NOTHING,
            ),
            Self::UnknownPackageRevisionHealth => help(
                &[Type::Healthy, Type::RevisionHealthy],
                "Not known. Gantry only reads this; Crossplane's package manager wrote it.",
                "The revision was not looked at since.",
                "wait for the next look, or ask for one by changing an annotation",
            ),
            Self::AwaitingActivation => help(
                &[Type::Ready, Type::Healthy, Type::RuntimeActive],
                "The revision is checked and waits for a person; on `Healthy`: the runtime is scaled to zero on purpose.",
                "`spec.revisionActivationPolicy` is Manual.",
                "set spec.desiredState of the revision to Active",
            ),
            Self::ReconcilePaused => help(
                &[Type::Synced],
                "Nothing is done for this object; its other conditions are as they were.",
                "It has the annotation `crossplane.io/paused: \"true\"`.",
                "remove the annotation crossplane.io/paused to go on",
            ),
            Self::UpdateAvailable => help(
                &[Type::Ready],
                "What serves is as `Healthy` says; a newer revision is checked and waits.",
                "`spec.revisionActivationPolicy` is Manual and spec.package, or its tag, moved.",
                "set spec.desiredState of the newer revision to Active when it suits",
            ),
            Self::Retrying => help(
                &[Type::Reconciling],
                "Work goes on: checking, putting in place, or trying again with growing pauses.",
                "The package is on its way, or what failed may mend itself. The message says what is awaited.",
                "wait; if it lasts, see the message and the conditions of the revision",
            ),
            Self::Checking => help(
                CHECKS,
                "The content is fetched, parsed and compared with the cluster. Nothing has changed yet.",
                "A new revision was made.",
                "wait; a large package takes a minute, and the registry's speed counts",
            ),
            Self::ChecksPassed => help(
                &[Type::Preflighted],
                "The revision may become active.",
                "No object belongs to somebody else, all kinds are served, the API server accepted a dry run.",
                NOTHING,
            ),
            Self::Establishing => help(
                &[Type::Established, Type::Ready, Type::Reconciling],
                "Objects are created or taken over; the message counts them.",
                "The revision became active.",
                "wait; the API server takes about a minute for 1,000 CRDs",
            ),
            Self::AllEstablished => help(
                &[Type::Established],
                "All objects are in place and served.",
                "Each was written, or was right already.",
                NOTHING,
            ),
            Self::Waiting => help(
                &[
                    Type::Preflighted,
                    Type::Established,
                    Type::Ready,
                    Type::Reconciling,
                ],
                "Something else has to happen first; the message names it.",
                "An object with the same name is being deleted, a CRD is not served yet, the API server has no time, or \
                 a webhook's certificate is not there.",
                "see what the message names; an object that stays Terminating is held by a finalizer of somebody else",
            ),
            Self::AwaitingProgram => help(
                &[Type::Established, Type::Ready, Type::Reconciling],
                "All objects are in place but CRDs whose conversion webhook the revision's program serves: they are changed when \
                 it runs.",
                "The program of this revision is starting, or doesn't start.",
                "wait; if it takes long, see the condition RuntimeHealthy of the revision, which says what the program waits for",
            ),
            Self::Inactive => help(
                &[Type::Established],
                "The revision is not the active one.",
                "Another revision serves; this one is kept to go back to.",
                NOTHING,
            ),
            Self::Refused => help(
                &[Type::Preflighted, Type::Established, Type::Ready, Type::Stalled],
                "The revision can't be installed here; what served before goes on serving.",
                "An object belongs to another package or tool, the API server or an admission policy refuses one, a kind \
                 is not served, the package demands another Crossplane version or a runtime, or lint is strict. The \
                 message lists the first ten, then counts.",
                "put right what the message names, in the cluster or in the package, or choose a version that fits, or set \
                 spec.package back; it is tried again when such an object changes, and every five minutes",
            ),
            Self::FetchFailed => help(
                &[
                    Type::Preflighted,
                    Type::Established,
                    Type::Ready,
                    Type::Reconciling,
                ],
                "The content can't be had now; what is in place stays.",
                "The registry doesn't answer or fails, or the disk is full. The message says which.",
                "look at the registry, the network and the pull secret; it is tried again by itself, at the latest after \
                 a minute",
            ),
            Self::FetchRefused => help(
                &[Type::Preflighted, Type::Established, Type::Ready, Type::Stalled],
                "The content can't be had, or is no package; trying again can't help.",
                "The digest is gone from the registry, credentials are refused, the image is no package, or it is beyond \
                 a limit.",
                "correct spec.package or the pull secret, or push a package that `gantry lint` accepts",
            ),
            Self::Checked => help(
                CHECK,
                "The registry was asked and answered.",
                "It is asked once per value of spec.package, and again and again with pull policy Always.",
                NOTHING,
            ),
            Self::NotChecked => help(
                CHECK,
                "There is nothing to ask the registry.",
                "spec.package has a digest, or the pull policy is Never.",
                NOTHING,
            ),
            Self::AllDependenciesFound => help(
                &[Type::DependenciesResolved],
                "All that the package needs is installed, in versions that fit.",
                "Each declared dependency has a package in the cluster.",
                NOTHING,
            ),
            Self::NothingToResolve => help(
                &[Type::DependenciesResolved],
                "The package needs nothing, or was told not to look.",
                "It declares no dependencies, or `spec.skipDependencyResolution` is not false.",
                NOTHING,
            ),
            Self::MissingDependencies => help(
                &[Type::DependenciesResolved],
                "Something that the package needs is not installed. Nothing waits for it.",
                "No package in the cluster has that source. Gantry doesn't install dependencies by itself.",
                "create the packages that the message names",
            ),
            Self::IncompatibleDependencies => help(
                &[Type::DependenciesResolved],
                "Something that the package needs is installed in a version that doesn't fit. Nothing waits for it.",
                "The installed version is outside of the package's constraint.",
                "set spec.package of the installed package to a version within the constraint",
            ),
            Self::InvalidReference => help(
                CHECK,
                "The reference can't be read.",
                "spec.package, or what an ImageConfig makes of it, is not registry, repository and tag or digest.",
                "write registry, repository and tag or digest into spec.package",
            ),
            Self::NotFound => help(
                CHECK,
                "The registry knows no such repository, tag or digest.",
                "It was not pushed, was deleted, has another name, or the registry hides it without credentials.",
                "push the tag, correct spec.package, or add a pull secret",
            ),
            Self::Unauthorized => help(
                CHECK,
                "The registry wants other credentials.",
                "There is no pull secret for this host, its password is old, or the account may not pull.",
                "put the pull secret in the operator's namespace right; it is tried as soon as the secret changes",
            ),
            Self::InvalidPullSecret => help(
                CHECK,
                "A pull secret can't be read.",
                "The API server didn't answer, or the operator may not read secrets in its namespace.",
                "look at the secret that the message names and at the operator's rights",
            ),
            Self::HostUnknown => help(
                CHECK,
                "The registry's name can't be resolved.",
                "A spelling mistake in spec.package, or DNS of the cluster.",
                "correct the host in spec.package, or see to the cluster's DNS",
            ),
            Self::Unreachable => help(
                CHECK,
                "No connection to the registry.",
                "It is down, or a firewall, network policy or proxy is in between.",
                "check the network between the operator and the host, HTTPS_PROXY and NO_PROXY",
            ),
            Self::TlsFailed => help(
                CHECK,
                "The registry's certificate was not accepted.",
                "It is signed by an authority that the operator doesn't know, is for another name, or has expired; or the \
                 registry speaks no TLS.",
                "give the authority by --ca-bundle-path, or name a registry without TLS by --plain-http",
            ),
            Self::TimedOut => help(
                CHECK,
                "The registry did not answer in time.",
                "It is overloaded or far away, or the network drops packets.",
                "check the registry and the network; it is tried again by itself",
            ),
            Self::RateLimited => help(
                CHECK,
                "The registry asks to slow down.",
                "Too many requests from this address or account.",
                "wait, Gantry asks again when the registry allows it; credentials or a mirror raise the limit",
            ),
            Self::RegistryFailed => help(
                CHECK,
                "The registry failed, or its answer makes no sense.",
                "An error of the registry, or something in between answers in its place.",
                "see the registry's log; it is tried again by itself",
            ),
            Self::ContentMismatch => help(
                CHECK,
                "The content has another digest or size than promised.",
                "The image is damaged, or something between changes it.",
                "push the image again, and check proxies and mirrors",
            ),
            Self::LimitExceeded => help(
                CHECK,
                "The content is larger than a limit.",
                "The message names the limit; docs/limits.md has all of them.",
                "make the image smaller",
            ),
            Self::NotInStore => help(
                CHECK,
                "Pull policy Never, and the content store doesn't have the package.",
                "The store was not filled with it, or lost it.",
                "put the package into the store, or use pull policy IfNotPresent",
            ),
            Self::InvalidImageConfig => help(
                CHECK,
                "An ImageConfig that matches this package can't be used.",
                "Its rewrite makes no reference. The message names it.",
                "correct the ImageConfig that the message names",
            ),
            Self::InvalidPackage => help(
                CHECK,
                "The image is no package.",
                "It is not for any platform that can be used, or its manifest is of another kind.",
                "push a package that `gantry lint` accepts",
            ),
            Self::ObjectRefused => help(
                &[Type::Ready, Type::Stalled],
                "A revision could not be written.",
                "The API server or an admission policy refuses it, or its name belongs to another package with the same \
                 content.",
                "do what the message says; after a name that is taken rename one of the packages",
            ),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_reason_is_explained() {
        for reason in Reason::ALL {
            let Help {
                on,
                meaning,
                cause,
                remedy,
            } = reason.help();
            assert!(!on.is_empty(), "{reason}");
            for sentence in [meaning, cause] {
                assert!(
                    sentence.len() > 5 && sentence.ends_with('.'),
                    "{reason}: {sentence:?}"
                );
            }
            let begins = remedy.chars().next().is_some_and(|c| c.is_lowercase());
            assert!(
                begins && remedy.len() > 5 && !remedy.ends_with('.'),
                "{reason}: {remedy:?}"
            );
        }
        for type_ in Type::ALL {
            assert!(!type_.on().is_empty() && !type_.meaning().is_empty(), "{type_}");
        }
    }

    #[test]
    fn each_condition_has_a_reason() {
        for type_ in Type::ALL {
            let has = Reason::ALL.iter().any(|reason| reason.help().on.contains(type_));
            assert!(has, "{type_} has no reason");
        }
    }
}
