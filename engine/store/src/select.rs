//! Files that a build takes from a tree: which ones they are, and a digest of them.
//!
//! Nothing here parses what is in a file. Every name is resolved beneath the tree's descriptor:
//! symlinks on the way to what is asked for are followed as a process with that root would follow
//! them, those inside a directory that is taken are taken as links. A tree that changes meanwhile
//! can make a digest wrong, but nothing outside of it is ever looked at.

use std::fs::File;
use std::io::Read;
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};

use hull_oci::{Algorithm, Digest, Hasher};
use rustix::fs::{AtFlags, Dir, FileType, Mode, OFlags, ResolveFlags, Stat};
use rustix::io::Errno;

use crate::cache::{FileKey, StatCache};

/// What makes a pattern of a path.
const WILD: &[u8] = b"*?[\\";

/// As many symlinks as the kernel follows.
const MAX_LINKS: u32 = 40;

/// The largest number of files taken at once.
const MAX_FILES: usize = 4_000_000;

const BENEATH: ResolveFlags =
    ResolveFlags::BENEATH.union(ResolveFlags::NO_SYMLINKS).union(ResolveFlags::NO_MAGICLINKS);

/// Why files cannot be taken.
#[derive(Debug, thiserror::Error)]
pub enum SelectError {
    /// Nothing of that name.
    #[error("{0:?}: not found")]
    NotFound(String),
    /// It is there but left out (`.dockerignore`).
    #[error("{0:?}: not found: it is excluded")]
    Excluded(String),
    /// A pattern that is none.
    #[error("{0:?} is no valid pattern")]
    Pattern(String),
    /// There are too many.
    #[error("more than {MAX_FILES} files")]
    TooMany,
    /// A system call failed.
    #[error("cannot {action} {path:?}: {source}")]
    File {
        /// What was tried.
        action: &'static str,
        /// Relative to the tree.
        path: String,
        /// Why it failed.
        source: std::io::Error,
    },
}

/// What a filter says of a path.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub enum Verdict {
    /// It is taken.
    Take,
    /// It is left out; something below it may be taken.
    Enter,
    /// It is left out with all below it.
    Skip,
}

/// Decides what is left out: of the path in the tree, and whether that is a directory.
pub type Filter<'f> = dyn Fn(&[u8], bool) -> Verdict + Sync + 'f;

/// Something found for one source.
#[derive(Debug, Clone)]
pub struct Found {
    /// Where it is in the tree, with no symlink on the way. Empty for the root.
    pub path: Vec<u8>,
    /// How it was named: the last part, symlinks not followed. Empty for the root.
    pub name: Vec<u8>,
    /// How it was named, all parts.
    pub named: Vec<u8>,
    /// What it is.
    pub stat: Stat,
    /// Of a directory: all below it that is taken, each directory before what is in it, by name.
    pub below: Vec<Entry>,
}

/// Something below a directory that is taken.
#[derive(Debug, Clone)]
pub struct Entry {
    /// Relative to that directory.
    pub path: Vec<u8>,
    /// What it is.
    pub stat: Stat,
}

impl Found {
    /// Whether it is a directory.
    pub fn is_directory(&self) -> bool {
        is_directory(&self.stat)
    }
}

/// Whether something is a directory.
pub fn is_directory(stat: &Stat) -> bool {
    FileType::from_raw_mode(stat.st_mode) == FileType::Directory
}

/// Cleans a path by its text alone: relative, without `.`, `..` and doubled slashes.
pub fn clean(path: &[u8]) -> Vec<u8> {
    let mut parts: Vec<&[u8]> = Vec::new();
    for part in path.split(|&byte| byte == b'/') {
        match part {
            b"" | b"." => {}
            b".." => drop(parts.pop()),
            part => parts.push(part),
        }
    }
    parts.join(&b'/')
}

/// Finds what `source` names beneath `tree`: a path, or a pattern with `*`, `?` and `[...]` in its
/// parts. A pattern that matches nothing finds nothing; a path must be there.
///
/// # Errors
/// As [`SelectError`] says.
pub fn select(
    tree: BorrowedFd<'_>,
    source: &str,
    filter: &Filter<'_>,
) -> Result<Vec<Found>, SelectError> {
    let cleaned = clean(source.as_bytes());
    let has_pattern = cleaned.iter().any(|byte| WILD.contains(byte));
    let names = if has_pattern { expand(tree, &cleaned)? } else { vec![cleaned] };
    let mut all = Vec::new();
    for named in names {
        match find(tree, &named, filter) {
            Ok(found) => all.push(found),
            Err(SelectError::NotFound(_) | SelectError::Excluded(_)) if has_pattern => {}
            Err(error) => return Err(error),
        }
    }
    Ok(all)
}

/// Finds what `pattern` names beneath `base`, which may have wildcards as of [`select`]; in
/// `pattern`, a part `**` stands for any number of directories, none too, and is led nowhere by
/// symlinks.
///
/// # Errors
/// As of [`select`].
pub fn select_deep(
    tree: BorrowedFd<'_>,
    base: &str,
    pattern: &str,
    filter: &Filter<'_>,
) -> Result<Vec<Found>, SelectError> {
    let (base, pattern) = (clean(base.as_bytes()), clean(pattern.as_bytes()));
    let whole = join(&base, &pattern);
    if !whole.iter().any(|byte| WILD.contains(byte)) {
        return find(tree, &whole, filter).map(|found| vec![found]);
    }
    let mut all = Vec::new();
    for base in expand(tree, &base)? {
        for named in expand_below(tree, base, &pattern, Stars::Deep)? {
            match find(tree, &named, filter) {
                Ok(found) => all.push(found),
                Err(SelectError::NotFound(_) | SelectError::Excluded(_)) => {}
                Err(error) => return Err(error),
            }
        }
    }
    Ok(all)
}

fn find(tree: BorrowedFd<'_>, named: &[u8], filter: &Filter<'_>) -> Result<Found, SelectError> {
    let path = real_path(tree, named).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR => SelectError::NotFound(shown(named)),
        error => failed("find", named, error),
    })?;
    let stat = look(tree, &path).map_err(|error| match error {
        Errno::NOENT | Errno::NOTDIR => SelectError::NotFound(shown(named)),
        error => failed("look at", named, error),
    })?;
    let verdict = if path.is_empty() { Verdict::Take } else { filter(&path, is_directory(&stat)) };
    let below = match (verdict, is_directory(&stat)) {
        (Verdict::Take, false) => Vec::new(),
        (Verdict::Take | Verdict::Enter, true) => walk(tree, &path, filter)?,
        _ => return Err(SelectError::Excluded(shown(named))),
    };
    if verdict == Verdict::Enter && below.is_empty() {
        return Err(SelectError::Excluded(shown(named)));
    }
    let name = named.rsplit(|&byte| byte == b'/').next().unwrap_or_default().to_vec();
    Ok(Found { path, name, named: named.to_vec(), stat, below })
}

/// All below the directory at `path` that is taken.
fn walk(tree: BorrowedFd<'_>, path: &[u8], filter: &Filter<'_>) -> Result<Vec<Entry>, SelectError> {
    let mut entries: Vec<Entry> = Vec::new();
    // Directories that are left out themselves, until something below them is taken.
    let mut pending: Vec<Entry> = Vec::new();
    let mut ahead = vec![(Vec::new(), None::<Stat>, Verdict::Take)];
    while let Some((relative, stat, verdict)) = ahead.pop() {
        let whole = join(path, &relative);
        let is_dir = stat.as_ref().is_none_or(is_directory);
        if let Some(stat) = stat {
            while pending.last().is_some_and(|directory| !is_below(&relative, &directory.path)) {
                pending.pop();
            }
            let entry = Entry { path: relative.clone(), stat };
            if verdict == Verdict::Take {
                entries.append(&mut pending);
                entries.push(entry);
            } else {
                pending.push(entry);
            }
            if entries.len() > MAX_FILES {
                return Err(SelectError::TooMany);
            }
        }
        if !is_dir {
            continue;
        }
        let directory = match open(tree, &whole, OFlags::RDONLY | OFlags::DIRECTORY) {
            // It was a directory a moment ago.
            Err(Errno::NOENT | Errno::NOTDIR | Errno::LOOP) => continue,
            other => other.map_err(|error| failed("open", &whole, error))?,
        };
        let mut children = Vec::new();
        for name in names(&directory).map_err(|error| failed("read", &whole, error))? {
            let stat = match rustix::fs::statat(&directory, &*name, AtFlags::SYMLINK_NOFOLLOW) {
                Err(Errno::NOENT) => continue,
                other => other.map_err(|error| failed("look at", &join(&whole, &name), error))?,
            };
            match filter(&join(&whole, &name), is_directory(&stat)) {
                Verdict::Skip => {}
                Verdict::Enter if !is_directory(&stat) => {}
                verdict => children.push((join(&relative, &name), Some(stat), verdict)),
            }
        }
        children.sort_unstable_by(|a, b| b.0.cmp(&a.0));
        ahead.append(&mut children);
    }
    Ok(entries)
}

fn is_below(path: &[u8], directory: &[u8]) -> bool {
    path.strip_prefix(directory).is_some_and(|rest| rest.starts_with(b"/"))
}

fn names(directory: &OwnedFd) -> Result<Vec<Vec<u8>>, Errno> {
    let mut names = Vec::new();
    for entry in Dir::read_from(directory)? {
        let entry = entry?;
        let name = entry.file_name().to_bytes();
        if !matches!(name, b"." | b"..") {
            names.push(name.to_vec());
        }
    }
    Ok(names)
}

/// What `**` is.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Stars {
    /// The same as `*`, as Go's `filepath.Match` has it.
    Plain,
    /// Any number of directories. With text behind it in its part, that is the end of a name.
    Deep,
}

/// The paths that match a pattern, sorted.
fn expand(tree: BorrowedFd<'_>, pattern: &[u8]) -> Result<Vec<Vec<u8>>, SelectError> {
    expand_below(tree, Vec::new(), pattern, Stars::Plain)
}

fn expand_below(
    tree: BorrowedFd<'_>,
    base: Vec<u8>,
    pattern: &[u8],
    stars: Stars,
) -> Result<Vec<Vec<u8>>, SelectError> {
    let mut matched: Vec<Vec<u8>> = vec![base];
    if pattern.is_empty() {
        return Ok(matched);
    }
    let parts: Vec<&[u8]> = pattern.split(|&byte| byte == b'/').collect();
    for (index, part) in parts.iter().enumerate() {
        let is_last = index + 1 == parts.len();
        let mut part: &[u8] = part;
        if let (Stars::Deep, Some(rest)) = (stars, part.strip_prefix(b"**")) {
            // At the end a directory brings all that is in it. What is left of two stars is one.
            part = &part[1..];
            if !(rest.is_empty() && is_last) {
                matched = with_all_directories(tree, matched)?;
            }
            if rest.is_empty() && !is_last {
                continue;
            }
        }
        let mut next = Vec::new();
        for directory in matched {
            if !part.iter().any(|byte| WILD.contains(byte)) {
                next.push(join(&directory, part));
                continue;
            }
            let Ok(real) = real_path(tree, &directory) else { continue };
            let Ok(opened) = open(tree, &real, OFlags::RDONLY | OFlags::DIRECTORY) else {
                continue;
            };
            let mut names = names(&opened).map_err(|error| failed("read", &directory, error))?;
            names.sort_unstable();
            for name in names {
                let fits =
                    matches(part, &name).ok_or_else(|| SelectError::Pattern(shown(pattern)))?;
                let path = join(&directory, &name);
                if fits && (is_last || look(tree, &path).is_ok_and(|stat| is_directory(&stat))) {
                    next.push(path);
                }
            }
        }
        matched = next;
        if matched.len() > MAX_FILES {
            return Err(SelectError::TooMany);
        }
    }
    if stars == Stars::Deep {
        matched.sort_unstable();
        matched.dedup();
    }
    Ok(matched)
}

fn is_directory_at(tree: BorrowedFd<'_>, path: &[u8]) -> bool {
    look(tree, path).is_ok_and(|stat| is_directory(&stat))
}

/// Each of these directories and all directories below it, once.
fn with_all_directories(
    tree: BorrowedFd<'_>,
    mut ahead: Vec<Vec<u8>>,
) -> Result<Vec<Vec<u8>>, SelectError> {
    let mut all = std::collections::BTreeSet::new();
    while let Some(path) = ahead.pop() {
        let Ok(real) = real_path(tree, &path) else { continue };
        let Ok(opened) = open(tree, &real, OFlags::RDONLY | OFlags::DIRECTORY) else { continue };
        if !all.insert(path.clone()) {
            continue;
        }
        if all.len() > MAX_FILES {
            return Err(SelectError::TooMany);
        }
        for name in names(&opened).map_err(|error| failed("read", &path, error))? {
            let below = join(&path, &name);
            if is_directory_at(tree, &join(&real, &name)) {
                ahead.push(below);
            }
        }
    }
    Ok(all.into_iter().collect())
}

/// Whether a name fits a pattern, as Go's `filepath.Match` has it; `None` for a bad pattern.
///
/// Steps back only to the last `*`, so that no pattern takes long.
pub fn matches(pattern: &[u8], name: &[u8]) -> Option<bool> {
    let pattern = tokens(pattern)?;
    let name: Vec<char> = match std::str::from_utf8(name) {
        Ok(text) => text.chars().collect(),
        Err(_) => name.iter().copied().map(char::from).collect(),
    };
    let (mut at, mut here) = (0, 0);
    let mut star: Option<(usize, usize)> = None;
    loop {
        match pattern.get(at) {
            Some(Token::Star) => {
                star = Some((at + 1, here));
                at += 1;
                continue;
            }
            Some(token) if here < name.len() && token.fits(name[here]) => {
                (at, here) = (at + 1, here + 1);
                continue;
            }
            None if here == name.len() => return Some(true),
            _ => {}
        }
        match star {
            Some((after, from)) if from < name.len() => {
                star = Some((after, from + 1));
                (at, here) = (after, from + 1);
            }
            _ => return Some(false),
        }
    }
}

enum Token {
    Star,
    Any,
    One(char),
    Class { not: bool, ranges: Vec<(char, char)> },
}

impl Token {
    fn fits(&self, letter: char) -> bool {
        match self {
            Self::Star => false,
            Self::Any => letter != '/',
            Self::One(one) => *one == letter,
            Self::Class { not, ranges } => {
                ranges.iter().any(|(low, high)| (*low..=*high).contains(&letter)) != *not
            }
        }
    }
}

fn tokens(pattern: &[u8]) -> Option<Vec<Token>> {
    let mut letters = std::str::from_utf8(pattern).ok()?.chars().peekable();
    let mut tokens = Vec::new();
    while let Some(letter) = letters.next() {
        tokens.push(match letter {
            '*' => Token::Star,
            '?' => Token::Any,
            '\\' => Token::One(letters.next()?),
            '[' => {
                let not = letters.next_if_eq(&'^').is_some();
                let mut ranges = Vec::new();
                loop {
                    let low = match letters.next()? {
                        ']' if !ranges.is_empty() => break,
                        ']' | '-' => return None,
                        '\\' => letters.next()?,
                        letter => letter,
                    };
                    let mut high = low;
                    if letters.next_if_eq(&'-').is_some() {
                        high = match letters.next()? {
                            '\\' => letters.next()?,
                            ']' | '-' => return None,
                            letter => letter,
                        };
                    }
                    ranges.push((low, high));
                }
                Token::Class { not, ranges }
            }
            letter => Token::One(letter),
        });
    }
    Some(tokens)
}

/// Where `path` leads beneath `tree` once its symlinks are followed, the last part too.
///
/// # Errors
/// The system's; `ENOENT` if nothing is there.
pub fn real_path(tree: BorrowedFd<'_>, path: &[u8]) -> Result<Vec<u8>, Errno> {
    let (walked, missing) = resolve(tree, path)?;
    if missing.is_empty() { Ok(walked) } else { Err(Errno::NOENT) }
}

/// As [`real_path`], as far as there is something: also returns the parts that are missing.
///
/// # Errors
/// The system's; `ENOTDIR` if something on the way is no directory.
pub fn resolve(tree: BorrowedFd<'_>, path: &[u8]) -> Result<(Vec<u8>, Vec<Vec<u8>>), Errno> {
    let parts = |path: &[u8]| -> Vec<Vec<u8>> {
        let parts = path.split(|&byte| byte == b'/').rev();
        parts.filter(|part| !matches!(*part, b"" | b".")).map(<[u8]>::to_vec).collect()
    };
    let mut ahead = parts(path);
    let mut walked: Vec<u8> = Vec::new();
    let mut links = 0;
    while let Some(part) = ahead.pop() {
        if part == b".." {
            let end = walked.iter().rposition(|&byte| byte == b'/').unwrap_or(0);
            walked.truncate(end);
            continue;
        }
        let next = join(&walked, &part);
        let stat = match look(tree, &next) {
            Err(Errno::NOENT) => {
                let mut missing = vec![part];
                for part in ahead.into_iter().rev() {
                    match part.as_slice() {
                        // What is missing holds no links.
                        b".." if !missing.is_empty() => drop(missing.pop()),
                        _ => missing.push(part),
                    }
                }
                return Ok((walked, missing));
            }
            other => other?,
        };
        match FileType::from_raw_mode(stat.st_mode) {
            FileType::Symlink => {
                links += 1;
                if links > MAX_LINKS {
                    return Err(Errno::LOOP);
                }
                let (directory, name) = split(&next);
                let directory = open(tree, directory, OFlags::PATH | OFlags::DIRECTORY)?;
                let target = rustix::fs::readlinkat(&directory, name, Vec::new())?.into_bytes();
                if target.first() == Some(&b'/') {
                    walked.clear();
                }
                ahead.append(&mut parts(&target));
            }
            FileType::Directory => walked = next,
            _ if ahead.is_empty() => walked = next,
            _ => return Err(Errno::NOTDIR),
        }
    }
    Ok((walked, Vec::new()))
}

/// What is at `path`, which holds no symlinks on the way; a symlink itself is not followed.
///
/// # Errors
/// The system's.
pub fn look(tree: BorrowedFd<'_>, path: &[u8]) -> Result<Stat, Errno> {
    if path.is_empty() {
        return rustix::fs::fstat(tree);
    }
    let opened = open(tree, path, OFlags::PATH)?;
    rustix::fs::fstat(opened)
}

/// Opens what is at `path`, through no symlink.
///
/// # Errors
/// The system's.
pub fn open(tree: BorrowedFd<'_>, path: &[u8], flags: OFlags) -> Result<OwnedFd, Errno> {
    let path = if path.is_empty() { b".".as_slice() } else { path };
    let flags = flags | OFlags::NOFOLLOW | OFlags::CLOEXEC;
    loop {
        match rustix::fs::openat2(tree, path, flags, Mode::empty(), BENEATH) {
            Err(Errno::AGAIN | Errno::INTR) => {}
            // `O_PATH` and `O_NOFOLLOW` open a symlink itself, which NO_SYMLINKS refuses.
            Err(Errno::LOOP)
                if flags.contains(OFlags::PATH) && !flags.contains(OFlags::DIRECTORY) =>
            {
                let (directory, name) = split(path);
                let parent = open(tree, directory, OFlags::PATH | OFlags::DIRECTORY)?;
                return rustix::fs::openat(&parent, name, flags, Mode::empty());
            }
            other => return other,
        }
    }
}

/// `directory/name`, or `name` in the root.
pub fn join(directory: &[u8], name: &[u8]) -> Vec<u8> {
    match (directory.is_empty(), name.is_empty()) {
        (true, _) => name.to_vec(),
        (_, true) => directory.to_vec(),
        _ => [directory, b"/", name].concat(),
    }
}

/// Directory and last part.
pub fn split(path: &[u8]) -> (&[u8], &[u8]) {
    match path.iter().rposition(|&byte| byte == b'/') {
        Some(slash) => (&path[..slash], &path[slash + 1..]),
        None => (&[], path),
    }
}

/// How files are told apart by [`digest`].
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub struct Identity {
    /// Whether owners count.
    pub owners: bool,
}

/// A digest over what was found: names, kinds, modes, extended attributes, link targets and
/// content, owners if they count. Times do not.
///
/// Content that `known` has is not read; what is read is put there.
///
/// # Errors
/// The system's, on a file that can be found but not read.
pub fn digest(
    tree: BorrowedFd<'_>,
    found: &[Found],
    identity: Identity,
    known: &mut StatCache,
) -> Result<Digest, SelectError> {
    let mut paths: Vec<(Vec<u8>, &Stat)> = Vec::new();
    for one in found {
        paths.push((one.path.clone(), &one.stat));
        paths.extend(one.below.iter().map(|entry| (join(&one.path, &entry.path), &entry.stat)));
    }
    let contents = contents(tree, &paths, known)?;
    let mut hasher = Hasher::new(Algorithm::Sha256);
    let mut index = 0;
    let mut add = |hasher: &mut Hasher, name: &[u8], stat: &Stat| {
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name);
        let (user, group) = if identity.owners { (stat.st_uid, stat.st_gid) } else { (0, 0) };
        for number in [stat.st_mode, user, group] {
            hasher.update(&number.to_le_bytes());
        }
        hasher.update(&contents[index]);
        index += 1;
    };
    for one in found {
        // The name matters where it shows in the result: for what is no directory.
        let name = if one.is_directory() { b"".as_slice() } else { &one.name };
        add(&mut hasher, name, &one.stat);
        for entry in &one.below {
            add(&mut hasher, &entry.path, &entry.stat);
        }
        hasher.update(&[0xff; 8]);
    }
    Ok(hasher.finish())
}

/// A digest for each path: of content and extended attributes, or of a link's target.
fn contents(
    tree: BorrowedFd<'_>,
    paths: &[(Vec<u8>, &Stat)],
    known: &mut StatCache,
) -> Result<Vec<[u8; 32]>, SelectError> {
    let mut digests = vec![[0; 32]; paths.len()];
    let mut unknown = Vec::new();
    for (index, (path, stat)) in paths.iter().enumerate() {
        match known.get(path, &FileKey::of(stat)) {
            Some(digest) => digests[index] = digest,
            None => unknown.push(index),
        }
    }
    let threads = std::thread::available_parallelism().map_or(1, usize::from).min(4);
    // Starting a thread costs as much as reading a few small files.
    let share = unknown.len().div_ceil(threads).max(16);
    let mut learnt = Vec::new();
    std::thread::scope(|scope| {
        let work: Vec<_> = unknown
            .chunks(share)
            .map(|part| {
                let read = move || {
                    let one = |&index: &usize| {
                        let (path, stat) = &paths[index];
                        content(tree, path, stat).map(|(digest, key)| (index, digest, key))
                    };
                    part.iter().map(one).collect::<Result<Vec<_>, _>>()
                };
                if unknown.len() <= share {
                    Work::Done(read())
                } else {
                    Work::Thread(scope.spawn(read))
                }
            })
            .collect();
        for part in work {
            learnt.extend(part.finish()?);
        }
        Ok::<_, SelectError>(())
    })?;
    for (index, digest, key) in learnt {
        digests[index] = digest;
        if let Some(key) = key {
            known.put(&paths[index].0, key, digest);
        }
    }
    Ok(digests)
}

type Learnt = Result<Vec<(usize, [u8; 32], Option<FileKey>)>, SelectError>;

enum Work<'s> {
    Done(Learnt),
    Thread(std::thread::ScopedJoinHandle<'s, Learnt>),
}

impl Work<'_> {
    fn finish(self) -> Learnt {
        match self {
            Self::Done(learnt) => learnt,
            Self::Thread(thread) => thread.join().unwrap_or_else(|_| {
                Err(SelectError::File {
                    action: "read",
                    path: String::new(),
                    source: std::io::Error::other("a thread panicked"),
                })
            }),
        }
    }
}

/// The digest of one file, and what state of it that is of.
fn content(
    tree: BorrowedFd<'_>,
    path: &[u8],
    stat: &Stat,
) -> Result<([u8; 32], Option<FileKey>), SelectError> {
    let fail = |action| move |error: Errno| failed(action, path, error);
    let mut hasher = ring::digest::Context::new(&ring::digest::SHA256);
    let kind = FileType::from_raw_mode(stat.st_mode);
    match kind {
        FileType::RegularFile => {
            let file = open(tree, path, OFlags::RDONLY | OFlags::NONBLOCK).map_err(fail("open"))?;
            let before = rustix::fs::fstat(&file).map_err(fail("look at"))?;
            attributes(file.as_fd(), &mut hasher).map_err(fail("read the attributes of"))?;
            let mut file = File::from(file);
            let mut buffer = vec![0; 128 << 10];
            loop {
                match file.read(&mut buffer) {
                    Ok(0) => break,
                    Ok(count) => hasher.update(&buffer[..count]),
                    Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
                    Err(source) => {
                        return Err(SelectError::File {
                            action: "read",
                            path: shown(path),
                            source,
                        });
                    }
                }
            }
            let after = rustix::fs::fstat(&file).map_err(fail("look at"))?;
            let key = FileKey::of(&after);
            let still = FileKey::of(&before) == key && FileKey::of(stat) == key;
            return Ok((finish(hasher), still.then_some(key)));
        }
        FileType::Directory => {
            let directory =
                open(tree, path, OFlags::RDONLY | OFlags::DIRECTORY).map_err(fail("open"))?;
            attributes(directory.as_fd(), &mut hasher).map_err(fail("read the attributes of"))?;
        }
        FileType::Symlink => {
            let (directory, name) = split(path);
            let directory =
                open(tree, directory, OFlags::PATH | OFlags::DIRECTORY).map_err(fail("open"))?;
            let target = rustix::fs::readlinkat(&directory, name, Vec::new());
            hasher.update(target.map_err(fail("read the link"))?.as_bytes());
        }
        FileType::CharacterDevice | FileType::BlockDevice => {
            hasher.update(&stat.st_rdev.to_le_bytes());
        }
        _ => {}
    }
    Ok((finish(hasher), Some(FileKey::of(stat))))
}

fn finish(hasher: ring::digest::Context) -> [u8; 32] {
    let mut digest = [0; 32];
    digest.copy_from_slice(hasher.finish().as_ref());
    digest
}

/// The attributes that a layer keeps.
fn attributes(file: BorrowedFd<'_>, hasher: &mut ring::digest::Context) -> Result<(), Errno> {
    let mut buffer = vec![0; 1024];
    let length = match rustix::fs::flistxattr(file, buffer.as_mut_slice()) {
        Err(Errno::RANGE) => {
            buffer.resize(64 << 10, 0);
            rustix::fs::flistxattr(file, buffer.as_mut_slice())?
        }
        Err(Errno::NOTSUP) => 0,
        other => other?,
    };
    let mut names: Vec<&[u8]> = buffer[..length].split(|&byte| byte == 0).collect();
    names.sort_unstable();
    let kept = |name: &[u8]| {
        name.starts_with(b"user.") && !name.starts_with(b"user.overlay.")
            || name == b"security.capability"
            || name.starts_with(b"system.posix_acl_")
    };
    for name in names.into_iter().filter(|name| kept(name)) {
        let mut value = vec![0; 64 << 10];
        let length = rustix::fs::fgetxattr(file, name, value.as_mut_slice())?;
        hasher.update(&(name.len() as u64).to_le_bytes());
        hasher.update(name);
        hasher.update(&(length as u64).to_le_bytes());
        hasher.update(&value[..length]);
    }
    Ok(())
}

fn failed(action: &'static str, path: &[u8], error: Errno) -> SelectError {
    SelectError::File { action, path: shown(path), source: error.into() }
}

fn shown(path: &[u8]) -> String {
    String::from_utf8_lossy(path).into_owned()
}

#[cfg(test)]
mod tests;
