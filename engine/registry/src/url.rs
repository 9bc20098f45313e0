//! Addresses of registries, token servers and redirects, read more strictly than the URL standard:
//! what two programs could read differently is refused.

use std::fmt;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr};
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// The longest address.
const MAX_URL: usize = 8192;

const MAX_NAME: usize = 253;
const MAX_LABEL: usize = 63;

/// How a host is spoken to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub enum Scheme {
    /// In the clear.
    Http,
    /// Over TLS.
    Https,
}

/// A host: a DNS name in lower case, or an address.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub enum Host {
    /// A name of ASCII letters, digits, `-` and `_`.
    Name(String),
    /// An address. IPv4 in IPv6 is IPv4.
    Address(IpAddr),
}

/// A host and the port that was named with it.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Authority {
    /// The host.
    pub host: Host,
    /// The port, if one was named.
    pub port: Option<u16>,
}

/// `scheme://host[:port]/path?query`.
#[derive(Debug, Clone, PartialEq, Eq, Hash, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Url {
    scheme: Scheme,
    authority: Authority,
    target: String,
}

/// Text that is no address, or one that is not accepted.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is no address that is accepted: {reason}")]
pub struct ParseUrlError {
    text: String,
    reason: &'static str,
}

impl Scheme {
    /// The text before `://`.
    pub fn as_str(self) -> &'static str {
        match self {
            Self::Http => "http",
            Self::Https => "https",
        }
    }

    /// The port that is meant where none is named.
    pub fn port(self) -> u16 {
        match self {
            Self::Http => 80,
            Self::Https => 443,
        }
    }
}

impl Host {
    /// The name, if it is not an address.
    pub fn name(&self) -> Option<&str> {
        match self {
            Self::Name(name) => Some(name),
            Self::Address(_) => None,
        }
    }

    /// Whether both are under one domain that someone can own: the same name, or names that share
    /// the last two labels (three, where the last two look like `co.uk`).
    pub fn shares_owner(&self, other: &Self) -> bool {
        if self == other {
            return true;
        }
        match (self.name().and_then(owned), other.name().and_then(owned)) {
            (Some(one), Some(two)) => one == two,
            _ => false,
        }
    }
}

/// The end of `name` that someone registered, as far as that can be told without a list.
fn owned(name: &str) -> Option<&str> {
    let mut labels: Vec<&str> = name.rsplit('.').take(3).collect();
    let country = labels.len() > 1 && labels[0].len() == 2 && labels[1].len() <= 3;
    let count = if country { 3 } else { 2 };
    if labels.len() < count {
        return None;
    }
    labels.truncate(count);
    let length = labels.iter().map(|label| label.len() + 1).sum::<usize>() - 1;
    Some(&name[name.len() - length..])
}

impl Authority {
    /// The port to dial, by the scheme where none was named.
    pub fn port_for(&self, scheme: Scheme) -> u16 {
        self.port.unwrap_or(scheme.port())
    }
}

impl Url {
    /// Puts an address together. `target` begins with `/`.
    pub fn new(scheme: Scheme, authority: Authority, target: impl Into<String>) -> Self {
        Self { scheme, authority, target: target.into() }
    }

    /// The scheme.
    pub fn scheme(&self) -> Scheme {
        self.scheme
    }

    /// Host and port.
    pub fn authority(&self) -> &Authority {
        &self.authority
    }

    /// Path and query, beginning with `/`.
    pub fn target(&self) -> &str {
        &self.target
    }

    /// The path alone.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap_or(&self.target)
    }

    /// Whether requests to both go over the same connections.
    pub fn same_origin(&self, other: &Self) -> bool {
        self.scheme == other.scheme
            && self.authority.host == other.authority.host
            && self.authority.port_for(self.scheme) == other.authority.port_for(other.scheme)
    }

    /// What `location` means in an answer to a request to this address.
    ///
    /// # Errors
    /// It is no address that is accepted.
    pub fn join(&self, location: &str) -> Result<Self, ParseUrlError> {
        if location.contains("://") && !location.starts_with(['/', '?']) {
            return location.parse();
        }
        if location.starts_with("//") {
            return format!("{}:{location}", self.scheme.as_str()).parse();
        }
        let base = format!("{}://{}", self.scheme.as_str(), self.authority);
        if location.starts_with('/') {
            return format!("{base}{location}").parse();
        }
        if location.is_empty() || location.starts_with('?') {
            return format!("{base}{}{location}", self.path()).parse();
        }
        let folder = self.path().rsplit_once('/').map_or("", |(folder, _)| folder);
        format!("{base}{folder}/{location}").parse()
    }

    /// With `name=value` added to the query. Both are encoded.
    #[must_use]
    pub fn with_query(mut self, name: &str, value: &str) -> Self {
        self.target.push(if self.target.contains('?') { '&' } else { '?' });
        encode(&mut self.target, name);
        self.target.push('=');
        encode(&mut self.target, value);
        self
    }
}

/// Percent-encodes everything but what is never encoded (RFC 3986, 2.3).
pub(crate) fn encode(to: &mut String, text: &str) {
    use fmt::Write as _;
    for byte in text.bytes() {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'~') {
            to.push(char::from(byte));
        } else {
            write!(to, "%{byte:02X}").expect("a string takes everything");
        }
    }
}

impl FromStr for Url {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, ParseUrlError> {
        let fail = |reason| error(text, reason);
        if text.len() > MAX_URL {
            return Err(fail("it is longer than 8192 bytes"));
        }
        if !text.is_ascii() {
            return Err(fail("it holds characters outside ASCII"));
        }
        if text.bytes().any(|byte| byte <= b' ' || byte == 0x7f || byte == b'\\') {
            return Err(fail("it holds spaces, control characters or backslashes"));
        }
        let (scheme, rest) = text.split_once("://").ok_or_else(|| fail("it has no scheme"))?;
        let scheme = match scheme.to_ascii_lowercase().as_str() {
            "http" => Scheme::Http,
            "https" => Scheme::Https,
            _ => return Err(fail("its scheme is neither http nor https")),
        };
        let rest = rest.split('#').next().unwrap_or(rest);
        let end = rest.find(['/', '?']).unwrap_or(rest.len());
        let (authority, target) = rest.split_at(end);
        if authority.contains('@') {
            return Err(fail("it holds a user name"));
        }
        let authority = authority.parse().map_err(|inner: ParseUrlError| fail(inner.reason))?;
        let target = match target {
            "" => "/".to_owned(),
            query if query.starts_with('?') => format!("/{query}"),
            target => target.to_owned(),
        };
        Ok(Self { scheme, authority, target })
    }
}

impl FromStr for Authority {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, ParseUrlError> {
        let fail = |reason| error(text, reason);
        let (host, port) = match text.rsplit_once(':') {
            Some((host, port)) if !port.ends_with(']') => (host, Some(port)),
            _ => (text, None),
        };
        let port = match port {
            None => None,
            Some(port) if port.bytes().all(|byte| byte.is_ascii_digit()) => {
                let port: u16 = port.parse().map_err(|_| fail("its port is not one"))?;
                if port == 0 {
                    return Err(fail("its port is 0"));
                }
                Some(port)
            }
            Some(_) => return Err(fail("its port is not a number")),
        };
        let host = host.parse().map_err(|inner: ParseUrlError| fail(inner.reason))?;
        Ok(Self { host, port })
    }
}

impl FromStr for Host {
    type Err = ParseUrlError;

    fn from_str(text: &str) -> Result<Self, ParseUrlError> {
        let fail = |reason| error(text, reason);
        if let Some(inner) = text.strip_prefix('[') {
            let inner = inner.strip_suffix(']').ok_or_else(|| fail("its host has no `]`"))?;
            let address: Ipv6Addr = inner.parse().map_err(|_| fail("its host is no address"))?;
            return Ok(Self::Address(IpAddr::V6(address).to_canonical()));
        }
        if !text.is_ascii() {
            return Err(fail("its host holds characters outside ASCII"));
        }
        if text.is_empty() || text.len() > MAX_NAME {
            return Err(fail("its host is empty or too long"));
        }
        if !text.split('.').all(is_label) {
            return Err(fail("its host is no name"));
        }
        // `127.1`, `0x7f000001` and `2130706433` are addresses to some programs.
        let last = text.rsplit('.').next().unwrap_or(text);
        let numeric = last.bytes().all(|byte| byte.is_ascii_digit())
            || last.get(..2).is_some_and(|begin| begin.eq_ignore_ascii_case("0x"));
        if numeric {
            let address: Ipv4Addr =
                text.parse().map_err(|_| fail("its host is neither a name nor an address"))?;
            return Ok(Self::Address(IpAddr::V4(address)));
        }
        Ok(Self::Name(text.to_ascii_lowercase()))
    }
}

fn is_label(label: &str) -> bool {
    !label.is_empty()
        && label.len() <= MAX_LABEL
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'_'))
}

fn error(text: &str, reason: &'static str) -> ParseUrlError {
    let text = text.chars().take(200).collect();
    ParseUrlError { text, reason }
}

impl fmt::Display for Host {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            Self::Name(name) => formatter.write_str(name),
            Self::Address(IpAddr::V4(address)) => write!(formatter, "{address}"),
            Self::Address(IpAddr::V6(address)) => write!(formatter, "[{address}]"),
        }
    }
}

impl fmt::Display for Authority {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}", self.host)?;
        self.port.map_or(Ok(()), |port| write!(formatter, ":{port}"))
    }
}

impl fmt::Display for Url {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}://{}{}", self.scheme.as_str(), self.authority, self.target)
    }
}

/// Serde by text.
macro_rules! by_text {
    ($($name:ident),*) => {$(
        impl TryFrom<String> for $name {
            type Error = ParseUrlError;

            fn try_from(text: String) -> Result<Self, ParseUrlError> {
                text.parse()
            }
        }

        impl From<$name> for String {
            fn from(value: $name) -> Self {
                value.to_string()
            }
        }
    )*};
}

by_text!(Host, Authority, Url);

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn accepted() {
        for (text, expected) in [
            ("https://Example.COM", "https://example.com/"),
            ("http://127.0.0.1:5000/v2/?a=b#c", "http://127.0.0.1:5000/v2/?a=b"),
            ("https://[::1]:5000/x", "https://[::1]:5000/x"),
            ("https://[::ffff:127.0.0.1]/x", "https://127.0.0.1/x"),
            ("https://a.b?x", "https://a.b/?x"),
        ] {
            assert_eq!(text.parse::<Url>().unwrap().to_string(), expected);
        }
    }

    /// Hosts that two programs could read differently.
    #[test]
    fn refused() {
        for text in [
            "",
            "example.com",
            "ftp://example.com/",
            "https://",
            "https:///x",
            "https://user@example.com/",
            "https://example.com@evil.example/",
            "https://example.com\u{3002}evil.example/",
            "https://ex\u{430}mple.com/",
            "https://example.com%2eevil/",
            "https://example.com\\@evil.example/",
            "https://example.com:0/",
            "https://example.com:99999/",
            "https://example.com:/",
            "https://example.com./",
            "https://127.1/",
            "https://2130706433/",
            "https://0x7f000001/",
            "https://0177.0.0.1/",
            "https://1.2.3.4.5/",
            "https://[::1/",
            "https://[fe80::1%25eth0]/",
            "https://a b/",
            "https://a\tb/",
            "https://example.com/\r\nX: y",
        ] {
            assert!(text.parse::<Url>().is_err(), "{text}");
        }
    }

    #[test]
    fn joined() {
        let base: Url = "https://a.example:5000/v2/x/blobs/uploads/?old=1".parse().unwrap();
        for (location, expected) in [
            ("/v2/x/y?_state=a", "https://a.example:5000/v2/x/y?_state=a"),
            ("z", "https://a.example:5000/v2/x/blobs/uploads/z"),
            ("?new=1", "https://a.example:5000/v2/x/blobs/uploads/?new=1"),
            ("//b.example/c", "https://b.example/c"),
            ("http://b.example", "http://b.example/"),
            ("/to?back=http://b.example/", "https://a.example:5000/to?back=http://b.example/"),
        ] {
            assert_eq!(base.join(location).unwrap().to_string(), expected);
        }
        let url = base.join("/u?s=1").unwrap().with_query("digest", "sha256:ab");
        assert_eq!(url.target(), "/u?s=1&digest=sha256%3Aab");
        assert!(base.same_origin(&base.join("/other").unwrap()));
        let port: Url = "https://a.example:443/".parse().unwrap();
        assert!(port.same_origin(&"https://a.example/".parse().unwrap()));
        assert!(!port.same_origin(&"http://a.example:443/".parse().unwrap()));
    }

    #[test]
    fn owners() {
        for (one, two, same) in [
            ("registry-1.docker.io", "auth.docker.io", true),
            ("registry.gitlab.com", "gitlab.com", true),
            ("a.example.com", "a.example.com", true),
            ("localhost", "localhost", true),
            ("127.0.0.1", "127.0.0.1", true),
            ("127.0.0.1", "127.0.0.2", false),
            ("localhost", "127.0.0.1", false),
            ("a.co.uk", "b.co.uk", false),
            ("r.a.co.uk", "t.a.co.uk", true),
            ("example.com", "example.org", false),
            ("example.com", "example.com.evil.org", false),
            ("docker.io", "evildocker.io", false),
            ("com", "com2", false),
        ] {
            let (first, second): (Host, Host) = (one.parse().unwrap(), two.parse().unwrap());
            assert_eq!(first.shares_owner(&second), same, "{one} {two}");
            assert_eq!(second.shares_owner(&first), same, "{two} {one}");
        }
    }
}
