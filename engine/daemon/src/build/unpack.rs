//! `ADD` of archives: unpacked by a sealed worker into the tree of the stage itself, so that names
//! in it lead where they would for `tar -x` there.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_api::ErrorKind;
use hull_store::select::{self, Found};
use hull_store::snapshot::writable_view;
use hull_worker::client::{Worker, WorkerError, run};
use hull_worker::job::{Answer, ExtractOptions, FailureKind, Job};
use rustix::fs::{Mode, OFlags};
use rustix::io::Errno;

use super::chain::{Chain, Link, Written};
use super::context::Tree;
use super::copy::{Copying, Piece};
use super::job::{Build, unexpected};
use crate::error::ApiError;
use crate::worker_stream::failed;

/// Bytes that an archive may hold once inflated.
const MAX_BYTES: u64 = 1 << 40;

/// The file that was found, open, if it begins as an archive does.
pub(super) fn archive(
    tree: &Tree,
    found: &Found,
    forced: Option<bool>,
) -> Result<Option<OwnedFd>, ApiError> {
    let io = |error: std::io::Error| {
        ApiError::internal(&error)
            .context(&format!("cannot read {}", String::from_utf8_lossy(&found.path)))
    };
    let file = select::open(tree.root.as_fd(), &found.path, OFlags::RDONLY | OFlags::NONBLOCK)
        .map_err(|error| io(error.into()))?;
    let mut head = Vec::new();
    let mut file = File::from(file);
    (&mut file).take(512).read_to_end(&mut head).map_err(io)?;
    let name = String::from_utf8_lossy(&found.path);
    if is_archive(&head) {
        rustix::fs::seek(&file, rustix::fs::SeekFrom::Start(0))
            .map_err(|error| io(error.into()))?;
        return Ok(Some(file.into()));
    }
    match forced {
        Some(true) => Err(ApiError::invalid(format!("cannot unpack {name}: it is no archive"))),
        _ => Ok(None),
    }
}

/// Whether something begins as a tar does, plain or compressed; `head` is its first 512 bytes.
pub(super) fn is_archive(head: &[u8]) -> bool {
    const COMPRESSED: [&[u8]; 4] = [b"\x1f\x8b\x08", b"\x28\xb5\x2f\xfd", b"\xfd7zXZ\0", b"BZh"];
    head.get(257..262) == Some(b"ustar")
        || is_old_tar(head)
        || COMPRESSED.iter().any(|magic| head.starts_with(magic))
}

/// Whether a block is a tar header by its checksum.
fn is_old_tar(block: &[u8]) -> bool {
    let Some(field) = block.get(148..156).filter(|_| block.len() == 512) else { return false };
    let text: String = field.iter().copied().map(char::from).collect();
    let Ok(sum) = u64::from_str_radix(text.trim_matches([' ', '\0']), 8) else { return false };
    let byte = |(index, byte): (usize, &u8)| match index {
        148..156 => u64::from(b' '),
        _ => u64::from(*byte),
    };
    block[0] != 0 && sum == block.iter().enumerate().map(byte).sum::<u64>()
}

/// Carries out an `ADD` some of whose sources are archives.
pub(super) fn unpack(
    build: &Build<'_>,
    chain: &Chain,
    copy: &Copying<'_>,
    archives: &[Option<OwnedFd>],
    owner: Option<(u32, u32)>,
) -> Result<(Link, u32), ApiError> {
    let scratch = build.area.scratch()?;
    let trees = chain.trees(build.store)?;
    let lowers: Vec<_> = trees.iter().map(AsFd::as_fd).collect();
    let root = writable_view(&lowers, &scratch.upper).map_err(|error| {
        ApiError::chain(ErrorKind::Unavailable, &error).context("cannot write to a stage")
    })?;
    let mut done: Vec<usize> = Vec::new();
    for (index, archive) in archives.iter().enumerate() {
        let Some(archive) = archive else { continue };
        let directory = make_directory(&root, copy.destination())?;
        if extract(build, &root, archive, &directory, owner)? {
            done.push(index);
        }
    }
    if done.len() < copy.pieces().len() {
        let tree = copy.pieces().iter().find_map(|piece| match piece {
            Piece::Files { tree, .. } => Some(tree.root.as_fd()),
            Piece::Inline { .. } => None,
        });
        let view = chain.view(build.store)?;
        let items = copy.items(build, Some(&root), owner, &done)?;
        let list = build.list(&items)?;
        add(build, &root, tree.unwrap_or(view.as_fd()), &list)?;
    }
    drop(root);
    let written = Written::new(scratch);
    let report = build.layer_of_changes(&written.scratch, chain, Vec::new())?;
    Ok((Link::Stored(report.diff_id), report.max_id.saturating_add(1)))
}

/// Unpacks one archive; false if it is none after all.
fn extract(
    build: &Build<'_>,
    root: &OwnedFd,
    archive: &OwnedFd,
    directory: &str,
    owner: Option<(u32, u32)>,
) -> Result<bool, ApiError> {
    let options = ExtractOptions { owner, max_bytes: MAX_BYTES, ..ExtractOptions::default() };
    let job = Job::Extract { path: directory.to_owned(), options, userns: false };
    match run(build.worker, &job, &[root.as_fd(), archive.as_fd()]) {
        Ok(Answer::Extracted { .. }) => Ok(true),
        // A compressed file that holds no tar is a file like others.
        Err(WorkerError::Failed { kind: FailureKind::Invalid, message })
            if message.starts_with("tar at byte 0:") =>
        {
            Ok(false)
        }
        Ok(other) => Err(unexpected(&other)),
        Err(error) => Err(failed(&error).context("cannot unpack an archive")),
    }
}

/// Adds what a list says.
fn add(
    build: &Build<'_>,
    root: &OwnedFd,
    tree: BorrowedFd<'_>,
    list: &File,
) -> Result<(), ApiError> {
    let (reader, writer) = std::io::pipe().map_err(|error| ApiError::internal(&error))?;
    let view = root.try_clone().map_err(|error| ApiError::internal(&error))?;
    let job = Job::PackList { latest: None };
    let descriptors = [tree, view.as_fd(), list.as_fd(), writer.as_fd()];
    let packing =
        Worker::spawn(build.worker, &job, &descriptors).map_err(|error| failed(&error))?;
    drop(writer);
    let options = ExtractOptions { max_bytes: MAX_BYTES, ..ExtractOptions::default() };
    let job = Job::Extract { path: "/".to_owned(), options, userns: false };
    let extracted = run(build.worker, &job, &[root.as_fd(), reader.as_fd()]);
    drop(reader);
    packing.answer().map_err(|error| failed(&error))?;
    extracted.map(drop).map_err(|error| failed(&error))
}

/// Makes the directory at `path` in a tree that is written to, and those above it; returns where
/// it is.
fn make_directory(root: &OwnedFd, path: &str) -> Result<String, ApiError> {
    let io = |error: Errno| {
        ApiError::chain(ErrorKind::Invalid, &std::io::Error::from(error))
            .context(&format!("cannot make the directory {path}"))
    };
    let (mut walked, missing) = select::resolve(root.as_fd(), path.as_bytes()).map_err(io)?;
    for part in missing {
        let flags = OFlags::PATH | OFlags::DIRECTORY;
        let parent = select::open(root.as_fd(), &walked, flags).map_err(io)?;
        rustix::fs::mkdirat(&parent, &*part, Mode::from_raw_mode(0o755)).map_err(io)?;
        walked = select::join(&walked, &part);
    }
    String::from_utf8(walked).map_err(|_| {
        ApiError::invalid(format!("cannot unpack into {path}: a name on the way is not UTF-8"))
    })
}
