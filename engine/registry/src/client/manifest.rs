//! Manifests and other documents. Spec: distribution-spec, "Pulling manifests".

use hull_oci::media_type::{DOCKER_INDEX, DOCKER_MANIFEST, OCI_INDEX, OCI_MANIFEST};
use hull_oci::{
    Algorithm, Descriptor, Digest, Hasher, MAX_CONFIG_BYTES, MAX_MANIFEST_BYTES, Reference,
};
use hyper::header::{ACCEPT, ACCEPT_ENCODING, CONTENT_LENGTH, CONTENT_TYPE, HeaderName};
use hyper::{Method, StatusCode};

use super::Client;
use super::body::Body;
use super::endpoint::Endpoint;
use super::error::{ClientError, FailureKind};
use super::exchange::{Ask, Place, Reply};
use super::tokens::scopes;

pub(super) const DIGEST_HEADER: HeaderName = HeaderName::from_static("docker-content-digest");

impl Client {
    /// Media type, digest and size of the manifest that `reference` names now.
    ///
    /// # Errors
    /// [`ClientError`]; `NotFound` if there is none.
    pub async fn resolve(&self, reference: &Reference) -> Result<Descriptor, ClientError> {
        let resolved = self.any(reference.registry(), async |endpoint| {
            match self.head(endpoint, reference).await? {
                Some(descriptor) => Ok(descriptor),
                None => self.get(endpoint, reference).await.map(|(descriptor, _)| descriptor),
            }
        });
        resolved.await.map_err(|error| error.on(format!("cannot resolve {}", reference.familiar())))
    }

    /// The manifest that `reference` names, and what it is: media type as the registry says
    /// (empty if it does not), digest and size as they are.
    ///
    /// # Errors
    /// [`ClientError`]; `Invalid` for more than 4 MiB, or other bytes than the reference's digest
    /// or the registry's own says.
    pub async fn manifest(
        &self,
        reference: &Reference,
    ) -> Result<(Descriptor, Vec<u8>), ClientError> {
        let got =
            self.any(reference.registry(), async |endpoint| self.get(endpoint, reference).await);
        got.await.map_err(|error| {
            error.on(format!("cannot read the manifest of {}", reference.familiar()))
        })
    }

    /// A small blob.
    ///
    /// # Errors
    /// [`ClientError`]; `Invalid` for more than 8 MiB, or other bytes than its descriptor says.
    pub async fn document(
        &self,
        repository: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, ClientError> {
        let got = self.any(repository.registry(), async |endpoint| {
            self.get_document(endpoint, repository, descriptor).await
        });
        got.await.map_err(|error| {
            let name = repository.familiar_name();
            error.on(format!("cannot read {} of {name}", descriptor.digest))
        })
    }

    async fn get_document(
        &self,
        endpoint: &Endpoint,
        repository: &Reference,
        descriptor: &Descriptor,
    ) -> Result<Vec<u8>, ClientError> {
        let limit = usize::try_from(descriptor.size).unwrap_or(usize::MAX);
        if limit > MAX_CONFIG_BYTES {
            let size = descriptor.size;
            let message = format!("it has {size} bytes, more than the {MAX_CONFIG_BYTES} allowed");
            return Err(ClientError::invalid(message));
        }
        let path = format!("{}/blobs/{}", repository.repository(), descriptor.digest);
        let reply = self.read_from(endpoint, Method::GET, repository, &path, None).await?;
        if reply.answer.status != StatusCode::OK {
            return Err(reply.fail().await);
        }
        let bytes = reply.answer.read(limit).await?.ok_or_else(|| {
            ClientError::invalid(format!(
                "it has more bytes than the {} of its size",
                descriptor.size
            ))
        })?;
        if bytes.len() as u64 != descriptor.size {
            let message = format!("it has {} bytes, not {}", bytes.len(), descriptor.size);
            return Err(ClientError::invalid(message));
        }
        matches(&bytes, &descriptor.digest)?;
        Ok(bytes)
    }

    /// `None` if the registry does not say enough without the body.
    async fn head(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
    ) -> Result<Option<Descriptor>, ClientError> {
        let path = manifest_path(reference);
        let reply =
            self.read_from(endpoint, Method::HEAD, reference, &path, Some(accepted())).await?;
        let answer = &reply.answer;
        match answer.status {
            StatusCode::OK => {}
            StatusCode::METHOD_NOT_ALLOWED | StatusCode::NOT_IMPLEMENTED => return Ok(None),
            // Some do not know HEAD and say it this way; if the manifest is not there, GET says so
            // with a reason.
            StatusCode::NOT_FOUND => return Ok(None),
            _ => return Err(reply.fail().await),
        }
        let digest = answer.header(DIGEST_HEADER).and_then(|text| text.parse::<Digest>().ok());
        let size = answer.header(CONTENT_LENGTH).and_then(|text| text.parse::<u64>().ok());
        let media_type = media_type(&reply);
        let (Some(digest), Some(size)) = (digest, size) else { return Ok(None) };
        if let Some(wanted) = reference.digest()
            && *wanted != digest
        {
            // It may name it by another algorithm; the bytes decide.
            if wanted.algorithm() != digest.algorithm() {
                return Ok(None);
            }
            let message = format!("the registry has {digest} there");
            return Err(ClientError::invalid(message));
        }
        if size > MAX_MANIFEST_BYTES as u64 {
            return Err(too_large());
        }
        Ok(Some(Descriptor::new(media_type, digest, size)))
    }

    async fn get(
        &self,
        endpoint: &Endpoint,
        reference: &Reference,
    ) -> Result<(Descriptor, Vec<u8>), ClientError> {
        let path = manifest_path(reference);
        let reply =
            self.read_from(endpoint, Method::GET, reference, &path, Some(accepted())).await?;
        if reply.answer.status != StatusCode::OK {
            return Err(reply.fail().await);
        }
        let named = reply.answer.header(DIGEST_HEADER).and_then(|text| text.parse::<Digest>().ok());
        let media_type = media_type(&reply);
        let bytes = reply.answer.read(MAX_MANIFEST_BYTES).await?.ok_or_else(too_large)?;
        let digest = match (reference.digest(), named) {
            (Some(wanted), _) => wanted.clone(),
            (None, Some(named)) => named,
            (None, None) => Digest::sha256(&bytes),
        };
        matches(&bytes, &digest)?;
        Ok((Descriptor::new(media_type, digest, bytes.len() as u64), bytes))
    }

    pub(super) async fn read_from(
        &self,
        endpoint: &Endpoint,
        method: Method,
        repository: &Reference,
        path: &str,
        accept: Option<String>,
    ) -> Result<Reply, ClientError> {
        let scopes = self.scopes_of(repository);
        let mut headers = vec![(ACCEPT_ENCODING, "identity".to_owned())];
        headers.extend(accept.map(|accept| (ACCEPT, accept)));
        let ask = Ask {
            method,
            place: Place::Path(path),
            repository: repository.repository(),
            scopes: &scopes,
            headers,
        };
        self.exchange(endpoint, &ask, Body::empty()).await
    }

    /// What reading a repository needs to be allowed.
    fn scopes_of(&self, repository: &Reference) -> String {
        scopes(&[(repository.repository(), "pull")])
    }
}

fn accepted() -> String {
    [OCI_INDEX, OCI_MANIFEST, DOCKER_INDEX, DOCKER_MANIFEST, "*/*;q=0.1"].join(", ")
}

pub(super) fn manifest_path(reference: &Reference) -> String {
    let repository = reference.repository();
    match (reference.digest(), reference.tag()) {
        (Some(digest), _) => format!("{repository}/manifests/{digest}"),
        (None, tag) => format!("{repository}/manifests/{}", tag.unwrap_or("latest")),
    }
}

/// The media type without its parameters.
fn media_type(reply: &Reply) -> String {
    let value = reply.answer.header(CONTENT_TYPE).unwrap_or_default();
    value.split(';').next().unwrap_or_default().trim().to_ascii_lowercase()
}

fn too_large() -> ClientError {
    ClientError::invalid(format!("it has more bytes than the {MAX_MANIFEST_BYTES} allowed"))
}

/// Refuses bytes that are not those of `digest`.
pub(super) fn matches(bytes: &[u8], digest: &Digest) -> Result<(), ClientError> {
    let mut hasher = Hasher::new(digest.algorithm());
    hasher.update(bytes);
    let actual = hasher.finish();
    if actual == *digest {
        return Ok(());
    }
    let algorithm: Algorithm = digest.algorithm();
    let message = format!(
        "the registry sent other bytes than it was asked for: their {} digest is {actual}, not {digest}",
        algorithm.as_str()
    );
    Err(ClientError::new(FailureKind::Invalid, message))
}
