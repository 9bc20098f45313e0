//! Registries of tests: one that does what its script says, good or bad, and Debian's.

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Arc, Mutex};
use std::thread::JoinHandle;

use crate::needs;

/// A request as it came over the wire.
#[derive(Debug, Clone)]
pub struct Request {
    /// `GET`.
    pub method: String,
    /// Path and query.
    pub target: String,
    /// Names in lower case.
    pub headers: Vec<(String, String)>,
    /// All of it.
    pub body: Vec<u8>,
    /// How many requests came before it.
    pub number: usize,
}

/// What the script says.
#[derive(Debug, Clone)]
pub struct Answer {
    status: u16,
    headers: Vec<(String, String)>,
    body: Vec<u8>,
    end: End,
}

/// How an answer ends.
#[derive(Debug, Clone, Copy)]
enum End {
    /// With its last byte.
    Whole,
    /// The connection is closed after so many bytes of the body.
    Cut(usize),
    /// Nothing more comes after so many bytes of the body.
    Stall(usize),
    /// The body is repeated for ever, in chunks.
    Endless,
    /// One header after the other, for ever.
    Headers,
}

/// A stream, in the clear or over something.
pub trait Io: Read + Write + Send {}

impl<T: Read + Write + Send> Io for T {}

type Wrap = dyn Fn(TcpStream) -> Option<Box<dyn Io>> + Send + Sync;
type Script = dyn Fn(&Request) -> Answer + Send + Sync;

/// A server of HTTP/1.1 on loopback whose every answer is scripted.
pub struct ScriptedRegistry {
    address: SocketAddr,
    requests: Arc<Mutex<Vec<Request>>>,
    ending: Arc<AtomicBool>,
    thread: Option<JoinHandle<()>>,
}

impl std::fmt::Debug for ScriptedRegistry {
    fn fmt(&self, formatter: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        formatter.debug_struct("ScriptedRegistry").field("address", &self.address).finish()
    }
}

impl Request {
    /// A header's value.
    pub fn header(&self, name: &str) -> Option<&str> {
        self.headers.iter().find(|(known, _)| known == name).map(|(_, value)| value.as_str())
    }

    /// The path without its query.
    pub fn path(&self) -> &str {
        self.target.split('?').next().unwrap()
    }

    /// The first byte that a `Range` asks for.
    pub fn range_start(&self) -> Option<usize> {
        self.header("range")?.strip_prefix("bytes=")?.strip_suffix('-')?.parse().ok()
    }
}

impl Answer {
    /// A status and nothing else.
    pub fn new(status: u16) -> Self {
        Self { status, headers: Vec::new(), body: Vec::new(), end: End::Whole }
    }

    /// 200 and these bytes.
    pub fn ok(body: impl Into<Vec<u8>>) -> Self {
        Self::new(200).body(body)
    }

    /// With these bytes.
    #[must_use]
    pub fn body(mut self, body: impl Into<Vec<u8>>) -> Self {
        self.body = body.into();
        self
    }

    /// With a header.
    #[must_use]
    pub fn header(mut self, name: &str, value: impl std::fmt::Display) -> Self {
        self.headers.push((name.to_owned(), value.to_string()));
        self
    }

    /// Closed after `bytes` of the body, which was announced whole.
    #[must_use]
    pub fn cut(mut self, bytes: usize) -> Self {
        self.end = End::Cut(bytes);
        self
    }

    /// Silent after `bytes` of the body, which was announced whole.
    #[must_use]
    pub fn stall(mut self, bytes: usize) -> Self {
        self.end = End::Stall(bytes);
        self
    }

    /// The body again and again, without an end.
    #[must_use]
    pub fn endless(mut self) -> Self {
        self.end = End::Endless;
        self
    }

    /// Headers without an end.
    #[must_use]
    pub fn endless_headers(mut self) -> Self {
        self.end = End::Headers;
        self
    }
}

impl ScriptedRegistry {
    /// Serves on 127.0.0.1 in the clear.
    pub fn start(script: impl Fn(&Request) -> Answer + Send + Sync + 'static) -> Self {
        Self::start_on("127.0.0.1:0", |stream| Some(Box::new(stream)), script)
    }

    /// Serves on `address`; `wrap` makes of each connection what is spoken over.
    pub fn start_on(
        address: &str,
        wrap: impl Fn(TcpStream) -> Option<Box<dyn Io>> + Send + Sync + 'static,
        script: impl Fn(&Request) -> Answer + Send + Sync + 'static,
    ) -> Self {
        let listener = TcpListener::bind(address).unwrap();
        let address = listener.local_addr().unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let ending = Arc::new(AtomicBool::new(false));
        let (wrap, script): (Arc<Wrap>, Arc<Script>) = (Arc::new(wrap), Arc::new(script));
        let (all, end) = (Arc::clone(&requests), Arc::clone(&ending));
        let thread = std::thread::spawn(move || {
            for stream in listener.incoming() {
                if end.load(Ordering::SeqCst) {
                    break;
                }
                let Ok(stream) = stream else { continue };
                // Heads and bodies are written one after the other: neither waits.
                stream.set_nodelay(true).unwrap();
                let (wrap, script, all) =
                    (Arc::clone(&wrap), Arc::clone(&script), Arc::clone(&all));
                // It ends when the client closes, or with the test.
                std::thread::spawn(move || {
                    if let Some(stream) = wrap(stream) {
                        // A client that goes away in the middle is part of the tests.
                        let _ = converse(stream, &*script, &all);
                    }
                });
            }
        });
        Self { address, requests, ending, thread: Some(thread) }
    }

    /// `127.0.0.1:port`, which is a registry's name too.
    pub fn address(&self) -> String {
        self.address.to_string()
    }

    /// Its port.
    pub fn port(&self) -> u16 {
        self.address.port()
    }

    /// All requests so far.
    pub fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }

    /// Fails if `secret` came over the wire, in any part of any request, as it is or in Basic.
    pub fn never_saw(&self, secret: &str) {
        for request in self.requests() {
            let text = format!(
                "{} {:?} {}",
                request.target,
                request.headers,
                String::from_utf8_lossy(&request.body)
            );
            assert!(!text.contains(secret), "{secret:?} came with {request:?}");
            assert!(request.header("authorization").is_none(), "credentials came: {request:?}");
        }
    }
}

impl Drop for ScriptedRegistry {
    fn drop(&mut self) {
        self.ending.store(true, Ordering::SeqCst);
        // Wakes the thread that accepts.
        let _ = TcpStream::connect(self.address);
        if let Some(thread) = self.thread.take() {
            let _ = thread.join();
        }
    }
}

/// Answers one request after the other until the client closes.
fn converse(
    stream: Box<dyn Io>,
    script: &Script,
    requests: &Mutex<Vec<Request>>,
) -> std::io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(mut request) = read_request(&mut stream)? {
        {
            let mut all = requests.lock().unwrap();
            request.number = all.len();
            all.push(request.clone());
        }
        let answer = script(&request);
        if !send(stream.get_mut(), &request, &answer)? {
            return Ok(());
        }
    }
    Ok(())
}

fn read_request(stream: &mut BufReader<Box<dyn Io>>) -> std::io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let mut words = line.split_whitespace();
    let (Some(method), Some(target)) = (words.next(), words.next()) else {
        stream.get_mut().write_all(b"HTTP/1.1 400 Bad Request\r\nContent-Length: 0\r\n\r\n")?;
        return Ok(None);
    };
    let (method, target) = (method.to_owned(), target.to_owned());
    let mut headers = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let Some((name, value)) = line.trim_end().split_once(':') else { break };
        headers.push((name.to_ascii_lowercase(), value.trim().to_owned()));
    }
    let mut request = Request { method, target, headers, body: Vec::new(), number: 0 };
    if let Some(length) = request.header("content-length") {
        let mut body = vec![0; length.parse().unwrap()];
        stream.read_exact(&mut body)?;
        request.body = body;
    } else if request.header("transfer-encoding").is_some() {
        request.body = read_chunks(stream)?;
    }
    Ok(Some(request))
}

fn read_chunks(stream: &mut BufReader<Box<dyn Io>>) -> std::io::Result<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        stream.read_line(&mut line)?;
        let length = usize::from_str_radix(line.trim(), 16).unwrap();
        let mut chunk = vec![0; length + 2];
        stream.read_exact(&mut chunk)?;
        if length == 0 {
            return Ok(body);
        }
        body.extend_from_slice(&chunk[..length]);
    }
}

/// False if the connection is not to be used again.
fn send(stream: &mut dyn Io, request: &Request, answer: &Answer) -> std::io::Result<bool> {
    let mut head = format!("HTTP/1.1 {} Scripted\r\n", answer.status);
    for (name, value) in &answer.headers {
        head.push_str(&format!("{name}: {value}\r\n"));
    }
    let has = |name: &str| answer.headers.iter().any(|(known, _)| known.eq_ignore_ascii_case(name));
    let endless = matches!(answer.end, End::Endless);
    if endless {
        head.push_str("Transfer-Encoding: chunked\r\n");
    } else if !has("content-length") && !has("transfer-encoding") && answer.status != 204 {
        head.push_str(&format!("Content-Length: {}\r\n", answer.body.len()));
    }
    if let End::Headers = answer.end {
        stream.write_all(head.as_bytes())?;
        loop {
            stream.write_all(b"X-More: and more and more and more and more and more\r\n")?;
        }
    }
    head.push_str("\r\n");
    stream.write_all(head.as_bytes())?;
    if request.method == "HEAD" {
        stream.flush()?;
        return Ok(true);
    }
    match answer.end {
        End::Whole => stream.write_all(&answer.body)?,
        End::Cut(bytes) => {
            stream.write_all(&answer.body[..bytes])?;
            stream.flush()?;
            return Ok(false);
        }
        End::Stall(bytes) => {
            stream.write_all(&answer.body[..bytes])?;
            stream.flush()?;
            // Until the client goes away.
            let _ = stream.read(&mut [0]);
            return Ok(false);
        }
        End::Endless => loop {
            write!(stream, "{:x}\r\n", answer.body.len())?;
            stream.write_all(&answer.body)?;
            stream.write_all(b"\r\n")?;
        },
        End::Headers => unreachable!("it has returned"),
    }
    stream.flush()?;
    Ok(true)
}

/// Debian's `docker-registry` on loopback, with its state in a folder of its own.
#[derive(Debug)]
pub struct DebianRegistry {
    child: Child,
    address: String,
    _folder: tempfile::TempDir,
}

impl DebianRegistry {
    /// Starts one; says so if the package is not installed.
    pub fn start() -> Option<Self> {
        Self::start_with("")
    }

    /// With more of its configuration, YAML.
    pub fn start_with(more: &str) -> Option<Self> {
        let program = needs::program("docker-registry")?;
        let folder = tempfile::tempdir().unwrap();
        // A port that was free a moment ago: the program cannot say which one it got.
        for _ in 0..10 {
            let port = TcpListener::bind("127.0.0.1:0").unwrap().local_addr().unwrap().port();
            let address = format!("127.0.0.1:{port}");
            if let Some(child) = start(&program, folder.path(), &address, more) {
                return Some(Self { child, address, _folder: folder });
            }
        }
        panic!("docker-registry does not start");
    }

    /// `127.0.0.1:port`.
    pub fn address(&self) -> &str {
        &self.address
    }
}

impl Drop for DebianRegistry {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

fn start(program: &Path, folder: &Path, address: &str, more: &str) -> Option<Child> {
    let config = folder.join("config.yml");
    let text = format!(
        "version: 0.1\nlog:\n  level: error\nstorage:\n  filesystem:\n    rootdirectory: {}\n  \
         delete:\n    enabled: true\nhttp:\n  addr: {address}\n{more}",
        folder.join("data").display()
    );
    std::fs::write(&config, text).unwrap();
    let mut child = Command::new(program)
        .arg("serve")
        .arg(&config)
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .spawn()
        .unwrap();
    loop {
        if TcpStream::connect(address).is_ok() {
            return Some(child);
        }
        if child.try_wait().unwrap().is_some() {
            return None;
        }
        std::thread::yield_now();
    }
}
