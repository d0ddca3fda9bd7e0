//! Which child of an index is read.
//!
//! The content of a correct package is the same for all platforms, so the choice must be deterministic and
//! must not depend on the machine: an operator on arm64 has to see what one on amd64 sees. The rule is
//! format-and-cli.md 7.6, "Our rule".

use crate::annotation;
use crate::descriptor::{Descriptor, Platform};
use crate::manifest::Index;
use crate::media_type;

/// The outcome of looking at an index alone.
#[derive(Clone, Debug, PartialEq, Eq)]
pub enum Choice {
    /// Read this child.
    Child(Box<Descriptor>),
    /// Several children are left and none is preferred: read their manifests and ask [`settle`].
    Compare(Vec<Descriptor>),
    /// Nothing to read. The platforms found, for the message.
    None {
        /// Platforms of the children, in the index's order.
        platforms: Vec<String>,
    },
}

/// Chooses a child by the index alone.
///
/// In order: children that aren't images are dropped; the first `linux/amd64`; the first without platform, or
/// with an empty one; the only one left. What remains has to be compared.
#[must_use]
pub fn choose_child(index: &Index) -> Choice {
    let images: Vec<&Descriptor> = index.manifests.iter().filter(|child| is_image(child)).collect();
    let amd64 = |platform: &Platform| platform.os == "linux" && platform.architecture == "amd64";
    let empty = |platform: &Platform| platform.os.is_empty() && platform.architecture.is_empty();
    let exact = images
        .iter()
        .find(|child| child.platform.as_ref().is_some_and(amd64));
    let without = || {
        images
            .iter()
            .find(|child| child.platform.as_ref().is_none_or(empty))
    };
    if let Some(child) = exact.or_else(without) {
        return Choice::Child(Box::new((*child).clone()));
    }
    match images.as_slice() {
        [] => Choice::None {
            platforms: index.manifests.iter().map(platform_name).collect(),
        },
        [only] => Choice::Child(Box::new((*only).clone())),
        several => Choice::Compare(several.iter().map(|child| (*child).clone()).collect()),
    }
}

/// Chooses among the children of [`Choice::Compare`] by their `base` layers: `bases` holds, in the same
/// order, the annotated `base` layer of each child's manifest. If all have one and all are the same content,
/// the first child is as good as any; otherwise nobody can say which one is meant.
#[must_use]
pub fn settle(children: &[Descriptor], bases: &[Option<Descriptor>]) -> Choice {
    let none = || Choice::None {
        platforms: children.iter().map(platform_name).collect(),
    };
    let (Some(first), Some(Some(base))) = (children.first(), bases.first()) else {
        return none();
    };
    let same = |other: &Option<Descriptor>| other.as_ref().is_some_and(|other| other.digest == base.digest);
    if children.len() == bases.len() && bases.iter().all(same) {
        Choice::Child(Box::new(first.clone()))
    } else {
        none()
    }
}

/// Whether a child may hold a package.
fn is_image(child: &Descriptor) -> bool {
    let unknown = |platform: &Platform| platform.os == "unknown" && platform.architecture == "unknown";
    let image_type = |artifact_type: &str| {
        artifact_type.is_empty()
            || media_type::is_manifest(artifact_type)
            || media_type::is_index(artifact_type)
            || [media_type::OCI_CONFIG, media_type::DOCKER_CONFIG]
                .contains(&media_type::essence(artifact_type))
    };
    !child.platform.as_ref().is_some_and(unknown)
        && child.annotation(annotation::REFERENCE_TYPE) != Some(annotation::REFERENCE_ATTESTATION)
        && child.annotation(annotation::XPKG) != Some(annotation::XPKG_EXTENSIONS)
        && child.artifact_type.as_deref().is_none_or(image_type)
}

fn platform_name(child: &Descriptor) -> String {
    child
        .platform
        .as_ref()
        .map_or_else(|| "none".to_owned(), ToString::to_string)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::digest::Digest;

    fn child(name: &str, platform: Option<(&str, &str)>) -> Descriptor {
        let mut child = Descriptor::new(media_type::OCI_MANIFEST, Digest::sha256(name.as_bytes()), 1);
        child.platform = platform.map(|(os, architecture)| Platform {
            architecture: architecture.to_owned(),
            os: os.to_owned(),
            ..Platform::default()
        });
        child
    }

    fn annotated(mut child: Descriptor, key: &str, value: &str) -> Descriptor {
        child.annotations.insert(key.to_owned(), value.to_owned());
        child
    }

    fn choose(children: &[Descriptor]) -> Choice {
        let index = Index {
            schema_version: 2,
            media_type: None,
            artifact_type: None,
            manifests: children.to_vec(),
            annotations: std::collections::BTreeMap::default(),
        };
        choose_child(&index)
    }

    fn chosen(child: &Descriptor) -> Choice {
        Choice::Child(Box::new(child.clone()))
    }

    #[test]
    fn follows_the_rule() {
        let amd = child("amd", Some(("linux", "amd64")));
        let arm = child("arm", Some(("linux", "arm64")));
        let ppc = child("ppc", Some(("linux", "ppc64le")));
        let bare = child("bare", None);
        let empty = child("empty", Some(("", "")));
        let unknown = child("unknown", Some(("unknown", "unknown")));
        let attested = annotated(
            bare.clone(),
            annotation::REFERENCE_TYPE,
            annotation::REFERENCE_ATTESTATION,
        );
        let extensions = annotated(bare.clone(), annotation::XPKG, annotation::XPKG_EXTENSIONS);
        let mut signature = bare.clone();
        signature.artifact_type = Some("application/vnd.example.signature".to_owned());

        assert_eq!(
            choose(&[arm.clone(), bare.clone(), amd.clone()]),
            chosen(&amd),
            "exact wins over order"
        );
        assert_eq!(
            choose(&[arm.clone(), bare.clone()]),
            chosen(&bare),
            "no platform is next"
        );
        assert_eq!(
            choose(&[arm.clone(), empty.clone()]),
            chosen(&empty),
            "an empty one counts as none"
        );
        assert_eq!(
            choose(&[unknown.clone(), attested, extensions, signature, arm.clone()]),
            chosen(&arm),
            "only image"
        );
        assert_eq!(
            choose(&[arm.clone(), ppc.clone()]),
            Choice::Compare(vec![arm, ppc])
        );
        assert_eq!(
            choose(&[unknown]),
            Choice::None {
                platforms: vec!["unknown/unknown".to_owned()]
            }
        );
        assert_eq!(choose(&[]), Choice::None { platforms: vec![] });
    }

    #[test]
    fn settles_by_equal_base_layers() {
        let children = [
            child("arm", Some(("linux", "arm64"))),
            child("ppc", Some(("linux", "ppc64le"))),
        ];
        let base = Some(child("base", None));
        let other = Some(child("other", None));
        assert_eq!(
            settle(&children, &[base.clone(), base.clone()]),
            chosen(&children[0])
        );
        let platforms = vec!["linux/arm64".to_owned(), "linux/ppc64le".to_owned()];
        for bases in [
            vec![base.clone(), other],
            vec![base.clone(), None],
            vec![None, None],
            vec![base],
            vec![],
        ] {
            assert_eq!(
                settle(&children, &bases),
                Choice::None {
                    platforms: platforms.clone()
                }
            );
        }
    }
}
