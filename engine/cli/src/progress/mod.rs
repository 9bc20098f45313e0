//! What the engine says while it loads or imports: one JSON object per line.

use crate::client::ApiError;
use crate::format::units;
use crate::out;
use anyhow::Result;
use http_body_util::BodyExt as _;
use hull_api::image::ProgressMessage;
use hyper::Response;
use hyper::body::Incoming;

/// Prints results to stdout and, unless `quiet`, news to stderr, until the stream ends.
///
/// # Errors
/// What the engine says went wrong, or that it hung up.
pub(crate) async fn follow(response: Response<Incoming>, quiet: bool) -> Result<()> {
    let mut body = response.into_body();
    let mut rest = Vec::new();
    while let Some(frame) = body.frame().await {
        let Ok(data) = frame?.into_data() else { continue };
        rest.extend_from_slice(&data);
        while let Some(end) = rest.iter().position(|byte| *byte == b'\n') {
            let line: Vec<u8> = rest.drain(..=end).collect();
            show(&line, quiet)?;
        }
    }
    show(&rest, quiet)
}

fn show(line: &[u8], quiet: bool) -> Result<()> {
    if line.trim_ascii().is_empty() {
        return Ok(());
    }
    let message: ProgressMessage = serde_json::from_slice(line)?;
    if let Some(detail) = message.error_detail {
        return Err(refused(detail.message, detail.hint).into());
    }
    if let Some(error) = message.error {
        return Err(refused(error, None).into());
    }
    if let Some(text) = message.stream {
        out::text(&text);
    }
    match (message.status, message.progress_detail) {
        // News of a step, as opposed to a result.
        (Some(status), Some(detail)) if !quiet => {
            let what = message.id.map(|id| format!("{id}: ")).unwrap_or_default();
            let size = |bytes: Option<u64>| {
                bytes.map(|bytes| units::human_size(i64::try_from(bytes).unwrap_or(i64::MAX)))
            };
            let done = match (size(detail.current), size(detail.total)) {
                (Some(current), Some(total)) => format!("  {current}/{total}"),
                (Some(current), None) => format!("  {current}"),
                _ => String::new(),
            };
            out::error(&format!("{what}{status}{done}"));
        }
        (Some(_), Some(_)) | (None, _) => {}
        (Some(status), None) => out::line(&status),
    }
    Ok(())
}

fn refused(message: String, hint: Option<String>) -> ApiError {
    ApiError { status: 200, message, hint, kind: None }
}
