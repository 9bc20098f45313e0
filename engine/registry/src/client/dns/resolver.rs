//! Asking name servers.

use std::cell::RefCell;
use std::collections::HashMap;
use std::io;
use std::net::{IpAddr, Ipv4Addr, Ipv6Addr, SocketAddr};
use std::os::fd::OwnedFd;

use rustix::net::{AddressFamily, SocketFlags, SocketType};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpStream, UdpSocket};
use tokio::time::timeout;

use super::DnsSettings;
use super::message::{Answer, Kind, answer, question};

/// The longest answer over TCP.
const MAX_ANSWER: usize = 65535;

/// A name without addresses.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub(crate) enum ResolveError {
    #[error("there is no host {0:?}")]
    NoName(String),
    #[error("no name server answers for {0:?}: {1}")]
    NoServer(String, String),
}

/// Finds addresses, and remembers them as long as it lives.
#[derive(Debug)]
pub(crate) struct Resolver {
    settings: DnsSettings,
    known: RefCell<HashMap<String, Vec<IpAddr>>>,
}

impl Resolver {
    pub(crate) fn new(settings: DnsSettings) -> Self {
        Self { settings, known: RefCell::default() }
    }

    /// The addresses of `name`, IPv4 first; at least one.
    pub(crate) async fn resolve(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        if let Some(known) = self.settings.hosts.get(name) {
            return Ok(known.clone());
        }
        // RFC 6761, 6.3.
        if name == "localhost" || name.ends_with(".localhost") {
            return Ok(vec![Ipv4Addr::LOCALHOST.into(), Ipv6Addr::LOCALHOST.into()]);
        }
        if let Some(known) = self.known.borrow().get(name) {
            return Ok(known.clone());
        }
        let addresses = self.search(name).await?;
        self.known.borrow_mut().insert(name.to_owned(), addresses.clone());
        Ok(addresses)
    }

    /// Asks for `name`, and for it in the domains that are searched.
    async fn search(&self, name: &str) -> Result<Vec<IpAddr>, ResolveError> {
        let whole = name.matches('.').count() >= self.settings.dots;
        let below = self.settings.search.iter().map(|domain| format!("{name}.{domain}"));
        let mut candidates: Vec<String> = below.collect();
        candidates.insert(if whole { 0 } else { candidates.len() }, name.to_owned());
        let mut failure = None;
        for candidate in candidates {
            let (four, six) =
                tokio::join!(self.ask(&candidate, Kind::V4), self.ask(&candidate, Kind::V6));
            let mut addresses = Vec::new();
            for answer in [four, six] {
                match answer {
                    Ok(found) => addresses.extend(found),
                    Err(error) => failure = Some(error),
                }
            }
            if !addresses.is_empty() {
                return Ok(addresses);
            }
        }
        Err(match failure {
            Some(error) => ResolveError::NoServer(name.to_owned(), error),
            None => ResolveError::NoName(name.to_owned()),
        })
    }

    async fn ask(&self, name: &str, kind: Kind) -> Result<Vec<IpAddr>, String> {
        let mut failure = String::new();
        for _ in 0..self.settings.attempts {
            for server in &self.settings.servers {
                let asked = timeout(self.settings.timeout, exchange(*server, name, kind)).await;
                match asked {
                    Ok(Ok(Answer::Addresses(addresses))) => return Ok(addresses),
                    Ok(Ok(Answer::NoName)) => return Ok(Vec::new()),
                    Ok(Ok(_)) => failure = format!("{server} refuses"),
                    Ok(Err(error)) => failure = format!("{server}: {error}"),
                    Err(_) => failure = format!("{server} is silent"),
                }
            }
        }
        Err(failure)
    }
}

async fn exchange(server: SocketAddr, name: &str, kind: Kind) -> io::Result<Answer> {
    let mut id = [0; 2];
    rustix::rand::getrandom(&mut id, rustix::rand::GetRandomFlags::empty())?;
    let Some(asked) = question(u16::from_be_bytes(id), name, kind) else {
        return Ok(Answer::NoName);
    };
    // Connected, so that the kernel chooses the port and drops what others send.
    let socket = UdpSocket::from_std(std::net::UdpSocket::from(datagrams(server)?))?;
    socket.send(&asked).await?;
    let mut buffer = [0; 4096];
    loop {
        let length = socket.recv(&mut buffer).await?;
        match answer(&asked, &buffer[..length]) {
            Some(Answer::Truncated) => return over_tcp(server, &asked).await,
            Some(answer) => return Ok(answer),
            // Not to this question; the real one may still come.
            None => {}
        }
    }
}

fn datagrams(server: SocketAddr) -> io::Result<OwnedFd> {
    let family = match server {
        SocketAddr::V4(_) => AddressFamily::INET,
        SocketAddr::V6(_) => AddressFamily::INET6,
    };
    let flags = SocketFlags::CLOEXEC | SocketFlags::NONBLOCK;
    let socket = rustix::net::socket_with(family, SocketType::DGRAM, flags, None)?;
    rustix::net::connect(&socket, &server)?;
    Ok(socket)
}

/// Spec: RFC 7766.
async fn over_tcp(server: SocketAddr, asked: &[u8]) -> io::Result<Answer> {
    let mut stream = TcpStream::connect(server).await?;
    let length = u16::try_from(asked.len()).map_err(io::Error::other)?;
    stream.write_all(&[&length.to_be_bytes(), asked].concat()).await?;
    let length = usize::from(stream.read_u16().await?).min(MAX_ANSWER);
    let mut message = vec![0; length];
    stream.read_exact(&mut message).await?;
    let refused = || io::Error::new(io::ErrorKind::InvalidData, "its answer is none");
    match answer(asked, &message) {
        Some(Answer::Truncated) | None => Err(refused()),
        Some(answer) => Ok(answer),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    /// A server that answers every question about IPv4 with two addresses.
    async fn serve(socket: UdpSocket) {
        let mut buffer = [0; 512];
        loop {
            let (length, from) = socket.recv_from(&mut buffer).await.unwrap();
            let mut message = buffer[..length].to_vec();
            message[2] |= 0x80;
            let known = message[12..].starts_with(b"\x08registry\x07example\0\0\x01");
            if known {
                message[7] = 2;
                for last in [1, 2] {
                    message.extend([0xc0, 12, 0, 1, 0, 1, 0, 0, 0, 9, 0, 4, 127, 0, 0, last]);
                }
            } else {
                message[3] = 3;
            }
            // First one that is none to the question.
            let mut other = message.clone();
            other[0] ^= 0xff;
            socket.send_to(&other, from).await.unwrap();
            socket.send_to(&message, from).await.unwrap();
        }
    }

    #[test]
    fn asks() {
        let runtime = tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
        runtime.block_on(async {
            let socket = UdpSocket::bind("127.0.0.1:0").await.unwrap();
            let mut settings = DnsSettings::parse("", "192.0.2.1 known.example");
            settings.servers = vec![socket.local_addr().unwrap()];
            settings.search = vec!["example".to_owned()];
            tokio::spawn(serve(socket));
            let resolver = Resolver::new(settings);
            for name in ["registry.example", "registry", "registry.example"] {
                assert_eq!(resolver.resolve(name).await.unwrap().len(), 2, "{name}");
            }
            let error = resolver.resolve("other.example").await.unwrap_err();
            assert_eq!(error, ResolveError::NoName("other.example".to_owned()));
            assert_eq!(resolver.resolve("known.example").await.unwrap().len(), 1);
            assert_eq!(resolver.resolve("x.localhost").await.unwrap().len(), 2);
        });
    }
}
