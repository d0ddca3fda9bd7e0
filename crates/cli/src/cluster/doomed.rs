//! What goes when a package is deleted: whatever has no owner left, and the custom resources of CRDs among
//! it.

use std::collections::{BTreeMap, BTreeSet};

use api::pkg::{Package, PackageKind, Revision};
use futures::{StreamExt as _, TryStreamExt as _};
use kit::meta::Meta;
use kit::read::{self, ReadError};
use kit::resource::Resource;
use kube::Client;
use serde::Serialize;

use super::{CRDS, Cluster};
use crate::limits::COUNTS_AT_ONCE;

/// Definitions of the reference's composite resources: what is made of them goes with them.
const XRDS: Resource = Resource::new(
    "apiextensions.crossplane.io",
    "v1",
    "compositeresourcedefinitions",
    "CompositeResourceDefinition",
);

/// A CRD that goes, and how many custom resources go with it.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
pub(crate) struct Loss {
    /// Name of the CRD.
    pub(crate) crd: String,
    /// Number of its custom resources; unknown where they may not be listed.
    pub(crate) resources: Option<u64>,
}

/// What goes with a package.
#[derive(Clone, Debug, Default, PartialEq, Eq, Serialize)]
pub(crate) struct Doomed {
    /// Its revisions, by name.
    pub(crate) revisions: Vec<String>,
    /// CRDs.
    pub(crate) crds: Vec<Loss>,
    /// Other objects that its revisions name, by kind.
    pub(crate) others: BTreeMap<String, usize>,
}

impl Doomed {
    /// Custom resources altogether; `None` if there may be some that could not be counted.
    pub(crate) fn resources(&self) -> Option<u64> {
        self.crds.iter().map(|loss| loss.resources).sum()
    }
}

/// UIDs of the objects that have owners, all of which go. `roots` go already. Objects owned by one that goes,
/// go too.
fn without_owners<'a>(
    roots: BTreeSet<String>,
    objects: impl Iterator<Item = &'a Meta> + Clone,
) -> BTreeSet<String> {
    let mut gone = roots;
    loop {
        let next: Vec<String> = objects
            .clone()
            .filter(|meta| !gone.contains(&meta.uid) && !meta.owner_references.is_empty())
            .filter(|meta| {
                meta.owner_references
                    .iter()
                    .all(|owner| gone.contains(&owner.uid))
            })
            .map(|meta| meta.uid.clone())
            .collect();
        if next.is_empty() {
            return gone;
        }
        gone.extend(next);
    }
}

impl Cluster {
    /// What goes when this package is deleted.
    pub(crate) async fn doomed(&self, kind: PackageKind, package: &Package) -> anyhow::Result<Doomed> {
        let name = package.metadata.name.as_deref().unwrap_or_default();
        let uid = package.metadata.uid.clone().unwrap_or_default();
        let revisions: Vec<Revision> = self.revisions(kind, Some(name)).await?;
        let owned = |revision: &&Revision| {
            let owners = revision.metadata.owner_references.iter().flatten();
            owners.clone().count() > 0 && owners.clone().all(|owner| owner.uid == uid)
        };
        let revisions: Vec<&Revision> = revisions.iter().filter(owned).collect();
        let uids = revisions.iter().filter_map(|r| r.metadata.uid.clone());
        let roots: BTreeSet<String> = uids.chain([uid.clone()]).collect();
        let client = self.client();
        let crds = read::list_meta(client, &CRDS, None, None)
            .await?
            .unwrap_or_default();
        let xrds = read::list_meta(client, &XRDS, None, None)
            .await?
            .unwrap_or_default();
        let gone = without_owners(roots, crds.values().chain(xrds.values()));
        let names = crds.values().filter(|crd| gone.contains(&crd.uid));
        let names: Vec<String> = names.map(|crd| crd.name.clone()).collect();
        let mut others: BTreeSet<(String, String)> = xrds
            .values()
            .filter(|xrd| gone.contains(&xrd.uid))
            .map(|xrd| (XRDS.kind.to_string(), xrd.name.clone()))
            .collect();
        let named = revisions
            .iter()
            .filter_map(|r| r.status.as_ref())
            .flat_map(|s| &s.object_refs);
        others.extend(
            named
                .filter(|object| object.kind != CRDS.kind && object.kind != XRDS.kind)
                .map(|object| (object.kind.clone(), object.name.clone())),
        );
        let mut kinds = BTreeMap::new();
        for (kind, _) in others {
            *kinds.entry(kind).or_default() += 1;
        }
        Ok(Doomed {
            revisions: revisions.iter().filter_map(|r| r.metadata.name.clone()).collect(),
            crds: losses(client, names).await?,
            others: kinds,
        })
    }
}

/// Counts the custom resources of these CRDs.
async fn losses(client: &Client, crds: Vec<String>) -> anyhow::Result<Vec<Loss>> {
    if crds.is_empty() {
        return Ok(vec![]);
    }
    // Versions by group, the preferred one first: one request instead of reading each CRD.
    let groups = client.list_api_groups().await?;
    let versions: BTreeMap<String, Vec<String>> = groups
        .groups
        .into_iter()
        .map(|group| {
            let preferred = group.preferred_version.map(|v| v.version);
            let all = group.versions.into_iter().map(|v| v.version);
            let mut versions: Vec<String> = preferred.into_iter().chain(all).collect();
            versions.dedup();
            (group.name, versions)
        })
        .collect();
    let count = |crd: String| {
        let versions = crd
            .split_once('.')
            .and_then(|(_, group)| versions.get(group))
            .cloned()
            .unwrap_or_default();
        async move {
            let resources = resources_of(client, &crd, &versions).await?;
            Ok::<_, ReadError>(Loss { crd, resources })
        }
    };
    let mut found: Vec<Loss> = futures::stream::iter(crds)
        .map(count)
        .buffer_unordered(COUNTS_AT_ONCE)
        .try_collect()
        .await?;
    found.sort_by(|a, b| a.crd.cmp(&b.crd));
    Ok(found)
}

/// Number of a CRD's custom resources; `None` where they may not be listed.
async fn resources_of(client: &Client, crd: &str, versions: &[String]) -> Result<Option<u64>, ReadError> {
    let Some((plural, group)) = crd.split_once('.') else {
        return Ok(None);
    };
    for version in versions {
        match read::count(client, &Resource::dynamic(group, version, plural, plural)).await {
            // Not every CRD of a group has every version of it.
            Ok(None) => {}
            Ok(count) => return Ok(count),
            Err(ReadError::Forbidden { .. }) => return Ok(None),
            Err(error) => return Err(error),
        }
    }
    // In no version served: nothing of it can be there for anybody to lose, but what is stored is not known.
    Ok(None)
}

#[cfg(test)]
mod tests {
    use kit::meta::Owner;

    use super::*;

    fn object(uid: &str, owners: &[&str]) -> Meta {
        let owner = |uid: &&str| Owner {
            uid: (*uid).to_owned(),
            ..Owner::default()
        };
        Meta {
            uid: uid.to_owned(),
            owner_references: owners.iter().map(owner).collect(),
            ..Meta::default()
        }
    }

    #[test]
    fn what_has_another_owner_or_none_stays() {
        let objects = [
            object("crd-of-xrd", &["xrd"]),
            object("xrd", &["revision", "package"]),
            object("mine", &["package"]),
            object("shared", &["package", "other"]),
            object("nobodys", &[]),
            object("others", &["other"]),
        ];
        let roots = ["package", "revision"].map(str::to_owned).into();
        let gone = without_owners(roots, objects.iter());
        let expected = ["crd-of-xrd", "mine", "package", "revision", "xrd"];
        assert_eq!(gone.into_iter().collect::<Vec<_>>(), expected);
    }

    #[test]
    fn an_unknown_count_makes_the_sum_unknown() {
        let loss = |resources| Loss {
            crd: "a.b".into(),
            resources,
        };
        let doomed = |crds: &[Option<u64>]| Doomed {
            crds: crds.iter().copied().map(loss).collect(),
            ..Doomed::default()
        };
        assert_eq!(doomed(&[]).resources(), Some(0));
        assert_eq!(doomed(&[Some(2), Some(3)]).resources(), Some(5));
        assert_eq!(doomed(&[Some(2), None]).resources(), None);
    }
}
