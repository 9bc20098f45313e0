//! `registries.toml`: what the operator says about registries.
//!
//! Every key and what it means: `examples/registries.toml`.
//!
//! Of Docker's `daemon.json` the keys `registry-mirrors` and `insecure-registries` are read too.

use std::collections::BTreeMap;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use serde::{Deserialize, Serialize};

use super::Network;
use crate::url::{Authority, Host, Scheme, Url};

/// The registry that Docker's own `registry-mirrors` are for.
const DOCKER_HUB: &str = "docker.io";

const EVERY: &str = "*";

const DEFAULT_STALL: u64 = 30;
const DEFAULT_ATTEMPTS: u32 = 6;

/// Mirrors, certificates and exceptions of every registry.
#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct Registries {
    offline: bool,
    insecure: Vec<Insecure>,
    stall: u64,
    attempts: u32,
    registries: BTreeMap<String, Registry>,
}

/// What is said about one registry.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
struct Registry {
    mirrors: Vec<Url>,
    realms: Vec<Host>,
    #[serde(default)]
    foreign_layers: Vec<Host>,
    blocked: bool,
    certificates: Certificates,
}

/// Files with certificates for one host.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct Certificates {
    /// Authorities to trust beside the system's, PEM.
    pub authorities: Option<PathBuf>,
    /// Our own certificate chain and its key, PEM.
    pub client: Option<(PathBuf, PathBuf)>,
}

#[derive(Debug, Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Insecure {
    Network(Network),
    Host(Authority),
}

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ParseRegistriesError {
    /// Not TOML, or an unknown key.
    #[error("registries.toml cannot be read: {0}")]
    Toml(String),
    /// Not JSON, or a key of the wrong type.
    #[error("daemon.json cannot be read")]
    Json(#[source] serde_json::Error),
    /// A value that is none.
    #[error("{key}: {reason}")]
    Value {
        /// Where it is.
        key: String,
        /// What is wrong.
        reason: String,
    },
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawRegistries {
    offline: Option<bool>,
    insecure: Option<Vec<String>>,
    stall_timeout: Option<u64>,
    attempts: Option<u32>,
    registry: Option<BTreeMap<String, RawRegistry>>,
}

#[derive(Deserialize)]
#[serde(rename_all = "kebab-case", deny_unknown_fields)]
struct RawRegistry {
    mirrors: Option<Vec<String>>,
    realms: Option<Vec<String>>,
    foreign_layers: Option<Vec<String>>,
    blocked: Option<bool>,
    ca: Option<PathBuf>,
    client_certificate: Option<PathBuf>,
    client_key: Option<PathBuf>,
}

/// The keys of Docker's file that mean something here; it has many others.
#[derive(Deserialize)]
#[serde(rename_all = "kebab-case")]
struct RawDocker {
    registry_mirrors: Option<Vec<String>>,
    insecure_registries: Option<Vec<String>>,
}

impl Default for Registries {
    fn default() -> Self {
        Self {
            offline: false,
            insecure: Vec::new(),
            stall: DEFAULT_STALL,
            attempts: DEFAULT_ATTEMPTS,
            registries: BTreeMap::new(),
        }
    }
}

impl Registries {
    /// Reads the text of a `registries.toml`.
    ///
    /// # Errors
    /// Not TOML, an unknown key, or a value that is none.
    pub fn parse(text: &str) -> Result<Self, ParseRegistriesError> {
        let raw: RawRegistries = toml::from_str(text)
            .map_err(|error| ParseRegistriesError::Toml(error.to_string().trim().to_owned()))?;
        let mut registries = BTreeMap::new();
        for (name, raw) in raw.registry.unwrap_or_default() {
            let known = registry(&name, raw)?;
            registries.insert(name, known);
        }
        let mut insecure = insecure("insecure", raw.insecure)?;
        for mirror in registries.values().flat_map(|known| &known.mirrors) {
            insecure.extend(in_the_clear(mirror));
        }
        let attempts = raw.attempts.unwrap_or(DEFAULT_ATTEMPTS);
        let stall = raw.stall_timeout.unwrap_or(DEFAULT_STALL);
        if attempts == 0 || stall == 0 {
            return Err(value("attempts, stall-timeout", "both are at least 1"));
        }
        Ok(Self { offline: raw.offline.unwrap_or(false), insecure, stall, attempts, registries })
    }

    /// Adds what a Docker `daemon.json` says: its mirrors after those that are there.
    ///
    /// # Errors
    /// Not JSON, or a value that is none.
    pub fn add_docker(&mut self, text: &str) -> Result<(), ParseRegistriesError> {
        let raw: RawDocker = serde_json::from_str(text).map_err(ParseRegistriesError::Json)?;
        let mirrors = urls("registry-mirrors", raw.registry_mirrors)?;
        self.insecure.extend(insecure("insecure-registries", raw.insecure_registries)?);
        self.insecure.extend(mirrors.iter().filter_map(in_the_clear));
        if !mirrors.is_empty() {
            self.registries.entry(DOCKER_HUB.to_owned()).or_default().mirrors.extend(mirrors);
        }
        Ok(())
    }

    /// Treats a registry as one of the `insecure` list.
    ///
    /// # Errors
    /// A name that is none.
    pub fn add_insecure(&mut self, registry: &str) -> Result<(), ParseRegistriesError> {
        self.insecure.extend(insecure("insecure", Some(vec![registry.to_owned()]))?);
        Ok(())
    }

    /// Whether everything that needs a network is refused.
    pub fn offline(&self) -> bool {
        self.offline
    }

    /// How long a connection may be silent.
    pub fn stall(&self) -> Duration {
        Duration::from_secs(self.stall)
    }

    /// How often something is tried in a row without any progress; at least once.
    pub fn attempts(&self) -> u32 {
        self.attempts
    }

    /// Whether nothing may be pulled from this registry or pushed to it.
    pub fn blocked(&self, registry: &str) -> bool {
        self.registries.get(registry).is_some_and(|known| known.blocked)
    }

    /// The mirrors of a registry, in the order they are tried.
    pub fn mirrors(&self, registry: &str) -> impl Iterator<Item = &Url> {
        [registry, EVERY]
            .into_iter()
            .filter_map(|name| self.registries.get(name))
            .flat_map(|known| &known.mirrors)
    }

    /// Token servers that may be sent the credentials of this registry.
    pub fn realms(&self, registry: &str) -> &[Host] {
        self.registries.get(registry).map_or(&[], |known| &known.realms)
    }

    /// Hosts that layers may come from which this registry's images have elsewhere.
    pub fn foreign_layers(&self, registry: &str) -> &[Host] {
        self.registries.get(registry).map_or(&[], |known| &known.foreign_layers)
    }

    /// Whether the operator listed this host by its name.
    pub fn insecure_name(&self, host: &Host, port: u16) -> bool {
        self.insecure.iter().any(|known| match known {
            Insecure::Host(known) => {
                known.host == *host && known.port.is_none_or(|known| known == port)
            }
            Insecure::Network(_) => false,
        })
    }

    /// Whether the address that was dialled is one of this machine or in a listed range.
    pub fn insecure_address(&self, address: IpAddr) -> bool {
        let address = address.to_canonical();
        address.is_loopback()
            || self.insecure.iter().any(|known| match known {
                Insecure::Network(network) => network.contains(address),
                Insecure::Host(known) => known.host == Host::Address(address),
            })
    }

    /// Certificate files by host.
    pub fn certificates(&self) -> impl Iterator<Item = (&str, &Certificates)> {
        let none = Certificates::default();
        self.registries
            .iter()
            .map(|(name, known)| (name.as_str(), &known.certificates))
            .filter(move |(_, certificates)| **certificates != none)
    }
}

fn registry(name: &str, raw: RawRegistry) -> Result<Registry, ParseRegistriesError> {
    let key = |field: &str| format!("registry.\"{name}\".{field}");
    if name != EVERY {
        name.parse::<Authority>().map_err(|error| value(&format!("registry.\"{name}\""), error))?;
    }
    let hosts = |field: &str, raw: Option<Vec<String>>| -> Result<Vec<Host>, _> {
        let parse = |text: String| text.parse().map_err(|error| value(&key(field), error));
        raw.unwrap_or_default().into_iter().map(parse).collect()
    };
    let realms = hosts("realms", raw.realms)?;
    let foreign_layers = hosts("foreign-layers", raw.foreign_layers)?;
    let client = match (raw.client_certificate, raw.client_key) {
        (None, None) => None,
        (Some(certificate), Some(key)) => Some((certificate, key)),
        _ => {
            let both = "client-certificate and client-key belong together";
            return Err(value(&key("client-certificate"), both));
        }
    };
    let paths = raw.ca.iter().chain(client.iter().flat_map(|(one, two)| [one, two]));
    if let Some(relative) = paths.map(PathBuf::as_path).find(|path| !Path::is_absolute(path)) {
        let reason = format!("{} is not an absolute path", relative.display());
        return Err(value(&key("ca"), reason));
    }
    Ok(Registry {
        mirrors: urls(&key("mirrors"), raw.mirrors)?,
        realms,
        foreign_layers,
        blocked: raw.blocked.unwrap_or(false),
        certificates: Certificates { authorities: raw.ca, client },
    })
}

/// Who names a mirror with `http://` has said that it is spoken to without TLS.
fn in_the_clear(mirror: &Url) -> Option<Insecure> {
    (mirror.scheme() == Scheme::Http).then(|| Insecure::Host(mirror.authority().clone()))
}

fn urls(key: &str, texts: Option<Vec<String>>) -> Result<Vec<Url>, ParseRegistriesError> {
    let parse = |text: String| {
        let url: Url = text.parse().map_err(|error| value(key, error))?;
        if url.target().contains('?') {
            return Err(value(key, format!("a mirror has no query: {text:?}")));
        }
        let path = url.path().trim_end_matches('/').to_owned();
        let path = if path.is_empty() { "/".to_owned() } else { path };
        Ok(Url::new(url.scheme(), url.authority().clone(), path))
    };
    texts.unwrap_or_default().into_iter().map(parse).collect()
}

fn insecure(key: &str, texts: Option<Vec<String>>) -> Result<Vec<Insecure>, ParseRegistriesError> {
    let parse = |text: String| {
        if let Ok(network) = text.parse() {
            return Ok(Insecure::Network(network));
        }
        text.parse().map(Insecure::Host).map_err(|error| value(key, error))
    };
    texts.unwrap_or_default().into_iter().map(parse).collect()
}

fn value(key: &str, reason: impl std::fmt::Display) -> ParseRegistriesError {
    ParseRegistriesError::Value { key: key.to_owned(), reason: format!("{reason}") }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn what_is_documented_is_understood() {
        let text = include_str!("../../../../examples/registries.toml");
        let registries = Registries::parse(text).unwrap();
        assert!(!registries.offline() && registries.blocked("docker.io"));
        assert_eq!(registries.stall(), Duration::from_secs(DEFAULT_STALL));
        assert_eq!(registries.attempts(), DEFAULT_ATTEMPTS);
        let mirrors: Vec<String> =
            registries.mirrors("other.example").map(|url| url.authority().to_string()).collect();
        assert_eq!(mirrors, ["cache.example"]);
    }

    const WHOLE: &str = r#"
        offline = true
        insecure = ["lab.example:5000", "10.0.0.0/8", "bare.example", "192.0.2.9"]
        stall-timeout = 5
        attempts = 2
        [registry."docker.io"]
        mirrors = ["https://mirror.example/hub/", "http://127.0.0.1:5000"]
        realms = ["login.example.org"]
        [registry."registry.example:5000"]
        ca = "/ca.pem"
        client-certificate = "/client.pem"
        client-key = "/client.key"
        blocked = true
        [registry."*"]
        mirrors = ["https://cache.example"]
    "#;

    #[test]
    fn read() {
        let mut registries = Registries::parse(WHOLE).unwrap();
        registries
            .add_docker(
                r#"{"registry-mirrors": ["https://second.example/"],
                    "insecure-registries": ["172.16.0.0/12"], "debug": true}"#,
            )
            .unwrap();
        let mirrors = |registry: &str| {
            let mirrors = registries.mirrors(registry).map(|url| url.authority().to_string());
            mirrors.collect::<Vec<_>>()
        };
        assert_eq!(
            mirrors("docker.io"),
            ["mirror.example", "127.0.0.1:5000", "second.example", "cache.example"]
        );
        assert_eq!(mirrors("quay.io"), ["cache.example"]);
        assert!(registries.blocked("registry.example:5000"));
        assert!(registries.offline());
        let name = |text: &str, port| registries.insecure_name(&text.parse().unwrap(), port);
        assert!(name("lab.example", 5000) && !name("lab.example", 443));
        assert!(name("bare.example", 1) && !name("x.bare.example", 1));
        let address = |text: &str| registries.insecure_address(text.parse().unwrap());
        for insecure in ["10.1.1.1", "172.17.0.1", "127.9.9.9", "::1", "192.0.2.9"] {
            assert!(address(insecure), "{insecure}");
        }
        assert!(!address("8.8.8.8") && !address("fe80::1"));
        assert_eq!(registries.certificates().count(), 1);
        let again = serde_json::to_string(&registries).unwrap();
        assert_eq!(serde_json::from_str::<Registries>(&again).unwrap(), registries);
    }

    #[test]
    fn refused() {
        for (text, says) in [
            ("mirror = []", "unknown field"),
            ("[registry.\"a.example\"]\nmirors = []", "unknown field"),
            ("insecure = [\"a b\"]", "insecure"),
            ("attempts = 0", "at least 1"),
            ("[registry.\"a.example\"]\nmirrors = [\"mirror.example\"]", "no scheme"),
            ("[registry.\"a.example\"]\nmirrors = [\"https://m.example/?x\"]", "no query"),
            ("[registry.\"a/b\"]\nblocked = true", "no name"),
            ("[registry.\"a.example\"]\nclient-key = \"/k\"", "belong together"),
            ("[registry.\"a.example\"]\nca = \"k\"", "absolute"),
            ("offline = 1", "invalid type"),
            ("[", "registries.toml"),
        ] {
            let error = Registries::parse(text).unwrap_err().to_string();
            assert!(error.contains(says), "{text}: {error}");
        }
        assert!(Registries::default().add_docker("[]").is_err());
        assert_eq!(Registries::parse("").unwrap(), Registries::default());
    }
}
