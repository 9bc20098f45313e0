//! Copying into and out of containers: `cp`.
//!
//! The path is looked up by a sealed worker whose root directory is the container's own, so that
//! no link the container makes, before or meanwhile, leads anywhere else. What a client sends is
//! unpacked by that worker too.

use std::os::fd::{AsFd, BorrowedFd};
use std::sync::Arc;

use hull_api::{ContainerPathStat, ErrorKind, PATH_STAT_HEADER, go_mode};
use hull_worker::client::{self, WorkerError};
use hull_worker::job::{Answer, ExtractOptions, Job, PlaceStat, Refusal};
use hyper::StatusCode;
use hyper::header::{HeaderName, HeaderValue};

use super::stored::Container;
use super::view::{Access, View};
use crate::error::ApiError;
use crate::events;
use crate::http::{Query, Request, Response, status};
use crate::service::{Engine, Service};
use crate::worker_stream::{Writing, failed, feed, input_pipe, respond};

/// What an archive may hold, in bytes: as a layer.
const MAX_BYTES: u64 = 1 << 40;

/// `HEAD /containers/{id}/archive`.
pub(crate) async fn archive_stat(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let asked = Asked::new(text, query)?;
    let header = service
        .run_long(move |engine| {
            let container = Container::find(engine.store()?, &asked.container)?;
            let view = View::open(engine.store()?, &container, Access::Read)?;
            asked.stat(engine, &view)
        })
        .await?;
    let mut response = status(StatusCode::OK);
    set_header(&mut response, &header);
    Ok(response)
}

/// `GET /containers/{id}/archive`.
pub(crate) async fn archive_get(
    service: &Service,
    text: &str,
    query: &Query,
) -> Result<Response, ApiError> {
    let asked = Asked::new(text, query)?;
    let prepared = respond(service, "application/x-tar", move |engine| {
        let container = Container::find(engine.store()?, &asked.container)?;
        let view = View::open(engine.store()?, &container, Access::Read)?;
        let header = asked.stat(engine, &view)?;
        let job = Job::PackPlace { path: asked.path, name: None, userns: view.userns.is_some() };
        engine.happened(&events::container(&container, "archive-path"));
        let View { root, userns, .. } = view;
        let (descriptors, rest) = (vec![root], userns.into_iter().collect());
        Ok((Writing { job, descriptors, rest }, header))
    });
    let (mut response, header) = prepared.await?;
    set_header(&mut response, &header);
    Ok(response)
}

/// `PUT /containers/{id}/archive`.
pub(crate) async fn archive_put(
    service: &Service,
    text: &str,
    request: Request,
) -> Result<Response, ApiError> {
    let asked = Asked::new(text, &request.query)?;
    let keep_kinds = request.query.flag("noOverwriteDirNonDir");
    let as_user = request.query.flag("copyUIDGID");
    let (reader, writer) = input_pipe()?;
    let feeder = tokio::spawn(feed(request.body, writer));
    let done = service
        .run_stream(move |engine| {
            let container = Container::find(engine.store()?, &asked.container)?;
            let view = View::open(engine.store()?, &container, Access::Write)?;
            let owner = if as_user { user(engine, &container, &view)? } else { None };
            let options =
                ExtractOptions { keep_kinds, owner, max_bytes: MAX_BYTES, ..Default::default() };
            let userns = view.userns.is_some();
            let job = Job::Extract { path: asked.path.clone(), options, userns };
            let descriptors: Vec<BorrowedFd<'_>> = [view.root.as_fd(), reader.as_fd()]
                .into_iter()
                .chain(view.userns.iter().map(AsFd::as_fd))
                .collect();
            match client::run(&engine.helper("hull-worker")?, &job, &descriptors) {
                Ok(Answer::Extracted { .. }) => {
                    engine.happened(&events::container(&container, "extract-to-dir"));
                    Ok(())
                }
                Ok(Answer::Refused(refusal)) => Err(asked.refused(refusal, Access::Write)),
                Ok(_) => Err(failed(&WorkerError::Answer)),
                Err(error) => Err(failed(&error)),
            }
        })
        .await;
    feeder.abort();
    done.map(|()| status(StatusCode::OK))
}

fn set_header(response: &mut Response, value: &str) {
    if let Ok(value) = HeaderValue::from_str(value) {
        response.headers_mut().insert(HeaderName::from_static(PATH_STAT_HEADER), value);
    }
}

/// What a client asks for.
struct Asked {
    container: String,
    path: String,
}

impl Asked {
    fn new(container: &str, query: &Query) -> Result<Self, ApiError> {
        let path = query.get("path").unwrap_or_default().to_owned();
        if path.is_empty() {
            return Err(ApiError::invalid("bad parameter: path cannot be empty"));
        }
        if path.contains('\0') {
            return Err(ApiError::invalid("bad parameter: path holds a zero byte"));
        }
        Ok(Self { container: container.to_owned(), path })
    }

    /// What is there, as the header tells it.
    fn stat(&self, engine: &Arc<Engine>, view: &View) -> Result<String, ApiError> {
        let job = Job::StatPlace { path: self.path.clone(), userns: view.userns.is_some() };
        let descriptors: Vec<BorrowedFd<'_>> =
            std::iter::once(view.root.as_fd()).chain(view.userns.iter().map(AsFd::as_fd)).collect();
        match client::run(&engine.helper("hull-worker")?, &job, &descriptors) {
            Ok(Answer::Place(stat)) => Ok(told(stat).to_header()),
            Ok(Answer::Refused(refusal)) => Err(self.refused(refusal, Access::Read)),
            Ok(_) => Err(failed(&WorkerError::Answer)),
            Err(error) => Err(failed(&error)),
        }
    }

    /// In Docker's words and with its status codes.
    fn refused(&self, refusal: Refusal, access: Access) -> ApiError {
        let Self { container, path } = self;
        match refusal {
            Refusal::NotFound => ApiError::not_found(format!(
                "Could not find the file {path} in container {container}"
            )),
            Refusal::NotADirectory if access == Access::Write => {
                ApiError::invalid("extraction point is not a directory")
            }
            Refusal::NotADirectory => {
                ApiError::new(ErrorKind::Internal, format!("lstat {path}: not a directory"))
            }
            Refusal::ReadOnlyRoot => ApiError::invalid("container rootfs is marked read-only"),
            Refusal::ReadOnlyMount => ApiError::invalid("mounted volume is marked read-only"),
        }
    }
}

fn told(stat: PlaceStat) -> ContainerPathStat {
    let nanoseconds = i32::try_from(stat.nanoseconds).unwrap_or(0);
    let mtime = jiff::Timestamp::new(stat.seconds, nanoseconds).unwrap_or_default();
    ContainerPathStat {
        name: stat.name,
        size: stat.size,
        mode: go_mode(stat.mode),
        mtime: mtime.to_string(),
        link_target: stat.link_target,
    }
}

/// Whom files are to belong to that are copied in with their owner set: the container's user, if
/// it has one.
fn user(
    engine: &Arc<Engine>,
    container: &Container,
    view: &View,
) -> Result<Option<(u32, u32)>, ApiError> {
    let wanted = &container.stored.config.user;
    if wanted.is_empty() {
        return Ok(None);
    }
    let file = |path: &str| account_file(engine, view, path);
    let (passwd, group) = (file("/etc/passwd")?, file("/etc/group")?);
    let none: [&str; 0] = [];
    let user = hull_sandbox::user::lookup(&passwd, &group, wanted, &none)
        .map_err(|error| ApiError::chain(ErrorKind::Invalid, &error))?;
    Ok(Some((user.uid, user.gid)))
}

/// The bytes of a file of the container, none if it is not there.
fn account_file(engine: &Arc<Engine>, view: &View, path: &str) -> Result<Vec<u8>, ApiError> {
    let output = rustix::fs::memfd_create("account", rustix::fs::MemfdFlags::CLOEXEC)
        .map_err(|error| ApiError::internal(&std::io::Error::from(error)))?;
    let job = Job::ReadPlace {
        path: path.to_owned(),
        max_bytes: MAX_ACCOUNT_BYTES,
        userns: view.userns.is_some(),
    };
    let descriptors: Vec<BorrowedFd<'_>> = [view.root.as_fd(), output.as_fd()]
        .into_iter()
        .chain(view.userns.iter().map(AsFd::as_fd))
        .collect();
    match client::run(&engine.helper("hull-worker")?, &job, &descriptors) {
        Ok(Answer::Packed { .. }) => {
            use std::io::{Read, Seek};
            let mut file = std::fs::File::from(output);
            let mut bytes = Vec::new();
            file.rewind()
                .and_then(|()| file.read_to_end(&mut bytes))
                .map_err(|error| ApiError::internal(&error))?;
            Ok(bytes)
        }
        Ok(Answer::Refused(_)) => Ok(Vec::new()),
        Ok(_) => Err(failed(&WorkerError::Answer)),
        Err(error) => Err(failed(&error)),
    }
}

/// The most an account file may hold.
const MAX_ACCOUNT_BYTES: u64 = 8 << 20;
