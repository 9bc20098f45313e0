//! Messages with descriptors over a unix stream socket: how the engine talks to its helpers.
//!
//! A message is a little-endian `u32` length and that many bytes. Its descriptors travel with
//! the length, so that they arrive before or with the first byte of the body.

use std::io;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use rustix::net::{
    RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, SendAncillaryBuffer,
    SendAncillaryMessage, SendFlags, recvmsg, send, sendmsg,
};

/// The kernel takes no more than this many descriptors with one message (`SCM_MAX_FD`).
pub const MAX_DESCRIPTORS: usize = 253;

const ANCILLARY_SPACE: usize = rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS));

/// Sends `body` with `descriptors`.
///
/// # Errors
/// `InvalidInput` for more than [`MAX_DESCRIPTORS`] or a body over 4 GiB; otherwise the socket's.
pub fn send_message(
    socket: impl AsFd,
    body: &[u8],
    descriptors: &[BorrowedFd<'_>],
) -> io::Result<()> {
    if descriptors.len() > MAX_DESCRIPTORS {
        return Err(io::Error::new(
            io::ErrorKind::InvalidInput,
            format!("{} descriptors in one message, at most {MAX_DESCRIPTORS}", descriptors.len()),
        ));
    }
    let length = u32::try_from(body.len())
        .map_err(|_| io::Error::new(io::ErrorKind::InvalidInput, "message over 4 GiB"))?;
    let header = length.to_le_bytes();
    let mut space = [MaybeUninit::uninit(); ANCILLARY_SPACE];
    let mut ancillary = SendAncillaryBuffer::new(&mut space);
    if !descriptors.is_empty() {
        ancillary.push(SendAncillaryMessage::ScmRights(descriptors));
    }
    let mut sent = loop {
        let parts = [io::IoSlice::new(&header), io::IoSlice::new(body)];
        match sendmsg(&socket, &parts, &mut ancillary, SendFlags::NOSIGNAL) {
            Ok(sent) => break sent,
            Err(rustix::io::Errno::INTR) => {}
            Err(error) => return Err(error.into()),
        }
    };
    while sent < header.len() {
        sent += retry(|| send(&socket, &header[sent..], SendFlags::NOSIGNAL))?;
    }
    let mut sent = sent - header.len();
    while sent < body.len() {
        sent += retry(|| send(&socket, &body[sent..], SendFlags::NOSIGNAL))?;
    }
    Ok(())
}

/// Receives one message of at most `max` bytes; `None` when the peer closed before it began.
/// Received descriptors are close-on-exec.
///
/// # Errors
/// `InvalidData` for a longer message, `UnexpectedEof` when the peer closes inside one.
pub fn recv_message(socket: impl AsFd, max: usize) -> io::Result<Option<(Vec<u8>, Vec<OwnedFd>)>> {
    let mut header = [0u8; 4];
    let mut descriptors = Vec::new();
    if !fill(&socket, &mut header, &mut descriptors)? {
        return Ok(None);
    }
    let length = u32::from_le_bytes(header) as usize;
    if length > max {
        return Err(io::Error::new(
            io::ErrorKind::InvalidData,
            format!("message of {length} bytes, at most {max}"),
        ));
    }
    let mut body = vec![0; length];
    if length > 0 && !fill(&socket, &mut body, &mut descriptors)? {
        return Err(io::ErrorKind::UnexpectedEof.into());
    }
    Ok(Some((body, descriptors)))
}

/// Fills `buffer`; false when the peer closed before its first byte.
fn fill(socket: &impl AsFd, buffer: &mut [u8], descriptors: &mut Vec<OwnedFd>) -> io::Result<bool> {
    let mut filled = 0;
    while filled < buffer.len() {
        let mut space = [MaybeUninit::uninit(); ANCILLARY_SPACE];
        let mut ancillary = RecvAncillaryBuffer::new(&mut space);
        let rest = &mut buffer[filled..];
        let received = retry(|| {
            recvmsg(
                socket,
                &mut [io::IoSliceMut::new(rest)],
                &mut ancillary,
                RecvFlags::CMSG_CLOEXEC,
            )
        })?;
        for message in ancillary.drain() {
            if let RecvAncillaryMessage::ScmRights(rights) = message {
                descriptors.extend(rights);
            }
        }
        match received.bytes {
            0 if filled == 0 => return Ok(false),
            0 => return Err(io::ErrorKind::UnexpectedEof.into()),
            bytes => filled += bytes,
        }
    }
    Ok(true)
}

fn retry<T>(mut call: impl FnMut() -> rustix::io::Result<T>) -> io::Result<T> {
    loop {
        match call() {
            Err(rustix::io::Errno::INTR) => {}
            other => return other.map_err(io::Error::from),
        }
    }
}

#[cfg(test)]
mod tests {
    use std::io::{Read, Write};
    use std::os::unix::net::UnixStream;

    use super::*;

    #[test]
    fn bodies_and_descriptors_arrive_in_order() {
        let (left, right) = UnixStream::pair().unwrap();
        let (mut reader, mut writer) = std::io::pipe().unwrap();
        let long = vec![7u8; 1 << 20];
        let sender = std::thread::spawn(move || {
            send_message(&left, b"first", &[writer.as_fd()]).unwrap();
            send_message(&left, &long, &[]).unwrap();
            writer.write_all(b"local").unwrap();
        });
        let (body, mut descriptors) = recv_message(&right, 16).unwrap().unwrap();
        assert_eq!(body, b"first");
        assert_eq!(descriptors.len(), 1);
        let (body, none) = recv_message(&right, 1 << 20).unwrap().unwrap();
        assert_eq!((body.len(), none.len()), (1 << 20, 0));
        sender.join().unwrap();
        assert!(recv_message(&right, 16).unwrap().is_none());
        let mut remote = std::fs::File::from(descriptors.remove(0));
        remote.write_all(b"remote").unwrap();
        drop(remote);
        let mut text = String::new();
        reader.read_to_string(&mut text).unwrap();
        assert_eq!(text, "localremote");
    }

    #[test]
    fn a_longer_message_than_allowed_is_refused() {
        let (left, right) = UnixStream::pair().unwrap();
        send_message(&left, &[0; 17], &[]).unwrap();
        let error = recv_message(&right, 16).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
    }
}
