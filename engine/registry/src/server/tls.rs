//! Certificates.

use std::path::{Path, PathBuf};
use std::sync::Arc;

use tokio_rustls::TlsAcceptor;
use tokio_rustls::rustls::crypto::ring;
use tokio_rustls::rustls::pki_types::pem::PemObject as _;
use tokio_rustls::rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::rustls::server::WebPkiClientVerifier;
use tokio_rustls::rustls::{self, RootCertStore, ServerConfig};

use super::config::Tls;

/// Certificates that cannot be used.
#[derive(Debug, thiserror::Error)]
pub enum TlsError {
    /// A file cannot be read, or is no PEM.
    #[error("cannot read {}: {reason}", path.display())]
    Read {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
    /// They do not fit each other.
    #[error("certificate {} and its key cannot be used", cert.display())]
    Use {
        /// The certificate.
        cert: PathBuf,
        /// Why.
        source: Box<rustls::Error>,
    },
    /// The authorities of clients cannot be used.
    #[error("the authorities in {} cannot be used: {reason}", path.display())]
    Authority {
        /// Which file.
        path: PathBuf,
        /// Why.
        reason: String,
    },
}

/// Reads the files: HTTP/2 and HTTP/1.1, TLS 1.2 and 1.3.
pub(super) fn acceptor(tls: &Tls) -> Result<TlsAcceptor, TlsError> {
    let certificates = certificates(&tls.cert)?;
    let key =
        PrivateKeyDer::from_pem_file(&tls.key).map_err(|error| unreadable(&tls.key, error))?;
    let unusable =
        |source: rustls::Error| TlsError::Use { cert: tls.cert.clone(), source: Box::new(source) };
    let provider = Arc::new(ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .map_err(unusable)?;
    let builder = match &tls.client_ca {
        None => builder.with_no_client_auth(),
        Some(path) => {
            let fail = |reason: String| TlsError::Authority { path: path.clone(), reason };
            let mut roots = RootCertStore::empty();
            for certificate in self::certificates(path)? {
                roots.add(certificate).map_err(|error| fail(error.to_string()))?;
            }
            let verifier = WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider)
                .build()
                .map_err(|error| fail(error.to_string()))?;
            builder.with_client_cert_verifier(verifier)
        }
    };
    let mut config = builder.with_single_cert(certificates, key).map_err(unusable)?;
    config.alpn_protocols = vec![b"h2".to_vec(), b"http/1.1".to_vec()];
    Ok(TlsAcceptor::from(Arc::new(config)))
}

fn certificates(path: &Path) -> Result<Vec<CertificateDer<'static>>, TlsError> {
    let read = CertificateDer::pem_file_iter(path).map_err(|error| unreadable(path, error))?;
    let found: Vec<_> = read.collect::<Result<_, _>>().map_err(|error| unreadable(path, error))?;
    if found.is_empty() {
        let reason = "it holds no certificate".to_owned();
        return Err(TlsError::Read { path: path.to_owned(), reason });
    }
    Ok(found)
}

fn unreadable(path: &Path, error: impl std::fmt::Display) -> TlsError {
    TlsError::Read { path: path.to_owned(), reason: error.to_string() }
}
