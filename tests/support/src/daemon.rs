//! A daemon of one Hull.

use std::io::{Read as _, Write as _};
use std::os::unix::net::UnixStream;
use std::path::{Path, PathBuf};
use std::process::{Child, Stdio};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::{Hull, eventually};

/// `hull daemon` on a socket in its Hull's folder. Ends with the test.
#[derive(Debug)]
pub struct Daemon {
    child: Child,
    socket: PathBuf,
    log: PathBuf,
}

impl Daemon {
    /// Starts one and waits until it answers.
    #[track_caller]
    pub fn start(hull: &Hull) -> Self {
        Self::start_with(hull, &[])
    }

    /// The same with more options.
    #[track_caller]
    pub fn start_with(hull: &Hull, options: &[&str]) -> Self {
        Self::start_at(hull, "daemon", options)
    }

    /// The same with a socket of another name, beside other daemons.
    #[track_caller]
    pub fn start_at(hull: &Hull, name: &str, options: &[&str]) -> Self {
        let socket = hull.folder().join(format!("{name}.sock"));
        let log = hull.folder().join(format!("{name}.log"));
        let address = format!("unix://{}", socket.display());
        let mut words = vec!["daemon", "-H", &address];
        words.extend(options);
        let said = std::fs::File::options().append(true).create(true).open(&log).unwrap();
        let mut command = hull.command(&words);
        command.stdout(Stdio::null()).stderr(said);
        let daemon = Self { child: command.spawn().expect("hull starts"), socket, log };
        let up = eventually(Duration::from_secs(20), || daemon.answers());
        assert!(up, "the daemon does not answer:\n{}", daemon.log());
        daemon
    }

    /// Its process.
    pub fn pid(&self) -> Pid {
        Pid::from_child(&self.child)
    }

    /// Its socket's path.
    pub fn socket(&self) -> &Path {
        &self.socket
    }

    /// Its address for `--host` and `DOCKER_HOST`.
    pub fn host(&self) -> String {
        format!("unix://{}", self.socket.display())
    }

    /// What it has logged.
    pub fn log(&self) -> String {
        std::fs::read_to_string(&self.log).unwrap_or_default()
    }

    /// Asks and reads the whole answer: its status and its body. `request` is like `GET /info`.
    #[track_caller]
    pub fn ask(&self, request: &str, body: &str) -> (u16, String) {
        let kind = if body.is_empty() { "" } else { "Content-Type: application/json\r\n" };
        let length = body.len();
        let answer = self.raw(
            format!(
                "{request} HTTP/1.1\r\nHost: hull\r\nConnection: close\r\n{kind}\
                 Content-Length: {length}\r\n\r\n{body}"
            )
            .as_bytes(),
        );
        let (head, body) = answer.split_once("\r\n\r\n").unwrap_or((&answer, ""));
        let status = head.split(' ').nth(1).and_then(|status| status.parse().ok());
        (status.unwrap_or_else(|| panic!("{request}: {answer:?}")), body.to_owned())
    }

    /// Sends bytes on a new connection and reads until the daemon closes it, at most ten seconds
    /// without a byte.
    #[track_caller]
    pub fn raw(&self, bytes: &[u8]) -> String {
        raw(&self.socket, bytes)
    }

    /// Sends it a signal.
    pub fn signal(&self, signal: Signal) {
        kill_process(self.pid(), signal).unwrap();
    }

    /// Ends it in order and returns its exit code.
    #[track_caller]
    pub fn stop(mut self) -> Option<i32> {
        self.signal(Signal::TERM);
        self.ended()
    }

    /// Ends it at once.
    pub fn kill(mut self) {
        self.child.kill().unwrap();
        self.child.wait().unwrap();
    }

    /// Waits for its end; its exit code.
    #[track_caller]
    pub fn ended(&mut self) -> Option<i32> {
        let mut status = None;
        let ended = eventually(Duration::from_secs(20), || {
            status = self.child.try_wait().unwrap();
            status.is_some()
        });
        assert!(ended, "the daemon does not end:\n{}", self.log());
        status.and_then(|status| status.code())
    }

    fn answers(&self) -> bool {
        let request = b"GET /_ping HTTP/1.1\r\nHost: hull\r\nConnection: close\r\n\r\n";
        let Ok(mut stream) = UnixStream::connect(&self.socket) else { return false };
        let mut answer = String::new();
        stream.write_all(request).is_ok()
            && stream.read_to_string(&mut answer).is_ok()
            && answer.ends_with("OK")
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        // One that was stopped is gone already.
        if self.child.try_wait().is_ok_and(|status| status.is_none()) {
            let _ = kill_process(self.pid(), Signal::TERM);
            let _ = self.child.wait();
        }
        if std::thread::panicking() {
            eprintln!("the daemon's log:\n{}", self.log());
        }
    }
}

/// Sends bytes to a unix socket and reads until the other side closes, at most ten seconds
/// without a byte.
#[track_caller]
pub fn raw(socket: &Path, bytes: &[u8]) -> String {
    let mut stream = UnixStream::connect(socket).unwrap();
    stream.set_read_timeout(Some(Duration::from_secs(10))).unwrap();
    // A server that has heard enough may close while we still write.
    let _ = stream.write_all(bytes);
    let mut answer = Vec::new();
    let mut buffer = [0; 4096];
    while let Ok(count @ 1..) = stream.read(&mut buffer) {
        answer.extend_from_slice(&buffer[..count]);
    }
    String::from_utf8_lossy(&answer).into_owned()
}
