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
];
