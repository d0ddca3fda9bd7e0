//! Annotation keys: the reference's (spec: API reference 4.2) and ours, under `gantry.dev/`.

/// Value `"true"`: the object is left alone, deletion included.
pub const PAUSED: &str = "crossplane.io/paused";
/// Key prefix of all our annotations.
pub const PREFIX: &str = "gantry.dev/";
/// On a revision: digest of its package (`sha256:…`). Absent on revisions that the reference made.
pub const DIGEST: &str = "gantry.dev/digest";
/// On a revision: present once it has been the serving one; only such revisions count for the history limit.
pub const SERVED: &str = "gantry.dev/served";
/// On a revision: runtime config it was named for, as `<apiVersion>|<kind>|<name>`. Absent on Configurations.
pub const RUNTIME_CONFIG: &str = "gantry.dev/runtime-config";
/// On an established object: hash of the desired content, with a format version.
pub const CONTENT: &str = "gantry.dev/content";
/// On an established object: the labels and annotations that Gantry set, as JSON `{"labels": […], "annotations": […]}`, so that
/// those that are not wanted any more are taken away.
pub const KEYS: &str = "gantry.dev/keys";
/// On CRD `providers.pkg.crossplane.io`: `<namespace>/<lease>` of the operator that claims the cluster.
pub const OPERATOR: &str = "gantry.dev/operator";
/// On our CRDs: version of Gantry that wrote them; a newer one is never overwritten.
pub const VERSION: &str = "gantry.dev/version";
/// On a package: a new value asks for one check of the registry under any pull policy.
pub const CHECK_REQUESTED_AT: &str = "gantry.dev/check-requested-at";
/// On a Secret with a certificate: value [`CERTIFICATE_EXTERNAL`] says that somebody else looks after it. It is judged, and not
/// touched.
pub const CERTIFICATE: &str = "gantry.dev/certificate";
/// The value of [`CERTIFICATE`] that counts.
pub const CERTIFICATE_EXTERNAL: &str = "external";
/// On a Secret with a certificate: when Gantry last issued it.
pub const CERTIFICATE_ISSUED_AT: &str = "gantry.dev/certificate-issued-at";
/// On a Secret with a certificate: when Gantry last changed whom its holder trusts.
pub const CERTIFICATE_BUNDLED_AT: &str = "gantry.dev/certificate-bundled-at";
/// On the pods of a program that loads its server certificate once, and so is started again for another: which it has, and
/// whom it trusts, as `<SHA-256 of the certificate>.<SHA-256 of ca.crt>`.
pub const CERTIFICATE_LOADED: &str = "gantry.dev/certificate-loaded";
/// On the Secret of the certificate authority: a new value asks for another authority, with overlap.
pub const ROTATE_REQUESTED_AT: &str = "gantry.dev/rotate-requested-at";
/// On the Secret of the certificate authority: the value of [`ROTATE_REQUESTED_AT`] that was answered.
pub const ROTATED_FOR: &str = "gantry.dev/rotated-for";

/// Whether an object's annotations say that it is paused. Only the exact value `true` counts, as in the
/// reference.
pub fn is_paused(meta: &kube::core::ObjectMeta) -> bool {
    meta.annotations
        .as_ref()
        .and_then(|all| all.get(PAUSED))
        .is_some_and(|value| value == "true")
}
