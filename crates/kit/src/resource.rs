//! Which API resource, which object of it, and the URL paths of both.

use std::{borrow::Cow, fmt};

use kube::core::ApiResource;

/// One resource that an API server serves, for example `customresourcedefinitions.v1.apiextensions.k8s.io`.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Resource {
    /// API group; empty for the core group.
    pub group: Cow<'static, str>,
    /// API version, for example `v1`.
    pub version: Cow<'static, str>,
    /// Plural name as in URLs, lower case.
    pub plural: Cow<'static, str>,
    /// Kind as in objects.
    pub kind: Cow<'static, str>,
}

impl Resource {
    /// A resource that is known at compile time.
    pub const fn new(
        group: &'static str,
        version: &'static str,
        plural: &'static str,
        kind: &'static str,
    ) -> Self {
        Self {
            group: Cow::Borrowed(group),
            version: Cow::Borrowed(version),
            plural: Cow::Borrowed(plural),
            kind: Cow::Borrowed(kind),
        }
    }

    /// A resource that is known only at run time, say from discovery.
    pub fn dynamic(group: &str, version: &str, plural: &str, kind: &str) -> Self {
        Self {
            group: Cow::Owned(group.to_owned()),
            version: Cow::Owned(version.to_owned()),
            plural: Cow::Owned(plural.to_owned()),
            kind: Cow::Owned(kind.to_owned()),
        }
    }

    /// The resource of a type that implements [`kube::Resource`].
    pub fn of<K: kube::Resource>(dynamic_type: &K::DynamicType) -> Self {
        Self::dynamic(
            &K::group(dynamic_type),
            &K::version(dynamic_type),
            &K::plural(dynamic_type),
            &K::kind(dynamic_type),
        )
    }

    /// `group/version`, or `version` for the core group: what objects carry as `apiVersion`.
    pub fn api_version(&self) -> String {
        if self.group.is_empty() {
            self.version.to_string()
        } else {
            format!("{}/{}", self.group, self.version)
        }
    }

    /// URL path of the collection, without a query.
    pub fn collection_path(&self, namespace: Option<&str>) -> Result<String, BadName> {
        let mut path = if self.group.is_empty() {
            format!("/api/{}", segment(&self.version)?)
        } else {
            format!("/apis/{}/{}", segment(&self.group)?, segment(&self.version)?)
        };
        if let Some(namespace) = namespace {
            path.push_str("/namespaces/");
            path.push_str(&segment(namespace)?);
        }
        path.push('/');
        path.push_str(&segment(&self.plural)?);
        Ok(path)
    }
}

impl fmt::Display for Resource {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        if self.group.is_empty() {
            f.write_str(&self.plural)
        } else {
            write!(f, "{}.{}", self.plural, self.group)
        }
    }
}

impl From<&Resource> for ApiResource {
    fn from(resource: &Resource) -> Self {
        Self {
            group: resource.group.to_string(),
            version: resource.version.to_string(),
            api_version: resource.api_version(),
            kind: resource.kind.to_string(),
            plural: resource.plural.to_string(),
        }
    }
}

/// One object by name.
#[derive(Clone, Debug, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub struct Target {
    /// Its resource.
    pub resource: Resource,
    /// Its namespace, absent for cluster-scoped objects.
    pub namespace: Option<String>,
    /// Its name.
    pub name: String,
}

impl Target {
    /// A cluster-scoped object.
    pub fn cluster(resource: Resource, name: impl Into<String>) -> Self {
        Self {
            resource,
            namespace: None,
            name: name.into(),
        }
    }

    /// An object in a namespace.
    pub fn namespaced(resource: Resource, namespace: impl Into<String>, name: impl Into<String>) -> Self {
        Self {
            resource,
            namespace: Some(namespace.into()),
            name: name.into(),
        }
    }

    /// URL path of the object, without a query.
    pub fn path(&self) -> Result<String, BadName> {
        let mut path = self.resource.collection_path(self.namespace.as_deref())?;
        path.push('/');
        path.push_str(&segment(&self.name)?);
        Ok(path)
    }
}

impl fmt::Display for Target {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.namespace {
            Some(namespace) => write!(f, "{} {namespace}/{}", self.resource, self.name),
            None => write!(f, "{} {}", self.resource, self.name),
        }
    }
}

/// A name that cannot stand in a URL path.
#[derive(Clone, Debug, PartialEq, Eq, thiserror::Error)]
#[error("{name:?} cannot be the name of an API object; names are not empty and neither \".\" nor \"..\"")]
pub struct BadName {
    /// The name as given.
    pub name: String,
}

/// Percent-encodes one path segment, so that a name taken from input can never lead to another path.
fn segment(name: &str) -> Result<Cow<'_, str>, BadName> {
    if name.is_empty() || name == "." || name == ".." {
        return Err(BadName {
            name: name.to_owned(),
        });
    }
    // Unreserved characters of RFC 3986 2.3, and ':' which RBAC names have and a segment may hold (3.3).
    let plain = |b: u8| b.is_ascii_alphanumeric() || matches!(b, b'-' | b'.' | b'_' | b'~' | b':');
    if name.bytes().all(plain) {
        return Ok(Cow::Borrowed(name));
    }
    let mut out = String::with_capacity(name.len() + 8);
    for byte in name.bytes() {
        if plain(byte) {
            out.push(char::from(byte));
        } else {
            out.push_str(&format!("%{byte:02X}"));
        }
    }
    Ok(Cow::Owned(out))
}

#[cfg(test)]
mod tests {
    use super::*;

    const CRDS: Resource = Resource::new(
        "apiextensions.k8s.io",
        "v1",
        "customresourcedefinitions",
        "CustomResourceDefinition",
    );

    #[test]
    fn paths() {
        let crd = Target::cluster(CRDS, "a.example.org");
        let path = "/apis/apiextensions.k8s.io/v1/customresourcedefinitions/a.example.org";
        assert_eq!(crd.path().unwrap(), path);
        let secret = Target::namespaced(Resource::new("", "v1", "secrets", "Secret"), "ns", "s");
        assert_eq!(secret.path().unwrap(), "/api/v1/namespaces/ns/secrets/s");
        assert_eq!(secret.to_string(), "secrets ns/s");
    }

    #[test]
    fn names_cannot_leave_their_segment() {
        let path = |name: &str| Target::cluster(CRDS, name).path();
        assert!(
            path("a/../../b?x=1#y")
                .unwrap()
                .ends_with("/a%2F..%2F..%2Fb%3Fx%3D1%23y")
        );
        assert!(path("system:x").unwrap().ends_with("/system:x"));
        for bad in ["", ".", ".."] {
            assert_eq!(path(bad), Err(BadName { name: bad.to_owned() }));
        }
    }
}
