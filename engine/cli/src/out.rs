//! What this command says: data on stdout, everything else on stderr.

use std::io::{self, Write as _};
use std::sync::OnceLock;

/// Why data could not be written, the first time.
static LOST: OnceLock<io::Error> = OnceLock::new();

/// Writes a line of data.
pub(crate) fn line(text: &str) {
    note(writeln!(io::stdout().lock(), "{text}"));
}

/// Writes data as it is.
pub(crate) fn text(text: &str) {
    note(write!(io::stdout().lock(), "{text}"));
}

/// Writes a line to stderr.
pub(crate) fn error(text: &str) {
    let _ = writeln!(io::stderr().lock(), "{text}");
}

/// Writes what is still buffered.
///
/// # Errors
/// The first reason why data was not written. That nobody reads it is none.
pub(crate) fn finish() -> Result<(), &'static io::Error> {
    note(io::stdout().lock().flush());
    LOST.get().map_or(Ok(()), Err)
}

fn note(written: io::Result<()>) {
    if let Err(error) = written
        && error.kind() != io::ErrorKind::BrokenPipe
    {
        let _the_first_is_kept = LOST.set(error);
    }
}
