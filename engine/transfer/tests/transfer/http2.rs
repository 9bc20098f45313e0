//! HTTP/2, agreed on in the TLS handshake.

use std::convert::Infallible;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};

use http_body_util::{BodyExt, Full};
use hull_oci::Digest;
use hull_transfer::{FailureKind, Transfer};
use hyper::body::{Bytes, Incoming};
use hyper::service::service_fn;
use hyper::{Method, Request, Response, StatusCode};
use hyper_util::rt::{TokioExecutor, TokioIo};
use rustls::pki_types::pem::PemObject;
use rustls::pki_types::{CertificateDer, PrivateKeyDer};
use tokio_rustls::TlsAcceptor;

use crate::support::{blob, fetch, noise, program, reference, refused, session};
use crate::tls::{Authority, Signed};

/// A registry that speaks nothing else; it has these blobs and takes uploads.
struct Registry {
    address: String,
    connections: Arc<AtomicUsize>,
    uploaded: Arc<Mutex<Vec<u8>>>,
    _end: tokio::sync::oneshot::Sender<()>,
}

impl Registry {
    fn start(signed: &Signed, blobs: Vec<Vec<u8>>) -> Self {
        let chain = vec![CertificateDer::from_pem_slice(signed.certificate.as_bytes()).unwrap()];
        let key = PrivateKeyDer::from_pem_slice(signed.key.as_bytes()).unwrap();
        let provider = Arc::new(rustls::crypto::ring::default_provider());
        let mut config = rustls::ServerConfig::builder_with_provider(provider)
            .with_safe_default_protocol_versions()
            .unwrap()
            .with_no_client_auth()
            .with_single_cert(chain, key)
            .unwrap();
        config.alpn_protocols = vec![b"h2".to_vec()];
        let acceptor = TlsAcceptor::from(Arc::new(config));
        let listener = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
        listener.set_nonblocking(true).unwrap();
        let address = listener.local_addr().unwrap().to_string();
        let (end, ended) = tokio::sync::oneshot::channel();
        let connections = Arc::new(AtomicUsize::new(0));
        let uploaded = Arc::<Mutex<Vec<u8>>>::default();
        let (count, held) = (Arc::clone(&connections), Arc::clone(&uploaded));
        let blobs = Arc::new(blobs);
        std::thread::spawn(move || {
            let runtime =
                tokio::runtime::Builder::new_current_thread().enable_all().build().unwrap();
            let serve = async move {
                let listener = tokio::net::TcpListener::from_std(listener).unwrap();
                loop {
                    let (stream, _) = listener.accept().await.unwrap();
                    let (acceptor, blobs, held) =
                        (acceptor.clone(), Arc::clone(&blobs), Arc::clone(&held));
                    count.fetch_add(1, Ordering::SeqCst);
                    tokio::spawn(async move {
                        let Ok(stream) = acceptor.accept(stream).await else { return };
                        let service = service_fn(move |request| {
                            answer(Arc::clone(&blobs), Arc::clone(&held), request)
                        });
                        // A client that goes away ends it.
                        let _ = hyper::server::conn::http2::Builder::new(TokioExecutor::new())
                            .serve_connection(TokioIo::new(stream), service)
                            .await;
                    });
                }
            };
            runtime.block_on(async {
                tokio::select! {
                    () = serve => {}
                    _ = ended => {}
                }
            });
        });
        Self { address, connections, uploaded, _end: end }
    }
}

async fn answer(
    blobs: Arc<Vec<Vec<u8>>>,
    held: Arc<Mutex<Vec<u8>>>,
    request: Request<Incoming>,
) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    let plain = |status: StatusCode| Response::builder().status(status);
    let empty = Full::new(Bytes::new());
    let response = match *request.method() {
        Method::GET => match blobs.iter().find(|bytes| path.ends_with(Digest::sha256(bytes).hex()))
        {
            None => plain(StatusCode::NOT_FOUND).body(empty),
            Some(bytes) => {
                let range = request.headers().get("range").map(|range| {
                    let range = range.to_str().unwrap().trim_start_matches("bytes=");
                    range.trim_end_matches('-').parse::<usize>().unwrap()
                });
                let (status, start) = match range {
                    None => (StatusCode::OK, 0),
                    Some(start) => (StatusCode::PARTIAL_CONTENT, start),
                };
                plain(status)
                    .header(
                        "Content-Range",
                        format!("bytes {start}-{}/{}", bytes.len() - 1, bytes.len()),
                    )
                    .body(Full::new(Bytes::copy_from_slice(&bytes[start..])))
            }
        },
        Method::POST => {
            plain(StatusCode::ACCEPTED).header("Location", "/v2/a/blobs/uploads/1").body(empty)
        }
        Method::PATCH => {
            let body = request.into_body().collect().await.unwrap().to_bytes();
            held.lock().unwrap().extend_from_slice(&body);
            plain(StatusCode::ACCEPTED).header("Location", "/v2/a/blobs/uploads/1").body(empty)
        }
        _ => plain(StatusCode::CREATED).body(empty),
    };
    Ok(response.unwrap())
}

#[test]
fn many_blobs_share_one_connection() {
    let authority = Authority::new();
    let blobs: Vec<Vec<u8>> = (0..12).map(|number| noise(3_000_000 + number)).collect();
    let registry = Registry::start(&authority.sign("127.0.0.1"), blobs.clone());
    let toml = format!(
        "[registry.\"{}\"]\nca = \"{}\"",
        registry.address,
        authority.path("ca.pem").display()
    );
    let transfer = Transfer::spawn(program(), &session(&toml)).unwrap();
    let repository = reference(&registry.address, "a");
    std::thread::scope(|scope| {
        for (number, bytes) in blobs.iter().enumerate() {
            let (transfer, repository) = (&transfer, &repository);
            scope.spawn(move || {
                let have = if number % 2 == 0 { 0 } else { 1_234_567 };
                let (result, got) = fetch(transfer, repository, &blob(bytes), &bytes[..have]);
                result.unwrap();
                assert!(&got == bytes);
            });
        }
    });
    assert_eq!(registry.connections.load(Ordering::SeqCst), 1);
    let missing = fetch(&transfer, &repository, &blob(b"missing"), b"").0;
    refused(missing, FailureKind::NotFound, "404");

    let (bytes, mut file) = (noise(2_000_000), tempfile::tempfile().unwrap());
    std::io::Write::write_all(&mut file, &bytes).unwrap();
    let source = std::os::fd::AsFd::as_fd(&file);
    transfer.upload(&repository, &blob(&bytes), source, &mut |_| {}).unwrap();
    assert!(*registry.uploaded.lock().unwrap() == bytes);
    assert_eq!(registry.connections.load(Ordering::SeqCst), 1);
}
