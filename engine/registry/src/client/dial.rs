//! Connections to hosts: addresses, proxies, TLS, and who may be spoken to without it.
//!
//! Whether a host may go unverified is decided by the address that was dialled, for the connection
//! that came of it (CVE-2026-92543): a name of which one address is this machine's says nothing
//! about its others.

use std::io;
use std::net::{IpAddr, SocketAddr};
use std::time::Duration;

use rustls::pki_types::ServerName;
use tokio::io::{AsyncRead, AsyncReadExt, AsyncWrite, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::time::timeout;
use tokio_rustls::TlsConnector;

use super::dns::{ResolveError, Resolver};
use super::error::{ClientError, FailureKind, shown};
use super::reach::Reach;
use super::tls::Tls;
use crate::auth::basic;
use crate::config::{Proxies, Proxy, Registries};
use crate::url::{Authority, Host, Scheme};

/// For one address to answer, and for one TLS handshake.
const CONNECT: Duration = Duration::from_secs(10);

/// The longest answer of a proxy.
const MAX_PROXY_ANSWER: usize = 8192;

/// A stream of bytes to a host.
pub(super) trait Io: AsyncRead + AsyncWrite + Unpin {}

impl<T: AsyncRead + AsyncWrite + Unpin> Io for T {}

/// Whom to speak to.
#[derive(Debug, Clone, PartialEq, Eq, Hash)]
pub(crate) struct Target {
    pub(crate) authority: Authority,
    pub(crate) want: Want,
    /// Where the one is who sent us there, if it was not the operator.
    pub(crate) sent_from: Option<Reach>,
}

/// How to speak.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub(crate) enum Want {
    /// Over TLS; where the host may be insecure, without it if it does not know TLS.
    Either,
    /// Over TLS.
    Https,
    /// Without, which only insecure hosts may be.
    Http,
    /// Without, to whatever host: a person named the address so, and no registry is meant.
    Plain,
}

impl Want {
    pub(crate) fn of(scheme: Scheme) -> Self {
        match scheme {
            Scheme::Http => Self::Http,
            Scheme::Https => Self::Https,
        }
    }
}

/// A connection.
pub(super) struct Connection {
    pub(super) io: Box<dyn Io>,
    pub(super) facts: Facts,
    /// Whether HTTP/2 was agreed on.
    pub(super) http2: bool,
    /// The value of `Proxy-Authorization` for requests, which then name the whole address.
    pub(super) through_proxy: Option<Option<crate::auth::Secret>>,
}

/// What a connection turned out to be.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) struct Facts {
    pub(crate) scheme: Scheme,
    pub(crate) reach: Reach,
}

#[derive(Debug)]
pub(super) struct Dialer {
    pub(super) registries: Registries,
    pub(super) proxies: Proxies,
    pub(super) resolver: Resolver,
    pub(super) tls: Tls,
}

/// A stream to a host, nothing said on it yet.
struct Way {
    io: Box<dyn Io>,
    /// The address that was dialled, if not a proxy's.
    address: Option<IpAddr>,
    proxy: Option<Proxy>,
}

/// A handshake that failed.
enum TlsError {
    /// The other side does not speak TLS, it seems.
    None(String),
    Failed(ClientError),
}

impl Dialer {
    pub(super) async fn open(&self, target: &Target) -> Result<Connection, ClientError> {
        match target.want {
            Want::Https => {
                let way = self.way(target, Scheme::Https).await?;
                self.secure(target, way).await.map_err(|error| match error {
                    TlsError::Failed(error) => error,
                    TlsError::None(reason) => no_tls(target, &reason),
                })
            }
            Want::Http => {
                let way = self.way(target, Scheme::Http).await?;
                self.plain(target, way)
            }
            Want::Plain => {
                let way = self.way(target, Scheme::Http).await?;
                Ok(unsecured(target, way))
            }
            Want::Either => self.either(target).await,
        }
    }

    async fn either(&self, target: &Target) -> Result<Connection, ClientError> {
        let authority = &target.authority;
        let reason = match self.way(target, Scheme::Https).await {
            Ok(way) => {
                let insecure = self.insecure(authority, Scheme::Https, way.address);
                match self.secure(target, way).await {
                    Ok(connection) => return Ok(connection),
                    Err(TlsError::Failed(error)) => return Err(error),
                    Err(TlsError::None(reason)) if !insecure => {
                        return Err(no_tls(target, &reason));
                    }
                    Err(TlsError::None(reason)) => reason,
                }
            }
            // Nothing at 443: there may be something at 80, or the proxy leads only there.
            Err(error)
                if error.kind == FailureKind::Unavailable
                    && (authority.port.is_none() || self.proxied(authority))
                    && self.may_be_insecure(authority) =>
            {
                error.message
            }
            Err(error) => return Err(error),
        };
        let way = self.way(target, Scheme::Http).await.map_err(|error| ClientError {
            message: format!("{}; over TLS: {reason}", error.message),
            ..error
        })?;
        self.plain(target, way)
    }

    fn proxied(&self, authority: &Authority) -> bool {
        let port = authority.port_for(Scheme::Http);
        self.proxies.proxy(Scheme::Http, &authority.host, port).is_some()
    }

    /// Before anything is dialled: whether the name or the address in its place is listed.
    fn may_be_insecure(&self, authority: &Authority) -> bool {
        let local = matches!(&authority.host, Host::Name(name) if name == "localhost");
        local || self.insecure(authority, Scheme::Http, None)
    }

    fn insecure(&self, authority: &Authority, scheme: Scheme, dialled: Option<IpAddr>) -> bool {
        if self.registries.insecure_name(&authority.host, authority.port_for(scheme)) {
            return true;
        }
        let literal = match authority.host {
            Host::Address(address) => Some(address),
            Host::Name(_) => None,
        };
        dialled.or(literal).is_some_and(|address| self.registries.insecure_address(address))
            && !self.tls.has_authorities(authority)
    }

    fn plain(&self, target: &Target, way: Way) -> Result<Connection, ClientError> {
        let authority = &target.authority;
        if !self.insecure(authority, Scheme::Http, way.address) {
            let message = format!("{authority} is only spoken to over TLS");
            return Err(ClientError::new(FailureKind::Denied, message).hint(format!(
                "to allow it, list {authority:?} under `insecure` in registries.toml",
                authority = authority.to_string()
            )));
        }
        Ok(unsecured(target, way))
    }

    async fn secure(&self, target: &Target, way: Way) -> Result<Connection, TlsError> {
        let authority = &target.authority;
        let verified = !self.insecure(authority, Scheme::Https, way.address);
        let config = self.tls.config(authority, verified).map_err(TlsError::Failed)?;
        let name = server_name(&authority.host).map_err(TlsError::Failed)?;
        let handshake = TlsConnector::from(config).connect(name, way.io);
        let stream = match timeout(CONNECT, handshake).await {
            Ok(Ok(stream)) => stream,
            Ok(Err(error)) => return Err(handshake_error(target, &error)),
            Err(_) => {
                let message = format!("{authority} does not finish the TLS handshake");
                return Err(TlsError::Failed(ClientError::broken(message)));
            }
        };
        let http2 = stream.get_ref().1.alpn_protocol() == Some(b"h2");
        let facts = Facts { scheme: Scheme::Https, reach: reach(target, way.address) };
        Ok(Connection { io: Box::new(stream), facts, http2, through_proxy: None })
    }

    async fn way(&self, target: &Target, scheme: Scheme) -> Result<Way, ClientError> {
        let authority = &target.authority;
        let port = authority.port_for(scheme);
        let Some(proxy) = self.proxies.proxy(scheme, &authority.host, port) else {
            let (stream, address) = self.dial(&authority.host, port, target.sent_from).await?;
            return Ok(Way { io: Box::new(stream), address: Some(address), proxy: None });
        };
        if let (Host::Address(address), Some(from)) = (&authority.host, target.sent_from) {
            refuse_way(&authority.host, from, &[*address])?;
        }
        let io = self.reach_proxy(proxy).await?;
        match scheme {
            Scheme::Http => Ok(Way { io, address: None, proxy: Some(proxy.clone()) }),
            Scheme::Https => {
                let io = tunnel(io, proxy, &authority.host, port).await?;
                Ok(Way { io, address: None, proxy: None })
            }
        }
    }

    async fn reach_proxy(&self, proxy: &Proxy) -> Result<Box<dyn Io>, ClientError> {
        let authority = proxy.url.authority();
        let port = authority.port_for(proxy.url.scheme());
        let (stream, _) = self
            .dial(&authority.host, port, None)
            .await
            .map_err(|error| error.on(format!("the proxy {authority}")))?;
        if proxy.url.scheme() == Scheme::Http {
            return Ok(Box::new(stream));
        }
        let config = self.tls.config(authority, true)?;
        let name = server_name(&authority.host)?;
        let mut config = rustls::ClientConfig::clone(&config);
        config.alpn_protocols.clear();
        let handshake = TlsConnector::from(std::sync::Arc::new(config)).connect(name, stream);
        match timeout(CONNECT, handshake).await {
            Ok(Ok(stream)) => Ok(Box::new(stream)),
            Ok(Err(error)) => {
                Err(ClientError::broken(format!("the proxy {authority} fails: {error}")))
            }
            Err(_) => Err(ClientError::broken(format!("the proxy {authority} does not answer"))),
        }
    }

    /// Connects to the first address of `host` that answers and may be reached.
    async fn dial(
        &self,
        host: &Host,
        port: u16,
        sent_from: Option<Reach>,
    ) -> Result<(TcpStream, IpAddr), ClientError> {
        let mut addresses = match host {
            Host::Address(address) => vec![*address],
            Host::Name(name) => {
                self.resolver.resolve(name).await.map_err(|error| unresolved(&error))?
            }
        };
        if let Some(from) = sent_from {
            refuse_way(host, from, &addresses)?;
            addresses.retain(|address| from.may_lead_to(Reach::of(*address)));
        }
        let mut failure = None;
        for address in addresses {
            let socket = SocketAddr::new(address, port);
            match timeout(CONNECT, TcpStream::connect(socket)).await {
                Ok(Ok(stream)) => {
                    // Only slower without.
                    let _ = stream.set_nodelay(true);
                    return Ok((stream, address));
                }
                Ok(Err(error)) => failure = Some((socket, error)),
                Err(_) => failure = Some((socket, io::ErrorKind::TimedOut.into())),
            }
        }
        let (socket, error) = failure.unwrap_or_else(|| {
            (SocketAddr::new(IpAddr::from([0; 4]), port), io::ErrorKind::NotFound.into())
        });
        let named = if host.name().is_some() { format!(" ({socket})") } else { String::new() };
        Err(ClientError::new(
            FailureKind::Unavailable,
            format!("cannot connect to {host}:{port}{named}: {error}"),
        ))
    }
}

/// Refuses if none of these may be reached from there.
fn refuse_way(host: &Host, from: Reach, addresses: &[IpAddr]) -> Result<(), ClientError> {
    if addresses.iter().any(|address| from.may_lead_to(Reach::of(*address))) {
        return Ok(());
    }
    let place = addresses.first().map_or(Reach::Nowhere, |address| Reach::of(*address));
    let message = format!(
        "{host} is {}, and a registry {} may not lead there",
        place.as_str(),
        from.as_str()
    );
    Err(ClientError::new(FailureKind::Denied, message))
}

/// Where the host is, as far as is known: what a proxy reaches is out there, unless it is an
/// address that says otherwise.
fn reach(target: &Target, dialled: Option<IpAddr>) -> Reach {
    match (dialled, &target.authority.host) {
        (Some(address), _) => Reach::of(address),
        (None, Host::Address(address)) => Reach::of(*address),
        (None, Host::Name(_)) => Reach::Global,
    }
}

fn unresolved(error: &ResolveError) -> ClientError {
    let message = error.to_string();
    match error {
        ResolveError::NoName(_) => ClientError::new(FailureKind::Unavailable, message),
        ResolveError::NoServer(..) => ClientError::broken(message),
    }
}

fn server_name(host: &Host) -> Result<ServerName<'static>, ClientError> {
    match host {
        Host::Address(address) => Ok(ServerName::IpAddress((*address).into())),
        Host::Name(name) => ServerName::try_from(name.clone())
            .map_err(|_| ClientError::invalid(format!("{name:?} cannot be a name in TLS"))),
    }
}

fn handshake_error(target: &Target, error: &io::Error) -> TlsError {
    let authority = &target.authority;
    let cause = error.get_ref().and_then(|inner| inner.downcast_ref::<rustls::Error>());
    match cause {
        Some(rustls::Error::InvalidMessage(_)) => TlsError::None(error.to_string()),
        Some(rustls::Error::InvalidCertificate(reason)) => {
            let message = format!("the certificate of {authority} is not accepted: {reason}");
            TlsError::Failed(ClientError::new(FailureKind::Denied, message).hint(format!(
                "name its authority as `ca` under [registry.\"{authority}\"] in registries.toml"
            )))
        }
        Some(rustls::Error::AlertReceived(alert)) => {
            let message = format!("{authority} refuses the TLS handshake: {alert:?}");
            TlsError::Failed(ClientError::new(FailureKind::Denied, message).hint(format!(
                "where it wants a certificate, name one as `client-certificate` and `client-key` \
                 under [registry.\"{authority}\"] in registries.toml"
            )))
        }
        _ if error.kind() == io::ErrorKind::UnexpectedEof
            || error.kind() == io::ErrorKind::ConnectionReset =>
        {
            TlsError::None(error.to_string())
        }
        _ => TlsError::Failed(ClientError::broken(format!("TLS with {authority}: {error}"))),
    }
}

/// A connection without TLS.
fn unsecured(target: &Target, way: Way) -> Connection {
    let facts = Facts { scheme: Scheme::Http, reach: reach(target, way.address) };
    let through_proxy = way.proxy.map(|proxy| proxy.user.map(|user| basic(user.reveal())));
    Connection { io: way.io, facts, http2: false, through_proxy }
}

fn no_tls(target: &Target, reason: &str) -> ClientError {
    let authority = &target.authority;
    let message = format!("{authority} does not speak TLS ({reason})");
    ClientError::new(FailureKind::Denied, message).hint(format!(
        "if it is to be spoken to without, list \"{authority}\" under `insecure` in registries.toml"
    ))
}

/// Has the proxy connect to the host. Spec: RFC 9110, 9.3.6.
async fn tunnel(
    mut io: Box<dyn Io>,
    proxy: &Proxy,
    host: &Host,
    port: u16,
) -> Result<Box<dyn Io>, ClientError> {
    let name = proxy.url.authority();
    let fail = |reason: String| ClientError::broken(format!("the proxy {name} fails: {reason}"));
    let mut request = format!("CONNECT {host}:{port} HTTP/1.1\r\nHost: {host}:{port}\r\n");
    if let Some(user) = &proxy.user {
        request.push_str(&format!("Proxy-Authorization: {}\r\n", basic(user.reveal()).reveal()));
    }
    request.push_str("\r\n");
    io.write_all(request.as_bytes()).await.map_err(|error| fail(error.to_string()))?;
    let read = async {
        let mut answer = Vec::new();
        // Byte by byte: what follows belongs to the tunnel.
        while !answer.ends_with(b"\r\n\r\n") && answer.len() < MAX_PROXY_ANSWER {
            answer.push(io.read_u8().await?);
        }
        io::Result::Ok(answer)
    };
    let answer = match timeout(CONNECT, read).await {
        Ok(read) => read.map_err(|error| fail(error.to_string()))?,
        Err(_) => return Err(fail("it does not answer".to_owned())),
    };
    let answer = String::from_utf8_lossy(&answer);
    let line = answer.lines().next().unwrap_or_default();
    match line.split_ascii_whitespace().nth(1) {
        Some(status) if status.len() == 3 && status.starts_with('2') => Ok(io),
        Some("407") => {
            let message = format!("the proxy {name} wants a user and a password");
            Err(ClientError::new(FailureKind::Unavailable, message)
                .hint("write them into HTTPS_PROXY, as http://user:password@host:port"))
        }
        _ => {
            let message =
                format!("the proxy {name} does not connect to {host}:{port}: {}", shown(line));
            Err(ClientError::new(FailureKind::Unavailable, message))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::client::dns::DnsSettings;
    use crate::client::tls::{HostCertificates, Trust};

    fn dialer(toml: &str, trust: Trust) -> Dialer {
        Dialer {
            registries: Registries::parse(toml).unwrap(),
            proxies: Proxies::default(),
            resolver: Resolver::new(DnsSettings::parse("", "")),
            tls: Tls::new(trust),
        }
    }

    /// A name that resolves to this machine and to somewhere else: the connection that came of it
    /// decides, whatever else the name has (CVE-2026-92543).
    #[test]
    fn cve_2026_92543_by_the_address_that_was_dialled() {
        let dialer = dialer("insecure = [\"10.0.0.0/8\", \"lab.example:5000\"]", Trust::default());
        let insecure = |authority: &str, address: &str| {
            let authority: Authority = authority.parse().unwrap();
            dialer.insecure(&authority, Scheme::Http, Some(address.parse().unwrap()))
        };
        assert!(insecure("both.example", "127.0.0.1"));
        assert!(insecure("both.example", "10.1.2.3"));
        assert!(!insecure("both.example", "203.0.113.1"));
        assert!(!insecure("localhost", "203.0.113.1"));
        assert!(!insecure("127.0.0.1.example", "203.0.113.1"));
        // A name that is listed is the operator's word for all its addresses, on its port.
        assert!(insecure("lab.example:5000", "203.0.113.1"));
        assert!(!insecure("lab.example", "203.0.113.1"));
        assert!(!insecure("x.lab.example:5000", "203.0.113.1"));
        let target = Target {
            authority: "both.example".parse().unwrap(),
            want: Want::Http,
            sent_from: None,
        };
        let way = Way {
            io: Box::new(tokio::io::empty()),
            address: Some("203.0.113.1".parse().unwrap()),
            proxy: None,
        };
        let Err(error) = dialer.plain(&target, way) else { panic!("spoken to in the clear") };
        assert_eq!(error.kind, FailureKind::Denied);
    }

    /// Who has an authority of its own is always verified.
    #[test]
    fn an_authority_makes_a_range_secure() {
        let certificates = HostCertificates { authorities: b"x".to_vec(), client: None };
        let trust = Trust {
            system: Vec::new(),
            hosts: [("registry.example".to_owned(), certificates)].into(),
        };
        let dialer = dialer("", trust);
        let authority: Authority = "registry.example:5000".parse().unwrap();
        let local = Some("127.0.0.1".parse().unwrap());
        assert!(!dialer.insecure(&authority, Scheme::Http, local));
    }

    #[test]
    fn places_that_nobody_may_send_us_to() {
        let host: Host = "metadata.example".parse().unwrap();
        let link: IpAddr = "169.254.169.254".parse().unwrap();
        let error = refuse_way(&host, Reach::Global, &[link]).unwrap_err();
        assert_eq!(error.kind, FailureKind::Denied);
        let private: IpAddr = "10.0.0.1".parse().unwrap();
        assert!(refuse_way(&host, Reach::Global, &[private]).is_err());
        assert!(refuse_way(&host, Reach::Private, &[private]).is_ok());
        assert!(refuse_way(&host, Reach::Global, &["8.8.8.8".parse().unwrap()]).is_ok());
    }
}
