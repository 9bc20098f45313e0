//! What a build wants from elsewhere: files at addresses, commits of git repositories.

use std::fs::File;
use std::io::{self, BufWriter, Read, Write};
use std::os::fd::OwnedFd;

use bytes::{Buf, Bytes};
use hull_git::{
    Advertisement, Oid, Refs, advertisement_path, fetch_request, is_ref_name, ls_refs_request,
    read_fetch, request_path,
};
use hull_registry::client::{Client, ClientError, FailureKind, WebAnswer};
use tokio::sync::{mpsc, oneshot};

use crate::Failure;
use crate::protocol::Downloaded;

/// Bytes of an answer that is no pack: some hundred thousand references.
const MAX_TEXT: usize = 32 << 20;

/// Pieces of a pack between who reads it off the network and who writes it.
const AHEAD: usize = 32;

/// Version 2, or an answer that is refused.
const VERSION: (&str, &str) = ("git-protocol", "version=2");

/// Writes what is at `url` to a file, at most `limit` bytes.
pub(crate) async fn download(
    client: &Client,
    url: &str,
    limit: u64,
    file: OwnedFd,
    progress: impl Fn(u64),
) -> Result<Downloaded, Failure> {
    let plain = [("accept-encoding", "identity")];
    let mut answer = client.web(url, &plain, None).await?;
    let text = |name| answer.header(name).map(str::to_owned);
    let (modified, disposition) = (text("last-modified"), text("content-disposition"));
    let mut file = BufWriter::with_capacity(256 << 10, File::from(file));
    let write = |error: io::Error| Failure::internal(format!("cannot write {url}: {error}"));
    let mut bytes = 0;
    while let Some(piece) = answer.next().await? {
        bytes += piece.len() as u64;
        if bytes > limit {
            return Err(refused(format!("{url} has more than {limit} bytes")));
        }
        file.write_all(&piece).map_err(write)?;
        progress(bytes);
    }
    file.flush().map_err(write)?;
    Ok(Downloaded { bytes, modified, disposition })
}

/// Which commit `reference` is in the repository at `url`, `HEAD` without one.
pub(crate) async fn git_commit(
    client: &Client,
    url: &str,
    reference: Option<&str>,
) -> Result<String, Failure> {
    let reference = reference.unwrap_or("HEAD");
    // A commit is one whatever the server has.
    if let Ok(oid) = reference.parse::<Oid>() {
        return Ok(oid.to_string());
    }
    if !is_ref_name(reference) {
        return Err(refused(format!("{reference:?} is no branch, tag or commit")));
    }
    let (base, _) = advertised(client, url).await?;
    let answer = ask(client, &base, ls_refs_request(reference)).await?;
    let bytes = answer.read(MAX_TEXT).await?;
    let refs = Refs::read(&bytes[..]).map_err(|error| failed(url, &error))?;
    refs.find(reference).map(|oid| oid.to_string()).ok_or_else(|| Failure {
        kind: FailureKind::NotFound,
        message: format!("{url} has no branch or tag {reference:?}"),
        hint: Some("commits are named by all of their 40 digits".to_owned()),
    })
}

/// Writes the pack of a commit and all it holds to a file.
pub(crate) async fn git_pack(
    client: &Client,
    url: &str,
    commit: &str,
    file: OwnedFd,
    progress: impl Fn(u64),
) -> Result<(), Failure> {
    let commit: Oid = commit.parse().map_err(|error| refused(format!("{error}")))?;
    let (base, server) = advertised(client, url).await?;
    let mut answer = ask(client, &base, fetch_request(&server, commit)).await?;
    let (sender, receiver) = mpsc::channel(AHEAD);
    let (told, tell) = oneshot::channel();
    std::thread::Builder::new()
        .name("pack".to_owned())
        .spawn(move || {
            let mut file = BufWriter::with_capacity(256 << 10, File::from(file));
            let result = read_fetch(Pieces { receiver, piece: Bytes::new() }, &mut file);
            let result = result.map_err(|error| failed("the answer", &error)).and_then(|_| {
                file.flush().map_err(|error| Failure::internal(format!("cannot write: {error}")))
            });
            // Who waits for it may be gone with the engine.
            let _ = told.send(result);
        })
        .map_err(|error| Failure::internal(format!("cannot start a thread: {error}")))?;
    let mut bytes = 0;
    let fetched: Result<(), ClientError> = async {
        while let Some(piece) = answer.next().await? {
            bytes += piece.len() as u64;
            progress(bytes);
            // Nobody takes more: why, the thread says.
            if sender.send(piece).await.is_err() {
                break;
            }
        }
        Ok(())
    }
    .await;
    drop(sender);
    let written =
        tell.await.unwrap_or_else(|_| Err(Failure::internal("what writes the pack is gone")));
    fetched.map_err(Failure::from)?;
    written.map_err(|failure| Failure {
        message: format!("cannot fetch {commit} of {url}: {}", failure.message),
        ..failure
    })
}

/// What the server at `url` can do, and where it is after redirects.
async fn advertised(client: &Client, url: &str) -> Result<(String, Advertisement), Failure> {
    let asked = format!("{}{}", url.trim_end_matches('/'), advertisement_path());
    let answer = client.web(&asked, &[VERSION], None).await?;
    let found = answer.url();
    let Some(base) = found.strip_suffix(advertisement_path()).map(str::to_owned) else {
        return Err(refused(format!("{url} redirects to {found}, which is no git repository")));
    };
    let bytes = answer.read(MAX_TEXT).await?;
    let server = Advertisement::read(&bytes[..]).map_err(|error| failed(url, &error))?;
    Ok((base, server))
}

async fn ask(client: &Client, base: &str, request: Vec<u8>) -> Result<WebAnswer, Failure> {
    let headers = [
        VERSION,
        ("content-type", "application/x-git-upload-pack-request"),
        ("accept", "application/x-git-upload-pack-result"),
    ];
    Ok(client.web(&format!("{base}{}", request_path()), &headers, Some(request)).await?)
}

fn refused(message: String) -> Failure {
    Failure { kind: FailureKind::Invalid, message, hint: None }
}

fn failed(what: &str, error: &dyn std::error::Error) -> Failure {
    let mut message = format!("{what}: {error}");
    if let Some(source) = error.source() {
        message.push_str(&format!(": {source}"));
    }
    refused(message)
}

/// What comes over a channel, as a stream.
struct Pieces {
    receiver: mpsc::Receiver<Bytes>,
    piece: Bytes,
}

impl Read for Pieces {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        while self.piece.is_empty() {
            match self.receiver.blocking_recv() {
                Some(piece) => self.piece = piece,
                None => return Ok(0),
            }
        }
        let count = self.piece.len().min(buffer.len());
        self.piece.copy_to_slice(&mut buffer[..count]);
        Ok(count)
    }
}
