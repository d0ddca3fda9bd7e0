//! Labels and annotations that a package may not set on its revision.

use api::label;

/// Whether only the cluster, its operators or its administrators may set `key`.
///
/// `kubernetes.io` and `k8s.io` count with all their subdomains: `app.kubernetes.io/instance`, for one, tells
/// GitOps tools what they may delete.
pub(crate) fn is_reserved(key: &str) -> bool {
    if key == label::PROVIDER_FAMILY {
        return false;
    }
    let Some((prefix, _)) = key.split_once('/') else {
        return false;
    };
    let below = |domain: &str| {
        prefix
            .strip_suffix(domain)
            .is_some_and(|rest| rest.is_empty() || rest.ends_with('.'))
    };
    key == api::annotation::PAUSED
        || prefix == "pkg.crossplane.io"
        || ["gantry.dev", "kubernetes.io", "k8s.io"].into_iter().any(below)
}

/// Whether an API server takes `key` as a label or annotation key: an optional DNS prefix and a name.
pub(crate) fn is_key(key: &str) -> bool {
    match key.split_once('/') {
        None => is_name(key),
        Some((prefix, name)) => is_dns_subdomain(prefix) && is_name(name),
    }
}

/// Whether an API server takes `value` as the value of a label.
pub(crate) fn is_label_value(value: &str) -> bool {
    value.is_empty() || is_name(value)
}

/// Whether an API server takes `name` as the name of an object of the kinds that packages contain.
pub(crate) fn is_dns_subdomain(name: &str) -> bool {
    let label = |part: &str| {
        let inner = |byte: u8| byte.is_ascii_lowercase() || byte.is_ascii_digit() || byte == b'-';
        !part.is_empty() && part.bytes().all(inner) && !part.starts_with('-') && !part.ends_with('-')
    };
    name.len() <= 253 && name.split('.').all(label)
}

/// Up to 63 of letters, digits, `-`, `_`, `.`, with a letter or digit at both ends.
fn is_name(name: &str) -> bool {
    let inner = |byte: u8| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_' | b'.');
    let end = |c: char| c.is_ascii_alphanumeric();
    name.len() <= 63 && name.bytes().all(inner) && name.starts_with(end) && name.ends_with(end)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn reserved_keys() {
        for (key, reserved) in [
            ("pkg.crossplane.io/package", true),
            ("pkg.crossplane.io/provider-family", false),
            ("gantry.dev/digest", true),
            ("sub.gantry.dev/x", true),
            ("notgantry.dev/x", false),
            ("crossplane.io/paused", true),
            ("crossplane.io/other", false),
            ("meta.crossplane.io/maintainer", false),
            ("kubernetes.io/x", true),
            ("kubectl.kubernetes.io/last-applied-configuration", true),
            ("app.kubernetes.io/instance", true),
            ("node-role.k8s.io/x", true),
            ("mykubernetes.io/x", false),
            ("friendly-name.meta.crossplane.io", false),
            ("plain", false),
        ] {
            assert_eq!(is_reserved(key), reserved, "{key}");
        }
    }

    #[test]
    fn keys_values_and_names_that_a_server_takes() {
        for (key, good) in [
            ("a", true),
            ("a/b", true),
            ("meta.crossplane.io/source", true),
            ("", false),
            ("/b", false),
            ("a/", false),
            ("a/b/c", false),
            ("A.b/c", false),
            ("-a", false),
            ("a b", false),
        ] {
            assert_eq!(is_key(key), good, "{key:?}");
        }
        assert!(is_key(&"a".repeat(63)) && !is_key(&"a".repeat(64)));
        assert!(is_label_value("") && is_label_value("a_B.c-9") && !is_label_value("no spaces"));
        for (name, good) in [
            ("buckets.s3.example.org", true),
            ("a", true),
            ("", false),
            ("A", false),
            ("a..b", false),
            ("a_b", false),
            ("-a", false),
            ("a-", false),
            ("a/b", false),
        ] {
            assert_eq!(is_dns_subdomain(name), good, "{name:?}");
        }
        assert!(!is_dns_subdomain(&"a".repeat(254)));
    }
}
