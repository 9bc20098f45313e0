//! Who a process runs as: Docker's user words, looked up in the image's own account files.
//!
//! Not here: reading `/etc/passwd` and `/etc/group`. The caller opens them beneath the root,
//! regular files only, never through a symlink out of it, and passes at most [`MAX_FILE`] bytes.
//!
//! Digits are always a number, never a name: an image whose passwd holds a user called
//! `4294967296` with id 0 must not turn a number that does not fit into root.

use std::collections::BTreeSet;

/// How many bytes of an account file the caller reads; a longer file is an error there.
pub const MAX_FILE: usize = 1 << 20;

/// Longest line of an account file, in bytes.
const MAX_LINE: usize = 64 << 10;

/// Longest user or group name, in bytes.
const MAX_NAME: usize = 256;

/// The kernel takes no more groups (`NGROUPS_MAX`).
const MAX_GROUPS: usize = 65536;

/// A user, ready to become.
#[derive(Debug, Clone, PartialEq, Eq)]
pub struct User {
    /// User id.
    pub uid: u32,
    /// Primary group id.
    pub gid: u32,
    /// Supplementary groups: the primary one first (so that no process gains rights by dropping
    /// it), each once.
    pub groups: Vec<u32>,
    /// Home directory, `/` where none is known.
    pub home: String,
}

/// A user or group could not be found.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum LookupError {
    /// No such line in passwd.
    #[error("no user {name:?} in the container's /etc/passwd")]
    NoSuchUser {
        /// The name asked for.
        name: String,
    },
    /// No such line in group.
    #[error("no group {name:?} in the container's /etc/group")]
    NoSuchGroup {
        /// The name asked for.
        name: String,
    },
    /// A number that is no id: ids go from 0 to 4294967294.
    #[error("{text:?} is not a user or group id: ids go from 0 to 4294967294")]
    OutOfRange {
        /// The digits as given.
        text: String,
    },
    /// Neither a number nor a name.
    #[error("{text:?} is neither a user or group name nor an id")]
    Malformed {
        /// The word as given.
        text: String,
    },
    /// A line longer than 64 KiB.
    #[error("a line of the container's {file} is longer than {MAX_LINE} bytes")]
    LineTooLong {
        /// `/etc/passwd` or `/etc/group`.
        file: &'static str,
    },
    /// More groups than the kernel takes.
    #[error("user {name:?} is in more than {MAX_GROUPS} groups")]
    TooManyGroups {
        /// The user.
        name: String,
    },
}

/// Looks up `spec`: empty (root), `user`, `uid`, `user:group`, `uid:gid`, or a mixture.
///
/// `passwd` and `group` are the files' bytes, empty where there is none. A user id that passwd
/// does not hold gets group 0 and home `/`. Groups that name the user count unless `spec` names
/// a group itself. `additional` are more groups, by name or number.
///
/// # Errors
/// See [`LookupError`].
pub fn lookup(
    passwd: &[u8],
    group: &[u8],
    spec: &str,
    additional: &[impl AsRef<str>],
) -> Result<User, LookupError> {
    let (user_word, group_word) = match spec.split_once(':') {
        None => (spec, None),
        Some((user, group)) => (user, Some(group)),
    };
    let wanted = if spec.is_empty() { Word::Number(0) } else { Word::parse(user_word)? };
    let account = find_account(passwd, &wanted)?;
    let mut user = match (&account, &wanted) {
        (Some(account), _) => User {
            uid: account.uid,
            gid: account.gid,
            groups: Vec::new(),
            home: home(account.home),
        },
        (None, Word::Number(uid)) => {
            User { uid: *uid, gid: 0, groups: Vec::new(), home: "/".to_owned() }
        }
        (None, Word::Name(name)) => {
            return Err(LookupError::NoSuchUser { name: (*name).to_owned() });
        }
    };
    let mut groups = Vec::new();
    match group_word {
        Some(word) => user.gid = group_id(group, word)?,
        None => {
            if let Some(account) = &account {
                groups = groups_of(group, account.name)?;
            }
        }
    }
    for word in additional {
        groups.push(group_id(group, word.as_ref())?);
    }
    let mut seen = BTreeSet::new();
    user.groups = std::iter::once(user.gid).chain(groups).filter(|gid| seen.insert(*gid)).collect();
    if user.groups.len() > MAX_GROUPS {
        return Err(LookupError::TooManyGroups { name: user_word.to_owned() });
    }
    Ok(user)
}

/// A word that is a number or a name, decided by its letters alone.
#[derive(Debug, PartialEq, Eq)]
enum Word<'a> {
    Number(u32),
    Name(&'a str),
}

impl<'a> Word<'a> {
    fn parse(text: &'a str) -> Result<Self, LookupError> {
        if !text.is_empty() && text.bytes().all(|byte| byte.is_ascii_digit()) {
            return match id(text.as_bytes()) {
                Some(number) => Ok(Self::Number(number)),
                None => Err(LookupError::OutOfRange { text: text.to_owned() }),
            };
        }
        if is_name(text) {
            return Ok(Self::Name(text));
        }
        Err(LookupError::Malformed { text: text.to_owned() })
    }
}

/// An id: digits only, and not 2^32 - 1, which means "unchanged" to the kernel.
fn id(digits: &[u8]) -> Option<u32> {
    if digits.is_empty() || !digits.iter().all(u8::is_ascii_digit) {
        return None;
    }
    let number: u32 = std::str::from_utf8(digits).ok()?.parse().ok()?;
    (number != u32::MAX).then_some(number)
}

/// Whether `text` can be a name: nothing that reads as a number in some notation, and none of
/// the characters that separate.
fn is_name(text: &str) -> bool {
    let hexadecimal = text.starts_with("0x") || text.starts_with("0X");
    let Some(first) = text.chars().next() else { return false };
    let foreign_digit = |c: char| c.is_numeric() && !c.is_ascii_digit();
    let separates = |c: char| c.is_whitespace() || c.is_control() || matches!(c, ':' | ',' | '/');
    text.len() <= MAX_NAME
        && !hexadecimal
        && !matches!(first, '-' | '+' | '#')
        && !text.chars().any(|c| foreign_digit(c) || separates(c))
}

/// One line of passwd.
#[derive(Debug)]
struct Account<'a> {
    name: &'a [u8],
    uid: u32,
    gid: u32,
    home: &'a [u8],
}

/// The first account of that name or id. Lines that are not accounts are passed over.
fn find_account<'a>(
    passwd: &'a [u8],
    wanted: &Word<'_>,
) -> Result<Option<Account<'a>>, LookupError> {
    for line in lines(passwd, "/etc/passwd") {
        let mut fields = line?.split(|byte| *byte == b':');
        let (Some(name), Some(_password), Some(uid), Some(gid), Some(_comment), Some(home)) = (
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
            fields.next(),
        ) else {
            continue;
        };
        let (Some(uid), Some(gid)) = (id(uid), id(gid)) else { continue };
        let found = match wanted {
            Word::Number(number) => uid == *number,
            Word::Name(wanted) => name == wanted.as_bytes(),
        };
        if found {
            return Ok(Some(Account { name, uid, gid, home }));
        }
    }
    Ok(None)
}

/// A relative or unreadable home is no home.
fn home(bytes: &[u8]) -> String {
    match std::str::from_utf8(bytes) {
        Ok(home) if home.starts_with('/') && !home.contains('\0') => home.to_owned(),
        _ => "/".to_owned(),
    }
}

fn group_id(group: &[u8], word: &str) -> Result<u32, LookupError> {
    let name = match Word::parse(word)? {
        Word::Number(number) => return Ok(number),
        Word::Name(name) => name,
    };
    for entry in entries(group) {
        let (found, gid, _) = entry?;
        if found == name.as_bytes() {
            return Ok(gid);
        }
    }
    Err(LookupError::NoSuchGroup { name: name.to_owned() })
}

/// Ids of the groups whose member list holds `user`.
fn groups_of(group: &[u8], user: &[u8]) -> Result<Vec<u32>, LookupError> {
    let mut groups = Vec::new();
    for entry in entries(group) {
        let (_, gid, members) = entry?;
        if members.split(|byte| *byte == b',').any(|member| member == user) {
            groups.push(gid);
        }
    }
    Ok(groups)
}

/// Name, id and members of each group; lines that are not groups are passed over.
fn entries(group: &[u8]) -> impl Iterator<Item = Result<(&[u8], u32, &[u8]), LookupError>> {
    lines(group, "/etc/group").filter_map(|line| {
        let line = match line {
            Ok(line) => line,
            Err(error) => return Some(Err(error)),
        };
        let mut fields = line.split(|byte| *byte == b':');
        let (name, _password, gid) = (fields.next()?, fields.next()?, fields.next()?);
        Some(Ok((name, id(gid)?, fields.next().unwrap_or_default())))
    })
}

fn lines<'a>(
    text: &'a [u8],
    file: &'static str,
) -> impl Iterator<Item = Result<&'a [u8], LookupError>> {
    text.split(|byte| *byte == b'\n').map(move |line| match line.len() {
        0..=MAX_LINE => Ok(line),
        _ => Err(LookupError::LineTooLong { file }),
    })
}

#[cfg(test)]
mod tests {
    use super::*;

    const PASSWD: &[u8] = b"root:x:0:0:root:/root:/bin/sh\n\
        # a comment\n\
        broken:x:abc:0::/:/bin/sh\n\
        negative:x:-1:0::/:/bin/sh\n\
        4294967296:x:0:0::/root:/bin/sh\n\
        www-data:x:33:33:www-data:/var/www:/usr/sbin/nologin\n\
        postgres:x:101:103::/var/lib/postgresql:/bin/bash\n\
        nohome:x:5:6\n\
        relative:x:7:8::home:/bin/sh\n";
    const GROUP: &[u8] = b"root:x:0:\nwww-data:x:33:\nssl-cert:x:102:postgres,other\n\
        postgres:x:103:\nadm:x:4:postgres\nbad:x:x:postgres\nself:x:103:postgres\n";

    #[track_caller]
    fn check(spec: &str, additional: &[&str], uid: u32, groups: &[u32], home: &str) {
        let user = lookup(PASSWD, GROUP, spec, additional).unwrap();
        let expected = User { uid, gid: groups[0], groups: groups.to_vec(), home: home.to_owned() };
        assert_eq!(user, expected, "{spec}");
    }

    #[test]
    fn users_and_groups() {
        check("", &[], 0, &[0], "/root");
        check("root", &[], 0, &[0], "/root");
        check("33", &[], 33, &[33], "/var/www");
        check("www-data", &["adm", "7", "33"], 33, &[33, 4, 7], "/var/www");
        check("postgres", &[], 101, &[103, 102, 4], "/var/lib/postgresql");
        check("101", &[], 101, &[103, 102, 4], "/var/lib/postgresql");
        check("postgres:www-data", &[], 101, &[33], "/var/lib/postgresql");
        check("postgres:9", &["adm"], 101, &[9, 4], "/var/lib/postgresql");
        check("1000", &[], 1000, &[0], "/");
        check("1000:1001", &[], 1000, &[1001], "/");
        check("4294967294", &[], 4_294_967_294, &[0], "/");
        check("007", &[], 7, &[8], "/");
        check("relative", &[], 7, &[8], "/");
    }

    #[test]
    fn without_account_files() {
        let user = lookup(b"", b"", "", &["5"]).unwrap();
        assert_eq!(user, User { uid: 0, gid: 0, groups: vec![0, 5], home: "/".to_owned() });
    }

    #[track_caller]
    fn refused(spec: &str, message: &str) {
        let error = lookup(PASSWD, GROUP, spec, &["" as &str; 0]).unwrap_err();
        assert_eq!(error.to_string(), message, "{spec}");
    }

    #[test]
    fn numbers_are_never_names() {
        let range = "is not a user or group id: ids go from 0 to 4294967294";
        refused("4294967296", &format!("\"4294967296\" {range}"));
        refused("4294967295", &format!("\"4294967295\" {range}"));
        refused("0:4294967295", &format!("\"4294967295\" {range}"));
        let huge = "9".repeat(400);
        refused(&huge, &format!("{huge:?} {range}"));
    }

    #[test]
    fn words_that_are_nothing() {
        for (spec, word) in [
            ("-1", "-1"),
            ("+0", "+0"),
            ("0x0", "0x0"),
            (" 0", " 0"),
            ("0 ", "0 "),
            ("\u{661}", "\u{661}"),
            ("\u{ff10}", "\u{ff10}"),
            ("1000:", ""),
            (":0", ""),
            (":", ""),
            ("root:0:0", "0:0"),
            ("a/b", "a/b"),
            ("root\n", "root\n"),
            ("#", "#"),
        ] {
            let error = lookup(PASSWD, GROUP, spec, &["" as &str; 0]).unwrap_err();
            assert_eq!(error, LookupError::Malformed { text: word.to_owned() }, "{spec:?}");
        }
    }

    #[test]
    fn names_that_are_not_there() {
        refused("nobody", "no user \"nobody\" in the container's /etc/passwd");
        refused("broken", "no user \"broken\" in the container's /etc/passwd");
        refused("negative", "no user \"negative\" in the container's /etc/passwd");
        refused("nohome", "no user \"nohome\" in the container's /etc/passwd");
        refused("root:staff", "no group \"staff\" in the container's /etc/group");
        refused("root:bad", "no group \"bad\" in the container's /etc/group");
    }

    #[test]
    fn long_lines() {
        let mut passwd = vec![b'x'; MAX_LINE + 1];
        passwd.extend_from_slice(b"\nroot:x:0:0::/root:/bin/sh\n");
        let error = lookup(&passwd, b"", "root", &["" as &str; 0]).unwrap_err();
        assert_eq!(error, LookupError::LineTooLong { file: "/etc/passwd" });
    }
}
