//! Proxies, as the environment names them.

use std::net::IpAddr;

use serde::{Deserialize, Serialize};

use super::Network;
use crate::auth::Secret;
use crate::url::{Host, Scheme, Url};

/// Which proxy leads to which host: `HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY` and `NO_PROXY`, in
/// lower case first.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxies {
    http: Option<Proxy>,
    https: Option<Proxy>,
    exceptions: Vec<Exception>,
}

/// A proxy.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Proxy {
    /// Where it is; nothing after the port.
    pub url: Url,
    /// `user:password`, if it wants one.
    pub user: Option<Secret>,
}

/// Hosts that are spoken to directly.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Exception {
    All,
    Network(Network),
    Address(IpAddr, Option<u16>),
    /// The name and everything below it, or with `below` only that.
    Name {
        name: String,
        below: bool,
        port: Option<u16>,
    },
}

/// A variable that names no proxy.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{variable} names no proxy that Hull can use: {reason}")]
pub struct ParseProxyError {
    variable: String,
    reason: String,
}

impl Proxies {
    /// Reads them out of `variable(name)`.
    ///
    /// # Errors
    /// One of them names something else than an HTTP proxy. The value is not repeated: it may
    /// hold a password.
    pub fn read(variable: impl Fn(&str) -> Option<String>) -> Result<Self, ParseProxyError> {
        let find = |names: [&'static str; 4]| {
            names.into_iter().find_map(|name| {
                variable(name).filter(|value| !value.is_empty()).map(|value| (name, value))
            })
        };
        let proxy = |found: Option<(&'static str, String)>| {
            found.map(|(name, value)| parse_proxy(name, &value)).transpose()
        };
        // Upper-case HTTP_PROXY is what a request header becomes in CGI; only a web server sets
        // REQUEST_METHOD.
        let plain = if variable("REQUEST_METHOD").is_some() { "http_proxy" } else { "HTTP_PROXY" };
        let no_proxy = variable("no_proxy").or_else(|| variable("NO_PROXY")).unwrap_or_default();
        Ok(Self {
            http: proxy(find(["http_proxy", plain, "all_proxy", "ALL_PROXY"]))?,
            https: proxy(find(["https_proxy", "HTTPS_PROXY", "all_proxy", "ALL_PROXY"]))?,
            exceptions: no_proxy.split([',', ' ']).filter_map(parse_exception).collect(),
        })
    }

    /// The proxy to `host`, if it is not spoken to directly. This machine always is.
    pub fn proxy(&self, scheme: Scheme, host: &Host, port: u16) -> Option<&Proxy> {
        let proxy = match scheme {
            Scheme::Http => self.http.as_ref(),
            Scheme::Https => self.https.as_ref(),
        }?;
        let local = match host {
            Host::Name(name) => name == "localhost" || name.ends_with(".localhost"),
            Host::Address(address) => address.is_loopback(),
        };
        let direct = local || self.exceptions.iter().any(|known| known.is_for(host, port));
        (!direct).then_some(proxy)
    }
}

impl Exception {
    fn is_for(&self, host: &Host, port: u16) -> bool {
        let fits = |wanted: &Option<u16>| wanted.is_none_or(|wanted| wanted == port);
        match (self, host) {
            (Self::All, _) => true,
            (Self::Network(network), Host::Address(address)) => network.contains(*address),
            (Self::Address(known, wanted), Host::Address(address)) => {
                known == address && fits(wanted)
            }
            (Self::Name { name, below, port }, Host::Name(host)) => {
                let under =
                    host.strip_suffix(name.as_str()).is_some_and(|rest| rest.ends_with('.'));
                (under || (!below && host == name)) && fits(port)
            }
            _ => false,
        }
    }
}

fn parse_proxy(variable: &str, value: &str) -> Result<Proxy, ParseProxyError> {
    let fail = |reason: String| ParseProxyError { variable: variable.to_owned(), reason };
    let (scheme, rest) = value.split_once("://").unwrap_or(("http", value));
    if scheme.starts_with("socks") {
        return Err(fail(
            "it is a SOCKS proxy; only http:// and https:// are supported".to_owned(),
        ));
    }
    let (user, address) = match rest.rsplit_once('@') {
        Some((user, address)) => (Some(Secret::new(decoded(user))), address),
        None => (None, rest),
    };
    let url: Url =
        format!("{scheme}://{address}").parse().map_err(|_| fail("it is no address".to_owned()))?;
    let url = Url::new(url.scheme(), url.authority().clone(), "/");
    Ok(Proxy { url, user })
}

/// With `%41` as `A`.
fn decoded(text: &str) -> String {
    let mut bytes = Vec::new();
    let mut rest = text.as_bytes();
    while let [first, after @ ..] = rest {
        let pair = (*first == b'%')
            .then(|| after.get(..2).and_then(|pair| std::str::from_utf8(pair).ok()))
            .flatten()
            .and_then(|pair| u8::from_str_radix(pair, 16).ok());
        bytes.push(pair.unwrap_or(*first));
        rest = if pair.is_some() { &after[2..] } else { after };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn parse_exception(text: &str) -> Option<Exception> {
    let text = text.trim().to_ascii_lowercase();
    if text.is_empty() {
        return None;
    }
    if text == "*" {
        return Some(Exception::All);
    }
    if let Ok(network) = text.parse() {
        return Some(Exception::Network(network));
    }
    if let Ok(address) = text.trim_matches(['[', ']']).parse::<IpAddr>() {
        return Some(Exception::Address(address.to_canonical(), None));
    }
    let (host, port) = match text.rsplit_once(':') {
        Some((host, port)) => (host, Some(port.parse().ok()?)),
        None => (text.as_str(), None),
    };
    if let Ok(Host::Address(address)) = host.parse() {
        return Some(Exception::Address(address, port));
    }
    let name = host.strip_prefix('*').unwrap_or(host);
    let below = name.starts_with('.');
    Some(Exception::Name { name: name.trim_start_matches('.').to_owned(), below, port })
}

#[cfg(test)]
mod tests {
    use super::*;

    fn proxies(variables: &[(&str, &str)]) -> Result<Proxies, ParseProxyError> {
        Proxies::read(|name| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        })
    }

    #[test]
    fn which() {
        let proxies = proxies(&[
            ("https_proxy", "http://us%40er:p%3Aw@proxy.example:3128/"),
            ("HTTP_PROXY", "proxy2.example:8080"),
            ("NO_PROXY", "10.0.0.0/8, .lan,example.org:5000,*.star.example,192.0.2.7"),
        ])
        .unwrap();
        let through = |host: &str, port| {
            let proxy = proxies.proxy(Scheme::Https, &host.parse().unwrap(), port);
            proxy.is_some()
        };
        assert!(through("registry.example", 443));
        for (host, port) in [
            ("10.1.2.3", 443),
            ("a.lan", 443),
            ("example.org", 5000),
            ("sub.example.org", 5000),
            ("a.star.example", 1),
            ("192.0.2.7", 5000),
            ("127.0.0.1", 5000),
            ("[::1]", 5000),
            ("localhost", 5000),
        ] {
            assert!(!through(host, port), "{host}");
        }
        for (host, port) in [("11.1.2.3", 443), ("lan", 443), ("example.org", 443)] {
            assert!(through(host, port), "{host}");
        }
        let https = proxies.https.unwrap();
        assert_eq!(https.user.unwrap().reveal(), "us@er:p:w");
        assert_eq!(https.url.to_string(), "http://proxy.example:3128/");
        assert_eq!(proxies.http.unwrap().url.to_string(), "http://proxy2.example:8080/");
    }

    #[test]
    fn unusable() {
        let error = proxies(&[("ALL_PROXY", "socks5://u:secret@p:1")]).unwrap_err();
        assert!(!error.to_string().contains("secret"));
        assert!(proxies(&[("https_proxy", "http://a b")]).is_err());
        let cgi = proxies(&[("REQUEST_METHOD", "GET"), ("HTTP_PROXY", "http://p:1")]).unwrap();
        assert_eq!(cgi, Proxies::default());
    }
}
