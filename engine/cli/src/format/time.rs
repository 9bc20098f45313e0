//! Points in time as Docker prints and reads them.

use super::units::human_duration;
use jiff::{SignedDuration, Timestamp};
use std::time::Duration;

/// `3 minutes ago`; a time to come is `Less than a second ago`.
pub(crate) fn since(time: Timestamp) -> String {
    let passed = Timestamp::now().duration_since(time);
    human_duration(Duration::try_from(passed).unwrap_or_default()) + " ago"
}

/// A time from seconds since 1970; the beginning of 1970 for what no clock shows.
pub(crate) fn from_seconds(seconds: i64) -> Timestamp {
    Timestamp::from_second(seconds).unwrap_or(Timestamp::UNIX_EPOCH)
}

/// `2026-11-23 23:05:02 +0000 UTC`, in the local time zone.
pub(crate) fn local(time: Timestamp) -> String {
    let zoned = time.to_zoned_datetime(jiff::tz::TimeZone::system());
    zoned.strftime("%Y-%m-%d %H:%M:%S %z %Z").to_string()
}

/// `2026-11-23T23:05:02Z`, in the local time zone.
pub(crate) fn local_rfc3339(time: Timestamp) -> String {
    let zoned = time.to_zoned_datetime(jiff::tz::TimeZone::system());
    if zoned.offset().is_zero() {
        return zoned.strftime("%Y-%m-%dT%H:%M:%SZ").to_string();
    }
    zoned.strftime("%Y-%m-%dT%H:%M:%S%:z").to_string()
}

/// What `--since` and `--until` take, as the API wants it: seconds since 1970 with a fraction.
/// Takes a duration before now (`10m`), seconds since 1970, or a date with or without a time,
/// local unless it says otherwise.
///
/// # Errors
/// What is none of these, in one line.
pub(crate) fn parse_moment(text: &str) -> Result<String, String> {
    let plain_seconds = text.split_once('.').unwrap_or((text, "0"));
    if plain_seconds.0.parse::<i64>().is_ok() && plain_seconds.1.parse::<u64>().is_ok() {
        return Ok(text.to_owned());
    }
    let time = match parse_duration(text) {
        Ok(duration) => Timestamp::now().checked_sub(duration).ok(),
        Err(_) => parse_date(text),
    };
    match time {
        Some(time) => Ok(format!("{}.{:09}", time.as_second(), time.subsec_nanosecond())),
        None => Err(format!("failed to parse value as time or duration: {text:?}")),
    }
}

fn parse_date(text: &str) -> Option<Timestamp> {
    if let Ok(time) = text.parse::<Timestamp>() {
        return Some(time);
    }
    let zone = jiff::tz::TimeZone::system();
    let datetime = text.parse::<jiff::civil::DateTime>().ok()?;
    datetime.to_zoned_datetime(zone).ok().map(|zoned| zoned.timestamp())
}

/// Reads a duration in Go's syntax: numbers with a fraction, each with a unit: `1h30m`, `1.5s`.
///
/// # Errors
/// Go's words.
pub(crate) fn parse_duration(text: &str) -> Result<SignedDuration, String> {
    let invalid = || format!("time: invalid duration {text:?}");
    let (negative, mut rest) = match text.as_bytes().first() {
        Some(b'-') => (true, &text[1..]),
        Some(b'+') => (false, &text[1..]),
        _ => (false, text),
    };
    if rest == "0" {
        return Ok(SignedDuration::ZERO);
    }
    if rest.is_empty() {
        return Err(invalid());
    }
    let mut nanoseconds = 0f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.').unwrap_or(rest.len());
        let number: f64 = rest[..digits].parse().map_err(|_| invalid())?;
        rest = &rest[digits..];
        let end = rest.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(rest.len());
        let scale = match &rest[..end] {
            "" => return Err(format!("time: missing unit in duration {text:?}")),
            "ns" => 1.0,
            "us" | "µs" | "μs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            unit => return Err(format!("time: unknown unit {unit:?} in duration {text:?}")),
        };
        nanoseconds += number * scale;
        rest = &rest[end..];
    }
    if nanoseconds > 9.2e18 {
        return Err(invalid());
    }
    #[expect(clippy::cast_possible_truncation, reason = "bounded above")]
    let nanoseconds = nanoseconds as i64;
    Ok(SignedDuration::from_nanos(if negative { -nanoseconds } else { nanoseconds }))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations_are_gos() {
        let table = [
            ("0", 0),
            ("10ms", 10_000_000),
            ("1.5s", 1_500_000_000),
            ("1h30m", 5_400_000_000_000),
            ("-2s", -2_000_000_000),
            ("3us", 3_000),
        ];
        for (text, nanoseconds) in table {
            assert_eq!(parse_duration(text), Ok(SignedDuration::from_nanos(nanoseconds)), "{text}");
        }
        assert_eq!(parse_duration("1"), Err("time: missing unit in duration \"1\"".to_owned()));
        assert_eq!(
            parse_duration("1x"),
            Err("time: unknown unit \"x\" in duration \"1x\"".to_owned())
        );
        assert_eq!(parse_duration(""), Err("time: invalid duration \"\"".to_owned()));
    }

    #[test]
    fn moments_become_seconds() {
        assert_eq!(parse_moment("1136073600.5").as_deref(), Ok("1136073600.5"));
        assert_eq!(parse_moment("2026-11-23T23:05:02Z").as_deref(), Ok("1795475102.000000000"));
        assert_eq!(
            parse_moment("2026-11-23T23:05:02.25+01:00").as_deref(),
            Ok("1795471502.250000000")
        );
        assert!(parse_moment("10m").is_ok());
        assert!(parse_moment("bogus").is_err());
    }
}
