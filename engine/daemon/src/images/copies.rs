//! Compressed copies of layers, and how much they may take.

use hull_store::Store;

/// Names how much compressed copies may take: `10GB`, `512MiB`, `0` for none.
const VARIABLE: &str = "HULL_COMPRESSED_BUDGET";

/// Where nobody says how much: a tenth of the file system, and no more than this.
const DEFAULT_MOST: u64 = 20 << 30;

/// Removes copies that are beyond what they may take. That it cannot be done undoes nothing.
pub(super) fn keep_within_budget(store: &Store) {
    match store.evict_copies(budget(store)) {
        Ok(evicted) if evicted.copies.is_empty() => {}
        Ok(evicted) => {
            let (copies, bytes) = (evicted.copies.len(), evicted.bytes);
            tracing::info!(copies, bytes, "removed compressed copies of layers");
        }
        Err(error) => {
            let error = crate::error::chain(&error);
            tracing::warn!(error, "cannot remove compressed copies of layers");
        }
    }
}

fn budget(store: &Store) -> u64 {
    if let Ok(text) = std::env::var(VARIABLE) {
        match bytes(&text) {
            Some(budget) => return budget,
            None => tracing::warn!(value = text, "{VARIABLE} is no number of bytes"),
        }
    }
    let tenth = rustix::fs::statvfs(store.data_root())
        .map_or(u64::MAX, |stat| stat.f_blocks.saturating_mul(stat.f_frsize) / 10);
    tenth.min(DEFAULT_MOST)
}

/// A number of bytes with one of the usual units.
fn bytes(text: &str) -> Option<u64> {
    let text = text.trim();
    let end = text.find(|c: char| !c.is_ascii_digit()).unwrap_or(text.len());
    let (number, unit) = text.split_at(end);
    let number: u64 = number.parse().ok()?;
    let factor: u64 = match unit.trim().to_ascii_lowercase().as_str() {
        "" | "b" => 1,
        "k" | "kib" => 1 << 10,
        "m" | "mib" => 1 << 20,
        "g" | "gib" => 1 << 30,
        "t" | "tib" => 1 << 40,
        "kb" => 1_000,
        "mb" => 1_000_000,
        "gb" => 1_000_000_000,
        "tb" => 1_000_000_000_000,
        _ => return None,
    };
    number.checked_mul(factor)
}

#[cfg(test)]
mod tests {
    use super::bytes;

    #[test]
    fn numbers_of_bytes() {
        for (text, expected) in [
            ("0", Some(0)),
            ("10GB", Some(10_000_000_000)),
            ("512 MiB", Some(512 << 20)),
            ("1k", Some(1024)),
            ("", None),
            ("-1", None),
            ("1.5GB", None),
            ("99999999999999999999", None),
            ("99999999TB", None),
        ] {
            assert_eq!(bytes(text), expected, "{text}");
        }
    }
}
