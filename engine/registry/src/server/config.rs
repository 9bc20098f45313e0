//! What the operator says: `registry.toml`.
//!
//! Every key and what it means: `examples/registry.toml`.
//!
//! Where there are no rules: with users, every user may do everything and nobody else anything;
//! without, everybody may do everything on a loopback address and pull on any other.

use std::net::{SocketAddr, ToSocketAddrs as _};
use std::path::PathBuf;
use std::time::Duration;

use serde::Deserialize;

use super::access::{Action, Glob, Rule, Who};

/// A configuration that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum ConfigError {
    /// It is no TOML, or has a key that is not known.
    #[error("line {line} of the configuration cannot be read: {reason}")]
    Parse {
        /// Its number, from 1.
        line: usize,
        /// What is wrong.
        reason: String,
    },
    /// A value that cannot be one.
    #[error("{key}: {reason}")]
    Value {
        /// Which key.
        key: &'static str,
        /// What is wrong.
        reason: String,
    },
}

/// The configuration as it is written.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawConfig {
    /// Where to listen.
    pub addr: Option<String>,
    /// Its name in the store.
    pub name: Option<String>,
    /// How clients reach it.
    pub url: Option<String>,
    /// The users.
    pub htpasswd: Option<PathBuf>,
    challenge: Option<Challenge>,
    plain_passwords: Option<bool>,
    sparse_indexes: Option<bool>,
    metrics: Option<MetricsFor>,
    page: Option<bool>,
    /// Certificate and key.
    #[serde(default)]
    pub tls: RawTls,
    #[serde(default, rename = "rule")]
    rules: Vec<RawRule>,
    #[serde(default)]
    quota: RawQuota,
    #[serde(default)]
    limits: RawLimits,
    #[serde(default)]
    collect: RawCollect,
    #[serde(default)]
    retention: Vec<RawRetention>,
    #[serde(default, rename = "mirror")]
    mirrors: Vec<RawMirror>,
    #[serde(default)]
    scrub: RawScrub,
}

/// Paths of PEM files.
#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RawTls {
    /// The certificate chain.
    pub cert: Option<PathBuf>,
    /// Its key.
    pub key: Option<PathBuf>,
    client_ca: Option<PathBuf>,
}

#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
enum Challenge {
    Bearer,
    Basic,
}

/// Who may read `/metrics`.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Deserialize)]
#[serde(rename_all = "kebab-case")]
pub enum MetricsFor {
    /// Nobody: there are none.
    Nobody,
    /// Clients on this host.
    ThisHost,
    /// Everybody.
    Everyone,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRule {
    repositories: Vec<String>,
    users: Vec<String>,
    allow: Vec<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawQuota {
    repositories: Option<u64>,
    repository_bytes: Option<Number>,
    bytes: Option<Number>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawLimits {
    requests_per_second: Option<f64>,
    burst: Option<f64>,
    connections: Option<usize>,
    connections_per_client: Option<usize>,
    upload: Option<Number>,
    stall: Option<String>,
    grace: Option<String>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawCollect {
    interval: Option<String>,
    uploads: Option<String>,
    untagged: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawRetention {
    repositories: Vec<String>,
    keep_last: Option<usize>,
    #[serde(default)]
    keep: Vec<String>,
    max_age: Option<String>,
}

#[derive(Debug, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawMirror {
    prefix: String,
    upstream: String,
    refresh: Option<String>,
    username: Option<String>,
    password_file: Option<PathBuf>,
}

#[derive(Debug, Default, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawScrub {
    interval: Option<String>,
    bytes_per_second: Option<Number>,
}

/// A number of bytes: plain, or with a unit.
#[derive(Debug, Deserialize)]
#[serde(untagged)]
enum Number {
    Plain(u64),
    Text(String),
}

/// The configuration, checked.
#[derive(Debug, Clone)]
pub struct Config {
    /// Where to listen.
    pub address: SocketAddr,
    /// Registry part of its repositories' references in the store.
    pub name: String,
    /// How clients reach it, without a `/` at its end; as their `Host` says where absent.
    pub url: Option<String>,
    /// The users; everybody is anonymous where absent.
    pub htpasswd: Option<PathBuf>,
    /// Ask for tokens, not for passwords with every request.
    pub offers_tokens: bool,
    /// Certificates; plain HTTP where absent.
    pub tls: Option<Tls>,
    /// Who may do what.
    pub rules: Vec<Rule>,
    /// Take indexes that list what was not pushed.
    pub sparse_indexes: bool,
    /// Who may read `/metrics`.
    pub metrics: MetricsFor,
    /// Show repositories to people.
    pub page: bool,
    /// What may be kept.
    pub quota: Quota,
    /// What clients may do.
    pub limits: Limits,
    /// When garbage goes.
    pub collect: Collect,
    /// Which tags stay.
    pub retention: Vec<Retention>,
    /// What is fetched from other registries.
    pub mirrors: Vec<Mirror>,
    /// When everything is read again; never where absent.
    pub scrub: Option<Scrub>,
}

/// Paths of PEM files.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Tls {
    /// The certificate chain, the server's own first.
    pub cert: PathBuf,
    /// Its key.
    pub key: PathBuf,
    /// Only clients with a certificate of these authorities.
    pub client_ca: Option<PathBuf>,
}

/// What may be kept.
#[derive(Debug, Clone, Copy, Default, PartialEq, Eq)]
pub struct Quota {
    /// Repositories.
    pub repositories: Option<u64>,
    /// Bytes of one repository.
    pub repository_bytes: Option<u64>,
    /// Bytes of all repositories, each by itself.
    pub bytes: Option<u64>,
}

/// What clients may do.
#[derive(Debug, Clone, PartialEq)]
pub struct Limits {
    /// Requests a second and at once, of one client.
    pub requests: Option<(f64, f64)>,
    /// Connections at once.
    pub connections: usize,
    /// Connections at once, of one client.
    pub connections_per_client: usize,
    /// Bytes of the largest blob.
    pub upload: u64,
    /// A client that sends or takes nothing for so long is given up.
    pub stall: Duration,
    /// For requests at work when the server is told to stop.
    pub grace: Duration,
}

/// When garbage goes.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Collect {
    /// Between two collections; never where absent.
    pub interval: Option<Duration>,
    /// Age of the last byte of uploads that are removed.
    pub uploads: Duration,
    /// Age of manifests without tag that are removed; never where absent.
    pub untagged: Option<Duration>,
}

/// Which tags stay.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Retention {
    /// Repositories it is about.
    pub repositories: Vec<Glob>,
    /// The latest so many stay.
    pub keep_last: Option<usize>,
    /// Tags that stay always.
    pub keep: Vec<Glob>,
    /// Older ones go.
    pub max_age: Option<Duration>,
}

/// Repositories of another registry.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Mirror {
    /// First part of their names here.
    pub prefix: String,
    /// The registry they are of.
    pub upstream: String,
    /// How long what a tag names is believed.
    pub refresh: Duration,
    /// A user there, and the file with the password.
    pub login: Option<(String, PathBuf)>,
}

/// How everything is read again.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Scrub {
    /// Between the ends of two readings.
    pub interval: Duration,
    /// How fast.
    pub bytes_per_second: u64,
}

impl RawConfig {
    /// Reads the text of a `registry.toml`.
    ///
    /// # Errors
    /// It is no TOML, or has a key that is not known.
    pub fn parse(text: &str) -> Result<Self, ConfigError> {
        toml::from_str(text).map_err(|error| {
            let begin = error.span().map_or(0, |span| span.start.min(text.len()));
            let line = text.as_bytes()[..begin].iter().filter(|byte| **byte == b'\n').count() + 1;
            let reason = error.message().lines().next().unwrap_or_default().to_owned();
            ConfigError::Parse { line, reason }
        })
    }

    /// Checks it.
    ///
    /// # Errors
    /// A value cannot be one, or would send passwords over a network for all to read.
    pub fn check(self) -> Result<Config, ConfigError> {
        let addr = self.addr.unwrap_or_else(|| "127.0.0.1:5000".to_owned());
        let address = address(&addr)?;
        let name = self.name.unwrap_or_else(|| name_of(&addr, address));
        if hull_oci::Reference::from_parts(&name, "x").is_err() {
            return Err(wrong("name", format!("{name:?} cannot be the registry of a reference")));
        }
        let tls = tls(self.tls)?;
        let users = self.htpasswd.is_some();
        let loopback = address.ip().is_loopback();
        if users && tls.is_none() && !loopback && !self.plain_passwords.unwrap_or(false) {
            let reason = "passwords would cross the network for all to read: give --tls-cert and \
                          --tls-key, or plain_passwords = true where a proxy does TLS";
            return Err(wrong("htpasswd", reason));
        }
        let mut rules = Vec::new();
        for raw in &self.rules {
            rules.push(rule(raw)?);
        }
        if rules.is_empty() {
            rules.push(default_rule(users, loopback));
        }
        let retention = self.retention.into_iter().map(retention).collect::<Result<Vec<_>, _>>()?;
        let url = self.url.map(|url| url.trim_end_matches('/').to_owned());
        Ok(Config {
            address,
            name,
            url,
            htpasswd: self.htpasswd,
            offers_tokens: self.challenge != Some(Challenge::Basic),
            tls,
            rules,
            sparse_indexes: self.sparse_indexes.unwrap_or(false),
            metrics: self.metrics.unwrap_or(MetricsFor::ThisHost),
            page: self.page.unwrap_or(true),
            quota: quota(&self.quota)?,
            limits: limits(&self.limits)?,
            collect: collect(&self.collect)?,
            retention,
            mirrors: self.mirrors.into_iter().map(mirror).collect::<Result<_, _>>()?,
            scrub: scrub(&self.scrub)?,
        })
    }
}

fn wrong(key: &'static str, reason: impl Into<String>) -> ConfigError {
    ConfigError::Value { key, reason: reason.into() }
}

fn address(text: &str) -> Result<SocketAddr, ConfigError> {
    let text = if text.starts_with(':') { format!("0.0.0.0{text}") } else { text.to_owned() };
    let fail = |reason: String| wrong("addr", format!("{text:?} cannot be listened on: {reason}"));
    let mut found = text.to_socket_addrs().map_err(|error| fail(error.to_string()))?;
    found.next().ok_or_else(|| fail("it has no address".to_owned()))
}

/// The name that clients on this host use.
fn name_of(text: &str, address: SocketAddr) -> String {
    if address.ip().is_unspecified() || address.ip().is_loopback() {
        let host = text.rsplit_once(':').map_or("", |(host, _)| host);
        if host.bytes().any(|byte| byte.is_ascii_alphabetic()) {
            return text.to_owned();
        }
        return format!("localhost:{}", address.port());
    }
    text.to_owned()
}

fn tls(raw: RawTls) -> Result<Option<Tls>, ConfigError> {
    match (raw.cert, raw.key) {
        (None, None) if raw.client_ca.is_none() => Ok(None),
        (Some(cert), Some(key)) => Ok(Some(Tls { cert, key, client_ca: raw.client_ca })),
        _ => Err(wrong("tls", "it needs both, a certificate and its key")),
    }
}

fn default_rule(users: bool, loopback: bool) -> Rule {
    let (who, actions) = match (users, loopback) {
        (true, _) => (Who::Users, Action::ALL.to_vec()),
        (false, true) => (Who::Everyone, Action::ALL.to_vec()),
        (false, false) => (Who::Everyone, vec![Action::Pull]),
    };
    Rule { repositories: vec![Glob::new("**")], who: vec![who], actions }
}

fn rule(raw: &RawRule) -> Result<Rule, ConfigError> {
    let action = |word: &String| {
        let unknown = || format!("allow: {word:?} is none of pull, push, delete");
        Action::parse(word).ok_or_else(|| wrong("rule", unknown()))
    };
    let who = |word: &String| match word.as_str() {
        "*" => Who::Users,
        "anonymous" => Who::Everyone,
        name => Who::User(name.to_owned()),
    };
    Ok(Rule {
        repositories: raw.repositories.iter().map(Glob::new).collect(),
        who: raw.users.iter().map(who).collect(),
        actions: raw.allow.iter().map(action).collect::<Result<_, _>>()?,
    })
}

fn quota(raw: &RawQuota) -> Result<Quota, ConfigError> {
    let bytes =
        |number: &Option<Number>| number.as_ref().map(|number| bytes("quota", number)).transpose();
    Ok(Quota {
        repositories: raw.repositories,
        repository_bytes: bytes(&raw.repository_bytes)?,
        bytes: bytes(&raw.bytes)?,
    })
}

fn limits(raw: &RawLimits) -> Result<Limits, ConfigError> {
    let requests = match (raw.requests_per_second, raw.burst) {
        (None, None) => None,
        (None, Some(_)) => return Err(wrong("limits", "burst without requests_per_second")),
        (Some(rate), burst) => {
            let burst = burst.unwrap_or(rate * 4.0);
            if !(rate.is_finite() && rate > 0.0 && burst.is_finite() && burst >= 1.0) {
                return Err(wrong("limits", "requests_per_second and burst must be above zero"));
            }
            Some((rate, burst))
        }
    };
    let time = |text: &Option<String>, default: u64| match text {
        None => Ok(Duration::from_secs(default)),
        Some(text) => duration("limits", text),
    };
    let stall = time(&raw.stall, 60)?;
    if stall.is_zero() || raw.connections == Some(0) || raw.connections_per_client == Some(0) {
        return Err(wrong("limits", "stall and connections must be above zero"));
    }
    Ok(Limits {
        requests,
        connections: raw.connections.unwrap_or(1024),
        connections_per_client: raw.connections_per_client.unwrap_or(128),
        upload: raw.upload.as_ref().map_or(Ok(100 << 30), |number| bytes("limits", number))?,
        stall,
        grace: time(&raw.grace, 10)?,
    })
}

fn collect(raw: &RawCollect) -> Result<Collect, ConfigError> {
    let time = |text: &Option<String>, default: u64| match text {
        None => Ok(Duration::from_secs(default)),
        Some(text) => duration("collect", text),
    };
    let unless_zero = |time: Duration| (!time.is_zero()).then_some(time);
    Ok(Collect {
        interval: unless_zero(time(&raw.interval, 60 * 60)?),
        uploads: time(&raw.uploads, 24 * 60 * 60)?,
        untagged: unless_zero(time(&raw.untagged, 30 * 24 * 60 * 60)?),
    })
}

fn retention(raw: RawRetention) -> Result<Retention, ConfigError> {
    if raw.keep_last.is_none() && raw.max_age.is_none() {
        return Err(wrong("retention", "it needs keep_last or max_age"));
    }
    let max_age = raw.max_age.map(|text| duration("retention", &text)).transpose()?;
    Ok(Retention {
        repositories: raw.repositories.into_iter().map(Glob::new).collect(),
        keep_last: raw.keep_last,
        keep: raw.keep.into_iter().map(Glob::new).collect(),
        max_age,
    })
}

fn mirror(raw: RawMirror) -> Result<Mirror, ConfigError> {
    for (registry, repository, text) in [
        ("registry.invalid", raw.prefix.as_str(), &raw.prefix),
        (&raw.upstream, "x/x", &raw.upstream),
    ] {
        if hull_oci::Reference::from_parts(registry, repository).is_err() {
            return Err(wrong("mirror", format!("{text:?} cannot be a part of a reference")));
        }
    }
    let login = match (raw.username, raw.password_file) {
        (None, None) => None,
        (Some(user), Some(file)) => Some((user, file)),
        _ => return Err(wrong("mirror", "it needs both, username and password_file")),
    };
    let refresh =
        raw.refresh.map_or(Ok(Duration::from_secs(300)), |text| duration("mirror", &text))?;
    Ok(Mirror { prefix: raw.prefix, upstream: raw.upstream, refresh, login })
}

fn scrub(raw: &RawScrub) -> Result<Option<Scrub>, ConfigError> {
    let week = Duration::from_secs(7 * 24 * 60 * 60);
    let interval = raw.interval.as_ref().map_or(Ok(week), |text| duration("scrub", text))?;
    let rate = raw.bytes_per_second.as_ref().map_or(Ok(50 << 20), |n| bytes("scrub", n))?;
    if rate == 0 {
        return Err(wrong("scrub", "bytes_per_second must be above zero"));
    }
    Ok((!interval.is_zero()).then_some(Scrub { interval, bytes_per_second: rate }))
}

/// `90s`, `15m`, `24h`, `30d`.
fn duration(key: &'static str, text: &str) -> Result<Duration, ConfigError> {
    let unknown = || wrong(key, format!("{text:?} is no time such as 90s, 15m, 24h or 30d"));
    let place = text.find(|character: char| !character.is_ascii_digit()).ok_or_else(unknown)?;
    let number: u64 = text[..place].parse().map_err(|_| unknown())?;
    match &text[place..] {
        "ms" => Ok(Duration::from_millis(number)),
        "s" => Ok(Duration::from_secs(number)),
        "m" => Ok(Duration::from_secs(number.saturating_mul(60))),
        "h" => Ok(Duration::from_secs(number.saturating_mul(60 * 60))),
        "d" => Ok(Duration::from_secs(number.saturating_mul(24 * 60 * 60))),
        _ => Err(unknown()),
    }
}

/// `1000`, `10MB`, `2GiB`; MB and MiB are the same, as Docker has it.
fn bytes(key: &'static str, number: &Number) -> Result<u64, ConfigError> {
    let text = match number {
        Number::Plain(number) => return Ok(*number),
        Number::Text(text) => text,
    };
    let unknown = || wrong(key, format!("{text:?} is no size such as 500MB or 10GB"));
    let place = text.find(|character: char| !character.is_ascii_digit()).unwrap_or(text.len());
    let number: u64 = text[..place].parse().map_err(|_| unknown())?;
    let shift = match text[place..].trim().to_ascii_lowercase().as_str() {
        "" | "b" => 0,
        "k" | "kb" | "kib" => 10,
        "m" | "mb" | "mib" => 20,
        "g" | "gb" | "gib" => 30,
        "t" | "tb" | "tib" => 40,
        _ => return Err(unknown()),
    };
    number.checked_mul(1 << shift).ok_or_else(unknown)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn read(text: &str) -> Result<Config, ConfigError> {
        RawConfig::parse(text)?.check()
    }

    #[test]
    fn what_is_documented_is_understood() {
        let text = include_str!("../../../../examples/registry.toml");
        let config = read(text).unwrap();
        assert_eq!(config.name, "localhost:5000");
        assert_eq!(config.quota.bytes, Some(100 << 30));
        assert_eq!(config.retention[0].max_age, Some(Duration::from_secs(2160 * 3600)));
        assert!(config.rules[0].allows(Some("bob"), "team/a/b", Action::Delete));
        assert!(!config.rules[0].allows(Some("eve"), "team/a/b", Action::Pull));
    }

    #[test]
    fn what_is_said_by_nobody() {
        let config = read("").unwrap();
        assert_eq!((config.address.port(), config.name.as_str()), (5000, "localhost:5000"));
        assert!(config.rules[0].allows(None, "x", Action::Push), "loopback");
        let open = read("addr = \"0.0.0.0:80\"").unwrap();
        assert!(open.rules[0].allows(None, "x", Action::Pull));
        assert!(!open.rules[0].allows(None, "x", Action::Push));
        let users = read("htpasswd = \"x\"").unwrap();
        assert!(!users.rules[0].allows(None, "x", Action::Pull));
        assert_eq!(read("addr = \"[::1]:7\"").unwrap().name, "localhost:7");
    }

    #[test]
    fn refused() {
        for (text, part) in [
            ("colour = 1", "cannot be read"),
            ("addr = \"nowhere\"", "addr"),
            ("name = \"a/b\"", "name"),
            ("addr = \"0.0.0.0:80\"\nhtpasswd = \"x\"", "for all to read"),
            ("[tls]\ncert = \"x\"", "both"),
            ("[[rule]]\nrepositories = []\nusers = []\nallow = [\"fly\"]", "fly"),
            ("[[retention]]\nrepositories = [\"**\"]", "keep_last or max_age"),
            ("[limits]\nstall = \"soon\"", "soon"),
            ("[limits]\nupload = \"9999999999TB\"", "9999999999TB"),
            ("[limits]\nrequests_per_second = 0", "above zero"),
            ("[scrub]\nbytes_per_second = 0", "above zero"),
            ("[[mirror]]\nprefix = \"Hub\"\nupstream = \"docker.io\"", "Hub"),
            ("[[mirror]]\nprefix = \"hub\"\nupstream = \"a b\"", "a b"),
        ] {
            let error = read(text).unwrap_err().to_string();
            assert!(error.contains(part), "{text}: {error}");
        }
    }
}
