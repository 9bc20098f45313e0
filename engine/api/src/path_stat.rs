//! What is at a path of a container: the header `X-Docker-Container-Path-Stat`.

use serde::{Deserialize, Serialize};

/// The header that carries it, as JSON in base64.
pub const PATH_STAT_HEADER: &str = "x-docker-container-path-stat";

/// What is at a path of a container.
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
#[serde(rename_all = "camelCase")]
pub struct ContainerPathStat {
    /// Last part of the path as it was asked for.
    pub name: String,
    /// Bytes.
    pub size: i64,
    /// Kind and permission bits as Go's `os.FileMode`; see [`go_mode`].
    pub mode: u32,
    /// Modification time, RFC 3339.
    pub mtime: String,
    /// Of a symlink: where it leads, absolute inside the container.
    pub link_target: String,
}

/// Bit of a directory in Go's `os.FileMode`.
const GO_DIRECTORY: u32 = 1 << 31;
/// Bit of a symlink.
const GO_SYMLINK: u32 = 1 << 27;
/// Bit of a device.
const GO_DEVICE: u32 = 1 << 26;

/// `st_mode` as Go writes it.
#[must_use]
pub fn go_mode(mode: u32) -> u32 {
    let kind = match mode & 0o170_000 {
        0o040_000 => GO_DIRECTORY,
        0o120_000 => GO_SYMLINK,
        0o020_000 => GO_DEVICE | 1 << 21,
        0o060_000 => GO_DEVICE,
        0o010_000 => 1 << 25,
        0o140_000 => 1 << 24,
        _ => 0,
    };
    let bits = [(0o4000, 1 << 23), (0o2000, 1 << 22), (0o1000, 1 << 20)];
    let special = bits.iter().filter(|(bit, _)| mode & bit != 0).map(|(_, go)| go).sum::<u32>();
    kind | special | mode & 0o777
}

impl ContainerPathStat {
    /// Whether it is a directory.
    #[must_use]
    pub fn is_directory(&self) -> bool {
        self.mode & GO_DIRECTORY != 0
    }

    /// Whether it is a symlink.
    #[must_use]
    pub fn is_symlink(&self) -> bool {
        self.mode & GO_SYMLINK != 0
    }

    /// Whether it is a device.
    #[must_use]
    pub fn is_device(&self) -> bool {
        self.mode & GO_DEVICE != 0
    }

    /// The header's value.
    #[must_use]
    pub fn to_header(&self) -> String {
        base64(&serde_json::to_vec(self).unwrap_or_default())
    }

    /// Reads the header's value; `None` if it is none.
    #[must_use]
    pub fn from_header(value: &str) -> Option<Self> {
        serde_json::from_slice(&from_base64(value)?).ok()
    }
}

const DIGITS: &[u8; 64] = b"ABCDEFGHIJKLMNOPQRSTUVWXYZabcdefghijklmnopqrstuvwxyz0123456789+/";

fn base64(bytes: &[u8]) -> String {
    let mut text = String::with_capacity(bytes.len().div_ceil(3) * 4);
    for group in bytes.chunks(3) {
        let bits = group
            .iter()
            .chain(&[0, 0])
            .take(3)
            .fold(0u32, |bits, byte| bits << 8 | u32::from(*byte));
        for place in 0..4 {
            let digit = (bits >> (18 - 6 * place) & 63) as usize;
            text.push(if place > group.len() { '=' } else { char::from(DIGITS[digit]) });
        }
    }
    text
}

fn from_base64(text: &str) -> Option<Vec<u8>> {
    let mut bytes = Vec::with_capacity(text.len() / 4 * 3);
    let mut bits = 0u32;
    let mut have = 0;
    for byte in text.trim_end_matches('=').bytes() {
        let digit = DIGITS.iter().position(|digit| *digit == byte)?;
        bits = bits << 6 | u32::try_from(digit).ok()?;
        have += 6;
        if have >= 8 {
            have -= 8;
            bytes.push(u8::try_from(bits >> have & 0xff).ok()?);
            bits &= (1 << have) - 1;
        }
    }
    Some(bytes)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn headers_and_modes() {
        for (bytes, text) in [
            (&b""[..], ""),
            (b"f", "Zg=="),
            (b"fo", "Zm8="),
            (b"foo", "Zm9v"),
            (b"foob", "Zm9vYg=="),
        ] {
            assert_eq!(base64(bytes), text);
            assert_eq!(from_base64(text).as_deref(), Some(bytes));
        }
        assert_eq!(from_base64("Zm 9"), None);
        // As Docker 28.5 answers for a directory of mode 1777.
        assert_eq!(go_mode(0o041_777), 2_148_532_735);
        let stat = ContainerPathStat { mode: go_mode(0o120_777), ..ContainerPathStat::default() };
        assert!(stat.is_symlink() && !stat.is_device() && !stat.is_directory());
        assert_eq!(ContainerPathStat::from_header(&stat.to_header()), Some(stat));
    }
}
