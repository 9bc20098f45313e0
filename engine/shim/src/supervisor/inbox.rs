//! Receiving one message from a connection that may take its time.
//!
//! The counterpart of `hull_sys::message::recv_message` for a process that must not wait.

use std::io::{self, IoSliceMut};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, OwnedFd};

use hull_sys::message::MAX_DESCRIPTORS;
use rustix::io::Errno;
use rustix::net::{RecvAncillaryBuffer, RecvAncillaryMessage, RecvFlags, recvmsg};

/// What has arrived of a message.
#[derive(Debug, Default)]
pub(crate) struct Inbox {
    bytes: Vec<u8>,
    descriptors: Vec<OwnedFd>,
}

/// A whole message.
pub(crate) type Message = (Vec<u8>, Vec<OwnedFd>);

impl Inbox {
    /// Reads what there is, but never past the message's end. `Some` once it is complete.
    ///
    /// # Errors
    /// `UnexpectedEof` if the peer is done, `InvalidData` for more than `max` bytes.
    pub(crate) fn receive(&mut self, socket: impl AsFd, max: usize) -> io::Result<Option<Message>> {
        loop {
            let missing = self.missing(max)?;
            if missing == 0 {
                let body = self.bytes.split_off(4);
                return Ok(Some((body, std::mem::take(&mut self.descriptors))));
            }
            let mut buffer = [0; 4096];
            let room = missing.min(buffer.len());
            let mut space =
                [MaybeUninit::uninit(); rustix::cmsg_space!(ScmRights(MAX_DESCRIPTORS))];
            let mut ancillary = RecvAncillaryBuffer::new(&mut space);
            let flags = RecvFlags::DONTWAIT | RecvFlags::CMSG_CLOEXEC;
            let mut parts = [IoSliceMut::new(&mut buffer[..room])];
            let received = match recvmsg(&socket, &mut parts, &mut ancillary, flags) {
                Err(Errno::AGAIN) => return Ok(None),
                Err(Errno::INTR) => continue,
                other => other?.bytes,
            };
            for message in ancillary.drain() {
                if let RecvAncillaryMessage::ScmRights(rights) = message {
                    self.descriptors.extend(rights);
                }
            }
            if received == 0 {
                return Err(io::ErrorKind::UnexpectedEof.into());
            }
            self.bytes.extend_from_slice(&buffer[..received]);
        }
    }

    fn missing(&self, max: usize) -> io::Result<usize> {
        let Some(header) = self.bytes.first_chunk::<4>() else {
            return Ok(4 - self.bytes.len());
        };
        let length = u32::from_le_bytes(*header) as usize;
        if length > max {
            let message = format!("message of {length} bytes, at most {max}");
            return Err(io::Error::new(io::ErrorKind::InvalidData, message));
        }
        Ok(4 + length - self.bytes.len())
    }
}

#[cfg(test)]
mod tests {
    use std::io::Write;
    use std::os::unix::net::UnixStream;

    use hull_sys::message::send_message;

    use super::*;

    #[test]
    fn a_message_may_come_byte_by_byte_and_nothing_behind_it_is_taken() {
        let (mut left, right) = UnixStream::pair().unwrap();
        let mut inbox = Inbox::default();
        for &byte in b"\x05\0\0\0hell" {
            left.write_all(&[byte]).unwrap();
            assert!(inbox.receive(&right, 10).unwrap().is_none());
        }
        left.write_all(b"oMORE").unwrap();
        let (body, none) = inbox.receive(&right, 10).unwrap().unwrap();
        assert_eq!((body.as_slice(), none.len()), (b"hello".as_slice(), 0));
        drop(left);
        let mut rest = String::new();
        io::Read::read_to_string(&mut &right, &mut rest).unwrap();
        assert_eq!(rest, "MORE");
    }

    #[test]
    fn descriptors_arrive_and_bad_peers_are_told_apart() {
        let (left, right) = UnixStream::pair().unwrap();
        send_message(&left, &[7; 9000], &[right.as_fd()]).unwrap();
        let (body, descriptors) = Inbox::default().receive(&right, 9000).unwrap().unwrap();
        assert_eq!((body.len(), descriptors.len()), (9000, 1));
        send_message(&left, &[7; 11], &[]).unwrap();
        let error = Inbox::default().receive(&right, 10).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::InvalidData);
        drop((left, descriptors));
        let mut rest = [0; 11];
        io::Read::read_exact(&mut &right, &mut rest).unwrap();
        let error = Inbox::default().receive(&right, 10).unwrap_err();
        assert_eq!(error.kind(), io::ErrorKind::UnexpectedEof);
    }
}
