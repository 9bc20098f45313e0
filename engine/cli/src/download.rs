//! Archives on their way from the engine: written as they come.

use std::fs::File;
use std::io::{self, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result};
use http_body_util::BodyExt as _;
use hyper::Response;
use hyper::body::Incoming;

/// Writes what `request` answers to a file, or to stdout. The file gets its name when it is whole:
/// what was there before stays if anything goes wrong.
///
/// # Errors
/// Those of the request, an answer that breaks off, an output that cannot be written.
pub(crate) async fn to<F>(file: Option<&str>, request: impl FnOnce() -> F) -> Result<()>
where
    F: Future<Output = Result<Response<Incoming>>>,
{
    let Some(file) = file else {
        let mut stdout = io::stdout().lock();
        copy(request().await?, &mut stdout).await?;
        return Ok(stdout.flush()?);
    };
    let output = Output::create(Path::new(file))?;
    let result = match request().await {
        Ok(response) => copy(response, &mut &output.file).await,
        Err(error) => Err(error),
    };
    output.end(result)
}

/// Copies a body.
///
/// # Errors
/// A body that breaks off, an output that cannot be written.
pub(crate) async fn copy(response: Response<Incoming>, output: &mut impl Write) -> Result<()> {
    let mut body = response.into_body();
    while let Some(frame) = body.frame().await {
        let frame = frame.context("the engine's answer broke off")?;
        if let Ok(data) = frame.into_data() {
            output.write_all(&data)?;
        }
    }
    Ok(())
}

/// A file in the making.
struct Output {
    file: File,
    name: PathBuf,
    /// Where it is until it is whole; `None` for what is no regular file.
    temporary: Option<PathBuf>,
}

impl Output {
    fn create(name: &Path) -> Result<Self> {
        let context = || format!("cannot write {}", name.display());
        // Not beside a device or a pipe: what is written goes through it.
        if std::fs::metadata(name).is_ok_and(|metadata| !metadata.is_file()) {
            let file = File::options().write(true).open(name).with_context(context)?;
            return Ok(Self { file, name: name.to_owned(), temporary: None });
        }
        let mut temporary = name.as_os_str().to_owned();
        temporary.push(format!(".{}.part", std::process::id()));
        let temporary = PathBuf::from(temporary);
        let file = File::create(&temporary).with_context(context)?;
        Ok(Self { file, name: name.to_owned(), temporary: Some(temporary) })
    }

    fn end(self, result: Result<()>) -> Result<()> {
        let Some(temporary) = self.temporary else { return result };
        let renamed = result.and_then(|()| {
            std::fs::rename(&temporary, &self.name)
                .with_context(|| format!("cannot write {}", self.name.display()))
        });
        if renamed.is_err() {
            // The error at hand says more than one about what is left.
            let _ = std::fs::remove_file(&temporary);
        }
        renamed
    }
}
