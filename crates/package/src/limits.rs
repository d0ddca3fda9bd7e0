//! Bounds on what a package may make us read, hold or say.

use oci::limit::Limit;

/// Longest `package.yaml`, in bytes: 200 MiB, as the reference reads at most. There, what is longer is cut
/// off silently; here it is refused.
pub const MAX_PACKAGE_BYTES: u64 = 200 << 20;

/// Longest document of the stream, in bytes. An API server takes requests of about 3 MiB; YAML of that is
/// rarely more than twice as long.
pub const MAX_DOCUMENT_BYTES: usize = 8 << 20;

/// Most documents in one package. The largest known provider families have about 1,000 objects.
pub const MAX_DOCUMENTS: u32 = 10_000;

/// Deepest nesting of one document. Of 2,000 real CRDs the deepest has 37 levels; the YAML reader recurses,
/// and at this depth still fits a quarter of the stack of a thread.
pub const MAX_YAML_DEPTH: usize = 64;

/// Most YAML nodes in one document: bounds what aliases can expand to, and the memory of one object.
pub const MAX_YAML_NODES: usize = 250_000;

/// Most bytes that the layer annotated as the package may inflate to. It holds `package.yaml` and, with some
/// builders, little else.
pub const MAX_LAYER_BYTES: u64 = 512 << 20;

/// Most bytes that all layers together may inflate to when no layer is annotated, so that the whole image
/// must be searched. Runtime images are well below.
pub const MAX_IMAGE_BYTES: u64 = 2 << 30;

/// Most bytes that a layer may inflate to for one byte read, once it is past [`RATIO_FREE_BYTES`]. YAML of
/// CRDs reaches 50; bombs have 1,000 and more.
pub const MAX_RATIO: u64 = 250;

/// Inflated size up to which the ratio is not looked at: repetitive small packages compress very well.
pub const RATIO_FREE_BYTES: u64 = 64 << 20;

/// Largest zstd window, as a power of two: 8 MiB, what RFC 8878 (3.1.1.1.2) recommends to support. It is
/// memory.
pub const MAX_ZSTD_WINDOW_LOG: u32 = 23;

/// Most entries in the tars that are searched for `package.yaml`. Full operating system images have under
/// 100,000 files.
pub const MAX_TAR_ENTRIES: usize = 200_000;

/// Longest extended header (long name, PAX records) of a tar entry, in bytes. Paths have at most 4 KiB.
pub const MAX_TAR_HEADER_BYTES: u64 = 64 << 10;

/// Most layers of a package image; the reference refused more for years.
pub const MAX_LAYERS: usize = 256;

/// Most warnings kept for one package; the rest is counted.
pub const MAX_WARNINGS: usize = 100;

/// Most characters of a package's own text that a message repeats.
pub const MAX_QUOTED_CHARS: usize = 120;

/// Largest `.xpkg` entry that is read into memory while pushing or inspecting, in bytes.
pub const MAX_ARCHIVE_ENTRY_BYTES: u64 = 1 << 30;

/// Longest JSON document (manifest list, image config) in a `.xpkg` or docker-save file, in bytes.
pub const MAX_ARCHIVE_JSON_BYTES: u64 = 4 << 20;

/// Most links followed from one archive entry to the next.
pub const MAX_ARCHIVE_LINKS: usize = 16;

/// The bounds of this crate, for the generated table.
pub const LIMITS: &[Limit] = &[
    Limit::fixed(
        "package.yaml",
        "200 MiB",
        "what the reference reads; it cuts silently, Gantry refuses",
    ),
    Limit::fixed(
        "document in package.yaml",
        "8 MiB",
        "an API server takes requests of about 3 MiB",
    ),
    Limit::fixed(
        "documents in package.yaml",
        "10,000",
        "the largest known packages have about 1,000 objects",
    ),
    Limit::fixed(
        "nesting of a YAML document",
        "100",
        "real CRDs reach 60, JSON readers stop at 128",
    ),
    Limit::fixed(
        "nodes of a YAML document",
        "250,000",
        "bounds what aliases expand to and the memory of one object",
    ),
    Limit::fixed(
        "inflated size of the annotated layer",
        "512 MiB",
        "it holds package.yaml and little else",
    ),
    Limit::fixed(
        "inflated size of a whole image",
        "2 GiB",
        "only searched when no layer is annotated",
    ),
    Limit::fixed(
        "compression ratio of a layer",
        "250, beyond 64 MiB",
        "YAML reaches 50, bombs 1,000",
    ),
    Limit::fixed("zstd window", "8 MiB", "recommended by RFC 8878; it is memory"),
    Limit::fixed(
        "tar entries searched",
        "200,000",
        "full operating system images have under 100,000",
    ),
    Limit::fixed(
        "extended header of a tar entry",
        "64 KiB",
        "paths have at most 4 KiB",
    ),
    Limit::fixed(
        "layers of a package image",
        "256",
        "the reference's limit for years",
    ),
    Limit::fixed("warnings kept per package", "100", "the rest is counted"),
    Limit::fixed(
        "package text repeated in a message",
        "120 characters",
        "messages end up in conditions and events",
    ),
    Limit::fixed("entry of a package file", "1 GiB", "read while pushing"),
    Limit::fixed(
        "JSON in a package file",
        "4 MiB",
        "manifests and configs are far smaller",
    ),
    Limit::fixed("links followed in a package file", "16", "ends link cycles"),
];
