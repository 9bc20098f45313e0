//! Which output a byte came from, and how attached clients are told.

/// An output of a process. A terminal has only `Stdout`.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(crate) enum Stream {
    /// Standard output.
    Stdout,
    /// Standard error.
    Stderr,
}

impl Stream {
    /// The name in logs.
    pub(crate) fn name(self) -> &'static str {
        match self {
            Self::Stdout => "stdout",
            Self::Stderr => "stderr",
        }
    }

    /// The header of a frame of `length` bytes (Engine API, "ContainerAttach", stream format).
    pub(crate) fn frame(self, length: usize) -> [u8; 8] {
        let length = u32::try_from(length).expect("one read is far below 4 GiB").to_be_bytes();
        let number = match self {
            Self::Stdout => 1,
            Self::Stderr => 2,
        };
        [number, 0, 0, 0, length[0], length[1], length[2], length[3]]
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn frames_are_dockers() {
        assert_eq!(Stream::Stdout.frame(5), [1, 0, 0, 0, 0, 0, 0, 5]);
        assert_eq!(Stream::Stderr.frame(0x0001_0203), [2, 0, 0, 0, 0, 1, 2, 3]);
    }
}
