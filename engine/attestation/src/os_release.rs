//! Which distribution a root file system is of.

use serde::{Deserialize, Serialize};

/// What `/etc/os-release` says. Spec: os-release(5).
#[derive(Debug, Clone, Default, PartialEq, Eq, Serialize, Deserialize)]
pub struct OsRelease {
    /// `debian`; empty if it is not said.
    pub id: String,
    /// `12`; empty where there is none.
    pub version: String,
    /// `Debian GNU/Linux 12 (bookworm)`
    pub pretty_name: String,
}

impl OsRelease {
    /// Reads its lines; what is no assignment is passed over.
    pub fn parse(bytes: &[u8]) -> Self {
        let mut release = Self::default();
        for line in String::from_utf8_lossy(bytes).lines() {
            let Some((name, value)) = line.trim().split_once('=') else { continue };
            let value = unquoted(value);
            match name {
                "ID" => release.id = value,
                "VERSION_ID" => release.version = value,
                "PRETTY_NAME" => release.pretty_name = value,
                _ => {}
            }
        }
        release
    }
}

fn unquoted(value: &str) -> String {
    let inner = |quote: char| value.strip_prefix(quote)?.strip_suffix(quote);
    let value = inner('"').or_else(|| inner('\'')).unwrap_or(value);
    let mut escaped = false;
    value
        .chars()
        .filter(|c| {
            escaped = !escaped && *c == '\\';
            !escaped
        })
        .collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn quotes_and_comments() {
        let text = "# about\nID=debian\nVERSION_ID=\"12\"\nPRETTY_NAME='A \\'B\\' C'\nNONSENSE\n";
        let release = OsRelease::parse(text.as_bytes());
        let expected = OsRelease {
            id: "debian".to_owned(),
            version: "12".to_owned(),
            pretty_name: "A 'B' C".to_owned(),
        };
        assert_eq!(release, expected);
        assert_eq!(OsRelease::parse(b"\xff\xfe"), OsRelease::default());
    }
}
