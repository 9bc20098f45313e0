//! Sizes and numbers as users write them.

use anyhow::{Context as _, Result, bail};

/// Bytes of `512m`, `1.5g`, `64k`, `1024`, with Docker's units of 1024.
///
/// # Errors
/// Names the option and the word that is no size.
pub(crate) fn bytes(option: &str, word: &str) -> Result<i64> {
    let wrong =
        || format!("invalid argument {word:?} for \"--{option}\" flag: invalid size: '{word}'");
    let lower = word.trim().to_ascii_lowercase();
    let lower = lower.strip_suffix("ib").or_else(|| lower.strip_suffix('b')).unwrap_or(&lower);
    let (digits, shift) = match lower.as_bytes().last() {
        Some(b'k') => (&lower[..lower.len() - 1], 10),
        Some(b'm') => (&lower[..lower.len() - 1], 20),
        Some(b'g') => (&lower[..lower.len() - 1], 30),
        Some(b't') => (&lower[..lower.len() - 1], 40),
        Some(b'p') => (&lower[..lower.len() - 1], 50),
        _ => (lower, 0),
    };
    let (whole, fraction) = digits.trim().split_once('.').unwrap_or((digits.trim(), ""));
    let unit = 1i64 << shift;
    let whole: i64 = whole.parse().ok().filter(|&number| number >= 0).with_context(wrong)?;
    let scaled = whole.checked_mul(unit).with_context(wrong)?;
    scaled.checked_add(fraction_of(fraction, unit).with_context(wrong)?).with_context(wrong)
}

/// Billionths of `1.5`.
///
/// # Errors
/// Names the word that is no number of CPUs, or too precise.
pub(crate) fn nano_cpus(word: &str) -> Result<i64> {
    let wrong = || {
        format!(
            "invalid argument {word:?} for \"--cpus\" flag: failed to parse {word} as a rational number"
        )
    };
    let (whole, fraction) = word.split_once('.').unwrap_or((word, ""));
    if fraction.len() > 9 {
        bail!("invalid argument {word:?} for \"--cpus\" flag: value is too precise");
    }
    let whole: i64 = if whole.is_empty() { 0 } else { whole.parse().ok().with_context(wrong)? };
    if whole < 0 {
        bail!(wrong());
    }
    let nano = whole.checked_mul(1_000_000_000).with_context(wrong)?;
    nano.checked_add(fraction_of(fraction, 1_000_000_000).with_context(wrong)?).with_context(wrong)
}

/// `unit` times the fraction whose digits these are; `None` for anything but digits.
fn fraction_of(digits: &str, unit: i64) -> Option<i64> {
    if digits.len() > 15 || !digits.bytes().all(|byte| byte.is_ascii_digit()) {
        return None;
    }
    if digits.is_empty() {
        return Some(0);
    }
    let scale = 10i128.pow(u32::try_from(digits.len()).ok()?);
    i64::try_from(i128::from(unit) * digits.parse::<i128>().ok()? / scale).ok()
}

/// Nanoseconds in a duration as Go writes it: `30s`, `1m30s`, `1.5h`, `250ms`.
pub(crate) fn nanoseconds(option: &str, word: &str) -> Result<i64> {
    let invalid = || {
        format!(
            "invalid argument {word:?} for \"--{option}\" flag: time: invalid duration {word:?}"
        )
    };
    let (sign, mut rest) = match word.strip_prefix('-') {
        Some(rest) => (-1.0, rest),
        None => (1.0, word),
    };
    if rest == "0" {
        return Ok(0);
    }
    let mut sum = 0.0;
    if rest.is_empty() {
        bail!(invalid());
    }
    while !rest.is_empty() {
        let of_number = |c: char| c.is_ascii_digit() || c == '.';
        let end = rest.find(|c| !of_number(c)).with_context(invalid)?;
        let number: f64 = rest[..end].parse().ok().with_context(invalid)?;
        rest = &rest[end..];
        let end = rest.find(of_number).unwrap_or(rest.len());
        let unit = match &rest[..end] {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => bail!(invalid()),
        };
        rest = &rest[end..];
        sum += number * unit;
    }
    #[expect(clippy::cast_possible_truncation, reason = "a float saturates")]
    let nanoseconds = (sign * sum) as i64;
    Ok(nanoseconds)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes() {
        for (word, expected) in [
            ("0", 0),
            ("1024", 1024),
            ("64k", 65536),
            ("64KB", 65536),
            ("512m", 512 << 20),
            ("1.5g", 3 << 29),
            ("2GiB", 2 << 30),
            ("1b", 1),
        ] {
            assert_eq!(bytes("memory", word).unwrap(), expected, "{word}");
        }
        for word in ["", "m", "-1", "12x", "1.x", "99999999999g", "1..2"] {
            assert!(bytes("memory", word).is_err(), "{word}");
        }
    }

    #[test]
    fn cpus() {
        for (word, expected) in
            [("1", 1_000_000_000), ("1.5", 1_500_000_000), (".5", 500_000_000), ("0.000000001", 1)]
        {
            assert_eq!(nano_cpus(word).unwrap(), expected, "{word}");
        }
        for word in ["x", "-1", "1.0000000001"] {
            assert!(nano_cpus(word).is_err(), "{word}");
        }
    }
}
