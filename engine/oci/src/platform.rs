//! Platforms. Spec: image-spec, image-index.md, "platform"; names as Go and containerd have them.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

/// What an image runs on.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "RawPlatform")]
pub struct Platform {
    /// Operating system (`linux`).
    pub os: String,
    /// CPU architecture in Go's words (`amd64`, `arm64`, `riscv64`).
    pub architecture: String,
    /// Variant of the architecture (`v7`), if it matters.
    #[serde(skip_serializing_if = "Option::is_none")]
    pub variant: Option<String>,
}

/// Text that is not a platform.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
#[error("{text:?} is not a platform (os/architecture or os/architecture/variant)")]
pub struct ParsePlatformError {
    text: String,
}

#[derive(Deserialize)]
struct RawPlatform {
    #[serde(default)]
    os: String,
    #[serde(default)]
    architecture: String,
    #[serde(default)]
    variant: Option<String>,
}

impl TryFrom<RawPlatform> for Platform {
    type Error = ParsePlatformError;

    fn try_from(raw: RawPlatform) -> Result<Self, Self::Error> {
        let variant = raw.variant.filter(|variant| !variant.is_empty());
        let platform = Self { os: raw.os, architecture: raw.architecture, variant };
        let parts = [&platform.os, &platform.architecture];
        if parts.into_iter().chain(&platform.variant).all(|part| is_word(part)) {
            Ok(platform)
        } else {
            Err(ParsePlatformError { text: platform.to_string() })
        }
    }
}

impl Platform {
    /// The platform this program runs on.
    pub fn host() -> Self {
        let architecture = match std::env::consts::ARCH {
            "powerpc64" if cfg!(target_endian = "little") => "ppc64le",
            "powerpc64" => "ppc64",
            "loongarch64" => "loong64",
            "x86" => "386",
            other => other,
        };
        Self {
            os: std::env::consts::OS.to_owned(),
            architecture: architecture.to_owned(),
            variant: None,
        }
        .normalized()
    }

    /// Folds other names (`x86_64`, `aarch64`, `armhf`) and default variants, as containerd does.
    #[must_use]
    pub fn normalized(self) -> Self {
        let os = self.os.to_ascii_lowercase();
        let os = if os == "macos" { "darwin".to_owned() } else { os };
        let architecture = self.architecture.to_ascii_lowercase();
        let variant = self.variant.map(|variant| variant.to_ascii_lowercase());
        let (architecture, variant) = match (architecture.as_str(), variant.as_deref()) {
            ("i386", _) => ("386", None),
            ("x86_64" | "x86-64" | "amd64", None | Some("v1")) => ("amd64", None),
            ("x86_64" | "x86-64" | "amd64", other) => ("amd64", other),
            ("aarch64" | "arm64", None | Some("8" | "v8")) => ("arm64", None),
            ("aarch64" | "arm64", other) => ("arm64", other),
            ("armhf", _) => ("arm", Some("v7")),
            ("armel", _) => ("arm", Some("v6")),
            ("arm", None | Some("7")) => ("arm", Some("v7")),
            ("arm", Some("5")) => ("arm", Some("v5")),
            ("arm", Some("6")) => ("arm", Some("v6")),
            ("arm", Some("8")) => ("arm", Some("v8")),
            (other, variant) => (other, variant),
        };
        let (architecture, variant) = (architecture.to_owned(), variant.map(str::to_owned));
        Self { os, architecture, variant }
    }

    /// Whether an image for `image` runs where `self` is wanted: same system and architecture, and
    /// a variant no newer than ours. A platform that names no variant means the oldest one.
    pub fn matches(&self, image: &Self) -> bool {
        self.preference(image).is_some()
    }

    /// How well an image for `image` suits, more is better; `None` if it does not run.
    pub fn preference(&self, image: &Self) -> Option<u32> {
        let (wanted, image) = (self.clone().normalized(), image.clone().normalized());
        if wanted.os != image.os || wanted.architecture != image.architecture {
            return None;
        }
        if wanted.variant == image.variant {
            return Some(u32::MAX);
        }
        let (ours, theirs) = (wanted.level()?, image.level()?);
        (theirs <= ours).then_some(theirs)
    }

    /// The variant as a number, for architectures whose variants include the older ones.
    fn level(&self) -> Option<u32> {
        let base = match self.architecture.as_str() {
            "amd64" => 1,
            "arm64" => 8,
            "arm" => 7,
            _ => return None,
        };
        let Some(variant) = &self.variant else { return Some(base) };
        variant.strip_prefix('v')?.split('.').next()?.parse().ok()
    }
}

impl fmt::Display for Platform {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.os, self.architecture)?;
        match &self.variant {
            Some(variant) => write!(formatter, "/{variant}"),
            None => Ok(()),
        }
    }
}

impl FromStr for Platform {
    type Err = ParsePlatformError;

    /// Reads `os/architecture[/variant]`, or one of the first two, the host giving the other.
    fn from_str(text: &str) -> Result<Self, Self::Err> {
        let fail = || ParsePlatformError { text: text.to_owned() };
        let parts: Vec<&str> = text.split('/').collect();
        if parts.iter().any(|part| part.is_empty() || !is_word(part)) {
            return Err(fail());
        }
        let host = Self::host();
        let platform = match parts.as_slice() {
            [one] if is_known_os(one) => Self { os: (*one).to_owned(), ..host },
            [one] => Self { architecture: (*one).to_owned(), os: host.os, variant: None },
            [os, architecture, rest @ ..] if rest.len() < 2 => Self {
                os: (*os).to_owned(),
                architecture: (*architecture).to_owned(),
                variant: rest.first().map(|variant| (*variant).to_owned()),
            },
            _ => return Err(fail()),
        };
        Ok(platform.normalized())
    }
}

/// Letters, digits, `_`, `.` and `-`, at most 64: it ends in messages and tables.
fn is_word(text: &str) -> bool {
    text.len() <= 64
        && text
            .bytes()
            .all(|byte| byte.is_ascii_alphanumeric() || matches!(byte, b'_' | b'.' | b'-'))
}

fn is_known_os(text: &str) -> bool {
    let known = ["linux", "windows", "darwin", "macos", "freebsd", "netbsd", "openbsd", "wasi"];
    known.contains(&text.to_ascii_lowercase().as_str())
}

#[cfg(test)]
mod tests {
    use super::*;

    fn platform(text: &str) -> Platform {
        text.parse().unwrap()
    }

    #[test]
    fn parsed() {
        for (text, expected) in [
            ("linux/amd64", "linux/amd64"),
            ("Linux/x86_64", "linux/amd64"),
            ("linux/amd64/v1", "linux/amd64"),
            ("linux/amd64/v3", "linux/amd64/v3"),
            ("linux/aarch64", "linux/arm64"),
            ("linux/arm64/v8", "linux/arm64"),
            ("linux/arm", "linux/arm/v7"),
            ("linux/armel", "linux/arm/v6"),
            ("riscv64", "linux/riscv64"),
            ("linux/i386", "linux/386"),
        ] {
            assert_eq!(platform(text).to_string(), expected, "{text}");
        }
        assert_eq!(platform("linux"), Platform::host());
        for bad in ["", "/", "linux/", "/amd64", "a/b/c/d", "linux/amd 64", "linux/\u{1b}[2J"] {
            assert!(bad.parse::<Platform>().is_err(), "{bad:?}");
        }
    }

    #[test]
    fn matched() {
        for (wanted, image, fits) in [
            ("linux/amd64", "linux/amd64", true),
            ("linux/amd64", "linux/amd64/v3", false),
            ("linux/amd64/v3", "linux/amd64/v2", true),
            ("linux/amd64/v3", "linux/amd64", true),
            ("linux/amd64", "linux/arm64", false),
            ("linux/amd64", "windows/amd64", false),
            ("linux/arm64", "linux/arm64/v8", true),
            ("linux/arm/v7", "linux/arm/v6", true),
            ("linux/arm/v6", "linux/arm/v7", false),
        ] {
            assert_eq!(platform(wanted).matches(&platform(image)), fits, "{wanted} {image}");
        }
        let wanted = platform("linux/amd64/v3");
        assert!(
            wanted.preference(&platform("linux/amd64/v2"))
                > wanted.preference(&platform("linux/amd64"))
        );
    }

    #[test]
    fn json() {
        let text = r#"{"architecture":"arm64","os":"linux","os.version":"1","variant":""}"#;
        let read: Platform = serde_json::from_str(text).unwrap();
        assert_eq!(read, platform("linux/arm64"));
        assert_eq!(
            serde_json::to_string(&read).unwrap(),
            r#"{"os":"linux","architecture":"arm64"}"#
        );
        let bad = "{\"architecture\":\"\u{7f}\",\"os\":\"linux\"}";
        assert!(serde_json::from_str::<Platform>(bad).is_err());
    }
}
