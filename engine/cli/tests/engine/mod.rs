//! An engine that answers by a script, on a socket of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
    upgrade: bool,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self { status, kind: "application/json", body: body.into(), upgrade: false }
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self::json(status, "")
    }

    pub(crate) fn frames(frames: &[(u8, &str)]) -> Self {
        let kind = "application/vnd.docker.multiplexed-stream";
        Self { status: 200, kind, body: encode(frames), upgrade: false }
    }

    /// A stream of these frames and then of what comes in, until that ends.
    pub(crate) fn upgrade(frames: &[(u8, &str)]) -> Self {
        Self { upgrade: true, status: 101, ..Self::frames(frames) }
    }
}

fn encode(frames: &[(u8, &str)]) -> Vec<u8> {
    let mut bytes = Vec::new();
    for (stream, text) in frames {
        bytes.extend([*stream, 0, 0, 0]);
        bytes.extend(u32::try_from(text.len()).unwrap().to_be_bytes());
        bytes.extend(text.as_bytes());
    }
    bytes
}

/// What was asked.
#[derive(Debug, Clone)]
pub(crate) struct Request {
    pub(crate) target: String,
    pub(crate) body: Vec<u8>,
}

/// A method, a part of the path, and the answer to requests that have both.
type Script = Vec<(&'static str, &'static str, Answer)>;

/// The engine.
#[derive(Debug)]
pub(crate) struct Engine {
    folder: TempDir,
    requests: Arc<Mutex<Vec<Request>>>,
}

impl Engine {
    pub(crate) fn new(script: Script) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let listener = UnixListener::bind(folder.path().join("engine.sock")).unwrap();
        let requests = Arc::new(Mutex::new(Vec::new()));
        let (script, seen) = (Arc::new(script), requests.clone());
        // Threads end with the test program.
        std::thread::spawn(move || {
            for stream in listener.incoming().map_while(Result::ok) {
                let (script, seen) = (script.clone(), seen.clone());
                std::thread::spawn(move || serve(&stream, &script, &seen));
            }
        });
        Self { folder, requests }
    }

    pub(crate) fn address(&self) -> String {
        format!("unix://{}", self.folder.path().join("engine.sock").display())
    }

    pub(crate) fn folder(&self) -> &Path {
        self.folder.path()
    }

    pub(crate) fn requests(&self) -> Vec<Request> {
        self.requests.lock().unwrap().clone()
    }
}

fn serve(stream: &UnixStream, script: &Script, seen: &Mutex<Vec<Request>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).ok()? == 0 {
            return None;
        }
        let mut words = first.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (mut length, mut chunked) = (0, false);
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let line = line.trim().to_ascii_lowercase();
            if line.is_empty() {
                break;
            }
            if let Some(value) = line.strip_prefix("content-length: ") {
                length = value.parse().ok()?;
            }
            chunked |= line == "transfer-encoding: chunked";
        }
        let mut body = vec![0; length];
        reader.read_exact(&mut body).ok()?;
        if chunked {
            body = read_chunks(&mut reader)?;
        }
        // Every client asks for the version first; what it asks for then is the test's matter.
        if target == "/_ping" {
            let pong = b"HTTP/1.1 200 X\r\nApi-Version: 1.51\r\nContent-Length: 2\r\n\r\nOK";
            (&mut &*stream).write_all(pong).ok()?;
            continue;
        }
        seen.lock().unwrap().push(Request { target: target.clone(), body });
        let path = target.split('?').next()?;
        let found = script.iter().find(|(m, p, _)| *m == method && path.contains(p));
        let missing = Answer::json(404, r#"{"message":"page not found"}"#);
        let answer = found.map_or(&missing, |(_, _, answer)| answer);
        if answer.upgrade {
            return stay(stream, reader, answer);
        }
        let head = format!(
            "HTTP/1.1 {} X\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            answer.status,
            answer.kind,
            answer.body.len()
        );
        (&mut &*stream).write_all(&[head.as_bytes(), &answer.body].concat()).ok()?;
    }
}

fn read_chunks(reader: &mut BufReader<&UnixStream>) -> Option<Vec<u8>> {
    let mut body = Vec::new();
    loop {
        let mut line = String::new();
        reader.read_line(&mut line).ok()?;
        let size = usize::from_str_radix(line.trim(), 16).ok()?;
        let mut chunk = vec![0; size + 2];
        reader.read_exact(&mut chunk).ok()?;
        if size == 0 {
            return Some(body);
        }
        body.extend_from_slice(&chunk[..size]);
    }
}

fn stay(stream: &UnixStream, mut reader: BufReader<&UnixStream>, answer: &Answer) -> Option<()> {
    let head = "HTTP/1.1 101 UPGRADED\r\nConnection: Upgrade\r\nUpgrade: tcp\r\n\r\n";
    (&mut &*stream).write_all(&[head.as_bytes(), &answer.body].concat()).ok()?;
    if answer.body.is_empty() {
        let mut typed = String::new();
        stream.set_read_timeout(Some(std::time::Duration::from_secs(1))).ok()?;
        // A client without input neither sends nor ends anything.
        let _ = reader.read_to_string(&mut typed);
        (&mut &*stream).write_all(&encode(&[(1, &typed)])).ok()?;
    }
    stream.shutdown(Shutdown::Both).ok()
}
