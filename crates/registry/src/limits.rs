//! The bounds of this crate: what a registry, a secret or a disk may make Gantry do.

use std::time::Duration;

use oci::limit::Limit;

/// Largest manifest or index, in bytes: what registries must accept at least, so real ones are smaller.
pub const MAX_MANIFEST_BYTES: u64 = 4 << 20;

/// Largest layer that holds a package's content, compressed, in bytes: `package.yaml` may have 200 MiB
/// uncompressed.
pub const MAX_BASE_LAYER_BYTES: u64 = 256 << 20;

/// Largest layer of an image without a marked layer, compressed, in bytes. Such an image may carry a runtime.
pub const MAX_LAYER_BYTES: u64 = 1 << 30;

/// Largest image without a marked layer, all layers together, compressed, in bytes.
pub const MAX_IMAGE_BYTES: u64 = 2 << 30;

/// Most layers of an image. Older versions of the reference refused more than this, so no package has more.
pub const MAX_LAYERS: usize = 256;

/// Most children of an index that are compared by their content when none fits the platform.
pub const MAX_COMPARED_CHILDREN: usize = 16;

/// Largest answer of a token endpoint, in bytes. Real tokens have a few KiB.
pub const MAX_TOKEN_ANSWER_BYTES: u64 = 64 << 10;

/// How much of an error's body is read, in bytes: enough for code and message.
pub const MAX_ERROR_BODY_BYTES: u64 = 64 << 10;

/// How much of an error's message is shown, in characters. It goes into conditions and events.
pub const MAX_ERROR_DETAIL_CHARS: usize = 300;

/// Largest page of tags, in bytes.
pub const MAX_TAG_PAGE_BYTES: u64 = 8 << 20;

/// Most pages of tags that are followed.
pub const MAX_TAG_PAGES: usize = 100;

/// Most tags of one repository that are kept.
pub const MAX_TAGS: usize = 50_000;

/// How many tags are asked for at once: the largest page that all common registries take.
pub const TAG_PAGE_SIZE: usize = 1_000;

/// Most redirects that are followed for one request.
pub const MAX_REDIRECTS: usize = 10;

/// Most authentication challenges that are read from one answer.
pub const MAX_CHALLENGES: usize = 16;

/// Tries of one request, the first one included.
pub const DEFAULT_ATTEMPTS: u32 = 4;

/// How often a download that breaks off is taken up again.
pub const MAX_RESUMES: u32 = 8;

/// Most credentials that are tried for one image.
pub const MAX_CREDENTIALS_TRIED: usize = 5;

/// Longest wait that a registry can ask for and get (`Retry-After`). Beyond it, the value is a mistake.
pub const MAX_RETRY_AFTER: Duration = Duration::from_secs(60 * 60);

/// Longest wait within a call. What takes longer is reported as rate-limited, so that no worker is held.
pub const DEFAULT_MAX_WAIT: Duration = Duration::from_secs(5);

/// First wait between two tries.
pub const DEFAULT_BACKOFF: Duration = Duration::from_millis(500);

/// Time to connect, TLS included.
pub const DEFAULT_CONNECT_TIMEOUT: Duration = Duration::from_secs(10);

/// Time from the request to the end of the answer's headers.
pub const DEFAULT_HEADER_TIMEOUT: Duration = Duration::from_secs(30);

/// Longest silence within a body.
pub const DEFAULT_IDLE_TIMEOUT: Duration = Duration::from_secs(30);

/// Window in which a body must make at least [`MIN_PROGRESS_BYTES`] of progress: ends downloads that drip.
pub const DEFAULT_PROGRESS_WINDOW: Duration = Duration::from_secs(30);

/// Least progress of a body within the progress window, in bytes. Below it, a large package would take days.
pub const MIN_PROGRESS_BYTES: u64 = 16 << 10;

/// Time for getting a token, all tries together.
pub const TOKEN_TIMEOUT: Duration = Duration::from_secs(30);

/// Life of a token whose answer doesn't say it (token authentication specification).
pub const DEFAULT_TOKEN_LIFE: Duration = Duration::from_secs(60);

/// How long before its end a token counts as expired, so that it doesn't expire on its way.
pub const TOKEN_MARGIN: Duration = Duration::from_secs(10);

/// Most tokens that are remembered.
pub const MAX_TOKENS: usize = 4_096;

/// Most hosts whose state (challenge, pause, concurrency) is remembered.
pub const MAX_HOSTS: usize = 1_024;

/// How long it is remembered which authentication a host wants.
pub const CHALLENGE_LIFE: Duration = Duration::from_secs(10 * 60);

/// Requests to one host at the same time.
pub const DEFAULT_PER_HOST_CONCURRENCY: usize = 8;

/// Layers of one image that are downloaded at the same time.
pub const PARALLEL_LAYERS: usize = 4;

/// Largest pull secret, in bytes: what the API server stores at most.
pub const MAX_SECRET_BYTES: usize = 1 << 20;

/// Most entries of all pull secrets of one image together.
pub const MAX_SECRET_ENTRIES: usize = 1_000;

/// Most certificates of a CA bundle. System bundles have about 150.
pub const MAX_CA_CERTIFICATES: usize = 2_000;

/// Default size of the content store, in bytes: some twenty packages of the largest kind. The operator has a
/// flag and a row in the table for it.
pub const DEFAULT_STORE_BYTES: u64 = 1 << 30;

/// Most tags that the content store remembers.
pub const MAX_REFS: usize = 10_000;

/// Age at which a temporary file of the content store counts as left over by a crash. No download takes that
/// long.
pub const STALE_TEMP_AGE: Duration = Duration::from_secs(60 * 60);

/// The bounds of this crate, for the table of limits.
pub const LIMITS: &[Limit] = &[
    Limit::fixed(
        "manifest or index",
        "4 MiB",
        "registries must accept 4 MiB at least; real ones are smaller",
    ),
    Limit::fixed(
        "layer with the package's content",
        "256 MiB",
        "compressed; package.yaml may have 200 MiB uncompressed",
    ),
    Limit::fixed(
        "layer of an image without a marked layer",
        "1 GiB",
        "compressed; may carry a runtime",
    ),
    Limit::fixed(
        "image without a marked layer",
        "2 GiB",
        "all layers together, compressed",
    ),
    Limit::fixed("layers of an image", "256", "as older versions of the reference"),
    Limit::fixed("compared children of an index", "16", "each costs a request"),
    Limit::fixed("token answer", "64 KiB", "real tokens have a few KiB"),
    Limit::fixed(
        "error body",
        "64 KiB",
        "enough for code and message; 300 characters are shown",
    ),
    Limit::fixed("page of tags", "8 MiB", "1,000 tags are asked for at once"),
    Limit::fixed("pages of tags", "100", "an endless list must end"),
    Limit::fixed("tags of a repository", "50,000", "an endless list must end"),
    Limit::fixed("redirects", "10", "a loop must end"),
    Limit::fixed("authentication challenges", "16", "per answer"),
    Limit::fixed(
        "tries of a request",
        "4",
        "the first one included; bounded by the deadline as well",
    ),
    Limit::fixed(
        "resumed downloads",
        "8",
        "per layer; bounded by the deadline as well",
    ),
    Limit::fixed(
        "credentials tried",
        "5",
        "per image, most specific first; guards against lock-outs",
    ),
    Limit::fixed(
        "Retry-After obeyed",
        "1 hour",
        "a longer wait is a mistake of the registry",
    ),
    Limit::fixed(
        "wait within a call",
        "5 s",
        "longer waits give the worker back: rate-limited until T",
    ),
    Limit::fixed("connect time", "10 s", "TLS included"),
    Limit::fixed(
        "time to the answer's headers",
        "30 s",
        "a registry that needs longer is not available",
    ),
    Limit::fixed("silence within a body", "30 s", "a stalled download must end"),
    Limit::fixed(
        "progress of a body",
        "16 KiB in 30 s",
        "a download that drips must end",
    ),
    Limit::fixed("time for a token", "30 s", "all tries together"),
    Limit::fixed("remembered tokens", "4,096", "bounds memory"),
    Limit::fixed(
        "remembered hosts",
        "1,024",
        "bounds memory and the label `host` of metrics",
    ),
    Limit::fixed(
        "requests to one host at a time",
        "8",
        "registries throttle clients that open more",
    ),
    Limit::fixed("layers downloaded at a time", "4", "per image"),
    Limit::fixed("pull secret", "1 MiB", "what the API server stores at most"),
    Limit::fixed("entries of pull secrets", "1,000", "per image"),
    Limit::fixed(
        "certificates of a CA bundle",
        "2,000",
        "system bundles have about 150",
    ),
    Limit::fixed(
        "tags in the content store",
        "10,000",
        "bounds the number of files",
    ),
    Limit::fixed(
        "age of left-over temporary files",
        "1 hour",
        "no download takes that long",
    ),
];

#[cfg(test)]
mod tests {
    use std::collections::BTreeSet;

    use super::LIMITS;

    #[test]
    fn names_are_unique() {
        let names: BTreeSet<_> = LIMITS.iter().map(|limit| limit.name).collect();
        assert_eq!(names.len(), LIMITS.len());
    }
}
