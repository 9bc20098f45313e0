//! What the machine says of certificates and name servers, read while files can still be opened.

use std::collections::BTreeMap;
use std::fs;
use std::io;
use std::path::{Path, PathBuf};

use hull_registry::auth::Secret;
use hull_registry::client::{DnsSettings, HostCertificates, Settings, Trust};
use hull_registry::config::Proxies;

use crate::{Failure, FailureKind, Session};

/// Where distributions keep the authorities they trust.
const BUNDLES: [&str; 6] = [
    "/etc/ssl/certs/ca-certificates.crt",
    "/etc/pki/tls/certs/ca-bundle.crt",
    "/etc/ssl/ca-bundle.pem",
    "/etc/pki/ca-trust/extracted/pem/tls-ca-bundle.pem",
    "/etc/ssl/cert.pem",
    "/etc/pki/tls/cacert.pem",
];

/// The most files of one folder, and the largest file, in bytes, that are read.
const MAX_FILES: usize = 2000;
const MAX_FILE: u64 = 8 << 20;

/// All that a client needs.
pub(crate) fn settings(session: Session) -> Result<Settings, Failure> {
    let variable = |name: &str| session.environment.get(name).cloned();
    let proxies = Proxies::read(variable).map_err(|error| invalid(error.to_string()))?;
    let trust = Trust { system: system(&session)?, hosts: hosts(&session)? };
    let text = |path: &str| match read(Path::new(path)) {
        Ok(bytes) => String::from_utf8_lossy(&bytes).into_owned(),
        // A machine without them asks its own name server.
        Err(_) => String::new(),
    };
    Ok(Settings {
        registries: session.registries,
        proxies,
        trust,
        dns: DnsSettings::parse(&text("/etc/resolv.conf"), &text("/etc/hosts")),
        credentials: session.credentials,
        offline: session.offline,
        user_agent: session.user_agent,
    })
}

fn system(session: &Session) -> Result<Vec<u8>, Failure> {
    let named = |name: &str| session.environment.get(name).filter(|value| !value.is_empty());
    let (file, folders) = (named("SSL_CERT_FILE"), named("SSL_CERT_DIR"));
    let mut pem = Vec::new();
    if let Some(file) = file {
        let bytes =
            read(Path::new(file)).map_err(|error| unreadable("SSL_CERT_FILE", file, &error));
        append(&mut pem, &bytes?);
    }
    for folder in folders.into_iter().flat_map(|folders| folders.split(':')) {
        let files =
            files(Path::new(folder)).map_err(|error| unreadable("SSL_CERT_DIR", folder, &error))?;
        for file in files {
            // What else lies in such a folder is no certificate.
            if let Ok(bytes) = read(&file) {
                append(&mut pem, &bytes);
            }
        }
    }
    if file.is_none() && folders.is_none() {
        let bundle = BUNDLES.iter().find_map(|path| read(Path::new(path)).ok());
        append(&mut pem, &bundle.unwrap_or_default());
    }
    Ok(pem)
}

/// Certificates by host: of registries.toml, and of the folders for those it does not name.
fn hosts(session: &Session) -> Result<BTreeMap<String, HostCertificates>, Failure> {
    let mut hosts = BTreeMap::new();
    for folder in session.certificate_folders.iter().rev() {
        let Ok(entries) = fs::read_dir(folder) else { continue };
        for entry in entries.take(MAX_FILES).flatten() {
            let Ok(host) = entry.file_name().into_string() else { continue };
            hosts.insert(host.to_ascii_lowercase(), host_folder(&entry.path())?);
        }
    }
    for (host, named) in session.registries.certificates() {
        let load = |path: &PathBuf| {
            let said = format!("registry.\"{host}\"");
            read(path).map_err(|error| unreadable(&said, &path.display().to_string(), &error))
        };
        let known: &mut HostCertificates = hosts.entry(host.to_ascii_lowercase()).or_default();
        if let Some(path) = &named.authorities {
            known.authorities = load(path)?;
        }
        if let Some((certificate, key)) = &named.client {
            known.client = Some((load(certificate)?, secret(load(key)?, key)?));
        }
    }
    Ok(hosts)
}

/// As Docker has it: `*.crt` are authorities, `*.cert` with `*.key` are ours.
fn host_folder(folder: &Path) -> Result<HostCertificates, Failure> {
    let mut known = HostCertificates::default();
    let load = |path: &Path| {
        let shown = path.display().to_string();
        read(path).map_err(|error| unreadable("a certificate folder", &shown, &error))
    };
    // What is no folder has no certificates.
    for path in files(folder).unwrap_or_default() {
        match path.extension().and_then(|extension| extension.to_str()) {
            Some("crt") => append(&mut known.authorities, &load(&path)?),
            Some("cert") => {
                let key = path.with_extension("key");
                known.client = Some((load(&path)?, secret(load(&key)?, &key)?));
            }
            _ => {}
        }
    }
    Ok(known)
}

fn files(folder: &Path) -> io::Result<Vec<PathBuf>> {
    let mut files: Vec<PathBuf> =
        fs::read_dir(folder)?.take(MAX_FILES).flatten().map(|entry| entry.path()).collect();
    files.sort();
    Ok(files)
}

fn read(path: &Path) -> io::Result<Vec<u8>> {
    let size = fs::metadata(path)?.len();
    if size > MAX_FILE {
        return Err(io::Error::new(io::ErrorKind::InvalidData, "larger than 8 MiB"));
    }
    fs::read(path)
}

fn append(pem: &mut Vec<u8>, more: &[u8]) {
    pem.extend_from_slice(more);
    pem.push(b'\n');
}

fn secret(bytes: Vec<u8>, path: &Path) -> Result<Secret, Failure> {
    String::from_utf8(bytes)
        .map(Secret::new)
        .map_err(|_| invalid(format!("{} is no PEM", path.display())))
}

fn unreadable(what: &str, path: &str, error: &io::Error) -> Failure {
    invalid(format!("cannot read {path}, which {what} names: {error}"))
}

fn invalid(message: String) -> Failure {
    Failure { kind: FailureKind::Invalid, message, hint: None }
}
