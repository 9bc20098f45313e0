//! Values as Go prints them, for histories that equal BuildKit's.

use std::fmt::Write as _;

/// A text in double quotes, as Go's `%q`.
fn quoted(text: &str) -> String {
    let mut result = String::from("\"");
    for character in text.chars() {
        match character {
            '"' => result.push_str("\\\""),
            '\\' => result.push_str("\\\\"),
            '\n' => result.push_str("\\n"),
            '\t' => result.push_str("\\t"),
            '\r' => result.push_str("\\r"),
            '\u{7}' => result.push_str("\\a"),
            '\u{8}' => result.push_str("\\b"),
            '\u{c}' => result.push_str("\\f"),
            '\u{b}' => result.push_str("\\v"),
            other if other.is_control() && u32::from(other) < 0x80 => {
                let _ = write!(result, "\\x{:02x}", u32::from(other));
            }
            other if other.is_control() || (other.is_whitespace() && other != ' ') => {
                let _ = write!(result, "\\u{:04x}", u32::from(other));
            }
            other => result.push(other),
        }
    }
    result.push('"');
    result
}

/// A number as Go's `%q`: the character of that number in single quotes.
pub(super) fn quoted_number(number: i64) -> String {
    let Some(character) = u32::try_from(number).ok().and_then(char::from_u32) else {
        return "'\u{fffd}'".to_owned();
    };
    match character {
        '\'' => "'\\''".to_owned(),
        '"' => "'\"'".to_owned(),
        other => {
            let text = quoted(&other.to_string());
            format!("'{}'", &text[1..text.len() - 1])
        }
    }
}

/// `["a" "b"]`, as Go's `%q` of texts.
pub(super) fn quoted_list(words: &[String]) -> String {
    let words: Vec<String> = words.iter().map(|word| quoted(word)).collect();
    format!("[{}]", words.join(" "))
}

/// `[a b]`, as Go's `%v` of texts.
pub(super) fn list(words: &[String]) -> String {
    format!("[{}]", words.join(" "))
}

/// RFC 3339 in UTC of seconds since 1970, which are not negative.
pub(super) fn rfc3339(seconds: i64) -> String {
    let (days, second) = (seconds.div_euclid(86_400), seconds.rem_euclid(86_400));
    // Civil from days: years begin in March, so the leap day is the last of one.
    let days = days + 719_468;
    let era = days.div_euclid(146_097);
    let day_of_era = days.rem_euclid(146_097);
    let year_of_era =
        (day_of_era - day_of_era / 1_460 + day_of_era / 36_524 - day_of_era / 146_096) / 365;
    let day_of_year = day_of_era - (365 * year_of_era + year_of_era / 4 - year_of_era / 100);
    let month = (5 * day_of_year + 2) / 153;
    let day = day_of_year - (153 * month + 2) / 5 + 1;
    let month = if month < 10 { month + 3 } else { month - 9 };
    let year = year_of_era + era * 400 + i64::from(month <= 2);
    let (hour, minute, second) = (second / 3600, second / 60 % 60, second % 60);
    format!("{year:04}-{month:02}-{day:02}T{hour:02}:{minute:02}:{second:02}Z")
}

/// The first line, and dots if there are more.
pub(super) fn summary(text: &str) -> String {
    let text = text.trim();
    match text.split_once('\n') {
        Some((first, _)) => format!("{}...", first.trim_end_matches('\r')),
        None => text.to_owned(),
    }
}

/// The first word in capitals.
pub(super) fn capital_keyword(text: &str) -> String {
    match text.split_once(' ') {
        Some((keyword, rest)) => format!("{} {rest}", keyword.to_uppercase()),
        None => text.to_uppercase(),
    }
}

/// A path cleaned of `.`, `..` and double slashes, from `/`. With `keep`, a slash at its end stays.
pub(super) fn absolute(base: &str, path: &str, keep: bool) -> String {
    let joined = if path.starts_with('/') { path.to_owned() } else { format!("{base}/{path}") };
    let mut parts: Vec<&str> = Vec::new();
    for part in joined.split('/') {
        match part {
            "" | "." => {}
            ".." => {
                parts.pop();
            }
            part => parts.push(part),
        }
    }
    let directory =
        keep && (path.ends_with('/') || path.ends_with("/.") || matches!(path, "" | "."));
    let end = if directory && !parts.is_empty() { "/" } else { "" };
    format!("/{}{end}", parts.join("/"))
}

/// The last component of a path; empty if there is none.
pub(super) fn base_name(path: &str) -> &str {
    path.trim_end_matches('/').rsplit('/').next().unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn dates() {
        for (seconds, expected) in [
            (0, "1970-01-01T00:00:00Z"),
            (951_782_400, "2000-02-29T00:00:00Z"),
            (1_700_000_000, "2023-11-14T22:13:20Z"),
            (4_107_542_399, "2100-02-28T23:59:59Z"),
            (253_402_300_799, "9999-12-31T23:59:59Z"),
        ] {
            assert_eq!(rfc3339(seconds), expected);
        }
    }

    #[test]
    fn paths() {
        for (base, path, keep, expected) in [
            ("/", "a", true, "/a"),
            ("/w", "a/", true, "/w/a/"),
            ("/w", ".", true, "/w/"),
            ("/w", "", true, "/w/"),
            ("/w", "./x/.", true, "/w/x/"),
            ("/w", "../../x", true, "/x"),
            ("/w", "/a/../b//c/", true, "/b/c/"),
            ("/w", "/", true, "/"),
            ("/", "a/", false, "/a"),
        ] {
            assert_eq!(absolute(base, path, keep), expected, "{base} {path}");
        }
        assert_eq!((base_name("/a/b/"), base_name("x"), base_name("/")), ("b", "x", ""));
    }

    #[test]
    fn quotes() {
        let words = ["a b".to_owned(), "\"\\\n\u{1}é\u{2028}".to_owned()];
        assert_eq!(quoted_list(&words), r#"["a b" "\"\\\n\x01é\u2028"]"#);
        for (number, expected) in [
            (0, "'\\x00'"),
            (3, "'\\x03'"),
            (10, "'\\n'"),
            (33, "'!'"),
            (34, "'\"'"),
            (39, "'\\''"),
            (92, "'\\\\'"),
        ] {
            assert_eq!(quoted_number(number), expected);
        }
        assert_eq!(summary("\na\r\nb"), "a...");
        assert_eq!(capital_keyword("run x y"), "RUN x y");
    }
}
