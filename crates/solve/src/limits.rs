//! Bounds on what this crate reads.

use oci::limit::Limit;

/// Longest version string, in bytes. A tag has at most 128 characters; twice that leaves room for
/// build metadata and bounds what an error message repeats.
pub const MAX_VERSION_BYTES: usize = 256;

/// Longest constraint string, in bytes: the reference's bound. Real ones have under 100.
pub const MAX_CONSTRAINT_BYTES: usize = 512;

/// Most alternatives, separated by `||`, in one constraint: the reference's bound.
pub const MAX_CONSTRAINT_GROUPS: usize = 32;

/// Most sources in one graph: ten times the largest cluster that Gantry is measured with.
pub const MAX_SOURCES: usize = 100_000;

/// How many choices of a version the solver makes for one part of the graph before it gives up. A graph of
/// 10,000 packages takes about as many where nothing conflicts; a thousand times the packages of a usual
/// part is a minute's work at most.
pub const MAX_DECISIONS: usize = 500_000;

/// Conflicts that a source takes part in before it is decided earlier than its place in the graph says.
/// Below it the order is the one that people expect; graphs with many conflicts need this to end.
pub const CONFLICTS_BEFORE_REORDER: u32 = 32;

/// Most dependencies of one part of the graph that are left out because they can't be met; with more it is
/// given up.
pub const MAX_LEFT_OUT: usize = 1_000;

/// With more dependencies left out than this it is not tried for each whether it can be met after all.
pub const MAX_PUT_BACK: usize = 50;

/// How many tags are asked for their digest to find the version that a digest is.
pub const MAX_DIGEST_PROBES: usize = 10;

/// Most lines of an explanation.
pub const MAX_EXPLANATION_LINES: usize = 12;

/// Demands that an explanation names; the rest is counted.
pub const MAX_EXPLAINED_DEMANDS: usize = 4;

/// Versions that an explanation names; the rest is counted.
pub const MAX_EXPLAINED_VERSIONS: usize = 5;

/// Changes that an explanation proposes.
pub const MAX_REMEDIES: usize = 3;

/// How often one plan runs the solver to find out what would resolve its conflicts.
pub const MAX_REMEDY_RUNS: usize = 24;

/// The bounds of this crate, for the generated table.
pub const LIMITS: &[Limit] = &[
    Limit::fixed(
        "version string",
        "256 bytes",
        "a tag has at most 128 characters; room for build metadata",
    ),
    Limit::fixed(
        "version constraint",
        "512 bytes",
        "the reference's bound; real constraints have under 100 bytes",
    ),
    Limit::fixed(
        "alternatives in a version constraint",
        "32",
        "the reference's bound",
    ),
    Limit::fixed(
        "packages in a dependency graph",
        "100,000",
        "ten times the largest graph that is measured",
    ),
    Limit::fixed(
        "decisions of the solver",
        "500,000",
        "for each part of the graph that is tied together; then it gives up and says so",
    ),
    Limit::fixed(
        "dependencies that can't be met",
        "1,000",
        "in one part of the graph; then it is given up",
    ),
    Limit::fixed(
        "tags asked for their digest",
        "10",
        "for each constraint, to find the version that an installed digest is",
    ),
    Limit::fixed(
        "lines of an explanation",
        "12",
        "it has to fit a condition's message and a screen",
    ),
];
