//! What `--details` shows before each line: labels and variables that log options name.

use crate::containers::Container;
use std::collections::BTreeMap;
use std::fmt::Write as _;

/// `name=value,name=value ` in Docker's encoding; a space alone if no option names any.
pub(super) fn details(container: &Container) -> String {
    let (config, options) = (&container.stored.config, &container.stored.host.log_config.config);
    let names = |option: &str| {
        let text = options.get(option).map_or("", String::as_str);
        text.split(',').map(str::trim).filter(|name| !name.is_empty()).collect::<Vec<_>>()
    };
    let mut shown: BTreeMap<&str, &str> = BTreeMap::new();
    for name in names("labels") {
        shown.extend(config.labels.get(name).map(|value| (name, value.as_str())));
    }
    let wanted = names("env");
    for (name, value) in config.env.iter().filter_map(|entry| entry.split_once('=')) {
        if wanted.contains(&name) {
            shown.insert(name, value);
        }
    }
    let pairs = shown.iter().map(|(name, value)| format!("{}={}", encode(name), encode(value)));
    pairs.collect::<Vec<_>>().join(",") + " "
}

/// As Go's `url.QueryEscape`.
fn encode(text: &str) -> String {
    let mut out = String::with_capacity(text.len());
    for byte in text.bytes() {
        match byte {
            b'a'..=b'z' | b'A'..=b'Z' | b'0'..=b'9' | b'-' | b'_' | b'.' | b'~' => {
                out.push(char::from(byte));
            }
            b' ' => out.push('+'),
            // A string takes every write.
            _ => drop(write!(out, "%{byte:02X}")),
        }
    }
    out
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn values_are_escaped_as_go_does() {
        assert_eq!(encode("a b/c=d,é~"), "a+b%2Fc%3Dd%2C%C3%A9~");
    }
}
