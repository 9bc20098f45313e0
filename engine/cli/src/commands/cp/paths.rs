//! Names and trailing slashes: what a copy is to be called and where it goes, as Docker decides.

use anyhow::{Result, bail};

/// Where a copy is to go.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Destination {
    pub(super) path: String,
    pub(super) exists: bool,
    pub(super) is_directory: bool,
}

/// The directory to unpack to.
#[derive(Debug, Clone, PartialEq, Eq)]
pub(super) struct Placed {
    pub(super) directory: String,
    /// What the source's root is to be called there, if not as it is.
    pub(super) name: Option<String>,
}

/// Decides where a source goes: into a directory that is there, or under the destination's name.
///
/// # Errors
/// In Docker's words: a directory onto a file, or a file into a directory that is not there.
pub(super) fn prepare(source_is_directory: bool, destination: &Destination) -> Result<Placed> {
    let (directory, name) = split_entry(&destination.path);
    match destination {
        Destination { exists: true, is_directory: true, path } => {
            Ok(Placed { directory: path.clone(), name: None })
        }
        Destination { exists: true, .. } if source_is_directory => bail!("cannot copy directory"),
        Destination { exists: false, path, .. } if !source_is_directory && asks_directory(path) => {
            bail!("no such directory")
        }
        _ => Ok(Placed { directory, name: Some(name) }),
    }
}

fn asks_directory(path: &str) -> bool {
    path.ends_with('/') || base(path) == "."
}

/// Directory and last part of a path; `/.` at the end is a part.
pub(super) fn split_entry(path: &str) -> (String, String) {
    let mut cleaned = clean(path);
    if base(path) == "." {
        cleaned.push_str("/.");
    }
    let directory = match cleaned.rsplit_once('/') {
        None => ".".to_owned(),
        Some((directory, _)) if cleaned.starts_with('/') => clean(&format!("{directory}/")),
        Some((directory, _)) => clean(directory),
    };
    (directory, base(&cleaned))
}

/// A path that was resolved to another, with the end it was asked for with, and the name it was
/// asked for by if that is another now.
pub(super) fn rebased(path: &str, resolved: &str) -> (String, String) {
    let mut resolved = resolved.to_owned();
    if base(path) == "." && base(&resolved) != "." {
        resolved.push_str("/.");
    }
    if path.ends_with('/') && !resolved.ends_with('/') {
        resolved.push('/');
    }
    let name = if base(path) == base(&resolved) { String::new() } else { base(path) };
    (resolved, name)
}

/// `path` below `parent`, unless it is absolute.
pub(super) fn join(parent: &str, path: &str) -> String {
    if path.starts_with('/') { path.to_owned() } else { clean(&format!("{parent}/{path}")) }
}

/// A cleaned path with the slash or dot at the end that the original had.
pub(super) fn with_end_of(cleaned: &str, original: &str) -> String {
    let mut path = cleaned.to_owned();
    if base(&path) != "." && base(original) == "." {
        if !path.ends_with('/') {
            path.push('/');
        }
        path.push('.');
    }
    if !path.ends_with('/') && original.ends_with('/') {
        path.push('/');
    }
    path
}

/// The last part of a path: without slashes at its end, `.` for nothing, `/` for the root.
pub(super) fn base(path: &str) -> String {
    if path.is_empty() {
        return ".".to_owned();
    }
    match path.trim_end_matches('/') {
        "" => "/".to_owned(),
        path => path.rsplit('/').next().unwrap_or(path).to_owned(),
    }
}

/// The shortest path of the same meaning, going by its text alone.
pub(super) fn clean(path: &str) -> String {
    let absolute = path.starts_with('/');
    let mut parts: Vec<&str> = Vec::new();
    for part in path.split('/') {
        match part {
            "" | "." => {}
            ".." if parts.last().is_some_and(|last| *last != "..") => drop(parts.pop()),
            ".." if absolute => {}
            part => parts.push(part),
        }
    }
    match (absolute, parts.join("/")) {
        (true, path) => format!("/{path}"),
        (false, path) if path.is_empty() => ".".to_owned(),
        (false, path) => path,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn entries() {
        let check = |path: &str, directory: &str, name: &str| {
            assert_eq!(split_entry(path), (directory.to_owned(), name.to_owned()), "{path}");
        };
        check("/a/b", "/a", "b");
        check("/a/b/", "/a", "b");
        check("/a/b/.", "/a/b", ".");
        check("/a", "/", "a");
        check("/", "/", "/");
        check("a", ".", "a");
        check("a/b/../c", "a", "c");
    }

    #[test]
    fn ends_are_kept() {
        assert_eq!(with_end_of("/a", "a/"), "/a/");
        assert_eq!(with_end_of("/a", "./a/."), "/a/.");
        assert_eq!(with_end_of("/", "/"), "/");
        assert_eq!(with_end_of("/a", "."), "/a/.");
        assert_eq!(rebased("/l/", "/target"), ("/target/".to_owned(), "l".to_owned()));
        assert_eq!(rebased("/l/.", "/target"), ("/target/.".to_owned(), String::new()));
        assert_eq!(rebased("/l", "/l"), ("/l".to_owned(), String::new()));
    }

    #[test]
    fn where_a_copy_goes() {
        let to = |path: &str, exists, is_directory| Destination {
            path: path.to_owned(),
            exists,
            is_directory,
        };
        let placed = |directory: &str, name: Option<&str>| Placed {
            directory: directory.to_owned(),
            name: name.map(str::to_owned),
        };
        assert_eq!(prepare(false, &to("/d", true, true)).unwrap(), placed("/d", None));
        assert_eq!(prepare(false, &to("/d/f", true, false)).unwrap(), placed("/d", Some("f")));
        assert_eq!(prepare(true, &to("/d/new/", false, false)).unwrap(), placed("/d", Some("new")));
        assert_eq!(prepare(false, &to("/d/new", false, false)).unwrap(), placed("/d", Some("new")));
        assert!(prepare(true, &to("/d/f", true, false)).is_err());
        assert!(prepare(false, &to("/d/new/", false, false)).is_err());
    }
}
