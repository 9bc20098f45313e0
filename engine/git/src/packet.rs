//! Packets: lines with their length before them. Spec: gitprotocol-common, "pkt-line Format".

use std::io::{self, Read};

/// The longest packet, its four digits included.
const MAX_PACKET: usize = 65520;

/// A packet.
#[derive(Debug, PartialEq, Eq)]
pub enum Packet {
    /// Bytes; a line end is part of them.
    Data(Vec<u8>),
    /// The end of a message.
    Flush,
    /// The end of a section.
    Delimiter,
    /// The end of an answer.
    End,
}

/// Bytes that are no packets.
#[derive(Debug, thiserror::Error)]
pub enum PacketError {
    /// The four digits are none.
    #[error("the answer is not git's: a packet begins with {0:?}")]
    Length(String),
    /// The stream cannot be read, or ends within a packet.
    #[error("the answer cannot be read to its end")]
    Read(#[from] io::Error),
}

/// Reads packets from a stream.
#[derive(Debug)]
pub struct Packets<R> {
    input: R,
}

impl<R: Read> Packets<R> {
    /// Packets of `input`.
    pub fn new(input: R) -> Self {
        Self { input }
    }

    /// The next packet; `None` where the stream ends between two.
    ///
    /// # Errors
    /// [`PacketError`].
    pub fn next_packet(&mut self) -> Result<Option<Packet>, PacketError> {
        let mut digits = [0; 4];
        if self.input.read(&mut digits[..1])? == 0 {
            return Ok(None);
        }
        self.input.read_exact(&mut digits[1..])?;
        let wrong = || PacketError::Length(String::from_utf8_lossy(&digits).into_owned());
        let text = str::from_utf8(&digits).map_err(|_| wrong())?;
        if !text.bytes().all(|byte| byte.is_ascii_hexdigit()) {
            return Err(wrong());
        }
        let length = usize::from_str_radix(text, 16).map_err(|_| wrong())?;
        match length {
            0 => Ok(Some(Packet::Flush)),
            1 => Ok(Some(Packet::Delimiter)),
            2 => Ok(Some(Packet::End)),
            4..=MAX_PACKET => {
                let mut data = vec![0; length - 4];
                self.input.read_exact(&mut data)?;
                Ok(Some(Packet::Data(data)))
            }
            _ => Err(wrong()),
        }
    }
}

/// Adds a line as a packet.
pub(crate) fn line(to: &mut Vec<u8>, text: &str) {
    let length = text.len() + 5;
    debug_assert!(length <= MAX_PACKET, "a request's line is short");
    to.extend_from_slice(format!("{length:04x}{text}\n").as_bytes());
}

pub(crate) const FLUSH: &[u8] = b"0000";
pub(crate) const DELIMITER: &[u8] = b"0001";

#[cfg(test)]
mod tests {
    use super::*;

    fn all(bytes: &[u8]) -> Result<Vec<Packet>, PacketError> {
        let mut packets = Packets::new(bytes);
        std::iter::from_fn(|| packets.next_packet().transpose()).collect()
    }

    #[test]
    fn packets_of_every_kind() {
        let found = all(b"0006a\n0000000100020004").expect("they are packets");
        let data = |text: &[u8]| Packet::Data(text.to_vec());
        let expected = [data(b"a\n"), Packet::Flush, Packet::Delimiter, Packet::End, data(b"")];
        assert_eq!(found, expected);
    }

    #[test]
    fn what_is_no_packet() {
        for wrong in
            [&b"<htm"[..], b"0003", b"fff1", b"+004", b"00", b"0008ab", b"\xff\xff\xff\xff"]
        {
            assert!(all(wrong).is_err(), "{wrong:?}");
        }
    }
}
