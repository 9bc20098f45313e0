//! Registries that run: ours over the store of one Hull, and the one that Debian has.

use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};
use serde_json::Value;

use crate::http::Http;
use crate::{Hull, eventually, needs};

/// `hull registry serve` of one Hull, named `localhost:5000` in its store. Ends with the test.
#[derive(Debug)]
pub struct RegistryServer {
    child: Child,
    address: String,
    log: PathBuf,
    begin: usize,
}

/// `docker-registry` with a folder of its own. Ends with the test.
#[derive(Debug)]
pub struct DockerRegistry {
    child: Child,
    address: String,
}

impl RegistryServer {
    /// Starts one on a port of its own.
    #[track_caller]
    pub fn start(hull: &Hull) -> Self {
        Self::start_with(hull, &[])
    }

    /// The same with more options.
    #[track_caller]
    pub fn start_with(hull: &Hull, options: &[&str]) -> Self {
        let mut words = vec!["registry", "serve"];
        if !options.contains(&"--addr") {
            words.extend(["--addr", "127.0.0.1:0"]);
        }
        words.extend(["--name", "localhost:5000"]);
        words.extend(options);
        let log = hull.folder().join("registry.log");
        let begin = std::fs::read(&log).map_or(0, |bytes| bytes.len());
        let said = std::fs::File::options().append(true).create(true).open(&log).unwrap();
        let mut command = hull.command(&words);
        let child = command.stdout(Stdio::null()).stderr(said).spawn().expect("hull starts");
        let mut server = Self { child, address: String::new(), log, begin };
        let up = eventually(Duration::from_secs(30), || {
            let serving = server.lines().into_iter().find(|line| line["message"] == "serving");
            if let Some(address) = serving.as_ref().and_then(|line| line["address"].as_str()) {
                server.address = address.to_owned();
            }
            serving.is_some()
        });
        assert!(up, "the registry does not start:\n{}", server.log());
        server
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client of it.
    pub fn http(&self) -> Http {
        Http::at(&self.address)
    }

    /// Its process.
    pub fn pid(&self) -> i32 {
        Pid::from_child(&self.child).as_raw_nonzero().get()
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        let all = std::fs::read(&self.log).unwrap_or_default();
        String::from_utf8_lossy(&all[self.begin.min(all.len())..]).into_owned()
    }

    /// The same, line by line; what is no JSON is left out.
    pub fn lines(&self) -> Vec<Value> {
        self.log().lines().filter_map(|line| serde_json::from_str(line).ok()).collect()
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(Pid::from_child(&self.child), signal).unwrap();
    }

    /// Ends it in order; its exit code.
    #[track_caller]
    pub fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        let mut status = None;
        let ended = eventually(Duration::from_secs(20), || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "the registry does not end:\n{}", self.log());
        status.and_then(|status| status.code())
    }

    /// Ends it at once.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }
}

impl Drop for RegistryServer {
    fn drop(&mut self) {
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = self.child.kill();
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the registry's log:\n{}", self.log());
        }
    }
}

impl DockerRegistry {
    /// Starts one with its state in `folder`; says so if the machine has none.
    pub fn start(folder: &Path) -> Option<Self> {
        let program = needs::program("docker-registry")?;
        let address = free_address();
        let state = folder.join("docker-registry");
        let config = format!(
            "version: 0.1\nlog: {{level: error}}\nstorage:\n  filesystem: {{rootdirectory: {}}}\n  \
             delete: {{enabled: true}}\nhttp: {{addr: \"{address}\"}}\n",
            state.display()
        );
        let path = folder.join("docker-registry.yml");
        std::fs::write(&path, config).unwrap();
        let log = std::fs::File::create(folder.join("docker-registry.log")).unwrap();
        let child = Command::new(program)
            .arg("serve")
            .arg(&path)
            .stdin(Stdio::null())
            .stdout(Stdio::null())
            .stderr(log)
            .spawn()
            .expect("docker-registry starts");
        let registry = Self { child, address };
        let up = eventually(Duration::from_secs(30), || {
            registry
                .http()
                .try_send("GET", "/v2/", &[], b"")
                .is_ok_and(|answer| answer.status == 200)
        });
        assert!(up, "docker-registry does not answer");
        Some(registry)
    }

    /// `127.0.0.1:port`
    pub fn address(&self) -> &str {
        &self.address
    }

    /// A client of it.
    pub fn http(&self) -> Http {
        Http::at(&self.address)
    }
}

impl Drop for DockerRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// An address that nobody listens on.
pub fn free_address() -> String {
    TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().to_string()
}

/// The digest of bytes: `algorithm` is `sha256` or `sha512`.
pub fn digest(algorithm: &str, bytes: &[u8]) -> String {
    let algorithm = match algorithm {
        "sha512" => hull_oci::Algorithm::Sha512,
        _ => hull_oci::Algorithm::Sha256,
    };
    let mut hasher = hull_oci::Hasher::new(algorithm);
    hasher.update(bytes);
    hasher.finish().to_string()
}

/// Pushes an image the plain way; the digest of its manifest.
#[track_caller]
pub fn push(http: &Http, repository: &str, tag: &str, image: &crate::image::Image) -> String {
    let files = image.oci_files(tag);
    let content = |path: &str| {
        let found = files.iter().find(|(name, _)| name == path);
        found.map(|(_, bytes)| bytes.clone()).expect("the layout holds it")
    };
    let index: Value = serde_json::from_slice(&content("index.json")).unwrap();
    let manifest = index["manifests"][0]["digest"].as_str().expect("a manifest").to_owned();
    let path = |digest: &str| format!("blobs/{}", digest.replace(':', "/"));
    let document: Value = serde_json::from_slice(&content(&path(&manifest))).unwrap();
    let layers = document["layers"].as_array().cloned().unwrap_or_default();
    for blob in layers.iter().chain([&document["config"]]) {
        let digest = blob["digest"].as_str().expect("a digest");
        push_blob(http, repository, &content(&path(digest)));
    }
    let kind =
        document["mediaType"].as_str().unwrap_or("application/vnd.oci.image.manifest.v1+json");
    let to = format!("/v2/{repository}/manifests/{tag}");
    let answer = http.send("PUT", &to, &[("Content-Type", kind)], &content(&path(&manifest)));
    assert_eq!(answer.status, 201, "{}", answer.text());
    manifest
}

/// Pushes a blob in one request; its digest.
#[track_caller]
pub fn push_blob(http: &Http, repository: &str, bytes: &[u8]) -> String {
    let digest = digest("sha256", bytes);
    let path = format!("/v2/{repository}/blobs/uploads/?digest={digest}");
    let octets = [("Content-Type", "application/octet-stream")];
    let mut answer = http.send("POST", &path, &octets, bytes);
    if answer.status == 202 {
        // A registry that does not take it at once.
        let to = answer.header("location").expect("a Location");
        let to = to.strip_prefix(&format!("http://{}", http.address())).unwrap_or(to);
        let sign = if to.contains('?') { '&' } else { '?' };
        answer = http.send("PUT", &format!("{to}{sign}digest={digest}"), &octets, bytes);
    }
    assert_eq!(answer.status, 201, "{}", answer.text());
    digest
}

/// Pulls an image the plain way and compares all digests.
#[track_caller]
pub fn pull(http: &Http, repository: &str, reference: &str) -> Value {
    let kinds = [("Accept", "application/vnd.oci.image.manifest.v1+json, */*")];
    let path = format!("/v2/{repository}/manifests/{reference}");
    let answer = http.send("GET", &path, &kinds, b"");
    assert_eq!(answer.status, 200, "{repository} {reference}: {}", answer.text());
    let claimed = answer.header("docker-content-digest").expect("a digest");
    assert_eq!(digest("sha256", &answer.body), claimed);
    let manifest = answer.json();
    let layers = manifest["layers"].as_array().cloned().unwrap_or_default();
    for blob in layers.iter().chain([&manifest["config"]]) {
        let wanted = blob["digest"].as_str().expect("a digest");
        let answer = http.get(&format!("/v2/{repository}/blobs/{wanted}"));
        assert_eq!(answer.status, 200, "{repository} {wanted}: {}", answer.text());
        assert_eq!(digest("sha256", &answer.body), wanted);
    }
    manifest
}
