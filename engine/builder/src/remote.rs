//! What a source or a context names: a path, a URL or a git repository.

/// The kinds.
#[derive(Debug, Clone, Copy, PartialEq, Eq, Hash)]
pub enum Remote {
    /// A path.
    Path,
    /// A file at `http://` or `https://`.
    Url,
    /// A git repository.
    Git,
}

/// A git repository and what of it is meant.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct GitRemote {
    /// The repository's URL, without fragment and query.
    pub url: String,
    /// Branch, tag or commit.
    pub reference: Option<String>,
    /// Directory within it.
    pub directory: Option<String>,
    /// `?keep-git-dir=`
    pub keep_git_dir: Option<bool>,
    /// `?submodules=`
    pub submodules: Option<bool>,
    /// `?checksum=`: the commit.
    pub checksum: Option<String>,
}

impl Remote {
    /// Which kind `text` is.
    ///
    /// Git: `git://`, `ssh://`, `user@host:path`, and `http(s)://` with a path that ends in `.git`.
    pub fn of(text: &str) -> Self {
        let path = text.split(['#', '?']).next().unwrap_or_default();
        if ["http://", "https://"].iter().any(|scheme| path.starts_with(scheme)) {
            return if path.ends_with(".git") { Self::Git } else { Self::Url };
        }
        let scheme =
            ["git://", "ssh://", "git+ssh://"].iter().any(|scheme| path.starts_with(scheme));
        if scheme || is_scp(path) { Self::Git } else { Self::Path }
    }
}

/// `user@host:path`
fn is_scp(text: &str) -> bool {
    let Some((user, rest)) = text.split_once('@') else { return false };
    let Some((host, path)) = rest.split_once(':') else { return false };
    let word = |text: &str| {
        text.starts_with(|c: char| c.is_ascii_alphanumeric())
            && text.chars().all(|c| c.is_ascii_alphanumeric() || matches!(c, '-' | '_' | '.'))
    };
    word(user) && word(host) && !path.is_empty()
}

impl GitRemote {
    /// Reads `url#reference:directory` or `url?ref=...&subdir=...`.
    ///
    /// # Errors
    /// A parameter that there is not, one given in both forms, or a reference that begins with `-`:
    /// no program may take it for an option.
    pub fn parse(text: &str) -> Result<Self, String> {
        let (rest, fragment) = match text.split_once('#') {
            Some((rest, fragment)) => (rest, Some(fragment)),
            None => (text, None),
        };
        let (url, query) = match rest.split_once('?') {
            Some((url, query)) => (url, Some(query)),
            None => (rest, None),
        };
        let mut remote = Self {
            url: url.to_owned(),
            reference: None,
            directory: None,
            keep_git_dir: None,
            submodules: None,
            checksum: None,
        };
        if let Some(fragment) = fragment {
            let (reference, directory) = fragment.split_once(':').unwrap_or((fragment, ""));
            let given = |text: &str| (!text.is_empty()).then(|| text.to_owned());
            (remote.reference, remote.directory) = (given(reference), given(directory));
        }
        for pair in query.unwrap_or_default().split('&').filter(|pair| !pair.is_empty()) {
            remote.parameter(pair)?;
        }
        for word in [&remote.url].into_iter().chain(&remote.reference).chain(&remote.checksum) {
            if word.starts_with('-') || word.chars().any(|c| c.is_control() || c == ' ') {
                return Err(format!("{word:?} is no part of a git URL"));
            }
        }
        Ok(remote)
    }

    fn parameter(&mut self, pair: &str) -> Result<(), String> {
        let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
        let flag = || match value {
            "" => Ok(true),
            value => crate::mount::boolean(value)
                .ok_or_else(|| format!("{name} of a git URL is true or false, not {value:?}")),
        };
        let once = |slot: &mut Option<String>| match slot.replace(value.to_owned()) {
            None => Ok(()),
            Some(_) => Err(format!("{name} of a git URL is given twice")),
        };
        match name {
            "ref" | "branch" | "tag" | "commit" => once(&mut self.reference),
            "subdir" => once(&mut self.directory),
            "checksum" => once(&mut self.checksum),
            "keep-git-dir" => {
                self.keep_git_dir = Some(flag()?);
                Ok(())
            }
            "submodules" => {
                self.submodules = Some(flag()?);
                Ok(())
            }
            _ => Err(format!("unexpected parameter {name:?} of a git URL")),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn kinds() {
        for (text, expected) in [
            ("a/b", Remote::Path),
            ("/a.git", Remote::Path),
            ("httpx://a", Remote::Path),
            ("http://a/b.tar", Remote::Url),
            ("https://a/b.git.tar?x=.git", Remote::Url),
            ("https://a/b.git", Remote::Git),
            ("https://a/b.git#main:dir", Remote::Git),
            ("https://a/b.git?ref=main", Remote::Git),
            ("git://a/b", Remote::Git),
            ("ssh://git@a/b", Remote::Git),
            ("git@a.com:b/c.git", Remote::Git),
            ("a@b", Remote::Path),
            ("--x@y:z", Remote::Path),
            ("a b@c:d", Remote::Path),
        ] {
            assert_eq!(Remote::of(text), expected, "{text}");
        }
    }

    #[test]
    fn parts() {
        let remote = GitRemote::parse("https://a/b.git#v1:dir/sub").unwrap();
        assert_eq!(remote.url, "https://a/b.git");
        assert_eq!(remote.reference.as_deref(), Some("v1"));
        assert_eq!(remote.directory.as_deref(), Some("dir/sub"));
        let remote =
            GitRemote::parse("https://a/b.git?branch=x&subdir=d&keep-git-dir=1&submodules=false")
                .unwrap();
        assert_eq!((remote.keep_git_dir, remote.submodules), (Some(true), Some(false)));
        assert_eq!(remote.reference.as_deref(), Some("x"));
    }

    /// CVE-2019-13139: a reference that git would take for an option.
    #[test]
    fn cve_2019_13139() {
        for bad in [
            "https://a/b.git#--upload-pack=touch${IFS}x",
            "https://a/b.git?ref=-x",
            "--upload-pack=x",
            "https://a/b.git#a b",
            "https://a/b.git?wat=1",
            "https://a/b.git?ref=a&tag=b",
            "https://a/b.git?submodules=perhaps",
        ] {
            assert!(GitRemote::parse(bad).is_err(), "{bad}");
        }
    }
}
