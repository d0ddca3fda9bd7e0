//! Schema of image configs (spec: API reference 1.9).

use k8s_openapi::apiextensions_apiserver::pkg::apis::apiextensions::v1::JSONSchemaProps;

use super::{
    schema::{Field, boolean, list, object, string},
    shared,
};

/// Schema of image configs.
pub(super) fn schema() -> JSONSchemaProps {
    let spec = object(
        "Which references it applies to, and what it says about them.",
        [
            (
                "matchImages",
                list(
                    "References that this applies to: it is enough that one item matches. Among several \
                     ImageConfigs the one with the longest matching prefix is used.",
                    matches(),
                )
                .rule("size(self) > 0", "matchImages should have at least one element.")
                .required(),
            ),
            ("registry", registry()),
            ("verification", verification()),
            (
                "rewriteImage",
                object(
                    "Another place to fetch the package from.",
                    [(
                        "prefix",
                        string("Takes the place of the prefix that matched. Must not be empty.").required(),
                    )],
                ),
            ),
            (
                "runtime",
                object(
                    "How the package's runtime is deployed.",
                    [(
                        "configRef",
                        shared::runtime_config_ref("Runtime config in place of the package's own."),
                    )],
                ),
            ),
        ],
    );
    object(
        "An ImageConfig says how packages from certain registries are fetched, checked and run.",
        [("spec", spec)],
    )
    .into_root()
}

fn matches() -> Field {
    object(
        "References that this applies to.",
        [
            (
                "type",
                string("How references are matched.")
                    .default("Prefix")
                    .one_of(&["Prefix"]),
            ),
            (
                "prefix",
                string("Start of the whole reference, as plain text. An empty one matches nothing.")
                    .required(),
            ),
        ],
    )
}

fn registry() -> Field {
    let secret = shared::secret_ref("Secret with credentials, in the namespace that Gantry runs in.");
    object(
        "How the registry is talked to.",
        [(
            "authentication",
            object(
                "Who we are to the registry.",
                [("pullSecretRef", secret.required())],
            ),
        )],
    )
}

fn verification() -> Field {
    object(
        "Which signatures a package must carry.",
        [
            (
                "provider",
                string("How signatures are made.").one_of(&["Cosign"]).required(),
            ),
            (
                "cosign",
                object(
                    "Cosign signatures.",
                    [(
                        "authorities",
                        list("Who may have signed: one of them is enough.", authority()).required(),
                    )],
                ),
            ),
        ],
    )
}

fn authority() -> Field {
    object(
        "Somebody who may have signed.",
        [
            ("name", string("Name of the authority, for messages.").required()),
            ("key", key()),
            ("keyless", keyless()),
            (
                "attestations",
                list(
                    "Attestations that are demanded in place of a plain signature.",
                    object(
                        "An attestation.",
                        [
                            (
                                "name",
                                string("Name of the attestation, for messages.").required(),
                            ),
                            ("predicateType", string("Type of its predicate.").required()),
                        ],
                    ),
                ),
            ),
        ],
    )
}

fn key() -> Field {
    object(
        "A public key.",
        [
            (
                "secretRef",
                object(
                    "Where the key is, PEM encoded, in the namespace that Gantry runs in.",
                    [
                        ("name", string("Name of the Secret.").required()),
                        ("key", string("Key in the Secret.").required()),
                    ],
                )
                .required(),
            ),
            (
                "hashAlgorithm",
                string("Hash that the signature is over: sha224, sha256, sha384 or sha512.")
                    .default("sha256")
                    .required(),
            ),
        ],
    )
}

fn keyless() -> Field {
    let identity = object(
        "An identity. An expression wins over the plain value of the same field.",
        [
            ("issuer", string("Who vouches for the identity.")),
            ("subject", string("Who signed.")),
            (
                "issuerRegExp",
                string("Regular expression for who vouches for the identity."),
            ),
            ("subjectRegExp", string("Regular expression for who signed.")),
        ],
    );
    object(
        "Signatures with short-lived certificates.",
        [
            (
                "identities",
                list("Identities that are accepted: one is enough.", identity).required(),
            ),
            (
                "insecureIgnoreSCT",
                boolean("Whether a missing proof of the certificate's publication is overlooked."),
            ),
        ],
    )
}
