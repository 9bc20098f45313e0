//! Times as clients write them, and durations as people read them.

use crate::error::ApiError;
use crate::http::Filters;
use jiff::{SignedDuration, Timestamp};

/// Reads seconds since 1970 (with or without a fraction), RFC 3339, or a Go duration before now.
///
/// # Errors
/// Text that is none of them.
pub(crate) fn parse(text: &str) -> Result<Timestamp, ApiError> {
    seconds(text)
        .or_else(|| text.parse().ok())
        .or_else(|| Timestamp::now().checked_sub(duration(text)?).ok())
        .ok_or_else(|| ApiError::invalid(format!("invalid time {text:?}")))
}

/// The time before which something must have been created to be pruned.
///
/// # Errors
/// As [`parse`]; more than one.
pub(crate) fn until(filters: &Filters) -> Result<Option<Timestamp>, ApiError> {
    match filters.get("until") {
        [] => Ok(None),
        [one] => parse(one).map(Some),
        _ => Err(ApiError::invalid("more than one until filter specified")),
    }
}

fn seconds(text: &str) -> Option<Timestamp> {
    let (whole, fraction) = text.split_once('.').unwrap_or((text, ""));
    let digits = |text: &str| text.bytes().all(|byte| byte.is_ascii_digit());
    if !digits(fraction) || fraction.len() > 9 {
        return None;
    }
    let nanoseconds = format!("{fraction:0<9}").parse().ok()?;
    Timestamp::new(whole.parse().ok()?, nanoseconds).ok()
}

/// Reads `1h30m`, `10s`, `250ms`.
fn duration(text: &str) -> Option<SignedDuration> {
    let mut rest = text;
    let mut sum = SignedDuration::ZERO;
    while !rest.is_empty() {
        let digits = rest.find(|sign: char| !sign.is_ascii_digit() && sign != '.')?;
        let number: f64 = rest[..digits].parse().ok()?;
        rest = &rest[digits..];
        let unit_end = rest.find(|sign: char| sign.is_ascii_digit()).unwrap_or(rest.len());
        let unit = match &rest[..unit_end] {
            "ns" => 1e-9,
            "us" | "µs" => 1e-6,
            "ms" => 1e-3,
            "s" => 1.0,
            "m" => 60.0,
            "h" => 3600.0,
            _ => return None,
        };
        rest = &rest[unit_end..];
        sum = sum.checked_add(SignedDuration::try_from_secs_f64(number * unit).ok()?)?;
    }
    (!text.is_empty()).then_some(sum)
}

/// Docker's words for a duration: `3 seconds`, `About an hour`, `2 weeks`.
#[must_use]
pub(crate) fn human(duration: SignedDuration) -> String {
    let seconds = duration.as_secs();
    let (minutes, hours) = (seconds / 60, (seconds + 1800) / 3600);
    match seconds {
        ..1 => "Less than a second".to_owned(),
        1 => "1 second".to_owned(),
        2..60 => format!("{seconds} seconds"),
        _ if minutes == 1 => "About a minute".to_owned(),
        _ if minutes < 60 => format!("{minutes} minutes"),
        _ if hours == 1 => "About an hour".to_owned(),
        _ if hours < 48 => format!("{hours} hours"),
        _ if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        _ if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        _ if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        _ => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn times() {
        let check = |text: &str, expected: &str| {
            assert_eq!(parse(text).unwrap(), expected.parse::<Timestamp>().unwrap(), "{text}");
        };
        check("0", "1970-01-01T00:00:00Z");
        check("1.5", "1970-01-01T00:00:01.5Z");
        check("2024-01-02T03:04:05.6Z", "2024-01-02T03:04:05.6Z");
        check("2024-01-02T03:04:05+01:00", "2024-01-02T02:04:05Z");
        let ago = Timestamp::now() - parse("1h30m").unwrap();
        assert!((5399..5401).contains(&ago.as_secs()), "{ago}");
        for bad in ["", "x", "1x", "h", "1h-", "1.1234567890"] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }

    #[test]
    fn words() {
        for (seconds, expected) in [
            (0, "Less than a second"),
            (1, "1 second"),
            (59, "59 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (120, "2 minutes"),
            (3599, "59 minutes"),
            (3600, "About an hour"),
            (7200, "2 hours"),
            (47 * 3600, "47 hours"),
            (48 * 3600, "2 days"),
            (14 * 86400, "2 weeks"),
            (60 * 86400, "2 months"),
            (800 * 86400, "2 years"),
        ] {
            assert_eq!(human(SignedDuration::from_secs(seconds)), expected, "{seconds}");
        }
    }
}
