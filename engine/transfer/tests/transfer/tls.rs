//! TLS: a private authority, client certificates, and who is believed.

use std::io::{Read, Write};
use std::net::TcpStream;
use std::path::PathBuf;
use std::sync::Arc;

use hull_test_support::registry::{Answer, Io, ScriptedRegistry};
use hull_transfer::{FailureKind, Transfer};
use rcgen::{BasicConstraints, CertificateParams, CertifiedIssuer, IsCa, KeyPair};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use rustls::server::WebPkiClientVerifier;
use rustls::{RootCertStore, ServerConfig, ServerConnection, StreamOwned};

use crate::support::{program, reference, refused, session};

/// An authority and what it signed, in files.
pub(crate) struct Authority {
    folder: tempfile::TempDir,
    issuer: CertifiedIssuer<'static, KeyPair>,
}

pub(crate) struct Signed {
    pub(crate) certificate: String,
    pub(crate) key: String,
}

impl Authority {
    pub(crate) fn new() -> Self {
        let mut params = CertificateParams::new(Vec::new()).unwrap();
        params.is_ca = IsCa::Ca(BasicConstraints::Unconstrained);
        let issuer = CertifiedIssuer::self_signed(params, KeyPair::generate().unwrap()).unwrap();
        let authority = Self { folder: tempfile::tempdir().unwrap(), issuer };
        authority.write("ca.pem", &authority.issuer.pem());
        authority
    }

    pub(crate) fn sign(&self, name: &str) -> Signed {
        let key = KeyPair::generate().unwrap();
        let params = CertificateParams::new(vec![name.to_owned()]).unwrap();
        let certificate = params.signed_by(&key, &self.issuer).unwrap();
        Signed { certificate: certificate.pem(), key: key.serialize_pem() }
    }

    fn write(&self, name: &str, text: &str) -> PathBuf {
        let path = self.folder.path().join(name);
        std::fs::create_dir_all(path.parent().unwrap()).unwrap();
        std::fs::write(&path, text).unwrap();
        path
    }

    pub(crate) fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }
}

/// A registry over TLS that shows `signed`; with `clients` only to those this one signed.
pub(crate) fn registry(signed: &Signed, clients: Option<&Authority>) -> ScriptedRegistry {
    let provider = Arc::new(rustls::crypto::ring::default_provider());
    let builder = ServerConfig::builder_with_provider(Arc::clone(&provider))
        .with_safe_default_protocol_versions()
        .unwrap();
    let chain = vec![CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap()];
    let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap();
    let builder = match clients {
        None => builder.with_no_client_auth(),
        Some(authority) => {
            let mut roots = RootCertStore::empty();
            roots.add(authority.issuer.der().clone()).unwrap();
            let verifier =
                WebPkiClientVerifier::builder_with_provider(Arc::new(roots), provider).build();
            builder.with_client_cert_verifier(verifier.unwrap())
        }
    };
    let config = Arc::new(builder.with_single_cert(chain, key).unwrap());
    ScriptedRegistry::start_on(
        "127.0.0.1:0",
        move |stream: TcpStream| {
            let mut connection = ServerConnection::new(Arc::clone(&config)).ok()?;
            let mut stream = stream;
            connection.complete_io(&mut stream).ok()?;
            let stream = StreamOwned::new(connection, stream);
            Some(Box::new(Stream(stream)) as Box<dyn Io>)
        },
        |_| Answer::ok("{}"),
    )
}

/// What the client ends with is no concern of the server's.
struct Stream(StreamOwned<ServerConnection, TcpStream>);

impl Read for Stream {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        self.0.read(buffer)
    }
}

impl Write for Stream {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        self.0.write(bytes)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

#[test]
fn an_authority_of_ones_own() {
    let (good, other) = (Authority::new(), Authority::new());
    let server = registry(&good.sign("127.0.0.1"), None);
    let wanted = reference(&server.address(), "a:v1");
    let toml = |authority: &Authority| {
        format!(
            "[registry.\"{}\"]\nca = \"{}\"",
            server.address(),
            authority.path("ca.pem").display()
        )
    };
    Transfer::spawn(program(), &session(&toml(&good))).unwrap().manifest(&wanted).unwrap();
    let result = Transfer::spawn(program(), &session(&toml(&other))).unwrap().manifest(&wanted);
    refused(result, FailureKind::Denied, "certificate");
    // For another name.
    let misnamed = registry(&good.sign("registry.example"), None);
    let toml = format!(
        "[registry.\"{}\"]\nca = \"{}\"",
        misnamed.address(),
        good.path("ca.pem").display()
    );
    let result = Transfer::spawn(program(), &session(&toml))
        .unwrap()
        .manifest(&reference(&misnamed.address(), "a:v1"));
    refused(result, FailureKind::Denied, "certificate");
    assert!(misnamed.requests().is_empty());
}

/// This machine's registries may show any certificate, as Docker has it.
#[test]
fn loopback_is_insecure_by_itself() {
    let authority = Authority::new();
    let server = registry(&authority.sign("registry.example"), None);
    let transfer = Transfer::spawn(program(), &session("")).unwrap();
    transfer.manifest(&reference(&server.address(), "a:v1")).unwrap();
}

/// What the machine trusts is read from where SSL_CERT_FILE says.
#[test]
fn the_machines_authorities() {
    let (good, other) = (Authority::new(), Authority::new());
    let server = registry(&good.sign("127.0.0.1"), None);
    let wanted = reference(&server.address(), "a:v1");
    // Naming some authority for the host makes it one that is verified.
    let toml =
        format!("[registry.\"{}\"]\nca = \"{}\"", server.address(), other.path("ca.pem").display());
    let mut session = session(&toml);
    let path = good.path("ca.pem").display().to_string();
    session.environment.insert("SSL_CERT_FILE".to_owned(), path);
    Transfer::spawn(program(), &session).unwrap().manifest(&wanted).unwrap();
    session.environment.clear();
    let folder = good.folder.path().display().to_string();
    session.environment.insert("SSL_CERT_DIR".to_owned(), folder);
    Transfer::spawn(program(), &session).unwrap().manifest(&wanted).unwrap();
    session.environment.insert("SSL_CERT_FILE".to_owned(), "/nonexistent".to_owned());
    let error = Transfer::spawn(program(), &session).unwrap_err();
    assert!(error.to_string().contains("SSL_CERT_FILE"), "{error}");
}

#[test]
fn client_certificates_by_configuration_and_by_folder() {
    let (servers, clients) = (Authority::new(), Authority::new());
    let server = registry(&servers.sign("127.0.0.1"), Some(&clients));
    let wanted = reference(&server.address(), "a:v1");
    let ours = clients.sign("anna");
    let certificate = clients.write("client.pem", &ours.certificate);
    let key = clients.write("client.key", &ours.key);
    let ca = format!(
        "[registry.\"{}\"]\nca = \"{}\"\n",
        server.address(),
        servers.path("ca.pem").display()
    );
    let without = Transfer::spawn(program(), &session(&ca)).unwrap().manifest(&wanted);
    assert!(matches!(without.unwrap_err().kind(), FailureKind::Denied | FailureKind::Unavailable));
    let toml = format!(
        "{ca}client-certificate = \"{}\"\nclient-key = \"{}\"",
        certificate.display(),
        key.display()
    );
    Transfer::spawn(program(), &session(&toml)).unwrap().manifest(&wanted).unwrap();
    // As Docker keeps them.
    let place = format!("certs.d/{}", server.address());
    clients.write(&format!("{place}/ca.crt"), &servers.issuer.pem());
    clients.write(&format!("{place}/client.cert"), &ours.certificate);
    clients.write(&format!("{place}/client.key"), &ours.key);
    let mut session = session("");
    session.certificate_folders = vec![clients.path("certs.d")];
    Transfer::spawn(program(), &session).unwrap().manifest(&wanted).unwrap();
}
