//! Which conditions there are (spec: API reference, chapter 3; ours: design 3).

closed! {
    /// `type` of a condition that Gantry writes or reads.
    ConditionType {
        /// Package: a revision of it serves.
        Installed,
        /// Package: the serving revision, and its runtime, are well.
        Healthy,
        /// Package and revision: `False` while paused. Never `True` on packages.
        Synced,
        /// Revision: its objects are established.
        RevisionHealthy,
        /// Revision of a kind with runtime: the runtime is available.
        RuntimeHealthy,
        /// Revision of a kind with runtime: the runtime is not scaled to zero.
        RuntimeActive,
        /// Revision (ours): what it would change was checked, and may be changed.
        Preflighted,
        /// Revision (ours): all its objects are in place.
        Established,
        /// Revision (ours): what it needs is installed, in a version that fits.
        DependenciesResolved,
        /// Package (ours): the last check of the registry succeeded.
        UpToDate,
        /// Package and revision (ours, kstatus): what is wanted now is what works.
        Ready,
        /// Package and revision (ours, kstatus): work goes on.
        Reconciling,
        /// Package and revision (ours, kstatus): retrying can't help; a person has to act.
        Stalled,
    }
}
