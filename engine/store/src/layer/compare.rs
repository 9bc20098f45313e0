//! What a container changed: its upper directory beside what lies below it.
//!
//! The upper directory of an overlay holds more than what was changed: directories on the way to
//! a change, and what the engine itself made there to mount something on ([`Stubs`]). One walk
//! over it, in the order of names, tells changes apart, for a list ([`changes`]) or for a layer
//! ([`pack_layer`]).

use std::io::{BufWriter, Write};
use std::os::fd::{AsFd, BorrowedFd, OwnedFd};
use std::rc::Rc;

use rustix::fs::{FileType, Mode, OFlags, Stat};
use rustix::io::Errno;
use serde::Serialize;

use super::LayerError;
use super::beneath::{Beneath, failed};
use super::copy::attributes;
use super::error::shown;
use super::pack::{Pack, Packed, look, names};
use super::path::{LayerPath, join};
use super::tree::Attributes;
use super::xattr::{Holder, OPAQUE};

/// How a path changed, as Docker numbers it.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
enum Kind {
    Modified,
    Added,
    Deleted,
}

/// Places where the engine makes an empty file or directory to mount something on.
#[derive(Debug, Clone, Default)]
pub struct Stubs(Vec<LayerPath>);

impl Stubs {
    /// Of absolute paths; what cannot be a path is left out.
    pub fn new<'a>(paths: impl IntoIterator<Item = &'a str>) -> Self {
        let paths = paths.into_iter().filter_map(|path| LayerPath::parse(path.as_bytes()).ok());
        Self(paths.collect())
    }

    /// Whether `path` is such a place, or a directory on the way to one.
    fn lead_through(&self, path: &[u8]) -> bool {
        self.0.iter().any(|stub| {
            let rest = stub.as_bytes().strip_prefix(path);
            rest.is_some_and(|rest| rest.is_empty() || rest.starts_with(b"/"))
        })
    }
}

/// Writes the changes of `upper` over `lower` as Docker's API lists them: a JSON array of objects
/// with `Path` and `Kind` (0 modified, 1 added, 2 deleted), `null` if nothing changed.
///
/// As Docker has it, a directory counts as modified if its mode or owners changed or anything in
/// it did; a file, if one of these, its size or its modification time did.
///
/// # Errors
/// As [`LayerError`] says.
pub fn changes(
    upper: OwnedFd,
    lower: OwnedFd,
    stubs: &Stubs,
    output: impl Write,
) -> Result<u64, LayerError> {
    let mut list = List { output: BufWriter::new(output), count: 0 };
    walk(upper, lower, stubs, &mut list)?;
    let end: &[u8] = if list.count == 0 { b"null" } else { b"]" };
    list.output
        .write_all(end)
        .and_then(|()| list.output.flush())
        .map_err(|error| LayerError::io("write the changes", error))?;
    Ok(list.count)
}

/// Writes the changes of `upper` over `lower` as a layer's tar. Directories that are there only
/// because something in them changed come with it, as they are now. No time in it is later than
/// `latest`, seconds since 1970.
///
/// # Errors
/// As [`LayerError`] says; a file whose name says `.wh.` cannot be in a layer.
///
/// Spec: image-spec, layer.md.
pub fn pack_layer(
    upper: OwnedFd,
    lower: OwnedFd,
    stubs: &Stubs,
    latest: Option<i64>,
    output: impl Write,
) -> Result<Packed, LayerError> {
    let mut layer = Layer(Pack::new(output).no_later_than(latest));
    walk(upper, lower, stubs, &mut layer)?;
    layer.0.finish()
}

/// One thing that is in the upper directory.
struct Found<'a> {
    path: &'a [u8],
    stat: &'a Stat,
    /// `None` for a copy that looks as the original.
    kind: Option<Kind>,
}

/// Takes what the walk finds, parents first.
trait Sink {
    /// A directory that changed, or something below it did.
    fn directory(
        &mut self,
        found: &Found<'_>,
        directory: BorrowedFd<'_>,
        opaque: bool,
    ) -> Result<(), LayerError>;

    /// Whether a copy that looks as the original counts: its content may be another.
    const WANTS_COPIES: bool;

    fn node(
        &mut self,
        found: &Found<'_>,
        parent: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), LayerError>;

    /// Something below is hidden: by `whiteout`, or because its directory is opaque.
    fn deleted(&mut self, path: &[u8], whiteout: Option<&Stat>) -> Result<(), LayerError>;
}

struct Level {
    path: Vec<u8>,
    upper: Rc<OwnedFd>,
    stat: Stat,
    /// The same directory below, if it is one there.
    lower: Option<Rc<OwnedFd>>,
    kind: Option<Kind>,
    opaque: bool,
    told: bool,
    /// The next one last: name, and whether it is in the upper directory.
    names: Vec<(Vec<u8>, bool)>,
}

fn walk<S: Sink>(
    upper: OwnedFd,
    lower: OwnedFd,
    stubs: &Stubs,
    sink: &mut S,
) -> Result<(), LayerError> {
    let mut walk =
        Walk { upper: Beneath::new(upper), lower: Beneath::new(lower), stubs, levels: Vec::new() };
    let root = walk.upper.open(b"")?;
    let below = walk.lower.open(b"")?;
    let stat = rustix::fs::fstat(&root).map_err(|error| failed("look at", b"", error))?;
    let names = names(&root, b"")?.into_iter().map(|name| (name, true)).collect();
    let (path, lower) = (Vec::new(), Some(below));
    // The root is no change of its own.
    let (kind, opaque, told) = (None, false, true);
    walk.levels.push(Level { path, upper: root, stat, lower, kind, opaque, told, names });
    while let Some(level) = walk.levels.last_mut() {
        match level.names.pop() {
            Some((name, true)) => walk.entry(&name, sink)?,
            Some((name, false)) => {
                let path = join(&level.path, &name);
                walk.tell_parents(sink)?;
                sink.deleted(&path, None)?;
            }
            None => {
                let done = walk.levels.pop();
                if let Some(done) = done
                    && done.kind.is_some()
                    && !done.told
                    && !walk.stubs.lead_through(&done.path)
                {
                    walk.levels.push(done);
                    walk.tell_parents(sink)?;
                    walk.levels.pop();
                }
            }
        }
    }
    Ok(())
}

struct Walk<'s> {
    upper: Beneath,
    lower: Beneath,
    stubs: &'s Stubs,
    levels: Vec<Level>,
}

impl Walk<'_> {
    fn entry<S: Sink>(&mut self, name: &[u8], sink: &mut S) -> Result<(), LayerError> {
        let level = self.levels.last().expect("an entry has a directory");
        let path = join(&level.path, name);
        let (parent, lower) = (Rc::clone(&level.upper), level.lower.clone());
        let Some(stat) = look(parent.as_fd(), name, &path)? else { return Ok(()) };
        let before = match &lower {
            Some(lower) => look(lower.as_fd(), name, &path)?,
            None => None,
        };
        let kind = FileType::from_raw_mode(stat.st_mode);
        if kind == FileType::CharacterDevice && stat.st_rdev == 0 {
            if before.is_some() {
                self.tell_parents(sink)?;
                sink.deleted(&path, Some(&stat))?;
            }
            return Ok(());
        }
        let mut change = match &before {
            None => Some(Kind::Added),
            Some(before) => differs(before, &stat).then_some(Kind::Modified),
        };
        if kind == FileType::Directory {
            return self.enter(path, change, before.as_ref());
        }
        if let (FileType::RegularFile, None, Some(lower)) = (kind, change, &lower) {
            let open = |directory: &OwnedFd| open_file(directory.as_fd(), name);
            if let (Some(before), Some(after)) = (open(lower), open(&parent))
                && xattrs_differ(&before, &after, Holder::File, &path)?
            {
                change = Some(Kind::Modified);
            }
        }
        if stat.st_size == 0
            && kind == FileType::RegularFile
            && self.stubs.0.iter().any(|stub| stub.as_bytes() == path)
        {
            return Ok(());
        }
        if change.is_some() || S::WANTS_COPIES {
            self.tell_parents(sink)?;
            let found = Found { path: &path, stat: &stat, kind: change };
            sink.node(&found, parent.as_fd(), name)?;
        }
        Ok(())
    }

    /// Goes into a directory; whether it is told shows when something in it changed, or at its
    /// end.
    fn enter(
        &mut self,
        path: Vec<u8>,
        kind: Option<Kind>,
        before: Option<&Stat>,
    ) -> Result<(), LayerError> {
        let Some(upper) = self.upper.open_if_there(&path)? else { return Ok(()) };
        let is_directory =
            |stat: &Stat| FileType::from_raw_mode(stat.st_mode) == FileType::Directory;
        let lower = match before.is_some_and(is_directory) {
            true => self.lower.open_if_there(&path)?,
            false => None,
        };
        let opaque = is_opaque(upper.as_fd(), &path)?;
        let mut all: Vec<(Vec<u8>, bool)> =
            names(&upper, &path)?.into_iter().map(|name| (name, true)).collect();
        if let (true, Some(lower)) = (opaque, &lower) {
            for name in names(lower, &path)? {
                let known = all.binary_search_by(|(known, _)| name.cmp(known));
                if let Err(place) = known {
                    all.insert(place, (name, false));
                }
            }
        }
        let stat = rustix::fs::fstat(&upper).map_err(|error| failed("look at", &path, error))?;
        // One that replaced another of the same attributes changed all the same.
        let mut kind = kind.or(opaque.then_some(Kind::Modified));
        if let (None, Some(lower)) = (kind, &lower)
            && xattrs_differ(lower, &upper, Holder::Directory, &path)?
        {
            kind = Some(Kind::Modified);
        }
        self.levels.push(Level { path, upper, stat, lower, kind, opaque, told: false, names: all });
        Ok(())
    }

    /// Tells the directories on the way to here that were not told yet.
    fn tell_parents(&mut self, sink: &mut impl Sink) -> Result<(), LayerError> {
        for level in self.levels.iter_mut().filter(|level| !level.told) {
            level.told = true;
            let kind = level.kind.or(Some(Kind::Modified));
            let found = Found { path: &level.path, stat: &level.stat, kind };
            sink.directory(&found, level.upper.as_fd(), level.opaque)?;
        }
        Ok(())
    }
}

fn is_opaque(directory: BorrowedFd<'_>, path: &[u8]) -> Result<bool, LayerError> {
    let mut value = [0; 8];
    match rustix::fs::fgetxattr(directory, OPAQUE, value.as_mut_slice()) {
        // `x` marks one that holds whiteouts of another form, which nobody makes here.
        Ok(length) => Ok(value[..length] == *b"y"),
        Err(Errno::NODATA | Errno::NOTSUP) => Ok(false),
        Err(error) => Err(failed("read the marks of", path, error)),
    }
}

/// A file, to look at its attributes; `None` if it cannot be opened (any more).
fn open_file(directory: BorrowedFd<'_>, name: &[u8]) -> Option<OwnedFd> {
    let flags = OFlags::RDONLY | OFlags::NOFOLLOW | OFlags::NONBLOCK | OFlags::CLOEXEC;
    rustix::fs::openat(directory, name, flags, Mode::empty()).ok()
}

fn xattrs_differ(
    before: &impl AsFd,
    after: &impl AsFd,
    holder: Holder,
    path: &[u8],
) -> Result<bool, LayerError> {
    let of = |file: &dyn AsFd| -> Result<_, LayerError> {
        let file = file.as_fd();
        let stat = rustix::fs::fstat(file).map_err(|error| failed("look at", path, error))?;
        Ok(attributes(&file, &stat, holder, path)?.xattrs)
    };
    Ok(of(before)? != of(after)?)
}

/// As Docker compares: the times of directories say nothing, and a time without nanoseconds comes
/// from an archive that had none.
fn differs(before: &Stat, after: &Stat) -> bool {
    if before.st_mode != after.st_mode
        || before.st_uid != after.st_uid
        || before.st_gid != after.st_gid
        || before.st_rdev != after.st_rdev
    {
        return true;
    }
    let same_time = before.st_mtime == after.st_mtime
        && (before.st_mtime_nsec == after.st_mtime_nsec
            || before.st_mtime_nsec == 0
            || after.st_mtime_nsec == 0);
    let is_directory = FileType::from_raw_mode(after.st_mode) == FileType::Directory;
    !is_directory && (before.st_size != after.st_size || !same_time)
}

/// The changes as JSON.
struct List<W> {
    output: W,
    count: u64,
}

#[derive(Serialize)]
#[serde(rename_all = "PascalCase")]
struct Change<'a> {
    path: &'a str,
    kind: u8,
}

impl<W: Write> List<W> {
    fn add(&mut self, path: &[u8], kind: Kind) -> Result<(), LayerError> {
        let path = format!("/{}", String::from_utf8_lossy(path));
        let kind = match kind {
            Kind::Modified => 0,
            Kind::Added => 1,
            Kind::Deleted => 2,
        };
        let separator: &[u8] = if self.count == 0 { b"[" } else { b"," };
        self.count += 1;
        self.output
            .write_all(separator)
            .and_then(|()| {
                Ok(serde_json::to_writer(&mut self.output, &Change { path: &path, kind })?)
            })
            .map_err(|error| LayerError::io("write the changes", error))
    }
}

impl<W: Write> Sink for List<W> {
    const WANTS_COPIES: bool = false;

    fn directory(
        &mut self,
        found: &Found<'_>,
        _: BorrowedFd<'_>,
        _: bool,
    ) -> Result<(), LayerError> {
        self.add(found.path, found.kind.unwrap_or(Kind::Modified))
    }

    fn node(&mut self, found: &Found<'_>, _: BorrowedFd<'_>, _: &[u8]) -> Result<(), LayerError> {
        self.add(found.path, found.kind.unwrap_or(Kind::Modified))
    }

    fn deleted(&mut self, path: &[u8], _: Option<&Stat>) -> Result<(), LayerError> {
        self.add(path, Kind::Deleted)
    }
}

/// The changes as a layer.
struct Layer<W: Write>(Pack<W>);

const WHITEOUT: &[u8] = b".wh.";

impl<W: Write> Layer<W> {
    fn refuse_marks(path: &[u8]) -> Result<(), LayerError> {
        let name = path.rsplit(|&byte| byte == b'/').next().unwrap_or(path);
        if name.starts_with(WHITEOUT) {
            let problem = "a layer cannot hold a file whose name begins with .wh.: there it \
                           stands for a deleted file";
            return Err(LayerError::Tree { path: shown(path), problem: problem.to_owned() });
        }
        Ok(())
    }
}

impl<W: Write> Sink for Layer<W> {
    const WANTS_COPIES: bool = true;

    fn directory(
        &mut self,
        found: &Found<'_>,
        directory: BorrowedFd<'_>,
        opaque: bool,
    ) -> Result<(), LayerError> {
        Self::refuse_marks(found.path)?;
        self.0.directory(directory, found.stat, found.path, found.path)?;
        if opaque {
            let name = join(found.path, b".wh..wh..opq");
            self.0.marker(&name, &mark(found.stat))?;
        }
        Ok(())
    }

    fn node(
        &mut self,
        found: &Found<'_>,
        parent: BorrowedFd<'_>,
        name: &[u8],
    ) -> Result<(), LayerError> {
        Self::refuse_marks(found.path)?;
        self.0.node(parent, name, found.stat, found.path, found.path)
    }

    fn deleted(&mut self, path: &[u8], whiteout: Option<&Stat>) -> Result<(), LayerError> {
        let Some(stat) = whiteout else { return Ok(()) };
        let (directory, name) = super::path::split(path);
        let name = join(directory, &[WHITEOUT, name].concat());
        self.0.marker(&name, &mark(stat))
    }
}

/// Attributes of a mark: whose it is, and nothing that anybody could use.
fn mark(stat: &Stat) -> Attributes {
    let mut attributes = Attributes::of(stat, Box::default());
    attributes.mode = 0o600;
    attributes
}
