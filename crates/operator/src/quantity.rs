//! Amounts of bytes as people write them in manifests.

/// Units, longest first where one ends with another.
const UNITS: &[(&str, u64)] = &[
    ("Ki", 1 << 10),
    ("Mi", 1 << 20),
    ("Gi", 1 << 30),
    ("Ti", 1 << 40),
    ("k", 1_000),
    ("M", 1_000_000),
    ("G", 1_000_000_000),
    ("T", 1_000_000_000_000),
    ("", 1),
];

/// Reads `1073741824`, `512Mi`, `2G`. For clap's `value_parser`.
pub(crate) fn bytes(text: &str) -> Result<u64, String> {
    let wrong = || format!("{text:?} is no amount of bytes; write for example 512Mi, 2Gi or 1073741824");
    let (number, factor) = UNITS
        .iter()
        .find_map(|(unit, factor)| Some((text.strip_suffix(unit)?, factor)))
        .ok_or_else(wrong)?;
    let number: u64 = number.parse().map_err(|_| wrong())?;
    number.checked_mul(*factor).ok_or_else(wrong)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn amounts_are_read_or_refused() {
        for (text, expected) in [
            ("0", 0),
            ("1073741824", 1 << 30),
            ("512Mi", 512 << 20),
            ("2G", 2_000_000_000),
        ] {
            assert_eq!(bytes(text), Ok(expected), "{text}");
        }
        for text in ["", "Gi", "1.5Gi", "-1", "1 Gi", "1Gib", "99999999999Ti"] {
            assert!(bytes(text).unwrap_err().contains("512Mi"), "{text}");
        }
    }
}
