//! How a failed build is told.

use hull_api::build::BuildFailure;

use crate::client::ApiError;
use crate::out;
use crate::screen::clean;

/// Shows the step's last output and the place in the Dockerfile; returns the error itself.
pub(crate) fn report(failure: BuildFailure) -> anyhow::Error {
    let rule = "------";
    if !failure.step.is_empty() && !failure.output.is_empty() {
        out::error(&format!("{rule}\n > {}:", clean(&failure.step)));
        for line in &failure.output {
            out::error(&clean(line));
        }
        out::error(rule);
    }
    for line in failure.excerpt.lines() {
        out::error(&clean(line));
    }
    let BuildFailure { message, hint, kind, .. } = failure;
    ApiError { status: 200, message, hint, kind: Some(kind) }.into()
}
