//! Whom we believe, and who we are, over TLS.

use std::cell::{OnceCell, RefCell};
use std::collections::{BTreeMap, HashMap};
use std::fmt;
use std::sync::Arc;

use rustls::client::danger::{HandshakeSignatureValid, ServerCertVerified, ServerCertVerifier};
use rustls::crypto::{CryptoProvider, WebPkiSupportedAlgorithms};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer, ServerName, UnixTime};
use rustls::{ClientConfig, DigitallySignedStruct, RootCertStore, SignatureScheme};

use super::error::{ClientError, FailureKind};
use crate::auth::Secret;
use crate::url::Authority;

/// Certificates as they lie in files, PEM.
#[derive(Debug, Default)]
pub struct Trust {
    /// The machine's authorities. Without any those of Mozilla's list are used that were current
    /// when this program was built.
    pub system: Vec<u8>,
    /// By host, with the port where one is named.
    pub hosts: BTreeMap<String, HostCertificates>,
}

/// Certificates for one host, PEM.
#[derive(Debug, Default, Clone)]
pub struct HostCertificates {
    /// Authorities to trust beside the machine's.
    pub authorities: Vec<u8>,
    /// Our certificate chain and its key.
    pub client: Option<(Vec<u8>, Secret)>,
}

/// TLS settings by host, made when they are first used.
#[derive(Debug)]
pub(super) struct Tls {
    trust: Trust,
    provider: Arc<CryptoProvider>,
    roots: OnceCell<Arc<RootCertStore>>,
    made: RefCell<HashMap<(Authority, bool), Arc<ClientConfig>>>,
}

impl Tls {
    pub(super) fn new(trust: Trust) -> Self {
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        Self { trust, provider, roots: OnceCell::new(), made: RefCell::default() }
    }

    /// Whether the operator named authorities for this host: then it is always verified.
    pub(super) fn has_authorities(&self, authority: &Authority) -> bool {
        self.certificates(authority).is_some_and(|known| !known.authorities.is_empty())
    }

    /// The settings for `authority`; with `verified` its certificate is checked.
    pub(super) fn config(
        &self,
        authority: &Authority,
        verified: bool,
    ) -> Result<Arc<ClientConfig>, ClientError> {
        let key = (authority.clone(), verified);
        if let Some(made) = self.made.borrow().get(&key) {
            return Ok(Arc::clone(made));
        }
        let fail = |reason: String| {
            let message = format!("the certificates for {authority} cannot be used: {reason}");
            ClientError::new(FailureKind::Internal, message)
        };
        let certificates = self.certificates(authority).cloned().unwrap_or_default();
        let builder = ClientConfig::builder_with_provider(Arc::clone(&self.provider))
            .with_safe_default_protocol_versions()
            .map_err(|error| fail(error.to_string()))?;
        let builder = if verified {
            builder.with_root_certificates(self.roots(&certificates).map_err(fail)?)
        } else {
            let algorithms = self.provider.signature_verification_algorithms;
            let anybody = Arc::new(Anybody { algorithms });
            builder.dangerous().with_custom_certificate_verifier(anybody)
        };
        let mut config = match certificates.client {
            None => builder.with_no_client_auth(),
            Some((chain, key)) => {
                let chain = chain_of(&chain).map_err(fail)?;
                let key = PrivateKeyDer::from_pem_slice(key.reveal().as_bytes())
                    .map_err(|error| fail(format!("the client key: {error}")))?;
                builder
                    .with_client_auth_cert(chain, key)
                    .map_err(|error| fail(format!("the client certificate: {error}")))?
            }
        };
        config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
        let config = Arc::new(config);
        self.made.borrow_mut().insert(key, Arc::clone(&config));
        Ok(config)
    }

    /// By host and port first, then by host.
    fn certificates(&self, authority: &Authority) -> Option<&HostCertificates> {
        let hosts = &self.trust.hosts;
        hosts.get(&authority.to_string()).or_else(|| hosts.get(&authority.host.to_string()))
    }

    fn roots(&self, certificates: &HostCertificates) -> Result<Arc<RootCertStore>, String> {
        let system = self.roots.get_or_init(|| Arc::new(system_roots(&self.trust.system)));
        if certificates.authorities.is_empty() {
            return Ok(Arc::clone(system));
        }
        let mut roots = RootCertStore::clone(system);
        for certificate in chain_of(&certificates.authorities)? {
            roots.add(certificate).map_err(|error| format!("an authority: {error}"))?;
        }
        Ok(Arc::new(roots))
    }
}

/// Single certificates of a machine's store that cannot be read do not spoil the others.
fn system_roots(pem: &[u8]) -> RootCertStore {
    let mut roots = RootCertStore::empty();
    roots.add_parsable_certificates(CertificateDer::pem_slice_iter(pem).filter_map(Result::ok));
    if roots.is_empty() {
        roots.extend(webpki_roots::TLS_SERVER_ROOTS.iter().cloned());
    }
    roots
}

fn chain_of(pem: &[u8]) -> Result<Vec<CertificateDer<'static>>, String> {
    let chain: Result<Vec<_>, _> = CertificateDer::pem_slice_iter(pem).collect();
    match chain {
        Ok(chain) if chain.is_empty() => Err("a file holds no certificate".to_owned()),
        Ok(chain) => Ok(chain),
        Err(error) => Err(error.to_string()),
    }
}

/// Believes everybody: for hosts that the operator listed as insecure.
struct Anybody {
    algorithms: WebPkiSupportedAlgorithms,
}

impl fmt::Debug for Anybody {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        formatter.write_str("Anybody")
    }
}

impl ServerCertVerifier for Anybody {
    fn verify_server_cert(
        &self,
        _: &CertificateDer<'_>,
        _: &[CertificateDer<'_>],
        _: &ServerName<'_>,
        _: &[u8],
        _: UnixTime,
    ) -> Result<ServerCertVerified, rustls::Error> {
        Ok(ServerCertVerified::assertion())
    }

    fn verify_tls12_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls12_signature(message, certificate, signed, &self.algorithms)
    }

    fn verify_tls13_signature(
        &self,
        message: &[u8],
        certificate: &CertificateDer<'_>,
        signed: &DigitallySignedStruct,
    ) -> Result<HandshakeSignatureValid, rustls::Error> {
        rustls::crypto::verify_tls13_signature(message, certificate, signed, &self.algorithms)
    }

    fn supported_verify_schemes(&self) -> Vec<SignatureScheme> {
        self.algorithms.supported_schemes()
    }
}
