//! Doing a job: seal first, then read.

use std::fs::File;
use std::os::fd::{AsFd, OwnedFd};

use hull_store::layer::{
    Copied, FailureKind, Input, LayerError, Target, copy_tree, read_layer, scan_archive,
};
use hull_sys::jail::{CapabilitySet, Jail, Purpose, SealError, confined};

use crate::job::{Answer, Job, LayerMode};

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
    /// The process could not be sealed.
    #[error(transparent)]
    Seal(#[from] SealError),
}

/// Seals this process for `job` and does it.
///
/// # Errors
/// As [`WorkError`] says; that the job itself failed is an answer.
pub fn work(job: &Job, descriptors: Vec<OwnedFd>) -> Result<Answer, WorkError> {
    let there = descriptors.len();
    let needed = job.descriptors();
    let mut descriptors = descriptors.into_iter();
    let mut next = || descriptors.next().ok_or(WorkError::Descriptors { there, needed });
    let input = next()?;
    let output = next()?;
    let index = if needed > 2 { Some(next()?) } else { None };
    if there != needed {
        return Err(WorkError::Descriptors { there, needed });
    }
    let [input, output] = confine(job, [input, output])?;
    jail(job, &input, &output).enter()?;
    let answer = match (job, index) {
        (Job::ScanArchive { max_bytes }, _) => {
            scan_archive(Input::Stream(File::from(input)), File::from(output), *max_bytes)
                .map(|members| Answer::Archive { members })
        }
        (Job::Layer { range, limits, .. }, index) => {
            let file = File::from(input);
            let input = match *range {
                None => Input::Stream(file),
                Some((offset, length)) => Input::Range { file, offset, length },
            };
            let target = match index {
                Some(index) => Target::Erofs { tar: File::from(output), index: File::from(index) },
                None => Target::Unpack { directory: output },
            };
            read_layer(input, target, *limits).map(Answer::Layer)
        }
        (Job::CopyTree { limits }, _) => copy_tree(input, output, *limits)
            .map(|Copied { entries, bytes }| Answer::Copied { entries, bytes }),
    };
    Ok(answer.unwrap_or_else(|error| failed(&error)))
}

/// What a job may still do once it is sealed.
fn jail<'a>(job: &Job, input: &'a OwnedFd, output: &'a OwnedFd) -> Jail<'a> {
    // Owners and modes of a tree are what the layer says, so the process that makes it stays
    // root over files, and over nothing else.
    let tree = CapabilitySet::CHOWN
        | CapabilitySet::DAC_OVERRIDE
        | CapabilitySet::FOWNER
        | CapabilitySet::FSETID
        | CapabilitySet::MKNOD
        | CapabilitySet::SETFCAP;
    match job {
        Job::ScanArchive { .. } | Job::Layer { mode: LayerMode::Erofs, .. } => {
            Jail::new(Purpose::Streams)
        }
        // Only CAP_SYS_ADMIN may set `trusted.overlay.opaque`; none of the other calls it is good
        // for passes the filter.
        Job::Layer { mode: LayerMode::Unpack, .. } => Jail::new(Purpose::Trees)
            .capabilities(tree | CapabilitySet::SYS_ADMIN)
            .writable(output.as_fd()),
        Job::CopyTree { .. } => Jail::new(Purpose::Trees)
            .capabilities(tree | CapabilitySet::DAC_READ_SEARCH)
            .readable(input.as_fd())
            .writable(output.as_fd()),
    }
}

/// The directories among a job's descriptors, as views that nothing leads out of.
fn confine(job: &Job, descriptors: [OwnedFd; 2]) -> Result<[OwnedFd; 2], WorkError> {
    let confined = |directory| confined(&directory).map_err(WorkError::Directory);
    let [input, output] = descriptors;
    Ok(match job {
        Job::Layer { mode: LayerMode::Unpack, .. } => [input, confined(output)?],
        Job::CopyTree { .. } => [confined(input)?, confined(output)?],
        Job::ScanArchive { .. } | Job::Layer { mode: LayerMode::Erofs, .. } => [input, output],
    })
}

fn failed(error: &LayerError) -> Answer {
    let mut message = error.to_string();
    // The message of a file operation holds its source already.
    if message.len() > 1000 {
        message.truncate(message.floor_char_boundary(1000));
    }
    let kind: FailureKind = error.kind();
    Answer::Failed { kind, message }
}
