//! An engine that answers by a script, on a socket of its own.

use std::io::{BufRead as _, BufReader, Read as _, Write as _};
use std::net::Shutdown;
use std::os::unix::net::{UnixListener, UnixStream};
use std::path::Path;
use std::sync::mpsc::{Receiver, Sender, channel};
use std::sync::{Arc, Mutex};
use tempfile::TempDir;

/// What is answered.
#[derive(Debug, Clone)]
pub(crate) struct Answer {
    status: u16,
    kind: &'static str,
    body: Vec<u8>,
    upgrade: bool,
    /// Given once; then the next entry of the script that fits answers.
    once: bool,
    /// What is sent after the body, each when the test says so.
    parts: Vec<String>,
    gate: Option<Arc<Mutex<Receiver<()>>>>,
}

impl Answer {
    pub(crate) fn json(status: u16, body: &str) -> Self {
        Self {
            status,
            kind: "application/json",
            body: body.into(),
            upgrade: false,
            once: false,
            parts: Vec::new(),
            gate: None,
        }
    }

    /// The same for one request.
    pub(crate) fn once(self) -> Self {
        Self { once: true, ..self }
    }

    /// A body of this media type.
    pub(crate) fn of_kind(self, kind: &'static str) -> Self {
        Self { kind, ..self }
    }

    /// Lines of a stream, the first at once, each other when something is sent to what is returned.
    pub(crate) fn lines(lines: &[&str]) -> (Self, Sender<()>) {
        let (sender, receiver) = channel();
        let mut lines = lines.iter().map(|line| format!("{line}\n"));
        let body = lines.next().unwrap_or_default();
        let gate = Some(Arc::new(Mutex::new(receiver)));
        (Self { parts: lines.collect(), gate, ..Self::json(200, &body) }, sender)
    }

    pub(crate) fn empty(status: u16) -> Self {
        Self::json(status, "")
    }

    pub(crate) fn frames(frames: &[(u8, &str)]) -> Self {
        let kind = "application/vnd.docker.multiplexed-stream";
        Self { kind, body: encode(frames), ..Self::json(200, "") }
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
    pub(crate) method: String,
    pub(crate) target: String,
    /// With names in lower case.
    headers: Vec<(String, String)>,
    pub(crate) body: Vec<u8>,
}

impl Request {
    /// The value of a header; empty where it is not there.
    pub(crate) fn header(&self, name: &str) -> &str {
        let found = self.headers.iter().find(|(known, _)| known == name);
        found.map_or("", |(_, value)| value)
    }
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
        let (script, seen) = (Arc::new(Mutex::new(script)), requests.clone());
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

fn serve(stream: &UnixStream, script: &Mutex<Script>, seen: &Mutex<Vec<Request>>) -> Option<()> {
    let mut reader = BufReader::new(stream);
    loop {
        let mut first = String::new();
        if reader.read_line(&mut first).ok()? == 0 {
            return None;
        }
        let mut words = first.split(' ');
        let (method, target) = (words.next()?.to_owned(), words.next()?.to_owned());
        let (mut length, mut chunked) = (0, false);
        let mut headers = Vec::new();
        loop {
            let mut line = String::new();
            reader.read_line(&mut line).ok()?;
            let line = line.trim();
            if line.is_empty() {
                break;
            }
            let (name, value) = line.split_once(':')?;
            let (name, value) = (name.to_ascii_lowercase(), value.trim());
            match name.as_str() {
                "content-length" => length = value.parse().ok()?,
                "transfer-encoding" => chunked = value == "chunked",
                _ => {}
            }
            headers.push((name, value.to_owned()));
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
        let request = Request { method: method.clone(), target: target.clone(), headers, body };
        seen.lock().unwrap().push(request);
        let answer = find(&mut script.lock().unwrap(), &method, target.split('?').next()?);
        if answer.upgrade {
            return stay(stream, reader, &answer);
        }
        let parts: usize = answer.parts.iter().map(String::len).sum();
        let head = format!(
            "HTTP/1.1 {} X\r\nContent-Type: {}\r\nContent-Length: {}\r\n\r\n",
            answer.status,
            answer.kind,
            answer.body.len() + parts
        );
        (&mut &*stream).write_all(&[head.as_bytes(), &answer.body].concat()).ok()?;
        for part in &answer.parts {
            answer.gate.as_ref()?.lock().unwrap().recv().ok()?;
            (&mut &*stream).write_all(part.as_bytes()).ok()?;
        }
    }
}

/// The answer to a request, taken off the script if it is for one.
fn find(script: &mut Script, method: &str, path: &str) -> Answer {
    let Some(at) = script.iter().position(|(m, p, _)| *m == method && path.contains(p)) else {
        return Answer::json(404, r#"{"message":"page not found"}"#);
    };
    if script[at].2.once { script.remove(at).2 } else { script[at].2.clone() }
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
