//! What is brought to a registry. Spec: distribution-spec, "Push". Mirrors are never changed.

use std::io;
use std::rc::Rc;

use bytes::Bytes;
use hull_oci::{Descriptor, Digest, Reference};
use hyper::header::{CONTENT_RANGE, CONTENT_TYPE, HeaderName, LOCATION, RANGE};
use hyper::{Method, StatusCode};
use tokio::sync::{mpsc, oneshot};

use super::Client;
use super::body::{Body, Stream, Taken};
use super::endpoint::Endpoint;
use super::error::{ClientError, FailureKind};
use super::exchange::{Ask, Place, Reply};
use super::manifest::{DIGEST_HEADER, manifest_path};
use super::tokens::scopes;
use crate::url::Url;

const OCTETS: &str = "application/octet-stream";

/// Where the bytes of a blob come from.
pub trait Source {
    /// The bytes from `offset` on, piece by piece, as they are taken.
    fn pieces(&self, offset: u64) -> mpsc::Receiver<io::Result<Bytes>>;
}

/// An upload that the registry agreed to.
struct Upload {
    url: Url,
}

impl Client {
    /// Whether the registry itself has this blob in `repository`.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn exists(
        &self,
        repository: &Reference,
        digest: &Digest,
    ) -> Result<bool, ClientError> {
        let on = |error: ClientError| {
            error.on(format!("cannot look for {digest} in {}", repository.familiar_name()))
        };
        let places = self.places(repository.registry()).map_err(on)?;
        let path = format!("{}/blobs/{digest}", repository.repository());
        let scopes = writing(repository);
        let ask = Ask {
            method: Method::HEAD,
            place: Place::Path(&path),
            repository: repository.repository(),
            scopes: &scopes,
            headers: Vec::new(),
        };
        let origin = places.origin().map_err(on)?;
        let reply = self.exchange(origin, &ask, Body::empty()).await.map_err(on)?;
        match reply.answer.status {
            StatusCode::OK => Ok(true),
            StatusCode::NOT_FOUND | StatusCode::METHOD_NOT_ALLOWED => Ok(false),
            _ => Err(on(reply.fail().await)),
        }
    }

    /// Makes a blob of `from`, of the same registry, one of `repository`; false if the registry
    /// would rather have it uploaded.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn mount(
        &self,
        repository: &Reference,
        from: &Reference,
        digest: &Digest,
    ) -> Result<bool, ClientError> {
        let on = |error: ClientError| {
            let (to, from) = (repository.familiar_name(), from.familiar_name());
            error.on(format!("cannot mount {digest} of {from} in {to}"))
        };
        if from.registry() != repository.registry() {
            return Ok(false);
        }
        let places = self.places(repository.registry()).map_err(on)?;
        let origin = places.origin().map_err(on)?;
        let (to, from) = (repository.repository(), from.repository());
        let scopes = scopes(&[(to, "pull,push"), (from, "pull")]);
        let path = format!("{to}/blobs/uploads/?mount={digest}&from={from}");
        let reply = self.post(origin, to, &scopes, &path).await.map_err(on)?;
        match reply.answer.status {
            StatusCode::CREATED => Ok(true),
            StatusCode::ACCEPTED => {
                // It began an upload instead, which nobody will end.
                self.cancel(origin, to, &scopes, &reply).await;
                Ok(false)
            }
            // A repository that we may not read is one to mount nothing from.
            StatusCode::NOT_FOUND
            | StatusCode::METHOD_NOT_ALLOWED
            | StatusCode::FORBIDDEN
            | StatusCode::BAD_REQUEST => Ok(false),
            _ => Err(on(reply.fail().await)),
        }
    }

    /// Uploads a blob whose digest and size are known. After a lost connection it goes on where
    /// the registry says it is. `progress` is told how many bytes were sent.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn upload(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
        source: &dyn Source,
        progress: &dyn Fn(u64),
    ) -> Result<(), ClientError> {
        let on = |error: ClientError| {
            let name = repository.familiar_name();
            error.on(format!("cannot upload {} to {name}", descriptor.digest))
        };
        let places = self.places(repository.registry()).map_err(on)?;
        let origin = places.origin().map_err(on)?;
        let mut upload = self.begin(origin, repository).await.map_err(on)?;
        let (mut at, mut attempt) = (0, 0);
        while at < descriptor.size {
            let pieces = source.pieces(at);
            let left = descriptor.size - at;
            let stream = Stream { pieces, left: Some(left), taken: Taken::new() };
            let taken = Rc::clone(&stream.taken);
            let range = (at > 0).then(|| format!("{at}-{}", descriptor.size - 1));
            let sent = self.patch(origin, repository, &upload, range, stream);
            let told = tell(&taken, at, progress, sent).await;
            let error = match told {
                Ok(url) => {
                    upload.url = url;
                    break;
                }
                Err(error) => error,
            };
            attempt = if taken.bytes.get() > 0 { 1 } else { attempt + 1 };
            if !self.wait(&error, attempt).await {
                return Err(on(error));
            }
            match self.state(origin, repository, &upload).await {
                Ok(Some((url, there))) if there <= descriptor.size => {
                    upload.url = url;
                    at = there;
                }
                // It knows nothing of it any more.
                _ => {
                    upload = self.begin(origin, repository).await.map_err(on)?;
                    at = 0;
                }
            }
        }
        self.finish(origin, repository, &upload, &descriptor.digest).await.map_err(on)?;
        progress(descriptor.size);
        Ok(())
    }

    /// Uploads a blob whose digest is known only at its end, when `digest` tells it.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn upload_stream(
        &self,
        repository: &Reference,
        pieces: mpsc::Receiver<io::Result<Bytes>>,
        digest: oneshot::Receiver<Digest>,
        progress: &dyn Fn(u64),
    ) -> Result<(), ClientError> {
        let on = |error: ClientError| {
            error.on(format!("cannot upload a layer to {}", repository.familiar_name()))
        };
        let places = self.places(repository.registry()).map_err(on)?;
        let origin = places.origin().map_err(on)?;
        let mut upload = self.begin(origin, repository).await.map_err(on)?;
        let stream = Stream { pieces, left: None, taken: Taken::new() };
        let taken = Rc::clone(&stream.taken);
        let sent = self.patch(origin, repository, &upload, None, stream);
        upload.url = tell(&taken, 0, progress, sent).await.map_err(on)?;
        let digest = digest.await.map_err(|_| {
            on(ClientError::new(FailureKind::Internal, "what is uploaded ended early"))
        })?;
        self.finish(origin, repository, &upload, &digest).await.map_err(on)
    }

    /// Uploads a manifest or index under the tag of `reference`, or its digest if it has one.
    /// Returns the digest the registry has it under.
    ///
    /// # Errors
    /// [`ClientError`].
    pub async fn put_manifest(
        &self,
        reference: &Reference,
        media_type: &str,
        bytes: &[u8],
    ) -> Result<Digest, ClientError> {
        let on = |error: ClientError| {
            error.on(format!("cannot upload the manifest of {}", reference.familiar()))
        };
        let places = self.places(reference.registry()).map_err(on)?;
        let origin = places.origin().map_err(on)?;
        let (path, scopes) = (manifest_path(reference), writing(reference));
        let ask = Ask {
            method: Method::PUT,
            place: Place::Path(&path),
            repository: reference.repository(),
            scopes: &scopes,
            headers: vec![(CONTENT_TYPE, media_type.to_owned())],
        };
        let body = Body::Small(Bytes::copy_from_slice(bytes));
        let reply = self.exchange(origin, &ask, body).await.map_err(on)?;
        if !matches!(reply.answer.status, StatusCode::CREATED | StatusCode::OK) {
            return Err(on(reply.fail().await));
        }
        let named = reply.answer.header(DIGEST_HEADER).and_then(|text| text.parse::<Digest>().ok());
        let own = match reference.digest() {
            Some(digest) => digest.clone(),
            None => Digest::sha256(bytes),
        };
        match named {
            Some(named) if named.algorithm() == own.algorithm() && named != own => {
                Err(on(ClientError::invalid(format!("the registry made {named} of {own}"))))
            }
            _ => Ok(own),
        }
    }

    /// Deletes the manifest, or the tag, that `reference` names.
    ///
    /// # Errors
    /// [`ClientError`]; `Unsupported` if the registry does not delete.
    pub async fn delete_manifest(&self, reference: &Reference) -> Result<(), ClientError> {
        let on = |error: ClientError| error.on(format!("cannot delete {}", reference.familiar()));
        let places = self.places(reference.registry()).map_err(on)?;
        let origin = places.origin().map_err(on)?;
        let path = manifest_path(reference);
        let scopes = scopes(&[(reference.repository(), "delete,pull")]);
        let ask = Ask {
            method: Method::DELETE,
            place: Place::Path(&path),
            repository: reference.repository(),
            scopes: &scopes,
            headers: Vec::new(),
        };
        let reply = self.exchange(origin, &ask, Body::empty()).await.map_err(on)?;
        match reply.answer.status {
            StatusCode::ACCEPTED | StatusCode::OK | StatusCode::NO_CONTENT => Ok(()),
            _ => Err(on(reply.fail().await)),
        }
    }

    async fn begin(
        &self,
        origin: &Endpoint,
        repository: &Reference,
    ) -> Result<Upload, ClientError> {
        let name = repository.repository();
        let path = format!("{name}/blobs/uploads/");
        let reply = self.post(origin, name, &writing(repository), &path).await?;
        if reply.answer.status != StatusCode::ACCEPTED {
            return Err(reply.fail().await);
        }
        Ok(Upload { url: self.location(&reply)? })
    }

    async fn post(
        &self,
        origin: &Endpoint,
        repository: &str,
        scopes: &str,
        path: &str,
    ) -> Result<Reply, ClientError> {
        let ask = Ask {
            method: Method::POST,
            place: Place::Path(path),
            repository,
            scopes,
            headers: Vec::new(),
        };
        self.exchange(origin, &ask, Body::empty()).await
    }

    /// Sends what is left; returns where to go on.
    async fn patch(
        &self,
        origin: &Endpoint,
        repository: &Reference,
        upload: &Upload,
        range: Option<String>,
        stream: Stream,
    ) -> Result<Url, ClientError> {
        let mut headers = vec![(CONTENT_TYPE, OCTETS.to_owned())];
        headers.extend(range.map(|range| (CONTENT_RANGE, range)));
        let scopes = writing(repository);
        let ask = Ask {
            method: Method::PATCH,
            place: Place::Url(&upload.url),
            repository: repository.repository(),
            scopes: &scopes,
            headers,
        };
        let reply = self.exchange(origin, &ask, Body::Stream(stream)).await?;
        match reply.answer.status {
            StatusCode::ACCEPTED | StatusCode::CREATED | StatusCode::NO_CONTENT => {
                self.location(&reply)
            }
            _ => Err(reply.fail().await),
        }
    }

    /// Where an upload is and how many bytes the registry has of it.
    async fn state(
        &self,
        origin: &Endpoint,
        repository: &Reference,
        upload: &Upload,
    ) -> Result<Option<(Url, u64)>, ClientError> {
        let scopes = writing(repository);
        let ask = Ask {
            method: Method::GET,
            place: Place::Url(&upload.url),
            repository: repository.repository(),
            scopes: &scopes,
            headers: Vec::new(),
        };
        let reply = self.exchange(origin, &ask, Body::empty()).await?;
        if !matches!(reply.answer.status, StatusCode::NO_CONTENT | StatusCode::OK) {
            return Ok(None);
        }
        let last = reply.answer.header(RANGE).and_then(|range| {
            range.trim_start_matches("bytes=").split_once('-')?.1.parse::<u64>().ok()
        });
        // `0-0` is said of nothing and of one byte; to send it again is refused or harmless.
        let there = last.map_or(0, |last| if last == 0 { 0 } else { last + 1 });
        let url = match reply.answer.header(LOCATION) {
            Some(_) => self.location(&reply)?,
            None => upload.url.clone(),
        };
        Ok(Some((url, there)))
    }

    async fn finish(
        &self,
        origin: &Endpoint,
        repository: &Reference,
        upload: &Upload,
        digest: &Digest,
    ) -> Result<(), ClientError> {
        let url = upload.url.clone().with_query("digest", digest.as_str());
        let scopes = writing(repository);
        let ask = Ask {
            method: Method::PUT,
            place: Place::Url(&url),
            repository: repository.repository(),
            scopes: &scopes,
            headers: vec![(CONTENT_TYPE, OCTETS.to_owned())],
        };
        let reply = self.exchange(origin, &ask, Body::empty()).await?;
        match reply.answer.status {
            StatusCode::CREATED | StatusCode::NO_CONTENT | StatusCode::OK => Ok(()),
            _ => Err(reply.fail().await),
        }
    }

    /// Ends an upload; if that fails the registry forgets it by itself.
    async fn cancel(&self, origin: &Endpoint, repository: &str, scopes: &str, reply: &Reply) {
        let Ok(url) = self.location(reply) else { return };
        let ask = Ask {
            method: Method::DELETE,
            place: Place::Url(&url),
            repository,
            scopes,
            headers: Vec::new(),
        };
        let _ = self.exchange(origin, &ask, Body::empty()).await;
    }

    fn location(&self, reply: &Reply) -> Result<Url, ClientError> {
        let location: HeaderName = LOCATION;
        let Some(location) = reply.answer.header(location) else {
            let message = format!("{} names no place to upload to", reply.url.authority());
            return Err(ClientError::invalid(message));
        };
        self.accepted(reply, location)
    }
}

/// What bringing something to a repository needs to be allowed.
fn writing(repository: &Reference) -> String {
    scopes(&[(repository.repository(), "pull,push")])
}

/// Reports how far a body is while its answer is waited for.
async fn tell<T>(
    taken: &Taken,
    before: u64,
    progress: &dyn Fn(u64),
    sent: impl Future<Output = T>,
) -> T {
    let mut sent = std::pin::pin!(sent);
    let mut tick = tokio::time::interval(std::time::Duration::from_millis(100));
    loop {
        tokio::select! {
            biased;
            result = &mut sent => return result,
            _ = tick.tick() => progress(before + taken.bytes.get()),
        }
    }
}
