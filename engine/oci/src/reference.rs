//! Image references. Grammar and normalisation as in github.com/distribution/reference.

use std::fmt;
use std::str::FromStr;

use serde::{Deserialize, Serialize};

use crate::Digest;

const DEFAULT_REGISTRY: &str = "docker.io";
const OFFICIAL_PREFIX: &str = "library/";
const MAX_REPOSITORY: usize = 255;
const MAX_REGISTRY: usize = 255;

/// `registry/repository:tag@digest`, normalised: `busybox` is `docker.io/library/busybox`.
///
/// A reference may have a tag, a digest, both or neither.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Reference {
    registry: String,
    repository: String,
    tag: Option<String>,
    digest: Option<Digest>,
}

/// Text that is not a reference. The words are Docker's.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum ParseReferenceError {
    /// It does not follow the grammar.
    #[error("invalid reference format")]
    Format,
    /// The repository holds capital letters.
    #[error("invalid reference format: repository name ({0}) must be lowercase")]
    Uppercase(String),
    /// The name is what an image ID looks like.
    #[error("invalid repository name ({0}), cannot specify 64-byte hexadecimal strings")]
    LooksLikeId(String),
    /// Longer than 255 characters.
    #[error("repository name must not be more than {MAX_REPOSITORY} characters")]
    TooLong,
    /// The tag does not follow the grammar.
    #[error("invalid tag format")]
    Tag,
    /// The digest is not one.
    #[error("invalid reference format: {0}")]
    Digest(#[from] crate::ParseDigestError),
}

impl Reference {
    /// `docker.io`, `host`, `host:port`, `[::1]:port`.
    pub fn registry(&self) -> &str {
        &self.registry
    }

    /// Path within the registry, `library/busybox`.
    pub fn repository(&self) -> &str {
        &self.repository
    }

    /// The tag, if there is one.
    pub fn tag(&self) -> Option<&str> {
        self.tag.as_deref()
    }

    /// The digest, if there is one.
    pub fn digest(&self) -> Option<&Digest> {
        self.digest.as_ref()
    }

    /// Parses the two parts of a name as they lie in a normalised reference, nothing implied.
    ///
    /// # Errors
    /// If putting them together does not parse back to the same two.
    pub fn from_parts(registry: &str, repository: &str) -> Result<Self, ParseReferenceError> {
        let reference: Self = format!("{registry}/{repository}").parse()?;
        if reference.registry == registry && reference.repository == repository {
            Ok(reference.without_tag_and_digest())
        } else {
            Err(ParseReferenceError::Format)
        }
    }

    /// The same repository under `tag`, without digest.
    ///
    /// # Errors
    /// [`ParseReferenceError::Tag`].
    pub fn with_tag(&self, tag: &str) -> Result<Self, ParseReferenceError> {
        if !is_tag(tag) {
            return Err(ParseReferenceError::Tag);
        }
        Ok(Self { tag: Some(tag.to_owned()), digest: None, ..self.clone() })
    }

    /// The same repository at `digest`, without tag.
    #[must_use]
    pub fn with_digest(&self, digest: Digest) -> Self {
        Self { tag: None, digest: Some(digest), ..self.clone() }
    }

    /// With the tag `latest` if it has neither tag nor digest.
    #[must_use]
    pub fn with_default_tag(mut self) -> Self {
        if self.tag.is_none() && self.digest.is_none() {
            self.tag = Some("latest".to_owned());
        }
        self
    }

    /// Only the name.
    #[must_use]
    pub fn without_tag_and_digest(&self) -> Self {
        Self { tag: None, digest: None, ..self.clone() }
    }

    /// The short form people write: `busybox:latest`, `user/name`, `host/name`.
    pub fn familiar(&self) -> String {
        let name = self.familiar_name();
        let tag = self.tag.as_ref().map(|tag| format!(":{tag}")).unwrap_or_default();
        let digest = self.digest.as_ref().map(|digest| format!("@{digest}")).unwrap_or_default();
        format!("{name}{tag}{digest}")
    }

    /// The short form of the name alone.
    pub fn familiar_name(&self) -> String {
        if self.registry == DEFAULT_REGISTRY {
            let short = match self.repository.strip_prefix(OFFICIAL_PREFIX) {
                Some(rest) if !rest.contains('/') => rest,
                _ => &self.repository,
            };
            // `docker.io/example.com/x` has no short form: `example.com/x` is another image.
            if let Ok(same) = short.parse::<Self>()
                && same.registry == self.registry
                && same.repository == self.repository
            {
                return short.to_owned();
            }
        }
        format!("{}/{}", self.registry, self.repository)
    }
}

impl FromStr for Reference {
    type Err = ParseReferenceError;

    fn from_str(text: &str) -> Result<Self, Self::Err> {
        if is_image_id(text) {
            return Err(ParseReferenceError::LooksLikeId(text.to_owned()));
        }
        let (rest, digest) = match text.split_once('@') {
            Some((rest, digest)) => (rest, Some(digest.parse::<Digest>()?)),
            None => (text, None),
        };
        let (registry, rest) = split_registry(rest);
        let (path, tag) = match rest.split_once(':') {
            Some((path, tag)) => (path, Some(tag)),
            None => (rest, None),
        };
        let registry = if registry == "index.docker.io" { DEFAULT_REGISTRY } else { registry };
        let repository = if registry == DEFAULT_REGISTRY && !path.contains('/') {
            format!("{OFFICIAL_PREFIX}{path}")
        } else {
            path.to_owned()
        };
        if !is_registry(registry) {
            return Err(ParseReferenceError::Format);
        }
        if !is_repository(&repository) {
            let lower = repository.to_ascii_lowercase();
            return Err(if lower != repository && is_repository(&lower) {
                ParseReferenceError::Uppercase(repository)
            } else {
                ParseReferenceError::Format
            });
        }
        if repository.len() > MAX_REPOSITORY || registry.len() > MAX_REGISTRY {
            return Err(ParseReferenceError::TooLong);
        }
        if tag.is_some_and(|tag| !is_tag(tag)) {
            return Err(ParseReferenceError::Format);
        }
        Ok(Self { registry: registry.to_owned(), repository, tag: tag.map(str::to_owned), digest })
    }
}

/// The part before the first `/` is a registry if it looks like a host: it has a dot or a colon,
/// or capital letters (no repository does), or is `localhost`.
fn split_registry(name: &str) -> (&str, &str) {
    match name.split_once('/') {
        Some((first, rest))
            if first.contains(['.', ':'])
                || first == "localhost"
                || first.bytes().any(|byte| byte.is_ascii_uppercase()) =>
        {
            (first, rest)
        }
        _ => (DEFAULT_REGISTRY, name),
    }
}

fn is_image_id(text: &str) -> bool {
    text.len() == 64 && text.bytes().all(|byte| matches!(byte, b'0'..=b'9' | b'a'..=b'f'))
}

fn is_registry(text: &str) -> bool {
    let (host, port) = if text.starts_with('[') {
        match text.split_once(']') {
            Some((host, rest)) => {
                (host, rest.strip_prefix(':').or((!rest.is_empty()).then_some("")))
            }
            None => return false,
        }
    } else {
        match text.split_once(':') {
            Some((host, port)) => (host, Some(port)),
            None => (text, None),
        }
    };
    let port_fits =
        port.is_none_or(|port| !port.is_empty() && port.bytes().all(|byte| byte.is_ascii_digit()));
    let host_fits = match host.strip_prefix('[') {
        Some(address) => {
            !address.is_empty()
                && address.bytes().all(|byte| byte.is_ascii_hexdigit() || byte == b':')
        }
        None => host.split('.').all(is_host_label),
    };
    port_fits && host_fits
}

fn is_host_label(label: &str) -> bool {
    !label.is_empty()
        && !label.starts_with('-')
        && !label.ends_with('-')
        && label.bytes().all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
}

fn is_repository(text: &str) -> bool {
    text.split('/').all(is_path_component)
}

/// Runs of `a-z0-9` with `.`, `_`, `__` or dashes between them.
fn is_path_component(text: &str) -> bool {
    let is_plain = |byte: u8| matches!(byte, b'a'..=b'z' | b'0'..=b'9');
    let mut separator = String::new();
    let mut after_plain = false;
    for character in text.chars() {
        if u8::try_from(character).is_ok_and(is_plain) {
            let fits = separator.is_empty()
                || (after_plain
                    && (matches!(separator.as_str(), "." | "_" | "__")
                        || separator.bytes().all(|byte| byte == b'-')));
            if !fits {
                return false;
            }
            separator.clear();
            after_plain = true;
        } else if matches!(character, '.' | '_' | '-') {
            separator.push(character);
        } else {
            return false;
        }
    }
    after_plain && separator.is_empty()
}

fn is_tag(text: &str) -> bool {
    let is_word = |byte: u8| byte.is_ascii_alphanumeric() || byte == b'_';
    text.len() <= 128
        && text.bytes().next().is_some_and(is_word)
        && text.bytes().all(|byte| is_word(byte) || matches!(byte, b'.' | b'-'))
}

impl TryFrom<String> for Reference {
    type Error = ParseReferenceError;

    fn try_from(text: String) -> Result<Self, Self::Error> {
        text.parse()
    }
}

impl From<Reference> for String {
    fn from(reference: Reference) -> Self {
        reference.to_string()
    }
}

impl fmt::Display for Reference {
    /// The full form, nothing left out.
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(formatter, "{}/{}", self.registry, self.repository)?;
        if let Some(tag) = &self.tag {
            write!(formatter, ":{tag}")?;
        }
        if let Some(digest) = &self.digest {
            write!(formatter, "@{digest}")?;
        }
        Ok(())
    }
}

impl fmt::Debug for Reference {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Display::fmt(self, formatter)
    }
}

#[cfg(test)]
mod tests;
