//! What a build tells in the words of Docker's classic builder: the stream of `POST /build`.

use hull_api::build::{BuildFailure, BuildMessage, BuildResult, SolveStatus};
use serde::Serialize;

use crate::error::ApiError;

/// One line of the stream.
#[derive(Debug, Default, Serialize)]
pub(super) struct Line {
    #[serde(skip_serializing_if = "String::is_empty")]
    stream: String,
    #[serde(skip_serializing_if = "Option::is_none")]
    aux: Option<Aux>,
    #[serde(rename = "errorDetail", skip_serializing_if = "Option::is_none")]
    error_detail: Option<ErrorDetail>,
    #[serde(skip_serializing_if = "String::is_empty")]
    error: String,
}

#[derive(Debug, Serialize)]
struct Aux {
    #[serde(rename = "ID")]
    id: String,
}

#[derive(Debug, Serialize)]
struct ErrorDetail {
    #[serde(skip_serializing_if = "Option::is_none")]
    code: Option<i32>,
    message: String,
}

/// Turns what a build tells into lines. `quiet` leaves all out but the end.
#[derive(Debug, Default)]
pub(super) struct Classic {
    quiet: bool,
    /// Steps that were announced.
    announced: Vec<String>,
}

impl Classic {
    pub(super) fn new(quiet: bool) -> Self {
        Self { quiet, announced: Vec::new() }
    }

    /// The lines of a message.
    pub(super) fn lines(&mut self, message: BuildMessage) -> Vec<Line> {
        match message {
            BuildMessage::Status(_) if self.quiet => Vec::new(),
            BuildMessage::Status(status) => self.status(status),
            BuildMessage::Result(result) => self.result(&result),
            BuildMessage::Error(failure) => vec![error(&failure)],
        }
    }

    fn status(&mut self, status: SolveStatus) -> Vec<Line> {
        let mut lines = Vec::new();
        for vertex in status.vertexes {
            let Some((number, text)) = step(&vertex.name) else { continue };
            if !self.announced.contains(&vertex.digest) {
                self.announced.push(vertex.digest);
                lines.push(text_line(format!("Step {number} : {text}\n")));
            }
            if vertex.cached && !text.starts_with("FROM ") {
                lines.push(text_line(" ---> Using cache\n".to_owned()));
            }
        }
        for log in status.logs {
            lines.push(text_line(String::from_utf8_lossy(&log.data).into_owned()));
        }
        for warning in status.warnings {
            let text = String::from_utf8_lossy(&warning.short);
            lines.push(text_line(format!("[Warning] {text}\n")));
        }
        lines
    }

    fn result(&self, result: &BuildResult) -> Vec<Line> {
        let id = &result.image_id;
        if id.is_empty() {
            return Vec::new();
        }
        let aux = Line { aux: Some(Aux { id: id.clone() }), ..Line::default() };
        if self.quiet {
            return vec![aux, text_line(format!("{id}\n"))];
        }
        let short: String = id.trim_start_matches("sha256:").chars().take(12).collect();
        let mut lines = vec![
            text_line(format!(" ---> {short}\n")),
            aux,
            text_line(format!("Successfully built {short}\n")),
        ];
        for name in &result.names {
            lines.push(text_line(format!("Successfully tagged {name}\n")));
        }
        lines
    }
}

/// Whether a message is about a step of the Dockerfile.
pub(super) fn is_step(message: &BuildMessage) -> bool {
    match message {
        BuildMessage::Status(status) => {
            status.vertexes.iter().any(|vertex| step(&vertex.name).is_some())
        }
        BuildMessage::Result(_) | BuildMessage::Error(_) => false,
    }
}

/// What a build is refused with that fails before anything was said.
pub(super) fn refusal(message: &BuildMessage) -> Option<ApiError> {
    match message {
        BuildMessage::Error(failure) => Some(ApiError::new(failure.kind, text(failure))),
        BuildMessage::Status(_) | BuildMessage::Result(_) => None,
    }
}

fn text_line(stream: String) -> Line {
    Line { stream, ..Line::default() }
}

/// `[build 2/5] RUN make` as `2/5` and `RUN make`.
fn step(name: &str) -> Option<(&str, &str)> {
    let (place, text) = name.strip_prefix('[')?.split_once("] ")?;
    let number = place.rsplit(' ').next().filter(|number| number.contains('/'))?;
    Some((number, text))
}

fn error(failure: &BuildFailure) -> Line {
    let message = text(failure);
    let detail = ErrorDetail { code: failure.exit_code, message: message.clone() };
    Line { error_detail: Some(detail), error: message, ..Line::default() }
}

/// A failure in one line, which is all that Docker's clients show.
fn text(failure: &BuildFailure) -> String {
    let mut message = match failure.step.is_empty() {
        true => failure.message.clone(),
        false => format!("{}: {}", failure.step, failure.message),
    };
    if let Some(hint) = &failure.hint {
        message = format!("{message} ({hint})");
    }
    message
}

#[cfg(test)]
mod tests {
    use super::*;
    use hull_api::build::Vertex;

    fn shown(lines: &[Line]) -> String {
        lines.iter().map(|line| format!("{}\n", serde_json::to_string(line).unwrap())).collect()
    }

    #[test]
    fn as_docker_tells_it() {
        let mut classic = Classic::default();
        let vertex = |name: &str, cached| Vertex {
            digest: name.to_owned(),
            name: name.to_owned(),
            cached,
            ..Vertex::default()
        };
        let status = SolveStatus {
            vertexes: vec![
                vertex("[internal] load build definition", false),
                vertex("[1/2] FROM busybox", true),
                vertex("[build 2/2] RUN make", true),
            ],
            ..SolveStatus::default()
        };
        let lines = classic.lines(BuildMessage::Status(status));
        assert_eq!(
            shown(&lines),
            "{\"stream\":\"Step 1/2 : FROM busybox\\n\"}\n\
             {\"stream\":\"Step 2/2 : RUN make\\n\"}\n{\"stream\":\" ---> Using cache\\n\"}\n"
        );
        let result = BuildResult {
            image_id: "sha256:0123456789abcdef".to_owned(),
            names: vec!["a:latest".to_owned()],
            ..BuildResult::default()
        };
        assert_eq!(
            shown(&classic.lines(BuildMessage::Result(result))),
            "{\"stream\":\" ---> 0123456789ab\\n\"}\n{\"aux\":{\"ID\":\"sha256:0123456789abcdef\"}}\n\
             {\"stream\":\"Successfully built 0123456789ab\\n\"}\n\
             {\"stream\":\"Successfully tagged a:latest\\n\"}\n"
        );
    }
}
