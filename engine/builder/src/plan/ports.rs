//! The words of `EXPOSE`.

use std::net::IpAddr;

/// `port/protocol` of each port in `[ip:][host:]container[/protocol]`, ranges spelt out.
pub(super) fn parse(word: &str) -> Result<Vec<String>, String> {
    let (head, container) = match word.rsplit_once(':') {
        Some((head, container)) => (Some(head), container),
        None => (None, word),
    };
    let (port, protocol) = container.split_once('/').unwrap_or((container, ""));
    if port.is_empty() {
        return Err(format!("no port specified: {word}"));
    }
    let protocol = match protocol.to_ascii_lowercase().as_str() {
        "" => "tcp".to_owned(),
        known @ ("tcp" | "udp" | "sctp") => known.to_owned(),
        other => return Err(format!("invalid proto: {other}")),
    };
    let (first, last) = range(port).ok_or_else(|| format!("invalid containerPort: {port}"))?;
    if let Some(head) = head {
        check_host(head, port, (first, last))?;
    }
    Ok((first..=last).map(|port| format!("{port}/{protocol}")).collect())
}

/// Whether it names an address or a port of the host, which means nothing in an image.
pub(super) fn names_host(word: &str) -> bool {
    word.contains(':')
}

fn check_host(head: &str, container: &str, ports: (u16, u16)) -> Result<(), String> {
    let (address, host) = head.rsplit_once(':').unwrap_or(("", head));
    let inner = address.strip_prefix('[').and_then(|rest| rest.strip_suffix(']'));
    let address = inner.unwrap_or(address);
    if !address.is_empty() && address.parse::<IpAddr>().is_err() {
        return Err(format!("invalid IP address: {address}"));
    }
    if host.is_empty() {
        return Ok(());
    }
    let (first, last) = range(host).ok_or_else(|| format!("invalid hostPort: {host}"))?;
    if last - first != ports.1 - ports.0 && ports.0 != ports.1 {
        return Err(format!(
            "invalid ranges specified for container and host Ports: {container} and {host}"
        ));
    }
    Ok(())
}

fn range(text: &str) -> Option<(u16, u16)> {
    let number = |text: &str| {
        text.bytes().all(|byte| byte.is_ascii_digit()).then(|| text.parse().ok()).flatten()
    };
    let (first, last) = match text.split_once('-') {
        Some((first, last)) => (number(first)?, number(last)?),
        None => (number(text)?, number(text)?),
    };
    (first <= last).then_some((first, last))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn ports() {
        for (word, expected) in [
            ("80", "80/tcp"),
            ("80/UDP", "80/udp"),
            ("80-82/sctp", "80/sctp 81/sctp 82/sctp"),
            ("8080:80", "80/tcp"),
            ("127.0.0.1:8080:80/udp", "80/udp"),
            ("[::1]:8080:80", "80/tcp"),
            ("127.0.0.1::80", "80/tcp"),
            ("8000-8010:80", "80/tcp"),
        ] {
            assert_eq!(parse(word).unwrap().join(" "), expected, "{word}");
        }
        for bad in [
            "",
            "x",
            "70000",
            "80-",
            "82-80",
            "80/x",
            "x:80",
            "1.2.3:1:80",
            "80:",
            "1-2:1-3",
            "+80",
        ] {
            assert!(parse(bad).is_err(), "{bad}");
        }
    }
}
