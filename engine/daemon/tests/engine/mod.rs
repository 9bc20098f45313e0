//! A service on a state of its own, with a busybox image in it.

use hull_daemon::{Clients, Config, Service};
use hull_oci::Digest;
use hull_test_support::archive::Tar;
use hull_test_support::busybox::static_busybox;
use hull_test_support::image::{Compression, Image};
use hull_test_support::needs;
use serde_json::{Value, json};
use std::path::PathBuf;
use std::time::{Duration, Instant};
use tokio::io::{AsyncReadExt, AsyncWriteExt, DuplexStream};

pub(crate) struct Engine {
    pub(crate) service: Service,
    root: tempfile::TempDir,
}

pub(crate) struct Answer {
    pub(crate) status: u16,
    pub(crate) body: Vec<u8>,
}

impl Answer {
    pub(crate) fn json(&self) -> Value {
        serde_json::from_slice(&self.body).unwrap_or_else(|_| panic!("{}", self.text()))
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.body).into_owned()
    }

    pub(crate) fn expect(self, status: u16) -> Self {
        assert_eq!(self.status, status, "{}", self.text());
        self
    }
}

impl Engine {
    /// `None`, and a word about it, where the machine cannot run containers.
    pub(crate) async fn new() -> Option<Self> {
        if !needs::root() {
            return None;
        }
        let programs = needs::programs();
        for helper in ["hull-shim", "hull-worker"] {
            if !programs.join(helper).exists() {
                needs::skip(&format!("{helper} is not built"));
                return None;
            }
        }
        let busybox = std::fs::read(static_busybox()?).unwrap();
        let root = tempfile::tempdir().unwrap();
        let service = Service::new(Config {
            data_root: root.path().join("data"),
            exec_root: root.path().join("run"),
            helpers: Some(programs),
            layer_mode: None,
            clients: Clients::Many,
        });
        let engine = Self { service, root };
        let passwd = b"root:x:0:0::/root:/bin/sh\nweb:x:33:33::/:/bin/sh\n";
        let mut tar = Tar::new().directory("bin/", 0o755).directory("etc/", 0o755);
        tar = tar.directory("data/", 0o750).file("data/seed", 0o640, b"seed\n");
        tar = tar.file("etc/passwd", 0o644, passwd).file("bin/busybox", 0o755, &busybox);
        for name in ["sh", "cat", "echo", "id", "sleep", "true", "stat", "hostname", "env", "ls"] {
            tar = tar.symlink(&format!("bin/{name}"), "busybox");
        }
        let image = Image::new()
            .layer(tar.finish(), Compression::Gzip)
            .set("Env", json!(["PATH=/bin", "FROM_IMAGE=yes"]))
            .set("Cmd", json!(["sh"]))
            .set("Labels", json!({"of": "image"}));
        let archive = image.docker_archive(&["box:latest"]);
        engine.ask_bytes("POST /images/load", &archive).await.expect(200);
        Some(engine)
    }

    pub(crate) fn data(&self) -> PathBuf {
        self.root.path().join("data")
    }

    pub(crate) async fn ask(&self, request: &str, body: &Value) -> Answer {
        let body = if body.is_null() { Vec::new() } else { body.to_string().into_bytes() };
        self.ask_bytes(request, &body).await
    }

    pub(crate) async fn get(&self, address: &str) -> Answer {
        self.ask(&format!("GET {address}"), &Value::Null).await
    }

    pub(crate) async fn post(&self, address: &str) -> Answer {
        self.ask(&format!("POST {address}"), &Value::Null).await
    }

    pub(crate) async fn ask_bytes(&self, request: &str, body: &[u8]) -> Answer {
        let mut connection = self.service.connect();
        let head = format!(
            "{request} HTTP/1.1\r\nHost: hull\r\nConnection: close\r\nContent-Type: application/json\r\n\
             Content-Length: {}\r\n\r\n",
            body.len()
        );
        connection.write_all(head.as_bytes()).await.unwrap();
        connection.write_all(body).await.unwrap();
        let mut answer = Vec::new();
        connection.read_to_end(&mut answer).await.unwrap();
        parse(&answer)
    }

    /// Asks for a stream and returns it, or the refusal.
    pub(crate) async fn stream(&self, request: &str, body: &Value) -> Result<DuplexStream, Answer> {
        let mut connection = self.service.connect();
        let body = if body.is_null() { String::new() } else { body.to_string() };
        let text = format!(
            "{request} HTTP/1.1\r\nHost: hull\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\
             Content-Type: application/json\r\nContent-Length: {}\r\n\r\n{body}",
            body.len()
        );
        connection.write_all(text.as_bytes()).await.unwrap();
        let mut head = Vec::new();
        while !head.ends_with(b"\r\n\r\n") {
            head.push(connection.read_u8().await.unwrap());
        }
        if head.starts_with(b"HTTP/1.1 101") {
            return Ok(connection);
        }
        let size: usize = String::from_utf8_lossy(&head)
            .lines()
            .find_map(|line| line.strip_prefix("content-length: ")?.parse().ok())
            .unwrap();
        let mut rest = vec![0; size];
        connection.read_exact(&mut rest).await.unwrap();
        head.extend(rest);
        Err(parse(&head))
    }

    /// Creates a container of the image that runs `command`; its id.
    pub(crate) async fn create(&self, command: &[&str], more: Value) -> String {
        let answer = self.try_create("", command, more).await.expect(201);
        answer.json()["Id"].as_str().unwrap().to_owned()
    }

    pub(crate) async fn try_create(&self, name: &str, command: &[&str], more: Value) -> Answer {
        let mut body = json!({"Image": "box", "Cmd": command});
        for (field, value) in more.as_object().cloned().unwrap_or_default() {
            body[field] = value;
        }
        self.ask(&format!("POST /containers/create?name={name}"), &body).await
    }

    /// Runs a command to its end: exit code, standard output, standard error.
    pub(crate) async fn run(&self, command: &[&str], more: Value) -> (i64, String, String) {
        let id = self.create(command, more).await;
        let attach = format!("POST /containers/{id}/attach?stream=1&stdout=1&stderr=1");
        let stream = self.stream(&attach, &Value::Null).await.ok().expect("a stream");
        let address = format!("/containers/{id}/wait?condition=next-exit");
        let start = format!("/containers/{id}/start");
        let started = async {
            // The wait comes first, as a client's does.
            tokio::time::sleep(std::time::Duration::from_millis(5)).await;
            self.post(&start).await.expect(204);
        };
        let (waited, output, ()) = tokio::join!(self.post(&address), frames(stream), started);
        (waited.expect(200).json()["StatusCode"].as_i64().unwrap(), output.0, output.1)
    }

    /// Fails if anything of the test's is left.
    pub(crate) async fn finish(self) {
        self.ask("DELETE /images/box?force=1", &Value::Null).await;
        // The end of the output may come before the removal.
        let deadline = Instant::now() + Duration::from_secs(10);
        loop {
            let left = self.get("/containers/json?all=1").await.json();
            if left == json!([]) {
                break;
            }
            assert!(Instant::now() < deadline, "containers are left: {left}");
            tokio::time::sleep(Duration::from_millis(10)).await;
        }
        let report = self.post("/hull/check?deep=1").await.json();
        assert_eq!(report["Problems"], json!([]), "{report}");
    }
}

impl Drop for Engine {
    fn drop(&mut self) {
        let run = self.root.path().join("run");
        let mounts = std::fs::read_to_string("/proc/self/mountinfo").unwrap_or_default();
        let prefix = run.display().to_string();
        let points = mounts.lines().filter_map(|line| line.split(' ').nth(4));
        for point in
            points.filter(|point| point.starts_with(&prefix)).collect::<Vec<_>>().iter().rev()
        {
            let _gone = rustix::mount::unmount(*point, rustix::mount::UnmountFlags::DETACH);
        }
    }
}

fn parse(answer: &[u8]) -> Answer {
    let end = answer.windows(4).position(|part| part == b"\r\n\r\n").unwrap() + 4;
    let head = String::from_utf8_lossy(&answer[..end]).to_ascii_lowercase();
    let status = head.split(' ').nth(1).unwrap().parse().unwrap();
    let mut body = answer[end..].to_vec();
    if head.contains("transfer-encoding: chunked") {
        body = dechunk(&body);
    }
    Answer { status, body }
}

fn dechunk(mut chunks: &[u8]) -> Vec<u8> {
    let mut body = Vec::new();
    loop {
        let end = chunks.windows(2).position(|part| part == b"\r\n").unwrap();
        let size = std::str::from_utf8(&chunks[..end]).unwrap();
        let size = usize::from_str_radix(size, 16).unwrap();
        if size == 0 {
            return body;
        }
        body.extend_from_slice(&chunks[end + 2..end + 2 + size]);
        chunks = &chunks[end + 2 + size + 2..];
    }
}

/// Reads frames to the end: standard output, standard error.
pub(crate) async fn frames(mut stream: DuplexStream) -> (String, String) {
    let mut bytes = Vec::new();
    stream.read_to_end(&mut bytes).await.unwrap();
    split_frames(&bytes)
}

pub(crate) fn split_frames(mut bytes: &[u8]) -> (String, String) {
    let mut outputs = [Vec::new(), Vec::new()];
    while !bytes.is_empty() {
        let size = u32::from_be_bytes(bytes[4..8].try_into().unwrap()) as usize;
        outputs[usize::from(bytes[0]) - 1].extend_from_slice(&bytes[8..8 + size]);
        bytes = &bytes[8 + size..];
    }
    let [out, err] = outputs.map(|bytes| String::from_utf8(bytes).unwrap());
    (out, err)
}

/// Whether a digest is one: keeps the image's id comparable.
pub(crate) fn is_digest(text: &str) -> bool {
    text.parse::<Digest>().is_ok()
}
