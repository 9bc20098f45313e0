//! Sizes and durations as Docker prints them.

use std::time::Duration;

const DECIMAL: [&str; 9] = ["B", "kB", "MB", "GB", "TB", "PB", "EB", "ZB", "YB"];
const BINARY: [&str; 9] = ["B", "KiB", "MiB", "GiB", "TiB", "PiB", "EiB", "ZiB", "YiB"];

/// `2063346` as `2.063MB`: powers of 1000, four digits.
pub(crate) fn human_size(bytes: i64) -> String {
    size(bytes, 1000.0, &DECIMAL, 4)
}

/// As [`human_size`] with three digits: `2.06MB`.
pub(crate) fn short_size(bytes: i64) -> String {
    size(bytes, 1000.0, &DECIMAL, 3)
}

/// `25276510208` as `23.54GiB`: powers of 1024.
pub(crate) fn binary_size(bytes: i64) -> String {
    size(bytes, 1024.0, &BINARY, 4)
}

#[expect(clippy::cast_precision_loss, reason = "four digits are shown")]
fn size(bytes: i64, base: f64, units: &[&str], digits: usize) -> String {
    let mut value = bytes as f64;
    let mut unit = 0;
    while value >= base && unit + 1 < units.len() {
        value /= base;
        unit += 1;
    }
    significant(value, digits) + units[unit]
}

/// `value` with at most `digits` digits and no trailing zeros, as C's `%.*g` below 10^digits.
fn significant(value: f64, digits: usize) -> String {
    if value == 0.0 {
        return "0".to_owned();
    }
    let rounded = format!("{value:.*e}", digits - 1);
    let (_, power) = rounded.split_once('e').unwrap_or((&rounded, "0"));
    let power: usize = power.parse().unwrap_or(0);
    if power >= digits {
        let (mantissa, _) = rounded.split_once('e').unwrap_or((&rounded, ""));
        let mantissa = mantissa.trim_end_matches('0').trim_end_matches('.');
        return format!("{mantissa}e+{power:02}");
    }
    let text = format!("{value:.*}", digits - 1 - power);
    match text.contains('.') {
        true => text.trim_end_matches('0').trim_end_matches('.').to_owned(),
        false => text,
    }
}

/// `2 minutes`, `About an hour`, `Less than a second`.
pub(crate) fn human_duration(duration: Duration) -> String {
    let seconds = duration.as_secs();
    let minutes = seconds / 60;
    // Hours are rounded, everything else is cut off.
    let hours = (seconds + 1800) / 3600;
    match () {
        () if seconds < 1 => "Less than a second".to_owned(),
        () if seconds == 1 => "1 second".to_owned(),
        () if seconds < 60 => format!("{seconds} seconds"),
        () if minutes == 1 => "About a minute".to_owned(),
        () if minutes < 60 => format!("{minutes} minutes"),
        () if hours == 1 => "About an hour".to_owned(),
        () if hours < 48 => format!("{hours} hours"),
        () if hours < 24 * 7 * 2 => format!("{} days", hours / 24),
        () if hours < 24 * 30 * 2 => format!("{} weeks", hours / 24 / 7),
        () if hours < 24 * 365 * 2 => format!("{} months", hours / 24 / 30),
        () => format!("{} years", seconds / 3600 / 24 / 365),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn sizes_have_dockers_digits() {
        let table = [
            (0, "0B", "0B"),
            (2, "2B", "2B"),
            (999, "999B", "999B"),
            (1000, "1kB", "1kB"),
            (1024, "1.024kB", "1.02kB"),
            (2_063_346, "2.063MB", "2.06MB"),
            (1_000_000, "1MB", "1MB"),
            (999_950, "1000kB", "1e+03kB"),
            (12_345_678, "12.35MB", "12.3MB"),
            (123_456_789, "123.5MB", "123MB"),
            (1_500_000_000, "1.5GB", "1.5GB"),
            (-1, "-1B", "-1B"),
        ];
        for (bytes, long, short) in table {
            assert_eq!((human_size(bytes).as_str(), short_size(bytes).as_str()), (long, short));
        }
        assert_eq!(binary_size(25_276_510_208), "23.54GiB");
        assert_eq!(binary_size(1023), "1023B");
    }

    #[test]
    fn durations_have_dockers_words() {
        let minute = 60;
        let hour = 60 * minute;
        let day = 24 * hour;
        let table = [
            (0, "Less than a second"),
            (1, "1 second"),
            (45, "45 seconds"),
            (60, "About a minute"),
            (119, "About a minute"),
            (3 * minute, "3 minutes"),
            (59 * minute + 59, "59 minutes"),
            (hour, "About an hour"),
            (hour + 29 * minute, "About an hour"),
            (hour + 30 * minute, "2 hours"),
            (3 * hour, "3 hours"),
            (47 * hour, "47 hours"),
            (2 * day, "2 days"),
            (13 * day, "13 days"),
            (14 * day, "2 weeks"),
            (59 * day, "8 weeks"),
            (60 * day, "2 months"),
            (729 * day, "24 months"),
            (730 * day, "2 years"),
        ];
        for (seconds, words) in table {
            assert_eq!(human_duration(Duration::from_secs(seconds)), words, "{seconds}");
        }
    }
}
