//! Names of revisions and of packages made for dependencies (spec: API reference 4.4; ours: design 3.1).

use std::fmt::Write as _;

use sha2::{Digest as _, Sha256};

use crate::pkg::RuntimeConfigReference;

/// Longest DNS label, in bytes (RFC 1123). Names are cut there since they also become label values.
pub const MAX_LABEL_BYTES: usize = 63;
/// Longest name of an object, in bytes (a DNS subdomain, RFC 1123).
pub const MAX_NAME_BYTES: usize = 253;
/// Bytes of a name that [`friendly_id`] keeps, so that a dash and the hash still fit a label.
pub const FRIENDLY_NAME_BYTES: usize = 50;
/// Bytes of a hash that [`friendly_id`] keeps.
pub const FRIENDLY_HASH_BYTES: usize = 12;

/// A DNS label made of `text`: lower-case letters and digits stay, `.`, `/`, `:` and `-` become `-` unless
/// first, last or 63rd byte, all else is dropped (upper-case letters too: they are not mapped); at most 63
/// bytes of input count; no dash at either end. May be empty.
pub fn to_dns_label(text: &str) -> String {
    let last = text.len().saturating_sub(1);
    let mut label = String::with_capacity(text.len().min(MAX_LABEL_BYTES));
    for (index, character) in text
        .char_indices()
        .take_while(|(index, _)| *index < MAX_LABEL_BYTES)
    {
        match character {
            'a'..='z' | '0'..='9' => label.push(character),
            '.' | '/' | ':' | '-' if index != 0 && index != MAX_LABEL_BYTES - 1 && index != last => {
                label.push('-');
            }
            _ => {}
        }
    }
    label.trim_matches('-').to_owned()
}

/// A label made of the first 50 bytes of `name`, a dash and the first 12 bytes of `hash`.
pub fn friendly_id(name: &str, hash: &str) -> String {
    to_dns_label(&format!(
        "{}-{}",
        head(name, FRIENDLY_NAME_BYTES),
        head(hash, FRIENDLY_HASH_BYTES)
    ))
}

/// Name of the revision of `package` with that digest (64 hex digits, no algorithm) and, for kinds with a
/// runtime, that runtime config *after defaulting*. Unlike the reference's it doesn't depend on the package's
/// generation: only what matters makes a new revision.
pub fn revision_name(package: &str, digest_hex: &str, runtime: Option<&RuntimeConfigReference>) -> String {
    let identity = match runtime {
        None => digest_hex.to_owned(),
        Some(config) => format!(
            "{digest_hex}|{}|{}|{}",
            config.api_version, config.kind, config.name
        ),
    };
    friendly_id(package, &sha256_hex(&identity))
}

/// Name that the reference gives the revision (2.4 line): it depends on the package's generation.
pub fn reference_revision_name(package: &str, digest_hex: &str, generation: i64) -> String {
    friendly_id(package, &sha256_hex(&format!("{digest_hex}|{generation}")))
}

/// Name that the reference gave the revision until 2.3.
pub fn legacy_revision_name(package: &str, digest_hex: &str) -> String {
    friendly_id(package, digest_hex)
}

/// Name of the Secret with the server certificate of a package's runtime (spec: API reference 4.5).
pub fn tls_server_secret(package: &str) -> String {
    with_suffix(package, "-tls-server")
}

/// Name of the Secret with the client certificate of a provider's runtime (spec: API reference 4.5).
pub fn tls_client_secret(package: &str) -> String {
    with_suffix(package, "-tls-client")
}

/// `name`, cut so that it and the suffix fit an object's name.
fn with_suffix(name: &str, suffix: &str) -> String {
    format!(
        "{}{suffix}",
        head(name, MAX_NAME_BYTES.saturating_sub(suffix.len()))
    )
}

/// The first `bytes` bytes of `text`, or fewer so as not to split a character.
fn head(text: &str, bytes: usize) -> &str {
    text.get(..text.floor_char_boundary(bytes)).unwrap_or_default()
}

/// SHA-256 in lower-case hex digits.
fn sha256_hex(text: &str) -> String {
    Sha256::digest(text.as_bytes())
        .iter()
        .fold(String::with_capacity(64), |mut hex, byte| {
            // writing to a String can't fail
            let _ = write!(hex, "{byte:02x}");
            hex
        })
}

#[cfg(test)]
#[path = "names_tests.rs"]
mod tests;
