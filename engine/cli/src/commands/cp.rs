//! `hull cp`

mod paths;

use std::fs::{self, File};
use std::io::{self, Read, Write};
use std::path::PathBuf;
use std::process::ExitCode;

use anyhow::{Context as _, Result, anyhow, bail};
use clap::{Arg, ArgMatches, Command};
use http_body_util::BodyExt as _;
use hull_api::{ContainerPathStat, PATH_STAT_HEADER};
use hull_daemon::local;
use hyper::body::Incoming;
use hyper::{Method, Response};

use crate::app::Context;
use crate::client::{Client, empty, encode, query};
use crate::format::units;
use crate::{download, options, out, upload};
use paths::{Destination, base, join, prepare, rebased, split_entry};

pub(crate) fn command() -> Command {
    Command::new("cp")
        .about("Copy files/folders between a container and the local filesystem")
        .args([
            options::switch("archive", Some('a'), "Archive mode (copy all uid/gid information)"),
            options::switch("follow-link", Some('L'), "Always follow symbol link in SRC_PATH"),
            options::switch("quiet", Some('q'), "Suppress progress output during copy"),
            Arg::new("source").value_name("SRC_PATH").required(true),
            Arg::new("destination").value_name("DEST_PATH").required(true),
        ])
}

/// What to copy and how.
struct Copy {
    client: Client,
    container: String,
    source: String,
    destination: String,
    follow: bool,
    archive: bool,
    quiet: bool,
}

pub(crate) async fn run(context: Context, matches: ArgMatches) -> Result<ExitCode> {
    let word = |name| options::text(&matches, name).unwrap_or_default().to_owned();
    let (source, destination) = (word("source"), word("destination"));
    if source.is_empty() {
        bail!("source can not be empty");
    }
    if destination.is_empty() {
        bail!("destination can not be empty");
    }
    let (from, source) = split_argument(&source);
    let (to, destination) = split_argument(&destination);
    let copy = |container: String| Copy {
        client: context.client().clone(),
        container,
        source: source.clone(),
        destination: destination.clone(),
        follow: options::is_set(&matches, "follow-link"),
        archive: options::is_set(&matches, "archive"),
        quiet: options::is_set(&matches, "quiet") || !rustix::termios::isatty(io::stderr()),
    };
    match (from, to) {
        (Some(_), Some(_)) => bail!("copying between containers is not supported"),
        (None, None) => bail!("must specify at least one container source"),
        (Some(container), None) => copy(container).copy_out().await?,
        (None, Some(container)) => copy(container).copy_in().await?,
    }
    Ok(ExitCode::SUCCESS)
}

/// `container:path`, or a path of this machine: one that is absolute or begins with a dot.
fn split_argument(text: &str) -> (Option<String>, String) {
    match text.split_once(':') {
        Some((container, path)) if !text.starts_with('/') && !container.starts_with('.') => {
            (Some(container.to_owned()).filter(|name| !name.is_empty()), path.to_owned())
        }
        _ => (None, text.to_owned()),
    }
}

impl Copy {
    fn address(&self, path: &str, more: &[(&str, Option<&str>)]) -> String {
        let mut pairs = vec![("path", Some(path))];
        pairs.extend(more);
        format!("/containers/{}/archive{}", encode(&self.container), query(&pairs))
    }

    /// What is at a path of the container.
    async fn stat(&self, path: &str) -> Result<ContainerPathStat> {
        let address = self.address(path, &[]);
        path_stat(&self.client.send(Method::HEAD, &address, None, empty()).await?)
    }

    async fn copy_out(&self) -> Result<()> {
        let mut source = self.source.clone();
        let mut rebase = String::new();
        if self.follow
            && let Ok(stat) = self.stat(&source).await
            && stat.is_symlink()
        {
            let (parent, _) = split_entry(&source);
            (source, rebase) = rebased(&source, &join(&parent, &stat.link_target));
        }
        let destination = match self.destination.as_str() {
            "-" => None,
            path => Some(output_path(path)?),
        };
        let address = self.address(&source, &[]);
        let response = self.client.send(Method::GET, &address, None, empty()).await?;
        let Some(destination) = destination else {
            let mut stdout = io::stdout().lock();
            download::copy(response, &mut stdout).await?;
            return Ok(stdout.flush()?);
        };
        let stat = path_stat(&response)?;
        let root = stat.name.clone();
        let there = destination_here(&destination)?;
        let placed = prepare(stat.is_directory(), &there)?;
        let name = placed.name.clone().unwrap_or_else(|| match rebase.as_str() {
            "" => root.clone(),
            rebase => rebase.to_owned(),
        });
        // What is unpacked to the directory itself has no name of its own.
        let name = if name == "/" || name == "." { String::new() } else { name };
        let directory = open_directory(&placed.directory)?;
        let (unpacking, mut input) = local::unpack(&worker()?, &directory, &root, &name)?;
        let mut counted = Counted { inner: &mut input, count: 0 };
        let copied = download::copy(response, &mut counted).await;
        let count = counted.count;
        drop(input);
        // One that refuses the archive leaves the rest unread: its reason is the one.
        unpacking.finish()?;
        copied?;
        self.tell(count, &destination);
        Ok(())
    }

    async fn copy_in(&self) -> Result<()> {
        let mut path = self.destination.clone();
        let mut stat = self.stat(&path).await;
        if let Ok(found) = &stat
            && found.is_symlink()
        {
            let (parent, _) = split_entry(&path);
            path = join(&parent, &found.link_target);
            stat = self.stat(&path).await;
        }
        if stat.as_ref().is_ok_and(ContainerPathStat::is_device) {
            bail!(
                "destination \"{}:{}\" must be a directory or a regular file",
                self.container,
                self.destination
            );
        }
        let is_directory = stat.as_ref().is_ok_and(ContainerPathStat::is_directory);
        if self.source == "-" {
            if !is_directory {
                bail!(
                    "destination \"{}:{}\" must be a directory",
                    self.container,
                    self.destination
                );
            }
            return self.put(&path, upload::body(io::stdin())).await;
        }
        let there = Destination { path: path.clone(), exists: stat.is_ok(), is_directory };
        let (source, rebase) = source_here(&self.source, self.follow)?;
        let metadata = fs::symlink_metadata(&source)
            .map_err(|error| anyhow!("lstat {source}: {}", plain(&error)))?;
        let placed = prepare(metadata.is_dir(), &there)?;
        let (parent, entry) = split_entry(&source);
        let name = placed.name.clone().unwrap_or_else(|| match rebase.as_str() {
            "" => entry.clone(),
            rebase => rebase.to_owned(),
        });
        let directory = open_directory(&parent)?;
        let (packing, output) = local::pack(&worker()?, &directory, &entry, &name)?;
        let (count, counting) = std::sync::mpsc::channel();
        let body = upload::body(Tallied { inner: output, count: 0, told: count });
        let sent = self.put(&placed.directory, body).await;
        // A refusal of the engine's leaves the rest unread: its reason is the one.
        sent?;
        packing.finish()?;
        self.tell(counting.try_iter().last().unwrap_or(0), &format!("{}:{path}", self.container));
        Ok(())
    }

    async fn put(&self, path: &str, body: crate::client::RequestBody) -> Result<()> {
        let more = [
            ("noOverwriteDirNonDir", Some("true")),
            ("copyUIDGID", self.archive.then_some("true")),
        ];
        let address = self.address(path, &more);
        let response =
            self.client.send(Method::PUT, &address, Some("application/x-tar"), body).await?;
        response.into_body().collect().await?;
        Ok(())
    }

    fn tell(&self, bytes: u64, to: &str) {
        if !self.quiet {
            let size = units::human_size(i64::try_from(bytes).unwrap_or(i64::MAX));
            out::error(&format!("Successfully copied {size} to {to}"));
        }
    }
}

fn path_stat(response: &Response<Incoming>) -> Result<ContainerPathStat> {
    let header = response.headers().get(PATH_STAT_HEADER);
    header
        .and_then(|value| ContainerPathStat::from_header(value.to_str().ok()?))
        .ok_or_else(|| anyhow!("the engine did not tell what it copies"))
}

/// The path of an existing local source, with links on the way to it followed, and the name it is
/// to have if that is not its own.
fn source_here(text: &str, follow: bool) -> Result<(String, String)> {
    let path = absolute(text)?;
    let resolve = |path: &str| {
        fs::canonicalize(path)
            .map(|path| path.to_string_lossy().into_owned())
            .map_err(|error| anyhow!("lstat {path}: {}", plain(&error)))
    };
    if follow {
        return Ok(rebased(&path, &resolve(&path)?));
    }
    let (directory, name) = path.rsplit_once('/').unwrap_or(("", &path));
    let directory = resolve(if directory.is_empty() { "/" } else { directory })?;
    let resolved = format!("{}/{name}", directory.trim_end_matches('/'));
    let rebase = if path.ends_with('/') && base(&path) != base(&resolved) {
        base(&path)
    } else {
        String::new()
    };
    Ok((resolved, rebase))
}

/// An absolute path where something may be written.
fn output_path(text: &str) -> Result<String> {
    let path = absolute(text)?;
    let clean = paths::clean(&path);
    let (directory, _) = clean.rsplit_once('/').unwrap_or(("", &clean));
    let directory = if directory.is_empty() { "/" } else { directory };
    if matches!(fs::metadata(directory), Err(error) if error.kind() == io::ErrorKind::NotFound) {
        bail!("invalid output path: directory {directory:?} does not exist");
    }
    match fs::metadata(&path) {
        Ok(found) if !found.is_dir() && !found.is_file() => {
            bail!(
                "invalid output path: {path:?} must be a directory or a regular file: got a device"
            )
        }
        _ => Ok(path),
    }
}

/// What is at a local destination, its last link followed.
fn destination_here(text: &str) -> Result<Destination> {
    const MAX_LINKS: usize = 10;
    let mut path = text.to_owned();
    for _ in 0..=MAX_LINKS {
        match fs::symlink_metadata(&path) {
            Ok(found) if found.is_symlink() => {
                let target = fs::read_link(&path)?.to_string_lossy().into_owned();
                path = join(&split_entry(&path).0, &target);
            }
            Ok(found) => {
                return Ok(Destination { path, exists: true, is_directory: found.is_dir() });
            }
            Err(error) if error.kind() == io::ErrorKind::NotFound => {
                let (parent, _) = split_entry(&path);
                let found = fs::metadata(&parent)
                    .map_err(|error| anyhow!("stat {parent}: {}", plain(&error)))?;
                if !found.is_dir() {
                    bail!("not a directory");
                }
                return Ok(Destination { path, exists: false, is_directory: false });
            }
            Err(error) => return Err(anyhow!("lstat {path}: {}", plain(&error))),
        }
    }
    bail!("too many symlinks in {text}")
}

fn absolute(text: &str) -> Result<String> {
    let path = if text.starts_with('/') {
        text.to_owned()
    } else {
        let here = std::env::current_dir().context("cannot tell the working directory")?;
        format!("{}/{text}", here.display())
    };
    Ok(paths::with_end_of(&paths::clean(&path), text))
}

/// An error of the system without its number.
fn plain(error: &io::Error) -> String {
    match error.kind() {
        io::ErrorKind::NotFound => "no such file or directory".to_owned(),
        io::ErrorKind::NotADirectory => "not a directory".to_owned(),
        io::ErrorKind::PermissionDenied => "permission denied".to_owned(),
        _ => error.to_string(),
    }
}

fn open_directory(path: &str) -> Result<File> {
    let file = File::open(path).map_err(|error| anyhow!("open {path}: {}", plain(&error)))?;
    if !file.metadata()?.is_dir() {
        bail!("open {path}: not a directory");
    }
    Ok(file)
}

/// The worker's program, beside this one.
fn worker() -> Result<PathBuf> {
    let own = std::env::current_exe().context("cannot locate this program")?;
    Ok(own.with_file_name("hull-worker"))
}

/// Counts what is written.
struct Counted<'a, W> {
    inner: &'a mut W,
    count: u64,
}

impl<W: Write> Write for Counted<'_, W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        match self.inner.write(bytes) {
            Ok(written) => {
                self.count += written as u64;
                Ok(written)
            }
            // It has seen enough: what it made of that, it tells itself.
            Err(error) if error.kind() == io::ErrorKind::BrokenPipe => Ok(bytes.len()),
            Err(error) => Err(error),
        }
    }

    fn flush(&mut self) -> io::Result<()> {
        self.inner.flush()
    }
}

/// Counts what is read, and tells it at the end.
struct Tallied<R> {
    inner: R,
    count: u64,
    told: std::sync::mpsc::Sender<u64>,
}

impl<R: Read> Read for Tallied<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        let read = self.inner.read(buffer)?;
        self.count += read as u64;
        if read == 0 {
            // Nobody may care any more.
            let _ = self.told.send(self.count);
        }
        Ok(read)
    }
}
