//! Where the files and the Dockerfile of a build come from.

use std::fs::File;
use std::io::{self, Cursor, Read};
use std::path::{Path, PathBuf};

use anyhow::{Context as _, Result, bail};
use clap::ArgMatches;
use hull_builder::remote::Remote;

use crate::app::Exit;
use crate::options::text;

/// As many bytes as say what stdin is.
const PEEK: usize = 512;

/// What a build is made from.
pub(crate) struct Source {
    /// The files.
    pub(crate) files: Files,
    /// The Dockerfile, where this command has read it.
    pub(crate) dockerfile: Option<Text>,
    /// Where it is in the context, where that is for the engine to find.
    pub(crate) path: Option<String>,
    /// The `.dockerignore` that goes with it.
    pub(crate) ignore: Option<Text>,
}

/// The files of a context.
pub(crate) enum Files {
    /// None.
    Nothing,
    /// A directory here.
    Directory(PathBuf),
    /// A tar that comes from stdin.
    Tar(Box<dyn Read + Send + Sync + Unpin>),
    /// For the engine to fetch.
    Remote(String),
}

/// A file that was read.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(crate) struct Text {
    /// As messages name it.
    pub(crate) name: String,
    /// What is in it.
    pub(crate) bytes: Vec<u8>,
}

impl Source {
    /// Finds context and Dockerfile, and reads the latter where it is here.
    ///
    /// # Errors
    /// What cannot be found or read, or does not go together.
    pub(crate) fn find(matches: &ArgMatches) -> Result<Self> {
        let Some(context) = text(matches, "context") else {
            let error = anyhow::anyhow!(
                "\"hull build\" requires 1 argument\n\nUsage:  hull build [OPTIONS] PATH | URL | -\n\nRun 'hull build --help' for more information"
            );
            return Err(Exit { error, code: 1 }.into());
        };
        let file = text(matches, "file").filter(|file| !file.is_empty());
        match (context, file) {
            ("-", Some("-")) => {
                bail!("invalid argument: can't use stdin for both build context and dockerfile")
            }
            ("-", file) => from_stdin(io::stdin(), file),
            (context, file) if Remote::of(context) != Remote::Path => {
                let dockerfile = match file {
                    Some("-") => Some(dockerfile_of_stdin()?),
                    _ => None,
                };
                let path = file.filter(|file| *file != "-").map(str::to_owned);
                let files = Files::Remote(context.to_owned());
                Ok(Self { files, dockerfile, path, ignore: None })
            }
            (context, file) => from_directory(Path::new(context), file),
        }
    }
}

/// A tar, plain or compressed, or a Dockerfile without files.
fn from_stdin(
    mut stdin: impl Read + Send + Sync + Unpin + 'static,
    file: Option<&str>,
) -> Result<Source> {
    let mut start = Vec::new();
    stdin.by_ref().take(PEEK as u64).read_to_end(&mut start).context("cannot read stdin")?;
    if is_archive(&start) {
        let tar = Cursor::new(start).chain(stdin);
        let path = file.map(str::to_owned);
        return Ok(Source {
            files: Files::Tar(Box::new(tar)),
            dockerfile: None,
            path,
            ignore: None,
        });
    }
    if start.is_empty() {
        bail!("stdin holds neither a Dockerfile nor a tar");
    }
    let bytes = bounded(Cursor::new(start).chain(stdin)).context("cannot read stdin")?;
    let dockerfile = Some(Text { name: "Dockerfile".to_owned(), bytes });
    Ok(Source { files: Files::Nothing, dockerfile, path: None, ignore: None })
}

fn dockerfile_of_stdin() -> Result<Text> {
    let bytes = bounded(io::stdin()).context("cannot read the Dockerfile from stdin")?;
    Ok(Text { name: "Dockerfile".to_owned(), bytes })
}

fn from_directory(context: &Path, file: Option<&str>) -> Result<Source> {
    let found = std::fs::metadata(context).with_context(|| {
        format!("unable to prepare context: path {:?} not found", context.display().to_string())
    })?;
    if !found.is_dir() {
        bail!(
            "unable to prepare context: {} is no directory: name one, or a file with -f",
            context.display()
        );
    }
    let root = std::path::absolute(context)?;
    let root = std::fs::canonicalize(&root).unwrap_or(root);
    let (dockerfile, beside) = match file {
        Some("-") => (dockerfile_of_stdin()?, None),
        Some(file) if file.contains("://") => {
            bail!(
                "cannot read the Dockerfile {file}: name a file, or build the address as a context"
            )
        }
        Some(file) => (read(Path::new(file), file)?, Some(PathBuf::from(file))),
        None => {
            let capital = context.join("Dockerfile");
            let small = context.join("dockerfile");
            if !capital.exists() && small.exists() {
                (read(&small, "dockerfile")?, Some(small))
            } else {
                (read(&capital, "Dockerfile")?, Some(capital))
            }
        }
    };
    let ignore = ignore(context, beside.as_deref())?;
    let path = None;
    Ok(Source { files: Files::Directory(root), dockerfile: Some(dockerfile), path, ignore })
}

fn read(path: &Path, name: &str) -> Result<Text> {
    let bytes = File::open(path)
        .map_err(anyhow::Error::from)
        .and_then(bounded)
        .with_context(|| format!("failed to read dockerfile: cannot open {}", path.display()))?;
    Ok(Text { name: name.to_owned(), bytes })
}

/// The file beside the Dockerfile that bears its name, else the one in the context's root.
fn ignore(context: &Path, dockerfile: Option<&Path>) -> Result<Option<Text>> {
    let own = dockerfile.map(|path| {
        let mut name = path.as_os_str().to_owned();
        name.push(".dockerignore");
        PathBuf::from(name)
    });
    for path in own.into_iter().chain([context.join(".dockerignore")]) {
        match File::open(&path) {
            Ok(file) => {
                let bytes =
                    bounded(file).with_context(|| format!("cannot read {}", path.display()))?;
                let name = path.file_name().unwrap_or_default().to_string_lossy().into_owned();
                return Ok(Some(Text { name, bytes }));
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {}
            Err(error) => {
                return Err(error).with_context(|| format!("cannot read {}", path.display()));
            }
        }
    }
    Ok(None)
}

/// All of a file that is at most as large as a Dockerfile may be.
fn bounded(reader: impl Read) -> Result<Vec<u8>> {
    let mut bytes = Vec::new();
    reader.take(hull_builder::MAX_BYTES as u64 + 1).read_to_end(&mut bytes)?;
    if bytes.len() > hull_builder::MAX_BYTES {
        bail!("it is larger than {} MiB", hull_builder::MAX_BYTES >> 20);
    }
    Ok(bytes)
}

/// Whether these are the first bytes of a tar, plain or compressed by gzip, bzip2, xz or zstd.
fn is_archive(start: &[u8]) -> bool {
    let magic: [&[u8]; 4] = [b"\x1f\x8b\x08", b"BZh", b"\xfd7zXZ\0", b"\x28\xb5\x2f\xfd"];
    if magic.iter().any(|magic| start.starts_with(magic)) {
        return true;
    }
    if start.len() < PEEK {
        return false;
    }
    // A header's checksum is the sum of its bytes with that field blank.
    let sum: u32 = start
        .iter()
        .enumerate()
        .map(|(at, byte)| if (148..156).contains(&at) { 32 } else { u32::from(*byte) })
        .sum();
    let field: String = start[148..156].iter().map(|byte| char::from(*byte)).collect();
    let field = field.trim_matches(|c: char| c == ' ' || c == '\0');
    u32::from_str_radix(field, 8) == Ok(sum)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn stdin_is_a_tar_or_a_dockerfile() {
        let directory = tempfile::tempdir().unwrap();
        std::fs::write(directory.path().join("f"), "x").unwrap();
        let mut tar = Vec::new();
        crate::upload::DirectoryTar::new(directory.path()).unwrap().read_to_end(&mut tar).unwrap();
        let source = from_stdin(Cursor::new(tar.clone()), Some("sub/Dockerfile")).unwrap();
        assert_eq!(source.path.as_deref(), Some("sub/Dockerfile"));
        let Files::Tar(mut reader) = source.files else { panic!() };
        let mut again = Vec::new();
        reader.read_to_end(&mut again).unwrap();
        assert_eq!(again, tar);
        let source = from_stdin(Cursor::new(b"FROM scratch\n".to_vec()), None).unwrap();
        assert_eq!(source.dockerfile.unwrap().bytes, b"FROM scratch\n");
        assert!(matches!(source.files, Files::Nothing));
        assert!(from_stdin(Cursor::new(Vec::new()), None).is_err());
        assert!(is_archive(b"\x1f\x8b\x08 and more") && !is_archive(&[0; 512]));
    }

    #[test]
    fn dockerfile_and_ignore_of_a_directory() {
        let directory = tempfile::tempdir().unwrap();
        let at = |name: &str| directory.path().join(name);
        std::fs::write(at("dockerfile"), "FROM a").unwrap();
        std::fs::write(at(".dockerignore"), "one").unwrap();
        let source = from_directory(directory.path(), None).unwrap();
        assert_eq!(
            source.dockerfile.unwrap(),
            Text { name: "dockerfile".into(), bytes: b"FROM a".to_vec() }
        );
        assert_eq!(source.ignore.unwrap().bytes, b"one");
        std::fs::write(at("Dockerfile"), "FROM b").unwrap();
        std::fs::write(at("Dockerfile.dockerignore"), "two").unwrap();
        let source = from_directory(directory.path(), None).unwrap();
        assert_eq!(source.dockerfile.unwrap().bytes, b"FROM b");
        assert_eq!(source.ignore.unwrap().bytes, b"two");
        let file = at("dockerfile").display().to_string();
        let source = from_directory(directory.path(), Some(&file)).unwrap();
        assert_eq!(source.ignore.unwrap().bytes, b"one");
        for (context, file, message) in [
            ("/no/such", None, "not found"),
            (file.as_str(), None, "is no directory"),
            (directory.path().to_str().unwrap(), Some("/no/such"), "failed to read dockerfile"),
        ] {
            let error = from_directory(Path::new(context), file).err().unwrap();
            assert!(format!("{error:#}").contains(message), "{error:#}");
        }
    }
}
