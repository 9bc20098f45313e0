//! From a path to what is asked for. Spec: distribution-spec, "Endpoints".

use hull_oci::Reference;

use super::refusal::Refusal;

/// A repository's name within this server, checked.
#[derive(Debug, Clone, PartialEq, Eq, Hash, PartialOrd, Ord)]
pub(super) struct RepositoryName(String);

/// Longest name, so that it fits a path together with a digest.
const MAX_NAME: usize = 200;

/// What is asked for.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) enum Route {
    /// `/v2/`
    Base,
    /// `/v2/_catalog`
    Catalog,
    /// `/v2/<name>/tags/list`
    Tags(RepositoryName),
    /// `/v2/<name>/manifests/<reference>`
    Manifest(RepositoryName, String),
    /// `/v2/<name>/blobs/<digest>`
    Blob(RepositoryName, String),
    /// `/v2/<name>/blobs/uploads/`
    Uploads(RepositoryName),
    /// `/v2/<name>/blobs/uploads/<id>`
    Upload(RepositoryName, String),
    /// `/v2/<name>/referrers/<digest>`
    Referrers(RepositoryName, String),
    /// `/token`
    Token,
    /// `/metrics`
    Metrics,
    /// The page for people, and what is below it.
    Page(String),
}

impl RepositoryName {
    /// Checks a name.
    ///
    /// # Errors
    /// It does not follow the grammar, or is longer than 200 characters.
    pub(super) fn parse(text: &str) -> Result<Self, Refusal> {
        if text.len() > MAX_NAME {
            let message = format!("a repository's name has at most {MAX_NAME} characters");
            return Err(Refusal::name_invalid(message));
        }
        match Reference::from_parts("registry.invalid", text) {
            Ok(_) => Ok(Self(text.to_owned())),
            Err(_) => Err(Refusal::name_invalid(format!("{text:?} is no repository name"))),
        }
    }

    /// The name.
    pub(super) fn as_str(&self) -> &str {
        &self.0
    }
}

impl Route {
    /// Reads a path. Nothing in it is decoded: a name needs no escapes.
    pub(super) fn parse(path: &str) -> Result<Self, Refusal> {
        match path {
            "/v2" | "/v2/" => return Ok(Self::Base),
            "/v2/_catalog" => return Ok(Self::Catalog),
            "/token" => return Ok(Self::Token),
            "/metrics" => return Ok(Self::Metrics),
            _ => {}
        }
        let Some(rest) = path.strip_prefix("/v2/") else {
            return Ok(Self::Page(path.to_owned()));
        };
        let words: Vec<&str> = rest.split('/').collect();
        // A name may hold the words that follow it: the last of them count.
        let name = |count: usize| RepositoryName::parse(&words[..words.len() - count].join("/"));
        match words.as_slice() {
            [_, .., "tags", "list"] => Ok(Self::Tags(name(2)?)),
            [_, .., "blobs", "uploads"] => Ok(Self::Uploads(name(2)?)),
            [_, .., "blobs", "uploads", ""] => Ok(Self::Uploads(name(3)?)),
            [_, .., "blobs", "uploads", id] => Ok(Self::Upload(name(3)?, (*id).to_owned())),
            [_, .., "blobs", digest] => Ok(Self::Blob(name(2)?, decoded(digest))),
            [_, .., "manifests", reference] => Ok(Self::Manifest(name(2)?, decoded(reference))),
            [_, .., "referrers", digest] => Ok(Self::Referrers(name(2)?, decoded(digest))),
            _ => Err(Refusal::nowhere(format!("nothing is at {path:?}"))),
        }
    }

    /// The same for another repository, if `rename` knows one.
    pub(super) fn renamed(
        mut self,
        rename: impl Fn(&RepositoryName) -> Option<RepositoryName>,
    ) -> Self {
        if let Self::Tags(name)
        | Self::Manifest(name, _)
        | Self::Blob(name, _)
        | Self::Uploads(name)
        | Self::Upload(name, _)
        | Self::Referrers(name, _) = &mut self
            && let Some(other) = rename(name)
        {
            *name = other;
        }
        self
    }

    /// Its name in metrics and logs.
    pub(super) fn label(&self) -> &'static str {
        match self {
            Self::Base => "base",
            Self::Catalog => "catalog",
            Self::Tags(_) => "tags",
            Self::Manifest(..) => "manifest",
            Self::Blob(..) => "blob",
            Self::Uploads(_) | Self::Upload(..) => "upload",
            Self::Referrers(..) => "referrers",
            Self::Token => "token",
            Self::Metrics => "metrics",
            Self::Page(_) => "page",
        }
    }
}

/// A client may write the colon of a digest as `%3A`.
fn decoded(text: &str) -> String {
    text.replace("%3A", ":").replace("%3a", ":")
}

/// The parameters of a query, decoded, in order.
pub(super) fn query(text: Option<&str>) -> Vec<(String, String)> {
    let pairs = text.unwrap_or_default().split('&').filter(|pair| !pair.is_empty());
    pairs
        .map(|pair| {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            (percent_decoded(name), percent_decoded(value))
        })
        .collect()
}

/// Text with `%XX` and `+` decoded; what is not UTF-8 then becomes replacement characters.
pub(super) fn percent_decoded(text: &str) -> String {
    let mut bytes = Vec::with_capacity(text.len());
    let mut rest = text.as_bytes();
    while let Some((first, after)) = rest.split_first() {
        let hex = |at: usize| after.get(at).and_then(|byte| char::from(*byte).to_digit(16));
        rest = match (first, hex(0), hex(1)) {
            (b'%', Some(high), Some(low)) => {
                bytes.push(u8::try_from(high * 16 + low).unwrap_or(b'?'));
                &after[2..]
            }
            (b'+', ..) => {
                bytes.push(b' ');
                after
            }
            (byte, ..) => {
                bytes.push(*byte);
                after
            }
        };
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

/// Text for a query: what is not plain becomes `%XX`.
pub(super) fn percent_encoded(text: &str) -> String {
    use std::fmt::Write as _;
    text.bytes().fold(String::new(), |mut encoded, byte| {
        if byte.is_ascii_alphanumeric() || matches!(byte, b'-' | b'.' | b'_' | b'/') {
            encoded.push(char::from(byte));
        } else {
            write!(encoded, "%{byte:02X}").expect("writing to a string does not fail");
        }
        encoded
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn paths() {
        let name = |text: &str| RepositoryName::parse(text).unwrap();
        for (path, route) in [
            ("/v2/", Route::Base),
            ("/v2/_catalog", Route::Catalog),
            ("/v2/a/tags/list", Route::Tags(name("a"))),
            ("/v2/a/b/manifests/v1", Route::Manifest(name("a/b"), "v1".to_owned())),
            ("/v2/blobs/blobs/sha256%3Aab", Route::Blob(name("blobs"), "sha256:ab".to_owned())),
            ("/v2/a/blobs/uploads/", Route::Uploads(name("a"))),
            ("/v2/a/blobs/uploads/7f", Route::Upload(name("a"), "7f".to_owned())),
            ("/v2/tags/list/tags/list", Route::Tags(name("tags/list"))),
            ("/", Route::Page("/".to_owned())),
        ] {
            assert_eq!(Route::parse(path).unwrap(), route, "{path}");
        }
        let long = format!("/v2/{}/tags/list", "a".repeat(201));
        for path in
            ["/v2/A/tags/list", "/v2/../x/tags/list", "/v2//tags/list", "/v2/x/nothing", &long]
        {
            assert!(Route::parse(path).is_err(), "{path}");
        }
    }

    #[test]
    fn queries() {
        let check = |text, expected: &[(&str, &str)]| {
            let read = query(Some(text));
            let read: Vec<_> = read.iter().map(|(n, v)| (n.as_str(), v.as_str())).collect();
            assert_eq!(read, expected, "{text}");
        };
        check(
            "digest=sha256%3Aab&tag=a&tag=b",
            &[("digest", "sha256:ab"), ("tag", "a"), ("tag", "b")],
        );
        check("a=x+y%20z&b&&c=%zz", &[("a", "x y z"), ("b", ""), ("c", "%zz")]);
        assert_eq!(percent_encoded("sha256:a b"), "sha256%3Aa%20b");
    }
}
