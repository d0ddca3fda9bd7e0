//! [`kube::Resource`] for the kinds of `v1beta1` that have a type of their own.

/// Implements [`kube::Resource`] for a cluster-scoped type with field `metadata`: type, kind, plural.
macro_rules! impl_resource {
    ($type:ty, $kind:expr, $plural:expr) => {
        impl_resource!($type, $crate::GROUP, "v1beta1", $kind, $plural);
    };
    ($type:ty, $group:expr, $version:expr, $kind:expr, $plural:expr) => {
        impl kube::Resource for $type {
            type DynamicType = ();
            type Scope = kube::core::ClusterResourceScope;

            fn kind((): &()) -> std::borrow::Cow<'_, str> {
                $kind.into()
            }

            fn group((): &()) -> std::borrow::Cow<'_, str> {
                $group.into()
            }

            fn version((): &()) -> std::borrow::Cow<'_, str> {
                $version.into()
            }

            fn plural((): &()) -> std::borrow::Cow<'_, str> {
                $plural.into()
            }

            fn meta(&self) -> &kube::core::ObjectMeta {
                &self.metadata
            }

            fn meta_mut(&mut self) -> &mut kube::core::ObjectMeta {
                &mut self.metadata
            }
        }
    };
}
