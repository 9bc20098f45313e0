//! Names inside a layer.

use std::fmt;

use super::error::shown;

/// The longest path, and the longest target of a symlink: `PATH_MAX` less its NUL.
pub(super) const MAX_PATH: usize = 4095;

/// The longest component of a path: `NAME_MAX`.
pub(super) const MAX_NAME: usize = 255;

/// A cleaned path relative to a layer's root: components joined by `/`, none of them empty, `.`
/// or `..`, no NUL. The root itself is empty.
#[derive(Clone, PartialEq, Eq, Hash, PartialOrd, Ord, Default)]
pub struct LayerPath(Vec<u8>);

/// A name that cannot be inside a layer.
#[derive(Debug, Clone, Copy, PartialEq, Eq, thiserror::Error)]
pub enum PathError {
    /// A NUL byte.
    #[error("the name holds a NUL byte")]
    Nul,
    /// A `..` component.
    #[error("the name holds a `..` and could leave the layer")]
    Parent,
    /// Longer than the kernel takes.
    #[error("the name is longer than {MAX_PATH} bytes or a part of it than {MAX_NAME}")]
    TooLong,
}

impl LayerPath {
    /// Cleans a name from a tar: leading and doubled slashes and `.` components are dropped, as
    /// other engines do.
    ///
    /// # Errors
    /// As [`PathError`] says. `..` is refused wherever it stands: no tool writes it, and what it
    /// means depends on symlinks.
    pub fn parse(name: &[u8]) -> Result<Self, PathError> {
        if name.contains(&0) {
            return Err(PathError::Nul);
        }
        let mut path = Vec::with_capacity(name.len());
        for component in name.split(|&byte| byte == b'/') {
            match component {
                b"" | b"." => continue,
                b".." => return Err(PathError::Parent),
                _ if component.len() > MAX_NAME => return Err(PathError::TooLong),
                _ => {}
            }
            if !path.is_empty() {
                path.push(b'/');
            }
            path.extend_from_slice(component);
        }
        if path.len() > MAX_PATH { Err(PathError::TooLong) } else { Ok(Self(path)) }
    }

    /// The cleaned bytes.
    pub fn as_bytes(&self) -> &[u8] {
        &self.0
    }

    /// True for the layer's root.
    pub fn is_root(&self) -> bool {
        self.0.is_empty()
    }

    /// Directory and last component; `None` for the root.
    pub fn split_last(&self) -> Option<(&[u8], &[u8])> {
        if self.is_root() {
            return None;
        }
        Some(split(&self.0))
    }

    /// The components from the root down; none for the root.
    pub fn components(&self) -> impl Iterator<Item = &[u8]> {
        components(&self.0)
    }
}

/// The components of an already cleaned path.
pub(super) fn components(path: &[u8]) -> impl DoubleEndedIterator<Item = &[u8]> {
    path.split(|&byte| byte == b'/').filter(|component| !component.is_empty())
}

/// Directory and last component of an already cleaned path.
pub(super) fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// `directory/name`, or `name` in the root.
pub(super) fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    let mut path = Vec::with_capacity(directory.len() + 1 + name.len());
    path.extend_from_slice(directory);
    if !directory.is_empty() {
        path.push(b'/');
    }
    path.extend_from_slice(name);
    path
}

impl fmt::Debug for LayerPath {
    fn fmt(&self, formatter: &mut fmt::Formatter<'_>) -> fmt::Result {
        fmt::Debug::fmt(&shown(&self.0), formatter)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn names_are_cleaned_or_refused() {
        let check = |name: &[u8], expected: Result<&str, PathError>| {
            let path = LayerPath::parse(name);
            let path = path.as_ref().map(LayerPath::as_bytes);
            assert_eq!(path, expected.as_ref().map(|path| path.as_bytes()), "{}", shown(name));
        };
        check(b"", Ok(""));
        check(b"/", Ok(""));
        check(b"./", Ok(""));
        check(b"./a//b/./c/", Ok("a/b/c"));
        check(b"/etc/passwd", Ok("etc/passwd"));
        check(b"...", Ok("..."));
        check(b"..a/b..", Ok("..a/b.."));
        check(b"..", Err(PathError::Parent));
        check(b"a/../b", Err(PathError::Parent));
        check(b"a/..", Err(PathError::Parent));
        check(b"a\0b", Err(PathError::Nul));
        check(&[b'a'; 256], Err(PathError::TooLong));
        check(&b"a/".repeat(2049), Err(PathError::TooLong));
    }
}
