//! Bounds on what the tool reads and how long it waits.

use std::time::Duration;

use oci::limit::Limit;

/// Most files below a package's folder. More means that the wrong folder was named.
pub const MAX_FOLDER_FILES: usize = 100_000;

/// Deepest folder below a package's folder; also ends cycles that mounts can make.
pub const MAX_FOLDER_DEPTH: usize = 64;

/// Longest file that is read, in bytes: a whole `package.yaml`.
pub const MAX_FILE_BYTES: u64 = package::limits::MAX_PACKAGE_BYTES;

/// Longest configuration file (docker config, CA bundle) that is read, in bytes.
pub const MAX_CONFIG_BYTES: u64 = 4 << 20;

/// How long a push may take, all blobs together: 1 GiB at 10 Mbit/s.
pub const PUSH_DEADLINE: Duration = Duration::from_secs(900);

/// How long a question to a registry may take, with retries.
pub const ASK_DEADLINE: Duration = Duration::from_secs(60);

/// How long a credential helper may take. Some ask the user to touch a key.
pub const HELPER_DEADLINE: Duration = Duration::from_secs(60);

/// Longest answer of a credential helper that is read, in bytes.
pub const MAX_HELPER_BYTES: u64 = 64 << 10;

/// Revisions per page of a list. Each may name thousands of objects; 50 of the largest fit a page.
pub const REVISIONS_PER_PAGE: usize = 50;

/// Most events that are shown of one object: the latest say what matters.
pub const MAX_EVENTS: usize = 5;

/// Most packages that `gantry status` explains in one run; a reader wants the first few.
pub const MAX_EXPLAINED: usize = 50;

/// How many kinds of custom resources are counted at the same time.
pub const COUNTS_AT_ONCE: usize = 8;

/// Most kinds of custom resources that are named before a package is deleted.
pub const MAX_NAMED_KINDS: usize = 20;

/// How long `--wait` waits unless it says how long: 1,000 CRDs take a minute on a small API server.
pub const WAIT: Duration = Duration::from_secs(300);

/// Pause between two looks while waiting.
pub const LOOK_INTERVAL: Duration = Duration::from_secs(1);

/// Least time between two lines of progress where there is no terminal to rewrite a line on.
pub const PROGRESS_PACE: Duration = Duration::from_secs(5);

/// Longest answer to a question that is read, in bytes: it is yes or no.
pub const MAX_ANSWER_BYTES: u64 = 1 << 10;

/// The bounds of this crate, for the generated table.
pub const LIMITS: &[Limit] = &[
    Limit::fixed(
        "files in a package's folder",
        "100,000",
        "more means that the wrong folder was named",
    ),
    Limit::fixed("depth of a package's folder", "64", "ends cycles"),
    Limit::fixed("source file", "200 MiB", "the longest package.yaml"),
    Limit::fixed(
        "docker config or CA bundle",
        "4 MiB",
        "the command line reads it into memory",
    ),
    Limit::fixed("duration of a push", "15 min", "1 GiB at 10 Mbit/s"),
    Limit::fixed("duration of gantry digest", "60 s", "with all retries"),
    Limit::fixed(
        "duration of a credential helper",
        "60 s",
        "some ask the user to touch a key",
    ),
    Limit::fixed(
        "answer of a credential helper",
        "64 KiB",
        "it is a name and a secret",
    ),
    Limit::fixed(
        "revisions per page of a list",
        "50",
        "each may name thousands of objects",
    ),
    Limit::fixed("events shown of one object", "5", "the latest say what matters"),
    Limit::fixed(
        "packages that gantry status explains",
        "50",
        "a reader wants the first few",
    ),
    Limit::fixed(
        "kinds counted at the same time before a deletion",
        "8",
        "the API server has others to serve",
    ),
    Limit::fixed(
        "kinds named before a deletion",
        "20",
        "a reader wants the first few; -o json has all",
    ),
    Limit::flag(
        "duration of --wait",
        "5 min",
        "1,000 CRDs take a minute on a small API server",
        "--wait",
    ),
    Limit::fixed(
        "time between two looks of --wait",
        "1 s",
        "one small request each",
    ),
    Limit::fixed(
        "time between two lines of progress without a terminal",
        "5 s",
        "a log wants few lines",
    ),
    Limit::fixed("answer to a question", "1 KiB", "it is yes or no"),
];
