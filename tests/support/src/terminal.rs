//! Programs on a pseudo terminal, driven like a person would.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::time::{Duration, Instant};

use rustix::pty::OpenptFlags;
use rustix::termios::Winsize;

/// A running program and the other end of its terminal.
#[derive(Debug)]
pub struct Terminal {
    child: Child,
    master: std::fs::File,
    output: Receiver<Vec<u8>>,
    /// Everything it has shown so far.
    seen: String,
    /// How much of `seen` was already waited for.
    consumed: usize,
}

impl Terminal {
    /// Starts `command` as the leader of a session with a terminal of `columns` x `rows`.
    pub fn start(command: &Command, columns: u16, rows: u16) -> Self {
        let master = rustix::pty::openpt(OpenptFlags::RDWR | OpenptFlags::NOCTTY).unwrap();
        rustix::pty::grantpt(&master).unwrap();
        rustix::pty::unlockpt(&master).unwrap();
        resize(&master, columns, rows);
        let name = rustix::pty::ptsname(&master, Vec::new()).unwrap();
        let slave = std::fs::OpenOptions::new()
            .read(true)
            .write(true)
            .open(std::ffi::OsStr::new(name.to_str().unwrap()))
            .unwrap();
        // A session of its own takes a call between fork and exec: setsid(1) makes it for us.
        let mut session = Command::new("/usr/bin/setsid");
        session.args(["--ctty", "--wait"]).arg(command.get_program()).args(command.get_args());
        session.env_clear();
        session.envs(command.get_envs().filter_map(|(name, value)| Some((name, value?))));
        let child = session
            .env("TERM", "xterm")
            .stdin(Stdio::from(slave.try_clone().unwrap()))
            .stdout(Stdio::from(slave.try_clone().unwrap()))
            .stderr(Stdio::from(slave))
            .spawn()
            .expect("setsid starts");
        let master = std::fs::File::from(master);
        let mut reader = master.try_clone().unwrap();
        let (sender, output) = channel();
        std::thread::spawn(move || {
            let mut buffer = [0; 4096];
            // The end is EIO: the last one on the other side has closed.
            while let Ok(length @ 1..) = reader.read(&mut buffer) {
                if sender.send(buffer[..length].to_vec()).is_err() {
                    break;
                }
            }
        });
        Self { child, master, output, seen: String::new(), consumed: 0 }
    }

    /// Types text, as it is.
    pub fn send(&mut self, text: &str) {
        self.master.write_all(text.as_bytes()).unwrap();
    }

    /// Waits until `text` is shown after what was waited for before, at most 20 seconds.
    #[track_caller]
    pub fn expect(&mut self, text: &str) {
        let end = Instant::now() + Duration::from_secs(20);
        loop {
            if let Some(at) = self.seen[self.consumed..].find(text) {
                self.consumed += at + text.len();
                return;
            }
            let left = end.saturating_duration_since(Instant::now());
            match self.output.recv_timeout(left) {
                Ok(bytes) => self.seen.push_str(&String::from_utf8_lossy(&bytes)),
                Err(RecvTimeoutError::Timeout | RecvTimeoutError::Disconnected) => {
                    let _ = self.child.kill();
                    panic!("the terminal never showed {text:?}; it showed:\n{}", self.seen);
                }
            }
        }
    }

    /// Changes the size of the window.
    pub fn resize(&self, columns: u16, rows: u16) {
        resize(&self.master, columns, rows);
    }

    /// Waits for the end, at most 20 seconds; returns the exit code and everything shown.
    #[track_caller]
    pub fn finish(mut self) -> (i32, String) {
        let end = Instant::now() + Duration::from_secs(20);
        let status = loop {
            if let Some(status) = self.child.try_wait().unwrap() {
                break status;
            }
            if Instant::now() > end {
                let _ = self.child.kill();
                panic!("no end; the terminal showed:\n{}", self.seen);
            }
            while let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(10)) {
                self.seen.push_str(&String::from_utf8_lossy(&bytes));
            }
        };
        while let Ok(bytes) = self.output.recv_timeout(Duration::from_millis(100)) {
            self.seen.push_str(&String::from_utf8_lossy(&bytes));
        }
        (status.code().unwrap_or(-1), self.seen)
    }
}

fn resize(master: &impl std::os::fd::AsFd, columns: u16, rows: u16) {
    let size = Winsize { ws_col: columns, ws_row: rows, ws_xpixel: 0, ws_ypixel: 0 };
    rustix::termios::tcsetwinsize(master, size).unwrap();
}
