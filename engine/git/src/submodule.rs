//! Other repositories in one: where `.gitmodules` says they are.
//! Spec: gitmodules(5), and the syntax of git-config(1) as far as it is used there.

use crate::oid::Oid;

/// Bytes of a `.gitmodules`.
pub(crate) const MAX_BYTES: u64 = 1 << 20;

/// A place of a commit where a commit of another repository belongs.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct Submodule {
    /// The empty directory that was made for it, relative to what was checked out.
    pub path: String,
    /// The commit.
    pub commit: Oid,
    /// The repository as `.gitmodules` has it, perhaps relative; `None` if it says nothing.
    pub url: Option<String>,
}

/// Path and address of each submodule that has both, in the order of the file; of several with
/// one path the last counts. What is no line of such a file is passed over.
pub fn addresses(bytes: &[u8]) -> Vec<(String, String)> {
    let text = String::from_utf8_lossy(bytes);
    let mut found: Vec<(String, String)> = Vec::new();
    let (mut path, mut url) = (None, None);
    let mut end = |path: &mut Option<String>, url: &mut Option<String>| {
        if let (Some(path), Some(url)) = (path.take(), url.take()) {
            found.retain(|(known, _)| *known != path);
            found.push((path, url));
        }
    };
    for line in text.lines().map(str::trim) {
        if line.starts_with('[') {
            end(&mut path, &mut url);
            continue;
        }
        let Some((name, value)) = line.split_once('=') else { continue };
        match name.trim().to_ascii_lowercase().as_str() {
            "path" => path = Some(unquoted(value.trim()).trim_end_matches('/').to_owned()),
            "url" => url = Some(unquoted(value.trim())),
            _ => {}
        }
    }
    end(&mut path, &mut url);
    found
}

/// A value without its quotes, escapes and comment.
fn unquoted(value: &str) -> String {
    let mut text = String::new();
    let mut quoted = false;
    let mut characters = value.chars();
    while let Some(character) = characters.next() {
        match character {
            '"' => quoted = !quoted,
            '\\' => text.extend(characters.next()),
            '#' | ';' if !quoted => return text.trim_end().to_owned(),
            other => text.push(other),
        }
    }
    text
}

/// The address that `url` is for a submodule of the repository at `of`: one that begins with `./`
/// or `../` is relative to that repository. `None` if it leads above the address's host.
pub fn address_of_submodule(of: &str, url: &str) -> Option<String> {
    if !(url.starts_with("./") || url.starts_with("../")) {
        return Some(url.to_owned());
    }
    let (scheme, rest) = of.trim_end_matches('/').split_once("://")?;
    let mut parts: Vec<&str> = rest.split('/').collect();
    for part in url.split('/') {
        match part {
            "" | "." => {}
            // The first one is the host.
            ".." if parts.len() > 1 => drop(parts.pop()),
            ".." => return None,
            part => parts.push(part),
        }
    }
    Some(format!("{scheme}://{}", parts.join("/")))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_file_as_git_writes_it_and_others() {
        let pair = |path: &str, url: &str| (path.to_owned(), url.to_owned());
        let file = b"[submodule \"a\"]\n\tpath = lib/a\n\turl = https://h/a.git\n\
                     # comment\n[submodule \"b\"]\n\turl=\"../b #1.git\" ; why\n\tPath = b/\n\tbranch = x\n\
                     [submodule \"no url\"]\n\tpath = c\n[submodule \"again\"]\npath = lib/a\nurl = ./x\n=\n";
        assert_eq!(addresses(file), [pair("b", "../b #1.git"), pair("lib/a", "./x")]);
        for odd in [&b""[..], b"[", b"\xff=\xff", b"path", b"path=x", b"url = \"\\"] {
            assert_eq!(addresses(odd), []);
        }
    }

    #[test]
    fn relative_addresses() {
        let check = |url: &str, expected: Option<&str>| {
            assert_eq!(address_of_submodule("https://h:1/o/r.git/", url).as_deref(), expected);
        };
        check("../b.git", Some("https://h:1/o/b.git"));
        check("../../p/b.git", Some("https://h:1/p/b.git"));
        check("./b", Some("https://h:1/o/r.git/b"));
        check("../../../b", None);
        check("http://x/y", Some("http://x/y"));
        check("git@x:y", Some("git@x:y"));
        assert_eq!(address_of_submodule("nothing", "../x"), None);
    }
}
