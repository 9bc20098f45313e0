//! Requests, and what is read from the answers. Spec: gitprotocol-v2.
//!
//! ```text
//! GET  <url>/info/refs?service=git-upload-pack     Git-Protocol: version=2   -> Advertisement
//! POST <url>/git-upload-pack    ls_refs_request()                            -> Refs
//! POST <url>/git-upload-pack    fetch_request()                              -> read_fetch()
//! ```

use std::io::{self, Read, Write};

use crate::oid::Oid;
use crate::packet::{DELIMITER, FLUSH, Packet, PacketError, Packets, line};

/// Most references that are listened to.
const MAX_REFS: usize = 100_000;

/// Most lines before the pack.
const MAX_LINES: usize = 10_000;

/// An answer that is not as it should be.
#[derive(Debug, thiserror::Error)]
pub enum ProtocolError {
    /// No packets.
    #[error(transparent)]
    Packet(#[from] PacketError),
    /// Not version 2.
    #[error("the server does not speak version 2 of git's protocol")]
    Version,
    /// The server cannot do something.
    #[error("the server does not offer {0:?}")]
    Missing(&'static str),
    /// Objects are named otherwise.
    #[error("the repository names its objects by {0}: only sha1 is supported")]
    ObjectFormat(String),
    /// The server says no.
    #[error("the server says: {0}")]
    Refused(String),
    /// Something else.
    #[error("the answer is not git's: {0}")]
    Unexpected(&'static str),
    /// More than is listened to.
    #[error("the answer has more than {0} lines")]
    TooMuch(usize),
    /// What came cannot be passed on.
    #[error("cannot pass the pack on")]
    Output(#[source] io::Error),
}

/// Path and query below a repository's address that tell what the server can do.
pub fn advertisement_path() -> &'static str {
    "/info/refs?service=git-upload-pack"
}

/// Path below a repository's address for requests.
pub fn request_path() -> &'static str {
    "/git-upload-pack"
}

/// What a server says it can do.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Advertisement {
    shallow: bool,
}

impl Advertisement {
    /// Reads the answer to a GET of [`advertisement_path`].
    ///
    /// # Errors
    /// [`ProtocolError`], where it cannot be fetched from.
    pub fn read(input: impl Read) -> Result<Self, ProtocolError> {
        let mut packets = Packets::new(input);
        let mut first = next_line(&mut packets)?;
        if first.as_deref().is_some_and(|line| line.starts_with("# service=")) {
            // A flush follows, then the capabilities.
            match packets.next_packet()? {
                Some(Packet::Flush) => first = next_line(&mut packets)?,
                _ => return Err(ProtocolError::Unexpected("no end after the service's name")),
            }
        }
        if first.as_deref() != Some("version 2") {
            return Err(ProtocolError::Version);
        }
        let (mut fetch, mut refs) = (None, false);
        for count in 0.. {
            let Some(line) = next_line(&mut packets)? else { break };
            let (name, value) = line.split_once('=').unwrap_or((&line, ""));
            match name {
                "fetch" => fetch = Some(value.to_owned()),
                "ls-refs" => refs = true,
                "object-format" if value != "sha1" => {
                    return Err(ProtocolError::ObjectFormat(value.to_owned()));
                }
                _ => {}
            }
            bounded(count, MAX_LINES)?;
        }
        let fetch = fetch.ok_or(ProtocolError::Missing("fetch"))?;
        if !refs {
            return Err(ProtocolError::Missing("ls-refs"));
        }
        Ok(Self { shallow: fetch.split(' ').any(|feature| feature == "shallow") })
    }
}

/// Asks which commit `reference` is: a branch, a tag, a full name below `refs/`, or `HEAD`.
pub fn ls_refs_request(reference: &str) -> Vec<u8> {
    let mut request = Vec::new();
    line(&mut request, "command=ls-refs");
    line(&mut request, "object-format=sha1");
    request.extend_from_slice(DELIMITER);
    line(&mut request, "peel");
    for name in candidates(reference) {
        line(&mut request, &format!("ref-prefix {name}"));
    }
    request.extend_from_slice(FLUSH);
    request
}

/// The full names that a short one may stand for, in the order in which they count.
fn candidates(reference: &str) -> Vec<String> {
    if reference == "HEAD" || reference.starts_with("refs/") {
        return vec![reference.to_owned()];
    }
    vec![format!("refs/heads/{reference}"), format!("refs/tags/{reference}")]
}

/// Whether `name` may be a reference's. Spec: git-check-ref-format.
pub fn is_ref_name(name: &str) -> bool {
    let part = |part: &str| !part.is_empty() && !part.starts_with('.') && !part.ends_with(".lock");
    !name.is_empty()
        && name.len() <= 255
        && !name.starts_with('-')
        && !name.ends_with('.')
        && name != "@"
        && !name.contains("..")
        && !name.contains("@{")
        && !name.chars().any(|c| c.is_control() || " ~^:?*[\\".contains(c))
        && name.split('/').all(part)
}

/// References of a repository.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Refs(Vec<(String, Oid)>);

impl Refs {
    /// Reads the answer to [`ls_refs_request`].
    ///
    /// # Errors
    /// [`ProtocolError`].
    pub fn read(input: impl Read) -> Result<Self, ProtocolError> {
        let mut packets = Packets::new(input);
        let mut refs = Vec::new();
        while let Some(line) = next_line(&mut packets)? {
            let mut words = line.split(' ');
            let wrong = ProtocolError::Unexpected("a line that is no reference");
            let (Some(oid), Some(name)) = (words.next(), words.next()) else { return Err(wrong) };
            let peeled = words.find_map(|word| word.strip_prefix("peeled:"));
            // Of a branch that has no commit yet there is nothing to fetch.
            let Ok(oid) = peeled.unwrap_or(oid).parse() else { continue };
            refs.push((name.to_owned(), oid));
            bounded(refs.len(), MAX_REFS)?;
        }
        Ok(Self(refs))
    }

    /// The commit that `reference` is; a branch stands before a tag of the same name.
    pub fn find(&self, reference: &str) -> Option<Oid> {
        candidates(reference)
            .iter()
            .find_map(|name| self.0.iter().find(|(found, _)| found == name).map(|(_, oid)| *oid))
    }
}

/// Asks for a commit with all that it holds, and without what came before it if the server can.
pub fn fetch_request(server: &Advertisement, commit: Oid) -> Vec<u8> {
    let mut request = Vec::new();
    line(&mut request, "command=fetch");
    line(&mut request, "object-format=sha1");
    request.extend_from_slice(DELIMITER);
    line(&mut request, "no-progress");
    line(&mut request, "ofs-delta");
    if server.shallow {
        line(&mut request, "deepen 1");
    }
    line(&mut request, &format!("want {commit}"));
    line(&mut request, "done");
    request.extend_from_slice(FLUSH);
    request
}

/// What came before a pack.
#[derive(Debug, Clone, Default, PartialEq, Eq)]
pub struct Fetched {
    /// Commits whose parents were left out.
    pub shallow: Vec<Oid>,
    /// Bytes of the pack.
    pub bytes: u64,
}

/// Reads the answer to [`fetch_request`] and passes the pack on to `pack`.
///
/// # Errors
/// [`ProtocolError`]. What was passed on until then is of no use.
pub fn read_fetch(input: impl Read, pack: &mut dyn Write) -> Result<Fetched, ProtocolError> {
    let mut packets = Packets::new(input);
    let mut fetched = Fetched::default();
    for count in 0.. {
        bounded(count, MAX_LINES)?;
        match packets.next_packet()? {
            Some(Packet::Data(data)) => {
                let text = text_of(&data)?;
                if text == "packfile" {
                    break;
                }
                if let Some(oid) = text.strip_prefix("shallow ") {
                    let wrong = |_| ProtocolError::Unexpected("a shallow commit that is none");
                    fetched.shallow.push(oid.parse().map_err(wrong)?);
                }
            }
            Some(Packet::Delimiter) => {}
            _ => return Err(ProtocolError::Unexpected("no pack in it")),
        }
    }
    while let Some(Packet::Data(data)) = packets.next_packet()? {
        // Spec: gitprotocol-v2, "packfile section".
        match data.split_first() {
            Some((1, data)) => {
                pack.write_all(data).map_err(ProtocolError::Output)?;
                fetched.bytes += data.len() as u64;
            }
            Some((2, _progress)) => {}
            Some((3, problem)) => return Err(ProtocolError::Refused(shown(problem))),
            _ => return Err(ProtocolError::Unexpected("a part of the pack without a channel")),
        }
    }
    Ok(fetched)
}

/// The next line without its end; `None` at the message's end.
fn next_line(packets: &mut Packets<impl Read>) -> Result<Option<String>, ProtocolError> {
    match packets.next_packet()? {
        Some(Packet::Data(data)) => text_of(&data).map(Some),
        Some(Packet::Delimiter) => Err(ProtocolError::Unexpected("a section where none belongs")),
        Some(Packet::Flush | Packet::End) | None => Ok(None),
    }
}

fn text_of(data: &[u8]) -> Result<String, ProtocolError> {
    let data = data.strip_suffix(b"\n").unwrap_or(data);
    if let Some(problem) = data.strip_prefix(b"ERR ") {
        return Err(ProtocolError::Refused(shown(problem)));
    }
    let text = str::from_utf8(data);
    Ok(text.map_err(|_| ProtocolError::Unexpected("a line that is not text"))?.to_owned())
}

/// What a server says, fit for a terminal.
fn shown(text: &[u8]) -> String {
    let text = String::from_utf8_lossy(&text[..text.len().min(500)]);
    text.trim().chars().map(|c| if c.is_control() { ' ' } else { c }).collect()
}

fn bounded(count: usize, limit: usize) -> Result<(), ProtocolError> {
    if count > limit { Err(ProtocolError::TooMuch(limit)) } else { Ok(()) }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn message(lines: &[&str]) -> Vec<u8> {
        let mut bytes = Vec::new();
        for text in lines {
            match *text {
                "--" => bytes.extend_from_slice(DELIMITER),
                "." => bytes.extend_from_slice(FLUSH),
                text => line(&mut bytes, text),
            }
        }
        bytes
    }

    const ONE: &str = "1111111111111111111111111111111111111111";
    const TWO: &str = "2222222222222222222222222222222222222222";

    #[test]
    fn what_a_server_offers() {
        let read = |lines: &[&str]| Advertisement::read(&message(lines)[..]);
        let service = "# service=git-upload-pack";
        let good = ["version 2", "agent=x", "ls-refs=unborn", "fetch=shallow wait-for-done", "."];
        assert!(read(&good).expect("it is version 2").shallow);
        assert!(read(&[&[service, "."], &good[..]].concat()).is_ok());
        let older = format!("{ONE} HEAD\0multi_ack");
        assert!(matches!(read(&[service, ".", &older, "."]), Err(ProtocolError::Version)));
        let other = ["version 2", "ls-refs", "fetch", "object-format=sha256", "."];
        assert!(matches!(read(&other), Err(ProtocolError::ObjectFormat(_))));
        assert!(matches!(
            read(&["version 2", "ls-refs", "."]),
            Err(ProtocolError::Missing("fetch"))
        ));
        let denied = read(&["ERR access denied"]);
        assert!(matches!(denied, Err(ProtocolError::Refused(text)) if text == "access denied"));
    }

    #[test]
    fn references_are_found_as_git_finds_them() {
        let peeled = format!("{ONE} refs/tags/v1 peeled:{TWO}");
        let lines =
            [&format!("{TWO} HEAD"), &format!("{ONE} refs/heads/main"), &peeled, "unborn HEAD"];
        let lines: Vec<&str> = lines.iter().map(|line| line as &str).chain(["."]).collect();
        let refs = Refs::read(&message(&lines)[..]).expect("they are references");
        let found = |name| refs.find(name).map(|oid| oid.to_string());
        assert_eq!(found("main").as_deref(), Some(ONE));
        assert_eq!(found("refs/heads/main").as_deref(), Some(ONE));
        assert_eq!(found("v1").as_deref(), Some(TWO), "a tag is the commit it points to");
        assert_eq!(found("HEAD").as_deref(), Some(TWO));
        assert_eq!(found("other"), None);
    }

    #[test]
    fn names_of_references() {
        for name in ["main", "feature/x", "v1.2", "refs/pull/1/head", "HEAD", "ü"] {
            assert!(is_ref_name(name), "{name}");
        }
        for name in [
            "",
            "-x",
            "--upload-pack=touch",
            "a..b",
            "a b",
            "a~1",
            "a^",
            "a:b",
            "/a",
            "a/",
            "a//b",
            ".a",
            "a/.b",
            "a.lock",
            "a.",
            "a@{1}",
            "@",
            "a\nb",
            "a\\b",
            "a*",
        ] {
            assert!(!is_ref_name(name), "{name}");
        }
    }

    #[test]
    fn a_pack_is_taken_out_of_its_channels() {
        let mut bytes = message(&["shallow-info", &format!("shallow {ONE}"), "--", "packfile"]);
        for (channel, data) in [(1, "PA"), (2, "counting"), (1, "CK")] {
            bytes.extend_from_slice(format!("{:04x}", data.len() + 5).as_bytes());
            bytes.push(channel);
            bytes.extend_from_slice(data.as_bytes());
        }
        bytes.extend_from_slice(FLUSH);
        let mut pack = Vec::new();
        let fetched = read_fetch(&bytes[..], &mut pack).expect("it is a pack");
        assert_eq!((fetched.bytes, &pack[..]), (4, &b"PACK"[..]));
        assert_eq!(fetched.shallow.len(), 1);

        let mut refused = message(&["packfile"]);
        refused.extend_from_slice(b"0008\x03no\n");
        let error = read_fetch(&refused[..], &mut Vec::new());
        assert!(matches!(error, Err(ProtocolError::Refused(text)) if text == "no"));
    }
}
