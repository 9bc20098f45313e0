//! The HEALTHCHECK instruction.

use hull_oci::Healthcheck;

use super::changes::{ChangeError, command};

/// Reads what stands after HEALTHCHECK.
pub(super) fn parse(text: &str) -> Result<Healthcheck, ChangeError> {
    let invalid = |reason: String| ChangeError::Arguments { instruction: "HEALTHCHECK", reason };
    let mut health = Healthcheck::default();
    let mut rest = text.trim_start();
    while let Some(flag) = rest.strip_prefix("--") {
        let (flag, after) = flag.split_once(char::is_whitespace).unwrap_or((flag, ""));
        rest = after.trim_start();
        let (name, value) =
            flag.split_once('=').ok_or_else(|| invalid(format!("flag --{flag} has no value")))?;
        let slot = match name {
            "interval" => &mut health.interval,
            "timeout" => &mut health.timeout,
            "start-period" => &mut health.start_period,
            "start-interval" => &mut health.start_interval,
            "retries" => {
                health.retries = value
                    .parse()
                    .ok()
                    .filter(|retries| *retries >= 0)
                    .ok_or_else(|| invalid(format!("--retries {value:?} is not a count")))?;
                continue;
            }
            _ => return Err(invalid(format!("unknown flag --{name}"))),
        };
        *slot = duration(value).ok_or_else(|| {
            invalid(format!("--{name} {value:?} is not a duration of 1ms or more"))
        })?;
    }
    let (kind, after) = rest.split_once(char::is_whitespace).unwrap_or((rest, ""));
    health.test = match kind.to_ascii_uppercase().as_str() {
        "NONE" if after.trim().is_empty() => vec!["NONE".to_owned()],
        "NONE" => return Err(invalid("NONE takes no arguments".to_owned())),
        "CMD" if after.trim().is_empty() => {
            return Err(invalid("missing command after CMD".to_owned()));
        }
        "CMD" => match command(after) {
            Ok(words) => std::iter::once("CMD".to_owned()).chain(words).collect(),
            Err(line) => vec!["CMD-SHELL".to_owned(), line],
        },
        _ => return Err(invalid(format!("unknown type {kind:?}, neither CMD nor NONE"))),
    };
    Ok(health)
}

/// A duration as Go writes it (`1h30m`, `1.5s`), in nanoseconds: 0 or at least a millisecond.
pub(in crate::images) fn duration(text: &str) -> Option<i64> {
    if text == "0" {
        return Some(0);
    }
    let mut rest = text;
    let mut total = 0.0_f64;
    while !rest.is_empty() {
        let digits = rest.find(|c: char| !c.is_ascii_digit() && c != '.')?;
        let (number, after) = rest.split_at(digits);
        let unit = after.find(|c: char| c.is_ascii_digit() || c == '.').unwrap_or(after.len());
        let (unit, after) = after.split_at(unit);
        let scale = match unit {
            "ns" => 1.0,
            "us" | "µs" => 1e3,
            "ms" => 1e6,
            "s" => 1e9,
            "m" => 60e9,
            "h" => 3600e9,
            _ => return None,
        };
        total += number.parse::<f64>().ok()? * scale;
        rest = after;
    }
    let fits = total == 0.0 || (1e6..9e18).contains(&total);
    #[expect(clippy::cast_possible_truncation, reason = "within i64 by the range above")]
    fits.then(|| total.round() as i64).filter(|_| !text.is_empty())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn durations() {
        for (text, expected) in [
            ("0", Some(0)),
            ("0s", Some(0)),
            ("30s", Some(30_000_000_000)),
            ("1h30m", Some(5_400_000_000_000)),
            ("1.5s", Some(1_500_000_000)),
            ("5ms", Some(5_000_000)),
            ("1us", None),
            ("", None),
            ("5", None),
            ("-5s", None),
            ("s", None),
            ("1x", None),
            ("99999999999h", None),
        ] {
            assert_eq!(duration(text), expected, "{text}");
        }
    }

    #[test]
    fn checks() {
        let health = parse("--interval=5s --retries=3 CMD curl -f x").unwrap();
        assert_eq!(health.test, ["CMD-SHELL", "curl -f x"]);
        assert_eq!((health.interval, health.retries), (5_000_000_000, 3));
        assert_eq!(parse(r#"CMD ["a", "b"]"#).unwrap().test, ["CMD", "a", "b"]);
        assert_eq!(parse("none").unwrap().test, ["NONE"]);
        for bad in
            ["", "CMD", "NONE x", "RUN x", "--interval CMD x", "--x=1 CMD y", "--retries=-1 CMD x"]
        {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
