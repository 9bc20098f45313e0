//! What a build tells while it runs.

use std::collections::VecDeque;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::sync::{Mutex, PoisonError};

use hull_api::build::{BuildMessage, SolveStatus, Vertex, VertexLog, VertexStatus, VertexWarning};
use hull_api::image::ProgressMessage;
use hull_oci::Digest;
use hull_shim::client::StopSteps;

use crate::error::ApiError;
use crate::images::Stop;

/// Lines of output that a failure repeats.
const TAIL: usize = 20;

/// Bytes of a line that are kept for that.
const LINE: usize = 2000;

/// Takes messages; false when nobody wants any more.
pub(super) type Sink = Box<dyn Fn(BuildMessage) -> bool + Send + Sync>;

/// The progress of one build, and whether it is to go on.
pub(super) struct Progress {
    sink: Sink,
    steps: AtomicU64,
    cancelled: AtomicBool,
    running: Mutex<Vec<(u64, Stopper)>>,
}

/// Ends something that is under way.
pub(super) enum Stopper {
    /// A command.
    Steps(StopSteps),
    /// What speaks to other hosts.
    Remote(Stop),
}

impl Stopper {
    fn stop(&self) {
        match self {
            Self::Steps(steps) => steps.stop(),
            Self::Remote(stop) => stop.stop(),
        }
    }
}

/// A step that is under way. Dropped without an end, it is told as failed.
pub(super) struct Activity<'p> {
    progress: &'p Progress,
    vertex: Vertex,
    tail: Mutex<VecDeque<String>>,
    ended: bool,
}

/// The time in RFC 3339.
pub(super) fn now() -> String {
    jiff::Timestamp::now().to_string()
}

impl Progress {
    pub(super) fn new(sink: Sink) -> Self {
        Self {
            sink,
            steps: AtomicU64::new(0),
            cancelled: AtomicBool::new(false),
            running: Mutex::default(),
        }
    }

    fn tell(&self, status: SolveStatus) {
        if !(self.sink)(BuildMessage::Status(status)) {
            self.cancel();
        }
    }

    /// Tells how it ended.
    pub(super) fn end(&self, message: BuildMessage) {
        // Who asked may be gone.
        let _told = (self.sink)(message);
    }

    /// Ends what runs; nothing more is begun.
    pub(super) fn cancel(&self) {
        self.cancelled.store(true, Ordering::SeqCst);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.drain(..).for_each(|(_, stopper)| stopper.stop());
    }

    /// An error once the build is to end.
    pub(super) fn check(&self) -> Result<(), ApiError> {
        if self.cancelled.load(Ordering::SeqCst) {
            return Err(cancelled());
        }
        Ok(())
    }

    pub(super) fn is_cancelled(&self) -> bool {
        self.cancelled.load(Ordering::SeqCst)
    }

    /// Has `stopper` used when the build is cancelled. Returns its number for [`Self::forget`].
    pub(super) fn stop_by(&self, stopper: Stopper) -> u64 {
        let number = self.steps.fetch_add(1, Ordering::Relaxed);
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        if self.is_cancelled() {
            stopper.stop();
        } else {
            running.push((number, stopper));
        }
        number
    }

    pub(super) fn forget(&self, number: u64) {
        let mut running = self.running.lock().unwrap_or_else(PoisonError::into_inner);
        running.retain(|(known, _)| *known != number);
    }

    /// What a pull or push tells; false if the build is to end.
    pub(super) fn pulled(&self, message: &ProgressMessage) -> bool {
        if let (Some(id), Some(status)) = (&message.id, &message.status)
            && message.progress_detail.is_none()
        {
            let name = format!("{id}: {status}");
            self.begin(&name, Vec::new()).done();
        }
        !self.is_cancelled()
    }

    /// Begins a step.
    pub(super) fn begin(&self, name: &str, inputs: Vec<String>) -> Activity<'_> {
        let number = self.steps.fetch_add(1, Ordering::Relaxed);
        let vertex = Vertex {
            digest: Digest::sha256(format!("{number} {name}").as_bytes()).to_string(),
            inputs,
            name: name.to_owned(),
            started: Some(now()),
            ..Vertex::default()
        };
        self.tell(SolveStatus { vertexes: vec![vertex.clone()], ..SolveStatus::default() });
        Activity { progress: self, vertex, tail: Mutex::default(), ended: false }
    }

    /// Tells a warning about lines of the Dockerfile.
    pub(super) fn warn(&self, activity: &Activity<'_>, short: &str, lines: Option<(u32, u32)>) {
        let warning = VertexWarning {
            vertex: activity.vertex.digest.clone(),
            level: 1,
            short: short.as_bytes().to_vec(),
            lines,
            ..VertexWarning::default()
        };
        self.tell(SolveStatus { warnings: vec![warning], ..SolveStatus::default() });
    }
}

pub(super) fn cancelled() -> ApiError {
    ApiError::new(hull_api::ErrorKind::Unavailable, "the build was cancelled")
}

impl Activity<'_> {
    /// Names it as an input of others.
    pub(super) fn digest(&self) -> String {
        self.vertex.digest.clone()
    }

    pub(super) fn name(&self) -> &str {
        &self.vertex.name
    }

    /// Output of the step; `stream` is 1 or 2.
    pub(super) fn log(&self, stream: i64, data: &[u8]) {
        self.remember(data);
        let log = VertexLog {
            vertex: self.vertex.digest.clone(),
            stream,
            data: data.to_vec(),
            timestamp: now(),
        };
        self.progress.tell(SolveStatus { logs: vec![log], ..SolveStatus::default() });
    }

    fn remember(&self, data: &[u8]) {
        let mut tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        for piece in data.split_inclusive(|&byte| byte == b'\n') {
            let text = String::from_utf8_lossy(piece);
            match tail.back_mut() {
                Some(last) if !last.ends_with('\n') => {
                    if last.len() < LINE {
                        last.push_str(&text);
                    }
                }
                _ => tail.push_back(text.into_owned()),
            }
            if tail.len() > TAIL {
                tail.pop_front();
            }
        }
    }

    /// The last lines of its output.
    pub(super) fn last_lines(&self) -> Vec<String> {
        let tail = self.tail.lock().unwrap_or_else(PoisonError::into_inner);
        tail.iter().map(|line| line.trim_end_matches(['\n', '\r']).to_owned()).collect()
    }

    /// Something inside the step that is done.
    pub(super) fn status(&self, id: &str, bytes: u64, started: &str) {
        let bytes = i64::try_from(bytes).unwrap_or(i64::MAX);
        let status = VertexStatus {
            id: id.to_owned(),
            vertex: self.vertex.digest.clone(),
            current: bytes,
            timestamp: now(),
            started: Some(started.to_owned()),
            completed: Some(now()),
            ..VertexStatus::default()
        };
        self.progress.tell(SolveStatus { statuses: vec![status], ..SolveStatus::default() });
    }

    /// Its result was there already.
    pub(super) fn cached(mut self) {
        self.vertex.cached = true;
        self.end();
    }

    pub(super) fn done(mut self) {
        self.end();
    }

    pub(super) fn failed(mut self, message: &str) {
        self.vertex.error = message.to_owned();
        self.end();
    }

    fn end(&mut self) {
        self.ended = true;
        self.vertex.completed = Some(now());
        let vertexes = vec![self.vertex.clone()];
        self.progress.tell(SolveStatus { vertexes, ..SolveStatus::default() });
    }
}

impl Drop for Activity<'_> {
    fn drop(&mut self) {
        if !self.ended {
            self.vertex.error = "it was not finished".to_owned();
            self.end();
        }
    }
}
