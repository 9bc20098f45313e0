//! Layers put through the real worker, and mounted.

use std::fs::{File, OpenOptions};
use std::os::fd::{AsFd, BorrowedFd};
use std::path::{Path, PathBuf};

use hull_worker::client::{WorkerError, run};
use hull_worker::job::{Answer, FailureKind, Job, LayerMode, LayerReport, Limits};
use rustix::mount::{MountFlags, UnmountFlags};
use tempfile::TempDir;

use crate::tree::{Listing, listing};

pub(crate) const LIMITS: Limits = Limits { max_bytes: 1 << 30, max_entries: 500_000 };

pub(crate) fn worker() -> &'static Path {
    Path::new(env!("CARGO_BIN_EXE_hull-worker"))
}

pub(crate) fn empty_file(path: &Path) -> File {
    OpenOptions::new().read(true).write(true).create_new(true).open(path).unwrap()
}

/// A file with `bytes`, at its begin.
pub(crate) fn input(directory: &Path, bytes: &[u8]) -> File {
    let path = directory.join("input");
    std::fs::write(&path, bytes).unwrap();
    File::open(path).unwrap()
}

/// A layer kept in one of the two ways; unmounted and removed at the end.
pub(crate) struct Kept {
    pub(crate) report: LayerReport,
    pub(crate) directory: TempDir,
    mounted: Option<PathBuf>,
}

impl Kept {
    pub(crate) fn root(&self) -> PathBuf {
        self.mounted.clone().unwrap_or_else(|| self.directory.path().join("fs"))
    }

    pub(crate) fn listing(&self) -> Listing {
        listing(&self.root())
    }
}

impl Drop for Kept {
    fn drop(&mut self) {
        if let Some(mounted) = &self.mounted {
            let _ = rustix::mount::unmount(mounted, UnmountFlags::DETACH);
        }
    }
}

pub(crate) fn read(bytes: &[u8], mode: LayerMode) -> Result<Kept, WorkerError> {
    let directory = tempfile::tempdir().unwrap();
    let input = input(directory.path(), bytes);
    read_from(directory, &input, None, mode, LIMITS)
}

pub(crate) fn read_from(
    directory: TempDir,
    input: &File,
    range: Option<(u64, u64)>,
    mode: LayerMode,
    limits: Limits,
) -> Result<Kept, WorkerError> {
    let algorithm = hull_oci::Algorithm::Sha256;
    let job = Job::Layer { range, mode, algorithm, limits };
    let at = |name: &str| directory.path().join(name);
    let outputs = match mode {
        LayerMode::Erofs => vec![empty_file(&at("tar")), empty_file(&at("erofs"))],
        LayerMode::Unpack => {
            std::fs::create_dir(at("fs")).unwrap();
            vec![File::open(at("fs")).unwrap()]
        }
    };
    let mut descriptors: Vec<BorrowedFd<'_>> = vec![input.as_fd()];
    descriptors.extend(outputs.iter().map(AsFd::as_fd));
    let Answer::Layer(report) = run(worker(), &job, &descriptors)? else {
        panic!("not the answer to this job");
    };
    let mounted = (mode == LayerMode::Erofs).then(|| mount(directory.path()));
    Ok(Kept { report, directory, mounted })
}

/// Mounts `erofs` over `tar` in `directory`.
fn mount(directory: &Path) -> PathBuf {
    let target = directory.join("mounted");
    std::fs::create_dir(&target).unwrap();
    let options = format!("device={}", directory.join("tar").display());
    let options = std::ffi::CString::new(options).unwrap();
    rustix::mount::mount(
        directory.join("erofs"),
        &target,
        "erofs",
        MountFlags::RDONLY,
        options.as_c_str(),
    )
    .unwrap();
    target
}

/// Reads a layer in both ways, which must look the same, and returns what it looks like.
pub(crate) fn both(bytes: &[u8]) -> (LayerReport, Listing) {
    let erofs = read(bytes, LayerMode::Erofs).unwrap();
    let unpacked = read(bytes, LayerMode::Unpack).unwrap();
    let listing = erofs.listing();
    let other = unpacked.listing();
    for (name, line) in &listing {
        let other = other.get(name).map(String::as_str);
        assert_eq!(Some(line.as_str()), other, "{name}");
    }
    assert_eq!(listing.len(), other.len());
    let report = LayerReport { index: None, ..erofs.report.clone() };
    assert_eq!(report, unpacked.report);
    (report, listing)
}

/// Refused in both ways, with this in the message.
pub(crate) fn refused(bytes: &[u8], kind: FailureKind, message: &str) {
    for mode in [LayerMode::Erofs, LayerMode::Unpack] {
        match read(bytes, mode) {
            Err(WorkerError::Failed { kind: actual, message: actual_message }) => {
                assert!(actual_message.contains(message), "{actual_message:?}, not {message:?}");
                assert_eq!(actual, kind, "{actual_message:?}");
            }
            Err(error) => panic!("{error}, not {message:?}"),
            Ok(kept) => panic!("{:#?}, not {message:?}", kept.listing()),
        }
    }
}
