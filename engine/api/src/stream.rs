//! Frames of a multiplexed attach, exec or log stream.
//!
//! Without a terminal the bytes of stdout and stderr share one connection: each piece is
//! preceded by eight bytes, `{stream, 0, 0, 0, size}`, size as a big-endian `u32`.
//!
//! Spec: Engine API, ContainerAttach, "Stream format".

/// Content type of a stream of frames.
pub const MULTIPLEXED_STREAM: &str = "application/vnd.docker.multiplexed-stream";

/// Content type of a stream without frames (a terminal's).
pub const RAW_STREAM: &str = "application/vnd.docker.raw-stream";

/// Bytes of a frame's header.
pub const HEADER_SIZE: usize = 8;

/// Which stream a frame belongs to.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum StreamKind {
    /// Input; never sent by the engine.
    Stdin,
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
    /// An error of the engine, as text.
    SystemError,
}

/// The header of `size` bytes of `stream`.
#[must_use]
pub fn header(stream: StreamKind, size: u32) -> [u8; HEADER_SIZE] {
    let [a, b, c, d] = size.to_be_bytes();
    let stream = match stream {
        StreamKind::Stdin => 0,
        StreamKind::Stdout => 1,
        StreamKind::Stderr => 2,
        StreamKind::SystemError => 3,
    };
    [stream, 0, 0, 0, a, b, c, d]
}

/// Reads a header: the stream and the number of bytes that follow; `None` for bytes that are
/// no header.
#[must_use]
pub fn parse_header(header: [u8; HEADER_SIZE]) -> Option<(StreamKind, u32)> {
    let [stream, 0, 0, 0, a, b, c, d] = header else { return None };
    let stream = match stream {
        0 => StreamKind::Stdin,
        1 => StreamKind::Stdout,
        2 => StreamKind::Stderr,
        3 => StreamKind::SystemError,
        _ => return None,
    };
    Some((stream, u32::from_be_bytes([a, b, c, d])))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_reads_back() {
        assert_eq!(header(StreamKind::Stderr, 0x0102_0304), [2, 0, 0, 0, 1, 2, 3, 4]);
        assert_eq!(parse_header([2, 0, 0, 0, 1, 2, 3, 4]), Some((StreamKind::Stderr, 0x0102_0304)));
        assert_eq!(parse_header([2, 1, 0, 0, 0, 0, 0, 0]), None);
        assert_eq!(parse_header([9, 0, 0, 0, 0, 0, 0, 0]), None);
    }
}
