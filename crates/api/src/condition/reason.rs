//! Why a condition says what it says (spec: API reference, chapter 3; ours: design 3.1).

closed! {
    /// `reason` of a condition that Gantry writes. Closed, so that metrics may use it as a label.
    Reason {
        // the reference's
        /// Installed: fetching or parsing failed, nothing is installed.
        UnpackingPackage,
        /// Installed: a revision is active.
        ActivePackageRevision,
        /// Installed: no revision is active.
        InactivePackageRevision,
        /// Healthy, RevisionHealthy, RuntimeHealthy: well.
        HealthyPackageRevision,
        /// Healthy, RevisionHealthy, RuntimeHealthy: not well.
        UnhealthyPackageRevision,
        /// Healthy, RevisionHealthy, RuntimeHealthy: not known. Only read, from older versions.
        UnknownPackageRevisionHealth,
        /// RuntimeActive: not scaled to zero.
        ActiveRuntime,
        /// RuntimeActive, Healthy: scaled to zero. Ready (ours): a person has to activate the revision.
        AwaitingActivation,
        /// Synced: paused by annotation.
        ReconcilePaused,

        // ours: states
        /// Ready: what serves is healthy and a newer revision waits for a person.
        UpdateAvailable,
        /// Reconciling: tried again after a failure, with back-off.
        Retrying,
        /// Preflighted, Ready, Reconciling: what the revision would change is being checked.
        Checking,
        /// Preflighted: every check passed.
        ChecksPassed,
        /// Established, Ready, Reconciling: objects are being created or taken over.
        Establishing,
        /// Established: all objects are in place.
        AllEstablished,
        /// Ready, Reconciling: something else has to happen first; the message names it.
        Waiting,
        /// Established, Ready, Reconciling: CRDs with a conversion webhook are changed once the revision's own program answers.
        AwaitingProgram,
        /// Ready, Established: the revision is not the active one.
        Inactive,
        /// Preflighted, Established, Ready, Stalled: the cluster refuses objects; the message lists them.
        Refused,
        /// Preflighted, Ready, Reconciling: the content can't be had now; tried again.
        FetchFailed,
        /// Preflighted, Ready, Stalled: the content is no package that may be installed; trying again can't
        /// help.
        FetchRefused,
        /// UpToDate: the registry was asked and answered.
        Checked,
        /// UpToDate: there is nothing to ask: pull policy Never, or a digest.
        NotChecked,
        /// DependenciesResolved: all of them are there.
        AllDependenciesFound,
        /// DependenciesResolved: the package needs nothing, or was told not to look.
        NothingToResolve,
        /// DependenciesResolved: something that is needed is not installed.
        MissingDependencies,
        /// DependenciesResolved: something that is needed is installed in a version that doesn't fit.
        IncompatibleDependencies,

        // ours: the registry
        /// The reference can't be parsed.
        InvalidReference,
        /// The registry knows no such tag, digest or repository.
        NotFound,
        /// The registry wants other credentials.
        Unauthorized,
        /// A pull secret is missing or can't be read.
        InvalidPullSecret,
        /// The host's name can't be resolved.
        HostUnknown,
        /// No connection to the host.
        Unreachable,
        /// The host's certificate was not accepted.
        TlsFailed,
        /// The host did not answer in time.
        TimedOut,
        /// The registry asks to slow down.
        RateLimited,
        /// The registry failed, or its answer makes no sense.
        RegistryFailed,
        /// The content has another digest or size than promised.
        ContentMismatch,
        /// The content is larger than a limit.
        LimitExceeded,
        /// Pull policy Never, and the store does not have it.
        NotInStore,
        /// An image config is not usable.
        InvalidImageConfig,

        // ours: the package
        /// The image holds no package, or one that can't be read.
        InvalidPackage,

        // ours: the cluster
        /// The API server refuses an object.
        ObjectRefused,
    }
}
