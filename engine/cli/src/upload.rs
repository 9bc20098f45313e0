//! Archives on their way to the engine: read as they are sent.

use crate::client::RequestBody;
use bytes::Bytes;
use http_body_util::BodyExt as _;
use hyper::body::{Body, Frame};
use std::io::{self, Read};
use std::path::{Path, PathBuf};
use std::pin::Pin;
use std::task::{Context, Poll};

/// Bytes that are read at once.
const CHUNK: usize = 256 << 10;

/// A body that reads from `reader`. Reading blocks: while an archive is sent there is nothing
/// else to do.
pub(crate) fn body(reader: impl Read + Send + Sync + Unpin + 'static) -> RequestBody {
    ReadBody(reader).boxed()
}

struct ReadBody<R>(R);

impl<R: Read + Unpin> Body for ReadBody<R> {
    type Data = Bytes;
    type Error = io::Error;

    fn poll_frame(
        mut self: Pin<&mut Self>,
        _: &mut Context<'_>,
    ) -> Poll<Option<io::Result<Frame<Bytes>>>> {
        let mut buffer = vec![0; CHUNK];
        loop {
            return Poll::Ready(match self.0.read(&mut buffer) {
                Ok(0) => None,
                Ok(count) => {
                    buffer.truncate(count);
                    Some(Ok(Frame::data(buffer.into())))
                }
                Err(error) if error.kind() == io::ErrorKind::Interrupted => continue,
                Err(error) => Some(Err(error)),
            });
        }
    }
}

/// The regular files of a directory as a tar archive, with names relative to it.
///
/// Meant for OCI layouts: names have at most 100 bytes, and what is neither file nor directory
/// is refused.
pub(crate) struct DirectoryTar {
    root: PathBuf,
    /// Still to come, in reverse order of sending.
    files: Vec<PathBuf>,
    current: Box<dyn Read + Send + Sync>,
    ended: bool,
}

/// Tar's unit.
const BLOCK: u64 = 512;

impl DirectoryTar {
    /// Lists `root`; its files are opened when their turn comes.
    ///
    /// # Errors
    /// A directory that cannot be read, or that holds something else than files.
    pub(crate) fn new(root: &Path) -> io::Result<Self> {
        let mut files = Vec::new();
        list(root, Path::new(""), &mut files)?;
        files.sort();
        files.reverse();
        Ok(Self { root: root.to_owned(), files, current: Box::new(io::empty()), ended: false })
    }

    fn next_part(&mut self) -> io::Result<bool> {
        let Some(name) = self.files.pop() else {
            // Two empty blocks end an archive.
            let more = !std::mem::replace(&mut self.ended, true);
            self.current = Box::new(io::repeat(0).take(if more { 2 * BLOCK } else { 0 }));
            return Ok(more);
        };
        let file = std::fs::File::open(self.root.join(&name))?;
        let size = file.metadata()?.len();
        let padding = size.next_multiple_of(BLOCK) - size;
        // A file that is shorter than it was is filled up, so that the archive stays one.
        let content = file.chain(io::repeat(0)).take(size + padding);
        self.current = Box::new(io::Cursor::new(header(&name, size)?).chain(content));
        Ok(true)
    }
}

impl Read for DirectoryTar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        loop {
            match self.current.read(buffer)? {
                0 if buffer.is_empty() => return Ok(0),
                0 => {
                    if !self.next_part()? {
                        return Ok(0);
                    }
                }
                count => return Ok(count),
            }
        }
    }
}

fn list(root: &Path, folder: &Path, files: &mut Vec<PathBuf>) -> io::Result<()> {
    for entry in std::fs::read_dir(root.join(folder))? {
        let entry = entry?;
        let name = folder.join(entry.file_name());
        let kind = entry.file_type()?;
        if kind.is_dir() {
            list(root, &name, files)?;
        } else if kind.is_file() {
            files.push(name);
        } else {
            let message = format!("{} is neither a file nor a directory", entry.path().display());
            return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
        }
    }
    Ok(())
}

/// A header of the ustar format for a regular file.
fn header(name: &Path, size: u64) -> io::Result<Vec<u8>> {
    let bytes = name.as_os_str().as_encoded_bytes();
    if bytes.len() > 100 {
        let message = format!("the name {} is longer than 100 bytes", name.display());
        return Err(io::Error::new(io::ErrorKind::InvalidInput, message));
    }
    let mut block = vec![0; 512];
    block[..bytes.len()].copy_from_slice(bytes);
    block[100..108].copy_from_slice(b"0000644\0");
    block[108..116].copy_from_slice(b"0000000\0");
    block[116..124].copy_from_slice(b"0000000\0");
    if size < 1 << 33 {
        block[124..136].copy_from_slice(format!("{size:011o}\0").as_bytes());
    } else {
        // GNU's base 256, marked by the highest bit.
        block[128..136].copy_from_slice(&size.to_be_bytes());
        block[124] = 0x80;
    }
    block[136..148].copy_from_slice(b"00000000000\0");
    block[148..156].copy_from_slice(b"        ");
    block[156] = b'0';
    block[257..265].copy_from_slice(b"ustar\x0000");
    let sum: u32 = block.iter().map(|byte| u32::from(*byte)).sum();
    block[148..156].copy_from_slice(format!("{sum:06o}\0 ").as_bytes());
    Ok(block)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_directory_becomes_an_archive() {
        let root = std::env::temp_dir().join(format!("hull-upload-{}", std::process::id()));
        std::fs::create_dir_all(root.join("blobs/sha256")).unwrap();
        std::fs::write(root.join("oci-layout"), b"{}").unwrap();
        std::fs::write(root.join("blobs/sha256/ab"), [7; 513]).unwrap();
        let mut archive = Vec::new();
        DirectoryTar::new(&root).unwrap().read_to_end(&mut archive).unwrap();
        std::fs::remove_dir_all(&root).unwrap();
        // Two headers, 2 + 1 blocks of content, two blocks at the end.
        assert_eq!(archive.len(), 7 * 512);
        assert_eq!(&archive[..15], b"blobs/sha256/ab");
        assert_eq!(&archive[124..136], b"00000001001\0");
        assert_eq!(&archive[512..512 + 513], [7; 513]);
        assert_eq!(&archive[4 * 512 - 512..][..10], b"oci-layout");
        assert_eq!(&archive[4 * 512..][..2], b"{}");
    }
}
