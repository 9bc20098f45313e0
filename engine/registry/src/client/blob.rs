//! Large blobs. Spec: distribution-spec, "Pulling blobs".

use std::time::Duration;

use bytes::Bytes;
use hull_oci::{Descriptor, Reference};
use hyper::header::{ACCEPT_ENCODING, CONTENT_ENCODING, CONTENT_LENGTH, CONTENT_RANGE, RANGE};
use hyper::{Method, StatusCode};
use tokio::sync::mpsc;
use tokio::time::Instant;

use super::Client;
use super::body::Body;
use super::dial::{Target, Want};
use super::error::{ClientError, FailureKind};
use super::exchange::{Ask, Place, Reply};
use super::pool::Outgoing;
use super::reach::Reach;
use super::tokens::scopes;
use crate::url::Url;

/// Pieces are handed on together: so many bytes, or what there is after so long.
const BATCH: usize = 512 << 10;
const BATCH_TIME: Duration = Duration::from_millis(200);

/// `IOV_MAX`, with room.
const BATCH_PIECES: usize = 512;

/// Slower than this, in bytes a second, is not moving.
const CRAWL: u64 = 1024;

/// Pieces of a blob on their way to who writes them.
pub type Pieces = mpsc::Sender<Vec<Bytes>>;

impl Client {
    /// Fetches the bytes of a blob from `have` on and hands them to `pieces` in order: exactly
    /// those up to its size. After a lost connection it goes on where it was.
    ///
    /// The size is verified, the digest is not: who has all bytes does that.
    ///
    /// # Errors
    /// [`ClientError`]. That nobody takes the pieces any more is no error here.
    pub async fn blob(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
        have: u64,
        pieces: &Pieces,
    ) -> Result<(), ClientError> {
        let mut at = have;
        let path = format!("{}/blobs/{}", repository.repository(), descriptor.digest);
        let what =
            || format!("cannot fetch {} of {}", descriptor.digest, repository.familiar_name());
        if at > descriptor.size {
            let size = descriptor.size;
            return Err(ClientError::invalid(format!("there are {at} bytes of {size}")).on(what()));
        }
        let places = self.places(repository.registry()).map_err(|error| error.on(what()))?;
        let mut mirrors = String::new();
        for endpoint in &places.endpoints {
            if endpoint.mirror && endpoint.down.get() {
                continue;
            }
            let scopes = scopes(&[(repository.repository(), "pull")]);
            let result = self
                .persist(descriptor, &mut at, pieces, async |at| {
                    let ask = Ask {
                        method: Method::GET,
                        place: Place::Path(&path),
                        repository: repository.repository(),
                        scopes: &scopes,
                        headers: range(at),
                    };
                    self.exchange(endpoint, &ask, Body::empty()).await
                })
                .await;
            match result {
                Ok(()) => return Ok(()),
                Err(error) if endpoint.mirror => {
                    endpoint.down.set(error.kind == FailureKind::Unavailable);
                    mirrors.push_str(&format!("; its mirror: {}", error.message));
                }
                Err(mut error) => {
                    let elsewhere = self.elsewhere(repository.registry(), descriptor);
                    if error.kind == FailureKind::NotFound && !elsewhere.is_empty() {
                        return self
                            .foreign_blob(&elsewhere, descriptor, &mut at, pieces)
                            .await
                            .map_err(|error| error.on(what()));
                    }
                    error.message.push_str(&mirrors);
                    return Err(error.on(what()));
                }
            }
        }
        Err(ClientError::new(FailureKind::Internal, "a registry is nowhere").on(what()))
    }

    /// The addresses a descriptor names, on the hosts that the operator listed for this registry.
    fn elsewhere(&self, registry: &str, descriptor: &Descriptor) -> Vec<Url> {
        let listed = self.registries.foreign_layers(registry);
        let urls = descriptor.urls.iter().filter_map(|text| text.parse::<Url>().ok());
        urls.filter(|url| listed.contains(&url.authority().host)).collect()
    }

    /// From the first of these addresses that has it, without credentials.
    async fn foreign_blob(
        &self,
        urls: &[Url],
        descriptor: &Descriptor,
        at: &mut u64,
        pieces: &Pieces,
    ) -> Result<(), ClientError> {
        let mut last = ClientError::invalid("its descriptor names no address");
        for url in urls {
            let result =
                self.persist(descriptor, at, pieces, async |at| self.get_foreign(url, at).await);
            match result.await {
                Ok(()) => return Ok(()),
                Err(error) => last = error,
            }
        }
        Err(last)
    }

    async fn get_foreign(&self, url: &Url, at: u64) -> Result<Reply, ClientError> {
        let mut url = url.clone();
        // Where the operator's word ends, addresses of this network are refused.
        let mut sent_from = None;
        for _ in 0..6 {
            let mut headers = hyper::HeaderMap::new();
            for (name, value) in range(at) {
                let value = value.parse().map_err(|_| ClientError::invalid("no range"))?;
                headers.insert(name, value);
            }
            headers.insert(hyper::header::USER_AGENT, self.agent().clone());
            let want = Want::of(url.scheme());
            let target = Target { authority: url.authority().clone(), want, sent_from };
            let outgoing = Outgoing {
                method: Method::GET,
                target: url.target().to_owned(),
                headers,
                body: Body::empty(),
            };
            let answer = self.send_patiently(&target, outgoing).await?;
            let reply = Reply { answer, url };
            if !reply.answer.status.is_redirection() {
                return Ok(reply);
            }
            let Some(location) = reply.answer.header(hyper::header::LOCATION) else {
                return Err(ClientError::invalid("it redirects to nowhere"));
            };
            url = self.accepted(&reply, location)?;
            sent_from = Some(Reach::Global);
        }
        Err(ClientError::invalid("it redirects in a circle"))
    }

    /// Reads until all is there, asking again as long as something comes.
    async fn persist(
        &self,
        descriptor: &Descriptor,
        at: &mut u64,
        pieces: &Pieces,
        ask: impl AsyncFn(u64) -> Result<Reply, ClientError>,
    ) -> Result<(), ClientError> {
        let mut attempt = 0;
        while *at < descriptor.size && !pieces.is_closed() {
            let before = *at;
            // Asking has its own attempts; what breaks later is counted here.
            let reply = ask(*at).await?;
            let Err(error) = self.receive(descriptor, reply, at, pieces).await else { continue };
            attempt = if *at > before { 1 } else { attempt + 1 };
            if !self.wait(&error, attempt).await {
                return Err(error);
            }
        }
        Ok(())
    }

    async fn receive(
        &self,
        descriptor: &Descriptor,
        reply: Reply,
        at: &mut u64,
        pieces: &Pieces,
    ) -> Result<(), ClientError> {
        let Some(mut skip) = begin(descriptor, &reply, *at)? else {
            return Err(reply.fail().await);
        };
        let mut reply = reply;
        let who = reply.url.authority().to_string();
        let mut batch = Batch::new();
        let mut pace = Pace::new(self.registries.stall());
        let body = &mut reply.answer.body;
        loop {
            let waited = Instant::now();
            let next = body.next().await;
            pace.add(waited, next.as_ref().map_or(0, |piece| piece.as_ref().map_or(0, Bytes::len)));
            let mut piece = match next {
                Ok(Some(piece)) => piece,
                Ok(None) => break,
                Err(error) => {
                    batch.hand_on(pieces).await;
                    return Err(error.on(who));
                }
            };
            let skipped = skip.min(piece.len() as u64);
            // It fits: it is at most the piece's length.
            let _ = piece.split_to(usize::try_from(skipped).unwrap_or(usize::MAX));
            skip -= skipped;
            if *at + piece.len() as u64 > descriptor.size {
                let message = format!("{who} sends more than the {} bytes it has", descriptor.size);
                return Err(ClientError::invalid(message));
            }
            *at += piece.len() as u64;
            if !batch.add(piece, pieces).await {
                return Ok(());
            }
            if pace.crawls() {
                batch.hand_on(pieces).await;
                let message = format!("{who} sends less than {CRAWL} bytes a second");
                return Err(ClientError::broken(message));
            }
        }
        batch.hand_on(pieces).await;
        if *at < descriptor.size {
            let message = format!("{who} sends {at} bytes of {}", descriptor.size);
            return Err(ClientError::invalid(message));
        }
        Ok(())
    }
}

fn range(at: u64) -> Vec<(hyper::header::HeaderName, String)> {
    let mut headers = vec![(ACCEPT_ENCODING, "identity".to_owned())];
    if at > 0 {
        headers.push((RANGE, format!("bytes={at}-")));
    }
    headers
}

/// How many bytes of the body are there already; `None` if it is an error's.
fn begin(descriptor: &Descriptor, reply: &Reply, at: u64) -> Result<Option<u64>, ClientError> {
    let (answer, who) = (&reply.answer, reply.url.authority());
    let size = descriptor.size;
    let (skip, left) = match answer.status {
        // The whole, whatever was asked for.
        StatusCode::OK => (at, size),
        StatusCode::PARTIAL_CONTENT => {
            let expected = format!("bytes {at}-{}/", size.saturating_sub(1));
            let range = answer.header(CONTENT_RANGE).unwrap_or_default();
            let fits = range.strip_prefix(&expected).is_some_and(|whole| {
                whole == "*" || whole.parse::<u64>().is_ok_and(|whole| whole == size)
            });
            if !fits {
                let message = format!("{who} answers with other bytes than those from {at} on");
                return Err(ClientError::invalid(message));
            }
            (0, size - at)
        }
        StatusCode::RANGE_NOT_SATISFIABLE => {
            let message = format!("{who} has less than the {size} bytes it should have");
            return Err(ClientError::invalid(message));
        }
        _ => return Ok(None),
    };
    if answer.header(CONTENT_ENCODING).is_some_and(|encoding| encoding != "identity") {
        return Err(ClientError::invalid(format!("{who} encodes it, though asked not to")));
    }
    let length = answer.header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
    if let Some(length) = length.filter(|length| *length != left) {
        let message = format!("{who} has {length} bytes where {left} should be");
        return Err(ClientError::invalid(message));
    }
    Ok(Some(skip))
}

/// Pieces that are handed on together.
struct Batch {
    pieces: Vec<Bytes>,
    bytes: usize,
    since: Instant,
}

impl Batch {
    fn new() -> Self {
        Self { pieces: Vec::new(), bytes: 0, since: Instant::now() }
    }

    /// False if nobody takes them any more.
    async fn add(&mut self, piece: Bytes, to: &Pieces) -> bool {
        if piece.is_empty() {
            return true;
        }
        self.bytes += piece.len();
        self.pieces.push(piece);
        let full = self.bytes >= BATCH || self.pieces.len() >= BATCH_PIECES;
        if full || self.since.elapsed() >= BATCH_TIME { self.hand_on(to).await } else { true }
    }

    async fn hand_on(&mut self, to: &Pieces) -> bool {
        self.bytes = 0;
        self.since = Instant::now();
        let pieces = std::mem::take(&mut self.pieces);
        pieces.is_empty() || to.send(pieces).await.is_ok()
    }
}

/// How fast something comes, not counting the time we take ourselves.
struct Pace {
    window: Duration,
    waited: Duration,
    bytes: u64,
}

impl Pace {
    fn new(window: Duration) -> Self {
        Self { window, waited: Duration::ZERO, bytes: 0 }
    }

    fn add(&mut self, since: Instant, bytes: usize) {
        self.waited += since.elapsed();
        self.bytes += bytes as u64;
    }

    fn crawls(&mut self) -> bool {
        if self.waited < self.window {
            return false;
        }
        let crawls = self.bytes < CRAWL * self.window.as_secs();
        self.waited = Duration::ZERO;
        self.bytes = 0;
        crawls
    }
}
