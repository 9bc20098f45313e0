//! Doing a job: seal first, then read.

use std::fs::File;
use std::io::Write;
use std::os::fd::{AsFd, OwnedFd};

use hull_store::layer::{
    Copied, Extract, Extracted, FailureKind, Input, LayerError, Packed, Place, Stubs, Target,
    assemble, changes, compress, copy_tree, extract, inflate, make_layer, pack_layer, pack_place,
    pack_tree, read_items, read_layer, read_place, scan_archive, stat_place,
};
use hull_sys::jail::{CapabilitySet, Jail, Purpose, SealError, confined, confined_to_read};

use crate::job::{Answer, ExtractOptions, Job, LayerMode, Submodule};
use crate::{git, packages};

/// A job that could not be begun.
#[derive(Debug, thiserror::Error)]
pub enum WorkError {
    /// Wrong number of descriptors.
    #[error("the job came with {there} descriptors and needs {needed}")]
    Descriptors {
        /// How many came.
        there: usize,
        /// How many it needs.
        needed: usize,
    },
    /// A descriptor that should be a directory is not one, or there is no view of it.
    #[error("cannot confine this process to a directory: {0}")]
    Directory(#[source] std::io::Error),
    /// A path that can be none.
    #[error("the path holds a zero byte")]
    Path,
    /// The process could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Seals this process for `job` and does it.
///
/// # Errors
/// As [`WorkError`] says; that the job itself failed is an answer.
pub fn work(job: &Job, descriptors: Vec<OwnedFd>) -> Result<Answer, WorkError> {
    let (there, needed) = (descriptors.len(), job.descriptors());
    let wrong = || WorkError::Descriptors { there, needed };
    if there != needed {
        return Err(wrong());
    }
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or_else(wrong);
    let answer = match job {
        Job::ScanArchive { max_bytes } => {
            let (input, spool) = (next()?, next()?);
            Jail::new(Purpose::Streams).enter()?;
            scan_archive(Input::Stream(File::from(input)), File::from(spool), *max_bytes)
                .map(|members| Answer::Archive { members })
        }
        Job::Inflate { max_bytes } => {
            let (input, output) = (File::from(next()?), File::from(next()?));
            Jail::new(Purpose::Streams).enter()?;
            inflate(Input::Stream(input), output, *max_bytes)
                .map(|bytes| Answer::Packed { entries: 0, bytes })
        }
        Job::Layer { range, mode, algorithm, limits } => {
            let (input, output) = (File::from(next()?), next()?);
            let target = match mode {
                LayerMode::Erofs => {
                    let index = File::from(next()?);
                    Jail::new(Purpose::Streams).enter()?;
                    Target::Erofs { tar: File::from(output), index }
                }
                LayerMode::Unpack => {
                    let directory = writable(&output)?;
                    // Only CAP_SYS_ADMIN may set `trusted.overlay.opaque`; none of the other
                    // calls it is good for passes the filter.
                    Jail::new(Purpose::Trees)
                        .capabilities(making_trees() | CapabilitySet::SYS_ADMIN)
                        .writable(directory.as_fd())
                        .enter()?;
                    Target::Unpack { directory }
                }
            };
            let input = match *range {
                None => Input::Stream(input),
                Some((offset, length)) => Input::Range { file: input, offset, length },
            };
            read_layer(input, target, *algorithm, *limits).map(Answer::Layer)
        }
        Job::Compress { size, method, level, threads } => {
            let (input, output) = (File::from(next()?), File::from(next()?));
            Jail::new(Purpose::Streams).enter()?;
            let input = Input::Range { file: input, offset: 0, length: *size };
            compress(input, output, *method, *level, *threads).map(Answer::Compressed)
        }
        Job::CopyTree { limits } => {
            let (source, destination) = (readable(&next()?)?, writable(&next()?)?);
            Jail::new(Purpose::Trees)
                .capabilities(making_trees() | CapabilitySet::DAC_READ_SEARCH)
                .readable(source.as_fd())
                .writable(destination.as_fd())
                .enter()?;
            copy_tree(source, destination, *limits)
                .map(|Copied { entries, bytes }| Answer::Copied { entries, bytes })
        }
        Job::PackTree => {
            let (tree, output) = (readable(&next()?)?, File::from(next()?));
            Jail::new(Purpose::Trees)
                .capabilities(CapabilitySet::DAC_READ_SEARCH)
                .readable(tree.as_fd())
                .enter()?;
            pack_tree(tree, None, output).map(packed)
        }
        Job::StatPlace { path, userns } => {
            let root = next()?;
            let userns = if *userns { Some(next()?) } else { None };
            let (root, place) = (entered(&root)?, place(path)?);
            inside(userns.as_ref()).readable(root.as_fd()).enter()?;
            stat_place(root.as_fd(), &place).map(Answer::Place)
        }
        Job::PackPlace { path, name, userns } => {
            let (root, output) = (next()?, File::from(next()?));
            let userns = if *userns { Some(next()?) } else { None };
            let (root, place) = (entered(&root)?, place(path)?);
            inside(userns.as_ref()).readable(root.as_fd()).enter()?;
            pack_place(root.as_fd(), &place, name.as_deref().map(str::as_bytes), output).map(packed)
        }
        Job::ReadPlace { path, max_bytes, userns } => {
            let (root, output) = (next()?, File::from(next()?));
            let userns = if *userns { Some(next()?) } else { None };
            let (root, place) = (entered(&root)?, place(path)?);
            inside(userns.as_ref()).readable(root.as_fd()).enter()?;
            read_place(root.as_fd(), &place, *max_bytes, output)
                .map(|bytes| Answer::Packed { entries: 1, bytes })
        }
        Job::Extract { path, options, userns } => {
            let (root, input) = (next()?, Input::Stream(File::from(next()?)));
            let userns = if *userns { Some(next()?) } else { None };
            let (root, place) = (entered(&root)?, place(path)?);
            // Modes are what the archive says.
            rustix::process::umask(rustix::fs::Mode::empty());
            inside(userns.as_ref()).capabilities(making_trees()).writable(root.as_fd()).enter()?;
            extract(root, &place, input, extract_options(options))
                .map(|Extracted { entries, bytes }| Answer::Extracted { entries, bytes })
        }
        Job::Packages => {
            let root = readable(&next()?)?;
            inside(None).readable(root.as_fd()).enter()?;
            return Ok(match packages::read(&root) {
                Ok((release, packages)) => Answer::Packages { release, packages },
                Err(error) => refused(&format!("cannot list the packages: {error}")),
            });
        }
        Job::CheckOut { commit, directory, origin, max_bytes } => {
            let (pack, spool, to) = (File::from(next()?), File::from(next()?), writable(&next()?)?);
            // Modes are what is said here.
            rustix::process::umask(rustix::fs::Mode::empty());
            Jail::new(Purpose::Trees).capabilities(making_trees()).writable(to.as_fd()).enter()?;
            let origin = origin.as_deref();
            let done = git::check_out(pack, spool, to, commit, directory, origin, *max_bytes);
            return Ok(match done {
                Ok(done) => Answer::CheckedOut {
                    commit: done.commit.to_string(),
                    submodules: done.submodules.into_iter().map(submodule).collect(),
                },
                Err(message) => refused(&message),
            });
        }
        Job::PackLayer { stubs } => {
            let (upper, lower, output) = (readable(&next()?)?, readable(&next()?)?, next()?);
            seal_for_changes(&upper, &lower)?;
            let stubs = Stubs::new(stubs.iter().map(String::as_str));
            pack_layer(upper, lower, &stubs, None, File::from(output)).map(packed)
        }
        Job::StepLayer { stubs, latest, mode, limits } => {
            let (upper, lower) = (readable(&next()?)?, readable(&next()?)?);
            let pipe = std::io::pipe().map_err(WorkError::Directory)?;
            let (target, copy) = seal_for_layer(*mode, [next()?, next()?], &upper, &lower)?;
            let stubs = Stubs::new(stubs.iter().map(String::as_str));
            make_layer(pipe, target, *limits, |output| {
                pack_layer(upper, lower, &stubs, *latest, Twice(output, copy))
            })
            .map(Answer::Layer)
        }
        Job::ListLayer { latest, mode, limits } => {
            let (tree, view) = (readable(&next()?)?, readable(&next()?)?);
            let list = File::from(next()?);
            let pipe = std::io::pipe().map_err(WorkError::Directory)?;
            let (target, copy) = seal_for_layer(*mode, [next()?, next()?], &tree, &view)?;
            read_items(list).and_then(|items| {
                make_layer(pipe, target, *limits, |output| {
                    assemble(&items, tree, view, *latest, Twice(output, copy))
                })
                .map(Answer::Layer)
            })
        }
        Job::PackList { latest } => {
            let (tree, view) = (readable(&next()?)?, readable(&next()?)?);
            let (list, output) = (File::from(next()?), File::from(next()?));
            seal_for_changes(&tree, &view)?;
            read_items(list)
                .and_then(|items| assemble(&items, tree, view, *latest, output))
                .map(packed)
        }
        Job::Changes { stubs } => {
            let (upper, lower, output) = (readable(&next()?)?, readable(&next()?)?, next()?);
            seal_for_changes(&upper, &lower)?;
            let stubs = Stubs::new(stubs.iter().map(String::as_str));
            changes(upper, lower, &stubs, File::from(output))
                .map(|entries| Answer::Packed { entries, bytes: 0 })
        }
    };
    Ok(answer.unwrap_or_else(|error| failed(&error)))
}

/// Owners and modes of a tree are what a layer says, so the process that makes it stays root over
/// files, and over nothing else.
fn making_trees() -> CapabilitySet {
    CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::MKNOD
        | CapabilitySet::SETFCAP
}

/// A root directory to look into, with what is mounted below it.
fn entered(root: &OwnedFd) -> Result<OwnedFd, WorkError> {
    use rustix::fs::{Mode, OFlags};
    let flags = OFlags::RDONLY | OFlags::DIRECTORY | OFlags::CLOEXEC;
    let opened = rustix::fs::openat(root, ".", flags, Mode::empty());
    opened.map_err(|error| WorkError::Directory(error.into()))
}

fn place(path: &str) -> Result<Place, WorkError> {
    Place::new(path).ok_or(WorkError::Path)
}

/// The seal of a process that works inside a container's root, or a user's directory.
fn inside(userns: Option<&OwnedFd>) -> Jail<'_> {
    let jail = Jail::new(Purpose::Trees).capabilities(CapabilitySet::DAC_READ_SEARCH);
    match userns {
        Some(userns) => jail.user_namespace(userns.as_fd()),
        None => jail,
    }
}

fn extract_options(options: &ExtractOptions) -> Extract {
    let bytes =
        |(old, new): &(String, String)| (old.clone().into_bytes(), new.clone().into_bytes());
    Extract {
        keep_kinds: options.keep_kinds,
        owner: options.owner,
        own: options.own,
        rename: options.rename.as_ref().map(bytes),
        max_bytes: options.max_bytes,
    }
}

fn seal_for_changes(upper: &OwnedFd, lower: &OwnedFd) -> Result<(), WorkError> {
    // Only CAP_SYS_ADMIN may read `trusted.overlay.opaque`; as above.
    Jail::new(Purpose::Trees)
        .capabilities(CapabilitySet::DAC_READ_SEARCH | CapabilitySet::SYS_ADMIN)
        .readable(upper.as_fd())
        .readable(lower.as_fd())
        .enter()?;
    Ok(())
}

/// Seals for reading two trees and writing a layer of them: to two files, or to a directory with
/// a copy of the tar beside it.
fn seal_for_layer(
    mode: LayerMode,
    [first, second]: [OwnedFd; 2],
    tree: &OwnedFd,
    view: &OwnedFd,
) -> Result<(Target, Option<File>), WorkError> {
    let second = File::from(second);
    if mode == LayerMode::Erofs {
        seal_for_changes(tree, view)?;
        return Ok((Target::Erofs { tar: File::from(first), index: second }, None));
    }
    let directory = writable(&first)?;
    Jail::new(Purpose::Trees)
        .capabilities(making_trees() | CapabilitySet::DAC_READ_SEARCH | CapabilitySet::SYS_ADMIN)
        .writable(directory.as_fd())
        .readable(tree.as_fd())
        .readable(view.as_fd())
        .enter()?;
    Ok((Target::Unpack { directory }, Some(second)))
}

/// Writes everything to both.
struct Twice<W>(W, Option<File>);

impl<W: Write> Write for Twice<W> {
    fn write(&mut self, bytes: &[u8]) -> std::io::Result<usize> {
        let written = self.0.write(bytes)?;
        if let Some(copy) = &mut self.1 {
            copy.write_all(&bytes[..written])?;
        }
        Ok(written)
    }

    fn flush(&mut self) -> std::io::Result<()> {
        self.0.flush()
    }
}

/// A view of a directory that nothing leads out of.
fn writable(directory: &OwnedFd) -> Result<OwnedFd, WorkError> {
    confined(directory).map_err(WorkError::Directory)
}

/// The same through which nothing can be written.
fn readable(directory: &OwnedFd) -> Result<OwnedFd, WorkError> {
    confined_to_read(directory).map_err(WorkError::Directory)
}

fn submodule(hull_git::Submodule { path, commit, url }: hull_git::Submodule) -> Submodule {
    Submodule { path, commit: commit.to_string(), url }
}

fn packed(packed: Packed) -> Answer {
    Answer::Packed { entries: packed.entries, bytes: packed.bytes }
}

fn failed(error: &LayerError) -> Answer {
    if let LayerError::Place { refusal } = error {
        return Answer::Refused(*refusal);
    }
    // The message of a file operation holds its source already.
    Answer::Failed { kind: error.kind(), message: shortened(error.to_string()) }
}

/// What an image or a repository brought is not as it should be.
fn refused(message: &str) -> Answer {
    Answer::Failed { kind: FailureKind::Invalid, message: shortened(message.to_owned()) }
}

fn shortened(mut message: String) -> String {
    message.truncate(message.floor_char_boundary(1000));
    message
}
