//! Serde pieces for keys that an object may lack, or carry as `null`.

use serde::{Deserialize, Deserializer};

/// Reads `null` as the type's default. Older writers stored `null` where the schema now has a list or a map.
pub(crate) fn null_as_default<'de, D, T>(deserializer: D) -> Result<T, D::Error>
where
    D: Deserializer<'de>,
    T: Deserialize<'de> + Default,
{
    Ok(Option::<T>::deserialize(deserializer)?.unwrap_or_default())
}
