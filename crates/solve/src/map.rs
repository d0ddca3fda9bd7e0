//! The hash map of this crate.

/// Names are looked up some hundred thousand times in a large graph: a hash that is quick for short texts, and seeded
/// anew in each process, so that nobody can choose names that collide.
pub(crate) type Map<K, V> = std::collections::HashMap<K, V, foldhash::fast::RandomState>;
